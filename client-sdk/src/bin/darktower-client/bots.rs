//! `darktower-client bots`: participants that publish clips, subscribe to each other, and check what arrives. This module
//! is about clips, words and verdict; the bots themselves are a [`fleet`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::Usage;
use crate::connection::{self, Target, WithoutMeeting};
use crate::fleet::{self, Figures, Ready};
use crate::player::Clip;
use crate::stop::Stop;
use crate::table::{Align, Screen, Table};

const EXAMPLES: &str = "\
Examples:
  darktower-client bots --clips target/media --count 3
      three participants in a new meeting, with a live table, until Ctrl-C
      (`cargo xtask media` makes these clips)
  darktower-client bots --clips target/media --count 3 --check --json
      ten seconds unattended: one JSON object, and exit status 0 only if every unit
      arrived everywhere, bit for bit
  darktower-client bots --clips target/media --count 20 --meeting ADDRESS
      fills a meeting that exists

Bot 2 publishes every clip of the folder that is named bot2-*.ivf, bot2-*.h264 or
bot2-*.ogg, one stream each, over and over; with more bots than numbers they start
again at bot1. Every bot subscribes to every other bot.";

/// Length of a check that names none.
const CHECK_SECONDS: u64 = 10;

/// Fill a meeting with bots that publish clips and watch each other
///
/// Without --meeting a new meeting is created and its address printed. With --check, every unit that a bot sends is
/// compared with what every other bot receives.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the clips: bot1-*.ivf, bot1-*.ogg, bot2-*.h264 and so on
    #[arg(long, value_name = "DIR")]
    clips: PathBuf,
    /// Number of bots
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Stop after this many seconds of media [default: at Ctrl-C; 10 with --check]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Fail unless every unit reached every other bot unchanged; no live table
    #[arg(long)]
    check: bool,
    /// Print the figures as one JSON object at the end, and nothing else on standard output
    #[arg(long)]
    json: bool,
    /// Write what each bot receives to files such as bot1-from-bot2-VP8.ivf
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(flatten)]
    connection: connection::Args,
}

pub(crate) async fn run(args: Args, stop: Stop) -> Result<()> {
    if args.connection.has_token() {
        bail!(Usage("--token lets one participant in; bots ask for a token each".to_owned()));
    }
    let (folder, count) = (args.clips.clone(), args.count as usize);
    let clips = tokio::task::spawn_blocking(move || open_clips(&folder, count))
        .await
        .context("reading the clips failed")??;
    let target = Target::find(args.connection, WithoutMeeting::Create("Bots")).await?;
    let say = Say { quiet: args.json, live: !args.check && !args.json };
    say.introduce(&target, args.count)?;

    let ready = tokio::select! {
        ready = fleet::prepare(&target, &clips, args.record.as_deref()) => ready?,
        () = stop.requested() => bail!("stopped before the bots were ready"),
    };
    let seconds = args.seconds.or(args.check.then_some(CHECK_SECONDS)).map(Duration::from_secs);
    say.begin(&ready, &target, seconds)?;
    let (figures, outcome) = ready.run(seconds, &stop, say.live).await?;

    let verdict = verdict(&figures);
    if args.json {
        Screen::new().print(&serde_json::to_string(&figures)?)?;
    } else {
        say.figures(&figures)?;
    }
    outcome?;
    if args.check {
        verdict?;
        say.line("every unit arrived everywhere, bit for bit")?;
    }
    Ok(())
}

/// What is wrong with the figures of a check.
fn verdict(figures: &Figures) -> Result<()> {
    let Figures { units_expected, units_received, payload_mismatches, participants, .. } = *figures;
    ensure!(
        payload_mismatches == 0,
        "the check failed: {payload_mismatches} units arrived changed, twice or uninvited"
    );
    ensure!(
        units_received == units_expected,
        "the check failed: {} of {units_expected} units did not arrive",
        units_expected - units_received.min(units_expected)
    );
    ensure!(units_expected > 0 || participants == 1, "the check failed: nothing was sent");
    Ok(())
}

/// The clips of each bot.
fn open_clips(folder: &Path, count: usize) -> Result<Vec<Vec<Clip>>> {
    let files =
        std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut numbered: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let path = file.with_context(|| format!("cannot read the folder {}", folder.display()))?.path();
        if let Some(number) = path.file_name().and_then(|name| bot_number(name.to_str()?)) {
            numbered.entry(number).or_default().push(path);
        }
    }
    ensure!(
        !numbered.is_empty(),
        "{} has no clips named bot1-*.ivf, bot1-*.h264 or bot1-*.ogg; in a checkout, `cargo xtask media` makes some",
        folder.display()
    );
    let mut clips = Vec::with_capacity(numbered.len());
    for mut paths in numbered.into_values().take(count) {
        // Pictures first: .ivf and .h264 come before .ogg.
        paths.sort_by_key(|path| (path.extension().map(ToOwned::to_owned), path.clone()));
        let opened: Result<Vec<_>, _> = paths.iter().map(|path| Clip::open(path, None)).collect();
        clips.push(opened?);
    }
    Ok(clips.iter().cycle().take(count).cloned().collect())
}

