//! Connections to a server, native QUIC and WebTransport behind one face.
//!
//! [`Meeting`](crate::Meeting) uses this module for you. It is public so that tests, and programs
//! with special wishes, can speak the protocol by hand (docs/protocol.md):
//!
//! ```no_run
//! # async fn example() -> Result<(), darktower_client::Error> {
//! use darktower_client::Code;
//! use darktower_client::transport::{Role, TransportKind, Trust, connect};
//!
//! let url = "https://meet.example.org:4433/v1/media";
//! let connection = connect(url, TransportKind::Native, &Trust::System, Role::Media).await?;
//! let (mut send, mut recv) = connection.open_bi().await?;
//! send.write_all(b"not a MediaHello").await?;
//! send.finish();
//! while let Some(chunk) = recv.read_chunk().await? {
//!     println!("{} bytes", chunk.len());
//! }
//! connection.close(Code::NO_ERROR, "");
//! connection.wait_idle().await;
//! # Ok(())
//! # }
//! ```

mod connection;
mod dial;
mod stream;
pub(crate) mod tls;

use std::time::Duration;

use crate::error::Error;

pub use connection::Connection;
pub use dial::{CONNECT_TIMEOUT, Origin, connect, quic_client_config};
pub use stream::{RecvStream, SendStream};
pub use tls::{Trust, warm_up};

/// How a connection travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransportKind {
    /// Raw QUIC, told apart by ALPN.
    #[default]
    Native,
    /// A WebTransport session over HTTP/3, as browsers use it.
    WebTransport,
}

/// What a connection is for; chooses the ALPN of native connections. (WebTransport sessions say
/// it by their path.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// To a meeting controller.
    Signal,
    /// To a media handler.
    Media,
}

/// How long the peer may take to allow one more stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds the wait for a stream that the peer has to allow.
pub(crate) async fn in_time<T>(
    what: &'static str,
    opening: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(OPEN_TIMEOUT, opening).await.unwrap_or(Err(Error::Timeout(what)))
}
