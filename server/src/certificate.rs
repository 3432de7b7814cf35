//! The certificate that QUIC and HTTPS present, and its replacement while the server runs.
//!
//! In development mode the server makes its own: ECDSA P-256 and short-lived, because browsers accept a certificate
//! by its hash (`serverCertificateHashes` of WebTransport) only in that form. Otherwise it comes from PEM files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration as StdDuration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{Config, TlsFiles};
use crate::private_file::{self, PrivateFileError};

/// Key and certificate in one private file, so that a crash cannot leave a pair that does not match.
const DEVELOPMENT_FILE: &str = "development-certificate.pem";
/// Whole validity. Browsers allow 14 days at most for certificates accepted by hash; a day is left for rounding.
const DEVELOPMENT_VALIDITY: Duration = Duration::days(13);
/// Of which in the past, for clients whose clock is behind.
const BACKDATED: Duration = Duration::days(1);
const ROTATION_CHECK: StdDuration = StdDuration::from_secs(3600);

/// The name under which a client may accept the certificate without a certification authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateHash {
    /// SHA-256 of the certificate in DER form.
    pub sha256: [u8; 32],
    /// When the certificate expires.
    pub not_after: OffsetDateTime,
}

impl CertificateHash {
    /// The hash as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A PEM file cannot be read, or holds nothing of the wanted kind.
    #[error("{what} in {}", path.display())]
    Pem {
        /// `no certificate` or `no private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Details of the parser or the system.
        source: Option<rustls_pki_types::pem::Error>,
    },
    /// The file holds something that is no X.509 certificate.
    #[error("{} holds a damaged certificate", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Clients would refuse it.
    #[error("the certificate in {} expired at {not_after}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When it expired.
        not_after: OffsetDateTime,
    },
    /// The key does not belong to the certificate, or is of an unsupported kind.
    #[error("the private key in {} cannot be used with the certificate in {}", key.display(), certificate.display())]
    Key {
        /// Certificate file.
        certificate: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
    /// The development certificate could not be made.
    #[error("cannot make a development certificate")]
    Make(#[from] rcgen::Error),
    /// The development certificate could not be kept.
    #[error("the development certificate")]
    File(#[from] PrivateFileError),
}

/// The certificate in use. QUIC and HTTPS resolve it per handshake, so a replacement needs no restart.
pub struct CertificateStore {
    source: Source,
    current: RwLock<State>,
}

enum Source {
    Development { file: PathBuf },
    Files(TlsFiles),
}

struct State {
    certificate: Arc<Loaded>,
    /// What clients may still have been told.
    previous: Option<CertificateHash>,
}

struct Loaded {
    key: Arc<CertifiedKey>,
    hash: CertificateHash,
    not_before: OffsetDateTime,
}

impl Loaded {
    fn half_life(&self) -> OffsetDateTime {
        self.not_before + (self.hash.not_after - self.not_before) / 2
    }
}

impl CertificateStore {
    /// The certificate that `config` asks for. In development mode it is made at the first start, kept in the data
    /// folder (which must exist) and used until half of its life is over.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn open(config: &Config) -> Result<Arc<Self>, CertificateError> {
        let now = OffsetDateTime::now_utc();
        match &config.tls {
            Some(files) => Self::from_files(files, now),
            None => Self::development(&config.data_dir, now),
        }
    }

    fn development(data_dir: &Path, now: OffsetDateTime) -> Result<Arc<Self>, CertificateError> {
        let file = data_dir.join(DEVELOPMENT_FILE);
        let kept = match private_file::read(&file)? {
            // A damaged file of our own making is not worth stopping for.
            Some(pem) => load_pem(pem.as_bytes(), &file, pem.as_bytes(), &file).ok(),
            None => None,
        };
        let certificate = match kept.filter(|kept| kept.not_before <= now && now < kept.half_life()) {
            Some(kept) => kept,
            None => make_development(&file, now)?,
        };
        Ok(Self::new(Source::Development { file }, certificate))
    }

    fn from_files(files: &TlsFiles, now: OffsetDateTime) -> Result<Arc<Self>, CertificateError> {
        Ok(Self::new(Source::Files(files.clone()), load_files(files, now)?))
    }

    fn new(source: Source, certificate: Loaded) -> Arc<Self> {
        Arc::new(Self {
            source,
            current: RwLock::new(State { certificate: Arc::new(certificate), previous: None }),
        })
    }

    /// What TLS asks for the certificate in each handshake.
    #[must_use]
    pub fn resolver(self: &Arc<Self>) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Resolver(Arc::clone(self)))
    }

    /// Hash of the certificate in use.
    #[must_use]
    pub fn hash(&self) -> CertificateHash {
        self.current.read().unwrap_or_else(PoisonError::into_inner).certificate.hash.clone()
    }

    /// Hashes of the certificate in use and, after a replacement, of the one before.
    #[must_use]
    pub fn hashes(&self) -> Vec<CertificateHash> {
        let state = self.current.read().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(state.certificate.hash.clone()).chain(state.previous.clone()).collect()
    }

    /// Whether clients must accept the certificate by its hash, because no authority signed it.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        matches!(self.source, Source::Development { .. })
    }

    /// Reads the PEM files again, or in development mode makes a new certificate if half of the old one's life is over.
    /// Returns whether the certificate changed. On an error the old one stays in use. Blocks on files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn refresh(&self, now: OffsetDateTime) -> Result<bool, CertificateError> {
        let old = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).certificate);
        let new = match &self.source {
            Source::Files(files) => load_files(files, now)?,
            Source::Development { .. } if now < old.half_life() => return Ok(false),
            Source::Development { file } => make_development(file, now)?,
        };
        if new.hash == old.hash {
            return Ok(false);
        }
        let mut state = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { certificate: Arc::new(new), previous: Some(old.hash.clone()) };
        Ok(true)
    }

    /// Keeps the certificate fresh until `stop`: looks every hour, and on SIGHUP.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        #[cfg(unix)]
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not reload the certificate"))
            .ok();
        #[cfg(unix)]
        let mut asked = async || match &mut hangup {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        };
        #[cfg(not(unix))]
        let mut asked = async || std::future::pending::<()>().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROTATION_CHECK) => {}
                () = asked() => {}
            }
            let store = Arc::clone(&self);
            let refreshed =
                tokio::task::spawn_blocking(move || store.refresh(OffsetDateTime::now_utc())).await;
            match refreshed {
                Ok(Ok(true)) => tracing::info!(sha256 = self.hash().to_hex(), "certificate replaced"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the old certificate stays in use"
                    );
                }
                Err(error) => tracing::error!(%error, "reloading the certificate failed"),
            }
        }
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateStore").field("hashes", &self.hashes()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Resolver(Arc<CertificateStore>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let state = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&state.certificate.key))
    }
}

