//! Pages for people: the meeting app and its files.

use reqwest::Response;

use super::*;

const SCRIPT: &str = "/assets/index-B7pQ2xYz.js";

async fn get(server: &Server, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let mut request = server.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.send().await.expect("answered")
}

#[track_caller]
fn text<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn the_app_is_behind_the_home_page_and_every_link() {
    let server = Server::development().await;
    let meeting = server.meeting("<script>alert('x')</script>").await;
    let link = format!("/m/{}", meeting["slug"].as_str().expect("text"));
    for (path, status) in [("/", 200), (link.as_str(), 200), ("/m/nosuchslug", 404), ("/m/<script>", 404)] {
        let page = get(&server, path, &[]).await;
        assert_eq!(page.status(), status, "{path}");
        assert_eq!(text(&page, "content-type"), "text/html; charset=utf-8");
        assert_eq!(text(&page, "cache-control"), "no-cache");
        let tag = text(&page, "etag").to_owned();
        // The same for everybody: names are for the app to show, as text.
        assert_eq!(page.bytes().await.expect("a body"), Files::app().0["index.html"], "{path}");

        let again = get(&server, path, &[(header::IF_NONE_MATCH, &format!("\"old\", W/{tag}"))]).await;
        let expected = if status == 200 { StatusCode::NOT_MODIFIED } else { StatusCode::NOT_FOUND };
        assert_eq!(again.status(), expected, "{path}");
        assert_eq!((text(&again, "etag"), text(&again, "cache-control")), (tag.as_str(), "no-cache"));
        let head = server.request(Method::HEAD, path).send().await.expect("answered");
        assert_eq!((head.status().as_u16(), text(&head, "etag")), (status, tag.as_str()), "{path}");
        assert_eq!(head.bytes().await.expect("none").len(), 0);
        assert_eq!(server.post(path, &json!({})).await.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn pages_and_scripts_may_do_what_a_meeting_needs_and_nothing_else() {
    let server = Server::development().await;
    // A worker goes by the policy of its own script.
    for path in ["/", "/m/nosuchslug", SCRIPT] {
        let page = get(&server, path, &[]).await;
        let policy = text(&page, "content-security-policy");
        let directives: HashMap<_, _> =
            policy.split("; ").map(|directive| directive.split_once(' ').expect("a value")).collect();
        assert_eq!(directives["default-src"], "'none'", "{policy}");
        for own in ["script-src", "worker-src", "style-src"] {
            assert_eq!(directives[own], "'self'", "{path}: {policy}");
        }
        // Media and signaling sessions, and the API.
        assert_eq!(directives["connect-src"], "'self' https://127.0.0.1:4433");
        for none in ["base-uri", "form-action", "frame-ancestors"] {
            assert_eq!(directives[none], "'none'");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(text(&page, name), value, "{path} {name}");
        }
        let permissions = text(&page, "permissions-policy");
        assert!(permissions.contains("camera=(self)") && permissions.contains("usb=()"), "{permissions}");
    }
    // Where sessions have an address of their own, the page may reach it.
    let production = Server::production().await;
    let page = get(&production, "/", &[]).await;
    let policy = text(&page, "content-security-policy");
    assert!(policy.contains("; connect-src 'self' https://meet.example.org; "), "{policy}");
    // What the server writes itself needs none of that.
    let reference = get(&server, "/api/docs", &[]).await;
    assert!(text(&reference, "content-security-policy").contains("connect-src 'self';"));
    assert_eq!(text(&reference, "permissions-policy"), "");
}

#[tokio::test]
async fn what_has_its_hash_in_its_name_is_kept_and_the_rest_is_asked_for() {
    let server = Server::development().await;
    for (path, content_type, kept) in [
        (SCRIPT, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/logo.svg", "image/svg+xml", "no-cache"),
        ("/assets/style.css", "text/css; charset=utf-8", "no-cache"),
    ] {
        let file = get(&server, path, &[]).await;
        assert_eq!(file.status(), StatusCode::OK, "{path}");
        assert_eq!(
            (text(&file, "content-type"), text(&file, "cache-control")),
            (content_type, kept),
            "{path}"
        );
    }

    let plain = get(&server, SCRIPT, &[]).await;
    assert_eq!((text(&plain, "content-encoding"), text(&plain, "vary")), ("", "accept-encoding"));
    let tag = text(&plain, "etag").to_owned();
    assert_eq!(plain.text().await.expect("text"), "export const app = 1;");
    let packed = get(&server, SCRIPT, &[(header::ACCEPT_ENCODING, "gzip, br")]).await;
    assert_eq!((text(&packed, "content-encoding"), text(&packed, "vary")), ("br", "accept-encoding"));
    assert_eq!(text(&packed, "content-type"), "text/javascript; charset=utf-8");
    let packed_tag = text(&packed, "etag").to_owned();
    assert_ne!(packed_tag, tag);
    assert_eq!(packed.text().await.expect("text"), "packed");
    let known = [(header::ACCEPT_ENCODING, "br"), (header::IF_NONE_MATCH, packed_tag.as_str())];
    assert_eq!(get(&server, SCRIPT, &known).await.status(), StatusCode::NOT_MODIFIED);
    let other = [(header::ACCEPT_ENCODING, "gzip"), (header::IF_NONE_MATCH, packed_tag.as_str())];
    assert_eq!(get(&server, SCRIPT, &other).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_counts_once_whatever_it_needs() {
    let limited = |folder: &Path| {
        let mut config = production(folder);
        config.rate_limits.general = 2;
        config
    };
    let server = Server::start(limited, public_router).await;
    for _ in 0..3 {
        for path in [SCRIPT, "/assets/style.css"] {
            assert_eq!(get(&server, path, &[]).await.status(), StatusCode::OK, "{path}");
        }
    }
    for status in [200, 200, 429] {
        assert_eq!(get(&server, "/", &[]).await.status(), status);
    }
}

#[tokio::test]
async fn there_are_the_files_of_the_app_and_no_others() {
    let server = Server::development().await;
    for path in [
        "/assets/index-00000000.js",
        "/assets/.secret",
        "/assets/..%2f.secret",
        "/assets/..%2findex.html",
        "/assets/%2e%2e%2findex.html",
        "/assets/a%00.js",
        "/assets/%C3%A9.js",
        "/assets/a/b.js",
        "/assets/",
        "/assets",
        "/.secret",
        "/index.html",
        "/favicon.svg",
    ] {
        let error = server.get(path).await;
        assert_error(&error, 404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_server_without_the_app_says_how_to_build_it() {
    let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
    let server =
        Server::start_with(folder, Config::for_tests, development_router, Files(HashMap::new())).await;
    for path in ["/", "/m/nosuchslug"] {
        let page = get(&server, path, &[]).await;
        assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(text(&page, "content-security-policy").starts_with("default-src 'none'"));
        let page = page.text().await.expect("text");
        assert!(page.contains("cargo xtask web") && page.contains("/assets/style.css"), "{page}");
    }
    assert_error(&server.get(SCRIPT).await, 404, "NOT_FOUND");
    assert_eq!(server.get("/assets/style.css").await.0, StatusCode::OK);
}
