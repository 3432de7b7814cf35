//! Follows a meeting until its session ends: takes the server's events, and makes new connections in place of those that
//! are lost.
//!
//! Signaling and media are lost and found independently of each other. A connection of which nothing is heard is not given
//! up at once: whichever is first, its waking up or a new connection, is the one that counts; of media a new one has a second
//! to be first. Only when the server has been
//! asked to go on in a new connection, the old one is of no use any more, because the server ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::signaling::pb;
use darktower_protocol::silence::{LOOK_INTERVAL, Silence};
use darktower_protocol::{Code, Features};
use pb::envelope::Message;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::dialing::{Dialing, Route};
use crate::error::Error;
use crate::media::{MediaNews, MediaSession, NewsSender, lock};
use crate::options::OnWaiting;
use crate::session::event::Event;
use crate::session::reconnect::{Answer, closes_with, may_come_back};
use crate::session::standing::Standing;
use crate::signaling::{SignalEvent, SignalEvents, SignalingClient};
use crate::state::MeetingState;
use crate::transport::Connection;

/// News of media sessions that may wait; the media control stream waits with them.
pub(crate) const MAX_WAITING_NEWS: usize = 16;

/// How long after the media session the signaling session may end, if one reason ends both.
const SIGNALING_FOLLOWS: Duration = Duration::from_millis(500);

/// How long a server that was reached may take to go on with a session there.
const GO_ON_TIMEOUT: Duration = Duration::from_secs(5);

/// A media connection that is heard again must be heard for so long before it is taken for one that carries, if no new one has
/// come meanwhile. What it had sent into the dark fills its congestion window until its own timer, which has been doubled
/// again and again, lets it repeat something: that may take seconds, where a new connection takes some round trips.
const WAKES_UP_AFTER: Duration = Duration::from_secs(1);

/// Connection tokens work for 60 s; an older one is not tried.
const TOKEN_LIFE: Duration = Duration::from_secs(40);

/// A roster of fewer bytes is not continued in messages of its own.
const WHOLE_ROSTER: usize = 32 * 1024;

/// How a session is begun again.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) signaling: Route,
    pub(crate) media: Route,
    pub(crate) features: Features,
    /// To join anew with, when the place is gone.
    pub(crate) join: pb::JoinRequest,
    pub(crate) on_waiting: Option<OnWaiting>,
    /// How long to try; zero for not at all.
    pub(crate) limit: Duration,
}

/// See the [module documentation](self).
pub(crate) struct Follower {
    state: Arc<MeetingState>,
    plan: Plan,
    ticket: Bytes,
    /// Number of the last event that was taken.
    last_event: u64,
    client: SignalingClient,
    events: SignalEvents,
    signaling: Line<Back>,
    session: Arc<MediaSession>,
    news: mpsc::Sender<(u64, MediaNews)>,
    media_news: mpsc::Receiver<(u64, MediaNews)>,
    last_session: u64,
    media: Line<MediaSession>,
    /// For the next media session, and since when.
    token: Option<(String, Instant)>,
    recovery: Option<Recovery>,
    /// The server has said that it stops.
    is_going_away: bool,
    /// The next word about this participant itself says all that it publishes.
    checks_publications: bool,
}

/// One of the two connections.
struct Line<T> {
    silence: Silence,
    /// The connection has ended, and will not wake up.
    has_ended: bool,
    /// Since when it is heard without a silence.
    heard_since: Option<Instant>,
    leg: Leg<T>,
}

/// How far a connection is from carrying a session.
enum Leg<T> {
    Open,
    Dialing(Dialing),
    /// The server is reached, and signaling, without which there is no token, is not.
    Held(Connection, Dialing),
    Opening(Opening<T>, Dialing),
}

type Opening<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

enum Step<T> {
    Connected(Connection),
    Opened(Result<T, Error>),
}

/// Something is lost and not yet found.
#[derive(Debug)]
struct Recovery {
    since: Instant,
    /// The server was asked to go on with signaling, which is lost, in a new connection.
    has_asked: bool,
    /// The place is gone.
    joins_anew: bool,
    /// And there is another.
    rejoined: bool,
}

/// Signaling as it goes on.
struct Back {
    client: SignalingClient,
    events: SignalEvents,
    answer: BackAnswer,
    /// Events that came with the answer.
    early: Vec<SignalEvent>,
}

