//! The servers under test: started in a temporary folder on cores of their own, and never left behind.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::api::Addresses;
use crate::machine::Cores;

/// A server is up in a fraction of a second; a busy machine gets more.
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Between SIGTERM and SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(10);
const LOG_TAIL_LINES: usize = 15;

/// Far beyond what a load test needs: limits are another test's subject.
const MESSAGES_PER_MINUTE: &str = "1000000";
const MAX_PARTICIPANTS: &str = "100000";

/// A child process that ends with this value.
#[derive(Debug)]
struct Process {
    child: Child,
    name: String,
}

impl Process {
    fn start(command: &mut Command, cores: &Cores) -> Result<Self> {
        let path = PathBuf::from(command.get_program());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = cores.with(|| {
            command.spawn().with_context(|| {
                format!(
                    "cannot start {}; `cargo xtask bench` builds everything, or name another program with a flag",
                    path.display()
                )
            })
        })?;
        Ok(Self { child, name })
    }

    fn check(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status})", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.check().is_err() {
            return;
        }
        // A child that was not waited for keeps its id, so this cannot hit a stranger.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < TERMINATE_GRACE {
            if self.check().is_err() {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Dark Tower server: one of ours, or one that somebody else has started.
#[derive(Debug)]
pub(crate) struct DarkTower {
    process: Option<Process>,
    folder: Option<TempDir>,
    pub(crate) http_url: String,
    /// Whose CPU and memory are read.
    pub(crate) pid: Option<u32>,
}

impl DarkTower {
    /// Starts `program` on `cores` in development mode and waits until it serves.
    pub(crate) fn start(program: &Path, cores: &Cores) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.env("DARKTOWER_LIMITS__MAX_PARTICIPANTS", MAX_PARTICIPANTS);
        command.env("DARKTOWER_LIMITS__MESSAGES_PER_MINUTE", MESSAGES_PER_MINUTE);
        Ok(Self::start_command(command, cores)?.0)
    }

    /// Starts a server in a folder of its own. Returns also what it says when it is ready.
    fn start_command(mut command: Command, cores: &Cores) -> Result<(Self, Value)> {
        let folder = tempfile::Builder::new().prefix("darktower-load-").tempdir()?;
        let log = File::create(folder.path().join("server.log"))?;
        let ready_file = folder.path().join("ready.json");
        command.args(["--log-filter", "warn", "--data-dir"]).arg(folder.path().join("data"));
        command.arg("--ready-file").arg(&ready_file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Process::start(&mut command, cores)?;
        let pid = Some(process.child.id());
        let mut server = Self { process: Some(process), folder: Some(folder), http_url: String::new(), pid };
        let ready = server.wait_until_ready(&ready_file)?;
        server.http_url = ready["http_url"].as_str().unwrap_or_default().to_owned();
        Ok((server, ready))
    }

    /// Uses a server that runs already.
    pub(crate) fn attach(http_url: String, pid: Option<u32>) -> Self {
        Self { process: None, folder: None, http_url, pid }
    }

    /// Fails if the process has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.check().map_err(|error| match self.log_tail() {
            tail if tail.is_empty() => error,
            tail => anyhow!("{error}; the end of its log:\n{tail}"),
        })
    }

    /// The last lines of the log, for people.
    pub(crate) fn log_tail(&self) -> String {
        let Some(folder) = &self.folder else { return String::new() };
        let log = fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn wait_until_ready(&mut self, ready_file: &Path) -> Result<Value> {
        let started = Instant::now();
        loop {
            if let Some(ready) = ready(ready_file) {
                return Ok(ready);
            }
            self.check()?;
            if started.elapsed() > READY_LIMIT {
                bail!("the server was not ready within {} s:\n{}", READY_LIMIT.as_secs(), self.log_tail());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

fn ready(ready_file: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(ready_file).ok()?).ok()
}

/// The API client of a server that is started for its API.
pub(crate) const API_CLIENT_ID: &str = "load";

/// A Dark Tower server outside development mode, whose API is under test.
#[derive(Debug)]
pub(crate) struct ApiServer {
    tower: DarkTower,
    ready: Value,
    secret: String,
}

impl ApiServer {
    /// Starts `program` on `cores` with an API client and without rate limits, and waits until it serves.
    pub(crate) fn start(
        program: &Path,
        cores: &Cores,
        certificate: &Path,
        private_key: &Path,
    ) -> Result<Self> {
        let secret = darktower_protocol::MeetingId::generate().to_string();
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--shards", "1"]);
        command.arg("--tls-certificate").arg(certificate).arg("--tls-private-key").arg(private_key);
        command.env("DARKTOWER_API__CLIENT_ID", API_CLIENT_ID).env("DARKTOWER_API__CLIENT_SECRET", &secret);
        for class in ["GENERAL", "LOGIN", "MEETING_CREATE", "MEETING_JOIN", "FAILED_AUTH"] {
            command.env(format!("DARKTOWER_RATE_LIMITS__{class}"), "0");
        }
        let (tower, ready) = DarkTower::start_command(command, cores)?;
        Ok(Self { tower, ready, secret })
    }

    pub(crate) fn addresses(&self) -> Result<Addresses> {
        let https = self.ready["https_url"].as_str().and_then(|url| url.strip_prefix("https://"));
        let http3 = self.ready["http3_addrs"][0].as_str();
        addresses(https, http3)
            .with_context(|| format!("the server does not say where it is: {}", self.ready))
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn pid(&self) -> u32 {
        self.tower.pid.unwrap_or_default()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.tower.check()
    }
}

fn addresses(https: Option<&str>, http3: Option<&str>) -> Option<Addresses> {
    Some(Addresses { https: https?.parse().ok()?, http3: http3?.parse().ok()? })
}

/// A running `bare-http`.
#[derive(Debug)]
pub(crate) struct BareHttp {
    leashed: Leashed,
}

impl BareHttp {
    /// Starts `program` on `cores` and waits until it serves.
    pub(crate) fn start(
        program: &Path,
        cores: &Cores,
        certificate: &Path,
        private_key: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--certificate").arg(certificate).arg("--private-key").arg(private_key);
        Ok(Self { leashed: Leashed::start(command, cores)? })
    }

    pub(crate) fn addresses(&self) -> Result<Addresses> {
        let ready: Value = serde_json::from_str(&self.leashed.said).unwrap_or_default();
        addresses(ready["https"].as_str(), ready["http3"].as_str())
            .with_context(|| format!("the bare server said {:?} instead of where it is", self.leashed.said))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.leashed.process.child.id()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.leashed.process.check()
    }
}

/// A reference server: it says one line, and ends with its standard input.
#[derive(Debug)]
struct Leashed {
    process: Process,
    _leash: Option<ChildStdin>,
    said: String,
}

impl Leashed {
    fn start(mut command: Command, cores: &Cores) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, cores)?;
        let stdout = process.child.stdout.take().context("the reference server has no output")?;
        let leash = process.child.stdin.take();
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            // An empty line says enough.
            let _ = BufReader::new(stdout).read_line(&mut text);
            let _ = sender.send(text);
        });
        let said = line
            .recv_timeout(READY_LIMIT)
            .map_err(|_| anyhow!("the reference server was not ready within {} s", READY_LIMIT.as_secs()))?;
        Ok(Self { process, _leash: leash, said })
    }
}

