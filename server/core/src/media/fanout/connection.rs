//! What the fan-out needs of a subscriber's connection.

use bytes::Bytes;
use darktower_protocol::group::GroupPreamble;
use darktower_protocol::{Code, StreamId};

use super::super::ring::RingUnit;

/// One subscriber's connection. No call waits: what cannot be done now is said, and the connection
/// sees to it that [`Fanout::wake`](super::Fanout::wake) is called when it can be.
pub trait Connection {
    /// A QUIC stream to the subscriber.
    type Stream: std::fmt::Debug;

    /// Bytes of the largest unit that a datagram holds now; 0 if the subscriber takes none.
    fn max_datagram_unit(&self) -> usize;

    /// Bytes of datagrams that can be queued without throwing out older ones.
    fn datagram_space(&self) -> usize;

    /// Queues an audio unit as a datagram of its own. (Datagrams that are queued together share packets.) One that
    /// the path no longer takes is lost, as datagrams may be.
    fn send_datagram(&mut self, unit: &RingUnit);

    /// Sends an audio unit that no datagram holds, on a QUIC stream of its own or not at all.
    fn send_oversized(&mut self, stream: StreamId, unit: &RingUnit);

    /// Opens a QUIC stream for a group.
    fn open(&mut self) -> Opened<Self::Stream>;

    /// Writes as much of `chunks` as the connection takes now and leaves the rest in them.
    fn write(&mut self, stream: &mut Self::Stream, chunks: &mut [Bytes]) -> Written;

    /// Streams with higher priority are sent first.
    fn set_priority(&mut self, stream: &mut Self::Stream, priority: i32);

    /// Ends a stream after what was written.
    fn finish(&mut self, stream: Self::Stream);

    /// Gives a stream up: what was written and not yet delivered is thrown away.
    fn reset(&mut self, stream: Self::Stream, code: Code);

    /// What the path seems to carry, bit/s; `None` if nothing is known of it.
    fn estimated_bit_rate(&self) -> Option<u64>;

    /// Called every 100 ms while media flows: fits the send buffer to the path.
    fn tune(&mut self);
}

/// What came of opening a stream.
#[derive(Debug)]
pub enum Opened<S> {
    /// The stream, and what has to be written to it first (empty on raw QUIC).
    Stream(S, Bytes),
    /// The subscriber allows no more streams at the moment; to be tried again.
    NotNow,
    /// The connection is gone.
    Gone,
}

/// What came of writing to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything was taken.
    All,
    /// Something is left: the connection takes no more for now.
    Blocked,
    /// The subscriber does not want the rest of this stream.
    Stopped,
    /// The connection is gone.
    Gone,
}

/// The first bytes of a group stream.
pub(super) fn preamble(
    kind: darktower_protocol::group::GroupKind,
    stream_id: StreamId,
    group: u64,
    discontinuity: bool,
) -> Bytes {
    GroupPreamble { kind, continuation: false, discontinuity, stream_id, group, first_sequence: group }
        .encode()
}
