//! Whether a publisher needs to send a layer.

use std::time::{Duration, Instant};

/// How long nobody must want a layer before its publisher is told: people come and go, and a layer that is paused begins
/// again with a key frame.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// Follows who wants one layer of a video stream, and says what its publisher is to be told. A layer is wanted while
/// somebody subscribes to it or to a higher layer of the same stream, whose subscribers may have to fall back to it.
#[derive(Debug)]
pub struct LayerDemand {
    /// Layers, this one and those above it, that have subscribers.
    wanted_by: usize,
    /// Since when none has.
    unwanted_since: Instant,
    is_paused: bool,
}

impl LayerDemand {
    /// A layer that begins to be published; nobody wants it yet.
    pub fn new(now: Instant) -> Self {
        Self { wanted_by: 0, unwanted_since: now, is_paused: false }
    }

    /// This layer or one above it has subscribers now, or has none any more. Answers whether the publisher is to be told to
    /// send again, at once.
    pub fn change(&mut self, is_wanted: bool, now: Instant) -> bool {
        if is_wanted {
            self.wanted_by += 1;
            return std::mem::take(&mut self.is_paused);
        }
        self.wanted_by = self.wanted_by.saturating_sub(1);
        if self.wanted_by == 0 {
            self.unwanted_since = now;
        }
        false
    }

    /// Answers whether the publisher is to be told now that nobody wants the layer; if so, it counts as told.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.next_deadline().is_some_and(|deadline| now >= deadline);
        self.is_paused |= due;
        due
    }

    /// When [`poll`](Self::poll) has something to say, if nothing changes.
    pub fn next_deadline(&self) -> Option<Instant> {
        (self.wanted_by == 0 && !self.is_paused).then(|| self.unwanted_since + PAUSE_AFTER)
    }

    /// Whether the publisher was told to stop.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_wants_is_paused_after_a_while_and_begins_again_at_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut demand = LayerDemand::new(at(0));
        assert!(!demand.poll(at(1_999)));
        assert!(!demand.change(true, at(1_999)), "nothing was said that is to be taken back");
        assert_eq!(demand.next_deadline(), None);
        assert!(!demand.change(true, at(3_000)), "a higher layer");
        assert!(!demand.change(false, at(4_000)));
        assert_eq!(demand.next_deadline(), None, "one is left");
        demand.change(false, at(5_000));
        assert!(!demand.poll(at(6_999)));
        assert!(demand.poll(at(7_000)) && demand.is_paused());
        assert!(!demand.poll(at(9_000)), "once is enough");
        assert!(demand.change(true, at(9_500)) && !demand.is_paused());
    }

    proptest! {
        #[test]
        fn it_is_paused_exactly_when_it_was_unwanted_for_long_enough(
            steps in prop::collection::vec((0u64..3_000, any::<bool>()), 1..100)
        ) {
            let mut now = Instant::now();
            let mut demand = LayerDemand::new(now);
            let (mut wanted_by, mut since) = (0, now);
            for (ms, wants) in steps {
                now += Duration::from_millis(ms);
                demand.poll(now);
                prop_assert_eq!(demand.is_paused(), wanted_by == 0 && now >= since + PAUSE_AFTER);
                if wants {
                    demand.change(true, now);
                    wanted_by += 1;
                } else if wanted_by > 0 {
                    demand.change(false, now);
                    wanted_by -= 1;
                    since = now;
                }
                prop_assert!(!(demand.is_paused() && wanted_by > 0));
            }
        }
    }
}
