//! What media handlers tell of participants.

use std::time::Duration;

use darktower_protocol::{ParticipantId, StreamId};

use crate::media::IngressCount;

/// What a media handler saw of one participant's media session in about a second.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaSample {
    /// Whose session it is.
    pub participant: ParticipantId,
    /// The way to it.
    pub path: PathSample,
    /// What came of its layers.
    pub published: Vec<IngressSample>,
    /// What it was sent.
    pub received: Vec<EgressSample>,
}

/// The way from the media handler to a participant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathSample {
    /// What the counts cover.
    pub interval: Duration,
    /// There and back.
    pub rtt: Duration,
    /// QUIC packets that were sent.
    pub sent_packets: u64,
    /// Those of them that are taken for lost.
    pub lost_packets: u64,
    /// What the path seems to carry by its congestion window and round-trip time, bit/s. 0 = not known.
    pub available_bps: u64,
}

/// What came of one layer of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngressSample {
    /// The layer.
    pub wire_stream_id: StreamId,
    /// Whether it is audio.
    pub is_audio: bool,
    /// What came.
    pub count: IngressCount,
}

/// What a participant was sent of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressSample {
    /// The wire stream that it is subscribed to.
    pub wanted: StreamId,
    /// The layer of it that it gets.
    pub layer: StreamId,
    /// Bytes that its connection has taken.
    pub bytes: u64,
    /// Groups that were given up, and audio that was left out because it was too old.
    pub dropped: u64,
}
