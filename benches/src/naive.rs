//! The little protocol of the reference server: one hello, then plain media units.
//!
//! A client connects with the ALPN of native media sessions, opens one bidirectional QUIC stream and writes its
//! [`Hello`]; the server answers with the one byte [`READY`] when media will flow. Video travels in both directions
//! back to back on one long-lived unidirectional QUIC stream per video stream, audio in one datagram per unit.

/// The answer to a hello.
pub const READY: u8 = 1;

/// Bytes of an encoded hello.
pub const HELLO_LEN: usize = 12;

/// What a client wants. On the wire three big-endian `u32`: room, audio streams, then audio streams wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Everybody in a room gets everybody else's video.
    pub room: u32,
    /// How many audio streams this client publishes (0 or 1 in all workloads).
    pub audio_streams: u32,
    /// The first so many audio streams of the room, in the order their publishers came, are sent to this client; its
    /// own are left out. [`Hello::NOTHING`] if it wants no media at all.
    pub wanted_audio: u32,
}

impl Hello {
    /// As `wanted_audio`: neither audio nor video.
    pub const NOTHING: u32 = u32::MAX;
    /// As `wanted_audio`: all of it.
    pub const EVERYTHING: u32 = u32::MAX - 1;

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        for (to, value) in bytes.chunks_exact_mut(4).zip([self.room, self.audio_streams, self.wanted_audio]) {
            to.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// From the bytes on the wire.
    pub fn decode(bytes: &[u8; HELLO_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Self {
            room: u32::from_be_bytes([a, b, c, d]),
            audio_streams: u32::from_be_bytes([e, f, g, h]),
            wanted_audio: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_the_wire() {
        let hello = Hello { room: 7, audio_streams: 1, wanted_audio: Hello::EVERYTHING };
        assert_eq!(Hello::decode(&hello.encode()), hello);
    }
}
