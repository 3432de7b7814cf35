//! Publisher and subscribers, through moq's own client crates.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use moq_net::track::Subscription;
use moq_net::{Timescale, Timestamp, broadcast, group, origin, track};
use moq_tokio::quic::CongestionControl;
use moq_tokio::{Client, Connection, connect, quic, rustls};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::cli::Transport;
use crate::relay::PUBLIC_PATH;
use crate::tally::{SharedTally, Window, lock};
use crate::workload::{GROUP_FRAMES, Ledger, Media, now_us};

const BROADCAST: &str = "broadcast";
/// How old a group may be and still be wanted: nothing is to be skipped, so that every loss is the relay's.
const MAX_AGE: Duration = Duration::from_secs(10);
/// The first faults tell the story.
const FAULTS_KEPT: usize = 10;

/// The one suite that clients offer: darktower-load has it first, and servers take the client's first.
pub(crate) const CIPHER_SUITE: &str = "TLS13_AES_128_GCM_SHA256";

/// Makes all clients of this process offer [`CIPHER_SUITE`] only.
pub(crate) fn install_cipher_suite() -> Result<()> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()) == CIPHER_SUITE);
    ensure!(provider.cipher_suites.len() == 1, "the TLS library has no {CIPHER_SUITE}");
    ensure!(provider.install_default().is_ok(), "a TLS provider is installed already");
    Ok(())
}

/// What went wrong at clients; the first ones.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<String>>);

impl Faults {
    pub(crate) fn note(&self, fault: String) {
        let mut faults = lock(&self.0);
        if faults.len() < FAULTS_KEPT {
            faults.push(fault);
        }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

/// How clients reach the relay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialer {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) tuned: bool,
}

impl Dialer {
    /// A client with a socket of its own.
    fn client(&self) -> Result<Client> {
        let mut connect = connect::Config::default();
        connect.bind = Some((Ipv4Addr::LOCALHOST, 0).into());
        // The relay has made its certificate a moment ago, for nobody else.
        connect.tls.insecure = Some(true);
        connect.once = Some(true);
        let mut quic = quic::Config::default();
        if self.tuned {
            quic.mtu_discovery = Some(true);
            quic.congestion_control = Some(CongestionControl::Loss);
        }
        connect.init(quic).context("cannot make a client")
    }

    async fn connect(&self, client: Client) -> Result<Connection> {
        let scheme = match self.transport {
            Transport::Native => "moqt",
            Transport::Webtransport => "https",
        };
        let url = Url::parse(&format!("{scheme}://{}/{PUBLIC_PATH}", self.address))?;
        client.connect(url).established().await.context("cannot connect to the relay")
    }
}

/// The publisher, connected and announced.
pub(crate) struct Publisher {
    connection: Connection,
    _origin: origin::Producer,
    _broadcast: broadcast::Producer,
    video: track::Producer,
    audio: track::Producer,
}

/// One medium that is published from `start` to `end`.
pub(crate) struct Publication {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    /// Microseconds by which units left after their time: when this grows, the tester is the bottleneck.
    pub(crate) lateness_us: Arc<Mutex<Histogram<u64>>>,
}

impl Publisher {
    pub(crate) async fn join(dialer: Dialer) -> Result<Self> {
        let origin = moq_tokio::origin::spawn();
        let connection = dialer.connect(dialer.client()?.with_publisher(&origin)).await?;
        let broadcast = origin.create_broadcast(BROADCAST).context("cannot create the broadcast")?;
        let info = || track::Info::default().with_timescale(Timescale::MICRO).with_max_age(MAX_AGE);
        let video = broadcast.create_track(track_name(Media::Video), info())?;
        let audio = broadcast.create_track(track_name(Media::Audio), info())?;
        broadcast.announce(origin::Route::default()).context("cannot announce the broadcast")?;
        Ok(Self { connection, _origin: origin, _broadcast: broadcast, video, audio })
    }

    /// The protocol version that client and relay agreed on.
    pub(crate) fn protocol(&self) -> String {
        self.connection.version().map_or_else(|| "unknown".to_owned(), |version| version.to_string())
    }

    /// Publishes both media, then stays until it is dropped, so that what is under way arrives.
    pub(crate) async fn run(mut self, video: Publication, audio: Publication) -> Result<()> {
        tokio::try_join!(publish_video(&self.video, &video), publish_audio(&mut self.audio, &audio))?;
        Ok(self.connection.closed().await?)
    }
}

fn track_name(media: Media) -> &'static str {
    match media {
        Media::Video => "video",
        Media::Audio => "audio",
    }
}

