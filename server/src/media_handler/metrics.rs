//! What a pump tells Prometheus. Every series exists from the start, so their number is fixed: it depends on classes,
//! reasons and shards, never on meetings, streams or participants.

use std::time::{Duration, Instant};

use darktower_core::media::fanout::{Class, HandedOver, Totals};
use metrics::{Counter, Gauge};

/// How often the counters are brought up to date while media flows.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Upper bounds of the latency buckets, microseconds.
const BUCKETS: [u64; 24] = [
    50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000, 15_000, 20_000,
    30_000, 40_000, 60_000, 80_000, 100_000, 150_000, 250_000, 500_000,
];

/// The counters of one pump.
#[derive(Debug)]
pub(super) struct PumpMetrics {
    classes: [ClassMetrics; 3],
    caught_up: Counter,
    oversized: Counter,
    dropped_groups: Counter,
    dropped_discardable: Counter,
    dropped_units: Counter,
    dropped_audio: Counter,
    passes: Counter,
    visits: Counter,
    backlog: Gauge,
    published: Totals,
    published_at: Option<Instant>,
    /// Something has been handed over that is not published yet.
    dirty: bool,
}

#[derive(Debug)]
struct ClassMetrics {
    units: Counter,
    bytes: Counter,
    latency: Latency,
}

/// A histogram with bounds that do not change, kept as plain counts and published as counters: a unit goes to
/// hundreds of subscribers in one pass, and the recorder's histograms take one sample at a time.
#[derive(Debug)]
struct Latency {
    /// One for each bound, and one for what is above.
    counts: [u64; BUCKETS.len() + 1],
    sum_micros: u64,
    buckets: Vec<Counter>,
    sum: Counter,
    count: Counter,
}

impl PumpMetrics {
    pub(super) fn new(shard: usize) -> Self {
        let dropped =
            |reason: &'static str| metrics::counter!("media_units_dropped_total", "reason" => reason);
        Self {
            classes: ["audio", "delta", "key"].map(ClassMetrics::new),
            caught_up: metrics::counter!("media_units_caught_up_total"),
            oversized: metrics::counter!("media_units_oversized_total"),
            dropped_groups: metrics::counter!("media_groups_dropped_total"),
            dropped_discardable: dropped("discardable"),
            dropped_units: dropped("group"),
            dropped_audio: dropped("audio_too_old"),
            passes: metrics::counter!("media_passes_total", "shard" => shard.to_string()),
            visits: metrics::counter!("media_visits_total", "shard" => shard.to_string()),
            backlog: metrics::gauge!("media_shard_backlog", "shard" => shard.to_string()),
            published: Totals::default(),
            published_at: None,
            dirty: false,
        }
    }

    /// What was handed over in a pass has left by `now`.
    pub(super) fn record(&mut self, handed_over: &mut Vec<HandedOver>, now: Instant) {
        for handed in handed_over.drain(..) {
            let micros = now.saturating_duration_since(handed.received_at).as_micros() as u64;
            let place = BUCKETS.partition_point(|bound| *bound < micros);
            let [audio, delta, key] = &mut self.classes;
            let class = match handed.class {
                Class::Audio => audio,
                Class::Delta => delta,
                Class::Key => key,
            };
            if let Some(count) = class.latency.counts.get_mut(place) {
                *count += u64::from(handed.count);
            }
            class.latency.sum_micros += micros * u64::from(handed.count);
        }
        self.dirty = true;
    }

    /// When [`publish`](Self::publish) is to be called at the latest.
    pub(super) fn publish_at(&self) -> Option<Instant> {
        self.published_at.filter(|_| self.dirty).map(|at| at + PUBLISH_INTERVAL)
    }

    /// Brings the counters up to date, now and then.
    pub(super) fn publish(&mut self, totals: &Totals, backlog: usize) {
        let now = Instant::now();
        if !self.dirty || self.published_at.is_some_and(|at| now < at + PUBLISH_INTERVAL) {
            return;
        }
        let before = std::mem::replace(&mut self.published, *totals);
        let classes = [(totals.audio, before.audio), (totals.delta, before.delta), (totals.key, before.key)];
        for (class, (now, before)) in self.classes.iter_mut().zip(classes) {
            class.units.increment(now.units - before.units);
            class.bytes.increment(now.bytes - before.bytes);
            class.latency.publish();
        }
        self.caught_up.increment(totals.caught_up_units - before.caught_up_units);
        self.oversized.increment(totals.oversized - before.oversized);
        self.dropped_groups.increment(totals.dropped_groups - before.dropped_groups);
        let (left_out, before_left_out) = (totals.left_out, before.left_out);
        self.dropped_discardable
            .increment(left_out.dropped_discardable - before_left_out.dropped_discardable);
        self.dropped_units.increment(left_out.dropped_group - before_left_out.dropped_group);
        self.dropped_audio.increment(left_out.dropped_audio - before_left_out.dropped_audio);
        self.passes.increment(totals.passes - before.passes);
        self.visits.increment(totals.visits - before.visits);
        self.backlog.set(backlog as f64);
        self.published_at = Some(now);
        self.dirty = false;
    }
}

impl ClassMetrics {
    fn new(class: &'static str) -> Self {
        Self {
            units: metrics::counter!("media_units_sent_total", "class" => class),
            bytes: metrics::counter!("media_bytes_sent_total", "class" => class),
            latency: Latency::new(class),
        }
    }
}

impl Latency {
    fn new(class: &'static str) -> Self {
        let bounds = BUCKETS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let buckets = bounds
            .map(|bound| {
                metrics::counter!("media_forward_latency_microseconds_bucket", "class" => class, "le" => bound)
            })
            .collect();
        Self {
            counts: [0; BUCKETS.len() + 1],
            sum_micros: 0,
            buckets,
            sum: metrics::counter!("media_forward_latency_microseconds_sum", "class" => class),
            count: metrics::counter!("media_forward_latency_microseconds_count", "class" => class),
        }
    }

    fn publish(&mut self) {
        let counts = std::mem::replace(&mut self.counts, [0; BUCKETS.len() + 1]);
        let mut up_to = 0;
        for (bucket, count) in self.buckets.iter().zip(counts) {
            up_to += count;
            bucket.increment(up_to);
        }
        self.sum.increment(std::mem::take(&mut self.sum_micros));
        self.count.increment(up_to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_falls_into_the_bucket_of_its_bound() {
        let mut metrics = PumpMetrics::new(0);
        let received_at = Instant::now();
        let handed = |class, count| HandedOver { class, received_at, count };
        metrics.record(&mut vec![handed(Class::Audio, 3)], received_at + Duration::from_micros(50));
        metrics.record(&mut vec![handed(Class::Audio, 4)], received_at + Duration::from_micros(51));
        metrics.record(&mut vec![handed(Class::Key, 5)], received_at + Duration::from_secs(2));
        let [audio, _, key] = &metrics.classes;
        assert_eq!((audio.latency.counts[0], audio.latency.counts[1]), (3, 4));
        assert_eq!(audio.latency.sum_micros, 3 * 50 + 4 * 51);
        assert_eq!(key.latency.counts.last(), Some(&5));
    }
}
