//! The whole server as a value: binds every port, starts the roles in order, drains them on stop.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::Handle;
use darktower_core::media::fanout::FanoutSettings;
use darktower_core::meeting::MeetingLimits;
use darktower_protocol::limits::UnitLimits;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::TokenService;
use crate::auth::secret::OneTimeSecret;
use crate::certificate::{CertificateStore, TlsVersions, rustls_server_config};
use crate::config::Config;
use crate::global_controller::{self, ApiState, Bootstrapped, Jobs, Urls, bootstrap, http};
use crate::media_handler::{MediaControl, MediaHandler, MediaSettings};
use crate::meeting_controller::{MeetingController, MeetingSettings, QualityInbox};
use crate::shards::ShardThread;
use crate::transport::socket::{self, bind_group};
use crate::transport::{Endpoint, EndpointFactory, Http3Endpoint, Role, Session, TransportSettings};
use crate::{private_file, storage, telemetry};

/// How often another port is tried when the system's choice for TCP is taken on UDP.
const PORT_TRIES: usize = 16;

/// A server whose ports are bound.
pub struct Server {
    config: Config,
    urls: Urls,
    https: Vec<TcpListener>,
    http3: Vec<UdpSocket>,
    http: Vec<TcpListener>,
    /// The reset keys of the HTTP/3 sockets come from it, as those of QUIC's do.
    reset_key: [u8; 32],
    /// The shards, each with its socket at every address.
    shards: Vec<(ShardThread, Vec<UdpSocket>)>,
    quic: EndpointFactory,
    certificates: Arc<CertificateStore>,
    state: ApiState,
    meetings: Arc<MeetingController>,
    media: Arc<MediaHandler>,
    /// What the shards tell the meeting controller.
    quality: QualityInbox,
    /// With this somebody becomes the owner of the default organization.
    setup_secret: Option<OneTimeSecret>,
    jobs: Jobs,
}

/// Binds a server and runs it until `shutdown` is cancelled.
///
/// # Errors
/// What kept it from starting, or ended it.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = Server::bind(config).await?;
    server.announce()?;
    server.run(shutdown).await
}

impl Server {
    /// Opens the data folder, binds every port, and assembles the roles. From here on clients can
    /// connect; they are answered when [`run`](Self::run) begins.
    ///
    /// # Errors
    /// What keeps the server from starting.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        // The library gathers its first randomness for 40 ms: before the first client waits for it.
        aws_lc_rs::rand::fill(&mut [0]).ok().context("the system has no randomness")?;
        private_file::create_folder(&config.data_dir)?;
        let metrics = telemetry::metrics::install()?;
        let certificates = CertificateStore::open(&config)?;
        let tokens = Arc::new(TokenService::open(&config.data_dir)?);
        let store = storage::open(&config.database).await.context("the database")?;

        // In development mode everybody on this machine is the owner.
        let Bootstrapped { organization, setup_secret } =
            bootstrap(store.as_ref(), !config.dev).await.context("the default organization")?;

