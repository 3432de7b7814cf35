//! Media files as live streams: read ahead on a thread of their own, handed out when each frame is due.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use darktower_client::container::{self, Codec, ContainerError, MediaInfo, Sample};
use darktower_client::{Error, FrameType, OutgoingFrame, PublishOptions, Publisher, SentUnits, StreamType};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Frames that are due may wait for the network; with the next one, the player waits too and catches up later.
const DUE_FRAMES: usize = 8;
/// How much of a clip the bit rate is measured over.
const MEASURED: Duration = Duration::from_secs(60);
/// Bytes of a unit header, which count in a stream's bit rate.
const UNIT_HEADER: usize = 46;

/// A media file that can be played.
#[derive(Debug, Clone)]
pub(crate) struct Clip {
    path: PathBuf,
    options: container::OpenOptions,
    info: MediaInfo,
    /// Largest number of bits, unit headers included, in any second.
    peak_bitrate_bps: u32,
}

impl Clip {
    /// Looks at a file, and measures its first minute. `h264_framerate` is for raw H.264. Blocks.
    pub(crate) fn open(path: &Path, h264_framerate: Option<f64>) -> Result<Self, ContainerError> {
        let options = container::OpenOptions { h264_framerate };
        let mut reader = container::open_with(path, options)?;
        let mut peak = PeakRate::default();
        while let Some(sample) = reader.next_sample()? {
            if sample.timestamp > MEASURED {
                break;
            }
            peak.add(&sample);
        }
        Ok(Self {
            path: path.to_owned(),
            options,
            info: reader.info().clone(),
            peak_bitrate_bps: peak.bits_per_second(),
        })
    }

    /// The file's name without its folder.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The clip as a stream: codec, sizes and bit rate.
    pub(crate) fn publish_options(&self) -> PublishOptions {
        let codec = self.info.codec.name();
        let mut options = match (&self.info.video, &self.info.audio) {
            (Some(video), _) => {
                PublishOptions::video(codec, video.width, video.height, whole_rate(video.framerate))
            }
            (None, Some(audio)) => PublishOptions::audio(codec, audio.sample_rate, audio.channels.into()),
            (None, None) => PublishOptions::audio(codec, 0, 0),
        };
        options.metadata.max_bitrate = self.peak_bitrate_bps;
        options
    }

    /// The same as a shared screen instead of a camera; audio stays audio.
    pub(crate) fn screen_options(&self) -> PublishOptions {
        let mut options = self.publish_options();
        if self.info.codec.is_video() {
            options.stream_type = StreamType::VideoScreen;
        }
        options
    }

    /// For people: `VP8 640x360` or `Opus`.
    pub(crate) fn description(&self) -> String {
        match &self.info.video {
            Some(video) => format!("{} {}x{}", self.info.codec, video.width, video.height),
            None => self.info.codec.to_string(),
        }
    }

    fn frame_type(&self, sample: &Sample) -> FrameType {
        match (self.info.codec, sample.keyframe) {
            (Codec::Opus, _) => FrameType::Audio,
            (_, true) => FrameType::VideoKey,
            (_, false) => FrameType::VideoDelta,
        }
    }
}

/// Frames per second as signaling has them.
fn whole_rate(framerate: f64) -> u32 {
    // At most a few hundred; the cast saturates.
    framerate.round().max(1.0) as u32
}

/// The largest number of bytes in any second.
#[derive(Debug, Default)]
struct PeakRate {
    window: VecDeque<(Duration, usize)>,
    in_window: usize,
    peak: usize,
}

impl PeakRate {
    fn add(&mut self, sample: &Sample) {
        let bytes = sample.data.len() + UNIT_HEADER;
        self.window.push_back((sample.timestamp, bytes));
        self.in_window += bytes;
        let second_ago = sample.timestamp.checked_sub(Duration::from_secs(1));
        while let Some((_, bytes)) =
            self.window.pop_front_if(|(timestamp, _)| second_ago.is_some_and(|limit| *timestamp <= limit))
        {
            self.in_window -= bytes;
        }
        self.peak = self.peak.max(self.in_window);
    }

    fn bits_per_second(&self) -> u32 {
        u32::try_from(self.peak.saturating_mul(8)).unwrap_or(u32::MAX)
    }
}

/// When playing began, on both clocks. Capture times follow from it and from the clip, so they never drift
/// against each other; clips with the same epoch play in step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    instant: Instant,
    unix_us: u64,
}

impl Epoch {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), unix_us: unix_us() }
    }
}

/// The wall clock: microseconds since the Unix epoch.
pub(crate) fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// A clip that plays.
#[derive(Debug)]
pub(crate) struct Player {
    due: mpsc::Receiver<Result<OutgoingFrame, ContainerError>>,
}

impl Player {
    /// Starts playing, once or over and over; timestamps go on where the last round ended.
    ///
    /// A thread reads and waits, because files block, and because a thread wakes up within a fraction of a
    /// millisecond, where the timers of the runtime are a millisecond late: latency is measured from here.
    pub(crate) fn start(clip: Clip, looping: bool, epoch: Epoch) -> Self {
        let (sender, due) = mpsc::channel(DUE_FRAMES);
        let spawned = thread::Builder::new().name("player".to_owned()).spawn({
            let sender = sender.clone();
            move || {
                if let Err(error) = play(&clip, looping, epoch, &sender) {
                    // Nobody listens any more: then it does not matter.
                    let _ = sender.blocking_send(Err(error));
                }
            }
        });
        if let Err(source) = spawned {
            let error = ContainerError::Io { path: PathBuf::new(), action: "start a thread to read", source };
            sender.try_send(Err(error)).expect("the channel is new");
        }
        Self { due }
    }

