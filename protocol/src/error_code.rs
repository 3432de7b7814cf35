//! The one table of application error codes: of connection closes, of stream resets
//! (`RESET_STREAM`) and of stream stops (`STOP_SENDING`).

use std::fmt;

/// An application error code.
///
/// On raw QUIC it travels as it is; on a stream of a WebTransport session it is mapped into the
/// range that HTTP/3 reserves for it ([`Code::to_webtransport`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u32);

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal;)*) => {
        impl Code {
            $($(#[doc = $doc])+ pub const $name: Code = Code($value);)*

            /// Every code of the table with its name and meaning.
            pub const TABLE: &'static [(Code, &'static str, &'static str)] = &[
                $((Code($value), stringify!($name), concat!($($doc),+))),*
            ];
        }
    };
}

codes! {
    /// Nothing went wrong: the session or stream ended as planned.
    NO_ERROR = 0x00;
    /// The receiver no longer wants the stream (unsubscribed, closed).
    CANCELLED = 0x01;
    /// The group fell too far behind live; a newer one follows.
    DROPPED_GROUP = 0x02;
    /// Another layer of the stream has taken over.
    LAYER_SWITCHED = 0x03;
    /// The publisher left or unpublished the stream.
    PUBLISHER_GONE = 0x04;
    /// The fault is on this side; trying again is sensible.
    INTERNAL = 0x05;
    /// The server is shutting down or draining.
    GOING_AWAY = 0x06;
    /// The peer broke a rule of the protocol that has no code of its own.
    PROTOCOL_VIOLATION = 0x10;
    /// No version in common, or a unit with an unknown version byte.
    UNSUPPORTED_VERSION = 0x11;
    /// A unit, datagram or group preamble ends inside its header or payload, or makes no sense.
    MALFORMED_UNIT = 0x12;
    /// A unit announces more payload than the limit of its type.
    PAYLOAD_TOO_LARGE = 0x13;
    /// The stream id was not registered by this participant (in time).
    STREAM_NOT_REGISTERED = 0x14;
    /// A unit carries another stream id than the QUIC stream it came on.
    WRONG_STREAM = 0x15;
    /// A control message cannot be decoded.
    MALFORMED_MESSAGE = 0x16;
    /// A control message is over the size bound.
    MESSAGE_TOO_LARGE = 0x17;
    /// The token is missing, expired, used up, forged or meant for something else.
    UNAUTHORIZED = 0x18;
    /// What the protocol asks for did not come in time (first message, stream header).
    TIMED_OUT = 0x19;
    /// Too many messages, streams or datagrams.
    RATE_LIMITED = 0x1a;
    /// A limit of the meeting or the server is reached.
    CAPACITY_EXCEEDED = 0x1b;
    /// The same participant connected again; this session was replaced.
    DUPLICATE = 0x1c;
    /// A host removed the participant.
    KICKED = 0x1d;
    /// The meeting is over.
    MEETING_ENDED = 0x1e;
    /// The subscriber did not read for too long.
    TOO_SLOW = 0x1f;
    /// The stream was not subscribed to (in time).
    NOT_SUBSCRIBED = 0x20;
}

/// First code of the range that WebTransport over HTTP/3 reserves for application errors of
/// streams (draft-ietf-webtrans-http3 section 4.3).
const WEBTRANSPORT_FIRST: u64 = 0x52e4_a40f_a8db;
const WEBTRANSPORT_LAST: u64 = 0x52e5_ac98_3162;

impl Code {
    /// The number on the wire of raw QUIC.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// A code from raw QUIC; numbers that no `u32` holds become [`Code::PROTOCOL_VIOLATION`].
    pub fn from_quic(code: u64) -> Self {
        u32::try_from(code).map_or(Self::PROTOCOL_VIOLATION, Self)
    }

    /// The number on the wire of a WebTransport stream: every 31st code point of the reserved
    /// range is left out for HTTP/3 greasing.
    pub const fn to_webtransport(self) -> u64 {
        let code = self.0 as u64;
        WEBTRANSPORT_FIRST + code + code / 0x1e
    }

    /// The code behind a number of the WebTransport range; anything outside the range becomes
    /// [`Code::PROTOCOL_VIOLATION`].
    pub fn from_webtransport(code: u64) -> Self {
        let in_range = (WEBTRANSPORT_FIRST..=WEBTRANSPORT_LAST).contains(&code);
        if !in_range || (code - 0x21).is_multiple_of(0x1f) {
            return Self::PROTOCOL_VIOLATION;
        }
        let shifted = code - WEBTRANSPORT_FIRST;
        Self::from_quic(shifted - shifted / 0x1f)
    }

    /// The name in the table, for logs, metrics and error texts.
    pub fn name(self) -> &'static str {
        Self::TABLE.iter().find(|(code, ..)| *code == self).map_or("UNKNOWN", |(_, name, _)| name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for (i, (code, name, _)) in Code::TABLE.iter().enumerate() {
            for (other, other_name, _) in &Code::TABLE[i + 1..] {
                assert_ne!(code, other);
                assert_ne!(name, other_name);
            }
        }
    }

    #[test]
    fn known_points_of_the_webtransport_range() {
        assert_eq!(Code(0).to_webtransport(), 0x52e4_a40f_a8db);
        assert_eq!(Code(0x1d).to_webtransport(), 0x52e4_a40f_a8f8);
        // 0x52e4a40fa8f9 is a grease point and left out.
        assert_eq!(Code(0x1e).to_webtransport(), 0x52e4_a40f_a8fa);
        assert_eq!(Code(u32::MAX).to_webtransport(), WEBTRANSPORT_LAST);
    }

    proptest! {
        #[test]
        fn webtransport_round_trip(code: u32) {
            let wire = Code(code).to_webtransport();
            prop_assert!(!(wire - 0x21).is_multiple_of(0x1f), "grease point");
            prop_assert_eq!(Code::from_webtransport(wire), Code(code));
        }

        #[test]
        fn any_number_maps_without_panic(code: u64) {
            let _ = Code::from_webtransport(code);
            let _ = Code::from_quic(code);
        }
    }
}
