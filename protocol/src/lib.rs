//! The wire format of Dark Tower, shared by the server and the clients. No IO, no runtime, no
//! clock: time is an argument.
//!
//! | module | what is in it |
//! |---|---|
//! | [`mod@unit`] | the 46-byte header, units on streams and in datagrams |
//! | [`group`] | group streams: preamble and units of one group of pictures |
//! | [`sequencer`] | units of several group streams put back in order |
//! | [`message`] | length-delimited protobuf messages |
//! | [`signaling`] | the messages, and their checked forms |
//! | [`error_code`] | the one table of close, reset and stop codes |
//! | [`version`] | versions, features, ALPN and paths |
//! | [`silence`] | whether a peer is silent, long before its connection times out |
//! | [`id`], [`limits`], [`varint`] | identifiers, size bounds, QUIC integers |
//!
//! The normative text is `docs/protocol.md`; `protocol/testdata` has byte-exact vectors.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

pub mod error_code;
pub mod group;
pub mod id;
pub mod limits;
pub mod message;
pub mod sequencer;
pub mod signaling;
pub mod silence;
pub mod unit;
pub mod varint;
pub mod version;

pub use error_code::Code;
pub use id::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId, SessionId, StreamId, UserId};
pub use unit::{Flags, FrameType, HEADER_LEN, Header, HeaderFields, Unit, UnitDecoder, UnitError};
pub use version::Features;
