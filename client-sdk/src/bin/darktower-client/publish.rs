//! `darktower-client publish`: media files as live streams.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use darktower_client::{Event, FeedbackReceiver, Meeting, ParticipantState, Publisher, StreamId, StreamType};
use tokio::task::JoinSet;

use crate::connection::{self, Target, WithoutMeeting};
use crate::player::{Clip, Epoch, Player};
use crate::stop::Stop;
use crate::table::{Align, Screen, Table, kbps, printable};

const EXAMPLES: &str = "\
Examples:
  darktower-client publish talk.ivf talk.ogg --loop
      creates a meeting, prints its address, and sends picture and sound until Ctrl-C
  darktower-client publish slides.ivf --screen --meeting ADDRESS --name Ada
      shows slides.ivf once, as a shared screen, in a meeting that exists
  darktower-client publish camera.h264 --framerate 25
      raw H.264 says nothing of time: 25 frames per second

Files that ffmpeg makes for this:
  ffmpeg -i talk.mp4 -an -c:v libvpx -b:v 1M -g 60 talk.ivf
  ffmpeg -i talk.mp4 -an -c:v libx264 -bf 0 -g 60 talk.h264
  ffmpeg -i talk.mp4 -vn -c:a libopus -b:a 32k talk.ogg

ADDRESS is what `publish` printed when it created the meeting, or http://HOST/m/NAME.
A clip cannot make key frames on demand: KEY REQ counts how often the server asked
for one.";

/// How long the last frames may take to arrive after Ctrl-C.
const FINISH_LIMIT: Duration = Duration::from_millis(1500);

/// Publish media files as live streams, paced in real time
///
/// One stream per file: IVF (VP8, VP9 or AV1), raw H.264 (Annex B) or Ogg Opus, recognised by content. Nothing is
/// re-encoded. Without --meeting a new meeting is created and its address printed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Media files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Start again at the end of each file [default: end with the longest file]
    #[arg(long = "loop")]
    looping: bool,
    /// Publish the pictures as a shared screen instead of a camera
    #[arg(long)]
    screen: bool,
    /// Frames per second of raw H.264 [default: what the file says, else 30]
    #[arg(long, value_name = "FPS", value_parser = parse_framerate)]
    framerate: Option<f64>,
    #[command(flatten)]
    connection: connection::Args,
}

fn parse_framerate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1000.0 => Ok(rate),
        _ => Err("expected a number above 0, at most 1000".to_owned()),
    }
}

/// A clip on its way, as the progress table shows it.
struct Progress {
    clip: Clip,
    stream_id: StreamId,
    wishes: Arc<Wishes>,
}

/// What the server asked of a publisher.
#[derive(Debug, Default)]
struct Wishes {
    key_frames: AtomicU64,
    paused: AtomicBool,
}

impl Wishes {
    async fn follow(self: Arc<Self>, mut feedback: FeedbackReceiver) {
        while let Some(feedback) = feedback.next().await {
            self.key_frames.fetch_add(feedback.key_frame_requested.into(), Ordering::Relaxed);
            self.paused.store(feedback.paused, Ordering::Relaxed);
        }
    }
}

/// Tells the others that there is a picture: they show it only then.
pub(crate) async fn say_what_is_on(meeting: &Meeting, published: &[StreamType]) -> Result<()> {
    let state = ParticipantState {
        video_on: published.contains(&StreamType::VideoCamera),
        screen_sharing: published.contains(&StreamType::VideoScreen),
        ..meeting.state()
    };
    meeting.set_state(state).await.context("cannot tell the others what is published")
}

