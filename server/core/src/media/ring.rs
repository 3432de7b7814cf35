//! The recent units of one stream, shared by all its subscribers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use darktower_protocol::{FrameType, Header, Unit};

/// Bounds of what a [`StreamRing`] keeps.
#[derive(Debug, Clone, Copy)]
pub struct RingLimits {
    /// Bytes of all units together, with what keeping them costs. A group larger than this is not kept from its start, so a
    /// late joiner waits for the next key frame.
    pub max_bytes: usize,
    /// How long units of groups before the current one (or of audio) are kept, for subscribers
    /// that lag behind.
    pub max_age: Duration,
}

impl Default for RingLimits {
    fn default() -> Self {
        // 10 s of video at 3 Mbit/s; a subscriber is cut off after 300 ms in any case.
        Self { max_bytes: 4 * 1024 * 1024, max_age: Duration::from_secs(1) }
    }
}

/// One unit as it will be forwarded. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct RingUnit {
    /// Header and payload in one buffer, byte for byte as received.
    pub wire: Bytes,
    /// The same bytes behind one zero byte, in the same buffer: what a datagram of WebTransport session 0
    /// is made of. Audio only.
    pub web_datagram: Option<Bytes>,
    /// The first 46 bytes of `wire`.
    pub header: Header,
    /// When the unit was received.
    pub received_at: Instant,
    /// Sequence number of the first unit of the group; of itself for audio.
    pub group: u64,
    /// The first unit of a frame.
    pub starts_frame: bool,
    /// What lies between the unit before and this one did not come, or was left out for everybody.
    pub follows_gap: bool,
}

impl RingUnit {
    /// The first unit of a key frame.
    pub fn starts_group(&self) -> bool {
        self.starts_frame && self.header.frame_type() == FrameType::VideoKey
    }
}

/// A bounded window of the latest units of one stream.
///
/// Units are addressed by index: the n-th unit ever pushed has index n. Subscribers hold an
/// index as their cursor; nothing is registered here, so a slow one costs nothing.
///
/// A clone shares the units: each shard with subscribers has its own.
#[derive(Debug, Clone)]
pub struct StreamRing {
    limits: RingLimits,
    units: VecDeque<RingUnit>,
    first_index: u64,
    bytes: usize,
    /// Index of the first unit of each group that is still here whole, oldest first.
    group_starts: VecDeque<u64>,
    /// What came last, kept or not, and the group that it belongs to.
    last: Option<(Header, u64)>,
    /// Sequence number of the last unit that was kept.
    last_kept: Option<u64>,
    gate: Gate,
    ended: bool,
}

/// Whether units are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// None.
    Shut,
    /// From the next one on that needs none before it.
    Opening,
}

