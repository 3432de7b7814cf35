//! Which server and meeting a command means, and how it joins.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use darktower_client::api::{Api, JoinGrant, NewMeeting};
use darktower_client::{Error, Event, Features, JoinOptions, Meeting, MeetingId, TransportKind, Trust};

use crate::Usage;

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// How long leaving may take: the server is told, or finds out by itself.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Meeting and connection")]
// Its name would be that of the commands' own options.
#[group(skip)]
pub(crate) struct Args {
    /// Server to talk to, as its API is reached [default: where the address in --meeting points, else
    /// http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "DARKTOWER_SERVER")]
    server: Option<String>,
    /// Meeting to join: its address (http://HOST/m/NAME), its short name, or its id
    #[arg(long, value_name = "ADDRESS|NAME|ID")]
    meeting: Option<String>,
    /// Name that the others see
    #[arg(long)]
    name: Option<String>,
    /// How media and signaling travel: raw QUIC, or WebTransport as browsers speak it
    #[arg(long, value_enum, default_value_t = Transport::Quic)]
    transport: Transport,
    /// Offer no optional feature: one QUIC stream per media stream, no datagrams
    #[arg(long)]
    baseline: bool,
    /// Join with this token, which the API issued for --meeting, instead of asking for one
    #[arg(long, requires = "meeting", env = "DARKTOWER_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Accept only a certificate with this SHA-256 [default: the one the API names, else the system's authorities]
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    certificate_sha256: Option<[u8; 32]>,
    /// Bearer token for the API
    #[arg(long, value_name = "TOKEN", env = "DARKTOWER_API_TOKEN", hide_env_values = true)]
    api_token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Quic,
    Webtransport,
}

impl Args {
    /// Whether a join token was given, which lets one participant in.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

/// What to do when no meeting is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutMeeting<'a> {
    /// Create one of this name.
    Create(&'a str),
    /// Say that --meeting is missing.
    Refuse,
}

/// A meeting on a server, ready to be joined.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    api: Api,
    server: String,
    meeting_id: MeetingId,
    options: JoinOptions,
    name: Option<String>,
    /// The right to join once, if there is one already.
    grant: Option<JoinGrant>,
    /// What to type after `--meeting` to get here.
    pub(crate) address: String,
    /// Whether the meeting did not exist before.
    pub(crate) is_new: bool,
}

impl Target {
    /// Finds the meeting that `args` name.
    pub(crate) async fn find(args: Args, without: WithoutMeeting<'_>) -> Result<Self> {
        if args.meeting.is_none() && without == WithoutMeeting::Refuse {
            bail!(Usage(
                "which meeting? Give its address, as whoever created it got it: --meeting http://HOST/m/NAME"
                    .to_owned()
            ));
        }
        let of_link = args.meeting.as_deref().and_then(server_of_link).map(str::to_owned);
        let server = args
            .server
            .filter(|server| !server.is_empty())
            .or(of_link)
            .unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let trust = args.certificate_sha256.map(|hash| Trust::PinnedSha256(vec![hash]));
        let mut api = Api::new(&server, trust.clone().unwrap_or(Trust::System))?;
        if let Some(token) = args.api_token {
            api = api.with_bearer_token(token);
        }
        let transport = match args.transport {
            Transport::Quic => TransportKind::Native,
            Transport::Webtransport => TransportKind::WebTransport,
        };
        let mut options = JoinOptions::default()
            .transport(transport)
            .on_waiting(|_| eprintln!("waiting until somebody lets this participant in"));
        if args.baseline {
            options = options.features(Features::NONE);
        }
        if let Some(trust) = trust {
            options = options.trust(trust);
        }
        match (args.meeting, without) {
            (Some(meeting), _) => {
                let info = api.meeting(&meeting).await.map_err(|error| match error {
                    Error::Api { status: 404, .. } => {
                        anyhow::anyhow!("there is no meeting {meeting:?} at {server}")
                    }
                    error => explain(error, &server),
                })?;
                let grant = match args.token {
                    None => None,
                    Some(join_token) => Some(JoinGrant {
                        participant_id: None,
                        meeting_id: info.meeting_id,
                        join_token,
                        meeting_controller_url: info.meeting_controller_url,
                        expires_at: None,
                        certificate_hashes: api
                            .certificate_hashes()
                            .await
                            .map_err(|error| explain(error, &server))?,
                    }),
                };
                Ok(Self {
                    meeting_id: info.meeting_id,
                    address: meeting,
                    is_new: false,
                    api,
                    server,
                    options,
                    name: args.name,
                    grant,
                })
            }
            (None, WithoutMeeting::Create(name)) => {
                let created = api
                    .create_meeting(&NewMeeting::named(name))
                    .await
                    .map_err(|error| explain(error, &server))?;
                Ok(Self {
                    meeting_id: created.meeting_id,
                    address: created.meeting_url.clone(),
                    is_new: true,
                    api,
                    server,
                    options,
                    name: args.name,
                    grant: Some(created.into_host_grant()),
                })
            }
            (None, WithoutMeeting::Refuse) => unreachable!("refused above"),
        }
    }

