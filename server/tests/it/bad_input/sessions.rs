//! Tokens, control streams and requests.

use darktower_client::Error;
use darktower_client::signaling::SignalingClient;
use darktower_client::transport::{Role, TransportKind, connect};
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, StreamId};
use darktower_server::auth::TokenService;
use pb::envelope::Message;

use super::{BOTH, Stage};
use crate::support::{RawMedia, RawSignaling, TestServer, audio_metadata, soon, video_metadata};

pub(super) async fn duplicate_stream_id_is_a_conflict(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let first = RawSignaling::join(server, meeting, "Mallory", TransportKind::Native).await;
    let second = RawSignaling::join(server, meeting, "Eve", TransportKind::WebTransport).await;
    let stream_id = StreamId::generate();
    first.publish(stream_id, video_metadata()).await.expect("publish");
    for who in [&first, &second] {
        let refused = who.publish(stream_id, audio_metadata()).await.expect_err("the id is taken");
        let Error::Refused { code, details, .. } = refused else { panic!("{refused}") };
        assert_eq!(code, pb::ErrorCode::Conflict);
        assert_eq!(details.get("field").map(String::as_str), Some("stream_id"));
    }
    let bad = pb::PublishStream { stream_id: "not-a-uuid".to_owned(), ..Default::default() };
    let refused = first.client.command(Message::PublishStream(bad)).await.expect_err("no UUID");
    assert!(matches!(refused, Error::Refused { code: pb::ErrorCode::InvalidRequest, .. }), "{refused}");
}

pub(super) async fn bad_join_tokens_are_unauthorized(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let tokens = TokenService::open(server.data_dir()).expect("the server's keys");
    let foreign_keys = tempfile::tempdir().expect("temporary directory");
    let foreign = TokenService::open(foreign_keys.path()).expect("other keys");
    let granted = server.grant(meeting, "Mallory").await.join_token;
    let claims = || tokens.verify_join(&granted).expect("the server's own token");
    let expired = {
        let mut claims = claims();
        claims.issued_at -= time::Duration::hours(25);
        claims.expires_at -= time::Duration::hours(25);
        tokens.issue_join(&claims)
    };
    let other_meeting = {
        let other = server.meeting().await;
        server.grant(other, "Mallory").await.join_token
    };
    let never_issued = {
        let mut claims = claims();
        claims.participant_id = darktower_protocol::ParticipantId::generate();
        tokens.issue_join(&claims)
    };
    let good = tokens.issue_join(&claims());
    let mut altered = good.clone().into_bytes();
    let middle = altered.len() / 2;
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    for (what, token) in [
        ("expired", expired),
        ("signed by other keys", foreign.issue_join(&claims())),
        ("of another meeting", other_meeting),
        ("of a participant that was never issued one", never_issued),
        ("altered", String::from_utf8(altered).expect("ASCII")),
        ("empty", String::new()),
        ("garbage", "x".repeat(5000)),
    ] {
        for kind in BOTH {
            let joined = RawSignaling::join_with_token(server, meeting, token.clone(), kind).await;
            let Err(Error::Refused { code, message, details }) = joined else { panic!("token {what}") };
            assert_eq!(code, pb::ErrorCode::Unauthorized, "token {what}: {message}");
            assert_eq!(details.get("close_code").map(String::as_str), Some("UNAUTHORIZED"), "token {what}");
        }
    }
    RawSignaling::join_with_token(server, meeting, good, TransportKind::Native).await.expect("a good token");
}

pub(super) async fn a_join_token_used_again_replaces_the_first_session_only(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let token = server.grant(meeting, "Mallory").await.join_token;
    let join = || RawSignaling::join_with_token(server, meeting, token.clone(), TransportKind::Native);
    let mut first = join().await.expect("joined");
    let second = join().await.expect("joined again");
    assert_eq!(first.participant_id, second.participant_id);
    while soon("close", first.events.next()).await.is_some() {}
    assert_eq!(first.client.ended().code(), Some(Code::DUPLICATE));
    second.publish(StreamId::generate(), video_metadata()).await.expect("the second session works");
}

