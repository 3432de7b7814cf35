//! The receiving side of one subscriber: every byte is compared with the ledger as it arrives. Nothing is buffered
//! beyond a header, and nothing is allocated per unit.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use darktower_protocol::{HEADER_LEN, Header, StreamId};

use crate::ledger::{Ledger, Sent};
use crate::tally::{SharedTally, Window, lock, now_us};

/// Which units of a stream have arrived at one subscriber, and what it was told not to wait for.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Sequence number of the first bit; a multiple of 64.
    base: u64,
    seen: Vec<u64>,
    first: Option<u64>,
    last: Option<u64>,
    /// What the sender said that it left out.
    told: Vec<Range<u64>>,
    /// First sequence numbers of the group streams so far.
    opened: Vec<u64>,
}

/// The balance of one stream at one subscriber.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) expected: u64,
    pub(crate) received: u64,
    /// Missing, and the subscriber was told so by a discontinuity or a reset with `DROPPED_GROUP`.
    pub(crate) missing_told: u64,
    /// Missing without a word.
    pub(crate) missing_untold: u64,
    /// Of these, audio: lost datagrams, or too old when their turn came.
    pub(crate) missing_audio: u64,
}

impl Balance {
    pub(crate) fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.missing_told += other.missing_told;
        self.missing_untold += other.missing_untold;
        self.missing_audio += other.missing_audio;
    }
}

impl Arrivals {
    /// Notes a unit; false if it had arrived before.
    pub(crate) fn mark(&mut self, sequence: u64) -> bool {
        if self.first.is_none() {
            self.base = sequence & !63;
        }
        if sequence < self.base {
            let words = (self.base - (sequence & !63)) / 64;
            self.seen.splice(..0, (0..words).map(|_| 0));
            self.base = sequence & !63;
        }
        let position = sequence - self.base;
        let (word, bit) = ((position / 64) as usize, 1 << (position % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        self.first = Some(self.first.map_or(sequence, |first| first.min(sequence)));
        self.last = Some(self.last.map_or(sequence, |last| last.max(sequence)));
        fresh
    }

    fn has(&self, sequence: u64) -> bool {
        sequence.checked_sub(self.base).is_some_and(|position| {
            self.seen.get((position / 64) as usize).is_some_and(|word| word & (1 << (position % 64)) != 0)
        })
    }

    /// A group stream has begun at `first_sequence`.
    pub(crate) fn group_opened(&mut self, first_sequence: u64, discontinuity: bool) {
        if discontinuity {
            let before = self.opened.iter().copied().filter(|opened| *opened < first_sequence).max();
            self.told.push(before.unwrap_or(0)..first_sequence);
        }
        self.opened.push(first_sequence);
    }

    /// The sender has given up on `range`.
    pub(crate) fn group_dropped(&mut self, range: Range<u64>) {
        self.told.push(range);
    }

    /// Compares with what was sent. `window`: sequence numbers sent in the measured window. `there_before`: the
    /// subscription is older than the window, so that not even a first unit excuses the missing ones. `gone`: the
    /// subscriber left, and nothing is expected after its last unit.
    pub(crate) fn balance(&self, window: Range<u64>, there_before: bool, gone: bool) -> Balance {
        let start = match self.first {
            Some(first) => window.start.max(first),
            None if there_before => window.start,
            None => return Balance::default(),
        };
        let end = match self.last {
            Some(last) if gone => window.end.min(last + 1),
            None if gone => start,
            _ => window.end,
        };
        let mut balance = Balance { expected: end.saturating_sub(start), ..Balance::default() };
        for sequence in start..end {
            if self.has(sequence) {
                balance.received += 1;
            } else if self.told.iter().any(|told| told.contains(&sequence)) {
                balance.missing_told += 1;
            } else {
                balance.missing_untold += 1;
            }
        }
        balance
    }
}

/// One stream at one subscriber.
#[derive(Debug)]
pub(crate) struct StreamArrivals {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) arrivals: Mutex<Arrivals>,
}

/// What all receiving tasks of one subscriber share.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) streams: HashMap<StreamId, Arc<StreamArrivals>>,
    tally: SharedTally,
    window: Arc<Window>,
}

impl Receiver {
    pub(crate) fn new(ledgers: &[Arc<Ledger>], tally: SharedTally, window: Arc<Window>) -> Self {
        let streams = ledgers
            .iter()
            .map(|ledger| {
                let stream =
                    StreamArrivals { ledger: Arc::clone(ledger), arrivals: Mutex::new(Arrivals::default()) };
                (ledger.stream_id, Arc::new(stream))
            })
            .collect();
        Self { streams, tally, window }
    }

    pub(crate) fn mismatch(&self) {
        lock(&self.tally).mismatches += 1;
    }

