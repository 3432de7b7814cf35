//! What a published stream looks like: how large which frame is, and when it leaves.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use darktower_client::container;
use darktower_protocol::FrameType;
use darktower_protocol::limits::{MAX_AUDIO_PAYLOAD, MAX_VIDEO_PAYLOAD};

/// The share of a group's bytes that its key frame takes when nobody says otherwise: 60,000 of the 625,000 bytes that
/// 2.5 Mbit/s send in 2 s.
const KEY_FRAME_SHARE: f64 = 0.096;

/// Bits per second, written as `2500000`, `2.5M` or `150k`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BitRate(pub(crate) f64);

impl FromStr for BitRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
            _ => (text, 1.0),
        };
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(Self(value * factor)),
            _ => Err("a bit rate is a number of bit/s, such as 2.5M, 150k or 64000".to_owned()),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate >= 1e6 => write!(f, "{}M", rate / 1e6),
            rate if rate >= 1e3 => write!(f, "{}k", rate / 1e3),
            rate => write!(f, "{rate}"),
        }
    }
}

/// How a stream is made of frames. One frame is one unit.
#[derive(Debug, Clone)]
pub(crate) enum Model {
    Video(Video),
    Audio(Audio),
    Clip(Clip),
}

/// Groups of one key frame and deltas of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Video {
    /// Frames per second.
    pub(crate) fps: f64,
    /// Frames of a group, key frame included.
    pub(crate) group_frames: u32,
    /// Payload bytes of a key frame.
    pub(crate) key_bytes: u32,
    /// Payload bytes of the others.
    pub(crate) delta_bytes: u32,
}

/// Frames of about one size at a fixed rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Audio {
    /// Frames per second.
    pub(crate) per_second: f64,
    /// Payload bytes of the smallest frame.
    pub(crate) min_bytes: u32,
    /// Payload bytes of the largest frame.
    pub(crate) max_bytes: u32,
}

/// A real clip, repeated. It must begin with a key frame.
#[derive(Debug, Clone)]
pub(crate) struct Clip {
    data: Bytes,
    frames: Vec<ClipFrame>,
    fps: f64,
}

#[derive(Debug, Clone, Copy)]
struct ClipFrame {
    offset: u32,
    len: u32,
    key: bool,
}

impl Video {
    /// Video of `rate` payload bits per second, a key frame every `group_seconds`. `key_bytes` 0 = the usual share.
    pub(crate) fn new(rate: BitRate, fps: f64, group_seconds: f64, key_bytes: u32) -> Result<Self> {
        ensure!(fps > 0.0 && fps <= 1000.0, "the frame rate must be above 0 and at most 1000, not {fps}");
        let group_frames = (fps * group_seconds).round();
        ensure!(
            (1.0..=100_000.0).contains(&group_frames),
            "a group of {group_seconds} s at {fps} frames/s has {group_frames} frames; it needs 1 to 100000"
        );
        let group_bytes = rate.0 / 8.0 * (group_frames / fps);
        let key_bytes = if key_bytes == 0 {
            // At least as large as what an even split would give.
            (group_bytes * KEY_FRAME_SHARE).max(group_bytes / group_frames).round() as u32
        } else {
            key_bytes
        };
        let rest = group_bytes - f64::from(key_bytes);
        let delta_bytes = if group_frames > 1.0 { (rest / (group_frames - 1.0)).floor() } else { 0.0 };
        ensure!(
            delta_bytes >= 1.0 || group_frames == 1.0,
            "{rate} bit/s leave no bytes for delta frames beside a key frame of {key_bytes} bytes every {group_seconds} s"
        );
        ensure!(
            key_bytes <= MAX_VIDEO_PAYLOAD && delta_bytes <= f64::from(MAX_VIDEO_PAYLOAD),
            "a video frame may have {MAX_VIDEO_PAYLOAD} bytes at most"
        );
        Ok(Self { fps, group_frames: group_frames as u32, key_bytes, delta_bytes: delta_bytes as u32 })
    }
}

impl Audio {
    /// Audio of `per_second` frames with payloads of `min_bytes` to `max_bytes`.
    pub(crate) fn new(per_second: f64, min_bytes: u32, max_bytes: u32) -> Result<Self> {
        ensure!(
            per_second > 0.0 && per_second <= 1000.0,
            "the audio rate must be above 0 and at most 1000 per second, not {per_second}"
        );
        ensure!(
            min_bytes <= max_bytes && max_bytes <= MAX_AUDIO_PAYLOAD,
            "audio payloads of {min_bytes} to {max_bytes} bytes make no sense: 0 to {MAX_AUDIO_PAYLOAD}, smallest first"
        );
        Ok(Self { per_second, min_bytes, max_bytes })
    }
}

