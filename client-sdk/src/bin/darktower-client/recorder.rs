//! Received frames to media files, one file per stream, on a thread of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use darktower_client::container::{self, AudioInfo, Codec, MediaInfo, Sample, Writer};
use darktower_client::{Frame, FrameType, StreamMetadata};
use tokio::sync::{mpsc, oneshot};

/// Frames that may wait for the disk: some seconds of a stream.
const WAITING_FRAMES: usize = 256;
/// Characters of a file name's first part.
const MAX_STEM: usize = 100;
/// Files of one name before something must be wrong.
const MAX_NUMBER: u32 = 10_000;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Recorder {
    frames: mpsc::Sender<Frame>,
    outcome: oneshot::Receiver<Result<Option<Recording>>>,
}

/// A finished file.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) path: PathBuf,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
}

impl Recorder {
    /// Records to `dir/stem.ext`, or `dir/stem-2.ext` and so on if there is such a file. The file comes into being
    /// with the first frame; `on_begin` hears of it then, on another thread.
    ///
    /// # Errors
    /// If the codec cannot be stored.
    pub(crate) fn start(
        dir: &Path,
        stem: &str,
        metadata: &StreamMetadata,
        on_begin: impl FnOnce(&Path) + Send + 'static,
    ) -> Result<Self> {
        let info = media_info(metadata)?;
        let (dir, stem) = (dir.to_owned(), file_stem(stem));
        let (frames, mut receiver) = mpsc::channel(WAITING_FRAMES);
        let (done, outcome) = oneshot::channel();
        thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                // Whoever does not wait for the outcome does not want to know it.
                let _ = done.send(write_all(&dir, &stem, &info, on_begin, &mut receiver));
            })
            .context("cannot start a thread to write")?;
        Ok(Self { frames, outcome })
    }

    /// Appends a frame, bit for bit. Waits while the disk is behind.
    ///
    /// # Errors
    /// Why the file cannot be written.
    pub(crate) async fn write(&mut self, frame: Frame) -> Result<()> {
        if self.frames.send(frame).await.is_ok() {
            return Ok(());
        }
        match (&mut self.outcome).await {
            Ok(Err(error)) => Err(error),
            _ => Err(anyhow!("the recording has ended")),
        }
    }

    /// Completes the file; `None` if there was no frame, and so no file.
    pub(crate) async fn finish(self) -> Result<Option<Recording>> {
        drop(self.frames);
        self.outcome.await.context("the recording thread has ended")?
    }
}

fn write_all(
    dir: &Path,
    stem: &str,
    info: &MediaInfo,
    on_begin: impl FnOnce(&Path),
    frames: &mut mpsc::Receiver<Frame>,
) -> Result<Option<Recording>> {
    let Some(first) = frames.blocking_recv() else { return Ok(None) };
    let path = reserve(dir, stem, container::extension(info.codec))?;
    let mut writer = container::create(&path, info)?;
    on_begin(&path);
    let mut recording = Recording { path, frames: 0, bytes: 0, duration: Duration::ZERO };
    let start_us = first.timestamp_us;
    let mut next = Some(first);
    while let Some(frame) = next {
        write(&mut *writer, info, start_us, &frame, &mut recording)?;
        next = frames.blocking_recv();
    }
    writer.finish()?;
    Ok(Some(recording))
}

fn write(
    writer: &mut dyn Writer,
    info: &MediaInfo,
    start_us: u64,
    frame: &Frame,
    recording: &mut Recording,
) -> Result<()> {
    let timestamp = Duration::from_micros(frame.timestamp_us.saturating_sub(start_us));
    let duration = match info.codec {
        Codec::Opus => container::packet_duration(&frame.payload).unwrap_or_default(),
        _ => info.video.map_or(Duration::ZERO, |video| Duration::from_secs_f64(1.0 / video.framerate)),
    };
    let sample = Sample {
        data: frame.payload.clone(),
        timestamp,
        duration,
        keyframe: frame.frame_type != FrameType::VideoDelta,
        discardable: frame.discardable,
    };
    writer.write(&sample)?;
    recording.frames += 1;
    recording.bytes += frame.payload.len() as u64;
    recording.duration = recording.duration.max(timestamp + duration);
    Ok(())
}

/// What the publisher says of a stream, as far as a file needs it.
fn media_info(metadata: &StreamMetadata) -> Result<MediaInfo> {
    let codec = Codec::from_name(&metadata.codec)
        .ok_or_else(|| anyhow!("there is no file format for streams of the codec {:?}", metadata.codec))?;
    if codec.is_video() {
        let video = metadata.video.as_ref();
        let (width, height) = video.map_or((0, 0), |video| (video.width, video.height));
        let framerate = video.map_or(0, |video| video.framerate);
        let framerate = if framerate == 0 { container::DEFAULT_FRAMERATE } else { framerate.into() };
        return Ok(MediaInfo::video(codec, width, height, framerate));
    }
    let audio = metadata.audio.as_ref();
    // Opus decodes to either; a decoder needs one of them to be said.
    let channels = audio.map_or(1, |audio| audio.channels.clamp(1, 2) as u8);
    let sample_rate = audio.map_or(0, |audio| audio.sample_rate);
    let mut info = MediaInfo::opus(channels);
    if sample_rate != 0 {
        info.audio = Some(AudioInfo { sample_rate, channels, ..AudioInfo::default() });
    }
    Ok(info)
}

