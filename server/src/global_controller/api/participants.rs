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
use super::{needs, public, rfc3339, rfc3339_of};
use crate::global_controller::caller::{Caller, Visitor};
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, OptionalBody};
use crate::global_controller::participants::{
    Issued, NewGuest, NewParticipant, ParticipantChange, ParticipantView,
};
use crate::global_controller::path::{MeetingPath, ParticipantPath};
use crate::global_controller::rate_limit::{Class, ClientAddress};
use crate::global_controller::rules::Rule;
use crate::global_controller::{ApiState, LiveParticipant, LiveStreamType};

const NOT_FOUND: &[ErrorCode] = &[ErrorCode::MeetingNotFound];
const NO_PARTICIPANT: &[ErrorCode] = &[ErrorCode::MeetingNotFound, ErrorCode::ParticipantNotFound];
const NO_ENTRY: &[ErrorCode] =
    &[ErrorCode::MeetingNotFound, ErrorCode::MeetingEnded, ErrorCode::Conflict, ErrorCode::CapacityExceeded];
const NO_USER: &[ErrorCode] = &[
    ErrorCode::MeetingNotFound,
    ErrorCode::UserNotFound,
    ErrorCode::MeetingEnded,
    ErrorCode::Conflict,
    ErrorCode::CapacityExceeded,
];
const NO_GUEST: &[ErrorCode] = &[
    ErrorCode::MeetingNotFound,
    ErrorCode::GuestsNotAllowed,
    ErrorCode::MeetingEnded,
    ErrorCode::Conflict,
    ErrorCode::CapacityExceeded,
];
const NO_RENEWAL: &[ErrorCode] = &[
    ErrorCode::MeetingNotFound,
    ErrorCode::ParticipantNotFound,
    ErrorCode::MeetingEnded,
    ErrorCode::Conflict,
    ErrorCode::CapacityExceeded,
];

#[rustfmt::skip]
pub(in crate::global_controller) const RULES: &[Rule] = &[
    needs("POST", "/api/v1/meetings/{meeting_id}/join", Action::JoinMeeting, NO_USER),
    public("POST", "/api/v1/meetings/{meeting_id}/guest-join", NO_GUEST),
    needs("POST", "/api/v1/meetings/{meeting_id}/participants", Action::IssueToken, NO_ENTRY),
    needs("POST", "/api/v1/meetings/{meeting_id}/tokens", Action::IssueToken, NO_ENTRY),
    needs("GET", "/api/v1/meetings/{meeting_id}/participants", Action::ReadParticipants, NOT_FOUND),
    needs("GET", "/api/v1/meetings/{meeting_id}/participants/{participant_id}", Action::ReadParticipants, NO_PARTICIPANT),
    needs("PATCH", "/api/v1/meetings/{meeting_id}/participants/{participant_id}", Action::IssueToken, NO_PARTICIPANT),
    needs("DELETE", "/api/v1/meetings/{meeting_id}/participants/{participant_id}", Action::RemoveParticipant, NO_PARTICIPANT),
    needs("POST", "/api/v1/meetings/{meeting_id}/participants/{participant_id}/token", Action::IssueToken, NO_RENEWAL),
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(join_meeting))
        .routes(routes!(join_as_guest))
        .routes(routes!(add_participant, list_participants))
        .routes(routes!(issue_token))
        .routes(routes!(get_participant, change_participant, revoke_participant))
        .routes(routes!(renew_token))
}

/// A participant to let in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"name": "Zoë", "role": "participant", "user_id": "user-17", "expires_in": 3600}))]
pub(super) struct AddParticipant {
    /// Name shown to the others, 1 to 64 characters, some of which can be seen.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it is in the meeting: `host`, `participant` (default), `guest` or `viewer` (in meetings with a stage). It gets
    /// the shipped preset that goes with it. Not together with `preset`.
    #[serde(default)]
    role: Option<ParticipantRole>,
    /// Name of the preset it gets. Its role follows from the names of shipped presets; it is a participant with others.
    #[schema(max_length = 64)]
    preset: Option<String>,
    /// The user behind it: an id of the application's own, or of an active user of the organization (if a user asks, only the
    /// latter).
    #[schema(min_length = 1, max_length = 200)]
    user_id: Option<String>,
    /// Seconds that the token lives, 60 to 86400. Default a day, four hours for guests.
    #[schema(minimum = 60, maximum = 86400)]
    expires_in: Option<u32>,
}

