//! How media of participants got through.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use darktower_core::access::Action;
use darktower_core::meeting::quality::{Ingress, QualityRecord, score};
use darktower_protocol::signaling::pb::NetworkGrade;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{PageQuery, needs, rfc3339};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::QueryOf;
use crate::global_controller::path::{AttendeePath, SessionPath};
use crate::global_controller::rules::Rule;
use crate::storage::model::{QualitySample, QualityTotal};

const NOT_FOUND: &[ErrorCode] = &[ErrorCode::SessionNotFound];

#[rustfmt::skip]
pub(in crate::global_controller) const RULES: &[Rule] = &[
    needs("GET", "/api/v1/sessions/{session_id}/quality", Action::ReadSessions, NOT_FOUND),
    needs("GET", "/api/v1/sessions/{session_id}/participants/{participant_id}/quality", Action::ReadSessions, NOT_FOUND),
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_totals)).routes(routes!(list_samples))
}

/// How well a network carries calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Grade {
    /// Score of 4.03 or more.
    Excellent,
    /// 3.60 or more.
    Good,
    /// 3.10 or more.
    Fair,
    /// Less.
    Poor,
}

impl Grade {
    fn of(score: f64) -> Self {
        match score::grade(score) {
            NetworkGrade::Excellent => Self::Excellent,
            NetworkGrade::Good => Self::Good,
            NetworkGrade::Fair => Self::Fair,
            NetworkGrade::Poor | NetworkGrade::NotMeasured => Self::Poor,
        }
    }
}

/// Media of one kind that came from a participant.
#[derive(Serialize, ToSchema)]
struct PublishedBody {
    /// Mean bit rate, headers included.
    bitrate_bps: u64,
    /// Share of units (audio packets, layers of video frames) that did not come, 0 to 1.
    loss: f64,
}

/// Media that a participant was sent.
#[derive(Serialize, ToSchema)]
struct ReceivedBody {
    /// Mean bit rate.
    bitrate_bps: u64,
    /// Share of QUIC packets that were lost, 0 to 1. Video that is lost is sent again.
    loss: f64,
    /// Groups of pictures that were given up, and audio that was too old to be sent.
    dropped: u64,
}

/// What a server saw of a participant's media.
#[derive(Serialize, ToSchema)]
struct QualityBody {
    /// How long media was looked at, seconds.
    duration_seconds: f64,
    /// Mean opinion score of the network by the E-model (ITU-T G.107), 1 to 4.5.
    score: f64,
    /// The lowest score of a second.
    lowest_score: f64,
    /// The grade of `score`.
    grade: Grade,
    /// Mean round-trip time between the participant and the server, milliseconds.
    rtt_ms: f64,
    /// The longest of a second.
    max_rtt_ms: f64,
    /// How much the time between frames varied on their way to the server, milliseconds, at most (RFC 3550, 6.4.1).
    jitter_ms: f64,
    /// Audio that came from it.
    published_audio: PublishedBody,
    /// Video that came from it, cameras and screens.
    published_video: PublishedBody,
    /// What it was sent.
    received: ReceivedBody,
}

/// Three digits say it all.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e6).round() / 1e6 }
}

fn quality_body(record: &QualityRecord) -> QualityBody {
    let seconds = record.duration.as_secs_f64().max(0.001);
    let bitrate_bps = |bytes: u64| (bytes as f64 * 8.0 / seconds) as u64;
    let published = |ingress: Ingress| PublishedBody {
        bitrate_bps: bitrate_bps(ingress.bytes),
        loss: share(ingress.missing, ingress.units.saturating_add(ingress.missing)),
    };
    QualityBody {
        duration_seconds: rounded(record.duration.as_secs_f64()),
        score: rounded(record.score),
        lowest_score: rounded(record.lowest_score),
        grade: Grade::of(record.score),
        rtt_ms: millis(record.rtt),
        max_rtt_ms: millis(record.max_rtt),
        jitter_ms: millis(record.jitter),
        published_audio: published(record.audio),
        published_video: published(record.video),
        received: ReceivedBody {
            bitrate_bps: bitrate_bps(record.sent_bytes),
            loss: share(record.lost_packets, record.sent_packets),
            dropped: record.dropped,
        },
    }
}

/// How long a participant's network was of each grade, seconds.
#[derive(Serialize, ToSchema)]
struct GradesBody {
    excellent: f64,
    good: f64,
    fair: f64,
    poor: f64,
}

/// How a participant's media got through in a session.
#[derive(Serialize, ToSchema)]
struct QualityTotalBody {
    /// Who.
    participant_id: String,
    #[serde(flatten)]
    quality: QualityBody,
    /// How long its network was of which grade.
    grade_seconds: GradesBody,
}

