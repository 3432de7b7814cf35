//! What the subscribers of one core saw in the measured window, and the window itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use crate::workload::{Arrived, Class};

/// From when on a unit is late, microseconds: as in darktower-load.
const LATE_AUDIO_US: u64 = 200_000;
const LATE_VIDEO_US: u64 = 500_000;

/// Units sent in `[start, end)` count. Nothing does while start and end are equal.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: AtomicU64,
    end: AtomicU64,
}

impl Window {
    /// Microseconds since the Unix epoch. To be set before the first unit of the window is sent.
    pub(crate) fn set(&self, start: u64, end: u64) {
        self.end.store(end, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
    }

    pub(crate) fn contains(&self, timestamp: u64) -> bool {
        (self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed)).contains(&timestamp)
    }
}

/// Sums over the subscribers of one core.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Microseconds from the publisher's send call to the whole frame at the subscriber, by [`Class`].
    pub(crate) latency_us: [Histogram<u64>; 3],
    /// Units of the window, by [`Class`].
    pub(crate) units: [u64; 3],
    pub(crate) late: u64,
    /// Bytes of these units, headers included.
    pub(crate) bytes: u64,
    /// Units that differ from what was sent, since the start.
    pub(crate) mismatches: u64,
    /// Units that came a second time, since the start.
    pub(crate) repeats: u64,
}

/// A tally that tasks of one core add to and the orchestrator reads.
pub(crate) type SharedTally = Arc<Mutex<Tally>>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Between two additions of a panicked task the numbers are as good as they get.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A histogram of microseconds up to a minute, with an error of less than 1 %.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 2).expect("these bounds are valid")
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latency_us: [histogram(), histogram(), histogram()],
            units: [0; 3],
            late: 0,
            bytes: 0,
            mismatches: 0,
            repeats: 0,
        }
    }

    pub(crate) fn units(&self) -> u64 {
        self.units.iter().sum()
    }

    /// A unit of the window has arrived whole.
    pub(crate) fn arrived(&mut self, unit: &Arrived, len: usize, now_us: u64) {
        let latency = now_us.saturating_sub(unit.timestamp);
        let late_after = if unit.class == Class::Audio { LATE_AUDIO_US } else { LATE_VIDEO_US };
        self.latency_us[unit.class as usize].saturating_record(latency.max(1));
        self.units[unit.class as usize] += 1;
        self.late += u64::from(latency > late_after);
        self.bytes += len as u64;
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in self.latency_us.iter_mut().zip(&other.latency_us) {
            to.add(from).expect("all histograms have the same bounds");
        }
        for (to, from) in self.units.iter_mut().zip(other.units) {
            *to += from;
        }
        self.late += other.late;
        self.bytes += other.bytes;
        self.mismatches += other.mismatches;
        self.repeats += other.repeats;
    }
}