/// A way into a meeting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "join_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl", "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e",
    "name": "Zoë", "role": "participant", "preset": "video_participant",
    "meeting_controller_url": "https://meet.example.org/v1/signal", "expires_at": "2025-01-17T12:00:00Z",
    "certificate_hashes": []
}))]
pub(super) struct AddedParticipant {
    /// Who its holder will be.
    participant_id: String,
    /// What to join with. Secret.
    join_token: String,
    /// Id of the meeting.
    meeting_id: String,
    /// Name shown to the others.
    name: String,
    /// What it is in the meeting.
    role: ParticipantRole,
    /// Name of the preset with its permissions.
    preset: String,
    /// Where signaling sessions connect.
    meeting_controller_url: String,
    /// When the token ends, RFC 3339.
    expires_at: String,
    /// Certificates that clients may accept although no authority signed them.
    certificate_hashes: Vec<HashBody>,
}

fn grant(state: &ApiState, issued: Issued) -> Result<Json<AddedParticipant>, ApiError> {
    let Issued { claims, join_token } = issued;
    Ok(Json(AddedParticipant {
        participant_id: claims.participant_id.to_string(),
        join_token,
        meeting_id: claims.meeting_id.to_string(),
        name: claims.name,
        role: claims.role,
        preset: claims.preset,
        meeting_controller_url: state.0.urls.signaling(),
        expires_at: rfc3339(claims.expires_at)?,
        certificate_hashes: hashes(state)?,
    }))
}

impl From<AddParticipant> for NewParticipant {
    fn from(body: AddParticipant) -> Self {
        let AddParticipant { name, role, preset, user_id, expires_in } = body;
        Self { name, role, preset, user_id, expires_in }
    }
}

/// Issue a join token
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/participants", tag = "participants", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    request_body = AddParticipant, responses((status = CREATED, description = "Issued", body = AddedParticipant)))]
pub(super) async fn add_participant(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
    JsonBody(body): JsonBody<AddParticipant>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingJoin, (id, caller.organization))?;
    let issued = state.0.meetings.issue(&caller, id, body.into()).await?;
    Ok((StatusCode::CREATED, grant(&state, issued)?))
}

/// A way into a meeting, with the token under the name that applications of the platform know it by, too.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "auth_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl",
    "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "join_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl", "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e",
    "name": "Zoë", "role": "participant", "preset": "video_participant",
    "meeting_controller_url": "https://meet.example.org/v1/signal", "expires_at": "2025-01-17T12:00:00Z",
    "certificate_hashes": []
}))]
pub(super) struct TokenGrant {
    /// The same as `join_token`.
    auth_token: String,
    #[serde(flatten)]
    grant: AddedParticipant,
}

/// Issue a join token (the same under another name)
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/tokens", tag = "participants", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    request_body = AddParticipant, responses((status = CREATED, description = "Issued", body = TokenGrant)))]
pub(super) async fn issue_token(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
    JsonBody(body): JsonBody<AddParticipant>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingJoin, (id, caller.organization))?;
    let issued = state.0.meetings.issue(&caller, id, body.into()).await?;
    let auth_token = issued.join_token.clone();
    let Json(grant) = grant(&state, issued)?;
    Ok((StatusCode::CREATED, Json(TokenGrant { auth_token, grant })))
}

/// How the calling user joins.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"name": "Zoë (mobile)"}))]
pub(super) struct JoinMeeting {
    /// Name shown to the others. Default: that of the account, its first 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
}

/// Get a join token for oneself
///
/// A scheduled meeting that has not begun answers 409 to all but its hosts, who begin it by joining.
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/join", tag = "participants", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    request_body = Option<JoinMeeting>, responses((status = CREATED, description = "Issued", body = AddedParticipant)))]
pub(super) async fn join_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
    OptionalBody(body): OptionalBody<JoinMeeting>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingJoin, (id, caller.organization))?;
    let issued = state.0.meetings.join(&caller, id, body.name).await?;
    Ok((StatusCode::CREATED, grant(&state, issued)?))
}

