//! The one error body of the API and the table of its codes.

use std::collections::BTreeMap;
use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::meetings::MeetingsError;
use crate::storage::StoreError;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident;)*) => {
        /// What went wrong, as clients see it. Codes beyond the contract's seven are more exact names for a case of one
        /// of them; the HTTP status tells which.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ErrorCode { $($(#[$doc])* $variant),* }

        impl ErrorCode {
            /// The name in the body.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The status of the response.
            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),* }
            }
        }
    };
}

error_codes! {
    /// The request cannot be understood or a value is not allowed; `details.field` names it where one is to blame.
    InvalidRequest = "INVALID_REQUEST", BAD_REQUEST;
    /// No token, or one that is not valid.
    Unauthorized = "UNAUTHORIZED", UNAUTHORIZED;
    /// Known, but not allowed.
    Forbidden = "FORBIDDEN", FORBIDDEN;
    /// No such route.
    NotFound = "NOT_FOUND", NOT_FOUND;
    /// No such meeting.
    MeetingNotFound = "MEETING_NOT_FOUND", NOT_FOUND;
    /// The route exists; `Allow` names its methods.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    /// The request took too long.
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT;
    /// The request contradicts itself or the state of things.
    Conflict = "CONFLICT", CONFLICT;
    /// The meeting is over.
    MeetingEnded = "MEETING_ENDED", CONFLICT;
    /// The body is larger than 1 MiB.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE;
    /// The URL is longer than 8 KiB.
    UriTooLong = "URI_TOO_LONG", URI_TOO_LONG;
    /// More than 100 header lines, or more than 16 KiB of them.
    HeadersTooLarge = "HEADERS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// Too often; `Retry-After` says when to ask again.
    RateLimited = "RATE_LIMITED", TOO_MANY_REQUESTS;
    /// The body is not `application/json`.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE;
    /// The server failed; the log knows why.
    InternalError = "INTERNAL_ERROR", INTERNAL_SERVER_ERROR;
}

/// A refused or failed request. What clients read and what the log gets are separate.
#[derive(Debug)]
pub(super) struct ApiError {
    code: ErrorCode,
    message: String,
    details: BTreeMap<&'static str, String>,
    internal: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: BTreeMap::new(), internal: None }
    }

    pub(super) fn field(field: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorCode::InvalidRequest, message);
        error.details.insert("field", field.to_owned());
        error
    }

    pub(super) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let mut error = Self::new(ErrorCode::InternalError, "The server could not answer this request");
        error.internal = Some(cause.into());
        error
    }
}

impl From<MeetingsError> for ApiError {
    fn from(error: MeetingsError) -> Self {
        match error {
            MeetingsError::Invalid { field, .. } => Self::field(field, error.to_string()),
            MeetingsError::EncryptedRecording => Self::new(ErrorCode::Conflict, error.to_string()),
            MeetingsError::NotFound(_) | MeetingsError::SlugNotFound => {
                Self::new(ErrorCode::MeetingNotFound, error.to_string())
            }
            MeetingsError::Ended(_) => Self::new(ErrorCode::MeetingEnded, error.to_string()),
            MeetingsError::Random | MeetingsError::Store(_) => Self::internal(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
    details: &'a BTreeMap<&'static str, String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.internal {
            tracing::error!(error = &**cause as &dyn Error, "request failed");
        }
        let inner = Inner { code: self.code.as_str(), message: &self.message, details: &self.details };
        let mut response = (self.code.status(), Json(Body { error: inner })).into_response();
        if self.code == ErrorCode::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
