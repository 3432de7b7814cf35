//! The API through real sockets, on a real database. Only the meeting controller's part is a stand-in.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Mutex;

use axum_server::Handle;
use darktower_core::access::ParticipantRole;
use darktower_core::access::guests::GuestAccess;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::web_app::AppFile;
use super::*;
use crate::auth::secret::OneTimeSecret;
use crate::certificate::{TlsVersions, rustls_server_config};
use crate::config::Flags;
use crate::storage::SqliteStore;
use crate::storage::model::{Arrival, Organization, OrganizationSettings, Page, StoredPreset};
use crate::storage::store::*;

mod access;
mod accounts;
mod aliases;
mod auth;
mod authorization;
mod jobs;
mod meetings;
mod organizations;
mod pages;
mod participants;
mod requests;
mod sessions;
mod users;
mod way_in;

/// Says what a test put in, and keeps what it was told to remove.
#[derive(Default)]
struct Live {
    rosters: Mutex<HashMap<MeetingId, Vec<LiveParticipant>>>,
    guests: Mutex<HashMap<MeetingId, usize>>,
    sessions: Mutex<Vec<MeetingSessionId>>,
    removed: Mutex<Vec<Removal>>,
    /// Participants with their new names and presets.
    changed: Mutex<Vec<Changed>>,
}

type Changed = (ParticipantId, Option<String>, Option<String>);

impl LiveMeetings for Live {
    fn participant_count(&self, meeting: MeetingId) -> usize {
        self.roster(meeting).len()
    }

    fn roster(&self, meeting: MeetingId) -> Vec<LiveParticipant> {
        self.rosters.lock().expect("not poisoned").get(&meeting).cloned().unwrap_or_default()
    }

    fn guest_count(&self, meeting: MeetingId) -> usize {
        self.guests.lock().expect("not poisoned").get(&meeting).copied().unwrap_or_default()
    }

    fn is_present(&self, meeting: MeetingId, participant: ParticipantId) -> bool {
        self.roster(meeting).iter().any(|live| live.participant_id == participant)
    }

    fn changed(&self, _meeting: &Meeting) {}

    fn participant_changed(
        &self,
        participant: &IssuedParticipant,
        name: Option<&str>,
        preset: Option<&Preset>,
    ) {
        let change = (participant.id, name.map(str::to_owned), preset.map(|preset| preset.name.clone()));
        self.changed.lock().expect("not poisoned").push(change);
    }

    fn remove(&self, removal: &Removal) -> usize {
        self.removed.lock().expect("not poisoned").push(removal.clone());
        let mut rosters = self.rosters.lock().expect("not poisoned");
        let Some(roster) = rosters.get_mut(&removal.meeting_id) else { return 0 };
        let before = roster.len();
        roster.retain(|live| removal.participant_id.is_some_and(|id| id != live.participant_id));
        before - roster.len()
    }

    fn running_sessions(&self) -> Vec<MeetingSessionId> {
        self.sessions.lock().expect("not poisoned").clone()
    }
}

impl Live {
    /// Lets somebody in who publishes nothing.
    fn join(&self, meeting: MeetingId, participant: ParticipantId) {
        let live = LiveParticipant {
            participant_id: participant,
            name: "Somebody".to_owned(),
            joined_at: OffsetDateTime::UNIX_EPOCH,
            streams: Vec::new(),
        };
        self.rosters.lock().expect("not poisoned").entry(meeting).or_default().push(live);
    }

    fn removed(&self) -> Vec<Removal> {
        self.removed.lock().expect("not poisoned").clone()
    }
}

/// A small app, whatever this checkout has built.
struct Files(HashMap<&'static str, &'static [u8]>);

impl Files {
    fn app() -> Self {
        Self(HashMap::from([
            (
                "index.html",
                b"<!doctype html><script type=\"module\" src=\"/assets/index-B7pQ2xYz.js\"></script>"
                    as &[u8],
            ),
            ("assets/index-B7pQ2xYz.js", b"export const app = 1;"),
            ("assets/index-B7pQ2xYz.js.br", b"packed"),
            ("assets/logo.svg", b"<svg/>"),
            ("favicon.svg", b"<svg></svg>"),
            (".secret", b"not for the world"),
        ]))
    }
}

impl AppFiles for Files {
    fn file(&self, path: &str) -> Option<AppFile> {
        let bytes: &'static [u8] = self.0.get(path)?;
        Some(AppFile::new(bytes::Bytes::from_static(bytes), &Sha256::digest(bytes).into()))
    }
}

