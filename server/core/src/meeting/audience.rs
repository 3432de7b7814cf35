//! How many there are: who may not see the list of those who only watch is told their number.

use std::sync::Arc;

use darktower_protocol::signaling::pb;
use pb::envelope::Message;

use super::{Event, Meeting, Output};

/// Between two times that everybody is told, µs: up to [`FEW`], and beyond.
const INTERVAL_US: u64 = 1_000_000;
const INTERVAL_OF_MANY_US: u64 = 5_000_000;
const FEW: usize = 100;

impl Meeting {
    /// Time has passed: to be called about once per second while somebody is here.
    pub fn pass(&mut self, now_us: u64) {
        self.pass_voices(now_us);
        self.tell_counts(now_us);
    }

    /// How many are here, hidden ones not counted, and how many of them may not send anything as things are.
    fn audience(&self) -> pb::AudienceChanged {
        let mut audience = pb::AudienceChanged::default();
        for participant in self.participants.values().filter(|participant| !participant.rights().hidden) {
            audience.participants += 1;
            audience.viewers += u32::from(!participant.may_send_something());
        }
        audience
    }

    /// Tells everybody who does not know it how many there are, if anybody only watches.
    fn tell_counts(&mut self, now_us: u64) {
        let interval = if self.participants.len() > FEW { INTERVAL_OF_MANY_US } else { INTERVAL_US };
        if now_us.saturating_sub(self.audience_told_us) < interval {
            return;
        }
        let audience = self.audience();
        let event = Arc::new(Event::new(Message::AudienceChanged(audience)));
        for (id, participant) in &mut self.participants {
            let known = std::mem::replace(&mut participant.known_audience, audience);
            if known != audience && known.viewers + audience.viewers > 0 {
                self.audience_told_us = now_us;
                self.outputs.push_back(Output::Notice { to: *id, event: Arc::clone(&event) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, join, meeting, outputs, participant};
    use super::super::{Identity, MeetingLimits, Rights};
    use super::*;
    use crate::preset::shipped;

    fn told(meeting: &mut Meeting, now_us: u64) -> Vec<(u8, u32, u32)> {
        meeting.pass(now_us);
        let notices = outputs(meeting).into_iter().filter_map(|output| match output {
            Output::Notice { to, event } => match **event {
                Message::AudienceChanged(audience) => {
                    let n = (0..=255).find(|n| participant(*n) == to).expect("one of these");
                    Some((n, audience.participants, audience.viewers))
                }
                _ => None,
            },
            _ => None,
        });
        notices.collect()
    }

    #[test]
    fn everybody_hears_how_many_watch_and_nobody_where_all_take_part() {
        let mut meeting = meeting(MeetingLimits::default());
        join(&mut meeting, 1);
        join(&mut meeting, 2);
        outputs(&mut meeting);
        assert_eq!(told(&mut meeting, 1_000_000), []);
        let preset =
            shipped().into_iter().find(|preset| preset.name == "webinar_viewer").expect("is shipped");
        let mut epochs = Vec::new();
        for n in [3, 4] {
            let viewer = Identity { rights: Rights::new(&preset, false), ..identity(n) };
            let joined = meeting.join(viewer, &pb::ParticipantCapabilities::default(), 1).expect("joined");
            epochs.push((participant(n), joined.epoch));
        }
        let all = |participants, viewers| (1..=4).map(|n| (n, participants, viewers)).collect::<Vec<_>>();
        assert_eq!(told(&mut meeting, 2_000_000), all(4, 2));
        assert_eq!(told(&mut meeting, 3_000_000), [], "no news");
        // One goes and one comes: who came knows nothing yet.
        for (id, epoch) in epochs {
            meeting.leave(id, epoch, pb::LeaveReason::Voluntary);
        }
        assert_eq!(told(&mut meeting, 3_500_000), [(1, 2, 0), (2, 2, 0)]);
        join(&mut meeting, 5);
        assert_eq!(told(&mut meeting, 5_000_000), [], "nobody watches any more");
    }
}
