//! Organizations: the default one of a deployment, further ones, and what their administrators choose.

use std::sync::Arc;

use darktower_core::access::guests::GuestAccess;
use darktower_core::preset::{Preset, shipped};
use darktower_protocol::OrganizationId;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::audit::{Audit, Who};
use super::caller::Caller;
use super::error::{ApiError, ErrorCode};
use super::meetings::now;
use super::text::{self, MAX_NAME_LEN};
use crate::auth::secret::{NoRandomness, OneTimeSecret, SecretKind};
use crate::storage::model::{
    MeetingFilter, Organization, OrganizationSettings, Page, Removal, SetupSecret, StoredPreset,
};
use crate::storage::{Store, StoreError, Unique};

/// In links and at login, where it may be left out while there is no other organization.
pub(crate) const DEFAULT_SLUG: &str = "default";
/// How often a change is tried again because another one came between.
const UPDATE_ATTEMPTS: usize = 5;
/// Meetings that are ended at a time when an organization is deleted.
const PORTION: u32 = 100;

/// What a server finds or makes when it starts.
pub(crate) struct Bootstrapped {
    /// The default organization.
    pub(crate) organization: OrganizationId,
    /// With this somebody can become its owner, once.
    pub(crate) setup_secret: Option<OneTimeSecret>,
}

