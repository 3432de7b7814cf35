//! The sending end of a stream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::limits::{MAX_MESSAGE, UnitLimits};
use darktower_protocol::message::MessageDecoder;
use darktower_protocol::signaling::{Layer, StreamDescription, pb};
use darktower_protocol::{Code, Features, Flags, FrameType, HeaderFields, StreamId, Unit};
use pb::envelope::Message;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::media::{AUDIO_PRIORITY, MediaSession, MediaState, lock};
use crate::meeting::Session;
use crate::reach::{State, Way};
use crate::session::statistics::Counters;
use crate::state::Undo;
use crate::transport::{Connection, RecvStream, SendStream, in_time};

/// How long [`Publisher::finish`] waits for the server's acknowledgement of the last media.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long [`Publisher::finish`] waits for the datagrams to leave, and for the round trip after.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The server's limit of open streams is reached, or it is far behind.
const NO_STREAM: &str = "the server allows no further stream to publish on";

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingFrame {
    /// Audio on audio streams, key or delta on video streams.
    pub frame_type: FrameType,
    /// Capture time in microseconds since the Unix epoch. Different for every frame of a stream.
    pub timestamp_us: u64,
    /// No other frame needs this one: it may be left out for slow subscribers.
    pub discardable: bool,
    /// As the encoder made it. Not copied.
    pub payload: Bytes,
}

/// Which units a frame became; none if it was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentUnits {
    /// Sequence number of the first.
    pub first_sequence: u64,
    /// How many; their numbers are consecutive.
    pub units: u64,
}

/// What the server wants of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// A subscriber cannot decode until a key frame comes. Asked since the last
    /// [`FeedbackReceiver::next`].
    pub key_frame_requested: bool,
    /// Nobody watches this layer: frames need not be sent.
    pub paused: bool,
    /// bit/s; 0 = no advice.
    pub target_bitrate_bps: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FeedbackState {
    key_frame_requests: u64,
    paused: bool,
    target_bitrate_bps: u32,
}

impl FeedbackState {
    /// The group under way is lost.
    pub(crate) fn ask_for_key_frame(&mut self) {
        self.key_frame_requests += 1;
    }

    /// Another session begins: the group under way is lost, and nothing is known of who watches.
    pub(crate) fn begin_anew(&mut self) {
        self.ask_for_key_frame();
        self.paused = false;
    }

    pub(crate) fn update(&mut self, feedback: &pb::PublisherFeedback) {
        self.key_frame_requests += u64::from(feedback.key_frame_requested);
        self.paused = feedback.paused.unwrap_or(self.paused);
        if feedback.target_bitrate != 0 {
            self.target_bitrate_bps = feedback.target_bitrate;
        }
    }
}

/// Receives [`Feedback`], apart from its publisher, so that the task of the encoder can own it.
/// What comes faster than it is read is merged: nothing piles up and no wish is lost.
#[derive(Debug, Clone)]
pub struct FeedbackReceiver {
    state: watch::Receiver<FeedbackState>,
    seen_requests: u64,
}

impl FeedbackReceiver {
    fn new(mut state: watch::Receiver<FeedbackState>) -> Self {
        // What was said before is news to this receiver.
        if *state.borrow() != FeedbackState::default() {
            state.mark_changed();
        }
        Self { state, seen_requests: 0 }
    }

    /// Waits for news; `None` when the publisher or the session is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Feedback> {
        self.state.changed().await.ok()?;
        let state = *self.state.borrow_and_update();
        let key_frame_requested = state.key_frame_requests != self.seen_requests;
        self.seen_requests = state.key_frame_requests;
        Some(Feedback {
            key_frame_requested,
            paused: state.paused,
            target_bitrate_bps: state.target_bitrate_bps,
        })
    }
}

/// A stream of this session, as the publishers of its layers share it.
#[derive(Debug)]
pub(crate) struct Publication {
    stream: StreamDescription,
    /// Layers that are published.
    layers: AtomicUsize,
    /// The server has said yes, whatever came of it since.
    taken: AtomicBool,
    /// The server has ended the stream by itself.
    ended: AtomicBool,
}

impl Publication {
    pub(crate) fn new(stream: StreamDescription) -> Self {
        let layers = AtomicUsize::new(stream.layers.len());
        Self { stream, layers, taken: AtomicBool::new(false), ended: AtomicBool::new(false) }
    }

    pub(crate) fn stream_id(&self) -> StreamId {
        self.stream.stream_id
    }

