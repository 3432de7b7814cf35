//! Length-delimited protobuf messages with a size bound (docs/protocol.md 5.1): a varint of
//! protobuf (LEB128) with the length, then the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::error_code::Code;

/// Bytes of the longest length prefix that is accepted: 5 bytes hold any `u32`.
const MAX_PREFIX: usize = 5;

/// Bytes that are not a message. The stream they came on cannot go on after that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The announced length is over the bound.
    #[error("message of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// Announced bytes.
        len: u64,
        /// Bound in bytes.
        max: usize,
    },
    /// Not a length prefix, or not the expected protobuf message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The stream ended inside a message.
    #[error("stream ended inside a message")]
    Truncated,
}

impl MessageError {
    /// The code with which the session is closed.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::MESSAGE_TOO_LARGE,
            Self::Malformed(_) | Self::Truncated => Code::MALFORMED_MESSAGE,
        }
    }
}

/// The message with its length prefix.
pub fn encode(message: &impl Message) -> Bytes {
    message.encode_length_delimited_to_vec().into()
}

/// Appends the message that has the fields of `head` and, encoded already, those of `rest`, with its length prefix. The order
/// of fields means nothing to who reads them.
pub fn append(out: &mut impl BufMut, head: &impl Message, rest: &[u8]) {
    prost::encoding::encode_varint((head.encoded_len() + rest.len()) as u64, out);
    head.encode_raw(out);
    out.put_slice(rest);
}

/// Decodes length-delimited messages of one type from chunks of a byte stream.
///
/// Drain [`next_message`](Self::next_message) after every [`push`](Self::push); then no more than
/// one message and one chunk are buffered.
#[derive(Debug)]
pub struct MessageDecoder {
    buffer: BytesMut,
    max: usize,
    failed: Option<MessageError>,
}

impl MessageDecoder {
    /// A decoder that refuses messages over `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), max, failed: None }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next whole message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The same error again on every call after the first.
    pub fn next_message<M: Message + Default>(&mut self) -> Result<Option<M>, MessageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_next().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// To be called when the stream ended.
    ///
    /// # Errors
    /// If it ended inside a message, or had failed before.
    pub fn finish(&self) -> Result<(), MessageError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(MessageError::Truncated),
        }
    }

    fn try_next<M: Message + Default>(&mut self) -> Result<Option<M>, MessageError> {
        let Some((len, prefix_len)) = self.length_prefix()? else { return Ok(None) };
        if self.buffer.len() < prefix_len + len {
            return Ok(None);
        }
        self.buffer.advance(prefix_len);
        let message = self.buffer.split_to(len);
        M::decode(message).map(Some).map_err(|error| MessageError::Malformed(error.to_string()))
    }

    /// The announced length, once it is whole and within the bound, and the bytes it took.
    fn length_prefix(&self) -> Result<Option<(usize, usize)>, MessageError> {
        let mut len = 0u64;
        for (i, byte) in self.buffer.iter().take(MAX_PREFIX).enumerate() {
            len |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return match usize::try_from(len) {
                    Ok(fits) if fits <= self.max => Ok(Some((fits, i + 1))),
                    _ => Err(MessageError::TooLarge { len, max: self.max }),
                };
            }
        }
        if self.buffer.len() >= MAX_PREFIX {
            return Err(MessageError::Malformed("length prefix is longer than 5 bytes".to_owned()));
        }
        Ok(None)
    }
}
