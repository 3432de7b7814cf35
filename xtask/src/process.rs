//! Child processes: started, waited for, and never left behind.
//!
//! xtask keeps running on SIGINT, SIGTERM and SIGHUP: a signal only sets a flag, every wait in this module looks at the
//! flag, and the destructors on the way out stop the children and remove temporary folders. On Ctrl-C the terminal
//! signals the children of its foreground process group too; they get a moment to end by themselves first.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How often a waiting xtask looks at its children and at the flag: unnoticeable, and no load.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// After a signal: what a child that got it from the terminal too may take before it gets SIGTERM from us.
const INTERRUPT_GRACE: Duration = Duration::from_secs(3);
/// What a child may take between SIGTERM and SIGKILL.
pub(crate) const TERMINATE_GRACE: Duration = Duration::from_secs(10);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The developer stopped the command.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Turns the stop signals into the flag that [`interrupted`] reads.
pub(crate) fn watch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("cannot watch signals")?;
    }
    Ok(())
}

/// Whether a stop signal arrived.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails with [`Interrupted`] once a stop signal arrived.
pub(crate) fn check_interrupted() -> Result<()> {
    if interrupted() { Err(Interrupted.into()) } else { Ok(()) }
}

/// Waits a moment, less than a person notices.
pub(crate) fn pause() {
    thread::sleep(POLL_INTERVAL);
}

/// A running child. Dropping it stops it: SIGTERM, up to [`TERMINATE_GRACE`], then SIGKILL.
pub(crate) struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts `command` in xtask's own process group: Ctrl-C reaches it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        check_interrupted()?;
        let name = command.get_program().to_string_lossy().into_owned();
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name })
    }

    /// Starts `command` in a process group of its own: only xtask stops it, when its turn has come.
    pub(crate) fn start_detached(command: &mut Command) -> Result<Self> {
        Self::start(command.process_group(0))
    }

    /// The pipe of the child's standard output, once.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// How the child ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until the child ends. After a stop signal it has [`INTERRUPT_GRACE`] to end by itself, then it is stopped.
    ///
    /// A child that is still there after `limit` is stopped and reported as an error.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> Result<ExitStatus> {
        self.wait_while(limit, || Ok(()))
    }

    /// As [`Self::wait`], and stops the child as soon as `holds` returns an error, which it passes on.
    pub(crate) fn wait_while(
        &mut self,
        limit: Option<Duration>,
        mut holds: impl FnMut() -> Result<()>,
    ) -> Result<ExitStatus> {
        let started = Instant::now();
        let mut interrupted_at = None;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if interrupted() && interrupted_at.get_or_insert_with(Instant::now).elapsed() > INTERRUPT_GRACE {
                return self.stop();
            }
            if let Err(error) = holds() {
                self.stop()?;
                return Err(error);
            }
            if limit.is_some_and(|limit| started.elapsed() > limit) {
                self.stop()?;
                bail!("{} did not end within {} s and was stopped", self.name, started.elapsed().as_secs());
            }
            pause();
        }
    }

    /// Stops the child if it still runs, and waits for its end: SIGTERM, up to [`TERMINATE_GRACE`], then SIGKILL.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        // A child that was not waited for keeps its id, so this cannot hit a stranger.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < TERMINATE_GRACE {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            pause();
        }
        let _ = self.child.kill();
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Runs `command` to its end with xtask's own input and output; anything but exit status 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = Running::start(command)?.wait(None)?;
    check_interrupted()?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a short `command` quietly and returns (exit status was 0, standard output, standard error).
pub(crate) fn capture(command: &mut Command) -> Result<(bool, String, String)> {
    check_interrupted()?;
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", shown(command)))?;
    check_interrupted()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

/// Whether `program` can be found in `PATH`.
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// `command` as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let mut line = program.rsplit('/').next().unwrap_or_default().to_owned();
    for argument in command.get_args().map(|argument| argument.to_string_lossy()) {
        line.push(' ');
        if argument.is_empty() || argument.contains([' ', '\'', '"', '*', '$', ';', '&', '(']) {
            line.push_str(&format!("'{}'", argument.replace('\'', r"'\''")));
        } else {
            line.push_str(&argument);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_quotes_what_a_shell_would_split() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--bench", "*", "it's"]);
        assert_eq!(shown(&command), r"cargo test --bench '*' 'it'\''s'");
    }

    #[test]
    fn dropping_a_child_ends_it() {
        let running = Running::start_detached(Command::new("sleep").arg("600")).unwrap();
        let pid = Pid::from_child(&running.child);
        drop(running);
        assert!(rustix::process::test_kill_process(pid).is_err(), "the child is still there");
    }

    #[test]
    fn a_child_over_its_limit_is_stopped_and_named() {
        let mut running = Running::start_detached(Command::new("sleep").arg("600")).unwrap();
        let error = running.wait(Some(Duration::from_millis(50))).unwrap_err();
        assert!(error.to_string().starts_with("sleep did not end within"), "{error}");
    }
}
