//! A server with one participant called "Mirror", who publishes whatever the client publishes:
//! same stream id, same units.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use darktower_client::api::JoinGrant;
use darktower_client::transport::{RecvStream, SendStream, TransportKind, Trust};
use darktower_client::{Code, Features, FrameType, MeetingId, ParticipantId, StreamId};
use darktower_protocol::UnitDecoder;
use darktower_protocol::group::GroupDecoder;
use darktower_protocol::limits::{MAX_MESSAGE, UnitLimits};
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::signaling::pb;
use darktower_protocol::version::{ALPN_MEDIA, ALPN_SIGNAL, ALPN_WEBTRANSPORT, PATH_SIGNAL};
use pb::envelope::Message;
use pb::media_client_message::Message as ClientMessage;
use pb::media_server_message::Message as ServerMessage;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use web_transport_proto::{ConnectRequest, ConnectResponse, Settings};

/// A payload limit that makes tests split frames.
pub(crate) const MAX_VIDEO_PAYLOAD: u32 = 1000;

/// Token of a participant who has to wait, and for how long.
pub(crate) const WAITING_TOKEN: &str = "wait";
pub(crate) const WAITING: Duration = Duration::from_millis(1500);

/// What a WebTransport session puts before its streams and datagrams. Its id is that of the
/// client's first stream: 0.
const UNI_PREFIX: &[u8] = &[0x40, 0x54, 0];
const BI_PREFIX: &[u8] = &[0x40, 0x41, 0];
const DATAGRAM_PREFIX: &[u8] = &[0];

/// The server's side of a session, native or WebTransport.
#[derive(Clone)]
pub(crate) struct Session {
    quic: quinn::Connection,
    /// Streams of HTTP/3 that stay open as long as the session.
    http3: Option<Arc<(quinn::SendStream, quinn::RecvStream, quinn::SendStream, quinn::RecvStream)>>,
}

impl Session {
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    async fn webtransport(quic: quinn::Connection) -> Option<(Self, ConnectRequest)> {
        let mut control = quic.open_uni().await.ok()?;
        let mut settings = Settings::default();
        settings.enable_webtransport(1);
        settings.write(&mut control).await.ok()?;
        let mut peer_control = quic.accept_uni().await.ok()?;
        assert_ne!(Settings::read(&mut peer_control).await.ok()?.supports_webtransport(), 0);
        let (mut send, mut recv) = quic.accept_bi().await.ok()?;
        let request = ConnectRequest::read(&mut recv).await.ok()?;
        ConnectResponse::OK.write(&mut send).await.ok()?;
        Some((Self { quic, http3: Some(Arc::new((control, peer_control, send, recv))) }, request))
    }

    fn kind(&self) -> TransportKind {
        if self.http3.is_some() { TransportKind::WebTransport } else { TransportKind::Native }
    }

    async fn after_prefix(&self, mut recv: quinn::RecvStream, prefix: &[u8]) -> RecvStream {
        if self.http3.is_some() {
            let mut got = [0; 3];
            recv.read_exact(&mut got).await.unwrap();
            assert_eq!(got, prefix);
        }
        RecvStream::new(recv, self.kind())
    }

    pub(crate) async fn accept_bi(&self) -> Option<(SendStream, RecvStream)> {
        let (send, recv) = self.quic.accept_bi().await.ok()?;
        Some((SendStream::new(send, self.kind()), self.after_prefix(recv, BI_PREFIX).await))
    }

    pub(crate) async fn accept_uni(&self) -> Option<RecvStream> {
        let recv = self.quic.accept_uni().await.ok()?;
        Some(self.after_prefix(recv, UNI_PREFIX).await)
    }

    pub(crate) async fn open_bi(&self) -> Option<(SendStream, RecvStream)> {
        let (mut send, recv) = self.quic.open_bi().await.ok()?;
        if self.http3.is_some() {
            send.write_all(BI_PREFIX).await.ok()?;
        }
        Some((SendStream::new(send, self.kind()), RecvStream::new(recv, self.kind())))
    }

