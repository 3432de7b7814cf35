//! Size bounds of the wire, each with its reason. A peer's length field is compared with the
//! bound before anything is allocated or waited for.

/// Bytes of payload of one audio unit: Opus packets are at most 1275 bytes per frame, 120 ms of
/// six frames under 8 KiB; the rest is room for lossless codecs.
pub const MAX_AUDIO_PAYLOAD: u32 = 64 * 1024;

/// Bytes of payload of one video unit: a 4K key frame at high quality is 1–2 MiB. Larger frames
/// are split into several units.
pub const MAX_VIDEO_PAYLOAD: u32 = 4 * 1024 * 1024;

/// Bytes of one signaling or control message, without its length prefix: a roster of 200
/// participants with three streams each fits; anything larger is an attack or a defect.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Payload bounds in force on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitLimits {
    /// Bytes of payload of one audio unit.
    pub max_audio_payload: u32,
    /// Bytes of payload of one video unit, or of a unit of unknown type.
    pub max_video_payload: u32,
}

impl Default for UnitLimits {
    fn default() -> Self {
        Self { max_audio_payload: MAX_AUDIO_PAYLOAD, max_video_payload: MAX_VIDEO_PAYLOAD }
    }
}
