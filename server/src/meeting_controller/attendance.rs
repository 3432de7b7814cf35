//! Who came and went, written to the session records behind the back of the live meeting.
//!
//! Each live meeting has an [`Attendance`] with a task that writes the facts in the order in which they happened; those
//! that wait together and are about different participants share a transaction. A participant that is let in takes two places of the queue, one for its coming and one for its going, so
//! that its leave is never lost for want of room; who comes waits while the database is that far behind.
//!
//! The task ends the session when nobody has been there for the keep-alive time, then itself. It does not end it when
//! the server stops: participants may come back to the next one.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use darktower_core::meeting::lifecycle::MeetingStatus;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, MeetingSessionId, ParticipantId};
use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{MeetingController, lock};
use crate::storage::model::{Arrival, MeetingSession, Page};
use crate::storage::{Store, StoreError};

/// Facts of one meeting that may wait to be written beyond the leaves of those who are there.
const QUEUE: usize = 256;

/// Who comes waits this long for a place in the queue.
const PLACE_DEADLINE: Duration = Duration::from_secs(5);

/// Facts that are brought to the store at the same time.
const TOGETHER: usize = 32;

/// How often a write is tried while the database fails.
const WRITE_ATTEMPTS: u32 = 6;

/// Pause after the first failure; each one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// How often a task that has nothing to do looks whether somebody still refers to it.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// Stays read at a time when a session of an earlier server is taken over.
const ADOPTION_PAGE: u32 = 200;

/// The way to the records of one live meeting.
#[derive(Debug)]
pub(super) struct Attendance {
    queue: mpsc::UnboundedSender<Fact>,
    /// Bounds the queue.
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// What an [`Attendance`] and its task tell each other beside the queue.
#[derive(Debug, Default)]
struct Shared {
    /// The session that is known to run.
    session: Mutex<Option<MeetingSessionId>>,
    /// The meeting is over: its session ends as soon as all are out.
    over: Notify,
}

/// The places in the queue of one stay.
#[derive(Debug)]
pub(super) struct Places {
    attendance: Arc<Attendance>,
    places: OwnedSemaphorePermit,
}

/// The way to record that a participant has gone; it always has a place in the queue.
#[derive(Debug)]
pub(super) struct Departure {
    attendance: Arc<Attendance>,
    place: OwnedSemaphorePermit,
}

/// Somebody came.
pub(super) struct Coming {
    pub(super) participant: ParticipantId,
    pub(super) name: String,
    /// How long the session goes on without anybody.
    pub(super) keep_alive: Duration,
    /// Told when it is written.
    pub(super) written: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Fact {
    what: What,
    at: OffsetDateTime,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum What {
    Came {
        participant: ParticipantId,
        name: String,
        keep_alive: Duration,
        written: Option<oneshot::Sender<()>>,
    },
    Went {
        participant: ParticipantId,
        reason: &'static str,
    },
}

/// What the store says of somebody who came.
struct Stored {
    /// The session that it is in; `None` if it may not be there.
    session: Option<MeetingSession>,
    /// What a session that begins with it is called.
    new_session_id: MeetingSessionId,
}

impl What {
    fn participant(&self) -> ParticipantId {
        match self {
            Self::Came { participant, .. } | Self::Went { participant, .. } => *participant,
        }
    }
}

/// The database is too far behind to let more people in.
#[derive(Debug)]
pub(super) struct Behind;

impl Attendance {
    /// The records of a meeting that becomes live, and the task that writes them.
    pub(super) fn start(controller: Arc<MeetingController>, meeting: MeetingId) -> Arc<Self> {
        let (queue, facts) = mpsc::unbounded_channel();
        let capacity = controller.limits.max_participants.saturating_add(QUEUE);
        let attendance = Arc::new(Self {
            queue,
            places: Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS))),
            shared: Arc::default(),
        });
        let tasks = controller.writers.clone();
        let writer = Writer {
            meeting,
            facts,
            // Weak: the task ends when nobody can tell it anything any more.
            attendance: Arc::downgrade(&attendance),
            shared: Arc::clone(&attendance.shared),
            session: None,
            present: BTreeSet::new(),
            keep_alive: Duration::ZERO,
            ends: None,
            controller,
        };
        tasks.spawn(writer.run());
        attendance
    }

    /// Places for a stay. Cancelled, it takes none.
    pub(super) async fn reserve(self: Arc<Self>) -> Result<Places, Behind> {
        let places = Arc::clone(&self.places).acquire_many_owned(2);
        match tokio::time::timeout(PLACE_DEADLINE, places).await {
            Ok(Ok(places)) => Ok(Places { attendance: self, places }),
            Ok(Err(_)) | Err(_) => Err(Behind),
        }
    }

    /// Whether a session is known to run.
    pub(super) fn is_running(&self) -> bool {
        self.session().is_some()
    }

    /// The session that is known to run.
    pub(super) fn session(&self) -> Option<MeetingSessionId> {
        *lock(&self.shared.session)
    }

