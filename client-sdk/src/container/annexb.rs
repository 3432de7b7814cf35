//! Raw H.264: the byte stream format of ITU-T H.264 Annex B, cut into access units.
//!
//! Samples are slices of the file: put together they are the file again, byte for byte. Parameter sets come out with
//! `h264-reader`. Its Annex B parser is not used: it delivers NAL units without their start codes and positions, and
//! a bit-identical copy needs both.
//!
//! Two simplifications, both about streams no real-time encoder makes: a new picture is recognised by a slice that
//! starts at macroblock 0 (the full rule in section 7.4.1.2.4 compares slice headers and matters for arbitrary slice
//! order and redundant pictures), and the two fields of an interlaced frame come out as two samples.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h264_reader::{
    nal::sps::SeqParameterSet,
    rbsp::{BitReader, ByteReader},
};

use super::{
    Codec, ContainerError, DEFAULT_FRAMERATE, FLUSH_INTERVAL, MAX_SAMPLE_BYTES, MediaInfo, OpenOptions,
    Sample, VideoInfo, bitstream,
};

/// `nal_unit_type` of a slice of an IDR picture (ITU-T H.264 table 7-1).
pub(super) const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETER_SET: u8 = 7;

/// Bytes asked of the source at a time.
const READ_BYTES: usize = 64 * 1024;

/// Access units searched for a sequence parameter set when opening.
const PARAMETER_SET_SEARCH: usize = 32;

/// A NAL unit: header byte and payload, without start code and trailing zeros. Never empty.
#[derive(Clone, Copy)]
pub(super) struct Nal<'a>(&'a [u8]);

impl Nal<'_> {
    pub(super) fn unit_type(&self) -> u8 {
        self.0[0] & 0x1F
    }

    pub(super) fn ref_idc(&self) -> u8 {
        self.0[0] >> 5 & 0b11
    }

    fn is_slice(&self) -> bool {
        is_slice(self.unit_type())
    }
}

/// Slices and slice data partitions: the NAL units that make up the primary coded picture.
fn is_slice(unit_type: u8) -> bool {
    (1..=5).contains(&unit_type)
}

/// Position of the first `00 00 01` at or after `from`.
fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&last) = data.get(at + 2) {
        match last {
            // Neither this byte nor the two before it can begin a start code that `at` does not begin.
            2.. => at += 3,
            1 if data[at] == 0 && data[at + 1] == 0 => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The NAL units of an Annex B buffer, in order.
fn nal_units(data: &[u8]) -> impl Iterator<Item = Nal<'_>> {
    let mut next = find_start_code(data, 0);
    std::iter::from_fn(move || {
        loop {
            let start = next? + 3;
            next = find_start_code(data, start);
            let mut unit = &data[start..next.unwrap_or(data.len())];
            while let [rest @ .., 0] = unit {
                unit = rest;
            }
            if !unit.is_empty() {
                return Some(Nal(unit));
            }
        }
    })
}

/// The first slice of an access unit. Stops there, so its cost does not grow with the picture.
pub(super) fn first_slice(access_unit: &[u8]) -> Option<Nal<'_>> {
    let mut from = 0;
    loop {
        let start = find_start_code(access_unit, from)? + 3;
        let nal = Nal(access_unit.get(start..).filter(|unit| !unit.is_empty())?);
        if nal.is_slice() {
            return Some(nal);
        }
        from = start;
    }
}

/// Whether `data` starts with zeros, a 1 and then a NAL unit header that H.264 defines.
pub(super) fn looks_like_h264(data: &[u8]) -> bool {
    let zeros = data.iter().take_while(|byte| **byte == 0).count();
    match data[zeros..] {
        [1, header, ..] => zeros >= 2 && header & 0x80 == 0 && matches!(header & 0x1F, 1..=9 | 14 | 15),
        _ => false,
    }
}

/// Cuts a byte stream into access units (ITU-T H.264 section 7.4.1.2.3). Holds one access unit at a time.
#[derive(Default)]
struct Splitter {
    /// From the start of the current access unit.
    buffer: BytesMut,
    /// Where to look for the next start code.
    scan: usize,
    /// The current access unit has a slice.
    has_slice: bool,
}

