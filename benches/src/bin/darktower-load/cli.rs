//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use darktower_client::TransportKind;

use crate::api::{Case, Protocol};
use crate::disturbance::Disturbers;
use crate::machine::Cores;
use crate::tally::LateAfter;
use crate::workload::BitRate;

const EXAMPLES: &str = "\
Examples:
  darktower-load fanout --subscribers 200
      one publisher, 200 subscribers, 10 s, ours and the reference by turns
  darktower-load fanout --find-max
      raises the number of subscribers until units are lost or late
  darktower-load meeting --meetings 40 --size 6 --json
      one JSON object on the last line of standard output
  darktower-load run benches/scenarios/livekit-livestream.toml --subscribers 300
      a published test case, cut to this machine
  darktower-load sweep --subscribers 50,100,200,300 --svg cost.svg
      cost as the audience grows, with a picture

It starts `darktower` and `naive-fanout` from the folder it lies in, on core 0, and itself runs on core 1. Every unit that
arrives is compared with what was sent, bit for bit. Exit status 1: units differ, came twice, or are missing without
the server having said so.";

/// Load a Dark Tower server, check every unit, and say what it cost
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 110,
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Fanout(FanoutArgs),
    Meeting(MeetingArgs),
    AudioRoom(AudioRoomArgs),
    Joins(JoinsArgs),
    Api(ApiArgs),
    Sweep(SweepArgs),
    Run(RunArgs),
}

/// Broadcast: few publish, many watch
///
/// The defaults are a 720p stream at 30 frames/s and 2.5 Mbit/s with a key frame of 60,000 bytes every 2 s, and 50 audio
/// units of 160 bytes per second. Example: darktower-load fanout --subscribers 300 --transport webtransport
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub(crate) struct FanoutArgs {
    /// Subscribers, all meetings together
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = positive())]
    pub(crate) subscribers: usize,
    #[command(flatten)]
    pub(crate) broadcast: BroadcastArgs,
    #[command(flatten)]
    pub(crate) disturbance: DisturbanceArgs,
    #[command(flatten)]
    pub(crate) find_max: FindMaxArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Who misbehaves meanwhile, at our server.
#[derive(Debug, Clone, Args)]
pub(crate) struct DisturbanceArgs {
    /// More participants that subscribe to everything and do not read, or hardly
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "find_max")]
    pub(crate) slow_readers: usize,
    /// More participants that send garbage, halves and resets over and over
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "find_max")]
    pub(crate) hostile: usize,
}

impl DisturbanceArgs {
    pub(crate) fn disturbers(&self) -> Disturbers {
        Disturbers { slow_readers: self.slow_readers, hostile: self.hostile }
    }
}

/// What is broadcast.
#[derive(Debug, Clone, Args)]
pub(crate) struct BroadcastArgs {
    /// Publishers per meeting; everybody watches all of them
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = positive())]
    pub(crate) publishers: usize,
    /// Meetings that the subscribers are spread over
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = positive())]
    pub(crate) meetings: usize,
    /// Video payload per publisher, bit/s; 0 = no video
    #[arg(long, value_name = "RATE", default_value = "2.5M")]
    pub(crate) video_bitrate: BitRate,
    /// Video frames per second
    #[arg(long, value_name = "FPS", default_value_t = 30.0)]
    pub(crate) fps: f64,
    /// Bytes of a key frame; 0 = 9.6 % of the group's bytes, which is 60,000 for the other defaults
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) key_frame_bytes: u32,
    /// Publish this clip (IVF or H.264) over and over instead of modelled frames
    #[arg(long, value_name = "FILE", conflicts_with_all = ["video_bitrate", "fps", "group_seconds", "key_frame_bytes"])]
    pub(crate) clip: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cadence: CadenceArgs,
    /// Payload of an audio unit, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 160)]
    pub(crate) audio_bytes: u32,
    /// Subscribers that leave and are replaced by new ones, percent per minute
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) churn: f64,
}

