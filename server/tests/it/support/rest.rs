//! The HTTP API as any program calls it, and the server's database as a command line sees it.

use darktower_protocol::{MeetingId, ParticipantId};
use darktower_server::storage::SqliteStore;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{TestServer, soon};

/// Calls to the API of a server in development mode.
#[derive(Clone)]
pub(crate) struct Rest {
    origin: String,
    client: reqwest::Client,
}

impl Rest {
    pub(crate) fn new(origin: &str) -> Self {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build();
        Self { origin: origin.to_owned(), client: client.expect("a client") }
    }

    /// Where its pages are, too.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// A call to `/api/v1` and `path`; null for an empty answer.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}/api/v1{path}", self.origin));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = soon("answer", request.send()).await.expect("answered");
        let status = response.status();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// A call without a body that must succeed.
    pub(crate) async fn act(&self, method: Method, path: &str) -> Value {
        let (status, body) = self.call(method, path, None).await;
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    /// Creates a meeting.
    pub(crate) async fn meeting(&self, body: Value) -> MeetingId {
        let (status, body) = self.call(Method::POST, "/meetings", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["meeting_id"].as_str().expect("text").parse().expect("an id")
    }

    /// Waits until a GET answers what `is_it` looks for; `None` for anything but 200.
    pub(crate) async fn until(&self, what: &str, path: &str, is_it: impl Fn(Option<&Value>) -> bool) {
        let waiting = async {
            loop {
                let (status, body) = self.call(Method::GET, path, None).await;
                if is_it(Some(&body).filter(|_| status == StatusCode::OK)) {
                    return;
                }
            }
        };
        soon(what, waiting).await;
    }

    /// Throws a participant out for good.
    pub(crate) async fn revoke(&self, meeting: MeetingId, participant: ParticipantId) {
        self.act(Method::DELETE, &format!("/meetings/{meeting}/participants/{participant}")).await;
    }
}

impl TestServer {
    /// The server's database, opened beside it.
    pub(crate) async fn database(&self) -> SqliteStore {
        SqliteStore::open(&self.data_dir().join("darktower.db")).await.expect("the server's database")
    }
}
