//! What may happen to a meeting.

use std::fmt;

use darktower_core::meeting::quality::MediaSample;
use darktower_core::meeting::{Epoch, WaitingRoom};
use darktower_protocol::signaling::pb;
use darktower_protocol::{ParticipantId, StreamId};
use pb::StreamType;
use pb::stage_request::Action;

use crate::model::Layer;

/// An id in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<Id> {
    /// Nothing: oneself or everybody, depending on the request.
    Empty,
    One(Id),
    /// No id at all.
    Malformed,
}

impl<Id: fmt::Display> Name<Id> {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::One(id) => id.to_string(),
            Self::Malformed => "not-an-id".to_owned(),
        }
    }
}

pub(crate) type Whom = Name<ParticipantId>;
pub(crate) type Which = Name<StreamId>;

/// Layers of a stream to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Simulcast,
    /// One layer with a wire stream id that the publisher chose.
    Explicit(StreamId),
    /// Without a codec.
    Malformed,
}

/// Name and bit/s of simulcast layers.
const SIMULCAST: [(&str, u32); 3] = [("low", 100_000), ("mid", 500_000), ("high", 1_500_000)];

impl Shape {
    pub(crate) fn layers(self, stream: StreamId) -> Vec<Layer> {
        match self {
            Self::Plain | Self::Malformed => vec![Layer { name: "", wire_id: stream, bitrate_bps: 0 }],
            Self::Simulcast => SIMULCAST
                .map(|(name, bitrate_bps)| Layer { name, wire_id: stream.of_layer(name), bitrate_bps })
                .to_vec(),
            Self::Explicit(wire_id) => vec![Layer { name: "only", wire_id, bitrate_bps: 0 }],
        }
    }

    pub(crate) fn request(self, stream: &Which, kind: StreamType) -> pb::PublishStream {
        let layer = |layer_id: &str, max_bitrate, stream_id| pb::SimulcastLayer {
            layer_id: layer_id.to_owned(),
            max_bitrate,
            stream_id,
            ..pb::SimulcastLayer::default()
        };
        let simulcast_layers = match self {
            Self::Plain | Self::Malformed => Vec::new(),
            // The highest first, as browsers declare them.
            Self::Simulcast => {
                SIMULCAST.iter().rev().map(|(name, bitrate)| layer(name, *bitrate, String::new())).collect()
            }
            Self::Explicit(wire_id) => vec![layer("only", 0, wire_id.to_string())],
        };
        let codec = if self == Self::Malformed { "" } else { "VP8" };
        pb::PublishStream {
            stream_id: stream.text(),
            stream_type: kind.into(),
            metadata: Some(pb::StreamMetadata {
                codec: codec.to_owned(),
                video: Some(pb::VideoMetadata { simulcast_layers, ..pb::VideoMetadata::default() }),
                ..pb::StreamMetadata::default()
            }),
        }
    }
}

