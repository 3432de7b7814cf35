//! What writes cost. Not part of the suite: prints figures, for who changes how writes are made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::examples::{arrival, meeting, participant, stored_organization};
use crate::storage::store::Store;

const FOR: Duration = Duration::from_secs(3);

/// Prints CPU time of the process and latency per write, with one caller and with 64 at once.
pub(in super::super) async fn print(store: Arc<dyn Store>) {
    let organization = stored_organization(&*store).await.id;
    let (meeting, host) = meeting(organization);
    store.create_meeting(&meeting, &host).await.expect("stored");
    for callers in [1, 64] {
        let issue = {
            let (store, meeting) = (Arc::clone(&store), meeting.id);
            move || {
                let store = Arc::clone(&store);
                async move { store.issue_participant(&participant(meeting)).await.expect("stored") }
            }
        };
        measure("issue_participant", callers, issue).await;
        let (store, meeting) = (Arc::clone(&store), meeting.id);
        measure("issue_participant and arrive", callers, move || {
            let store = Arc::clone(&store);
            async move {
                let participant = participant(meeting);
                store.issue_participant(&participant).await.expect("stored");
                store.arrive(&arrival(&participant, 1)).await.expect("stored").expect("joined");
            }
        })
        .await;
    }
}

async fn measure<F>(what: &str, callers: usize, write: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let (cpu, start) = (cpu_time(), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let write = write.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < FOR {
                    let before = Instant::now();
                    write().await;
                    latencies.push(before.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no panic"));
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
    latencies.sort();
    let writes = u32::try_from(latencies.len()).expect("not so many");
    println!(
        "{what}, {callers} at once: {:.0}/s, {:.1} µs of CPU each, p50 {:?}, p99 {:?}",
        f64::from(writes) / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(writes),
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
    );
}

/// CPU time of the threads of this process so far.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    threads
        .filter_map(|thread| {
            let statistics = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            statistics.split_ascii_whitespace().next()?.parse().ok()
        })
        .map(Duration::from_nanos)
        .sum()
}
