//! Units put together to frames.
//!
//! A frame is a run of units with consecutive sequence numbers and one timestamp, up to the one
//! that is marked as the end of the frame. When numbers are missing, it matters whether the next
//! unit starts a frame:
//!
//! * Video travels on QUIC streams, where only the sender leaves units out, and only whole
//!   frames: what follows a gap starts a frame.
//! * Audio in datagrams loses any unit: what follows a gap is a frame of its own if it also ends
//!   one and the stream has never split a frame. Otherwise units are skipped to the next end of a
//!   frame.

use bytes::{Bytes, BytesMut};
use darktower_protocol::{FrameType, Header, Unit};

/// Bytes of one frame; larger ones are dropped. Several units of the largest payload.
pub(crate) const MAX_FRAME: usize = 32 * 1024 * 1024;

/// A whole encoded audio or video frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Audio, video key or video delta.
    pub frame_type: FrameType,
    /// Capture time in microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// Sequence number of the frame's first unit.
    pub sequence: u64,
    /// No other frame needs this one.
    pub discardable: bool,
    /// As the encoder made it. A slice of what was received if the frame came in one piece.
    pub payload: Bytes,
}

/// What a unit is to its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The frame begins; `ends`: and is whole.
    First { ends: bool },
    /// The frame goes on; `ends`: and is whole.
    Next { ends: bool },
    /// Of a frame that misses a unit.
    Broken,
}

#[derive(Debug)]
struct Current {
    timestamp: u64,
    whole: bool,
}

/// Follows the units of one wire stream id, which must come in order, and counts.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    next: Option<u64>,
    current: Option<Current>,
    splits_frames: bool,
    /// Whole frames.
    pub(crate) frames: u64,
    /// Whole key frames.
    pub(crate) key_frames: u64,
    /// Sequence numbers that were missing.
    pub(crate) lost_units: u64,
    /// Frames that missed a unit.
    pub(crate) dropped_frames: u64,
}

impl FrameTracker {
    /// Takes the next unit.
    pub(crate) fn track(&mut self, header: &Header) -> Part {
        let (sequence, timestamp) = (header.sequence(), header.timestamp());
        let ends = header.is_end_of_frame();
        let gap = self.next != Some(sequence);
        self.lost_units += self.next.map_or(0, |next| sequence.saturating_sub(next));
        self.next = Some(sequence.saturating_add(1));

        let (whole, first) = match self.current.take() {
            Some(current) if current.timestamp == timestamp => {
                if gap && current.whole {
                    self.dropped_frames += 1;
                }
                (current.whole && !gap, false)
            }
            unfinished => {
                if unfinished.is_some_and(|current| current.whole) {
                    self.dropped_frames += 1;
                }
                let starts =
                    !gap || sequence == 0 || header.frame_type().is_video() || (ends && !self.splits_frames);
                if !starts {
                    self.dropped_frames += 1;
                }
                (starts, true)
            }
        };
        if ends {
            self.frames += u64::from(whole);
            self.key_frames += u64::from(whole && header.frame_type() == FrameType::VideoKey);
        } else {
            self.splits_frames = true;
            self.current = Some(Current { timestamp, whole });
        }
        match (whole, first) {
            (false, _) => Part::Broken,
            (true, true) => Part::First { ends },
            (true, false) => Part::Next { ends },
        }
    }

    /// Gives the frame in progress up.
    fn abandon(&mut self) {
        if let Some(current) = &mut self.current {
            self.dropped_frames += u64::from(current.whole);
            current.whole = false;
        }
    }
}

/// Puts the units of one wire stream id, which must come in order, together.
#[derive(Debug, Default)]
pub(crate) struct FrameAssembler {
    tracker: FrameTracker,
    partial: Option<Frame>,
    pieces: Vec<Bytes>,
    len: usize,
}

