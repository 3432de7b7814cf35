//! Units in QUIC datagrams: one or more whole units, nothing else (docs/protocol.md 3.3).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
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

/// Packs as many whole units from the front of `units` as `max_len` bytes hold into one
/// datagram behind `prefix` (empty on raw QUIC, the quarter stream id on WebTransport), and
/// removes them from `units`. The first unit is always taken, so the caller checks beforehand
/// that it fits. A single unit without a prefix is not copied.
pub fn pack(units: &mut VecDeque<Bytes>, prefix: &[u8], max_len: usize) -> Option<Bytes> {
    let first = units.pop_front()?;
    let mut len = prefix.len() + first.len();
    let mut more = 0;
    for unit in units.iter() {
        if len + unit.len() > max_len {
            break;
        }
        len += unit.len();
        more += 1;
    }
    if more == 0 && prefix.is_empty() {
        return Some(first);
    }
    let mut datagram = BytesMut::with_capacity(len);
    datagram.extend_from_slice(prefix);
    datagram.extend_from_slice(&first);
    units.drain(..more).for_each(|unit| datagram.extend_from_slice(&unit));
    Some(datagram.freeze())
}
