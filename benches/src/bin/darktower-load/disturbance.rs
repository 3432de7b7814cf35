//! Participants that misbehave for as long as a run lasts, beside those who are measured: what they cost shows in the
//! server's figures, and what they break in the others' units.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use darktower_client::api::Api;
use darktower_client::signaling::{SignalingClient, pb};
use darktower_client::transport::quic_client_config;
use darktower_client::{Code, Features, MeetingId, StreamId, TransportKind, Trust};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::message;
use darktower_protocol::version::{ALPN_MEDIA, PROTOCOL_VERSION};
use pb::envelope::Message;
use pb::media_client_message::Message as ClientMessage;
use quinn::VarInt;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// What a slow reader takes before the server has to wait for it: little, so that it is slow from the start.
const SLOW_WINDOW: u32 = 64 << 10;
/// How often those that read at all take a packet's worth.
const TRICKLE: Duration = Duration::from_millis(100);
/// From one bad thing of a hostile client to its next.
const HOSTILE_PAUSE: Duration = Duration::from_millis(20);
/// QUIC streams that a hostile client leaves open at most.
const HOSTILE_STREAMS: usize = 32;
/// Before a session that was ended is followed by the next.
const REJOIN_PAUSE: Duration = Duration::from_millis(200);

/// How many of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disturbers {
    pub(crate) slow_readers: usize,
    pub(crate) hostile: usize,
}

impl Disturbers {
    pub(crate) fn count(self) -> usize {
        self.slow_readers + self.hostile
    }
}

/// A meeting to disturb.
#[derive(Debug, Clone)]
pub(crate) struct Victim {
    pub(crate) meeting: MeetingId,
    pub(crate) streams: Vec<StreamId>,
}

/// Those who disturb; they go when this is dropped.
#[derive(Debug)]
pub(crate) struct Disturbance {
    disturbers: Disturbers,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    too_slow: AtomicU64,
    other_ends: AtomicU64,
    bad_streams: AtomicU64,
    bad_datagrams: AtomicU64,
    refused: AtomicU64,
}

/// What they did, for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DisturbanceFigures {
    /// Participants that subscribe to everything and do not read, every second one a packet's worth in 100 ms.
    pub(crate) slow_readers: usize,
    /// Participants that send garbage, halves and resets over and over.
    pub(crate) hostile: usize,
    /// Sessions that the server ended with `TOO_SLOW`; each is followed by a new one.
    pub(crate) ended_too_slow: u64,
    /// Sessions of both kinds that ended otherwise.
    pub(crate) ended_otherwise: u64,
    pub(crate) bad_streams: u64,
    pub(crate) bad_datagrams: u64,
    /// Bad streams that the server has stopped with a code so far.
    pub(crate) refused_streams: u64,
}

impl Disturbance {
    /// Returns when all of them are in.
    pub(crate) async fn start(
        api: &Api,
        victims: &[Victim],
        disturbers: Disturbers,
        runtime: &Handle,
    ) -> Result<Self> {
        ensure!(!victims.is_empty(), "there is no meeting to disturb");
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        for number in 0..disturbers.count() {
            let is_hostile = number >= disturbers.slow_readers;
            let disturber = Disturber {
                api: api.clone(),
                victim: victims[number % victims.len()].clone(),
                number,
                is_hostile,
                counts: Arc::clone(&counts),
            };
            let joining = disturber.clone();
            let session = runtime.spawn(async move { joining.join().await }).await?;
            let session = session.with_context(|| format!("{} could not join", disturber.name()))?;
            tasks.spawn_on(disturber.run(session), runtime);
        }
        Ok(Self { disturbers, counts, _tasks: tasks })
    }

    /// What they have done so far.
    pub(crate) fn figures(&self) -> DisturbanceFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DisturbanceFigures {
            slow_readers: self.disturbers.slow_readers,
            hostile: self.disturbers.hostile,
            ended_too_slow: read(&self.counts.too_slow),
            ended_otherwise: read(&self.counts.other_ends),
            bad_streams: read(&self.counts.bad_streams),
            bad_datagrams: read(&self.counts.bad_datagrams),
            refused_streams: read(&self.counts.refused),
        }
    }
}

/// One of them.
#[derive(Debug, Clone)]
struct Disturber {
    api: Api,
    victim: Victim,
    number: usize,
    is_hostile: bool,
    counts: Arc<Counts>,
}

/// Its sessions of the moment.
struct Session {
    signaling: SignalingClient,
    media: quinn::Connection,
    _control: (quinn::SendStream, quinn::RecvStream),
    /// What a hostile one has announced.
    own: StreamId,
}

impl Disturber {
    fn name(&self) -> String {
        format!("{} {}", if self.is_hostile { "hostile client" } else { "slow reader" }, self.number)
    }

    /// Misbehaves, with a new session for each that is ended.
    async fn run(self, first: Session) {
        let mut session = Some(first);
        loop {
            if let Some(session) = session.take() {
                tokio::select! {
                    () = self.misbehave(&session) => {}
                    end = session.media.closed() => self.note_end(&end),
                }
                session.media.close(VarInt::from_u32(Code::NO_ERROR.as_u32()), b"");
            }
            tokio::time::sleep(REJOIN_PAUSE).await;
            session = self.join().await.ok();
        }
    }

    fn note_end(&self, end: &quinn::ConnectionError) {
        let too_slow = matches!(
            end,
            quinn::ConnectionError::ApplicationClosed(close)
                if Code::from_quic(close.error_code.into_inner()) == Code::TOO_SLOW
        );
        let count = if too_slow { &self.counts.too_slow } else { &self.counts.other_ends };
        count.fetch_add(1, Ordering::Relaxed);
    }