/// Why a server could not prepare its organization.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("the database")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Makes sure that the default organization is there with every shipped preset. With `for_owner`, and while it has no owner,
/// draws the secret with which somebody becomes it; the one of an earlier start ends.
pub(crate) async fn bootstrap(store: &dyn Store, for_owner: bool) -> Result<Bootstrapped, BootstrapError> {
    let id = match store.organization_by_slug(DEFAULT_SLUG).await? {
        Some(organization) => {
            complete_presets(store, organization.id).await?;
            organization.id
        }
        None => {
            let organization = new_organization("Default organization".to_owned(), DEFAULT_SLUG.to_owned());
            match store
                .create_organization(&organization, &shipped_presets(organization.created_at), None)
                .await
            {
                Ok(()) => organization.id,
                // Another server starts at the same time.
                Err(StoreError::Taken(Unique::OrganizationSlug)) => {
                    let other = store.organization_by_slug(DEFAULT_SLUG).await?;
                    other.ok_or(StoreError::Damaged("the default organization comes and goes"))?.id
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let mut setup_secret = None;
    if for_owner && !store.has_owner(id).await? {
        let secret = OneTimeSecret::draw(SecretKind::Setup)?;
        let kept = SetupSecret {
            hash: secret.hash(),
            organization_id: id,
            user_id: None,
            created_at: now(),
            expires_at: None,
        };
        store.put_setup_secret(&kept, true).await?;
        setup_secret = Some(secret);
    }
    Ok(Bootstrapped { organization: id, setup_secret })
}

/// Adds presets that came with a newer server; those that are there may have been changed and stay.
async fn complete_presets(store: &dyn Store, organization: OrganizationId) -> Result<(), StoreError> {
    let present = store.presets(organization).await?;
    for preset in shipped_presets(now()) {
        if present.iter().all(|known| known.preset.name != preset.preset.name) {
            // They are there whatever the number.
            match store.create_preset(organization, &preset, u32::MAX).await {
                Ok(_) | Err(StoreError::Taken(Unique::PresetName)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

pub(super) fn shipped_presets(at: OffsetDateTime) -> Vec<StoredPreset> {
    let stored = |preset: Preset| StoredPreset { preset, is_shipped: true, created_at: at, updated_at: at };
    shipped().into_iter().map(stored).collect()
}

pub(super) fn new_organization(name: String, slug: String) -> Organization {
    let now = now();
    Organization {
        id: OrganizationId::generate(),
        name,
        slug,
        settings: OrganizationSettings::default(),
        created_at: now,
        updated_at: now,
    }
}

/// Changes of an organization; what is `None` stays. A setting that is `Some(None)` follows the server's default again.
#[derive(Debug, Default)]
pub(super) struct OrganizationChange {
    pub(super) name: Option<String>,
    pub(super) guest_access: Option<GuestAccess>,
    pub(super) max_concurrent_meetings: Option<Option<u32>>,
    pub(super) max_participants: Option<Option<u32>>,
    pub(super) max_meeting_minutes: Option<Option<u32>>,
    pub(super) hosts_host_everywhere: Option<bool>,
}

/// The organization of the caller.
pub(super) struct Organizations {
    store: Arc<dyn Store>,
    audit: Arc<Audit>,
    default_organization: OrganizationId,
    /// What no organization may exceed.
    max_participants: u32,
}

impl Organizations {
    pub(super) fn new(
        store: Arc<dyn Store>,
        audit: Arc<Audit>,
        default_organization: OrganizationId,
        max_participants: u32,
    ) -> Self {
        Self { store, audit, default_organization, max_participants }
    }

    pub(super) async fn of(&self, caller: &Caller) -> Result<Organization, ApiError> {
        let organization = self.store.organization(caller.organization).await?;
        // Only while it is being deleted.
        organization.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "The organization does not exist"))
    }

    pub(super) async fn update(
        &self,
        caller: &Caller,
        change: OrganizationChange,
    ) -> Result<Organization, ApiError> {
        let name = change.name.as_deref().map(|name| text::line("name", name, MAX_NAME_LEN)).transpose()?;
        let bounds = [
            ("max_concurrent_meetings", change.max_concurrent_meetings, 0, 100_000),
            ("max_participants", change.max_participants, 1, self.max_participants),
            ("max_meeting_minutes", change.max_meeting_minutes, 1, 7 * 24 * 60),
        ];
        for (field, value, min, max) in bounds {
            if let Some(Some(value)) = value
                && !(min..=max).contains(&value)
            {
                return Err(ApiError::field(field, format!("{field} must be {min} to {max}")));
            }
        }
        let change = OrganizationChange { name, ..change };
        let organization = self.change(caller, &change).await?;
        let details = json!({ "name": organization.name, "settings": organization.settings });
        let target = ("organization", organization.id.to_string());
        self.audit.record(caller, "organization.update", Some(target), details).await?;
        Ok(organization)
    }

    /// Reads the organization, changes it and writes it, again if somebody else has written it meanwhile.
    async fn change(&self, caller: &Caller, change: &OrganizationChange) -> Result<Organization, ApiError> {
        for _ in 0..UPDATE_ATTEMPTS {
            let mut organization = self.of(caller).await?;
            let read_at = organization.updated_at;
            apply(change, &mut organization);
            // Later than before, whatever the clock says: this is what the next one is told by.
            organization.updated_at = now().max(read_at + Duration::milliseconds(1));
            if self.store.update_organization(&organization, read_at).await? {
                return Ok(organization);
            }
        }
        Err(ApiError::new(ErrorCode::Conflict, "Others keep changing this organization; try again"))
    }

    /// Deletes the organization of the caller with everything in it. Whoever is in one of its meetings is thrown out.
    pub(super) async fn delete(&self, caller: &Caller) -> Result<(), ApiError> {
        let organization = self.of(caller).await?;
        if organization.id == self.default_organization {
            let message = "The default organization belongs to the server and cannot be deleted";
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        self.end_meetings(organization.id).await?;
        self.store.delete_organization(organization.id).await?;
        // Its own log is gone with it: the entry is the operator's.
        let who = Who { organization: None, ..Who::from(caller) };
        let target = ("organization", organization.id.to_string());
        let details = json!({ "slug": organization.slug, "name": organization.name });
        self.audit.record(who, "organization.delete", Some(target), details).await?;
        tracing::info!(organization = %organization.id, "organization deleted");
        Ok(())
    }

    async fn end_meetings(&self, organization_id: OrganizationId) -> Result<(), StoreError> {
        let filter = MeetingFilter {
            organization_id,
            active: Some(true),
            status: None,
            user_id: None,
            visible_to: None,
            search: None,
            from: None,
            to: None,
            page: Page { limit: PORTION, offset: 0 },
        };
        loop {
            let meetings = self.store.meetings(&filter).await?.items;
            for meeting in &meetings {
                let removal = Removal {
                    id: Uuid::now_v7(),
                    meeting_id: meeting.id,
                    participant_id: None,
                    meeting_over: true,
                    at: now(),
                };
                self.store.delete_meeting(meeting.id, &removal).await?;
            }
            if meetings.is_empty() {
                return Ok(());
            }
        }
    }
}

fn apply(change: &OrganizationChange, organization: &mut Organization) {
    if let Some(name) = &change.name {
        organization.name.clone_from(name);
    }
    let settings = &mut organization.settings;
    settings.guest_access = change.guest_access.unwrap_or(settings.guest_access);
    settings.max_concurrent_meetings =
        change.max_concurrent_meetings.unwrap_or(settings.max_concurrent_meetings);
    settings.max_participants = change.max_participants.unwrap_or(settings.max_participants);
    settings.max_meeting_minutes = change.max_meeting_minutes.unwrap_or(settings.max_meeting_minutes);
    settings.hosts_host_everywhere = change.hosts_host_everywhere.unwrap_or(settings.hosts_host_everywhere);
}
