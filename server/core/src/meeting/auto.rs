//! What the meeting subscribes to for those who have asked it to, instead of listing streams: all audio and all shared
//! screens that they see, and the cameras that matter most.
//!
//! Of video there is as much as the participant may have, less what it has subscribed to itself. Screens come before
//! cameras. Among those of a kind first come its own pins, then the spotlight, then the active speaker and who was it
//! before, the latest first; then whatever is shown already, so that nothing is swapped without need; then others, in the
//! order in which their publishers joined. A camera that a host has turned off takes no place.
//!
//! Calls only note what has changed; the choice is made once, when outputs are polled. What is noted is told apart by what it
//! costs: one stream of audio is given to everybody, and when videos have changed, everybody's are chosen anew from a ranking
//! that is made once and looked at from its top: a few steps for each place, however many there are who publish. All audio is looked
//! at only for those whose own wishes have changed.

use std::collections::{BTreeMap, BTreeSet};

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{ParticipantId, StreamId};
use pb::envelope::Message;
use pb::{ErrorCode, StreamType};

use super::participant::{Participant, Sight};
use super::subscriptions::Subscription;
use super::{MediaCommand, Meeting, Output, Refusal, parse_participant_id};

/// Participants that somebody has pinned at one time.
const MAX_PINNED: usize = 64;

/// The longest name of a layer that is remembered, in bytes: none that is published is longer.
const MAX_LAYER_ID: usize = 64;

/// Streams that one event tells of at most: with three ids each they fit into a message.
const MAX_TOLD: usize = 256;

/// What a participant wants to be subscribed to.
#[derive(Debug)]
pub(super) struct Auto {
    audio: bool,
    screens: bool,
    cameras: bool,
    /// With what it has subscribed to itself.
    max_video: usize,
    camera_options: pb::SubscriptionOptions,
    pinned: Vec<ParticipantId>,
    /// What it has unsubscribed from since it asked.
    unwanted: BTreeSet<StreamId>,
}

impl TryFrom<&pb::SubscribeAuto> for Auto {
    type Error = Refusal;

    fn try_from(request: &pb::SubscribeAuto) -> Result<Self, Refusal> {
        let mut types = Vec::new();
        for stream_type in &request.stream_types {
            types.push(StreamType::try_from(*stream_type).map_err(|_unknown| {
                Refusal::field(ErrorCode::InvalidRequest, "stream_types", "this type of stream is not known")
            })?);
        }
        let wants = |stream_type| types.is_empty() || types.contains(&stream_type);
        if request.pinned_participant_ids.len() > MAX_PINNED {
            let message = format!("at most {MAX_PINNED} participants are pinned at one time");
            return Err(Refusal::field(ErrorCode::InvalidRequest, "pinned_participant_ids", message));
        }
        let pinned = request.pinned_participant_ids.iter().map(|text| parse_participant_id(text));
        let camera_options = request.camera_options.clone().unwrap_or_default();
        if camera_options.preferred_layer.len() > MAX_LAYER_ID {
            let message = format!("names of layers have at most {MAX_LAYER_ID} bytes");
            return Err(Refusal::field(ErrorCode::InvalidRequest, "preferred_layer", message));
        }
        Ok(Self {
            audio: wants(StreamType::Audio),
            screens: wants(StreamType::VideoScreen),
            cameras: wants(StreamType::VideoCamera),
            max_video: if request.max_video_streams == 0 {
                usize::MAX
            } else {
                request.max_video_streams as usize
            },
            camera_options,
            pinned: pinned.collect::<Result<_, _>>()?,
            unwanted: BTreeSet::new(),
        })
    }
}

/// Who is on auto, and what the choice for them has not followed yet.
#[derive(Debug, Default)]
pub(super) struct AutoState {
    viewers: BTreeSet<ParticipantId>,
    unsettled: Unsettled,
    /// Whose video the media handler sends before other video.
    prominent: BTreeSet<ParticipantId>,
}

#[derive(Debug, Default)]
struct Unsettled {
    /// Whose list is to be looked at for a reason of its own.
    participants: BTreeMap<ParticipantId, Look>,
    /// Audio that has been published.
    audio: BTreeSet<StreamId>,
    /// What there is of video, or its order, has changed.
    video: bool,
    /// Who speaks or is in the spotlight has changed.
    prominence: bool,
}

