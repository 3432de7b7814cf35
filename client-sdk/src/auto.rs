//! Subscribing to the meeting instead of listing streams.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::envelope::Message;
use tokio::sync::Notify;

use crate::error::Error;
use crate::media::lock;
use crate::meeting::{Meeting, Session};
use crate::options::AutoOptions;
use crate::state::Undo;
use crate::subscriber::{SharedInbox, Subscriber};

/// What the server chooses for this session. Dropping it ends all of that: subscribers get what has arrived, then `None`.
#[derive(Debug)]
pub struct AutoSubscriptions {
    session: Arc<Session>,
    chosen: Arc<Chosen>,
}

impl AutoSubscriptions {
    /// The next stream that the server has subscribed to, and who publishes it. Its subscriber ends when the server gives
    /// the stream up for another; if it comes back, it is a new one. Dropping a subscriber tells the server that the stream
    /// is not wanted. `None` when the session has ended.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<(ParticipantId, Subscriber)> {
        let (participant_id, inbox) = self.chosen.next().await?;
        Some((participant_id, Subscriber::new(inbox, Arc::clone(&self.session))))
    }

    /// Asks for something else in place of what was asked for. What was not wanted may come again.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn set_options(&self, options: AutoOptions) -> Result<(), Error> {
        let before = std::mem::replace(&mut *lock(&self.chosen.options), options.clone());
        let set = self.session.ask(|| auto_request(Some(&options))).await;
        if set.is_err() {
            *lock(&self.chosen.options) = before;
        }
        set.map(drop)
    }
}

impl Drop for AutoSubscriptions {
    fn drop(&mut self) {
        *lock(&self.session.state().auto) = None;
        self.session.undo(Undo::Auto);
        self.session.reach().signaling().session.send_and_forget(auto_request(None));
    }
}

/// Who publishes a stream, and what comes of it.
type Begun = (ParticipantId, Arc<SharedInbox>);

/// What has been chosen and not been taken by the application.
#[derive(Debug)]
pub(crate) struct Chosen {
    options: Mutex<AutoOptions>,
    /// None of what has ended; `None` when the session has.
    waiting: Mutex<Option<VecDeque<Begun>>>,
    changed: Notify,
}

impl Chosen {
    fn new(options: AutoOptions) -> Arc<Self> {
        let waiting = Mutex::new(Some(VecDeque::new()));
        Arc::new(Self { options: Mutex::new(options), waiting, changed: Notify::new() })
    }

    pub(crate) fn options(&self) -> AutoOptions {
        lock(&self.options).clone()
    }

    pub(crate) fn begin(&self, participant_id: ParticipantId, inbox: Arc<SharedInbox>) {
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiting.push_back((participant_id, inbox));
        }
        self.changed.notify_one();
    }

    /// It is over; whether the application has not taken it.
    pub(crate) fn forget(&self, inbox: &Arc<SharedInbox>) -> bool {
        let mut waiting = lock(&self.waiting);
        let Some(waiting) = &mut *waiting else { return false };
        let before = waiting.len();
        waiting.retain(|(_, waits)| !Arc::ptr_eq(waits, inbox));
        waiting.len() < before
    }

    /// Nothing is chosen any more.
    pub(crate) fn end(&self) {
        *lock(&self.waiting) = None;
        self.changed.notify_one();
    }

    async fn next(&self) -> Option<Begun> {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = lock(&self.waiting).as_mut()?.pop_front() {
                return Some(next);
            }
            changed.await;
        }
    }
}

impl Meeting {
    /// Lets the server subscribe for this session: to all audio and all shared screens that it sees, and to the cameras that
    /// matter most. There is one of these at a time; what is asked for is changed with
    /// [`set_options`](AutoSubscriptions::set_options).
    ///
    /// ```no_run
    /// # async fn example(meeting: darktower_client::Meeting) -> Result<(), darktower_client::Error> {
    /// use darktower_client::AutoOptions;
    ///
    /// let mut auto = meeting.subscribe_auto(AutoOptions::default()).await?;
    /// while let Some((participant_id, mut subscriber)) = auto.next().await {
    ///     tokio::spawn(async move {
    ///         while let Ok(Some(frame)) = subscriber.next_frame().await {
    ///             println!("{participant_id}: {} bytes", frame.payload.len());
    ///         }
    ///     });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, [`Error::Invalid`] if the server does it already, else what ended the session.
    pub async fn subscribe_auto(&self, options: AutoOptions) -> Result<AutoSubscriptions, Error> {
        let session = self.shared_session();
        let chosen = Chosen::new(options.clone());
        {
            let mut auto = lock(&session.state().auto);
            if auto.is_some() {
                return Err(Error::Invalid("the server chooses already: change its options".to_owned()));
            }
            *auto = Some(Arc::clone(&chosen));
        }
        // From here on, dropping it undoes everything.
        let subscriptions = AutoSubscriptions { session, chosen };
        subscriptions.session.ask(|| auto_request(Some(&options))).await?;
        Ok(subscriptions)
    }
}

/// Without options: nothing is to be chosen any more.
pub(crate) fn auto_request(options: Option<&AutoOptions>) -> Message {
    let request = options.map(|options| pb::SubscribeAuto {
        on: true,
        stream_types: options.stream_types.iter().map(|kind| i32::from(*kind)).collect(),
        max_video_streams: options.max_video_streams,
        camera_options: Some(pb::SubscriptionOptions {
            preferred_layer: options.cameras.preferred_layer.clone(),
            max_bitrate: options.cameras.max_bitrate_bps,
        }),
        pinned_participant_ids: options.pinned.iter().map(ToString::to_string).collect(),
    });
    Message::SubscribeAuto(request.unwrap_or_default())
}
