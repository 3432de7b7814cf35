//! The embedded backend: one SQLite file in the data folder.

mod dialect;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::migrations::{MigrationFile, migration_error, migrator};
use super::open::unavailable;
use super::representation::search_text;
use super::store::Stored;
use dialect::{BEGIN_WRITE, Connection, Query};
use sql::Queues;
use uuid::Uuid;

/// Connections for reading; more than this only wait for each other.
const READERS: u32 = 4;
/// How long a writer waits for another process, such as a backup or the command line, before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an operation waits for its turn before it fails.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Version, name and text of the steps that tables are brought up to date by. What was released never changes.
const MIGRATIONS: [MigrationFile; 2] = [
    (1, "meetings", include_str!("../migrations/sqlite/0001_meetings.sql")),
    (2, "organizations", include_str!("../migrations/sqlite/0002_organizations.sql")),
];

/// A [`Store`](super::Store) in one SQLite file, with write-ahead log and a sync to disk before a write returns.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    /// One connection: SQLite has one writer at a time, and who waits here is served in turn.
    writer: SqlitePool,
    queues: Queues,
}

impl SqliteStore {
    /// Opens the database file, creates it if missing and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file cannot be opened or is no database, [`StoreError::Newer`] if it is newer
    /// than this program.
    pub async fn open(path: &Path) -> Stored<Self> {
        let database = format!("the database {}", path.display());
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: in WAL mode NORMAL may lose acknowledged writes when the machine loses power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(|error| unavailable(&database, error))?;
        migrate(&writer, &database).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(TURN_TIMEOUT)
            // No query that reads writes by mistake.
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(|error| unavailable(&database, error))?;
        Ok(Self { readers, queues: Queues::new(&writer), writer })
    }

    fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Runs a statement that writes, by itself. Returns how many rows it changed.
    async fn execute(&self, statement: Query) -> Stored<u64> {
        Ok(statement.execute(&self.writer).await?.rows_affected())
    }

    /// Runs statements that write, all or none. Returns how many rows the last one changed.
    async fn execute_all(&self, statements: Vec<Query>) -> Stored<u64> {
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
    async fn write<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Stored<T>> + Send + 'static,
    ) -> Stored<T>
    where
        T: Send + 'static,
    {
        let mut transaction = self.writer.begin_with(BEGIN_WRITE).await?;
        let done = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(done)
    }

    async fn close_pools(&self) {
        self.queues.close().await;
        // The writer last: who closes the file last tidies up the write-ahead log.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Brings the tables up to date in one step, alone: another process may be opening the same file.
async fn migrate(writer: &SqlitePool, database: &str) -> Stored<()> {
    let failed = |error| unavailable(database, error);
    let mut transaction = writer.begin_with(BEGIN_WRITE).await.map_err(failed)?;
    // Only the first version had this column.
    let is_first_version: bool = sqlx::query_scalar(
        "SELECT count(*) > 0 FROM pragma_table_info('meetings') WHERE name = 'require_auth'",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(failed)?;
    let migrations = migrator(&MIGRATIONS);
    migrations
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| migration_error(database, &migrations, error))?;
    if is_first_version {
        make_searchable(&mut transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

/// Fills in what SQL cannot: the names of meetings in lower case.
async fn make_searchable(connection: &mut Connection) -> Result<(), sqlx::Error> {
    let names: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT id, display_name FROM meetings").fetch_all(&mut *connection).await?;
    for (id, name) in names {
        sqlx::query("UPDATE meetings SET search_text = $1 WHERE id = $2")
            .bind(search_text(&[&name, ""]))
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
