//! One typed configuration, checked as a whole before anything is bound.
//!
//! Sources, lowest to highest: the defaults below, a TOML file, environment variables (`DARKTOWER_` and the key in
//! capitals, `__` between the parts: `DARKTOWER_LIMITS__MAX_PARTICIPANTS`), command-line flags. A key that does not
//! exist is an error in every source, never a silent no-op; only the variables of other programs (`ENV_OF_OTHERS`)
//! are passed over. `Settings` documents each knob.

mod error;
mod flags;
mod requests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Authority;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::storage::DatabaseLocation;
use crate::transport::socket::MAX_SHARDS;
pub use error::ConfigError;
pub use flags::{DatabaseFlags, Flags};
use requests::CorsSettings;
pub use requests::{AllowedOrigins, RateLimits};

/// The file that is read when it exists in the working directory and `--config` names no other.
pub const DEFAULT_FILE: &str = "darktower.toml";

/// The database of a server that names none, in its data folder.
const DATABASE_FILE: &str = "darktower.db";

const ENV_PREFIX: &str = "DARKTOWER_";
/// Names the configuration file itself, so it is not a setting.
const ENV_CONFIG_FILE: &str = "DARKTOWER_CONFIG";
/// Variables of the command line `darktower-client` (its `--server`, `--api-token` and `--token`) and of the tests. A
/// shell that has them set must be able to start the server too.
const ENV_OF_OTHERS: [&str; 4] =
    ["DARKTOWER_SERVER", "DARKTOWER_API_TOKEN", "DARKTOWER_JOIN_TOKEN", "DARKTOWER_MEDIA_DIR"];
/// Below this a secret can be guessed; a random 32-byte value cannot.
const MIN_SECRET_LEN: usize = 32;

/// The checked configuration of one server process.
///
/// Only [`Config::load`] and [`Config::for_tests`] make one, and both check it, so whoever holds it may rely on the
/// rules that [`ConfigError`] names.
#[derive(Clone, Debug)]
pub struct Config {
    /// Development mode: own certificate, loopback only, no bearer token needed for the API.
    pub dev: bool,
    /// Folder of database, keys and development certificate.
    pub data_dir: PathBuf,
    /// Addresses of QUIC (UDP) and HTTPS (TCP), both at the same port. Never empty; loopback only if `dev`.
    pub listen: Vec<SocketAddr>,
    /// Addresses of HTTP/3 (UDP), apart from those of QUIC sessions. Loopback only if `dev`.
    pub http3_listen: Vec<SocketAddr>,
    /// Loopback addresses of plain HTTP.
    pub http_listen: Vec<SocketAddr>,
    /// Pages of other sites that may use the API.
    pub allowed_origins: AllowedOrigins,
    /// How often things may be asked for.
    pub rate_limits: RateLimits,
    /// Proxies whose word about the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origin (`https://HOST[:PORT]`, no slash at the end) of API and pages as clients reach them.
    pub public_url: Option<String>,
    /// Origin of QUIC sessions as clients reach them.
    pub public_quic_url: Option<String>,
    /// Region name told to clients.
    pub region: String,
    /// Certificate and key in PEM files; always present unless `dev`.
    pub tls: Option<TlsFiles>,
    /// A machine client that belongs to the configuration; further ones are in the database.
    pub api: Option<ApiClient>,
    /// Where the facts are kept.
    pub database: DatabaseLocation,
    /// Accounts and their tokens.
    pub accounts: Accounts,
    /// Bounds on what one client or meeting may use.
    pub limits: Limits,
    /// What the server does by itself.
    pub jobs: Jobs,
    /// How media is carried.
    pub media: Media,
    /// What is logged and how.
    pub log: LogSettings,
    /// File written when every port is bound, for whoever started the server.
    pub ready_file: Option<PathBuf>,
    /// How long running requests and sessions may take to finish after a stop signal.
    pub shutdown_grace: Duration,
}

/// Paths of a certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file: the certificate of this server first, then the intermediates.
    pub certificate: PathBuf,
    /// PEM file: the private key of the first certificate.
    pub private_key: PathBuf,
}

/// The machine client that may ask for access tokens.
#[derive(Clone, Debug)]
pub struct ApiClient {
    /// Public name of the client.
    pub client_id: String,
    /// What it proves itself with, 32 bytes or more.
    pub client_secret: Secret,
}

