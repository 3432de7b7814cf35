//! The handlers of `/api/v1`, health and metrics: parse, authorize, call, render.

use aws_lc_rs::constant_time;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{ApiError, ErrorCode};
use super::extract::{Caller, JsonBody, MeetingPath, QueryOf};
use super::meetings::{MeetingView, NewMeeting, NewParticipant};
use super::rate_limit::{Class, ClientAddress};
use super::{ApiState, LiveParticipant, LiveStreamType};
use crate::auth::{ACCESS_TOKEN_LIFETIME, AccessClaims};
use crate::storage::{MeetingFilter, MeetingSettings, Role};

const DEFAULT_PAGE: u32 = 50;

/// A time as the API writes it, for example `2025-01-16T12:00:00.123Z`.
fn rfc3339(time: OffsetDateTime) -> Result<String, ApiError> {
    time.format(&Rfc3339).map_err(ApiError::internal)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct CreateMeeting {
    display_name: String,
    max_participants: Option<u32>,
    #[serde(default)]
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object")]
struct Settings {
    enable_e2e_encryption: bool,
    require_auth: bool,
    recording_enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let MeetingSettings { enable_e2e_encryption, require_auth, recording_enabled } =
            MeetingSettings::default();
        Self { enable_e2e_encryption, require_auth, recording_enabled }
    }
}

#[derive(Serialize)]
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

/// `POST /api/v1/meetings`
pub(super) async fn create_meeting(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateMeeting>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingCreate, caller.client_id())?;
    let Settings { enable_e2e_encryption, require_auth, recording_enabled } = body.settings;
    let new = NewMeeting {
        display_name: body.display_name,
        max_participants: body.max_participants,
        settings: MeetingSettings { enable_e2e_encryption, require_auth, recording_enabled },
        created_by: caller.client_id().map(str::to_owned),
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

#[derive(Serialize)]
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
        active: meeting.is_active(),
        slug: meeting.slug,
        display_name: meeting.display_name,
        participant_count,
        max_participants: meeting.max_participants,
        created_at: rfc3339(meeting.created_at)?,
        meeting_controller_region: state.0.config.region.clone(),
        meeting_controller_url: state.0.urls.signaling(),
    }))
}

/// `GET /api/v1/meetings/{meeting_id}`
pub(super) async fn get_meeting(
    State(state): State<ApiState>,
    _caller: Caller,
    MeetingPath(id): MeetingPath,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.by_id(id).await?)
}

