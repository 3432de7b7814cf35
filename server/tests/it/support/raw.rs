//! Clients that speak the protocol by hand, so that they can break it.

use bytes::Bytes;
use darktower_client::Error;
use darktower_client::signaling::{SignalEvents, SignalingClient};
use darktower_client::transport::{Connection, RecvStream, Role, SendStream, TransportKind, connect};
use darktower_protocol::limits::MAX_MESSAGE;
use darktower_protocol::message::MessageDecoder;
use darktower_protocol::signaling::pb;
use darktower_protocol::{
    Code, Features, Flags, FrameType, HeaderFields, MeetingId, ParticipantId, StreamId, Unit,
};
use pb::ErrorCode;
use pb::envelope::Message;
use pb::media_client_message::Message as ToHandler;
use prost::Message as _;
use reqwest::Method;
use serde_json::json;

use super::{TestServer, soon};

/// A signaling session that has joined.
pub(crate) struct RawSignaling {
    pub(crate) client: SignalingClient,
    pub(crate) events: SignalEvents,
    pub(crate) participant_id: ParticipantId,
    pub(crate) media: pb::MediaServerInfo,
    /// What to come back with.
    pub(crate) resume_ticket: Bytes,
}

impl RawSignaling {
    pub(crate) async fn join(
        server: &TestServer,
        meeting: MeetingId,
        name: &str,
        kind: TransportKind,
    ) -> Self {
        let grant = server.grant(meeting, name).await;
        Self::join_with_token(server, meeting, grant.join_token, kind).await.expect("joined")
    }

    pub(crate) async fn join_with_token(
        server: &TestServer,
        meeting: MeetingId,
        join_token: String,
        kind: TransportKind,
    ) -> Result<Self, Error> {
        let (client, events) =
            soon("connect", SignalingClient::connect(&server.signaling_url, kind, &server.trust)).await?;
        let request = pb::JoinRequest { meeting_id: meeting.to_string(), join_token, ..Default::default() };
        let response = soon("join", client.join(request)).await?;
        Ok(Self {
            client,
            events,
            participant_id: response.participant_id.parse().expect("a participant id"),
            media: response.media_server.expect("a media server"),
            resume_ticket: response.resume_ticket,
        })
    }

    /// Comes back with a ticket, having seen events up to this number.
    pub(crate) async fn resume(
        server: &TestServer,
        ticket: &Bytes,
        last_event_sequence: u64,
        kind: TransportKind,
    ) -> Result<(Self, pb::ResumeResponse), Error> {
        let connecting = SignalingClient::connect(&server.signaling_url, kind, &server.trust);
        let (client, events) = soon("connect", connecting).await?;
        let request = pb::ResumeRequest { resume_ticket: ticket.clone(), last_event_sequence };
        let response = soon("resume", client.resume(request)).await?;
        let participant_id = ticket[16..32].try_into().map(ParticipantId::from_bytes).expect("16 bytes");
        let media = response.media_server.clone().expect("a media server");
        let resume_ticket = response.resume_ticket.clone();
        Ok((Self { client, events, participant_id, media, resume_ticket }, response))
    }

    pub(crate) async fn publish(
        &self,
        stream_id: StreamId,
        metadata: pb::StreamMetadata,
    ) -> Result<(), Error> {
        let stream_type = match metadata.audio {
            Some(_) => pb::StreamType::Audio,
            None => pb::StreamType::VideoCamera,
        };
        let request = pb::PublishStream {
            stream_id: stream_id.to_string(),
            stream_type: stream_type.into(),
            metadata: Some(metadata),
        };
        self.client.command(Message::PublishStream(request)).await.map(drop)
    }

    pub(crate) async fn subscribe(&self, stream_id: StreamId) -> Result<(), Error> {
        let request = pb::SubscribeStream { stream_id: stream_id.to_string(), options: None };
        self.client.command(Message::SubscribeStream(request)).await.map(drop)
    }
}

