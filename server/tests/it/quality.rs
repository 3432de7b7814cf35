//! What participants are told of how media gets through, and what publishers make of it.

use std::time::Duration;

use bytes::Bytes;
use darktower_client::{
    Event, Events, Meeting, NetworkGrade, OutgoingFrame, PublishOptions, Publisher, SimulcastLayer, StreamId,
    SubscribeOptions, Subscriber,
};
use darktower_protocol::{FrameType, MeetingId, ParticipantId};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{Mode, Path, Rest, TestServer, soon};

const FRAME_INTERVAL: Duration = Duration::from_millis(33);

/// Sends audio until the session ends.
async fn speak(mut publisher: Publisher) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for n in 0u64.. {
        ticks.tick().await;
        let payload = Bytes::from(vec![7; 80]);
        let frame = OutgoingFrame {
            frame_type: FrameType::Audio,
            timestamp_us: n * 20_000,
            discardable: false,
            payload,
        };
        if publisher.send(frame).await.is_err() {
            return;
        }
    }
}

/// An encoder: sends with `bitrate_bps` or the bit rate that it is advised, key frames when it is asked, and nothing
/// while it is paused.
async fn film(mut publisher: Publisher, bitrate_bps: u32) {
    let mut feedback = publisher.feedback();
    let mut ticks = tokio::time::interval(FRAME_INTERVAL);
    let (mut bitrate_bps, mut wants_key_frame) = (bitrate_bps, true);
    for n in 0u64.. {
        tokio::select! {
            biased;
            Some(wish) = feedback.next() => {
                wants_key_frame |= wish.key_frame_requested;
                if wish.target_bitrate_bps > 0 {
                    bitrate_bps = bitrate_bps.min(wish.target_bitrate_bps);
                }
                ticks.tick().await;
            }
            _ = ticks.tick() => {}
        }
        if publisher.is_paused() {
            wants_key_frame = true;
            continue;
        }
        let frame_type =
            if std::mem::take(&mut wants_key_frame) { FrameType::VideoKey } else { FrameType::VideoDelta };
        let payload = Bytes::from(vec![7; bitrate_bps as usize / 8 / 30]);
        let frame = OutgoingFrame { frame_type, timestamp_us: n * 33_333, discardable: false, payload };
        if publisher.send(frame).await.is_err() {
            return;
        }
    }
}

/// Publishes a camera of two layers, 200 kbit/s and 1 Mbit/s.
async fn camera(meeting: &Meeting, filming: &mut JoinSet<()>) -> (StreamId, [StreamId; 2]) {
    let layer = |layer_id: &str, max_bitrate| SimulcastLayer {
        layer_id: layer_id.to_owned(),
        max_bitrate,
        ..SimulcastLayer::default()
    };
    let mut options = PublishOptions::video("VP8", 1280, 720, 30);
    let video = options.metadata.video.as_mut().expect("video");
    video.simulcast_layers = vec![layer("low", 200_000), layer("high", 1_000_000)];
    let publishers = soon("publish", meeting.publish_layers(options)).await.expect("published");
    let (stream_id, layers) =
        (publishers[0].stream_id(), [0, 1].map(|n: usize| publishers[n].wire_stream_id()));
    for (publisher, bitrate_bps) in publishers.into_iter().zip([200_000, 1_000_000]) {
        filming.spawn(film(publisher, bitrate_bps));
    }
    (stream_id, layers)
}

async fn subscribe(meeting: &Meeting, stream_id: StreamId, layer: &str) -> Subscriber {
    let options = SubscribeOptions { preferred_layer: layer.to_owned(), ..SubscribeOptions::default() };
    soon("subscribe", meeting.subscribe(stream_id, options)).await.expect("subscribed")
}

/// Waits for an event.
async fn heard<T>(what: &str, events: &mut Events, is_it: impl Fn(&Event) -> Option<T>) -> T {
    let heard = async {
        loop {
            let event = events.next().await.expect("the session goes on");
            if let Some(it) = is_it(&event) {
                return it;
            }
        }
    };
    soon(what, heard).await
}

