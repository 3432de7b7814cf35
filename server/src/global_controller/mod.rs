//! The global controller: the HTTP API, the tokens it hands out, and the pages for people.
//!
//! `api` and `pages` parse, call the logic (`meetings` and the modules around it) and render; `jobs` is what happens by
//! the clock. What is live (who is in a meeting now) comes
//! through [`LiveMeetings`] from the meeting controller; what lasts comes from [`Store`].

mod accounts;
mod api;
mod audit;
mod caller;
mod clients;
mod directory;
mod error;
mod extract;
pub mod http;
mod invitations;
mod jobs;
mod known_meetings;
mod known_organizations;
mod layers;
mod meetings;
mod openapi;
mod organizations;
mod pages;
mod participants;
mod path;
mod presets;
mod rate_limit;
mod reference;
mod rules;
mod sessions;
mod text;
mod users;
mod web_app;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::HeaderValue;
use axum::routing::get;
use axum::{Router, middleware};
use darktower_core::preset::Preset;
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId, StreamId};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::auth::TokenService;
use crate::auth::keys::READ_EVERY;
use crate::certificate::CertificateStore;
use crate::config::Config;
use crate::storage::Store;
use crate::storage::model::{IssuedParticipant, Meeting, Removal};
use crate::telemetry::metrics::Exposition;
use accounts::Accounts;
use audit::{Audit, Who};
use clients::Clients;
pub(crate) use clients::new_client_id;
use directory::Directory;
use layers::Exposure;
use meetings::Meetings;
use organizations::Organizations;
pub(crate) use organizations::{Bootstrapped, DEFAULT_SLUG, bootstrap};
use presets::Presets;
use rate_limit::RateLimits;
use rules::Rules;
pub(crate) use text::{email as normalize_email, name as normalize_name};
use users::Users;
use web_app::{AppFiles, BuiltIn};

pub use jobs::Jobs;

/// How often clients that were not there lately are forgotten by the rate limits.
const FORGET_INTERVAL: std::time::Duration = std::time::Duration::from_secs(60);

/// What the meeting controller knows about meetings right now, and can do to them. All calls must answer without
/// waiting.
pub trait LiveMeetings: Send + Sync + 'static {
    /// How many participants are in the meeting; 0 for a meeting nobody joined.
    fn participant_count(&self, meeting: MeetingId) -> usize;

    /// Who is in the meeting, in the order of joining.
    fn roster(&self, meeting: MeetingId) -> Vec<LiveParticipant>;

    /// How many of the participants are guests.
    fn guest_count(&self, meeting: MeetingId) -> usize;

    /// Whether this participant is in the meeting.
    fn is_present(&self, meeting: MeetingId, participant: ParticipantId) -> bool;

    /// Throws out whom a removal names that the store has already: it acts on it once, also when the store tells of it
    /// later. Answers how many that were here.
    fn remove(&self, removal: &Removal) -> usize;

    /// A participant has been given another name, or another preset with the role of its record: it applies at once where
    /// the meeting is live, also if it comes later.
    fn participant_changed(
        &self,
        participant: &IssuedParticipant,
        name: Option<&str>,
        preset: Option<&Preset>,
    );

    /// A meeting has been changed: what applies to it applies at once where it is live.
    fn changed(&self, meeting: &Meeting);

    /// The sessions that run here.
    fn running_sessions(&self) -> Vec<MeetingSessionId>;
}

/// A participant that is in a meeting now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveParticipant {
    /// Who.
    pub participant_id: ParticipantId,
    /// Name shown to the others.
    pub name: String,
    /// Since when.
    pub joined_at: OffsetDateTime,
    /// What it publishes.
    pub streams: Vec<LiveStream>,
}

/// A media stream that is published now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveStream {
    /// Which.
    pub stream_id: StreamId,
    /// What it carries.
    pub stream_type: LiveStreamType,
    /// Codec name as the publisher gave it.
    pub codec: String,
}

