//! One client's signaling session: join, then requests and events until it ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darktower_core::meeting::{Refusal, is_change};
use darktower_protocol::limits::MAX_MESSAGE;
use darktower_protocol::message::{self, MessageError};
use darktower_protocol::signaling::pb;
use darktower_protocol::silence::{Change, LOOK_INTERVAL, Silence};
use darktower_protocol::version::PROTOCOL_VERSION;
use darktower_protocol::{Code, ParticipantId};
use futures_util::FutureExt as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use pb::ErrorCode;
use pb::envelope::Message;
use prost::Message as _;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{MeetingController, Seat};
use crate::clock::unix_micros;
use crate::storage::StoreError;
use crate::storage::model::IssuedParticipant;
use crate::transport::{MessageReader, RecvStream, SendStream, Session};

/// A client has this long to open the control stream and ask to join.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// Messages waiting to be written to one client. While it is full, nothing is read from the client.
const OUTGOING_QUEUE: usize = 16;

/// A client that takes nothing of a message for this long is disconnected.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long last words may take to arrive, and to be read, before the session is closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A client that goes on sending too much for this long after it was told is disconnected.
const RATE_LIMIT_PATIENCE: Duration = Duration::from_secs(10);

/// A flood is over when no message has been refused for this long.
const FLOOD_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of a join response that the roster may take.
const ROSTER_BYTES: usize = MAX_MESSAGE - 4096;

/// Told to clients when the server stops, milliseconds.
const GO_AWAY_DEADLINE_MS: u32 = 1000;

/// A session goes on for this long after the last token of its participant: as long as that may still be joined with.
const EXPIRY_GRACE: time::Duration = time::Duration::seconds(5);

/// How soon it is asked again whether a participant has a further token, while the database does not answer.
const EXPIRY_RETRY: Duration = Duration::from_secs(3);

/// How a session ended.
#[derive(Debug)]
pub(super) struct End {
    /// What others are told.
    reason: pb::LeaveReason,
    code: Code,
    message: String,
    tell: Tell,
}

/// What the client is told before its session is closed.
#[derive(Debug, Clone, Copy)]
enum Tell {
    Nothing,
    Error(ErrorCode),
    MeetingEnded,
}

impl End {
    pub(super) fn lost() -> Self {
        let reason = pb::LeaveReason::ConnectionLost;
        Self { reason, code: Code::NO_ERROR, message: String::new(), tell: Tell::Nothing }
    }

    pub(super) fn fault(code: Code, tell: ErrorCode, message: impl Into<String>) -> Self {
        let reason = pb::LeaveReason::ConnectionLost;
        Self { reason, code, message: message.into(), tell: Tell::Error(tell) }
    }

    /// The participant asked for it.
    pub(super) fn left() -> Self {
        let reason = pb::LeaveReason::Voluntary;
        Self { reason, code: Code::NO_ERROR, message: "left".to_owned(), tell: Tell::Nothing }
    }

    /// Nobody has let it in.
    pub(super) fn turned_away(message: &str) -> Self {
        Self::fault(Code::UNAUTHORIZED, ErrorCode::Forbidden, message)
    }

    /// The server stops.
    pub(super) fn going_away() -> Self {
        Self::fault(Code::GOING_AWAY, ErrorCode::InternalError, "the server stops; try again")
    }

    /// What it wanted cannot be done, and nothing else can.
    pub(super) fn refused(code: Code, refusal: Refusal) -> Self {
        Self::fault(code, refusal.code, refusal.message)
    }

    /// The participant may come back to its place: it, or its network, did nothing wrong.
    fn is_lost(&self) -> bool {
        self.reason == pb::LeaveReason::ConnectionLost && matches!(self.code, Code::NO_ERROR | Code::TOO_SLOW)
    }

    /// There is no room.
    pub(super) fn full(message: impl Into<String>) -> Self {
        Self::fault(Code::CAPACITY_EXCEEDED, ErrorCode::CapacityExceeded, message)
    }

    /// The participant was removed and must stay out.
    pub(super) fn removed() -> Self {
        Self::fault(Code::KICKED, ErrorCode::Forbidden, "you were removed from the meeting")
    }

