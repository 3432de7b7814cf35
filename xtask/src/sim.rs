//! Simulated meetings, more of them than a test has time for.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{self, Running};
use crate::workspace::Workspace;

/// Simulate meetings: random operations and faults, and every invariant after each of them.
///
/// A seed is a meeting of up to eight participants and some hundred steps, the same each time. A violation names its seed and
/// the last operations; `--first-seed N --seeds 1` repeats it. `cargo xtask test` simulates 2,000 of them, and that the planted
/// bug is found.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Build the meeting with a bug, which must be found within 200 seeds: then the simulation is known to look
    #[arg(long, conflicts_with = "seeds")]
    planted_bug: bool,
    /// Print nothing but the report, as JSON
    #[arg(long)]
    json: bool,
}

/// What stands before the report in the output of the simulation.
const REPORT: &str = "report: ";

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    let mut cargo = ws.cargo();
    cargo.args(["test", "--release", "-p", "darktower-core", "--test", "simulation"]);
    if args.planted_bug {
        cargo.args(["--features", "planted-bug"]);
    }
    cargo.args(["--", "--nocapture"]);
    cargo.env("DARKTOWER_SIM_SEEDS", args.seeds.to_string());
    cargo.env("DARKTOWER_SIM_FIRST_SEED", args.first_seed.to_string());
    if args.json { report(&mut cargo) } else { process::run(&mut cargo) }
}

/// In the dev profile, with the features of the whole workspace: nothing but the core is built again.
pub(crate) fn find_planted_bug(ws: &Workspace) -> Result<()> {
    let mut cargo = ws.cargo();
    cargo.args(["test", "--workspace", "--features", "darktower-core/planted-bug", "--test", "simulation"]);
    process::run(cargo.args(["--", "--nocapture"]))
}

fn report(cargo: &mut Command) -> Result<()> {
    let mut running = Running::start(cargo.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut pipe = running.take_stdout().context("the simulation has no output")?;
    // A thread reads: a full pipe would hold the simulation up.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let status = running.wait(None)?;
    process::check_interrupted()?;
    let text = reader.join().map_err(|_| anyhow!("reading the simulation's output failed"))??;
    let report = text.lines().rev().find_map(|line| line.strip_prefix(REPORT));
    let report = report.with_context(|| format!("the simulation printed no report ({status})"))?;
    println!("{report}");
    if !status.success() {
        bail!("`{}` failed ({status})", process::shown(cargo));
    }
    Ok(())
}
