//! Who gets which stream, and the media handler's routes that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use darktower_protocol::signaling::{Layer, pb};
use darktower_protocol::{ParticipantId, StreamId};
use pb::{ErrorCode, StreamType};

use super::participant::Participant;
use super::{MediaCommand, Meeting, Output, Refusal, parse_stream_id};

/// Somebody gets a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) wire_stream_id: StreamId,
    pub(super) is_video: bool,
    /// The meeting has chosen the stream, and takes it away again; see [`auto`](super::auto).
    pub(super) is_auto: bool,
}

/// What one participant gets, by the stream id that applications use.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: BTreeMap<StreamId, Subscription>,
    /// Video that it has asked for, in the order of asking.
    asked_video: Vec<StreamId>,
    /// Video that the meeting has chosen for it.
    auto_video: Vec<StreamId>,
}

impl Subscriptions {
    pub(super) fn get(&self, stream_id: StreamId) -> Option<&Subscription> {
        self.all.get(&stream_id)
    }

    /// Whether the meeting has chosen this stream.
    pub(super) fn is_auto(&self, stream_id: StreamId) -> bool {
        self.all.get(&stream_id).is_some_and(|subscription| subscription.is_auto)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Subscription)> {
        self.all.iter().map(|(stream_id, subscription)| (*stream_id, subscription))
    }

    pub(super) fn asked_video(&self) -> &[StreamId] {
        &self.asked_video
    }

    pub(super) fn auto_video(&self) -> &[StreamId] {
        &self.auto_video
    }

    /// Puts a subscription in the place of the one before; video that was asked for before keeps its place in the order.
    fn insert(&mut self, stream_id: StreamId, subscription: Subscription) -> Option<Subscription> {
        let before = self.all.insert(stream_id, subscription);
        if subscription.is_video && before.is_none_or(|before| before.is_auto != subscription.is_auto) {
            self.auto_video.retain(|video| *video != stream_id);
            self.asked_video.retain(|video| *video != stream_id);
            if subscription.is_auto { &mut self.auto_video } else { &mut self.asked_video }.push(stream_id);
        }
        before
    }

    fn remove(&mut self, stream_id: StreamId) -> Option<Subscription> {
        let removed = self.all.remove(&stream_id)?;
        if removed.is_video {
            self.auto_video.retain(|video| *video != stream_id);
            self.asked_video.retain(|video| *video != stream_id);
        }
        Some(removed)
    }
}

/// Who is subscribed to every wire stream: when it ends, nobody looks through everybody's subscriptions.
#[derive(Debug, Default)]
pub(super) struct Receivers(BTreeMap<StreamId, BTreeSet<ParticipantId>>);

impl Receivers {
    fn add(&mut self, wire_stream_id: StreamId, id: ParticipantId) {
        self.0.entry(wire_stream_id).or_default().insert(id);
    }

    fn remove(&mut self, wire_stream_id: StreamId, id: ParticipantId) {
        if let Some(receivers) = self.0.get_mut(&wire_stream_id) {
            receivers.remove(&id);
            if receivers.is_empty() {
                self.0.remove(&wire_stream_id);
            }
        }
    }

    /// The stream is no more; these were subscribed to it.
    pub(super) fn forget(&mut self, wire_stream_id: StreamId) -> BTreeSet<ParticipantId> {
        self.0.remove(&wire_stream_id).unwrap_or_default()
    }
}

