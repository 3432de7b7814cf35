//! The UDP port: accepts connections and sorts them by what they speak.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use darktower_protocol::Code;
use darktower_protocol::silence::KEEP_ALIVE;
use darktower_protocol::version::{ALPN_MEDIA, ALPN_SIGNAL, ALPN_WEBTRANSPORT, PATH_MEDIA, PATH_SIGNAL};
use darktower_webtransport::http::{StatusCode, header};
use darktower_webtransport::{CLOSE_TIME, HandshakeError, Request};
use quinn::VarInt;
use quinn::crypto::HmacKey;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Session;
use super::socket::{CountedSocket, ShardConnectionIds};
use crate::certificate::{CertificateStore, TlsVersions, rustls_server_config};
use crate::config::AllowedOrigins;

/// From the first packet to an established session.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Handshakes in progress from which on clients must first prove their address (Retry): it costs
/// them a round trip, and a flood of forged addresses costs us nothing but that packet.
pub(super) const RETRY_ABOVE_OPEN_HANDSHAKES: usize = 256;

/// The reason that goes with [`Code::GOING_AWAY`].
const SHUTTING_DOWN: &str = "server is shutting down";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Requests and events of a meeting.
    Signaling,
    /// Media units.
    Media,
}

/// What of the transport is configurable.
#[derive(Debug, Clone, Default)]
pub struct TransportSettings {
    /// Origins of our own pages, which may open WebTransport sessions. Requests without an `Origin`
    /// header do not come from a page and pass.
    pub own_origins: Vec<String>,
    /// Pages of others that may.
    pub allowed_origins: AllowedOrigins,
}

/// What all endpoints of a server share: certificates and tickets, the key of address tokens, and the settings. A client that comes back may come to any of them.
#[derive(Debug, Clone)]
pub struct EndpointFactory {
    server: quinn::ServerConfig,
    reset_key: [u8; 32],
    settings: Arc<TransportSettings>,
    shards: usize,
}

impl EndpointFactory {
    /// For a server with this many shards.
    ///
    /// # Errors
    /// If the TLS configuration does not work for QUIC.
    pub fn new(
        certificates: &Arc<CertificateStore>,
        settings: TransportSettings,
        reset_key: [u8; 32],
        shards: usize,
    ) -> anyhow::Result<Self> {
        let alpn = [ALPN_MEDIA, ALPN_SIGNAL, ALPN_WEBTRANSPORT];
        let mut tls = rustls_server_config(certificates, TlsVersions::V1_3, &alpn);
        // One for the media connection that follows, or for coming back.
        tls.send_tls13_tickets = 1;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        server.transport_config(Arc::new(transport_config()));
        // The library's defaults are 65,536 handshakes of up to 10 MiB each.
        server.max_incoming(1024).incoming_buffer_size(64 << 10).incoming_buffer_size_total(8 << 20);
        Ok(Self { server, reset_key, settings: Arc::new(settings), shards })
    }

    /// Takes over the socket of a shard at one of the addresses. To be called inside the shard's runtime.
    ///
    /// Each endpoint has a stateless-reset key of its own, the same after a restart. With one for all, a packet that is led to
    /// the wrong one would be answered with a reset that ends a connection of another (RFC 9000 section 21.11).
    ///
    /// # Errors
    /// If the socket does not work for QUIC.
    pub fn open(&self, socket: UdpSocket, address: usize, shard: usize) -> anyhow::Result<Endpoint> {
        let mut reset_key = self.reset_key.to_vec();
        reset_key.extend([address, shard].map(|number| number as u8));
        let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &reset_key);
        let mut config = quinn::EndpointConfig::new(Arc::new(reset_key) as Arc<dyn HmacKey>);
        let shards = self.shards;
        config.cid_generator(move || Box::new(ShardConnectionIds { shard, shards }));
        let socket = Arc::new(CountedSocket::new(socket)?);
        let runtime = Arc::new(quinn::TokioRuntime);
        let server = Some(self.server.clone());
        let quic = quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime)?;
        let (settings, going_away) = (Arc::clone(&self.settings), CancellationToken::new());
        Ok(Endpoint { quic, settings, going_away })
    }
}

/// One bound UDP socket.
#[derive(Debug)]
pub struct Endpoint {
    quic: quinn::Endpoint,
    settings: Arc<TransportSettings>,
    /// Closes all sessions.
    going_away: CancellationToken,
}

