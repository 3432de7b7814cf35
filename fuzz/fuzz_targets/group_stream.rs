//! A group stream does not depend on how it is cut into chunks; a preamble survives encoding.
#![no_main]

use bytes::Bytes;
use darktower_fuzz::{LIMITS, split_input};
use darktower_protocol::group::{GroupDecoder, GroupError, GroupPreamble};
use libfuzzer_sys::fuzz_target;

type Outcome = (Option<GroupPreamble>, Vec<Bytes>, u64, Result<(), GroupError>);

fn decode(chunks: Vec<Bytes>) -> Outcome {
    let mut decoder = GroupDecoder::new(LIMITS);
    let mut units = Vec::new();
    let mut failed = false;
    for chunk in chunks {
        failed = decoder.push(chunk).is_err();
        while !failed {
            match decoder.next_unit() {
                Ok(Some(unit)) => {
                    assert_eq!(Some(unit.header().stream_id()), decoder.preamble().map(|p| p.stream_id));
                    units.push(unit.into_wire());
                }
                Ok(None) => break,
                Err(_) => failed = true,
            }
        }
        if failed {
            break;
        }
    }
    assert!(!failed || decoder.finish().is_err());
    (decoder.preamble().copied(), units, decoder.skipped_units(), decoder.finish())
}

fuzz_target!(|input: &[u8]| {
    let Some((stream, chunks)) = split_input(input) else { return };
    let whole = decode(vec![stream]);
    assert_eq!(decode(chunks), whole);
    if let Some(preamble) = whole.0 {
        let wire = preamble.encode();
        assert_eq!(GroupPreamble::decode(&wire), Ok(Some((preamble, wire.len()))));
    }
});
