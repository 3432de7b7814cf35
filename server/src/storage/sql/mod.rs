//! The queries, by aggregate, in the SQL that both databases understand.
//!
//! Each backend has this folder as a module of its own, and `dialect` is the one beside it. Rows are locked from the
//! outside in, so that no two transactions about one meeting wait for each other: organization, user, meeting, session, then
//! the rest. Those about several meetings (joins that come together, jobs) may, with several servers: PostgreSQL breaks off
//! one of them after a second; joins are then made one by one, and a job is done at its next time.

#![expect(clippy::duplicate_mod, reason = "two modules of one file are the point")]

mod audit;
mod batch;
mod clients;
mod maintenance;
mod meetings;
mod organizations;
mod participants;
mod presets;
mod quality;
mod row;
mod sessions;
mod users;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Pool};

use super::dialect;
use crate::storage::model::{AuditEntry, IssuedParticipant, Meeting, QualitySample};
use crate::storage::store::Stored;
use batch::Batches;
use dialect::{BEGIN_WRITE, Backend, Connection, Db, Query};
use sessions::{Noted, Presence};

/// What creating, joining and being in a meeting writes: all of it comes in crowds.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    meetings: Arc<Batches<(Meeting, IssuedParticipant), ()>>,
    participants: Arc<Batches<IssuedParticipant, ()>>,
    presences: Arc<Batches<Presence, Noted>>,
    audit_entries: Arc<Batches<AuditEntry, ()>>,
    quality_samples: Arc<Batches<QualitySample, ()>>,
}

impl Queues {
    /// Queues that write through `pool`.
    pub(super) fn new(pool: &Pool<Db>) -> Self {
        Self {
            meetings: Arc::new(Batches::new(pool, meetings::create_meetings, false)),
            participants: Arc::new(Batches::new(pool, participants::insert_participants, true)),
            presences: Arc::new(Batches::new(pool, sessions::note_presences, false)),
            audit_entries: Arc::new(Batches::new(pool, audit::insert_entries, true)),
            quality_samples: Arc::new(Batches::new(pool, quality::add_samples, false)),
        }
    }

    /// Makes the writes that wait. Later ones fail.
    pub(super) async fn close(&self) {
        self.meetings.close().await;
        self.participants.close().await;
        self.presences.close().await;
        self.audit_entries.close().await;
        self.quality_samples.close().await;
    }
}

impl Backend {
    /// Runs a statement that writes, by itself. Returns how many rows it changed.
    pub(super) async fn execute(&self, statement: Query) -> Stored<u64> {
        Ok(statement.execute(self.writer()).await?.rows_affected())
    }

    /// Runs statements that write, all or none. Returns how many rows the last one changed.
    pub(super) async fn execute_all(&self, statements: Vec<Query>) -> Stored<u64> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut changed = 0;
                for statement in statements {
                    changed = statement.execute(&mut *connection).await?.rows_affected();
                }
                Ok(changed)
            })
        })
        .await
    }

    /// Runs `work` in a transaction that is kept if it returns `Ok`.
    pub(super) async fn write<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Stored<T>> + Send + 'static,
    ) -> Stored<T>
    where
        T: Send + 'static,
    {
        let mut transaction = self.writer().begin_with(BEGIN_WRITE).await?;
        let done = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(done)
    }
}

/// Rows that one statement inserts at most: each number of them is a statement to prepare and to keep.
const ROWS: usize = 32;
/// Prepared statements that a connection keeps: inserts of each number of rows into two tables, and all others.
pub(super) const STATEMENTS: usize = 160;

/// The statements that insert `items` with `insert`, at most [`ROWS`] with each: `INSERT INTO … VALUES` without the
/// values, of which `bind` binds `columns` for an item.
fn insert_rows<I>(
    insert: &str,
    columns: usize,
    items: &[I],
    bind: impl Fn(Query, &I) -> Query,
) -> Vec<Query> {
    let statement = |items: &[I]| {
        let mut text = insert.to_owned();
        for row in 0..items.len() {
            text.push_str(if row == 0 { " (" } else { ", (" });
            for column in 1..=columns {
                text.push_str(if column == 1 { "$" } else { ", $" });
                text.push_str(&(row * columns + column).to_string());
            }
            text.push(')');
        }
        items.iter().fold(sqlx::query(AssertSqlSafe(text)), &bind)
    };
    items.chunks(ROWS).map(statement).collect()
}

/// The deletions of what there may be much of about sessions, a portion at a time, where `$1` is what the condition says
/// and `$2` how many rows.
macro_rules! deletions_about_sessions {
    ($condition:literal) => {
        [
            deletions_about_sessions!("attendances", "number", $condition),
            deletions_about_sessions!("quality_samples", "session_id, participant_id, at", $condition),
            deletions_about_sessions!("quality_totals", "session_id, participant_id", $condition),
        ]
    };
    ($table:literal, $key:literal, $condition:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " JOIN sessions ON sessions.id = session_id WHERE ",
            $condition,
            " LIMIT $2)"
        )
    };
}
use deletions_about_sessions;

/// A query for a page of a list that also counts the whole list, at the same moment. The query must bind the limit and
/// the offset at the given places. Counts in the column `total`; see [`row::listed`].
macro_rules! page {
    ($matching:expr, order by $order:literal, limit $limit:literal, offset $offset:literal) => {
        concat!(
            "WITH matching AS NOT MATERIALIZED (",
            $matching,
            ") SELECT total, page.* FROM (SELECT count(*) AS total FROM matching) AS counted \
             LEFT JOIN (SELECT * FROM matching ORDER BY ",
            $order,
            " LIMIT ",
            $limit,
            " OFFSET ",
            $offset,
            ") AS page ON TRUE ORDER BY ",
            $order
        )
    };
}
use page;
