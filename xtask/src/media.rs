//! The clips that demo and tests publish: real encoded video and speech, made once on this machine.
//!
//! `target/media` is a link to `target/media-<recipe>`, a folder named by a hash of everything that decides its content.
//! A changed recipe makes a new folder; the link moves in one rename, so nobody ever sees half a set.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process;
use crate::setup;
use crate::workspace::Workspace;

/// Make the clips that demo and tests publish, into target/media (a few seconds, once).
///
/// Video is a moving test pattern with a frame counter in VP8, VP9, H.264 and AV1, encoded as a live encoder would: a fixed
/// key frame interval, no frame that refers to a later one, no hidden frame. Speech is Opus in 20 ms packets. manifest.json
/// lists the files. Tests look for the folder in DARKTOWER_MEDIA_DIR, else in target/media.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make the clips again even when they are there
    #[arg(long)]
    force: bool,
}

/// Raise it when the code below changes what a clip holds and the descriptions do not show it.
const RECIPE_VERSION: u32 = 1;

/// Any of these serves the burned-in clock; without one the pattern's own clock remains.
const FONTS: &[&str] = &[
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf",
];

/// One video clip.
struct Video {
    file: &'static str,
    codec: Codec,
    width: u32,
    height: u32,
    fps: u32,
    seconds: u32,
    keyframe_interval_frames: u32,
    bitrate_kbps: u32,
    /// Turns the colours, so that two clips are told apart at a glance.
    hue_degrees: u32,
}

#[derive(Clone, Copy)]
enum Codec {
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl Codec {
    fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
            Self::Av1 => "av1",
        }
    }

    /// Container and encoder with its live settings. Common to all: what goes in comes out, one unit per frame, in order.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            // The alternate reference is the hidden frame of VP8 and VP9.
            Self::Vp8 => &[
                "-f",
                "ivf",
                "-c:v",
                "libvpx",
                "-deadline",
                "realtime",
                "-cpu-used",
                "6",
                "-auto-alt-ref",
                "0",
                "-lag-in-frames",
                "0",
            ],
            Self::Vp9 => &[
                "-f",
                "ivf",
                "-c:v",
                "libvpx-vp9",
                "-deadline",
                "realtime",
                "-cpu-used",
                "7",
                "-auto-alt-ref",
                "0",
                "-lag-in-frames",
                "0",
                "-row-mt",
                "1",
            ],
            // SPS and PPS before every key frame: a late joiner needs nothing from before. One slice per frame.
            Self::H264 => &[
                "-f",
                "h264",
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                "-tune",
                "zerolatency",
                "-profile:v",
                "baseline",
                "-sc_threshold",
                "0",
                "-x264-params",
                "repeat-headers=1:sliced-threads=0:slices=1:threads=1",
            ],
            Self::Av1 => &[
                "-f",
                "ivf",
                "-c:v",
                "libaom-av1",
                "-usage",
                "realtime",
                "-cpu-used",
                "8",
                "-lag-in-frames",
                "0",
            ],
        }
    }
}

const VIDEOS: &[Video] = &[
    Video {
        file: "bot1-vp8.ivf",
        codec: Codec::Vp8,
        width: 640,
        height: 360,
        fps: 30,
        seconds: 10,
        keyframe_interval_frames: 60,
        bitrate_kbps: 700,
        hue_degrees: 0,
    },
    Video {
        file: "bot2-vp9.ivf",
        codec: Codec::Vp9,
        width: 640,
        height: 360,
        fps: 30,
        seconds: 10,
        keyframe_interval_frames: 60,
        bitrate_kbps: 700,
        hue_degrees: 120,
    },
    Video {
        file: "bot3-h264.h264",
        codec: Codec::H264,
        width: 640,
        height: 360,
        fps: 30,
        seconds: 10,
        keyframe_interval_frames: 60,
        bitrate_kbps: 700,
        hue_degrees: 240,
    },
    // Long groups: whoever joins late must not wait for the next natural key frame.
    Video {
        file: "late-join-vp8.ivf",
        codec: Codec::Vp8,
        width: 320,
        height: 180,
        fps: 15,
        seconds: 30,
        keyframe_interval_frames: 150,
        bitrate_kbps: 200,
        hue_degrees: 60,
    },
    Video {
        file: "av1.ivf",
        codec: Codec::Av1,
        width: 320,
        height: 180,
        fps: 15,
        seconds: 3,
        keyframe_interval_frames: 15,
        bitrate_kbps: 200,
        hue_degrees: 180,
    },
];