    /// Asks the server for it.
    pub(crate) fn request(&self) -> Message {
        let pb::MediaStream { stream_id, stream_type, metadata } = self.stream.to_message();
        Message::PublishStream(pb::PublishStream { stream_id, stream_type, metadata })
    }

    /// Whether it is published, as far as this session knows.
    pub(crate) fn is_live(&self) -> bool {
        !self.has_ended() && self.layers.load(Ordering::Acquire) > 0
    }

    /// The server has said yes.
    pub(crate) fn take(&self) {
        self.taken.store(true, Ordering::Release);
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// The server has ended the stream by itself.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// A layer is over; whether it was the last.
    fn withdraw_layer(&self) -> bool {
        self.layers.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// One layer of a published stream; the only one of a stream without simulcast. Dropped without
/// [`finish`](Self::finish), what was not yet sent is thrown away.
#[derive(Debug)]
pub struct Publisher {
    session: Arc<Session>,
    stream_id: StreamId,
    /// `None` when this layer is not published any more.
    publication: Option<Arc<Publication>>,
    layer: Layer,
    is_audio: bool,
    next_sequence: u64,
    path: Path,
    /// Of the media session that the path is of.
    media_number: u64,
    /// Nothing but a key frame makes sense to those who watch.
    needs_key_frame: bool,
    feedback: watch::Receiver<FeedbackState>,
    counters: Arc<Mutex<Counters>>,
}

/// How units travel.
#[derive(Debug)]
enum Path {
    /// A unidirectional stream per group of pictures.
    Groups(Groups),
    /// One stream for everything (baseline).
    Single(Single),
    /// Datagrams, and for large units a unidirectional stream each, if `GROUPS` is in force.
    Datagrams { streams: bool, sent: JoinSet<Result<(), Error>> },
    /// After [`Publisher::finish`].
    Finished,
}

#[derive(Debug)]
enum Single {
    /// Opened with the first frame: the server does not wait long for the first unit.
    Unopened,
    Open(OpenStream),
    /// Writing failed or was cut short: a half-written unit must not be followed by another.
    Lost,
}

#[derive(Debug, Default)]
struct Groups {
    open: Option<OpenStream>,
    /// Why there is no open group, if there was one.
    lost: Option<Error>,
    opened: i32,
    /// Groups that are written and not yet acknowledged.
    sent: JoinSet<Result<(), Error>>,
}

impl Publisher {
    pub(crate) fn new(
        session: Arc<Session>,
        stream: &StreamDescription,
        layer: Layer,
        publication: Arc<Publication>,
        counters: Arc<Mutex<Counters>>,
    ) -> Self {
        let media = session.reach().media();
        let is_audio = stream.is_audio();
        let (sender, feedback) = watch::channel(FeedbackState::default());
        session.routes().add_publisher(layer.wire_stream_id, sender);
        Self {
            stream_id: stream.stream_id,
            publication: Some(publication),
            layer,
            is_audio,
            next_sequence: 0,
            path: Path::new(is_audio, media.session.features),
            media_number: media.number,
            needs_key_frame: false,
            feedback,
            counters,
            session,
        }
    }

    /// The stream as applications name it.
    pub fn stream_id(&self) -> StreamId {
        self.stream_id
    }

    /// The id in unit headers.
    pub fn wire_stream_id(&self) -> StreamId {
        self.layer.wire_stream_id
    }

    /// Name of the simulcast layer; empty for a stream of one layer.
    pub fn layer_id(&self) -> &str {
        &self.layer.layer_id
    }

    /// Sends a frame, as several units if its payload is over the server's limit. Waits while the
    /// connection cannot take more, so that what is sent stays fresh: a caller that cannot wait
    /// drops frames itself, up to the next key frame.
    ///
    /// While the connection to the server is lost, frames are left out: they become no units. So are, of video, those after
    /// it up to the next key frame, which [`Feedback::key_frame_requested`] asks for.
    ///
    /// Not cancel-safe: dropped early, the group in progress is lost and the next frame must be a
    /// key frame; without the feature `groups` the publisher is lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the frame does not fit the stream (a video stream begins with a key
    /// frame), [`Error::StreamEnded`] if the server refuses the group: with `groups` sending can go
    /// on with the next key frame. [`Error::Unpublished`] from when this session has learned that the
    /// server has ended the stream by itself. Else what ended the session.
    pub async fn send(&mut self, frame: OutgoingFrame) -> Result<SentUnits, Error> {
        self.check(&frame)?;
        if self.is_unpublished() {
            return Err(Error::Unpublished);
        }
        let left_out = SentUnits { first_sequence: self.next_sequence, units: 0 };
        let Way { session: media, number, state } = self.session.reach().media();
        match state {
            State::Open => {}
            State::Broken => return Ok(left_out),
            State::Over(error) => return Err(error),
        }
        if number != self.media_number && !matches!(self.path, Path::Finished) {
            self.path = Path::new(self.is_audio, media.features);
            self.media_number = number;
            self.needs_key_frame = !self.is_audio && self.next_sequence > 0;
        }
        if self.needs_key_frame && frame.frame_type != FrameType::VideoKey {
            return Ok(left_out);
        }
        let (first_sequence, units) = (self.next_sequence, self.split(&frame, media.limits));
        self.next_sequence += units.len() as u64;
        let written = tokio::select! {
            biased;
            written = self.path.write(&media, &self.layer, &units) => written,
            () = self.session.reach().media_changes(number) => return Ok(left_out),
        };
        match written {
            Ok(()) => {}
            Err(_) if media.connection.close_reason().is_some() => {
                // It is decided now whether there will be another.
                self.session.reach().media_changes(number).await;
                return match self.session.reach().media().state {
                    State::Over(error) => Err(error),
                    State::Open | State::Broken => Ok(left_out),
                };
            }
            Err(error) => return Err(error),
        }
        self.needs_key_frame = false;
        let now = Instant::now();
        let mut counters = lock(&self.counters);
        units.iter().for_each(|unit| counters.sent(unit.header(), now));
        Ok(SentUnits { first_sequence, units: units.len() as u64 })
    }

    /// Whether nobody watches this layer, as far as the server has said: frames need not be sent, and the first after that
    /// is to be a key frame. The server asks for one when somebody watches again.
    pub fn is_paused(&self) -> bool {
        self.feedback.borrow().paused
    }

    /// A receiver of the server's wishes. There can be several; each gets everything.
    pub fn feedback(&self) -> FeedbackReceiver {
        FeedbackReceiver::new(self.feedback.clone())
    }

    /// Ends the stream (of a simulcast stream, this layer): waits until the server has
    /// acknowledged what was sent, at most 5 s, then unpublishes it (with its last layer). Of a
    /// stream that the server has ended by itself, nothing is left to be done.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the acknowledgement did not come; the stream is unpublished all the
    /// same. Else what ended the session.
    pub async fn finish(mut self) -> Result<(), Error> {
        let path = std::mem::replace(&mut self.path, Path::Finished);
        if self.is_unpublished() {
            return Ok(());
        }
        let media = self.session.reach().media();
        let delivered = tokio::select! {
            delivered = tokio::time::timeout(DELIVERY_TIMEOUT, deliver(path, &media.session)) => delivered
                .unwrap_or(Err(Error::Timeout("the server did not acknowledge the end of a stream"))),
            // With the session, what was under way is lost.
            () = self.session.reach().media_changes(self.media_number) => Ok(()),
        };
        if let Some(unpublish) = self.withdraw() {
            self.session.undo(Undo::Unpublish(self.stream_id));
            match self.session.reach().command(unpublish).await {
                // The server was faster. Or it is told when it is reached again.
                Ok(_) | Err(Error::Refused { code: pb::ErrorCode::NotFound, .. } | Error::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        delivered
    }

    /// This layer is over; what to tell the server if it was the last of its stream. Once only.
    fn withdraw(&mut self) -> Option<Message> {
        let publication = self.publication.take()?;
        (publication.withdraw_layer() && !publication.has_ended())
            .then(|| Message::UnpublishStream(pb::UnpublishStream { stream_id: self.stream_id.to_string() }))
    }

    /// Whether the server has ended the stream by itself.
    fn is_unpublished(&self) -> bool {
        self.publication.as_ref().is_some_and(|publication| publication.has_ended())
    }

    fn check(&self, frame: &OutgoingFrame) -> Result<(), Error> {
        let fits = match frame.frame_type {
            FrameType::Audio => self.is_audio,
            FrameType::VideoKey | FrameType::VideoDelta => !self.is_audio,
            FrameType::Attach | FrameType::Unknown(_) => false,
        };
        if !fits {
            let kind = if self.is_audio { "audio" } else { "video" };
            return Err(Error::Invalid(format!(
                "{:?} is no frame type of a {kind} stream",
                frame.frame_type
            )));
        }
        if self.next_sequence == 0 && frame.frame_type == FrameType::VideoDelta {
            return Err(Error::Invalid("a video stream begins with a key frame".to_owned()));
        }
        Ok(())
    }

    fn split(&self, frame: &OutgoingFrame, limits: UnitLimits) -> Vec<Unit> {
        let max = if self.is_audio { limits.max_audio_payload } else { limits.max_video_payload };
        let max = max as usize;
        let count = frame.payload.len().div_ceil(max).max(1);
        (0..count)
            .map(|i| {
                let start = i * max;
                let end = (start + max).min(frame.payload.len());
                let fields = HeaderFields {
                    frame_type: frame.frame_type,
                    stream_id: self.layer.wire_stream_id,
                    timestamp: frame.timestamp_us,
                    sequence: self.next_sequence + i as u64,
                    flags: Flags::default()
                        .with(Flags::END_OF_FRAME, i + 1 == count)
                        .with(Flags::DISCARDABLE, frame.discardable),
                };
                Unit::new(&fields, frame.payload.slice(start..end))
            })
            .collect()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.session.routes().remove_publisher(self.layer.wire_stream_id);
        lock(&self.counters).end();
        if let Some(unpublish) = self.withdraw() {
            self.session.undo(Undo::Unpublish(self.stream_id));
            self.session.reach().signaling().session.send_and_forget(unpublish);
        }
    }
}

impl Path {
    fn new(is_audio: bool, features: Features) -> Self {
        let groups = features.contains(Features::GROUPS);
        if is_audio && features.contains(Features::AUDIO_DATAGRAMS) {
            Self::Datagrams { streams: groups, sent: JoinSet::new() }
        } else if !is_audio && groups {
            Self::Groups(Groups::default())
        } else {
            Self::Single(Single::Unopened)
        }
    }

    /// Writes a frame. Not cancel-safe.
    async fn write(&mut self, media: &MediaSession, layer: &Layer, units: &[Unit]) -> Result<(), Error> {
        let connection = &media.connection;
        let Some(first) = units.first() else { return Ok(()) };
        match self {
            Self::Datagrams { streams, sent } => {
                for unit in units {
                    let wire = unit.clone().into_wire();
                    let max = connection.max_datagram_size().unwrap_or(0);
                    let taken = match wire.len() <= max {
                        true => connection.send_datagram(wire.clone()).await,
                        false => Err(Error::Invalid(String::new())),
                    };
                    match taken {
                        Ok(()) => continue,
                        // Too large, or the path has shrunk meanwhile.
                        Err(Error::Invalid(_)) => {}
                        Err(error) => return Err(error),
                    }
                    if *streams {
                        let mut stream = OpenStream(Some(in_time(NO_STREAM, connection.open_uni()).await?));
                        stream.get()?.set_priority(AUDIO_PRIORITY);
                        let preamble = preamble(GroupKind::Audio, unit, false);
                        stream.write(&mut [preamble, wire]).await?;
                        track(sent, stream.finish());
                    } else {
                        return Err(Error::Invalid(format!(
                            "an audio unit of {} bytes fits no datagram of this connection ({max} bytes), \
                             and the server does not offer streams for audio",
                            wire.len()
                        )));
                    }
                }
                Ok(())
            }
            Self::Groups(groups) => {
                if first.header().frame_type() == FrameType::VideoKey {
                    groups.next(connection, units).await?;
                }
                groups.write(units).await
            }
            Self::Single(single) => {
                let mut open = match std::mem::replace(single, Single::Lost) {
                    Single::Open(open) => open,
                    Single::Unopened => {
                        let (send, recv) = in_time(NO_STREAM, connection.open_bi()).await?;
                        let is_audio = first.header().frame_type() == FrameType::Audio;
                        send.set_priority(if is_audio { AUDIO_PRIORITY } else { 0 });
                        tokio::spawn(read_feedback(recv, layer.wire_stream_id, Arc::clone(&media.state)));
                        OpenStream(Some(send))
                    }
                    Single::Lost => {
                        return Err(Error::Invalid("the publisher's QUIC stream was lost".to_owned()));
                    }
                };
                open.write(&mut wire_chunks(units)).await?;
                *single = Single::Open(open);
                Ok(())
            }
            Self::Finished => Err(Error::Invalid("the publisher has finished".to_owned())),
        }
    }
}

/// Ends the path and waits until the server has what was sent on it.
async fn deliver(path: Path, media: &MediaSession) -> Result<(), Error> {
    let mut sent = match path {
        Path::Groups(mut groups) => {
            if let Some(open) = groups.open.take() {
                track(&mut groups.sent, open.finish());
            }
            groups.sent
        }
        Path::Single(single) => {
            let mut sent = JoinSet::new();
            if let Single::Open(open) = single {
                track(&mut sent, open.finish());
            }
            sent
        }
        Path::Datagrams { sent, .. } => {
            let gone = async {
                while media.has_waiting_datagrams() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            // What is left after this time is too old to matter.
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, gone).await;
            sent
        }
        Path::Finished => return Ok(()),
    };
    while let Some(delivered) = sent.join_next().await {
        match delivered {
            // The server threw a group away that was written whole: its right.
            Ok(Ok(()) | Err(Error::StreamEnded(_))) => {}
            Ok(Err(error)) => return Err(error),
            Err(error) => return Err(Error::transport("waiting for an acknowledgement failed", error)),
        }
    }
    // Acknowledged is not read: the server answers this after it has read more.
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, media.round_trip()).await;
    Ok(())
}

impl Groups {
    /// Ends the open group and opens the next, which begins with `units`.
    async fn next(&mut self, connection: &Connection, units: &[Unit]) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            track(&mut self.sent, open.finish());
        }
        let Some(first) = units.first() else { return Ok(()) };
        // What lies between is lost, if an earlier session had groups of this stream.
        let discontinuity = self.opened == 0 && first.header().sequence() != 0;
        let mut stream = OpenStream(Some(in_time(NO_STREAM, connection.open_uni()).await?));
        // The newest group is sent first; all of them after audio.
        self.opened = self.opened.wrapping_add(1);
        stream.get()?.set_priority(i32::MIN.saturating_add(self.opened));
        stream.write(&mut [preamble(GroupKind::Video, first, discontinuity)]).await?;
        self.open = Some(stream);
        Ok(())
    }

    async fn write(&mut self, units: &[Unit]) -> Result<(), Error> {
        // Put back when written: a half-written unit must not be followed by another.
        let Some(mut open) = self.open.take() else {
            let lost = || {
                Error::Invalid(
                    "sending the group was cut short; the next frame must be a key frame".to_owned(),
                )
            };
            return Err(self.lost.clone().unwrap_or_else(lost));
        };
        match open.write(&mut wire_chunks(units)).await {
            Ok(()) => {
                self.open = Some(open);
                self.lost = None;
                Ok(())
            }
            Err(error) => {
                self.lost = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// A stream with unfinished business: reset when dropped, because its end after half a unit would
/// be a protocol violation.
#[derive(Debug)]
struct OpenStream(Option<SendStream>);

impl OpenStream {
    fn get(&mut self) -> Result<&mut SendStream, Error> {
        self.0.as_mut().ok_or_else(|| Error::Invalid("the QUIC stream has ended".to_owned()))
    }

    async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), Error> {
        self.get()?.write_chunks(chunks).await
    }

    /// Ends the stream; the future ends when the server has acknowledged everything.
    fn finish(mut self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let delivered = self.0.take().map(|mut stream| {
            stream.finish();
            stream.delivered()
        });
        async move {
            match delivered {
                Some(delivered) => delivered.await,
                None => Ok(()),
            }
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            stream.reset(Code::CANCELLED);
        }
    }
}

/// Waits for the delivery in the background, and forgets what was delivered before.
fn track(
    sent: &mut JoinSet<Result<(), Error>>,
    delivered: impl Future<Output = Result<(), Error>> + Send + 'static,
) {
    while sent.try_join_next().is_some() {}
    sent.spawn(delivered);
}

fn preamble(kind: GroupKind, first: &Unit, discontinuity: bool) -> Bytes {
    let sequence = first.header().sequence();
    let preamble = GroupPreamble {
        kind,
        continuation: false,
        discontinuity,
        stream_id: first.header().stream_id(),
        group: sequence,
        first_sequence: sequence,
    };
    preamble.encode()
}

fn wire_chunks(units: &[Unit]) -> Vec<Bytes> {
    units.iter().flat_map(|unit| unit.chunks().iter().cloned()).collect()
}

/// Reads the return half of a baseline stream.
async fn read_feedback(mut recv: RecvStream, wire_stream_id: StreamId, state: Arc<MediaState>) {
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    while let Ok(Some(chunk)) = recv.read_chunk().await {
        decoder.push(&chunk);
        loop {
            match decoder.next_message::<pb::PublisherFeedback>() {
                Ok(Some(mut feedback)) => {
                    // The stream says whose it is.
                    feedback.stream_id = wire_stream_id.to_string();
                    state.feedback(&feedback);
                }
                Ok(None) => break,
                Err(error) => return recv.stop(error.code()),
            }
        }
    }
}
