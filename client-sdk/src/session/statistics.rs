//! What went over the wire, per stream.

use std::time::{Duration, Instant};

use darktower_protocol::{Header, StreamId};
use hdrhistogram::Histogram;

use super::frame::FrameTracker;

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Subscribed.
    Incoming,
    /// Published.
    Outgoing,
}

/// Everything measured on one session, at one moment.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// From the call of [`Meeting::join`](crate::Meeting::join) to its return.
    pub join_duration: Duration,
    /// Round-trip time of the media connection, as QUIC estimates it.
    pub rtt: Duration,
    /// Server clock − local clock in microseconds, from pings; 0 while the difference is within
    /// what the round-trip time leaves uncertain.
    pub clock_offset_us: i64,
    /// One entry per publication and subscription and wire stream id, oldest first. Entries of
    /// ended streams stay; beyond 4096 the oldest ended ones are forgotten.
    pub streams: Vec<StreamStatistics>,
}

/// Counters of one stream (of one layer of it, for simulcast).
#[derive(Debug, Clone)]
pub struct StreamStatistics {
    /// Which way.
    pub direction: Direction,
    /// The stream as applications name it.
    pub stream_id: StreamId,
    /// The id in unit headers.
    pub wire_stream_id: StreamId,
    /// Whole units sent, or received and put in order.
    pub units: u64,
    /// Frames sent, or received whole.
    pub frames: u64,
    /// Key frames among `frames`.
    pub key_frames: u64,
    /// Bytes of the units, headers included.
    pub bytes: u64,
    /// Received only: sequence numbers that did not come, or too late to be put in order.
    pub lost_units: u64,
    /// Received only: frames of which a unit was missing.
    pub dropped_frames: u64,
    /// Received only: units that arrived but were thrown away because the reader was too slow.
    pub overflowed_units: u64,
    /// Frames in the last second.
    pub frame_rate: f64,
    /// bit/s in the last second, headers included.
    pub bitrate_bps: u64,
    /// Received only: from the capture timestamp to the arrival of each unit, which is put on the
    /// server's clock first; the publisher's clock is taken to agree with it.
    pub latency: Latency,
    /// Whether the stream has ended.
    pub ended: bool,
}

/// A distribution of latencies, exact to 1 %.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// How many units were measured.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that the share `quantile` (0 to 1) of the units did not exceed; 0 if none was
    /// measured.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The largest, in microseconds; 0 if none was measured.
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// The smallest, in microseconds; 0 if none was measured.
    pub fn min_us(&self) -> u64 {
        self.0.min()
    }

    /// The mean, in microseconds; 0 if none was measured.
    pub fn mean_us(&self) -> f64 {
        self.0.mean()
    }

    /// Adds what `other` measured, for figures over several streams.
    pub fn merge(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("a resizing histogram takes any other");
    }

    fn record(&mut self, latency_us: u64) {
        // An hour is a wrong clock: its size does not matter, and the histogram stays small.
        self.0.record(latency_us.min(3_600_000_000)).expect("a resizing histogram takes any value");
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new(2).expect("two significant digits are allowed"))
    }
}

/// The running counters behind [`StreamStatistics`].
#[derive(Debug)]
pub(crate) struct Counters {
    direction: Direction,
    stream_id: StreamId,
    wire_stream_id: StreamId,
    tracker: FrameTracker,
    units: u64,
    bytes: u64,
    overflowed_units: u64,
    latency: Latency,
    rate: RateWindow,
    ended: bool,
}

impl Counters {
    pub(crate) fn new(
        direction: Direction,
        stream_id: StreamId,
        wire_stream_id: StreamId,
        now: Instant,
    ) -> Self {
        Self {
            direction,
            stream_id,
            wire_stream_id,
            tracker: FrameTracker::default(),
            units: 0,
            bytes: 0,
            overflowed_units: 0,
            latency: Latency::default(),
            rate: RateWindow::new(now),
            ended: false,
        }
    }

    /// A unit has come from the network, at `now_us` of the clock that timestamps are of.
    pub(crate) fn arrived(&mut self, header: &Header, now: Instant, now_us: u64) {
        self.latency.record(now_us.saturating_sub(header.timestamp()));
        self.transferred(header, now);
    }

    /// A unit was sent.
    pub(crate) fn sent(&mut self, header: &Header, now: Instant) {
        self.transferred(header, now);
        self.in_order(header, now);
    }

    /// A unit that has arrived is the next in order.
    pub(crate) fn in_order(&mut self, header: &Header, now: Instant) {
        let frames = self.tracker.frames;
        self.tracker.track(header);
        self.units += 1;
        self.rate.add(now, 0, self.tracker.frames - frames);
    }

    /// Units that had arrived were thrown away.
    pub(crate) fn overflowed(&mut self, units: u64) {
        self.overflowed_units += units;
    }

