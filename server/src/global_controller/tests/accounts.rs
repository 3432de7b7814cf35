//! Signing in.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn the_setup_secret_makes_one_owner_also_when_two_try_at_once() {
    let server = Server::production().await;
    let secret = server.setup_secret.as_ref().expect("no owner yet").expose().to_owned();
    let register = |secret: &str, email: &str| {
        let body = json!({"setup_secret": secret, "email": email, "name": "O", "password": PASSWORD});
        answer(server.request(Method::POST, "/api/v1/auth/register").json(&body))
    };
    assert_error(&register("dto_guess", "a@example.org").await, 401, "UNAUTHORIZED");
    let weak =
        json!({"setup_secret": secret, "email": "a@example.org", "name": "O", "password": "password123"});
    assert_error(&server.post("/api/v1/auth/register", &weak).await, 400, "INVALID_REQUEST");

    let (one, two) = tokio::join!(register(&secret, "a@example.org"), register(&secret, "b@example.org"));
    let (winner, loser) = if one.0 == StatusCode::CREATED { (one, two) } else { (two, one) };
    assert_eq!(winner.0, StatusCode::CREATED, "{}", winner.1);
    assert_eq!(winner.1["user"]["role"], "owner");
    assert_eq!(winner.1["organization"]["slug"], "default");
    assert_eq!((&winner.1["expires_in"], &winner.1["token_type"]), (&json!(900), &json!("Bearer")));
    assert_error(&loser, 401, "UNAUTHORIZED");
    assert_error(&register(&secret, "c@example.org").await, 401, "UNAUTHORIZED");
    let session = Session::of(&winner);
    assert_eq!(server.read(&session, "/api/v1/users").await.1["total"], 1);

    // From now on a start prints none.
    assert!(server.sibling(production).await.setup_secret.is_none());
}

#[tokio::test]
async fn the_setup_secret_of_an_earlier_start_ends() {
    let server = Server::production().await;
    let earlier = server.setup_secret.as_ref().expect("no owner yet").expose().to_owned();
    let again = server.sibling(production).await;
    let body = json!({"setup_secret": earlier, "email": "a@example.org", "name": "O", "password": PASSWORD});
    assert_error(&again.post("/api/v1/auth/register", &body).await, 401, "UNAUTHORIZED");
    again.owner().await;
}

#[tokio::test]
async fn no_default_password_works() {
    let (production, development) = (Server::production().await, Server::development().await);
    assert!(development.setup_secret.is_none(), "who is on the machine is the owner");
    for email in
        ["admin", "root", "admin@example.org", "admin@localhost", "owner@default", "darktower@darktower"]
    {
        for password in ["", "admin", "password", "changeme", "darktower", "admin12345", "0000000000"] {
            for server in [&production, &development] {
                assert_error(&server.try_login(email, password).await, 401, "UNAUTHORIZED");
            }
        }
    }
    assert_error(&production.post("/api/v1/auth/register", &json!({
        "email": "a@example.org", "name": "A", "password": PASSWORD, "organization_name": "A", "organization_slug": "aaa",
    })).await, 403, "FORBIDDEN");
}

