//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use darktower_webtransport::{Request, Session};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use url::Url;
use web_transport_proto::{ConnectRequest, ConnectResponse, Settings};

/// Waits for something that must happen; longer than anything on a busy machine takes.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Both ends of a connection; the client's receives `window` bytes per stream unread.
pub(crate) struct Quic {
    pub(crate) client: quinn::Connection,
    pub(crate) server: quinn::Connection,
    _sockets: [quinn::Endpoint; 2],
}

impl Quic {
    pub(crate) async fn new(window: u32) -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (own.cert.der().clone(), own.signing_key.serialize_der());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.try_into().expect("a key"))
            .expect("a server");
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = Arc::new(QuicServerConfig::try_from(server).expect("for QUIC"));
        let client = Arc::new(QuicClientConfig::try_from(client).expect("for QUIC"));
        let mut client = quinn::ClientConfig::new(client);
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(window.into());
        client.transport_config(Arc::new(transport));

        let any = ([127, 0, 0, 1], 0).into();
        let listening =
            quinn::Endpoint::server(quinn::ServerConfig::with_crypto(server), any).expect("a socket");
        let dialling = quinn::Endpoint::client(any).expect("a socket");
        let address = listening.local_addr().expect("an address");
        let connecting = dialling.connect_with(client, address, "localhost").expect("connecting");
        let accepting = async { listening.accept().await.expect("a client").await };
        let both = async { tokio::try_join!(connecting, accepting) };
        let (client, server) = soon("connect", both).await.expect("a connection");
        Self { client, server, _sockets: [listening, dialling] }
    }

    /// The session of both ends, the client's first.
    pub(crate) async fn sessions(&self) -> [Session; 2] {
        let accept = async { Request::read(self.server.clone()).await?.accept().await };
        let connect = Session::connect(self.client.clone(), request());
        let (server, client) =
            soon("session", async { tokio::try_join!(accept, connect) }).await.expect("a session");
        [client, server]
    }

    /// The session of the server, and the streams of a client written by hand.
    pub(crate) async fn server_session(&self) -> (Session, ByHand) {
        let accept = async { Request::read(self.server.clone()).await.expect("a request").accept().await };
        let connect = async {
            let mut control = self.client.open_uni().await.expect("a stream");
            let mut settings = Settings::default();
            settings.enable_webtransport(1);
            settings.write(&mut control).await.expect("settings");
            let (mut send, mut recv) = self.client.open_bi().await.expect("a stream");
            request().write(&mut send).await.expect("a request");
            ConnectResponse::read(&mut recv).await.expect("an answer");
            ByHand { send, recv, _control: control }
        };
        let (session, by_hand) = soon("session", async { tokio::join!(accept, connect) }).await;
        (session.expect("a session"), by_hand)
    }
}

/// The client's CONNECT stream.
pub(crate) struct ByHand {
    pub(crate) send: quinn::SendStream,
    pub(crate) recv: quinn::RecvStream,
    _control: quinn::SendStream,
}

fn request() -> ConnectRequest {
    Url::parse("https://localhost/session").expect("a URL").into()
}
