//! One live meeting: who is here, what they publish, who gets what.
//!
//! [`Meeting`] takes requests as method calls and answers them at once; what others must learn
//! or do comes out of [`Meeting::poll_output`]. Drain it after every call. Nothing here trusts a
//! participant id inside a message: the caller says on whose session a request came.
//!
//! Invariants: a wire stream id belongs to one stream; a stream belongs to one participant that
//! is here; a subscription is of a stream that is here and not the subscriber's own.

mod allowance;
mod audience;
mod auto;
mod chat;
mod controls;
mod event;
mod journal;
pub mod lifecycle;
mod messages;
mod participant;
pub mod quality;
mod reconnect;
mod rights;
pub mod speakers;
mod stage;
mod subscriptions;
#[cfg(test)]
mod tests;
mod voices;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use darktower_protocol::signaling::{Layer, StreamDescription, pb};
use darktower_protocol::{MeetingId, ParticipantId, StreamId};
use pb::envelope::Message;
use pb::{ErrorCode, StreamType};
use prost::Message as _;

use allowance::AllAllowances;
pub use allowance::is_change;
use auto::AutoState;
use chat::Chat;
pub use event::Event;
use participant::Participant;
pub use participant::{Identity, MAX_NAME_CHARS, display_name};
use quality::{Quality, QualityRecord};
pub use reconnect::Resumed;
use rights::Control;
pub use rights::Rights;
use subscriptions::Receivers;
use voices::Voices;
pub use waiting::{Entry, WaitingRoom};

/// Bounds of one meeting.
#[derive(Debug, Clone, Copy)]
pub struct MeetingLimits {
    /// Participants at one time.
    pub max_participants: usize,
    /// Layers of all streams that one participant publishes: three layers of camera and screen,
    /// microphone, and room for bots. Each costs the media handler a ring of recent units.
    pub max_layers_per_participant: usize,
    /// Bytes that a participant and its streams take in a roster message. Everybody is told, and a
    /// message over the protocol's bound would end everybody's session.
    pub max_roster_bytes_per_participant: usize,
    /// Video subscriptions of one participant, whatever its preset allows.
    pub max_video_subscriptions: usize,
    /// Participants whose audio is forwarded at one time, of those who tell how loud they are; 0 is all of them.
    pub heard_participants: usize,
    /// How long somebody whose connection is lost keeps its place; zero for not at all.
    pub reconnect_grace: Duration,
}

impl Default for MeetingLimits {
    fn default() -> Self {
        Self {
            max_participants: 100,
            max_layers_per_participant: 16,
            max_roster_bytes_per_participant: 16 * 1024,
            max_video_subscriptions: 64,
            heard_participants: 4,
            reconnect_grace: Duration::from_secs(15),
        }
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Class of the error.
    pub code: ErrorCode,
    /// What was wrong, for people.
    pub message: String,
    /// The field that was wrong, if one was.
    pub field: Option<&'static str>,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    fn field(code: ErrorCode, field: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: Some(field) }
    }
}

/// Which of several sessions of one participant a call is about: each join has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// What a successful join tells the newcomer.
#[derive(Debug)]
pub struct Joined {
    /// To be given back in [`Meeting::leave`].
    pub epoch: Epoch,
    /// Everybody who was here before, as far as the newcomer sees them.
    pub existing: Vec<pb::Participant>,
    /// What the newcomer is to the meeting, as others see it.
    pub role: pb::Role,
    /// What it may do.
    pub rights: pb::Rights,
    /// Nobody but hosts gets in after it.
    pub locked: bool,
    /// Who is shown large to everybody.
    pub spotlight: Vec<ParticipantId>,
}

/// A change of media forwarding.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaCommand {
    /// The streams that this participant may publish, replacing what was said before.
    Register {
        /// The publisher.
        participant: ParticipantId,
        /// All its streams.
        streams: Vec<StreamDescription>,
    },
    /// The participant is gone.
    Unregister {
        /// Who.
        participant: ParticipantId,
    },
    /// Whether somebody gets a wire stream. Nobody does when it is registered.
    Route {
        /// The stream or layer.
        wire_stream_id: StreamId,
        /// Who.
        destination: ParticipantId,
        /// Whether it does from now on.
        is_routed: bool,
    },
    /// Whether all video of a participant is sent before other video where a path does not carry both.
    Prominent {
        /// The publisher.
        participant: ParticipantId,
        /// Whether it is from now on; at first nobody's is.
        is_prominent: bool,
    },
    /// Its publisher should send this much of a wire stream.
    Advise {
        /// The stream or layer.
        wire_stream_id: StreamId,
        /// bit/s.
        target_bitrate_bps: u32,
    },
    /// Whether units of a wire stream go to those to whom it is routed. They do when it is registered.
    Forward {
        /// The stream or layer.
        wire_stream_id: StreamId,
        /// Whether they do from now on.
        is_forwarded: bool,
    },
}

