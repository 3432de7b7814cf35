//! Sessions as the API shows them.

use std::time::Duration;

use darktower_core::meeting::quality::{Ingress, QualityRecord};

use super::*;
use crate::storage::model::QualitySample;

#[tokio::test]
async fn sessions_tell_who_was_there_and_how_long() {
    let server = Server::development().await;
    let meeting = server.meeting("Daily").await;
    let id: MeetingId = meeting["meeting_id"].as_str().expect("text").parse().expect("an id");
    let active = format!("/api/v1/meetings/{id}/active-session");
    assert_error(&server.get(&active).await, 404, "SESSION_NOT_FOUND");
    assert_error(&server.send(Method::POST, &format!("{active}/kick-all")).await, 404, "SESSION_NOT_FOUND");
    assert_eq!(server.get("/api/v1/sessions").await.1, json!({"sessions": [], "total": 0}));

    let first = server.arrive_somebody(id).await;
    let second = server.arrive_somebody(id).await;
    let (status, session) = server.get(&active).await;
    assert_eq!(status, StatusCode::OK, "{session}");
    let session_id = session["session_id"].as_str().expect("text");
    let expected = json!({
        "session_id": session_id, "meeting_id": id.to_string(), "display_name": "Daily", "active": true,
        "started_at": session["started_at"], "ended_at": null, "duration_seconds": session["duration_seconds"],
        "live_count": 2, "participant_count": 2, "peak_participants": 2,
    });
    assert_eq!(session, expected);
    let stored = session_id.parse().expect("an id");
    let later = OffsetDateTime::now_utc() + time::Duration::seconds(90);
    assert!(server.store.depart(stored, first, later, "voluntary").await.expect("written"));
    let path = format!("/api/v1/sessions/{session_id}");
    let (_, attended) = server.get(&format!("{path}/participants")).await;
    assert_eq!(attended["total"], 2, "{attended}");
    let stays = attended["participants"].as_array().expect("a list");
    assert_eq!(
        (&stays[0]["participant_id"], &stays[0]["leave_reason"]),
        (&json!(first.to_string()), &json!("voluntary"))
    );
    assert!(
        stays[0]["duration_seconds"].as_i64().is_some_and(|seconds| (89..=91).contains(&seconds)),
        "{stays:?}"
    );
    assert_eq!(
        (&stays[1]["participant_id"], &stays[1]["left_at"]),
        (&json!(second.to_string()), &Value::Null)
    );
    assert_eq!(
        server.get(&format!("{path}/participants?limit=1&offset=1")).await.1["participants"][0],
        stays[1]
    );

    assert!(server.store.end_session(stored, later).await.expect("written"));
    assert_error(&server.get(&active).await, 404, "SESSION_NOT_FOUND");
    let (_, ended) = server.get(&path).await;
    assert_eq!(
        (&ended["active"], &ended["live_count"], &ended["peak_participants"]),
        (&json!(false), &json!(0), &json!(2))
    );
    assert!(
        ended["duration_seconds"].as_i64().is_some_and(|seconds| (89..=91).contains(&seconds)),
        "{ended}"
    );
    for (query, total) in [
        (String::new(), 1),
        ("?active=true".to_owned(), 0),
        ("?active=false".to_owned(), 1),
        (format!("?meeting_id={id}"), 1),
    ] {
        assert_eq!(server.get(&format!("/api/v1/sessions{query}")).await.1["total"], total, "{query}");
    }
    assert_error(&server.get("/api/v1/sessions?meeting_id=42").await, 400, "INVALID_REQUEST");
    assert_error(&server.get("/api/v1/sessions?limit=201").await, 400, "INVALID_REQUEST");
    let unknown = MeetingId::generate();
    assert_error(
        &server.get(&format!("/api/v1/sessions?meeting_id={unknown}")).await,
        404,
        "MEETING_NOT_FOUND",
    );
    assert_error(&server.get(&format!("/api/v1/sessions/{unknown}")).await, 404, "SESSION_NOT_FOUND");
    assert_error(
        &server.get(&format!("/api/v1/sessions/{unknown}/participants")).await,
        404,
        "SESSION_NOT_FOUND",
    );
    assert_error(&server.get("/api/v1/sessions/42").await, 400, "INVALID_REQUEST");
}

