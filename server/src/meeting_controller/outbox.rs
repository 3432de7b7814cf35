//! The events of a meeting on their way to one client.
//!
//! An event that comes alone leaves at once. When events come in quick succession, those after the first are gathered for
//! a moment and leave in one write: one task woken, one packet sent and acknowledged, instead of one for each.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use darktower_core::meeting::Event;
use darktower_protocol::message;
use darktower_protocol::signaling::pb;
use darktower_protocol::version::PROTOCOL_VERSION;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Events waiting for one client. A client that is this far behind is disconnected: its roster
/// could no longer be right.
const EVENT_QUEUE: usize = 512;

/// Between two writes of events to one client.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// The pause grows with the meeting, so that what happens in it makes 10,000 writes a second at most: with 1,000
/// participants it is 100 ms.
const PAUSE_PER_PARTICIPANT: Duration = Duration::from_micros(100);

/// Nobody waits longer, however many are there.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Bytes from which on a write takes no further event.
const FULL_WRITE: usize = 16 << 10;

/// An event with its number among those of its participant.
pub(super) type NumberedEvent = (u64, Arc<Event>);

/// Where the meeting puts the events of one client.
pub(super) type Inlet = mpsc::Sender<NumberedEvent>;

/// The events that a client has not been sent.
pub(super) struct Outbox {
    queue: mpsc::Receiver<NumberedEvent>,
    /// The oldest, if it was taken from the queue to see that there is one.
    first: Option<NumberedEvent>,
    /// When the next write may begin.
    opens_at: Instant,
}

impl Outbox {
    /// Holds what one request of a host may make: news of everybody. What is not used takes no room.
    pub(super) fn new(max_participants: usize) -> (Inlet, Self) {
        let (inlet, queue) = mpsc::channel(EVENT_QUEUE.saturating_add(max_participants));
        (inlet, Self { queue, first: None, opens_at: Instant::now() })
    }

    /// Waits until there is something to write and it is time for it. Does not end when nothing can come any more.
    /// Cancel-safe.
    pub(super) async fn due(&mut self) {
        if self.first.is_none() {
            self.first = self.queue.recv().await;
        }
        if self.first.is_none() {
            return std::future::pending().await;
        }
        if Instant::now() < self.opens_at {
            // The queue is not looked at meanwhile: what comes wakes nobody.
            sleep_until(self.opens_at).await;
        }
    }

    /// Takes what there is, up to a full write; `None` if there is nothing. The next pause begins when all is taken:
    /// `participants` are in the meeting.
    pub(super) fn take(&mut self, participants: impl FnOnce() -> usize) -> Option<Bytes> {
        let waiting = std::iter::from_fn(|| self.first.take().or_else(|| self.queue.try_recv().ok()));
        let bytes = writes(waiting).next()?;
        if self.queue.is_empty() {
            let participants = u32::try_from(participants()).unwrap_or(u32::MAX);
            let pause = PAUSE_PER_PARTICIPANT.saturating_mul(participants);
            self.opens_at = Instant::now() + pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        }
        Some(bytes)
    }
}

/// Events in as few writes as they make.
pub(super) fn writes(events: impl IntoIterator<Item = NumberedEvent>) -> impl Iterator<Item = Bytes> {
    gathered(events.into_iter(), |bytes, (event_sequence, event)| {
        let head = pb::Envelope { version: PROTOCOL_VERSION, event_sequence, ..pb::Envelope::default() };
        message::append(bytes, &head, event.encoded());
    })
}

/// Encoded messages in as few writes as they make.
pub(super) fn together(messages: impl Iterator<Item = Bytes>) -> impl Iterator<Item = Bytes> {
    gathered(messages, |bytes, message| bytes.extend_from_slice(&message))
}

