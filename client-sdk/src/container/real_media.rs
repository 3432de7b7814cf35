//! The readers and writers against real encoders, with ffmpeg as the judge: as many samples as it sees packets, the
//! same key frames, and a rewritten file that decodes to the same pictures and sound without a complaint.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Codec, MediaInfo, Sample, create, extension, open};

/// Runs ffmpeg or ffprobe, which must succeed and print no error; returns its output.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = match Command::new(program).args(["-v", "error"]).args(arguments).output() {
        Ok(output) => output,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!("{program} is not installed; `cargo xtask test` installs what the tests need")
        }
        Err(e) => panic!("{program}: {e}"),
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{program} {arguments:?}: {complaints}");
    String::from_utf8(output.stdout).expect("ffmpeg prints UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Two seconds of moving picture, 160 x 120 at 25 frames per second, encoded as told.
fn encode_video(dir: &Path, name: &str, encoder: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let input = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2", "-pix_fmt", "yuv420p"];
    run("ffmpeg", &[&input[..], encoder, &[text(&path)]].concat());
    path
}

/// About two seconds of sound, ending off the packet grid so that the end is trimmed.
fn encode_audio(dir: &Path, name: &str, encoder: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let input = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=2.0033"];
    run("ffmpeg", &[&input[..], &["-c:a", "libopus"], encoder, &[text(&path)]].concat());
    path
}

fn read_all(path: &Path) -> (MediaInfo, Vec<Sample>) {
    let mut reader = open(path).expect("opens");
    let mut passes = [Vec::new(), Vec::new()];
    for pass in &mut passes {
        while let Some(sample) = reader.next_sample().expect("a good file") {
            pass.push(sample);
        }
        reader.rewind().expect("rewinds");
    }
    let [first, second] = passes;
    assert_eq!(first, second, "a second pass reads the same");
    (reader.info().clone(), first)
}

fn rewrite(info: &MediaInfo, samples: &[Sample], dir: &Path) -> PathBuf {
    let path = dir.join("rewritten").with_extension(extension(info.codec));
    let mut writer = create(&path, info).expect("creates");
    for sample in samples {
        writer.write(sample).expect("writes");
    }
    writer.finish().expect("finishes");
    path
}

/// What ffprobe says of each packet: whether it is a key frame, and its size.
fn probed_packets(path: &Path) -> Vec<(bool, usize)> {
    let out = run("ffprobe", &["-show_entries", "packet=size,flags", "-of", "csv=p=0", text(path)]);
    let parse = |line: &str| {
        let (size, flags) = line.split_once(',').expect("two fields");
        (flags.starts_with('K'), size.parse().expect("a size"))
    };
    out.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// The hash of every decoded picture. Times are left out: they differ with the time base of the file.
fn picture_hashes(path: &Path) -> Vec<String> {
    let out = run("ffmpeg", &["-i", text(path), "-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let hash = |line: &str| line.rsplit(',').next().map(|hash| hash.trim().to_owned());
    out.lines().filter(|line| !line.starts_with('#')).filter_map(hash).collect()
}

fn check_video(codec: Codec, name: &str, encoder: &[&str]) -> (Vec<Sample>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = encode_video(dir.path(), name, encoder);
    let (info, samples) = read_all(&source);
    let video = info.video.expect("video");
    assert_eq!((info.codec, video.width, video.height), (codec, 160, 120));
    assert!((video.framerate - 25.0).abs() < 0.6, "{} frames per second", video.framerate);

    let ours: Vec<(bool, usize)> = samples.iter().map(|s| (s.keyframe, s.data.len())).collect();
    assert_eq!(ours, probed_packets(&source));
    assert!(ours[0].0 && ours.iter().any(|(keyframe, _)| !keyframe), "the clip must exercise both kinds");

    let rewritten = rewrite(&info, &samples, dir.path());
    let hashes = picture_hashes(&rewritten);
    assert_eq!(hashes, picture_hashes(&source));
    assert!(hashes.len() >= 50, "{} pictures", hashes.len());
    let (info_again, samples_again) = read_all(&rewritten);
    let data = |samples: &[Sample]| samples.iter().map(|s| s.data.clone()).collect::<Vec<_>>();
    assert_eq!(info_again.video.map(|v| (v.width, v.height)), Some((160, 120)));
    assert_eq!(data(&samples_again), data(&samples));
    (samples, std::fs::read(rewritten).expect("file"))
}

const EVERY_20: [&str; 4] = ["-g", "20", "-b:v", "200k"];

#[test]
fn vp8() {
    let realtime = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"];
    let (samples, file) = check_video(Codec::Vp8, "a.ivf", &[&realtime[..], &EVERY_20].concat());
    assert_eq!(samples.len(), 50);
    assert_eq!(file[24..28], 50_u32.to_le_bytes(), "frame count in the header");
}

#[test]
fn vp8_with_hidden_frames() {
    let hidden = ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-cpu-used", "5"];
    check_video(Codec::Vp8, "a.ivf", &[&hidden[..], &["-deadline", "good"], &EVERY_20].concat());
}

#[test]
fn vp9() {
    let encoder = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"];
    check_video(Codec::Vp9, "a.ivf", &[&encoder[..], &EVERY_20].concat());
}

#[test]
fn vp9_with_superframes() {
    let encoder = ["-c:v", "libvpx-vp9", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-cpu-used", "5"];
    check_video(Codec::Vp9, "a.ivf", &[&encoder[..], &EVERY_20].concat());
}

#[test]
fn av1_from_libaom() {
    let encoder = ["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0"];
    check_video(Codec::Av1, "a.ivf", &[&encoder[..], &EVERY_20].concat());
}

#[test]
fn av1_with_hidden_frames() {
    let encoder = ["-c:v", "libaom-av1", "-cpu-used", "8", "-lag-in-frames", "16"];
    check_video(Codec::Av1, "a.ivf", &[&encoder[..], &EVERY_20].concat());
}

fn check_h264(encoder: &[&str]) -> Vec<Sample> {
    let base = ["-c:v", "libx264", "-preset", "veryfast", "-g", "20"];
    let (samples, file) = check_video(Codec::H264, "a.h264", &[&base[..], encoder].concat());
    let joined: Vec<u8> = samples.iter().flat_map(|s| s.data.iter().copied()).collect();
    assert!(joined == file, "samples add up to the file");
    assert_eq!(samples.len(), 50);
    samples
}

#[test]
fn h264_realtime() {
    let samples = check_h264(&["-profile:v", "baseline", "-tune", "zerolatency"]);
    assert!(samples.iter().all(|s| !s.discardable));
}

#[test]
fn h264_with_b_frames() {
    let samples = check_h264(&["-bf", "2", "-b_strategy", "0", "-x264-params", "b-pyramid=none"]);
    assert!(samples.iter().filter(|s| s.discardable).count() > 10);
    assert!(samples.iter().all(|s| !(s.discardable && s.keyframe)));
}

#[test]
fn h264_with_slices_and_delimiters() {
    check_h264(&["-x264-params", "slices=4:aud=1"]);
    check_h264(&["-x264-params", "slice-max-size=300:repeat-headers=1", "-bf", "0"]);
}

#[test]
fn h264_without_its_disposable_frames_still_decodes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let encoder = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-b_strategy", "0"];
    let (info, samples) = read_all(&encode_video(dir.path(), "a.h264", &encoder));
    let kept: Vec<Sample> = samples.into_iter().filter(|s| !s.discardable).collect();
    assert!(kept.len() < 45);
    let hashes = picture_hashes(&rewrite(&info, &kept, dir.path()));
    assert_eq!(hashes.len(), kept.len());
}

fn sound_hash(path: &Path) -> String {
    run("ffmpeg", &["-i", text(path), "-f", "md5", "-"])
}

fn check_opus(encoder: &[&str], packet_ms: f64) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = encode_audio(dir.path(), "a.ogg", encoder);
    let (info, samples) = read_all(&source);
    let audio = info.audio.expect("audio");
    assert_eq!(info.codec, Codec::Opus);
    assert!(audio.pre_skip > 0);
    assert_eq!(samples.len(), probed_packets(&source).len());
    let (last, others) = samples.split_last().expect("samples");
    assert!(
        others.iter().all(|s| s.keyframe && (s.duration.as_secs_f64() * 1000.0 - packet_ms).abs() < 1e-6)
    );
    let end = (last.timestamp + last.duration).as_secs_f64() - f64::from(audio.pre_skip) / 48_000.0;
    assert!((end - 2.0033).abs() < 0.0001, "ends after {end} s");

    let rewritten = rewrite(&info, &samples, dir.path());
    assert_eq!(sound_hash(&rewritten), sound_hash(&source));
    assert_eq!(read_all(&rewritten), (info, samples));
}

#[test]
fn opus_20_ms() {
    check_opus(&["-ac", "1", "-b:a", "32k", "-application", "voip"], 20.0);
}

#[test]
fn opus_10_ms_stereo() {
    check_opus(&["-ac", "2", "-b:a", "96k", "-frame_duration", "10"], 10.0);
}

#[test]
fn opus_with_lost_packets_keeps_its_length() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (info, samples) = read_all(&encode_audio(dir.path(), "a.ogg", &["-ac", "1", "-b:a", "32k"]));
    let kept: Vec<Sample> =
        samples.iter().enumerate().filter(|(n, _)| !(40..60).contains(n)).map(|(_, s)| s.clone()).collect();
    let rewritten = rewrite(&info, &kept, dir.path());
    let (_, with_concealment) = read_all(&rewritten);
    assert_eq!(with_concealment.len(), samples.len());
    let duration = run("ffprobe", &["-show_entries", "format=duration", "-of", "csv=p=0", text(&rewritten)]);
    let duration: f64 = duration.trim().parse().expect("a number");
    assert!((duration - 2.0033 - f64::from(info.audio.expect("audio").pre_skip) / 48_000.0).abs() < 0.01);
    sound_hash(&rewritten);
}
