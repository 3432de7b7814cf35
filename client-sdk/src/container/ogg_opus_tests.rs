//! Tests of the Ogg Opus reader and writer on hand-made packets; real audio is in `real_media`.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::container::tests::{drain, open_bytes};

const AUDIO: AudioInfo = AudioInfo { sample_rate: 16_000, channels: 1, pre_skip: 1_000 };
/// TOC byte of a 20 ms CELT packet with one frame, mono.
const TOC_20_MS: u8 = 31 << 3;

fn sample(data: Vec<u8>, timestamp: Duration) -> Sample {
    let duration = opus::packet_duration(&data).expect("a packet");
    Sample { data: data.into(), timestamp, duration, keyframe: true, discardable: false }
}

/// `count` packets of 20 ms with distinct contents.
fn clip(count: u8) -> Vec<Sample> {
    (0..count).map(|n| sample(vec![TOC_20_MS, n, 7], Duration::from_millis(20) * n.into())).collect()
}

fn write_all(samples: &[Sample]) -> Vec<u8> {
    let mut sink = Vec::new();
    let mut writer: Box<dyn crate::container::Writer + '_> =
        Box::new(Writer::new(&mut sink, "test".into(), AUDIO).expect("memory"));
    for sample in samples {
        writer.write(sample).expect("memory");
    }
    writer.finish().expect("memory");
    sink
}

fn read_all(bytes: Vec<u8>) -> Vec<Sample> {
    let mut reader = open_bytes(bytes).expect("opens");
    std::iter::from_fn(|| reader.next_sample().expect("good")).collect()
}

/// Pages of packets with any serial, page size and granule positions, with right checksums.
fn pages(packets: &[(Vec<u8>, u32, PacketWriteEndInfo, u64)]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = PacketWriter::new(&mut bytes);
    for (data, serial, info, granule) in packets {
        writer.write_packet(data.clone(), *serial, *info, *granule).expect("memory");
    }
    drop(writer);
    bytes.into_inner()
}

fn error_of(bytes: Vec<u8>) -> String {
    match open_bytes(bytes) {
        Err(error) => error.to_string(),
        Ok(mut reader) => loop {
            match reader.next_sample() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(error) => break error.to_string(),
            }
        },
    }
}

use PacketWriteEndInfo::{EndPage, EndStream, NormalPacket};

#[test]
fn headers_survive() {
    let reader = open_bytes(write_all(&clip(3))).expect("opens");
    assert_eq!(reader.info(), &MediaInfo { codec: Codec::Opus, video: None, audio: Some(AUDIO) });
}

#[test]
fn the_end_is_trimmed_and_kept_trimmed() {
    let mut samples = clip(5);
    samples[4].duration = Duration::from_millis(5);
    assert_eq!(read_all(write_all(&samples)), samples);
}

#[test]
fn a_stream_joined_midway_starts_at_zero() {
    let offset = 1_000_000;
    let bytes = pages(&[
        (encode_head(AUDIO), 1, EndPage, 0),
        (encode_tags(), 1, EndPage, 0),
        (vec![TOC_20_MS, 1], 1, NormalPacket, offset + 960),
        (vec![TOC_20_MS, 2], 1, EndPage, offset + 1920),
        (vec![TOC_20_MS, 3], 1, EndStream, offset + 1920 + 480),
    ]);
    let times: Vec<_> =
        read_all(bytes).iter().map(|s| (s.timestamp.as_millis(), s.duration.as_millis())).collect();
    assert_eq!(times, [(0, 20), (20, 20), (40, 10)]);
}

#[test]
fn other_streams_are_passed_over() {
    let bytes = pages(&[
        (b"\x80theora".to_vec(), 2, EndPage, 0),
        (encode_head(AUDIO), 1, EndPage, 0),
        (b"more".to_vec(), 2, EndPage, 0),
        (encode_tags(), 1, EndPage, 0),
        (b"picture".to_vec(), 2, EndPage, 1),
        (vec![TOC_20_MS, 1], 1, EndStream, 960),
        (b"picture".to_vec(), 2, EndStream, 2),
    ]);
    assert_eq!(read_all(bytes).len(), 1);
}

#[test]
fn gaps_are_filled_with_concealment() {
    let mut samples = clip(6);
    // Two packets lost, and a little jitter on those that remain.
    samples.drain(2..4);
    samples[1].timestamp += Duration::from_millis(2);
    samples[2].timestamp -= Duration::from_millis(2);
    let read = read_all(write_all(&samples));
    let packets: Vec<&[u8]> = read.iter().map(|s| &s.data[..]).collect();
    let expected: [&[u8]; 6] = [
        &[TOC_20_MS, 0, 7],
        &[TOC_20_MS, 1, 7],
        &[TOC_20_MS],
        &[TOC_20_MS],
        &[TOC_20_MS, 4, 7],
        &[TOC_20_MS, 5, 7],
    ];
    assert_eq!(packets, expected);
}

