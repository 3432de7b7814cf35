//! Parts of a request, with refusals in the API's error body.

use std::error::Error;

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_path_to_error::Error as PathError;

use super::error::{ApiError, ErrorCode};

/// Characters of a field's name that are repeated to the caller.
const MAX_FIELD_LEN: usize = 64;

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
        let bytes = body.clone();
        match Json::from_request(Request::from_parts(parts, Body::from(body)), state).await {
            Ok(Json(_)) | Err(JsonRejection::JsonDataError(_)) if is_list => {
                Err(ApiError::new(ErrorCode::InvalidRequest, "The body must be a JSON object"))
            }
            Ok(Json(value)) => Ok(Self(value)),
            // The parser calls it bad syntax, too, when a value begins as none of its kind does: null where a name must be.
            Err(JsonRejection::JsonSyntaxError(error))
                if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() =>
            {
                let refusal = ApiError::new(ErrorCode::InvalidRequest, "A value is of the wrong kind");
                Err(match field_to_blame(&error) {
                    Some(field) => refusal.with_detail("field", field),
                    None => refusal,
                })
            }
            Err(rejection) => Err(json_error(&rejection)),
        }
    }
}

/// A JSON body that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(|rejection| json_error(&rejection.into()))?;
        if body.is_empty() || body.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        let JsonBody(value) =
            JsonBody::from_request(Request::from_parts(parts, Body::from(body)), state).await?;
        Ok(Self(value))
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
            let refusal =
                ApiError::new(ErrorCode::InvalidRequest, text.strip_prefix(PREFIX).unwrap_or(&text));
            match field_to_blame(error) {
                Some(field) => refusal.with_detail("field", field),
                None => refusal,
            }
        }
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(ErrorCode::PayloadTooLarge, "The body is larger than 1 MiB")
        }
        _ => ApiError::new(ErrorCode::InvalidRequest, "The body could not be read"),
    }
}

/// Where in the body a value is of the wrong kind: `settings.require_auth`. Cut, because callers choose names.
fn field_to_blame(error: &(dyn Error + 'static)) -> Option<String> {
    let path = match error.downcast_ref::<PathError<serde_json::Error>>() {
        Some(found) => found.path(),
        None => return field_to_blame(error.source()?),
    };
    path.iter().next()?;
    Some(path.to_string().chars().take(MAX_FIELD_LEN).collect())
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