    fn unit(&self, stream: &StreamArrivals, sequence: u64, sent: &Sent, intact: bool) {
        if !intact {
            return self.mismatch();
        }
        if !lock(&stream.arrivals).mark(sequence) {
            lock(&self.tally).repeats += 1;
        } else if self.window.contains(sent.timestamp) {
            lock(&self.tally).arrived(sent, now_us());
        }
    }
}

/// The bytes cannot be the continuation of what was sent; the QUIC stream is useless from here on. Already counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Reads the units of one QUIC stream, or of datagrams.
#[derive(Debug)]
pub(crate) struct UnitReader {
    head: [u8; HEADER_LEN],
    have: usize,
    /// The stream of the last unit.
    stream: Option<Arc<StreamArrivals>>,
    /// May units of several streams follow each other?
    mixed: bool,
    current: Option<Current>,
    next_sequence: u64,
}

#[derive(Debug)]
struct Current {
    sequence: u64,
    sent: Sent,
    /// Payload bytes that have been compared.
    at: usize,
    intact: bool,
}

impl UnitReader {
    /// For one QUIC stream: all units belong to the stream of the first.
    pub(crate) fn of_stream() -> Self {
        Self { head: [0; HEADER_LEN], have: 0, stream: None, mixed: false, current: None, next_sequence: 0 }
    }

    /// For datagrams.
    pub(crate) fn of_datagrams() -> Self {
        Self { mixed: true, ..Self::of_stream() }
    }

