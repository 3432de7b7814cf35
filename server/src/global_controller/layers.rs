//! What happens to every request, whatever its route.

use std::any::Any;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_EXPOSE_HEADERS, ALT_SVC, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, ORIGIN, REFERRER_POLICY, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate as _, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tracing::Instrument as _;
use uuid::Uuid;

use super::ApiState;
use super::error::{ApiError, ErrorCode};
use super::rate_limit::{
    X_RATELIMIT_LIMIT, X_RATELIMIT_REMAINING, X_RATELIMIT_RESET, find_client_address, limit_rate,
};
use crate::telemetry::metrics;

/// Largest body. Every request of this API is far smaller.
const MAX_BODY_LEN: usize = 1024 * 1024;
/// Bodies up to this length are read before a request is looked at. Every body of this API is shorter.
const SHORT_BODY: u64 = 64 * 1024;
/// For reading the body and answering. A client that needs longer is stuck or hostile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A caller may bring its own request id up to this length.
const MAX_REQUEST_ID_LEN: usize = 64;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Longest path and query.
const MAX_URI_LEN: usize = 8 * 1024;
/// Header lines of a request, and their bytes as HTTP/2 and HTTP/3 count them: 32 more for each line.
const MAX_HEADER_LINES: usize = 100;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Shorter answers are not worth compressing.
const COMPRESS_ABOVE: u64 = 1024;
/// For how long browsers remember that another site may use the API.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);
/// For how long clients remember that there is HTTP/3, and that there is nothing without TLS.
const ALT_SVC_SECONDS: u32 = 24 * 3600;
const HSTS: &str = "max-age=31536000";

/// Data is never shown as a page.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Nothing inline and nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Who reaches a router, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposure {
    /// Requests must name this machine as their host.
    pub(super) loopback_only: bool,
    pub(super) is_encrypted: bool,
    /// Where HTTP/3 is, if those who come here should know.
    pub(super) http3_port: Option<u16>,
}

impl Exposure {
    /// Plain HTTP on loopback.
    pub(super) const PLAIN: Self = Self { loopback_only: true, is_encrypted: false, http3_port: None };
}

/// Adds fallbacks and layers.
pub(super) fn wrap(routes: Router<ApiState>, state: &ApiState, exposure: Exposure) -> Router {
    let manners = Manners {
        alternative: exposure
            .http3_port
            .and_then(|port| HeaderValue::try_from(format!("h3=\":{port}\"; ma={ALT_SVC_SECONDS}")).ok()),
        insist_on_tls: exposure.is_encrypted && !state.0.config.dev,
    };
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(Arc::new(manners), dress))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESS_ABOVE).and(is_text)))
        .layer(cors(state))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state((state.clone(), exposure.loopback_only), admit))
        .layer(CsrfLayer::new().with_rejection_response(cross_origin))
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

/// What a request is called in logs, answers and the audit log.
#[derive(Clone, Debug)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// A caller's own id is kept if it is short and plain, so that it may go into logs.
    fn of(request: &Request) -> Self {
        let is_plain = |value: &HeaderValue| {
            value.len() <= MAX_REQUEST_ID_LEN
                && value
                    .as_bytes()
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let mut own = request.headers().get_all(X_REQUEST_ID).iter();
        match (own.next(), own.next()) {
            (Some(own), None) if is_plain(own) => Self(own.clone()),
            _ => {
                let mut buffer = Uuid::encode_buffer();
                let id = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
                Self(HeaderValue::from_str(id).expect("a UUID is visible ASCII"))
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What every answer of a router says beside its content.
#[derive(Debug)]
struct Manners {
    /// Where else to come.
    alternative: Option<HeaderValue>,
    insist_on_tls: bool,
}

/// Names, counts and times the request, and gives its answer the headers that all have. One layer: each costs every request.
async fn dress(State(manners): State<Arc<Manners>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = RequestId::of(&request);
    request.extensions_mut().insert(id.clone());
    let (path, request_id) = (request.uri().path(), id.as_str());
    let span = tracing::info_span!("http", method = %request.method(), path, request_id);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known_method(request.method());
    let insist_on_tls = manners.insist_on_tls && host(&request).is_some_and(|host| has_name(&host));
    let is_of_page = request.headers().contains_key(ORIGIN);
    let mut response = next.run(request).instrument(span.clone()).await;
    tracing::debug!(parent: &span, status = response.status().as_u16(), took = ?start.elapsed(), "answered");

    let is_data = is_json(response.headers());
    let headers = response.headers_mut();
    let defaults = [
        (CONTENT_SECURITY_POLICY, if is_data { DATA_POLICY } else { PAGE_POLICY }),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of a meeting's page is what lets people find the meeting.
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.insert(X_REQUEST_ID, id.0);
    if !is_of_page {
        // For pages of other sites, and about caches that there are none of. Over HTTP/3 every letter of them is encoded anew.
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        if headers.get(CACHE_CONTROL).is_some_and(|value| value == "no-store") {
            headers.remove(VARY);
        }
    }
    if let Some(alternative) = &manners.alternative {
        headers.insert(ALT_SVC, alternative.clone());
    }
    if insist_on_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    metrics::http_request(route, method, response.status().as_u16(), start.elapsed());
    response
}

/// Methods are the caller's choice of words; metrics have one series per known word.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged message and place; the span tells the request.
    ApiError::internal("a handler panicked").into_response()
}

fn cross_origin(_error: ProtectionError) -> Response {
    ApiError::new(ErrorCode::Forbidden, "Other web sites may not use this API through their visitors")
        .into_response()
}

/// What browsers let pages of other sites do and read. Credentials that a browser adds by itself are never allowed.
fn cors(state: &ApiState) -> CorsLayer {
    let allowed = state.0.config.allowed_origins.clone();
    let origins = match allowed.is_any() {
        true => AllowOrigin::any(),
        false => AllowOrigin::predicate(move |origin: &HeaderValue, _| {
            origin.to_str().is_ok_and(|origin| allowed.allows(origin))
        }),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, X_REQUEST_ID])
        .expose_headers([
            X_RATELIMIT_LIMIT,
            X_RATELIMIT_REMAINING,
            X_RATELIMIT_RESET,
            RETRY_AFTER,
            X_REQUEST_ID,
            LOCATION,
        ])
        .max_age(PREFLIGHT_AGE)
}

/// Requests of pages that may make them are no longer told from our own.
fn trust_allowed_origins(state: &ApiState, request: &mut Request) {
    let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
    if origin.is_some_and(|origin| state.0.config.allowed_origins.allows(origin)) {
        request.headers_mut().remove(ORIGIN);
        request.headers_mut().remove(SEC_FETCH_SITE);
    }
}

/// Whether a body shrinks.
fn is_text(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let content_type = content_type(headers);
    is_json(headers) || content_type.starts_with("text/") || content_type.starts_with("image/svg+xml")
}

fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).starts_with("application/json")
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Bounds that the protocols' own (`http`, `transport::http3`) do not cover, with a body that says so.
fn check_head(request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    let (code, message) =
        if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > MAX_URI_LEN) {
            (ErrorCode::UriTooLong, "The URL is longer than 8 KiB")
        } else if headers.len() > MAX_HEADER_LINES || bytes > MAX_HEADER_BYTES {
            (
                ErrorCode::HeadersTooLarge,
                "The request has more than 100 header lines, or more than 16 KiB of them",
            )
        } else if headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
            (ErrorCode::UnsupportedMediaType, "The body must be sent without Content-Encoding")
        } else {
            return Ok(());
        };
    Err(ApiError::new(code, message))
}