fn total_body(total: &QualityTotal) -> QualityTotalBody {
    let seconds = |duration: Duration| rounded(duration.as_secs_f64());
    QualityTotalBody {
        participant_id: total.record.participant.to_string(),
        quality: quality_body(&total.record),
        grade_seconds: GradesBody {
            excellent: seconds(total.excellent),
            good: seconds(total.good),
            fair: seconds(total.fair),
            poor: seconds(total.poor),
        },
    }
}

/// A part of the list of participants whose media was measured, by id.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"participants": [{
    "participant_id": "018f3c1e-8c3b-7d51-8e4f-3a2b6c7d8e9f", "duration_seconds": 1793.004, "score": 4.271, "lowest_score": 2.93,
    "grade": "excellent", "rtt_ms": 41.3, "max_rtt_ms": 312.0, "jitter_ms": 14.2,
    "published_audio": {"bitrate_bps": 41213, "loss": 0.0004}, "published_video": {"bitrate_bps": 1384002, "loss": 0.0},
    "received": {"bitrate_bps": 2810344, "loss": 0.0021, "dropped": 3},
    "grade_seconds": {"excellent": 1763.004, "good": 20.0, "fair": 0.0, "poor": 10.0}
}], "total": 1}))]
pub(super) struct QualityTotalList {
    /// This part.
    participants: Vec<QualityTotalBody>,
    /// How many there are in all.
    total: u64,
}

/// See how well everybody's media got through
///
/// Of participants that had a media session; the last ten seconds of those who are there are missing. Kept as long as the
/// session.
#[utoipa::path(get, path = "/api/v1/sessions/{session_id}/quality", tag = "sessions",
    params(("session_id" = String, Path, format = Uuid, description = "Id of the session"), PageQuery),
    responses((status = OK, description = "By participant", body = QualityTotalList)))]
pub(super) async fn list_totals(
    State(state): State<ApiState>,
    caller: Caller,
    SessionPath(id): SessionPath,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Json<QualityTotalList>, ApiError> {
    let listed = state.0.meetings.quality_totals(&caller, id, page.page()?).await?;
    let participants = listed.items.iter().map(total_body).collect();
    Ok(Json(QualityTotalList { participants, total: listed.total }))
}

/// How a participant's media got through for about ten seconds.
#[derive(Serialize, ToSchema)]
struct QualitySampleBody {
    /// When they ended, RFC 3339.
    at: String,
    #[serde(flatten)]
    quality: QualityBody,
    /// What the path to the participant seemed to carry, at least, bit/s; null if it is not known.
    available_bps: Option<u64>,
    /// The most that the participant itself said to lose of a stream other than video, 0 to 1; null if it said nothing.
    reported_loss: Option<f64>,
}

fn sample_body(sample: &QualitySample) -> Result<QualitySampleBody, ApiError> {
    Ok(QualitySampleBody {
        at: rfc3339(sample.at)?,
        quality: quality_body(&sample.record),
        available_bps: sample.record.available_bps,
        reported_loss: sample.record.reported_loss.map(rounded),
    })
}

/// A part of the samples of a participant, the earliest first.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"samples": [{
    "at": "2025-01-16T12:01:10Z", "duration_seconds": 10.002, "score": 4.31, "lowest_score": 4.112, "grade": "excellent",
    "rtt_ms": 40.2, "max_rtt_ms": 58.9, "jitter_ms": 9.7,
    "published_audio": {"bitrate_bps": 41988, "loss": 0.0}, "published_video": {"bitrate_bps": 1409230, "loss": 0.0},
    "received": {"bitrate_bps": 2901122, "loss": 0.0012, "dropped": 0},
    "available_bps": 18400000, "reported_loss": null
}], "total": 1}))]
pub(super) struct QualitySampleList {
    /// This part.
    samples: Vec<QualitySampleBody>,
    /// How many there are in all.
    total: u64,
}

/// See how well a participant's media got through over time
///
/// A sample for every ten seconds with media, for 7 days unless configured otherwise. Empty if nothing was measured, or
/// nothing of it is kept any more.
#[utoipa::path(get, path = "/api/v1/sessions/{session_id}/participants/{participant_id}/quality", tag = "sessions",
    params(("session_id" = String, Path, format = Uuid, description = "Id of the session"),
        ("participant_id" = String, Path, format = Uuid, description = "Id of the participant"), PageQuery),
    responses((status = OK, description = "The earliest first", body = QualitySampleList)))]
pub(super) async fn list_samples(
    State(state): State<ApiState>,
    caller: Caller,
    AttendeePath(id, participant): AttendeePath,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Json<QualitySampleList>, ApiError> {
    let listed = state.0.meetings.quality_samples(&caller, id, participant, page.page()?).await?;
    let samples = listed.items.iter().map(sample_body).collect::<Result<_, _>>()?;
    Ok(Json(QualitySampleList { samples, total: listed.total }))
}