/// How often things come, from whoever publishes video and audio.
#[derive(Debug, Clone, Args)]
pub(crate) struct CadenceArgs {
    /// Seconds from key frame to key frame
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) group_seconds: f64,
    /// Audio units per second and publisher; 0 = no audio
    #[arg(long, value_name = "RATE", default_value_t = 50.0)]
    pub(crate) audio_rate: f64,
}

/// Meetings in which everybody publishes and watches everybody else
///
/// Each participant publishes video and audio, one per meeting speaks and has the higher video rate. With --find-max the
/// number of meetings is raised. Example: darktower-load meeting --meetings 10 --size 12
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub(crate) struct MeetingArgs {
    /// Meetings at the same time
    #[arg(long, value_name = "M", default_value_t = 40, value_parser = positive())]
    pub(crate) meetings: usize,
    /// Participants per meeting
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = positive())]
    pub(crate) size: usize,
    /// Watch the video of the first so many participants only [default: of all]; presets allow 25
    #[arg(long, value_name = "N", value_parser = positive())]
    pub(crate) watch: Option<usize>,
    /// Video of those who listen, bit/s
    #[arg(long, value_name = "RATE", default_value = "150k")]
    pub(crate) thumbnail_bitrate: BitRate,
    /// Frames per second of it
    #[arg(long, value_name = "FPS", default_value_t = 15.0)]
    pub(crate) thumbnail_fps: f64,
    /// Video of the one who speaks, bit/s
    #[arg(long, value_name = "RATE", default_value = "1.2M")]
    pub(crate) speaker_bitrate: BitRate,
    /// Frames per second of it
    #[arg(long, value_name = "FPS", default_value_t = 30.0)]
    pub(crate) speaker_fps: f64,
    #[command(flatten)]
    pub(crate) cadence: CadenceArgs,
    /// Smallest payload of an audio unit, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 60)]
    pub(crate) audio_min_bytes: u32,
    /// Largest payload of an audio unit, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 80)]
    pub(crate) audio_max_bytes: u32,
    #[command(flatten)]
    pub(crate) find_max: FindMaxArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// A room of speakers and listeners, sound only
///
/// Speakers send 20 ms Opus frames, spread evenly over the 20 ms; every listener gets some of them. Example: darktower-load
/// audio-room --listeners 1000 --speakers 10
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub(crate) struct AudioRoomArgs {
    /// Who only listens
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000, value_parser = positive())]
    pub(crate) listeners: usize,
    /// Who only speaks
    #[arg(long, value_name = "P", default_value_t = 10, value_parser = positive())]
    pub(crate) speakers: usize,
    /// Speakers that one listener hears: the first ones, as long as the server does not select the loudest
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = positive())]
    pub(crate) heard: usize,
    /// Audio units per second and speaker
    #[arg(long, value_name = "RATE", default_value_t = 50.0)]
    pub(crate) audio_rate: f64,
    /// Payload of an audio unit, bytes: 60 at 50 per second are 24 kbit/s
    #[arg(long, value_name = "BYTES", default_value_t = 60)]
    pub(crate) audio_bytes: u32,
    #[command(flatten)]
    pub(crate) find_max: FindMaxArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// How fast people can come in
///
/// Participants join, stay a moment and leave; no media flows. A join is timed from the start of connecting to the media
/// welcome; the server's CPU includes the API call that gives the token. Example: darktower-load joins --rate 50 --seconds 20
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub(crate) struct JoinsArgs {
    /// Joins per second; 0 = as fast as --concurrency allows
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Joins under way at the same time, at most
    #[arg(long, value_name = "C", default_value_t = 32, value_parser = positive())]
    pub(crate) concurrency: usize,
    /// Participants per meeting; a full one is followed by a new one
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive())]
    pub(crate) size: usize,
    /// Seconds that a participant stays
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) stay: f64,
    /// Participants on one UDP socket: real clients have one each, which costs the tester more than all else of a join
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = positive())]
    pub(crate) participants_per_socket: usize,
    /// Measure instead what it costs to tell so many participants of one meeting who joins and leaves it (--rate 20 and 3
    /// --rounds unless told otherwise)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) roster: usize,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What requests of the API cost, over HTTP/2 and HTTP/3
