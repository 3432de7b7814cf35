//! Presets of the caller's organization.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use darktower_core::access::Action;
use darktower_core::preset::{Config, Permissions, Preset, Ui};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rfc3339;
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::JsonBody;
use crate::global_controller::path::NamePath;
use crate::global_controller::rules::{Access, Rule};
use crate::storage::model::StoredPreset;

const READ: Access = Access::Needs(Action::ReadPresets);
const MANAGE: Access = Access::Needs(Action::ManagePresets);

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule { method: "GET", path: "/api/v1/presets", access: READ, errors: &[] },
    Rule {
        method: "GET",
        path: "/api/v1/presets/{name}",
        access: READ,
        errors: &[ErrorCode::PresetNotFound],
    },
    Rule {
        method: "POST",
        path: "/api/v1/presets",
        access: MANAGE,
        errors: &[ErrorCode::AlreadyExists, ErrorCode::CapacityExceeded],
    },
    Rule {
        method: "PUT",
        path: "/api/v1/presets/{name}",
        access: MANAGE,
        errors: &[ErrorCode::PresetNotFound],
    },
    Rule {
        method: "DELETE",
        path: "/api/v1/presets/{name}",
        access: MANAGE,
        errors: &[ErrorCode::PresetNotFound, ErrorCode::Conflict],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_presets, create_preset)).routes(routes!(
        get_preset,
        replace_preset,
        delete_preset
    ))
}

#[derive(Serialize, ToSchema)]
#[schema(as = StoredPreset)]
pub(super) struct PresetBody {
    #[schema(example = "video_host")]
    name: String,
    config: Config,
    permissions: Permissions,
    ui: Ui,
    /// Whether it came with the server: it can be changed, not deleted.
    #[schema(example = false)]
    is_shipped: bool,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    created_at: String,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    updated_at: String,
}

impl PresetBody {
    fn new(stored: StoredPreset) -> Result<Self, ApiError> {
        let Preset { name, config, permissions, ui } = stored.preset;
        Ok(Self {
            name,
            config,
            permissions,
            ui,
            is_shipped: stored.is_shipped,
            created_at: rfc3339(stored.created_at)?,
            updated_at: rfc3339(stored.updated_at)?,
        })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct PresetList {
    /// All of them, by name.
    presets: Vec<PresetBody>,
    #[schema(example = 1)]
    total: usize,
}

/// List presets
#[utoipa::path(get, path = "/api/v1/presets", tag = "presets",
    responses((status = OK, description = "All presets", body = PresetList)))]
pub(super) async fn list_presets(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<PresetList>, ApiError> {
    let presets = state.0.presets.list(&caller).await?;
    let presets = presets.into_iter().map(PresetBody::new).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(PresetList { total: presets.len(), presets }))
}

/// See a preset
#[utoipa::path(get, path = "/api/v1/presets/{name}", tag = "presets",
    params(("name" = String, Path, description = "Name of the preset")),
    responses((status = OK, description = "The preset", body = PresetBody)))]
pub(super) async fn get_preset(
    State(state): State<ApiState>,
    caller: Caller,
    NamePath(name): NamePath,
) -> Result<Json<PresetBody>, ApiError> {
    Ok(Json(PresetBody::new(state.0.presets.get(&caller, &name).await?)?))
}

/// Add a preset
///
/// Every field must be there: start from a copy of another preset.
#[utoipa::path(post, path = "/api/v1/presets", tag = "presets", request_body = Preset,
    responses((status = CREATED, description = "Added", body = PresetBody,
        headers(("Location" = String, description = "Path of the preset")))))]
pub(super) async fn create_preset(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(preset): JsonBody<Preset>,
) -> Result<impl IntoResponse, ApiError> {
    let stored = state.0.presets.create(&caller, preset).await?;
    let location = format!("/api/v1/presets/{}", stored.preset.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(PresetBody::new(stored)?)))
}

/// Change a preset
///
/// The body is the whole preset under the same name. Participants that join from now on get the new one.
#[utoipa::path(put, path = "/api/v1/presets/{name}", tag = "presets", request_body = Preset,
    params(("name" = String, Path, description = "Name of the preset")),
    responses((status = OK, description = "As it is now", body = PresetBody)))]
pub(super) async fn replace_preset(
    State(state): State<ApiState>,
    caller: Caller,
    NamePath(name): NamePath,
    JsonBody(preset): JsonBody<Preset>,
) -> Result<Json<PresetBody>, ApiError> {
    Ok(Json(PresetBody::new(state.0.presets.replace(&caller, &name, preset).await?)?))
}

/// Delete a preset
///
/// Join tokens that name it stay valid: their holders get what their role in the meeting gives.
#[utoipa::path(delete, path = "/api/v1/presets/{name}", tag = "presets",
    params(("name" = String, Path, description = "Name of the preset")),
    responses((status = NO_CONTENT, description = "Deleted")))]
pub(super) async fn delete_preset(
    State(state): State<ApiState>,
    caller: Caller,
    NamePath(name): NamePath,
) -> Result<StatusCode, ApiError> {
    state.0.presets.delete(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
