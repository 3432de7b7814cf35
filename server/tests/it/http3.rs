//! HTTP/3 by hand: what honest clients do not send, clients that die, and a server that stops in the middle.

use std::future::Future as _;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use h3::error::Code;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{ApiServer, Ask, Protocol, finish, soon};

/// The stream type of a control stream, and an empty SETTINGS frame (RFC 9114 sections 6.2.1 and 7.2.4).
const CONTROL: [u8; 3] = [0, 4, 0];
const HEADERS: u8 = 1;

fn create() -> Ask {
    Ask::post("/api/v1/meetings", &json!({"display_name": "Three"}))
}

/// A frame's type and length.
fn frame_head(frame_type: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![frame_type];
    bytes.extend((len | 0xc0 << 56).to_be_bytes());
    bytes
}

/// A field section for `GET /`, with a line `x: …` of so many bytes (RFC 9204, static table and literals only).
fn field_section(extra: usize) -> Vec<u8> {
    // No dynamic table; `:method: GET`, `:scheme: https`, `:path: /`, and `:authority` by name.
    let mut bytes = vec![0, 0, 0xc0 | 17, 0xc0 | 23, 0xc0 | 1, 0x50, 9];
    bytes.extend(b"localhost");
    if extra > 0 {
        // A literal name of one byte, and a value whose length takes more than seven bits.
        bytes.extend([0x21, b'x', 0x7f]);
        let mut rest = extra - 127;
        while rest >= 128 {
            bytes.push(0x80 | (rest % 128) as u8);
            rest /= 128;
        }
        bytes.push(rest as u8);
        bytes.resize(bytes.len() + extra, b'a');
    }
    bytes
}

/// A connection on which the client's control stream is there.
struct Raw {
    quic: quinn::Connection,
    _endpoint: quinn::Endpoint,
    _control: quinn::SendStream,
}

impl Raw {
    async fn connect(server: &ApiServer) -> Self {
        let (endpoint, quic) = server.quic().await;
        let mut control = soon("open", quic.open_uni()).await.expect("a stream");
        control.write_all(&CONTROL).await.expect("written");
        Self { quic, _endpoint: endpoint, _control: control }
    }

    async fn request(&self, bytes: &[u8]) -> (quinn::SendStream, quinn::RecvStream) {
        let (mut send, recv) = soon("open", self.quic.open_bi()).await.expect("a stream");
        let _stopped = soon("write", send.write_all(bytes)).await;
        (send, recv)
    }

