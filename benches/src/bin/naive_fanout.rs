//! `naive-fanout`: the reference that Dark Tower's cost is compared with. What one writes in an afternoon on quinn, and
//! nothing clever: a unit becomes one `Bytes`, a broadcast channel per room carries it to one task per subscriber, which
//! writes it to a long-lived stream, or sends it as a datagram of its own if it is audio.
//!
//! It prints one line of JSON, `{"address":…,"certificate_sha256":…}`, serves until its standard input ends, and speaks
//! the protocol of [`darktower_benches::naive`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use clap::Parser;
use darktower_benches::naive::{HELLO_LEN, Hello, READY};
use darktower_client::Trust;
use darktower_protocol::version::ALPN_MEDIA;
use darktower_protocol::{HEADER_LEN, Header, StreamId};
use quinn::crypto::rustls::QuicServerConfig;
use tokio::sync::{broadcast, oneshot};

/// UDP socket buffers; the kernel clamps them to net.core.{r,w}mem_max.
const SOCKET_BUFFER: usize = 4 << 20;
/// Units of a room that wait for the slowest subscriber.
const ROOM_QUEUE: usize = 256;

/// The reference server of `darktower-load`; started by it
#[derive(Parser)]
struct Args {
    /// UDP address to listen on
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    listen: SocketAddr,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Audio,
    Video,
}

#[derive(Clone)]
struct Unit {
    publisher: usize,
    kind: Kind,
    /// Of the stream, among those of its kind in the room.
    number: u32,
    wire: Bytes,
}

struct Room {
    units: broadcast::Sender<Unit>,
    audio_streams: u32,
    video_streams: u32,
}

type Rooms = Arc<Mutex<HashMap<u32, Room>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(args.listen),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&args.listen.into()).with_context(|| format!("cannot bind {}", args.listen))?;

    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let hash = Trust::hash(certificate.cert.der());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())?;
    tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(5)));
    transport.initial_rtt(Duration::from_millis(100));
    config.transport_config(Arc::new(transport));
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint =
        quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket.into(), runtime)?;

    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{}", serde_json::json!({ "address": endpoint.local_addr()?, "certificate_sha256": hash }));
    let rooms = Rooms::default();
    let accepting = async {
        let mut number = 0;
        while let Some(incoming) = endpoint.accept().await {
            number += 1;
            tokio::spawn(serve(incoming, number, Arc::clone(&rooms)));
        }
    };
    // Standard input is the leash: whoever started this holds the other end.
    let (let_go, leash) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(let_go);
    });
    tokio::select! {
        () = accepting => {}
        _ = leash => {}
    }
    endpoint.close(0u32.into(), b"");
    Ok(())
}

/// One client. Its tasks end with its connection, and errors of one client are nobody else's business.
async fn serve(incoming: quinn::Incoming, publisher: usize, rooms: Rooms) -> Result<()> {
    let connection = incoming.await?;
    let (mut answer, mut hello) = connection.accept_bi().await?;
    let mut bytes = [0; HELLO_LEN];
    hello.read_exact(&mut bytes).await?;
    let hello = Hello::decode(&bytes);
    let (units, audio, video) = {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(hello.room).or_insert_with(|| Room {
            units: broadcast::Sender::new(ROOM_QUEUE),
            audio_streams: 0,
            video_streams: 0,
        });
        let (audio, video) = (room.audio_streams, room.video_streams);
        room.audio_streams += hello.audio_streams;
        room.video_streams += hello.video_streams;
        (room.units.clone(), audio, video)
    };
    if hello.wanted_audio > 0 || hello.wanted_video > 0 {
        tokio::spawn(subscribe(connection.clone(), units.subscribe(), publisher, hello));
    }
    answer.write_all(&[READY]).await?;

    tokio::spawn(read_video(connection.clone(), units.clone(), publisher, video));
    while let Ok(wire) = connection.read_datagram().await {
        // Nobody listening is no error.
        let _ = units.send(Unit { publisher, kind: Kind::Audio, number: audio, wire });
    }
    Ok(())
}

async fn read_video(
    connection: quinn::Connection,
    units: broadcast::Sender<Unit>,
    publisher: usize,
    number: u32,
) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let units = units.clone();
        tokio::spawn(async move {
            let mut head = [0; HEADER_LEN];
            while stream.read_exact(&mut head).await.is_ok() {
                let Ok(header) = Header::parse(&head) else { return };
                let mut wire = BytesMut::zeroed(header.wire_len());
                let (front, payload) = wire.split_at_mut(HEADER_LEN);
                front.copy_from_slice(&head);
                if stream.read_exact(payload).await.is_err() {
                    return;
                }
                let _ = units.send(Unit { publisher, kind: Kind::Video, number, wire: wire.freeze() });
            }
        });
    }
}

async fn subscribe(
    connection: quinn::Connection,
    mut units: broadcast::Receiver<Unit>,
    publisher: usize,
    wanted: Hello,
) -> Result<()> {
    let mut streams: HashMap<StreamId, quinn::SendStream> = HashMap::new();
    loop {
        let unit = match units.recv().await {
            Ok(unit) => unit,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        if unit.publisher == publisher {
            continue;
        }
        if unit.kind == Kind::Audio {
            if unit.number < wanted.wanted_audio {
                connection.send_datagram(unit.wire)?;
            }
            continue;
        }
        if unit.number >= wanted.wanted_video {
            continue;
        }
        let id = Header::parse(&unit.wire)?.stream_id();
        let stream = match streams.entry(id) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(connection.open_uni().await?),
        };
        stream.write_chunk(unit.wire).await?;
    }
}