/// One thing that happens. With everything in it, so that it can happen again.
///
/// `Knock` is somebody at the door, who is in if it is open; `Enter` somebody who was let in from the
/// waiting room. After `Deafen` nothing arrives at a client any more, and the meeting does not know yet.
/// `Flood` is a hand that goes up and down more often than the meeting remembers. `name` is an index into
/// [`NAMES`], `preset` one into the presets; a `kind` that is missing is a type of stream that there is not.
/// Where a participant says a `change` of its state, the whole `state` beside it counts for nothing.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Knock {
        who: ParticipantId,
    },
    Enter {
        who: ParticipantId,
    },
    GiveUpWaiting {
        who: ParticipantId,
    },
    Leave {
        who: ParticipantId,
        epoch: Epoch,
    },
    Deafen {
        who: ParticipantId,
    },
    Disconnect {
        who: ParticipantId,
        epoch: Epoch,
    },
    Silence {
        who: ParticipantId,
        epoch: Epoch,
        is_silent: bool,
    },
    Time {
        ms: u64,
    },
    Resume {
        who: ParticipantId,
        epoch: Epoch,
        seen: u64,
    },
    Publish {
        by: ParticipantId,
        stream: Which,
        kind: StreamType,
        shape: Shape,
    },
    Unpublish {
        by: ParticipantId,
        stream: Which,
    },
    Subscribe {
        by: ParticipantId,
        stream: Which,
        preferred: &'static str,
        max_bitrate: u32,
    },
    Unsubscribe {
        by: ParticipantId,
        stream: Which,
    },
    SubscribeAuto {
        by: ParticipantId,
        options: Option<AutoOptions>,
    },
    Talk {
        voices: Vec<(ParticipantId, Which, u32)>,
        reports: u32,
    },
    Update {
        by: ParticipantId,
        whom: Whom,
        name: usize,
        state: Option<pb::ParticipantState>,
        change: Option<pb::StateChange>,
    },
    Flood {
        by: ParticipantId,
    },
    Mute {
        by: ParticipantId,
        whom: Whom,
        kind: Option<StreamType>,
    },
    Lock {
        by: ParticipantId,
        locked: bool,
    },
    Kick {
        by: ParticipantId,
        whom: Whom,
    },
    SetPreset {
        by: ParticipantId,
        whom: Whom,
        preset: usize,
    },
    Stage {
        by: ParticipantId,
        action: Action,
        whom: Whom,
    },
    Admit {
        by: ParticipantId,
        whom: Whom,
        admit: bool,
    },
    Spotlight {
        by: ParticipantId,
        whom: Whom,
        on: bool,
    },
    LowerHands {
        by: ParticipantId,
        whom: Whom,
    },
    Write {
        by: ParticipantId,
        to: Whom,
        is_blank: bool,
    },
    Edit {
        by: ParticipantId,
        line: u64,
    },
    Delete {
        by: ParticipantId,
        line: u64,
    },
    Pin {
        by: ParticipantId,
        line: u64,
        pinned: bool,
    },
    History {
        by: ParticipantId,
        with: Whom,
        before: u64,
        limit: u32,
        pinned_only: bool,
    },
    Broadcast {
        by: ParticipantId,
        to: Vec<Whom>,
        is_reaction: bool,
    },
    Observe {
        samples: Vec<MediaSample>,
    },
    Measure {
        by: ParticipantId,
        stream: Which,
        loss: f32,
    },
    SetMaxParticipants {
        max: usize,
    },
    SetWaitingRoom {
        waiting_room: WaitingRoom,
    },
    End {
        by: ParticipantId,
    },
    Clear,
}

/// What is asked for with [`Op::SubscribeAuto`]; without it nothing is any more. A kind that is missing is a type of
/// stream that there is not.
#[derive(Debug, Clone)]
pub(crate) struct AutoOptions {
    pub(crate) kinds: Vec<Option<StreamType>>,
    pub(crate) max_video: u32,
    pub(crate) preferred: &'static str,
    pub(crate) max_bitrate: u32,
    pub(crate) pinned: Vec<Whom>,
}

impl AutoOptions {
    pub(crate) fn request(&self) -> pb::SubscribeAuto {
        pb::SubscribeAuto {
            on: true,
            stream_types: self.kinds.iter().map(|kind| kind.map_or(7, i32::from)).collect(),
            max_video_streams: self.max_video,
            camera_options: Some(pb::SubscriptionOptions {
                preferred_layer: self.preferred.to_owned(),
                max_bitrate: self.max_bitrate,
            }),
            pinned_participant_ids: self.pinned.iter().map(Name::text).collect(),
        }
    }
}

/// Names as they are sent and as they are shown, if they may be. The first leaves a name as it is.
pub(crate) const NAMES: [(&str, Option<&str>); 6] = [
    ("", None),
    ("Ada", Some("Ada")),
    (" Grace\u{202e} ", Some("Grace")),
    ("P1", Some("P1")),
    ("\u{200b}\t", None),
    ("A name of more than sixty-four characters is longer than a name may be here.", None),
];

/// Every kind of operation that must have been accepted once before a simulation says anything.
pub(crate) const KINDS: &[&str] = &[
    "knock",
    "enter",
    "give up waiting",
    "leave",
    "deafen",
    "disconnect",
    "fall silent",
    "be heard again",
    "time",
    "resume",
    "publish audio",
    "publish camera",
    "publish screen",
    "publish simulcast",
    "unpublish",
    "subscribe",
    "unsubscribe",
    "auto on",
    "auto off",
    "talk",
    "update oneself",
    "change one's state",
    "rename another",
    "flood",
    "mute",
    "mute all",
    "camera off",
    "all cameras off",
    "end screen",
    "end all screens",
    "lock",
    "unlock",
    "kick",
    "kick all",
    "set preset",
    "stage ask",
    "stage approve",
    "stage deny",
    "stage invite",
    "stage remove",
    "stage leave",
    "admit",
    "admit all",
    "reject",
    "reject all",
    "spotlight on",
    "spotlight off",
    "lower hand",
    "lower all hands",
    "write to everybody",
    "write to one",
    "edit",
    "delete",
    "pin",
    "unpin",
    "history",
    "history with one",
    "broadcast to all",
    "broadcast to some",
    "observe",
    "measure",
    "set max participants",
    "set waiting room",
    "end",
    "clear",
];

