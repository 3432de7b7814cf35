//! A real PostgreSQL for tests: its own data folder, its own port on the loopback address, gone with the value.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Starting after a crash reads the log again; on a busy machine all of it takes a while.
const PATIENCE: Duration = Duration::from_secs(60);
const READY: &str = "database system is ready to accept connections";
/// The name and password of the user that the tests are.
const USER: &str = "tester";
const PASSWORD: &str = "p@ss word/of:tests";

/// A running PostgreSQL server.
pub(crate) struct TestServer {
    programs: Programs,
    folder: TempDir,
    settings: Vec<&'static str>,
    port: u16,
    running: Option<Child>,
}

impl TestServer {
    /// Starts a server that does not wait for the disk: it survives [`kill`](Self::kill), and no crash of the machine.
    pub(crate) fn start() -> Self {
        Self::start_with(&["fsync=off", "full_page_writes=off"])
    }

    /// Starts a server with these settings on top of the usual ones.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start: what a test needs is not there.
    pub(crate) fn start_with(settings: &[&'static str]) -> Self {
        let mut server = Self::install(settings);
        server.resume();
        server
    }

    /// Starts a server that speaks TLS, with this certificate and key (PEM).
    ///
    /// # Panics
    /// As [`start_with`](Self::start_with).
    pub(crate) fn start_with_tls(certificate: &str, key: &str) -> Self {
        let mut server = Self::install(&["ssl=on"]);
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = server.folder.path().join("data").join(name);
            std::fs::write(&path, pem).expect("writable");
            server.programs.give(&path);
        }
        server.resume();
        server
    }

    /// A server that is not started yet.
    fn install(settings: &[&'static str]) -> Self {
        let programs = Programs::find();
        let folder = tempfile::Builder::new().prefix("darktower-postgres-").tempdir().expect("a folder");
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, PASSWORD).expect("writable");
        programs.give(folder.path());
        programs.give(&password_file);
        let done = programs
            .command("initdb")
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"])
            .args(["--auth=scram-sha-256", "--no-sync", "--username", USER, "--pwfile"])
            .arg(&password_file)
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .output()
            .expect("initdb can be run");
        succeeded("initdb", &done);
        Self { programs, folder, settings: settings.to_vec(), port: 0, running: None }
    }

    /// Starts the server again after [`kill`](Self::kill), if it can be on the same port.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn resume(&mut self) {
        let mut said = String::new();
        // Between finding a port and using it, another process may take it.
        for attempt in 0..5 {
            if self.port == 0 || attempt > 0 {
                self.port = free_port();
            }
            match self.try_start() {
                Ok(running) => {
                    self.running = Some(running);
                    return;
                }
                Err(log) => said = log,
            }
        }
        panic!("PostgreSQL does not start; it says:\n{said}");
    }

    /// A new, empty database: its URL.
    ///
    /// # Panics
    /// If it cannot be created, for example because there is one of this name.
    pub(crate) fn database(&self, name: &str) -> String {
        let done = self
            .programs
            .command("createdb")
            .env("PGPASSWORD", PASSWORD)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--username", USER, name])
            .output()
            .expect("createdb can be run");
        succeeded("createdb", &done);
        self.url(name)
    }

    /// The URL of a database that exists; another one after [`resume`](Self::resume).
    pub(crate) fn url(&self, name: &str) -> String {
        let password =
            PASSWORD.replace('@', "%40").replace(' ', "%20").replace('/', "%2F").replace(':', "%3A");
        format!("postgres://{USER}:{password}@127.0.0.1:{}/{name}", self.port)
    }

    /// Ends every process of the server at once, as a crash of the machine would but for the disk.
    pub(crate) fn kill(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        let children = children_of(running.id());
        for process in std::iter::once(running.id()).chain(children.iter().copied()) {
            signal(process, Signal::KILL);
        }
        running.wait().expect("it ends");
        wait_until("the processes of PostgreSQL are gone", || {
            !children.iter().any(|&child| is_running(child))
        });
    }

    fn try_start(&self) -> Result<Child, String> {
        let data = self.folder.path().join("data");
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(self.folder.path()).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "lc_messages=C", "log_destination=stderr"]
            .iter()
            .chain(&self.settings)
        {
            command.args(["-c", setting]);
        }
        let mut running = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres can be run");
        let lines = lines_of(running.stderr.take().expect("is piped"));
        let deadline = Instant::now() + PATIENCE;
        let mut log = String::new();
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.contains(READY) {
                return Ok(running);
            }
            log.push_str(&line);
            log.push('\n');
        }
        signal(running.id(), Signal::QUIT);
        running.wait().expect("it ends");
        Err(log)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        // "Immediate shutdown": the server ends its processes and waits for them.
        signal(running.id(), Signal::QUIT);
        running.wait().ok();
    }
}

/// Where PostgreSQL's programs are and who runs them: they refuse to be run by root.
struct Programs {
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        // Debian keeps those of several versions apart; the newest of them.
        let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .map(|versions| versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect())
            .unwrap_or_default();
        debian.sort();
        folders.extend(debian.into_iter().rev());
        let folder = folders
            .into_iter()
            .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
            .expect(
                "this test runs a PostgreSQL server, and there are no programs initdb and postgres: run `cargo xtask \
                 setup`, or install the package postgresql",
            );
        let is_root = std::fs::metadata("/proc/self").expect("is Linux").uid() == 0;
        let user =
            is_root.then(|| account("postgres").or_else(|| account("nobody")).expect("an account but root"));
        Self { folder, user }
    }

    fn command(&self, program: &str) -> Command {
        let beside = self.folder.join(program);
        let mut command = Command::new(if beside.exists() { beside } else { program.into() });
        // What is set for the user's own PostgreSQL.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).expect("root may");
        }
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
}

/// User and group of an account of this machine.
fn account(name: &str) -> Option<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields =
        accounts.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn succeeded(program: &str, done: &Output) {
    assert!(done.status.success(), "{program} fails; it says:\n{}", String::from_utf8_lossy(&done.stderr));
}

/// The lines of a stream, read until its end whether or not somebody wants them: a full pipe would stop the writer.
fn lines_of(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    receiver
}

fn signal(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        kill_process(process, signal).ok();
    }
}

fn children_of(process: u32) -> Vec<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether there is such a process that has not ended; whoever inherited it may be slow to take note.
fn is_running(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}