/// Which TLS versions a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersions {
    /// TLS 1.3 alone, as QUIC demands.
    V1_3,
    /// TLS 1.3 and 1.2, for HTTPS clients.
    V1_2AndV1_3,
}

/// A TLS server configuration with the certificate of `certificates` and the given ALPN protocols, first preferred.
///
/// The cryptography is named here and not taken from a process-wide default, which any library could have set.
#[must_use]
pub fn rustls_server_config(
    certificates: &Arc<CertificateStore>,
    versions: TlsVersions,
    alpn: &[&[u8]],
) -> rustls::ServerConfig {
    let versions: &[_] = match versions {
        TlsVersions::V1_3 => &[&rustls::version::TLS13],
        TlsVersions::V1_2AndV1_3 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites for these versions")
        .with_no_client_auth()
        .with_cert_resolver(certificates.resolver());
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // A client's second connection needs no certificate and no signature. Nothing is remembered for it here: the library's
    // cache of 256 sessions lasts a fraction of a second when many come.
    config.ticketer =
        aws_lc_rs::Ticketer::new().expect("the system has randomness: keys are made with it, too");
    config
}

/// aws-lc-rs with AES-128-GCM first: QUIC needs it for its first packets anyway, and it is the cheapest to seal with.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != cipher_suite::TLS13_AES_128_GCM_SHA256.suite());
    provider
}

fn make_development(file: &Path, now: OffsetDateTime) -> Result<Loaded, CertificateError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let mut params = CertificateParams::new(names)?;
    params.not_before = now - BACKDATED;
    params.not_after = params.not_before + DEVELOPMENT_VALIDITY;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Dark Tower development certificate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pem = format!("{}{}", key.serialize_pem(), params.self_signed(&key)?.pem());
    private_file::write(file, &pem)?;
    load_pem(pem.as_bytes(), file, pem.as_bytes(), file)
}

fn load_files(files: &TlsFiles, now: OffsetDateTime) -> Result<Loaded, CertificateError> {
    let read = |path: &Path, what| {
        std::fs::read(path).map_err(|error| CertificateError::Pem {
            what,
            path: path.to_owned(),
            source: Some(rustls_pki_types::pem::Error::Io(error)),
        })
    };
    let certificate = read(&files.certificate, NO_CERTIFICATE)?;
    let key = read(&files.private_key, NO_KEY)?;
    let loaded = load_pem(&certificate, &files.certificate, &key, &files.private_key)?;
    if loaded.hash.not_after <= now {
        return Err(CertificateError::Expired {
            path: files.certificate.clone(),
            not_after: loaded.hash.not_after,
        });
    }
    Ok(loaded)
}

const NO_CERTIFICATE: &str = "no certificate";
const NO_KEY: &str = "no private key";