    /// The meeting is over for those who want to join.
    pub(super) fn over() -> Self {
        Self::fault(Code::MEETING_ENDED, ErrorCode::NotFound, "the meeting is over")
    }

    /// The time of the meeting has not come, and this participant may not begin it.
    pub(super) fn not_begun() -> Self {
        Self::fault(Code::UNAUTHORIZED, ErrorCode::Conflict, "the meeting has not begun")
    }

    /// The participant's last token has ended.
    fn expired() -> Self {
        let message = "your join token has ended; join with a new one";
        let reason = pb::LeaveReason::Timeout;
        Self { reason, ..Self::fault(Code::UNAUTHORIZED, ErrorCode::Unauthorized, message) }
    }

    /// The records of the meeting are too far behind.
    pub(super) fn busy() -> Self {
        let message = "the server is too busy to let you in; try again";
        Self::fault(Code::INTERNAL, ErrorCode::InternalError, message)
    }

    /// Facts cannot be read.
    pub(super) fn unavailable(what: &str, error: &StoreError) -> Self {
        tracing::error!(error = error as &dyn std::error::Error, "cannot look up {what}");
        let message = "the server cannot look up the meeting; try again";
        Self::fault(Code::INTERNAL, ErrorCode::InternalError, message)
    }
}

impl From<MessageError> for End {
    fn from(error: MessageError) -> Self {
        Self::fault(error.code(), ErrorCode::InvalidRequest, error.to_string())
    }
}

impl MeetingController {
    /// Serves one signaling session until it ends.
    pub async fn serve(self: Arc<Self>, session: Session) {
        let deadline = Instant::now() + JOIN_DEADLINE;
        let control = match tokio::time::timeout_at(deadline, session.accept_bi()).await {
            Ok(Ok(control)) => control,
            Ok(Err(_ended)) => return,
            Err(_) => return session.close(Code::TIMED_OUT, "no control stream within 5 s"),
        };
        let (send, recv) = control;
        let (outgoing, queued) = mpsc::channel(OUTGOING_QUEUE);
        let mut channel = Channel::new(recv, outgoing);
        let mut writer = std::pin::pin!(write_out(send, queued));
        // A server that stops waits until whoever was in has heard everything.
        let mut in_meeting = None;
        let end = tokio::select! {
            end = self.converse(&session, &mut channel, deadline, &mut in_meeting) => end,
            // Half a message may have been written: there is no telling the client any more.
            end = &mut writer => return session.close(end.code, &end.message),
        };
        match end.tell {
            Tell::Nothing => {}
            Tell::Error(code) => {
                metrics::counter!("signaling_sessions_refused_total", "code" => end.code.name()).increment(1);
                channel.tell(code, &end);
            }
            Tell::MeetingEnded => channel.tell_meeting_ended(&end),
        }
        // With its queue closed, the writer ends the stream and waits for the client to have it all.
        drop(channel);
        let heard = async {
            writer.await;
            session.read_by_client().await;
        };
        let _too_late = tokio::time::timeout(LAST_WORDS, heard).await;
        session.close(end.code, &end.message);
    }

    async fn converse(
        self: &Arc<Self>,
        session: &Session,
        channel: &mut Channel,
        deadline: Instant,
        in_meeting: &mut Option<TaskTrackerToken>,
    ) -> End {
        let (mut seat, expires_at) = match self.begin(session, channel, deadline).await {
            Ok(begun) => begun,
            Err(end) => return end,
        };
        *in_meeting = Some(self.sessions.token());
        let end = self.serve_joined(session, channel, &mut seat, expires_at).await;
        tracing::info!(participant = %seat.participant, code = %end.code, reason = end.message, "left");
        // Nobody comes back to a server that stops.
        seat.reason = (!end.is_lost() || self.stopping.is_cancelled()).then_some(end.reason);
        end
    }

