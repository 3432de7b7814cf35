//! Units in datagrams.

use std::collections::VecDeque;

use bytes::Bytes;
use darktower_protocol::UnitError;
use darktower_protocol::unit::{DatagramUnits, pack};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bytes_on_the_wire::{LIMITS, RawUnit, chunk_sizes, chunks, damaged, raw_unit, unit_stream};

fn decode(datagram: &Bytes) -> (Vec<Bytes>, u64, Option<UnitError>) {
    let mut units = DatagramUnits::new(datagram.clone(), LIMITS);
    let mut whole = Vec::new();
    let mut error = None;
    for next in units.by_ref() {
        assert_eq!(error, None, "nothing comes after an error");
        match next {
            Ok(unit) => whole.push(unit.into_wire()),
            Err(failed) => error = Some(failed),
        }
    }
    assert!(units.next().is_none());
    (whole, units.skipped_units(), error)
}

proptest! {
    #[test]
    fn units_come_out_as_slices(raws in vec(raw_unit(), 0..5)) {
        let datagram: Bytes = raws.iter().flat_map(RawUnit::wire).collect::<Vec<_>>().into();
        let (units, skipped, error) = decode(&datagram);
        let known: Vec<_> = raws.iter().filter(|raw| raw.is_known()).map(|raw| Bytes::from(raw.wire())).collect();
        prop_assert_eq!(error, None);
        prop_assert_eq!(skipped as usize, raws.len() - known.len());
        prop_assert_eq!(&units, &known);
        for unit in units {
            prop_assert!(datagram.as_ptr_range().contains(&unit.as_ptr()), "unit was copied");
        }
    }

    /// A datagram means what the same bytes mean as a stream that ends there.
    #[test]
    fn damaged_datagrams_decode_like_streams(datagram in damaged(unit_stream()), sizes in chunk_sizes()) {
        let mut decoder = darktower_protocol::UnitDecoder::new(LIMITS);
        chunks(&datagram, &sizes).into_iter().for_each(|chunk| decoder.push(chunk));
        let mut units = Vec::new();
        let error = loop {
            match decoder.next_unit() {
                Ok(Some(unit)) => units.push(unit.into_wire()),
                Ok(None) => break decoder.finish().err(),
                Err(error) => break Some(error),
            }
        };
        prop_assert_eq!(decode(&datagram), (units, decoder.skipped_units(), error));
    }

    #[test]
    fn pack_fills_datagrams_in_order(
        units in vec(vec(any::<u8>(), 1..300), 0..12),
        prefix in vec(any::<u8>(), 0..3),
        max_len in 303..900usize,
    ) {
        let mut queue: VecDeque<Bytes> = units.iter().cloned().map(Bytes::from).collect();
        let mut carried = Vec::new();
        while let Some(datagram) = pack(&mut queue, &prefix, max_len) {
            prop_assert!(datagram.len() <= max_len);
            prop_assert!(datagram.starts_with(&prefix));
            if let Some(next) = queue.front() {
                prop_assert!(datagram.len() + next.len() > max_len, "the next unit had fit");
            }
            carried.extend_from_slice(&datagram[prefix.len()..]);
        }
        prop_assert!(queue.is_empty());
        prop_assert_eq!(carried, units.concat());
    }
}

#[test]
fn a_single_unit_is_packed_without_copying() {
    let unit = Bytes::from_static(b"a unit");
    let datagram = pack(&mut VecDeque::from([unit.clone()]), &[], 1_200).unwrap();
    assert_eq!(datagram.as_ptr(), unit.as_ptr());
}
