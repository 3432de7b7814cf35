//! QUIC and WebTransport: the only folder that names `quinn` and `darktower-webtransport`.
//!
//! A [`Session`] is either a raw QUIC connection or a WebTransport session; above this folder
//! they are the same. Streams are quinn's in both cases, so received bytes and bytes to send are
//! never copied on the way. Codes are mapped into the range that WebTransport reserves.

mod endpoint;
mod http3;
#[cfg(test)]
pub(crate) mod loopback;
mod message_reader;
mod places;
pub(crate) mod socket;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darktower_protocol::Code;
use darktower_protocol::silence::Traffic;
use darktower_webtransport as webtransport;

pub use endpoint::{Endpoint, EndpointFactory, Role, TransportSettings};
pub use http3::{Http3Endpoint, RequestBody};
pub use message_reader::MessageReader;
pub(crate) use places::network;
pub use places::{Place, Places};
pub use stream::{ReadError, RecvStream, SendStream, WriteError};

/// The session is over; why is in the message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("session ended: {0}")]
pub struct SessionEnded(String);

impl From<quinn::ConnectionError> for SessionEnded {
    fn from(error: quinn::ConnectionError) -> Self {
        Self(error.to_string())
    }
}

/// An established session with a client. Cloning gives another handle.
#[derive(Debug, Clone)]
pub struct Session {
    quic: quinn::Connection,
    web: Option<Arc<webtransport::Session>>,
}

/// Bounds of the send buffer in bytes, for all streams of a session together.
const MIN_SEND_WINDOW: u64 = 32 << 10;
const MAX_SEND_WINDOW: u64 = 512 << 10;

/// See [`Session::path`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PathCounts {
    /// There and back.
    pub rtt: Duration,
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// Those of them that are taken for lost.
    pub lost_packets: u64,
}

impl Session {
    fn native(quic: quinn::Connection) -> Self {
        Self { quic, web: None }
    }

    fn web(quic: quinn::Connection, session: webtransport::Session) -> Self {
        Self { quic, web: Some(Arc::new(session)) }
    }

    /// Whether the client is a browser or speaks like one.
    pub fn is_webtransport(&self) -> bool {
        self.web.is_some()
    }

    /// Where the client's packets come from at the moment.
    pub fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// What has gone to the client and come from it.
    pub fn traffic(&self) -> Traffic {
        let stats = self.quic.stats();
        Traffic { sent: stats.udp_tx.datagrams, received: stats.udp_rx.datagrams }
    }

    /// The next bidirectional stream that the client opens. Cancel-safe.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), SessionEnded> {
        match &self.web {
            None => {
                let (send, recv) = self.quic.accept_bi().await?;
                Ok((SendStream::native(send), RecvStream::native(recv)))
            }
            Some(web) => {
                let (send, recv) = web.accept_bi().await?;
                Ok((SendStream::web(send), RecvStream::web(recv)))
            }
        }
    }

    /// The next unidirectional stream that the client opens. Cancel-safe.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn accept_uni(&self) -> Result<RecvStream, SessionEnded> {
        match &self.web {
            None => Ok(RecvStream::native(self.quic.accept_uni().await?)),
            Some(web) => Ok(RecvStream::web(web.accept_uni().await?)),
        }
    }

    /// A new unidirectional stream to the client. Waits while the client allows no more streams.
    /// What it returns beside the stream has to be written first.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn open_uni(&self) -> Result<(SendStream, Option<Bytes>), SessionEnded> {
        let quic = self.quic.open_uni().await?;
        Ok(match &self.web {
            None => (SendStream::native(quic), None),
            Some(_) => (SendStream::web(quic), Some(Bytes::from_static(webtransport::UNI_PREFIX))),
        })
    }

    /// The next datagram from the client. Cancel-safe.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn read_datagram(&self) -> Result<Bytes, SessionEnded> {
        match &self.web {
            None => Ok(self.quic.read_datagram().await?),
            Some(web) => Ok(web.read_datagram().await?),
        }
    }

    /// Throws away the datagrams of a session that has no use for them: unread ones would keep receive buffers alive.
    /// Does not end by itself.
    pub async fn ignore_datagrams(&self) {
        while self.read_datagram().await.is_ok() {}
        std::future::pending::<()>().await;
    }

    /// What a datagram to this client starts with, before the units.
    pub fn datagram_prefix(&self) -> &[u8] {
        if self.is_webtransport() { webtransport::DATAGRAM_PREFIX } else { &[] }
    }

    /// Bytes of the largest datagram, prefix included, that the path takes now; `None` if the
    /// client takes no datagrams.
    pub fn max_datagram_len(&self) -> Option<usize> {
        self.quic.max_datagram_size()
    }

    /// Bytes of datagrams that can be queued without throwing out older ones.
    pub fn datagram_space(&self) -> usize {
        self.quic.datagram_send_buffer_space()
    }

    /// Queues a datagram, which starts with [`datagram_prefix`](Self::datagram_prefix). One that
    /// the path no longer takes is lost, as datagrams may be.
    pub fn send_datagram(&self, datagram: Bytes) {
        let _lost = self.quic.send_datagram(datagram);
    }

    /// Lets the send buffer follow the path: what lies in it can no longer be dropped by policy,
    /// so it holds little more than what is in flight. To be called now and then.
    pub fn fit_send_window(&self) {
        let window = self.quic.stats().path.cwnd.saturating_mul(2);
        self.quic.set_send_window(window.clamp(MIN_SEND_WINDOW, MAX_SEND_WINDOW));
    }

    /// What the path carries by its congestion window and round-trip time, bit/s. With media, which seldom fills the
    /// window, an upper bound.
    pub fn estimated_bit_rate(&self) -> Option<u64> {
        let path = self.quic.stats().path;
        let micros = u64::try_from(path.rtt.as_micros()).ok()?;
        path.cwnd.saturating_mul(8_000_000).checked_div(micros)
    }

    /// What is known of the path to the client; counts are from the beginning.
    pub fn path(&self) -> PathCounts {
        let path = self.quic.stats().path;
        PathCounts { rtt: path.rtt, sent_packets: path.sent_packets, lost_packets: path.lost_packets }
    }

    /// Ends the session: whoever waits for something of it hears so at once. A WebTransport client is told in the
    /// session's own way before the connection is closed, which takes a round trip, and a second at most.
    pub fn close(&self, code: Code, reason: &str) {
        match &self.web {
            None => self.quic.close(code.as_u32().into(), reason.as_bytes()),
            Some(web) => web.close(code.as_u32(), reason),
        }
    }

    /// Waits, after last words that were delivered, until they are read as far as that matters; to be bounded. What a native
    /// client has received it can read after the close. A browser throws it away, so that its client closes the session.
    pub async fn read_by_client(&self) {
        if let Some(web) = &self.web {
            web.closed().await;
        }
    }

    /// Waits until the session is over, for any reason.
    pub async fn closed(&self) -> SessionEnded {
        match &self.web {
            None => self.quic.closed().await.into(),
            Some(web) => web.closed().await.into(),
        }
    }
}
