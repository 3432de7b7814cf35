//! The embedded backend: one SQLite file in the data folder.

use std::path::Path;
use std::time::Duration;

use darktower_protocol::{MeetingId, ParticipantId};
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::error::ErrorKind;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::store::{
    IssuedParticipant, Meeting, MeetingFilter, MeetingPage, MeetingSettings, Store, StoreError,
};

/// Readers run beside the one writer that SQLite allows; more connections than this only wait for each other.
const CONNECTIONS: u32 = 4;
/// How long a writer waits for another one (also another process, such as a backup) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A [`Store`] in one SQLite file, with write-ahead log and a sync to disk before a write returns.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the database file, creates it if missing and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if the file cannot be opened, is no database, or is newer than this program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: in WAL mode NORMAL may lose acknowledged writes when the machine loses power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(backend)?;
        sqlx::migrate!("src/storage/migrations")
            .run(&pool)
            .await
            .map_err(|error| StoreError::Backend(Box::new(error)))?;
        Ok(Self { pool })
    }

    /// Waits for running operations and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Store for SqliteStore {
    fn create_meeting<'a>(
        &'a self,
        meeting: &'a Meeting,
        host: &'a IssuedParticipant,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            // IMMEDIATE: a transaction that turned into a writer later would fail instead of waiting.
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(backend)?;
            sqlx::query(
                "INSERT INTO meetings (id, slug, display_name, max_participants, enable_e2e_encryption, \
                 require_auth, recording_enabled, created_by, created_at, ended_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(meeting_key(meeting.id))
            .bind(&meeting.slug)
            .bind(&meeting.display_name)
            .bind(meeting.max_participants)
            .bind(meeting.settings.enable_e2e_encryption)
            .bind(meeting.settings.require_auth)
            .bind(meeting.settings.recording_enabled)
            .bind(&meeting.created_by)
            .bind(micros(meeting.created_at))
            .bind(meeting.ended_at.map(micros))
            .execute(&mut *transaction)
            .await
            .map_err(write_error)?;
            insert_participant(&mut *transaction, host).await?;
            transaction.commit().await.map_err(backend)
        })
    }

    fn meeting(&self, id: MeetingId) -> BoxFuture<'_, Result<Option<Meeting>, StoreError>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM meetings WHERE id = ?")
                .bind(meeting_key(id))
                .fetch_optional(&self.pool)
                .await
                .map_err(backend)?
                .map(|row| read_meeting(&row))
                .transpose()
        })
    }

    fn meeting_by_slug<'a>(&'a self, slug: &'a str) -> BoxFuture<'a, Result<Option<Meeting>, StoreError>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM meetings WHERE slug = ?")
                .bind(slug)
                .fetch_optional(&self.pool)
                .await
                .map_err(backend)?
                .map(|row| read_meeting(&row))
                .transpose()
        })
    }

    fn meetings<'a>(&'a self, filter: &'a MeetingFilter) -> BoxFuture<'a, Result<MeetingPage, StoreError>> {
        // One condition for both statements; parameters ?1 and ?2 are NULL for "any".
        macro_rules! matching {
            ($select:literal, $rest:literal) => {
                concat!(
                    "SELECT ",
                    $select,
                    " FROM meetings WHERE (?1 IS NULL OR (ended_at IS NULL) = ?1) \
                     AND (?2 IS NULL OR created_by = ?2 OR EXISTS (SELECT 1 FROM participants \
                     WHERE participants.meeting_id = meetings.id AND participants.user_id = ?2))",
                    $rest
                )
            };
        }
        Box::pin(async move {
            // One read transaction, so that list and total are of the same moment.
            let mut transaction = self.pool.begin().await.map_err(backend)?;
            let rows = sqlx::query(matching!("*", " ORDER BY created_at DESC, id DESC LIMIT ?3 OFFSET ?4"))
                .bind(filter.active)
                .bind(&filter.user_id)
                .bind(filter.limit)
                .bind(filter.offset)
                .fetch_all(&mut *transaction)
                .await
                .map_err(backend)?;
            let total: i64 = sqlx::query_scalar(matching!("count(*)", ""))
                .bind(filter.active)
                .bind(&filter.user_id)
                .fetch_one(&mut *transaction)
                .await
                .map_err(backend)?;
            transaction.commit().await.map_err(backend)?;
            Ok(MeetingPage {
                meetings: rows.iter().map(read_meeting).collect::<Result<_, _>>()?,
                total: u64::try_from(total).map_err(|_| StoreError::Damaged("a negative count"))?,
            })
        })
    }

    fn end_meeting(&self, id: MeetingId, at: OffsetDateTime) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let done = sqlx::query("UPDATE meetings SET ended_at = ? WHERE id = ? AND ended_at IS NULL")
                .bind(micros(at))
                .bind(meeting_key(id))
                .execute(&self.pool)
                .await
                .map_err(backend)?;
            Ok(done.rows_affected() == 1)
        })
    }

    fn issue_participant<'a>(
        &'a self,
        participant: &'a IssuedParticipant,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(insert_participant(&self.pool, participant))
    }

    fn participant(&self, id: ParticipantId) -> BoxFuture<'_, Result<Option<IssuedParticipant>, StoreError>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM participants WHERE id = ?")
                .bind(participant_key(id))
                .fetch_optional(&self.pool)
                .await
                .map_err(backend)?
                .map(|row| read_participant(&row))
                .transpose()
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            sqlx::query("SELECT 1 FROM meetings LIMIT 1")
                .fetch_optional(&self.pool)
                .await
                .map(drop)
                .map_err(backend)
        })
    }
}

