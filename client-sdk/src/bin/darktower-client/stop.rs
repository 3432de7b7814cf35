//! Ctrl-C and SIGTERM: the first asks the command to end in order, a second one ends the program.

use std::process;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A second signal this soon is the first one again: the terminal signals a whole process group, and a parent in
/// it may pass its own on.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Exit status of a program that SIGINT ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// Whether the command was asked to end. Clones share the answer.
#[derive(Debug, Clone)]
pub(crate) struct Stop(CancellationToken);

impl Stop {
    /// Listens from now on. Needs a runtime.
    pub(crate) fn on_signals() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let token = CancellationToken::new();
        let stop = Self(token.clone());
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                match first {
                    Some(first) if first.elapsed() > SAME_SIGNAL => process::exit(INTERRUPTED),
                    Some(_) => {}
                    None => {
                        first = Some(Instant::now());
                        token.cancel();
                    }
                }
            }
        });
        Ok(stop)
    }

    /// Waits until it was. Cancel-safe.
    pub(crate) async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Waits until it was, or for `limit` if there is one.
    pub(crate) async fn requested_within(&self, limit: Option<Duration>) {
        match limit {
            Some(limit) => drop(tokio::time::timeout(limit, self.requested()).await),
            None => self.requested().await,
        }
    }

    /// Cancelled when it was.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.0
    }

    /// Whether it was.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}
