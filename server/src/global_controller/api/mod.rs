//! The handlers of the API, a module for each kind of thing: parse, authorize, call, render.
//!
//! Each module has its handlers with their OpenAPI attributes, `routes()`, and `RULES`, which says who may use them.

#![allow(unused_qualifications, reason = "the attributes of utoipa write paths out")]

mod audit_log;
mod auth;
mod clients;
pub(super) mod docs;
mod meetings;
pub(super) mod operations;
mod organization;
mod participants;
mod presets;
mod users;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::error::ApiError;
use super::rules::Rule;

/// The rows of every route.
pub(super) const RULES: &[&[Rule]] = &[
    auth::RULES,
    organization::RULES,
    users::RULES,
    clients::RULES,
    presets::RULES,
    meetings::RULES,
    participants::RULES,
    audit_log::RULES,
    operations::RULES,
    docs::RULES,
];

/// Every route of the API with its description.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(auth::routes())
        .merge(organization::routes())
        .merge(users::routes())
        .merge(clients::routes())
        .merge(presets::routes())
        .merge(meetings::routes())
        .merge(participants::routes())
        .merge(audit_log::routes())
        .merge(operations::api_routes())
        .merge(docs::routes())
}

/// A time as the API writes it, for example `2025-01-16T12:00:00.123Z`.
fn rfc3339(time: OffsetDateTime) -> Result<String, ApiError> {
    time.format(&Rfc3339).map_err(ApiError::internal)
}
