//! Ogg Opus (RFC 7845): Opus packets in Ogg pages (RFC 3533).
//!
//! Page parsing, checksums and page assembly are the `ogg` crate's. Around it this module bounds how much is read for
//! one packet (the crate glues a packet together from as many pages as claim to continue it), checks the Opus
//! headers, and keeps the granule positions.
//!
//! Not supported: more than two channels, and streams chained after the first. Other streams multiplexed into the
//! file are passed over. The output gain of the header is not kept, since packets travel without it.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use ogg::{OggReadError, Packet, PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{
    AudioInfo, Codec, ContainerError, FLUSH_INTERVAL, MAX_SAMPLE_BYTES, MediaInfo, OPUS_SAMPLE_RATE, Sample,
    opus,
};

/// 48 frames of 1275 bytes (RFC 6716 section 3.4) and their lengths fit; a longer packet is not Opus.
const MAX_PACKET_BYTES: usize = 64 * 1024;

/// The longest silence a writer bridges. Beyond it a timestamp is more likely wrong than late.
const MAX_GAP: Duration = Duration::from_secs(12 * 3600);

/// Page granule position meaning "no packet ends here" (RFC 3533 section 6).
const NO_GRANULE: u64 = u64::MAX;

/// A source that knows its position and reads only so much until [`refill`](Self::refill).
struct Metered<S> {
    source: S,
    position: u64,
    left: u64,
}

impl<S> Metered<S> {
    fn refill(&mut self) {
        self.left = MAX_SAMPLE_BYTES as u64;
    }
}

impl<S: Read> Read for Metered<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "packet without end"));
        }
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.source.read(&mut buffer[..len])?;
        self.position += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

impl<S: Seek> Seek for Metered<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.source.seek(to)?;
        Ok(self.position)
    }
}

/// Reads the first Opus stream of an Ogg file.
pub(super) struct Reader<S: Read + Seek> {
    /// `None` only after a failed rewind.
    packets: Option<PacketReader<Metered<S>>>,
    path: PathBuf,
    info: MediaInfo,
    serial: u32,
    /// Samples at 48 kHz delivered so far.
    position: u64,
    /// Granule position of the start of the first packet, known once the first page of audio ends.
    origin: Option<u64>,
    ended: bool,
}

impl<S: Read + Seek + Send> Reader<S> {
    pub(super) fn new(source: S, path: PathBuf) -> Result<Self, ContainerError> {
        let mut reader = Self {
            packets: None,
            path,
            info: MediaInfo::opus(2),
            serial: 0,
            position: 0,
            origin: None,
            ended: false,
        };
        reader.start(source)?;
        Ok(reader)
    }

    /// Reads the headers from the start of the source, so that the next packet is audio.
    fn start(&mut self, mut source: S) -> Result<(), ContainerError> {
        source.seek(SeekFrom::Start(0)).map_err(|e| ContainerError::io(&self.path, "seek", e))?;
        let metered = Metered { source, position: 0, left: MAX_SAMPLE_BYTES as u64 };
        self.packets = Some(PacketReader::new(metered));
        (self.position, self.origin, self.ended) = (0, None, false);
        // The first packets of all streams come first (RFC 3533 section 4).
        let head = loop {
            match self.packet()? {
                Some(packet) if packet.first_in_stream() && packet.data.starts_with(b"OpusHead") => {
                    break packet;
                }
                Some(packet) if packet.first_in_stream() => {}
                _ => {
                    let found = "an Ogg file without an Opus stream";
                    return Err(ContainerError::Unsupported { path: self.path.clone(), found });
                }
            }
        };
        self.serial = head.stream_serial();
        self.info = MediaInfo { codec: Codec::Opus, video: None, audio: Some(self.decode_head(&head.data)?) };
        match self.own_packet()? {
            Some(packet) if packet.data.starts_with(b"OpusTags") => Ok(()),
            _ => Err(self.malformed("the Opus comment header (OpusTags) is missing")),
        }
    }

    /// RFC 7845 section 5.1.
    fn decode_head(&self, head: &[u8]) -> Result<AudioInfo, ContainerError> {
        let &[_, _, _, _, _, _, _, _, version, channels, skip0, skip1, r0, r1, r2, r3, _, _, family, ..] =
            head
        else {
            return Err(self.malformed(format!("Opus header of {} bytes, expected 19 or more", head.len())));
        };
        if version & 0xF0 != 0 {
            return Err(self.malformed(format!("Opus header version {version}, expected 1")));
        }
        if family != 0 || !(1..=2).contains(&channels) {
            let found = "Ogg with Opus in more than two channels or another channel mapping";
            return Err(ContainerError::Unsupported { path: self.path.clone(), found });
        }
        let sample_rate = match u32::from_le_bytes([r0, r1, r2, r3]) {
            0 => OPUS_SAMPLE_RATE,
            rate => rate,
        };
        Ok(AudioInfo { sample_rate, channels, pre_skip: u16::from_le_bytes([skip0, skip1]) })
    }

