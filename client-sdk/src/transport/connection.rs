//! One QUIC connection, native or carrying a WebTransport session.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use darktower_protocol::{Code, varint};
use quinn::VarInt;

use super::TransportKind;
use super::stream::{RecvStream, SendStream};
use crate::error::Error;

/// Where HTTP/3 begins to number its own errors (RFC 9114 section 8.1): `H3_NO_ERROR`.
const H3_NO_ERROR: u64 = 0x100;

/// The library's connection.
#[derive(Debug, Clone)]
pub enum Raw {
    /// Raw QUIC.
    Native(quinn::Connection),
    /// A WebTransport session.
    WebTransport(Arc<wtransport::Connection>),
}

#[derive(Clone)]
pub(super) enum Endpoint {
    Native(quinn::Endpoint),
    WebTransport(Arc<wtransport::Endpoint<wtransport::endpoint::endpoint_side::Client>>),
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}

/// A connection to a server. Clones are handles of the same connection, which closes when the
/// last of them and of its streams is gone.
#[derive(Debug, Clone)]
pub struct Connection {
    raw: Raw,
    endpoint: Endpoint,
}

impl Connection {
    pub(super) fn new(raw: Raw, endpoint: Endpoint) -> Self {
        Self { raw, endpoint }
    }

    /// The library's connection, for what this type does not offer.
    pub fn raw(&self) -> &Raw {
        &self.raw
    }

    /// quinn's connection, which both kinds have.
    pub fn quic(&self) -> &quinn::Connection {
        match &self.raw {
            Raw::Native(connection) => connection,
            Raw::WebTransport(session) => session.quic_connection(),
        }
    }

    /// How the connection travels.
    pub fn kind(&self) -> TransportKind {
        match &self.raw {
            Raw::Native(_) => TransportKind::Native,
            Raw::WebTransport(_) => TransportKind::WebTransport,
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
        match &self.raw {
            Raw::Native(connection) => {
                let (send, recv) = connection.open_bi().await.map_err(|error| close_error(&error))?;
                Ok((send.into(), recv.into()))
            }
            Raw::WebTransport(session) => {
                let opening = session.open_bi().await.map_err(|error| self.session_error(error))?;
                let (send, recv) = opening.await.map_err(|error| self.session_error(error))?;
                Ok((send.into(), recv.into()))
            }
        }
    }

    /// Opens a unidirectional stream; otherwise as [`open_bi`](Self::open_bi).
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn open_uni(&self) -> Result<SendStream, Error> {
        match &self.raw {
            Raw::Native(connection) => {
                Ok(connection.open_uni().await.map_err(|error| close_error(&error))?.into())
            }
            Raw::WebTransport(session) => {
                let opening = session.open_uni().await.map_err(|error| self.session_error(error))?;
                Ok(opening.await.map_err(|error| self.session_error(error))?.into())
            }
        }
    }

    /// The next bidirectional stream that the server opens. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), Error> {
        match &self.raw {
            Raw::Native(connection) => {
                let (send, recv) = connection.accept_bi().await.map_err(|error| close_error(&error))?;
                Ok((send.into(), recv.into()))
            }
            Raw::WebTransport(session) => {
                let (send, recv) = session.accept_bi().await.map_err(|error| self.session_error(error))?;
                Ok((send.into(), recv.into()))
            }
        }
    }

    /// The next unidirectional stream that the server opens. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn accept_uni(&self) -> Result<RecvStream, Error> {
        match &self.raw {
            Raw::Native(connection) => {
                Ok(connection.accept_uni().await.map_err(|error| close_error(&error))?.into())
            }
            Raw::WebTransport(session) => {
                Ok(session.accept_uni().await.map_err(|error| self.session_error(error))?.into())
            }
        }
    }

    /// Bytes that fit into one datagram now; `None` if the peer takes none. Changes with the
    /// path.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.quic().max_datagram_size()?.checked_sub(self.datagram_prefix_len())
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
        let datagram = match self.quarter_stream_id() {
            None => datagram,
            Some(id) => {
                let mut prefixed = BytesMut::with_capacity(varint::encoded_len(id) + len);
                varint::encode(id, &mut prefixed);
                prefixed.put(datagram);
                prefixed.freeze()
            }
        };
        self.quic().send_datagram_wait(datagram).await.map_err(|error| match error {
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
        match &self.raw {
            Raw::Native(connection) => connection.read_datagram().await.map_err(|error| close_error(&error)),
            Raw::WebTransport(session) => session
                .receive_datagram()
                .await
                .map(|datagram| datagram.payload())
                .map_err(|error| self.session_error(error)),
        }
    }

    /// Closes the connection now, with all its streams; what was not acknowledged may be lost.
    /// The code travels as it is on both kinds of connection.
    pub fn close(&self, code: Code, reason: &str) {
        self.quic().close(VarInt::from_u32(code.as_u32()), reason.as_bytes());
    }

    /// Waits until the connection is closed by either side, and says why. Cancel-safe.
    pub async fn closed(&self) -> Error {
        close_error(&self.quic().closed().await)
    }

    /// Why the connection is closed; `None` while it is open.
    pub fn close_reason(&self) -> Option<Error> {
        self.quic().close_reason().map(|error| close_error(&error))
    }

    /// Waits until a closed connection has told its peer so. A program that exits without waiting
    /// leaves the server to find out by its idle timeout.
    pub async fn wait_idle(&self) {
        match &self.endpoint {
            Endpoint::Native(endpoint) => endpoint.wait_idle().await,
            Endpoint::WebTransport(endpoint) => endpoint.wait_idle().await,
        }
    }

    /// The path's round-trip time as QUIC estimates it.
    pub fn rtt(&self) -> Duration {
        self.quic().rtt()
    }

    fn quarter_stream_id(&self) -> Option<u64> {
        match &self.raw {
            Raw::Native(_) => None,
            Raw::WebTransport(session) => Some(session.session_id().into_u64() / 4),
        }
    }

    fn datagram_prefix_len(&self) -> usize {
        self.quarter_stream_id().map_or(0, varint::encoded_len)
    }

    /// An error of the WebTransport session; the QUIC connection's own reason says more if there
    /// is one.
    fn session_error(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        match self.quic().close_reason() {
            Some(quinn::ConnectionError::LocallyClosed) | None => {
                Error::transport("the WebTransport session failed", error)
            }
            Some(reason) => close_error(&reason),
        }
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
