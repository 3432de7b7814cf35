//! What the fan-out itself costs and allocates: everything but the connections.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: the input is well formed, the output is its purpose"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use darktower_core::media::fanout::{
    Connection, Fanout, FanoutSettings, HandedOver, Opened, Pass, StreamSlot, SubscriberSlot, Written,
};
use darktower_core::media::{MediaKind, RingLimits, RingUnit, StreamRing};
use darktower_protocol::{Code, Features, Flags, FrameType, HeaderFields, StreamId, Unit};

const SUBSCRIBERS: u32 = 300;

/// A connection that takes everything and does nothing with it.
#[derive(Debug)]
struct Sink;

impl Connection for Sink {
    type Stream = ();

    fn max_datagram_unit(&self) -> usize {
        1200
    }

    fn datagram_space(&self) -> usize {
        32 << 10
    }

    fn send_datagram(&mut self, unit: &RingUnit) {
        black_box(unit.wire.clone());
    }

    fn send_oversized(&mut self, _stream: StreamId, _unit: &RingUnit) {}

    fn open(&mut self) -> Opened<()> {
        Opened::Stream((), Bytes::new())
    }

    fn write(&mut self, _stream: &mut (), chunks: &mut [Bytes]) -> Written {
        for chunk in chunks {
            black_box(std::mem::take(chunk));
        }
        Written::All
    }

    fn set_priority(&mut self, _stream: &mut (), _priority: i32) {}
    fn finish(&mut self, _stream: ()) {}
    fn reset(&mut self, _stream: (), _code: Code) {}
    fn estimated_bit_rate(&self) -> Option<u64> {
        None
    }

    fn tune(&mut self) {}
}

/// 300 subscribers of one audio and one video stream.
struct Room {
    fanout: Fanout<Sink>,
    audio: (StreamSlot, StreamRing),
    video: (StreamSlot, StreamRing),
    now: Instant,
    sequence: u64,
    handed_over: Vec<HandedOver>,
}

impl Room {
    fn new() -> Self {
        let mut fanout = Fanout::new(FanoutSettings::default());
        let now = Instant::now();
        let [audio, video] = [(0, MediaKind::Audio), (1, MediaKind::Video)].map(|(slot, kind)| {
            let ring = StreamRing::new(RingLimits::default());
            fanout.add_stream(StreamSlot(slot), StreamId::from_bytes([slot as u8; 16]), kind, ring.clone());
            (StreamSlot(slot), ring)
        });
        for number in 0..SUBSCRIBERS {
            let slot = SubscriberSlot(number);
            fanout.add_subscriber(slot, Sink, Features::GROUPS | Features::AUDIO_DATAGRAMS);
            fanout.subscribe(slot, &[audio.0], now);
            fanout.subscribe(slot, &[video.0], now);
        }
        let mut room = Self { fanout, audio, video, now, sequence: 0, handed_over: Vec::new() };
        room.push(FrameType::VideoKey, 60_000);
        room.run();
        // Every table and queue has the size that it needs.
        for _ in 0..100 {
            room.push(FrameType::Audio, 160);
            room.push(FrameType::VideoDelta, 9_576);
            room.run();
        }
        room
    }

    fn unit(&mut self, frame_type: FrameType, payload: usize) -> Unit {
        self.now += Duration::from_millis(5);
        self.sequence += 1;
        let fields = HeaderFields {
            frame_type,
            stream_id: StreamId::from_bytes([1; 16]),
            timestamp: self.sequence,
            sequence: self.sequence,
            flags: Flags::END_OF_FRAME,
        };
        Unit::new(&fields, vec![0xab; payload].into())
    }

    fn push(&mut self, frame_type: FrameType, payload: usize) {
        let unit = self.unit(frame_type, payload);
        let (slot, ring) = match frame_type {
            FrameType::Audio => &mut self.audio,
            _ => &mut self.video,
        };
        let unit = ring.push(&unit, self.now).unwrap();
        self.fanout.push(*slot, unit, self.now);
    }

    fn run(&mut self) {
        while self.fanout.pass(self.now) == Pass::More {}
        self.fanout.take_handed_over(&mut self.handed_over);
        self.handed_over.clear();
    }
}

fn fanout(c: &mut Criterion) {
    let mut room = Room::new();
    // A pass allocates nothing, for however many subscribers.
    for (frame_type, payload) in [(FrameType::Audio, 160), (FrameType::VideoDelta, 9_576)] {
        room.push(frame_type, payload);
        let stats = measure(|| room.run());
        println!("allocations: {frame_type:?} to {SUBSCRIBERS} subscribers {}", stats.count_total);
        assert_eq!(stats.count_total, 0, "the fan-out allocates per unit");
    }

    let mut group = c.benchmark_group("fanout");
    group.throughput(Throughput::Elements(SUBSCRIBERS.into()));
    for (name, frame_type, payload) in
        [("audio", FrameType::Audio, 160), ("delta", FrameType::VideoDelta, 9_576)]
    {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    room.push(frame_type, payload);
                    let began = Instant::now();
                    room.run();
                    spent += began.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
