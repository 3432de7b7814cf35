//! Length-delimited messages.

use bytes::Bytes;
use darktower_protocol::Code;
use darktower_protocol::message::{MessageDecoder, MessageError, encode};
use darktower_protocol::signaling::pb::{self, envelope, media_client_message};
use darktower_protocol::signaling::{MAX_LAYERS, StreamDescription, StreamError};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::bytes_on_the_wire::{chunk_sizes, chunks, damaged};

const MAX: usize = 300;

fn decode<M: Message + Default + PartialEq>(
    stream: &Bytes,
    sizes: &[usize],
) -> (Vec<M>, Result<(), MessageError>) {
    let mut decoder = MessageDecoder::new(MAX);
    let mut messages = Vec::new();
    for chunk in chunks(stream, sizes) {
        decoder.push(&chunk);
        loop {
            match decoder.next_message::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert!(decoder.next_message::<M>().as_ref() == Err(&error), "the same error again");
                    assert_eq!(decoder.finish(), Err(error.clone()));
                    return (messages, Err(error));
                }
            }
        }
    }
    (messages, decoder.finish())
}

fn envelope() -> impl Strategy<Value = pb::Envelope> {
    let text = "[a-z]{0,20}";
    let message = prop_oneof![
        text.prop_map(|stream_id| envelope::Message::UnsubscribeStream(pb::UnsubscribeStream { stream_id })),
        (text, text).prop_map(|(meeting_id, join_token)| {
            envelope::Message::JoinRequest(pb::JoinRequest { meeting_id, join_token, ..Default::default() })
        }),
        (0..12i32, text, vec((text, text), 0..2)).prop_map(|(code, message, details)| {
            envelope::Message::Error(pb::ErrorMessage {
                code,
                message,
                details: details.into_iter().collect(),
            })
        }),
        vec(any::<u8>(), 0..100).prop_map(|ticket| {
            envelope::Message::ResumeRequest(pb::ResumeRequest {
                resume_ticket: ticket.into(),
                last_event_sequence: 1,
            })
        }),
    ];
    (any::<u32>(), any::<u64>(), any::<u64>(), proptest::option::of(message)).prop_map(
        |(version, request_id, event_sequence, message)| pb::Envelope {
            version,
            request_id,
            event_sequence,
            message,
        },
    )
}

fn media_message() -> impl Strategy<Value = pb::MediaClientMessage> {
    let message = prop_oneof![
        any::<u64>().prop_map(|id| media_client_message::Message::Ping(pb::Ping { id })),
        ("[a-z]{0,20}", vec("[a-z-]{0,20}", 0..5)).prop_map(|(connection_token, features)| {
            let hello = pb::MediaHello { connection_token, protocol_min: 1, protocol_max: 1, features };
            media_client_message::Message::Hello(hello)
        }),
    ];
    proptest::option::of(message).prop_map(|message| pb::MediaClientMessage { message })
}

fn stream_of<M: Message>(messages: &[M]) -> Vec<u8> {
    messages.iter().flat_map(encode).collect()
}

proptest! {
    #[test]
    fn envelopes_do_not_depend_on_chunks(messages in vec(envelope(), 0..6), sizes in chunk_sizes()) {
        let stream = stream_of(&messages).into();
        prop_assert_eq!(decode(&stream, &sizes), (messages, Ok(())));
    }

    #[test]
    fn media_messages_do_not_depend_on_chunks(messages in vec(media_message(), 0..6), sizes in chunk_sizes()) {
        let stream = stream_of(&messages).into();
        prop_assert_eq!(decode(&stream, &sizes), (messages, Ok(())));
    }

    #[test]
    fn damaged_envelopes_do_not_depend_on_chunks(
        stream in damaged(vec(envelope(), 0..6).prop_map(|messages| stream_of(&messages))),
        sizes in chunk_sizes(),
    ) {
        prop_assert_eq!(decode::<pb::Envelope>(&stream, &sizes), decode(&stream, &[usize::MAX]));
        prop_assert_eq!(decode::<pb::MediaClientMessage>(&stream, &sizes), decode(&stream, &[usize::MAX]));
    }
}

