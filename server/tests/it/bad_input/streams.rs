//! What comes on QUIC streams and in datagrams of a media session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_client::transport::TransportKind;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, FrameType, StreamId};
use tokio::task::JoinSet;

use super::{BOTH, Publisher, Stage, preamble};
use crate::support::{RawMedia, RawSignaling, soon, unit, video_metadata};

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Sends `bytes` on a group stream and on a baseline stream of fresh sessions over both
/// transports, and expects both to be refused with `code`.
async fn stream_is_refused(stage: &Stage, make: impl Fn(StreamId) -> Vec<u8>, finish: bool, code: Code) {
    let (server, meeting) = stage.parts();
    for kind in BOTH {
        let mut publisher = Publisher::start(server, meeting, kind, Features::GROUPS).await;
        let bytes = joined(&[&publisher.preamble(), &make(publisher.stream_id)]);
        let mut group = publisher.media.uni(&bytes).await;
        if finish {
            // There is nothing left to stop: the control stream alone tells.
            group.finish();
        } else {
            let stopped = soon("stop", group.delivered()).await.expect_err("the stream must be stopped");
            assert_eq!(stopped.code(), Some(code), "group stream, {kind:?}");
        }
        let told = publisher.media.control.next().await.and_then(|message| message.message);
        let Some(pb::media_server_message::Message::Error(error)) = told else { panic!("{told:?}") };
        assert_eq!(error.code(), pb::ErrorCode::StreamError);
        assert_eq!(error.details.get("close_code").map(String::as_str), Some(code.name()));
        assert_eq!(error.details.get("stream_id"), Some(&publisher.stream_id.to_string()));

        let publisher = Publisher::start(server, meeting, kind, Features::NONE).await;
        let (mut send, mut recv) = publisher.media.bi(&make(publisher.stream_id)).await;
        if finish {
            send.finish();
        }
        let reset = loop {
            match soon("reset", recv.read_chunk()).await {
                Ok(Some(_feedback)) => {}
                Ok(None) => panic!("the stream must be reset"),
                Err(error) => break error,
            }
        };
        assert_eq!(reset.code(), Some(code), "baseline stream, {kind:?}");
    }
}

pub(super) async fn unknown_unit_version_is_refused(stage: &Stage) {
    let make = |stream_id| {
        let mut bytes = unit(stream_id, FrameType::VideoKey, 0, 100).to_vec();
        bytes[0] = 2;
        bytes
    };
    stream_is_refused(stage, make, false, Code::UNSUPPORTED_VERSION).await;
}

pub(super) async fn truncated_header_is_refused(stage: &Stage) {
    let make = |stream_id| {
        let whole = unit(stream_id, FrameType::VideoKey, 0, 100);
        joined(&[&whole, &unit(stream_id, FrameType::VideoDelta, 1, 100)[..20]])
    };
    stream_is_refused(stage, make, true, Code::MALFORMED_UNIT).await;
}

pub(super) async fn payload_over_the_bound_is_refused_at_its_header(stage: &Stage) {
    let make = |stream_id| {
        let mut header = unit(stream_id, FrameType::VideoKey, 0, 0).to_vec();
        header[34..38].copy_from_slice(&u32::MAX.to_be_bytes());
        header
    };
    stream_is_refused(stage, make, false, Code::PAYLOAD_TOO_LARGE).await;
}

pub(super) async fn unit_of_another_stream_is_refused(stage: &Stage) {
    let make = |stream_id| {
        let first = unit(stream_id, FrameType::VideoKey, 0, 100);
        joined(&[&first, &unit(StreamId::generate(), FrameType::VideoDelta, 1, 100)])
    };
    stream_is_refused(stage, make, false, Code::WRONG_STREAM).await;
}

pub(super) async fn audio_on_a_video_stream_is_refused(stage: &Stage) {
    let make = |stream_id| unit(stream_id, FrameType::Audio, 0, 100).to_vec();
    stream_is_refused(stage, make, false, Code::PROTOCOL_VIOLATION).await;
}