    /// Joins as the only participant of this command: with the grant there is, else with one for `default_name`. The
    /// name that the user chose beats both.
    pub(crate) async fn join(&self, default_name: &str) -> Result<Meeting> {
        let Some(grant) = &self.grant else {
            return self.join_as(self.name_or(default_name)).await;
        };
        let mut options = self.options.clone();
        let name = self.name_or(default_name);
        // A token for somebody names them.
        if self.is_new || self.name.is_some() {
            options = options.name(name);
        }
        join_with(grant, options, name).await
    }

    /// Joins as [`join`](Self::join) does, but as a host if the API is asked for a grant.
    pub(crate) async fn join_as_host(&self, default_name: &str) -> Result<Meeting> {
        if self.grant.is_some() {
            return self.join(default_name).await;
        }
        let name = self.name_or(default_name);
        let grant = self
            .api
            .host_grant(self.meeting_id, name)
            .await
            .map_err(|error| explain(error, &self.server))
            .with_context(|| format!("{name:?} may not join {} as a host", self.address))?;
        join_with(&grant, self.options.clone(), name).await
    }

    /// Joins under `name`, any number of times.
    pub(crate) async fn join_as(&self, name: &str) -> Result<Meeting> {
        let grant = self
            .api
            .join_grant(self.meeting_id, name)
            .await
            .map_err(|error| explain(error, &self.server))
            .with_context(|| format!("{name:?} may not join {}", self.address))?;
        join_with(&grant, self.options.clone(), name).await
    }

    /// The name that the user chose for all participants of this command.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name of the only participant of this command.
    pub(crate) fn name_or<'a>(&'a self, default_name: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(default_name)
    }

    /// How to run another command of this program on the same meeting.
    pub(crate) fn hint(&self, command: &str) -> String {
        let program = std::env::current_exe().ok().and_then(|program| {
            let here = std::env::current_dir().ok()?;
            Some(program.strip_prefix(here).unwrap_or(&program).display().to_string())
        });
        let program = program.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
        let server = match server_of_link(&self.address) {
            Some(_) => String::new(),
            None => format!(" --server {}", self.server),
        };
        format!("{program} {command}{server} --meeting {}", self.address)
    }
}

async fn join_with(grant: &JoinGrant, options: JoinOptions, name: &str) -> Result<Meeting> {
    let url = &grant.meeting_controller_url;
    Meeting::join(grant, options)
        .await
        .map_err(|error| explain_join(error, url))
        .with_context(|| format!("{name:?} cannot join the meeting (session at {url})"))
}

/// Ends a session in order, if that does not take long.
pub(crate) async fn leave(meeting: Meeting) {
    match tokio::time::timeout(LEAVE_LIMIT, meeting.leave()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "leaving failed"),
        Err(_) => tracing::debug!("leaving took too long"),
    }
}

/// Waits until the session of `name` has ended, and says why; meanwhile tells on standard error how it goes.
pub(crate) async fn ended(meeting: &Meeting, name: &str) -> anyhow::Error {
    let mut events = meeting.events();
    while let Some(event) = events.next().await {
        if let Event::Closed { code, message } = event {
            return closed(code, &message);
        }
        tell(name, &event);
    }
    anyhow::anyhow!("the session has ended")
}

