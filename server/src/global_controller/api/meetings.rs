//! Meetings: their life, and who is invited.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use darktower_core::access::Action;
use darktower_core::access::guests::AccessPolicy;
use darktower_core::meeting::WaitingRoom;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operations::{HashBody, hashes};
use super::{PageQuery, needs, nullable, object, page, rfc3339, rfc3339_of, search, set, set_object, time};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, QueryOf};
use crate::global_controller::meetings::{MeetingChange, MeetingView, NewMeeting};
use crate::global_controller::path::{InviteePath, MeetingPath};
use crate::global_controller::rules::Rule;
use crate::storage::model::{MeetingFilter, MeetingSettings};

const NOT_FOUND: &[ErrorCode] = &[ErrorCode::MeetingNotFound];
const WRONG_STATE: &[ErrorCode] = &[ErrorCode::MeetingNotFound, ErrorCode::Conflict];
const NOT_INVITED: &[ErrorCode] = &[ErrorCode::MeetingNotFound, ErrorCode::UserNotFound];

#[rustfmt::skip]
pub(in crate::global_controller) const RULES: &[Rule] = &[
    needs("POST", "/api/v1/meetings", Action::CreateMeeting, &[ErrorCode::Conflict, ErrorCode::AlreadyExists]),
    needs("GET", "/api/v1/meetings", Action::ReadMeeting, &[]),
    needs("GET", "/api/v1/meetings/{meeting_id}", Action::ReadMeeting, NOT_FOUND),
    needs("PATCH", "/api/v1/meetings/{meeting_id}", Action::EditMeeting, WRONG_STATE),
    needs("DELETE", "/api/v1/meetings/{meeting_id}", Action::EditMeeting, NOT_FOUND),
    needs("POST", "/api/v1/meetings/{meeting_id}/start", Action::EditMeeting, WRONG_STATE),
    needs("POST", "/api/v1/meetings/{meeting_id}/end", Action::EditMeeting, WRONG_STATE),
    needs("POST", "/api/v1/meetings/{meeting_id}/cancel", Action::EditMeeting, WRONG_STATE),
    needs("GET", "/api/v1/meetings/{meeting_id}/invitees", Action::EditMeeting, NOT_FOUND),
    needs("PUT", "/api/v1/meetings/{meeting_id}/invitees/{user_id}", Action::EditMeeting, NOT_INVITED),
    needs("DELETE", "/api/v1/meetings/{meeting_id}/invitees/{user_id}", Action::EditMeeting, NOT_INVITED),
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create_meeting, list_meetings))
        .routes(routes!(get_meeting, update_meeting, delete_meeting))
        .routes(routes!(start_meeting))
        .routes(routes!(end_meeting))
        .routes(routes!(cancel_meeting))
        .routes(routes!(list_invitees))
        .routes(routes!(invite_user, uninvite_user))
}

/// A meeting to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({
    "display_name": "Team Standup", "max_participants": 100,
    "settings": {"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false}
}))]
pub(super) struct CreateMeeting {
    /// Name shown to people, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    display_name: String,
    /// What it is about, at most 2000 characters.
    #[schema(max_length = 2000)]
    description: Option<String>,
    /// What the meeting is for: `video` (default), `audio`, `webinar` or `livestream`.
    meeting_type: Option<MeetingType>,
    /// `instant` (default): active at once, over when the last has left. `scheduled`: active from `scheduled_start`.
    /// `permanent`: active until it is cancelled or deleted.
    scheduling: Option<Scheduling>,
    /// The code of the link, for permanent meetings; drawn at random if left out.
    #[schema(min_length = 3, max_length = 40, pattern = "^[a-z0-9-]{3,40}$")]
    slug: Option<String>,
    /// When a scheduled meeting is to begin, RFC 3339, in the future.
    #[schema(format = DateTime)]
    scheduled_start: Option<String>,
    /// When it is to end; for calendars: only a meeting that nobody has joined ends then.
    #[schema(format = DateTime)]
    scheduled_end: Option<String>,
    /// Whom it is open to: `invited`, `members`, `link` (guests with the link too) or `open`. Left out or null: what the
    /// organization says.
    access_policy: Option<AccessPolicy>,
    /// Participants at one time. Default and maximum: the organization's.
    #[schema(minimum = 1)]
    max_participants: Option<u32>,
    /// How many of them may be guests. Default: half.
    max_guests: Option<u32>,
    /// Seconds that a session goes on without anybody, 0 to 600. Default 60.
    #[schema(maximum = 600)]
    keep_alive_seconds: Option<u32>,
    /// More choices.
    #[serde(default, deserialize_with = "object")]
    settings: SettingsBody,
}

