//! Media files: read clips of encoded media frame by frame, write received media without re-encoding it.
//!
//! One container per codec, chosen so that what is stored is bit-identical to what was carried: IVF for VP8, VP9
//! and AV1, a raw Annex B byte stream for H.264, Ogg for Opus. [`open`] decides by content; [`create`] decides by
//! codec.
//!
//! Invariants:
//! * A file is untrusted input. No reader panics, and none allocates more than [`MAX_SAMPLE_BYTES`] (plus fixed
//!   buffers) at a time, whatever the file claims. Errors name the file, the byte offset and the problem.
//! * Writers put whole samples on disk about once per second of media and when dropped, so a recording cut short by
//!   a crash plays up to its last second.
//! * Nothing here knows a clock or a runtime. Calls block on file IO: from async code, use a blocking thread.

mod annexb;
mod bitstream;
mod codec;
mod error;
mod ivf;
mod ogg_opus;
mod opus;
#[cfg(test)]
mod real_media;

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

pub use self::{
    bitstream::{is_discardable, is_keyframe},
    codec::Codec,
    error::ContainerError,
    opus::{OPUS_SAMPLE_RATE, packet_duration},
};

/// Largest sample read or written, in bytes: 16 MiB, four times the largest video unit the protocol carries by
/// default. A bigger size in a file is damage, not media.
pub const MAX_SAMPLE_BYTES: usize = 16 * 1024 * 1024;

/// Frame rate, in frames per second, of an H.264 stream that does not say its own.
pub const DEFAULT_FRAMERATE: f64 = 30.0;

/// How much media a writer may hold back before it flushes: the most a crash can lose.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Buffer between a file and its reader or writer, in bytes: several frames, so few system calls.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a file holds: one codec, and either picture or sound.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaInfo {
    /// The codec of every sample.
    pub codec: Codec,
    /// Set when the codec is a video codec.
    pub video: Option<VideoInfo>,
    /// Set when the codec is an audio codec.
    pub audio: Option<AudioInfo>,
}

impl MediaInfo {
    /// Describes video. `framerate` is in frames per second.
    pub fn video(codec: Codec, width: u32, height: u32, framerate: f64) -> Self {
        Self { codec, video: Some(VideoInfo { width, height, framerate }), audio: None }
    }

    /// Describes Opus audio with `channels` channels (1 or 2) and the usual encoder delay.
    pub fn opus(channels: u8) -> Self {
        let audio = AudioInfo { channels, ..AudioInfo::default() };
        Self { codec: Codec::Opus, video: None, audio: Some(audio) }
    }
}

/// Picture size and rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoInfo {
    /// Width in pixels, as the container states it; 0 when it does not.
    pub width: u32,
    /// Height in pixels, as the container states it; 0 when it does not.
    pub height: u32,
    /// Frames per second: measured over the first samples where the container has timestamps.
    pub framerate: f64,
}

/// Sound parameters (RFC 7845 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioInfo {
    /// Sample rate of the original input in Hz. Informative: Opus always decodes at [`OPUS_SAMPLE_RATE`].
    pub sample_rate: u32,
    /// Channels: 1 or 2.
    pub channels: u8,
    /// Samples at 48 kHz that a player drops from the start, i.e. the delay of the encoder.
    pub pre_skip: u16,
}

impl AudioInfo {
    /// 6.5 ms at 48 kHz: the delay libopus reports for its default settings.
    pub const DEFAULT_PRE_SKIP: u16 = 312;
}

impl Default for AudioInfo {
    fn default() -> Self {
        Self { sample_rate: OPUS_SAMPLE_RATE, channels: 2, pre_skip: Self::DEFAULT_PRE_SKIP }
    }
}

/// One encoded frame: a VP8 or VP9 frame (or superframe), an AV1 temporal unit, an H.264 access unit, an Opus packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The encoded bytes. H.264 keeps its Annex B start codes and in-band parameter sets.
    pub data: Bytes,
    /// Time since the first sample of the clip, in decoding order. Raw H.264 carries no times: there it is the
    /// number of the sample divided by the frame rate, which with B-frames differs from the display time.
    pub timestamp: Duration,
    /// How long the sample lasts. For Opus it follows from the packet, except for the last packet of a file, which
    /// is shortened to the end the file declares (RFC 7845 section 4.4, end trimming).
    pub duration: Duration,
    /// Decoding can start here. Always true for audio.
    pub keyframe: bool,
    /// No other frame refers to this one. False when that is not known.
    pub discardable: bool,
}

