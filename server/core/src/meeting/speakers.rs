//! Who speaks, and whose audio is forwarded when not everybody's can be.
//!
//! Publishers tell how loud they are, some times per second ([`AudioLevel`]): this works with end-to-end encryption, where
//! the server cannot listen. Loudness is smoothed, fast upwards and slowly downwards, so that a pause between words is
//! part of speech and a cough is none. Two questions are answered from it:
//!
//! * **Who is the active speaker?** One participant, for layouts and recordings. Somebody else must speak for a while, or for
//!   longer and clearly louder if the active speaker goes on; silence changes nothing.
//! * **Who is heard?** The loudest few and whoever is pinned. As long as there are places, nobody need speak to have one. Who
//!   begins to speak is heard at once, in the place of whoever has been silent for longest; if nobody is silent, in the
//!   place of one that is clearly quieter.

use std::collections::{BTreeMap, BTreeSet};

use darktower_protocol::ParticipantId;

/// Loudness of audio as RFC 6464 has it: decibels below the loudest that can be encoded, 0 to 127, which is silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AudioLevel(u8);

impl AudioLevel {
    /// Nothing can be heard.
    pub const SILENCE: Self = Self(127);

    /// `below_full` dB below the loudest; more than 127 is silence.
    #[must_use]
    pub const fn new(below_full: u32) -> Self {
        Self(if below_full < 127 { below_full as u8 } else { 127 })
    }
}

/// From here on it is speech, dB below the loudest.
const SPEECH_BEGINS: f32 = 45.0;
/// Below this it is not any more. The distance keeps quiet speakers from flickering.
const SPEECH_ENDS: f32 = 55.0;
/// Clearly louder.
const CLEARLY: f32 = 6.0;
/// How fast a rising level is believed, and a falling one.
const RISE_US: f32 = 40_000.0;
const FALL_US: f32 = 400_000.0;
/// Between reports, usually: the first one counts as if it were not.
const INTERVAL_US: u64 = 100_000;
/// Who was not heard of for so long is silent: audio of silence is often not sent at all.
const SILENT_US: u64 = 1_000_000;
/// Somebody becomes the active speaker after speaking for so long while the one before is silent ...
const TAKES_SILENT_US: u64 = 400_000;
/// ... and after so long while that one speaks as well.
const TAKES_SPEAKING_US: u64 = 800_000;
/// Who was let in is heard for so long before somebody louder may take the place.
const STAYS_US: u64 = 1_000_000;

/// What has changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SpeakersChange {
    /// The new active speaker.
    pub active: Option<ParticipantId>,
    /// Whose audio is forwarded from now on.
    pub heard: Vec<ParticipantId>,
    /// Whose audio is not any more.
    pub unheard: Vec<ParticipantId>,
}

/// One participant's voice.
#[derive(Debug, Clone)]
struct Voice {
    /// Smoothed, dB below the loudest.
    level: f32,
    told_at: u64,
    /// Since when it speaks without a pause.
    speaks_since: Option<u64>,
    /// Since when it speaks clearly louder than the active speaker.
    dominates_since: Option<u64>,
    /// When it last spoke.
    spoke_at: Option<u64>,
    /// Since when it is heard, if it is.
    heard_since: Option<u64>,
    is_pinned: bool,
}

impl Voice {
    fn new(now_us: u64) -> Self {
        Self {
            level: f32::from(AudioLevel::SILENCE.0),
            told_at: now_us.saturating_sub(INTERVAL_US),
            speaks_since: None,
            dominates_since: None,
            spoke_at: None,
            heard_since: None,
            is_pinned: false,
        }
    }

    /// Moves the level towards `told`, which was so since the last time.
    fn smooth(&mut self, told: AudioLevel, now_us: u64) {
        let told = f32::from(told.0);
        let elapsed = now_us.saturating_sub(self.told_at).clamp(INTERVAL_US / 5, INTERVAL_US * 2) as f32;
        let slowness = if told < self.level { RISE_US } else { FALL_US };
        self.level += (told - self.level) * (1.0 - (-elapsed / slowness).exp());
        self.told_at = self.told_at.max(now_us);
        let speaks = match self.speaks_since {
            None => self.level <= SPEECH_BEGINS,
            Some(_) => self.level <= SPEECH_ENDS,
        };
        if speaks {
            self.speaks_since.get_or_insert(now_us);
            self.spoke_at = Some(now_us);
        } else {
            self.speaks_since = None;
        }
    }