/// What is to be done because of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Tell a participant.
    Event {
        /// Whom.
        to: ParticipantId,
        /// The number of the event among those of this participant, from 1 without gaps.
        sequence: u64,
        /// What.
        event: Arc<Event>,
    },
    /// Tell a participant something of the moment, which is not numbered and may be left out: it will be told again.
    Notice {
        /// Whom.
        to: ParticipantId,
        /// What.
        event: Arc<Event>,
    },
    /// Change media forwarding.
    Media(MediaCommand),
    /// Keep for later reports how somebody's media got through.
    Record(Box<QualityRecord>),
    /// Somebody who [waits](Meeting::knock) may [join](Meeting::join) now.
    LetIn {
        /// Who.
        participant: ParticipantId,
    },
    /// Somebody who waits is not let in.
    TurnedAway {
        /// Who.
        participant: ParticipantId,
    },
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Meeting {
    id: MeetingId,
    limits: MeetingLimits,
    participants: BTreeMap<ParticipantId, Participant>,
    /// Owner of every stream, by the id that applications use.
    stream_owners: BTreeMap<StreamId, ParticipantId>,
    /// Stream behind every wire stream id.
    wire_streams: BTreeMap<StreamId, StreamId>,
    outputs: VecDeque<Output>,
    last_epoch: u64,
    locked: bool,
    /// Who is shown large to everybody, in the order in which they were chosen.
    spotlight: Vec<ParticipantId>,
    /// Who asks for the stage, in the order of asking.
    asking: Vec<ParticipantId>,
    waiting_room: WaitingRoom,
    waiting: BTreeMap<ParticipantId, pb::Participant>,
    /// Who was let in from the waiting room: it need not wait again.
    admitted: BTreeSet<ParticipantId>,
    /// What hosts, or the application, have made of participants' rights: it stays when they come again.
    given: BTreeMap<ParticipantId, Rights>,
    /// Names that they have given: so do these, until the participant gives itself another.
    given_names: BTreeMap<ParticipantId, String>,
    /// Of the meeting, for people; may be empty.
    display_name: String,
    /// How often everybody may do what others are told of.
    allowances: AllAllowances,
    chat: Chat,
    voices: Voices,
    receivers: Receivers,
    auto: AutoState,
    quality: Quality,
    /// When it was last told how many there are, µs.
    audience_told_us: u64,
}

impl Meeting {
    /// An empty meeting.
    pub fn new(id: MeetingId, limits: MeetingLimits) -> Self {
        Self {
            id,
            limits,
            participants: BTreeMap::new(),
            stream_owners: BTreeMap::new(),
            wire_streams: BTreeMap::new(),
            outputs: VecDeque::new(),
            last_epoch: 0,
            locked: false,
            spotlight: Vec::new(),
            asking: Vec::new(),
            waiting_room: WaitingRoom::Off,
            waiting: BTreeMap::new(),
            admitted: BTreeSet::new(),
            given: BTreeMap::new(),
            given_names: BTreeMap::new(),
            display_name: String::new(),
            allowances: AllAllowances::new(),
            chat: Chat::default(),
            voices: Voices::new(limits.heard_participants),
            receivers: Receivers::default(),
            auto: AutoState::default(),
            quality: Quality::default(),
            audience_told_us: 0,
        }
    }

    /// Which meeting this is.
    pub fn id(&self) -> MeetingId {
        self.id
    }

    /// Participants that are here.
    pub fn participant_count(&self) -> usize {
        self.participants.len()
    }

    /// Whether this participant is here.
    pub fn contains(&self, id: ParticipantId) -> bool {
        self.participants.contains_key(&id)
    }

    /// From now on this many may be here at one time. Nobody who is here has to go.
    pub fn set_max_participants(&mut self, max_participants: usize) {
        self.limits.max_participants = max_participants;
    }