/// A running `naive-fanout`.
#[derive(Debug)]
pub(crate) struct Naive {
    leashed: Leashed,
    /// `https://ADDRESS:PORT/`
    pub(crate) url: String,
    pub(crate) certificate_hash: [u8; 32],
}

impl Naive {
    /// Starts `program` on `cores` and waits until it serves.
    pub(crate) fn start(program: &Path, cores: &Cores) -> Result<Self> {
        let leashed = Leashed::start(Command::new(program), cores)?;
        let (address, certificate_hash) = parse_ready(&leashed.said).with_context(|| {
            format!("the reference server said {:?} instead of where it is", leashed.said)
        })?;
        Ok(Self { leashed, url: format!("https://{address}/"), certificate_hash })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.leashed.process.child.id()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.leashed.process.check()
    }
}

fn parse_ready(line: &str) -> Option<(String, [u8; 32])> {
    let ready: Value = serde_json::from_str(line).ok()?;
    let hex = ready["certificate_sha256"].as_str().filter(|hex| hex.is_ascii() && hex.len() == 64)?;
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some((ready["address"].as_str()?.to_owned(), hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood_or_refused() {
        let line = format!(r#"{{"address":"127.0.0.1:5","certificate_sha256":"{}ff"}}"#, "00".repeat(31));
        let (address, hash) = parse_ready(&line).unwrap();
        assert_eq!((address.as_str(), hash[31]), ("127.0.0.1:5", 255));
        for bad in ["", "{}", r#"{"address":"x","certificate_sha256":"zz"}"#] {
            assert_eq!(parse_ready(bad), None);
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = DarkTower::start(Path::new("/nonexistent/darktower"), &"any".parse().unwrap());
        let message = error.unwrap_err().to_string();
        assert!(message.contains("/nonexistent/darktower") && message.contains("xtask bench"), "{message}");
    }
}
