//! Streams that the peer opens, and their headers.

use std::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::ConnectionError;
use tokio::io::AsyncReadExt;
use web_transport_proto::{Frame, Settings, StreamUni, VarInt};

use crate::handshake::HandshakeError;
use crate::{BiStream, H3_ID_ERROR, H3_REQUEST_REJECTED, H3_STREAM_CREATION_ERROR, SESSION_ID};

/// The bidirectional streams of the peer whose headers are not complete.
#[derive(Debug, Default)]
pub(crate) struct BiStreams(FuturesUnordered<BoxFuture<'static, Option<BiStream>>>);

impl BiStreams {
    /// The next stream of the session, after its header. Cancel-safe.
    pub(crate) async fn next(&mut self, quic: &quinn::Connection) -> Result<BiStream, ConnectionError> {
        loop {
            tokio::select! {
                biased;
                Some(read) = self.0.next() => if let Some(stream) = read {
                    return Ok(stream);
                },
                accepted = quic.accept_bi() => {
                    let (send, recv) = accepted?;
                    self.0.push(Box::pin(read_bi_header(send, recv)));
                }
            }
        }
    }
}

/// The unidirectional streams of the peer.
#[derive(Debug, Default)]
pub(crate) struct UniStreams {
    headers: FuturesUnordered<BoxFuture<'static, Option<UniStream>>>,
    /// Streams of the session that nobody has accepted yet.
    early: VecDeque<quinn::RecvStream>,
    /// Control and QPACK streams: they must not be closed, and nothing in them concerns a single
    /// session without a dynamic table. A peer that fills them waits for flow control.
    kept: Vec<quinn::RecvStream>,
}

/// A stream whose header has been read.
enum UniStream {
    Control(quinn::RecvStream),
    Qpack(quinn::RecvStream),
    Session(quinn::RecvStream),
}

impl UniStreams {
    /// The peer's settings, whichever of its streams are the first to come.
    pub(crate) async fn settings(&mut self, quic: &quinn::Connection) -> Result<Settings, HandshakeError> {
        loop {
            match self.next_of_any_type(quic).await? {
                UniStream::Control(mut recv) => {
                    // The parser wants the stream's type as well.
                    let stream_type = [StreamUni::CONTROL.0.into_inner() as u8];
                    let mut whole = AsyncReadExt::chain(stream_type.as_slice(), &mut recv);
                    let settings = Settings::read(&mut whole).await?;
                    self.kept.push(recv);
                    return Ok(settings);
                }
                other => self.sort(other),
            }
        }
    }

    /// The next stream of the session, after its header. Cancel-safe.
    pub(crate) async fn next(
        &mut self,
        quic: &quinn::Connection,
    ) -> Result<quinn::RecvStream, ConnectionError> {
        loop {
            if let Some(stream) = self.early.pop_front() {
                return Ok(stream);
            }
            let stream = self.next_of_any_type(quic).await?;
            self.sort(stream);
        }
    }

    fn sort(&mut self, stream: UniStream) {
        match stream {
            UniStream::Session(recv) => self.early.push_back(recv),
            // One control stream and two of QPACK are all that there can be.
            UniStream::Qpack(recv) if self.kept.len() < 3 => self.kept.push(recv),
            UniStream::Qpack(mut recv) | UniStream::Control(mut recv) => {
                let _ended = recv.stop(H3_STREAM_CREATION_ERROR);
            }
        }
    }

    /// The next stream whose header is complete. Cancel-safe.
    async fn next_of_any_type(&mut self, quic: &quinn::Connection) -> Result<UniStream, ConnectionError> {
        loop {
            tokio::select! {
                biased;
                Some(read) = self.headers.next() => if let Some(stream) = read {
                    return Ok(stream);
                },
                accepted = quic.accept_uni() => self.headers.push(Box::pin(read_uni_header(accepted?))),
            }
        }
    }
}

/// `None` for a stream that ends within its header, and for one that is not ours, which is ended.
async fn read_uni_header(mut recv: quinn::RecvStream) -> Option<UniStream> {
    let refusal = match StreamUni(read_varint(&mut recv).await?) {
        StreamUni::CONTROL => return Some(UniStream::Control(recv)),
        StreamUni::QPACK_ENCODER | StreamUni::QPACK_DECODER => return Some(UniStream::Qpack(recv)),
        StreamUni::WEBTRANSPORT => {
            if read_varint(&mut recv).await?.into_inner() == SESSION_ID {
                return Some(UniStream::Session(recv));
            }
            H3_ID_ERROR
        }
        _ => H3_STREAM_CREATION_ERROR,
    };
    let _ended = recv.stop(refusal);
    None
}

/// As [`read_uni_header`].
async fn read_bi_header(mut send: quinn::SendStream, mut recv: quinn::RecvStream) -> Option<BiStream> {
    let refusal = match Frame(read_varint(&mut recv).await?) {
        Frame::WEBTRANSPORT => {
            if read_varint(&mut recv).await?.into_inner() == SESSION_ID {
                return Some((send, recv));
            }
            H3_ID_ERROR
        }
        // HTTP/3 lets servers open no other bidirectional streams.
        _ if send.id().initiator() == quinn::Side::Server => H3_STREAM_CREATION_ERROR,
        // A request of its own.
        _ => H3_REQUEST_REJECTED,
    };
    let _ended = (recv.stop(refusal), send.reset(refusal));
    None
}

async fn read_varint(recv: &mut quinn::RecvStream) -> Option<VarInt> {
    VarInt::read(recv).await.ok()
}
