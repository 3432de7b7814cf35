//! From a URL to a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use darktower_protocol::silence::KEEP_ALIVE;
use darktower_protocol::version::{ALPN_MEDIA, ALPN_SIGNAL, ALPN_WEBTRANSPORT};
use darktower_webtransport::Session;
use quinn::crypto::rustls::QuicClientConfig;
use reqwest::Url;
use tokio::task::JoinSet;

use super::connection::{Connection, close_error};
use super::tls::{self, Trust};
use super::{Role, TransportKind};
use crate::error::Error;

/// How long [`connect`] tries, name resolution included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one address of a name may be silent before the next is tried as well (RFC 8305
/// recommends 250 ms).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Connects to `url` (`https://HOST:PORT/PATH`; port 443 if there is none). A native connection
/// uses host and port, a WebTransport session the path as well. Tries the addresses of the host
/// in turn, for at most [`CONNECT_TIMEOUT`] together.
///
/// # Errors
/// [`Error::Invalid`] for the URL, [`Error::Transport`] or [`Error::Timeout`] for the network,
/// [`Error::Closed`] if the server refused.
pub async fn connect(url: &str, kind: TransportKind, trust: &Trust, role: Role) -> Result<Connection, Error> {
    Origin::new(trust)?.connect(url, kind, role).await
}

/// Where the connections of one client come from: its UDP socket, whom it trusts, and what TLS remembers of servers. A second
/// connection from the same origin saves both sides the certificate and its signature, and the client a socket with
/// the 3 MB of its receive buffer.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Without application protocols.
    tls: Arc<rustls::ClientConfig>,
    /// `None` before the first connection.
    endpoint: Option<quinn::Endpoint>,
}

impl Origin {
    /// Of a client that has no connection yet: each one opens a socket, and one that is lost does not take another with it.
    /// [`Connection::origin`] has the socket.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Transport`] if the system has no root certificates, or they cannot be read.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        Ok(Self { tls: Arc::new(tls::quic_config(trust)?), endpoint: None })
    }

    /// Of a client that has a socket already, which may serve others, too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on_socket(endpoint: quinn::Endpoint, trust: &Trust) -> Result<Self, Error> {
        Ok(Self { endpoint: Some(endpoint), ..Self::new(trust)? })
    }

    pub(super) fn of(endpoint: quinn::Endpoint, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls, endpoint: Some(endpoint) }
    }

    /// Connects as [`connect`] does; from the socket that is there, where the address is of its family.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(&self, url: &str, kind: TransportKind, role: Role) -> Result<Connection, Error> {
        tokio::time::timeout(CONNECT_TIMEOUT, race_addresses(url, kind, role, self))
            .await
            .unwrap_or(Err(Error::Timeout("no answer from the server's QUIC port")))
    }

    /// The endpoint for an address: the one that is there, or a new one.
    fn endpoint(&self, address: SocketAddr) -> std::io::Result<quinn::Endpoint> {
        let fits = |endpoint: &&quinn::Endpoint| {
            endpoint.local_addr().is_ok_and(|local| local.is_ipv4() == address.is_ipv4())
        };
        if let Some(endpoint) = self.endpoint.as_ref().filter(fits) {
            return Ok(endpoint.clone());
        }
        quinn::Endpoint::client(match address {
            SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        })
    }
}

/// What [`connect`] configures quinn with: TLS 1.3 to servers that `trust` accepts, the application protocol `alpn`
/// (`darktower_protocol::version` has them), and bounds of what a connection may use. For programs that have an endpoint of
/// their own, as for several connections on one socket.
///
/// ```
/// # fn example(endpoint: &quinn::Endpoint, hash: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
/// use darktower_client::transport::{Trust, quic_client_config};
///
/// let config = quic_client_config(&Trust::PinnedSha256(vec![hash]), b"darktower-media/1")?;
/// let connecting = endpoint.connect_with(config, "192.0.2.1:4433".parse()?, "meet.example.org")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Transport`] if the system has no root certificates, or they cannot be read.
pub fn quic_client_config(trust: &Trust, alpn: &[u8]) -> Result<quinn::ClientConfig, Error> {
    client_config(tls::quic_config(trust)?, alpn)
}

fn client_config(mut tls: rustls::ClientConfig, alpn: &[u8]) -> Result<quinn::ClientConfig, Error> {
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tls = QuicClientConfig::try_from(tls)
        .map_err(|error| Error::transport("the TLS configuration does not fit QUIC", error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport_config()));
    Ok(config)
}

