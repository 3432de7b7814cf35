//! The units of one subscription between the network and the reader.
//!
//! Units of several QUIC streams go in, in order they come out. Memory is bounded: the network
//! side never waits for the reader, so that one slow reader stops nobody else. When
//! [`MAX_READY_BYTES`] or [`MAX_READY_UNITS`] are waiting to be read, the oldest group is thrown
//! away whole, up to the next key frame (of audio, the older half); if there is no newer group
//! yet, everything up to the next key frame to come, which is then asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::limits::MAX_AUDIO_PAYLOAD;
use darktower_protocol::sequencer::{Sequencer, SequencerLimits};
use darktower_protocol::{FrameType, StreamId, Unit};

use super::statistics::{Counters, Direction, StreamStatistics};
use crate::error::Error;

/// Bytes that wait for the reader: about ten seconds of good video.
pub(crate) const MAX_READY_BYTES: usize = 8 * 1024 * 1024;
/// Units that wait for the reader: over a minute of audio.
pub(crate) const MAX_READY_UNITS: usize = 4096;

/// How long a missing audio datagram holds the next ones back: reordering inside a network is a
/// matter of milliseconds, and audio that is later than this is of little use.
const AUDIO_HOLD: Duration = Duration::from_millis(40);

/// After the server said that a stream has ended, how long nothing may arrive before the end is
/// believed: signaling travels on another connection and can overtake media.
const END_GRACE: Duration = Duration::from_millis(300);
/// How long the end of a stream may take altogether.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Units up to this size are copied out of their receive buffer, of which they are a small part,
/// when more than [`COPY_BEYOND`] wait: else a slow reader of audio would keep every packet.
const COPY_BELOW: usize = 4096;
const COPY_BEYOND: usize = 32;

/// Names a QUIC stream that units came on, of whichever connection.
pub(crate) type Source = u64;
/// Datagrams are numbered from here, QUIC streams from 0.
const FIRST_DATAGRAM: Source = 1 << 63;

/// What the reader gets.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next unit in order.
    Unit(Unit),
    /// Nothing now; more when something arrives, or at the given time.
    Wait(Option<Instant>),
    /// The stream has ended.
    End,
    /// The stream has failed.
    Failed(Error),
}

#[derive(Debug)]
enum Ending {
    /// The server said so: what is on its way may still come.
    Announced(Instant),
    /// Nothing comes any more.
    Certain,
    Failed(Error),
}

#[derive(Debug)]
struct Layer {
    sequencer: Sequencer<Source>,
    counters: Counters,
    open_sources: usize,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Inbox {
    stream_id: StreamId,
    is_audio: bool,
    layers: BTreeMap<StreamId, Layer>,
    current: StreamId,
    /// The layer of the unit that was queued last.
    latest: Option<StreamId>,
    ready: VecDeque<Unit>,
    ready_bytes: usize,
    waits_for_key_frame: bool,
    next_datagram: Source,
    last_arrival: Option<Instant>,
    ending: Option<Ending>,
}

impl Inbox {
    pub(crate) fn new(stream_id: StreamId, is_audio: bool) -> Self {
        Self {
            stream_id,
            is_audio,
            layers: BTreeMap::new(),
            current: stream_id,
            latest: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            waits_for_key_frame: false,
            next_datagram: FIRST_DATAGRAM,
            last_arrival: None,
            ending: None,
        }
    }

    /// The stream as applications name it.
    pub(crate) fn stream_id(&self) -> StreamId {
        self.stream_id
    }

    /// The wire stream id that is arriving.
    pub(crate) fn wire_stream_id(&self) -> StreamId {
        self.current
    }

    /// The server says which layer will arrive.
    pub(crate) fn expect_layer(&mut self, wire_stream_id: StreamId) {
        self.current = wire_stream_id;
    }

    /// A QUIC stream with units has begun.
    pub(crate) fn open(&mut self, source: Source, preamble: &GroupPreamble, now: Instant) {
        let is_left = self.latest.is_some_and(|latest| latest != preamble.stream_id);
        let layer = self.layer(preamble.stream_id, now);
        if is_left {
            // Whoever decodes has been elsewhere meanwhile, and needs the group from its key frame on.
            layer.sequencer.rewind(preamble);
        }
        layer.sequencer.open(source, preamble);
        layer.open_sources += 1;
    }

