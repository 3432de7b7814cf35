//! What media handlers see of participants, on its way to their meetings, and what is kept of it on its way to the database.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use darktower_core::meeting::quality::{MediaSample, QualityRecord};
use darktower_protocol::MeetingId;
use futures_util::future::join_all;
use metrics::Counter;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{MeetingController, lock};
use crate::media_handler::{Telemetry, TelemetrySink};
use crate::storage::Store;
use crate::storage::model::QualitySample;
use crate::telemetry::histogram::{Family, Histogram};

/// Portions of telemetry that may wait: some seconds of the largest server.
const QUEUE: usize = 1024;

/// Samples that may wait for the database: ten seconds of the largest server, in about 2 MB.
const WAITING: usize = 8192;

/// How often meetings are told, and samples written.
const INTERVAL: Duration = Duration::from_secs(1);

static PATH_LOSS: Family = Family {
    name: "media_path_loss_ratio",
    help: "Once a second, for each media session: share of QUIC packets to it that were lost.",
    bounds: &[1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 300_000, 500_000, 1_000_000],
    per_base_unit: MILLION,
};

static ROUND_TRIP: Family = Family {
    name: "media_round_trip_seconds",
    help: "Once a second, for each media session: its round-trip time.",
    bounds: &[
        1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 150_000, 200_000, 300_000, 500_000, 1_000_000,
        2_000_000,
    ],
    per_base_unit: MILLION,
};

static SCORE: Family = Family {
    name: "media_opinion_score",
    help: "Once a second, for each participant: mean opinion score of its network, 1 to 4.5.",
    bounds: &[1_500_000, 2_000_000, 2_500_000, 3_100_000, 3_600_000, 4_030_000, 4_200_000, 4_340_000],
    per_base_unit: MILLION,
};

static TARGET: Family = Family {
    name: "media_target_bits_per_second",
    help: "Bit rates that publishers were advised to send a layer with.",
    bounds: &[
        50_000, 100_000, 200_000, 300_000, 500_000, 750_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000,
        5_000_000,
    ],
    per_base_unit: 1,
};

const MILLION: u64 = 1_000_000;

/// What Prometheus hears of it.
#[derive(Debug)]
pub(super) struct QualityMetrics {
    loss: Arc<Histogram>,
    round_trip: Arc<Histogram>,
    score: Arc<Histogram>,
    target: Arc<Histogram>,
}

impl QualityMetrics {
    pub(super) fn new() -> Self {
        let register = |family| Histogram::register(family, None);
        Self {
            loss: register(&PATH_LOSS),
            round_trip: register(&ROUND_TRIP),
            score: register(&SCORE),
            target: register(&TARGET),
        }
    }

    pub(super) fn advised(&self, target_bitrate_bps: u32) {
        self.target.record(target_bitrate_bps.into(), 1);
    }

    fn seen(&self, sample: &MediaSample) {
        let path = &sample.path;
        self.round_trip.record(path.rtt.as_micros() as u64, 1);
        if let Some(loss) = path.lost_packets.saturating_mul(MILLION).checked_div(path.sent_packets) {
            self.loss.record(loss.min(MILLION), 1);
        }
    }

    fn scored(&self, score: f64) {
        self.score.record((score * MILLION as f64) as u64, 1);
    }
}

/// What was seen in the last second.
type Seen = HashMap<MeetingId, Vec<MediaSample>>;

/// Where the telemetry of media handlers arrives.
#[derive(Debug)]
pub struct QualityInbox {
    portions: mpsc::Receiver<Vec<Telemetry>>,
}

/// What the shards of this process tell.
#[derive(Debug)]
struct TelemetryInlet {
    portions: mpsc::Sender<Vec<Telemetry>>,
    left_out: Counter,
}

impl QualityInbox {
    /// An inbox, and the way into it. What does not fit is left out, and counted.
    pub fn open() -> (Arc<dyn TelemetrySink>, Self) {
        let (sender, portions) = mpsc::channel(QUEUE);
        let left_out = metrics::counter!("media_telemetry_left_out_total");
        (Arc::new(TelemetryInlet { portions: sender, left_out }), Self { portions })
    }
}

