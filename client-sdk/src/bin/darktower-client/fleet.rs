//! Bots of one process in one meeting: everybody publishes, everybody subscribes to everybody else, and a [`Ledger`] per
//! stream knows what was sent and who got it.
//!
//! Media starts only when all have joined, published and subscribed: every unit is then owed to every other bot.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use darktower_client::{
    Direction, Frame, Latency, Meeting, Publisher, StreamMetadata, SubscribeOptions, Subscriber,
};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Target};
use crate::ledger::{Ledger, Totals};
use crate::player::{self, Clip, Epoch, Player};
use crate::publish::say_what_is_on;
use crate::recorder::Recorder;
use crate::stop::Stop;
use crate::table::{Align, Screen, Table, kbps, ms};

/// Bots that join at one time: enough to be quick, few enough that joining is not what is measured.
const JOINING: usize = 8;
/// How long the last units may take to arrive.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// The same when the user wants to go: with the rest of the end, less than three seconds.
const DRAIN_LIMIT_STOPPED: Duration = Duration::from_millis(1000);
/// How long players may take to hand over the frame at hand, and streams to end.
const END_LIMIT: Duration = Duration::from_millis(500);
/// Latencies above this are a wrong clock.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// The result of a run, in the order it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) participants: usize,
    pub(crate) streams: usize,
    pub(crate) units_expected: u64,
    pub(crate) units_received: u64,
    pub(crate) payload_mismatches: u64,
    pub(crate) join_ms_p50: f64,
    pub(crate) join_ms_p95: f64,
    pub(crate) latency_us_p50: u64,
    pub(crate) latency_us_p99: u64,
}