    /// The code that the server closes the connection with.
    async fn closed(&self) -> u64 {
        match soon("close", self.quic.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }
}

/// Bytes of the answer, or the code of its reset (the largest number if the connection is gone).
async fn answer(mut recv: quinn::RecvStream) -> Result<Vec<u8>, u64> {
    match soon("answer", recv.read_to_end(1 << 20)).await {
        Ok(bytes) => Ok(bytes),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Err(code.into_inner()),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(_))) => Err(u64::MAX),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn http3_is_found_through_the_answers_of_https() {
    let server = ApiServer::development().await;
    let told = server.ask(Protocol::Http1, Ask::get("/")).await;
    let told = told.header("alt-svc").strip_prefix("h3=\":").and_then(|rest| rest.split_once('"'));
    let port: u16 = told.expect("an address").0.parse().expect("a port");
    assert_eq!(Some(port), server.http3.map(|address| address.port()));
    let mut client = server.http3().await;
    // Many on one connection, each with its own answer.
    for _ in 0..100 {
        assert_eq!(client.ask(&create()).await.status, 201);
    }
}

#[tokio::test]
async fn frames_are_refused_by_their_length_before_they_are_buffered() {
    let server = ApiServer::development().await;
    let raw = Raw::connect(&server).await;
    // By its head alone, and the connection goes on.
    for frame_type in [HEADERS, 0x21] {
        let (mut send, recv) = raw.request(&frame_head(frame_type, 1 << 40)).await;
        assert_eq!(answer(recv).await, Err(Code::H3_REQUEST_INCOMPLETE.value()), "{frame_type}");
        let stopped = soon("stop", send.stopped()).await.expect("connected").map(quinn::VarInt::into_inner);
        assert_eq!(stopped, Some(Code::H3_EXCESSIVE_LOAD.value()));
        let _closed = send.reset(0u32.into());
    }
    assert_eq!(server.http3().await.ask(&create()).await.status, 201);

    // SETTINGS of a gigabyte.
    let (_endpoint, quic) = server.quic().await;
    let mut control = soon("open", quic.open_uni()).await.expect("a stream");
    let mut bytes = vec![0];
    bytes.extend(frame_head(4, 1 << 30));
    control.write_all(&bytes).await.expect("written");
    let stopped = soon("stop", control.stopped()).await.expect("connected").map(quinn::VarInt::into_inner);
    assert_eq!(stopped, Some(Code::H3_EXCESSIVE_LOAD.value()));
}

#[tokio::test]
async fn header_bombs_are_answered_with_431() {
    let server = ApiServer::development().await;
    let raw = Raw::connect(&server).await;
    let ask = async |extra: usize| {
        let section = field_section(extra);
        let mut request = frame_head(HEADERS, section.len() as u64);
        request.extend(&section);
        let (mut send, recv) = raw.request(&request).await;
        let _stopped = send.finish();
        answer(recv).await
    };
    // What h3 says by itself has no headers of ours and no body. (To look for "431" in it will not do: an answer's request
    // id may have these digits.)
    assert!(ask(12 << 10).await.is_ok_and(|bytes| bytes.len() > 256));
    let refused = ask(20 << 10).await.expect("an answer");
    assert!(refused.len() < 64 && !refused.is_empty(), "{refused:?}");
    assert_eq!(ask(40 << 10).await, Err(Code::H3_REQUEST_INCOMPLETE.value()));
    assert!(ask(0).await.is_ok_and(|bytes| bytes.len() > 256), "the connection goes on");
}

#[tokio::test]
async fn a_client_has_64_requests_at_a_time() {
    let server = ApiServer::development().await;
    let raw = Raw::connect(&server).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(raw.request(&[HEADERS]).await);
    }
    let mut next = pin!(raw.quic.open_bi());
    let waits = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "a 65th request");
    // Room is announced when there is some for more than a few.
    for (mut send, _recv) in open.drain(..16) {
        let _closed = send.reset(0u32.into());
    }
    soon("room for another", next).await.expect("a stream");
}

#[tokio::test]
async fn requests_taken_back_over_and_over_end_the_connection() {
    let server = ApiServer::development().await;
    let raw = Raw::connect(&server).await;
    for _ in 0..1000 {
        let Ok((mut send, _recv)) = soon("open", raw.quic.open_bi()).await else { break };
        if send.write_all(&[HEADERS]).await.is_err() || send.reset(0u32.into()).is_err() {
            break;
        }
    }
    assert_eq!(raw.closed().await, Code::H3_EXCESSIVE_LOAD.value());
    assert_eq!(server.http3().await.ask(&create()).await.status, 201, "others do not notice");
}

#[tokio::test]
async fn clients_that_keep_the_server_waiting_are_given_up() {
    let server = ApiServer::development().await;
    let raw = Raw::connect(&server).await;
    // Half a head over HTTP/3, half a body, and a connection of HTTP/1 that says nothing more.
    let half_head = async {
        let (_send, recv) = raw.request(&[HEADERS, 0x20]).await;
        answer(recv).await
    };
    let half_body = async {
        let mut client = server.http3().await;
        let mut stream = client.begin(&create()).await;
        soon("half a body", stream.send_data(Bytes::from_static(b"{"))).await.expect("sent");
        finish(&mut stream).await
    };
    let idle = async {
        let mut socket = soon("connect", TcpStream::connect(server.http)).await.expect("connected");
        let request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
        soon("request", socket.write_all(request)).await.expect("sent");
        let mut answer = String::new();
        soon("the end", socket.read_to_string(&mut answer)).await.expect("closed");
        answer
    };
    let (half_head, half_body, idle) = tokio::join!(half_head, half_body, idle);
    assert_eq!(half_head, Err(Code::H3_REQUEST_INCOMPLETE.value()));
    half_body.assert_error(408, "REQUEST_TIMEOUT");
    assert!(idle.starts_with("HTTP/1.1 200 OK"), "{idle}");
}