pub(super) async fn unregistered_stream_is_held_for_a_second_then_refused(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let publisher = Publisher::start(server, meeting, TransportKind::Native, Features::GROUPS).await;

    let foreign = StreamId::generate();
    let bytes = joined(&[&preamble(foreign), &unit(foreign, FrameType::VideoKey, 0, 100)]);
    let began = Instant::now();
    let group = publisher.media.uni(&bytes).await;
    let stopped = soon("stop", group.delivered()).await.expect_err("the stream must be stopped");
    assert_eq!(stopped.code(), Some(Code::STREAM_NOT_REGISTERED));
    assert!(began.elapsed() >= Duration::from_secs(1), "registration may take a second");

    for kind in BOTH {
        let publisher = Publisher::start(server, meeting, kind, Features::NONE).await;
        let (_send, mut recv) = publisher.media.bi(&unit(foreign, FrameType::VideoKey, 0, 100)).await;
        let reset = soon("reset", recv.read_chunk()).await.expect_err("the stream must be reset");
        assert_eq!(reset.code(), Some(Code::STREAM_NOT_REGISTERED), "baseline, {kind:?}");
    }

    // A stream of somebody else is as unknown as one of nobody.
    let other = Publisher::start(server, meeting, TransportKind::Native, Features::GROUPS).await;
    let bytes = joined(&[&other.preamble(), &unit(other.stream_id, FrameType::VideoKey, 0, 100)]);
    let group = publisher.media.uni(&bytes).await;
    let stopped = soon("stop", group.delivered()).await.expect_err("the stream must be stopped");
    assert_eq!(stopped.code(), Some(Code::STREAM_NOT_REGISTERED));
}

pub(super) async fn media_that_overtakes_its_registration_is_kept(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let publisher = Publisher::start(server, meeting, TransportKind::Native, Features::GROUPS).await;
    let early = StreamId::generate();
    let bytes = joined(&[&preamble(early), &unit(early, FrameType::VideoKey, 0, 100)]);
    let mut group = publisher.media.uni(&bytes).await;
    publisher.signaling.publish(early, video_metadata()).await.expect("publish");
    group.finish();
    soon("delivery", group.delivered()).await.expect("the stream is taken");
}

pub(super) async fn unknown_unit_types_are_skipped(stage: &Stage) {
    let (server, meeting) = stage.parts();
    for kind in BOTH {
        let publisher = Publisher::start(server, meeting, kind, Features::GROUPS).await;
        let id = publisher.stream_id;
        let subscriber = RawSignaling::join(server, meeting, "Bob", kind).await;
        let media = RawMedia::open(server, &subscriber.media, kind, Features::GROUPS).await;
        subscriber.subscribe(id).await.expect("subscribe");

        let strange = unit(id, FrameType::Unknown(0x42), 1, 70_000);
        let bytes = joined(&[
            &publisher.preamble(),
            &unit(id, FrameType::VideoKey, 0, 100),
            &strange,
            &unit(id, FrameType::VideoDelta, 2, 100),
        ]);
        let _group = publisher.media.uni(&bytes).await;

        let mut stream = soon("group", media.connection.accept_uni()).await.expect("a group");
        let mut decoder = darktower_protocol::group::GroupDecoder::new(Default::default());
        let mut sequences = Vec::new();
        while sequences.len() < 2 {
            let chunk = soon("units", stream.read_chunk()).await.expect("read").expect("more");
            decoder.push(chunk).expect("a group stream");
            while let Some(unit) = decoder.next_unit().expect("units") {
                sequences.push(unit.header().sequence());
            }
        }
        assert_eq!(sequences, [0, 2]);
        assert_eq!(decoder.skipped_units(), 0, "unknown types are not forwarded");
    }
}

pub(super) async fn streams_that_are_opened_and_never_written_are_timed_out(stage: &Stage) {
    let (server, meeting) = stage.parts();
    for kind in BOTH {
        let publisher = Publisher::start(server, meeting, kind, Features::GROUPS).await;
        let mut groups = Vec::new();
        for _ in 0..32 {
            // One byte, so that the stream exists for the server, and then silence.
            groups.push(publisher.media.uni(&publisher.preamble()[..1]).await);
        }
        let (_send, mut recv) =
            publisher.media.bi(&unit(publisher.stream_id, FrameType::VideoKey, 0, 10)[..9]).await;
        for group in groups {
            let stopped = soon("stop", group.delivered()).await.expect_err("the stream must be stopped");
            assert_eq!(stopped.code(), Some(Code::TIMED_OUT));
        }
        let reset = soon("reset", recv.read_chunk()).await.expect_err("the stream must be reset");
        assert_eq!(reset.code(), Some(Code::TIMED_OUT));
        // The session itself goes on.
        let bytes = joined(&[&publisher.preamble(), &unit(publisher.stream_id, FrameType::VideoKey, 0, 100)]);
        let mut group = publisher.media.uni(&bytes).await;
        group.finish();
        soon("delivery", group.delivered()).await.expect("the stream is taken");
    }
}

pub(super) async fn an_attach_without_subscription_is_refused(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let publisher = Publisher::start(server, meeting, TransportKind::Native, Features::NONE).await;
    for kind in BOTH {
        let signaling = RawSignaling::join(server, meeting, "Eve", kind).await;
        let media = RawMedia::open(server, &signaling.media, kind, Features::NONE).await;
        let (_send, mut recv) = media.bi(&unit(publisher.stream_id, FrameType::Attach, 0, 0)).await;
        let reset = soon("reset", recv.read_chunk()).await.expect_err("nobody may listen in");
        assert_eq!(reset.code(), Some(Code::NOT_SUBSCRIBED));
    }
}

