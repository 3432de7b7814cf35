//! Units in datagrams.

use bytes::Bytes;
use darktower_protocol::UnitError;
use darktower_protocol::unit::DatagramUnits;
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
}
