//! One run: a meeting, its reference and its followers, and what happens to them.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use darktower_core::meeting::{
    Entry, Epoch, Identity, MediaCommand, Meeting, MeetingLimits, Output, Refusal, Resumed, Rights,
};
use darktower_core::preset::{MaxVideoStreams, Preset, Produce, RecorderType, shipped};
use darktower_protocol::signaling::pb;
use darktower_protocol::{MeetingId, ParticipantId, StreamId};
use pb::envelope::Message;
use pb::{ErrorCode, LeaveReason};

use crate::Checked;
use crate::attention::Voices;
use crate::choose::FAULTS;
use crate::followers::{Client, MediaHandler};
use crate::model::{Model, Standing};
use crate::ops::{KINDS, NAMES, Name, Op, Which, Whom};
use crate::random::Random;
use crate::records::Records;

/// Participants that there may be.
pub(crate) const SLOTS: usize = 8;
/// Streams that there may be: fewer than are asked for, so that ids collide.
pub(crate) const STREAMS: usize = 14;
/// Operations that a violation tells of.
const TOLD: usize = 20;
/// After so long everybody has been told how many there are.
const AUDIENCE_IS_KNOWN: Duration = Duration::from_secs(5);
/// More events than the meeting keeps for somebody who is away.
const FLOOD: usize = 260;

/// The shipped ones, and one that nobody sees.
pub(crate) static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let mut presets = shipped();
    let viewer = presets.iter().find(|preset| preset.name == "webinar_viewer").expect("it is shipped");
    let mut recorder = Preset { name: "recorder".to_owned(), ..viewer.clone() };
    recorder.permissions.hidden_participant = true;
    recorder.permissions.show_participant_list = true;
    recorder.permissions.is_recorder = true;
    // A machine that says something now and then, so that there is media of somebody whom nobody sees.
    recorder.permissions.media.audio.can_produce = Produce::Allowed;
    recorder.permissions.media.video.can_produce = Produce::Allowed;
    recorder.permissions.recorder_type = RecorderType::Recorder;
    presets.push(recorder);
    // They differ in how much video they allow, too.
    let limits = [(25, 6), (3, 1), (25, 0), (2, 2), (1, 6)];
    for (preset, (desktop, mobile)) in presets.iter_mut().zip(limits.into_iter().cycle()) {
        preset.config.max_video_streams = MaxVideoStreams { desktop, mobile };
    }
    presets
});

pub(crate) fn participant(slot: usize) -> ParticipantId {
    ParticipantId::from_bytes([slot as u8 + 1; 16])
}

pub(crate) fn stream(number: usize) -> StreamId {
    StreamId::from_bytes([0x80 | number as u8; 16])
}

/// What happened, over all runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    pub(crate) checks: u64,
    pub(crate) accepted: BTreeMap<&'static str, u64>,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.checks += other.checks;
        let pairs = [
            (&mut self.accepted, &other.accepted),
            (&mut self.refused, &other.refused),
            (&mut self.faults, &other.faults),
        ];
        for (sums, counts) in pairs {
            for (name, count) in counts {
                *sums.entry(*name).or_default() += *count;
            }
        }
    }

    /// What a simulation must have accepted, or done wrong, before it says anything.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never_accepted = KINDS.iter().filter(|name| !self.accepted.contains_key(*name));
        never_accepted.chain(FAULTS.iter().filter(|name| !self.faults.contains_key(*name))).copied().collect()
    }

    pub(crate) fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}

/// Something that must never be, and how it came to it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) seed: u64,
    pub(crate) what: String,
    step: u64,
    trace: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what, step, trace } = self;
        writeln!(f, "seed {seed}, step {step}: {what}")?;
        writeln!(f, "the last operations were:\n{trace}")?;
        write!(f, "once more: DARKTOWER_SIM_FIRST_SEED={seed} DARKTOWER_SIM_SEEDS=1")
    }
}