pub(super) async fn an_attach_with_a_payload_is_refused(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let make = |stream_id| unit(stream_id, FrameType::Attach, 0, 1).to_vec();
    let publisher = Publisher::start(server, meeting, TransportKind::Native, Features::NONE).await;
    let (_send, mut recv) = publisher.media.bi(&make(publisher.stream_id)).await;
    let reset = soon("reset", recv.read_chunk()).await.expect_err("the stream must be reset");
    assert_eq!(reset.code(), Some(Code::PAYLOAD_TOO_LARGE));
}

/// Found in review: streams were known by their id alone, whatever the meeting.
pub(super) async fn a_stream_id_of_another_meeting_does_no_harm_there(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let alice = Publisher::start(server, meeting, TransportKind::Native, Features::GROUPS).await;
    let bob = RawSignaling::join(server, meeting, "Bob", TransportKind::Native).await;
    let bobs_media = RawMedia::open(server, &bob.media, TransportKind::Native, Features::GROUPS).await;
    bob.subscribe(alice.stream_id).await.expect("subscribe");

    let elsewhere = server.meeting().await;
    let eve = RawSignaling::join(server, elsewhere, "Eve", TransportKind::Native).await;
    eve.publish(alice.stream_id, video_metadata()).await.expect("her own meeting");
    let eves_media = RawMedia::open(server, &eve.media, TransportKind::Native, Features::GROUPS).await;
    let forged = unit(alice.stream_id, FrameType::VideoKey, 0, 666);
    let mut group = eves_media.uni(&joined(&[&alice.preamble(), &forged])).await;
    group.finish();
    soon("delivery", group.delivered()).await.expect("the stream is taken");
    eve.client.leave().await.expect("leave");

    let genuine = unit(alice.stream_id, FrameType::VideoKey, 0, 100);
    let _group = alice.media.uni(&joined(&[&alice.preamble(), &genuine])).await;
    let mut stream = soon("group", bobs_media.connection.accept_uni()).await.expect("a group");
    let mut received = Vec::new();
    while received.len() < alice.preamble().len() + genuine.len() {
        let chunk = soon("units", stream.read_chunk()).await.expect("read").expect("the stream goes on");
        received.extend_from_slice(&chunk);
    }
    assert!(received.ends_with(&genuine), "Eve's unit reached Bob");
}

/// Found in review: a unit that never becomes whole is held for as long as its stream is open.
pub(super) async fn unfinished_units_on_many_streams_are_bounded(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let publisher = Publisher::start(server, meeting, TransportKind::Native, Features::GROUPS).await;
    let whole = unit(publisher.stream_id, FrameType::VideoKey, 0, 4 << 20);
    let almost: Arc<[u8]> = joined(&[&publisher.preamble(), &whole[..3 << 20]]).into();
    // 8 MiB are allowed: two streams of 3 MiB may stay, and stay open.
    let mut streams = JoinSet::new();
    for _ in 0..16 {
        let mut send = soon("open", publisher.media.connection.open_uni()).await.expect("a stream");
        let almost = Arc::clone(&almost);
        streams.spawn(async move {
            match send.write_all(&almost).await {
                Ok(()) => send.delivered().await.map(|()| send).expect_err("the unit is not whole"),
                Err(error) => error,
            }
        });
    }
    for refused in 0..13 {
        let what = format!("refusal {refused} of 13");
        let error = soon(&what, streams.join_next()).await.expect("a stream").expect("no panic");
        assert_eq!(error.code(), Some(Code::CAPACITY_EXCEEDED));
    }
}

pub(super) async fn malformed_datagrams_are_left_out(stage: &Stage) {
    let (server, meeting) = stage.parts();
    for kind in BOTH {
        let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
        let publisher = Publisher::start(server, meeting, kind, features).await;
        for datagram in [&b""[..], b"\x02", b"\xd7\xff", &[0x01; 45], &[0x01; 300]] {
            publisher.media.connection.send_datagram(Bytes::copy_from_slice(datagram)).await.expect("sent");
        }
        publisher
            .media
            .connection
            .send_datagram(unit(StreamId::generate(), FrameType::Audio, 0, 100))
            .await
            .expect("sent");
        // The session goes on.
        let bytes = joined(&[&publisher.preamble(), &unit(publisher.stream_id, FrameType::VideoKey, 0, 100)]);
        let mut group = publisher.media.uni(&bytes).await;
        group.finish();
        soon("delivery", group.delivered()).await.expect("the stream is taken");
    }
}
