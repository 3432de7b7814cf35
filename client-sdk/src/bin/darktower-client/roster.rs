//! The streams of a meeting as commands that follow all of them see it.

use std::collections::{HashMap, HashSet};

use darktower_client::{
    Direction, Meeting, Participant, Statistics, StreamDescription, StreamId, StreamStatistics,
};

/// Streams that were published since the last call, with their publishers; streams that are gone are forgotten, so
/// that one that comes back is new again.
pub(crate) fn take_new(
    meeting: &Meeting,
    seen: &mut HashSet<StreamId>,
) -> Vec<(Participant, StreamDescription)> {
    let participants = meeting.participants();
    let all: HashSet<_> =
        participants.iter().flat_map(|p| &p.streams).map(|stream| stream.stream_id).collect();
    seen.retain(|stream_id| all.contains(stream_id));
    let mut new = Vec::new();
    for participant in participants {
        for stream in &participant.streams {
            if seen.insert(stream.stream_id) {
                new.push((participant.clone(), stream.clone()));
            }
        }
    }
    new
}

/// What is received of each stream. Of several layers or subscriptions of a stream, the latest counts.
pub(crate) fn incoming(statistics: &Statistics) -> HashMap<StreamId, &StreamStatistics> {
    let incoming = statistics.streams.iter().filter(|stream| stream.direction == Direction::Incoming);
    incoming.map(|stream| (stream.stream_id, stream)).collect()
}

/// For people: `VP8 640x360` or `Opus`. The codec's name is what its publisher calls it.
pub(crate) fn description(stream: &StreamDescription) -> String {
    let codec = crate::table::printable(&stream.metadata.codec, 8);
    match &stream.metadata.video {
        Some(video) if video.width > 0 => format!("{codec} {}x{}", video.width, video.height),
        _ => codec,
    }
}