fn units_sent(meeting: &Meeting, wire_stream_id: StreamId) -> u64 {
    let statistics = meeting.statistics();
    let sent = statistics.streams.iter().find(|stream| stream.wire_stream_id == wire_stream_id);
    sent.map_or(0, |stream| stream.units)
}

/// Waits until a layer is sent no more: nothing of it for half a second.
async fn until_paused(meeting: &Meeting, wire_stream_id: StreamId) {
    let quiet = async {
        loop {
            let before = units_sent(meeting, wire_stream_id);
            tokio::time::sleep(Duration::from_millis(500)).await;
            if units_sent(meeting, wire_stream_id) == before {
                return;
            }
        }
    };
    soon("the layer is paused", quiet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_how_media_gets_through() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    for mode in [Mode::native(), Mode::webtransport()] {
        let alice = server.join(id, "Alice", mode).await;
        let bob = server.join(id, "Bob", mode).await;
        let (mut of_alice, mut of_bob) = (alice.events(), bob.events());
        let publisher = soon("publish", alice.publish(PublishOptions::audio("Opus", 48_000, 1))).await;
        let publisher = publisher.expect("published");
        let stream_id = publisher.stream_id();
        let speaking = tokio::spawn(speak(publisher));
        let subscriber = subscribe(&bob, stream_id, "").await;

        let quality = |wanted: Option<StreamId>| {
            move |event: &Event| match event {
                Event::StreamQuality { stream_id, available_bitrate_bps, packet_loss, .. }
                    if *stream_id == wanted && *available_bitrate_bps > 0 =>
                {
                    Some((*available_bitrate_bps, *packet_loss))
                }
                _ => None,
            }
        };
        let (available, loss) = heard("the downlink", &mut of_bob, quality(None)).await;
        assert!(available > 100_000 && loss < 0.5, "{available} {loss}");
        let (available, loss) = heard("the stream", &mut of_alice, quality(Some(stream_id))).await;
        assert!(available > 100_000 && loss < 0.5, "{available} {loss}");

        let graded = |wanted: &Meeting| {
            let wanted = wanted.participant_id();
            move |event: &Event| match event {
                Event::NetworkQuality(qualities) => {
                    let found = qualities.iter().find(|quality| quality.participant_id == wanted);
                    found.map(|quality| (quality.grade, quality.score))
                }
                _ => None,
            }
        };
        let mut fresh = alice.events();
        let (grade, score) = heard("the own score", &mut of_alice, graded(&alice)).await;
        assert_ne!(grade, NetworkGrade::NotMeasured);
        assert!(score.is_some_and(|score| (1.0..=4.5).contains(&score)), "{score:?}");
        let (grade, score) = heard("the grade of the other", &mut of_bob, graded(&alice)).await;
        assert_ne!(grade, NetworkGrade::NotMeasured);
        assert_eq!(score, None, "a score is its owner's alone");
        let known = bob.participants();
        let known = known.iter().find(|known| known.participant_id == alice.participant_id());
        assert_eq!(known.map(|known| known.network_grade), Some(grade));

        // Nothing new is not told every second: what is on its way, then silence of a second.
        let mut updates = 0;
        let _quiet = tokio::time::timeout(Duration::from_secs(3), async {
            loop {
                let event = fresh.next().await.expect("the session goes on");
                updates += u32::from(matches!(event, Event::StreamQuality { .. }));
            }
        })
        .await;
        assert!(updates <= 6, "{updates} updates in three seconds");
        speaking.abort();
        drop(subscriber);
        soon("leave", alice.leave()).await.expect("left");
        soon("leave", bob.leave()).await.expect("left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_nobody_watches_is_not_sent_and_comes_back_at_once() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    for mode in [Mode::native(), Mode::webtransport(), Mode::native().baseline()] {
        let alice = server.join(id, "Alice", mode).await;
        let mut filming = JoinSet::new();
        let (stream_id, [low, high]) = camera(&alice, &mut filming).await;
        let bob = server.join(id, "Bob", mode).await;
        let mut of_bob = subscribe(&bob, stream_id, "low").await;
        soon("a picture", of_bob.next_frame()).await.expect("received").expect("a frame");
        until_paused(&alice, high).await;
        let before = units_sent(&alice, low);
        // The one that is watched goes on.
        soon("a picture", of_bob.next_frame()).await.expect("received").expect("a frame");

        let carol = server.join(id, "Carol", mode).await;
        let asked = tokio::time::Instant::now();
        let mut of_carol = subscribe(&carol, stream_id, "high").await;
        let first = soon("a picture", of_carol.next_frame()).await.expect("received").expect("a frame");
        assert_eq!(first.frame_type, FrameType::VideoKey);
        assert!(first.payload.len() > 2_000, "{} bytes are the low layer", first.payload.len());
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?} until the picture", asked.elapsed());
        assert!(units_sent(&alice, low) > before);

        // Who gets the high layer may need the low one: it is sent although nobody asks for it.
        drop(of_bob);
        soon("leave", bob.leave()).await.expect("left");
        let before = units_sent(&alice, low);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(units_sent(&alice, low) > before + 30, "the low layer goes on");
        drop(of_carol);
        until_paused(&alice, low).await;
        until_paused(&alice, high).await;
        filming.shutdown().await;
        soon("leave", carol.leave()).await.expect("left");
        soon("leave", alice.leave()).await.expect("left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_advised_to_send_what_the_path_of_its_subscriber_carries() {
    let mut path = Path::open().await;
    let server = TestServer::start_with(|config| config.public_quic_url = Some(path.url())).await;
    path.lead_to(server.quic_address);
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let options = PublishOptions::video("VP8", 1280, 720, 30);
    let publisher = soon("publish", alice.publish(options)).await.expect("published");
    let (stream_id, mut feedback) = (publisher.stream_id(), publisher.feedback());
    let filming = tokio::spawn(film(publisher, 2_500_000));
    let bob = server.join(id, "Bob", Mode::native()).await;
    let mut subscriber = subscribe(&bob, stream_id, "").await;
    let watching = tokio::spawn(async move { while let Ok(Some(_)) = subscriber.next_frame().await {} });
    path.set_rate(500_000);
    let advised = async {
        loop {
            let wish = feedback.next().await.expect("the session goes on");
            if (50_000..=600_000).contains(&wish.target_bitrate_bps) {
                return;
            }
        }
    };
    soon("advice", advised).await;
    filming.abort();
    watching.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_layer_stays_paused_when_a_connection_wakes_up() {
    let mut path = Path::open().await;
    let server = TestServer::start_with(|config| config.public_quic_url = Some(path.url())).await;
    path.lead_to(server.quic_address);
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let mut filming = JoinSet::new();
    let (stream_id, [low, high]) = camera(&alice, &mut filming).await;
    let bob = server.join(id, "Bob", Mode::native()).await;
    let mut subscriber = subscribe(&bob, stream_id, "low").await;
    filming.spawn(async move { while let Ok(Some(_)) = subscriber.next_frame().await {} });
    until_paused(&alice, high).await;

    let mut events = alice.events();
    path.cut();
    heard("the loss", &mut events, |event| matches!(event, Event::Reconnecting).then_some(())).await;
    path.mend_for_those_before();
    let is_back = |event: &Event| match event {
        Event::Reconnected { rejoined, .. } => Some(*rejoined),
        _ => None,
    };
    assert!(!heard("the return", &mut events, is_back).await);
    // For a second, what somebody watches is sent, and nothing of the other.
    let (sent, paused) = (units_sent(&alice, low), units_sent(&alice, high));
    let goes_on = async {
        while units_sent(&alice, low) < sent + 30 {
            tokio::time::sleep(FRAME_INTERVAL).await;
        }
    };
    soon("the lower layer", goes_on).await;
    assert_eq!(units_sent(&alice, high), paused);
    filming.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_layer_comes_when_it_is_asked_for() {
    let server = TestServer::start().await;
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let mut filming = JoinSet::new();
    let (stream_id, layers) = camera(&alice, &mut filming).await;
    for mode in [Mode::native(), Mode::native().baseline(), Mode::webtransport().baseline()] {
        let bob = server.join(id, "Bob", mode).await;
        let mut subscriber = subscribe(&bob, stream_id, "low").await;
        // There and back.
        for (layer, wire_stream_id) in [("", layers[0]), ("high", layers[1]), ("low", layers[0])] {
            if !layer.is_empty() {
                let options =
                    SubscribeOptions { preferred_layer: layer.to_owned(), ..SubscribeOptions::default() };
                soon("the change", bob.update_subscription(stream_id, options)).await.expect("changed");
            }
            let comes = async {
                loop {
                    let unit = subscriber.next_unit().await.expect("the session goes on");
                    if unit.expect("the stream goes on").header().stream_id() == wire_stream_id {
                        return;
                    }
                }
            };
            soon("the layer", comes).await;
        }
        drop(subscriber);
        soon("leave", bob.leave()).await.expect("left");
    }
    filming.shutdown().await;
}

/// The totals of the session of a meeting, when they are of so many participants.
async fn totals(rest: &Rest, meeting: MeetingId, count: u64) -> (String, Vec<Value>) {
    let sessions = rest.get(&format!("/sessions?meeting_id={meeting}")).await;
    let session = sessions["sessions"][0]["session_id"].as_str().expect("a session").to_owned();
    let listed = async {
        loop {
            let listed = rest.get(&format!("/sessions/{session}/quality")).await;
            if listed["total"].as_u64() >= Some(count) {
                return listed["participants"].as_array().expect("a list").clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let totals = soon("totals", listed).await;
    (session, totals)
}

fn of(totals: &[Value], participant: ParticipantId) -> &Value {
    let id = participant.to_string();
    totals.iter().find(|total| total["participant_id"] == *id).expect("is among them")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_kept_for_reports_when_somebody_leaves_and_when_the_server_stops() {
    let server = TestServer::start().await;
    let rest = server.rest();
    let id = server.meeting().await;
    let alice = server.join(id, "Alice", Mode::native()).await;
    let bob = server.join(id, "Bob", Mode::webtransport()).await;
    let (alices, bobs) = (alice.participant_id(), bob.participant_id());
    let publisher = soon("publish", alice.publish(PublishOptions::audio("Opus", 48_000, 1))).await;
    let publisher = publisher.expect("published");
    let stream_id = publisher.stream_id();
    let speaking = tokio::spawn(speak(publisher));
    let mut subscriber = subscribe(&bob, stream_id, "").await;
    // Two seconds of audio: the server has looked once at least while it came.
    for _ in 0..100 {
        soon("audio", subscriber.next_frame()).await.expect("received").expect("a frame");
    }
    drop(subscriber);
    soon("leave", bob.leave()).await.expect("left");
    let (session, listed) = totals(&rest, id, 1).await;
    let total = of(&listed, bobs);
    assert_eq!((listed.len(), &total["published_audio"]["bitrate_bps"]), (1, &Value::from(0)));
    // 80 bytes and the header, 50 times a second; the first second may have begun before the audio.
    let bitrate = total["received"]["bitrate_bps"].as_u64().expect("a number");
    assert!((5_000..=80_000).contains(&bitrate), "{total}");
    let score = total["score"].as_f64().expect("a number");
    assert!((1.0..=4.5).contains(&score) && total["lowest_score"].as_f64() <= Some(score), "{total}");
    let samples = rest.get(&format!("/sessions/{session}/participants/{bobs}/quality")).await;
    let sample = &samples["samples"][0];
    assert_eq!(samples["total"], 1, "less than ten seconds are one sample: {samples}");
    for same in ["duration_seconds", "score", "rtt_ms", "received", "grade"] {
        assert_eq!(sample[same], total[same], "{same}");
    }
    let graded: f64 = ["excellent", "good", "fair", "poor"]
        .iter()
        .map(|grade| total["grade_seconds"][grade].as_f64().expect("a number"))
        .sum();
    assert_eq!(Some(graded), total["duration_seconds"].as_f64(), "{total}");

    // Alice stays until the server stops.
    let stays = rest.get(&format!("/sessions/{session}/participants/{alices}/quality")).await;
    let data = server.stop_and_keep_data().await;
    speaking.abort();
    let server = TestServer::start_in(data, |_| ()).await;
    let (_, listed) = totals(&server.rest(), id, 2).await;
    let bitrate = of(&listed, alices)["published_audio"]["bitrate_bps"].as_u64().expect("a number");
    assert!((5_000..=80_000).contains(&bitrate), "{listed:?} after {stays}");
}
