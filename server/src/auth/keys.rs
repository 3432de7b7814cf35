//! The signing keys of this deployment: one signs, all verify, and they change without anybody noticing.
//!
//! Keys are files in the folder `token-keys` of the data folder, `SECONDS-KEYID.pem`: when the key was made, and which it is.
//! Several servers may share the folder. A new key is published first and signs two minutes later, when everybody who
//! verifies knows it. A key is deleted when the last token it signed has ended. Who has to withdraw a key at once deletes
//! its file: its tokens are refused within a minute.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, UNIX_EPOCH};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use rcgen::KeyPair;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use crate::private_file::{self, PrivateFileError};

const FOLDER: &str = "token-keys";
/// The one key of servers before there was a folder.
const FORMER_FILE: &str = "token-key.pem";
/// Between publishing a key and signing with it. Others read the folder or the published keys at least every minute.
const NOTICE: Duration = Duration::minutes(2);
/// Between the end of a key's signing and its removal: the longest life of a token, and an hour for clocks.
const AFTERLIFE: Duration = Duration::hours(25);
/// How often the folder is to be read.
pub const READ_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
/// How often a token with an unknown key id may make the server read the folder.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// More files than this in the folder are not ours.
const MAX_KEYS: usize = 100;

/// Why the signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenKeyError {
    /// A key file cannot be read or written.
    #[error("the token key file")]
    File(#[from] PrivateFileError),
    /// The folder cannot be listed or changed.
    #[error("the token keys in {}", path.display())]
    Folder {
        /// The folder, or what is in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no Ed25519 key, or a key could not be made.
    #[error("the token key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// There are too many.
    #[error("more than {MAX_KEYS} keys in {}", .0.display())]
    TooMany(PathBuf),
}

/// One key.
pub(super) struct TokenKey {
    /// First 8 bytes of the SHA-256 of the public key, in hexadecimal.
    pub(super) id: String,
    pub(super) created_at: OffsetDateTime,
    pub(super) verifying: DecodingKey,
    pub(super) public: Vec<u8>,
    signing: Ed25519KeyPair,
    /// The header of every token it signs, as it is written.
    header: String,
    file: PathBuf,
}

impl TokenKey {
    fn new(key: &KeyPair, created_at: OffsetDateTime, file: PathBuf) -> Result<Self, TokenKeyError> {
        let signing = Ed25519KeyPair::from_pkcs8(key.serialized_der()).map_err(|_| TokenKeyError::Key {
            path: file.clone(),
            source: rcgen::Error::CouldNotParseKeyPair,
        })?;
        let public = key.public_key_raw().to_vec();
        let id = key_id(&public);
        let header = serde_json::json!({ "typ": "JWT", "alg": "EdDSA", "kid": id });
        Ok(Self {
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            verifying: DecodingKey::from_ed_der(&public),
            id,
            created_at,
            public,
            signing,
            file,
        })
    }

    /// The token with these claims, which are a JSON object. Not by `jsonwebtoken::encode`, which would parse the key for
    /// every token: that costs as much as the signature.
    pub(super) fn sign(&self, claims: &[u8]) -> String {
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 92);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.signing.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }
}

