//! What is left out, in which order, where a path carries less than its subscriber is to get (docs/protocol.md 6.6). The
//! path is a model with a byte rate, time is simulated, and every unit is accounted for at both ends.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use darktower_protocol::group::GroupDecoder;
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::{Code, Flags, Header, HeaderFields, Unit};
use proptest::prelude::*;

use super::super::ring::RingLimits;
use super::*;

/// What a packet holds; a datagram waits for at most one.
const PACKET: usize = 1200;
/// Bytes of streams that a connection takes before it is blocked.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of datagrams that it takes before it throws the oldest out.
const DATAGRAM_BUFFER: usize = 32 << 10;
/// More than everything together.
const PLENTY: u64 = 2_000_000;
/// A publisher is asked for at most one key frame in this time.
const KEY_FRAMES_APART: u64 = 500;

/// The connection of one subscriber, its path, and what has arrived at the other end.
#[derive(Debug, Default)]
struct Path {
    /// Bytes per second.
    rate: u64,
    /// What it may send now, in thousandths of a byte.
    credit: u64,
    now_ms: u64,
    datagrams: VecDeque<Bytes>,
    streams: BTreeMap<u64, Outgoing>,
    opened: u64,
    is_blocked: bool,
    /// Arrivals by stream: sequence number and time.
    arrived: BTreeMap<StreamId, BTreeMap<u64, u64>>,
}

#[derive(Debug)]
struct Outgoing {
    priority: i32,
    waiting: VecDeque<Bytes>,
    decoder: GroupDecoder,
    last: Option<u64>,
    is_finished: bool,
}

impl Path {
    fn buffered(&self) -> usize {
        self.streams.values().flat_map(|stream| &stream.waiting).map(Bytes::len).sum()
    }

    fn buffered_datagrams(&self) -> usize {
        self.datagrams.iter().map(Bytes::len).sum()
    }

    fn arrive(&mut self, header: &Header) {
        let arrived = self.arrived.entry(header.stream_id()).or_default();
        assert!(arrived.insert(header.sequence(), self.now_ms).is_none(), "a unit came twice");
    }

    /// Sends for a millisecond: datagrams first, then the stream of the highest priority that was opened first. Returns
    /// whether a blocked connection takes bytes again.
    fn run(&mut self) -> bool {
        self.now_ms += 1;
        // What is not used is lost, but for one packet.
        self.credit = (self.credit + self.rate).min(self.rate.max(PACKET as u64 * 1000));
        while let Some(datagram) = self.datagrams.front().cloned() {
            let cost = datagram.len() as u64 * 1000;
            if cost > self.credit {
                return false;
            }
            self.credit -= cost;
            self.datagrams.pop_front();
            self.arrive(Header::parse(&datagram).expect("a unit"));
        }
        loop {
            let waiting = self.streams.iter_mut().filter(|(_, stream)| !stream.waiting.is_empty());
            let Some((id, stream)) = waiting.max_by_key(|(id, stream)| (stream.priority, Reverse(**id)))
            else {
                break;
            };
            let (id, front) = (*id, stream.waiting.front_mut().expect("not empty"));
            let len = front.len().min(PACKET);
            if len as u64 * 1000 > self.credit {
                break;
            }
            self.credit -= len as u64 * 1000;
            let piece = front.split_to(len);
            if front.is_empty() {
                stream.waiting.pop_front();
            }
            self.deliver(id, piece);
        }
        self.streams.retain(|_, stream| !stream.is_finished || !stream.waiting.is_empty());
        self.is_blocked && self.buffered() < SEND_BUFFER && !std::mem::take(&mut self.is_blocked)
    }

    /// A group stream is decoded as it comes: it begins with its key frame and goes on in order.
    fn deliver(&mut self, id: u64, piece: Bytes) {
        let stream = self.streams.get_mut(&id).expect("open");
        stream.decoder.push(piece).expect("well formed");
        let mut headers = Vec::new();
        while let Some(unit) = stream.decoder.next_unit().expect("well formed") {
            let header = *unit.header();
            match stream.last.replace(header.sequence()) {
                None => {
                    assert_eq!(header.frame_type(), FrameType::VideoKey, "a group begins with its key frame");
                }
                Some(last) => assert!(last < header.sequence()),
            }
            headers.push(header);
        }
        headers.iter().for_each(|header| self.arrive(header));
    }
}

#[derive(Debug)]
struct Paced(Rc<RefCell<Path>>);

impl Connection for Paced {
    type Stream = u64;