impl RawSignaling {
    /// The code that a request is refused with.
    pub(crate) async fn refused(&self, request: Message) -> ErrorCode {
        match self.client.request(request).await {
            Err(Error::Refused { code, .. }) => code,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// A request that is carried out.
    pub(crate) async fn done(&self, request: Message) -> pb::Ack {
        self.client.command(request).await.expect("acknowledged")
    }

    /// Waits for an event that `find` likes; others before it are passed over.
    pub(crate) async fn event<T>(&mut self, what: &str, find: impl Fn(&Message) -> Option<T>) -> T {
        loop {
            let event = soon(what, self.events.next()).await.expect("the session is open");
            if let Some(found) = find(&event.message) {
                return found;
            }
        }
    }

    /// Waits for the end of the session.
    pub(crate) async fn end(&mut self) -> Error {
        while soon("the end", self.events.next()).await.is_some() {}
        self.client.ended()
    }

    /// As text.
    pub(crate) fn id(&self) -> String {
        self.participant_id.to_string()
    }
}

/// A join token for somebody with this preset.
pub(crate) async fn token(server: &TestServer, meeting: MeetingId, name: &str, preset: &str) -> String {
    let body = json!({"name": name, "preset": preset});
    let path = format!("/meetings/{meeting}/participants");
    let (status, body) = server.rest().call(Method::POST, &path, Some(body)).await;
    assert!(status.is_success(), "{body}");
    body["join_token"].as_str().expect("text").to_owned()
}

/// Somebody with this preset, who has joined.
pub(crate) async fn join(server: &TestServer, meeting: MeetingId, name: &str, preset: &str) -> RawSignaling {
    let token = token(server, meeting, name, preset).await;
    RawSignaling::join_with_token(server, meeting, token, TransportKind::Native).await.expect("joined")
}

/// A signaling session, byte by byte.
pub(crate) struct WireSignaling {
    pub(crate) connection: Connection,
    send: SendStream,
    recv: RecvStream,
    decoder: MessageDecoder,
}

impl WireSignaling {
    /// Opens the control stream and says nothing yet.
    pub(crate) async fn connect(server: &TestServer, kind: TransportKind) -> Self {
        let connecting = connect(&server.signaling_url, kind, &server.trust, Role::Signal);
        let connection = soon("connect", connecting).await.expect("connected");
        let (send, recv) = soon("open", connection.open_bi()).await.expect("a control stream");
        Self { connection, send, recv, decoder: MessageDecoder::new(MAX_MESSAGE) }
    }

    /// Asks to join. The first answer may be that it has to wait.
    pub(crate) async fn knock(&mut self, meeting: MeetingId, join_token: String) -> Option<Message> {
        let join = pb::JoinRequest { meeting_id: meeting.to_string(), join_token, ..Default::default() };
        self.ask(&envelope(1, Some(Message::JoinRequest(join)))).await
    }

    /// Somebody with this preset, who has joined.
    pub(crate) async fn join(
        server: &TestServer,
        meeting: MeetingId,
        kind: TransportKind,
        name: &str,
        preset: &str,
    ) -> Self {
        let mut session = Self::connect(server, kind).await;
        let answer = session.knock(meeting, token(server, meeting, name, preset).await).await;
        assert!(matches!(answer, Some(Message::JoinResponse(_))), "{answer:?}");
        session
    }

    /// Sends the bytes of a message with their length before them, and waits for the answer; events are passed over.
    pub(crate) async fn ask(&mut self, message: &[u8]) -> Option<Message> {
        // The server may close before everything is written.
        let _ = soon("write", self.send.write_all(&framed(message))).await;
        loop {
            if let Some(envelope) = self.decoder.next_message::<pb::Envelope>().expect("well formed") {
                if envelope.request_id != 0 || matches!(envelope.message, Some(Message::Error(_))) {
                    return envelope.message;
                }
                continue;
            }
            match soon("answer", self.recv.read_chunk()).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The refusal of a message, after which the session goes on.
    pub(crate) async fn refused(&mut self, message: &[u8]) -> ErrorCode {
        match self.ask(message).await {
            Some(Message::Error(error)) => error.code(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The code that a message ends the session with.
    pub(crate) async fn ended(mut self, message: &[u8]) -> Option<Code> {
        let answer = self.ask(message).await;
        assert!(matches!(answer, Some(Message::Error(_))), "{answer:?}");
        soon("close", self.connection.closed()).await.code()
    }
}

/// Bytes with their length before them, whatever they are.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 5);
    prost::encoding::encode_varint(message.len() as u64, &mut framed);
    framed.extend_from_slice(message);
    framed
}

/// The bytes of a request, without their length.
pub(crate) fn envelope(request_id: u64, message: Option<Message>) -> Vec<u8> {
    pb::Envelope { version: 1, request_id, event_sequence: 0, message }.encode_to_vec()
}

/// A media session after its hello.
pub(crate) struct RawMedia {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) control: MediaControlReader,
}

pub(crate) struct MediaControlReader {
    recv: RecvStream,
    decoder: MessageDecoder,
}

impl RawMedia {
    /// Opens the control stream and says nothing yet.
    pub(crate) async fn connect(
        server: &TestServer,
        media: &pb::MediaServerInfo,
        kind: TransportKind,
    ) -> Self {
        let connecting = connect(&media.media_handler_url, kind, &server.trust, Role::Media);
        let connection = soon("connect", connecting).await.expect("a media connection");
        let (send, recv) = soon("open", connection.open_bi()).await.expect("a control stream");
        let control = MediaControlReader { recv, decoder: MessageDecoder::new(MAX_MESSAGE) };
        Self { connection, send, control }
    }

    pub(crate) async fn hello(&mut self, token: &str, features: Features) {
        let hello = pb::MediaHello {
            connection_token: token.to_owned(),
            protocol_min: 1,
            protocol_max: 1,
            features: features.names(),
        };
        self.send(ToHandler::Hello(hello)).await;
    }

    pub(crate) async fn send(&mut self, message: ToHandler) {
        let message = pb::MediaClientMessage { message: Some(message) };
        self.send_bytes(&message.encode_to_vec()).await;
    }

    /// The bytes of a message, with their length before them.
    pub(crate) async fn send_bytes(&mut self, message: &[u8]) {
        self.send.write_all(&framed(message)).await.expect("control stream");
    }

    /// A session that has been welcomed.
    pub(crate) async fn open(
        server: &TestServer,
        media: &pb::MediaServerInfo,
        kind: TransportKind,
        features: Features,
    ) -> Self {
        let opened = Self::try_open(server, media, kind, features).await;
        opened.unwrap_or_else(|told| panic!("expected a welcome, got {told:?}"))
    }

    /// As [`open`](Self::open); with what the server said instead of a welcome, and the code it closed with.
    pub(crate) async fn try_open(
        server: &TestServer,
        media: &pb::MediaServerInfo,
        kind: TransportKind,
        features: Features,
    ) -> Result<Self, (Option<pb::ErrorMessage>, Option<Code>)> {
        let mut session = Self::connect(server, media, kind).await;
        session.hello(&media.connection_token, features).await;
        let told = match session.control.next().await.and_then(|message| message.message) {
            Some(pb::media_server_message::Message::Welcome(_)) => return Ok(session),
            Some(pb::media_server_message::Message::Error(error)) => Some(error),
            _ => None,
        };
        Err((told, soon("close", session.connection.closed()).await.code()))
    }

    /// The error the server sends before it closes, and the code it closes with.
    pub(crate) async fn refusal(&mut self) -> (Option<pb::ErrorMessage>, Option<Code>) {
        let mut told = None;
        while let Some(message) = self.control.next().await {
            if let Some(pb::media_server_message::Message::Error(error)) = message.message {
                told = Some(error);
            }
        }
        let code = soon("close", self.connection.closed()).await.code();
        (told, code)
    }

    /// A unidirectional stream with these bytes, left open.
    pub(crate) async fn uni(&self, bytes: &[u8]) -> SendStream {
        let mut send = soon("open", self.connection.open_uni()).await.expect("a stream");
        send.write_all(bytes).await.expect("written");
        send
    }

    /// A bidirectional stream with these bytes, left open.
    pub(crate) async fn bi(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = soon("open", self.connection.open_bi()).await.expect("a stream");
        send.write_all(bytes).await.expect("written");
        (send, recv)
    }
}

impl MediaControlReader {
    pub(crate) async fn next(&mut self) -> Option<pb::MediaServerMessage> {
        loop {
            if let Some(message) = self.decoder.next_message().expect("the server's messages are well formed")
            {
                return Some(message);
            }
            match soon("control stream", self.recv.read_chunk()).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

pub(crate) fn video_metadata() -> pb::StreamMetadata {
    pb::StreamMetadata {
        codec: "VP8".to_owned(),
        video: Some(pb::VideoMetadata { width: 640, height: 360, framerate: 30, ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) fn audio_metadata() -> pb::StreamMetadata {
    pb::StreamMetadata {
        codec: "Opus".to_owned(),
        audio: Some(pb::AudioMetadata { sample_rate: 48_000, channels: 1 }),
        ..Default::default()
    }
}

/// A whole frame in one unit.
pub(crate) fn unit(stream_id: StreamId, frame_type: FrameType, sequence: u64, payload: usize) -> Bytes {
    let fields = HeaderFields {
        frame_type,
        stream_id,
        timestamp: 1_000_000 + sequence,
        sequence,
        flags: Flags::END_OF_FRAME,
    };
    Unit::new(&fields, vec![sequence as u8; payload].into()).into_wire()
}