/// A value that never appears in logs or messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself. Compare it in constant time.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Bounds on what one client or meeting may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Participants one meeting may have at most, and the value of a meeting that asks for none.
    /// Default 100. Each participant costs one QUIC session and its share of every stream's fan-out.
    pub max_participants: u32,
    /// Sessions of one organization that may run at one time, unless the organization says so itself; 0 is any number.
    /// Default 25, in development mode 0. Who would begin one more is refused with `CAPACITY_EXCEEDED`.
    pub max_concurrent_meetings: u32,
    /// Minutes after which a session is ended, unless its organization says so itself. Default 1440, a day.
    pub max_meeting_minutes: u32,
    /// Payload of one audio unit, bytes. Default 64 KiB. It bounds what a publisher can make the server hold.
    pub audio_payload_bytes: u32,
    /// Payload of one video unit, bytes. Default 4 MiB, enough for a 4K key frame. Same cost.
    pub video_payload_bytes: u32,
    /// Signaling messages one participant may send per minute. Default 1000. More lets one participant keep the
    /// controller busier.
    pub messages_per_minute: u32,
    /// Seconds after which a subscriber that takes no media, although there is some for it, is disconnected.
    /// Default 30. Until then it costs at most its send buffers, 640 KiB.
    pub slow_subscriber_seconds: u32,
    /// Seconds for which somebody whose connection is lost keeps its place in the meeting, 0 to 300. Default 15. Others see
    /// it as reconnecting for so long.
    pub reconnect_grace_seconds: u32,
    /// Participants of a meeting whose audio is forwarded at one time, the loudest and those in the spotlight, of those whose
    /// clients tell how loud they are. Default 4; 0 forwards all. More costs every listener's path and the server.
    pub heard_participants: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_participants: 100,
            max_concurrent_meetings: 25,
            max_meeting_minutes: 24 * 60,
            audio_payload_bytes: 64 * 1024,
            video_payload_bytes: 4 * 1024 * 1024,
            messages_per_minute: 1000,
            slow_subscriber_seconds: 30,
            reconnect_grace_seconds: 15,
            heard_participants: 4,
        }
    }
}

/// Accounts and their tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Whether anybody may register an organization of their own. Default false: accounts are made by those who have one.
    pub open_registration: bool,
    /// Minutes that the access token of a login works. Default 15. Longer spares refreshes; a stolen one works as long.
    pub access_token_minutes: u32,
    /// Days after which somebody who did not come back has to sign in again. Default 30.
    pub refresh_token_days: u32,
    /// Shortest password, characters. Default 10, which is also the least.
    pub min_password_length: u32,
    /// Days after which a new key signs tokens. Default 90; 0 never makes one by itself. Costs one file, and nobody notices.
    pub key_rotation_days: u32,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            open_registration: false,
            access_token_minutes: 15,
            refresh_token_days: 30,
            min_password_length: 10,
            key_rotation_days: 90,
        }
    }
}

/// What the server does by itself. Intervals are seconds from the end of one run to the next; 0 turns the job off. The
/// first run is at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// Activate scheduled meetings whose time has come. Default 10: so late a meeting may begin that nobody joins early.
    pub activate_due_seconds: u64,
    /// End sessions that no server takes care of any more. Default 60.
    pub stale_sessions_seconds: u64,
    /// Seconds without a sign of its server after which a session counts as such. Default 120; a server gives one every
    /// 30 seconds, and less than two of them would end sessions that go on. A server that has not reached the database for
    /// as long ends none: the others may not have either.
    pub stale_after_seconds: u64,
    /// End sessions that have gone on for longer than their organization allows, `limits.max_meeting_minutes` if it says
    /// nothing. Default 60.
    pub overlong_sessions_seconds: u64,
    /// End meetings that nobody has ever joined, unless they are permanent. Default 600.
    pub unjoined_meetings_seconds: u64,
    /// Hours after its creation when an instant meeting that nobody joined ends, and after its time a scheduled one whose
    /// end is not set. Default 24, the life of a join token.
    pub unjoined_after_hours: u32,
    /// Delete what is over for longer than it is kept, and tokens that have ended. Default 3600.
    pub clean_seconds: u64,
    /// Days for which ended meetings, ended sessions, participants whose tokens have ended and the audit log are kept. Default
    /// 90.
    pub retention_days: u32,
    /// Days for which the samples of how media got through are kept: a row for each participant and ten seconds. Their totals
    /// are kept with the session. Default 7.
    pub quality_retention_days: u32,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            activate_due_seconds: 10,
            stale_sessions_seconds: 60,
            stale_after_seconds: 120,
            overlong_sessions_seconds: 60,
            unjoined_meetings_seconds: 600,
            unjoined_after_hours: 24,
            clean_seconds: 3600,
            retention_days: 90,
            quality_retention_days: 7,
        }
    }
}

