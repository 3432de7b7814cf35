//! What every storage backend can do, and the facts it keeps.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use darktower_protocol::{MeetingId, ParticipantId};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A meeting as it was created, and whether it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Id, UUIDv7.
    pub id: MeetingId,
    /// Short code for links, unique.
    pub slug: String,
    /// Name shown to people.
    pub display_name: String,
    /// How many participants may be in it at once.
    pub max_participants: u32,
    /// What its creator chose.
    pub settings: MeetingSettings,
    /// The API client or user that created it; `None` in development mode without a token.
    pub created_by: Option<String>,
    /// When it was created. Stored to the microsecond.
    pub created_at: OffsetDateTime,
    /// When it ended; `None` while it is active.
    pub ended_at: Option<OffsetDateTime>,
}

impl Meeting {
    /// Whether it can still be joined.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ended_at.is_none()
    }
}

/// What the creator of a meeting chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeetingSettings {
    /// Payloads are encrypted by the participants; the server cannot read them.
    pub enable_e2e_encryption: bool,
    /// Only holders of a token issued through the API may join.
    pub require_auth: bool,
    /// The meeting may be recorded.
    pub recording_enabled: bool,
}

impl Default for MeetingSettings {
    fn default() -> Self {
        Self { enable_e2e_encryption: false, require_auth: true, recording_enabled: false }
    }
}

/// What a participant may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May also control the meeting and other participants.
    Host,
    /// May publish and subscribe.
    #[default]
    Participant,
}

impl Role {
    /// The name used in API, tokens and storage.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Participant => "participant",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "host" => Ok(Self::Host),
            "participant" => Ok(Self::Participant),
            _ => Err(UnknownRole),
        }
    }
}

/// A text that names no [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role")]
pub struct UnknownRole;

/// A participant a join token was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedParticipant {
    /// Id, UUIDv7.
    pub id: ParticipantId,
    /// The meeting it may join.
    pub meeting_id: MeetingId,
    /// Name shown to the others.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The application's user behind it, if it said so.
    pub user_id: Option<String>,
    /// When the token was issued. Stored to the microsecond.
    pub created_at: OffsetDateTime,
}

/// Which meetings to list, and which part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeetingFilter {
    /// Only active (`true`) or only ended (`false`) meetings.
    pub active: Option<bool>,
    /// Only meetings that this user or client created or was issued a token for.
    pub user_id: Option<String>,
    /// How many meetings to return at most.
    pub limit: u32,
    /// How many of the newest to leave out.
    pub offset: u32,
}

/// One part of the list of meetings, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingPage {
    /// The meetings of this part.
    pub meetings: Vec<Meeting>,
    /// How many meetings match the filter in all.
    pub total: u64,
}

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The slug belongs to another meeting; try another.
    #[error("the slug is taken")]
    SlugTaken,
    /// The id is in use already.
    #[error("the id is in use")]
    IdTaken,
    /// The participant's meeting does not exist.
    #[error("the meeting does not exist")]
    NoSuchMeeting,
    /// What was read cannot be a stored fact.
    #[error("stored data is damaged: {0}")]
    Damaged(&'static str),
    /// The database failed or was busy for too long.
    #[error("the database failed")]
    Backend(#[source] Box<dyn Error + Send + Sync>),
}

/// Durable facts of one deployment.
///
/// A returned `Ok` of a write means the fact survives a crash of the process and of the machine. Dropping a returned
/// future before it is ready leaves either all of the write or nothing.
pub trait Store: Send + Sync + 'static {
    /// Adds `meeting` and the participant of its creator, both or nothing.
    ///
    /// # Errors
    /// [`StoreError::SlugTaken`], [`StoreError::IdTaken`], [`StoreError::Backend`].
    fn create_meeting<'a>(
        &'a self,
        meeting: &'a Meeting,
        host: &'a IssuedParticipant,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The meeting with this id.
    fn meeting(&self, id: MeetingId) -> BoxFuture<'_, Result<Option<Meeting>, StoreError>>;

    /// The meeting with this slug; upper and lower case differ.
    fn meeting_by_slug<'a>(&'a self, slug: &'a str) -> BoxFuture<'a, Result<Option<Meeting>, StoreError>>;

    /// A part of the list of meetings.
    fn meetings<'a>(&'a self, filter: &'a MeetingFilter) -> BoxFuture<'a, Result<MeetingPage, StoreError>>;

    /// Marks a meeting as ended. `false` if it does not exist or had ended before.
    fn end_meeting(&self, id: MeetingId, at: OffsetDateTime) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Records that a join token is about to be issued.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMeeting`], [`StoreError::IdTaken`], [`StoreError::Backend`].
    fn issue_participant<'a>(
        &'a self,
        participant: &'a IssuedParticipant,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The participant with this id.
    fn participant(&self, id: ParticipantId) -> BoxFuture<'_, Result<Option<IssuedParticipant>, StoreError>>;

    /// Whether the backend answers.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