fn key_id(public: &[u8]) -> String {
    Sha256::digest(public).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The keys, the oldest first. Never empty.
type Keys = Arc<[Arc<TokenKey>]>;

/// The keys of this deployment, kept up to date.
pub struct KeyRing {
    folder: PathBuf,
    keys: RwLock<Keys>,
    /// When an unknown key id last made us read the folder.
    looked: Mutex<Option<Instant>>,
}

impl KeyRing {
    /// Opens the keys in `data_dir`; makes the first one (mode 0600) if there is none, and takes over the key of servers
    /// before there was a folder.
    ///
    /// # Errors
    /// [`TokenKeyError`]; also if a file may be read by other users.
    pub fn open(data_dir: &Path) -> Result<Self, TokenKeyError> {
        let folder = data_dir.join(FOLDER);
        private_file::create_folder(&folder)?;
        take_over(&data_dir.join(FORMER_FILE), &folder)?;
        let mut keys = read_folder(&folder, &[])?;
        if keys.is_empty() {
            make_key(&folder, OffsetDateTime::now_utc())?;
            // Read again: another server may have made one at the same time, and the older one signs.
            keys = read_folder(&folder, &[])?;
        }
        Ok(Self { folder, keys: RwLock::new(keys.into()), looked: Mutex::new(None) })
    }

    #[cfg(test)]
    pub(super) fn of(key: &KeyPair) -> Self {
        let key = TokenKey::new(key, OffsetDateTime::UNIX_EPOCH, PathBuf::new()).expect("a key");
        let keys = RwLock::new(vec![Arc::new(key)].into());
        Self { folder: PathBuf::from("/nowhere"), keys, looked: Mutex::new(None) }
    }

    pub(super) fn all(&self) -> Keys {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs at `now`: the newest that was published long enough ago.
    pub(super) fn signer(&self, now: OffsetDateTime) -> Arc<TokenKey> {
        let keys = self.all();
        let signer = signer_of(&keys, now).expect("there is always a key");
        Arc::clone(signer)
    }

    /// The key with this id. For an unknown id the folder is read, at most once a second: another server may have made it.
    pub(super) fn verifier(&self, id: &str) -> Option<Arc<TokenKey>> {
        let find = || self.all().iter().find(|key| key.id == id).cloned();
        if let Some(key) = find() {
            return Some(key);
        }
        if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return None;
            }
            *looked = Some(Instant::now());
        }
        self.read_again();
        find()
    }

    /// Whether a key with this id is there now.
    pub(super) fn has(&self, id: &str) -> bool {
        self.all().iter().any(|key| key.id == id)
    }

    /// Reads the folder. What cannot be read is logged, and what is known stays.
    fn read_again(&self) {
        let known = self.all();
        match read_folder(&self.folder, &known) {
            Ok(keys) if keys.is_empty() => {
                tracing::error!(folder = %self.folder.display(), "the token keys are gone; going on with those known");
            }
            Ok(keys) => {
                let ids =
                    |keys: &[Arc<TokenKey>]| keys.iter().map(|key| key.id.clone()).collect::<BTreeSet<_>>();
                if ids(&keys) != ids(&known) {
                    tracing::info!(keys = ?ids(&keys), "token keys have changed");
                    *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
                }
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the token keys cannot be read again"
                );
            }
        }
    }

    /// Makes the next key, which signs in two minutes, and says its id. Servers that run notice it.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub fn rotate(&self) -> Result<String, TokenKeyError> {
        self.rotate_at(OffsetDateTime::now_utc())
    }

    fn rotate_at(&self, now: OffsetDateTime) -> Result<String, TokenKeyError> {
        let id = make_key(&self.folder, now)?;
        self.read_again();
        Ok(id)
    }

    /// Makes the next key if the newest is older than `max_age`.
    fn rotate_if_due(&self, max_age: Duration, now: OffsetDateTime) -> Result<Option<String>, TokenKeyError> {
        let newest = self.all().last().map(|key| key.created_at);
        if newest.is_some_and(|created_at| now - created_at < max_age) {
            return Ok(None);
        }
        self.rotate_at(now).map(Some)
    }

    /// Deletes the keys whose last token has ended.
    fn retire(&self, now: OffsetDateTime) -> Result<usize, TokenKeyError> {
        let keys = self.all();
        let retired: Vec<_> = keys
            .iter()
            .zip(keys.iter().skip(1))
            .filter(|(_, next)| next.created_at + NOTICE + AFTERLIFE <= now)
            .map(|(key, _)| key)
            .collect();
        for key in &retired {
            match std::fs::remove_file(&key.file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(TokenKeyError::Folder { path: key.file.clone(), source });
                }
                _ => tracing::info!(key = key.id, "token key retired"),
            }
        }
        if !retired.is_empty() {
            self.read_again();
        }
        Ok(retired.len())
    }

    /// One round of keeping up: follows changes in the folder, retires old keys, and makes the next one if the newest is older
    /// than `max_age`, whose id it says. To be called every [`READ_EVERY`]; waits for the disk.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub fn keep_up(&self, max_age: Option<Duration>) -> Result<Option<String>, TokenKeyError> {
        let now = OffsetDateTime::now_utc();
        self.read_again();
        self.retire(now)?;
        max_age.map_or(Ok(None), |max_age| self.rotate_if_due(max_age, now))
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.all();
        f.debug_list().entries(keys.iter().map(|key| &key.id)).finish()
    }
}