/// Choices for a meeting.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object")]
pub(super) struct SettingsBody {
    /// Payloads are encrypted by the participants; the server cannot read them. Default false.
    enable_e2e_encryption: bool,
    /// False lets guests in by the link, as the policy `link`; true only members. Left out or null: what the organization
    /// says. Must not contradict `access_policy`.
    require_auth: Option<bool>,
    /// The meeting may be recorded. Default false.
    recording_enabled: bool,
    /// Whether newcomers wait, unless their preset skips it: `off` (default), `until_host` (somebody who may admit is there)
    /// or `admission` (somebody lets them in).
    waiting_room: WaitingRoom,
}

/// A meeting that was just created, and its creator's way in.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "slug": "h7k2mpqrst",
    "meeting_url": "https://meet.example.org/m/h7k2mpqrst", "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f",
    "join_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl",
    "meeting_controller_url": "https://meet.example.org/v1/signal", "certificate_hashes": [],
    "created_at": "2025-01-16T12:00:00Z", "status": "active", "access_policy": "link", "require_auth": false
}))]
struct CreatedMeeting {
    /// Id of the meeting.
    meeting_id: String,
    /// Code of its link.
    slug: String,
    /// Its link, for people.
    meeting_url: String,
    /// The creator as a participant.
    participant_id: String,
    /// The creator's join token, as a host. Secret.
    join_token: String,
    /// Where signaling sessions connect.
    meeting_controller_url: String,
    /// Certificates that clients may accept although no authority signed them.
    certificate_hashes: Vec<HashBody>,
    /// When it was created, RFC 3339.
    created_at: String,
    /// Where it is in its life.
    status: MeetingStatus,
    /// Whom it is open to.
    access_policy: AccessPolicy,
    /// Whether only members may join.
    require_auth: bool,
}

/// Create a meeting
#[utoipa::path(post, path = "/api/v1/meetings", tag = "meetings", request_body = CreateMeeting,
    responses((status = CREATED, description = "Created", body = CreatedMeeting)))]
pub(super) async fn create_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateMeeting>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.new_meeting(&caller)?;
    let SettingsBody { enable_e2e_encryption, require_auth, recording_enabled, waiting_room } = body.settings;
    let new = NewMeeting {
        display_name: body.display_name,
        description: body.description,
        meeting_type: body.meeting_type,
        scheduling: body.scheduling,
        slug: body.slug,
        scheduled_start: time("scheduled_start", body.scheduled_start.as_deref())?,
        scheduled_end: time("scheduled_end", body.scheduled_end.as_deref())?,
        access_policy: body.access_policy,
        require_auth,
        max_participants: body.max_participants,
        max_guests: body.max_guests,
        keep_alive_seconds: body.keep_alive_seconds,
        settings: MeetingSettings { enable_e2e_encryption, recording_enabled, waiting_room },
    };
    let (MeetingView { meeting, policy, .. }, host) = state.0.meetings.create(&caller, new).await?;
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
        status: meeting.status,
        access_policy: policy,
        require_auth: !policy.admits_guests(),
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(body)))
}

/// A meeting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "slug": "h7k2mpqrst", "meeting_url": "https://meet.example.org/m/h7k2mpqrst",
    "display_name": "Team Standup", "description": null, "meeting_type": "video", "scheduling": "instant",
    "status": "active", "active": true, "participant_count": 5, "max_participants": 100, "max_guests": 50,
    "keep_alive_seconds": 60, "access_policy": "link", "require_auth": false,
    "settings": {"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false, "waiting_room": "off"},
    "created_by": "backend", "scheduled_start": null, "scheduled_end": null, "started_at": "2025-01-16T12:01:00Z",
    "ended_at": null, "created_at": "2025-01-16T12:00:00Z", "updated_at": "2025-01-16T12:00:00Z",
    "meeting_controller_region": "us-west-1", "meeting_controller_url": "https://meet.example.org/v1/signal"
}))]
pub(super) struct MeetingBody {
    /// Id of the meeting.
    meeting_id: String,
    /// Code of its link.
    slug: String,
    /// Its link, for people.
    meeting_url: String,
    /// Name shown to people.
    display_name: String,
    /// What it is about.
    description: Option<String>,
    /// What it is for.
    meeting_type: MeetingType,
    /// How it comes about.
    scheduling: Scheduling,
    /// Where it is in its life.
    status: MeetingStatus,
    /// Whether its status is `active`.
    active: bool,
    /// Participants in it now.
    participant_count: usize,
    /// Participants at one time.
    max_participants: u32,
    /// How many of them may be guests.
    max_guests: u32,
    /// Seconds that a session goes on without anybody.
    keep_alive_seconds: u32,
    /// Whom it is open to: what it says itself, else what its organization says.
    access_policy: AccessPolicy,
    /// Whether only members may join.
    require_auth: bool,
    /// Its creator's choices.
    settings: SettingsOut,
    /// The user or client that created it.
    created_by: Option<String>,
    /// When it is to begin.
    scheduled_start: Option<String>,
    /// When it is to end.
    scheduled_end: Option<String>,
    /// When somebody first joined.
    started_at: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// When it was created, RFC 3339.
    created_at: String,
    /// When it was last changed.
    updated_at: String,
    /// Where it is held.
    meeting_controller_region: String,
    /// Where signaling sessions connect.
    meeting_controller_url: String,
}

