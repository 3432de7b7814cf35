//! Serving a router on sockets: HTTPS with the server's certificate, HTTP/3, and plain HTTP on loopback. Handlers find the
//! client's address as `ConnectInfo<SocketAddr>`, however it came.

use std::future::Ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::transport::{Http3Endpoint, Place, Places, RequestBody};

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
/// Connections of one listener. Each holds some 50 KiB, and up to [`CONNECTION_WINDOW`] if its client is hostile.
const MAX_CONNECTIONS: usize = 4096;
/// Bytes that wait to leave together: two records of TLS.
const GATHERED: usize = 32 * 1024;
/// Bytes that a connection keeps for the next answers.
const KEPT: usize = 4 * 1024;
/// Bytes of bodies that may wait to be read.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// HTTP/2 requests that a client may take back before we have looked at them ("rapid reset").
const MAX_RESETS: usize = 20;
/// HTTP/2 requests of a connection that may break the protocol, before all of it is given up.
const MAX_BAD_STREAMS: usize = 100;

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
    places: Places,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let tls = RustlsAcceptor::new(RustlsConfig::from_config(tls)).handshake_timeout(HEAD_TIMEOUT);
    let acceptor = tls.acceptor(Door(places));
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle);
    limit(&mut server);
    server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Serves `router` without encryption until `handle` is told to stop. The listener must be bound to loopback.
///
/// # Errors
/// The socket's.
pub async fn serve_plain(
    listener: TcpListener,
    router: Router,
    places: Places,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut server = axum_server::from_tcp(listener)?.acceptor(Door(places)).handle(handle);
    limit(&mut server);
    server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Serves `router` over HTTP/3 until `stop`, then lets running requests finish within `grace`.
pub async fn serve_http3(endpoint: Http3Endpoint, router: Router, stop: CancellationToken, grace: Duration) {
    let service_for = move |peer: SocketAddr| {
        router.clone().map_request(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        })
    };
    endpoint.run(service_for, stop, grace).await;
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
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_BAD_STREAMS);
}

/// The places of all listeners of TCP.
#[must_use]
pub fn places(proxies: &[IpNet]) -> Places {
    // Known before the first event.
    metrics::gauge!("http_connections").increment(0);
    metrics::counter!("http_connections_refused_total").increment(0);
    Places::new(MAX_CONNECTIONS, proxies)
}

/// Gives each TCP connection a place.
#[derive(Clone, Debug)]
struct Door(Places);

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Placed;
    type Service = S;
    type Future = Ready<io::Result<(Placed, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = stream.peer_addr().and_then(|peer| {
            let place = self.0.take(peer.ip()).ok_or_else(|| {
                metrics::counter!("http_connections_refused_total").increment(1);
                io::Error::other("too many connections")
            })?;
            // HTTP/2 answers of several requests follow each other; none should wait for an acknowledgement.
            stream.set_nodelay(true)?;
            Ok((Placed::new(stream, place), service))
        });
        std::future::ready(accepted)
    }
}

/// A connection and its place. Answers that are ready at about the same time leave together: a send costs more than all
/// else about a small answer.
#[derive(Debug)]
struct Placed {
    stream: TcpStream,
    /// What is to be sent, at most about [`GATHERED`].
    gathered: Vec<u8>,
    /// Bytes of it that were sent.
    sent: usize,
    /// Whether others had the chance to write since the last send.
    has_waited: bool,
    _place: Place,
}

impl Placed {
    fn new(stream: TcpStream, place: Place) -> Self {
        metrics::gauge!("http_connections").increment(1);
        Self { stream, gathered: Vec::new(), sent: 0, has_waited: false, _place: place }
    }

    /// Sends what was gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.gathered.get(self.sent..) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.gathered.clear();
        // Most connections are idle most of the time.
        self.gathered.shrink_to(KEPT);
        (self.sent, self.has_waited) = (0, false);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        metrics::gauge!("http_connections").decrement(1);
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED {
            ready!(self.poll_send(cx))?;
        }
        let before = self.gathered.len();
        for buf in bufs {
            // All of a slice or a part of it, but never nothing.
            let room = GATHERED.saturating_sub(self.gathered.len());
            self.gathered.extend_from_slice(buf.get(..room).unwrap_or(buf));
        }
        Poll::Ready(Ok(self.gathered.len() - before))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !self.has_waited {
            self.has_waited = true;
            // To the end of the queue of tasks that are ready: behind other requests of this connection.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::task::noop_waker_ref;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn placed() -> (Placed, TcpStream) {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("is bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, peer) = accepted.expect("accepted");
        let place = Places::new(1, &[]).take(peer.ip()).expect("free");
        (Placed::new(stream, place), client.expect("connected"))
    }

    #[tokio::test]
    async fn what_is_written_while_a_flush_waits_leaves_with_it() {
        let (mut placed, mut client) = placed().await;
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut placed = Pin::new(&mut placed);
        for letter in [b"a", b"b"] {
            assert!(matches!(placed.as_mut().poll_write(&mut cx, letter), Poll::Ready(Ok(1))));
        }
        assert!(placed.as_mut().poll_flush(&mut cx).is_pending(), "others may have something to add");
        assert!(matches!(placed.as_mut().poll_write(&mut cx, b"c"), Poll::Ready(Ok(1))));
        assert!(matches!(placed.as_mut().poll_flush(&mut cx), Poll::Ready(Ok(()))));
        assert!(matches!(placed.as_mut().poll_flush(&mut cx), Poll::Ready(Ok(()))), "nothing waits");
        let mut read = [0; 4];
        let len = client.read(&mut read).await.expect("read");
        assert_eq!(&read[..len], b"abc");
    }

    #[tokio::test]
    async fn long_answers_arrive_whole_with_bounded_memory() {
        let (mut placed, mut client) = placed().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            placed.write_all(&sent).await.expect("written");
            assert!(placed.gathered.len() <= GATHERED);
            placed.flush().await.expect("flushed");
            placed.write_all(b"end").await.expect("written");
            // What was not flushed leaves before the end.
            placed.shutdown().await.expect("shut down");
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("read");
        sending.await.expect("sent");
        assert!(received[..expected.len()] == expected[..] && received.ends_with(b"end"));
        assert_eq!(received.len(), expected.len() + 3);
    }
}
