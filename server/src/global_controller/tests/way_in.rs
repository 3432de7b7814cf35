//! What pages learn of a meeting's link, and of whoever looks at them.

use darktower_core::access::{OrganizationRole, Scope};

use super::*;
use crate::auth::{AccessClaims, Subject};

/// An access token of an organization's user with this role.
async fn token(server: &Server, organization: OrganizationId, role: OrganizationRole) -> String {
    let now = OffsetDateTime::now_utc();
    let id = darktower_protocol::UserId::generate();
    let user = crate::storage::model::User {
        id,
        organization_id: organization,
        email: format!("{id}@example.org"),
        name: "Somebody".to_owned(),
        role,
        password_hash: None,
        avatar_url: None,
        is_active: true,
        last_login_at: None,
        created_at: now,
        updated_at: now,
    };
    server.store.create_user(&user, None).await.expect("stored");
    let subject = Subject::User { id, login: uuid::Uuid::new_v4() };
    server.tokens.issue_access(&AccessClaims::new(subject, organization, time::Duration::minutes(15)))
}

async fn ask(server: &Server, path: &str, token: Option<&str>) -> Value {
    let request = server.request(Method::GET, path);
    let (status, body) = answer(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

#[tokio::test]
async fn a_link_says_how_its_holder_gets_in() {
    let server = Server::production().await;
    let home = server.organization.id;
    let owner = token(&server, home, OrganizationRole::Owner).await;
    let host = token(&server, home, OrganizationRole::Host).await;
    let member = token(&server, home, OrganizationRole::Member).await;
    let stranger = token(&server, server.other_organization().await.id, OrganizationRole::Owner).await;
    let machine = crate::storage::model::Client {
        id: "dtc_program".to_owned(),
        organization_id: home,
        name: "Program".to_owned(),
        secret_hash: crate::auth::secret::hash_secret("secret"),
        scopes: vec![Scope::Admin],
        created_at: OffsetDateTime::now_utc(),
    };
    server.store.create_client(&machine).await.expect("stored");
    let claims = AccessClaims::new(Subject::Client(machine.id), home, time::Duration::minutes(15));
    let machine = server.tokens.issue_access(&claims);
    // A join token is none of the API's.
    let wrong = join_token(&server.tokens, MeetingId::generate());

    for (policy, expected) in [
        // nobody, wrong token, machine client, owner of another organization; member, host, owner
        ("invited", ["sign_in", "sign_in", "sign_in", "sign_in", "sign_in", "account", "account"]),
        ("members", ["sign_in", "sign_in", "sign_in", "sign_in", "account", "account", "account"]),
        ("link", ["guest", "guest", "guest", "guest", "account", "account", "account"]),
        ("open", ["guest", "guest", "guest", "guest", "account", "account", "account"]),
    ] {
        let body = json!({
            "display_name": policy, "access_policy": policy, "settings": {"waiting_room": "admission"},
        });
        let request = server.request(Method::POST, "/api/v1/meetings").bearer_auth(&owner).json(&body);
        let (_, created) = answer(request).await;
        let (id, slug) = (created["meeting_id"].as_str(), created["slug"].as_str());
        let (id, slug) = (id.unwrap_or_else(|| panic!("{created}")), slug.expect("text"));
        let card = format!("/api/v1/slugs/{slug}");
        let callers =
            [None, Some(&wrong), Some(&machine), Some(&stranger), Some(&member), Some(&host), Some(&owner)];
        for (caller, expected) in callers.into_iter().zip(expected) {
            let caller = caller.map(String::as_str);
            let told = ask(&server, &card, caller).await;
            assert_eq!(
                (&told["join"], &told["waiting_room"]),
                (&json!(expected), &json!("admission")),
                "{policy} {told}"
            );
            // It holds what it says.
            let join = match expected {
                "guest" => ("guest-join", json!({"name": "Ada"})),
                _ => ("join", json!({"name": "Ada"})),
            };
            let path = format!("/api/v1/meetings/{id}/{}", join.0);
            let request = server.request(Method::POST, &path).json(&join.1);
            let (status, body) = answer(match caller {
                Some(token) if expected != "guest" => request.bearer_auth(token),
                _ => request,
            })
            .await;
            assert_eq!(status.is_success(), expected != "sign_in", "{policy} {expected} {status} {body}");
        }
        let end = server.request(Method::POST, &format!("/api/v1/meetings/{id}/end")).bearer_auth(&owner);
        assert!(answer(end).await.0.is_success());
        for caller in [None, Some(owner.as_str())] {
            let told = ask(&server, &card, caller).await;
            assert_eq!((&told["join"], &told["status"]), (&json!("none"), &json!("ended")));
        }
    }
}

#[tokio::test]
async fn callers_learn_whether_they_may_create_meetings() {
    let server = Server::production().await;
    let home = server.organization.id;
    let card = |signed_in: bool, may_create: bool| json!({"signed_in": signed_in, "may_create_meetings": may_create, "development": false});
    assert_eq!(ask(&server, "/api/v1/caller", None).await, card(false, false));
    assert_eq!(ask(&server, "/api/v1/caller", Some("a.b.c")).await, card(false, false));
    for (role, may_create) in
        [(OrganizationRole::Owner, true), (OrganizationRole::Host, true), (OrganizationRole::Member, false)]
    {
        let token = token(&server, home, role).await;
        assert_eq!(ask(&server, "/api/v1/caller", Some(&token)).await, card(true, may_create));
    }
    let development = Server::development().await;
    let expected = json!({"signed_in": false, "may_create_meetings": true, "development": true});
    assert_eq!(ask(&development, "/api/v1/caller", None).await, expected);
}

#[tokio::test]
async fn in_development_whoever_opens_a_link_is_host_or_comes_as_guest() {
    let server = Server::development().await;
    let meeting = server.meeting("Demo").await;
    let card =
        ask(&server, &format!("/api/v1/slugs/{}", meeting["slug"].as_str().expect("text")), None).await;
    assert_eq!((&card["join"], &card["guests_allowed"]), (&json!("account"), &json!(true)));
    let path = format!("/api/v1/meetings/{}", card["meeting_id"].as_str().expect("text"));
    for (route, role) in [("join", "host"), ("guest-join", "guest")] {
        let (status, grant) = server.post(&format!("{path}/{route}"), &json!({"name": "Zoë"})).await;
        assert_eq!(
            (status, &grant["role"], &grant["name"]),
            (StatusCode::CREATED, &json!(role), &json!("Zoë"))
        );
    }
}

#[tokio::test]
async fn tokens_cannot_be_guessed_by_asking_who_one_is() {
    let limited = |folder: &Path| {
        let mut config = production(folder);
        config.rate_limits.failed_auth = 3;
        config
    };
    let server = Server::start(limited, public_router).await;
    for _ in 0..4 {
        ask(&server, "/api/v1/caller", Some("a.b.c")).await;
    }
    let refused = answer(server.request(Method::GET, "/api/v1/caller").bearer_auth("a.b.c")).await;
    assert_error(&refused, 429, "RATE_LIMITED");
    // Who brings none, or a right one, is not in the way of whoever guesses at its address.
    assert_eq!(ask(&server, "/api/v1/caller", None).await["signed_in"], false);
    let owner = token(&server, server.organization.id, OrganizationRole::Owner).await;
    assert_eq!(ask(&server, "/api/v1/caller", Some(&owner)).await["signed_in"], true);
}