/// A guest who wants to come in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"name": "Ada Lovelace", "email": "ada@example.org"}))]
pub(super) struct JoinAsGuest {
    /// Name shown to the others, 2 to 50 characters that can be seen; not one that looks like staff.
    #[schema(min_length = 2, max_length = 50)]
    name: String,
    /// An address, for the operator's audit log only.
    #[schema(max_length = 254)]
    email: Option<String>,
}

/// Join without an account, if the meeting lets guests in
///
/// Whoever has the id has it from the meeting's link, which shows that there is such a meeting; so one that lets no guests in
/// answers 403, whatever its state, and only an unknown id 404. A scheduled meeting answers 409 until it has begun.
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/guest-join", tag = "participants", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    request_body = JoinAsGuest, responses((status = CREATED, description = "Issued", body = AddedParticipant)))]
pub(super) async fn join_as_guest(
    State(state): State<ApiState>,
    visitor: Visitor,
    address: ClientAddress,
    MeetingPath(id): MeetingPath,
    JsonBody(body): JsonBody<JoinAsGuest>,
) -> Result<impl IntoResponse, ApiError> {
    // First, as a name that is refused is no try.
    let new = NewGuest::new(&body.name, body.email.as_deref(), visitor.request_id)?;
    state.0.limits.check(Class::GuestJoinPerAddress, (id, address))?;
    state.0.limits.check(Class::GuestJoin, id)?;
    let issued = state.0.meetings.join_as_guest(id, new).await?;
    Ok((StatusCode::CREATED, grant(&state, issued)?))
}

/// How a token is renewed.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"expires_in": 3600}))]
pub(super) struct RenewToken {
    /// Seconds that the token lives, 60 to 86400. Default a day, four hours for guests.
    #[schema(minimum = 60, maximum = 86400)]
    expires_in: Option<u32>,
}

/// Issue a further join token for a participant
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/participants/{participant_id}/token", tag = "participants",
    params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"),
        ("participant_id" = String, Path, format = Uuid, description = "Id of the participant")), request_body = Option<RenewToken>,
    responses((status = CREATED, description = "Issued", body = AddedParticipant)))]
pub(super) async fn renew_token(
    State(state): State<ApiState>,
    caller: Caller,
    ParticipantPath(id, participant): ParticipantPath,
    OptionalBody(body): OptionalBody<RenewToken>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingJoin, (id, caller.organization))?;
    let issued = state.0.meetings.renew(&caller, id, participant, body.expires_in).await?;
    Ok((StatusCode::CREATED, grant(&state, issued)?))
}

/// Who is in a meeting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"participants": [{
    "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "name": "Zoë", "joined_at": "2025-01-16T12:01:00Z",
    "streams": [{"stream_id": "018f3c1f-0a1b-7e62-9f50-4b3c7d8e9fa0", "type": "video_camera", "codec": "VP8"}]
}], "total": 1}))]
pub(super) struct Roster {
    /// In the order of coming.
    participants: Vec<ParticipantBody>,
    /// How many there are.
    total: usize,
}

/// A participant that is in the meeting.
#[derive(Serialize, ToSchema)]
struct ParticipantBody {
    /// Who.
    participant_id: String,
    /// Name shown to the others.
    name: String,
    /// Since when, RFC 3339.
    joined_at: String,
    /// What it publishes.
    streams: Vec<StreamBody>,
}

/// A media stream.
#[derive(Serialize, ToSchema)]
struct StreamBody {
    /// Which.
    stream_id: String,
    /// `audio`, `video_camera` or `video_screen`.
    #[serde(rename = "type")]
    stream_type: LiveStreamType,
    /// Codec as the publisher named it.
    codec: String,
}