/// Runs one seed; panics of the meeting are violations, too.
pub(crate) fn run(seed: u64, start: Instant, tally: &mut Tally) -> Result<(), Violation> {
    let mut world = World::new(seed, start);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    world.tally.seeds = 1;
    tally.add(&world.tally);
    let what = match ran {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(what)) => what,
        Err(panic) => format!("it panicked: {}", text_of(&*panic)),
    };
    let lines: Vec<String> = world.trace.iter().map(|(step, op)| format!("  {step:>3} {op:?}")).collect();
    Err(Violation { seed, what, step: world.tally.steps, trace: lines.join("\n") })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

/// Who heard something because of one operation.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) chat: Vec<ParticipantId>,
    pub(crate) broadcast: Vec<ParticipantId>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) model: Model,
    pub(crate) clients: BTreeMap<ParticipantId, Client>,
    /// Let in from the waiting room, and not in yet.
    pub(crate) let_in: BTreeSet<ParticipantId>,
    /// Sessions that are over.
    pub(crate) old_epochs: Vec<(ParticipantId, Epoch)>,
    pub(crate) trace: VecDeque<(u64, Op)>,
    pub(crate) tally: Tally,
    pub(crate) meeting: Meeting,
    pub(crate) media: MediaHandler,
    pub(crate) records: Records,
    epochs: BTreeSet<Epoch>,
    /// By slot: what its token says, how many videos it takes (0: any number), and whether it is a phone.
    standings: [(Standing, u32, bool); SLOTS],
    start: Instant,
    pub(crate) elapsed: Duration,
}

impl World {
    fn new(seed: u64, start: Instant) -> Self {
        let mut random = Random::new(seed);
        let limits = MeetingLimits {
            max_participants: random.one_of(&[100, 100, 3, 5]),
            max_layers_per_participant: random.one_of(&[16, 16, 4]),
            max_video_subscriptions: random.one_of(&[64, 64, 2]),
            heard_participants: random.one_of(&[4, 1, 1, 2, 0]),
            reconnect_grace: Duration::from_secs(random.one_of(&[15, 15, 2, 0])),
            ..MeetingLimits::default()
        };
        // One type of meeting, or everybody from another one.
        let prefix = random.one_of(&["", "video", "webinar", "audio", "livestream", "webinar"]);
        let is_of_family =
            |preset: &&'static Preset| preset.name.starts_with(prefix) || preset.name == "recorder";
        let family: Vec<&'static Preset> = PRESETS.iter().filter(is_of_family).collect();
        let standings = std::array::from_fn(|slot| {
            // Hosts come first in every family.
            let preset = if slot == 0 { family[0] } else { random.one_of(&family) };
            let is_host = preset.name.ends_with("_host");
            (Standing { preset, is_host }, random.one_of(&[0, 0, 1, 3]), random.percent(25))
        });
        Self {
            random,
            model: Model::new(limits),
            clients: BTreeMap::new(),
            let_in: BTreeSet::new(),
            old_epochs: Vec::new(),
            trace: VecDeque::new(),
            tally: Tally::default(),
            meeting: Meeting::new(MeetingId::from_bytes([1; 16]), limits),
            media: MediaHandler::default(),
            records: Records::default(),
            epochs: BTreeSet::new(),
            standings,
            start,
            elapsed: Duration::ZERO,
        }
    }

    fn run(&mut self) -> Checked {
        for _ in 0..200 + self.random.below(200) {
            let op = self.choose();
            self.tally.steps += 1;
            if self.trace.len() == TOLD {
                self.trace.pop_front();
            }
            self.trace.push_back((self.tally.steps, op.clone()));
            let counts = match self.perform(&op)? {
                true => &mut self.tally.accepted,
                false => &mut self.tally.refused,
            };
            *counts.entry(op.kind()).or_default() += 1;
            self.check()?;
        }
        // In the end everybody goes, one by one, and nothing is left.
        let here: Vec<(ParticipantId, Epoch)> =
            self.model.here.iter().map(|(id, person)| (*id, person.epoch)).collect();
        for (who, epoch) in here {
            self.leave(who, epoch, LeaveReason::Voluntary)?;
            self.check()?;
        }
        for who in self.model.waiting.clone() {
            self.give_up_waiting(who)?;
        }
        self.check()?;
        ensure!(self.meeting.is_empty(), "everybody has gone, and the meeting is not empty");
        Ok(())
    }

