//! The signaling session: requests, answers and events on one bidirectional stream.
//!
//! [`Meeting`](crate::Meeting) uses this module for you. Alone it is for programs that take part
//! in a meeting without media, and for tests:
//!
//! ```no_run
//! # async fn example(grant: darktower_client::api::JoinGrant) -> Result<(), darktower_client::Error> {
//! use darktower_client::signaling::{SignalingClient, pb};
//! use darktower_client::{TransportKind, Trust};
//!
//! let url = &grant.meeting_controller_url;
//! let (signaling, mut events) = SignalingClient::connect(url, TransportKind::Native, &Trust::System).await?;
//! let joined = signaling
//!     .join(pb::JoinRequest {
//!         meeting_id: grant.meeting_id.to_string(),
//!         join_token: grant.join_token.clone(),
//!         ..Default::default()
//!     })
//!     .await?;
//! println!("{} others are here", joined.existing_participants.len());
//! while let Some(event) = events.next().await {
//!     println!("{}: {:?}", event.sequence, event.message);
//! }
//! # Ok(())
//! # }
//! ```

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use darktower_protocol::Code;
use darktower_protocol::limits::MAX_MESSAGE;
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::version::PROTOCOL_VERSION;
use pb::envelope::Message;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

pub use darktower_protocol::signaling::pb;

use crate::error::Error;
use crate::session::requests::{Received, Requests, Violation};
use crate::transport::{Connection, RecvStream, Role, SendStream, TransportKind, Trust, connect, in_time};

/// How long the answer to a request may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`SignalingClient::join`] waits in the waiting room; the default of
/// [`JoinOptions::waiting_timeout`](crate::JoinOptions::waiting_timeout).
pub const WAITING_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Events that may wait to be read. A gap could not be repaired, so a reader that lets more pile
/// up loses the session ([`Code::TOO_SLOW`]).
pub const MAX_WAITING_EVENTS: usize = 1024;

/// Messages that may wait to be written; more requests wait their turn.
const MAX_WAITING_MESSAGES: usize = 64;

/// Above all media.
const PRIORITY: i32 = 1000;

/// How long the close of a connection may take to arrive after its stream has ended.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How long a session that nobody holds any more waits for the server to know that it is left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What an answer did not come in time for.
const NO_ANSWER: &str = "no answer to a signaling request";

type Answered = oneshot::Receiver<Result<Message, Error>>;

/// Whoever waits for the answer to a request.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<Message, Error>>,
    /// Of a join: gets the server's word that the answer will take its time.
    waiting: Option<oneshot::Sender<pb::JoinWaiting>>,
}

impl Waiter {
    fn new() -> (Self, Answered) {
        let (answer, answered) = oneshot::channel();
        (Self { answer, waiting: None }, answered)
    }
}

/// A signaling session. Clones are handles of the same session, which stays open until it is
/// closed or left by either side, or the last handle is gone.
#[derive(Debug, Clone)]
pub struct SignalingClient {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Bytes>,
    _closer: Arc<Closer>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    requests: Mutex<Requests<Waiter>>,
    ended: OnceLock<Error>,
}

/// Closes the connection with the last handle; the reading task, which holds the connection too,
/// ends with it.
#[derive(Debug)]
struct Closer(Connection);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close(Code::NO_ERROR, "");
    }
}

/// An event of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalEvent {
    /// From 1, without gaps.
    /// 0 = about this session alone, such as `GoAway`.
    pub sequence: u64,
    /// What happened.
    pub message: Message,
}

/// The events of a session, in order.
#[derive(Debug)]
pub struct SignalEvents(mpsc::Receiver<SignalEvent>);

impl SignalEvents {
    /// The next event; `None` when the session has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<SignalEvent> {
        self.0.recv().await
    }

    /// The next event if it is here already.
    pub(crate) fn try_next(&mut self) -> Option<SignalEvent> {
        self.0.try_recv().ok()
    }
}

