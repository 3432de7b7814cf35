//! For unit tests: one stream between two sockets of this process.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;

use super::SendStream;

/// A stream to a peer that grants `window` bytes, and as many again for each such part that it has read.
pub(crate) struct Loopback {
    pub(crate) send: SendStream,
    pub(crate) recv: quinn::RecvStream,
    pub(crate) _open: [(quinn::Endpoint, quinn::Connection); 2],
}

impl Loopback {
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
        let mut client =
            quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).expect("for QUIC")));
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(window.into());
        client.transport_config(Arc::new(transport));

        let any = ([127, 0, 0, 1], 0).into();
        let ours = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(server), any).expect("a socket");
        let theirs = quinn::Endpoint::client(any).expect("a socket");
        let address = ours.local_addr().expect("an address");
        let connecting = theirs.connect_with(client, address, "localhost").expect("connecting");
        let accepting = async { ours.accept().await.expect("a client").await };
        let (connected, accepted) = tokio::try_join!(connecting, accepting).expect("a connection");
        // The peer opens it, so that it is there at both ends when this returns.
        let (mut opened, recv) = connected.open_bi().await.expect("a stream");
        opened.write_all(&[0]).await.expect("written");
        let (send, _) = accepted.accept_bi().await.expect("a stream");
        let send = SendStream::native(send);
        Self { send, recv, _open: [(ours, accepted), (theirs, connected)] }
    }
}
