//! Limits as clients see them: headers, refusals, and whom they count against.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{Answer, ApiServer, Ask, Protocol};

/// Limit, what remains, and seconds until all is there again.
#[track_caller]
fn standing(answer: &Answer) -> (u64, u64, i64) {
    let number =
        |name: &str| answer.header(name).parse::<u64>().unwrap_or_else(|_| panic!("no {name}: {answer:?}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let reset = number("x-ratelimit-reset") as i64 - now as i64;
    (number("x-ratelimit-limit"), number("x-ratelimit-remaining"), reset)
}

fn certificate() -> Ask {
    Ask::get("/api/v1/certificate")
}

#[tokio::test]
async fn the_general_limit_is_told_and_kept_over_all_protocols_together() {
    // One back in 10 s: slower than the test.
    let server = ApiServer::start("rate_limits = { general = 6 }").await;
    for (used, protocol) in Protocol::ALL.into_iter().cycle().take(6).enumerate() {
        let answer = server.ask(protocol, certificate()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let (limit, remaining, reset) = standing(&answer);
        assert_eq!((limit, remaining), (6, 5 - used as u64), "{protocol:?}");
        assert!((0..=62).contains(&reset), "{reset}");
    }
    for protocol in Protocol::ALL {
        let refused = server.ask(protocol, certificate()).await;
        refused.assert_error(429, "RATE_LIMITED");
        assert_eq!((standing(&refused).0, standing(&refused).1), (6, 0));
        let wait: u64 = refused.header("retry-after").parse().expect("whole seconds");
        assert!((1..=10).contains(&wait), "{wait}");
        assert!(!refused.header("x-request-id").is_empty());
    }
    // Style and script of the page that shows the refusal.
    assert_eq!(server.ask(Protocol::Http1, Ask::get("/assets/style.css")).await.status, 200);
}

#[tokio::test]
async fn a_client_with_a_token_is_counted_as_itself() {
    let server = ApiServer::start("rate_limits = { general = 4 }").await;
    let token = server.token().await;
    for remaining in [2, 1, 0] {
        assert_eq!(standing(&server.ask(Protocol::Http2, certificate()).await).1, remaining);
    }
    server.ask(Protocol::Http2, certificate()).await.assert_error(429, "RATE_LIMITED");
    let answer = server.ask(Protocol::Http2, Ask::get("/api/v1/meetings").bearer(&token)).await;
    assert_eq!((answer.status, standing(&answer).1), (200, 3), "{answer:?}");
}

#[tokio::test]
async fn the_tightest_class_is_told() {
    let server =
        ApiServer::start("rate_limits = { general = 50, meeting_create = 2, meeting_join = 3 }").await;
    let token = server.token().await;
    let create = || Ask::post("/api/v1/meetings", &json!({"display_name": "Many"})).bearer(&token);
    let first = server.ask(Protocol::Http3, create()).await;
    assert_eq!((first.status, standing(&first).0, standing(&first).1), (201, 2, 1));
    assert_eq!(server.ask(Protocol::Http3, create()).await.status, 201);
    let refused = server.ask(Protocol::Http3, create()).await;
    refused.assert_error(429, "RATE_LIMITED");
    assert_eq!((standing(&refused).0, standing(&refused).1), (2, 0));
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|text| text.contains("new meetings")));

    let id = first.json()["meeting_id"].as_str().expect("text").to_owned();
    let join = |meeting: &str| {
        Ask::post(format!("/api/v1/meetings/{meeting}/participants"), &json!({"name": "Zoë"})).bearer(&token)
    };
    for _ in 0..3 {
        assert_eq!(server.ask(Protocol::Http1, join(&id)).await.status, 201);
    }
    server.ask(Protocol::Http1, join(&id)).await.assert_error(429, "RATE_LIMITED");
    let other = server.ask(Protocol::Http1, join("018f0000-0000-7000-8000-000000000000")).await;
    other.assert_error(404, "MEETING_NOT_FOUND");
}

#[tokio::test]
async fn secrets_and_tokens_cannot_be_guessed_at_speed() {
    let server = ApiServer::start("rate_limits = { general = 0, login = 3, failed_auth = 4 }").await;
    let token = server.token().await;
    let login = |id: &str, secret: &str| {
        let body = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
        Ask::post("/api/v1/auth/token", &body)
    };
    for _ in 0..2 {
        server.ask(Protocol::Http2, login("backend", "wrong")).await.assert_error(401, "UNAUTHORIZED");
    }
    server.ask(Protocol::Http2, login("backend", "wrong")).await.assert_error(429, "RATE_LIMITED");
    server.ask(Protocol::Http2, login("other", "wrong")).await.assert_error(401, "UNAUTHORIZED");

    // The fourth is the last that counts, the fifth the first that is too many.
    for _ in 0..2 {
        let guess = server.ask(Protocol::Http2, Ask::get("/api/v1/meetings").bearer("a.b.c")).await;
        guess.assert_error(401, "UNAUTHORIZED");
    }
    let refused = server.ask(Protocol::Http2, Ask::get("/api/v1/meetings").bearer("a.b.c")).await;
    refused.assert_error(429, "RATE_LIMITED");
    assert!(!refused.header("retry-after").is_empty());
    server.ask(Protocol::Http2, login("another", "wrong")).await.assert_error(429, "RATE_LIMITED");
    // Whoever does not guess is not concerned, at the same address as well.
    assert_eq!(server.ask(Protocol::Http2, certificate()).await.status, 200);
    assert_eq!(server.ask(Protocol::Http2, Ask::get("/api/v1/meetings").bearer(&token)).await.status, 200);
}

#[tokio::test]
async fn addresses_are_believed_from_trusted_proxies_only() {
    let server = ApiServer::start("trusted_proxies = ['127.0.0.1']\nrate_limits = { general = 1 }").await;
    let from = |client: &str| certificate().header("x-forwarded-for", client);
    for protocol in Protocol::ALL {
        let own = format!("198.51.100.{}", protocol as u8);
        assert_eq!(server.ask(protocol, from(&own)).await.status, 200);
        // What a client writes itself stands before what the proxy adds.
        let spoofed = format!("203.0.113.1, {own}");
        server.ask(protocol, from(&spoofed)).await.assert_error(429, "RATE_LIMITED");
    }
    let server = ApiServer::start("rate_limits = { general = 1 }").await;
    assert_eq!(server.ask(Protocol::Http1, from("198.51.100.7")).await.status, 200);
    server.ask(Protocol::Http1, from("198.51.100.8")).await.assert_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn development_mode_limits_nothing() {
    let server = ApiServer::development().await;
    let answer = server.ask(Protocol::Http3, certificate()).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, ""));
}
