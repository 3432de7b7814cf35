//! The meeting again, as plainly as it can be written: what must be true after the requests that were
//! accepted, from presets and not from the meeting's own notion of rights.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use darktower_core::meeting::{Entry, Epoch, MeetingLimits, WaitingRoom};
use darktower_core::preset::{Permissions, Preset, Produce, WaitingRoomType};
use darktower_protocol::signaling::pb;
use darktower_protocol::{ParticipantId, StreamId};
use pb::StreamType;

use crate::attention::{Auto, Voices, Want};
use crate::followers::Seen;
use crate::ops::{Name, Whom};

/// Events that a participant may miss and still be told, one by one.
const KEPT_EVENTS: u64 = 256;

/// A layer of a stream; a stream without simulcast has one without name.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) wire_id: StreamId,
    pub(crate) bitrate_bps: u32,
}

/// A published stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) kind: StreamType,
    pub(crate) layers: Vec<Layer>,
}

impl Stream {
    /// What a subscriber with these wishes gets: the layer it names, else the best that fits, else the
    /// lowest.
    pub(crate) fn layer(&self, preferred: &str, max_bitrate_bps: u32) -> StreamId {
        let named = self.layers.iter().find(|layer| !preferred.is_empty() && layer.name == preferred);
        let fits = |layer: &&Layer| max_bitrate_bps == 0 || layer.bitrate_bps <= max_bitrate_bps;
        let best = self.layers.iter().filter(fits).max_by_key(|layer| layer.bitrate_bps);
        let lowest = self.layers.iter().min_by_key(|layer| layer.bitrate_bps);
        named.or(best).or(lowest).expect("a stream has a layer").wire_id
    }
}

/// What somebody is by its token, or was made in the meeting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) preset: &'static Preset,
    pub(crate) is_host: bool,
}

impl Standing {
    /// Of a preset that was given in the meeting.
    pub(crate) fn given(preset: &'static Preset) -> Self {
        Self { preset, is_host: preset.permissions.can_change_participant_permissions }
    }

    pub(crate) fn may(self) -> &'static Permissions {
        &self.preset.permissions
    }

    fn produce(self, kind: StreamType) -> Produce {
        let media = self.may().media;
        if !self.is_seen() {
            return Produce::NotAllowed;
        }
        match kind {
            StreamType::Audio => media.audio.can_produce,
            StreamType::VideoCamera => media.video.can_produce,
            StreamType::VideoScreen => media.screenshare.can_produce,
        }
    }

    fn has(self, produce: Produce) -> bool {
        let kinds = [StreamType::Audio, StreamType::VideoCamera, StreamType::VideoScreen];
        kinds.iter().any(|kind| self.produce(*kind) == produce)
    }

    pub(crate) fn may_mute(self, kind: StreamType) -> bool {
        match kind {
            StreamType::Audio => self.may().disable_participant_audio,
            StreamType::VideoCamera => self.may().disable_participant_video,
            StreamType::VideoScreen => self.may().disable_participant_screensharing,
        }
    }

    pub(crate) fn may_ask_for_stage(self) -> bool {
        self.has(Produce::CanRequest)
    }

    /// Whoever is hidden must not show itself.
    pub(crate) fn is_seen(self) -> bool {
        !self.may().hidden_participant
    }

    pub(crate) fn may_write_to_everybody(self) -> bool {
        self.may().chat.public.can_send && self.may().chat.public.text
    }

    pub(crate) fn may_write_to_one(self) -> bool {
        self.may().chat.private.can_send && self.may().chat.private.text
    }
}

/// Somebody who is here.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) standing: Standing,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) state: pb::ParticipantState,
    pub(crate) camera_off: bool,
    pub(crate) on_stage: bool,
    pub(crate) invited: bool,
    pub(crate) lost_at: Option<Instant>,
    pub(crate) is_silent: bool,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// By the stream that it is subscribed to.
    pub(crate) wants: BTreeMap<StreamId, Want>,
    /// What of it it has asked for itself, in the order of asking.
    pub(crate) asked: Vec<StreamId>,
    pub(crate) auto: Option<Auto>,
    /// Counts those who joined.
    pub(crate) joined: usize,
    /// 0 if it did not say.
    pub(crate) declared_max_video: u32,
    pub(crate) is_mobile: bool,
    /// The active speaker that it was told of, as long as it sees that one.
    pub(crate) knows_speaker: Option<ParticipantId>,
}

