//! A WebTransport client written by hand on raw QUIC: what libraries send in one piece comes in
//! single bytes here, and what they always send does not come.

use darktower_client::Error;
use darktower_client::transport::{Role, TransportKind, connect};
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::signaling::pb;
use darktower_protocol::version::ALPN_WEBTRANSPORT;
use darktower_protocol::{Code, Features, FrameType, StreamId};
use darktower_server::config::AllowedOrigins;
use pb::envelope::Message;
use reqwest::Url;
use web_transport_proto::http::{HeaderValue, StatusCode, header};
use web_transport_proto::{
    Capsule, ConnectError, ConnectRequest, ConnectResponse, Http3CapsuleReader, Settings,
};

use crate::support::{RawSignaling, TestServer, quic, soon, unit, video_metadata};

/// Headers of the session's streams: its id is that of the client's first stream, 0.
const BI_HEADER: [u8; 3] = [0x40, 0x41, 0];
const UNI_HEADER: [u8; 3] = [0x40, 0x54, 0];

/// A QUIC connection that speaks HTTP/3 as far as a test makes it.
struct Http3 {
    quic: quinn::Connection,
    control: quinn::SendStream,
    /// Whatever else must not be closed while the test runs.
    open: Vec<quinn::SendStream>,
}

impl Http3 {
    async fn connect(server: &TestServer, url: &str, order: Order) -> Self {
        let (_, quic) = quic(url, &server.trust, ALPN_WEBTRANSPORT).await;
        let mut open = Vec::new();
        if order == Order::QpackFirst {
            for stream_type in [2, 3] {
                open.push(uni(&quic, &[stream_type]).await);
            }
        }
        let control = quic.open_uni().await.expect("a control stream");
        Self { quic, control, open }
    }

    /// A session at `url`, or the status of the refusal.
    async fn session(&mut self, request: ConnectRequest) -> Result<WebStream, StatusCode> {
        self.control.write_all(&settings()).await.expect("settings");
        let (mut send, mut recv) = self.quic.open_bi().await.expect("a stream");
        request.write(&mut send).await.expect("a request");
        status(&mut recv).await?;
        Ok((send, recv))
    }

    async fn bi(&self, bytes: &[u8]) -> WebStream {
        let (mut send, recv) = soon("open", self.quic.open_bi()).await.expect("a stream");
        send.write_all(bytes).await.expect("written");
        (send, recv)
    }
}

type WebStream = (quinn::SendStream, quinn::RecvStream);

/// Which of the client's unidirectional streams has the lowest number.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    ControlFirst,
    QpackFirst,
}

/// Writes one byte and waits until a packet has taken it.
async fn write_byte(quic: &quinn::Connection, send: &mut quinn::SendStream, byte: u8) {
    let sent = || quic.stats().frame_tx.stream;
    let before = sent();
    send.write_all(&[byte]).await.expect("written");
    let left = async {
        while sent() == before {
            tokio::task::yield_now().await;
        }
    };
    soon("a packet", left).await;
}

async fn uni(quic: &quinn::Connection, bytes: &[u8]) -> quinn::SendStream {
    let mut send = soon("open", quic.open_uni()).await.expect("a stream");
    send.write_all(bytes).await.expect("written");
    send
}

fn settings() -> Vec<u8> {
    let mut settings = Settings::default();
    settings.enable_webtransport(1);
    let mut bytes = Vec::new();
    settings.encode(&mut bytes);
    bytes
}

fn request(url: &str) -> ConnectRequest {
    ConnectRequest::new(url.parse::<Url>().expect("a URL"))
}

async fn status(recv: &mut quinn::RecvStream) -> Result<(), StatusCode> {
    match soon("answer", ConnectResponse::read(recv)).await {
        Ok(_) => Ok(()),
        Err(ConnectError::WrongStatus(Some(status))) => Err(status),
        Err(error) => panic!("no answer: {error}"),
    }
}

/// The server's answer to the first message on a control stream of signaling.
async fn envelope(recv: &mut quinn::RecvStream) -> pb::Envelope {
    let mut decoder = MessageDecoder::new(1 << 20);
    loop {
        if let Some(envelope) = decoder.next_message().expect("well formed") {
            return envelope;
        }
        let chunk = soon("answer", recv.read_chunk(usize::MAX, true)).await.expect("read").expect("more");
        decoder.push(&chunk.bytes);
    }
}

