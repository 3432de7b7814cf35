//! The organization itself, its machine clients, presets and audit log.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn settings_are_merged_and_bounded() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let path = "/api/v1/organization";
    let change = async |body: Value| server.as_user(&owner, Method::PATCH, path, &body).await;
    let (status, body) =
        change(json!({"name": "Ours", "settings": {"guest_access": "disabled", "max_participants": 7}}))
            .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let (_, body) =
        change(json!({"settings": {"max_meeting_minutes": 480, "hosts_host_everywhere": true}})).await;
    assert_eq!(body["name"], "Ours");
    let expected = json!({
        "guest_access": "disabled", "max_participants": 7, "max_meeting_minutes": 480,
        "max_concurrent_meetings": null, "hosts_host_everywhere": true,
    });
    assert_eq!(body["settings"], expected);
    let (_, body) = change(json!({"settings": {"max_participants": null}})).await;
    assert_eq!(body["settings"]["max_participants"], Value::Null);
    assert_eq!(server.read(&owner, path).await.1, body);
    for bad in [
        json!({"name": ""}),
        json!({"settings": {"max_participants": 21}}),
        json!({"settings": {"max_participants": 0}}),
        json!({"settings": {"max_meeting_minutes": 0}}),
        json!({"settings": {"guest_access": "maybe"}}),
        json!({"settings": {"colour": "red"}}),
        json!({"slug": "mine"}),
    ] {
        assert_error(&change(bad).await, 400, "INVALID_REQUEST");
    }
    assert_error(&server.as_user(&owner, Method::DELETE, path, &Value::Null).await, 409, "CONFLICT");
}

#[tokio::test]
async fn of_changes_at_once_none_is_lost() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let path = "/api/v1/organization";
    for round in 1..=10 {
        let changes = [
            json!({"settings": {"max_participants": round}}),
            json!({"settings": {"max_meeting_minutes": round}}),
            json!({"name": format!("Name {round}")}),
        ];
        let change = |body| server.as_user(&owner, Method::PATCH, path, body);
        for (status, body) in futures_util::future::join_all(changes.iter().map(change)).await {
            assert_eq!(status, StatusCode::OK, "{body}");
        }
        let (_, body) = server.read(&owner, path).await;
        let settings = &body["settings"];
        assert_eq!(
            (&body["name"], &settings["max_participants"], &settings["max_meeting_minutes"]),
            (&json!(format!("Name {round}")), &json!(round), &json!(round))
        );
    }
}

#[tokio::test]
async fn an_organization_has_so_many_presets() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let shipped = shipped_presets();
    for index in shipped.len()..200 {
        let mut own = StoredPreset { is_shipped: false, ..shipped[0].clone() };
        own.preset.name = format!("own_{index}");
        assert!(server.store.create_preset(server.organization.id, &own, 200).await.expect("stored"));
    }
    let mut body = serde_json::to_value(&shipped[0].preset).expect("JSON");
    body["name"] = json!("one_too_many");
    let full = server.as_user(&owner, Method::POST, "/api/v1/presets", &body).await;
    assert_error(&full, 429, "CAPACITY_EXCEEDED");
    let gone = server.as_user(&owner, Method::DELETE, "/api/v1/presets/own_199", &Value::Null).await;
    assert_eq!(gone.0, StatusCode::NO_CONTENT);
    let (status, created) = server.as_user(&owner, Method::POST, "/api/v1/presets", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
}