    /// A QUIC stream with units has ended, in whichever way.
    pub(crate) fn close(&mut self, wire_stream_id: StreamId, source: Source, now: Instant) {
        let layer = self.layer(wire_stream_id, now);
        layer.sequencer.close(&source);
        layer.open_sources = layer.open_sources.saturating_sub(1);
        self.advance(now);
    }

    /// A unit has come on an open QUIC stream. `now_us` is the time on the clock of timestamps.
    /// Whether a key frame should be asked for.
    pub(crate) fn push(&mut self, source: Source, unit: Unit, now: Instant, now_us: u64) -> bool {
        self.last_arrival = Some(now);
        let layer = self.layer(unit.header().stream_id(), now);
        layer.counters.arrived(unit.header(), now, now_us);
        layer.sequencer.push(&source, unit, now);
        self.advance(now)
    }

    /// A unit has come in a datagram; they can overtake each other.
    pub(crate) fn push_datagram(&mut self, unit: Unit, now: Instant, now_us: u64) -> bool {
        let (stream_id, sequence) = (unit.header().stream_id(), unit.header().sequence());
        let source = self.next_datagram;
        self.next_datagram = self.next_datagram.wrapping_add(1).max(FIRST_DATAGRAM);
        let preamble = GroupPreamble {
            kind: GroupKind::Audio,
            continuation: false,
            discontinuity: false,
            stream_id,
            group: sequence,
            first_sequence: sequence,
        };
        self.open(source, &preamble, now);
        let ask = self.push(source, unit, now, now_us);
        self.close(stream_id, source, now);
        ask
    }

    /// A unit has come on the one QUIC stream of a baseline subscription.
    pub(crate) fn push_in_order(&mut self, unit: Unit, now: Instant, now_us: u64) -> bool {
        self.last_arrival = Some(now);
        let layer = self.layer(unit.header().stream_id(), now);
        layer.counters.arrived(unit.header(), now, now_us);
        layer.counters.in_order(unit.header(), now);
        self.queue(unit)
    }

    /// The server says that the stream has ended.
    pub(crate) fn announce_end(&mut self, now: Instant) {
        self.end(Ending::Announced(now));
    }

    /// Nothing comes any more.
    pub(crate) fn finish(&mut self) {
        self.end(Ending::Certain);
    }

    /// Nothing comes any more, for a bad reason.
    pub(crate) fn fail(&mut self, error: Error) {
        self.end(Ending::Failed(error));
    }

    /// Whether what arrives is thrown away.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.ending, Some(Ending::Certain | Ending::Failed(_)))
    }