/// Why somebody's list is looked at.
#[derive(Debug, Default)]
struct Look {
    /// Its wishes or rights have changed: all audio is looked at. Else there are only other places for video.
    wishes_changed: bool,
    /// What has left the list already.
    left_list: Vec<StreamId>,
}

impl Unsettled {
    fn is_empty(&self) -> bool {
        self.participants.is_empty() && self.audio.is_empty() && !self.video && !self.prominence
    }
}

impl AutoState {
    fn note(&mut self, id: ParticipantId) -> &mut Look {
        self.unsettled.participants.entry(id).or_default()
    }

    /// Somebody is gone.
    pub(super) fn forget(&mut self, id: ParticipantId) {
        self.viewers.remove(&id);
        self.unsettled.participants.remove(&id);
        self.prominent.remove(&id);
    }
}

/// A stream that may be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    stream_id: StreamId,
    owner: ParticipantId,
    sight: Sight,
}

/// Videos of one type, in the order in which everybody but who has pins of its own prefers them.
#[derive(Debug)]
struct Ranking {
    stream_type: StreamType,
    /// Of the spotlight and of those who speak or spoke.
    first: Vec<Candidate>,
    /// In the order of joining.
    others: Vec<Candidate>,
    /// Where the latter are.
    places: BTreeMap<StreamId, usize>,
}

/// What becomes of the list of one participant.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    /// Publisher, stream and wire stream.
    subscribed: Vec<(ParticipantId, StreamId, StreamId)>,
    unsubscribed: Vec<StreamId>,
    /// What it had subscribed to itself.
    ended: Vec<StreamId>,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.subscribed.is_empty() && self.unsubscribed.is_empty() && self.ended.is_empty()
    }

    /// One message, or several if it is long.
    fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        let parts = [self.subscribed.len(), self.unsubscribed.len(), self.ended.len()];
        let count = parts.into_iter().max().unwrap_or(0).div_ceil(MAX_TOLD);
        let texts = |ids: &[StreamId], part: usize| {
            ids.iter().skip(part * MAX_TOLD).take(MAX_TOLD).map(ToString::to_string).collect()
        };
        (0..count).map(move |part| {
            let subscribed = self.subscribed.iter().skip(part * MAX_TOLD).take(MAX_TOLD);
            Message::AutoSubscriptionsChanged(pb::AutoSubscriptionsChanged {
                subscribed: subscribed
                    .map(|(owner, stream_id, wire_stream_id)| pb::AutoSubscription {
                        participant_id: owner.to_string(),
                        stream_id: stream_id.to_string(),
                        wire_stream_id: wire_stream_id.to_string(),
                    })
                    .collect(),
                unsubscribed_stream_ids: texts(&self.unsubscribed, part),
                ended_stream_ids: texts(&self.ended, part),
            })
        })
    }
}

impl Meeting {
    /// A participant wants to be subscribed to the meeting, in another way than before, or not any more. What it has
    /// subscribed to itself stays, and so does what it unsubscribes from until this is asked for again.
    ///
    /// # Errors
    /// If it asks for what there is not, pins too many, or asks too often.
    pub fn subscribe_auto(
        &mut self,
        by: ParticipantId,
        request: &pb::SubscribeAuto,
        now_us: u64,
    ) -> Result<(), Refusal> {
        let auto = if request.on { Some(Auto::try_from(request)?) } else { None };
        self.participant(by)?;
        self.allowances(by, now_us).auto.take(now_us)?;
        if auto.is_some() {
            self.auto.viewers.insert(by);
        } else {
            self.auto.viewers.remove(&by);
        }
        self.participant(by)?.auto = auto;
        self.wishes_changed(by);
        Ok(())
    }

    /// The wishes or rights of somebody have changed.
    pub(super) fn wishes_changed(&mut self, id: ParticipantId) {
        self.auto.note(id).wishes_changed = true;
    }

    /// There is other video than before, or in another order, or a place for it.
    pub(super) fn videos_changed(&mut self) {
        self.auto.unsettled.video = true;
    }

