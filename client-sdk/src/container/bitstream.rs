//! What a frame says about itself: is it a key frame, may it be dropped.
//!
//! Only the first bits of each codec's frame header are looked at, so this is cheap enough for every frame of a live
//! stream. Arbitrary bytes give `false`, never a panic.

use super::{annexb, codec::Codec};

/// Whether decoding can start at this frame.
///
/// * VP8: key frame bit and start code (RFC 6386 section 9.1).
/// * VP9: `frame_type` of the (first) frame (VP9 specification section 6.2).
/// * AV1: a sequence header followed by a shown key frame (AV1 specification section 7.6.2, key frame random access).
/// * H.264: the first slice belongs to an IDR picture, NAL unit type 5 (ITU-T H.264 table 7-1). A recovery point
///   without IDR does not count.
/// * Opus: any packet that is not empty.
pub fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8_keyframe(frame),
        Codec::Vp9 => vp9_keyframe(frame),
        Codec::Av1 => av1_keyframe(frame),
        Codec::H264 => annexb::first_slice(frame).is_some_and(|nal| nal.unit_type() == annexb::IDR_SLICE),
        Codec::Opus => !frame.is_empty(),
    }
}

/// Whether certainly no other frame refers to this one.
///
/// H.264: `nal_ref_idc` is 0 in the first slice, and therefore in all of the picture (ITU-T H.264 section 7.4.1). The
/// other codecs would need more of the header parsed and always give `false`.
pub fn is_discardable(codec: Codec, frame: &[u8]) -> bool {
    codec == Codec::H264 && annexb::first_slice(frame).is_some_and(|nal| nal.ref_idc() == 0)
}

fn vp8_keyframe(frame: &[u8]) -> bool {
    // Three bytes of frame tag, whose lowest bit is 0 for a key frame, then the start code of key frames.
    frame.first().is_some_and(|tag| tag & 1 == 0) && frame.get(3..6) == Some(&[0x9D, 0x01, 0x2A])
}

fn vp9_keyframe(frame: &[u8]) -> bool {
    let Some(&first) = frame.first() else { return false };
    let bit = |index: u32| first >> (7 - index) & 1;
    if first >> 6 != 0b10 {
        return false;
    }
    // Profile 3 is followed by a reserved zero bit.
    let (profile, next) = match bit(2) | bit(3) << 1 {
        3 => (3, 5),
        profile => (profile, 4),
    };
    if profile == 3 && bit(4) != 0 {
        return false;
    }
    let (show_existing_frame, frame_type) = (bit(next), bit(next + 1));
    // Key frames repeat a sync code right after show_frame and error_resilient_mode. It starts on a byte boundary
    // except in profile 3, where it starts one bit later.
    let sync = [0x49, 0x83, 0x42];
    let synced = match profile {
        3 => frame.get(1..5).is_some_and(|b| {
            let shifted: Vec<u8> = b.windows(2).map(|w| w[0] << 1 | w[1] >> 7).collect();
            shifted == sync
        }),
        _ => frame.get(1..4) == Some(&sync),
    };
    show_existing_frame == 0 && frame_type == 0 && synced
}

const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_FRAME_HEADER: u8 = 3;
const OBU_FRAME: u8 = 6;

fn av1_keyframe(temporal_unit: &[u8]) -> bool {
    let mut rest = temporal_unit;
    // Some(reduced_still_picture_header) once a sequence header was seen.
    let mut sequence = None;
    while let Some((obu_type, payload, after)) = split_obu(rest) {
        match (obu_type, payload.first()) {
            (OBU_SEQUENCE_HEADER, Some(first)) => sequence = Some(first & 0x08 != 0),
            (OBU_FRAME_HEADER | OBU_FRAME, Some(first)) => {
                let (show_existing_frame, frame_type, show_frame) =
                    (first & 0x80 != 0, first >> 5 & 0b11, first & 0x10 != 0);
                return match sequence {
                    None => false,
                    Some(true) => true,
                    Some(false) => !show_existing_frame && frame_type == 0 && show_frame,
                };
            }
            _ => {}
        }
        rest = after;
    }
    false
}

/// Splits the first open bitstream unit off: (type, payload, rest). `None` at the end or when the sizes do not fit
/// (AV1 specification section 5.3).
fn split_obu(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&header, mut rest) = data.split_first()?;
    if header & 0x80 != 0 {
        return None;
    }
    if header & 0x04 != 0 {
        rest = rest.get(1..)?;
    }
    let size = if header & 0x02 != 0 {
        let (size, after) = leb128(rest)?;
        rest = after;
        size
    } else {
        rest.len()
    };
    let (payload, after) = rest.split_at_checked(size)?;
    Some((header >> 3 & 0x0F, payload, after))
}

