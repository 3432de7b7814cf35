//! Clients of other versions: those that have none in common with the server are told so, and what a later one says beyond
//! this version is skipped. The bytes are those of `protocol/testdata/future_messages.json`.

use darktower_client::transport::TransportKind;
use darktower_protocol::signaling::pb;
use darktower_protocol::version::PROTOCOL_VERSION;
use darktower_protocol::{Code, Features};
use pb::ErrorCode;
use pb::envelope::Message;
use pb::media_client_message::Message as ToHandler;
use pb::media_server_message::Message as FromHandler;
use prost::Message as _;

use crate::support::{RawMedia, RawSignaling, TestServer, WireSignaling, envelope, join, soon, token};

const BOTH: [TransportKind; 2] = [TransportKind::Native, TransportKind::WebTransport];

/// What clients say they speak, lowest and highest; and whether this server does. 0 stands for 1.
const RANGES: [(u32, u32, bool); 8] = [
    (0, 0, true),
    (1, 1, true),
    (0, 7, true),
    (1, 9, true),
    (1, u32::MAX, true),
    (2, 9, false),
    (9, 1, false),
    (u32::MAX, u32::MAX, false),
];

/// The bytes of a row, without their length.
fn future(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/testdata/future_messages.json");
    let rows = std::fs::read_to_string(path).expect("a file of the repository");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).expect("JSON");
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}"));
    let digits = row["wire"].as_str().expect("text").as_bytes().chunks(2);
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("digits");
    let wire: Vec<u8> = digits.map(byte).collect();
    let mut body = wire.as_slice();
    prost::decode_length_delimiter(&mut body).expect("a length");
    body.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn signaling_speaks_the_highest_version_that_both_know_or_none() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    for kind in BOTH {
        for (protocol_min, protocol_max, is_spoken) in RANGES {
            let join_token = token(&server, meeting, "Somebody", "video_participant").await;
            let meeting_id = meeting.to_string();
            let join =
                pb::JoinRequest { meeting_id, join_token, protocol_min, protocol_max, ..Default::default() };
            let mut session = WireSignaling::connect(&server, kind).await;
            let join = envelope(1, Some(Message::JoinRequest(join)));
            if !is_spoken {
                let ended = session.ended(&join).await;
                assert_eq!(ended, Some(Code::UNSUPPORTED_VERSION), "{protocol_min} to {protocol_max}");
                continue;
            }
            match session.ask(&join).await {
                Some(Message::JoinResponse(joined)) => assert_eq!(joined.protocol_version, PROTOCOL_VERSION),
                other => panic!("{protocol_min} to {protocol_max}: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_speaks_the_highest_version_that_both_know_or_none() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    for kind in BOTH {
        for (protocol_min, protocol_max, is_spoken) in RANGES {
            let signaling = RawSignaling::join(&server, meeting, "Somebody", kind).await;
            let mut media = RawMedia::connect(&server, &signaling.media, kind).await;
            let hello = pb::MediaHello {
                connection_token: signaling.media.connection_token.clone(),
                protocol_min,
                protocol_max,
                features: vec!["teleport".to_owned(), "groups".to_owned()],
            };
            media.send(ToHandler::Hello(hello)).await;
            if !is_spoken {
                let (told, code) = media.refusal().await;
                assert_eq!(told.map(|error| error.code()), Some(ErrorCode::InvalidRequest));
                assert_eq!(code, Some(Code::UNSUPPORTED_VERSION), "{protocol_min} to {protocol_max}");
                continue;
            }
            match soon("a welcome", media.control.next()).await.and_then(|message| message.message) {
                Some(FromHandler::Welcome(welcome)) => {
                    assert_eq!(welcome.protocol_version, PROTOCOL_VERSION);
                    assert_eq!(welcome.features, ["groups"], "and not what is not known");
                }
                other => panic!("{protocol_min} to {protocol_max}: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_client_says_beyond_this_version_is_skipped() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    for kind in BOTH {
        let mut bob = join(&server, meeting, "Bob", "video_participant").await;
        let mut session = WireSignaling::connect(&server, kind).await;
        let join_token = token(&server, meeting, "Later", "video_participant").await;
        let request = pb::JoinRequest {
            meeting_id: meeting.to_string(),
            join_token,
            protocol_min: 1,
            protocol_max: 2,
            ..Default::default()
        };
        let mut bytes = envelope(1, Some(Message::JoinRequest(request)));
        bytes.extend_from_slice(&future("future-join-request"));
        let answer = session.ask(&bytes).await;
        let Some(Message::JoinResponse(joined)) = answer else { panic!("{answer:?}") };

        // What is known of it is done.
        let answer = session.ask(&future("future-publish-stream")).await;
        assert!(matches!(answer, Some(Message::Ack(_))), "{answer:?}");
        let published = bob.event("a stream", |message| match message {
            Message::StreamPublished(published) => Some(published.clone()),
            _ => None,
        });
        let published = published.await;
        assert_eq!(published.participant_id, joined.participant_id);
        let stream = published.stream.expect("a stream");
        assert_eq!(stream.metadata.map(|metadata| metadata.codec), Some("Opus".to_owned()));
        let answer = session.ask(&future("future-update-participant")).await;
        assert!(matches!(answer, Some(Message::Ack(_))), "{answer:?}");
        let raised = bob.event("a hand", |message| match message {
            Message::ParticipantUpdated(updated) => updated.participant.as_ref().and_then(|one| one.state),
            _ => None,
        });
        assert!(raised.await.hand_raised);
        // What is not known is refused, and the session goes on.
        let new_type = session.refused(&future("future-publish-stream-of-new-type")).await;
        assert_eq!(new_type, ErrorCode::InvalidRequest);
        assert_eq!(session.refused(&future("future-request")).await, ErrorCode::Unsupported);

        // Its media session: what it says there beside the known is skipped, too.
        let server_of_media = joined.media_server.expect("a media server");
        let mut media = RawMedia::connect(&server, &server_of_media, kind).await;
        let hello = pb::MediaHello {
            connection_token: server_of_media.connection_token.clone(),
            protocol_min: 1,
            protocol_max: 2,
            features: Vec::new(),
        };
        let hello = pb::MediaClientMessage { message: Some(ToHandler::Hello(hello)) };
        let mut bytes = hello.encode_to_vec();
        bytes.extend_from_slice(&future("future-media-hello"));
        media.send_bytes(&bytes).await;
        let welcome = media.control.next().await.and_then(|message| message.message);
        let Some(FromHandler::Welcome(welcome)) = welcome else { panic!("{welcome:?}") };
        assert_eq!(Features::from_names(&welcome.features), Features::GROUPS);
        media.send_bytes(&future("future-media-client-message")).await;
        media.send(ToHandler::Ping(pb::Ping { id: 5 })).await;
        let answer = soon("a pong", async {
            loop {
                match media.control.next().await.and_then(|message| message.message) {
                    Some(FromHandler::Pong(pong)) => return pong.id,
                    Some(FromHandler::PublisherFeedback(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        assert_eq!(answer.await, 5);
        let unpublish = pb::UnpublishStream { stream_id: stream.stream_id };
        let answer = session.ask(&envelope(9, Some(Message::UnpublishStream(unpublish)))).await;
        assert!(matches!(answer, Some(Message::Ack(_))), "{answer:?}");
        bob.client.leave().await.expect("left");
    }
}
