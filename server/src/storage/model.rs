//! The facts that a store keeps. Times are kept to the microsecond.

use std::time::Duration;

use darktower_core::access::guests::{AccessPolicy, GuestAccess};
use darktower_core::access::{OrganizationRole, ParticipantRole, Scope};
use darktower_core::meeting::WaitingRoom;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_core::meeting::quality::QualityRecord;
use darktower_core::preset::Preset;
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId, UserId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// SHA-256 of a secret that was drawn at random: what is kept of tokens and client secrets.
pub type SecretHash = [u8; 32];

/// Users, meetings and settings that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Id, UUIDv7.
    pub id: OrganizationId,
    /// Name shown to people.
    pub name: String,
    /// Name in links and at login, unique.
    pub slug: String,
    /// What its administrators chose.
    pub settings: OrganizationSettings,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// What an organization's administrators chose. `None` is the server's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSettings {
    /// What meetings do that say nothing themselves.
    pub guest_access: GuestAccess,
    /// Sessions that may run at one time.
    pub max_concurrent_meetings: Option<u32>,
    /// Participants one meeting may have, and the value of one that asks for none.
    pub max_participants: Option<u32>,
    /// Minutes after which a session is ended.
    pub max_meeting_minutes: Option<u32>,
    /// Whether users with the role host are hosts in meetings of others too.
    pub hosts_host_everywhere: bool,
}

impl Default for OrganizationSettings {
    fn default() -> Self {
        Self {
            guest_access: GuestAccess::LinkOnly,
            max_concurrent_meetings: None,
            max_participants: None,
            max_meeting_minutes: None,
            hosts_host_everywhere: false,
        }
    }
}

/// A person with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Id, UUIDv7.
    pub id: UserId,
    /// Where it belongs.
    pub organization_id: OrganizationId,
    /// Address, in lower case; unique in the organization.
    pub email: String,
    /// Name shown to people.
    pub name: String,
    /// What it may do.
    pub role: OrganizationRole,
    /// PHC string (argon2id); `None` until a password is set.
    pub password_hash: Option<String>,
    /// URL of a picture.
    pub avatar_url: Option<String>,
    /// Whether it may sign in.
    pub is_active: bool,
    /// When it last signed in.
    pub last_login_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// Which users to list, ordered by email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFilter {
    /// Of this organization.
    pub organization_id: OrganizationId,
    /// Only with this role.
    pub role: Option<OrganizationRole>,
    /// Only with this text in name or email, whatever its case.
    pub search: Option<String>,
    /// Which part of the list.
    pub page: Page,
}

/// A refresh token of a user. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// SHA-256 of the token.
    pub hash: SecretHash,
    /// Whose.
    pub user_id: UserId,
    /// The login it comes from: every token that replaces it has the same.
    pub family: Uuid,
    /// When it was issued.
    pub created_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// What came of exchanging a refresh token for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new one is stored, the old one is spent.
    Rotated,
    /// The old one had been spent before: all tokens of its user are revoked now.
    Reused(UserId),
    /// There is no such token, or it has ended or been revoked.
    Unknown,
}

/// A one-time secret that lets its holder become the owner of an organization, or a user set its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupSecret {
    /// SHA-256 of the secret.
    pub hash: SecretHash,
    /// Where it applies.
    pub organization_id: OrganizationId,
    /// Who sets a password; `None` for the future owner.
    pub user_id: Option<UserId>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
}

/// A machine client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Public name, unique in the deployment.
    pub id: String,
    /// Where it belongs.
    pub organization_id: OrganizationId,
    /// What it is for.
    pub name: String,
    /// SHA-256 of its secret.
    pub secret_hash: SecretHash,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

/// A preset of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPreset {
    /// The preset itself; its name is unique in the organization.
    pub preset: Preset,
    /// Whether it came with the server: it can be changed, not deleted.
    pub is_shipped: bool,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// A meeting: durable, while its sessions come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Id, UUIDv7.
    pub id: MeetingId,
    /// Where it belongs.
    pub organization_id: OrganizationId,
    /// Short code for links, unique in the deployment.
    pub slug: String,
    /// Name shown to people.
    pub display_name: String,
    /// What it is about.
    pub description: Option<String>,
    /// Decides which presets its participants get.
    pub meeting_type: MeetingType,
    /// How it comes about.
    pub scheduling: Scheduling,
    /// Where it is in its life.
    pub status: MeetingStatus,
    /// Whom it is open to; `None` follows the organization.
    pub access_policy: Option<AccessPolicy>,
    /// How many participants may be in it at once.
    pub max_participants: u32,
    /// How many of them may be guests; `None` is half.
    pub max_guests: Option<u32>,
    /// How long a session goes on without anybody, seconds.
    pub keep_alive_seconds: u32,
    /// What its creator chose.
    pub settings: MeetingSettings,
    /// The user or client that created it; `None` in development mode without a token.
    pub created_by: Option<String>,
    /// When it is to begin.
    pub scheduled_start: Option<OffsetDateTime>,
    /// When it is to end; for calendars: only a meeting that nobody has joined ends then.
    pub scheduled_end: Option<OffsetDateTime>,
    /// When somebody first joined; what was over before its time does not count.
    pub started_at: Option<OffsetDateTime>,
    /// When its status became final.
    pub ended_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
    /// Counts changes, from 0: an update names the version it was made from.
    pub version: i64,
}