impl StreamRing {
    /// An empty ring.
    pub fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            units: VecDeque::new(),
            first_index: 0,
            bytes: 0,
            group_starts: VecDeque::new(),
            last: None,
            last_kept: None,
            gate: Gate::Open,
            ended: false,
        }
    }

    /// Takes the next unit, in the order of its sequence numbers, and returns it as it will be forwarded; `None` if it is
    /// left out: video that comes again or out of order, and what comes while the ring is [shut](Self::shut).
    ///
    /// The bytes are copied into a buffer of their own, once: slices of received packets would keep whole receive
    /// buffers alive.
    pub fn push(&mut self, unit: &Unit, now: Instant) -> Option<RingUnit> {
        let header = *unit.header();
        let is_video = header.frame_type().is_video();
        let stale = |(last, _): &(Header, u64)| is_video && header.sequence() <= last.sequence();
        if self.last.as_ref().is_some_and(stale) {
            return None;
        }
        // A publisher that was cut off inside a frame goes on with a new one.
        let continues = |(last, _): &(Header, u64)| {
            !last.is_end_of_frame()
                && last.timestamp() == header.timestamp()
                && last.frame_type() == header.frame_type()
                && last.sequence().checked_add(1) == Some(header.sequence())
        };
        let starts_frame = !self.last.as_ref().is_some_and(continues);
        let starts_group = starts_frame && header.frame_type() == FrameType::VideoKey;
        let group = match self.last {
            Some((_, group)) if is_video && !starts_group => group,
            _ => header.sequence(),
        };
        self.last = Some((header, group));
        match self.gate {
            Gate::Open => {}
            Gate::Opening if starts_group || !is_video => self.gate = Gate::Open,
            Gate::Shut | Gate::Opening => return None,
        }
        let kept = self.last_kept.replace(header.sequence());
        let follows_gap = kept.is_some_and(|kept| kept.checked_add(1) != Some(header.sequence()));
        let (wire, web_datagram) = copied(unit, !is_video);
        let unit =
            RingUnit { wire, web_datagram, header, received_at: now, group, starts_frame, follows_gap };
        self.append(unit.clone(), now);
        Some(unit)
    }

    /// The stream is not forwarded for now: forgets all units and leaves out what comes.
    pub fn shut(&mut self) {
        self.gate = Gate::Shut;
        self.clear();
    }

    /// The stream is forwarded again: video from its next key frame on.
    pub fn open(&mut self) {
        if self.gate == Gate::Shut {
            self.gate = Gate::Opening;
        }
    }

    /// Whether nothing is forwarded, whatever comes.
    pub fn is_shut(&self) -> bool {
        self.gate == Gate::Shut
    }

    /// Forgets all units. Who has not got them does not get them any more.
    pub fn clear(&mut self) {
        self.first_index = self.end_index();
        self.units.clear();
        self.group_starts.clear();
        self.bytes = 0;
    }

    /// Takes a unit that [`push`](Self::push) of another ring of the same stream has returned, and throws out what is
    /// over the bounds.
    pub fn append(&mut self, unit: RingUnit, now: Instant) {
        if unit.starts_group() {
            self.group_starts.push_back(self.end_index());
        }
        self.bytes += cost(&unit.wire);
        self.units.push_back(unit);
        self.evict(now);
    }

    /// Rate of the units that are here, bit/s; `None` if they are too few to tell, or none has come for a second. Looks at
    /// all of them.
    pub fn bit_rate(&self, now: Instant) -> Option<u64> {
        let (first, last) = (self.units.front()?, self.units.back()?);
        if self.units.len() < 10 || now.saturating_duration_since(last.received_at) > Duration::from_secs(1) {
            return None;
        }
        let micros = last.received_at.saturating_duration_since(first.received_at).as_micros();
        let bytes: usize = self.units.iter().map(|unit| unit.wire.len()).sum();
        u64::try_from((bytes as u128 * 8_000_000).checked_div(micros)?).ok()
    }

    /// The publisher has ended the stream: subscribers get what is left, then its end.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether [`end`](Self::end) was called.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The unit at `index`, if it is (still) here.
    pub fn get(&self, index: u64) -> Option<&RingUnit> {
        self.units.get(usize::try_from(index.checked_sub(self.first_index)?).ok()?)
    }

    /// Index of the oldest unit that is still here.
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// Index that the next unit will get.
    pub fn end_index(&self) -> u64 {
        self.first_index + self.units.len() as u64
    }

    /// Index of the first unit of the current group, if the whole group is still here.
    pub fn group_start(&self) -> Option<u64> {
        self.group_starts.back().copied()
    }

    /// Index of the first unit of the oldest group that begins at or after `index`.
    pub fn group_start_from(&self, index: u64) -> Option<u64> {
        self.group_starts.iter().copied().find(|start| *start >= index)
    }

    /// What all units that are here cost, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self, now: Instant) {
        while let Some(oldest) = self.units.front() {
            let in_current_group = self.group_start().is_some_and(|start| self.first_index >= start);
            let too_old = now.saturating_duration_since(oldest.received_at) > self.limits.max_age;
            let over_bytes = self.bytes > self.limits.max_bytes;
            if !(over_bytes || too_old && !in_current_group) || self.units.len() == 1 {
                return;
            }
            if self.group_starts.front() == Some(&self.first_index) {
                self.group_starts.pop_front();
            }
            self.bytes -= cost(&oldest.wire);
            self.first_index += 1;
            self.units.pop_front();
        }
    }
}

