//! The meeting controller: signaling sessions, and the live meetings behind them.
//!
//! ```text
//! mod.rs         MeetingController: live meetings; carries out what the pure core asks for
//! session.rs     one client's signaling session: join, then requests and events
//! outbox.rs      events on their way to one client, gathered when many come
//! door.rs        who may come in: facts, waiting room, and coming back after a lost connection
//! controls.rs    what hosts do that changes facts: removing people, ending the meeting, giving presets
//! attendance.rs  who came and went, written to the session records in the background
//! removals.rs    throwing people out, whoever asks for it
//! changes.rs     facts that are newer than those somebody has read
//! quality.rs     what media handlers see of participants, and what is kept of it
//! ```
//! Every meeting is a [`darktower_core::meeting::Meeting`] behind a lock that is held for single
//! calls only; its outputs are carried out in order while it is held.

mod attendance;
mod changes;
mod controls;
mod door;
mod outbox;
mod quality;
mod removals;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_core::access::ParticipantRole;
use darktower_core::access::guests::guest_cap;
use darktower_core::meeting::{
    Epoch, Identity, Joined, MediaCommand, Meeting, MeetingLimits, Output, Refusal, Rights,
};
use darktower_core::preset::Preset;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, MeetingSessionId, OrganizationId, ParticipantId};
use dashmap::DashMap;
use pb::envelope::Message;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use attendance::{Attendance, Behind, Coming, Departure};
use changes::Changes;
use door::{Ticket, Verdict};
use outbox::{Inlet, Outbox};
pub use quality::QualityInbox;
use quality::{QualityMetrics, Samples};
use removals::{Barred, Removals};
use session::End;

use crate::auth::TokenService;
use crate::auth::recent::Recent;
use crate::clock::unix_micros;
use crate::global_controller::{LiveMeetings, LiveParticipant, LiveStream, LiveStreamType};
use crate::media_handler::MediaControl;
use crate::storage::Store;
use crate::storage::model::{IssuedParticipant, Meeting as StoredMeeting, Removal};

/// Presets that are remembered for a moment: twice as many at most.
const REMEMBERED_PRESETS: usize = 512;

/// How often it is noted that sessions run here. A session nobody notes for longer than the job's `stale_after_seconds`
/// is taken for that of a dead server.
const TOUCH: Duration = Duration::from_secs(30);

/// How often a meeting looks at what only time changes.
const TICK: Duration = Duration::from_secs(1);

/// What of the meeting controller is configurable.
#[derive(Debug, Clone, Copy)]
pub struct MeetingSettings {
    /// Bounds of every meeting.
    pub limits: MeetingLimits,
    /// Messages of one participant.
    pub messages_per_minute: std::num::NonZeroU32,
    /// Sessions of one organization that may run at one time, unless it says so itself; 0 for any number.
    pub max_concurrent_meetings: u32,
}

/// The meeting controller of this process.
pub struct MeetingController {
    store: Arc<dyn Store>,
    tokens: Arc<TokenService>,
    media: Arc<dyn MediaControl>,
    limits: MeetingLimits,
    messages_per_minute: std::num::NonZeroU32,
    max_concurrent_meetings: u32,
    meetings: DashMap<MeetingId, Arc<Mutex<LiveMeeting>>>,
    /// Presets that somebody came with lately, and when they were read.
    presets: Recent<(OrganizationId, String), (Instant, Arc<Preset>)>,
    /// Of live meetings and of those whose session outlasts their participants.
    attendances: DashMap<MeetingId, Arc<Attendance>>,
    /// The tasks of `attendances`, and those that write samples of quality.
    writers: TaskTracker,
    /// Sessions that run here.
    running: Mutex<BTreeSet<MeetingSessionId>>,
    /// Held by whoever begins a session while their number is limited, so that two do not take the last place.
    beginning: tokio::sync::Mutex<()>,
    removals: Removals,
    changes: Changes,
    quality: QualityMetrics,
    samples: Samples,
    stopping: CancellationToken,
    /// Signaling sessions of participants.
    sessions: TaskTracker,
}

struct LiveMeeting {
    core: Meeting,
    /// Everybody who is there, those whose connection is lost included.
    clients: HashMap<ParticipantId, Client>,
    /// Who waits to be let in.
    waiting: HashMap<ParticipantId, oneshot::Sender<Verdict>>,
    /// The facts that apply, and when they were read; older ones that somebody has read do not.
    facts: (StoredMeeting, Instant),
    /// Nobody was left and it has been taken out of the table: joining needs a new one.
    retired: bool,
}

