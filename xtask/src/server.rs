//! A `darktower serve` that xtask starts, watches and stops.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::process::{self, Running};
use crate::workspace::Workspace;

/// The server is up in a fraction of a second; a busy CI machine gets more.
const READY_LIMIT: Duration = Duration::from_secs(30);
const LOG_TAIL_LINES: usize = 30;

/// Where a server that was started in `folder` keeps its data.
pub(crate) fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A running `darktower serve`. Dropping it stops it.
pub(crate) struct Server {
    running: Running,
    log: PathBuf,
    ready: Value,
}

impl Server {
    /// Starts it in `folder`, with the flags and variables that `configure` adds, and waits until it serves. Only xtask
    /// stops it: clients must be able to leave first.
    pub(crate) fn start(ws: &Workspace, folder: &Path, configure: impl FnOnce(&mut Command)) -> Result<Self> {
        let log = folder.join("server.log");
        let ready_file = folder.join("ready.json");
        let output = File::create(&log)?;
        let mut command = Command::new(ws.program("darktower"));
        command.arg("serve").arg("--data-dir").arg(data_dir(folder));
        command.arg("--ready-file").arg(&ready_file);
        configure(&mut command);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let running = Running::start_detached(&mut command)?;
        let mut server = Self { running, log, ready: Value::Null };
        let ready = server.wait_until_ready(&ready_file);
        server.ready = server.show_log_unless_ok(ready)?;
        Ok(server)
    }

    /// Where plain HTTP is.
    pub(crate) fn http_url(&self) -> &str {
        self.ready["http_url"].as_str().unwrap_or_default()
    }

    /// Where HTTPS is.
    pub(crate) fn https_url(&self) -> &str {
        self.ready["https_url"].as_str().unwrap_or_default()
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    fn wait_until_ready(&mut self, ready_file: &Path) -> Result<Value> {
        let started = Instant::now();
        loop {
            if let Some(ready) = read(ready_file) {
                return Ok(ready);
            }
            process::check_interrupted()?;
            self.check_running()?;
            if started.elapsed() > READY_LIMIT {
                bail!("the server was not ready within {} s", READY_LIMIT.as_secs());
            }
            process::pause();
        }
    }

    /// An error if it has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.running.ended()? else { return Ok(()) };
        let log = self.log();
        if log.to_lowercase().contains("address already in use") || log.contains("os error 98") {
            bail!(
                "a port of the server is taken, perhaps by another demo: stop that program, \
                 or choose free ports with --listen 127.0.0.1:0 --http-listen 127.0.0.1:0"
            );
        }
        bail!("the server ended by itself ({status})");
    }

    /// Asks it to end and waits for that; an error if it did not end cleanly.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.check_running()?;
        let status = self.running.stop()?;
        if !status.success() {
            bail!("the server did not end cleanly ({status})");
        }
        Ok(())
    }

    /// Passes `result` on, and prints the end of the log with a failure.
    pub(crate) fn show_log_unless_ok<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| !error.is::<process::Interrupted>()) {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the end of the server's log:");
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                eprintln!("  {line}");
            }
        }
        result
    }
}

/// What a ready file says, once it is complete.
fn read(ready_file: &Path) -> Option<Value> {
    let ready: Value = serde_json::from_slice(&fs::read(ready_file).ok()?).ok()?;
    ready["http_url"].is_string().then_some(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_ready_file_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        assert_eq!(read(&path), None);
        fs::write(&path, r#"{"http_url":"http://127.0.0.1:1"#).unwrap();
        assert_eq!(read(&path), None);
        fs::write(&path, r#"{"http_url":"http://127.0.0.1:1"}"#).unwrap();
        assert_eq!(read(&path).unwrap()["http_url"], "http://127.0.0.1:1");
    }
}