    /// The place that was taken, and until when the participant has a token.
    async fn begin(
        self: &Arc<Self>,
        session: &Session,
        channel: &mut Channel,
        deadline: Instant,
    ) -> Result<(Seat, OffsetDateTime), End> {
        let first = tokio::time::timeout_at(deadline, channel.requests.next::<pb::Envelope>());
        let late = |_| End::fault(Code::TIMED_OUT, ErrorCode::InvalidRequest, "no JoinRequest within 5 s");
        let envelope = first.await.map_err(late)??.ok_or_else(End::lost)?;
        channel.answering = envelope.request_id;
        if envelope.version != PROTOCOL_VERSION {
            let message =
                format!("envelope version {} is not supported; this server speaks 1", envelope.version);
            return Err(End::fault(Code::UNSUPPORTED_VERSION, ErrorCode::InvalidRequest, message));
        }
        match envelope.message {
            Some(Message::JoinRequest(request)) => self.come(session, channel, request).await,
            Some(Message::ResumeRequest(request)) => self.come_back(channel, &request).await,
            _ => {
                let message = "the first message must be JoinRequest or ResumeRequest";
                Err(End::fault(Code::PROTOCOL_VIOLATION, ErrorCode::InvalidRequest, message))
            }
        }
    }

    async fn serve_joined(
        &self,
        session: &Session,
        channel: &mut Channel,
        seat: &mut Seat,
        expires_at: OffsetDateTime,
    ) -> End {
        let mut expiry = std::pin::pin!(self.expiry(seat.participant, expires_at));
        let mut limiter = MessageLimiter::new(self.messages_per_minute);
        let mut told_to_go = false;
        let outgoing = channel.outgoing.clone();
        let mut silence = Silence::new(Instant::now().into(), session.traffic());
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // While the client does not read, nothing more is taken from it or put in its queue.
            let has_room = channel.has_room();
            let step = tokio::select! {
                biased;
                code = order(&mut channel.close) => Err(ended_by(code)),
                _ended = session.closed() => Err(channel.last_words()),
                _ = looks.tick() => {
                    if let Some(change) = silence.look(Instant::now().into(), session.traffic()) {
                        seat.tell_silence(change == Change::Silent);
                    }
                    Ok(())
                }
                () = &mut expiry => Err(End::expired()),
                _permit = outgoing.reserve(), if !has_room => Ok(()),
                () = seat.events.due(), if has_room => channel.events(seat).await,
                () = self.stopping.cancelled(), if has_room && !told_to_go => {
                    told_to_go = true;
                    let go_away = pb::GoAway { new_url: String::new(), deadline_ms: GO_AWAY_DEADLINE_MS };
                    channel.notice(Message::GoAway(go_away)).await
                }
                envelope = channel.requests.next::<pb::Envelope>(), if has_room => match envelope {
                    Ok(Some(envelope)) => {
                        let allowance = limiter.check(Instant::now());
                        self.message(channel, seat, envelope, allowance).await
                    }
                    Ok(None) => Err(End::lost()),
                    Err(error) => Err(error.into()),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// A message has come. An answer does not overtake what happened before it: the events that wait for more are written.
    async fn message(
        &self,
        channel: &mut Channel,
        seat: &mut Seat,
        envelope: pb::Envelope,
        allowance: Allowance,
    ) -> Result<(), End> {
        channel.events(seat).await?;
        match allowance {
            Allowance::Granted => self.request(channel, seat, envelope).await,
            Allowance::Refused if has_no_answer(&envelope) => Ok(()),
            Allowance::Refused => channel.refuse_rate(&envelope).await,
            Allowance::Exhausted => Err(End::fault(Code::RATE_LIMITED, ErrorCode::RateLimited, TOO_MANY)),
        }
    }

    /// Waits until a participant's last token has ended, further ones that it gets meanwhile included.
    async fn expiry(&self, participant: ParticipantId, mut expires_at: OffsetDateTime) {
        loop {
            let wait = expires_at + EXPIRY_GRACE - OffsetDateTime::now_utc();
            tokio::time::sleep(wait.try_into().unwrap_or(Duration::ZERO)).await;
            match self.store.participant(participant).await {
                Ok(issued) => match end_of_right(issued.as_ref(), OffsetDateTime::now_utc()) {
                    Some(later) => expires_at = later,
                    None => return,
                },
                Err(error) => {
                    tracing::error!(
                        %participant,
                        error = &error as &dyn std::error::Error,
                        "cannot look up whether a participant has a further token"
                    );
                    tokio::time::sleep(EXPIRY_RETRY).await;
                }
            }
        }
    }

    async fn request(&self, channel: &mut Channel, seat: &Seat, envelope: pb::Envelope) -> Result<(), End> {
        let participant = seat.participant;
        seat.has_ticket();
        channel.answering = envelope.request_id;
        if envelope.version != PROTOCOL_VERSION {
            let message =
                format!("envelope version {} is not supported; this session speaks 1", envelope.version);
            return Err(End::fault(Code::UNSUPPORTED_VERSION, ErrorCode::InvalidRequest, message));
        }
        if envelope.message.as_ref().is_some_and(is_change)
            && let Err(refusal) =
                seat.with_meeting(|meeting| meeting.count_change(participant, unix_micros()))
        {
            return channel.answer(Message::Error(refusal_message(refusal))).await;
        }
        let ack = || Message::Ack(pb::Ack::default());
        let result = match envelope.message {
            Some(Message::PublishStream(request)) => {
                seat.acked(|meeting| meeting.publish(participant, request))
            }
            Some(Message::UnpublishStream(request)) => {
                seat.acked(|meeting| meeting.unpublish(participant, &request))
            }
            Some(Message::SubscribeStream(request)) => {
                seat.with_meeting(|meeting| meeting.subscribe(participant, &request)).map(|wire_id| {
                    Message::Ack(pb::Ack { wire_stream_id: wire_id.to_string(), ..Default::default() })
                })
            }
            Some(Message::UnsubscribeStream(request)) => {
                seat.acked(|meeting| meeting.unsubscribe(participant, &request))
            }
            Some(Message::SubscribeAuto(request)) => {
                seat.acked(|meeting| meeting.subscribe_auto(participant, &request, unix_micros()))
            }
            Some(Message::UpdateParticipant(request)) => {
                seat.acked(|meeting| meeting.update(participant, &request))
            }
            Some(Message::SendChatMessage(request)) => seat
                .with_meeting(|meeting| meeting.send_chat(participant, &request, unix_micros()))
                .map(|message_id| Message::Ack(pb::Ack { message_id, ..Default::default() })),
            Some(Message::EditChatMessage(request)) => {
                seat.acked(|meeting| meeting.edit_chat(participant, &request, unix_micros()))
            }
            Some(Message::DeleteChatMessage(request)) => {
                seat.acked(|meeting| meeting.delete_chat(participant, &request, unix_micros()))
            }
            Some(Message::PinChatMessage(request)) => {
                seat.acked(|meeting| meeting.pin_chat(participant, &request, unix_micros()))
            }
            Some(Message::FetchChatHistory(request)) => seat
                .with_meeting(|meeting| meeting.chat_history(participant, &request, unix_micros()))
                .map(Message::ChatHistory),
            Some(Message::BroadcastMessage(request)) => {
                seat.acked(|meeting| meeting.broadcast(participant, &request, unix_micros()))
            }
            Some(Message::AudioLevels(request)) => {
                seat.acked(|meeting| meeting.tell_levels(participant, &request, unix_micros()))
            }
            Some(Message::StreamQualityUpdate(update)) => {
                let now = std::time::Instant::now();
                let told = seat.acked(|meeting| meeting.tell_quality(participant, &update, now));
                if envelope.request_id == 0 {
                    return Ok(());
                }
                told
            }
            Some(Message::MuteParticipant(request)) => {
                seat.acked(|meeting| meeting.mute(participant, &request))
            }
            Some(Message::LockMeeting(request)) => seat.acked(|meeting| meeting.lock(participant, &request)),
            Some(Message::SpotlightParticipant(request)) => {
                seat.acked(|meeting| meeting.spotlight(participant, &request))
            }
            Some(Message::LowerHands(request)) => {
                seat.acked(|meeting| meeting.lower_hands(participant, &request))
            }
            Some(Message::StageRequest(request)) => {
                seat.acked(|meeting| meeting.stage(participant, &request))
            }
            Some(Message::AdmitParticipant(request)) => {
                seat.acked(|meeting| meeting.admit(participant, &request))
            }
            Some(Message::KickParticipant(request)) => self.kick(seat, &request).await.map(|()| ack()),
            Some(Message::EndMeeting(_)) => self.end_for_all(seat).await.map(|()| ack()),
            Some(Message::SetPreset(request)) => self.set_preset(seat, &request).await.map(|()| ack()),
            Some(Message::KeyFrameRequest(request)) => self.key_frame_request(seat, &request).map(|()| ack()),
            Some(Message::RefreshConnectionToken(_)) => {
                let media_server = seat.refresh_media();
                Ok(Message::ConnectionTokenRefreshed(pb::ConnectionTokenRefreshed { media_server }))
            }
            Some(Message::LeaveRequest(_)) => {
                channel.answer(ack()).await?;
                return Err(End::left());
            }
            Some(Message::JoinRequest(_) | Message::ResumeRequest(_)) => {
                Err(refusal(ErrorCode::Conflict, "this session has joined already"))
            }
            Some(_) => Err(refusal(ErrorCode::Unsupported, "this server does not offer that request")),
            None => {
                Err(refusal(ErrorCode::Unsupported, "the envelope holds no message that this server knows"))
            }
        };
        let answer = result.unwrap_or_else(|refusal| Message::Error(refusal_message(refusal)));
        channel.answer(answer).await
    }

    fn key_frame_request(&self, seat: &Seat, request: &pb::KeyFrameRequest) -> Result<(), Refusal> {
        let not_subscribed = || refusal(ErrorCode::NotFound, "you are not subscribed to this stream");
        let stream_id = request.stream_id.parse().map_err(|_| not_subscribed())?;
        let (meeting_id, wire_id) = seat.with_meeting(|meeting| {
            Ok((meeting.id(), meeting.subscribed_wire_stream(seat.participant, stream_id)))
        })?;
        self.media.request_key_frame(meeting_id, wire_id.ok_or_else(not_subscribed)?);
        Ok(())
    }
}

/// When the right of a participant to be there ends, according to its record; `None` if it has none at `now`.
pub(super) fn end_of_right(
    issued: Option<&IssuedParticipant>,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let issued = issued.filter(|issued| issued.revoked_at.is_none());
    issued.map(|issued| issued.expires_at).filter(|expires_at| *expires_at + EXPIRY_GRACE > now)
}

/// How many participants, from the first, a join response holds: it must stay under the bound of
/// a message. The others follow in messages of their own.
pub(super) fn fitting(participants: &[pb::Participant]) -> usize {
    let mut len = 0;
    let fits = |participant: &&pb::Participant| {
        len += participant.encoded_len() + 8;
        len <= ROSTER_BYTES
    };
    participants.iter().take_while(fits).count()
}

pub(super) fn refusal(code: ErrorCode, message: &str) -> Refusal {
    Refusal { code, message: message.to_owned(), field: None }
}

fn refusal_message(refusal: Refusal) -> pb::ErrorMessage {
    let details = refusal.field.map(|field| ("field".to_owned(), field.to_owned()));
    pb::ErrorMessage {
        code: refusal.code.into(),
        message: refusal.message,
        details: details.into_iter().collect(),
    }
}

/// Another session of the same participant, or the controller, ends this one.
pub(super) fn ended_by(code: Code) -> End {
    use pb::LeaveReason::{ConnectionLost, Duplicate, Kicked, MeetingEnded, Rejected};
    let conflict = Tell::Error(ErrorCode::Conflict);
    let (reason, tell, message) = match code {
        Code::DUPLICATE => (Duplicate, conflict, "the same participant connected again"),
        Code::KICKED => (Kicked, Tell::Error(ErrorCode::Forbidden), "you were removed from the meeting"),
        Code::MEETING_ENDED => (MeetingEnded, Tell::MeetingEnded, "the meeting is over"),
        Code::UNAUTHORIZED => return End { reason: Rejected, ..End::not_begun() },
        Code::TOO_SLOW => (ConnectionLost, conflict, "the client did not read its events"),
        _ => (ConnectionLost, conflict, "the session is over"),
    };
    End { reason, code, message: message.to_owned(), tell }
}

const TOO_MANY: &str = "too many messages; wait a minute";

/// What becomes of one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowance {
    Granted,
    Refused,
    /// The client has gone on for too long.
    Exhausted,
}

/// Counts a participant's messages.
struct MessageLimiter {
    limiter: DefaultDirectRateLimiter,
    /// When messages began to be refused, and when the last one was.
    refusing: Option<(Instant, Instant)>,
}

impl MessageLimiter {
    fn new(per_minute: NonZeroU32) -> Self {
        Self { limiter: RateLimiter::direct(Quota::per_minute(per_minute)), refusing: None }
    }

    fn check(&mut self, now: Instant) -> Allowance {
        if self.limiter.check().is_ok() {
            return Allowance::Granted;
        }
        // In a flood some messages always pass; it is over when none has been refused for a while.
        let goes_on = |(_, last): &(Instant, Instant)| now.saturating_duration_since(*last) < FLOOD_PAUSE;
        let since = self.refusing.filter(goes_on).map_or(now, |(since, _)| since);
        self.refusing = Some((since, now));
        match now.saturating_duration_since(since) < RATE_LIMIT_PATIENCE {
            true => Allowance::Refused,
            false => Allowance::Exhausted,
        }
    }
}

/// Writes what is queued; when the queue is closed, ends the stream and waits for the client to
/// have it all. Returns why the session cannot go on.
async fn write_out(mut send: SendStream, mut queued: mpsc::Receiver<Bytes>) -> End {
    send.set_priority(1000);
    while let Some(bytes) = queued.recv().await {
        match tokio::time::timeout(WRITE_DEADLINE, send.write_all(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_ended)) => return End::lost(),
            Err(_) => {
                let message = "the client did not read for 10 s";
                return End::fault(Code::TOO_SLOW, ErrorCode::CapacityExceeded, message);
            }
        }
    }
    send.finish();
    send.delivered().await;
    End::lost()
}

/// The control stream: envelopes both ways.
pub(super) struct Channel {
    pub(super) requests: MessageReader,
    /// To [`write_out`].
    outgoing: mpsc::Sender<Bytes>,
    /// Request id of the request that is being answered; 0 if none is.
    answering: u64,
    /// Says that the session is to end.
    close: Option<mpsc::Receiver<Code>>,
}

impl Channel {
    fn new(recv: RecvStream, outgoing: mpsc::Sender<Bytes>) -> Self {
        Self { requests: MessageReader::new(recv), outgoing, answering: 0, close: None }
    }

