//! The stage of webinars and livestreams: who may send after it was let on it.

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::envelope::Message;
use pb::stage_request::Action;
use pb::{ErrorCode, StageRequest};

use super::rights::Control;
use super::{Meeting, Refusal};

/// Who may be on the stage beside those who need not ask, and who may ask, at one time: lists of both fit in a message.
const MAX_ON_STAGE: usize = 500;
const MAX_ASKING: usize = 500;

impl Meeting {
    /// Somebody asks for the stage or leaves it, or decides about others.
    ///
    /// # Errors
    /// If the preset of `by` does not allow it, or it does not apply to the participant.
    pub fn stage(&mut self, by: ParticipantId, request: &StageRequest) -> Result<(), Refusal> {
        let action = Action::try_from(request.action).map_err(|_unknown| {
            Refusal::field(ErrorCode::InvalidRequest, "action", "this action is not known")
        })?;
        match action {
            Action::Ask => self.ask_for_stage(by),
            Action::Leave => {
                self.stop_asking(by);
                self.leave_stage(by)
            }
            Action::Approve | Action::Deny | Action::Invite | Action::Remove => {
                self.participant(by)?.rights().require(Control::Stage)?;
                let target = self.target(by, &request.participant_id)?;
                self.decide(action, target)
            }
        }
    }

    /// Who is on the stage beside those who need not ask.
    pub(super) fn on_stage(&self) -> impl Iterator<Item = ParticipantId> + '_ {
        self.participants.iter().filter(|(_, participant)| participant.on_stage).map(|(id, _)| *id)
    }

    /// Tells somebody who has just come, or may decide now, what there is.
    pub(super) fn tell_stage_to(&mut self, to: ParticipantId) {
        let decides = self.participants.get(&to).is_some_and(|participant| participant.rights().manage_stage);
        let invited = self.participants.get(&to).is_some_and(|participant| participant.invited);
        if invited || self.on_stage().next().is_some() || decides && !self.asking.is_empty() {
            let event = self.stage_message(decides, invited);
            self.tell_each([to], event);
        }
    }

    /// Somebody asks for nothing any more, and is not on the stage or invited to it.
    pub(super) fn stage_is_over_for(&mut self, id: ParticipantId, was_on_stage: bool, was_invited: bool) {
        self.stop_asking(id);
        self.tell_off_stage(id, was_on_stage, was_invited);
    }

    fn tell_off_stage(&mut self, id: ParticipantId, was_on_stage: bool, was_invited: bool) {
        if was_on_stage {
            self.tell_stage();
        } else if was_invited && let Some(participant) = self.participants.get(&id) {
            let event = self.stage_message(participant.rights().manage_stage, false);
            self.tell_each([id], event);
        }
    }

    fn stop_asking(&mut self, id: ParticipantId) {
        if self.asking.contains(&id) {
            self.asking.retain(|asking| *asking != id);
            self.tell_asking();
        }
    }

    fn check_room_on_stage(&self) -> Result<(), Refusal> {
        if self.on_stage().count() < MAX_ON_STAGE {
            return Ok(());
        }
        let message = format!("{MAX_ON_STAGE} participants are on the stage already");
        Err(Refusal::new(ErrorCode::CapacityExceeded, message))
    }

    fn ask_for_stage(&mut self, by: ParticipantId) -> Result<(), Refusal> {
        let participant = self.participant(by)?;
        if !participant.rights().may_ask_for_stage() {
            let message = match participant.rights().may_ever_send() {
                true => "you need not ask: you may send what your preset allows",
                false => "your preset does not allow to send media; a host can give you another",
            };
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        let (on_stage, comes) =
            (participant.on_stage, participant.invited || participant.rights().manage_stage);
        if on_stage || self.asking.contains(&by) {
            return Ok(());
        }
        if comes {
            self.check_room_on_stage()?;
            let participant = self.participant(by)?;
            participant.invited = false;
            participant.on_stage = true;
            self.tell_stage();
            return Ok(());
        }
        if self.asking.len() >= MAX_ASKING {
            let message = format!("{MAX_ASKING} participants ask already; try again later");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        self.asking.push(by);
        self.tell_asking();
        Ok(())
    }

    fn decide(&mut self, action: Action, target: ParticipantId) -> Result<(), Refusal> {
        let asks = self.asking.contains(&target);
        let not_asking = || {
            let message = "this participant does not ask for the stage";
            Refusal::field(ErrorCode::NotFound, "participant_id", message)
        };
        match action {
            Action::Approve | Action::Deny if !asks => Err(not_asking()),
            Action::Approve => {
                self.check_room_on_stage()?;
                self.asking.retain(|asking| *asking != target);
                self.participant(target)?.on_stage = true;
                self.tell_stage();
                Ok(())
            }
            Action::Deny => {
                self.asking.retain(|asking| *asking != target);
                self.tell_asking();
                // Its request is answered: it is not on the stage.
                let event = self.stage_message(false, false);
                self.tell_each([target], event);
                Ok(())
            }
            Action::Invite if asks => self.decide(Action::Approve, target),
            Action::Invite => {
                let participant = self.participant(target)?;
                if !participant.rights().may_ask_for_stage() {
                    let message = "the preset of this participant has nothing to do with the stage";
                    return Err(Refusal::field(ErrorCode::Conflict, "participant_id", message));
                }
                if !participant.on_stage {
                    participant.invited = true;
                    let event = self.stage_message(false, true);
                    self.tell_each([target], event);
                }
                Ok(())
            }
            Action::Remove => self.leave_stage(target),
            Action::Ask | Action::Leave => Ok(()),
        }
    }

    fn leave_stage(&mut self, id: ParticipantId) -> Result<(), Refusal> {
        let participant = self.participant(id)?;
        let was_invited = std::mem::take(&mut participant.invited);
        let was_on_stage = std::mem::take(&mut participant.on_stage);
        if was_on_stage {
            self.end_forbidden_streams(id);
        }
        self.tell_off_stage(id, was_on_stage, was_invited);
        Ok(())
    }

    fn stage_message(&self, decides: bool, invited: bool) -> Message {
        let asking = if decides { self.asking.as_slice() } else { &[] };
        Message::StageChanged(pb::StageChanged {
            participant_ids: self.on_stage().map(|id| id.to_string()).collect(),
            asking_participant_ids: asking.iter().map(ToString::to_string).collect(),
            invited,
        })
    }

    /// Tells everybody who is on the stage.
    fn tell_stage(&mut self) {
        for invited in [false, true] {
            let event = self.stage_message(false, invited);
            let to = self.participants.iter().filter(|(_, participant)| {
                !participant.rights().manage_stage && participant.invited == invited
            });
            let to: Vec<ParticipantId> = to.map(|(id, _)| *id).collect();
            self.tell_each(to, event);
        }
        self.tell_asking();
    }

    /// Tells those who decide who is on the stage, and who asks.
    fn tell_asking(&mut self) {
        let event = self.stage_message(true, false);
        self.tell_each(self.those_who(|rights| rights.manage_stage), event);
    }
}
