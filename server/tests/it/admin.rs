//! `darktower admin` on the data of a server that runs.

use std::process::Command;
use std::time::{Duration, Instant};

use darktower_client::{Code, Event, JoinOptions, Meeting};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestServer, soon};

/// What the command says on standard output; it must end with status 0.
async fn admin(server: &TestServer, arguments: &[&str]) -> String {
    let (succeeded, output, errors) = try_admin(server, arguments).await;
    assert!(succeeded, "{arguments:?}: {errors}");
    output
}

/// Whether the command ended with status 0, and what it said.
async fn try_admin(server: &TestServer, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darktower"));
    command.arg("admin").arg("--data-dir").arg(server.data_dir()).args(arguments);
    let running = tokio::task::spawn_blocking(move || command.output().expect("the program starts"));
    let output = soon("darktower admin", running).await.expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

async fn json_of(server: &TestServer, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
    let output = admin(server, &arguments).await;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_created_gets_tokens_until_it_is_deleted() {
    let server = TestServer::start().await;
    let client = json_of(&server, &["client", "create", "--name", "App", "--scope", "meetings,tokens"]).await;
    let id = client["client_id"].as_str().expect("an id");
    let credentials = |secret: &Value| json!({ "grant_type": "client_credentials", "client_id": id, "client_secret": secret });
    let token = async |secret: &Value| {
        server.rest().call(Method::POST, "/auth/token", Some(credentials(secret))).await
    };
    let (status, granted) = token(&client["client_secret"]).await;
    assert_eq!((status.as_u16(), &granted["scope"]), (200, &json!("meetings tokens")), "{granted}");

    let renewed = json_of(&server, &["client", "new-secret", id]).await;
    assert_eq!(token(&client["client_secret"]).await.0.as_u16(), 401, "the old secret");
    assert_eq!(token(&renewed["client_secret"]).await.0.as_u16(), 200, "the new secret");
    assert!(admin(&server, &["client", "list"]).await.contains("meetings,tokens"));

    admin(&server, &["client", "delete", id]).await;
    assert_eq!(token(&renewed["client_secret"]).await.0.as_u16(), 401, "a deleted client");
    assert_eq!(admin(&server, &["client", "list"]).await, "none\n");
    let (succeeded, _, errors) = try_admin(&server, &["client", "delete", id]).await;
    assert!(!succeeded && errors.contains("admin client list"), "{errors}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_created_sets_its_password_and_signs_in_until_it_is_disabled() {
    let server = TestServer::start().await;
    let created = json_of(
        &server,
        &["user", "create", "--email", "Zoe@Example.org", "--name", "Zoë", "--role", "host"],
    )
    .await;
    let body = json!({ "setup_token": created["setup_token"], "password": "correct horse battery" });
    let (status, answer) = server.rest().call(Method::POST, "/auth/activate", Some(body)).await;
    assert_eq!((status.as_u16(), &answer["user"]["role"]), (200, &json!("host")), "{answer}");

    let login = json!({ "email": "zoe@example.org", "password": "correct horse battery" });
    let sign_in =
        async || server.rest().call(Method::POST, "/auth/login", Some(login.clone())).await.0.as_u16();
    assert_eq!(sign_in().await, 200);
    admin(&server, &["user", "disable", "zoe@example.org"]).await;
    assert_eq!(sign_in().await, 401);
    assert!(admin(&server, &["user", "list"]).await.contains("disabled"));
    admin(&server, &["user", "enable", "zoe@example.org"]).await;
    assert_eq!(sign_in().await, 200);

    let (succeeded, _, errors) =
        try_admin(&server, &["user", "create", "--email", "zoe@example.org", "--name", "Again"]).await;
    assert!(!succeeded && errors.contains("user reset"), "{errors}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_those_that_the_api_takes() {
    let server = TestServer::start().await;
    for name in ["", "  ", "two\nlines"] {
        for arguments in [
            &["client", "create", "--scope", "meetings", "--name", name][..],
            &["user", "create", "--email", "zoe@example.org", "--name", name][..],
        ] {
            let (succeeded, _, errors) = try_admin(&server, arguments).await;
            assert!(!succeeded && errors.contains("--name must"), "{arguments:?}: {errors}");
        }
    }
    admin(&server, &["user", "create", "--email", "zoe@example.org", "--name", " Zoë "]).await;
    assert!(admin(&server, &["user", "list"]).await.contains("Zoë"));
    assert_eq!(admin(&server, &["client", "list"]).await, "none\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_can_sign_in_becomes_the_owner() {
    let server = TestServer::start().await;
    let created = json_of(&server, &["user", "create", "--email", "zoe@example.org", "--name", "Zoë"]).await;
    let change = async |role: &str| try_admin(&server, &["user", "role", "zoe@example.org", role]).await;
    let (succeeded, _, errors) = change("owner").await;
    assert!(!succeeded && errors.contains("has set a password"), "{errors}");
    let body = json!({ "setup_token": created["setup_token"], "password": "correct horse battery" });
    let (status, answer) = server.rest().call(Method::POST, "/auth/activate", Some(body)).await;
    assert_eq!(status.as_u16(), 200, "{answer}");
    admin(&server, &["user", "disable", "zoe@example.org"]).await;
    let (succeeded, _, errors) = change("owner").await;
    assert!(!succeeded && errors.contains("may sign in"), "{errors}");
    admin(&server, &["user", "enable", "zoe@example.org"]).await;
    let (succeeded, _, errors) = change("owner").await;
    assert!(succeeded, "{errors}");
    assert!(admin(&server, &["user", "list"]).await.contains("owner"));
    let (succeeded, _, errors) = change("member").await;
    assert!(!succeeded && errors.contains("keeps its owner"), "{errors}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_issued_joins_and_is_thrown_out_when_it_is_revoked() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let issued = json_of(&server, &["token", &meeting.to_string(), "--name", "Operator"]).await;
    let mut grant = server.grant(meeting, "Somebody").await;
    grant.join_token = issued["join_token"].as_str().expect("a token").to_owned();
    let session = soon("join", Meeting::join(&grant, JoinOptions::default())).await.expect("joined");
    let mut events = session.events();
    // The record of the join is on its way to the store.
    let listed = async {
        while json_of(&server, &["meetings"]).await["participant_count"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("the participant in the list", listed).await;

    let participant = issued["participant_id"].as_str().expect("an id").to_owned();
    admin(&server, &["revoke", &participant]).await;
    let revoked_at = Instant::now();
    let closed = async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::Closed { .. }) {
                return;
            }
        }
    };
    soon("the end of the session", closed).await;
    let took = revoked_at.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    soon("join", Meeting::join(&grant, JoinOptions::default())).await.expect_err("revoked");

    admin(&server, &["end", &meeting.to_string()]).await;
    assert!(admin(&server, &["meetings", "--status", "ended"]).await.contains(&meeting.to_string()));
    let (succeeded, _, errors) = try_admin(&server, &["token", &meeting.to_string(), "--name", "Late"]).await;
    assert!(!succeeded && errors.contains("ended"), "{errors}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_a_permanent_meeting_throws_everybody_out_and_a_scheduled_one_is_cancelled() {
    let server = TestServer::start().await;
    let permanent = json!({"display_name": "Stand-up", "scheduling": "permanent", "slug": "stand-up"});
    let permanent = server.rest().meeting(permanent).await;
    let grant = server.grant(permanent, "Alice").await;
    let session = soon("join", Meeting::join(&grant, JoinOptions::default())).await.expect("joined");
    let mut events = session.events();
    admin(&server, &["end", "stand-up"]).await;
    let closed = async {
        while let Some(event) = events.next().await {
            if let Event::Closed { code, .. } = event {
                return code;
            }
        }
        panic!("the end was not told")
    };
    assert_eq!(soon("the end of the session", closed).await, Code::MEETING_ENDED);
    let after = server.rest().get(&format!("/meetings/{permanent}")).await;
    assert_eq!((&after["status"], &after["ended_at"]), (&json!("active"), &Value::Null), "{after}");
    soon("join", Meeting::join(&grant, JoinOptions::default())).await.expect("may come back");

    let scheduled = json!({"display_name": "Later", "scheduling": "scheduled", "scheduled_start": "2090-01-01T12:00:00Z"});
    let scheduled = server.rest().meeting(scheduled).await;
    admin(&server, &["end", &scheduled.to_string()]).await;
    assert_eq!(server.rest().get(&format!("/meetings/{scheduled}")).await["status"], "cancelled");
    for (action, meeting) in [("meeting.end", permanent), ("meeting.cancel", scheduled)] {
        let log = server.rest().get(&format!("/audit-log?action={action}")).await;
        assert_eq!(
            (&log["total"], &log["entries"][0]["target_id"]),
            (&json!(1), &json!(meeting.to_string())),
            "{log}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_checked_and_copied_while_the_server_runs() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    admin(&server, &["check"]).await;
    admin(&server, &["migrate"]).await;
    let copy = tempfile::tempdir().expect("a temporary folder");
    let file = copy.path().join("darktower.db");
    let file = file.to_str().expect("text");
    admin(&server, &["backup", file]).await;
    let (succeeded, _, errors) = try_admin(&server, &["backup", file]).await;
    assert!(!succeeded && errors.contains("exists"), "{errors}");
    server.stop().await;

    let mut list = Command::new(env!("CARGO_BIN_EXE_darktower"));
    let output =
        list.args(["admin", "--data-dir"]).arg(copy.path()).arg("meetings").output().expect("starts");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&meeting.to_string()), "{output:?}");
    let nowhere = copy.path().join("nowhere");
    let mut list = Command::new(env!("CARGO_BIN_EXE_darktower"));
    let output = list.args(["admin", "--data-dir"]).arg(&nowhere).arg("meetings").output().expect("starts");
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no database"), "{output:?}");
    assert!(!nowhere.exists(), "looking makes nothing");
}
