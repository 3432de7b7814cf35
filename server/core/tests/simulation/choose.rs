//! What happens next, and what goes wrong.

use std::time::Duration;

use darktower_core::media::IngressCount;
use darktower_core::meeting::WaitingRoom;
use darktower_core::meeting::quality::{EgressSample, IngressSample, MediaSample, PathSample};
use darktower_protocol::signaling::pb;
use darktower_protocol::{ParticipantId, StreamId};
use pb::StreamType;
use pb::stage_request::Action;

use crate::model::Person;
use crate::ops::{AutoOptions, NAMES, Name, Op, Shape, Which, Whom};
use crate::random::Random;
use crate::world::{PRESETS, SLOTS, STREAMS, World, participant, stream};

/// Never here.
const NOBODY: ParticipantId = ParticipantId::from_bytes([0xee; 16]);
/// Never published.
const NO_STREAM: StreamId = StreamId::from_bytes([0xee; 16]);

/// Every fault that must have happened once before a simulation says anything.
pub(crate) const FAULTS: &[&str] = &[
    "an event is lost",
    "more was missed than is kept",
    "a second session of somebody who is here",
    "a request is repeated",
    "more changes than one may make",
    "a request of somebody who is not here",
    "the id of nobody",
    "the id of somebody who is not here",
    "a malformed id",
    "a malformed stream",
    "an unknown type of stream",
    "a stale session ends",
    "a stale session comes back",
    "a stale session is silent",
    "an old number of the last event",
    "a number of an event that never was",
];

const KINDS: [StreamType; 3] = [StreamType::Audio, StreamType::VideoCamera, StreamType::VideoScreen];

impl World {
    pub(crate) fn choose(&mut self) -> Op {
        if self.random.percent(3)
            && let Some((_, last)) = self.trace.back()
        {
            let again = last.clone();
            self.tally.fault("a request is repeated");
            return again;
        }
        if self.model.here.len() < 3 && self.random.percent(40) {
            return Op::Knock { who: self.slot() };
        }
        match self.random.below(100) {
            0..22 => self.choose_presence(),
            22..50 => self.choose_media(),
            50..57 => self.choose_update(),
            57..84 => self.choose_control(),
            84..98 => self.choose_message(),
            _ => self.choose_rare(),
        }
    }

    fn choose_presence(&mut self) -> Op {
        match self.random.below(25) {
            0..5 => Op::Knock { who: self.slot() },
            5..8 => match self.let_in.first() {
                Some(who) => Op::Enter { who: *who },
                None => Op::Knock { who: self.slot() },
            },
            8 => {
                let waiting: Vec<ParticipantId> = self.model.waiting.iter().copied().collect();
                let who = if waiting.is_empty() { self.slot() } else { self.random.one_of(&waiting) };
                Op::GiveUpWaiting { who }
            }
            9..11 => self.choose_end(false),
            11..14 => self.choose_end(true),
            14 => Op::Deafen { who: self.somebody() },
            15..19 => self.choose_resume(),
            19..22 => self.choose_silence(),
            _ => Op::Time { ms: self.random.one_of(&[10, 500, 3_000, 20_000]) },
        }
    }

    /// A session ends, maybe one that has ended before.
    fn choose_end(&mut self, is_lost: bool) -> Op {
        let old = self.random.percent(15).then(|| self.random.below(self.old_epochs.len()));
        let here: Vec<_> = self.model.here.iter().map(|(id, person)| (*id, person.epoch)).collect();
        let (who, epoch) = match old.and_then(|index| self.old_epochs.get(index)) {
            Some(old) => {
                let old = *old;
                self.tally.fault("a stale session ends");
                old
            }
            None if here.is_empty() => return Op::Knock { who: self.slot() },
            None => self.random.one_of(&here),
        };
        if is_lost { Op::Disconnect { who, epoch } } else { Op::Leave { who, epoch } }
    }

    /// A session falls silent or is heard again, maybe one that has ended before.
    fn choose_silence(&mut self) -> Op {
        let is_silent = self.random.coin();
        if self.random.percent(15) && !self.old_epochs.is_empty() {
            let (who, epoch) = self.random.one_of(&self.old_epochs);
            self.tally.fault("a stale session is silent");
            return Op::Silence { who, epoch, is_silent };
        }
        let here = self.model.here.iter().filter(|(_, person)| person.is_silent != is_silent);
        let here: Vec<_> = here.map(|(id, person)| (*id, person.epoch)).collect();
        if here.is_empty() {
            return Op::Knock { who: self.slot() };
        }
        let (who, epoch) = self.random.one_of(&here);
        Op::Silence { who, epoch, is_silent }
    }

