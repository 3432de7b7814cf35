//! What hosts do to others and to the meeting.

use std::collections::BTreeSet;

use darktower_protocol::signaling::pb;
use darktower_protocol::{ParticipantId, StreamId};
use pb::envelope::Message;
use pb::{ErrorCode, StreamType};

use super::rights::{Control, Rights};
use super::{Meeting, Refusal, parse_participant_id};
use crate::preset::Produce;

/// Participants that are shown large to everybody at one time.
const MAX_SPOTLIGHT: usize = 9;

impl Meeting {
    /// Mutes, turns off cameras or ends screen shares: of one participant, or with an empty id of everybody but hosts and
    /// `by`.
    ///
    /// # Errors
    /// If the preset of `by` does not allow it, or there is no such participant.
    pub fn mute(&mut self, by: ParticipantId, request: &pb::MuteParticipant) -> Result<(), Refusal> {
        let stream_type = StreamType::try_from(request.stream_type).map_err(|_unknown| {
            Refusal::field(ErrorCode::InvalidRequest, "stream_type", "this type of stream is not known")
        })?;
        self.participant(by)?.rights().require(Control::Mute(stream_type))?;
        for target in self.targets(by, &request.participant_id)? {
            self.silence(target, stream_type);
        }
        Ok(())
    }

    /// Locks or unlocks the meeting: nobody but hosts comes in while it is locked.
    ///
    /// # Errors
    /// If `by` is no host.
    pub fn lock(&mut self, by: ParticipantId, request: &pb::LockMeeting) -> Result<(), Refusal> {
        self.participant(by)?.rights().require(Control::Lock)?;
        if self.locked != request.locked {
            self.locked = request.locked;
            self.tell_meeting();
            self.open_door();
        }
        Ok(())
    }