impl Person {
    pub(crate) fn may_send(&self, kind: StreamType) -> bool {
        match self.standing.produce(kind) {
            Produce::Allowed => true,
            Produce::CanRequest => self.on_stage,
            Produce::NotAllowed => false,
        }
    }

    pub(crate) fn is_silent(&self, kind: StreamType) -> bool {
        match kind {
            StreamType::Audio => self.state.audio_muted,
            StreamType::VideoCamera => self.camera_off,
            StreamType::VideoScreen => false,
        }
    }

    pub(crate) fn sees(&self, other: &Self) -> bool {
        let is_known = other.standing.has(Produce::Allowed) || other.standing.has(Produce::CanRequest);
        let everybody = self.standing.may().show_participant_list;
        !other.standing.may().hidden_participant && (everybody || is_known)
    }
}

/// A message of the chat.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) from: ParticipantId,
    pub(crate) to: Option<ParticipantId>,
    pub(crate) is_deleted: bool,
    pub(crate) is_pinned: bool,
}

impl Line {
    pub(crate) fn is_for(&self, reader: ParticipantId) -> bool {
        self.from == reader || self.to.is_none_or(|to| to == reader)
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) limits: MeetingLimits,
    pub(crate) here: BTreeMap<ParticipantId, Person>,
    pub(crate) waiting: BTreeSet<ParticipantId>,
    pub(crate) admitted: BTreeSet<ParticipantId>,
    pub(crate) given: BTreeMap<ParticipantId, Standing>,
    pub(crate) given_names: BTreeMap<ParticipantId, String>,
    pub(crate) waiting_room: WaitingRoom,
    pub(crate) locked: bool,
    pub(crate) spotlight: Vec<ParticipantId>,
    pub(crate) asking: Vec<ParticipantId>,
    pub(crate) lines: Vec<Line>,
    pub(crate) voices: Voices,
    /// How many have joined.
    joined: usize,
}

impl Model {
    pub(crate) fn new(limits: MeetingLimits) -> Self {
        Self {
            limits,
            here: BTreeMap::new(),
            waiting: BTreeSet::new(),
            admitted: BTreeSet::new(),
            given: BTreeMap::new(),
            given_names: BTreeMap::new(),
            waiting_room: WaitingRoom::Off,
            locked: false,
            spotlight: Vec::new(),
            asking: Vec::new(),
            lines: Vec::new(),
            voices: Voices::new(limits.heard_participants),
            joined: 0,
        }
    }

    /// What becomes of somebody at the door; nothing if it is refused.
    pub(crate) fn knock(&self, who: ParticipantId, standing: Standing) -> Option<Entry> {
        if self.here.contains_key(&who) {
            return Some(Entry::Open);
        }
        let standing = self.given.get(&who).copied().unwrap_or(standing);
        if self.locked && !standing.is_host {
            return None;
        }
        let room_is_shut = match self.waiting_room {
            WaitingRoom::Off => false,
            WaitingRoom::UntilHost => !self.somebody_admits(),
            WaitingRoom::Admission => !self.admitted.contains(&who),
        };
        let may = standing.may();
        let must_wait = may.waiting_room_type == WaitingRoomType::OnPrivilegedUserEntry
            && !may.accept_waiting_requests
            && standing.is_seen();
        Some(if room_is_shut && must_wait { Entry::Waits } else { Entry::Open })
    }

    pub(crate) fn somebody_admits(&self) -> bool {
        self.here.values().any(|person| person.standing.may().accept_waiting_requests)
    }

    /// Somebody is in.
    pub(crate) fn enter(&mut self, who: ParticipantId, standing: Standing, name: String, epoch: Epoch) {
        // What hosts have done to it stays.
        let older = self.here.get(&who);
        let audio_muted = older.is_some_and(|older| older.state.audio_muted);
        let camera_off = older.is_some_and(|older| older.camera_off);
        self.leave(who);
        self.waiting.remove(&who);
        self.joined += 1;
        let person = Person {
            standing: self.given.get(&who).copied().unwrap_or(standing),
            epoch,
            name: self.given_names.get(&who).cloned().unwrap_or(name),
            state: pb::ParticipantState { audio_muted, ..pb::ParticipantState::default() },
            camera_off,
            on_stage: false,
            invited: false,
            lost_at: None,
            is_silent: false,
            streams: BTreeMap::new(),
            wants: BTreeMap::new(),
            asked: Vec::new(),
            auto: None,
            joined: self.joined,
            declared_max_video: 0,
            is_mobile: false,
            knows_speaker: None,
        };
        self.here.insert(who, person);
        self.tell_speaker_to(who);
    }