    fn max_datagram_unit(&self) -> usize {
        PACKET
    }

    fn datagram_space(&self) -> usize {
        DATAGRAM_BUFFER - self.0.borrow().buffered_datagrams()
    }

    fn estimated_bit_rate(&self) -> Option<u64> {
        Some(self.0.borrow().rate * 8)
    }

    fn send_datagram(&mut self, unit: &RingUnit) {
        self.0.borrow_mut().datagrams.push_back(unit.wire.clone());
    }

    fn send_oversized(&mut self, _stream: StreamId, _unit: &RingUnit) {
        panic!("all audio fits into datagrams here");
    }

    fn open(&mut self) -> Opened<u64> {
        let mut path = self.0.borrow_mut();
        path.opened += 1;
        let id = path.opened;
        let stream = Outgoing {
            priority: 0,
            waiting: VecDeque::new(),
            decoder: GroupDecoder::new(UnitLimits::default()),
            last: None,
            is_finished: false,
        };
        path.streams.insert(id, stream);
        Opened::Stream(id, Bytes::new())
    }

    fn write(&mut self, stream: &mut u64, chunks: &mut [Bytes]) -> Written {
        let mut path = self.0.borrow_mut();
        let mut room = SEND_BUFFER - path.buffered();
        let waiting = &mut path.streams.get_mut(stream).expect("open").waiting;
        for chunk in chunks.iter_mut() {
            let takes = chunk.len().min(room);
            room -= takes;
            waiting.extend((takes > 0).then(|| chunk.slice(..takes)));
            chunk.advance(takes);
        }
        if chunks.iter().all(Bytes::is_empty) {
            return Written::All;
        }
        path.is_blocked = true;
        Written::Blocked
    }

    fn set_priority(&mut self, stream: &mut u64, priority: i32) {
        self.0.borrow_mut().streams.get_mut(stream).expect("open").priority = priority;
    }

    fn finish(&mut self, stream: u64) {
        self.0.borrow_mut().streams.get_mut(&stream).expect("open").is_finished = true;
    }

    fn reset(&mut self, stream: u64, _code: Code) {
        self.0.borrow_mut().streams.remove(&stream);
    }

    fn tune(&mut self) {}
}

/// What a publisher sends.
#[derive(Debug, Clone, Copy)]
struct Media {
    kind: MediaKind,
    /// Milliseconds from unit to unit.
    interval: u64,
    /// Bytes of payloads.
    key: usize,
    delta: usize,
    /// Frames from key frame to key frame.
    group: u64,
    /// Every so many delta frames one is discardable; 0: none.
    discardable: u64,
}

/// 10 kB/s.
const AUDIO: Media =
    Media { kind: MediaKind::Audio, interval: 20, key: 0, delta: 154, group: 1, discardable: 0 };

/// 125 kB/s with and 66 kB/s without what is discardable, a group every 2 s.
const VIDEO: Media =
    Media { kind: MediaKind::Video, interval: 33, key: 12_000, delta: 4_000, group: 60, discardable: 2 };

#[derive(Debug)]
struct Published {
    at_ms: u64,
    is_discardable: bool,
    is_key: bool,
}

#[derive(Debug)]
struct Source {
    slot: StreamSlot,
    id: StreamId,
    media: Media,
    ring: StreamRing,
    /// By sequence number.
    published: Vec<Published>,
    in_group: u64,
    key_wanted: bool,
    key_at_ms: u64,
}

/// One subscriber behind a path, and what it gets.
struct Simulation {
    start: Instant,
    ms: u64,
    fanout: Fanout<Paced>,
    subscriber: SubscriberSlot,
    path: Rc<RefCell<Path>>,
    sources: Vec<Source>,
    slow_reports: usize,
}

/// Of the units published in some time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fate {
    published: usize,
    arrived: usize,
    /// Missing, and needed by others.
    missing: usize,
    /// Missing, and needed by none.
    missing_discardable: usize,
    /// The longest way, milliseconds.
    slowest: u64,
}

impl Simulation {
    /// Subscribes to all of `media`.
    fn new(media: &[Media]) -> Self {
        let mut simulation = Self::idle(media);
        for slot in simulation.slots() {
            simulation.subscribe(&[slot]);
        }
        simulation
    }

