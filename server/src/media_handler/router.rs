//! Who may publish what, and who gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use darktower_core::media::MediaKind;
use darktower_core::meeting::MediaCommand;
use darktower_core::meeting::quality::IngressSample;
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{Code, MeetingId, ParticipantId, StreamId};
use dashmap::DashMap;
use tokio::sync::Notify;
use uuid::Uuid;

use super::MediaControl;
use super::shard::SubscriberHandle;
use super::stream::MediaStream;
use crate::transport::Session;

/// A client has this long from its admission to its media session.
const CONNECTION_TOKEN_LIFE: Duration = Duration::from_secs(60);

/// A client that leaves its meeting has this long to close its media session itself.
const LEAVE_GRACE: Duration = Duration::from_millis(250);

/// What of the media handler is configurable.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// `https://HOST:PORT/v1/media`, told to clients.
    pub url: String,
    /// Payload bounds of units from publishers.
    pub limits: UnitLimits,
    /// Share of its core, 0 to 1, beyond which a shard refuses new sessions.
    pub max_load: f64,
}

/// The media handler of this process.
#[derive(Debug)]
pub struct MediaHandler {
    pub(super) settings: MediaSettings,
    /// Whose the connection tokens are that wait to be used; at most one per participant.
    tokens: DashMap<String, ParticipantId>,
    participants: DashMap<ParticipantId, Arc<Participant>>,
    /// Clients choose stream ids: what one meeting calls a stream is nothing to another.
    streams: DashMap<(MeetingId, StreamId), Arc<MediaStream>>,
    next_session: AtomicU64,
}

/// A participant as the media handler knows it, with or without a media session.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) id: ParticipantId,
    pub(super) meeting: MeetingId,
    routing: Mutex<Routing>,
    registered: Notify,
}

#[derive(Debug, Default)]
struct Routing {
    /// What it may publish, by wire stream id.
    published: BTreeMap<StreamId, Arc<MediaStream>>,
    /// What it gets, by wire stream id.
    wanted: BTreeMap<StreamId, Arc<MediaStream>>,
    session: Option<Connected>,
    /// The connection token that waits to be used, and until when it may be.
    token: Option<(String, Instant)>,
    /// Its video is sent before that of others.
    is_prominent: bool,
    /// It has left; nothing may be started for it any more.
    gone: bool,
}

/// The participant has left.
#[derive(Debug)]
pub(super) struct Gone;

/// The media session of a participant.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) number: u64,
    pub(super) session: Session,
    pub(super) subscriber: SubscriberHandle,
}

