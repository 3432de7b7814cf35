//! The `darktower-client` program: publishes, records, watches and hosts meetings from the command line.
//!
//! | module | what it owns |
//! |---|---|
//! | [`connection`] | which server and meeting, and how to join |
//! | [`publish`], [`record`], [`watch`], [`bots`], [`host`] | one command each |
//! | [`fleet`] | the bots of one meeting |
//! | [`player`] | media files paced in real time |
//! | [`recorder`] | received frames to media files |
//! | [`ledger`] | what was sent, and who got it bit for bit |
//! | [`roster`] | the streams of a meeting |
//! | [`latency`] | latencies of the last seconds |
//! | [`table`] | aligned columns, and redrawing them in place |
//! | [`stop`] | Ctrl-C and SIGTERM |

mod bots;
mod connection;
mod fleet;
mod host;
mod latency;
mod ledger;
mod player;
mod publish;
mod record;
mod recorder;
mod roster;
mod stop;
mod table;
mod watch;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::stop::Stop;

const EXAMPLES: &str = "\
Start a server on this machine first: darktower serve --dev

Then, each in a terminal of its own:
  darktower-client publish talk.ivf talk.ogg --loop
      creates a meeting, prints its address, and sends picture and sound
  darktower-client watch --meeting ADDRESS
      shows who sends what, and how well it arrives
  darktower-client record --meeting ADDRESS --out recordings
      writes every stream to a file
  darktower-client host list --meeting ADDRESS
      shows who is here; `host --help` lists what else a host can do

Exit status: 0 all went well, 1 something failed, 2 wrong usage.";

/// Publish, record, watch and host Dark Tower meetings
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log what happens on standard error; twice for every detail (RUST_LOG chooses more finely)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    Publish(publish::Args),
    Record(record::Args),
    Watch(watch::Args),
    Bots(bots::Args),
    Host(host::Args),
}

/// What went wrong, from the command down to the cause, and what the user can do about it.
fn report(error: &anyhow::Error) {
    eprintln!("error: {error}");
    let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
    if !causes.is_empty() {
        eprintln!("  because: {}", causes.join(": "));
    }
    if let Some(advised) = error.chain().find_map(|error| error.downcast_ref::<connection::Advised>()) {
        eprintln!("  help: {}", advised.help);
    }
}

/// The command line makes no sense, in a way that clap does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.verbose);
    // While the API is asked.
    std::thread::spawn(darktower_client::transport::warm_up);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as in `darktower-client watch --json | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(async {
        let stop = Stop::on_signals()?;
        // Boxed: the commands are large futures, of which one runs.
        match command {
            Command::Publish(args) => Box::pin(publish::run(args, stop)).await,
            Command::Record(args) => Box::pin(record::run(args, stop)).await,
            Command::Watch(args) => Box::pin(watch::run(args, stop)).await,
            Command::Bots(args) => Box::pin(bots::run(args, stop)).await,
            Command::Host(args) => Box::pin(host::run(args, stop)).await,
        }
    })
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,darktower_client=debug",
        _ => "debug,darktower_client=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(verbose > 0)
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