/// How media is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Threads that carry media, each with its own UDP socket per address. Default 0: one per core that this process
    /// may use. Fewer leave cores to others; more than cores cost context switches.
    pub shards: u32,
    /// Milliseconds that media may wait to leave in one packet with other media of the same subscriber: audio of all but
    /// the first speaker, and delta frames for subscribers of many streams. Default 4. At 0 every unit leaves alone,
    /// which costs up to four times the CPU; 20 is cheapest for audio and adds that much delay. From half of a core in use on
    /// it grows by itself, up to 20 at 85 %.
    pub company_milliseconds: u32,
    /// Percent of its core that a shard may be busy before it refuses new media sessions, so that those who are there
    /// keep their quality. Default 95; 100 never refuses.
    pub max_load_percent: u32,
}

impl Default for Media {
    fn default() -> Self {
        Self { shards: 0, company_milliseconds: 4, max_load_percent: 95 }
    }
}

impl Media {
    /// Number of shards, at least 1.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        match self.shards as usize {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_SHARDS),
            shards => shards,
        }
    }
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// `text` for people (default) or `json`, one object per line, for machines. On standard error.
    pub format: LogFormat,
    /// Which events, in the syntax of `tracing_subscriber::EnvFilter`. Default `info`. `debug` logs every request
    /// and costs accordingly; `trace` is not for production.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// Every knob as it is written in file and environment; the key is the field's name. Not for debug output: there are