    /// From now on whoever may end the session of the seat ends this conversation, also while the client does not read.
    pub(super) fn obey(&mut self, seat: &mut Seat) {
        self.close = seat.close.take();
    }

    fn has_room(&self) -> bool {
        self.outgoing.capacity() > 0
    }

    /// How a session ended whose connection is closed: a client that leaves may close it at once.
    fn last_words(&mut self) -> End {
        while let Some(Ok(Some(envelope))) = self.requests.next::<pb::Envelope>().now_or_never() {
            if matches!(envelope.message, Some(Message::LeaveRequest(_))) {
                return End::left();
            }
        }
        End::lost()
    }

    pub(super) async fn answer(&mut self, message: Message) -> Result<(), End> {
        let request_id = std::mem::take(&mut self.answering);
        self.queue(envelope(request_id, message)).await
    }

    /// Something that comes before the answer to the open request.
    pub(super) async fn provisional(&mut self, message: Message) -> Result<(), End> {
        self.queue(envelope(self.answering, message)).await
    }

    /// The events of the meeting that have come.
    async fn events(&mut self, seat: &mut Seat) -> Result<(), End> {
        self.queue_all(std::iter::from_fn(|| seat.take_events())).await
    }

    pub(super) async fn queue_all(&mut self, writes: impl Iterator<Item = Bytes>) -> Result<(), End> {
        for write in writes {
            self.queue(write).await?;
        }
        Ok(())
    }

