//! The embedded backend: one SQLite file in the data folder.

mod dialect;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::migrations::{MigrationFile, migration_error, migrator};
use super::open::unavailable;
use super::representation::search_text;
use super::store::Stored;
use dialect::{BEGIN_WRITE, Connection};
use sql::{Queues, STATEMENTS};
use uuid::Uuid;

/// Connections for reading; more than this only wait for each other.
const READERS: u32 = 4;
/// How long a writer waits for another process, such as a backup or the command line, before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an operation waits for its turn before it fails.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks whether somebody else still opens a database in the same folder.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Bytes of the write-ahead log that stay on the disk when it is not needed.
const LOG_SIZE: &str = "67108864";

/// Version, name and text of the steps that tables are brought up to date by. What was released never changes.
const MIGRATIONS: [MigrationFile; 3] = [
    (1, "meetings", include_str!("../migrations/sqlite/0001_meetings.sql")),
    (2, "organizations", include_str!("../migrations/sqlite/0002_organizations.sql")),
    (3, "quality", include_str!("../migrations/sqlite/0003_quality.sql")),
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
    /// [`StoreError::Unavailable`](super::StoreError::Unavailable) if the file cannot be opened or is no database, [`StoreError::Newer`](super::StoreError::Newer) if it is newer
    /// than this program.
    pub async fn open(path: &Path) -> Stored<Self> {
        let database = format!("the database {}", path.display());
        let _opening_alone = lock_folder(path).await.map_err(|error| unavailable(&database, error))?;
        match create_private(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(unavailable(&database, error));
            }
            _made_or_there => {}
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: in WAL mode NORMAL may lose acknowledged writes when the machine loses power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            // After a large write the log does not stay as large.
            .pragma("journal_size_limit", LOG_SIZE)
            .statement_cache_capacity(STATEMENTS)
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN_TIMEOUT)
            // A file does not hang up.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await
            .map_err(|error| unavailable(&database, error))?;
        migrate(&writer, &database).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(TURN_TIMEOUT)
            // A file does not hang up.
            .test_before_acquire(false)
            // No query that reads writes by mistake.
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(|error| unavailable(&database, error))?;
        Ok(Self { readers, queues: Queues::new(&writer), writer })
    }

    /// Writes a copy of the database file `from`, as it is at one moment and whatever version it has, to a new file that only
    /// this account can read. Others go on reading and writing meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](super::StoreError::Unavailable) if there is such a file already or it cannot be written; then nothing is left of it.
    pub async fn backup(from: &Path, to: &Path) -> Stored<()> {
        let file = format!("the backup {}", to.display());
        let text = to.to_str().ok_or_else(|| {
            unavailable(&file, IoError::other("the database needs a path that is valid Unicode"))
        })?;
        // SQLite writes to a file that is there if it is empty.
        create_private(to).map_err(|error| unavailable(&file, error))?;
        let copied = async {
            let options = SqliteConnectOptions::new().filename(from).busy_timeout(BUSY_TIMEOUT);
            let mut connection = options.read_only(true).connect().await?;
            sqlx::query("VACUUM INTO $1").bind(text).execute(&mut connection).await?;
            connection.close().await?;
            // The copy is not synced to the disk by itself.
            tokio::fs::File::open(to).await?.sync_all().await?;
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = copied.await {
            tokio::fs::remove_file(to).await.ok();
            return Err(unavailable(&file, error));
        }
        Ok(())
    }

    /// Reads the whole database and says what is wrong in it; nothing if all is well.
    pub async fn integrity_check(&self) -> Stored<Vec<String>> {
        let mut problems: Vec<String> =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&self.readers).await?;
        problems.retain(|problem| problem != "ok");
        let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&self.readers).await?;
        for row in dangling {
            let (table, parent): (String, String) = (row.try_get("table")?, row.try_get("parent")?);
            problems.push(format!("a row of {table} refers to one of {parent} that is not there"));
        }
        Ok(problems)
    }

    fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    async fn close_pools(&self) {
        self.queues.close().await;
        // The writer last: who closes the file last tidies up the write-ahead log.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes an empty file that only this account can read, as SQLite then makes the ones beside it. One that is there is an error
/// and is not touched: opening and closing it would take away the locks that SQLite has on it in this process.
fn create_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Waits until nobody else opens a database in the same folder. SQLite makes its writers wait for each other, but not those who
/// switch a new file to the write-ahead log at the same time: all but one are told that it is locked. Where the file
/// system has no such locks, nobody waits.
async fn lock_folder(path: &Path) -> std::io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    let locked = async {
        while let Err(TryLockError::WouldBlock) = folder.try_lock() {
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    };
    let too_long = |_| IoError::new(ErrorKind::TimedOut, "another process has been opening it for too long");
    tokio::time::timeout(TURN_TIMEOUT, locked).await.map_err(too_long)?;
    Ok(folder)
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
