//! What to join, publish and subscribe with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use darktower_protocol::signaling::pb;
use darktower_protocol::{Features, ParticipantId, StreamId};

use crate::signaling::WAITING_TIMEOUT;
use crate::transport::{TransportKind, Trust};

/// How to join a meeting.
///
/// ```
/// use std::time::Duration;
/// use darktower_client::{Features, JoinOptions, TransportKind};
///
/// let baseline = JoinOptions::default()
///     .transport(TransportKind::WebTransport)
///     .features(Features::NONE)
///     .timeout(Duration::from_secs(3));
/// ```
#[derive(Debug, Clone)]
pub struct JoinOptions {
    pub(crate) transport: TransportKind,
    pub(crate) features: Features,
    pub(crate) trust: Option<Trust>,
    pub(crate) name: Option<String>,
    pub(crate) capabilities: pb::ParticipantCapabilities,
    pub(crate) timeout: Duration,
    pub(crate) waiting_timeout: Duration,
    pub(crate) on_waiting: Option<OnWaiting>,
    pub(crate) reconnect_for: Duration,
}

/// What to call when the server lets the participant wait.
#[derive(Clone)]
pub(crate) struct OnWaiting(Arc<dyn Fn(&str) + Send + Sync>);

impl OnWaiting {
    pub(crate) fn call(&self, meeting_display_name: &str) {
        (self.0)(meeting_display_name);
    }
}

impl fmt::Debug for OnWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnWaiting(..)")
    }
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self {
            transport: TransportKind::Native,
            features: Features::GROUPS | Features::AUDIO_DATAGRAMS,
            trust: None,
            name: None,
            capabilities: pb::ParticipantCapabilities::default(),
            timeout: Duration::from_secs(10),
            waiting_timeout: WAITING_TIMEOUT,
            on_waiting: None,
            reconnect_for: Duration::from_secs(60),
        }
    }
}

impl JoinOptions {
    /// How both connections travel. Default: native QUIC.
    #[must_use]
    pub fn transport(mut self, transport: TransportKind) -> Self {
        self.transport = transport;
        self
    }

    /// What to offer; the server chooses among it. Default: `GROUPS | AUDIO_DATAGRAMS`.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Whose certificates to accept. Default: exactly those whose hashes the grant names, if it
    /// names any; else those of the system's authorities.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The name that others see. Default: the one the grant was asked for with, which stays unless the preset allows to
    /// change names, as that of hosts does.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What this client can decode. Default: not said, so anything.
    #[must_use]
    pub fn capabilities(mut self, capabilities: pb::ParticipantCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// How long joining may take altogether, without the time in the waiting room. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to wait in the meeting's waiting room. Default: 15 min.
    #[must_use]
    pub fn waiting_timeout(mut self, timeout: Duration) -> Self {
        self.waiting_timeout = timeout;
        self
    }

    /// How long to try to reach the server again when a connection to it is lost, before the session ends. Default: 60 s,
    /// twice as long as a server keeps the participant's place; when that is gone, the participant joins again with the
    /// token of its grant. Zero: not at all, a lost connection ends the session.
    #[must_use]
    pub fn reconnect_for(mut self, limit: Duration) -> Self {
        self.reconnect_for = limit;
        self
    }

    /// What to do when waiting in the meeting's waiting room begins; called at most once, with the
    /// meeting's name for people, by the task that joins, which it must not block.
    ///
    /// ```
    /// let options = darktower_client::JoinOptions::default()
    ///     .on_waiting(|meeting| println!("{meeting}: somebody will let you in soon"));
    /// ```
    #[must_use]
    pub fn on_waiting(mut self, on_waiting: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_waiting = Some(OnWaiting(Arc::new(on_waiting)));
        self
    }
}

/// A stream to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishOptions {
    /// `None` = a new id.
    pub stream_id: Option<StreamId>,
    /// Audio, camera or screen.
    pub stream_type: pb::StreamType,
    /// Codec, sizes and simulcast layers.
    pub metadata: pb::StreamMetadata,
}

impl PublishOptions {
    /// A camera stream of one layer; sizes in pixels, rate in frames per second.
    pub fn video(codec: impl Into<String>, width: u32, height: u32, framerate: u32) -> Self {
        let video = pb::VideoMetadata { width, height, framerate, simulcast_layers: Vec::new() };
        Self {
            stream_id: None,
            stream_type: pb::StreamType::VideoCamera,
            metadata: pb::StreamMetadata { codec: codec.into(), video: Some(video), ..Default::default() },
        }
    }

    /// An audio stream; rate in Hz.
    pub fn audio(codec: impl Into<String>, sample_rate: u32, channels: u32) -> Self {
        let audio = pb::AudioMetadata { sample_rate, channels };
        Self {
            stream_id: None,
            stream_type: pb::StreamType::Audio,
            metadata: pb::StreamMetadata { codec: codec.into(), audio: Some(audio), ..Default::default() },
        }
    }

    /// Chooses the stream's id, for example to publish it again after a restart.
    #[must_use]
    pub fn stream_id(mut self, stream_id: StreamId) -> Self {
        self.stream_id = Some(stream_id);
        self
    }
}

/// What the server is to subscribe to, see [`Meeting::subscribe_auto`](crate::Meeting::subscribe_auto).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AutoOptions {
    /// Types of streams; empty = all.
    pub stream_types: Vec<pb::StreamType>,
    /// Most video at one time, with what this session has subscribed to itself; 0 = as much as
    /// [`rights`](crate::Meeting::rights) allow, which is never exceeded.
    pub max_video_streams: u32,
    /// Wishes for cameras.
    pub cameras: SubscribeOptions,
    /// Whose video comes first, in this order, 64 at most.
    pub pinned: Vec<ParticipantId>,
}

/// What a subscriber wishes. Asking again replaces the wishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Simulcast layer id; empty = the best within `max_bitrate_bps`.
    pub preferred_layer: String,
    /// bit/s; 0 = no limit.
    pub max_bitrate_bps: u32,
}
