//! `darktower-client watch`: who sends what, and how well it arrives here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use darktower_client::{Event, Meeting, StreamId, StreamStatistics, SubscribeOptions};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::connection::{self, Target, WithoutMeeting};
use crate::latency::Recent;
use crate::player::unix_us;
use crate::roster;
use crate::stop::Stop;
use crate::table::{Align, Screen, Table, kbps, ms, printable};

/// Of the participant, unless the user chooses another.
const NAME: &str = "watcher";

const EXAMPLES: &str = "\
Examples:
  darktower-client watch --meeting ADDRESS
      a table, drawn again every second, until Ctrl-C
  darktower-client watch --meeting ADDRESS --json --seconds 5
      one JSON object per second, five times

LOST counts units (frames, or pieces of large ones) that never came, or that this
program was too slow to take. P50 MS and P99 MS are the time from capture to arrival
that half and 99 % of the frames of the last ten seconds did not exceed, as far as the
clocks of both machines agree. Who joins late gets the current group of pictures at
once, whose frames are as old as the group: P99 MS is high for the first ten seconds.";

/// Show the participants and streams of a meeting, and how well the streams arrive
///
/// Joins, subscribes to every stream, also to those published later, and throws away what it receives.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print one JSON object per second instead of the table
    #[arg(long)]
    json: bool,
    /// Stop after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    #[command(flatten)]
    connection: connection::Args,
}

/// Why a stream is not watched.
type Failures = BTreeMap<StreamId, String>;

/// How long frames took, per stream. Clones are handles of the same.
#[derive(Debug, Clone, Default)]
struct Latencies(Arc<Mutex<HashMap<StreamId, Recent>>>);

impl Latencies {
    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Recent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, stream_id: StreamId, latency_us: u64) {
        self.lock().entry(stream_id).or_default().record(latency_us);
    }

    /// A second has passed; streams that are gone are forgotten.
    fn next_second(&self, present: &HashSet<StreamId>) {
        let mut streams = self.lock();
        streams.retain(|stream_id, _| present.contains(stream_id));
        streams.values_mut().for_each(Recent::next_second);
    }

    /// The median and the 99th percentile.
    fn quantiles_us(&self, stream_id: StreamId) -> Option<[u64; 2]> {
        self.lock().get(&stream_id)?.quantiles_us([0.5, 0.99])
    }
}

pub(crate) async fn run(args: Args, stop: Stop) -> Result<()> {
    let target = Target::find(args.connection, WithoutMeeting::Refuse).await?;
    let meeting = target.join(NAME).await?;
    let outcome = watch(&meeting, &target, args.json, args.seconds, &stop).await;
    connection::leave(meeting).await;
    outcome
}

async fn watch(
    meeting: &Meeting,
    target: &Target,
    json: bool,
    seconds: Option<u64>,
    stop: &Stop,
) -> Result<()> {
    let mut events = meeting.events();
    let mut seen = HashSet::new();
    let mut failures = Failures::new();
    let latencies = Latencies::default();
    let mut tasks = JoinSet::new();
    begin_new(meeting, &mut seen, &latencies, &mut tasks);
    let mut screen = Screen::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let mut left = seconds;
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            event = events.next() => match event {
                Some(Event::Closed { code, message }) => return Err(connection::closed(code, &message)),
                Some(event) => {
                    if json {
                        connection::tell(target.name_or(NAME), &event);
                    } else if let Some(news) = connection::news(&event) {
                        screen.print(&news)?;
                    }
                    begin_new(meeting, &mut seen, &latencies, &mut tasks);
                }
                None => return Err(anyhow::anyhow!("the session has ended")),
            },
            Some(Ok((stream_id, Err(error)))) = tasks.join_next() => {
                failures.insert(stream_id, format!("{:#}", anyhow::Error::from(error)));
            }
            _ = tick.tick() => {
                failures.retain(|stream_id, _| seen.contains(stream_id));
                if json {
                    screen.print(&figures(meeting, &latencies).to_string())?;
                } else {
                    screen.draw(&lines(meeting, &target.address, &failures, &latencies))?;
                }
                latencies.next_second(&seen);
                left = left.map(|seconds| seconds - 1);
                if left == Some(0) {
                    return Ok(());
                }
            }
        }
    }
}

type Watched = (StreamId, Result<(), darktower_client::Error>);

fn begin_new(
    meeting: &Meeting,
    seen: &mut HashSet<StreamId>,
    latencies: &Latencies,
    tasks: &mut JoinSet<Watched>,
) {
    for (_, stream) in roster::take_new(meeting, seen) {
        let (meeting, latencies) = (meeting.clone(), latencies.clone());
        tasks.spawn(async move { (stream.stream_id, receive(&meeting, stream.stream_id, &latencies).await) });
    }
}

