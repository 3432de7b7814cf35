//! Connections that are lost, and participants that come back.

use std::sync::Arc;
use std::time::Instant;

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::ErrorCode;
use pb::envelope::Message;

use super::{Epoch, Event, Joined, Meeting, Refusal};

/// What a participant that came back is told.
#[derive(Debug)]
pub enum Resumed {
    /// All that it missed, with its numbers.
    Missed(Epoch, Vec<(u64, Arc<Event>)>),
    /// Everything as it is now: it missed more than is kept. Its events begin with 1 again.
    Snapshot(Joined),
}

impl Meeting {
    /// Nothing is heard any more of the session `epoch` of a participant, or something is again. While it is silent others see
    /// that it is reconnecting; all else goes on. Does nothing if a newer session has taken its place.
    pub fn set_silent(&mut self, id: ParticipantId, epoch: Epoch, is_silent: bool) {
        let found = self.participants.get_mut(&id).filter(|participant| participant.epoch == epoch);
        if let Some(participant) = found
            && participant.lost_at.is_none()
            && participant.is_silent != is_silent
        {
            participant.is_silent = is_silent;
            self.tell_updated(id, false);
        }
    }

    /// The connection of the session `epoch` of a participant is lost. It keeps its place, its streams and its
    /// subscriptions for the grace period; others see that it is reconnecting. Does nothing if a newer session has taken its
    /// place.
    pub fn disconnect(&mut self, id: ParticipantId, epoch: Epoch, now: Instant) {
        if self.limits.reconnect_grace.is_zero() {
            return self.leave(id, epoch, pb::LeaveReason::ConnectionLost);
        }
        let lost = self.participants.get_mut(&id).filter(|participant| participant.epoch == epoch);
        if let Some(participant) = lost
            && participant.lost_at.is_none()
        {
            participant.lost_at = Some(now);
            if !std::mem::take(&mut participant.is_silent) {
                self.tell_updated(id, false);
            }
        }
    }

    /// A participant comes back within the grace period, or before its old connection is known to be lost, having seen its
    /// events up to this number. `epoch` is the session that it had.
    ///
    /// # Errors
    /// If it is not here any more, or has had another session since.
    pub fn resume(
        &mut self,
        id: ParticipantId,
        epoch: Epoch,
        last_event_sequence: u64,
    ) -> Result<Resumed, Refusal> {
        let gone = || Refusal::new(ErrorCode::NotFound, "this session is over; join again");
        self.last_epoch += 1;
        let new_epoch = Epoch(self.last_epoch);
        let found = self.participants.get_mut(&id).filter(|participant| participant.epoch == epoch);
        let participant = found.ok_or_else(gone)?;
        participant.epoch = new_epoch;
        // Where somebody watches or has watched, it is told again, whatever it knew.
        let has_been_told = u32::from(self.audience_told_us > 0);
        participant.known_audience = pb::AudienceChanged { participants: 0, viewers: has_been_told };
        let was_lost = participant.lost_at.take().is_some() | std::mem::take(&mut participant.is_silent);
        let missed = participant.journal.after(last_event_sequence);
        if missed.is_none() {
            participant.journal.restart();
        }
        let resumed = match missed {
            Some(missed) => Resumed::Missed(new_epoch, missed),
            None => Resumed::Snapshot(self.snapshot(id, new_epoch).ok_or_else(gone)?),
        };
        let anew = matches!(resumed, Resumed::Snapshot(_));
        if was_lost {
            self.tell_updated(id, anew);
        } else if anew {
            // It may not know what hosts have done to it.
            let participant = self.message_of(id);
            self.tell_each([id], Message::ParticipantUpdated(pb::ParticipantUpdated { participant }));
        }
        self.tell_quality_anew(id);
        if anew {
            self.tell_beside_roster(id);
        }
        Ok(resumed)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        let lost = self.participants.values().filter_map(|participant| participant.lost_at);
        lost.min().map(|lost_at| lost_at + self.limits.reconnect_grace)
    }

    /// Whoever has been lost for longer than the grace period has left; says who.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<ParticipantId> {
        let grace = self.limits.reconnect_grace;
        let over = |lost_at: Option<Instant>| lost_at.is_some_and(|lost_at| now >= lost_at + grace);
        let gone = self.participants.iter().filter(|(_, participant)| over(participant.lost_at));
        let gone: Vec<ParticipantId> = gone.map(|(id, _)| *id).collect();
        for id in &gone {
            self.remove(*id, pb::LeaveReason::ConnectionLost);
        }
        gone
    }
}