    /// The next frame, when it is due; `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Option<Result<OutgoingFrame, ContainerError>> {
        self.due.recv().await
    }

    /// Sends every frame when it is due, until the clip has ended or `stop` is cancelled; `on_sent` hears of each.
    pub(crate) async fn send_to(
        mut self,
        publisher: &mut Publisher,
        stop: &CancellationToken,
        mut on_sent: impl FnMut(&OutgoingFrame, SentUnits),
    ) -> anyhow::Result<()> {
        let mut gate = Gate::default();
        loop {
            let frame = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                frame = self.next() => match frame {
                    Some(frame) => frame?,
                    None => return Ok(()),
                },
            };
            if !gate.lets_pass(frame.frame_type, publisher.is_paused()) {
                continue;
            }
            match publisher.send(frame.clone()).await {
                Ok(units) => on_sent(&frame, units),
                // The server gave this group of pictures up; the next one is welcome.
                Err(Error::StreamEnded(code)) => tracing::debug!(%code, "the server refused a group"),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Keeps back what nobody watches.
#[derive(Debug, Default)]
struct Gate {
    is_shut: bool,
}

impl Gate {
    /// Whether a frame is to be sent. After a pause the first is a key frame.
    fn lets_pass(&mut self, frame_type: FrameType, is_paused: bool) -> bool {
        self.is_shut = is_paused || self.is_shut && frame_type == FrameType::VideoDelta;
        !self.is_shut
    }
}

/// Hands out the frames of `clip` when they are due. Ends early when the receiver is gone.
fn play(
    clip: &Clip,
    looping: bool,
    epoch: Epoch,
    sender: &mpsc::Sender<Result<OutgoingFrame, ContainerError>>,
) -> Result<(), ContainerError> {
    let mut reader = container::open_with(&clip.path, clip.options)?;
    let mut timeline = Timeline::default();
    loop {
        while let Some(sample) = reader.next_sample()? {
            let at = timeline.place(&sample);
            let frame = OutgoingFrame {
                frame_type: clip.frame_type(&sample),
                timestamp_us: epoch.unix_us
                    + u64::try_from(at.as_micros()).unwrap_or(u64::MAX - epoch.unix_us),
                discardable: sample.discardable,
                payload: sample.data,
            };
            thread::sleep((epoch.instant + at).saturating_duration_since(Instant::now()));
            if sender.blocking_send(Ok(frame)).is_err() {
                return Ok(());
            }
        }
        if !looping || timeline.is_empty() {
            return Ok(());
        }
        reader.rewind()?;
        timeline.next_round();
    }
}

/// Where samples stand in time when a clip is played over and over.
#[derive(Debug, Default)]
struct Timeline {
    round_start: Duration,
    end: Duration,
    last: Option<Duration>,
}

impl Timeline {
    /// Time since playing began. Each sample comes later than the one before, if only by a microsecond: frames of
    /// a stream are told apart by their time.
    fn place(&mut self, sample: &Sample) -> Duration {
        let nominal = self.round_start + sample.timestamp;
        let at = self.last.map_or(nominal, |last| nominal.max(last + Duration::from_micros(1)));
        self.last = Some(at);
        self.end = self.end.max(at + sample.duration);
        at
    }

    fn next_round(&mut self) {
        self.round_start = self.end;
    }

    fn is_empty(&self) -> bool {
        self.last.is_none()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sample(ms: u64, len: usize) -> Sample {
        Sample {
            data: Bytes::from(vec![0; len]),
            timestamp: Duration::from_millis(ms),
            duration: Duration::from_millis(20),
            keyframe: true,
            discardable: false,
        }
    }

    #[test]
    fn what_nobody_watches_is_kept_back_up_to_a_key_frame() {
        let mut gate = Gate::default();
        let (key, delta) = (FrameType::VideoKey, FrameType::VideoDelta);
        let seen = [
            (key, false),
            (delta, false),
            (delta, true),
            (key, true),
            (delta, false),
            (key, false),
            (delta, false),
        ];
        let passed = seen.map(|(frame_type, is_paused)| gate.lets_pass(frame_type, is_paused));
        assert_eq!(passed, [true, true, false, false, false, true, true]);
    }

    #[test]
    fn rounds_follow_each_other_without_a_seam() {
        let mut timeline = Timeline::default();
        let mut times = Vec::new();
        for _ in 0..2 {
            times.extend([0, 20, 40].map(|ms| timeline.place(&sample(ms, 1)).as_millis()));
            timeline.next_round();
        }
        assert_eq!(times, [0, 20, 40, 60, 80, 100]);
    }

    #[test]
    fn no_two_frames_have_one_time() {
        let mut timeline = Timeline::default();
        let times = [0, 0, 20].map(|ms| timeline.place(&sample(ms, 1)).as_micros());
        assert_eq!(times, [0, 1, 20_000]);
    }

    #[test]
    fn the_peak_is_over_one_second() {
        let mut peak = PeakRate::default();
        for n in 0..200 {
            peak.add(&sample(20 * n, if n == 100 { 1000 } else { 54 }));
        }
        assert_eq!(peak.bits_per_second(), 8 * (50 * 100 + 946));
    }

    #[test]
    fn frame_rates_are_whole() {
        assert_eq!(whole_rate(29.97), 30);
        assert_eq!(whole_rate(0.1), 1);
        assert_eq!(whole_rate(f64::NAN), 1);
    }
}