#[test]
fn a_message_over_the_bound_is_refused_at_its_length() {
    let mut decoder = MessageDecoder::new(MAX);
    decoder.push(&[0xad, 0x02]); // 301
    let error = decoder.next_message::<pb::Envelope>().unwrap_err();
    assert_eq!(error, MessageError::TooLarge { len: 301, max: MAX });
    assert_eq!(error.code(), Code::MESSAGE_TOO_LARGE);

    let mut decoder = MessageDecoder::new(MAX);
    decoder.push(&[0xac, 0x02]); // 300
    assert_eq!(decoder.next_message::<pb::Envelope>(), Ok(None));
    assert_eq!(decoder.finish(), Err(MessageError::Truncated));
}

fn publish(layers: Vec<pb::SimulcastLayer>) -> pb::PublishStream {
    let video = pb::VideoMetadata { simulcast_layers: layers, ..Default::default() };
    pb::PublishStream {
        stream_id: "0192f0c1-2a3b-7c4d-8e5f-001122334455".into(),
        stream_type: pb::StreamType::VideoCamera.into(),
        metadata: Some(pb::StreamMetadata { codec: "VP8".into(), video: Some(video), ..Default::default() }),
    }
}

fn layer(layer_id: &str, max_bitrate: u32) -> pb::SimulcastLayer {
    pb::SimulcastLayer { layer_id: layer_id.into(), max_bitrate, ..Default::default() }
}

#[test]
fn published_streams_are_checked() {
    let cases = [
        (pb::PublishStream { stream_id: "camera".into(), ..publish(vec![]) }, "UUID"),
        (pb::PublishStream { stream_type: 7, ..publish(vec![]) }, "stream_type 7"),
        (pb::PublishStream { metadata: None, ..publish(vec![]) }, "codec is required"),
        (publish(vec![layer("low", 1), layer("low", 2)]), "must differ"),
        (publish(vec![pb::SimulcastLayer { stream_id: "x".into(), ..layer("low", 1) }]), "UUID"),
        (publish(vec![layer(&"x".repeat(65), 1)]), "longer than 64"),
        (publish((0..=MAX_LAYERS).map(|i| layer(&i.to_string(), 1)).collect()), "at most"),
    ];
    for (message, expected) in cases {
        let error = StreamDescription::try_from(message).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

/// The configuration is repeated in every roster: one publisher must not fill everybody's.
#[test]
fn codec_configuration_is_bounded() {
    let mut message = publish(vec![]);
    message.metadata.as_mut().unwrap().codec_config = vec![0; 4_097].into();
    assert_eq!(StreamDescription::try_from(message.clone()), Err(StreamError::CodecConfigTooLong));
    message.metadata.as_mut().unwrap().codec_config = vec![0; 4_096].into();
    assert!(StreamDescription::try_from(message).is_ok());
}

#[test]
fn layers_are_chosen_by_name_then_by_bit_rate() {
    let layers = vec![layer("high", 2_000), layer("low", 200), layer("mid", 700)];
    let stream = StreamDescription::try_from(publish(layers)).unwrap();
    assert_eq!(stream.layers.iter().map(|l| l.layer_id.as_str()).collect::<Vec<_>>(), ["low", "mid", "high"]);
    for (preferred, max, expected) in [
        ("", 0, "high"),
        ("", 1_999, "mid"),
        ("", 100, "low"),
        ("mid", 0, "mid"),
        ("mid", 100, "mid"),
        ("none", 700, "mid"),
    ] {
        assert_eq!(stream.select_layer(preferred, max).layer_id, expected, "{preferred:?} within {max}");
    }
    let single = StreamDescription::try_from(publish(vec![])).unwrap();
    assert_eq!(single.select_layer("low", 1).wire_stream_id, single.stream_id);
}