    fn speaks(&self) -> bool {
        self.speaks_since.is_some()
    }
}

/// The voices of one meeting. Times are µs of any clock that does not go back.
#[derive(Debug, Clone)]
pub struct Speakers {
    /// How many are heard beside the pinned.
    places: usize,
    /// Whoever tells how loud it is, or is pinned.
    voices: BTreeMap<ParticipantId, Voice>,
    active: Option<ParticipantId>,
    /// Whether all places were taken when it was last decided.
    is_full: bool,
}

impl Speakers {
    /// Nobody has spoken. `places` are heard at one time; 0 is nobody but the pinned.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places, voices: BTreeMap::new(), active: None, is_full: places == 0 }
    }

    /// The active speaker: who spoke last, as long as it is there.
    #[must_use]
    pub fn active(&self) -> Option<ParticipantId> {
        self.active
    }

    /// Whose audio is forwarded.
    #[must_use]
    pub fn heard(&self) -> BTreeSet<ParticipantId> {
        self.voices.iter().filter(|(_, voice)| voice.heard_since.is_some()).map(|(id, _)| *id).collect()
    }

    /// Whether somebody's audio is forwarded.
    #[must_use]
    pub fn is_heard(&self, id: ParticipantId) -> bool {
        self.voices.get(&id).is_some_and(|voice| voice.heard_since.is_some())
    }

    /// Somebody tells how loud it is.
    pub fn tell(&mut self, id: ParticipantId, level: AudioLevel, now_us: u64) -> SpeakersChange {
        let voice = self.voices.entry(id).or_insert_with(|| Voice::new(now_us));
        let spoke = voice.speaks();
        voice.smooth(level, now_us);
        if !spoke && !voice.speaks() && (self.is_full || voice.heard_since.is_some()) {
            // Most are silent most of the time, and nothing follows from it: nobody looks at all the others.
            return SpeakersChange::default();
        }
        self.decide(now_us)
    }

    /// Somebody tells nothing any more, and needs no place unless it is pinned. The active speaker may still be it. What
    /// follows, [`pass`](Self::pass) says.
    pub fn forget(&mut self, id: ParticipantId) {
        if self.voices.get(&id).is_some_and(|voice| !voice.is_pinned) {
            self.voices.remove(&id);
            self.is_full = false;
        }
    }

    /// Somebody is heard whatever its loudness, or no longer.
    pub fn pin(&mut self, id: ParticipantId, is_pinned: bool, now_us: u64) -> SpeakersChange {
        let voice = self.voices.entry(id).or_insert_with(|| Voice::new(now_us));
        voice.is_pinned = is_pinned;
        self.decide(now_us)
    }

    /// Somebody is gone.
    pub fn remove(&mut self, id: ParticipantId, now_us: u64) -> SpeakersChange {
        let voice = self.voices.remove(&id);
        if self.active == Some(id) {
            self.active = None;
        }
        let mut change = self.decide(now_us);
        if voice.is_some_and(|voice| voice.heard_since.is_some()) {
            change.unheard.push(id);
        }
        change
    }

    /// Time has passed. To be called some times per second while somebody speaks.
    pub fn pass(&mut self, now_us: u64) -> SpeakersChange {
        self.decide(now_us)
    }

    fn decide(&mut self, now_us: u64) -> SpeakersChange {
        self.silence(now_us);
        let mut change = SpeakersChange { active: self.choose_active(now_us), ..SpeakersChange::default() };
        for (id, voice) in &mut self.voices {
            if voice.is_pinned && voice.heard_since.is_none() {
                voice.heard_since = Some(now_us);
                change.heard.push(*id);
            }
        }
        // Unpinned ones, and those of a bound that holds at any time.
        while self.voices.values().filter(|voice| voice.heard_since.is_some() && !voice.is_pinned).count()
            > self.places
        {
            let Some(id) = self.quietest(now_us, 0) else { break };
            self.unhear(id, &mut change);
        }
        loop {
            let taken =
                self.voices.values().filter(|voice| voice.heard_since.is_some() && !voice.is_pinned).count();
            let is_free = taken < self.places;
            let Some(id) = self.loudest_unheard(is_free) else { break };
            if !is_free {
                let Some(place) = self.quietest(now_us, STAYS_US) else { break };
                if !self.yields(place, id) {
                    break;
                }
                self.unhear(place, &mut change);
            }
            if let Some(voice) = self.voices.get_mut(&id) {
                voice.heard_since = Some(now_us);
                change.heard.push(id);
            }
        }
        let taken = self.voices.values().filter(|voice| voice.heard_since.is_some() && !voice.is_pinned);
        self.is_full = taken.count() >= self.places;
        // Who came and went within one decision is no news.
        let both: Vec<_> = change.heard.iter().filter(|id| change.unheard.contains(id)).copied().collect();
        change.heard.retain(|id| !both.contains(id));
        change.unheard.retain(|id| !both.contains(id));
        change
    }

    /// Who has not told anything for a while is silent.
    fn silence(&mut self, now_us: u64) {
        for voice in self.voices.values_mut() {
            if now_us.saturating_sub(voice.told_at) > SILENT_US {
                voice.level = f32::from(AudioLevel::SILENCE.0);
                (voice.speaks_since, voice.dominates_since) = (None, None);
            }
        }
    }

    /// The new active speaker, if it is another.
    fn choose_active(&mut self, now_us: u64) -> Option<ParticipantId> {
        let before = self.active.and_then(|id| self.voices.get(&id));
        let level_to_beat =
            before.filter(|voice| voice.speaks()).map_or(f32::INFINITY, |voice| voice.level - CLEARLY);
        let is_contested = level_to_beat.is_finite();
        let mut best: Option<(f32, ParticipantId)> = None;
        for (id, voice) in &mut self.voices {
            if Some(*id) == self.active {
                voice.dominates_since = None;
                continue;
            }
            if !voice.speaks() || voice.level > level_to_beat {
                voice.dominates_since = None;
                continue;
            }
            voice.dominates_since.get_or_insert(now_us);
            let since = if is_contested { voice.dominates_since } else { voice.speaks_since };
            let needed = if is_contested { TAKES_SPEAKING_US } else { TAKES_SILENT_US };
            let is_long_enough = since.is_some_and(|since| now_us.saturating_sub(since) >= needed);
            if is_long_enough && best.is_none_or(|(level, _)| voice.level < level) {
                best = Some((voice.level, *id));
            }
        }
        let (_, id) = best?;
        self.active = Some(id);
        Some(id)
    }

    /// Who speaks and is not heard; with `or_silent` also who does not speak.
    fn loudest_unheard(&self, or_silent: bool) -> Option<ParticipantId> {
        let waiting = |voice: &Voice| voice.heard_since.is_none() && (or_silent || voice.speaks());
        let waiting = self.voices.iter().filter(|(_, voice)| waiting(voice));
        waiting.min_by(|(_, a), (_, b)| a.level.total_cmp(&b.level)).map(|(id, _)| *id)
    }

    /// Whose place is taken first: who has been silent for longest, else the quietest that is heard for `stays_us` at least.
    fn quietest(&self, now_us: u64, stays_us: u64) -> Option<ParticipantId> {
        let heard = self.voices.iter().filter_map(|(id, voice)| {
            let since = voice.heard_since.filter(|_| !voice.is_pinned)?;
            let may_go = !voice.speaks() || now_us.saturating_sub(since) >= stays_us;
            may_go.then_some((id, voice))
        });
        heard
            .min_by(|(_, a), (_, b)| {
                let silent_first = a.speaks().cmp(&b.speaks());
                let order = match a.speaks() {
                    true => b.level.total_cmp(&a.level),
                    false => a.spoke_at.cmp(&b.spoke_at),
                };
                silent_first.then(order)
            })
            .map(|(id, _)| *id)
    }

    /// Whether `place` is given to `other`, who speaks.
    fn yields(&self, place: ParticipantId, other: ParticipantId) -> bool {
        match (self.voices.get(&place), self.voices.get(&other)) {
            (Some(place), Some(other)) => !place.speaks() || other.level + CLEARLY <= place.level,
            _ => false,
        }
    }

    fn unhear(&mut self, id: ParticipantId, change: &mut SpeakersChange) {
        if let Some(voice) = self.voices.get_mut(&id) {
            voice.heard_since = None;
            change.unheard.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK_US: u64 = INTERVAL_US;
    const LOUD: AudioLevel = AudioLevel::new(20);
    const QUIET: AudioLevel = AudioLevel::new(38);

    fn id(number: u8) -> ParticipantId {
        ParticipantId::from_bytes([number; 16])
    }

    /// Ten reports per second.
    struct Room {
        speakers: Speakers,
        now_us: u64,
    }

    impl Room {
        fn new(places: usize) -> Self {
            Self { speakers: Speakers::new(places), now_us: 1_000_000 }
        }

        /// Everybody named tells the same level for `ticks`; says who became active, in order.
        fn speak(&mut self, voices: &[(u8, AudioLevel)], ticks: u64) -> Vec<ParticipantId> {
            let mut active = Vec::new();
            for _ in 0..ticks {
                for (number, level) in voices {
                    active.extend(self.speakers.tell(id(*number), *level, self.now_us).active);
                }
                self.now_us += TICK_US;
                active.extend(self.speakers.pass(self.now_us).active);
            }
            active
        }

        fn heard(&self) -> Vec<ParticipantId> {
            self.speakers.heard().into_iter().collect()
        }
    }

    #[test]
    fn who_begins_to_speak_is_heard_at_once_and_active_soon() {
        let mut room = Room::new(2);
        let change = room.speakers.tell(id(1), LOUD, room.now_us);
        assert_eq!(change.heard, [id(1)]);
        assert_eq!(room.speak(&[(1, LOUD)], 2), []);
        assert_eq!(room.speak(&[(1, LOUD)], 2), [id(1)]);
        assert_eq!(room.speakers.active(), Some(id(1)));
        // Silence changes nothing.
        assert_eq!(room.speak(&[(1, AudioLevel::SILENCE)], 50), []);
        assert_eq!(room.speakers.active(), Some(id(1)));
    }

    #[test]
    fn while_there_are_places_the_quiet_are_heard_too() {
        let mut room = Room::new(2);
        let soft = AudioLevel::new(60);
        assert_eq!(room.speakers.tell(id(1), soft, room.now_us).heard, [id(1)]);
        assert_eq!(room.speakers.tell(id(2), AudioLevel::SILENCE, room.now_us).heard, [id(2)]);
        assert_eq!(
            room.speakers.tell(id(3), soft, room.now_us).heard,
            [],
            "nobody gives its place to silence"
        );
        assert_eq!(room.speak(&[(1, soft), (2, soft), (3, soft)], 20), [], "nobody speaks");
        assert_eq!(room.heard(), [id(1), id(2)]);
        assert_eq!(room.speakers.remove(id(1), room.now_us).heard, [id(3)]);
    }

    #[test]
    fn a_cough_is_heard_and_changes_no_layout() {
        let mut room = Room::new(2);
        room.speak(&[(1, LOUD)], 10);
        assert_eq!(room.speak(&[(1, LOUD), (2, AudioLevel::new(5))], 2), []);
        assert_eq!(room.speak(&[(1, LOUD), (2, AudioLevel::SILENCE)], 20), []);
        assert_eq!(room.speakers.active(), Some(id(1)));
        assert_eq!(room.heard(), [id(1), id(2)]);
    }

    #[test]
    fn the_louder_takes_over_after_a_while_and_equals_do_not_flicker() {
        let mut room = Room::new(2);
        room.speak(&[(1, QUIET)], 10);
        assert_eq!(room.speak(&[(1, QUIET), (2, QUIET)], 100), []);
        assert_eq!(room.speak(&[(1, QUIET), (2, LOUD)], 20), [id(2)]);
        assert_eq!(room.speak(&[(1, QUIET), (2, LOUD)], 50), []);
        // The other way round it takes as long.
        assert_eq!(room.speak(&[(1, AudioLevel::new(5)), (2, LOUD)], 20), [id(1)]);
    }

    #[test]
    fn places_go_from_the_silent_to_those_who_speak() {
        let mut room = Room::new(2);
        room.speak(&[(1, LOUD)], 5);
        room.speak(&[(2, LOUD)], 5);
        assert_eq!(room.heard(), [id(1), id(2)]);
        room.speak(&[(1, AudioLevel::SILENCE), (2, LOUD)], 15);
        let change = room.speakers.tell(id(3), LOUD, room.now_us);
        assert_eq!((change.heard, change.unheard), (vec![id(3)], vec![id(1)]));
        // All places speak: an equal waits, somebody clearly louder does not.
        room.speak(&[(2, QUIET), (3, QUIET)], 30);
        room.speak(&[(2, QUIET), (3, QUIET), (4, QUIET)], 20);
        assert_eq!(room.heard(), [id(2), id(3)]);
        room.speak(&[(2, QUIET), (3, QUIET), (4, LOUD)], 20);
        assert_eq!(room.heard().len(), 2);
        assert!(room.heard().contains(&id(4)));
    }

    #[test]
    fn the_pinned_are_heard_beside_the_places() {
        let mut room = Room::new(1);
        assert_eq!(room.speakers.pin(id(9), true, room.now_us).heard, [id(9)]);
        room.speak(&[(1, LOUD)], 30);
        assert_eq!(room.heard(), [id(1), id(9)]);
        let change = room.speakers.pin(id(9), false, room.now_us);
        assert_eq!(change.unheard, [id(9)]);
        assert_eq!(room.speakers.remove(id(1), room.now_us).unheard, [id(1)]);
        assert_eq!(room.speakers.active(), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Tell(u8, u32),
        Pin(u8, bool),
        Remove(u8),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..8_u8, 0..140_u32).prop_map(|(who, level)| Step::Tell(who, level)),
            1 => (0..8_u8, any::<bool>()).prop_map(|(who, pinned)| Step::Pin(who, pinned)),
            1 => (0..8_u8).prop_map(Step::Remove),
            3 => (0..1_500_000_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_changes_add_up_and_bounds_hold(
            places in 0..4_usize,
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut speakers = Speakers::new(places);
            let (mut now_us, mut heard, mut pinned) = (0, BTreeSet::new(), BTreeSet::new());
            let mut last_active = None;
            for step in steps {
                let change = match step {
                    Step::Tell(who, level) => speakers.tell(id(who), AudioLevel::new(level), now_us),
                    Step::Pin(who, is_pinned) => {
                        if is_pinned { pinned.insert(id(who)); } else { pinned.remove(&id(who)); }
                        speakers.pin(id(who), is_pinned, now_us)
                    }
                    Step::Remove(who) => {
                        pinned.remove(&id(who));
                        let change = speakers.remove(id(who), now_us);
                        prop_assert_ne!(speakers.active(), Some(id(who)));
                        change
                    }
                    Step::Pass(us) => {
                        now_us += us;
                        speakers.pass(now_us)
                    }
                };
                for id in &change.unheard {
                    prop_assert!(heard.remove(id), "was heard");
                }
                for id in &change.heard {
                    prop_assert!(heard.insert(*id), "was not heard");
                }
                prop_assert_eq!(&heard, &speakers.heard());
                prop_assert!(heard.difference(&pinned).count() <= places);
                prop_assert!(pinned.is_subset(&heard));
                if let Some(id) = change.active {
                    prop_assert_ne!(Some(id), last_active, "is news");
                    prop_assert_eq!(speakers.active(), Some(id));
                }
                last_active = speakers.active();
            }
        }
    }
}