#[tokio::test]
async fn everybody_is_thrown_out_and_may_come_back() {
    let server = Server::development().await;
    let meeting = server.meeting("Daily").await;
    let id: MeetingId = meeting["meeting_id"].as_str().expect("text").parse().expect("an id");
    for _ in 0..3 {
        let participant = server.arrive_somebody(id).await;
        server.live.join(id, participant);
    }
    let path = format!("/api/v1/meetings/{id}/active-session/kick-all");
    assert_eq!(server.send(Method::POST, &path).await, (StatusCode::OK, json!({"removed": 3})));
    let removed = server.live.removed();
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].participant_id, removed[0].meeting_over), (None, false));
    assert_eq!(server.store.removals(OffsetDateTime::UNIX_EPOCH).await.expect("read"), removed);
    assert_eq!(server.get(&format!("/api/v1/meetings/{id}")).await.1["active"], true);
    assert!(server.audited().await.iter().any(|(action, _)| action == "meeting.kick_all"));
}

#[tokio::test]
async fn quality_is_told_by_participant_and_over_time() {
    let server = Server::development().await;
    let meeting = server.meeting("Daily").await;
    let id: MeetingId = meeting["meeting_id"].as_str().expect("text").parse().expect("an id");
    let participant = server.arrive_somebody(id).await;
    let session = server.store.active_session(id).await.expect("read").expect("runs").id;
    let path = format!("/api/v1/sessions/{session}");
    let nothing = json!({"participants": [], "total": 0});
    assert_eq!(server.get(&format!("{path}/quality")).await, (StatusCode::OK, nothing));
    let samples_path = format!("{path}/participants/{participant}/quality");
    assert_eq!(server.get(&samples_path).await, (StatusCode::OK, json!({"samples": [], "total": 0})));

    let record = QualityRecord {
        participant,
        duration: Duration::from_secs(10),
        score: 4.123_456,
        lowest_score: 3.0,
        rtt: Duration::from_micros(40_250),
        max_rtt: Duration::from_millis(90),
        jitter: Duration::from_micros(1_500),
        audio: Ingress { units: 499, bytes: 50_000, missing: 1 },
        video: Ingress { units: 0, bytes: 0, missing: 0 },
        sent_bytes: 1_250_000,
        dropped: 2,
        sent_packets: 1_000,
        lost_packets: 15,
        available_bps: Some(20_000_000),
        reported_loss: None,
    };
    let start = OffsetDateTime::from_unix_timestamp(1_763_000_000).expect("a time");
    for (seconds, score) in [(10, record.score), (20, 3.0)] {
        let at = start + time::Duration::seconds(seconds);
        let sample = QualitySample { session_id: session, at, record: QualityRecord { score, ..record } };
        server.store.add_quality_sample(&sample).await.expect("stored");
    }
    let quality = json!({
        "duration_seconds": 10.0, "score": 4.123, "lowest_score": 3.0, "grade": "excellent", "rtt_ms": 40.25, "max_rtt_ms": 90.0,
        "jitter_ms": 1.5, "published_audio": {"bitrate_bps": 40_000, "loss": 0.002},
        "published_video": {"bitrate_bps": 0, "loss": 0.0},
        "received": {"bitrate_bps": 1_000_000, "loss": 0.015, "dropped": 2},
    });
    let and = |mut quality: Value, more: Value| {
        quality.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        quality
    };
    let (_, listed) = server.get(&format!("{samples_path}?limit=1")).await;
    let first = and(
        quality.clone(),
        json!({"at": "2025-11-13T02:13:30Z", "available_bps": 20_000_000, "reported_loss": null}),
    );
    assert_eq!(listed, json!({"samples": [first], "total": 2}));
    let (_, listed) = server.get(&format!("{samples_path}?offset=1")).await;
    assert_eq!((&listed["samples"][0]["grade"], &listed["total"]), (&json!("poor"), &json!(2)));

    let (_, listed) = server.get(&format!("{path}/quality")).await;
    let grades = json!({"excellent": 10.0, "good": 0.0, "fair": 0.0, "poor": 10.0});
    let mut total = and(
        quality,
        json!({
            "participant_id": participant.to_string(), "duration_seconds": 20.0, "score": 3.562, "grade": "fair",
            "grade_seconds": grades,
        }),
    );
    total["received"]["dropped"] = json!(4);
    assert_eq!(listed, json!({"participants": [total], "total": 1}));

    let unknown = MeetingId::generate();
    assert_error(&server.get(&format!("/api/v1/sessions/{unknown}/quality")).await, 404, "SESSION_NOT_FOUND");
    let elsewhere = format!("/api/v1/sessions/{unknown}/participants/{participant}/quality");
    assert_error(&server.get(&elsewhere).await, 404, "SESSION_NOT_FOUND");
    assert_error(&server.get(&format!("{path}/participants/42/quality")).await, 400, "INVALID_REQUEST");
    assert_error(&server.get(&format!("{path}/quality?limit=0")).await, 400, "INVALID_REQUEST");
}
