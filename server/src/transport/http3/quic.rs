//! What `h3` asks of a QUIC library, given by quinn.
//!
//! The crate `h3-quinn` (0.0.10) does the same without a bound on frames, and panics when a stream is stopped while a read
//! is in flight; see docs/decisions/0003-libraries.md.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

use super::frame_guard::FrameGuard;

/// Bytes taken from a stream at one time.
const MAX_CHUNK: usize = 64 * 1024;

type Opened<T> = Result<T, quinn::ConnectionError>;
type Opening<T> = Pin<Box<dyn Future<Output = Opened<T>> + Send>>;

/// A connection from a client.
pub(super) struct Connection {
    opener: Opener,
    accepting_bi: Option<Opening<(quinn::SendStream, quinn::RecvStream)>>,
    accepting_uni: Option<Opening<quinn::RecvStream>>,
}

/// Opens streams of a connection.
pub(super) struct Opener {
    quic: quinn::Connection,
    opening_uni: Option<Opening<quinn::SendStream>>,
}

impl Connection {
    pub(super) fn new(quic: quinn::Connection) -> Self {
        Self { opener: Opener { quic, opening_uni: None }, accepting_bi: None, accepting_uni: None }
    }

    /// Ends the connection at once.
    pub(super) fn close(&mut self, code: Code) {
        h3::quic::OpenStreams::<Bytes>::close(&mut self.opener, code, b"");
    }
}

/// Polls the future in `slot`, made by `begin` if there is none. It must not be dropped while it waits: with it goes its
/// place among those that are woken.
fn poll_slot<T>(
    slot: &mut Option<Opening<T>>,
    begin: impl FnOnce() -> Opening<T>,
    cx: &mut Context<'_>,
) -> Poll<Opened<T>> {
    let opened = ready!(slot.get_or_insert_with(begin).as_mut().poll(cx));
    *slot = None;
    Poll::Ready(opened)
}

impl h3::quic::Connection<Bytes> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let quic = &self.opener.quic;
        let begin = || -> Opening<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.accept_uni().await })
        };
        let recv = ready!(poll_slot(&mut self.accepting_uni, begin, cx)).map_err(connection_error)?;
        Poll::Ready(Ok(RecvStream { quic: recv, guard: FrameGuard::unidirectional() }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let quic = &self.opener.quic;
        let begin = || -> Opening<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.accept_bi().await })
        };
        let (send, recv) = ready!(poll_slot(&mut self.accepting_bi, begin, cx)).map_err(connection_error)?;
        Poll::Ready(Ok(BidiStream {
            send: SendStream::new(send),
            recv: RecvStream { quic: recv, guard: FrameGuard::request() },
        }))
    }

    fn opener(&self) -> Self::OpenStreams {
        Opener { quic: self.opener.quic.clone(), opening_uni: None }
    }
}

impl h3::quic::OpenStreams<Bytes> for Connection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        h3::quic::OpenStreams::<Bytes>::close(&mut self.opener, code, reason);
    }
}

impl h3::quic::OpenStreams<Bytes> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown(
            "a server opens no requests (RFC 9114 section 6.1)".into(),
        )))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        let quic = &self.quic;
        let begin = || -> Opening<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.open_uni().await })
        };
        let send = ready!(poll_slot(&mut self.opening_uni, begin, cx)).map_err(|error| {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
        })?;
        Poll::Ready(Ok(SendStream::new(send)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.quic.close(to_varint(code.value()), reason);
    }
}

/// Both halves of a request.
pub(super) struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

impl h3::quic::BidiStream<Bytes> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl h3::quic::SendStream<Bytes> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl h3::quic::RecvStream for BidiStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

/// The sending half of a stream.
///
/// Dropping it finishes it if something was sent, which h3 relies on for its 431, and resets it if not: an empty answer
/// is none. What must not look whole is reset first.
pub(super) struct SendStream {
    quic: quinn::SendStream,
    /// What is being written.
    pending: Option<WriteBuf<Bytes>>,
    is_used: bool,
    is_over: bool,
    /// After the end was written: until the peer has all of it.
    delivered: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl SendStream {
    fn new(quic: quinn::SendStream) -> Self {
        Self { quic, pending: None, is_used: false, is_over: false, delivered: None }
    }
}

impl h3::quic::SendStream<Bytes> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(pending) = &mut self.pending {
            while pending.has_remaining() {
                let written = Pin::new(&mut self.quic).poll_write(cx, pending.chunk());
                pending.advance(ready!(written).map_err(write_error)?);
            }
        }
        self.pending = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.pending.is_some() {
            return Err(StreamErrorIncoming::Unknown("the data before has not been written".into()));
        }
        self.is_used = true;
        self.pending = Some(data.into());
        Ok(())
    }

    /// Ready when the peer has everything: whoever closes the connection afterwards takes nothing from it.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if !self.is_over {
            self.is_over = true;
            self.quic.finish().map_err(|error| StreamErrorIncoming::Unknown(error.into()))?;
        }
        let stopped = self.quic.stopped();
        let delivered = self.delivered.get_or_insert_with(|| {
            Box::pin(async move {
                let _how = stopped.await;
            })
        });
        delivered.as_mut().poll(cx).map(Ok)
    }

    fn reset(&mut self, reset_code: u64) {
        self.is_over = true;
        let _already_closed = self.quic.reset(to_varint(reset_code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.quic.id())
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.is_over && !self.is_used {
            let _already_closed = self.quic.reset(to_varint(Code::H3_REQUEST_INCOMPLETE.value()));
        }
    }
}

/// The receiving half of a stream.
pub(super) struct RecvStream {
    quic: quinn::RecvStream,
    guard: FrameGuard,
}

impl RecvStream {
    fn stop(&mut self, code: u64) {
        let _already_closed = self.quic.stop(to_varint(code));
    }
}

impl h3::quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let read = pin!(self.quic.read_chunk(MAX_CHUNK, true)).poll(cx);
        let Some(chunk) = ready!(read).map_err(read_error)? else { return Poll::Ready(Ok(None)) };
        if let Err(error) = self.guard.check(&chunk.bytes) {
            self.stop(Code::H3_EXCESSIVE_LOAD.value());
            return Poll::Ready(Err(StreamErrorIncoming::Unknown(error.into())));
        }
        Poll::Ready(Ok(Some(chunk.bytes)))
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.stop(error_code);
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.quic.id())
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        // RFC 9114 section 4.1: the rest of a request that is answered is not wanted, and the client did nothing wrong.
        self.stop(Code::H3_NO_ERROR.value());
    }
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    VarInt::from(id).into_inner().try_into().expect("both ranges lie below 2^62")
}

fn to_varint(number: u64) -> VarInt {
    VarInt::from_u64(number).unwrap_or(VarInt::MAX)
}

fn connection_error(error: quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn read_error(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        quinn::ReadError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
        }
        other => StreamErrorIncoming::Unknown(other.into()),
    }
}

fn write_error(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        quinn::WriteError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
        }
        other => StreamErrorIncoming::Unknown(other.into()),
    }
}