impl FrameAssembler {
    /// Takes the next unit; the frame, if it is whole with it.
    pub(crate) fn push(&mut self, unit: &Unit) -> Option<Frame> {
        let header = unit.header();
        let ends = match self.tracker.track(header) {
            Part::Broken => {
                self.reset();
                return None;
            }
            Part::First { ends } => {
                self.reset();
                self.partial = Some(Frame {
                    frame_type: header.frame_type(),
                    timestamp_us: header.timestamp(),
                    sequence: header.sequence(),
                    discardable: header.is_discardable(),
                    payload: Bytes::new(),
                });
                ends
            }
            Part::Next { ends } => ends,
        };
        self.len += header.payload_len() as usize;
        if self.len > MAX_FRAME {
            self.tracker.abandon();
            self.reset();
            return None;
        }
        self.pieces.extend(unit.payload_chunks());
        if !ends {
            return None;
        }
        let mut frame = self.partial.take()?;
        frame.payload = self.joined();
        self.reset();
        Some(frame)
    }

    fn joined(&mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        self.pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
        joined.freeze()
    }

    fn reset(&mut self) {
        self.partial = None;
        self.pieces.clear();
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use darktower_protocol::{Flags, HeaderFields, StreamId};
    use proptest::prelude::*;

    use super::*;

    fn unit(frame_type: FrameType, timestamp: u64, sequence: u64, ends: bool, payload: &[u8]) -> Unit {
        let fields = HeaderFields {
            frame_type,
            stream_id: StreamId::from_bytes([1; 16]),
            timestamp,
            sequence,
            flags: Flags::default().with(Flags::END_OF_FRAME, ends),
        };
        Unit::new(&fields, Bytes::copy_from_slice(payload))
    }

    fn frames(units: &[Unit]) -> (Vec<Frame>, FrameTracker) {
        let mut assembler = FrameAssembler::default();
        let frames = units.iter().filter_map(|unit| assembler.push(unit)).collect();
        (frames, assembler.tracker)
    }

    use FrameType::{Audio, VideoDelta, VideoKey};

    #[test]
    fn one_unit_frames_share_the_received_buffer() {
        let key = unit(VideoKey, 5, 0, true, b"key");
        let (frames, tracker) = frames(std::slice::from_ref(&key));
        assert_eq!(frames[0].payload.as_ptr(), key.payload().as_ptr());
        assert_eq!((tracker.frames, tracker.key_frames, tracker.lost_units), (1, 1, 0));
    }

    #[test]
    fn split_frames_are_joined() {
        let (frames, tracker) = frames(&[
            unit(VideoKey, 5, 0, false, b"k"),
            unit(VideoKey, 5, 1, false, b""),
            unit(VideoKey, 5, 2, true, b"ey"),
            unit(VideoDelta, 6, 3, true, b"delta"),
        ]);
        let payloads: Vec<_> = frames.iter().map(|frame| (frame.sequence, &frame.payload[..])).collect();
        assert_eq!(payloads, [(0, &b"key"[..]), (3, b"delta")]);
        assert_eq!((tracker.frames, tracker.dropped_frames), (2, 0));
    }

    #[test]
    fn a_missing_middle_drops_the_frame() {
        let (frames, tracker) = frames(&[
            unit(VideoKey, 5, 0, false, b"k"),
            unit(VideoKey, 5, 2, false, b"e"),
            unit(VideoKey, 5, 3, true, b"y"),
            unit(VideoDelta, 6, 4, true, b"delta"),
        ]);
        assert_eq!(frames.len(), 1);
        assert_eq!((tracker.frames, tracker.dropped_frames, tracker.lost_units), (1, 1, 1));
    }

    #[test]
    fn a_missing_tail_drops_the_frame_and_keeps_the_next_video_frame() {
        let (frames, tracker) =
            frames(&[unit(VideoDelta, 5, 7, false, b"a"), unit(VideoKey, 6, 9, true, b"b")]);
        assert_eq!(frames.len(), 1);
        assert_eq!((tracker.dropped_frames, tracker.lost_units), (1, 1));
    }

    #[test]
    fn skipped_video_frames_are_loss_but_not_damage() {
        let (frames, tracker) =
            frames(&[unit(VideoKey, 5, 0, true, b"a"), unit(VideoDelta, 9, 4, true, b"b")]);
        assert_eq!(frames.len(), 2);
        assert_eq!((tracker.dropped_frames, tracker.lost_units), (0, 3));
    }

    #[test]
    fn lost_audio_datagrams_leave_the_others() {
        let (frames, tracker) = frames(&[unit(Audio, 1, 10, true, b"a"), unit(Audio, 3, 12, true, b"c")]);
        assert_eq!(frames.len(), 2);
        assert_eq!((tracker.dropped_frames, tracker.lost_units), (0, 1));
    }

    #[test]
    fn after_a_gap_split_audio_waits_for_a_certain_start() {
        let (frames, tracker) = frames(&[
            unit(Audio, 1, 0, false, b"a"),
            unit(Audio, 1, 1, true, b"b"),
            // 2 is lost: 3 may be the second half of what 2 began.
            unit(Audio, 2, 3, true, b"d"),
            unit(Audio, 3, 4, false, b"e"),
            unit(Audio, 3, 5, true, b"f"),
        ]);
        let sequences: Vec<_> = frames.iter().map(|frame| frame.sequence).collect();
        assert_eq!(sequences, [0, 4]);
        assert_eq!((tracker.dropped_frames, tracker.lost_units), (1, 1));
    }

    #[test]
    fn an_endless_frame_is_given_up() {
        let mut assembler = FrameAssembler::default();
        let big = vec![0; 4 * 1024 * 1024];
        for sequence in 0..20 {
            assert_eq!(assembler.push(&unit(VideoKey, 1, sequence, false, &big)), None);
            assert!(assembler.len <= MAX_FRAME);
        }
        assert_eq!(assembler.push(&unit(VideoKey, 1, 20, true, b"")), None);
        assert_eq!(assembler.tracker.dropped_frames, 1);
        assert!(assembler.push(&unit(VideoDelta, 2, 21, true, b"x")).is_some());
    }

    proptest! {
        /// Frames split into units, of which some are lost: every video frame that comes out is
        /// exactly one that went in, and every frame that lost nothing comes out.
        #[test]
        fn video_frames_come_out_whole_or_not_at_all(
            frames in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 1..5), 1..40),
        ) {
            let mut sequence = 0;
            let mut kept = Vec::new();
            let mut whole = Vec::new();
            for (timestamp, parts) in frames.iter().enumerate() {
                let start = sequence;
                let mut payload = Vec::new();
                // The server leaves out whole frames, or (by a reset) their tails, never heads.
                let arrived = parts.iter().take_while(|arrives| **arrives).count();
                for (i, _) in parts.iter().enumerate() {
                    let bytes = [timestamp as u8, i as u8];
                    payload.extend(bytes);
                    if i < arrived {
                        kept.push(unit(VideoDelta, timestamp as u64, sequence, i + 1 == parts.len(), &bytes));
                    }
                    sequence += 1;
                }
                if arrived == parts.len() {
                    whole.push((start, payload));
                }
            }
            let mut assembler = FrameAssembler::default();
            let out: Vec<_> = kept
                .iter()
                .filter_map(|unit| assembler.push(unit))
                .map(|frame| (frame.sequence, frame.payload.to_vec()))
                .collect();
            prop_assert_eq!(assembler.tracker.frames as usize, out.len());
            prop_assert_eq!(out, whole);
        }

        /// Whatever comes, the assembler stays bounded and never panics.
        #[test]
        fn anything_goes(units in proptest::collection::vec((0u8..3, 0u64..4, 0u64..12, any::<bool>()), 0..60)) {
            let mut assembler = FrameAssembler::default();
            for (frame_type, timestamp, sequence, ends) in units {
                let unit = unit(FrameType::from_byte(frame_type), timestamp, sequence, ends, b"xy");
                if let Some(frame) = assembler.push(&unit) {
                    prop_assert!(ends);
                    prop_assert_eq!(frame.timestamp_us, timestamp);
                }
            }
        }
    }
}
