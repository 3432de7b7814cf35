use std::sync::Arc;

use super::test_server::TestServer;
use super::*;
use crate::storage::conformance::{self, meeting, organization, participant};
use crate::storage::store::{
    Maintenance as _, MeetingStore as _, OrganizationStore as _, ParticipantStore as _, StoreError,
};
use crate::storage::{DatabaseLocation, open};

#[tokio::test]
async fn conforms() {
    let server = TestServer::start();
    let store = PostgresStore::open(&server.database("conformance")).await.expect("opens");
    conformance::run(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what writes cost"]
async fn cost_of_writes() {
    let server = TestServer::start_with(&[]);
    let store = PostgresStore::open(&server.database("cost")).await.expect("opens");
    conformance::cost::print(Arc::new(store)).await;
}

#[tokio::test]
async fn several_servers_share_a_database() {
    let server = TestServer::start();
    let url = server.database("shared");
    let opened = futures_util::future::join_all((0..6).map(|_| PostgresStore::open(&url))).await;
    let stores: Vec<_> =
        opened.into_iter().map(|store| store.expect("one applies the steps, the others wait")).collect();
    let organization = organization();
    stores[0].create_organization(&organization, &[], None).await.expect("stored");
    let (meeting, host) = meeting(organization.id);
    stores[1].create_meeting(&meeting, &host).await.expect("stored");
    for store in &stores {
        assert_eq!(store.meeting(meeting.id).await.expect("read").as_ref(), Some(&meeting));
    }
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&stores[0].pool)
        .await
        .expect("read");
    assert_eq!(usize::try_from(applied), Ok(MIGRATIONS.len()));
    let settings: (String, String, String) = sqlx::query_as(
        "SELECT current_setting('application_name'), current_setting('statement_timeout'), \
         current_setting('idle_in_transaction_session_timeout')",
    )
    .fetch_one(&stores[0].pool)
    .await
    .expect("read");
    assert_eq!(settings, ("darktower".to_owned(), "10s".to_owned(), "10s".to_owned()));

    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (7, 'of the future', TRUE, '\\x00', 0)",
    )
    .execute(&stores[0].pool)
    .await
    .expect("written");
    let refused = PostgresStore::open(&url).await.expect_err("too new");
    assert!(matches!(refused, StoreError::Newer { found: 7, known: 2, .. }), "{refused:?}");
    assert!(refused.to_string().contains("the database shared of PostgreSQL at 127.0.0.1:"), "{refused}");
    for store in stores {
        store.close().await;
    }
}

#[tokio::test]
async fn errors_name_the_database_and_no_password() {
    // Bound, and nobody listens: whoever connects is refused.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    let address = socket.local_addr().expect("bound").as_socket().expect("an address");
    let server = TestServer::start();
    let right = server.database("right");
    for (url, named) in [
        (
            format!("postgres://zoe:hunter2@{address}/meetings"),
            format!("the database meetings of PostgreSQL at {address}"),
        ),
        (right.replacen("p%40ss", "hunter2", 1), "the database right of PostgreSQL at 127.0.0.1:".to_owned()),
        (server.url("missing"), "the database missing of PostgreSQL at 127.0.0.1:".to_owned()),
        ("http://hunter2@/".to_owned(), "its URL is not valid".to_owned()),
        ("postgres://zoe:hunter2@127.0.0.1:99999/a".to_owned(), "its URL is not valid".to_owned()),
        ("postgres://zoe:hunter2@127.0.0.1/a?sslmode=hunter3".to_owned(), "its URL is not valid".to_owned()),
    ] {
        let location = DatabaseLocation::Postgres(url);
        let Err(error) = open(&location).await else { panic!("opened: {named}") };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains(&named), "{error}");
        let mut said = format!("{location:?} {error:?} {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said.push_str(&format!(" {error}"));
            cause = error.source();
        }
        for secret in ["hunter2", "p@ss", "p%40ss", "of:tests"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[tokio::test]
async fn a_restart_of_the_database_is_survived() {
    let mut server = TestServer::start();
    let store = PostgresStore::open(&server.database("restart")).await.expect("opens");
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    let (meeting, host) = meeting(organization.id);
    store.create_meeting(&meeting, &host).await.expect("stored");
    let writes = async || {
        let issued: Vec<_> = (0..20).map(|_| participant(meeting.id)).collect();
        futures_util::future::join_all(issued.iter().map(|issued| store.issue_participant(issued))).await
    };
    assert!(writes().await.iter().all(Result::is_ok));
    server.kill();
    let refused = tokio::time::timeout(ACQUIRE_TIMEOUT * 4, writes()).await.expect("nobody waits for long");
    assert!(refused.iter().all(Result::is_err));
    store.check().await.expect_err("nobody there");
    server.resume();
    for write in writes().await {
        write.expect("as if nothing had been");
    }
    store.close().await;
}

#[tokio::test]
async fn speaks_tls_with_a_server_it_can_verify() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.pem");
    std::fs::write(&root, cert.pem()).expect("writable");
    let server = TestServer::start_with_tls(&cert.pem(), &signing_key.serialize_pem());
    let url = format!("{}?sslmode=verify-full", server.database("tls"));
    let refused = PostgresStore::open(&url).await.expect_err("nobody vouches for it");
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    let url = format!("{url}&sslrootcert={}", root.display());
    let store = PostgresStore::open(&url).await.expect("opens");
    let is_encrypted: bool = sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(&store.pool)
        .await
        .expect("read");
    assert!(is_encrypted);
    store.close().await;
}
