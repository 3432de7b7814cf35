//! The whole system in one command: server, bots, and in check mode a verdict.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::process::{self, Running};
use crate::server::Server;
use crate::workspace::Workspace;
use crate::{media, setup, web};

/// Start the server with bots that publish real media, and print the address of the meeting to open in a browser.
///
/// Everything lives in a temporary folder and is gone after Ctrl-C; nothing is recorded. With --check nobody need watch: the bots count and compare
/// what they receive for some seconds, ffmpeg decodes what they recorded, and the exit status is 0 only if every unit arrived,
/// bit for bit, and every recording decodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop after this many seconds [default: until Ctrl-C; 10 with --check]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Verify what arrives, print the figures, exit 0 only if all is well; uses free ports
    #[arg(long)]
    check: bool,
    /// Print the figures of --check as one JSON object, and nothing else on standard output
    #[arg(long, requires = "check")]
    json: bool,
    /// Number of bots; each publishes video and speech
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    bots: u32,
    /// Where the server listens for media and signaling (UDP) [default: the server's own default]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "check")]
    listen: Option<String>,
    /// Where the server listens for plain HTTP, loopback only [default: the server's own default]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "check")]
    http_listen: Option<String>,
    /// Keep the temporary folder (data, server log, recordings) and print where it is
    #[arg(long)]
    keep: bool,
}

const CHECK_SECONDS: u32 = 10;
/// What the bots of a check may take beyond their publishing time: joining, draining, leaving.
const BOTS_SLACK: Duration = Duration::from_secs(60);
/// Where the bots of a check record to, in the temporary folder.
const RECORDINGS: &str = "recordings";

/// The figures of a check, in the order they are printed. All but the last come from the bots.
const FIGURES: [&str; 10] = [
    "participants",
    "streams",
    "units_expected",
    "units_received",
    "payload_mismatches",
    "join_ms_p50",
    "join_ms_p95",
    "latency_us_p50",
    "latency_us_p99",
    "decode_errors",
];

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    setup::ensure_programs()?;
    // Before the server: one that is compiled without the app's folder does not know its place.
    if !args.check {
        build_app(ws)?;
    }
    eprintln!("demo: building ...");
    process::run(ws.cargo().args(["build", "-p", "darktower-server", "-p", "darktower-client", "--bins"]))?;
    let clips = media::ensure(ws)?;
    if args.check {
        let bots =
            Bots { ws, clips: &clips, count: args.bots, seconds: args.seconds.or(Some(CHECK_SECONDS)) };
        check(&bots, args.json, args.keep)
    } else {
        show(&Bots { ws, clips: &clips, count: args.bots, seconds: args.seconds }, args)
    }
}

/// The meeting app, which the server reads from the checkout. Without Node there is much to see all the same.
fn build_app(ws: &Workspace) -> Result<()> {
    match setup::ensure_node() {
        Ok(()) => web::build(ws),
        Err(error) if error.is::<process::Interrupted>() => Err(error),
        Err(error) => {
            eprintln!("demo: going on without the meeting app in the browser: {error:#}");
            Ok(())
        }
    }
}

/// `demo --check --json` on programs that are built already.
pub(crate) fn check_built(ws: &Workspace, seconds: u32) -> Result<()> {
    let clips = media::ensure(ws)?;
    check(&Bots { ws, clips: &clips, count: 3, seconds: Some(seconds) }, true, false)
}

/// Server and bots until Ctrl-C, or for as long as asked.
fn show(bots: &Bots<'_>, args: &Args) -> Result<()> {
    let folder = Folder::make(args.keep)?;
    let mut listen = Vec::new();
    for (flag, address) in [("--listen", &args.listen), ("--http-listen", &args.http_listen)] {
        if let Some(address) = address {
            listen.extend([flag, address.as_str()]);
        }
    }
    let mut server = start_server(bots.ws, folder.path(), &listen)?;
    let played = Running::start(&mut bots.command(server.http_url())).and_then(|mut running| {
        let status = running.wait_while(None, || server.check_running())?;
        // Ctrl-C is how this command is meant to end.
        if status.success() || process::interrupted() { Ok(()) } else { bail!("the bots failed ({status})") }
    });
    let stopped = server.stop();
    server.show_log_unless_ok(played.and(stopped))
}

fn start_server(ws: &Workspace, folder: &Path, listen: &[&str]) -> Result<Server> {
    Server::start(ws, folder, |command| {
        command.arg("--dev").args(listen);
    })
}