    /// Does it, and says whether it was accepted.
    fn perform(&mut self, op: &Op) -> Checked<bool> {
        if let Some(by) = op.change_of()
            && !self.may_change(by)?
        {
            return Ok(false);
        }
        match op {
            &Op::Knock { who } => self.knock(who),
            &Op::Enter { who } => self.join(who),
            &Op::GiveUpWaiting { who } => self.give_up_waiting(who),
            &Op::Leave { who, epoch } => self.leave(who, epoch, LeaveReason::Voluntary),
            Op::Deafen { who } => {
                let client = self.clients.get_mut(who);
                Ok(client.is_some_and(|client| std::mem::take(&mut client.connected)))
            }
            &Op::Disconnect { who, epoch } => self.disconnect(who, epoch),
            &Op::Silence { who, epoch, is_silent } => self.fall_silent(who, epoch, is_silent),
            &Op::Time { ms } => self.pass(Duration::from_millis(ms)),
            &Op::Resume { who, epoch, seen } => self.resume(who, epoch, seen),
            &Op::Publish { by, stream, kind, shape } => self.publish(by, stream, kind, shape),
            &Op::Unpublish { by, stream } => self.unpublish(by, stream),
            &Op::Subscribe { by, stream, preferred, max_bitrate } => {
                self.subscribe(by, stream, preferred, max_bitrate)
            }
            &Op::Unsubscribe { by, stream } => self.unsubscribe(by, stream),
            Op::SubscribeAuto { by, options } => self.subscribe_auto(*by, options.as_ref()),
            Op::Talk { voices, reports } => self.talk(voices, *reports),
            &Op::Update { by, whom, name, state, change } => self.update(by, whom, name, state, change),
            &Op::Flood { by } => self.flood(by),
            &Op::Mute { by, whom, kind } => self.mute(by, whom, kind),
            &Op::Lock { by, locked } => {
                let result = self.meeting.lock(by, &pb::LockMeeting { locked });
                if self.agreed(self.model.is_host(by), result)?.is_none() {
                    return Ok(false);
                }
                self.model.locked = locked;
                self.done()
            }
            &Op::Kick { by, whom } => self.kick(by, whom),
            &Op::SetPreset { by, whom, preset } => self.set_preset(by, whom, preset),
            &Op::Stage { by, action, whom } => self.stage(by, action, whom),
            &Op::Admit { by, whom, admit } => self.admit(by, whom, admit),
            &Op::Spotlight { by, whom, on } => self.spotlight(by, whom, on),
            &Op::LowerHands { by, whom } => self.lower_hands(by, whom),
            &Op::Write { by, to, is_blank } => self.write(by, to, is_blank),
            &Op::Edit { by, line } => self.edit(by, line),
            &Op::Delete { by, line } => self.delete(by, line),
            &Op::Pin { by, line, pinned } => self.pin(by, line, pinned),
            &Op::History { by, with, before, limit, pinned_only } => {
                let request = pb::FetchChatHistory {
                    before_message_id: before,
                    limit,
                    with_participant_id: with.text(),
                    pinned_only,
                };
                self.history(by, with, &request)
            }
            Op::Broadcast { by, to, is_reaction } => self.broadcast(*by, to, *is_reaction),
            Op::Observe { samples } => {
                for sample in
                    samples.iter().filter(|sample| self.model.here.contains_key(&sample.participant))
                {
                    self.records.seen(sample);
                }
                self.meeting.observe(samples.clone(), self.now());
                self.done()
            }
            &Op::Measure { by, stream, loss } => self.measure(by, stream, loss),
            &Op::SetMaxParticipants { max } => {
                self.meeting.set_max_participants(max);
                self.model.limits.max_participants = max;
                self.nothing_follows()?;
                Ok(true)
            }
            &Op::SetWaitingRoom { waiting_room } => {
                self.meeting.set_waiting_room(waiting_room);
                self.model.waiting_room = waiting_room;
                self.done()
            }
            &Op::End { by } => {
                let result = self.meeting.check_end(by);
                match self.agreed(self.model.is_host(by), result)? {
                    Some(()) => self.clear(),
                    None => Ok(false),
                }
            }
            Op::Clear => self.clear(),
        }
    }

