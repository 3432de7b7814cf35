//! The byte-exact vectors of `protocol/testdata`, in both directions. They come from a second
//! implementation (`generate.py`), and the TypeScript codec reads them too.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use darktower_protocol::group::{GroupDecoder, GroupError, GroupKind, GroupPreamble};
use darktower_protocol::limits::{MAX_MESSAGE, UnitLimits};
use darktower_protocol::message::{MessageDecoder, MessageError, encode};
use darktower_protocol::signaling::pb;
use darktower_protocol::unit::{DatagramUnits, HeaderError};
use darktower_protocol::{Code, Flags, FrameType, HeaderFields, StreamId, Unit, UnitDecoder, UnitError};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::bytes_on_the_wire::unhex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = root().join("protocol/testdata").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let rows: Vec<T> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!rows.is_empty(), "{name} is empty");
    rows
}

#[derive(Deserialize)]
struct UnitVector {
    name: String,
    frame_type: u8,
    frame_type_name: String,
    stream_id: String,
    timestamp: String,
    sequence: String,
    payload_len: u32,
    flags: u16,
    reserved: String,
    payload: String,
    wire: String,
}

/// Every way in which bytes can be refused.
#[derive(Deserialize)]
struct BadVector {
    name: String,
    wire: String,
    error: String,
    code: String,
    refused_after: Option<usize>,
}

/// The error's name in the vectors, and its code's.
trait Named {
    fn names(&self) -> (&'static str, &'static str);
}

impl Named for UnitError {
    fn names(&self) -> (&'static str, &'static str) {
        let name = match self {
            Self::Header(HeaderError::UnsupportedVersion(_)) => "UnsupportedVersion",
            Self::PayloadTooLarge { .. } => "PayloadTooLarge",
            Self::Truncated { .. } => "Truncated",
            Self::WrongStream { .. } => "WrongStream",
            other => panic!("no vector should lead to {other:?}"),
        };
        (name, self.code().name())
    }
}

impl Named for GroupError {
    fn names(&self) -> (&'static str, &'static str) {
        let name = match self {
            Self::BadMagic(_) => "BadMagic",
            Self::BadLength(_) => "BadLength",
            Self::UnknownKind(_) => "UnknownKind",
            Self::Truncated => "Truncated",
            Self::Unit(error) => return error.names(),
            other => panic!("no vector should lead to {other:?}"),
        };
        (name, self.code().name())
    }
}

impl Named for MessageError {
    fn names(&self) -> (&'static str, &'static str) {
        let name = match self {
            Self::TooLarge { .. } => "TooLarge",
            Self::Malformed(_) => "Malformed",
            Self::Truncated => "Truncated",
            other => panic!("no vector should lead to {other:?}"),
        };
        (name, self.code().name())
    }
}

/// Feeds single bytes; `step` says whether they have led to an error yet.
fn check_refusals<D, E: Named>(
    file: &str,
    new: impl Fn() -> D,
    step: impl Fn(&mut D, Bytes) -> Result<(), E>,
    finish: impl Fn(&D) -> Result<(), E>,
) {
    for vector in read::<BadVector>(file) {
        let wire = unhex(&vector.wire);
        let mut decoder = new();
        let mut refused = None;
        for at in 0..wire.len() {
            if let Err(error) = step(&mut decoder, wire.slice(at..=at)) {
                refused = Some((at + 1, error));
                break;
            }
        }
        let (after, error) = match refused {
            Some((after, error)) => (Some(after), error),
            None => (None, finish(&decoder).err().unwrap_or_else(|| panic!("{} was accepted", vector.name))),
        };
        assert_eq!(error.names(), (vector.error.as_str(), vector.code.as_str()), "{}", vector.name);
        assert_eq!(after, vector.refused_after, "{} was refused early or late", vector.name);
    }
}

