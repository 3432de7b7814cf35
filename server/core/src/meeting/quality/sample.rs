//! What media handlers tell of participants, and what is kept of it.

use std::time::Duration;

use darktower_protocol::signaling::pb::NetworkGrade;
use darktower_protocol::{ParticipantId, StreamId};

use super::score::grade;
use crate::media::IngressCount;

/// What a media handler saw of one participant's media session in about a second.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaSample {
    /// Whose session it is.
    pub participant: ParticipantId,
    /// The way to it.
    pub path: PathSample,
    /// What came of its layers, by wire stream id.
    pub published: Vec<(StreamId, IngressCount)>,
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

/// How the call of one participant was, over some seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualityRecord {
    /// Whose.
    pub participant: ParticipantId,
    /// Samples, about one per second.
    pub samples: u32,
    /// Mean opinion score: average and worst of the samples.
    pub score: f64,
    /// The worst of them.
    pub worst_score: f64,
    /// Share of units that did not come from it, 0 to 1.
    pub loss_up: f64,
    /// Share of packets that did not reach it, 0 to 1.
    pub loss_down: f64,
    /// There and back: average.
    pub rtt: Duration,
    /// Of what came from it: the largest.
    pub jitter: Duration,
    /// What came from it, bit/s.
    pub up_bps: u64,
    /// What it was sent, bit/s.
    pub down_bps: u64,
}

impl QualityRecord {
    /// The grade of the average score.
    pub fn grade(&self) -> NetworkGrade {
        grade(self.score)
    }
}

/// One sample after the other becomes a [`QualityRecord`].
#[derive(Debug, Default)]
pub(super) struct Recorder {
    samples: u32,
    seconds: f64,
    score: f64,
    worst_score: f64,
    units: u64,
    missing: u64,
    sent_packets: u64,
    lost_packets: u64,
    rtt: Duration,
    jitter: Duration,
    up_bytes: u64,
    down_bytes: u64,
}

impl Recorder {
    pub(super) fn add(&mut self, sample: &MediaSample, score: f64) {
        let MediaSample { path, published, received, .. } = sample;
        self.worst_score = if self.samples == 0 { score } else { self.worst_score.min(score) };
        self.samples += 1;
        self.score += score;
        self.seconds += path.interval.as_secs_f64();
        self.sent_packets += path.sent_packets;
        self.lost_packets += path.lost_packets;
        self.rtt += path.rtt;
        for (_, count) in published {
            self.units += count.units;
            self.missing += count.missing;
            self.up_bytes += count.bytes;
            self.jitter = self.jitter.max(count.jitter);
        }
        self.down_bytes += received.iter().map(|stream| stream.bytes).sum::<u64>();
    }

    /// What was added since this was last asked; `None` if nothing was.
    pub(super) fn take(&mut self, participant: ParticipantId) -> Option<QualityRecord> {
        let Self { samples, seconds, .. } = *self;
        if samples == 0 || seconds <= 0.0 {
            return None;
        }
        let sums = std::mem::take(self);
        let share =
            |part: u64, whole: u64| if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) };
        let rate = |bytes: u64| (bytes as f64 * 8.0 / seconds) as u64;
        Some(QualityRecord {
            participant,
            samples,
            score: sums.score / f64::from(samples),
            worst_score: sums.worst_score,
            loss_up: share(sums.missing, sums.units + sums.missing),
            loss_down: share(sums.lost_packets, sums.sent_packets),
            rtt: sums.rtt / samples,
            jitter: sums.jitter,
            up_bps: rate(sums.up_bytes),
            down_bps: rate(sums.down_bytes),
        })
    }
}