/// Creates an empty file that did not exist before, and its folder.
fn reserve(dir: &Path, stem: &str, extension: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create the folder {}", dir.display()))?;
    for number in 1..=MAX_NUMBER {
        let name = match number {
            1 => format!("{stem}.{extension}"),
            number => format!("{stem}-{number}.{extension}"),
        };
        let path = dir.join(name);
        match File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }
    Err(anyhow!("{} holds {MAX_NUMBER} files named {stem}-….{extension} already", dir.display()))
}

/// `text`, some of which other participants chose, as the name of a file: letters, digits, `_` and single `-`. Never a
/// path, hidden, or an option.
fn file_stem(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<_> = text.split(|c| !safe(c)).filter(|word| !word.is_empty()).collect();
    let stem: String = words.join("-").chars().take(MAX_STEM).collect();
    if stem.is_empty() { "stream".to_owned() } else { stem }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use darktower_client::{AudioMetadata, VideoMetadata};

    use super::*;

    fn vp8() -> StreamMetadata {
        StreamMetadata {
            codec: "vp8".to_owned(),
            video: Some(VideoMetadata { width: 64, height: 48, framerate: 30, simulcast_layers: vec![] }),
            ..Default::default()
        }
    }

    fn frame(n: u64) -> Frame {
        Frame {
            frame_type: FrameType::VideoKey,
            timestamp_us: 1_700_000_000_000_000 + n * 33_333,
            sequence: n,
            discardable: false,
            payload: Bytes::from(vec![n as u8; 10]),
        }
    }

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(file_stem("../../etc/passwd"), "etc-passwd");
        assert_eq!(file_stem("..\\x:y\0z"), "x-y-z");
        assert_eq!(file_stem("-rf"), "rf");
        assert_eq!(file_stem("Ada/../ Lovelace-VP8"), "Ada-Lovelace-VP8");
        assert_eq!(file_stem("Zoë Müller"), "Zoë-Müller");
        assert_eq!(file_stem("../"), "stream");
        assert_eq!(file_stem(&"x".repeat(1000)).len(), MAX_STEM);
    }

    #[test]
    fn metadata_makes_a_file_header() {
        let info = media_info(&vp8()).expect("VP8 can be stored");
        assert_eq!(info, MediaInfo::video(Codec::Vp8, 64, 48, 30.0));
        let stereo = StreamMetadata {
            codec: "OPUS".to_owned(),
            audio: Some(AudioMetadata { sample_rate: 44_100, channels: 9 }),
            ..Default::default()
        };
        let audio = media_info(&stereo).expect("Opus can be stored").audio.expect("audio");
        assert_eq!((audio.sample_rate, audio.channels), (44_100, 2));
        let other = StreamMetadata { codec: "theora".to_owned(), ..Default::default() };
        assert!(media_info(&other).expect_err("no container").to_string().contains("theora"));
    }

    #[tokio::test]
    async fn files_are_never_overwritten() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for expected in ["a.ivf", "a-2.ivf"] {
            let mut recorder = Recorder::start(dir.path(), "a", &vp8(), |_| {}).expect("started");
            for n in 0..3 {
                recorder.write(frame(n)).await.expect("written");
            }
            let recording = recorder.finish().await.expect("finished").expect("there were frames");
            assert_eq!(recording.path, dir.path().join(expected));
            assert_eq!((recording.frames, recording.bytes), (3, 30));
            let mut reader = container::open(&recording.path).expect("readable");
            for n in 0..3 {
                let sample = reader.next_sample().expect("whole").expect("there");
                assert_eq!(sample.data, frame(n).payload);
            }
        }
    }

    #[tokio::test]
    async fn without_frames_there_is_no_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let recorder = Recorder::start(dir.path(), "a", &vp8(), |_| {}).expect("started");
        assert!(recorder.finish().await.expect("finished").is_none());
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[tokio::test]
    async fn a_failing_disk_is_told_to_the_writer() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let mut recorder = Recorder::start(&file, "a", &vp8(), |_| {}).expect("started");
        recorder.write(frame(0)).await.expect("queued");
        let error = recorder.finish().await.expect_err("a file is no folder");
        assert!(format!("{error:#}").contains("cannot create the folder"), "{error:#}");
    }
}
