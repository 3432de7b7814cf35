//! The relay under test: started in a temporary folder on cores of its own, and never left behind.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::machine::Cores;

/// The first argument with which this program becomes the relay: see [`become_relay`].
pub(crate) const BECOME_RELAY: &str = "--become-relay";

/// Under this path everybody may publish and subscribe.
pub(crate) const PUBLIC_PATH: &str = "anon";

/// It is up in a fraction of a second; a busy machine gets more.
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Between SIGTERM and SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 15;

/// Options that make moq-relay's QUIC as much like Dark Tower's as its command line allows.
const TUNED: [&str; 3] = ["--quic-mtu-discovery", "--quic-congestion-control", "loss"];

/// A running moq-relay, which ends with this value.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Relay {
    /// Starts `program` on `cores` and waits until it listens.
    pub(crate) fn start(program: &Path, cores: &Cores, tuned: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("moq-load-").tempdir()?;
        let log = File::create(folder.path().join("relay.log"))?;
        let address = free_udp_port()?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg(BECOME_RELAY).arg(std::process::id().to_string()).arg(program);
        command.args(["--listen", &address.to_string(), "--listen-tls-generate", "localhost"]);
        command.args(["--auth-public", &format!("{PUBLIC_PATH}/**")]);
        // Nobody is left to move elsewhere when it is stopped.
        command.args(["--drain-timeout", "0s"]);
        if tuned {
            command.args(TUNED);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = cores.with(|| command.spawn().context("cannot start the relay"))?;
        let mut relay = Self { child, folder, address };
        relay.wait_until_ready()?;
        Ok(relay)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot wait for the relay")? {
            None => Ok(()),
            Some(status) => {
                bail!("the relay ended by itself ({status}); the end of its log:\n{}", self.log_tail())
            }
        }
    }

    /// The last lines of the log, for people.
    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("relay.log")).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.log().contains("listening") {
            self.check()?;
            ensure!(
                started.elapsed() < READY_LIMIT,
                "the relay did not listen within {} s; the end of its log:\n{}",
                READY_LIMIT.as_secs(),
                self.log_tail()
            );
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A child that was not waited for keeps its id, so this cannot hit a stranger.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < TERMINATE_GRACE {
            thread::sleep(POLL_INTERVAL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `program --version` prints.
pub(crate) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().with_context(|| {
        format!(
            "cannot run {}: `cargo xtask bench peers` installs a moq-relay, or name one with --relay",
            program.display()
        )
    })?;
    ensure!(output.status.success(), "`{} --version` failed ({})", program.display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Turns this process into the program named by `arguments` (parent, program, its arguments), which the kernel ends when
/// the parent does, however that comes about. Returns only if it cannot.
pub(crate) fn become_relay(mut arguments: impl Iterator<Item = OsString>) -> Error {
    let mut parts = || arguments.next().context("no parent and program");
    let (parent, program) = match (parts(), parts()) {
        (Ok(parent), Ok(program)) => (parent, program),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow!(error).context("cannot ask to end with the load tester");
    }
    // It may have ended just before.
    let alive = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if alive.as_deref().map(AsRef::as_ref) != Some(parent.as_os_str()) {
        return anyhow!("the load tester has ended");
    }
    let error = Command::new(&program).args(arguments).exec();
    anyhow!(error).context(format!("cannot start {}", program.display()))
}

/// A port that is free now. Whoever takes it first has it; then the relay says so and ends.
fn free_udp_port() -> Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a UDP socket")?;
    Ok(socket.local_addr()?)
}