    async fn misbehave(&self, session: &Session) {
        if self.is_hostile {
            // It is over with the connection, whose end is seen elsewhere.
            let _ = self.harass(session).await;
        } else if self.number % 2 == 1 {
            trickle(&session.media).await;
        }
        std::future::pending::<()>().await;
    }

    async fn join(&self) -> Result<Session> {
        let grant = self.api.join_grant(self.victim.meeting, &self.name()).await?;
        let trust = match grant.certificate_hashes.as_slice() {
            [] => Trust::System,
            hashes => Trust::PinnedSha256(hashes.to_vec()),
        };
        let native = TransportKind::Native;
        let (signaling, _) = SignalingClient::connect(&grant.meeting_controller_url, native, &trust).await?;
        let request = pb::JoinRequest {
            meeting_id: grant.meeting_id.to_string(),
            join_token: grant.join_token.clone(),
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            ..Default::default()
        };
        let server = signaling.join(request).await?.media_server.context("no media server")?;
        let media = connect(&server.media_handler_url, &trust).await?;
        let (mut send, mut recv) = media.open_bi().await?;
        let hello = pb::MediaHello {
            connection_token: server.connection_token,
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            features: (Features::GROUPS | Features::AUDIO_DATAGRAMS).names(),
        };
        let hello = pb::MediaClientMessage { message: Some(ClientMessage::Hello(hello)) };
        send.write_all(&message::encode(&hello)).await?;
        recv.read_chunk(usize::MAX, true).await?.context("refused")?;
        let own = StreamId::generate();
        if self.is_hostile {
            let metadata = pb::StreamMetadata {
                codec: "VP8".to_owned(),
                video: Some(pb::VideoMetadata {
                    width: 640,
                    height: 360,
                    framerate: 30,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let publish = pb::PublishStream {
                stream_id: own.to_string(),
                stream_type: pb::StreamType::VideoCamera.into(),
                metadata: Some(metadata),
            };
            signaling.command(Message::PublishStream(publish)).await?;
        } else {
            for stream in &self.victim.streams {
                let subscribe = pb::SubscribeStream { stream_id: stream.to_string(), options: None };
                signaling.command(Message::SubscribeStream(subscribe)).await?;
            }
        }
        Ok(Session { signaling, media, _control: (send, recv), own })
    }

    /// One bad thing after the other.
    async fn harass(&self, session: &Session) -> Result<()> {
        let preamble = |stream_id| {
            let preamble = GroupPreamble {
                kind: GroupKind::Video,
                continuation: false,
                discontinuity: false,
                stream_id,
                group: 0,
                first_sequence: 0,
            };
            preamble.encode()
        };
        let (own, garbage) = (preamble(session.own), [0xa5_u8; 700]);
        let mut open = std::collections::VecDeque::new();
        let mut refusals = JoinSet::new();
        for round in 0_usize.. {
            // What is refused is stopped with a code; it is not waited for.
            while refusals.try_join_next().is_some() {}
            let bytes = match round % 6 {
                0 => Bytes::copy_from_slice(&garbage),
                // Left open, or reset below: half a preamble, half a header, one of a stream that nobody has announced.
                1 => own.slice(..own.len() / 2),
                2 => [&own[..], &garbage[..20]].concat().into(),
                3 => preamble(StreamId::generate()),
                4 => own.clone(),
                _ => {
                    session.media.send_datagram_wait(Bytes::copy_from_slice(&garbage[..300])).await?;
                    self.counts.bad_datagrams.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(HOSTILE_PAUSE).await;
                    continue;
                }
            };
            let mut stream = session.media.open_uni().await?;
            self.counts.bad_streams.fetch_add(1, Ordering::Relaxed);
            // Stopped already: it was refused while it was written.
            let _ = stream.write_all(&bytes).await;
            let (stopped, counts) = (stream.stopped(), Arc::clone(&self.counts));
            refusals.spawn(async move {
                if let Ok(Some(_code)) = stopped.await {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                }
            });
            match round % 6 {
                4 => drop(stream.reset(VarInt::from_u32(Code::CANCELLED.as_u32()))),
                _ => open.push_back(stream),
            }
            if open.len() > HOSTILE_STREAMS
                && let Some(mut oldest) = open.pop_front()
            {
                drop(oldest.reset(VarInt::from_u32(Code::CANCELLED.as_u32())));
            }
            tokio::time::sleep(HOSTILE_PAUSE).await;
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.signaling.close(Code::NO_ERROR, "");
    }
}

/// Reads a packet's worth now and then, until the connection ends.
async fn trickle(media: &quinn::Connection) {
    while let Ok(mut stream) = media.accept_uni().await {
        while let Ok(Some(_)) = stream.read_chunk(1200, true).await {
            tokio::time::sleep(TRICKLE).await;
        }
    }
}

/// A connection of its own socket that takes little.
async fn connect(url: &str, trust: &Trust) -> Result<quinn::Connection> {
    let authority = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or(url);
    let (host, _) = authority.rsplit_once(':').context("the media URL has no port")?;
    let address = tokio::net::lookup_host(authority).await?.next().context("the media URL has no address")?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(SLOW_WINDOW))
        .receive_window(VarInt::from_u32(SLOW_WINDOW))
        .datagram_receive_buffer_size(Some(SLOW_WINDOW as usize))
        .keep_alive_interval(Some(Duration::from_secs(5)));
    let mut config = quic_client_config(trust, ALPN_MEDIA)?;
    config.transport_config(Arc::new(transport));
    let connecting =
        quinn::Endpoint::client(any)?.connect_with(config, address, host.trim_matches(['[', ']']))?;
    Ok(connecting.await?)
}
