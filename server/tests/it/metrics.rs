//! What `/metrics` says after media has flowed, compared with the table in docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use darktower_client::api::NewMeeting;
use darktower_client::transport::{RecvStream, SendStream, TransportKind};
use darktower_client::{OutgoingFrame, PublishOptions, Publisher, SubscribeOptions};
use darktower_protocol::{Features, FrameType, MeetingId, StreamId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Mode, RawMedia, RawSignaling, TestServer, soon, unit, video_metadata};

/// Metrics that a server without trouble does not have.
const RARE: [&str; 2] = ["quic_handshakes_failed_total", "http_rate_limited_total"];

const CLASSES: [&str; 3] = ["audio", "delta", "key"];

/// A metric as the table describes it.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    kind: String,
    labels: BTreeSet<String>,
}

fn table() -> BTreeMap<String, Described> {
    let rows = include_str!("../../../docs/metrics.md").lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, _, ..] = cells[..] else { return None };
        let kind = ["counter", "gauge", "histogram"].into_iter().find(|known| *known == kind)?;
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        Some((name.trim_matches('`').to_owned(), Described { kind: kind.to_owned(), labels }))
    });
    rows.collect()
}

/// What a server exposes.
struct Scraped {
    kinds: BTreeMap<String, String>,
    /// Value and label names of each series, by its name with labels.
    series: BTreeMap<String, (f64, BTreeSet<String>)>,
}

impl Scraped {
    async fn get(server: &str) -> Self {
        let mut connection = soon("connect", TcpStream::connect(server)).await.expect("connected");
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n");
        soon("request", connection.write_all(request.as_bytes())).await.expect("sent");
        let mut answer = String::new();
        soon("answer", connection.read_to_string(&mut answer)).await.expect("received");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let (mut kinds, mut series) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some((name, kind)) =
                    comment.strip_prefix("TYPE ").and_then(|rest| rest.split_once(' '))
                {
                    assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "{name} has two types");
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let labels = name.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let value = value.parse().expect("a number");
            let earlier = series.insert(name.to_owned(), (value, labels.collect()));
            assert!(earlier.is_none(), "{name} is there twice");
        }
        Self { kinds, series }
    }

    fn value(&self, series: &str) -> f64 {
        self.series.get(series).unwrap_or_else(|| panic!("no {series}")).0
    }

    fn of_class(&self, name: &str, class: &str) -> f64 {
        self.value(&format!("{name}{{class=\"{class}\"}}"))
    }

    /// Label names of every series of a metric.
    fn labels(&self, name: &str, kind: &str) -> Vec<&BTreeSet<String>> {
        let one = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let series = self.series.iter().filter(|(series, _)| series.split('{').next() == Some(&one));
        series.map(|(_, (_, labels))| labels).collect()
    }
}

fn frame(frame_type: FrameType, number: u64, payload: usize) -> OutgoingFrame {
    let payload = vec![number as u8; payload].into();
    OutgoingFrame { frame_type, timestamp_us: 1_000_000 + number * 20_000, discardable: false, payload }
}

async fn send(publisher: &mut Publisher, frame: OutgoingFrame) {
    soon("send", publisher.send(frame)).await.expect("sent");
}

