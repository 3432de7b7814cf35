//! Puts the units of one stream, which arrive on several QUIC streams, back in sequence.
//!
//! Group streams are independent: the first units of a new group can be read before the last
//! units of the group before it. Both the media handler (ingress) and a subscriber need them in
//! order. The rules, in the order they are tried:
//!
//! 1. The unit with the next sequence number is handed out at once.
//! 2. A gap inside one QUIC stream is final: a QUIC stream is ordered, so what is missing was
//!    left out by the sender. A gap at the start of a stream marked `discontinuity` is final once
//!    no stream that began earlier is open.
//! 3. Any other gap at the start of a stream is waited out: the stream with the missing units may
//!    not have been seen yet. So is the very first unit while a stream that began earlier is open.
//! 4. No unit waits longer than `max_hold`; and when more than `max_held_bytes` are waiting, those
//!    with the lowest sequence numbers are handed out.
//!
//! Units at or below the last sequence number handed out are dropped and counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::group::GroupPreamble;
use crate::unit::Unit;

/// Bounds on waiting.
#[derive(Debug, Clone, Copy)]
pub struct SequencerLimits {
    /// How long a gap may hold units back.
    pub max_hold: Duration,
    /// How many bytes a gap may hold back.
    pub max_held_bytes: usize,
}

impl Default for SequencerLimits {
    fn default() -> Self {
        // One retransmission on a 100 ms path; one large key frame.
        Self { max_hold: Duration::from_millis(200), max_held_bytes: 4 * 1024 * 1024 }
    }
}

#[derive(Debug)]
struct Source {
    began: Began,
    discontinuity: bool,
    started: bool,
}

/// Group and first sequence number of a QUIC stream: where in the sequence it began.
type Began = (u64, u64);

#[derive(Debug)]
struct Held {
    unit: Unit,
    /// When the first of this unit and the held ones after it arrived: none of them may wait
    /// longer than that one.
    since: Instant,
    began: Began,
    gap: Gap,
}

/// What may be missing right before a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Units that other QUIC streams can bring.
    Open,
    /// Units that only QUIC streams which began earlier can bring.
    EarlierStreams,
    /// Units that the sender left out.
    Final,
}

/// See the [module documentation](self). `K` names a QUIC stream.
#[derive(Debug)]
pub struct Sequencer<K> {
    limits: SequencerLimits,
    /// The sequence number handed out last.
    last: Option<u64>,
    sources: BTreeMap<K, Source>,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    stale_units: u64,
}

impl<K: Ord> Sequencer<K> {
    /// A sequencer that starts at the first unit of the earliest open stream.
    pub fn new(limits: SequencerLimits) -> Self {
        Self {
            limits,
            last: None,
            sources: BTreeMap::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
            stale_units: 0,
        }
    }

    /// A group stream has begun.
    pub fn open(&mut self, key: K, preamble: &GroupPreamble) {
        let began = (preamble.group, preamble.first_sequence);
        let source = Source { began, discontinuity: preamble.discontinuity, started: false };
        self.sources.insert(key, source);
    }

    /// Before [`open`](Self::open): if the group has been handed out before, at least its first units, goes back so that it
    /// comes again whole. A server sends it again to who comes back to this layer of a stream from another one
    /// (docs/protocol.md 6.4). Streams that began later stay as they are.
    pub fn rewind(&mut self, preamble: &GroupPreamble) {
        let first = preamble.first_sequence;
        if preamble.continuation || self.last.is_none_or(|last| first > last) {
            return;
        }
        self.last = None;
        self.sources.retain(|_, source| source.began.1 > first);
        self.held.retain(|_, held| held.began.1 > first);
        self.held_bytes = self.held.values().map(|held| held.unit.header().wire_len()).sum();
    }

    /// A unit has arrived on an open group stream; without one it is ignored.
    pub fn push(&mut self, key: &K, unit: Unit, now: Instant) {
        let sequence = unit.header().sequence();
        let Some(source) = self.sources.get_mut(key) else { return };
        let gap = match (source.started, source.discontinuity) {
            (true, _) => Gap::Final,
            (false, true) => Gap::EarlierStreams,
            (false, false) => Gap::Open,
        };
        source.started = true;
        if self.last.is_some_and(|last| sequence <= last) || self.held.contains_key(&sequence) {
            self.stale_units += 1;
            return;
        }
        self.held_bytes += unit.header().wire_len();
        let later = self.held.range(sequence..).next().map(|(_, held)| held.since);
        let since = later.map_or(now, |later| later.min(now));
        let held = Held { unit, since, began: source.began, gap };
        self.held.insert(sequence, held);
    }

    /// A group stream has ended, by FIN or reset.
    pub fn close(&mut self, key: &K) {
        self.sources.remove(key);
    }

    /// The next unit in order, if it is there or need not be waited for.
    pub fn pop(&mut self, now: Instant) -> Option<Unit> {
        let (&sequence, held) = self.held.first_key_value()?;
        let wait = match self.last {
            Some(last) if last.checked_add(1) == Some(sequence) => false,
            None => self.earlier_source_is_open(held.began),
            Some(_) => match held.gap {
                Gap::Open => true,
                Gap::EarlierStreams => self.earlier_source_is_open(held.began),
                Gap::Final => false,
            },
        };
        let may_wait = self.held_bytes <= self.limits.max_held_bytes
            && now.saturating_duration_since(held.since) < self.limits.max_hold;
        if wait && may_wait {
            return None;
        }
        let (_, held) = self.held.pop_first()?;
        self.held_bytes -= held.unit.header().wire_len();
        self.last = Some(sequence);
        Some(held.unit)
    }

    /// When [`pop`](Self::pop) will hand out more although nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.held.first_key_value().map(|(_, held)| held.since + self.limits.max_hold)
    }

    /// Units that came too late or twice, and were dropped.
    pub fn stale_units(&self) -> u64 {
        self.stale_units
    }

    fn earlier_source_is_open(&self, began: Began) -> bool {
        self.sources.values().any(|source| source.began < began)
    }
}
