//! Group streams: the preamble, then units of its stream id.

use bytes::{Bytes, BytesMut};
use darktower_protocol::group::{GroupDecoder, GroupError, GroupKind, GroupPreamble};
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::{Code, StreamId, UnitError, varint};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bytes_on_the_wire::{LIMITS, RawUnit, chunk_sizes, chunks, damaged, header, raw_unit};
use crate::unit_streams::Outcome;

fn decode(stream: &Bytes, sizes: &[usize]) -> (Option<GroupPreamble>, Outcome<GroupError>) {
    let mut decoder = GroupDecoder::new(LIMITS);
    let mut units = Vec::new();
    let mut failed = None;
    'chunks: for chunk in chunks(stream, sizes) {
        failed = decoder.push(chunk).err();
        while failed.is_none() {
            match decoder.next_unit() {
                Ok(Some(unit)) => units.push(unit.into_wire()),
                Ok(None) => continue 'chunks,
                Err(error) => failed = Some(error),
            }
        }
        break;
    }
    if let Some(error) = failed {
        assert_eq!(decoder.next_unit(), Err(error), "the same error again");
        assert_eq!(decoder.push(Bytes::from_static(&[0xd7])), Err(error));
        assert_eq!(decoder.finish(), Err(error));
    }
    let outcome = Outcome { units, skipped: decoder.skipped_units(), end: decoder.finish() };
    (decoder.preamble().copied(), outcome)
}

fn preamble() -> impl Strategy<Value = GroupPreamble> {
    let kind = prop_oneof![Just(GroupKind::Video), Just(GroupKind::Audio)];
    let number = || prop_oneof![0..100u64, 0..=varint::MAX];
    (kind, any::<bool>(), any::<bool>(), any::<[u8; 16]>(), number(), number()).prop_map(
        |(kind, continuation, discontinuity, stream_id, group, first_sequence)| GroupPreamble {
            kind,
            continuation,
            discontinuity,
            stream_id: StreamId::from_bytes(stream_id),
            group,
            first_sequence,
        },
    )
}

fn group_stream() -> impl Strategy<Value = (GroupPreamble, Vec<RawUnit>, Vec<u8>)> {
    (preamble(), vec(raw_unit(), 0..5), vec(any::<u8>(), 0..4)).prop_map(
        |(preamble, mut units, later_fields)| {
            units.iter_mut().for_each(|unit| unit.stream_id = *preamble.stream_id.as_bytes());
            let mut stream = preamble.encode().to_vec();
            stream[1] += later_fields.len() as u8;
            stream.extend(later_fields);
            stream.extend(units.iter().flat_map(RawUnit::wire));
            (preamble, units, stream)
        },
    )
}

proptest! {
    #[test]
    fn preamble_round_trip(preamble in preamble(), tail in vec(any::<u8>(), 0..5)) {
        let wire = preamble.encode();
        for cut in 0..wire.len() {
            prop_assert_eq!(GroupPreamble::decode(&wire[..cut]), Ok(None));
        }
        let longer = [&wire[..], &tail].concat();
        prop_assert_eq!(GroupPreamble::decode(&longer), Ok(Some((preamble, wire.len()))));
    }

    #[test]
    fn group_streams_do_not_depend_on_chunks((expected, raws, stream) in group_stream(), sizes in chunk_sizes()) {
        let (preamble, outcome) = decode(&stream.into(), &sizes);
        let known: Vec<_> = raws.iter().filter(|raw| raw.is_known()).map(|raw| Bytes::from(raw.wire())).collect();
        prop_assert_eq!(preamble, Some(expected));
        prop_assert_eq!(outcome.end, Ok(()));
        prop_assert_eq!(outcome.skipped as usize, raws.len() - known.len());
        prop_assert_eq!(outcome.units, known);
    }

    #[test]
    fn damaged_group_streams_do_not_depend_on_chunks(
        stream in damaged(group_stream().prop_map(|(.., stream)| stream)),
        sizes in chunk_sizes(),
    ) {
        prop_assert_eq!(decode(&stream, &sizes), decode(&stream, &[usize::MAX]));
    }

    #[test]
    fn any_bytes_as_preamble(bytes in vec(any::<u8>(), 0..300), magic: bool) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut().filter(|_| magic) {
            *first = 0xd7;
        }
        if let Ok(Some((_, len))) = GroupPreamble::decode(&bytes) {
            prop_assert!(len <= bytes.len() && len == 2 + usize::from(bytes[1]));
        }
    }
}

/// A publisher chooses sequence numbers; a server that repeats them in a preamble must survive.
#[test]
fn numbers_that_no_varint_holds_do_not_panic() {
    let stream_id = StreamId::from_bytes([1; 16]);
    let preamble = GroupPreamble {
        kind: GroupKind::Video,
        continuation: false,
        discontinuity: false,
        stream_id,
        group: u64::MAX,
        first_sequence: varint::MAX + 1,
    };
    let (decoded, _) = GroupPreamble::decode(&preamble.encode()).unwrap().unwrap();
    assert_eq!((decoded.group, decoded.first_sequence), (varint::MAX, varint::MAX));
}

#[test]
fn a_unit_of_another_stream_is_refused() {
    let (ours, theirs) = ([1; 16], [2; 16]);
    let preamble = GroupPreamble {
        kind: GroupKind::Audio,
        continuation: false,
        discontinuity: false,
        stream_id: StreamId::from_bytes(ours),
        group: 0,
        first_sequence: 0,
    };
    let stream = [&preamble.encode()[..], &header(0, &ours, 0, 0), &header(0, &theirs, 1, 0)].concat();
    let (_, outcome) = decode(&stream.into(), &[16]);
    assert_eq!(outcome.units.len(), 1);
    let expected =
        UnitError::WrongStream { expected: preamble.stream_id, found: StreamId::from_bytes(theirs) };
    assert_eq!(outcome.end, Err(expected.into()));
    assert_eq!(outcome.end.unwrap_err().code(), Code::WRONG_STREAM);
}

#[test]
fn units_behind_the_preamble_are_slices_of_the_chunk() {
    let preamble = GroupPreamble {
        kind: GroupKind::Video,
        continuation: false,
        discontinuity: false,
        stream_id: StreamId::from_bytes([9; 16]),
        group: 0,
        first_sequence: 0,
    };
    let mut stream = BytesMut::from(&preamble.encode()[..]);
    stream.extend_from_slice(&header(1, &[9; 16], 0, 1_000));
    stream.extend_from_slice(&[0; 1_000]);
    let stream = stream.freeze();
    let mut decoder = GroupDecoder::new(UnitLimits::default());
    decoder.push(stream.clone()).unwrap();
    let unit = decoder.next_unit().unwrap().unwrap();
    assert_eq!(unit.payload().as_ptr(), stream[stream.len() - 1_000..].as_ptr());
}
