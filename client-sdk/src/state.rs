//! What the handles of a meeting share with the task that follows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{Features, StreamId};
use pb::envelope::Message;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auto::{Chosen, auto_request};
use crate::error::Error;
use crate::events::EventSender;
use crate::media::{Routes, attach, lock};
use crate::options::SubscribeOptions;
use crate::publisher::Publication;
use crate::reach::Reach;
use crate::session::event::{AutoSubscription, Event};
use crate::session::inbox::Inbox;
use crate::session::roster::{Change, Roster};
use crate::session::statistics::Counters;
use crate::signaling::SignalingClient;
use crate::subscriber::SharedInbox;

/// Entries of [`Statistics::streams`](crate::Statistics::streams) before the oldest ended ones are forgotten.
const MAX_STATISTICS: usize = 4096;

/// How long ago something may have been told to a server that has not heard it: longer than it takes to see that a
/// connection is lost.
const UNDO_AGAIN: Duration = Duration::from_secs(10);

/// Subscriptions that are asked for again at one time.
const MAX_ASKED_FOR: usize = 64;

#[derive(Debug)]
pub(crate) struct MeetingState {
    pub(crate) roster: Mutex<Roster>,
    pub(crate) events: EventSender,
    pub(crate) reach: Reach,
    pub(crate) routes: Arc<Routes>,
    subscriptions: Mutex<HashMap<StreamId, Subscription>>,
    /// What the server chooses, while it is asked to.
    pub(crate) auto: Mutex<Option<Arc<Chosen>>>,
    /// What this session publishes; gone with the last publisher of a stream.
    publications: Mutex<Vec<Weak<Publication>>>,
    measured: Mutex<Vec<Measured>>,
    undone: Mutex<Vec<(Instant, Undo)>>,
    /// The handles are gone, or one of them leaves.
    pub(crate) closing: CancellationToken,
}

/// What this session gets.
#[derive(Debug)]
struct Subscription {
    inbox: Arc<SharedInbox>,
    is_audio: bool,
    /// The server has chosen the stream, and takes it away again.
    is_auto: bool,
    options: SubscribeOptions,
    /// What the server has promised, of all that may come.
    wire_stream_id: Option<StreamId>,
    layers: Vec<StreamId>,
    /// What of it was attached, to the media session of this number.
    attached: Option<(u64, StreamId)>,
}

/// What is over by the will of this session. A server that may not have heard it is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    Unsubscribe(StreamId),
    Unpublish(StreamId),
    Auto,
}

#[derive(Debug)]
pub(crate) enum Measured {
    Incoming(Arc<SharedInbox>),
    Outgoing(Arc<Mutex<Counters>>),
}

impl Measured {
    fn has_ended(&self) -> bool {
        match self {
            Self::Incoming(inbox) => inbox.inspect(Inbox::has_ended),
            Self::Outgoing(counters) => lock(counters).has_ended(),
        }
    }
}

impl MeetingState {
    pub(crate) fn new(roster: Roster, reach: Reach, routes: Arc<Routes>) -> Self {
        Self {
            roster: Mutex::new(roster),
            events: EventSender::default(),
            reach,
            routes,
            subscriptions: Mutex::default(),
            auto: Mutex::default(),
            publications: Mutex::default(),
            measured: Mutex::default(),
            undone: Mutex::default(),
            closing: CancellationToken::new(),
        }
    }

    /// Carries out what a message of the server has changed, and tells the application.
    pub(crate) fn carry_out(&self, change: Change) {
        for stream_id in change.ended_streams {
            let inbox = lock(&self.subscriptions).get(&stream_id).map(|known| Arc::clone(&known.inbox));
            let Some(inbox) = inbox else { continue };
            inbox.update(|inbox| inbox.announce_end(Instant::now()));
            if lock(&self.auto).as_ref().is_some_and(|auto| auto.forget(&inbox)) {
                self.remove_subscription(stream_id, Some(&inbox));
            }
        }
        if let Some(stream_id) = change.ended_publication {
            let ended = self.publications().into_iter().filter(|live| live.stream_id() == stream_id);
            ended.for_each(|publication| publication.end());
        }
        if let Some(event) = change.event {
            if let Event::AutoSubscriptionsChanged { subscribed, unsubscribed, ended } = &event {
                unsubscribed.iter().for_each(|stream_id| self.end_auto(*stream_id));
                ended.iter().for_each(|stream_id| self.end_subscription(*stream_id));
                subscribed.iter().for_each(|chosen| self.begin_auto(chosen));
            }
            self.events.send(event);
        }
    }