/// secrets among them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Development mode. Default false. Makes a short-lived certificate, lets anyone on this machine use the API
    /// without a token, and therefore refuses addresses that are not loopback.
    dev: bool,
    /// Folder of database, keys and development certificate; made with mode 0700 if missing.
    /// Default `darktower-data` in the working directory. Back it up as one.
    data_dir: PathBuf,
    /// `IP:PORT` list. UDP carries QUIC, TCP the API over TLS, at the same port. Default `[::]:4433`, in
    /// development mode `127.0.0.1:4433` and `[::1]:4433`. Each address costs one UDP and one TCP socket.
    listen: Vec<SocketAddr>,
    /// `IP:PORT` list of HTTP/3 (UDP), for API and pages; `listen` is for QUIC sessions. Default: each address of
    /// `listen` with the port after it (`[::]:4434`); empty turns HTTP/3 off. Clients learn of it from `Alt-Svc`.
    http3_listen: Option<Vec<SocketAddr>>,
    /// `IP:PORT` list of plain HTTP, loopback only: health and metrics, in development mode API and pages too.
    /// Default `127.0.0.1:8080` and `[::1]:8080`; empty turns it off.
    http_listen: Vec<SocketAddr>,
    /// `https://HOST[:PORT]` under which clients reach API and pages. Default: from the bound addresses. Needed
    /// outside development mode if `listen` is a wildcard, because clients cannot connect to a wildcard.
    public_url: Option<String>,
    /// `https://HOST[:PORT]` under which clients reach QUIC, if that is another host or port. Default: `public_url`.
    public_quic_url: Option<String>,
    /// Region name told to clients. Default `local`.
    region: String,
    /// Certificate and key. Both or none; needed outside development mode.
    tls: TlsSettings,
    /// The machine client for `POST /api/v1/auth/token`, with every scope in the default organization. Both or none; needed
    /// outside development mode.
    api: ApiSettings,
    cors: CorsSettings,
    rate_limits: RateLimits,
    /// `IP` or `IP/PREFIX` list of reverse proxies. Default none. What they say of a client's address (`Forwarded`,
    /// `X-Forwarded-For`) is believed, and from nobody else: it decides whose rate limit a request counts against.
    trusted_proxies: Vec<String>,
    /// `postgres://USER:PASSWORD@HOST/NAME` or `sqlite:PATH`. Default: the SQLite file `darktower.db` in `data_dir`. Only from
    /// file or environment, because it may hold a password.
    database_url: Option<String>,
    accounts: Accounts,
    limits: Limits,
    jobs: Jobs,
    media: Media,
    log: LogSettings,
    /// A file that is written when every port is bound. Default none.
    ready_file: Option<PathBuf>,
    /// Seconds that requests and sessions may take to finish after a stop signal. Default 5. A longer time delays
    /// restarts by as much when a client never finishes.
    shutdown_grace_seconds: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSettings {
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiSettings {
    client_id: Option<String>,
    client_secret: Option<String>,
}

impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Settings {
    fn defaults(dev: bool) -> Self {
        let loopback = |port| {
            vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
        };
        Self {
            dev,
            data_dir: PathBuf::from("darktower-data"),
            listen: if dev { loopback(4433) } else { vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 4433))] },
            http3_listen: None,
            http_listen: loopback(8080),
            public_url: None,
            public_quic_url: None,
            region: "local".to_owned(),
            tls: TlsSettings::default(),
            api: ApiSettings::default(),
            cors: CorsSettings::default(),
            rate_limits: RateLimits::defaults(dev),
            trusted_proxies: Vec::new(),
            database_url: None,
            accounts: Accounts::default(),
            limits: if dev {
                Limits { max_concurrent_meetings: 0, ..Limits::default() }
            } else {
                Limits::default()
            },
            jobs: Jobs::default(),
            media: Media::default(),
            log: LogSettings::default(),
            ready_file: None,
            shutdown_grace_seconds: 5,
        }
    }

    /// The settings as a tree: which keys exist and of what kind each is.
    fn shape() -> Dict {
        // Absent by default, because the default depends on another setting.
        let settings = Self { http3_listen: Some(Vec::new()), ..Self::defaults(false) };
        match Value::serialize(settings) {
            Ok(Value::Dict(_, dict)) => dict,
            _ => unreachable!("a struct serializes to a dictionary"),
        }
    }
}

