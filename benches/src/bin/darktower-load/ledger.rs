//! What a publisher has sent on one stream: the truth that every subscriber is compared with.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use darktower_protocol::{Flags, FrameType, HEADER_LEN, Header, HeaderFields, StreamId};

use crate::workload::Frame;

/// One unit that was sent; its position in the ledger is its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Microseconds since the Unix epoch, just before the unit was given to QUIC.
    pub(crate) timestamp: u64,
    pub(crate) frame: Frame,
}

/// The units of one stream. The publisher appends, subscribers look up.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) stream_id: StreamId,
    pub(crate) is_audio: bool,
    buffer: Bytes,
    sent: Mutex<Vec<Sent>>,
}

impl Ledger {
    pub(crate) fn new(stream_id: StreamId, is_audio: bool, buffer: Bytes) -> Self {
        Self { stream_id, is_audio, buffer, sent: Mutex::default() }
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        // A panic between two pushes leaves a sound vector.
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a unit that is about to be sent, and returns its sequence number. Timestamps must not decrease.
    pub(crate) fn append(&self, timestamp: u64, frame: Frame) -> u64 {
        let mut sent = self.sent();
        sent.push(Sent { timestamp, frame });
        sent.len() as u64 - 1
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<Sent> {
        self.sent().get(usize::try_from(sequence).ok()?).copied()
    }

    /// The payload of a frame of this stream.
    pub(crate) fn payload(&self, frame: Frame) -> Bytes {
        let start = frame.offset as usize;
        self.buffer.slice(start..start + frame.len as usize)
    }

    /// Part of a payload, for comparing without reference counting; `None` if it goes beyond the buffer.
    pub(crate) fn payload_part(&self, frame: Frame, from: usize, len: usize) -> Option<&[u8]> {
        let start = frame.offset as usize + from;
        self.buffer.get(start..start + len)
    }

    /// The header that the unit travels with.
    pub(crate) fn header(&self, sequence: u64, sent: &Sent) -> [u8; HEADER_LEN] {
        let fields = HeaderFields {
            frame_type: sent.frame.frame_type,
            stream_id: self.stream_id,
            timestamp: sent.timestamp,
            sequence,
            flags: Flags::END_OF_FRAME,
        };
        *Header::new(&fields, sent.frame.len).as_bytes()
    }

    /// Sequence numbers of the units sent in `[from, to)`, microseconds since the epoch.
    pub(crate) fn sent_between(&self, from: u64, to: u64) -> Range<u64> {
        let sent = self.sent();
        let before = |time| sent.partition_point(|unit| unit.timestamp < time) as u64;
        let start = before(from);
        start..before(to).max(start)
    }

    /// The first key frame after `sequence`, or what will be sent next.
    pub(crate) fn next_key_frame(&self, sequence: u64) -> u64 {
        let sent = self.sent();
        let after = sequence as usize + 1;
        let found = sent
            .iter()
            .skip(after)
            .position(|unit| unit.frame.frame_type == FrameType::VideoKey)
            .map(|position| after + position);
        found.unwrap_or(sent.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_half_open_and_key_frames_are_found() {
        let ledger = Ledger::new(StreamId::from_bytes([1; 16]), false, Bytes::from_static(&[0; 64]));
        for (time, key) in [(10, true), (20, false), (30, false), (40, true)] {
            let frame_type = if key { FrameType::VideoKey } else { FrameType::VideoDelta };
            ledger.append(time, Frame { frame_type, offset: 0, len: 8 });
        }
        assert_eq!(ledger.sent_between(20, 40), 1..3);
        assert_eq!(ledger.sent_between(0, 100), 0..4);
        assert_eq!(ledger.sent_between(50, 60), 4..4);
        assert_eq!(ledger.next_key_frame(0), 3);
        assert_eq!(ledger.next_key_frame(3), 4);
    }
}