struct Server {
    origin: String,
    client: Client,
    state: ApiState,
    live: Arc<Live>,
    tokens: Arc<TokenService>,
    store: Arc<SqliteStore>,
    /// The default one.
    organization: Organization,
    handle: Handle<SocketAddr>,
    /// What `darktower serve` prints while there is no owner.
    setup_secret: Option<OneTimeSecret>,
    folder: Arc<TempDir>,
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The public part, without HTTP/3 beside it.
fn public_router(state: &ApiState) -> Router {
    router(state, None)
}

/// Outside development mode, where anybody may register an organization.
fn open(data_dir: &Path) -> Config {
    let mut config = production(data_dir);
    config.accounts.open_registration = true;
    config
}

fn production(data_dir: &Path) -> Config {
    let folder = data_dir.join("config");
    std::fs::create_dir_all(&folder).expect("own folder");
    let file = folder.join("darktower.toml");
    let toml = format!(
        "public_url = 'https://meet.example.org'\ntls = {{ certificate = 'c', private_key = 'k' }}\n\
         api = {{ client_id = 'backend', client_secret = '{SECRET}' }}\nlimits.max_participants = 20\n\
         rate_limits = {{ general = 0, login = 0, register = 0, meeting_create = 0, meeting_join = 0, guest_join = 0, \
         guest_join_per_address = 0, failed_auth = 0 }}\n"
    );
    std::fs::write(&file, toml).expect("own folder");
    let mut config = Config::load(&Flags { config: Some(file), ..Flags::default() }).expect("complete");
    config.data_dir = data_dir.to_owned();
    config
}

impl Server {
    async fn development() -> Self {
        Self::start(Config::for_tests, development_router).await
    }

    /// The public part of a server outside development mode, here without TLS in front.
    async fn production() -> Self {
        Self::start(production, public_router).await
    }

    async fn start(config: impl FnOnce(&Path) -> Config, router: impl FnOnce(&ApiState) -> Router) -> Self {
        Self::start_on(Arc::new(tempfile::tempdir().expect("a temporary folder")), config, router).await
    }

    async fn start_on(
        folder: Arc<TempDir>,
        config: impl FnOnce(&Path) -> Config,
        router: impl FnOnce(&ApiState) -> Router,
    ) -> Self {
        Self::start_with(folder, config, router, Files::app()).await
    }

    async fn start_with(
        folder: Arc<TempDir>,
        config: impl FnOnce(&Path) -> Config,
        router: impl FnOnce(&ApiState) -> Router,
        app: Files,
    ) -> Self {
        let config = config(folder.path());
        let store = Arc::new(SqliteStore::open(&folder.path().join("a.db")).await.expect("a database"));
        let Bootstrapped { organization, setup_secret } =
            bootstrap(store.as_ref(), !config.dev).await.expect("prepared");
        let tokens = Arc::new(TokenService::open(folder.path()).expect("a key"));
        let certificates = CertificateStore::open(&Config::for_tests(folder.path())).expect("a certificate");
        let live = Arc::new(Live::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let urls = Urls::new(&config, &["127.0.0.1:4433".parse().expect("address")], &[address]);
        let metrics = crate::telemetry::metrics::install().expect("a recorder");
        let state = ApiState::new(
            &config,
            urls,
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&tokens),
            Arc::clone(&live) as Arc<dyn LiveMeetings>,
            certificates,
            metrics,
            organization,
        )
        .with_app(app);
        let organization = store.organization(organization).await.expect("read").expect("the default one");
        let handle = Handle::new();
        tokio::spawn(http::serve_plain(listener, router(&state), http::places(&[]), handle.clone()));
        let origin = format!("http://{address}");
        Self {
            origin,
            client: client(),
            state,
            live,
            tokens,
            store,
            organization,
            handle,
            setup_secret,
            folder,
        }
    }

    /// The value of a counter or gauge by its name and labels; 0 before its first event.
    fn metric(&self, name: &str) -> u64 {
        let text = self.state.0.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.origin))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(body)).await
    }

    async fn patch(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::PATCH, path).json(body)).await
    }

    /// A request without a body.
    async fn send(&self, method: Method, path: &str) -> (StatusCode, Value) {
        answer(self.request(method, path)).await
    }

    /// What is in the audit log, oldest first: action, kind of actor.
    async fn audited(&self) -> Vec<(String, String)> {
        let filter = crate::storage::model::AuditFilter {
            organization_id: self.organization.id,
            actor_id: None,
            action: None,
            target_id: None,
            from: None,
            to: None,
            page: Page { limit: 200, offset: 0 },
        };
        let mut entries = self.store.audit_log(&filter).await.expect("read").items;
        entries.reverse();
        entries.into_iter().map(|entry| (entry.action, entry.actor_kind)).collect()
    }

    /// A connection of its own to the database, which keeps everybody else from writing until it says COMMIT.
    async fn only_writer(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("a.db"));
        let mut connection = options.connect().await.expect("the same file");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("alone");
        connection
    }

    /// Another organization of the same deployment.
    async fn other_organization(&self) -> Organization {
        let other = organization(&format!("other-{}", uuid::Uuid::new_v4().simple()));
        self.store.create_organization(&other, &shipped_presets(), None).await.expect("stored");
        other
    }

    /// Records that a participant joins, as the meeting controller does.
    async fn arrive(&self, meeting: MeetingId, participant: ParticipantId) {
        self.record_arrival(meeting, participant, OffsetDateTime::now_utc()).await;
    }

    /// Issues a token and records that its holder joins.
    async fn arrive_somebody(&self, meeting: MeetingId) -> ParticipantId {
        self.arrive_at(meeting, OffsetDateTime::now_utc()).await
    }

    async fn arrive_at(&self, meeting: MeetingId, at: OffsetDateTime) -> ParticipantId {
        let path = format!("/api/v1/meetings/{meeting}/participants");
        let (_, issued) = self.post(&path, &json!({"name": "Somebody"})).await;
        let issued = issued["participant_id"].as_str().unwrap_or_else(|| panic!("{issued}"));
        let participant = issued.parse().expect("an id");
        self.record_arrival(meeting, participant, at).await;
        participant
    }

    async fn record_arrival(&self, meeting_id: MeetingId, participant_id: ParticipantId, at: OffsetDateTime) {
        let new_session_id = MeetingSessionId::generate();
        let name = "Somebody".to_owned();
        let arrival = Arrival { meeting_id, new_session_id, participant_id, name, at };
        assert!(self.store.arrive(&arrival).await.expect("written").is_some());
    }

    async fn meeting(&self, name: &str) -> Value {
        let (status, body) = self.post("/api/v1/meetings", &json!({ "display_name": name })).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body
    }
}

