//! Presets: named sets of permissions that a participant gets with its join token.
//!
//! The shape is the one of the platform's preset documents, snake_case throughout, every field always present.
//! [`shipped`] are those an organization starts with, [`resolve`] picks one for who joins, [`Preset::validate`] judges those
//! that API users send.

mod resolve;
mod shipped;
mod validate;

pub use resolve::{PlatformRole, canonical_name, preset_name, resolve};
pub use shipped::shipped;
pub use validate::InvalidPreset;

use serde::{Deserialize, Serialize};

use crate::named::named;

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Unique in its organization: `{meeting type}_{role}` for the shipped ones.
    #[cfg_attr(feature = "schema", schema(pattern = "^[a-z0-9_]{1,64}$"))]
    pub name: String,
    /// How the meeting is shown and carried.
    pub config: Config,
    /// What the participant may do.
    pub permissions: Permissions,
    /// How the meeting looks.
    pub ui: Ui,
}

named! {
    /// How a meeting is laid out.
    pub enum ViewType ("view_type") {
        /// Everybody equal.
        GroupCall = "GROUP_CALL",
        /// A stage and an audience.
        Webinar = "WEBINAR",
        /// Sound only.
        AudioRoom = "AUDIO_ROOM",
    }
}

named! {
    /// Whether the participant may send a kind of media.
    pub enum Produce ("can_produce") {
        /// Yes.
        Allowed = "ALLOWED",
        /// No.
        NotAllowed = "NOT_ALLOWED",
        /// After a host has agreed.
        CanRequest = "CAN_REQUEST",
    }
}

named! {
    /// Whether the participant waits before it is let in.
    pub enum WaitingRoomType ("waiting_room_type") {
        /// Until somebody is there who may admit.
        OnPrivilegedUserEntry = "ON_PRIVILEGED_USER_ENTRY",
        /// No.
        Skip = "SKIP",
    }
}

named! {
    /// What kind of recorder the participant is.
    pub enum RecorderType ("recorder_type") {
        /// None.
        None = "NONE",
        /// Records for the server.
        Recorder = "RECORDER",
    }
}

named! {
    /// What plug-ins let the participant do.
    pub enum PluginAccess ("access_control") {
        /// Everything.
        FullAccess = "FULL_ACCESS",
        /// Look.
        ViewOnly = "VIEW_ONLY",
    }
}

/// How the meeting is shown and carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = PresetConfig))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Layout.
    pub view_type: ViewType,
    /// Videos that are shown at one time.
    pub max_video_streams: MaxVideoStreams,
    /// Screens that may be shared at one time.
    #[cfg_attr(feature = "schema", schema(maximum = 10))]
    pub max_screenshare_count: u32,
    /// What publishers should encode.
    pub media: MediaConfig,
}

/// Videos that are shown at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MaxVideoStreams {
    /// On computers.
    #[cfg_attr(feature = "schema", schema(maximum = 100))]
    pub desktop: u32,
    /// On phones.
    #[cfg_attr(feature = "schema", schema(maximum = 100))]
    pub mobile: u32,
}

/// What publishers should encode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    /// Camera.
    pub video: VideoConfig,
    /// Shared screen.
    pub screenshare: VideoConfig,
}

/// Quality of one kind of video.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VideoConfig {
    /// `hd`, `vga` or `qvga`.
    #[cfg_attr(feature = "schema", schema(pattern = "^(hd|vga|qvga)$"))]
    pub quality: String,
    /// Frames per second.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 120))]
    pub frame_rate: u32,
}

/// What the participant may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = PresetPermissions))]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Sending media.
    pub media: MediaPermissions,
    /// Remove others.
    pub kick_participant: bool,
    /// Pin a participant for oneself.
    pub pin_participant: bool,
    /// Show a participant large for everybody.
    pub can_spotlight: bool,
    /// Mute others.
    pub disable_participant_audio: bool,
    /// Turn off others' cameras.
    pub disable_participant_video: bool,
    /// End others' screen shares.
    pub disable_participant_screensharing: bool,
    /// Admit from the waiting room.
    pub accept_waiting_requests: bool,
    /// Let others on the stage.
    pub can_accept_production_requests: bool,
    /// Give others another preset.
    pub can_change_participant_permissions: bool,
    /// Record.
    pub can_record: bool,
    /// Send the meeting elsewhere.
    pub can_livestream: bool,
    /// Change one's own name.
    pub can_edit_display_name: bool,
    /// See who is there.
    pub show_participant_list: bool,
    /// Not be seen.
    pub hidden_participant: bool,
    /// Wait before being let in.
    pub waiting_room_type: WaitingRoomType,
    /// What kind of recorder it is.
    pub recorder_type: RecorderType,
    /// Whether it is a recorder.
    pub is_recorder: bool,
    /// Chat.
    pub chat: ChatPermissions,
    /// Polls.
    pub polls: PollPermissions,
    /// Plug-ins.
    pub plugins: PluginPermissions,
    /// Breakout rooms.
    pub connected_meetings: ConnectedMeetingPermissions,
}

