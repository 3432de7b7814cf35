//! Who may call, and tokens for machine clients.

use super::*;

#[tokio::test]
async fn outside_development_every_route_needs_a_token_except_the_named_ones() {
    let server = Server::production().await;
    let id = MeetingId::generate();
    let guarded = [
        (Method::POST, "/api/v1/meetings".to_owned()),
        (Method::GET, "/api/v1/meetings".to_owned()),
        (Method::GET, format!("/api/v1/meetings/{id}")),
        (Method::POST, format!("/api/v1/meetings/{id}/participants")),
        (Method::GET, format!("/api/v1/meetings/{id}/participants")),
        (Method::GET, "/api/v1/users".to_owned()),
        (Method::GET, "/api/v1/auth/me".to_owned()),
        (Method::GET, "/api/v1/audit-log".to_owned()),
    ];
    let join = format!("Bearer {}", join_token(&server.tokens, id));
    for (method, path) in guarded {
        for authorization in
            [None, Some("Bearer"), Some("Bearer x.y.z"), Some("Basic YTpi"), Some(join.as_str())]
        {
            let mut request = server.request(method.clone(), &path).json(&json!({}));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let response = request.send().await.expect("answered");
            assert_eq!(response.headers()["www-authenticate"], "Bearer", "{method} {path}");
            let error = (response.status(), response.json().await.expect("JSON"));
            assert_error(&error, 401, "UNAUTHORIZED");
            assert!(!error.1.to_string().contains("x.y.z"));
        }
    }
    for (path, status) in
        [("/", 200), ("/api/v1/certificate", 200), ("/m/abcdefghjk", 404), ("/assets/style.css", 200)]
    {
        assert_eq!(server.get(path).await.0.as_u16(), status, "{path}");
    }
    // Not on the public side at all.
    for path in ["/metrics", "/health/live", "/health/ready"] {
        assert_error(&server.get(path).await, 404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn machine_clients_get_access_tokens_for_their_secret() {
    let server = Server::production().await;
    let grant = |id: &str, secret: &str| json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let (status, token) = server.post("/api/v1/auth/token", &grant("backend", SECRET)).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("Bearer"), &json!(3600)));

    let bearer = format!("bearer {}", token["access_token"].as_str().expect("text"));
    let create = |participants: u32| {
        let body = json!({"display_name": "Mine", "max_participants": participants});
        answer(server.request(Method::POST, "/api/v1/meetings").header("authorization", &bearer).json(&body))
    };
    let (status, meeting) = create(20).await;
    assert_eq!(status, StatusCode::CREATED, "{meeting}");
    assert!(
        meeting["meeting_url"].as_str().is_some_and(|url| url.starts_with("https://meet.example.org/m/"))
    );
    assert_eq!(meeting["meeting_controller_url"], "https://meet.example.org/v1/signal");
    assert_error(&create(21).await, 400, "INVALID_REQUEST");
    let id: MeetingId = meeting["meeting_id"].as_str().expect("text").parse().expect("an id");
    let stored = server.store.meeting(id).await.expect("read").expect("stored");
    assert_eq!(stored.created_by.as_deref(), Some("backend"));

    for body in
        [grant("backend", "wrong"), grant("other", SECRET), grant("", ""), grant("backend", &SECRET[1..])]
    {
        let error = server.post("/api/v1/auth/token", &body).await;
        assert_error(&error, 401, "UNAUTHORIZED");
        assert_eq!(error.1["error"]["message"], "client_id or client_secret is wrong");
    }
    let other_grant = json!({"grant_type": "password", "client_id": "backend", "client_secret": SECRET});
    assert_error(&server.post("/api/v1/auth/token", &other_grant).await, 400, "INVALID_REQUEST");

    let development = Server::development().await;
    assert_error(
        &development.post("/api/v1/auth/token", &grant("backend", SECRET)).await,
        401,
        "UNAUTHORIZED",
    );
    // No token is fine in development; a wrong one is not.
    let wrong = development.request(Method::GET, "/api/v1/meetings").header("authorization", &bearer);
    assert_error(&answer(wrong).await, 401, "UNAUTHORIZED");
    // A client made there works there.
    let (status, client) =
        development.post("/api/v1/clients", &json!({"name": "CI", "scopes": ["meetings"]})).await;
    assert_eq!(status, StatusCode::CREATED, "{client}");
    let id = client["client_id"].as_str().expect("text");
    let secret = client["client_secret"].as_str().expect("text");
    let (_, token) = development.post("/api/v1/auth/token", &grant(id, secret)).await;
    assert_eq!(token["scope"], "meetings", "{token}");
    let own = token["access_token"].as_str().expect("text");
    let right = development.request(Method::GET, "/api/v1/meetings").bearer_auth(own);
    assert_eq!(answer(right).await.0, StatusCode::OK);
}

/// CPU time of this thread, whatever else the machine does.
#[cfg(target_os = "linux")]
fn cpu_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok()).expect("a number");
    std::time::Duration::from_nanos(nanoseconds)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn knowing_a_caller_again_costs_little() {
    use axum::http::HeaderMap;

    let server = Server::production().await;
    let owner = server.owner().await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", owner.access).parse().expect("a header"));
    caller::authenticate(&server.state, &headers).await.expect("known");
    let (rounds, begin) = (2000, cpu_time());
    for _ in 0..rounds {
        caller::authenticate(&server.state, &headers).await.expect("known");
    }
    let each = (cpu_time() - begin) / rounds;
    println!("authentication: {each:?} of CPU per request");
    assert!(each < std::time::Duration::from_micros(30), "{each:?}");
}
