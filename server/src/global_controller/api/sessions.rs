//! Sessions: the times when somebody was in a meeting.

use axum::Json;
use axum::extract::State;
use darktower_core::access::{Action, ParticipantRole};
use darktower_protocol::MeetingId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{PageQuery, needs, page, rfc3339, rfc3339_of};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::QueryOf;
use crate::global_controller::path::{MeetingPath, SessionPath};
use crate::global_controller::rules::Rule;
use crate::storage::model::MeetingSession;

const NOT_FOUND: &[ErrorCode] = &[ErrorCode::SessionNotFound];
const NOBODY: &[ErrorCode] = &[ErrorCode::MeetingNotFound, ErrorCode::SessionNotFound];

#[rustfmt::skip]
pub(in crate::global_controller) const RULES: &[Rule] = &[
    needs("GET", "/api/v1/sessions", Action::ReadSessions, &[ErrorCode::MeetingNotFound]),
    needs("GET", "/api/v1/sessions/{session_id}", Action::ReadSessions, NOT_FOUND),
    needs("GET", "/api/v1/sessions/{session_id}/participants", Action::ReadSessions, NOT_FOUND),
    needs("GET", "/api/v1/meetings/{meeting_id}/active-session", Action::ReadSessions, NOBODY),
    needs("POST", "/api/v1/meetings/{meeting_id}/active-session/kick-all", Action::RemoveParticipant, NOBODY),
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions))
        .routes(routes!(get_session))
        .routes(routes!(list_attendances))
        .routes(routes!(active_session))
        .routes(routes!(kick_all))
}

/// One activation of a meeting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "session_id": "018f3c1f-0a1b-7e62-9f50-4b3c7d8e9fa0", "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "display_name": "Team Standup", "active": true,
    "started_at": "2025-01-16T12:01:00Z", "ended_at": null, "duration_seconds": 754, "live_count": 5,
    "participant_count": 7, "peak_participants": 6
}))]
pub(super) struct SessionBody {
    /// Id of the session.
    session_id: String,
    /// Of which meeting.
    meeting_id: String,
    /// Name of the meeting.
    display_name: String,
    /// Whether it goes on.
    active: bool,
    /// First join, RFC 3339.
    started_at: String,
    /// End; null while it goes on.
    ended_at: Option<String>,
    /// From the first join to the end, or to now; whole seconds.
    duration_seconds: i64,
    /// Participants that are there now.
    live_count: u32,
    /// Different participants that took part.
    participant_count: u32,
    /// Most that were there at one time.
    peak_participants: u32,
}

fn session_body(session: MeetingSession) -> Result<SessionBody, ApiError> {
    let until = session.ended_at.unwrap_or_else(OffsetDateTime::now_utc);
    Ok(SessionBody {
        session_id: session.id.to_string(),
        meeting_id: session.meeting_id.to_string(),
        display_name: session.display_name,
        active: session.ended_at.is_none(),
        started_at: rfc3339(session.started_at)?,
        ended_at: rfc3339_of(session.ended_at)?,
        duration_seconds: (until - session.started_at).whole_seconds().max(0),
        live_count: session.live_count,
        participant_count: session.participant_count,
        peak_participants: session.peak_count,
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListSessions {
    /// Only of this meeting.
    #[param(format = Uuid)]
    meeting_id: Option<String>,
    /// Only running (`true`) or only ended (`false`) ones.
    active: Option<bool>,
    /// How many to list, 1 to 200. Default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// How many of the newest to leave out.
    offset: Option<u32>,
}

/// A part of the list of sessions, newest first.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"sessions": [{
    "session_id": "018f3c1f-0a1b-7e62-9f50-4b3c7d8e9fa0", "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "display_name": "Team Standup", "active": false,
    "started_at": "2025-01-16T12:01:00Z", "ended_at": "2025-01-16T12:31:00Z", "duration_seconds": 1800, "live_count": 0,
    "participant_count": 7, "peak_participants": 6
}], "total": 1}))]
pub(super) struct SessionList {
    /// This part.
    sessions: Vec<SessionBody>,
    /// How many there are in all.
    total: u64,
}

/// List sessions: of all meetings, for hosts of their own
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(ListSessions),
    responses((status = OK, description = "Newest first", body = SessionList)))]
