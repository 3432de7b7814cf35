//! Meetings and participants through the API.

use super::*;

#[tokio::test]
async fn a_meeting_is_created_and_found() {
    let server = Server::development().await;
    let request = json!({
        "display_name": "  Team Standup ", "max_participants": 7,
        "settings": { "enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false }
    });
    let response =
        server.request(Method::POST, "/api/v1/meetings").json(&request).send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()[header::LOCATION].to_str().expect("text").to_owned();
    let created: Value = response.json().await.expect("JSON");
    let id = created["meeting_id"].as_str().expect("text");
    let slug = created["slug"].as_str().expect("text");
    assert_eq!(location, format!("/api/v1/meetings/{id}"));
    assert_eq!(created["meeting_url"], format!("{}/m/{slug}", server.origin));
    assert_eq!(created["meeting_controller_url"], "https://127.0.0.1:4433/v1/signal");
    assert_eq!(slug.len(), 10);
    let claims = server.tokens.verify_join(created["join_token"].as_str().expect("text")).expect("valid");
    assert_eq!((claims.role, claims.meeting_id.to_string()), (ParticipantRole::Host, id.to_owned()));

    let (status, by_id) = server.get(&location).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(by_id["display_name"], "Team Standup");
    assert_eq!((&by_id["max_participants"], &by_id["participant_count"]), (&json!(7), &json!(0)));
    assert_eq!(by_id["meeting_controller_region"], "local");
    assert_eq!(by_id["created_at"], created["created_at"]);
    assert!(by_id["created_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{by_id}");
    assert_eq!(server.get(&format!("/api/v1/slugs/{slug}")).await, (StatusCode::OK, by_id));

    let stored = server.store.meeting(claims.meeting_id).await.expect("read").expect("stored");
    assert!(
        stored.settings.enable_e2e_encryption
            && stored.access_policy == Some(darktower_core::access::guests::AccessPolicy::Link)
    );
    assert!(server.store.participant(claims.participant_id).await.expect("read").is_some());
}

#[tokio::test]
async fn unknown_meetings_are_told_by_the_contracts_error() {
    let server = Server::development().await;
    let id = MeetingId::generate();
    for path in [format!("/api/v1/meetings/{id}"), format!("/api/v1/meetings/{id}/participants")] {
        let error = server.get(&path).await;
        assert_error(&error, 404, "MEETING_NOT_FOUND");
        assert_eq!(error.1["error"]["message"], format!("Meeting {id} does not exist"));
    }
    let error = server.post(&format!("/api/v1/meetings/{id}/participants"), &json!({"name": "Zoë"})).await;
    assert_error(&error, 404, "MEETING_NOT_FOUND");
    assert_error(&server.get("/api/v1/slugs/nosuchslug").await, 404, "MEETING_NOT_FOUND");
    let error = server.get("/api/v1/meetings/42").await;
    assert_error(&error, 400, "INVALID_REQUEST");
    assert_eq!(error.1["error"]["details"]["field"], "meeting_id");
}

#[tokio::test]
async fn meetings_are_listed_by_page() {
    let server = Server::development().await;
    let mut ids = Vec::new();
    for index in 0..3 {
        ids.push(server.meeting(&format!("Meeting {index}")).await["meeting_id"].clone());
    }
    ids.reverse();
    let (status, list) = server.get("/api/v1/meetings?limit=2&offset=1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["total"], 3);
    let listed: Vec<_> = list["meetings"].as_array().expect("a list").iter().collect();
    assert_eq!(listed.iter().map(|meeting| &meeting["meeting_id"]).collect::<Vec<_>>(), [&ids[1], &ids[2]]);
    assert_eq!(listed[0]["display_name"], "Meeting 1");

    let path = format!("/api/v1/meetings/{}/participants", ids[0].as_str().expect("text"));
    server.post(&path, &json!({"name": "Zoë", "user_id": "zoe"})).await;
    assert_eq!(server.get("/api/v1/meetings?user_id=zoe&active=true").await.1["total"], 1);
    assert_eq!(server.get("/api/v1/meetings?active=false").await.1["total"], 0);
    for query in ["limit=0", "limit=201", "limit=-1", "offset=x", "active=maybe", "colour=red"] {
        assert_error(&server.get(&format!("/api/v1/meetings?{query}")).await, 400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn participants_get_tokens_and_show_up_when_live() {
    let server = Server::development().await;
    let id = server.meeting("Live").await["meeting_id"].as_str().expect("text").to_owned();
    let path = format!("/api/v1/meetings/{id}/participants");

    let (status, issued) =
        server.post(&path, &json!({"name": " Zoë ", "role": "host", "user_id": "u1"})).await;
    assert_eq!(status, StatusCode::CREATED, "{issued}");
    let claims = server.tokens.verify_join(issued["join_token"].as_str().expect("text")).expect("valid");
    assert_eq!(claims.participant_id.to_string(), issued["participant_id"]);
    assert_eq!(
        (claims.name.as_str(), claims.role, claims.user_id.as_deref()),
        ("Zoë", ParticipantRole::Host, Some("u1"))
    );
    assert_eq!(issued["meeting_id"], id);
    assert_eq!(issued["meeting_controller_url"], "https://127.0.0.1:4433/v1/signal");
    let hash = &issued["certificate_hashes"][0];
    assert_eq!(hash["algorithm"], "sha-256");
    assert_eq!(hash["value"], server.state.0.certificates.hashes()[0].to_hex());
    assert_eq!(server.get("/api/v1/certificate").await.1["certificate_hashes"], issued["certificate_hashes"]);

    let (_, guest) = server.post(&path, &json!({"name": "Guest"})).await;
    let guest = server.tokens.verify_join(guest["join_token"].as_str().expect("text")).expect("valid");
    assert_eq!((guest.role, guest.user_id), (ParticipantRole::Participant, None));

    assert_eq!(server.get(&path).await.1, json!({"participants": [], "total": 0}));
    let stream = LiveStream {
        stream_id: StreamId::generate(),
        stream_type: LiveStreamType::VideoCamera,
        codec: "VP8".to_owned(),
    };
    let live = LiveParticipant {
        participant_id: claims.participant_id,
        name: "Zoë".to_owned(),
        joined_at: OffsetDateTime::UNIX_EPOCH,
        streams: vec![stream.clone()],
    };
    server.live.0.lock().expect("not poisoned").insert(claims.meeting_id, vec![live]);
    let expected = json!({"participants": [{
        "participant_id": claims.participant_id.to_string(), "name": "Zoë", "joined_at": "1970-01-01T00:00:00Z",
        "streams": [{"stream_id": stream.stream_id.to_string(), "type": "video_camera", "codec": "VP8"}],
    }], "total": 1});
    assert_eq!(server.get(&path).await.1, expected);
    assert_eq!(server.get(&format!("/api/v1/meetings/{id}")).await.1["participant_count"], 1);

    let (status, _) = server.post(&format!("/api/v1/meetings/{id}/end"), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_error(&server.post(&path, &json!({"name": "Late"})).await, 409, "MEETING_ENDED");
}

#[tokio::test]
async fn bad_bodies_are_refused_by_name() {
    let server = Server::development().await;
    let long = "x".repeat(201);
    let table = [
        (json!({"display_name": ""}), "display_name"),
        (json!({"display_name": "   "}), "display_name"),
        (json!({"display_name": long}), "display_name"),
        (json!({"display_name": "a\u{7}b"}), "display_name"),
        (json!({"display_name": 3}), "display_name"),
        (json!({}), "display_name"),
        (json!({"display_name": "a", "max_participants": 0}), "max_participants"),
        (json!({"display_name": "a", "max_participants": 101}), "max_participants"),
        (json!({"display_name": "a", "max_participants": -1}), "max_participants"),
        (json!({"display_name": "a", "max_participants": "7"}), "max_participants"),
        (json!({"display_name": "a", "colour": "red"}), "colour"),
        (json!({"display_name": "a", "settings": {"enable_e2e": true}}), "enable_e2e"),
        (json!({"display_name": "a", "settings": {"require_auth": "yes"}}), "require_auth"),
        (json!(["Positional", 7, {}]), "JSON object"),
        (json!([]), "JSON object"),
        (json!("text"), "JSON object"),
    ];
    for (body, named) in table {
        let error = server.post("/api/v1/meetings", &body).await;
        assert_error(&error, 400, "INVALID_REQUEST");
        let message = error.1["error"]["message"].as_str().expect("text");
        assert!(message.contains(named), "{body} gave {message:?}");
    }
    let both =
        json!({"display_name": "a", "settings": {"enable_e2e_encryption": true, "recording_enabled": true}});
    assert_error(&server.post("/api/v1/meetings", &both).await, 409, "CONFLICT");

    let id = server.meeting("Names").await["meeting_id"].as_str().expect("text").to_owned();
    let path = format!("/api/v1/meetings/{id}/participants");
    for body in
        [json!({"name": ""}), json!({"name": "a", "role": "admin"}), json!({"name": "a", "user_id": ""})]
    {
        assert_error(&server.post(&path, &body).await, 400, "INVALID_REQUEST");
    }
    assert_eq!(server.get("/api/v1/meetings").await.1["total"], 1, "refused requests create nothing");
}
