//! A well-behaved pair in the same meeting as a broken client: nothing of theirs may be lost.

use std::time::Duration;

use bytes::Bytes;
use darktower_client::{Meeting, OutgoingFrame, PublishOptions, Publisher, SubscribeOptions, Subscriber};
use darktower_protocol::{FrameType, MeetingId};
use tokio::task::JoinHandle;

use super::{Mode, TestServer, soon};

const FRAME_INTERVAL: Duration = Duration::from_millis(20);
const FRAMES_PER_GROUP: u64 = 25;

/// Publishes and receives video while something bad happens.
pub(crate) struct Witness {
    publisher: JoinHandle<(Publisher, u64)>,
    subscriber: JoinHandle<(Subscriber, Vec<u64>)>,
    stop: tokio_util::sync::CancellationToken,
    meetings: [Meeting; 2],
}

impl Witness {
    pub(crate) async fn start(server: &TestServer, meeting: MeetingId) -> Self {
        let alice = server.join(meeting, "Alice", Mode::native()).await;
        let bob = server.join(meeting, "Bob", Mode::webtransport()).await;
        let publisher = alice.publish(PublishOptions::video("VP8", 640, 360, 50)).await.expect("publish");
        let subscribed = bob.subscribe(publisher.stream_id(), SubscribeOptions::default());
        let subscriber = soon("subscribe", subscribed).await.expect("subscribe");
        let stop = tokio_util::sync::CancellationToken::new();
        let publisher = tokio::spawn(publish(publisher, stop.clone()));
        let subscriber = tokio::spawn(receive(subscriber));
        Self { publisher, subscriber, stop, meetings: [alice, bob] }
    }

    /// Stops publishing, and checks that every frame has arrived.
    pub(crate) async fn check(self) {
        self.stop.cancel();
        let (publisher, sent) = soon("publisher", self.publisher).await.expect("the publisher goes on");
        soon("finish", publisher.finish()).await.expect("finish");
        let (_, received) = soon("subscriber", self.subscriber).await.expect("the subscriber goes on");
        let expected: Vec<u64> = (0..sent).collect();
        assert_eq!(received, expected, "somebody else's frames were lost");
        for meeting in self.meetings {
            soon("leave", meeting.leave()).await.expect("leave");
        }
    }
}

async fn publish(mut publisher: Publisher, stop: tokio_util::sync::CancellationToken) -> (Publisher, u64) {
    let mut sent = 0;
    let mut ticks = tokio::time::interval(FRAME_INTERVAL);
    while !stop.is_cancelled() {
        ticks.tick().await;
        let is_key = sent % FRAMES_PER_GROUP == 0;
        let frame = OutgoingFrame {
            frame_type: if is_key { FrameType::VideoKey } else { FrameType::VideoDelta },
            timestamp_us: sent * 20_000,
            discardable: false,
            payload: Bytes::from(vec![sent as u8; if is_key { 20_000 } else { 2_000 }]),
        };
        publisher.send(frame).await.expect("the witness can publish");
        sent += 1;
    }
    (publisher, sent)
}

async fn receive(mut subscriber: Subscriber) -> (Subscriber, Vec<u64>) {
    let mut received = Vec::new();
    while let Some(frame) = subscriber.next_frame().await.expect("the witness can receive") {
        assert!(frame.payload.iter().all(|byte| *byte == frame.sequence as u8), "payload changed");
        received.push(frame.sequence);
    }
    (subscriber, received)
}
