//! A meeting as a participant sees it.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{Code, Features, MeetingId, ParticipantId, StreamId};
use pb::envelope::Message;
use tokio::sync::mpsc;

use crate::api::JoinGrant;
use crate::dialing::Route;
use crate::error::Error;
use crate::events::Events;
use crate::follower::{Follower, MAX_WAITING_NEWS, Plan};
use crate::media::{MediaSession, NewsSender, Routes, lock};
use crate::options::{JoinOptions, PublishOptions, SubscribeOptions};
use crate::publisher::Publisher;
use crate::reach::{Reach, State};
use crate::session::inbox::Inbox;
use crate::session::losses::{Came, Losses};
use crate::session::roster::{Participant, Roster};
use crate::session::standing::Standing;
use crate::session::statistics::{Counters, Direction, Statistics};
use crate::signaling::SignalingClient;
use crate::state::{Measured, MeetingState, Undo, subscribe_request, unsubscribe_request};
use crate::subscriber::{SharedInbox, Subscriber};
use crate::transport::{Origin, Role, Trust};

/// How long [`Meeting::subscribe`] waits for a stream that it does not know.
const STREAM_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the server is told what is lost: its memory of it is 15 s.
const QUALITY_INTERVAL: Duration = Duration::from_secs(10);

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
    state: Arc<MeetingState>,
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
        let features = options.features;
        let origin = Origin::new(&trust)?;
        let route = |url: &str, role| {
            let (url, origin) = (url.to_owned(), origin.clone());
            Route { url, kind: options.transport, role, origin }
        };
        let to_controller = route(&grant.meeting_controller_url, Role::Signal);
        let request = pb::JoinRequest {
            meeting_id: grant.meeting_id.to_string(),
            join_token: grant.join_token.clone(),
            participant_name: options.name.unwrap_or_default(),
            capabilities: Some(options.capabilities),
            protocol_min: darktower_protocol::version::PROTOCOL_VERSION,
            protocol_max: darktower_protocol::version::PROTOCOL_VERSION,
            ..Default::default()
        };
        let asking = Box::pin(async {
            let (signaling, events) = SignalingClient::start(to_controller.connect().await?).await?;
            // The server may let it in before its answer is here.
            let entered = Entered(Some(signaling.clone()));
            let joining = signaling.begin_join(request.clone()).await?;
            Ok::<_, Error>((signaling, events, joining, entered))
        });
        let (signaling, signal_events, joining, entered) = within(&mut left, asking).await?;
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
        let routes = Arc::<Routes>::default();
        let to_handler = route(&server.media_handler_url, Role::Media);
        let starting = Box::pin(async {
            let connection = to_handler.connect().await?;
            let news = NewsSender { number: 1, sender: news.clone() };
            let token = server.connection_token;
            MediaSession::start(connection, token, features, Arc::clone(&routes), news).await
        });
        let media = within(&mut left, starting).await?;
        entered.stay();

        let roster = Roster::new(participant_id, joined.existing_participants, standing);
        let reach = Reach::new(signaling, Arc::new(media));
        let state = Arc::new(MeetingState::new(roster, reach, routes));
        let plan = Plan {
            signaling: to_controller,
            media: to_handler,
            features,
            join: request,
            on_waiting: options.on_waiting,
            limit: options.reconnect_for,
        };
        let ticket = joined.resume_ticket;
        let follower = Follower::new(Arc::clone(&state), plan, ticket, signal_events, news, media_news);
        tokio::spawn(follower.follow());
        let session = Session {
            meeting_id: grant.meeting_id,
            participant_id,
            display_name: joined.meeting_display_name,
            join_duration: started.elapsed().saturating_sub(waited),
            state,
        };
        let session = Arc::new(session);
        tokio::spawn(tell_quality(Arc::downgrade(&session)));
        Ok(Self { session })
    }

    /// The meeting.
    pub fn meeting_id(&self) -> MeetingId {
        self.session.meeting_id
    }

    /// The meeting's name for people, as it was when this session joined; may be empty.
    /// [`Event::MeetingUpdated`](crate::Event::MeetingUpdated) tells of another one.
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

    /// The features of the media protocol that are in force, or were last.
    pub fn features(&self) -> Features {
        self.session.reach().media().session.features
    }

    /// The others, in the order they joined, as of the last event of the server.
    pub fn participants(&self) -> Vec<Participant> {
        self.session.roster().participants().to_vec()
    }

    /// What happens from now on. To miss nobody, call this first and
    /// [`participants`](Self::participants) second. At most 1024 events wait for a reader; one
    /// that is slower gets [`Event::Lagged`](crate::Event::Lagged) in place of the oldest.
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
        // The server may end the stream as soon as it has taken it.
        let publication = session.state.add_publication(&stream);
        let mut published = session.reach().command(publication.request()).await;
        while matches!(published, Err(Error::Interrupted)) {
            published = match session.reach().command(publication.request()).await {
                // It had been taken before, unless it is somebody else's.
                Err(Error::Refused { code: pb::ErrorCode::Conflict, .. })
                    if session.roster().stream(stream.stream_id).is_none() =>
                {
                    Ok(pb::Ack::default())
                }
                published => published,
            };
        }
        published?;
        publication.take();
        let mut publishers = Vec::with_capacity(stream.layers.len());
        for layer in &stream.layers {
            let counters = Arc::new(Mutex::new(Counters::new(
                Direction::Outgoing,
                stream.stream_id,
                layer.wire_stream_id,
                Instant::now(),
            )));
            session.state.measure(Measured::Outgoing(Arc::clone(&counters)));
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
        let known = session.wait_for_stream(stream_id).await;
        let is_audio = known.as_ref().is_some_and(StreamDescription::is_audio);
        let inbox = SharedInbox::new(Inbox::new(stream_id, is_audio));
        session.state.add_subscription(stream_id, known.as_ref(), options.clone(), &inbox, false)?;
        // From here on, dropping the subscriber undoes everything.
        let subscriber = Subscriber::new(Arc::clone(&inbox), Arc::clone(session));
        let ack = session.ask(|| subscribe_request(stream_id, options.clone())).await;
        let ack = ack.inspect_err(|error| {
            if matches!(error, Error::Refused { .. }) {
                // There is nothing to unsubscribe from.
                inbox.update(Inbox::finish);
            }
        })?;
        session.state.measure(Measured::Incoming(inbox));
        session.state.subscribed(stream_id, &ack).await?;
        Ok(subscriber)
    }

    /// Changes the wishes of a subscription. One that the server has chosen is this session's own from then on.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the stream is not subscribed to,
    /// else what ended the session.
    pub async fn update_subscription(
        &self,
        stream_id: StreamId,
        options: SubscribeOptions,
    ) -> Result<(), Error> {
        let Some(was_auto) = self.session.state.change_subscription(stream_id, &options) else {
            return Err(Error::Invalid(format!("stream {stream_id} is not subscribed to")));
        };
        let changed = self.session.ask(|| subscribe_request(stream_id, options.clone())).await;
        if changed.is_err() && was_auto {
            self.session.state.give_back(stream_id);
        }
        self.session.state.subscribed(stream_id, &changed?).await
    }

    /// Ends a subscription; its subscriber gets what has arrived, then `None`.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the stream is not subscribed to,
    /// else what ended the session.
    pub async fn unsubscribe(&self, stream_id: StreamId) -> Result<(), Error> {
        let Some(inbox) = self.session.state.remove_subscription(stream_id, None) else {
            return Err(Error::Invalid(format!("stream {stream_id} is not subscribed to")));
        };
        inbox.cancel();
        self.session.undo(Undo::Unsubscribe(stream_id));
        match self.session.reach().command(unsubscribe_request(stream_id)).await {
            // The server is told when it is reached again.
            Ok(_) | Err(Error::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Leaves the meeting for all handles, and waits until the server knows, if it can be reached.
    ///
    /// # Errors
    /// If the server did not confirm; the session has ended all the same.
    pub async fn leave(self) -> Result<(), Error> {
        let signaling = self.session.reach().signaling();
        let left = match signaling.state {
            State::Open => signaling.session.leave().await,
            State::Broken => Err(Error::Timeout("the connection to the server is lost")),
            State::Over(error) => Err(error),
        };
        self.session.close();
        let told = async {
            self.session.reach().media().session.connection.wait_idle().await;
            signaling.session.connection().wait_idle().await;
        };
        // The server finds out by its idle timeout if this is not enough.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, told).await;
        left
    }

    pub(crate) fn shared_session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// What was measured up to now.
    pub fn statistics(&self) -> Statistics {
        self.session.statistics()
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

impl Session {
    pub(crate) fn reach(&self) -> &Reach {
        &self.state.reach
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.state.routes
    }

    pub(crate) fn state(&self) -> &MeetingState {
        &self.state
    }

    pub(crate) fn undo(&self, undo: Undo) {
        self.state.undo(undo);
    }

    /// Who is there, and what this session knows of itself. Not to be held across an await.
    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.state.roster)
    }

    /// Sends a request that may be carried out twice.
    pub(crate) async fn ask(&self, request: impl Fn() -> Message) -> Result<pb::Ack, Error> {
        loop {
            match self.reach().command(request()).await {
                Err(Error::Interrupted) => {}
                answer => return answer,
            }
        }
    }

    /// Ends a subscription whose subscriber is gone.
    pub(crate) fn subscriber_dropped(&self, inbox: &Arc<SharedInbox>) {
        let (stream_id, had_ended) = inbox.inspect(|inbox| (inbox.stream_id(), inbox.has_ended()));
        inbox.abandon();
        self.routes().remove(inbox);
        let removed = self.state.remove_subscription(stream_id, Some(inbox));
        if removed.is_some() && !had_ended {
            self.undo(Undo::Unsubscribe(stream_id));
            self.reach().signaling().session.send_and_forget(unsubscribe_request(stream_id));
        }
    }

    /// A stream of the roster. `None` if it is not there in a second.
    async fn wait_for_stream(&self, stream_id: StreamId) -> Option<StreamDescription> {
        let mut events = self.state.events.subscribe();
        let found = async {
            loop {
                if let Some(stream) = self.roster().stream(stream_id) {
                    return Some(stream.clone());
                }
                events.next().await?;
            }
        };
        tokio::time::timeout(STREAM_TIMEOUT, found).await.ok().flatten()
    }

    fn close(&self) {
        self.reach().signaling().session.close(Code::NO_ERROR, "");
        self.reach().media().session.connection.close(Code::NO_ERROR, "");
        self.state.closing.cancel();
    }

    fn statistics(&self) -> Statistics {
        let now = Instant::now();
        let mut streams = Vec::new();
        self.state.each_measured(|measured| match measured {
            Measured::Incoming(inbox) => inbox.inspect(|inbox| streams.extend(inbox.statistics(now))),
            Measured::Outgoing(counters) => streams.push(lock(counters).snapshot(now)),
        });
        let media = self.reach().media().session;
        Statistics {
            join_duration: self.join_duration,
            rtt: media.connection.rtt(),
            clock_offset_us: media.clock_offset_us(),
            streams,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The task that follows the meeting leaves it.
        self.state.closing.cancel();
    }
}

/// Somebody whom the server may have let in, and who leaves again unless its session begins.
struct Entered(Option<SignalingClient>);

impl Entered {
    fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(signaling) = &self.0 {
            signaling.leave_in_background();
        }
    }
}

/// Tells the server, for as long as the session lives, what is lost of the streams that come. The rest it sees itself.
async fn tell_quality(session: Weak<Session>) {
    let mut losses = Losses::default();
    loop {
        tokio::time::sleep(QUALITY_INTERVAL).await;
        let Some(session) = session.upgrade().filter(|session| !session.state.closing.is_cancelled()) else {
            return;
        };
        let Statistics { rtt, streams, .. } = session.statistics();
        let come = streams.iter().filter(|stream| stream.direction == Direction::Incoming && !stream.ended);
        let came =
            come.map(|stream| (stream.stream_id, Came { units: stream.units, lost: stream.lost_units }));
        let signaling = session.reach().signaling().session;
        for (stream_id, packet_loss) in losses.since_last(came) {
            signaling.send_and_forget(Message::StreamQualityUpdate(pb::StreamQualityUpdate {
                stream_id: stream_id.to_string(),
                available_bitrate: 0,
                packet_loss,
                rtt_ms: u32::try_from(rtt.as_millis()).unwrap_or(u32::MAX),
            }));
        }
    }
}