pub(super) async fn bad_connection_tokens_are_unauthorized(stage: &Stage) {
    let (server, meeting) = stage.parts();
    for kind in BOTH {
        let mut signaling = RawSignaling::join(server, meeting, "Mallory", kind).await;
        let _works = RawMedia::open(server, &signaling.media, kind, Features::GROUPS).await;
        let used = signaling.media.connection_token.clone();
        for token in [used.as_str(), "", "made-up"] {
            let mut media = RawMedia::connect(server, &signaling.media, kind).await;
            media.hello(token, Features::GROUPS).await;
            let (told, code) = media.refusal().await;
            assert_eq!(told.map(|error| error.code()), Some(pb::ErrorCode::Unauthorized), "token {token:?}");
            assert_eq!(code, Some(Code::UNAUTHORIZED), "token {token:?}");
        }
        // A token of somebody who has left.
        let refresh = Message::RefreshConnectionToken(pb::RefreshConnectionToken {});
        let Ok(Message::ConnectionTokenRefreshed(fresh)) = signaling.client.request(refresh).await else {
            panic!("no fresh token")
        };
        let fresh = fresh.media_server.expect("a media server");
        signaling.client.leave().await.expect("leave");
        while signaling.events.next().await.is_some() {}
        let mut media = RawMedia::connect(server, &fresh, kind).await;
        media.hello(&fresh.connection_token, Features::GROUPS).await;
        assert_eq!(media.refusal().await.1, Some(Code::UNAUTHORIZED));
    }
}

pub(super) async fn protocol_versions_that_are_not_spoken_are_refused(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let signaling = RawSignaling::join(server, meeting, "Future", TransportKind::Native).await;
    let mut media = RawMedia::connect(server, &signaling.media, TransportKind::Native).await;
    let hello = pb::MediaHello {
        connection_token: signaling.media.connection_token.clone(),
        protocol_min: 2,
        protocol_max: 9,
        features: Vec::new(),
    };
    media.send(pb::media_client_message::Message::Hello(hello)).await;
    assert_eq!(media.refusal().await.1, Some(Code::UNSUPPORTED_VERSION));

    let (error, code) =
        first_envelope_is_answered(server, &pb::Envelope { version: 7, request_id: 1, ..Default::default() })
            .await;
    assert_eq!((error, code), (pb::ErrorCode::InvalidRequest, Some(Code::UNSUPPORTED_VERSION)));
}

pub(super) async fn message_over_64_kib_closes_the_session(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let request = pb::JoinRequest { join_token: "x".repeat(70_000), ..Default::default() };
    let envelope = pb::Envelope {
        version: 1,
        request_id: 1,
        message: Some(Message::JoinRequest(request)),
        ..Default::default()
    };
    for kind in BOTH {
        let answer = first_bytes_are_answered(server, kind, &message::encode(&envelope)).await;
        assert_eq!(answer, (pb::ErrorCode::InvalidRequest, Some(Code::MESSAGE_TOO_LARGE)), "{kind:?}");
        // A length prefix alone is enough: nobody waits for 4 GiB.
        let answer = first_bytes_are_answered(server, kind, &[0xff, 0xff, 0xff, 0xff, 0x0f]).await;
        assert_eq!(answer, (pb::ErrorCode::InvalidRequest, Some(Code::MESSAGE_TOO_LARGE)), "{kind:?}");

        let signaling = RawSignaling::join(server, meeting, "Mallory", kind).await;
        let mut media = RawMedia::connect(server, &signaling.media, kind).await;
        media.hello(&"x".repeat(70_000), Features::GROUPS).await;
        let (told, code) = media.refusal().await;
        assert!(told.is_some_and(|error| error.message.contains("65536")));
        assert_eq!(code, Some(Code::MESSAGE_TOO_LARGE));
    }
}

pub(super) async fn garbage_on_a_control_stream_closes_the_session(stage: &Stage) {
    let (server, meeting) = stage.parts();
    for kind in BOTH {
        for garbage in [&b"\x10GET / HTTP/1.1\r\n"[..], &[0x05, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x80; 6]] {
            let answer = first_bytes_are_answered(server, kind, garbage).await;
            assert_eq!(answer, (pb::ErrorCode::InvalidRequest, Some(Code::MALFORMED_MESSAGE)), "{garbage:?}");
        }
        let signaling = RawSignaling::join(server, meeting, "Mallory", kind).await;
        let mut media = RawMedia::connect(server, &signaling.media, kind).await;
        media.send.write_all(&[0x03, 0xff, 0xff, 0xff]).await.expect("written");
        assert_eq!(media.refusal().await.1, Some(Code::MALFORMED_MESSAGE));

        // After the handshake, too.
        let signaling = RawSignaling::join(server, meeting, "Mallory", kind).await;
        let mut media = RawMedia::open(server, &signaling.media, kind, Features::GROUPS).await;
        media.send.write_all(&[0x03, 0xff, 0xff, 0xff]).await.expect("written");
        assert_eq!(media.refusal().await.1, Some(Code::MALFORMED_MESSAGE));
    }
}