    pub(crate) fn measure(&self, measured: Measured) {
        let mut all = lock(&self.measured);
        if all.len() >= MAX_STATISTICS
            && let Some(oldest) = all.iter().position(Measured::has_ended)
        {
            all.remove(oldest);
        }
        all.push(measured);
    }

    pub(crate) fn each_measured(&self, look: impl FnMut(&Measured)) {
        lock(&self.measured).iter().for_each(look);
    }
}

/// What is published.
impl MeetingState {
    pub(crate) fn add_publication(&self, stream: &StreamDescription) -> Arc<Publication> {
        let publication = Arc::new(Publication::new(stream.clone()));
        let mut publications = lock(&self.publications);
        publications.retain(|known| known.strong_count() > 0);
        publications.push(Arc::downgrade(&publication));
        publication
    }

    pub(crate) fn publications(&self) -> Vec<Arc<Publication>> {
        let publications = lock(&self.publications);
        publications.iter().filter_map(Weak::upgrade).filter(|publication| publication.is_live()).collect()
    }

    /// Ends what the server has taken and does not know any more, if it knows only these streams.
    pub(crate) fn end_publications_except(&self, known: &[StreamDescription]) {
        let is_known = |live: &Publication| known.iter().any(|stream| stream.stream_id == live.stream_id());
        let mut taken = self.publications();
        taken.retain(|live| live.is_taken() && !is_known(live));
        taken.iter().for_each(|live| self.end_publication(live));
    }

    fn end_publication(&self, publication: &Publication) {
        publication.end();
        let participant_id = lock(&self.roster).own();
        let stream_id = publication.stream_id();
        self.events.send(Event::StreamUnpublished { participant_id, stream_id });
    }