async fn publish_video(track: &track::Producer, publication: &Publication) -> Result<()> {
    let mut group: Option<group::Producer> = None;
    for number in 0.. {
        if !publication.due(number).await {
            break;
        }
        if number.is_multiple_of(GROUP_FRAMES)
            && let Some(ended) = group.take()
        {
            ended.finish()?;
        }
        let group = match &mut group {
            Some(group) => group,
            none => none.insert(track.append_group()?),
        };
        let (timestamp, unit) = publication.next_unit();
        group.write_frame(timestamp?, unit)?;
    }
    if let Some(ended) = group {
        ended.finish()?;
    }
    Ok(())
}

async fn publish_audio(track: &mut track::Producer, publication: &Publication) -> Result<()> {
    for number in 0.. {
        if !publication.due(number).await {
            break;
        }
        let (timestamp, unit) = publication.next_unit();
        track.append_datagram(timestamp?, unit)?;
    }
    Ok(())
}

impl Publication {
    /// Waits for the time of a unit; false at the end.
    async fn due(&self, number: u64) -> bool {
        let due = self.start
            + Duration::from_secs_f64(self.ledger.media().interval().as_secs_f64() * number as f64);
        if due >= self.end {
            return false;
        }
        tokio::time::sleep_until(due).await;
        let late = Instant::now().saturating_duration_since(due);
        lock(&self.lateness_us).saturating_record(late.as_micros() as u64);
        true
    }

    /// Notes the next unit in the ledger; from here on nothing waits before it is moq's.
    fn next_unit(&self) -> (Result<Timestamp>, bytes::Bytes) {
        let now = now_us();
        let sequence = self.ledger.append(now);
        let unit = self.ledger.unit(sequence, now);
        (Timestamp::new(now, Timescale::MICRO).context("the clock is beyond moq's range"), unit)
    }
}

/// Where one subscriber's units of one medium are compared and counted.
pub(crate) struct Inbox {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) window: Arc<Window>,
    pub(crate) tally: SharedTally,
    /// By sequence number.
    pub(crate) seen: Mutex<Vec<bool>>,
}

impl Inbox {
    fn arrived(&self, unit: &[u8]) {
        let now = now_us();
        let arrived = self.ledger.check(unit);
        let mut tally = lock(&self.tally);
        let Some(arrived) = arrived else {
            tally.mismatches += 1;
            return;
        };
        let mut seen = lock(&self.seen);
        let position = arrived.sequence as usize;
        if seen.len() <= position {
            seen.resize(position + 1, false);
        }
        if std::mem::replace(&mut seen[position], true) {
            tally.repeats += 1;
        } else if self.window.contains(arrived.timestamp) {
            tally.arrived(&arrived, unit.len(), now);
        }
    }
}

/// A subscriber, connected and subscribed to both media.
pub(crate) struct Subscriber {
    connection: Connection,
    _origin: origin::Producer,
    _broadcast: broadcast::Consumer,
    video: track::Subscriber,
    audio: track::Subscriber,
}

impl Subscriber {
    pub(crate) async fn join(dialer: Dialer) -> Result<Self> {
        let origin = moq_tokio::origin::spawn();
        let connection = dialer.connect(dialer.client()?.with_subscriber(origin.clone())).await?;
        let broadcast =
            origin.consume().routed_broadcast(BROADCAST).await.context("the broadcast was not found")?;
        let wish = || Subscription::default().with_max_age(MAX_AGE);
        let video = broadcast.track(track_name(Media::Video))?.subscribe(wish()).await?;
        let audio = broadcast.track(track_name(Media::Audio))?.subscribe(wish()).await?;
        Ok(Self { connection, _origin: origin, _broadcast: broadcast, video, audio })
    }

    /// Receives until the session ends.
    pub(crate) async fn run(mut self, video: Arc<Inbox>, audio: Arc<Inbox>) -> Result<()> {
        tokio::select! {
            ended = receive_video(&mut self.video, video) => ended.context("video ended"),
            ended = receive_audio(&mut self.audio, &audio) => ended.context("audio ended"),
            ended = self.connection.closed() => ended.context("the session ended"),
        }
    }
}

async fn receive_video(track: &mut track::Subscriber, inbox: Arc<Inbox>) -> Result<()> {
    // The end of a group may come after the next one has begun.
    let mut groups = JoinSet::new();
    loop {
        tokio::select! {
            group = track.recv_group() => match group? {
                Some(group) => drop(groups.spawn(receive_group(group, Arc::clone(&inbox)))),
                None => return Ok(()),
            },
            Some(ended) = groups.join_next() => ended??,
        }
    }
}

async fn receive_group(mut group: group::Consumer, inbox: Arc<Inbox>) -> Result<()> {
    while let Some(frame) = group.read_frame().await? {
        inbox.arrived(&frame.payload);
    }
    Ok(())
}

async fn receive_audio(track: &mut track::Subscriber, inbox: &Inbox) -> Result<()> {
    while let Some(datagram) = track.recv_datagram().await? {
        inbox.arrived(&datagram.payload);
    }
    Ok(())
}
