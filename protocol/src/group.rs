//! Group streams (feature `groups`): a unidirectional QUIC stream that carries a short preamble,
//! then the units of one group of pictures (docs/protocol.md 3.2).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error_code::Code;
use crate::id::StreamId;
use crate::limits::UnitLimits;
use crate::unit::{Unit, UnitDecoder, UnitError};
use crate::varint;

/// First byte of a preamble. Never a unit version, so a side that does not know group streams
/// fails at once instead of misreading.
pub const PREAMBLE_MAGIC: u8 = 0xd7;

/// What `length` counts at least: kind, flags, stream id and two varints of one byte.
const MIN_LENGTH: u8 = 2 + 16 + 2;

/// Bytes of the longest preamble: magic, length, and the 255 bytes a length byte can announce.
const MAX_PREAMBLE: usize = 2 + u8::MAX as usize;

/// What the units of a group stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// A group of pictures: starts with a key frame unless it is a continuation.
    Video,
    /// Audio that does not fit into datagrams.
    Audio,
}

/// The start of a group stream.
///
/// ```text
/// 0xd7 | length u8 | kind u8 | flags u8 | stream id 16 | group varint | first sequence varint
/// ```
/// `length` counts the bytes after it; bytes beyond the known fields are ignored, so that later
/// versions can add some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPreamble {
    /// What the units are.
    pub kind: GroupKind,
    /// The group began on an earlier QUIC stream (flag bit 0).
    pub continuation: bool,
    /// The sender left out what lies between its last unit and this stream: a receiver need not
    /// wait for it (flag bit 1).
    pub discontinuity: bool,
    /// Wire stream id of every unit on this QUIC stream.
    pub stream_id: StreamId,
    /// The group: the sequence number of its first unit. Over 2^62 - 1 it is sent as 2^62 - 1.
    pub group: u64,
    /// Sequence number of the first unit on this QUIC stream. Over 2^62 - 1 it is sent as 2^62 - 1.
    pub first_sequence: u64,
}

/// Why bytes are not a group stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The first byte is not [`PREAMBLE_MAGIC`].
    #[error("a group stream starts with 0xd7, not 0x{0:02x}")]
    BadMagic(u8),
    /// The preamble's fields do not fit into its length.
    #[error("preamble of {0} bytes is too short for its fields")]
    BadLength(u8),
    /// A kind this version does not know.
    #[error("unknown group kind {0}")]
    UnknownKind(u8),
    /// The stream ended inside the preamble.
    #[error("stream ended inside the group preamble")]
    Truncated,
    /// The units are not well formed.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

impl GroupError {
    /// The code with which the QUIC stream is stopped.
    pub fn code(&self) -> Code {
        match self {
            Self::Unit(error) => error.code(),
            _ => Code::MALFORMED_UNIT,
        }
    }
}

const FLAG_CONTINUATION: u8 = 1;
const FLAG_DISCONTINUITY: u8 = 1 << 1;

impl GroupPreamble {
    /// The bytes on the wire.
    pub fn encode(&self) -> Bytes {
        // A publisher may number its units as high as it likes; that must not panic here.
        let [group, first_sequence] = [self.group, self.first_sequence].map(|value| value.min(varint::MAX));
        let len = 2 + 16 + varint::encoded_len(group) + varint::encoded_len(first_sequence);
        let mut out = BytesMut::with_capacity(2 + len);
        out.put_u8(PREAMBLE_MAGIC);
        out.put_u8(len as u8);
        out.put_u8(match self.kind {
            GroupKind::Video => 1,
            GroupKind::Audio => 3,
        });
        let continuation = if self.continuation { FLAG_CONTINUATION } else { 0 };
        let discontinuity = if self.discontinuity { FLAG_DISCONTINUITY } else { 0 };
        out.put_u8(continuation | discontinuity);
        out.put_slice(self.stream_id.as_bytes());
        varint::encode(group, &mut out);
        varint::encode(first_sequence, &mut out);
        out.freeze()
    }