impl Meeting {
    /// Whether somebody with this role may come in at `now`; see [`MeetingStatus::admits`].
    #[must_use]
    pub fn admits(&self, role: ParticipantRole, now: OffsetDateTime) -> bool {
        let is_due = self.scheduled_start.is_some_and(|start| start <= now);
        self.status.admits(role == ParticipantRole::Host, is_due)
    }
}

/// What the creator of a meeting chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeetingSettings {
    /// Payloads are encrypted by the participants; the server cannot read them.
    pub enable_e2e_encryption: bool,
    /// The meeting may be recorded.
    pub recording_enabled: bool,
    /// Whether newcomers wait.
    pub waiting_room: WaitingRoom,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many to return at most.
    pub limit: u32,
    /// How many of the first to leave out.
    pub offset: u32,
}

/// One part of a list, and how many there are in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// This part.
    pub items: Vec<T>,
    /// How many match in all.
    pub total: u64,
}

/// Which meetings to list, newest first. Every part narrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingFilter {
    /// Of this organization.
    pub organization_id: OrganizationId,
    /// Only active (`true`) or only not active (`false`) ones.
    pub active: Option<bool>,
    /// Only with this status.
    pub status: Option<MeetingStatus>,
    /// Only those that this user or client created, was invited to, or was issued a token for.
    pub user_id: Option<String>,
    /// Only those that this user may see as a member: created by it, not for invited users only, or it is invited.
    pub visible_to: Option<UserId>,
    /// Only with this text in name or description, whatever its case.
    pub search: Option<String>,
    /// Only created at or after.
    pub from: Option<OffsetDateTime>,
    /// Only created before.
    pub to: Option<OffsetDateTime>,
    /// Which part of the list.
    pub page: Page,
}

/// A user that was invited to a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitee {
    /// Who.
    pub user_id: UserId,
    /// Its address.
    pub email: String,
    /// Its name.
    pub name: String,
    /// When.
    pub invited_at: OffsetDateTime,
}

/// A participant a join token was issued for, whether or not it ever joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedParticipant {
    /// Id, UUIDv7.
    pub id: ParticipantId,
    /// The meeting it may join.
    pub meeting_id: MeetingId,
    /// Name shown to the others.
    pub name: String,
    /// What it is in the meeting.
    pub role: ParticipantRole,
    /// Name of the preset with its permissions.
    pub preset: String,
    /// The user behind it: one of ours, or as the application calls it.
    pub user_id: Option<String>,
    /// Whether it came without an account.
    pub is_guest: bool,
    /// The user or client that issued the token; `None` for guests who came themselves.
    pub issued_by: Option<String>,
    /// When the first token was issued.
    pub created_at: OffsetDateTime,
    /// When the last token ends.
    pub expires_at: OffsetDateTime,
    /// When it was thrown out: no token works any more.
    pub revoked_at: Option<OffsetDateTime>,
}

/// One activation of a meeting, from the first join until it has been empty for the keep-alive time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingSession {
    /// Id, UUIDv7.
    pub id: MeetingSessionId,
    /// Of which meeting.
    pub meeting_id: MeetingId,
    /// Where the meeting belongs.
    pub organization_id: OrganizationId,
    /// Name of the meeting, for lists.
    pub display_name: String,
    /// First join.
    pub started_at: OffsetDateTime,
    /// End; `None` while it runs.
    pub ended_at: Option<OffsetDateTime>,
    /// Joins of different participants.
    pub participant_count: u32,
    /// Who is there now.
    pub live_count: u32,
    /// Most that were there at one time.
    pub peak_count: u32,
    /// When the server that runs it last said so.
    pub last_seen_at: OffsetDateTime,
}

/// Which sessions to list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this organization.
    pub organization_id: OrganizationId,
    /// Only of this meeting.
    pub meeting_id: Option<MeetingId>,
    /// Only of meetings that this user or client created.
    pub created_by: Option<String>,
    /// Only running (`true`) or only ended (`false`) ones.
    pub active: Option<bool>,
    /// Which part of the list.
    pub page: Page,
}