    /// Others speak than before, or are in the spotlight.
    pub(super) fn prominence_changed(&mut self) {
        self.auto.unsettled.video = true;
        self.auto.unsettled.prominence = true;
    }

    /// Somebody has published a stream.
    pub(super) fn stream_came(&mut self, stream_id: StreamId, is_audio: bool) {
        if is_audio {
            self.auto.unsettled.audio.insert(stream_id);
        } else {
            self.auto.unsettled.video = true;
        }
    }

    /// Nobody can get a stream any more.
    pub(super) fn stream_went(&mut self, stream: &StreamDescription) {
        self.auto.unsettled.audio.remove(&stream.stream_id);
        self.auto.unsettled.video |= !stream.is_audio();
        for id in &self.auto.viewers {
            let auto = self.participants.get_mut(id).and_then(|participant| participant.auto.as_mut());
            if let Some(auto) = auto {
                auto.unwanted.remove(&stream.stream_id);
            }
        }
    }

    /// Somebody has said itself whether it wants a stream, which it had in this way before.
    pub(super) fn asked_itself(
        &mut self,
        id: ParticipantId,
        stream_id: StreamId,
        before: Option<Subscription>,
        wants_it: bool,
    ) {
        let auto = self.participants.get_mut(&id).and_then(|participant| participant.auto.as_mut());
        let Some(auto) = auto else { return };
        if wants_it {
            auto.unwanted.remove(&stream_id);
        } else {
            auto.unwanted.insert(stream_id);
        }
        let left_list = before.is_some_and(|before| before.is_auto);
        self.auto.note(id).left_list.extend(left_list.then_some(stream_id));
    }

    /// Tells somebody who does not know what is on its list.
    pub(super) fn tell_auto_to(&mut self, to: ParticipantId) {
        let Some(participant) = self.participants.get(&to) else { return };
        let mut change = Change::default();
        for (stream_id, subscription) in participant.subscriptions.iter() {
            if subscription.is_auto
                && let Some(owner) = self.stream_owners.get(&stream_id)
            {
                change.subscribed.push((*owner, stream_id, subscription.wire_stream_id));
            }
        }
        for event in change.messages() {
            self.tell_each([to], event);
        }
    }

    /// Follows what has changed since the last time.
    pub(super) fn settle(&mut self) {
        if self.auto.unsettled.is_empty() {
            return;
        }
        let Unsettled { participants, audio, video, prominence } = std::mem::take(&mut self.auto.unsettled);
        if prominence {
            self.settle_prominence();
        }
        let mut changes: Vec<(ParticipantId, Change)> = Vec::new();
        let rankings = (video && !self.auto.viewers.is_empty() || !participants.is_empty())
            .then(|| [StreamType::VideoScreen, StreamType::VideoCamera].map(|kind| self.ranking(kind)));
        for (id, Look { wishes_changed, left_list }) in &participants {
            let mut change = Change { unsubscribed: left_list.clone(), ..Change::default() };
            if *wishes_changed {
                self.keep_within_limit(*id, &mut change);
                self.choose_audio(*id, &mut change);
            }
            audio.iter().for_each(|stream_id| self.add_audio(*id, *stream_id, &mut change));
            if let Some(rankings) = &rankings {
                self.choose_video(*id, rankings, *wishes_changed, &mut change);
            }
            changes.push((*id, change));
        }
        if video || !audio.is_empty() {
            let viewers = self.auto.viewers.iter().filter(|id| !participants.contains_key(id));
            let viewers: Vec<ParticipantId> = viewers.copied().collect();
            for id in viewers {
                let mut change = Change::default();
                audio.iter().for_each(|stream_id| self.add_audio(id, *stream_id, &mut change));
                if let Some(rankings) = rankings.as_ref().filter(|_| video) {
                    self.choose_video(id, rankings, false, &mut change);
                }
                changes.push((id, change));
            }
        }
        // Most are told the same, in one message that they share.
        let mut told: BTreeMap<Change, Vec<ParticipantId>> = BTreeMap::new();
        for (id, change) in changes {
            if !change.is_empty() {
                told.entry(change).or_default().push(id);
            }
        }
        for (change, to) in told {
            for event in change.messages() {
                self.tell_each(to.iter().copied(), event);
            }
        }
    }

