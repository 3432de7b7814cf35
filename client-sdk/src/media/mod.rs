//! The media session: control stream, group streams, datagrams, and who gets what of them.

mod ingress;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use darktower_protocol::limits::{MAX_MESSAGE, UnitLimits};
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::signaling::pb;
use darktower_protocol::version::PROTOCOL_VERSION;
use darktower_protocol::{Code, Features, StreamId};
use pb::media_client_message::Message as ClientMessage;
use pb::media_server_message::Message as ServerMessage;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::publisher::FeedbackState;
use crate::session::clock::ClockEstimate;
use crate::session::inbox::Source;
use crate::subscriber::SharedInbox;
use crate::transport::{Connection, RecvStream, SendStream, in_time};

pub(crate) use ingress::attach;

/// Above all media.
const CONTROL_PRIORITY: i32 = 1000;
/// Below control, above all video.
pub(crate) const AUDIO_PRIORITY: i32 = 900;

/// Control messages that may wait to be written. They are small and rare; when this many wait,
/// the connection is dead, and further ones are dropped.
const MAX_WAITING_MESSAGES: usize = 256;

/// Between two measurements of the clock.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Pings that may wait for their answers; older ones are forgotten.
const MAX_OPEN_PINGS: u64 = 16;

/// Where a session's news go, with the number that the meeting has given it.
#[derive(Debug, Clone)]
pub(crate) struct NewsSender {
    pub(crate) number: u64,
    pub(crate) sender: mpsc::Sender<(u64, MediaNews)>,
}

impl NewsSender {
    async fn tell(&self, news: MediaNews) {
        // The meeting may be gone.
        let _ = self.sender.send((self.number, news)).await;
    }
}

/// News for the meeting.
#[derive(Debug)]
pub(crate) enum MediaNews {
    GoAway(pb::MediaGoAway),
    /// The server did not take a QUIC stream of a publisher.
    Refused(pb::ErrorMessage),
    Ended(Error),
}

/// A media session after its handshake.
#[derive(Debug)]
pub(crate) struct MediaSession {
    /// Among those of the meeting.
    pub(crate) number: u64,
    pub(crate) connection: Connection,
    pub(crate) features: Features,
    /// What the server accepts in one unit.
    pub(crate) limits: UnitLimits,
    control: mpsc::Sender<Bytes>,
    /// Of quinn's buffer for datagrams.
    space_when_empty: usize,
    pub(crate) state: Arc<MediaState>,
}

/// What the session's tasks share.
#[derive(Debug)]
pub(crate) struct MediaState {
    routes: Arc<Routes>,
    clock: Mutex<Clock>,
}

/// Who gets what arrives. The sessions of a meeting that follow each other share it.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    inboxes: Mutex<HashMap<StreamId, Arc<SharedInbox>>>,
    /// Changes with every new route.
    added: watch::Sender<()>,
    publishers: Mutex<HashMap<StreamId, watch::Sender<FeedbackState>>>,
    /// QUIC streams are numbered anew in each session.
    sources: AtomicU64,
}

#[derive(Debug, Default)]
struct Clock {
    estimate: ClockEstimate,
    last_id: u64,
    open: HashMap<u64, (Instant, u64, Option<oneshot::Sender<()>>)>,
}