/// Server and bots for some seconds, unattended; prints the figures and fails unless they are perfect.
fn check(bots: &Bots<'_>, json: bool, keep: bool) -> Result<()> {
    let folder = Folder::make(keep)?;
    let mut server =
        start_server(bots.ws, folder.path(), &["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])?;
    let judged = judge(bots, json, &mut server, folder.path());
    server.show_log_unless_ok(judged)
}

fn judge(bots: &Bots<'_>, json: bool, server: &mut Server, folder: &Path) -> Result<()> {
    let counted = bots.count_units(server, folder);
    let stopped = server.stop();
    let (mut figures, bots_ended_well) = counted?;
    let recordings = recordings(&folder.join(RECORDINGS))?;
    figures.insert("decode_errors".into(), decode_all(&recordings)?.into());

    let mut faults = faults(&figures, bots.count, recordings.len());
    if !bots_ended_well {
        faults.push("the bots ended with an error".into());
    }
    if let Err(error) = stopped {
        faults.push(format!("{error:#}"));
    }
    if json {
        println!("{}", one_line(&figures));
    } else {
        print!("{}", table(&figures));
    }
    if !faults.is_empty() {
        bail!("the check failed: {}", faults.join("; "));
    }
    eprintln!("demo: {} recordings decode; every unit arrived bit for bit", recordings.len());
    Ok(())
}

/// The temporary folder of one demo.
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn make(keep: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("darktower-demo-").tempdir()?;
        if !keep {
            return Ok(Self::Temporary(folder));
        }
        let folder = folder.keep();
        eprintln!("demo: keeping {}", folder.display());
        Ok(Self::Kept(folder))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// How to run `darktower-client bots`.
struct Bots<'a> {
    ws: &'a Workspace,
    clips: &'a Path,
    count: u32,
    seconds: Option<u32>,
}

impl Bots<'_> {
    fn command(&self, http_url: &str) -> Command {
        let mut command = Command::new(self.ws.program("darktower-client"));
        command.args(["bots", "--server", http_url, "--count", &self.count.to_string()]);
        command.arg("--clips").arg(self.clips);
        if let Some(seconds) = self.seconds {
            command.args(["--seconds", &seconds.to_string()]);
        }
        command
    }

    /// Runs them unattended; returns their figures and whether they ended well.
    fn count_units(&self, server: &mut Server, folder: &Path) -> Result<(Map<String, Value>, bool)> {
        let mut command = self.command(server.http_url());
        // Only here: a demo that somebody watches runs for as long as they like, and would fill the disk.
        command.arg("--record").arg(folder.join(RECORDINGS));
        command.args(["--check", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command)?;
        let mut pipe = running.take_stdout().context("the bots have no output")?;
        // A thread reads: a full pipe would hold the bots up.
        let reader = thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        let limit = Duration::from_secs(self.seconds.unwrap_or_default().into()) + BOTS_SLACK;
        let status = running.wait_while(Some(limit), || server.check_running())?;
        process::check_interrupted()?;
        let text = reader.join().map_err(|_| anyhow!("reading the bots' output failed"))??;
        let figures = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        let figures = figures.with_context(|| format!("the bots printed no figures ({status})"))?;
        Ok((figures, status.success()))
    }
}

/// Every recorded file under `folder`, sorted.
pub(crate) fn recordings(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| ["ivf", "h264", "ogg"].iter().any(|e| extension == *e))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Decodes every recording; returns the number of faults. No recording at all is one.
pub(crate) fn decode_all(recordings: &[PathBuf]) -> Result<usize> {
    if recordings.is_empty() {
        eprintln!("nothing was recorded");
        return Ok(1);
    }
    let mut count = 0;
    for path in recordings {
        let faults = decode(path)?;
        for fault in &faults {
            eprintln!("{}: {fault}", path.file_name().unwrap_or_default().display());
        }
        count += faults.len();
    }
    Ok(count)
}

/// Decodes one recording with ffmpeg; returns what it complained about.
fn decode(path: &Path) -> Result<Vec<String>> {
    // Raw H.264 does not say how fast it is.
    let input: &[&str] = if path.extension().is_some_and(|extension| extension == "h264") {
        &["-framerate", "30"]
    } else {
        &[]
    };
    let (ok, _, complaints) = process::capture(
        Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error"])
            .args(input)
            .arg("-i")
            .arg(path)
            .args(["-f", "null", "-"]),
    )?;
    let mut faults: Vec<_> =
        complaints.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if !ok && faults.is_empty() {
        faults.push("ffmpeg failed".into());
    }
    // ffmpeg is content with a file that holds no frame.
    let (_, frames, _) = process::capture(
        Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-count_frames",
                "-show_entries",
                "stream=nb_read_frames",
                "-of",
                "csv=p=0",
            ])
            .args(input)
            .arg(path),
    )?;
    if faults.is_empty()
        && !frames.lines().any(|line| line.trim().parse::<u64>().is_ok_and(|frames| frames > 0))
    {
        faults.push("no frame in it decodes".into());
    }
    Ok(faults)
}

