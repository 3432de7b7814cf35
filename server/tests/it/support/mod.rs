//! What the tests share.

mod api_server;
mod broadcast;
mod listener;
mod memory;
mod path;
#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "../../../src/storage/postgres/test_server.rs"]
pub(crate) mod postgres;
mod quic;
mod raw;
mod rest;
mod witness;

use std::future::Future;
use std::time::Duration;

use darktower_client::api::{Api, JoinGrant, NewMeeting};
use darktower_client::transport::{TransportKind, Trust};
use darktower_client::{JoinOptions, Meeting};
use darktower_protocol::{Features, MeetingId};
use darktower_server::Server;
use darktower_server::config::{Config, Limits};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use api_server::{Answer, ApiServer, Ask, NAME, Protocol, finish};
pub(crate) use broadcast::{Broadcast, Script};
pub(crate) use listener::{Balance, Listener, every_mode};
pub(crate) use memory::PeakMemory;
pub(crate) use path::Path;
pub(crate) use quic::quic;
pub(crate) use raw::{
    RawMedia, RawSignaling, WireSignaling, audio_metadata, envelope, join, token, unit, video_metadata,
};
pub(crate) use rest::Rest;
pub(crate) use witness::Witness;

/// Bounds every wait of a test: longer than anything on a busy machine takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// A server on free loopback ports with its own data folder; stopped when dropped.
pub(crate) struct TestServer {
    pub(crate) api: Api,
    pub(crate) trust: Trust,
    pub(crate) signaling_url: String,
    /// Where its UDP port is, whatever its address for clients says.
    pub(crate) quic_address: std::net::SocketAddr,
    pub(crate) limits: Limits,
    rest: Rest,
    data: TempDir,
    stop: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().expect("temporary directory"), change).await
    }

    /// With the data of a server that was there before.
    pub(crate) async fn start_in(data: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::for_tests(data.path());
        change(&mut config);
        let limits = config.limits;
        let server = Server::bind(config).await.expect("the server binds");
        let hash = server.certificates().hash().sha256;
        let trust = Trust::PinnedSha256(vec![hash]);
        let api = Api::new(server.urls().api(), trust.clone()).expect("the API's address");
        let rest = Rest::new(server.urls().api());
        let signaling_url = server.urls().signaling();
        let quic_address = server.listen_addresses().expect("bound")[0];
        let stop = CancellationToken::new();
        let task = Some(tokio::spawn(server.run(stop.clone())));
        Self { api, trust, signaling_url, quic_address, limits, rest, data, stop, task }
    }

    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.data.path()
    }

    pub(crate) fn rest(&self) -> Rest {
        self.rest.clone()
    }

    pub(crate) async fn meeting(&self) -> MeetingId {
        self.api.create_meeting(&NewMeeting::named("Test")).await.expect("a meeting").meeting_id
    }

    pub(crate) async fn grant(&self, meeting: MeetingId, name: &str) -> JoinGrant {
        self.api.join_grant(meeting, name).await.expect("a join token")
    }

    pub(crate) async fn join(&self, meeting: MeetingId, name: &str, mode: Mode) -> Meeting {
        let grant = self.grant(meeting, name).await;
        let options = JoinOptions::default().transport(mode.transport).features(mode.features);
        soon("join", Meeting::join(&grant, options)).await.expect("joined")
    }

    /// Stops the server and waits until it is gone.
    pub(crate) async fn stop(self) {
        let _data = self.stop_and_keep_data().await;
    }

    /// As [`stop`](Self::stop); the data folder lives on.
    pub(crate) async fn stop_and_keep_data(mut self) -> TempDir {
        self.stop.cancel();
        let task = self.task.take().expect("the server runs until it is stopped");
        soon("shutdown", task).await.expect("no panic").expect("a clean end");
        std::mem::replace(&mut self.data, tempfile::tempdir().expect("temporary directory"))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How a client speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) transport: TransportKind,
    pub(crate) features: Features,
}

impl Mode {
    pub(crate) fn native() -> Self {
        let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
        Self { transport: TransportKind::Native, features }
    }

    pub(crate) fn webtransport() -> Self {
        Self { transport: TransportKind::WebTransport, ..Self::native() }
    }

    pub(crate) fn baseline(self) -> Self {
        Self { features: Features::NONE, ..self }
    }
}

/// A counter or gauge without labels. All servers of this process share them.
pub(crate) fn metric(name: &str) -> u64 {
    let text = darktower_server::telemetry::metrics::install().expect("metrics").render();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}