/// `GET /api/v1/slugs/{slug}`
pub(super) async fn resolve_slug(
    State(state): State<ApiState>,
    _caller: Caller,
    Path(slug): Path<String>,
) -> Result<Json<MeetingBody>, ApiError> {
    meeting_body(&state, state.0.meetings.by_slug(&slug).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListMeetings {
    active: Option<bool>,
    user_id: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct MeetingList {
    meetings: Vec<ListedMeeting>,
    total: u64,
}

#[derive(Serialize)]
struct ListedMeeting {
    meeting_id: String,
    slug: String,
    display_name: String,
    participant_count: usize,
    created_at: String,
}

/// `GET /api/v1/meetings`
pub(super) async fn list_meetings(
    State(state): State<ApiState>,
    _caller: Caller,
    QueryOf(query): QueryOf<ListMeetings>,
) -> Result<Json<MeetingList>, ApiError> {
    let filter = MeetingFilter {
        active: query.active,
        user_id: query.user_id,
        limit: query.limit.unwrap_or(DEFAULT_PAGE),
        offset: query.offset.unwrap_or(0),
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct AddParticipant {
    name: String,
    #[serde(default)]
    role: Role,
    user_id: Option<String>,
}

#[derive(Serialize)]
struct AddedParticipant {
    participant_id: String,
    join_token: String,
    meeting_id: String,
    meeting_controller_url: String,
    expires_at: String,
    certificate_hashes: Vec<HashBody>,
}

/// `POST /api/v1/meetings/{meeting_id}/participants`
pub(super) async fn add_participant(
    State(state): State<ApiState>,
    _caller: Caller,
    MeetingPath(id): MeetingPath,
    JsonBody(body): JsonBody<AddParticipant>,
) -> Result<impl IntoResponse, ApiError> {
    state.0.limits.check(Class::MeetingJoin, id)?;
    let new = NewParticipant { name: body.name, role: body.role, user_id: body.user_id };
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

#[derive(Serialize)]
pub(super) struct Roster {
    participants: Vec<ParticipantBody>,
    total: usize,
}

#[derive(Serialize)]
struct ParticipantBody {
    participant_id: String,
    name: String,
    joined_at: String,
    streams: Vec<StreamBody>,
}

#[derive(Serialize)]
struct StreamBody {
    stream_id: String,
    #[serde(rename = "type")]
    stream_type: LiveStreamType,
    codec: String,
}

/// `GET /api/v1/meetings/{meeting_id}/participants`
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

#[derive(Serialize)]
struct HashBody {
    algorithm: &'static str,
    value: String,
    expires_at: String,
}

/// What a client needs to accept a certificate that no authority signed; empty if one did.
fn hashes(state: &ApiState) -> Result<Vec<HashBody>, ApiError> {
    if !state.0.certificates.is_pinned() {
        return Ok(Vec::new());
    }
    let hashes = state.0.certificates.hashes();
    hashes
        .iter()
        .map(|hash| {
            Ok(HashBody { algorithm: "sha-256", value: hash.to_hex(), expires_at: rfc3339(hash.not_after)? })
        })
        .collect()
}

#[derive(Serialize)]
pub(super) struct CertificateBody {
    certificate_hashes: Vec<HashBody>,
}

/// `GET /api/v1/certificate`
pub(super) async fn certificate(State(state): State<ApiState>) -> Result<Json<CertificateBody>, ApiError> {
    Ok(Json(CertificateBody { certificate_hashes: hashes(&state)? }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct TokenRequest {
    grant_type: String,
    client_id: String,
    client_secret: String,
}

#[derive(Serialize)]
pub(super) struct TokenBody {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
}

/// `POST /api/v1/auth/token`
pub(super) async fn issue_access_token(
    State(state): State<ApiState>,
    address: ClientAddress,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<TokenBody>, ApiError> {
    if body.grant_type != "client_credentials" {
        return Err(ApiError::field("grant_type", "grant_type must be client_credentials"));
    }
    state.0.limits.check(Class::Login, (address, &body.client_id))?;
    let Some(client) = &state.0.config.api else {
        let message = "This server has no API client; in development mode the API needs no token";
        return Err(ApiError::new(ErrorCode::Unauthorized, message));
    };
    // Both are always compared, over digests of equal length: the time taken tells nothing.
    let known =
        same(&body.client_id, &client.client_id) & same(&body.client_secret, client.client_secret.expose());
    if !known {
        return Err(ApiError::new(ErrorCode::Unauthorized, "client_id or client_secret is wrong"));
    }
    let access_token = state.0.tokens.issue_access(&AccessClaims::new(client.client_id.clone()));
    tracing::info!(client = ?client.client_id, "access token issued");
    Ok(Json(TokenBody {
        access_token,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_LIFETIME.whole_seconds(),
    }))
}

fn same(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(&Sha256::digest(left), &Sha256::digest(right)).is_ok()
}

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<&'static str>,
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok", storage: None })
}

/// `GET /health/ready`: it makes sense to send clients here.
pub(super) async fn ready(State(state): State<ApiState>) -> (StatusCode, Json<Health>) {
    let storage = match state.0.store.check().await {
        Ok(()) => "ok",
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "storage does not answer");
            "failed"
        }
    };
    let status = match (state.is_draining(), storage) {
        (true, _) => "draining",
        (false, "ok") => "ok",
        (false, _) => "failed",
    };
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status, storage: Some(storage) }))
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], state.0.metrics.render())
}