#[test]
fn unusable_samples_are_refused_and_the_file_stays_good() {
    let mut sink = Vec::new();
    let mut writer: Box<dyn crate::container::Writer + '_> =
        Box::new(Writer::new(&mut sink, "test".into(), AUDIO).expect("memory"));
    let good = clip(2);
    writer.write(&good[0]).expect("good");
    let mut bad = good[0].clone();
    bad.timestamp = Duration::from_secs(1_000_000);
    assert!(matches!(writer.write(&bad), Err(ContainerError::Sample { .. })), "far future");
    for data in [&b""[..], &[TOC_20_MS | 3, 0]] {
        bad.data = Bytes::copy_from_slice(data);
        assert!(matches!(writer.write(&bad), Err(ContainerError::Sample { .. })), "{data:?}");
    }
    writer.write(&good[1]).expect("good");
    drop(writer);
    assert_eq!(read_all(sink), good, "dropping closes the file too");
}

#[test]
fn damage_is_named() {
    let whole = write_all(&clip(120));
    assert!(error_of(whole[..whole.len() - 1].to_vec()).contains("file ends inside an Ogg page"));
    let mut flipped = whole;
    flipped[400] ^= 1;
    assert!(error_of(flipped).contains("wrong checksum"));

    let head = encode_head(AUDIO);
    let vorbis = pages(&[(b"\x01vorbis".to_vec(), 1, EndPage, 0), (b"x".to_vec(), 1, EndPage, 0)]);
    assert!(error_of(vorbis).contains("without an Opus stream"));
    let surround = [&head[..9], &[6], &head[10..18], &[1]].concat();
    assert!(error_of(pages(&[(surround, 1, EndPage, 0)])).contains("two channels"));
    assert!(error_of(pages(&[(head[..12].to_vec(), 1, EndPage, 0)])).contains("Opus header of 12 bytes"));
    let tagless = pages(&[(head.clone(), 1, EndPage, 0), (vec![TOC_20_MS], 1, EndPage, 0)]);
    assert!(error_of(tagless).contains("OpusTags"));
    let empty = pages(&[
        (head.clone(), 1, EndPage, 0),
        (encode_tags(), 1, EndPage, 0),
        (vec![TOC_20_MS | 3, 63], 1, EndPage, 960),
    ]);
    assert!(error_of(empty).contains("longer than 120 ms"));
    let fat = pages(&[
        (head.clone(), 1, EndPage, 0),
        (encode_tags(), 1, EndPage, 0),
        (vec![TOC_20_MS; 100_000], 1, EndPage, 960),
    ]);
    assert!(error_of(fat).contains("an Opus packet"));
    let endless = pages(&[(head, 1, EndPage, 0), (vec![b'O'; MAX_SAMPLE_BYTES + 100_000], 1, EndPage, 0)]);
    assert!(matches!(open_bytes(endless), Err(ContainerError::TooLarge { .. })));
}

#[test]
fn a_file_plays_up_to_the_last_second_without_finish() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("a.ogg");
    let mut writer = crate::container::create(&path, &MediaInfo::opus(1)).expect("creates");
    for sample in clip(170) {
        writer.write(&sample).expect("writes");
    }
    // As after a crash: the writer still exists, only what was flushed is on disk.
    assert_eq!(read_all(std::fs::read(&path).expect("file")), clip(150));
    writer.finish().expect("finishes");
    assert_eq!(read_all(std::fs::read(&path).expect("file")), clip(170));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        packets in prop::collection::vec((0_u8..64, prop::collection::vec(any::<u8>(), 0..600)), 1..80)
    ) {
        let mut at = 0;
        let mut samples = Vec::new();
        for (config, payload) in packets {
            // One frame of any configuration, mono or stereo.
            let data = [&[config << 2][..], &payload].concat();
            let mut sample = sample(data, opus::samples_to_duration(at));
            let end = at + u64::from(opus::packet_samples(&sample.data).expect("a packet"));
            sample.duration = opus::samples_to_duration(end - at);
            at = end;
            samples.push(sample);
        }
        prop_assert_eq!(read_all(write_all(&samples)), samples);
    }

    #[test]
    fn well_formed_pages_of_anything_never_panic(
        packets in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..600), 0_u32..3, 0_usize..3, any::<u64>()), 0..20
        )
    ) {
        let mut all = vec![(encode_head(AUDIO), 1, EndPage, 0), (encode_tags(), 1, EndPage, 0)];
        for (data, serial, end, granule) in packets {
            all.push((data, serial, [NormalPacket, EndPage, EndStream][end], granule));
        }
        drain(pages(&all));
    }

    #[test]
    fn any_page_structure_never_panics(
        raw_pages in prop::collection::vec(
            (0_u8..8, 0_u32..3, prop::collection::vec(prop_oneof![Just(255_u8), 0_u8..4], 0..6), any::<u64>()), 0..12
        )
    ) {
        let mut bytes = write_all(&[]);
        let serial = u32::from_le_bytes([bytes[14], bytes[15], bytes[16], bytes[17]]);
        for (flags, which, lacing, granule) in raw_pages {
            let body = vec![TOC_20_MS; lacing.iter().map(|l| usize::from(*l)).sum()];
            let mut page = [&b"OggS\0"[..], &[flags], &granule.to_le_bytes()].concat();
            page.extend((serial.wrapping_add(which)).to_le_bytes());
            page.extend([0; 8]);
            page.push(lacing.len() as u8);
            page.extend(&lacing);
            page.extend(&body);
            let checksum = page_checksum(&page);
            page[22..26].copy_from_slice(&checksum.to_le_bytes());
            bytes.extend(page);
        }
        drain(bytes);
    }
}

/// CRC-32 with polynomial 0x04C11DB7, not reflected, from 0 (RFC 3533 section 6).
fn page_checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}
