//! WebTransport over HTTP/3, one session per connection: SETTINGS, the CONNECT request, and the
//! headers of the streams after it (RFC 9114, RFC 9220, draft-ietf-webtrans-http3).
//!
//! A header comes in pieces if packets do. Each is read by a future of its own that is kept until
//! it is done: nothing is lost when a caller stops waiting, and a stream whose header never comes
//! delays no other. There are at most as many as the transport lets the peer have streams open.
//!
//! The server has its half in a file of the same name: neither crate can import the other.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use darktower_protocol::varint;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::{ConnectionError, VarInt, WriteError};
use reqwest::Url;
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use web_transport_proto::http::StatusCode;
use web_transport_proto::{
    Capsule, ConnectError, ConnectRequest, ConnectResponse, Frame, Http3CapsuleReader, Settings,
    SettingsError, StreamUni,
};

/// A session's id is the number of the stream with its CONNECT request, which is the first that
/// this side opens.
const SESSION_ID: u64 = 0;

/// What every datagram of the session starts with: a quarter of the session's id (RFC 9297
/// section 2.1).
pub(super) const DATAGRAM_PREFIX: &[u8] = &[0];

/// What every unidirectional stream of the session starts with: the type 0x54 and the session's
/// id, as QUIC numbers (draft-ietf-webtrans-http3 section 4.2).
const UNI_PREFIX: &[u8] = &[0x40, 0x54, 0];

/// What every bidirectional stream of the session starts with: the signal value 0x41 and the
/// session's id (section 4.3).
const BI_PREFIX: &[u8] = &[0x40, 0x41, 0];

// RFC 9114 section 8.1.
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);
const H3_STREAM_CREATION_ERROR: VarInt = VarInt::from_u32(0x103);
const H3_ID_ERROR: VarInt = VarInt::from_u32(0x108);

/// Why the server gave no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("HTTP/3 settings: {0}")]
    Settings(#[from] SettingsError),
    #[error("CONNECT request: {0}")]
    Connect(#[from] ConnectError),
    #[error("the server does not speak WebTransport")]
    NotOffered,
    #[error("the server answered the CONNECT request with {0}")]
    Refused(StatusCode),
}

/// An established session. Its methods are cancel-safe.
#[derive(Debug)]
pub(super) struct WebSession {
    quic: quinn::Connection,
    /// Held while waiting, as a queue of those who accept: quinn's own `accept` calls have one too.
    bi: Mutex<FuturesUnordered<BoxFuture<'static, Option<BiStream>>>>,
    uni: Mutex<UniStreams>,
    // Whoever ends one of these ends the session.
    _connect: quinn::SendStream,
    _control: quinn::SendStream,
    _watch: AbortOnDropHandle<()>,
}

type BiStream = (quinn::SendStream, quinn::RecvStream);

impl WebSession {
    /// Exchanges settings and asks for a session, on a new connection with the ALPN of HTTP/3.
    pub(super) async fn connect(quic: quinn::Connection, url: Url) -> Result<Self, HandshakeError> {
        let mut uni = UniStreams::default();
        let (control, settings) = tokio::try_join!(open_control(&quic), uni.settings(&quic))?;
        if settings.supports_webtransport() == 0 {
            return Err(HandshakeError::NotOffered);
        }
        let (mut send, mut recv) = quic.open_bi().await?;
        ConnectRequest::new(url).write(&mut send).await?;
        match ConnectResponse::read(&mut recv).await {
            Ok(_) => {}
            Err(ConnectError::WrongStatus(Some(status))) => return Err(HandshakeError::Refused(status)),
            Err(error) => return Err(error.into()),
        }
        let watch = tokio::spawn(close_with_session(quic.clone(), recv));
        Ok(Self {
            quic,
            bi: Mutex::default(),
            uni: Mutex::new(uni),
            _connect: send,
            _control: control,
            _watch: AbortOnDropHandle::new(watch),
        })
    }

    /// A new bidirectional stream of the session. Dropped early, it leaves an empty stream at most.
    pub(super) async fn open_bi(&self) -> Result<BiStream, ConnectionError> {
        let (mut send, recv) = self.quic.open_bi().await?;
        write_header(&mut send, BI_PREFIX).await?;
        Ok((send, recv))
    }

    /// A new unidirectional stream of the session. Dropped early, it leaves an empty stream at most.
    pub(super) async fn open_uni(&self) -> Result<quinn::SendStream, ConnectionError> {
        let mut send = self.quic.open_uni().await?;
        write_header(&mut send, UNI_PREFIX).await?;
        Ok(send)
    }

    /// The next bidirectional stream of the session, after its header.
    pub(super) async fn accept_bi(&self) -> Result<BiStream, ConnectionError> {
        let mut headers = self.bi.lock().await;
        loop {
            tokio::select! {
                biased;
                Some(read) = headers.next() => if let Some(stream) = read {
                    return Ok(stream);
                },
                accepted = self.quic.accept_bi() => {
                    let (send, recv) = accepted?;
                    headers.push(Box::pin(read_bi_header(send, recv)));
                }
            }
        }
    }

    /// The next unidirectional stream of the session, after its header.
    pub(super) async fn accept_uni(&self) -> Result<quinn::RecvStream, ConnectionError> {
        let mut uni = self.uni.lock().await;
        loop {
            if let Some(stream) = uni.early.pop_front() {
                return Ok(stream);
            }
            let stream = uni.next(&self.quic).await?;
            uni.sort(stream);
        }
    }

    /// The payload of the next datagram of the session.
    pub(super) async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        loop {
            let mut datagram = self.quic.read_datagram().await?;
            if let Some((id, payload)) = varint::decode(&datagram)
                && id == SESSION_ID / 4
            {
                datagram.advance(datagram.len() - payload.len());
                return Ok(datagram);
            }
        }
    }
}

