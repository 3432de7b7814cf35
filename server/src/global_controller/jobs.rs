//! What the server does by itself: meetings that begin and end by the clock, sessions whose server is gone, and what is
//! over for longer than it is kept.
//!
//! One task runs all jobs. A job begins its next run when an interval has passed since the end of the last one, so that it
//! never overlaps itself; a run that fails is logged and made up for by the next. Several servers may run the same job on
//! one store: each step is one write that finds nothing to do the second time.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use darktower_core::meeting::lifecycle::{LifecycleEvent, Scheduling};
use darktower_protocol::OrganizationId;
use serde_json::json;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::LiveMeetings;
use super::audit::{Audit, Who};

use crate::config::Config;
use crate::storage::model::{KeepSince, MeetingSession, Removal};
use crate::storage::{Store, StoreError};

/// A job that comes later than this did not just wait for its turn: the machine slept, or the database kept it waiting.
const LATE: time::Duration = time::Duration::seconds(30);

/// The jobs of one server.
pub struct Jobs {
    store: Arc<dyn Store>,
    live: Arc<dyn LiveMeetings>,
    audit: Audit,
    settings: crate::config::Jobs,
    max_meeting_minutes: u32,
    contact: Mutex<Contact>,
}

/// Since when this server has reached the database without a gap. Others give their signs of life through the same
/// database: who could not look cannot tell that they gave none.
#[derive(Debug, Default)]
struct Contact {
    since: Option<OffsetDateTime>,
    last: Option<OffsetDateTime>,
}

impl Contact {
    /// Notes whether the database was reached at `now`, as it is tried every `interval`; says whether it has been for at
    /// least `long`.
    fn note(
        &mut self,
        now: OffsetDateTime,
        is_reached: bool,
        interval: time::Duration,
        long: time::Duration,
    ) -> bool {
        let gap = self.last.map_or(time::Duration::ZERO, |last| now - last);
        // Into the past: somebody has set the clock.
        if !is_reached || gap > interval + LATE || gap.is_negative() {
            self.since = None;
        }
        self.last = Some(now);
        is_reached && now - *self.since.get_or_insert(now) >= long
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    ActivateDue,
    StaleSessions,
    OverlongSessions,
    UnjoinedMeetings,
    Clean,
}

impl Job {
    const ALL: [Self; 5] =
        [Self::ActivateDue, Self::StaleSessions, Self::OverlongSessions, Self::UnjoinedMeetings, Self::Clean];

    fn name(self) -> &'static str {
        match self {
            Self::ActivateDue => "activate_due",
            Self::StaleSessions => "stale_sessions",
            Self::OverlongSessions => "overlong_sessions",
            Self::UnjoinedMeetings => "unjoined_meetings",
            Self::Clean => "clean",
        }
    }
}

