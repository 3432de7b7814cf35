//! Messages that are as large, as deep, or as strange as they may be, and rosters made of them.

use bytes::Bytes;
use darktower_client::Error;
use darktower_client::signaling::SignalingClient;
use darktower_protocol::limits::MAX_MESSAGE;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, StreamId};
use futures_util::{StreamExt as _, stream};
use pb::envelope::Message;
use pb::{ErrorCode, StreamType};
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use super::{BOTH, Stage};
use crate::support::{RawSignaling, TestServer, WireSignaling, envelope, join, soon, token, video_metadata};

/// Participants of a giant roster; each is 16 KiB of it.
const GIANTS: usize = 40;

/// A name as long as names are, in bytes too.
fn giant_name() -> String {
    "🙂".repeat(64)
}

/// Somebody who takes as much room in a roster as there is for it, and reads what it is told.
async fn giant(server: &TestServer, meeting: MeetingId) -> (SignalingClient, AbortOnDropHandle<()>) {
    let RawSignaling { client, mut events, .. } =
        join(server, meeting, &giant_name(), "video_participant").await;
    let reads = tokio::spawn(async move { while events.next().await.is_some() {} });
    let mut metadata = video_metadata();
    metadata.codec = "V".repeat(64);
    metadata.codec_config = vec![7; 4096].into();
    let mut published = 0;
    // 16 KiB are reached before 16 layers are.
    loop {
        let request = pb::PublishStream {
            stream_id: StreamId::generate().to_string(),
            stream_type: StreamType::VideoCamera.into(),
            metadata: Some(metadata.clone()),
        };
        match client.command(Message::PublishStream(request)).await {
            Ok(_) => published += 1,
            Err(Error::Refused { code: ErrorCode::CapacityExceeded, .. })
                if metadata.codec_config.len() > 64 =>
            {
                metadata.codec_config.truncate(metadata.codec_config.len() / 2);
            }
            Err(Error::Refused { code: ErrorCode::CapacityExceeded, .. }) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(published > 3, "{published} streams");
    (client, AbortOnDropHandle::new(reads))
}

/// No message has more than 64 KiB (a client ends the session at such a one), and nobody is left out.
pub(super) async fn a_giant_roster_is_told_in_messages_that_fit(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let giants = stream::iter(0..GIANTS).map(|_| giant(server, meeting)).buffer_unordered(4);
    let giants: Vec<_> = giants.collect().await;
    for kind in BOTH {
        let join_token = token(server, meeting, "Newcomer", "video_participant").await;
        let connecting = SignalingClient::connect(&server.signaling_url, kind, &server.trust);
        let (client, mut events) = soon("connect", connecting).await.expect("connected");
        let request = pb::JoinRequest { meeting_id: meeting.to_string(), join_token, ..Default::default() };
        let response = soon("join", client.join(request)).await.expect("joined");
        let mut told: Vec<pb::Participant> = response.existing_participants;
        let at_once: usize = told.iter().map(prost::Message::encoded_len).sum();
        let is_giant = |one: &&pb::Participant| one.name == giant_name();
        while told.iter().filter(is_giant).count() < GIANTS {
            let event = soon("the rest", events.next()).await.expect("the session is open");
            if let Message::ParticipantJoined(joined) = event.message {
                assert_eq!(event.sequence, 0, "it is no news");
                told.extend(joined.participant);
            }
        }
        let all: usize = told.iter().map(prost::Message::encoded_len).sum();
        println!("{kind:?}: a roster of {all} bytes, {at_once} of them in the answer");
        assert!(all > 8 * MAX_MESSAGE && at_once < MAX_MESSAGE, "{all}, {at_once}");
        client.leave().await.expect("it is still there");

        // So is what somebody is told who comes back and has missed too much.
        let mut lost = join(server, meeting, "Lost", "video_participant").await;
        lost.client.close(Code::NO_ERROR, "the cable is out");
        lost.end().await;
        let (mut back, response) =
            RawSignaling::resume(server, &lost.resume_ticket, u64::MAX, kind).await.expect("back");
        let mut told = response.snapshot.expect("it never saw that event").existing_participants;
        while told.iter().filter(is_giant).count() < GIANTS {
            let joined = back.event("the rest", |message| match message {
                Message::ParticipantJoined(joined) => joined.participant.clone(),
                _ => None,
            });
            told.push(joined.await);
        }
        back.client.leave().await.expect("it is still there");
    }
    assert!(giants.iter().all(|(giant, _)| giant.close_reason().is_none()), "giants are still there");
}

/// The start or the end of groups, one in the other: an old way of nesting that readers still skip.
fn groups(wire_type: u32, depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..depth).for_each(|_| prost::encoding::encode_varint(u64::from(2000 << 3 | wire_type), &mut bytes));
    bytes
}

pub(super) async fn strange_messages_are_refused_or_ignored(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let update = || envelope(7, Some(Message::UpdateParticipant(pb::UpdateParticipant::default())));
    for kind in BOTH {
        let mut mallory = WireSignaling::join(server, meeting, kind, "Mallory", "video_participant").await;
        // Fields that nobody knows: many small ones, and a large one.
        let mut unknown = update();
        (0..20_000).for_each(|_| unknown.extend_from_slice(&[0xf8, 0x7d, 0x01]));
        assert!(matches!(mallory.ask(&unknown).await, Some(Message::Ack(_))));
        let mut unknown = update();
        unknown.extend_from_slice(&[0xfa, 0x7d, 0x80, 0xea, 0x03]);
        unknown.resize(unknown.len() + 62_720, 0xff);
        assert!(matches!(mallory.ask(&unknown).await, Some(Message::Ack(_))));
        // A message that nobody knows, and none; the last of several counts.
        let mut future = envelope(8, None);
        future.extend_from_slice(&[0xea, 0x3e, 0x03, 0x01, 0x02, 0x03]);
        assert_eq!(mallory.refused(&future).await, ErrorCode::Unsupported);
        assert_eq!(mallory.refused(&envelope(9, None)).await, ErrorCode::Unsupported);
        let mut several = envelope(10, Some(Message::EndMeeting(pb::EndMeeting {})));
        several.extend_from_slice(&update());
        assert!(matches!(mallory.ask(&several).await, Some(Message::Ack(_))));
        // What the server says is no request.
        let ack = envelope(11, Some(Message::Ack(pb::Ack::default())));
        assert_eq!(mallory.refused(&ack).await, ErrorCode::Unsupported);
        // Many of everything that may be repeated, within 64 KiB.
        let levels = pb::AudioLevels { levels: vec![pb::AudioLevel::default(); 30_000] };
        assert_eq!(
            mallory.refused(&envelope(12, Some(Message::AudioLevels(levels)))).await,
            ErrorCode::InvalidRequest
        );
        let to_participant_ids = vec![String::new(); 30_000];
        let broadcast =
            pb::BroadcastMessage { r#type: "x".to_owned(), to_participant_ids, ..Default::default() };
        assert_eq!(
            mallory.refused(&envelope(13, Some(Message::BroadcastMessage(broadcast)))).await,
            ErrorCode::InvalidRequest
        );
        let layer = pb::SimulcastLayer { layer_id: "x".to_owned(), ..Default::default() };
        let mut metadata = video_metadata();
        metadata.video.get_or_insert_default().simulcast_layers = vec![layer; 10_000];
        let mut publish = pb::PublishStream {
            stream_id: StreamId::generate().to_string(),
            stream_type: StreamType::VideoCamera.into(),
            metadata: Some(metadata),
        };
        assert_eq!(
            mallory.refused(&envelope(14, Some(Message::PublishStream(publish.clone())))).await,
            ErrorCode::InvalidRequest
        );
        publish.metadata = Some(video_metadata());
        for stream_type in [-1, 3, i32::MAX] {
            let publish = pb::PublishStream { stream_type, ..publish.clone() };
            let refused = mallory.refused(&envelope(15, Some(Message::PublishStream(publish)))).await;
            assert_eq!(refused, ErrorCode::InvalidRequest);
        }
        // As deep as a message of this size is: 20,000 groups in each other.
        let mut deep = update();
        deep.extend_from_slice(&groups(3, 20_000));
        deep.extend_from_slice(&groups(4, 1_000));
        assert_eq!(mallory.ended(&deep).await, Some(Code::MALFORMED_MESSAGE));
        // Text that is none.
        let not_text = WireSignaling::join(server, meeting, kind, "Mallory", "video_participant").await;
        let mut bytes = envelope(16, None);
        bytes.extend_from_slice(&[0x82, 0x01, 0x04, 0x0a, 0x02, 0xc3, 0x28]);
        assert_eq!(not_text.ended(&bytes).await, Some(Code::MALFORMED_MESSAGE));
        // One byte more than there may be.
        let too_large = WireSignaling::join(server, meeting, kind, "Mallory", "video_participant").await;
        let mut bytes = update();
        bytes.extend_from_slice(&[0xfa, 0x7d, 0x80, 0x80, 0x04]);
        bytes.resize(MAX_MESSAGE + 1, 0);
        assert_eq!(too_large.ended(&bytes).await, Some(Code::MESSAGE_TOO_LARGE));
        let other_version = WireSignaling::join(server, meeting, kind, "Mallory", "video_participant").await;
        let bytes = pb::Envelope { version: 2, request_id: 17, ..Default::default() }.encode_to_vec();
        assert_eq!(other_version.ended(&bytes).await, Some(Code::UNSUPPORTED_VERSION));
    }
}

pub(super) async fn text_stays_text(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let mallory = join(server, meeting, "Mallory", "video_host").await;
    let mut reader = join(server, meeting, "Reader", "video_participant").await;
    let say = |text: &str| {
        Message::SendChatMessage(pb::SendChatMessage { text: text.to_owned(), ..Default::default() })
    };
    let said = |message: &Message| match message {
        Message::ChatMessageSent(sent) => sent.message.clone(),
        _ => None,
    };
    // Markup, right-to-left text and marks go through as they are; control characters do not.
    for (text, expected) in [
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("{{7*7}} ${7*7} %n%s", "{{7*7}} ${7*7} %n%s"),
        ("\u{202e}txt.exe שלום", "\u{202e}txt.exe שלום"),
        ("\u{1b}[31mred\u{7}\u{0}\r\n\tend", "[31mred\n\tend"),
    ] {
        mallory.done(say(text)).await;
        assert_eq!(reader.event("a message", said).await.text, expected);
    }
    for text in ["", " \u{0}\u{7}\r\n ", &"🙂".repeat(4001)] {
        assert_eq!(mallory.refused(say(text)).await, ErrorCode::InvalidRequest);
    }
    mallory.done(say(&"🙂".repeat(4000))).await;
    assert_eq!(reader.event("a long message", said).await.text.chars().count(), 4000);

    // Names are shown beside those of others: nothing in them is invisible or turns them round.
    let rename = |name: &str| {
        Message::UpdateParticipant(pb::UpdateParticipant { name: name.to_owned(), ..Default::default() })
    };
    mallory.done(rename(" \u{202e}ni\u{200b}mdA\u{0}\u{1b}[0m\u{2066} ")).await;
    let renamed = reader.event("a name", |message| match message {
        Message::ParticipantUpdated(updated) => updated.participant.clone(),
        _ => None,
    });
    assert_eq!(renamed.await.name, "nimdA[0m");
    for name in ["\u{200b}\u{202e}", "\t", &"x".repeat(65), &"x".repeat(60_000)] {
        assert_eq!(mallory.refused(rename(name)).await, ErrorCode::InvalidRequest);
    }
    let broadcast = |r#type: &str, payload: usize| {
        let (r#type, payload) = (r#type.to_owned(), Bytes::from(vec![0; payload]));
        Message::BroadcastMessage(pb::BroadcastMessage { r#type, payload, ..Default::default() })
    };
    for (r#type, payload) in [("", 0), ("a\nb", 0), ("a\u{0}", 0), (&*"x".repeat(65), 0), ("x", 8 * 1024 + 1)]
    {
        assert_eq!(mallory.refused(broadcast(r#type, payload)).await, ErrorCode::InvalidRequest, "{type:?}");
    }
    // The longest history there is comes in messages that fit.
    for _ in 0..20 {
        mallory.done(say(&"🙂".repeat(4000))).await;
    }
    let (mut before_message_id, mut read) = (0, 0);
    loop {
        let fetch = pb::FetchChatHistory { before_message_id, limit: 200, ..Default::default() };
        let fetched = reader.client.request(Message::FetchChatHistory(fetch)).await.expect("answered");
        let Message::ChatHistory(history) = fetched else { panic!("{fetched:?}") };
        read += history.messages.len();
        before_message_id = history.messages[0].message_id;
        if !history.has_more {
            break;
        }
    }
    assert_eq!(read, 25);
}