async fn open_control(quic: &quinn::Connection) -> Result<quinn::SendStream, HandshakeError> {
    let mut control = quic.open_uni().await?;
    let mut settings = Settings::default();
    settings.enable_webtransport(1);
    settings.write(&mut control).await?;
    Ok(control)
}

/// The session is over when its CONNECT stream is, or says so.
async fn close_with_session(quic: quinn::Connection, connect: quinn::RecvStream) {
    let mut capsules = Http3CapsuleReader::new(connect);
    while let Ok(Some(Capsule::Grease { .. } | Capsule::Unknown { .. })) = capsules.read().await {}
    // Closing again would hide why the connection was lost.
    if quic.close_reason().is_none() {
        quic.close(H3_NO_ERROR, b"");
    }
}

async fn write_header(send: &mut quinn::SendStream, header: &[u8]) -> Result<(), ConnectionError> {
    match send.write_all(header).await {
        Err(WriteError::ConnectionLost(error)) => Err(error),
        // A stream that the server stops this early says so when it is written to.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The unidirectional streams of the server.
#[derive(Debug, Default)]
struct UniStreams {
    headers: FuturesUnordered<BoxFuture<'static, Option<UniStream>>>,
    /// Streams of the session that nobody has accepted yet.
    early: VecDeque<quinn::RecvStream>,
    /// Control and QPACK streams: they must not be closed, and nothing in them concerns a single
    /// session without a dynamic table. A server that fills them waits for flow control.
    kept: Vec<quinn::RecvStream>,
}

/// A stream whose header has been read.
enum UniStream {
    Control(quinn::RecvStream),
    Qpack(quinn::RecvStream),
    Session(quinn::RecvStream),
}

impl UniStreams {
    /// The server's settings, whichever of its streams are the first to come.
    async fn settings(&mut self, quic: &quinn::Connection) -> Result<Settings, HandshakeError> {
        loop {
            match self.next(quic).await? {
                UniStream::Control(mut recv) => {
                    // The parser wants the stream's type as well.
                    let stream_type = [StreamUni::CONTROL.0.into_inner() as u8];
                    let mut whole = AsyncReadExt::chain(stream_type.as_slice(), &mut recv);
                    let settings = Settings::read(&mut whole).await?;
                    self.kept.push(recv);
                    return Ok(settings);
                }
                other => self.sort(other),
            }
        }
    }

    fn sort(&mut self, stream: UniStream) {
        match stream {
            UniStream::Session(recv) => self.early.push_back(recv),
            // One control stream and two of QPACK are all that there can be.
            UniStream::Qpack(recv) if self.kept.len() < 3 => self.kept.push(recv),
            UniStream::Qpack(mut recv) | UniStream::Control(mut recv) => {
                let _ended = recv.stop(H3_STREAM_CREATION_ERROR);
            }
        }
    }

    /// The next stream whose header is complete. Cancel-safe.
    async fn next(&mut self, quic: &quinn::Connection) -> Result<UniStream, ConnectionError> {
        loop {
            tokio::select! {
                biased;
                Some(read) = self.headers.next() => if let Some(stream) = read {
                    return Ok(stream);
                },
                accepted = quic.accept_uni() => self.headers.push(Box::pin(read_uni_header(accepted?))),
            }
        }
    }
}

/// `None` for a stream that ends within its header, and for one that is not ours, which is ended.
async fn read_uni_header(mut recv: quinn::RecvStream) -> Option<UniStream> {
    let refusal = match StreamUni(read_varint(&mut recv).await?) {
        StreamUni::CONTROL => return Some(UniStream::Control(recv)),
        StreamUni::QPACK_ENCODER | StreamUni::QPACK_DECODER => return Some(UniStream::Qpack(recv)),
        StreamUni::WEBTRANSPORT => {
            if read_varint(&mut recv).await?.into_inner() == SESSION_ID {
                return Some(UniStream::Session(recv));
            }
            H3_ID_ERROR
        }
        _ => H3_STREAM_CREATION_ERROR,
    };
    let _ended = recv.stop(refusal);
    None
}

/// As [`read_uni_header`]. HTTP/3 alone lets servers open no bidirectional streams.
async fn read_bi_header(mut send: quinn::SendStream, mut recv: quinn::RecvStream) -> Option<BiStream> {
    let refusal = match Frame(read_varint(&mut recv).await?) {
        Frame::WEBTRANSPORT => {
            if read_varint(&mut recv).await?.into_inner() == SESSION_ID {
                return Some((send, recv));
            }
            H3_ID_ERROR
        }
        _ => H3_STREAM_CREATION_ERROR,
    };
    let _ended = (recv.stop(refusal), send.reset(refusal));
    None
}

async fn read_varint(recv: &mut quinn::RecvStream) -> Option<web_transport_proto::VarInt> {
    web_transport_proto::VarInt::read(recv).await.ok()
}