/// What a media stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveStreamType {
    /// Sound.
    Audio,
    /// Pictures of a camera.
    VideoCamera,
    /// Pictures of a screen.
    VideoScreen,
}

/// Under which addresses clients reach this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    api: String,
    quic: String,
}

impl Urls {
    /// From the configuration, and where it says nothing from the bound addresses. `https` must not be empty.
    #[must_use]
    pub fn new(config: &Config, https: &[SocketAddr], http: &[SocketAddr]) -> Self {
        let first = |addresses: &[SocketAddr]| addresses.first().map(|address| reachable(*address));
        let own = first(https).map_or_else(String::new, |address| format!("https://{address}"));
        let api = match (&config.public_url, first(http)) {
            (Some(url), _) => url.clone(),
            // Plain HTTP on loopback: a secure context for browsers, without a warning about the certificate.
            (None, Some(address)) if config.dev => format!("http://{address}"),
            (None, _) => own.clone(),
        };
        let quic = match (&config.public_quic_url, &config.public_url) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) if url.starts_with("https://") => url.clone(),
            (None, _) => own,
        };
        Self { api, quic }
    }

    /// Origin of API and pages, without a slash at the end.
    #[must_use]
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The page of a meeting, to give to people.
    #[must_use]
    pub fn meeting(&self, slug: &str) -> String {
        format!("{}/m/{slug}", self.api)
    }

    /// Origin of signaling and media sessions, without a slash at the end.
    #[must_use]
    pub fn quic(&self) -> &str {
        &self.quic
    }

    /// Where signaling sessions connect.
    #[must_use]
    pub fn signaling(&self) -> String {
        format!("{}/v1/signal", self.quic)
    }

    /// Where media sessions connect.
    #[must_use]
    pub fn media(&self) -> String {
        format!("{}/v1/media", self.quic)
    }
}

/// The address a client on this machine uses for a bound address: a wildcard means every address, loopback included.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    meetings: Meetings,
    accounts: Arc<Accounts>,
    users: Users,
    organizations: Organizations,
    clients: Clients,
    presets: Presets,
    directory: Arc<Directory>,
    audit: Arc<Audit>,
    store: Arc<dyn Store>,
    tokens: Arc<TokenService>,
    certificates: Arc<CertificateStore>,
    urls: Urls,
    config: Config,
    metrics: Exposition,
    limits: RateLimits,
    rules: Rules,
    app: Box<dyn AppFiles>,
    /// What the pages of the app may do.
    app_policy: HeaderValue,
    /// Whoever uses development mode without a token belongs here, and the client of the configuration.
    default_organization: OrganizationId,
    draining: AtomicBool,
}

impl ApiState {
    /// Puts the parts together.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each part once, by type; called in one place")]
    pub fn new(
        config: &Config,
        urls: Urls,
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        live: Arc<dyn LiveMeetings>,
        certificates: Arc<CertificateStore>,
        metrics: Exposition,
        default_organization: OrganizationId,
    ) -> Self {
        let meetings = Meetings::new(Arc::clone(&store), Arc::clone(&tokens), live, config.limits);
        let audit = Arc::new(Audit::new(Arc::clone(&store)));
        let configured = config.api.clone().map(|client| (client, default_organization));
        let known =
            configured.as_ref().map(|(client, organization)| (client.client_id.clone(), *organization));
        let directory = Arc::new(Directory::new(Arc::clone(&store), known));
        let accounts = Arc::new(Accounts::new(
            Arc::clone(&store),
            Arc::clone(&tokens),
            Arc::clone(&audit),
            Arc::clone(&directory),
            config.accounts,
            default_organization,
        ));
        Self(Arc::new(Shared {
            meetings,
            users: Users::new(
                Arc::clone(&store),
                Arc::clone(&accounts),
                Arc::clone(&audit),
                Arc::clone(&directory),
            ),
            organizations: Organizations::new(
                Arc::clone(&store),
                Arc::clone(&audit),
                default_organization,
                config.limits.max_participants,
            ),
            clients: Clients::new(
                Arc::clone(&store),
                Arc::clone(&tokens),
                Arc::clone(&audit),
                Arc::clone(&directory),
                configured,
            ),
            presets: Presets::new(Arc::clone(&store), Arc::clone(&audit)),
            accounts,
            directory,
            audit,
            store,
            tokens,
            certificates,
            app: Box::new(BuiltIn),
            app_policy: pages::app_policy(&urls),
            urls,
            config: config.clone(),
            metrics,
            limits: RateLimits::new(&config.rate_limits),
            rules: Rules::new(api::RULES),
            default_organization,
            draining: AtomicBool::new(false),
        }))
    }

