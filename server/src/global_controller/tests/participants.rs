//! Join tokens: for whom, as what, for how long, and how many.

use darktower_core::meeting::lifecycle::Scheduling;

use super::*;

async fn meeting(server: &Server, mut body: Value) -> (MeetingId, String) {
    body["display_name"] = json!("Test");
    let (status, meeting) = server.post("/api/v1/meetings", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{meeting}");
    let id = meeting["meeting_id"].as_str().expect("text");
    (id.parse().expect("an id"), format!("/api/v1/meetings/{id}"))
}

fn claims(server: &Server, issued: &Value) -> crate::auth::JoinClaims {
    server
        .tokens
        .verify_join(issued["join_token"].as_str().unwrap_or_else(|| panic!("{issued}")))
        .expect("valid")
}

/// How long a token lives, in whole minutes: it ends so long after its participant was recorded, and is signed a moment
/// later, which may be in the next second.
fn lifetime(claims: &crate::auth::JoinClaims) -> time::Duration {
    let minutes = (claims.expires_at - claims.issued_at).as_seconds_f64() / 60.0;
    time::Duration::minutes(minutes.round() as i64)
}

#[tokio::test]
async fn participants_get_tokens_and_show_up_when_live() {
    let server = Server::development().await;
    let (id, path) = meeting(&server, json!({})).await;
    let path = format!("{path}/participants");

    let (status, issued) =
        server.post(&path, &json!({"name": " Zoë ", "role": "host", "user_id": "u1"})).await;
    assert_eq!(status, StatusCode::CREATED, "{issued}");
    let zoe = claims(&server, &issued);
    assert_eq!(zoe.participant_id.to_string(), issued["participant_id"]);
    assert_eq!(
        (zoe.name.as_str(), zoe.role, zoe.user_id.as_deref()),
        ("Zoë", ParticipantRole::Host, Some("u1"))
    );
    assert_eq!((zoe.meeting_id, zoe.organization_id), (id, server.organization.id));
    assert_eq!((zoe.preset.as_str(), zoe.is_guest), ("video_host", false));
    assert_eq!(zoe.expires_at - zoe.issued_at, time::Duration::hours(24));
    assert_eq!(issued["meeting_controller_url"], "https://127.0.0.1:4433/v1/signal");
    let hash = &issued["certificate_hashes"][0];
    assert_eq!(hash["algorithm"], "sha-256");
    assert_eq!(hash["value"], server.state.0.certificates.hashes()[0].to_hex());
    assert_eq!(server.get("/api/v1/certificate").await.1["certificate_hashes"], issued["certificate_hashes"]);

    assert_eq!(server.get(&path).await.1, json!({"participants": [], "total": 0}));
    let stream = LiveStream {
        stream_id: StreamId::generate(),
        stream_type: LiveStreamType::VideoCamera,
        codec: "VP8".to_owned(),
    };
    let live = LiveParticipant {
        participant_id: zoe.participant_id,
        name: "Zoë".to_owned(),
        joined_at: OffsetDateTime::UNIX_EPOCH,
        streams: vec![stream.clone()],
    };
    server.live.rosters.lock().expect("not poisoned").insert(id, vec![live]);
    let expected = json!({"participants": [{
        "participant_id": zoe.participant_id.to_string(), "name": "Zoë", "joined_at": "1970-01-01T00:00:00Z",
        "streams": [{"stream_id": stream.stream_id.to_string(), "type": "video_camera", "codec": "VP8"}],
    }], "total": 1});
    assert_eq!(server.get(&path).await.1, expected);
    assert_eq!(server.get(&format!("/api/v1/meetings/{id}")).await.1["participant_count"], 1);

    let (_, record) = server.get(&format!("{path}/{}", zoe.participant_id)).await;
    let expected = json!({
        "participant_id": zoe.participant_id.to_string(), "meeting_id": id.to_string(), "name": "Zoë", "role": "host",
        "preset": "video_host", "user_id": "u1", "is_guest": false, "is_present": true, "issued_by": null,
        "created_at": record["created_at"], "expires_at": record["expires_at"], "revoked_at": null,
    });
    assert_eq!(record, expected);

    server.send(Method::POST, &format!("/api/v1/meetings/{id}/end")).await;
    assert_error(&server.post(&path, &json!({"name": "Late"})).await, 409, "MEETING_ENDED");
}

#[tokio::test]
async fn a_token_says_what_was_asked_for() {
    let server = Server::development().await;
    let (_, video) = meeting(&server, json!({})).await;
    let (_, webinar) = meeting(&server, json!({"meeting_type": "webinar"})).await;
    use ParticipantRole::{Guest, Host, Participant, Viewer};
    let table = [
        (&video, json!({}), Participant, "video_participant", false),
        (&video, json!({"role": "host"}), Host, "video_host", false),
        (&video, json!({"role": "guest"}), Guest, "video_guest", true),
        (&webinar, json!({"role": "participant"}), Participant, "webinar_participant", false),
        (&webinar, json!({"role": "viewer"}), Viewer, "webinar_viewer", false),
        (&webinar, json!({"role": "guest"}), Guest, "webinar_viewer", true),
        (&webinar, json!({"preset": "webinar_host"}), Host, "webinar_host", false),
        (&video, json!({"preset": "webinar_panelist"}), Participant, "webinar_panelist", false),
        (&video, json!({"preset": "group_call_host"}), Host, "video_host", false),
    ];
    for (path, mut body, role, preset, is_guest) in table {
        body["name"] = json!("Zoë");
        let (status, issued) = server.post(&format!("{path}/participants"), &body).await;
        assert_eq!(status, StatusCode::CREATED, "{body}: {issued}");
        let claims = claims(&server, &issued);
        assert_eq!(
            (claims.role, claims.preset.as_str(), claims.is_guest),
            (role, preset, is_guest),
            "{body}"
        );
        assert_eq!((&issued["role"], &issued["preset"]), (&json!(role), &json!(preset)));
        let hours = lifetime(&claims).whole_hours();
        assert_eq!(hours, if is_guest { 4 } else { 24 }, "{body}");
    }
    let (_, short) = server.post(&format!("{video}/tokens"), &json!({"name": "Zoë", "expires_in": 60})).await;
    assert_eq!(short["auth_token"], short["join_token"]);
    let claims = claims(&server, &short);
    assert_eq!(lifetime(&claims), time::Duration::MINUTE);

    for (body, named) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "a", "role": "admin"}), "admin"),
        (json!({"name": "a", "role": "viewer"}), "role"),
        (json!({"name": "a", "user_id": ""}), "user_id"),
        (json!({"name": "a", "preset": "nosuch"}), "preset"),
        (json!({"name": "a", "preset": "video_host", "role": "host"}), "preset"),
        (json!({"name": "a", "expires_in": 59}), "expires_in"),
        (json!({"name": "a", "expires_in": 86401}), "expires_in"),
        (json!({"name": "a", "expires_in": -60}), "expires_in"),
    ] {
        let error = server.post(&format!("{video}/participants"), &body).await;
        assert_error(&error, 400, "INVALID_REQUEST");
        assert!(
            error.1["error"]["message"].as_str().is_some_and(|text| text.contains(named)),
            "{body}: {}",
            error.1
        );
    }
}