#[tokio::test]
async fn a_client_that_dies_in_the_middle_is_nobody_elses_business() {
    let server = ApiServer::development().await;
    let mut other = server.http3().await;
    for code in [0u32, 0x102] {
        let mut client = server.http3().await;
        let mut stream = client.begin(&create()).await;
        soon("half a body", stream.send_data(Bytes::from_static(b"{\"display_name\":"))).await.expect("sent");
        client.quic.close(code.into(), b"gone");
        assert_eq!(other.ask(&create()).await.status, 201);
    }
    // Its socket is gone, and nothing tells the server.
    let client = server.http3().await;
    drop(client);
    assert_eq!(other.ask(&create()).await.status, 201);
    assert_eq!(server.http3().await.ask(&create()).await.status, 201);
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_only() {
    let server = ApiServer::development().await;
    let mut other = server.http3().await;
    for garbage in [&[0, 1, 0][..], &[HEADERS, 3, 0xff, 0xff, 0xff], &[0x05, 0], &[HEADERS, 2, 0, 0x80]] {
        let raw = Raw::connect(&server).await;
        let (mut send, recv) = raw.request(garbage).await;
        let _stopped = send.finish();
        let ended = async {
            tokio::select! {
                _ = raw.quic.closed() => {}
                _ = answer(recv) => {}
            }
        };
        soon("an end", ended).await;
    }
    assert_eq!(other.ask(&create()).await.status, 201);
}

#[tokio::test]
async fn a_stopping_server_finishes_what_has_begun_and_takes_nothing_new() {
    let server = ApiServer::development().await;
    let mut client = server.http3().await;
    let ask = create();
    // The server knows of the first when it has answered the second.
    let mut stream = client.begin(&ask).await;
    soon("half a body", stream.send_data(Bytes::from_static(b"{\"display_name\":"))).await.expect("sent");
    assert_eq!(client.ask(&ask).await.status, 201);

    server.begin_stop();
    // New connections are refused when it has heard of it.
    let refused = async {
        loop {
            let (endpoint, to) =
                (quinn::Endpoint::client(([127, 0, 0, 1], 0).into()), server.http3.expect("on"));
            let trust = darktower_client::Trust::PinnedSha256(Vec::new());
            let config =
                darktower_client::transport::quic_client_config(&trust, b"h3").expect("a configuration");
            let connecting =
                endpoint.expect("a socket").connect_with(config, to, "localhost").expect("connecting").await;
            if matches!(connecting, Err(quinn::ConnectionError::ConnectionClosed(close)) if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED)
            {
                return;
            }
        }
    };
    soon("a refusal", refused).await;
    soon("the rest", stream.send_data(Bytes::from_static(b"\"Late\"}"))).await.expect("sent");
    soon("the end", stream.finish()).await.expect("finished");
    let answer = finish(&mut stream).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let reason = soon("the end of the connection", client.quic.closed()).await;
    assert!(
        matches!(&reason, quinn::ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == Code::H3_NO_ERROR.value()),
        "{reason}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_requests_taken_back_over_and_over_end_the_connection() {
    let server = ApiServer::development().await;
    let socket = soon("connect", TcpStream::connect(server.http)).await.expect("connected");
    let (mut requests, connection) = soon("HTTP/2", h2::client::handshake(socket)).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let flood = async {
        loop {
            let request =
                axum::http::Request::post("http://localhost/api/v1/meetings").body(()).expect("a request");
            let Ok(mut ready) = requests.ready().await else { return };
            let Ok((_answer, mut body)) = ready.send_request(request, false) else { return };
            body.send_reset(h2::Reason::CANCEL);
            requests = ready;
        }
    };
    soon("the flood", flood).await;
    let ended = soon("the end", driver).await.expect("no panic").expect_err("an error");
    // Or the client still wrote when the server had said so and closed.
    assert!(ended.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) || ended.is_io(), "{ended}");
    assert_eq!(server.ask(Protocol::Http2, create()).await.status, 201, "others do not notice");
}
