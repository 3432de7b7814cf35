//! The media connection of a participant: the SDK's, on a socket of its own as a real client has, or one of many on a
//! shared socket, which costs the tester less.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use darktower_client::transport::{Connection, RecvStream, Role, SendStream, connect, quic_client_config};
use darktower_client::{Code, Error, TransportKind, Trust};
use darktower_protocol::version::ALPN_MEDIA;
use quinn::VarInt;

use crate::tally::lock;

/// Of a shared socket, for the burst of a frame to all who share it; the kernel clamps it to net.core.rmem_max.
const SHARED_SOCKET_BUFFER: usize = 8 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that one read takes at most.
const MAX_CHUNK: usize = 64 * 1024;

/// Sockets of one runtime that media connections share.
#[derive(Debug)]
pub(crate) struct SharedSockets {
    per_socket: usize,
    latest: Mutex<Option<(quinn::Endpoint, usize)>>,
}

impl SharedSockets {
    pub(crate) fn new(per_socket: usize) -> Self {
        Self { per_socket, latest: Mutex::default() }
    }

    /// A socket with room for one more. Must run on the runtime that the socket belongs to.
    fn endpoint(&self) -> Result<quinn::Endpoint> {
        let mut latest = lock(&self.latest);
        if let Some((endpoint, used)) = latest.as_mut().filter(|(_, used)| *used < self.per_socket) {
            *used += 1;
            return Ok(endpoint.clone());
        }
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        socket.set_recv_buffer_size(SHARED_SOCKET_BUFFER)?;
        socket.set_send_buffer_size(SHARED_SOCKET_BUFFER)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket.into(), runtime)?;
        *latest = Some((endpoint.clone(), 1));
        Ok(endpoint)
    }
}

/// A media connection.
#[derive(Debug, Clone)]
pub(crate) enum Media {
    Own(Connection),
    Shared(quinn::Connection),
}

/// The writing half of a QUIC stream.
#[derive(Debug)]
pub(crate) enum Sending {
    Own(SendStream),
    Shared(quinn::SendStream),
}

/// The reading half of a QUIC stream.
#[derive(Debug)]
pub(crate) enum Receiving {
    Own(RecvStream),
    Shared(quinn::RecvStream),
}

/// How a stream ended that was read from.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The peer reset it.
    Reset(Code),
    Lost(anyhow::Error),
}

impl Media {
    /// Connects to `url`; natively on one of `shared`, if there are any.
    pub(crate) async fn connect(
        url: &str,
        kind: TransportKind,
        trust: &Trust,
        shared: Option<&SharedSockets>,
    ) -> Result<Self> {
        if let (Some(shared), TransportKind::Native) = (shared, kind) {
            let endpoint = shared.endpoint()?;
            let connecting = connect_shared(url, trust, &endpoint);
            let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
            return connected.context("no answer from the server's QUIC port")?.map(Self::Shared);
        }
        Ok(Self::Own(connect(url, kind, trust, Role::Media).await?))
    }

    pub(crate) async fn open_bi(&self) -> Result<(Sending, Receiving)> {
        match self {
            Self::Own(connection) => {
                let (send, recv) = connection.open_bi().await?;
                Ok((Sending::Own(send), Receiving::Own(recv)))
            }
            Self::Shared(connection) => {
                let (send, recv) = connection.open_bi().await?;
                Ok((Sending::Shared(send), Receiving::Shared(recv)))
            }
        }
    }

    pub(crate) async fn open_uni(&self) -> Result<Sending> {
        match self {
            Self::Own(connection) => Ok(Sending::Own(connection.open_uni().await?)),
            Self::Shared(connection) => Ok(Sending::Shared(connection.open_uni().await?)),
        }
    }

    pub(crate) async fn accept_uni(&self) -> Result<Receiving> {
        match self {
            Self::Own(connection) => Ok(Receiving::Own(connection.accept_uni().await?)),
            Self::Shared(connection) => Ok(Receiving::Shared(connection.accept_uni().await?)),
        }
    }

    pub(crate) async fn send_datagram(&self, datagram: Bytes) -> Result<()> {
        match self {
            Self::Own(connection) => Ok(connection.send_datagram(datagram).await?),
            Self::Shared(connection) => Ok(connection.send_datagram_wait(datagram).await?),
        }
    }

    pub(crate) async fn read_datagram(&self) -> Result<Bytes> {
        match self {
            Self::Own(connection) => Ok(connection.read_datagram().await?),
            Self::Shared(connection) => Ok(connection.read_datagram().await?),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Own(connection) => connection.close(Code::NO_ERROR, ""),
            Self::Shared(connection) => connection.close(Code::NO_ERROR.as_u32().into(), b""),
        }
    }

    /// Waits for the end and says why.
    pub(crate) async fn closed(&self) -> anyhow::Error {
        match self {
            Self::Own(connection) => connection.closed().await.into(),
            Self::Shared(connection) => connection.closed().await.into(),
        }
    }

    pub(crate) fn stats(&self) -> quinn::ConnectionStats {
        match self {
            Self::Own(connection) => connection.quic().stats(),
            Self::Shared(connection) => connection.stats(),
        }
    }
}

impl Sending {
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Own(stream) => Ok(stream.write_all(bytes).await?),
            Self::Shared(stream) => Ok(stream.write_all(bytes).await?),
        }
    }

    pub(crate) async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<()> {
        match self {
            Self::Own(stream) => Ok(stream.write_chunks(chunks).await?),
            Self::Shared(stream) => Ok(stream.write_all_chunks(chunks).await?),
        }
    }

    pub(crate) fn finish(&mut self) {
        match self {
            Self::Own(stream) => stream.finish(),
            // The only error is that it has ended already.
            Self::Shared(stream) => drop(stream.finish()),
        }
    }
}

impl Receiving {
    /// The next bytes; `None` at the end.
    pub(crate) async fn read_chunk(&mut self) -> Result<Option<Bytes>, ReadEnd> {
        match self {
            Self::Own(stream) => stream.read_chunk().await.map_err(|error| match error {
                Error::StreamEnded(code) => ReadEnd::Reset(code),
                error => ReadEnd::Lost(error.into()),
            }),
            Self::Shared(stream) => match stream.read_chunk(MAX_CHUNK, true).await {
                Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
                Err(quinn::ReadError::Reset(code)) => Err(ReadEnd::Reset(Code::from_quic(code.into_inner()))),
                Err(error) => Err(ReadEnd::Lost(error.into())),
            },
        }
    }

    pub(crate) fn stop(&mut self, code: Code) {
        match self {
            Self::Own(stream) => stream.stop(code),
            // The only error is that it has ended already.
            Self::Shared(stream) => drop(stream.stop(VarInt::from_u32(code.as_u32()))),
        }
    }
}

impl From<ReadEnd> for anyhow::Error {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Reset(code) => anyhow!("the peer reset the stream: {code}"),
            ReadEnd::Lost(error) => error,
        }
    }
}

async fn connect_shared(url: &str, trust: &Trust, endpoint: &quinn::Endpoint) -> Result<quinn::Connection> {
    let authority = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or(url);
    let (host, _) = authority.rsplit_once(':').context("the media URL has no port")?;
    let mut addresses = tokio::net::lookup_host(authority).await?;
    let address = addresses
        .find(SocketAddr::is_ipv4)
        .with_context(|| format!("{authority} has no IPv4 address: shared sockets need one"))?;
    let config = quic_client_config(trust, ALPN_MEDIA)?;
    Ok(endpoint.connect_with(config, address, host)?.await?)
}