#[tokio::test]
async fn users_issue_tokens_for_users_and_clients_for_whomever_they_know() {
    let server = Server::start(open, public_router).await;
    let owner = server.owner().await;
    let member = server.user(&owner, "member").await;
    let gone = server.user(&owner, "member").await;
    let gone_path = format!("/api/v1/users/{}", gone.id);
    let (status, _) = server.as_user(&owner, Method::PATCH, &gone_path, &json!({"is_active": false})).await;
    assert_eq!(status, StatusCode::OK);
    let register = json!({
        "email": "o@example.org", "name": "Other", "password": PASSWORD,
        "organization_name": "Other Ltd", "organization_slug": "other",
    });
    let other = Session::of(&server.post("/api/v1/auth/register", &register).await);
    let grant = json!({"grant_type": "client_credentials", "client_id": "backend", "client_secret": SECRET});
    let (_, token) = server.post("/api/v1/auth/token", &grant).await;
    let program =
        Session { access: token["access_token"].as_str().expect("text").to_owned(), ..owner.clone() };

    let issue = async |caller: &Session, user_id: &str| {
        let create = json!({"display_name": "Test"});
        let (_, meeting) = server.as_user(caller, Method::POST, "/api/v1/meetings", &create).await;
        let id = meeting["meeting_id"].as_str().unwrap_or_else(|| panic!("{meeting}"));
        let body = json!({"name": "Zoë", "user_id": user_id});
        server.as_user(caller, Method::POST, &format!("/api/v1/meetings/{id}/participants"), &body).await
    };
    for (caller, given, kept) in [
        (&owner, member.id.as_str(), member.id.as_str()),
        (&owner, &member.id.to_uppercase(), &member.id),
        (&owner, &owner.id, &owner.id),
        (&program, "user-17", "user-17"),
        (&program, &other.id, &other.id),
    ] {
        let (status, issued) = issue(caller, given).await;
        assert_eq!(status, StatusCode::CREATED, "{issued}");
        assert_eq!(claims(&server, &issued).user_id.as_deref(), Some(kept));
    }
    for given in ["user-17", &gone.id, &other.id, "0192f0c1-2a3b-7c4d-8e5f-001122334455"] {
        let error = issue(&owner, given).await;
        assert_error(&error, 400, "INVALID_REQUEST");
        assert_eq!(error.1["error"]["details"]["field"], "user_id", "{given}");
    }
}

