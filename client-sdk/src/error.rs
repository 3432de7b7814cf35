//! What can go wrong, by who is at fault.

use std::collections::HashMap;
use std::sync::Arc;

use darktower_protocol::Code;
use darktower_protocol::group::GroupError;
use darktower_protocol::message::MessageError;
use darktower_protocol::signaling::pb;
use darktower_protocol::unit::UnitError;

/// An error of the SDK. Cheap to clone: one lost connection fails many waiting calls.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The REST API answered with an error.
    #[error("the API answered {status} {code}: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// Stable name for programs, such as `MEETING_NOT_FOUND`; empty if the answer had none.
        code: String,
        /// For people.
        message: String,
    },
    /// The server refused a request of a live session with an `ErrorMessage`.
    #[error("the server refused ({}): {message}", code.as_str_name())]
    Refused {
        /// Stable code for programs.
        code: pb::ErrorCode,
        /// For people.
        message: String,
        /// For programs, for example `field` → `stream_id`.
        details: HashMap<String, String>,
    },
    /// The connection was closed by the server or by this side.
    #[error("connection closed: {code}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Closed {
        /// From the protocol's one table.
        code: Code,
        /// For people; may be empty.
        reason: String,
    },
    /// The peer reset the QUIC stream that was read from, or stopped the one written to.
    #[error("the peer ended the stream: {0}")]
    StreamEnded(Code),
    /// The server has ended a published stream by itself: a host did, or the right to send it was
    /// taken away.
    #[error("the server has ended this stream: a host did, or the right to send it was taken away")]
    Unpublished,
    /// The peer broke the protocol.
    #[error("protocol violation by the peer: {0}")]
    Protocol(String),
    /// Network, TLS or name resolution.
    #[error("{context}")]
    Transport {
        /// What was tried.
        context: String,
        /// Why it failed.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Something did not happen in time.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// The connection was lost before the answer to a request came, and the session goes on with another. The request may
    /// have been carried out.
    #[error("the connection was lost before the answer came; what was asked for may have been done")]
    Interrupted,
    /// The caller asked for something impossible.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn transport(
        context: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Transport { context: context.into(), source: Arc::new(source) }
    }

    /// The code of a close, reset or stop, if the error came from one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Closed { code, .. } | Self::StreamEnded(code) => Some(*code),
            _ => None,
        }
    }
}

impl From<pb::ErrorMessage> for Error {
    fn from(message: pb::ErrorMessage) -> Self {
        Self::Refused { code: message.code(), message: message.message, details: message.details }
    }
}

impl From<MessageError> for Error {
    fn from(error: MessageError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<UnitError> for Error {
    fn from(error: UnitError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<GroupError> for Error {
    fn from(error: GroupError) -> Self {
        Self::Protocol(error.to_string())
    }
}
