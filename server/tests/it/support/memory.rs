//! How much memory this process, server and clients together, takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

const INTERVAL: Duration = Duration::from_millis(20);

/// The largest resident memory from now on.
pub(crate) struct PeakMemory {
    before: usize,
    peak: Arc<AtomicUsize>,
    _watcher: AbortOnDropHandle<()>,
}

impl PeakMemory {
    pub(crate) fn watch() -> Self {
        let before = resident_bytes();
        let peak = Arc::new(AtomicUsize::new(before));
        let seen = Arc::clone(&peak);
        let watcher = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                ticks.tick().await;
                seen.fetch_max(resident_bytes(), Ordering::Relaxed);
            }
        });
        Self { before, peak, _watcher: AbortOnDropHandle::new(watcher) }
    }

    /// Bytes by which memory has grown at most.
    pub(crate) fn grown(&self) -> usize {
        self.peak.fetch_max(resident_bytes(), Ordering::Relaxed).max(resident_bytes()) - self.before
    }
}

/// Memory of this process in bytes.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("statm");
    pages * 4096
}
