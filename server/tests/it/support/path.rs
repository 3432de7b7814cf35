//! A path with a bottleneck: UDP packets between clients and a server, delayed, queued and dropped as a router does.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// bit/s; 0 = as fast as possible.
    rate: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Path {
    pub(crate) async fn open() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        Self { socket: Arc::new(socket), rate: Arc::default(), tasks: JoinSet::new() }
    }

    /// Where clients find the server.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.socket.local_addr().expect("bound"))
    }

    /// Begins to forward to the server.
    pub(crate) fn lead_to(&mut self, server: SocketAddr) {
        self.tasks.spawn(forward(Arc::clone(&self.socket), Arc::clone(&self.rate), server));
    }

    /// bit/s to each client from now on; 0 = as fast as possible.
    pub(crate) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }
}

async fn forward(socket: Arc<UdpSocket>, rate: Arc<AtomicU64>, server: SocketAddr) {
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
                tasks.spawn(enqueue(Arc::clone(&upstream), Arc::clone(&rate), queue));
                tasks.spawn(deliver(queued, Arc::clone(&socket), client));
                upstream
            }
        };
        // A packet that the system does not take is lost, as on any path.
        let _lost = upstream.send(&packet[..len]).await;
    }
}

/// Packets from the server, with the time at which each has passed the bottleneck.
async fn enqueue(
    upstream: Arc<UdpSocket>,
    rate: Arc<AtomicU64>,
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
        let takes = (len as u64 * 8_000_000).checked_div(rate.load(Ordering::Relaxed)).unwrap_or(0);
        busy_until = begins + Duration::from_micros(takes);
        if queue.send((busy_until + DELAY, packet[..len].to_vec())).is_err() {
            return;
        }
    }
}

async fn deliver(
    mut queued: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
) {
    while let Some((at, packet)) = queued.recv().await {
        tokio::time::sleep_until(at).await;
        let _lost = socket.send_to(&packet, client).await;
    }
}
