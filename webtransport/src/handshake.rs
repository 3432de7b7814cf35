//! From a QUIC connection to a session, at both ends.

use std::time::Duration;

use quinn::ConnectionError;
use web_transport_proto::http::{HeaderMap, StatusCode};
use web_transport_proto::{ConnectError, ConnectRequest, ConnectResponse, Settings, SettingsError};

use crate::incoming::UniStreams;
use crate::{BiStream, H3_GENERAL_PROTOCOL_ERROR, H3_NO_ERROR, Session};

/// How long a client that was refused may take to read the answer.
const REFUSAL_GRACE: Duration = Duration::from_secs(1);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection is lost or closed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The peer's settings cannot be read.
    #[error("HTTP/3 settings: {0}")]
    Settings(#[from] SettingsError),
    /// The request or its answer cannot be read or written.
    #[error("CONNECT request: {0}")]
    Connect(#[from] ConnectError),
    /// To a client: the server's settings do not name WebTransport.
    #[error("the server does not speak WebTransport")]
    NotOffered,
    /// To a client: the server's answer is an error.
    #[error("the server answered the CONNECT request with {0}")]
    Refused(StatusCode),
}

impl Session {
    /// Exchanges settings and asks for the session of a URL, on a new connection with the ALPN of HTTP/3.
    ///
    /// # Errors
    /// If there is no session; why is in the error.
    pub async fn connect(
        quic: quinn::Connection,
        request: impl Into<ConnectRequest>,
    ) -> Result<Self, HandshakeError> {
        let mut uni = UniStreams::default();
        let (control, settings) = tokio::try_join!(open_control(&quic), uni.settings(&quic))?;
        if settings.supports_webtransport() == 0 {
            return Err(HandshakeError::NotOffered);
        }
        let (mut send, mut recv) = quic.open_bi().await?;
        request.into().write(&mut send).await?;
        match ConnectResponse::read(&mut recv).await {
            Ok(_) => Ok(Self::new(quic, control, uni, (send, recv))),
            Err(ConnectError::WrongStatus(Some(status))) => Err(HandshakeError::Refused(status)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A client that asks for a session and waits for the answer.
#[derive(Debug)]
pub struct Request {
    quic: quinn::Connection,
    request: ConnectRequest,
    connect: BiStream,
    control: quinn::SendStream,
    uni: UniStreams,
}

impl Request {
    /// Exchanges settings and reads the request, on a new connection with the ALPN of HTTP/3.
    ///
    /// # Errors
    /// If the client asks for no session; the connection is closed then.
    pub async fn read(quic: quinn::Connection) -> Result<Self, HandshakeError> {
        let mut uni = UniStreams::default();
        let read = async {
            // What the client's settings say does not matter: it asks for WebTransport below.
            let (control, _settings, (request, connect)) =
                tokio::try_join!(open_control(&quic), uni.settings(&quic), accept_connect(&quic))?;
            Ok((control, request, connect))
        };
        match read.await {
            Ok((control, request, connect)) => Ok(Self { quic, request, connect, control, uni }),
            Err(error) => {
                quic.close(H3_GENERAL_PROTOCOL_ERROR, b"no WebTransport session");
                Err(error)
            }
        }
    }

    /// The path of the request, without a query.
    pub fn path(&self) -> &str {
        self.request.url.path()
    }

    /// The header fields of the request.
    pub fn headers(&self) -> &HeaderMap {
        &self.request.headers
    }

    /// Answers with an error, and closes the connection when the client has it.
    pub async fn refuse(mut self, status: StatusCode) {
        let (send, _recv) = &mut self.connect;
        if ConnectResponse::new(status).write(send).await.is_ok() && send.finish().is_ok() {
            let _silent = tokio::time::timeout(REFUSAL_GRACE, self.quic.closed()).await;
        }
        self.quic.close(H3_NO_ERROR, b"");
    }

    /// Grants the session.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn accept(mut self) -> Result<Session, HandshakeError> {
        ConnectResponse::OK.write(&mut self.connect.0).await?;
        Ok(Session::new(self.quic, self.control, self.uni, self.connect))
    }
}

async fn open_control(quic: &quinn::Connection) -> Result<quinn::SendStream, HandshakeError> {
    let mut control = quic.open_uni().await?;
    let mut settings = Settings::default();
    settings.enable_webtransport(1);
    settings.write(&mut control).await?;
    Ok(control)
}

async fn accept_connect(quic: &quinn::Connection) -> Result<(ConnectRequest, BiStream), HandshakeError> {
    let (send, mut recv) = quic.accept_bi().await?;
    let request = ConnectRequest::read(&mut recv).await?;
    Ok((request, (send, recv)))
}
