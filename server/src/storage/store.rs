//! What every storage backend can do.

use std::error::Error;

use async_trait::async_trait;
use darktower_core::access::{OrganizationRole, ParticipantRole};
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId, UserId};
use time::OffsetDateTime;

use super::model::{
    Arrival, Attendance, AuditEntry, AuditFilter, Cleaned, Client, Invitee, IssuedParticipant, KeepSince,
    Listed, Meeting, MeetingFilter, MeetingSession, Organization, Page, QualitySample, QualityTotal,
    RefreshToken, Removal, Rotation, SecretHash, SessionFilter, SetupSecret, StoredPreset, User, UserFilter,
};

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something else has this value, which must be unique: which one.
    #[error("{0} is taken")]
    Taken(Unique),
    /// What the new fact refers to does not exist.
    #[error("what is referred to does not exist")]
    NoSuchReference,
    /// What was read cannot be a stored fact.
    #[error("stored data is damaged: {0}")]
    Damaged(&'static str),
    /// The database cannot be opened.
    #[error("cannot open {database}")]
    Unavailable {
        /// Which one, without what is secret in its location.
        database: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A newer program has changed the tables of the database.
    #[error(
        "{database} was last used by a newer version of this program (tables of version {found}, known: {known})"
    )]
    Newer {
        /// Which one, without what is secret in its location.
        database: String,
        /// The version of its tables.
        found: i64,
        /// The last version that this program knows.
        known: i64,
    },
    /// The database failed or was busy for too long.
    #[error("the database failed")]
    Backend(#[source] Box<dyn Error + Send + Sync>),
}

/// A value that only one thing may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unique {
    /// An id.
    #[error("the id")]
    Id,
    /// The slug of a meeting.
    #[error("the slug of the meeting")]
    MeetingSlug,
    /// The slug of an organization.
    #[error("the slug of the organization")]
    OrganizationSlug,
    /// An email address in an organization.
    #[error("the email address")]
    Email,
    /// The name of a preset in an organization.
    #[error("the name of the preset")]
    PresetName,
    /// The owner of an organization.
    #[error("the place of the owner")]
    Owner,
}

/// Result of a storage operation.
pub type Stored<T> = Result<T, StoreError>;

/// Durable facts of one deployment.
///
/// A returned `Ok` of a write means the fact survives a crash of the process and of the machine. Dropping a returned
/// future before it is ready leaves either all of the write or nothing. Writes that say `false` found nothing to
/// change. Everything fails with [`StoreError::Backend`] when the database does.
pub trait Store:
    OrganizationStore
    + UserStore
    + ClientStore
    + PresetStore
    + MeetingStore
    + ParticipantStore
    + SessionStore
    + QualityStore
    + AuditStore
    + Maintenance
{
}

impl<T> Store for T where
    T: OrganizationStore
        + UserStore
        + ClientStore
        + PresetStore
        + MeetingStore
        + ParticipantStore
        + SessionStore
        + QualityStore
        + AuditStore
        + Maintenance
{
}

/// Organizations.
#[async_trait]
pub trait OrganizationStore: Send + Sync + 'static {
    /// Adds an organization with its presets and, if it has one yet, its owner, all or nothing.
    ///
    /// # Errors
    /// [`Unique::Id`], [`Unique::OrganizationSlug`], [`Unique::PresetName`].
    async fn create_organization(
        &self,
        organization: &Organization,
        presets: &[StoredPreset],
        owner: Option<&User>,
    ) -> Stored<()>;

    /// The organization with this id.
    async fn organization(&self, id: OrganizationId) -> Stored<Option<Organization>>;

    /// The organization with this slug.
    async fn organization_by_slug(&self, slug: &str) -> Stored<Option<Organization>>;

    /// How many organizations there are.
    async fn count_organizations(&self) -> Stored<u64>;

    /// Writes name, settings and time of change, if it was last changed at `read_at`: the new time must be a later one, so
    /// that of two who change what both have read, one is told `false`. The slug stays.
    async fn update_organization(&self, organization: &Organization, read_at: OffsetDateTime)
    -> Stored<bool>;

    /// Removes an organization with everything in it, what there is much of in portions: after a crash in between, the
    /// organization is there, with less in it, and can be removed again.
    async fn delete_organization(&self, id: OrganizationId) -> Stored<bool>;
}

