//! All participants of one run at one target: they join, leave, publish and subscribe.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use darktower_client::StreamId;
use hdrhistogram::Histogram;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::disturbance::{Disturbance, DisturbanceFigures, Disturbers, Victim};
use crate::ledger::Ledger;
use crate::link::{Faults, Intent, Link, MeetingAt, Target, Wanted};
use crate::media::SharedSockets;
use crate::publish::{Gate, Publication};
use crate::receive::{Balance, Receiver};
use crate::runtimes::Runtimes;
use crate::subscribe;
use crate::tally::{LateAfter, SharedTally, Tally, Window, histogram, lock, now_us};
use crate::workload::{Model, Source};

/// One stream that a participant publishes.
#[derive(Debug, Clone)]
pub(crate) struct StreamPlan {
    pub(crate) model: Model,
    pub(crate) phase: Duration,
}

/// The people of every meeting of a run.
#[derive(Debug, Clone)]
pub(crate) struct MeetingPlan {
    /// Who publishes, and what.
    pub(crate) publishers: Vec<Vec<StreamPlan>>,
    /// Whether publishers subscribe to all others.
    pub(crate) publishers_subscribe: bool,
    /// What subscribers take of their meeting.
    pub(crate) wanted: Wanted,
}

/// What the fleet is made of, and what it needs.
#[derive(Debug, Clone)]
pub(crate) struct FleetSettings {
    pub(crate) plan: MeetingPlan,
    /// Joins at the same time.
    pub(crate) concurrency: usize,
    /// Media connections of subscribers on one UDP socket.
    pub(crate) per_socket: usize,
    pub(crate) late_after: LateAfter,
    /// Of the payloads; see [`crate::workload::noise`].
    pub(crate) noise: Bytes,
}

/// The participants at one target.
#[derive(Debug)]
pub(crate) struct Fleet {
    target: Arc<Target>,
    settings: FleetSettings,
    runtimes: Arc<Runtimes>,
    meetings: Vec<Meeting>,
    subscribers: VecDeque<Participant>,
    /// Those that left during the present window.
    departed: Vec<Participant>,
    disturbance: Option<Disturbance>,
    gate: watch::Sender<Gate>,
    pub(crate) window: Arc<Window>,
    tallies: Vec<SharedTally>,
    /// One per shard, if sockets are shared.
    sockets: Vec<Arc<SharedSockets>>,
    lateness_us: Arc<Mutex<Histogram<u64>>>,
    pub(crate) faults: Arc<Faults>,
    /// Microseconds of every join of subscribers so far.
    pub(crate) join_us: Histogram<u64>,
    joined: u64,
}

#[derive(Debug)]
struct Meeting {
    at: MeetingAt,
    publishers: Vec<Participant>,
    ledgers: Vec<Arc<Ledger>>,
}

#[derive(Debug)]
struct Participant {
    link: Arc<Link>,
    receiver: Option<Arc<Receiver>>,
    subscribed_at_us: u64,
}

/// A join to be made.
struct Joining {
    meeting: MeetingAt,
    intent: Intent,
    wanted: Vec<Arc<Ledger>>,
    runtime: Handle,
    tally: SharedTally,
}

impl Fleet {
    pub(crate) fn new(target: Target, settings: FleetSettings, runtimes: Arc<Runtimes>) -> Self {
        let tallies = runtimes
            .shards
            .iter()
            .map(|_| SharedTally::new(Mutex::new(Tally::new(settings.late_after))))
            .collect();
        let sockets = if settings.per_socket > 1 {
            runtimes.shards.iter().map(|_| Arc::new(SharedSockets::new(settings.per_socket))).collect()
        } else {
            Vec::new()
        };
        Self {
            target: Arc::new(target),
            settings,
            runtimes,
            meetings: Vec::new(),
            subscribers: VecDeque::new(),
            departed: Vec::new(),
            disturbance: None,
            gate: watch::Sender::new(None),
            window: Arc::default(),
            tallies,
            sockets,
            lateness_us: Arc::new(Mutex::new(histogram())),
            faults: Arc::default(),
            join_us: histogram(),
            joined: 0,
        }
    }

    /// Everybody who receives media.
    pub(crate) fn subscriber_count(&self) -> usize {
        let publishers = if self.settings.plan.publishers_subscribe {
            self.meetings.iter().map(|meeting| meeting.publishers.len()).sum()
        } else {
            0
        };
        publishers + self.subscribers.len()
    }

