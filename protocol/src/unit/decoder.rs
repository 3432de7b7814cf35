//! Units back to back on a QUIC stream, decoded as the bytes arrive.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{FrameType, HEADER_LEN, Header, HeaderError, UNIT_VERSION, Unit};
use crate::error_code::Code;
use crate::id::StreamId;
use crate::limits::UnitLimits;

/// Why bytes are not a sequence of units. The stream they came on cannot go on after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// No header of this version.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The announced payload is over the bound of its type.
    #[error("payload of {len} bytes is over the limit of {max} for {frame_type:?}")]
    PayloadTooLarge {
        /// Announced bytes.
        len: u32,
        /// Bound in bytes.
        max: u32,
        /// Type of the unit.
        frame_type: FrameType,
    },
    /// The stream or datagram ended inside a unit.
    #[error("ended inside a unit: {have} of {need} bytes")]
    Truncated {
        /// Bytes that came.
        have: usize,
        /// Bytes that the unit (or, below 46, its header) needs.
        need: usize,
    },
    /// A buffer that should hold one unit goes on after it.
    #[error("{extra} bytes after the unit")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// A unit of another stream id than its QUIC stream belongs to.
    #[error("unit of stream {found} on a QUIC stream of {expected}")]
    WrongStream {
        /// The stream id the QUIC stream began with.
        expected: StreamId,
        /// The stream id of the unit.
        found: StreamId,
    },
}

impl UnitError {
    /// The code with which the QUIC stream is reset or stopped.
    pub fn code(&self) -> Code {
        match self {
            Self::Header(HeaderError::UnsupportedVersion(_)) => Code::UNSUPPORTED_VERSION,
            Self::Header(HeaderError::TooShort(_)) | Self::Truncated { .. } | Self::Trailing { .. } => {
                Code::MALFORMED_UNIT
            }
            Self::PayloadTooLarge { .. } => Code::PAYLOAD_TOO_LARGE,
            Self::WrongStream { .. } => Code::WRONG_STREAM,
        }
    }
}

/// Held chunks that are looked at together: each of them keeps its receive buffer alive, and a
/// peer that sends single bytes must not make us keep one for each of them.
const GATHER_CHUNKS: usize = 64;
/// When [`GATHER_CHUNKS`] chunks hold fewer bytes than this they are copied into one. It is 512
/// bytes per chunk: chunks as full packets bring them are never copied, and what is not copied
/// pins less than three times its size in packets of 1452 bytes.
const GATHER_BELOW: usize = GATHER_CHUNKS * 512;

/// Decodes units from chunks of a byte stream.
///
/// [`push`](Self::push) takes what arrived, [`next_unit`](Self::next_unit) gives units until it
/// returns `None`; drain it after every push, then at most one unit and one chunk are buffered.
/// Payloads are slices of the pushed chunks. Units of unknown type are skipped and counted.
#[derive(Debug)]
pub struct UnitDecoder {
    limits: UnitLimits,
    chunks: VecDeque<Bytes>,
    buffered: usize,
    /// Chunks at the back of `chunks` that have not been looked at for gathering; fewer than
    /// [`GATHER_CHUNKS`].
    ungathered: usize,
    /// Bytes of a unit of unknown type that have yet to be thrown away.
    skipping: usize,
    /// Length of that unit, header included.
    skipping_len: usize,
    skipped_units: u64,
    failed: Option<UnitError>,
}