/// A participant as the shell knows it.
struct Client {
    epoch: Epoch,
    is_guest: bool,
    /// What it must present to come back.
    ticket: Ticket,
    /// What it came back with: it counts until the client is known to have the new one.
    former: Option<Former>,
    /// The way to its signaling session; `None` while that is lost.
    link: Option<Link>,
    departure: Departure,
}

/// A ticket that was used, and whose answer may have been lost.
struct Former {
    ticket: Ticket,
    /// The answer was a snapshot: events count from 1 again, and the numbers that the client has seen mean nothing.
    began_anew: bool,
}

/// The way to a participant's signaling session.
struct Link {
    events: Inlet,
    close: mpsc::Sender<Code>,
}

/// Somebody whose token and facts have been checked.
struct Newcomer<'a> {
    meeting: &'a StoredMeeting,
    identity: Identity,
    capabilities: pb::ParticipantCapabilities,
    /// When reading the facts began.
    checked_at: Instant,
}

/// A participant's place in a meeting, held by its session; when that ends it is given up, or kept for the grace period.
struct Seat {
    controller: Arc<MeetingController>,
    participant: ParticipantId,
    meeting: Arc<Mutex<LiveMeeting>>,
    epoch: Epoch,
    events: Outbox,
    /// Says that the session is to end; its conversation takes it.
    close: Option<mpsc::Receiver<Code>>,
    /// The client has sent something in this session.
    is_heard: AtomicBool,
    /// What others are told when it is given up; `None` if the participant may come back.
    reason: Option<pb::LeaveReason>,
}

/// What a newcomer is told.
struct Welcome {
    joined: Joined,
    media_server: pb::MediaServerInfo,
    ticket: Ticket,
}

impl MeetingController {
    /// A controller without live meetings.
    pub fn new(
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        media: Arc<dyn MediaControl>,
        settings: MeetingSettings,
    ) -> Arc<Self> {
        let MeetingSettings { limits, messages_per_minute, max_concurrent_meetings } = settings;
        Arc::new(Self {
            store,
            tokens,
            media,
            limits,
            messages_per_minute,
            max_concurrent_meetings,
            meetings: DashMap::new(),
            presets: Recent::new(REMEMBERED_PRESETS),
            attendances: DashMap::new(),
            writers: TaskTracker::new(),
            running: Mutex::default(),
            beginning: tokio::sync::Mutex::new(()),
            removals: Removals::default(),
            changes: Changes::default(),
            quality: QualityMetrics::new(),
            samples: Samples::new(),
            stopping: CancellationToken::new(),
            sessions: TaskTracker::new(),
        })
    }

    /// Carries out removals that others write to the store, notes there which sessions run here, lets time pass in
    /// meetings, and follows what media handlers see. Runs until it is dropped.
    pub async fn attend(self: Arc<Self>, quality: QualityInbox) {
        let running = || self.running_sessions();
        let touch = attendance::keep_alive(Arc::clone(&self.store), running, TOUCH);
        tokio::join!(
            removals::watch(Arc::clone(&self)),
            touch,
            self.pass_time(),
            quality::follow(&self, quality)
        );
    }

