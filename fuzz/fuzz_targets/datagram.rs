//! A datagram means what the same bytes mean as a stream; its units are slices of it.
#![no_main]

use bytes::Bytes;
use darktower_fuzz::LIMITS;
use darktower_protocol::UnitDecoder;
use darktower_protocol::unit::DatagramUnits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let datagram = Bytes::copy_from_slice(input);
    let mut units = DatagramUnits::new(datagram.clone(), LIMITS);
    let mut stream = UnitDecoder::new(LIMITS);
    stream.push(datagram.clone());
    loop {
        let from_stream = stream.next_unit();
        match units.next() {
            Some(Ok(unit)) => {
                assert!(datagram.as_ptr_range().contains(&unit.chunks()[0].as_ptr()));
                assert_eq!(from_stream, Ok(Some(unit)));
            }
            Some(Err(error)) => {
                assert_eq!(from_stream.and_then(|unit| stream.finish().map(|()| unit)), Err(error));
                break;
            }
            None => {
                assert_eq!(from_stream, Ok(None));
                assert_eq!(stream.finish(), Ok(()));
                break;
            }
        }
    }
    assert!(units.next().is_none());
    assert_eq!(units.skipped_units(), stream.skipped_units());
});