impl MediaSession {
    /// Does the handshake on a connection and starts the session's tasks, which end with the
    /// connection.
    pub(crate) async fn start(
        connection: Connection,
        connection_token: String,
        offered: Features,
        routes: Arc<Routes>,
        news: NewsSender,
    ) -> Result<Self, Error> {
        let opening = in_time("the server allows no media control stream", connection.open_bi());
        let (mut send, mut recv) = opening.await?;
        send.set_priority(CONTROL_PRIORITY);
        let hello = pb::MediaHello {
            connection_token,
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            features: offered.names(),
        };
        send.write_all(&message::encode(&client_message(ClientMessage::Hello(hello)))).await?;
        let mut decoder = MessageDecoder::new(MAX_MESSAGE);
        let welcome = match next_message(&mut recv, &mut decoder).await? {
            Some(ServerMessage::Welcome(welcome)) => welcome,
            Some(ServerMessage::Error(error)) => return Err(error.into()),
            Some(_) => {
                return Err(Error::Protocol("the first media control message is no welcome".to_owned()));
            }
            None => return Err(ended_stream(&connection).await),
        };
        let features = Features::from_names(&welcome.features) & offered;
        let (control, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let session = Self {
            number: news.number,
            features,
            limits: limits(welcome.limits),
            control,
            space_when_empty: connection.quic().datagram_send_buffer_space(),
            state: Arc::new(MediaState { routes, clock: Mutex::default() }),
            connection,
        };
        session.spawn_tasks(send, messages, recv, decoder, news);
        Ok(session)
    }

    fn spawn_tasks(
        &self,
        send: SendStream,
        messages: mpsc::Receiver<Bytes>,
        recv: RecvStream,
        decoder: MessageDecoder,
        news: NewsSender,
    ) {
        tokio::spawn(write_control(send, messages));
        let (state, connection) = (Arc::clone(&self.state), self.connection.clone());
        tokio::spawn(async move {
            let error = read_control(recv, decoder, &state, &news, &connection).await;
            connection.close(Code::NO_ERROR, "");
            // No ping is answered any more.
            lock(&state.clock).open.clear();
            news.tell(MediaNews::Ended(error)).await;
        });
        let ingress = ingress::Ingress {
            connection: self.connection.clone(),
            state: Arc::clone(&self.state),
            control: self.control.clone(),
        };
        tokio::spawn(ingress.clone().accept_streams());
        tokio::spawn(ingress.read_datagrams());
        tokio::spawn(measure_clock(
            self.control.clone(),
            Arc::downgrade(&self.state),
            self.connection.clone(),
        ));
    }

    /// Asks for a key frame.
    pub(crate) fn request_key_frame(&self, wire_stream_id: StreamId) {
        request_key_frame(&self.control, wire_stream_id);
    }

    /// Waits until the server has answered a ping, and with it has read what was sent before on
    /// the control stream (and in all likelihood what was sent before on others).
    pub(crate) async fn round_trip(&self) -> Result<(), Error> {
        let (done, answered) = oneshot::channel();
        let ping = self.state.ping(Some(done));
        self.control.send(ping).await.map_err(|_| self.ended())?;
        answered.await.map_err(|_| self.ended())
    }

    /// Whether datagrams are queued that have not left.
    pub(crate) fn has_waiting_datagrams(&self) -> bool {
        self.connection.close_reason().is_none()
            && self.connection.quic().datagram_send_buffer_space() < self.space_when_empty
    }

    /// Server clock − local clock in microseconds.
    pub(crate) fn clock_offset_us(&self) -> i64 {
        lock(&self.state.clock).estimate.offset_us()
    }

    /// Reads a baseline subscription; see [`attach`].
    pub(crate) fn ingress(&self) -> ingress::Ingress {
        ingress::Ingress {
            connection: self.connection.clone(),
            state: Arc::clone(&self.state),
            control: self.control.clone(),
        }
    }

    fn ended(&self) -> Error {
        self.connection
            .close_reason()
            .unwrap_or_else(|| Error::Protocol("the server ended the media control stream".to_owned()))
    }
}

impl Routes {
    /// Where the units of the stream, by all its wire stream ids, go from now on.
    pub(crate) fn add(&self, wire_stream_ids: &[StreamId], inbox: &Arc<SharedInbox>) {
        let mut inboxes = lock(&self.inboxes);
        for id in wire_stream_ids {
            inboxes.insert(*id, Arc::clone(inbox));
        }
        drop(inboxes);
        self.added.send_replace(());
    }

    /// Forgets all routes to the inbox.
    pub(crate) fn remove(&self, inbox: &Arc<SharedInbox>) {
        lock(&self.inboxes).retain(|_, to| !Arc::ptr_eq(to, inbox));
    }

    /// Where feedback for a published wire stream id goes from now on.
    pub(crate) fn add_publisher(&self, wire_stream_id: StreamId, feedback: watch::Sender<FeedbackState>) {
        lock(&self.publishers).insert(wire_stream_id, feedback);
    }

    /// No feedback from now on; its receivers end.
    pub(crate) fn remove_publisher(&self, wire_stream_id: StreamId) {
        lock(&self.publishers).remove(&wire_stream_id);
    }

    /// Groups that were under way are lost, in a session that goes on.
    pub(crate) fn ask_for_key_frames(&self) {
        self.each_feedback(FeedbackState::ask_for_key_frame);
    }

    /// Another session begins for every publisher.
    pub(crate) fn begin_anew(&self) {
        self.each_feedback(FeedbackState::begin_anew);
    }

    fn each_feedback(&self, change: fn(&mut FeedbackState)) {
        lock(&self.publishers).values().for_each(|publisher| publisher.send_modify(change));
    }

    /// Nothing comes any more.
    pub(crate) fn end(&self, error: &Error) {
        for (_, inbox) in lock(&self.inboxes).drain() {
            inbox.update(|inbox| inbox.fail(error.clone()));
        }
        lock(&self.publishers).clear();
    }

    fn get(&self, wire_stream_id: StreamId) -> Option<Arc<SharedInbox>> {
        lock(&self.inboxes).get(&wire_stream_id).cloned()
    }

    /// A name for a QUIC stream that no other has.
    fn next_source(&self) -> Source {
        self.sources.fetch_add(1, Ordering::Relaxed)
    }
}

impl MediaState {
    fn route(&self, wire_stream_id: StreamId) -> Option<Arc<SharedInbox>> {
        self.routes.get(wire_stream_id)
    }

    /// Microseconds since the Unix epoch on the server's clock.
    fn now_us(&self) -> u64 {
        local_us().saturating_add_signed(lock(&self.clock).estimate.offset_us())
    }

    /// Feedback for one of this session's publishers.
    pub(crate) fn feedback(&self, feedback: &pb::PublisherFeedback) {
        let Ok(id) = feedback.stream_id.parse() else { return };
        if let Some(publisher) = lock(&self.routes.publishers).get(&id) {
            publisher.send_modify(|state| state.update(feedback));
        }
    }