    /// Somebody is not here any more.
    pub(crate) fn leave(&mut self, who: ParticipantId) {
        if self.here.remove(&who).is_some() {
            self.forget_voice(who);
        }
        self.asking.retain(|asking| *asking != who);
        self.spotlight.retain(|shown| *shown != who);
        self.tidy();
    }

    /// Streams that may not be sent are over, and subscriptions to what is not there, or not seen.
    pub(crate) fn tidy(&mut self) {
        for person in self.here.values_mut() {
            let kinds = [StreamType::Audio, StreamType::VideoCamera, StreamType::VideoScreen];
            let may = kinds.map(|kind| person.may_send(kind));
            person.streams.retain(|_, stream| may[stream.kind as usize]);
        }
        let mut over: Vec<(ParticipantId, StreamId)> = Vec::new();
        let published: BTreeSet<StreamId> =
            self.here.values().flat_map(|person| person.streams.keys().copied()).collect();
        for (id, person) in &self.here {
            for stream in person.wants.keys() {
                let owner = self.owner_of(*stream).and_then(|owner| self.here.get(&owner));
                if !owner.is_some_and(|owner| person.sees(owner)) {
                    over.push((*id, *stream));
                }
            }
        }
        for (id, stream) in over {
            if let Some(person) = self.here.get_mut(&id) {
                person.wants.remove(&stream);
                person.asked.retain(|asked| *asked != stream);
            }
        }
        let unseen: Vec<ParticipantId> = self
            .here
            .iter()
            .filter(|(id, person)| {
                person.knows_speaker.is_some_and(|speaker| speaker != **id && !self.sees(**id, speaker))
            })
            .map(|(id, _)| *id)
            .collect();
        for (id, person) in &mut self.here {
            if unseen.contains(id) {
                person.knows_speaker = None;
            }
            if let Some(auto) = &mut person.auto {
                auto.unwanted.retain(|stream| published.contains(stream));
            }
        }
    }

    pub(crate) fn owner_of(&self, stream: StreamId) -> Option<ParticipantId> {
        let owner = self.here.iter().find(|(_, person)| person.streams.contains_key(&stream));
        owner.map(|(id, _)| *id)
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.here.values().flat_map(|person| person.streams.values())
    }

    pub(crate) fn sees(&self, viewer: ParticipantId, other: ParticipantId) -> bool {
        let pair = (self.here.get(&viewer), self.here.get(&other));
        matches!(pair, (Some(viewer), Some(other)) if viewer.sees(other))
    }

    /// Whether a participant is here and may do this.
    pub(crate) fn may(&self, by: ParticipantId, what: impl Fn(Standing) -> bool) -> bool {
        self.here.get(&by).is_some_and(|person| what(person.standing))
    }

    pub(crate) fn is_host(&self, by: ParticipantId) -> bool {
        self.may(by, |standing| standing.is_host)
    }

    /// The participant whom a request names: the one that sends it, or one that this one sees.
    pub(crate) fn named(&self, by: ParticipantId, whom: Whom) -> Option<ParticipantId> {
        let Name::One(id) = whom else { return None };
        let is_own = by == id && self.here.contains_key(&by);
        (is_own || self.sees(by, id)).then_some(id)
    }

    /// The participant whom a control reaches: no host, unless it is a host's.
    pub(crate) fn reach(&self, by: ParticipantId, whom: Whom) -> Option<ParticipantId> {
        self.named(by, whom).filter(|id| by == *id || self.is_host(by) || !self.is_host(*id))
    }

    /// Whom a control reaches that may be for everybody.
    pub(crate) fn reach_all(&self, by: ParticipantId, whom: Whom) -> Option<Vec<ParticipantId>> {
        if whom != Name::Empty {
            return self.reach(by, whom).map(|id| vec![id]);
        }
        let others = self.here.iter().filter(|(id, other)| **id != by && !other.standing.is_host);
        Some(others.map(|(id, _)| *id).filter(|id| self.sees(by, *id)).collect())
    }

