//! One participant's connections, to our server or to the reference.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use darktower_benches::naive::{Hello, READY};
use darktower_client::api::{Api, JoinGrant, NewMeeting};
use darktower_client::signaling::{SignalEvents, SignalingClient, pb};
use darktower_client::transport::Role;
use darktower_client::{Code, Features, MeetingId, StreamId, TransportKind, Trust};
use darktower_protocol::limits::MAX_MESSAGE;
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::version::PROTOCOL_VERSION;
use pb::envelope::Message;
use pb::media_client_message::Message as ClientMessage;
use pb::media_server_message::Message as ServerMessage;

use crate::ledger::Ledger;
use crate::media::{self, Media, Receiving, SharedSockets};
use crate::tally::lock;

/// How long one participant may take to join.
const JOIN_LIMIT: Duration = Duration::from_secs(30);
/// Faults that are kept word for word; all are counted.
const MAX_KEPT_FAULTS: usize = 20;

/// What is loaded.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A Dark Tower server: REST for grants, then a signaling and a media session.
    DarkTower { api: Api, kind: TransportKind },
    /// The reference: one connection.
    Naive { url: String, trust: Trust },
}

/// A meeting at a target.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MeetingAt {
    DarkTower(MeetingId),
    Naive(u32),
}

/// How many streams of a meeting one subscriber takes: the first ones, its own left out. `None` = all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) audio: Option<u32>,
    pub(crate) video: Option<u32>,
}

/// What a participant will do, as far as the server has to know at the start.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) name: String,
    pub(crate) publishes: Vec<Arc<Ledger>>,
    pub(crate) subscribes: bool,
    /// Of those that it subscribes to: only the first so many streams of the meeting.
    pub(crate) wanted: Wanted,
    /// Its connections share a socket with those of others.
    pub(crate) sockets: Option<Arc<SharedSockets>>,
    /// Counts what it is told of others who come and go; else nobody reads its events.
    pub(crate) events: Option<Arc<AtomicU64>>,
}

/// What went wrong during a run, for the report. Counted, and the first ones kept.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    kept: Mutex<(u64, Vec<String>)>,
}

impl Faults {
    pub(crate) fn note(&self, fault: String) {
        let mut kept = lock(&self.kept);
        kept.0 += 1;
        if kept.1.len() < MAX_KEPT_FAULTS && !kept.1.contains(&fault) {
            kept.1.push(fault);
        }
    }

    /// How many, and the first ones.
    pub(crate) fn all(&self) -> (u64, Vec<String>) {
        lock(&self.kept).clone()
    }
}

/// The right to join, fetched before the clock of a join starts.
#[derive(Debug)]
pub(crate) enum Ticket {
    DarkTower(JoinGrant),
    Naive(u32),
}

/// The connections of one participant.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) media: Media,
    signaling: Option<SignalingClient>,
    /// Key frames that the server asked for, by stream that this participant publishes.
    wishes: Arc<HashMap<StreamId, AtomicBool>>,
    /// From the start of the first connection to the media welcome.
    pub(crate) join_time: Duration,
    /// Set when this side ends the sessions, so that their end is no fault.
    leaving: Arc<AtomicBool>,
}

impl Target {
    pub(crate) fn is_darktower(&self) -> bool {
        matches!(self, Self::DarkTower { .. })
    }

    pub(crate) async fn make_meeting(&self, number: u32) -> Result<MeetingAt> {
        match self {
            Self::DarkTower { api, .. } => {
                let meeting = api.create_meeting(&NewMeeting::named(format!("load {number}"))).await?;
                Ok(MeetingAt::DarkTower(meeting.meeting_id))
            }
            Self::Naive { .. } => Ok(MeetingAt::Naive(number)),
        }
    }

    pub(crate) async fn ticket(&self, meeting: MeetingAt, name: &str) -> Result<Ticket> {
        match (self, meeting) {
            (Self::DarkTower { api, .. }, MeetingAt::DarkTower(id)) => {
                Ok(Ticket::DarkTower(api.join_grant(id, name).await?))
            }
            (Self::Naive { .. }, MeetingAt::Naive(room)) => Ok(Ticket::Naive(room)),
            _ => bail!("a meeting of one server cannot be joined at the other"),
        }
    }

    /// Connects and says hello. What the participant publishes is announced before this returns. Must run on the
    /// runtime that shall carry the connections.
    pub(crate) async fn join(&self, ticket: Ticket, intent: &Intent, faults: &Arc<Faults>) -> Result<Link> {
        let joining = async {
            match (self, ticket) {
                (Self::DarkTower { kind, .. }, Ticket::DarkTower(grant)) => {
                    Box::pin(join_darktower(*kind, &grant, intent, faults)).await
                }
                (Self::Naive { url, trust }, Ticket::Naive(room)) => {
                    Box::pin(join_naive(url, trust, room, intent, faults)).await
                }
                _ => bail!("a ticket of one server is of no use at the other"),
            }
        };
        let joined = tokio::time::timeout(JOIN_LIMIT, joining).await;
        joined
            .with_context(|| format!("{} could not join within {} s", intent.name, JOIN_LIMIT.as_secs()))?
            .with_context(|| format!("{} could not join", intent.name))
    }
}

