//! Which preset a participant gets: sections 5.2 and 5.3 of the platform's design (`resolvePreset`).

use crate::access::{OrganizationRole, ParticipantRole};
use crate::meeting::lifecycle::MeetingType;
use crate::named::named;

named! {
    /// Who joins, as the platform sees it: a user with its role in the organization, or somebody without an account.
    pub enum PlatformRole ("platform_role") {
        /// See [`OrganizationRole::Owner`].
        Owner = "owner",
        /// See [`OrganizationRole::Admin`].
        Admin = "admin",
        /// See [`OrganizationRole::Host`].
        Host = "host",
        /// See [`OrganizationRole::Member`].
        Member = "member",
        /// Has a link and a name.
        Guest = "guest",
    }
}

impl From<OrganizationRole> for PlatformRole {
    fn from(role: OrganizationRole) -> Self {
        match role {
            OrganizationRole::Owner => Self::Owner,
            OrganizationRole::Admin => Self::Admin,
            OrganizationRole::Host => Self::Host,
            OrganizationRole::Member => Self::Member,
        }
    }
}

/// What somebody is in a meeting that it joins. Section 5.3; where it says "configurable", `hosts_host_everywhere` makes
/// hosts of the organization hosts of meetings that others created, too.
#[must_use]
pub fn resolve(
    role: PlatformRole,
    meeting_type: MeetingType,
    is_creator: bool,
    hosts_host_everywhere: bool,
) -> ParticipantRole {
    match role {
        PlatformRole::Owner | PlatformRole::Admin => ParticipantRole::Host,
        PlatformRole::Host if is_creator || hosts_host_everywhere => ParticipantRole::Host,
        PlatformRole::Host | PlatformRole::Member => ParticipantRole::Participant,
        PlatformRole::Guest => match meeting_type {
            MeetingType::Webinar | MeetingType::Livestream => ParticipantRole::Viewer,
            MeetingType::Video | MeetingType::Audio => ParticipantRole::Guest,
        },
    }
}

/// The shipped preset for this role in meetings of this type. Section 5.2; guests of meetings with a stage are viewers.
///
/// `None` for viewers of meetings without a stage: the source has no preset for them, and every other one lets them do more
/// than to watch.
#[must_use]
pub fn preset_name(meeting_type: MeetingType, role: ParticipantRole) -> Option<&'static str> {
    use ParticipantRole::{Guest, Host, Participant, Viewer};
    Some(match (meeting_type, role) {
        (MeetingType::Video, Host) => "video_host",
        (MeetingType::Video, Participant) => "video_participant",
        (MeetingType::Video, Guest) => "video_guest",
        (MeetingType::Audio, Host) => "audio_host",
        (MeetingType::Audio, Participant) => "audio_participant",
        (MeetingType::Audio, Guest) => "audio_guest",
        (MeetingType::Webinar, Host) => "webinar_host",
        (MeetingType::Webinar, Participant) => "webinar_participant",
        (MeetingType::Webinar, Guest | Viewer) => "webinar_viewer",
        (MeetingType::Livestream, Host) => "livestream_host",
        (MeetingType::Livestream, Participant) => "livestream_participant",
        (MeetingType::Livestream, Guest | Viewer) => "livestream_viewer",
        (MeetingType::Video | MeetingType::Audio, Viewer) => return None,
    })
}

/// The name under which a preset is kept, for a name that a caller used.
///
/// `webinar_guest` is in the source's table of names, but nothing configures or resolves it: it is the viewer.
/// `group_call_…` is what the source of the `video-call` routes calls the presets of video meetings.
#[must_use]
pub fn canonical_name(name: &str) -> &str {
    match name {
        "webinar_guest" => "webinar_viewer",
        "group_call_host" => "video_host",
        "group_call_participant" => "video_participant",
        "group_call_guest" => "video_guest",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::Named as _;
    use crate::preset::shipped;

    /// The source's function, restated: on the names, in its order of decisions.
    fn resolve_preset(user_role: &str, meeting_type: &str, is_creator: bool) -> String {
        if user_role == "owner" || user_role == "admin" {
            return format!("{meeting_type}_host");
        }
        if user_role == "host" {
            let role = if is_creator { "host" } else { "participant" };
            return format!("{meeting_type}_{role}");
        }
        if user_role == "guest" {
            let stage = meeting_type == "webinar" || meeting_type == "livestream";
            return format!("{meeting_type}_{}", if stage { "viewer" } else { "guest" });
        }
        format!("{meeting_type}_participant")
    }

    #[test]
    fn everybody_gets_the_preset_of_the_source() {
        for &role in PlatformRole::ALL {
            for &meeting_type in MeetingType::ALL {
                for is_creator in [false, true] {
                    let ours = preset_name(meeting_type, resolve(role, meeting_type, is_creator, false));
                    let source = resolve_preset(role.as_str(), meeting_type.as_str(), is_creator);
                    assert_eq!(ours, Some(source.as_str()), "{role} {meeting_type} {is_creator}");
                    // With the switch, hosts are as if they had created every meeting; nobody else is touched.
                    let ours = preset_name(meeting_type, resolve(role, meeting_type, is_creator, true));
                    let as_creator = is_creator || role == PlatformRole::Host;
                    let source = resolve_preset(role.as_str(), meeting_type.as_str(), as_creator);
                    assert_eq!(ours, Some(source.as_str()), "{role} {meeting_type} {is_creator} everywhere");
                }
            }
        }
    }

    #[test]
    fn every_name_is_shipped_and_every_shipped_preset_is_reachable() {
        let shipped: Vec<_> = shipped().into_iter().map(|preset| preset.name).collect();
        let is_shipped = |name: &str| shipped.iter().any(|shipped| shipped == name);
        let mut named = Vec::new();
        for &meeting_type in MeetingType::ALL {
            for &role in ParticipantRole::ALL {
                match preset_name(meeting_type, role) {
                    Some(name) => {
                        assert!(is_shipped(name), "{name}");
                        // Only guests of a stage get something else than type and role say.
                        let plain = format!("{meeting_type}_{role}");
                        assert!(name == plain || name == format!("{meeting_type}_viewer"), "{name} {plain}");
                        named.push(name);
                    }
                    None => assert_eq!(role, ParticipantRole::Viewer),
                }
            }
        }
        // A panelist is made by choosing its preset.
        let rest: Vec<_> = shipped.iter().filter(|name| !named.contains(&name.as_str())).collect();
        assert_eq!(rest, ["webinar_panelist"]);
        for alias in ["webinar_guest", "group_call_host", "group_call_participant", "group_call_guest"] {
            assert!(!is_shipped(alias) && is_shipped(canonical_name(alias)), "{alias}");
        }
        assert_eq!(canonical_name("stage_crew"), "stage_crew");
    }

    #[test]
    fn users_keep_their_role_on_the_platform() {
        for &role in OrganizationRole::ALL {
            assert_eq!(PlatformRole::from(role).as_str(), role.as_str());
        }
    }
}
