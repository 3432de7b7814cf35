//! Messages do not depend on how a stream is cut into chunks and survive encoding; a stream that
//! is accepted for publishing has what the rest of the server relies on.
#![no_main]

use bytes::Bytes;
use darktower_fuzz::split_input;
use darktower_protocol::message::{MessageDecoder, MessageError, encode};
use darktower_protocol::signaling::pb::{self, envelope};
use darktower_protocol::signaling::{MAX_LAYERS, StreamDescription};
use libfuzzer_sys::fuzz_target;
use prost::Message;

const MAX: usize = 2_000;

fn decode<M: Message + Default + Clone>(chunks: &[Bytes]) -> (Vec<M>, Result<(), MessageError>) {
    let mut decoder = MessageDecoder::new(MAX);
    let mut messages = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next_message::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, decoder.finish()),
            }
        }
    }
    (messages, decoder.finish())
}

/// Messages are compared by length: NaN differs from itself, and maps have no order.
fn check<M: Message + Default + Clone>(stream: &Bytes, chunks: &[Bytes]) -> Vec<M> {
    let (messages, end) = decode::<M>(std::slice::from_ref(stream));
    let (again, end_of_chunks) = decode::<M>(chunks);
    assert_eq!(end_of_chunks, end);
    assert_eq!(again.len(), messages.len());
    for (message, again) in messages.iter().zip(&again) {
        assert_eq!(message.encode_to_vec().len(), again.encode_to_vec().len());
        let mut decoder = MessageDecoder::new(usize::MAX);
        decoder.push(&encode(message));
        assert!(decoder.next_message::<M>().is_ok_and(|message| message.is_some()));
        assert_eq!(decoder.finish(), Ok(()));
    }
    messages
}

fuzz_target!(|input: &[u8]| {
    let Some((stream, chunks)) = split_input(input) else { return };
    check::<pb::MediaClientMessage>(&stream, &chunks);
    for message in check::<pb::Envelope>(&stream, &chunks) {
        let Some(envelope::Message::PublishStream(publish)) = message.message else { continue };
        let Ok(description) = StreamDescription::try_from(publish) else { continue };
        let layers = &description.layers;
        assert!((1..=MAX_LAYERS).contains(&layers.len()));
        assert!(layers.is_sorted_by_key(|layer| layer.max_bitrate_bps));
        for (at, layer) in layers.iter().enumerate() {
            assert!(layers[..at].iter().all(|other| other.wire_stream_id != layer.wire_stream_id));
            if !layer.layer_id.is_empty() {
                assert_eq!(description.select_layer(&layer.layer_id, 0), layer);
            }
        }
        let _ = description.select_layer("", 1_000);
        // What is told to others describes the same stream.
        let told = description.to_message();
        let again = pb::PublishStream {
            stream_id: told.stream_id,
            stream_type: told.stream_type,
            metadata: told.metadata,
        };
        assert_eq!(StreamDescription::try_from(again), Ok(description));
    }
});