    /// Shows somebody large to everybody, or no longer.
    ///
    /// # Errors
    /// If the preset of `by` does not allow it, there is no such participant, or too many are shown already.
    pub fn spotlight(
        &mut self,
        by: ParticipantId,
        request: &pb::SpotlightParticipant,
    ) -> Result<(), Refusal> {
        self.participant(by)?.rights().require(Control::Spotlight)?;
        let target = self.seen(by, &request.participant_id)?;
        if self.participant(target)?.rights().hidden {
            let message = "hidden participants are not shown";
            return Err(Refusal::field(ErrorCode::Conflict, "participant_id", message));
        }
        let is_on = self.spotlight.contains(&target);
        if is_on == request.on {
            return Ok(());
        }
        if is_on {
            self.spotlight.retain(|shown| *shown != target);
        } else if self.spotlight.len() < MAX_SPOTLIGHT {
            self.spotlight.push(target);
        } else {
            let message = format!("{MAX_SPOTLIGHT} participants are shown large already");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        self.spotlight_changed(target);
        Ok(())
    }

    /// Somebody is not shown large any more, if it was.
    pub(super) fn leave_spotlight(&mut self, id: ParticipantId) {
        if self.spotlight.contains(&id) {
            self.spotlight.retain(|shown| *shown != id);
            self.spotlight_changed(id);
        }
    }

    fn spotlight_changed(&mut self, id: ParticipantId) {
        if self.participants.contains_key(&id) {
            self.pin_voice(id, self.spotlight.contains(&id));
        }
        self.prominence_changed();
        self.tell_meeting();
    }

    /// Takes the raised hand of a participant down; with an empty id, everybody's.
    ///
    /// # Errors
    /// If `by` is no host, or there is no such participant.
    pub fn lower_hands(&mut self, by: ParticipantId, request: &pb::LowerHands) -> Result<(), Refusal> {
        self.participant(by)?.rights().require(Control::LowerHands)?;
        let who = match request.participant_id.as_str() {
            "" => self.participants.keys().copied().collect(),
            text => vec![self.target(by, text)?],
        };
        for id in who {
            let participant = self.participant(id)?;
            if std::mem::take(&mut participant.state.hand_raised) {
                self.tell_updated(id, true);
            }
        }
        Ok(())
    }

    /// Whom `by` removes: one participant, or with an empty id everybody but hosts and itself.
    ///
    /// # Errors
    /// If its preset does not allow it, or there is no such participant.
    pub fn check_kick(
        &mut self,
        by: ParticipantId,
        request: &pb::KickParticipant,
    ) -> Result<Vec<ParticipantId>, Refusal> {
        self.participant(by)?.rights().require(Control::Kick)?;
        let targets = self.targets(by, &request.participant_id)?;
        if targets.contains(&by) {
            let message = "you cannot remove yourself; leave instead";
            return Err(Refusal::field(ErrorCode::InvalidRequest, "participant_id", message));
        }
        Ok(targets)
    }

    /// Whether `by` may end the meeting for all.
    ///
    /// # Errors
    /// If it is no host.
    pub fn check_end(&mut self, by: ParticipantId) -> Result<(), Refusal> {
        self.participant(by)?.rights().require(Control::End)
    }

    /// Who gets another preset. The preset itself is not looked at.
    ///
    /// # Errors
    /// If the preset of `by` does not allow it, or there is no such participant.
    pub fn check_preset(
        &mut self,
        by: ParticipantId,
        request: &pb::SetPreset,
    ) -> Result<ParticipantId, Refusal> {
        self.participant(by)?.rights().require(Control::SetPreset)?;
        self.target(by, &request.participant_id)
    }

    /// Gives a participant other rights, at once and for as long as the meeting lives. Streams that it may no longer send
    /// end. Nothing happens if it has gone meanwhile.
    pub fn set_rights(&mut self, id: ParticipantId, rights: Rights) {
        if !self.participants.contains_key(&id) {
            return;
        }
        self.given.insert(id, rights.clone());
        let saw: BTreeSet<ParticipantId> = self.visible_to(id).collect();
        let seen_by: BTreeSet<ParticipantId> = self.who_sees(id).collect();
        let max_video_subscriptions = self.limits.max_video_subscriptions;
        let Some(participant) = self.participants.get_mut(&id) else { return };
        participant.set_rights(rights);
        let message = participant.rights_message(max_video_subscriptions);
        let (mut was_on_stage, mut was_invited) = (false, false);
        if !participant.rights().may_ask_for_stage() {
            was_on_stage = std::mem::take(&mut participant.on_stage);
            was_invited = std::mem::take(&mut participant.invited);
        }
        let is_hidden = participant.rights().hidden;
        self.tell_each([id], Message::RightsChanged(pb::RightsChanged { rights: Some(message) }));
        self.end_forbidden_streams(id);
        self.change_sight(id, &saw, &seen_by);
        self.stage_is_over_for(id, was_on_stage, was_invited);
        if is_hidden {
            self.leave_spotlight(id);
            self.forget_voice(id);
        }
        self.wishes_changed(id);
        self.tell_updated(id, true);
        self.admitter_came(id);
        self.tell_stage_to(id);
    }

    /// The application has given a participant another name or other rights: at once, and when it comes again.
    pub fn change(&mut self, id: ParticipantId, name: Option<String>, rights: Option<Rights>) {
        if let Some(rights) = rights {
            // Also of somebody who is not here.
            self.given.insert(id, rights.clone());
            self.set_rights(id, rights);
        }
        let Some(name) = name else { return };
        self.remember_name(id, Some(name.clone()));
        if let Some(participant) = self.participants.get_mut(&id)
            && participant.identity.name != name
        {
            participant.identity.name = name;
            self.tell_updated(id, true);
        }
    }

    /// What others call a participant stays when it comes again; `None` if it has named itself since.
    pub(super) fn remember_name(&mut self, id: ParticipantId, name: Option<String>) {
        match name {
            Some(name) => self.given_names.insert(id, name),
            None => self.given_names.remove(&id),
        };
    }

    /// The meeting has this name for people.
    pub fn set_display_name(&mut self, display_name: &str) {
        if self.display_name != display_name {
            display_name.clone_into(&mut self.display_name);
            self.tell_meeting();
        }
    }

    /// Ends the streams of a participant that it may not send (any more).
    pub(super) fn end_forbidden_streams(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else { return };
        let forbidden =
            participant.streams.values().filter(|stream| !participant.may_send(stream.stream_type));
        let forbidden: Vec<StreamId> = forbidden.map(|stream| stream.stream_id).collect();
        for stream_id in &forbidden {
            self.remove_stream(id, *stream_id, true);
        }
        if !forbidden.is_empty() {
            self.register(id);
        }
    }

    /// The participant that a request names: itself, or somebody whom it sees. Who is not seen does not exist.
    pub(super) fn seen(&self, by: ParticipantId, text: &str) -> Result<ParticipantId, Refusal> {
        let named = parse_participant_id(text)?;
        let pair = (self.participants.get(&by), self.participants.get(&named));
        match pair {
            (Some(asks), Some(other)) if by == named || asks.sees(other) => Ok(named),
            _ => {
                let message = format!("participant {named} is not in this meeting");
                Err(Refusal::field(ErrorCode::NotFound, "participant_id", message))
            }
        }
    }

    /// As [`seen`](Self::seen), for what only hosts may do to hosts.
    pub(super) fn target(&self, by: ParticipantId, text: &str) -> Result<ParticipantId, Refusal> {
        let target = self.seen(by, text)?;
        let runs_meeting = |id: &ParticipantId| {
            self.participants.get(id).is_some_and(|participant| participant.rights().run_meeting)
        };
        if by != target && runs_meeting(&target) && !runs_meeting(&by) {
            let message = "only hosts can do this to hosts";
            return Err(Refusal::field(ErrorCode::Forbidden, "participant_id", message));
        }
        Ok(target)
    }

    fn targets(&self, by: ParticipantId, text: &str) -> Result<Vec<ParticipantId>, Refusal> {
        if !text.is_empty() {
            return Ok(vec![self.target(by, text)?]);
        }
        let others = self.visible_to(by);
        let runs_meeting = |id: &ParticipantId| {
            self.participants.get(id).is_some_and(|participant| participant.rights().run_meeting)
        };
        Ok(others.filter(|id| !runs_meeting(id)).collect())
    }

    fn silence(&mut self, id: ParticipantId, stream_type: StreamType) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        let before = (participant.state, participant.camera_off);
        match stream_type {
            StreamType::Audio => participant.state.audio_muted = true,
            StreamType::VideoCamera => {
                participant.state.video_on = false;
                participant.camera_off = true;
            }
            StreamType::VideoScreen => participant.state.screen_sharing = false,
        }
        let changed = (participant.state, participant.camera_off) != before;
        if stream_type == StreamType::VideoScreen {
            let screens = participant.streams.values().filter(|stream| stream.stream_type == stream_type);
            let screens: Vec<StreamId> = screens.map(|stream| stream.stream_id).collect();
            for stream_id in &screens {
                self.remove_stream(id, *stream_id, true);
            }
            if !screens.is_empty() {
                self.register(id);
            }
        } else {
            self.forward_all(id, stream_type);
        }
        if changed {
            self.tell_updated(id, true);
        }
    }

