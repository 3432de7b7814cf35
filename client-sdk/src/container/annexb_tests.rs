//! Tests of the Annex B reader and writer on hand-made streams; real streams are in `real_media`.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::container::{
    open_source,
    tests::{drain, open_bytes},
};

/// A sequence parameter set made by x264: 320 x 180 (cropped), with VUI timing of 25 frames per second.
const SPS: &[u8] = &[
    0x67, 0x42, 0xC0, 0x0C, 0xD9, 0x01, 0x41, 0x9F, 0x9F, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
    0x00, 0x03, 0x03, 0x20, 0xF1, 0x42, 0xA4, 0x80,
];
const PPS: &[u8] = &[0x68, 0xCB, 0x83, 0xCB, 0x20];
const IDR: &[u8] = &[0x65, 0x88, 0x11, 0x22];
const IDR_SECOND_SLICE: &[u8] = &[0x65, 0x44, 0x11, 0x22];
const DELTA: &[u8] = &[0x41, 0x9A, 0x11];
const DISPOSABLE: &[u8] = &[0x01, 0x9E, 0x11];
const SEI: &[u8] = &[0x06, 0x05, 0x01, 0x80];
const DELIMITER: &[u8] = &[0x09, 0xF0];
const END_OF_STREAM: &[u8] = &[0x0B];

fn long(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

fn short(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 1], *nal].concat()).collect()
}

/// Delivers one byte per read: every start code crosses a boundary.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}