/// One speech clip. Without espeak-ng a tone takes its place.
struct Speech {
    file: &'static str,
    voice: &'static str,
    text: &'static str,
    tone_hz: u32,
}

const SPEECH_SECONDS: u32 = 10;

const SPEECHES: &[Speech] = &[
    Speech {
        file: "bot1-speech.ogg",
        voice: "en-gb+m3",
        text: "Hello, this is the first bot of the Dark Tower demo. My picture is encoded as V P eight. \
               What you hear travels in packets of twenty milliseconds, and the server forwards each of them untouched.",
        tone_hz: 330,
    },
    Speech {
        file: "bot2-speech.ogg",
        voice: "en-us+f2",
        text: "Good morning from the second bot. My picture is encoded as V P nine. \
               If you can follow this sentence from its first word to its last, nothing was lost between us on the way.",
        tone_hz: 440,
    },
    Speech {
        file: "bot3-speech.ogg",
        voice: "en-gb-scotland+m7",
        text: "And I am the third bot, with a picture in H two six four. \
               All three of us listen to each other, and count every unit that arrives, down to the last bit of it.",
        tone_hz: 550,
    },
];

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    setup::ensure_programs()?;
    if args.force {
        // What the link points to stays until the new set is complete; without its manifest it no longer counts.
        let _ = fs::remove_file(ws.media_dir().join("manifest.json"));
    }
    ensure(ws)?;
    eprintln!("media: {}", ws.shown(&ws.media_dir()));
    Ok(())
}

/// Makes the clips unless a complete set of this recipe is there; returns their folder. Needs [`setup::ensure_programs`].
pub(crate) fn ensure(ws: &Workspace) -> Result<PathBuf> {
    let link = ws.media_dir();
    let sources = Sources::find();
    let recipe = sources.recipe();
    if is_complete(&link, &recipe) {
        return Ok(link);
    }
    let parent = link.parent().context("the media folder has no parent")?;
    fs::create_dir_all(parent)?;
    let staging = tempfile::Builder::new().prefix(".media-").tempdir_in(parent)?;
    let started = Instant::now();
    let total = VIDEOS.len() + SPEECHES.len();
    let mut files = Vec::new();
    for video in VIDEOS {
        eprintln!("media: {}/{total} {}", files.len() + 1, video.file);
        files.push(sources.make_video(staging.path(), video)?);
    }
    for speech in SPEECHES {
        eprintln!("media: {}/{total} {}", files.len() + 1, speech.file);
        files.push(sources.make_speech(staging.path(), speech)?);
    }
    let bytes: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    let manifest = json!({ "recipe": recipe, "files": files });
    fs::write(staging.path().join("manifest.json"), format!("{manifest:#}\n"))?;
    publish(staging, &link, &recipe)?;
    eprintln!("media: {total} clips, {} KiB, {:.1} s", bytes / 1024, started.elapsed().as_secs_f32());
    Ok(link)
}