impl Clip {
    /// Reads a video file (IVF or H.264 Annex B).
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut reader = container::open(path)?;
        let Some(info) = reader.info().video else {
            bail!("{} holds no video; give an IVF or H.264 file", path.display());
        };
        let (mut data, mut frames) = (Vec::new(), Vec::new());
        while let Some(sample) = reader.next_sample()? {
            let offset = u32::try_from(data.len()).context("the clip is over 4 GiB")?;
            let len = u32::try_from(sample.data.len()).context("a frame is over 4 GiB")?;
            ensure!(len <= MAX_VIDEO_PAYLOAD, "{}: a frame of {len} bytes is too large", path.display());
            data.extend_from_slice(&sample.data);
            frames.push(ClipFrame { offset, len, key: sample.keyframe });
        }
        ensure!(
            frames.first().is_some_and(|frame| frame.key),
            "{} does not begin with a key frame",
            path.display()
        );
        let fps = if info.framerate > 0.0 { info.framerate } else { container::DEFAULT_FRAMERATE };
        Ok(Self { data: data.into(), frames, fps })
    }
}

impl Model {
    pub(crate) fn is_audio(&self) -> bool {
        matches!(self, Self::Audio(_))
    }

    /// Time between two frames.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs_f64(match self {
            Self::Video(video) => video.fps.recip(),
            Self::Audio(audio) => audio.per_second.recip(),
            Self::Clip(clip) => clip.fps.recip(),
        })
    }

    /// Time between two key frames, if they come regularly.
    pub(crate) fn group(&self) -> Option<Duration> {
        match self {
            Self::Video(video) => Some(Duration::from_secs_f64(f64::from(video.group_frames) / video.fps)),
            Self::Audio(_) | Self::Clip(_) => None,
        }
    }

    /// Payload bits per second in the long run.
    pub(crate) fn bit_rate(&self) -> BitRate {
        BitRate(match self {
            Self::Video(video) => {
                let deltas = f64::from(video.group_frames - 1) * f64::from(video.delta_bytes);
                (f64::from(video.key_bytes) + deltas) * 8.0 * video.fps / f64::from(video.group_frames)
            }
            Self::Audio(audio) => f64::from(audio.min_bytes + audio.max_bytes) / 2.0 * 8.0 * audio.per_second,
            Self::Clip(clip) => clip.data.len() as f64 * 8.0 * clip.fps / clip.frames.len() as f64,
        })
    }
}

/// The next frame to send: its type and where its payload lies in the stream's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) frame_type: FrameType,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// Makes the frames of one stream, in order.
#[derive(Debug)]
pub(crate) struct Source {
    model: Model,
    /// Where payloads come from: noise of everybody, or the clip.
    buffer: Bytes,
    /// Makes the payloads of two streams differ.
    seed: u64,
    made: u64,
    /// Position in the group, or in the clip.
    position: u32,
}

/// Bytes of noise beyond the largest payload. A prime, so that offsets wander over all of it.
const NOISE_SPAN: u64 = 1_048_573;

impl Source {
    /// `noise` must come from [`noise`]; a clip brings its own bytes.
    pub(crate) fn new(model: Model, noise: &Bytes, seed: u64) -> Self {
        let buffer = match &model {
            Model::Clip(clip) => clip.data.clone(),
            Model::Video(_) | Model::Audio(_) => noise.clone(),
        };
        Self { model, buffer, seed: mix(seed), made: 0, position: 0 }
    }