impl Config {
    /// Reads and checks the configuration of this process.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing wrong.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let file = flags.file()?;
        Self::from_layers(file.as_deref(), std::env::vars(), flags)
    }

    /// The data folder and the database of a server with this configuration. What else such a server needs, a certificate
    /// for example, may be missing.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing wrong.
    pub fn load_database(flags: &DatabaseFlags) -> Result<(PathBuf, DatabaseLocation), ConfigError> {
        let DatabaseFlags { config, data_dir } = flags.clone();
        let flags = Flags { config, data_dir, ..Flags::default() };
        let settings = Self::read(flags.file()?.as_deref(), std::env::vars(), &flags)?;
        let database = database(settings.database_url, &settings.data_dir)?;
        Ok((settings.data_dir, database))
    }

    /// Development mode on free ports of 127.0.0.1, everything else as by default.
    #[must_use]
    pub fn for_tests(data_dir: &Path) -> Self {
        let free_port = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let settings = Settings {
            data_dir: data_dir.to_owned(),
            listen: free_port.clone(),
            http3_listen: Some(free_port.clone()),
            http_listen: free_port,
            // Tests share the machine: no newcomer is refused because it is busy.
            media: Media { max_load_percent: 100, ..Media::default() },
            // Who is cut off has left soon.
            limits: Limits { reconnect_grace_seconds: 1, ..Limits::default() },
            ..Settings::defaults(true)
        };
        Self::check(settings).expect("these settings are complete and loopback only")
    }

    fn from_layers(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        Self::check(Self::read(file, environment, flags)?)
    }

    /// The settings of every source together, each of the right kind, otherwise unchecked.
    fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Settings, ConfigError> {
        let shape = Settings::shape();
        let mut given = Figment::new();
        if let Some(path) = file {
            let toml = Toml::file_exact(path);
            let place = path.display();
            let data = toml.data().map_err(|error| ConfigError::Value(format!("{place}: {}", error.kind)))?;
            for dict in data.values() {
                refuse_unknown(&place.to_string(), dict, &shape)?;
            }
            given = given.merge(toml);
        }
        given = given.merge(Layer { name: "the environment", dict: environment_layer(environment, &shape)? });
        given = given.merge(Layer { name: "the command line", dict: flags.layer()? });

        // The default of `listen` depends on the mode, so the mode is read first.
        let dev =
            if given.contains("dev") { given.extract_inner("dev").map_err(value_error)? } else { false };
        let all = given.join(Serialized::defaults(Settings::defaults(dev)));
        all.extract().map_err(value_error)
    }

    fn check(settings: Settings) -> Result<Self, ConfigError> {
        let Settings { dev, listen, http_listen, rate_limits, limits, jobs, media, accounts, .. } = settings;
        let http3_listen = settings.http3_listen.unwrap_or_else(|| listen.iter().map(next_port).collect());

        let Some(first) = listen.first().copied() else { return Err(ConfigError::NothingToListenOn) };
        let mut public = listen.iter().chain(&http3_listen);
        if dev && let Some(address) = public.find(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::DevNotLoopback(*address));
        }
        if let Some(address) = http_listen.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::HttpNotLoopback(*address));
        }
        let mut seen = std::collections::BTreeSet::new();
        for address in listen.iter().chain(&http_listen).filter(|address| address.port() != 0) {
            if !seen.insert(*address) {
                return Err(ConfigError::AddressTwice(*address));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for address in listen.iter().chain(&http3_listen).filter(|address| address.port() != 0) {
            if !seen.insert(*address) {
                return Err(ConfigError::UdpAddressTwice(*address));
            }
        }

        let public_url = settings.public_url.map(|url| origin("public_url", url, dev)).transpose()?;
        let public_quic_url =
            settings.public_quic_url.map(|url| origin("public_quic_url", url, false)).transpose()?;

        let tls = match (settings.tls.certificate, settings.tls.private_key) {
            (Some(certificate), Some(private_key)) => Some(TlsFiles { certificate, private_key }),
            (Some(_), None) => return Err(ConfigError::TlsIncomplete("tls.private_key")),
            (None, Some(_)) => return Err(ConfigError::TlsIncomplete("tls.certificate")),
            (None, None) if dev => None,
            (None, None) => return Err(ConfigError::TlsMissing),
        };
        let api = match (settings.api.client_id, settings.api.client_secret) {
            (Some(client_id), Some(secret)) => {
                text("api.client_id", &client_id, 200)?;
                if secret.len() < MIN_SECRET_LEN {
                    return Err(ConfigError::ShortSecret { len: secret.len() });
                }
                Some(ApiClient { client_id, client_secret: Secret(secret) })
            }
            (Some(_), None) => return Err(ConfigError::ApiIncomplete("api.client_secret")),
            (None, Some(_)) => return Err(ConfigError::ApiIncomplete("api.client_id")),
            (None, None) => None,
        };
        let database = database(settings.database_url, &settings.data_dir)?;
        if !dev && public_url.is_none() && first.ip().is_unspecified() {
            return Err(ConfigError::PublicUrlMissing(first));
        }

        let allowed_origins = settings.cors.check(dev)?;
        let trusted_proxies = requests::trusted_proxies(settings.trusted_proxies)?;
        rate_limits.check()?;
        text("region", &settings.region, 64)?;
        range("limits.max_participants", limits.max_participants.into(), 1, 100_000)?;
        // The upper bounds keep one unit well below what a session may buffer by flow control.
        range("limits.audio_payload_bytes", limits.audio_payload_bytes.into(), 1, 1024 * 1024)?;
        range("limits.video_payload_bytes", limits.video_payload_bytes.into(), 1, 64 * 1024 * 1024)?;
        range("limits.messages_per_minute", limits.messages_per_minute.into(), 1, 1_000_000)?;
        range("limits.slow_subscriber_seconds", limits.slow_subscriber_seconds.into(), 1, 3600)?;
        range("limits.heard_participants", limits.heard_participants.into(), 0, 1000)?;
        range("limits.reconnect_grace_seconds", limits.reconnect_grace_seconds.into(), 0, 300)?;
        range("accounts.access_token_minutes", accounts.access_token_minutes.into(), 1, 24 * 60)?;
        range("accounts.refresh_token_days", accounts.refresh_token_days.into(), 1, 365)?;
        range("accounts.min_password_length", accounts.min_password_length.into(), 10, 64)?;
        range("accounts.key_rotation_days", accounts.key_rotation_days.into(), 0, 3650)?;
        range("limits.max_concurrent_meetings", limits.max_concurrent_meetings.into(), 0, 1_000_000)?;
        range("limits.max_meeting_minutes", limits.max_meeting_minutes.into(), 1, 60 * 24 * 366)?;
        for (key, seconds) in [
            ("jobs.activate_due_seconds", jobs.activate_due_seconds),
            ("jobs.stale_sessions_seconds", jobs.stale_sessions_seconds),
            ("jobs.overlong_sessions_seconds", jobs.overlong_sessions_seconds),
            ("jobs.unjoined_meetings_seconds", jobs.unjoined_meetings_seconds),
            ("jobs.clean_seconds", jobs.clean_seconds),
        ] {
            range(key, seconds, 0, 60 * 60 * 24 * 7)?;
        }
        range("jobs.stale_after_seconds", jobs.stale_after_seconds, 60, 60 * 60 * 24)?;
        range("jobs.unjoined_after_hours", jobs.unjoined_after_hours.into(), 1, 24 * 366)?;
        range("jobs.retention_days", jobs.retention_days.into(), 1, 36_500)?;
        range("jobs.quality_retention_days", jobs.quality_retention_days.into(), 1, 36_500)?;
        range("media.shards", media.shards.into(), 0, MAX_SHARDS as u64)?;
        range("media.company_milliseconds", media.company_milliseconds.into(), 0, 100)?;
        range("media.max_load_percent", media.max_load_percent.into(), 1, 100)?;
        range("shutdown_grace_seconds", settings.shutdown_grace_seconds, 0, 3600)?;

        Ok(Self {
            dev,
            data_dir: settings.data_dir,
            listen,
            http3_listen,
            http_listen,
            allowed_origins,
            rate_limits,
            trusted_proxies,
            public_url,
            public_quic_url,
            region: settings.region,
            tls,
            api,
            database,
            accounts,
            limits,
            jobs,
            media,
            log: settings.log,
            ready_file: settings.ready_file,
            shutdown_grace: Duration::from_secs(settings.shutdown_grace_seconds),
        })
    }
}

