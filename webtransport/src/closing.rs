//! How a session ends: by a capsule on its CONNECT stream, before the connection is closed
//! (draft-ietf-webtrans-http3 section 6).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quinn::{ApplicationClose, ConnectionError};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use web_transport_proto::{Capsule, Frame, Http3CapsuleReader, VarInt};

use crate::session::Shared;
use crate::{BiStream, H3_NO_ERROR};

/// How long the peer may take to answer that a session is closed, before the connection is closed as well.
pub const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Bytes of a reason at most; what is longer is cut.
pub const MAX_REASON: usize = 1024;

/// What the one who closes a session tells the other.
#[derive(Debug, Default)]
pub(crate) struct Close {
    code: u32,
    reason: String,
}

impl Close {
    pub(crate) fn new(code: u32, mut reason: String) -> Self {
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        Self { code, reason }
    }

    /// The capsule, in a DATA frame.
    fn encode(&self) -> BytesMut {
        let mut capsule = BytesMut::new();
        Capsule::CloseWebTransportSession { code: self.code, reason: self.reason.clone() }
            .encode(&mut capsule);
        let mut frame = BytesMut::new();
        Frame::DATA.encode(&mut frame);
        VarInt::try_from(capsule.len()).expect("it is bounded").encode(&mut frame);
        frame.extend_from_slice(&capsule);
        frame
    }
}

/// Why a session is over; the first reason counts.
#[derive(Debug, Default)]
pub(crate) struct End(watch::Sender<Option<ConnectionError>>);

impl End {
    pub(crate) fn set(&self, why: ConnectionError) {
        self.0.send_if_modified(|end| end.is_none() && end.replace(why).is_none());
    }

    pub(crate) fn get(&self) -> Option<ConnectionError> {
        self.0.borrow().clone()
    }

    pub(crate) async fn wait(&self) -> ConnectionError {
        let mut end = self.0.subscribe();
        match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => why.clone(),
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => ConnectionError::LocallyClosed,
        }
    }

    /// What `operation` yields, or why the session is over.
    pub(crate) async fn or<T>(
        &self,
        operation: impl Future<Output = Result<T, ConnectionError>>,
    ) -> Result<T, ConnectionError> {
        if let Some(why) = self.get() {
            return Err(why);
        }
        tokio::select! {
            // What has come already is not waited for.
            biased;
            result = operation => result.map_err(|error| self.get().unwrap_or(error)),
            why = self.wait() => Err(why),
        }
    }
}

/// However the task below ends, nobody waits for it in vain.
struct EndWithTask(quinn::Connection, Arc<Shared>);

impl Drop for EndWithTask {
    fn drop(&mut self) {
        self.1.end.set(self.0.close_reason().unwrap_or(ConnectionError::LocallyClosed));
    }
}

/// Holds the CONNECT stream until the session is over, and closes the connection after it.
pub(crate) async fn until_closed(
    quic: quinn::Connection,
    shared: Arc<Shared>,
    (mut send, recv): BiStream,
    requested: oneshot::Receiver<Close>,
) {
    let _end = EndWithTask(quic.clone(), Arc::clone(&shared));
    // Before media that waits for the path.
    let _already_stopped = send.set_priority(i32::MAX);
    let mut by_peer = std::pin::pin!(closed_by_peer(recv));
    let (code, reason) = tokio::select! {
        close = &mut by_peer => match close {
            Some(Close { code, reason }) => {
                let (error_code, reason) = (code.into(), reason.into());
                shared.end.set(ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason }));
                // This is the answer. The connection is closed by whoever closed the session, with the same code.
                let _already_stopped = send.finish();
                let _silent = timeout(CLOSE_TIME, quic.closed()).await;
                (H3_NO_ERROR, String::new())
            }
            None => (H3_NO_ERROR, String::new()),
        },
        // Without a request the last handle is gone.
        close = requested => {
            let close = close.unwrap_or_default();
            let _silent = timeout(CLOSE_TIME, async {
                // The draft has the end of the stream follow at once, and lets the connection be. Chromium 156 may crash a tab that
                // has streams of its own open when it hears of such an end; when the connection is closed together with the
                // stream, after the client's answer, it hears of that alone.
                if send.write_all(&close.encode()).await.is_ok() {
                    by_peer.await;
                    let _already_stopped = send.finish();
                }
            })
            .await;
            (close.code.into(), close.reason)
        }
    };
    // Closing again would hide why the connection was lost.
    if quic.close_reason().is_none() {
        quic.close(code, reason.as_bytes());
    }
}

/// Waits for the end of the peer's half of the CONNECT stream. `None` if it breaks off, or the connection does.
async fn closed_by_peer(connect: quinn::RecvStream) -> Option<Close> {
    let mut capsules = Http3CapsuleReader::new(connect);
    loop {
        match capsules.read().await {
            Ok(Some(Capsule::CloseWebTransportSession { code, reason })) => {
                return Some(Close::new(code, reason));
            }
            Ok(Some(Capsule::Grease { .. } | Capsule::Unknown { .. })) => {}
            // The same as a capsule with code 0.
            Ok(None) => return Some(Close::default()),
            Err(_) => return None,
        }
    }
}
