//! The broadcast that is measured: the defaults of `darktower-load fanout`, byte for byte as long as ours.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};

/// Dark Tower's unit header. Other servers need none; as many bytes stand here, so that both deliver the same.
const HEADER_LEN: usize = 46;
const KEY_BYTES: usize = 60_000;
const DELTA_BYTES: usize = 9_576;
const AUDIO_BYTES: usize = 160;
/// Frames of a group, key frame included: 2 s.
pub(crate) const GROUP_FRAMES: u64 = 60;

/// Payloads are parts of this many bytes, each from another place.
const BUFFER_LEN: usize = 1 << 20;
/// A prime, so that places repeat late.
const PAYLOAD_STEP: u64 = 4_099;

/// For people and the report.
pub(crate) const DESCRIPTION: &str = "1 publisher: 30 frames/s, 2.5 Mbit/s, key frame of 60000 bytes every 2 s; \
                                      50 audio units of 160 bytes per second";

/// Microseconds since the Unix epoch: send times and arrival times are read from the same clock of one machine.
pub(crate) fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Video,
    Audio,
}

impl Media {
    /// Time between two units.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Self::Video => Duration::from_secs(1) / 30,
            Self::Audio => Duration::from_secs(1) / 50,
        }
    }

    pub(crate) fn class(self, sequence: u64) -> Class {
        match self {
            Self::Audio => Class::Audio,
            Self::Video if sequence.is_multiple_of(GROUP_FRAMES) => Class::Key,
            Self::Video => Class::Delta,
        }
    }
}

/// What latency is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Audio,
    Delta,
    Key,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Audio, Self::Delta, Self::Key];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Delta => "delta",
            Self::Key => "key",
        }
    }

    fn payload_len(self) -> usize {
        match self {
            Self::Audio => AUDIO_BYTES,
            Self::Delta => DELTA_BYTES,
            Self::Key => KEY_BYTES,
        }
    }
}

/// A unit that has arrived, and is what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) sequence: u64,
    pub(crate) class: Class,
    /// When it was sent, microseconds since the Unix epoch.
    pub(crate) timestamp: u64,
}

/// What has been published: the truth that every subscriber is compared with. The publisher appends, subscribers look up.
#[derive(Debug)]
pub(crate) struct Ledger {
    media: Media,
    payloads: Bytes,
    /// Send times; the position is the sequence number.
    sent: Mutex<Vec<u64>>,
}

impl Ledger {
    pub(crate) fn new(media: Media, payloads: Bytes) -> Self {
        Self { media, payloads, sent: Mutex::default() }
    }

    pub(crate) fn media(&self) -> Media {
        self.media
    }

    /// Notes a unit that is about to be sent, and returns its sequence number. Timestamps must not decrease.
    pub(crate) fn append(&self, timestamp: u64) -> u64 {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(timestamp);
        sent.len() as u64 - 1
    }

    /// How many units of each class were sent in `[from, to)`, in the order of [`Class::ALL`].
    pub(crate) fn sent_between(&self, from: u64, to: u64) -> [u64; 3] {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |time| sent.partition_point(|timestamp| *timestamp < time) as u64;
        let mut counts = [0; 3];
        for sequence in before(from)..before(to) {
            counts[self.media.class(sequence) as usize] += 1;
        }
        counts
    }

    /// The bytes of a unit.
    pub(crate) fn unit(&self, sequence: u64, timestamp: u64) -> Bytes {
        let payload = self.payload(sequence);
        let mut unit = BytesMut::with_capacity(HEADER_LEN + payload.len());
        unit.extend_from_slice(&header(self.media, sequence, timestamp, payload.len()));
        unit.extend_from_slice(payload);
        unit.freeze()
    }

    /// Compares every byte of `unit` with what was sent; `None` if it differs, or was never sent.
    pub(crate) fn check(&self, unit: &[u8]) -> Option<Arrived> {
        let (head, payload) = unit.split_first_chunk::<HEADER_LEN>()?;
        let sequence = u64::from_be_bytes(*head.first_chunk()?);
        let timestamp = {
            let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            *sent.get(usize::try_from(sequence).ok()?)?
        };
        let right = *head == header(self.media, sequence, timestamp, payload.len())
            && payload == self.payload(sequence);
        right.then_some(Arrived { sequence, class: self.media.class(sequence), timestamp })
    }

    fn payload(&self, sequence: u64) -> &[u8] {
        let len = self.media.class(sequence).payload_len();
        let places = (self.payloads.len() - len) as u64;
        let start = (sequence.wrapping_mul(PAYLOAD_STEP) % places) as usize;
        &self.payloads[start..start + len]
    }
}

fn header(media: Media, sequence: u64, timestamp: u64, payload_len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let mut rest = &mut header[..];
    rest.put_u64(sequence);
    rest.put_u64(timestamp);
    rest.put_u64(payload_len as u64);
    rest.put_u8(media as u8);
    header
}

/// Bytes that do not repeat.
pub(crate) fn payloads() -> Bytes {
    // Xorshift: https://www.jstatsoft.org/article/view/v008i14
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = BytesMut::with_capacity(BUFFER_LEN);
    while bytes.len() < BUFFER_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.put_u64(state);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_load_tester() {
        let group: usize = (0..GROUP_FRAMES).map(|sequence| Media::Video.class(sequence).payload_len()).sum();
        let bits_per_second =
            group as f64 * 8.0 / (GROUP_FRAMES as f64 * Media::Video.interval().as_secs_f64());
        assert!((bits_per_second - 2_500_000.0).abs() < 1000.0, "{bits_per_second}");
    }

    #[test]
    fn a_unit_that_differs_in_any_byte_is_found() {
        for media in [Media::Video, Media::Audio] {
            let ledger = Ledger::new(media, payloads());
            let sequence = ledger.append(7);
            let unit = ledger.unit(sequence, 7);
            let class = media.class(0);
            assert_eq!(unit.len(), HEADER_LEN + class.payload_len());
            assert_eq!(ledger.check(&unit), Some(Arrived { sequence: 0, class, timestamp: 7 }));
            for position in [0, 9, 30, HEADER_LEN, unit.len() - 1] {
                let mut broken = unit.to_vec();
                broken[position] ^= 1;
                assert_eq!(ledger.check(&broken), None, "byte {position}");
            }
            assert_eq!(ledger.check(&unit[..unit.len() - 1]), None);
            assert_eq!(ledger.check(&unit[..10]), None);
            assert_eq!(ledger.check(&ledger.unit(1, 8)), None, "this one was never sent");
        }
    }

    #[test]
    fn windows_are_half_open() {
        let ledger = Ledger::new(Media::Video, payloads());
        (0..61).for_each(|time| {
            ledger.append(time);
        });
        assert_eq!(ledger.sent_between(0, 60), [0, 59, 1]);
        assert_eq!(ledger.sent_between(1, 61), [0, 59, 1]);
        assert_eq!(ledger.sent_between(100, 200), [0, 0, 0]);
    }
}
