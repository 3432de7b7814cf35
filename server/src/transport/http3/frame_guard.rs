//! A bound on the length of HTTP/3 frames, enforced before their bytes are buffered.
//!
//! `h3` 0.0.8 keeps the bytes of a frame until all of it is there, whatever length its header names, except for DATA:
//! a client could make it hold gigabytes. So the bytes of each stream pass here first, and a frame that is too long ends
//! its stream as soon as its header is known.

/// Bytes of a frame that is no DATA frame. A field section of 16 KiB after decompression is seldom longer before it; what
/// lies between is decompressed and answered with 431.
const MAX_FRAME_LEN: u64 = 32 * 1024;

/// RFC 9114 section 7.2.1.
const DATA: u64 = 0x00;
/// What WebTransport puts in front of its streams; no frame, and refused by h3.
const WEBTRANSPORT_STREAM: u64 = 0x41;
/// RFC 9114 section 6.2.1.
const CONTROL_STREAM: u64 = 0x00;

/// A frame is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an HTTP/3 frame of {len} bytes; at most {MAX_FRAME_LEN} are allowed")]
pub(super) struct FrameTooLong {
    len: u64,
}

/// Follows the frames of one stream.
#[derive(Debug)]
pub(super) struct FrameGuard(State);

#[derive(Debug)]
enum State {
    /// First a number that says what the stream is for.
    StreamType(Varint),
    FrameType(Varint),
    FrameLen {
        frame_type: u64,
        len: Varint,
    },
    /// So many bytes of the frame are still to come.
    Payload(u64),
    /// Not made of frames.
    Unwatched,
}

impl FrameGuard {
    /// For a stream of a request.
    pub(super) fn request() -> Self {
        Self(State::FrameType(Varint::default()))
    }

    /// For a unidirectional stream.
    pub(super) fn unidirectional() -> Self {
        Self(State::StreamType(Varint::default()))
    }

    /// Looks at the next bytes of the stream.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> Result<(), FrameTooLong> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.0 {
                State::Unwatched => return Ok(()),
                State::Payload(left) => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    if *left == 0 {
                        self.0 = State::FrameType(Varint::default());
                    }
                    bytes = bytes.get(taken as usize..).unwrap_or_default();
                    continue;
                }
                State::StreamType(number) => {
                    if let Some(stream_type) = number.push(first) {
                        self.0 = match stream_type {
                            CONTROL_STREAM => State::FrameType(Varint::default()),
                            _ => State::Unwatched,
                        };
                    }
                }
                State::FrameType(number) => {
                    if let Some(frame_type) = number.push(first) {
                        self.0 = match frame_type {
                            WEBTRANSPORT_STREAM => State::Unwatched,
                            _ => State::FrameLen { frame_type, len: Varint::default() },
                        };
                    }
                }
                State::FrameLen { frame_type, len } => {
                    let is_data = *frame_type == DATA;
                    if let Some(len) = len.push(first) {
                        if !is_data && len > MAX_FRAME_LEN {
                            return Err(FrameTooLong { len });
                        }
                        self.0 = match len {
                            0 => State::FrameType(Varint::default()),
                            _ => State::Payload(len),
                        };
                    }
                }
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// A variable-length integer (RFC 9000 section 16) that comes byte by byte.
#[derive(Debug, Default)]
struct Varint {
    value: u64,
    /// Bytes that are still to come; `None` before the first.
    left: Option<u8>,
}

impl Varint {
    /// The number, when its last byte is there.
    fn push(&mut self, byte: u8) -> Option<u64> {
        let left = match self.left {
            None => {
                self.value = u64::from(byte & 0x3f);
                (1 << (byte >> 6)) - 1
            }
            Some(left) => {
                self.value = self.value << 8 | u64::from(byte);
                left.saturating_sub(1)
            }
        };
        self.left = Some(left);
        (left == 0).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, length of eight bytes, and payload.
    fn frame(frame_type: u8, len: u64, payload: usize) -> Vec<u8> {
        let mut bytes = vec![frame_type];
        bytes.extend((len | 0xc0 << 56).to_be_bytes());
        bytes.resize(bytes.len() + payload, 7);
        bytes
    }

    /// In one piece, and in single bytes.
    fn both(guard: fn() -> FrameGuard, bytes: &[u8]) -> Result<(), FrameTooLong> {
        let whole = guard().check(bytes);
        let mut pieces = guard();
        assert_eq!(bytes.iter().try_for_each(|byte| pieces.check(&[*byte])), whole);
        whole
    }

    #[test]
    fn long_frames_are_refused_by_their_header_and_data_is_not() {
        let limit = MAX_FRAME_LEN;
        let headers = |len| frame(1, len, 0);
        assert_eq!(both(FrameGuard::request, &headers(limit)), Ok(()));
        assert_eq!(both(FrameGuard::request, &headers(limit + 1)), Err(FrameTooLong { len: limit + 1 }));
        assert_eq!(both(FrameGuard::request, &frame(0, 1 << 40, 100)), Ok(()));
        // A reserved type, after whole frames of other types.
        let mut many = frame(1, 5, 5);
        many.extend(frame(0, 300, 300));
        many.extend(frame(0x21, 0, 0));
        assert_eq!(both(FrameGuard::request, &many), Ok(()));
        many.extend(frame(0x21, 1 << 61, 3));
        assert_eq!(both(FrameGuard::request, &many), Err(FrameTooLong { len: 1 << 61 }));
    }

    #[test]
    fn of_unidirectional_streams_only_the_control_stream_is_made_of_frames() {
        let mut control = vec![0];
        control.extend(frame(4, MAX_FRAME_LEN + 1, 0));
        assert!(both(FrameGuard::unidirectional, &control).is_err());
        let mut encoder = control.clone();
        encoder[0] = 2;
        assert_eq!(both(FrameGuard::unidirectional, &encoder), Ok(()));
    }

    #[test]
    fn integers_have_one_two_four_or_eight_bytes() {
        // The examples of RFC 9000 appendix A.1.
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, expected) in examples {
            let mut number = Varint::default();
            let values: Vec<_> = bytes.iter().map(|byte| number.push(*byte)).collect();
            let (last, before) = values.split_last().expect("not empty");
            assert_eq!(*last, Some(expected));
            assert!(before.iter().all(Option::is_none));
        }
    }
}
