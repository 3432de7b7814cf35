//! What subscribers of one core saw in the measured window, and the window itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use darktower_protocol::{FrameType, HEADER_LEN};
use hdrhistogram::Histogram;

use crate::ledger::Sent;

/// Microseconds since the Unix epoch: send times and arrival times are read from the same clock of one machine.
pub(crate) fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// Units sent in `[start, end)` count. Nothing does while start and end are equal.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: AtomicU64,
    end: AtomicU64,
}

impl Window {
    pub(crate) fn set(&self, start: u64, end: u64) {
        // Readers that see one new and one old value are off by a unit that arrives between two instructions of the
        // orchestrator, before the window begins.
        self.end.store(end, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
    }

    pub(crate) fn contains(&self, timestamp: u64) -> bool {
        (self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed)).contains(&timestamp)
    }
}

/// What latency is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Audio,
    Delta,
    Key,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Audio, Self::Delta, Self::Key];

    pub(crate) fn of(frame_type: FrameType) -> Self {
        match frame_type {
            FrameType::VideoKey => Self::Key,
            FrameType::VideoDelta => Self::Delta,
            _ => Self::Audio,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Delta => "delta",
            Self::Key => "key",
        }
    }
}

/// From when on a unit is late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LateAfter {
    pub(crate) audio: Duration,
    pub(crate) video: Duration,
}

/// Sums over the subscribers of one core.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Microseconds from the publisher's send call to the whole frame at the subscriber, by [`Class`].
    pub(crate) latency_us: [Histogram<u64>; 3],
    late_after_us: [u64; 3],
    pub(crate) late: u64,
    pub(crate) units: u64,
    /// Bytes of the units, headers included.
    pub(crate) bytes: u64,
    /// Units that differ from what was sent, or that nobody sent to this subscriber. Never reset.
    pub(crate) mismatches: u64,
    /// Units that came a second time. Never reset.
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
    pub(crate) fn new(late_after: LateAfter) -> Self {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            latency_us: [histogram(), histogram(), histogram()],
            late_after_us: [us(late_after.audio), us(late_after.video), us(late_after.video)],
            late: 0,
            units: 0,
            bytes: 0,
            mismatches: 0,
            repeats: 0,
        }
    }

    /// A unit of the window has arrived whole.
    pub(crate) fn arrived(&mut self, sent: &Sent, now_us: u64) {
        let class = Class::of(sent.frame.frame_type) as usize;
        let latency = now_us.saturating_sub(sent.timestamp);
        self.latency_us[class].saturating_record(latency.max(1));
        self.late += u64::from(latency > self.late_after_us[class]);
        self.units += 1;
        self.bytes += HEADER_LEN as u64 + u64::from(sent.frame.len);
    }

    /// Forgets the last window; faults stay.
    pub(crate) fn reset(&mut self) {
        self.latency_us.iter_mut().for_each(Histogram::reset);
        (self.late, self.units, self.bytes) = (0, 0, 0);
    }

    /// Adds another tally of the same bounds.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in self.latency_us.iter_mut().zip(&other.latency_us) {
            to.add(from).expect("all histograms have the same bounds");
        }
        self.late += other.late;
        self.units += other.units;
        self.bytes += other.bytes;
        self.mismatches += other.mismatches;
        self.repeats += other.repeats;
    }
}
