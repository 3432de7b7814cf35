//! A participant that writes every stream of a meeting to a file of its own:
//!
//! ```sh
//! cargo run --example recorder_bot -- http://127.0.0.1:8080 http://127.0.0.1:8080/m/NAME recordings
//! ```
//!
//! (`darktower-client record` does the same with more care.)

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use darktower_client::api::Api;
use darktower_client::container::{self, Codec, MediaInfo, Sample};
use darktower_client::{
    FrameType, JoinOptions, Meeting, StreamDescription, StreamMetadata, SubscribeOptions, Trust,
};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(meeting), Some(folder)) = (args.next(), args.next(), args.next()) else {
        bail!("usage: recorder_bot API_URL MEETING FOLDER");
    };
    std::fs::create_dir_all(&folder)?;
    let api = Api::new(&url, Trust::System)?;
    let info = api.meeting(&meeting).await?;
    let grant = api.join_grant(info.meeting_id, "Recorder").await?;
    let meeting = Meeting::join(&grant, JoinOptions::default()).await?;

    // First the events, then the participants: nothing is missed in between.
    let mut events = meeting.events();
    let (mut known, mut recordings) = (HashSet::new(), JoinSet::new());
    loop {
        for stream in meeting.participants().into_iter().flat_map(|participant| participant.streams) {
            if known.insert(stream.stream_id) {
                recordings.spawn(record(meeting.clone(), stream, PathBuf::from(&folder)));
            }
        }
        tokio::select! {
            event = events.next() => if event.is_none() { break },
            _ = tokio::signal::ctrl_c() => break,
            Some(recording) = recordings.join_next() => match recording? {
                Ok(path) => println!("{} is complete", path.display()),
                Err(error) => eprintln!("error: {error:#}"),
            },
        }
    }
    // A file that is dropped is closed in order.
    recordings.shutdown().await;
    // Fails if the session has ended already: the files are whole all the same.
    let _ = meeting.leave().await;
    Ok(())
}

/// Until the stream ends.
async fn record(meeting: Meeting, stream: StreamDescription, folder: PathBuf) -> anyhow::Result<PathBuf> {
    let info = describe(&stream.metadata)?;
    let name = format!("{}.{}", stream.stream_id, container::extension(info.codec));
    let path = folder.join(name);
    let mut file = container::create(&path, &info)?;
    let mut subscriber = meeting.subscribe(stream.stream_id, SubscribeOptions::default()).await?;
    let mut start_us = None;
    while let Some(frame) = subscriber.next_frame().await? {
        let since_start = frame.timestamp_us.saturating_sub(*start_us.get_or_insert(frame.timestamp_us));
        let sample = Sample {
            timestamp: Duration::from_micros(since_start),
            duration: container::packet_duration(&frame.payload)
                .filter(|_| info.codec == Codec::Opus)
                .unwrap_or_default(),
            keyframe: frame.frame_type != FrameType::VideoDelta,
            discardable: frame.discardable,
            data: frame.payload,
        };
        tokio::task::block_in_place(|| file.write(&sample))?;
    }
    tokio::task::block_in_place(|| file.finish())?;
    Ok(path)
}

/// What the publisher says of a stream, as far as a file needs it.
fn describe(metadata: &StreamMetadata) -> anyhow::Result<MediaInfo> {
    let codec = Codec::from_name(&metadata.codec).context("there is no file format for this codec")?;
    if !codec.is_video() {
        let channels = metadata.audio.as_ref().map_or(1, |audio| audio.channels);
        return Ok(MediaInfo::opus(if channels == 2 { 2 } else { 1 }));
    }
    let size = metadata.video.as_ref().map_or((0, 0), |video| (video.width, video.height));
    Ok(MediaInfo::video(codec, size.0, size.1, container::DEFAULT_FRAMERATE))
}
