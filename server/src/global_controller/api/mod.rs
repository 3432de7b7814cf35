//! The handlers of the API, a module for each kind of thing: parse, authorize, call, render.
//!
//! Each module has its handlers with their OpenAPI attributes, `routes()`, and `RULES`, which says who may use them.

#![allow(unused_qualifications, reason = "the attributes of utoipa write paths out")]

mod auth;
mod meetings;
pub(super) mod operations;
mod participants;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::error::ApiError;
use super::rules::Rule;

/// The rows of every route.
pub(super) const RULES: &[&[Rule]] = &[auth::RULES, meetings::RULES, operations::RULES, participants::RULES];

/// Every route of the API with its description.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(auth::routes())
        .merge(meetings::routes())
        .merge(participants::routes())
        .merge(operations::api_routes())
}

/// A time as the API writes it, for example `2025-01-16T12:00:00.123Z`.
fn rfc3339(time: OffsetDateTime) -> Result<String, ApiError> {
    time.format(&Rfc3339).map_err(ApiError::internal)
}