impl Jobs {
    /// Jobs that work on `store`; who is in a meeting that they end is thrown out of `live`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, live: Arc<dyn LiveMeetings>, config: &Config) -> Self {
        let audit = Audit::new(Arc::clone(&store));
        let max_meeting_minutes = config.limits.max_meeting_minutes;
        let contact = Mutex::default();
        Self { store, live, audit, settings: config.jobs, max_meeting_minutes, contact }
    }

    /// As if they had reached the database since `since`.
    #[cfg(test)]
    pub(super) fn in_contact_since(self, since: OffsetDateTime) -> Self {
        let contact = Contact { since: Some(since), last: Some(OffsetDateTime::now_utc()) };
        Self { contact: Mutex::new(contact), ..self }
    }

    /// Runs them until `stop` is cancelled and the runs under way have ended.
    pub async fn run(self, stop: CancellationToken) {
        futures_util::future::join_all(Job::ALL.map(|job| self.repeat(job, &stop))).await;
    }

    async fn repeat(&self, job: Job, stop: &CancellationToken) {
        let seconds = match job {
            Job::ActivateDue => self.settings.activate_due_seconds,
            Job::StaleSessions => self.settings.stale_sessions_seconds,
            Job::OverlongSessions => self.settings.overlong_sessions_seconds,
            Job::UnjoinedMeetings => self.settings.unjoined_meetings_seconds,
            Job::Clean => self.settings.clean_seconds,
        };
        if seconds == 0 {
            return;
        }
        while !stop.is_cancelled() {
            self.run_once(job).await;
            let _stopped = tokio::time::timeout(Duration::from_secs(seconds), stop.cancelled()).await;
        }
    }

    async fn run_once(&self, job: Job) {
        let done = match job {
            Job::ActivateDue => self.activate_due().await,
            Job::StaleSessions => self.end_stale().await,
            Job::OverlongSessions => self.end_overlong().await,
            Job::UnjoinedMeetings => self.end_unjoined().await,
            Job::Clean => self.clean().await,
        };
        let name = job.name();
        let result = match done {
            Ok(changed) => {
                tracing::debug!(job = name, changed, "job");
                "ok"
            }
            Err(error) => {
                tracing::error!(job = name, error = &error as &dyn Error, "a job failed; it is tried again");
                "error"
            }
        };
        metrics::counter!("job_runs_total", "job" => name, "result" => result).increment(1);
    }

    async fn activate_due(&self) -> Result<u64, StoreError> {
        let activated = self.store.activate_due(OffsetDateTime::now_utc()).await?;
        for id in &activated {
            tracing::info!(meeting = %id, "the time of a scheduled meeting has come");
            if let Some(meeting) = self.store.meeting(*id).await? {
                self.record(meeting.organization_id, "meeting.start", id.to_string()).await?;
            }
        }
        Ok(activated.len() as u64)
    }

    async fn end_stale(&self) -> Result<u64, StoreError> {
        let now = OffsetDateTime::now_utc();
        let seconds = |seconds: u64| time::Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
        let stale_after = seconds(self.settings.stale_after_seconds);
        // Those that run here first: after an outage of the database they look as if nobody took care of them.
        let found = match self.store.touch_sessions(&self.live.running_sessions(), now).await {
            Ok(()) => self.store.stale_sessions(now - stale_after).await,
            Err(error) => Err(error),
        };
        let interval = seconds(self.settings.stale_sessions_seconds);
        let knows_others = {
            let mut contact = self.contact.lock().expect("no code panics while it holds this lock");
            contact.note(now, found.is_ok(), interval, stale_after)
        };
        let stale = found?;
        if !knows_others {
            return Ok(0);
        }
        let mut ended = 0;
        for session in stale {
            // Nobody knows that it went on after that.
            if self.store.end_session(session.id, session.last_seen_at).await? {
                tracing::warn!(meeting = %session.meeting_id, session = %session.id, "ended a session whose server is gone");
                ended += 1;
            }
        }
        Ok(ended)
    }

    async fn end_overlong(&self) -> Result<u64, StoreError> {
        let now = OffsetDateTime::now_utc();
        let overlong = self.store.overlong_sessions(now, self.max_meeting_minutes).await?;
        let mut ended = 0;
        for session in overlong {
            ended += u64::from(self.end_meeting(&session, now).await?);
        }
        Ok(ended)
    }

    /// Ends a session and, unless it is permanent, its meeting. `false` if somebody else changes it: the next run will find
    /// what is left to do.
    async fn end_meeting(&self, session: &MeetingSession, now: OffsetDateTime) -> Result<bool, StoreError> {
        let removal = Removal::now(session.meeting_id, None, true);
        let meeting = self.store.meeting(session.meeting_id).await?;
        let meeting = meeting.filter(|meeting| meeting.scheduling != Scheduling::Permanent);
        let after =
            meeting.and_then(|meeting| Some((meeting.status.after(LifecycleEvent::End).ok()?, meeting)));
        match after {
            Some((status, mut meeting)) => {
                meeting.status = status;
                meeting.ended_at = Some(now);
                meeting.updated_at = now;
                if !self.store.update_meeting(&meeting, Some(&removal)).await? {
                    return Ok(false);
                }
            }
            None => self.store.remove_all(&removal).await?,
        }
        // Where it is held, it is ended when the leaves are recorded.
        if self.live.remove(&removal) == 0 {
            self.store.end_session(session.id, now).await?;
        }
        tracing::info!(meeting = %session.meeting_id, session = %session.id, "ended a session at its longest time");
        self.record(session.organization_id, "meeting.end", session.meeting_id.to_string()).await?;
        Ok(true)
    }

    async fn end_unjoined(&self) -> Result<u64, StoreError> {
        let now = OffsetDateTime::now_utc();
        let before = now - time::Duration::hours(self.settings.unjoined_after_hours.into());
        let ended = self.store.end_unjoined(now, before).await?;
        for id in &ended {
            tracing::info!(meeting = %id, "ended a meeting that nobody joined");
        }
        Ok(ended.len() as u64)
    }

    async fn clean(&self) -> Result<u64, StoreError> {
        let now = OffsetDateTime::now_utc();
        let ago = |days: u32| now - time::Duration::days(days.into());
        let keep = KeepSince {
            records: ago(self.settings.retention_days),
            quality_samples: ago(self.settings.quality_retention_days),
        };
        let mut removed = 0;
        loop {
            let cleaned = self.store.clean(now, keep).await?;
            let portion = cleaned.secrets
                + cleaned.removals
                + cleaned.meetings
                + cleaned.participants
                + cleaned.sessions
                + cleaned.audit_entries
                + cleaned.quality_samples;
            if portion == 0 {
                return Ok(removed);
            }
            removed += portion;
            tracing::debug!(?cleaned, "cleaned");
        }
    }

    async fn record(
        &self,
        organization: OrganizationId,
        action: &'static str,
        meeting: String,
    ) -> Result<(), StoreError> {
        let who = Who { organization: Some(organization), kind: "system", id: None, request_id: None };
        self.audit.record(who, action, Some(("meeting", meeting)), json!({})).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_away_waits_until_others_have_given_signs() {
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds);
        let mut contact = Contact::default();
        let mut note = |second, is_reached| {
            contact.note(at(second), is_reached, time::Duration::MINUTE, time::Duration::minutes(2))
        };
        assert!(!note(0, true), "has just begun");
        assert!(!note(60, true));
        assert!(note(120, true), "has looked for long enough");
        assert!(note(181, true));
        assert!(!note(240, false), "an outage");
        assert!(!note(300, true));
        assert!(!note(360, true));
        assert!(note(420, true));
        assert!(!note(600, true), "was suspended");
        assert!(!note(660, true));
        assert!(note(720, true));
        assert!(!note(700, true), "the clock was set back");
        assert!(!note(760, true));
        assert!(note(820, true));
    }
}