    fn idle(media: &[Media]) -> Self {
        let start = Instant::now();
        let path = Rc::new(RefCell::new(Path { rate: PLENTY, ..Path::default() }));
        let mut fanout = Fanout::new(FanoutSettings::default());
        let subscriber = SubscriberSlot(0);
        fanout.add_subscriber(
            subscriber,
            Paced(Rc::clone(&path)),
            Features::GROUPS | Features::AUDIO_DATAGRAMS,
        );
        let mut sources = Vec::new();
        for (number, media) in media.iter().enumerate() {
            let (slot, id) = (StreamSlot(number as u32), StreamId::from_bytes([number as u8 + 1; 16]));
            let ring = StreamRing::new(RingLimits::default());
            fanout.add_stream(slot, id, media.kind, ring.clone());
            sources.push(Source {
                slot,
                id,
                media: *media,
                ring,
                published: Vec::new(),
                in_group: 0,
                key_wanted: false,
                key_at_ms: 0,
            });
        }
        Self { start, ms: 0, fanout, subscriber, path, sources, slow_reports: 0 }
    }

    fn slots(&self) -> Vec<StreamSlot> {
        self.sources.iter().map(|source| source.slot).collect()
    }

    fn subscribe(&mut self, layers: &[StreamSlot]) {
        let now = self.now();
        self.fanout.subscribe(self.subscriber, layers, now);
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn path(&self) -> Ref<'_, Path> {
        self.path.borrow()
    }

    fn path_mut(&self) -> RefMut<'_, Path> {
        self.path.borrow_mut()
    }

    fn totals(&self) -> Totals {
        *self.fanout.totals()
    }

    /// Lets `ms` milliseconds pass at a rate in bytes per second.
    fn run(&mut self, ms: u64, rate: u64) {
        self.path_mut().rate = rate;
        for _ in 0..ms {
            self.millisecond();
        }
    }

    fn millisecond(&mut self) {
        self.ms += 1;
        let now = self.now();
        for source in &mut self.sources {
            if let Some(unit) = source.unit(self.ms) {
                let unit = source.ring.push(&unit, now).expect("in order");
                self.fanout.push(source.slot, unit, now);
            }
        }
        if self.path_mut().run() {
            self.fanout.wake(self.subscriber);
        }
        let passes = (0..1000).position(|_| self.fanout.pass(now) != Pass::More);
        assert!(passes.is_some(), "the fan-out never comes to rest");
        self.fanout.take_handed_over(&mut Vec::new());
        let mut events = Vec::new();
        self.fanout.take_events(&mut events);
        for event in events {
            match event {
                Event::KeyFrameWanted(slot) => self.sources[slot.index()].key_wanted = true,
                Event::TooSlow(_) => self.slow_reports += 1,
                Event::SubscriptionOver { .. } => panic!("nothing ends here"),
            }
        }
        self.check_bounds();
    }

    /// What overload may cost, at any time.
    fn check_bounds(&self) {
        let path = self.path();
        assert!(path.buffered() <= SEND_BUFFER && path.buffered_datagrams() <= DATAGRAM_BUFFER);
        // As many as browsers allow.
        assert!(path.streams.len() <= 100, "{} streams are open", path.streams.len());
        assert!(self.fanout.backlog() <= 3, "one subscriber waits in each queue once at most");
        assert!(self.fanout.deadlines.len() <= 64, "{} deadlines", self.fanout.deadlines.len());
        for stream in self.fanout.streams.iter().flatten() {
            assert!(stream.ring.bytes() <= RingLimits::default().max_bytes);
        }
    }

    /// What became of what a source published in `[from, to)`.
    fn fate(&self, slot: StreamSlot, from: u64, to: u64) -> Fate {
        let source = &self.sources[slot.index()];
        let (path, nothing) = (self.path(), BTreeMap::new());
        let arrived = path.arrived.get(&source.id).unwrap_or(&nothing);
        let mut fate = Fate::default();
        for (sequence, unit) in source.published.iter().enumerate() {
            if !(from..to).contains(&unit.at_ms) {
                continue;
            }
            fate.published += 1;
            match arrived.get(&(sequence as u64)) {
                Some(at) => {
                    fate.arrived += 1;
                    fate.slowest = fate.slowest.max(at - unit.at_ms);
                }
                None if unit.is_discardable => fate.missing_discardable += 1,
                None => fate.missing += 1,
            }
        }
        fate
    }

    /// When the first group began that was published at `from` or later.
    fn next_group(&self, slot: StreamSlot, from: u64) -> u64 {
        let published = &self.sources[slot.index()].published;
        published.iter().find(|unit| unit.is_key && unit.at_ms >= from).expect("a key frame").at_ms
    }
}

