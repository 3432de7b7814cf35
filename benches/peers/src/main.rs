//! `moq-load`: loads a moq-relay with the broadcast of `darktower-load fanout`, checks every unit, and says what it cost.
//!
//! | module | what it owns |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`workload`] | what is published, and what was sent when |
//! | [`relay`] | the child process |
//! | [`client`] | publisher and subscribers on moq's client crates |
//! | [`tally`] | what arrived, in the measured window |
//! | [`mod@measure`], [`report`] | the run, and what is printed |
//! | [`machine`], [`procfs`], [`runtimes`], [`statistics`] | darktower-load's own: both read the same figures in the same way |

mod cli;
mod client;
mod measure;
mod relay;
mod report;
mod tally;
mod workload;

#[path = "../../src/bin/darktower-load/machine.rs"]
mod machine;
#[path = "../../src/bin/darktower-load/procfs.rs"]
mod procfs;
#[path = "../../src/bin/darktower-load/runtimes.rs"]
mod runtimes;
#[cfg_attr(not(test), expect(dead_code, reason = "medians are for the load tester's rounds"))]
#[path = "../../src/bin/darktower-load/statistics.rs"]
mod statistics;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Cli;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let outcome = if arguments.next().is_some_and(|first| first == relay::BECOME_RELAY) {
        Err(relay::become_relay(arguments))
    } else {
        start(&Cli::parse())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moq-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<()> {
    client::install_cipher_suite()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Dropping the run ends the relay.
        tokio::select! {
            outcome = Box::pin(run(cli)) => outcome,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn run(cli: &Cli) -> Result<()> {
    let report = measure::run(cli).await?;
    for warning in report.warnings() {
        eprintln!("note: {warning}");
    }
    if cli.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    let defects = report.defects();
    if !defects.is_empty() {
        bail!("the run was not right: {}", defects.join("; "));
    }
    Ok(())
}
