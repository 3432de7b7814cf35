//! What the server does by itself: meetings that begin and end by the clock, sessions whose server is gone, and what is
//! over for longer than it is kept.
//!
//! One task runs all jobs. A job begins its next run when an interval has passed since the end of the last one, so that it
//! never overlaps itself; a run that fails is logged and made up for by the next. Several servers may run the same job on
//! one store: each step is one write that finds nothing to do the second time.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use darktower_core::meeting::lifecycle::{LifecycleEvent, Scheduling};
use darktower_protocol::OrganizationId;
use serde_json::json;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::LiveMeetings;
use super::audit::{Audit, Who};
use super::meetings::removal;
use crate::config::Config;
use crate::storage::model::MeetingSession;
use crate::storage::{Store, StoreError};

/// The jobs of one server.
pub struct Jobs {
    store: Arc<dyn Store>,
    live: Arc<dyn LiveMeetings>,
    audit: Audit,
    settings: crate::config::Jobs,
    max_meeting_minutes: u32,
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
        Self { store, live, audit, settings: config.jobs, max_meeting_minutes }
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
        let seconds = i64::try_from(self.settings.stale_after_seconds).unwrap_or(i64::MAX);
        let stale = self.store.stale_sessions(now - time::Duration::seconds(seconds)).await?;
        let mut ended = 0;
        for session in stale {
            if self.store.end_session(session.id, now).await? {
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
        let removal = removal(session.meeting_id, None, true);
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
        let keep_since = now - time::Duration::days(self.settings.retention_days.into());
        let mut removed = 0;
        loop {
            let cleaned = self.store.clean(now, keep_since).await?;
            let portion = cleaned.secrets
                + cleaned.removals
                + cleaned.meetings
                + cleaned.sessions
                + cleaned.audit_entries;
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
