//! Creating meetings, finding them, and letting participants in.

use std::sync::Arc;

use darktower_core::access::ParticipantRole;
use darktower_core::access::guests::AccessPolicy;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_protocol::{MeetingId, OrganizationId, ParticipantId};
use time::OffsetDateTime;

use super::error::{ApiError, ErrorCode};
use super::{LiveMeetings, LiveParticipant};
use crate::auth::JOIN_TOKEN_LIFETIME;
use crate::auth::{JoinClaims, TokenService};
use crate::storage::model::{IssuedParticipant, Listed, Meeting, MeetingFilter, MeetingSettings};
use crate::storage::{Store, StoreError, Unique};

/// Names of meetings and participants, characters.
const MAX_NAME_LEN: usize = 200;
/// Ids of the application's users, characters.
const MAX_USER_ID_LEN: usize = 200;
/// Without i, l, o, 0 and 1, which people confuse when they type a link.
const SLUG_ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 31^10 is about 8 * 10^14: nobody finds a meeting by trying.
const SLUG_LEN: usize = 10;
/// Two slugs meet once in millions of meetings; more than a few in a row means something else is wrong.
const SLUG_ATTEMPTS: usize = 5;
/// Longest page of the list.
pub(super) const MAX_PAGE: u32 = 200;

/// Why the logic refuses or fails. Messages are for clients.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeetingsError {
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error(
        "A meeting cannot have enable_e2e_encryption and recording_enabled: the server could not read what it records"
    )]
    EncryptedRecording,
    #[error("Meeting {0} does not exist")]
    NotFound(MeetingId),
    #[error("This meeting does not exist")]
    SlugNotFound,
    #[error("Meeting {0} has ended")]
    Ended(MeetingId),
    #[error("no random numbers")]
    Random,
    #[error("storage")]
    Store(#[from] StoreError),
}

/// A meeting to create.
pub(super) struct NewMeeting {
    pub(super) display_name: String,
    pub(super) max_participants: Option<u32>,
    pub(super) settings: MeetingSettings,
    pub(super) require_auth: bool,
    pub(super) organization_id: OrganizationId,
    pub(super) created_by: Option<String>,
}

/// A participant to let in.
pub(super) struct NewParticipant {
    pub(super) name: String,
    pub(super) role: ParticipantRole,
    pub(super) user_id: Option<String>,
}

/// A join token and what it is for.
pub(super) struct Issued {
    pub(super) claims: JoinClaims,
    pub(super) join_token: String,
}

/// A meeting with what is live of it.
pub(super) struct MeetingView {
    pub(super) meeting: Meeting,
    pub(super) participant_count: usize,
}

pub(super) struct Meetings {
    store: Arc<dyn Store>,
    tokens: Arc<TokenService>,
    live: Arc<dyn LiveMeetings>,
    max_participants: u32,
}

impl Meetings {
    pub(super) fn new(
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        live: Arc<dyn LiveMeetings>,
        max_participants: u32,
    ) -> Self {
        Self { store, tokens, live, max_participants }
    }

    /// Creates a meeting and a host token for its creator.
    pub(super) async fn create(&self, new: NewMeeting) -> Result<(Meeting, Issued), MeetingsError> {
        let display_name = text("display_name", &new.display_name, MAX_NAME_LEN)?;
        let max_participants = new.max_participants.unwrap_or(self.max_participants);
        if !(1..=self.max_participants).contains(&max_participants) {
            let reason = format!("must be 1 to {}", self.max_participants);
            return Err(MeetingsError::Invalid { field: "max_participants", reason });
        }
        if new.settings.enable_e2e_encryption && new.settings.recording_enabled {
            return Err(MeetingsError::EncryptedRecording);
        }
        let created_at = now();
        let mut meeting = Meeting {
            id: MeetingId::generate(),
            organization_id: new.organization_id,
            slug: String::new(),
            display_name,
            description: None,
            meeting_type: MeetingType::Video,
            scheduling: Scheduling::Instant,
            status: MeetingStatus::Active,
            access_policy: Some(if new.require_auth { AccessPolicy::Members } else { AccessPolicy::Link }),
            max_participants,
            max_guests: None,
            keep_alive_seconds: 60,
            settings: new.settings,
            created_by: new.created_by,
            scheduled_start: None,
            scheduled_end: None,
            started_at: None,
            ended_at: None,
            created_at,
            updated_at: created_at,
            version: 0,
        };
        let host = participant(
            meeting.id,
            "Host".to_owned(),
            ParticipantRole::Host,
            None,
            meeting.created_by.clone(),
        );
        for attempt in 1.. {
            meeting.slug = random_slug()?;
            match self.store.create_meeting(&meeting, &host).await {
                Err(StoreError::Taken(Unique::MeetingSlug)) if attempt < SLUG_ATTEMPTS => {}
                Err(error) => return Err(error.into()),
                Ok(()) => break,
            }
        }
        tracing::info!(meeting = %meeting.id, max_participants, "meeting created");
        Ok((meeting, self.token_for(&host, new.organization_id)))
    }

    pub(super) async fn by_id(&self, id: MeetingId) -> Result<MeetingView, MeetingsError> {
        let meeting = self.store.meeting(id).await?.ok_or(MeetingsError::NotFound(id))?;
        Ok(self.view(meeting))
    }

    pub(super) async fn by_slug(&self, slug: &str) -> Result<MeetingView, MeetingsError> {
        let meeting = self.store.meeting_by_slug(slug).await?.ok_or(MeetingsError::SlugNotFound)?;
        Ok(self.view(meeting))
    }

