//! The meeting app: what Vite made of `client-sdk/web/app`, inside this program.
//!
//! Release builds hold the files; programs with debug assertions read the folder each time, so that a new build of the app
//! shows without one of the server. A build without the app works too and says so on its pages.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;

/// The page that runs the app.
pub(super) const INDEX: &str = "index.html";

/// One file of the app.
#[derive(Clone, Debug)]
pub(super) struct AppFile {
    pub(super) bytes: Bytes,
    /// Changes with the content; in quotes, as headers have it.
    pub(super) etag: String,
}

impl AppFile {
    pub(super) fn new(bytes: Bytes, sha256: &[u8; 32]) -> Self {
        let mut etag = String::from("\"");
        for byte in sha256.iter().take(8) {
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self { bytes, etag }
    }
}

/// Where the files of the app come from.
pub(super) trait AppFiles: Send + Sync + 'static {
    /// A file by its path below the app's folder, such as `assets/index-B7pQ2xYz.js`.
    fn file(&self, path: &str) -> Option<AppFile>;
}

/// The app that this program was built with.
pub(super) struct BuiltIn;

#[derive(rust_embed::Embed)]
#[folder = "../client-sdk/web/app/dist"]
#[allow_missing = true]
struct Dist;

impl AppFiles for BuiltIn {
    fn file(&self, path: &str) -> Option<AppFile> {
        let file = Dist::get(path)?;
        let sha256 = file.metadata.sha256_hash();
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Some(AppFile::new(bytes, &sha256))
    }
}