    async fn pass_time(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let meetings: Vec<_> = self.meetings.iter().map(|meeting| Arc::clone(meeting.value())).collect();
            for meeting in meetings {
                // One that is defect must not keep time from the others.
                let Ok(mut live) = meeting.lock() else { continue };
                live.core.pass(unix_micros());
                self.carry_out(&mut live);
            }
        }
    }

    /// Tells every client that the server goes away; they leave by themselves or are cut off
    /// when the endpoint closes.
    pub fn start_draining(&self) {
        self.stopping.cancel();
    }

    /// Waits until every client has left and knows it, at most for `grace`.
    pub async fn wait_until_empty(&self, grace: Duration) {
        self.sessions.close();
        let _some_stay = tokio::time::timeout(grace, self.sessions.wait()).await;
    }

    /// Waits until every leave and every sample of quality has been written, at most for `grace`. Sessions stay open: their
    /// participants may come back to the next server. Call it when nobody can join any more.
    pub async fn finish(&self, grace: Duration) {
        // Nobody comes back to their places here.
        let meetings: Vec<_> = self.meetings.iter().map(|meeting| Arc::clone(meeting.value())).collect();
        for meeting in meetings {
            let lost = {
                let mut live = lock(&meeting);
                live.core.finish_records();
                self.carry_out(&mut live);
                std::mem::take(&mut live.clients)
            };
            for (participant, client) in lost {
                client.departure.go(participant, pb::LeaveReason::ConnectionLost);
            }
        }
        self.attendances.clear();
        self.writers.close();
        let written = async { tokio::join!(self.writers.wait(), self.write_last_samples()) };
        if tokio::time::timeout(grace, written).await.is_err() {
            tracing::error!("not everything about participants is recorded: the database took too long");
        }
    }

    async fn join(self: &Arc<Self>, newcomer: &Newcomer<'_>) -> Result<(Seat, Welcome), End> {
        let attendance = self.attendance(newcomer.meeting.id);
        let places = Arc::clone(&attendance).reserve().await.map_err(|Behind| End::busy())?;
        let beginning = self.begin_session(newcomer.meeting, &attendance).await?;
        let (written, is_written) = beginning.is_some().then(oneshot::channel).unzip();
        let admitted = self.admit(newcomer, places, written)?;
        if let Some(is_written) = is_written {
            // Until then the number of sessions is not right for others.
            let _writer_gone = is_written.await;
        }
        Ok(admitted)
    }

    fn attendance(self: &Arc<Self>, meeting: MeetingId) -> Arc<Attendance> {
        let entry = self.attendances.entry(meeting);
        Arc::clone(&entry.or_insert_with(|| Attendance::start(Arc::clone(self), meeting)))
    }

    /// Makes sure that the organization may have one more session, if this meeting has none. Nobody else begins one
    /// while the guard lives.
    async fn begin_session(
        &self,
        meeting: &StoredMeeting,
        attendance: &Attendance,
    ) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, End> {
        if attendance.is_running() {
            return Ok(None);
        }
        let unknown = |error| End::unavailable("the organization of a meeting", &error);
        let organization = self.store.organization(meeting.organization_id).await.map_err(unknown)?;
        let own = organization.and_then(|organization| organization.settings.max_concurrent_meetings);
        let max = own.unwrap_or(self.max_concurrent_meetings);
        if max == 0 {
            return Ok(None);
        }
        let guard = self.beginning.lock().await;
        let unknown = |error| End::unavailable("the sessions of an organization", &error);
        let is_new = !attendance.is_running()
            && self.store.active_session(meeting.id).await.map_err(unknown)?.is_none();
        if is_new
            && self.store.count_active_sessions(meeting.organization_id).await.map_err(unknown)? >= max.into()
        {
            return Err(End::full(format!(
                "the organization has {max} meetings going on, as many as it may"
            )));
        }
        Ok(is_new.then_some(guard))
    }

    fn admit(
        self: &Arc<Self>,
        newcomer: &Newcomer<'_>,
        places: attendance::Places,
        written: Option<oneshot::Sender<()>>,
    ) -> Result<(Seat, Welcome), End> {
        let Newcomer { meeting: stored, identity, capabilities, checked_at } = newcomer;
        let participant = identity.participant_id;
        self.enter(stored, *checked_at, |meeting, live| {
            match self.removals.bar(stored.id, participant, *checked_at) {
                Some(Barred::Removed) => return Err(End::removed()),
                Some(Barred::Over) => return Err(End::over()),
                None if identity.is_guest && !live.has_room_for_guest(stored, participant) => {
                    return Err(End::full("the meeting has as many guests as it takes"));
                }
                None => {}
            }
            let joined = live.core.join(identity.clone(), capabilities, unix_micros());
            let joined = joined.map_err(door::refused)?;
            // An older connection of it may still wait.
            live.decide(participant, Verdict::Over(Code::DUPLICATE));
            // Under the lock, as leaves are: the records have them in the order in which they happened.
            let departure = places.come(Coming {
                participant,
                name: identity.name.clone(),
                keep_alive: Duration::from_secs(stored.keep_alive_seconds.into()),
                written,
            });
            let ticket = Ticket::new(stored.id, participant);
            let (link, events, close) = Link::new(self.limits.max_participants);
            let client = Client {
                epoch: joined.epoch,
                is_guest: identity.is_guest,
                ticket: ticket.clone(),
                former: None,
                link: Some(link),
                departure,
            };
            // The stay of an older session of the same participant is ended by the new one's record.
            let older = live.clients.insert(participant, client);
            if let Some(link) = older.and_then(|older| older.link) {
                let _closing_already = link.close.try_send(Code::DUPLICATE);
            }
            // The media handler knows it from here on.
            self.carry_out(live);
            metrics::gauge!("meeting_participants").increment(1.0);
            let seat = Seat {
                controller: Arc::clone(self),
                participant,
                meeting: Arc::clone(meeting),
                epoch: joined.epoch,
                events,
                close: Some(close),
                is_heard: AtomicBool::new(false),
                reason: None,
            };
            Ok((seat, Welcome { joined, media_server: self.media.admit(participant), ticket }))
        })
    }

    /// Does something with the live meeting, which begins to be if it is not, and carries out what follows. Reading the facts
    /// began at `read_at`.
    fn enter<T>(
        &self,
        stored: &StoredMeeting,
        read_at: Instant,
        act: impl FnOnce(&Arc<Mutex<LiveMeeting>>, &mut LiveMeeting) -> T,
    ) -> T {
        let max_participants = self.limits.max_participants.min(stored.max_participants as usize);
        let limits = MeetingLimits { max_participants, ..self.limits };
        loop {
            let new = || {
                let core = Meeting::new(stored.id, limits);
                let (clients, waiting) = (HashMap::new(), HashMap::new());
                let facts = (stored.clone(), read_at);
                Arc::new(Mutex::new(LiveMeeting { core, clients, waiting, facts, retired: false }))
            };
            // The table is not locked any more when the meeting is: leaving locks them the other
            // way round.
            let meeting = Arc::clone(self.meetings.entry(stored.id).or_insert_with(new).value());
            let mut live = lock(&meeting);
            if live.retired {
                continue;
            }
            live.apply(stored, read_at, max_participants);
            if let Some(newer) = self.changes.since(stored) {
                let max_participants = self.limits.max_participants.min(newer.max_participants as usize);
                live.apply(&newer, read_at, max_participants);
            }
            let result = act(&meeting, &mut live);
            self.carry_out(&mut live);
            self.retire_if_empty(&mut live);
            return result;
        }
    }

    /// Throws out whom a removal names, unless that was done before. Answers how many that were.
    fn carry_out_removal(&self, removal: &Removal) -> usize {
        if !self.removals.note(removal) {
            return 0;
        }
        let (code, reason) = match removal.meeting_over {
            true => (Code::MEETING_ENDED, pb::LeaveReason::MeetingEnded),
            false => (Code::KICKED, pb::LeaveReason::Kicked),
        };
        let removed = match removal.participant_id {
            Some(participant) => self.expel(removal.meeting_id, participant, code, reason),
            None => self.expel_all(removal.meeting_id, code, reason),
        };
        if removal.meeting_over
            && let Some(attendance) = self.attendances.get(&removal.meeting_id)
        {
            attendance.end();
        }
        if removed > 0 {
            tracing::info!(meeting = %removal.meeting_id, removed, %code, "removed");
        }
        removed
    }

    fn expel(
        &self,
        meeting: MeetingId,
        participant: ParticipantId,
        code: Code,
        reason: pb::LeaveReason,
    ) -> usize {
        let Some(meeting) = self.live(meeting) else { return 0 };
        let mut live = lock(&meeting);
        let mut removed = 0;
        if let Some(waiting) = live.waiting.remove(&participant) {
            live.core.stop_waiting(participant);
            let _gave_up = waiting.send(Verdict::Over(code));
            removed = 1;
        }
        if let Some(client) = live.clients.remove(&participant) {
            live.core.leave(participant, client.epoch, reason);
            self.media.expel(participant, code);
            self.carry_out(&mut live);
            client.expel(participant, code, reason);
            removed = 1;
        }
        self.carry_out(&mut live);
        self.retire_if_empty(&mut live);
        removed
    }

    fn expel_all(&self, meeting: MeetingId, code: Code, reason: pb::LeaveReason) -> usize {
        let Some(meeting) = self.live(meeting) else { return 0 };
        let mut live = lock(&meeting);
        let clients = std::mem::take(&mut live.clients);
        let waiting = std::mem::take(&mut live.waiting);
        let count = clients.len() + waiting.len();
        live.core.clear();
        for verdict in waiting.into_values() {
            let _gave_up = verdict.send(Verdict::Over(code));
        }
        for (participant, client) in clients {
            self.media.expel(participant, code);
            client.expel(participant, code, reason);
        }
        self.carry_out(&mut live);
        self.retire_if_empty(&mut live);
        count
    }

    fn remember_session(&self, session: MeetingSessionId) {
        lock(&self.running).insert(session);
    }

    fn forget_session(&self, session: MeetingSessionId) {
        lock(&self.running).remove(&session);
    }

    fn carry_out(&self, live: &mut LiveMeeting) {
        let meeting_id = live.core.id();
        while let Some(output) = live.core.poll_output() {
            match output {
                Output::Event { to, sequence, event } => {
                    let link = live.clients.get(&to).and_then(|client| client.link.as_ref());
                    if let Some(link) = link
                        && link.events.try_send((sequence, event)).is_err()
                    {
                        let _closing_already = link.close.try_send(Code::TOO_SLOW);
                    }
                }
                Output::Notice { to, event } => {
                    let link = live.clients.get(&to).and_then(|client| client.link.as_ref());
                    // One that is behind hears of the next moment.
                    let _full = link.map(|link| link.events.try_send((0, event)));
                }
                Output::Media(command) => {
                    if let MediaCommand::Advise { target_bitrate_bps, .. } = command {
                        self.quality.advised(target_bitrate_bps);
                    }
                    self.media.execute(meeting_id, command);
                }
                Output::Record(record) => self.record(meeting_id, *record),
                Output::LetIn { participant } => live.decide(participant, Verdict::LetIn),
                Output::TurnedAway { participant } => live.decide(participant, Verdict::TurnedAway),
            }
        }
    }

    fn retire_if_empty(&self, live: &mut LiveMeeting) {
        if live.core.is_empty() && live.waiting.is_empty() && !live.retired {
            live.retired = true;
            // The entry is this meeting: a new one is only inserted after this one is removed.
            self.meetings.remove(&live.core.id());
        }
    }
}

