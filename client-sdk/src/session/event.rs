//! What applications are told about a meeting.

use std::time::Duration;

use bytes::Bytes;
use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{Code, ParticipantId, StreamId};

use super::roster::Participant;

/// How well the network of a participant carries calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkQuality {
    /// Whose; it may be this session's own.
    pub participant_id: ParticipantId,
    /// In four grades.
    pub grade: pb::NetworkGrade,
    /// Mean opinion score, 1 to 4.5; of this session's own participant only.
    pub score: Option<f32>,
}

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
    /// A stream is gone. One of this session's own streams is if a host has ended it, or the right
    /// to send it was taken away: its publishers fail with
    /// [`Error::Unpublished`](crate::Error::Unpublished) from then on.
    StreamUnpublished {
        /// Whose.
        participant_id: ParticipantId,
        /// Which.
        stream_id: StreamId,
    },
    /// Name, role or state of a participant changed.
    ParticipantUpdated(Participant),
    /// The same for this session's own participant: a host has muted or renamed it, for example.
    SelfUpdated(Participant),
    /// What this session may do has changed; see [`Meeting::rights`](crate::Meeting::rights).
    RightsChanged(pb::Rights),
    /// Somebody else speaks. It stays the active speaker while nobody does.
    ActiveSpeaker(ParticipantId),
    /// How media gets through has changed: that of a stream of this session, up to the worst of its receivers, or
    /// everything that comes to this session.
    StreamQuality {
        /// Which of the own streams; `None` for what comes here.
        stream_id: Option<StreamId>,
        /// bit/s that the way seems to carry; 0 if that is not known.
        available_bitrate_bps: u32,
        /// The share that is lost, 0 to 1.
        packet_loss: f32,
        /// There and back.
        rtt: Duration,
    },
    /// The networks of these participants carry calls better or worse than before.
    NetworkQuality(Vec<NetworkQuality>),
    /// What the server subscribes to for this session has changed; see
    /// [`Meeting::subscribe_auto`](crate::Meeting::subscribe_auto). Streams that are unpublished, or
    /// whose publisher leaves, are not named here.
    AutoSubscriptionsChanged {
        /// Subscribed to, or arriving under another wire stream id.
        subscribed: Vec<AutoSubscription>,
        /// Not any more, or not by the server: given up for others, or because this session has asked
        /// for the stream itself, or does not want it.
        unsubscribed: Vec<StreamId>,
        /// Subscriptions of this session's own that have ended: it may have less video now.
        ended: Vec<StreamId>,
    },
    /// Somebody wrote to everybody, or to this participant alone.
    ChatMessage(pb::ChatMessage),
    /// A message of the chat was edited, pinned, unpinned or deleted.
    ChatMessageUpdated(pb::ChatMessage),
    /// A message of another application; see [`Meeting::broadcast`](crate::Meeting::broadcast).
    Broadcast {
        /// Who sent it.
        participant_id: ParticipantId,
        /// What it is, in the applications' words.
        message_type: String,
        /// Whatever the applications agreed on.
        payload: Bytes,
    },
    /// Who waits to be let in: all of them, in the order of their coming. Told to those who may
    /// admit.
    WaitingRoomChanged(Vec<pb::Participant>),
    /// Who is on the stage, and who wants to be. Full lists.
    StageChanged {
        /// On the stage, beside those who need not ask.
        on_stage: Vec<ParticipantId>,
        /// Wants to be; told to those who may approve.
        asking: Vec<ParticipantId>,
        /// Whether this participant is invited:
        /// [`Meeting::ask_for_stage`](crate::Meeting::ask_for_stage) takes it there.
        invited: bool,
    },
    /// Something about the meeting as a whole changed.
    MeetingUpdated {
        /// The meeting's name for people; may be empty.
        display_name: String,
        /// Whether nobody but hosts gets in.
        locked: bool,
        /// Who is shown large to everybody.
        spotlight: Vec<ParticipantId>,
    },
    /// How many there are, in a meeting where somebody only watches: once a second at most, with many every five seconds.
    Audience {
        /// Here, hidden ones not counted.
        participants: u32,
        /// Of these: who may not send anything as things are.
        viewers: u32,
    },
    /// The meeting is over for everybody. [`Closed`](Self::Closed) follows.
    MeetingEnded {
        /// For people.
        reason: String,
    },
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
    /// Nothing is heard of the server, or a connection to it is lost. The session goes on as soon as it is reached again;
    /// until then, what publishers send is left out, and requests wait. See
    /// [`JoinOptions::reconnect_for`](crate::JoinOptions::reconnect_for).
    Reconnecting,
    /// The server is reached again. Everything that happened meanwhile has been told, once and in order; streams that are
    /// published or subscribed to go on.
    Reconnected {
        /// The place of this participant was gone, and it has joined again, under the same id: for the others it had left.
        /// What it publishes was asked for anew, and what it subscribes to is; what the server refuses of it ends.
        rejoined: bool,
        /// Since [`Reconnecting`](Self::Reconnecting).
        after: Duration,
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

/// A stream that the server has subscribed to for this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoSubscription {
    /// Who publishes it.
    pub participant_id: ParticipantId,
    /// Which.
    pub stream_id: StreamId,
    /// What arrives of it.
    pub wire_stream_id: StreamId,
}
