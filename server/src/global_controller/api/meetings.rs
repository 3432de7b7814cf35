//! Meetings.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use darktower_core::access::Action;
use darktower_core::meeting::lifecycle::MeetingStatus;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operations::{HashBody, hashes};
use super::rfc3339;
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, MeetingPath, QueryOf};
use crate::global_controller::meetings::{MeetingView, NewMeeting};
use crate::global_controller::rate_limit::Class;
use crate::global_controller::rules::{Access, Rule};
use crate::storage::model::{MeetingFilter, MeetingSettings, Page};

const DEFAULT_PAGE: u32 = 50;

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule {
        method: "POST",
        path: "/api/v1/meetings",
        access: Access::Needs(Action::CreateMeeting),
        errors: &[ErrorCode::Conflict],
    },
    Rule { method: "GET", path: "/api/v1/meetings", access: Access::Needs(Action::ReadMeeting), errors: &[] },
    Rule {
        method: "GET",
        path: "/api/v1/meetings/{meeting_id}",
        access: Access::Needs(Action::ReadMeeting),
        errors: &[ErrorCode::MeetingNotFound],
    },
    Rule {
        method: "GET",
        path: "/api/v1/slugs/{slug}",
        access: Access::Public,
        errors: &[ErrorCode::MeetingNotFound],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create_meeting, list_meetings))
        .routes(routes!(get_meeting))
        .routes(routes!(resolve_slug))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct CreateMeeting {
    display_name: String,
    max_participants: Option<u32>,
    #[serde(default)]
    settings: Settings,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object")]
struct Settings {
    enable_e2e_encryption: bool,
    require_auth: bool,
    recording_enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enable_e2e_encryption: false, require_auth: true, recording_enabled: false }
    }
}

#[derive(Serialize, ToSchema)]
struct CreatedMeeting {
    meeting_id: String,
    slug: String,
    meeting_url: String,
    participant_id: String,
    join_token: String,
    meeting_controller_url: String,
    certificate_hashes: Vec<HashBody>,
    created_at: String,
}

/// Create a meeting
#[utoipa::path(post, path = "/api/v1/meetings", tag = "meetings", request_body = CreateMeeting,
    responses((status = CREATED, body = CreatedMeeting)))]
pub(super) async fn create_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateMeeting>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingCreate, caller.organization)?;
    let Settings { enable_e2e_encryption, require_auth, recording_enabled } = body.settings;
    let new = NewMeeting {
        display_name: body.display_name,
        max_participants: body.max_participants,
        settings: MeetingSettings { enable_e2e_encryption, recording_enabled },
        require_auth,
        organization_id: caller.organization,
        created_by: caller.id(),
    };
    let (meeting, host) = state.0.meetings.create(new).await?;
    let location = format!("/api/v1/meetings/{}", meeting.id);
    let body = CreatedMeeting {
        meeting_id: meeting.id.to_string(),
        meeting_url: state.0.urls.meeting(&meeting.slug),
        slug: meeting.slug,
        participant_id: host.claims.participant_id.to_string(),
        join_token: host.join_token,
        meeting_controller_url: state.0.urls.signaling(),
        certificate_hashes: hashes(&state)?,
        created_at: rfc3339(meeting.created_at)?,
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(body)))
}

#[derive(Serialize, ToSchema)]
pub(super) struct MeetingBody {
    meeting_id: String,
    slug: String,
    meeting_url: String,
    display_name: String,
    participant_count: usize,
    max_participants: u32,
    active: bool,
    created_at: String,
    meeting_controller_region: String,
    meeting_controller_url: String,
}

fn meeting_body(state: &ApiState, view: MeetingView) -> Result<Json<MeetingBody>, ApiError> {
    let MeetingView { meeting, participant_count } = view;
    Ok(Json(MeetingBody {
        meeting_id: meeting.id.to_string(),
        meeting_url: state.0.urls.meeting(&meeting.slug),
        active: meeting.status == MeetingStatus::Active,
        slug: meeting.slug,
        display_name: meeting.display_name,
        participant_count,
        max_participants: meeting.max_participants,
        created_at: rfc3339(meeting.created_at)?,
        meeting_controller_region: state.0.config.region.clone(),
        meeting_controller_url: state.0.urls.signaling(),
    }))
}

/// See a meeting
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}", tag = "meetings",
    params(("meeting_id" = String, Path, format = Uuid)), responses((status = OK, body = MeetingBody)))]
pub(super) async fn get_meeting(
    State(state): State<ApiState>,
    _caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.by_id(id).await?)
}

/// Find a meeting by the code of its link
#[utoipa::path(get, path = "/api/v1/slugs/{slug}", tag = "meetings",
    params(("slug" = String, Path)), responses((status = OK, body = MeetingBody)))]
pub(super) async fn resolve_slug(
    State(state): State<ApiState>,
    Path(slug): Path<String>,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.by_slug(&slug).await?)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListMeetings {
    active: Option<bool>,
    user_id: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MeetingList {
    meetings: Vec<ListedMeeting>,
    total: u64,
}

#[derive(Serialize, ToSchema)]
struct ListedMeeting {
    meeting_id: String,
    slug: String,
    display_name: String,
    participant_count: usize,
    created_at: String,
}

/// List meetings
#[utoipa::path(get, path = "/api/v1/meetings", tag = "meetings", params(ListMeetings),
    responses((status = OK, body = MeetingList)))]
pub(super) async fn list_meetings(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListMeetings>,
) -> Result<Json<MeetingList>, ApiError> {
    let filter = MeetingFilter {
        organization_id: caller.organization,
        active: query.active,
        status: None,
        user_id: query.user_id,
        visible_to: None,
        search: None,
        from: None,
        to: None,
        page: Page { limit: query.limit.unwrap_or(DEFAULT_PAGE), offset: query.offset.unwrap_or(0) },
    };
    let (views, total) = state.0.meetings.list(filter).await?;
    let meetings = views
        .into_iter()
        .map(|MeetingView { meeting, participant_count }| {
            Ok(ListedMeeting {
                meeting_id: meeting.id.to_string(),
                slug: meeting.slug,
                display_name: meeting.display_name,
                participant_count,
                created_at: rfc3339(meeting.created_at)?,
            })
        })
        .collect::<Result<_, ApiError>>()?;
    Ok(Json(MeetingList { meetings, total }))
}
