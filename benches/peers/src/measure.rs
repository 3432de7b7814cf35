//! One run: the audience comes in, media flows, the relay's process is read at both ends of the window, and every unit is
//! accounted for afterwards.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::cli::Cli;
use crate::client::{CIPHER_SUITE, Dialer, Faults, Inbox, Publication, Publisher, Subscriber};
use crate::machine::{self, Cores};
use crate::procfs::{self, MachineReading, ProcessReading};
use crate::relay::{self, Relay};
use crate::report::{JoinMs, Latency, MachineFigures, Report, TesterFigures};
use crate::runtimes::Runtimes;
use crate::statistics::{Quantiles, rounded};
use crate::tally::{SharedTally, Tally, Window, histogram, lock};
use crate::workload::{self, Class, Ledger, Media, now_us};

/// Between "start" and the first unit, so that all threads hear of it in time.
const START_DELAY: Duration = Duration::from_millis(10);
/// After the window: what is missing when nothing has arrived for this long does not come any more.
const DRAIN_SILENCE: Duration = Duration::from_millis(1500);
/// The longest drain; a server that is this far behind has lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// The live line on a terminal, and where it cannot be renewed.
const LIVE_INTERVAL: Duration = Duration::from_secs(1);
const QUIET_LIVE_INTERVAL: Duration = Duration::from_secs(5);
/// File descriptors beside one socket for each client.
const OTHER_DESCRIPTORS: u64 = 100;

/// What all clients share.
struct Audience {
    window: Arc<Window>,
    video: Arc<Ledger>,
    audio: Arc<Ledger>,
    tallies: Vec<SharedTally>,
    faults: Arc<Faults>,
}

impl Audience {
    fn new(shards: usize) -> Self {
        let payloads = workload::payloads();
        Self {
            window: Arc::default(),
            video: Arc::new(Ledger::new(Media::Video, payloads.clone())),
            audio: Arc::new(Ledger::new(Media::Audio, payloads)),
            tallies: (0..shards).map(|_| Arc::new(Mutex::new(Tally::new()))).collect(),
            faults: Arc::default(),
        }
    }

    fn inbox(&self, media: Media, tally: &SharedTally) -> Arc<Inbox> {
        let ledger = if media == Media::Video { &self.video } else { &self.audio };
        Arc::new(Inbox {
            ledger: Arc::clone(ledger),
            window: Arc::clone(&self.window),
            tally: Arc::clone(tally),
            seen: Mutex::default(),
        })
    }

    fn tally(&self) -> Tally {
        let mut sum = Tally::new();
        self.tallies.iter().for_each(|tally| sum.add(&lock(tally)));
        sum
    }
}

