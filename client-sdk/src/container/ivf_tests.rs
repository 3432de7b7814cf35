//! Tests of the IVF reader and writer on hand-made files; real video is in `real_media`.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::container::tests::{drain, open_bytes};

fn header_bytes() -> Vec<u8> {
    let info = MediaInfo::video(Codec::Vp8, 320, 180, 30.0);
    Header::for_info(&info, Path::new("test")).expect("fits").encode().to_vec()
}

fn frame_bytes(claimed: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
    [&claimed.to_le_bytes()[..], &ticks.to_le_bytes(), data].concat()
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

#[test]
fn damage_is_named_with_its_offset() {
    let header = header_bytes();
    let good = frame_bytes(3, 0, b"abc");
    assert!(error_of(header[..20].to_vec()).contains("byte 20: file ends inside the IVF header"));
    assert!(error_of(header.clone()).contains("without frames"));
    let huge = [&header[..], &good, &frame_bytes(u32::MAX, 1, b"")].concat();
    assert!(error_of(huge).contains("byte 47: a frame of 4294967295 bytes"));
    let cut = [&header[..], &good, &frame_bytes(100, 1, b"abc")].concat();
    assert!(error_of(cut).contains("byte 47: file ends inside a frame (3 of 100 bytes)"));
    let cut = [&header[..], &good, &[1, 2, 3]].concat();
    assert!(error_of(cut).contains("byte 47: file ends inside a frame header"));
    let mut codec = header.clone();
    codec[8..12].copy_from_slice(b"H264");
    assert!(error_of(codec).contains("IVF with another codec"));
    let mut time_base = header.clone();
    time_base[16..20].fill(0);
    assert!(error_of(time_base).contains("time base"));
    let late = [&header[..], &good, &frame_bytes(1, u64::MAX, b"a")].concat();
    assert!(error_of(late).contains("time out of range"));
}

#[test]
fn good_frames_come_before_the_error_and_nothing_after() {
    let bytes = [&header_bytes()[..], &frame_bytes(3, 0, b"abc"), &frame_bytes(9, 3000, b"cut")].concat();
    let mut reader = open_bytes(bytes).expect("opens");
    for _ in 0..2 {
        assert_eq!(reader.next_sample().expect("good").expect("sample").data, "abc");
        assert!(reader.next_sample().is_err());
        assert!(reader.next_sample().expect("quiet").is_none());
        reader.rewind().expect("rewinds");
    }
}

#[test]
fn durations_rate_and_origin_come_from_the_timestamps() {
    let mut bytes = header_bytes();
    for ticks in [9_000, 12_003, 15_006, 18_009] {
        bytes.extend(frame_bytes(1, ticks, b"x"));
    }
    let mut reader = open_bytes(bytes).expect("opens");
    let video = reader.info().video.expect("video");
    assert!((video.framerate - 30_000.0 / 1_001.0).abs() < 1e-6, "{}", video.framerate);
    assert_eq!((video.width, video.height), (320, 180));
    let first = reader.next_sample().expect("good").expect("sample");
    assert_eq!((first.timestamp, first.duration), (Duration::ZERO, Duration::from_nanos(33_366_666)));
}

#[test]
fn a_file_is_complete_without_finish() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("a.ivf");
    let mut writer =
        crate::container::create(&path, &MediaInfo::video(Codec::Vp8, 320, 180, 30.0)).expect("creates");
    for n in 0..61_u64 {
        let sample = Sample {
            data: Bytes::from_static(b"frame"),
            timestamp: Duration::from_nanos(n * 1_000_000_000 / 30),
            duration: Duration::from_millis(33),
            keyframe: n == 0,
            discardable: false,
        };
        writer.write(&sample).expect("writes");
    }
    // As after a crash: the writer still exists, only what was flushed is on disk.
    let on_disk = std::fs::read(&path).expect("file");
    let mut reader = open_bytes(on_disk.clone()).expect("opens");
    let mut count = 0;
    while reader.next_sample().expect("whole frames only").is_some() {
        count += 1;
    }
    assert!(count >= 31, "{count} frames on disk");
    assert_eq!(on_disk[24..28], (count as u32).to_le_bytes());
    drop(writer);
    let closed = std::fs::read(&path).expect("file");
    assert_eq!(closed.len(), 32 + 61 * 17);
    assert_eq!(closed[24..28], 61_u32.to_le_bytes());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..300), 1_u64..900_000), 1..40)
    ) {
        let path = PathBuf::from("test");
        let header = Header::for_info(&MediaInfo::video(Codec::Vp9, 64, 48, 30.0), &path).expect("fits");
        let mut buffer = Cursor::new(Vec::new());
        let mut at = 0;
        let mut written = Vec::new();
        {
            let mut writer: Box<dyn crate::container::Writer + '_> =
                Box::new(Writer::new(&mut buffer, path, &header).expect("memory"));
            for (data, step) in frames {
                let sample = Sample {
                    keyframe: bitstream::is_keyframe(Codec::Vp9, &data),
                    data: data.into(),
                    timestamp: header.time(at).expect("small"),
                    duration: Duration::ZERO,
                    discardable: false,
                };
                writer.write(&sample).expect("memory");
                written.push(sample);
                at += step;
            }
            writer.finish().expect("memory");
        }
        let mut reader = open_bytes(buffer.into_inner()).expect("opens");
        for (index, sample) in written.iter().enumerate() {
            let mut read = reader.next_sample().expect("good").expect("sample");
            if let Some(next) = written.get(index + 1) {
                prop_assert_eq!(read.duration, next.timestamp - sample.timestamp);
            }
            read.duration = Duration::ZERO;
            prop_assert_eq!(&read, sample);
        }
        prop_assert!(reader.next_sample().expect("end").is_none());
    }

    #[test]
    fn damaged_files_never_panic(
        flips in prop::collection::vec((0_usize..200, any::<u8>()), 0..8), keep in 0_usize..200
    ) {
        let mut bytes = header_bytes();
        for n in 0..8 {
            bytes.extend(frame_bytes(9, n * 3000, b"some data"));
        }
        for (at, value) in flips {
            bytes[at] = value;
        }
        bytes.truncate(keep);
        drain(bytes);
    }
}