    /// Something about this session alone, which nobody needs to know who comes back with another.
    pub(super) async fn notice(&mut self, message: Message) -> Result<(), End> {
        self.queue(envelope(0, message)).await
    }

    /// Acknowledges a request that came while another was open.
    pub(super) async fn acknowledge(&mut self, request: &pb::Envelope) -> Result<(), End> {
        self.queue(envelope(request.request_id, Message::Ack(pb::Ack::default()))).await
    }

    pub(super) async fn refuse(&mut self, request: &pb::Envelope, refusal: Refusal) -> Result<(), End> {
        self.queue(envelope(request.request_id, Message::Error(refusal_message(refusal)))).await
    }

    async fn refuse_rate(&mut self, request: &pb::Envelope) -> Result<(), End> {
        self.answering = request.request_id;
        self.answer(Message::Error(refusal_message(refusal(ErrorCode::RateLimited, TOO_MANY)))).await
    }

    /// Has something written, when there is room, unless the session is to end.
    pub(super) async fn queue(&mut self, bytes: Bytes) -> Result<(), End> {
        let outgoing = self.outgoing.clone();
        tokio::select! {
            biased;
            sent = outgoing.send(bytes) => sent.map_err(|_writer_gone| End::lost()),
            code = order(&mut self.close) => Err(ended_by(code)),
        }
    }

