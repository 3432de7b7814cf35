//! When a subscriber is given a lower or a higher layer of a stream (docs/protocol.md 6.6).

use std::time::{Duration, Instant};

/// The numbers behind a change of layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerPolicy {
    /// Video that waits longer than this to be sent asks for a lower layer.
    pub lower_after: Duration,
    /// Video that never waits longer than this leaves room for a higher one.
    pub calm: Duration,
    /// How long it has to be calm before a higher layer is tried.
    pub raise_after: Duration,
    /// The same after attempts that failed: each doubles the time, up to this.
    pub max_raise_after: Duration,
    /// An attempt that has to be taken back within this has failed.
    pub probation: Duration,
    /// A layer whose key frame does not come within this is not sent: the change is given up.
    pub give_up_after: Duration,
}

impl Default for LayerPolicy {
    fn default() -> Self {
        Self {
            lower_after: Duration::from_millis(150),
            calm: Duration::from_millis(50),
            raise_after: Duration::from_secs(4),
            max_raise_after: Duration::from_secs(64),
            probation: Duration::from_secs(10),
            give_up_after: Duration::from_secs(2),
        }
    }
}

/// A wish for another layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerWish {
    /// The path does not carry this one.
    Lower,
    /// The path has carried this one without trouble; whether it carries the next is for the caller to estimate.
    Higher,
}

/// Watches how one subscriber keeps up with one stream.
#[derive(Debug)]
pub struct LayerControl {
    policy: LayerPolicy,
    calm_since: Option<Instant>,
    raise_after: Duration,
    raised_at: Option<Instant>,
    refusals: u32,
}

/// So many wishes for a higher layer in a row are not granted because the path seems too narrow.
const MAX_REFUSALS: u32 = 2;

impl LayerControl {
    /// For a subscriber that gets the layer it wants.
    pub fn new(policy: LayerPolicy) -> Self {
        Self { policy, calm_since: None, raise_after: policy.raise_after, raised_at: None, refusals: 0 }
    }

    /// The policy it goes by.
    pub fn policy(&self) -> &LayerPolicy {
        &self.policy
    }

    /// The oldest unit that waits to be sent is this old (zero if none waits).
    pub fn observe(&mut self, backlog: Duration, now: Instant) -> Option<LayerWish> {
        if self.raised_at.is_some_and(|at| now >= at + self.policy.probation) {
            self.raised_at = None;
            self.raise_after = self.policy.raise_after;
        }
        if backlog >= self.policy.lower_after {
            self.calm_since = None;
            return Some(LayerWish::Lower);
        }
        if backlog > self.policy.calm {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now < since + self.raise_after {
            return None;
        }
        // If nothing comes of it, the next wish takes as long.
        self.calm_since = Some(now);
        Some(LayerWish::Higher)
    }

    /// Asked when the path seems too narrow for a higher layer: whether to try all the same, which is so the third time.
    pub fn insists(&mut self) -> bool {
        self.refusals += 1;
        self.refusals > MAX_REFUSALS
    }

    /// A lower layer was taken.
    pub fn lowered(&mut self) {
        self.calm_since = None;
        self.refusals = 0;
        if self.raised_at.take().is_some() {
            self.failed();
        }
    }

    /// A higher layer was tried in vain.
    pub fn failed(&mut self) {
        self.calm_since = None;
        self.refusals = 0;
        self.raise_after = (self.raise_after * 2).min(self.policy.max_raise_after);
    }

    /// A higher layer was taken.
    pub fn raised(&mut self, now: Instant) {
        self.calm_since = None;
        self.refusals = 0;
        self.raised_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// Observes every 30 ms until something is wished, and returns what and after how long.
    fn wish(control: &mut LayerControl, from: Instant, backlog: Duration) -> Option<(LayerWish, Duration)> {
        (0..10_000).find_map(|n| {
            let after = 30 * n * MS;
            Some((control.observe(backlog, from + after)?, after))
        })
    }

    #[test]
    fn a_backlog_lowers_at_once_and_calm_raises_after_a_while() {
        let mut control = LayerControl::new(LayerPolicy::default());
        let start = Instant::now();
        assert_eq!(wish(&mut control, start, 150 * MS), Some((LayerWish::Lower, Duration::ZERO)));
        assert_eq!(wish(&mut control, start, 100 * MS), None, "neither calm nor too late");
        let (what, after) = wish(&mut control, start, Duration::ZERO).expect("a wish");
        assert_eq!(what, LayerWish::Higher);
        assert!((4000 * MS..4100 * MS).contains(&after), "{after:?}");
    }

    #[test]
    fn an_attempt_that_fails_makes_the_next_one_wait_twice_as_long() {
        let mut control = LayerControl::new(LayerPolicy::default());
        let mut now = Instant::now();
        for expected in [4, 8, 16, 32, 64, 64] {
            let (_, after) = wish(&mut control, now, Duration::ZERO).expect("a wish");
            assert_eq!(after.as_secs(), expected);
            now += after;
            control.raised(now);
            now += Duration::from_secs(3);
            assert_eq!(control.observe(200 * MS, now), Some(LayerWish::Lower));
            control.lowered();
        }
        control.raised(now);
        now += Duration::from_secs(11);
        assert_eq!(control.observe(Duration::ZERO, now), None);
        control.lowered();
        let (_, after) = wish(&mut control, now, Duration::ZERO).expect("a wish");
        assert_eq!(after.as_secs(), 4, "an attempt that lasted is forgiven");
    }

    proptest! {
        #[test]
        fn it_never_wishes_for_more_within_the_time_after_trouble(
            backlogs in prop::collection::vec(0u64..200, 1..400)
        ) {
            let policy = LayerPolicy::default();
            let mut control = LayerControl::new(policy);
            let start = Instant::now();
            let mut trouble = start;
            for (n, backlog) in backlogs.into_iter().enumerate() {
                let now = start + 30 * n as u32 * MS;
                let backlog = Duration::from_millis(backlog);
                let wish = control.observe(backlog, now);
                prop_assert_eq!(wish == Some(LayerWish::Lower), backlog >= policy.lower_after);
                if backlog > policy.calm {
                    trouble = now;
                }
                if wish == Some(LayerWish::Higher) {
                    prop_assert!(now >= trouble + policy.raise_after);
                }
            }
        }
    }
}
