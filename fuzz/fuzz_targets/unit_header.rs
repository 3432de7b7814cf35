//! A header is a view: it says what the bytes say, and a header built from what it says is the
//! same, reserved bytes aside.
#![no_main]

use darktower_protocol::unit::HeaderError;
use darktower_protocol::{HEADER_LEN, Header, HeaderFields};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match Header::parse(input) {
        Ok(header) => {
            assert_eq!(header.as_bytes()[..], input[..HEADER_LEN]);
            let fields = HeaderFields {
                frame_type: header.frame_type(),
                stream_id: header.stream_id(),
                timestamp: header.timestamp(),
                sequence: header.sequence(),
                flags: header.flags(),
            };
            let again = Header::new(&fields, header.payload_len());
            assert_eq!(again.as_bytes()[..40], input[..40]);
            assert_eq!(header.reserved()[..], input[40..46]);
            assert_eq!(header.stream_id().to_string().parse(), Ok(header.stream_id()));
            assert_eq!(header.wire_len(), HEADER_LEN + header.payload_len() as usize);
            let _ = format!("{header:?}");
        }
        Err(HeaderError::TooShort(len)) => assert!(len == input.len() && len < HEADER_LEN),
        Err(_) => assert!(input[0] != 1),
    }
});
