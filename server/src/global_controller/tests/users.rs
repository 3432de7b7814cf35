//! Users of an organization.

use super::*;

#[tokio::test]
async fn administrators_manage_users() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let admin = server.user(&owner, "admin").await;
    let host = server.user(&admin, "host").await;
    let (_, list) = server.read(&admin, "/api/v1/users?limit=2").await;
    assert_eq!((&list["total"], list["users"].as_array().map(Vec::len)), (&json!(3), Some(2)));
    assert_eq!(
        server.read(&admin, "/api/v1/users?role=host").await.1["users"][0]["user_id"],
        host.id.as_str()
    );
    assert_eq!(server.read(&admin, "/api/v1/users?search=OLGA").await.1["total"], 1);
    for query in ["role=king", "limit=0", "limit=201", "colour=red"] {
        assert_error(&server.read(&admin, &format!("/api/v1/users?{query}")).await, 400, "INVALID_REQUEST");
    }
    let path = format!("/api/v1/users/{}", host.id);
    let (_, changed) =
        server.as_user(&admin, Method::PATCH, &path, &json!({"role": "member", "name": "Max"})).await;
    assert_eq!((&changed["role"], &changed["name"]), (&json!("member"), &json!("Max")));
    // What it may do follows at once.
    let create = json!({"display_name": "Mine"});
    assert_error(&server.as_user(&host, Method::POST, "/api/v1/meetings", &create).await, 403, "FORBIDDEN");

    let twice = json!({"email": "OWNER@example.org", "name": "Second"});
    let error = server.as_user(&admin, Method::POST, "/api/v1/users", &twice).await;
    assert_error(&error, 409, "ALREADY_EXISTS");
    assert_eq!(error.1["error"]["details"]["field"], "email");
    for bad in [
        json!({"email": "no address", "name": "N"}),
        json!({"email": "a@b.c", "name": ""}),
        json!({"email": "a@b.c", "name": "A", "role": "owner"}),
        json!({"email": "a@b.c", "name": "A", "role": "guest"}),
        json!({"email": "a@b.c", "name": "A", "password": "short"}),
    ] {
        assert_error(
            &server.as_user(&admin, Method::POST, "/api/v1/users", &bad).await,
            400,
            "INVALID_REQUEST",
        );
    }

    assert_eq!(server.as_user(&admin, Method::DELETE, &path, &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_error(&server.as_user(&admin, Method::DELETE, &path, &Value::Null).await, 404, "USER_NOT_FOUND");
    assert_error(&server.read(&host, "/api/v1/auth/me").await, 401, "UNAUTHORIZED");
    assert_error(&server.read(&admin, "/api/v1/users/42").await, 400, "INVALID_REQUEST");
}

#[tokio::test]
async fn whoever_loses_access_is_thrown_out_of_meetings() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let create = json!({"display_name": "Ours"});
    let (_, meeting) = server.as_user(&owner, Method::POST, "/api/v1/meetings", &create).await;
    let meeting = format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str().expect("text"));
    let start = OffsetDateTime::now_utc() - time::Duration::seconds(1);
    for (method, of_meeting) in [(Method::PATCH, false), (Method::DELETE, false), (Method::DELETE, true)] {
        let member = server.user(&owner, "member").await;
        let invitation = format!("{meeting}/invitees/{}", member.id);
        let (status, _) = server.as_user(&owner, Method::PUT, &invitation, &Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let join = format!("{meeting}/join");
        let (status, joined) = server.as_user(&member, Method::POST, &join, &Value::Null).await;
        assert_eq!(status, StatusCode::CREATED, "{joined}");
        let participant = joined["participant_id"].as_str().expect("text");

        let path = if of_meeting { invitation } else { format!("/api/v1/users/{}", member.id) };
        let body = if method == Method::PATCH { json!({"is_active": false}) } else { Value::Null };
        let (status, changed) = server.as_user(&owner, method, &path, &body).await;
        assert!(status.is_success(), "{changed}");
        let (_, record) = server.read(&owner, &format!("{meeting}/participants/{participant}")).await;
        assert!(record["revoked_at"].is_string(), "{record}");
        let id: ParticipantId = participant.parse().expect("an id");
        let removals = server.store.removals(start).await.expect("read");
        assert!(removals.iter().any(|removal| removal.participant_id == Some(id)), "{removals:?}");
    }
}

