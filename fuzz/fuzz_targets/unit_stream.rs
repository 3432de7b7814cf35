//! Units do not depend on how a stream is cut into chunks, and are slices of it in order.
#![no_main]

use bytes::Bytes;
use darktower_fuzz::{LIMITS, split_input};
use darktower_protocol::{HEADER_LEN, UnitDecoder, UnitError};
use libfuzzer_sys::fuzz_target;

fn decode(chunks: Vec<Bytes>) -> (Vec<Bytes>, u64, Result<(), UnitError>) {
    let mut decoder = UnitDecoder::new(LIMITS);
    let mut units = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next_unit() {
                Ok(Some(unit)) => {
                    assert!(unit.chunks()[0].len() >= HEADER_LEN);
                    assert_eq!(unit.payload().len(), unit.header().payload_len() as usize);
                    units.push(unit.into_wire());
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_unit(), Err(error));
                    assert_eq!(decoder.buffered(), 0);
                    return (units, decoder.skipped_units(), decoder.finish());
                }
            }
        }
        assert!(decoder.buffered() < HEADER_LEN + LIMITS.max_video_payload as usize);
    }
    (units, decoder.skipped_units(), decoder.finish())
}

fuzz_target!(|input: &[u8]| {
    let Some((stream, chunks)) = split_input(input) else { return };
    let whole = decode(vec![stream.clone()]);
    assert_eq!(decode(chunks), whole);
    let (units, skipped, end) = whole;
    if skipped == 0 && end.is_ok() {
        assert_eq!(units.concat(), stream);
    }
});
