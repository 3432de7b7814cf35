//! Audio levels that participants tell: who is forwarded, and who is the active speaker.

use std::collections::BTreeMap;

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::envelope::Message;
use pb::{ErrorCode, StreamType};

use super::speakers::{AudioLevel, Speakers, SpeakersChange};
use super::{Meeting, Refusal, parse_stream_id};

/// Levels in one message.
const MAX_LEVELS: usize = 16;

/// Who has told nothing for so long is forwarded as those are who never tell: it may have stopped measuring.
const TELLS_US: u64 = 5_000_000;

/// The voices of a meeting.
#[derive(Debug)]
pub(super) struct Voices {
    speakers: Speakers,
    /// Who tells how loud it is, and when it last did.
    tell: BTreeMap<ParticipantId, u64>,
    /// Who is the active speaker and who was it before, the latest first.
    recent: Vec<ParticipantId>,
    /// Whether only some are forwarded.
    is_limited: bool,
    /// The latest time that was said.
    now_us: u64,
}

impl Voices {
    /// `heard` are forwarded at one time, of those who tell how loud they are; 0 is all of them.
    pub(super) fn new(heard: usize) -> Self {
        Self {
            speakers: Speakers::new(heard),
            tell: BTreeMap::new(),
            recent: Vec::new(),
            is_limited: heard > 0,
            now_us: 0,
        }
    }

    /// The active speaker.
    pub(super) fn active(&self) -> Option<ParticipantId> {
        self.speakers.active()
    }

    /// Who is the active speaker and who was it before, the latest first.
    pub(super) fn recent(&self) -> &[ParticipantId] {
        &self.recent
    }

    /// Whether the audio of a participant is forwarded, as far as its loudness decides it.
    pub(super) fn is_heard(&self, id: ParticipantId) -> bool {
        !self.is_limited || !self.tell.contains_key(&id) || self.speakers.is_heard(id)
    }
}

impl Meeting {
    /// A participant tells how loud its audio streams are.
    ///
    /// # Errors
    /// If one of them is not an audio stream of its own.
    pub fn tell_levels(
        &mut self,
        by: ParticipantId,
        request: &pb::AudioLevels,
        now_us: u64,
    ) -> Result<(), Refusal> {
        let publisher = self.participant(by)?;
        if request.levels.len() > MAX_LEVELS {
            let message = format!("a message tells at most {MAX_LEVELS} levels");
            return Err(Refusal::field(ErrorCode::InvalidRequest, "levels", message));
        }
        if request.levels.is_empty() {
            // Of nothing: it takes no place among those who tell.
            return Ok(());
        }
        let mut loudest = AudioLevel::SILENCE;
        for told in &request.levels {
            let stream_id = parse_stream_id(&told.stream_id)?;
            let stream = publisher.streams.get(&stream_id);
            if stream.is_none_or(|stream| stream.stream_type != StreamType::Audio) {
                let message = format!("you publish no audio stream {stream_id}");
                return Err(Refusal::field(ErrorCode::NotFound, "stream_id", message));
            }
            loudest = loudest.min(AudioLevel::new(told.level));
        }
        if publisher.state.audio_muted {
            loudest = AudioLevel::SILENCE;
        }
        let voices = &mut self.voices;
        voices.now_us = voices.now_us.max(now_us);
        let now_us = voices.now_us;
        let is_new = voices.tell.insert(by, now_us).is_none();
        let change = voices.speakers.tell(by, loudest, now_us);
        self.follow(change, is_new.then_some(by));
        Ok(())
    }

    /// Time has passed. Who has told nothing for a while is forwarded like those who never tell.
    pub(super) fn pass_voices(&mut self, now_us: u64) {
        let voices = &mut self.voices;
        voices.now_us = voices.now_us.max(now_us);
        let now_us = voices.now_us;
        let fell_silent = voices.tell.extract_if(.., |_, told_at| now_us - *told_at > TELLS_US);
        let fell_silent: Vec<ParticipantId> = fell_silent.map(|(id, _)| id).collect();
        fell_silent.iter().for_each(|id| voices.speakers.forget(*id));
        let change = voices.speakers.pass(now_us);
        self.follow(change, fell_silent);
    }

