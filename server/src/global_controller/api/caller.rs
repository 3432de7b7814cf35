//! What a page has to know of whoever looks at it.

use axum::Json;
use axum::extract::State;
use darktower_core::access::guests::AccessPolicy;
use darktower_core::access::{Action, Relation};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::public;
use crate::global_controller::ApiState;
use crate::global_controller::caller::{AnyCaller, Identity};
use crate::global_controller::rules::Rule;

pub(in crate::global_controller) const RULES: &[Rule] = &[public("GET", "/api/v1/caller", &[])];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(see_caller))
}

/// What the caller may do.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"signed_in": true, "may_create_meetings": true, "development": false}))]
pub(super) struct CallerCard {
    /// Whether it came with an access token that holds.
    signed_in: bool,
    /// Whether it may create meetings.
    may_create_meetings: bool,
    /// Whether the server runs in development mode, in which callers without a token are owners.
    development: bool,
}

/// See what one may do
///
/// With or without an access token. One that does not hold counts as none: it is time to refresh it, or to sign in.
#[utoipa::path(get, path = "/api/v1/caller", tag = "auth",
    responses((status = OK, description = "What the caller may do", body = CallerCard)))]
pub(super) async fn see_caller(
    State(state): State<ApiState>,
    AnyCaller(caller): AnyCaller,
) -> Json<CallerCard> {
    let caller = caller.as_ref();
    Json(CallerCard {
        signed_in: caller.is_some_and(|caller| caller.identity != Identity::Developer),
        may_create_meetings: caller
            .is_some_and(|caller| caller.permits(Action::CreateMeeting, Relation::Own, AccessPolicy::Open)),
        development: state.0.config.dev,
    })
}
