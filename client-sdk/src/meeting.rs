//! A meeting as a participant sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{Code, Features, MeetingId, ParticipantId, StreamId};
use pb::envelope::Message;
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::JoinGrant;
use crate::error::Error;
use crate::events::{EventSender, Events};
use crate::media::{MediaNews, MediaSession, attach, lock};
use crate::options::{JoinOptions, PublishOptions, SubscribeOptions};
use crate::publisher::{Publication, Publisher};
use crate::session::event::Event;
use crate::session::inbox::Inbox;
use crate::session::roster::{Participant, Roster};
use crate::session::standing::Standing;
use crate::session::statistics::{Counters, Direction, Statistics};
use crate::signaling::{SignalEvents, SignalingClient};
use crate::subscriber::{SharedInbox, Subscriber};
use crate::transport::{Connection, Role, Trust};

/// News of the media session that may wait for the task that follows the meeting; the media
/// control stream waits with them.
const MAX_WAITING_NEWS: usize = 16;

/// Entries of [`Statistics::streams`] before the oldest ended ones are forgotten.
const MAX_STATISTICS: usize = 4096;

/// How long [`Meeting::subscribe`] waits for a stream that it does not know.
const STREAM_TIMEOUT: Duration = Duration::from_secs(1);

/// How long after the media session the signaling session may end, if one reason ends both.
const SIGNALING_FOLLOWS: Duration = Duration::from_millis(500);

/// How long [`Meeting::leave`] waits until the server has been told of the end of connections.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// A session in a meeting: signaling and media. Clones are handles of the same session, which
/// ends when the last handle, publisher and subscriber is gone, or with [`leave`](Self::leave).
#[derive(Debug, Clone)]
pub struct Meeting {
    session: Arc<Session>,
}

/// What handles, publishers and subscribers share.
#[derive(Debug)]
pub(crate) struct Session {
    meeting_id: MeetingId,
    participant_id: ParticipantId,
    display_name: String,
    join_duration: Duration,
    signaling: SignalingClient,
    media: MediaSession,
    state: Arc<MeetingState>,
}

/// What the task that follows the meeting shares with the handles.
#[derive(Debug)]
struct MeetingState {
    roster: Mutex<Roster>,
    events: EventSender,
    subscriptions: Mutex<HashMap<StreamId, Arc<SharedInbox>>>,
    /// What this session publishes; gone with the last publisher of a stream.
    publications: Mutex<Vec<Weak<Publication>>>,
    measured: Mutex<Vec<Measured>>,
}

#[derive(Debug)]
enum Measured {
    Incoming(Arc<SharedInbox>),
    Outgoing(Arc<Mutex<Counters>>),
}

impl Measured {
    fn has_ended(&self) -> bool {
        match self {
            Self::Incoming(inbox) => inbox.inspect(Inbox::has_ended),
            Self::Outgoing(counters) => lock(counters).has_ended(),
        }
    }
}

impl Meeting {
    /// Joins a meeting: opens the signaling session, then the media session. If the meeting has a
    /// waiting room, this takes until somebody lets the participant in.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), darktower_client::Error> {
    /// use darktower_client::api::Api;
    /// use darktower_client::{JoinOptions, Meeting, Trust};
    ///
    /// let api = Api::new("https://meet.example.org", Trust::System)?;
    /// let info = api.meeting("brave-otter").await?;
    /// let grant = api.join_grant(info.meeting_id, "Ada").await?;
    /// let meeting = Meeting::join(&grant, JoinOptions::default()).await?;
    /// for participant in meeting.participants() {
    ///     println!("{} publishes {} streams", participant.name, participant.streams.len());
    /// }
    /// meeting.leave().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] by the server or by those who let participants in, [`Error::Timeout`]
    /// after [`JoinOptions::timeout`] or [`JoinOptions::waiting_timeout`], else as
    /// [`connect`](crate::transport::connect).
    pub async fn join(grant: &JoinGrant, options: JoinOptions) -> Result<Self, Error> {
        Box::pin(Self::join_in_steps(grant, options)).await
    }