fn signer_of(keys: &[Arc<TokenKey>], now: OffsetDateTime) -> Option<&Arc<TokenKey>> {
    keys.iter().rev().find(|key| key.created_at + NOTICE <= now).or_else(|| keys.first())
}

fn take_over(former: &Path, folder: &Path) -> Result<(), TokenKeyError> {
    let failed = |source| TokenKeyError::Folder { path: former.to_owned(), source };
    let Some(pem) = private_file::read(former)? else { return Ok(()) };
    let key = KeyPair::from_pem_and_sign_algo(&pem, &rcgen::PKCS_ED25519)
        .map_err(|source| TokenKeyError::Key { path: former.to_owned(), source })?;
    let modified = std::fs::metadata(former).and_then(|metadata| metadata.modified()).map_err(failed)?;
    let seconds = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    std::fs::rename(former, folder.join(file_name(seconds, key.public_key_raw()))).map_err(failed)
}

fn file_name(seconds: u64, public: &[u8]) -> String {
    format!("{seconds}-{}.pem", key_id(public))
}

/// Makes a key, on disk before this returns, and says its id.
fn make_key(folder: &Path, now: OffsetDateTime) -> Result<String, TokenKeyError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .map_err(|source| TokenKeyError::Key { path: folder.to_owned(), source })?;
    let public = key.public_key_raw();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    private_file::write(&folder.join(file_name(seconds, public)), &key.serialize_pem())?;
    Ok(key_id(public))
}