async fn join_darktower(
    kind: TransportKind,
    grant: &JoinGrant,
    intent: &Intent,
    faults: &Arc<Faults>,
) -> Result<Link> {
    let started = Instant::now();
    let trust = match grant.certificate_hashes.as_slice() {
        [] => Trust::System,
        hashes => Trust::PinnedSha256(hashes.to_vec()),
    };
    // With the receiver of events dropped, the SDK keeps none.
    let origin = media::origin(intent.sockets.as_deref(), &trust)?;
    let connection = origin.connect(&grant.meeting_controller_url, kind, Role::Signal).await?;
    let (signaling, events) = SignalingClient::start(connection).await?;
    if let Some(counted) = &intent.events {
        tokio::spawn(count_comings_and_goings(events, Arc::clone(counted)));
    } else {
        drop(events);
    }
    let joined = signaling
        .join(pb::JoinRequest {
            meeting_id: grant.meeting_id.to_string(),
            join_token: grant.join_token.clone(),
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            ..Default::default()
        })
        .await?;
    let server = joined.media_server.context("JoinResponse names no media server")?;
    let origin = signaling.connection().origin();
    let media = Media(origin.connect(&server.media_handler_url, kind, Role::Media).await?);
    let (mut send, mut recv) = media.open_bi().await?;
    let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
    let hello = pb::MediaHello {
        connection_token: server.connection_token,
        protocol_min: PROTOCOL_VERSION,
        protocol_max: PROTOCOL_VERSION,
        features: features.names(),
    };
    let hello = pb::MediaClientMessage { message: Some(ClientMessage::Hello(hello)) };
    send.write_all(&message::encode(&hello)).await?;
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    match next_message(&mut recv, &mut decoder).await? {
        Some(ServerMessage::Welcome(welcome)) => {
            let agreed = Features::from_names(&welcome.features);
            ensure!(agreed.contains(features), "the server lacks features: it offers {:?}", welcome.features);
        }
        Some(ServerMessage::Error(error)) => bail!("refused: {}", error.message),
        _ => bail!("the first media message of the server is no welcome"),
    }
    let join_time = started.elapsed();

    for ledger in &intent.publishes {
        signaling.command(Message::PublishStream(announcement(ledger))).await?;
    }
    let wishes =
        Arc::new(intent.publishes.iter().map(|ledger| (ledger.stream_id, AtomicBool::new(false))).collect());
    let leaving = Arc::new(AtomicBool::new(false));
    let reader = ControlReader {
        name: intent.name.clone(),
        wishes: Arc::clone(&wishes),
        leaving: Arc::clone(&leaving),
        faults: Arc::clone(faults),
    };
    tokio::spawn(async move {
        // The sending half stays open as long as the session.
        let _send = send;
        reader.read(recv, decoder).await;
    });
    Ok(Link { media, signaling: Some(signaling), wishes, join_time, leaving })
}