impl LiveMeeting {
    /// Whether one more guest fits in; who is there already keeps its place, however many there are.
    fn has_room_for_guest(&self, meeting: &StoredMeeting, participant: ParticipantId) -> bool {
        let guests = self.clients.values().filter(|client| client.is_guest).count();
        self.clients.contains_key(&participant)
            || guests < guest_cap(meeting.max_participants, meeting.max_guests) as usize
    }
}

impl LiveMeeting {
    /// Makes use of the facts of the meeting, unless newer ones apply.
    fn apply(&mut self, stored: &StoredMeeting, read_at: Instant, max_participants: usize) {
        let (known, known_at) = &mut self.facts;
        if stored.version >= known.version {
            if stored.version > known.version {
                known.clone_from(stored);
            }
            *known_at = read_at.max(*known_at);
            self.core.set_max_participants(max_participants);
            self.core.set_display_name(&stored.display_name);
            self.core.set_waiting_room(stored.settings.waiting_room);
        }
    }

    /// Tells somebody who waits what is decided about it.
    fn decide(&mut self, participant: ParticipantId, verdict: Verdict) {
        if let Some(waiting) = self.waiting.remove(&participant) {
            let _gave_up = waiting.send(verdict);
        }
    }
}

impl Link {
    fn new(max_participants: usize) -> (Self, Outbox, mpsc::Receiver<Code>) {
        let (events, received) = Outbox::new(max_participants);
        let (close, closed) = mpsc::channel(1);
        (Self { events, close }, received, closed)
    }
}