/// The keys in the folder, the oldest first. What is in `known` is not read again.
fn read_folder(folder: &Path, known: &[Arc<TokenKey>]) -> Result<Vec<Arc<TokenKey>>, TokenKeyError> {
    let failed = |source| TokenKeyError::Folder { path: folder.to_owned(), source };
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // Files of other names are half-written ones, or somebody else's.
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".pem")) else { continue };
        let Some((seconds, id)) = name.split_once('-') else { continue };
        let created_at = seconds.parse().ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        let Some(created_at) = created_at else { continue };
        let path = entry.path();
        if let Some(key) = known.iter().find(|key| key.id == id && key.file == path) {
            keys.push(Arc::clone(key));
        } else if let Some(pem) = private_file::read(&path)? {
            let key = KeyPair::from_pem_and_sign_algo(&pem, &rcgen::PKCS_ED25519)
                .map_err(|source| TokenKeyError::Key { path: path.clone(), source })?;
            keys.push(Arc::new(TokenKey::new(&key, created_at, path)?));
        }
        if keys.len() > MAX_KEYS {
            return Err(TokenKeyError::TooMany(folder.to_owned()));
        }
    }
    keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder.join(FOLDER)).expect("the folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("listed").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_key_is_published_before_it_signs_and_the_old_one_goes_when_its_tokens_have_ended() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ring = KeyRing::open(folder.path()).expect("opened");
        let first = ring.signer(OffsetDateTime::now_utc()).id.clone();
        let start = OffsetDateTime::now_utc().replace_nanosecond(0).expect("in range") + Duration::hours(1);
        let second = ring.rotate_at(start).expect("rotated");
        assert_ne!(first, second);
        assert_eq!(ring.all().len(), 2, "published at once");
        assert_eq!(ring.signer(start).id, first);
        assert_eq!(ring.signer(start + NOTICE - Duration::seconds(1)).id, first);
        assert_eq!(ring.signer(start + NOTICE).id, second);

        // Whoever shares the folder agrees.
        let other = KeyRing::open(folder.path()).expect("opened");
        assert_eq!(other.signer(start + NOTICE).id, second);

        let end = start + NOTICE + AFTERLIFE;
        assert_eq!(ring.retire(end - Duration::seconds(1)).expect("nothing to do"), 0);
        assert!(ring.has(&first));
        assert_eq!(ring.retire(end).expect("retired"), 1);
        assert!(!ring.has(&first) && ring.has(&second));
        assert_eq!(files(folder.path()).len(), 1);
        assert_eq!(ring.retire(end + Duration::days(999)).expect("the last one stays"), 0);
        // The other one notices when it reads the folder again; a file it had open is nothing to fail about.
        other.read_again();
        assert!(!other.has(&first));
    }

    #[test]
    fn keys_rotate_when_they_are_due_and_not_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ring = KeyRing::open(folder.path()).expect("opened");
        let born = ring.all()[0].created_at;
        let age = Duration::days(90);
        assert_eq!(ring.rotate_if_due(age, born + age - Duration::seconds(1)).expect("checked"), None);
        let made = ring.rotate_if_due(age, born + age).expect("checked");
        assert!(made.is_some_and(|id| ring.has(&id)));
        assert_eq!(ring.rotate_if_due(age, born + age + NOTICE).expect("checked"), None);
    }

    #[test]
    fn a_key_of_another_server_is_found_when_a_token_names_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ring = KeyRing::open(folder.path()).expect("opened");
        let made = KeyRing::open(folder.path()).expect("opened").rotate().expect("rotated");
        assert!(!ring.has(&made));
        assert!(ring.verifier("../../etc/passwd").is_none() && ring.verifier("").is_none());
        assert!(ring.verifier(&made).is_some(), "no look was wasted on what is no key id");

        // The next look is a second away, however often strangers ask.
        let later = KeyRing::open(folder.path()).expect("opened").rotate().expect("rotated");
        assert!(ring.verifier(&later).is_none());
        ring.read_again();
        assert!(ring.verifier(&later).is_some());
    }

    #[test]
    fn a_deleted_key_is_forgotten_and_a_lost_folder_is_not_fatal() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ring = KeyRing::open(folder.path()).expect("opened");
        let first = ring.all()[0].id.clone();
        let second = ring.rotate().expect("rotated");
        let file = ring.all().iter().find(|key| key.id == first).expect("known").file.clone();
        std::fs::remove_file(file).expect("withdrawn");
        ring.read_again();
        assert!(!ring.has(&first));
        assert_eq!(ring.signer(OffsetDateTime::now_utc()).id, second, "the only one signs at once");
        std::fs::remove_dir_all(folder.path().join(FOLDER)).expect("gone");
        ring.read_again();
        assert!(ring.has(&second));
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_private_and_damaged_ones_are_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ring = KeyRing::open(folder.path()).expect("opened");
        let file = ring.all()[0].file.clone();
        assert_eq!(std::fs::metadata(&file).expect("exists").permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "no key").expect("own file");
        assert!(matches!(KeyRing::open(folder.path()), Err(TokenKeyError::Key { path, .. }) if path == file));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("own file");
        assert!(matches!(KeyRing::open(folder.path()), Err(TokenKeyError::File(_))));
        // What does not look like a key is left alone.
        std::fs::remove_file(&file).expect("own file");
        std::fs::write(folder.path().join(FOLDER).join("notes.txt"), "mine").expect("own folder");
        assert_eq!(KeyRing::open(folder.path()).expect("a new key").all().len(), 1);
    }

    #[test]
    fn the_one_key_of_former_servers_is_taken_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        private_file::write(&folder.path().join(FORMER_FILE), &key.serialize_pem()).expect("written");
        let ring = KeyRing::open(folder.path()).expect("opened");
        assert_eq!(ring.signer(OffsetDateTime::now_utc()).public, key.public_key_raw());
        assert!(!folder.path().join(FORMER_FILE).exists());
        assert_eq!(KeyRing::open(folder.path()).expect("opened").all()[0].id, key_id(key.public_key_raw()));
    }
}
