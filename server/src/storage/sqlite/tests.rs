use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use sqlx::AssertSqlSafe;

use super::*;
use crate::storage::conformance::{self, meeting, organization, participant};
use crate::storage::store::{
    Maintenance as _, MeetingStore as _, OrganizationStore as _, ParticipantStore as _, StoreError,
};
use crate::storage::{DatabaseLocation, open};

mod first_version;

/// A store in a folder of its own.
async fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("a.db")).await.expect("opens");
    (folder, store)
}

/// A connection of another process, as far as SQLite is concerned.
async fn stranger(path: &Path) -> sqlx::SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.expect("opens")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn conforms() {
    let (_folder, store) = store().await;
    conformance::run(&store).await;
    assert_eq!(store.integrity_check().await.expect("checked"), [""; 0]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what writes cost"]
async fn cost_of_writes() {
    let (_folder, store) = store().await;
    conformance::cost::print(Arc::new(store)).await;
}

#[tokio::test]
async fn data_survive_reopening() {
    let (folder, store) = store().await;
    let path = folder.path().join("a.db");
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    let (meeting, host) = meeting(organization.id);
    store.create_meeting(&meeting, &host).await.expect("stored");
    store.close().await;
    assert!(!path.with_extension("db-wal").exists(), "tidied up");

    let store = open(&DatabaseLocation::Sqlite(path)).await.expect("opens again");
    assert_eq!(store.meeting(meeting.id).await.expect("read"), Some(meeting));
    assert_eq!(store.participant(host.id).await.expect("read"), Some(host));
}

#[tokio::test]
async fn promised_pragmas_are_set() {
    let (folder, store) = store().await;
    for (pool, query_only) in [(&store.writer, 0), (&store.readers, 1)] {
        let text: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.expect("answers");
        assert_eq!(text, "wal");
        let expected =
            [("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000), ("query_only", query_only)];
        for (pragma, expected) in expected {
            let value: i64 = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {pragma}")))
                .fetch_one(pool)
                .await
                .expect("answers");
            assert_eq!(value, expected, "{pragma}");
        }
    }
    for file in ["a.db", "a.db-wal", "a.db-shm"] {
        assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.db");
    std::fs::write(&path, vec![b'x'; 8192]).expect("writable");
    for path in [path.as_path(), folder.path(), &folder.path().join("missing/a.db")] {
        let refused = SqliteStore::open(path).await.expect_err("no database");
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        assert!(refused.to_string().contains(path.to_str().expect("is text")), "{refused}");
    }
    assert_eq!(std::fs::read(&path).expect("is there"), vec![b'x'; 8192], "untouched");
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let (folder, store) = store().await;
    let path = folder.path().join("a.db");
    store.close().await;
    let mut newer = stranger(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (7, 'of the future', TRUE, x'00', 0)",
    )
    .execute(&mut newer)
    .await
    .expect("written");
    newer.close().await.expect("closed");
    let refused = SqliteStore::open(&path).await.expect_err("too new");
    assert!(matches!(refused, StoreError::Newer { found: 7, known: 3, .. }), "{refused:?}");
    assert!(refused.to_string().contains("newer version of this program"), "{refused}");
    // A copy is of the version that is there, as it is for going back to it.
    let copy = folder.path().join("copy.db");
    SqliteStore::backup(&path, &copy).await.expect("copied");
    let refused = SqliteStore::open(&copy).await.expect_err("as new");
    assert!(matches!(refused, StoreError::Newer { found: 7, known: 3, .. }), "{refused:?}");
}

#[tokio::test]
async fn several_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Switching a new file to the write-ahead log is what went wrong, once in some hundred times.
    for n in 0..20 {
        let path = folder.path().join(format!("{n}.db"));
        let opened = futures_util::future::join_all((0..8).map(|_| SqliteStore::open(&path))).await;
        for store in opened {
            store.expect("opens").check().await.expect("answers");
        }
    }
}

#[tokio::test]
async fn who_opens_waits_for_another_process_that_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = File::open(folder.path()).expect("opened");
    other.lock().expect("locked");
    let path = folder.path().join("a.db");
    let mut opening = std::pin::pin!(SqliteStore::open(&path));
    assert!(futures_util::poll!(opening.as_mut()).is_pending());
    assert!(!path.exists());
    drop(other);
    opening.await.expect("opens").check().await.expect("answers");
}

#[tokio::test]
async fn writers_wait_for_another_process() {
    let (folder, store) = store().await;
    let mut other = stranger(&folder.path().join("a.db")).await;
    let transaction = other.begin_with("BEGIN IMMEDIATE").await.expect("begun");
    let organization = organization();
    let mut write = std::pin::pin!(store.create_organization(&organization, &[], None));
    assert!(futures_util::poll!(write.as_mut()).is_pending());
    store.check().await.expect("readers do not wait");
    assert!(futures_util::poll!(write.as_mut()).is_pending());
    transaction.commit().await.expect("done");
    write.await.expect("waits");
}

#[tokio::test]
async fn closing_makes_what_waits_and_refuses_what_comes() {
    let (folder, store) = store().await;
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    let (meeting, host) = meeting(organization.id);
    store.create_meeting(&meeting, &host).await.expect("stored");
    let issued: Vec<_> = (0..100).map(|_| participant(meeting.id)).collect();
    let writes = futures_util::future::join_all(issued.iter().map(|issued| store.issue_participant(issued)));
    let (answers, ()) = futures_util::future::join(writes, store.close()).await;
    assert!(answers.iter().all(Result::is_ok), "they came before");
    let refused = store.issue_participant(&participant(meeting.id)).await;
    assert!(matches!(refused, Err(StoreError::Backend(_))), "{refused:?}");
    store.check().await.expect_err("closed");

    let store = SqliteStore::open(&folder.path().join("a.db")).await.expect("opens");
    for issued in issued {
        assert!(store.participant(issued.id).await.expect("read").is_some());
    }
}

#[tokio::test]
async fn writes_that_nobody_waits_for_harm_nobody() {
    let (_folder, store) = store().await;
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    let (first, host) = meeting(organization.id);
    store.create_meeting(&first, &host).await.expect("stored");
    for _ in 0..50 {
        let dropped = participant(first.id);
        let (second, its_host) = meeting(organization.id);
        {
            let mut issue = std::pin::pin!(store.issue_participant(&dropped));
            let mut create = std::pin::pin!(store.create_meeting(&second, &its_host));
            // Once each, so that they have begun.
            assert!(futures_util::poll!(issue.as_mut()).is_pending());
            assert!(futures_util::poll!(create.as_mut()).is_pending());
        }
        let wanted = participant(first.id);
        store.issue_participant(&wanted).await.expect("stored");
        assert_eq!(store.participant(wanted.id).await.expect("read"), Some(wanted));
        let is_stored = store.meeting(second.id).await.expect("read").is_some();
        assert_eq!(
            store.participant(its_host.id).await.expect("read").is_some(),
            is_stored,
            "all or nothing"
        );
    }
    assert_eq!(store.integrity_check().await.expect("checked"), [""; 0]);
}

#[tokio::test]
async fn backups_open_as_databases() {
    let (folder, store) = store().await;
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    let copy = folder.path().join("it's a copy.db");
    let file = folder.path().join("a.db");
    SqliteStore::backup(&file, &copy).await.expect("copied");
    assert_eq!(mode(&copy), 0o600);
    let refused = SqliteStore::backup(&file, &copy).await.expect_err("is there already");
    assert!(refused.to_string().contains("it's a copy.db"), "{refused}");
    let refused = SqliteStore::backup(&file, &folder.path().join("missing/copy.db")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let (meeting, host) = meeting(organization.id);
    store.create_meeting(&meeting, &host).await.expect("stored");

    let copied = SqliteStore::open(&copy).await.expect("opens");
    assert_eq!(copied.integrity_check().await.expect("checked"), [""; 0]);
    assert_eq!(copied.organization(organization.id).await.expect("read"), Some(organization));
    assert_eq!(copied.meeting(meeting.id).await.expect("read"), None, "of before");
}

#[tokio::test]
async fn damage_is_found() {
    let (_folder, store) = store().await;
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    let (meeting, host) = meeting(organization.id);
    store.create_meeting(&meeting, &host).await.expect("stored");
    let mut writer = store.writer.acquire().await.expect("free");
    for damage in [
        "PRAGMA foreign_keys = OFF",
        "UPDATE participants SET meeting_id = x'00000000000000000000000000000000'",
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE meetings SET status = 'unheard of'",
    ] {
        sqlx::query(damage).execute(&mut *writer).await.expect("done");
    }
    drop(writer);
    let problems = store.integrity_check().await.expect("checked").join("; ");
    assert!(problems.contains("participants refers to one of meetings"), "{problems}");
    assert!(problems.contains("CHECK constraint failed in meetings"), "{problems}");
    let read = store.meeting(meeting.id).await;
    assert!(matches!(read, Err(StoreError::Damaged("status"))), "{read:?}");
}