/// Choices for a meeting.
#[derive(Serialize, ToSchema)]
struct SettingsOut {
    /// Payloads are encrypted by the participants.
    enable_e2e_encryption: bool,
    /// Whether only members may join.
    require_auth: bool,
    /// The meeting may be recorded.
    recording_enabled: bool,
    /// Whether newcomers wait: `off`, `until_host` or `admission`.
    waiting_room: WaitingRoom,
}

fn meeting_body(state: &ApiState, view: MeetingView) -> Result<Json<MeetingBody>, ApiError> {
    let MeetingView { meeting, policy, max_guests, participant_count } = view;
    let require_auth = !policy.admits_guests();
    let MeetingSettings { enable_e2e_encryption, recording_enabled, waiting_room } = meeting.settings;
    Ok(Json(MeetingBody {
        meeting_id: meeting.id.to_string(),
        meeting_url: state.0.urls.meeting(&meeting.slug),
        slug: meeting.slug,
        display_name: meeting.display_name,
        description: meeting.description,
        meeting_type: meeting.meeting_type,
        scheduling: meeting.scheduling,
        status: meeting.status,
        active: meeting.status == MeetingStatus::Active,
        participant_count,
        max_participants: meeting.max_participants,
        max_guests,
        keep_alive_seconds: meeting.keep_alive_seconds,
        access_policy: policy,
        require_auth,
        settings: SettingsOut { enable_e2e_encryption, require_auth, recording_enabled, waiting_room },
        created_by: meeting.created_by,
        scheduled_start: rfc3339_of(meeting.scheduled_start)?,
        scheduled_end: rfc3339_of(meeting.scheduled_end)?,
        started_at: rfc3339_of(meeting.started_at)?,
        ended_at: rfc3339_of(meeting.ended_at)?,
        created_at: rfc3339(meeting.created_at)?,
        updated_at: rfc3339(meeting.updated_at)?,
        meeting_controller_region: state.0.config.region.clone(),
        meeting_controller_url: state.0.urls.signaling(),
    }))
}

/// See a meeting
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "The meeting", body = MeetingBody)))]
pub(super) async fn get_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.by_id(&caller, id).await?)
}

/// What to change of a meeting. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({"display_name": "Team Standup (moved)", "description": null, "max_guests": 10}))]
pub(super) struct UpdateMeeting {
    /// Name shown to people.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    display_name: Option<String>,
    /// What it is about; null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    description: Option<Option<String>>,
    /// What it is for; counts for tokens issued from now on.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = MeetingType)]
    meeting_type: Option<MeetingType>,
    /// When a scheduled meeting that has not begun is to begin.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = String, format = DateTime)]
    scheduled_start: Option<String>,
    /// When it is to end; null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_end: Option<Option<String>>,
    /// Whom it is open to; null follows the organization.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<AccessPolicy>)]
    access_policy: Option<Option<AccessPolicy>>,
    /// Participants at one time; nobody has to go.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = u32, minimum = 1)]
    max_participants: Option<u32>,
    /// How many of them may be guests; null is half.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>)]
    max_guests: Option<Option<u32>>,
    /// Seconds that a session goes on without anybody, 0 to 600. Counts from the next join.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = u32, maximum = 600)]
    keep_alive_seconds: Option<u32>,
    /// More choices.
    #[serde(default, deserialize_with = "set_object")]
    #[schema(value_type = UpdateSettings)]
    settings: Option<UpdateSettings>,
}

