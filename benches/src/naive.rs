//! The little protocol of the reference server: one hello, then plain media units.
//!
//! A client connects with the ALPN of native media sessions, opens one bidirectional QUIC stream and writes its
//! [`Hello`]; the server answers with the one byte [`READY`] when media will flow. Video travels in both directions
//! back to back on one long-lived unidirectional QUIC stream per video stream, audio in one datagram per unit.

/// The answer to a hello.
pub const READY: u8 = 1;

/// Bytes of an encoded hello.
pub const HELLO_LEN: usize = 20;

/// What a client brings and wants. On the wire five big-endian `u32`, in the order of the fields.
///
/// Streams of a room are numbered by kind, in the order their publishers came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Media stays in its room.
    pub room: u32,
    /// How many audio streams this client publishes: 0 or 1.
    pub audio_streams: u32,
    /// How many video streams this client publishes: 0 or 1.
    pub video_streams: u32,
    /// Audio streams of the room with lower numbers are sent to this client, except its own.
    pub wanted_audio: u32,
    /// Video streams of the room with lower numbers are sent to this client, except its own.
    pub wanted_video: u32,
}

impl Hello {
    /// As a wanted number: all there will be.
    pub const EVERYTHING: u32 = u32::MAX;

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        let fields =
            [self.room, self.audio_streams, self.video_streams, self.wanted_audio, self.wanted_video];
        let mut bytes = [0; HELLO_LEN];
        for (to, value) in bytes.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// From the bytes on the wire.
    pub fn decode(bytes: &[u8; HELLO_LEN]) -> Self {
        let (fields, _) = bytes.as_chunks();
        let field = |number: usize| fields.get(number).map_or(0, |bytes| u32::from_be_bytes(*bytes));
        Self {
            room: field(0),
            audio_streams: field(1),
            video_streams: field(2),
            wanted_audio: field(3),
            wanted_video: field(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_the_wire() {
        let hello = Hello {
            room: 7,
            audio_streams: 1,
            video_streams: 0,
            wanted_audio: 4,
            wanted_video: Hello::EVERYTHING,
        };
        assert_eq!(Hello::decode(&hello.encode()), hello);
    }
}
