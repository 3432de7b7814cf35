//! Units back to back on a stream, however it is cut into chunks.

use bytes::Bytes;
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::unit::{HeaderError, UNIT_VERSION};
use darktower_protocol::{
    Code, Flags, FrameType, HEADER_LEN, Header, HeaderFields, StreamId, Unit, UnitDecoder, UnitError,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bytes_on_the_wire::{LIMITS, chunk_sizes, chunks, damaged, header, raw_unit, unit_stream};

/// What a decoder makes of a whole stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome<E> {
    pub(crate) units: Vec<Bytes>,
    pub(crate) skipped: u64,
    pub(crate) end: Result<(), E>,
}

fn decode(stream: &Bytes, sizes: &[usize]) -> Outcome<UnitError> {
    let mut decoder = UnitDecoder::new(LIMITS);
    let mut units = Vec::new();
    for chunk in chunks(stream, sizes) {
        decoder.push(chunk);
        loop {
            match decoder.next_unit() {
                Ok(Some(unit)) => units.push(unit.into_wire()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_unit(), Err(error), "the same error again");
                    assert_eq!(decoder.finish(), Err(error));
                    return Outcome { units, skipped: decoder.skipped_units(), end: Err(error) };
                }
            }
        }
    }
    Outcome { units, skipped: decoder.skipped_units(), end: decoder.finish() }
}

