//! The caller's organization.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use darktower_core::access::Action;
use darktower_core::access::guests::GuestAccess;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{nullable, nullable_object, rfc3339};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::JsonBody;
use crate::global_controller::organizations::OrganizationChange;
use crate::global_controller::rules::{Access, Rule};
use crate::storage::model::Organization;

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule {
        method: "GET",
        path: "/api/v1/organization",
        access: Access::Needs(Action::UseAccount),
        errors: &[ErrorCode::NotFound],
    },
    Rule {
        method: "PATCH",
        path: "/api/v1/organization",
        access: Access::Needs(Action::ManageOrganization),
        errors: &[ErrorCode::NotFound],
    },
    Rule {
        method: "DELETE",
        path: "/api/v1/organization",
        access: Access::Needs(Action::DisposeOfOrganization),
        errors: &[ErrorCode::NotFound, ErrorCode::Conflict],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get_organization, update_organization, delete_organization))
}

/// Users, meetings and settings that belong together.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(super) struct OrganizationBody {
    #[schema(format = Uuid, example = "0192f0c0-11aa-7c4d-9f00-665544332211")]
    organization_id: String,
    /// Name shown to people.
    #[schema(example = "Example Ltd")]
    name: String,
    /// Short name for links and logins.
    #[schema(example = "example")]
    slug: String,
    settings: SettingsBody,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    created_at: String,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    updated_at: String,
}

/// What the administrators chose; null is the server's default.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationSettings)]
struct SettingsBody {
    guest_access: GuestAccess,
    /// Sessions that may run at one time; 0 for no limit.
    #[schema(example = 25)]
    max_concurrent_meetings: Option<u32>,
    /// Participants one meeting may have, and the value of one that asks for none.
    #[schema(example = 50)]
    max_participants: Option<u32>,
    /// Minutes after which a session is ended.
    #[schema(example = 480)]
    max_meeting_minutes: Option<u32>,
    /// Whether users with the role host are hosts in meetings of others too.
    #[schema(example = false)]
    hosts_host_everywhere: bool,
}

impl OrganizationBody {
    pub(super) fn new(organization: Organization) -> Result<Self, ApiError> {
        let settings = organization.settings;
        Ok(Self {
            organization_id: organization.id.to_string(),
            name: organization.name,
            slug: organization.slug,
            settings: SettingsBody {
                guest_access: settings.guest_access,
                max_concurrent_meetings: settings.max_concurrent_meetings,
                max_participants: settings.max_participants,
                max_meeting_minutes: settings.max_meeting_minutes,
                hosts_host_everywhere: settings.hosts_host_everywhere,
            },
            created_at: rfc3339(organization.created_at)?,
            updated_at: rfc3339(organization.updated_at)?,
        })
    }
}

/// See one's organization
#[utoipa::path(get, path = "/api/v1/organization", tag = "organization",
    responses((status = OK, description = "The organization", body = OrganizationBody)))]
pub(super) async fn get_organization(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<OrganizationBody>, ApiError> {
    Ok(Json(OrganizationBody::new(state.0.organizations.of(&caller).await?)?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct UpdateOrganization {
    /// Name shown to people.
    #[schema(min_length = 1, max_length = 200, example = "Example Ltd")]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable_object")]
    settings: Option<UpdateSettings>,
}

/// Settings that are left out stay; null is the server's default again.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object")]
struct UpdateSettings {
    guest_access: Option<GuestAccess>,
    /// Sessions that may run at one time; 0 for no limit.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, maximum = 100_000, example = 25)]
    max_concurrent_meetings: Option<Option<u32>>,
    /// Participants one meeting may have, up to the server's maximum.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, example = 50)]
    max_participants: Option<Option<u32>>,
    /// Minutes after which a session is ended.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_080, example = 480)]
    max_meeting_minutes: Option<Option<u32>>,
    /// Whether users with the role host are hosts in meetings of others too.
    #[schema(example = false)]
    hosts_host_everywhere: Option<bool>,
}

/// Change one's organization
#[utoipa::path(patch, path = "/api/v1/organization", tag = "organization", request_body = UpdateOrganization,
    responses((status = OK, description = "As it is now", body = OrganizationBody)))]
pub(super) async fn update_organization(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<UpdateOrganization>,
) -> Result<Json<OrganizationBody>, ApiError> {
    let settings = body.settings.unwrap_or_default();
    let change = OrganizationChange {
        name: body.name,
        guest_access: settings.guest_access,
        max_concurrent_meetings: settings.max_concurrent_meetings,
        max_participants: settings.max_participants,
        max_meeting_minutes: settings.max_meeting_minutes,
        hosts_host_everywhere: settings.hosts_host_everywhere,
    };
    Ok(Json(OrganizationBody::new(state.0.organizations.update(&caller, change).await?)?))
}

/// Delete one's organization with everything in it
///
/// Meetings that run are ended. The default organization of the server stays.
#[utoipa::path(delete, path = "/api/v1/organization", tag = "organization",
    responses((status = NO_CONTENT, description = "Deleted")))]
pub(super) async fn delete_organization(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    state.0.organizations.delete(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
