//! What bit rate a publisher is advised to send a layer with.

use std::time::{Duration, Instant};

/// A path that loses more than this is congested …
const MUCH_LOSS: f64 = 0.10;
/// … and one that loses less than this has room (draft-ietf-rmcat-gcc-02, section 6; 2 % there, but here between them
/// nothing is changed either).
const LITTLE_LOSS: f64 = 0.02;
/// What is left of the rate that a congested path carried (same draft, 5.5: the factor of its decrease).
const DECREASE: f64 = 0.85;
/// How much is added in a second of room.
const INCREASE: f64 = 1.08;
/// After a decrease, for so long nothing is added: the encoder and the queues on the way have to follow.
const SETTLE: Duration = Duration::from_secs(3);
/// Less than that is no picture.
const LEAST_BPS: f64 = 50_000.0;
/// A change by less than this share is not worth telling.
const WORTH_TELLING: f64 = 0.05;
/// Advice that is so far above what is sent holds nobody back any more.
const UNBOUNDED: f64 = 2.0;

/// What is known of the way of one layer in the last second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// What comes of it from its publisher, bit/s.
    pub(super) sent_bps: u64,
    /// The share that is lost on the way to the server.
    pub(super) loss: f64,
    /// What its worst useful receiver was sent of it, bit/s, if that does not keep up and there is no lower layer for it.
    pub(super) held_up_bps: Option<u64>,
}

/// The advice for one layer: additive and multiplicative, as senders of congested paths are.
#[derive(Debug, Default)]
pub(super) struct TargetRate {
    /// `None` while there was no reason to advise anything.
    rate_bps: Option<f64>,
    decreased_at: Option<Instant>,
    told_bps: u32,
}

impl TargetRate {
    /// What the publisher is to be told, if that has changed by enough. `declared_bps` is the most that the layer is to
    /// have, 0 if that is not said. Called once a second.
    pub(super) fn observe(&mut self, way: Way, declared_bps: u32, now: Instant) -> Option<u32> {
        let settled = self.decreased_at.is_none_or(|at| now.saturating_duration_since(at) >= SETTLE);
        let uplink = (way.loss > MUCH_LOSS).then_some(way.sent_bps as f64 * (1.0 - 0.5 * way.loss));
        let receiver = way.held_up_bps.map(|held_up| DECREASE * held_up.min(way.sent_bps) as f64);
        let carried = match (uplink, receiver) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        match (carried, self.rate_bps) {
            (Some(carried), before) if settled => {
                // Of what is really sent: an encoder that does not obey is not pursued.
                self.rate_bps = Some(before.map_or(carried, |before| carried.min(before)).max(LEAST_BPS));
                self.decreased_at = Some(now);
            }
            (None, Some(before)) if settled && way.loss < LITTLE_LOSS => {
                let most = match declared_bps {
                    0 => (way.sent_bps as f64 * UNBOUNDED).max(before),
                    declared => declared.into(),
                };
                self.rate_bps = Some((before * INCREASE).min(most));
            }
            _ => {}
        }
        let rate = self.rate_bps?;
        let told = f64::from(self.told_bps);
        let is_all = declared_bps != 0 && rate >= f64::from(declared_bps) && told < rate;
        if (rate - told).abs() <= told * WORTH_TELLING && !is_all {
            return None;
        }
        self.told_bps = rate as u32;
        Some(self.told_bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Way = Way { sent_bps: 2_000_000, loss: 0.0, held_up_bps: None };

    /// Advice of so many seconds of the same.
    fn advise(target: &mut TargetRate, way: Way, declared: u32, now: &mut Instant, seconds: u32) -> Vec<u32> {
        let mut told = Vec::new();
        for _ in 0..seconds {
            *now += Duration::from_secs(1);
            told.extend(target.observe(way, declared, *now));
        }
        told
    }

    #[test]
    fn nothing_is_advised_without_a_reason() {
        let (mut target, mut now) = (TargetRate::default(), Instant::now());
        assert_eq!(advise(&mut target, CLEAR, 2_500_000, &mut now, 60), [0; 0]);
        assert_eq!(advise(&mut target, Way { loss: 0.05, ..CLEAR }, 2_500_000, &mut now, 60), [0; 0]);
    }

    #[test]
    fn it_follows_a_receiver_that_is_held_up_and_goes_back_to_what_was_declared() {
        let (mut target, mut now) = (TargetRate::default(), Instant::now());
        let held_up = Way { held_up_bps: Some(1_000_000), ..CLEAR };
        assert_eq!(advise(&mut target, held_up, 2_500_000, &mut now, 3), [850_000], "then it waits");
        let less = Way { sent_bps: 850_000, ..held_up };
        assert_eq!(advise(&mut target, less, 2_500_000, &mut now, 1), [722_500]);
        let told = advise(&mut target, Way { sent_bps: 700_000, ..CLEAR }, 2_500_000, &mut now, 30);
        assert!(told.is_sorted() && told.last() == Some(&2_500_000), "{told:?}");
        assert_eq!(advise(&mut target, CLEAR, 2_500_000, &mut now, 30), [0; 0]);
    }

    #[test]
    fn a_lossy_uplink_sends_less_and_never_nothing() {
        let (mut target, mut now) = (TargetRate::default(), Instant::now());
        let lossy = Way { loss: 0.2, ..CLEAR };
        assert_eq!(advise(&mut target, lossy, 0, &mut now, 1), [1_800_000]);
        assert_eq!(advise(&mut target, lossy, 0, &mut now, 30), [0; 0], "it does not obey");
        let little = Way { sent_bps: 40_000, ..lossy };
        assert_eq!(advise(&mut target, little, 0, &mut now, 30), [50_000]);
        // Without a declared rate it ends when it holds nobody back any more.
        let told = advise(&mut target, CLEAR, 0, &mut now, 200);
        assert!(told.last().is_some_and(|last| (3_500_000..=4_000_000).contains(last)), "{told:?}");
    }
}