proptest! {
    #[test]
    fn header_round_trip(raw in raw_unit()) {
        let wire = raw.wire();
        let header = Header::parse(&wire).unwrap();
        prop_assert_eq!(header.frame_type().to_byte(), raw.frame_type);
        prop_assert_eq!(header.stream_id(), StreamId::from_bytes(raw.stream_id));
        prop_assert_eq!(header.timestamp(), raw.timestamp);
        prop_assert_eq!(header.sequence(), raw.sequence);
        prop_assert_eq!(header.payload_len() as usize, raw.payload.len());
        prop_assert_eq!(header.flags().bits(), raw.flags);
        prop_assert_eq!(header.is_end_of_frame(), raw.flags & 1 != 0);
        prop_assert_eq!(header.is_discardable(), raw.flags & 2 != 0);
        prop_assert_eq!(header.reserved(), &raw.reserved);
        prop_assert_eq!(&header.as_bytes()[..], &wire[..HEADER_LEN]);
        prop_assert_eq!(header.as_bytes().as_ptr(), wire.as_ptr(), "a view, not a copy");
    }

    #[test]
    fn any_bytes_as_header(bytes in vec(any::<u8>(), 0..60)) {
        match Header::parse(&bytes) {
            Ok(header) => prop_assert_eq!(&header.as_bytes()[..], &bytes[..HEADER_LEN]),
            Err(HeaderError::TooShort(len)) => prop_assert!(len == bytes.len() && len < HEADER_LEN),
            Err(HeaderError::UnsupportedVersion(version)) => {
                prop_assert!(version == bytes[0] && version != UNIT_VERSION);
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn unit_round_trip(raw in raw_unit()) {
        let fields = HeaderFields {
            frame_type: FrameType::from_byte(raw.frame_type),
            stream_id: StreamId::from_bytes(raw.stream_id),
            timestamp: raw.timestamp,
            sequence: raw.sequence,
            flags: Flags::from_bits(raw.flags),
        };
        let payload = Bytes::from(raw.payload.clone());
        let unit = Unit::new(&fields, payload.clone());
        prop_assert_eq!(unit.payload().as_ptr(), payload.as_ptr());

        let mut expected = raw;
        expected.reserved = [0; 6];
        let wire = unit.clone().into_wire();
        prop_assert_eq!(&wire[..], &expected.wire()[..]);
        let again = Unit::from_wire(wire).unwrap();
        prop_assert_eq!(again.payload(), payload);
        prop_assert_eq!(again, unit, "equal although it lies in one chunk now");
    }

    #[test]
    fn units_do_not_depend_on_chunks(raws in vec(raw_unit(), 0..8), sizes in chunk_sizes()) {
        let stream: Vec<u8> = raws.iter().flat_map(|raw| raw.wire()).collect();
        let known: Vec<Bytes> = raws.iter().filter(|raw| raw.is_known()).map(|raw| raw.wire().into()).collect();
        let outcome = decode(&stream.into(), &sizes);
        prop_assert_eq!(outcome.end, Ok(()));
        prop_assert_eq!(outcome.skipped as usize, raws.len() - known.len());
        prop_assert_eq!(outcome.units, known);
    }

    #[test]
    fn damaged_streams_do_not_depend_on_chunks(stream in damaged(unit_stream()), sizes in chunk_sizes()) {
        prop_assert_eq!(decode(&stream, &sizes), decode(&stream, &[usize::MAX]));
    }

    /// Nothing but headers and payloads comes out: units and what was skipped are the stream.
    #[test]
    fn payload_chunks_are_the_payload(raw in raw_unit().prop_filter("known", |raw| raw.is_known()), sizes in chunk_sizes()) {
        let mut decoder = UnitDecoder::new(LIMITS);
        chunks(&raw.wire().into(), &sizes).into_iter().for_each(|chunk| decoder.push(chunk));
        let unit = decoder.next_unit().unwrap().unwrap();
        let joined: Vec<u8> = unit.payload_chunks().flatten().collect();
        prop_assert_eq!(&joined, &raw.payload);
        prop_assert_eq!(&unit.payload()[..], &raw.payload[..]);
        prop_assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn payload_over_the_bound_is_refused_before_it_is_waited_for() {
    let limits = UnitLimits::default();
    for (frame_type, max) in [
        (0, limits.max_audio_payload),
        (1, limits.max_video_payload),
        (2, limits.max_video_payload),
        (0x80, 0),
    ] {
        let mut decoder = UnitDecoder::new(limits);
        decoder.push(header(frame_type, &[1; 16], 0, max + 1).into());
        let frame_type = FrameType::from_byte(frame_type);
        let expected = UnitError::PayloadTooLarge { len: max + 1, max, frame_type };
        assert_eq!(decoder.next_unit(), Err(expected));
        assert_eq!(expected.code(), Code::PAYLOAD_TOO_LARGE);

        let mut decoder = UnitDecoder::new(limits);
        decoder.push(header(frame_type.to_byte(), &[1; 16], 0, max).into());
        let waits = decoder.next_unit().unwrap().is_none();
        assert_eq!(waits, max > 0, "the bound itself is allowed");
    }
}

#[test]
fn wrong_version_is_refused_at_its_first_byte() {
    let mut decoder = UnitDecoder::new(LIMITS);
    decoder.push(Bytes::from_static(&[2]));
    assert_eq!(decoder.next_unit(), Err(HeaderError::UnsupportedVersion(2).into()));
    assert_eq!(decoder.next_unit().unwrap_err().code(), Code::UNSUPPORTED_VERSION);
}

/// Whether `part` lies inside one of `buffers`.
fn is_slice_of(part: &[u8], buffers: &[Bytes]) -> bool {
    buffers.iter().any(|buffer| {
        let range = buffer.as_ptr_range();
        range.start <= part.as_ptr() && part.as_ptr_range().end <= range.end
    })
}

#[test]
fn payloads_are_slices_of_the_received_chunks() {
    for size in [1_000, 9_000, 60_000] {
        let unit = [header(1, &[7; 16], 0, size), vec![0xab; size as usize]].concat();
        let stream = unit.repeat(5);
        // Every chunk in a buffer of its own, as packets bring them.
        let received: Vec<Bytes> = stream.chunks(1_200).map(Bytes::copy_from_slice).collect();
        let mut decoder = UnitDecoder::new(UnitLimits::default());
        let mut units = 0;
        for chunk in &received {
            decoder.push(chunk.clone());
            while let Some(unit) = decoder.next_unit().unwrap() {
                units += 1;
                let mut len = 0;
                for part in unit.payload_chunks() {
                    len += part.len();
                    assert!(is_slice_of(&part, &received), "payload of a {size}-byte unit was copied");
                }
                assert_eq!(len, size as usize);
            }
        }
        assert_eq!(units, 5);
        assert_eq!(decoder.finish(), Ok(()));
    }
}

#[test]
fn a_stream_that_ends_inside_a_unit_is_truncated() {
    let unit = [header(1, &[7; 16], 0, 10), vec![0; 10]].concat();
    let unknown = [header(0x55, &[7; 16], 0, 10), vec![0; 10]].concat();
    for whole in [unit, unknown] {
        for cut in 1..whole.len() {
            let outcome = decode(&Bytes::copy_from_slice(&whole[..cut]), &[7]);
            let need = if cut < HEADER_LEN { HEADER_LEN } else { whole.len() };
            assert_eq!(outcome.end, Err(UnitError::Truncated { have: cut, need }));
            assert_eq!(outcome.end.unwrap_err().code(), Code::MALFORMED_UNIT);
        }
        assert_eq!(decode(&whole.into(), &[7]).end, Ok(()));
    }
}

#[test]
fn a_buffer_must_hold_exactly_one_unit() {
    let wire = [header(1, &[7; 16], 0, 4), vec![0; 4]].concat();
    assert!(Unit::from_wire(wire.clone().into()).is_ok());
    let short = Bytes::copy_from_slice(&wire[..49]);
    assert_eq!(Unit::from_wire(short), Err(UnitError::Truncated { have: 49, need: 50 }));
    let long = Bytes::from([&wire[..], &[0, 0]].concat());
    assert_eq!(Unit::from_wire(long), Err(UnitError::Trailing { extra: 2 }));
}
