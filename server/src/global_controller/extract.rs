//! Parts of a request, with refusals in the API's error body.

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use darktower_protocol::MeetingId;
use serde::de::DeserializeOwned;

use super::ApiState;
use super::error::{ApiError, ErrorCode};

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(|rejection| json_error(&rejection.into()))?;
        // serde would also take a list of the fields' values in the order of our source code.
        let is_list = body.trim_ascii_start().first() == Some(&b'[');
        match Json::from_request(Request::from_parts(parts, Body::from(body)), state).await {
            Ok(Json(_)) if is_list => {
                Err(ApiError::new(ErrorCode::InvalidRequest, "The body must be a JSON object"))
            }
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(json_error(&rejection)),
        }
    }
}

/// What axum puts before the parser's words.
const PREFIX: &str = "Failed to deserialize the JSON body into the target type: ";

fn json_error(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            ApiError::new(ErrorCode::UnsupportedMediaType, "The body must be sent as application/json")
        }
        JsonRejection::JsonSyntaxError(_) => {
            ApiError::new(ErrorCode::InvalidRequest, "The body is not valid JSON")
        }
        // The parser's words name the field and what was expected there.
        JsonRejection::JsonDataError(error) => {
            let text = error.body_text();
            ApiError::new(ErrorCode::InvalidRequest, text.strip_prefix(PREFIX).unwrap_or(&text))
        }
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(ErrorCode::PayloadTooLarge, "The body is larger than 1 MiB")
        }
        _ => ApiError::new(ErrorCode::InvalidRequest, "The body could not be read"),
    }
}

/// The query part of the URL.
pub(super) struct QueryOf<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(ErrorCode::InvalidRequest, rejection.body_text())),
        }
    }
}

/// The meeting id in the path.
pub(super) struct MeetingPath(pub(super) MeetingId);

impl<S: Send + Sync> FromRequestParts<S> for MeetingPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        match text.ok().and_then(|Path(text)| text.parse().ok()) {
            Some(id) => Ok(Self(id)),
            None => Err(ApiError::field("meeting_id", "meeting_id must be a UUID")),
        }
    }
}

/// Who calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A machine client with an access token.
    Client(String),
    /// Somebody on this machine, in development mode.
    Developer,
}

impl Caller {
    pub(super) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Client(id) => Some(id),
            Self::Developer => None,
        }
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // `rate_limit` has asked already.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let refuse = |message: &str| Err(ApiError::new(ErrorCode::Unauthorized, message));
        let mut values = parts.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) if state.0.config.dev => Ok(Self::Developer),
            (None, _) => refuse("This needs an access token: Authorization: Bearer TOKEN"),
            (Some(value), None) => {
                let token =
                    value.to_str().ok().and_then(|text| text.split_once(' ')).and_then(|(scheme, token)| {
                        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
                    });
                let Some(token) = token else {
                    return refuse("The Authorization header must be: Bearer TOKEN");
                };
                match state.0.tokens.verify_access(token) {
                    Ok(claims) => Ok(Self::Client(claims.client_id)),
                    Err(error) => refuse(&format!("The access token is refused: {error}")),
                }
            }
            (Some(_), Some(_)) => refuse("There must be one Authorization header"),
        }
    }
}