    fn choose_resume(&mut self) -> Op {
        if self.random.percent(15) && !self.old_epochs.is_empty() {
            let (who, epoch) = self.random.one_of(&self.old_epochs);
            self.tally.fault("a stale session comes back");
            return Op::Resume { who, epoch, seen: 0 };
        }
        let clients = self.clients.iter().filter(|(_, client)| !client.connected);
        let mut absent: Vec<ParticipantId> = clients.map(|(id, _)| *id).collect();
        if absent.is_empty() {
            absent.extend(self.model.here.keys());
        }
        if absent.is_empty() {
            return Op::Knock { who: self.slot() };
        }
        let who = self.random.one_of(&absent);
        let Some((client, person)) = self.clients.get(&who).zip(self.model.here.get(&who)) else {
            return Op::Knock { who };
        };
        let (epoch, sent, seen) = (person.epoch, client.sent, client.seen);
        let seen = match self.random.below(10) {
            0..2 if seen > 0 => {
                self.tally.fault("an old number of the last event");
                self.random.below(seen as usize) as u64
            }
            2 => {
                self.tally.fault("a number of an event that never was");
                sent + self.random.one_of(&[1_u64, 2, 1_000])
            }
            _ => seen,
        };
        Op::Resume { who, epoch, seen }
    }

    /// What a media handler saw of those who are here, and maybe of somebody who is not any more.
    fn choose_samples(&mut self) -> Vec<MediaSample> {
        let here: Vec<ParticipantId> = self.model.here.keys().copied().collect();
        let mut samples = Vec::new();
        for who in here.into_iter().chain([self.slot()]) {
            if samples.iter().any(|sample: &MediaSample| sample.participant == who) || self.random.percent(20)
            {
                continue;
            }
            let person = self.model.here.get(&who);
            let layers = |person: &Person| {
                let layers = person.streams.values().flat_map(|stream| &stream.layers);
                layers.map(|layer| layer.wire_id).collect::<Vec<_>>()
            };
            let published = person.map(layers).unwrap_or_default();
            let wanted: Vec<StreamId> = person
                .map(|person| person.wants.values().map(|want| want.wire_id).collect())
                .unwrap_or_default();
            let sent_packets = self.random.below(200) as u64;
            let path = PathSample {
                interval: Duration::from_millis(self.random.one_of(&[1_000, 1_000, 1_000, 20, 1_400])),
                rtt: Duration::from_millis(self.random.one_of(&[1, 40, 300, 2_000])),
                sent_packets,
                lost_packets: sent_packets * self.random.one_of(&[0, 0, 0, 5, 20, 100]) / 100,
                available_bps: self.random.one_of(&[0, 100_000, 1_000_000, 50_000_000]),
            };
            let count = |random: &mut Random| IngressCount {
                units: random.below(50) as u64,
                bytes: random.below(200_000) as u64,
                missing: random.one_of(&[0, 0, 0, 3, 50]),
                jitter: Duration::from_millis(random.below(60) as u64),
            };
            let sample = |random: &mut Random, wire_stream_id| IngressSample {
                wire_stream_id,
                is_audio: random.below(2) == 0,
                count: count(random),
            };
            let published = published.into_iter().map(|wire_id| sample(&mut self.random, wire_id)).collect();
            let other = wanted.first().copied();
            let egress = |random: &mut Random, wanted| EgressSample {
                wanted,
                layer: other.filter(|_| random.below(4) == 0).unwrap_or(wanted),
                bytes: random.below(200_000) as u64,
                dropped: random.one_of(&[0, 0, 0, 1]),
            };
            let received = wanted.into_iter().map(|wanted| egress(&mut self.random, wanted)).collect();
            samples.push(MediaSample { participant: who, path, published, received });
        }
        samples
    }