        let fanout = FanoutSettings {
            slow_subscriber: Duration::from_secs(config.limits.slow_subscriber_seconds.into()),
            company: Duration::from_millis(config.media.company_milliseconds.into()),
            ..FanoutSettings::default()
        };
        let (telemetry, quality) = QualityInbox::open();
        let mut shards = (0..config.media.shard_count())
            .map(|index| {
                let telemetry = Arc::clone(&telemetry);
                let thread = ShardThread::start(index, fanout, telemetry).context("cannot start a thread")?;
                Ok((thread, Vec::new()))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut https = Vec::new();
        for address in &config.listen {
            let (tcp, group) = bind_both(*address, shards.len())?;
            https.push(tcp);
            for (udp, (_, sockets)) in group.into_iter().zip(&mut shards) {
                sockets.push(udp);
            }
        }
        let http3 = config
            .http3_listen
            .iter()
            .map(|address| bind_http3(*address))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let http = config
            .http_listen
            .iter()
            .map(|address| bind_tcp(*address))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let urls = Urls::new(&config, &addresses(&https)?, &addresses(&http)?);

        let settings = TransportSettings {
            own_origins: own_origins(&config, &urls, &http)?,
            allowed_origins: config.allowed_origins.clone(),
        };
        let reset_key = private_file::read_or_create_key(&config.data_dir.join("quic-reset.key"))?;
        let quic = EndpointFactory::new(&certificates, settings, reset_key, shards.len())?;

        let limits = &config.limits;
        let media = MediaHandler::new(MediaSettings {
            url: urls.media(),
            limits: UnitLimits {
                max_audio_payload: limits.audio_payload_bytes,
                max_video_payload: limits.video_payload_bytes,
            },
            max_load: f64::from(config.media.max_load_percent) / 100.0,
        });
        let meetings = MeetingController::new(
            Arc::clone(&store),
            Arc::clone(&tokens),
            Arc::new(Arc::clone(&media)) as Arc<dyn MediaControl>,
            MeetingSettings {
                limits: MeetingLimits {
                    max_participants: limits.max_participants as usize,
                    heard_participants: limits.heard_participants as usize,
                    reconnect_grace: Duration::from_secs(limits.reconnect_grace_seconds.into()),
                    ..MeetingLimits::default()
                },
                messages_per_minute: NonZeroU32::new(limits.messages_per_minute)
                    .context("limits.messages_per_minute must not be 0")?,
                max_concurrent_meetings: limits.max_concurrent_meetings,
            },
        );
        let live = Arc::clone(&meetings) as Arc<dyn global_controller::LiveMeetings>;
        let jobs = Jobs::new(Arc::clone(&store), Arc::clone(&live), &config);
        let state = ApiState::new(
            &config,
            urls.clone(),
            store,
            tokens,
            live,
            Arc::clone(&certificates),
            metrics,
            organization,
        );
        Ok(Self {
            config,
            urls,
            https,
            http3,
            http,
            reset_key,
            shards,
            quic,
            certificates,
            state,
            meetings,
            media,
            quality,
            setup_secret,
            jobs,
        })
    }

    /// Under which addresses clients reach this server.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Where QUIC (UDP) and HTTPS (TCP) are bound.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn listen_addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        addresses(&self.https)
    }

