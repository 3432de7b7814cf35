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

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule { method: "GET", path: "/api/v1/certificate", access: Access::Public, errors: &[] },
    Rule { method: "GET", path: "/.well-known/jwks.json", access: Access::Public, errors: &[] },
];

pub(super) fn api_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(certificate)).routes(routes!(key_set))
}

/// The hash of a certificate that a client may accept although no authority signed it.
#[derive(Serialize, ToSchema)]
#[schema(as = CertificateHash)]
pub(super) struct HashBody {
    /// Always `sha-256`.
    #[schema(example = "sha-256")]
    algorithm: &'static str,
    /// In hexadecimal.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        example = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    )]
    value: String,
    /// When the certificate ends.
    #[schema(format = DateTime, example = "2026-01-30T12:00:00Z")]
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
#[utoipa::path(get, path = "/api/v1/certificate", tag = "operations", 
    responses((status = OK, description = "Their hashes; none if an authority signed the certificate", body = CertificateBody)))]
pub(super) async fn certificate(State(state): State<ApiState>) -> Result<Json<CertificateBody>, ApiError> {
    Ok(Json(CertificateBody { certificate_hashes: hashes(&state)? }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct KeySet {
    keys: Vec<PublicKey>,
}

/// A JSON Web Key (RFC 8037).
#[derive(Serialize, ToSchema)]
struct PublicKey {
    /// Always `OKP`.
    #[schema(example = "OKP")]
    kty: String,
    /// Always `Ed25519`.
    #[schema(example = "Ed25519")]
    crv: String,
    /// Always `sig`.
    #[schema(example = "sig")]
    r#use: String,
    /// Always `EdDSA`.
    #[schema(example = "EdDSA")]
    alg: String,
    /// The key id, as in the header of tokens.
    #[schema(example = "d75a980182b10ab7")]
    kid: String,
    /// The public key, base64url.
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
}

/// See the public keys of tokens
///
/// A JSON Web Key Set. A key is here two minutes before it signs, and until the last token it signed has ended. Look again
/// when a token has a key id that is not here.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations",
    responses((status = OK, description = "The keys that verify", body = KeySet)))]
pub(super) async fn key_set(State(state): State<ApiState>) -> impl IntoResponse {
    // Shorter than the two minutes between publishing and signing.
    ([(header::CACHE_CONTROL, "public, max-age=60")], Json(state.0.tokens.key_set()))
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