impl Seek for Trickle {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

fn read_all(bytes: &[u8]) -> Vec<Sample> {
    let mut samples = [Vec::new(), Vec::new()];
    let readers = [
        open_bytes(bytes.to_vec()).expect("opens"),
        open_source(Trickle(Cursor::new(bytes.to_vec())), "test", OpenOptions::default()).expect("opens"),
    ];
    for (mut reader, samples) in readers.into_iter().zip(&mut samples) {
        while let Some(sample) = reader.next_sample().expect("good") {
            samples.push(sample);
        }
    }
    let [whole, trickled] = samples;
    assert_eq!(whole, trickled, "the result must not depend on how reads are cut");
    whole
}

#[test]
fn access_units_keep_their_start_codes_and_parameter_sets() {
    let expected = [
        long(&[SPS, PPS, SEI, IDR, IDR_SECOND_SLICE]),
        short(&[DELTA]),
        long(&[DISPOSABLE]),
        [long(&[DELIMITER]), short(&[DELTA, END_OF_STREAM])].concat(),
        [short(&[SPS, PPS]), long(&[IDR])].concat(),
        // Zeros after a NAL unit belong to it, except the one that makes the next start code four bytes long.
        [short(&[DELTA]), vec![0, 0]].concat(),
        long(&[DELTA]),
    ];
    let samples = read_all(&expected.concat());
    assert_eq!(samples.iter().map(|s| s.data.to_vec()).collect::<Vec<_>>(), expected);
    let keyframes: Vec<bool> = samples.iter().map(|s| s.keyframe).collect();
    assert_eq!(keyframes, [true, false, false, false, true, false, false]);
    let discardable: Vec<bool> = samples.iter().map(|s| s.discardable).collect();
    assert_eq!(discardable, [false, false, true, false, false, false, false]);
}

#[test]
fn rate_comes_from_the_stream_or_the_caller() {
    let bytes = long(&[SPS, PPS, IDR, DELTA]);
    let mut reader = open_bytes(bytes.clone()).expect("opens");
    assert_eq!(reader.info(), &MediaInfo::video(Codec::H264, 320, 180, 25.0));
    reader.next_sample().expect("good");
    let second = reader.next_sample().expect("good").expect("sample");
    assert_eq!((second.timestamp, second.duration), (Duration::from_millis(40), Duration::from_millis(40)));

    let options = OpenOptions { h264_framerate: Some(50.0) };
    let reader = open_source(Cursor::new(bytes.clone()), "test", options).expect("opens");
    assert_eq!(reader.info().video.map(|video| video.framerate), Some(50.0));
    for bad in [0.0, -1.0, 1e9, f64::NAN, f64::INFINITY] {
        let options = OpenOptions { h264_framerate: Some(bad) };
        let result = open_source(Cursor::new(bytes.clone()), "test", options);
        assert!(matches!(result, Err(ContainerError::Options { .. })), "{bad}");
    }
}

#[test]
fn damage_is_named() {
    let error = |bytes: Vec<u8>| open_bytes(bytes).err().expect("must not open").to_string();
    assert!(error(long(&[IDR, DELTA])).contains("no H.264 sequence parameter set"));
    assert!(error(long(&[&SPS[..4], PPS, IDR])).contains("byte 0: bad H.264 parameter set"));
    assert!(error(long(&[SPS, PPS])).contains("byte 0: file ends inside an access unit"));

    let start = long(&[SPS, PPS, IDR]);
    let mut reader = open_bytes([start.clone(), long(&[SPS])].concat()).expect("opens");
    assert!(reader.next_sample().expect("good").is_some());
    let error = reader.next_sample().expect_err("cut").to_string();
    assert!(error.contains(&format!("byte {}", start.len())), "{error}");
    assert!(reader.next_sample().expect("quiet").is_none());
}

#[test]
fn a_stream_without_start_codes_is_bounded() {
    let mut bytes = long(&[SPS, PPS, IDR]);
    bytes.resize(MAX_SAMPLE_BYTES + 200_000, 0x55);
    let error = open_bytes(bytes).err().expect("must not open").to_string();
    assert!(error.contains("byte 0: an access unit of"), "{error}");
}

#[test]
fn samples_without_start_code_are_refused() {
    let mut writer = Box::new(Writer::new(Vec::new(), "test".into()));
    let sample = |data: &'static [u8]| Sample {
        data: Bytes::from_static(data),
        timestamp: Duration::ZERO,
        duration: Duration::ZERO,
        keyframe: false,
        discardable: false,
    };
    use crate::container::Writer as _;
    for bad in [&b""[..], &[0, 0, 0, 4, 0x65, 1, 2, 3], &[0x65, 0, 0, 1]] {
        assert!(matches!(writer.write(&sample(bad)), Err(ContainerError::Sample { .. })), "{bad:?}");
    }
    writer.write(&sample(&[0, 0, 1, 0x65])).expect("good");
    assert_eq!(writer.sink, [0, 0, 1, 0x65]);
}

proptest! {
    #[test]
    fn samples_add_up_to_the_file(
        nals in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), 2_usize..5), 0..40)
    ) {
        let mut bytes = long(&[SPS, PPS, IDR]);
        for (header, payload, zeros) in nals {
            bytes.resize(bytes.len() + zeros, 0);
            bytes.push(1);
            bytes.push(header);
            bytes.extend(payload);
        }
        let mut reader = open_bytes(bytes.clone()).expect("opens");
        let mut joined = Vec::new();
        loop {
            match reader.next_sample() {
                Ok(Some(sample)) => joined.extend_from_slice(&sample.data),
                Ok(None) => {
                    prop_assert_eq!(&joined, &bytes);
                    break;
                }
                // Ends in parameter sets: everything before them was delivered.
                Err(_) => {
                    prop_assert!(bytes.starts_with(&joined));
                    break;
                }
            }
        }
    }

    #[test]
    fn any_parameter_set_is_handled(
        bytes in prop::collection::vec(any::<u8>(), 1..80), at in 1_usize..SPS.len(), bit in 0_u32..8
    ) {
        drain(long(&[&[&[0x67], &bytes[..]].concat(), PPS, IDR, DELTA]));
        let mut sps = SPS.to_vec();
        sps[at] ^= 1_u8 << bit;
        drain(long(&[&sps, PPS, IDR, DELTA]));
    }
}