impl Splitter {
    /// The next access unit that is complete, i.e. followed by the start of another.
    fn next_complete(&mut self) -> Option<Bytes> {
        loop {
            let Some(at) = find_start_code(&self.buffer, self.scan) else {
                // The last two bytes may belong to a start code that is not here yet.
                self.scan = self.scan.max(self.buffer.len().saturating_sub(2));
                return None;
            };
            // A slice starts with first_mb_in_slice, Exp-Golomb coded: 0 is a single 1 bit.
            let (&header, &payload) = (self.buffer.get(at + 3)?, self.buffer.get(at + 4)?);
            let unit_type = header & 0x1F;
            let starts_unit = match unit_type {
                6..=9 | 14..=18 => true,
                1 | 2 | IDR_SLICE => payload & 0x80 != 0,
                _ => false,
            };
            if self.has_slice && starts_unit {
                // A zero right before the start code is part of it: the zero_byte of a four-byte start code.
                let start = if self.buffer[at - 1] == 0 { at - 1 } else { at };
                self.scan = at - start;
                self.has_slice = false;
                return Some(self.buffer.split_to(start).freeze());
            }
            self.has_slice |= is_slice(unit_type);
            self.scan = at + 3;
        }
    }

    /// What is left at the end of the stream, and whether it has a slice.
    fn take_rest(&mut self) -> (Bytes, bool) {
        // A slice of one byte at the very end was waiting for its payload.
        let has_slice = self.has_slice || first_slice(&self.buffer).is_some();
        let rest = self.buffer.split().freeze();
        *self = Self::default();
        (rest, has_slice)
    }
}

/// Reads an Annex B byte stream. Timestamps count samples at the frame rate.
pub(super) struct Reader<S> {
    source: S,
    path: PathBuf,
    info: MediaInfo,
    framerate: f64,
    splitter: Splitter,
    /// Where the splitter's access unit starts.
    offset: u64,
    samples: u64,
    ended: bool,
}

impl<S: Read + Seek + Send> Reader<S> {
    pub(super) fn new(source: S, path: PathBuf, options: OpenOptions) -> Result<Self, ContainerError> {
        if let Some(rate) = options.h264_framerate
            && !(rate > 0.0 && rate <= 1000.0)
        {
            return Err(ContainerError::options(&path, format!("frame rate {rate} is not in 0 to 1000")));
        }
        let framerate = options.h264_framerate.unwrap_or(DEFAULT_FRAMERATE);
        let info = MediaInfo::video(Codec::H264, 0, 0, framerate);
        let splitter = Splitter::default();
        let mut reader =
            Self { source, path, info, framerate, splitter, offset: 0, samples: 0, ended: false };
        let video = reader.find_parameters()?;
        reader.framerate = options.h264_framerate.unwrap_or(video.framerate);
        reader.info.video = Some(VideoInfo { framerate: reader.framerate, ..video });
        super::Reader::rewind(&mut reader)?;
        Ok(reader)
    }

    /// Picture size and rate from the first sequence parameter set.
    fn find_parameters(&mut self) -> Result<VideoInfo, ContainerError> {
        for _ in 0..PARAMETER_SET_SEARCH {
            let offset = self.offset;
            let Some(access_unit) = self.access_unit()? else { break };
            if let Some(nal) = nal_units(&access_unit).find(|nal| nal.unit_type() == SEQUENCE_PARAMETER_SET) {
                return parse_parameters(nal)
                    .map_err(|problem| ContainerError::malformed(&self.path, offset, problem));
            }
        }
        let problem = "no H.264 sequence parameter set (SPS) at the start of the stream";
        Err(ContainerError::malformed(&self.path, 0, problem))
    }

