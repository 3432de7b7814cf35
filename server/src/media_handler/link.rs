//! A subscriber's session as the fan-out uses it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use darktower_core::media::RingUnit;
use darktower_core::media::fanout::{Connection, Opened, Written};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::{Code, Features, StreamId};
use tokio::sync::Semaphore;

use crate::transport::{PathCounts, SendStream, Session, WriteError};

/// Audio units on streams of their own at one time; what comes on top is left out.
const MAX_OVERSIZED: usize = 8;
/// Until such a unit has been written, or is given up.
const OVERSIZED_DEADLINE: Duration = Duration::from_millis(500);

const PRIORITY_AUDIO: i32 = 900;

/// The sending side of one media session.
#[derive(Debug)]
pub(super) struct Link {
    session: Session,
    features: Features,
    waker: Waker,
    /// Audio units that no datagram holds and that are on their way on streams of their own.
    oversized: Arc<Semaphore>,
}

impl Link {
    /// `waker` is called when the session takes bytes again.
    pub(super) fn new(session: Session, features: Features, waker: Waker) -> Self {
        Self { session, features, waker, oversized: Arc::new(Semaphore::new(MAX_OVERSIZED)) }
    }
}

impl Link {
    /// What is known of the path.
    pub(super) fn path(&self) -> PathCounts {
        self.session.path()
    }
}

impl Connection for Link {
    type Stream = SendStream;

    fn max_datagram_unit(&self) -> usize {
        let max_len = self.session.max_datagram_len().unwrap_or(0);
        max_len.saturating_sub(self.session.datagram_prefix().len())
    }

    fn datagram_space(&self) -> usize {
        self.session.datagram_space()
    }

    fn send_datagram(&mut self, unit: &RingUnit) {
        let datagram = match (self.session.datagram_prefix(), &unit.web_datagram) {
            ([], _) => unit.wire.clone(),
            // Browsers open one session per connection, and it is number 0.
            ([0], Some(datagram)) => datagram.clone(),
            (prefix, _) => {
                let mut datagram = BytesMut::with_capacity(prefix.len() + unit.wire.len());
                datagram.extend_from_slice(prefix);
                datagram.extend_from_slice(&unit.wire);
                datagram.freeze()
            }
        };
        self.session.send_datagram(datagram);
    }

    /// On a QUIC stream, as far as the client allows.
    fn send_oversized(&mut self, stream: StreamId, unit: &RingUnit) {
        if !self.features.contains(Features::GROUPS) {
            return;
        }
        // Later than that it would be too old to play.
        let Ok(permit) = Arc::clone(&self.oversized).try_acquire_owned() else { return };
        let preamble = GroupPreamble {
            kind: GroupKind::Audio,
            continuation: false,
            discontinuity: true,
            stream_id: stream,
            group: unit.header.sequence(),
            first_sequence: unit.header.sequence(),
        };
        let (session, wire) = (self.session.clone(), unit.wire.clone());
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + OVERSIZED_DEADLINE;
            let opened = tokio::time::timeout_at(deadline, session.open_uni()).await;
            let Ok(Ok((mut send, prefix))) = opened else { return };
            send.set_priority(PRIORITY_AUDIO);
            let write = async {
                for bytes in [prefix.unwrap_or_default(), preamble.encode(), wire] {
                    send.write_all(bytes).await?;
                }
                Ok::<_, WriteError>(())
            };
            match tokio::time::timeout_at(deadline, write).await {
                Ok(Ok(())) => send.finish(),
                _ => send.reset(Code::DROPPED_GROUP),
            }
            drop(permit);
        });
    }

    fn open(&mut self) -> Opened<SendStream> {
        let mut cx = Context::from_waker(&self.waker);
        let open = std::pin::pin!(self.session.open_uni());
        match open.poll(&mut cx) {
            Poll::Ready(Ok((stream, prefix))) => Opened::Stream(stream, prefix.unwrap_or_default()),
            Poll::Ready(Err(_ended)) => Opened::Gone,
            Poll::Pending => Opened::NotNow,
        }
    }

    fn write(&mut self, stream: &mut SendStream, chunks: &mut [Bytes]) -> Written {
        let mut cx = Context::from_waker(&self.waker);
        while chunks.iter().any(|chunk| !chunk.is_empty()) {
            match stream.poll_write(&mut cx, chunks) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(WriteError::Stopped(_))) => return Written::Stopped,
                Poll::Ready(Err(WriteError::SessionEnded(_))) => return Written::Gone,
                Poll::Pending => return Written::Blocked,
            }
        }
        Written::All
    }

    fn set_priority(&mut self, stream: &mut SendStream, priority: i32) {
        stream.set_priority(priority);
    }

    fn finish(&mut self, mut stream: SendStream) {
        stream.finish();
    }

    fn reset(&mut self, mut stream: SendStream, code: Code) {
        stream.reset(code);
    }

    fn estimated_bit_rate(&self) -> Option<u64> {
        self.session.estimated_bit_rate()
    }

    fn tune(&mut self) {
        self.session.fit_send_window();
    }
}
