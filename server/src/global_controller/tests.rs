//! The API through real sockets, on a real database. Only the meeting controller's part is a stand-in.

mod access;
mod aliases;
mod jobs;
mod meetings;
mod participants;
mod sessions;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Mutex;

use axum_server::Handle;
use darktower_core::access::ParticipantRole;
use darktower_core::access::guests::GuestAccess;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::auth::AccessClaims;
use crate::certificate::{TlsVersions, rustls_server_config};
use crate::config::Flags;
use crate::storage::SqliteStore;
use crate::storage::model::{
    Arrival, IssuedParticipant, Organization, OrganizationSettings, Page, StoredPreset,
};
use crate::storage::store::*;

/// Says what a test put in, and keeps what it was told to remove.
#[derive(Default)]
struct Live {
    rosters: Mutex<HashMap<MeetingId, Vec<LiveParticipant>>>,
    guests: Mutex<HashMap<MeetingId, usize>>,
    removed: Mutex<Vec<Removal>>,
}

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

    fn remove(&self, removal: &Removal) -> usize {
        self.removed.lock().expect("not poisoned").push(removal.clone());
        let mut rosters = self.rosters.lock().expect("not poisoned");
        let Some(roster) = rosters.get_mut(&removal.meeting_id) else { return 0 };
        let before = roster.len();
        roster.retain(|live| removal.participant_id.is_some_and(|id| id != live.participant_id));
        before - roster.len()
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

struct Server {
    origin: String,
    client: Client,
    state: ApiState,
    live: Arc<Live>,
    tokens: Arc<TokenService>,
    store: Arc<SqliteStore>,
    organization: Organization,
    handle: Handle<SocketAddr>,
    folder: TempDir,
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn production(data_dir: &Path) -> Config {
    let folder = data_dir.join("config");
    std::fs::create_dir_all(&folder).expect("own folder");
    let file = folder.join("darktower.toml");
    let toml = format!(
        "public_url = 'https://meet.example.org'\ntls = {{ certificate = 'c', private_key = 'k' }}\n\
         api = {{ client_id = 'backend', client_secret = '{SECRET}' }}\nlimits.max_participants = 20\n"
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
        Self::start(production, router).await
    }

    async fn start(config: impl FnOnce(&Path) -> Config, router: impl FnOnce(&ApiState) -> Router) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = config(folder.path());
        let store = Arc::new(SqliteStore::open(&folder.path().join("a.db")).await.expect("a database"));
        let organization = organization("default");
        store.create_organization(&organization, &shipped_presets()).await.expect("stored");
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
            organization.id,
        );
        let handle = Handle::new();
        tokio::spawn(http::serve_plain(listener, router(&state), handle.clone()));
        let origin = format!("http://{address}");
        Self { origin, client: client(), state, live, tokens, store, organization, handle, folder }
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
    async fn call(&self, method: Method, path: &str) -> (StatusCode, Value) {
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

    /// Another organization of the same deployment.
    async fn other_organization(&self) -> Organization {
        let other = organization(&format!("other-{}", uuid::Uuid::new_v4().simple()));
        self.store.create_organization(&other, &shipped_presets()).await.expect("stored");
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
        let new_session_id = darktower_protocol::MeetingSessionId::generate();
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

#[tokio::test]
async fn every_refusal_has_the_contracts_body() {
    let server = Server::development().await;
    let post = || server.request(Method::POST, "/api/v1/meetings");
    let json = |text: &str| post().header("content-type", "application/json").body(text.to_owned());
    let table = [
        (server.request(Method::GET, "/nowhere"), 404, "NOT_FOUND"),
        (server.request(Method::POST, "/api/v2/meetings"), 404, "NOT_FOUND"),
        (server.request(Method::DELETE, "/api/v1/meetings"), 405, "METHOD_NOT_ALLOWED"),
        (server.request(Method::POST, "/health/live"), 405, "METHOD_NOT_ALLOWED"),
        (json("{\"display_name\": "), 400, "INVALID_REQUEST"),
        (json(""), 400, "INVALID_REQUEST"),
        (json("\u{0}"), 400, "INVALID_REQUEST"),
        (post().body("{}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (post().header("content-type", "text/plain").body("{}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (json(&format!("{{\"display_name\": \"{}\"}}", "x".repeat(1024 * 1024))), 413, "PAYLOAD_TOO_LARGE"),
        (
            post().header("origin", "https://evil.example").json(&json!({"display_name": "a"})),
            403,
            "FORBIDDEN",
        ),
        (post().header("sec-fetch-site", "cross-site").json(&json!({"display_name": "a"})), 403, "FORBIDDEN"),
        (server.request(Method::GET, "/api/v1/meetings").header("host", "evil.example"), 403, "FORBIDDEN"),
        (server.request(Method::GET, "/metrics").header("host", "evil.example:80"), 403, "FORBIDDEN"),
    ];
    for (request, status, code) in table {
        assert_error(&answer(request).await, status, code);
    }
    let response = server.request(Method::PUT, "/api/v1/meetings").send().await.expect("answered");
    let allow = response.headers()["allow"].to_str().expect("text");
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");

    let own_page = post().header("origin", &server.origin).json(&json!({"display_name": "a"}));
    assert_eq!(answer(own_page).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_failing_database_is_an_error_without_details() {
    let server = Server::development().await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    server.store.close().await;
    let error = server.get("/api/v1/meetings").await;
    assert_error(&error, 500, "INTERNAL_ERROR");
    assert_eq!(error.1["error"]["message"], "The server could not answer this request");
    assert_eq!(error.1["error"]["details"], json!({}));
    let (status, health) = server.get("/health/ready").await;
    assert_eq!((status, &health["storage"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("failed")));
    assert_eq!(server.get("/health/live").await.0, StatusCode::OK);
}

#[tokio::test]
async fn outside_development_every_route_needs_a_token_except_the_named_ones() {
    let server = Server::production().await;
    let id = MeetingId::generate();
    let guarded = [
        (Method::POST, "/api/v1/meetings".to_owned()),
        (Method::GET, "/api/v1/meetings".to_owned()),
        (Method::GET, format!("/api/v1/meetings/{id}")),
        (Method::POST, format!("/api/v1/meetings/{id}/participants")),
        (Method::GET, format!("/api/v1/meetings/{id}/participants")),
        (Method::GET, "/api/v1/slugs/abcdefghjk".to_owned()),
    ];
    let host = IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id: id,
        name: "Zoë".to_owned(),
        role: ParticipantRole::Host,
        preset: "video_host".to_owned(),
        user_id: None,
        is_guest: false,
        issued_by: None,
        created_at: OffsetDateTime::now_utc(),
        expires_at: OffsetDateTime::now_utc() + time::Duration::hours(1),
        revoked_at: None,
    };
    let join = crate::auth::JoinClaims::of(&host, server.organization.id);
    let join = format!("Bearer {}", server.tokens.issue_join(&join));
    for (method, path) in guarded {
        for authorization in
            [None, Some("Bearer"), Some("Bearer x.y.z"), Some("Basic YTpi"), Some(join.as_str())]
        {
            let mut request = server.request(method.clone(), &path).json(&json!({}));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let response = request.send().await.expect("answered");
            assert_eq!(response.headers()["www-authenticate"], "Bearer", "{method} {path}");
            let error = (response.status(), response.json().await.expect("JSON"));
            assert_error(&error, 401, "UNAUTHORIZED");
            assert!(!error.1.to_string().contains("x.y.z"));
        }
    }
    for (path, status) in
        [("/", 200), ("/api/v1/certificate", 200), ("/m/abcdefghjk", 404), ("/assets/style.css", 200)]
    {
        assert_eq!(server.get(path).await.0.as_u16(), status, "{path}");
    }
    // Not on the public side at all.
    for path in ["/metrics", "/health/live", "/health/ready"] {
        assert_error(&server.get(path).await, 404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn machine_clients_get_access_tokens_for_their_secret() {
    let server = Server::production().await;
    let grant = |id: &str, secret: &str| json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let (status, token) = server.post("/api/v1/auth/token", &grant("backend", SECRET)).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("Bearer"), &json!(3600)));

    let bearer = format!("bearer {}", token["access_token"].as_str().expect("text"));
    let create = |participants: u32| {
        let body = json!({"display_name": "Mine", "max_participants": participants});
        answer(server.request(Method::POST, "/api/v1/meetings").header("authorization", &bearer).json(&body))
    };
    let (status, meeting) = create(20).await;
    assert_eq!(status, StatusCode::CREATED, "{meeting}");
    assert!(
        meeting["meeting_url"].as_str().is_some_and(|url| url.starts_with("https://meet.example.org/m/"))
    );
    assert_eq!(meeting["meeting_controller_url"], "https://meet.example.org/v1/signal");
    assert_error(&create(21).await, 400, "INVALID_REQUEST");
    let id: MeetingId = meeting["meeting_id"].as_str().expect("text").parse().expect("an id");
    let stored = server.store.meeting(id).await.expect("read").expect("stored");
    assert_eq!(stored.created_by.as_deref(), Some("backend"));

    for body in
        [grant("backend", "wrong"), grant("other", SECRET), grant("", ""), grant("backend", &SECRET[1..])]
    {
        let error = server.post("/api/v1/auth/token", &body).await;
        assert_error(&error, 401, "UNAUTHORIZED");
        assert_eq!(error.1["error"]["message"], "client_id or client_secret is wrong");
    }
    let other_grant = json!({"grant_type": "password", "client_id": "backend", "client_secret": SECRET});
    assert_error(&server.post("/api/v1/auth/token", &other_grant).await, 400, "INVALID_REQUEST");

    let development = Server::development().await;
    assert_error(
        &development.post("/api/v1/auth/token", &grant("backend", SECRET)).await,
        401,
        "UNAUTHORIZED",
    );
    // No token is fine in development; a wrong one is not.
    let wrong = development.request(Method::GET, "/api/v1/meetings").header("authorization", &bearer);
    assert_error(&answer(wrong).await, 401, "UNAUTHORIZED");
    let own = development.tokens.issue_access(&AccessClaims::new("backend".to_owned()));
    let right = development.request(Method::GET, "/api/v1/meetings").bearer_auth(own);
    assert_eq!(answer(right).await.0, StatusCode::OK);
}

#[tokio::test]
async fn pages_show_names_as_text_and_nothing_runs_inline() {
    let server = Server::development().await;
    let meeting = server.meeting("<script>alert('x')</script> & \"friends\" {id}").await;
    let slug = meeting["slug"].as_str().expect("text");
    let response = server.request(Method::GET, &format!("/m/{slug}")).send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let policy = response.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let page = response.text().await.expect("text");
    assert!(
        page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;friends&quot; {id}"),
        "{page}"
    );
    assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains("onclick"), "{page}");
    // The lines as `darktower-client --help` has them; the marks in them only say where they may break.
    let unmarked = |page: &str| page.replace("<span>", "").replace("</span>", "");
    let page = unmarked(&page);
    let address = format!("{}/m/{slug}", server.origin);
    for line in [
        format!("<code>darktower-client watch --meeting {address}</code>"),
        format!("<code>darktower-client publish --meeting {address} --name Alice video.ivf sound.ogg</code>"),
        format!("<code>darktower-client record --meeting {address} --out recordings</code>"),
    ] {
        assert!(page.contains(&line), "{line} is not in {page}");
    }

    let (status, page) = server.get("/m/nosuchslug").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.as_str().is_some_and(|page| page.contains("No such meeting")), "{page}");
    for (path, content_type) in [("/assets/style.css", "text/css"), ("/assets/meeting.js", "text/javascript")]
    {
        let response = server.request(Method::GET, path).send().await.expect("answered");
        assert!(response.headers()["content-type"].to_str().expect("text").starts_with(content_type));
    }
    let (_, index) = server.get("/").await;
    let index = unmarked(index.as_str().expect("text"));
    let line =
        format!("<code>curl {}/api/v1/meetings -H 'content-type: application/json' -d '{{", server.origin);
    assert!(index.contains(&line), "{index}");
    let line = format!(
        "<code>darktower-client publish --server {} --loop video.ivf sound.ogg</code>",
        server.origin
    );
    assert!(index.contains(&line) && !index.contains("DARKTOWER_API_TOKEN"), "{index}");

    // Outside development mode the commands need a token, and the page says so.
    let (_, index) = Server::production().await.get("/").await;
    assert!(index.as_str().is_some_and(|page| page.contains("<code>DARKTOWER_API_TOKEN</code>")), "{index}");
}

#[tokio::test]
async fn requests_have_ids_and_are_counted_by_route() {
    let server = Server::development().await;
    let id_for = async |given: Option<&str>| {
        let mut request = server.request(Method::GET, "/health/live");
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let response = request.send().await.expect("answered");
        response.headers()["x-request-id"].to_str().expect("text").to_owned()
    };
    assert_eq!(id_for(None).await.len(), 36);
    assert_eq!(id_for(Some("my-request.1")).await, "my-request.1");
    for strange in ["a b", "a;b", &"x".repeat(65)] {
        assert_eq!(id_for(Some(strange)).await.len(), 36, "{strange}");
    }
    let slug = server.meeting("Counted").await["slug"].as_str().expect("text").to_owned();
    server.get(&format!("/api/v1/slugs/{slug}")).await;
    server.get(&format!("/{slug}")).await;
    let (_, metrics) = server.get("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    assert!(
        metrics.contains("http_requests_total{route=\"/api/v1/slugs/{slug}\",method=\"GET\",status=\"200\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("route=\"unmatched\",method=\"GET\",status=\"404\""), "{metrics}");
    assert!(!metrics.contains(&slug), "a path must not become a label");
}

#[tokio::test]
async fn draining_is_visible_and_the_server_stops_when_told() {
    let server = Server::development().await;
    server.state.start_draining();
    let (status, health) = server.get("/health/ready").await;
    assert_eq!((status, &health["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("draining")));
    server.handle.graceful_shutdown(Some(std::time::Duration::from_secs(5)));
    let client = client();
    let refused =
        async { while client.get(format!("{}/health/live", server.origin)).send().await.is_ok() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), refused).await.expect("it goes on answering");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_dropped() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::development().await;
    let address = server.origin.strip_prefix("http://").expect("plain").to_owned();
    let stalls = [
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
        "POST /api/v1/meetings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ];
    let waits = stalls.map(|head| {
        let address = address.clone();
        async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
            socket.write_all(head.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            let end = socket.read_to_end(&mut answer);
            let ended = tokio::time::timeout(std::time::Duration::from_secs(15), end).await;
            (ended.is_ok(), String::from_utf8_lossy(&answer).into_owned())
        }
    });
    let [half_head, half_body] =
        <[_; 2]>::try_from(futures_util::future::join_all(waits).await).expect("two");
    assert!(half_head.0, "still open: {}", half_head.1);
    assert!(half_body.0 && half_body.1.contains("REQUEST_TIMEOUT"), "{half_body:?}");
}

#[tokio::test]
async fn https_presents_the_development_certificate_over_h2_and_h1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::development().await;
    let certificates = CertificateStore::open(&Config::for_tests(folder.path())).expect("a certificate");
    let pem = std::fs::read(folder.path().join("development-certificate.pem")).expect("kept");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let tls = rustls_server_config(&certificates, TlsVersions::V1_2AndV1_3, &http::ALPN);
    tokio::spawn(http::serve_tls(listener, router(&server.state), Arc::new(tls), Handle::new()));

    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject as _;
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let alpns: [(&[&[u8]], _); 3] = [
        (&http::ALPN, reqwest::Version::HTTP_2),
        (&[b"http/1.1"], reqwest::Version::HTTP_11),
        (&[], reqwest::Version::HTTP_11),
    ];
    for (alpn, version) in alpns {
        let trusting = client_trusting(roots.clone(), alpn);
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("https://{host}:{port}/api/v1/certificate");
            let response = trusting.get(&url).send().await.expect("trusted");
            assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        }
    }
    let refused = client().get(format!("https://localhost:{port}/")).send().await;
    assert!(refused.is_err(), "nobody else trusts it");
}

#[test]
fn urls_follow_configuration_and_bound_addresses() {
    let https: [SocketAddr; 1] = ["127.0.0.1:4433".parse().expect("address")];
    let http: [SocketAddr; 1] = ["[::1]:8080".parse().expect("address")];
    let mut config = Config::for_tests(Path::new("x"));
    let urls = Urls::new(&config, &https, &http);
    assert_eq!(urls.meeting("s"), "http://[::1]:8080/m/s");
    assert_eq!(urls.signaling(), "https://127.0.0.1:4433/v1/signal");
    assert_eq!(urls.media(), "https://127.0.0.1:4433/v1/media");
    assert_eq!(Urls::new(&config, &https, &[]).api(), "https://127.0.0.1:4433");

    config.public_url = Some("https://meet.example.org".to_owned());
    assert_eq!(Urls::new(&config, &https, &http).signaling(), "https://meet.example.org/v1/signal");
    config.public_quic_url = Some("https://quic.example.org:4433".to_owned());
    let urls = Urls::new(&config, &https, &http);
    assert_eq!(urls.media(), "https://quic.example.org:4433/v1/media");
    assert_eq!(urls.meeting("s"), "https://meet.example.org/m/s");

    config.public_url = None;
    config.public_quic_url = None;
    config.dev = false;
    let wildcard: [SocketAddr; 1] = ["[::]:4433".parse().expect("address")];
    assert_eq!(Urls::new(&config, &wildcard, &http).api(), "https://[::1]:4433");
}
