//! `bare-http`: the reference that the API's cost is compared with. A router with one route that says hello, behind the
//! same libraries as Dark Tower's API (axum, axum-server and rustls for HTTP/2; quinn and h3 for HTTP/3) and nothing else.
//!
//! It prints one line of JSON, `{"https":…,"http3":…}`, and serves until its standard input ends.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use bytes::Bytes;
use clap::Parser;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// As the server has it: the comparison is not about allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The reference server of `darktower-load api`; started by it
#[derive(Parser)]
struct Args {
    /// PEM file
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// PEM file
    #[arg(long, value_name = "FILE")]
    private_key: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let tls = |alpn: &[u8]| -> Result<rustls::ServerConfig> {
        let chain = CertificateDer::pem_file_iter(&args.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&args.private_key)?)?;
        tls.alpn_protocols = vec![alpn.to_vec()];
        Ok(tls)
    };
    let router = Router::new().route("/hello", get(async || "hello"));

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let https = listener.local_addr()?;
    let config = RustlsConfig::from_config(Arc::new(tls(b"h2")?));
    let server = axum_server::from_tcp_rustls(listener, config)?;
    let server = server.map(|tls| tls.acceptor(axum_server::accept::NoDelayAcceptor::new()));
    tokio::spawn(server.serve(router.clone().into_make_service()));

    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls(b"h3")?)?));
    let endpoint = quinn::Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    println!("{}", serde_json::json!({ "https": https, "http3": endpoint.local_addr()? }));
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(serve(incoming, router.clone()));
        }
    });

    // Standard input is the leash: whoever started this holds the other end.
    let (let_go, leash) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(let_go);
    });
    let _gone = leash.await;
    Ok(())
}

/// One HTTP/3 connection. Errors of one client are nobody else's business.
async fn serve(incoming: quinn::Incoming, router: Router) -> Result<()> {
    let mut http = h3::server::Connection::new(h3_quinn::Connection::new(incoming.await?)).await?;
    while let Some(resolver) = http.accept().await? {
        let router = router.clone();
        tokio::spawn(async move {
            let (request, mut stream) = resolver.resolve_request().await?;
            let request = request.map(|()| axum::body::Body::empty());
            let (head, body) = router.oneshot(request).await?.into_parts();
            stream.send_response(axum::http::Response::from_parts(head, ())).await?;
            let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.context("the body")?;
            stream.send_data(body).await?;
            stream.finish().await?;
            anyhow::Ok(())
        });
    }
    Ok(())
}