#[tokio::test]
async fn a_name_that_is_refused_is_no_try_of_a_guest() {
    let limited = |folder: &Path| {
        let mut config = Config::for_tests(folder);
        config.rate_limits.guest_join_per_address = 1;
        config
    };
    let server = Server::start(limited, development_router).await;
    let (_, path) = meeting(&server, json!({"access_policy": "open"})).await;
    let join = async |name: &str| server.post(&format!("{path}/guest-join"), &json!({"name": name})).await;
    for _ in 0..3 {
        assert_error(&join("A").await, 400, "INVALID_REQUEST");
    }
    assert_eq!(join("Ada").await.0, StatusCode::CREATED);
    assert_error(&join("Ada").await, 429, "RATE_LIMITED");
}

#[tokio::test]
async fn caps_are_kept_when_tokens_are_issued() {
    let server = Server::development().await;
    let (id, path) =
        meeting(&server, json!({"max_participants": 4, "max_guests": 1, "access_policy": "open"})).await;
    let issue = async |body: Value| server.post(&format!("{path}/participants"), &body).await;
    let full = |error: (StatusCode, Value), limit: &str, max: &str| {
        assert_error(&error, 429, "CAPACITY_EXCEEDED");
        assert_eq!(error.1["error"]["details"], json!({"limit": limit, "max": max}));
    };
    let (_, first) = issue(json!({"name": "First"})).await;
    let first = claims(&server, &first).participant_id;
    server.live.join(id, first);
    server.live.guests.lock().expect("not poisoned").insert(id, 1);
    full(issue(json!({"name": "Guest", "role": "guest"})).await, "max_guests", "1");
    full(server.post(&format!("{path}/guest-join"), &json!({"name": "Guest two"})).await, "max_guests", "1");
    assert_eq!(issue(json!({"name": "Member"})).await.0, StatusCode::CREATED);
    for _ in 0..3 {
        server.live.join(id, ParticipantId::generate());
    }
    full(issue(json!({"name": "Fifth"})).await, "max_participants", "4");
    full(server.send(Method::POST, &format!("{path}/join")).await, "max_participants", "4");
    // Who is there keeps its place.
    let (status, renewed) = server.send(Method::POST, &format!("{path}/participants/{first}/token")).await;
    assert_eq!(status, StatusCode::CREATED, "{renewed}");
}

