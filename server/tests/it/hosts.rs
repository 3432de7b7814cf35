//! What hosts do, as everybody sees it: removing, muting, locking, ending, the waiting room, the stage, presets, and the
//! chat beside it.

use std::time::{Duration, Instant};

use darktower_client::Error;
use darktower_client::signaling::SignalingClient;
use darktower_client::transport::TransportKind;
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, FrameType, MeetingId, ParticipantId, StreamId};
use darktower_server::storage::SqliteStore;
use darktower_server::storage::model::Page;
use darktower_server::storage::store::SessionStore as _;
use futures_util::{StreamExt as _, stream};
use pb::ErrorCode;
use pb::envelope::Message;
use pb::stage_request::Action;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    RawMedia, RawSignaling, TestServer, audio_metadata, join, soon, token, unit, video_metadata,
};

const NATIVE: TransportKind = TransportKind::Native;

fn left(message: &Message) -> Option<(String, pb::LeaveReason)> {
    match message {
        Message::ParticipantLeft(left) => Some((left.participant_id.clone(), left.reason())),
        _ => None,
    }
}

fn updated(message: &Message) -> Option<pb::Participant> {
    match message {
        Message::ParticipantUpdated(updated) => updated.participant.clone(),
        _ => None,
    }
}

fn kick(participant: &str) -> Message {
    Message::KickParticipant(pb::KickParticipant { participant_id: participant.to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_participant_is_out_within_a_second_and_does_not_come_back() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut host = join(&server, meeting, "Host", "video_host").await;
    let bobs_token = token(&server, meeting, "Bob", "video_participant").await;
    let mut bob =
        RawSignaling::join_with_token(&server, meeting, bobs_token.clone(), TransportKind::WebTransport)
            .await
            .expect("joined");
    let media = RawMedia::open(&server, &bob.media, TransportKind::WebTransport, Features::GROUPS).await;
    assert_eq!(bob.refused(kick(&host.id())).await, ErrorCode::Forbidden);
    assert_eq!(host.refused(kick(&host.id())).await, ErrorCode::InvalidRequest);
    assert_eq!(host.refused(kick(&ParticipantId::generate().to_string())).await, ErrorCode::NotFound);
    assert_eq!(host.refused(kick("Bob")).await, ErrorCode::InvalidRequest);

    let began = Instant::now();
    host.done(kick(&bob.id())).await;
    assert_eq!(bob.end().await.code(), Some(Code::KICKED));
    soon("the end of media", media.connection.closed()).await;
    let took = began.elapsed();
    println!("kicked: out after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let gone = host.event("a leave", left).await;
    assert_eq!(gone, (bob.id(), pb::LeaveReason::Kicked));
    let again = RawSignaling::join_with_token(&server, meeting, bobs_token, NATIVE).await;
    assert!(matches!(again, Err(Error::Refused { .. })), "let in again");
    // The ticket is void, too.
    let (client, _events) =
        SignalingClient::connect(&server.signaling_url, NATIVE, &server.trust).await.expect("open");
    let resume = pb::ResumeRequest { resume_ticket: bob.resume_ticket.clone(), last_event_sequence: 0 };
    assert!(client.request(Message::ResumeRequest(resume)).await.is_err());
    let log = server.rest().get("/audit-log?action=participant.kick").await;
    assert_eq!(log["entries"][0]["details"]["participant_id"], json!(bob.id()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_but_hosts_is_kicked_at_once() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut host = join(&server, meeting, "Host", "video_host").await;
    let cohost = join(&server, meeting, "Cohost", "video_host").await;
    let mut others = Vec::new();
    for n in 0..3 {
        others.push(join(&server, meeting, &format!("P{n}"), "video_participant").await);
    }
    host.done(kick("")).await;
    for other in &mut others {
        assert_eq!(other.end().await.code(), Some(Code::KICKED));
    }
    for _ in 0..3 {
        assert_eq!(host.event("a leave", left).await.1, pb::LeaveReason::Kicked);
    }
    cohost.client.leave().await.expect("it is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_publisher_is_not_forwarded_until_it_unmutes() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let host = join(&server, meeting, "Host", "video_host").await;
    let mut alice = join(&server, meeting, "Alice", "video_participant").await;
    let mut bob = join(&server, meeting, "Bob", "video_participant").await;
    let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
    let from_alice = RawMedia::open(&server, &alice.media, NATIVE, features).await;
    let to_bob = RawMedia::open(&server, &bob.media, NATIVE, features).await;
    let stream = StreamId::generate();
    alice.publish(stream, audio_metadata()).await.expect("published");
    bob.subscribe(stream).await.expect("subscribed");

    // The audio goes on all the time.
    let sending = from_alice.connection.clone();
    let sender = tokio::spawn(async move {
        for sequence in 0.. {
            let audio = unit(stream, FrameType::Audio, sequence, 100);
            if sending.send_datagram(audio).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let heard = async || soon("audio", to_bob.connection.read_datagram()).await.expect("audio");
    heard().await;
    let mute = pb::MuteParticipant { participant_id: alice.id(), stream_type: pb::StreamType::Audio.into() };
    assert_eq!(bob.refused(Message::MuteParticipant(mute.clone())).await, ErrorCode::Forbidden);
    host.done(Message::MuteParticipant(mute)).await;
    let seen = bob.event("the mute", updated).await;
    assert!(seen.participant_id == alice.id() && seen.state.is_some_and(|state| state.audio_muted));
    assert!(alice.event("the mute", updated).await.state.is_some_and(|state| state.audio_muted));
    // What was on its way arrives; then there is silence.
    while tokio::time::timeout(Duration::from_millis(200), to_bob.connection.read_datagram()).await.is_ok() {}
    let state = pb::ParticipantState::default();
    let unmute = pb::UpdateParticipant { state: Some(state), ..Default::default() };
    alice.done(Message::UpdateParticipant(unmute)).await;
    heard().await;
    sender.abort();
}

/// Found in review: the stream that a baseline client had opened was reset by the mute, and it never heard of Alice again.
#[tokio::test(flavor = "multi_thread")]
async fn who_gets_audio_on_a_stream_of_its_own_hears_it_again_after_a_mute() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let host = join(&server, meeting, "Host", "video_host").await;
    let alice = join(&server, meeting, "Alice", "video_participant").await;
    let bob = join(&server, meeting, "Bob", "video_participant").await;
    let from_alice = RawMedia::open(&server, &alice.media, NATIVE, Features::NONE).await;
    let to_bob = RawMedia::open(&server, &bob.media, NATIVE, Features::NONE).await;
    let stream = StreamId::generate();
    let mute = |audio_muted| {
        let change = pb::StateChange { audio_muted: Some(audio_muted), ..Default::default() };
        Message::UpdateParticipant(pb::UpdateParticipant { change: Some(change), ..Default::default() })
    };
    // Alice is muted when Bob subscribes, too.
    alice.done(mute(true)).await;
    alice.publish(stream, audio_metadata()).await.expect("published");
    bob.subscribe(stream).await.expect("subscribed");
    let (_send, mut recv) = to_bob.bi(&unit(stream, FrameType::Attach, 0, 0)).await;
    let (mut audio, _feedback) = from_alice.bi(&unit(stream, FrameType::Audio, 0, 100)).await;
    let sender = tokio::spawn(async move {
        for sequence in 1.. {
            if audio.write_all(&unit(stream, FrameType::Audio, sequence, 100)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // Longer than an attach waits for its subscription.
    let quiet = tokio::time::timeout(Duration::from_millis(1500), recv.read_chunk()).await;
    assert!(quiet.is_err(), "she is muted: {quiet:?}");
    for _ in 0..2 {
        alice.done(mute(false)).await;
        soon("audio", recv.read_chunk()).await.expect("the same stream").expect("audio");
        let muted =
            pb::MuteParticipant { participant_id: alice.id(), stream_type: pb::StreamType::Audio.into() };
        host.done(Message::MuteParticipant(muted)).await;
        // What was on its way arrives; then there is silence.
        while let Ok(read) = tokio::time::timeout(Duration::from_millis(200), recv.read_chunk()).await {
            read.expect("the same stream").expect("audio");
        }
    }
    sender.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_ends_screen_shares_and_only_one_is_shared_at_a_time() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let host = join(&server, meeting, "Host", "video_host").await;
    let mut alice = join(&server, meeting, "Alice", "video_participant").await;
    let bob = join(&server, meeting, "Bob", "video_participant").await;
    let screen = |stream_id: StreamId| {
        Message::PublishStream(pb::PublishStream {
            stream_id: stream_id.to_string(),
            stream_type: pb::StreamType::VideoScreen.into(),
            metadata: Some(video_metadata()),
        })
    };
    let stream = StreamId::generate();
    alice.done(screen(stream)).await;
    assert_eq!(bob.refused(screen(StreamId::generate())).await, ErrorCode::CapacityExceeded);
    let mute = pb::MuteParticipant { stream_type: pb::StreamType::VideoScreen.into(), ..Default::default() };
    host.done(Message::MuteParticipant(mute)).await;
    let ended = |message: &Message| match message {
        Message::StreamUnpublished(ended) => Some(ended.stream_id.clone()),
        _ => None,
    };
    assert_eq!(alice.event("the end of its screen", ended).await, stream.to_string());
    bob.done(screen(StreamId::generate())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_meeting_admits_hosts_only_and_ends_for_all() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut host = join(&server, meeting, "Host", "video_host").await;
    let mut alice = join(&server, meeting, "Alice", "video_participant").await;
    let lock = |locked| Message::LockMeeting(pb::LockMeeting { locked });
    assert_eq!(alice.refused(lock(true)).await, ErrorCode::Forbidden);
    host.done(lock(true)).await;
    let locked = |message: &Message| match message {
        Message::MeetingUpdated(updated) => Some(updated.locked),
        _ => None,
    };
    assert!(alice.event("the lock", locked).await);
    let bobs = token(&server, meeting, "Bob", "video_participant").await;
    let refused = RawSignaling::join_with_token(&server, meeting, bobs.clone(), NATIVE).await;
    let Err(Error::Refused { code, message, .. }) = refused else { panic!("let in") };
    assert_eq!(code, ErrorCode::Forbidden, "{message}");
    join(&server, meeting, "Cohost", "video_host").await.client.leave().await.expect("left");
    host.done(lock(false)).await;
    RawSignaling::join_with_token(&server, meeting, bobs, NATIVE).await.expect("it is open again");

    assert_eq!(alice.refused(Message::EndMeeting(pb::EndMeeting {})).await, ErrorCode::Forbidden);
    host.done(Message::EndMeeting(pb::EndMeeting {})).await;
    assert_eq!(alice.end().await.code(), Some(Code::MEETING_ENDED));
    assert_eq!(host.end().await.code(), Some(Code::MEETING_ENDED));
    assert_eq!(server.rest().get(&format!("/meetings/{meeting}")).await["status"], "ended");
}

/// Connects and asks to join; the answer comes when it is let in.
async fn knock(
    server: &TestServer,
    meeting: MeetingId,
    name: &str,
) -> tokio::task::JoinHandle<Result<(SignalingClient, pb::JoinResponse), Error>> {
    let join_token = token(server, meeting, name, "video_participant").await;
    let connecting = SignalingClient::connect(&server.signaling_url, NATIVE, &server.trust);
    let (client, mut events) = soon("connect", connecting).await.expect("connected");
    tokio::spawn(async move { while events.next().await.is_some() {} });
    tokio::spawn(async move {
        let request = pb::JoinRequest { meeting_id: meeting.to_string(), join_token, ..Default::default() };
        let response = client.join(request).await?;
        Ok((client, response))
    })
}

fn waiting(message: &Message) -> Option<Vec<(String, String)>> {
    match message {
        Message::WaitingRoomChanged(changed) => {
            let waiting = changed.waiting.iter();
            Some(waiting.map(|one| (one.name.clone(), one.participant_id.clone())).collect())
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_let_in_or_turned_away_by_a_host() {
    let server = TestServer::start().await;
    let settings = json!({"display_name": "Door", "settings": {"waiting_room": "admission"}});
    let meeting = server.rest().meeting(settings).await;
    // Hosts do not wait.
    let mut host = join(&server, meeting, "Host", "video_host").await;
    let alice = knock(&server, meeting, "Alice").await;
    let list = host.event("Alice", waiting).await;
    let [(name, alices_id)] = &list[..] else { panic!("{list:?}") };
    assert_eq!(name, "Alice");
    // Who waits is not there.
    assert_eq!(server.rest().get(&format!("/meetings/{meeting}")).await["participant_count"], 1);
    let admit = |participant_id: &str, admit| {
        Message::AdmitParticipant(pb::AdmitParticipant { participant_id: participant_id.to_owned(), admit })
    };
    assert_eq!(host.refused(admit(&ParticipantId::generate().to_string(), true)).await, ErrorCode::NotFound);
    host.done(admit(alices_id, true)).await;
    let (alice, response) = soon("Alice", alice).await.expect("no panic").expect("let in");
    assert_eq!(response.existing_participants.len(), 1);
    assert_eq!(host.event("nobody", waiting).await, []);

    let (bob, carol) = (knock(&server, meeting, "Bob").await, knock(&server, meeting, "Carol").await);
    while host.event("both", waiting).await.len() < 2 {}
    host.done(admit("", false)).await;
    for turned_away in [bob, carol] {
        let refused = soon("an answer", turned_away).await.expect("no panic");
        let Err(Error::Refused { code, .. }) = refused else { panic!("let in") };
        assert_eq!(code, ErrorCode::Forbidden);
    }
    // Who gives up does not wait any longer.
    let dave = knock(&server, meeting, "Dave").await;
    while host.event("Dave", waiting).await.is_empty() {}
    dave.abort();
    while !host.event("nobody", waiting).await.is_empty() {}
    let refused = alice.request(admit("", true)).await;
    assert!(matches!(refused, Err(Error::Refused { code: ErrorCode::Forbidden, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_host_is_in_when_one_comes() {
    let server = TestServer::start().await;
    let settings = json!({"display_name": "Door", "settings": {"waiting_room": "until_host"}});
    let meeting = server.rest().meeting(settings).await;
    let early = [knock(&server, meeting, "Alice").await, knock(&server, meeting, "Bob").await];
    let mut host = join(&server, meeting, "Host", "video_host").await;
    for waits in early {
        soon("an answer", waits).await.expect("no panic").expect("let in");
    }
    // Now nobody waits.
    soon("an answer", knock(&server, meeting, "Late").await).await.expect("no panic").expect("let in");
    host.done(Message::EndMeeting(pb::EndMeeting {})).await;
    assert_eq!(host.end().await.code(), Some(Code::MEETING_ENDED));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stage_of_a_webinar_is_asked_for_given_and_taken() {
    let server = TestServer::start().await;
    let meeting = server.rest().meeting(json!({"display_name": "Talk", "meeting_type": "webinar"})).await;
    let mut host = join(&server, meeting, "Host", "webinar_host").await;
    let mut speaker = join(&server, meeting, "Speaker", "webinar_participant").await;
    let mut viewer = join(&server, meeting, "Viewer", "webinar_viewer").await;
    let stage = |action: Action, participant_id: String| {
        Message::StageRequest(pb::StageRequest { action: action.into(), participant_id })
    };
    let stream = StreamId::generate();
    assert!(matches!(
        speaker.publish(stream, video_metadata()).await,
        Err(Error::Refused { code: ErrorCode::Forbidden, .. })
    ));
    assert_eq!(viewer.refused(stage(Action::Ask, String::new())).await, ErrorCode::Forbidden);
    speaker.done(stage(Action::Ask, String::new())).await;
    let asking = |message: &Message| match message {
        Message::StageChanged(stage) => {
            Some((stage.participant_ids.clone(), stage.asking_participant_ids.clone()))
        }
        _ => None,
    };
    assert_eq!(host.event("the request", asking).await, (vec![], vec![speaker.id()]));
    assert_eq!(speaker.refused(stage(Action::Approve, speaker.id())).await, ErrorCode::Forbidden);
    host.done(stage(Action::Approve, speaker.id())).await;
    assert_eq!(viewer.event("the stage", asking).await, (vec![speaker.id()], vec![]));
    speaker.publish(stream, video_metadata()).await.expect("on the stage");
    viewer.subscribe(stream).await.expect("viewers watch");
    host.done(stage(Action::Remove, speaker.id())).await;
    let ended = |message: &Message| match message {
        Message::StreamUnpublished(ended) => Some(ended.stream_id.clone()),
        _ => None,
    };
    assert_eq!(speaker.event("the end", ended).await, stream.to_string());
    assert_eq!(viewer.event("the end", ended).await, stream.to_string());

    // Viewers do not see each other; hosts see all, and everybody hears how many there are.
    let other = join(&server, meeting, "Other viewer", "webinar_viewer").await;
    let audience = |message: &Message| match message {
        Message::AudienceChanged(audience) if audience.participants == 4 => Some(audience.viewers),
        _ => None,
    };
    assert_eq!(viewer.event("the audience", audience).await, 3, "who is not on the stage watches");
    let came = |message: &Message| match message {
        Message::ParticipantJoined(joined) => joined.participant.clone(),
        _ => None,
    };
    assert_eq!(
        host.event("a viewer", |message| came(message).filter(|one| one.name == "Other viewer"))
            .await
            .participant_id,
        other.id()
    );
    // A promotion applies at once, and shows it to everybody.
    let preset = |preset: &str| {
        Message::SetPreset(pb::SetPreset { participant_id: other.id(), preset: preset.to_owned() })
    };
    assert_eq!(speaker.refused(preset("webinar_host")).await, ErrorCode::Forbidden);
    assert_eq!(host.refused(preset("no_such_preset")).await, ErrorCode::NotFound);
    host.done(preset("webinar_panelist")).await;
    assert_eq!(viewer.event("the panelist", came).await.participant_id, other.id());
    let stream = StreamId::generate();
    other.publish(stream, video_metadata()).await.expect("promoted");
    viewer.subscribe(stream).await.expect("viewers watch");
    host.done(preset("webinar_viewer")).await;
    assert_eq!(viewer.event("it is gone", left).await.0, other.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_write_to_everybody_and_to_each_other() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let host = join(&server, meeting, "Host", "video_host").await;
    let mut alice = join(&server, meeting, "Alice", "video_participant").await;
    let mut bob = join(&server, meeting, "Bob", "video_participant").await;
    let mut eve = join(&server, meeting, "Eve", "video_guest").await;
    let say = |text: &str, to: String| {
        Message::SendChatMessage(pb::SendChatMessage { text: text.to_owned(), to_participant_id: to })
    };
    let said = |message: &Message| match message {
        Message::ChatMessageSent(sent) => sent.message.clone(),
        _ => None,
    };
    let secret = alice.done(say("psst", bob.id())).await.message_id;
    let public = alice.done(say(" <b>hello</b> ", String::new())).await.message_id;
    assert_eq!(bob.event("the secret", said).await.text, "psst");
    let seen = eve.event("a message", said).await;
    assert_eq!((seen.message_id, seen.text.as_str(), seen.name.as_str()), (public, "<b>hello</b>", "Alice"));
    assert_eq!(eve.refused(say("me too", bob.id())).await, ErrorCode::Forbidden);
    assert_eq!(eve.refused(say(" ", String::new())).await, ErrorCode::InvalidRequest);

    let edit =
        |message_id| Message::EditChatMessage(pb::EditChatMessage { message_id, text: "hi".to_owned() });
    assert_eq!(bob.refused(edit(public)).await, ErrorCode::Forbidden);
    assert_eq!(eve.refused(edit(secret)).await, ErrorCode::NotFound);
    alice.done(edit(public)).await;
    host.done(Message::PinChatMessage(pb::PinChatMessage { message_id: public, pinned: true })).await;
    let changed = |message: &Message| match message {
        Message::ChatMessageUpdated(updated) => updated.message.clone(),
        _ => None,
    };
    assert_eq!(eve.event("the edit", changed).await.text, "hi");
    assert!(eve.event("the pin", changed).await.pinned);

    // Newcomers read what was written before; nobody reads what is not for it.
    let late = join(&server, meeting, "Late", "video_participant").await;
    let history = async |who: &RawSignaling, with: String| {
        let fetch = pb::FetchChatHistory { with_participant_id: with, ..Default::default() };
        match who.client.request(Message::FetchChatHistory(fetch)).await.expect("answered") {
            Message::ChatHistory(history) => history.messages.iter().map(|one| one.text.clone()).collect(),
            other => panic!("{other:?}"),
        }
    };
    let texts: Vec<String> = history(&late, String::new()).await;
    assert_eq!(texts, ["hi"]);
    let texts: Vec<String> = history(&bob, alice.id()).await;
    assert_eq!(texts, ["psst"]);
    let texts: Vec<String> = history(&late, alice.id()).await;
    assert!(texts.is_empty());
    host.done(Message::DeleteChatMessage(pb::DeleteChatMessage { message_id: public })).await;
    assert!(
        alice
            .event("the end of it", |message| changed(message).filter(|one| one.deleted))
            .await
            .text
            .is_empty()
    );

    let wave =
        pb::BroadcastMessage { r#type: "reaction".to_owned(), payload: "👋".into(), ..Default::default() };
    eve.done(Message::BroadcastMessage(wave)).await;
    let reaction = |message: &Message| match message {
        Message::MessageBroadcast(sent) => Some((sent.participant_id.clone(), sent.payload.clone())),
        _ => None,
    };
    assert_eq!(bob.event("the reaction", reaction).await, (eve.id(), "👋".into()));
    // Thirty a minute.
    let mut sent = 0;
    while late.client.command(say("spam", String::new())).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 30);
    assert_eq!(late.refused(say("spam", String::new())).await, ErrorCode::RateLimited);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_its_connection_comes_back_to_its_place() {
    let server = TestServer::start_with(|config| config.limits.reconnect_grace_seconds = 15).await;
    let meeting = server.meeting().await;
    let mut alice = join(&server, meeting, "Alice", "video_participant").await;
    let bob = join(&server, meeting, "Bob", "video_participant").await;
    let stream = StreamId::generate();
    alice.publish(stream, video_metadata()).await.expect("published");
    bob.subscribe(stream).await.expect("subscribed");
    let (ticket, mut events) = (bob.resume_ticket.clone(), bob.events);
    let seen = soon("what Bob sees", events.next()).await.expect("open").sequence;
    bob.client.close(Code::NO_ERROR, "the cable is out");
    assert!(alice.event("the loss", updated).await.reconnecting);
    let again = StreamId::generate();
    alice.publish(again, audio_metadata()).await.expect("published");

    let back = RawSignaling::resume(&server, &ticket, seen, TransportKind::WebTransport).await.expect("back");
    let (mut back, response) = back;
    assert!(response.snapshot.is_none());
    assert!(!alice.event("the return", updated).await.reconnecting);
    let missed = soon("what was missed", back.events.next()).await.expect("open");
    assert_eq!(missed.sequence, seen + 1);
    assert!(matches!(&missed.message, Message::StreamPublished(one) if one.participant_id == alice.id()));
    // It is still subscribed: media flows on a new session.
    let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
    let to_bob = RawMedia::open(&server, &back.media, TransportKind::WebTransport, features).await;
    let from_alice = RawMedia::open(&server, &alice.media, NATIVE, features).await;
    let preamble = GroupPreamble {
        kind: GroupKind::Video,
        continuation: false,
        discontinuity: false,
        stream_id: stream,
        group: 0,
        first_sequence: 0,
    };
    let mut bytes = preamble.encode().to_vec();
    bytes.extend_from_slice(&unit(stream, FrameType::VideoKey, 0, 500));
    let _group = from_alice.uni(&bytes).await;
    soon("media", to_bob.connection.accept_uni()).await.expect("a group");
    // The answer may have been lost: the ticket counts until the client is heard of.
    let (mut back, _) = RawSignaling::resume(&server, &ticket, seen + 1, NATIVE).await.expect("again");
    back.subscribe(again).await.expect("subscribed");
    let stale = RawSignaling::resume(&server, &ticket, seen, NATIVE).await;
    assert!(stale.is_err(), "it has another ticket now");
    // Nobody else was told anything.
    alice.client.leave().await.expect("left");
    assert_eq!(back.event("Alice is gone", left).await.1, pb::LeaveReason::Voluntary);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_too_much_is_told_everything_anew_and_who_stays_away_has_left() {
    let server = TestServer::start_with(|config| config.limits.reconnect_grace_seconds = 3).await;
    let meeting = server.meeting().await;
    let mut alice = join(&server, meeting, "Alice", "video_host").await;
    let bob = join(&server, meeting, "Bob", "video_participant").await;
    bob.client.close(Code::NO_ERROR, "the cable is out");
    assert!(alice.event("the loss", updated).await.reconnecting);
    for n in 0..280 {
        let lock = pb::LockMeeting { locked: n % 2 == 0 };
        alice.done(Message::LockMeeting(lock)).await;
    }
    // Found in review: if the answer was lost, what came since was taken for all that it had missed.
    let lost = RawSignaling::resume(&server, &bob.resume_ticket, 0, NATIVE).await.expect("back");
    assert!(lost.1.snapshot.is_some(), "it missed too much");
    let (mut back, response) =
        RawSignaling::resume(&server, &bob.resume_ticket, 0, NATIVE).await.expect("back");
    let snapshot = response.snapshot.expect("it still has");
    assert_eq!((snapshot.existing_participants.len(), snapshot.locked), (1, false));
    alice.done(Message::LockMeeting(pb::LockMeeting { locked: true })).await;
    let locked =
        |message: &Message| matches!(message, Message::MeetingUpdated(one) if one.locked).then_some(());
    back.event("the lock", locked).await;
    back.client.close(Code::NO_ERROR, "the cable is out again");
    let (who, reason) = alice.event("the leave", left).await;
    assert_eq!((who, reason), (bob.id(), pb::LeaveReason::ConnectionLost));
    let late = RawSignaling::resume(&server, &back.resume_ticket, 0, NATIVE).await;
    assert!(late.is_err(), "its place is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_does_not_wait_for_who_is_lost_and_records_its_leave() {
    let server = TestServer::start_with(|config| config.limits.reconnect_grace_seconds = 300).await;
    let meeting = server.meeting().await;
    let mut alice = join(&server, meeting, "Alice", "video_participant").await;
    let bob = join(&server, meeting, "Bob", "video_participant").await;
    bob.client.close(Code::NO_ERROR, "the cable is out");
    assert!(alice.event("the loss", updated).await.reconnecting);
    alice.client.leave().await.expect("left");
    let began = Instant::now();
    let data = server.stop_and_keep_data().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    let database = SqliteStore::open(&data.path().join("darktower.db")).await.expect("the database");
    let session = database.active_session(meeting).await.expect("read").expect("it goes on");
    let page = Page { limit: 10, offset: 0 };
    let stays = database.attendances(session.id, page).await.expect("read").items;
    let reasons: Vec<_> =
        stays.iter().map(|stay| (stay.name.as_str(), stay.leave_reason.as_deref())).collect();
    assert_eq!(reasons, [("Alice", Some("voluntary")), ("Bob", Some("connection_lost"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_changes_of_a_participant_counts_at_once_and_when_it_comes_again() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut host = join(&server, meeting, "Host", "video_host").await;
    let alices_token = token(&server, meeting, "Alice", "video_participant").await;
    let mut alice =
        RawSignaling::join_with_token(&server, meeting, alices_token.clone(), NATIVE).await.expect("joined");
    let stream = StreamId::generate();
    alice.publish(stream, video_metadata()).await.expect("published");
    let patch = async |path: String, body: serde_json::Value| {
        let (status, body) = server.rest().call(Method::PATCH, &path, Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {body}");
    };
    let rights = |message: &Message| match message {
        Message::RightsChanged(changed) => changed.rights.clone(),
        _ => None,
    };
    let of_alice = format!("/meetings/{meeting}/participants/{}", alice.id());
    patch(of_alice.clone(), json!({"preset": "video_host"})).await;
    assert!(alice.event("its rights", rights).await.run_meeting);
    alice.done(Message::LockMeeting(pb::LockMeeting { locked: true })).await;
    alice.done(Message::LockMeeting(pb::LockMeeting { locked: false })).await;
    patch(of_alice, json!({"preset": "webinar_viewer", "name": "Grace"})).await;
    assert!(!alice.event("its rights", rights).await.run_meeting);
    let ended = |message: &Message| match message {
        Message::StreamUnpublished(ended) => Some(ended.stream_id.clone()),
        _ => None,
    };
    assert_eq!(host.event("the end of its stream", ended).await, stream.to_string());
    let named = |message: &Message| updated(message).map(|one| one.name).filter(|name| name == "Grace");
    host.event("its name", named).await;
    alice.event("its name", named).await;

    // The token says what it was; the record counts.
    alice.client.leave().await.expect("left");
    let again = RawSignaling::join_with_token(&server, meeting, alices_token, NATIVE).await.expect("joined");
    let came = |message: &Message| match message {
        Message::ParticipantJoined(joined) => joined.participant.as_ref().map(|one| one.name.clone()),
        _ => None,
    };
    assert_eq!(host.event("it comes again", came).await, "Grace");
    assert_eq!(
        again.refused(Message::LockMeeting(pb::LockMeeting { locked: true })).await,
        ErrorCode::Forbidden
    );

    patch(format!("/meetings/{meeting}"), json!({"display_name": "Stand-up"})).await;
    let renamed = |message: &Message| match message {
        Message::MeetingUpdated(updated) => Some(updated.display_name.clone()),
        _ => None,
    };
    let renamed = |message: &Message| renamed(message).filter(|name| name == "Stand-up");
    host.event("the meeting's name", renamed).await;
}

/// Found in review: as many events at once as there are participants cut everybody off.
#[tokio::test(flavor = "multi_thread")]
async fn muting_everybody_disconnects_nobody() {
    let server = TestServer::start_with(|config| config.limits.max_participants = 700).await;
    let meeting = server.meeting().await;
    let host = join(&server, meeting, "Host", "video_host").await;
    let joining = (0..600).map(|n| {
        let server = &server;
        async move { join(server, meeting, &format!("P{n}"), "video_participant").await }
    });
    let others: Vec<RawSignaling> = stream::iter(joining).buffer_unordered(8).collect().await;
    let watched: Vec<SignalingClient> = others.iter().map(|other| other.client.clone()).collect();
    let reading = others.into_iter().map(|mut other| {
        tokio::spawn(async move {
            let muted = |message: &Message| {
                updated(message).filter(|one| one.state.is_some_and(|state| state.audio_muted))
            };
            for _ in 0..600 {
                other.event("a mute", muted).await;
            }
        })
    });
    let reading: Vec<_> = reading.collect();
    let mute = pb::MuteParticipant { stream_type: pb::StreamType::Audio.into(), ..Default::default() };
    host.done(Message::MuteParticipant(mute)).await;
    for reader in reading {
        reader.await.expect("all are told of all");
    }
    assert!(watched.iter().all(|client| client.close_reason().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_tell_how_loud_they_are_the_loudest_is_heard() {
    let server = TestServer::start_with(|config| config.limits.heard_participants = 1).await;
    let meeting = server.meeting().await;
    let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
    let mut carol = join(&server, meeting, "Carol", "video_participant").await;
    let to_carol = RawMedia::open(&server, &carol.media, NATIVE, features).await;
    let mut speakers = Vec::new();
    for name in ["Alice", "Bob"] {
        let speaker = join(&server, meeting, name, "video_participant").await;
        let media = RawMedia::open(&server, &speaker.media, NATIVE, features).await;
        let stream = StreamId::generate();
        speaker.publish(stream, audio_metadata()).await.expect("published");
        carol.subscribe(stream).await.expect("subscribed");
        let sending = media.connection.clone();
        tokio::spawn(async move {
            for sequence in 0.. {
                if sending.send_datagram(unit(stream, FrameType::Audio, sequence, 100)).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        speakers.push((speaker, media, stream));
    }
    for loud in [0, 1, 0] {
        // Both tell all the time.
        let telling = async {
            loop {
                for (number, (speaker, _, stream)) in speakers.iter().enumerate() {
                    let level = if number == loud { 10 } else { 127 };
                    let levels = vec![pb::AudioLevel { stream_id: stream.to_string(), level }];
                    speaker.done(Message::AudioLevels(pb::AudioLevels { levels })).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let only_the_loud = async {
            let expected = speakers[loud].2;
            let mut in_a_row = 0;
            while in_a_row < 100 {
                let datagram = to_carol.connection.read_datagram().await.expect("audio");
                in_a_row = if datagram[2..18] == *expected.as_bytes() { in_a_row + 1 } else { 0 };
            }
        };
        let speaks = speakers[loud].0.id();
        let told = carol.event("who speaks", |message| match message {
            Message::ActiveSpeakerChanged(changed) => {
                Some(changed.participant_id.clone()).filter(|id| *id == speaks)
            }
            _ => None,
        });
        let both = async { tokio::join!(soon("only the loud one", only_the_loud), told) };
        tokio::select! {
            () = telling => {}
            _ = both => {}
        }
    }
}
