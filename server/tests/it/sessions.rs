//! Sessions: what the records say of who came and went, and when a session ends.

use std::time::Duration;

use darktower_client::api::JoinGrant;
use darktower_client::transport::TransportKind;
use darktower_client::{Code, Error, ErrorCode, JoinOptions, Meeting};
use darktower_protocol::MeetingId;
use darktower_protocol::signaling::pb;
use darktower_server::storage::model::Page;
use darktower_server::storage::store::{MeetingStore as _, SessionStore as _};
use pb::envelope::Message;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Mode, RawSignaling, Rest, TestServer, soon};

async fn active(server: &TestServer, meeting: MeetingId, is_it: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/meetings/{meeting}/active-session");
    server.rest().until("an active session", &path, |session| session.is_some_and(&is_it)).await;
    server.rest().get(&path).await
}

async fn stays(rest: &Rest, session: &Value) -> Vec<Value> {
    let id = session["session_id"].as_str().expect("text");
    let list = rest.get(&format!("/sessions/{id}/participants")).await;
    list["participants"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_records_who_came_and_went() {
    let server = TestServer::start().await;
    let meeting = server.rest().meeting(json!({"display_name": "Daily", "keep_alive_seconds": 0})).await;
    let alice = server.join(meeting, "Alice", Mode::native()).await;
    let bob = server.join(meeting, "Bob", Mode::webtransport()).await;
    let carol = RawSignaling::join(&server, meeting, "Carol", TransportKind::Native).await;
    let session = active(&server, meeting, |session| session["live_count"] == 3).await;
    assert_eq!((&session["participant_count"], &session["peak_participants"]), (&json!(3), &json!(3)));
    assert!(server.rest().get(&format!("/meetings/{meeting}")).await["started_at"].is_string());

    soon("leave", bob.leave()).await.expect("leave");
    carol.client.close(Code::NO_ERROR, "cable pulled");
    let session = active(&server, meeting, |session| session["live_count"] == 1).await;
    let recorded = stays(&server.rest(), &session).await;
    let reasons: Vec<_> = recorded.iter().map(|stay| (&stay["name"], &stay["leave_reason"])).collect();
    let expected = [
        (json!("Alice"), Value::Null),
        (json!("Bob"), json!("voluntary")),
        (json!("Carol"), json!("connection_lost")),
    ];
    assert_eq!(reasons, expected.iter().map(|(name, reason)| (name, reason)).collect::<Vec<_>>());

    soon("leave", alice.leave()).await.expect("leave");
    let sessions = format!("/sessions?meeting_id={meeting}&active=false");
    server.rest().until("the end", &sessions, |list| list.is_some_and(|list| list["total"] == 1)).await;
    let after = server.rest().get(&format!("/meetings/{meeting}")).await;
    assert_eq!((&after["status"], &after["active"]), (&json!("ended"), &json!(false)), "{after}");
    assert!(after["ended_at"].is_string());
    let ended = &server.rest().get(&sessions).await["sessions"][0];
    assert_eq!(ended["peak_participants"], 3);
    assert!(ended["duration_seconds"].as_i64().is_some_and(|seconds| seconds < 60), "{ended}");
    assert!(stays(&server.rest(), ended).await.iter().all(|stay| stay["left_at"].is_string()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_for_the_keep_alive_time_and_a_join_saves_it() {
    let server = TestServer::start().await;
    let meeting = server.rest().meeting(json!({"display_name": "Daily", "keep_alive_seconds": 4})).await;
    let token = server.grant(meeting, "Alice").await.join_token;
    let join = || RawSignaling::join_with_token(&server, meeting, token.clone(), TransportKind::Native);
    let alice = join().await.expect("joined");
    let first = active(&server, meeting, |session| session["live_count"] == 1).await;
    alice.client.leave().await.expect("leave");
    // Nobody is there, but it goes on.
    let running = format!("/sessions?meeting_id={meeting}&active=true");
    server
        .rest()
        .until("the leave", &running, |list| list.is_some_and(|list| list["sessions"][0]["live_count"] == 0))
        .await;
    let alice = join().await.expect("joined again");
    let second = active(&server, meeting, |session| session["live_count"] == 1).await;
    assert_eq!(first["session_id"], second["session_id"]);
    assert_eq!((&second["participant_count"], &second["peak_participants"]), (&json!(1), &json!(1)));
    assert_eq!(stays(&server.rest(), &second).await.len(), 2);

    // Longer than the keep-alive time after the first leave: the join has stopped the clock.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(server.rest().get(&running).await["total"], 1);
    alice.client.leave().await.expect("leave");
    let began = std::time::Instant::now();
    server.rest().until("the end", &running, |list| list.is_some_and(|list| list["total"] == 0)).await;
    assert!(began.elapsed() >= Duration::from_millis(3800), "{:?}", began.elapsed());
    let Err(Error::Refused { details, .. }) = join().await else { panic!("the meeting is over") };
    assert_eq!(details.get("close_code").map(String::as_str), Some("MEETING_ENDED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_meeting_has_one_session_after_another() {
    let server = TestServer::start().await;
    let body = json!({"display_name": "Stand-up", "scheduling": "permanent", "slug": "stand-up", "keep_alive_seconds": 0});
    let meeting = server.rest().meeting(body).await;
    let sessions = format!("/sessions?meeting_id={meeting}&active=false");
    for count in 1..=2 {
        let alice = server.join(meeting, "Alice", Mode::native()).await;
        soon("leave", alice.leave()).await.expect("leave");
        server
            .rest()
            .until("the end", &sessions, |list| list.is_some_and(|list| list["total"] == count))
            .await;
        assert_eq!(server.rest().get(&format!("/meetings/{meeting}")).await["status"], "active");
    }
    // Its end is that of the session.
    let _alice = server.join(meeting, "Alice", Mode::native()).await;
    active(&server, meeting, |session| session["live_count"] == 1).await;
    server.rest().act(Method::POST, &format!("/meetings/{meeting}/end")).await;
    server.rest().until("the end", &sessions, |list| list.is_some_and(|list| list["total"] == 3)).await;
    let _back = server.join(meeting, "Alice", Mode::native()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_begins_a_scheduled_meeting_early_and_it_waits_for_its_time_again() {
    let server = TestServer::start().await;
    let body = json!({
        "display_name": "Later", "scheduling": "scheduled", "scheduled_start": "2090-01-01T12:00:00Z",
        "keep_alive_seconds": 0,
    });
    let meeting = server.rest().meeting(body).await;
    let path = format!("/meetings/{meeting}");
    let token = async |role: &str| {
        let body = json!({"name": "Somebody", "role": role});
        let issued = server.rest().call(Method::POST, &format!("{path}/participants"), Some(body)).await.1;
        issued["join_token"].as_str().unwrap_or_else(|| panic!("{issued}")).to_owned()
    };
    let (host, member) = (token("host").await, token("participant").await);
    let join = |token: &String| {
        RawSignaling::join_with_token(&server, meeting, token.clone(), TransportKind::Native)
    };
    let is_not_for_members = async || {
        let Err(Error::Refused { code, message, details }) = join(&member).await else {
            panic!("it has not begun")
        };
        assert_eq!(code, ErrorCode::Conflict, "{message}");
        assert_eq!(details.get("close_code").map(String::as_str), Some("UNAUTHORIZED"));
    };
    let becomes = async |status: &str| {
        server
            .rest()
            .until(status, &path, |meeting| meeting.is_some_and(|meeting| meeting["status"] == status))
            .await;
    };
    is_not_for_members().await;
    assert_eq!(server.rest().get(&path).await["status"], "scheduled");

    let first = join(&host).await.expect("a host begins it");
    becomes("active").await;
    let second = join(&member).await.expect("it has begun");
    active(&server, meeting, |session| session["live_count"] == 2).await;
    for session in [first, second] {
        soon("leave", session.client.leave()).await.expect("leave");
    }
    becomes("scheduled").await;
    assert_eq!(server.rest().get(&path).await["started_at"], Value::Null);
    is_not_for_members().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_there_comes_back_although_the_caps_were_lowered() {
    let server = TestServer::start().await;
    let body =
        json!({"display_name": "Small", "max_participants": 4, "max_guests": 2, "access_policy": "open"});
    let meeting = server.rest().meeting(body).await;
    let mut tokens = vec![server.grant(meeting, "Member").await.join_token];
    for name in ["Guest one", "Guest two"] {
        tokens.push(server.api.guest_grant(meeting, name).await.expect("a guest's token").join_token);
    }
    let join = |token: &String| {
        RawSignaling::join_with_token(&server, meeting, token.clone(), TransportKind::Native)
    };
    let mut there = Vec::new();
    for token in &tokens {
        there.push(join(token).await.expect("in"));
    }
    let lower = json!({"max_participants": 1, "max_guests": 0});
    let lowered = server.rest().call(Method::PATCH, &format!("/meetings/{meeting}"), Some(lower)).await;
    assert_eq!(lowered.0.as_u16(), 200, "{}", lowered.1);
    for token in &tokens {
        there.push(join(token).await.expect("keeps its place"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_tokens_stay_unless_the_preset_allows_another() {
    let server = TestServer::start().await;
    let meeting = server.rest().meeting(json!({"display_name": "Open", "access_policy": "open"})).await;
    let guest = server.api.guest_grant(meeting, "Ada").await.expect("a guest's token");
    let member = server.grant(meeting, "Bob").await;
    let join = async |grant: &JoinGrant| {
        let options = JoinOptions::default().name("Administrator");
        soon("join", Meeting::join(grant, options)).await.expect("joined")
    };
    let host = server.api.host_grant(meeting, "Zoe").await.expect("a host's token");
    let (_guest, _member, _host) = (join(&guest).await, join(&member).await, join(&host).await);
    let names = async || {
        let roster = server.rest().get(&format!("/meetings/{meeting}/participants")).await;
        let participants = roster["participants"].as_array().expect("a list");
        let mut names: Vec<_> = participants
            .iter()
            .map(|participant| participant["name"].as_str().expect("text").to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names().await, ["Ada", "Administrator", "Bob"]);
    // Nor can they change them later.
    let session =
        RawSignaling::join_with_token(&server, meeting, guest.join_token.clone(), TransportKind::Native)
            .await
            .expect("joined");
    let update = pb::UpdateParticipant { name: "Host".to_owned(), ..Default::default() };
    let renamed = soon("answer", session.client.command(Message::UpdateParticipant(update))).await;
    let Err(Error::Refused { code, .. }) = renamed else { panic!("a guest has another name") };
    assert_eq!(code, ErrorCode::Forbidden);
    assert_eq!(names().await, ["Ada", "Administrator", "Bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_hold_at_the_door() {
    let server = TestServer::start_with(|config| config.limits.max_concurrent_meetings = 1).await;
    let body =
        json!({"display_name": "Small", "max_participants": 3, "max_guests": 1, "access_policy": "open"});
    let small = server.rest().meeting(body).await;
    let other = server.meeting().await;
    // Tokens from before somebody came: only the door can tell.
    let elsewhere = server.grant(other, "Eve").await.join_token;
    let guest =
        async |name: &str| server.api.guest_grant(small, name).await.expect("a guest's token").join_token;
    let (one, two) = (guest("Guest one").await, guest("Guest two").await);
    let refused = async |meeting, token: String| {
        let joined = RawSignaling::join_with_token(&server, meeting, token, TransportKind::Native).await;
        let Err(Error::Refused { code, message, .. }) = joined else { panic!("there is no room") };
        assert_eq!(code, ErrorCode::CapacityExceeded, "{message}");
        message
    };
    let first =
        RawSignaling::join_with_token(&server, small, one.clone(), TransportKind::Native).await.expect("in");
    assert!(refused(small, two.clone()).await.contains("guests"));
    assert!(refused(other, elsewhere.clone()).await.contains("meetings"));
    // The same guest again keeps its place.
    let _again =
        RawSignaling::join_with_token(&server, small, one, TransportKind::WebTransport).await.expect("in");
    drop(first);
    let _bob = server.join(small, "Bob", Mode::native()).await;
    let _carol = server.join(small, "Carol", Mode::native()).await;
    let (status, error) = server
        .rest()
        .call(Method::POST, &format!("/meetings/{small}/participants"), Some(json!({"name": "Dave"})))
        .await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (429, &json!("CAPACITY_EXCEEDED")), "{error}");
    // A larger meeting has room at once, also while it is live.
    let larger = server
        .rest()
        .call(Method::PATCH, &format!("/meetings/{small}"), Some(json!({"max_participants": 4})))
        .await;
    assert_eq!(larger.0.as_u16(), 200, "{}", larger.1);
    let _dave = server.join(small, "Dave", Mode::native()).await;
    server.rest().act(Method::POST, &format!("/meetings/{small}/end")).await;
    let sessions = format!("/sessions?meeting_id={small}&active=true");
    server.rest().until("the end", &sessions, |list| list.is_some_and(|list| list["total"] == 0)).await;
    RawSignaling::join_with_token(&server, other, elsewhere, TransportKind::Native)
        .await
        .expect("room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_begin_the_last_session_at_once_do_not_both_get_it() {
    let server = TestServer::start_with(|config| config.limits.max_concurrent_meetings = 1).await;
    let mut tokens = Vec::new();
    for _ in 0..8 {
        let meeting = server.meeting().await;
        tokens.push((meeting, server.grant(meeting, "Racer").await.join_token));
    }
    let joins = tokens.into_iter().map(|(meeting, token)| {
        RawSignaling::join_with_token(&server, meeting, token, TransportKind::Native)
    });
    let joined = futures_util::future::join_all(joins).await;
    assert_eq!(joined.iter().filter(|joined| joined.is_ok()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_closes_stays_and_leaves_the_session_to_the_next() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let bob = server.join(meeting, "Bob", Mode::native()).await;
    let guests = futures_util::future::join_all(
        (0..5).map(|n| server.join(meeting, ["a1", "b2", "c3", "d4", "e5"][n], Mode::webtransport())),
    )
    .await;
    active(&server, meeting, |session| session["live_count"] == 6).await;
    let database = server.database().await;
    // Some are there until the end, and somebody leaves in its last moment.
    let stopping = tokio::spawn(server.stop_and_keep_data());
    soon("leave", bob.leave()).await.ok();
    let _data = soon("stop", stopping).await.expect("a clean end");
    drop(guests);
    let session = database.active_session(meeting).await.expect("read").expect("it goes on elsewhere");
    assert_eq!((session.live_count, session.peak_count), (0, 6));
    let stays = database.attendances(session.id, Page { limit: 50, offset: 0 }).await.expect("read").items;
    assert_eq!(stays.len(), 6);
    assert!(stays.iter().all(|stay| stay.left_at.is_some()), "{stays:?}");
    let meeting = database.meeting(meeting).await.expect("read").expect("stored");
    assert!(meeting.status.is_joinable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_there_with_two_devices_and_each_has_one_session() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut tokens = Vec::new();
    for name in ["Zoë", "Zoë (mobile)"] {
        let body = json!({"name": name, "user_id": "user-17"});
        let path = format!("/meetings/{meeting}/participants");
        let (_, body) = server.rest().call(Method::POST, &path, Some(body)).await;
        tokens.push(body["join_token"].as_str().expect("text").to_owned());
    }
    let join = async |token: &String, kind| {
        RawSignaling::join_with_token(&server, meeting, token.clone(), kind).await.expect("joined")
    };
    let mut desktop = join(&tokens[0], TransportKind::Native).await;
    let mobile = join(&tokens[1], TransportKind::WebTransport).await;
    let came = |message: &Message| match message {
        Message::ParticipantJoined(joined) => joined.participant.clone(),
        _ => None,
    };
    let seen = desktop.event("the other device", came).await;
    assert_eq!((seen.participant_id, seen.user_id.as_str()), (mobile.id(), "user-17"));
    assert_ne!(desktop.id(), mobile.id());
    // The same device again takes the place of its first session, and of no other.
    let again = join(&tokens[0], TransportKind::WebTransport).await;
    assert_eq!(desktop.end().await.code(), Some(Code::DUPLICATE));
    assert_eq!(again.id(), desktop.id());
    for device in [&mobile, &again] {
        device.done(Message::UpdateParticipant(pb::UpdateParticipant::default())).await;
    }
    let session = active(&server, meeting, |session| session["live_count"] == 2).await;
    let stays = stays(&server.rest(), &session).await;
    let over: Vec<_> = stays.iter().filter(|stay| stay["left_at"].is_string()).collect();
    assert_eq!((stays.len(), over.len()), (3, 1), "{stays:?}");
    server.stop().await;
}