/// Users, their refresh tokens, and one-time secrets.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Adds a user, and with it the secret it sets its password with, both or nothing.
    ///
    /// # Errors
    /// [`Unique::Id`], [`Unique::Email`], [`Unique::Owner`]; [`StoreError::NoSuchReference`] for the organization.
    async fn create_user(&self, user: &User, setup: Option<&SetupSecret>) -> Stored<()>;

    /// The user with this id.
    async fn user(&self, id: UserId) -> Stored<Option<User>>;

    /// The user with this address, which must be in lower case.
    async fn user_by_email(&self, organization: OrganizationId, email: &str) -> Stored<Option<User>>;

    /// A part of the list of users.
    async fn users(&self, filter: &UserFilter) -> Stored<Listed<User>>;

    /// Writes what a user tells of itself: email, name, avatar and time of change.
    ///
    /// # Errors
    /// [`Unique::Email`].
    async fn update_profile(&self, user: &User) -> Stored<bool>;

    /// Lets a user sign in or not. Whoever may not has no refresh token any more, and is thrown out of the organization's
    /// meetings: what join tokens were issued for in its name is revoked. `false` if there is no such user, or it is the
    /// owner, who may always.
    async fn set_active(&self, id: UserId, is_active: bool, at: OffsetDateTime) -> Stored<bool>;

    /// Changes a role; `false` if there is no such user, or the owner would become something else. Making somebody the owner
    /// makes the owner before an admin, both or nothing, and ends the secret with which somebody else could set its password.
    async fn change_role(&self, id: UserId, role: OrganizationRole, at: OffsetDateTime) -> Stored<bool>;

    /// Sets a password and ends every refresh token but those of the family `keep`.
    async fn set_password(
        &self,
        id: UserId,
        hash: &str,
        keep: Option<uuid::Uuid>,
        at: OffsetDateTime,
    ) -> Stored<bool>;

    /// Removes a user with its tokens, secrets and invitations, and throws it out as [`set_active`](Self::set_active) does; its
    /// meetings stay.
    async fn delete_user(&self, id: UserId, at: OffsetDateTime) -> Stored<bool>;

    /// Adds the first refresh token of a login and notes the time of the login; `false` if the user may not sign in (any more),
    /// or its password's hash is not `password_hash`, the one that was verified.
    async fn begin_login(&self, token: &RefreshToken, password_hash: Option<&str>) -> Stored<bool>;

    /// The token with this hash, unless it is spent, revoked or ended at `now`.
    async fn refresh_token(&self, hash: &SecretHash, now: OffsetDateTime) -> Stored<Option<RefreshToken>>;

    /// Spends the token with the hash `old` for `new`, in one step: of two who try, one gets it. `new` has user and
    /// family of the old one. A token that was spent before was stolen from somebody, so every token of its user is
    /// revoked.
    async fn rotate_refresh_token(
        &self,
        old: &SecretHash,
        new: &RefreshToken,
        now: OffsetDateTime,
    ) -> Stored<Rotation>;

    /// Ends every token of the login that the token with this hash comes from.
    async fn end_login(&self, hash: &SecretHash) -> Stored<bool>;

    /// Ends every refresh token of a user.
    async fn end_logins(&self, user: UserId) -> Stored<u64>;

    /// Adds a one-time secret, in place of the ones before for the same user or the same owner to be. `false` if it is for
    /// a user who is the owner, and may not be (`for_owner`).
    async fn put_setup_secret(&self, secret: &SetupSecret, for_owner: bool) -> Stored<bool>;

    /// The secret with this hash, unless ended at `now`.
    async fn setup_secret(&self, hash: &SecretHash, now: OffsetDateTime) -> Stored<Option<SetupSecret>>;

    /// Uses up an owner's secret to add `owner`, both or nothing; `false` if the secret is not there any more.
    ///
    /// # Errors
    /// [`Unique::Email`], [`Unique::Owner`].
    async fn create_owner(&self, secret: &SecretHash, owner: &User) -> Stored<bool>;

    /// Uses up a user's secret to set its password (and its name, if given), and ends its refresh tokens; `false` if
    /// the secret is not there any more.
    async fn activate_user(
        &self,
        secret: &SecretHash,
        password_hash: &str,
        name: Option<&str>,
        at: OffsetDateTime,
    ) -> Stored<bool>;

    /// Whether the organization has an owner.
    async fn has_owner(&self, organization: OrganizationId) -> Stored<bool>;
}

/// Machine clients.
#[async_trait]
pub trait ClientStore: Send + Sync + 'static {
    /// Adds a client.
    ///
    /// # Errors
    /// [`Unique::Id`]; [`StoreError::NoSuchReference`] for the organization.
    async fn create_client(&self, client: &Client) -> Stored<()>;

    /// The client with this id.
    async fn client(&self, id: &str) -> Stored<Option<Client>>;

    /// A part of the list of clients, by id.
    async fn clients(&self, organization: OrganizationId, page: Page) -> Stored<Listed<Client>>;

    /// Gives a client another secret.
    async fn set_client_secret(&self, id: &str, hash: &SecretHash) -> Stored<bool>;

    /// Removes a client.
    async fn delete_client(&self, id: &str) -> Stored<bool>;
}