    /// Tells the media handler whose video goes before other video.
    fn settle_prominence(&mut self) {
        let speaks = self.voices.active();
        let now: BTreeSet<ParticipantId> = self.spotlight.iter().copied().chain(speaks).collect();
        let before = std::mem::replace(&mut self.auto.prominent, now);
        for participant in before.symmetric_difference(&self.auto.prominent) {
            let is_prominent = self.auto.prominent.contains(participant);
            let command = MediaCommand::Prominent { participant: *participant, is_prominent };
            self.outputs.push_back(Output::Media(command));
        }
    }

    fn ranking(&self, stream_type: StreamType) -> Ranking {
        let mut is_first = BTreeSet::new();
        let in_order = self.spotlight.iter().chain(self.voices.recent());
        let order: Vec<ParticipantId> = in_order.copied().filter(|id| is_first.insert(*id)).collect();
        let first = order.into_iter().flat_map(|id| self.candidates(id, stream_type)).collect();
        let others = self
            .participants
            .iter()
            .filter(|(id, participant)| !participant.streams.is_empty() && !is_first.contains(*id));
        let mut others: Vec<_> = others.map(|(id, participant)| (participant.joined, *id)).collect();
        others.sort_unstable();
        let others: Vec<Candidate> =
            others.into_iter().flat_map(|(_, id)| self.candidates(id, stream_type)).collect();
        let places =
            others.iter().enumerate().map(|(place, candidate)| (candidate.stream_id, place)).collect();
        Ranking { stream_type, first, others, places }
    }