    fn knock(&mut self, who: ParticipantId) -> Checked<bool> {
        let identity = self.identity(who);
        let expected = self.model.knock(who, self.standing(who).0);
        let result = self.meeting.knock(&identity, self.now_us());
        let Some(entry) = self.agreed(expected.is_some(), result)? else { return Ok(false) };
        ensure!(Some(entry) == expected, "{who} knocks: {entry:?} instead of {expected:?}");
        match entry {
            Entry::Open => {
                self.nothing_follows()?;
                self.join(who)
            }
            Entry::Waits => {
                self.let_in.remove(&who);
                self.model.waiting.insert(who);
                self.done()
            }
        }
    }

    fn join(&mut self, who: ParticipantId) -> Checked<bool> {
        let (standing, max_video_streams, mobile) = self.standing(who);
        let identity = self.identity(who);
        let name = identity.name.clone();
        let capabilities = pb::ParticipantCapabilities {
            max_video_streams,
            mobile,
            ..pb::ParticipantCapabilities::default()
        };
        let before = self.model.here.get(&who).map(|person| person.epoch);
        let expected = before.is_some() || self.model.here.len() < self.model.limits.max_participants;
        let result = self.meeting.join(identity, &capabilities, self.now_us());
        let Some(joined) = self.agreed(expected, result)? else { return Ok(false) };
        ensure!(self.epochs.insert(joined.epoch), "{:?} is no new epoch", joined.epoch);
        self.old_epochs.extend(before.map(|epoch| (who, epoch)));
        if before.is_some() {
            self.tally.fault("a second session of somebody who is here");
        }
        self.model.enter(who, standing, name, joined.epoch);
        if let Some(person) = self.model.here.get_mut(&who) {
            (person.declared_max_video, person.is_mobile) = (max_video_streams, mobile);
        }
        self.let_in.remove(&who);
        let client = Client::new(who, &joined)?;
        self.drain(Some((who, client)))?;
        Ok(true)
    }

    fn give_up_waiting(&mut self, who: ParticipantId) -> Checked<bool> {
        let waited = self.model.waiting.remove(&who);
        let was_let_in = self.let_in.remove(&who);
        self.meeting.stop_waiting(who);
        if !waited {
            self.nothing_follows()?;
        }
        self.drain(None)?;
        Ok(waited || was_let_in)
    }

    pub(crate) fn leave(&mut self, who: ParticipantId, epoch: Epoch, reason: LeaveReason) -> Checked<bool> {
        let is_current = self.is_current(who, epoch);
        self.meeting.leave(who, epoch, reason);
        if !is_current {
            self.nothing_follows()?;
            return Ok(false);
        }
        self.forget(who);
        self.done()
    }

    fn disconnect(&mut self, who: ParticipantId, epoch: Epoch) -> Checked<bool> {
        let (is_current, now) = (self.is_current(who, epoch), self.now());
        self.meeting.disconnect(who, epoch, now);
        if !is_current {
            self.nothing_follows()?;
            return Ok(false);
        }
        if self.model.limits.reconnect_grace.is_zero() {
            self.forget(who);
        } else if let Some(person) = self.model.here.get_mut(&who) {
            person.lost_at.get_or_insert(now);
            person.is_silent = false;
            if let Some(client) = self.clients.get_mut(&who) {
                client.connected = false;
            }
        }
        self.done()
    }

