//! A server outside development mode, and the clients that speak to its API: the `curl` program over HTTP/1.1 and HTTP/2,
//! and `h3` over HTTP/3.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::{Buf as _, Bytes};
use darktower_client::transport::{Trust, quic_client_config};
use darktower_server::Server;
use darktower_server::config::{Config, Flags};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::soon;

/// The name in its certificate, beside `localhost`.
pub(crate) const NAME: &str = "meet.example.org";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A running server with a certificate of its own authority and an API client; stopped when dropped.
pub(crate) struct ApiServer {
    pub(crate) https: SocketAddr,
    pub(crate) http3: Option<SocketAddr>,
    /// Plain HTTP.
    pub(crate) http: SocketAddr,
    trust: Trust,
    folder: TempDir,
    stop: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

/// What came back, whoever asked.
#[derive(Debug)]
pub(crate) struct Answer {
    /// As curl writes it: `HTTP/1.1`, `HTTP/2`, `HTTP/3`.
    pub(crate) version: String,
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first value of a header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers(name).next().unwrap_or_default()
    }

    /// All values of a header.
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json()["error"]["code"], code, "{self:?}");
    }
}

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Http3,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http3];

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

impl ApiServer {
    /// Outside development mode, with `settings` in its configuration file.
    pub(crate) async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_certificate(folder.path());
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Top-level settings first: in TOML a table takes all that follow.
        let toml = format!(
            "{settings}\n[tls]\ncertificate = '{}'\nprivate_key = '{}'\n\
             [api]\nclient_id = 'backend'\nclient_secret = '{SECRET}'\n",
            path("server.crt"),
            path("server.key"),
        );
        std::fs::write(folder.path().join("darktower.toml"), toml).expect("written");
        let any = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let flags = Flags {
            config: Some(folder.path().join("darktower.toml")),
            data_dir: Some(folder.path().join("data")),
            public_url: Some(format!("https://{NAME}")),
            listen: any.clone(),
            http_listen: any,
            shards: Some(1),
            ..Flags::default()
        };
        Self::run(Config::load(&flags).expect("complete"), folder).await
    }

    /// In development mode.
    pub(crate) async fn development() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::run(Config::for_tests(folder.path()), folder).await
    }

    async fn run(config: Config, folder: TempDir) -> Self {
        let server = Server::bind(config).await.expect("the server binds");
        let trust = Trust::PinnedSha256(vec![server.certificates().hash().sha256]);
        let https = server.listen_addresses().expect("bound")[0];
        let http3 = server.http3_addresses().expect("bound").first().copied();
        let http = server.http_addresses().expect("bound")[0];
        let stop = CancellationToken::new();
        let task = Some(tokio::spawn(server.run(stop.clone())));
        Self { https, http3, http, trust, folder, stop, task }
    }

    /// Tells the server to stop.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the server and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let task = self.task.take().expect("the server runs until it is stopped");
        soon("shutdown", task).await.expect("no panic").expect("a clean end");
    }

    /// An access token of the API client.
    pub(crate) async fn token(&self) -> String {
        let body =
            json!({"grant_type": "client_credentials", "client_id": "backend", "client_secret": SECRET});
        let answer = self.ask(Protocol::Http2, Ask::post("/api/v1/auth/token", &body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().expect("text").to_owned()
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, protocol: Protocol, ask: Ask) -> Answer {
        match protocol {
            Protocol::Http1 => self.curl("--http1.1", ask).await,
            Protocol::Http2 => self.curl("--http2", ask).await,
            Protocol::Http3 => self.http3().await.ask(&ask).await,
        }
    }

    /// curl checks certificate and name; that is part of the test.
    async fn curl(&self, version: &str, ask: Ask) -> Answer {
        let port = self.https.port();
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--include",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            version,
        ]);
        command.args(["--resolve", &format!("{NAME}:{port}:127.0.0.1"), "--request", ask.method.as_str()]);
        let development = self.folder.path().join("development-certificate.pem");
        let own = self.folder.path().join("server.crt");
        command.arg("--cacert").arg(if own.exists() { own } else { development });
        // curl asks for leave before it sends a large body, and would not show how a refusal comes otherwise.
        command.args(["--header", "Expect:"]);
        for (name, value) in &ask.headers {
            command.args(["--header", &format!("{name}: {value}")]);
        }
        if ask.method == Method::HEAD {
            command.arg("--head");
        }
        let body = self.folder.path().join(format!("body-{}", uuid::Uuid::now_v7()));
        if !ask.body.is_empty() {
            std::fs::write(&body, &ask.body).expect("written");
            command.arg("--data-binary").arg(format!("@{}", body.display()));
        }
        command.arg(format!("https://{}:{port}{}", ask.host, ask.path));
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        let output = output.expect("the program curl runs");
        let answer = parse(&output.stdout);
        answer.unwrap_or_else(|| panic!("curl: {} {output:?}", String::from_utf8_lossy(&output.stderr)))
    }

    /// A QUIC connection to the HTTP/3 port, without HTTP.
    pub(crate) async fn quic(&self) -> (quinn::Endpoint, quinn::Connection) {
        let config = quic_client_config(&self.trust, b"h3").expect("a configuration");
        let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
        let http3 = self.http3.expect("HTTP/3 is on");
        let connecting = endpoint.connect_with(config, http3, "localhost").expect("connecting");
        let connection = soon("connect", connecting).await.expect("connected");
        (endpoint, connection)
    }

    /// A connection that speaks HTTP/3.
    pub(crate) async fn http3(&self) -> Http3Client {
        let (endpoint, quic) = self.quic().await;
        let connection = h3_quinn::Connection::new(quic.clone());
        let (mut driver, requests) = soon("HTTP/3", h3::client::new(connection)).await.expect("HTTP/3");
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            driver.wait_idle().await;
        }));
        let authority = format!("127.0.0.1:{}", self.https.port());
        Http3Client { requests, quic, authority, _driver: driver, _endpoint: endpoint }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: Method,
    host: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, host: "127.0.0.1", path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::POST, path).header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Under which name the server is asked.
    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }
}

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;
pub(crate) type RequestStream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// An HTTP/3 connection.
pub(crate) struct Http3Client {
    requests: Requests,
    pub(crate) quic: quinn::Connection,
    authority: String,
    _driver: AbortOnDropHandle<()>,
    _endpoint: quinn::Endpoint,
}

