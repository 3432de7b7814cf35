//! One participant of a meeting.

use std::collections::BTreeMap;
use std::time::Instant;

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{ParticipantId, StreamId};
use pb::StreamType;

use super::Epoch;
use super::auto::Auto;
use super::journal::Journal;
use super::rights::Rights;
use super::subscriptions::Subscriptions;
use crate::preset::Produce;

/// Longest display name, in characters.
pub const MAX_NAME_CHARS: usize = 64;

/// Who a participant is: from its token, never from a message. But the name may be one that it
/// gives itself, unless it is a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's subject.
    pub participant_id: ParticipantId,
    /// Shown to others; see [`display_name`].
    pub name: String,
    /// What it is to the meeting, as others see it.
    pub role: pb::Role,
    /// What it may do.
    pub rights: Rights,
    /// Whether it came without an account: its name was checked when its token was issued, and stays.
    pub is_guest: bool,
    /// The application's user, empty for guests.
    pub user_id: String,
}

/// A name fit for other people's screens: trimmed, without control and invisible formatting
/// characters, at most 64 characters. `None` if nothing is left or it is longer.
pub fn display_name(text: &str) -> Option<String> {
    let is_invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).take(MAX_NAME_CHARS * 4).collect();
    let name = visible.trim();
    (!name.is_empty() && name.chars().count() <= MAX_NAME_CHARS).then(|| name.to_owned())
}

/// Who knows of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Nobody,
    /// Those with the participant list.
    List,
    Everybody,
}

#[derive(Debug)]
pub(super) struct Participant {
    pub(super) identity: Identity,
    pub(super) epoch: Epoch,
    /// Its first session: whoever joined earlier has an earlier one.
    pub(super) joined: Epoch,
    pub(super) state: pb::ParticipantState,
    /// A host has turned its camera off, and it has not turned it on again.
    pub(super) camera_off: bool,
    pub(super) on_stage: bool,
    /// It comes on the stage when it asks.
    pub(super) invited: bool,
    pub(super) journal: Journal,
    pub(super) network_grade: pb::NetworkGrade,
    /// How many there are, as it was last told.
    pub(super) known_audience: pb::AudienceChanged,
    /// Since when its connection is lost.
    pub(super) lost_at: Option<Instant>,
    /// It has a connection, of which nothing is heard.
    pub(super) is_silent: bool,
    pub(super) streams: BTreeMap<StreamId, StreamDescription>,
    pub(super) subscriptions: Subscriptions,
    /// What the meeting is to subscribe to for it.
    pub(super) auto: Option<Auto>,
    joined_at_us: u64,
    declared_max_video: usize,
    is_mobile: bool,
}

impl Participant {
    pub(super) fn new(
        identity: Identity,
        capabilities: &pb::ParticipantCapabilities,
        epoch: Epoch,
        joined_at_us: u64,
    ) -> Self {
        Self {
            identity,
            epoch,
            joined: epoch,
            state: pb::ParticipantState::default(),
            camera_off: false,
            on_stage: false,
            invited: false,
            journal: Journal::default(),
            network_grade: pb::NetworkGrade::NotMeasured,
            known_audience: pb::AudienceChanged::default(),
            lost_at: None,
            is_silent: false,
            streams: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            auto: None,
            joined_at_us,
            declared_max_video: capabilities.max_video_streams as usize,
            is_mobile: capabilities.mobile,
        }
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.identity.rights
    }

    pub(super) fn set_rights(&mut self, rights: Rights) {
        self.identity.role = if rights.run_meeting { pb::Role::Host } else { pb::Role::Participant };
        self.identity.rights = rights;
    }

    /// Whether it may send streams of this type now.
    pub(super) fn may_send(&self, stream_type: StreamType) -> bool {
        match self.rights().produce(stream_type) {
            Produce::Allowed => true,
            Produce::CanRequest => self.on_stage,
            Produce::NotAllowed => false,
        }
    }

    /// Whether it may send anything now: else it only watches.
    pub(super) fn may_send_something(&self) -> bool {
        [StreamType::Audio, StreamType::VideoCamera, StreamType::VideoScreen]
            .into_iter()
            .any(|stream_type| self.may_send(stream_type))
    }

    /// Whether its streams of this type are forwarded.
    pub(super) fn is_forwarded(&self, stream_type: StreamType) -> bool {
        match stream_type {
            StreamType::Audio => !self.state.audio_muted,
            StreamType::VideoCamera => !self.camera_off,
            StreamType::VideoScreen => true,
        }
    }

    /// Whether it knows of another participant.
    pub(super) fn sees(&self, other: &Self) -> bool {
        self.has_sight(other.sight())
    }

    /// Whether it is one of those who know.
    pub(super) fn has_sight(&self, sight: Sight) -> bool {
        match sight {
            Sight::Nobody => false,
            Sight::List => self.rights().participant_list,
            Sight::Everybody => true,
        }
    }

    /// Who knows of it.
    pub(super) fn sight(&self) -> Sight {
        match self.rights() {
            rights if rights.hidden => Sight::Nobody,
            rights if rights.may_ever_send() => Sight::Everybody,
            _ => Sight::List,
        }
    }

    /// Layers of all its streams.
    pub(super) fn layer_count(&self) -> usize {
        self.streams.values().map(|stream| stream.layers.len()).sum()
    }

    /// Video subscriptions at one time: what its preset allows, within what the client declared and the `bound` of all.
    pub(super) fn max_video_streams(&self, bound: usize) -> usize {
        let preset = self.rights().max_video_streams;
        let allowed = if self.is_mobile { preset.mobile } else { preset.desktop };
        let declared = if self.declared_max_video == 0 { bound } else { self.declared_max_video };
        (allowed as usize).min(declared).min(bound)
    }

    /// What it may do, as it is told; `max_video` is the bound of all.
    pub(super) fn rights_message(&self, max_video: usize) -> pb::Rights {
        let max_video_streams = self.max_video_streams(max_video).try_into().unwrap_or(u32::MAX);
        pb::Rights { max_video_streams, ..self.rights().to_message() }
    }

    pub(super) fn to_message(&self, id: ParticipantId) -> pb::Participant {
        pb::Participant {
            participant_id: id.to_string(),
            name: self.identity.name.clone(),
            streams: self.streams.values().map(StreamDescription::to_message).collect(),
            joined_at: self.joined_at_us,
            role: self.identity.role.into(),
            user_id: self.identity.user_id.clone(),
            state: Some(self.state),
            on_stage: self.on_stage,
            reconnecting: self.lost_at.is_some() || self.is_silent,
            network_grade: self.network_grade.into(),
            ..pb::Participant::default()
        }
    }
}