    /// Where plain HTTP is bound.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn http_addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        addresses(&self.http)
    }

    /// Where HTTP/3 (UDP) is bound.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn http3_addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        udp_addresses(&self.http3)
    }

    /// The certificate that clients will see.
    pub fn certificates(&self) -> &Arc<CertificateStore> {
        &self.certificates
    }

    /// The secret with which somebody becomes the owner of the default organization, while it has none.
    pub fn setup_secret(&self) -> Option<&OneTimeSecret> {
        self.setup_secret.as_ref()
    }

    /// Says on standard output and, if asked for, in the ready file that the server is there.
    ///
    /// # Errors
    /// If the ready file cannot be written.
    pub fn announce(&self) -> anyhow::Result<()> {
        let https = addresses(&self.https)?;
        let http3 = udp_addresses(&self.http3)?;
        let http = addresses(&self.http)?;
        let hash = self.certificates.hash().to_hex();
        let list = |addresses: &[SocketAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        println!("Dark Tower {} is ready", env!("CARGO_PKG_VERSION"));
        println!("  open          {}", self.urls.api());
        println!("  QUIC          {} (UDP)", list(&https));
        println!("  API           https://{} (TCP)", list(&https));
        if !http3.is_empty() {
            println!("  HTTP/3        {} (UDP; the same API)", list(&http3));
        }
        if !http.is_empty() {
            let what = if self.config.dev { "API, pages, health, metrics" } else { "health, metrics" };
            println!("  plain HTTP    {} ({what}; loopback only)", list(&http));
        }
        if self.certificates.is_pinned() {
            println!("  certificate   SHA-256 {hash}");
        }
        println!("  data          {}", self.config.data_dir.display());
        if self.config.dev {
            println!("Development mode: loopback only, API without a token.");
        }
        if let Some(secret) = &self.setup_secret {
            // To whoever started the server, and never to the log.
            println!(
                "There is no owner yet. Become it with this secret, which works once and until the next start:"
            );
            println!(
                "  curl {}/api/v1/auth/register -H 'content-type: application/json' \\",
                self.urls.api()
            );
            println!(
                "    -d '{{\"setup_secret\":\"{}\",\"email\":\"YOU@EXAMPLE.ORG\",\"name\":\"YOUR NAME\",\"password\":\"...\"}}'",
                secret.expose()
            );
        }
        println!("Stop with Ctrl-C.");

        let Some(path) = &self.config.ready_file else { return Ok(()) };
        let ready = serde_json::json!({
            "http_url": http.first().map(|address| format!("http://{address}")),
            "https_url": https.first().map(|address| format!("https://{address}")),
            "quic_addrs": https,
            "http3_addrs": http3,
            "certificate_sha256": hash,
        });
        // Whoever waits for the file must never see half of it.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, ready.to_string())
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("cannot write the ready file {}", path.display()))
    }

    /// Serves until `shutdown` is cancelled, then lets clients finish within the grace period.
    ///
    /// # Errors
    /// If a listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let tls = Arc::new(rustls_server_config(&self.certificates, TlsVersions::V1_2AndV1_3, &http::ALPN));
        let handle = Handle::new();
        let mut servers = JoinSet::new();
        let http3 = udp_addresses(&self.http3)?;
        let places = http::places(&self.config.trusted_proxies);
        for listener in self.https {
            let router = global_controller::router(&self.state, port_beside(listener.local_addr()?, &http3));
            servers.spawn(http::serve_tls(
                listener,
                router,
                Arc::clone(&tls),
                places.clone(),
                handle.clone(),
            ));
        }
        for listener in self.http {
            let router = match self.config.dev {
                true => global_controller::development_router(&self.state),
                false => global_controller::operations_router(&self.state),
            };
            servers.spawn(http::serve_plain(listener, router, places.clone(), handle.clone()));
        }
        let stop_accepting = CancellationToken::new();
        for (index, socket) in self.http3.into_iter().enumerate() {
            socket::enlarge_buffers(&socket)?;
            let reset_key = [&self.reset_key[..], b"http/3", &index.to_be_bytes()].concat();
            let endpoint =
                Http3Endpoint::open(socket, &self.certificates, &reset_key, &self.config.trusted_proxies)?;
            let router = global_controller::router(&self.state, None);
            let (stop, grace) = (stop_accepting.clone(), self.config.shutdown_grace);
            servers.spawn(async move {
                http::serve_http3(endpoint, router, stop, grace).await;
                Ok(())
            });
        }
        let mut endpoints = Vec::new();
        let mut shards = Vec::new();
        for (thread, sockets) in self.shards {
            for (address, socket) in sockets.into_iter().enumerate() {
                let (meetings, media) = (Arc::clone(&self.meetings), Arc::clone(&self.media));
                let endpoint = open_endpoint(&self.quic, &thread, address, socket)?;
                serve_endpoint(&endpoint, &thread, meetings, media, stop_accepting.clone());
                endpoints.push(endpoint);
            }
            shards.push(thread);
        }
        tokio::spawn(Arc::clone(&self.certificates).keep_fresh(shutdown.clone()));
        tokio::spawn(self.state.clone().keep_small(shutdown.clone()));
        tokio::spawn(self.state.clone().keep_keys_fresh(shutdown.clone()));
        let attending = tokio::spawn(Arc::clone(&self.meetings).attend(self.quality));
        let jobs = tokio::spawn(self.jobs.run(shutdown.clone()));

        // Without one of its sockets the kernel would lead packets astray: whoever supervises the server starts it again.
        let any_ended =
            futures_util::future::select_all(shards.iter().map(|thread| Box::pin(thread.ended())));
        tokio::select! {
            () = shutdown.cancelled() => tracing::info!("stopping"),
            _ = any_ended => anyhow::bail!("a media thread has failed; see the message before this one"),
            Some(ended) = servers.join_next() => {
                ended??;
                anyhow::bail!("a listener of the API has ended by itself; see the message before this one");
            }
        }
        self.state.start_draining();
        self.meetings.start_draining();
        stop_accepting.cancel();
        handle.graceful_shutdown(Some(self.config.shutdown_grace));
        self.meetings.wait_until_empty(self.config.shutdown_grace).await;
        let closing = endpoints.iter().map(|endpoint| endpoint.shut_down(self.config.shutdown_grace));
        futures_util::future::join_all(closing).await;
        drop(shards);
        // Everybody is out: what is left are the last lines of the records.
        attending.abort();
        self.meetings.finish(self.config.shutdown_grace).await;
        if tokio::time::timeout(self.config.shutdown_grace, jobs).await.is_err() {
            tracing::warn!("a job does not come to its end");
        }
        while let Some(ended) = servers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

