//! One request: its head, its body as it comes, and the answer.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use bytes::{Buf as _, Bytes};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;
use tower::{Service, ServiceExt as _};

use super::{BodyError, quic};

/// For the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// For each piece of an answer to leave. A client that takes nothing for so long is stuck or hostile.
const SEND_DEADLINE: Duration = Duration::from_secs(20);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It reached the service; what became of the answer is the client's business.
    Answered,
    /// There never was a whole head.
    Abandoned,
}

/// Reads one request, lets `service` answer it, and sends the answer.
pub(super) async fn answer<S, B>(resolver: RequestResolver<quic::Connection, Bytes>, service: S) -> Ended
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BodyError> + Send,
    B: Body<Data = Bytes>,
    B::Error: Into<BodyError> + Send,
{
    let (request, stream) = match timeout(HEAD_DEADLINE, resolver.resolve_request()).await {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => {
            tracing::debug!(%error, "HTTP/3 request refused");
            return Ended::Abandoned;
        }
        Err(_) => return Ended::Abandoned,
    };
    let (send, recv) = stream.split();
    let mut send = Answer { send, is_whole: false };
    let is_head = request.method() == Method::HEAD;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let request = request.map(|()| RequestBody { recv, phase: Phase::Data, length });
    let sent = async {
        let response = service.oneshot(request).await.map_err(Into::into)?;
        send.response(response, is_head).await
    };
    if let Err(error) = sent.await {
        tracing::debug!(error = &*error, "HTTP/3 answer not delivered");
    }
    Ended::Answered
}

/// The sending half of a request. Reset when dropped before the answer is whole, so that none looks whole that is not.
struct Answer {
    send: RequestStream<quic::SendStream, Bytes>,
    is_whole: bool,
}

impl Answer {
    async fn response<B>(&mut self, response: Response<B>, is_head: bool) -> Result<(), BodyError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyError> + Send,
    {
        let (mut parts, body) = response.into_parts();
        // Only HTTP/1 has these (RFC 9114 section 4.2).
        parts.headers.remove(CONNECTION);
        parts.headers.remove(TRANSFER_ENCODING);
        let has_body =
            !is_head && parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED;
        if let Some(length) = body.size_hint().exact()
            && has_body
        {
            parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        in_time(self.send.send_response(Response::from_parts(parts, ()))).await?;
        let mut body = pin!(body);
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame.map_err(Into::into)?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => in_time(self.send.send_data(data)).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        in_time(self.send.send_trailers(trailers)).await?;
                    }
                }
            }
        }
        let finished = in_time(self.send.finish()).await;
        self.is_whole = finished.is_ok();
        finished
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_whole {
            self.send.stop_stream(Code::H3_INTERNAL_ERROR);
        }
    }
}

async fn in_time(sending: impl Future<Output = Result<(), StreamError>>) -> Result<(), BodyError> {
    Ok(timeout(SEND_DEADLINE, sending).await??)
}

/// The body of a request, read from its stream as it is asked for.
pub struct RequestBody {
    recv: RequestStream<quic::RecvStream, Bytes>,
    phase: Phase,
    /// What the head says.
    length: Option<u64>,
}

#[derive(Clone, Copy)]
enum Phase {
    Data,
    Trailers,
    Over,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if matches!(self.phase, Phase::Data) {
            match ready!(self.recv.poll_recv_data(cx))? {
                Some(mut data) => {
                    let data = data.copy_to_bytes(data.remaining());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                None => self.phase = Phase::Trailers,
            }
        }
        if matches!(self.phase, Phase::Trailers) {
            let trailers: Option<HeaderMap> = ready!(self.recv.poll_recv_trailers(cx))?;
            self.phase = Phase::Over;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match (self.phase, self.length) {
            // An upper bound only: the client may say anything.
            (Phase::Data, Some(length)) => {
                let mut hint = SizeHint::new();
                hint.set_upper(length);
                hint
            }
            (Phase::Data, None) => SizeHint::new(),
            _ => SizeHint::with_exact(0),
        }
    }
}
