//! What news of who comes and goes costs in a large meeting: participants that stay, and others that join and leave, by turns in
//! that meeting and in one of their own. The difference is what those who stay were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bed::{Pinning, start_darktower};
use crate::cli::JoinsArgs;
use crate::link::{Faults, Intent, Link, MeetingAt, Target, Wanted};
use crate::live::Live;
use crate::machine;
use crate::media::SharedSockets;
use crate::procfs::{MachineReading, ProcessReading, ProcessUse};
use crate::runtimes::Runtimes;
use crate::server::DarkTower;
use crate::statistics::{median, rounded};

/// Joins per second, unless told otherwise.
const RATE: f64 = 20.0;
/// Pairs of windows, unless told otherwise.
const ROUNDS: u32 = 3;
/// All news has arrived when none came for this long: longer than the server ever gathers it.
const QUIET: Duration = Duration::from_millis(600);
/// How long it may take until then.
const QUIET_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Serialize)]
struct RosterReport {
    participants: usize,
    /// In windows of the large meeting, all rounds.
    joins: u64,
    joins_per_s: f64,
    /// That those who stay got, of who came and went.
    roster_events: u64,
    roster_events_expected: u64,
    cpu_us_per_roster_event: f64,
    /// Of a join and leave in the large meeting, all it causes included, and of one in a meeting of its own.
    cpu_ms_per_join: f64,
    cpu_ms_per_join_alone: f64,
    /// Of each pair of windows.
    rounds: Vec<Round>,
    server_rss_bytes: u64,
    tester_cpu_s: f64,
    server_waiting_s: f64,
    steal_s: f64,
    transport: &'static str,
    faults: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Round {
    cpu_us_per_roster_event: f64,
    server_cpu_s: f64,
    server_cpu_s_alone: f64,
}

/// What happened in one window.
struct Window {
    joins: u64,
    events: u64,
    used: ProcessUse,
}

struct Crowd<'a> {
    args: &'a JoinsArgs,
    target: Arc<Target>,
    runtimes: Runtimes,
    sockets: Vec<Arc<SharedSockets>>,
    faults: Arc<Faults>,
    /// What those who stay were told.
    events: Arc<AtomicU64>,
    joined: usize,
}

/// Measures in rounds of two windows.
pub(crate) async fn run(args: &JoinsArgs) -> Result<()> {
    let common = &args.common;
    let pinning = Pinning::apply(common)?;
    machine::raise_descriptor_limit(500 + 2 * args.roster as u64)?;
    let runtimes = Runtimes::start(&pinning.clients)?;
    let (mut server, target) = start_darktower(common, &pinning)?;
    let pid = server.pid.context("the server's CPU must be readable: name its process with --server-pid")?;
    let shared = |_| Arc::new(SharedSockets::new(args.participants_per_socket));
    let sockets = runtimes.shards.iter().map(shared).collect();
    let mut crowd = Crowd {
        args,
        target: Arc::new(target),
        runtimes,
        sockets,
        faults: Arc::default(),
        events: Arc::default(),
        joined: 0,
    };
    let rounds = common.rounds.unwrap_or(ROUNDS);
    let length = Duration::from_secs_f64(common.seconds / f64::from(rounds * 2));
    let mut live = Live::new();
    live.say(&format!(
        "roster: {} stay, {} per second come and go, {rounds} rounds of 2 windows of {:.1} s",
        args.roster,
        crowd.rate(),
        length.as_secs_f64()
    ));
    let large = crowd.target.make_meeting(0).await?;
    let own = crowd.target.make_meeting(1).await?;
    let staying = crowd.come_in(large, &mut live).await?;
    let steal_before = MachineReading::take();
    let tester_before = ProcessReading::take(std::process::id())?;
    // The first ones pay for what is made once.
    crowd.window(own, Duration::from_millis(500), pid, &mut server).await?;

    let (mut windows, mut alone, mut report_rounds) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        live.renew(&format!("round {}", round + 1));
        let (with, without) = if round % 2 == 0 {
            let with = crowd.window(large, length, pid, &mut server).await?;
            (with, crowd.window(own, length, pid, &mut server).await?)
        } else {
            let without = crowd.window(own, length, pid, &mut server).await?;
            (crowd.window(large, length, pid, &mut server).await?, without)
        };
        ensure!(with.events > 0 && without.joins > 0, "nothing came: {:?}", crowd.faults.all());
        // Windows are of one length, so that what the meeting costs without news is in both.
        let more = with.used.cpu_s - without.used.cpu_s * with.joins as f64 / without.joins as f64;
        report_rounds.push(Round {
            cpu_us_per_roster_event: rounded(more * 1e6 / with.events as f64),
            server_cpu_s: rounded(with.used.cpu_s),
            server_cpu_s_alone: rounded(without.used.cpu_s),
        });
        windows.push(with);
        alone.push(without);
    }
    let tester = ProcessReading::take(std::process::id())?.since(&tester_before);
    let sum = |windows: &[Window], of: fn(&Window) -> f64| windows.iter().map(of).sum::<f64>();
    let per_join = |windows: &[Window]| {
        rounded(
            sum(windows, |window| window.used.cpu_s) * 1000.0 / sum(windows, |window| window.joins as f64),
        )
    };
    let joins: u64 = windows.iter().map(|window| window.joins).sum();
    let costs: Vec<f64> = report_rounds.iter().map(|round| round.cpu_us_per_roster_event).collect();
    let report = RosterReport {
        participants: args.roster,
        joins,
        joins_per_s: rounded(joins as f64 / (length.as_secs_f64() * f64::from(rounds))),
        roster_events: windows.iter().map(|window| window.events).sum(),
        roster_events_expected: joins * 2 * args.roster as u64,
        cpu_us_per_roster_event: median(costs).map_or(0.0, rounded),
        cpu_ms_per_join: per_join(&windows),
        cpu_ms_per_join_alone: per_join(&alone),
        rounds: report_rounds,
        server_rss_bytes: windows.last().map_or(0, |window| window.used.rss_bytes),
        tester_cpu_s: rounded(tester.cpu_s),
        server_waiting_s: rounded(sum(&windows, |window| window.used.waiting_s)),
        steal_s: rounded(MachineReading::take().steal_s_since(&steal_before)),
        transport: common.transport.name(),
        faults: crowd.faults.all().1,
    };
    drop(live);
    staying.iter().for_each(Link::cut);
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    if report.roster_events != report.roster_events_expected || !report.faults.is_empty() {
        bail!(
            "{} of {} events arrived; {}",
            report.roster_events,
            report.roster_events_expected,
            report.faults.join("; ")
        );
    }
    Ok(())
}

