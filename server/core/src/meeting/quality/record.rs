//! What is kept of somebody's media for later reports.

use std::time::Duration;

use darktower_protocol::ParticipantId;

use super::sample::{EgressSample, PathSample};
use crate::media::IngressCount;

/// How much of somebody's media one record covers.
pub const RECORD_INTERVAL: Duration = Duration::from_secs(10);

/// How one participant's media got through in about [`RECORD_INTERVAL`]. Every sample of a participant that is here is in one
/// record, and in no other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualityRecord {
    /// Whose.
    pub participant: ParticipantId,
    /// How long it was looked at; less than the interval for the last record of a stay.
    pub duration: Duration,
    /// Mean opinion score, 1 to 4.5: the mean of those seconds.
    pub score: f64,
    /// The worst of them.
    pub lowest_score: f64,
    /// Round-trip time between the participant and the media handler: the mean.
    pub rtt: Duration,
    /// The longest.
    pub max_rtt: Duration,
    /// How much the time between frames of one of its streams varied on the way (RFC 3550, 6.4.1), at most.
    pub jitter: Duration,
    /// What came of its audio.
    pub audio: Ingress,
    /// What came of its camera and screen, every layer.
    pub video: Ingress,
    /// Bytes of media that it was sent.
    pub sent_bytes: u64,
    /// Groups that were not sent to it to the end, and audio that was too old to be sent.
    pub dropped: u64,
    /// QUIC packets that it was sent.
    pub sent_packets: u64,
    /// Those of them that were lost.
    pub lost_packets: u64,
    /// The least that the path to it seemed to carry, bit/s. `None` if that was never known.
    pub available_bps: Option<u64>,
    /// The most that it said to lose of a stream other than video, 0 to 1. `None` if it said nothing.
    pub reported_loss: Option<f64>,
}

/// What came of streams from a participant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingress {
    /// Units.
    pub units: u64,
    /// Bytes of them, headers included.
    pub bytes: u64,
    /// Units that did not come.
    pub missing: u64,
}

impl Ingress {
    fn add(&mut self, count: &IngressCount) {
        self.units += count.units;
        self.bytes += count.bytes;
        self.missing += count.missing;
    }
}

/// A record that is being made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recording {
    duration: Duration,
    /// Sums of what is averaged, each second by its length.
    score_seconds: f64,
    rtt_seconds: f64,
    lowest_score: Option<f64>,
    max_rtt: Duration,
    jitter: Duration,
    audio: Ingress,
    video: Ingress,
    sent_bytes: u64,
    dropped: u64,
    sent_packets: u64,
    lost_packets: u64,
    available_bps: Option<u64>,
    reported_loss: Option<f64>,
}

impl Recording {
    /// One more sample, from which `score` was made.
    pub(super) fn add(&mut self, path: &PathSample, score: f64, reported_loss: Option<f64>) {
        let seconds = path.interval.as_secs_f64();
        self.duration += path.interval;
        self.score_seconds += score * seconds;
        self.rtt_seconds += path.rtt.as_secs_f64() * seconds;
        self.lowest_score = Some(self.lowest_score.map_or(score, |lowest| lowest.min(score)));
        self.max_rtt = self.max_rtt.max(path.rtt);
        self.sent_packets += path.sent_packets;
        self.lost_packets += path.lost_packets;
        let available = (path.available_bps > 0).then_some(path.available_bps);
        self.available_bps = [self.available_bps, available].into_iter().flatten().min();
        self.reported_loss = [self.reported_loss, reported_loss].into_iter().flatten().reduce(f64::max);
    }

    pub(super) fn add_published(&mut self, is_audio: bool, count: &IngressCount) {
        let ingress = if is_audio { &mut self.audio } else { &mut self.video };
        ingress.add(count);
        self.jitter = self.jitter.max(count.jitter);
    }

    pub(super) fn add_received(&mut self, sample: &EgressSample) {
        self.sent_bytes += sample.bytes;
        self.dropped += sample.dropped;
    }

    pub(super) fn is_full(&self) -> bool {
        self.duration >= RECORD_INTERVAL
    }

    /// The record of what was added, which is empty again. `None` if nothing was.
    pub(super) fn take(&mut self, participant: ParticipantId) -> Option<QualityRecord> {
        let Self { duration, max_rtt, jitter, audio, video, .. } = *self;
        let lowest_score = self.lowest_score?;
        let seconds = duration.as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let record = QualityRecord {
            participant,
            duration,
            // Rounding must not put the mean outside of what it is the mean of.
            score: (self.score_seconds / seconds).max(lowest_score),
            lowest_score,
            rtt: Duration::from_secs_f64(self.rtt_seconds / seconds).min(max_rtt),
            max_rtt,
            jitter,
            audio,
            video,
            sent_bytes: self.sent_bytes,
            dropped: self.dropped,
            sent_packets: self.sent_packets,
            lost_packets: self.lost_packets,
            available_bps: self.available_bps,
            reported_loss: self.reported_loss,
        };
        *self = Self::default();
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_weigh_as_long_as_they_are() {
        let mut recording = Recording::default();
        let id = ParticipantId::generate();
        assert_eq!(recording.take(id), None, "nothing was seen");
        let path = |seconds, rtt, available_bps| PathSample {
            interval: Duration::from_secs(seconds),
            rtt: Duration::from_millis(rtt),
            sent_packets: 100,
            lost_packets: 1,
            available_bps,
        };
        recording.add(&path(1, 100, 0), 2.0, None);
        assert!(!recording.is_full());
        recording.add(&path(9, 20, 5_000), 4.0, Some(0.25));
        assert!(recording.is_full());
        let count = |units, jitter| IngressCount {
            units,
            bytes: 100,
            missing: 1,
            jitter: Duration::from_millis(jitter),
        };
        recording.add_published(true, &count(50, 3));
        recording.add_published(false, &count(30, 8));
        recording.add_published(false, &count(30, 5));
        let record = recording.take(id).expect("two samples");
        let expected = QualityRecord {
            participant: id,
            duration: Duration::from_secs(10),
            score: 3.8,
            lowest_score: 2.0,
            rtt: Duration::from_millis(28),
            max_rtt: Duration::from_millis(100),
            jitter: Duration::from_millis(8),
            audio: Ingress { units: 50, bytes: 100, missing: 1 },
            video: Ingress { units: 60, bytes: 200, missing: 2 },
            sent_bytes: 0,
            dropped: 0,
            sent_packets: 200,
            lost_packets: 2,
            available_bps: Some(5_000),
            reported_loss: Some(0.25),
        };
        assert_eq!(record, expected);
        assert_eq!(recording.take(id), None, "it is empty again");
    }
}
