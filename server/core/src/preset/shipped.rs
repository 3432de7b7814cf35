//! The presets that every organization starts with: sections 5.4.1 to 5.4.4 of the platform's design, written out.
//!
//! What a section abbreviates is expanded as it says. Three readings are ours:
//! * "Remaining fields all false/NONE" of the viewer leaves `plugins.config.access_control` open, which has no such value:
//!   it gets the lesser one, `VIEW_ONLY`.
//! * `webinar_panelist` is named, but not configured: a webinar participant that the host has already let on the stage,
//!   so it sends audio and video without asking.
//! * `webinar_guest` is another name of `webinar_viewer` ([`canonical_name`](super::canonical_name)).

use std::collections::BTreeMap;

use super::{
    ChatPermissions, Colors, Config, ConnectedMeetingPermissions, DesignTokens, MaxVideoStreams, MediaConfig,
    MediaPermissions, Permissions, PluginAccess, PluginConfig, PluginPermissions, PollPermissions, Preset,
    PrivateChat, Produce, ProducePermission, PublicChat, RecorderType, Ui, VideoConfig, ViewType,
    WaitingRoomType,
};
use Produce::{Allowed, CanRequest, NotAllowed};
use ViewType::{AudioRoom, GroupCall, Webinar};

/// The shipped presets, by meeting type, the most powerful first.
#[must_use]
pub fn shipped() -> Vec<Preset> {
    let media = |audio, video, screenshare| {
        let of = |can_produce| ProducePermission { can_produce };
        MediaPermissions { audio: of(audio), video: of(video), screenshare: of(screenshare) }
    };
    let everything = media(Allowed, Allowed, Allowed);
    let camera = media(Allowed, Allowed, NotAllowed);
    let voice = media(Allowed, NotAllowed, NotAllowed);
    let on_request = media(CanRequest, CanRequest, NotAllowed);
    let nothing = media(NotAllowed, NotAllowed, NotAllowed);

    let stage_host = || Permissions { can_livestream: true, ..host(everything) };
    vec![
        preset("video_host", GroupCall, host(everything)),
        preset("video_participant", GroupCall, participant(everything)),
        preset("video_guest", GroupCall, guest(camera)),
        preset("audio_host", AudioRoom, host(media(Allowed, NotAllowed, Allowed))),
        preset("audio_participant", AudioRoom, participant(voice)),
        preset("audio_guest", AudioRoom, guest(voice)),
        preset("webinar_host", Webinar, stage_host()),
        preset("webinar_participant", Webinar, stage_participant(on_request)),
        preset("webinar_panelist", Webinar, stage_participant(camera)),
        preset("webinar_viewer", Webinar, viewer(nothing)),
        preset("livestream_host", Webinar, stage_host()),
        preset("livestream_participant", Webinar, stage_participant(on_request)),
        preset("livestream_viewer", Webinar, viewer(nothing)),
    ]
}

/// A preset with the configuration and the looks that all shipped ones share.
fn preset(name: &str, view_type: ViewType, permissions: Permissions) -> Preset {
    Preset {
        name: name.to_owned(),
        config: Config {
            view_type,
            max_video_streams: MaxVideoStreams { desktop: 25, mobile: 6 },
            max_screenshare_count: 1,
            media: MediaConfig {
                video: VideoConfig { quality: "hd".to_owned(), frame_rate: 30 },
                screenshare: VideoConfig { quality: "hd".to_owned(), frame_rate: 15 },
            },
        },
        permissions,
        ui: Ui { design_tokens: design_tokens() },
    }
}

/// Full control.
fn host(media: MediaPermissions) -> Permissions {
    Permissions {
        media,
        kick_participant: true,
        pin_participant: true,
        can_spotlight: true,
        disable_participant_audio: true,
        disable_participant_video: true,
        disable_participant_screensharing: true,
        accept_waiting_requests: true,
        can_accept_production_requests: true,
        can_change_participant_permissions: true,
        can_record: true,
        can_livestream: false,
        can_edit_display_name: true,
        show_participant_list: true,
        hidden_participant: false,
        waiting_room_type: WaitingRoomType::OnPrivilegedUserEntry,
        recorder_type: RecorderType::None,
        is_recorder: false,
        chat: full_chat(),
        polls: PollPermissions { can_create: true, can_vote: true, can_view: true },
        plugins: PluginPermissions {
            can_start: true,
            can_close: true,
            can_edit_config: true,
            config: PluginConfig { access_control: PluginAccess::FullAccess, handles_view_only: false },
        },
        connected_meetings: ConnectedMeetingPermissions {
            can_alter_connected_meetings: true,
            can_switch_connected_meetings: true,
            can_switch_to_parent_meeting: true,
        },
    }
}

/// Nothing but to watch, vote, and come in without waiting.
fn viewer(media: MediaPermissions) -> Permissions {
    Permissions {
        media,
        kick_participant: false,
        pin_participant: false,
        can_spotlight: false,
        disable_participant_audio: false,
        disable_participant_video: false,
        disable_participant_screensharing: false,
        accept_waiting_requests: false,
        can_accept_production_requests: false,
        can_change_participant_permissions: false,
        can_record: false,
        can_livestream: false,
        can_edit_display_name: false,
        show_participant_list: false,
        hidden_participant: false,
        waiting_room_type: WaitingRoomType::Skip,
        recorder_type: RecorderType::None,
        is_recorder: false,
        chat: ChatPermissions {
            public: PublicChat { can_send: false, text: false, files: false },
            private: PrivateChat { can_send: false, can_receive: false, text: false, files: false },
        },
        polls: vote(),
        plugins: PluginPermissions {
            can_start: false,
            can_close: false,
            can_edit_config: false,
            config: PluginConfig { access_control: PluginAccess::ViewOnly, handles_view_only: false },
        },
        connected_meetings: ConnectedMeetingPermissions {
            can_alter_connected_meetings: false,
            can_switch_connected_meetings: false,
            can_switch_to_parent_meeting: false,
        },
    }
}

