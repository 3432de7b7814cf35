//! Serving a router on sockets: HTTPS with the server's certificate, and plain HTTP on loopback.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;

/// The protocols to offer in ALPN, the better first.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// For the TLS handshake, and for the head of each request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an HTTP/2 connection is asked whether it is alive, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// Requests one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;
/// Bytes of all headers of a request. A bearer token takes less than 1 KiB.
const MAX_HEADERS: u32 = 16 * 1024;
/// Read buffer of an HTTP/1 connection, bytes.
const MAX_BUFFER: usize = 32 * 1024;

/// Serves `router` over TLS until `handle` is told to stop.
///
/// `tls` must offer [`ALPN`]. `handle.graceful_shutdown(Some(grace))` lets running requests finish;
/// `handle.listening()` tells the bound address.
///
/// # Errors
/// The socket's.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    tls: Arc<rustls::ServerConfig>,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls)).handshake_timeout(HEAD_TIMEOUT);
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle);
    limit(&mut server);
    server.serve(router.into_make_service()).await
}

/// Serves `router` without encryption until `handle` is told to stop. The listener must be bound to loopback.
///
/// # Errors
/// The socket's.
pub async fn serve_plain(
    listener: TcpListener,
    router: Router,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    limit(&mut server);
    server.serve(router.into_make_service()).await
}

fn limit<A>(server: &mut Server<SocketAddr, A>) {
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS);
}
