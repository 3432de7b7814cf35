//! Dark Tower beside other servers: the same broadcast through each, on the same machine, one after the other.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use serde_json::{Map, Value, json};

use crate::bench;
use crate::process::{self, Running};
use crate::workspace::Workspace;

/// What is installed and compared with. Its client crates are in benches/peers/Cargo.toml: change both.
const RELAY: &str = "moq-relay";
const RELAY_VERSION: &str = "0.17.10";
/// QUIC and WebTransport; not iroh and cluster discovery, which are hundreds of crates that the comparison has no use for.
const RELAY_FEATURES: &str = "noq,websocket";

/// Compare Dark Tower with moq-relay: the same broadcast through both, and what it cost
///
/// Builds everything, then by turns: darktower-load (ours, and the naive reference on quinn), moq-relay with its defaults, and
/// moq-relay tuned (path MTU discovery, loss-based congestion control: nearest to ours). Prints medians over the repeats. The first
/// run installs moq-relay from crates.io into target/peers, which takes minutes. Leave the machine otherwise idle, and see
/// benches/README.md for what the comparison can and cannot say.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench peers", max_term_width = 110)]
struct Options {
    /// Subscribers of the broadcast
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,
    /// Measured seconds of each server in each repeat; best a multiple of 10
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How often; figures are medians
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Print one JSON object as the last line of standard output
    #[arg(long)]
    json: bool,
}

/// The servers, in the order of the columns: name for people, name in JSON.
const SERVERS: [(&str, &str); 4] = [
    ("ours", "darktower"),
    ("naive reference", "naive"),
    ("moq-relay", "moq_relay"),
    ("moq-relay tuned", "moq_relay_tuned"),
];
const OURS: usize = 0;
const MOQ: usize = 2;

/// A measurement in which other programs had the server's core for a larger part of the time says little, and is made again.
const BUSY_PART: f64 = 0.1;
/// How often one is made before its figures count all the same.
const ATTEMPTS: u32 = 4;

/// The figures, in the order of the rows: name for people, name in JSON, digits after the point.
const FIGURES: [(&str, &str, usize); 12] = [
    ("server CPU, ms per subscriber-second", "ms_per_subscriber_second", 2),
    ("server CPU, s per Gbit delivered", "cpu_s_per_gbit", 2),
    ("latency of audio p50, ms", "audio_p50_ms", 1),
    ("latency of audio p99, ms", "audio_p99_ms", 1),
    ("latency of delta frames p50, ms", "delta_p50_ms", 1),
    ("latency of delta frames p99, ms", "delta_p99_ms", 1),
    ("latency of key frames p50, ms", "key_p50_ms", 1),
    ("latency of key frames p99, ms", "key_p99_ms", 1),
    ("server memory, KiB per subscriber", "rss_kib_per_subscriber", 0),
    ("units lost, of a million", "units_lost_ppm", 0),
    ("load tester, % of its core", "tester_busy_percent", 0),
    ("others on the server's core, %", "others_percent", 0),
];

/// One server in one repeat; `None` where there is no such figure.
type Column = [Option<f64>; FIGURES.len()];