impl TelemetrySink for TelemetryInlet {
    fn take(&self, portion: Vec<Telemetry>) {
        let sessions = portion.len() as u64;
        if self.portions.try_send(portion).is_err() {
            self.left_out.increment(sessions);
        }
    }
}

/// Gives every meeting, once a second, what was seen of its participants.
pub(super) async fn follow(controller: &MeetingController, mut inbox: QualityInbox) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::new();
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                controller.observe(&mut seen);
                controller.write_samples();
            }
            portion = inbox.portions.recv() => match portion {
                Some(portion) => {
                    for Telemetry { meeting, sample } in portion {
                        seen.entry(meeting).or_default().push(sample);
                    }
                }
                None => return,
            },
        }
    }
}

/// Samples on their way to the database.
#[derive(Debug)]
pub(super) struct Samples {
    waiting: Mutex<Vec<QualitySample>>,
    /// Earlier ones are being written. Later ones wait meanwhile, so that there is one writer.
    writing: Arc<tokio::sync::Mutex<()>>,
    counters: SampleCounters,
}

impl Samples {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::default(), writing: Arc::default(), counters: SampleCounters::new() }
    }
}

/// What became of samples.
#[derive(Debug, Clone)]
struct SampleCounters {
    written: Counter,
    /// The meeting's session is not known yet.
    no_session: Counter,
    /// The database is behind.
    full: Counter,
    /// The database failed.
    failed: Counter,
}

impl SampleCounters {
    fn new() -> Self {
        let left_out = |reason| metrics::counter!("quality_samples_left_out_total", "reason" => reason);
        Self {
            written: metrics::counter!("quality_samples_total"),
            no_session: left_out("no_session"),
            full: left_out("full"),
            failed: left_out("error"),
        }
    }
}

/// Writes samples. One that cannot be written is left out: quality is not worth to keep anybody waiting.
async fn write(store: Arc<dyn Store>, samples: Vec<QualitySample>, counters: SampleCounters) {
    let written = join_all(samples.iter().map(|sample| store.add_quality_sample(sample))).await;
    let failed = written.iter().filter(|written| written.is_err()).count();
    counters.written.increment((samples.len() - failed) as u64);
    counters.failed.increment(failed as u64);
    if let Some(error) = written.into_iter().find_map(Result::err) {
        tracing::warn!(failed, error = &error as &dyn Error, "samples of quality are not kept");
    }
}

impl MeetingController {
    fn observe(&self, seen: &mut Seen) {
        let now = Instant::now();
        for (meeting, samples) in seen.drain() {
            let Some(meeting) = self.live(meeting) else { continue };
            let mut live = lock(&meeting);
            samples.iter().for_each(|sample| self.quality.seen(sample));
            live.core.observe(samples, now);
            live.core.scores(now).for_each(|score| self.quality.scored(score));
            self.carry_out(&mut live);
        }
    }

    /// Keeps what a meeting records, if there is room.
    pub(super) fn record(&self, meeting: MeetingId, record: QualityRecord) {
        let session = self.attendances.get(&meeting).and_then(|attendance| attendance.session());
        let Some(session_id) = session else { return self.samples.counters.no_session.increment(1) };
        let mut waiting = lock(&self.samples.waiting);
        if waiting.len() < WAITING {
            waiting.push(QualitySample { session_id, at: OffsetDateTime::now_utc(), record });
        } else {
            self.samples.counters.full.increment(1);
        }
    }

    /// Has the samples that wait written, unless earlier ones still are.
    pub(super) fn write_samples(&self) {
        let Ok(writing) = Arc::clone(&self.samples.writing).try_lock_owned() else { return };
        let samples = std::mem::take(&mut *lock(&self.samples.waiting));
        if samples.is_empty() {
            return;
        }
        let (store, counters) = (Arc::clone(&self.store), self.samples.counters.clone());
        self.writers.spawn(async move {
            write(store, samples, counters).await;
            drop(writing);
        });
    }

    /// Waits until the samples that wait are written.
    pub(super) async fn write_last_samples(&self) {
        let _earlier = self.samples.writing.lock().await;
        let samples = std::mem::take(&mut *lock(&self.samples.waiting));
        write(Arc::clone(&self.store), samples, self.samples.counters.clone()).await;
    }
}