impl SignalingClient {
    /// Connects to a meeting controller. The first request must be [`join`](Self::join).
    ///
    /// Dropping [`SignalEvents`] is allowed: events are then thrown away.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(
        url: &str,
        kind: TransportKind,
        trust: &Trust,
    ) -> Result<(Self, SignalEvents), Error> {
        let connection = connect(url, kind, trust, Role::Signal).await?;
        Self::start(connection).await
    }

    /// Starts a session on a connection.
    ///
    /// # Errors
    /// [`Error::Closed`] with the connection.
    pub async fn start(connection: Connection) -> Result<(Self, SignalEvents), Error> {
        let (send, recv) = in_time("the server allows no signaling stream", connection.open_bi()).await?;
        send.set_priority(PRIORITY);
        let (outgoing, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let (events, received) = mpsc::channel(MAX_WAITING_EVENTS);
        let closer = Arc::new(Closer(connection.clone()));
        let shared = Arc::new(Shared {
            connection,
            requests: Mutex::new(Requests::default()),
            ended: OnceLock::new(),
        });
        tokio::spawn(write(send, messages));
        tokio::spawn(read(recv, Arc::clone(&shared), events));
        Ok((Self { shared, outgoing, _closer: closer }, SignalEvents(received)))
    }

    /// Joins a meeting. Waits for at most [`WAITING_TIMEOUT`] in its waiting room, if the server
    /// says that it has to.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, and as [`request`](Self::request).
    pub async fn join(&self, request: pb::JoinRequest) -> Result<pb::JoinResponse, Error> {
        self.begin_join(request).await?.answer(WAITING_TIMEOUT).await
    }

    /// Asks to join a meeting, and waits for the answer or the word that it will take its time.
    pub(crate) async fn begin_join(&self, request: pb::JoinRequest) -> Result<Joining, Error> {
        let (mut waiter, answered) = Waiter::new();
        let (begins, waiting) = oneshot::channel();
        waiter.waiting = Some(begins);
        let (open, bytes) = self.open_request(waiter, Message::JoinRequest(request))?;
        let told = async {
            self.outgoing.send(bytes).await.map_err(|_| self.ended())?;
            // Without waiting, the answer takes the sender away with its waiter.
            Ok::<_, Error>(waiting.await.ok())
        };
        let waiting =
            tokio::time::timeout(ANSWER_TIMEOUT, told).await.unwrap_or(Err(Error::Timeout(NO_ANSWER)))?;
        Ok(Joining { waiting, open, answered })
    }

    /// Comes back to a place in a meeting after the connection was lost, as the first thing in a session. The events that
    /// were missed follow.
    ///
    /// # Errors
    /// [`Error::Refused`] if the place is gone, and as [`request`](Self::request).
    pub async fn resume(&self, request: pb::ResumeRequest) -> Result<pb::ResumeResponse, Error> {
        self.shared.requests().count_from(request.last_event_sequence);
        match self.request(Message::ResumeRequest(request)).await? {
            Message::ResumeResponse(response) => Ok(response),
            _ => Err(Error::Protocol("the answer to ResumeRequest is no ResumeResponse".to_owned())),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// Dropped early, the request may have been carried out.
    ///
    /// # Errors
    /// [`Error::Refused`] if the answer is an `ErrorMessage`, [`Error::Timeout`] after
    /// [`ANSWER_TIMEOUT`], [`Error::Invalid`] if the message is too large or too many requests
    /// are open, else what ended the session.
    pub async fn request(&self, request: Message) -> Result<Message, Error> {
        let (waiter, answer) = Waiter::new();
        let (_open, bytes) = self.open_request(waiter, request)?;
        let answered = async {
            self.outgoing.send(bytes).await.map_err(|_| self.ended())?;
            answer.await.unwrap_or_else(|_| Err(self.ended()))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answered).await.unwrap_or(Err(Error::Timeout(NO_ANSWER)))
    }

    /// As [`request`](Self::request), for requests that are answered by an [`pb::Ack`].
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn command(&self, request: Message) -> Result<pb::Ack, Error> {
        match self.request(request).await? {
            Message::Ack(ack) => Ok(ack),
            _ => Err(Error::Protocol("the answer to a request is no Ack".to_owned())),
        }
    }

    /// Sends a request whose answer does not matter, if there is room in the queue.
    pub(crate) fn send_and_forget(&self, request: Message) {
        let (waiter, _) = Waiter::new();
        if let Ok((_open, bytes)) = self.open_request(waiter, request) {
            // A full queue or an ended session: the caller is on its way out, too.
            let _ = self.outgoing.try_send(bytes);
        }
    }

    /// Leaves the meeting: tells the server, waits for its answer, closes the connection.
    ///
    /// # Errors
    /// If the server did not confirm; the connection is closed all the same.
    pub async fn leave(&self) -> Result<(), Error> {
        let left = self.command(Message::LeaveRequest(pb::LeaveRequest {})).await;
        self.close(Code::NO_ERROR, "");
        left.map(drop)
    }

    /// Leaves the meeting for a caller that cannot wait: in the background, if there is a runtime to do it, and for a moment
    /// at most. Without a runtime the connection is closed at once, and the server takes it for lost.
    pub(crate) fn leave_in_background(&self) {
        if self.close_reason().is_some() {
            return;
        }
        let signaling = self.clone();
        let leaving = async move {
            // The server finds out by itself if this is not enough.
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, signaling.leave()).await;
            signaling.close(Code::NO_ERROR, "");
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(leaving)),
            Err(_) => self.close(Code::NO_ERROR, ""),
        }
    }

    /// Closes the connection at once.
    pub fn close(&self, code: Code, reason: &str) {
        self.shared.end(Error::Closed { code: Code::NO_ERROR, reason: "closed by this side".to_owned() });
        self.shared.connection.close(code, reason);
    }

    /// Why the session has ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<Error> {
        self.shared.ended.get().cloned()
    }

    /// The connection underneath.
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    fn open_request(&self, waiter: Waiter, request: Message) -> Result<(OpenRequest, Bytes), Error> {
        if let Some(error) = self.close_reason() {
            return Err(error);
        }
        let id =
            self.shared.requests().open(waiter).map_err(|_| {
                Error::Invalid("too many signaling requests wait for their answers".to_owned())
            })?;
        let open = OpenRequest { shared: Arc::clone(&self.shared), id };
        let envelope = pb::Envelope {
            version: PROTOCOL_VERSION,
            request_id: id,
            event_sequence: 0,
            message: Some(request),
        };
        if envelope.encoded_len() > MAX_MESSAGE {
            return Err(Error::Invalid(format!("a signaling message holds {MAX_MESSAGE} bytes")));
        }
        Ok((open, message::encode(&envelope)))
    }

    /// Why the session has ended; it is known before the events end.
    pub fn ended(&self) -> Error {
        self.shared.why_ended()
    }
}