/// Where HTTP/3 is by default: beside an address of `listen`. A port that the system chooses has no neighbour.
fn next_port(address: &SocketAddr) -> SocketAddr {
    let port = match address.port() {
        0 | u16::MAX => 0,
        port => port + 1,
    };
    SocketAddr::new(address.ip(), port)
}

/// A ready dictionary as one source of figment's.
struct Layer {
    name: &'static str,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// Turns `DARKTOWER_*` variables into settings. What a text means (number, list, text) follows from the kind of the
/// setting, not from how it looks: a secret of digits stays a text.
fn environment_layer(
    vars: impl Iterator<Item = (String, String)>,
    shape: &Dict,
) -> Result<Dict, ConfigError> {
    let known = paths(shape);
    let mut dict = Dict::new();
    // Sorted, so that the first error does not depend on the order of the environment.
    let vars: BTreeMap<_, _> = vars
        .filter(|(name, _)| {
            name.starts_with(ENV_PREFIX) && name != ENV_CONFIG_FILE && !ENV_OF_OTHERS.contains(&name.as_str())
        })
        .collect();
    for (name, text) in vars {
        let path = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
        let Some(kind) = known.get(&path) else {
            return Err(ConfigError::UnknownKey {
                place: "the environment".to_owned(),
                nearest: nearest(&path, &known).map(|near| variable(&near)),
                key: name,
            });
        };
        let wrong =
            |expected| ConfigError::Value(format!("environment variable {name}: expected {expected}"));
        let value = match kind {
            Value::Bool(..) => Value::from(text.parse::<bool>().map_err(|_| wrong("true or false"))?),
            Value::Num(..) => Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?),
            Value::Array(..) => Value::from(
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(Value::from)
                    .collect::<Vec<_>>(),
            ),
            _ => Value::from(text),
        };
        insert(&mut dict, &path, value);
    }
    Ok(dict)
}

fn variable(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.to_uppercase().replace('.', "__"))
}