/// `words`: "peers", then the options.
pub(crate) fn run(ws: &Workspace, words: &[String]) -> Result<()> {
    let options = Options::parse_from(words);
    let target = ws.root.join("target/peers");
    let relay = ensure_relay(ws, &target)?;
    eprintln!("bench: building the load testers ...");
    let moq_load = build_moq_load(ws, &target)?;
    bench::build_load_tester(ws)?;

    let mut runs = Vec::new();
    for number in 1..=options.repeat {
        let say = |what: &str| eprintln!("bench: repeat {number} of {}: {what}", options.repeat);
        say("ours and the naive reference, by turns");
        let mut fanout = Command::new(ws.release_program("darktower-load"));
        fanout.arg("fanout");
        let ours = measure(&mut fanout, &options)?;
        say("moq-relay");
        let mut defaults = Command::new(&moq_load);
        defaults.arg("--relay").arg(&relay);
        let moq = measure(&mut defaults, &options)?;
        say("moq-relay, tuned");
        let mut tuned = Command::new(&moq_load);
        tuned.arg("--relay").arg(&relay).arg("--tuned");
        let moq_tuned = measure(&mut tuned, &options)?;
        runs.push(Repeat { ours, moq, moq_tuned });
    }

    let columns: Vec<_> = runs.iter().map(Repeat::columns).collect();
    let summary = Summary::of(&columns);
    print!("{}", summary.table());
    println!(
        "\nMedians of {} repeat(s), {} s each, {} subscribers to 2.5 Mbit/s of video and 50 audio units per second.",
        options.repeat, options.seconds, options.subscribers
    );
    println!("Lower is better. What may be concluded from it, and what not: benches/README.md, \"Peers\".");
    if options.json {
        let runs: Vec<_> = runs.iter().map(Repeat::json).collect();
        println!(
            "{}",
            json!({
                "subscribers": options.subscribers,
                "seconds": options.seconds,
                "repeat": options.repeat,
                "moq_relay_version": RELAY_VERSION,
                "medians": summary.json(),
                "runs": runs,
            })
        );
    }
    Ok(())
}

/// Installs the relay if it is not there in the right version; returns its program.
fn ensure_relay(ws: &Workspace, target: &Path) -> Result<PathBuf> {
    let program = target.join("bin").join(RELAY);
    if program.exists() {
        let (_, version, _) = process::capture(Command::new(&program).arg("--version"))?;
        if version.trim() == format!("{RELAY} {RELAY_VERSION}") {
            return Ok(program);
        }
    }
    eprintln!(
        "bench: installing {RELAY} {RELAY_VERSION} from crates.io into target/peers: this takes minutes, once ..."
    );
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", ws.shown(target)))?;
    // Not --locked: its lock file names a version that crates.io did not have when this was written (webpki-roots 1.0.11).
    let mut cargo = ws.cargo();
    cargo.args(["install", RELAY, "--version", RELAY_VERSION, "--no-default-features"]);
    cargo.args(["--features", RELAY_FEATURES, "--force", "--root"]).arg(target);
    process::run(cargo.arg("--target-dir").arg(target))
        .with_context(|| format!("{RELAY} could not be installed; it needs network access to crates.io"))?;
    Ok(program)
}

/// Builds the package outside the workspace; returns its program.
fn build_moq_load(ws: &Workspace, target: &Path) -> Result<PathBuf> {
    let manifest = ws.root.join("benches/peers/Cargo.toml");
    let mut cargo = ws.cargo();
    cargo.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
    process::run(cargo.arg("--target-dir").arg(target))?;
    Ok(target.join("release/moq-load"))
}

/// Runs a load tester, on a busy machine up to [`ATTEMPTS`] times; returns the object that it prints.
fn measure(command: &mut Command, options: &Options) -> Result<Value> {
    command.args(["--subscribers", &options.subscribers.to_string()]);
    command.args(["--seconds", &options.seconds.to_string(), "--json"]);
    for _ in 1..ATTEMPTS {
        let figures = attempt(command)?;
        let others = others(&figures).unwrap_or(0.0);
        if others <= BUSY_PART {
            return Ok(figures);
        }
        eprintln!(
            "bench: other programs had the server's core for {:.0} % of the time: once more",
            others * 100.0
        );
    }
    attempt(command)
}

fn attempt(command: &mut Command) -> Result<Value> {
    let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut pipe = running.take_stdout().context("the load tester has no output")?;
    // A thread reads: a full pipe would hold the tester up.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let status = running.wait(None)?;
    process::check_interrupted()?;
    let text = reader.join().map_err(|_| anyhow!("reading the load tester's output failed"))??;
    let figures = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    let figures =
        figures.with_context(|| format!("`{}` printed no figures ({status})", process::shown(command)))?;
    if !status.success() {
        // It has said why. Losses are among the figures.
        eprintln!("bench: `{}` failed ({status}); its figures count all the same", process::shown(command));
    }
    Ok(figures)
}