impl UnitDecoder {
    /// A decoder at the start of a unit.
    pub fn new(limits: UnitLimits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            buffered: 0,
            ungathered: 0,
            skipping: 0,
            skipping_len: 0,
            skipped_units: 0,
            failed: None,
        }
    }

    /// Takes the next bytes of the stream. After an error they are dropped.
    pub fn push(&mut self, mut chunk: Bytes) {
        if self.failed.is_some() {
            return;
        }
        if self.skipping > 0 {
            let skip = self.skipping.min(chunk.len());
            bytes::Buf::advance(&mut chunk, skip);
            self.skipping -= skip;
        }
        if chunk.is_empty() {
            return;
        }
        self.buffered += chunk.len();
        self.chunks.push_back(chunk);
        self.ungathered += 1;
        if self.ungathered == GATHER_CHUNKS {
            self.gather();
        }
    }

    /// The next whole unit, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The same error again on every call after the first.
    pub fn next_unit(&mut self) -> Result<Option<Unit>, UnitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.try_next().inspect_err(|error| {
            self.failed = Some(*error);
            self.chunks = VecDeque::new();
            self.buffered = 0;
        })
    }

    /// To be called when the stream ended and [`next_unit`](Self::next_unit) returned `None`.
    ///
    /// # Errors
    /// If the stream ended inside a unit, or had failed before.
    pub fn finish(&self) -> Result<(), UnitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let need = self.chunks.front().and_then(|chunk| Header::parse(chunk).ok()).map(Header::wire_len);
        match (self.buffered, self.skipping) {
            (0, 0) => Ok(()),
            (0, missing) => {
                Err(UnitError::Truncated { have: self.skipping_len - missing, need: self.skipping_len })
            }
            (have, _) => Err(UnitError::Truncated { have, need: need.unwrap_or(HEADER_LEN) }),
        }
    }

    /// Units of unknown type that were skipped so far.
    pub fn skipped_units(&self) -> u64 {
        self.skipped_units
    }

    /// The header of the next unit, or `None` if more bytes are needed. Its payload may be missing,
    /// and its type unknown.
    ///
    /// # Errors
    /// If the bytes are no header, or its payload is over the bound.
    pub fn peek_header(&mut self) -> Result<Option<&Header>, UnitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let limits = self.limits;
        let Some(header) = self.header()? else { return Ok(None) };
        let (frame_type, len) = (header.frame_type(), header.payload_len());
        match frame_type.max_payload(&limits) {
            max if len > max => Err(UnitError::PayloadTooLarge { len, max, frame_type }),
            _ => Ok(Some(header)),
        }
    }

    /// Bytes held back because their unit is not whole yet.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    fn try_next(&mut self) -> Result<Option<Unit>, UnitError> {
        let limits = self.limits;
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let (frame_type, len, wire_len) = (header.frame_type(), header.payload_len(), header.wire_len());
            check_payload(frame_type, len, &limits)?;
            if let FrameType::Unknown(_) = frame_type {
                let here = wire_len.min(self.buffered);
                drop(self.take(here));
                self.skipping = wire_len - here;
                self.skipping_len = wire_len;
                self.skipped_units += 1;
                continue;
            }
            if self.buffered < wire_len {
                return Ok(None);
            }
            return Ok(Some(Unit { chunks: self.take(wire_len) }));
        }
    }

    /// The header at the front, once 46 bytes are there; its pieces are joined into one chunk if
    /// it is spread over several. A wrong version is reported at its first byte.
    fn header(&mut self) -> Result<Option<&Header>, UnitError> {
        let Some(first) = self.chunks.front() else { return Ok(None) };
        if let Some(&version) = first.first().filter(|version| **version != UNIT_VERSION) {
            return Err(HeaderError::UnsupportedVersion(version).into());
        }
        if self.buffered < HEADER_LEN {
            return Ok(None);
        }
        if first.len() < HEADER_LEN {
            let mut joined = BytesMut::with_capacity(HEADER_LEN);
            for piece in self.take(HEADER_LEN) {
                joined.extend_from_slice(&piece);
            }
            self.buffered += joined.len();
            self.chunks.push_front(joined.freeze());
        }
        Ok(self.chunks.front().map(|first| Header::parse(first)).transpose()?)
    }

    /// Removes `len` bytes, which must be there, from the front.
    fn take(&mut self, len: usize) -> SmallVec<[Bytes; 2]> {
        self.buffered -= len;
        // The usual case: the whole unit lies in the first chunk.
        if let Some(first) = self.chunks.front_mut().filter(|first| first.len() > len) {
            return SmallVec::from_iter([first.split_to(len)]);
        }
        let mut missing = len;
        let spread = |chunk: &&Bytes| {
            let wanted = missing > 0;
            missing = missing.saturating_sub(chunk.len());
            wanted
        };
        let mut taken = SmallVec::with_capacity(self.chunks.iter().take_while(spread).count());
        let mut missing = len;
        while missing > 0 {
            let Some(first) = self.chunks.front_mut() else { break };
            if first.len() > missing {
                taken.push(first.split_to(missing));
                break;
            }
            missing -= first.len();
            taken.extend(self.chunks.pop_front());
        }
        self.ungathered = self.ungathered.min(self.chunks.len());
        taken
    }

    /// Copies the chunks that were not looked at into one if they are small on average.
    fn gather(&mut self) {
        let start = self.chunks.len() - self.ungathered;
        self.ungathered = 0;
        let len: usize = self.chunks.range(start..).map(Bytes::len).sum();
        if len >= GATHER_BELOW {
            return;
        }
        let mut gathered = BytesMut::with_capacity(len);
        self.chunks.range(start..).for_each(|chunk| gathered.extend_from_slice(chunk));
        self.chunks.truncate(start);
        self.chunks.push_back(gathered.freeze());
    }
}

/// Compares an announced payload length with the bound of its type.
pub(super) fn check_payload(frame_type: FrameType, len: u32, limits: &UnitLimits) -> Result<(), UnitError> {
    let max = frame_type.max_payload(limits);
    if len > max { Err(UnitError::PayloadTooLarge { len, max, frame_type }) } else { Ok(()) }
}