impl Endpoint {
    /// Accepts sessions until `stop`, and hands each to `serve` on a task of its own.
    pub async fn run<F>(
        &self,
        stop: CancellationToken,
        serve: impl Fn(Role, Session) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        // Every handshake in progress holds a clone.
        let handshakes = Arc::new(());
        loop {
            let incoming = tokio::select! {
                () = stop.cancelled() => break,
                incoming = self.quic.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let busy = Arc::strong_count(&handshakes) - 1 > RETRY_ABOVE_OPEN_HANDSHAKES;
            if busy && !incoming.remote_address_validated() && incoming.may_retry() {
                let _not_possible = incoming.retry();
                continue;
            }
            let (settings, serve) = (Arc::clone(&self.settings), serve.clone());
            let going_away = self.going_away.clone();
            let handshake = Arc::clone(&handshakes);
            tokio::spawn(async move {
                let remote = incoming.remote_address();
                let establishing = tokio::time::timeout(HANDSHAKE_DEADLINE, establish(incoming, &settings));
                match counted(handshake, establishing).await {
                    Ok(Ok((role, session))) => {
                        metrics::counter!("quic_sessions_total", "role" => role.name(),
                            "transport" => if session.is_webtransport() { "webtransport" } else { "quic" })
                        .increment(1);
                        let mut serving = std::pin::pin!(serve(role, session.clone()));
                        tokio::select! {
                            () = &mut serving => {}
                            () = going_away.cancelled() => {
                                session.close(Code::GOING_AWAY, SHUTTING_DOWN);
                                serving.await;
                            }
                        }
                    }
                    Ok(Err(error)) => {
                        metrics::counter!("quic_handshakes_failed_total").increment(1);
                        tracing::debug!(%remote, %error, "no session");
                    }
                    Err(_) => {
                        metrics::counter!("quic_handshakes_failed_total").increment(1);
                        tracing::debug!(%remote, "handshake took too long");
                    }
                }
            });
        }
    }

    /// Closes what is still open and waits until the peers know, at most for `grace`.
    pub async fn shut_down(&self, grace: Duration) {
        let start = Instant::now();
        self.going_away.cancel();
        // Sessions first, in their own way; then whatever is no session yet, or does not answer.
        let _late = timeout_at(start + CLOSE_TIME.min(grace), self.quic.wait_idle()).await;
        self.quic.close(Code::GOING_AWAY.as_u32().into(), SHUTTING_DOWN.as_bytes());
        let _late = timeout_at(start + grace, self.quic.wait_idle()).await;
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Signaling => "signaling",
            Self::Media => "media",
        }
    }
}

/// Awaits `handshake`, and gives up its place among those in progress however it ends.
pub(super) async fn counted<T>(place: Arc<()>, handshake: impl Future<Output = T>) -> T {
    let result = handshake.await;
    drop(place);
    result
}

#[derive(Debug, thiserror::Error)]
enum EstablishError {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the handshake names no application protocol")]
    NoProtocol,
    #[error("no session at path {0:?}")]
    UnknownPath(String),
    #[error("pages of origin {0:?} may not open sessions")]
    ForeignOrigin(String),
}

async fn establish(
    incoming: quinn::Incoming,
    settings: &TransportSettings,
) -> Result<(Role, Session), EstablishError> {
    let mut connecting = incoming.accept()?;
    let data = connecting.handshake_data().await?.downcast::<HandshakeData>();
    let protocol = data.ok().and_then(|data| data.protocol).ok_or(EstablishError::NoProtocol)?;
    if protocol == ALPN_MEDIA {
        return Ok((Role::Media, Session::native(connecting.await?)));
    }
    if protocol == ALPN_SIGNAL {
        return Ok((Role::Signaling, Session::native(connecting.await?)));
    }

    let quic = connecting.await?;
    let request = Request::read(quic.clone()).await?;
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("not ASCII"));
    if let Some(origin) = origin.filter(|origin| !settings.allows(origin)) {
        let origin = origin.to_owned();
        request.refuse(StatusCode::FORBIDDEN).await;
        return Err(EstablishError::ForeignOrigin(origin));
    }
    let role = match request.path() {
        PATH_MEDIA => Role::Media,
        PATH_SIGNAL => Role::Signaling,
        other => {
            let other = other.to_owned();
            request.refuse(StatusCode::NOT_FOUND).await;
            return Err(EstablishError::UnknownPath(other));
        }
    };
    Ok((role, Session::web(quic, request.accept().await?)))
}

impl TransportSettings {
    fn allows(&self, origin: &str) -> bool {
        self.own_origins.iter().any(|own| own == origin) || self.allowed_origins.allows(origin)
    }
}

/// Every bound explicit; the library's defaults let one hostile connection hold 250 MB.
fn transport_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    // Native clients only; browsers do not take part (draft-ietf-quic-ack-frequency). A frame's worth of packets is
    // acknowledged at once, a gap still immediately.
    let mut acknowledgements = quinn::AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(VarInt::from_u32(9))
        .max_ack_delay(Some(Duration::from_millis(25)));
    // A key frame of 60 KB should not take four round trips on a path that nothing is known of yet: 32 packets, as
    // browsers send. Media is limited by its publisher, so the window seldom grows by itself.
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(32 * 1452);
    config
        .congestion_controller_factory(Arc::new(congestion))
        .ack_frequency_config(Some(acknowledgements))
        // A publisher of a dozen layers with two groups each in flight.
        .max_concurrent_uni_streams(VarInt::from_u32(64))
        // Control, and one per published or subscribed stream in the baseline.
        .max_concurrent_bidi_streams(VarInt::from_u32(128))
        // One large key frame in flight per stream; 2 MiB per connection whatever it opens.
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::from_u32(2 << 20))
        // Until it is fitted to the path.
        .send_window(super::MAX_SEND_WINDOW)
        .datagram_receive_buffer_size(Some(128 << 10))
        // Audio goes before everything else, so what waits here waits for the path: 250 ms at 1 Mbit/s, a tick of 200
        // speakers. More would only be older.
        .datagram_send_buffer_size(32 << 10)
        .max_idle_timeout(Some(VarInt::from_u32(15_000).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        // The first retransmission should not wait a third of a second.
        .initial_rtt(Duration::from_millis(100))
        .send_fairness(true);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handshake_counts_until_it_ends_also_by_a_panic() {
        let handshakes = Arc::new(());
        let in_progress = || Arc::strong_count(&handshakes) - 1;
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task =
            tokio::spawn(counted(Arc::clone(&handshakes), async { ended.await.expect("a handshake") }));
        assert_eq!(in_progress(), 1);
        drop(end);
        assert!(task.await.is_err(), "it panicked");
        assert_eq!(in_progress(), 0);
        counted(Arc::clone(&handshakes), async {}).await;
        assert_eq!(in_progress(), 0);
    }
}
