//! What a pump tells the meeting controller of its sessions: each once per second, a few at a time, so that audio never waits
//! for a walk over all of them.

use std::fmt::Debug;
use std::ops::Range;
use std::time::{Duration, Instant};

use darktower_core::media::fanout::{Connection as _, Fanout, SubscriberSlot};
use darktower_core::meeting::quality::{EgressSample, MediaSample, PathSample};
use darktower_protocol::MeetingId;

use super::link::Link;
use super::router::Participant;
use crate::transport::PathCounts;

/// How often each session is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sessions looked at between two passes: about 0.1 ms.
const PORTION: usize = 32;

/// What was seen of one participant of a meeting.
#[derive(Debug)]
pub struct Telemetry {
    /// Where it is.
    pub meeting: MeetingId,
    /// What was seen.
    pub sample: MediaSample,
}

/// Takes what media handlers see. Calls do not wait: what there is no room for is left out, and the next second tells more.
pub trait TelemetrySink: Debug + Send + Sync {
    /// Some of the sessions of a shard.
    fn take(&self, portion: Vec<Telemetry>);
}

/// Which sessions are looked at when.
#[derive(Debug)]
pub(super) struct Rounds {
    begin_at: Instant,
    /// The next session of a round that is under way.
    next: Option<usize>,
}

impl Rounds {
    pub(super) fn new(now: Instant) -> Self {
        Self { begin_at: now + INTERVAL, next: None }
    }

    /// The places of the table of sessions, which has `places`, to look at now.
    pub(super) fn portion(&mut self, places: usize, now: Instant) -> Option<Range<usize>> {
        if self.next.is_none() && now >= self.begin_at {
            self.begin_at = now + INTERVAL;
            self.next = Some(0);
        }
        let from = self.next?;
        let to = places.min(from + PORTION);
        self.next = (to < places).then_some(to);
        (from < to).then_some(from..to)
    }

    /// When to ask next.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        if self.next.is_some() { now } else { self.begin_at }
    }
}

/// What was known of a session when it was last looked at.
#[derive(Debug)]
pub(super) struct LastLook {
    at: Instant,
    path: PathCounts,
}

impl LastLook {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, path: PathCounts::default() }
    }

    /// Looks again; `None` if the subscriber is gone.
    pub(super) fn sample(
        &mut self,
        participant: &Participant,
        fanout: &mut Fanout<Link>,
        slot: SubscriberSlot,
        now: Instant,
    ) -> Option<Telemetry> {
        let mut received = Vec::new();
        let link = fanout.take_sent(slot, |wanted, layer, sent| {
            received.push(EgressSample { wanted, layer, bytes: sent.bytes, dropped: sent.dropped });
        })?;
        let path = link.path();
        let before = std::mem::replace(self, Self { at: now, path });
        let path = PathSample {
            interval: now.saturating_duration_since(before.at),
            rtt: path.rtt,
            sent_packets: path.sent_packets.saturating_sub(before.path.sent_packets),
            lost_packets: path.lost_packets.saturating_sub(before.path.lost_packets),
            available_bps: link.estimated_bit_rate().unwrap_or(0),
        };
        let published = participant.take_counts();
        let sample = MediaSample { participant: participant.id, path, published, received };
        Some(Telemetry { meeting: participant.meeting, sample })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_looked_at_once_in_a_second() {
        let start = Instant::now();
        let mut rounds = Rounds::new(start);
        assert_eq!(rounds.portion(70, start), None);
        let now = rounds.deadline(start);
        assert_eq!(now, start + INTERVAL);
        assert_eq!(rounds.portion(70, now), Some(0..32));
        assert_eq!(rounds.deadline(now), now, "go on at once");
        assert_eq!(rounds.portion(70, now), Some(32..64));
        assert_eq!(rounds.portion(70, now), Some(64..70));
        assert_eq!(rounds.portion(70, now), None);
        assert_eq!(rounds.deadline(now), now + INTERVAL);
        assert_eq!(rounds.portion(0, now + INTERVAL), None);
        assert_eq!(rounds.deadline(now + INTERVAL), now + 2 * INTERVAL);
    }
}