    async fn join_in_steps(grant: &JoinGrant, options: JoinOptions) -> Result<Self, Error> {
        let started = Instant::now();
        let mut left = options.timeout;
        let trust = options.trust.unwrap_or_else(|| match grant.certificate_hashes.as_slice() {
            [] => Trust::System,
            hashes => Trust::PinnedSha256(hashes.to_vec()),
        });
        let (kind, features) = (options.transport, options.features);
        let request = pb::JoinRequest {
            meeting_id: grant.meeting_id.to_string(),
            join_token: grant.join_token.clone(),
            participant_name: options.name.unwrap_or_default(),
            capabilities: Some(options.capabilities),
            protocol_min: darktower_protocol::version::PROTOCOL_VERSION,
            protocol_max: darktower_protocol::version::PROTOCOL_VERSION,
            ..Default::default()
        };
        let url = &grant.meeting_controller_url;
        let asking = Box::pin(async {
            let (signaling, events) = SignalingClient::connect(url, kind, &trust).await?;
            let joining = signaling.begin_join(request).await?;
            Ok::<_, Error>((signaling, events, joining))
        });
        let (signaling, signal_events, joining) = within(&mut left, asking).await?;
        let asked = Instant::now();
        if let (Some(waiting), Some(on_waiting)) = (&joining.waiting, &options.on_waiting) {
            on_waiting.call(&waiting.meeting_display_name);
        }
        let joined = joining.answer(options.waiting_timeout).await?;
        let waited = asked.elapsed();

        let standing = Standing::new(&joined);
        let participant_id = joined
            .participant_id
            .parse()
            .map_err(|error| Error::Protocol(format!("in JoinResponse: {error}")))?;
        let server = joined
            .media_server
            .ok_or_else(|| Error::Protocol("JoinResponse names no media server".to_owned()))?;

        let (news, media_news) = mpsc::channel(MAX_WAITING_NEWS);
        let starting = Box::pin(async {
            let url = &server.media_handler_url;
            let connection = signaling.connection().origin().connect(url, kind, Role::Media).await?;
            MediaSession::start(connection, server.connection_token, features, news).await
        });
        let media = within(&mut left, starting).await?;

        let state = Arc::new(MeetingState {
            roster: Mutex::new(Roster::new(participant_id, joined.existing_participants, standing)),
            events: EventSender::default(),
            subscriptions: Mutex::default(),
            publications: Mutex::default(),
            measured: Mutex::default(),
        });
        let follower = Follower {
            state: Arc::clone(&state),
            signaling: signaling.clone(),
            signal_events,
            media: media.connection.clone(),
            media_news,
        };
        tokio::spawn(follower.follow());
        let session = Session {
            meeting_id: grant.meeting_id,
            participant_id,
            display_name: joined.meeting_display_name,
            join_duration: started.elapsed().saturating_sub(waited),
            signaling,
            media,
            state,
        };
        Ok(Self { session: Arc::new(session) })
    }

    /// The meeting.
    pub fn meeting_id(&self) -> MeetingId {
        self.session.meeting_id
    }

    /// The meeting's name for people, as it was when this session joined; may be empty.
    /// [`Event::MeetingUpdated`] tells of another one.
    pub fn display_name(&self) -> &str {
        &self.session.display_name
    }

    /// Who this session is.
    pub fn participant_id(&self) -> ParticipantId {
        self.session.participant_id
    }

    /// Host or participant. What this session may do is told by [`rights`](Self::rights).
    pub fn role(&self) -> pb::Role {
        self.session.roster().standing.role
    }

    /// The features of the media protocol that are in force.
    pub fn features(&self) -> Features {
        self.session.media.features
    }

    /// The others, in the order they joined, as of the last event of the server.
    pub fn participants(&self) -> Vec<Participant> {
        self.session.roster().participants().to_vec()
    }