    /// Makes or ends meetings with their publishers until there are `count`. Only whole meetings without pure
    /// subscribers can be ended.
    pub(crate) async fn set_meetings(
        &mut self,
        count: usize,
        progress: &mut impl FnMut(usize),
    ) -> Result<()> {
        while self.meetings.len() > count {
            let Some(meeting) = self.meetings.pop() else { break };
            leave_all(meeting.publishers, &self.runtimes.publishing).await;
        }
        while self.meetings.len() < count {
            let number = self.meetings.len();
            let meeting = self.make_meeting(number).await?;
            self.meetings.push(meeting);
            progress(self.subscriber_count());
        }
        Ok(())
    }

    async fn make_meeting(&mut self, number: usize) -> Result<Meeting> {
        let at = self.target.make_meeting(u32::try_from(number)?).await?;
        let plan = self.settings.plan.clone();
        let mut sources = Vec::new();
        let ledgers: Vec<Vec<Arc<Ledger>>> = plan
            .publishers
            .iter()
            .map(|streams| {
                let own = streams.iter().map(|stream| {
                    let id = StreamId::generate();
                    let seed = u64::from_le_bytes(*id.as_bytes().last_chunk().expect("16 bytes hold 8"));
                    let source = Source::new(stream.model.clone(), &self.settings.noise, seed);
                    let is_audio = stream.model.is_audio();
                    let ledger = Arc::new(Ledger::new(id, is_audio, source.buffer().clone()));
                    sources.push((source, stream.phase));
                    ledger
                });
                own.collect()
            })
            .collect();
        let all: Vec<Arc<Ledger>> = ledgers.iter().flatten().cloned().collect();
        let mut publishers = Vec::new();
        let mut sources = sources.into_iter();
        // One after the other: the reference numbers audio streams in the order their publishers come.
        for own in ledgers {
            let (runtime, tally, sockets) = if plan.publishers_subscribe {
                self.next_shard()
            } else {
                (self.runtimes.publishing.clone(), Arc::clone(&self.tallies[0]), None)
            };
            let wanted = if plan.publishers_subscribe {
                let foreign =
                    |ledger: &Arc<Ledger>| own.iter().all(|mine| mine.stream_id != ledger.stream_id);
                wanted_of(&all, plan.wanted).into_iter().filter(foreign).collect()
            } else {
                Vec::new()
            };
            let intent = Intent {
                name: format!("publisher {}", self.joined),
                publishes: own.clone(),
                subscribes: plan.publishers_subscribe,
                wanted: plan.wanted,
                sockets,
                events: None,
            };
            let joining = Joining { meeting: at, intent, wanted, runtime: runtime.clone(), tally };
            let participant = self.spawn_join(joining)?.await??;
            if plan.publishers_subscribe {
                self.note_join(&participant);
            }
            for (ledger, (source, phase)) in own.into_iter().zip(&mut sources) {
                let publication = Publication {
                    ledger,
                    source,
                    phase,
                    link: Arc::clone(&participant.link),
                    stream_per_group: self.target.is_darktower(),
                    gate: self.gate.subscribe(),
                    lateness_us: Arc::clone(&self.lateness_us),
                    faults: Arc::clone(&self.faults),
                };
                runtime.spawn(publication.run());
            }
            publishers.push(participant);
        }
        if plan.publishers_subscribe {
            let mut subscribing = JoinSet::new();
            for participant in &mut publishers {
                participant.subscribed_at_us = now_us();
                subscribing.spawn(subscribe_all(Arc::clone(&participant.link), participant.receiver.clone()));
            }
            while let Some(subscribed) = subscribing.join_next().await {
                subscribed??;
            }
        }
        Ok(Meeting { at, publishers, ledgers: all })
    }