/// Starts the relay, runs everything, and ends the relay.
pub(crate) async fn run(cli: &Cli) -> Result<Report> {
    let usual = machine::usual_cores();
    let server_cores = cli.server_cores.clone().unwrap_or(usual.0);
    let client_cores = cli.client_cores.clone().unwrap_or(usual.1);
    machine::check_apart(&server_cores, &client_cores)?;
    machine::raise_descriptor_limit(u64::from(cli.subscribers) * 2 + OTHER_DESCRIPTORS)?;
    let peer = relay::version(&cli.relay)?;

    let mut relay = Relay::start(&cli.relay, &server_cores, cli.tuned)?;
    let runtimes = Runtimes::start(&client_cores)?;
    let audience = Audience::new(runtimes.shards.len());
    let dialer = Dialer { address: relay.address, transport: cli.transport, tuned: cli.tuned };
    let publisher = runtimes.publishing.spawn(Publisher::join(dialer)).await?;
    let publisher = publisher.context("the publisher could not join")?;
    let protocol = publisher.protocol();
    let join_ms = fill(&audience, &runtimes, dialer, cli).await?;

    // From here on as in darktower-load's measure.rs.
    let length = Duration::from_secs_f64(cli.seconds.max(0.1));
    let warm_up = Duration::from_secs_f64(cli.warm_up.max(0.0));
    let opened = Instant::now() + START_DELAY;
    let (starts, ends) = (opened + warm_up, opened + warm_up + length);
    let start_us = now_us() + (START_DELAY + warm_up).as_micros() as u64;
    let end_us = start_us + length.as_micros() as u64;
    audience.window.set(start_us, end_us);
    let lateness_us = Arc::new(Mutex::new(histogram()));
    let publication = |ledger: &Arc<Ledger>| Publication {
        ledger: Arc::clone(ledger),
        start: opened,
        end: ends,
        lateness_us: Arc::clone(&lateness_us),
    };
    let published = publisher.run(publication(&audience.video), publication(&audience.audio));
    let faults = Arc::clone(&audience.faults);
    runtimes.publishing.spawn(async move {
        if let Err(error) = published.await {
            faults.note(format!("publishing failed: {error:#}"));
        }
    });
    tokio::time::sleep_until(starts).await;

    let tester_before = ProcessReading::take(std::process::id())?;
    let machine_before = MachineReading::take();
    let relay_before = ProcessReading::take(relay.pid())?;
    watch(&audience, &mut relay, cli.subscribers, ends).await?;
    let relay_after = ProcessReading::take(relay.pid())?;
    let machine_after = MachineReading::take();
    let tester_after = ProcessReading::take(std::process::id())?;

    let [audio, delta, key] = Class::ALL.map(|class| {
        let sent = [&audience.video, &audience.audio].map(|ledger| ledger.sent_between(start_us, end_us));
        (sent[0][class as usize] + sent[1][class as usize]) * u64::from(cli.subscribers)
    });
    let expected = audio + delta + key;
    let tally = drained(&audience, expected).await;
    relay.check()?;

    let used = relay_after.since(&relay_before);
    let tester = tester_after.since(&tester_before);
    let received = tally.units();
    let served = (received as f64 / expected.max(1) as f64).max(1e-6);
    let gbit = tally.bytes as f64 * 8.0 / 1e9;
    let subscribers = f64::from(cli.subscribers);
    let latency = |class: Class| Quantiles::of(&tally.latency_us[class as usize]);
    let lateness = lock(&lateness_us).value_at_quantile(0.99);
    Ok(Report {
        subscribers: cli.subscribers,
        units_expected: expected,
        units_received: received,
        units_late: tally.late,
        delivered_gbit: rounded(gbit),
        server_cpu_s: rounded(used.cpu_s),
        cpu_us_per_delivered_frame: rounded(used.cpu_s * 1e6 / received.max(1) as f64),
        cpu_s_per_gbit: rounded(used.cpu_s / gbit.max(1e-9)),
        server_rss_bytes: used.rss_bytes,
        latency_us: Latency {
            audio: latency(Class::Audio),
            delta: latency(Class::Delta),
            key: latency(Class::Key),
        },
        join_ms,
        ctx_switches: used.context_switches,
        duration_s: rounded(used.wall_s),
        // A server that leaves half out serves half the subscribers.
        server_ms_per_subscriber_second: rounded(used.cpu_s * 1000.0 / (used.wall_s * subscribers * served)),
        units_missing_untold: expected.saturating_sub(received),
        units_missing_audio: audio.saturating_sub(tally.units[Class::Audio as usize]),
        payload_mismatches: tally.mismatches,
        units_repeated: tally.repeats,
        server_user_s: rounded(used.user_s),
        server_system_s: rounded(used.system_s),
        server_waiting_s: rounded(used.waiting_s),
        machine_udp_sends: machine_after.udp_sent - machine_before.udp_sent,
        steal_s: rounded(machine_after.steal_s_since(&machine_before)),
        tester: TesterFigures {
            ms_per_subscriber_second: rounded(tester.cpu_s * 1000.0 / (tester.wall_s * subscribers)),
            busy: client_cores.count().map(|cores| rounded(tester.cpu_s / (tester.wall_s * cores as f64))),
            send_delay_us_p99: lateness,
            udp_receive_buffer_errors: machine_after.udp_receive_buffer_errors
                - machine_before.udp_receive_buffer_errors,
        },
        workload: workload::DESCRIPTION,
        peer,
        protocol,
        transport: cli.transport.name(),
        tuned: cli.tuned,
        cipher_suite: CIPHER_SUITE,
        machine: machine_figures(&server_cores, &client_cores),
        faults: audience.faults.all(),
    })
}

