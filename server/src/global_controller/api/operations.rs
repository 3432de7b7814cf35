//! What operators and their programs ask: health, metrics, certificate.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rfc3339;
use crate::global_controller::ApiState;
use crate::global_controller::error::ApiError;
use crate::global_controller::rules::{Access, Rule};

pub(in crate::global_controller) const RULES: &[Rule] =
    &[Rule { method: "GET", path: "/api/v1/certificate", access: Access::Public, errors: &[] }];

pub(super) fn api_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(certificate))
}

#[derive(Serialize, ToSchema)]
pub(super) struct HashBody {
    algorithm: &'static str,
    value: String,
    expires_at: String,
}

/// What a client needs to accept a certificate that no authority signed; empty if one did.
pub(super) fn hashes(state: &ApiState) -> Result<Vec<HashBody>, ApiError> {
    if !state.0.certificates.is_pinned() {
        return Ok(Vec::new());
    }
    let hashes = state.0.certificates.hashes();
    hashes
        .iter()
        .map(|hash| {
            Ok(HashBody { algorithm: "sha-256", value: hash.to_hex(), expires_at: rfc3339(hash.not_after)? })
        })
        .collect()
}

#[derive(Serialize, ToSchema)]
pub(super) struct CertificateBody {
    certificate_hashes: Vec<HashBody>,
}

/// See which certificates clients may accept
#[utoipa::path(get, path = "/api/v1/certificate", tag = "operations", responses((status = OK, body = CertificateBody)))]
pub(super) async fn certificate(State(state): State<ApiState>) -> Result<Json<CertificateBody>, ApiError> {
    Ok(Json(CertificateBody { certificate_hashes: hashes(&state)? }))
}

#[derive(Serialize, ToSchema)]
pub(in crate::global_controller) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<&'static str>,
}

/// `GET /health/live`: the process answers.
pub(in crate::global_controller) async fn live() -> Json<Health> {
    Json(Health { status: "ok", storage: None })
}

/// `GET /health/ready`: it makes sense to send clients here.
pub(in crate::global_controller) async fn ready(State(state): State<ApiState>) -> (StatusCode, Json<Health>) {
    let storage = match state.0.store.check().await {
        Ok(()) => "ok",
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "storage does not answer");
            "failed"
        }
    };
    let status = match (state.is_draining(), storage) {
        (true, _) => "draining",
        (false, "ok") => "ok",
        (false, _) => "failed",
    };
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status, storage: Some(storage) }))
}

/// `GET /metrics`
pub(in crate::global_controller) async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], state.0.metrics.render())
}