impl Client {
    /// Its session is told and ended.
    fn expel(self, participant: ParticipantId, code: Code, reason: pb::LeaveReason) {
        if let Some(link) = self.link {
            let _closing_already = link.close.try_send(code);
        }
        self.departure.go(participant, reason);
    }
}

impl Seat {
    /// The client has sent something in this session: it has its resume ticket, and the one before is void.
    fn has_ticket(&self) {
        if self.is_heard.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut live = lock(&self.meeting);
        if let Some(client) = live.clients.get_mut(&self.participant)
            && client.epoch == self.epoch
        {
            client.former = None;
        }
    }

    /// What is to be written of the events; `None` if nothing has come.
    fn take_events(&mut self) -> Option<Bytes> {
        self.events.take(|| lock(&self.meeting).core.participant_count())
    }

    /// Nothing is heard of the client any more, or something is again.
    fn tell_silence(&self, is_silent: bool) {
        tracing::info!(participant = %self.participant, is_silent, "silence");
        let mut live = lock(&self.meeting);
        live.core.set_silent(self.participant, self.epoch, is_silent);
        self.controller.carry_out(&mut live);
    }

    /// A fresh way to the media handler, unless another session has taken the seat.
    fn refresh_media(&self) -> Option<pb::MediaServerInfo> {
        let live = lock(&self.meeting);
        let is_current = live.core.is_current(self.participant, self.epoch);
        is_current.then(|| self.controller.media.admit(self.participant))
    }