    /// What happens from now on. To miss nobody, call this first and
    /// [`participants`](Self::participants) second. At most 1024 events wait for a reader; one
    /// that is slower gets [`Event::Lagged`] in place of the oldest.
    ///
    /// ```no_run
    /// # async fn example(meeting: darktower_client::Meeting) {
    /// use darktower_client::Event;
    ///
    /// let mut events = meeting.events();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         Event::ParticipantJoined(participant) => println!("{} joined", participant.name),
    ///         Event::StreamPublished { stream, .. } => println!("new: {}", stream.stream_id),
    ///         Event::Closed { code, message } => println!("the end: {code} {message}"),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.session.state.events.subscribe()
    }

    /// Publishes a stream of one layer.
    ///
    /// ```no_run
    /// # async fn example(meeting: darktower_client::Meeting) -> Result<(), darktower_client::Error> {
    /// use darktower_client::{FrameType, OutgoingFrame, PublishOptions};
    ///
    /// let mut publisher = meeting.publish(PublishOptions::audio("Opus", 48_000, 2)).await?;
    /// publisher
    ///     .send(OutgoingFrame {
    ///         frame_type: FrameType::Audio,
    ///         timestamp_us: 1_700_000_000_000_000,
    ///         discardable: false,
    ///         payload: vec![0xf8, 0xff, 0xfe].into(),
    ///     })
    ///     .await?;
    /// publisher.finish().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the options make no sense or name
    /// several layers, else what ended the session.
    pub async fn publish(&self, options: PublishOptions) -> Result<Publisher, Error> {
        let stream = describe(options)?;
        if stream.layers.len() > 1 {
            return Err(Error::Invalid("the stream has several layers: call publish_layers".to_owned()));
        }
        let mut publishers = self.publish_described(stream).await?;
        publishers.pop().ok_or_else(|| Error::Invalid("the stream has no layer".to_owned()))
    }

    /// Publishes a simulcast stream: one publisher per layer of
    /// `options.metadata.video.simulcast_layers`, the lowest bit rate first.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_layers(&self, options: PublishOptions) -> Result<Vec<Publisher>, Error> {
        self.publish_described(describe(options)?).await
    }

    async fn publish_described(&self, stream: StreamDescription) -> Result<Vec<Publisher>, Error> {
        let session = &self.session;
        let message = stream.to_message();
        // The server may end the stream as soon as it has taken it.
        let publication = session.add_publication(&stream);
        session
            .signaling
            .command(Message::PublishStream(pb::PublishStream {
                stream_id: message.stream_id,
                stream_type: message.stream_type,
                metadata: message.metadata,
            }))
            .await?;
        let mut publishers = Vec::with_capacity(stream.layers.len());
        for layer in &stream.layers {
            let counters = Arc::new(Mutex::new(Counters::new(
                Direction::Outgoing,
                stream.stream_id,
                layer.wire_stream_id,
                Instant::now(),
            )));
            session.measure(Measured::Outgoing(Arc::clone(&counters)));
            let (session, publication) = (Arc::clone(session), Arc::clone(&publication));
            publishers.push(Publisher::new(session, &stream, layer.clone(), publication, counters));
        }
        Ok(publishers)
    }

    /// Subscribes to a stream that [`participants`](Self::participants) or an event told of. (A
    /// stream that was not heard of yet is waited for, for a second.)
    /// While the subscriber lives, asking again is an error; wishes are changed with
    /// [`update_subscription`](Self::update_subscription).
    ///
    /// ```no_run
    /// # async fn example(
    /// #     meeting: darktower_client::Meeting,
    /// #     stream_id: darktower_client::StreamId,
    /// # ) -> Result<(), darktower_client::Error> {
    /// use darktower_client::SubscribeOptions;
    ///
    /// let mut subscriber = meeting.subscribe(stream_id, SubscribeOptions::default()).await?;
    /// while let Some(frame) = subscriber.next_frame().await? {
    ///     println!("{:?} of {} bytes", frame.frame_type, frame.payload.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the stream is subscribed to
    /// already, else what ended the session.
    pub async fn subscribe(
        &self,
        stream_id: StreamId,
        options: SubscribeOptions,
    ) -> Result<Subscriber, Error> {
        let session = &self.session;
        // Media may arrive before the answer: the routes must be there first.
        let known = session.wait_for_stream(stream_id).await;
        let is_audio = known.as_ref().is_some_and(StreamDescription::is_audio);
        let mut wire_stream_ids: Vec<StreamId> = match &known {
            Some(stream) => stream.layers.iter().map(|layer| layer.wire_stream_id).collect(),
            None => vec![stream_id],
        };
        let inbox = SharedInbox::new(Inbox::new(stream_id, is_audio));
        session.add_subscription(stream_id, &inbox)?;
        // From here on, dropping the subscriber undoes everything.
        let subscriber = Subscriber::new(Arc::clone(&inbox), Arc::clone(session));
        session.media.add_routes(&wire_stream_ids, &inbox);

        let ack =
            session.signaling.command(subscribe_request(stream_id, options)).await.inspect_err(|error| {
                if matches!(error, Error::Refused { .. }) {
                    // There is nothing to unsubscribe from.
                    inbox.update(Inbox::finish);
                }
            })?;
        let wire_stream_id = match ack.wire_stream_id.as_str() {
            "" => stream_id,
            text => text.parse().map_err(|error| Error::Protocol(format!("in Ack: {error}")))?,
        };
        inbox.update(|inbox| inbox.expect_layer(wire_stream_id));
        if !wire_stream_ids.contains(&wire_stream_id) {
            wire_stream_ids.push(wire_stream_id);
            session.media.add_routes(&[wire_stream_id], &inbox);
        }
        session.measure(Measured::Incoming(Arc::clone(&inbox)));
        let feature = if is_audio { Features::AUDIO_DATAGRAMS } else { Features::GROUPS };
        if !session.media.features.contains(feature) {
            attach(session.media.ingress(), wire_stream_id, wire_stream_ids, inbox).await?;
        }
        Ok(subscriber)
    }

    /// Changes the wishes of a subscription.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the stream is not subscribed to,
    /// else what ended the session.
    pub async fn update_subscription(
        &self,
        stream_id: StreamId,
        options: SubscribeOptions,
    ) -> Result<(), Error> {
        if !lock(&self.session.state.subscriptions).contains_key(&stream_id) {
            return Err(Error::Invalid(format!("stream {stream_id} is not subscribed to")));
        }
        self.session.signaling.command(subscribe_request(stream_id, options)).await.map(drop)
    }

    /// Ends a subscription; its subscriber gets what has arrived, then `None`.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the stream is not subscribed to,
    /// else what ended the session.
    pub async fn unsubscribe(&self, stream_id: StreamId) -> Result<(), Error> {
        let Some(inbox) = lock(&self.session.state.subscriptions).remove(&stream_id) else {
            return Err(Error::Invalid(format!("stream {stream_id} is not subscribed to")));
        };
        inbox.cancel();
        self.session.media.remove_routes(&inbox);
        self.session.signaling.command(unsubscribe_request(stream_id)).await.map(drop)
    }

    /// Leaves the meeting for all handles, and waits until the server knows.
    ///
    /// # Errors
    /// If the server did not confirm; the session has ended all the same.
    pub async fn leave(self) -> Result<(), Error> {
        let left = self.session.signaling.leave().await;
        let media = &self.session.media.connection;
        media.close(Code::NO_ERROR, "");
        let told = async {
            media.wait_idle().await;
            self.session.signaling.connection().wait_idle().await;
        };
        // The server finds out by its idle timeout if this is not enough.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, told).await;
        left
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// What was measured up to now.
    pub fn statistics(&self) -> Statistics {
        let session = &self.session;
        let now = Instant::now();
        let mut streams = Vec::new();
        for measured in lock(&session.state.measured).iter() {
            match measured {
                Measured::Incoming(inbox) => inbox.inspect(|inbox| streams.extend(inbox.statistics(now))),
                Measured::Outgoing(counters) => streams.push(lock(counters).snapshot(now)),
            }
        }
        Statistics {
            join_duration: session.join_duration,
            rtt: session.media.connection.rtt(),
            clock_offset_us: session.media.clock_offset_us(),
            streams,
        }
    }
}

