//! The reference of what is kept of everybody's media: all that was seen, once.

use std::collections::BTreeMap;
use std::time::Duration;

use darktower_core::meeting::quality::{IngressSample, MediaSample, QualityRecord, RECORD_INTERVAL};
use darktower_protocol::ParticipantId;

use crate::Checked;

/// What was seen and is not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct Records {
    open: BTreeMap<ParticipantId, Counts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    duration: Duration,
    published: [u64; 3],
    sent: [u64; 4],
}

impl Records {
    pub(crate) fn seen(&mut self, sample: &MediaSample) {
        let open = self.open.entry(sample.participant).or_default();
        open.duration += sample.path.interval;
        for IngressSample { count, .. } in &sample.published {
            for (sum, count) in open.published.iter_mut().zip([count.units, count.bytes, count.missing]) {
                *sum += count;
            }
        }
        let bytes = sample.received.iter().map(|received| received.bytes).sum();
        let dropped = sample.received.iter().map(|received| received.dropped).sum();
        let sent = [bytes, dropped, sample.path.sent_packets, sample.path.lost_packets];
        open.sent.iter_mut().zip(sent).for_each(|(sum, count)| *sum += count);
    }

    pub(crate) fn recorded(&mut self, record: &QualityRecord) -> Checked {
        let QualityRecord { audio, video, .. } = record;
        let counts = Counts {
            duration: record.duration,
            published: [audio.units + video.units, audio.bytes + video.bytes, audio.missing + video.missing],
            sent: [record.sent_bytes, record.dropped, record.sent_packets, record.lost_packets],
        };
        let open = self.open.remove(&record.participant).unwrap_or_default();
        ensure!(counts == open, "{counts:?} is recorded of {open:?}");
        let scores = record.lowest_score..=4.5;
        ensure!(scores.contains(&record.score) && record.lowest_score >= 1.0, "no scores: {record:?}");
        ensure!(record.rtt <= record.max_rtt, "the mean is more than the most: {record:?}");
        Ok(())
    }

    /// Nothing waits for too long, and nothing is kept of those who are gone.
    pub(crate) fn check(&self, is_here: impl Fn(ParticipantId) -> bool) -> Checked {
        for (id, open) in &self.open {
            ensure!(is_here(*id), "{id} is gone, and {open:?} is not recorded");
            ensure!(open.duration < RECORD_INTERVAL, "of {id} is not recorded: {open:?}");
        }
        Ok(())
    }
}
