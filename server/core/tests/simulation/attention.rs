//! The reference of who is heard, who speaks, and what is chosen for those who let the meeting choose.

use std::collections::{BTreeMap, BTreeSet};

use darktower_core::meeting::speakers::{AudioLevel, Speakers, SpeakersChange};
use darktower_protocol::{ParticipantId, StreamId};
use pb::StreamType;

use darktower_protocol::signaling::pb;

use crate::model::{Model, Person, Stream};

/// Who has told nothing for longer is heard whatever its loudness.
const TELLS_US: u64 = 5_000_000;

/// What somebody lets the meeting choose.
#[derive(Debug, Clone)]
pub(crate) struct Auto {
    /// Nothing named is everything.
    pub(crate) kinds: Vec<StreamType>,
    /// 0 is as many as may be.
    pub(crate) max_video: u32,
    pub(crate) preferred: &'static str,
    pub(crate) max_bitrate_bps: u32,
    pub(crate) pinned: Vec<ParticipantId>,
    /// Streams that it has unsubscribed from since.
    pub(crate) unwanted: BTreeSet<StreamId>,
}

impl Auto {
    fn wants(&self, kind: StreamType) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    fn layer(&self, stream: &Stream) -> StreamId {
        match stream.kind {
            StreamType::VideoCamera => stream.layer(self.preferred, self.max_bitrate_bps),
            StreamType::VideoScreen | StreamType::Audio => stream.layer("", 0),
        }
    }
}

/// What somebody is subscribed to under a stream id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) wire_id: StreamId,
    /// Chosen for it, not asked for.
    pub(crate) is_auto: bool,
}

/// What was told of loudness. How loudness is judged has tests of its own; here it counts what follows from it.
#[derive(Debug)]
pub(crate) struct Voices {
    speakers: Speakers,
    places: usize,
    is_limited: bool,
    told_at: BTreeMap<ParticipantId, u64>,
    now_us: u64,
    /// The active speaker and those before, the latest first.
    pub(crate) recent: Vec<ParticipantId>,
}

impl Voices {
    pub(crate) fn new(heard: usize) -> Self {
        Self {
            speakers: Speakers::new(heard),
            places: heard,
            is_limited: heard > 0,
            told_at: BTreeMap::new(),
            now_us: 0,
            recent: Vec::new(),
        }
    }

    pub(crate) fn active(&self) -> Option<ParticipantId> {
        self.speakers.active()
    }

    pub(crate) fn is_heard(&self, who: ParticipantId) -> bool {
        !self.is_limited || !self.told_at.contains_key(&who) || self.speakers.is_heard(who)
    }

    /// Somebody who tells how loud it is and is not heard, although there are places for all who tell.
    pub(crate) fn unheard_without_need(&self) -> Option<ParticipantId> {
        let has_places = self.told_at.len() <= self.places;
        self.told_at.keys().find(|who| has_places && !self.speakers.is_heard(**who)).copied()
    }

    /// Of those who tell how loud they are.
    pub(crate) fn heard_by_loudness(&self) -> usize {
        self.told_at.keys().filter(|who| self.speakers.is_heard(**who)).count()
    }
}

impl Model {
    /// Somebody has told how loud it is.
    pub(crate) fn tell(&mut self, who: ParticipantId, level: u32, now_us: u64) {
        let is_muted = self.here.get(&who).is_some_and(|person| person.state.audio_muted);
        let level = if is_muted { AudioLevel::SILENCE } else { AudioLevel::new(level) };
        let voices = &mut self.voices;
        voices.now_us = voices.now_us.max(now_us);
        let now_us = voices.now_us;
        voices.told_at.insert(who, now_us);
        let change = voices.speakers.tell(who, level, now_us);
        self.follow(&change);
    }

    pub(crate) fn pass_voices(&mut self, now_us: u64) {
        let voices = &mut self.voices;
        voices.now_us = voices.now_us.max(now_us);
        let now_us = voices.now_us;
        let told_at = &voices.told_at;
        let silent: Vec<ParticipantId> =
            told_at.iter().filter(|(_, at)| now_us - **at > TELLS_US).map(|(id, _)| *id).collect();
        for who in silent {
            voices.told_at.remove(&who);
            voices.speakers.forget(who);
        }
        let change = voices.speakers.pass(now_us);
        self.follow(&change);
    }

    /// Somebody is told who speaks, because it knows nothing yet.
    pub(crate) fn tell_speaker_to(&mut self, who: ParticipantId) {
        let speaker = self.voices.active().filter(|active| self.sees(who, *active) && who != *active);
        if let Some(person) = self.here.get_mut(&who) {
            person.knows_speaker = speaker;
        }
    }

    /// Somebody is in the spotlight, and so is heard, or not any more.
    pub(crate) fn pin_voice(&mut self, who: ParticipantId, is_pinned: bool) {
        let voices = &mut self.voices;
        let change = voices.speakers.pin(who, is_pinned, voices.now_us);
        self.follow(&change);
        let voices = &mut self.voices;
        if !is_pinned && !voices.told_at.contains_key(&who) {
            voices.speakers.forget(who);
            let change = voices.speakers.pass(voices.now_us);
            self.follow(&change);
        }
    }