#[tokio::test]
async fn an_organization_has_so_many_meetings_at_one_time() {
    let server = Server::development().await;
    let mut organization = server.organization.clone();
    organization.settings.max_concurrent_meetings = Some(1);
    let read_at = organization.updated_at;
    assert!(server.store.update_organization(&organization, read_at).await.expect("written"));
    let (busy, busy_path) = meeting(&server, json!({})).await;
    let (_, other_path) = meeting(&server, json!({})).await;
    let (_, issued) = server.post(&format!("{busy_path}/participants"), &json!({"name": "Zoë"})).await;
    server.arrive(busy, claims(&server, &issued).participant_id).await;
    let refused = async {
        loop {
            // The number may be a second old.
            let answer = server.post(&format!("{other_path}/participants"), &json!({"name": "Zoë"})).await;
            if answer.0 != StatusCode::CREATED {
                return answer;
            }
        }
    };
    let error = tokio::time::timeout(std::time::Duration::from_secs(3), refused).await.expect("refused");
    assert_error(&error, 429, "CAPACITY_EXCEEDED");
    assert_eq!(error.1["error"]["details"], json!({"limit": "max_concurrent_meetings", "max": "1"}));
    let more = server.post(&format!("{busy_path}/participants"), &json!({"name": "Bo"})).await;
    assert_eq!(more.0, StatusCode::CREATED, "the one that goes on may grow");
}

#[tokio::test]
async fn guests_come_where_they_are_let_in() {
    let server = Server::development().await;
    let guest = |name: &str| json!({"name": name});
    for (policy, admits) in [("invited", false), ("members", false), ("link", true), ("open", true)] {
        let (_, path) = meeting(&server, json!({"access_policy": policy})).await;
        let answer = server.post(&format!("{path}/guest-join"), &guest("Ada Lovelace")).await;
        if !admits {
            assert_error(&answer, 403, "GUESTS_NOT_ALLOWED");
            server.send(Method::POST, &format!("{path}/end")).await;
            let same = server.post(&format!("{path}/guest-join"), &guest("Ada Lovelace")).await;
            assert_eq!(same, answer, "not even that it is over");
            continue;
        }
        assert_eq!(answer.0, StatusCode::CREATED, "{}", answer.1);
        let claims = claims(&server, &answer.1);
        assert_eq!(
            (claims.role, claims.preset.as_str(), claims.is_guest),
            (ParticipantRole::Guest, "video_guest", true)
        );
        assert_eq!(claims.user_id, None);
        assert_eq!(lifetime(&claims), 4 * time::Duration::HOUR);
        server.send(Method::POST, &format!("{path}/end")).await;
        assert_error(&server.post(&format!("{path}/guest-join"), &guest("Ada")).await, 409, "MEETING_ENDED");
    }
    let (_, path) = meeting(&server, json!({"meeting_type": "livestream"})).await;
    let (_, issued) = server
        .post(
            &format!("{path}/guest-join"),
            &json!({"name": " <b>Ada</b>\u{200b} ", "email": "ada@example.org"}),
        )
        .await;
    let viewer = claims(&server, &issued);
    assert_eq!(
        (viewer.name.as_str(), viewer.role, viewer.preset.as_str()),
        ("Ada", ParticipantRole::Viewer, "livestream_viewer")
    );
    assert!(viewer.is_guest);
    for body in [
        guest("A"),
        guest("Admin"),
        guest("https://x.example"),
        json!({"name": "Ada", "email": "ada"}),
        json!({}),
    ] {
        assert_error(&server.post(&format!("{path}/guest-join"), &body).await, 400, "INVALID_REQUEST");
    }

    let start = "2090-01-01T12:00:00Z";
    let (_, early) =
        meeting(&server, json!({"scheduling": Scheduling::Scheduled, "scheduled_start": start})).await;
    let error = server.post(&format!("{early}/guest-join"), &guest("Ada")).await;
    assert_error(&error, 409, "CONFLICT");
    assert_eq!(error.1["error"]["details"]["status"], "scheduled");
    let entries = server.audited().await;
    assert_eq!(entries.iter().filter(|(action, kind)| action == "guest.join" && kind == "guest").count(), 3);
}