    /// Tells a participant who is the active speaker, if anybody is that it sees.
    pub(super) fn tell_active_speaker_to(&mut self, id: ParticipantId) {
        let Some(active) = self.voices.active() else { return };
        if self.visible_to(id).any(|seen| seen == active) {
            let changed = pb::ActiveSpeakerChanged { participant_id: active.to_string() };
            self.tell_each([id], Message::ActiveSpeakerChanged(changed));
        }
    }

    /// Somebody is heard whatever its loudness, or no longer.
    pub(super) fn pin_voice(&mut self, id: ParticipantId, is_pinned: bool) {
        let now_us = self.voices.now_us;
        let voices = &mut self.voices;
        let change = voices.speakers.pin(id, is_pinned, now_us);
        self.follow(change, None);
        if !is_pinned && !self.voices.tell.contains_key(&id) {
            // It is forwarded without a place.
            self.voices.speakers.forget(id);
            let change = self.voices.speakers.pass(now_us);
            self.follow(change, None);
        }
    }

    /// Somebody is gone, with its streams.
    pub(super) fn forget_voice(&mut self, id: ParticipantId) {
        self.voices.tell.remove(&id);
        let recent = &mut self.voices.recent;
        if let Some(place) = recent.iter().position(|spoke| *spoke == id) {
            recent.remove(place);
            self.prominence_changed();
        }
        let now_us = self.voices.now_us;
        let change = self.voices.speakers.remove(id, now_us);
        self.follow(change, None);
    }