    /// The stream has ended.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn snapshot(&self, now: Instant) -> StreamStatistics {
        let (frame_rate, bitrate_bps) = self.rate.per_second(now);
        StreamStatistics {
            direction: self.direction,
            stream_id: self.stream_id,
            wire_stream_id: self.wire_stream_id,
            units: self.units,
            frames: self.tracker.frames,
            key_frames: self.tracker.key_frames,
            bytes: self.bytes,
            lost_units: self.tracker.lost_units,
            dropped_frames: self.tracker.dropped_frames,
            overflowed_units: self.overflowed_units,
            frame_rate,
            bitrate_bps,
            latency: self.latency.clone(),
            ended: self.ended,
        }
    }

    fn transferred(&mut self, header: &Header, now: Instant) {
        let len = header.wire_len() as u64;
        self.bytes += len;
        self.rate.add(now, len, 0);
    }
}

/// Width of a bucket; the second is made of ten whole ones, and the eleventh is filling.
const BUCKET: Duration = Duration::from_millis(100);
const BUCKETS: usize = 11;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    tick: u64,
    bytes: u64,
    frames: u64,
}

/// What came in the last second.
#[derive(Debug)]
struct RateWindow {
    start: Instant,
    buckets: [Bucket; BUCKETS],
}

impl RateWindow {
    fn new(start: Instant) -> Self {
        Self { start, buckets: [Bucket::default(); BUCKETS] }
    }

    fn tick(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_millis() / BUCKET.as_millis()) as u64
    }

    fn add(&mut self, now: Instant, bytes: u64, frames: u64) {
        let tick = self.tick(now);
        let bucket = &mut self.buckets[(tick % BUCKETS as u64) as usize];
        if bucket.tick != tick {
            *bucket = Bucket { tick, ..Bucket::default() };
        }
        bucket.bytes += bytes;
        bucket.frames += frames;
    }

    /// Frames per second and bit/s over the last ten whole buckets, or over those since the
    /// start.
    fn per_second(&self, now: Instant) -> (f64, u64) {
        let tick = self.tick(now);
        let first = tick.saturating_sub(BUCKETS as u64 - 1);
        let counted = self.buckets.iter().filter(|bucket| (first..tick).contains(&bucket.tick));
        let (bytes, frames) =
            counted.fold((0, 0), |(bytes, frames), bucket| (bytes + bucket.bytes, frames + bucket.frames));
        let buckets = (tick - first).max(1);
        let per_second = 10.0 / buckets as f64;
        (frames as f64 * per_second, bytes * 8 * 10 / buckets)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use darktower_protocol::{Flags, FrameType, HeaderFields, Unit};

    use super::*;

    fn unit(sequence: u64, timestamp: u64) -> Unit {
        let fields = HeaderFields {
            frame_type: FrameType::VideoKey,
            stream_id: StreamId::from_bytes([1; 16]),
            timestamp,
            sequence,
            flags: Flags::END_OF_FRAME,
        };
        Unit::new(&fields, Bytes::from_static(&[0; 54]))
    }

    fn counters(now: Instant) -> Counters {
        let id = StreamId::from_bytes([1; 16]);
        Counters::new(Direction::Incoming, id, id, now)
    }

    #[test]
    fn rates_are_of_the_last_second() {
        let start = Instant::now();
        let mut counters = counters(start);
        for i in 0..90u64 {
            let now = start + Duration::from_millis(i * 33);
            let unit = unit(i, 0);
            counters.arrived(unit.header(), now, 0);
            counters.in_order(unit.header(), now);
        }
        let now = start + Duration::from_millis(89 * 33);
        let snapshot = counters.snapshot(now);
        assert!((29.0..=32.0).contains(&snapshot.frame_rate), "{}", snapshot.frame_rate);
        assert!((29 * 800..=32 * 800).contains(&snapshot.bitrate_bps), "{}", snapshot.bitrate_bps);
        assert_eq!((snapshot.units, snapshot.frames, snapshot.bytes), (90, 90, 9000));
        let later = counters.snapshot(now + Duration::from_secs(2));
        assert_eq!((later.frame_rate, later.bitrate_bps), (0.0, 0));
    }

    #[test]
    fn young_streams_are_not_underestimated() {
        let start = Instant::now();
        let mut counters = counters(start);
        for i in 0..6u64 {
            counters.sent(unit(i, 0).header(), start + Duration::from_millis(i * 33));
        }
        let rate = counters.snapshot(start + Duration::from_millis(200)).frame_rate;
        assert!((28.0..=32.0).contains(&rate), "{rate}");
    }

    #[test]
    fn latency_is_arrival_minus_capture_and_never_negative() {
        let start = Instant::now();
        let mut counters = counters(start);
        counters.arrived(unit(0, 1_000_000).header(), start, 1_020_000);
        counters.arrived(unit(1, 1_000_000).header(), start, 900_000);
        counters.arrived(unit(2, 0).header(), start, u64::MAX);
        let latency = counters.snapshot(start).latency;
        assert_eq!((latency.count(), latency.min_us()), (3, 0));
        let median = latency.quantile_us(0.5);
        assert!((19_800..=20_200).contains(&median), "{median}");
        let mut both = Latency::default();
        both.merge(&latency);
        both.merge(&latency);
        assert_eq!(both.count(), 6);
    }

    #[test]
    fn an_empty_distribution_is_zero() {
        let latency = Latency::default();
        assert_eq!((latency.count(), latency.quantile_us(0.99), latency.max_us()), (0, 0, 0));
    }
}
