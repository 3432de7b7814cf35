//! Real clips through the whole server, compared bit for bit.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_client::container::{self, Codec, Sample};
use darktower_client::{
    Frame, Meeting, OutgoingFrame, PublishOptions, Publisher, SubscribeOptions, Subscriber,
};
use darktower_protocol::{FrameType, MeetingId};

use crate::support::{Mode, TestServer, soon};

/// The clips that `cargo xtask media` makes.
fn clip(name: &str) -> PathBuf {
    let folder = std::env::var_os("DARKTOWER_MEDIA_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/media")),
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask media`", path.display());
    path
}

fn samples(name: &str) -> (Codec, Vec<Sample>) {
    let mut reader = container::open(clip(name)).expect("a clip");
    let codec = reader.info().codec;
    let samples = std::iter::from_fn(|| reader.next_sample().expect("a sound clip")).collect();
    (codec, samples)
}

fn options(codec: Codec) -> PublishOptions {
    match codec.is_video() {
        true => PublishOptions::video(codec.name(), 640, 360, 30),
        false => PublishOptions::audio(codec.name(), 48_000, 1),
    }
}

fn frame(codec: Codec, sample: &Sample) -> OutgoingFrame {
    let frame_type = match (codec.is_video(), sample.keyframe) {
        (false, _) => FrameType::Audio,
        (true, true) => FrameType::VideoKey,
        (true, false) => FrameType::VideoDelta,
    };
    OutgoingFrame {
        frame_type,
        timestamp_us: 1_700_000_000_000_000
            + u64::try_from(sample.timestamp.as_micros()).expect("a short clip"),
        discardable: sample.discardable,
        payload: sample.data.clone(),
    }
}

/// Sends samples at `speed` times their own pace.
async fn send_paced(publisher: &mut Publisher, codec: Codec, samples: &[Sample], speed: f64) {
    let began = tokio::time::Instant::now();
    for sample in samples {
        tokio::time::sleep_until(began + sample.timestamp.div_f64(speed)).await;
        publisher.send(frame(codec, sample)).await.expect("sent");
    }
}

async fn receive_all(mut subscriber: Subscriber) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = subscriber.next_frame().await.expect("received") {
        frames.push(frame);
    }
    frames
}

async fn subscribe(meeting: &Meeting, publisher: &Publisher) -> Subscriber {
    let subscribed = meeting.subscribe(publisher.stream_id(), SubscribeOptions::default());
    soon("subscribe", subscribed).await.expect("subscribed")
}

/// Publishes a clip in `mode` and compares what a subscriber in the same mode gets.
async fn clip_arrives_bit_for_bit(name: &str, mode: Mode) {
    let (codec, samples) = samples(name);
    let server = TestServer::start().await;
    let id: MeetingId = server.meeting().await;
    let alice = server.join(id, "Alice", mode).await;
    let bob = server.join(id, "Bob", mode).await;
    let mut publisher = alice.publish(options(codec)).await.expect("publish");
    let receiving = tokio::spawn(receive_all(subscribe(&bob, &publisher).await));
    send_paced(&mut publisher, codec, &samples, 4.0).await;
    soon("finish", publisher.finish()).await.expect("finish");
    let frames = soon("the end of the stream", receiving).await.expect("no panic");

    assert_eq!(frames.len(), samples.len(), "{name}: frames");
    for (index, (got, sent)) in frames.iter().zip(&samples).enumerate() {
        let expected = frame(codec, sent);
        assert!(got.payload == sent.data, "{name}: payload of frame {index} differs");
        assert_eq!(got.frame_type, expected.frame_type, "{name}: type of frame {index}");
        assert_eq!(got.timestamp_us, expected.timestamp_us, "{name}: timestamp of frame {index}");
        assert_eq!(got.discardable, sent.discardable, "{name}: flag of frame {index}");
    }
    soon("leave", alice.leave()).await.expect("leave");
    soon("leave", bob.leave()).await.expect("leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_clip_is_bit_exact_in_groups_over_quic() {
    clip_arrives_bit_for_bit("bot1-vp8.ivf", Mode::native()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_clip_is_bit_exact_in_groups_over_webtransport() {
    clip_arrives_bit_for_bit("bot1-vp8.ivf", Mode::webtransport()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_clip_is_bit_exact_in_baseline_over_quic() {
    clip_arrives_bit_for_bit("bot1-vp8.ivf", Mode::native().baseline()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_clip_is_bit_exact_in_baseline_over_webtransport() {
    clip_arrives_bit_for_bit("bot1-vp8.ivf", Mode::webtransport().baseline()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_codecs_are_bit_exact() {
    for name in ["bot2-vp9.ivf", "bot3-h264.h264", "av1.ivf"] {
        clip_arrives_bit_for_bit(name, Mode::native()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn speech_is_bit_exact_in_datagrams_and_on_streams() {
    for mode in
        [Mode::native(), Mode::webtransport(), Mode::native().baseline(), Mode::webtransport().baseline()]
    {
        clip_arrives_bit_for_bit("bot1-speech.ogg", mode).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_and_transports_mix_in_one_meeting() {
    let (codec, samples) = samples("bot1-vp8.ivf");
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native().baseline()).await;
    let mut publisher = alice.publish(options(codec)).await.expect("publish");
    let mut receiving = Vec::new();
    for mode in
        [Mode::native(), Mode::webtransport(), Mode::native().baseline(), Mode::webtransport().baseline()]
    {
        let bob = server.join(id, "Bob", mode).await;
        let subscriber = subscribe(&bob, &publisher).await;
        receiving.push(tokio::spawn(async move {
            let frames = receive_all(subscriber).await;
            soon("leave", bob.leave()).await.expect("leave");
            frames
        }));
    }
    send_paced(&mut publisher, codec, &samples, 4.0).await;
    soon("finish", publisher.finish()).await.expect("finish");
    for frames in receiving {
        let frames = soon("the end of the stream", frames).await.expect("no panic");
        assert!(frames.iter().map(|frame| &frame.payload).eq(samples.iter().map(|sample| &sample.data)));
    }
}

/// A publisher of 10 s groups that is 3 s into its first group.
struct LongGroups {
    server: TestServer,
    id: MeetingId,
    _alice: Meeting,
    publisher: Publisher,
    codec: Codec,
    samples: Vec<Sample>,
    sent: usize,
}

impl LongGroups {
    async fn start() -> Self {
        let (codec, samples) = samples("late-join-vp8.ivf");
        let group = samples.iter().skip(1).position(|sample| sample.keyframe).expect("a second group") + 1;
        assert_eq!(samples[group].timestamp, Duration::from_secs(10), "the clip has 10 s groups");
        let server = TestServer::start().await;
        let id = server.meeting().await;
        let alice = server.join(id, "Alice", Mode::native()).await;
        let mut publisher = alice.publish(options(codec)).await.expect("publish");
        let sent = samples.iter().position(|sample| sample.timestamp >= Duration::from_secs(3)).expect("3 s");
        send_paced(&mut publisher, codec, &samples[..sent], 1.0).await;
        Self { server, id, _alice: alice, publisher, codec, samples, sent }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_joiner_gets_the_cached_group_of_a_publisher_that_cannot_make_key_frames() {
    let mut live = LongGroups::start().await;
    for mode in [Mode::native(), Mode::webtransport(), Mode::native().baseline()] {
        let bob = live.server.join(live.id, "Bob", mode).await;
        let asked = Instant::now();
        let mut subscriber = subscribe(&bob, &live.publisher).await;
        let first =
            soon("the first frame", subscriber.next_frame()).await.expect("received").expect("a frame");
        let waited = asked.elapsed();
        assert_eq!((first.frame_type, first.sequence), (FrameType::VideoKey, 0));
        assert!(waited < Duration::from_secs(5), "waited {waited:?}; the next key frame is 7 s away");
        // What follows is the rest of the group without a gap, into what is live.
        let (codec, sample) = (live.codec, live.samples[live.sent].clone());
        live.publisher.send(frame(codec, &sample)).await.expect("sent");
        live.sent += 1;
        for index in 1..live.sent {
            let next =
                soon("the next frame", subscriber.next_frame()).await.expect("received").expect("a frame");
            assert_eq!(next.sequence, index as u64);
            assert!(next.payload == live.samples[index].data, "frame {index} differs");
        }
        soon("leave", bob.leave()).await.expect("leave");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_joiner_starts_at_the_key_frame_it_makes_the_publisher_send() {
    for mode in [Mode::native(), Mode::native().baseline(), Mode::webtransport()] {
        let server = TestServer::start().await;
        let id = server.meeting().await;
        let alice = server.join(id, "Alice", mode).await;
        let mut publisher = alice.publish(PublishOptions::video("VP8", 640, 360, 30)).await.expect("publish");
        let picture = |frame_type, n: u64| OutgoingFrame {
            frame_type,
            timestamp_us: n * 33_333,
            discardable: false,
            payload: Bytes::from(vec![n as u8; 1000]),
        };
        publisher.send(picture(FrameType::VideoKey, 0)).await.expect("sent");
        // Time itself is under test: the group becomes older than what a newcomer is given at once (1 s).
        tokio::time::sleep(Duration::from_millis(1100)).await;
        publisher.send(picture(FrameType::VideoDelta, 1)).await.expect("sent");

        let mut feedback = publisher.feedback();
        let bob = server.join(id, "Bob", Mode::native()).await;
        let mut subscriber = subscribe(&bob, &publisher).await;
        let asked = soon("a key-frame request", feedback.next()).await.expect("feedback");
        assert!(asked.key_frame_requested);
        publisher.send(picture(FrameType::VideoKey, 2)).await.expect("sent");
        let first =
            soon("the first frame", subscriber.next_frame()).await.expect("received").expect("a frame");
        assert_eq!((first.frame_type, first.sequence), (FrameType::VideoKey, 2), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simulcast_layers_are_streams_of_their_own() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let layer = |layer_id: &str, max_bitrate| darktower_client::SimulcastLayer {
        layer_id: layer_id.to_owned(),
        max_bitrate,
        ..Default::default()
    };
    let mut options = PublishOptions::video("VP8", 640, 360, 30);
    let video = options.metadata.video.as_mut().expect("video");
    video.simulcast_layers = vec![layer("low", 200_000), layer("high", 1_000_000)];
    let mut publishers = alice.publish_layers(options).await.expect("publish");
    let bob = server.join(id, "Bob", Mode::native()).await;
    let wanted = SubscribeOptions { preferred_layer: "low".to_owned(), ..SubscribeOptions::default() };
    let mut subscriber =
        soon("subscribe", bob.subscribe(publishers[0].stream_id(), wanted)).await.expect("subscribed");
    for publisher in &mut publishers {
        let payload = Bytes::from(publisher.layer_id().to_owned());
        let frame =
            OutgoingFrame { frame_type: FrameType::VideoKey, timestamp_us: 1, discardable: false, payload };
        publisher.send(frame).await.expect("sent");
    }
    let frame = soon("the first frame", subscriber.next_frame()).await.expect("received").expect("a frame");
    assert_eq!(frame.payload, "low");
}
