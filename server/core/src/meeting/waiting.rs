//! The waiting room: who wants to come in and has to wait.

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::ErrorCode;
use pb::envelope::Message;
use prost::Message as _;

use super::rights::Control;
use super::{Identity, Meeting, Output, Refusal};
use crate::named::named;

/// Who may wait at one time, and bytes of the list of them: it fits in a message.
const MAX_WAITING: usize = 100;
const MAX_LIST_BYTES: usize = 60 * 1024;

/// Why somebody is not let in.
pub(super) const LOCKED: &str = "the meeting is locked; a host can unlock it";

named! {
    /// Whether newcomers wait before they are let in. Those whose preset skips the waiting room, and those who may let
    /// others in, never do.
    pub enum WaitingRoom ("waiting_room") {
        /// Nobody waits.
        Off = "off",
        /// They wait until somebody is there who may let them in, and are in then.
        UntilHost = "until_host",
        /// They wait until somebody lets them in.
        Admission = "admission",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro derives the same for every enumeration")]
impl Default for WaitingRoom {
    fn default() -> Self {
        Self::Off
    }
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It may [`join`](Meeting::join).
    Open,
    /// It waits; [`Output::LetIn`] or [`Output::TurnedAway`] follows, unless it [gives up](Meeting::stop_waiting).
    Waits,
}

impl Meeting {
    /// From now on newcomers wait, or do not. Who waits goes on waiting, unless nobody has to.
    pub fn set_waiting_room(&mut self, waiting_room: WaitingRoom) {
        self.waiting_room = waiting_room;
        self.open_door();
    }

    /// Somebody whose token has been verified is at the door.
    ///
    /// # Errors
    /// If it comes too often, the meeting is locked, or too many wait.
    pub fn knock(&mut self, identity: &Identity, now_us: u64) -> Result<Entry, Refusal> {
        let id = identity.participant_id;
        self.count_entry(id, now_us)?;
        if self.participants.contains_key(&id) {
            return Ok(Entry::Open);
        }
        let rights = self.given.get(&id).unwrap_or(&identity.rights);
        if self.locked && !rights.run_meeting {
            return Err(Refusal::new(ErrorCode::Forbidden, LOCKED));
        }
        let waits = match self.waiting_room {
            WaitingRoom::Off => false,
            WaitingRoom::UntilHost => !self.participants.values().any(|present| present.rights().admit),
            WaitingRoom::Admission => !self.admitted.contains(&id),
        };
        if !waits || !rights.waits || rights.admit {
            return Ok(Entry::Open);
        }
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&id) {
            let message = format!("{MAX_WAITING} participants wait already; try again later");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        let waiting = pb::Participant {
            participant_id: id.to_string(),
            name: identity.name.clone(),
            joined_at: now_us,
            role: identity.role.into(),
            user_id: identity.user_id.clone(),
            ..pb::Participant::default()
        };
        let list: usize = self.waiting.values().map(|one| one.encoded_len() + 4).sum();
        if list + waiting.encoded_len() + 4 > MAX_LIST_BYTES {
            let message = "too many participants wait already; try again later";
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        // Who knocks again with another connection is no news.
        if self.waiting.insert(id, waiting).is_none() {
            self.tell_waiting(None);
        }
        Ok(Entry::Waits)
    }

    /// Somebody does not wait any longer.
    pub fn stop_waiting(&mut self, id: ParticipantId) {
        if self.waiting.remove(&id).is_some() {
            self.tell_waiting(None);
        }
    }

    /// Lets somebody in, or turns it away; with an empty id, everybody who waits.
    ///
    /// # Errors
    /// If the preset of `by` does not allow it, or the participant does not wait.
    pub fn admit(&mut self, by: ParticipantId, request: &pb::AdmitParticipant) -> Result<(), Refusal> {
        self.participant(by)?.rights().require(Control::Admit)?;
        let who: Vec<ParticipantId> = match request.participant_id.as_str() {
            "" => self.waiting.keys().copied().collect(),
            text => {
                let id = super::parse_participant_id(text)?;
                if !self.waiting.contains_key(&id) {
                    let message = format!("participant {id} does not wait");
                    return Err(Refusal::field(ErrorCode::NotFound, "participant_id", message));
                }
                vec![id]
            }
        };
        for participant in who {
            self.waiting.remove(&participant);
            if request.admit {
                self.admitted.insert(participant);
                self.outputs.push_back(Output::LetIn { participant });
            } else {
                self.outputs.push_back(Output::TurnedAway { participant });
            }
        }
        self.tell_waiting(None);
        Ok(())
    }

    /// How many wait.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Somebody is there, or may something now.
    pub(super) fn admitter_came(&mut self, id: ParticipantId) {
        if !self.participants.get(&id).is_some_and(|participant| participant.rights().admit) {
            return;
        }
        self.open_door();
        if !self.waiting.is_empty() {
            self.tell_waiting(Some(id));
        }
    }

    /// Lets everybody in who waits, if nobody has to wait any more. Nobody but those whom a host lets in comes into a locked
    /// meeting.
    pub(super) fn open_door(&mut self) {
        let is_open = match self.waiting_room {
            WaitingRoom::Off => true,
            WaitingRoom::UntilHost => self.participants.values().any(|present| present.rights().admit),
            WaitingRoom::Admission => false,
        };
        if !is_open || self.locked || self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.admitted.extend(waiting.keys());
        self.outputs.extend(waiting.into_keys().map(|participant| Output::LetIn { participant }));
        self.tell_waiting(None);
    }

    /// Tells those who may let others in, or one of them, who waits.
    pub(super) fn tell_waiting(&mut self, only: Option<ParticipantId>) {
        let mut waiting: Vec<pb::Participant> = self.waiting.values().cloned().collect();
        waiting.sort_by_key(|participant| participant.joined_at);
        let changed = Message::WaitingRoomChanged(pb::WaitingRoomChanged { waiting });
        let to = match only {
            Some(only) => vec![only],
            None => self.those_who(|rights| rights.admit),
        };
        self.tell_each(to, changed);
    }
}