/// Presets.
#[async_trait]
pub trait PresetStore: Send + Sync + 'static {
    /// Adds a preset; `false` if the organization has `at_most` already.
    ///
    /// # Errors
    /// [`Unique::PresetName`]; [`StoreError::NoSuchReference`] for the organization.
    async fn create_preset(
        &self,
        organization: OrganizationId,
        preset: &StoredPreset,
        at_most: u32,
    ) -> Stored<bool>;

    /// The preset with this name.
    async fn preset(&self, organization: OrganizationId, name: &str) -> Stored<Option<StoredPreset>>;

    /// All presets, by name.
    async fn presets(&self, organization: OrganizationId) -> Stored<Vec<StoredPreset>>;

    /// Writes content and time of change of the preset of the same name.
    async fn update_preset(&self, organization: OrganizationId, preset: &StoredPreset) -> Stored<bool>;

    /// Removes a preset that was not shipped.
    async fn delete_preset(&self, organization: OrganizationId, name: &str) -> Stored<bool>;
}

/// Meetings and who is invited to them.
#[async_trait]
pub trait MeetingStore: Send + Sync + 'static {
    /// Adds a meeting and the participant of its creator, both or nothing.
    ///
    /// # Errors
    /// [`Unique::MeetingSlug`], [`Unique::Id`]; [`StoreError::NoSuchReference`] for the organization.
    async fn create_meeting(&self, meeting: &Meeting, host: &IssuedParticipant) -> Stored<()>;

    /// The meeting with this id.
    async fn meeting(&self, id: MeetingId) -> Stored<Option<Meeting>>;

    /// The meeting with this slug; upper and lower case differ.
    async fn meeting_by_slug(&self, slug: &str) -> Stored<Option<Meeting>>;

    /// A part of the list of meetings.
    async fn meetings(&self, filter: &MeetingFilter) -> Stored<Listed<Meeting>>;

    /// Writes everything about a meeting but id, organization, slug, creator and creation, if it is still at
    /// `meeting.version`, and counts the version up. With `removal`, both or nothing.
    async fn update_meeting(&self, meeting: &Meeting, removal: Option<&Removal>) -> Stored<bool>;

    /// Removes a meeting with everything about it; the removal stays for those who hold it live. What there is much of goes in
    /// portions: after a crash in between, the meeting is there and over, with less in it, and can be removed again.
    async fn delete_meeting(&self, id: MeetingId, removal: &Removal) -> Stored<bool>;

    /// Activates every scheduled meeting whose time has come, and says which.
    async fn activate_due(&self, now: OffsetDateTime) -> Stored<Vec<MeetingId>>;

    /// Ends every active meeting that nobody has ever joined, and says which: instant ones that were created before `before`,
    /// scheduled ones after their end or, without one, whose time was before `before`.
    async fn end_unjoined(&self, now: OffsetDateTime, before: OffsetDateTime) -> Stored<Vec<MeetingId>>;

    /// Invites a user; again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoSuchReference`] for meeting and user.
    async fn invite(&self, meeting: MeetingId, user: UserId, at: OffsetDateTime) -> Stored<()>;

    /// Takes an invitation back, and throws the user out of the meeting as [`UserStore::set_active`] does out of all.
    async fn uninvite(&self, meeting: MeetingId, user: UserId, at: OffsetDateTime) -> Stored<bool>;

    /// Whether a user is invited.
    async fn is_invited(&self, meeting: MeetingId, user: UserId) -> Stored<bool>;

    /// A part of the list of who is invited, by email.
    async fn invitees(&self, meeting: MeetingId, page: Page) -> Stored<Listed<Invitee>>;
}

/// Participants that join tokens were issued for, and throwing them out.
#[async_trait]
pub trait ParticipantStore: Send + Sync + 'static {
    /// Records that a join token is about to be issued.
    ///
    /// # Errors
    /// [`Unique::Id`]; [`StoreError::NoSuchReference`] for the meeting.
    async fn issue_participant(&self, participant: &IssuedParticipant) -> Stored<()>;

    /// The participant with this id.
    async fn participant(&self, id: ParticipantId) -> Stored<Option<IssuedParticipant>>;

    /// Records that a further token of an unrevoked participant is about to be issued.
    async fn renew_participant(&self, id: ParticipantId, expires_at: OffsetDateTime) -> Stored<bool>;

    /// Gives an unrevoked participant another name, another preset and the role that goes with it, or both; `false` if it
    /// is revoked or unknown.
    async fn change_participant(
        &self,
        id: ParticipantId,
        name: Option<&str>,
        preset: Option<(&str, ParticipantRole)>,
    ) -> Stored<bool>;

    /// Marks `removal.participant_id` as revoked and has it thrown out, both or nothing; `false` if it is revoked
    /// already or unknown.
    async fn revoke_participant(&self, removal: &Removal) -> Stored<bool> {
        Ok(self.revoke_participants(std::slice::from_ref(removal)).await?.contains(&true))
    }

    /// As [`revoke_participant`](Self::revoke_participant) for many at once: all of it or nothing. Says of each whether
    /// it was revoked.
    async fn revoke_participants(&self, removals: &[Removal]) -> Stored<Vec<bool>>;

    /// Has everybody thrown out who is in the meeting now; their tokens go on working.
    async fn remove_all(&self, removal: &Removal) -> Stored<()>;

    /// Removals at or after `since`, in the order of their times. Who polls asks again for some seconds before: another
    /// server's clock may be behind, and its write may have taken a while.
    async fn removals(&self, since: OffsetDateTime) -> Stored<Vec<Removal>>;
}