fn open_endpoint(
    quic: &EndpointFactory,
    thread: &ShardThread,
    address: usize,
    socket: UdpSocket,
) -> anyhow::Result<Arc<Endpoint>> {
    let granted = socket::enlarge_buffers(&socket)?;
    if let Some(advice) = socket::buffer_advice(granted)
        && thread.shard.index() == 0
    {
        tracing::warn!("{advice}");
    }
    let _on_the_shard = thread.runtime.enter();
    Ok(Arc::new(quic.open(socket, address, thread.shard.index())?))
}

/// Accepts sessions on the shard. Media stays there; signaling is served by the runtime that calls this, so that
/// requests do not delay media.
fn serve_endpoint(
    endpoint: &Arc<Endpoint>,
    thread: &ShardThread,
    meetings: Arc<MeetingController>,
    media: Arc<MediaHandler>,
    stop: CancellationToken,
) {
    let control = tokio::runtime::Handle::current();
    let shard = Arc::clone(&thread.shard);
    let serve = move |role, session: Session| {
        let (meetings, media) = (Arc::clone(&meetings), Arc::clone(&media));
        let (control, shard) = (control.clone(), Arc::clone(&shard));
        async move {
            match role {
                Role::Signaling => {
                    let served = control.spawn(async move {
                        tokio::select! {
                            () = meetings.serve(session.clone()) => {}
                            () = session.ignore_datagrams() => {}
                        }
                    });
                    // The endpoint closes what is served when it shuts down.
                    let _panicked = served.await;
                }
                Role::Media => media.serve(session, shard).await,
            }
        }
    };
    let endpoint = Arc::clone(endpoint);
    thread.runtime.spawn(async move { endpoint.run(stop, serve).await });
}

/// Pages of this server may open WebTransport sessions; those of others may not.
fn own_origins(config: &Config, urls: &Urls, http: &[TcpListener]) -> anyhow::Result<Vec<String>> {
    let mut origins = vec![urls.api().to_owned()];
    if config.dev {
        for address in addresses(http)? {
            origins.push(format!("http://{address}"));
            origins.push(format!("http://localhost:{}", address.port()));
        }
    }
    origins.dedup();
    Ok(origins)
}

fn addresses(listeners: &[TcpListener]) -> anyhow::Result<Vec<SocketAddr>> {
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?)
}

fn udp_addresses(sockets: &[UdpSocket]) -> anyhow::Result<Vec<SocketAddr>> {
    Ok(sockets.iter().map(UdpSocket::local_addr).collect::<Result<Vec<_>, _>>()?)
}

/// Which port to name to clients that have come to `address`: that of the same address, else the first.
fn port_beside(address: SocketAddr, http3: &[SocketAddr]) -> Option<u16> {
    let same = http3.iter().find(|http3| http3.ip() == address.ip());
    same.or(http3.first()).map(SocketAddr::port)
}

fn bind_http3(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let sockets =
        bind_group(address, 1).with_context(|| format!("cannot listen on {address} (UDP, HTTP/3)"))?;
    sockets.into_iter().next().context("one socket was asked for")
}

fn bind_tcp(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (TCP)"))
}

/// TCP and UDP (a socket for each shard) at the same port, also when the system is to choose it.
fn bind_both(address: SocketAddr, shards: usize) -> anyhow::Result<(TcpListener, Vec<UdpSocket>)> {
    let mut tries = 0;
    loop {
        let tcp = bind_tcp(address)?;
        match bind_group(tcp.local_addr()?, shards) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(_) if address.port() == 0 && tries < PORT_TRIES => tries += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on {address} (UDP)"));
            }
        }
    }
}
