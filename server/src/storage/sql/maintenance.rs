use async_trait::async_trait;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::deletions_about_sessions;
use super::dialect::{Backend, Query};
use super::participants::PARTICIPANTS_OF_MEETING;
use crate::storage::model::{Cleaned, KeepSince};
use crate::storage::representation::micros;
use crate::storage::store::{Maintenance, Stored};

/// Rows that one statement removes: a few milliseconds of work.
const PORTION: i64 = 1000;
/// Meetings and sessions that one call removes: each may have many rows about it.
const FEW: i64 = 50;
/// How long a removal stays: far longer than a server takes to see it.
const REMOVALS_KEPT: Duration = Duration::hours(1);

#[async_trait]
impl Maintenance for Backend {
    async fn check(&self) -> Stored<()> {
        sqlx::query("SELECT 1 FROM meetings LIMIT 1").fetch_optional(self.reader()).await?;
        Ok(())
    }

    async fn clean(&self, now: OffsetDateTime, keep: KeepSince) -> Stored<Cleaned> {
        let keep_since = keep.records;
        let before = |query: Query, time: OffsetDateTime| query.bind(micros(time)).bind(PORTION);
        let tokens = before(
            sqlx::query(
                "DELETE FROM refresh_tokens WHERE hash IN \
                 (SELECT hash FROM refresh_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            ),
            now,
        );
        let setups = before(
            sqlx::query(
                "DELETE FROM setup_secrets WHERE hash IN \
                 (SELECT hash FROM setup_secrets WHERE expires_at <= $1 LIMIT $2)",
            ),
            now,
        );
        let removals = before(
            sqlx::query(
                "DELETE FROM removals WHERE id IN (SELECT id FROM removals WHERE at < $1 ORDER BY at LIMIT $2)",
            ),
            now - REMOVALS_KEPT,
        );
        // Whoever was there then stays in the records of its sessions, which say who it was by themselves. Compared again
        // when the row is locked: a token may have been renewed meanwhile.
        let participants = before(
            sqlx::query(
                "DELETE FROM participants WHERE expires_at < $1 AND id IN \
                 (SELECT id FROM participants WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            ),
            keep_since,
        );
        let audit_entries = before(
            sqlx::query(
                "DELETE FROM audit_entries WHERE id IN \
                 (SELECT id FROM audit_entries WHERE at < $1 ORDER BY at LIMIT $2)",
            ),
            keep_since,
        );
        let quality_samples = before(
            sqlx::query(
                "DELETE FROM quality_samples WHERE (session_id, participant_id, at) IN \
                 (SELECT session_id, participant_id, at FROM quality_samples WHERE at < $1 ORDER BY at LIMIT $2)",
            ),
            keep.quality_samples,
        );
        Ok(Cleaned {
            secrets: self.execute(tokens).await? + self.execute(setups).await?,
            removals: self.execute(removals).await?,
            sessions: self.clean_sessions(keep_since).await?,
            meetings: self.clean_meetings(keep_since).await?,
            participants: self.execute(participants).await?,
            audit_entries: self.execute(audit_entries).await?,
            quality_samples: self.execute(quality_samples).await?,
        })
    }

    async fn close(&self) {
        self.close_pools().await;
    }
}

impl Backend {
    async fn clean_sessions(&self, keep_since: OffsetDateTime) -> Stored<u64> {
        let sessions: Vec<Uuid> =
            sqlx::query_scalar("SELECT id FROM sessions WHERE ended_at < $1 ORDER BY ended_at LIMIT $2")
                .bind(micros(keep_since))
                .bind(FEW)
                .fetch_all(self.reader())
                .await?;
        let mut removed = 0;
        for session in sessions {
            for deletion in deletions_about_sessions!("sessions.id = $1") {
                self.delete_in_portions(session, deletion).await?;
            }
            removed += self.execute(sqlx::query("DELETE FROM sessions WHERE id = $1").bind(session)).await?;
        }
        Ok(removed)
    }

    async fn clean_meetings(&self, keep_since: OffsetDateTime) -> Stored<u64> {
        // A session may still run in a meeting that is over, until its server has noticed.
        let meetings: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM meetings WHERE ended_at < $1 AND status IN ('ended', 'cancelled', 'failed') \
             AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.meeting_id = meetings.id) \
             ORDER BY ended_at LIMIT $2",
        )
        .bind(micros(keep_since))
        .bind(FEW)
        .fetch_all(self.reader())
        .await?;
        let mut removed = 0;
        for meeting in meetings {
            self.delete_in_portions(meeting, PARTICIPANTS_OF_MEETING).await?;
            removed += self.execute(sqlx::query("DELETE FROM meetings WHERE id = $1").bind(meeting)).await?;
        }
        Ok(removed)
    }

    /// Repeats a deletion about `id`, its first argument, of at most [`PORTION`] rows, the second, until nothing is left.
    pub(super) async fn delete_in_portions(&self, id: Uuid, deletion: &'static str) -> Stored<()> {
        while self.execute(sqlx::query(deletion).bind(id).bind(PORTION)).await? > 0 {}
        Ok(())
    }
}