    /// The same with another app.
    #[cfg(test)]
    fn with_app(mut self, app: impl AppFiles) -> Self {
        Arc::get_mut(&mut self.0).expect("not shared yet").app = Box::new(app);
        self
    }

    /// From now on `/health/ready` says no, so that a load balancer sends nobody here any more.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Keeps what is remembered of clients small, until `stop`.
    pub async fn keep_small(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(FORGET_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.0.limits.forget_idle(),
            }
        }
    }

    /// Keeps the signing keys up to date until `shutdown`: follows those of other servers, makes the next one, retires old ones.
    pub async fn keep_keys_fresh(self, shutdown: CancellationToken) {
        let days = self.0.config.accounts.key_rotation_days;
        let max_age = (days > 0).then(|| time::Duration::days(days.into()));
        let mut interval = tokio::time::interval(READ_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = interval.tick() => {}
            }
            let tokens = Arc::clone(&self.0.tokens);
            // It waits for the disk.
            match tokio::task::spawn_blocking(move || tokens.keys().keep_up(max_age)).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(id))) => {
                    let who = Who::system(self.0.default_organization);
                    let entry =
                        self.0.audit.record(who, "key.rotate", Some(("key", id)), serde_json::json!({}));
                    if let Err(error) = entry.await {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "no entry for the new token key"
                        );
                    }
                }
                Ok(Err(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the token keys could not be kept up"
                    );
                }
                Err(error) => tracing::error!(%error, "the round over the token keys failed"),
            }
        }
    }

    fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }
}

/// API and pages: what is served over TLS and HTTP/3. `http3_port` is where HTTP/3 is, to tell those who came otherwise.
pub fn router(state: &ApiState, http3_port: Option<u16>) -> Router {
    // Development mode trusts whoever reaches it, so only loopback names may: a foreign name that resolves to
    // loopback is a web page attacking its visitor.
    let loopback_only = state.0.config.dev;
    layers::wrap(public_routes(state), state, Exposure { loopback_only, is_encrypted: true, http3_port })
}

/// Health and metrics: what is served over plain HTTP on loopback outside development mode.
pub fn operations_router(state: &ApiState) -> Router {
    layers::wrap(operations_routes(), state, Exposure::PLAIN)
}

/// API, pages, health and metrics: what is served over plain HTTP on loopback in development mode.
pub fn development_router(state: &ApiState) -> Router {
    layers::wrap(public_routes(state).merge(operations_routes()), state, Exposure::PLAIN)
}

fn public_routes(state: &ApiState) -> Router<ApiState> {
    pages::routes().merge(api_routes(state))
}

fn api_routes(state: &ApiState) -> Router<ApiState> {
    let (router, _document) = api::routes().split_for_parts();
    router.route_layer(middleware::from_fn_with_state(state.clone(), caller::authorize))
}

fn operations_routes() -> Router<ApiState> {
    Router::new()
        .route("/health/live", get(api::operations::live))
        .route("/health/ready", get(api::operations::ready))
        .route("/metrics", get(api::operations::metrics))
}

#[cfg(test)]
mod tests;
