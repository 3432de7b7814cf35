//! IVF: a 32-byte file header, then frames, each after a 12-byte header. All integers little-endian.
//!
//! | file header | size | | frame header | size | |
//! |---|---|---|---|---|---|
//! | 0 | 4 | `DKIF` | 0 | 4 | payload length |
//! | 4 | 2 | version, 0 | 4 | 8 | timestamp in ticks |
//! | 6 | 2 | header length, 32 | | | |
//! | 8 | 4 | codec: `VP80`, `VP90`, `AV01` | | | |
//! | 12 | 2+2 | width, height | | | |
//! | 16 | 4+4 | ticks per `n` seconds, `n` | | | |
//! | 24 | 4 | number of frames | | | |
//! | 28 | 4 | unused | | | |
//!
//! Written out here rather than taken from the `ivf` crate: as of 0.1.4 that one allocates whatever length a frame
//! header claims (up to 4 GiB), panics when the disk fails, and can only write AV1 with a frame count of 0.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Codec, ContainerError, DEFAULT_FRAMERATE, FLUSH_INTERVAL, MAX_SAMPLE_BYTES, MediaInfo, Sample, bitstream,
};

pub(super) const MAGIC: &[u8] = b"DKIF";
const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 12;

/// The clock of video in RTP and MPEG: every usual frame rate, 30000/1001 included, is a whole number of its ticks.
const WRITTEN_TICKS_PER_SECOND: u32 = 90_000;

/// Frames looked at to measure the frame rate when opening.
const FRAMERATE_WINDOW: usize = 64;

/// The file header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    codec: Codec,
    width: u16,
    height: u16,
    /// `ticks` ticks last `seconds` seconds; both above 0.
    ticks: u32,
    seconds: u32,
}

impl Header {
    /// The header to write for `info`.
    pub(super) fn for_info(info: &MediaInfo, path: &Path) -> Result<Self, ContainerError> {
        let video = info.video.ok_or_else(|| ContainerError::options(path, "video without picture size"))?;
        let side = |pixels: u32| {
            u16::try_from(pixels).map_err(|_| {
                ContainerError::options(path, format!("{pixels} pixels do not fit IVF, the limit is 65535"))
            })
        };
        let (width, height) = (side(video.width)?, side(video.height)?);
        Ok(Self { codec: info.codec, width, height, ticks: WRITTEN_TICKS_PER_SECOND, seconds: 1 })
    }

    fn encode(&self) -> [u8; HEADER_LEN] {
        let four_cc: &[u8; 4] = match self.codec {
            Codec::Vp9 => b"VP90",
            Codec::Av1 => b"AV01",
            _ => b"VP80",
        };
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(MAGIC);
        out[6..8].copy_from_slice(&(HEADER_LEN as u16).to_le_bytes());
        out[8..12].copy_from_slice(four_cc);
        out[12..14].copy_from_slice(&self.width.to_le_bytes());
        out[14..16].copy_from_slice(&self.height.to_le_bytes());
        out[16..20].copy_from_slice(&self.ticks.to_le_bytes());
        out[20..24].copy_from_slice(&self.seconds.to_le_bytes());
        out
    }

    /// Decodes the header and says at which byte the first frame starts.
    fn decode(raw: &[u8; HEADER_LEN], path: &Path) -> Result<(Self, u64), ContainerError> {
        let u16_at = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        if u16_at(4) != 0 {
            return Err(ContainerError::malformed(path, 4, format!("IVF version {}, expected 0", u16_at(4))));
        }
        let header_len = u16_at(6);
        if usize::from(header_len) < HEADER_LEN {
            return Err(ContainerError::malformed(
                path,
                6,
                format!("IVF header length {header_len} is below 32"),
            ));
        }
        let codec = match &raw[8..12] {
            b"VP80" => Codec::Vp8,
            b"VP90" => Codec::Vp9,
            b"AV01" => Codec::Av1,
            _ => {
                return Err(ContainerError::Unsupported {
                    path: path.into(),
                    found: "IVF with another codec",
                });
            }
        };
        let (ticks, seconds) = (u32_at(16), u32_at(20));
        if ticks == 0 || seconds == 0 {
            return Err(ContainerError::malformed(path, 16, format!("IVF time base {seconds}/{ticks}")));
        }
        let header = Self { codec, width: u16_at(12), height: u16_at(14), ticks, seconds };
        Ok((header, header_len.into()))
    }

    /// Time of a number of ticks, rounded down to the nanosecond; `None` beyond 584 years.
    fn time(&self, ticks: u64) -> Option<Duration> {
        let nanos = u128::from(ticks) * u128::from(self.seconds) * 1_000_000_000 / u128::from(self.ticks);
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }
}

/// A frame header and where it starts.
#[derive(Clone, Copy)]
struct FrameHeader {
    offset: u64,
    len: usize,
    ticks: u64,
}

