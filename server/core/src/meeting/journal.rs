//! The events of one participant, numbered, and the latest of them kept for when it comes back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Event;

/// Events that are kept. Beyond that somebody who comes back gets everything as it is then. Most are shared with everybody
/// else who got them, so that each costs a pointer.
const KEPT: usize = 256;

/// Bytes of the events that are kept, as if nobody shared them: private messages and lists can be long.
const MAX_BYTES: usize = 256 * 1024;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The number of the latest event; the first has 1.
    last: u64,
    kept: VecDeque<Arc<Event>>,
    /// Of all that is kept, encoded.
    bytes: usize,
}

impl Journal {
    /// Adds an event and returns its number.
    pub(super) fn push(&mut self, event: &Arc<Event>) -> u64 {
        self.bytes += event.len();
        self.kept.push_back(Arc::clone(event));
        while self.kept.len() > KEPT || self.bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.last += 1;
        self.last
    }

    /// What came after the event with this number; `None` if not all of it is there, or there never was such an event.
    pub(super) fn after(&self, seen: u64) -> Option<Vec<(u64, Arc<Event>)>> {
        let missed = usize::try_from(self.last.checked_sub(seen)?).ok()?;
        let skip = self.kept.len().checked_sub(missed)?;
        Some((seen + 1..).zip(self.kept.iter().skip(skip).cloned()).collect())
    }

    /// Begins anew: the next event has 1.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use darktower_protocol::signaling::pb;
    use pb::envelope::Message;

    use super::*;

    fn event(deadline_ms: u32) -> Arc<Event> {
        Arc::new(Event::new(Message::GoAway(pb::GoAway { new_url: String::new(), deadline_ms })))
    }

    #[test]
    fn what_was_missed_is_there_in_order_or_not_at_all() {
        let mut journal = Journal::default();
        assert_eq!(journal.after(0), Some(vec![]));
        assert_eq!(journal.after(1), None, "it never was");
        let numbers: Vec<u64> = (1..=300).map(|n| journal.push(&event(n))).collect();
        assert_eq!(numbers, (1..=300).collect::<Vec<_>>());
        assert_eq!(journal.after(300), Some(vec![]));
        assert_eq!(journal.after(298), Some(vec![(299, event(299)), (300, event(300))]));
        let all = journal.after(300 - KEPT as u64).expect("just kept");
        assert_eq!((all.len(), all[0].0, all[0].1.clone()), (KEPT, 45, event(45)));
        assert_eq!(journal.after(43), None, "too long ago");
        assert_eq!(journal.after(301), None);
        assert_eq!(journal.after(u64::MAX), None);
        let message = pb::ChatMessage { text: "x".repeat(100_000), ..Default::default() };
        let long = Message::ChatMessageSent(pb::ChatMessageSent { message: Some(message) });
        (301..=303).for_each(|n| assert_eq!(journal.push(&Arc::new(Event::new(long.clone()))), n));
        assert_eq!(journal.after(301).map(|events| events.len()), Some(2));
        assert_eq!(journal.after(300), None, "too long");
        journal.restart();
        assert_eq!((journal.after(0), journal.push(&event(7))), (Some(vec![]), 1));
    }
}