impl Meeting {
    /// A participant wants a stream, or other options for it; answers with the wire stream id that it will get. If it is on
    /// [`auto`](Self::subscribe_auto) and has as much video as it may, the least important that was chosen for it goes.
    ///
    /// # Errors
    /// If there is no such stream, it is its own, or it has asked for too many already.
    pub fn subscribe(
        &mut self,
        id: ParticipantId,
        request: &pb::SubscribeStream,
    ) -> Result<StreamId, Refusal> {
        let stream_id = parse_stream_id(&request.stream_id)?;
        let not_found = || {
            let message = format!("stream {stream_id} is not published in this meeting");
            Refusal::field(ErrorCode::NotFound, "stream_id", message)
        };
        let owner = *self.stream_owners.get(&stream_id).ok_or_else(not_found)?;
        if owner == id {
            let message = "a participant cannot subscribe to its own stream";
            return Err(Refusal::field(ErrorCode::InvalidRequest, "stream_id", message));
        }
        let publisher = self.participants.get(&owner).ok_or_else(not_found)?;
        if !self.participants.get(&id).is_some_and(|subscriber| subscriber.sees(publisher)) {
            return Err(not_found());
        }
        let stream = publisher.streams.get(&stream_id).ok_or_else(not_found)?;
        let options = request.options.clone().unwrap_or_default();
        let wire_stream_id =
            stream.select_layer(&options.preferred_layer, options.max_bitrate).wire_stream_id;
        let is_video = !stream.is_audio();

        let bound = self.limits.max_video_subscriptions;
        let subscriber = self.participant(id)?;
        let before = subscriber.subscriptions.get(stream_id).copied();
        let has_asked = before.is_some_and(|before| !before.is_auto);
        let max_video = subscriber.max_video_streams(bound);
        if is_video && !has_asked && subscriber.subscriptions.asked_video().len() >= max_video {
            let message =
                format!("at most {max_video} video streams at one time; unsubscribe from one first");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        self.begin_subscription(id, stream_id, Subscription { wire_stream_id, is_video, is_auto: false });
        self.asked_itself(id, stream_id, before, true);
        Ok(wire_stream_id)
    }

    /// A participant no longer wants a stream.
    ///
    /// # Errors
    /// If it had not subscribed to it.
    pub fn unsubscribe(&mut self, id: ParticipantId, request: &pb::UnsubscribeStream) -> Result<(), Refusal> {
        let stream_id = parse_stream_id(&request.stream_id)?;
        self.participant(id)?;
        let Some(before) = self.end_subscription(id, stream_id) else {
            let message = format!("you are not subscribed to stream {stream_id}");
            return Err(Refusal::field(ErrorCode::NotFound, "stream_id", message));
        };
        self.asked_itself(id, stream_id, Some(before), false);
        Ok(())
    }

    /// The wire stream that a participant is subscribed to under a stream id, if any; for
    /// key-frame requests.
    pub fn subscribed_wire_stream(&self, id: ParticipantId, stream_id: StreamId) -> Option<StreamId> {
        let subscription = self.participants.get(&id)?.subscriptions.get(stream_id)?;
        Some(subscription.wire_stream_id)
    }

    /// Somebody gets a stream, or another layer of it.
    pub(super) fn begin_subscription(
        &mut self,
        id: ParticipantId,
        stream_id: StreamId,
        subscription: Subscription,
    ) -> Option<Subscription> {
        let participant = self.participants.get_mut(&id)?;
        let before = participant.subscriptions.insert(stream_id, subscription);
        let wire_stream_id = subscription.wire_stream_id;
        if before.is_none_or(|before| before.wire_stream_id != wire_stream_id) {
            if let Some(before) = before {
                self.route(before.wire_stream_id, id, false);
            }
            self.route(wire_stream_id, id, true);
        }
        before
    }

    /// Somebody does not get a stream any more. Answers what it got, if anything.
    pub(super) fn end_subscription(
        &mut self,
        id: ParticipantId,
        stream_id: StreamId,
    ) -> Option<Subscription> {
        let ended = self.participants.get_mut(&id)?.subscriptions.remove(stream_id)?;
        self.route(ended.wire_stream_id, id, false);
        Some(ended)
    }

    /// Somebody goes, and gets nothing any more.
    pub(super) fn end_all_subscriptions(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        let subscriptions = std::mem::take(&mut participant.subscriptions);
        for subscription in subscriptions.all.into_values() {
            self.route(subscription.wire_stream_id, id, false);
        }
    }

    /// Nobody gets streams of somebody whom it does not see.
    pub(super) fn end_subscriptions(&mut self, subscriber: ParticipantId, publisher: ParticipantId) {
        let Some(owner) = self.participants.get(&publisher) else { return };
        let streams: Vec<StreamId> = owner.streams.keys().copied().collect();
        for stream_id in streams {
            self.end_subscription(subscriber, stream_id);
        }
        self.videos_changed();
    }

    /// Says whether streams of a type are forwarded, after that has changed.
    pub(super) fn forward_all(&mut self, owner: ParticipantId, stream_type: StreamType) {
        let Some(publisher) = self.participants.get(&owner) else { return };
        let is_forwarded = self.is_forwarded(owner, publisher, stream_type);
        let streams = publisher.streams.values().filter(|stream| stream.stream_type == stream_type);
        let layers = streams.flat_map(|stream| &stream.layers);
        let forward = |layer: &Layer| {
            let wire_stream_id = layer.wire_stream_id;
            Output::Media(MediaCommand::Forward { wire_stream_id, is_forwarded })
        };
        self.outputs.extend(layers.map(forward));
        if stream_type == StreamType::VideoCamera {
            self.videos_changed();
        }
    }

    pub(super) fn is_forwarded(
        &self,
        id: ParticipantId,
        owner: &Participant,
        stream_type: StreamType,
    ) -> bool {
        let is_loud_enough = stream_type != StreamType::Audio || self.voices.is_heard(id);
        is_loud_enough && (cfg!(feature = "planted-bug") || owner.is_forwarded(stream_type))
    }

    /// Somebody gets a wire stream from now on, or does not any more.
    fn route(&mut self, wire_stream_id: StreamId, destination: ParticipantId, is_routed: bool) {
        if is_routed {
            self.receivers.add(wire_stream_id, destination);
        } else {
            self.receivers.remove(wire_stream_id, destination);
        }
        // One that is over has no routes.
        if self.wire_streams.contains_key(&wire_stream_id) {
            let route = MediaCommand::Route { wire_stream_id, destination, is_routed };
            self.outputs.push_back(Output::Media(route));
        }
    }
}