    /// Videos of a participant that anybody may be shown.
    fn candidates(
        &self,
        owner: ParticipantId,
        stream_type: StreamType,
    ) -> impl Iterator<Item = Candidate> + '_ {
        let publisher = self
            .participants
            .get(&owner)
            .filter(|publisher| publisher.sight() != Sight::Nobody && publisher.is_forwarded(stream_type));
        let streams = publisher.into_iter().flat_map(|publisher| publisher.streams.values());
        let streams = streams.filter(move |stream| stream.stream_type == stream_type);
        let sight = publisher.map_or(Sight::Nobody, Participant::sight);
        streams.map(move |stream| Candidate { stream_id: stream.stream_id, owner, sight })
    }

    /// Ends what somebody has subscribed to itself and may not have any more: the latest first.
    fn keep_within_limit(&mut self, id: ParticipantId, change: &mut Change) {
        let bound = self.limits.max_video_subscriptions;
        let Some(participant) = self.participants.get(&id) else { return };
        let too_many = participant.subscriptions.asked_video().iter();
        let too_many: Vec<StreamId> = too_many.skip(participant.max_video_streams(bound)).copied().collect();
        for stream_id in too_many {
            if self.end_subscription(id, stream_id).is_some() {
                change.ended.push(stream_id);
            }
        }
    }

    /// Looks at all audio for one participant.
    fn choose_audio(&mut self, id: ParticipantId, change: &mut Change) {
        let Some(participant) = self.participants.get(&id) else { return };
        let wants_audio = participant.auto.as_ref().is_some_and(|auto| auto.audio);
        if !wants_audio {
            let chosen = participant.subscriptions.iter();
            let chosen = chosen.filter(|(_, subscription)| subscription.is_auto && !subscription.is_video);
            let chosen: Vec<StreamId> = chosen.map(|(stream_id, _)| stream_id).collect();
            chosen.into_iter().for_each(|stream_id| self.give_up(id, stream_id, change));
            return;
        }
        let visible = self.participants.values().filter(|other| participant.sees(other));
        let audio = visible.flat_map(|other| other.streams.values()).filter(|stream| stream.is_audio());
        let audio: Vec<StreamId> = audio.map(|stream| stream.stream_id).collect();
        // What went out of sight is not there any more.
        audio.into_iter().for_each(|stream_id| self.add_audio(id, stream_id, change));
    }

    /// Gives audio to somebody who does not get it yet, and wants it.
    fn add_audio(&mut self, id: ParticipantId, stream_id: StreamId, change: &mut Change) {
        let Some(owner) = self.stream_owners.get(&stream_id).copied().filter(|owner| *owner != id) else {
            return;
        };
        let pair = (self.participants.get(&id), self.participants.get(&owner));
        let (Some(participant), Some(publisher)) = pair else { return };
        let is_wanted = participant.auto.as_ref().is_some_and(|auto| {
            auto.audio
                && !auto.unwanted.contains(&stream_id)
                && participant.subscriptions.get(stream_id).is_none()
                && participant.sees(publisher)
        });
        let stream = publisher.streams.get(&stream_id).filter(|_| is_wanted);
        let Some(layer) = stream.map(|stream| stream.select_layer("", 0)) else { return };
        let wire_stream_id = layer.wire_stream_id;
        let subscription = Subscription { wire_stream_id, is_video: false, is_auto: true };
        self.take_on(id, owner, stream_id, subscription, change);
    }

    /// Chooses the videos of one participant; `wishes_changed` if other layers of those that it has may be wanted.
    fn choose_video(
        &mut self,
        id: ParticipantId,
        rankings: &[Ranking; 2],
        wishes_changed: bool,
        change: &mut Change,
    ) {
        let Some(participant) = self.participants.get(&id) else { return };
        let subscriptions = &participant.subscriptions;
        let (mut chosen, mut begun) = (Vec::new(), Vec::new());
        if let Some(auto) = &participant.auto {
            let max = participant.max_video_streams(self.limits.max_video_subscriptions).min(auto.max_video);
            let places = max.saturating_sub(subscriptions.asked_video().len());
            let as_good_as_it_is = pb::SubscriptionOptions::default();
            for ranking in rankings {
                let (is_wanted, options) = match ranking.stream_type {
                    StreamType::VideoCamera => (auto.cameras, &auto.camera_options),
                    _ => (auto.screens, &as_good_as_it_is),
                };
                let before = chosen.len();
                if is_wanted {
                    self.choose(id, participant, auto, ranking, places, &mut chosen);
                }
                let is_new = |one: &&Candidate| wishes_changed || !subscriptions.is_auto(one.stream_id);
                let new = chosen.iter().skip(before).filter(is_new);
                begun.extend(new.filter_map(|one| Some((*one, self.layer(one, options)?))));
            }
        }
        let is_chosen = |video: &StreamId| chosen.iter().any(|one| one.stream_id == *video);
        let shown = subscriptions.auto_video().iter().copied();
        let given_up: Vec<StreamId> = shown.filter(|video| !is_chosen(video)).collect();
        given_up.into_iter().for_each(|stream_id| self.give_up(id, stream_id, change));
        for (video, wire_stream_id) in begun {
            let subscription = Subscription { wire_stream_id, is_video: true, is_auto: true };
            self.take_on(id, video.owner, video.stream_id, subscription, change);
        }
    }

    /// Adds to what is `chosen` for somebody until there are so many.
    fn choose(
        &self,
        id: ParticipantId,
        participant: &Participant,
        auto: &Auto,
        ranking: &Ranking,
        places: usize,
        chosen: &mut Vec<Candidate>,
    ) {
        let asked = participant.subscriptions.asked_video();
        // Whether there is room for more.
        let mut take = |candidate: Candidate| {
            let Candidate { stream_id, owner, sight } = candidate;
            if chosen.len() >= places {
                return false;
            }
            let may = owner != id
                && participant.has_sight(sight)
                && !asked.contains(&stream_id)
                && !auto.unwanted.contains(&stream_id);
            if may && !chosen.iter().any(|one| one.stream_id == stream_id) {
                chosen.push(candidate);
            }
            true
        };
        for pinned in &auto.pinned {
            if !self.candidates(*pinned, ranking.stream_type).all(&mut take) {
                return;
            }
        }
        if !ranking.first.iter().copied().all(&mut take) {
            return;
        }
        let shown = participant.subscriptions.auto_video().iter();
        let mut shown: Vec<usize> =
            shown.filter_map(|stream_id| ranking.places.get(stream_id).copied()).collect();
        shown.sort_unstable();
        let mut shown = shown.into_iter().filter_map(|place| ranking.others.get(place).copied());
        if shown.all(&mut take) {
            let _all_looked_at = ranking.others.iter().copied().all(&mut take);
        }
    }

    /// The wire stream that these options choose.
    fn layer(&self, video: &Candidate, options: &pb::SubscriptionOptions) -> Option<StreamId> {
        let stream = self.participants.get(&video.owner)?.streams.get(&video.stream_id)?;
        Some(stream.select_layer(&options.preferred_layer, options.max_bitrate).wire_stream_id)
    }

    /// Subscribes somebody to a stream, or to another layer of it if it has one.
    fn take_on(
        &mut self,
        id: ParticipantId,
        owner: ParticipantId,
        stream_id: StreamId,
        subscription: Subscription,
        change: &mut Change,
    ) {
        let before = self.begin_subscription(id, stream_id, subscription);
        if before != Some(subscription) {
            change.subscribed.push((owner, stream_id, subscription.wire_stream_id));
        }
    }

    /// Somebody is not to get any more what was chosen for it.
    fn give_up(&mut self, id: ParticipantId, stream_id: StreamId, change: &mut Change) {
        if self.end_subscription(id, stream_id).is_some() {
            change.unsubscribed.push(stream_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::{identity, meeting, outputs};
    use super::super::{Identity, MeetingLimits};
    use super::*;

    fn id(n: usize) -> ParticipantId {
        ParticipantId::from_bytes((1 + n as u128).to_be_bytes())
    }

    fn stream(n: usize, kind: StreamType) -> StreamId {
        StreamId::from_bytes((((1 + n as u128) << 8) | (1 + kind as u128)).to_be_bytes())
    }

    fn publish(meeting: &mut Meeting, n: usize, kind: StreamType) {
        let request = pb::PublishStream {
            stream_id: stream(n, kind).to_string(),
            stream_type: kind.into(),
            metadata: Some(pb::StreamMetadata { codec: "VP8".to_owned(), ..Default::default() }),
        };
        meeting.publish(id(n), request).expect("published");
    }

    fn tell(meeting: &mut Meeting, n: usize, level: u32, now_us: u64) {
        let stream_id = stream(n, StreamType::Audio).to_string();
        let levels = pb::AudioLevels { levels: vec![pb::AudioLevel { stream_id, level }] };
        meeting.tell_levels(id(n), &levels, now_us).expect("told");
    }

    /// A change of the active speaker in a meeting of so many: how many routes and events follow, and how long it takes.
    fn change_of_speaker(participants: usize) -> (usize, usize, std::time::Duration) {
        let limits = MeetingLimits { max_participants: participants, ..MeetingLimits::default() };
        let mut meeting = meeting(limits);
        for n in 0..participants {
            let who = Identity { participant_id: id(n), ..identity(1) };
            meeting.join(who, &pb::ParticipantCapabilities::default(), 1).expect("joined");
            publish(&mut meeting, n, StreamType::VideoCamera);
            outputs(&mut meeting);
        }
        for n in 0..participants {
            let auto = pb::SubscribeAuto { on: true, ..Default::default() };
            meeting.subscribe_auto(id(n), &auto, 1).expect("on auto");
        }
        outputs(&mut meeting);
        let speaker = participants - 1;
        publish(&mut meeting, speaker, StreamType::Audio);
        outputs(&mut meeting);
        for report in 0..20 {
            let start = now();
            tell(&mut meeting, speaker, 20, 1_000_000 + report * 100_000);
            let outputs = outputs(&mut meeting);
            let took = now().duration_since(start);
            let count = |is_it: fn(&Output) -> bool| outputs.iter().filter(|output| is_it(output)).count();
            let events = count(|output| matches!(output, Output::Event { .. }));
            if events > 0 {
                let routes = count(|output| matches!(output, Output::Media(MediaCommand::Route { .. })));
                return (routes, events, took);
            }
        }
        panic!("nobody becomes the active speaker");
    }

    #[expect(clippy::disallowed_methods, reason = "what it costs is printed and not judged")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_change_of_speaker_costs_two_routes_and_two_events_for_each() {
        for participants in [100, 1_000] {
            let (routes, events, took) = change_of_speaker(participants);
            println!("{participants} participants on auto: {events} events, {routes} routes in {took:?}");
            // Everybody else gets its camera, in the place of another.
            assert_eq!(routes, 2 * (participants - 1));
            // All but the speaker get its camera.
            assert_eq!(events, 2 * participants - 1);
        }
    }
}