/// Reads IVF. Frames of length 0 (dropped by the encoder) are skipped.
pub(super) struct Reader<S> {
    source: S,
    path: PathBuf,
    header: Header,
    info: MediaInfo,
    first_frame: u64,
    first_ticks: u64,
    /// The frame after the last one returned, read ahead because its time ends the last one. The outer `None` before
    /// the first frame; an error found ahead waits until it is asked for.
    ahead: Option<Result<Option<FrameHeader>, ContainerError>>,
    offset: u64,
}

impl<S: Read + Seek + Send> Reader<S> {
    pub(super) fn new(mut source: S, path: PathBuf) -> Result<Self, ContainerError> {
        let mut raw = [0; HEADER_LEN];
        let got = read_full(&mut source, &mut raw).map_err(|e| ContainerError::io(&path, "read", e))?;
        if got < HEADER_LEN {
            let problem = format!("file ends inside the IVF header ({got} of {HEADER_LEN} bytes)");
            return Err(ContainerError::malformed(&path, got as u64, problem));
        }
        let (header, first_frame) = Header::decode(&raw, &path)?;
        let info =
            MediaInfo::video(header.codec, header.width.into(), header.height.into(), DEFAULT_FRAMERATE);
        let mut reader = Self {
            source,
            path,
            header,
            info,
            first_frame,
            first_ticks: 0,
            ahead: None,
            offset: first_frame,
        };
        reader.measure()?;
        super::Reader::rewind(&mut reader)?;
        Ok(reader)
    }

    /// Learns the first timestamp and the mean frame rate from the first frames. Damage further in is left for
    /// [`next_sample`](super::Reader::next_sample) to report, after the good frames before it.
    fn measure(&mut self) -> Result<(), ContainerError> {
        super::Reader::rewind(self)?;
        let Some(first) = self.frame_header()? else {
            return Err(ContainerError::malformed(&self.path, self.offset, "IVF file without frames"));
        };
        self.first_ticks = first.ticks;
        let (mut frame, mut last, mut steps) = (first, first.ticks, 0_u32);
        for _ in 1..FRAMERATE_WINDOW {
            self.seek(frame.offset + (FRAME_HEADER_LEN + frame.len) as u64)?;
            match self.frame_header() {
                Ok(Some(next)) => frame = next,
                _ => break,
            }
            if frame.ticks > last {
                last = frame.ticks;
                steps += 1;
            }
        }
        let measured = self.header.time(last.saturating_sub(first.ticks)).unwrap_or_default();
        let framerate = if steps > 0 && !measured.is_zero() {
            f64::from(steps) / measured.as_secs_f64()
        } else {
            f64::from(self.header.ticks) / f64::from(self.header.seconds)
        };
        let plausible = (0.001..=1000.0).contains(&framerate);
        let framerate = if plausible { framerate } else { DEFAULT_FRAMERATE };
        self.info = MediaInfo::video(
            self.header.codec,
            self.header.width.into(),
            self.header.height.into(),
            framerate,
        );
        Ok(())
    }

    fn seek(&mut self, offset: u64) -> Result<(), ContainerError> {
        self.source.seek(SeekFrom::Start(offset)).map_err(|e| ContainerError::io(&self.path, "seek", e))?;
        self.offset = offset;
        Ok(())
    }

    /// The next header of a frame that is not empty; `None` at the end of the file.
    fn frame_header(&mut self) -> Result<Option<FrameHeader>, ContainerError> {
        loop {
            let offset = self.offset;
            let mut raw = [0; FRAME_HEADER_LEN];
            let got = read_full(&mut self.source, &mut raw)
                .map_err(|e| ContainerError::io(&self.path, "read", e))?;
            self.offset += got as u64;
            if got == 0 {
                return Ok(None);
            }
            if got < FRAME_HEADER_LEN {
                let problem = format!("file ends inside a frame header ({got} of {FRAME_HEADER_LEN} bytes)");
                return Err(ContainerError::malformed(&self.path, offset, problem));
            }
            let [l0, l1, l2, l3, ticks @ ..] = raw;
            let claimed = u32::from_le_bytes([l0, l1, l2, l3]);
            let ticks = u64::from_le_bytes(ticks);
            match usize::try_from(claimed) {
                Ok(0) => {}
                Ok(len) if len <= MAX_SAMPLE_BYTES => return Ok(Some(FrameHeader { offset, len, ticks })),
                _ => {
                    return Err(ContainerError::TooLarge {
                        path: self.path.clone(),
                        offset,
                        what: "a frame",
                        size: claimed.into(),
                        limit: MAX_SAMPLE_BYTES as u64,
                    });
                }
            }
        }
    }