fn load_pem(
    chain: &[u8],
    chain_path: &Path,
    key: &[u8],
    key_path: &Path,
) -> Result<Loaded, CertificateError> {
    let pem_error = |what, path: &Path, source| CertificateError::Pem { what, path: path.to_owned(), source };
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(NO_CERTIFICATE, chain_path, Some(error)))?;
    let Some(first) = chain.first() else { return Err(pem_error(NO_CERTIFICATE, chain_path, None)) };
    let damaged = || CertificateError::Damaged { path: chain_path.to_owned() };
    let (_, parsed) = X509Certificate::from_der(first).map_err(|_| damaged())?;
    let time = |at: x509_parser::time::ASN1Time| OffsetDateTime::from_unix_timestamp(at.timestamp());
    let not_before = time(parsed.validity().not_before).map_err(|_| damaged())?;
    let not_after = time(parsed.validity().not_after).map_err(|_| damaged())?;
    let sha256 = Sha256::digest(first).into();

    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| pem_error(NO_KEY, key_path, Some(error)))?;
    let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| CertificateError::Key {
        certificate: chain_path.to_owned(),
        key: key_path.to_owned(),
        source,
    })?;
    Ok(Loaded { key: Arc::new(key), hash: CertificateHash { sha256, not_after }, not_before })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    #[test]
    fn development_certificate_is_kept_until_half_its_life_is_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = CertificateStore::development(folder.path(), now()).expect("made").hashes();
        let again = CertificateStore::development(folder.path(), now()).expect("kept").hashes();
        assert_eq!(first, again);
        assert_eq!(first.len(), 1);
        let left = first[0].not_after - now();
        assert!(Duration::days(11) < left && left < Duration::days(13), "{left}");

        let later =
            CertificateStore::development(folder.path(), now() + Duration::days(6)).expect("new").hashes();
        assert_ne!(first, later);
    }

    #[test]
    fn development_certificate_has_the_form_browsers_accept_by_hash() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = CertificateStore::development(folder.path(), now()).expect("made");
        assert!(store.is_pinned());
        let state = store.current.read().expect("not poisoned");
        let (_, certificate) = X509Certificate::from_der(&state.certificate.key.cert[0]).expect("X.509");
        let validity = certificate.validity();
        assert!(validity.not_after.timestamp() - validity.not_before.timestamp() <= 14 * 24 * 3600);
        assert!(validity.not_before.timestamp() < now().unix_timestamp());
        let key = certificate.public_key().parsed().expect("a key");
        assert!(matches!(key, x509_parser::public_key::PublicKey::EC(point) if point.key_size() == 256));
        let names = certificate.subject_alternative_name().expect("readable").expect("present");
        assert_eq!(names.value.general_names.len(), 3);
    }

    #[test]
    fn a_replacement_is_served_at_once_and_the_old_hash_is_still_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = CertificateStore::development(folder.path(), now()).expect("made");
        let before = store.hashes();
        assert!(!store.refresh(now()).expect("nothing to do"));
        assert!(store.refresh(now() + Duration::days(6)).expect("replaced"));
        let after = store.hashes();
        assert_eq!(after.len(), 2);
        assert_eq!(after[1], before[0]);
        assert_ne!(after[0], before[0]);
    }

    #[test]
    fn a_damaged_development_certificate_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        private_file::write(&folder.path().join(DEVELOPMENT_FILE), "damaged").expect("written");
        assert!(CertificateStore::development(folder.path(), now()).is_ok());
    }

    #[test]
    fn bad_files_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let make = |name: &str, until: OffsetDateTime| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
            params.not_after = until;
            let certificate = folder.path().join(format!("{name}.crt"));
            let private_key = folder.path().join(format!("{name}.key"));
            std::fs::write(&certificate, params.self_signed(&key).expect("signed").pem()).expect("written");
            std::fs::write(&private_key, key.serialize_pem()).expect("written");
            TlsFiles { certificate, private_key }
        };
        let good = make("good", now() + Duration::days(300));
        let other = make("other", now() + Duration::days(300));
        let expired = make("expired", now() - Duration::days(1));
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").expect("written");
        let broken = folder.path().join("broken");
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .expect("written");
        let missing = folder.path().join("missing");

        let store = CertificateStore::from_files(&good, now()).expect("usable");
        assert!(!store.is_pinned());
        assert!(!store.refresh(now()).expect("unchanged"));

        let with_certificate =
            |certificate: &Path| TlsFiles { certificate: certificate.into(), ..good.clone() };
        let with_key = |private_key: &Path| TlsFiles { private_key: private_key.into(), ..good.clone() };
        let table = [
            (expired, "expired at"),
            (with_key(&other.private_key), "cannot be used with the certificate"),
            (with_certificate(&empty), "no certificate in"),
            (with_certificate(&missing), "no certificate in"),
            (with_certificate(&broken), "damaged certificate"),
            (with_key(&empty), "no private key in"),
            (with_key(&good.certificate), "no private key in"),
        ];
        for (files, expected) in table {
            let message = CertificateStore::from_files(&files, now()).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }

    #[test]
    fn server_configuration_prefers_aes_128_and_carries_the_alpn() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = CertificateStore::development(folder.path(), now()).expect("made");
        let config = rustls_server_config(&store, TlsVersions::V1_3, &[b"h3", b"darktower-media/1"]);
        assert_eq!(config.alpn_protocols, [b"h3".to_vec(), b"darktower-media/1".to_vec()]);
        let first = config.crypto_provider().cipher_suites[0].suite();
        assert_eq!(first, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
}
