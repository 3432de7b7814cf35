//! Stand-in until the real one is merged.

use std::path::Path;

use async_trait::async_trait;
use darktower_core::access::OrganizationRole;
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId, UserId};
use time::OffsetDateTime;

use super::model::*;
use super::store::*;

/// Stand-in.
#[derive(Clone, Debug)]
pub struct SqliteStore;

impl SqliteStore {
    /// Stand-in.
    pub async fn open(_path: &Path) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

#[async_trait]
impl OrganizationStore for SqliteStore {
    async fn create_organization(
        &self,
        _organization: &Organization,
        _presets: &[StoredPreset],
    ) -> Stored<()> {
        unimplemented!()
    }
    async fn organization(&self, _id: OrganizationId) -> Stored<Option<Organization>> {
        unimplemented!()
    }
    async fn organization_by_slug(&self, _slug: &str) -> Stored<Option<Organization>> {
        unimplemented!()
    }
    async fn count_organizations(&self) -> Stored<u64> {
        unimplemented!()
    }
    async fn update_organization(&self, _organization: &Organization) -> Stored<bool> {
        unimplemented!()
    }
    async fn delete_organization(&self, _id: OrganizationId) -> Stored<bool> {
        unimplemented!()
    }
}

#[async_trait]
impl UserStore for SqliteStore {
    async fn create_user(&self, _user: &User, _setup: Option<&SetupSecret>) -> Stored<()> {
        unimplemented!()
    }
    async fn user(&self, _id: UserId) -> Stored<Option<User>> {
        unimplemented!()
    }
    async fn user_by_email(&self, _organization: OrganizationId, _email: &str) -> Stored<Option<User>> {
        unimplemented!()
    }
    async fn users(&self, _filter: &UserFilter) -> Stored<Listed<User>> {
        unimplemented!()
    }
    async fn update_user(&self, _user: &User) -> Stored<bool> {
        unimplemented!()
    }
    async fn change_role(&self, _id: UserId, _role: OrganizationRole, _at: OffsetDateTime) -> Stored<bool> {
        unimplemented!()
    }
    async fn set_password(
        &self,
        _id: UserId,
        _hash: &str,
        _keep: Option<uuid::Uuid>,
        _at: OffsetDateTime,
    ) -> Stored<bool> {
        unimplemented!()
    }
    async fn delete_user(&self, _id: UserId) -> Stored<bool> {
        unimplemented!()
    }
    async fn begin_login(&self, _token: &RefreshToken) -> Stored<()> {
        unimplemented!()
    }
    async fn refresh_token(&self, _hash: &SecretHash, _now: OffsetDateTime) -> Stored<Option<RefreshToken>> {
        unimplemented!()
    }
    async fn rotate_refresh_token(
        &self,
        _old: &SecretHash,
        _new: &RefreshToken,
        _now: OffsetDateTime,
    ) -> Stored<Rotation> {
        unimplemented!()
    }
    async fn end_login(&self, _hash: &SecretHash) -> Stored<bool> {
        unimplemented!()
    }
    async fn end_logins(&self, _user: UserId) -> Stored<u64> {
        unimplemented!()
    }
    async fn put_setup_secret(&self, _secret: &SetupSecret) -> Stored<()> {
        unimplemented!()
    }
    async fn setup_secret(&self, _hash: &SecretHash, _now: OffsetDateTime) -> Stored<Option<SetupSecret>> {
        unimplemented!()
    }
    async fn create_owner(&self, _secret: &SecretHash, _owner: &User) -> Stored<bool> {
        unimplemented!()
    }
    async fn activate_user(
        &self,
        _secret: &SecretHash,
        _password_hash: &str,
        _name: Option<&str>,
        _at: OffsetDateTime,
    ) -> Stored<bool> {
        unimplemented!()
    }
    async fn has_owner(&self, _organization: OrganizationId) -> Stored<bool> {
        unimplemented!()
    }
}

#[async_trait]
impl ClientStore for SqliteStore {
    async fn create_client(&self, _client: &Client) -> Stored<()> {
        unimplemented!()
    }
    async fn client(&self, _id: &str) -> Stored<Option<Client>> {
        unimplemented!()
    }
    async fn clients(&self, _organization: OrganizationId, _page: Page) -> Stored<Listed<Client>> {
        unimplemented!()
    }
    async fn set_client_secret(&self, _id: &str, _hash: &SecretHash) -> Stored<bool> {
        unimplemented!()
    }
    async fn delete_client(&self, _id: &str) -> Stored<bool> {
        unimplemented!()
    }
}

#[async_trait]
impl PresetStore for SqliteStore {
    async fn create_preset(&self, _organization: OrganizationId, _preset: &StoredPreset) -> Stored<()> {
        unimplemented!()
    }
    async fn preset(&self, _organization: OrganizationId, _name: &str) -> Stored<Option<StoredPreset>> {
        unimplemented!()
    }
    async fn presets(&self, _organization: OrganizationId) -> Stored<Vec<StoredPreset>> {
        unimplemented!()
    }
    async fn update_preset(&self, _organization: OrganizationId, _preset: &StoredPreset) -> Stored<bool> {
        unimplemented!()
    }
    async fn delete_preset(&self, _organization: OrganizationId, _name: &str) -> Stored<bool> {
        unimplemented!()
    }
}

#[async_trait]
impl MeetingStore for SqliteStore {
    async fn create_meeting(&self, _meeting: &Meeting, _host: &IssuedParticipant) -> Stored<()> {
        unimplemented!()
    }
    async fn meeting(&self, _id: MeetingId) -> Stored<Option<Meeting>> {
        unimplemented!()
    }
    async fn meeting_by_slug(&self, _slug: &str) -> Stored<Option<Meeting>> {
        unimplemented!()
    }
    async fn meetings(&self, _filter: &MeetingFilter) -> Stored<Listed<Meeting>> {
        unimplemented!()
    }
    async fn update_meeting(&self, _meeting: &Meeting, _removal: Option<&Removal>) -> Stored<bool> {
        unimplemented!()
    }
    async fn delete_meeting(&self, _id: MeetingId, _removal: &Removal) -> Stored<bool> {
        unimplemented!()
    }
    async fn activate_due(&self, _now: OffsetDateTime) -> Stored<Vec<MeetingId>> {
        unimplemented!()
    }
    async fn invite(&self, _meeting: MeetingId, _user: UserId, _at: OffsetDateTime) -> Stored<()> {
        unimplemented!()
    }
    async fn uninvite(&self, _meeting: MeetingId, _user: UserId) -> Stored<bool> {
        unimplemented!()
    }
    async fn is_invited(&self, _meeting: MeetingId, _user: UserId) -> Stored<bool> {
        unimplemented!()
    }
    async fn invitees(&self, _meeting: MeetingId, _page: Page) -> Stored<Listed<Invitee>> {
        unimplemented!()
    }
}

#[async_trait]
impl ParticipantStore for SqliteStore {
    async fn issue_participant(&self, _participant: &IssuedParticipant) -> Stored<()> {
        unimplemented!()
    }
    async fn participant(&self, _id: ParticipantId) -> Stored<Option<IssuedParticipant>> {
        unimplemented!()
    }
    async fn renew_participant(&self, _id: ParticipantId, _expires_at: OffsetDateTime) -> Stored<bool> {
        unimplemented!()
    }
    async fn revoke_participant(&self, _removal: &Removal) -> Stored<bool> {
        unimplemented!()
    }
    async fn remove_all(&self, _removal: &Removal) -> Stored<()> {
        unimplemented!()
    }
    async fn removals(&self, _since: OffsetDateTime) -> Stored<Vec<Removal>> {
        unimplemented!()
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn arrive(&self, _arrival: &Arrival) -> Stored<Option<MeetingSession>> {
        unimplemented!()
    }
    async fn depart(
        &self,
        _session: MeetingSessionId,
        _participant: ParticipantId,
        _at: OffsetDateTime,
        _reason: &str,
    ) -> Stored<bool> {
        unimplemented!()
    }
    async fn end_session(&self, _id: MeetingSessionId, _at: OffsetDateTime) -> Stored<bool> {
        unimplemented!()
    }
    async fn touch_sessions(&self, _ids: &[MeetingSessionId], _at: OffsetDateTime) -> Stored<()> {
        unimplemented!()
    }
    async fn stale_sessions(&self, _before: OffsetDateTime) -> Stored<Vec<MeetingSession>> {
        unimplemented!()
    }
    async fn overlong_sessions(
        &self,
        _now: OffsetDateTime,
        _default_minutes: u32,
    ) -> Stored<Vec<MeetingSession>> {
        unimplemented!()
    }
    async fn session(&self, _id: MeetingSessionId) -> Stored<Option<MeetingSession>> {
        unimplemented!()
    }
    async fn active_session(&self, _meeting: MeetingId) -> Stored<Option<MeetingSession>> {
        unimplemented!()
    }
    async fn sessions(&self, _filter: &SessionFilter) -> Stored<Listed<MeetingSession>> {
        unimplemented!()
    }
    async fn count_active_sessions(&self, _organization: OrganizationId) -> Stored<u64> {
        unimplemented!()
    }
    async fn attendances(&self, _session: MeetingSessionId, _page: Page) -> Stored<Listed<Attendance>> {
        unimplemented!()
    }
    async fn count_live_guests(&self, _meeting: MeetingId) -> Stored<u32> {
        unimplemented!()
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, _entry: &AuditEntry) -> Stored<()> {
        unimplemented!()
    }
    async fn audit_log(&self, _filter: &AuditFilter) -> Stored<Listed<AuditEntry>> {
        unimplemented!()
    }
}

#[async_trait]
impl Maintenance for SqliteStore {
    async fn check(&self) -> Stored<()> {
        unimplemented!()
    }
    async fn clean(&self, _now: OffsetDateTime, _keep_since: OffsetDateTime) -> Stored<Cleaned> {
        unimplemented!()
    }
    async fn close(&self) {
        unimplemented!()
    }
}
