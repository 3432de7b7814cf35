//! An established session.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use quinn::{ConnectionError, WriteError};
use tokio::sync::oneshot;

use crate::closing::{self, Close, End};
use crate::incoming::{BiStreams, UniStreams};
use crate::{BI_PREFIX, BiStream, SESSION_ID, UNI_PREFIX};

/// An established session. Its methods are cancel-safe. Dropped, it closes with code 0.
///
/// Their errors are quinn's, in both senses: a session that the peer closes gives [`ConnectionError::ApplicationClosed`] with the
/// session's code and reason, one that this side closes [`ConnectionError::LocallyClosed`], both before the connection itself is closed.
#[derive(Debug)]
pub struct Session {
    quic: quinn::Connection,
    shared: Arc<Shared>,
    close: Mutex<Option<oneshot::Sender<Close>>>,
}

/// What has to be there until the connection is closed: whoever ends one of these streams breaks it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Held while waiting, as a queue of those who accept: quinn's own `accept` calls have one too.
    bi: tokio::sync::Mutex<BiStreams>,
    uni: tokio::sync::Mutex<UniStreams>,
    _control: quinn::SendStream,
    pub(crate) end: End,
}

impl Session {
    pub(crate) fn new(
        quic: quinn::Connection,
        control: quinn::SendStream,
        uni: UniStreams,
        connect: BiStream,
    ) -> Self {
        let shared = Arc::new(Shared {
            bi: tokio::sync::Mutex::default(),
            uni: tokio::sync::Mutex::new(uni),
            _control: control,
            end: End::default(),
        });
        let (close, requested) = oneshot::channel();
        tokio::spawn(closing::until_closed(quic.clone(), Arc::clone(&shared), connect, requested));
        Self { quic, shared, close: Mutex::new(Some(close)) }
    }

    /// A new bidirectional stream of the session. Dropped early, it leaves an empty stream at most.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn open_bi(&self) -> Result<BiStream, ConnectionError> {
        self.shared
            .end
            .or(async {
                let (mut send, recv) = self.quic.open_bi().await?;
                write_header(&mut send, BI_PREFIX).await?;
                Ok((send, recv))
            })
            .await
    }

    /// A new unidirectional stream of the session. Dropped early, it leaves an empty stream at most.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn open_uni(&self) -> Result<quinn::SendStream, ConnectionError> {
        self.shared
            .end
            .or(async {
                let mut send = self.quic.open_uni().await?;
                write_header(&mut send, UNI_PREFIX).await?;
                Ok(send)
            })
            .await
    }

    /// The next bidirectional stream of the session, after its header.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn accept_bi(&self) -> Result<BiStream, ConnectionError> {
        self.shared.end.or(async { self.shared.bi.lock().await.next(&self.quic).await }).await
    }

    /// The next unidirectional stream of the session, after its header.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn accept_uni(&self) -> Result<quinn::RecvStream, ConnectionError> {
        self.shared.end.or(async { self.shared.uni.lock().await.next(&self.quic).await }).await
    }

    /// The payload of the next datagram of the session.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        self.shared
            .end
            .or(async {
                loop {
                    let mut datagram = self.quic.read_datagram().await?;
                    let mut rest = datagram.as_ref();
                    if web_transport_proto::VarInt::decode(&mut rest)
                        .is_ok_and(|id| id.into_inner() == SESSION_ID / 4)
                    {
                        datagram.advance(datagram.len() - rest.len());
                        return Ok(datagram);
                    }
                }
            })
            .await
    }

    /// Ends the session: what is under way here fails at once, the peer learns of it by a CLOSE_WEBTRANSPORT_SESSION capsule with
    /// the first [`MAX_REASON`](crate::MAX_REASON) bytes of the reason. The connection is closed with the same code and reason when
    /// the peer has ended its side, at the latest after [`CLOSE_TIME`](crate::CLOSE_TIME).
    pub fn close(&self, code: u32, reason: &str) {
        // Closing again would hide why the connection was lost.
        if self.quic.close_reason().is_some() {
            return;
        }
        let close = self.close.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(close) = close {
            self.shared.end.set(ConnectionError::LocallyClosed);
            // If the peer was faster, nobody listens.
            let _over = close.send(Close::new(code, reason.to_owned()));
        }
    }

    /// Waits until the session is over, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.shared.end.wait().await
    }

    /// Why the session is over; `None` while it is open.
    pub fn close_reason(&self) -> Option<ConnectionError> {
        self.shared.end.get().or_else(|| self.quic.close_reason())
    }
}

async fn write_header(send: &mut quinn::SendStream, header: &[u8]) -> Result<(), ConnectionError> {
    match send.write_all(header).await {
        Err(WriteError::ConnectionLost(error)) => Err(error),
        // A stream that the peer stops this early says so when it is written to.
        Ok(()) | Err(_) => Ok(()),
    }
}