#[tokio::test]
async fn tokens_are_renewed_until_they_are_revoked() {
    let server = Server::development().await;
    let (id, path) = meeting(&server, json!({})).await;
    let (_, other) = meeting(&server, json!({})).await;
    let (_, issued) =
        server.post(&format!("{path}/participants"), &json!({"name": "Zoë", "expires_in": 60})).await;
    let participant = claims(&server, &issued).participant_id;
    let (status, renewed) =
        server.post(&format!("{path}/participants/{participant}/token"), &json!({"expires_in": 3600})).await;
    assert_eq!(status, StatusCode::CREATED, "{renewed}");
    let again = claims(&server, &renewed);
    assert_eq!((again.participant_id, again.name.as_str()), (participant, "Zoë"));
    assert_eq!(lifetime(&again), time::Duration::HOUR);
    let (_, record) = server.get(&format!("{path}/participants/{participant}")).await;
    let seconds = |time: &Value| time.as_str().expect("text")[..19].to_owned();
    assert_eq!(seconds(&record["expires_at"]), seconds(&renewed["expires_at"]));

    for foreign in [
        format!("{other}/participants/{participant}"),
        format!("{path}/participants/{}", ParticipantId::generate()),
    ] {
        assert_error(&server.get(&foreign).await, 404, "PARTICIPANT_NOT_FOUND");
        assert_error(&server.send(Method::DELETE, &foreign).await, 404, "PARTICIPANT_NOT_FOUND");
        assert_error(
            &server.send(Method::POST, &format!("{foreign}/token")).await,
            404,
            "PARTICIPANT_NOT_FOUND",
        );
    }
    assert_eq!(server.live.removed(), []);

    for _ in 0..2 {
        let (status, body) = server.send(Method::DELETE, &format!("{path}/participants/{participant}")).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }
    let removed = server.live.removed();
    assert_eq!(removed.len(), 1, "once");
    assert_eq!(
        (removed[0].meeting_id, removed[0].participant_id, removed[0].meeting_over),
        (id, Some(participant), false)
    );
    let (_, record) = server.get(&format!("{path}/participants/{participant}")).await;
    assert!(record["revoked_at"].is_string(), "{record}");
    let renewal = server.send(Method::POST, &format!("{path}/participants/{participant}/token")).await;
    assert_error(&renewal, 404, "PARTICIPANT_NOT_FOUND");
    let revocations = server.audited().await;
    assert_eq!(revocations.iter().filter(|(action, _)| action == "participant.revoke").count(), 1);
}

