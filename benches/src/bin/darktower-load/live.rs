//! What is told while a run goes on: one line that renews itself on a terminal, a line now and then elsewhere. Standard
//! error only.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::measure::Server;
use crate::procfs::ProcessReading;

const RENEW: Duration = Duration::from_secs(1);
/// Between two lines where nobody sees them renewed.
const QUIET_RENEW: Duration = Duration::from_secs(5);

/// Tells what goes on.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: bool,
    said: Option<Instant>,
    open_line: bool,
}

impl Live {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        // Where lines cannot be renewed, a short run needs none.
        Self { terminal, said: (!terminal).then(Instant::now), open_line: false }
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, line: &str) {
        self.end_line();
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// A line that the next one replaces; thinned out where it cannot.
    pub(crate) fn renew(&mut self, line: &str) {
        let now = Instant::now();
        let (pause, mut out) =
            (if self.terminal { RENEW / 5 } else { QUIET_RENEW }, std::io::stderr().lock());
        if self.said.is_some_and(|said| now < said + pause) {
            return;
        }
        self.said = Some(now);
        // Whoever closed the pipe does not want to know.
        if self.terminal {
            let _ = write!(out, "\r\x1b[K{line}");
            let _ = out.flush();
            self.open_line = true;
        } else {
            let _ = writeln!(out, "{line}");
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// Waits, and tells every second how the window goes.
    pub(crate) async fn watch_until(
        &mut self,
        until: Instant,
        fleet: &Fleet,
        server: &mut Server,
    ) -> Result<()> {
        let mut before = self.reading(server);
        loop {
            let next = Instant::now() + RENEW;
            tokio::time::sleep_until(next.min(until)).await;
            if next >= until {
                return Ok(());
            }
            server.check()?;
            let now = self.reading(server);
            let percent = match (&now, &before) {
                (Some(now), Some(before)) => {
                    let used = now.since(before);
                    format!(", server {:.0} % of a core", used.cpu_s / used.wall_s * 100.0)
                }
                _ => String::new(),
            };
            before = now;
            let tally = fleet.tally();
            let p99 = tally.latency_us.iter().map(|latency| latency.value_at_quantile(0.99)).max();
            self.renew(&format!(
                "{}: {} subscribers, {} units, {:.2} Gbit, slowest p99 {:.1} ms{percent}{}",
                server.name(),
                fleet.subscriber_count(),
                tally.units,
                tally.bytes as f64 * 8.0 / 1e9,
                p99.unwrap_or(0) as f64 / 1000.0,
                if tally.mismatches > 0 { ", MISMATCHES" } else { "" },
            ));
        }
    }

    /// A reading costs a little, and only a terminal shows it.
    fn reading(&self, server: &Server) -> Option<ProcessReading> {
        self.terminal.then(|| server.pid().and_then(|pid| ProcessReading::take(pid).ok())).flatten()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end_line();
    }
}
