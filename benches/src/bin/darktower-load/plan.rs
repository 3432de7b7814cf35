//! From the command line to the people of a run.

use anyhow::{Result, ensure};

use crate::cli::{AudioRoomArgs, BroadcastArgs, CadenceArgs, MeetingArgs};
use crate::fleet::{MeetingPlan, StreamPlan};
use crate::link::Wanted;
use crate::workload::{Audio, Clip, Model, Video};

/// What can be added to make a run larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grows {
    /// Subscribers, spread over a fixed number of meetings.
    Subscribers,
    /// Whole meetings.
    Meetings,
}

/// A run that has not begun.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) meeting: MeetingPlan,
    pub(crate) meetings: usize,
    /// All meetings together, beside the publishers.
    pub(crate) subscribers: usize,
    pub(crate) grows: Grows,
    /// What one more is called.
    pub(crate) noun: &'static str,
    pub(crate) description: String,
    /// Largest payload of all streams, bytes.
    pub(crate) largest_payload: u32,
    pub(crate) churn_percent_per_minute: f64,
}

impl Plan {
    /// The number that grows.
    pub(crate) fn size(&self) -> usize {
        match self.grows {
            Grows::Subscribers => self.subscribers,
            Grows::Meetings => self.meetings,
        }
    }

    /// People in all, when the number that grows is `size`.
    pub(crate) fn participants(&self, size: usize) -> usize {
        match self.grows {
            Grows::Subscribers => self.meetings * self.meeting.publishers.len() + size,
            Grows::Meetings => size * self.meeting.publishers.len(),
        }
    }
}

/// Broadcast to `subscribers`.
pub(crate) fn fanout(subscribers: usize, args: &BroadcastArgs) -> Result<Plan> {
    let video = match &args.clip {
        Some(path) => Some(Model::Clip(Clip::open(path)?)),
        None if args.video_bitrate.0 == 0.0 => None,
        None => {
            let (rate, fps) = (args.video_bitrate, args.fps);
            Some(Model::Video(Video::new(rate, fps, args.cadence.group_seconds, args.key_frame_bytes)?))
        }
    };
    let audio = audio(&args.cadence, args.audio_bytes, args.audio_bytes)?;
    let models: Vec<Model> = video.into_iter().chain(audio).collect();
    ensure!(!models.is_empty(), "with --video-bitrate 0 and --audio-rate 0 there is nothing to send");
    let publishers = (0..args.publishers).map(|number| {
        let part = number as f64 / args.publishers as f64;
        let streams = models
            .iter()
            .map(|model| StreamPlan { phase: model.interval().mul_f64(part), model: model.clone() });
        streams.collect()
    });
    let rates: Vec<_> =
        models.iter().map(|model| format!("{:.1} kbit/s", model.bit_rate().0 / 1000.0)).collect();
    Ok(Plan {
        meeting: MeetingPlan {
            publishers: publishers.collect(),
            publishers_subscribe: false,
            wanted: Wanted::default(),
        },
        meetings: args.meetings,
        subscribers,
        grows: Grows::Subscribers,
        noun: "subscribers",
        description: format!(
            "fanout: {} meeting(s), {} publisher(s) of {} each",
            args.meetings,
            args.publishers,
            rates.join(" + ")
        ),
        largest_payload: largest(&models),
        churn_percent_per_minute: args.churn,
    })
}

/// Meetings where everybody publishes.
pub(crate) fn meeting(args: &MeetingArgs) -> Result<Plan> {
    ensure!(args.size >= 2, "a meeting of one has nobody to watch: --size 2 or more");
    let group_seconds = args.cadence.group_seconds;
    let thumbnail = Video::new(args.thumbnail_bitrate, args.thumbnail_fps, group_seconds, 0)?;
    let speaker = Video::new(args.speaker_bitrate, args.speaker_fps, group_seconds, 0)?;
    let audio = audio(&args.cadence, args.audio_min_bytes, args.audio_max_bytes)?;
    let publishers = (0..args.size).map(|number| {
        let part = number as f64 / args.size as f64;
        let video = Model::Video(if number == 0 { speaker } else { thumbnail });
        let stream = |model: &Model| {
            // Cameras are not switched on together: nobody's key frames come at the same time.
            let repeats = model.group().unwrap_or(model.interval());
            StreamPlan { phase: repeats.mul_f64(part), model: model.clone() }
        };
        audio.iter().chain([&video]).map(stream).collect()
    });
    Ok(Plan {
        meeting: MeetingPlan {
            publishers: publishers.collect(),
            publishers_subscribe: true,
            wanted: Wanted { audio: None, video: args.watch.map(u32::try_from).transpose()? },
        },
        meetings: args.meetings,
        subscribers: 0,
        grows: Grows::Meetings,
        noun: "meetings",
        description: format!(
            "meeting: {} of {}, everybody publishes {} bit/s of video (one speaker {}) and audio",
            args.meetings, args.size, args.thumbnail_bitrate, args.speaker_bitrate
        ),
        largest_payload: largest(
            &audio.into_iter().chain([thumbnail, speaker].map(Model::Video)).collect::<Vec<_>>(),
        ),
        churn_percent_per_minute: 0.0,
    })
}