    /// As [`with_meeting`](Self::with_meeting), for changes that are only acknowledged.
    fn acked(&self, change: impl FnOnce(&mut Meeting) -> Result<(), Refusal>) -> Result<Message, Refusal> {
        self.with_meeting(change).map(|()| Message::Ack(pb::Ack::default()))
    }

    /// Changes the meeting and carries out what follows, unless a newer session has taken the place of this one.
    fn with_meeting<T>(&self, change: impl FnOnce(&mut Meeting) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut live = lock(&self.meeting);
        if !live.core.is_current(self.participant, self.epoch) {
            return Err(session::refusal(pb::ErrorCode::Conflict, "this session is over"));
        }
        let result = change(&mut live.core);
        self.controller.carry_out(&mut live);
        result
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("meeting_participants").decrement(1.0);
        // A defect in this meeting may be what unwinds: it must not end the process with all others.
        let Ok(mut live) = self.meeting.lock() else { return };
        // Unless a newer session has taken its place, or it was thrown out.
        if live.clients.get(&self.participant).is_some_and(|client| client.epoch == self.epoch) {
            self.controller.give_up(&self.meeting, &mut live, self.participant, self.reason);
        }
        self.controller.carry_out(&mut live);
        self.controller.retire_if_empty(&mut live);
    }
}

impl LiveMeetings for MeetingController {
    fn participant_count(&self, meeting: MeetingId) -> usize {
        self.live(meeting).map_or(0, |meeting| lock(&meeting).core.participant_count())
    }

    fn roster(&self, meeting: MeetingId) -> Vec<LiveParticipant> {
        let Some(meeting) = self.live(meeting) else { return Vec::new() };
        let mut roster = lock(&meeting).core.roster();
        roster.sort_by_key(|participant| participant.joined_at);
        roster.iter().filter_map(live_participant).collect()
    }

    fn guest_count(&self, meeting: MeetingId) -> usize {
        let Some(meeting) = self.live(meeting) else { return 0 };
        lock(&meeting).clients.values().filter(|client| client.is_guest).count()
    }

    fn is_present(&self, meeting: MeetingId, participant: ParticipantId) -> bool {
        self.live(meeting).is_some_and(|meeting| lock(&meeting).core.contains(participant))
    }

    fn remove(&self, removal: &Removal) -> usize {
        self.carry_out_removal(removal)
    }

    fn participant_changed(
        &self,
        participant: &IssuedParticipant,
        name: Option<&str>,
        preset: Option<&Preset>,
    ) {
        let Some(meeting) = self.live(participant.meeting_id) else { return };
        let runs_meeting = participant.role == ParticipantRole::Host;
        let rights = preset.map(|preset| Rights::new(preset, runs_meeting));
        let mut live = lock(&meeting);
        live.core.change(participant.id, name.map(str::to_owned), rights);
        self.carry_out(&mut live);
    }

    fn changed(&self, stored: &StoredMeeting) {
        self.changes.note(stored);
        let Some(meeting) = self.live(stored.id) else { return };
        let mut live = lock(&meeting);
        let max_participants = self.limits.max_participants.min(stored.max_participants as usize);
        live.apply(stored, Instant::now(), max_participants);
        self.carry_out(&mut live);
    }

    fn running_sessions(&self) -> Vec<MeetingSessionId> {
        lock(&self.running).iter().copied().collect()
    }
}

impl MeetingController {
    fn live(&self, meeting: MeetingId) -> Option<Arc<Mutex<LiveMeeting>>> {
        self.meetings.get(&meeting).map(|meeting| Arc::clone(&meeting))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no code panics while it holds this lock")
}

fn live_participant(participant: &pb::Participant) -> Option<LiveParticipant> {
    let live_stream = |stream: &pb::MediaStream| {
        Some(LiveStream {
            stream_id: stream.stream_id.parse().ok()?,
            stream_type: match stream.stream_type() {
                pb::StreamType::Audio => LiveStreamType::Audio,
                pb::StreamType::VideoCamera => LiveStreamType::VideoCamera,
                pb::StreamType::VideoScreen => LiveStreamType::VideoScreen,
            },
            codec: stream.metadata.as_ref()?.codec.clone(),
        })
    };
    Some(LiveParticipant {
        participant_id: participant.participant_id.parse().ok()?,
        name: participant.name.clone(),
        joined_at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(participant.joined_at) * 1000)
            .ok()?,
        streams: participant.streams.iter().filter_map(live_stream).collect(),
    })
}