    /// One page of the list and the number of all matching meetings.
    pub(super) async fn list(&self, filter: MeetingFilter) -> Result<(Vec<MeetingView>, u64), MeetingsError> {
        if !(1..=MAX_PAGE).contains(&filter.page.limit) {
            return Err(MeetingsError::Invalid {
                field: "limit",
                reason: format!("must be 1 to {MAX_PAGE}"),
            });
        }
        let Listed { items, total } = self.store.meetings(&filter).await?;
        Ok((items.into_iter().map(|meeting| self.view(meeting)).collect(), total))
    }

    /// Issues a join token for a further participant.
    pub(super) async fn add_participant(
        &self,
        id: MeetingId,
        new: NewParticipant,
    ) -> Result<Issued, MeetingsError> {
        let name = text("name", &new.name, MAX_NAME_LEN)?;
        let user_id = new.user_id.map(|user_id| text("user_id", &user_id, MAX_USER_ID_LEN)).transpose()?;
        let meeting = self.store.meeting(id).await?.ok_or(MeetingsError::NotFound(id))?;
        if !meeting.status.is_joinable() {
            return Err(MeetingsError::Ended(id));
        }
        let participant = participant(id, name, new.role, user_id, None);
        self.store.issue_participant(&participant).await?;
        tracing::info!(meeting = %id, participant = %participant.id, role = %participant.role, "join token issued");
        Ok(self.token_for(&participant, meeting.organization_id))
    }

    /// Who is in the meeting now.
    pub(super) async fn roster(&self, id: MeetingId) -> Result<Vec<LiveParticipant>, MeetingsError> {
        self.store.meeting(id).await?.ok_or(MeetingsError::NotFound(id))?;
        Ok(self.live.roster(id))
    }

    fn view(&self, meeting: Meeting) -> MeetingView {
        MeetingView { participant_count: self.live.participant_count(meeting.id), meeting }
    }

    fn token_for(&self, participant: &IssuedParticipant, organization: OrganizationId) -> Issued {
        let claims = JoinClaims::of(participant, organization);
        Issued { join_token: self.tokens.issue_join(&claims), claims }
    }
}

fn participant(
    meeting_id: MeetingId,
    name: String,
    role: ParticipantRole,
    user_id: Option<String>,
    issued_by: Option<String>,
) -> IssuedParticipant {
    let created_at = now();
    IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id,
        name,
        role,
        preset: format!("video_{role}"),
        user_id,
        is_guest: false,
        issued_by,
        created_at,
        expires_at: created_at + JOIN_TOKEN_LIFETIME,
        revoked_at: None,
    }
}

impl From<MeetingsError> for ApiError {
    fn from(error: MeetingsError) -> Self {
        match error {
            MeetingsError::Invalid { field, .. } => Self::field(field, error.to_string()),
            MeetingsError::EncryptedRecording => Self::new(ErrorCode::Conflict, error.to_string()),
            MeetingsError::NotFound(_) | MeetingsError::SlugNotFound => {
                Self::new(ErrorCode::MeetingNotFound, error.to_string())
            }
            MeetingsError::Ended(_) => Self::new(ErrorCode::MeetingEnded, error.to_string()),
            MeetingsError::Random | MeetingsError::Store(_) => Self::internal(error),
        }
    }
}

/// The text without white space around it, if it is one line of 1 to `max` characters.
fn text(field: &'static str, value: &str, max: usize) -> Result<String, MeetingsError> {
    let value = value.trim();
    let len = value.chars().count();
    let reason = if len == 0 || len > max {
        format!("must have 1 to {max} characters")
    } else if value.chars().any(char::is_control) {
        "must not contain control characters".to_owned()
    } else {
        return Ok(value.to_owned());
    };
    Err(MeetingsError::Invalid { field, reason })
}

/// Now, to the millisecond: what the API shows is what the store keeps.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_millisecond(now.millisecond()).unwrap_or(now)
}

fn random_slug() -> Result<String, MeetingsError> {
    let mut slug = String::with_capacity(SLUG_LEN);
    while slug.len() < SLUG_LEN {
        let mut bytes = [0; SLUG_LEN];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| MeetingsError::Random)?;
        // Five bits of each byte; the one value beyond the alphabet is drawn again, so that all letters are as likely.
        let letters = bytes.iter().filter_map(|byte| SLUG_ALPHABET.get(usize::from(byte & 31)));
        slug.extend(letters.map(|letter| char::from(*letter)).take(SLUG_LEN - slug.len()));
    }
    Ok(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_use_every_letter_of_the_alphabet_and_no_other() {
        let slugs: Vec<_> = (0..1000).map(|_| random_slug().expect("random numbers")).collect();
        assert!(slugs.iter().all(|slug| slug.len() == SLUG_LEN));
        let used: std::collections::BTreeSet<_> = slugs.iter().flat_map(|slug| slug.bytes()).collect();
        assert_eq!(used, SLUG_ALPHABET.iter().copied().collect());
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(text("name", "  Zoë \n", 200).expect("fine"), "Zoë");
        assert!(text("name", &"é".repeat(200), 200).is_ok());
        for bad in ["", " \t ", "a\nb", "a\u{0}b", "a\u{7f}", "a\u{85}b", &"é".repeat(201)] {
            let message = text("name", bad, 200).expect_err("refused").to_string();
            assert!(message.starts_with("name must"), "{message}");
        }
    }
}
