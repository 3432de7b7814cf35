//! What the server does by itself, on the real store.

use std::time::Duration;

use darktower_core::meeting::lifecycle::MeetingStatus;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::global_controller::participants::newcomer;
use crate::storage::model::{AuditEntry, AuditFilter, Meeting, Removal};

/// Runs jobs on a server's store until it is dropped.
struct Running(CancellationToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn run(server: &Server) -> Running {
    let mut config = Config::for_tests(server.folder.path());
    config.jobs = crate::config::Jobs {
        activate_due_seconds: 1,
        stale_sessions_seconds: 1,
        overlong_sessions_seconds: 1,
        unjoined_meetings_seconds: 1,
        clean_seconds: 1,
        ..crate::config::Jobs::default()
    };
    let stop = CancellationToken::new();
    let live = Arc::clone(&server.live) as Arc<dyn LiveMeetings>;
    let jobs = Jobs::new(Arc::clone(&server.store) as Arc<dyn Store>, live, &config);
    let jobs = jobs.in_contact_since(OffsetDateTime::now_utc() - time::Duration::HOUR);
    tokio::spawn(jobs.run(stop.clone()));
    Running(stop)
}

/// Waits for what a job is to do.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            // The jobs run on the same thread.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

async fn stored(server: &Server, id: MeetingId) -> Option<Meeting> {
    server.store.meeting(id).await.expect("read")
}

async fn status(server: &Server, id: MeetingId) -> Option<MeetingStatus> {
    stored(server, id).await.map(|meeting| meeting.status)
}

async fn meeting(server: &Server, mut body: Value) -> MeetingId {
    body["display_name"] = json!("Test");
    let (_, created) = server.post("/api/v1/meetings", &body).await;
    created["meeting_id"].as_str().unwrap_or_else(|| panic!("{created}")).parse().expect("an id")
}

#[tokio::test]
async fn scheduled_meetings_begin_at_their_time() {
    let server = Server::development().await;
    let at = |seconds| {
        (OffsetDateTime::now_utc() + time::Duration::seconds(seconds)).format(&Rfc3339).expect("writable")
    };
    let due = meeting(&server, json!({"scheduling": "scheduled", "scheduled_start": at(1)})).await;
    let later = meeting(&server, json!({"scheduling": "scheduled", "scheduled_start": at(3600)})).await;
    let _running = run(&server);
    until("activation", async || status(&server, due).await == Some(MeetingStatus::Active)).await;
    assert_eq!(status(&server, later).await, Some(MeetingStatus::Scheduled));
    until("audit", async || {
        server.audited().await.contains(&("meeting.start".to_owned(), "system".to_owned()))
    })
    .await;
}

#[tokio::test]
async fn sessions_without_a_server_and_without_an_end_are_ended() {
    let server = Server::development().await;
    let ago = |minutes| OffsetDateTime::now_utc() - time::Duration::minutes(minutes);
    let fresh = meeting(&server, json!({})).await;
    let stale = meeting(&server, json!({})).await;
    let own = meeting(&server, json!({})).await;
    let overlong = meeting(&server, json!({})).await;
    let permanent = meeting(&server, json!({"scheduling": "permanent"})).await;
    server.arrive_at(fresh, ago(1)).await;
    // This server takes care of it, but could not say so.
    server.arrive_at(own, ago(6)).await;
    let runs_here = server.store.active_session(own).await.expect("read").expect("running").id;
    server.live.sessions.lock().expect("not poisoned").push(runs_here);
    server.arrive_at(stale, ago(5)).await;
    let of_stale = server.store.active_session(stale).await.expect("read").expect("running").id;
    for meeting in [overlong, permanent] {
        let participant = server.arrive_at(meeting, ago(25 * 60)).await;
        server.live.join(meeting, participant);
        let session = server.store.active_session(meeting).await.expect("read").expect("running");
        server.store.touch_sessions(&[session.id], OffsetDateTime::now_utc()).await.expect("written");
    }
    let _running = run(&server);
    until("the stale one", async || status(&server, stale).await == Some(MeetingStatus::Ended)).await;
    assert_eq!(server.store.active_session(stale).await.expect("read"), None);
    let ended = server.store.session(of_stale).await.expect("read").expect("is kept");
    assert_eq!(ended.ended_at, Some(ended.last_seen_at), "when it was last seen, not when that was noticed");
    until("the overlong one", async || status(&server, overlong).await == Some(MeetingStatus::Ended)).await;
    let is_out = |meeting| server.live.participant_count(meeting) == 0;
    until("everybody out", async || is_out(overlong) && is_out(permanent)).await;
    assert_eq!(status(&server, permanent).await, Some(MeetingStatus::Active));
    for goes_on in [fresh, own] {
        assert_eq!(status(&server, goes_on).await, Some(MeetingStatus::Active));
        assert!(server.store.active_session(goes_on).await.expect("read").is_some());
    }
    let session = server.store.session(runs_here).await.expect("read").expect("is there");
    assert!(session.last_seen_at > ago(1), "it is said now");
    assert!(server.live.removed().iter().all(|removal| removal.meeting_over));
}

#[tokio::test]
async fn what_is_over_for_long_is_deleted() {
    let server = Server::development().await;
    let ago = |days| OffsetDateTime::now_utc() - time::Duration::days(days);
    let (old, recent) = (meeting(&server, json!({})).await, meeting(&server, json!({})).await);
    for (id, ended_at) in [(old, ago(91)), (recent, ago(89))] {
        let mut ended = stored(&server, id).await.expect("stored");
        (ended.status, ended.ended_at) = (MeetingStatus::Ended, Some(ended_at));
        assert!(server.store.update_meeting(&ended, None).await.expect("written"));
    }
    let entry = |at| AuditEntry {
        id: uuid::Uuid::now_v7(),
        organization_id: Some(server.organization.id),
        at,
        actor_kind: "operator".to_owned(),
        actor_id: None,
        action: "test.entry".to_owned(),
        target_kind: None,
        target_id: None,
        details: json!({}),
        request_id: None,
    };
    for days in [91, 89] {
        server.store.append_audit(&entry(ago(days))).await.expect("written");
    }
    let _running = run(&server);
    until("deletion", async || stored(&server, old).await.is_none()).await;
    assert!(stored(&server, recent).await.is_some());
    let filter = AuditFilter {
        organization_id: server.organization.id,
        actor_id: None,
        action: Some("test.entry".to_owned()),
        target_id: None,
        from: None,
        to: None,
        page: Page { limit: 10, offset: 0 },
    };
    until("audit", async || server.store.audit_log(&filter).await.expect("read").total == 1).await;
}

#[tokio::test]
async fn instant_meetings_that_nobody_joins_end_after_a_day() {
    let server = Server::development().await;
    let (old, recent) = (meeting(&server, json!({})).await, meeting(&server, json!({})).await);
    let mut copy = stored(&server, old).await.expect("stored");
    assert!(server.store.delete_meeting(old, &Removal::now(old, None, true)).await.expect("deleted"));
    copy.created_at = OffsetDateTime::now_utc() - time::Duration::hours(25);
    let host = newcomer(&copy, "Host".to_owned(), ParticipantRole::Host).expect("a preset");
    server.store.create_meeting(&copy, &host).await.expect("stored");
    let _running = run(&server);
    until("its end", async || status(&server, old).await == Some(MeetingStatus::Ended)).await;
    assert_eq!(status(&server, recent).await, Some(MeetingStatus::Active));
}

#[tokio::test]
async fn failing_jobs_are_counted_and_go_on() {
    let server = Server::development().await;
    server.store.close().await;
    let failures = || server.metric("job_runs_total{job=\"activate_due\",result=\"error\"}");
    let before = failures();
    let _running = run(&server);
    until("a second try", async || failures() >= before + 2).await;
}
