//! `darktower-load`: loads a server from outside, checks every unit, and says what it cost.
//!
//! | module | what it owns |
//! |---|---|
//! | [`cli`], [`scenario`], [`plan`] | from the command line or a file to the people of a run |
//! | [`workload`], [`ledger`] | frames and their payloads; what was sent |
//! | [`link`], [`media`], [`publish`], [`subscribe`], [`receive`] | one participant: connections, sending, comparing |
//! | [`tally`], [`statistics`] | latency, lateness, quantiles, medians |
//! | [`disturbance`] | participants that do not read, or send rubbish, beside those who are measured |
//! | [`fleet`], [`runtimes`] | all participants at one server; the tester's threads |
//! | [`server`], [`procfs`], [`machine`] | child processes, what the system knows of them, cores and limits |
//! | [`mod@measure`], [`bed`] | one window; servers side by side, by turns |
//! | [`api`] | requests of the API, beside a bare server |
//! | [`joins`], [`roster`], [`find_max`], [`sweep`], [`svg`] | the commands that are more than rounds on a bed |
//! | [`report`], [`live`] | what is printed |

mod api;
mod bed;
mod cli;
mod disturbance;
mod find_max;
mod fleet;
mod joins;
mod ledger;
mod link;
mod live;
mod machine;
mod measure;
mod media;
mod plan;
mod procfs;
mod publish;
mod receive;
mod report;
mod roster;
mod runtimes;
mod scenario;
mod server;
mod statistics;
mod subscribe;
mod svg;
mod sweep;
mod tally;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::Bed;
use crate::cli::{Cli, Command, CommonArgs, FindMaxArgs};
use crate::disturbance::Disturbers;
use crate::plan::Plan;
use crate::report::Report;

/// As the server has it: what the tester does not spend on pieces of packets is left for participants.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("darktower-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Dropping the run ends the servers it started.
        tokio::select! {
            outcome = Box::pin(run(cli.command)) => outcome,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Fanout(args) => {
            let plan = plan::fanout(args.subscribers, &args.broadcast)?;
            let disturbers = args.disturbance.disturbers();
            if disturbers.count() > 0 {
                return rounds(plan, disturbers, &args.common).await;
            }
            measure(plan, &args.find_max, &args.common).await
        }
        Command::Meeting(args) => measure(plan::meeting(&args)?, &args.find_max, &args.common).await,
        Command::AudioRoom(args) => measure(plan::audio_room(&args)?, &args.find_max, &args.common).await,
        Command::Api(args) => api::run(&args).await,
        Command::Joins(args) => joins::run(&args).await,
        Command::Sweep(args) => sweep::run(&args).await,
        Command::Run(args) => {
            let (title, command) = scenario::load(&args)?;
            eprintln!("scenario: {title}");
            Box::pin(run(command)).await
        }
    }
}

async fn measure(plan: Plan, find_max: &FindMaxArgs, common: &CommonArgs) -> Result<()> {
    if find_max.find_max {
        find_max::run(plan, find_max, common).await
    } else {
        rounds(plan, Disturbers::default(), common).await
    }
}

/// A run of one size.
async fn rounds(plan: Plan, disturbers: Disturbers, common: &CommonArgs) -> Result<()> {
    let size = plan.size();
    let mut bed = Bed::start(common, plan, common.with_reference(), size)?;
    bed.live.say(&bed.plan().description.clone());
    bed.resize(size).await?;
    bed.disturb(disturbers).await?;
    let (rounds, length) = common.rounds();
    let slices = bed.rounds(rounds, length, Duration::from_secs_f64(common.warm_up)).await?;
    let report = bed.report(&slices)?;
    drop(bed);
    conclude(&report, common)
}

/// With `--check`: the part of all units that may be audio lost on a machine that was busy for 200 ms.
const CHECK_LOST_AUDIO: f64 = 0.02;

/// Prints the report; an error if the run was not right.
fn conclude(report: &Report, common: &CommonArgs) -> Result<()> {
    for warning in report.warnings() {
        eprintln!("note: {warning}");
    }
    if common.json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{}", report.table());
    }
    let mut defects = report.defects(if common.check { CHECK_LOST_AUDIO } else { 0.0 });
    if common.check && !report.faults.is_empty() {
        defects.push(format!("sessions had faults: {}", report.faults.join("; ")));
    }
    if !defects.is_empty() {
        bail!("the run was not right: {}", defects.join("; "));
    }
    Ok(())
}
