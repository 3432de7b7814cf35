//! What applications are told about a meeting.

use std::time::Duration;

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{Code, ParticipantId, StreamId};

use super::roster::Participant;

/// What happened in a meeting.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody joined, perhaps with streams published already.
    ParticipantJoined(Participant),
    /// Somebody left; their streams went with them.
    ParticipantLeft {
        /// Who.
        participant_id: ParticipantId,
        /// Why.
        reason: pb::LeaveReason,
    },
    /// A stream can be subscribed to.
    StreamPublished {
        /// Whose.
        participant_id: ParticipantId,
        /// Which.
        stream: StreamDescription,
    },
    /// A stream is gone.
    StreamUnpublished {
        /// Whose.
        participant_id: ParticipantId,
        /// Which.
        stream_id: StreamId,
    },
    /// Name, role or state of a participant changed.
    ParticipantUpdated(Participant),
    /// The server did not take some of what this participant published; the session goes on.
    MediaRefused {
        /// Wire stream id, if the server could tell.
        stream_id: Option<StreamId>,
        /// For people.
        message: String,
    },
    /// The server is about to stop.
    GoAway {
        /// Where the meeting goes on; empty if nowhere.
        new_url: String,
        /// Until the server closes the session itself.
        deadline: Duration,
    },
    /// The session ended, by whichever side. Nothing follows.
    Closed {
        /// From the protocol's table; [`Code::NO_ERROR`] if all went as planned.
        code: Code,
        /// For people.
        message: String,
    },
    /// The reader was too slow and missed this many events. The roster is complete nevertheless:
    /// read it with [`Meeting::participants`](crate::Meeting::participants).
    Lagged(u64),
}