#[tokio::test]
async fn a_participant_is_given_another_preset_and_name() {
    let server = Server::development().await;
    let (_, path) = meeting(&server, json!({})).await;
    let (_, other) = meeting(&server, json!({})).await;
    let (_, issued) = server.post(&format!("{path}/participants"), &json!({"name": "Zoë"})).await;
    let participant = claims(&server, &issued).participant_id;
    let of = format!("{path}/participants/{participant}");
    let patch = async |path: &str, body: Value| server.patch(path, &body).await;
    let (status, record) = patch(&of, json!({})).await;
    assert_eq!((status, record["name"].as_str()), (StatusCode::OK, Some("Zoë")), "{record}");
    assert_eq!(*server.live.changed.lock().expect("not poisoned"), [], "nothing was changed");

    let (status, record) = patch(&of, json!({"preset": "video_host"})).await;
    assert_eq!(status, StatusCode::OK, "{record}");
    assert_eq!((record["preset"].as_str(), record["role"].as_str()), (Some("video_host"), Some("host")));
    let (status, record) = patch(&of, json!({"preset": "webinar_viewer", "name": " Grace\u{202e} "})).await;
    assert_eq!(status, StatusCode::OK, "{record}");
    let expected = json!({"name": "Grace", "preset": "webinar_viewer", "role": "viewer"});
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(record[field], *value, "{record}");
    }
    assert_eq!(server.get(&of).await.1, record, "it is in the record");
    let (name, preset) = (Some("Grace".to_owned()), Some("webinar_viewer".to_owned()));
    let changes = server.live.changed.lock().expect("not poisoned").clone();
    assert_eq!(changes, [(participant, None, Some("video_host".to_owned())), (participant, name, preset)]);
    // So says a further token.
    let (_, renewed) = server.send(Method::POST, &format!("{of}/token")).await;
    assert_eq!(claims(&server, &renewed).preset, "webinar_viewer");
    let entries = server.audited().await;
    assert_eq!(entries.iter().filter(|(action, _)| action == "participant.change").count(), 2);

    for (body, field) in [
        (json!({"preset": "no_such_preset"}), "preset"),
        (json!({"name": ""}), "name"),
        (json!({"name": "\u{200b}"}), "name"),
        (json!({"name": "x".repeat(65)}), "name"),
    ] {
        let error = patch(&of, body).await;
        assert_error(&error, 400, "INVALID_REQUEST");
        assert_eq!(error.1["error"]["details"]["field"], field);
    }
    for body in [json!({"role": "host"}), json!({"name": 7}), json!([])] {
        assert_error(&patch(&of, body).await, 400, "INVALID_REQUEST");
    }
    let foreign = format!("{other}/participants/{participant}");
    assert_error(&patch(&foreign, json!({"name": "Mallory"})).await, 404, "PARTICIPANT_NOT_FOUND");
    server.send(Method::DELETE, &of).await;
    assert_error(&patch(&of, json!({"name": "Mallory"})).await, 404, "PARTICIPANT_NOT_FOUND");
    assert_eq!(server.get(&of).await.1["name"], "Grace");
}

#[tokio::test]
async fn who_gets_a_token_has_a_name_to_join_with() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let (_, created) =
        server.as_user(&owner, Method::POST, "/api/v1/meetings", &json!({"display_name": "Test"})).await;
    let id = created["meeting_id"].as_str().expect("text");
    let path = format!("/api/v1/meetings/{id}");
    let ask = async |path: &str, body: &Value| server.as_user(&owner, Method::POST, path, body).await;
    let routes = [
        (format!("{path}/participants"), json!({})),
        (format!("{path}/tokens"), json!({})),
        (format!("{path}/join"), json!({})),
        ("/api/video-call/token".to_owned(), json!({"meeting_id": id})),
    ];
    for (route, body) in &routes {
        let with = |name: &str| {
            let mut body = body.clone();
            body["name"] = json!(name);
            body
        };
        let longest = "é".repeat(64);
        for (name, shown) in [(" é\u{202e} ", "é"), (&*longest, &*longest), ("a\u{7}b", "ab")] {
            let (status, issued) = ask(route, &with(name)).await;
            assert!(status.is_success(), "{route} {name:?}: {issued}");
            let token = issued["join_token"].as_str().or(issued["auth_token"].as_str()).expect("a token");
            let claims = server.tokens.verify_join(token).expect("valid");
            assert_eq!(claims.name, shown, "{route}");
            assert_eq!(darktower_core::meeting::display_name(&claims.name).as_ref(), Some(&claims.name));
        }
        for bad in ["", " ", "\u{200b}", &"é".repeat(65), &format!("{}\u{200b}", "é".repeat(64))] {
            let refused = ask(route, &with(bad)).await;
            assert_error(&refused, 400, "INVALID_REQUEST");
        }
    }
    // An account may be called more than fits.
    let profile = json!({"name": "é".repeat(200)});
    let (status, answer) = server.as_user(&owner, Method::PATCH, "/api/v1/auth/me", &profile).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, issued) = ask(&format!("{path}/join"), &Value::Null).await;
    assert_eq!(issued["name"], "é".repeat(64), "{issued}");
}