enum BackAnswer {
    Resumed(pb::ResumeResponse),
    Joined(pb::JoinResponse),
}

impl<T> Line<T> {
    fn new(connection: &Connection) -> Self {
        let silence = Silence::new(Instant::now(), connection.traffic());
        Self { silence, has_ended: false, heard_since: None, leg: Leg::Open }
    }

    /// Whether nothing is heard that should be.
    fn look(&mut self, connection: &Connection) -> bool {
        self.silence.look(Instant::now(), connection.traffic());
        self.silence.is_silent()
    }

    /// Whether a connection that was given up is heard again.
    fn is_heard_again(&self, connection: &Connection) -> bool {
        !self.has_ended && !self.silence.is_silent() && connection.close_reason().is_none()
    }

    /// Whether it has been heard for long enough to go on with much to carry. To be called at every look.
    fn has_woken_up(&mut self, connection: &Connection) -> bool {
        let now = Instant::now();
        self.heard_since = self.is_heard_again(connection).then(|| self.heard_since.unwrap_or(now));
        self.heard_since.is_some_and(|since| now.saturating_duration_since(since) >= WAKES_UP_AFTER)
    }
}

impl<T> Leg<T> {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether the server has been asked to go on in a new connection.
    fn is_opening(&self) -> bool {
        matches!(self, Self::Opening(..))
    }

    /// Cancel-safe. Not to be called again after [`Step::Opened`] before the leg is another.
    async fn step(&mut self) -> Step<T> {
        match self {
            Self::Open | Self::Held(..) => std::future::pending().await,
            Self::Dialing(dialing) => Step::Connected(dialing.next().await),
            Self::Opening(opening, _) => Step::Opened(opening.await),
        }
    }

    /// What goes on dialing, whatever this was; it is open for the moment.
    fn take_dialing(&mut self) -> Option<Dialing> {
        match std::mem::replace(self, Self::Open) {
            Self::Open => None,
            Self::Dialing(dialing) | Self::Held(_, dialing) | Self::Opening(_, dialing) => Some(dialing),
        }
    }
}

impl Follower {
    pub(crate) fn new(
        state: Arc<MeetingState>,
        plan: Plan,
        ticket: Bytes,
        events: SignalEvents,
        news: mpsc::Sender<(u64, MediaNews)>,
        media_news: mpsc::Receiver<(u64, MediaNews)>,
    ) -> Self {
        let (client, session) = (state.reach.signaling().session, state.reach.media().session);
        Self {
            signaling: Line::new(client.connection()),
            media: Line::new(&session.connection),
            last_session: session.number,
            last_event: 0,
            token: None,
            recovery: None,
            is_going_away: false,
            checks_publications: false,
            state,
            plan,
            ticket,
            client,
            events,
            session,
            news,
            media_news,
        }
    }

    pub(crate) async fn follow(mut self) {
        let error = self.run().await;
        self.state.reach.over(&error);
        // A participant with half a session would only seem to be there.
        self.client.leave_in_background();
        if let Leg::Opening(opening, _) = std::mem::replace(&mut self.signaling.leg, Leg::Open) {
            // The server may have gone on in a new connection already.
            tokio::spawn(async move {
                if let Ok(back) = opening.await {
                    back.client.leave_in_background();
                }
            });
        }
        self.session.connection.close(Code::NO_ERROR, "the session has ended");
        self.state.routes.end(&error);
        let (code, message) = match error {
            Error::Closed { code, reason } => (code, reason),
            Error::Timeout(_) => (Code::TIMED_OUT, error.to_string()),
            Error::Protocol(_) => (Code::PROTOCOL_VIOLATION, error.to_string()),
            error => (error.code().unwrap_or(Code::INTERNAL), error.to_string()),
        };
        if let Some(auto) = lock(&self.state.auto).take() {
            auto.end();
        }
        self.state.events.close(Event::Closed { code, message });
    }