    pub(crate) fn forget_voice(&mut self, who: ParticipantId) {
        self.voices.told_at.remove(&who);
        self.voices.recent.retain(|spoke| *spoke != who);
        let change = self.voices.speakers.remove(who, self.voices.now_us);
        self.follow(&change);
    }

    fn follow(&mut self, change: &SpeakersChange) {
        let Some(active) = change.active else { return };
        self.voices.recent.retain(|spoke| *spoke != active);
        self.voices.recent.insert(0, active);
        let told: Vec<ParticipantId> =
            self.here.keys().copied().filter(|id| *id == active || self.sees(*id, active)).collect();
        for id in told {
            if let Some(person) = self.here.get_mut(&id) {
                person.knows_speaker = Some(active);
            }
        }
    }

    /// Whose video goes before other video.
    pub(crate) fn prominent(&self) -> BTreeSet<ParticipantId> {
        self.spotlight.iter().copied().chain(self.voices.active()).collect()
    }

    /// Video subscriptions that somebody may have.
    pub(crate) fn max_video(&self, person: &Person) -> usize {
        let preset = person.standing.preset.config.max_video_streams;
        let of_preset = if person.is_mobile { preset.mobile } else { preset.desktop } as usize;
        let declared = match person.declared_max_video {
            0 => usize::MAX,
            declared => declared as usize,
        };
        of_preset.min(declared).min(self.limits.max_video_subscriptions)
    }

    pub(crate) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.here.get(&self.owner_of(id)?)?.streams.get(&id)
    }

    pub(crate) fn is_video(&self, id: StreamId) -> bool {
        self.stream(id).is_some_and(|stream| stream.kind != StreamType::Audio)
    }

    /// Video that somebody has asked for, in the order of asking.
    pub(crate) fn asked_video(&self, person: &Person) -> Vec<StreamId> {
        person.asked.iter().copied().filter(|id| self.is_video(*id)).collect()
    }

    /// Everybody gets what it may have, and what was chosen for it.
    pub(crate) fn settle(&mut self) {
        let here: Vec<ParticipantId> = self.here.keys().copied().collect();
        for id in here {
            let Some(person) = self.here.get(&id) else { continue };
            let max = self.max_video(person);
            let too_many: Vec<StreamId> = self.asked_video(person).into_iter().skip(max).collect();
            if let Some(person) = self.here.get_mut(&id) {
                person.asked.retain(|stream| !too_many.contains(stream));
                person.wants.retain(|stream, _| !too_many.contains(stream));
            }
            let chosen = self.chosen(id);
            if let Some(person) = self.here.get_mut(&id) {
                person.wants.retain(|_, want| !want.is_auto);
                person.wants.extend(chosen);
            }
        }
    }

    fn chosen(&self, id: ParticipantId) -> BTreeMap<StreamId, Want> {
        let Some((person, auto)) =
            self.here.get(&id).and_then(|person| Some((person, person.auto.as_ref()?)))
        else {
            return BTreeMap::new();
        };
        let mut chosen = BTreeMap::new();
        let mut videos = [Vec::new(), Vec::new()];
        for (owner_id, owner) in self.here.iter().filter(|(owner, _)| **owner != id) {
            for (stream_id, stream) in &owner.streams {
                let is_free = !person.asked.contains(stream_id) && !auto.unwanted.contains(stream_id);
                if !person.sees(owner) || !is_free || !auto.wants(stream.kind) {
                    continue;
                }
                let want = Want { wire_id: auto.layer(stream), is_auto: true };
                let importance = self.importance(person, auto, *owner_id, *stream_id);
                match stream.kind {
                    StreamType::Audio => {
                        chosen.insert(*stream_id, want);
                    }
                    StreamType::VideoScreen => videos[0].push((importance, *stream_id, want)),
                    StreamType::VideoCamera if !owner.camera_off => {
                        videos[1].push((importance, *stream_id, want));
                    }
                    StreamType::VideoCamera => {}
                }
            }
        }
        videos
            .iter_mut()
            .for_each(|videos| videos.sort_unstable_by_key(|(first, stream, _)| (*first, *stream)));
        let asked_for = if auto.max_video == 0 { usize::MAX } else { auto.max_video as usize };
        let places = self.max_video(person).min(asked_for).saturating_sub(self.asked_video(person).len());
        let videos = videos.into_iter().flatten().map(|(_, stream_id, want)| (stream_id, want));
        chosen.extend(videos.take(places));
        chosen
    }

    /// The least comes first: own pins, spotlight, speakers, what is shown already, and who joined first.
    fn importance(
        &self,
        person: &Person,
        auto: &Auto,
        owner: ParticipantId,
        stream: StreamId,
    ) -> (usize, usize, usize, bool, usize) {
        let place = |list: &[ParticipantId]| list.iter().position(|id| *id == owner).unwrap_or(usize::MAX);
        let named = [&auto.pinned, &self.spotlight, &self.voices.recent].map(|list| place(list));
        let is_named = named.iter().any(|place| *place != usize::MAX);
        let is_shown = person.wants.get(&stream).is_some_and(|want| want.is_auto);
        let joined = self.here.get(&owner).map_or(0, |owner| owner.joined);
        (named[0], named[1], named[2], !is_named && !is_shown, joined)
    }
}
