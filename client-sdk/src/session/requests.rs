//! Which answer belongs to which request, and events without gaps.

use std::collections::HashMap;

use darktower_protocol::Code;
use darktower_protocol::signaling::pb;
use darktower_protocol::version::PROTOCOL_VERSION;
use pb::envelope::Message;

/// Requests that may wait for their answers at one time.
const MAX_OPEN: usize = 256;

/// Open requests of one signaling session. `W` is whoever waits for an answer.
#[derive(Debug)]
pub(crate) struct Requests<W> {
    last_id: u64,
    last_event: u64,
    open: HashMap<u64, W>,
}

/// What a message of the server is.
#[derive(Debug, PartialEq)]
pub(crate) enum Received<W> {
    /// The answer that somebody waits for.
    Answer(W, Result<Message, pb::ErrorMessage>),
    /// The answer to this request will take its time, and somebody waits for it: the request stays
    /// open.
    Waiting {
        /// Which request.
        id: u64,
        /// What is said meanwhile.
        waiting: pb::JoinWaiting,
    },
    /// The next event.
    Event {
        /// From 1; 0 if it is about this session alone.
        sequence: u64,
        /// What happened.
        message: Message,
    },
    /// Why the server is about to close the session.
    Farewell(pb::ErrorMessage),
    /// An answer that nobody waits for any more, or an event of a later version.
    Nothing,
}

/// The server broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("signaling version {0} instead of {PROTOCOL_VERSION}")]
    Version(u32),
    #[error("an answer to request {0}, which was never asked")]
    UnknownRequest(u64),
    #[error("event {got} where {expected} was due")]
    EventGap { expected: u64, got: u64 },
}

impl Violation {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Version(_) => Code::UNSUPPORTED_VERSION,
            Self::UnknownRequest(_) | Self::EventGap { .. } => Code::PROTOCOL_VIOLATION,
        }
    }
}

impl<W> Default for Requests<W> {
    fn default() -> Self {
        Self { last_id: 0, last_event: 0, open: HashMap::new() }
    }
}

impl<W> Requests<W> {
    /// A new request and the id to send it with; the waiter back if too many are open.
    pub(crate) fn open(&mut self, waiter: W) -> Result<u64, W> {
        if self.open.len() >= MAX_OPEN {
            return Err(waiter);
        }
        self.last_id += 1;
        self.open.insert(self.last_id, waiter);
        Ok(self.last_id)
    }

    /// Whoever waits for the answer to a request.
    pub(crate) fn waiter(&mut self, id: u64) -> Option<&mut W> {
        self.open.get_mut(&id)
    }

