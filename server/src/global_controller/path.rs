//! Ids in the path of a request.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use darktower_protocol::{MeetingId, MeetingSessionId, ParticipantId, UserId};

use super::error::ApiError;

/// `{meeting_id}`
pub(super) struct MeetingPath(pub(super) MeetingId);

/// `{meeting_id}` and `{participant_id}`
pub(super) struct ParticipantPath(pub(super) MeetingId, pub(super) ParticipantId);

/// `{meeting_id}` and `{user_id}`
pub(super) struct InviteePath(pub(super) MeetingId, pub(super) UserId);

/// `{user_id}`
pub(super) struct UserPath(pub(super) UserId);

/// `{client_id}` or `{name}`: any text, which may name nothing.
pub(super) struct NamePath(pub(super) String);

/// `{session_id}`
pub(super) struct SessionPath(pub(super) MeetingSessionId);

/// `{session_id}` and `{participant_id}`
pub(super) struct AttendeePath(pub(super) MeetingSessionId, pub(super) ParticipantId);

impl<S: Send + Sync> FromRequestParts<S> for MeetingPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(id(&params, "meeting_id")?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ParticipantPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(id(&params, "meeting_id")?, id(&params, "participant_id")?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InviteePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(id(&params, "meeting_id")?, id(&params, "user_id")?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(id(&params, "user_id")?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(params.iter().map(|(_, value)| value.to_owned()).next().unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AttendeePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(id(&params, "session_id")?, id(&params, "participant_id")?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(id(&params, "session_id")?))
    }
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, ApiError> {
    let params = RawPathParams::from_request_parts(parts, state).await;
    // The only way to fail is an id that is not UTF-8 once it is decoded.
    params.map_err(|_| ApiError::field("path", "The path must be UTF-8"))
}

fn id<T: FromStr>(params: &RawPathParams, name: &'static str) -> Result<T, ApiError> {
    let value = params.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.parse().ok());
    value.ok_or_else(|| ApiError::field(name, format!("{name} must be a UUID")))
}
