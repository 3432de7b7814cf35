//! Why a configuration is refused.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a configuration is refused. Every message says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    File {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key that is no setting.
    #[error("{place}: unknown setting {key}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownKey {
        /// File or environment.
        place: String,
        /// The key as it was written.
        key: String,
        /// A setting with a similar name.
        nearest: Option<String>,
    },
    /// A value of the wrong kind.
    #[error("{0}")]
    Value(String),
    /// Not development mode and no certificate.
    #[error(
        "no TLS certificate: set tls.certificate and tls.private_key to PEM files, \
         or start with --dev to try the server on this machine only"
    )]
    TlsMissing,
    /// Certificate without key or key without certificate.
    #[error("tls.certificate and tls.private_key belong together: {0} is missing")]
    TlsIncomplete(&'static str),
    /// Client id without secret or the reverse.
    #[error("api.client_id and api.client_secret belong together: {0} is missing")]
    ApiIncomplete(&'static str),
    /// Not a place for a database. The message does not repeat it: there may be a password in it.
    #[error("database_url must be postgres://USER:PASSWORD@HOST/NAME or sqlite:PATH")]
    Database,
    /// A secret that could be guessed.
    #[error(
        "api.client_secret has {len} bytes; it needs at least 32 (for example `openssl rand -base64 32`)"
    )]
    ShortSecret {
        /// Length of the given secret, bytes.
        len: usize,
    },
    /// Nothing to listen on.
    #[error("listen is empty: give at least one IP:PORT")]
    NothingToListenOn,
    /// Development mode on an address that others reach.
    #[error(
        "--dev lets anyone who reaches the server use it, so it refuses to listen on {0}: use a loopback address \
         such as 127.0.0.1, or give certificate and API client instead of --dev"
    )]
    DevNotLoopback(SocketAddr),
    /// Plain HTTP on an address that others reach.
    #[error(
        "http_listen is not encrypted and serves metrics, so it refuses {0}: use a loopback address such as 127.0.0.1"
    )]
    HttpNotLoopback(SocketAddr),
    /// The same TCP address twice.
    #[error("{0} is given twice in listen and http_listen")]
    AddressTwice(SocketAddr),
    /// The same UDP address twice.
    #[error("{0} is given twice in listen and http3_listen; both need a UDP port of their own")]
    UdpAddressTwice(SocketAddr),
    /// Every page in a browser of this machine could use the API without a token.
    #[error("--dev answers without a token, so cors.allowed_origins must not be \"*\": name the origins")]
    DevAnyOrigin,
    /// Neither an address nor a network.
    #[error("{key} = {value:?} is neither an IP address nor a network such as 10.0.0.0/8")]
    Network {
        /// Which setting.
        key: &'static str,
        /// What was given.
        value: String,
    },
    /// A URL that is not an origin.
    #[error("{key} = {value:?} {reason}")]
    Url {
        /// Which setting.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Listening on a wildcard, so the address for clients is unknown.
    #[error(
        "listen is the wildcard address {0}, which clients cannot connect to: set public_url to https://HOST[:PORT]"
    )]
    PublicUrlMissing(SocketAddr),
    /// A number outside its range.
    #[error("{key} = {value} is outside {min}..={max}")]
    Range {
        /// Which setting.
        key: &'static str,
        /// What was given.
        value: u64,
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// A text that must say something.
    #[error("{key} must be 1 to {max} printable characters")]
    Text {
        /// Which setting.
        key: &'static str,
        /// Longest allowed value, characters.
        max: usize,
    },
}