    fn choose_media(&mut self) -> Op {
        match self.random.below(42) {
            28..33 => Op::Observe { samples: self.choose_samples() },
            33 => Op::Measure {
                by: self.somebody(),
                stream: self.some_stream(),
                loss: self.random.one_of(&[0.0, 0.02, 1.0, -0.5, f32::NAN]),
            },
            34..38 => self.choose_auto(),
            38.. => self.choose_talk(),
            0..8 => {
                let by = self.somebody();
                let kind = self.random.one_of(&KINDS);
                let shape = match self.random.below(10) {
                    0 => {
                        self.tally.fault("a malformed stream");
                        Shape::Malformed
                    }
                    1 => Shape::Explicit(stream(self.random.below(STREAMS))),
                    2..6 if kind == StreamType::VideoCamera => Shape::Simulcast,
                    _ => Shape::Plain,
                };
                let stream = match self.random.below(20) {
                    0 => self.malformed(),
                    _ => Name::One(stream(self.random.below(STREAMS))),
                };
                Op::Publish { by, stream, kind, shape }
            }
            8..11 => {
                let by = self.somebody();
                Op::Unpublish { by, stream: self.stream_of(by) }
            }
            11..24 => Op::Subscribe {
                by: self.somebody(),
                stream: self.some_stream(),
                preferred: self.random.one_of(&["", "", "low", "high", "nothing"]),
                max_bitrate: self.random.one_of(&[0, 0, 50_000, 600_000]),
            },
            _ => {
                let by = self.somebody();
                let wants = self.model.here.get(&by).map(|person| &person.wants);
                let wants: Vec<StreamId> = wants.into_iter().flatten().map(|(stream, _)| *stream).collect();
                let is_wanted = !wants.is_empty() && self.random.percent(70);
                let stream =
                    if is_wanted { Name::One(self.random.one_of(&wants)) } else { self.some_stream() };
                Op::Unsubscribe { by, stream }
            }
        }
    }

    fn choose_auto(&mut self) -> Op {
        let by = self.somebody();
        if self.random.percent(15) {
            return Op::SubscribeAuto { by, options: None };
        }
        let kinds = self.random.one_of(&[0, 0, 0, 1, 2]);
        let kinds = (0..kinds).map(|_| Some(self.random.one_of(&KINDS)));
        let mut kinds: Vec<Option<StreamType>> = kinds.collect();
        if self.random.percent(3) {
            self.tally.fault("an unknown type of stream");
            kinds.push(None);
        }
        let pins = self.random.one_of(&[0, 0, 1, 2]);
        let pinned = (0..pins).map(|_| self.whom()).collect();
        let options = AutoOptions {
            kinds,
            max_video: self.random.one_of(&[0, 1, 1, 2, 3]),
            preferred: self.random.one_of(&["", "", "low", "high"]),
            max_bitrate: self.random.one_of(&[0, 0, 600_000]),
            pinned,
        };
        Op::SubscribeAuto { by, options: Some(options) }
    }

    /// Some of those who publish audio say how loud they are, for a moment or for a second and a half; at times somebody who
    /// publishes none.
    fn choose_talk(&mut self) -> Op {
        let audio = self.model.here.iter().flat_map(|(id, person)| {
            let streams = person.streams.iter().filter(|(_, stream)| stream.kind == StreamType::Audio);
            streams.map(|(stream, _)| (*id, *stream))
        });
        let audio: Vec<(ParticipantId, StreamId)> = audio.collect();
        let count = 1 + self.random.below(3);
        let mut voices = Vec::new();
        for _ in 0..count {
            let (by, stream) = if audio.is_empty() || self.random.percent(5) {
                (self.somebody(), self.some_stream())
            } else {
                let (by, stream) = self.random.one_of(&audio);
                (by, Name::One(stream))
            };
            voices.push((by, stream, self.random.one_of(&[15, 25, 40, 60, 127, 1_000])));
        }
        Op::Talk { voices, reports: self.random.one_of(&[1, 5, 15]) }
    }

    fn choose_update(&mut self) -> Op {
        if self.random.percent(25) {
            let (by, whom) = (self.controller(), self.whom());
            return Op::Update { by, whom, name: self.random.below(NAMES.len()), state: None, change: None };
        }
        let by = self.somebody();
        let whom = if self.random.percent(70) { Name::Empty } else { Name::One(by) };
        let state = self.random.percent(80).then(|| pb::ParticipantState {
            audio_muted: self.random.coin(),
            video_on: self.random.coin(),
            screen_sharing: self.random.coin(),
            hand_raised: self.random.coin(),
        });
        let random = &mut self.random;
        let mut some = || random.percent(40).then(|| random.coin());
        let change = pb::StateChange {
            audio_muted: some(),
            video_on: some(),
            screen_sharing: some(),
            hand_raised: some(),
        };
        let change = self.random.coin().then_some(change);
        // A name that is not changed, more often than not: most may not.
        let name = if self.random.percent(70) { 0 } else { self.random.below(NAMES.len()) };
        Op::Update { by, whom, name, state, change }
    }