/// Puts `value` at a dotted path, making the tables on the way.
fn insert(dict: &mut Dict, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            dict.insert(path.to_owned(), value);
        }
        Some((table, rest)) => {
            let entry = dict.entry(table.to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

/// Every setting and every table by its dotted path.
fn paths(shape: &Dict) -> BTreeMap<String, &Value> {
    fn walk<'a>(prefix: &str, dict: &'a Dict, into: &mut BTreeMap<String, &'a Value>) {
        for (key, value) in dict {
            if let Value::Dict(_, inner) = value {
                walk(&format!("{prefix}{key}."), inner, into);
            }
            into.insert(format!("{prefix}{key}"), value);
        }
    }
    let mut all = BTreeMap::new();
    walk("", shape, &mut all);
    all
}

fn refuse_unknown(place: &str, dict: &Dict, shape: &Dict) -> Result<(), ConfigError> {
    fn walk(prefix: &str, dict: &Dict, shape: &Dict) -> Option<String> {
        dict.iter().find_map(|(key, value)| match (shape.get(key), value) {
            (None, _) => Some(format!("{prefix}{key}")),
            (Some(Value::Dict(_, known)), Value::Dict(_, inner)) => {
                walk(&format!("{prefix}{key}."), inner, known)
            }
            // A table where a value belongs, or the reverse: reported with its kind when the settings are read.
            (Some(_), _) => None,
        })
    }
    match walk("", dict, shape) {
        None => Ok(()),
        Some(key) => {
            let nearest = nearest(&key, &paths(shape));
            Err(ConfigError::UnknownKey { place: place.to_owned(), key, nearest })
        }
    }
}

fn nearest(path: &str, known: &BTreeMap<String, &Value>) -> Option<String> {
    known
        .keys()
        .map(|candidate| (strsim::damerau_levenshtein(path, candidate), candidate))
        .min()
        // More than a third of the name changed is another name, not a slip.
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .map(|(_, candidate)| candidate.clone())
}

/// figment's first complaint as one line: what, which setting, which source.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn value_error(error: figment::Error) -> ConfigError {
    let setting = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path.join(".")) };
    let place = error.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        _ => metadata.name.to_string(),
    });
    let place = place.map(|place| format!(" (in {place})")).unwrap_or_default();
    ConfigError::Value(format!("{setting}{}{place}", error.kind))
}

fn database(url: Option<String>, data_dir: &Path) -> Result<DatabaseLocation, ConfigError> {
    let Some(url) = url else { return Ok(DatabaseLocation::Sqlite(data_dir.join(DATABASE_FILE))) };
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => {
            Ok(DatabaseLocation::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
        }
        Some(("postgres" | "postgresql", _)) => Ok(DatabaseLocation::Postgres(url)),
        _ => Err(ConfigError::Database),
    }
}

/// An origin in the one form that browsers name their pages by: in lower case, without the port that goes without saying.
fn as_browsers_write(scheme: &str, authority: &Authority, usual_port: &str) -> String {
    let authority = authority.as_str().to_ascii_lowercase();
    format!("{scheme}://{}", authority.strip_suffix(usual_port).unwrap_or(&authority))
}

fn origin(key: &'static str, value: String, plain_allowed: bool) -> Result<String, ConfigError> {
    let reason = match value.parse::<Uri>() {
        Err(_) => "is not a URL",
        Ok(uri) => match (uri.scheme_str(), uri.authority()) {
            (Some("https"), Some(_)) | (Some("http"), Some(_))
                if uri.path() != "/" || uri.query().is_some() =>
            {
                "must be scheme, host and port only, without a path"
            }
            (Some(_), Some(authority)) if authority.as_str().contains('@') => "must not contain a user name",
            (Some("https"), Some(authority)) => return Ok(as_browsers_write("https", authority, ":443")),
            (Some("http"), Some(authority)) if plain_allowed => {
                return Ok(as_browsers_write("http", authority, ":80"));
            }
            _ => "must begin with https://",
        },
    };
    Err(ConfigError::Url { key, value, reason })
}

fn range(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { key, value, min, max }) }
}

fn text(key: &'static str, value: &str, max: usize) -> Result<(), ConfigError> {
    let count = value.chars().count();
    if count == 0 || count > max || value.chars().any(char::is_control) {
        return Err(ConfigError::Text { key, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
