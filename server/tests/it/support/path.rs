//! A path with a bottleneck: UDP packets between clients and a server, delayed, queued and dropped as a router does; and cut
//! off for a while.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One way, on top of what waits in the queue.
const DELAY: Duration = Duration::from_millis(40);
/// What the router's queue holds; the rest is dropped.
const QUEUE: Duration = Duration::from_millis(200);

/// Stands between clients and the server; ends when dropped. The bottleneck is on the way to each client.
pub(crate) struct Path {
    socket: Arc<UdpSocket>,
    road: Arc<Road>,
    tasks: JoinSet<()>,
}

/// What becomes of packets.
#[derive(Default)]
struct Road {
    /// bit/s; 0 = as fast as possible.
    rate: AtomicU64,
    cut: Mutex<Cut>,
}

#[derive(Default)]
struct Cut {
    is_cut: bool,
    /// Everybody who has come this way, in that order.
    known: Vec<SocketAddr>,
    /// How many of them had when it was cut.
    known_before: usize,
    /// Who is cut off in any case.
    blocked: HashSet<SocketAddr>,
    /// Who is never cut off.
    spared: HashSet<SocketAddr>,
}

impl Road {
    fn cut(&self) -> MutexGuard<'_, Cut> {
        self.cut.lock().expect("no code panics while it holds this lock")
    }

    /// Whether a packet from or to this client passes.
    fn passes(&self, client: SocketAddr) -> bool {
        let mut cut = self.cut();
        if !cut.known.contains(&client) {
            cut.known.push(client);
        }
        !cut.blocked.contains(&client) && (!cut.is_cut || cut.spared.contains(&client))
    }
}

impl Path {
    pub(crate) async fn open() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        Self { socket: Arc::new(socket), road: Arc::default(), tasks: JoinSet::new() }
    }

    /// Where clients find the server.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.socket.local_addr().expect("bound"))
    }

    /// Begins to forward to the server, and to no other any more.
    pub(crate) fn lead_to(&mut self, server: SocketAddr) {
        self.tasks.abort_all();
        self.tasks.spawn(forward(Arc::clone(&self.socket), Arc::clone(&self.road), server));
    }

    /// Whoever has come this way before is not cut off.
    pub(crate) fn spare_those_who_are_here(&self) {
        let mut cut = self.road.cut();
        cut.spared = cut.known.iter().copied().collect();
    }

    /// From now on nothing arrives, whichever way, also of who comes anew.
    pub(crate) fn cut(&self) {
        let mut cut = self.road.cut();
        cut.is_cut = true;
        cut.known_before = cut.known.len();
    }

    /// Cuts one connection off for good: the `n`th of those that are there, from the last, which is 0.
    pub(crate) fn cut_one(&self, n: usize) {
        let mut cut = self.road.cut();
        let client = *cut.known.iter().rev().nth(n).expect("there are as many");
        cut.blocked.insert(client);
    }

    /// What was there when the path was cut carries again, and nothing that has come since.
    pub(crate) fn mend_for_those_before(&self) {
        let mut cut = self.road.cut();
        cut.spared = cut.known[..cut.known_before].iter().copied().collect();
    }

    /// Everything arrives again but what was there, and was cut off, when the path was cut.
    pub(crate) fn mend_for_those_since(&self) {
        let mut cut = self.road.cut();
        let Cut { known, known_before, spared, .. } = &*cut;
        let lost: Vec<_> =
            known[..*known_before].iter().copied().filter(|one| !spared.contains(one)).collect();
        cut.blocked.extend(lost);
        cut.is_cut = false;
    }

    /// Everything arrives again.
    pub(crate) fn mend(&self) {
        self.road.cut().is_cut = false;
    }

    /// bit/s to each client from now on; 0 = as fast as possible.
    pub(crate) fn set_rate(&self, rate: u64) {
        self.road.rate.store(rate, Ordering::Relaxed);
    }
}

async fn forward(socket: Arc<UdpSocket>, road: Arc<Road>, server: SocketAddr) {
    let mut flows = HashMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut tasks = JoinSet::new();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((len, client)) = socket.recv_from(&mut packet).await else { continue };
        let upstream = match flows.get(&client) {
            Some(upstream) => Arc::clone(upstream),
            None => {
                let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
                upstream.connect(server).await.expect("the server's address");
                let upstream = Arc::new(upstream);
                flows.insert(client, Arc::clone(&upstream));
                let (queue, queued) = mpsc::unbounded_channel();
                tasks.spawn(enqueue(Arc::clone(&upstream), Arc::clone(&road), queue));
                tasks.spawn(deliver(queued, Arc::clone(&socket), Arc::clone(&road), client));
                upstream
            }
        };
        if !road.passes(client) {
            continue;
        }
        // A packet that the system does not take is lost, as on any path.
        let _lost = upstream.send(&packet[..len]).await;
    }
}

/// Packets from the server, with the time at which each has passed the bottleneck.
async fn enqueue(
    upstream: Arc<UdpSocket>,
    road: Arc<Road>,
    queue: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
) {
    let mut packet = vec![0; 65_536];
    let mut busy_until = Instant::now();
    loop {
        let Ok(len) = upstream.recv(&mut packet).await else { continue };
        let now = Instant::now();
        let begins = busy_until.max(now);
        if begins > now + QUEUE {
            continue;
        }
        let takes = (len as u64 * 8_000_000).checked_div(road.rate.load(Ordering::Relaxed)).unwrap_or(0);
        busy_until = begins + Duration::from_micros(takes);
        if queue.send((busy_until + DELAY, packet[..len].to_vec())).is_err() {
            return;
        }
    }
}

async fn deliver(
    mut queued: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    socket: Arc<UdpSocket>,
    road: Arc<Road>,
    client: SocketAddr,
) {
    while let Some((at, packet)) = queued.recv().await {
        tokio::time::sleep_until(at).await;
        if road.passes(client) {
            let _lost = socket.send_to(&packet, client).await;
        }
    }
}
