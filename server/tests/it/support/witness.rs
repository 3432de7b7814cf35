//! A well-behaved pair in the same meeting as a broken client: nothing of theirs may be lost, and news go from one to the
//! other as fast as before.

use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_client::{
    Event, Events, Meeting, OutgoingFrame, PublishOptions, Publisher, SubscribeOptions, Subscriber,
};
use darktower_protocol::{FrameType, MeetingId};
use tokio::task::JoinHandle;

use super::{Mode, TestServer, soon};

const FRAME_INTERVAL: Duration = Duration::from_millis(20);
const FRAMES_PER_GROUP: u64 = 25;

/// News while all is quiet, and how long after each the next follows.
const QUIET_NEWS: u64 = 30;
const QUIET_INTERVAL: Duration = Duration::from_millis(10);

/// What was sent, and how long after each the next follows until so many were: many of them also if all is over soon, and
/// no more than one participant may send.
const INTERVALS: [(u64, Duration); 4] = [
    (QUIET_NEWS + 20, Duration::from_millis(2)),
    (QUIET_NEWS + 40, Duration::from_millis(10)),
    (QUIET_NEWS + 80, Duration::from_millis(50)),
    (u64::MAX, Duration::from_millis(600)),
];

/// By how much the news of others may be later meanwhile, half of them and all but a tenth: the clients that
/// misbehave share the processors of the machine with the server.
const LATER_MEDIAN: Duration = Duration::from_millis(100);
const LATER_TAIL: Duration = Duration::from_millis(500);

/// Publishes and receives video while something bad happens.
pub(crate) struct Witness {
    publisher: JoinHandle<(Publisher, u64)>,
    subscriber: JoinHandle<(Subscriber, Vec<u64>)>,
    news: JoinHandle<Latencies>,
    quiet: Latencies,
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
        let mut news = News { from: alice.clone(), to: bob.clone(), events: bob.events(), sent: 0 };
        // Where few messages may be sent, none is news.
        let all = INTERVALS.iter().map(|(until, _)| *until).rfind(|until| *until < u64::MAX);
        let most = if all < Some(server.limits.messages_per_minute.into()) { u64::MAX } else { 0 };
        let mut quiet = Latencies::default();
        while news.sent < QUIET_NEWS.min(most) && news.send(&mut quiet).await {
            tokio::time::sleep(QUIET_INTERVAL).await;
        }
        let stop = tokio_util::sync::CancellationToken::new();
        let news = tokio::spawn(news.go_on(most, stop.clone()));
        let publisher = tokio::spawn(publish(publisher, stop.clone()));
        let subscriber = tokio::spawn(receive(subscriber));
        Self { publisher, subscriber, news, quiet, stop, meetings: [alice, bob] }
    }

    /// Stops publishing, and checks that every frame has arrived, and news in time.
    pub(crate) async fn check(self) {
        self.stop.cancel();
        let (publisher, sent) = soon("publisher", self.publisher).await.expect("the publisher goes on");
        soon("finish", publisher.finish()).await.expect("finish");
        let (_, received) = soon("subscriber", self.subscriber).await.expect("the subscriber goes on");
        let expected: Vec<u64> = (0..sent).collect();
        assert_eq!(received, expected, "somebody else's frames were lost");
        let meanwhile = soon("news", self.news).await.expect("news go on");
        println!("events of others, quiet: {}; meanwhile: {meanwhile}", self.quiet);
        for (percent, later) in [(50, LATER_MEDIAN), (90, LATER_TAIL)] {
            let (before, after) = (self.quiet.percentile(percent), meanwhile.percentile(percent));
            assert!(after <= before + later, "news of others took {after:?} instead of {before:?}");
        }
        for meeting in self.meetings {
            soon("leave", meeting.leave()).await.expect("leave");
        }
    }
}

/// Messages from one participant to another.
struct News {
    from: Meeting,
    to: Meeting,
    events: Events,
    sent: u64,
}

impl News {
    /// Sends one and waits until it is there; `false` if no more may be sent.
    async fn send(&mut self, latencies: &mut Latencies) -> bool {
        self.sent += 1;
        let number = self.sent.to_be_bytes().to_vec();
        let to = [self.to.participant_id()];
        let sent_at = Instant::now();
        if self.from.broadcast("news", number.clone(), &to).await.is_err() {
            return false;
        }
        loop {
            match soon("news", self.events.next()).await.expect("the session is open") {
                Event::Broadcast { message_type, payload, .. } if message_type == "news" => {
                    assert_eq!(payload, number, "news are in order");
                    break;
                }
                _ => {}
            }
        }
        latencies.0.push(sent_at.elapsed());
        true
    }

    /// At most so many, until it is stopped.
    async fn go_on(mut self, most: u64, stop: tokio_util::sync::CancellationToken) -> Latencies {
        let mut latencies = Latencies::default();
        while !stop.is_cancelled() && self.sent < most && self.send(&mut latencies).await {
            let interval =
                INTERVALS.iter().find(|(until, _)| self.sent < *until).map(|(_, interval)| *interval);
            tokio::select! {
                () = tokio::time::sleep(interval.unwrap_or_default()) => {}
                () = stop.cancelled() => {}
            }
        }
        latencies
    }
}

/// How long news took.
#[derive(Debug, Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    /// Within which time so many percent were there; nothing if there were none.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, all] = [50, 90, 100].map(|percent| self.percentile(percent));
        write!(f, "{} of them, p50 {half:.1?}, p90 {most:.1?}, max {all:.1?}", self.0.len())
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