/// A ledger that publisher and subscribers share. The lock is held for one entry.
#[derive(Debug, Clone)]
struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    fn new(subscribers: usize) -> Self {
        Self(Arc::new(Mutex::new(Ledger::new(subscribers))))
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bot {
    name: String,
    meeting: Meeting,
}

struct Publication {
    owner: usize,
    publisher: Publisher,
    clip: Clip,
    metadata: StreamMetadata,
    ledger: SharedLedger,
}

struct Subscription {
    subscriber: Subscriber,
    ledger: SharedLedger,
    account: usize,
    recorder: Option<Recorder>,
    what: String,
}

/// Everybody has joined, published and subscribed; no media so far.
pub(crate) struct Ready {
    bots: Vec<Bot>,
    publications: Vec<Publication>,
    subscriptions: Vec<Subscription>,
}

/// Lets one bot per entry of `clips` join, publish its clips and subscribe to the others.
pub(crate) async fn prepare(target: &Target, clips: &[Vec<Clip>], record: Option<&Path>) -> Result<Ready> {
    let (bots, publications) = join_and_publish(target, clips).await?;
    let mut tasks = JoinSet::new();
    for (index, bot) in bots.iter().enumerate() {
        let mut wanted = Vec::new();
        for publication in publications.iter().filter(|publication| publication.owner != index) {
            let from = bots.get(publication.owner).map_or("", |bot| &bot.name);
            let what = format!("{}-from-{from}-{}", bot.name, publication.metadata.codec);
            let recorder = match record {
                Some(dir) => Some(Recorder::start(dir, &what, &publication.metadata, |_| {})?),
                None => None,
            };
            // The others are numbered without the owner.
            let account = if index < publication.owner { index } else { index - 1 };
            wanted.push((
                publication.publisher.stream_id(),
                publication.ledger.clone(),
                account,
                recorder,
                what,
            ));
        }
        let meeting = bot.meeting.clone();
        tasks.spawn(async move {
            let mut subscriptions = Vec::with_capacity(wanted.len());
            for (stream_id, ledger, account, recorder, what) in wanted {
                let subscriber = meeting
                    .subscribe(stream_id, SubscribeOptions::default())
                    .await
                    .with_context(|| format!("cannot subscribe: {what}"))?;
                subscriptions.push(Subscription { subscriber, ledger, account, recorder, what });
            }
            anyhow::Ok(subscriptions)
        });
    }
    let mut subscriptions = Vec::new();
    while let Some(subscribed) = tasks.join_next().await {
        subscriptions.extend(subscribed.context("subscribing failed")??);
    }
    Ok(Ready { bots, publications, subscriptions })
}

async fn join_and_publish(target: &Target, clips: &[Vec<Clip>]) -> Result<(Vec<Bot>, Vec<Publication>)> {
    let turns = Arc::new(Semaphore::new(JOINING));
    let prefix = target.name().unwrap_or("bot").to_owned();
    let subscribers = clips.len() - 1;
    let mut tasks = JoinSet::new();
    for (owner, clips) in clips.iter().enumerate() {
        let (target, turns, clips) = (target.clone(), Arc::clone(&turns), clips.clone());
        let name = format!("{prefix}{}", owner + 1);
        tasks.spawn(async move {
            let turn = turns.acquire().await.context("joining was given up")?;
            let meeting = target.join_as(&name).await?;
            drop(turn);
            let mut publications = Vec::with_capacity(clips.len());
            let mut kinds = Vec::with_capacity(clips.len());
            for clip in clips {
                let options = clip.publish_options();
                kinds.push(options.stream_type);
                let metadata = options.metadata.clone();
                let publisher = meeting
                    .publish(options)
                    .await
                    .with_context(|| format!("{name} cannot publish {}", clip.name()))?;
                let ledger = SharedLedger::new(subscribers);
                publications.push(Publication { owner, publisher, clip, metadata, ledger });
            }
            say_what_is_on(&meeting, &kinds).await?;
            anyhow::Ok((owner, Bot { name, meeting }, publications))
        });
    }
    let mut joined = BTreeMap::new();
    while let Some(bot) = tasks.join_next().await {
        let (owner, bot, publications) = bot.context("joining failed")??;
        joined.insert(owner, (bot, publications));
    }
    let (bots, publications): (Vec<_>, Vec<_>) = joined.into_values().unzip();
    Ok((bots, publications.into_iter().flatten().collect()))
}

/// What one subscriber measured, in microseconds.
type Latencies = Histogram<u64>;

fn no_latencies() -> Latencies {
    Histogram::new(3).expect("three significant digits are allowed")
}

/// Media flows.
struct Running {
    bots: Vec<Bot>,
    ledgers: Vec<SharedLedger>,
    players: JoinSet<Result<Publisher>>,
    receivers: JoinSet<(Latencies, Result<()>)>,
    /// Sessions that the server ends.
    sessions: JoinSet<anyhow::Error>,
    /// Players end with the frame at hand.
    stop_sending: CancellationToken,
    /// All players have ended, and the ledgers are closed.
    all_sent: CancellationToken,
    /// Receivers stop, whatever is missing.
    give_up: CancellationToken,
    latencies: Latencies,
}

impl Ready {
    /// Each bot's name, and what it publishes.
    pub(crate) fn descriptions(&self) -> impl Iterator<Item = (&str, String)> {
        self.bots.iter().enumerate().map(|(index, bot)| {
            let own = self.publications.iter().filter(move |publication| publication.owner == index);
            let streams: Vec<_> = own.map(|publication| publication.clip.description()).collect();
            (bot.name.as_str(), streams.join(", "))
        })
    }

    /// Plays, waits for the last units, leaves; draws a table every second if `live`. The inner result is what cut the run short.
    pub(crate) async fn run(
        self,
        seconds: Option<Duration>,
        stop: &Stop,
        live: bool,
    ) -> Result<(Figures, Result<()>)> {
        let streams = self.publications.len();
        let mut running = self.start();
        let outcome = running.play(seconds, stop, live).await;
        let publishers = running.end_players().await;
        let limit = if stop.is_requested() { DRAIN_LIMIT_STOPPED } else { DRAIN_LIMIT };
        let drained = running.drain(limit).await;
        let figures = running.figures(streams);
        running.leave(publishers).await;
        Ok((figures, outcome.and(drained)))
    }

    fn start(self) -> Running {
        let Self { bots, publications, subscriptions } = self;
        let mut running = Running {
            ledgers: publications.iter().map(|publication| publication.ledger.clone()).collect(),
            players: JoinSet::new(),
            receivers: JoinSet::new(),
            sessions: JoinSet::new(),
            stop_sending: CancellationToken::new(),
            all_sent: CancellationToken::new(),
            give_up: CancellationToken::new(),
            latencies: no_latencies(),
            bots,
        };
        for bot in &running.bots {
            let (name, meeting) = (bot.name.clone(), bot.meeting.clone());
            running.sessions.spawn(async move { connection::ended(&meeting, &name).await.context(name) });
        }
        for subscription in subscriptions {
            let (all_sent, give_up) = (running.all_sent.clone(), running.give_up.clone());
            running.receivers.spawn(subscription.receive(all_sent, give_up));
        }
        let epoch = Epoch::now();
        for publication in publications {
            let stop = running.stop_sending.clone();
            running.players.spawn(publication.play(epoch, stop));
        }
        running
    }
}

impl Publication {
    async fn play(mut self, epoch: Epoch, stop: CancellationToken) -> Result<Publisher> {
        let what = self.clip.name();
        let player = Player::start(self.clip, true, epoch);
        let ledger = self.ledger;
        let sent = |frame: &_, units| ledger.lock().sent(frame, units);
        player
            .send_to(&mut self.publisher, &stop, sent)
            .await
            .with_context(|| format!("while publishing {what}"))?;
        Ok(self.publisher)
    }
}

impl Subscription {
    /// Takes every frame, until the ledger says that there are no more. What was measured counts even if it ends badly.
    async fn receive(
        mut self,
        all_sent: CancellationToken,
        give_up: CancellationToken,
    ) -> (Latencies, Result<()>) {
        let mut latencies = no_latencies();
        let received = self.take_all(&all_sent, &give_up, &mut latencies).await;
        let recorded = match self.recorder {
            Some(recorder) => recorder.finish().await.map(drop),
            None => Ok(()),
        };
        (latencies, received.and(recorded).context(self.what))
    }

    async fn take_all(
        &mut self,
        all_sent: &CancellationToken,
        give_up: &CancellationToken,
        latencies: &mut Latencies,
    ) -> Result<()> {
        let mut sending = true;
        while !self.ledger.lock().is_complete(self.account) {
            let frame = tokio::select! {
                biased;
                frame = self.subscriber.next_frame() => frame?,
                // Whether more is to come must be asked again.
                () = all_sent.cancelled(), if sending => {
                    sending = false;
                    continue;
                }
                () = give_up.cancelled() => return Ok(()),
            };
            self.take(frame.context("the stream ended too early")?, latencies).await?;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame, latencies: &mut Latencies) -> Result<()> {
        let latency_us = player::unix_us().saturating_sub(frame.timestamp_us);
        self.ledger.lock().received(self.account, &frame);
        latencies.record(latency_us.min(MAX_LATENCY_US)).expect("a resizing histogram takes any value");
        match &mut self.recorder {
            Some(recorder) => recorder.write(frame).await,
            None => Ok(()),
        }
    }
}

impl Running {
    /// Until the time is over or somebody stops it; an error if something ends that should not.
    async fn play(&mut self, seconds: Option<Duration>, stop: &Stop, live: bool) -> Result<()> {
        let mut screen = Screen::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.tick().await;
        let mut over = std::pin::pin!(stop.requested_within(seconds));
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                _ = tick.tick() => if live { screen.draw(&self.lines())? },
                Some(ended) = self.sessions.join_next() => return Err(ended.context("a session failed")?),
                Some(ended) = self.players.join_next() => {
                    let publisher = ended.context("publishing failed")??;
                    bail!("stream {} ended by itself", publisher.stream_id());
                }
                Some(ended) = self.receivers.join_next() => {
                    self.take(ended)?;
                    bail!("a subscription ended by itself");
                }
            }
        }
    }

    /// Stops sending, with the frame at hand; closes the ledgers.
    async fn end_players(&mut self) -> Vec<Publisher> {
        self.stop_sending.cancel();
        let mut publishers = Vec::new();
        let collect = async {
            while let Some(ended) = self.players.join_next().await {
                match ended {
                    Ok(Ok(publisher)) => publishers.push(publisher),
                    Ok(Err(error)) => tracing::warn!("{error:#}"),
                    Err(error) => tracing::warn!(%error, "publishing failed"),
                }
            }
        };
        if tokio::time::timeout(END_LIMIT, collect).await.is_err() {
            tracing::warn!("some streams could not be sent to the end");
            self.players.abort_all();
        }
        for ledger in &self.ledgers {
            ledger.lock().close();
        }
        self.all_sent.cancel();
        publishers
    }

    /// Waits for the last units.
    async fn drain(&mut self, limit: Duration) -> Result<()> {
        let give_up = self.give_up.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            give_up.cancel();
        });
        let mut outcome = Ok(());
        while let Some(ended) = self.receivers.join_next().await {
            outcome = outcome.and(self.take(ended));
        }
        outcome
    }

    /// Adds what a receiver measured; returns how it ended.
    fn take(&mut self, ended: Result<(Latencies, Result<()>), JoinError>) -> Result<()> {
        let (latencies, outcome) = ended.context("receiving failed")?;
        self.latencies.add(latencies).expect("a resizing histogram takes any other");
        outcome
    }

    fn figures(&self, streams: usize) -> Figures {
        let mut totals = Totals::default();
        for ledger in &self.ledgers {
            totals += ledger.lock().totals();
        }
        let mut joins: Vec<f64> =
            self.bots.iter().map(|bot| bot.meeting.statistics().join_duration.as_secs_f64() * 1e3).collect();
        joins.sort_by(f64::total_cmp);
        let join_ms = |share| (quantile(&joins, share) * 10.0).round() / 10.0;
        Figures {
            participants: self.bots.len(),
            streams,
            units_expected: totals.expected,
            units_received: totals.received,
            payload_mismatches: totals.mismatches,
            join_ms_p50: join_ms(0.5),
            join_ms_p95: join_ms(0.95),
            latency_us_p50: self.latencies.value_at_quantile(0.5),
            latency_us_p99: self.latencies.value_at_quantile(0.99),
        }
    }

    /// Ends the streams, then the sessions.
    async fn leave(self, publishers: Vec<Publisher>) {
        // What the bots do themselves is no news.
        drop(self.sessions);
        let mut ending = JoinSet::new();
        for publisher in publishers {
            ending.spawn(publisher.finish());
        }
        let ended = async { while ending.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_LIMIT, ended).await;
        let mut leaving = JoinSet::new();
        for bot in self.bots {
            leaving.spawn(connection::leave(bot.meeting));
        }
        while leaving.join_next().await.is_some() {}
    }

    fn lines(&self) -> Vec<String> {
        let mut table = Table::new([
            ("BOT", Align::Left),
            ("OUT", Align::Right),
            ("FRAMES/S", Align::Right),
            ("KBIT/S", Align::Right),
            ("IN", Align::Right),
            ("FRAMES/S", Align::Right),
            ("KBIT/S", Align::Right),
            ("LOST", Align::Right),
            ("P50 MS", Align::Right),
            ("P99 MS", Align::Right),
            ("RTT MS", Align::Right),
        ]);
        for bot in &self.bots {
            let statistics = bot.meeting.statistics();
            let (mut sent, mut received) = (Sum::default(), Sum::default());
            for stream in &statistics.streams {
                let sum = if stream.direction == Direction::Outgoing { &mut sent } else { &mut received };
                sum.streams += 1;
                sum.fps += stream.frame_rate;
                sum.bitrate_bps += stream.bitrate_bps;
                sum.lost += stream.lost_units + stream.overflowed_units;
                sum.latency.merge(&stream.latency);
            }
            table.row([
                bot.name.clone(),
                sent.streams.to_string(),
                format!("{:.0}", sent.fps),
                kbps(sent.bitrate_bps),
                received.streams.to_string(),
                format!("{:.0}", received.fps),
                kbps(received.bitrate_bps),
                received.lost.to_string(),
                ms(received.latency.quantile_us(0.5)),
                ms(received.latency.quantile_us(0.99)),
                format!("{:.1}", statistics.rtt.as_secs_f64() * 1e3),
            ]);
        }
        table.lines()
    }
}

/// Streams of one bot in one direction.
#[derive(Debug, Default)]
struct Sum {
    streams: usize,
    fps: f64,
    bitrate_bps: u64,
    lost: u64,
    latency: Latency,
}

/// The value that the share `share` of the sorted `values` does not exceed.
fn quantile(values: &[f64], share: f64) -> f64 {
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        assert_eq!(quantile(&[1.0, 2.0, 9.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 9.0], 0.95), 9.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
