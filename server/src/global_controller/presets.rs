//! The presets of an organization.
//!
//! A preset that tokens name may be deleted or changed: a token says which preset by name, and stays valid. What its holder
//! may do follows the preset as it is when it joins, and the role in the token where the preset is gone.

use std::sync::Arc;

use darktower_core::preset::Preset;
use serde_json::json;

use super::audit::Audit;
use super::caller::Caller;
use super::error::{ApiError, ErrorCode};
use super::meetings::now;
use crate::storage::model::StoredPreset;
use crate::storage::{Store, StoreError, Unique};

/// Presets one organization may have. The list is not paged.
const MAX_PRESETS: u32 = 200;

pub(super) struct Presets {
    store: Arc<dyn Store>,
    audit: Arc<Audit>,
}

impl Presets {
    pub(super) fn new(store: Arc<dyn Store>, audit: Arc<Audit>) -> Self {
        Self { store, audit }
    }

    pub(super) async fn list(&self, caller: &Caller) -> Result<Vec<StoredPreset>, ApiError> {
        Ok(self.store.presets(caller.organization).await?)
    }

    pub(super) async fn get(&self, caller: &Caller, name: &str) -> Result<StoredPreset, ApiError> {
        self.store.preset(caller.organization, name).await?.ok_or_else(not_found)
    }

    pub(super) async fn create(&self, caller: &Caller, preset: Preset) -> Result<StoredPreset, ApiError> {
        check(&preset)?;
        let now = now();
        let stored = StoredPreset { preset, is_shipped: false, created_at: now, updated_at: now };
        match self.store.create_preset(caller.organization, &stored, MAX_PRESETS).await {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("An organization may have {MAX_PRESETS} presets");
                return Err(ApiError::new(ErrorCode::CapacityExceeded, message));
            }
            Err(StoreError::Taken(Unique::PresetName)) => {
                return Err(ApiError::taken("name", "There is a preset of this name"));
            }
            Err(error) => return Err(error.into()),
        }
        self.entry(caller, "preset.create", &stored.preset.name).await?;
        Ok(stored)
    }

    pub(super) async fn replace(
        &self,
        caller: &Caller,
        name: &str,
        preset: Preset,
    ) -> Result<StoredPreset, ApiError> {
        check(&preset)?;
        if preset.name != name {
            return Err(ApiError::field(
                "name",
                "name must be the one in the path: presets keep their names",
            ));
        }
        let known = self.get(caller, name).await?;
        let stored = StoredPreset { preset, updated_at: now(), ..known };
        if !self.store.update_preset(caller.organization, &stored).await? {
            return Err(not_found());
        }
        self.entry(caller, "preset.update", name).await?;
        Ok(stored)
    }

    pub(super) async fn delete(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        let known = self.get(caller, name).await?;
        if known.is_shipped {
            let message = "This preset came with the server: it can be changed, not deleted";
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        if !self.store.delete_preset(caller.organization, name).await? {
            return Err(not_found());
        }
        self.entry(caller, "preset.delete", name).await
    }

    async fn entry(&self, caller: &Caller, action: &'static str, name: &str) -> Result<(), ApiError> {
        let target = Some(("preset", name.to_owned()));
        Ok(self.audit.record(caller, action, target, json!({})).await?)
    }
}

fn check(preset: &Preset) -> Result<(), ApiError> {
    preset.validate().map_err(|error| {
        let message = error.to_string();
        ApiError::new(ErrorCode::InvalidRequest, message).with_detail("field", error.field)
    })
}

fn not_found() -> ApiError {
    ApiError::new(ErrorCode::PresetNotFound, "This preset does not exist")
}