    /// Tells everybody of the meeting as a whole.
    pub(super) fn tell_meeting(&mut self) {
        let updated = Message::MeetingUpdated(pb::MeetingUpdated {
            display_name: self.display_name.clone(),
            locked: self.locked,
            spotlight_participant_ids: self.spotlight.iter().map(ToString::to_string).collect(),
        });
        self.tell_each(self.those_who(|_| true), updated);
    }

    /// Refuses a stream that its publisher may not send, or that is one screen too many.
    pub(super) fn check_publish(
        &mut self,
        id: ParticipantId,
        stream_type: StreamType,
    ) -> Result<(), Refusal> {
        let participant = self.participant(id)?;
        if !participant.may_send(stream_type) {
            let rights = participant.rights();
            let message = match rights.produce(stream_type) {
                Produce::CanRequest => "ask for the stage before you send this".to_owned(),
                _ => format!("your preset {} does not allow to send this", rights.preset),
            };
            return Err(Refusal::field(ErrorCode::Forbidden, "stream_type", message));
        }
        if stream_type != StreamType::VideoScreen {
            return Ok(());
        }
        let max = participant.rights().max_screens;
        let streams = self.participants.values().flat_map(|participant| participant.streams.values());
        let screens = streams.filter(|stream| stream.stream_type == StreamType::VideoScreen).count();
        if screens >= max {
            let message = format!("{screens} screens are shared already, as many as may be at one time");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        Ok(())
    }
}