    /// Publishes everything to a server that knows of nothing, but what whoever publishes it still asks for.
    pub(crate) async fn publish_again(&self, client: &SignalingClient) -> Result<(), Error> {
        for publication in self.publications().into_iter().filter(|live| live.is_taken()) {
            match client.command(publication.request()).await {
                Ok(_) => {}
                Err(Error::Refused { .. }) => self.end_publication(&publication),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is subscribed to.
impl MeetingState {
    pub(crate) fn add_subscription(
        &self,
        stream_id: StreamId,
        known: Option<&StreamDescription>,
        options: SubscribeOptions,
        inbox: &Arc<SharedInbox>,
        is_auto: bool,
    ) -> Result<(), Error> {
        let layers: Vec<StreamId> = match known {
            Some(stream) => stream.layers.iter().map(|layer| layer.wire_stream_id).collect(),
            None => vec![stream_id],
        };
        let mut subscriptions = lock(&self.subscriptions);
        if subscriptions.get(&stream_id).is_some_and(|current| !current.inbox.inspect(Inbox::has_ended)) {
            return Err(Error::Invalid(format!("stream {stream_id} is subscribed to already")));
        }
        let subscription = Subscription {
            inbox: Arc::clone(inbox),
            is_audio: known.is_some_and(StreamDescription::is_audio),
            is_auto,
            options,
            wire_stream_id: None,
            layers: layers.clone(),
            attached: None,
        };
        subscriptions.insert(stream_id, subscription);
        drop(subscriptions);
        // Media may arrive before the answer.
        self.routes.add(&layers, inbox);
        Ok(())
    }

    /// The subscription is this session's own from now on, if there is one; says whether the server had chosen it.
    pub(crate) fn change_subscription(
        &self,
        stream_id: StreamId,
        options: &SubscribeOptions,
    ) -> Option<bool> {
        let mut subscriptions = lock(&self.subscriptions);
        let subscription = subscriptions.get_mut(&stream_id)?;
        subscription.options.clone_from(options);
        Some(std::mem::take(&mut subscription.is_auto))
    }

    /// The server did not let it become this session's own.
    pub(crate) fn give_back(&self, stream_id: StreamId) {
        if let Some(subscription) = lock(&self.subscriptions).get_mut(&stream_id) {
            subscription.is_auto = true;
        }
    }

    /// Forgets a subscription, of this inbox if one is given.
    pub(crate) fn remove_subscription(
        &self,
        stream_id: StreamId,
        inbox: Option<&Arc<SharedInbox>>,
    ) -> Option<Arc<SharedInbox>> {
        let mut subscriptions = lock(&self.subscriptions);
        let current = &subscriptions.get(&stream_id)?.inbox;
        if inbox.is_some_and(|inbox| !Arc::ptr_eq(inbox, current)) {
            return None;
        }
        let removed = subscriptions.remove(&stream_id)?.inbox;
        drop(subscriptions);
        self.routes.remove(&removed);
        Some(removed)
    }

    /// The server has taken a subscription.
    pub(crate) async fn subscribed(&self, stream_id: StreamId, ack: &pb::Ack) -> Result<(), Error> {
        let wire_stream_id = match ack.wire_stream_id.as_str() {
            "" => stream_id,
            text => text.parse().map_err(|error| Error::Protocol(format!("in Ack: {error}")))?,
        };
        self.promised(stream_id, wire_stream_id);
        self.attach(stream_id).await
    }

    /// The server has said what will arrive.
    fn promised(&self, stream_id: StreamId, wire_stream_id: StreamId) {
        if let Some(subscription) = lock(&self.subscriptions).get_mut(&stream_id) {
            subscription.wire_stream_id = Some(wire_stream_id);
            subscription.inbox.update(|inbox| inbox.expect_layer(wire_stream_id));
            if !subscription.layers.contains(&wire_stream_id) {
                subscription.layers.push(wire_stream_id);
                self.routes.add(&[wire_stream_id], &subscription.inbox);
            }
        }
    }

    /// Opens the QUIC stream that a subscription needs in the baseline, unless it is open.
    async fn attach(&self, stream_id: StreamId) -> Result<(), Error> {
        let media = self.reach.media();
        if !media.is_open() {
            // Done when it is.
            return Ok(());
        }
        let (wire_stream_id, layers, inbox) = {
            let mut subscriptions = lock(&self.subscriptions);
            let Some(subscription) = subscriptions.get_mut(&stream_id) else { return Ok(()) };
            let Some(wire_stream_id) = subscription.wire_stream_id else { return Ok(()) };
            let feature = if subscription.is_audio { Features::AUDIO_DATAGRAMS } else { Features::GROUPS };
            let attached = Some((media.session.number, wire_stream_id));
            let is_done = media.session.features.contains(feature)
                || subscription.attached == attached
                || subscription.inbox.inspect(Inbox::has_ended);
            if is_done {
                return Ok(());
            }
            subscription.attached = attached;
            (wire_stream_id, subscription.layers.clone(), Arc::clone(&subscription.inbox))
        };
        match attach(media.session.ingress(), wire_stream_id, layers, inbox).await {
            // The next session attaches it.
            Err(_) if media.session.connection.close_reason().is_some() => Ok(()),
            attached => attached,
        }
    }

    /// A new media session is open.
    pub(crate) async fn attach_all(&self) {
        for stream_id in self.subscribed_streams() {
            if let Err(error) = self.attach(stream_id).await {
                tracing::warn!(%stream_id, %error, "a subscription could not be attached");
            }
        }
    }

    fn subscribed_streams(&self) -> Vec<StreamId> {
        let subscriptions = lock(&self.subscriptions);
        let live = subscriptions.iter().filter(|(_, known)| !known.inbox.inspect(Inbox::has_ended));
        live.map(|(stream_id, _)| *stream_id).collect()
    }

    /// What the server has promised counts no more. It tells anew what it chooses, and has to be asked again for the rest,
    /// of which a stream may have ended and begun again.
    pub(crate) fn forget_promises(&self) {
        for stream_id in self.subscribed_streams() {
            self.end_auto(stream_id);
            if let Some(subscription) = lock(&self.subscriptions).get_mut(&stream_id) {
                subscription.wire_stream_id = None;
            }
        }
    }

    /// Subscribes to everything of which the server has not said what will arrive.
    pub(crate) async fn subscribe_again(self: Arc<Self>, client: SignalingClient) {
        let mut asking = JoinSet::new();
        for stream_id in self.subscribed_streams() {
            if asking.len() >= MAX_ASKED_FOR {
                asking.join_next().await;
            }
            asking.spawn(Arc::clone(&self).ask_again(client.clone(), stream_id));
        }
        asking.join_all().await;
    }

    async fn ask_again(self: Arc<Self>, client: SignalingClient, stream_id: StreamId) {
        let subscription = lock(&self.subscriptions)
            .get(&stream_id)
            .filter(|known| !known.is_auto && known.wire_stream_id.is_none())
            .map(|known| (known.options.clone(), Arc::clone(&known.inbox)));
        let Some((options, inbox)) = subscription else { return };
        match client.command(subscribe_request(stream_id, options)).await {
            // Meanwhile it was given up.
            Ok(_) if !lock(&self.subscriptions).contains_key(&stream_id) => {
                client.send_and_forget(unsubscribe_request(stream_id));
            }
            Ok(ack) => {
                if let Err(error) = self.subscribed(stream_id, &ack).await {
                    tracing::warn!(%stream_id, %error, "a subscription could not be attached");
                }
            }
            Err(Error::Refused { .. }) => inbox.update(|inbox| inbox.announce_end(Instant::now())),
            // The session is lost, and the next asks.
            Err(_) if client.close_reason().is_some() => {}
            Err(error) => inbox.update(|inbox| inbox.fail(error)),
        }
    }
}

/// What the server chooses.
impl MeetingState {
    /// The server has subscribed to a stream, or sends another layer of it.
    fn begin_auto(&self, chosen: &AutoSubscription) {
        let AutoSubscription { participant_id, stream_id, wire_stream_id } = *chosen;
        // Nobody wants it any more, and the server has been told.
        let Some(auto) = lock(&self.auto).clone() else { return };
        if !self.is_auto(stream_id) {
            let known = lock(&self.roster).stream(stream_id).cloned();
            let is_audio = known.as_ref().is_some_and(StreamDescription::is_audio);
            let inbox = SharedInbox::new(Inbox::new(stream_id, is_audio));
            let options = SubscribeOptions::default();
            if self.add_subscription(stream_id, known.as_ref(), options, &inbox, true).is_err() {
                return;
            }
            self.measure(Measured::Incoming(Arc::clone(&inbox)));
            auto.begin(participant_id, inbox);
        }
        self.promised(stream_id, wire_stream_id);
    }

    fn is_auto(&self, stream_id: StreamId) -> bool {
        let subscriptions = lock(&self.subscriptions);
        let known = subscriptions.get(&stream_id).filter(|known| !known.inbox.inspect(Inbox::has_ended));
        known.is_some_and(|known| known.is_auto)
    }

    /// The server has given up a stream, or left it to this session, which has asked for it.
    fn end_auto(&self, stream_id: StreamId) {
        if self.is_auto(stream_id) {
            self.end_subscription(stream_id);
        }
    }

    fn end_subscription(&self, stream_id: StreamId) {
        if let Some(inbox) = self.remove_subscription(stream_id, None) {
            inbox.cancel();
            if let Some(auto) = &*lock(&self.auto) {
                auto.forget(&inbox);
            }
        }
    }

    /// Lets a server choose that knows of nothing.
    pub(crate) async fn subscribe_auto_again(&self, client: &SignalingClient) -> Result<(), Error> {
        let auto = lock(&self.auto).clone();
        match auto {
            Some(auto) => match client.command(auto_request(Some(&auto.options()))).await {
                Ok(_) | Err(Error::Refused { .. }) => Ok(()),
                Err(error) => Err(error),
            },
            None => Ok(()),
        }
    }
}

/// What is over.
impl MeetingState {
    /// Remembers it until the server must have heard of it.
    pub(crate) fn undo(&self, undo: Undo) {
        if self.reach.signaling().is_open() {
            self.forget_heard();
        }
        lock(&self.undone).push((Instant::now(), undo));
    }

    /// Forgets what the server must have heard of, at the latest when the connection to it is lost.
    pub(crate) fn forget_heard(&self) {
        lock(&self.undone).retain(|(at, _)| at.elapsed() < UNDO_AGAIN);
    }

    /// Nothing is known there.
    pub(crate) fn forget_undone(&self) {
        lock(&self.undone).clear();
    }

    /// Tells the server again, which may not have heard of it, unless it was begun anew.
    pub(crate) fn undo_again(&self, client: &SignalingClient) {
        let undone = std::mem::take(&mut *lock(&self.undone));
        for (_, undo) in undone {
            let request = match undo {
                Undo::Unsubscribe(id) if lock(&self.subscriptions).contains_key(&id) => continue,
                Undo::Unpublish(id) if self.publications().iter().any(|live| live.stream_id() == id) => {
                    continue;
                }
                Undo::Auto if lock(&self.auto).is_some() => continue,
                Undo::Auto => auto_request(None),
                Undo::Unsubscribe(id) => unsubscribe_request(id),
                Undo::Unpublish(id) => {
                    Message::UnpublishStream(pb::UnpublishStream { stream_id: id.to_string() })
                }
            };
            client.send_and_forget(request);
        }
    }
}

pub(crate) fn subscribe_request(stream_id: StreamId, options: SubscribeOptions) -> Message {
    Message::SubscribeStream(pb::SubscribeStream {
        stream_id: stream_id.to_string(),
        options: Some(pb::SubscriptionOptions {
            preferred_layer: options.preferred_layer,
            max_bitrate: options.max_bitrate_bps,
        }),
    })
}

pub(crate) fn unsubscribe_request(stream_id: StreamId) -> Message {
    Message::UnsubscribeStream(pb::UnsubscribeStream { stream_id: stream_id.to_string() })
}