    fn sample(&mut self, frame: FrameHeader) -> Result<Sample, ContainerError> {
        // Grows with what is really there, not with what the header claims.
        let mut data = Vec::with_capacity(frame.len.min(64 * 1024));
        let wanted = frame.len as u64;
        (&mut self.source)
            .take(wanted)
            .read_to_end(&mut data)
            .map_err(|e| ContainerError::io(&self.path, "read", e))?;
        self.offset += data.len() as u64;
        if data.len() < frame.len {
            let problem = format!("file ends inside a frame ({} of {wanted} bytes)", data.len());
            return Err(ContainerError::malformed(&self.path, frame.offset, problem));
        }
        let timestamp = self
            .header
            .time(frame.ticks.saturating_sub(self.first_ticks))
            .ok_or_else(|| ContainerError::malformed(&self.path, frame.offset, "frame time out of range"))?;
        let ahead = self.frame_header();
        let next = match &ahead {
            Ok(Some(next)) => self.header.time(next.ticks.saturating_sub(self.first_ticks)),
            _ => None,
        };
        self.ahead = Some(ahead);
        let framerate = self.info.video.map_or(DEFAULT_FRAMERATE, |video| video.framerate);
        let duration = next
            .map_or_else(|| Duration::from_secs_f64(1.0 / framerate), |next| next.saturating_sub(timestamp));
        Ok(Sample {
            keyframe: bitstream::is_keyframe(self.header.codec, &data),
            discardable: bitstream::is_discardable(self.header.codec, &data),
            data: Bytes::from(data),
            timestamp,
            duration,
        })
    }
}

impl<S: Read + Seek + Send> super::Reader for Reader<S> {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, ContainerError> {
        let next = match self.ahead.replace(Ok(None)) {
            Some(next) => next?,
            None => self.frame_header()?,
        };
        next.map(|frame| self.sample(frame)).transpose()
    }

    fn rewind(&mut self) -> Result<(), ContainerError> {
        self.ahead = None;
        self.seek(self.first_frame)
    }
}

/// Reads until `buffer` is full or the source ends; says how much it got.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match source.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Writes IVF in ticks of 1/90000 s. Frames that would share a tick move to the next one.
pub(super) struct Writer<S: Write + Seek> {
    sink: S,
    path: PathBuf,
    frames: u32,
    last_tick: Option<u64>,
    flushed_at: Duration,
    finished: bool,
}

impl<S: Write + Seek + Send> Writer<S> {
    pub(super) fn new(mut sink: S, path: PathBuf, header: &Header) -> Result<Self, ContainerError> {
        sink.write_all(&header.encode()).map_err(|e| ContainerError::io(&path, "write", e))?;
        Ok(Self { sink, path, frames: 0, last_tick: None, flushed_at: Duration::ZERO, finished: false })
    }
}

impl<S: Write + Seek> Writer<S> {
    /// Brings the frame count in the header up to date and hands everything to the operating system.
    fn sync(&mut self) -> io::Result<()> {
        self.sink.seek(SeekFrom::Start(24))?;
        self.sink.write_all(&self.frames.to_le_bytes())?;
        self.sink.seek(SeekFrom::End(0))?;
        self.sink.flush()
    }
}

impl<S: Write + Seek + Send> super::Writer for Writer<S> {
    fn write(&mut self, sample: &Sample) -> Result<(), ContainerError> {
        let len = super::checked_len(sample, &self.path)?;
        let nominal = (sample.timestamp.as_nanos() * u128::from(WRITTEN_TICKS_PER_SECOND) + 500_000_000)
            / 1_000_000_000;
        let tick = u64::try_from(nominal)
            .ok()
            .map(|tick| self.last_tick.map_or(tick, |last| tick.max(last.saturating_add(1))))
            .filter(|tick| *tick < i64::MAX as u64)
            .ok_or_else(|| ContainerError::sample(&self.path, "timestamp out of range"))?;
        let mut frame_header = [0; FRAME_HEADER_LEN];
        frame_header[..4].copy_from_slice(&len.to_le_bytes());
        frame_header[4..].copy_from_slice(&tick.to_le_bytes());
        let written = self.sink.write_all(&frame_header).and_then(|()| self.sink.write_all(&sample.data));
        written.map_err(|e| ContainerError::io(&self.path, "write", e))?;
        self.last_tick = Some(tick);
        self.frames = self.frames.saturating_add(1);
        if self.frames == 1 {
            self.flushed_at = sample.timestamp;
        } else if sample.timestamp.saturating_sub(self.flushed_at) >= FLUSH_INTERVAL {
            self.sync().map_err(|e| ContainerError::io(&self.path, "write", e))?;
            self.flushed_at = sample.timestamp;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ContainerError> {
        self.finished = true;
        self.sync().map_err(|e| ContainerError::io(&self.path, "finish", e))
    }
}

impl<S: Write + Seek> Drop for Writer<S> {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: whoever wants to know calls `finish`.
            let _ = self.sync();
        }
    }
}

#[cfg(test)]
#[path = "ivf_tests.rs"]
mod tests;
