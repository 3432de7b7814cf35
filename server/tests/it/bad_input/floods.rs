//! Clients that send as much as they can of what others are told of, join again and again, or knock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use darktower_client::Error;
use darktower_client::signaling::SignalingClient;
use darktower_client::transport::TransportKind;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, StreamId};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use pb::envelope::Message;
use pb::stage_request::Action;
use pb::{ErrorCode, StreamType};
use reqwest::Method;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::Stage;
use crate::support::{RawSignaling, TestServer, WireSignaling, envelope, join, soon, token, video_metadata};

const NATIVE: TransportKind = TransportKind::Native;

/// How long a flood lasts: shorter than a server bears it.
const LASTS: Duration = Duration::from_millis(2500);

/// Requests that are open at one time.
const AT_ONCE: usize = 32;

/// What became of the requests of a flood.
#[derive(Debug, Default)]
struct Answers {
    granted: usize,
    rate_limited: usize,
}

impl Answers {
    fn count<T: fmt::Debug>(&mut self, answer: Option<Result<T, Error>>) {
        match answer {
            Some(Ok(_)) => self.granted += 1,
            Some(Err(Error::Refused { code: ErrorCode::RateLimited, .. })) => self.rate_limited += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// Sends as fast as it is answered, for a while and until something is refused. Nothing but an allowance refuses it.
async fn flood(client: &SignalingClient, request: impl Fn(usize) -> Message) -> Answers {
    let until = Instant::now() + LASTS;
    let mut answers = Answers::default();
    let mut open = FuturesUnordered::new();
    for n in 0.. {
        if Instant::now() > until && answers.rate_limited > 0 {
            break;
        }
        open.push(client.request(request(n)));
        if open.len() == AT_ONCE {
            answers.count(open.next().await);
        }
    }
    while let Some(answer) = open.next().await {
        answers.count(Some(answer));
    }
    answers
}

/// Counts what somebody else in the meeting is told.
struct Listener {
    heard: Arc<AtomicUsize>,
    session: SignalingClient,
    _reads: AbortOnDropHandle<()>,
}

impl Listener {
    fn new(mut listener: RawSignaling) -> Self {
        let heard = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&heard);
        let session = listener.client.clone();
        let reads = tokio::spawn(async move {
            while listener.events.next().await.is_some() {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { heard, session, _reads: AbortOnDropHandle::new(reads) }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

/// A flood of one kind of request: no more than the allowance gets through, and the session goes on.
async fn is_held_back(stage: &Stage, preset: &str, per_minute: usize, request: impl Fn(usize) -> Message) {
    let (server, meeting) = stage.parts();
    let listener = Listener::new(join(server, meeting, "Listener", "video_participant").await);
    let mallory = join(server, meeting, "Mallory", preset).await;
    let began = Instant::now();
    let heard_before = listener.heard();
    let answers = flood(&mallory.client, request).await;
    let seconds = began.elapsed().as_secs_f64();
    let heard = listener.heard() - heard_before;
    println!("{seconds:.1} s: {answers:?}, others heard {heard}");
    let most = per_minute + (per_minute as f64 * seconds / 60.0).ceil() as usize + 1;
    assert!((per_minute..=most).contains(&answers.granted), "{answers:?}, of at most {most}");
    assert!(listener.session.close_reason().is_none(), "who listens is still there");
    assert!(mallory.client.close_reason().is_none(), "who sends too much is told so, and is still there");
}

pub(super) async fn a_flood_of_chat_is_held_back(stage: &Stage) {
    let text = "<script>alert(1)</script>".repeat(100);
    let say = |_| Message::SendChatMessage(pb::SendChatMessage { text: text.clone(), ..Default::default() });
    is_held_back(stage, "video_participant", 30, say).await;
}

pub(super) async fn a_flood_of_broadcasts_is_held_back(stage: &Stage) {
    let payload = vec![7; 8 * 1024];
    let broadcast = |n: usize| {
        // One in three is read back instead: both count.
        if n.is_multiple_of(3) {
            return Message::FetchChatHistory(pb::FetchChatHistory::default());
        }
        let (r#type, payload) = ("noise".to_owned(), payload.clone().into());
        Message::BroadcastMessage(pb::BroadcastMessage { r#type, payload, ..Default::default() })
    };
    is_held_back(stage, "video_participant", 120, broadcast).await;
}

pub(super) async fn a_flood_of_hands_is_held_back(stage: &Stage) {
    let raise = |n: usize| {
        let change = pb::StateChange { hand_raised: Some(n.is_multiple_of(2)), ..Default::default() };
        Message::UpdateParticipant(pb::UpdateParticipant { change: Some(change), ..Default::default() })
    };
    is_held_back(stage, "video_participant", 300, raise).await;
}

/// One stream after the other, as large as it may be: each is announced, and ended.
pub(super) async fn a_flood_of_streams_is_held_back(stage: &Stage) {
    let ids = [(); 512].map(|()| StreamId::generate().to_string());
    let mut metadata = video_metadata();
    metadata.codec_config = vec![7; 4096].into();
    let announce_or_end = |n: usize| {
        let stream_id = ids[n / 2 % ids.len()].clone();
        let (stream_type, metadata) = (StreamType::VideoCamera.into(), Some(metadata.clone()));
        match n % 2 {
            0 => Message::PublishStream(pb::PublishStream { stream_id, stream_type, metadata }),
            _ => Message::UnpublishStream(pb::UnpublishStream { stream_id }),
        }
    };
    // In turn, as what is not announced cannot be ended.
    let (server, meeting) = stage.parts();
    let mallory = join(server, meeting, "Mallory", "video_participant").await;
    let (began, mut answers) = (Instant::now(), Answers::default());
    for n in 0.. {
        answers.count(Some(mallory.client.command(announce_or_end(n)).await));
        if answers.rate_limited > 0 {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{seconds:.1} s: {answers:?}");
    assert!((300..=301 + (5.0 * seconds).ceil() as usize).contains(&answers.granted), "{answers:?}");
}

pub(super) async fn a_flood_of_stage_requests_is_held_back(stage: &Stage) {
    let ask = |n: usize| {
        let action = if n.is_multiple_of(2) { Action::Ask } else { Action::Leave };
        Message::StageRequest(pb::StageRequest { action: action.into(), ..Default::default() })
    };
    is_held_back(stage, "webinar_participant", 300, ask).await;
}

pub(super) async fn a_flood_of_a_hosts_controls_is_held_back(stage: &Stage) {
    let control = |n: usize| match n % 4 {
        0 => Message::LockMeeting(pb::LockMeeting { locked: true }),
        1 => Message::LockMeeting(pb::LockMeeting { locked: false }),
        2 => Message::MuteParticipant(pb::MuteParticipant::default()),
        _ => Message::LowerHands(pb::LowerHands::default()),
    };
    is_held_back(stage, "video_host", 300, control).await;
}

pub(super) async fn a_flood_that_goes_on_ends_the_session(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let mut mallory = join(server, meeting, "Mallory", "video_participant").await;
    let client = mallory.client.clone();
    let update = || Message::UpdateParticipant(pb::UpdateParticipant::default());
    let flooding = tokio::spawn(async move {
        let mut answers = stream::repeat_with(|| client.request(update())).buffered(AT_ONCE);
        while let Some(Ok(_) | Err(Error::Refused { .. })) = answers.next().await {}
    });
    assert_eq!(mallory.end().await.code(), Some(Code::RATE_LIMITED));
    soon("the end", flooding).await.expect("no panic");
}

pub(super) async fn who_joins_again_and_again_is_held_back(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let listener = Listener::new(join(server, meeting, "Listener", "video_participant").await);
    let token = token(server, meeting, "Mallory", "video_participant").await;
    let before = listener.heard();
    // Each replaces the one before.
    let mut last = None;
    for joins in 0.. {
        match RawSignaling::join_with_token(server, meeting, token.clone(), NATIVE).await {
            Ok(joined) => last = Some(joined),
            Err(Error::Refused { code, details, .. }) => {
                assert_eq!((code, details["close_code"].as_str()), (ErrorCode::RateLimited, "RATE_LIMITED"));
                println!("{joins} joins, others heard {}", listener.heard() - before);
                assert!((30..=90).contains(&joins), "{joins} joins");
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    // What is refused changes nothing.
    let last = last.expect("joined");
    last.done(Message::UpdateParticipant(pb::UpdateParticipant::default())).await;
    // Nor does it help to leave, or to come back with a ticket.
    let mut ticket = last.resume_ticket.clone();
    last.client.close(Code::NO_ERROR, "the cable is out");
    for resumes in 0.. {
        match RawSignaling::resume(server, &ticket, 0, NATIVE).await {
            Ok((_, response)) => ticket = response.resume_ticket,
            Err(Error::Refused { code, .. }) => {
                assert_eq!(code, ErrorCode::RateLimited);
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
        assert!(resumes < 10, "{resumes}");
    }
    // Whose network is bad comes back as often as others join. (Each counted twice.)
    let unlucky = RawSignaling::join(server, meeting, "Unlucky", NATIVE).await;
    let mut ticket = unlucky.resume_ticket.clone();
    unlucky.client.close(Code::NO_ERROR, "the cable is out");
    for resumes in 0..28 {
        let back = RawSignaling::resume(server, &ticket, 0, NATIVE).await;
        let (client, response) = back.unwrap_or_else(|error| panic!("after {resumes} resumes: {error:?}"));
        ticket = response.resume_ticket;
        client.client.close(Code::NO_ERROR, "the cable is out");
    }
    assert!(listener.session.close_reason().is_none(), "who listens is still there");
}

/// A meeting where newcomers wait.
async fn with_waiting_room(server: &TestServer, meeting: MeetingId) {
    let body = json!({"settings": {"waiting_room": "admission"}});
    let (status, body) = server.rest().call(Method::PATCH, &format!("/meetings/{meeting}"), Some(body)).await;
    assert!(status.is_success(), "{body}");
}

/// Asks to join and is told to wait; else, how it was refused.
async fn knock(
    server: &TestServer,
    meeting: MeetingId,
    join_token: &str,
) -> Result<WireSignaling, (ErrorCode, String)> {
    let mut session = WireSignaling::connect(server, NATIVE).await;
    match session.knock(meeting, join_token.to_owned()).await {
        Some(Message::JoinWaiting(_)) => Ok(session),
        Some(Message::Error(error)) => Err((error.code(), error.details["close_code"].clone())),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn knocks_and_messages_of_who_waits_are_held_back(stage: &Stage) {
    let (server, meeting) = stage.parts();
    with_waiting_room(server, meeting).await;
    let host = Listener::new(join(server, meeting, "Host", "video_host").await);
    let join_token = token(server, meeting, "Mallory", "video_participant").await;

    // It comes, and goes: the list of those who wait changes twice.
    let before = host.heard();
    for knocks in 0.. {
        match knock(server, meeting, &join_token).await {
            Ok(waits) => waits.connection.close(Code::NO_ERROR, "never mind"),
            Err(refused) => {
                assert_eq!(refused, (ErrorCode::RateLimited, "RATE_LIMITED".to_owned()));
                println!("{knocks} knocks, the host heard {}", host.heard() - before);
                assert!((30..=90).contains(&knocks), "{knocks} knocks");
                assert!(host.heard() - before <= 2 * knocks);
                break;
            }
        }
    }

    // More than twenty messages of somebody who waits.
    let chatty = token(server, meeting, "Chatty", "video_participant").await;
    let Ok(mut waits) = knock(server, meeting, &chatty).await else { panic!("it need not wait") };
    let say = pb::SendChatMessage { text: "hello?".to_owned(), ..Default::default() };
    let say = envelope(2, Some(Message::SendChatMessage(say)));
    for _ in 0..20 {
        assert_eq!(waits.refused(&say).await, ErrorCode::Conflict);
    }
    assert_eq!(waits.ended(&say).await, Some(Code::RATE_LIMITED));
    assert!(host.session.close_reason().is_none(), "the host is still there");
}

pub(super) async fn more_than_a_hundred_do_not_wait(stage: &Stage) {
    let (server, meeting) = stage.parts();
    with_waiting_room(server, meeting).await;
    // The longest names that there may be: the list has to fit in a message, which the host's client checks.
    let mut host = join(server, meeting, "Host", "video_host").await;
    let name = "🙂".repeat(64);
    let mut waiting = Vec::new();
    for n in 0..101 {
        let join_token = token(server, meeting, &name, "video_participant").await;
        match knock(server, meeting, &join_token).await {
            Ok(waits) => waiting.push(waits),
            Err((code, close_code)) => {
                assert_eq!((n, code), (100, ErrorCode::CapacityExceeded));
                assert_eq!(close_code, "CAPACITY_EXCEEDED");
            }
        }
    }
    let all = host.event("a hundred", |message| match message {
        Message::WaitingRoomChanged(changed) if changed.waiting.len() == 100 => Some(changed.waiting.clone()),
        _ => None,
    });
    assert!(all.await.iter().all(|waits| waits.name == name));
    let reject = pb::AdmitParticipant { admit: false, ..Default::default() };
    host.done(Message::AdmitParticipant(reject)).await;
    for waits in waiting {
        soon("the end", waits.connection.closed()).await;
    }
}