    /// Says why the session ends, if there is room for it.
    fn tell(&mut self, code: ErrorCode, end: &End) {
        let details = [("close_code".to_owned(), end.code.name().to_owned())].into();
        let error = pb::ErrorMessage { code: code.into(), message: end.message.clone(), details };
        let _no_room = self.outgoing.try_send(envelope(self.answering, Message::Error(error)));
    }

    /// The last event of a meeting that is over, if there is room for it.
    fn tell_meeting_ended(&mut self, end: &End) {
        let ended = Message::MeetingEnded(pb::MeetingEnded { reason: end.message.clone() });
        let _no_room = self.outgoing.try_send(envelope(0, ended));
    }
}

/// Whether a message is not answered, whatever becomes of it (docs/protocol.md 5.5).
fn has_no_answer(envelope: &pb::Envelope) -> bool {
    envelope.request_id == 0 && matches!(envelope.message, Some(Message::StreamQualityUpdate(_)))
}

/// Waits until the session is to end. Cancel-safe.
async fn order(close: &mut Option<mpsc::Receiver<Code>>) -> Code {
    let ordered = match close {
        Some(close) => close.recv().await,
        None => None,
    };
    match ordered {
        Some(code) => code,
        None => std::future::pending().await,
    }
}

pub(super) fn envelope(request_id: u64, message: Message) -> Bytes {
    let version = PROTOCOL_VERSION;
    message::encode(&pb::Envelope { version, request_id, event_sequence: 0, message: Some(message) })
}

#[cfg(test)]
mod tests {
    use darktower_core::access::ParticipantRole;

