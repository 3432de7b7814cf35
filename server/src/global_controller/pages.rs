//! Pages for people. The browser application will replace the meeting's page; until then it shows what is live.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::ApiState;
use super::error::ApiError;
use super::meetings::MeetingsError;
use super::path::NamePath;

type Asset = ([(HeaderName, &'static str); 2], &'static str);

/// `GET /`
pub(super) async fn index(State(state): State<ApiState>) -> Html<String> {
    let (token, operations) = if state.0.config.dev {
        ("", "<li><a href=\"/health/ready\">Health</a></li>\n<li><a href=\"/metrics\">Metrics</a></li>")
    } else {
        ("<span>-H 'authorization: Bearer ACCESS_TOKEN'</span> ", "")
    };
    Html(format!(
        include_str!("assets/index.html"),
        api = escape(state.0.urls.api()),
        version = env!("CARGO_PKG_VERSION"),
        token = token,
        client_token = client_token(&state),
        operations = operations,
    ))
}

/// `GET /m/{slug}`
pub(super) async fn meeting(
    State(state): State<ApiState>,
    NamePath(slug): NamePath,
) -> Result<Response, ApiError> {
    let meeting = match state.0.meetings.by_slug(&slug).await {
        Ok(view) => view.meeting,
        Err(MeetingsError::SlugNotFound) => {
            return Ok((StatusCode::NOT_FOUND, Html(include_str!("assets/not_found.html"))).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let page = format!(
        include_str!("assets/meeting.html"),
        name = escape(&meeting.display_name),
        id = escape(&meeting.id.to_string()),
        url = escape(&state.0.urls.meeting(&meeting.slug)),
        token = client_token(&state),
        state =
            if meeting.status.is_joinable() { "" } else { "<p class=\"notice\">This meeting has ended.</p>" },
    );
    Ok(Html(page).into_response())
}

/// What the command line needs beyond the lines that the pages show.
fn client_token(state: &ApiState) -> &'static str {
    if state.0.config.dev {
        ""
    } else {
        " It needs an access token of this server’s API, in the environment variable <code>DARKTOWER_API_TOKEN</code>."
    }
}

/// `GET /assets/style.css`
pub(super) async fn style() -> Asset {
    asset("text/css; charset=utf-8", include_str!("assets/style.css"))
}

/// `GET /assets/meeting.js`
pub(super) async fn script() -> Asset {
    asset("text/javascript; charset=utf-8", include_str!("assets/meeting.js"))
}

fn asset(content_type: &'static str, text: &'static str) -> Asset {
    // Revalidated each time: a new version of the server brings new pages.
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text)
}

/// Text as HTML text or quoted attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