#[tokio::test]
async fn tokens_of_a_login_are_renewed_and_end_with_it() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let (status, me) = server.read(&owner, "/api/v1/auth/me").await;
    assert_eq!(
        (status, &me["kind"], &me["user"]["email"]),
        (StatusCode::OK, &json!("user"), &json!("owner@example.org"))
    );
    assert!(!me.to_string().contains("argon2"), "{me}");

    let next = Session::of(&server.try_refresh(&owner.refresh).await);
    assert_ne!(next.refresh, owner.refresh);
    assert_eq!(server.read(&next, "/api/v1/auth/me").await.0, StatusCode::OK);
    let after = Session::of(&server.try_refresh(&next.refresh).await);

    let other = server.login(" Owner@Example.org ", PASSWORD).await;
    let logout = json!({"refresh_token": after.refresh});
    assert_eq!(server.post("/api/v1/auth/logout", &logout).await.0, StatusCode::NO_CONTENT);
    assert_error(&server.try_refresh(&after.refresh).await, 401, "UNAUTHORIZED");
    assert_eq!(server.post("/api/v1/auth/logout", &logout).await.0, StatusCode::NO_CONTENT, "again");
    assert_eq!(server.try_refresh(&other.refresh).await.0, StatusCode::OK, "another login goes on");
    for strange in ["", "dtr_x", &"x".repeat(10_000), &owner.access] {
        assert_error(&server.try_refresh(strange).await, 401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_every_login() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let other = server.login("owner@example.org", PASSWORD).await;
    let bystander = server.user(&owner, "member").await;
    let thief = Session::of(&server.try_refresh(&owner.refresh).await);
    assert_error(&server.try_refresh(&owner.refresh).await, 401, "TOKEN_REUSED");
    for token in [&thief.refresh, &other.refresh] {
        assert_error(&server.try_refresh(token).await, 401, "UNAUTHORIZED");
    }
    assert_eq!(server.try_refresh(&bystander.refresh).await.0, StatusCode::OK);
    let back = server.login("owner@example.org", PASSWORD).await;
    let (_, log) = server.read(&back, "/api/v1/audit-log?action=user.refresh_token_reused").await;
    assert_eq!((&log["total"], &log["entries"][0]["target_id"]), (&json!(1), &json!(owner.id)), "{log}");
}

#[tokio::test]
async fn of_those_who_refresh_at_once_one_gets_tokens() {
    let server = Server::production().await;
    let owner = server.owner().await;
    for _ in 0..10 {
        let session = server.login("owner@example.org", PASSWORD).await;
        let all = futures_util::future::join_all((0..8).map(|_| server.try_refresh(&session.refresh))).await;
        let got: Vec<_> = all.iter().filter(|(status, _)| *status == StatusCode::OK).collect();
        assert_eq!(got.len(), 1, "{all:?}");
        assert!(all.iter().any(|(_, body)| body["error"]["code"] == "TOKEN_REUSED"), "{all:?}");
        // Nobody can know which of them was the thief.
        let next = got[0].1["refresh_token"].as_str().expect("text");
        assert_error(&server.try_refresh(next).await, 401, "UNAUTHORIZED");
    }
    assert_error(&server.try_refresh(&owner.refresh).await, 401, "UNAUTHORIZED");
}

/// CPU time of this process, hundredths of a second. Every test is a process of its own.
#[cfg(target_os = "linux")]
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().expect("fields after the name").split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nobody_learns_which_accounts_exist() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let member = server.user(&owner, "member").await;
    let (_, member) = server.read(&owner, &format!("/api/v1/users/{}", member.id)).await;
    let gone = member["email"].as_str().expect("text").to_owned();
    let path = format!("/api/v1/users/{}", member["user_id"].as_str().expect("text"));
    assert_eq!(
        server.as_user(&owner, Method::PATCH, &path, &json!({"is_active": false})).await.0,
        StatusCode::OK
    );
    let invited = json!({"email": "invited@example.org", "name": "I"});
    assert_eq!(server.as_user(&owner, Method::POST, "/api/v1/users", &invited).await.0, StatusCode::CREATED);

    let tries = [
        ("owner@example.org", "the wrong one", "default"),
        ("nobody@example.org", "the wrong one", "default"),
        (gone.as_str(), PASSWORD, "default"),
        ("invited@example.org", PASSWORD, "default"),
        ("owner@example.org", PASSWORD, "elsewhere"),
        ("owner@example.org", &"x".repeat(5000), "default"),
    ];
    let mut cost = [0; 6];
    let mut bodies = Vec::new();
    for _ in 0..8 {
        for ((email, password, slug), cost) in tries.iter().zip(&mut cost) {
            let body = json!({"email": email, "password": password, "organization_slug": slug});
            let before = cpu_ticks();
            let (status, body) = server.post("/api/v1/auth/login", &body).await;
            *cost += cpu_ticks() - before;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            bodies.push(body);
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    // All of them pay for one argon2, which is nearly all of it. In CPU time: how long it takes, others on this machine decide.
    let (least, most) = (cost.iter().min().expect("some"), cost.iter().max().expect("some"));
    assert!(*most * 2 <= *least * 3, "hundredths of a second for eight logins each: {cost:?}");

    // Nor which machine clients, and the log knows what the answer did not tell.
    let (_, log) = server.read(&owner, "/api/v1/audit-log?action=user.login_failed&limit=200").await;
    assert_eq!(log["total"], 40, "those of the organization");
    let reasons: std::collections::BTreeSet<_> = log["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["details"]["reason"].as_str().expect("text"))
        .collect();
    assert_eq!(Vec::from_iter(reasons), ["deactivated", "no_password", "unknown", "wrong_password"]);
    assert!(!log.to_string().contains("the wrong one") && !log.to_string().contains(PASSWORD));
}

#[tokio::test]
async fn a_deactivated_user_is_out_within_a_second_on_every_server() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let member = server.user(&owner, "member").await;
    let sibling = server.sibling(production).await;
    let path = format!("/api/v1/users/{}", member.id);
    for (method, body) in [(Method::PATCH, json!({"is_active": false})), (Method::DELETE, Value::Null)] {
        for server in [&server, &sibling] {
            assert_eq!(server.read(&member, "/api/v1/auth/me").await.0, StatusCode::OK);
        }
        let (status, _) = server.as_user(&owner, method.clone(), &path, &body).await;
        assert!(status.is_success(), "{status}");
        let changed = Instant::now();
        assert_error(&server.read(&member, "/api/v1/auth/me").await, 401, "UNAUTHORIZED");
        // Presets, as that route asks the store for nothing about the caller.
        while sibling.read(&member, "/api/v1/presets").await.0 == StatusCode::OK {
            assert!(changed.elapsed() < Duration::from_millis(1200), "it is still in");
        }
        assert_error(&server.try_refresh(&member.refresh).await, 401, "UNAUTHORIZED");
        if method == Method::PATCH {
            let (status, _) = server.as_user(&owner, Method::PATCH, &path, &json!({"is_active": true})).await;
            assert_eq!(status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_new_password_ends_the_other_logins() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let other = server.login("owner@example.org", PASSWORD).await;
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        server.as_user(&owner, Method::POST, "/api/v1/auth/password", &body).await
    };
    assert_error(&change("not this one", "a quiet evening").await, 401, "UNAUTHORIZED");
    for bad in ["short", "owner@example.org", "qwertyuiop", &"x".repeat(129)] {
        assert_error(&change(PASSWORD, bad).await, 400, "INVALID_REQUEST");
    }
    assert_eq!(change(PASSWORD, "a quiet evening").await.0, StatusCode::NO_CONTENT);
    assert_error(&server.try_refresh(&other.refresh).await, 401, "UNAUTHORIZED");
    assert_eq!(server.try_refresh(&owner.refresh).await.0, StatusCode::OK, "its own login goes on");
    assert_error(&server.try_login("owner@example.org", PASSWORD).await, 401, "UNAUTHORIZED");
    server.login("owner@example.org", "a quiet evening").await;
}

#[tokio::test]
async fn an_invited_user_sets_its_password_once() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let invite = json!({"email": "New@Example.org", "name": "New", "role": "host"});
    let (status, created) = server.as_user(&owner, Method::POST, "/api/v1/users", &invite).await;
    assert_eq!(
        (status, &created["email"], &created["has_password"]),
        (StatusCode::CREATED, &json!("new@example.org"), &json!(false))
    );
    let token = created["setup_token"].as_str().expect("text").to_owned();
    let activate = |token: &str, password: &str| {
        let body = json!({"setup_token": token, "password": password, "name": "Newton"});
        answer(server.request(Method::POST, "/api/v1/auth/activate").json(&body))
    };
    assert_error(&activate(&token, "short").await, 400, "INVALID_REQUEST");
    assert_error(&activate("dto_guess", PASSWORD).await, 401, "UNAUTHORIZED");
    let (one, two) = tokio::join!(activate(&token, PASSWORD), activate(&token, "another password"));
    let (winner, loser) = if one.0 == StatusCode::OK { (one, two) } else { (two, one) };
    assert_error(&loser, 401, "UNAUTHORIZED");
    let session = Session::of(&winner);
    assert_eq!((&winner.1["user"]["name"], &winner.1["user"]["role"]), (&json!("Newton"), &json!("host")));

    // A reset: the last token counts, and the logins before end.
    let path = format!("/api/v1/users/{}/setup-token", session.id);
    let reset = async || {
        let (status, body) = server.as_user(&owner, Method::POST, &path, &Value::Null).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["setup_token"].as_str().expect("text").to_owned()
    };
    let (first, second) = (reset().await, reset().await);
    assert_error(&activate(&first, PASSWORD).await, 401, "UNAUTHORIZED");
    assert_eq!(activate(&second, "the next password").await.0, StatusCode::OK);
    assert_error(&server.try_refresh(&session.refresh).await, 401, "UNAUTHORIZED");
    server.login("new@example.org", "the next password").await;
    // The owner's secret is no user's, and the other way round.
    let third = reset().await;
    let body = json!({"setup_secret": third, "email": "x@example.org", "name": "X", "password": PASSWORD});
    assert_error(&server.post("/api/v1/auth/register", &body).await, 401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_login_that_is_on_its_way_does_not_outlive_a_new_password() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let mut writer = server.only_writer().await;
    // Nobody sees this before COMMIT: until then the password is right.
    sqlx::query("UPDATE users SET password_hash = 'another'").execute(&mut writer).await.expect("changed");
    let compared = server.metric("passwords_hashed_total");
    let change = async {
        let begin = Instant::now();
        while server.metric("passwords_hashed_total") == compared {
            assert!(begin.elapsed() < Duration::from_secs(20), "the password is not compared");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sqlx::query("COMMIT").execute(&mut writer).await.expect("done");
    };
    let (refused, ()) = tokio::join!(server.try_login("owner@example.org", PASSWORD), change);
    assert_error(&refused, 401, "UNAUTHORIZED");
    let (_, log) = server.read(&owner, "/api/v1/audit-log?action=user.login_failed").await;
    assert_eq!(log["entries"][0]["details"]["reason"], "changed_meanwhile", "{log}");
}

#[tokio::test]
async fn a_registration_with_a_mistake_is_no_try() {
    let limited = |folder: &Path| {
        let mut config = open(folder);
        config.rate_limits.register = 1;
        config
    };
    let server = Server::start(limited, public_router).await;
    let register = async |secret: &str, password: &str| {
        let body =
            json!({"setup_secret": secret, "email": "a@example.org", "name": "O", "password": password});
        server.post("/api/v1/auth/register", &body).await
    };
    let new = json!({
        "email": "a@example.org", "name": "O", "password": PASSWORD,
        "organization_name": "Ours", "organization_slug": "Not a slug",
    });
    for _ in 0..3 {
        assert_error(&register("dto_guess", "short").await, 400, "INVALID_REQUEST");
        assert_error(&server.post("/api/v1/auth/register", &new).await, 400, "INVALID_REQUEST");
    }
    assert_error(&register("dto_guess", PASSWORD).await, 401, "UNAUTHORIZED");
    let secret = server.setup_secret.as_ref().expect("no owner yet").expose();
    assert_error(&register(secret, PASSWORD).await, 429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_storm_of_logins_is_bounded_and_told_when_to_come_again() {
    let server = Server::production().await;
    server.owner().await;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let body = json!({"email": "owner@example.org", "password": "wrong wrong wrong"});
    let storm =
        (0..cores * 34).map(|_| server.request(Method::POST, "/api/v1/auth/login").json(&body).send());
    let mut busy = 0;
    for answer in futures_util::future::join_all(storm).await {
        let response = answer.expect("answered");
        match response.status() {
            StatusCode::UNAUTHORIZED => {}
            StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(response.headers()["retry-after"], "2");
                let error: Value = response.json().await.expect("JSON");
                assert_eq!(error["error"]["code"], "RATE_LIMITED");
                busy += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(busy > 0, "everybody was let in");
    server.login("owner@example.org", PASSWORD).await;
}

#[tokio::test]
async fn profiles_are_changed_by_their_users_only() {
    let server = Server::production().await;
    let owner = server.owner().await;
    let change = json!({"name": " Olga P. ", "avatar_url": "https://example.org/o.png"});
    let (status, me) = server.as_user(&owner, Method::PATCH, "/api/v1/auth/me", &change).await;
    assert_eq!(
        (status, &me["name"], &me["avatar_url"]),
        (StatusCode::OK, &json!("Olga P."), &json!("https://example.org/o.png"))
    );
    let (_, me) =
        server.as_user(&owner, Method::PATCH, "/api/v1/auth/me", &json!({"avatar_url": null})).await;
    assert_eq!((&me["name"], &me["avatar_url"]), (&json!("Olga P."), &Value::Null));
    for bad in [json!({"name": ""}), json!({"avatar_url": "javascript:alert(1)"}), json!({"role": "owner"})] {
        assert_error(
            &server.as_user(&owner, Method::PATCH, "/api/v1/auth/me", &bad).await,
            400,
            "INVALID_REQUEST",
        );
    }
    let grant = json!({"grant_type": "client_credentials", "client_id": "backend", "client_secret": SECRET});
    let (_, token) = server.post("/api/v1/auth/token", &grant).await;
    let client = Session { access: token["access_token"].as_str().expect("text").to_owned(), ..owner };
    let (_, me) = server.read(&client, "/api/v1/auth/me").await;
    assert_eq!((&me["kind"], &me["client"]["client_id"]), (&json!("client"), &json!("backend")));
    assert_eq!(me["client"]["scopes"], json!(["meetings", "tokens", "admin"]));
    assert_error(
        &server.as_user(&client, Method::PATCH, "/api/v1/auth/me", &json!({"name": "x"})).await,
        403,
        "FORBIDDEN",
    );
}
