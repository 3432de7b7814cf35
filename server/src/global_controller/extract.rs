//! Parts of a request, with refusals in the API's error body.

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use darktower_protocol::{MeetingId, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{ApiError, ErrorCode};
use crate::storage::model::Page;

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

/// The user id in the path.
pub(super) struct UserPath(pub(super) UserId);

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        match text.ok().and_then(|Path(text)| text.parse().ok()) {
            Some(id) => Ok(Self(id)),
            None => Err(ApiError::field("user_id", "user_id must be a UUID")),
        }
    }
}

/// The one name in the path, of a client or a preset. What names nothing is not found.
pub(super) struct NamePath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(ApiError::new(ErrorCode::InvalidRequest, "The path is not valid UTF-8")),
        }
    }
}

/// Longest page of a list.
pub(super) const MAX_PAGE: u32 = 200;
const DEFAULT_PAGE: u32 = 50;

/// The part of a list that a query asks for.
pub(super) fn page(limit: Option<u32>, offset: Option<u32>) -> Result<Page, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::field("limit", format!("limit must be 1 to {MAX_PAGE}")));
    }
    Ok(Page { limit, offset: offset.unwrap_or(0) })
}

/// A time in a query.
pub(super) fn time(field: &'static str, text: Option<&str>) -> Result<Option<OffsetDateTime>, ApiError> {
    let parse = |text| {
        let message = format!("{field} must be a time such as 2026-01-16T12:00:00Z");
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ApiError::field(field, message))
    };
    text.map(parse).transpose()
}

/// For fields of a change that may be absent (nothing changes) or null (the value is taken away): `Some(None)` is null.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
