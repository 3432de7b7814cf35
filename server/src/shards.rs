//! The threads that carry media: each runs one shard, its sockets and its connections, on a runtime of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use darktower_core::media::fanout::FanoutSettings;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::media_handler::{Shard, TelemetrySink};

/// How often a shard looks at how busy its thread is.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// A running shard. Its thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ShardThread {
    /// How others reach its pump.
    pub(crate) shard: Arc<Shard>,
    /// Where its endpoints and sessions run.
    pub(crate) runtime: Handle,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl ShardThread {
    /// Starts the thread of shard `index`, which tells `telemetry` how its sessions are.
    pub(crate) fn start(
        index: usize,
        settings: FanoutSettings,
        telemetry: Arc<dyn TelemetrySink>,
    ) -> io::Result<Self> {
        let (shard, pump) = Shard::new(index, settings, telemetry);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let (stopped, measured) = (stop.clone(), Arc::clone(&shard));
        let ended = CancellationToken::new();
        let ends = ended.clone().drop_guard();
        std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let _however = ends;
            runtime.block_on(async move {
                tokio::select! {
                    () = pump.run() => {}
                    () = measure_load(&measured) => {}
                    () = stopped.cancelled() => {}
                }
            });
            // What is left of sessions and endpoints ends with the runtime.
        })?;
        Ok(Self { shard, runtime: handle, stop, ended })
    }

    /// Waits until the thread has ended, which it does by itself only if something in it has panicked.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for ShardThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn measure_load(shard: &Shard) {
    let gauge = metrics::gauge!("media_shard_load", "shard" => shard.index().to_string());
    gauge.set(0.0);
    let mut ticks = tokio::time::interval(LOAD_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Option<(tokio::time::Instant, Duration)> = None;
    loop {
        let now = ticks.tick().await;
        let Some(busy) = thread_cpu_time() else { return std::future::pending().await };
        if let Some((since, busy_before)) = before {
            let passed = now.saturating_duration_since(since);
            let load = busy.saturating_sub(busy_before).as_secs_f64() / passed.as_secs_f64().max(0.001);
            shard.set_load(load);
            gauge.set(load);
        }
        before = Some((now, busy));
    }
}

/// CPU time that this thread has used, where the system tells.
fn thread_cpu_time() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = statistics.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
