//! Meetings as well-behaved clients see them.

use darktower_client::transport::TransportKind;
use darktower_client::{Code, Event, Events, LeaveReason, Meeting, PublishOptions, SubscribeOptions};
use darktower_protocol::signaling::pb;
use pb::envelope::Message;

use crate::support::{Mode, RawSignaling, TestServer, soon};

async fn next_event(events: &mut Events) -> Event {
    soon("event", events.next()).await.expect("the session is open")
}

async fn roster_events(alice_mode: Mode, bob_mode: Mode) {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", alice_mode).await;
    let mut seen_by_alice = alice.events();
    assert!(
        alice.participants().is_empty()
            || alice.participants().iter().all(|p| p.participant_id == alice.participant_id())
    );
    let publisher = alice.publish(PublishOptions::video("VP8", 640, 360, 30)).await.expect("publish");

    let bob = server.join(id, "Bob", bob_mode).await;
    let Event::ParticipantJoined(joined) = next_event(&mut seen_by_alice).await else { panic!("no join") };
    assert_eq!((joined.participant_id, joined.name.as_str()), (bob.participant_id(), "Bob"));

    // The newcomer knows what was there before.
    let known = bob.participants();
    let alice_as_seen = known.iter().find(|p| p.participant_id == alice.participant_id()).expect("Alice");
    assert_eq!(alice_as_seen.name, "Alice");
    assert_eq!(alice_as_seen.streams[0].stream_id, publisher.stream_id());
    assert_eq!(alice_as_seen.streams[0].metadata.codec, "VP8");

    let mut seen_by_bob = bob.events();
    let audio = alice.publish(PublishOptions::audio("Opus", 48_000, 2)).await.expect("publish");
    let Event::StreamPublished { participant_id, stream } = next_event(&mut seen_by_bob).await else {
        panic!("no stream")
    };
    assert_eq!((participant_id, stream.stream_id), (alice.participant_id(), audio.stream_id()));

    let audio_id = audio.stream_id();
    soon("finish", audio.finish()).await.expect("finish");
    let Event::StreamUnpublished { stream_id, .. } = next_event(&mut seen_by_bob).await else {
        panic!("no removal")
    };
    assert_eq!(stream_id, audio_id);

    // The API sees the same meeting.
    let info = server.api.meeting(&id.to_string()).await.expect("the meeting");
    assert_eq!(info.participant_count, Some(2));

    let alice_id = alice.participant_id();
    soon("leave", alice.leave()).await.expect("leave");
    let Event::ParticipantLeft { participant_id, reason } = next_event(&mut seen_by_bob).await else {
        panic!("no departure")
    };
    assert_eq!((participant_id, reason), (alice_id, LeaveReason::Voluntary));
    soon("leave", bob.leave()).await.expect("leave");
    assert_eq!(server.api.meeting(&id.to_string()).await.expect("the meeting").participant_count, Some(0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_see_each_other_come_publish_and_go_over_quic() {
    roster_events(Mode::native(), Mode::native()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_see_each_other_come_publish_and_go_across_transports() {
    roster_events(Mode::webtransport(), Mode::native().baseline()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_told_as_such() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let mut events = alice.events();
    let bob = RawSignaling::join(&server, id, "Bob", TransportKind::Native).await;
    assert!(matches!(next_event(&mut events).await, Event::ParticipantJoined(_)));
    bob.client.close(Code::NO_ERROR, "cable pulled");
    let Event::ParticipantUpdated(lost) = next_event(&mut events).await else { panic!("no loss") };
    assert_eq!(lost.participant_id, bob.participant_id);
    let Event::ParticipantLeft { participant_id, reason } = next_event(&mut events).await else {
        panic!("no departure")
    };
    assert_eq!((participant_id, reason), (bob.participant_id, LeaveReason::ConnectionLost));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_repeat_the_request_id_and_events_are_numbered_without_gaps() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let mut watcher = RawSignaling::join(&server, id, "Watcher", TransportKind::Native).await;
    for n in 0..5 {
        let guest = RawSignaling::join(&server, id, &format!("Guest {n}"), TransportKind::Native).await;
        guest.client.leave().await.expect("leave");
    }
    for expected in 1..=10 {
        let event = soon("event", watcher.events.next()).await.expect("event");
        assert_eq!(event.sequence, expected);
        let joined = matches!(event.message, Message::ParticipantJoined(_));
        assert_eq!(joined, expected % 2 == 1, "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_meeting_refuses_newcomers() {
    let server = TestServer::start_with(|config| config.limits.max_participants = 2).await;
    let id = server.meeting().await;
    // From before it is full: then the API issues none.
    let token = server.grant(id, "Carol").await.join_token;
    let _alice = server.join(id, "Alice", Mode::native()).await;
    let bob = server.join(id, "Bob", Mode::native()).await;
    let refused = RawSignaling::join_with_token(&server, id, token.clone(), TransportKind::Native).await;
    let Err(darktower_client::Error::Refused { code, .. }) = refused else { panic!("the meeting is full") };
    assert_eq!(code, darktower_client::ErrorCode::CapacityExceeded);
    soon("leave", bob.leave()).await.expect("leave");
    RawSignaling::join_with_token(&server, id, token, TransportKind::Native).await.expect("room for one");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_ends_the_stream_for_one_subscriber_only() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let publisher = alice.publish(PublishOptions::video("VP8", 640, 360, 30)).await.expect("publish");
    let stream_id = publisher.stream_id();
    let bob = server.join(id, "Bob", Mode::native()).await;
    let _subscriber = bob.subscribe(stream_id, SubscribeOptions::default()).await.expect("subscribe");
    soon("unsubscribe", bob.unsubscribe(stream_id)).await.expect("unsubscribe");
    assert!(bob.unsubscribe(stream_id).await.is_err(), "it is not subscribed any more");
    let _again = bob.subscribe(stream_id, SubscribeOptions::default()).await.expect("subscribe again");
    assert!(alice.subscribe(stream_id, SubscribeOptions::default()).await.is_err(), "its own stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_goodbye() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let mut guest = RawSignaling::join(&server, id, "Guest", TransportKind::Native).await;
    let meeting: Meeting = server.join(id, "Alice", Mode::webtransport()).await;
    assert!(matches!(
        soon("event", guest.events.next()).await.map(|event| event.message),
        Some(Message::ParticipantJoined(_))
    ));
    let stopping = tokio::spawn(server.stop());
    let goodbye = soon("goodbye", guest.events.next()).await.map(|event| event.message);
    assert!(matches!(goodbye, Some(Message::GoAway(_))), "{goodbye:?}");
    guest.client.leave().await.expect("leave");
    soon("leave", meeting.leave()).await.expect("leave");
    soon("stop", stopping).await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_reached_over_ipv6_loopback_too() {
    let server = TestServer::start_with(|config| {
        let loopback = "[::1]:0".parse().expect("an address");
        config.listen.insert(0, loopback);
        config.http_listen.insert(0, loopback);
    })
    .await;
    assert!(server.signaling_url.contains("[::1]"), "{}", server.signaling_url);
    let id = server.meeting().await;
    for mode in [Mode::native(), Mode::webtransport()] {
        let meeting = server.join(id, "Six", mode).await;
        soon("leave", meeting.leave()).await.expect("leave");
    }
    server.stop().await;
}
