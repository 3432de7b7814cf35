//! `darktower-client record`: every stream of a meeting to a file of its own.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use darktower_client::{Event, Meeting, Participant, StreamDescription, StreamId, SubscribeOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Target, WithoutMeeting};
use crate::recorder::{Recorder, Recording};
use crate::roster;
use crate::stop::Stop;
use crate::table::{Align, Screen, Table, printable};

/// Of the participant, unless the user chooses another.
const NAME: &str = "recorder";

const EXAMPLES: &str = "\
Examples:
  darktower-client record --meeting ADDRESS --out recordings
      every stream, also those that are published later, until Ctrl-C
  darktower-client record --meeting ADDRESS --out recordings --seconds 60
      for a minute
  ffplay recordings/Ada-VP8-0192f0c1.ivf
      plays one of the files

Files are named PARTICIPANT-CODEC-STREAM.EXT, with .ivf for VP8, VP9 and AV1, .h264
for raw H.264, .ogg for Opus. A file that exists is never overwritten. Frames are
written as they came, bit for bit.";

/// Write the streams of a meeting to files, without re-encoding
///
/// Subscribes to every stream of the meeting, also to those that are published later, and writes each to a file of its
/// own as it arrives.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder to write to; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Stop after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Only streams with these ids (see `watch --json`); ends when all of them have ended
    #[arg(long = "stream", value_name = "ID", num_args = 1..)]
    streams: Vec<StreamId>,
    #[command(flatten)]
    connection: connection::Args,
}

/// What became of one stream.
struct Outcome {
    stream_id: StreamId,
    recording: Result<Option<Recording>>,
}

pub(crate) async fn run(args: Args, stop: Stop) -> Result<()> {
    let target = Target::find(args.connection, WithoutMeeting::Refuse).await?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create the folder {}", args.out.display()))?;
    let meeting = target.join(NAME).await?;
    let mut screen = Screen::new();
    let name = printable(meeting.display_name(), 60);
    let until = args.seconds.map_or_else(|| "until Ctrl-C".to_owned(), |seconds| format!("for {seconds} s"));
    screen.print(&format!("recording {name} to {} {until}", args.out.display()))?;
    if meeting.participants().iter().all(|participant| participant.streams.is_empty()) {
        screen.print("  nobody publishes yet: waiting")?;
    }

    let mut session = Session {
        chosen: args.streams.iter().copied().collect(),
        out: args.out,
        meeting: meeting.clone(),
        name: target.name_or(NAME).to_owned(),
        seen: HashSet::new(),
        tasks: JoinSet::new(),
        end: CancellationToken::new(),
        outcomes: Vec::new(),
    };
    let ended = session.record(args.seconds.map(Duration::from_secs), &stop).await;
    session.finish().await;
    session.outcomes.sort_by_key(|outcome| match &outcome.recording {
        Ok(Some(recording)) => recording.path.clone(),
        _ => PathBuf::new(),
    });
    let lost = lost_units(&meeting);
    connection::leave(meeting).await;
    summarize(&session.outcomes, &lost, &mut screen)?;
    ended?;
    let failed = session.outcomes.iter().filter(|outcome| outcome.recording.is_err()).count();
    ensure!(failed == 0, "{failed} of {} streams were not recorded to the end", session.outcomes.len());
    Ok(())
}

struct Session {
    meeting: Meeting,
    /// As which it has joined.
    name: String,
    out: PathBuf,
    /// Empty = all.
    chosen: HashSet<StreamId>,
    seen: HashSet<StreamId>,
    tasks: JoinSet<Outcome>,
    end: CancellationToken,
    outcomes: Vec<Outcome>,
}