fn machine_figures(server_cores: &Cores, client_cores: &Cores) -> MachineFigures {
    MachineFigures {
        cpu: procfs::cpu_model(),
        kernel: procfs::kernel(),
        server_cores: server_cores.to_string(),
        client_cores: client_cores.to_string(),
    }
}

/// Lets all subscribers in; returns how long that took each.
async fn fill(audience: &Audience, runtimes: &Runtimes, dialer: Dialer, cli: &Cli) -> Result<JoinMs> {
    let turns = Arc::new(Semaphore::new(cli.ramp as usize));
    let (joined, mut joins) = mpsc::unbounded_channel();
    for number in 0..cli.subscribers as usize {
        let shard = number % runtimes.shards.len();
        let tally = &audience.tallies[shard];
        let (video, audio) = (audience.inbox(Media::Video, tally), audience.inbox(Media::Audio, tally));
        let (turns, joined, faults) = (Arc::clone(&turns), joined.clone(), Arc::clone(&audience.faults));
        runtimes.shards[shard].spawn(async move {
            let turn = turns.acquire_owned().await;
            let begun = Instant::now();
            let subscriber = match Subscriber::join(dialer).await {
                Ok(subscriber) => subscriber,
                Err(error) => return drop(joined.send(Err(error))),
            };
            let _ = joined.send(Ok(begun.elapsed()));
            drop((turn, joined));
            if let Err(error) = subscriber.run(video, audio).await {
                faults.note(format!("subscriber {number}: {error:#}"));
            }
        });
    }
    drop(joined);
    let mut took_us = histogram();
    while let Some(join) = joins.recv().await {
        let took = join.context("a subscriber could not join")?;
        took_us.saturating_record(took.as_micros() as u64);
    }
    let ms = |quantile| rounded(took_us.value_at_quantile(quantile) as f64 / 1000.0);
    Ok(JoinMs { p50: ms(0.5), p99: ms(0.99) })
}

/// Waits for the end of the window, and tells how it goes.
async fn watch(audience: &Audience, relay: &mut Relay, subscribers: u32, ends: Instant) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let interval = if terminal { LIVE_INTERVAL } else { QUIET_LIVE_INTERVAL };
    let mut next = Instant::now() + interval;
    while next < ends {
        tokio::time::sleep_until(next).await;
        next += interval;
        relay.check()?;
        let tally = audience.tally();
        let p99 = tally.latency_us.iter().map(|latency| latency.value_at_quantile(0.99)).max();
        let line = format!(
            "moq-relay: {subscribers} subscribers, {} units, {:.2} Gbit, slowest p99 {:.1} ms{}",
            tally.units(),
            tally.bytes as f64 * 8.0 / 1e9,
            p99.unwrap_or(0) as f64 / 1000.0,
            if tally.mismatches > 0 { ", MISMATCHES" } else { "" },
        );
        let mut out = std::io::stderr().lock();
        // Whoever closed the pipe does not want to know.
        if terminal {
            let _ = write!(out, "\r\x1b[K{line}");
            let _ = out.flush();
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    tokio::time::sleep_until(ends).await;
    if terminal {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(())
}

/// The tally once everything has arrived, or nothing arrives any more.
async fn drained(audience: &Audience, expected: u64) -> Tally {
    let ended = Instant::now();
    let (mut tally, mut progress) = (audience.tally(), ended);
    while tally.units() < expected {
        let now = Instant::now();
        if now > progress + DRAIN_SILENCE || now > ended + DRAIN_LIMIT {
            break;
        }
        tokio::time::sleep(DRAIN_POLL).await;
        let before = std::mem::replace(&mut tally, audience.tally());
        if tally.units() != before.units() {
            progress = Instant::now();
        }
    }
    tally
}
