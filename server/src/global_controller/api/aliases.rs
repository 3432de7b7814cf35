//! The routes of the platform's `video-call` utility, for applications that were written for it. Same logic, same errors
//! and same rights as the routes they stand for.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use darktower_core::access::Action;
use darktower_protocol::MeetingId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{DEFAULT_PAGE, needs, rfc3339, search, time};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, QueryOf};
use crate::global_controller::meetings::{MAX_PAGE, MeetingView, NewMeeting};
use crate::global_controller::participants::NewParticipant;
use crate::global_controller::rate_limit::Class;
use crate::global_controller::rules::Rule;
use crate::storage::model::{MeetingFilter, Page};

const NO_ENTRY: &[ErrorCode] =
    &[ErrorCode::MeetingNotFound, ErrorCode::MeetingEnded, ErrorCode::Conflict, ErrorCode::CapacityExceeded];

/// What a meeting without a name is called.
const UNNAMED_MEETING: &str = "Video call";
/// What a participant without a name is called.
const UNNAMED_PARTICIPANT: &str = "Participant";
/// What a participant gets if nothing is asked for.
const DEFAULT_PRESET: &str = "group_call_participant";

#[rustfmt::skip]
pub(in crate::global_controller) const RULES: &[Rule] = &[
    needs("POST", "/api/video-call/session", Action::CreateMeeting, &[]),
    needs("GET", "/api/video-call/sessions", Action::ReadSessions, &[]),
    needs("GET", "/api/video-call/meetings", Action::ReadMeeting, &[]),
    needs("POST", "/api/video-call/token", Action::IssueToken, NO_ENTRY),
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create_session))
        .routes(routes!(list_open_sessions))
        .routes(routes!(list_all_meetings))
        .routes(routes!(generate_token))
}

/// A meeting to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"name": "Consultation"}))]
pub(super) struct CreateSession {
    /// Name shown to people.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// The same under its other name. Give one of them.
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
}

/// The meeting that was created.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e"}))]
pub(super) struct CreatedSession {
    /// Its id.
    meeting_id: String,
}

/// Create a meeting (alias of the platform)
#[utoipa::path(post, path = "/api/video-call/session", tag = "aliases", request_body = CreateSession,
    responses((status = CREATED, description = "Created", body = CreatedSession)))]
pub(super) async fn create_session(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateSession>,
) -> Result<impl IntoResponse, ApiError> {
    let display_name = match (body.name, body.title) {
        (Some(_), Some(_)) => {
            return Err(ApiError::field("title", "title and name are the same: give one of them"));
        }
        (name, title) => name.or(title).unwrap_or_else(|| UNNAMED_MEETING.to_owned()),
    };
    state.0.limits.new_meeting(&caller)?;
    let new = NewMeeting { display_name, ..NewMeeting::default() };
    let (view, _host) = state.0.meetings.create(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(CreatedSession { meeting_id: view.meeting.id.to_string() })))
}

/// A meeting in a list.
#[derive(Serialize, ToSchema)]
struct AliasMeeting {
    /// Id of the meeting.
    meeting_id: String,
    /// Name shown to people.
    name: String,
    /// When it was created (of open sessions: when the session began), RFC 3339.
    created_at: String,
}

/// Sessions that go on.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"sessions": [
    {"meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "name": "Consultation", "created_at": "2025-01-16T12:00:00Z"}
]}))]
pub(super) struct OpenSessions {
    /// Newest first, at most 200.
    sessions: Vec<AliasMeeting>,
}

/// List the meetings that go on (alias of the platform)
#[utoipa::path(get, path = "/api/video-call/sessions", tag = "aliases",
    responses((status = OK, description = "Newest first", body = OpenSessions)))]
pub(super) async fn list_open_sessions(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<OpenSessions>, ApiError> {
    let page = Page { limit: MAX_PAGE, offset: 0 };
    let listed = state.0.meetings.sessions(&caller, None, Some(true), page).await?;
    let sessions = listed.items.into_iter().map(|session| {
        Ok(AliasMeeting {
            meeting_id: session.meeting_id.to_string(),
            name: session.display_name,
            created_at: rfc3339(session.started_at)?,
        })
    });
    Ok(Json(OpenSessions { sessions: sessions.collect::<Result<_, ApiError>>()? }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAllMeetings {
    /// Only with this text in the name.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Only created at or after this time, RFC 3339.
    #[param(format = DateTime)]
    start_time: Option<String>,
    /// Only created before this time, RFC 3339.
    #[param(format = DateTime)]
    end_time: Option<String>,
    /// Which page, from 1. Default 1.
    #[param(minimum = 1)]
    page_no: Option<u32>,
    /// Meetings per page, 1 to 200. Default 50.
    #[param(minimum = 1, maximum = 200)]
    per_page: Option<u32>,
}

/// A page of meetings.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "meetings": [{"meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "name": "Consultation", "created_at": "2025-01-16T12:00:00Z"}],
    "paging": {"total_count": 1, "start_offset": 1, "end_offset": 1}
}))]
pub(super) struct AllMeetings {
    /// Newest first.
    meetings: Vec<AliasMeeting>,
    /// Where the page is.
    paging: Paging,
}