/// What is wrong with the figures of a check and the number of recordings; empty if all is well.
fn faults(figures: &Map<String, Value>, bots: u32, recordings: usize) -> Vec<String> {
    let mut faults = Vec::new();
    for name in FIGURES {
        if !figures.get(name).is_some_and(Value::is_number) {
            faults.push(format!("no figure {name}"));
        }
    }
    let figure = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or_default();
    if figure("participants") < u64::from(bots) {
        faults.push(format!("{} of {bots} participants", figure("participants")));
    }
    if figure("units_expected") == 0 {
        faults.push("no unit was expected".into());
    }
    if figure("units_received") != figure("units_expected") {
        faults.push(format!("{} of {} units arrived", figure("units_received"), figure("units_expected")));
    }
    for name in ["payload_mismatches", "decode_errors"] {
        if figure(name) != 0 {
            faults.push(format!("{} {name}", figure(name)));
        }
    }
    // Everyone records every stream of everyone else.
    let expected = figure("streams") * figure("participants").saturating_sub(1);
    if recordings as u64 != expected {
        faults.push(format!("{recordings} of {expected} recordings"));
    }
    faults
}

/// The figures in their order, then whatever else the bots told.
fn ordered(figures: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let known = FIGURES.iter().filter_map(|name| figures.get(*name).map(|value| (*name, value)));
    let others = figures.iter().map(|(name, value)| (name.as_str(), value));
    known.chain(others.filter(|(name, _)| !FIGURES.contains(name)))
}

fn one_line(figures: &Map<String, Value>) -> String {
    let members: Vec<_> =
        ordered(figures).map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", members.join(","))
}

fn table(figures: &Map<String, Value>) -> String {
    ordered(figures).map(|(name, value)| format!("{name:<20} {:>12}\n", value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perfect() -> Map<String, Value> {
        let text = r#"{"streams":6,"participants":3,"units_expected":900,"units_received":900,"payload_mismatches":0,
            "join_ms_p50":12.5,"join_ms_p95":20,"latency_us_p50":900,"latency_us_p99":4000,"decode_errors":0}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn perfect_figures_have_no_fault() {
        assert_eq!(faults(&perfect(), 3, 12), Vec::<String>::new());
    }

    #[test]
    fn every_stream_is_recorded_by_everyone_else() {
        assert_eq!(faults(&perfect(), 3, 11), ["11 of 12 recordings"]);
        assert_eq!(faults(&perfect(), 3, 13), ["13 of 12 recordings"]);
    }

    #[test]
    fn each_imperfect_figure_is_a_fault() {
        for (name, value, fault) in [
            ("units_received", 899, "899 of 900 units arrived"),
            ("units_received", 901, "901 of 900 units arrived"),
            ("payload_mismatches", 1, "1 payload_mismatches"),
            ("decode_errors", 4, "4 decode_errors"),
        ] {
            let mut figures = perfect();
            figures.insert(name.into(), value.into());
            assert_eq!(faults(&figures, 3, 12), [fault]);
        }
        let mut figures = perfect();
        figures.insert("participants".into(), 2.into());
        assert_eq!(faults(&figures, 3, 6), ["2 of 3 participants"]);
    }

    #[test]
    fn nothing_received_of_nothing_expected_is_a_fault() {
        let mut figures = perfect();
        figures.insert("units_expected".into(), 0.into());
        figures.insert("units_received".into(), 0.into());
        assert_eq!(faults(&figures, 3, 12), ["no unit was expected"]);
    }

    #[test]
    fn a_missing_figure_is_a_fault() {
        let mut figures = perfect();
        figures.remove("payload_mismatches");
        assert_eq!(faults(&figures, 3, 12), ["no figure payload_mismatches"]);
    }

    #[test]
    fn json_keeps_the_promised_order() {
        let mut figures = perfect();
        figures.insert("another".into(), "x".into());
        let line = one_line(&figures);
        assert!(line.starts_with(r#"{"participants":3,"streams":6,"units_expected":900,"#), "{line}");
        assert!(line.ends_with(r#""latency_us_p99":4000,"decode_errors":0,"another":"x"}"#), "{line}");
        assert_eq!(serde_json::from_str::<Map<String, Value>>(&line).unwrap(), figures);
    }
}
