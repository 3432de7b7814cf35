//! What is lost of the streams that come, between two looks at them.

use std::collections::BTreeMap;

use darktower_protocol::StreamId;

/// Streams told of at a time: the rest has its turn at the next.
const AT_A_TIME: usize = 16;

/// Units that came of a stream, and those that did not, since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) units: u64,
    pub(crate) lost: u64,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    before: BTreeMap<StreamId, Came>,
    /// The last stream that was told of.
    last: Option<StreamId>,
}

impl Losses {
    /// The share that was lost, 0 to 1, of streams of which something came since the last look; of a few of them, each in
    /// its turn. Layers of one stream are added up.
    pub(crate) fn since_last(
        &mut self,
        streams: impl Iterator<Item = (StreamId, Came)>,
    ) -> Vec<(StreamId, f32)> {
        let mut now: BTreeMap<StreamId, Came> = BTreeMap::new();
        for (stream_id, came) in streams {
            let sum = now.entry(stream_id).or_default();
            sum.units += came.units;
            sum.lost += came.lost;
        }
        let before = std::mem::replace(&mut self.before, now.clone());
        let mut losses = Vec::new();
        for (stream_id, now) in now {
            let before = before.get(&stream_id).copied().unwrap_or_default();
            let lost = now.lost.saturating_sub(before.lost);
            let all = now.units.saturating_sub(before.units) + lost;
            if all > 0 {
                losses.push((stream_id, lost as f32 / all as f32));
            }
        }
        let turn = losses.iter().position(|(stream_id, _)| Some(*stream_id) > self.last).unwrap_or(0);
        losses.rotate_left(turn);
        losses.truncate(AT_A_TIME);
        self.last = losses.last().map(|(stream_id, _)| *stream_id);
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(n: u8) -> StreamId {
        StreamId::from_bytes([n; 16])
    }

    #[test]
    fn losses_are_of_the_time_between() {
        let mut losses = Losses::default();
        let came = |n, units, lost| (stream(n), Came { units, lost });
        assert_eq!(
            losses.since_last([came(1, 90, 10), came(2, 50, 0)].into_iter()),
            [(stream(1), 0.1), (stream(2), 0.0)]
        );
        // Two layers of one stream; nothing more of the other.
        let next = [came(1, 100, 10), came(1, 0, 30), came(2, 50, 0)];
        assert_eq!(losses.since_last(next.into_iter()), [(stream(1), 0.75)]);
    }

    #[test]
    fn every_stream_has_its_turn() {
        let mut losses = Losses::default();
        let mut told = Vec::new();
        for round in 1..=3 {
            let streams = (0..40).map(|n| (stream(n), Came { units: round, lost: 0 }));
            let part = losses.since_last(streams);
            assert_eq!(part.len(), AT_A_TIME);
            told.extend(part.into_iter().map(|(stream_id, _)| stream_id));
        }
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), 40);
    }
}