/// Little-endian base 128: at most 8 bytes, at most 32 bits of value (AV1 specification section 4.10.5).
fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, &byte) in data.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let value = usize::try_from(u32::try_from(value).ok()?).ok()?;
            return Some((value, &data[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8() {
        assert!(is_keyframe(Codec::Vp8, &[0x10, 0, 0, 0x9D, 0x01, 0x2A]));
        assert!(!is_keyframe(Codec::Vp8, &[0x11, 0, 0, 0x9D, 0x01, 0x2A]));
        assert!(!is_keyframe(Codec::Vp8, &[0x10, 0, 0, 0x9D, 0x01]));
    }

    #[test]
    fn vp9_in_every_profile() {
        // marker 10, profile bits low then high, show_existing 0, frame_type 0, show_frame 1, error_resilient 0
        for first in [0b1000_0010, 0b1010_0010, 0b1001_0010] {
            assert!(is_keyframe(Codec::Vp9, &[first, 0x49, 0x83, 0x42]), "{first:#b}");
            assert!(!is_keyframe(Codec::Vp9, &[first | 0b0000_1000, 0x49, 0x83, 0x42]), "show existing");
            assert!(!is_keyframe(Codec::Vp9, &[first | 0b0000_0100, 0x49, 0x83, 0x42]), "inter frame");
        }
        // Profile 3: everything one bit later.
        let sync = u32::from_be_bytes([0, 0x49, 0x83, 0x42]) << 7;
        let [a, b, c, d] = sync.to_be_bytes();
        assert!(is_keyframe(Codec::Vp9, &[0b1011_0001, a, b, c, d]));
        assert!(!is_keyframe(Codec::Vp9, &[0b1011_0011, a, b, c, d]), "inter frame");
        assert!(!is_keyframe(Codec::Vp9, &[0b1011_1001, a, b, c, d]), "reserved bit");
        assert!(!is_keyframe(Codec::Vp9, &[0b0100_0010, 0x49, 0x83, 0x42]), "marker");
    }

    #[test]
    fn av1_needs_a_sequence_header_and_a_shown_key_frame() {
        let delimiter = [0x12, 0x00];
        let sequence = [0x0A, 0x01, 0x00];
        let frame = |first: u8| [0x32, 0x01, first];
        let unit = |parts: &[&[u8]]| is_keyframe(Codec::Av1, &parts.concat());
        assert!(unit(&[&delimiter, &sequence, &frame(0x10)]));
        assert!(!unit(&[&delimiter, &frame(0x10)]), "no sequence header");
        assert!(!unit(&[&delimiter, &sequence, &frame(0x30)]), "inter frame");
        assert!(!unit(&[&delimiter, &sequence, &frame(0x90)]), "show existing frame");
        assert!(!unit(&[&delimiter, &sequence, &frame(0x00)]), "hidden key frame");
        assert!(unit(&[&delimiter, &[0x0A, 0x01, 0x18], &frame(0x30)]), "reduced still picture header");
        assert!(unit(&[&[0x16, 0x00, 0x00], &sequence, &[0x30, 0x10]]), "extension, and a unit without size");
        assert!(!unit(&[&delimiter, &[0x0A, 0xFF, 0x7F]]), "size beyond the data");
    }

    #[test]
    fn leb128_bounds() {
        assert_eq!(leb128(&[0xE5, 0x8E, 0x26]), Some((624_485, &[][..])));
        assert_eq!(leb128(&[0x80, 0x80, 0x00, 7]), Some((0, &[7][..])), "padding is legal");
        assert_eq!(leb128(&[0xFF; 9]), None);
        assert_eq!(leb128(&[0xFF, 0xFF, 0xFF, 0xFF, 0x7F]), None, "more than 32 bits");
        assert_eq!(leb128(&[0x80]), None);
    }

    #[test]
    fn h264() {
        let idr = [0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 0x88];
        let reference = [0, 0, 1, 0x41, 0x9A];
        let disposable = [0, 0, 1, 0x09, 0xF0, 0, 0, 1, 0x01, 0x9E];
        assert!(is_keyframe(Codec::H264, &idr) && !is_discardable(Codec::H264, &idr));
        assert!(!is_keyframe(Codec::H264, &reference) && !is_discardable(Codec::H264, &reference));
        assert!(!is_keyframe(Codec::H264, &disposable) && is_discardable(Codec::H264, &disposable));
        assert!(!is_keyframe(Codec::H264, &[0, 0, 1]));
    }
}