/// Tells on standard error what an event says of the connection of `name` to the server.
pub(crate) fn tell(name: &str, event: &Event) {
    if let Some(news) = news(event) {
        eprintln!("{name}: {news}");
    }
}

/// What an event says of the connection to the server, for people.
pub(crate) fn news(event: &Event) -> Option<String> {
    match event {
        Event::GoAway { deadline, .. } => {
            Some(format!("the server is about to stop, within {} s", deadline.as_secs()))
        }
        Event::Reconnecting => Some("the connection to the server is lost; trying again".to_owned()),
        Event::Reconnected { rejoined, after } => {
            let how = if *rejoined { ", joined again" } else { "" };
            Some(format!("connected again after {:.1} s{how}", after.as_secs_f64()))
        }
        _ => None,
    }
}

/// The error that a closed session is to a command that wanted to go on.
pub(crate) fn closed(code: darktower_client::Code, message: &str) -> anyhow::Error {
    match message {
        "" => anyhow::anyhow!("the session has ended: {code}"),
        message => anyhow::anyhow!("the session has ended: {code}, {message}"),
    }
}

/// An error of the network or the API, with what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Advised {
    problem: String,
    pub(crate) help: &'static str,
    source: Error,
}

const HELP_CERTIFICATE: &str =
    "if this is your own server, give the SHA-256 that it prints when it starts: --certificate-sha256 HEX";

/// An error of the API at `server`.
fn explain(error: Error, server: &str) -> anyhow::Error {
    let (problem, help) = match &error {
        Error::Transport { .. } if is_certificate(&error) => {
            (format!("the certificate of {server} cannot be trusted"), HELP_CERTIFICATE)
        }
        Error::Transport { .. } => (
            format!("no answer from {server}"),
            "start a server on this machine with `darktower serve --dev`, or name another with --server URL",
        ),
        Error::Api { status: 401 | 403, .. } => {
            (format!("{server} wants to know who asks"), "give a bearer token with --api-token")
        }
        Error::Api { status: 404, code, .. } if code.is_empty() => (
            format!("{server} does not look like a Dark Tower server"),
            "name the right one with --server URL",
        ),
        _ => return error.into(),
    };
    Advised { problem, help, source: error }.into()
}

/// An error of joining through `url`.
fn explain_join(error: Error, url: &str) -> anyhow::Error {
    if is_certificate(&error) {
        let problem = format!("the certificate of {url} cannot be trusted");
        return Advised { problem, help: HELP_CERTIFICATE, source: error }.into();
    }
    error.into()
}

/// Whether the server's certificate was the problem. The libraries in between tell it in words only.
fn is_certificate(error: &Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The server's URL in a link to a meeting, which is everything before `/m/NAME`.
fn server_of_link(link: &str) -> Option<&str> {
    let (scheme, rest) = link.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let path = rest.find("/m/")?;
    Some(&link[..scheme.len() + 3 + path])
}

/// 64 hex digits, with or without colons.
fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = || {
        "expected 64 hex digits, for example as `openssl x509 -fingerprint -sha256` prints them".to_owned()
    };
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return Err(wrong());
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_its_server() {
        assert_eq!(server_of_link("http://127.0.0.1:8080/m/brave-otter"), Some("http://127.0.0.1:8080"));
        assert_eq!(server_of_link("https://example.org/base/m/x?y"), Some("https://example.org/base"));
        for other in ["brave-otter", "ftp://example.org/m/x", "https://example.org/", ""] {
            assert_eq!(server_of_link(other), None, "{other:?}");
        }
    }

    #[test]
    fn hashes_are_64_hex_digits() {
        assert_eq!(parse_sha256(&"0f".repeat(32)), Ok([0x0f; 32]));
        assert_eq!(parse_sha256(&["FF"; 32].join(":")), Ok([0xff; 32]));
        for bad in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), &"é".repeat(64)] {
            assert!(parse_sha256(bad).is_err(), "{bad:?}");
        }
    }
}
