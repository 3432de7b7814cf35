//! Units in QUIC datagrams: one or more whole units, nothing else (docs/protocol.md 3.3).

use bytes::Bytes;
use smallvec::SmallVec;

use super::decoder::check_payload;
use super::{FrameType, HEADER_LEN, Header, HeaderError, UNIT_VERSION, Unit, UnitError};
use crate::limits::UnitLimits;

/// The units of one datagram, in order. Ends after the first error. Allocates nothing.
#[derive(Debug)]
pub struct DatagramUnits {
    rest: Bytes,
    limits: UnitLimits,
    skipped_units: u64,
}

impl DatagramUnits {
    /// The units of `datagram`; they are slices of it.
    pub fn new(datagram: Bytes, limits: UnitLimits) -> Self {
        Self { rest: datagram, limits, skipped_units: 0 }
    }

    /// Units of unknown type that were skipped so far.
    pub fn skipped_units(&self) -> u64 {
        self.skipped_units
    }

    fn take_unit(&mut self) -> Result<Option<Unit>, UnitError> {
        while let Some(&version) = self.rest.first() {
            if version != UNIT_VERSION {
                return Err(HeaderError::UnsupportedVersion(version).into());
            }
            let have = self.rest.len();
            let Ok(header) = Header::parse(&self.rest) else {
                return Err(UnitError::Truncated { have, need: HEADER_LEN });
            };
            let (frame_type, need) = (header.frame_type(), header.wire_len());
            check_payload(frame_type, header.payload_len(), &self.limits)?;
            if let FrameType::Unknown(_) = frame_type {
                self.skipped_units += 1;
            }
            if have < need {
                return Err(UnitError::Truncated { have, need });
            }
            let wire = self.rest.split_to(need);
            if !matches!(frame_type, FrameType::Unknown(_)) {
                return Ok(Some(Unit { chunks: SmallVec::from_iter([wire]) }));
            }
        }
        Ok(None)
    }
}

impl Iterator for DatagramUnits {
    type Item = Result<Unit, UnitError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take_unit().inspect_err(|_| self.rest = Bytes::new()).transpose()
    }
}

impl std::iter::FusedIterator for DatagramUnits {}