/// One stay of a participant in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// In which session.
    pub session_id: MeetingSessionId,
    /// Who.
    pub participant_id: ParticipantId,
    /// Under which name.
    pub name: String,
    /// As what.
    pub role: ParticipantRole,
    /// The user behind it.
    pub user_id: Option<String>,
    /// Whether it came without an account.
    pub is_guest: bool,
    /// When it came.
    pub joined_at: OffsetDateTime,
    /// When it left; `None` while it is there.
    pub left_at: Option<OffsetDateTime>,
    /// Why it left: `voluntary`, `kicked`, `connection_lost`, `meeting_ended` …
    pub leave_reason: Option<String>,
}

/// A participant that joins, and what a session needs of its meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which meeting.
    pub meeting_id: MeetingId,
    /// Id of the session if this join begins one.
    pub new_session_id: MeetingSessionId,
    /// Who.
    pub participant_id: ParticipantId,
    /// Under which name.
    pub name: String,
    /// When.
    pub at: OffsetDateTime,
}

/// Somebody has to be thrown out of a live meeting, wherever it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Differs between any two.
    pub id: Uuid,
    /// From which meeting.
    pub meeting_id: MeetingId,
    /// Whom; `None` for everybody.
    pub participant_id: Option<ParticipantId>,
    /// Whether the meeting is over.
    pub meeting_over: bool,
    /// Since when.
    pub at: OffsetDateTime,
}

impl Removal {
    /// From now on.
    #[must_use]
    pub fn now(meeting_id: MeetingId, participant_id: Option<ParticipantId>, meeting_over: bool) -> Self {
        let now = OffsetDateTime::now_utc();
        // As exact as it is kept.
        let at = now.replace_microsecond(now.microsecond()).unwrap_or(now);
        Self { id: Uuid::now_v7(), meeting_id, participant_id, meeting_over, at }
    }
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Id, UUIDv7.
    pub id: Uuid,
    /// In which organization; `None` for what is nobody's, such as a failed login.
    pub organization_id: Option<OrganizationId>,
    /// When.
    pub at: OffsetDateTime,
    /// `user`, `client`, `guest`, `participant` (in the meeting), `developer`, `operator` (command line), `system` (background job) or `nobody`.
    pub actor_kind: String,
    /// Id of the user or client.
    pub actor_id: Option<String>,
    /// What was done: `meeting.create` …
    pub action: String,
    /// To which kind of thing: `meeting` …
    pub target_kind: Option<String>,
    /// To which one.
    pub target_id: Option<String>,
    /// More about it, a JSON object without secrets.
    pub details: serde_json::Value,
    /// The request it was done by.
    pub request_id: Option<String>,
}

/// Which entries of the audit log to list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this organization.
    pub organization_id: OrganizationId,
    /// Only by this user or client.
    pub actor_id: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only about this thing.
    pub target_id: Option<String>,
    /// Only at or after.
    pub from: Option<OffsetDateTime>,
    /// Only before.
    pub to: Option<OffsetDateTime>,
    /// Which part of the list.
    pub page: Page,
}

/// How a participant's media got through for about ten seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct QualitySample {
    /// In which session.
    pub session_id: MeetingSessionId,
    /// The end of it.
    pub at: OffsetDateTime,
    /// How.
    pub record: QualityRecord,
}

/// All that is known of how a participant's media got through in one session.
#[derive(Clone, Debug, PartialEq)]
pub struct QualityTotal {
    /// All samples as one, without the path's capacity and what the client said.
    pub record: QualityRecord,
    /// For how long its samples were excellent.
    pub excellent: Duration,
    /// … good.
    pub good: Duration,
    /// … fair.
    pub fair: Duration,
    /// … poor.
    pub poor: Duration,
}

/// From when on things stay that are over.
#[derive(Clone, Copy, Debug)]
pub struct KeepSince {
    /// Meetings, sessions, participants and the audit log.
    pub records: OffsetDateTime,
    /// Samples of quality.
    pub quality_samples: OffsetDateTime,
}

/// What a round of cleaning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Refresh tokens and setup secrets that had ended.
    pub secrets: u64,
    /// Removals that every server has seen.
    pub removals: u64,
    /// Meetings that had been over for longer than they are kept, with everything about them.
    pub meetings: u64,
    /// Participants whose last token had ended before that.
    pub participants: u64,
    /// Ended sessions older than they are kept.
    pub sessions: u64,
    /// Entries of the audit log older than they are kept.
    pub audit_entries: u64,
    /// Samples of quality older than they are kept.
    pub quality_samples: u64,
}