    fn fall_silent(&mut self, who: ParticipantId, epoch: Epoch, is_silent: bool) -> Checked<bool> {
        let is_current = self.is_current(who, epoch);
        self.meeting.set_silent(who, epoch, is_silent);
        let person = self.model.here.get_mut(&who).filter(|_| is_current);
        match person.filter(|person| person.lost_at.is_none() && person.is_silent != is_silent) {
            Some(person) => person.is_silent = is_silent,
            None => {
                self.nothing_follows()?;
                return Ok(false);
            }
        }
        self.done()
    }

    fn pass(&mut self, time: Duration) -> Checked<bool> {
        self.elapsed += time;
        let now = self.now();
        let (due, expected) = (self.meeting.next_timeout(), self.model.next_timeout());
        ensure!(due == expected, "the next timeout is {due:?} instead of {expected:?}");
        let expected = self.model.given_up(now);
        let gone = self.meeting.handle_timeout(now);
        ensure!(gone == expected, "{gone:?} have been given up instead of {expected:?}");
        for who in gone {
            self.forget(who);
        }
        self.meeting.pass(self.now_us());
        self.model.pass_voices(self.now_us());
        self.done()?;
        if time >= AUDIENCE_IS_KNOWN {
            let expected = self.model.audience();
            for (id, client) in self.clients.iter().filter(|(_, client)| client.connected) {
                let told = client.audience;
                let nobody_watches = told.viewers + expected.viewers == 0;
                ensure!(told == expected || nobody_watches, "{id} knows {told:?} instead of {expected:?}");
            }
        }
        Ok(true)
    }

    fn resume(&mut self, who: ParticipantId, epoch: Epoch, seen: u64) -> Checked<bool> {
        let expected = self.is_current(who, epoch);
        let result = self.meeting.resume(who, epoch, seen);
        let Some(resumed) = self.agreed(expected, result)? else { return Ok(false) };
        let client = self.clients.get_mut(&who).ok_or("nobody comes back")?;
        let are_kept = Model::are_kept(client.sent, seen);
        let new_epoch = match &resumed {
            Resumed::Missed(epoch, missed) => {
                ensure!(are_kept, "{who} saw {seen} of {} and gets what it missed", client.sent);
                client.catch_up(seen, missed)?;
                *epoch
            }
            Resumed::Snapshot(joined) => {
                ensure!(!are_kept, "{who} saw {seen} of {} and gets a snapshot", client.sent);
                if seen <= client.sent {
                    self.tally.fault("more was missed than is kept");
                }
                *client = Client::new(who, joined)?;
                joined.epoch
            }
        };
        ensure!(self.epochs.insert(new_epoch), "{new_epoch:?} is no new epoch");
        self.old_epochs.push((who, epoch));
        if let Some(person) = self.model.here.get_mut(&who) {
            person.epoch = new_epoch;
            person.lost_at = None;
            person.is_silent = false;
        }
        if !are_kept {
            self.model.tell_speaker_to(who);
        }
        self.done()
    }

    fn measure(&mut self, by: ParticipantId, stream: Which, packet_loss: f32) -> Checked<bool> {
        let person = self.model.here.get(&by);
        let is_concerned = |id: &StreamId| {
            person.is_some_and(|person| person.wants.contains_key(id) || person.streams.contains_key(id))
        };
        let expected =
            matches!(&stream, Name::One(id) if is_concerned(id)) && (0.0..=1.0).contains(&packet_loss);
        let update = pb::StreamQualityUpdate { stream_id: stream.text(), packet_loss, ..Default::default() };
        let result = self.meeting.tell_quality(by, &update, self.now());
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        self.nothing_follows()?;
        Ok(true)
    }