impl Session {
    /// Until the time is over, the user has seen enough, or all chosen streams have ended.
    async fn record(&mut self, limit: Option<Duration>, stop: &Stop) -> Result<()> {
        let mut events = self.meeting.events();
        self.begin_new();
        let mut over = std::pin::pin!(stop.requested_within(limit));
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                event = events.next() => match event {
                    Some(Event::Closed { code, message }) => return Err(connection::closed(code, &message)),
                    Some(event) => {
                        connection::tell(&self.name, &event);
                        self.begin_new();
                    }
                    None => return Err(anyhow::anyhow!("the session has ended")),
                },
                Some(outcome) = self.tasks.join_next() => {
                    self.take(outcome);
                    let ended = |stream_id: &StreamId| self.outcomes.iter().any(|outcome| outcome.stream_id == *stream_id);
                    if !self.chosen.is_empty() && self.chosen.iter().all(ended) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn begin_new(&mut self) {
        for (participant, stream) in roster::take_new(&self.meeting, &mut self.seen) {
            if self.chosen.is_empty() || self.chosen.contains(&stream.stream_id) {
                let (meeting, out, end) = (self.meeting.clone(), self.out.clone(), self.end.clone());
                self.tasks.spawn(async move {
                    let recording = record_stream(&meeting, &out, &participant, &stream, &end).await;
                    Outcome { stream_id: stream.stream_id, recording }
                });
            }
        }
    }

    /// Completes every file.
    async fn finish(&mut self) {
        self.end.cancel();
        while let Some(outcome) = self.tasks.join_next().await {
            self.take(outcome);
        }
    }

    fn take(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        match outcome {
            Ok(outcome) => {
                if let Err(error) = &outcome.recording {
                    eprintln!("error: {error:#}");
                }
                self.outcomes.push(outcome);
            }
            Err(error) => tracing::error!(%error, "a recording failed"),
        }
    }
}

/// Records one stream until it or the command ends.
async fn record_stream(
    meeting: &Meeting,
    out: &Path,
    participant: &Participant,
    stream: &StreamDescription,
    end: &CancellationToken,
) -> Result<Option<Recording>> {
    let what = format!("{} of {}", roster::description(stream), printable(&participant.name, 40));
    // The last group of a UUIDv7 is random; the first is the time, alike for streams published together.
    let id = stream.stream_id.to_string();
    let short_id = id.rsplit('-').next().unwrap_or_default().get(..8).unwrap_or_default().to_owned();
    let stem = format!("{}-{}-{short_id}", participant.name, stream.metadata.codec);
    let announced = what.clone();
    let mut recorder = Recorder::start(out, &stem, &stream.metadata, move |path| {
        // Nobody reads standard output any more: the recording goes on.
        let _ = writeln!(io::stdout(), "  {} ({announced})", path.display());
    })
    .with_context(|| format!("cannot record {what}"))?;
    let mut subscriber = meeting
        .subscribe(stream.stream_id, SubscribeOptions::default())
        .await
        .with_context(|| format!("cannot subscribe to {what}"))?;
    loop {
        let frame = tokio::select! {
            frame = subscriber.next_frame() => frame,
            () = end.cancelled() => break,
        };
        match frame {
            Ok(Some(frame)) => {
                recorder.write(frame).await.with_context(|| format!("cannot record {what}"))?;
            }
            // What ended the session is told once, by the session.
            Ok(None) | Err(_) => break,
        }
    }
    recorder.finish().await.with_context(|| format!("cannot record {what}"))
}

/// Units that each stream lacks.
fn lost_units(meeting: &Meeting) -> Vec<(StreamId, u64)> {
    let statistics = meeting.statistics();
    let lost = |(id, stream): (StreamId, &darktower_client::StreamStatistics)| {
        (id, stream.lost_units + stream.overflowed_units)
    };
    roster::incoming(&statistics).into_iter().map(lost).collect()
}

fn summarize(outcomes: &[Outcome], lost: &[(StreamId, u64)], screen: &mut Screen) -> Result<()> {
    let mut table = Table::new([
        ("FILE", Align::Left),
        ("FRAMES", Align::Right),
        ("LOST", Align::Right),
        ("SECONDS", Align::Right),
        ("KBYTES", Align::Right),
    ]);
    for outcome in outcomes {
        let Ok(Some(recording)) = &outcome.recording else { continue };
        let lost = lost.iter().find(|(stream_id, _)| *stream_id == outcome.stream_id);
        table.row([
            recording.path.display().to_string(),
            recording.frames.to_string(),
            lost.map_or_else(|| "?".to_owned(), |(_, units)| units.to_string()),
            format!("{:.1}", recording.duration.as_secs_f64()),
            format!("{:.0}", recording.bytes as f64 / 1e3),
        ]);
    }
    screen.print("")?;
    if table.is_empty() {
        screen.print("nothing was recorded: no media arrived")?;
    } else {
        for line in table.lines() {
            screen.print(&line)?;
        }
    }
    Ok(())
}
