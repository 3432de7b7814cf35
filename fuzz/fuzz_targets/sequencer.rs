//! Any operations on a sequencer: what comes out is strictly increasing, nothing is lost, nothing
//! waits too long, and no more is held than may be.
//!
//! Four bytes per operation: kind (low 2 bits: open, push, close, wait) and stream (the rest),
//! sequence number, size or preamble flags, milliseconds that pass before it.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::sequencer::{Sequencer, SequencerLimits};
use darktower_protocol::{Flags, FrameType, HEADER_LEN, HeaderFields, StreamId, Unit};
use libfuzzer_sys::fuzz_target;

const LIMITS: SequencerLimits =
    SequencerLimits { max_hold: Duration::from_millis(200), max_held_bytes: 1_000 };

fn number(byte: u8) -> u64 {
    // The highest few stand for the highest there are.
    if byte >= 250 { u64::MAX - u64::from(255 - byte) } else { u64::from(byte) }
}

fuzz_target!(|input: &[u8]| {
    let stream_id = StreamId::from_bytes([1; 16]);
    let mut sequencer = Sequencer::new(LIMITS);
    let mut now = Instant::now();
    let mut open = BTreeSet::new();
    let mut waiting: BTreeMap<u64, (usize, Instant)> = BTreeMap::new();
    let mut last = None;
    let mut drain = |sequencer: &mut Sequencer<u8>, waiting: &mut BTreeMap<u64, (usize, Instant)>, now| {
        while let Some(unit) = sequencer.pop(now) {
            let sequence = unit.header().sequence();
            assert!(last < Some(sequence), "strictly increasing");
            last = Some(sequence);
            let first = waiting.pop_first().map(|(sequence, _)| sequence);
            assert_eq!(first, Some(sequence), "in order, and none was skipped that was there");
        }
        let deadline = waiting.values().map(|(_, since)| *since + LIMITS.max_hold).min();
        assert_eq!(sequencer.next_deadline(), deadline);
        assert!(deadline.is_none_or(|deadline| deadline > now), "waits longer than it may");
        assert!(waiting.values().map(|(len, _)| len).sum::<usize>() <= LIMITS.max_held_bytes);
    };
    for operation in input.chunks_exact(4).take(500) {
        let &[kind, sequence, detail, millis] = operation else { return };
        now += Duration::from_millis(u64::from(millis));
        drain(&mut sequencer, &mut waiting, now);
        let key = kind >> 2 & 7;
        match kind & 3 {
            0 => {
                let preamble = GroupPreamble {
                    kind: GroupKind::Video,
                    continuation: detail & 1 != 0,
                    discontinuity: detail & 2 != 0,
                    stream_id,
                    group: number(sequence).saturating_sub(u64::from(detail >> 2)),
                    first_sequence: number(sequence),
                };
                sequencer.open(key, &preamble);
                open.insert(key);
            }
            1 => {
                let fields = HeaderFields {
                    frame_type: FrameType::VideoDelta,
                    stream_id,
                    timestamp: 0,
                    sequence: number(sequence),
                    flags: Flags::default(),
                };
                let unit = Unit::new(&fields, Bytes::from(vec![0; usize::from(detail)]));
                let stale = sequencer.stale_units();
                sequencer.push(&key, unit, now);
                let kept = open.contains(&key) && sequencer.stale_units() == stale;
                if kept {
                    let before = waiting.insert(fields.sequence, (HEADER_LEN + usize::from(detail), now));
                    assert_eq!(before, None, "a unit that is there already is stale");
                }
            }
            2 => {
                sequencer.close(&key);
                open.remove(&key);
            }
            _ => {}
        }
        drain(&mut sequencer, &mut waiting, now);
    }
    drain(&mut sequencer, &mut waiting, now + LIMITS.max_hold);
    assert!(waiting.is_empty() && sequencer.next_deadline().is_none());
});
