//! What was sent on one stream, and which subscriber got it bit for bit.
//!
//! Publisher and subscribers run in one process but not in step: a frame can arrive before the publisher has
//! written down that it was sent, so what arrives early waits. What every subscriber is past is forgotten.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use darktower_client::{Frame, FrameType, OutgoingFrame, SentUnits};

/// Frames of one subscriber that may wait for the publisher's word. The publisher is late by microseconds; more
/// than this many frames were never sent.
const MAX_EARLY: usize = 1024;

/// Everything a receiver must see unchanged: type, capture time, flag and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest(u64);

impl Digest {
    fn new(frame_type: FrameType, timestamp_us: u64, discardable: bool, payload: &Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        (frame_type, timestamp_us, discardable, payload.as_ref()).hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[derive(Debug)]
struct Sent {
    first: u64,
    units: u64,
    digest: Digest,
}

/// One subscriber's side.
#[derive(Debug, Default)]
struct Account {
    /// Everything below this sequence number was received or is lost.
    next: u64,
    early: VecDeque<(u64, Digest)>,
    received: u64,
    mismatches: u64,
}

/// Units of one stream, over all its subscribers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Sent, times subscribers.
    pub(crate) expected: u64,
    /// Distinct units that arrived as they were sent.
    pub(crate) received: u64,
    /// Units that arrived changed or twice, or were never sent.
    pub(crate) mismatches: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.mismatches += other.mismatches;
    }
}

/// The ledger of one stream. Memory: 32 bytes per frame that some subscriber still waits for.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Ordered by `first`.
    sent: VecDeque<Sent>,
    next: u64,
    units_sent: u64,
    closed: bool,
    accounts: Vec<Account>,
}

impl Ledger {
    /// For a stream with this many subscribers, which are named by their index.
    pub(crate) fn new(subscribers: usize) -> Self {
        let accounts = std::iter::repeat_with(Account::default).take(subscribers).collect();
        Self { sent: VecDeque::new(), next: 0, units_sent: 0, closed: false, accounts }
    }

    /// The publisher has sent a frame.
    pub(crate) fn sent(
        &mut self,
        frame: &OutgoingFrame,
        SentUnits { first_sequence: first, units }: SentUnits,
    ) {
        if units == 0 {
            return;
        }
        let digest = Digest::new(frame.frame_type, frame.timestamp_us, frame.discardable, &frame.payload);
        self.sent.push_back(Sent { first, units, digest });
        self.next = first + units;
        self.units_sent += units;
        for account in &mut self.accounts {
            while let Some((sequence, digest)) =
                account.early.pop_front_if(|(sequence, _)| *sequence < self.next)
            {
                account.settle(&self.sent, sequence, digest);
            }
        }
        self.forget();
    }

    /// The publisher sends no more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// A subscriber has received a whole frame.
    pub(crate) fn received(&mut self, subscriber: usize, frame: &Frame) {
        let Some(account) = self.accounts.get_mut(subscriber) else { return };
        let digest = Digest::new(frame.frame_type, frame.timestamp_us, frame.discardable, &frame.payload);
        if frame.sequence < self.next {
            account.settle(&self.sent, frame.sequence, digest);
            self.forget();
        } else if account.early.len() < MAX_EARLY {
            account.early.push_back((frame.sequence, digest));
        } else {
            account.mismatches += 1;
        }
    }

    /// Whether nothing more can come for this subscriber: the last unit was sent, and it is there.
    pub(crate) fn is_complete(&self, subscriber: usize) -> bool {
        self.closed && self.accounts.get(subscriber).is_none_or(|account| account.next >= self.next)
    }

    /// The sums over all subscribers.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for account in &self.accounts {
            totals += Totals {
                expected: self.units_sent,
                received: account.received,
                mismatches: account.mismatches + account.early.len() as u64,
            };
        }
        totals
    }

    fn forget(&mut self) {
        let past = self.accounts.iter().map(|account| account.next).min().unwrap_or(self.next);
        while self.sent.pop_front_if(|sent| sent.first < past).is_some() {}
    }
}