    /// What there is to read. What had arrived before the end comes first.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        self.advance(now);
        if let Some(unit) = self.ready.pop_front() {
            self.ready_bytes -= unit.header().wire_len();
            self.current = unit.header().stream_id();
            return Next::Unit(unit);
        }
        let deadline = self.layers.values().filter_map(|layer| layer.sequencer.next_deadline()).min();
        let sources_open = self.layers.values().any(|layer| layer.open_sources > 0);
        match &self.ending {
            None => Next::Wait(deadline),
            Some(Ending::Failed(error)) => Next::Failed(error.clone()),
            Some(Ending::Certain) if deadline.is_none() => Next::End,
            Some(Ending::Certain) => Next::Wait(deadline),
            Some(Ending::Announced(since)) => {
                let limit = *since + END_LIMIT;
                let quiet = self.last_arrival.map_or(*since, |last| last.max(*since)) + END_GRACE;
                let end = if sources_open { limit } else { quiet.min(limit) };
                if now < end {
                    return Next::Wait(Some(deadline.map_or(end, |deadline| deadline.min(end))));
                }
                self.finish();
                Next::End
            }
        }
    }

    /// Snapshots of all layers that have sent something.
    pub(crate) fn statistics(&self, now: Instant) -> impl Iterator<Item = StreamStatistics> {
        self.layers.values().map(move |layer| layer.counters.snapshot(now))
    }

    /// Whether the stream has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.is_some()
    }

    /// The reader is gone: nothing that waits is needed any more, although the statistics are.
    pub(crate) fn abandon(&mut self) {
        self.finish();
        self.ready = VecDeque::new();
        self.ready_bytes = 0;
        for layer in self.layers.values_mut() {
            layer.sequencer = Sequencer::new(SequencerLimits::default());
        }
    }

    fn end(&mut self, ending: Ending) {
        if !self.is_closed() {
            self.ending = Some(ending);
        }
        self.layers.values_mut().for_each(|layer| layer.counters.end());
    }

    fn layer(&mut self, wire_stream_id: StreamId, now: Instant) -> &mut Layer {
        let (stream_id, is_audio) = (self.stream_id, self.is_audio);
        self.layers.entry(wire_stream_id).or_insert_with(|| {
            let limits = if is_audio {
                // A second of the largest units.
                SequencerLimits { max_hold: AUDIO_HOLD, max_held_bytes: 50 * MAX_AUDIO_PAYLOAD as usize }
            } else {
                SequencerLimits::default()
            };
            Layer {
                sequencer: Sequencer::new(limits),
                counters: Counters::new(Direction::Incoming, stream_id, wire_stream_id, now),
                open_sources: 0,
            }
        })
    }

    /// Moves what is in order to the reader's queue.
    fn advance(&mut self, now: Instant) -> bool {
        let mut ask = false;
        while let Some(unit) = self.pop_in_order(now) {
            ask |= self.queue(unit);
        }
        ask
    }

    fn pop_in_order(&mut self, now: Instant) -> Option<Unit> {
        self.layers.values_mut().find_map(|layer| {
            let unit = layer.sequencer.pop(now)?;
            layer.counters.in_order(unit.header(), now);
            Some(unit)
        })
    }

    /// Queues a unit for the reader; whether a key frame should be asked for.
    fn queue(&mut self, unit: Unit) -> bool {
        if self.is_closed() {
            return false;
        }
        self.latest = Some(unit.header().stream_id());
        if self.waits_for_key_frame {
            if unit.header().frame_type() != FrameType::VideoKey {
                self.count_overflow(&unit);
                return false;
            }
            self.waits_for_key_frame = false;
        }
        let len = unit.header().wire_len();
        let unit = if self.ready.len() > COPY_BEYOND && len <= COPY_BELOW { copied(&unit) } else { unit };
        self.ready_bytes += len;
        self.ready.push_back(unit);
        if self.ready_bytes <= MAX_READY_BYTES && self.ready.len() <= MAX_READY_UNITS {
            return false;
        }
        self.overflow()
    }

    /// Throws the oldest away; whether a key frame should be asked for.
    fn overflow(&mut self) -> bool {
        let starts_group = |i: &usize| match (self.ready.get(i - 1), self.ready.get(*i)) {
            (Some(before), Some(unit)) => {
                unit.header().frame_type() == FrameType::VideoKey
                    && before.header().timestamp() != unit.header().timestamp()
            }
            _ => false,
        };
        let dropped = if self.is_audio {
            self.ready.len().div_ceil(2)
        } else {
            (1..self.ready.len()).find(starts_group).unwrap_or(self.ready.len())
        };
        let dropped: Vec<Unit> = self.ready.drain(..dropped).collect();
        for unit in &dropped {
            self.ready_bytes -= unit.header().wire_len();
            self.count_overflow(unit);
        }
        self.waits_for_key_frame = !self.is_audio && self.ready.is_empty();
        self.waits_for_key_frame
    }

    fn count_overflow(&mut self, unit: &Unit) {
        if let Some(layer) = self.layers.get_mut(&unit.header().stream_id()) {
            layer.counters.overflowed(1);
        }
    }
}

fn copied(unit: &Unit) -> Unit {
    let mut wire = BytesMut::with_capacity(unit.header().wire_len());
    unit.chunks().iter().for_each(|chunk: &Bytes| wire.extend_from_slice(chunk));
    Unit::from_wire(wire.freeze()).expect("a copy of a unit is a unit")
}

#[cfg(test)]
mod tests {
    use darktower_protocol::{Flags, HeaderFields};
    use proptest::prelude::*;

    use super::*;

    fn id() -> StreamId {
        StreamId::from_bytes([3; 16])
    }

    fn unit(frame_type: FrameType, sequence: u64, len: usize) -> Unit {
        let fields = HeaderFields {
            frame_type,
            stream_id: id(),
            timestamp: sequence,
            sequence,
            flags: Flags::END_OF_FRAME,
        };
        Unit::new(&fields, vec![0; len].into())
    }

