//! The threads of the tester: one runtime per client core for subscribers, and one for publishing, whose timers must
//! not wait behind a thousand subscribers.

use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::machine::Cores;

/// The runtimes, which end with this value.
#[derive(Debug)]
pub(crate) struct Runtimes {
    threads: Vec<Thread>,
    /// Where subscribers live, by turns.
    pub(crate) shards: Vec<Handle>,
    /// Where those live that only publish.
    pub(crate) publishing: Handle,
}

#[derive(Debug)]
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtimes {
    pub(crate) fn start(cores: &Cores) -> Result<Self> {
        let mut threads = Vec::new();
        let mut shards = Vec::new();
        for (number, core) in cores.shards().into_iter().enumerate() {
            let (thread, handle) = start_thread(format!("subscribers-{number}"), core)?;
            threads.push(thread);
            shards.push(handle);
        }
        let (thread, publishing) = start_thread("publishers".to_owned(), cores.clone())?;
        threads.push(thread);
        Ok(Self { threads, shards, publishing })
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            thread.stop.take();
        }
        for thread in &mut self.threads {
            if let Some(thread) = thread.thread.take() {
                // A panic was printed by the thread itself.
                let _ = thread.join();
            }
        }
    }
}

fn start_thread(name: String, cores: Cores) -> Result<(Thread, Handle)> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (started, handle) = mpsc::channel();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let runtime = cores.pin_this_thread().and_then(|()| {
            Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
        });
        match runtime {
            Ok(runtime) => {
                let _ = started.send(Ok(runtime.handle().clone()));
                // Ends when the other half is dropped.
                let _ = runtime.block_on(stopped);
            }
            Err(error) => drop(started.send(Err(error))),
        }
    })?;
    let handle = handle.recv().context("a thread of the tester did not start")??;
    Ok((Thread { stop: Some(stop), thread: Some(thread) }, handle))
}