/// Speakers and listeners.
pub(crate) fn audio_room(args: &AudioRoomArgs) -> Result<Plan> {
    ensure!(
        args.heard <= args.speakers,
        "--heard {} is more than the {} speakers there are",
        args.heard,
        args.speakers
    );
    let audio = Model::Audio(Audio::new(args.audio_rate, args.audio_bytes, args.audio_bytes)?);
    let publishers = (0..args.speakers).map(|number| {
        let phase = audio.interval().mul_f64(number as f64 / args.speakers as f64);
        vec![StreamPlan { phase, model: audio.clone() }]
    });
    Ok(Plan {
        meeting: MeetingPlan {
            publishers: publishers.collect(),
            publishers_subscribe: false,
            wanted: Wanted { audio: Some(u32::try_from(args.heard)?), video: None },
        },
        meetings: 1,
        subscribers: args.listeners,
        grows: Grows::Subscribers,
        noun: "listeners",
        description: format!(
            "audio room: {} speakers of {:.1} kbit/s, every listener hears {}",
            args.speakers,
            audio.bit_rate().0 / 1000.0,
            args.heard
        ),
        largest_payload: args.audio_bytes,
        churn_percent_per_minute: 0.0,
    })
}

/// The audio of one who publishes, unless there is none.
fn audio(cadence: &CadenceArgs, min_bytes: u32, max_bytes: u32) -> Result<Option<Model>> {
    if cadence.audio_rate == 0.0 {
        return Ok(None);
    }
    Ok(Some(Model::Audio(Audio::new(cadence.audio_rate, min_bytes, max_bytes)?)))
}

fn largest(models: &[Model]) -> u32 {
    let largest = models.iter().map(|model| match model {
        Model::Video(video) => video.key_bytes.max(video.delta_bytes),
        Model::Audio(audio) => audio.max_bytes,
        // A clip brings its own bytes.
        Model::Clip(_) => 0,
    });
    largest.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(args: &[&str]) -> Result<Plan> {
        match Cli::parse_from([&["x"], args].concat()).command {
            Command::Fanout(args) => fanout(args.subscribers, &args.broadcast),
            Command::Meeting(args) => meeting(&args),
            Command::AudioRoom(args) => audio_room(&args),
            _ => panic!("no workload"),
        }
    }

    /// Payload bytes per second that all publishers of a meeting send.
    fn bytes_per_second(plan: &Plan) -> f64 {
        let streams = plan.meeting.publishers.iter().flatten();
        streams.map(|stream| stream.model.bit_rate().0 / 8.0).sum()
    }

    #[test]
    fn the_broadcast_is_that_of_the_specification() {
        let plan = plan(&["fanout"]).unwrap();
        // 30 frames/s in groups of 60: half a key frame and 29.5 deltas; and 50 audio units.
        assert_eq!(bytes_per_second(&plan), 30_000.0 + 29.5 * 9_576.0 + 50.0 * 160.0);
        assert_eq!(plan.participants(200), 201);
        assert_eq!(plan.largest_payload, 60_000);
    }

    #[test]
    fn one_in_a_meeting_speaks() {
        let plan = plan(&["meeting"]).unwrap();
        let rate = bytes_per_second(&plan) * 8.0 / 1000.0;
        // 1200 + 5 x 150 kbit/s of video, 6 x 28 kbit/s of audio.
        assert!((rate - (1200.0 + 750.0 + 168.0)).abs() < 2.0, "{rate}");
        assert_eq!((plan.meetings, plan.participants(40)), (40, 240));
    }

    #[test]
    fn speakers_take_turns_within_20_ms() {
        let plan = plan(&["audio-room"]).unwrap();
        let expected: Vec<_> = (0..10).map(|number| Duration::from_millis(2 * number)).collect();
        let phases: Vec<_> = plan.meeting.publishers.iter().map(|streams| streams[0].phase).collect();
        assert_eq!(phases, expected);
        assert_eq!(bytes_per_second(&plan), 10.0 * 50.0 * 60.0);
        assert_eq!(plan.meeting.wanted.audio, Some(4));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(plan(&["fanout", "--video-bitrate", "0", "--audio-rate", "0"]).is_err());
        assert!(plan(&["audio-room", "--heard", "11"]).is_err());
        assert!(plan(&["meeting", "--size", "1"]).is_err());
    }
}