#[tokio::test]
async fn the_owner_stays_until_it_gives_its_place_away() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let admin = server.user(&owner, "admin").await;
    let owner_path = format!("/api/v1/users/{}", owner.id);
    let admin_path = format!("/api/v1/users/{}", admin.id);
    let owner_only = [json!({"role": "admin"}), json!({"is_active": false})];
    for session in [&admin, &owner] {
        for change in &owner_only {
            assert_error(&server.as_user(session, Method::PATCH, &owner_path, change).await, 409, "CONFLICT");
        }
        assert_error(
            &server.as_user(session, Method::DELETE, &owner_path, &Value::Null).await,
            409,
            "CONFLICT",
        );
    }
    let take = json!({"role": "owner"});
    assert_error(&server.as_user(&admin, Method::PATCH, &admin_path, &take).await, 403, "FORBIDDEN");
    let reset = format!("{owner_path}/setup-token");
    assert_error(&server.as_user(&admin, Method::POST, &reset, &Value::Null).await, 403, "FORBIDDEN");

    let invited = json!({"email": "invited@example.org", "name": "I"});
    let (_, invited) = server.as_user(&owner, Method::POST, "/api/v1/users", &invited).await;
    let path = format!("/api/v1/users/{}", invited["user_id"].as_str().expect("text"));
    assert_error(&server.as_user(&owner, Method::PATCH, &path, &take).await, 409, "CONFLICT");

    let (status, body) = server.as_user(&owner, Method::PATCH, &admin_path, &take).await;
    assert_eq!((status, &body["role"]), (StatusCode::OK, &json!("owner")));
    assert_eq!(server.read(&owner, &owner_path).await.1["role"], "admin");
    assert_error(&server.as_user(&owner, Method::PATCH, &owner_path, &take).await, 403, "FORBIDDEN");
    assert_eq!(
        server.as_user(&admin, Method::DELETE, &owner_path, &Value::Null).await.0,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn other_organizations_look_as_if_they_did_not_exist() {
    let server = Server::start(open, public_router).await;
    let owner = server.owner().await;
    let member = server.user(&owner, "member").await;
    let register = json!({
        "email": "owner@example.org", "name": "Other", "password": PASSWORD,
        "organization_name": "Other Ltd", "organization_slug": "other",
    });
    let other = Session::of(&server.post("/api/v1/auth/register", &register).await);
    assert_error(&server.post("/api/v1/auth/register", &register).await, 409, "ALREADY_EXISTS");
    assert_eq!(server.read(&other, "/api/v1/users").await.1["total"], 1);
    assert_eq!(
        server.read(&other, "/api/v1/presets").await.1["total"],
        server.read(&owner, "/api/v1/presets").await.1["total"]
    );

    let client = json!({"name": "CI", "scopes": ["admin"]});
    let (_, client) = server.as_user(&owner, Method::POST, "/api/v1/clients", &client).await;
    let client = client["client_id"].as_str().expect("text");
    let unknown = "0192f0c1-2a3b-7c4d-8e5f-001122334455";
    for (method, theirs, nowhere, code) in [
        (
            Method::GET,
            format!("/api/v1/users/{}", member.id),
            format!("/api/v1/users/{unknown}"),
            "USER_NOT_FOUND",
        ),
        (
            Method::DELETE,
            format!("/api/v1/users/{}", member.id),
            format!("/api/v1/users/{unknown}"),
            "USER_NOT_FOUND",
        ),
        (
            Method::GET,
            format!("/api/v1/clients/{client}"),
            "/api/v1/clients/dtc_x".to_owned(),
            "CLIENT_NOT_FOUND",
        ),
        (
            Method::DELETE,
            format!("/api/v1/clients/{client}"),
            "/api/v1/clients/dtc_x".to_owned(),
            "CLIENT_NOT_FOUND",
        ),
        (
            Method::POST,
            format!("/api/v1/clients/{client}/secret"),
            "/api/v1/clients/dtc_x/secret".to_owned(),
            "CLIENT_NOT_FOUND",
        ),
    ] {
        let theirs = server.as_user(&other, method.clone(), &theirs, &Value::Null).await;
        assert_error(&theirs, 404, code);
        let nowhere = server.as_user(&other, method, &nowhere, &Value::Null).await;
        let text = |(_, body): (StatusCode, Value)| body.to_string().replace(unknown, &member.id);
        assert_eq!(text(theirs), text(nowhere), "only the id differs");
    }
    // The same address in two organizations is two accounts.
    let without = json!({"email": "owner@example.org", "password": PASSWORD});
    let error = server.post("/api/v1/auth/login", &without).await;
    assert_error(&error, 400, "INVALID_REQUEST");
    assert_eq!(error.1["error"]["details"]["field"], "organization_slug");
    let there = json!({"email": "owner@example.org", "password": PASSWORD, "organization_slug": "other"});
    assert_eq!(Session::of(&server.post("/api/v1/auth/login", &there).await).id, other.id);
    // A name in another organization is nobody's business here.
    assert_eq!(server.read(&other, "/api/v1/audit-log?action=user.create").await.1["total"], 0);
}