    /// Whether nobody is here, nor waits.
    pub fn is_empty(&self) -> bool {
        self.participants.is_empty() && self.waiting.is_empty()
    }

    /// Everybody who is here, hidden ones included.
    pub fn roster(&self) -> Vec<pb::Participant> {
        self.participants.iter().map(|(id, participant)| participant.to_message(*id)).collect()
    }

    /// The next thing to do because of earlier calls.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.settle();
        self.outputs.pop_front()
    }

    /// Somebody whose token has been verified comes in at `now_us` (µs since the Unix epoch). An
    /// earlier session of the same participant is replaced and keeps its place, however many there are.
    ///
    /// # Errors
    /// If the meeting is full, or was locked since it [knocked](Self::knock).
    pub fn join(
        &mut self,
        identity: Identity,
        capabilities: &pb::ParticipantCapabilities,
        now_us: u64,
    ) -> Result<Joined, Refusal> {
        let id = identity.participant_id;
        let silenced = self.participants.get(&id).map(|older| (older.state.audio_muted, older.camera_off));
        if silenced.is_some() {
            self.remove(id, pb::LeaveReason::Duplicate);
        } else if self.participants.len() >= self.limits.max_participants {
            let max = self.limits.max_participants;
            let message = format!("the meeting is full: it holds {max} participants");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        } else if self.locked
            && !self.given.get(&id).unwrap_or(&identity.rights).run_meeting
            && !self.admitted.contains(&id)
        {
            // Since it knocked.
            return Err(Refusal::new(ErrorCode::Forbidden, waiting::LOCKED));
        }
        let waited = self.waiting.remove(&id).is_some();
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        let given = self.given.get(&id).cloned();
        let name = self.given_names.get(&id).cloned().unwrap_or(identity.name);
        let mut participant = Participant::new(Identity { name, ..identity }, capabilities, epoch, now_us);
        if let Some(rights) = given {
            participant.set_rights(rights);
        }
        if let Some((audio_muted, camera_off)) = silenced {
            // What hosts have done to it stays.
            participant.state.audio_muted = audio_muted;
            participant.camera_off = camera_off;
        }
        let message = participant.to_message(id);
        self.participants.insert(id, participant);
        self.outputs
            .push_back(Output::Media(MediaCommand::Register { participant: id, streams: Vec::new() }));
        let joined = pb::ParticipantJoined { participant: Some(message) };
        self.tell_others(id, Message::ParticipantJoined(joined));
        // Before it is told anything else.
        let joined = self.snapshot(id, epoch);
        if waited {
            self.tell_waiting(None);
        }
        self.tell_beside_roster(id);
        joined.ok_or_else(|| Refusal::new(ErrorCode::InternalError, "the participant is not here"))
    }

    /// Everything as a participant sees it.
    fn snapshot(&self, id: ParticipantId, epoch: Epoch) -> Option<Joined> {
        let participant = self.participants.get(&id)?;
        Some(Joined {
            epoch,
            existing: self.visible_to(id).filter_map(|other| self.message_of(other)).collect(),
            role: participant.identity.role,
            rights: participant.rights_message(self.limits.max_video_subscriptions),
            locked: self.locked,
            spotlight: self.spotlight.clone(),
        })
    }

    /// Tells a participant what there is beside the roster, and makes use of its being here.
    fn tell_beside_roster(&mut self, id: ParticipantId) {
        self.admitter_came(id);
        self.tell_stage_to(id);
        self.tell_auto_to(id);
        self.tell_active_speaker_to(id);
    }

    /// The session `epoch` of a participant has ended. Does nothing if a newer one has taken its
    /// place.
    pub fn leave(&mut self, id: ParticipantId, epoch: Epoch, reason: pb::LeaveReason) {
        if self.participants.get(&id).is_some_and(|participant| participant.epoch == epoch) {
            self.remove(id, reason);
        }
    }

    /// Everybody goes at once: nobody is left to be told.
    pub fn clear(&mut self) {
        self.stream_owners.clear();
        self.wire_streams.clear();
        self.asking.clear();
        self.spotlight.clear();
        self.voices = Voices::new(self.limits.heard_participants);
        self.receivers = Receivers::default();
        self.auto = AutoState::default();
        self.finish_records();
        self.quality = Quality::default();
        let waiting = std::mem::take(&mut self.waiting).into_keys();
        self.outputs.extend(waiting.map(|participant| Output::TurnedAway { participant }));
        let gone = std::mem::take(&mut self.participants).into_keys();
        self.outputs.extend(gone.map(|participant| Output::Media(MediaCommand::Unregister { participant })));
    }

    /// A participant wants to publish.
    ///
    /// # Errors
    /// If the description is not valid, an id is taken, or the participant publishes too much.
    pub fn publish(&mut self, id: ParticipantId, request: pb::PublishStream) -> Result<(), Refusal> {
        let limits = self.limits;
        let stream = StreamDescription::try_from(request)
            .map_err(|error| Refusal::field(ErrorCode::InvalidRequest, "stream", error.to_string()))?;
        let stream_id = stream.stream_id;
        if self.stream_owners.contains_key(&stream_id) {
            let message = format!("stream {stream_id} is already published; choose another id");
            return Err(Refusal::field(ErrorCode::Conflict, "stream_id", message));
        }
        let taken = |layer: &&Layer| self.wire_streams.contains_key(&layer.wire_stream_id);
        if let Some(layer) = stream.layers.iter().find(taken) {
            let message = format!("stream id {} of a layer is already in use", layer.wire_stream_id);
            return Err(Refusal::field(ErrorCode::Conflict, "simulcast_layers", message));
        }
        self.check_publish(id, stream.stream_type)?;
        let publisher = self.participant(id)?;
        if publisher.layer_count() + stream.layers.len() > limits.max_layers_per_participant {
            let max = limits.max_layers_per_participant;
            let message = format!("a participant publishes at most {max} streams, each layer counted");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        let roster_bytes = publisher.to_message(id).encoded_len() + stream.to_message().encoded_len();
        if roster_bytes > limits.max_roster_bytes_per_participant {
            let max = limits.max_roster_bytes_per_participant;
            let message = format!("the descriptions of all your streams together have at most {max} bytes");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        let published =
            pb::StreamPublished { participant_id: id.to_string(), stream: Some(stream.to_message()) };
        let wire_ids: Vec<StreamId> = stream.layers.iter().map(|layer| layer.wire_stream_id).collect();
        let stream_type = stream.stream_type;
        let turns_camera_on =
            stream_type == StreamType::VideoCamera && std::mem::take(&mut publisher.camera_off);
        publisher.streams.insert(stream_id, stream);
        self.stream_owners.insert(stream_id, id);
        self.wire_streams.extend(wire_ids.into_iter().map(|wire_id| (wire_id, stream_id)));
        self.register(id);
        let is_forwarded =
            self.participants.get(&id).is_some_and(|owner| self.is_forwarded(id, owner, stream_type));
        if turns_camera_on || !is_forwarded {
            // An earlier camera, too.
            self.forward_all(id, stream_type);
        }
        self.tell_others(id, Message::StreamPublished(published));
        self.stream_came(stream_id, stream_type == StreamType::Audio);
        Ok(())
    }

    /// A participant stops publishing a stream.
    ///
    /// # Errors
    /// If it is not one of its streams.
    pub fn unpublish(&mut self, id: ParticipantId, request: &pb::UnpublishStream) -> Result<(), Refusal> {
        let stream_id = parse_stream_id(&request.stream_id)?;
        if self.stream_owners.get(&stream_id) != Some(&id) {
            let message = format!("you do not publish stream {stream_id}");
            return Err(Refusal::field(ErrorCode::NotFound, "stream_id", message));
        }
        self.remove_stream(id, stream_id, false);
        self.register(id);
        Ok(())
    }

    /// A participant changes its name or what it says of itself, or a host renames another.
    ///
    /// # Errors
    /// If the name is empty or too long, or `id` may not change it; if another's state is to be changed.
    pub fn update(&mut self, id: ParticipantId, request: &pb::UpdateParticipant) -> Result<(), Refusal> {
        let target = match request.participant_id.as_str() {
            "" => id,
            text => self.target(id, text)?,
        };
        if target != id {
            self.participant(id)?.rights().require(Control::Rename)?;
            if request.state.is_some() || request.change.is_some() {
                let field = if request.change.is_some() { "change" } else { "state" };
                let message = "only a participant itself says this; hosts mute and lower hands";
                return Err(Refusal::field(ErrorCode::InvalidRequest, field, message));
            }
        }
        let participant = self.participant(target)?;
        let mut changed = false;
        if !request.name.is_empty() {
            let name = display_name(&request.name).ok_or_else(|| {
                let message = "name must have 1 to 64 printable characters";
                Refusal::field(ErrorCode::InvalidRequest, "name", message)
            })?;
            let identity = &mut participant.identity;
            let may_itself = identity.rights.rename_self || identity.rights.run_meeting;
            let may = target != id || may_itself && !identity.is_guest;
            if !may && name != identity.name {
                let message = "your preset does not allow to change your name; ask a host";
                return Err(Refusal::field(ErrorCode::Forbidden, "name", message));
            }
            changed |= identity.name != name;
            if may {
                identity.name.clone_from(&name);
                self.remember_name(target, (target != id).then_some(name));
            }
        }
        let participant = self.participant(target)?;
        let state = match &request.change {
            Some(change) => Some(change.applied_to(&participant.state)),
            None => request.state,
        };
        if let Some(state) = state {
            let before = std::mem::replace(&mut participant.state, state);
            let camera_comes_on = state.video_on && std::mem::take(&mut participant.camera_off);
            changed |= before != state || camera_comes_on;
            if before.audio_muted != state.audio_muted {
                self.forward_all(target, StreamType::Audio);
            }
            if camera_comes_on {
                self.forward_all(target, StreamType::VideoCamera);
            }
        }
        if changed {
            // What has become of a change depends on what hosts did before it.
            self.tell_updated(target, target != id || request.change.is_some());
        }
        Ok(())
    }

    /// Whether this session of the participant is the one that counts.
    pub fn is_current(&self, id: ParticipantId, epoch: Epoch) -> bool {
        self.participants.get(&id).is_some_and(|participant| participant.epoch == epoch)
    }

    fn participant(&mut self, id: ParticipantId) -> Result<&mut Participant, Refusal> {
        let gone = || Refusal::new(ErrorCode::NotFound, "you are no longer in this meeting");
        self.participants.get_mut(&id).ok_or_else(gone)
    }

    fn remove(&mut self, id: ParticipantId, reason: pb::LeaveReason) {
        let Some(participant) = self.participants.get(&id) else { return };
        let streams: Vec<StreamId> = participant.streams.keys().copied().collect();
        self.end_all_subscriptions(id);
        for stream_id in streams {
            self.forget_stream(id, stream_id);
        }
        self.outputs.push_back(Output::Media(MediaCommand::Unregister { participant: id }));
        let left = pb::ParticipantLeft { participant_id: id.to_string(), reason: reason.into() };
        self.tell_others(id, Message::ParticipantLeft(left));
        let was_on_stage = self.participants.remove(&id).is_some_and(|gone| gone.on_stage);
        self.forget_voice(id);
        self.auto.forget(id);
        self.outputs.extend(self.quality.forget(id).map(quality::record));
        self.stage_is_over_for(id, was_on_stage, false);
        self.leave_spotlight(id);
    }

    /// `tell_owner` of what it has not asked for.
    fn remove_stream(&mut self, owner: ParticipantId, stream_id: StreamId, tell_owner: bool) {
        self.forget_stream(owner, stream_id);
        let removed =
            pb::StreamUnpublished { participant_id: owner.to_string(), stream_id: stream_id.to_string() };
        let mut to: Vec<ParticipantId> = self.who_sees(owner).collect();
        to.extend(tell_owner.then_some(owner));
        self.tell_each(to, Message::StreamUnpublished(removed));
    }

    /// Removes a stream and the subscriptions to it. Its routes need no command: the media
    /// handler ends a stream when it is no longer registered.
    fn forget_stream(&mut self, owner: ParticipantId, stream_id: StreamId) {
        self.stream_owners.remove(&stream_id);
        let publisher = self.participants.get_mut(&owner);
        let Some(stream) = publisher.and_then(|publisher| publisher.streams.remove(&stream_id)) else {
            return;
        };
        for layer in &stream.layers {
            self.wire_streams.remove(&layer.wire_stream_id);
            for id in self.receivers.forget(layer.wire_stream_id) {
                self.end_subscription(id, stream_id);
            }
        }
        self.stream_went(&stream);
    }

    fn register(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else { return };
        let streams = participant.streams.values().cloned().collect();
        self.outputs.push_back(Output::Media(MediaCommand::Register { participant: id, streams }));
    }

    /// Whom a participant sees.
    fn visible_to(&self, id: ParticipantId) -> impl Iterator<Item = ParticipantId> + '_ {
        let viewer = self.participants.get(&id);
        let others = self.participants.iter().filter(move |(other, participant)| {
            **other != id && viewer.is_some_and(|viewer| viewer.sees(participant))
        });
        others.map(|(other, _)| *other)
    }

    /// Who sees a participant.
    fn who_sees(&self, id: ParticipantId) -> impl Iterator<Item = ParticipantId> + '_ {
        let seen = self.participants.get(&id);
        let others = self.participants.iter().filter(move |(other, participant)| {
            **other != id && seen.is_some_and(|seen| participant.sees(seen))
        });
        others.map(|(other, _)| *other)
    }

    fn message_of(&self, id: ParticipantId) -> Option<pb::Participant> {
        self.participants.get(&id).map(|participant| participant.to_message(id))
    }

    /// The rights of a participant have changed: it sees others than before (`saw`), and others see it (`seen_by`).
    /// Whom somebody no longer sees has left, for it.
    fn change_sight(
        &mut self,
        id: ParticipantId,
        saw: &BTreeSet<ParticipantId>,
        seen_by: &BTreeSet<ParticipantId>,
    ) {
        let sees: BTreeSet<ParticipantId> = self.visible_to(id).collect();
        let is_seen_by: BTreeSet<ParticipantId> = self.who_sees(id).collect();
        let mut pairs: Vec<(ParticipantId, ParticipantId, bool)> = Vec::new();
        pairs.extend(sees.difference(saw).map(|other| (id, *other, true)));
        pairs.extend(is_seen_by.difference(seen_by).map(|other| (*other, id, true)));
        pairs.extend(saw.difference(&sees).map(|other| (id, *other, false)));
        pairs.extend(seen_by.difference(&is_seen_by).map(|other| (*other, id, false)));
        for (viewer, seen, comes) in pairs {
            if comes {
                let participant = self.message_of(seen);
                self.tell_each([viewer], Message::ParticipantJoined(pb::ParticipantJoined { participant }));
            } else {
                self.end_subscriptions(viewer, seen);
                let reason = pb::LeaveReason::Moved.into();
                let event = pb::ParticipantLeft { participant_id: seen.to_string(), reason };
                self.tell_each([viewer], Message::ParticipantLeft(event));
            }
        }
    }

    /// Tells whoever sees a participant what it looks like now; itself too, if it has not asked for it.
    fn tell_updated(&mut self, id: ParticipantId, tell_it: bool) {
        let participant = self.message_of(id);
        let mut to: Vec<ParticipantId> = self.who_sees(id).collect();
        to.extend(tell_it.then_some(id));
        self.tell_each(to, Message::ParticipantUpdated(pb::ParticipantUpdated { participant }));
    }

    /// Tells whoever sees a participant something about it.
    fn tell_others(&mut self, about: ParticipantId, event: Message) {
        let others: Vec<ParticipantId> = self.who_sees(about).collect();
        self.tell_each(others, event);
    }

    /// Tells these participants, as far as they are here.
    fn tell_each(&mut self, to: impl IntoIterator<Item = ParticipantId>, event: Message) {
        let event = Arc::new(Event::new(event));
        for to in to {
            let Some(participant) = self.participants.get_mut(&to) else { continue };
            let sequence = participant.journal.push(&event);
            self.outputs.push_back(Output::Event { to, sequence, event: Arc::clone(&event) });
        }
    }

    /// Those whose rights are so.
    fn those_who(&self, may: impl Fn(&Rights) -> bool) -> Vec<ParticipantId> {
        self.participants
            .iter()
            .filter(|(_, participant)| may(participant.rights()))
            .map(|(id, _)| *id)
            .collect()
    }
}

fn parse_participant_id(text: &str) -> Result<ParticipantId, Refusal> {
    text.parse().map_err(|error: darktower_protocol::id::ParseIdError| {
        Refusal::field(ErrorCode::InvalidRequest, "participant_id", error.to_string())
    })
}

fn parse_stream_id(text: &str) -> Result<StreamId, Refusal> {
    text.parse().map_err(|error: darktower_protocol::id::ParseIdError| {
        Refusal::field(ErrorCode::InvalidRequest, "stream_id", error.to_string())
    })
}
