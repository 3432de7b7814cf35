//! Developer commands of Dark Tower, run as `cargo xtask COMMAND`.
//!
//! | module | what it owns |
//! |---|---|
//! | [`process`] | child processes: waiting, interruption, never leaving one behind |
//! | [`workspace`] | where things are in the checkout |
//! | [`setup`] | the programs that the other commands need |
//! | [`media`] | the clips that demo and tests publish |
//! | [`server`] | a server that xtask starts and watches |
//! | [`demo`] | server and bots in one command, and their check |
//! | [`contract`] | the HTTP API against its own OpenAPI document |
//! | [`examples`] | the SDK's examples, run against a server |
//! | [`readme`] | the commands of README, run as they are written |
//! | [`steps`] | named, timed steps, and the closing table |
//! | [`mod@test`] | every check, in one command |
//! | [`lint`], [`lockfile`] | formatting, lints, documentation, dependency rules |
//! | [`mod@bench`], [`bench_peers`] | criterion, and the load tester; ours beside other servers |
//! | [`fuzz`] | coverage-guided fuzzing on the stable toolchain |
//! | [`sim`] | simulated meetings, many more than the tests run |
//! | [`web`] | browser SDK and meeting app: build, checks, tests in a browser, screenshots |

mod bench;
mod bench_peers;
mod contract;
mod demo;
mod examples;
mod fuzz;
mod lint;
mod lockfile;
mod media;
mod process;
mod readme;
mod server;
mod setup;
mod sim;
mod steps;
mod test;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Developer commands of Dark Tower.
///
/// New here? `cargo xtask demo` shows the whole system at work, `cargo xtask test` checks everything.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Test(test::Args),
    Contract(contract::Args),
    Lint(lint::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    Sim(sim::Args),
    Media(media::Args),
    Web(web::Args),
    Screenshots(web::ScreenshotArgs),
    Setup(setup::Args),
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    process::watch_signals()?;
    let ws = Workspace::find()?;
    match &cli.command {
        Command::Demo(args) => demo::run(&ws, args),
        Command::Test(args) => test::run(&ws, args),
        Command::Contract(args) => contract::run(&ws, args),
        Command::Lint(args) => lint::run(&ws, args),
        Command::Bench(args) => bench::run(&ws, args),
        Command::Fuzz(args) => fuzz::run(&ws, args),
        Command::Sim(args) => sim::run(&ws, args),
        Command::Media(args) => media::run(&ws, args),
        Command::Web(args) => web::run(&ws, args),
        Command::Screenshots(args) => web::run_screenshots(&ws, args),
        Command::Setup(args) => setup::run(args),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<process::Interrupted>() => {
            eprintln!("xtask: interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
