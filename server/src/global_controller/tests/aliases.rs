//! The routes of the platform's `video-call` utility.

use super::*;

#[tokio::test]
async fn a_call_is_made_found_and_joined() {
    let server = Server::development().await;
    let mut ids = Vec::new();
    for body in [json!({"name": "First"}), json!({"title": "Second"}), json!({})] {
        let (status, created) = server.post("/api/video-call/session", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        assert_eq!(created.as_object().map(serde_json::Map::len), Some(1), "{created}");
        ids.push(created["meeting_id"].as_str().expect("text").to_owned());
    }
    assert_error(
        &server.post("/api/video-call/session", &json!({"name": "a", "title": "b"})).await,
        400,
        "INVALID_REQUEST",
    );

    let page = async |query: &str| server.get(&format!("/api/video-call/meetings{query}")).await.1;
    let all = page("").await;
    assert_eq!(all["paging"], json!({"total_count": 3, "start_offset": 1, "end_offset": 3}), "{all}");
    let names: Vec<_> =
        all["meetings"].as_array().expect("a list").iter().map(|meeting| &meeting["name"]).collect();
    assert_eq!(names, ["Video call", "Second", "First"]);
    assert_eq!(all["meetings"][2]["meeting_id"], ids[0]);
    let second = page("?per_page=2&page_no=2").await;
    assert_eq!(second["paging"], json!({"total_count": 3, "start_offset": 3, "end_offset": 3}));
    assert_eq!(second["meetings"][0], all["meetings"][2]);
    let beyond = page("?per_page=2&page_no=3").await;
    assert_eq!(
        beyond,
        json!({"meetings": [], "paging": {"total_count": 3, "start_offset": 0, "end_offset": 0}})
    );
    assert_eq!(page("?search=second").await["paging"]["total_count"], 1);
    let created_at = all["meetings"][1]["created_at"].as_str().expect("text");
    assert_eq!(page(&format!("?start_time={created_at}")).await["paging"]["total_count"], 2);
    assert_eq!(page(&format!("?end_time={created_at}")).await["paging"]["total_count"], 1);
    for query in [
        "page_no=0",
        "per_page=0",
        "per_page=201",
        "page_no=4294967295&per_page=200",
        "start_time=now",
        "page=1",
    ] {
        assert_error(&server.get(&format!("/api/video-call/meetings?{query}")).await, 400, "INVALID_REQUEST");
    }

    let (status, token) = server.post("/api/video-call/token", &json!({"meeting_id": ids[0]})).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    let claims = server.tokens.verify_join(token["auth_token"].as_str().expect("text")).expect("valid");
    assert_eq!((claims.preset.as_str(), claims.role), ("video_participant", ParticipantRole::Participant));
    assert_eq!(token["participant_id"], claims.participant_id.to_string());
    let full = json!({"meeting_id": ids[0], "name": "Zoë", "preset_name": "group_call_host", "custom_participant_id": "z1"});
    let (_, token) = server.post("/api/video-call/token", &full).await;
    let host = server.tokens.verify_join(token["auth_token"].as_str().expect("text")).expect("valid");
    assert_eq!(
        (host.role, host.name.as_str(), host.user_id.as_deref()),
        (ParticipantRole::Host, "Zoë", Some("z1"))
    );

    let sessions = async || server.get("/api/video-call/sessions").await.1;
    assert_eq!(sessions().await, json!({"sessions": []}));
    server.arrive(claims.meeting_id, claims.participant_id).await;
    let open = sessions().await;
    assert_eq!(
        (&open["sessions"][0]["meeting_id"], &open["sessions"][0]["name"]),
        (&json!(ids[0]), &json!("First"))
    );
    assert!(open["sessions"][0]["created_at"].is_string());

    let unknown = MeetingId::generate();
    let error = server.post("/api/video-call/token", &json!({"meeting_id": unknown.to_string()})).await;
    assert_error(&error, 404, "MEETING_NOT_FOUND");
    for body in
        [json!({}), json!({"meeting_id": "42"}), json!({"meeting_id": ids[0], "preset_name": "nosuch"})]
    {
        assert_error(&server.post("/api/video-call/token", &body).await, 400, "INVALID_REQUEST");
    }
}
