//! Units from the server: group streams, datagrams, and the streams of baseline subscriptions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::group::{GroupDecoder, GroupError, GroupPreamble};
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::unit::DatagramUnits;
use darktower_protocol::{Code, Flags, FrameType, HeaderFields, StreamId, Unit, UnitDecoder};
use tokio::sync::mpsc;
use tracing::debug;

use super::{MediaState, request_key_frame};
use crate::error::Error;
use crate::session::inbox::Source;
use crate::subscriber::SharedInbox;
use crate::transport::{Connection, RecvStream, in_time};

/// How long the preamble of a group stream may take, and how long a group may wait for the answer
/// to its subscription, which travels on another connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// What every reading task needs.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    pub(super) connection: Connection,
    pub(super) state: Arc<MediaState>,
    pub(super) control: mpsc::Sender<Bytes>,
}

/// Why a QUIC stream is not read any further.
enum Stopped {
    /// The peer ended it.
    Error(Error),
    /// This side stops it.
    With(Code),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<GroupError> for Stopped {
    fn from(error: GroupError) -> Self {
        debug!(%error, "group stream refused");
        Self::With(error.code())
    }
}

impl Ingress {
    /// Accepts group streams until the connection ends. There are never more reading tasks than
    /// the QUIC stream limit of the connection allows.
    pub(super) async fn accept_streams(self) {
        while let Ok(recv) = self.connection.accept_uni().await {
            tokio::spawn(self.clone().read_group_stream(recv));
        }
    }

    /// Reads datagrams until the connection ends.
    pub(super) async fn read_datagrams(self) {
        while let Ok(datagram) = self.connection.read_datagram().await {
            for unit in DatagramUnits::new(datagram, UnitLimits::default()) {
                match unit {
                    Ok(unit) => self.deliver_datagram(unit),
                    Err(error) => debug!(%error, "datagram ignored"),
                }
            }
        }
    }

    fn deliver_datagram(&self, unit: Unit) {
        let id = unit.header().stream_id();
        // Unsubscribed, or not yet confirmed: audio is not worth waiting for.
        let Some(inbox) = self.state.route(id) else { return };
        let now_us = self.state.now_us();
        if inbox.update(|inbox| inbox.push_datagram(unit, Instant::now(), now_us)) {
            request_key_frame(&self.control, id);
        }
    }

    async fn read_group_stream(self, mut recv: RecvStream) {
        let source = self.state.routes.next_source();
        let mut decoder = GroupDecoder::new(UnitLimits::default());
        let head = tokio::time::timeout(HEAD_TIMEOUT, read_preamble(&mut recv, &mut decoder)).await;
        let stopped = match head.unwrap_or(Err(Stopped::With(Code::TIMED_OUT))) {
            Err(stopped) => stopped,
            Ok(preamble) => match self.wait_for_route(preamble.stream_id).await {
                None => Stopped::With(Code::NOT_SUBSCRIBED),
                Some(inbox) => {
                    inbox.update(|inbox| inbox.open(source, &preamble, Instant::now()));
                    let result = self.read_group(&mut recv, source, &mut decoder, &inbox).await;
                    inbox.update(|inbox| inbox.close(preamble.stream_id, source, Instant::now()));
                    match result {
                        Ok(()) => return,
                        Err(stopped) => stopped,
                    }
                }
            },
        };
        match stopped {
            Stopped::With(code) => recv.stop(code),
            Stopped::Error(error) => debug!(%error, "group stream ended early"),
        }
    }

    async fn wait_for_route(&self, wire_stream_id: StreamId) -> Option<Arc<SharedInbox>> {
        let mut added = self.state.routes.added.subscribe();
        let found = async {
            loop {
                if let Some(inbox) = self.state.route(wire_stream_id) {
                    return Some(inbox);
                }
                added.changed().await.ok()?;
            }
        };
        tokio::time::timeout(HEAD_TIMEOUT, found).await.ok().flatten()
    }