/// Browsers heed a word about TLS only for hosts that have a name (RFC 6797 section 8.1.1), and on loopback it would reach
/// other programs.
fn has_name(authority: &Authority) -> bool {
    let host = authority.host();
    host.contains('.') && !host.starts_with('[') && host.parse::<IpAddr>().is_err()
}

/// Under which name the client reached us.
fn host(request: &Request) -> Option<Authority> {
    request
        .uri()
        .authority()
        .cloned()
        .or_else(|| request.headers().get(HOST)?.to_str().ok()?.parse::<Authority>().ok())
}

/// What a request must pass before a handler sees it, and the time it may take then.
///
/// What changes nothing ends with its time, or when the client goes away. Everything else goes on to its end in a task of its
/// own: of several writes none is left out, and none is without its entry in the audit log.
async fn admit(
    State((state, loopback_only)): State<(ApiState, bool)>,
    request: Request,
    next: Next,
) -> Response {
    let mut request = match tokio::time::timeout(REQUEST_TIMEOUT, take_short_body(request)).await {
        Ok(request) => request,
        Err(_) => return too_slow(),
    };
    let checked = check_host(&state, loopback_only, &request).and_then(|()| check_head(&request));
    if let Err(refused) = checked {
        return refused.into_response();
    }
    find_client_address(&state, &mut request);
    trust_allowed_origins(&state, &mut request);
    let changes_nothing = request.method().is_safe();
    let answer = async move { limit_rate(&state, request, next).await };
    let answer = async {
        match changes_nothing {
            true => answer.await,
            false => to_the_end(answer).await,
        }
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(response) => response,
        Err(_) => too_slow(),
    }
}

/// Answers in a task that goes on when the caller's future is dropped. A panic there is one here.
async fn to_the_end(answer: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(answer.in_current_span()).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            // The program ends.
            Err(cancelled) => ApiError::internal(cancelled).into_response(),
        },
    }
}

fn too_slow() -> Response {
    ApiError::new(ErrorCode::RequestTimeout, "The request took too long").into_response()
}

/// Reads a short body before anything is answered. An answer to half a request makes some clients lose it: curl up to
/// 7.88 reports an error of HTTP/2 instead.
async fn take_short_body(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let is_short = request.body().size_hint().upper().is_some_and(|length| length <= SHORT_BODY);
    if !is_short {
        return request.map(hurried);
    }
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, SHORT_BODY as usize).await {
        Ok(bytes) => Body::from(bytes),
        // Whoever reads it gets the same error: it is broken off, or longer than it said.
        Err(error) => Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(error)])),
    };
    Request::from_parts(parts, body)
}

/// The body, broken off if it takes too long: a task of its own would wait for it long after the request was answered. Only
/// then, so that the answer is that the request took too long.
fn hurried(body: Body) -> Body {
    let end = tokio::time::Instant::now() + 2 * REQUEST_TIMEOUT;
    let parts = futures_util::stream::unfold(Some(body.into_data_stream()), move |rest| async move {
        let mut rest = rest?;
        let part = tokio::time::timeout_at(end, rest.next()).await;
        match part {
            Ok(part) => part.map(|part| (part, Some(rest))),
            Err(elapsed) => Some((Err(axum::Error::new(elapsed)), None)),
        }
    });
    Body::from_stream(parts)
}

/// Refuses requests that reached a loopback address under a foreign name (DNS rebinding).
fn check_host(state: &ApiState, loopback_only: bool, request: &Request) -> Result<(), ApiError> {
    if !loopback_only {
        return Ok(());
    }
    let named = host(request);
    let public = state.0.urls.api().split_once("://").map(|(_, authority)| authority);
    if named.is_some_and(|named| is_loopback(named.host()) || Some(named.as_str()) == public) {
        return Ok(());
    }
    let message = "This address answers only to localhost, 127.0.0.1 and [::1]";
    Err(ApiError::new(ErrorCode::Forbidden, message))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