/// Sending media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MediaPermissions {
    /// Microphone.
    pub audio: ProducePermission,
    /// Camera.
    pub video: ProducePermission,
    /// Screen.
    pub screenshare: ProducePermission,
}

/// Sending one kind of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProducePermission {
    /// Whether it may be sent.
    pub can_produce: Produce,
}

/// Chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChatPermissions {
    /// With everybody.
    pub public: PublicChat,
    /// With one participant.
    pub private: PrivateChat,
}

/// Chat with everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PublicChat {
    /// At all.
    pub can_send: bool,
    /// Text.
    pub text: bool,
    /// Files.
    pub files: bool,
}

/// Chat with one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PrivateChat {
    /// Write.
    pub can_send: bool,
    /// Read.
    pub can_receive: bool,
    /// Text.
    pub text: bool,
    /// Files.
    pub files: bool,
}

/// Polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PollPermissions {
    /// Ask.
    pub can_create: bool,
    /// Answer.
    pub can_vote: bool,
    /// See.
    pub can_view: bool,
}

/// Plug-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PluginPermissions {
    /// Start one.
    pub can_start: bool,
    /// Close one.
    pub can_close: bool,
    /// Configure one.
    pub can_edit_config: bool,
    /// What plug-ins are told.
    pub config: PluginConfig,
}

/// What plug-ins are told about the participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// What they let it do.
    pub access_control: PluginAccess,
    /// Whether they show it a view of its own.
    pub handles_view_only: bool,
}

/// Breakout rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConnectedMeetingPermissions {
    /// Make and change them.
    pub can_alter_connected_meetings: bool,
    /// Go from one to another.
    pub can_switch_connected_meetings: bool,
    /// Go back.
    pub can_switch_to_parent_meeting: bool,
}

/// How the meeting looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = PresetUi))]
#[serde(deny_unknown_fields)]
pub struct Ui {
    /// Colours, borders and spacing.
    pub design_tokens: DesignTokens,
}

/// Colours, borders and spacing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DesignTokens {
    /// `dark` or `light`.
    #[cfg_attr(feature = "schema", schema(pattern = "^[a-z0-9_-]{1,32}$"))]
    pub theme: String,
    /// `rounded`, `sharp` …
    #[cfg_attr(feature = "schema", schema(pattern = "^[a-z0-9_-]{1,32}$"))]
    pub border_radius: String,
    /// `thin`, `none` …
    #[cfg_attr(feature = "schema", schema(pattern = "^[a-z0-9_-]{1,32}$"))]
    pub border_width: String,
    /// Pixels.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 64))]
    pub spacing_base: u32,
    /// URL, or nothing.
    #[cfg_attr(
        feature = "schema",
        schema(
            max_length = 2048,
            pattern = r#"^$|^https?://[!#-;=?-\[\]-~]+$|^/([!#-.0-;=?-\[\]-~][!#-;=?-\[\]-~]*)?$"#
        )
    )]
    pub logo: String,
    /// Colours as `#RRGGBB`.
    pub colors: Colors,
}

/// Colours as `#RRGGBB`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = PresetColors))]
#[serde(deny_unknown_fields)]
pub struct Colors {
    /// Of buttons and links, by weight (`300` to `700`).
    #[cfg_attr(feature = "schema", schema(schema_with = shades))]
    pub brand: std::collections::BTreeMap<String, String>,
    /// Of surfaces, by weight (`600` to `1000`).
    #[cfg_attr(feature = "schema", schema(schema_with = shades))]
    pub background: std::collections::BTreeMap<String, String>,
    /// Text on background.
    #[cfg_attr(feature = "schema", schema(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub text: String,
    /// Text on brand.
    #[cfg_attr(feature = "schema", schema(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub text_on_brand: String,
    /// Warnings of loss.
    #[cfg_attr(feature = "schema", schema(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub danger: String,
    /// Good news.
    #[cfg_attr(feature = "schema", schema(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub success: String,
    /// Cautions.
    #[cfg_attr(feature = "schema", schema(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub warning: String,
    /// Behind videos.
    #[cfg_attr(feature = "schema", schema(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub video_bg: String,
}

/// Colours by weight, as the API describes them.
#[cfg(feature = "schema")]
fn shades() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Type};

    let weight = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,4}$"));
    let color = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^#[0-9A-Fa-f]{6}$"));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(weight.build()))
        .additional_properties(Some(color))
        .build()
}
