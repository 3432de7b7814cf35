//! The receiving end of a stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use darktower_protocol::{StreamId, Unit};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::media::lock;
use crate::meeting::Session;
use crate::session::frame::{Frame, FrameAssembler};
use crate::session::inbox::{Inbox, Next};

/// A subscription. Dropping it ends it.
///
/// Between the network and this reader at most 8 MiB or 4096 units wait. A reader that lets more
/// pile up loses the oldest group of pictures whole (of audio, the older half of what waits);
/// other subscriptions do not notice. [`StreamStatistics::overflowed_units`] counts what was lost
/// that way, [`StreamStatistics::lost_units`] what the server or the network left out.
///
/// [`StreamStatistics::overflowed_units`]: crate::StreamStatistics::overflowed_units
/// [`StreamStatistics::lost_units`]: crate::StreamStatistics::lost_units
#[derive(Debug)]
pub struct Subscriber {
    inbox: Arc<SharedInbox>,
    session: Arc<Session>,
    /// One per layer: at a switch, the last frames of the old one and the first of the new one
    /// can be interleaved.
    assemblers: BTreeMap<StreamId, FrameAssembler>,
}

impl Subscriber {
    pub(crate) fn new(inbox: Arc<SharedInbox>, session: Arc<Session>) -> Self {
        Self { inbox, session, assemblers: BTreeMap::new() }
    }

    /// The stream as applications name it.
    pub fn stream_id(&self) -> StreamId {
        lock(&self.inbox.inbox).stream_id()
    }

    /// The id in unit headers, of the layer that arrives now.
    pub fn wire_stream_id(&self) -> StreamId {
        lock(&self.inbox.inbox).wire_stream_id()
    }

    /// The next unit. Sequence numbers increase (per layer; a layer that comes back after another one may begin again at a
    /// key frame); a gap means that units were lost or left out. `None` when the stream has ended: its publisher left or
    /// unpublished it, or [`Meeting::unsubscribe`](crate::Meeting::unsubscribe) was called.
    ///
    /// Cancel-safe: dropped early, no unit is lost.
    ///
    /// # Errors
    /// What ended the session; the same error again on every later call.
    pub async fn next_unit(&mut self) -> Result<Option<Unit>, Error> {
        loop {
            let deadline = match lock(&self.inbox.inbox).next(Instant::now()) {
                Next::Unit(unit) => return Ok(Some(unit)),
                Next::End => return Ok(None),
                Next::Failed(error) => return Err(error),
                Next::Wait(deadline) => deadline,
            };
            let changed = self.inbox.changed.notified();
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    // An elapsed deadline is news as well.
                    let _ = tokio::time::timeout_at(deadline.into(), changed).await;
                }
            }
        }
    }

    /// The next whole frame. Frames of which a unit is missing are left out and counted. `None`
    /// when the stream has ended. Do not mix with [`next_unit`](Self::next_unit): a unit taken
    /// there is missing here.
    ///
    /// Cancel-safe: dropped early, no frame is lost.
    ///
    /// # Errors
    /// As [`next_unit`](Self::next_unit).
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        while let Some(unit) = self.next_unit().await? {
            let assembler = self.assemblers.entry(unit.header().stream_id()).or_default();
            if let Some(frame) = assembler.push(&unit) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Asks the publisher, through the server, for a key frame as soon as possible. The server
    /// answers many such wishes with one key frame.
    pub fn request_key_frame(&self) {
        self.session.reach().media().session.request_key_frame(self.wire_stream_id());
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.session.subscriber_dropped(&self.inbox);
    }
}

/// An [`Inbox`] between the tasks that read the network and the subscriber.
#[derive(Debug)]
pub(crate) struct SharedInbox {
    inbox: Mutex<Inbox>,
    /// The one reader waits here.
    changed: Notify,
    cancelled: CancellationToken,
}

impl SharedInbox {
    pub(crate) fn new(inbox: Inbox) -> Arc<Self> {
        Arc::new(Self {
            inbox: Mutex::new(inbox),
            changed: Notify::new(),
            cancelled: CancellationToken::new(),
        })
    }

    /// Changes the inbox and wakes the reader.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Inbox) -> R) -> R {
        let result = change(&mut lock(&self.inbox));
        self.changed.notify_one();
        result
    }

    /// Looks at the inbox.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&Inbox) -> R) -> R {
        look(&lock(&self.inbox))
    }

    /// Nobody wants more: tasks that read for this inbox stop.
    pub(crate) fn cancel(&self) {
        self.update(Inbox::finish);
        self.cancelled.cancel();
    }

    /// As [`cancel`](Self::cancel), when nobody will read what waits.
    pub(crate) fn abandon(&self) {
        self.update(Inbox::abandon);
        self.cancelled.cancel();
    }

    /// Ends when [`cancel`](Self::cancel) is called.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}