/// Choices to change.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
struct UpdateSettings {
    /// Payloads are encrypted by the participants.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = bool)]
    enable_e2e_encryption: Option<bool>,
    /// Whether only members may join; null follows the organization.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<bool>)]
    require_auth: Option<Option<bool>>,
    /// The meeting may be recorded.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = bool)]
    recording_enabled: Option<bool>,
    /// Whether newcomers wait: `off`, `until_host` or `admission`. Who waits now goes on waiting, unless nobody has to.
    #[serde(default, deserialize_with = "set")]
    #[schema(value_type = WaitingRoom)]
    waiting_room: Option<WaitingRoom>,
}

/// Change a meeting
#[utoipa::path(patch, path = "/api/v1/meetings/{meeting_id}", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    request_body = UpdateMeeting, responses((status = OK, description = "The meeting as it is now", body = MeetingBody)))]
pub(super) async fn update_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
    JsonBody(body): JsonBody<UpdateMeeting>,
) -> Result<Json<MeetingBody>, ApiError> {
    let settings = body.settings.unwrap_or_default();
    let scheduled_end = body.scheduled_end.map(|end| time("scheduled_end", end.as_deref())).transpose()?;
    let change = MeetingChange {
        display_name: body.display_name,
        description: body.description,
        meeting_type: body.meeting_type,
        scheduled_start: time("scheduled_start", body.scheduled_start.as_deref())?,
        scheduled_end,
        access_policy: body.access_policy,
        require_auth: settings.require_auth,
        max_participants: body.max_participants,
        max_guests: body.max_guests,
        keep_alive_seconds: body.keep_alive_seconds,
        enable_e2e_encryption: settings.enable_e2e_encryption,
        recording_enabled: settings.recording_enabled,
        waiting_room: settings.waiting_room,
    };
    meeting_body(&state, state.0.meetings.update(&caller, id, &change).await?)
}

/// Delete a meeting with everything about it; who is in it is thrown out
#[utoipa::path(delete, path = "/api/v1/meetings/{meeting_id}", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = NO_CONTENT, description = "Deleted")))]
pub(super) async fn delete_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<StatusCode, ApiError> {
    state.0.meetings.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin a scheduled meeting before its time
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/start", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "The meeting, active", body = MeetingBody)))]
pub(super) async fn start_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.start(&caller, id).await?)
}

/// End a meeting; who is in it is thrown out. A permanent one stays active: only its session ends
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/end", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "The meeting, ended", body = MeetingBody)))]
pub(super) async fn end_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.end(&caller, id).await?)
}

/// Call a meeting off; who is in it is thrown out
#[utoipa::path(post, path = "/api/v1/meetings/{meeting_id}/cancel", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting")),
    responses((status = OK, description = "The meeting, cancelled", body = MeetingBody)))]
pub(super) async fn cancel_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.cancel(&caller, id).await?)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListMeetings {
    /// Only active (`true`) or only not active (`false`) meetings.
    active: Option<bool>,
    /// Only with this status.
    status: Option<MeetingStatus>,
    /// Only meetings that this user or client created, was invited to, or was issued a token for. Others than oneself
    /// are for administrators and clients.
    user_id: Option<String>,
    /// Only with this text in name or description.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Only created at or after this time, RFC 3339.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Only created before this time, RFC 3339.
    #[param(format = DateTime)]
    to: Option<String>,
    /// How many to list, 1 to 200. Default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// How many of the newest to leave out.
    offset: Option<u32>,
}

/// A part of the list of meetings, newest first.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"meetings": [{
    "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "slug": "h7k2mpqrst", "display_name": "Team Standup", "meeting_type": "video",
    "scheduling": "instant", "status": "active", "active": true, "participant_count": 5, "created_by": "backend",
    "scheduled_start": null, "created_at": "2025-01-16T12:00:00Z"
}], "total": 1}))]
pub(super) struct MeetingList {
    /// This part.
    meetings: Vec<ListedMeeting>,
    /// How many there are in all.
    total: u64,
}

/// A meeting in a list.
#[derive(Serialize, ToSchema)]
struct ListedMeeting {
    /// Id of the meeting.
    meeting_id: String,
    /// Code of its link.
    slug: String,
    /// Name shown to people.
    display_name: String,
    /// What it is for.
    meeting_type: MeetingType,
    /// How it comes about.
    scheduling: Scheduling,
    /// Where it is in its life.
    status: MeetingStatus,
    /// Whether its status is `active`.
    active: bool,
    /// Participants in it now.
    participant_count: usize,
    /// The user or client that created it.
    created_by: Option<String>,
    /// When it is to begin.
    scheduled_start: Option<String>,
    /// When it was created, RFC 3339.
    created_at: String,
}