#[tokio::test]
async fn before_its_time_a_meeting_is_joined_by_its_hosts_only() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let (host, member) = (server.user(&owner, "host").await, server.user(&owner, "member").await);
    let body = json!({
        "display_name": "Later", "scheduling": "scheduled", "scheduled_start": "2090-01-01T12:00:00Z",
        "access_policy": "members",
    });
    let (_, created) = server.as_user(&host, Method::POST, "/api/v1/meetings", &body).await;
    let path = format!("/api/v1/meetings/{}", created["meeting_id"].as_str().expect("text"));
    let join = async |user: &Session| {
        server.as_user(user, Method::POST, &format!("{path}/join"), &Value::Null).await
    };
    let refused = join(&member).await;
    assert_error(&refused, 409, "CONFLICT");
    assert_eq!(refused.1["error"]["details"]["status"], "scheduled");
    for user in [&host, &owner] {
        let (status, issued) = join(user).await;
        assert_eq!((status, &issued["role"]), (StatusCode::CREATED, &json!("host")), "{issued}");
    }
    // Tokens may be handed out ahead of time.
    let (status, issued) =
        server.as_user(&host, Method::POST, &format!("{path}/participants"), &json!({"name": "Zoë"})).await;
    assert_eq!(status, StatusCode::CREATED, "{issued}");
}

#[tokio::test]
async fn strangers_do_not_use_up_the_tokens_of_a_meeting() {
    let limited = |data_dir: &Path| {
        let mut config = open(data_dir);
        config.rate_limits.meeting_join = 2;
        config
    };
    let server = Server::start(limited, public_router).await;
    let owner = server.owner().await;
    let register = json!({
        "organization_name": "Strangers", "organization_slug": "strangers",
        "email": "stranger@example.com", "name": "Stranger", "password": PASSWORD,
    });
    let stranger = Session::of(&server.post("/api/v1/auth/register", &register).await);
    let (_, created) =
        server.as_user(&owner, Method::POST, "/api/v1/meetings", &json!({"display_name": "Test"})).await;
    let id = created["meeting_id"].as_str().expect("text");
    let issue = async |user: &Session| {
        let path = format!("/api/v1/meetings/{id}/participants");
        server.as_user(user, Method::POST, &path, &json!({"name": "Zoë"})).await
    };
    for _ in 0..2 {
        assert_error(&issue(&stranger).await, 404, "MEETING_NOT_FOUND");
    }
    assert_error(&issue(&stranger).await, 429, "RATE_LIMITED");
    for _ in 0..2 {
        assert_eq!(issue(&owner).await.0, StatusCode::CREATED);
    }
    assert_error(&issue(&owner).await, 429, "RATE_LIMITED");
}

#[tokio::test]
async fn the_developer_joins_as_a_host() {
    let server = Server::development().await;
    let (_, path) = meeting(&server, json!({"meeting_type": "audio"})).await;
    let (status, issued) = server.send(Method::POST, &format!("{path}/join")).await;
    assert_eq!(status, StatusCode::CREATED, "{issued}");
    let claims = claims(&server, &issued);
    assert_eq!(
        (claims.role, claims.preset.as_str(), claims.name.as_str()),
        (ParticipantRole::Host, "audio_host", "Developer")
    );
    let (_, issued) = server.post(&format!("{path}/join"), &json!({"name": "Me"})).await;
    assert_eq!(issued["name"], "Me");
    assert_error(
        &server.post(&format!("{path}/join"), &json!({"role": "host"})).await,
        400,
        "INVALID_REQUEST",
    );
}
