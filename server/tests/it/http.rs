//! The API over HTTP/1.1, HTTP/2 and HTTP/3: the same answers, bounds and headers on each.

use reqwest::Method;
use serde_json::json;

use crate::support::{ApiServer, Ask, NAME, Protocol};

/// Nothing limited, so that tests of other things are not.
const UNLIMITED: &str =
    "rate_limits = { general = 0, login = 0, meeting_create = 0, meeting_join = 0, failed_auth = 0 }";

#[tokio::test]
async fn a_meeting_is_made_and_found_over_every_protocol() {
    let server = ApiServer::start(UNLIMITED).await;
    let token = server.token().await;
    for protocol in Protocol::ALL {
        let create =
            Ask::post("/api/v1/meetings", &json!({"display_name": protocol.version()})).bearer(&token);
        let created = server.ask(protocol, create.header("x-request-id", "mine-1")).await;
        assert_eq!((created.version.as_str(), created.status), (protocol.version(), 201), "{created:?}");
        assert_eq!(created.header("x-request-id"), "mine-1");
        assert_eq!(created.header("content-length"), created.body.len().to_string());
        let location = created.header("location").to_owned();

        let found = server.ask(protocol, Ask::get(location.as_str()).bearer(&token)).await;
        assert_eq!((found.status, &found.json()["display_name"]), (200, &json!(protocol.version())));
        assert_eq!(found.header("x-request-id").len(), 36);
        for (name, expected) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(found.header(name), expected, "{protocol:?}");
        }
        assert!(found.header("content-security-policy").starts_with("default-src 'none'"), "{found:?}");
        // HTTP/3 is told of where it is not used yet.
        let alternative = match protocol {
            Protocol::Http3 => String::new(),
            _ => format!("h3=\":{}\"; ma=86400", server.http3.expect("on").port()),
        };
        assert_eq!(found.header("alt-svc"), alternative);

        let head = server.ask(protocol, Ask::new(Method::HEAD, location).bearer(&token)).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
        assert_eq!(head.header("content-length"), found.header("content-length"));
    }
}

#[tokio::test]
async fn browsers_are_told_to_insist_on_tls_only_for_hosts_with_a_name() {
    let server = ApiServer::start(UNLIMITED).await;
    for protocol in Protocol::ALL {
        let by_name = server.ask(protocol, Ask::get("/").host(NAME)).await;
        assert_eq!(by_name.header("strict-transport-security"), "max-age=31536000", "{by_name:?}");
        assert_eq!(server.ask(protocol, Ask::get("/")).await.header("strict-transport-security"), "");
    }
    let development = ApiServer::development().await;
    let answer = development.ask(Protocol::Http2, Ask::get("/assets/style.css")).await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, ""));
}