fn gathered<T>(
    mut items: impl Iterator<Item = T>,
    append: impl Fn(&mut BytesMut, T),
) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let mut bytes = BytesMut::new();
        while bytes.len() < FULL_WRITE
            && let Some(item) = items.next()
        {
            append(&mut bytes, item);
        }
        (!bytes.is_empty()).then(|| bytes.freeze())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use darktower_core::meeting::{Identity, Meeting, MeetingLimits, Output, Rights};
    use darktower_core::preset::shipped;
    use darktower_protocol::limits::MAX_MESSAGE;
    use darktower_protocol::message::MessageDecoder;
    use darktower_protocol::{MeetingId, ParticipantId};

    use super::*;

    /// News for somebody who is in a meeting that so many others join.
    fn events(count: usize) -> Vec<NumberedEvent> {
        let preset = shipped().into_iter().next().expect("presets are shipped");
        let limits = MeetingLimits { max_participants: count + 1, ..MeetingLimits::default() };
        let mut meeting = Meeting::new(MeetingId::generate(), limits);
        let ids: Vec<_> = (0..=count).map(|_| ParticipantId::generate()).collect();
        for id in &ids {
            let identity = Identity {
                participant_id: *id,
                name: "Zoë".to_owned(),
                role: pb::Role::Participant,
                rights: Rights::new(&preset, false),
                is_guest: false,
                user_id: String::new(),
            };
            meeting.join(identity, &pb::ParticipantCapabilities::default(), 1).expect("there is room");
        }
        let outputs = std::iter::from_fn(|| meeting.poll_output());
        let news = outputs.filter_map(|output| match output {
            Output::Event { to, sequence, event } if to == ids[0] => Some((sequence, event)),
            _ => None,
        });
        news.collect()
    }

    fn sequences(writes: &[Bytes]) -> Vec<u64> {
        let mut decoder = MessageDecoder::new(MAX_MESSAGE);
        let mut sequences = Vec::new();
        for write in writes {
            decoder.push(write);
            while let Some(envelope) = decoder.next_message::<pb::Envelope>().expect("envelopes") {
                assert!(envelope.message.is_some() && envelope.request_id == 0, "{envelope:?}");
                sequences.push(envelope.event_sequence);
            }
        }
        assert_eq!(decoder.finish(), Ok(()));
        sequences
    }

    fn put(inlet: &Inlet, event: &NumberedEvent) {
        inlet.try_send((event.0, Arc::clone(&event.1))).expect("room");
    }

    #[test]
    fn many_events_make_few_writes_and_none_is_lost() {
        let all = events(500);
        let writes: Vec<_> = writes(all).collect();
        let len: usize = writes.iter().map(Bytes::len).sum();
        assert_eq!(writes.len(), len.div_ceil(FULL_WRITE), "{len}");
        assert_eq!(sequences(&writes), (1..=500).collect::<Vec<_>>());
    }

    async fn is_due(outbox: &mut Outbox) -> bool {
        tokio::select! {
            biased;
            () = outbox.due() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn one_event_leaves_at_once_and_those_that_follow_leave_together() {
        let events = events(5);
        let (inlet, mut outbox) = Outbox::new(10);
        assert!(!is_due(&mut outbox).await, "nothing has come");
        put(&inlet, &events[0]);
        assert!(is_due(&mut outbox).await);
        let before = Instant::now();
        assert_eq!(sequences(&[outbox.take(|| 1000).expect("one event")]), [1]);
        assert!(outbox.opens_at >= before + Duration::from_millis(100), "a large meeting");
        assert_eq!(outbox.take(|| 1000), None);

        let hour = Duration::from_secs(3600);
        outbox.opens_at = before + hour;
        events[1..4].iter().for_each(|event| put(&inlet, event));
        assert!(!is_due(&mut outbox).await);
        outbox.opens_at = before;
        assert!(is_due(&mut outbox).await);
        assert_eq!(sequences(&[outbox.take(|| 2).expect("three events")]), [2, 3, 4]);

        outbox.opens_at = before + hour;
        put(&inlet, &events[4]);
        assert!(!is_due(&mut outbox).await);
        let last = outbox.take(|| usize::MAX).expect("who asks does not wait");
        assert_eq!(sequences(&[last]), [5]);
        assert!(outbox.opens_at < before + hour, "nobody waits long");
    }
}