async fn count_comings_and_goings(mut events: SignalEvents, counted: Arc<AtomicU64>) {
    while let Some(event) = events.next().await {
        let is_news = matches!(event.message, Message::ParticipantJoined(_) | Message::ParticipantLeft(_));
        // Without a number it continues the roster.
        if is_news && event.sequence > 0 {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn announcement(ledger: &Ledger) -> pb::PublishStream {
    let metadata = if ledger.is_audio {
        pb::StreamMetadata {
            codec: "Opus".to_owned(),
            audio: Some(pb::AudioMetadata { sample_rate: 48_000, channels: 1 }),
            ..Default::default()
        }
    } else {
        let video =
            pb::VideoMetadata { width: 1280, height: 720, framerate: 30, simulcast_layers: Vec::new() };
        pb::StreamMetadata { codec: "VP8".to_owned(), video: Some(video), ..Default::default() }
    };
    let stream_type = if ledger.is_audio { pb::StreamType::Audio } else { pb::StreamType::VideoCamera };
    pb::PublishStream {
        stream_id: ledger.stream_id.to_string(),
        stream_type: stream_type.into(),
        metadata: Some(metadata),
    }
}

async fn join_naive(
    url: &str,
    trust: &Trust,
    room: u32,
    intent: &Intent,
    faults: &Arc<Faults>,
) -> Result<Link> {
    let started = Instant::now();
    let origin = media::origin(intent.sockets.as_deref(), trust)?;
    let media = Media(origin.connect(url, TransportKind::Native, Role::Media).await?);
    let (mut send, mut recv) = media.open_bi().await?;
    let count = |audio| intent.publishes.iter().filter(|ledger| ledger.is_audio == audio).count() as u32;
    let wanted = |first: Option<u32>| if intent.subscribes { first.unwrap_or(Hello::EVERYTHING) } else { 0 };
    let hello = Hello {
        room,
        audio_streams: count(true),
        video_streams: count(false),
        wanted_audio: wanted(intent.wanted.audio),
        wanted_video: wanted(intent.wanted.video),
    };
    send.write_all(&hello.encode()).await?;
    let answer = recv.read_chunk().await?.unwrap_or_default();
    ensure!(answer.first() == Some(&READY), "the reference server's answer is {answer:?}");
    let join_time = started.elapsed();
    let leaving = Arc::new(AtomicBool::new(false));
    let (watched, name) = (media.clone(), intent.name.clone());
    let (left, faults) = (Arc::clone(&leaving), Arc::clone(faults));
    tokio::spawn(async move {
        let error = watched.closed().await;
        if !left.load(Ordering::Relaxed) {
            faults.note(format!("a session of {} ended: {error}", kind_of(&name)));
        }
    });
    Ok(Link { media, signaling: None, wishes: Arc::default(), join_time, leaving })
}

impl Link {
    /// Asks for a stream. The reference sends without being asked.
    pub(crate) async fn subscribe(&self, stream_id: StreamId) -> Result<()> {
        let Some(signaling) = &self.signaling else { return Ok(()) };
        let request = pb::SubscribeStream {
            stream_id: stream_id.to_string(),
            options: Some(pb::SubscriptionOptions::default()),
        };
        let ack = signaling.command(Message::SubscribeStream(request)).await?;
        ensure!(
            ack.wire_stream_id.is_empty() || ack.wire_stream_id == stream_id.to_string(),
            "the server sends layer {} of stream {stream_id}, which has none",
            ack.wire_stream_id
        );
        Ok(())
    }

    /// Whether the server wants a key frame of the stream; asks once.
    pub(crate) fn take_key_frame_wish(&self, stream_id: StreamId) -> bool {
        self.wishes.get(&stream_id).is_some_and(|wish| wish.swap(false, Ordering::Relaxed))
    }

    /// Leaves the meeting and closes the connections.
    pub(crate) async fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(signaling) = &self.signaling {
            // A server that is gone already has been noted elsewhere.
            let _ = signaling.leave().await;
        }
        self.media.close();
    }

    /// As [`leave`](Self::leave) without waiting for the server.
    pub(crate) fn cut(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(signaling) = &self.signaling {
            signaling.close(Code::NO_ERROR, "");
        }
        self.media.close();
    }
}

async fn next_message(recv: &mut Receiving, decoder: &mut MessageDecoder) -> Result<Option<ServerMessage>> {
    loop {
        while let Some(envelope) = decoder.next_message::<pb::MediaServerMessage>()? {
            if let Some(message) = envelope.message {
                return Ok(Some(message));
            }
        }
        match recv.read_chunk().await? {
            Some(chunk) => decoder.push(&chunk),
            None => return Ok(None),
        }
    }
}

/// Reads the control stream of a media session until it ends.
struct ControlReader {
    name: String,
    wishes: Arc<HashMap<StreamId, AtomicBool>>,
    leaving: Arc<AtomicBool>,
    faults: Arc<Faults>,
}

impl ControlReader {
    async fn read(self, mut recv: Receiving, mut decoder: MessageDecoder) {
        let end = loop {
            match next_message(&mut recv, &mut decoder).await {
                Ok(Some(ServerMessage::PublisherFeedback(feedback))) if feedback.key_frame_requested => {
                    if let Some(wish) = feedback.stream_id.parse().ok().and_then(|id| self.wishes.get(&id)) {
                        wish.store(true, Ordering::Relaxed);
                    }
                }
                Ok(Some(ServerMessage::Error(error))) => {
                    self.note(&format!("the server told {}: {}", kind_of(&self.name), error.message));
                }
                Ok(Some(_)) => {}
                Ok(None) => break "the server ended the control stream".to_owned(),
                Err(error) => break format!("{error:#}"),
            }
        };
        self.note(&format!("a session of {} ended: {end}", kind_of(&self.name)));
    }

    fn note(&self, fault: &str) {
        if !self.leaving.load(Ordering::Relaxed) {
            self.faults.note(fault.to_owned());
        }
    }
}

/// `subscriber 17` is a subscriber: the same fault of a thousand of them is worth one line.
fn kind_of(name: &str) -> &str {
    name.split_once(' ').map_or(name, |(kind, _)| kind)
}