impl Op {
    /// Who does something of which it may do so much only, because others are told of it.
    pub(crate) fn change_of(&self) -> Option<ParticipantId> {
        match self {
            Self::Publish { by, .. }
            | Self::Unpublish { by, .. }
            | Self::Update { by, .. }
            | Self::Mute { by, .. }
            | Self::Lock { by, .. }
            | Self::Kick { by, .. }
            | Self::SetPreset { by, .. }
            | Self::Stage { by, .. }
            | Self::Admit { by, .. }
            | Self::Spotlight { by, .. }
            | Self::LowerHands { by, .. } => Some(*by),
            _ => None,
        }
    }

    /// Which of [`KINDS`] it is.
    pub(crate) fn kind(&self) -> &'static str {
        let all = |whom: &Whom| *whom == Name::Empty;
        let either = |is_first: bool, first: &'static str, second: &'static str| match is_first {
            true => first,
            false => second,
        };
        match self {
            Self::Knock { .. } => "knock",
            Self::Enter { .. } => "enter",
            Self::GiveUpWaiting { .. } => "give up waiting",
            Self::Leave { .. } => "leave",
            Self::Deafen { .. } => "deafen",
            Self::Disconnect { .. } => "disconnect",
            Self::Silence { is_silent, .. } => either(*is_silent, "fall silent", "be heard again"),
            Self::Time { .. } => "time",
            Self::Resume { .. } => "resume",
            Self::Publish { shape: Shape::Simulcast, .. } => "publish simulcast",
            Self::Publish { kind: StreamType::Audio, .. } => "publish audio",
            Self::Publish { kind: StreamType::VideoCamera, .. } => "publish camera",
            Self::Publish { kind: StreamType::VideoScreen, .. } => "publish screen",
            Self::Unpublish { .. } => "unpublish",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::SubscribeAuto { options, .. } => either(options.is_some(), "auto on", "auto off"),
            Self::Talk { .. } => "talk",
            Self::Update { by, whom, change: Some(_), .. } if all(whom) || *whom == Name::One(*by) => {
                "change one's state"
            }
            Self::Update { by, whom, .. } if all(whom) || *whom == Name::One(*by) => "update oneself",
            Self::Update { .. } => "rename another",
            Self::Flood { .. } => "flood",
            Self::Mute { whom, kind, .. } => match kind {
                Some(StreamType::VideoCamera) => either(all(whom), "all cameras off", "camera off"),
                Some(StreamType::VideoScreen) => either(all(whom), "end all screens", "end screen"),
                Some(StreamType::Audio) | None => either(all(whom), "mute all", "mute"),
            },
            Self::Lock { locked, .. } => either(*locked, "lock", "unlock"),
            Self::Kick { whom, .. } => either(all(whom), "kick all", "kick"),
            Self::SetPreset { .. } => "set preset",
            Self::Stage { action, .. } => match action {
                Action::Ask => "stage ask",
                Action::Approve => "stage approve",
                Action::Deny => "stage deny",
                Action::Invite => "stage invite",
                Action::Remove => "stage remove",
                Action::Leave => "stage leave",
            },
            Self::Admit { whom, admit: true, .. } => either(all(whom), "admit all", "admit"),
            Self::Admit { whom, .. } => either(all(whom), "reject all", "reject"),
            Self::Spotlight { on, .. } => either(*on, "spotlight on", "spotlight off"),
            Self::LowerHands { whom, .. } => either(all(whom), "lower all hands", "lower hand"),
            Self::Write { to, .. } => either(all(to), "write to everybody", "write to one"),
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::Pin { pinned, .. } => either(*pinned, "pin", "unpin"),
            Self::History { with, .. } => either(all(with), "history", "history with one"),
            Self::Broadcast { to, .. } => either(to.is_empty(), "broadcast to all", "broadcast to some"),
            Self::Observe { .. } => "observe",
            Self::Measure { .. } => "measure",
            Self::SetMaxParticipants { .. } => "set max participants",
            Self::SetWaitingRoom { .. } => "set waiting room",
            Self::End { .. } => "end",
            Self::Clear => "clear",
        }
    }
}
