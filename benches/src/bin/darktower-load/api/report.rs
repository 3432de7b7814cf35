//! The figures of a run, for programs and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::Lane;
use super::client::Protocol;
use super::work::{Case, Window};
use crate::cli::ApiArgs;
use crate::procfs::{self, ProcessUse};
use crate::statistics::{Quantiles, median, rounded};
use crate::tally::histogram;

/// What the token may cost in terms of hello.
const TARGET_RATIO: f64 = 3.0;

/// One window, and what it cost.
pub(super) struct Measured {
    pub(super) window: Window,
    pub(super) server: ProcessUse,
    pub(super) tester: ProcessUse,
}

impl Measured {
    fn answers(&self) -> f64 {
        self.window.latency_us.len() as f64
    }

    fn per_second(&self) -> f64 {
        self.answers() / self.window.length.as_secs_f64().max(1e-9)
    }

    fn cpu_us(&self) -> f64 {
        self.server.cpu_s * 1e6 / self.answers().max(1.0)
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    cases: Vec<CaseReport>,
    ratios: Vec<Ratio>,
    connections: usize,
    in_flight: usize,
    seconds: f64,
    rounds: u32,
    server_cores: String,
    client_cores: String,
    cpu: String,
    kernel: String,
    steal_s: f64,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    case: &'static str,
    description: &'static str,
    protocol: &'static str,
    /// Answers, or whole cycles; each window counts what was asked before its end.
    answers: u64,
    /// Median over the rounds, as all that follow.
    per_second: f64,
    latency_us: Option<Quantiles>,
    server_cpu_us: f64,
    /// Part of one core, 1 is a whole one.
    server_busy: f64,
    tester_busy: f64,
}

/// Medians of the rounds' ratios.
#[derive(Debug, Serialize)]
struct Ratio {
    protocol: &'static str,
    /// CPU of a token over CPU of a hello.
    token_to_hello_cpu: f64,
    /// Hellos per second over tokens per second: what clients see, the tester's own limits included.
    hello_to_token_rate: f64,
    target: f64,
}

impl Report {
    pub(super) fn new(
        args: &ApiArgs,
        lanes: &[Lane],
        steal_s: f64,
        server_cores: String,
        client_cores: String,
    ) -> Self {
        let ratio = |protocol: Protocol| {
            let of = |case| lanes.iter().find(|lane| lane.case == case && lane.protocol == protocol);
            let pairs: Vec<_> = of(Case::Hello)?.measured.iter().zip(&of(Case::Token)?.measured).collect();
            let cpu = median(pairs.iter().map(|(hello, token)| token.cpu_us() / hello.cpu_us().max(1e-9)))?;
            let rate =
                median(pairs.iter().map(|(hello, token)| hello.per_second() / token.per_second().max(1e-9)))?;
            Some(Ratio {
                protocol: protocol.name(),
                token_to_hello_cpu: rounded(cpu),
                hello_to_token_rate: rounded(rate),
                target: TARGET_RATIO,
            })
        };
        Self {
            cases: lanes.iter().map(CaseReport::new).collect(),
            ratios: Protocol::ALL.into_iter().filter_map(ratio).collect(),
            connections: args.connections,
            in_flight: args.in_flight,
            seconds: args.seconds,
            rounds: args.rounds,
            server_cores,
            client_cores,
            cpu: procfs::cpu_model(),
            kernel: procfs::kernel(),
            steal_s: rounded(steal_s),
        }
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:<40} {:>4} {:>9} {:>9} {:>9} {:>10} {:>7} {:>7}\n",
            "what", "over", "per s", "p50 µs", "p99 µs", "CPU µs", "server", "tester"
        );
        for case in &self.cases {
            let quantile = |of: fn(&Quantiles) -> u64| {
                case.latency_us.as_ref().map_or_else(|| "-".to_owned(), |latency| of(latency).to_string())
            };
            let _ = writeln!(
                text,
                "{:<40} {:>4} {:>9.0} {:>9} {:>9} {:>10.1} {:>6.0}% {:>6.0}%",
                case.description,
                case.protocol,
                case.per_second,
                quantile(|latency| latency.p50),
                quantile(|latency| latency.p99),
                case.server_cpu_us,
                case.server_busy * 100.0,
                case.tester_busy * 100.0,
            );
        }
        for ratio in &self.ratios {
            let verdict = if ratio.token_to_hello_cpu <= TARGET_RATIO { "within" } else { "over" };
            let _ = writeln!(
                text,
                "a join token costs {} times the CPU of a hello over {} ({verdict} the target of {TARGET_RATIO}); \
                 hellos come {} times as fast",
                ratio.token_to_hello_cpu, ratio.protocol, ratio.hello_to_token_rate
            );
        }
        let _ = writeln!(
            text,
            "CPU µs: of the server's process, per answer (of a cycle: per three). server, tester: part of one core in use; \
             where the tester's is near 100 %, \"per s\" is its limit and not the server's."
        );
        text
    }
}

impl CaseReport {
    fn new(lane: &Lane) -> Self {
        let mut latency_us = histogram();
        for measured in &lane.measured {
            // Histograms of one make; only different bounds could fail.
            let _ = latency_us.add(&measured.window.latency_us);
        }
        let middle =
            |of: &dyn Fn(&Measured) -> f64| rounded(median(lane.measured.iter().map(of)).unwrap_or(0.0));
        Self {
            case: lane.case.name(),
            description: lane.case.description(),
            protocol: lane.protocol.name(),
            answers: latency_us.len(),
            per_second: middle(&Measured::per_second),
            latency_us: Quantiles::of(&latency_us),
            server_cpu_us: middle(&Measured::cpu_us),
            server_busy: middle(&|measured| measured.server.cpu_s / measured.server.wall_s.max(1e-9)),
            tester_busy: middle(&|measured| measured.tester.cpu_s / measured.tester.wall_s.max(1e-9)),
        }
    }
}