/// Reads the samples of one file in order.
pub trait Reader: Send {
    /// What the file holds.
    fn info(&self) -> &MediaInfo;

    /// The next sample, or `None` at the end.
    ///
    /// # Errors
    /// Damage or an IO failure. The reader then yields `None` until [`rewind`](Self::rewind).
    fn next_sample(&mut self) -> Result<Option<Sample>, ContainerError>;

    /// Goes back to the first sample, whose timestamp is zero again.
    ///
    /// # Errors
    /// An IO failure.
    fn rewind(&mut self) -> Result<(), ContainerError>;
}

/// Writes samples to one file in order.
///
/// Dropping a writer closes the file as [`finish`](Self::finish) does, but hides errors.
pub trait Writer: Send {
    /// Appends one sample. Timestamps may start anywhere and must not decrease.
    ///
    /// # Errors
    /// [`ContainerError::Sample`] when the container cannot hold the sample, which is then not written; the writer
    /// stays usable. [`ContainerError::Io`] when the disk fails.
    fn write(&mut self, sample: &Sample) -> Result<(), ContainerError>;

    /// Completes the file: final frame count, end-of-stream mark, everything flushed to the operating system.
    ///
    /// # Errors
    /// An IO failure.
    fn finish(self: Box<Self>) -> Result<(), ContainerError>;
}

/// What a reader cannot learn from the file itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// Frame rate of a raw H.264 stream in frames per second. Default: the timing in its sequence parameter set,
    /// else [`DEFAULT_FRAMERATE`]. Must be above 0 and at most 1000. Ignored for other formats.
    pub h264_framerate: Option<f64>,
}

/// Opens a media file, whatever its extension, with default options.
///
/// # Errors
/// See [`open_with`].
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Reader>, ContainerError> {
    open_with(path, OpenOptions::default())
}

/// Opens a media file. The format is recognised by its first bytes: `DKIF` (IVF), `OggS` (Ogg), an Annex B start code
/// followed by a plausible H.264 NAL unit.
///
/// # Errors
/// [`ContainerError::Unsupported`] for another format or codec, [`ContainerError::Malformed`] for damage in the
/// headers, [`ContainerError::Options`] for a bad option, [`ContainerError::Io`] otherwise.
pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Box<dyn Reader>, ContainerError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| ContainerError::io(path, "open", source))?;
    open_source(BufReader::with_capacity(BUFFER_BYTES, file), path, options)
}

/// Opens media held in anything that can be read and rewound, such as a [`std::io::Cursor`] over a clip in memory.
/// `name` stands for the file in errors.
///
/// # Errors
/// As [`open_with`].
pub fn open_source(
    mut source: impl Read + Seek + Send + 'static,
    name: impl AsRef<Path>,
    options: OpenOptions,
) -> Result<Box<dyn Reader>, ContainerError> {
    let name = name.as_ref();
    let head = read_head(&mut source).map_err(|source| ContainerError::io(name, "read", source))?;
    let path = PathBuf::from(name);
    if head.starts_with(ivf::MAGIC) {
        Ok(Box::new(ivf::Reader::new(source, path)?))
    } else if head.starts_with(b"OggS") {
        Ok(Box::new(ogg_opus::Reader::new(source, path)?))
    } else if annexb::looks_like_h264(&head) {
        Ok(Box::new(annexb::Reader::new(source, path, options)?))
    } else {
        Err(ContainerError::Unsupported { path, found: describe_unknown(&head) })
    }
}

/// Creates (or truncates) a file for samples of `info.codec`; see [`extension`] for the usual ending.
///
/// # Errors
/// [`ContainerError::Options`] when `info` does not fit the container (no video part for a video codec, picture over
/// 65535 pixels wide or high in IVF, channels other than 1 or 2), [`ContainerError::Io`] otherwise.
pub fn create(path: impl AsRef<Path>, info: &MediaInfo) -> Result<Box<dyn Writer>, ContainerError> {
    let path = path.as_ref();
    let path_buf = path.to_path_buf();
    let start = || {
        let file = File::create(path).map_err(|source| ContainerError::io(path, "create", source))?;
        Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
    };
    match info.codec {
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 => {
            let header = ivf::Header::for_info(info, path)?;
            Ok(Box::new(ivf::Writer::new(start()?, path_buf, &header)?))
        }
        Codec::H264 => Ok(Box::new(annexb::Writer::new(start()?, path_buf))),
        Codec::Opus => {
            let audio = ogg_opus::checked_audio(info, path)?;
            Ok(Box::new(ogg_opus::Writer::new(start()?, path_buf, audio)?))
        }
    }
}