    /// Until the session ends; says why.
    async fn run(&mut self) -> Error {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let give_up = self.recovery.as_ref().map(|recovery| recovery.since + self.plan.limit);
            let reads_events = !self.signaling.has_ended && !self.signaling.leg.is_opening();
            let step = tokio::select! {
                biased;
                () = self.state.closing.cancelled() => {
                    let reason = "closed by this side".to_owned();
                    Err(self.client.close_reason().unwrap_or(Error::Closed { code: Code::NO_ERROR, reason }))
                }
                event = self.events.next(), if reads_events => match event {
                    Some(event) => {
                        self.take(event);
                        Ok(())
                    }
                    None => self.signaling_ended(),
                },
                Some((number, news)) = self.media_news.recv() => self.hear(number, news).await,
                _ = looks.tick() => {
                    self.look();
                    Ok(())
                }
                step = self.signaling.leg.step() => self.signaling_step(step).await,
                step = self.media.leg.step() => self.media_step(step).await,
                () = until(give_up) => Err(Error::Timeout("the server could not be reached again")),
            };
            if let Err(error) = step {
                return error;
            }
            self.settle();
        }
    }

    /// An event of the server.
    fn take(&mut self, event: SignalEvent) {
        if event.sequence != 0 {
            if event.sequence <= self.last_event {
                // It had come by an older connection.
                return;
            }
            self.last_event = event.sequence;
        }
        self.is_going_away |= matches!(event.message, Message::GoAway(_));
        let change = lock(&self.state.roster).apply(event.message);
        if self.checks_publications
            && let Some(Event::SelfUpdated(participant)) = &change.event
        {
            self.checks_publications = false;
            self.state.end_publications_except(&participant.streams);
        }
        let is_chosen = matches!(change.event, Some(Event::AutoSubscriptionsChanged { .. }));
        self.state.carry_out(change);
        if is_chosen {
            // Where clients open the streams for what they get.
            let state = Arc::clone(&self.state);
            tokio::spawn(async move { state.attach_all().await });
        }
    }

    fn may_come_back(&self, error: &Error) -> bool {
        self.goes_on() && may_come_back(error)
    }

    /// Whether a lost connection is made anew.
    fn goes_on(&self) -> bool {
        !self.plan.limit.is_zero() && !self.is_going_away
    }

    /// Whether the server was asked to go on with signaling in a new connection.
    fn has_asked(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| recovery.has_asked)
    }

    /// Looks at what was heard on the two connections.
    fn look(&mut self) {
        let is_silent = self.signaling.look(self.client.connection());
        match self.signaling.leg {
            Leg::Open if is_silent && self.goes_on() => self.lose_signaling(),
            // Of no use if the server knows of another already, and has ended this one.
            Leg::Dialing(_)
                if !self.has_asked() && self.signaling.is_heard_again(self.client.connection()) =>
            {
                self.signaling.leg = Leg::Open;
                self.state.reach.signaling_opened(None);
                self.signaling_goes_on();
            }
            _ => {}
        }
        let is_silent = self.media.look(&self.session.connection);
        let has_woken_up = self.media.has_woken_up(&self.session.connection);
        match self.media.leg {
            Leg::Open if is_silent && self.goes_on() => self.lose_media(),
            Leg::Dialing(_) | Leg::Held(..) if has_woken_up => {
                self.media.leg = Leg::Open;
                self.state.reach.media_opened(None);
                // What the server has said of who watches still counts.
                self.state.routes.ask_for_key_frames();
            }
            _ => {}
        }
    }

    fn begin_recovery(&mut self) {
        if self.recovery.is_none() {
            let since = Instant::now();
            self.recovery = Some(Recovery { since, has_asked: false, joins_anew: false, rejoined: false });
            self.state.events.send(Event::Reconnecting);
        }
    }

    /// Whether everything is found again.
    fn settle(&mut self) {
        if self.signaling.leg.is_open()
            && self.media.leg.is_open()
            && let Some(recovery) = self.recovery.take()
        {
            let after = recovery.since.elapsed();
            info!(?after, rejoined = recovery.rejoined, "the server is reached again");
            self.state.events.send(Event::Reconnected { rejoined: recovery.rejoined, after });
        }
    }
}

/// Signaling.
impl Follower {
    fn lose_signaling(&mut self) {
        debug!("signaling is lost");
        self.begin_recovery();
        let rtt = self.client.connection().rtt();
        self.signaling.leg = Leg::Dialing(Dialing::new(self.plan.signaling.clone(), rtt));
        self.state.reach.signaling_broken();
        self.state.forget_heard();
    }

