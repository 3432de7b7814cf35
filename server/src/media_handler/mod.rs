//! The media handler: takes units in from publishers and fans them out to subscribers.
//!
//! ```text
//! session.rs    one client's media session: hello, then the parts below
//! ingress.rs    group streams, baseline streams and datagrams -> MediaStream
//! stream.rs     MediaStream: order restored, recent units kept, given to the shards with subscribers
//! shard.rs      a thread with its own sockets, and the pump that sends what its connections get
//! link.rs       a session as the fan-out of darktower-core uses it
//! router.rs     who may publish what, and who gets it: the meeting controller's commands
//! metrics.rs    what pumps tell Prometheus
//! telemetry.rs  what pumps tell the meeting controller
//! ```
//! The meeting controller reaches it through [`MediaControl`] only, and hears of it through [`TelemetrySink`]. Media that is routed keeps
//! flowing whatever happens to the controller.

mod ingress;
mod link;
mod metrics;
mod router;
mod session;
mod shard;
mod stream;
mod telemetry;

use darktower_core::meeting::MediaCommand;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, ParticipantId, StreamId};

pub use router::{MediaHandler, MediaSettings};
pub use shard::Shard;
pub use telemetry::{Telemetry, TelemetrySink};

/// What a meeting controller asks of a media handler.
pub trait MediaControl: Send + Sync {
    /// Where a registered participant connects to, with a fresh connection token (single use,
    /// 60 s) that replaces an unused one.
    fn admit(&self, participant: ParticipantId) -> pb::MediaServerInfo;

    /// Changes who publishes or gets what.
    fn execute(&self, meeting: MeetingId, command: MediaCommand);

    /// Closes the media session of a participant that is thrown out, at once. [`MediaCommand::Unregister`] follows.
    fn expel(&self, participant: ParticipantId, code: Code);

    /// A subscriber cannot decode a stream.
    fn request_key_frame(&self, meeting: MeetingId, wire_stream_id: StreamId);
}
