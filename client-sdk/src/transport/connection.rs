//! One QUIC connection, native or carrying a WebTransport session.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use darktower_protocol::Code;
use darktower_protocol::silence::Traffic;
use darktower_webtransport::{DATAGRAM_PREFIX, Session};
use quinn::VarInt;

use super::TransportKind;
use super::stream::{RecvStream, SendStream};
use crate::error::Error;

/// Where HTTP/3 begins to number its own errors (RFC 9114 section 8.1): `H3_NO_ERROR`.
const H3_NO_ERROR: u64 = 0x100;

/// A connection to a server. Clones are handles of the same connection, which closes when the
/// last of them and of its streams is gone; a WebTransport session closes with the last handle.
#[derive(Debug, Clone)]
pub struct Connection {
    quic: quinn::Connection,
    web: Option<Arc<Session>>,
    endpoint: quinn::Endpoint,
}

impl Connection {
    pub(super) fn native(quic: quinn::Connection, endpoint: quinn::Endpoint) -> Self {
        Self { quic, web: None, endpoint }
    }

    pub(super) fn web(quic: quinn::Connection, session: Session, endpoint: quinn::Endpoint) -> Self {
        Self { quic, web: Some(Arc::new(session)), endpoint }
    }

    /// quinn's connection, which both kinds have.
    pub fn quic(&self) -> &quinn::Connection {
        &self.quic
    }

    /// How the connection travels.
    pub fn kind(&self) -> TransportKind {
        match self.web {
            None => TransportKind::Native,
            Some(_) => TransportKind::WebTransport,
        }
    }

    /// Opens a bidirectional stream. Waits while the peer allows no more. The peer learns of the
    /// stream with the first bytes written.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn open_bi(&self) -> Result<(SendStream, RecvStream), Error> {
        let opened = match &self.web {
            None => self.quic.open_bi().await,
            Some(session) => session.open_bi().await,
        };
        opened.map(|streams| self.both(streams)).map_err(|error| close_error(&error))
    }

    /// Opens a unidirectional stream; otherwise as [`open_bi`](Self::open_bi).
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn open_uni(&self) -> Result<SendStream, Error> {
        let opened = match &self.web {
            None => self.quic.open_uni().await,
            Some(session) => session.open_uni().await,
        };
        opened.map(|send| SendStream::new(send, self.kind())).map_err(|error| close_error(&error))
    }

    /// The next bidirectional stream that the server opens. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), Error> {
        let accepted = match &self.web {
            None => self.quic.accept_bi().await,
            Some(session) => session.accept_bi().await,
        };
        accepted.map(|streams| self.both(streams)).map_err(|error| close_error(&error))
    }

    /// The next unidirectional stream that the server opens. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn accept_uni(&self) -> Result<RecvStream, Error> {
        let accepted = match &self.web {
            None => self.quic.accept_uni().await,
            Some(session) => session.accept_uni().await,
        };
        accepted.map(|recv| RecvStream::new(recv, self.kind())).map_err(|error| close_error(&error))
    }

    /// Bytes that fit into one datagram now; `None` if the peer takes none. Changes with the
    /// path.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.quic.max_datagram_size()?.checked_sub(self.datagram_prefix().len())
    }

    /// Queues a datagram, waiting while the send buffer is full. Datagrams may be lost.
    ///
    /// Cancel-safe: dropped early, nothing was queued.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is larger than [`max_datagram_size`](Self::max_datagram_size),
    /// [`Error::Closed`] with the connection.
    pub async fn send_datagram(&self, datagram: Bytes) -> Result<(), Error> {
        let len = datagram.len();
        let datagram = match self.datagram_prefix() {
            [] => datagram,
            prefix => {
                let mut prefixed = BytesMut::with_capacity(prefix.len() + len);
                prefixed.put(prefix);
                prefixed.put(datagram);
                prefixed.freeze()
            }
        };
        self.quic.send_datagram_wait(datagram).await.map_err(|error| match error {
            quinn::SendDatagramError::TooLarge => Error::Invalid(format!(
                "a datagram holds {} bytes on this connection, not {len}",
                self.max_datagram_size().unwrap_or(0)
            )),
            quinn::SendDatagramError::ConnectionLost(error) => close_error(&error),
            error => Error::transport("cannot send datagrams", error),
        })
    }

    /// The next datagram of the server. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn read_datagram(&self) -> Result<Bytes, Error> {
        let read = match &self.web {
            None => self.quic.read_datagram().await,
            Some(session) => session.read_datagram().await,
        };
        read.map_err(|error| close_error(&error))
    }

    /// Closes the connection with all its streams; what was not acknowledged may be lost. Whoever waits in a method of
    /// this type hears so at once. A WebTransport session first tells the server in its own way, which takes a round
    /// trip, and a second at most; see [`wait_idle`](Self::wait_idle). The code travels as it is on both kinds of
    /// connection, the reason is cut after 1,024 bytes.
    pub fn close(&self, code: Code, reason: &str) {
        match &self.web {
            None => self.quic.close(VarInt::from_u32(code.as_u32()), reason.as_bytes()),
            Some(session) => session.close(code.as_u32(), reason),
        }
    }

    /// Closes a connection that another has taken the place of: at once, on both kinds, so that nobody waits for what it
    /// carried.
    pub(crate) fn abandon(&self) {
        self.quic
            .close(VarInt::from_u32(Code::NO_ERROR.as_u32()), b"the session goes on in another connection");
    }

    /// Waits until the connection is closed by either side, and says why. Cancel-safe.
    pub async fn closed(&self) -> Error {
        close_error(&match &self.web {
            None => self.quic.closed().await,
            Some(session) => session.closed().await,
        })
    }

    /// Why the connection is closed; `None` while it is open.
    pub fn close_reason(&self) -> Option<Error> {
        let reason = match &self.web {
            None => self.quic.close_reason(),
            Some(session) => session.close_reason(),
        };
        reason.map(|error| close_error(&error))
    }

    /// Waits until a closed connection has told its peer so. A program that exits without waiting
    /// leaves the server to find out by its idle timeout.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }

    /// The path's round-trip time as QUIC estimates it.
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// What has gone to the server and come from it.
    pub(crate) fn traffic(&self) -> Traffic {
        let stats = self.quic.stats();
        Traffic { sent: stats.udp_tx.datagrams, received: stats.udp_rx.datagrams }
    }

    /// What a datagram starts with before its payload.
    fn datagram_prefix(&self) -> &'static [u8] {
        if self.web.is_some() { DATAGRAM_PREFIX } else { &[] }
    }

    fn both(&self, (send, recv): (quinn::SendStream, quinn::RecvStream)) -> (SendStream, RecvStream) {
        (SendStream::new(send, self.kind()), RecvStream::new(recv, self.kind()))
    }
}

/// Why a connection ended, in the words of the one table of codes.
pub(super) fn close_error(error: &quinn::ConnectionError) -> Error {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let code = match close.error_code.into_inner() {
                H3_NO_ERROR => Code::NO_ERROR,
                small if u32::try_from(small).is_ok() => Code::from_quic(small),
                large => Code::from_webtransport(large),
            };
            Error::Closed { code, reason: String::from_utf8_lossy(&close.reason).into_owned() }
        }
        quinn::ConnectionError::LocallyClosed => {
            Error::Closed { code: Code::NO_ERROR, reason: "closed by this side".to_owned() }
        }
        quinn::ConnectionError::TimedOut => Error::Timeout("the peer is silent"),
        other => Error::transport("the connection failed", other.clone()),
    }
}