    /// The meeting is over: no more time is given to an empty session.
    pub(super) fn end(&self) {
        self.shared.over.notify_one();
    }
}

impl Places {
    /// Records that somebody comes now.
    pub(super) fn come(mut self, coming: Coming) -> Departure {
        let Coming { participant, name, keep_alive, written } = coming;
        if let Some(place) = self.places.split(1) {
            self.attendance.write(What::Came { participant, name, keep_alive, written }, place);
        }
        Departure { attendance: self.attendance, place: self.places }
    }
}

impl Departure {
    /// Records that the participant goes now.
    pub(super) fn go(self, participant: ParticipantId, reason: pb::LeaveReason) {
        let reason = reason_name(reason);
        self.attendance.write(What::Went { participant, reason }, self.place);
    }
}

impl Attendance {
    fn write(&self, what: What, place: OwnedSemaphorePermit) {
        // The task lives for as long as somebody can call this.
        let _task_gone = self.queue.send(Fact { what, at: OffsetDateTime::now_utc(), _place: place });
    }
}

/// What the records say of why somebody left.
fn reason_name(reason: pb::LeaveReason) -> &'static str {
    match reason {
        pb::LeaveReason::Voluntary => "voluntary",
        pb::LeaveReason::Kicked => "kicked",
        pb::LeaveReason::ConnectionLost => "connection_lost",
        pb::LeaveReason::MeetingEnded => "meeting_ended",
        pb::LeaveReason::Rejected => "rejected",
        pb::LeaveReason::Duplicate => "duplicate",
        pb::LeaveReason::Timeout => "timeout",
        pb::LeaveReason::Moved => "moved",
    }
}