impl Account {
    fn settle(&mut self, sent: &VecDeque<Sent>, sequence: u64, digest: Digest) {
        let known = if sequence < self.next {
            None // Received before.
        } else {
            sent.binary_search_by_key(&sequence, |sent| sent.first).ok().and_then(|index| sent.get(index))
        };
        match known {
            Some(sent) => {
                self.next = sent.first + sent.units;
                let counter = if sent.digest == digest { &mut self.received } else { &mut self.mismatches };
                *counter += sent.units;
            }
            None => self.mismatches += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(payload: &'static [u8]) -> OutgoingFrame {
        OutgoingFrame {
            frame_type: FrameType::VideoDelta,
            timestamp_us: 7,
            discardable: false,
            payload: Bytes::from_static(payload),
        }
    }

    fn incoming(sequence: u64, payload: &'static [u8]) -> Frame {
        let OutgoingFrame { frame_type, timestamp_us, discardable, payload } = outgoing(payload);
        Frame { frame_type, timestamp_us, sequence, discardable, payload }
    }

    fn units(first_sequence: u64, units: u64) -> SentUnits {
        SentUnits { first_sequence, units }
    }

    #[test]
    fn every_unit_of_every_subscriber_counts() {
        let mut ledger = Ledger::new(2);
        ledger.sent(&outgoing(b"a"), units(0, 1));
        ledger.sent(&outgoing(b"big"), units(1, 3));
        for subscriber in 0..2 {
            ledger.received(subscriber, &incoming(0, b"a"));
            assert!(!ledger.is_complete(subscriber));
            ledger.received(subscriber, &incoming(1, b"big"));
            assert!(!ledger.is_complete(subscriber), "more may be sent");
        }
        ledger.close();
        assert!(ledger.is_complete(0) && ledger.is_complete(1));
        assert_eq!(ledger.totals(), Totals { expected: 8, received: 8, mismatches: 0 });
        assert!(ledger.sent.is_empty(), "nobody waits for anything");
    }

    #[test]
    fn a_frame_may_arrive_before_it_is_written_down() {
        let mut ledger = Ledger::new(1);
        ledger.received(0, &incoming(0, b"a"));
        ledger.received(0, &incoming(1, b"b"));
        assert_eq!(ledger.totals().mismatches, 2, "not sent so far");
        ledger.sent(&outgoing(b"a"), units(0, 1));
        ledger.sent(&outgoing(b"b"), units(1, 1));
        assert_eq!(ledger.totals(), Totals { expected: 2, received: 2, mismatches: 0 });
    }

    #[test]
    fn changed_repeated_invented_and_lost_units_are_told_apart() {
        let mut ledger = Ledger::new(1);
        for (sequence, payload) in (0..).zip([b"a", b"b", b"c", b"d"]) {
            ledger.sent(&outgoing(payload), units(sequence, 1));
        }
        ledger.received(0, &incoming(0, b"a"));
        ledger.received(0, &incoming(0, b"a"));
        ledger.received(0, &incoming(1, b"x"));
        ledger.received(0, &incoming(3, b"d"));
        ledger.received(0, &incoming(9, b"e"));
        assert_eq!(ledger.totals(), Totals { expected: 4, received: 2, mismatches: 3 });
    }

    #[test]
    fn the_digest_covers_more_than_the_payload() {
        let mut ledger = Ledger::new(1);
        ledger.sent(&outgoing(b"a"), units(0, 1));
        ledger.received(0, &Frame { timestamp_us: 8, ..incoming(0, b"a") });
        assert_eq!(ledger.totals(), Totals { expected: 1, received: 0, mismatches: 1 });
    }

    #[test]
    fn memory_is_bounded_by_the_slowest_subscriber() {
        let mut ledger = Ledger::new(2);
        for sequence in 0..100 {
            ledger.sent(&outgoing(b"a"), units(sequence, 1));
            ledger.received(0, &incoming(sequence, b"a"));
        }
        assert_eq!(ledger.sent.len(), 100);
        ledger.received(1, &incoming(98, b"a"));
        assert_eq!(ledger.sent.len(), 1);
        for sequence in 200..5000 {
            ledger.received(1, &incoming(sequence, b"a"));
        }
        assert_eq!(ledger.accounts[1].early.len(), MAX_EARLY);
    }
}
