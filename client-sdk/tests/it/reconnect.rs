//! Sessions that are lost, at a server that is played by the test: what the client asks for, and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use darktower_client::api::JoinGrant;
use darktower_client::signaling::pb;
use darktower_client::{
    Code, Error, Event, Events, FrameType, JoinOptions, Meeting, MeetingId, OutgoingFrame, ParticipantId,
    PublishOptions, StreamId, SubscribeOptions, Trust,
};
use darktower_protocol::message;
use pb::envelope::Message;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::mirror::{Control, Listener, Session};

/// Another participant, whom a snapshot tells of.
const ZOE: ParticipantId = ParticipantId::from_bytes([7; 16]);

/// Nothing here takes so long.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(10), future).await;
    done.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A server for one participant.
struct Server {
    grant: JoinGrant,
    own: ParticipantId,
    media_url: String,
    /// In the order in which they begin.
    signaling: mpsc::UnboundedReceiver<Signaling>,
    media: mpsc::UnboundedReceiver<Session>,
    welcomes_media: Arc<AtomicBool>,
    /// TLS sessions that went on.
    resumed: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

/// The server's side of a signaling session.
struct Signaling {
    session: Session,
    control: Control,
}

impl Server {
    fn start() -> Self {
        let listener = Listener::bind();
        let Trust::PinnedSha256(certificate_hashes) = listener.trust.clone() else { unreachable!() };
        let grant = JoinGrant {
            participant_id: None,
            meeting_id: MeetingId::generate(),
            join_token: "join".to_owned(),
            meeting_controller_url: listener.url("/v1/signal"),
            expires_at: None,
            certificate_hashes,
        };
        let media_url = listener.url("/v1/media");
        let resumed = Arc::clone(&listener.resumed);
        let ((to_signaling, signaling), (to_media, media)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let welcomes_media = Arc::new(AtomicBool::new(true));
        let welcomes = Arc::clone(&welcomes_media);
        let task = tokio::spawn(async move {
            while let Some((session, is_signaling)) = listener.accept().await {
                let (to_signaling, to_media) = (to_signaling.clone(), to_media.clone());
                let welcomes = Arc::clone(&welcomes);
                tokio::spawn(async move {
                    // Of several attempts to connect, one is used.
                    let Some(control) = Control::accept(&session).await else { return };
                    // The test may be over.
                    if is_signaling {
                        let _ = to_signaling.send(Signaling { session, control });
                        return;
                    }
                    let _ = to_media.send(session.clone());
                    match welcomes.load(Ordering::Relaxed) {
                        true => serve_media(control).await,
                        false => drop(session.quic().closed().await),
                    }
                });
            }
        });
        let _task = AbortOnDropHandle::new(task);
        let own = ParticipantId::generate();
        Self { grant, own, media_url, signaling, media, welcomes_media, resumed, _task }
    }

    async fn join(&mut self) -> (Meeting, Signaling) {
        let grant = self.grant.clone();
        let joining = tokio::spawn(async move { Meeting::join(&grant, JoinOptions::default()).await });
        let mut signaling = self.next().await;
        self.let_in(&mut signaling, "first").await;
        (soon("the join", joining).await.unwrap().unwrap(), signaling)
    }

    /// The next signaling session.
    async fn next(&mut self) -> Signaling {
        soon("a signaling session", self.signaling.recv()).await.unwrap()
    }

    fn media_server(&self) -> Option<pb::MediaServerInfo> {
        let connection_token = "media".to_owned();
        Some(pb::MediaServerInfo { media_handler_url: self.media_url.clone(), connection_token })
    }

    async fn let_in(&self, signaling: &mut Signaling, ticket: &'static str) {
        let (id, request) = signaling.request().await;
        assert!(matches!(request, Message::JoinRequest(_)), "{request:?}");
        let response = pb::JoinResponse {
            participant_id: self.own.to_string(),
            media_server: self.media_server(),
            resume_ticket: ticket.into(),
            ..Default::default()
        };
        signaling.answer(id, Message::JoinResponse(response)).await;
    }

    /// Takes the participant back that presents a ticket; with a snapshot that goes on after it, or without a word of what
    /// it has missed.
    async fn take_back(
        &self,
        signaling: &mut Signaling,
        [presented, next]: [&'static str; 2],
        snapshot: Option<pb::JoinResponse>,
    ) {
        let id = signaling.resumes(presented).await;
        let has_snapshot = snapshot.is_some();
        let (media_server, resume_ticket) = (self.media_server(), next.into());
        let response = pb::ResumeResponse { media_server, resume_ticket, snapshot };
        signaling.answer(id, Message::ResumeResponse(response)).await;
        if has_snapshot {
            // Who did not fit into it.
            let name = "Zoe".to_owned();
            let zoe = pb::Participant { participant_id: ZOE.to_string(), name, ..Default::default() };
            let joined = pb::ParticipantJoined { participant: Some(zoe) };
            signaling.event(0, Message::ParticipantJoined(joined)).await;
            // Of itself, it publishes nothing.
            let participant = pb::Participant { participant_id: self.own.to_string(), ..Default::default() };
            let updated = pb::ParticipantUpdated { participant: Some(participant) };
            signaling.event(1, Message::ParticipantUpdated(updated)).await;
        }
    }
}

impl Signaling {
    async fn request(&mut self) -> (u64, Message) {
        let envelope: pb::Envelope = soon("a request", self.control.next()).await.unwrap();
        (envelope.request_id, envelope.message.unwrap())
    }

    /// The id of the request to resume.
    async fn resumes(&mut self, ticket: &'static str) -> u64 {
        let (id, request) = self.request().await;
        let Message::ResumeRequest(resume) = request else { panic!("{request:?}") };
        assert_eq!(resume.resume_ticket, ticket);
        id
    }

    async fn subscribes(&mut self, stream_id: StreamId) -> u64 {
        let (id, request) = self.request().await;
        assert!(matches!(&request, Message::SubscribeStream(one) if one.stream_id == stream_id.to_string()));
        id
    }

    async fn unsubscribes(&mut self, stream_id: StreamId) {
        let (id, request) = self.request().await;
        let Message::UnsubscribeStream(one) = request else { panic!("{request:?}") };
        assert_eq!(one.stream_id, stream_id.to_string());
        self.ack(id).await;
    }

    async fn publishes(&mut self) -> (u64, String) {
        match self.request().await {
            (id, Message::PublishStream(publish)) => (id, publish.stream_id),
            (_, request) => panic!("{request:?}"),
        }
    }

    async fn say(&mut self, request_id: u64, event_sequence: u64, message: Message) {
        let envelope = pb::Envelope { version: 1, request_id, event_sequence, message: Some(message) };
        self.control.send.write_all(&message::encode(&envelope)).await.unwrap();
    }

    async fn answer(&mut self, id: u64, message: Message) {
        self.say(id, 0, message).await;
    }

    async fn ack(&mut self, id: u64) {
        self.answer(id, Message::Ack(pb::Ack::default())).await;
    }

    async fn refuse(&mut self, id: u64, code: pb::ErrorCode) {
        let error = pb::ErrorMessage { code: code.into(), ..Default::default() };
        self.answer(id, Message::Error(error)).await;
    }

    async fn event(&mut self, sequence: u64, message: Message) {
        self.say(0, sequence, message).await;
    }

    /// The client may come back.
    fn fail(self) {
        self.session.close(Code::INTERNAL, "");
    }
}

async fn serve_media(mut control: Control) {
    let _hello: pb::MediaClientMessage = control.next().await.unwrap();
    let welcome = pb::media_server_message::Message::Welcome(pb::MediaWelcome::default());
    let welcome = message::encode(&pb::MediaServerMessage { message: Some(welcome) });
    control.send.write_all(&welcome).await.unwrap();
    while control.next::<pb::MediaClientMessage>().await.is_some() {}
}

async fn is_back(events: &mut Events) -> bool {
    loop {
        match soon("the return", events.next()).await.unwrap() {
            Event::Reconnected { rejoined, .. } => return rejoined,
            Event::Closed { code, message } => panic!("closed: {code} {message}"),
            _ => {}
        }
    }
}

fn voice() -> OutgoingFrame {
    let (frame_type, payload) = (FrameType::Audio, vec![7; 80].into());
    OutgoingFrame { frame_type, timestamp_us: 1, discardable: false, payload }
}

#[tokio::test]
async fn who_is_lost_again_after_a_snapshot_has_a_ticket_that_counts() {
    let mut server = Server::start();
    let (meeting, mut signaling) = server.join().await;
    let mut events = meeting.events();
    let stream_id = StreamId::generate();
    let subscriber = tokio::spawn({
        let meeting = meeting.clone();
        async move { meeting.subscribe(stream_id, SubscribeOptions::default()).await }
    });
    let id = signaling.subscribes(stream_id).await;
    signaling.ack(id).await;
    let _subscriber = soon("the subscription", subscriber).await.unwrap().unwrap();
    signaling.fail();

    let mut signaling = server.next().await;
    server.take_back(&mut signaling, ["first", "second"], Some(pb::JoinResponse::default())).await;
    // From now on only the second counts.
    signaling.subscribes(stream_id).await;
    signaling.fail();

    let mut signaling = server.next().await;
    server.take_back(&mut signaling, ["second", "third"], None).await;
    assert!(!is_back(&mut events).await);
    let id = signaling.subscribes(stream_id).await;
    signaling.ack(id).await;
}

#[tokio::test]
async fn a_connection_in_place_of_one_that_is_lost_needs_no_certificate() {
    let mut server = Server::start();
    let (meeting, signaling) = server.join().await;
    let mut events = meeting.events();
    assert_eq!(server.resumed.load(Ordering::Relaxed), 1, "that of media");
    signaling.fail();
    let mut signaling = server.next().await;
    server.take_back(&mut signaling, ["first", "second"], None).await;
    assert!(!is_back(&mut events).await);
    assert!(server.resumed.load(Ordering::Relaxed) > 1);
}

#[tokio::test]
async fn what_is_being_published_while_the_session_is_lost_is_published() {
    let mut server = Server::start();
    let (meeting, mut signaling) = server.join().await;
    let mut events = meeting.events();
    let mut ticket = "first";
    // The server has not heard of the first, nor of the second before it has forgotten everything.
    for next in ["second", "third"] {
        let publishing = tokio::spawn({
            let meeting = meeting.clone();
            async move { meeting.publish(PublishOptions::audio("Opus", 48_000, 1)).await }
        });
        let (_, stream_id) = signaling.publishes().await;
        signaling.fail();
        signaling = server.next().await;
        if next == "second" {
            server.take_back(&mut signaling, [ticket, next], Some(pb::JoinResponse::default())).await;
        } else {
            let id = signaling.resumes(ticket).await;
            signaling.refuse(id, pb::ErrorCode::NotFound).await;
            signaling = server.next().await;
            server.let_in(&mut signaling, next).await;
        }
        ticket = next;
        let (id, again) = signaling.publishes().await;
        assert_eq!(again, stream_id);
        signaling.ack(id).await;
        let mut publisher = soon("the publisher", publishing).await.unwrap().unwrap();
        assert_eq!(is_back(&mut events).await, next == "third");
        assert_eq!(soon("a frame", publisher.send(voice())).await.unwrap().units, 1);
        drop(publisher);
        let (id, request) = signaling.request().await;
        assert!(
            matches!(&request, Message::UnpublishStream(one) if one.stream_id == stream_id),
            "{request:?}"
        );
        signaling.ack(id).await;
    }
}

#[tokio::test]
async fn what_a_snapshot_names_is_there_and_a_stream_that_it_does_not_has_ended() {
    let mut server = Server::start();
    let (meeting, mut signaling) = server.join().await;
    let mut events = meeting.events();
    let publishing = tokio::spawn({
        let meeting = meeting.clone();
        async move { meeting.publish(PublishOptions::audio("Opus", 48_000, 1)).await }
    });
    let (id, _) = signaling.publishes().await;
    signaling.ack(id).await;
    let mut publisher = soon("the publisher", publishing).await.unwrap().unwrap();
    signaling.fail();
    let mut signaling = server.next().await;
    server.take_back(&mut signaling, ["first", "second"], Some(pb::JoinResponse::default())).await;
    assert!(!is_back(&mut events).await);
    let sent = publisher.send(voice()).await;
    assert!(matches!(sent, Err(Error::Unpublished)), "{sent:?}");
    let [zoe] = &meeting.participants()[..] else { panic!("she is here") };
    assert_eq!((zoe.participant_id, zoe.name.as_str()), (ZOE, "Zoe"));
}

#[tokio::test]
async fn who_has_joined_anew_and_is_lost_again_comes_back_to_that_place() {
    let mut server = Server::start();
    let (meeting, signaling) = server.join().await;
    let mut events = meeting.events();
    // Media is lost as well, and is not found for long.
    server.welcomes_media.store(false, Ordering::Relaxed);
    soon("media", server.media.recv()).await.unwrap().close(Code::INTERNAL, "");
    signaling.fail();
    let mut signaling = server.next().await;
    let id = signaling.resumes("first").await;
    signaling.refuse(id, pb::ErrorCode::NotFound).await;
    let mut signaling = server.next().await;
    server.let_in(&mut signaling, "second").await;
    let chatting = async {
        let (id, request) = signaling.request().await;
        assert!(matches!(request, Message::SendChatMessage(_)), "{request:?}");
        signaling.ack(id).await;
    };
    let (sent, ()) = tokio::join!(soon("a chat message", meeting.send_chat("here again")), chatting);
    sent.unwrap();
    signaling.fail();

    let mut signaling = server.next().await;
    server.take_back(&mut signaling, ["second", "third"], None).await;
    server.welcomes_media.store(true, Ordering::Relaxed);
    while let Ok(session) = server.media.try_recv() {
        session.close(Code::INTERNAL, "");
    }
    assert!(is_back(&mut events).await, "it has joined again");
}

#[tokio::test]
async fn what_the_server_has_heard_long_ago_is_not_told_again() {
    let mut server = Server::start();
    let (meeting, mut signaling) = server.join().await;
    let dropped = [StreamId::generate(), StreamId::generate()];
    for (stream_id, pause) in dropped.into_iter().zip([6, 4]) {
        let subscribing = async {
            let id = signaling.subscribes(stream_id).await;
            signaling.ack(id).await;
        };
        let (subscriber, ()) =
            tokio::join!(meeting.subscribe(stream_id, SubscribeOptions::default()), subscribing);
        drop(subscriber.unwrap());
        signaling.unsubscribes(stream_id).await;
        // Ten seconds is for how long the server may not have heard of it.
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    signaling.fail();
    let mut signaling = server.next().await;
    server.take_back(&mut signaling, ["first", "second"], None).await;
    signaling.unsubscribes(dropped[1]).await;
    let chatting = async {
        let (id, request) = signaling.request().await;
        assert!(matches!(request, Message::SendChatMessage(_)), "{request:?}");
        signaling.ack(id).await;
    };
    let (sent, ()) = tokio::join!(meeting.send_chat("back"), chatting);
    sent.unwrap();
}
