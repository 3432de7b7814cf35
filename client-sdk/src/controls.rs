//! What participants say of themselves, what hosts do to others, and the stage.

use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, ParticipantId, StreamId};
use pb::envelope::Message;
use pb::stage_request::Action;

use crate::error::Error;
use crate::meeting::Meeting;

/// The participant itself.
impl Meeting {
    /// What this session may do now. [`Event::RightsChanged`](crate::Event::RightsChanged) tells of
    /// changes.
    pub fn rights(&self) -> pb::Rights {
        self.session().roster().standing.rights.clone()
    }

    /// What this participant last said of itself with [`set_state`](Self::set_state), or what a host
    /// has made of it since.
    pub fn state(&self) -> pb::ParticipantState {
        self.session().roster().standing.state
    }

    /// Whether nobody but hosts gets in.
    pub fn is_locked(&self) -> bool {
        self.session().roster().standing.locked
    }

    /// Who is shown large to everybody.
    pub fn spotlight(&self) -> Vec<ParticipantId> {
        self.session().roster().standing.spotlight.clone()
    }

    /// How many only watch, as the server last told: also who may not see the list of them hears their number. 0 where
    /// nobody does, and until it is told for the first time, some seconds after joining.
    pub fn viewer_count(&self) -> u32 {
        self.session().roster().standing.audience.viewers
    }

    /// Who waits to be let in, as far as this session has been told: only those are who may admit,
    /// by an event after joining.
    pub fn waiting_room(&self) -> Vec<pb::Participant> {
        self.session().roster().standing.waiting.clone()
    }

    /// Takes another name.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn rename(&self, name: impl Into<String>) -> Result<(), Error> {
        let update = pb::UpdateParticipant { name: name.into(), ..Default::default() };
        self.control(Message::UpdateParticipant(update)).await
    }

    /// Says what this participant does: whether it has muted itself, shows its camera or its screen,
    /// raises its hand. The server forwards no audio of who is muted. Only what differs from
    /// [`state`](Self::state) is said: what a host changes at the same moment stays.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn set_state(&self, state: pb::ParticipantState) -> Result<(), Error> {
        self.change_state(pb::StateChange::between(&self.state(), &state)).await
    }

    /// Raises or lowers this participant's hand; the rest of its [`state`](Self::state) stays.
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state).
    pub async fn raise_hand(&self, raised: bool) -> Result<(), Error> {
        self.change_state(pb::StateChange { hand_raised: Some(raised), ..Default::default() }).await
    }

    /// Says what changes of this participant's [`state`](Self::state), whatever it knows of it: as
    /// [`set_state`](Self::set_state) for a part of it.
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state).
    pub async fn change_state(&self, change: pb::StateChange) -> Result<(), Error> {
        // Before the server is asked: what it tells meanwhile must not be overwritten.
        let (state, undo) = self.session().roster().standing.change(change);
        // The whole is for servers that do not know changes.
        let update = pb::UpdateParticipant { state: Some(state), change: Some(change), ..Default::default() };
        let taken = self.session().ask(|| Message::UpdateParticipant(update.clone())).await.map(drop);
        if taken.is_err() {
            self.session().roster().standing.undo(change, undo);
        }
        taken
    }

    /// Tells how loud this participant's audio streams are, in decibels below the loudest that can be encoded: 0 to 127,
    /// which is silence (RFC 6464). To be called about five times per second while there is sound. Of those who tell, the
    /// server forwards the loudest few; [`Event::ActiveSpeaker`](crate::Event::ActiveSpeaker) says who speaks.
    ///
    /// # Errors
    /// [`Error::Refused`] if one is not an audio stream of this participant, else what ended the session.
    pub async fn tell_audio_levels(&self, levels: &[(StreamId, u8)]) -> Result<(), Error> {
        let level = |(stream_id, level): &(StreamId, u8)| pb::AudioLevel {
            stream_id: stream_id.to_string(),
            level: (*level).into(),
        };
        let levels = levels.iter().map(level).collect();
        self.control(Message::AudioLevels(pb::AudioLevels { levels })).await
    }

    /// A request that is carried out or refused.
    pub(crate) async fn control(&self, request: Message) -> Result<(), Error> {
        self.session().reach().command(request).await.map(drop)
    }
}

