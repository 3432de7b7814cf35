//! Latencies of the last seconds: what a stream is like now.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

/// How many seconds are remembered.
pub(crate) const SECONDS: usize = 10;
/// A latency above this is a wrong clock, however large.
const MAX_US: u64 = 3_600_000_000;

/// The latencies of the last [`SECONDS`] seconds, exact to 1 %. A late joiner gets the current group of pictures in
/// one burst: its frames are as old as the group, and ten seconds later that no longer tells anything.
#[derive(Debug)]
pub(crate) struct Recent {
    /// One histogram per second, the current one last; never empty.
    seconds: VecDeque<Histogram<u64>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { seconds: VecDeque::from([empty()]) }
    }
}

impl Recent {
    pub(crate) fn record(&mut self, latency_us: u64) {
        if let Some(current) = self.seconds.back_mut() {
            current.record(latency_us.min(MAX_US)).expect("a resizing histogram takes any value");
        }
    }

    /// A second has passed.
    pub(crate) fn next_second(&mut self) {
        let mut next = match self.seconds.len() {
            SECONDS => self.seconds.pop_front().unwrap_or_else(empty),
            _ => empty(),
        };
        next.reset();
        self.seconds.push_back(next);
    }

    /// Microseconds that each of the given shares (0 to 1) did not exceed; `None` if nothing was measured.
    pub(crate) fn quantiles_us<const N: usize>(&self, shares: [f64; N]) -> Option<[u64; N]> {
        let mut all = empty();
        for second in &self.seconds {
            all.add(second).expect("a resizing histogram takes any other");
        }
        (!all.is_empty()).then(|| shares.map(|share| all.value_at_quantile(share)))
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new(2).expect("two significant digits are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_seconds_are_forgotten() {
        let mut recent = Recent::default();
        assert_eq!(recent.quantiles_us([0.5]), None);
        recent.record(5_000_000);
        for _ in 1..SECONDS {
            recent.next_second();
            recent.record(100);
        }
        let within_1_percent = |value: u64, expected: u64| value.abs_diff(expected) <= expected / 100;
        let [p50, max] = recent.quantiles_us([0.5, 1.0]).expect("measured");
        assert!(within_1_percent(p50, 100) && within_1_percent(max, 5_000_000), "{p50} {max}");
        recent.next_second();
        assert_eq!(recent.quantiles_us([1.0]), Some([100]));
    }
}
