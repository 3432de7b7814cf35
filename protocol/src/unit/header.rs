//! The 46-byte header of a unit, as the API contract fixes it (docs/protocol.md 2.1).
//!
//! | offset | bytes | field          |
//! |-------:|------:|----------------|
//! |      0 |     1 | version        |
//! |      1 |     1 | frame type     |
//! |      2 |    16 | stream id      |
//! |     18 |     8 | timestamp      |
//! |     26 |     8 | sequence       |
//! |     34 |     4 | payload length |
//! |     38 |     2 | flags          |
//! |     40 |     6 | reserved       |

use std::fmt;

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::StreamId;
use crate::limits::UnitLimits;

/// Bytes of a unit header.
pub const HEADER_LEN: usize = 46;

/// The version byte of every unit of this protocol.
pub const UNIT_VERSION: u8 = 0x01;

/// A unit header: as a reference, a view over received bytes; as a value, one that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    version: u8,
    frame_type: u8,
    stream_id: [u8; 16],
    timestamp: U64,
    sequence: U64,
    payload_len: U32,
    flags: U16,
    reserved: [u8; 6],
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

/// Bytes that are not a unit header of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Fewer than 46 bytes.
    #[error("a unit header has {HEADER_LEN} bytes, got {0}")]
    TooShort(usize),
    /// The version byte is not [`UNIT_VERSION`].
    #[error("unit version 0x{0:02x} is not supported; this side speaks 0x01")]
    UnsupportedVersion(u8),
}

/// What a unit carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// An audio frame.
    Audio,
    /// A video frame that decodes by itself.
    VideoKey,
    /// A video frame that needs the ones before it.
    VideoDelta,
    /// No media: asks for a subscription on this QUIC stream (baseline mode).
    Attach,
    /// Of a later version; skipped by its length.
    Unknown(u8),
}

impl FrameType {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Audio => 0x00,
            Self::VideoKey => 0x01,
            Self::VideoDelta => 0x02,
            Self::Attach => 0x80,
            Self::Unknown(byte) => byte,
        }
    }

    /// The type behind a byte.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0x00 => Self::Audio,
            0x01 => Self::VideoKey,
            0x02 => Self::VideoDelta,
            0x80 => Self::Attach,
            other => Self::Unknown(other),
        }
    }

    /// Whether the unit is part of a video frame.
    pub const fn is_video(self) -> bool {
        matches!(self, Self::VideoKey | Self::VideoDelta)
    }

    /// The payload bound of this type in bytes.
    pub const fn max_payload(self, limits: &UnitLimits) -> u32 {
        match self {
            Self::Audio => limits.max_audio_payload,
            Self::VideoKey | Self::VideoDelta | Self::Unknown(_) => limits.max_video_payload,
            Self::Attach => 0,
        }
    }
}

/// The flag bits of a header. Unknown bits are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// Bit 0: the last unit of its frame.
    pub const END_OF_FRAME: Flags = Flags(1);
    /// Bit 1: no other frame needs this one.
    pub const DISCARDABLE: Flags = Flags(1 << 1);

    /// All 16 bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From all 16 bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and `other`'s, if `set`.
    #[must_use]
    pub const fn with(self, other: Flags, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// What a sender chooses of a header; version, payload length and reserved bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderFields {
    /// What the unit carries.
    pub frame_type: FrameType,
    /// The stream, or the simulcast layer of it.
    pub stream_id: StreamId,
    /// Capture time in microseconds since the Unix epoch; equal for all units of a frame.
    pub timestamp: u64,
    /// 0 for the first unit of a stream id, then +1 per unit.
    pub sequence: u64,
    /// End of frame, discardable.
    pub flags: Flags,
}

impl Header {
    /// A header to send; reserved bytes are zero.
    pub fn new(fields: &HeaderFields, payload_len: u32) -> Self {
        Self {
            version: UNIT_VERSION,
            frame_type: fields.frame_type.to_byte(),
            stream_id: *fields.stream_id.as_bytes(),
            timestamp: U64::new(fields.timestamp),
            sequence: U64::new(fields.sequence),
            payload_len: U32::new(payload_len),
            flags: U16::new(fields.flags.bits()),
            reserved: [0; 6],
        }
    }

    /// Views the first 46 bytes of `bytes` as a header, without copying.
    ///
    /// # Errors
    /// If there are fewer bytes, or the version is not supported.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<&Self, HeaderError> {
        let Ok((header, _)) = Self::ref_from_prefix(bytes) else {
            return Err(HeaderError::TooShort(bytes.len()));
        };
        if header.version != UNIT_VERSION {
            return Err(HeaderError::UnsupportedVersion(header.version));
        }
        Ok(header)
    }

    /// The 46 bytes on the wire.
    pub fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        zerocopy::transmute_ref!(self)
    }

    /// What the unit carries.
    pub fn frame_type(&self) -> FrameType {
        FrameType::from_byte(self.frame_type)
    }

    /// The stream, or the simulcast layer of it.
    pub fn stream_id(&self) -> StreamId {
        StreamId::from_bytes(self.stream_id)
    }

    /// Capture time in microseconds since the Unix epoch.
    pub fn timestamp(&self) -> u64 {
        self.timestamp.get()
    }

    /// Position in the stream.
    pub fn sequence(&self) -> u64 {
        self.sequence.get()
    }

    /// Bytes of payload that follow the header.
    pub fn payload_len(&self) -> u32 {
        self.payload_len.get()
    }

    /// Bytes of header and payload together.
    pub fn wire_len(&self) -> usize {
        HEADER_LEN + self.payload_len.get() as usize
    }

    /// All flag bits.
    pub fn flags(&self) -> Flags {
        Flags::from_bits(self.flags.get())
    }

    /// The six reserved bytes: forwarded as they came.
    pub fn reserved(&self) -> &[u8; 6] {
        &self.reserved
    }

    /// Whether this is the last unit of its frame.
    pub fn is_end_of_frame(&self) -> bool {
        self.flags().contains(Flags::END_OF_FRAME)
    }

    /// Whether no other frame needs this one.
    pub fn is_discardable(&self) -> bool {
        self.flags().contains(Flags::DISCARDABLE)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("frame_type", &self.frame_type())
            .field("stream_id", &self.stream_id())
            .field("timestamp", &self.timestamp())
            .field("sequence", &self.sequence())
            .field("payload_len", &self.payload_len())
            .field("flags", &self.flags())
            .finish_non_exhaustive()
    }
}
