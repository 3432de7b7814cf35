//! Client SDK of Dark Tower: create and join meetings, publish and receive encoded media, over
//! native QUIC or WebTransport.
//!
//! ```no_run
//! use darktower_client::api::{Api, NewMeeting};
//! use darktower_client::{Event, JoinOptions, Meeting, SubscribeOptions, Trust};
//!
//! # async fn example() -> Result<(), darktower_client::Error> {
//! let api = Api::new("http://localhost:8080", Trust::System)?;
//! let created = api.create_meeting(&NewMeeting::named("Stand-up")).await?;
//! let grant = api.join_grant(created.meeting_id, "Recorder").await?;
//! let meeting = Meeting::join(&grant, JoinOptions::default()).await?;
//!
//! // What was published before is in `meeting.participants()`.
//! let mut events = meeting.events();
//! while let Some(event) = events.next().await {
//!     let Event::StreamPublished { stream, .. } = event else { continue };
//!     let mut subscriber = meeting.subscribe(stream.stream_id, SubscribeOptions::default()).await?;
//!     tokio::spawn(async move {
//!         while let Ok(Some(frame)) = subscriber.next_frame().await {
//!             println!("{:?} of {} bytes", frame.frame_type, frame.payload.len());
//!         }
//!     });
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | [`api`] | REST: meetings and join grants |
//! | `meeting`, `publisher`, `subscriber`, `events`, `options` | what is exported here by name |
//! | `controls`, `chat`, `auto` | more of [`Meeting`]: host controls, waiting room, stage; chat and broadcasts; what the server chooses |
//! | `follower`, `reach`, `state`, `dialing` | follows a meeting, over connections that are lost and made anew |
//! | `media` | the media session: control stream, group streams, datagrams |
//! | `session` | the pure part: roster, buffers, frames, statistics; unit-tested without IO |
//! | [`signaling`], [`transport`] | one level down, for tests and special wishes |
//! | [`container`] | IVF, H.264 Annex B and Ogg Opus files |
//!
//! Short programs are in `examples/`: `echo_bot`, `recorder_bot`, `announcer`.
//!
//! Encoding and decoding are not in here: payloads are what encoders make. Every wait for the
//! network has a bound, every buffer has one, too, and says what happens when it is full. All
//! functions need a Tokio runtime.

pub mod api;
mod auto;
mod chat;
pub mod container;
mod controls;
mod dialing;
mod error;
mod events;
mod follower;
mod media;
mod meeting;
mod options;
mod publisher;
mod reach;
mod session;
pub mod signaling;
mod state;
mod subscriber;
pub mod transport;

pub use auto::AutoSubscriptions;
pub use chat::ChatQuery;
pub use darktower_protocol::signaling::pb::{
    AudioMetadata, ChatHistory, ChatMessage, ErrorCode, LeaveReason, NetworkGrade, ParticipantCapabilities,
    ParticipantState, Produce, Rights, Role, SimulcastLayer, StreamMetadata, StreamType, VideoMetadata,
};
pub use darktower_protocol::signaling::{Layer, StreamDescription};
pub use darktower_protocol::{Code, Features, FrameType, MeetingId, ParticipantId, StreamId, Unit};
pub use error::Error;
pub use events::Events;
pub use meeting::Meeting;
pub use options::{AutoOptions, JoinOptions, PublishOptions, SubscribeOptions};
pub use publisher::{Feedback, FeedbackReceiver, OutgoingFrame, Publisher, SentUnits};
pub use session::event::{AutoSubscription, Event, NetworkQuality};
pub use session::frame::Frame;
pub use session::roster::Participant;
pub use session::statistics::{Direction, Latency, Statistics, StreamStatistics};
pub use subscriber::Subscriber;
pub use transport::{TransportKind, Trust};