    fn choose_control(&mut self) -> Op {
        let by = self.controller();
        match self.random.below(27) {
            0..5 => {
                let kind = match self.random.below(20) {
                    0 => {
                        self.tally.fault("an unknown type of stream");
                        None
                    }
                    _ => Some(self.random.one_of(&KINDS)),
                };
                Op::Mute { by, whom: self.whom_or_all(), kind }
            }
            5 => Op::Lock { by, locked: self.random.percent(30) },
            6 => {
                // Everybody is more than a meeting bears often.
                let whom = if self.random.percent(10) { Name::Empty } else { self.whom() };
                Op::Kick { by, whom }
            }
            7..10 => {
                let is_host = |index: &usize| PRESETS[*index].name.ends_with("_host");
                let hosts: Vec<usize> = (0..PRESETS.len()).filter(is_host).collect();
                let any = self.random.below(PRESETS.len());
                let preset = if self.random.percent(40) { self.random.one_of(&hosts) } else { any };
                Op::SetPreset { by, whom: self.whom(), preset }
            }
            10..19 => self.choose_stage(by),
            19..22 => Op::Admit { by, whom: self.who_waits(), admit: self.random.percent(60) },
            22..25 => Op::Spotlight { by, whom: self.whom(), on: self.random.percent(60) },
            _ => Op::LowerHands { by, whom: self.whom_or_all() },
        }
    }

    fn choose_stage(&mut self, by: ParticipantId) -> Op {
        let action = self.random.one_of(&[
            Action::Ask,
            Action::Ask,
            Action::Ask,
            Action::Approve,
            Action::Approve,
            Action::Deny,
            Action::Invite,
            Action::Remove,
            Action::Leave,
        ]);
        let here = self.model.here.iter();
        let may_ask: Vec<ParticipantId> =
            here.filter(|(_, person)| person.standing.may_ask_for_stage()).map(|(id, _)| *id).collect();
        let asking = self.model.asking.clone();
        match action {
            Action::Ask | Action::Leave => {
                let by = match self.likely(&may_ask) {
                    Some(by) => by,
                    None => self.somebody(),
                };
                Op::Stage { by, action, whom: Name::Empty }
            }
            Action::Approve | Action::Deny | Action::Invite | Action::Remove => {
                let is_answer = matches!(action, Action::Approve | Action::Deny);
                let whom = match self.likely(if is_answer { &asking } else { &may_ask }) {
                    Some(whom) => Name::One(whom),
                    None => self.whom(),
                };
                Op::Stage { by, action, whom }
            }
        }
    }

    fn choose_message(&mut self) -> Op {
        let by = self.somebody();
        let lines = self.model.lines.len();
        // Mostly a recent one, at times one that is not there.
        let line = (lines + 1).saturating_sub(self.random.below(8)) as u64;
        match self.random.below(14) {
            0..5 => {
                let to = if self.random.percent(50) { Name::Empty } else { self.whom() };
                Op::Write { by, to, is_blank: self.random.percent(5) }
            }
            5 => Op::Edit { by: self.author_or(line, by), line },
            6 => Op::Delete { by: self.author_or(line, by), line },
            7..9 => Op::Pin { by: self.controller(), line, pinned: self.random.percent(60) },
            9..11 => Op::History {
                by,
                with: self.whom_or_all(),
                before: self.random.one_of(&[0, 0, line]),
                limit: self.random.one_of(&[0, 1, 3, 60]),
                pinned_only: self.random.percent(20),
            },
            _ => {
                let receivers = self.random.one_of(&[0, 0, 1, 2, 3]);
                let to = (0..receivers).map(|_| self.whom()).collect();
                Op::Broadcast { by, to, is_reaction: self.random.coin() }
            }
        }
    }

