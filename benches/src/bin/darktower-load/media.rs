//! The media connection of a participant, and the sockets: one for each participant as real clients have it, or one for
//! many, which costs the tester less.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use darktower_client::transport::{Connection, Origin, RecvStream, SendStream};
use darktower_client::{Code, Error, Trust};

use crate::tally::lock;

/// Of a shared socket, for the burst of a frame to all who share it; the kernel clamps it to net.core.rmem_max.
const SHARED_SOCKET_BUFFER: usize = 8 << 20;

/// Sockets of one runtime that participants share.
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

/// Where a participant's connections come from: one of `shared`, if there are any, else a socket of its own.
pub(crate) fn origin(shared: Option<&SharedSockets>, trust: &Trust) -> Result<Origin> {
    Ok(match shared {
        Some(shared) => Origin::on_socket(shared.endpoint()?, trust)?,
        None => Origin::new(trust)?,
    })
}

/// A media connection.
#[derive(Debug, Clone)]
pub(crate) struct Media(pub(crate) Connection);

/// The writing half of a QUIC stream.
#[derive(Debug)]
pub(crate) struct Sending(SendStream);

/// The reading half of a QUIC stream.
#[derive(Debug)]
pub(crate) struct Receiving(RecvStream);

/// How a stream ended that was read from.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The peer reset it.
    Reset(Code),
    Lost(anyhow::Error),
}

impl Media {
    pub(crate) async fn open_bi(&self) -> Result<(Sending, Receiving)> {
        let (send, recv) = self.0.open_bi().await?;
        Ok((Sending(send), Receiving(recv)))
    }

    pub(crate) async fn open_uni(&self) -> Result<Sending> {
        Ok(Sending(self.0.open_uni().await?))
    }

    pub(crate) async fn accept_uni(&self) -> Result<Receiving> {
        Ok(Receiving(self.0.accept_uni().await?))
    }

    pub(crate) async fn send_datagram(&self, datagram: Bytes) -> Result<()> {
        Ok(self.0.send_datagram(datagram).await?)
    }

    pub(crate) async fn read_datagram(&self) -> Result<Bytes> {
        Ok(self.0.read_datagram().await?)
    }

    pub(crate) fn close(&self) {
        self.0.close(Code::NO_ERROR, "");
    }

    /// Waits for the end and says why.
    pub(crate) async fn closed(&self) -> anyhow::Error {
        self.0.closed().await.into()
    }

    pub(crate) fn stats(&self) -> quinn::ConnectionStats {
        self.0.quic().stats()
    }
}

impl Sending {
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes).await?)
    }

    pub(crate) async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<()> {
        Ok(self.0.write_chunks(chunks).await?)
    }

    pub(crate) fn finish(&mut self) {
        self.0.finish();
    }
}

impl Receiving {
    /// The next bytes; `None` at the end.
    pub(crate) async fn read_chunk(&mut self) -> Result<Option<Bytes>, ReadEnd> {
        self.0.read_chunk().await.map_err(|error| match error {
            Error::StreamEnded(code) => ReadEnd::Reset(code),
            error => ReadEnd::Lost(error.into()),
        })
    }

    pub(crate) fn stop(&mut self, code: Code) {
        self.0.stop(code);
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
