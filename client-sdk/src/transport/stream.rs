//! QUIC streams of either kind of connection.

use std::future::Future;

use bytes::Bytes;
use darktower_protocol::Code;
use quinn::VarInt;

use super::TransportKind;
use super::connection::close_error;
use crate::error::Error;

/// Bytes that one [`RecvStream::read_chunk`] returns at most. quinn hands out what lies in one
/// received packet (or a few), so this is not a buffer size.
const MAX_CHUNK: usize = 64 * 1024;

/// The sending half of a QUIC stream. Dropped without [`reset`](Self::reset) it is finished.
#[derive(Debug)]
pub struct SendStream {
    quic: quinn::SendStream,
    kind: TransportKind,
}

/// The receiving half of a QUIC stream. Dropped without [`stop`](Self::stop) it is stopped with
/// [`Code::NO_ERROR`].
#[derive(Debug)]
pub struct RecvStream {
    quic: quinn::RecvStream,
    kind: TransportKind,
}

impl SendStream {
    /// Of a connection of this kind; on WebTransport after the session's stream header, which is
    /// to be written before.
    pub fn new(quic: quinn::SendStream, kind: TransportKind) -> Self {
        Self { quic, kind }
    }

    /// Writes all of `bytes`. Waits for flow control.
    ///
    /// Not cancel-safe: dropped early, it may have written a part.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] if the peer stopped the stream, [`Error::Closed`] with the connection.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let stopped = self.quic.stopped();
        unless_stopped(stopped, self.quic.write_all(bytes)).await.map_err(|error| self.write_error(error))
    }

    /// Writes all chunks in order without copying them into a buffer first. The slice's contents
    /// are used up.
    ///
    /// Not cancel-safe: dropped early, it may have written a part.
    ///
    /// # Errors
    /// As [`write_all`](Self::write_all).
    pub async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), Error> {
        let stopped = self.quic.stopped();
        let written = unless_stopped(stopped, self.quic.write_all_chunks(chunks)).await;
        written.map_err(|error| self.write_error(error))
    }

    /// Ends the stream after what was written. Does not wait; see [`delivered`](Self::delivered).
    /// No effect on a stream that has ended.
    pub fn finish(&mut self) {
        // The only error is that the stream has ended already.
        let _ = self.quic.finish();
    }

    /// Gives the stream up: what was written may not arrive. No effect on a stream that has ended.
    pub fn reset(&mut self, code: Code) {
        let code = to_wire(self.kind, code);
        // The only error is that the stream has ended already.
        let _ = self.quic.reset(code);
    }

    /// Streams of higher priority are sent first; 0 by default.
    pub fn set_priority(&self, priority: i32) {
        // Fails only for streams that have ended, where it does not matter.
        let _ = self.quic.set_priority(priority);
    }

    /// A future, independent of the borrow, that ends when the peer has acknowledged everything
    /// up to the end of the stream, or stopped it.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] if the peer stopped the stream, [`Error::Closed`] with the connection.
    pub fn delivered(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let stopped = self.quic.stopped();
        let kind = self.kind;
        async move {
            match stopped.await {
                Ok(None) => Ok(()),
                Ok(Some(code)) => Err(Error::StreamEnded(from_wire(kind, code))),
                Err(quinn::StoppedError::ConnectionLost(error)) => Err(close_error(&error)),
                Err(error) => Err(Error::transport("stream lost", error)),
            }
        }
    }

    /// The number of the QUIC stream.
    pub fn id(&self) -> u64 {
        self.quic.id().into()
    }

    /// quinn's stream. On WebTransport the session's stream header has been written already.
    pub fn raw(&self) -> &quinn::SendStream {
        &self.quic
    }

    /// quinn's stream, for what this type does not offer.
    pub fn raw_mut(&mut self) -> &mut quinn::SendStream {
        &mut self.quic
    }

    fn write_error(&self, error: quinn::WriteError) -> Error {
        match error {
            quinn::WriteError::Stopped(code) => Error::StreamEnded(from_wire(self.kind, code)),
            quinn::WriteError::ConnectionLost(error) => close_error(&error),
            error => Error::transport("cannot write to the stream", error),
        }
    }
}

impl RecvStream {
    /// Of a connection of this kind; on WebTransport after the session's stream header, which is
    /// to be read before.
    pub fn new(quic: quinn::RecvStream, kind: TransportKind) -> Self {
        Self { quic, kind }
    }

    /// The next bytes of the stream, as a slice of the received packet; `None` at its end.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] if the peer reset the stream, [`Error::Closed`] with the connection.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.quic.read_chunk(MAX_CHUNK, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(quinn::ReadError::Reset(code)) => Err(Error::StreamEnded(from_wire(self.kind, code))),
            Err(quinn::ReadError::ConnectionLost(error)) => Err(close_error(&error)),
            Err(error) => Err(Error::transport("cannot read from the stream", error)),
        }
    }

    /// Asks the peer to stop sending. No effect on a stream that has ended.
    pub fn stop(&mut self, code: Code) {
        let code = to_wire(self.kind, code);
        // The only error is that the stream has ended already.
        let _ = self.quic.stop(code);
    }

    /// The number of the QUIC stream.
    pub fn id(&self) -> u64 {
        self.quic.id().into()
    }

    /// quinn's stream. On WebTransport the session's stream header has been read already.
    pub fn raw_mut(&mut self) -> &mut quinn::RecvStream {
        &mut self.quic
    }
}

/// Ends a write that waits on a stream that the peer stops. quinn-proto 0.11.19 wakes it once, but looks at the
/// connection's flow control first: if that is used up at that moment, and the stream's too, it never wakes it again.
async fn unless_stopped(
    stopped: impl Future<Output = Result<Option<VarInt>, quinn::StoppedError>>,
    write: impl Future<Output = Result<(), quinn::WriteError>>,
) -> Result<(), quinn::WriteError> {
    tokio::select! {
        biased;
        written = write => written,
        Ok(Some(code)) = stopped => Err(quinn::WriteError::Stopped(code)),
    }
}

fn to_wire(kind: TransportKind, code: Code) -> VarInt {
    match kind {
        TransportKind::Native => VarInt::from_u32(code.as_u32()),
        TransportKind::WebTransport => {
            VarInt::from_u64(code.to_webtransport()).expect("the WebTransport range lies below 2^62")
        }
    }
}

fn from_wire(kind: TransportKind, code: VarInt) -> Code {
    match kind {
        TransportKind::Native => Code::from_quic(code.into_inner()),
        TransportKind::WebTransport => Code::from_webtransport(code.into_inner()),
    }
}
