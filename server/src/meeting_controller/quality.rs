//! What media handlers see of participants, on its way to their meetings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use darktower_core::meeting::quality::MediaSample;
use darktower_protocol::{MeetingId, ParticipantId};
use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{MeetingController, lock};
use crate::media_handler::{Telemetry, TelemetrySink};

/// Portions of telemetry that may wait: some seconds of the largest server.
const QUEUE: usize = 1024;

/// How often meetings are told.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was seen in the last second. Of two samples of a participant, whose session has taken the place of another, the later.
type Samples = HashMap<MeetingId, BTreeMap<ParticipantId, MediaSample>>;

/// Where the telemetry of media handlers arrives.
#[derive(Debug)]
pub struct QualityInbox {
    portions: mpsc::Receiver<Vec<Telemetry>>,
}

/// What the shards of this process tell.
#[derive(Debug)]
struct Outbox {
    portions: mpsc::Sender<Vec<Telemetry>>,
    left_out: Counter,
}

impl QualityInbox {
    /// An inbox, and the way into it. What does not fit is left out, and counted.
    pub fn open() -> (Arc<dyn TelemetrySink>, Self) {
        let (sender, portions) = mpsc::channel(QUEUE);
        let left_out = metrics::counter!("media_telemetry_left_out_total");
        (Arc::new(Outbox { portions: sender, left_out }), Self { portions })
    }
}

impl TelemetrySink for Outbox {
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
    let mut samples = Samples::new();
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => controller.observe(&mut samples),
            portion = inbox.portions.recv() => match portion {
                Some(portion) => {
                    for Telemetry { meeting, sample } in portion {
                        samples.entry(meeting).or_default().insert(sample.participant, sample);
                    }
                }
                None => return,
            },
        }
    }
}

impl MeetingController {
    fn observe(&self, samples: &mut Samples) {
        let now = Instant::now();
        for (meeting, samples) in samples.drain() {
            let Some(meeting) = self.live(meeting) else { continue };
            let mut live = lock(&meeting);
            live.core.observe(samples.into_values().collect(), now);
            self.carry_out(&mut live);
        }
    }
}