pub(crate) async fn run(args: Args, stop: Stop) -> Result<()> {
    // Before the meeting: nobody wants a meeting for a file that cannot be read.
    let clips = open_clips(args.files, args.framerate).await?;
    let name = clips.first().map_or_else(String::new, Clip::name);
    let target = Target::find(args.connection, WithoutMeeting::Create(&name)).await?;
    let meeting = target.join("publisher").await?;

    let mut publishers = Vec::new();
    let mut progress = Vec::new();
    let mut kinds = Vec::new();
    for clip in clips {
        let options = if args.screen { clip.screen_options() } else { clip.publish_options() };
        kinds.push(options.stream_type);
        let publisher =
            meeting.publish(options).await.with_context(|| format!("cannot publish {}", clip.name()))?;
        let wishes = Arc::new(Wishes::default());
        tokio::spawn(Arc::clone(&wishes).follow(publisher.feedback()));
        progress.push(Progress { clip: clip.clone(), stream_id: publisher.stream_id(), wishes });
        publishers.push((publisher, clip));
    }
    say_what_is_on(&meeting, &kinds).await?;
    let mut screen = Screen::new();
    let new = if target.is_new { "new meeting " } else { "meeting " };
    screen.print(&format!("{new}{}", target.address))?;
    screen.print(&format!("  to watch    {}", target.hint("watch")))?;
    screen.print(&format!("  to record   {} --out recordings", target.hint("record")))?;
    screen.print("  to stop     Ctrl-C")?;
    screen.print("")?;

    let epoch = Epoch::now();
    let mut playing = JoinSet::new();
    for (mut publisher, clip) in publishers {
        let (stop, looping) = (stop.clone(), args.looping);
        playing.spawn(async move {
            let name = clip.name();
            let player = Player::start(clip, looping, epoch);
            player
                .send_to(&mut publisher, stop.token(), |_, _| {})
                .await
                .with_context(|| format!("while publishing {name}"))?;
            finish(publisher, &stop).await
        });
    }
    let outcome = show(&meeting, &progress, &mut playing, &mut screen).await;
    connection::leave(meeting).await;
    outcome
}

async fn open_clips(files: Vec<PathBuf>, framerate: Option<f64>) -> Result<Vec<Clip>> {
    let open = move || files.iter().map(|file| Ok(Clip::open(file, framerate)?)).collect();
    tokio::task::spawn_blocking(open).await.context("reading the files failed")?
}

/// Draws the progress until every clip has ended.
async fn show(
    meeting: &Meeting,
    progress: &[Progress],
    playing: &mut JoinSet<Result<()>>,
    screen: &mut Screen,
) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let mut events = meeting.events();
    loop {
        tokio::select! {
            _ = tick.tick() => screen.draw(&lines(meeting, progress))?,
            event = events.next() => match event {
                Some(Event::Closed { code, message }) => return Err(connection::closed(code, &message)),
                Some(event) => if let Some(news) = connection::news(&event) {
                    screen.print(&news)?;
                },
                None => return Err(anyhow::anyhow!("the session has ended")),
            },
            clip = playing.join_next() => match clip {
                Some(outcome) => outcome.context("publishing failed")??,
                None => return Ok(screen.draw(&lines(meeting, progress))?),
            },
        }
    }
}

fn lines(meeting: &Meeting, progress: &[Progress]) -> Vec<String> {
    let statistics = meeting.statistics();
    let mut table = Table::new([
        ("FILE", Align::Left),
        ("STREAM", Align::Left),
        ("FPS", Align::Right),
        ("KBIT/S", Align::Right),
        ("FRAMES", Align::Right),
        ("KEY REQ", Align::Right),
        ("", Align::Left),
    ]);
    for Progress { clip, stream_id, wishes } in progress {
        let Some(sent) = statistics.streams.iter().find(|stream| stream.stream_id == *stream_id) else {
            continue;
        };
        let note = match (sent.ended, wishes.paused.load(Ordering::Relaxed)) {
            (true, _) => "ended",
            (false, true) => "nobody watches",
            (false, false) => "",
        };
        table.row([
            printable(&clip.name(), 24),
            clip.description(),
            format!("{:.1}", sent.frame_rate),
            kbps(sent.bitrate_bps),
            sent.frames.to_string(),
            wishes.key_frames.load(Ordering::Relaxed).to_string(),
            note.to_owned(),
        ]);
    }
    table.lines()
}

/// Ends a stream so that its last frames arrive; after Ctrl-C, within a moment.
async fn finish(publisher: Publisher, stop: &Stop) -> Result<()> {
    let limit = async {
        stop.requested().await;
        tokio::time::sleep(FINISH_LIMIT).await;
    };
    tokio::select! {
        finished = publisher.finish() => Ok(finished?),
        () = limit => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_sensible() {
        assert_eq!(parse_framerate("29.97"), Ok(29.97));
        for bad in ["0", "-1", "1001", "nan", "inf", "fast"] {
            assert!(parse_framerate(bad).is_err(), "{bad:?}");
        }
    }
}
