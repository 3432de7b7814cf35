//! What hosts do.

use darktower_core::meeting::Rights;
use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::stage_request::Action;
use pb::{LeaveReason, StreamType};

use crate::Checked;
use crate::model::Standing;
use crate::ops::{Name, Whom};
use crate::world::{PRESETS, World};

impl World {
    pub(crate) fn mute(&mut self, by: ParticipantId, whom: Whom, kind: Option<StreamType>) -> Checked<bool> {
        let kind_allowed = kind.filter(|kind| self.model.may(by, |standing| standing.may_mute(*kind)));
        let targets = kind_allowed.and_then(|_| self.model.reach_all(by, whom));
        let stream_type = kind.map_or(7, i32::from);
        let request = pb::MuteParticipant { participant_id: whom.text(), stream_type };
        let result = self.meeting.mute(by, &request);
        if self.agreed(targets.is_some(), result)?.is_none() {
            return Ok(false);
        }
        for target in targets.unwrap_or_default() {
            if let Some(kind) = kind {
                self.model.silence(target, kind);
            }
        }
        self.done()
    }

    pub(crate) fn kick(&mut self, by: ParticipantId, whom: Whom) -> Checked<bool> {
        let may = self.model.may(by, |standing| standing.may().kick_participant);
        let expected = if may { self.model.reach_all(by, whom) } else { None };
        let expected = expected.filter(|targets| !targets.contains(&by));
        let result = self.meeting.check_kick(by, &pb::KickParticipant { participant_id: whom.text() });
        let Some(targets) = self.agreed(expected.is_some(), result)? else { return Ok(false) };
        ensure!(Some(&targets) == expected.as_ref(), "{targets:?} are removed instead of {expected:?}");
        self.nothing_follows()?;
        for target in targets {
            let epoch = self.model.here.get(&target).map(|person| person.epoch).ok_or("nobody is removed")?;
            self.leave(target, epoch, LeaveReason::Kicked)?;
        }
        Ok(true)
    }

    pub(crate) fn set_preset(&mut self, by: ParticipantId, whom: Whom, preset: usize) -> Checked<bool> {
        let preset = &PRESETS[preset];
        let may = self.model.may(by, |standing| standing.may().can_change_participant_permissions);
        let expected = if may { self.model.reach(by, whom) } else { None };
        let request = pb::SetPreset { participant_id: whom.text(), preset: preset.name.clone() };
        let result = self.meeting.check_preset(by, &request);
        let Some(target) = self.agreed(expected.is_some(), result)? else { return Ok(false) };
        ensure!(Some(target) == expected, "{target} gets a preset instead of {expected:?}");
        self.nothing_follows()?;
        self.meeting.set_rights(target, Rights::given(preset));
        self.model.set_preset(target, preset);
        self.done()
    }

    pub(crate) fn stage(&mut self, by: ParticipantId, action: Action, whom: Whom) -> Checked<bool> {
        let decides = self.model.may(by, |standing| standing.may().can_accept_production_requests);
        let named = if decides { self.model.reach(by, whom) } else { None };
        let target = match action {
            Action::Ask => self.model.may(by, Standing::may_ask_for_stage).then_some(by),
            Action::Leave => self.model.here.contains_key(&by).then_some(by),
            Action::Approve | Action::Deny => named.filter(|id| self.model.asking.contains(id)),
            Action::Invite => named.filter(|id| self.model.may(*id, Standing::may_ask_for_stage)),
            Action::Remove => named,
        };
        let request = pb::StageRequest { action: action.into(), participant_id: whom.text() };
        let result = self.meeting.stage(by, &request);
        if self.agreed(target.is_some(), result)?.is_none() {
            return Ok(false);
        }
        let target = target.unwrap_or(by);
        let asks = self.model.asking.contains(&target);
        let Some(person) = self.model.here.get_mut(&target) else { return Err("nobody acts".to_owned()) };
        let comes = match action {
            Action::Ask => person.invited || decides,
            Action::Approve => true,
            Action::Invite => asks,
            Action::Deny | Action::Remove | Action::Leave => false,
        };
        let leaves = matches!(action, Action::Remove | Action::Leave);
        person.on_stage = (person.on_stage || comes) && !leaves;
        person.invited =
            !comes && !leaves && (person.invited || action == Action::Invite && !person.on_stage);
        let is_on = person.on_stage;
        match action {
            Action::Ask if !is_on && !asks => self.model.asking.push(target),
            Action::Ask | Action::Remove => {}
            Action::Approve | Action::Deny | Action::Invite | Action::Leave => {
                self.model.asking.retain(|asking| *asking != target);
            }
        }
        self.model.tidy();
        self.done()
    }

    pub(crate) fn admit(&mut self, by: ParticipantId, whom: Whom, admit: bool) -> Checked<bool> {
        let may = self.model.may(by, |standing| standing.may().accept_waiting_requests);
        let who: Option<Vec<ParticipantId>> = match whom {
            Name::Empty => Some(self.model.waiting.iter().copied().collect()),
            Name::One(id) => self.model.waiting.contains(&id).then(|| vec![id]),
            Name::Malformed => None,
        };
        let request = pb::AdmitParticipant { participant_id: whom.text(), admit };
        let result = self.meeting.admit(by, &request);
        if self.agreed(may && who.is_some(), result)?.is_none() {
            return Ok(false);
        }
        self.drain(None)?;
        for id in who.unwrap_or_default() {
            ensure!(!self.model.waiting.contains(&id), "{id} still waits");
            ensure!(self.let_in.contains(&id) == admit, "{id} was let in, or was not, against the decision");
        }
        Ok(true)
    }

    pub(crate) fn spotlight(&mut self, by: ParticipantId, whom: Whom, on: bool) -> Checked<bool> {
        let may = self.model.may(by, |standing| standing.may().can_spotlight);
        let target = if may { self.model.named(by, whom) } else { None };
        let target = target.filter(|target| self.model.may(*target, Standing::is_seen));
        let request = pb::SpotlightParticipant { participant_id: whom.text(), on };
        let result = self.meeting.spotlight(by, &request);
        if self.agreed(target.is_some(), result)?.is_none() {
            return Ok(false);
        }
        let shown = &mut self.model.spotlight;
        if let Some(target) = target
            && shown.contains(&target) != on
        {
            if on {
                shown.push(target);
            } else {
                shown.retain(|shown| *shown != target);
            }
            self.model.pin_voice(target, on);
        }
        self.done()
    }

    pub(crate) fn lower_hands(&mut self, by: ParticipantId, whom: Whom) -> Checked<bool> {
        let named = match whom {
            Name::Empty => Some(self.model.here.keys().copied().collect()),
            Name::One(_) | Name::Malformed => self.model.reach(by, whom).map(|id| vec![id]),
        };
        let targets: Option<Vec<ParticipantId>> = named.filter(|_| self.model.is_host(by));
        let result = self.meeting.lower_hands(by, &pb::LowerHands { participant_id: whom.text() });
        if self.agreed(targets.is_some(), result)?.is_none() {
            return Ok(false);
        }
        for target in targets.unwrap_or_default() {
            if let Some(person) = self.model.here.get_mut(&target) {
                person.state.hand_raised = false;
            }
        }
        self.done()
    }
}