pub(super) async fn a_client_that_says_nothing_is_timed_out(stage: &Stage) {
    let (server, _) = stage.parts();
    let mut waiting = Vec::new();
    for kind in BOTH {
        for role in [Role::Signal, Role::Media] {
            let url = match role {
                Role::Signal => server.signaling_url.clone(),
                _ => server.signaling_url.replace("signal", "media"),
            };
            let connection =
                soon("connect", connect(&url, kind, &server.trust, role)).await.expect("connected");
            waiting.push(tokio::spawn(async move { soon("close", connection.closed()).await.code() }));
        }
    }
    for closed in waiting {
        assert_eq!(closed.await.expect("no panic"), Some(Code::TIMED_OUT));
    }
}

pub(super) async fn a_first_message_out_of_place_is_refused(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let leave = pb::Envelope {
        version: 1,
        request_id: 5,
        message: Some(Message::LeaveRequest(pb::LeaveRequest {})),
        ..Default::default()
    };
    let answer = first_envelope_is_answered(server, &leave).await;
    assert_eq!(answer, (pb::ErrorCode::InvalidRequest, Some(Code::PROTOCOL_VIOLATION)));

    let signaling = RawSignaling::join(server, meeting, "Mallory", TransportKind::Native).await;
    let mut media = RawMedia::connect(server, &signaling.media, TransportKind::Native).await;
    media.send(pb::media_client_message::Message::Ping(pb::Ping { id: 1 })).await;
    assert_eq!(media.refusal().await.1, Some(Code::PROTOCOL_VIOLATION));
}

pub(super) async fn too_many_messages_are_rate_limited(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let signaling = RawSignaling::join(server, meeting, "Mallory", TransportKind::Native).await;
    // Nobody is told of it: no allowance but that of all messages.
    let update = || Message::AudioLevels(pb::AudioLevels::default());
    // What has been used up comes back little by little, so a few more than the limit may pass.
    let limit = server.limits.messages_per_minute;
    for _ in 0..limit {
        signaling.client.command(update()).await.expect("within the limit");
    }
    for _ in 0..limit {
        let Err(refused) = signaling.client.command(update()).await else { continue };
        assert!(matches!(refused, Error::Refused { code: pb::ErrorCode::RateLimited, .. }), "{refused}");
        return;
    }
    panic!("twice the limit of {limit} messages was let through");
}

pub(super) async fn requests_that_are_not_offered_say_so(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let signaling = RawSignaling::join(server, meeting, "Early", TransportKind::Native).await;
    // What only servers say.
    let go_away = Message::GoAway(pb::GoAway::default());
    let refused = signaling.client.command(go_away).await.expect_err("not offered");
    assert!(matches!(refused, Error::Refused { code: pb::ErrorCode::Unsupported, .. }), "{refused}");
}

pub(super) async fn webtransport_requests_to_other_paths_are_refused(stage: &Stage) {
    let (server, _) = stage.parts();
    let url = server.signaling_url.replace("/v1/signal", "/v2/signal");
    let connected =
        soon("refusal", SignalingClient::connect(&url, TransportKind::WebTransport, &server.trust)).await;
    assert!(connected.is_err(), "no session at an unknown path");
}

/// Sends one envelope on a fresh signaling session; returns the error that is told and the code
/// that closes the session.
async fn first_envelope_is_answered(
    server: &TestServer,
    envelope: &pb::Envelope,
) -> (pb::ErrorCode, Option<Code>) {
    first_bytes_are_answered(server, TransportKind::Native, &message::encode(envelope)).await
}

async fn first_bytes_are_answered(
    server: &TestServer,
    kind: TransportKind,
    bytes: &[u8],
) -> (pb::ErrorCode, Option<Code>) {
    let connection = soon("connect", connect(&server.signaling_url, kind, &server.trust, Role::Signal))
        .await
        .expect("connected");
    let (mut send, mut recv) = connection.open_bi().await.expect("a control stream");
    // The server may close before everything is written.
    let _ = soon("write", send.write_all(bytes)).await;
    let mut decoder = MessageDecoder::new(1 << 20);
    let error = loop {
        if let Some(envelope) = decoder.next_message::<pb::Envelope>().expect("well formed") {
            let Some(Message::Error(error)) = envelope.message else { panic!("{envelope:?}") };
            break error;
        }
        let chunk = soon("answer", recv.read_chunk()).await.expect("an answer").expect("an answer");
        decoder.push(&chunk);
    };
    let code = soon("close", connection.closed()).await.code();
    (error.code(), code)
}