async fn race_addresses(
    url: &str,
    kind: TransportKind,
    role: Role,
    origin: &Origin,
) -> Result<Connection, Error> {
    let alpn = match (kind, role) {
        (TransportKind::WebTransport, _) => ALPN_WEBTRANSPORT,
        (TransportKind::Native, Role::Signal) => ALPN_SIGNAL,
        (TransportKind::Native, Role::Media) => ALPN_MEDIA,
    };
    let config = client_config(rustls::ClientConfig::clone(&origin.tls), alpn)?;
    let (url, host, addresses) = resolve(url).await?;
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut last_error = Error::Invalid(format!("{host:?} has no address"));
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(connect_to(
                address,
                host.clone(),
                url.clone(),
                kind,
                config.clone(),
                origin.clone(),
            ));
        }
        let next = tokio::time::sleep(NEXT_ADDRESS_AFTER);
        tokio::select! {
            finished = attempts.join_next() => match finished {
                Some(Ok(Ok(connection))) => return Ok(connection),
                Some(Ok(Err(error))) => last_error = error,
                Some(Err(error)) => last_error = Error::transport("the connection attempt failed", error),
                None => return Err(last_error),
            },
            () = next, if addresses.len() > 0 => {}
        }
    }
}

async fn resolve(url: &str) -> Result<(Url, String, Vec<SocketAddr>), Error> {
    let invalid = |why: &str| Error::Invalid(format!("{url:?} is not a session URL: {why}"));
    let parsed = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
    if parsed.scheme() != "https" {
        return Err(invalid("it must start with https://"));
    }
    let host = parsed.host_str().ok_or_else(|| invalid("it has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = parsed.port_or_known_default().unwrap_or(443);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((parsed, host, vec![SocketAddr::new(address, port)]));
    }
    let addresses = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(|error| Error::transport(format!("cannot resolve {host:?}"), error))?
        .take(MAX_ADDRESSES)
        .collect();
    Ok((parsed, host, addresses))
}

async fn connect_to(
    address: SocketAddr,
    host: String,
    url: Url,
    kind: TransportKind,
    config: quinn::ClientConfig,
    origin: Origin,
) -> Result<Connection, Error> {
    let no_socket = |error| Error::transport("cannot open a UDP socket", error);
    let failed = || format!("cannot connect to {address}");
    let endpoint = origin.endpoint(address).map_err(no_socket)?;
    let connecting =
        endpoint.connect_with(config, address, &host).map_err(|error| Error::transport(failed(), error))?;
    let quic = connecting.await.map_err(|error| match error {
        quinn::ConnectionError::ApplicationClosed(_) => close_error(&error),
        error => Error::transport(failed(), error),
    })?;
    match kind {
        TransportKind::Native => Ok(Connection::new(quic, None, endpoint, origin.tls)),
        TransportKind::WebTransport => {
            let session = Session::connect(quic.clone(), url).await;
            let session = session.map_err(|error| match quic.close_reason() {
                Some(closed @ quinn::ConnectionError::ApplicationClosed(_)) => close_error(&closed),
                _ => Error::transport(failed(), error),
            })?;
            Ok(Connection::new(quic, Some(session), endpoint, origin.tls))
        }
    }
}

/// The client's QUIC settings. The library's defaults do not bound the memory that a connection
/// may use.
fn transport_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    // What the server need not send: an acknowledgement per ten packets, or for a gap at once, is enough for a frame.
    let mut acknowledgements = quinn::AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(quinn::VarInt::from_u32(9))
        .max_ack_delay(Some(Duration::from_millis(25)));
    config
        .ack_frequency_config(Some(acknowledgements))
        // Also less than the shortest time for which NATs keep a silent UDP mapping.
        .keep_alive_interval(Some(KEEP_ALIVE))
        // The connection may wake up by itself until then.
        .max_idle_timeout(Some(quinn::VarInt::from_u32(15_000).into()))
        // Two large key frames on one stream; several streams in flight at once.
        .stream_receive_window(quinn::VarInt::from_u32(2 * 1024 * 1024))
        .receive_window(quinn::VarInt::from_u32(8 * 1024 * 1024))
        .send_window(8 * 1024 * 1024)
        // A group stream per subscription, and those of the groups before that still drain.
        .max_concurrent_uni_streams(quinn::VarInt::from_u32(256))
        // Servers open none; WebTransport needs none either.
        .max_concurrent_bidi_streams(quinn::VarInt::from_u32(16))
        // Half a second of audio of several dozen speakers.
        .datagram_receive_buffer_size(Some(256 * 1024))
        .datagram_send_buffer_size(256 * 1024)
        // The default of 333 ms makes the first lost packet cost a second.
        .initial_rtt(Duration::from_millis(100));
    config
}