/// The usual file name extension, without the dot, of what [`create`] writes for `codec`.
pub fn extension(codec: Codec) -> &'static str {
    match codec {
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 => "ivf",
        Codec::H264 => "h264",
        Codec::Opus => "ogg",
    }
}

/// The length of a sample a container can hold: not empty, not over [`MAX_SAMPLE_BYTES`].
fn checked_len(sample: &Sample, path: &Path) -> Result<u32, ContainerError> {
    match u32::try_from(sample.data.len()) {
        Ok(len) if (1..=MAX_SAMPLE_BYTES).contains(&sample.data.len()) => Ok(len),
        _ => {
            let problem = format!("{} bytes; 1 to {MAX_SAMPLE_BYTES} are allowed", sample.data.len());
            Err(ContainerError::sample(path, problem))
        }
    }
}

/// The first bytes of a source, for recognition; leaves the source at its start.
fn read_head(source: &mut (impl Read + Seek)) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(64);
    source.seek(SeekFrom::Start(0))?;
    source.by_ref().take(64).read_to_end(&mut head)?;
    source.seek(SeekFrom::Start(0))?;
    Ok(head)
}

/// Names what an unreadable file seems to be, so that the user knows what to convert.
fn describe_unknown(head: &[u8]) -> &'static str {
    if head.is_empty() {
        "an empty file"
    } else if head.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
        "a WebM or Matroska file"
    } else if head.get(4..8) == Some(b"ftyp") {
        "an MP4 file"
    } else if head.starts_with(b"RIFF") {
        "a RIFF (WAV or AVI) file"
    } else {
        "an unknown format"
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    pub(super) fn open_bytes(bytes: Vec<u8>) -> Result<Box<dyn Reader>, ContainerError> {
        open_source(Cursor::new(bytes), "test", OpenOptions::default())
    }

    /// Reads to the end or to the first error, twice, as a looping publisher does.
    pub(super) fn drain(bytes: Vec<u8>) {
        let Ok(mut reader) = open_bytes(bytes) else { return };
        for _ in 0..2 {
            while let Ok(Some(sample)) = reader.next_sample() {
                assert!(!sample.data.is_empty());
            }
            assert!(matches!(reader.next_sample(), Ok(None)));
            reader.rewind().expect("rewinding memory cannot fail");
        }
    }

    #[test]
    fn unknown_files_are_named_with_what_is_supported() {
        for (bytes, found) in [
            (&b""[..], "empty file"),
            (b"\x1A\x45\xDF\xA3 webm", "WebM"),
            (b"\0\0\0\x20ftypisom", "MP4"),
            (b"hello", "unknown"),
        ] {
            let error = open_bytes(bytes.to_vec()).err().expect("must not open").to_string();
            assert!(error.contains(found) && error.contains("IVF") && error.contains("test"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = open("no-such-file.ivf").err().expect("must not open").to_string();
        assert!(error.contains("no-such-file.ivf"), "{error}");
    }

    #[test]
    fn create_checks_the_description() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for info in [
            MediaInfo { codec: Codec::Vp8, video: None, audio: None },
            MediaInfo::video(Codec::Av1, 70_000, 100, 30.0),
            MediaInfo::opus(3),
        ] {
            let result = create(dir.path().join("x"), &info);
            assert!(matches!(result, Err(ContainerError::Options { .. })), "{info:?}");
        }
        assert!(!dir.path().join("x").exists(), "a refused description must not truncate a file");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            drain(bytes.clone());
            for magic in [&b"DKIF\0\0\x20\0VP80"[..], b"OggS", b"\0\0\0\x01\x67", b"\0\0\x01\x65"] {
                drain([magic, &bytes[..]].concat());
            }
            for codec in Codec::ALL {
                is_keyframe(codec, &bytes);
                is_discardable(codec, &bytes);
            }
        }
    }
}