    fn access_unit(&mut self) -> Result<Option<Bytes>, ContainerError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some(access_unit) = self.splitter.next_complete() {
                self.check_len(access_unit.len())?;
                self.offset += access_unit.len() as u64;
                return Ok(Some(access_unit));
            }
            self.check_len(self.splitter.buffer.len())?;
            if self.fill()? == 0 {
                self.ended = true;
                let (rest, has_slice) = self.splitter.take_rest();
                return match (rest.is_empty(), has_slice) {
                    (true, _) => Ok(None),
                    (false, true) => Ok(Some(rest)),
                    (false, false) => {
                        let problem = "file ends inside an access unit: parameter sets without a picture";
                        Err(ContainerError::malformed(&self.path, self.offset, problem))
                    }
                };
            }
        }
    }

    fn check_len(&mut self, len: usize) -> Result<(), ContainerError> {
        if len <= MAX_SAMPLE_BYTES {
            return Ok(());
        }
        self.ended = true;
        Err(ContainerError::TooLarge {
            path: self.path.clone(),
            offset: self.offset,
            what: "an access unit",
            size: len as u64,
            limit: MAX_SAMPLE_BYTES as u64,
        })
    }

    /// Appends to the splitter's buffer; says how many bytes, 0 at the end of the file.
    fn fill(&mut self) -> Result<usize, ContainerError> {
        let buffer = &mut self.splitter.buffer;
        let len = buffer.len();
        buffer.resize(len + READ_BYTES, 0);
        let result = loop {
            match self.source.read(&mut buffer[len..]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        buffer.truncate(len + result.as_ref().map_or(0, |n| *n));
        result.map_err(|e| {
            self.ended = true;
            ContainerError::io(&self.path, "read", e)
        })
    }

    fn time_of(&self, sample: u64) -> Duration {
        // Exact to the nanosecond for centuries at any rate allowed.
        Duration::try_from_secs_f64(sample as f64 / self.framerate).unwrap_or(Duration::MAX)
    }
}

/// Picture size in pixels and frame rate of a sequence parameter set.
fn parse_parameters(nal: Nal<'_>) -> Result<VideoInfo, String> {
    let bits = BitReader::new(ByteReader::skipping_h264_header(nal.0));
    let parameters =
        SeqParameterSet::from_bits(bits).map_err(|e| format!("bad H.264 parameter set: {e:?}"))?;
    // Larger than any level of the standard allows; checked before the crate multiplies.
    let macroblocks = parameters.pic_width_in_mbs_minus1.max(parameters.pic_height_in_map_units_minus1);
    if macroblocks > 4096 {
        return Err(format!("bad H.264 parameter set: {macroblocks} macroblocks wide or high"));
    }
    let (width, height) =
        parameters.pixel_dimensions().map_err(|e| format!("bad H.264 parameter set: {e:?}"))?;
    let framerate =
        parameters.fps().filter(|rate| (0.1..=1000.0).contains(rate)).unwrap_or(DEFAULT_FRAMERATE);
    Ok(VideoInfo { width, height, framerate })
}

impl<S: Read + Seek + Send> super::Reader for Reader<S> {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, ContainerError> {
        let Some(data) = self.access_unit()? else { return Ok(None) };
        let timestamp = self.time_of(self.samples);
        self.samples += 1;
        Ok(Some(Sample {
            timestamp,
            duration: self.time_of(self.samples).saturating_sub(timestamp),
            keyframe: bitstream::is_keyframe(Codec::H264, &data),
            discardable: bitstream::is_discardable(Codec::H264, &data),
            data,
        }))
    }

    fn rewind(&mut self) -> Result<(), ContainerError> {
        self.splitter = Splitter::default();
        (self.offset, self.samples, self.ended) = (0, 0, false);
        self.source.seek(SeekFrom::Start(0)).map_err(|e| ContainerError::io(&self.path, "seek", e))?;
        Ok(())
    }
}

/// Writes samples one after the other, unchanged. Their timestamps are not stored: the format has none.
pub(super) struct Writer<S> {
    sink: S,
    path: PathBuf,
    flushed_at: Option<Duration>,
}

impl<S: Write + Send> Writer<S> {
    pub(super) fn new(sink: S, path: PathBuf) -> Self {
        Self { sink, path, flushed_at: None }
    }
}

impl<S: Write + Send> super::Writer for Writer<S> {
    fn write(&mut self, sample: &Sample) -> Result<(), ContainerError> {
        super::checked_len(sample, &self.path)?;
        if !starts_with_start_code(&sample.data) {
            return Err(ContainerError::sample(&self.path, "H.264 without an Annex B start code"));
        }
        self.sink.write_all(&sample.data).map_err(|e| ContainerError::io(&self.path, "write", e))?;
        let flushed_at = *self.flushed_at.get_or_insert(sample.timestamp);
        if sample.timestamp.saturating_sub(flushed_at) >= FLUSH_INTERVAL {
            self.sink.flush().map_err(|e| ContainerError::io(&self.path, "write", e))?;
            self.flushed_at = Some(sample.timestamp);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ContainerError> {
        self.sink.flush().map_err(|e| ContainerError::io(&self.path, "finish", e))
    }
}

fn starts_with_start_code(data: &[u8]) -> bool {
    let zeros = data.iter().take_while(|byte| **byte == 0).count();
    zeros >= 2 && data.get(zeros) == Some(&1)
}

#[cfg(test)]
#[path = "annexb_tests.rs"]
mod tests;