    /// The connection at hand has ended.
    fn signaling_ended(&mut self) -> Result<(), Error> {
        self.signaling.has_ended = true;
        let error = self.client.ended();
        match self.signaling.leg {
            // The server has heard of a new connection, and its answer was lost.
            Leg::Dialing(_) if self.has_asked() => Ok(()),
            Leg::Open | Leg::Dialing(_) if !self.may_come_back(&error) => Err(error),
            Leg::Open => {
                self.lose_signaling();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn signaling_step(&mut self, step: Step<Back>) -> Result<(), Error> {
        let Some(mut dialing) = self.signaling.leg.take_dialing() else { return Ok(()) };
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        match step {
            Step::Connected(connection) => {
                recovery.has_asked = true;
                let opening: Opening<Back> = match recovery.joins_anew {
                    true => {
                        let (state, join) = (Arc::clone(&self.state), self.plan.join.clone());
                        let left = self.plan.limit.saturating_sub(recovery.since.elapsed());
                        Box::pin(join_anew(connection, state, join, self.plan.on_waiting.clone(), left))
                    }
                    false => {
                        let resume = pb::ResumeRequest {
                            resume_ticket: self.ticket.clone(),
                            last_event_sequence: self.last_event,
                        };
                        Box::pin(in_good_time(resumed(connection, resume)))
                    }
                };
                self.signaling.leg = Leg::Opening(opening, dialing);
            }
            Step::Opened(Ok(back)) => self.signaling_is_back(back),
            Step::Opened(Err(error)) => {
                debug!(%error, "the session did not go on");
                match Answer::of(&error) {
                    Answer::TryAgain => dialing.put_off(),
                    Answer::JoinAnew if !recovery.joins_anew => recovery.joins_anew = true,
                    Answer::JoinAnew | Answer::Final => return Err(as_end(error)),
                }
                self.signaling.leg = Leg::Dialing(dialing);
            }
        }
        Ok(())
    }

    /// Signaling goes on in a new connection.
    fn signaling_is_back(&mut self, back: Back) {
        let Back { client, events, answer, early } = back;
        let older = std::mem::replace(&mut self.client, client);
        older.close(Code::NO_ERROR, "the session goes on in another connection");
        older.connection().abandon();
        self.events = events;
        self.signaling = Line::new(self.client.connection());
        let mut rejoined = false;
        let (media_server, ticket, snapshot) = match answer {
            BackAnswer::Resumed(resumed) => {
                self.checks_publications = resumed.snapshot.is_some();
                (resumed.media_server, resumed.resume_ticket, resumed.snapshot)
            }
            BackAnswer::Joined(mut joined) => {
                rejoined = true;
                (joined.media_server.take(), std::mem::take(&mut joined.resume_ticket), Some(joined))
            }
        };
        self.ticket = ticket;
        if let Some(snapshot) = snapshot {
            self.last_event = 0;
            let standing = Standing::new(&snapshot);
            let changes = lock(&self.state.roster).replace(snapshot.existing_participants, standing);
            changes.into_iter().for_each(|change| self.state.carry_out(change));
            self.state.forget_promises();
        }
        if let Some(server) = media_server {
            self.plan.media.url = server.media_handler_url;
            self.token = Some((server.connection_token, Instant::now()));
        }
        // Before anything new is published.
        early.into_iter().for_each(|event| self.take(event));
        self.state.reach.signaling_opened(Some(self.client.clone()));
        if let Some(recovery) = &mut self.recovery {
            // If signaling is lost again before media is found, that is another loss.
            (recovery.has_asked, recovery.joins_anew) = (false, false);
            recovery.rejoined |= rejoined;
        }
        if rejoined {
            self.state.forget_undone();
            // The server has ended, or ends, the session of the place that is gone.
            if self.media.leg.is_open() || self.media.leg.is_opening() {
                self.lose_media();
            }
            self.media.has_ended = true;
        }
        self.signaling_goes_on();
    }

    /// The server can be asked again.
    fn signaling_goes_on(&mut self) {
        self.state.undo_again(&self.client);
        tokio::spawn(Arc::clone(&self.state).subscribe_again(self.client.clone()));
        if let Leg::Held(..) = self.media.leg
            && let Leg::Held(connection, dialing) = std::mem::replace(&mut self.media.leg, Leg::Open)
        {
            self.begin_media(connection, dialing);
        }
    }
}

/// Media.
impl Follower {
    fn lose_media(&mut self) {
        debug!("media is lost");
        self.begin_recovery();
        let rtt = self.session.connection.rtt();
        self.media.leg = Leg::Dialing(Dialing::new(self.plan.media.clone(), rtt));
        self.state.reach.media_broken();
    }

    /// Something is new of a media session.
    async fn hear(&mut self, number: u64, news: MediaNews) -> Result<(), Error> {
        match news {
            MediaNews::GoAway(go_away) => {
                self.is_going_away = true;
                self.state.events.send(Event::GoAway {
                    new_url: go_away.new_url,
                    deadline: Duration::from_millis(go_away.deadline_ms.into()),
                });
                Ok(())
            }
            MediaNews::Refused(refusal) => {
                warn!(message = refusal.message, "the server refused published media");
                let stream_id = refusal.details.get("stream_id").and_then(|id| id.parse().ok());
                self.state.events.send(Event::MediaRefused { stream_id, message: refusal.message });
                Ok(())
            }
            MediaNews::Ended(error) if number == self.session.number => self.media_ended(error).await,
            // Another has taken its place.
            MediaNews::Ended(_) => Ok(()),
        }
    }

    async fn media_ended(&mut self, error: Error) -> Result<(), Error> {
        self.media.has_ended = true;
        if !self.media.leg.is_open() {
            return Ok(());
        }
        // A server that removes somebody, or stops, closes both, and says why on signaling. There the answer to a last
        // request may be on its way, too.
        let told_by_signaling = [Code::NO_ERROR, Code::GOING_AWAY, Code::KICKED, Code::MEETING_ENDED];
        if error.code().is_some_and(|code| told_by_signaling.contains(&code)) {
            return match self.signaling.leg {
                Leg::Open => Err(self.signaling_tells(error).await),
                // It is told when signaling goes on.
                _ => {
                    self.lose_media();
                    Ok(())
                }
            };
        }
        if !self.may_come_back(&error) {
            return Err(error);
        }
        self.lose_media();
        Ok(())
    }

    /// Why the session has ended, if signaling ends as well.
    async fn signaling_tells(&mut self, media_error: Error) -> Error {
        let signaling_ends = async {
            while let Some(event) = self.events.next().await {
                self.take(event);
            }
        };
        match tokio::time::timeout(SIGNALING_FOLLOWS, signaling_ends).await {
            Ok(()) => self.client.ended(),
            Err(_) => media_error,
        }
    }

    async fn media_step(&mut self, step: Step<MediaSession>) -> Result<(), Error> {
        let Some(mut dialing) = self.media.leg.take_dialing() else { return Ok(()) };
        match step {
            Step::Connected(connection) if self.signaling.leg.is_open() => {
                self.begin_media(connection, dialing);
            }
            Step::Connected(connection) => self.media.leg = Leg::Held(connection, dialing),
            // Its end may have been told before it was known here.
            Step::Opened(Ok(session)) if session.connection.close_reason().is_none() => {
                let older = std::mem::replace(&mut self.session, Arc::new(session));
                older.connection.abandon();
                self.media = Line::new(&self.session.connection);
                self.state.reach.media_opened(Some(Arc::clone(&self.session)));
                self.state.routes.begin_anew();
                self.state.attach_all().await;
            }
            Step::Opened(Err(error)) if !is_worth_trying(&error) => return Err(as_end(error)),
            Step::Opened(opened) => {
                debug!(error = ?opened.err(), "the media session did not go on");
                dialing.put_off();
                self.media.leg = Leg::Dialing(dialing);
            }
        }
        Ok(())
    }

    /// Begins a media session in a new connection, with the token at hand, or else one that is asked for.
    fn begin_media(&mut self, connection: Connection, dialing: Dialing) {
        self.last_session += 1;
        let news = NewsSender { number: self.last_session, sender: self.news.clone() };
        let fresh = self.token.take().filter(|(_, since)| since.elapsed() < TOKEN_LIFE);
        let (client, routes) = (self.client.clone(), Arc::clone(&self.state.routes));
        let features = self.plan.features;
        let opening = async move {
            let token = match fresh {
                Some((token, _)) => token,
                None => connection_token(&client).await?,
            };
            MediaSession::start(connection, token, features, routes, news).await
        };
        self.media.leg = Leg::Opening(Box::pin(in_good_time(opening)), dialing);
    }
}

/// Whether a media session may be had, if not with this token, or at this moment.
fn is_worth_trying(error: &Error) -> bool {
    let code = closes_with(error).or(error.code());
    !matches!(error, Error::Protocol(_))
        && code.is_none_or(|code| ![Code::UNSUPPORTED_VERSION, Code::PROTOCOL_VIOLATION].contains(&code))
}

/// The end of the session that a refusal is.
fn as_end(error: Error) -> Error {
    match (closes_with(&error), error) {
        (Some(code), Error::Refused { message, .. }) => Error::Closed { code, reason: message },
        (_, error) => error,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn in_good_time<T>(going_on: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = Error::Timeout("the server was reached and did not answer");
    tokio::time::timeout(GO_ON_TIMEOUT, going_on).await.unwrap_or(Err(late))
}

async fn connection_token(client: &SignalingClient) -> Result<String, Error> {
    let refresh = Message::RefreshConnectionToken(pb::RefreshConnectionToken {});
    match client.request(refresh).await? {
        Message::ConnectionTokenRefreshed(pb::ConnectionTokenRefreshed { media_server: Some(server) }) => {
            Ok(server.connection_token)
        }
        _ => Err(Error::Timeout("another session has taken the place")),
    }
}

/// Goes on at the place in the meeting. Asks for nothing there: until the new ticket is kept, the older one has to count.
async fn resumed(connection: Connection, request: pb::ResumeRequest) -> Result<Back, Error> {
    let (client, mut events) = SignalingClient::start(connection).await?;
    let mut resumed = client.resume(request).await?;
    let mut early = Vec::new();
    if let Some(snapshot) = &mut resumed.snapshot {
        // The first numbered event follows the last of the roster.
        while early.last().is_none_or(|event: &SignalEvent| event.sequence == 0) {
            let event = events.next().await.ok_or_else(|| client.ended())?;
            early.extend(beside_roster(snapshot, event));
        }
    }
    Ok(Back { client, events, answer: BackAnswer::Resumed(resumed), early })
}

/// Joins again, and asks for everything that there was, of which the server knows nothing; for subscriptions of this
/// session's own later, all at once.
async fn join_anew(
    connection: Connection,
    state: Arc<MeetingState>,
    request: pb::JoinRequest,
    on_waiting: Option<OnWaiting>,
    limit: Duration,
) -> Result<Back, Error> {
    let (client, mut events) = SignalingClient::start(connection).await?;
    let joining = client.begin_join(request).await?;
    if let (Some(waiting), Some(on_waiting)) = (&joining.waiting, &on_waiting) {
        on_waiting.call(&waiting.meeting_display_name);
    }
    let mut joined = joining.answer(limit).await?;
    let early = rest_of_roster(&client, &mut events, &mut joined).await?;
    let said = lock(&state.roster).standing.state;
    if said != pb::ParticipantState::default() {
        let update = pb::UpdateParticipant { state: Some(said), ..Default::default() };
        client.command(Message::UpdateParticipant(update)).await?;
    }
    state.publish_again(&client).await?;
    state.subscribe_auto_again(&client).await?;
    Ok(Back { client, events, answer: BackAnswer::Joined(joined), early })
}

/// Adds those to a roster who did not fit into its message; returns events that came after them.
async fn rest_of_roster(
    client: &SignalingClient,
    events: &mut SignalEvents,
    roster: &mut pb::JoinResponse,
) -> Result<Vec<SignalEvent>, Error> {
    if roster.encoded_len() < WHOLE_ROSTER {
        return Ok(Vec::new());
    }
    // What was told before the answer to a request that changes nothing is there when the answer is.
    client.command(Message::UpdateParticipant(pb::UpdateParticipant::default())).await?;
    let mut later = Vec::new();
    while let Some(event) = events.try_next() {
        later.extend(beside_roster(roster, event));
    }
    Ok(later)
}

/// Takes an event into a roster that it continues; any other comes back.
fn beside_roster(roster: &mut pb::JoinResponse, event: SignalEvent) -> Option<SignalEvent> {
    match event {
        SignalEvent {
            sequence: 0,
            message: Message::ParticipantJoined(pb::ParticipantJoined { participant: Some(participant) }),
        } => {
            roster.existing_participants.push(participant);
            None
        }
        event => Some(event),
    }
}
