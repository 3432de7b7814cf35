//! Files that only this server's user may read: signing keys.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};

/// Why a private file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
    /// The system refused.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else may have read or replaced the key.
    #[error("{} may be read or changed by other users: `chmod 600` it, or delete it to get a new one", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The content is not what this server writes.
    #[error("{} does not hold a key; restore it, or delete it to get a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Makes `folder` with mode 0700 unless it exists.
///
/// # Errors
/// [`PrivateFileError::Io`].
pub fn create_folder(folder: &Path) -> Result<(), PrivateFileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder).map_err(|source| PrivateFileError::Io { path: folder.to_owned(), source })
}

/// The content of the file, `None` if there is none.
///
/// # Errors
/// [`PrivateFileError::Exposed`] if anyone but the owner may read or write it, [`PrivateFileError::Io`].
pub fn read(path: &Path) -> Result<Option<String>, PrivateFileError> {
    let failed = |source| PrivateFileError::Io { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    #[cfg(unix)]
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(PrivateFileError::Exposed { path: path.to_owned() });
    }
    let mut content = String::new();
    file.read_to_string(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// The 32 random bytes in the file, which is made if there is none.
///
/// # Errors
/// [`PrivateFileError`]; what is not 64 hexadecimal digits is refused as damaged.
pub fn read_or_create_key(path: &Path) -> Result<[u8; 32], PrivateFileError> {
    let mut key = [0; 32];
    if let Some(content) = read(path)? {
        let digits = content.trim();
        for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
            let pair = digits.get(at..at + 2).filter(|_| digits.len() == 64);
            let parsed = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *byte = parsed.ok_or_else(|| PrivateFileError::Damaged { path: path.to_owned() })?;
        }
        return Ok(key);
    }
    let no_randomness =
        |_| PrivateFileError::Io { path: path.to_owned(), source: io::Error::other("no randomness") };
    aws_lc_rs::rand::fill(&mut key).map_err(no_randomness)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    write(path, &digits)?;
    Ok(key)
}

/// Writes the file with mode 0600, on disk before this returns. A reader sees the old content or the new, never a part.
///
/// # Errors
/// [`PrivateFileError::Io`].
pub fn write(path: &Path, content: &str) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError::Io { path: path.to_owned(), source };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || {
        // A leftover of a crash would keep its old mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself is durable only once the folder is.
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(failed)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn written_files_are_private_and_exposed_ones_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key");
        assert_eq!(read(&path).expect("missing is no error"), None);
        write(&path, "one").expect("written");
        write(&path, "two").expect("replaced");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).expect("readable").as_deref(), Some("two"));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("own file");
        assert!(matches!(read(&path), Err(PrivateFileError::Exposed { .. })));
    }
}