#[test]
fn units() {
    for vector in read::<UnitVector>("units.json") {
        let name = &vector.name;
        let wire = unhex(&vector.wire);
        let unit = Unit::from_wire(wire.clone()).unwrap();
        let header = unit.header();
        assert_eq!(header.frame_type().to_byte(), vector.frame_type, "{name}");
        let type_name = match header.frame_type() {
            FrameType::Audio => "audio",
            FrameType::VideoKey => "video_key",
            FrameType::VideoDelta => "video_delta",
            FrameType::Attach => "attach",
            FrameType::Unknown(_) => "unknown",
        };
        assert_eq!(type_name, vector.frame_type_name, "{name}");
        assert_eq!(header.stream_id().to_string(), vector.stream_id, "{name}");
        assert_eq!(header.timestamp().to_string(), vector.timestamp, "{name}");
        assert_eq!(header.sequence().to_string(), vector.sequence, "{name}");
        assert_eq!(header.payload_len(), vector.payload_len, "{name}");
        assert_eq!(header.flags().bits(), vector.flags, "{name}");
        assert_eq!(header.reserved()[..], unhex(&vector.reserved), "{name}");
        assert_eq!(unit.payload(), unhex(&vector.payload), "{name}");

        // What a receiver forwards is what it received, reserved bits and bytes included.
        let mut decoder = UnitDecoder::new(UnitLimits::default());
        decoder.push(wire.clone());
        let forwarded = decoder.next_unit().unwrap().map(Unit::into_wire);
        let skipped = vector.frame_type_name == "unknown";
        assert_eq!(forwarded, (!skipped).then(|| wire.clone()), "{name}");
        assert_eq!((decoder.skipped_units(), decoder.finish()), (u64::from(skipped), Ok(())), "{name}");

        if vector.reserved == "000000000000" {
            let fields = HeaderFields {
                frame_type: FrameType::from_byte(vector.frame_type),
                stream_id: vector.stream_id.parse().unwrap(),
                timestamp: vector.timestamp.parse().unwrap(),
                sequence: vector.sequence.parse().unwrap(),
                flags: Flags::from_bits(vector.flags),
            };
            assert_eq!(Unit::new(&fields, unhex(&vector.payload)).into_wire(), wire, "{name}");
        }
    }
}

#[test]
fn bad_units() {
    check_refusals(
        "bad_units.json",
        || UnitDecoder::new(UnitLimits::default()),
        |decoder, byte| {
            decoder.push(byte);
            while decoder.next_unit()?.is_some() {}
            Ok(())
        },
        UnitDecoder::finish,
    );
}

#[derive(Deserialize)]
struct PreambleVector {
    name: String,
    kind: String,
    continuation: bool,
    discontinuity: bool,
    stream_id: String,
    group: String,
    first_sequence: String,
    decode_only: bool,
    wire: String,
}

#[test]
fn preambles() {
    for vector in read::<PreambleVector>("preambles.json") {
        let preamble = GroupPreamble {
            kind: match vector.kind.as_str() {
                "video" => GroupKind::Video,
                "audio" => GroupKind::Audio,
                other => panic!("kind {other:?}"),
            },
            continuation: vector.continuation,
            discontinuity: vector.discontinuity,
            stream_id: vector.stream_id.parse().unwrap(),
            group: vector.group.parse().unwrap(),
            first_sequence: vector.first_sequence.parse().unwrap(),
        };
        let wire = unhex(&vector.wire);
        assert_eq!(GroupPreamble::decode(&wire), Ok(Some((preamble, wire.len()))), "{}", vector.name);
        if !vector.decode_only {
            assert_eq!(preamble.encode(), wire, "{}", vector.name);
        }
    }
}

#[test]
fn bad_preambles() {
    check_refusals(
        "bad_preambles.json",
        || GroupDecoder::new(UnitLimits::default()),
        |decoder, byte| {
            decoder.push(byte)?;
            while decoder.next_unit()?.is_some() {}
            Ok(())
        },
        GroupDecoder::finish,
    );
}

#[derive(Deserialize)]
struct DatagramVector {
    name: String,
    wire: String,
    units: Vec<String>,
    skipped: u64,
    error: Option<String>,
    code: Option<String>,
}

#[test]
fn datagrams() {
    let known = read::<UnitVector>("units.json");
    let wire_of = |name: &String| unhex(&known.iter().find(|unit| unit.name == *name).unwrap().wire);
    for vector in read::<DatagramVector>("datagrams.json") {
        let mut units = DatagramUnits::new(unhex(&vector.wire), UnitLimits::default());
        let (mut whole, mut error) = (Vec::new(), None);
        for unit in &mut units {
            match unit {
                Ok(unit) => whole.push(unit.into_wire()),
                Err(failed) => error = Some(failed),
            }
        }
        assert_eq!(whole, vector.units.iter().map(wire_of).collect::<Vec<_>>(), "{}", vector.name);
        assert_eq!(units.skipped_units(), vector.skipped, "{}", vector.name);
        let expected = vector.error.as_deref().zip(vector.code.as_deref());
        assert_eq!(error.map(|error| error.names()), expected, "{}", vector.name);
    }
}