/// Where a page is in its list.
#[derive(Serialize, ToSchema)]
struct Paging {
    /// How many meetings there are in all.
    total_count: u64,
    /// Number of the first one of this page, from 1; 0 for an empty page.
    start_offset: u64,
    /// Number of the last one; 0 for an empty page.
    end_offset: u64,
}

/// List all meetings (alias of the platform)
#[utoipa::path(get, path = "/api/video-call/meetings", tag = "aliases", params(ListAllMeetings),
    responses((status = OK, description = "Newest first", body = AllMeetings)))]
pub(super) async fn list_all_meetings(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListAllMeetings>,
) -> Result<Json<AllMeetings>, ApiError> {
    let (limit, number) = (query.per_page.unwrap_or(DEFAULT_PAGE), query.page_no.unwrap_or(1));
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::field("per_page", format!("per_page must be 1 to {MAX_PAGE}")));
    }
    let offset = number.checked_sub(1).and_then(|before| before.checked_mul(limit));
    let offset = offset.ok_or_else(|| ApiError::field("page_no", "page_no must be a page, from 1"))?;
    let filter = MeetingFilter {
        organization_id: caller.organization,
        active: None,
        status: None,
        user_id: None,
        visible_to: None,
        search: search(query.search)?,
        from: time("start_time", query.start_time.as_deref())?,
        to: time("end_time", query.end_time.as_deref())?,
        page: Page { limit, offset },
    };
    let (views, total_count) = state.0.meetings.list(&caller, filter).await?;
    let count = views.len() as u64;
    let first = if count == 0 { 0 } else { u64::from(offset) + 1 };
    let paging = Paging { total_count, start_offset: first, end_offset: (first + count).saturating_sub(1) };
    let meetings = views.into_iter().map(|MeetingView { meeting, .. }| {
        Ok(AliasMeeting {
            meeting_id: meeting.id.to_string(),
            name: meeting.display_name,
            created_at: rfc3339(meeting.created_at)?,
        })
    });
    Ok(Json(AllMeetings { meetings: meetings.collect::<Result<_, ApiError>>()?, paging }))
}

/// A participant to let in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "name": "Zoë", "preset_name": "group_call_participant"}))]
pub(super) struct GenerateToken {
    /// Id of the meeting.
    #[schema(format = Uuid)]
    meeting_id: String,
    /// Name shown to the others.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Name of its preset; `group_call_…` are the presets of video meetings. Default `group_call_participant`.
    #[schema(max_length = 64)]
    preset_name: Option<String>,
    /// The user behind it, as the application calls it.
    #[schema(min_length = 1, max_length = 200)]
    custom_participant_id: Option<String>,
}

/// A way into a meeting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"auth_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl", "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f"}))]
pub(super) struct GeneratedToken {
    /// What to join with. Secret.
    auth_token: String,
    /// Who its holder will be.
    participant_id: String,
}

/// Issue a join token (alias of the platform)
#[utoipa::path(post, path = "/api/video-call/token", tag = "aliases", request_body = GenerateToken,
    responses((status = OK, description = "Issued", body = GeneratedToken)))]
pub(super) async fn generate_token(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<GenerateToken>,
) -> Result<Json<GeneratedToken>, ApiError> {
    let id: MeetingId =
        body.meeting_id.parse().map_err(|_| ApiError::field("meeting_id", "meeting_id must be a UUID"))?;
    let new = NewParticipant {
        name: body.name.unwrap_or_else(|| UNNAMED_PARTICIPANT.to_owned()),
        preset: Some(body.preset_name.unwrap_or_else(|| DEFAULT_PRESET.to_owned())),
        user_id: body.custom_participant_id,
        ..NewParticipant::default()
    };
    state.0.limits.check(Class::MeetingJoin, (id, caller.organization))?;
    let issued = state.0.meetings.issue(&caller, id, new).await?;
    Ok(Json(GeneratedToken {
        auth_token: issued.join_token,
        participant_id: issued.claims.participant_id.to_string(),
    }))
}
