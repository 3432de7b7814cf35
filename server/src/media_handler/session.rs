//! One client's media session: hello, then units both ways until it ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darktower_protocol::message::{self, MessageError};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, SessionId, version};
use governor::{Quota, RateLimiter};
use pb::media_client_message::Message as FromClient;
use pb::media_server_message::Message as ToClient;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::MediaHandler;
use super::ingress::Ingress;
use super::router::{Connected, Participant};
use super::shard::Shard;
use crate::clock::unix_micros;
use crate::transport::{MessageReader, RecvStream, SendStream, Session, WriteError};

/// What this media handler offers.
const FEATURES: &[Features] = &[Features::GROUPS, Features::AUDIO_DATAGRAMS];

/// A client has this long to open the control stream and say hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// How long an error message, and the rest of the message before it, may take to arrive, and to be read, before the session
/// is closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Pings and key-frame requests of 64 video subscriptions, with room.
const CONTROL_MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");

/// Control messages waiting to be sent. Feedback beyond that is left out: whoever needed it asks
/// again.
const CONTROL_QUEUE: usize = 64;

/// Why a session is ended by this side.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn to_message(&self) -> pb::ErrorMessage {
        let code = match self.code {
            Code::UNAUTHORIZED => pb::ErrorCode::Unauthorized,
            Code::INTERNAL => pb::ErrorCode::InternalError,
            Code::TOO_SLOW | Code::CAPACITY_EXCEEDED => pb::ErrorCode::CapacityExceeded,
            Code::RATE_LIMITED => pb::ErrorCode::RateLimited,
            _ => pb::ErrorCode::InvalidRequest,
        };
        let details = [("close_code".to_owned(), self.code.name().to_owned())].into();
        pb::ErrorMessage { code: code.into(), message: self.message.clone(), details }
    }
}

