//! New connections in place of one that is lost.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::debug;

use crate::error::Error;
use crate::session::reconnect::Pace;
use crate::transport::{Connection, Origin, Role, TransportKind};

/// How a server is reached.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) url: String,
    pub(crate) kind: TransportKind,
    pub(crate) role: Role,
    /// Of no socket: every connection has its own.
    pub(crate) origin: Origin,
}

impl Route {
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        self.origin.connect(&self.url, self.kind, self.role).await
    }
}

/// Attempts in parallel, each with a socket of its own: the network may be another one. Dropped, all are given up.
#[derive(Debug)]
pub(crate) struct Dialing {
    route: Route,
    pace: Pace,
    attempts: JoinSet<Result<Connection, Error>>,
}

impl Dialing {
    pub(crate) fn new(route: Route, rtt: Duration) -> Self {
        // Random, as hash tables are.
        let seed = RandomState::new().build_hasher().finish();
        Self { route, pace: Pace::new(Instant::now(), rtt, seed), attempts: JoinSet::new() }
    }

    /// Goes on after a server that was reached could not help.
    pub(crate) fn put_off(&mut self) {
        self.pace.put_off(Instant::now());
    }

    /// The first connection that there is; the other attempts end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                biased;
                Some(attempt) = self.attempts.join_next() => match attempt {
                    Ok(Ok(connection)) => {
                        self.attempts.abort_all();
                        return connection;
                    }
                    Ok(Err(error)) => debug!(%error, "an attempt to connect failed"),
                    // Given up.
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(self.pace.next().into()) => {
                    let (route, life) = (self.route.clone(), self.pace.begin(Instant::now()));
                    self.attempts.spawn(async move {
                        let late = Error::Timeout("no answer to an attempt to connect");
                        tokio::time::timeout(life, route.connect()).await.unwrap_or(Err(late))
                    });
                }
            }
        }
    }
}
