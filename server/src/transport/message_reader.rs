//! The receiving half of a control stream.

use darktower_protocol::limits::MAX_MESSAGE;
use darktower_protocol::message::{MessageDecoder, MessageError};
use prost::Message;

use super::RecvStream;

/// Reads length-delimited messages of at most 64 KiB.
#[derive(Debug)]
pub struct MessageReader {
    recv: RecvStream,
    decoder: MessageDecoder,
}

impl MessageReader {
    /// Reads from the start of a stream.
    pub fn new(recv: RecvStream) -> Self {
        Self { recv, decoder: MessageDecoder::new(MAX_MESSAGE) }
    }

    /// The next message; `None` when the peer has ended the stream or is gone. Cancel-safe.
    ///
    /// # Errors
    /// If what comes is no such message, or too large; then always.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, MessageError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some(message));
            }
            match self.recv.read_chunk().await {
                Ok(Some(chunk)) => self.decoder.push(&chunk),
                Ok(None) => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
                Err(_) => return Ok(None),
            }
        }
    }
}