async fn receive(
    meeting: &Meeting,
    stream_id: StreamId,
    latencies: &Latencies,
) -> Result<(), darktower_client::Error> {
    let mut subscriber = meeting.subscribe(stream_id, SubscribeOptions::default()).await?;
    while let Some(frame) = subscriber.next_frame().await? {
        latencies.record(stream_id, unix_us().saturating_sub(frame.timestamp_us));
    }
    Ok(())
}

fn lines(meeting: &Meeting, address: &str, failures: &Failures, latencies: &Latencies) -> Vec<String> {
    let statistics = meeting.statistics();
    let incoming = roster::incoming(&statistics);
    let participants = meeting.participants();
    let features = meeting.features().names().join(", ");
    let mut lines = vec![
        format!("{}  {address}", printable(meeting.display_name(), 40)),
        format!(
            "joined in {:.1} ms, round trip {:.1} ms, {}",
            statistics.join_duration.as_secs_f64() * 1e3,
            statistics.rtt.as_secs_f64() * 1e3,
            if features.is_empty() { "baseline".to_owned() } else { features },
        ),
        String::new(),
    ];
    let mut table = Table::new([
        ("PARTICIPANT", Align::Left),
        ("STREAM", Align::Left),
        ("FPS", Align::Right),
        ("KBIT/S", Align::Right),
        ("LOST", Align::Right),
        ("P50 MS", Align::Right),
        ("P99 MS", Align::Right),
    ]);
    for participant in &participants {
        let mut name = printable(&participant.name, 24);
        if participant.streams.is_empty() {
            table.row([name, "-".to_owned(), dash(), dash(), dash(), dash(), dash()]);
            continue;
        }
        for stream in &participant.streams {
            let shown = match incoming.get(&stream.stream_id) {
                Some(received) => cells(received, latencies.quantiles_us(stream.stream_id)),
                None => [dash(), dash(), dash(), dash(), dash()],
            };
            let [fps, kbps, lost, p50, p99] = shown;
            table.row([std::mem::take(&mut name), roster::description(stream), fps, kbps, lost, p50, p99]);
        }
    }
    if table.is_empty() {
        lines.push("nobody else is here".to_owned());
    } else {
        lines.extend(table.lines());
    }
    for (stream_id, why) in failures {
        lines.push(format!("stream {stream_id}: {}", printable(why, 200)));
    }
    lines
}

fn dash() -> String {
    "-".to_owned()
}

fn cells(received: &StreamStatistics, latency_us: Option<[u64; 2]>) -> [String; 5] {
    let [p50, p99] = latency_us.map_or_else(|| [dash(), dash()], |latency| latency.map(ms));
    [
        format!("{:.1}", received.frame_rate),
        kbps(received.bitrate_bps),
        (received.lost_units + received.overflowed_units).to_string(),
        p50,
        p99,
    ]
}

fn figures(meeting: &Meeting, latencies: &Latencies) -> Value {
    let statistics = meeting.statistics();
    let incoming = roster::incoming(&statistics);
    let participants: Vec<_> = meeting
        .participants()
        .into_iter()
        .map(|participant| {
            let stream = |stream: &darktower_client::StreamDescription| {
                let video = stream.metadata.video.as_ref();
                let received = incoming.get(&stream.stream_id);
                let latency = latencies.quantiles_us(stream.stream_id);
                json!({
                    "stream_id": stream.stream_id.to_string(),
                    "codec": stream.metadata.codec,
                    "width": video.map(|video| video.width),
                    "height": video.map(|video| video.height),
                    "fps": received.map(|received| received.frame_rate),
                    "bitrate_bps": received.map(|received| received.bitrate_bps),
                    "units": received.map(|received| received.units),
                    "frames": received.map(|received| received.frames),
                    "lost_units": received.map(|received| received.lost_units),
                    "overflowed_units": received.map(|received| received.overflowed_units),
                    "latency_us_p50": latency.map(|[p50, _]| p50),
                    "latency_us_p99": latency.map(|[_, p99]| p99),
                })
            };
            json!({
                "participant_id": participant.participant_id.to_string(),
                "name": participant.name,
                "streams": participant.streams.iter().map(stream).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "meeting": meeting.display_name(),
        "meeting_id": meeting.meeting_id().to_string(),
        "join_us": u64::try_from(statistics.join_duration.as_micros()).unwrap_or(u64::MAX),
        "rtt_us": u64::try_from(statistics.rtt.as_micros()).unwrap_or(u64::MAX),
        "features": meeting.features().names(),
        "participants": participants,
    })
}
