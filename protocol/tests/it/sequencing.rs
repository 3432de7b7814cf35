//! Units of several group streams, put back in order.

use std::time::{Duration, Instant};

use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::sequencer::{Sequencer, SequencerLimits};
use darktower_protocol::{HEADER_LEN, StreamId, Unit};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bytes_on_the_wire::header;

const HOLD: Duration = Duration::from_millis(200);
const LIMITS: SequencerLimits = SequencerLimits { max_hold: HOLD, max_held_bytes: 1_500 };

fn unit(sequence: u64, payload_len: usize) -> Unit {
    let wire = [header(2, &[1; 16], sequence, payload_len as u32), vec![0; payload_len]].concat();
    Unit::from_wire(wire.into()).unwrap()
}

fn preamble(group: u64, first_sequence: u64, discontinuity: bool) -> GroupPreamble {
    GroupPreamble {
        kind: GroupKind::Video,
        continuation: first_sequence != group,
        discontinuity,
        stream_id: StreamId::from_bytes([1; 16]),
        group,
        first_sequence,
    }
}

/// Where time begins does not matter.
#[expect(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
fn any_time() -> Instant {
    Instant::now()
}

fn drain(sequencer: &mut Sequencer<u8>, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| sequencer.pop(now)).map(|unit| unit.header().sequence()).collect()
}

/// The rules of the module again, as slow and plain as they can be written.
#[derive(Default)]
struct Reference {
    last: Option<u64>,
    open: Vec<OpenStream>,
    held: Vec<HeldUnit>,
    stale: u64,
}

struct OpenStream {
    key: u8,
    began: (u64, u64),
    discontinuity: bool,
    started: bool,
}

struct HeldUnit {
    sequence: u64,
    len: usize,
    arrived: Instant,
    began: (u64, u64),
    discontinuity: bool,
    /// Its QUIC stream had brought a unit before it.
    started: bool,
}

impl Reference {
    fn push(&mut self, key: u8, sequence: u64, len: usize, now: Instant) {
        let Some(source) = self.open.iter_mut().find(|source| source.key == key) else { return };
        let OpenStream { began, discontinuity, started, .. } = *source;
        source.started = true;
        if self.last >= Some(sequence) || self.held.iter().any(|held| held.sequence == sequence) {
            self.stale += 1;
        } else {
            self.held.push(HeldUnit { sequence, len, arrived: now, began, discontinuity, started });
        }
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(|held| held.len).sum()
    }