fn organization(slug: &str) -> Organization {
    let now = OffsetDateTime::now_utc();
    Organization {
        id: OrganizationId::generate(),
        name: slug.to_owned(),
        slug: slug.to_owned(),
        settings: OrganizationSettings::default(),
        created_at: now,
        updated_at: now,
    }
}

fn shipped_presets() -> Vec<StoredPreset> {
    let now = OffsetDateTime::now_utc();
    let stored = |preset| StoredPreset { preset, is_shipped: true, created_at: now, updated_at: now };
    darktower_core::preset::shipped().into_iter().map(stored).collect()
}

const PASSWORD: &str = "correct horse battery";

/// A user that is signed in.
#[derive(Clone, Debug)]
struct Session {
    id: String,
    access: String,
    refresh: String,
}

impl Session {
    #[track_caller]
    fn of((status, body): &(StatusCode, Value)) -> Self {
        assert!(status.is_success(), "{status} {body}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Self {
            id: text(&body["user"]["user_id"]),
            access: text(&body["access_token"]),
            refresh: text(&body["refresh_token"]),
        }
    }
}

impl Server {
    /// The owner of the default organization, outside development mode.
    async fn owner(&self) -> Session {
        let secret = self.setup_secret.as_ref().expect("no owner yet").expose();
        let body = json!({
            "setup_secret": secret, "email": "owner@example.org", "name": "Olga", "password": PASSWORD,
        });
        Session::of(&self.post("/api/v1/auth/register", &body).await)
    }

    /// A user of the same organization as `by`, who adds it.
    async fn user(&self, by: &Session, role: &str) -> Session {
        let email = format!("{role}-{}@example.org", uuid::Uuid::new_v4().simple());
        let body = json!({ "email": email, "name": role, "role": role, "password": PASSWORD });
        let (status, created) = self.as_user(by, Method::POST, "/api/v1/users", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        self.login(&email, PASSWORD).await
    }

    async fn login(&self, email: &str, password: &str) -> Session {
        Session::of(&self.try_login(email, password).await)
    }

    async fn try_login(&self, email: &str, password: &str) -> (StatusCode, Value) {
        let body = json!({ "email": email, "password": password, "organization_slug": "default" });
        self.post("/api/v1/auth/login", &body).await
    }

    async fn try_refresh(&self, token: &str) -> (StatusCode, Value) {
        self.post("/api/v1/auth/refresh", &json!({ "refresh_token": token })).await
    }

    /// What `session` is answered. A body of null is none.
    async fn as_user(
        &self,
        session: &Session,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let request = self.request(method, path).bearer_auth(&session.access);
        answer(if body.is_null() { request } else { request.json(body) }).await
    }

    async fn read(&self, session: &Session, path: &str) -> (StatusCode, Value) {
        self.as_user(session, Method::GET, path, &Value::Null).await
    }

    /// Another server of the same deployment: same data folder, same database.
    async fn sibling(&self, config: impl FnOnce(&Path) -> Config) -> Self {
        Self::start_on(Arc::clone(&self.folder), config, public_router).await
    }
}

/// A valid join token of a host.
fn join_token(tokens: &TokenService, meeting_id: MeetingId) -> String {
    let now = OffsetDateTime::now_utc();
    let participant = IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id,
        name: "Zoë".to_owned(),
        role: ParticipantRole::Host,
        preset: "video_host".to_owned(),
        user_id: None,
        is_guest: false,
        issued_by: None,
        created_at: now,
        expires_at: now + time::Duration::hours(1),
        revoked_at: None,
    };
    tokens.issue_join(&crate::auth::JoinClaims::of(&participant, OrganizationId::generate()))
}

fn client() -> Client {
    client_trusting(rustls::RootCertStore::empty(), &[])
}

fn client_trusting(roots: rustls::RootCertStore, alpn: &[&[u8]]) -> Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client")
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("answered");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[track_caller]
fn assert_error((status, body): &(StatusCode, Value), expected: u16, code: &str) {
    assert_eq!(status.as_u16(), expected, "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert!(body["error"]["details"].is_object(), "{body}");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
}