/// Writes the facts of one meeting.
struct Writer {
    controller: Arc<MeetingController>,
    meeting: MeetingId,
    facts: mpsc::UnboundedReceiver<Fact>,
    attendance: Weak<Attendance>,
    shared: Arc<Shared>,
    /// The running session, as far as this task knows.
    session: Option<MeetingSessionId>,
    /// Who is there according to what has been written.
    present: BTreeSet<ParticipantId>,
    keep_alive: Duration,
    /// When the session ends, if nobody comes.
    ends: Option<Instant>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let wake = self.ends.unwrap_or_else(|| Instant::now() + IDLE_CHECK);
            let is_idle = self.session.is_none();
            tokio::select! {
                // What happened before the meeting was over is written first.
                biased;
                fact = self.facts.recv() => match fact {
                    Some(fact) => self.write(fact).await,
                    // The server stops. The session stays for the next one.
                    None => break,
                },
                () = self.shared.over.notified() => {
                    self.keep_alive = Duration::ZERO;
                    self.ends = self.ends.map(|_| Instant::now());
                }
                () = sleep_until(wake), if self.ends.is_some() => self.end_session().await,
                () = sleep_until(wake), if is_idle => {}
            }
            if self.session.is_none() && self.present.is_empty() && self.retire() {
                break;
            }
        }
        if let Some(session) = self.session {
            self.controller.forget_session(session);
        }
    }

    /// Takes the meeting's entry out of the table if nobody refers to it. Nobody can then tell this task anything.
    fn retire(&self) -> bool {
        let unused = |_: &MeetingId, entry: &Arc<Attendance>| {
            // Who holds a reference got it under the lock that is held here.
            std::ptr::eq(Arc::as_ptr(entry), self.attendance.as_ptr())
                && Arc::strong_count(entry) == 1
                && self.facts.is_empty()
        };
        self.controller.attendances.remove_if(&self.meeting, unused).is_some()
    }

    /// Writes a fact, and those that wait behind it.
    async fn write(&mut self, first: Fact) {
        let mut next = Some(first);
        while let Some(fact) = next.take() {
            let mut together = vec![fact];
            // The first one to come begins the session that the others are in.
            while self.session.is_some() && together.len() < TOGETHER {
                let Ok(fact) = self.facts.try_recv() else { break };
                let who = fact.what.participant();
                if together.iter().any(|earlier| earlier.what.participant() == who) {
                    next = Some(fact);
                    break;
                }
                together.push(fact);
            }
            self.write_together(together).await;
        }
    }

    /// Writes facts of different participants, which share a transaction as far as the store has room in one.
    async fn write_together(&mut self, facts: Vec<Fact>) {
        for fact in &facts {
            if let What::Came { participant, keep_alive, .. } = &fact.what {
                self.keep_alive = *keep_alive;
                self.ends = None;
                self.present.insert(*participant);
            }
        }
        let written = join_all(facts.iter().map(|fact| self.store(fact))).await;
        for (fact, written) in facts.into_iter().zip(written) {
            match fact.what {
                What::Came { participant, written: tell, .. } => {
                    match written {
                        Some(Stored { session: Some(session), new_session_id })
                            if self.session != Some(session.id) =>
                        {
                            self.begin(&session, new_session_id).await;
                        }
                        Some(Stored { session: Some(_), .. }) => {}
                        Some(Stored { session: None, .. }) => self.refused(participant).await,
                        // The log knows. Its leave will find no stay.
                        None => {}
                    }
                    if let Some(tell) = tell {
                        let _gave_up = tell.send(());
                    }
                }
                What::Went { participant, .. } => {
                    self.present.remove(&participant);
                    if self.present.is_empty() && self.session.is_some() {
                        self.ends = Some(Instant::now() + self.keep_alive);
                    }
                }
            }
        }
    }

    /// Brings a fact to the store. `None` if it is a leave, or cannot be written.
    async fn store(&self, fact: &Fact) -> Option<Stored> {
        let store = &self.controller.store;
        match &fact.what {
            What::Came { participant, name, .. } => {
                let new_session_id = MeetingSessionId::generate();
                let arrival = Arrival {
                    meeting_id: self.meeting,
                    new_session_id,
                    participant_id: *participant,
                    name: name.clone(),
                    at: fact.at,
                };
                let session = persist(self.meeting, "a join", || store.arrive(&arrival)).await?;
                Some(Stored { session, new_session_id })
            }
            What::Went { participant, reason } => {
                let session = self.session?;
                let depart = || store.depart(session, *participant, fact.at, reason);
                persist(self.meeting, "a leave", depart).await;
                None
            }
        }
    }

    /// The facts have changed since the newcomer was checked: it was removed, or the meeting ended, deleted, or put back to
    /// its time.
    async fn refused(&mut self, participant: ParticipantId) {
        let meeting =
            persist(self.meeting, "a join", || self.controller.store.meeting(self.meeting)).await.flatten();
        let (code, reason) = match meeting.map(|meeting| meeting.status) {
            // It was begun early, and over when this one came.
            Some(MeetingStatus::Scheduled) => (Code::UNAUTHORIZED, pb::LeaveReason::Rejected),
            Some(status) if status.is_joinable() => (Code::KICKED, pb::LeaveReason::Kicked),
            _ => {
                let (code, reason) = (Code::MEETING_ENDED, pb::LeaveReason::MeetingEnded);
                self.controller.expel_all(self.meeting, code, reason);
                self.keep_alive = Duration::ZERO;
                return;
            }
        };
        self.controller.expel(self.meeting, participant, code, reason);
    }

    async fn begin(&mut self, session: &MeetingSession, new_session_id: MeetingSessionId) {
        tracing::info!(meeting = %self.meeting, session = %session.id, "session");
        if let Some(ended_by_others) = self.session.replace(session.id) {
            self.controller.forget_session(ended_by_others);
        }
        self.controller.remember_session(session.id);
        *lock(&self.shared.session) = self.session;
        if session.id != new_session_id
            && let Err(error) = self.adopt(session.id).await
        {
            tracing::warn!(meeting = %self.meeting, %error, "cannot close stays of an earlier server");
        }
    }

    /// Takes over a session of a server that is gone: who is not here is not there any more.
    async fn adopt(&self, session: MeetingSessionId) -> Result<(), StoreError> {
        let store = &self.controller.store;
        for offset in (0..).step_by(ADOPTION_PAGE as usize) {
            let stays = store.attendances(session, Page { limit: ADOPTION_PAGE, offset }).await?.items;
            let is_last = stays.len() < ADOPTION_PAGE as usize;
            let ghosts = stays.iter().filter(|stay| stay.left_at.is_none());
            for ghost in ghosts.filter(|stay| !self.present.contains(&stay.participant_id)) {
                let reason = reason_name(pb::LeaveReason::ConnectionLost);
                store.depart(session, ghost.participant_id, OffsetDateTime::now_utc(), reason).await?;
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    async fn end_session(&mut self) {
        self.ends = None;
        let Some(session) = self.session.take() else { return };
        let store = &self.controller.store;
        persist(self.meeting, "the end of a session", || {
            store.end_session(session, OffsetDateTime::now_utc())
        })
        .await;
        self.controller.forget_session(session);
        *lock(&self.shared.session) = None;
        tracing::info!(meeting = %self.meeting, %session, "session ended");
    }
}

/// Writes a fact, again if the database fails. `None` if it goes on failing.
async fn persist<T, F>(meeting: MeetingId, what: &str, write: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_RETRY;
    for attempt in 1..=WRITE_ATTEMPTS {
        match write().await {
            Ok(value) => return Some(value),
            Err(error) if attempt == WRITE_ATTEMPTS => {
                tracing::error!(%meeting, error = &error as &dyn std::error::Error, "{what} is not recorded");
            }
            Err(error) => {
                tracing::warn!(%meeting, error = &error as &dyn std::error::Error, "cannot record {what} yet");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    None
}

/// Says every so often which sessions run here, so that nobody takes them for those of a dead server.
pub(super) async fn keep_alive(
    store: Arc<dyn Store>,
    running: impl Fn() -> Vec<MeetingSessionId>,
    every: Duration,
) {
    loop {
        tokio::time::sleep(every).await;
        let ids = running();
        if ids.is_empty() {
            continue;
        }
        if let Err(error) = store.touch_sessions(&ids, OffsetDateTime::now_utc()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot note that sessions run");
        }
    }
}
