//! The description of the API: for programs, and for people.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::global_controller::rules::{Access, Rule};
use crate::global_controller::{ApiState, openapi, pages, reference};

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule { method: "GET", path: "/api/v1/openapi.json", access: Access::Public, errors: &[] },
    Rule { method: "GET", path: "/api/docs", access: Access::Public, errors: &[] },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(openapi_document)).routes(routes!(docs_page))
}

/// A text that is the same for everybody until the next version of the server.
struct Fixed {
    text: String,
    etag: String,
}

impl Fixed {
    fn new(text: String) -> Self {
        let digest = Sha256::digest(&text);
        let etag = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { text, etag: format!("\"{etag}\"") }
    }

    fn answer(&self, request: &HeaderMap, content_type: &'static str) -> Response {
        let headers: [(HeaderName, &str); 3] = [
            (header::CONTENT_TYPE, content_type),
            (header::ETAG, &self.etag),
            // Asked for again each time, and mostly answered without a body.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        if pages::knows(request, &self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.text.clone()).into_response()
    }
}

static DOCUMENT: LazyLock<Fixed> = LazyLock::new(|| Fixed::new(openapi::document().to_string()));
static PAGE: LazyLock<Fixed> = LazyLock::new(|| Fixed::new(reference::page(&openapi::document())));

/// See this document
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operations",
    responses((status = OK, description = "OpenAPI 3.1", content_type = "application/json", body = Object,
        example = json!({"openapi": "3.1.0"}))))]
pub(super) async fn openapi_document(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers, "application/json")
}

/// Read this document
#[utoipa::path(get, path = "/api/docs", tag = "operations",
    responses((status = OK, description = "A page for people", content_type = "text/html", body = String,
        example = json!("<!doctype html>"))))]
pub(super) async fn docs_page(headers: HeaderMap) -> Response {
    PAGE.answer(&headers, "text/html; charset=utf-8")
}