    fn offset(&self) -> u64 {
        self.packets.as_ref().map_or(0, |packets| packets.get_ref().position)
    }

    fn malformed(&self, problem: impl Into<String>) -> ContainerError {
        ContainerError::malformed(&self.path, self.offset(), problem)
    }

    /// The next packet of any stream.
    fn packet(&mut self) -> Result<Option<Packet>, ContainerError> {
        let Some(packets) = &mut self.packets else { return Ok(None) };
        let error = match packets.read_packet() {
            Ok(packet) => return Ok(packet),
            Err(error) => error,
        };
        Err(match error {
            OggReadError::ReadError(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                self.malformed("file ends inside an Ogg page")
            }
            OggReadError::ReadError(e) if e.kind() == io::ErrorKind::FileTooLarge => {
                ContainerError::TooLarge {
                    path: self.path.clone(),
                    offset: self.offset().saturating_sub(MAX_SAMPLE_BYTES as u64),
                    what: "an Ogg packet, or data between packets,",
                    size: MAX_SAMPLE_BYTES as u64 + 1,
                    limit: MAX_SAMPLE_BYTES as u64,
                }
            }
            OggReadError::ReadError(e) => ContainerError::io(&self.path, "read", e),
            OggReadError::HashMismatch(..) => self.malformed("Ogg page with a wrong checksum"),
            other => self.malformed(format!("damaged Ogg page: {other}")),
        })
    }

    /// The next packet of the Opus stream.
    fn own_packet(&mut self) -> Result<Option<Packet>, ContainerError> {
        loop {
            let packet = self.packet()?;
            if packet.as_ref().is_none_or(|packet| packet.stream_serial() == self.serial) {
                if let Some(packets) = &mut self.packets {
                    packets.get_mut().refill();
                }
                return Ok(packet);
            }
        }
    }

    fn sample(&mut self, packet: Packet) -> Result<Sample, ContainerError> {
        if packet.data.len() > MAX_PACKET_BYTES {
            return Err(ContainerError::TooLarge {
                path: self.path.clone(),
                offset: self.offset(),
                what: "an Opus packet (ending before here)",
                size: packet.data.len() as u64,
                limit: MAX_PACKET_BYTES as u64,
            });
        }
        let samples = opus::packet_samples(&packet.data)
            .ok_or_else(|| self.malformed("Opus packet without frames or longer than 120 ms"))?;
        let start = self.position;
        let mut end = start + u64::from(samples);
        self.position = end;
        if packet.last_in_page() && packet.absgp_page() != NO_GRANULE {
            // A recording of a stream joined midway starts above zero (RFC 7845 section 4.3).
            let origin = *self.origin.get_or_insert(packet.absgp_page().saturating_sub(end));
            if packet.last_in_stream() {
                end = end.min(packet.absgp_page().saturating_sub(origin)).max(start);
            }
        }
        self.ended = packet.last_in_stream();
        Ok(Sample {
            data: Bytes::from(packet.data),
            timestamp: opus::samples_to_duration(start),
            duration: opus::samples_to_duration(end - start),
            keyframe: true,
            discardable: false,
        })
    }
}

impl<S: Read + Seek + Send> super::Reader for Reader<S> {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, ContainerError> {
        if self.ended {
            return Ok(None);
        }
        let sample =
            self.own_packet().and_then(|packet| packet.map(|packet| self.sample(packet)).transpose());
        if sample.is_err() {
            self.ended = true;
        }
        sample
    }

    fn rewind(&mut self) -> Result<(), ContainerError> {
        // A fresh parser: after a seek the crate's own turns lenient about damage.
        match self.packets.take() {
            Some(packets) => self.start(packets.into_inner().source),
            None => Err(self.malformed("the file could not be rewound before")),
        }
    }
}

/// Checks that `info` describes audio this container can hold.
pub(super) fn checked_audio(info: &MediaInfo, path: &Path) -> Result<AudioInfo, ContainerError> {
    match info.audio {
        Some(audio) if (1..=2).contains(&audio.channels) => Ok(audio),
        Some(audio) => {
            let problem = format!("Opus with {} channels; 1 or 2 can be stored", audio.channels);
            Err(ContainerError::options(path, problem))
        }
        None => Err(ContainerError::options(path, "audio without channel count")),
    }
}

/// A packet waiting for the next one, because the last of a file is marked.
struct Pending {
    data: Vec<u8>,
    /// Granule position after the packet.
    end: u64,
    /// The same if the file ends here: less when the sample was shortened.
    trimmed_end: u64,
}