/// What the load testers have printed in one repeat.
struct Repeat {
    ours: Value,
    moq: Value,
    moq_tuned: Value,
}

impl Repeat {
    fn columns(&self) -> [Column; SERVERS.len()] {
        [column(&self.ours), reference_column(&self.ours), column(&self.moq), column(&self.moq_tuned)]
    }

    fn json(&self) -> Value {
        json!({ "darktower_load": self.ours, "moq_relay": self.moq, "moq_relay_tuned": self.moq_tuned })
    }
}

/// The server that a load tester is for.
fn column(report: &Value) -> Column {
    let number = |name: &str| report[name].as_f64();
    let cpu = [number("server_ms_per_subscriber_second"), number("cpu_s_per_gbit")];
    let noise = [report["tester"]["busy"].as_f64(), others(report)];
    figures(cpu, report, number("server_rss_bytes"), number("subscribers"), noise)
}

/// The part of the time in which the server was ready to run and others had its core. One thread's worth: the servers have one
/// that works.
fn others(report: &Value) -> Option<f64> {
    Some(report["server_waiting_s"].as_f64()? / report["duration_s"].as_f64()?)
}

/// The reference server of darktower-load's rounds.
fn reference_column(report: &Value) -> Column {
    let reference = &report["reference"];
    // Both get the same units, so that bits are in proportion.
    let per_gbit = || {
        let part = reference["units_received"].as_f64()? / report["units_received"].as_f64()?;
        Some(reference["cpu_s"].as_f64()? / (report["delivered_gbit"].as_f64()? * part))
    };
    let cpu = [report["reference_ms_per_subscriber_second"].as_f64(), per_gbit()];
    figures(cpu, reference, reference["rss_bytes"].as_f64(), report["subscribers"].as_f64(), [None, None])
}

fn figures(
    cpu: [Option<f64>; 2],
    report: &Value,
    rss_bytes: Option<f64>,
    subscribers: Option<f64>,
    noise: [Option<f64>; 2],
) -> Column {
    let ms = |class: &str, quantile: &str| Some(report["latency_us"][class][quantile].as_f64()? / 1000.0);
    let lost = || {
        let (expected, received) = (report["units_expected"].as_f64()?, report["units_received"].as_f64()?);
        Some((expected - received) * 1e6 / expected)
    };
    [
        cpu[0],
        cpu[1],
        ms("audio", "p50"),
        ms("audio", "p99"),
        ms("delta", "p50"),
        ms("delta", "p99"),
        ms("key", "p50"),
        ms("key", "p99"),
        rss_bytes.zip(subscribers).map(|(bytes, subscribers)| bytes / 1024.0 / subscribers),
        lost(),
        noise[0].map(|part| part * 100.0),
        noise[1].map(|part| part * 100.0),
    ]
}

/// Medians over the repeats.
struct Summary {
    columns: [Column; SERVERS.len()],
    /// moq-relay's figure divided by ours: medians of the repeats' ratios, so that noise of the machine divides out.
    ratios: Column,
}

impl Summary {
    fn of(repeats: &[[Column; SERVERS.len()]]) -> Self {
        let over_repeats = |figure: &dyn Fn(&[Column; SERVERS.len()]) -> Option<f64>| {
            median(repeats.iter().filter_map(figure).collect())
        };
        let mut summary =
            Self { columns: [[None; FIGURES.len()]; SERVERS.len()], ratios: [None; FIGURES.len()] };
        for row in 0..FIGURES.len() {
            for server in 0..SERVERS.len() {
                summary.columns[server][row] = over_repeats(&|repeat| repeat[server][row]);
            }
            summary.ratios[row] = over_repeats(&|repeat| {
                let (moq, ours) = repeat[MOQ][row].zip(repeat[OURS][row])?;
                (ours > 0.0).then(|| moq / ours)
            });
        }
        summary
    }

