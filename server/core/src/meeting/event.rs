//! What participants are told.

use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;
use darktower_protocol::signaling::pb::envelope::Message;

/// An event, shared by everybody who gets it and encoded once for all of them.
#[derive(Debug)]
pub struct Event {
    message: Message,
    /// Bytes of the message, encoded.
    len: usize,
    encoded: OnceLock<Bytes>,
}

impl Event {
    pub(super) fn new(message: Message) -> Self {
        Self { len: message.encoded_len(), message, encoded: OnceLock::new() }
    }

    /// Bytes of the message, encoded.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The message as the field of an `Envelope` (docs/protocol.md 5.2): what is left to add differs from one participant
    /// to the other.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        self.encoded.get_or_init(|| {
            let mut encoded = Vec::with_capacity(self.len);
            self.message.encode(&mut encoded);
            encoded.into()
        })
    }
}

/// What happened.
impl Deref for Event {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

#[cfg(test)]
mod tests {
    use darktower_protocol::message::{MessageDecoder, append};
    use darktower_protocol::signaling::pb;

    use super::*;

    #[test]
    fn an_envelope_with_an_encoded_event_is_read_as_one_that_was_encoded_whole() {
        let message = Message::GoAway(pb::GoAway { new_url: "https://elsewhere".to_owned(), deadline_ms: 7 });
        let event = Event::new(message.clone());
        let mut bytes = Vec::new();
        for event_sequence in [1, 300] {
            let head = pb::Envelope { version: 1, event_sequence, ..pb::Envelope::default() };
            append(&mut bytes, &head, event.encoded());
        }
        let mut decoder = MessageDecoder::new(1024);
        decoder.push(&bytes);
        for event_sequence in [1, 300] {
            let whole =
                pb::Envelope { version: 1, request_id: 0, event_sequence, message: Some(message.clone()) };
            assert_eq!(decoder.next_message(), Ok(Some(whole)));
        }
        assert_eq!(decoder.finish(), Ok(()));
    }
}