/// `bot12-anything.ivf` is 12.
fn bot_number(file_name: &str) -> Option<u32> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    if !matches!(extension, "ivf" | "h264" | "ogg") {
        return None;
    }
    stem.strip_prefix("bot")?.split_once('-')?.0.parse().ok()
}

/// What is told to people, and how.
#[derive(Debug, Clone, Copy)]
struct Say {
    /// Standard output belongs to a program.
    quiet: bool,
    /// A table every second.
    live: bool,
}

impl Say {
    fn line(self, line: &str) -> Result<()> {
        if self.quiet {
            eprintln!("{line}");
        } else {
            Screen::new().print(line)?;
        }
        Ok(())
    }

    fn introduce(self, target: &Target, count: u32) -> Result<()> {
        let bots = if count == 1 { "1 bot joins".to_owned() } else { format!("{count} bots join") };
        self.line(&format!("{bots} {}{}", if target.is_new { "new meeting " } else { "" }, target.address))
    }

    fn begin(self, ready: &Ready, target: &Target, seconds: Option<Duration>) -> Result<()> {
        for (name, streams) in ready.descriptions() {
            self.line(&format!("  {name} publishes {streams}"))?;
        }
        if self.live {
            self.line("")?;
            if target.address.starts_with("http") {
                self.line(&format!("open in a browser    {}", target.address))?;
            }
            self.line(&format!("watch from here      {}", target.hint("watch")))?;
            self.line(&format!("publish into it      {} --loop FILE.ivf", target.hint("publish")))?;
            self.line("stop                 Ctrl-C")?;
            self.line("")?;
        } else if let Some(seconds) = seconds {
            self.line(&format!("  media flows for {} s", seconds.as_secs()))?;
        }
        Ok(())
    }

    fn figures(self, figures: &Figures) -> Result<()> {
        let mut table = Table::new([("", Align::Left), ("", Align::Right)]);
        table.row(["participants".to_owned(), figures.participants.to_string()]);
        table.row(["streams".to_owned(), figures.streams.to_string()]);
        table.row(["units expected".to_owned(), figures.units_expected.to_string()]);
        table.row(["units received".to_owned(), figures.units_received.to_string()]);
        table.row(["payload mismatches".to_owned(), figures.payload_mismatches.to_string()]);
        table.row(["join p50, ms".to_owned(), format!("{:.1}", figures.join_ms_p50)]);
        table.row(["join p95, ms".to_owned(), format!("{:.1}", figures.join_ms_p95)]);
        table.row(["latency p50, ms".to_owned(), format!("{:.2}", figures.latency_us_p50 as f64 / 1e3)]);
        table.row(["latency p99, ms".to_owned(), format!("{:.2}", figures.latency_us_p99 as f64 / 1e3)]);
        for line in table.lines() {
            self.line(&line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_found_by_their_names() {
        assert_eq!(bot_number("bot1-vp8.ivf"), Some(1));
        assert_eq!(bot_number("bot12-a-b.h264"), Some(12));
        for other in ["bot1.ivf", "bot-1.ivf", "av1.ivf", "bot1-x.webm", "bot1-x", "robot1-x.ogg"] {
            assert_eq!(bot_number(other), None, "{other}");
        }
    }

    #[test]
    fn a_folder_without_clips_says_what_is_missing() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = open_clips(folder.path(), 3).expect_err("nothing there");
        assert!(error.to_string().contains("bot1-*.ivf"), "{error}");
        let error = open_clips(&folder.path().join("missing"), 3).expect_err("no folder");
        assert!(error.to_string().contains("cannot read the folder"), "{error}");
    }

    #[test]
    fn only_perfect_figures_pass() {
        let perfect = Figures {
            participants: 3,
            streams: 6,
            units_expected: 900,
            units_received: 900,
            payload_mismatches: 0,
            join_ms_p50: 1.5,
            join_ms_p95: 2.5,
            latency_us_p50: 100,
            latency_us_p99: 200,
        };
        assert!(verdict(&perfect).is_ok());
        assert!(verdict(&Figures { units_received: 899, ..perfect }).is_err());
        assert!(verdict(&Figures { payload_mismatches: 1, ..perfect }).is_err());
        assert!(verdict(&Figures { units_expected: 0, units_received: 0, ..perfect }).is_err());
        let line = serde_json::to_string(&perfect).expect("plain data");
        assert!(
            line.starts_with(r#"{"participants":3,"streams":6,"units_expected":900,"units_received":900,"#),
            "{line}"
        );
    }
}