/// List meetings
#[utoipa::path(get, path = "/api/v1/meetings", tag = "meetings", params(ListMeetings),
    responses((status = OK, description = "Newest first", body = MeetingList)))]
pub(super) async fn list_meetings(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListMeetings>,
) -> Result<Json<MeetingList>, ApiError> {
    let filter = MeetingFilter {
        organization_id: caller.organization,
        active: query.active,
        status: query.status,
        user_id: query.user_id,
        visible_to: None,
        search: search(query.search)?,
        from: time("from", query.from.as_deref())?,
        to: time("to", query.to.as_deref())?,
        page: page(query.limit, query.offset)?,
    };
    let (views, total) = state.0.meetings.list(&caller, filter).await?;
    let meetings = views
        .into_iter()
        .map(|MeetingView { meeting, participant_count, .. }| {
            Ok(ListedMeeting {
                meeting_id: meeting.id.to_string(),
                slug: meeting.slug,
                display_name: meeting.display_name,
                meeting_type: meeting.meeting_type,
                scheduling: meeting.scheduling,
                status: meeting.status,
                active: meeting.status == MeetingStatus::Active,
                participant_count,
                created_by: meeting.created_by,
                scheduled_start: rfc3339_of(meeting.scheduled_start)?,
                created_at: rfc3339(meeting.created_at)?,
            })
        })
        .collect::<Result<_, ApiError>>()?;
    Ok(Json(MeetingList { meetings, total }))
}

/// A part of the list of who is invited, by address.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"invitees": [{
    "user_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "email": "zoe@example.org", "name": "Zoë", "invited_at": "2025-01-16T12:00:00Z"
}], "total": 1}))]
pub(super) struct InviteeList {
    /// This part.
    invitees: Vec<InviteeBody>,
    /// How many there are in all.
    total: u64,
}

/// A user that is invited.
#[derive(Serialize, ToSchema)]
struct InviteeBody {
    /// Who.
    user_id: String,
    /// Its address.
    email: String,
    /// Its name.
    name: String,
    /// When it was invited, RFC 3339.
    invited_at: String,
}

/// See who is invited
#[utoipa::path(get, path = "/api/v1/meetings/{meeting_id}/invitees", tag = "meetings",
    params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"), PageQuery),
    responses((status = OK, description = "By address", body = InviteeList)))]
pub(super) async fn list_invitees(
    State(state): State<ApiState>,
    caller: Caller,
    MeetingPath(id): MeetingPath,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Json<InviteeList>, ApiError> {
    let listed = state.0.meetings.invitees(&caller, id, page.page()?).await?;
    let invitees = listed.items.into_iter().map(|invitee| {
        Ok(InviteeBody {
            user_id: invitee.user_id.to_string(),
            email: invitee.email,
            name: invitee.name,
            invited_at: rfc3339(invitee.invited_at)?,
        })
    });
    Ok(Json(InviteeList { invitees: invitees.collect::<Result<_, ApiError>>()?, total: listed.total }))
}

/// Invite a user of the organization
#[utoipa::path(put, path = "/api/v1/meetings/{meeting_id}/invitees/{user_id}", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"),
        ("user_id" = String, Path, format = Uuid, description = "Id of the user")),
    responses((status = NO_CONTENT, description = "Invited, now or before")))]
pub(super) async fn invite_user(
    State(state): State<ApiState>,
    caller: Caller,
    InviteePath(meeting, user): InviteePath,
) -> Result<StatusCode, ApiError> {
    state.0.meetings.invite(&caller, meeting, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take an invitation back
///
/// The user's join tokens for the meeting are revoked, and it is thrown out if it is there.
#[utoipa::path(delete, path = "/api/v1/meetings/{meeting_id}/invitees/{user_id}", tag = "meetings", params(("meeting_id" = String, Path, format = Uuid, description = "Id of the meeting"),
        ("user_id" = String, Path, format = Uuid, description = "Id of the user")),
    responses((status = NO_CONTENT, description = "Not invited any more")))]
pub(super) async fn uninvite_user(
    State(state): State<ApiState>,
    caller: Caller,
    InviteePath(meeting, user): InviteePath,
) -> Result<StatusCode, ApiError> {
    state.0.meetings.uninvite(&caller, meeting, user).await?;
    Ok(StatusCode::NO_CONTENT)
}
