//! Pages for people: the meeting app and its files.
//!
//! What files there are is for [`AppFiles`] to say. Names come from the path of a request, so only plain ones are looked up.

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use super::error::{ApiError, ErrorCode};
use super::meetings::MeetingsError;
use super::path::NamePath;
use super::web_app::INDEX;
use super::{ApiState, Urls};

/// The page is alone in its group of windows, and everything that it loads agrees to be loaded: what browsers ask before
/// they let a page measure time finely. Workers need the same of their scripts.
const ISOLATION: [(HeaderName, &str); 3] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// What a meeting needs, for the page itself and for nothing inside it. What browsers do not know they complain of.
const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), autoplay=(self), \
     screen-wake-lock=(self), picture-in-picture=(self), geolocation=(), payment=(), usb=(), serial=(), hid=(), midi=()";

/// The routes of pages and of what they load.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(index))
        .route("/m/{slug}", get(meeting))
        .route("/assets/style.css", get(style))
        .route("/assets/{file}", get(asset))
}

/// `GET /`
async fn index(State(state): State<ApiState>, request: HeaderMap) -> Response {
    app(&state, &request, StatusCode::OK)
}

/// `GET /m/{slug}`. The app shows of the meeting what the API tells it; the status is for those who do not run it.
async fn meeting(
    State(state): State<ApiState>,
    NamePath(slug): NamePath,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    match state.0.meetings.by_slug(&slug).await {
        Ok(_) => Ok(app(&state, &request, StatusCode::OK)),
        Err(MeetingsError::SlugNotFound) => Ok(app(&state, &request, StatusCode::NOT_FOUND)),
        Err(error) => Err(error.into()),
    }
}

/// The page of the app, or one that says that this program has none.
fn app(state: &ApiState, request: &HeaderMap, status: StatusCode) -> Response {
    match file(state, request, INDEX, Keep::Ask) {
        Some(page) if status == StatusCode::OK => page,
        // Whatever the browser has of it: who asks for no meeting is told so.
        Some(_) => {
            let page = file(state, &HeaderMap::new(), INDEX, Keep::Ask);
            page.map_or_else(no_app, |page| (status, page).into_response())
        }
        None => no_app(),
    }
}

fn no_app() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Html(include_str!("assets/no_app.html"))).into_response()
}

/// `GET /assets/style.css`: for the pages that the server writes itself.
async fn style() -> Response {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, include_str!("assets/style.css")).into_response()
}

/// `GET /assets/{file}`
async fn asset(
    State(state): State<ApiState>,
    NamePath(name): NamePath,
    request: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let keep = if has_hash(&name) { Keep::ForGood } else { Keep::Ask };
    let found = is_plain(&name).then(|| file(&state, &request, &format!("assets/{name}"), keep)).flatten();
    found.ok_or_else(|| nothing_at(&uri))
}

fn nothing_at(uri: &Uri) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("There is nothing at {}", uri.path()))
}

/// For how long a browser may use a file without asking.
#[derive(Clone, Copy)]
enum Keep {
    /// Its name changes with its content.
    ForGood,
    /// It asks each time, and is mostly told that nothing has changed.
    Ask,
}

/// A file of the app, packed as Brotli if there is such a copy and the browser takes it.
fn file(state: &ApiState, request: &HeaderMap, path: &str, keep: Keep) -> Option<Response> {
    let files = &state.0.app;
    let packed = files.file(&format!("{path}.br"));
    let varies = packed.is_some();
    let packed = packed.filter(|_| takes_brotli(request));
    let encoding = packed.is_some().then_some("br");
    let file = match packed {
        Some(packed) => packed,
        None => files.file(path)?,
    };
    let keep = match keep {
        Keep::ForGood => "public, max-age=31536000, immutable",
        Keep::Ask => "no-cache",
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    // Scripts have it as the page does: a worker goes by that of its own script.
    headers.insert(CONTENT_SECURITY_POLICY, state.0.app_policy.clone());
    headers.insert(PERMISSIONS_POLICY, HeaderValue::from_static(PERMISSIONS));
    headers.extend(ISOLATION.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if varies {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let is_known = knows(request, &file.etag);
    headers.insert(ETAG, HeaderValue::try_from(file.etag).ok()?);
    if is_known {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Some((headers, file.bytes).into_response())
}

/// What the page of the app and its scripts may do: nothing inline, nothing from elsewhere, no code from text.
pub(super) fn app_policy(urls: &Urls) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         font-src 'self'; media-src 'self' blob:; connect-src 'self' {}; manifest-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        urls.quic()
    );
    HeaderValue::try_from(policy).expect("the origin was checked with the configuration")
}

/// Whether the caller has what `etag` stands for.
pub(super) fn knows(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// Whether the caller takes Brotli: it is named, and not with a weight of nothing.
fn takes_brotli(request: &HeaderMap) -> bool {
    let accepted = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("br") && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// Letters, digits and marks that mean nothing in a path, and no hidden file.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Whether a name ends in a hash of the content, as Vite writes it: `index-B7pQ2xYz.js`.
fn has_hash(name: &str) -> bool {
    const HASH_LEN: usize = 8;
    let Some((stem, _)) = name.split_once('.') else { return false };
    let bytes = stem.as_bytes();
    let Some(at) = bytes.len().checked_sub(HASH_LEN + 1) else { return false };
    bytes.get(at) == Some(&b'-') && at > 0
}

/// By the ending of the name. What is not known is not shown, as `nosniff` goes with everything.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("mp3") => "audio/mpeg",
        Some("ogg") => "audio/ogg",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_for_good() {
        for name in
            ["index-B7pQ2xYz.js", "index-B7pQ2xYz.js.map", "media-worker-a-b_c-12.js", "i-C0-aB_9z.woff2"]
        {
            assert!(has_hash(name), "{name}");
        }
        for name in
            ["style.css", "index.js", "-B7pQ2xYz.js", "index-B7pQ2xY.js", "index-B7pQ2xYz", "logo.svg"]
        {
            assert!(!has_hash(name), "{name}");
        }
    }

    #[test]
    fn names_that_could_leave_the_folder_are_not_looked_up() {
        for name in ["index-B7pQ2xYz.js", "a_b.css"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["..", ".env", "../index.html", "a/b.js", "a\\b.js", "a%2fb.js", "a\0.js", "é.js"] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn brotli_goes_to_those_who_name_it() {
        let takes = |value: &'static str| {
            takes_brotli(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for value in ["br", "gzip, deflate, br, zstd", "gzip;q=1.0, BR;q=0.5", "br; q=1"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "gzip", "gzip, br;q=0", "br;q=0.000", "brotli", "*"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_brotli(&HeaderMap::new()));
    }
}
