//! UDP sockets: one per shard at the same port, and packets to the shard that their connection lives in.
//!
//! The kernel hands a packet to one of the sockets of a port by a small filter program, which looks at the first byte
//! of the destination connection ID. Connection IDs that this server gives out have the shard's number in it
//! ([`ShardConnectionIds`]), so a connection stays with its shard although the client's address changes (NAT
//! rebinding, migration). What a client chooses for its first packet is random: whoever gets it owns the connection.

use std::fmt::Debug;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::Counter;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Runtime as _, TokioRuntime, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};

use crate::telemetry::histogram::{Family, Histogram};

/// Bytes of a connection ID: enough that they never collide, few enough to be cheap in every packet.
const CONNECTION_ID_LEN: usize = 8;

/// Shards are told apart by one byte.
pub(crate) const MAX_SHARDS: usize = 64;

/// Bytes the kernel holds for one socket in each direction: a pass of key frames to 300 subscribers is 18 MB, of which
/// some hundred packets may wait at a time; the acknowledgements of as many clients come in bursts.
const BUFFER_BYTES: usize = 4 << 20;

/// Binds one UDP socket for each of `shards` shards to the same address.
pub(crate) fn bind_group(address: SocketAddr, shards: usize) -> io::Result<Vec<UdpSocket>> {
    if shards == 1 {
        return Ok(vec![bind(address, false)?]);
    }
    // Sharing a port with the sockets of another server would split its packets: it must be free.
    drop(bind(address, false)?);
    let sockets = (0..shards).map(|_| bind(address, true)).collect::<io::Result<Vec<_>>>()?;
    if let Some(first) = sockets.first() {
        steer_by_connection_id(first, shards)?;
    }
    Ok(sockets)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if shared {
        share_port(&socket)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(target_os = "linux")]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(target_os = "linux"))]
fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "more than one shard needs Linux; set media.shards = 1"))
}

/// Makes the kernel choose the socket (in the order of binding) by the first byte of the connection ID.
#[cfg(target_os = "linux")]
fn steer_by_connection_id(socket: &UdpSocket, shards: usize) -> io::Result<()> {
    use nix::libc::{
        BPF_ABS, BPF_ALU, BPF_B, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_MOD, BPF_RET, sock_filter, sock_fprog,
    };
    use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};

    const BPF_A: u32 = 0x10;
    let step = |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: code as u16, jt, jf, k };
    // RFC 9000 section 17: a long header is marked by the highest bit, and has version (4) and length (1) before the
    // destination connection ID; in a short header it follows the first byte.
    let mut program = [
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        step(BPF_JMP | BPF_JSET | BPF_K, 0, 2, 0x80),
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 6),
        step(BPF_JMP, 0, 0, 1),
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 1),
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, shards as u32),
        step(BPF_RET | BPF_A, 0, 0, 0),
    ];
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(socket, AttachReusePortCbpf, &program)?)
}

#[cfg(not(target_os = "linux"))]
fn steer_by_connection_id(_socket: &UdpSocket, _shards: usize) -> io::Result<()> {
    Ok(())
}

/// Asks for large socket buffers, and returns what was granted to receive and to send.
pub(crate) fn enlarge_buffers(socket: &UdpSocket) -> io::Result<(usize, usize)> {
    // Beyond the system's bounds, if this process may.
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt};
        let _not_allowed = setsockopt(socket, sockopt::RcvBufForce, &BUFFER_BYTES);
        let _not_allowed = setsockopt(socket, sockopt::SndBufForce, &BUFFER_BYTES);
    }
    let socket = socket2::SockRef::from(socket);
    if socket.recv_buffer_size()? < BUFFER_BYTES {
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
    }
    if socket.send_buffer_size()? < BUFFER_BYTES {
        socket.set_send_buffer_size(BUFFER_BYTES)?;
    }
    Ok((socket.recv_buffer_size()?, socket.send_buffer_size()?))
}

/// What to do about buffers that are smaller than asked for; `None` if they are not.
pub(crate) fn buffer_advice(granted: (usize, usize)) -> Option<String> {
    let (receive, send) = granted;
    (receive < BUFFER_BYTES || send < BUFFER_BYTES).then(|| {
        format!(
            "UDP socket buffers are {} KiB to receive and {} KiB to send instead of {} KiB: bursts of many clients \
             will lose packets. Raise the system's bounds: \
             sysctl -w net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}",
            receive >> 10,
            send >> 10,
            BUFFER_BYTES >> 10,
        )
    })
}

/// Makes connection IDs whose first byte says which shard they belong to.
#[derive(Debug)]
pub(super) struct ShardConnectionIds {
    pub(super) shard: usize,
    pub(super) shards: usize,
}

impl ConnectionIdGenerator for ShardConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LEN];
        aws_lc_rs::rand::fill(&mut id).expect("the system had randomness when the server started");
        let [first, ..] = &mut id;
        *first = steered(*first, self.shard, self.shards);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The byte nearest below `random` (or, at the lower end, above) that the filter sends to `shard`.
fn steered(random: u8, shard: usize, shards: usize) -> u8 {
    let whole = usize::from(random) / shards * shards + shard;
    let fits = if whole > usize::from(u8::MAX) { whole - shards } else { whole };
    fits as u8
}

/// Whether the port has other sockets, which are those of the other shards.
#[cfg(target_os = "linux")]
fn shares_port(socket: &UdpSocket) -> io::Result<bool> {
    socket2::SockRef::from(socket).reuse_port()
}

#[cfg(not(target_os = "linux"))]
fn shares_port(_socket: &UdpSocket) -> io::Result<bool> {
    Ok(false)
}