impl Source {
    /// What it sends in this millisecond.
    fn unit(&mut self, ms: u64) -> Option<Unit> {
        if !ms.is_multiple_of(self.media.interval) {
            return None;
        }
        let answers = self.key_wanted && ms >= self.key_at_ms + KEY_FRAMES_APART;
        let is_video = self.media.kind == MediaKind::Video;
        let is_key = is_video && (self.published.is_empty() || self.in_group >= self.media.group || answers);
        if is_key {
            (self.in_group, self.key_wanted, self.key_at_ms) = (0, false, ms);
        }
        let is_discardable =
            !is_key && self.media.discardable > 0 && self.in_group.is_multiple_of(self.media.discardable);
        self.in_group += 1;
        let fields = HeaderFields {
            frame_type: match (is_video, is_key) {
                (false, _) => FrameType::Audio,
                (true, true) => FrameType::VideoKey,
                (true, false) => FrameType::VideoDelta,
            },
            stream_id: self.id,
            timestamp: ms * 1000,
            sequence: self.published.len() as u64,
            flags: Flags::END_OF_FRAME.with(Flags::DISCARDABLE, is_discardable),
        };
        self.published.push(Published { at_ms: ms, is_discardable, is_key });
        let payload = if is_key { self.media.key } else { self.media.delta };
        Some(Unit::new(&fields, vec![0; payload].into()))
    }
}

const A: StreamSlot = StreamSlot(0);
const V: StreamSlot = StreamSlot(1);

#[test]
fn discardable_frames_go_first_then_groups_and_audio_never() {
    let mut simulation = Simulation::new(&[AUDIO, VIDEO]);
    simulation.run(4_000, PLENTY);
    let before = simulation.totals();
    assert_eq!(before.left_out.dropped_discardable + before.left_out.dropped_group, 0);
    assert_eq!(before.dropped_groups, 0);

    // Room for everything but what is discardable.
    simulation.run(10_000, 105_000);
    let narrow = simulation.totals();
    assert!(narrow.left_out.dropped_discardable > 50, "{narrow:?}");
    assert_eq!(narrow.dropped_groups, 0, "{narrow:?}");

    // Room for less than that.
    simulation.run(10_000, 40_000);
    let tight = simulation.totals();
    assert!(tight.dropped_groups > 0, "{tight:?}");
    assert_eq!(tight.left_out.dropped_audio, 0);

    let over = simulation.ms;
    simulation.run(6_000, PLENTY);
    let end = simulation.ms - 1_000;
    // What is published last is caught by what comes then.
    let narrow = simulation.fate(V, 4_000, 13_000);
    assert_eq!(narrow.missing, 0, "{narrow:?}");
    let tight = simulation.fate(V, 14_000, over);
    assert!(tight.missing > 0 && tight.arrived > 0, "{tight:?}");

    // Audio did not notice anything of it.
    let audio = simulation.fate(A, 0, end);
    assert_eq!((audio.arrived, audio.missing), (audio.published, 0), "{audio:?}");
    assert!(audio.slowest <= 60, "{audio:?}");

    // Everything flows again from the next group on, which does not wait longer than a group lasts.
    let again = simulation.next_group(V, over);
    assert!(again <= over + 2_000, "{again}");
    let after = simulation.fate(V, again, end);
    assert_eq!(after.arrived, after.published, "{after:?}");
    assert_eq!(simulation.slow_reports, 0, "it has been slow, but has caught up every time");
}

/// Nothing judges the age of what a connection has taken: the end of a group must not wait behind the next one for as
/// long as the path is full.
#[test]
fn units_that_were_sent_arrive_while_the_path_stays_full() {
    let mut simulation = Simulation::new(&[AUDIO, VIDEO]);
    simulation.run(20_000, 105_000);
    let video = simulation.fate(V, 0, 18_000);
    assert_eq!(video.missing, 0, "{video:?}");
    // The send buffer's 600 ms, and what a group may be behind before.
    assert!(video.slowest <= 1_000, "{video:?}");
    assert!(
        simulation.path().streams.len() <= 2,
        "{} group streams are open",
        simulation.path().streams.len()
    );
}

#[test]
fn ten_minutes_of_overload_cost_no_more_than_one() {
    // The bounds are checked in every millisecond.
    let mut simulation = Simulation::new(&[AUDIO, VIDEO, VIDEO]);
    for second in 0..600 {
        // 25 to 55 kB/s, never the same for long.
        simulation.run(1_000, 25_000 + second * 7_919 % 30_000);
    }
    let audio = simulation.fate(A, 0, simulation.ms - 1_000);
    assert_eq!((audio.arrived, audio.missing), (audio.published, 0), "{audio:?}");
    assert!(audio.slowest <= 100, "{audio:?}");
    let totals = simulation.totals();
    assert!(totals.dropped_groups > 100, "{totals:?}");
    // Nothing was looked at again and again.
    assert!(totals.visits < 600_000, "{totals:?}");
}