    fn update(
        &mut self,
        by: ParticipantId,
        whom: Whom,
        name: usize,
        state: Option<pb::ParticipantState>,
        change: Option<pb::StateChange>,
    ) -> Checked<bool> {
        let (sent, shown) = NAMES[name];
        let target = match whom {
            Name::Empty => self.model.here.contains_key(&by).then_some(by),
            Name::One(_) | Name::Malformed => self.model.reach(by, whom),
        };
        let is_host = self.model.is_host(by);
        let expected = target.is_some_and(|target| {
            let is_own = target == by;
            let own_name = self.model.here.get(&by).map(|person| person.name.as_str());
            let may_rename =
                is_host || is_own && self.model.may(by, |standing| standing.may().can_edit_display_name);
            let name_is_fine = sent.is_empty() || shown.is_some() && (may_rename || shown == own_name);
            (is_own || is_host && state.is_none() && change.is_none()) && name_is_fine
        });
        let request =
            pb::UpdateParticipant { name: sent.to_owned(), state, participant_id: whom.text(), change };
        let result = self.meeting.update(by, &request);
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let (Some(target), Some(shown)) = (target, shown) {
            let may_itself = is_host || self.model.may(by, |standing| standing.may().can_edit_display_name);
            if target != by {
                self.model.given_names.insert(target, shown.to_owned());
            } else if may_itself {
                self.model.given_names.remove(&target);
            }
        }
        if let Some(person) = target.and_then(|target| self.model.here.get_mut(&target)) {
            if let Some(shown) = shown {
                person.name = shown.to_owned();
            }
            let before = person.state;
            let or = |change: Option<bool>, before| change.unwrap_or(before);
            let changed = change.map(|change| pb::ParticipantState {
                audio_muted: or(change.audio_muted, before.audio_muted),
                video_on: or(change.video_on, before.video_on),
                screen_sharing: or(change.screen_sharing, before.screen_sharing),
                hand_raised: or(change.hand_raised, before.hand_raised),
            });
            if let Some(state) = changed.or(state) {
                person.state = state;
                person.camera_off &= !state.video_on;
            }
        }
        self.done()
    }

    /// Whether a participant has not done too much lately. Nobody hears of what is too much.
    fn may_change(&mut self, by: ParticipantId) -> Checked<bool> {
        let counted = self.meeting.count_change(by, self.now_us());
        if self.agreed(true, counted)?.is_none() {
            self.tally.fault("more changes than one may make");
            return Ok(false);
        }
        Ok(true)
    }

    fn flood(&mut self, by: ParticipantId) -> Checked<bool> {
        let Some(person) = self.model.here.get(&by) else { return Ok(false) };
        let mut state = person.state;
        for _ in 0..FLOOD {
            if !self.may_change(by)? {
                return Ok(true);
            }
            state.hand_raised = !state.hand_raised;
            self.update(by, Name::Empty, 0, Some(state), None)?;
        }
        Ok(true)
    }

    fn clear(&mut self) -> Checked<bool> {
        let here: Vec<ParticipantId> = self.model.here.keys().copied().collect();
        self.meeting.clear();
        here.into_iter().for_each(|who| self.forget(who));
        self.model.voices = Voices::new(self.model.limits.heard_participants);
        self.done()
    }

    pub(crate) fn forget(&mut self, who: ParticipantId) {
        let epoch = self.model.here.get(&who).map(|person| person.epoch);
        self.old_epochs.extend(epoch.map(|epoch| (who, epoch)));
        self.model.leave(who);
    }

    pub(crate) fn is_current(&self, who: ParticipantId, epoch: Epoch) -> bool {
        self.model.here.get(&who).is_some_and(|person| person.epoch == epoch)
    }

    fn standing(&self, who: ParticipantId) -> (Standing, u32, bool) {
        self.standings[usize::from(who.as_bytes()[0] - 1) % SLOTS]
    }