    fn ping(&self, done: Option<oneshot::Sender<()>>) -> Bytes {
        let mut clock = lock(&self.clock);
        clock.last_id += 1;
        let id = clock.last_id;
        clock.open.retain(|open, _| open + MAX_OPEN_PINGS > id);
        clock.open.insert(id, (Instant::now(), local_us(), done));
        message::encode(&client_message(ClientMessage::Ping(pb::Ping { id })))
    }

    fn pong(&self, pong: &pb::Pong) {
        let mut clock = lock(&self.clock);
        let Some((sent, sent_us, done)) = clock.open.remove(&pong.id) else { return };
        if pong.server_time != 0 {
            clock.estimate.measured(sent_us, sent.elapsed(), pong.server_time);
        }
        if let Some(done) = done {
            // Whoever waited may be gone.
            let _ = done.send(());
        }
    }
}

/// A poisoned lock means that a task panicked between two plain assignments; the data is sound.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn local_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

fn client_message(message: ClientMessage) -> pb::MediaClientMessage {
    pb::MediaClientMessage { message: Some(message) }
}

fn request_key_frame(control: &mpsc::Sender<Bytes>, wire_stream_id: StreamId) {
    let feedback =
        pb::SubscriberFeedback { stream_id: wire_stream_id.to_string(), key_frame_requested: true };
    // When the queue is full the connection is dead, and when it is gone the session has ended.
    let _ = control.try_send(message::encode(&client_message(ClientMessage::SubscriberFeedback(feedback))));
}

/// The server's limits as far as this side accepts them, too; 0 = the protocol's own.
fn limits(limits: Option<pb::MediaLimits>) -> UnitLimits {
    let own = UnitLimits::default();
    let agreed = |theirs: u32, own: u32| if theirs == 0 { own } else { theirs.min(own) };
    limits.map_or(own, |theirs| UnitLimits {
        max_audio_payload: agreed(theirs.max_audio_payload, own.max_audio_payload),
        max_video_payload: agreed(theirs.max_video_payload, own.max_video_payload),
    })
}

async fn next_message(
    recv: &mut RecvStream,
    decoder: &mut MessageDecoder,
) -> Result<Option<ServerMessage>, Error> {
    loop {
        while let Some(envelope) = decoder.next_message::<pb::MediaServerMessage>()? {
            // Messages of a later version are skipped.
            if let Some(message) = envelope.message {
                return Ok(Some(message));
            }
        }
        match recv.read_chunk().await? {
            Some(chunk) => decoder.push(&chunk),
            None => {
                decoder.finish()?;
                return Ok(None);
            }
        }
    }
}

async fn write_control(mut send: SendStream, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        if send.write_all(&message).await.is_err() {
            // The reading task learns why.
            return;
        }
    }
    send.finish();
}

/// Reads until the session ends, and says why.
async fn read_control(
    mut recv: RecvStream,
    mut decoder: MessageDecoder,
    state: &MediaState,
    news: &NewsSender,
    connection: &Connection,
) -> Error {
    let mut farewell: Option<pb::ErrorMessage> = None;
    let error = loop {
        match next_message(&mut recv, &mut decoder).await {
            Ok(Some(ServerMessage::PublisherFeedback(feedback))) => state.feedback(&feedback),
            Ok(Some(ServerMessage::Pong(pong))) => state.pong(&pong),
            Ok(Some(ServerMessage::Error(error))) if error.code() == pb::ErrorCode::StreamError => {
                news.tell(MediaNews::Refused(error)).await;
            }
            Ok(Some(ServerMessage::Error(error))) => farewell = Some(error),
            Ok(Some(ServerMessage::GoAway(go_away))) => {
                news.tell(MediaNews::GoAway(go_away)).await;
            }
            Ok(Some(ServerMessage::Welcome(_))) => {
                break Error::Protocol("a second welcome on the media control stream".to_owned());
            }
            Ok(None) => break ended_stream(connection).await,
            Err(error) => break error,
        }
    };
    if matches!(error, Error::Protocol(_)) {
        connection.close(Code::PROTOCOL_VIOLATION, &error.to_string());
    }
    match (farewell, error) {
        (Some(farewell), Error::Closed { code, .. }) => Error::Closed { code, reason: farewell.message },
        (Some(farewell), _) => farewell.into(),
        (None, error) => error,
    }
}

/// Why the server ended its stream: the connection's close follows, or is missing.
async fn ended_stream(connection: &Connection) -> Error {
    tokio::time::timeout(Duration::from_secs(1), connection.closed())
        .await
        .unwrap_or_else(|_| Error::Protocol("the server ended the media control stream".to_owned()))
}

async fn measure_clock(
    control: mpsc::Sender<Bytes>,
    state: std::sync::Weak<MediaState>,
    connection: Connection,
) {
    let mut interval = tokio::time::interval(PING_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = connection.closed() => return,
        }
        let Some(state) = state.upgrade() else { return };
        let ping = state.ping(None);
        drop(state);
        if control.try_send(ping).is_err_and(|error| matches!(error, mpsc::error::TrySendError::Closed(_))) {
            return;
        }
    }
}
