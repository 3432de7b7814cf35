//! Throwing people out: by the API and by what others write to the store, everywhere, within a second, for good.

use std::time::{Duration, Instant};

use darktower_client::transport::TransportKind;
use darktower_client::{
    Code, Error, Event, Events, JoinOptions, LeaveReason, Meeting, OutgoingFrame, PublishOptions, Publisher,
    SubscribeOptions, Subscriber,
};
use darktower_core::access::ParticipantRole;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Features, FrameType, MeetingId, ParticipantId};
use darktower_server::auth::{JoinClaims, TokenService};
use darktower_server::storage::model::{IssuedParticipant, Removal};
use darktower_server::storage::store::{MeetingStore as _, ParticipantStore as _};
use pb::envelope::Message;
use reqwest::Method;
use serde_json::json;

use crate::support::{Mode, RawMedia, RawSignaling, TestServer, soon};

/// Everybody must be out within this time of the request.
const LIMIT: Duration = Duration::from_secs(1);

const BOTH: [TransportKind; 2] = [TransportKind::Native, TransportKind::WebTransport];

/// Alice, who watches Bob's camera, and Bob, who watches Alice's.
struct Pair {
    meeting: MeetingId,
    alice: Watching,
    bob: Watching,
}

struct Watching {
    session: Meeting,
    events: Events,
    subscriber: Subscriber,
    token: String,
}

async fn join(
    server: &TestServer,
    meeting: MeetingId,
    name: &str,
    mode: Mode,
) -> (Meeting, Publisher, String) {
    let grant = server.grant(meeting, name).await;
    let options = JoinOptions::default().transport(mode.transport).features(mode.features);
    let session = soon("join", Meeting::join(&grant, options)).await.expect("joined");
    let publisher = session.publish(PublishOptions::video("VP8", 640, 360, 30)).await.expect("publish");
    (session, publisher, grant.join_token)
}

fn key_frame() -> OutgoingFrame {
    OutgoingFrame {
        frame_type: FrameType::VideoKey,
        timestamp_us: 1_700_000_000_000_000,
        discardable: false,
        payload: vec![7; 1000].into(),
    }
}