impl Http3Client {
    /// Sends the head of a request.
    pub(crate) async fn begin(&mut self, ask: &Ask) -> RequestStream {
        let authority = match ask.host {
            "127.0.0.1" => self.authority.clone(),
            name => name.to_owned(),
        };
        let url: Url = format!("https://{authority}{}", ask.path).parse().expect("a URL");
        let mut request = axum::http::Request::builder().method(ask.method.clone()).uri(url.as_str());
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(()).expect("a request");
        soon("request", self.requests.send_request(request)).await.expect("sent")
    }

    pub(crate) async fn ask(&mut self, ask: &Ask) -> Answer {
        let mut stream = self.begin(ask).await;
        // A server that has refused the rest does not read it; what it says counts.
        if !ask.body.is_empty() {
            let _refused = soon("body", stream.send_data(Bytes::from(ask.body.clone()))).await;
        }
        let _refused = soon("end", stream.finish()).await;
        finish(&mut stream).await
    }
}

/// Reads the answer.
pub(crate) async fn finish(stream: &mut RequestStream) -> Answer {
    let head = soon("answer", stream.recv_response()).await.expect("an answer");
    let mut body = Vec::new();
    while let Some(mut data) = soon("body", stream.recv_data()).await.expect("all of it") {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let headers = head.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Answer { version: "HTTP/3".to_owned(), status: head.status().as_u16(), headers: headers.collect(), body }
}

/// What `curl --include` prints.
fn parse(output: &[u8]) -> Option<Answer> {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&output[..end]).ok()?, &output[end + 4..]);
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (version, status) = (first.next()?.to_owned(), first.next()?.parse().ok()?);
    if status == 100 {
        return parse(body);
    }
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Some(Answer { version, status, headers, body: body.to_vec() })
}

fn write_certificate(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let names = [NAME, "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("signed");
    std::fs::write(folder.join("server.crt"), certificate.pem()).expect("written");
    std::fs::write(folder.join("server.key"), key.serialize_pem()).expect("written");
}