    fn table(&self) -> String {
        let mut table = format!("{:<37}", "");
        SERVERS.iter().for_each(|(name, _)| table.push_str(&format!(" {name:>16}")));
        table.push_str(&format!(" {:>16}\n", "moq-relay/ours"));
        for (row, (name, _, digits)) in FIGURES.iter().enumerate() {
            let cell = |value: Option<f64>, digits: usize| {
                let text = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
                format!(" {text:>16}")
            };
            table.push_str(&format!("{name:<37}"));
            self.columns.iter().for_each(|column| table.push_str(&cell(column[row], *digits)));
            table.push_str(&cell(self.ratios[row], 2));
            table.push('\n');
        }
        table
    }

    fn json(&self) -> Value {
        let object = |column: &Column| {
            let fields =
                FIGURES.iter().zip(column).map(|((_, name, _), value)| ((*name).to_owned(), json!(value)));
            Value::Object(fields.collect())
        };
        let mut medians: Map<String, Value> = SERVERS
            .iter()
            .zip(&self.columns)
            .map(|((_, name), column)| ((*name).to_owned(), object(column)))
            .collect();
        medians.insert("moq_relay_to_darktower".to_owned(), object(&self.ratios));
        Value::Object(medians)
    }
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// As darktower-load prints it, without what is not read here.
    fn fanout_report() -> Value {
        let latency = json!({ "audio": { "p50": 2000, "p99": 9000 }, "delta": null, "key": { "p50": 20000, "p99": 30000 } });
        json!({
            "subscribers": 10, "units_expected": 1000, "units_received": 1000, "delivered_gbit": 2.0,
            "cpu_s_per_gbit": 0.8, "server_rss_bytes": 10_240_000, "server_ms_per_subscriber_second": 2.0,
            "reference_ms_per_subscriber_second": 2.5, "latency_us": latency, "tester": { "busy": 0.5 }, "server_waiting_s": 1.0, "duration_s": 10.0,
            "reference": {
                "units_expected": 1000, "units_received": 500, "cpu_s": 1.0, "rss_bytes": 5_120_000, "latency_us": latency,
            },
        })
    }

    #[test]
    fn command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn both_servers_of_the_load_tester_become_columns() {
        let report = fanout_report();
        let ours = column(&report);
        assert_eq!(ours[..5], [Some(2.0), Some(0.8), Some(2.0), Some(9.0), None]);
        assert_eq!(ours[8..], [Some(1000.0), Some(0.0), Some(50.0), Some(10.0)]);
        let reference = reference_column(&report);
        assert_eq!(reference[..2], [Some(2.5), Some(1.0)]);
        assert_eq!(reference[8..], [Some(500.0), Some(500_000.0), None, None]);
    }

    #[test]
    fn ratios_are_of_the_same_repeat() {
        let repeat = |ours: f64, moq: f64| {
            let mut columns = [[None; FIGURES.len()]; SERVERS.len()];
            columns[OURS][0] = Some(ours);
            columns[MOQ][0] = Some(moq);
            columns
        };
        let summary = Summary::of(&[repeat(1.0, 3.0), repeat(2.0, 6.0), repeat(4.0, 8.0)]);
        assert_eq!((summary.columns[OURS][0], summary.columns[MOQ][0]), (Some(2.0), Some(6.0)));
        assert_eq!((summary.ratios[0], summary.ratios[1]), (Some(3.0), None));
        assert_eq!(summary.json()["moq_relay_to_darktower"]["ms_per_subscriber_second"], 3.0);
        assert!(summary.table().lines().nth(1).unwrap().ends_with("3.00"));
    }

    #[test]
    fn medians_of_even_counts_are_means() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
