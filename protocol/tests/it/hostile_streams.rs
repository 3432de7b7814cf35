//! What a peer can make a decoder keep or do, measured with a counting allocator.

use allocation_counter::measure;
use bytes::Bytes;
use darktower_protocol::group::GroupDecoder;
use darktower_protocol::limits::{MAX_MESSAGE, UnitLimits};
use darktower_protocol::message::{MessageDecoder, encode};
use darktower_protocol::signaling::pb;
use darktower_protocol::unit::DatagramUnits;
use darktower_protocol::{Header, UnitDecoder};

use crate::bytes_on_the_wire::header;

const PACKET: usize = 1_452;
const PAYLOAD: usize = 256 * 1024;

/// A chunk of `len` bytes that keeps a whole packet alive, as slices of received packets do.
fn chunk_of_packet(len: usize) -> Bytes {
    Bytes::from(vec![0; PACKET]).slice(..len)
}

/// Most bytes held at a time while a unit of [`PAYLOAD`] bytes comes in chunks of these sizes.
fn peak_of(sizes: &[usize]) -> u64 {
    let stats = measure(|| {
        let mut decoder = UnitDecoder::new(UnitLimits::default());
        decoder.push(header(1, &[1; 16], 0, PAYLOAD as u32).into());
        let mut sent = 0;
        for size in sizes.iter().cycle() {
            let size = (*size).min(PAYLOAD - sent);
            decoder.push(chunk_of_packet(size));
            sent += size;
            if sent == PAYLOAD {
                break;
            }
            assert!(decoder.next_unit().unwrap().is_none());
        }
        assert!(decoder.next_unit().unwrap().is_some());
    });
    stats.bytes_max
}

/// Memory stays near the payload, not near the packets that carried it: single bytes, sizes just
/// small enough, and sizes that break up runs of small ones.
#[test]
fn small_chunks_do_not_pin_the_packets_they_came_in() {
    for sizes in [&[1][..], &[64], &[511], &[1, 256], &[1, 1, 1, 1_400], &[255, 256, 257]] {
        let peak = peak_of(sizes);
        assert!(peak < 3 * PAYLOAD as u64 + 200_000, "chunks of {sizes:?} pinned {peak} bytes");
    }
}

#[test]
fn nothing_is_kept_after_an_error() {
    let mut decoder = UnitDecoder::new(UnitLimits::default());
    // A run of small chunks, so that the bookkeeping of small chunks is under way.
    for _ in 0..40 {
        decoder.push(Bytes::from_static(&[9]));
    }
    assert!(decoder.next_unit().is_err());
    let stats = measure(|| {
        for _ in 0..10_000 {
            decoder.push(Bytes::from_static(&[1]));
        }
    });
    assert_eq!(stats.bytes_max, 0);
    assert_eq!(decoder.buffered(), 0);
    assert!(decoder.next_unit().is_err());
}

#[test]
fn skipped_payload_is_not_kept() {
    let stats = measure(|| {
        let mut decoder = UnitDecoder::new(UnitLimits::default());
        decoder.push(header(0x7f, &[1; 16], 0, 4 * 1024 * 1024).into());
        for _ in 0..4 * 1024 {
            assert!(decoder.next_unit().unwrap().is_none());
            decoder.push(vec![0; 1_024].into());
        }
        assert!(decoder.next_unit().unwrap().is_none());
        assert_eq!((decoder.skipped_units(), decoder.buffered(), decoder.finish()), (1, 0, Ok(())));
    });
    assert!(stats.bytes_max < 4_096, "kept {} bytes", stats.bytes_max);
}

#[test]
fn an_endless_preamble_is_not_kept() {
    let stats = measure(|| {
        let mut decoder = GroupDecoder::new(UnitLimits::default());
        decoder.push(Bytes::from_static(&[0xd7, 0xff])).unwrap();
        for _ in 0..254 {
            decoder.push(Bytes::from_static(&[1])).unwrap();
        }
        assert!(decoder.preamble().is_none());
        // A later preamble of 255 bytes: 237 of them fields we do not know.
        decoder.push(Bytes::from_static(&[1])).unwrap();
        assert!(decoder.preamble().is_some());
    });
    assert!(stats.bytes_max < 2_048, "kept {} bytes", stats.bytes_max);
}

#[test]
fn single_bytes_of_a_message_are_gathered() {
    let token = "x".repeat(60_000);
    let request = pb::JoinRequest { join_token: token, ..Default::default() };
    let message = Some(pb::envelope::Message::JoinRequest(request));
    let wire = encode(&pb::Envelope { version: 1, message, ..Default::default() });
    let stats = measure(|| {
        let mut decoder = MessageDecoder::new(MAX_MESSAGE);
        for byte in &wire[..wire.len() - 1] {
            decoder.push(&[*byte]);
            assert_eq!(decoder.next_message::<pb::Envelope>(), Ok(None));
        }
    });
    assert!(stats.bytes_max < 4 * MAX_MESSAGE as u64, "kept {} bytes", stats.bytes_max);
}

#[test]
fn views_allocate_nothing() {
    let wire = header(1, &[1; 16], 0, 0);
    let parsed = measure(|| {
        let header = Header::parse(std::hint::black_box(&wire)).unwrap();
        std::hint::black_box((header.stream_id(), header.sequence(), header.flags()));
    });
    assert_eq!(parsed.count_total, 0);

    // As QUIC libraries hand them out: slices of a shared buffer.
    let shared = Bytes::from(wire.repeat(3));
    let _keeps_it_shared = shared.clone();
    let datagram =
        measure(|| assert_eq!(DatagramUnits::new(shared, UnitLimits::default()).flatten().count(), 3));
    assert_eq!(datagram.count_total, 0);
}