#[test]
fn a_lower_layer_is_taken_after_discardable_frames_and_before_groups() {
    let high = Media { interval: 16, delta: 2_000, group: 120, ..VIDEO };
    let low = Media { key: 3_000, delta: 800, ..VIDEO };
    let mut simulation = Simulation::idle(&[AUDIO, high, low]);
    simulation.subscribe(&[A]);
    simulation.subscribe(&[V, StreamSlot(2)]);
    simulation.run(4_000, PLENTY);
    assert_eq!((simulation.totals().lowered, simulation.totals().left_out.dropped_discardable), (0, 0));
    let (mut discarded_at, mut lowered_at) = (None, None);
    simulation.path_mut().rate = 60_000;
    for _ in 0..10_000 {
        simulation.millisecond();
        let totals = simulation.totals();
        let now = Some(simulation.ms);
        discarded_at = discarded_at.or(now.filter(|_| totals.left_out.dropped_discardable > 0));
        lowered_at = lowered_at.or(now.filter(|_| totals.lowered > 0));
    }
    let totals = simulation.totals();
    assert!(discarded_at.is_some() && lowered_at.is_some(), "{totals:?}");
    assert!(discarded_at < lowered_at, "{discarded_at:?}, {lowered_at:?}");
    assert_eq!(totals.dropped_groups, 0, "{totals:?}");
    let audio = simulation.fate(A, 0, simulation.ms - 1_000);
    assert_eq!((audio.arrived, audio.missing), (audio.published, 0), "{audio:?}");
    // The lower layer fits.
    let settled = simulation.fate(StreamSlot(2), simulation.ms - 4_000, simulation.ms - 1_000);
    assert_eq!(settled.arrived, settled.published, "{settled:?}");
}

#[test]
fn the_prominent_video_is_the_last_to_go() {
    let mut simulation = Simulation::new(&[AUDIO, VIDEO, VIDEO, VIDEO]);
    let speaker = StreamSlot(3);
    simulation.fanout.set_prominent(speaker, true);
    simulation.run(4_000, PLENTY);
    // Room for one and a half.
    simulation.run(20_000, 190_000);
    let [audio, speaks, one, other] =
        [A, speaker, V, StreamSlot(2)].map(|slot| simulation.fate(slot, 6_000, simulation.ms - 2_000));
    assert_eq!(audio.arrived, audio.published, "{audio:?}");
    assert_eq!(speaks.missing, 0, "the speaker {speaks:?}, others {one:?}, {other:?}");
    assert!(one.missing + other.missing > 0, "the speaker {speaks:?}, others {one:?}, {other:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the path changes, as long as it carries the audio: audio is complete and on time, what arrives of video
    /// can be decoded, the bounds hold, and all of it comes back within a group of the end of the trouble.
    #[test]
    fn audio_is_complete_whatever_becomes_of_video(
        rates in proptest::collection::vec((30_000_u64..400_000, 100_u64..2_000), 1..12),
        videos in proptest::collection::vec((2_000_usize..50_000, 500_usize..6_000, 0_u64..4), 1..4),
    ) {
        let mut media = vec![AUDIO];
        let video = |(key, delta, discardable)| Media { key, delta, discardable, ..VIDEO };
        media.extend(videos.into_iter().map(video));
        let mut simulation = Simulation::new(&media);
        simulation.run(1_000, PLENTY);
        for (rate, ms) in rates {
            simulation.run(ms, rate);
        }
        let over = simulation.ms;
        simulation.run(6_000, PLENTY);
        let end = simulation.ms - 1_000;
        let audio = simulation.fate(A, 0, end);
        prop_assert_eq!((audio.arrived, audio.missing), (audio.published, 0), "{:?}", audio);
        prop_assert!(audio.slowest <= 80, "{:?}", audio);
        prop_assert_eq!(simulation.totals().left_out.dropped_audio, 0);
        for slot in simulation.slots().into_iter().skip(1) {
            // A group that was cut off just before is over by then.
            let again = simulation.next_group(slot, over + 300);
            prop_assert!(again <= over + 2_400, "{}", again - over);
            let after = simulation.fate(slot, again, end);
            prop_assert_eq!(after.arrived, after.published, "{:?}", after);
        }
    }
}