impl From<MessageError> for Fault {
    fn from(error: MessageError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl MediaHandler {
    /// Serves one media session until it ends, on the shard whose socket it came through.
    pub async fn serve(self: Arc<Self>, session: Session, shard: Arc<Shard>) {
        let deadline = Instant::now() + HELLO_DEADLINE;
        let control = match tokio::time::timeout_at(deadline, session.accept_bi()).await {
            Ok(Ok(control)) => control,
            Ok(Err(_ended)) => return,
            Err(_) => return session.close(Code::TIMED_OUT, "no control stream within 5 s"),
        };
        let (mut send, recv) = control;
        send.set_priority(1000);
        let mut control = ControlWriter::new(send);
        if let Err(fault) = self.serve_control(&session, &shard, &mut control, recv, deadline).await {
            metrics::counter!("media_sessions_refused_total", "code" => fault.code.name()).increment(1);
            tracing::info!(remote = %session.remote_address(), %fault, "media session closed");
            let last = pb::MediaServerMessage { message: Some(ToClient::Error(fault.to_message())) };
            let heard = async {
                control.end_with(&last).await;
                session.read_by_client().await;
            };
            let _too_late = tokio::time::timeout(LAST_WORDS, heard).await;
            session.close(fault.code, &fault.message);
        }
    }

    async fn serve_control(
        self: &Arc<Self>,
        session: &Session,
        shard: &Arc<Shard>,
        writer: &mut ControlWriter,
        recv: RecvStream,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut control = MessageReader::new(recv);
        let late = |_| Fault::new(Code::TIMED_OUT, "no MediaHello within 5 s");
        let first = tokio::time::timeout_at(deadline, control.next::<pb::MediaClientMessage>())
            .await
            .map_err(late)??;
        let Some(first) = first else { return Ok(()) };
        let Some(FromClient::Hello(hello)) = first.message else {
            return Err(Fault::new(Code::PROTOCOL_VIOLATION, "the first message must be MediaHello"));
        };
        let Some(protocol_version) = version::negotiate(hello.protocol_min, hello.protocol_max) else {
            let message = format!(
                "media protocol {} to {} is not supported; this server speaks 1",
                hello.protocol_min, hello.protocol_max
            );
            return Err(Fault::new(Code::UNSUPPORTED_VERSION, message));
        };
        let participant = self.redeem(&hello.connection_token).ok_or_else(|| {
            let message = "the connection token is unknown, expired or used; ask the meeting for a new one";
            Fault::new(Code::UNAUTHORIZED, message)
        })?;

        if shard.load() > self.settings.max_load {
            let message =
                "this server is at its limit and keeps its quality for those who are there; try again later";
            return Err(Fault::new(Code::CAPACITY_EXCEEDED, message));
        }

        let offered = FEATURES.iter().fold(Features::NONE, |all, feature| all | *feature);
        let mut features = offered & Features::from_names(&hello.features);
        if session.max_datagram_len().is_none() {
            features = features & Features::GROUPS;
        }
        let limits = self.settings.limits;
        let welcome = pb::MediaWelcome {
            session_id: SessionId::generate().to_string(),
            features: features.names(),
            limits: Some(pb::MediaLimits {
                max_audio_payload: limits.max_audio_payload,
                max_video_payload: limits.max_video_payload,
            }),
            server_time: unix_micros(),
            protocol_version,
        };
        let number = self.next_session_number();
        // The pump forgets it when this function is left.
        let (subscriber, faults) = shard.add_subscriber(Arc::clone(&participant), session, features);
        let connected = Connected { number, session: session.clone(), subscriber: subscriber.handle() };
        participant
            .connect(connected)
            .map_err(|_gone| Fault::new(Code::UNAUTHORIZED, "the participant has left the meeting"))?;
        tracing::debug!(participant = %participant.id, meeting = %participant.meeting, ?features, "media session");
        let gauge = metrics::gauge!("media_sessions");
        gauge.increment(1.0);

        let (outgoing, outgoing_rx) = mpsc::channel(CONTROL_QUEUE);
        let handle = subscriber.handle();
        let ingress = Ingress::new(self, session, &participant, number, features, outgoing.clone(), handle);
        // The first message out is the welcome: nothing else is written before it.
        let welcome = pb::MediaServerMessage { message: Some(ToClient::Welcome(welcome)) };
        let result = tokio::select! {
            result = write_control(writer, welcome, outgoing_rx) => result,
            result = read_control(&participant, control, outgoing) => result,
            result = ingress.run() => result,
            Ok(fault) = faults => Err(fault),
            _ended = session.closed() => Ok(()),
        };
        gauge.decrement(1.0);
        participant.disconnect(number);
        result
    }
}

/// The sending half of the control stream. Every message arrives whole before the next, also when a write is cancelled.
struct ControlWriter {
    send: SendStream,
    /// The rest of the message under way.
    unsent: Bytes,
}

impl ControlWriter {
    fn new(send: SendStream) -> Self {
        Self { send, unsent: Bytes::new() }
    }

    /// Completes the message under way, then writes this one. Cancelled, it leaves one of them to be completed.
    async fn write(&mut self, message: &pb::MediaServerMessage) -> Result<(), WriteError> {
        self.send.write_rest(&mut self.unsent).await?;
        self.unsent = message::encode(message);
        self.send.write_rest(&mut self.unsent).await
    }

    /// Writes the last message and waits until the client has it, or is gone.
    async fn end_with(&mut self, message: &pb::MediaServerMessage) {
        if self.write(message).await.is_ok() {
            self.send.finish();
            self.send.delivered().await;
        }
    }
}

async fn write_control(
    writer: &mut ControlWriter,
    first: pb::MediaServerMessage,
    mut rest: mpsc::Receiver<pb::MediaServerMessage>,
) -> Result<(), Fault> {
    let mut next = Some(first);
    while let Some(message) = next {
        if writer.write(&message).await.is_err() {
            return Err(Fault::new(Code::PROTOCOL_VIOLATION, "the control stream must stay open"));
        }
        next = rest.recv().await;
    }
    Ok(())
}

async fn read_control(
    participant: &Participant,
    mut control: MessageReader,
    outgoing: mpsc::Sender<pb::MediaServerMessage>,
) -> Result<(), Fault> {
    let limiter = RateLimiter::direct(Quota::per_second(CONTROL_MESSAGES_PER_SECOND));
    while let Some(message) = control.next::<pb::MediaClientMessage>().await? {
        if limiter.check().is_err() {
            let message = format!("more than {CONTROL_MESSAGES_PER_SECOND} control messages per second");
            return Err(Fault::new(Code::RATE_LIMITED, message));
        }
        match message.message {
            Some(FromClient::Ping(ping)) => {
                let pong = pb::Pong { id: ping.id, server_time: unix_micros() };
                let message = pb::MediaServerMessage { message: Some(ToClient::Pong(pong)) };
                // A client that does not read its pongs does not get more of them.
                let _full = outgoing.try_send(message);
            }
            Some(FromClient::SubscriberFeedback(feedback)) => {
                let malformed = |_| Fault::new(Code::MALFORMED_MESSAGE, "stream_id must be a UUID");
                let stream_id = feedback.stream_id.parse().map_err(malformed)?;
                let stream = participant.wanted(stream_id).filter(|_| feedback.key_frame_requested);
                // A stream that it does not get (any more) is none of its business.
                if let Some(stream) = stream {
                    stream.request_key_frame();
                }
            }
            Some(FromClient::Hello(_)) => {
                return Err(Fault::new(Code::PROTOCOL_VIOLATION, "MediaHello comes once"));
            }
            // Of a later version.
            None => {}
        }
    }
    // The client has finished its half; the session goes on until it is closed.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use darktower_protocol::limits::MAX_MESSAGE;
    use darktower_protocol::message::MessageDecoder;

    use super::*;
    use crate::transport::loopback::Loopback;

    fn error(message: String) -> pb::MediaServerMessage {
        let error = Fault::new(Code::PROTOCOL_VIOLATION, message).to_message();
        pb::MediaServerMessage { message: Some(ToClient::Error(error)) }
    }

    #[tokio::test]
    async fn last_words_follow_a_whole_message_when_its_write_was_cancelled() {
        let Loopback { send, mut recv, _open } = Loopback::new(100).await;
        let mut writer = ControlWriter::new(send);
        let first = error("one ".repeat(100));
        let last = error("last words".to_owned());
        let whole = message::encode(&first).len();
        tokio::select! {
            biased;
            _ = writer.write(&first) => panic!("a client that reads nothing takes 100 bytes"),
            // Polled when that waits for the client.
            () = std::future::ready(()) => {}
        }
        assert_eq!(writer.unsent.len(), whole - 100, "it was cancelled in the middle");

        let read = async {
            let mut decoder = MessageDecoder::new(MAX_MESSAGE);
            while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.expect("the stream lives") {
                decoder.push(&chunk.bytes);
            }
            decoder
        };
        let ((), mut decoder) = tokio::join!(writer.end_with(&last), read);
        assert_eq!(decoder.next_message(), Ok(Some(first)));
        assert_eq!(decoder.next_message(), Ok(Some(last)));
        assert_eq!(decoder.finish(), Ok(()), "and nothing after them");
    }
}