///
/// The real server (SQLite, TLS, an API client, no rate limits) and a bare one that only says hello, by turns on the same core,
/// with connections that stay open. Prints answers per second, latency and the server's CPU per answer. Example:
/// darktower-load api --seconds 6 --connections 4 --in-flight 8
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub(crate) struct ApiArgs {
    /// Measured seconds of each case, all rounds together
    #[arg(long, value_name = "S", default_value_t = 6.0)]
    pub(crate) seconds: f64,
    /// Only this case; may be given several times [default: all]
    #[arg(long = "case", value_name = "CASE")]
    pub(crate) cases: Vec<Case>,
    /// Only this protocol; may be given twice [default: both]
    #[arg(long = "protocol", value_name = "PROTOCOL")]
    pub(crate) protocols: Vec<Protocol>,
    /// Rounds that the seconds are divided into; figures are medians over them
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Connections of each case
    #[arg(long, value_name = "C", default_value_t = 4, value_parser = positive())]
    pub(crate) connections: usize,
    /// Requests at a time on each connection; the server allows 64
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub(crate) in_flight: usize,
    /// The server's program [default: `darktower` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// The bare server's program [default: `bare-http` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) reference: Option<PathBuf>,
    /// Cores of the servers, such as 0 or 0,2-3, or `any` [default: 0]
    #[arg(long, value_name = "CORES")]
    pub(crate) server_cores: Option<Cores>,
    /// Cores of this program, or `any` [default: 1]
    #[arg(long, value_name = "CORES")]
    pub(crate) client_cores: Option<Cores>,
    /// Print one JSON object as the last line of standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

/// Broadcasts of growing audience: cost, latency and loss as figures and as a picture
///
/// Example: darktower-load sweep --subscribers 50,100,200,300,500 --seconds 6 --svg cost.svg --csv cost.csv
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub(crate) struct SweepArgs {
    /// Numbers of subscribers, ascending
    #[arg(long, short = 'n', value_name = "N,N,…", value_delimiter = ',', default_value = "50,100,200,300", value_parser = positive())]
    pub(crate) subscribers: Vec<usize>,
    /// Draw the cost per subscriber, and latency, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the figures to this file, one line per audience
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) broadcast: BroadcastArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Run a scenario file
///
/// A scenario is a command with its options; options given here are added and win. Example: darktower-load run
/// benches/scenarios/ietf-audio.toml --subscribers 500 --seconds 20
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// The TOML file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// More options of the scenario's command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    pub(crate) options: Vec<String>,
}

/// Bounds of --find-max.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Search")]
pub(crate) struct FindMaxArgs {
    /// Find how many this machine holds, within the bounds below
    #[arg(long)]
    pub(crate) find_max: bool,
    /// Seconds of each try
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    pub(crate) probe_seconds: f64,
    /// Where to begin [default: 50 subscribers, 250 listeners or 5 meetings]
    #[arg(long, value_name = "N", value_parser = positive())]
    pub(crate) from: Option<usize>,
    /// Late units, percent of all
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    pub(crate) max_late: f64,
    /// p99 of audio latency, ms
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    pub(crate) max_audio_ms: f64,
    /// p99 of the latency of delta frames, ms
    #[arg(long, value_name = "MS", default_value_t = 200.0)]
    pub(crate) max_delta_ms: f64,
    /// p99 of the latency of key frames, ms
    #[arg(long, value_name = "MS", default_value_t = 400.0)]
    pub(crate) max_key_ms: f64,
}