/// Moves a complete set into place and drops older ones.
fn publish(staging: tempfile::TempDir, link: &Path, recipe: &str) -> Result<()> {
    let parent = link.parent().context("the media folder has no parent")?;
    let name = format!("media-{recipe}");
    let set = parent.join(&name);
    if set.exists() && !is_complete(&set, recipe) {
        fs::remove_dir_all(&set)?;
    }
    if !set.exists() {
        let staged = staging.keep();
        set_readable(&staged)?;
        if let Err(error) = fs::rename(&staged, &set) {
            fs::remove_dir_all(&staged)?;
            // Another xtask may have been faster, with the same content.
            if !is_complete(&set, recipe) {
                return Err(error).context("cannot move the clips into place");
            }
        }
    }
    if link.is_dir() && !link.is_symlink() {
        fs::remove_dir_all(link)?;
    }
    let new_link = parent.join(format!(".media-link-{}", std::process::id()));
    let _ = fs::remove_file(&new_link);
    std::os::unix::fs::symlink(&name, &new_link)?;
    fs::rename(&new_link, link)?;
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let other = entry.file_name();
        if other.to_str().is_some_and(|other| other.starts_with("media-") && other != name) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Temporary folders are closed to other users; the clips are not a secret.
fn set_readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Whether `folder` holds every file of its manifest, whole, and was made by `recipe`.
fn is_complete(folder: &Path, recipe: &str) -> bool {
    let Ok(text) = fs::read_to_string(folder.join("manifest.json")) else { return false };
    let Ok(manifest) = serde_json::from_str::<Value>(&text) else { return false };
    let Some(files) = manifest["files"].as_array() else { return false };
    manifest["recipe"] == recipe
        && files.iter().all(|file| {
            file["name"].as_str().is_some_and(|name| {
                fs::metadata(folder.join(name)).is_ok_and(|found| Some(found.len()) == file["bytes"].as_u64())
            })
        })
}

/// What this machine offers beyond ffmpeg. It decides content, so it is part of the recipe.
struct Sources {
    font: Option<&'static str>,
    espeak: bool,
}

impl Sources {
    fn find() -> Self {
        Self {
            font: FONTS.iter().copied().find(|font| Path::new(font).is_file()),
            espeak: process::exists("espeak-ng"),
        }
    }

    /// Hash of everything that decides what the clips hold.
    fn recipe(&self) -> String {
        let mut hasher = DefaultHasher::new();
        RECIPE_VERSION.hash(&mut hasher);
        for video in VIDEOS {
            (video.file, video.fps, video.seconds, video.keyframe_interval_frames).hash(&mut hasher);
            (self.pattern(video), video.bitrate_kbps, video.codec.arguments()).hash(&mut hasher);
        }
        for speech in SPEECHES {
            (self.espeak, speech.file, speech.voice, speech.text, speech.tone_hz).hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }

    /// ffmpeg's description of the picture.
    fn pattern(&self, video: &Video) -> String {
        let Video { width, height, fps, seconds, hue_degrees, .. } = video;
        let mut pattern = format!("testsrc2=size={width}x{height}:rate={fps}:duration={seconds}");
        if *hue_degrees != 0 {
            pattern.push_str(&format!(",hue=h={hue_degrees}"));
        }
        if let Some(font) = self.font {
            let name = video.file.split('.').next().unwrap_or_default();
            let size = height / 14;
            pattern.push_str(&format!(
                ",drawtext=fontfile={font}:text='{name} %{{pts\\:hms}} frame %{{n}}':x=h/24:y=h-text_h-h/16\
                 :fontsize={size}:fontcolor=white:box=1:boxcolor=black@0.7:boxborderw={}",
                size / 3
            ));
        }
        pattern
    }

    fn make_video(&self, folder: &Path, video: &Video) -> Result<Value> {
        let interval = video.keyframe_interval_frames.to_string();
        let mut ffmpeg = ffmpeg();
        ffmpeg.args(["-f", "lavfi", "-i", &self.pattern(video), "-pix_fmt", "yuv420p"]);
        ffmpeg.args(video.codec.arguments());
        ffmpeg.args(["-b:v", &format!("{}k", video.bitrate_kbps), "-g", &interval, "-keyint_min", &interval]);
        encode(ffmpeg.arg(folder.join(video.file)))?;
        Ok(json!({
            "name": video.file,
            "codec": video.codec.name(),
            "width": video.width,
            "height": video.height,
            "fps": video.fps,
            "frames": video.fps * video.seconds,
            "keyframe_interval_frames": video.keyframe_interval_frames,
            "duration_ms": video.seconds * 1000,
            "bytes": fs::metadata(folder.join(video.file))?.len(),
        }))
    }

    fn make_speech(&self, folder: &Path, speech: &Speech) -> Result<Value> {
        let seconds = SPEECH_SECONDS.to_string();
        let wav = folder.join("speech.wav");
        let mut ffmpeg = ffmpeg();
        if self.espeak {
            let (ok, _, message) = process::capture(
                Command::new("espeak-ng")
                    .args(["-v", speech.voice, "-s", "150", "-w"])
                    .arg(&wav)
                    .arg(speech.text),
            )?;
            ensure!(ok, "espeak-ng failed: {}", message.trim());
            ffmpeg.arg("-i").arg(&wav).args(["-af", "apad", "-t", &seconds]);
        } else {
            let tone = format!("sine=frequency={}:beep_factor=4:duration={seconds}", speech.tone_hz);
            ffmpeg.args(["-f", "lavfi", "-i", &tone]);
        }
        ffmpeg.args(["-ac", "1", "-ar", "48000", "-c:a", "libopus", "-b:a", "32k"]);
        ffmpeg.args(["-application", "voip", "-frame_duration", "20", "-f", "ogg"]);
        encode(ffmpeg.arg(folder.join(speech.file)))?;
        let _ = fs::remove_file(wav);
        Ok(json!({
            "name": speech.file,
            "codec": "opus",
            "sample_rate_hz": 48_000,
            "channels": 1,
            "packet_ms": 20,
            "duration_ms": SPEECH_SECONDS * 1000,
            "bytes": fs::metadata(folder.join(speech.file))?.len(),
        }))
    }
}

fn ffmpeg() -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    // Bit-exact muxing keeps random serial numbers and encoder versions out of the files.
    ffmpeg.args(["-nostdin", "-hide_banner", "-v", "error", "-y", "-fflags", "+bitexact"]);
    ffmpeg
}

fn encode(ffmpeg: &mut Command) -> Result<()> {
    let (ok, _, message) = process::capture(ffmpeg)?;
    if !ok {
        bail!("ffmpeg failed: {}\nthe command was: {}", message.trim(), process::shown(ffmpeg));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipe_follows_the_sources() {
        let with = Sources { font: Some(FONTS[0]), espeak: true };
        assert_eq!(with.recipe(), with.recipe());
        assert_ne!(with.recipe(), Sources { font: None, espeak: true }.recipe());
        assert_ne!(with.recipe(), Sources { font: Some(FONTS[0]), espeak: false }.recipe());
    }

    #[test]
    fn a_set_counts_only_when_whole_and_of_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path(), "a"));
        fs::write(folder.path().join("clip.ivf"), b"12345").unwrap();
        let manifest = json!({ "recipe": "a", "files": [{ "name": "clip.ivf", "bytes": 5 }] });
        fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
        assert!(is_complete(folder.path(), "a"));
        assert!(!is_complete(folder.path(), "b"));
        fs::write(folder.path().join("clip.ivf"), b"1234").unwrap();
        assert!(!is_complete(folder.path(), "a"));
    }

    #[test]
    fn publishing_replaces_the_set_and_drops_the_old_one() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("media");
        for recipe in ["old", "new"] {
            let staging = tempfile::tempdir_in(parent.path()).unwrap();
            fs::write(
                staging.path().join("manifest.json"),
                json!({ "recipe": recipe, "files": [] }).to_string(),
            )
            .unwrap();
            publish(staging, &link, recipe).unwrap();
            assert!(is_complete(&link, recipe));
        }
        assert!(!parent.path().join("media-old").exists());
    }
}