impl Pair {
    /// Both have received a frame of the other: media flows. The publishers go on sending until they cannot.
    async fn new(server: &TestServer, meeting: MeetingId, modes: [Mode; 2]) -> Self {
        let (alice, to_bob, alice_token) = join(server, meeting, "Alice", modes[0]).await;
        let (bob, to_alice, bob_token) = join(server, meeting, "Bob", modes[1]).await;
        let ids = [to_bob.stream_id(), to_alice.stream_id()];
        let watch = async |session: &Meeting, stream| {
            soon("subscribe", session.subscribe(stream, SubscribeOptions::default()))
                .await
                .expect("subscribed")
        };
        // Alice learns of Bob's stream by an event.
        let known = async {
            while !alice.participants().iter().any(|p| p.streams.iter().any(|s| s.stream_id == ids[1])) {
                tokio::task::yield_now().await;
            }
        };
        soon("Bob's stream", known).await;
        let (mut at_alice, mut at_bob) = (watch(&alice, ids[1]).await, watch(&bob, ids[0]).await);
        for mut publisher in [to_bob, to_alice] {
            tokio::spawn(async move {
                while publisher.send(key_frame()).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        soon("media", at_alice.next_frame()).await.expect("flows").expect("a frame");
        soon("media", at_bob.next_frame()).await.expect("flows").expect("a frame");
        let (alice_events, bob_events) = (alice.events(), bob.events());
        Self {
            meeting,
            alice: Watching {
                session: alice,
                events: alice_events,
                subscriber: at_alice,
                token: alice_token,
            },
            bob: Watching { session: bob, events: bob_events, subscriber: at_bob, token: bob_token },
        }
    }
}

impl Watching {
    /// Waits for the end of the session; answers its code.
    async fn closed(&mut self) -> Code {
        loop {
            match soon("the end", self.events.next()).await {
                Some(Event::Closed { code, .. }) => return code,
                Some(_) => {}
                None => panic!("the end was not told"),
            }
        }
    }

    /// Waits until nothing more comes from the other's camera.
    async fn media_ends(&mut self) {
        let ends = async { while let Ok(Some(_)) = self.subscriber.next_frame().await {} };
        soon("the end of media", ends).await;
    }

    /// Waits until somebody leaves; answers why.
    async fn sees_leaving(&mut self) -> LeaveReason {
        loop {
            match soon("a leave", self.events.next()).await {
                Some(Event::ParticipantLeft { reason, .. }) => return reason,
                Some(_) => {}
                None => panic!("the session ended"),
            }
        }
    }
}

async fn assert_refused(server: &TestServer, meeting: MeetingId, token: &str, code: Code) {
    for kind in BOTH {
        let joined = RawSignaling::join_with_token(server, meeting, token.to_owned(), kind).await;
        let Err(Error::Refused { details, message, .. }) = joined else { panic!("let in again") };
        assert_eq!(details.get("close_code").map(String::as_str), Some(code.name()), "{message}");
    }
}

fn modes() -> [[Mode; 2]; 2] {
    [[Mode::native(), Mode::webtransport()], [Mode::webtransport(), Mode::native().baseline()]]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_participant_is_out_everywhere_within_a_second() {
    let server = TestServer::start().await;
    for modes in modes() {
        let meeting = server.meeting().await;
        let mut pair = Pair::new(&server, meeting, modes).await;
        let bob = pair.bob.session.participant_id();
        let began = Instant::now();
        server.rest().revoke(meeting, bob).await;
        assert_eq!(pair.bob.closed().await, Code::KICKED);
        pair.bob.media_ends().await;
        assert_eq!(pair.alice.sees_leaving().await, LeaveReason::Kicked);
        pair.alice.media_ends().await;
        let took = began.elapsed();
        println!("revoked over the API: out after {took:?}");
        assert!(took < LIMIT, "{took:?}");
        assert_refused(&server, meeting, &pair.bob.token, Code::KICKED).await;
        let (status, _) = server
            .rest()
            .call(Method::POST, &format!("/meetings/{meeting}/participants/{bob}/token"), None)
            .await;
        assert_eq!(status.as_u16(), 404);
        // The other goes on as before.
        assert_eq!(server.rest().get(&format!("/meetings/{meeting}")).await["participant_count"], 1);
        RawSignaling::join_with_token(&server, meeting, pair.alice.token.clone(), TransportKind::Native)
            .await
            .expect("Alice may come again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_the_store_takes_effect_within_a_second() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut pair = Pair::new(&server, meeting, modes()[0]).await;
    let database = server.database().await;
    let removal = |participant_id, meeting_over| Removal {
        id: uuid::Uuid::now_v7(),
        meeting_id: meeting,
        participant_id,
        meeting_over,
        at: time::OffsetDateTime::now_utc(),
    };
    let bob = pair.bob.session.participant_id();
    let began = Instant::now();
    assert!(database.revoke_participant(&removal(Some(bob), false)).await.expect("written"));
    assert_eq!(pair.bob.closed().await, Code::KICKED);
    pair.bob.media_ends().await;
    let took = began.elapsed();
    println!("revoked in the store: out after {took:?}");
    assert!(took < LIMIT, "{took:?}");
    assert_refused(&server, meeting, &pair.bob.token, Code::KICKED).await;

    // Everybody, once: who comes back stays, although the store is asked for the same removal again.
    let began = Instant::now();
    database.remove_all(&removal(None, false)).await.expect("written");
    assert_eq!(pair.alice.closed().await, Code::KICKED);
    let took = began.elapsed();
    println!("everybody removed in the store: out after {took:?}");
    assert!(took < LIMIT, "{took:?}");
    let mut again =
        RawSignaling::join_with_token(&server, meeting, pair.alice.token.clone(), TransportKind::Native)
            .await
            .expect("Alice comes back");
    // Two more looks at the store.
    let stays = tokio::time::timeout(Duration::from_millis(700), again.events.next()).await;
    assert!(stays.is_err(), "{:?}", stays.map(drop));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_meeting_is_over_for_everybody() {
    let server = TestServer::start().await;
    for (modes, verb) in modes().into_iter().zip(["end", "cancel"]) {
        let meeting = server.meeting().await;
        let mut pair = Pair::new(&server, meeting, modes).await;
        let mut raw = RawSignaling::join(&server, meeting, "Raw", TransportKind::WebTransport).await;
        let began = Instant::now();
        let ended = server.rest().act(Method::POST, &format!("/meetings/{meeting}/{verb}")).await;
        assert_eq!((&ended["active"], &ended["participant_count"]), (&json!(false), &json!(0)), "{ended}");
        for watching in [&mut pair.alice, &mut pair.bob] {
            assert_eq!(watching.closed().await, Code::MEETING_ENDED);
            watching.media_ends().await;
        }
        let took = began.elapsed();
        println!("{verb}: everybody out after {took:?}");
        assert!(took < LIMIT, "{took:?}");
        // Its last event says so; nobody is told that the others left.
        let last = soon("the last event", raw.events.next()).await.map(|event| event.message);
        assert!(matches!(last, Some(Message::MeetingEnded(_))), "{last:?}");
        assert!(soon("the end", raw.events.next()).await.is_none());
        assert_refused(&server, pair.meeting, &pair.alice.token, Code::MEETING_ENDED).await;
        let sessions = format!("/sessions?meeting_id={meeting}&active=true");
        server
            .rest()
            .until("the end of the session", &sessions, |list| list.is_some_and(|list| list["total"] == 0))
            .await;
        let session = &server.rest().get(&format!("/sessions?meeting_id={meeting}")).await["sessions"][0];
        let id = session["session_id"].as_str().expect("text");
        let stays = server.rest().get(&format!("/sessions/{id}/participants")).await;
        for stay in stays["participants"].as_array().expect("a list") {
            assert_eq!(stay["leave_reason"], "meeting_ended", "{stays}");
        }
        assert_eq!((&session["peak_participants"], &stays["total"]), (&json!(3), &json!(3)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_meeting_is_over_for_everybody() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut pair = Pair::new(&server, meeting, modes()[0]).await;
    let began = Instant::now();
    server.rest().act(Method::DELETE, &format!("/meetings/{meeting}")).await;
    assert_eq!(pair.alice.closed().await, Code::MEETING_ENDED);
    assert_eq!(pair.bob.closed().await, Code::MEETING_ENDED);
    let took = began.elapsed();
    println!("deleted: everybody out after {took:?}");
    assert!(took < LIMIT, "{took:?}");
    assert_refused(&server, meeting, &pair.alice.token, Code::MEETING_ENDED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_everybody_was_kicked_everybody_may_come_back() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let mut pair = Pair::new(&server, meeting, modes()[1]).await;
    let began = Instant::now();
    let kicked =
        server.rest().act(Method::POST, &format!("/meetings/{meeting}/active-session/kick-all")).await;
    assert_eq!(kicked["removed"], 2);
    assert_eq!(pair.alice.closed().await, Code::KICKED);
    assert_eq!(pair.bob.closed().await, Code::KICKED);
    let took = began.elapsed();
    println!("kick-all: everybody out after {took:?}");
    assert!(took < LIMIT, "{took:?}");
    for (token, kind) in [&pair.alice.token, &pair.bob.token].into_iter().zip(BOTH) {
        RawSignaling::join_with_token(&server, meeting, token.clone(), kind).await.expect("back again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_media_that_was_given_before_is_closed_too() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    for kind in BOTH {
        let bob = RawSignaling::join(&server, meeting, "Bob", kind).await;
        server.rest().revoke(meeting, bob.participant_id).await;
        let opened = RawMedia::try_open(&server, &bob.media, kind, Features::NONE).await;
        let Err((_, code)) = opened.map(drop) else { panic!("media for somebody who was removed") };
        assert_eq!(code, Some(Code::UNAUTHORIZED));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_last_token_of_its_participant() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let database = server.database().await;
    let tokens = TokenService::open(server.data_dir()).expect("the server's keys");
    let organization = database.meeting(meeting).await.expect("read").expect("stored").organization_id;
    let in_seconds = |seconds| time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    // With a token that ends at once: it opens the door for the time that clocks may differ by.
    let join = async |expires_in: i64| {
        let participant = IssuedParticipant {
            id: ParticipantId::generate(),
            meeting_id: meeting,
            name: "Zoë".to_owned(),
            role: ParticipantRole::Participant,
            preset: "video_participant".to_owned(),
            user_id: None,
            is_guest: false,
            issued_by: None,
            created_at: in_seconds(-60),
            expires_at: in_seconds(expires_in),
            revoked_at: None,
        };
        database.issue_participant(&participant).await.expect("stored");
        let mut grant = server.grant(meeting, "Zoë").await;
        grant.join_token = tokens.issue_join(&JoinClaims::of(&participant, organization));
        soon("join", Meeting::join(&grant, JoinOptions::default())).await.expect("joined")
    };
    let renewed = join(0).await;
    let id = renewed.participant_id();
    assert!(database.renew_participant(id, in_seconds(3600)).await.expect("written"));
    let expired = join(1).await;
    let mut events = expired.events();
    let closed = async {
        while let Some(event) = events.next().await {
            if let Event::Closed { code, message } = event {
                return (code, message);
            }
        }
        panic!("the end was not told")
    };
    let (code, message) = soon("the end of the session", closed).await;
    assert_eq!(code, Code::UNAUTHORIZED, "{message}");
    // The first token of the other had ended before.
    let record = server.rest().get(&format!("/meetings/{meeting}/participants/{id}")).await;
    assert_eq!(record["is_present"], true, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_while_being_revoked_does_not_stay() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    for _ in 0..20 {
        let grant = server.grant(meeting, "Bob").await;
        let participant = grant.participant_id.expect("told");
        let join =
            RawSignaling::join_with_token(&server, meeting, grant.join_token.clone(), TransportKind::Native);
        let rest = server.rest();
        let (joined, ()) = tokio::join!(join, rest.revoke(meeting, participant));
        if let Ok(mut joined) = joined {
            assert!(soon("the end", joined.events.next()).await.is_none());
        }
        let present = format!("/meetings/{meeting}/participants/{participant}");
        assert_eq!(server.rest().get(&present).await["is_present"], false);
    }
    assert_eq!(server.rest().get(&format!("/meetings/{meeting}")).await["participant_count"], 0);
}