    /// Joins or leaves pure subscribers until there are `count`, spread evenly over the meetings.
    pub(crate) async fn set_subscribers(
        &mut self,
        count: usize,
        progress: &mut impl FnMut(usize),
    ) -> Result<()> {
        let mut surplus = Vec::new();
        while self.subscribers.len() > count {
            surplus.extend(self.subscribers.pop_back());
        }
        leave_all(surplus, &self.runtimes.publishing).await;

        let mut joins = JoinSet::new();
        let mut started = self.subscribers.len();
        while self.subscribers.len() < count {
            while started < count && joins.len() < self.settings.concurrency {
                let joining = self.next_subscriber(started)?;
                let join = self.spawn_join(joining)?;
                joins.spawn(join);
                started += 1;
            }
            let joined = joins.join_next().await.ok_or_else(|| anyhow!("a join was lost"))????;
            self.note_join(&joined);
            self.subscribers.push_back(joined);
            progress(self.subscribers.len());
        }
        Ok(())
    }

    /// The oldest subscriber leaves and a new one joins.
    pub(crate) async fn replace_one(&mut self) -> Result<()> {
        let Some(oldest) = self.subscribers.pop_front() else { return Ok(()) };
        oldest.link.leave().await;
        self.departed.push(oldest);
        let joining = self.next_subscriber(self.subscribers.len())?;
        let joined = self.spawn_join(joining)?.await??;
        self.note_join(&joined);
        self.subscribers.push_back(joined);
        Ok(())
    }

    /// Lets others into all meetings who misbehave from now on. Only our server knows how to take it.
    pub(crate) async fn disturb(&mut self, disturbers: Disturbers) -> Result<()> {
        let Target::DarkTower { api, .. } = &*self.target else { return Ok(()) };
        let victims: Vec<_> = self
            .meetings
            .iter()
            .filter_map(|meeting| {
                let MeetingAt::DarkTower(id) = meeting.at else { return None };
                let streams = meeting.ledgers.iter().map(|ledger| ledger.stream_id).collect();
                Some(Victim { meeting: id, streams })
            })
            .collect();
        let runtime = self.runtimes.shards.first().context("the tester has no runtime")?;
        self.disturbance = Some(Disturbance::start(api, &victims, disturbers, runtime).await?);
        Ok(())
    }

    /// What those who disturb have done so far.
    pub(crate) fn disturbance(&self) -> Option<DisturbanceFigures> {
        self.disturbance.as_ref().map(Disturbance::figures)
    }

    fn note_join(&mut self, participant: &Participant) {
        self.join_us.saturating_record(participant.link.join_time.as_micros() as u64);
    }

    /// The runtime of the next one to join, and what belongs to it.
    fn next_shard(&mut self) -> (Handle, SharedTally, Option<Arc<SharedSockets>>) {
        let shard = self.joined as usize % self.runtimes.shards.len();
        let sockets = self.sockets.get(shard).cloned();
        (self.runtimes.shards[shard].clone(), Arc::clone(&self.tallies[shard]), sockets)
    }

    fn next_subscriber(&mut self, number: usize) -> Result<Joining> {
        let (runtime, tally, sockets) = self.next_shard();
        let meeting =
            self.meetings.get(number % self.meetings.len().max(1)).context("there is no meeting")?;
        let wanted = wanted_of(&meeting.ledgers, self.settings.plan.wanted);
        let intent = Intent {
            name: format!("subscriber {}", self.joined),
            publishes: Vec::new(),
            subscribes: true,
            wanted: self.settings.plan.wanted,
            sockets,
            events: None,
        };
        Ok(Joining { meeting: meeting.at, intent, wanted, runtime, tally })
    }

    /// Starts a join on its runtime. Pure subscribers have subscribed when it is done.
    fn spawn_join(&mut self, joining: Joining) -> Result<tokio::task::JoinHandle<Result<Participant>>> {
        self.joined += 1;
        let Joining { meeting, intent, wanted, runtime, tally } = joining;
        let (target, faults) = (Arc::clone(&self.target), Arc::clone(&self.faults));
        let window = Arc::clone(&self.window);
        Ok(runtime.spawn(async move {
            let ticket = target.ticket(meeting, &intent.name).await?;
            // The reference may send as soon as it has said hello: who receives must be ready before.
            let receiver = intent.subscribes.then(|| Arc::new(Receiver::new(&wanted, tally, window)));
            let link = Arc::new(target.join(ticket, &intent, &faults).await?);
            if let Some(receiver) = &receiver {
                subscribe::start(&link.media, receiver, target.is_darktower());
            }
            let subscribed_at_us = now_us();
            if intent.publishes.is_empty() {
                subscribe_all(Arc::clone(&link), receiver.clone()).await?;
            }
            Ok(Participant { link, receiver, subscribed_at_us })
        }))
    }