    fn follow(&mut self, change: SpeakersChange, others: impl IntoIterator<Item = ParticipantId>) {
        let SpeakersChange { active, heard, unheard } = change;
        for id in unheard.into_iter().chain(heard).chain(others) {
            self.forward_all(id, StreamType::Audio);
        }
        if let Some(active) = active {
            self.voices.recent.retain(|spoke| *spoke != active);
            self.voices.recent.insert(0, active);
            self.prominence_changed();
            let changed = pb::ActiveSpeakerChanged { participant_id: active.to_string() };
            self.tell_others(active, Message::ActiveSpeakerChanged(changed.clone()));
            self.tell_each([active], Message::ActiveSpeakerChanged(changed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use darktower_protocol::StreamId;

    use super::super::tests::{events_to, join, meeting, outputs, participant, publish_request, stream};
    use super::super::{MediaCommand, MeetingLimits, Output};
    use super::*;

    fn levels(n: u8, level: u32) -> pb::AudioLevels {
        pb::AudioLevels { levels: vec![pb::AudioLevel { stream_id: stream(n).to_string(), level }] }
    }

    /// Which streams are not forwarded after these outputs.
    fn follow(shut: &mut BTreeSet<StreamId>, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Media(MediaCommand::Forward { wire_stream_id, is_forwarded: true }) => {
                    shut.remove(wire_stream_id);
                }
                Output::Media(MediaCommand::Forward { wire_stream_id, is_forwarded: false }) => {
                    shut.insert(*wire_stream_id);
                }
                _ => {}
            }
        }
    }

    /// Two of them are heard at one time.
    fn six_with_audio() -> Meeting {
        let mut meeting = meeting(MeetingLimits { heard_participants: 2, ..MeetingLimits::default() });
        for n in 1..=6 {
            join(&mut meeting, n);
            meeting.publish(participant(n), publish_request(n, StreamType::Audio)).expect("published");
        }
        meeting
    }

    #[test]
    fn the_loudest_are_forwarded_and_those_who_tell_nothing_always() {
        let mut meeting = six_with_audio();
        let mut shut = BTreeSet::new();
        // Five who tell, one who does not, one who listens.
        join(&mut meeting, 7);
        for n in 1..=6 {
            let request = pb::SubscribeStream { stream_id: stream(n).to_string(), options: None };
            meeting.subscribe(participant(7), &request).expect("subscribed");
        }
        let mut active = Vec::new();
        for tick in 0..50_u64 {
            for n in 1..=5 {
                // Two speak.
                let level = if n == 2 || n == 4 { 20 + u32::from(n) } else { 110 };
                meeting.tell_levels(participant(n), &levels(n, level), tick * 100_000).expect("told");
            }
            let outputs = outputs(&mut meeting);
            follow(&mut shut, &outputs);
            active.extend(events_to(&outputs, 7).into_iter().filter_map(|event| match event {
                Message::ActiveSpeakerChanged(changed) => Some(changed.participant_id.clone()),
                _ => None,
            }));
        }
        let heard = |shut: &BTreeSet<StreamId>| -> Vec<u8> {
            (1..=6).filter(|n| !shut.contains(&stream(*n))).collect()
        };
        assert_eq!(heard(&shut), [2, 4, 6]);
        assert_eq!(active.last(), Some(&participant(2).to_string()), "{active:?}");

        // Who begins to speak when somebody stops is heard at once.
        for tick in 50..80_u64 {
            for n in 1..=5 {
                let level = if n == 2 || n == 5 { 20 } else { 127 };
                meeting.tell_levels(participant(n), &levels(n, level), tick * 100_000).expect("told");
            }
            follow(&mut shut, &outputs(&mut meeting));
        }
        assert_eq!(heard(&shut), [2, 5, 6]);
        // Somebody who comes is told who speaks.
        join(&mut meeting, 8);
        let told = outputs(&mut meeting);
        let [Message::ActiveSpeakerChanged(changed)] = &events_to(&told, 8)[..] else { panic!("{told:?}") };
        assert_eq!(changed.participant_id, participant(2).to_string());

        // Who tells nothing any more is forwarded as those are who never told, whatever others do.
        meeting.pass_voices(12_000_000);
        follow(&mut shut, &outputs(&mut meeting));
        assert_eq!(heard(&shut), [2, 5, 6], "not yet");
        meeting.pass_voices(13_000_000);
        follow(&mut shut, &outputs(&mut meeting));
        assert_eq!(heard(&shut), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn places_are_for_those_who_tell() {
        let mut meeting = six_with_audio();
        let mut shut = BTreeSet::new();
        // Who tells of nothing tells nothing.
        for n in [1, 2] {
            meeting.tell_levels(participant(n), &pb::AudioLevels::default(), 1).expect("told");
        }
        for n in [3, 4] {
            meeting.tell_levels(participant(n), &levels(n, 60), 1).expect("told");
        }
        follow(&mut shut, &outputs(&mut meeting));
        assert_eq!(shut, BTreeSet::new(), "there are places, however quiet they are");
        // Both stop, and leave their places to who tells now.
        meeting.pass_voices(6_000_000);
        meeting.tell_levels(participant(5), &levels(5, 60), 6_100_000).expect("told");
        follow(&mut shut, &outputs(&mut meeting));
        assert_eq!(shut, BTreeSet::new());
        // One that was in the spotlight and never told anything leaves none taken.
        for spotlight in [true, false] {
            meeting.pin_voice(participant(1), spotlight);
        }
        meeting.tell_levels(participant(6), &levels(6, 60), 6_200_000).expect("told");
        follow(&mut shut, &outputs(&mut meeting));
        assert_eq!(shut, BTreeSet::new());
    }

    #[test]
    fn levels_are_of_ones_own_audio() {
        let mut meeting = meeting(MeetingLimits::default());
        join(&mut meeting, 1);
        join(&mut meeting, 2);
        meeting.publish(participant(1), publish_request(1, StreamType::VideoCamera)).expect("published");
        meeting.publish(participant(2), publish_request(2, StreamType::Audio)).expect("published");
        outputs(&mut meeting);
        for n in [1, 2, 3] {
            let refused = meeting.tell_levels(participant(1), &levels(n, 10), 1).expect_err("not its audio");
            assert_eq!(refused.code, ErrorCode::NotFound);
        }
        let many = pb::AudioLevels { levels: vec![pb::AudioLevel::default(); MAX_LEVELS + 1] };
        assert!(meeting.tell_levels(participant(2), &many, 1).is_err());
        assert!(meeting.tell_levels(participant(3), &levels(2, 10), 1).is_err(), "nobody");
        assert_eq!(outputs(&mut meeting), []);
    }
}