/// What all commands have.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Measuring")]
pub(crate) struct CommonArgs {
    /// Measured seconds, all rounds together
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Rounds that the seconds are divided into; figures are medians over them. Best a whole number of groups each
    /// [default: 5 with the reference, 1 without]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Seconds of media before the first round; half a second before the others
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) warm_up: f64,
    /// How our server's sessions travel; the reference's are native
    #[arg(long, value_enum, default_value_t = Transport::Native)]
    pub(crate) transport: Transport,
    /// Joins at the same time while the audience comes in
    #[arg(long, value_name = "C", default_value_t = 32, value_parser = positive())]
    pub(crate) ramp: usize,
    /// Subscribers on one UDP socket: 1 as real clients have it; 50 costs the tester less
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = positive())]
    pub(crate) per_socket: usize,
    /// Audio units over this are late, ms
    #[arg(long, value_name = "MS", default_value_t = 200)]
    pub(crate) late_audio_ms: u64,
    /// Video units over this are late, ms
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub(crate) late_video_ms: u64,
    /// Do not run the reference server
    #[arg(long)]
    pub(crate) no_reference: bool,
    /// The server's program [default: `darktower` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// The reference's program [default: `naive-fanout` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) reference: Option<PathBuf>,
    /// Load a server that runs already, instead of starting one; leaves the reference out
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    pub(crate) attach: Option<String>,
    /// Process id of that server, to read its CPU and memory
    #[arg(long, value_name = "PID", requires = "attach")]
    pub(crate) server_pid: Option<u32>,
    /// Bearer token for the API of that server
    #[arg(long, value_name = "TOKEN", env = "DARKTOWER_API_TOKEN", hide_env_values = true)]
    pub(crate) api_token: Option<String>,
    /// Cores of the servers, such as 0 or 0,2-3, or `any` [default: 0]
    #[arg(long, value_name = "CORES")]
    pub(crate) server_cores: Option<Cores>,
    /// Cores of this program, or `any` [default: 1]
    #[arg(long, value_name = "CORES")]
    pub(crate) client_cores: Option<Cores>,
    /// Print one JSON object as the last line of standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// Judge correctness only: lost sessions, too, are a failure; audio lost on a busy machine (2 % of all units) is not
    #[arg(long)]
    pub(crate) check: bool,
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
    pub(crate) fn kind(self) -> TransportKind {
        match self {
            Self::Native => TransportKind::Native,
            Self::Webtransport => TransportKind::WebTransport,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Webtransport => "webtransport",
        }
    }
}

impl CommonArgs {
    pub(crate) fn late_after(&self) -> LateAfter {
        LateAfter {
            audio: Duration::from_millis(self.late_audio_ms),
            video: Duration::from_millis(self.late_video_ms),
        }
    }

    pub(crate) fn with_reference(&self) -> bool {
        !self.no_reference && self.attach.is_none()
    }

    /// How many rounds, and how long each is.
    pub(crate) fn rounds(&self) -> (u32, Duration) {
        let rounds = self.rounds.unwrap_or(if self.with_reference() { 5 } else { 1 });
        (rounds, Duration::from_secs_f64(self.seconds.max(0.1) / f64::from(rounds)))
    }
}

/// 1 or more.
fn positive() -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    clap::value_parser!(u32).range(1..=1_000_000).map(|value| value as usize)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn later_options_win() {
        let cli = Cli::parse_from(["x", "fanout", "--subscribers", "5", "--subscribers", "7", "--json"]);
        let Command::Fanout(args) = cli.command else { panic!("not fanout") };
        assert_eq!((args.subscribers, args.common.json), (7, true));
        assert_eq!(args.common.rounds(), (5, Duration::from_secs(2)));
    }

    #[test]
    fn without_the_reference_the_window_is_whole() {
        let cli = Cli::parse_from(["x", "meeting", "--no-reference", "--seconds", "8"]);
        let Command::Meeting(args) = cli.command else { panic!("not meeting") };
        assert_eq!(args.common.rounds(), (1, Duration::from_secs(8)));
        assert_eq!((args.meetings, args.size), (40, 6));
    }
}