    async fn read_group(
        &self,
        recv: &mut RecvStream,
        source: Source,
        decoder: &mut GroupDecoder,
        inbox: &SharedInbox,
    ) -> Result<(), Stopped> {
        loop {
            while let Some(unit) = decoder.next_unit()? {
                let id = unit.header().stream_id();
                let now_us = self.state.now_us();
                let (ask, closed) = inbox
                    .update(|inbox| (inbox.push(source, unit, Instant::now(), now_us), inbox.is_closed()));
                if ask {
                    request_key_frame(&self.control, id);
                }
                if closed {
                    return Err(Stopped::With(Code::CANCELLED));
                }
            }
            tokio::select! {
                chunk = recv.read_chunk() => match chunk? {
                    Some(chunk) => decoder.push(chunk)?,
                    None => return Ok(decoder.finish()?),
                },
                () = inbox.cancelled() => return Err(Stopped::With(Code::CANCELLED)),
            }
        }
    }
}

async fn read_preamble(recv: &mut RecvStream, decoder: &mut GroupDecoder) -> Result<GroupPreamble, Stopped> {
    loop {
        if let Some(preamble) = decoder.preamble() {
            return Ok(*preamble);
        }
        match recv.read_chunk().await? {
            Some(chunk) => decoder.push(chunk)?,
            None => return Err(Stopped::With(GroupError::Truncated.code())),
        }
    }
}

/// Opens the QUIC stream of a baseline subscription and starts the task that reads it, which ends
/// with the stream or the inbox. `layers`: the wire stream ids that may arrive on it.
pub(crate) async fn attach(
    ingress: Ingress,
    wire_stream_id: StreamId,
    layers: Vec<StreamId>,
    inbox: Arc<SharedInbox>,
) -> Result<(), Error> {
    let opening =
        in_time("the server allows no further stream to subscribe on", ingress.connection.open_bi());
    let (mut send, mut recv) = opening.await?;
    let fields = HeaderFields {
        frame_type: FrameType::Attach,
        stream_id: wire_stream_id,
        timestamp: 0,
        sequence: 0,
        flags: Flags::default(),
    };
    send.write_chunks(&mut [Unit::new(&fields, Bytes::new()).into_wire()]).await?;
    tokio::spawn(async move {
        let result = ingress.read_attached(&mut recv, &layers, &inbox).await;
        // Open until here: its end would tell the server that the subscriber is gone.
        send.finish();
        match result {
            Ok(()) => inbox.update(|inbox| inbox.finish()),
            Err(Stopped::Error(Error::StreamEnded(Code::PUBLISHER_GONE))) => {
                inbox.update(|inbox| inbox.finish());
            }
            // The server has given it up, and says on signaling for what: for another layer, or for nothing.
            Err(Stopped::Error(Error::StreamEnded(Code::CANCELLED | Code::LAYER_SWITCHED))) => {}
            // The next connection, if there is one, goes on with it.
            Err(Stopped::Error(_)) if ingress.connection.close_reason().is_some() => {}
            Err(Stopped::Error(error)) => inbox.update(|inbox| inbox.fail(error)),
            Err(Stopped::With(code)) => {
                recv.stop(code);
                inbox.update(|inbox| inbox.fail(Error::Protocol(format!("units refused: {code}"))));
            }
        }
    });
    Ok(())
}

impl Ingress {
    async fn read_attached(
        &self,
        recv: &mut RecvStream,
        layers: &[StreamId],
        inbox: &SharedInbox,
    ) -> Result<(), Stopped> {
        let mut decoder = UnitDecoder::new(UnitLimits::default());
        loop {
            while let Some(unit) = decoder.next_unit().map_err(GroupError::from)? {
                let id = unit.header().stream_id();
                if !layers.contains(&id) {
                    return Err(Stopped::With(Code::WRONG_STREAM));
                }
                let now_us = self.state.now_us();
                if inbox.update(|inbox| inbox.push_in_order(unit, Instant::now(), now_us)) {
                    request_key_frame(&self.control, id);
                }
            }
            tokio::select! {
                chunk = recv.read_chunk() => match chunk? {
                    Some(chunk) => decoder.push(chunk),
                    None => return Ok(decoder.finish().map_err(GroupError::from)?),
                },
                () = inbox.cancelled() => return Err(Stopped::With(Code::CANCELLED)),
            }
        }
    }
}