/// Gets the stream on a QUIC stream of its own, which nobody reads.
async fn blocked_subscriber(
    server: &TestServer,
    meeting: MeetingId,
    stream: StreamId,
) -> (RawSignaling, RawMedia, SendStream, RecvStream) {
    let kind = TransportKind::Native;
    let signaling = RawSignaling::join(server, meeting, "Blocked", kind).await;
    let media = RawMedia::open(server, &signaling.media, kind, Features::NONE).await;
    soon("subscribe", signaling.subscribe(stream)).await.expect("subscribed");
    let (send, recv) = media.bi(&unit(stream, FrameType::Attach, 0, 0)).await;
    (signaling, media, send, recv)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_table_is_exposed_with_its_type_and_labels_and_nothing_else() {
    let server = TestServer::start_with(|config| config.media.shards = 2).await;
    let created = server.api.create_meeting(&NewMeeting::named("Test")).await.expect("a meeting");
    let meeting = created.meeting_id;
    let url = created.meeting_url.strip_prefix("http://").expect("development mode");
    let (http, _) = url.split_once('/').expect("host and path");

    // Media: audio in datagrams, video in groups, to a subscriber each, and to one that does not read.
    let publisher = server.join(meeting, "Publisher", Mode::native()).await;
    let audience = server.join(meeting, "Audience", Mode::native()).await;
    let mut audio = publisher.publish(PublishOptions::audio("Opus", 48_000, 1)).await.expect("published");
    let mut video = publisher.publish(PublishOptions::video("VP8", 640, 360, 30)).await.expect("published");
    let subscribe = |stream| audience.subscribe(stream, SubscribeOptions::default());
    let mut hears = soon("subscribe", subscribe(audio.stream_id())).await.expect("subscribed");
    let mut sees = soon("subscribe", subscribe(video.stream_id())).await.expect("subscribed");
    let mut blocked = blocked_subscriber(&server, meeting, video.stream_id()).await;
    for number in 0..20 {
        let frame_type = if number % 10 == 0 { FrameType::VideoKey } else { FrameType::VideoDelta };
        send(&mut audio, frame(FrameType::Audio, number, 100)).await;
        send(&mut video, frame(frame_type, number, 10_000)).await;
        soon("audio", hears.next_frame()).await.expect("received");
        soon("video", sees.next_frame()).await.expect("received");
    }
    // It gets the stream: what comes now waits for it.
    let first = soon("the first unit", blocked.3.read_chunk()).await.expect("read");
    assert!(first.is_some(), "the stream goes on");
    let drained = tokio::spawn(async move { while let Ok(Some(_)) = sees.next_frame().await {} });
    // Trouble: tokens that are none, and a stream that is not registered.
    let kind = TransportKind::Native;
    let refused = RawSignaling::join_with_token(&server, meeting, "nonsense".to_owned(), kind).await;
    assert!(refused.is_err(), "refused");
    let stranger = RawSignaling::join(&server, meeting, "Stranger", kind).await;
    let mut session = RawMedia::connect(&server, &stranger.media, kind).await;
    session.hello("nonsense", Features::NONE).await;
    session.refusal().await;
    let session = RawMedia::open(&server, &stranger.media, kind, Features::NONE).await;
    soon("publish", stranger.publish(StreamId::from_bytes([1; 16]), video_metadata()))
        .await
        .expect("published");
    let (_half, mut reset) =
        session.bi(&unit(StreamId::from_bytes([2; 16]), FrameType::VideoKey, 0, 9)).await;
    soon("refusal", reset.read_chunk()).await.expect_err("not registered");

    // Until windows and buffers are full, and ages are taken, which is once a second.
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let mut numbers = 20..;
    soon("somebody behind", async {
        loop {
            pace.tick().await;
            send(&mut video, frame(FrameType::VideoKey, numbers.next().expect("endless"), 500_000)).await;
            let scraped = Scraped::get(http).await;
            let samples = |class: &str| scraped.of_class("media_backlog_age_seconds_count", class);
            if CLASSES.into_iter().any(|class| samples(class) > 0.0) {
                return;
            }
        }
    })
    .await;
    // Counters follow what has been sent.
    let scraped = soon("everything counted", async {
        loop {
            pace.tick().await;
            let scraped = Scraped::get(http).await;
            let sent = |class: &str| scraped.of_class("media_units_sent_total", class);
            let measured = |class: &str| scraped.of_class("media_forward_latency_seconds_count", class);
            if CLASSES.into_iter().all(|class| sent(class) == measured(class)) {
                return scraped;
            }
        }
    })
    .await;

    let table = table();
    for (name, described) in &table {
        let Some(kind) = scraped.kinds.get(name) else {
            assert!(RARE.contains(&name.as_str()), "{name} is not exposed");
            continue;
        };
        assert_eq!(*kind, described.kind, "type of {name}");
        let series = scraped.labels(name, kind);
        assert!(!series.is_empty(), "{name} has no series");
        series.iter().for_each(|labels| assert_eq!(**labels, described.labels, "labels of {name}"));
    }
    for name in scraped.kinds.keys() {
        assert!(table.contains_key(name), "{name} is not in the table");
    }

    for class in CLASSES {
        let value = |series: &str| scraped.of_class(series, class);
        let (received, sent) = (value("media_units_received_total"), value("media_units_sent_total"));
        assert!(received >= 2.0 && sent >= 2.0, "{class}: {received} received, {sent} sent");
        assert!(value("media_bytes_received_total") >= received * 100.0, "{class}");
        let all = format!("media_forward_latency_seconds_bucket{{class=\"{class}\",le=\"+Inf\"}}");
        assert_eq!(scraped.value(&all), sent, "{class}");
        let mean = value("media_forward_latency_seconds_sum") / sent;
        assert!(mean > 0.0 && mean < 20.0, "seconds, not microseconds: {mean}");
    }
    let (calls, packets) =
        (scraped.value("quic_udp_send_segments_count"), scraped.value("quic_udp_send_segments_sum"));
    assert!(calls > 0.0 && packets >= calls, "{packets} packets in {calls} calls");
    assert_eq!(scraped.value("media_sessions"), 4.0, "publisher, audience, blocked, stranger");

    drained.abort();
    drop(blocked);
}