    use super::*;

    #[test]
    fn a_right_ends_with_the_last_token_unless_it_is_taken_before() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(1);
        let at = |seconds| now + time::Duration::seconds(seconds);
        let mut issued = IssuedParticipant {
            id: ParticipantId::generate(),
            meeting_id: darktower_protocol::MeetingId::generate(),
            name: "Zoë".to_owned(),
            role: ParticipantRole::Participant,
            preset: "video_participant".to_owned(),
            user_id: None,
            is_guest: false,
            issued_by: None,
            created_at: at(-60),
            expires_at: at(-5),
            revoked_at: None,
        };
        assert_eq!(end_of_right(None, now), None, "gone");
        assert_eq!(end_of_right(Some(&issued), now), None, "ended");
        assert_eq!(end_of_right(Some(&issued), at(-1)), Some(at(-5)), "in its grace");
        issued.expires_at = at(3600);
        assert_eq!(end_of_right(Some(&issued), now), Some(at(3600)), "renewed");
        issued.revoked_at = Some(at(-1));
        assert_eq!(end_of_right(Some(&issued), now), None, "revoked");
    }

    #[test]
    fn a_large_roster_is_split() {
        let participant = |n| pb::Participant { name: "x".repeat(n), ..Default::default() };
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&vec![participant(100); 10]), 10);
        let many = vec![participant(1000); 200];
        let first = fitting(&many);
        assert!(first > 50 && first < 61, "{first}");
    }

    #[test]
    fn a_flood_is_refused_then_ends_the_session_although_some_messages_pass() {
        let mut limiter = MessageLimiter::new(NonZeroU32::new(10).expect("not zero"));
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        (0..10).for_each(|_| assert_eq!(limiter.check(at(0)), Allowance::Granted));
        assert_eq!(limiter.check(at(0)), Allowance::Refused);
        // A pause makes it a new beginning.
        assert_eq!(limiter.check(at(9_500)), Allowance::Refused);
        for ms in (9_600..19_500).step_by(100) {
            assert_eq!(limiter.check(at(ms)), Allowance::Refused, "{ms}");
        }
        assert_eq!(limiter.check(at(19_500)), Allowance::Exhausted);
    }
}
