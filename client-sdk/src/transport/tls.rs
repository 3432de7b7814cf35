//! One TLS recipe for all connections: aws-lc-rs, and a choice of whom to trust.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// TLS sessions that are remembered: eight of a server.
const REMEMBERED_SESSIONS: usize = 16;

/// Which server certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that an authority in the system's root store vouches for, under the name in the URL.
    System,
    /// Exactly those whose DER encoding has one of these SHA-256 hashes, whatever their name and
    /// dates: what `serverCertificateHashes` is to browsers. For the server's self-signed
    /// certificate, whose hash the REST API and the server's log tell.
    PinnedSha256(Vec<[u8; 32]>),
}

impl Trust {
    /// The hash that [`Trust::PinnedSha256`] wants, of a certificate in DER.
    pub fn hash(certificate_der: &[u8]) -> [u8; 32] {
        Sha256::digest(certificate_der).into()
    }
}

/// For the REST API.
pub(crate) fn https_config(trust: &Trust) -> Result<ClientConfig, Error> {
    config(trust, rustls::ALL_VERSIONS, &[b"h2", b"http/1.1"])
}

/// For QUIC, without application protocols. Its clones share what they remember of servers.
pub(super) fn quic_config(trust: &Trust) -> Result<ClientConfig, Error> {
    let mut config = config(trust, &[&rustls::version::TLS13], &[])?;
    // For the second connection of a participant and for coming back, while any is left: each attempt uses one up. Room for
    // more costs memory at once.
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SESSIONS);
    Ok(config)
}

fn config(
    trust: &Trust,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Error::transport("the TLS provider lacks a version", error))?;
    let mut config = match trust {
        Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Trust::PinnedSha256(hashes) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { hashes: hashes.clone(), provider }))
            .with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// AES-128-GCM first: QUIC needs it for its first packets anyway, and it is the cheapest to seal with.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let preferred = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.suite();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != preferred);
    provider
}

/// Makes the cryptography library gather its first randomness, which takes it 40 ms once per
/// process. Whoever joins a meeting later need not wait for it; calling this is never needed.
pub fn warm_up() {
    let mut byte = [0];
    // Without randomness the first handshake fails, and says so.
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut byte);
}

/// The system's roots, read once: on Linux that is a walk over a few hundred files.
fn system_roots() -> Result<Arc<RootCertStore>, Error> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        return Err(match loaded.errors.into_iter().next() {
            Some(error) => Error::transport("cannot read the system's root certificates", error),
            None => {
                Error::Invalid("the system has no root certificates; pin the server's certificate".to_owned())
            }
        });
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

#[derive(Debug)]
struct Pinned {
    hashes: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.hashes.contains(&Trust::hash(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
