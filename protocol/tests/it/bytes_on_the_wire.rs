//! Input for the other tests, written without the encoder under test.

use bytes::Bytes;
use darktower_protocol::limits::UnitLimits;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Small bounds, so that generated units reach them.
pub(crate) const LIMITS: UnitLimits = UnitLimits { max_audio_payload: 200, max_video_payload: 400 };

/// All that a unit header can say, and a payload.
#[derive(Debug, Clone)]
pub(crate) struct RawUnit {
    pub(crate) frame_type: u8,
    pub(crate) stream_id: [u8; 16],
    pub(crate) timestamp: u64,
    pub(crate) sequence: u64,
    pub(crate) flags: u16,
    pub(crate) reserved: [u8; 6],
    pub(crate) payload: Vec<u8>,
}

impl RawUnit {
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.frame_type, 0 | 1 | 2 | 0x80)
    }

    pub(crate) fn wire(&self) -> Vec<u8> {
        let mut wire = header(self.frame_type, &self.stream_id, self.sequence, self.payload.len() as u32);
        wire[18..26].copy_from_slice(&self.timestamp.to_be_bytes());
        wire[38..40].copy_from_slice(&self.flags.to_be_bytes());
        wire[40..46].copy_from_slice(&self.reserved);
        wire.extend_from_slice(&self.payload);
        wire
    }
}

/// A header of which only some fields matter.
pub(crate) fn header(frame_type: u8, stream_id: &[u8; 16], sequence: u64, payload_len: u32) -> Vec<u8> {
    let mut wire = vec![1, frame_type];
    wire.extend_from_slice(stream_id);
    wire.extend_from_slice(&[0; 8]);
    wire.extend_from_slice(&sequence.to_be_bytes());
    wire.extend_from_slice(&payload_len.to_be_bytes());
    wire.extend_from_slice(&[0; 8]);
    wire
}

/// A unit within [`LIMITS`], of any type, on one of two streams.
pub(crate) fn raw_unit() -> impl Strategy<Value = RawUnit> {
    let frame_type = prop_oneof![4 => 0..=2u8, 1 => Just(0x80), 2 => any::<u8>()];
    let stream_id = prop_oneof![Just([0x11; 16]), Just([0x22; 16])];
    (
        frame_type,
        stream_id,
        any::<u64>(),
        any::<u64>(),
        any::<u16>(),
        any::<[u8; 6]>(),
        vec(any::<u8>(), 0..=200),
    )
        .prop_map(|(frame_type, stream_id, timestamp, sequence, flags, reserved, mut payload)| {
            if frame_type == 0x80 {
                payload.clear();
            }
            RawUnit { frame_type, stream_id, timestamp, sequence, flags, reserved, payload }
        })
}

/// Sizes of chunks, to be repeated.
pub(crate) fn chunk_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        1 => Just(vec![1]),
        1 => Just(vec![45, 1, 1]),
        4 => vec(1..120usize, 1..8),
        1 => vec(1..4usize, 1..8),
    ]
}

/// `data` cut into chunks of these sizes, which are repeated as needed.
pub(crate) fn chunks(data: &Bytes, sizes: &[usize]) -> Vec<Bytes> {
    let mut rest = data.clone();
    sizes
        .iter()
        .cycle()
        .map_while(|size| (!rest.is_empty()).then(|| rest.split_to(rest.len().min(*size))))
        .collect()
}

/// Bytes with bytes overwritten and the end cut off here and there; or anything at all.
pub(crate) fn damaged(good: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Bytes> {
    let damage = (vec((any::<Index>(), any::<u8>()), 0..3), proptest::option::of(any::<Index>()));
    let damaged = (good, damage).prop_map(|(mut bytes, (overwrites, cut))| {
        for (at, byte) in overwrites {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    });
    prop_oneof![4 => damaged, 1 => vec(any::<u8>(), 0..200)].prop_map(Bytes::from)
}

/// Units back to back.
pub(crate) fn unit_stream() -> impl Strategy<Value = Vec<u8>> {
    vec(raw_unit(), 0..8).prop_map(|units| units.iter().flat_map(RawUnit::wire).collect())
}

/// Bytes written as hexadecimal digits; white space is ignored.
pub(crate) fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{c:?} is not a hexadecimal digit")) as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text:?}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>().into()
}
