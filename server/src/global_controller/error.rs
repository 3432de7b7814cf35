//! The one error body of the API and the table of its codes.

use std::collections::BTreeMap;
use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::storage::StoreError;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal, $status:ident;)*) => {
        /// What went wrong, as clients see it. Codes beyond the contract's seven are more exact names for a case of one
        /// of them; the HTTP status tells which.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ErrorCode { $($(#[doc = $doc])* $variant),* }

        impl ErrorCode {
            /// Every code, in the order of the reference page.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the body.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The status of the response.
            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),* }
            }

            /// What it means, for the reference page.
            pub(super) fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii()),* }
            }
        }
    };
}

error_codes! {
    /// The request cannot be understood or a value is not allowed; `details.field` names it where one is to blame.
    InvalidRequest = "INVALID_REQUEST", BAD_REQUEST;
    /// No token, or one that is not valid; wrong password or secret.
    Unauthorized = "UNAUTHORIZED", UNAUTHORIZED;
    /// A refresh token was used twice: somebody else has it. Every session of the user is ended; sign in again.
    TokenReused = "TOKEN_REUSED", UNAUTHORIZED;
    /// Known, but not allowed.
    Forbidden = "FORBIDDEN", FORBIDDEN;
    /// The meeting does not let guests in.
    GuestsNotAllowed = "GUESTS_NOT_ALLOWED", FORBIDDEN;
    /// No such route or thing.
    NotFound = "NOT_FOUND", NOT_FOUND;
    /// No such meeting.
    MeetingNotFound = "MEETING_NOT_FOUND", NOT_FOUND;
    /// No such participant in this meeting.
    ParticipantNotFound = "PARTICIPANT_NOT_FOUND", NOT_FOUND;
    /// No such session, or nobody is in the meeting.
    SessionNotFound = "SESSION_NOT_FOUND", NOT_FOUND;
    /// No such user.
    UserNotFound = "USER_NOT_FOUND", NOT_FOUND;
    /// No such machine client.
    ClientNotFound = "CLIENT_NOT_FOUND", NOT_FOUND;
    /// No such preset.
    PresetNotFound = "PRESET_NOT_FOUND", NOT_FOUND;
    /// The route exists; `Allow` names its methods.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    /// The request took too long.
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT;
    /// The request contradicts itself or the state of things.
    Conflict = "CONFLICT", CONFLICT;
    /// The meeting is over.
    MeetingEnded = "MEETING_ENDED", CONFLICT;
    /// What must be unique is taken; `details.field` names it.
    AlreadyExists = "ALREADY_EXISTS", CONFLICT;
    /// The body is larger than 1 MiB.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE;
    /// The URL is longer than 8 KiB.
    UriTooLong = "URI_TOO_LONG", URI_TOO_LONG;
    /// More than 100 header lines, or more than 16 KiB of them.
    HeadersTooLarge = "HEADERS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// The body is not `application/json`.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE;
    /// Too many requests; `Retry-After` says when to come again.
    RateLimited = "RATE_LIMITED", TOO_MANY_REQUESTS;
    /// A cap is reached: participants, guests, or meetings at one time. Waiting alone does not help.
    CapacityExceeded = "CAPACITY_EXCEEDED", TOO_MANY_REQUESTS;
    /// The server failed; the log knows why.
    InternalError = "INTERNAL_ERROR", INTERNAL_SERVER_ERROR;
}

/// A refused or failed request. What clients read and what the log gets are separate.
#[derive(Debug)]
pub(super) struct ApiError {
    code: ErrorCode,
    message: String,
    details: BTreeMap<&'static str, String>,
    retry_after_seconds: Option<u32>,
    internal: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: BTreeMap::new(),
            retry_after_seconds: None,
            internal: None,
        }
    }

    pub(super) fn is(&self, code: ErrorCode) -> bool {
        self.code == code
    }

    pub(super) fn field(field: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorCode::InvalidRequest, message);
        error.details.insert("field", field.to_owned());
        error
    }

    /// Something must be unique and is taken.
    pub(super) fn taken(field: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorCode::AlreadyExists, message);
        error.details.insert("field", field.to_owned());
        error
    }

    /// Too many at once; worth another try after some seconds.
    pub(super) fn busy(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(ErrorCode::RateLimited, message);
        error.retry_after_seconds = Some(retry_after_seconds);
        error
    }

    /// Says more in `details`.
    #[must_use]
    pub(super) fn with_detail(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.details.insert(key, value.into());
        self
    }

    pub(super) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let mut error = Self::new(ErrorCode::InternalError, "The server could not answer this request");
        error.internal = Some(cause.into());
        error
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
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code == ErrorCode::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