    /// One past the last whole unit.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Compares the next bytes. A fault that hides where the next unit begins ends the stream.
    pub(crate) fn push(&mut self, mut bytes: &[u8], receiver: &Receiver) -> Result<(), Damaged> {
        loop {
            if self.current.is_none() {
                let wanted = (HEADER_LEN - self.have).min(bytes.len());
                let (taken, rest) = bytes.split_at(wanted);
                self.head[self.have..self.have + wanted].copy_from_slice(taken);
                self.have += wanted;
                bytes = rest;
                if self.have < HEADER_LEN {
                    return Ok(());
                }
                self.have = 0;
                self.current = Some(self.begin(receiver).ok_or_else(|| {
                    receiver.mismatch();
                    Damaged
                })?);
            }
            let (Some(current), Some(stream)) = (&mut self.current, &self.stream) else { return Ok(()) };
            let len = current.sent.frame.len as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(len - current.at));
            bytes = rest;
            current.intact &=
                stream.ledger.payload_part(current.sent.frame, current.at, part.len()) == Some(part);
            current.at += part.len();
            if current.at < len {
                return Ok(());
            }
            receiver.unit(stream, current.sequence, &current.sent, current.intact);
            self.next_sequence = current.sequence + 1;
            self.current = None;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Finds the unit that the header names; `None` if there is none or it has another length.
    fn begin(&mut self, receiver: &Receiver) -> Option<Current> {
        let header = Header::parse(&self.head).ok()?;
        let id = header.stream_id();
        let same = self.stream.as_ref().is_some_and(|stream| stream.ledger.stream_id == id);
        if !same {
            if self.stream.is_some() && !self.mixed {
                return None;
            }
            self.stream = Some(Arc::clone(receiver.streams.get(&id)?));
        }
        let sequence = header.sequence();
        let ledger = &self.stream.as_ref()?.ledger;
        let sent = ledger.get(sequence)?;
        (header.payload_len() == sent.frame.len).then(|| Current {
            sequence,
            sent,
            at: 0,
            intact: self.head == ledger.header(sequence, &sent),
        })
    }

    /// The QUIC stream or datagram has ended; a unit that is not whole is a mismatch. Ready for the next datagram.
    pub(crate) fn end(&mut self, receiver: &Receiver) {
        if self.have > 0 || self.current.take().is_some() {
            self.have = 0;
            receiver.mismatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use darktower_protocol::FrameType;

    use super::*;
    use crate::tally::{LateAfter, Tally};
    use crate::workload::{Frame, noise};

    struct Fixture {
        ledger: Arc<Ledger>,
        receiver: Receiver,
        tally: SharedTally,
    }

    fn fixture(units: u64) -> Fixture {
        let ledger = Arc::new(Ledger::new(StreamId::from_bytes([3; 16]), true, noise(200)));
        for number in 0..units {
            let offset = u32::try_from(number).unwrap() * 7;
            ledger.append(now_us(), Frame { frame_type: FrameType::Audio, offset, len: 100 });
        }
        let late = LateAfter { audio: Duration::from_secs(1), video: Duration::from_secs(1) };
        let tally = SharedTally::new(Mutex::new(Tally::new(late)));
        let window = Arc::new(Window::default());
        window.set(0, u64::MAX);
        let receiver = Receiver::new(&[Arc::clone(&ledger)], Arc::clone(&tally), window);
        Fixture { ledger, receiver, tally }
    }

    impl Fixture {
        fn wire(&self, sequence: u64) -> Vec<u8> {
            let sent = self.ledger.get(sequence).unwrap();
            let mut wire = self.ledger.header(sequence, &sent).to_vec();
            wire.extend_from_slice(&self.ledger.payload(sent.frame));
            wire
        }

        fn balance(&self) -> Balance {
            let stream = &self.receiver.streams[&self.ledger.stream_id];
            let window = self.ledger.sent_between(0, u64::MAX);
            lock(&stream.arrivals).balance(window, true, false)
        }

        fn faults(&self) -> (u64, u64) {
            let tally = lock(&self.tally);
            (tally.mismatches, tally.repeats)
        }
    }

    #[test]
    fn what_was_sent_is_accepted_in_pieces_of_any_size() {
        for piece in [1, 7, 46, 146, 10_000] {
            let fixture = fixture(5);
            let wire: Vec<u8> = (0..5).flat_map(|sequence| fixture.wire(sequence)).collect();
            let mut reader = UnitReader::of_stream();
            for bytes in wire.chunks(piece) {
                reader.push(bytes, &fixture.receiver).unwrap();
            }
            reader.end(&fixture.receiver);
            assert_eq!(fixture.faults(), (0, 0));
            assert_eq!(fixture.balance(), Balance { expected: 5, received: 5, ..Balance::default() });
            assert_eq!(lock(&fixture.tally).bytes, 5 * 146);
        }
    }

    #[test]
    fn every_flipped_byte_is_detected() {
        for position in 0..146 {
            let fixture = fixture(1);
            let mut wire = fixture.wire(0);
            wire[position] ^= 0x10;
            let mut reader = UnitReader::of_stream();
            let _ = reader.push(&wire, &fixture.receiver);
            reader.end(&fixture.receiver);
            assert!(fixture.faults().0 > 0, "byte {position}");
            assert_eq!(lock(&fixture.tally).units, 0, "byte {position}");
        }
    }

    #[test]
    fn a_gap_is_missing_untold_and_a_repeat_is_counted() {
        let fixture = fixture(6);
        let mut reader = UnitReader::of_datagrams();
        for sequence in [1, 3, 3, 5] {
            reader.push(&fixture.wire(sequence), &fixture.receiver).unwrap();
            reader.end(&fixture.receiver);
        }
        assert_eq!(fixture.faults(), (0, 1));
        let expected = Balance { expected: 5, received: 3, missing_untold: 2, ..Balance::default() };
        assert_eq!(fixture.balance(), expected, "from the first unit on");
    }

    #[test]
    fn what_the_sender_said_is_told() {
        let fixture = fixture(10);
        let mut arrivals = Arrivals::default();
        arrivals.group_opened(0, false);
        arrivals.mark(0);
        arrivals.group_opened(4, true);
        arrivals.mark(4);
        arrivals.group_dropped(5..8);
        arrivals.group_opened(8, false);
        arrivals.mark(8);
        let balance = arrivals.balance(fixture.ledger.sent_between(0, u64::MAX), true, false);
        assert_eq!(
            balance,
            Balance { expected: 10, received: 3, missing_told: 6, missing_untold: 1, missing_audio: 0 }
        );
        let gone = arrivals.balance(0..10, true, true);
        assert_eq!(
            gone,
            Balance { expected: 9, received: 3, missing_told: 6, missing_untold: 0, missing_audio: 0 }
        );
    }

    #[test]
    fn a_stranger_and_a_cut_unit_are_mismatches() {
        let fixture = fixture(1);
        let mut foreign = fixture.wire(0);
        foreign[5] ^= 1;
        assert_eq!(UnitReader::of_datagrams().push(&foreign, &fixture.receiver), Err(Damaged));
        let mut reader = UnitReader::of_stream();
        reader.push(&fixture.wire(0)[..120], &fixture.receiver).unwrap();
        reader.end(&fixture.receiver);
        assert_eq!(fixture.faults(), (2, 0));
    }

    #[test]
    fn nothing_at_all_excuses_only_those_who_came_late() {
        let arrivals = Arrivals::default();
        assert_eq!(arrivals.balance(3..8, true, false).missing_untold, 5);
        assert_eq!(arrivals.balance(3..8, false, false), Balance::default());
    }

    #[test]
    fn units_before_the_first_one_can_still_arrive() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.mark(200));
        assert!(arrivals.mark(3));
        assert!(!arrivals.mark(200));
        assert_eq!(arrivals.balance(0..300, true, false).received, 2);
    }
}
