//! The `darktower` program: reads the configuration, starts the server, stops it on a signal; or does what an operator asks.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use darktower_server::admin::{self, AdminArgs};
use darktower_server::config::{Config, Flags};
use darktower_server::telemetry::logs;
use tokio_util::sync::CancellationToken;

/// Connections allocate and free some small pieces per packet; see docs/decisions/0006-fan-out.md for what it saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Try it on this machine, with nothing to prepare:
  darktower serve --dev

Serve the world:
  darktower serve --public-url https://meet.example.org:4433 \\
    --tls-certificate fullchain.pem --tls-private-key privkey.pem
  darktower admin client create --name backend --scope meetings,tokens

Every setting can also be written in a TOML file (--config, or darktower.toml in the working directory) or in the
environment (DARKTOWER_ and the key in capitals, __ between its parts). Flags beat the environment, the environment
beats the file:
  darktower.toml                               environment
    data_dir = \"/var/lib/darktower\"              DARKTOWER_DATA_DIR=/var/lib/darktower
    listen = [\"[::]:4433\"]                       DARKTOWER_LISTEN=[::]:4433
    [tls]
    certificate = \"fullchain.pem\"                DARKTOWER_TLS__CERTIFICATE=fullchain.pem
    [limits]
    max_participants = 100                       DARKTOWER_LIMITS__MAX_PARTICIPANTS=100
    [rate_limits]                                (also login, meeting_create, meeting_join, failed_auth; 0 is off)
    general = 100                                DARKTOWER_RATE_LIMITS__GENERAL=100
    [cors]
    allowed_origins = [\"https://app.example.org\"]  DARKTOWER_CORS__ALLOWED_ORIGINS=https://app.example.org
An unknown key is refused, in the environment as well. Only DARKTOWER_SERVER, DARKTOWER_API_TOKEN and
DARKTOWER_JOIN_TOKEN, which darktower-client reads, and DARKTOWER_MEDIA_DIR of the tests are passed over.

--dev makes a short-lived certificate whose hash it prints and serves, answers the API without a token, serves API and
pages over plain HTTP too, and therefore refuses every address that is not loopback.

Signals: SIGINT or SIGTERM stops gracefully, a second one at once; SIGHUP reads the certificate files again.";

/// Dark Tower: a self-hosted meeting and media server that speaks QUIC end to end
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Try `darktower serve --dev`, and `darktower serve --help` for everything else."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until it is told to stop
    #[command(after_long_help = EXAMPLES, after_help = "`--help` shows examples, the configuration file and what --dev does.")]
    Serve(Box<Flags>),
    Admin(Box<AdminArgs>),
}

/// Sockets and files that the server may have open, if the system lets it.
#[cfg(unix)]
const MOST_DESCRIPTORS: u64 = 65_536;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(flags) => serve(&flags),
        Command::Admin(args) => administrate(*args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On standard error and not in the log: it may be the log that cannot start.
            eprintln!("darktower: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &Flags) -> anyhow::Result<()> {
    let config = Config::load(flags)?;
    logs::init(&config.log)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = Signals::listen().context("cannot listen for signals")?;
        tokio::spawn(signals.stop(shutdown.clone()));
        darktower_server::run(config, shutdown).await
    })
}

/// Every connection of the API is a file to the system, and the usual limit of 1,024 is for programs of another kind.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(current, most)| {
            let wanted = most.min(MOST_DESCRIPTORS);
            if current >= wanted { Ok(()) } else { setrlimit(Resource::RLIMIT_NOFILE, wanted, most) }
        });
        if let Err(error) = raised {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}

fn administrate(args: AdminArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(admin::run(args))
}

/// The signals that mean "stop", listened for from the start so that none is missed while the server starts.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// The next signal, as the status a shell reports for a program it killed.
    #[cfg(unix)]
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> i32 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 130,
            Err(_) => std::future::pending().await,
        }
    }

    /// The first signal stops the server gracefully, the second ends the process.
    async fn stop(mut self, shutdown: CancellationToken) {
        self.next().await;
        tracing::info!("stopping; a second signal stops at once");
        shutdown.cancel();
        let status = self.next().await;
        std::process::exit(status);
    }
}