    fn identity(&self, who: ParticipantId) -> Identity {
        let Standing { preset, is_host } = self.standing(who).0;
        Identity {
            participant_id: who,
            name: format!("P{}", who.as_bytes()[0]),
            role: if is_host { pb::Role::Host } else { pb::Role::Participant },
            rights: Rights::new(preset, is_host),
            is_guest: false,
            user_id: String::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    pub(crate) fn now_us(&self) -> u64 {
        1_700_000_000_000_000 + self.elapsed.as_micros() as u64
    }

    /// A request was answered as expected; what it gave, if it was accepted. One that is refused changes
    /// nothing, and nobody hears of it. How many messages may be sent is not the reference's business.
    pub(crate) fn agreed<T>(&mut self, expected: bool, result: Result<T, Refusal>) -> Checked<Option<T>> {
        match result {
            Ok(value) => {
                ensure!(expected, "it was accepted and must not be");
                Ok(Some(value))
            }
            Err(refusal) => {
                let is_limited = refusal.code == ErrorCode::RateLimited;
                ensure!(is_limited || !expected, "it was refused and must not be: {refusal}");
                self.nothing_follows()?;
                Ok(None)
            }
        }
    }

    pub(crate) fn nothing_follows(&mut self) -> Checked {
        match self.meeting.poll_output() {
            Some(output) => Err(format!("nothing was done, and this follows: {output:?}")),
            None => Ok(()),
        }
    }

    pub(crate) fn done(&mut self) -> Checked<bool> {
        self.drain(None)?;
        Ok(true)
    }

    /// Everybody follows what came of a call.
    pub(crate) fn drain(&mut self, mut newcomer: Option<(ParticipantId, Client)>) -> Checked<Heard> {
        self.model.settle();
        let mut heard = Heard::default();
        while let Some(output) = self.meeting.poll_output() {
            match output {
                Output::Event { to, sequence, event } => {
                    let client = self.clients.get_mut(&to).filter(|_| self.media.knows(to));
                    let client = client.ok_or_else(|| format!("{to} is not here and gets {event:?}"))?;
                    if !client.take(sequence, &event)? {
                        self.tally.fault("an event is lost");
                    }
                    match **event {
                        Message::ChatMessageSent(_) | Message::ChatMessageUpdated(_) => heard.chat.push(to),
                        Message::MessageBroadcast(_) => heard.broadcast.push(to),
                        _ => {}
                    }
                }
                Output::Notice { to, event } => {
                    if let Message::AudienceChanged(audience) = **event {
                        let expected = self.model.audience();
                        ensure!(audience == expected, "{audience:?} is told instead of {expected:?}");
                    }
                    let client =
                        self.clients.get_mut(&to).ok_or_else(|| format!("{to} is told {event:?}"))?;
                    client.notice(&event)?;
                }
                Output::Media(command) => {
                    match &command {
                        MediaCommand::Register { participant, .. } if !self.media.knows(*participant) => {
                            let (who, client) = newcomer.take().ok_or("nobody came, and is registered")?;
                            ensure!(who == *participant, "{who} came, and {participant} is registered");
                            self.clients.insert(who, client);
                        }
                        MediaCommand::Unregister { participant } => {
                            self.clients.remove(participant);
                        }
                        MediaCommand::Register { .. }
                        | MediaCommand::Route { .. }
                        | MediaCommand::Advise { .. }
                        | MediaCommand::Forward { .. }
                        | MediaCommand::Prominent { .. } => {}
                    }
                    self.media.carry_out(&command)?;
                }
                Output::Record(record) => self.records.recorded(&record)?,
                Output::LetIn { participant } => {
                    ensure!(self.model.waiting.remove(&participant), "{participant} did not wait");
                    self.model.admitted.insert(participant);
                    self.let_in.insert(participant);
                }
                Output::TurnedAway { participant } => {
                    ensure!(self.model.waiting.remove(&participant), "{participant} did not wait");
                }
            }
        }
        heard.chat.sort_unstable();
        ensure!(newcomer.is_none(), "somebody came, and is not registered");
        Ok(heard)
    }
}
