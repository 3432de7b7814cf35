//! Connections that stay open and carry many requests at a time: HTTP/2 over TLS, and HTTP/3.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use axum::http::{Method, Request, Version};
use bytes::{Buf as _, Bytes, BytesMut};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Larger answers are not expected.
const MAX_ANSWER: usize = 1 << 20;

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    #[value(name = "h2")]
    Http2,
    #[value(name = "h3")]
    Http3,
}

impl Protocol {
    pub(super) const ALL: [Self; 2] = [Self::Http2, Self::Http3];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }

    fn alpn(self) -> &'static [u8] {
        self.name().as_bytes()
    }
}

/// Where a server answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) https: SocketAddr,
    pub(crate) http3: SocketAddr,
}

impl Addresses {
    fn of(self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http2 => self.https,
            Protocol::Http3 => self.http3,
        }
    }
}

/// One connection; clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    requests: Requests,
    authority: String,
}

#[derive(Clone)]
enum Requests {
    Http2(h2::client::SendRequest<Bytes>),
    Http3(h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>),
}

impl Connection {
    /// Connects; trusts the certificate in the PEM file, under the name `localhost`.
    pub(super) async fn open(protocol: Protocol, to: Addresses, certificate: &Path) -> Result<Self> {
        let address = to.of(protocol);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.alpn().to_vec()];
        let requests = match protocol {
            Protocol::Http2 => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                let name = ServerName::try_from("localhost")?;
                let socket = TlsConnector::from(Arc::new(tls)).connect(name, socket).await?;
                let (requests, connection) = h2::client::handshake(socket).await?;
                tokio::spawn(connection);
                Requests::Http2(requests)
            }
            Protocol::Http3 => {
                let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
                let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
                let quic = endpoint.connect_with(config, address, "localhost")?.await?;
                let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await?;
                tokio::spawn(async move { driver.wait_idle().await });
                Requests::Http3(requests)
            }
        };
        Ok(Self { requests, authority: format!("localhost:{}", address.port()) })
    }

    /// One request. Returns status and body.
    pub(super) async fn request(
        &mut self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Bytes,
    ) -> Result<(u16, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .version(Version::HTTP_2)
            .uri(format!("https://{}{path}", self.authority));
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json").header("content-length", body.len());
        }
        let request = request.body(())?;
        match &mut self.requests {
            Requests::Http2(requests) => over_http2(requests, request, body).await,
            Requests::Http3(requests) => over_http3(requests, request, body).await,
        }
    }
}

async fn over_http2(
    requests: &h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
) -> Result<(u16, Bytes)> {
    let mut requests = requests.clone().ready().await?;
    let (answer, mut send) = requests.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        send.send_data(body, true)?;
    }
    let (head, mut body) = answer.await?.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
        ensure!(bytes.len() <= MAX_ANSWER, "the answer is too long");
    }
    Ok((head.status.as_u16(), bytes.freeze()))
}

async fn over_http3(
    requests: &mut h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    request: Request<()>,
    body: Bytes,
) -> Result<(u16, Bytes)> {
    let mut stream = requests.send_request(request).await?;
    if !body.is_empty() {
        stream.send_data(body).await?;
    }
    stream.finish().await?;
    let status = stream.recv_response().await?.status().as_u16();
    let mut bytes = BytesMut::new();
    while let Some(mut data) = stream.recv_data().await.context("the answer")? {
        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        ensure!(bytes.len() <= MAX_ANSWER, "the answer is too long");
    }
    Ok((status, bytes.freeze()))
}