/// A step of joining, within what is `left` of the time for all of them.
async fn within<T>(left: &mut Duration, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let begun = Instant::now();
    let done = tokio::time::timeout(*left, step).await.unwrap_or(Err(Error::Timeout("joining the meeting")));
    *left = left.saturating_sub(begun.elapsed());
    done
}

fn describe(options: PublishOptions) -> Result<StreamDescription, Error> {
    let request = pb::PublishStream {
        stream_id: options.stream_id.unwrap_or_else(StreamId::generate).to_string(),
        stream_type: options.stream_type.into(),
        metadata: Some(options.metadata),
    };
    StreamDescription::try_from(request).map_err(|error| Error::Invalid(error.to_string()))
}

fn subscribe_request(stream_id: StreamId, options: SubscribeOptions) -> Message {
    Message::SubscribeStream(pb::SubscribeStream {
        stream_id: stream_id.to_string(),
        options: Some(pb::SubscriptionOptions {
            preferred_layer: options.preferred_layer,
            max_bitrate: options.max_bitrate_bps,
        }),
    })
}

fn unsubscribe_request(stream_id: StreamId) -> Message {
    Message::UnsubscribeStream(pb::UnsubscribeStream { stream_id: stream_id.to_string() })
}

impl Session {
    pub(crate) fn media(&self) -> &MediaSession {
        &self.media
    }

