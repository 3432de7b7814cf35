//! Settings on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::value::{Dict, Value};

use super::{ConfigError, DEFAULT_FILE, ENV_CONFIG_FILE, LogFormat, insert, value_error};

/// Settings on the command line. Secrets have no flag, because other users can read command lines.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Read this TOML file [default: darktower.toml, if it exists]
    #[arg(long, value_name = "FILE", env = ENV_CONFIG_FILE)]
    pub config: Option<PathBuf>,
    /// Development mode: own short-lived certificate, loopback only, API without a token
    #[arg(long)]
    pub dev: bool,
    /// Folder of database, keys and development certificate [default: darktower-data]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Address of QUIC (UDP) and HTTPS (TCP); may be repeated [default: `[::]:4433`, with --dev loopback only]
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,
    /// Address of HTTP/3 (UDP); may be repeated [default: each address of --listen, next port]
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub http3_listen: Vec<SocketAddr>,
    /// Loopback address of plain HTTP; may be repeated [default: `127.0.0.1:8080` and `[::1]:8080`]
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub http_listen: Vec<SocketAddr>,
    /// Where clients reach API and pages [default: from the bound addresses]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Where clients reach QUIC, if elsewhere [default: the public URL]
    #[arg(long, value_name = "URL")]
    pub public_quic_url: Option<String>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_private_key: Option<PathBuf>,
    /// Threads that carry media [default: one per core]
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Shape of log lines [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which events to log, for example `info,darktower_server=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Write this file when every port is bound
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Which data a command works on, from the same sources as [`Flags`].
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DatabaseFlags {
    /// Read this TOML file [default: darktower.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = ENV_CONFIG_FILE)]
    pub config: Option<PathBuf>,
    /// Folder of database and keys [default: darktower-data]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

impl Flags {
    /// The configuration file: the one that is named, or the one that is there.
    pub(super) fn file(&self) -> Result<Option<PathBuf>, ConfigError> {
        match &self.config {
            Some(path) => {
                std::fs::metadata(path).map_err(|source| ConfigError::File { path: path.clone(), source })?;
                Ok(Some(path.clone()))
            }
            None => Ok(Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists())),
        }
    }

    pub(super) fn layer(&self) -> Result<Dict, ConfigError> {
        let mut dict = Dict::new();
        let mut set = |key: &str, value: Value| insert(&mut dict, key, value);
        let paths = [
            ("data_dir", &self.data_dir),
            ("tls.certificate", &self.tls_certificate),
            ("tls.private_key", &self.tls_private_key),
            ("ready_file", &self.ready_file),
        ];
        for (key, path) in paths {
            if let Some(path) = path {
                set(key, Value::serialize(path).map_err(value_error)?);
            }
        }
        let lists = [
            ("listen", &self.listen),
            ("http3_listen", &self.http3_listen),
            ("http_listen", &self.http_listen),
        ];
        for (key, addresses) in lists {
            if !addresses.is_empty() {
                set(key, Value::serialize(addresses).map_err(value_error)?);
            }
        }
        let texts = [
            ("public_url", &self.public_url),
            ("public_quic_url", &self.public_quic_url),
            ("log.filter", &self.log_filter),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                set(key, Value::from(text.as_str()));
            }
        }
        if let Some(shards) = self.shards {
            set("media.shards", Value::from(shards));
        }
        if let Some(format) = self.log_format {
            set("log.format", Value::serialize(format).map_err(value_error)?);
        }
        // Absent is not "false": the file may have said true.
        if self.dev {
            set("dev", Value::from(true));
        }
        Ok(dict)
    }
}