    /// Media flows from `start` on.
    pub(crate) fn open_gate(&self, start: Instant) {
        self.gate.send_replace(Some(start));
    }

    /// No more frames.
    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(None);
    }

    /// Forgets the last window.
    pub(crate) fn reset(&mut self) {
        self.tallies.iter().for_each(|tally| lock(tally).reset());
        lock(&self.lateness_us).reset();
        self.departed.clear();
    }

    /// Sums over all subscribers.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::new(self.settings.late_after);
        self.tallies.iter().for_each(|tally| sum.add(&lock(tally)));
        sum
    }

    /// How late frames left the tester in the present window, microseconds.
    pub(crate) fn lateness_us(&self) -> Histogram<u64> {
        lock(&self.lateness_us).clone()
    }

    /// What was sent between two times and has or has not arrived.
    pub(crate) fn balance(&self, window_us: &Range<u64>) -> Balance {
        let mut sum = Balance::default();
        let members = self.meetings.iter().flat_map(|meeting| &meeting.publishers);
        let present = members.chain(&self.subscribers).map(|participant| (participant, false));
        for (participant, gone) in present.chain(self.departed.iter().map(|participant| (participant, true)))
        {
            let Some(receiver) = &participant.receiver else { continue };
            let there_before = participant.subscribed_at_us < window_us.start;
            for stream in receiver.streams.values() {
                let sequences = stream.ledger.sent_between(window_us.start, window_us.end);
                let mut balance = lock(&stream.arrivals).balance(sequences, there_before, gone);
                if stream.ledger.is_audio {
                    balance.missing_audio = balance.missing_untold;
                }
                sum.add(balance);
            }
        }
        sum
    }

    /// UDP datagrams that media connections of subscribers have received, and sent, since they joined.
    pub(crate) fn udp_datagrams(&self) -> (u64, u64) {
        let members = self.meetings.iter().flat_map(|meeting| &meeting.publishers);
        let receivers = members.chain(&self.subscribers).filter(|participant| participant.receiver.is_some());
        receivers.fold((0, 0), |(received, sent), participant| {
            let stats = participant.link.media.stats();
            (received + stats.udp_rx.datagrams, sent + stats.udp_tx.datagrams)
        })
    }

    /// Everybody leaves at once.
    pub(crate) fn cut(&mut self) {
        let members = self.meetings.iter().flat_map(|meeting| &meeting.publishers);
        members.chain(&self.subscribers).for_each(|participant| participant.link.cut());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.cut();
    }
}

/// The streams of a meeting that a subscriber takes.
fn wanted_of(ledgers: &[Arc<Ledger>], wanted: Wanted) -> Vec<Arc<Ledger>> {
    let first = |is_audio: bool, limit: Option<u32>| {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        ledgers.iter().filter(move |ledger| ledger.is_audio == is_audio).take(limit)
    };
    first(false, wanted.video).chain(first(true, wanted.audio)).cloned().collect()
}

async fn subscribe_all(link: Arc<Link>, receiver: Option<Arc<Receiver>>) -> Result<()> {
    let Some(receiver) = receiver else { return Ok(()) };
    for stream_id in receiver.streams.keys() {
        link.subscribe(*stream_id).await.context("cannot subscribe")?;
    }
    Ok(())
}

async fn leave_all(participants: Vec<Participant>, runtime: &Handle) {
    let mut leaving = JoinSet::new();
    for participant in participants {
        leaving.spawn_on(async move { participant.link.leave().await }, runtime);
    }
    while leaving.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_takes_the_first_streams_of_each_kind() {
        let ledger = |number: u8| {
            let id = StreamId::from_bytes([number; 16]);
            Arc::new(Ledger::new(id, number % 2 == 1, Bytes::new()))
        };
        let ledgers: Vec<_> = (0..10).map(ledger).collect();
        let taken = |audio, video| {
            let taken = wanted_of(&ledgers, Wanted { audio, video });
            taken.iter().map(|ledger| ledger.stream_id.as_bytes()[0]).collect::<Vec<_>>()
        };
        assert_eq!(taken(Some(2), Some(1)), [0, 1, 3]);
        assert_eq!(taken(Some(4), Some(0)), [1, 3, 5, 7]);
        assert_eq!(taken(None, None).len(), 10);
    }
}