fn copied(unit: &Unit, for_datagrams: bool) -> (Bytes, Option<Bytes>) {
    let prefix = usize::from(for_datagrams);
    let mut buffer = BytesMut::with_capacity(prefix + unit.header().wire_len());
    buffer.resize(prefix, 0);
    unit.chunks().iter().for_each(|chunk| buffer.extend_from_slice(chunk));
    let buffer = buffer.freeze();
    match for_datagrams {
        true => (buffer.slice(prefix..), Some(buffer)),
        false => (buffer, None),
    }
}

/// Bytes that keeping a unit takes: itself, its entry, and what the allocator adds.
fn cost(wire: &Bytes) -> usize {
    wire.len() + size_of::<RingUnit>() + 64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use darktower_protocol::{Flags, HeaderFields, StreamId};

    pub(crate) fn unit(frame_type: FrameType, sequence: u64, flags: Flags, payload: usize) -> Unit {
        let stream_id = StreamId::from_bytes([9; 16]);
        let fields =
            HeaderFields { frame_type, stream_id, timestamp: sequence / 2 * 33_333, sequence, flags };
        Unit::new(&fields, Bytes::from(vec![sequence as u8; payload]))
    }

    fn whole(frame_type: FrameType, sequence: u64, payload: usize) -> Unit {
        unit(frame_type, sequence, Flags::END_OF_FRAME, payload)
    }

    fn starts_group(ring: &mut StreamRing, unit: &Unit, now: Instant) -> bool {
        ring.push(unit, now).is_some_and(|unit| unit.starts_group())
    }

    #[test]
    fn audio_comes_ready_for_both_kinds_of_datagram_in_one_buffer() {
        let mut ring = StreamRing::new(RingLimits::default());
        let audio = ring.push(&whole(FrameType::Audio, 0, 100), Instant::now()).expect("taken");
        let web = audio.web_datagram.expect("audio");
        assert_eq!(web.first(), Some(&0));
        assert_eq!(web.slice(1..), audio.wire);
        assert_eq!(web.as_ptr().wrapping_add(1), audio.wire.as_ptr(), "one buffer");
        let video = ring.push(&whole(FrameType::VideoKey, 1, 100), Instant::now()).expect("taken");
        assert!(video.web_datagram.is_none());
    }

    #[test]
    fn a_clone_goes_on_with_the_same_units() {
        let now = Instant::now();
        let mut ring = StreamRing::new(RingLimits::default());
        ring.push(&whole(FrameType::VideoKey, 0, 10), now);
        let mut replica = ring.clone();
        for n in 1..5 {
            let unit = ring.push(&whole(FrameType::VideoDelta, n, 10), now).expect("taken");
            replica.append(unit, now);
        }
        assert_eq!((replica.group_start(), replica.end_index()), (Some(0), 5));
        for index in 0..5 {
            let (one, other) = (ring.get(index).expect("kept"), replica.get(index).expect("kept"));
            assert_eq!(one.wire.as_ptr(), other.wire.as_ptr());
        }
    }

    #[test]
    fn current_group_is_kept_however_old() {
        let start = Instant::now();
        let mut ring = StreamRing::new(RingLimits::default());
        assert!(starts_group(&mut ring, &whole(FrameType::VideoKey, 0, 1000), start));
        for n in 1..300 {
            let now = start + Duration::from_millis(33 * n);
            assert!(!starts_group(&mut ring, &whole(FrameType::VideoDelta, n, 100), now));
        }
        assert_eq!(ring.group_start(), Some(0));
        assert_eq!(ring.end_index(), 300);
        assert_eq!(ring.get(299).map(|unit| unit.group), Some(0));

        let now = start + Duration::from_secs(20);
        assert!(starts_group(&mut ring, &whole(FrameType::VideoKey, 300, 1000), now));
        assert_eq!(ring.group_start(), Some(300));
        assert_eq!(ring.first_index(), 300, "the old group is over its age");
    }

    #[test]
    fn a_group_over_the_byte_bound_is_given_up() {
        let now = Instant::now();
        let mut ring = StreamRing::new(RingLimits { max_bytes: 10_000, ..RingLimits::default() });
        ring.push(&whole(FrameType::VideoKey, 0, 5000), now);
        for n in 1..20 {
            ring.push(&whole(FrameType::VideoDelta, n, 1000), now);
            assert!(ring.bytes() <= 10_000);
        }
        assert_eq!(ring.group_start(), None);
        assert!(ring.first_index() > 0);
        assert!(ring.get(0).is_none());
    }

    #[test]
    fn a_key_frame_in_several_units_starts_one_group() {
        let now = Instant::now();
        let mut ring = StreamRing::new(RingLimits::default());
        assert!(starts_group(&mut ring, &unit(FrameType::VideoKey, 4, Flags::default(), 10), now));
        assert!(!starts_group(&mut ring, &unit(FrameType::VideoKey, 5, Flags::END_OF_FRAME, 10), now));
        assert!(starts_group(&mut ring, &unit(FrameType::VideoKey, 6, Flags::END_OF_FRAME, 10), now));
        let groups: Vec<u64> = (0..3).filter_map(|i| ring.get(i)).map(|unit| unit.group).collect();
        assert_eq!(groups, [4, 4, 6]);
    }

    #[test]
    fn a_frame_that_was_cut_off_does_not_swallow_the_next_key_frame() {
        let now = Instant::now();
        let mut ring = StreamRing::new(RingLimits::default());
        ring.push(&unit(FrameType::VideoKey, 0, Flags::END_OF_FRAME, 10), now);
        ring.push(&unit(FrameType::VideoDelta, 1, Flags::default(), 10), now);
        assert!(starts_group(&mut ring, &unit(FrameType::VideoKey, 5, Flags::END_OF_FRAME, 10), now));
        assert_eq!(ring.group_start(), Some(2));
    }

    #[test]
    fn while_it_is_shut_nothing_is_kept_and_video_goes_on_at_a_key_frame() {
        let now = Instant::now();
        let mut ring = StreamRing::new(RingLimits::default());
        let push = |ring: &mut StreamRing, frame_type, sequence| {
            ring.push(&whole(frame_type, sequence, 10), now).map(|unit| (unit.group, unit.follows_gap))
        };
        assert_eq!(push(&mut ring, FrameType::VideoKey, 0), Some((0, false)));
        assert_eq!(push(&mut ring, FrameType::VideoDelta, 1), Some((0, false)));
        ring.shut();
        assert_eq!((ring.first_index(), ring.end_index(), ring.bytes()), (2, 2, 0));
        assert_eq!(ring.group_start(), None, "nobody is given what was there before");
        assert_eq!(push(&mut ring, FrameType::VideoKey, 2), None);
        ring.open();
        assert_eq!(push(&mut ring, FrameType::VideoDelta, 3), None, "its key frame was left out");
        assert_eq!(push(&mut ring, FrameType::VideoKey, 4), Some((4, true)));
        assert_eq!(push(&mut ring, FrameType::VideoDelta, 3), None, "out of order");
        assert_eq!(push(&mut ring, FrameType::VideoDelta, 5), Some((4, false)));
        assert_eq!((ring.group_start(), ring.end_index()), (Some(2), 4));

        let mut audio = StreamRing::new(RingLimits::default());
        audio.shut();
        assert_eq!(push(&mut audio, FrameType::Audio, 7), None);
        audio.open();
        assert_eq!(push(&mut audio, FrameType::Audio, 8), Some((8, false)));
    }

    #[test]
    fn audio_is_kept_for_a_while_only() {
        let start = Instant::now();
        let mut ring = StreamRing::new(RingLimits::default());
        for n in 0..500 {
            ring.push(&whole(FrameType::Audio, n, 100), start + Duration::from_millis(20 * n));
        }
        assert!(ring.end_index() - ring.first_index() <= 52);
    }
}