    pub(crate) fn buffer(&self) -> &Bytes {
        &self.buffer
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The next frame is a key frame.
    pub(crate) fn restart_group(&mut self) {
        self.position = 0;
    }

    /// The next frame; a key frame if one is wanted and the stream is not a clip, which has its own at fixed places.
    pub(crate) fn next_frame(&mut self, key_frame_wanted: bool) -> Frame {
        let number = self.made;
        self.made += 1;
        let offset = (mix(self.seed ^ number) % NOISE_SPAN) as u32;
        match &self.model {
            Model::Audio(audio) => {
                let spread = u64::from(audio.max_bytes - audio.min_bytes) + 1;
                let len = audio.min_bytes + (mix(self.seed ^ number ^ 0x5eed) % spread) as u32;
                Frame { frame_type: FrameType::Audio, offset, len }
            }
            Model::Video(video) => {
                if key_frame_wanted {
                    self.position = 0;
                }
                let key = self.position == 0;
                self.position = (self.position + 1) % video.group_frames;
                let (frame_type, len) = if key {
                    (FrameType::VideoKey, video.key_bytes)
                } else {
                    (FrameType::VideoDelta, video.delta_bytes)
                };
                Frame { frame_type, offset, len }
            }
            Model::Clip(clip) => {
                let frame = clip.frames[self.position as usize];
                self.position = (self.position + 1) % clip.frames.len() as u32;
                let frame_type = if frame.key { FrameType::VideoKey } else { FrameType::VideoDelta };
                Frame { frame_type, offset: frame.offset, len: frame.len }
            }
        }
    }
}

/// Pseudo-random bytes, the same in every run, for payloads of up to `largest` bytes.
pub(crate) fn noise(largest: u32) -> Bytes {
    let words = (NOISE_SPAN as usize + largest as usize).div_ceil(8) as u64;
    (0..words).flat_map(|word| mix(word).to_le_bytes()).collect()
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose output passes for random.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_in(source: &mut Source, frames: u32) -> u64 {
        (0..frames).map(|_| u64::from(source.next_frame(false).len)).sum()
    }

    #[test]
    fn the_broadcast_workload_has_exactly_its_bytes() {
        let video = Video::new("2.5M".parse().unwrap(), 30.0, 2.0, 60_000).unwrap();
        assert_eq!(video, Video { fps: 30.0, group_frames: 60, key_bytes: 60_000, delta_bytes: 9_576 });
        let mut source = Source::new(Model::Video(video), &noise(60_000), 1);
        assert_eq!(bytes_in(&mut source, 60), 60_000 + 59 * 9_576);
        let mut audio = Source::new(Model::Audio(Audio::new(50.0, 160, 160).unwrap()), &noise(160), 2);
        assert_eq!(bytes_in(&mut audio, 50), 8_000);
    }

    #[test]
    fn the_usual_key_frame_share_is_that_of_the_broadcast_workload() {
        let video = Video::new("2.5M".parse().unwrap(), 30.0, 2.0, 0).unwrap();
        assert_eq!((video.key_bytes, video.delta_bytes), (60_000, 9_576));
        let thumbnail = Model::Video(Video::new("150k".parse().unwrap(), 15.0, 2.0, 0).unwrap());
        assert!((thumbnail.bit_rate().0 - 150e3).abs() < 150.0, "{}", thumbnail.bit_rate());
    }

    #[test]
    fn audio_sizes_stay_in_their_range_and_reach_its_ends() {
        let mut source = Source::new(Model::Audio(Audio::new(50.0, 60, 80).unwrap()), &noise(80), 3);
        let sizes: Vec<_> = (0..2000).map(|_| source.next_frame(false).len).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&60), Some(&80)));
    }

    #[test]
    fn a_wanted_key_frame_begins_a_group() {
        let video = Video { fps: 30.0, group_frames: 3, key_bytes: 30, delta_bytes: 10 };
        let mut source = Source::new(Model::Video(video), &noise(30), 4);
        let wanted = [false, false, true, false, false, false];
        let lens = wanted.map(|wanted| source.next_frame(wanted).len);
        assert_eq!(lens, [30, 10, 30, 10, 10, 30]);
    }

    #[test]
    fn payloads_of_neighbours_and_of_streams_differ() {
        let model = Model::Audio(Audio::new(50.0, 60, 60).unwrap());
        let noise = noise(60);
        let payloads: std::collections::HashSet<_> = (0..4)
            .flat_map(|seed| {
                let mut source = Source::new(model.clone(), &noise, seed);
                let frames: Vec<_> = (0..500).map(|_| source.next_frame(false)).collect();
                frames.into_iter().map(|frame| noise.slice(frame.offset as usize..).slice(..60))
            })
            .collect();
        assert!(payloads.len() > 1_990, "{} of 2000 payloads differ", payloads.len());
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let error = Video::new("100k".parse().unwrap(), 30.0, 2.0, 60_000).unwrap_err();
        assert!(error.to_string().contains("leave no bytes for delta frames"), "{error}");
        assert!(Video::new(BitRate(1e6), 0.0, 2.0, 0).is_err());
        assert!(Audio::new(50.0, 80, 60).is_err());
        assert!("2,5M".parse::<BitRate>().is_err());
    }
}