async fn insert_participant(
    executor: impl sqlx::SqliteExecutor<'_>,
    participant: &IssuedParticipant,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO participants (id, meeting_id, name, role, user_id, created_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(participant_key(participant.id))
    .bind(meeting_key(participant.meeting_id))
    .bind(&participant.name)
    .bind(participant.role.as_str())
    .bind(&participant.user_id)
    .bind(micros(participant.created_at))
    .execute(executor)
    .await
    .map(drop)
    .map_err(write_error)
}

fn read_meeting(row: &SqliteRow) -> Result<Meeting, StoreError> {
    let ended_at: Option<i64> = row.try_get("ended_at").map_err(backend)?;
    Ok(Meeting {
        id: MeetingId::from_uuid(read_uuid(row, "id")?),
        slug: row.try_get("slug").map_err(backend)?,
        display_name: row.try_get("display_name").map_err(backend)?,
        max_participants: row.try_get("max_participants").map_err(backend)?,
        settings: MeetingSettings {
            enable_e2e_encryption: row.try_get("enable_e2e_encryption").map_err(backend)?,
            require_auth: row.try_get("require_auth").map_err(backend)?,
            recording_enabled: row.try_get("recording_enabled").map_err(backend)?,
        },
        created_by: row.try_get("created_by").map_err(backend)?,
        created_at: read_time(row.try_get("created_at").map_err(backend)?)?,
        ended_at: ended_at.map(read_time).transpose()?,
    })
}

fn read_participant(row: &SqliteRow) -> Result<IssuedParticipant, StoreError> {
    let role: &str = row.try_get("role").map_err(backend)?;
    Ok(IssuedParticipant {
        id: ParticipantId::from_uuid(read_uuid(row, "id")?),
        meeting_id: MeetingId::from_uuid(read_uuid(row, "meeting_id")?),
        name: row.try_get("name").map_err(backend)?,
        role: role.parse().map_err(|_| StoreError::Damaged("an unknown role"))?,
        user_id: row.try_get("user_id").map_err(backend)?,
        created_at: read_time(row.try_get("created_at").map_err(backend)?)?,
    })
}

fn read_uuid(row: &SqliteRow, column: &str) -> Result<Uuid, StoreError> {
    let bytes: &[u8] = row.try_get(column).map_err(backend)?;
    Uuid::from_slice(bytes).map_err(|_| StoreError::Damaged("an id that is not 16 bytes"))
}

fn read_time(micros: i64) -> Result<OffsetDateTime, StoreError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .map_err(|_| StoreError::Damaged("a time out of range"))
}

/// Microseconds since the Unix epoch. `OffsetDateTime` ends in the year 9999, far inside 64 bits.
fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(i64::MAX)
}

fn meeting_key(id: MeetingId) -> Vec<u8> {
    id.as_uuid().as_bytes().to_vec()
}

fn participant_key(id: ParticipantId) -> Vec<u8> {
    id.as_uuid().as_bytes().to_vec()
}

fn backend(error: sqlx::Error) -> StoreError {
    StoreError::Backend(Box::new(error))
}

fn write_error(error: sqlx::Error) -> StoreError {
    let known = error.as_database_error().and_then(|refused| match refused.kind() {
        // SQLite names the column only in its message ("UNIQUE constraint failed: meetings.slug").
        ErrorKind::UniqueViolation if refused.message().ends_with("meetings.slug") => {
            Some(StoreError::SlugTaken)
        }
        ErrorKind::UniqueViolation => Some(StoreError::IdTaken),
        ErrorKind::ForeignKeyViolation => Some(StoreError::NoSuchMeeting),
        _ => None,
    });
    known.unwrap_or_else(|| backend(error))
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&folder.path().join("a.db")).await.expect("opens");
        conformance::run(&store).await;
        store.close().await;
    }

    #[tokio::test]
    async fn data_survive_reopening() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.db");
        let (meeting, host) = conformance::example("reopened00", None);
        let store = SqliteStore::open(&path).await.expect("opens");
        store.create_meeting(&meeting, &host).await.expect("stored");
        store.close().await;

        let store = SqliteStore::open(&path).await.expect("opens again");
        assert_eq!(store.meeting(meeting.id).await.expect("read"), Some(meeting));
        assert_eq!(store.participant(host.id).await.expect("read"), Some(host));
    }

    #[tokio::test]
    async fn promised_pragmas_are_set() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&folder.path().join("a.db")).await.expect("opens");
        let text: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.pool).await.expect("answers");
        assert_eq!(text, "wal");
        for (pragma, expected) in
            [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1), ("PRAGMA busy_timeout", 2000)]
        {
            let value: i64 = sqlx::query_scalar(pragma).fetch_one(&store.pool).await.expect("answers");
            assert_eq!(value, expected, "{pragma}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.db");
        std::fs::write(&path, vec![b'x'; 8192]).expect("writable");
        assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::Backend(_))));
    }
}