/// See who is in a meeting
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}/participants", tag = "participants", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "In the order of coming", body = Roster)))]
pub(super) async fn list_participants(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<Roster>, ApiError> {
    let participants = state.0.meetings.roster(&caller, id).await?;
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

/// A participant that tokens were issued for.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "name": "Zoë", "role": "participant", "preset": "video_participant",
    "user_id": "user-17", "is_guest": false, "is_present": true, "issued_by": "backend",
    "created_at": "2025-01-16T12:00:00Z", "expires_at": "2025-01-17T12:00:00Z", "revoked_at": null
}))]
pub(super) struct ParticipantRecord {
    /// Who.
    participant_id: String,
    /// The meeting it may join.
    meeting_id: String,
    /// Name shown to the others.
    name: String,
    /// What it is in the meeting.
    role: ParticipantRole,
    /// Name of the preset with its permissions.
    preset: String,
    /// The user behind it.
    user_id: Option<String>,
    /// Whether it came without an account.
    is_guest: bool,
    /// Whether it is in the meeting now.
    is_present: bool,
    /// The user or client that issued the token; null for guests who came themselves.
    issued_by: Option<String>,
    /// When the first token was issued, RFC 3339.
    created_at: String,
    /// When the last token ends.
    expires_at: String,
    /// When it was thrown out.
    revoked_at: Option<String>,
}

/// See a participant
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}/participants/{participant_id}", tag = "participants",
    params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"),
        ("participant_id" = String, Path, format = Uuid, description = "Id of the participant")), responses((status = OK, description = "The participant", body = ParticipantRecord)))]
pub(super) async fn get_participant(
    State(state): State<ApiState>,
    caller: Caller,
    ParticipantPath(id, participant): ParticipantPath,
) -> Result<Json<ParticipantRecord>, ApiError> {
    record(state.0.meetings.participant(&caller, id, participant).await?)
}

fn record(view: ParticipantView) -> Result<Json<ParticipantRecord>, ApiError> {
    let ParticipantView { participant, is_present } = view;
    Ok(Json(ParticipantRecord {
        participant_id: participant.id.to_string(),
        meeting_id: participant.meeting_id.to_string(),
        name: participant.name,
        role: participant.role,
        preset: participant.preset,
        user_id: participant.user_id,
        is_guest: participant.is_guest,
        is_present,
        issued_by: participant.issued_by,
        created_at: rfc3339(participant.created_at)?,
        expires_at: rfc3339(participant.expires_at)?,
        revoked_at: rfc3339_of(participant.revoked_at)?,
    }))
}

/// What changes of a participant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"preset": "video_host", "name": "Zoë (host)"}))]
pub(super) struct ChangeParticipant {
    /// Name shown to the others, 1 to 64 characters, some of which can be seen. Absent or null: as it is.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Name of the preset that it gets. Its role follows from the names of shipped presets; it is a participant with others.
    /// Absent or null: as it is.
    #[schema(max_length = 64)]
    preset: Option<String>,
}

/// Give a participant another preset or name
///
/// It counts at once, whether the participant is in the meeting or comes later, with the tokens that it has: others see the
/// name, streams that it may no longer send are ended. What hosts have given it in the meeting before is replaced.
#[utoipa::path(patch, path = "/api/v1/meetings/{meeting_id}/participants/{participant_id}", tag = "participants",
    params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"),
        ("participant_id" = String, Path, format = Uuid, description = "Id of the participant")),
    request_body = ChangeParticipant, responses((status = OK, description = "As it is now", body = ParticipantRecord)))]
pub(super) async fn change_participant(
    State(state): State<ApiState>,
    caller: Caller,
    ParticipantPath(id, participant): ParticipantPath,
    JsonBody(body): JsonBody<ChangeParticipant>,
) -> Result<Json<ParticipantRecord>, ApiError> {
    let ChangeParticipant { name, preset } = body;
    let change = ParticipantChange { name, preset };
    record(state.0.meetings.change_participant(&caller, id, participant, change).await?)
}

/// Throw a participant out for good: its tokens and sessions end everywhere within a second
#[utoipa::path(delete, path = "/api/v1/meetings/{meeting_id}/participants/{participant_id}", tag = "participants",
    params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"),
        ("participant_id" = String, Path, format = Uuid, description = "Id of the participant")), responses((status = NO_CONTENT, description = "Out, now or before")))]
pub(super) async fn revoke_participant(
    State(state): State<ApiState>,
    caller: Caller,
    ParticipantPath(id, participant): ParticipantPath,
) -> Result<StatusCode, ApiError> {
    state.0.meetings.revoke(&caller, id, participant).await?;
    Ok(StatusCode::NO_CONTENT)
}