    pub(crate) fn signaling(&self) -> &SignalingClient {
        &self.signaling
    }

    /// Who is there, and what this session knows of itself. Not to be held across an await.
    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.state.roster)
    }

    fn add_publication(&self, stream: &StreamDescription) -> Arc<Publication> {
        let publication = Arc::new(Publication::new(stream.stream_id, stream.layers.len()));
        let mut publications = lock(&self.state.publications);
        publications.retain(|known| known.strong_count() > 0);
        publications.push(Arc::downgrade(&publication));
        publication
    }

    /// Ends a subscription whose subscriber is gone.
    pub(crate) fn subscriber_dropped(&self, inbox: &Arc<SharedInbox>) {
        self.media.remove_routes(inbox);
        let (stream_id, had_ended) = inbox.inspect(|inbox| (inbox.stream_id(), inbox.has_ended()));
        inbox.abandon();
        let mut subscriptions = lock(&self.state.subscriptions);
        if subscriptions.get(&stream_id).is_some_and(|current| Arc::ptr_eq(current, inbox)) {
            subscriptions.remove(&stream_id);
            drop(subscriptions);
            if !had_ended {
                self.signaling.send_and_forget(unsubscribe_request(stream_id));
            }
        }
    }

    /// A stream of the roster. `None` if it is not there in a second.
    async fn wait_for_stream(&self, stream_id: StreamId) -> Option<StreamDescription> {
        let mut events = self.state.events.subscribe();
        let found = async {
            loop {
                if let Some(stream) = lock(&self.state.roster).stream(stream_id) {
                    return Some(stream.clone());
                }
                events.next().await?;
            }
        };
        tokio::time::timeout(STREAM_TIMEOUT, found).await.ok().flatten()
    }

    fn add_subscription(&self, stream_id: StreamId, inbox: &Arc<SharedInbox>) -> Result<(), Error> {
        let mut subscriptions = lock(&self.state.subscriptions);
        match subscriptions.get(&stream_id) {
            Some(current) if !current.inspect(Inbox::has_ended) => {
                Err(Error::Invalid(format!("stream {stream_id} is subscribed to already")))
            }
            _ => {
                subscriptions.insert(stream_id, Arc::clone(inbox));
                Ok(())
            }
        }
    }

    fn measure(&self, measured: Measured) {
        let mut all = lock(&self.state.measured);
        if all.len() >= MAX_STATISTICS
            && let Some(oldest) = all.iter().position(Measured::has_ended)
        {
            all.remove(oldest);
        }
        all.push(measured);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.signaling.close(Code::NO_ERROR, "");
        self.media.connection.close(Code::NO_ERROR, "");
    }
}