impl MediaHandler {
    /// A media handler without participants.
    pub fn new(settings: MediaSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            tokens: DashMap::new(),
            participants: DashMap::new(),
            streams: DashMap::new(),
            next_session: AtomicU64::new(0),
        })
    }

    /// The participant a connection token was made for. A token works once.
    pub(super) fn redeem(&self, token: &str) -> Option<Arc<Participant>> {
        let (_, id) = self.tokens.remove(token)?;
        let participant = Arc::clone(self.participants.get(&id)?.value());
        let (_, expires) = participant.lock().token.take()?;
        (Instant::now() <= expires).then_some(participant)
    }

    /// A number that no other session of this process has.
    pub(super) fn next_session_number(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    fn register(self: &Arc<Self>, meeting: MeetingId, id: ParticipantId, streams: &[StreamDescription]) {
        let participant =
            Arc::clone(&self.participants.entry(id).or_insert_with(|| Participant::new(id, meeting)));
        let layers = streams.iter().flat_map(|stream| &stream.layers);
        let layers: BTreeSet<StreamId> = layers.map(|layer| layer.wire_stream_id).collect();
        let mut gone = Vec::new();
        {
            let mut routing = participant.lock();
            routing.published.retain(|wire_id, stream| {
                let stays = layers.contains(wire_id);
                if !stays {
                    gone.push(Arc::clone(stream));
                }
                stays
            });
            for stream in streams {
                self.add_layers(meeting, stream, &mut routing);
            }
        }
        participant.registered.notify_waiters();
        if !gone.is_empty() {
            let handler = Arc::clone(self);
            tokio::spawn(async move { handler.drain(meeting, gone).await });
        }
    }

    /// What is new of a stream.
    fn add_layers(&self, meeting: MeetingId, stream: &StreamDescription, routing: &mut Routing) {
        let kind = if stream.is_audio() { MediaKind::Audio } else { MediaKind::Video };
        let is_screen = stream.stream_type == pb::StreamType::VideoScreen;
        let is_prominent = routing.is_prominent;
        let mut lower = Vec::new();
        // From the lowest to the highest: each knows the ones below it.
        for layer in &stream.layers {
            let id = layer.wire_stream_id;
            let added = routing.published.entry(id).or_insert_with(|| {
                let added = MediaStream::new(id, kind, is_screen, is_prominent, lower.clone());
                added.watch_demand();
                // The same id may still be draining from an earlier publication.
                if let Some(older) = self.streams.insert((meeting, id), Arc::clone(&added)) {
                    older.end();
                }
                added
            });
            lower.insert(0, Arc::clone(added));
        }
    }

    fn unregister(self: &Arc<Self>, id: ParticipantId) {
        let Some((_, participant)) = self.participants.remove(&id) else { return };
        let mut routing = participant.lock();
        let streams = std::mem::take(&mut routing.published);
        let wanted = std::mem::take(&mut routing.wanted);
        routing.gone = true;
        if let Some((token, _)) = routing.token.take() {
            self.tokens.remove(&token);
        }
        let session = routing.session.take();
        // Under the lock: a session that ends meanwhile must not give its place to another before this.
        if let Some(connected) = &session {
            wanted.values().for_each(|stream| stream.unsubscribe(&connected.subscriber));
        }
        drop(routing);
        let (handler, meeting) = (Arc::clone(self), participant.meeting);
        tokio::spawn(async move {
            handler.drain(meeting, streams.into_values().collect()).await;
            if let Some(Connected { session, .. }) = session {
                let _stays = tokio::time::timeout(LEAVE_GRACE, session.closed()).await;
                session.close(Code::NO_ERROR, "the participant left");
            }
        });
    }

    /// Lets what is on its way arrive, then ends streams and forgets them.
    async fn drain(&self, meeting: MeetingId, streams: Vec<Arc<MediaStream>>) {
        futures_util::future::join_all(streams.iter().map(|stream| stream.drain())).await;
        for stream in streams {
            self.streams.remove_if(&(meeting, stream.id), |_, current| Arc::ptr_eq(current, &stream));
            // Those with a session forget the stream when they have sent its last unit.
            for id in stream.destinations() {
                if let Some(participant) = self.participants.get(&id) {
                    participant.forget_if_disconnected(&stream);
                }
            }
        }
    }

    fn set_prominent(&self, id: ParticipantId, is_prominent: bool) {
        let Some(participant) = self.participants.get(&id) else { return };
        let mut routing = participant.lock();
        routing.is_prominent = is_prominent;
        routing.published.values().for_each(|stream| stream.set_prominent(is_prominent));
    }

    fn route(&self, meeting: MeetingId, wire_stream_id: StreamId, id: ParticipantId, is_routed: bool) {
        let stream = self.streams.get(&(meeting, wire_stream_id)).map(|stream| Arc::clone(&stream));
        let Some(stream) = stream else { return };
        stream.set_destination(id, is_routed);
        if let Some(participant) = self.participants.get(&id) {
            participant.set_wanted(&stream, is_routed);
        }
    }
}

/// The trait is implemented on the handle, because commands start tasks that keep the handler.
impl MediaControl for Arc<MediaHandler> {
    fn admit(&self, participant: ParticipantId) -> pb::MediaServerInfo {
        let connection_token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        if let Some(participant) = self.participants.get(&participant) {
            let expires = Instant::now() + CONNECTION_TOKEN_LIFE;
            let unused = participant.lock().token.replace((connection_token.clone(), expires));
            if let Some((unused, _)) = unused {
                self.tokens.remove(&unused);
            }
            self.tokens.insert(connection_token.clone(), participant.id);
        }
        pb::MediaServerInfo { media_handler_url: self.settings.url.clone(), connection_token }
    }

    fn execute(&self, meeting: MeetingId, command: MediaCommand) {
        match command {
            MediaCommand::Register { participant, streams } => self.register(meeting, participant, &streams),
            MediaCommand::Unregister { participant } => self.unregister(participant),
            MediaCommand::Route { wire_stream_id, destination, is_routed } => {
                self.route(meeting, wire_stream_id, destination, is_routed);
            }
            MediaCommand::Prominent { participant, is_prominent } => {
                self.set_prominent(participant, is_prominent);
            }
            MediaCommand::Advise { wire_stream_id, target_bitrate_bps } => {
                if let Some(stream) = self.streams.get(&(meeting, wire_stream_id)) {
                    stream.advise(target_bitrate_bps);
                }
            }
            MediaCommand::Forward { wire_stream_id, is_forwarded } => {
                if let Some(stream) = self.streams.get(&(meeting, wire_stream_id)) {
                    stream.set_forwarded(is_forwarded);
                }
            }
        }
    }

    fn expel(&self, participant: ParticipantId, code: Code) {
        if let Some(participant) = self.participants.get(&participant)
            && let Some(connected) = &participant.lock().session
        {
            let reason = match code {
                Code::MEETING_ENDED => "the meeting is over",
                _ => "you were removed from the meeting",
            };
            connected.session.close(code, reason);
        }
    }

    fn request_key_frame(&self, meeting: MeetingId, wire_stream_id: StreamId) {
        if let Some(stream) = self.streams.get(&(meeting, wire_stream_id)) {
            stream.request_key_frame();
        }
    }
}

