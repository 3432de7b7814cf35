//! Participants of a meeting: join tokens, and who is there.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use darktower_core::access::{Action, ParticipantRole};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operations::{HashBody, hashes};
use super::rfc3339;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, MeetingPath};
use crate::global_controller::meetings::NewParticipant;
use crate::global_controller::rate_limit::Class;
use crate::global_controller::rules::{Access, Rule};
use crate::global_controller::{ApiState, LiveParticipant, LiveStreamType};

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule {
        method: "POST",
        path: "/api/v1/meetings/{meeting_id}/participants",
        access: Access::Needs(Action::IssueToken),
        errors: &[ErrorCode::MeetingNotFound, ErrorCode::MeetingEnded],
    },
    Rule {
        method: "GET",
        path: "/api/v1/meetings/{meeting_id}/participants",
        access: Access::Needs(Action::ReadParticipants),
        errors: &[ErrorCode::MeetingNotFound],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(add_participant, list_participants))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct AddParticipant {
    name: String,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    role: Option<ParticipantRole>,
    user_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AddedParticipant {
    participant_id: String,
    join_token: String,
    meeting_id: String,
    meeting_controller_url: String,
    expires_at: String,
    certificate_hashes: Vec<HashBody>,
}

/// Issue a join token
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/participants", tag = "participants",
    params(("meeting_id" = String, Path, format = Uuid)), request_body = AddParticipant,
    responses((status = CREATED, body = AddedParticipant)))]
pub(super) async fn add_participant(
    State(state): State<ApiState>,
    _caller: Caller,
    MeetingPath(id): MeetingPath,
    JsonBody(body): JsonBody<AddParticipant>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingJoin, id)?;
    let new = NewParticipant {
        name: body.name,
        role: body.role.unwrap_or(ParticipantRole::Participant),
        user_id: body.user_id,
    };
    let issued = state.0.meetings.add_participant(id, new).await?;
    let body = AddedParticipant {
        participant_id: issued.claims.participant_id.to_string(),
        join_token: issued.join_token,
        meeting_id: id.to_string(),
        meeting_controller_url: state.0.urls.signaling(),
        expires_at: rfc3339(issued.claims.expires_at)?,
        certificate_hashes: hashes(&state)?,
    };
    Ok((StatusCode::CREATED, Json(body)))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Roster {
    participants: Vec<ParticipantBody>,
    total: usize,
}

#[derive(Serialize, ToSchema)]
struct ParticipantBody {
    participant_id: String,
    name: String,
    joined_at: String,
    streams: Vec<StreamBody>,
}

#[derive(Serialize, ToSchema)]
struct StreamBody {
    stream_id: String,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    stream_type: LiveStreamType,
    codec: String,
}

/// See who is in a meeting
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}/participants", tag = "participants",
    params(("meeting_id" = String, Path, format = Uuid)), responses((status = OK, body = Roster)))]
pub(super) async fn list_participants(
    State(state): State<ApiState>,
    _caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<Roster>, ApiError> {
    let participants = state.0.meetings.roster(id).await?;
    let participants = participants
        .into_iter()
        .map(|LiveParticipant { participant_id, name, joined_at, streams }| {
            let streams = streams.into_iter().map(|stream| StreamBody {
                stream_id: stream.stream_id.to_string(),
                stream_type: stream.stream_type,
                codec: stream.codec,
            });
            Ok(ParticipantBody {
                participant_id: participant_id.to_string(),
                name,
                joined_at: rfc3339(joined_at)?,
                streams: streams.collect(),
            })
        })
        .collect::<Result<Vec<_>, ApiError>>()?;
    Ok(Json(Roster { total: participants.len(), participants }))
}