    pub(crate) fn set_preset(&mut self, who: ParticipantId, preset: &'static Preset) {
        let standing = Standing::given(preset);
        self.given.insert(who, standing);
        self.asking.retain(|asking| *asking != who);
        if let Some(person) = self.here.get_mut(&who) {
            person.standing = standing;
            person.on_stage &= standing.may_ask_for_stage();
            person.invited &= standing.may_ask_for_stage();
        }
        self.tidy();
        if standing.may().hidden_participant {
            self.spotlight.retain(|shown| *shown != who);
            self.forget_voice(who);
        }
    }

    pub(crate) fn silence(&mut self, who: ParticipantId, kind: StreamType) {
        let Some(person) = self.here.get_mut(&who) else { return };
        match kind {
            StreamType::Audio => person.state.audio_muted = true,
            StreamType::VideoCamera => {
                person.state.video_on = false;
                person.camera_off = true;
            }
            StreamType::VideoScreen => {
                person.state.screen_sharing = false;
                person.streams.retain(|_, stream| stream.kind != StreamType::VideoScreen);
            }
        }
        self.tidy();
    }

    /// Whether somebody who has seen this many of so many events is told the others one by one.
    pub(crate) fn are_kept(sent: u64, seen: u64) -> bool {
        sent.checked_sub(seen).is_some_and(|missed| missed <= KEPT_EVENTS)
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let grace = self.limits.reconnect_grace;
        self.here.values().filter_map(|person| person.lost_at).map(|lost_at| lost_at + grace).min()
    }

    /// Who has been lost for too long.
    pub(crate) fn given_up(&self, now: Instant) -> Vec<ParticipantId> {
        let grace = self.limits.reconnect_grace;
        let over = |person: &Person| person.lost_at.is_some_and(|lost_at| lost_at + grace <= now);
        self.here.iter().filter(|(_, person)| over(person)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn roster(&self) -> Vec<(ParticipantId, Seen)> {
        let seen = |person: &Person| Seen {
            name: person.name.clone(),
            is_host: person.standing.is_host,
            state: person.state,
            streams: person.streams.keys().copied().collect(),
            on_stage: person.on_stage,
            reconnecting: person.lost_at.is_some() || person.is_silent,
            network: pb::NetworkGrade::NotMeasured,
        };
        self.here.iter().map(|(id, person)| (*id, seen(person))).collect()
    }

    /// How many there are, and how many of them only watch.
    pub(crate) fn audience(&self) -> pb::AudienceChanged {
        let kinds = [StreamType::Audio, StreamType::VideoCamera, StreamType::VideoScreen];
        let seen = self.here.values().filter(|person| !person.standing.preset.permissions.hidden_participant);
        let watches = |person: &&Person| !kinds.iter().any(|kind| person.may_send(*kind));
        pb::AudienceChanged {
            participants: seen.clone().count() as u32,
            viewers: seen.filter(watches).count() as u32,
        }
    }

    /// What the media handler must forward: (wire stream, receiver), in order.
    pub(crate) fn routes(&self) -> Vec<(StreamId, ParticipantId)> {
        let mut routes = Vec::new();
        for (id, person) in &self.here {
            for (stream_id, want) in &person.wants {
                let Some(owner_id) = self.owner_of(*stream_id) else { continue };
                let owner = self.here.get(&owner_id);
                let stream = owner.and_then(|owner| Some((owner, owner.streams.get(stream_id)?)));
                if stream.is_some_and(|(owner, stream)| {
                    let is_heard = stream.kind != StreamType::Audio || self.voices.is_heard(owner_id);
                    is_heard && !owner.is_silent(stream.kind)
                }) {
                    routes.push((want.wire_id, *id));
                }
            }
        }
        routes.sort_unstable();
        routes
    }

    /// Publisher and kind of every wire stream.
    pub(crate) fn wire_streams(&self) -> BTreeMap<StreamId, (ParticipantId, StreamType)> {
        let mut found = BTreeMap::new();
        for (id, person) in &self.here {
            for stream in person.streams.values() {
                found.extend(stream.layers.iter().map(|layer| (layer.wire_id, (*id, stream.kind))));
            }
        }
        found
    }
}