/// A join that the server has answered, or has let wait. Dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Joining {
    /// What the server said if the participant has to wait.
    pub(crate) waiting: Option<pb::JoinWaiting>,
    open: OpenRequest,
    answered: Answered,
}

impl Joining {
    /// The answer; for at most `limit` if it is not there already.
    pub(crate) async fn answer(self, limit: Duration) -> Result<pb::JoinResponse, Error> {
        let answer = tokio::time::timeout(limit, self.answered)
            .await
            .map_err(|_| Error::Timeout("nobody has let this participant in"))?
            .unwrap_or_else(|_| Err(self.open.shared.why_ended()))?;
        match answer {
            Message::JoinResponse(response) => Ok(response),
            _ => Err(Error::Protocol("the answer to JoinRequest is no JoinResponse".to_owned())),
        }
    }
}

/// Gives the request up when whoever waits for the answer goes away.
#[derive(Debug)]
struct OpenRequest {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.shared.requests().give_up(self.id);
    }
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, Requests<Waiter>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_ended(&self) -> Error {
        self.ended
            .get()
            .cloned()
            .or_else(|| self.connection.close_reason())
            .unwrap_or_else(|| Error::Protocol("the server ended the signaling stream".to_owned()))
    }

    /// The session is over; the first reason counts.
    fn end(&self, error: Error) {
        let error = self.ended.get_or_init(|| error).clone();
        for waiter in self.requests().drain() {
            // Whoever waited may be gone.
            let _ = waiter.answer.send(Err(error.clone()));
        }
    }
}

async fn write(mut send: SendStream, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        if send.write_all(&message).await.is_err() {
            // The reading task learns why.
            return;
        }
    }
    send.finish();
}

/// Reads until the session ends. The events end with this task, when the reason is known.
async fn read(mut recv: RecvStream, shared: Arc<Shared>, events: mpsc::Sender<SignalEvent>) {
    let mut farewell = None;
    let error = match read_messages(&mut recv, &shared, &events, &mut farewell).await {
        Ok(()) => tokio::time::timeout(CLOSE_GRACE, shared.connection.closed())
            .await
            .unwrap_or_else(|_| Error::Protocol("the server ended the signaling stream".to_owned())),
        Err(Ended::By(error)) => error,
        Err(Ended::Violation(code, reason)) => {
            shared.connection.close(code, &reason);
            Error::Protocol(reason)
        }
    };
    let error = match (farewell, error) {
        (Some(farewell), Error::Closed { code, .. }) => Error::Closed { code, reason: farewell.message },
        (Some(farewell), _) => farewell.into(),
        (None, error) => error,
    };
    shared.end(error);
    shared.connection.close(Code::NO_ERROR, "");
}

enum Ended {
    By(Error),
    Violation(Code, String),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::By(error)
    }
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation.code(), violation.to_string())
    }
}

impl From<message::MessageError> for Ended {
    fn from(error: message::MessageError) -> Self {
        Self::Violation(error.code(), error.to_string())
    }
}

async fn read_messages(
    recv: &mut RecvStream,
    shared: &Shared,
    events: &mpsc::Sender<SignalEvent>,
    farewell: &mut Option<pb::ErrorMessage>,
) -> Result<(), Ended> {
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    while let Some(chunk) = recv.read_chunk().await? {
        decoder.push(&chunk);
        while let Some(envelope) = decoder.next_message()? {
            let received = shared.requests().receive(envelope)?;
            match received {
                // Whoever waited may be gone.
                Received::Answer(waiter, answer) => drop(waiter.answer.send(answer.map_err(Error::from))),
                Received::Waiting { id, waiting } => {
                    let begins = shared.requests().waiter(id).and_then(|waiter| waiter.waiting.take());
                    // Once is enough.
                    if let Some(begins) = begins {
                        // Whoever waited may be gone.
                        let _ = begins.send(waiting);
                    }
                }
                Received::Event { sequence, message } => {
                    if let Err(mpsc::error::TrySendError::Full(_)) =
                        events.try_send(SignalEvent { sequence, message })
                    {
                        return Err(Ended::Violation(Code::TOO_SLOW, "events were not read".to_owned()));
                    }
                }
                Received::Farewell(error) => *farewell = Some(error),
                Received::Nothing => {}
            }
        }
    }
    Ok(decoder.finish()?)
}
