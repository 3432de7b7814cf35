//! What happens to every request, whatever its route.

use super::*;

#[tokio::test]
async fn every_refusal_has_the_contracts_body() {
    let server = Server::development().await;
    let post = || server.request(Method::POST, "/api/v1/meetings");
    let json = |text: &str| post().header("content-type", "application/json").body(text.to_owned());
    let table = [
        (server.request(Method::GET, "/nowhere"), 404, "NOT_FOUND"),
        (server.request(Method::POST, "/api/v2/meetings"), 404, "NOT_FOUND"),
        (server.request(Method::DELETE, "/api/v1/meetings"), 405, "METHOD_NOT_ALLOWED"),
        (server.request(Method::POST, "/health/live"), 405, "METHOD_NOT_ALLOWED"),
        (json("{\"display_name\": "), 400, "INVALID_REQUEST"),
        (json(""), 400, "INVALID_REQUEST"),
        (json("\u{0}"), 400, "INVALID_REQUEST"),
        (post().body("{}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (post().header("content-type", "text/plain").body("{}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (json(&format!("{{\"display_name\": \"{}\"}}", "x".repeat(1024 * 1024))), 413, "PAYLOAD_TOO_LARGE"),
        (
            post().header("origin", "https://evil.example").json(&json!({"display_name": "a"})),
            403,
            "FORBIDDEN",
        ),
        (post().header("sec-fetch-site", "cross-site").json(&json!({"display_name": "a"})), 403, "FORBIDDEN"),
        (server.request(Method::GET, "/api/v1/meetings").header("host", "evil.example"), 403, "FORBIDDEN"),
        (server.request(Method::GET, "/metrics").header("host", "evil.example:80"), 403, "FORBIDDEN"),
    ];
    for (request, status, code) in table {
        assert_error(&answer(request).await, status, code);
    }
    let response = server.request(Method::PUT, "/api/v1/meetings").send().await.expect("answered");
    let allow = response.headers()["allow"].to_str().expect("text");
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");

    let own_page = post().header("origin", &server.origin).json(&json!({"display_name": "a"}));
    assert_eq!(answer(own_page).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_failing_database_is_an_error_without_details() {
    let server = Server::development().await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    server.store.close().await;
    let error = server.get("/api/v1/meetings").await;
    assert_error(&error, 500, "INTERNAL_ERROR");
    assert_eq!(error.1["error"]["message"], "The server could not answer this request");
    assert_eq!(error.1["error"]["details"], json!({}));
    let (status, health) = server.get("/health/ready").await;
    assert_eq!((status, &health["storage"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("failed")));
    assert_eq!(server.get("/health/live").await.0, StatusCode::OK);
}

#[tokio::test]
async fn requests_have_ids_and_are_counted_by_route() {
    let server = Server::development().await;
    let id_for = async |given: Option<&str>| {
        let mut request = server.request(Method::GET, "/health/live");
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let response = request.send().await.expect("answered");
        response.headers()["x-request-id"].to_str().expect("text").to_owned()
    };
    assert_eq!(id_for(None).await.len(), 36);
    assert_eq!(id_for(Some("my-request.1")).await, "my-request.1");
    for strange in ["a b", "a;b", &"x".repeat(65)] {
        assert_eq!(id_for(Some(strange)).await.len(), 36, "{strange}");
    }
    let slug = server.meeting("Counted").await["slug"].as_str().expect("text").to_owned();
    server.get(&format!("/api/v1/slugs/{slug}")).await;
    server.get(&format!("/{slug}")).await;
    let (_, metrics) = server.get("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    assert!(
        metrics.contains("http_requests_total{route=\"/api/v1/slugs/{slug}\",method=\"GET\",status=\"200\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("route=\"unmatched\",method=\"GET\",status=\"404\""), "{metrics}");
    assert!(!metrics.contains(&slug), "a path must not become a label");
}

#[tokio::test]
async fn draining_is_visible_and_the_server_stops_when_told() {
    let server = Server::development().await;
    server.state.start_draining();
    let (status, health) = server.get("/health/ready").await;
    assert_eq!((status, &health["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("draining")));
    server.handle.graceful_shutdown(Some(std::time::Duration::from_secs(5)));
    let client = client();
    let refused =
        async { while client.get(format!("{}/health/live", server.origin)).send().await.is_ok() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), refused).await.expect("it goes on answering");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_dropped() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::development().await;
    let address = server.origin.strip_prefix("http://").expect("plain").to_owned();
    let stalls = [
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
        "POST /api/v1/meetings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ];
    let waits = stalls.map(|head| {
        let address = address.clone();
        async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
            socket.write_all(head.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            let end = socket.read_to_end(&mut answer);
            let ended = tokio::time::timeout(std::time::Duration::from_secs(15), end).await;
            (ended.is_ok(), String::from_utf8_lossy(&answer).into_owned())
        }
    });
    let [half_head, half_body] =
        <[_; 2]>::try_from(futures_util::future::join_all(waits).await).expect("two");
    assert!(half_head.0, "still open: {}", half_head.1);
    assert!(half_body.0 && half_body.1.contains("REQUEST_TIMEOUT"), "{half_body:?}");
}

#[tokio::test]
async fn what_was_begun_is_done_and_entered_although_the_client_is_gone() {
    use std::time::{Duration, Instant};
    let server = Server::development().await;
    let mut writer = server.only_writer().await;
    let create = server.request(Method::POST, "/api/v1/meetings").json(&json!({"display_name": "Gone"}));
    let mut sending = Box::pin(create.send());
    let answer = tokio::time::timeout(Duration::from_millis(500), &mut sending).await;
    assert!(answer.is_err(), "it does not wait for its turn to write");
    // Whoever gives up closes its connection.
    let open = server.metric("http_connections");
    drop(sending);
    let begin = Instant::now();
    while server.metric("http_connections") >= open {
        assert!(begin.elapsed() < Duration::from_secs(10), "the server does not see that the client is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::query("COMMIT").execute(&mut writer).await.expect("done");
    let begin = Instant::now();
    while server.audited().await.iter().all(|(action, _)| action != "meeting.create") {
        assert!(begin.elapsed() < Duration::from_secs(10), "there is no entry of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.get("/api/v1/meetings").await.1["total"], 1);
}

#[tokio::test]
async fn a_handler_that_panics_is_an_internal_error() {
    async fn panics() -> StatusCode {
        panic!("on purpose")
    }
    let routes = |state: &ApiState| {
        let routes = Router::new().route("/panics", axum::routing::any(panics));
        layers::wrap(routes, state, Exposure::PLAIN)
    };
    let server = Server::start(Config::for_tests, routes).await;
    // Also where it runs in a task of its own.
    for method in [Method::GET, Method::POST, Method::GET] {
        assert_error(&server.send(method, "/panics").await, 500, "INTERNAL_ERROR");
    }
}

#[tokio::test]
async fn https_presents_the_development_certificate_over_h2_and_h1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::development().await;
    let certificates = CertificateStore::open(&Config::for_tests(folder.path())).expect("a certificate");
    let pem = std::fs::read(folder.path().join("development-certificate.pem")).expect("kept");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let tls = rustls_server_config(&certificates, TlsVersions::V1_2AndV1_3, &http::ALPN);
    tokio::spawn(http::serve_tls(
        listener,
        router(&server.state, None),
        Arc::new(tls),
        http::places(&[]),
        Handle::new(),
    ));

    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject as _;
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let alpns: [(&[&[u8]], _); 3] = [
        (&http::ALPN, reqwest::Version::HTTP_2),
        (&[b"http/1.1"], reqwest::Version::HTTP_11),
        (&[], reqwest::Version::HTTP_11),
    ];
    for (alpn, version) in alpns {
        let trusting = client_trusting(roots.clone(), alpn);
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("https://{host}:{port}/api/v1/certificate");
            let response = trusting.get(&url).send().await.expect("trusted");
            assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        }
    }
    let refused = client().get(format!("https://localhost:{port}/")).send().await;
    assert!(refused.is_err(), "nobody else trusts it");
}

#[test]
fn urls_follow_configuration_and_bound_addresses() {
    let https: [SocketAddr; 1] = ["127.0.0.1:4433".parse().expect("address")];
    let http: [SocketAddr; 1] = ["[::1]:8080".parse().expect("address")];
    let mut config = Config::for_tests(Path::new("x"));
    let urls = Urls::new(&config, &https, &http);
    assert_eq!(urls.meeting("s"), "http://[::1]:8080/m/s");
    assert_eq!(urls.signaling(), "https://127.0.0.1:4433/v1/signal");
    assert_eq!(urls.media(), "https://127.0.0.1:4433/v1/media");
    assert_eq!(Urls::new(&config, &https, &[]).api(), "https://127.0.0.1:4433");

    config.public_url = Some("https://meet.example.org".to_owned());
    assert_eq!(Urls::new(&config, &https, &http).signaling(), "https://meet.example.org/v1/signal");
    config.public_quic_url = Some("https://quic.example.org:4433".to_owned());
    let urls = Urls::new(&config, &https, &http);
    assert_eq!(urls.media(), "https://quic.example.org:4433/v1/media");
    assert_eq!(urls.meeting("s"), "https://meet.example.org/m/s");

    config.public_url = None;
    config.public_quic_url = None;
    config.dev = false;
    let wildcard: [SocketAddr; 1] = ["[::]:4433".parse().expect("address")];
    assert_eq!(Urls::new(&config, &wildcard, &http).api(), "https://[::1]:4433");
}

#[tokio::test]
async fn the_description_is_served_and_not_sent_twice() {
    let server = Server::production().await;
    for (path, content_type) in
        [("/api/v1/openapi.json", "application/json"), ("/api/docs", "text/html; charset=utf-8")]
    {
        let response = server.request(Method::GET, path).send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], content_type);
        let policy = response.headers()["content-security-policy"].to_str().expect("text");
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = response.headers()["etag"].clone();
        let text = response.text().await.expect("text");
        assert!(text.contains("/api/v1/meetings/{meeting_id}"), "{path}");
        let again =
            server.request(Method::GET, path).header("if-none-match", tag).send().await.expect("answered");
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(again.text().await.expect("text"), "");
    }
    let document = server.get("/api/v1/openapi.json").await.1;
    assert_eq!(document["openapi"], "3.1.0");
}
