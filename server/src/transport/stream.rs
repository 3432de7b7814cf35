//! One direction of a QUIC stream, whether of a raw connection or of a WebTransport session.

use std::task::{Context, Poll};

use bytes::Bytes;
use darktower_protocol::Code;
use quinn::VarInt;

/// Bytes taken from the transport at one time. Larger chunks mean fewer wake-ups per unit.
const MAX_CHUNK: usize = 64 * 1024;

/// Why nothing more can be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The peer gave the stream up.
    #[error("peer reset the stream: {0}")]
    Reset(Code),
    /// The session is over.
    #[error("session ended: {0}")]
    SessionEnded(String),
}

/// Why nothing more can be written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The peer does not want more of this stream.
    #[error("peer stopped the stream: {0}")]
    Stopped(Code),
    /// The session is over.
    #[error("session ended: {0}")]
    SessionEnded(String),
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct RecvStream {
    quic: quinn::RecvStream,
    is_web: bool,
}

impl RecvStream {
    pub(super) fn native(quic: quinn::RecvStream) -> Self {
        Self { quic, is_web: false }
    }

    /// Of a WebTransport session, after its header.
    pub(super) fn web(quic: quinn::RecvStream) -> Self {
        Self { quic, is_web: true }
    }

    /// A number that no other stream of the session has.
    pub fn id(&self) -> u64 {
        VarInt::from(self.quic.id()).into_inner()
    }

    /// The next bytes, without copying them; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// If the peer reset the stream or the session is over.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.quic.read_chunk(MAX_CHUNK, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(quinn::ReadError::Reset(code)) => Err(ReadError::Reset(from_wire(code, self.is_web))),
            Err(other) => Err(ReadError::SessionEnded(other.to_string())),
        }
    }

    /// Tells the peer to stop sending.
    pub fn stop(&mut self, code: Code) {
        let _already_closed = self.quic.stop(to_wire(code, self.is_web));
    }
}

/// The sending half of a stream. Dropping it finishes it: what must not look whole is
/// [`reset`](Self::reset) first.
#[derive(Debug)]
pub struct SendStream {
    quic: quinn::SendStream,
    is_web: bool,
}

impl SendStream {
    pub(super) fn native(quic: quinn::SendStream) -> Self {
        Self { quic, is_web: false }
    }

    /// Of a WebTransport session, after its header.
    pub(super) fn web(quic: quinn::SendStream) -> Self {
        Self { quic, is_web: true }
    }

    /// Writes all of `bytes`. Not cancel-safe.
    ///
    /// # Errors
    /// If the peer stopped the stream or the session is over.
    pub async fn write_all(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        let stopped = self.quic.stopped();
        let written = tokio::select! {
            biased;
            written = self.quic.write_chunk(bytes) => written,
            // quinn-proto 0.11.19 does not wake a write for this that waits for the flow control of both stream and
            // connection.
            Ok(Some(code)) = stopped => Err(quinn::WriteError::Stopped(code)),
        };
        written.map_err(|error| write_error(error, self.is_web))
    }

    /// Writes all of `rest`, and takes from it what is written. Cancel-safe: what is left in it has not been written.
    ///
    /// # Errors
    /// If the peer stopped the stream or the session is over.
    pub async fn write_rest(&mut self, rest: &mut Bytes) -> Result<(), WriteError> {
        while !rest.is_empty() {
            std::future::poll_fn(|cx| self.poll_write(cx, std::slice::from_mut(rest))).await?;
        }
        Ok(())
    }

    /// Writes as much of `chunks` as the transport takes now, and leaves the rest in them. If it
    /// takes nothing, the task is woken when it does.
    ///
    /// # Errors
    /// If the peer stopped the stream or the session is over.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<(), WriteError>> {
        let is_web = self.is_web;
        let write = std::pin::pin!(self.quic.write_chunks(chunks));
        write.poll(cx).map(|result| result.map(|_| ()).map_err(|error| write_error(error, is_web)))
    }

    /// Streams with higher priority are sent first.
    pub fn set_priority(&mut self, priority: i32) {
        let _already_closed = self.quic.set_priority(priority);
    }

    /// Ends the stream after what was written; does not wait for the peer.
    pub fn finish(&mut self) {
        let _already_closed = self.quic.finish();
    }

    /// Waits until the peer has everything that was written before [`finish`](Self::finish), or
    /// the stream is over otherwise.
    pub async fn delivered(&mut self) {
        let _how = self.quic.stopped().await;
    }

    /// Gives the stream up: what was written and not yet delivered is thrown away.
    pub fn reset(&mut self, code: Code) {
        let _already_closed = self.quic.reset(to_wire(code, self.is_web));
    }
}

fn write_error(error: quinn::WriteError, is_web: bool) -> WriteError {
    match error {
        quinn::WriteError::Stopped(code) => WriteError::Stopped(from_wire(code, is_web)),
        other => WriteError::SessionEnded(other.to_string()),
    }
}

fn to_wire(code: Code, is_web: bool) -> VarInt {
    let number = if is_web { code.to_webtransport() } else { u64::from(code.as_u32()) };
    VarInt::from_u64(number).expect("both ranges lie below 2^62")
}

fn from_wire(number: VarInt, is_web: bool) -> Code {
    match is_web {
        true => Code::from_webtransport(number.into_inner()),
        false => Code::from_quic(number.into_inner()),
    }
}