#[derive(Deserialize)]
struct MessageVector {
    name: String,
    r#type: String,
    wire: String,
    json: serde_json::Value,
}

/// Decodes a message of this type and encodes it again.
fn round_trip_as(r#type: &str, wire: &[u8]) -> Bytes {
    match r#type {
        "Envelope" => round_trip::<pb::Envelope>(wire),
        "MediaClientMessage" => round_trip::<pb::MediaClientMessage>(wire),
        "MediaServerMessage" => round_trip::<pb::MediaServerMessage>(wire),
        "PublisherFeedback" => round_trip::<pb::PublisherFeedback>(wire),
        other => panic!("type {other:?}"),
    }
}

/// What the bytes mean according to proto/, in protobuf's own JSON.
fn to_json(pool: &DescriptorPool, r#type: &str, wire: &[u8]) -> serde_json::Value {
    let kind = pool.get_message_by_name(&format!("darktower.v1.{type}")).unwrap();
    let mut body = wire;
    prost::decode_length_delimiter(&mut body).unwrap();
    let message = DynamicMessage::decode(kind, body).unwrap();
    message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).unwrap()
}

fn pool() -> DescriptorPool {
    let files = ["signaling", "media"].map(|name| format!("darktower/v1/{name}.proto"));
    let descriptors = protox::compile(files, [root().join("proto")]).unwrap();
    DescriptorPool::from_file_descriptor_set(descriptors).unwrap()
}

fn round_trip<M: Message + Default>(wire: &[u8]) -> Bytes {
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    decoder.push(wire);
    let message = decoder.next_message::<M>().unwrap().unwrap();
    decoder.finish().unwrap();
    encode(&message)
}

#[test]
fn messages() {
    let pool = pool();
    for vector in read::<MessageVector>("messages.json") {
        let wire = unhex(&vector.wire);
        assert_eq!(round_trip_as(&vector.r#type, &wire), wire, "{}", vector.name);
        assert_eq!(to_json(&pool, &vector.r#type, &wire), vector.json, "{}", vector.name);
    }
}

/// What a later version adds is skipped, and all that is known stays.
#[test]
fn messages_of_the_future() {
    let pool = pool();
    for vector in read::<MessageVector>("future_messages.json") {
        let wire = unhex(&vector.wire);
        let known = round_trip_as(&vector.r#type, &wire);
        assert!(known.len() < wire.len(), "{}: nothing in it is new", vector.name);
        assert_eq!(to_json(&pool, &vector.r#type, &known), vector.json, "{}", vector.name);
    }
}

#[test]
fn bad_messages() {
    check_refusals(
        "bad_messages.json",
        || MessageDecoder::new(MAX_MESSAGE),
        |decoder, byte| {
            decoder.push(&byte);
            while decoder.next_message::<pb::Envelope>()?.is_some() {}
            Ok(())
        },
        MessageDecoder::finish,
    );
}

#[derive(Deserialize)]
struct CodeVector {
    name: String,
    number: u32,
    webtransport: u64,
}

#[test]
fn error_codes_are_the_whole_table() {
    let vectors = read::<CodeVector>("error_codes.json");
    assert_eq!(vectors.len(), Code::TABLE.len());
    for (vector, (code, name, _)) in vectors.iter().zip(Code::TABLE) {
        assert_eq!((vector.name.as_str(), vector.number), (*name, code.as_u32()));
        assert_eq!(code.to_webtransport(), vector.webtransport, "{name}");
        assert_eq!(Code::from_webtransport(vector.webtransport), *code);
    }
}

#[derive(Deserialize)]
struct LayerVector {
    stream_id: StreamIdText,
    layer_id: String,
    wire_stream_id: StreamIdText,
}

type StreamIdText = String;

#[test]
fn layer_ids() {
    for vector in read::<LayerVector>("layers.json") {
        let stream: StreamId = vector.stream_id.parse().unwrap();
        assert_eq!(
            stream.of_layer(&vector.layer_id).to_string(),
            vector.wire_stream_id,
            "{}",
            vector.layer_id
        );
    }
}
