//! How fast people can come in: joins at a rate, or as many as possible, and what they cost the server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bed::{Pinning, start_darktower};
use crate::cli::JoinsArgs;
use crate::link::{Faults, Intent, MeetingAt, Target, Wanted};
use crate::live::Live;
use crate::machine;
use crate::media::SharedSockets;
use crate::procfs::{MachineReading, ProcessReading};
use crate::report::{CIPHER_SUITE, JoinMs};
use crate::roster;
use crate::runtimes::Runtimes;
use crate::statistics::rounded;
use crate::tally::histogram;

/// The figures of a run of joins.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct JoinsReport {
    joins: u64,
    joins_failed: u64,
    joins_per_s: f64,
    join_ms: JoinMs,
    join_ms_max: f64,
    server_cpu_s: Option<f64>,
    cpu_ms_per_join: Option<f64>,
    joins_per_cpu_s: Option<f64>,
    server_waiting_s: Option<f64>,
    server_rss_bytes: Option<u64>,
    tester_cpu_s: f64,
    tester_cpu_ms_per_join: f64,
    steal_s: f64,
    duration_s: f64,
    transport: &'static str,
    cipher_suite: &'static str,
    faults: Vec<String>,
}

/// Joins until the time is over.
pub(crate) async fn run(args: &JoinsArgs) -> Result<()> {
    if args.roster > 0 {
        return Box::pin(roster::run(args)).await;
    }
    let common = &args.common;
    let pinning = Pinning::apply(common)?;
    let staying = (args.rate.max(1.0) * args.stay) as u64 + args.concurrency as u64;
    // Nobody knows how fast "as fast as possible" is; the hard limit says if it was too fast.
    machine::raise_descriptor_limit(200 + 2 * staying)?;
    let runtimes = Runtimes::start(&pinning.clients)?;
    let (mut server, target) = start_darktower(common, &pinning)?;
    let target = Arc::new(target);
    let faults = Arc::new(Faults::default());
    let sockets: Vec<_> =
        runtimes.shards.iter().map(|_| Arc::new(SharedSockets::new(args.participants_per_socket))).collect();
    let mut live = Live::new();
    live.say(&format!(
        "joins: {}, meetings of {}, everybody stays {} s",
        if args.rate > 0.0 {
            format!("{} per second", args.rate)
        } else {
            format!("as fast as {} at a time can", args.concurrency)
        },
        args.size,
        args.stay
    ));
    // The first join pays for what is made once.
    one_join(&target, target.make_meeting(0).await?, 0, Duration::ZERO, None, &faults).await?;

    let tester_before = ProcessReading::take(std::process::id())?;
    let machine_before = MachineReading::take();
    let server_before = server.pid.map(ProcessReading::take).transpose()?;
    let started = Instant::now();
    let ends = started + Duration::from_secs_f64(common.seconds.max(0.1));
    let stay = Duration::from_secs_f64(args.stay.max(0.0));
    let mut joins: JoinSet<Result<Duration>> = JoinSet::new();
    let mut times = histogram();
    let mut meeting = None;
    let (mut begun, mut failed) = (0u64, 0u64);
    loop {
        let due = if args.rate > 0.0 {
            started + Duration::from_secs_f64(begun as f64 / args.rate)
        } else {
            Instant::now()
        };
        let has_room = joins.len() < args.concurrency;
        tokio::select! {
            () = tokio::time::sleep_until(ends) => break,
            Some(joined) = joins.join_next() => note(joined?, &mut times, &mut failed, &faults),
            () = tokio::time::sleep_until(due), if has_room => {
                server.check()?;
                if begun.is_multiple_of(args.size as u64) || meeting.is_none() {
                    meeting = Some(target.make_meeting(u32::try_from(begun)?).await?);
                }
                let Some(at) = meeting else { continue };
                let shard = begun as usize % runtimes.shards.len();
                let (target, faults) = (Arc::clone(&target), Arc::clone(&faults));
                let sockets = Some(Arc::clone(&sockets[shard]));
                let join = async move { one_join(&target, at, begun, stay, sockets, &faults).await };
                joins.spawn_on(join, &runtimes.shards[shard]);
                begun += 1;
            }
        }
        live.renew(&format!("{} joins, {} under way, {failed} failed", times.len(), joins.len()));
    }
    let server_used = match (server.pid.map(ProcessReading::take).transpose()?, server_before) {
        (Some(after), Some(before)) => Some(after.since(&before)),
        _ => None,
    };
    let tester_used = ProcessReading::take(std::process::id())?.since(&tester_before);
    let steal_s = MachineReading::take().steal_s_since(&machine_before);
    let done = times.len();
    // Those that are under way are not counted, but they must not fail either.
    while let Some(joined) = joins.join_next().await {
        note(joined?, &mut times, &mut failed, &faults);
    }
    let ms = |times: &Histogram<u64>, quantile| rounded(times.value_at_quantile(quantile) as f64 / 1000.0);
    let report = JoinsReport {
        joins: done,
        joins_failed: failed,
        joins_per_s: rounded(done as f64 / tester_used.wall_s),
        join_ms: JoinMs { p50: ms(&times, 0.5), p99: ms(&times, 0.99) },
        join_ms_max: rounded(times.max() as f64 / 1000.0),
        server_cpu_s: server_used.map(|used| rounded(used.cpu_s)),
        cpu_ms_per_join: server_used.map(|used| rounded(used.cpu_s * 1000.0 / done.max(1) as f64)),
        joins_per_cpu_s: server_used.map(|used| rounded(done as f64 / used.cpu_s.max(1e-9))),
        server_waiting_s: server_used.map(|used| rounded(used.waiting_s)),
        server_rss_bytes: server_used.map(|used| used.rss_bytes),
        tester_cpu_s: rounded(tester_used.cpu_s),
        tester_cpu_ms_per_join: rounded(tester_used.cpu_s * 1000.0 / done.max(1) as f64),
        steal_s: rounded(steal_s),
        duration_s: rounded(tester_used.wall_s),
        transport: common.transport.name(),
        cipher_suite: CIPHER_SUITE,
        faults: faults.all().1,
    };
    drop(live);
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    if report.joins_failed > 0 || report.joins == 0 {
        bail!("{} joins failed: {}", report.joins_failed, report.faults.join("; "));
    }
    Ok(())
}