impl Crowd<'_> {
    fn rate(&self) -> f64 {
        if self.args.rate > 0.0 { self.args.rate } else { RATE }
    }

    /// Those who stay.
    async fn come_in(&mut self, meeting: MeetingAt, live: &mut Live) -> Result<Vec<Link>> {
        let mut joins = JoinSet::new();
        let mut staying = Vec::new();
        while staying.len() < self.args.roster {
            if joins.len() < self.args.concurrency && staying.len() + joins.len() < self.args.roster {
                let events = Some(Arc::clone(&self.events));
                self.spawn_join(&mut joins, meeting, events, |link| async { Ok(link) });
            } else if let Some(joined) = joins.join_next().await {
                staying.push(joined??);
                live.renew(&format!("{} of {} are there", staying.len(), self.args.roster));
            }
        }
        self.until_quiet().await?;
        Ok(staying)
    }

    /// People join and leave for a while.
    async fn window(
        &mut self,
        meeting: MeetingAt,
        length: Duration,
        pid: u32,
        server: &mut DarkTower,
    ) -> Result<Window> {
        server.check()?;
        let stay = Duration::from_secs_f64(self.args.stay.max(0.0));
        let events = self.events.load(Ordering::Relaxed);
        let before = ProcessReading::take(pid)?;
        let started = Instant::now();
        let mut visits = JoinSet::new();
        let mut joins = 0u64;
        loop {
            let due = Duration::from_secs_f64(joins as f64 / self.rate());
            if due >= length {
                break;
            }
            sleep_until(started + due).await;
            self.spawn_join(&mut visits, meeting, None, move |link| async move {
                sleep(stay).await;
                link.leave().await;
                Ok(())
            });
            joins += 1;
        }
        while let Some(visited) = visits.join_next().await {
            visited??;
        }
        self.until_quiet().await?;
        let used = ProcessReading::take(pid)?.since(&before);
        Ok(Window { joins, events: self.events.load(Ordering::Relaxed) - events, used })
    }

    fn spawn_join<T: Send + 'static, F: Future<Output = Result<T>> + Send>(
        &mut self,
        joins: &mut JoinSet<Result<T>>,
        meeting: MeetingAt,
        events: Option<Arc<AtomicU64>>,
        then: impl FnOnce(Link) -> F + Send + 'static,
    ) {
        let shard = self.joined % self.runtimes.shards.len();
        let intent = Intent {
            name: format!("visitor {}", self.joined),
            publishes: Vec::new(),
            subscribes: true,
            wanted: Wanted::default(),
            sockets: Some(Arc::clone(&self.sockets[shard])),
            events,
        };
        self.joined += 1;
        let (target, faults) = (Arc::clone(&self.target), Arc::clone(&self.faults));
        let join = async move {
            let ticket = target.ticket(meeting, &intent.name).await?;
            then(target.join(ticket, &intent, &faults).await?).await
        };
        joins.spawn_on(join, &self.runtimes.shards[shard]);
    }

    /// Waits until nobody is told anything any more.
    async fn until_quiet(&self) -> Result<()> {
        let deadline = Instant::now() + QUIET_LIMIT;
        let mut seen = self.events.load(Ordering::Relaxed);
        while Instant::now() < deadline {
            sleep(QUIET).await;
            let now = self.events.load(Ordering::Relaxed);
            if now == seen {
                return Ok(());
            }
            seen = now;
        }
        bail!("news of who came and went does not come to an end")
    }
}

impl RosterReport {
    fn table(&self) -> String {
        format!(
            "participants         {}\njoins                {} ({} per second)\nroster events        {} of {}\n\
             CPU per event        {} us\nCPU per join         {} ms, alone {} ms\ntester CPU           {} s\n\
             steal                {} s\n",
            self.participants,
            self.joins,
            self.joins_per_s,
            self.roster_events,
            self.roster_events_expected,
            self.cpu_us_per_roster_event,
            self.cpu_ms_per_join,
            self.cpu_ms_per_join_alone,
            self.tester_cpu_s,
            self.steal_s
        )
    }
}
