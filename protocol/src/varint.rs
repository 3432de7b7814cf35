//! Variable-length integers of QUIC (RFC 9000 section 16): 1, 2, 4 or 8 bytes, big-endian, the
//! length in the two highest bits.

use bytes::BufMut;

/// The largest value: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Appends `value` in its shortest form.
///
/// # Panics
/// If `value` is over [`MAX`].
pub fn encode(value: u64, out: &mut impl BufMut) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(0x4000 | value as u16),
        0x4000..=0x3fff_ffff => out.put_u32(0x8000_0000 | value as u32),
        _ => {
            assert!(value <= MAX, "a QUIC varint holds at most 62 bits");
            out.put_u64(0xc000_0000_0000_0000 | value);
        }
    }
}

/// Bytes that [`encode`] writes for `value`.
pub const fn encoded_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Reads one integer from the front of `bytes` and returns it with the rest; `None` if `bytes`
/// ends inside it. Longer forms than needed are accepted, as RFC 9000 demands.
pub fn decode(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let (head, rest) = bytes.split_at_checked(len)?;
    let value = head.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let mask = MAX >> (62 - (8 * len - 2));
    Some((value & mask, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 9000 appendix A.1.
    #[test]
    fn examples_of_the_rfc() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(decode(bytes), Some((value, &[][..])));
        }
    }

    proptest! {
        #[test]
        fn round_trip(value in 0..=MAX, tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = Vec::new();
            encode(value, &mut bytes);
            prop_assert_eq!(bytes.len(), encoded_len(value));
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut]), None);
            }
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(decode(&bytes), Some((value, &tail[..])));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = decode(&bytes);
        }
    }
}
