//! Identifiers. All are UUIDs; the newtypes keep one kind from being passed for another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a UUID such as 0192f0c1-2a3b-7c4d-8e5f-001122334455")]
pub struct ParseIdError {
    what: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: UUIDv7, so that identifiers sort by creation time.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Wraps an existing UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// The 16 bytes in RFC 9562 order.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the 16 bytes in RFC 9562 order.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// Accepts the hyphenated form only, in either case; text is always written in lower case.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { what: $what };
                if text.len() != uuid::fmt::Hyphenated::LENGTH {
                    return Err(error);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| error)
            }
        }
    };
}

id! {
    /// A meeting.
    MeetingId, "meeting_id"
}
id! {
    /// A participant: one connection of one person or program to one meeting.
    ParticipantId, "participant_id"
}
id! {
    /// A media stream, or one simulcast layer of it: what unit headers carry.
    StreamId, "stream_id"
}
id! {
    /// A media session: one QUIC connection to a media handler.
    SessionId, "session_id"
}
id! {
    /// One activation of a meeting, from the first join to the last leave.
    MeetingSessionId, "session_id"
}
id! {
    /// An organization: users, meetings and settings that belong together.
    OrganizationId, "organization_id"
}
id! {
    /// A user of an organization.
    UserId, "user_id"
}

impl StreamId {
    /// The wire stream id of a simulcast layer that declares none: UUIDv5 with the stream id as
    /// name space and the layer id as name (docs/protocol.md 4.3).
    pub fn of_layer(self, layer_id: &str) -> Self {
        Self(Uuid::new_v5(&self.0, layer_id.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_canonical_hyphenated_form() {
        let id = StreamId::from_bytes([0x11; 16]);
        assert_eq!(id.to_string(), "11111111-1111-1111-1111-111111111111");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "11111111111111111111111111111111", "{11111111-1111-1111-1111-111111111111}"] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn layers_of_one_stream_differ_and_are_stable() {
        let stream = StreamId::from_bytes([7; 16]);
        assert_eq!(stream.of_layer("low"), stream.of_layer("low"));
        assert_ne!(stream.of_layer("low"), stream.of_layer("high"));
        assert_ne!(stream.of_layer("low"), stream);
    }
}
