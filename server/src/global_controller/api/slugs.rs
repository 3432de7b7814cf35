//! What a visitor with a meeting's link may know.

use axum::Json;
use axum::extract::State;
use darktower_core::meeting::WaitingRoom;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{public, rfc3339_of};
use crate::global_controller::ApiState;
use crate::global_controller::caller::AnyCaller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::meetings::WayIn;
use crate::global_controller::path::NamePath;
use crate::global_controller::rules::Rule;

pub(in crate::global_controller) const RULES: &[Rule] =
    &[public("GET", "/api/v1/slugs/{slug}", &[ErrorCode::MeetingNotFound])];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(resolve_slug))
}

/// A meeting as its link shows it to everybody.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "meeting_id": "018f3c1e-7b2a-7c40-9d3e-2f1a5b6c7d8e", "slug": "h7k2mpqrst", "meeting_url": "https://meet.example.org/m/h7k2mpqrst",
    "display_name": "Team Standup", "meeting_type": "video", "status": "active", "active": true, "guests_allowed": true,
    "scheduled_start": null, "waiting_room": "off", "join": "guest", "meeting_controller_url": "https://meet.example.org/v1/signal"
}))]
pub(super) struct SlugCard {
    /// Id of the meeting.
    meeting_id: String,
    /// Code of its link.
    slug: String,
    /// Its link.
    meeting_url: String,
    /// Name shown to people.
    display_name: String,
    /// What it is for.
    meeting_type: MeetingType,
    /// Where it is in its life.
    status: MeetingStatus,
    /// Whether its status is `active`.
    active: bool,
    /// Whether one may join without an account.
    guests_allowed: bool,
    /// When it is to begin, RFC 3339.
    scheduled_start: Option<String>,
    /// Whether newcomers wait before they are let in.
    waiting_room: WaitingRoom,
    /// How the caller gets in: `account` by `POST …/join`, `guest` by `POST …/guest-join`; `sign_in` means that it has no
    /// account that may, and `none` that the meeting is over. Before a meeting begins, both routes answer 409 to all but hosts.
    join: WayIn,
    /// Where signaling sessions connect.
    meeting_controller_url: String,
}

/// Find a meeting by the code of its link
///
/// With or without an access token, which decides about `join` only; one that does not hold counts as none.
#[utoipa::path(get, path = "/api/v1/slugs/{slug}", tag = "meetings",
    params(("slug" = String, Path, description = "Code of the link")),
    responses((status = OK, description = "What a visitor may know", body = SlugCard)))]
pub(super) async fn resolve_slug(
    State(state): State<ApiState>,
    AnyCaller(caller): AnyCaller,
    NamePath(slug): NamePath,
) -> Result<Json<SlugCard>, ApiError> {
    let view = state.0.meetings.by_slug(&slug).await?;
    let join = state.0.meetings.way_in(caller.as_ref(), &view).await?;
    let meeting = view.meeting;
    Ok(Json(SlugCard {
        meeting_id: meeting.id.to_string(),
        meeting_url: state.0.urls.meeting(&meeting.slug),
        slug: meeting.slug,
        display_name: meeting.display_name,
        meeting_type: meeting.meeting_type,
        status: meeting.status,
        active: meeting.status == MeetingStatus::Active,
        guests_allowed: view.policy.admits_guests(),
        scheduled_start: rfc3339_of(meeting.scheduled_start)?,
        waiting_room: meeting.settings.waiting_room,
        join,
        meeting_controller_url: state.0.urls.signaling(),
    }))
}
