//! The stage of webinars and livestreams: who may send after it was let on it.

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::envelope::Message;
use pb::stage_request::Action;
use pb::{ErrorCode, StageRequest};

use super::rights::Control;
use super::{Meeting, Refusal};

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
                self.asking.retain(|asking| *asking != by);
                self.tell_asking();
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
        if self.on_stage().next().is_some() || decides && !self.asking.is_empty() {
            let event = self.stage_message(decides, false);
            self.tell_each([to], event);
        }
    }

    /// Somebody has gone: it asks for nothing, and is not on the stage.
    pub(super) fn forget_on_stage(&mut self, id: ParticipantId, was_on_stage: bool) {
        let before = self.asking.len();
        self.asking.retain(|asking| *asking != id);
        if was_on_stage {
            self.tell_stage();
        } else if before != self.asking.len() {
            self.tell_asking();
        }
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
        if participant.on_stage || self.asking.contains(&by) {
            return Ok(());
        }
        let participant = self.participant(by)?;
        if std::mem::take(&mut participant.invited) || participant.rights().manage_stage {
            participant.on_stage = true;
            self.tell_stage();
            return Ok(());
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
        participant.invited = false;
        if std::mem::take(&mut participant.on_stage) {
            self.end_forbidden_streams(id);
            self.tell_stage();
        }
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
        let event = self.stage_message(false, false);
        self.tell_each(self.those_who(|rights| !rights.manage_stage), event);
        self.tell_asking();
    }

    /// Tells those who decide who is on the stage, and who asks.
    fn tell_asking(&mut self) {
        let event = self.stage_message(true, false);
        self.tell_each(self.those_who(|rights| rights.manage_stage), event);
    }
}
