//! Layers: a subscriber whose path does not carry the wanted one gets a lower one, and the wanted one again later.

use super::*;

const HIGH: StreamSlot = StreamSlot(0);
const LOW: StreamSlot = StreamSlot(1);
const NAME: u32 = 7;

/// Two layers of 30 frames per second; key frames only when asked for, as the publisher of a call does.
struct Simulcast {
    bench: Bench,
    slot: SubscriberSlot,
    /// A key frame comes with the next frame.
    wanted: BTreeMap<StreamSlot, bool>,
    /// Bytes per frame interval that the path takes.
    room: usize,
    asked: Vec<StreamSlot>,
    /// Layers whose publisher does not answer.
    silent: Option<StreamSlot>,
}

impl Simulcast {
    fn new() -> Self {
        let mut bench = Bench::new(at_once());
        for (slot, byte) in [(HIGH, 1), (LOW, 2)] {
            let id = StreamId::from_bytes([byte; 16]);
            bench.fanout.add_stream(slot, id, MediaKind::Video, StreamRing::new(RingLimits::default()));
        }
        let slot = bench.subscriber(NAME, &[]);
        bench.fanout.subscribe(slot, &[HIGH, LOW], bench.start);
        let wanted = BTreeMap::from([(HIGH, true), (LOW, true)]);
        Self { bench, slot, wanted, room: usize::MAX, asked: Vec::new(), silent: None }
    }

    /// One frame interval: both layers send a frame, the path takes what it takes.
    fn frame(&mut self) {
        self.bench.ms += 33;
        for (slot, payload) in [(HIGH, 10_000), (LOW, 1_000)] {
            if self.silent == Some(slot) {
                continue;
            }
            let is_key = std::mem::take(self.wanted.get_mut(&slot).expect("known"));
            let frame_type = if is_key { FrameType::VideoKey } else { FrameType::VideoDelta };
            self.bench.push_sized(slot, frame_type, END, payload * if is_key { 3 } else { 1 });
        }
        self.bench.world.borrow_mut().room.insert(NAME, self.room);
        self.bench.fanout.wake(self.slot);
        self.bench.run();
        for event in self.bench.events() {
            let Event::KeyFrameWanted(slot) = event else { panic!("{event:?}") };
            self.asked.push(slot);
            self.wanted.insert(slot, true);
        }
    }

    fn frames(&mut self, count: usize) {
        (0..count).for_each(|_| self.frame());
    }

    /// What the groups that were not given up carry, in the order they were begun: layer, first sequence number and
    /// how many whole units.
    fn groups(&self) -> Vec<(u8, bool, usize)> {
        let world = self.bench.world.borrow();
        let groups = world.streams.values().map(|bytes| {
            let mut decoder = GroupDecoder::new(UnitLimits::default());
            decoder.push(Bytes::copy_from_slice(bytes)).expect("a group");
            let preamble = decoder.preamble().expect("a preamble");
            let mut rest = &bytes[preamble.encode().len()..];
            let mut units = 0;
            while let Ok(header) = Header::parse(rest) {
                rest = rest.get(header.wire_len()..).unwrap_or(&[]);
                units += 1;
            }
            (preamble.stream_id.as_bytes()[0], preamble.discontinuity, units)
        });
        groups.collect()
    }

    fn layer(&self) -> u8 {
        self.groups().last().expect("a group").0
    }
}

#[test]
fn a_path_that_carries_the_wanted_layer_keeps_it() {
    let mut simulcast = Simulcast::new();
    simulcast.frames(900);
    assert_eq!(simulcast.groups(), [(1, false, 900)]);
    assert_eq!((simulcast.bench.fanout.totals().lowered, simulcast.bench.fanout.totals().raised), (0, 0));
}

#[test]
fn a_narrow_path_gets_the_lower_layer_within_the_time_of_the_protocol() {
    let mut simulcast = Simulcast::new();
    simulcast.frames(30);
    simulcast.room = 2_000;
    simulcast.frames(7);
    assert_eq!(simulcast.asked, [LOW], "a frame has waited for 150 ms");
    simulcast.frames(1);
    assert_eq!(simulcast.bench.fanout.totals().lowered, 1);
    assert!(
        simulcast.bench.acts().contains(&Act::Reset(NAME, Code::LAYER_SWITCHED)),
        "half a frame is not left"
    );
    simulcast.frames(60);
    let groups = simulcast.groups();
    assert!(matches!(groups.as_slice(), [(2, true, 60..)]), "{groups:?}: one group, nothing given up after");
    assert_eq!(simulcast.bench.fanout.totals().dropped_groups, 0);
}

#[test]
fn the_wanted_layer_comes_back_when_the_path_has_been_calm_and_is_wide_enough() {
    let mut simulcast = Simulcast::new();
    simulcast.frames(30);
    simulcast.room = 2_000;
    simulcast.frames(30);
    assert_eq!(simulcast.layer(), 2);
    // The rate of the high layer is 2.4 Mbit/s.
    simulcast.bench.world.borrow_mut().bit_rate = Some(2_000_000);
    simulcast.room = usize::MAX;
    simulcast.frames(300);
    assert_eq!(simulcast.layer(), 2, "the path is too narrow");
    simulcast.bench.world.borrow_mut().bit_rate = Some(4_000_000);
    simulcast.frames(140);
    assert_eq!(simulcast.layer(), 1);
    let groups = simulcast.groups();
    assert!(
        groups.last().is_some_and(|(_, discontinuity, _)| *discontinuity),
        "what lies between is missing"
    );
    assert_eq!((simulcast.bench.fanout.totals().lowered, simulcast.bench.fanout.totals().raised), (1, 1));
}

