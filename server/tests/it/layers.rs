//! Simulcast on a real path that becomes narrow and wide again.

use std::time::Duration;

use bytes::Bytes;
use darktower_client::{OutgoingFrame, PublishOptions, Publisher, SubscribeOptions, Subscriber};
use darktower_protocol::FrameType;
use tokio::task::JoinSet;

use crate::support::{Mode, Path, TestServer, soon};

const FRAME_INTERVAL: Duration = Duration::from_millis(33);

/// Sends one layer, whose name is in each frame, with a key frame whenever the server asks for one.
async fn publish(mut publisher: Publisher, frame_bytes: usize) {
    let mut feedback = publisher.feedback();
    let name = publisher.layer_id().as_bytes()[0];
    let mut ticks = tokio::time::interval(FRAME_INTERVAL);
    let mut wants_key_frame = true;
    for n in 0u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(wish) = feedback.next() => {
                wants_key_frame |= wish.key_frame_requested;
                ticks.tick().await;
            }
        }
        let is_key = std::mem::take(&mut wants_key_frame);
        let frame = OutgoingFrame {
            frame_type: if is_key { FrameType::VideoKey } else { FrameType::VideoDelta },
            timestamp_us: n * 33_333,
            discardable: false,
            payload: Bytes::from(vec![name; frame_bytes * if is_key { 2 } else { 1 }]),
        };
        if publisher.send(frame).await.is_err() {
            return;
        }
    }
}

/// Reads until 30 frames in a row are of this layer, the first of them a key frame.
async fn until_layer(subscriber: &mut Subscriber, name: &str) {
    let mut in_a_row = 0;
    let wanted = async {
        while in_a_row < 30 {
            let frame = subscriber.next_frame().await.expect("received").expect("a frame");
            let is_wanted = frame.payload.iter().all(|byte| *byte == name.as_bytes()[0]);
            if is_wanted && in_a_row == 0 && frame.frame_type != FrameType::VideoKey {
                continue;
            }
            in_a_row = if is_wanted { in_a_row + 1 } else { 0 };
        }
    };
    soon(name, wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_the_layer_that_its_path_carries() {
    let mut path = Path::open().await;
    let server = TestServer::start_with(|config| config.public_quic_url = Some(path.url())).await;
    path.lead_to(server.quic_address);
    let id = server.meeting().await;
    for mode in [Mode::native(), Mode::webtransport()] {
        path.set_rate(0);
        let alice = server.join(id, "Alice", Mode::native()).await;
        let layer = |layer_id: &str, max_bitrate| darktower_client::SimulcastLayer {
            layer_id: layer_id.to_owned(),
            max_bitrate,
            ..Default::default()
        };
        let mut options = PublishOptions::video("VP8", 1280, 720, 30);
        let video = options.metadata.video.as_mut().expect("video");
        // 2 Mbit/s and 200 kbit/s.
        video.simulcast_layers = vec![layer("low", 250_000), layer("high", 2_500_000)];
        let publishers = alice.publish_layers(options).await.expect("publish");
        let stream_id = publishers[0].stream_id();
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            let bytes = if publisher.layer_id() == "high" { 8_333 } else { 833 };
            publishing.spawn(publish(publisher, bytes));
        }
        let bob = server.join(id, "Bob", mode).await;
        let mut subscriber = soon("subscribe", bob.subscribe(stream_id, SubscribeOptions::default()))
            .await
            .expect("subscribed");
        until_layer(&mut subscriber, "high").await;
        path.set_rate(500_000);
        until_layer(&mut subscriber, "low").await;
        path.set_rate(0);
        until_layer(&mut subscriber, "high").await;
        publishing.shutdown().await;
        soon("leave", bob.leave()).await.expect("leave");
        soon("leave", alice.leave()).await.expect("leave");
    }
}