/// Keeps the kernel from joining packets.
///
/// It joins those that come from one address to one port one after the other and have the same size, whatever is in
/// them, and hands them together to the socket that the first one belongs to. A client may have several connections
/// behind one address (its signaling and its media session, or those of several clients behind a proxy), and these
/// live in different shards: packets of the others would be lost.
#[cfg(target_os = "linux")]
fn keep_packets_apart(socket: &UdpSocket) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};

    match setsockopt(socket, UdpGroSegment, &false) {
        // A kernel that does not know how to join packets does not know the option either.
        Ok(()) | Err(Errno::ENOPROTOOPT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_packets_apart(_socket: &UdpSocket) -> io::Result<()> {
    Ok(())
}

/// `_count` is the number of system calls, `_sum` that of packets.
static SEND_SEGMENTS: Family = Family {
    name: "quic_udp_send_segments",
    help: "QUIC packets (UDP datagrams) handed to the kernel in one system call.",
    bounds: &[1, 2, 3, 4, 6, 8, 10, 16, 32, 64],
    per_base_unit: 1,
};

/// A tokio socket that counts what goes through it.
#[derive(Debug)]
pub(super) struct CountedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// The most packets that one receive buffer may hold.
    max_receive_segments: usize,
    segments_out: Arc<Histogram>,
    bytes_out: Counter,
    datagrams_in: Counter,
}

impl CountedSocket {
    /// Must be called inside the runtime of the socket's shard.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let same = socket.try_clone()?;
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let max_receive_segments = match shares_port(&same)? {
            // Here and not when the socket was made: the library turns it on.
            true => keep_packets_apart(&same).map(|()| 1)?,
            false => inner.max_receive_segments(),
        };
        Ok(Self {
            inner,
            max_receive_segments,
            segments_out: Histogram::register(&SEND_SEGMENTS, None),
            bytes_out: metrics::counter!("quic_udp_bytes_sent_total"),
            datagrams_in: metrics::counter!("quic_udp_datagrams_received_total"),
        })
    }
}

impl AsyncUdpSocket for CountedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        let len = transmit.contents.len();
        self.segments_out.record(transmit.segment_size.map_or(1, |size| len.div_ceil(size) as u64), 1);
        self.bytes_out.increment(len as u64);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = std::task::ready!(self.inner.poll_recv(cx, bufs, meta))?;
        let datagrams = meta.iter().take(received).map(|meta| meta.len.div_ceil(meta.stride.max(1)) as u64);
        self.datagrams_in.increment(datagrams.sum());
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.max_receive_segments
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_lead_back_to_their_shard() {
        for shards in 1..=MAX_SHARDS {
            for shard in 0..shards {
                for random in 0..=u8::MAX {
                    assert_eq!(usize::from(steered(random, shard, shards)) % shards, shard);
                }
                let mut ids = ShardConnectionIds { shard, shards };
                let id = ids.generate_cid();
                assert_eq!((id.len(), usize::from(id[0]) % shards), (CONNECTION_ID_LEN, shard));
            }
        }
    }

    /// The kernel's side of the same rule, with packets as QUIC has them.
    #[test]
    fn packets_reach_the_socket_of_their_shard() {
        let shards = 4;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let port = bind(any, false).expect("bound").local_addr().expect("an address").port();
        let sockets = bind_group(SocketAddr::from(([127, 0, 0, 1], port)), shards).expect("bound");
        for socket in &sockets {
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        }
        let to = sockets[0].local_addr().expect("an address");
        for n in 0..32u8 {
            // Every packet from another address: only the connection ID can lead it.
            let client = UdpSocket::bind(any).expect("bound");
            let shard = usize::from(n) % shards;
            let id = steered(n.wrapping_mul(37), shard, shards);
            let short = [0x40, id, 1, 2, 3, 4, 5, 6, 7, n];
            let long = [0xc0, 0, 0, 0, 1, 8, id, 1, 2, 3, 4, 5, 6, 7, n];
            for packet in [&short[..], &long[..]] {
                client.send_to(packet, to).expect("sent");
                let mut buffer = [0; 32];
                let (len, from) = sockets[shard].recv_from(&mut buffer).expect("it came to its shard");
                assert_eq!((&buffer[..len], from), (packet, client.local_addr().expect("an address")));
            }
        }
    }

    #[test]
    fn a_port_in_use_is_not_shared() {
        let first = bind_group(SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("bound");
        let address = first[0].local_addr().expect("an address");
        assert_eq!(bind_group(address, 2).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn packets_of_several_connections_are_joined_only_where_all_live_in_one_shard() {
        use nix::sys::socket::{getsockopt, sockopt::UdpGroSegment};

        for shards in [1, 2] {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let port = bind(any, false).expect("bound").local_addr().expect("an address").port();
            let sockets = bind_group(SocketAddr::from(([127, 0, 0, 1], port)), shards).expect("bound");
            for socket in sockets {
                let same = socket.try_clone().expect("another handle");
                let counted = CountedSocket::new(socket).expect("a socket of this runtime");
                let joins = getsockopt(&same, UdpGroSegment).expect("Linux 5.0 or newer");
                assert_eq!(joins, shards == 1);
                assert_eq!(counted.max_receive_segments() > 1, joins);
            }
        }
    }

    #[test]
    fn buffers_that_were_clamped_come_with_the_remedy() {
        assert_eq!(buffer_advice((BUFFER_BYTES, 2 * BUFFER_BYTES)), None);
        let advice = buffer_advice((212_992, BUFFER_BYTES)).expect("too small");
        assert!(
            advice.contains("208 KiB to receive") && advice.contains("net.core.rmem_max=4194304"),
            "{advice}"
        );
    }
}