/// Writes Ogg Opus with a page per second. Gaps in the timestamps are filled with packets that ask the decoder for
/// concealment, as RFC 7845 section 4.1 wants for streams with loss, so that a recording keeps its timing.
pub(super) struct Writer<S: Write> {
    packets: PacketWriter<'static, S>,
    path: PathBuf,
    serial: u32,
    /// Timestamp of the first sample.
    origin: Option<Duration>,
    /// Granule position after the last packet, pending or written.
    position: u64,
    /// Granule position at which the current page started.
    page_start: u64,
    pending: Option<Pending>,
    finished: bool,
}

impl<S: Write + Send> Writer<S> {
    pub(super) fn new(sink: S, path: PathBuf, audio: AudioInfo) -> Result<Self, ContainerError> {
        let mut packets = PacketWriter::new(sink);
        // Random, so that files can be concatenated into a chain (RFC 3533 section 4).
        let serial = uuid::Uuid::new_v4().as_fields().0;
        for header in [encode_head(audio), encode_tags()] {
            packets
                .write_packet(header, serial, PacketWriteEndInfo::EndPage, 0)
                .map_err(|e| ContainerError::io(&path, "write", e))?;
        }
        let (position, page_start) = (0, 0);
        Ok(Self { packets, path, serial, origin: None, position, page_start, pending: None, finished: false })
    }
}

impl<S: Write> Writer<S> {
    /// Puts a packet that is not the last one into the stream; ends and flushes the page once it holds a second.
    fn put(&mut self, data: Vec<u8>, end: u64) -> io::Result<()> {
        let page_full = end - self.page_start >= opus::duration_to_samples(FLUSH_INTERVAL);
        let info = if page_full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
        self.packets.write_packet(data, self.serial, info, end)?;
        if page_full {
            self.page_start = end;
            self.packets.inner_mut().flush()?;
        }
        Ok(())
    }

    fn put_pending(&mut self) -> io::Result<()> {
        match self.pending.take() {
            Some(pending) => self.put(pending.data, pending.end),
            None => Ok(()),
        }
    }

    /// Fills `gap` samples with as many concealment packets as fit.
    fn put_concealment(&mut self, toc: u8, gap: u64) -> io::Result<()> {
        self.put_pending()?;
        let step = u64::from(opus::frame_samples(toc));
        for _ in 0..gap / step {
            self.position += step;
            self.put(opus::concealment_packet(toc), self.position)?;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.finished = true;
        if let Some(last) = self.pending.take() {
            let info = PacketWriteEndInfo::EndStream;
            self.packets.write_packet(last.data, self.serial, info, last.trimmed_end)?;
        }
        self.packets.inner_mut().flush()
    }
}

impl<S: Write + Send> super::Writer for Writer<S> {
    fn write(&mut self, sample: &Sample) -> Result<(), ContainerError> {
        let samples = opus::packet_samples(&sample.data)
            .filter(|_| sample.data.len() <= MAX_PACKET_BYTES)
            .ok_or_else(|| ContainerError::sample(&self.path, "not an Opus packet"))?;
        let toc = sample.data[0];
        let origin = *self.origin.get_or_insert(sample.timestamp);
        let expected = opus::samples_to_duration(self.position);
        let gap = sample.timestamp.saturating_sub(origin).saturating_sub(expected);
        if gap > MAX_GAP {
            return Err(ContainerError::sample(
                &self.path,
                format!("timestamp {gap:?} after the previous packet"),
            ));
        }
        // A quarter of a frame of jitter is no gap, and does not hide one.
        let tolerance = u64::from(opus::frame_samples(toc)) / 4;
        self.put_concealment(toc, opus::duration_to_samples(gap) + tolerance)
            .map_err(|e| ContainerError::io(&self.path, "write", e))?;
        let start = self.position;
        self.position += u64::from(samples);
        let trimmed = opus::duration_to_samples(sample.duration).min(samples.into());
        self.pending =
            Some(Pending { data: sample.data.to_vec(), end: self.position, trimmed_end: start + trimmed });
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ContainerError> {
        self.close().map_err(|e| ContainerError::io(&self.path, "finish", e))
    }
}

impl<S: Write> Drop for Writer<S> {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: whoever wants to know calls `finish`.
            let _ = self.close();
        }
    }
}

/// RFC 7845 section 5.1: version 1, no gain, channel mapping family 0.
fn encode_head(audio: AudioInfo) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(audio.channels);
    head.extend(audio.pre_skip.to_le_bytes());
    head.extend(audio.sample_rate.to_le_bytes());
    head.extend([0, 0, 0]);
    head
}

/// RFC 7845 section 5.2: a vendor string and no comments.
fn encode_tags() -> Vec<u8> {
    let vendor = b"Dark Tower";
    let mut tags = b"OpusTags".to_vec();
    tags.extend((vendor.len() as u32).to_le_bytes());
    tags.extend(vendor);
    tags.extend(0_u32.to_le_bytes());
    tags
}

#[cfg(test)]
#[path = "ogg_opus_tests.rs"]
mod tests;