fn note(joined: Result<Duration>, times: &mut Histogram<u64>, failed: &mut u64, faults: &Faults) {
    match joined {
        Ok(time) => times.saturating_record(time.as_micros() as u64),
        Err(error) => {
            *failed += 1;
            faults.note(format!("{:#}", error.root_cause()));
        }
    }
}

/// Joins, and leaves on a task of its own after `stay`.
async fn one_join(
    target: &Target,
    meeting: MeetingAt,
    number: u64,
    stay: Duration,
    sockets: Option<Arc<SharedSockets>>,
    faults: &Arc<Faults>,
) -> Result<Duration> {
    let intent = Intent {
        name: format!("joiner {number}"),
        publishes: Vec::new(),
        subscribes: true,
        wanted: Wanted::default(),
        sockets,
        events: None,
    };
    let ticket = target.ticket(meeting, &intent.name).await?;
    let link = target.join(ticket, &intent, faults).await?;
    let time = link.join_time;
    tokio::spawn(async move {
        tokio::time::sleep(stay).await;
        link.leave().await;
    });
    Ok(time)
}

impl JoinsReport {
    fn table(&self) -> String {
        let optional = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| value.to_string());
        format!(
            "joins                {} in {} s, {} failed\nrate                 {} per second\n\
             join p50/p99/max     {} / {} / {} ms\nserver CPU           {} s, {} ms per join\n\
             tester CPU           {} s, {} ms per join\nsteal                {} s\n",
            self.joins,
            self.duration_s,
            self.joins_failed,
            self.joins_per_s,
            self.join_ms.p50,
            self.join_ms.p99,
            self.join_ms_max,
            optional(self.server_cpu_s),
            optional(self.cpu_ms_per_join),
            self.tester_cpu_s,
            self.tester_cpu_ms_per_join,
            self.steal_s
        )
    }
}