    pub(crate) async fn open_uni(&self) -> Option<SendStream> {
        let mut send = self.quic.open_uni().await.ok()?;
        if self.http3.is_some() {
            send.write_all(UNI_PREFIX).await.ok()?;
        }
        Some(SendStream::new(send, self.kind()))
    }

    pub(crate) async fn read_datagram(&self) -> Option<Bytes> {
        let datagram = self.quic.read_datagram().await.ok()?;
        match self.kind() {
            TransportKind::Native => Some(datagram),
            TransportKind::WebTransport => Some(datagram.slice_ref(datagram.strip_prefix(DATAGRAM_PREFIX)?)),
        }
    }

    pub(crate) fn send_datagram(&self, datagram: &[u8]) {
        let prefix = if self.http3.is_some() { DATAGRAM_PREFIX } else { &[] };
        self.quic.send_datagram([prefix, datagram].concat().into()).unwrap();
    }

    pub(crate) fn close(&self, code: Code, reason: &str) {
        self.quic.close(quinn::VarInt::from_u32(code.as_u32()), reason.as_bytes());
    }

    /// The connection below the session.
    pub(crate) fn quic(&self) -> &quinn::Connection {
        &self.quic
    }
}

/// What the server remembers of TLS sessions, and how often that was of use.
#[derive(Debug)]
struct Sessions {
    memory: Arc<dyn StoresServerSessions>,
    resumed: Arc<AtomicUsize>,
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.memory.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.memory.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.memory.take(key);
        self.resumed.fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
        found
    }

    fn can_cache(&self) -> bool {
        self.memory.can_cache()
    }
}

pub(crate) struct Listener {
    endpoint: quinn::Endpoint,
    /// TLS sessions that went on.
    pub(crate) resumed: Arc<AtomicUsize>,
    pub(crate) address: SocketAddr,
    pub(crate) trust: Trust,
}

impl Listener {
    pub(crate) fn bind() -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let trust = Trust::PinnedSha256(vec![Trust::hash(&certificate)]);
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let resumed = Arc::<AtomicUsize>::default();
        let memory = ServerSessionMemoryCache::new(256);
        tls.session_storage = Arc::new(Sessions { memory, resumed: Arc::clone(&resumed) });
        tls.alpn_protocols = [ALPN_WEBTRANSPORT, ALPN_MEDIA, ALPN_SIGNAL].map(<[u8]>::to_vec).into();
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { address: endpoint.local_addr().unwrap(), endpoint, resumed, trust }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// The next session and whether it is one for signaling.
    pub(crate) async fn accept(&self) -> Option<(Session, bool)> {
        let mut connecting = self.endpoint.accept().await?.accept().unwrap();
        let data = connecting.handshake_data().await.ok()?.downcast::<HandshakeData>().ok()?;
        match data.protocol.as_deref()? {
            ALPN_WEBTRANSPORT => {
                let (session, request) = Session::webtransport(connecting.await.ok()?).await?;
                let is_signaling = request.url.path() == PATH_SIGNAL;
                Some((session, is_signaling))
            }
            alpn => Some((Session { quic: connecting.await.ok()?, http3: None }, alpn == ALPN_SIGNAL)),
        }
    }
}

/// The server's side of a control stream.
pub(crate) struct Control {
    pub(crate) send: SendStream,
    recv: RecvStream,
    decoder: MessageDecoder,
}

impl Control {
    /// `None` if the client gives the session up before.
    pub(crate) async fn accept(session: &Session) -> Option<Self> {
        let (send, recv) = session.accept_bi().await?;
        Some(Self { send, recv, decoder: MessageDecoder::new(MAX_MESSAGE) })
    }

    pub(crate) async fn next<M: prost::Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            self.decoder.push(&self.recv.read_chunk().await.ok()??);
        }
    }

    pub(crate) async fn say(&mut self, body: &[u8]) {
        let mut framed = Vec::new();
        prost::encoding::encode_varint(body.len() as u64, &mut framed);
        framed.extend_from_slice(body);
        self.send.write_all(&framed).await.unwrap();
    }
}

