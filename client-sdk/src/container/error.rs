//! Why a media file could not be read or written.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A media file could not be read or written. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The operating system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted: "open", "read" and so on.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// Not a format or codec this module reads.
    #[error(
        "{}: {found}; supported are IVF with VP8, VP9 or AV1, raw H.264 (Annex B) and Ogg with mono or stereo Opus",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: &'static str,
    },
    /// The file is damaged or cut short.
    #[error("{}: at byte {offset}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the start: the structure that is damaged or the end of what was read of it.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The file claims a size beyond the bound.
    #[error("{}: at byte {offset}: {what} of {size} bytes, the limit is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Where the oversized structure starts, in bytes.
        offset: u64,
        /// What is too large.
        what: &'static str,
        /// Its size in bytes, or as much of it as was read.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// The caller's description or options do not fit the container.
    #[error("{}: {problem}", path.display())]
    Options {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// The caller's sample does not fit the container; nothing was written.
    #[error("{}: cannot store this sample: {problem}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
}

impl ContainerError {
    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    pub(super) fn malformed(path: &Path, offset: u64, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), offset, problem: problem.into() }
    }

    pub(super) fn options(path: &Path, problem: impl Into<String>) -> Self {
        Self::Options { path: path.into(), problem: problem.into() }
    }

    pub(super) fn sample(path: &Path, problem: impl Into<String>) -> Self {
        Self::Sample { path: path.into(), problem: problem.into() }
    }
}