/// Sessions and who took part in them.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Records a join: begins the session if none runs, activates a scheduled meeting and notes its first start. A stay
    /// of the same participant that has not ended ends now. `None` if there is nothing to join: the meeting is gone, over or
    /// (for all but hosts) has not begun, or the participant was thrown out.
    ///
    /// # Errors
    /// [`StoreError::NoSuchReference`] for the participant.
    async fn arrive(&self, arrival: &Arrival) -> Stored<Option<MeetingSession>>;

    /// Records a leave; `false` if the participant is not there.
    async fn depart(
        &self,
        session: MeetingSessionId,
        participant: ParticipantId,
        at: OffsetDateTime,
        reason: &str,
    ) -> Stored<bool>;

    /// Ends a running session and every stay in it at a time that may have passed, and with it the meeting, unless that is
    /// permanent or over. A meeting whose
    /// time is still to come waits for it again.
    async fn end_session(&self, id: MeetingSessionId, at: OffsetDateTime) -> Stored<bool>;

    /// Notes that the sessions still run.
    async fn touch_sessions(&self, ids: &[MeetingSessionId], at: OffsetDateTime) -> Stored<()>;

    /// Running sessions that nobody has touched since `before`: their server is gone.
    async fn stale_sessions(&self, before: OffsetDateTime) -> Stored<Vec<MeetingSession>>;

    /// Running sessions that began before the longest time that their organization allows, or `default_minutes`.
    async fn overlong_sessions(
        &self,
        now: OffsetDateTime,
        default_minutes: u32,
    ) -> Stored<Vec<MeetingSession>>;

    /// The session with this id.
    async fn session(&self, id: MeetingSessionId) -> Stored<Option<MeetingSession>>;

    /// The running session of a meeting.
    async fn active_session(&self, meeting: MeetingId) -> Stored<Option<MeetingSession>>;

    /// A part of the list of sessions.
    async fn sessions(&self, filter: &SessionFilter) -> Stored<Listed<MeetingSession>>;

    /// How many sessions of the organization run.
    async fn count_active_sessions(&self, organization: OrganizationId) -> Stored<u64>;

    /// Who took part, in the order of coming.
    async fn attendances(&self, session: MeetingSessionId, page: Page) -> Stored<Listed<Attendance>>;

    /// How many guests are in the meeting now.
    async fn count_live_guests(&self, meeting: MeetingId) -> Stored<u32>;
}

/// How media got through.
#[async_trait]
pub trait QualityStore: Send + Sync + 'static {
    /// Adds a sample, and adds it to the total of its participant in the session, both or nothing. Totals stay when samples are
    /// [cleaned](Maintenance::clean), for as long as the session.
    ///
    /// # Errors
    /// [`StoreError::NoSuchReference`] for the session; [`Unique::Id`] if there is one of the same moment.
    async fn add_quality_sample(&self, sample: &QualitySample) -> Stored<()>;

    /// A part of the samples of one participant, the earliest first.
    async fn quality_samples(
        &self,
        session: MeetingSessionId,
        participant: ParticipantId,
        page: Page,
    ) -> Stored<Listed<QualitySample>>;

    /// A part of the totals of a session, by participant.
    async fn quality_totals(&self, session: MeetingSessionId, page: Page) -> Stored<Listed<QualityTotal>>;
}

/// Who did what.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// Adds an entry.
    async fn append_audit(&self, entry: &AuditEntry) -> Stored<()>;

    /// A part of the log.
    async fn audit_log(&self, filter: &AuditFilter) -> Stored<Listed<AuditEntry>>;
}

/// The database itself.
#[async_trait]
pub trait Maintenance: Send + Sync + 'static {
    /// Whether the backend answers.
    async fn check(&self) -> Stored<()>;

    /// Removes what has ended, and what was over before what is kept. Works in portions, so that others are not kept
    /// waiting; call it again while it removes something.
    async fn clean(&self, now: OffsetDateTime, keep: KeepSince) -> Stored<Cleaned>;

    /// Waits for running operations and closes the database. Later calls fail.
    async fn close(&self);
}
