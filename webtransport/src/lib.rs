//! WebTransport over HTTP/3 on quinn, one session per connection: SETTINGS, the CONNECT request, the headers of the
//! streams and datagrams after it, and the closing capsule (RFC 9114, RFC 9220, RFC 9297, draft-ietf-webtrans-http3).
//! The formats are `web-transport-proto`'s.
//!
//! A client calls [`Session::connect`], a server [`Request::read`]. Streams are quinn's own, after their header.
//!
//! A header comes in pieces if packets do. Each is read by a future of its own that is kept until it is done: nothing is
//! lost when a caller stops waiting, and a stream whose header never comes delays no other. There are at most as many as
//! the transport lets the peer have streams open.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

mod closing;
mod handshake;
mod incoming;
mod session;

pub use closing::{CLOSE_TIME, MAX_REASON};
pub use handshake::{HandshakeError, Request};
pub use session::Session;
pub use web_transport_proto::http;

use quinn::VarInt;

/// A session's id is the number of the stream with its CONNECT request, which has to be the client's first bidirectional one.
const SESSION_ID: u64 = 0;

/// What every datagram of a session starts with: a quarter of the session's id (RFC 9297 section 2.1).
pub const DATAGRAM_PREFIX: &[u8] = &[0];

/// What every unidirectional stream of a session starts with: the type 0x54 and the session's id, as QUIC numbers
/// (draft-ietf-webtrans-http3 section 4.2).
pub const UNI_PREFIX: &[u8] = &[0x40, 0x54, 0];

/// What every bidirectional stream of a session starts with: the signal value 0x41 and the session's id (section 4.3).
pub const BI_PREFIX: &[u8] = &[0x40, 0x41, 0];

// RFC 9114 section 8.1.
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);
const H3_GENERAL_PROTOCOL_ERROR: VarInt = VarInt::from_u32(0x101);
const H3_STREAM_CREATION_ERROR: VarInt = VarInt::from_u32(0x103);
const H3_ID_ERROR: VarInt = VarInt::from_u32(0x108);
const H3_REQUEST_REJECTED: VarInt = VarInt::from_u32(0x10b);

type BiStream = (quinn::SendStream, quinn::RecvStream);
