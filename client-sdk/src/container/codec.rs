//! The codecs this module stores, by the names signaling uses.

use std::fmt;

/// A media codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// VP8 (RFC 6386).
    Vp8,
    /// VP9 (VP9 Bitstream & Decoding Process Specification).
    Vp9,
    /// AV1 (AV1 Bitstream & Decoding Process Specification).
    Av1,
    /// H.264 (ITU-T H.264), in the Annex B byte stream format.
    H264,
    /// Opus (RFC 6716).
    Opus,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::Vp8, Self::Vp9, Self::Av1, Self::H264, Self::Opus];

    /// The name in stream metadata: `VP8`, `VP9`, `AV1`, `H264` or `Opus`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::H264 => "H264",
            Self::Opus => "Opus",
        }
    }

    /// The codec with this [`name`](Self::name), in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// True for video codecs, false for audio.
    pub const fn is_video(self) -> bool {
        !matches!(self, Self::Opus)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_name(codec.name()), Some(codec));
            assert_eq!(Codec::from_name(&codec.name().to_lowercase()), Some(codec));
        }
        assert_eq!(Codec::from_name("H265"), None);
        assert_eq!(Codec::from_name(""), None);
    }
}
