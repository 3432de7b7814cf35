//! Runs the SDK's examples as the programs that they are: an announcer, an echo and a recorder in a meeting where
//! somebody speaks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{self, Running};
use crate::server::Server;
use crate::workspace::Workspace;
use crate::{demo, media};

/// Says something for ten seconds.
const CLIP: &str = "bot1-speech.ogg";
const SPEAKER: &str = "Speaker";
/// What any of the programs may take for its next step on a busy machine, the ten seconds included.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts a server and the examples, all built already, and judges what came of it.
///
/// # Errors
/// If one of them fails, or did not do what it is an example of.
pub(crate) fn check_built(ws: &Workspace) -> Result<()> {
    let clip = media::ensure(ws)?.join(CLIP);
    let folder = tempfile::Builder::new().prefix("darktower-examples-").tempdir()?;
    let mut server = Server::start(ws, folder.path(), |command| {
        command.args(["--dev", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.args(["--http3-listen", "127.0.0.1:0"]);
    })?;
    let judged = judge(ws, &mut server, &clip, folder.path());
    server.show_log_unless_ok(judged)?;
    server.stop()
}

fn judge(ws: &Workspace, server: &mut Server, clip: &Path, folder: &Path) -> Result<()> {
    let recordings = folder.join("recordings");
    let meetings = format!("{}/api/v1/meetings", server.http_url());
    let named = ["-H", "content-type: application/json", "-d", r#"{"display_name": "Examples"}"#, &meetings];
    let meeting = curl(&named)?["meeting_id"].as_str().context("no meeting_id")?.to_owned();
    let url = format!("{meetings}/{meeting}");

    // One after the other: the first one welcomes the others.
    let mut examples = Vec::new();
    for (name, more) in [("announcer", None), ("echo_bot", None), ("recorder_bot", Some(&recordings))] {
        examples.push(Example::start(ws, server, name, &meeting, more, folder)?);
        let here = examples.len() as u64;
        wait_until(server, &mut examples, name, |_| Ok(curl(&[&url])?["participant_count"] == here))?;
    }
    let client = |args: &[&str]| {
        let mut command = Command::new(ws.program("darktower-client"));
        command.args(args).args(["--server", server.http_url(), "--meeting", &meeting]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let mut publish = client(&["publish", "--name", SPEAKER]);
    publish.arg(clip);
    let mut end = client(&["host", "end"]);
    let status = Running::start(&mut publish)?.wait_while(Some(LIMIT), || server.check_running())?;
    ensure!(status.success(), "`{}` failed ({status})", process::shown(&publish));
    wait_until(server, &mut examples, "two whole recordings", |examples| {
        Ok(examples[2].shown()?.matches("is complete").count() == 2)
    })?;
    let status = Running::start(&mut end)?.wait_while(Some(LIMIT), || server.check_running())?;
    ensure!(status.success(), "`{}` failed ({status})", process::shown(&end));
    for example in &mut examples {
        let status = example.running.wait_while(Some(LIMIT), || server.check_running())?;
        ensure!(status.success(), "{} failed ({status}); it printed\n{}", example.name, example.shown()?);
    }
    let [announcer, echo, _] = &examples[..] else { bail!("three examples") };
    check_announcer(&announcer.shown()?)?;
    ensure!(echo.shown()?.contains("listening to "), "echo_bot listened to nobody");
    check_recordings(&recordings)
}

/// Everybody is welcomed.
fn check_announcer(shown: &str) -> Result<()> {
    for name in ["Echo", "Recorder", SPEAKER] {
        let welcomed =
            shown.lines().any(|line| line.starts_with(&format!("welcomed {name:?} with message ")));
        ensure!(welcomed, "announcer did not welcome {name}; it printed\n{shown}");
    }
    Ok(())
}

/// What was said, and its echo: nearly as long, as that begins when the echo has heard of it.
fn check_recordings(folder: &Path) -> Result<()> {
    let recordings = demo::recordings(folder)?;
    ensure!(recordings.len() == 2, "{} recordings of what was said and its echo", recordings.len());
    ensure!(demo::decode_all(&recordings)? == 0, "a recording does not decode");
    let mut sizes = Vec::new();
    for recording in &recordings {
        sizes.push(fs::metadata(recording)?.len());
    }
    let (least, most) = (sizes.iter().min().copied().unwrap_or(0), sizes.iter().max().copied().unwrap_or(0));
    ensure!(least > most / 10 * 8, "recordings of {sizes:?} bytes: one says less than the other");
    Ok(())
}

/// One of the examples, running.
struct Example {
    name: &'static str,
    running: Running,
    output: PathBuf,
}

impl Example {
    fn start(
        ws: &Workspace,
        server: &Server,
        name: &'static str,
        meeting: &str,
        more: Option<&PathBuf>,
        folder: &Path,
    ) -> Result<Self> {
        let output = folder.join(format!("{name}.log"));
        let log = fs::File::create(&output)?;
        let mut command = Command::new(ws.example(name));
        command.args([server.http_url(), meeting]).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { name, running: Running::start(&mut command)?, output })
    }

    /// What it has printed.
    fn shown(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.output)?)
    }
}

/// Waits for something while the server and all examples run.
fn wait_until(
    server: &mut Server,
    examples: &mut [Example],
    what: &str,
    mut holds: impl FnMut(&[Example]) -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    while !holds(examples)? {
        process::check_interrupted()?;
        server.check_running()?;
        for example in examples.iter_mut() {
            if let Some(status) = example.running.ended()? {
                bail!("{} ended by itself ({status}); it printed\n{}", example.name, example.shown()?);
            }
        }
        ensure!(started.elapsed() < LIMIT, "waited {} s in vain: {what}", LIMIT.as_secs());
        process::pause();
    }
    Ok(())
}

/// An answer of the API.
fn curl(args: &[&str]) -> Result<Value> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]).args(args);
    let (ok, answer, complaint) = process::capture(&mut command)?;
    ensure!(ok, "`{}` failed: {complaint}", process::shown(&command));
    serde_json::from_str(&answer).with_context(|| format!("`{}` printed {answer}", process::shown(&command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_must_be_welcomed() {
        let line = |name: &str| format!("welcomed {name:?} with message 7\n");
        let all = format!("now with the preset\n{}{}{}", line("Echo"), line("Recorder"), line(SPEAKER));
        assert!(check_announcer(&all).is_ok());
        assert!(check_announcer(&all.replace("welcomed \"Echo\"", "cannot welcome \"Echo\"")).is_err());
        assert!(check_announcer("").is_err());
    }

    #[test]
    fn there_must_be_two_recordings() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_recordings(folder.path()).is_err());
        fs::write(folder.path().join("one.ogg"), b"").unwrap();
        assert!(check_recordings(folder.path()).is_err());
    }
}