fn join_without_token() -> Vec<u8> {
    let message = Some(Message::JoinRequest(pb::JoinRequest::default()));
    let request = pb::Envelope { version: 1, request_id: 7, message, ..Default::default() };
    message::encode(&request).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn webtransport_handshakes_in_single_bytes_give_sessions() {
    let server = TestServer::start().await;
    let mut connect = Vec::new();
    request(&server.signaling_url).encode(&mut connect).expect("a request");
    let settings = settings();
    for round in 0..24 {
        let order = if round % 2 == 0 { Order::ControlFirst } else { Order::QpackFirst };
        // Either one after the other, in both orders, or in turn.
        let (ahead, behind) = ([settings.len(), 0, 0][round % 3], [0, connect.len(), 0][round % 3]);
        let Http3 { quic, mut control, mut open } =
            Http3::connect(&server, &server.signaling_url, order).await;
        let (mut send, mut recv) = quic.open_bi().await.expect("a stream");
        for step in 0..settings.len() + connect.len() {
            let settings_at = step.checked_sub(behind);
            if let Some(byte) = settings_at.and_then(|at| settings.get(at)) {
                write_byte(&quic, &mut control, *byte).await;
            }
            if let Some(byte) = step.checked_sub(ahead).and_then(|at| connect.get(at)) {
                write_byte(&quic, &mut send, *byte).await;
            }
            // Other streams complete, or not, while those two are half there.
            if step % 16 == round % 16 {
                open.push(uni(&quic, &[0x40, 0x21]).await);
                open.push(uni(&quic, &UNI_HEADER[..step % 4]).await);
            }
        }
        assert_eq!(status(&mut recv).await, Ok(()), "round {round}");

        let (mut send, mut recv) = quic.open_bi().await.expect("a stream");
        for byte in BI_HEADER.into_iter().chain(join_without_token()) {
            write_byte(&quic, &mut send, byte).await;
        }
        let answer = envelope(&mut recv).await;
        assert!(matches!(answer.message, Some(Message::Error(_))), "round {round}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webtransport_streams_without_a_header_delay_no_others() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let signaling = RawSignaling::join(&server, meeting, "Mallory", TransportKind::WebTransport).await;
    let stream_id = StreamId::generate();
    signaling.publish(stream_id, video_metadata()).await.expect("publish");

    let url = &signaling.media.media_handler_url;
    let mut client = Http3::connect(&server, url, Order::ControlFirst).await;
    let _session = client.session(request(url)).await.expect("a session");
    let hello = pb::MediaHello {
        connection_token: signaling.media.connection_token.clone(),
        protocol_min: 1,
        protocol_max: 1,
        features: Features::GROUPS.names(),
    };
    let hello = pb::MediaClientMessage { message: Some(pb::media_client_message::Message::Hello(hello)) };
    let mut stalled = Vec::new();
    for part in [&BI_HEADER[..1], &BI_HEADER[..2]] {
        stalled.push(client.bi(part).await);
    }
    let (_control, mut answers) = client.bi(&[&BI_HEADER[..], &message::encode(&hello)].concat()).await;
    let welcome = soon("welcome", answers.read_chunk(usize::MAX, true)).await.expect("read");
    assert!(welcome.is_some());

    for round in 0..10 {
        stalled.push(client.bi(&BI_HEADER[..1 + round % 2]).await);
        client.open.push(uni(&client.quic, &UNI_HEADER[..1 + round % 2]).await);
        // Both are taken up at once: their first byte is no version of units or groups.
        let mut bad = unit(stream_id, FrameType::VideoKey, 0, 100).to_vec();
        bad[0] = 2;
        let (_send, mut recv) = client.bi(&[&BI_HEADER[..], &bad].concat()).await;
        let reset = soon("reset", recv.read_chunk(usize::MAX, true)).await;
        let Err(quinn::ReadError::Reset(code)) = reset else { panic!("{reset:?}") };
        assert_eq!(code.into_inner(), Code::UNSUPPORTED_VERSION.to_webtransport());
        let group = uni(&client.quic, &[&UNI_HEADER[..], &[0xff; 100]].concat()).await;
        let stopped = soon("stop", group.stopped()).await.expect("the connection lives");
        let code = stopped.expect("the stream must be stopped").into_inner();
        assert_eq!(Code::from_webtransport(code).to_webtransport(), code, "mapped exactly once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webtransport_requests_are_answered_by_path_and_origin() {
    let server = TestServer::start().await;
    let answer = async |url: &str, origin: Option<&str>| {
        let mut client = Http3::connect(&server, url, Order::ControlFirst).await;
        let mut request = request(url);
        if let Some(origin) = origin {
            request = request.with_header(header::ORIGIN, HeaderValue::from_str(origin).expect("text"));
        }
        client.session(request).await.map(drop)
    };
    let url = &server.signaling_url;
    assert_eq!(answer(url, None).await, Ok(()));
    assert_eq!(answer(&format!("{url}?query"), None).await, Ok(()));
    assert_eq!(answer(&url.replace("/v1/", "/v2/"), None).await, Err(StatusCode::NOT_FOUND));
    assert_eq!(answer(&format!("{url}/more"), None).await, Err(StatusCode::NOT_FOUND));
    assert_eq!(answer(url, Some("https://elsewhere.example")).await, Err(StatusCode::FORBIDDEN));
    assert_eq!(answer(url, Some("null")).await, Err(StatusCode::FORBIDDEN));
    // In development all pages of this machine may; the app's own is one of them.
    let quic = url.trim_end_matches("/v1/signal");
    for own in [server.rest().origin(), quic, "http://localhost:5173"] {
        assert_eq!(answer(url, Some(own)).await, Ok(()), "{own}");
        assert_eq!(answer(&url.replace("/signal", "/media"), Some(own)).await, Ok(()), "{own}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webtransport_sessions_are_for_our_own_pages_where_no_others_are_allowed() {
    let server = TestServer::start_with(|config| config.allowed_origins = AllowedOrigins::default()).await;
    let answer = async |path: &str, origin: &str| {
        let url = server.signaling_url.replace("/v1/signal", path);
        let mut client = Http3::connect(&server, &url, Order::ControlFirst).await;
        let origin = HeaderValue::from_str(origin).expect("text");
        client.session(request(&url).with_header(header::ORIGIN, origin)).await.map(drop)
    };
    let own = server.rest().origin().to_owned();
    for path in ["/v1/signal", "/v1/media"] {
        assert_eq!(answer(path, &own).await, Ok(()), "{path}");
        for foreign in
            ["http://localhost:5173", "http://127.0.0.1", &format!("{own}0"), &format!("{own}.example.org")]
        {
            assert_eq!(answer(path, foreign).await, Err(StatusCode::FORBIDDEN), "{path} {foreign}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webtransport_sessions_end_with_their_connect_stream() {
    let server = TestServer::start().await;
    for end in [0, 1, 2] {
        let mut client = Http3::connect(&server, &server.signaling_url, Order::ControlFirst).await;
        let (mut send, _recv) = client.session(request(&server.signaling_url)).await.expect("a session");
        match end {
            0 => send.finish().expect("open"),
            1 => send.reset(0x10c_u32.into()).expect("open"),
            // A capsule in a DATA frame: the session is closed with code 0.
            _ => send.write_all(&[0, 7, 0x68, 0x43, 4, 0, 0, 0, 0]).await.expect("open"),
        }
        let closed = soon("close", client.quic.closed()).await;
        assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{end}: {closed}");
    }
}

/// The capsule that ends a session. What comes after it waits for an answer.
async fn closing_capsule(connect: quinn::RecvStream) -> (Code, String) {
    let mut capsules = Http3CapsuleReader::new(connect);
    let capsule = soon("capsule", capsules.read()).await.expect("well formed");
    let Some(Capsule::CloseWebTransportSession { code, reason }) = capsule else { panic!("{capsule:?}") };
    (Code::from_quic(code.into()), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn webtransport_clients_hear_by_a_capsule_why_their_session_ends() {
    let server = TestServer::start().await;
    let url = server.signaling_url.clone();
    let mut refused = Http3::connect(&server, &url, Order::ControlFirst).await;
    let (_connect, recv) = refused.session(request(&url)).await.expect("a session");
    let _control = refused.bi(&[&BI_HEADER[..], &join_without_token()].concat()).await;
    let (code, reason) = closing_capsule(recv).await;
    assert_ne!(code, Code::NO_ERROR);
    assert_ne!(reason, "");

    // The same to the SDK.
    let kind = TransportKind::WebTransport;
    let connecting = connect(&url, kind, &server.trust, Role::Signal);
    let connection = soon("connect", connecting).await.expect("a connection");
    let (mut send, _recv) = soon("open", connection.open_bi()).await.expect("a stream");
    send.write_all(&join_without_token()).await.expect("written");
    match soon("close", connection.closed()).await {
        Error::Closed { code: told, reason: why } => assert_eq!((told, why), (code, reason)),
        other => panic!("{other}"),
    }

    let mut idle = Http3::connect(&server, &url, Order::ControlFirst).await;
    let (_connect, recv) = idle.session(request(&url)).await.expect("a session");
    let (_, (code, _)) = tokio::join!(server.stop(), closing_capsule(recv));
    assert_eq!(code, Code::GOING_AWAY);
}
