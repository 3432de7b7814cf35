//! Tokens for the API, accounts and logins.

use aws_lc_rs::constant_time;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{ACCESS_TOKEN_LIFETIME, AccessClaims};
use crate::global_controller::ApiState;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::JsonBody;
use crate::global_controller::rate_limit::{Class, ClientAddress};
use crate::global_controller::rules::{Access, Rule};

pub(in crate::global_controller) const RULES: &[Rule] = &[Rule {
    method: "POST",
    path: "/api/v1/auth/token",
    access: Access::Public,
    errors: &[ErrorCode::Unauthorized],
}];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(issue_access_token))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct TokenRequest {
    grant_type: String,
    client_id: String,
    client_secret: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TokenBody {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
}

/// Get an access token for a machine client
#[utoipa::path(post, path = "/api/v1/auth/token", tag = "auth", request_body = TokenRequest,
    responses((status = OK, body = TokenBody)))]
pub(super) async fn issue_access_token(
    State(state): State<ApiState>,
    address: ClientAddress,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<TokenBody>, ApiError> {
    if body.grant_type != "client_credentials" {
        return Err(ApiError::field("grant_type", "grant_type must be client_credentials"));
    }
    state.0.limits.check(Class::Login, (address, &body.client_id))?;
    let Some(client) = &state.0.config.api else {
        let message = "This server has no API client; in development mode the API needs no token";
        return Err(ApiError::new(ErrorCode::Unauthorized, message));
    };
    // Both are always compared, over digests of equal length: the time taken tells nothing.
    let known =
        same(&body.client_id, &client.client_id) & same(&body.client_secret, client.client_secret.expose());
    if !known {
        return Err(ApiError::new(ErrorCode::Unauthorized, "client_id or client_secret is wrong"));
    }
    let access_token = state.0.tokens.issue_access(&AccessClaims::new(client.client_id.clone()));
    tracing::info!(client = ?client.client_id, "access token issued");
    Ok(Json(TokenBody {
        access_token,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_LIFETIME.whole_seconds(),
    }))
}

fn same(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(&Sha256::digest(left), &Sha256::digest(right)).is_ok()
}