/// Everything for oneself, nothing over others.
fn participant(media: MediaPermissions) -> Permissions {
    Permissions {
        pin_participant: true,
        chat: full_chat(),
        connected_meetings: ConnectedMeetingPermissions {
            can_alter_connected_meetings: false,
            can_switch_connected_meetings: true,
            can_switch_to_parent_meeting: true,
        },
        ..guest(media)
    }
}

/// Publishes, sees the others, writes to everybody.
fn guest(media: MediaPermissions) -> Permissions {
    Permissions {
        show_participant_list: true,
        waiting_room_type: WaitingRoomType::OnPrivilegedUserEntry,
        chat: public_text(),
        plugins: PluginPermissions {
            can_start: false,
            can_close: false,
            can_edit_config: false,
            config: PluginConfig { access_control: PluginAccess::ViewOnly, handles_view_only: true },
        },
        ..viewer(media)
    }
}

/// A participant of a meeting with a stage: less chat.
fn stage_participant(media: MediaPermissions) -> Permissions {
    Permissions { chat: public_text(), ..participant(media) }
}

fn full_chat() -> ChatPermissions {
    ChatPermissions {
        public: PublicChat { can_send: true, text: true, files: true },
        private: PrivateChat { can_send: true, can_receive: true, text: true, files: true },
    }
}

fn public_text() -> ChatPermissions {
    ChatPermissions {
        public: PublicChat { can_send: true, text: true, files: false },
        private: PrivateChat { can_send: false, can_receive: true, text: false, files: false },
    }
}

fn vote() -> PollPermissions {
    PollPermissions { can_create: false, can_vote: true, can_view: true }
}

fn design_tokens() -> DesignTokens {
    let weights = |colors: [(&str, &str); 5]| -> BTreeMap<String, String> {
        colors.into_iter().map(|(weight, color)| (weight.to_owned(), color.to_owned())).collect()
    };
    DesignTokens {
        theme: "dark".to_owned(),
        border_radius: "rounded".to_owned(),
        border_width: "thin".to_owned(),
        spacing_base: 4,
        logo: String::new(),
        colors: Colors {
            brand: weights([
                ("300", "#844d1c"),
                ("400", "#9d5b22"),
                ("500", "#b56927"),
                ("600", "#d37c30"),
                ("700", "#d9904f"),
            ]),
            background: weights([
                ("600", "#222222"),
                ("700", "#1f1f1f"),
                ("800", "#1b1b1b"),
                ("900", "#181818"),
                ("1000", "#141414"),
            ]),
            text: "#EEEEEE".to_owned(),
            text_on_brand: "#EEEEEE".to_owned(),
            danger: "#FF2D2D".to_owned(),
            success: "#62A504".to_owned(),
            warning: "#FFCD07".to_owned(),
            video_bg: "#191919".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Compares leaf by leaf, so that a failure names the field.
    fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
        match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => {
                for key in ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key))) {
                    let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned();
                    let (ours, theirs) = (of(ours).unwrap_or_default(), of(theirs).unwrap_or_default());
                    differences(&format!("{path}.{key}"), &ours, &theirs, found);
                }
            }
            _ if ours == theirs => {}
            _ => found.push(format!("{path}: {ours}, in the document {theirs}")),
        }
    }

    /// `testdata/presets.json` was made from the platform's documents, not from this code.
    #[test]
    fn the_shipped_presets_are_those_of_the_documents() {
        let documents: Vec<Value> =
            serde_json::from_str(include_str!("../../testdata/presets.json")).unwrap();
        let ours: Vec<Value> = shipped().iter().map(|preset| serde_json::to_value(preset).unwrap()).collect();
        assert_eq!((ours.len(), documents.len()), (13, 13));
        let mut found = Vec::new();
        for (ours, theirs) in ours.iter().zip(&documents) {
            differences(theirs["name"].as_str().unwrap(), ours, theirs, &mut found);
        }
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_preset_survives_its_own_json_and_nothing_may_be_missing() {
        for preset in shipped() {
            let json = serde_json::to_value(&preset).unwrap();
            assert_eq!(serde_json::from_value::<Preset>(json.clone()).unwrap(), preset);
            for permission in json["permissions"].as_object().unwrap().keys() {
                let mut json = json.clone();
                json["permissions"].as_object_mut().unwrap().remove(permission);
                let error = serde_json::from_value::<Preset>(json).unwrap_err().to_string();
                assert!(error.contains(permission), "{permission}: {error}");
            }
        }
    }

    #[test]
    fn every_shipped_preset_is_valid_and_named_once() {
        let presets = shipped();
        let names: std::collections::BTreeSet<_> = presets.iter().map(|preset| &preset.name).collect();
        assert_eq!(names.len(), presets.len());
        for preset in &presets {
            assert_eq!(preset.validate(), Ok(()), "{}", preset.name);
        }
    }
}