    /// Events go on after this one: they were counted in an earlier session.
    pub(crate) fn count_from(&mut self, last_event: u64) {
        self.last_event = last_event;
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn give_up(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// Everybody who waits; for the end of the session.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = W> {
        self.open.drain().map(|(_, waiter)| waiter)
    }

    /// Takes the server's next message.
    pub(crate) fn receive(&mut self, envelope: pb::Envelope) -> Result<Received<W>, Violation> {
        if envelope.version != PROTOCOL_VERSION {
            return Err(Violation::Version(envelope.version));
        }
        if envelope.request_id != 0 {
            return self.answer(envelope);
        }
        match (envelope.event_sequence, envelope.message) {
            (0, Some(Message::Error(error))) => Ok(Received::Farewell(error)),
            // About this session alone, and not counted.
            (0, message) => {
                Ok(message.map_or(Received::Nothing, |message| Received::Event { sequence: 0, message }))
            }
            (sequence, message) => {
                let expected = self.last_event + 1;
                if sequence != expected {
                    return Err(Violation::EventGap { expected, got: sequence });
                }
                self.last_event = sequence;
                Ok(message.map_or(Received::Nothing, |message| Received::Event { sequence, message }))
            }
        }
    }

    fn answer(&mut self, envelope: pb::Envelope) -> Result<Received<W>, Violation> {
        let id = envelope.request_id;
        if id > self.last_id {
            return Err(Violation::UnknownRequest(id));
        }
        if let Some(Message::JoinWaiting(waiting)) = envelope.message {
            return Ok(match self.open.contains_key(&id) {
                true => Received::Waiting { id, waiting },
                false => Received::Nothing,
            });
        }
        if let Some(Message::ResumeResponse(pb::ResumeResponse { snapshot: Some(_), .. })) = &envelope.message
        {
            self.last_event = 0;
        }
        let Some(waiter) = self.open.remove(&id) else { return Ok(Received::Nothing) };
        Ok(Received::Answer(
            waiter,
            match envelope.message {
                Some(Message::Error(error)) => Err(error),
                Some(message) => Ok(message),
                None => Err(pb::ErrorMessage {
                    code: pb::ErrorCode::Unsupported.into(),
                    message: "the server's answer is of a later version".to_owned(),
                    details: HashMap::new(),
                }),
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(request_id: u64, event_sequence: u64, message: Message) -> pb::Envelope {
        pb::Envelope { version: 1, request_id, event_sequence, message: Some(message) }
    }

    fn ack() -> Message {
        Message::Ack(pb::Ack::default())
    }

    fn refusal() -> pb::ErrorMessage {
        pb::ErrorMessage { code: pb::ErrorCode::NotFound.into(), ..Default::default() }
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let mut requests = Requests::default();
        let (a, b) = (requests.open("a").expect("open"), requests.open("b").expect("open"));
        assert_ne!(a, 0);
        let refused = envelope(b, 0, Message::Error(refusal()));
        assert_eq!(requests.receive(refused), Ok(Received::Answer("b", Err(refusal()))));
        assert_eq!(requests.receive(envelope(a, 0, ack())), Ok(Received::Answer("a", Ok(ack()))));
        assert_eq!(requests.receive(envelope(a, 0, ack())), Ok(Received::Nothing), "answered twice");
        assert_eq!(requests.receive(envelope(99, 0, ack())), Err(Violation::UnknownRequest(99)));
    }

    #[test]
    fn a_late_answer_is_nothing() {
        let mut requests = Requests::default();
        let id = requests.open(()).expect("open");
        requests.give_up(id);
        assert_eq!(requests.receive(envelope(id, 0, ack())), Ok(Received::Nothing));
    }

    #[test]
    fn waiting_leaves_the_request_open() {
        let mut requests = Requests::default();
        let (id, other) = (requests.open("join").expect("open"), requests.open("other").expect("open"));
        let waiting = pb::JoinWaiting { meeting_display_name: "Stand-up".to_owned() };
        let told = || envelope(id, 0, Message::JoinWaiting(waiting.clone()));
        for _ in 0..2 {
            assert_eq!(
                requests.receive(told()),
                Ok(Received::Waiting { id, waiting: waiting.clone() }),
                "told twice"
            );
            assert_eq!(requests.waiter(id), Some(&mut "join"));
        }
        assert_eq!(requests.receive(envelope(other, 0, ack())), Ok(Received::Answer("other", Ok(ack()))));
        let joined = Message::JoinResponse(pb::JoinResponse::default());
        let answer = envelope(id, 0, joined.clone());
        assert_eq!(requests.receive(answer), Ok(Received::Answer("join", Ok(joined))));
        assert_eq!(requests.waiter(id), None);
        assert_eq!(requests.receive(told()), Ok(Received::Nothing), "after the answer");
    }

    #[test]
    fn whoever_waits_can_be_turned_away_or_give_up() {
        let mut requests = Requests::default();
        let (turned_away, gives_up) = (requests.open("a").expect("open"), requests.open("b").expect("open"));
        let waiting = |id| envelope(id, 0, Message::JoinWaiting(pb::JoinWaiting::default()));
        assert!(matches!(requests.receive(waiting(turned_away)), Ok(Received::Waiting { .. })));
        let refused = envelope(turned_away, 0, Message::Error(refusal()));
        assert_eq!(requests.receive(refused), Ok(Received::Answer("a", Err(refusal()))));
        requests.give_up(gives_up);
        assert_eq!(requests.receive(waiting(gives_up)), Ok(Received::Nothing));
        assert_eq!(requests.receive(waiting(99)), Err(Violation::UnknownRequest(99)));
    }

    #[test]
    fn counting_goes_on_after_a_resume_and_begins_anew_with_a_snapshot() {
        let mut requests = Requests::default();
        let event = Message::MeetingEnded(pb::MeetingEnded::default());
        let received = |requests: &mut Requests<&'static str>, sequence| {
            requests.receive(envelope(0, sequence, event.clone()))
        };
        requests.count_from(41);
        let id = requests.open("resume").expect("open");
        let response = Message::ResumeResponse(pb::ResumeResponse::default());
        let answered = requests.receive(envelope(id, 0, response.clone()));
        assert_eq!(answered, Ok(Received::Answer("resume", Ok(response))));
        assert!(received(&mut requests, 42).is_ok());
        assert!(received(&mut requests, 0).is_ok(), "not counted");
        assert!(received(&mut requests, 43).is_ok());
        let id = requests.open("resume").expect("open");
        let snapshot = Some(pb::JoinResponse::default());
        let response = Message::ResumeResponse(pb::ResumeResponse { snapshot, ..Default::default() });
        assert!(requests.receive(envelope(id, 0, response)).is_ok());
        assert!(received(&mut requests, 1).is_ok());
        assert_eq!(received(&mut requests, 3), Err(Violation::EventGap { expected: 2, got: 3 }));
    }

    #[test]
    fn events_have_no_gaps() {
        let mut requests = Requests::<()>::default();
        let event = Message::GoAway(pb::GoAway::default());
        for sequence in 1..=2 {
            let received = requests.receive(envelope(0, sequence, event.clone()));
            assert_eq!(received, Ok(Received::Event { sequence, message: event.clone() }));
        }
        // Of a later version: counted, not understood.
        let unknown = pb::Envelope { version: 1, event_sequence: 3, ..Default::default() };
        assert_eq!(requests.receive(unknown), Ok(Received::Nothing));
        let gap = Violation::EventGap { expected: 4, got: 5 };
        assert_eq!(requests.receive(envelope(0, 5, event)), Err(gap));
    }

    #[test]
    fn the_farewell_is_no_event() {
        let mut requests = Requests::<()>::default();
        let farewell = envelope(0, 0, Message::Error(refusal()));
        assert_eq!(requests.receive(farewell), Ok(Received::Farewell(refusal())));
    }

    #[test]
    fn other_versions_are_refused() {
        let mut requests = Requests::<()>::default();
        let other = pb::Envelope { version: 2, ..Default::default() };
        assert_eq!(requests.receive(other), Err(Violation::Version(2)));
    }

    #[test]
    fn open_requests_are_bounded() {
        let mut requests = Requests::default();
        for _ in 0..MAX_OPEN {
            assert!(requests.open(()).is_ok());
        }
        assert!(requests.open(()).is_err());
        assert_eq!(requests.drain().count(), MAX_OPEN);
        assert!(requests.open(()).is_ok());
    }
}