#[test]
fn a_path_of_which_little_is_known_is_tried_the_third_time() {
    let mut simulcast = Simulcast::new();
    simulcast.frames(30);
    simulcast.room = 2_000;
    simulcast.frames(30);
    // Where little is sent, the congestion window stays small.
    simulcast.bench.world.borrow_mut().bit_rate = Some(300_000);
    simulcast.room = usize::MAX;
    simulcast.frames(12_500 / 33);
    assert_eq!(simulcast.layer(), 1);
}

#[test]
fn congestion_calls_off_a_higher_layer_that_is_on_its_way() {
    let mut simulcast = Simulcast::new();
    simulcast.frames(30);
    simulcast.room = 2_000;
    simulcast.frames(30);
    simulcast.silent = Some(HIGH);
    simulcast.bench.world.borrow_mut().bit_rate = Some(300_000);
    simulcast.room = usize::MAX;
    simulcast.frames(60);
    // The rate of a layer is forgotten when it does not come: it comes again, but without a key frame.
    simulcast.silent = None;
    while simulcast.asked.last() != Some(&HIGH) {
        simulcast.frame();
    }
    simulcast.wanted.insert(HIGH, false);
    simulcast.room = 300;
    for _ in 0..12 {
        simulcast.frame();
        simulcast.wanted.insert(HIGH, false);
    }
    simulcast.wanted.insert(HIGH, true);
    simulcast.room = 2_000;
    simulcast.frames(20);
    assert_eq!((simulcast.layer(), simulcast.bench.fanout.totals().raised), (2, 0));
}

#[test]
fn a_lower_layer_that_nobody_sends_is_given_up() {
    let mut simulcast = Simulcast::new();
    simulcast.silent = Some(LOW);
    simulcast.frames(30);
    simulcast.room = 2_000;
    simulcast.frames(300);
    assert_eq!(simulcast.bench.fanout.totals().lowered, 0);
    assert!(simulcast.asked.contains(&HIGH), "the wanted layer goes on at its key frames");
    // 10 s: two attempts of 2 s, asked for at the start and every half second.
    assert!(simulcast.asked.iter().filter(|layer| **layer == LOW).count() <= 8, "{:?}", simulcast.asked);
    simulcast.room = usize::MAX;
    simulcast.frames(60);
    assert_eq!(simulcast.layer(), 1);
}

#[test]
fn the_end_of_a_subscription_is_told_for_each_of_its_layers() {
    let over = |bench: &mut Bench| {
        let mut over: Vec<StreamSlot> = bench
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::SubscriptionOver { stream, .. } => Some(stream),
                _ => None,
            })
            .collect();
        over.sort();
        over
    };
    let lowered = || {
        let mut simulcast = Simulcast::new();
        simulcast.frames(30);
        simulcast.room = 2_000;
        simulcast.frames(30);
        assert_eq!(simulcast.layer(), 2);
        simulcast
    };
    let mut simulcast = lowered();
    simulcast.bench.fanout.unsubscribe(simulcast.slot, HIGH);
    assert_eq!(over(&mut simulcast.bench), [HIGH, LOW]);

    let mut simulcast = lowered();
    simulcast.bench.fanout.remove_subscriber(simulcast.slot);
    assert_eq!(over(&mut simulcast.bench), [HIGH, LOW]);

    let mut simulcast = lowered();
    simulcast.bench.world.borrow_mut().room.clear();
    [HIGH, LOW].into_iter().for_each(|layer| simulcast.bench.fanout.end_stream(layer));
    simulcast.bench.run();
    assert_eq!(over(&mut simulcast.bench), [HIGH, LOW]);
    for stream in &simulcast.bench.fanout.streams {
        assert!(stream.as_ref().is_some_and(|stream| stream.subscribers.is_empty()));
    }

    // Streams that the client opens are for one layer.
    let mut bench = Bench::new(at_once());
    let slots = [bench.stream(0, MediaKind::Video), bench.stream(1, MediaKind::Video)];
    let fake = Fake { name: NAME, world: Rc::clone(&bench.world) };
    bench.fanout.add_subscriber(SubscriberSlot(NAME), fake, Features::NONE);
    bench.fanout.subscribe(SubscriberSlot(NAME), &slots, bench.start);
    assert_eq!(over(&mut bench), [LOW]);
}

#[test]
fn prominent_video_goes_before_other_video() {
    let mut bench = Bench::new(at_once());
    let (camera, screen) = (bench.stream(0, MediaKind::Video), bench.stream(1, MediaKind::Video));
    bench.fanout.set_prominent(screen, true);
    let slot = bench.subscriber(NAME, &[camera, screen]);
    let mut sent = BTreeMap::<StreamSlot, u64>::new();
    for n in 0..600 {
        bench.ms += 33;
        let frame_type = if n % 30 == 0 { FrameType::VideoKey } else { FrameType::VideoDelta };
        [camera, screen].into_iter().for_each(|stream| bench.push_sized(stream, frame_type, END, 4_000));
        // Enough for one of the two, and a little.
        bench.world.borrow_mut().room.insert(NAME, if n < 30 { usize::MAX } else { 4_300 });
        bench.fanout.wake(slot);
        bench.run();
        bench.events();
        for subscriber in bench.fanout.subscribers.iter().flatten() {
            for (stream, live) in subscriber.states() {
                *sent.entry(stream).or_default() += u64::from(live);
            }
        }
    }
    let [camera, screen] = [camera, screen].map(|stream| sent.get(&stream).copied().unwrap_or(0));
    assert!(screen > 550 && camera < screen / 2, "camera {camera}, screen {screen} of 600 frames");
}
