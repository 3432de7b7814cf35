//! What has come of one stream, for telemetry.

use std::time::{Duration, Instant};

use super::ring::RingUnit;

/// What came of a stream between two looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngressCount {
    /// Units.
    pub units: u64,
    /// Bytes of them, headers included.
    pub bytes: u64,
    /// Units that have not come, by their sequence numbers. One that comes late makes up for one of the next count.
    pub missing: u64,
    /// How much the time between frames varies on its way (RFC 3550, 6.4.1); zero if none came.
    pub jitter: Duration,
}

/// Counts what comes of one stream: a few integer operations per unit.
#[derive(Debug, Default)]
pub struct IngressMeter {
    units: u64,
    bytes: u64,
    /// The highest sequence number that has come.
    highest: Option<u64>,
    /// Units that should have come since the last look.
    expected: u64,
    /// When the last frame came, and its timestamp, µs.
    last_frame: Option<(Instant, u64)>,
    /// 16 times the jitter, µs.
    jitter_x16: u64,
}

/// A frame that is later than this says that somebody paused, or set a clock: not how the path is.
const MAX_VARIATION_US: u64 = 1_000_000;

impl IngressMeter {
    /// A unit has come.
    pub fn push(&mut self, unit: &RingUnit) {
        self.units += 1;
        self.bytes += unit.wire.len() as u64;
        let sequence = unit.header.sequence();
        match self.highest {
            Some(highest) if sequence <= highest => {}
            before => {
                self.expected += before.map_or(1, |before| sequence - before);
                self.highest = Some(sequence);
            }
        }
        if unit.starts_frame {
            self.frame(unit.received_at, unit.header.timestamp());
        }
    }

    fn frame(&mut self, at: Instant, timestamp_us: u64) {
        let last = self.last_frame.replace((at, timestamp_us));
        let Some((last_at, last_timestamp)) = last else { return };
        let Ok(between) = i64::try_from(at.saturating_duration_since(last_at).as_micros()) else { return };
        let captured = timestamp_us.wrapping_sub(last_timestamp).cast_signed();
        let variation = between.wrapping_sub(captured).unsigned_abs();
        if variation <= MAX_VARIATION_US {
            self.jitter_x16 = self.jitter_x16 - self.jitter_x16 / 16 + variation;
        }
    }

    /// What has come since this was last asked.
    pub fn take(&mut self) -> IngressCount {
        let missing = self.expected.saturating_sub(self.units);
        // What came late of an earlier count stays to its credit for one look, not for ever.
        self.expected = 0;
        let (units, bytes) = (std::mem::take(&mut self.units), std::mem::take(&mut self.bytes));
        // Of a stream that is paused nobody knows.
        let jitter_us = if units == 0 { 0 } else { self.jitter_x16 / 16 };
        IngressCount { units, bytes, missing, jitter: Duration::from_micros(jitter_us) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use darktower_protocol::{Flags, FrameType, HeaderFields, StreamId, Unit};

    use super::super::ring::{RingLimits, StreamRing};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Audio of 20 ms each: its numbers, and how late each is.
    fn count(meter: &mut IngressMeter, start: Instant, units: &[(u64, u64)]) -> IngressCount {
        let mut ring = StreamRing::new(RingLimits::default());
        for (sequence, late_ms) in units {
            let fields = HeaderFields {
                frame_type: FrameType::Audio,
                stream_id: StreamId::from_bytes([1; 16]),
                timestamp: sequence * 20_000,
                sequence: *sequence,
                flags: Flags::END_OF_FRAME,
            };
            let now = start + (*sequence as u32 * 20 + *late_ms as u32) * MS;
            let unit = Unit::new(&fields, Bytes::from_static(&[0; 54]));
            meter.push(&ring.push(&unit, now).expect("audio is taken in any order"));
        }
        meter.take()
    }

    #[test]
    fn gaps_are_what_is_missing() {
        let (mut meter, start) = (IngressMeter::default(), Instant::now());
        let first = count(&mut meter, start, &[(7, 0), (8, 0), (10, 0), (11, 0)]);
        assert_eq!((first.units, first.bytes, first.missing), (4, 400, 1), "it may begin anywhere");
        assert_eq!(count(&mut meter, start, &[]).missing, 0);
        let second = count(&mut meter, start, &[(12, 0), (9, 60), (13, 0), (13, 0)]);
        assert_eq!((second.units, second.missing), (4, 0), "late and double ones are not missing");
        assert_eq!(count(&mut meter, start, &[(20, 0)]).missing, 6, "across two looks");
    }

    #[test]
    fn jitter_is_the_variation_of_the_way_not_of_the_stream() {
        let (mut meter, start) = (IngressMeter::default(), Instant::now());
        let even: Vec<(u64, u64)> = (0..200).map(|n| (n, 30)).collect();
        assert_eq!(count(&mut meter, start, &even).jitter, Duration::ZERO);
        let uneven: Vec<(u64, u64)> = (200..600).map(|n| (n, if n % 2 == 0 { 30 } else { 40 })).collect();
        let jitter = count(&mut meter, start, &uneven).jitter;
        assert!((9 * MS..=10 * MS).contains(&jitter), "{jitter:?}");
        assert_eq!(count(&mut meter, start, &[]).jitter, Duration::ZERO, "of a pause nothing is known");
        // Somebody was silent, or has set its clock.
        let before = jitter;
        let after = count(&mut meter, start, &[(600, 5_030), (601, 5_030)]).jitter;
        assert!(after <= before, "{after:?}");
    }
}
