//! HTTP/3 for ordinary requests, on a UDP port of its own: any HTTP service behind QUIC.
//!
//! The `h3` crate speaks the protocol; [`quic`] puts it on quinn, with a bound for what it would buffer without one
//! ([`frame_guard`]). One task per connection, one per request: what goes wrong with one ends that one. Sessions
//! (WebTransport) live on another port, because their handshake takes whole connections.

mod frame_guard;
mod quic;
mod request;

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body::Body;
use ipnet::IpNet;
use quinn::crypto::HmacKey;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{TransportConfig, VarInt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::endpoint::{RETRY_ABOVE_OPEN_HANDSHAKES, counted};
use super::places::{Place, Places};
use super::socket::CountedSocket;
use crate::certificate::{CertificateStore, TlsVersions, rustls_server_config};
pub use request::RequestBody;
use request::{Ended, answer};

const ALPN: &[u8] = b"h3";

/// From the first packet to an established connection, and again to the first bytes of HTTP.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// A connection on which nothing happens is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection without a request for so long gives up its place, also if its client keeps it awake.
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);
/// For telling a client that the connection ends.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);
/// Connections of one endpoint. Each may hold some 2 MiB if its client is hostile, and some KiB if not.
const MAX_CONNECTIONS: usize = 1024;
/// Requests one connection may have open.
const MAX_REQUESTS: u32 = 64;
/// Header lines of a request after decompression, as RFC 9114 section 4.2.2 counts them. More is answered with 431.
const MAX_FIELD_SECTION: u64 = 16 * 1024;
/// Requests that a client may give up before they are whole: so many at once, and so many per second. More is an attack
/// ("rapid reset").
const ABANDONED_BURST: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
const ABANDONED_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// The error of a response's body.
type BodyError = Box<dyn Error + Send + Sync>;

/// One bound UDP socket that answers HTTP/3 requests.
#[derive(Debug)]
pub struct Http3Endpoint {
    quic: quinn::Endpoint,
    places: Places,
}

impl Http3Endpoint {
    /// Takes over a bound socket. `reset_key` must be the socket's own, and the same after a restart. Behind `proxies` are
    /// many clients. To be called inside a runtime.
    ///
    /// # Errors
    /// If the TLS configuration or the socket does not work for QUIC.
    pub fn open(
        socket: UdpSocket,
        certificates: &Arc<CertificateStore>,
        reset_key: &[u8],
        proxies: &[IpNet],
    ) -> anyhow::Result<Self> {
        let tls = rustls_server_config(certificates, TlsVersions::V1_3, &[ALPN]);
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        server.transport_config(Arc::new(transport_config()));
        server.max_incoming(1024).incoming_buffer_size(64 << 10).incoming_buffer_size_total(8 << 20);
        let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, reset_key);
        let config = quinn::EndpointConfig::new(Arc::new(reset_key) as Arc<dyn HmacKey>);
        let socket = Arc::new(CountedSocket::new(socket)?);
        let runtime = Arc::new(quinn::TokioRuntime);
        let quic = quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)?;
        // Known before the first event.
        metrics::gauge!("http3_connections").increment(0);
        metrics::counter!("http3_connections_refused_total").increment(0);
        Ok(Self { quic, places: Places::new(MAX_CONNECTIONS, proxies) })
    }

    /// Answers requests until `stop`; then lets those that run finish, at most for `grace`. `service_for` makes the
    /// service of one connection from the client's address.
    pub async fn run<S, B>(
        &self,
        service_for: impl Fn(SocketAddr) -> S + Clone + Send + 'static,
        stop: CancellationToken,
        grace: Duration,
    ) where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BodyError> + Send,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError> + Send,
    {
        // Every handshake in progress holds a clone.
        let handshakes = Arc::new(());
        let mut connections = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                incoming = self.quic.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let busy = Arc::strong_count(&handshakes) - 1 > RETRY_ABOVE_OPEN_HANDSHAKES;
            if busy && !incoming.remote_address_validated() && incoming.may_retry() {
                let _not_possible = incoming.retry();
                continue;
            }
            let Some(place) = self.places.take(incoming.remote_address().ip()) else {
                metrics::counter!("http3_connections_refused_total").increment(1);
                incoming.refuse();
                continue;
            };
            let (handshake, service_for, stop) = (Arc::clone(&handshakes), service_for.clone(), stop.clone());
            connections.spawn(async move {
                let remote = incoming.remote_address();
                let handshake = counted(handshake, timeout(HANDSHAKE_DEADLINE, establish(incoming)));
                match handshake.await {
                    Ok(Ok(http)) => serve(http, service_for(remote), stop, place).await,
                    Ok(Err(error)) => {
                        metrics::counter!("quic_handshakes_failed_total").increment(1);
                        tracing::debug!(%remote, error = &*error, "no HTTP/3 connection");
                    }
                    Err(_) => {
                        metrics::counter!("quic_handshakes_failed_total").increment(1);
                        tracing::debug!(%remote, "HTTP/3 handshake took too long");
                    }
                }
            });
        }
        let finishing = async { while connections.join_next().await.is_some() {} };
        let refusing = async {
            while let Some(incoming) = self.quic.accept().await {
                incoming.refuse();
            }
        };
        tokio::select! {
            _ = timeout(grace, finishing) => {}
            () = refusing => {}
        }
        self.quic.close(VarInt::from_u32(0x100), b"server is shutting down");
        let _late = timeout(grace, self.quic.wait_idle()).await;
    }
}

