//! Meetings: their life as the API shows it.

use time::format_description::well_known::Rfc3339;

use super::*;

fn in_an_hour() -> String {
    (OffsetDateTime::now_utc() + time::Duration::hours(1)).format(&Rfc3339).expect("writable")
}

async fn created(server: &Server, body: Value) -> Value {
    let (status, answer) = server.post("/api/v1/meetings", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (status, meeting) = server.get(&path_of(&answer)).await;
    assert_eq!(status, StatusCode::OK, "{meeting}");
    meeting
}

fn path_of(meeting: &Value) -> String {
    format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str().expect("text"))
}

#[tokio::test]
async fn a_meeting_is_created_and_found() {
    let server = Server::development().await;
    let request = json!({
        "display_name": "  Team Standup ", "max_participants": 7,
        "settings": { "enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false }
    });
    let response =
        server.request(Method::POST, "/api/v1/meetings").json(&request).send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()[header::LOCATION].to_str().expect("text").to_owned();
    let created: Value = response.json().await.expect("JSON");
    let id = created["meeting_id"].as_str().expect("text");
    let slug = created["slug"].as_str().expect("text");
    assert_eq!(location, format!("/api/v1/meetings/{id}"));
    assert_eq!(created["meeting_url"], format!("{}/m/{slug}", server.origin));
    assert_eq!(created["meeting_controller_url"], "https://127.0.0.1:4433/v1/signal");
    assert_eq!(slug.len(), 10);
    let claims = server.tokens.verify_join(created["join_token"].as_str().expect("text")).expect("valid");
    assert_eq!((claims.role, claims.meeting_id.to_string()), (ParticipantRole::Host, id.to_owned()));
    assert_eq!((claims.preset.as_str(), claims.organization_id), ("video_host", server.organization.id));

    let (status, by_id) = server.get(&location).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "meeting_id": id, "slug": slug, "meeting_url": created["meeting_url"], "display_name": "Team Standup",
        "description": null, "meeting_type": "video", "scheduling": "instant", "status": "active", "active": true,
        "participant_count": 0, "max_participants": 7, "max_guests": 3, "keep_alive_seconds": 60,
        "access_policy": "link", "require_auth": false,
        "settings": {
            "enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false, "waiting_room": "off",
        },
        "created_by": null, "scheduled_start": null, "scheduled_end": null, "started_at": null, "ended_at": null,
        "created_at": created["created_at"], "updated_at": created["created_at"],
        "meeting_controller_region": "local", "meeting_controller_url": "https://127.0.0.1:4433/v1/signal",
    });
    assert_eq!(by_id, expected);
    assert!(by_id["created_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{by_id}");
    assert!(server.store.participant(claims.participant_id).await.expect("read").is_some());

    // Who has only the link learns less.
    let card = json!({
        "meeting_id": id, "slug": slug, "meeting_url": created["meeting_url"], "display_name": "Team Standup",
        "meeting_type": "video", "status": "active", "active": true, "guests_allowed": true, "scheduled_start": null,
        "waiting_room": "off", "join": "account",
        "meeting_controller_url": "https://127.0.0.1:4433/v1/signal",
    });
    assert_eq!(server.get(&format!("/api/v1/slugs/{slug}")).await, (StatusCode::OK, card));
    assert_eq!(server.audited().await, [("meeting.create".to_owned(), "developer".to_owned())]);
}