    fn preamble(group: u64) -> GroupPreamble {
        GroupPreamble {
            kind: GroupKind::Video,
            continuation: false,
            discontinuity: false,
            stream_id: id(),
            group,
            first_sequence: group,
        }
    }

    fn read(inbox: &mut Inbox, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| match inbox.next(now) {
            Next::Unit(unit) => Some(unit.header().sequence()),
            _ => None,
        })
        .collect()
    }

    fn snapshot(inbox: &Inbox, now: Instant) -> StreamStatistics {
        inbox.statistics(now).next().expect("one layer")
    }

    #[test]
    fn groups_come_out_in_order() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        inbox.open(3, &preamble(0), now);
        inbox.push(3, unit(FrameType::VideoKey, 0, 10), now, 0);
        inbox.open(7, &preamble(2), now);
        inbox.push(7, unit(FrameType::VideoKey, 2, 10), now, 0);
        assert_eq!(read(&mut inbox, now), [0]);
        inbox.push(3, unit(FrameType::VideoDelta, 1, 10), now, 0);
        assert_eq!(read(&mut inbox, now), [1, 2]);
        assert_eq!(inbox.wire_stream_id(), id());
    }

    #[test]
    fn who_comes_back_to_a_layer_gets_its_group_from_the_key_frame_on() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        let low = StreamId::from_bytes([4; 16]);
        let of_low = |frame_type, sequence| {
            let flags = Flags::END_OF_FRAME;
            let fields = HeaderFields { frame_type, stream_id: low, timestamp: sequence, sequence, flags };
            Unit::new(&fields, vec![0; 10].into())
        };
        let high = |inbox: &mut Inbox, source, sequences: std::ops::Range<u64>| {
            inbox.open(source, &preamble(0), now);
            for sequence in sequences {
                let is_key = sequence == 0;
                let frame_type = if is_key { FrameType::VideoKey } else { FrameType::VideoDelta };
                inbox.push(source, unit(frame_type, sequence, 10), now, 0);
            }
            inbox.close(id(), source, now);
        };
        high(&mut inbox, 3, 0..3);
        assert_eq!(read(&mut inbox, now), [0, 1, 2]);
        // Not a change of layer: nothing comes twice.
        high(&mut inbox, 7, 0..4);
        assert_eq!(read(&mut inbox, now), [3]);
        inbox.open(11, &GroupPreamble { stream_id: low, ..preamble(9) }, now);
        inbox.push(11, of_low(FrameType::VideoKey, 9), now, 0);
        inbox.close(low, 11, now);
        assert_eq!(read(&mut inbox, now), [9]);
        high(&mut inbox, 15, 0..5);
        assert_eq!(read(&mut inbox, now), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn datagrams_may_overtake_each_other_for_a_while() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), true);
        for sequence in [5, 7, 6, 9] {
            inbox.push_datagram(unit(FrameType::Audio, sequence, 10), now, 0);
        }
        assert_eq!(read(&mut inbox, now), [5, 6, 7]);
        let Next::Wait(Some(deadline)) = inbox.next(now) else { panic!("9 waits for 8") };
        assert_eq!(deadline, now + AUDIO_HOLD);
        assert_eq!(read(&mut inbox, deadline), [9]);
        inbox.push_datagram(unit(FrameType::Audio, 8, 10), deadline, 0);
        assert!(read(&mut inbox, deadline).is_empty(), "too late");
        let snapshot = snapshot(&inbox, now);
        assert_eq!((snapshot.units, snapshot.frames, snapshot.lost_units), (4, 4, 1));
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_group_whole() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        let mut sequence = 0;
        for _ in 0..12 {
            for i in 0..10 {
                let frame_type = if i == 0 { FrameType::VideoKey } else { FrameType::VideoDelta };
                assert!(!inbox.push_in_order(unit(frame_type, sequence, 100_000), now, 0));
                sequence += 1;
            }
        }
        assert!(inbox.ready_bytes <= MAX_READY_BYTES);
        let read = read(&mut inbox, now);
        assert_eq!(read[0] % 10, 0, "starts with a key frame");
        assert!(read.is_sorted_by(|a, b| a + 1 == *b));
        assert_eq!(snapshot(&inbox, now).overflowed_units, read[0]);
    }

    #[test]
    fn one_endless_group_is_given_up_and_a_key_frame_asked_for() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        inbox.push_in_order(unit(FrameType::VideoKey, 0, 10), now, 0);
        let asked = (1..200)
            .filter(|sequence| inbox.push_in_order(unit(FrameType::VideoDelta, *sequence, 100_000), now, 0));
        assert_eq!(asked.count(), 1);
        assert!(read(&mut inbox, now).is_empty());
        inbox.push_in_order(unit(FrameType::VideoKey, 200, 10), now, 0);
        assert_eq!(read(&mut inbox, now), [200]);
    }

    #[test]
    fn a_slow_reader_of_audio_loses_the_older_half() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), true);
        let last = MAX_READY_UNITS as u64;
        for sequence in 0..=last {
            assert!(!inbox.push_datagram(unit(FrameType::Audio, sequence, 10), now, 0));
        }
        let read = read(&mut inbox, now);
        assert_eq!((read.len(), read.last()), (MAX_READY_UNITS / 2, Some(&last)));
    }

    #[test]
    fn the_end_waits_for_what_is_on_its_way() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        inbox.open(3, &preamble(0), now);
        inbox.announce_end(now);
        assert!(matches!(inbox.next(now + END_GRACE), Next::Wait(Some(_))), "a group is open");
        inbox.push(3, unit(FrameType::VideoKey, 0, 10), now + END_GRACE, 0);
        inbox.close(id(), 3, now + END_GRACE);
        assert_eq!(read(&mut inbox, now + END_GRACE), [0]);
        assert!(matches!(inbox.next(now + END_GRACE), Next::Wait(Some(_))));
        assert!(matches!(inbox.next(now + 2 * END_GRACE), Next::End));
        inbox.push_in_order(unit(FrameType::VideoKey, 1, 10), now, 0);
        assert!(matches!(inbox.next(now), Next::End), "the end is the end");
    }

    #[test]
    fn an_open_group_cannot_put_the_end_off_for_ever() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        inbox.open(3, &preamble(0), now);
        inbox.announce_end(now);
        assert!(matches!(inbox.next(now + END_LIMIT), Next::End));
    }

    #[test]
    fn an_abandoned_inbox_keeps_its_statistics_and_nothing_else() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), false);
        inbox.open(3, &preamble(0), now);
        inbox.push(3, unit(FrameType::VideoKey, 0, 10), now, 0);
        inbox.abandon();
        assert_eq!((inbox.ready.len(), inbox.ready_bytes), (0, 0));
        assert!(matches!(inbox.next(now), Next::End));
        assert_eq!(inbox.statistics(now).count(), 1);
    }

    #[test]
    fn what_arrived_before_a_failure_can_be_read() {
        let now = Instant::now();
        let mut inbox = Inbox::new(id(), true);
        inbox.push_in_order(unit(FrameType::Audio, 0, 10), now, 0);
        inbox.fail(Error::Timeout("test"));
        assert_eq!(read(&mut inbox, now), [0]);
        assert!(matches!(inbox.next(now), Next::Failed(Error::Timeout("test"))));
    }

    proptest! {
        /// Audio datagrams in any order, some twice, some lost: the reader gets increasing
        /// sequence numbers, and units + lost covers everything between first and last.
        #[test]
        fn whatever_the_network_does_sequences_increase(
            arrivals in proptest::collection::vec((0u64..60, 0u64..30), 1..200),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut inbox = Inbox::new(id(), true);
            let mut sequences = Vec::new();
            for (sequence, pause_ms) in arrivals {
                now += Duration::from_millis(pause_ms);
                inbox.push_datagram(unit(FrameType::Audio, sequence, 10), now, 0);
                sequences.extend(read(&mut inbox, now));
            }
            sequences.extend(read(&mut inbox, now + AUDIO_HOLD));
            prop_assert!(sequences.is_sorted_by(|a, b| a < b));
            let statistics = snapshot(&inbox, now);
            prop_assert_eq!(statistics.units, sequences.len() as u64);
            let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
            prop_assert_eq!(statistics.units + statistics.lost_units, last - first + 1);
        }
    }
}
