//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::machine::Cores;

const EXAMPLES: &str = "\
Examples:
  moq-load --relay target/peers/bin/moq-relay --subscribers 100
  moq-load --relay target/peers/bin/moq-relay --subscribers 100 --tuned --json

`cargo xtask bench peers` installs moq-relay, runs this beside darktower-load, and prints both in one table. Exit status 1:
units differ, came twice, or nothing arrived. Units that are missing are only counted.";

/// Load a moq-relay with what `darktower-load fanout` sends, check every unit, and say what it cost
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, args_override_self = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The relay's program
    #[arg(long, value_name = "PATH", default_value = "moq-relay")]
    pub(crate) relay: PathBuf,
    /// Subscribers
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) subscribers: u32,
    /// Measured seconds; best a whole number of groups, which are 2 s long
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds of media before them
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) warm_up: f64,
    /// How sessions travel
    #[arg(long, value_enum, default_value_t = Transport::Native)]
    pub(crate) transport: Transport,
    /// Path MTU discovery and loss-based congestion control at both ends, as Dark Tower has it, instead of the relay's defaults
    #[arg(long)]
    pub(crate) tuned: bool,
    /// Joins at the same time while the audience comes in
    #[arg(long, value_name = "C", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) ramp: u32,
    /// Cores of the relay, such as 0 or 0,2-3, or `any` [default: 0]
    #[arg(long, value_name = "CORES")]
    pub(crate) server_cores: Option<Cores>,
    /// Cores of this program, or `any` [default: 1]
    #[arg(long, value_name = "CORES")]
    pub(crate) client_cores: Option<Cores>,
    /// Print one JSON object as the last line of standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

/// How sessions travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Raw QUIC.
    Native,
    /// WebTransport over HTTP/3, as browsers do.
    Webtransport,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Webtransport => "webtransport",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
