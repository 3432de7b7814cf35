//! The measured window: media flows, processes are read at both ends, and every unit is accounted for afterwards.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::live::Live;
use crate::procfs::{MachineReading, ProcessReading, ProcessUse};
use crate::receive::Balance;
use crate::server::{DarkTower, Naive};
use crate::tally::{Tally, now_us};

/// After a window: what is missing when nothing has arrived for this long does not come any more.
const DRAIN_SILENCE: Duration = Duration::from_millis(1500);
/// The longest drain; a server that is this far behind has lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Publishers start this much after the gate opens, so that all hear of it in time.
const START_DELAY: Duration = Duration::from_millis(10);

/// A server under test, whichever it is.
#[derive(Debug)]
pub(crate) enum Server {
    DarkTower(DarkTower),
    Naive(Naive),
}

impl Server {
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::DarkTower(server) => server.pid,
            Self::Naive(server) => Some(server.pid()),
        }
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self {
            Self::DarkTower(server) => server.check(),
            Self::Naive(server) => server.check(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::DarkTower(_) => "darktower",
            Self::Naive(_) => "reference",
        }
    }

    fn reading(&self) -> Result<Option<ProcessReading>> {
        self.pid().map(ProcessReading::take).transpose()
    }
}

/// What one window has shown.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) subscribers: usize,
    pub(crate) server: ProcessUse,
    pub(crate) tester: ProcessUse,
    pub(crate) balance: Balance,
    pub(crate) tally: Tally,
    /// How late frames left the tester, microseconds.
    pub(crate) lateness_us: Histogram<u64>,
    /// UDP datagrams that subscribers' media connections received, and sent.
    pub(crate) udp_received: u64,
    pub(crate) udp_sent: u64,
    pub(crate) udp_receive_buffer_errors: u64,
    /// UDP sends of the whole machine.
    pub(crate) machine_udp_sent: u64,
    pub(crate) steal_s: f64,
}

impl Slice {
    /// The figure that servers are compared by: milliseconds of CPU per subscriber and second. A server that delivers
    /// only half serves half the subscribers: what it leaves out must not make it cheap.
    pub(crate) fn server_ms_per_subscriber_second(&self) -> f64 {
        let served = self.balance.received as f64 / (self.balance.expected.max(1)) as f64;
        self.server.cpu_s * 1000.0 / (self.server.wall_s * self.subscribers as f64 * served.max(1e-6))
    }

    pub(crate) fn tester_ms_per_subscriber_second(&self) -> f64 {
        self.tester.cpu_s * 1000.0 / (self.tester.wall_s * self.subscribers as f64)
    }

    /// The part of its cores that the tester used; over 0.95 it measures itself.
    pub(crate) fn tester_busy(&self, cores: usize) -> f64 {
        self.tester.cpu_s / (self.tester.wall_s * cores as f64)
    }
}

/// One window, to be measured.
pub(crate) struct Measuring<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) server: &'a mut Server,
    /// Media that flows before the window.
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
    /// Subscribers that leave and rejoin per minute, in percent.
    pub(crate) churn_percent_per_minute: f64,
    pub(crate) live: &'a mut Live,
}

impl Measuring<'_> {
    pub(crate) async fn run(self) -> Result<Slice> {
        let Self { fleet, server, warm_up, length, churn_percent_per_minute, live } = self;
        ensure!(fleet.subscriber_count() > 0, "there is no subscriber to measure");
        server.check()?;
        fleet.reset();
        let opened = Instant::now() + START_DELAY;
        let starts = opened + warm_up;
        let start_us = now_us() + (START_DELAY + warm_up).as_micros() as u64;
        let window_us = start_us..start_us + length.as_micros() as u64;
        fleet.window.set(window_us.start, window_us.end);
        fleet.open_gate(opened);
        tokio::time::sleep_until(starts).await;

        let tester_before = ProcessReading::take(std::process::id())?;
        let machine_before = MachineReading::take();
        let udp_before = fleet.udp_datagrams();
        let server_before = server.reading()?;
        let mut churn = Churn::new(churn_percent_per_minute, fleet.subscriber_count(), starts);
        loop {
            let ends = starts + length;
            let next = churn.next.map_or(ends, |next| next.min(ends));
            live.watch_until(next, fleet, server).await?;
            if next >= ends {
                break;
            }
            fleet.replace_one().await?;
            churn.advance();
        }
        let server_after = server.reading()?;
        let udp_after = fleet.udp_datagrams();
        let machine_after = MachineReading::take();
        let tester_after = ProcessReading::take(std::process::id())?;
        fleet.close_gate();

        let balance = drained(fleet, &window_us).await;
        server.check()?;
        let used = |after: Option<ProcessReading>, before: Option<ProcessReading>| match (after, before) {
            (Some(after), Some(before)) => after.since(&before),
            _ => ProcessUse::default(),
        };
        Ok(Slice {
            subscribers: fleet.subscriber_count(),
            server: used(server_after, server_before),
            tester: tester_after.since(&tester_before),
            balance,
            tally: fleet.tally(),
            lateness_us: fleet.lateness_us(),
            udp_received: udp_after.0.saturating_sub(udp_before.0),
            udp_sent: udp_after.1.saturating_sub(udp_before.1),
            udp_receive_buffer_errors: machine_after.udp_receive_buffer_errors
                - machine_before.udp_receive_buffer_errors,
            machine_udp_sent: machine_after.udp_sent - machine_before.udp_sent,
            steal_s: machine_after.steal_s_since(&machine_before),
        })
    }
}

/// The balance once everything has arrived, or nothing arrives any more.
async fn drained(fleet: &Fleet, window_us: &Range<u64>) -> Balance {
    let ended = Instant::now();
    let (mut balance, mut progress) = (fleet.balance(window_us), ended);
    while balance.received + balance.missing_told < balance.expected {
        let now = Instant::now();
        if now > progress + DRAIN_SILENCE || now > ended + DRAIN_LIMIT {
            break;
        }
        tokio::time::sleep(DRAIN_POLL).await;
        let before = std::mem::replace(&mut balance, fleet.balance(window_us));
        if balance != before {
            progress = Instant::now();
        }
    }
    balance
}

/// When the next subscriber is replaced.
struct Churn {
    next: Option<Instant>,
    interval: Duration,
}

impl Churn {
    fn new(percent_per_minute: f64, subscribers: usize, start: Instant) -> Self {
        let per_second = percent_per_minute / 100.0 * subscribers as f64 / 60.0;
        if per_second <= 0.0 {
            return Self { next: None, interval: Duration::ZERO };
        }
        let interval = Duration::from_secs_f64(per_second.recip());
        Self { next: Some(start + interval), interval }
    }

    fn advance(&mut self) {
        self.next = self.next.map(|next| next + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn churn_replaces_its_share_per_minute() {
        let start = Instant::now();
        let mut churn = Churn::new(20.0, 300, start);
        let mut replaced = 0;
        while churn.next.is_some_and(|next| next <= start + Duration::from_secs(60)) {
            replaced += 1;
            churn.advance();
        }
        assert_eq!(replaced, 60);
        assert_eq!(Churn::new(0.0, 300, start).next, None);
    }
}