/// What the tasks of the mirror share.
#[derive(Default)]
struct State {
    /// Whole wire images of units, in the order they came, and whether that was all.
    units: Mutex<(Vec<Bytes>, bool)>,
    changed: Notify,
    subscribed: CancellationToken,
}

pub(crate) struct Mirror {
    pub(crate) grant: JoinGrant,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mirror {
    /// A mirror for one client.
    pub(crate) fn start() -> Self {
        let listener = Listener::bind();
        let Trust::PinnedSha256(certificate_hashes) = listener.trust.clone() else { unreachable!() };
        let own = ParticipantId::generate();
        let grant = JoinGrant {
            participant_id: Some(own),
            meeting_id: MeetingId::generate(),
            join_token: "join".to_owned(),
            meeting_controller_url: listener.url(PATH_SIGNAL),
            expires_at: None,
            certificate_hashes,
        };
        let task = tokio::spawn(async move {
            let state = Arc::new(State::default());
            while let Some((session, is_signaling)) = listener.accept().await {
                let state = Arc::clone(&state);
                let media_url = listener.url("/v1/media");
                tokio::spawn(async move {
                    if is_signaling {
                        serve_signaling(session, &state, own, media_url).await;
                    } else {
                        serve_media(session, state).await;
                    }
                });
            }
        });
        Self { grant, task }
    }
}

async fn serve_signaling(session: Session, state: &State, own: ParticipantId, media_url: String) {
    let mirror = ParticipantId::generate();
    let (mut send, mut recv) = session.accept_bi().await.unwrap();
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    let mut published = String::new();
    let mut event_sequence = 0;
    let mut event = |message| {
        event_sequence += 1;
        pb::Envelope { version: 1, request_id: 0, event_sequence, message: Some(message) }
    };
    while let Ok(Some(chunk)) = recv.read_chunk().await {
        decoder.push(&chunk);
        while let Some(request) = decoder.next_message::<pb::Envelope>().unwrap() {
            let mut ack = pb::Ack::default();
            let mut answers = Vec::new();
            let mut leaving = false;
            match request.message.unwrap() {
                Message::JoinRequest(join)
                    if !["join", WAITING_TOKEN].contains(&join.join_token.as_str()) =>
                {
                    let error = pb::ErrorMessage {
                        code: pb::ErrorCode::Unauthorized.into(),
                        message: "who are you?".to_owned(),
                        ..Default::default()
                    };
                    answers.push(envelope(request.request_id, Message::Error(error)));
                }
                Message::JoinRequest(join) => {
                    if join.join_token == WAITING_TOKEN {
                        let waiting = pb::JoinWaiting { meeting_display_name: "Stand-up".to_owned() };
                        let waiting = envelope(request.request_id, Message::JoinWaiting(waiting));
                        send.write_all(&message::encode(&waiting)).await.unwrap();
                        tokio::time::sleep(WAITING).await;
                    }
                    let media_server = pb::MediaServerInfo {
                        media_handler_url: media_url.clone(),
                        connection_token: "media".to_owned(),
                    };
                    let existing = pb::Participant {
                        participant_id: mirror.to_string(),
                        name: "Mirror".to_owned(),
                        ..Default::default()
                    };
                    let response = pb::JoinResponse {
                        participant_id: own.to_string(),
                        existing_participants: vec![existing],
                        media_server: Some(media_server),
                        ..Default::default()
                    };
                    answers.push(envelope(request.request_id, Message::JoinResponse(response)));
                }
                Message::PublishStream(publish) => {
                    published.clone_from(&publish.stream_id);
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                    answers.push(event(Message::StreamPublished(pb::StreamPublished {
                        participant_id: mirror.to_string(),
                        stream: Some(pb::MediaStream {
                            stream_id: publish.stream_id,
                            stream_type: publish.stream_type,
                            metadata: publish.metadata,
                        }),
                    })));
                }
                Message::UnpublishStream(unpublish) => {
                    state.units.lock().unwrap().1 = true;
                    state.changed.notify_one();
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                    answers.push(event(Message::StreamUnpublished(pb::StreamUnpublished {
                        participant_id: mirror.to_string(),
                        stream_id: unpublish.stream_id,
                    })));
                }
                Message::SubscribeStream(subscribe) => {
                    ack.wire_stream_id = subscribe.stream_id;
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                    state.subscribed.cancel();
                }
                // Ends what the client publishes, as for a screen.
                Message::MuteParticipant(_) => {
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                    answers.push(event(Message::StreamUnpublished(pb::StreamUnpublished {
                        participant_id: own.to_string(),
                        stream_id: published.clone(),
                    })));
                }
                Message::SendChatMessage(chat) => {
                    ack.message_id = 7;
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                    let message = pb::ChatMessage {
                        message_id: 7,
                        participant_id: own.to_string(),
                        text: chat.text,
                        to_participant_id: chat.to_participant_id,
                        ..Default::default()
                    };
                    answers.push(event(Message::ChatMessageSent(pb::ChatMessageSent {
                        message: Some(message),
                    })));
                }
                Message::FetchChatHistory(query) => {
                    let newest = query.before_message_id.saturating_sub(1);
                    let message = pb::ChatMessage { message_id: newest, ..Default::default() };
                    let history = pb::ChatHistory { messages: vec![message], has_more: true };
                    answers.push(envelope(request.request_id, Message::ChatHistory(history)));
                }
                Message::BroadcastMessage(broadcast) => {
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                    answers.push(event(Message::MessageBroadcast(pb::MessageBroadcast {
                        participant_id: mirror.to_string(),
                        r#type: broadcast.r#type,
                        payload: broadcast.payload,
                    })));
                }
                Message::LeaveRequest(_) => {
                    leaving = true;
                    answers.push(envelope(request.request_id, Message::Ack(ack)));
                }
                Message::EndMeeting(_) => {
                    let error = pb::ErrorMessage { message: "over".to_owned(), ..Default::default() };
                    let farewell = envelope(0, Message::Error(error));
                    send.write_all(&message::encode(&farewell)).await.unwrap();
                    send.finish();
                    // Whatever comes of it: the close follows.
                    let _ = send.delivered().await;
                    return session.close(Code::MEETING_ENDED, "");
                }
                _ => answers.push(envelope(request.request_id, Message::Ack(ack))),
            }
            for answer in answers {
                send.write_all(&message::encode(&answer)).await.unwrap();
            }
            if leaving {
                send.finish();
            }
        }
    }
}

fn envelope(request_id: u64, message: Message) -> pb::Envelope {
    pb::Envelope { version: 1, request_id, event_sequence: 0, message: Some(message) }
}

async fn serve_media(session: Session, state: Arc<State>) {
    let (mut send, mut recv) = session.accept_bi().await.unwrap();
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    loop {
        let Ok(Some(chunk)) = recv.read_chunk().await else { return };
        decoder.push(&chunk);
        while let Some(message) = decoder.next_message::<pb::MediaClientMessage>().unwrap() {
            let mut answers = Vec::new();
            match message.message.unwrap() {
                ClientMessage::Hello(hello) => {
                    assert_eq!(hello.connection_token, "media");
                    let features = Features::from_names(&hello.features);
                    let limits =
                        pb::MediaLimits { max_audio_payload: 0, max_video_payload: MAX_VIDEO_PAYLOAD };
                    answers.push(ServerMessage::Welcome(pb::MediaWelcome {
                        features: hello.features,
                        limits: Some(limits),
                        protocol_version: 1,
                        ..Default::default()
                    }));
                    spawn_media(&session, &state, features);
                }
                ClientMessage::Ping(ping) => {
                    answers.push(ServerMessage::Pong(pb::Pong { id: ping.id, server_time: 0 }));
                }
                // Handed on to the publisher, who is the same client.
                ClientMessage::SubscriberFeedback(wish) => {
                    answers.push(ServerMessage::PublisherFeedback(pb::PublisherFeedback {
                        stream_id: wish.stream_id,
                        key_frame_requested: true,
                        paused: Some(false),
                        target_bitrate: 500_000,
                    }));
                }
            }
            for message in answers {
                let message = pb::MediaServerMessage { message: Some(message) };
                send.write_all(&message::encode(&message)).await.unwrap();
            }
        }
    }
}

/// Everything but the control stream.
fn spawn_media(session: &Session, state: &Arc<State>, features: Features) {
    let (uni, shared) = (session.clone(), Arc::clone(state));
    tokio::spawn(async move {
        while let Some(recv) = uni.accept_uni().await {
            assert!(features.contains(Features::GROUPS));
            // Group after group: the mirror keeps the order in which they were opened.
            mirror_group(&uni, recv, &shared).await;
        }
    });
    let (datagrams, shared) = (session.clone(), Arc::clone(state));
    tokio::spawn(async move {
        shared.subscribed.cancelled().await;
        while let Some(datagram) = datagrams.read_datagram().await {
            assert!(features.contains(Features::AUDIO_DATAGRAMS));
            datagrams.send_datagram(&datagram);
        }
    });
    let (bi, shared) = (session.clone(), Arc::clone(state));
    tokio::spawn(async move {
        while let Some((send, recv)) = bi.accept_bi().await {
            tokio::spawn(serve_baseline(send, recv, Arc::clone(&shared)));
        }
    });
}

async fn mirror_group(session: &Session, mut recv: RecvStream, state: &State) {
    let mut decoder = GroupDecoder::new(UnitLimits::default());
    let mut out: Option<SendStream> = None;
    loop {
        while let Some(unit) = decoder.next_unit().unwrap() {
            if out.is_none() {
                // What was published before the subscription waits for it, as in a cache.
                if unit.header().sequence() == 0 {
                    state.subscribed.cancelled().await;
                }
                let mut send = session.open_uni().await.unwrap();
                send.write_all(&decoder.preamble().unwrap().encode()).await.unwrap();
                out = Some(send);
            }
            out.as_mut().unwrap().write_all(&unit.into_wire()).await.unwrap();
        }
        match recv.read_chunk().await {
            Ok(Some(chunk)) => decoder.push(chunk).unwrap(),
            Ok(None) => return out.unwrap().finish(),
            Err(_) => return out.unwrap().reset(Code::DROPPED_GROUP),
        }
    }
}

async fn serve_baseline(mut send: SendStream, mut recv: RecvStream, state: Arc<State>) {
    let mut decoder = UnitDecoder::new(UnitLimits::default());
    loop {
        while let Some(unit) = decoder.next_unit().unwrap() {
            if unit.header().frame_type() == FrameType::Attach {
                assert_eq!(unit.header().payload_len(), 0);
                return send_all(&mut send, &state).await;
            }
            if unit.header().sequence() == 0 {
                let feedback = pb::PublisherFeedback {
                    stream_id: StreamId::from_bytes(unit.header().stream_id().as_bytes().to_owned())
                        .to_string(),
                    key_frame_requested: true,
                    ..Default::default()
                };
                send.write_all(&message::encode(&feedback)).await.unwrap();
            }
            state.units.lock().unwrap().0.push(unit.into_wire());
            state.changed.notify_one();
        }
        match recv.read_chunk().await {
            Ok(Some(chunk)) => decoder.push(chunk),
            _ => return,
        }
    }
}

async fn send_all(send: &mut SendStream, state: &State) {
    let mut sent = 0;
    loop {
        let (next, is_all) = {
            let units = state.units.lock().unwrap();
            (units.0.get(sent).cloned(), units.1)
        };
        match next {
            Some(unit) => {
                send.write_all(&unit).await.unwrap();
                sent += 1;
            }
            None if is_all => return send.finish(),
            None => state.changed.notified().await,
        }
    }
}
