//! The server's clock seen from here.

use std::collections::VecDeque;
use std::time::Duration;

/// Measurements that are remembered: the best of the last half minute at one ping per second.
const SAMPLES: usize = 30;

#[derive(Debug, Clone, Copy)]
struct Sample {
    round_trip_us: i64,
    offset_us: i64,
}

/// Estimates server clock − local clock from pings.
///
/// An answer says where the server's clock stood at some moment between question and answer, so
/// a measurement is uncertain by half its round trip. The shortest round trip counts, and an
/// offset smaller than its uncertainty is taken as none: on one machine, or with synchronized
/// clocks, correcting by noise would be worse than not correcting.
#[derive(Debug, Default)]
pub(crate) struct ClockEstimate {
    samples: VecDeque<Sample>,
}

impl ClockEstimate {
    /// A ping left at `sent_us` (local clock) and its answer, which said `server_us`, came
    /// `round_trip` later.
    pub(crate) fn measured(&mut self, sent_us: u64, round_trip: Duration, server_us: u64) {
        let round_trip_us = i64::try_from(round_trip.as_micros()).unwrap_or(i64::MAX);
        let local_us = i64::try_from(sent_us).unwrap_or(i64::MAX).saturating_add(round_trip_us / 2);
        let offset_us = i64::try_from(server_us).unwrap_or(i64::MAX).saturating_sub(local_us);
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { round_trip_us, offset_us });
    }

    /// Server clock − local clock in microseconds.
    pub(crate) fn offset_us(&self) -> i64 {
        match self.samples.iter().min_by_key(|sample| sample.round_trip_us) {
            Some(best) if best.offset_us.abs() > best.round_trip_us / 2 => best.offset_us,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_counts() {
        let mut clock = ClockEstimate::default();
        assert_eq!(clock.offset_us(), 0);
        clock.measured(1_000_000, Duration::from_millis(400), 6_900_000);
        clock.measured(2_000_000, Duration::from_millis(20), 7_010_000);
        clock.measured(3_000_000, Duration::from_millis(300), 8_990_000);
        assert_eq!(clock.offset_us(), 5_000_000);
    }

    #[test]
    fn an_offset_within_the_uncertainty_is_none() {
        let mut clock = ClockEstimate::default();
        clock.measured(1_000_000, Duration::from_micros(800), 1_000_700);
        assert_eq!(clock.offset_us(), 0);
    }

    #[test]
    fn absurd_clocks_do_not_overflow() {
        let mut clock = ClockEstimate::default();
        clock.measured(u64::MAX, Duration::MAX, 0);
        clock.measured(0, Duration::ZERO, u64::MAX);
        assert!(clock.offset_us() > 0);
    }
}