/// Follows the server's events until the session ends.
struct Follower {
    state: Arc<MeetingState>,
    signaling: SignalingClient,
    signal_events: SignalEvents,
    media: Connection,
    media_news: mpsc::Receiver<MediaNews>,
}

impl Follower {
    async fn follow(mut self) {
        let error = loop {
            tokio::select! {
                event = self.signal_events.next() => match event {
                    Some(event) => self.apply(event.message),
                    None => break self.signaling.ended(),
                },
                news = self.media_news.recv() => match news {
                    Some(MediaNews::GoAway(go_away)) => self.state.events.send(Event::GoAway {
                        new_url: go_away.new_url,
                        deadline: Duration::from_millis(go_away.deadline_ms.into()),
                    }),
                    Some(MediaNews::Refused(refusal)) => {
                        warn!(message = refusal.message, "the server refused published media");
                        let stream_id = refusal.details.get("stream_id").and_then(|id| id.parse().ok());
                        self.state.events.send(Event::MediaRefused { stream_id, message: refusal.message });
                    }
                    Some(MediaNews::Ended(error)) => break self.why(error).await,
                    None => break Error::Invalid("the media session has ended".to_owned()),
                },
            }
        };
        // A participant with half a session would only seem to be there.
        self.signaling.close(Code::NO_ERROR, "the media session has ended");
        self.media.close(Code::NO_ERROR, "the signaling session has ended");
        let (code, message) = match error {
            Error::Closed { code, reason } => (code, reason),
            Error::Timeout(_) => (Code::TIMED_OUT, error.to_string()),
            Error::Protocol(_) => (Code::PROTOCOL_VIOLATION, error.to_string()),
            error => (error.code().unwrap_or(Code::INTERNAL), error.to_string()),
        };
        self.state.events.close(Event::Closed { code, message });
    }

    /// Why the session has ended, when the media session has: a server that removes somebody, or stops, closes both, and
    /// says why on signaling. There the answer to a last request may be on its way, too.
    async fn why(&mut self, media_error: Error) -> Error {
        let told_by_signaling = [Code::NO_ERROR, Code::GOING_AWAY, Code::KICKED, Code::MEETING_ENDED];
        if !media_error.code().is_some_and(|code| told_by_signaling.contains(&code)) {
            return media_error;
        }
        let signaling_ends = async {
            while let Some(event) = self.signal_events.next().await {
                self.apply(event.message);
            }
        };
        match tokio::time::timeout(SIGNALING_FOLLOWS, signaling_ends).await {
            Ok(()) => self.signaling.ended(),
            Err(_) => media_error,
        }
    }

    fn apply(&self, message: Message) {
        let change = lock(&self.state.roster).apply(message);
        for stream_id in change.ended_streams {
            let subscription = lock(&self.state.subscriptions).get(&stream_id).cloned();
            if let Some(inbox) = subscription {
                inbox.update(|inbox| inbox.announce_end(Instant::now()));
            }
        }
        if let Some(stream_id) = change.ended_publication {
            let publications = lock(&self.state.publications);
            let live = publications.iter().filter_map(Weak::upgrade);
            live.filter(|publication| publication.stream_id() == stream_id)
                .for_each(|publication| publication.end());
        }
        if let Some(event) = change.event {
            self.state.events.send(event);
        }
    }
}
