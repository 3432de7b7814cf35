//! What happens to every request, whatever its route.

use std::any::Any;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

use super::ApiState;
use super::error::{ApiError, ErrorCode};
use crate::telemetry::metrics;

/// Largest body. Every request of this API is far smaller.
const MAX_BODY_LEN: usize = 1024 * 1024;
/// For reading the body and answering. A client that needs longer is stuck or hostile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A caller may bring its own request id up to this length.
const MAX_REQUEST_ID_LEN: usize = 64;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Nothing inline and nothing from elsewhere.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds fallbacks and layers. With `loopback_only`, requests must name this machine as their host.
pub(super) fn wrap(routes: Router<ApiState>, state: &ApiState, loopback_only: bool) -> Router {
    let default_header = |name, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn(drop_strange_request_id))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(middleware::from_fn(measure))
        .layer(default_header(CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(default_header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // The address of a meeting's page is what lets people find the meeting.
        .layer(default_header(REFERRER_POLICY, "no-referrer"))
        .layer(default_header(CACHE_CONTROL, "no-store"))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state((state.clone(), loopback_only), check_host))
        .layer(CsrfLayer::new().with_rejection_response(cross_origin))
        .layer(middleware::from_fn(limit_time))
        .layer(DefaultBodyLimit::max(MAX_BODY_LEN));
    routes
        .fallback(async |uri: Uri| {
            ApiError::new(ErrorCode::NotFound, format!("There is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method| {
            ApiError::new(ErrorCode::MethodNotAllowed, format!("This does not answer {method}"))
        })
        .layer(layers)
        .with_state(state.clone())
}

/// A caller's own request id is kept if it is short and plain, so that it may go into logs.
async fn drop_strange_request_id(mut request: Request, next: Next) -> Response {
    let plain = |value: &HeaderValue| {
        value.len() <= MAX_REQUEST_ID_LEN
            && value
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if !request.headers().get_all(X_REQUEST_ID).iter().all(plain) {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    next.run(request).await
}

fn span(request: &Request) -> tracing::Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
    tracing::info_span!("http", method = %request.method(), path = request.uri().path(), request_id = id)
}

async fn measure(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // Methods are the caller's choice of words; metrics have one series per known word.
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    metrics::http_request(route, method, response.status().as_u16(), start.elapsed());
    response
}

fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged message and place; the span tells the request.
    ApiError::internal("a handler panicked").into_response()
}

fn cross_origin(_error: ProtectionError) -> Response {
    ApiError::new(ErrorCode::Forbidden, "Other web sites may not use this API through their visitors")
        .into_response()
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(ErrorCode::RequestTimeout, "The request took too long").into_response(),
    }
}

/// Refuses requests that reached a loopback address under a foreign name (DNS rebinding).
async fn check_host(
    State((state, loopback_only)): State<(ApiState, bool)>,
    request: Request,
    next: Next,
) -> Response {
    if loopback_only {
        let named = request
            .uri()
            .authority()
            .cloned()
            .or_else(|| request.headers().get(HOST)?.to_str().ok()?.parse::<Authority>().ok());
        let public = state.0.urls.api().split_once("://").map(|(_, authority)| authority);
        let allowed = named.is_some_and(|named| is_loopback(named.host()) || Some(named.as_str()) == public);
        if !allowed {
            let message = "This address answers only to localhost, 127.0.0.1 and [::1]";
            return ApiError::new(ErrorCode::Forbidden, message).into_response();
        }
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