    fn choose_rare(&mut self) -> Op {
        match self.random.below(20) {
            0..8 => Op::SetMaxParticipants { max: self.random.one_of(&[1, 3, 6, 100, 100]) },
            8..17 => {
                let waiting_room = self.random.one_of(&[
                    WaitingRoom::Off,
                    WaitingRoom::UntilHost,
                    WaitingRoom::Admission,
                    WaitingRoom::Admission,
                ]);
                Op::SetWaitingRoom { waiting_room }
            }
            17 => Op::Flood { by: self.somebody() },
            18 => Op::End { by: self.controller() },
            _ => Op::Clear,
        }
    }

    fn slot(&mut self) -> ParticipantId {
        participant(self.random.below(SLOTS))
    }

    /// Who sends a request: mostly somebody who is here.
    fn somebody(&mut self) -> ParticipantId {
        let here: Vec<ParticipantId> = self.model.here.keys().copied().collect();
        if !here.is_empty() && !self.random.percent(5) {
            return self.random.one_of(&here);
        }
        let who = self.slot();
        if !self.model.here.contains_key(&who) {
            self.tally.fault("a request of somebody who is not here");
        }
        who
    }

    /// Who sends a request that only hosts may send: mostly one of them.
    fn controller(&mut self) -> ParticipantId {
        let hosts = self.model.here.iter().filter(|(_, person)| person.standing.is_host);
        let hosts: Vec<ParticipantId> = hosts.map(|(id, _)| *id).collect();
        if hosts.is_empty() || self.random.percent(20) {
            return self.somebody();
        }
        self.random.one_of(&hosts)
    }

    /// Whom a request names: mostly somebody who is here.
    fn whom(&mut self) -> Whom {
        match self.random.below(40) {
            0 => self.malformed(),
            1 => {
                self.tally.fault("the id of nobody");
                Name::One(NOBODY)
            }
            2..6 => {
                let who = self.slot();
                if !self.model.here.contains_key(&who) {
                    self.tally.fault("the id of somebody who is not here");
                }
                Name::One(who)
            }
            _ => {
                let here: Vec<ParticipantId> = self.model.here.keys().copied().collect();
                Name::One(if here.is_empty() { NOBODY } else { self.random.one_of(&here) })
            }
        }
    }

    fn whom_or_all(&mut self) -> Whom {
        if self.random.percent(25) { Name::Empty } else { self.whom() }
    }

    fn who_waits(&mut self) -> Whom {
        let waiting: Vec<ParticipantId> = self.model.waiting.iter().copied().collect();
        if waiting.is_empty() || self.random.percent(30) {
            return self.whom_or_all();
        }
        Name::One(self.random.one_of(&waiting))
    }

    /// One of these, mostly.
    fn likely(&mut self, from: &[ParticipantId]) -> Option<ParticipantId> {
        let is_one = !from.is_empty() && self.random.percent(75);
        is_one.then(|| self.random.one_of(from))
    }

    /// A stream that is published, mostly.
    fn some_stream(&mut self) -> Which {
        let published = self.model.here.values().flat_map(|person| person.streams.keys());
        let published: Vec<StreamId> = published.copied().collect();
        match self.random.below(30) {
            0 => self.malformed(),
            1 => Name::One(NO_STREAM),
            2..5 => Name::One(stream(self.random.below(STREAMS))),
            _ if published.is_empty() => Name::One(NO_STREAM),
            _ => Name::One(self.random.one_of(&published)),
        }
    }

    /// One of its own streams, mostly.
    fn stream_of(&mut self, by: ParticipantId) -> Which {
        let own = self.model.here.get(&by).map(|person| person.streams.keys().copied());
        let own: Vec<StreamId> = own.into_iter().flatten().collect();
        if own.is_empty() || self.random.percent(20) {
            return self.some_stream();
        }
        Name::One(self.random.one_of(&own))
    }

    /// Who wrote a line, mostly.
    fn author_or(&mut self, line: u64, otherwise: ParticipantId) -> ParticipantId {
        let author = self.model.lines.iter().find(|found| found.id == line).map(|found| found.from);
        let author = author.filter(|author| self.model.here.contains_key(author));
        author.filter(|_| self.random.percent(60)).unwrap_or(otherwise)
    }

    fn malformed<Id>(&mut self) -> Name<Id> {
        self.tally.fault("a malformed id");
        Name::Malformed
    }
}