#[tokio::test]
async fn unknown_meetings_are_told_by_the_contracts_error() {
    let server = Server::development().await;
    let id = MeetingId::generate();
    let meeting = format!("/api/v1/meetings/{id}");
    let user = darktower_protocol::UserId::generate();
    let participant = ParticipantId::generate();
    let name = || json!({"name": "Zoë"});
    let table = [
        (Method::GET, String::new(), None),
        (Method::PATCH, String::new(), Some(json!({}))),
        (Method::DELETE, String::new(), None),
        (Method::POST, "/start".to_owned(), None),
        (Method::POST, "/end".to_owned(), None),
        (Method::POST, "/cancel".to_owned(), None),
        (Method::POST, "/join".to_owned(), None),
        (Method::POST, "/guest-join".to_owned(), Some(name())),
        (Method::POST, "/participants".to_owned(), Some(name())),
        (Method::POST, "/tokens".to_owned(), Some(name())),
        (Method::GET, "/participants".to_owned(), None),
        (Method::GET, format!("/participants/{participant}"), None),
        (Method::DELETE, format!("/participants/{participant}"), None),
        (Method::POST, format!("/participants/{participant}/token"), None),
        (Method::GET, "/invitees".to_owned(), None),
        (Method::PUT, format!("/invitees/{user}"), None),
        (Method::DELETE, format!("/invitees/{user}"), None),
        (Method::GET, "/active-session".to_owned(), None),
        (Method::POST, "/active-session/kick-all".to_owned(), None),
    ];
    for (method, path, body) in table {
        let send = |meeting: &str| {
            let request = server.request(method.clone(), &format!("{meeting}{path}"));
            answer(match &body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        let error = send(&meeting).await;
        assert_error(&error, 404, "MEETING_NOT_FOUND");
        assert_eq!(error.1["error"]["message"], format!("Meeting {id} does not exist"));
        let error = send("/api/v1/meetings/42").await;
        assert_error(&error, 400, "INVALID_REQUEST");
        assert_eq!(error.1["error"]["details"]["field"], "meeting_id");
    }
    assert_error(&server.get("/api/v1/slugs/nosuchslug").await, 404, "MEETING_NOT_FOUND");
    assert_eq!(server.audited().await, []);
}

#[tokio::test]
async fn meetings_are_listed_by_page_and_filter() {
    let server = Server::development().await;
    let mut ids = Vec::new();
    for index in 0..3 {
        ids.push(server.meeting(&format!("Meeting {index}")).await["meeting_id"].clone());
    }
    ids.reverse();
    let (status, list) = server.get("/api/v1/meetings?limit=2&offset=1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["total"], 3);
    let listed: Vec<_> = list["meetings"].as_array().expect("a list").iter().collect();
    assert_eq!(listed.iter().map(|meeting| &meeting["meeting_id"]).collect::<Vec<_>>(), [&ids[1], &ids[2]]);
    assert_eq!(listed[0]["display_name"], "Meeting 1");

    let path = format!("/api/v1/meetings/{}", ids[0].as_str().expect("text"));
    server.post(&format!("{path}/participants"), &json!({"name": "Zoë", "user_id": "zoe"})).await;
    server.send(Method::POST, &format!("/api/v1/meetings/{}/end", ids[2].as_str().expect("text"))).await;
    let created =
        created(&server, json!({"display_name": "Über", "description": "Ärger & <b>100%</b>"})).await;
    let from = created["created_at"].as_str().expect("text");
    for (query, total) in [
        ("user_id=zoe&active=true", 1),
        ("user_id=nobody", 0),
        ("active=false", 1),
        ("active=true", 3),
        ("status=ended", 1),
        ("status=scheduled", 0),
        ("search=meeting%201", 1),
        ("search=ÄRGER", 1),
        ("search=100%25", 1),
        ("search=%25", 1),
        ("search=", 4),
        (&format!("from={from}"), 1),
        (&format!("to={from}"), 3),
        ("limit=200&offset=2000000000", 4),
    ] {
        let (status, list) = server.get(&format!("/api/v1/meetings?{query}")).await;
        assert_eq!((status, &list["total"]), (StatusCode::OK, &json!(total)), "{query}: {list}");
    }
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "offset=x",
        "active=maybe",
        "colour=red",
        "status=happy",
        "from=today",
        "to=2025-01-16",
        "from=0000-01-01T00:00:00Z",
        "to=9999-12-31T23:59:59-23:59",
    ] {
        assert_error(&server.get(&format!("/api/v1/meetings?{query}")).await, 400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_by_name() {
    let server = Server::development().await;
    let long = "x".repeat(201);
    let past = "2020-01-01T00:00:00Z";
    let soon = in_an_hour();
    let scheduled = |start: Value, end: Value| json!({"display_name": "a", "scheduling": "scheduled", "scheduled_start": start, "scheduled_end": end});
    let table = [
        (json!({"display_name": ""}), "display_name"),
        (json!({"display_name": "   "}), "display_name"),
        (json!({"display_name": long}), "display_name"),
        (json!({"display_name": "a\u{7}b"}), "display_name"),
        (json!({"display_name": 3}), "display_name"),
        (json!({"display_name": null}), "null"),
        (json!({}), "display_name"),
        (json!({"display_name": "a", "description": "x".repeat(2001)}), "description"),
        (json!({"display_name": "a", "description": "a\u{0}"}), "description"),
        (json!({"display_name": "a", "max_participants": 0}), "max_participants"),
        (json!({"display_name": "a", "max_participants": 101}), "max_participants"),
        (json!({"display_name": "a", "max_participants": -1}), "max_participants"),
        (json!({"display_name": "a", "max_participants": "7"}), "max_participants"),
        (json!({"display_name": "a", "max_participants": 10, "max_guests": 11}), "max_guests"),
        (json!({"display_name": "a", "keep_alive_seconds": 601}), "keep_alive_seconds"),
        (json!({"display_name": "a", "meeting_type": "party"}), "party"),
        (json!({"display_name": "a", "scheduling": "never"}), "never"),
        (json!({"display_name": "a", "access_policy": "all"}), "all"),
        (json!({"display_name": "a", "colour": "red"}), "colour"),
        (json!({"display_name": "a", "slug": "stand-up"}), "slug"),
        (json!({"display_name": "a", "scheduling": "permanent", "slug": "a b"}), "slug"),
        (
            json!({"display_name": "a", "scheduling": "permanent", "slug": MeetingId::generate().to_string()}),
            "slug",
        ),
        (json!({"display_name": "a", "scheduled_start": soon}), "scheduled_start"),
        (json!({"display_name": "a", "scheduling": "permanent", "scheduled_end": soon}), "scheduled_end"),
        (json!({"display_name": "a", "scheduling": "scheduled"}), "scheduled_start"),
        (scheduled(json!(past), Value::Null), "scheduled_start"),
        (scheduled(json!("soon"), Value::Null), "scheduled_start"),
        (scheduled(json!(soon), json!(soon)), "scheduled_end"),
        (json!({"display_name": "a", "settings": {"enable_e2e": true}}), "enable_e2e"),
        (json!({"display_name": "a", "settings": {"require_auth": "yes"}}), "require_auth"),
        (json!(["Positional", 7, {}]), "JSON object"),
        (json!([]), "JSON object"),
        (json!("text"), "JSON object"),
    ];
    for (body, named) in table {
        let error = server.post("/api/v1/meetings", &body).await;
        assert_error(&error, 400, "INVALID_REQUEST");
        let message = error.1["error"]["message"].as_str().expect("text");
        assert!(message.contains(named), "{body} gave {message:?}");
    }
    for body in [
        json!({"display_name": "a", "settings": {"enable_e2e_encryption": true, "recording_enabled": true}}),
        json!({"display_name": "a", "access_policy": "members", "settings": {"require_auth": false}}),
        json!({"display_name": "a", "access_policy": "open", "settings": {"require_auth": true}}),
    ] {
        assert_error(&server.post("/api/v1/meetings", &body).await, 409, "CONFLICT");
    }
    assert_eq!(server.get("/api/v1/meetings").await.1["total"], 0, "refused requests create nothing");
}

#[tokio::test]
async fn the_policy_is_the_meetings_own_or_the_organizations() {
    let server = Server::development().await;
    for (body, policy) in [
        (json!({"display_name": "a"}), "link"),
        (json!({"display_name": "a", "settings": {"require_auth": null}}), "link"),
        (json!({"display_name": "a", "settings": {"require_auth": true}}), "members"),
        (json!({"display_name": "a", "settings": {"require_auth": false}}), "link"),
        (json!({"display_name": "a", "access_policy": "invited"}), "invited"),
        (json!({"display_name": "a", "access_policy": "open", "settings": {"require_auth": false}}), "open"),
    ] {
        let meeting = created(&server, body).await;
        assert_eq!(meeting["access_policy"], policy, "{meeting}");
        let required = matches!(policy, "members" | "invited");
        assert_eq!(
            (&meeting["require_auth"], &meeting["settings"]["require_auth"]),
            (&json!(required), &json!(required))
        );
    }
    let inherits = created(&server, json!({"display_name": "a"})).await;
    let mut organization = server.organization.clone();
    organization.settings.guest_access = GuestAccess::Disabled;
    organization.settings.max_participants = Some(5);
    let read_at = organization.updated_at;
    assert!(server.store.update_organization(&organization, read_at).await.expect("written"));
    // A change counts within a second.
    let followed = async { while server.get(&path_of(&inherits)).await.1["access_policy"] != "members" {} };
    tokio::time::timeout(std::time::Duration::from_secs(2), followed)
        .await
        .expect("it follows its organization");
    assert_error(
        &server.post("/api/v1/meetings", &json!({"display_name": "a", "max_participants": 6})).await,
        400,
        "INVALID_REQUEST",
    );
    assert_eq!(created(&server, json!({"display_name": "a"})).await["max_participants"], 5);
}

#[tokio::test]
async fn changes_keep_what_they_do_not_name() {
    let server = Server::development().await;
    let meeting = created(&server, json!({
        "display_name": "Before", "description": "Line 1\nline 2", "max_participants": 10, "max_guests": 2,
        "access_policy": "open", "keep_alive_seconds": 0
    })).await;
    let path = path_of(&meeting);
    let changed = |changes: Value| {
        let mut expected = meeting.clone();
        for (key, value) in changes.as_object().expect("an object") {
            expected[key] = value.clone();
        }
        expected
    };
    let (status, after) = server.patch(&path, &json!({})).await;
    assert_eq!(status, StatusCode::OK, "{after}");
    assert_eq!(after, changed(json!({"updated_at": after["updated_at"]})));
    let (_, after) = server
        .patch(
            &path,
            &json!({
                "display_name": " After ", "description": null, "max_guests": null, "access_policy": null,
                "max_participants": 20, "keep_alive_seconds": 600, "meeting_type": "webinar",
                "settings": {"recording_enabled": true, "waiting_room": "admission"}
            }),
        )
        .await;
    let settings = json!({
        "enable_e2e_encryption": false, "require_auth": false, "recording_enabled": true, "waiting_room": "admission",
    });
    let expected = changed(json!({
        "display_name": "After", "description": null, "max_guests": 10, "access_policy": "link",
        "max_participants": 20, "keep_alive_seconds": 600, "meeting_type": "webinar", "settings": settings,
        "updated_at": after["updated_at"],
    }));
    assert_eq!(after, expected);
    assert_eq!(server.get(&path).await.1, expected);

    let (_, after) = server.patch(&path, &json!({"settings": {"require_auth": true}})).await;
    assert_eq!(
        (&after["access_policy"], &after["settings"]["recording_enabled"]),
        (&json!("members"), &json!(true))
    );
    for (body, code) in [
        (json!({"display_name": null}), 400),
        (json!({"max_participants": null}), 400),
        (json!({"settings": null}), 400),
        (json!({"max_participants": 101}), 400),
        (json!({"max_guests": 21}), 400),
        (json!({"scheduled_start": in_an_hour()}), 400),
        (json!({"slug": "other"}), 400),
        (json!({"status": "ended"}), 400),
        (json!({"access_policy": "open", "settings": {"require_auth": true}}), 409),
        (json!({"settings": {"enable_e2e_encryption": true}}), 409),
    ] {
        let (status, error) = server.patch(&path, &body).await;
        assert_eq!(status.as_u16(), code, "{body}: {error}");
    }
    let (_, unchanged) = server.get(&path).await;
    assert_eq!(unchanged, after, "refused changes change nothing");
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let server = Server::development().await;
    let path = path_of(&server.meeting("Contended").await);
    let bodies = [
        json!({"display_name": "Renamed"}),
        json!({"description": "Described"}),
        json!({"keep_alive_seconds": 7}),
    ];
    let changes = bodies.iter().map(|body| server.patch(&path, body));
    for (status, body) in futures_util::future::join_all(changes).await {
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let (_, meeting) = server.get(&path).await;
    assert_eq!(
        (&meeting["display_name"], &meeting["description"], &meeting["keep_alive_seconds"]),
        (&json!("Renamed"), &json!("Described"), &json!(7))
    );
}

#[tokio::test]
async fn meetings_live_as_their_state_machine_says() {
    let server = Server::development().await;
    let act = async |path: &str, verb: &str| server.send(Method::POST, &format!("{path}/{verb}")).await;
    let instant = path_of(&server.meeting("Instant").await);
    let refused = act(&instant, "start").await;
    assert_error(&refused, 409, "CONFLICT");
    assert_eq!(refused.1["error"]["details"]["status"], "active");
    let (status, ended) = act(&instant, "end").await;
    assert_eq!(
        (status, &ended["status"], &ended["active"]),
        (StatusCode::OK, &json!("ended"), &json!(false))
    );
    assert!(ended["ended_at"].is_string());
    for verb in ["start", "end", "cancel"] {
        let refused = act(&instant, verb).await;
        assert_error(&refused, 409, "CONFLICT");
        assert_eq!(refused.1["error"]["details"]["status"], "ended");
    }
    assert_error(&server.patch(&instant, &json!({"display_name": "Late"})).await, 409, "CONFLICT");

    let body = json!({"display_name": "Later", "scheduling": "scheduled", "scheduled_start": in_an_hour()});
    let scheduled = created(&server, body.clone()).await;
    assert_eq!((&scheduled["status"], &scheduled["active"]), (&json!("scheduled"), &json!(false)));
    let path = path_of(&scheduled);
    assert_error(&act(&path, "end").await, 409, "CONFLICT");
    let moved =
        json!({"scheduled_start": "2090-01-01T12:00:00+01:00", "scheduled_end": "2090-01-01T13:00:00+01:00"});
    let (_, after) = server.patch(&path, &moved).await;
    assert_eq!(after["scheduled_start"], "2090-01-01T11:00:00Z", "{after}");
    assert_eq!(act(&path, "start").await.1["status"], "active");
    assert_error(&server.patch(&path, &moved).await, 409, "CONFLICT");
    assert_eq!(act(&path, "end").await.1["status"], "ended");

    let cancelled = path_of(&created(&server, body).await);
    assert_eq!(act(&cancelled, "cancel").await.1["status"], "cancelled");
    assert_error(&act(&cancelled, "start").await, 409, "CONFLICT");

    // Everybody is told: once for each meeting that stopped being one.
    let removed = server.live.removed();
    assert!(removed.iter().all(|removal| removal.meeting_over && removal.participant_id.is_none()));
    assert_eq!(removed.len(), 3);
    let stored = server.store.removals(OffsetDateTime::UNIX_EPOCH).await.expect("read");
    assert_eq!(
        stored.iter().map(|removal| removal.id).collect::<Vec<_>>(),
        removed.iter().map(|r| r.id).collect::<Vec<_>>()
    );
    let actions: Vec<_> = server.audited().await.into_iter().map(|(action, _)| action).collect();
    let expected = "create end create update start end create cancel";
    assert_eq!(actions.join(" ").replace("meeting.", ""), expected);
}

#[tokio::test]
async fn permanent_meetings_outlive_their_sessions_and_have_links_of_their_own() {
    let server = Server::development().await;
    let body = json!({"display_name": "Stand-up", "scheduling": "permanent", "slug": "stand-up"});
    let meeting = created(&server, body.clone()).await;
    assert_eq!((&meeting["slug"], &meeting["status"]), (&json!("stand-up"), &json!("active")));
    let taken = server.post("/api/v1/meetings", &body).await;
    assert_error(&taken, 409, "ALREADY_EXISTS");
    assert_eq!(taken.1["error"]["details"]["field"], "slug");

    let path = path_of(&meeting);
    let (status, after) = server.send(Method::POST, &format!("{path}/end")).await;
    assert_eq!((status, &after["status"]), (StatusCode::OK, &json!("active")));
    assert_eq!(server.live.removed().len(), 1);
    assert_eq!(server.send(Method::POST, &format!("{path}/cancel")).await.1["status"], "cancelled");
    assert_error(&server.send(Method::POST, &format!("{path}/end")).await, 409, "CONFLICT");
}

#[tokio::test]
async fn a_deleted_meeting_is_gone_with_everything_about_it() {
    let server = Server::development().await;
    let meeting = server.meeting("Short").await;
    let path = path_of(&meeting);
    let (_, issued) = server.post(&format!("{path}/participants"), &json!({"name": "Zoë"})).await;
    let participant: ParticipantId = issued["participant_id"].as_str().expect("text").parse().expect("an id");
    let deleted = server.request(Method::DELETE, &path).send().await.expect("answered");
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert!(deleted.bytes().await.expect("a body").is_empty());
    assert_error(&server.get(&path).await, 404, "MEETING_NOT_FOUND");
    assert_error(&server.send(Method::DELETE, &path).await, 404, "MEETING_NOT_FOUND");
    let slug = meeting["slug"].as_str().expect("text");
    assert_error(&server.get(&format!("/api/v1/slugs/{slug}")).await, 404, "MEETING_NOT_FOUND");
    assert_eq!(server.store.participant(participant).await.expect("read"), None);
    let stored = server.store.removals(OffsetDateTime::UNIX_EPOCH).await.expect("read");
    assert_eq!(stored, server.live.removed(), "the removal outlives the meeting");
}