#[tokio::test]
async fn pages_of_listed_sites_may_use_the_api_and_others_may_not() {
    let server =
        ApiServer::start(&format!("{UNLIMITED}\ncors = {{ allowed_origins = ['https://app.example.org'] }}"))
            .await;
    let token = server.token().await;
    let preflight = |origin: &str| {
        Ask::new(Method::OPTIONS, "/api/v1/meetings")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let create = |origin: &str| {
        Ask::post("/api/v1/meetings", &json!({"display_name": "From a page"}))
            .bearer(&token)
            .header("origin", origin)
            .header("sec-fetch-site", "cross-site")
    };
    for protocol in Protocol::ALL {
        let allowed = server.ask(protocol, preflight("https://app.example.org")).await;
        assert_eq!(allowed.status, 200, "{allowed:?}");
        assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example.org");
        assert!(allowed.header("access-control-allow-methods").contains("POST"), "{allowed:?}");
        let headers = allowed.header("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        assert_eq!(allowed.header("access-control-max-age"), "600");
        assert_eq!(allowed.header("access-control-allow-credentials"), "");

        let created = server.ask(protocol, create("https://app.example.org")).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.header("access-control-allow-origin"), "https://app.example.org");
        let exposed = created.header("access-control-expose-headers");
        for name in ["x-ratelimit-remaining", "x-request-id", "location", "retry-after"] {
            assert!(exposed.contains(name), "{exposed}");
        }

        for origin in ["https://evil.example.org", "http://app.example.org", "null", "http://localhost:5173"]
        {
            let refused = server.ask(protocol, preflight(origin)).await;
            assert_eq!(refused.header("access-control-allow-origin"), "", "{origin}: {refused:?}");
            let refused = server.ask(protocol, create(origin)).await;
            refused.assert_error(403, "FORBIDDEN");
            assert_eq!(refused.header("access-control-allow-origin"), "");
        }
    }

    let any = ApiServer::start(&format!("{UNLIMITED}\ncors = {{ allowed_origins = ['*'] }}")).await;
    let answer = any.ask(Protocol::Http2, preflight("https://evil.example.org")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn in_development_pages_of_this_machine_may_use_the_api() {
    let server = ApiServer::development().await;
    let create = |origin: &str| {
        Ask::post("/api/v1/meetings", &json!({"display_name": "From a page"})).header("origin", origin)
    };
    for protocol in Protocol::ALL {
        let created = server.ask(protocol, create("http://localhost:5173")).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.header("access-control-allow-origin"), "http://localhost:5173");
        server.ask(protocol, create("https://evil.example.org")).await.assert_error(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn long_text_is_compressed_for_those_who_ask_and_compressed_requests_are_refused() {
    let server = ApiServer::start(UNLIMITED).await;
    for protocol in Protocol::ALL {
        let script = || Ask::get("/assets/style.css");
        let plain = server.ask(protocol, script()).await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, ""), "{plain:?}");
        assert!(plain.body.len() > 1024);
        let packed = server.ask(protocol, script().header("accept-encoding", "gzip")).await;
        assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"));
        assert_eq!(packed.body[..2], [0x1f, 0x8b], "{protocol:?}");
        assert!(packed.body.len() < plain.body.len());
        assert!(packed.headers("vary").any(|value| value == "accept-encoding"), "{packed:?}");

        let short = Ask::get("/api/v1/certificate").header("accept-encoding", "gzip");
        assert_eq!(server.ask(protocol, short).await.header("content-encoding"), "");

        let ask = Ask::post("/api/v1/meetings", &json!({})).header("content-encoding", "gzip");
        server.ask(protocol, ask).await.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn bodies_heads_and_addresses_are_bounded() {
    let server = ApiServer::start(UNLIMITED).await;
    let token = server.token().await;
    // A body of `size` bytes that is JSON.
    let create = |size: usize| {
        let body = json!({"display_name": "Long"}).to_string();
        let padding = " ".repeat(size - body.len());
        Ask::post("/api/v1/meetings", &json!({})).bearer(&token).body(format!("{body}{padding}"))
    };
    for protocol in Protocol::ALL {
        let created = server.ask(protocol, create(1 << 20)).await;
        assert_eq!(created.status, 201, "{protocol:?}: {created:?}");
        server.ask(protocol, create((1 << 20) + 1)).await.assert_error(413, "PAYLOAD_TOO_LARGE");

        let lines = |count: usize| {
            let ask = Ask::get("/api/v1/certificate");
            (0..count).fold(ask, |ask, line| ask.header(format!("x-line-{line}"), "1"))
        };
        assert_eq!(server.ask(protocol, lines(80)).await.status, 200, "{protocol:?}");
        let refused = server.ask(protocol, lines(120)).await;
        assert_eq!(refused.status, 431, "{protocol:?}: {refused:?}");

        let long = format!("/api/v1/slugs/{}", "x".repeat(9 * 1024));
        server.ask(protocol, Ask::get(long)).await.assert_error(414, "URI_TOO_LONG");
    }
    // The client's h3 does not send what the server's settings forbid; `http3.rs` has one that does.
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let large = |size: usize| Ask::get("/api/v1/certificate").header("x-large", "x".repeat(size));
        assert_eq!(server.ask(protocol, large(12 * 1024)).await.status, 200, "{protocol:?}");
        assert_eq!(server.ask(protocol, large(20 * 1024)).await.status, 431, "{protocol:?}");
    }
}