impl Participant {
    fn new(id: ParticipantId, meeting: MeetingId) -> Arc<Self> {
        Arc::new(Self { id, meeting, routing: Mutex::default(), registered: Notify::new() })
    }

    /// The stream it may publish under this id, at once or as soon as it is registered. Does not
    /// end by itself if it never is.
    pub(super) async fn published_stream(&self, wire_id: StreamId) -> Arc<MediaStream> {
        loop {
            let registered = self.registered.notified();
            if let Some(stream) = self.published_now(wire_id) {
                return stream;
            }
            registered.await;
        }
    }

    /// The stream it may publish under this id, if it is registered now.
    pub(super) fn published_now(&self, wire_id: StreamId) -> Option<Arc<MediaStream>> {
        self.lock().published.get(&wire_id).cloned()
    }

    /// What has come of everything that it publishes, since this was last asked.
    pub(super) fn take_counts(&self) -> Vec<IngressSample> {
        let published: Vec<Arc<MediaStream>> = self.lock().published.values().cloned().collect();
        published.iter().map(|stream| stream.take_count()).collect()
    }

    /// It has been sent the end of a stream.
    pub(super) fn forget(&self, stream: &Arc<MediaStream>) {
        let mut routing = self.lock();
        if routing.wanted.get(&stream.id).is_some_and(|wanted| Arc::ptr_eq(wanted, stream)) {
            routing.wanted.remove(&stream.id);
        }
    }

    /// Its media session begins; an earlier one is closed.
    ///
    /// # Errors
    /// If the participant has left meanwhile.
    pub(super) fn connect(&self, connected: Connected) -> Result<(), Gone> {
        let mut routing = self.lock();
        if routing.gone {
            return Err(Gone);
        }
        for stream in routing.wanted.values() {
            stream.subscribe(&connected.subscriber);
        }
        if let Some(older) = routing.session.replace(connected) {
            older.session.close(Code::DUPLICATE, "the same participant opened another media session");
        }
        Ok(())
    }

    /// The stream or layer that it may be getting under this wire stream id.
    pub(super) fn wanted(&self, wire_id: StreamId) -> Option<Arc<MediaStream>> {
        let routing = self.lock();
        let lower = || routing.wanted.values().flat_map(|stream| &stream.lower);
        let wanted = routing.wanted.get(&wire_id);
        wanted.or_else(|| lower().find(|layer| layer.id == wire_id)).cloned()
    }

    /// Its media session `number` is over, unless another has taken its place.
    pub(super) fn disconnect(&self, number: u64) {
        let mut routing = self.lock();
        if routing.session.as_ref().is_some_and(|connected| connected.number == number) {
            routing.session = None;
        }
    }

    fn forget_if_disconnected(&self, stream: &Arc<MediaStream>) {
        if self.lock().session.is_none() {
            self.forget(stream);
        }
    }

    fn set_wanted(&self, stream: &Arc<MediaStream>, wanted: bool) {
        let mut routing = self.lock();
        let before = match wanted {
            true => routing.wanted.insert(stream.id, Arc::clone(stream)),
            false => routing.wanted.remove(&stream.id),
        };
        let Some(connected) = &routing.session else { return };
        match (before, wanted) {
            (Some(before), true) if Arc::ptr_eq(&before, stream) => {}
            (before, wanted) => {
                // An older stream of the same id goes unless it is being sent to its end.
                if let Some(before) = before {
                    before.unsubscribe(&connected.subscriber);
                }
                if wanted {
                    stream.subscribe(&connected.subscriber);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler() -> Arc<MediaHandler> {
        MediaHandler::new(MediaSettings {
            url: "https://127.0.0.1:4433/v1/media".to_owned(),
            limits: UnitLimits::default(),
            max_load: 1.0,
        })
    }

    #[tokio::test]
    async fn a_connection_token_works_once_and_for_its_time_and_only_the_latest() {
        let handler = handler();
        let (meeting, id) = (MeetingId::generate(), ParticipantId::generate());
        let register = || MediaCommand::Register { participant: id, streams: Vec::new() };
        handler.execute(meeting, register());
        let older = handler.admit(id).connection_token;
        let newer = handler.admit(id).connection_token;
        assert!(handler.redeem(&older).is_none(), "replaced");
        assert!(handler.redeem(&newer).is_some());
        assert!(handler.redeem(&newer).is_none(), "used");

        let expired = handler.admit(id).connection_token;
        let participant = Arc::clone(handler.participants.get(&id).expect("registered").value());
        let past = Instant::now().checked_sub(Duration::from_secs(1)).expect("the machine runs for longer");
        participant.lock().token.as_mut().expect("a token").1 = past;
        assert!(handler.redeem(&expired).is_none(), "expired");

        let late = handler.admit(id).connection_token;
        handler.execute(meeting, MediaCommand::Unregister { participant: id });
        assert!(handler.redeem(&late).is_none(), "left");
        assert!(handler.tokens.is_empty(), "nothing is kept");
    }
}