pub(super) async fn list_sessions(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListSessions>,
) -> Result<Json<SessionList>, ApiError> {
    let meeting = query.meeting_id.map(|id| {
        id.parse::<MeetingId>().map_err(|_| ApiError::field("meeting_id", "meeting_id must be a UUID"))
    });
    let page = page(query.limit, query.offset)?;
    let listed = state.0.meetings.sessions(&caller, meeting.transpose()?, query.active, page).await?;
    let sessions = listed.items.into_iter().map(session_body).collect::<Result<_, _>>()?;
    Ok(Json(SessionList { sessions, total: listed.total }))
}

/// See a session
#[utoipa::path(get, path = "/api/v1/sessions/{session_id}", tag = "sessions", params(("session_id" = String, Path, format = Uuid, description = "Id of the session")),
    responses((status = OK, description = "The session", body = SessionBody)))]
pub(super) async fn get_session(
    State(state): State<ApiState>,
    caller: Caller,
    SessionPath(id): SessionPath,
) -> Result<Json<SessionBody>, ApiError> {
    Ok(Json(session_body(state.0.meetings.session(&caller, id).await?)?))
}

/// One stay of a participant.
#[derive(Serialize, ToSchema)]
struct AttendanceBody {
    /// Who.
    participant_id: String,
    /// Under which name.
    name: String,
    /// As what.
    role: ParticipantRole,
    /// The user behind it.
    user_id: Option<String>,
    /// Whether it came without an account.
    is_guest: bool,
    /// When it came, RFC 3339.
    joined_at: String,
    /// When it left; null while it is there.
    left_at: Option<String>,
    /// Why it left: `voluntary`, `kicked`, `connection_lost`, `meeting_ended` …
    leave_reason: Option<String>,
    /// How long it stayed, or has stayed; whole seconds.
    duration_seconds: i64,
}

/// A part of the list of who took part, in the order of coming.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"participants": [{
    "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "name": "Zoë", "role": "participant", "user_id": "user-17", "is_guest": false,
    "joined_at": "2025-01-16T12:01:00Z", "left_at": "2025-01-16T12:31:00Z", "leave_reason": "voluntary",
    "duration_seconds": 1800
}], "total": 1}))]
pub(super) struct AttendanceList {
    /// This part; a participant that came twice is in it twice.
    participants: Vec<AttendanceBody>,
    /// How many stays there are in all.
    total: u64,
}

/// See who took part in a session
#[utoipa::path(get, path = "/api/v1/sessions/{session_id}/participants", tag = "sessions",
    params(("session_id" = String, Path, format = Uuid, description = "Id of the session"), PageQuery),
    responses((status = OK, description = "In the order of coming", body = AttendanceList)))]
pub(super) async fn list_attendances(
    State(state): State<ApiState>,
    caller: Caller,
    SessionPath(id): SessionPath,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Json<AttendanceList>, ApiError> {
    let listed = state.0.meetings.attendances(&caller, id, page.page()?).await?;
    let participants = listed.items.into_iter().map(|stay| {
        let until = stay.left_at.unwrap_or_else(OffsetDateTime::now_utc);
        Ok(AttendanceBody {
            participant_id: stay.participant_id.to_string(),
            name: stay.name,
            role: stay.role,
            user_id: stay.user_id,
            is_guest: stay.is_guest,
            joined_at: rfc3339(stay.joined_at)?,
            left_at: rfc3339_of(stay.left_at)?,
            leave_reason: stay.leave_reason,
            duration_seconds: (until - stay.joined_at).whole_seconds().max(0),
        })
    });
    let participants = participants.collect::<Result<_, ApiError>>()?;
    Ok(Json(AttendanceList { participants, total: listed.total }))
}

/// See the session that goes on in a meeting
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}/active-session", tag = "sessions", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "The session", body = SessionBody)))]
pub(super) async fn active_session(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<SessionBody>, ApiError> {
    Ok(Json(session_body(state.0.meetings.active_session(&caller, id).await?)?))
}

/// How many were thrown out.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"removed": 5}))]
pub(super) struct KickedAll {
    /// Participants.
    removed: usize,
}

/// Throw everybody out of a meeting; they may come back
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/active-session/kick-all", tag = "sessions", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "Out", body = KickedAll)))]
pub(super) async fn kick_all(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<KickedAll>, ApiError> {
    Ok(Json(KickedAll { removed: state.0.meetings.kick_all(&caller, id).await? }))
}