/// Controls of hosts, and of whoever else has the [`rights`](Meeting::rights). Each fails with
/// [`Error::Refused`] if the server refuses, else with what ended the session.
impl Meeting {
    /// Removes a participant, whose tokens are void from then on.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn kick(&self, participant_id: ParticipantId) -> Result<(), Error> {
        self.kick_whom(participant_id.to_string()).await
    }

    /// Removes everybody but hosts.
    ///
    /// # Errors
    /// As [`kick`](Self::kick).
    pub async fn kick_everybody(&self) -> Result<(), Error> {
        self.kick_whom(String::new()).await
    }

    async fn kick_whom(&self, participant_id: String) -> Result<(), Error> {
        self.control(Message::KickParticipant(pb::KickParticipant { participant_id })).await
    }

    /// Mutes a participant: its audio or its camera is not forwarded until it says itself, with
    /// [`set_state`](Self::set_state), that it has turned them on again. The streams of a screen are
    /// ended.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn mute(&self, participant_id: ParticipantId, kind: pb::StreamType) -> Result<(), Error> {
        self.mute_whom(participant_id.to_string(), kind).await
    }

    /// Mutes everybody but hosts and this participant.
    ///
    /// # Errors
    /// As [`mute`](Self::mute).
    pub async fn mute_everybody(&self, kind: pb::StreamType) -> Result<(), Error> {
        self.mute_whom(String::new(), kind).await
    }

    async fn mute_whom(&self, participant_id: String, kind: pb::StreamType) -> Result<(), Error> {
        let mute = pb::MuteParticipant { participant_id, stream_type: kind.into() };
        self.control(Message::MuteParticipant(mute)).await
    }

    /// Locks the meeting, so that nobody but hosts gets in, or unlocks it.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn lock(&self, locked: bool) -> Result<(), Error> {
        self.control(Message::LockMeeting(pb::LockMeeting { locked })).await
    }

    /// Ends the meeting for everybody, this session included.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session, if it was something else.
    pub async fn end_for_all(&self) -> Result<(), Error> {
        match self.control(Message::EndMeeting(pb::EndMeeting {})).await {
            // The end was faster than the answer.
            Err(Error::Closed { code: Code::MEETING_ENDED, .. }) => Ok(()),
            ended => ended,
        }
    }

    /// Lets somebody in who waits; `None` = all of them.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn admit(&self, participant_id: Option<ParticipantId>) -> Result<(), Error> {
        self.decide(participant_id, true).await
    }

    /// Turns somebody away who waits; `None` = all of them.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn reject(&self, participant_id: Option<ParticipantId>) -> Result<(), Error> {
        self.decide(participant_id, false).await
    }

    async fn decide(&self, participant_id: Option<ParticipantId>, admit: bool) -> Result<(), Error> {
        let participant_id = text(participant_id);
        self.control(Message::AdmitParticipant(pb::AdmitParticipant { participant_id, admit })).await
    }

    /// Gives a participant another preset, and with it other rights.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn set_preset(
        &self,
        participant_id: ParticipantId,
        preset: impl Into<String>,
    ) -> Result<(), Error> {
        let participant_id = participant_id.to_string();
        let request = pb::SetPreset { participant_id, preset: preset.into() };
        self.control(Message::SetPreset(request)).await
    }

    /// Gives another participant another name.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn rename_participant(
        &self,
        participant_id: ParticipantId,
        name: impl Into<String>,
    ) -> Result<(), Error> {
        let participant_id = participant_id.to_string();
        let update = pb::UpdateParticipant { name: name.into(), participant_id, ..Default::default() };
        self.control(Message::UpdateParticipant(update)).await
    }

    /// Shows a participant large to everybody, or no more.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn spotlight_participant(&self, participant_id: ParticipantId, on: bool) -> Result<(), Error> {
        let request = pb::SpotlightParticipant { participant_id: participant_id.to_string(), on };
        self.control(Message::SpotlightParticipant(request)).await
    }

    /// Lowers a raised hand; `None` = everybody's.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn lower_hand(&self, participant_id: Option<ParticipantId>) -> Result<(), Error> {
        let participant_id = text(participant_id);
        self.control(Message::LowerHands(pb::LowerHands { participant_id })).await
    }
}

/// The stage: who may not send media at once asks for it.
/// [`Event::StageChanged`](crate::Event::StageChanged) tells what came of it.
impl Meeting {
    /// Asks to come on the stage, or accepts an invitation there.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn ask_for_stage(&self) -> Result<(), Error> {
        self.stage(Action::Ask, None).await
    }

    /// Leaves the stage, or asks for it no more; streams that need it end.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn leave_stage(&self) -> Result<(), Error> {
        self.stage(Action::Leave, None).await
    }

    /// Lets a participant who asks come on the stage.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn approve_stage(&self, participant_id: ParticipantId) -> Result<(), Error> {
        self.stage(Action::Approve, Some(participant_id)).await
    }

    /// Denies the stage to a participant who asks.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn deny_stage(&self, participant_id: ParticipantId) -> Result<(), Error> {
        self.stage(Action::Deny, Some(participant_id)).await
    }

    /// Invites a participant to come on the stage.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn invite_to_stage(&self, participant_id: ParticipantId) -> Result<(), Error> {
        self.stage(Action::Invite, Some(participant_id)).await
    }

    /// Takes a participant off the stage; its streams that need it end.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn remove_from_stage(&self, participant_id: ParticipantId) -> Result<(), Error> {
        self.stage(Action::Remove, Some(participant_id)).await
    }

    async fn stage(&self, action: Action, participant_id: Option<ParticipantId>) -> Result<(), Error> {
        let participant_id = text(participant_id);
        let request = pb::StageRequest { action: action.into(), participant_id };
        self.control(Message::StageRequest(request)).await
    }
}

/// Empty = everybody, or oneself.
fn text(participant_id: Option<ParticipantId>) -> String {
    participant_id.map_or_else(String::new, |id| id.to_string())
}
