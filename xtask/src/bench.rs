//! Benches: criterion for parts of the program, the load tester for the whole.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench_peers;
use crate::process::{self, Running};
use crate::workspace::Workspace;

/// Run the benchmarks: criterion, the load tester against the real server, or the comparison with other servers.
///
/// `cargo xtask bench fanout --subscribers 200` (or meeting, audio-room, joins, api, sweep, run FILE) builds the server, the load
/// tester and the reference server in release and passes the rest of the line to `darktower-load`; `cargo xtask bench fanout
/// --help` tells its options. `cargo xtask bench peers` runs moq-relay beside ours. Without such a word, criterion runs; reports
/// go to target/criterion/. For figures worth keeping, leave the machine otherwise idle and run twice: criterion compares with
/// the previous run. `cargo xtask test` only checks that each bench runs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `peers` or a command of the load tester, and its options; or, for criterion, only benches whose name contains this, and
    /// after `--` its own options: for example `-- --save-baseline before`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND | FILTER")]
    words: Vec<String>,
}

/// The first words that mean the load tester.
const LOAD_COMMANDS: [&str; 7] = ["fanout", "meeting", "audio-room", "joins", "api", "sweep", "run"];

/// The first word that means the comparison.
const PEERS_COMMAND: &str = "peers";

/// How long the load tester of the check may take, joining and leaving included.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    match split(&args.words) {
        Words::Load => load(ws, &args.words),
        Words::Peers => bench_peers::run(ws, &args.words),
        Words::Criterion { filter, options } => criterion(ws, filter, options),
    }
}

#[derive(Debug, PartialEq)]
enum Words<'a> {
    Load,
    Peers,
    Criterion { filter: Option<&'a String>, options: &'a [String] },
}

fn split(words: &[String]) -> Words<'_> {
    let (filter, rest) = match words {
        [command, ..] if LOAD_COMMANDS.contains(&command.as_str()) => return Words::Load,
        [command, ..] if command == PEERS_COMMAND => return Words::Peers,
        [filter, rest @ ..] if !filter.starts_with('-') => (Some(filter), rest),
        rest => (None, rest),
    };
    let options = match rest {
        [dashes, options @ ..] if dashes == "--" => options,
        options => options,
    };
    Words::Criterion { filter, options }
}

fn criterion(ws: &Workspace, filter: Option<&String>, options: &[String]) -> Result<()> {
    let mut cargo = ws.cargo();
    cargo.args(["bench", "-p", "darktower-benches", "--benches"]);
    if filter.is_some() || !options.is_empty() {
        cargo.arg("--").args(filter).args(options);
    }
    process::run(&mut cargo)
}

fn load(ws: &Workspace, words: &[String]) -> Result<()> {
    eprintln!("bench: building ...");
    build_load_tester(ws)?;
    // It finds the other two beside itself.
    process::run(std::process::Command::new(ws.release_program("darktower-load")).args(words))
}

/// Builds the load tester, the server and the reference server in release.
pub(crate) fn build_load_tester(ws: &Workspace) -> Result<()> {
    process::run(ws.cargo().args([
        "build",
        "--release",
        "-p",
        "darktower-server",
        "-p",
        "darktower-benches",
        "--bins",
    ]))
}

/// Against the programs of the dev profile: a small broadcast, of which every unit arrives, bit for bit, from both servers; and
/// some requests of the API over HTTP/2 and HTTP/3, each answered. Costs are printed and not judged.
pub(crate) fn check_built(ws: &Workspace) -> Result<()> {
    check(ws, &["fanout", "--subscribers", "5", "--seconds", "2", "--check", "--json"])?;
    check(ws, &["api", "--seconds", "0.2", "--rounds", "1", "--json"])
}

fn check(ws: &Workspace, words: &[&str]) -> Result<()> {
    let mut command = std::process::Command::new(ws.program("darktower-load"));
    command.args(words);
    let status = Running::start(&mut command)?.wait(Some(CHECK_LIMIT))?;
    process::check_interrupted()?;
    if !status.success() {
        bail!("`{}` failed ({status})", process::shown(&command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_load_tester_or_to_criterion() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(split(&words("fanout --subscribers 5")), Words::Load);
        assert_eq!(split(&words("api --json")), Words::Load);
        assert_eq!(split(&words("peers --repeat 1")), Words::Peers);
        assert_eq!(split(&[]), Words::Criterion { filter: None, options: &[] });
        let line = words("header -- --quick");
        assert_eq!(split(&line), Words::Criterion { filter: Some(&line[0]), options: &line[2..] });
        let line = words("--quick");
        assert_eq!(split(&line), Words::Criterion { filter: None, options: &line });
    }
}
