//! The wire format: header, units on streams and in datagrams, preambles, messages.
#![expect(clippy::unwrap_used, reason = "the input is well formed")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::limits::{MAX_MESSAGE, UnitLimits};
use darktower_protocol::message::{MessageDecoder, encode};
use darktower_protocol::signaling::pb;
use darktower_protocol::unit::DatagramUnits;
use darktower_protocol::{Flags, FrameType, Header, HeaderFields, StreamId, Unit, UnitDecoder};

/// Bytes of stream data in one packet of a usual path.
const CHUNK: usize = 1_200;

fn fields(frame_type: FrameType) -> HeaderFields {
    HeaderFields {
        frame_type,
        stream_id: StreamId::from_bytes([0x42; 16]),
        timestamp: 1_737_028_800_000_000,
        sequence: 1_000_000,
        flags: Flags::END_OF_FRAME,
    }
}

fn wire(frame_type: FrameType, payload_len: usize) -> Bytes {
    Unit::new(&fields(frame_type), vec![0xab; payload_len].into()).into_wire()
}

fn header(c: &mut Criterion) {
    let wire = wire(FrameType::VideoDelta, 0);
    c.bench_function("header/parse", |b| b.iter(|| Header::parse(black_box(&wire)).is_ok()));
    c.bench_function("header/parse and read all fields", |b| {
        b.iter(|| {
            let header = Header::parse(black_box(&wire)).unwrap();
            let ids = (header.frame_type(), header.stream_id());
            (ids, header.timestamp(), header.sequence(), header.payload_len(), header.flags())
        });
    });
    let fields = fields(FrameType::VideoDelta);
    c.bench_function("header/encode", |b| b.iter(|| Header::new(black_box(&fields), 9_000)));
}

fn stream(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream");
    for (name, payload_len) in [("1 KB units", 1_000), ("9 KB units", 9_000), ("60 KB units", 60_000)] {
        let units = 600_000 / payload_len;
        let stream = wire(FrameType::VideoDelta, payload_len).repeat(units);
        // Slices of one buffer: a library hands out received data without copying it too.
        let stream = Bytes::from(stream);
        let chunks: Vec<Bytes> = (0..stream.len())
            .step_by(CHUNK)
            .map(|at| stream.slice(at..stream.len().min(at + CHUNK)))
            .collect();
        group.throughput(Throughput::ElementsAndBytes { elements: units as u64, bytes: stream.len() as u64 });
        group.bench_function(name, |b| {
            b.iter_batched(
                || chunks.clone(),
                |chunks| {
                    let mut decoder = UnitDecoder::new(UnitLimits::default());
                    let mut decoded = 0;
                    for chunk in chunks {
                        decoder.push(chunk);
                        while let Some(unit) = decoder.next_unit().unwrap() {
                            decoded += black_box(unit).header().wire_len();
                        }
                    }
                    assert_eq!(decoded, stream.len());
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn datagram(c: &mut Criterion) {
    let audio = wire(FrameType::Audio, 120);
    let one = audio.clone();
    let six = Bytes::from(audio.repeat(6));
    for (name, datagram) in [("datagram/1 unit", one), ("datagram/6 units", six)] {
        c.bench_function(name, |b| {
            b.iter(|| {
                DatagramUnits::new(black_box(datagram.clone()), UnitLimits::default()).flatten().count()
            });
        });
    }
}

fn preamble(c: &mut Criterion) {
    let preamble = GroupPreamble {
        kind: GroupKind::Video,
        continuation: false,
        discontinuity: false,
        stream_id: StreamId::from_bytes([0x42; 16]),
        group: 123_456,
        first_sequence: 123_456,
    };
    let wire = preamble.encode();
    c.bench_function("preamble/encode", |b| b.iter(|| black_box(&preamble).encode()));
    c.bench_function("preamble/decode", |b| b.iter(|| GroupPreamble::decode(black_box(&wire))));
}

fn message(c: &mut Criterion) {
    let id = "0192f0c1-2a3b-7c4d-8e5f-001122334455".to_owned();
    let options = Some(pb::SubscriptionOptions { preferred_layer: "low".into(), max_bitrate: 500_000 });
    let subscribe = pb::SubscribeStream { stream_id: id, options };
    let envelope = pb::Envelope {
        version: 1,
        request_id: 7,
        event_sequence: 0,
        message: Some(pb::envelope::Message::SubscribeStream(subscribe)),
    };
    let wire = encode(&envelope);
    c.bench_function("envelope/encode", |b| b.iter(|| encode(black_box(&envelope))));
    c.bench_function("envelope/decode", |b| {
        let mut decoder = MessageDecoder::new(MAX_MESSAGE);
        b.iter(|| {
            decoder.push(black_box(&wire));
            decoder.next_message::<pb::Envelope>().unwrap().unwrap()
        });
    });
}

criterion_group!(benches, header, stream, datagram, preamble, message);
criterion_main!(benches);
