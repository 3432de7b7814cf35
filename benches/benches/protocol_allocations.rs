//! Counts what the decoder allocates, prints it, and fails if a payload is copied.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: the input is well formed, the output is its purpose"
)]

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::unit::DatagramUnits;
use darktower_protocol::{Flags, FrameType, Header, HeaderFields, StreamId, Unit, UnitDecoder};

const CHUNK: usize = 1_200;
const UNITS: usize = 100;

fn wire(frame_type: FrameType, payload_len: usize) -> Bytes {
    let fields = HeaderFields {
        frame_type,
        stream_id: StreamId::from_bytes([0x42; 16]),
        timestamp: 0,
        sequence: 0,
        flags: Flags::END_OF_FRAME,
    };
    Unit::new(&fields, vec![0xab; payload_len].into()).into_wire()
}

fn main() {
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    let header = wire(FrameType::VideoDelta, 0);
    let parse = measure(|| {
        black_box(Header::parse(black_box(&header)).unwrap());
    });
    println!("allocations: header parse {}", parse.count_total);
    assert_eq!(parse.count_total, 0, "parsing a header allocates");

    for payload_len in [1_000, 9_000, 60_000] {
        let stream = Bytes::from(wire(FrameType::VideoDelta, payload_len).repeat(UNITS));
        let chunks: Vec<Bytes> = (0..stream.len())
            .step_by(CHUNK)
            .map(|at| stream.slice(at..stream.len().min(at + CHUNK)))
            .collect();
        let stats = measure(|| {
            let mut decoder = UnitDecoder::new(UnitLimits::default());
            for chunk in chunks {
                decoder.push(chunk);
                while let Some(unit) = decoder.next_unit().unwrap() {
                    black_box(unit);
                }
            }
            decoder.finish().unwrap();
        });
        let (count, bytes) = (stats.count_total as f64 / UNITS as f64, stats.bytes_total / UNITS as u64);
        println!(
            "allocations: stream of {payload_len}-byte units: {count:.2} per unit, {bytes} bytes per unit"
        );
        // Headers that lie in two chunks are joined, and lists of chunks grow; payloads do not count.
        assert!(bytes < 100 + payload_len as u64 / 20, "decoding copies payloads");
    }

    // Two datagrams of one buffer, so that it is shared already, as QUIC libraries hand them out.
    let mut received = Bytes::from(wire(FrameType::Audio, 120).repeat(12));
    let datagram = received.split_to(received.len() / 2);
    let stats =
        measure(|| assert_eq!(DatagramUnits::new(datagram, UnitLimits::default()).flatten().count(), 6));
    println!("allocations: datagram of 6 units {}", stats.count_total);
    assert_eq!(stats.count_total, 0, "decoding a datagram allocates");
}