    fn pop(&mut self, now: Instant) -> Option<u64> {
        let at = (0..self.held.len()).min_by_key(|at| self.held[*at].sequence)?;
        let HeldUnit { sequence, began, discontinuity, started, .. } = self.held[at];
        let earlier_open = self.open.iter().any(|source| source.began < began);
        let in_order = match self.last {
            None => !earlier_open,
            Some(last) => last + 1 == sequence || started || (discontinuity && !earlier_open),
        };
        let overdue = self.held.iter().any(|held| now - held.arrived >= HOLD);
        if !in_order && !overdue && self.held_bytes() <= LIMITS.max_held_bytes {
            return None;
        }
        self.held.swap_remove(at);
        self.last = Some(sequence);
        Some(sequence)
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Open { key: u8, group: u64, first: u64, discontinuity: bool },
    Push { key: u8, sequence: u64, payload_len: usize },
    Close { key: u8 },
    Pass { millis: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..4u8;
    let number = || prop_oneof![4 => 0..40u64, 1 => Just(u64::MAX - 1)];
    prop_oneof![
        2 => (key.clone(), number(), number(), any::<bool>())
            .prop_map(|(key, group, first, discontinuity)| Operation::Open { key, group, first, discontinuity }),
        6 => (key.clone(), number(), 0..400usize)
            .prop_map(|(key, sequence, payload_len)| Operation::Push { key, sequence, payload_len }),
        1 => key.prop_map(|key| Operation::Close { key }),
        1 => (0..250u64).prop_map(|millis| Operation::Pass { millis }),
    ]
}

proptest! {
    #[test]
    fn any_operations_follow_the_rules(operations in vec(operation(), 0..80)) {
        let mut sequencer = Sequencer::new(LIMITS);
        let mut reference = Reference::default();
        let mut now = any_time();
        let mut out: Vec<u64> = Vec::new();
        let mut pushed = 0;
        let mut drain_both = |sequencer: &mut Sequencer<u8>, reference: &mut Reference, now| {
            let got = drain(sequencer, now);
            let expected: Vec<u64> = std::iter::from_fn(|| reference.pop(now)).collect();
            assert_eq!(got, expected);
            assert_eq!(sequencer.stale_units(), reference.stale);
            assert!(reference.held_bytes() <= LIMITS.max_held_bytes, "holds more than it may");
            // The deadline is that of the unit that waits longest, and it lies ahead.
            let oldest = reference.held.iter().map(|held| held.arrived).min();
            assert_eq!(sequencer.next_deadline(), oldest.map(|oldest| oldest + HOLD));
            assert!(sequencer.next_deadline().is_none_or(|deadline| deadline > now));
            out.extend(got);
        };
        for operation in operations {
            match operation {
                Operation::Open { key, group, first, discontinuity } => {
                    sequencer.open(key, &preamble(group, first, discontinuity));
                    reference.open.retain(|source| source.key != key);
                    reference.open.push(OpenStream { key, began: (group, first), discontinuity, started: false });
                }
                Operation::Push { key, sequence, payload_len } => {
                    pushed += u64::from(reference.open.iter().any(|source| source.key == key));
                    sequencer.push(&key, unit(sequence, payload_len), now);
                    reference.push(key, sequence, HEADER_LEN + payload_len, now);
                }
                Operation::Close { key } => {
                    sequencer.close(&key);
                    reference.open.retain(|source| source.key != key);
                }
                Operation::Pass { millis } => now += Duration::from_millis(millis),
            }
            drain_both(&mut sequencer, &mut reference, now);
        }
        drain_both(&mut sequencer, &mut reference, now + HOLD);
        prop_assert_eq!(sequencer.next_deadline(), None, "nothing is held past the deadline");
        prop_assert!(out.is_sorted_by(|a, b| a < b), "strictly increasing");
        prop_assert_eq!(out.len() as u64 + sequencer.stale_units(), pushed, "nothing is lost");
    }

    /// An honest sender's groups, interleaved in any way, lose nothing and wait for no deadline.
    #[test]
    fn any_interleaving_of_whole_groups_is_put_in_order(
        lengths in vec(1..6u64, 1..5),
        choices in vec(any::<prop::sample::Index>(), 200),
    ) {
        let now = any_time();
        let mut sequencer = Sequencer::new(SequencerLimits::default());
        let mut first = 0;
        let mut streams = Vec::new();
        for (key, len) in lengths.iter().enumerate() {
            streams.push((key as u8, first, first..first + len));
            first += len;
        }
        // The first stream is seen first; after that anything may overtake anything.
        sequencer.open(0, &preamble(0, 0, false));
        let mut opened = vec![0];
        let mut out = Vec::new();
        for choice in choices {
            if streams.is_empty() {
                break;
            }
            let at = choice.index(streams.len());
            let (key, group, units) = &mut streams[at];
            if !opened.contains(key) {
                opened.push(*key);
                sequencer.open(*key, &preamble(*group, *group, false));
            } else if let Some(sequence) = units.next() {
                sequencer.push(key, unit(sequence, 10), now);
            } else {
                sequencer.close(key);
                streams.remove(at);
            }
            out.extend(drain(&mut sequencer, now));
        }
        prop_assert_eq!(out, (0..first).collect::<Vec<_>>());
        prop_assert_eq!(sequencer.stale_units(), 0);
    }
}

/// Units that a publisher left out do not cost a subscriber time, whatever else is open.
#[test]
fn a_gap_inside_a_stream_does_not_wait_for_an_older_stream() {
    let now = any_time();
    let mut sequencer = Sequencer::new(LIMITS);
    sequencer.open(0, &preamble(0, 0, false));
    sequencer.push(&0, unit(0, 1), now);
    sequencer.open(1, &preamble(1, 1, false));
    sequencer.push(&1, unit(1, 1), now);
    sequencer.push(&1, unit(3, 1), now);
    assert_eq!(drain(&mut sequencer, now), [0, 1, 3]);
}

/// A late older group must not prolong the wait of what was there before it.
#[test]
fn a_unit_does_not_wait_longer_because_an_earlier_one_arrives() {
    let start = any_time();
    let at = |millis| start + Duration::from_millis(millis);
    let mut sequencer = Sequencer::new(LIMITS);
    for (key, first) in [(0, 0), (1, 3), (2, 5)] {
        sequencer.open(key, &preamble(first, first, false));
    }
    sequencer.push(&0, unit(0, 1), at(0));
    assert_eq!(drain(&mut sequencer, at(0)), [0]);
    sequencer.push(&2, unit(5, 1), at(0));
    sequencer.push(&1, unit(3, 1), at(150));
    assert_eq!(drain(&mut sequencer, at(199)), [0; 0]);
    assert_eq!(sequencer.next_deadline(), Some(at(200)));
    assert_eq!(drain(&mut sequencer, at(200)), [3, 5]);
}

/// The stream that continues a group does not overtake the one it continues.
#[test]
fn a_continuation_waits_for_the_stream_it_continues() {
    let now = any_time();
    let mut sequencer = Sequencer::new(LIMITS);
    sequencer.open(0, &preamble(0, 0, false));
    sequencer.push(&0, unit(0, 1), now);
    sequencer.open(1, &preamble(0, 2, true));
    sequencer.push(&1, unit(2, 1), now);
    assert_eq!(drain(&mut sequencer, now), [0]);
    sequencer.push(&0, unit(1, 1), now);
    assert_eq!(drain(&mut sequencer, now), [1, 2]);
}

/// Who comes back to a layer gets its group from the key frame on; what has begun after it waits for it.
#[test]
fn a_group_that_comes_again_comes_whole() {
    let now = any_time();
    let mut sequencer = Sequencer::new(LIMITS);
    sequencer.open(1, &preamble(10, 10, false));
    (10..13).for_each(|sequence| sequencer.push(&1, unit(sequence, 1), now));
    assert_eq!(drain(&mut sequencer, now), [10, 11, 12]);
    // The newest group is seen first.
    sequencer.open(3, &preamble(14, 14, false));
    sequencer.push(&3, unit(14, 1), now);
    for no_repetition in [preamble(10, 11, false), preamble(14, 14, false)] {
        sequencer.rewind(&no_repetition);
        assert_eq!(drain(&mut sequencer, now), [0; 0]);
    }
    sequencer.rewind(&preamble(10, 10, true));
    sequencer.open(2, &preamble(10, 10, true));
    (10..14).for_each(|sequence| sequencer.push(&2, unit(sequence, 1), now));
    sequencer.push(&1, unit(13, 1), now);
    sequencer.push(&3, unit(15, 1), now);
    assert_eq!(drain(&mut sequencer, now), [10, 11, 12, 13, 14, 15]);
}

#[test]
fn the_highest_sequence_number_is_handed_out_once() {
    let now = any_time();
    let mut sequencer = Sequencer::new(LIMITS);
    sequencer.open(0, &preamble(0, 0, false));
    for _ in 0..3 {
        sequencer.push(&0, unit(u64::MAX, 1), now);
    }
    assert_eq!(drain(&mut sequencer, now), [u64::MAX]);
    sequencer.push(&0, unit(u64::MAX, 1), now);
    assert_eq!(drain(&mut sequencer, now), [0; 0]);
    assert_eq!(sequencer.stale_units(), 3);
}
