//! What a pump tells Prometheus. Every series exists from the start, so their number is fixed: it depends on classes,
//! reasons and shards, never on meetings, streams or participants. docs/metrics.md says what they mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use darktower_core::media::fanout::{Class, Connection, Fanout, HandedOver, Totals};
use metrics::{Counter, Gauge};

use crate::telemetry::histogram::{Family, Histogram};

/// How often the counters are brought up to date while media flows.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// How often the ages of what waits are taken: a walk over all subscriptions.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(1);

const MICROS_PER_SECOND: u64 = 1_000_000;

static FORWARD_LATENCY: Family = Family {
    name: "media_forward_latency_seconds",
    help: "From a unit's arrival to its hand-over to a subscriber's connection, which has sent by then what it could.",
    bounds: &[
        50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000, 15_000, 20_000,
        30_000, 40_000, 60_000, 80_000, 100_000, 150_000, 250_000, 500_000,
    ],
    per_base_unit: MICROS_PER_SECOND,
};

static BACKLOG_AGE: Family = Family {
    name: "media_backlog_age_seconds",
    help: "Once a second, for each subscription whose connection takes no more: age of the oldest unit that waits.",
    bounds: &[
        1_000, 2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 200_000, 300_000, 500_000, 1_000_000,
        2_500_000, 5_000_000,
    ],
    per_base_unit: MICROS_PER_SECOND,
};

/// The metrics of one pump.
#[derive(Debug)]
pub(super) struct PumpMetrics {
    audio: ClassMetrics,
    delta: ClassMetrics,
    key: ClassMetrics,
    caught_up: Counter,
    oversized: Counter,
    dropped_groups: Counter,
    lowered: Counter,
    raised: Counter,
    dropped_discardable: Counter,
    dropped_units: Counter,
    dropped_audio: Counter,
    passes: Counter,
    visits: Counter,
    backlog: Gauge,
    /// What the counters say.
    published: Totals,
    /// When the counters may be brought up to date again.
    counters_at: Instant,
    /// When the ages of what waits are taken next.
    backlog_at: Instant,
    /// Something has been done since the ages were taken, or something waited then.
    may_wait: bool,
}

#[derive(Debug)]
struct ClassMetrics {
    units: Counter,
    bytes: Counter,
    latency: Arc<Histogram>,
    backlog_age: Arc<Histogram>,
}

impl PumpMetrics {
    pub(super) fn new(shard: usize) -> Self {
        let dropped =
            |reason: &'static str| metrics::counter!("media_units_dropped_total", "reason" => reason);
        let now = Instant::now();
        Self {
            audio: ClassMetrics::new("audio"),
            delta: ClassMetrics::new("delta"),
            key: ClassMetrics::new("key"),
            caught_up: metrics::counter!("media_units_caught_up_total"),
            oversized: metrics::counter!("media_units_oversized_total"),
            dropped_groups: metrics::counter!("media_groups_dropped_total"),
            lowered: metrics::counter!("media_layer_switches_total", "direction" => "down"),
            raised: metrics::counter!("media_layer_switches_total", "direction" => "up"),
            dropped_discardable: dropped("discardable"),
            dropped_units: dropped("group"),
            dropped_audio: dropped("audio_too_old"),
            passes: metrics::counter!("media_passes_total", "shard" => shard.to_string()),
            visits: metrics::counter!("media_visits_total", "shard" => shard.to_string()),
            backlog: metrics::gauge!("media_shard_backlog", "shard" => shard.to_string()),
            published: Totals::default(),
            counters_at: now,
            backlog_at: now,
            may_wait: false,
        }
    }

    /// What was handed over in a pass has left by `now`.
    pub(super) fn record(&self, handed_over: &mut Vec<HandedOver>, now: Instant) {
        for handed in handed_over.drain(..) {
            let latency = now.saturating_duration_since(handed.received_at);
            self.of(handed.class).latency.record(latency.as_micros() as u64, handed.count.into());
        }
    }

    /// When [`publish`](Self::publish) is to be called at the latest.
    pub(super) fn publish_at<C: Connection>(&self, fanout: &Fanout<C>) -> Option<Instant> {
        let counters = self.is_dirty(fanout).then_some(self.counters_at);
        let backlog = self.may_wait.then_some(self.backlog_at);
        [counters, backlog].into_iter().flatten().min()
    }

    /// Brings everything up to date, now and then.
    pub(super) fn publish<C: Connection>(&mut self, fanout: &Fanout<C>) {
        let dirty = self.is_dirty(fanout);
        if !dirty && !self.may_wait {
            return;
        }
        let now = Instant::now();
        if dirty && now >= self.counters_at {
            self.counters_at = now + PUBLISH_INTERVAL;
            self.publish_counters(fanout.totals());
            self.backlog.set(fanout.backlog() as f64);
            self.may_wait = true;
        }
        if self.may_wait && now >= self.backlog_at {
            self.backlog_at = now + BACKLOG_INTERVAL;
            self.may_wait = false;
            fanout.backlog_ages(now, |class, age| {
                self.may_wait = true;
                self.of(class).backlog_age.record(age.as_micros() as u64, 1);
            });
        }
    }

    /// Whether something has been done that is not published yet. What is left out is left out in visits.
    fn is_dirty<C: Connection>(&self, fanout: &Fanout<C>) -> bool {
        fanout.totals().visits != self.published.visits
    }

    fn publish_counters(&mut self, totals: &Totals) {
        let before = std::mem::replace(&mut self.published, *totals);
        for (class, now, before) in [
            (&self.audio, totals.audio, before.audio),
            (&self.delta, totals.delta, before.delta),
            (&self.key, totals.key, before.key),
        ] {
            class.units.increment(now.units - before.units);
            class.bytes.increment(now.bytes - before.bytes);
        }
        self.caught_up.increment(totals.caught_up_units - before.caught_up_units);
        self.oversized.increment(totals.oversized - before.oversized);
        self.dropped_groups.increment(totals.dropped_groups - before.dropped_groups);
        self.lowered.increment(totals.lowered - before.lowered);
        self.raised.increment(totals.raised - before.raised);
        let (left_out, before_left_out) = (totals.left_out, before.left_out);
        self.dropped_discardable
            .increment(left_out.dropped_discardable - before_left_out.dropped_discardable);
        self.dropped_units.increment(left_out.dropped_group - before_left_out.dropped_group);
        self.dropped_audio.increment(left_out.dropped_audio - before_left_out.dropped_audio);
        self.passes.increment(totals.passes - before.passes);
        self.visits.increment(totals.visits - before.visits);
    }

    fn of(&self, class: Class) -> &ClassMetrics {
        match class {
            Class::Audio => &self.audio,
            Class::Delta => &self.delta,
            Class::Key => &self.key,
        }
    }
}

impl ClassMetrics {
    fn new(class: &'static str) -> Self {
        let label = Some(("class", class));
        Self {
            units: metrics::counter!("media_units_sent_total", "class" => class),
            bytes: metrics::counter!("media_bytes_sent_total", "class" => class),
            latency: Histogram::register(&FORWARD_LATENCY, label),
            backlog_age: Histogram::register(&BACKLOG_AGE, label),
        }
    }
}