type Http = h3::server::Connection<quic::Connection, Bytes>;

async fn establish(incoming: quinn::Incoming) -> Result<Http, BodyError> {
    let quic = incoming.accept()?.await?;
    let mut builder = h3::server::builder();
    // Frames of reserved types keep others honest and cost every connection a stream.
    builder.max_field_section_size(MAX_FIELD_SECTION).send_grease(false);
    Ok(builder.build(quic::Connection::new(quic)).await?)
}

/// One connection, until its client goes or the server stops and every request is answered.
async fn serve<S, B>(mut http: Http, service: S, stop: CancellationToken, _place: Place)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BodyError> + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError> + Send,
{
    let _open = OpenConnection::count();
    let abandoned: DefaultDirectRateLimiter =
        RateLimiter::direct(Quota::per_second(ABANDONED_PER_SECOND).allow_burst(ABANDONED_BURST));
    let mut requests = JoinSet::new();
    let mut draining = false;
    let mut quiet = pin!(sleep(QUIET_TIMEOUT));
    while !(draining && requests.is_empty()) {
        tokio::select! {
            accepted = http.accept() => match accepted {
                Ok(Some(resolver)) => {
                    requests.spawn(answer(resolver, service.clone()));
                    quiet.as_mut().reset(Instant::now() + QUIET_TIMEOUT);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "HTTP/3 connection ended");
                    // Nobody waits for the answers any more.
                    return;
                }
            },
            Some(ended) = requests.join_next() => {
                let given_up = match ended {
                    Ok(Ended::Answered) => false,
                    Ok(Ended::Abandoned) => true,
                    Err(error) => {
                        tracing::error!(%error, "an HTTP/3 request failed");
                        false
                    }
                };
                if given_up && abandoned.check().is_err() {
                    http.inner.conn.close(h3::error::Code::H3_EXCESSIVE_LOAD);
                    return;
                }
            }
            () = quiet.as_mut(), if !draining && requests.is_empty() => {
                draining = true;
                if !say_goodbye(&mut http).await {
                    return;
                }
            }
            () = stop.cancelled(), if !draining => {
                draining = true;
                if !say_goodbye(&mut http).await {
                    return;
                }
            }
        }
    }
    while requests.join_next().await.is_some() {}
}

/// Tells a client that no more requests are looked at. `false` if it cannot be told, because it is gone or does not read.
async fn say_goodbye(http: &mut Http) -> bool {
    // One more than the last: a client takes the number as the first that was not looked at (RFC 9114 section 5.2), and
    // the library sends the last that was.
    timeout(GOODBYE_DEADLINE, http.shutdown(1)).await.is_ok_and(|told| told.is_ok())
}

/// Counts while it lives.
struct OpenConnection;

impl OpenConnection {
    fn count() -> Self {
        metrics::gauge!("http3_connections").increment(1);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("http3_connections").decrement(1);
    }
}

/// Bounds for requests of at most 1 MiB and answers of some KiB.
fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_REQUESTS))
        // Control, two of QPACK, and reserved ones that a client may open to keep us honest.
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .stream_receive_window(VarInt::from_u32(256 << 10))
        .receive_window(VarInt::from_u32(1 << 20))
        .send_window(1 << 20)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("30 s fit")))
        .initial_rtt(Duration::from_millis(100));
    config
}
