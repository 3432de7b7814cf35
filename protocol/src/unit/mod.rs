//! The media unit: a 46-byte header and a payload (docs/protocol.md 2).
//!
//! Nothing here copies a payload: [`Unit`] holds slices of the buffers that came from the
//! network, and [`Header`] is a view over their first 46 bytes.

mod datagram;
mod decoder;
mod header;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

pub use datagram::DatagramUnits;
pub use decoder::{UnitDecoder, UnitError};
pub use header::{Flags, FrameType, HEADER_LEN, Header, HeaderError, HeaderFields, UNIT_VERSION};

/// A whole unit as it stands on the wire.
///
/// The bytes may lie in several chunks; the first chunk always holds the whole header. Two units
/// are equal if their bytes are, however they are divided into chunks.
#[derive(Clone)]
pub struct Unit {
    /// Invariant: the first chunk starts with a valid header, and the lengths of all chunks add
    /// up to the header's length plus its payload length.
    chunks: SmallVec<[Bytes; 2]>,
}

impl Unit {
    /// A unit of the given header fields and payload; the payload is not copied.
    ///
    /// # Panics
    /// If the payload is longer than `u32::MAX` bytes.
    pub fn new(fields: &HeaderFields, payload: Bytes) -> Self {
        let payload_len = u32::try_from(payload.len()).expect("a payload is bounded far below 4 GiB");
        let header = Header::new(fields, payload_len);
        let mut chunks = SmallVec::new();
        chunks.push(Bytes::copy_from_slice(header.as_bytes()));
        if !payload.is_empty() {
            chunks.push(payload);
        }
        Self { chunks }
    }

    /// A whole unit that lies in one buffer.
    ///
    /// # Errors
    /// If `wire` does not start with a valid header or is not exactly as long as the header says.
    pub fn from_wire(wire: Bytes) -> Result<Self, UnitError> {
        let header = Header::parse(&wire)?;
        let (have, need) = (wire.len(), header.wire_len());
        if have < need {
            return Err(UnitError::Truncated { have, need });
        }
        if have > need {
            return Err(UnitError::Trailing { extra: have - need });
        }
        Ok(Self { chunks: SmallVec::from_iter([wire]) })
    }

    /// The header, viewed in place.
    pub fn header(&self) -> &Header {
        self.chunks
            .first()
            .and_then(|chunk| Header::parse(chunk).ok())
            .expect("a unit is only built with a valid header in its first chunk")
    }

    /// The wire bytes, header first, in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The payload as slices of the received buffers, in order.
    pub fn payload_chunks(&self) -> impl Iterator<Item = Bytes> {
        let mut skip = HEADER_LEN;
        self.chunks.iter().filter_map(move |chunk| {
            let start = skip.min(chunk.len());
            skip -= start;
            (start < chunk.len()).then(|| chunk.slice(start..))
        })
    }

    /// The payload in one buffer: a slice if it lies in one chunk, else a copy.
    pub fn payload(&self) -> Bytes {
        let mut chunks = self.payload_chunks();
        match (chunks.next(), chunks.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only,
            (Some(first), Some(second)) => {
                let mut joined = BytesMut::with_capacity(self.header().payload_len() as usize);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&second);
                chunks.for_each(|chunk| joined.extend_from_slice(&chunk));
                joined.freeze()
            }
        }
    }

    /// The whole unit in one buffer: as it is if it lies in one chunk, else a copy.
    ///
    /// A slice of a received packet keeps the whole receive buffer alive: who keeps units copies
    /// their [`chunks`](Self::chunks).
    pub fn into_wire(self) -> Bytes {
        if let [only] = self.chunks.as_slice() {
            return only.clone();
        }
        let mut joined = BytesMut::with_capacity(self.header().wire_len());
        self.chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk));
        joined.freeze()
    }
}

impl PartialEq for Unit {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |unit: &'_ Self| unit.header().wire_len();
        bytes(self) == bytes(other) && self.chunks.iter().flatten().eq(other.chunks.iter().flatten())
    }
}

impl Eq for Unit {}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit").field("header", self.header()).field("chunks", &self.chunks.len()).finish()
    }
}
