//! Pages for people.

use super::*;

#[tokio::test]
async fn pages_show_names_as_text_and_nothing_runs_inline() {
    let server = Server::development().await;
    let meeting = server.meeting("<script>alert('x')</script> & \"friends\" {id}").await;
    let slug = meeting["slug"].as_str().expect("text");
    let response = server.request(Method::GET, &format!("/m/{slug}")).send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let policy = response.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let page = response.text().await.expect("text");
    assert!(
        page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;friends&quot; {id}"),
        "{page}"
    );
    assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains("onclick"), "{page}");
    // The lines as `darktower-client --help` has them; the marks in them only say where they may break.
    let unmarked = |page: &str| page.replace("<span>", "").replace("</span>", "");
    let page = unmarked(&page);
    let address = format!("{}/m/{slug}", server.origin);
    for line in [
        format!("<code>darktower-client watch --meeting {address}</code>"),
        format!("<code>darktower-client publish --meeting {address} --name Alice video.ivf sound.ogg</code>"),
        format!("<code>darktower-client record --meeting {address} --out recordings</code>"),
    ] {
        assert!(page.contains(&line), "{line} is not in {page}");
    }

    let (status, page) = server.get("/m/nosuchslug").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.as_str().is_some_and(|page| page.contains("No such meeting")), "{page}");
    for (path, content_type) in [("/assets/style.css", "text/css"), ("/assets/meeting.js", "text/javascript")]
    {
        let response = server.request(Method::GET, path).send().await.expect("answered");
        assert!(response.headers()["content-type"].to_str().expect("text").starts_with(content_type));
    }
    let (_, index) = server.get("/").await;
    let index = unmarked(index.as_str().expect("text"));
    let line =
        format!("<code>curl {}/api/v1/meetings -H 'content-type: application/json' -d '{{", server.origin);
    assert!(index.contains(&line), "{index}");
    let line = format!(
        "<code>darktower-client publish --server {} --loop video.ivf sound.ogg</code>",
        server.origin
    );
    assert!(index.contains(&line) && !index.contains("DARKTOWER_API_TOKEN"), "{index}");

    // Outside development mode the commands need a token, and the page says so.
    let (_, index) = Server::production().await.get("/").await;
    assert!(index.as_str().is_some_and(|page| page.contains("<code>DARKTOWER_API_TOKEN</code>")), "{index}");
}
