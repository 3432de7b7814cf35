//! What a participant may do, and the one place that decides it.

use darktower_protocol::signaling::pb;
use pb::{ErrorCode, StreamType};

use super::Refusal;
use crate::preset::{Preset, Produce, WaitingRoomType};

/// What a participant may do: from its preset, and from its role as far as presets do not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "permissions are yes or no, one by one")]
pub struct Rights {
    /// Name of the preset.
    pub preset: String,
    /// Send sound.
    pub audio: Produce,
    /// Send its camera.
    pub camera: Produce,
    /// Send its screen.
    pub screen: Produce,
    /// Screens in the meeting at one time, this one's included.
    pub max_screens: usize,
    /// Write to everybody.
    pub chat_public: bool,
    /// Write to one participant.
    pub chat_private: bool,
    /// Read what one participant writes to it.
    pub receive_private_chat: bool,
    /// Remove others.
    pub kick: bool,
    /// Mute others.
    pub mute_audio: bool,
    /// Turn off others' cameras.
    pub disable_camera: bool,
    /// End others' screen shares.
    pub disable_screen: bool,
    /// Let others in from the waiting room.
    pub admit: bool,
    /// Let others on the stage.
    pub manage_stage: bool,
    /// Show somebody large to everybody.
    pub spotlight: bool,
    /// Give others another preset.
    pub set_preset: bool,
    /// Change its own name.
    pub rename_self: bool,
    /// See also those who may not send media.
    pub participant_list: bool,
    /// Nobody sees it.
    pub hidden: bool,
    /// It waits in the waiting room, if there is one.
    pub waits: bool,
    /// Lock and end the meeting, rename others, pin messages: hosts. Only they can do something to others who may.
    pub run_meeting: bool,
}

/// What a participant does to others or to the meeting as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Remove.
    Kick,
    /// Mute, turn off the camera, end the screen share.
    Mute(StreamType),
    /// Lock or unlock the meeting.
    Lock,
    /// End the meeting for all.
    End,
    /// Let in from the waiting room, or turn away.
    Admit,
    /// Give another preset.
    SetPreset,
    /// Give another name.
    Rename,
    /// Approve, deny, invite to the stage, remove from it.
    Stage,
    /// Show large to everybody.
    Spotlight,
    /// Take raised hands down.
    LowerHands,
    /// Pin messages, and delete those of others.
    ModerateChat,
}

impl Rights {
    /// What the holder of a preset may do; `runs_meeting` for those whose role is host.
    #[must_use]
    pub fn new(preset: &Preset, runs_meeting: bool) -> Self {
        let may = &preset.permissions;
        // Nobody would see a stream of somebody who is hidden, which would take a place among those heard or shown.
        let unless_hidden = |produce| if may.hidden_participant { Produce::NotAllowed } else { produce };
        Self {
            preset: preset.name.clone(),
            audio: unless_hidden(may.media.audio.can_produce),
            camera: unless_hidden(may.media.video.can_produce),
            screen: unless_hidden(may.media.screenshare.can_produce),
            max_screens: preset.config.max_screenshare_count as usize,
            chat_public: may.chat.public.can_send && may.chat.public.text,
            chat_private: may.chat.private.can_send && may.chat.private.text,
            receive_private_chat: may.chat.private.can_receive,
            kick: may.kick_participant,
            mute_audio: may.disable_participant_audio,
            disable_camera: may.disable_participant_video,
            disable_screen: may.disable_participant_screensharing,
            admit: may.accept_waiting_requests,
            manage_stage: may.can_accept_production_requests,
            spotlight: may.can_spotlight,
            set_preset: may.can_change_participant_permissions,
            rename_self: may.can_edit_display_name,
            participant_list: may.show_participant_list,
            hidden: may.hidden_participant,
            // Who waits is shown by name to those who let others in.
            waits: may.waiting_room_type == WaitingRoomType::OnPrivilegedUserEntry && !may.hidden_participant,
            run_meeting: runs_meeting,
        }
    }

    /// As [`new`](Self::new), for a preset that was given in the meeting: who may give presets runs the meeting.
    #[must_use]
    pub fn given(preset: &Preset) -> Self {
        Self::new(preset, preset.permissions.can_change_participant_permissions)
    }

    /// Whether streams of this type may be sent.
    #[must_use]
    pub fn produce(&self, stream_type: StreamType) -> Produce {
        match stream_type {
            StreamType::Audio => self.audio,
            StreamType::VideoCamera => self.camera,
            StreamType::VideoScreen => self.screen,
        }
    }

    /// Whether it is one of those whom everybody knows: who may send something, be it after asking.
    #[must_use]
    pub fn may_ever_send(&self) -> bool {
        [self.audio, self.camera, self.screen].iter().any(|produce| *produce != Produce::NotAllowed)
    }

    /// Whether anything becomes possible on the stage, where everybody is seen.
    #[must_use]
    pub fn may_ask_for_stage(&self) -> bool {
        [self.audio, self.camera, self.screen].contains(&Produce::CanRequest)
    }

    /// Whether it may do this to anybody at all.
    #[must_use]
    pub fn permits(&self, control: Control) -> bool {
        match control {
            Control::Kick => self.kick,
            Control::Mute(StreamType::Audio) => self.mute_audio,
            Control::Mute(StreamType::VideoCamera) => self.disable_camera,
            Control::Mute(StreamType::VideoScreen) => self.disable_screen,
            Control::Admit => self.admit,
            Control::SetPreset => self.set_preset,
            Control::Stage => self.manage_stage,
            Control::Spotlight => self.spotlight,
            Control::Lock | Control::End | Control::Rename | Control::LowerHands | Control::ModerateChat => {
                self.run_meeting
            }
        }
    }

    /// Refuses what the preset does not allow.
    pub(super) fn require(&self, control: Control) -> Result<(), Refusal> {
        if self.permits(control) {
            return Ok(());
        }
        let what = match control {
            Control::Kick => "remove participants",
            Control::Mute(StreamType::Audio) => "mute others",
            Control::Mute(StreamType::VideoCamera) => "turn off others' cameras",
            Control::Mute(StreamType::VideoScreen) => "end others' screen shares",
            Control::Lock => "lock the meeting",
            Control::End => "end the meeting",
            Control::Admit => "let others in",
            Control::SetPreset => "change what others may do",
            Control::Rename => "rename others",
            Control::Stage => "decide who is on the stage",
            Control::Spotlight => "show somebody large to everybody",
            Control::LowerHands => "lower others' hands",
            Control::ModerateChat => "moderate the chat",
        };
        Err(Refusal::new(
            ErrorCode::Forbidden,
            format!("your preset {} does not allow to {what}", self.preset),
        ))
    }

    pub(super) fn to_message(&self) -> pb::Rights {
        let produce = |produce| {
            i32::from(match produce {
                Produce::Allowed => pb::Produce::Allowed,
                Produce::NotAllowed => pb::Produce::NotAllowed,
                Produce::CanRequest => pb::Produce::CanRequest,
            })
        };
        pb::Rights {
            preset: self.preset.clone(),
            audio: produce(self.audio),
            camera: produce(self.camera),
            screen: produce(self.screen),
            chat_public: self.chat_public,
            chat_private: self.chat_private,
            kick: self.kick,
            mute_audio: self.mute_audio,
            disable_camera: self.disable_camera,
            disable_screen: self.disable_screen,
            admit: self.admit,
            manage_stage: self.manage_stage,
            spotlight: self.spotlight,
            set_preset: self.set_preset,
            rename_self: self.rename_self,
            participant_list: self.participant_list,
            run_meeting: self.run_meeting,
        }
    }
}