#[tokio::test]
async fn an_organization_goes_with_everything_in_it() {
    let server = Server::start(open, public_router).await;
    let keeper = server.owner().await;
    let register = json!({
        "email": "o@example.org", "name": "O", "password": PASSWORD,
        "organization_name": "Short-lived", "organization_slug": "short-lived",
    });
    let owner = Session::of(&server.post("/api/v1/auth/register", &register).await);
    let create = json!({"display_name": "Last one"});
    let (_, meeting) = server.as_user(&owner, Method::POST, "/api/v1/meetings", &create).await;
    let id: MeetingId = meeting["meeting_id"].as_str().expect("text").parse().expect("an id");
    let start = OffsetDateTime::now_utc() - time::Duration::minutes(1);
    let (status, _) = server.as_user(&owner, Method::DELETE, "/api/v1/organization", &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_error(&server.try_refresh(&owner.refresh).await, 401, "UNAUTHORIZED");
    assert!(server.store.meeting(id).await.expect("read").is_none());
    let removals = server.store.removals(start).await.expect("read");
    assert!(removals.iter().any(|removal| removal.meeting_id == id && removal.meeting_over), "{removals:?}");
    let login = json!({"email": "o@example.org", "password": PASSWORD, "organization_slug": "short-lived"});
    assert_error(&server.post("/api/v1/auth/login", &login).await, 401, "UNAUTHORIZED");
    assert_eq!(server.read(&keeper, "/api/v1/organization").await.0, StatusCode::OK);
    let deadline = Instant::now() + Duration::from_millis(1200);
    while server.read(&owner, "/api/v1/presets").await.0 != StatusCode::UNAUTHORIZED {
        assert!(Instant::now() < deadline, "its owner is still in");
    }
}

#[tokio::test]
async fn machine_clients_live_with_their_secret() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let create = json!({"name": " Calendar ", "scopes": ["tokens", "meetings", "tokens"]});
    let (status, client) = server.as_user(&owner, Method::POST, "/api/v1/clients", &create).await;
    assert_eq!(
        (status, &client["name"], &client["scopes"]),
        (StatusCode::CREATED, &json!("Calendar"), &json!(["meetings", "tokens"]))
    );
    let id = client["client_id"].as_str().expect("text").to_owned();
    let secret = client["client_secret"].as_str().expect("text").to_owned();
    assert!(secret.starts_with("dts_") && id.starts_with("dtc_"), "{client}");
    let path = format!("/api/v1/clients/{id}");
    let (_, seen) = server.read(&owner, &path).await;
    assert!(seen.get("client_secret").is_none() && seen["client_id"] == id.as_str(), "{seen}");
    assert_eq!(server.read(&owner, "/api/v1/clients").await.1, json!({"clients": [seen], "total": 1}));

    let grant = |secret: &str| {
        let body = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
        answer(server.request(Method::POST, "/api/v1/auth/token").json(&body))
    };
    let (_, token) = grant(&secret).await;
    assert_eq!((&token["scope"], &token["expires_in"]), (&json!("meetings tokens"), &json!(3600)));
    let program =
        Session { access: token["access_token"].as_str().expect("text").to_owned(), ..owner.clone() };
    assert_eq!(server.read(&program, "/api/v1/meetings").await.0, StatusCode::OK);
    assert_error(&server.read(&program, "/api/v1/users").await, 403, "FORBIDDEN");

    let (status, renewed) =
        server.as_user(&owner, Method::POST, &format!("{path}/secret"), &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_error(&grant(&secret).await, 401, "UNAUTHORIZED");
    let secret = renewed["client_secret"].as_str().expect("text");
    assert_eq!(grant(secret).await.0, StatusCode::OK);
    assert_eq!(server.read(&program, "/api/v1/meetings").await.0, StatusCode::OK, "until its token ends");

    let sibling = server.sibling(production).await;
    assert_eq!(sibling.read(&program, "/api/v1/presets").await.0, StatusCode::OK);
    assert_eq!(server.as_user(&owner, Method::DELETE, &path, &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_error(&server.read(&program, "/api/v1/presets").await, 401, "UNAUTHORIZED");
    let deadline = Instant::now() + Duration::from_millis(1200);
    while sibling.read(&program, "/api/v1/presets").await.0 == StatusCode::OK {
        assert!(Instant::now() < deadline, "it is still in");
    }
    assert_error(&grant(secret).await, 401, "UNAUTHORIZED");
    for bad in [
        json!({"name": "", "scopes": ["admin"]}),
        json!({"name": "x", "scopes": []}),
        json!({"name": "x", "scopes": ["root"]}),
    ] {
        assert_error(
            &server.as_user(&owner, Method::POST, "/api/v1/clients", &bad).await,
            400,
            "INVALID_REQUEST",
        );
    }
}

#[tokio::test]
async fn presets_are_changed_and_shipped_ones_stay() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let (_, list) = server.read(&owner, "/api/v1/presets").await;
    let names: Vec<_> = list["presets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|preset| preset["name"].as_str().expect("text"))
        .collect();
    assert!(names.contains(&"video_host") && names.contains(&"webinar_viewer"), "{names:?}");
    assert_eq!(list["total"], darktower_core::preset::shipped().len());

    let (_, stored) = server.read(&owner, "/api/v1/presets/video_guest").await;
    let mut preset = stored.clone();
    for extra in ["is_shipped", "created_at", "updated_at"] {
        preset.as_object_mut().expect("an object").remove(extra);
    }
    preset["permissions"]["can_record"] = json!(true);
    let path = "/api/v1/presets/video_guest";
    let (status, changed) = server.as_user(&owner, Method::PUT, path, &preset).await;
    assert_eq!(
        (status, &changed["permissions"]["can_record"], &changed["is_shipped"]),
        (StatusCode::OK, &json!(true), &json!(true))
    );
    assert_error(&server.as_user(&owner, Method::DELETE, path, &Value::Null).await, 409, "CONFLICT");
    // A later start changes nothing back.
    let sibling = server.sibling(production).await;
    assert_eq!(sibling.read(&owner, path).await.1, changed);

    preset["name"] = json!("stage_crew");
    assert_error(&server.as_user(&owner, Method::PUT, path, &preset).await, 400, "INVALID_REQUEST");
    let (status, created) = server.as_user(&owner, Method::POST, "/api/v1/presets", &preset).await;
    assert_eq!((status, &created["is_shipped"]), (StatusCode::CREATED, &json!(false)), "{created}");
    assert_error(
        &server.as_user(&owner, Method::POST, "/api/v1/presets", &preset).await,
        409,
        "ALREADY_EXISTS",
    );
    assert_eq!(
        server.as_user(&owner, Method::DELETE, "/api/v1/presets/stage_crew", &Value::Null).await.0,
        StatusCode::NO_CONTENT
    );
    assert_error(&server.read(&owner, "/api/v1/presets/stage_crew").await, 404, "PRESET_NOT_FOUND");
    assert_error(
        &server.as_user(&owner, Method::PUT, "/api/v1/presets/stage_crew", &preset).await,
        404,
        "PRESET_NOT_FOUND",
    );

    preset["config"]["media"]["video"]["frame_rate"] = json!(500);
    let error = server.as_user(&owner, Method::POST, "/api/v1/presets", &preset).await;
    assert_error(&error, 400, "INVALID_REQUEST");
    assert_eq!(error.1["error"]["details"]["field"], "config.media.video.frame_rate");
    preset.as_object_mut().expect("an object").remove("ui");
    assert_error(
        &server.as_user(&owner, Method::POST, "/api/v1/presets", &preset).await,
        400,
        "INVALID_REQUEST",
    );
}

#[tokio::test]
async fn the_log_tells_who_did_what_by_which_request() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let admin = server.user(&owner, "admin").await;
    let body = json!({"name": "CI", "scopes": ["admin"]});
    let request = server.request(Method::POST, "/api/v1/clients").bearer_auth(&admin.access);
    let (_, client) = answer(request.header("x-request-id", "my-request.1").json(&body)).await;
    let client = client["client_id"].as_str().expect("text");
    let (_, log) = server.read(&owner, &format!("/api/v1/audit-log?target={client}")).await;
    assert_eq!(log["total"], 1, "{log}");
    let entry = &log["entries"][0];
    assert_eq!((&entry["actor_kind"], &entry["actor_id"]), (&json!("user"), &json!(admin.id)));
    assert_eq!((&entry["action"], &entry["target_kind"]), (&json!("client.create"), &json!("client")));
    assert_eq!((&entry["request_id"], &entry["details"]["name"]), (&json!("my-request.1"), &json!("CI")));
    let all = server.read(&owner, "/api/v1/audit-log?limit=200").await.1;
    let actions: Vec<_> = all["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["action"].as_str().expect("text"))
        .collect();
    assert_eq!(actions, ["client.create", "user.login", "user.create", "user.login", "user.register"]);
    assert!(!all.to_string().contains("dts_") && !all.to_string().contains(PASSWORD), "{all}");
    let later = "from=2999-01-01T00:00:00Z";
    assert_eq!(server.read(&owner, &format!("/api/v1/audit-log?{later}")).await.1["total"], 0);
    assert_eq!(server.read(&owner, &format!("/api/v1/audit-log?actor={}", admin.id)).await.1["total"], 2);
    for query in ["from=yesterday", "to=1", "limit=0", "who=me"] {
        assert_error(
            &server.read(&owner, &format!("/api/v1/audit-log?{query}")).await,
            400,
            "INVALID_REQUEST",
        );
    }
}

#[tokio::test]
async fn keys_of_tokens_are_published() {
    let server = Server::production().await;
    let next = server.tokens.keys().rotate().expect("rotated");
    let response = server.request(Method::GET, "/.well-known/jwks.json").send().await.expect("answered");
    assert_eq!(response.headers()["cache-control"], "public, max-age=60");
    let keys: Value = response.json().await.expect("JSON");
    let keys = keys["keys"].as_array().expect("a list");
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter()
            .any(|key| key["kid"] == next.as_str() && key["crv"] == "Ed25519" && key.get("d").is_none())
    );
    // A server that shares the folder knows them.
    let owner = server.owner().await;
    let sibling = server.sibling(production).await;
    assert_eq!(sibling.read(&owner, "/api/v1/auth/me").await.0, StatusCode::OK);
}