    /// Reads a preamble from the front of `bytes` and returns it with the number of bytes it
    /// took; `None` if more are needed.
    ///
    /// # Errors
    /// If the bytes cannot become a preamble.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, GroupError> {
        let (len, rest) = match bytes {
            [] | [PREAMBLE_MAGIC] => return Ok(None),
            [PREAMBLE_MAGIC, len, rest @ ..] => (*len, rest),
            [other, ..] => return Err(GroupError::BadMagic(*other)),
        };
        let bad_length = GroupError::BadLength(len);
        if len < MIN_LENGTH {
            return Err(bad_length);
        }
        let Some(body) = rest.get(..usize::from(len)) else { return Ok(None) };
        let (&[kind, flags], body) = body.split_first_chunk().ok_or(bad_length)?;
        let (stream_id, body) = body.split_first_chunk().ok_or(bad_length)?;
        let (group, body) = varint::decode(body).ok_or(bad_length)?;
        let (first_sequence, _later_fields) = varint::decode(body).ok_or(bad_length)?;
        let kind = match kind {
            1 => GroupKind::Video,
            3 => GroupKind::Audio,
            other => return Err(GroupError::UnknownKind(other)),
        };
        let preamble = Self {
            kind,
            continuation: flags & FLAG_CONTINUATION != 0,
            discontinuity: flags & FLAG_DISCONTINUITY != 0,
            stream_id: StreamId::from_bytes(*stream_id),
            group,
            first_sequence,
        };
        Ok(Some((preamble, 2 + usize::from(len))))
    }
}

/// Decodes a group stream as its bytes arrive: the preamble, then units of its stream id.
#[derive(Debug)]
pub struct GroupDecoder {
    head: BytesMut,
    preamble: Option<GroupPreamble>,
    units: UnitDecoder,
    failed: Option<GroupError>,
}

impl GroupDecoder {
    /// A decoder at the start of a group stream.
    pub fn new(limits: UnitLimits) -> Self {
        Self { head: BytesMut::new(), preamble: None, units: UnitDecoder::new(limits), failed: None }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// If they are not a preamble; the same error again on every later call.
    pub fn push(&mut self, mut chunk: Bytes) -> Result<(), GroupError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.preamble.is_some() {
            self.units.push(chunk);
            return Ok(());
        }
        // Only the preamble is gathered; what follows stays a slice of the chunk.
        let had = self.head.len();
        let wanted = chunk.len().min(MAX_PREAMBLE - had);
        self.head.extend_from_slice(chunk.get(..wanted).unwrap_or_default());
        match GroupPreamble::decode(&self.head) {
            Ok(None) => {}
            Ok(Some((preamble, len))) => {
                self.preamble = Some(preamble);
                self.head = BytesMut::new();
                chunk.advance(len - had);
                self.units.push(chunk);
            }
            Err(error) => {
                self.failed = Some(error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The preamble, once it has arrived.
    pub fn preamble(&self) -> Option<&GroupPreamble> {
        self.preamble.as_ref()
    }

    /// The next whole unit, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The same error again on every call after the first.
    pub fn next_unit(&mut self) -> Result<Option<Unit>, GroupError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(preamble) = &self.preamble else { return Ok(None) };
        let result = match self.units.next_unit() {
            Ok(Some(unit)) if unit.header().stream_id() != preamble.stream_id => {
                Err(UnitError::WrongStream { expected: preamble.stream_id, found: unit.header().stream_id() })
            }
            other => other,
        };
        result.map_err(|error| {
            self.failed = Some(error.into());
            error.into()
        })
    }

    /// To be called when the stream ended.
    ///
    /// # Errors
    /// If it ended inside the preamble or a unit, or had failed before.
    pub fn finish(&self) -> Result<(), GroupError> {
        match (self.failed, self.preamble) {
            (Some(error), _) => Err(error),
            (None, None) => Err(GroupError::Truncated),
            (None, Some(_)) => Ok(self.units.finish()?),
        }
    }

    /// Bytes held back because their unit is not whole yet.
    pub fn buffered(&self) -> usize {
        self.units.buffered()
    }

    /// Units of unknown type that were skipped so far.
    pub fn skipped_units(&self) -> u64 {
        self.units.skipped_units()
    }
}
