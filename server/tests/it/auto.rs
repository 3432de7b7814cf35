//! Subscribing to the meeting: who speaks comes into view without a request.

use std::time::{Duration, Instant};

use darktower_client::transport::TransportKind;
use darktower_client::{AutoOptions, Error, Event, Meeting, OutgoingFrame, PublishOptions};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Features, FrameType, StreamId};
use pb::envelope::Message;
use tokio::task::JoinSet;

use crate::support::{
    Mode, RawMedia, RawSignaling, TestServer, audio_metadata, join, soon, unit, video_metadata,
};

const NATIVE: TransportKind = TransportKind::Native;

/// Publishes a key frame every 50 ms, each a group of its own, until the session ends.
async fn show(media: RawMedia, camera: StreamId) {
    for sequence in 0.. {
        let preamble = GroupPreamble {
            kind: GroupKind::Video,
            continuation: false,
            discontinuity: false,
            stream_id: camera,
            group: sequence,
            first_sequence: sequence,
        };
        let mut bytes = preamble.encode().to_vec();
        bytes.extend_from_slice(&unit(camera, FrameType::VideoKey, sequence, 1000));
        media.uni(&bytes).await.finish();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The stream of the next video that arrives. A group of a stream that is given up may end before it says which it is.
async fn seen(media: &RawMedia) -> StreamId {
    loop {
        let mut recv = media.connection.accept_uni().await.expect("a group");
        let mut head = Vec::new();
        while let Ok(Some(chunk)) = recv.read_chunk().await {
            head.extend_from_slice(&chunk);
            if let Some((preamble, _)) = GroupPreamble::decode(&head).expect("a preamble") {
                return preamble.stream_id;
            }
        }
    }
}

fn list(message: &Message) -> Option<pb::AutoSubscriptionsChanged> {
    match message {
        Message::AutoSubscriptionsChanged(changed) => Some(changed.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_is_seen_within_a_second_by_those_who_let_the_server_choose() {
    let server = TestServer::start().await;
    let meeting = server.meeting().await;
    let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
    let mut tasks = JoinSet::new();
    let mut people: Vec<(RawSignaling, StreamId, StreamId)> = Vec::new();
    for name in ["Ada", "Bob", "Carol"] {
        let person = join(&server, meeting, name, "video_participant").await;
        let media = RawMedia::open(&server, &person.media, NATIVE, features).await;
        let (camera, microphone) = (StreamId::generate(), StreamId::generate());
        person.publish(camera, video_metadata()).await.expect("published");
        person.publish(microphone, audio_metadata()).await.expect("published");
        tasks.spawn(show(media, camera));
        people.push((person, camera, microphone));
    }
    let mut viewer = join(&server, meeting, "Viewer", "video_participant").await;
    let media = RawMedia::open(&server, &viewer.media, NATIVE, features).await;
    let auto = pb::SubscribeAuto { on: true, max_video_streams: 2, ..Default::default() };
    viewer.done(Message::SubscribeAuto(auto)).await;
    let told = viewer.event("the list", list).await;
    let mut listed: Vec<String> = told.subscribed.iter().map(|one| one.stream_id.clone()).collect();
    let [ada, bob, carol] = [0, 1, 2].map(|n| people[n].1);
    let mut expected: Vec<String> = people.iter().map(|(_, _, microphone)| microphone.to_string()).collect();
    expected.extend([ada.to_string(), bob.to_string()]);
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected, "all audio, and who came first of the cameras");
    for wanted in [ada, bob] {
        soon("video of the first two", async { while seen(&media).await != wanted {} }).await;
    }

    let (speaker, _, microphone) = &people[2];
    let levels = vec![pb::AudioLevel { stream_id: microphone.to_string(), level: 10 }];
    let speaks = async {
        loop {
            speaker.done(Message::AudioLevels(pb::AudioLevels { levels: levels.clone() })).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let comes_into_view = async {
        let changed = |message: &Message| matches!(message, Message::ActiveSpeakerChanged(_)).then_some(());
        viewer.event("who speaks", changed).await;
        let changed_at = Instant::now();
        let told = viewer.event("the list", list).await;
        while seen(&media).await != carol {}
        (told, changed_at.elapsed())
    };
    let (told, took) = tokio::select! {
        () = speaks => unreachable!("she does not stop"),
        came = soon("video of who speaks", comes_into_view) => came,
    };
    println!("who speaks is seen after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(told.subscribed.iter().map(|one| &one.stream_id).collect::<Vec<_>>(), [&carol.to_string()]);
    assert_eq!(told.unsubscribed_stream_ids, [bob.to_string()], "the latest comer of those who are silent");
    // What was on its way arrives; then only two are left.
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        seen(&media).await;
    }
    for _ in 0..20 {
        assert_ne!(soon("video", seen(&media)).await, bob);
    }
}

/// Publishes a camera that sends a key frame every 20 ms until the meeting is left.
async fn film(meeting: &Meeting) -> StreamId {
    let options = PublishOptions::video("VP8", 640, 360, 50);
    let mut publisher = meeting.publish(options).await.expect("published");
    let stream_id = publisher.stream_id();
    tokio::spawn(async move {
        for timestamp_us in (0..).step_by(20_000) {
            let payload = vec![7; 500].into();
            let frame =
                OutgoingFrame { frame_type: FrameType::VideoKey, timestamp_us, discardable: false, payload };
            if publisher.send(frame).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    stream_id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_hands_out_what_the_server_chooses() {
    let server = TestServer::start().await;
    for mode in [Mode::native(), Mode::native().baseline(), Mode::webtransport()] {
        let meeting_id = server.meeting().await;
        let (ada, bob) =
            (server.join(meeting_id, "Ada", mode).await, server.join(meeting_id, "Bob", mode).await);
        let cameras = [film(&ada).await, film(&bob).await];
        let viewer = server.join(meeting_id, "Viewer", mode).await;
        let options = AutoOptions { max_video_streams: 1, ..AutoOptions::default() };
        let mut auto = viewer.subscribe_auto(options.clone()).await.expect("taken");
        let twice = viewer.subscribe_auto(options.clone()).await;
        assert!(matches!(twice, Err(Error::Invalid(_))), "{twice:?}");
        let (who, mut first) = soon("a choice", auto.next()).await.expect("it goes on");
        assert_eq!((who, first.stream_id()), (ada.participant_id(), cameras[0]));
        soon("video", first.next_frame()).await.expect("it goes on").expect("a frame");

        // Bob is pinned: Ada goes.
        let pinned = AutoOptions { pinned: vec![bob.participant_id()], ..options };
        auto.set_options(pinned).await.expect("taken");
        let (who, mut second) = soon("a choice", auto.next()).await.expect("it goes on");
        assert_eq!((who, second.stream_id()), (bob.participant_id(), cameras[1]));
        soon("video", second.next_frame()).await.expect("it goes on").expect("a frame");
        let over = async { while first.next_frame().await.expect("it goes on").is_some() {} };
        soon("the end of what was given up", over).await;

        // Who is not wanted makes room.
        drop(second);
        let (who, mut third) = soon("a choice", auto.next()).await.expect("it goes on");
        assert_eq!(who, ada.participant_id());
        soon("video", third.next_frame()).await.expect("it goes on").expect("a frame");
        // What is asked for stays when nothing is chosen any more.
        viewer.update_subscription(cameras[0], Default::default()).await.expect("taken");
        drop(auto);
        let mut own = viewer.subscribe(cameras[1], Default::default()).await.expect("subscribed");
        soon("video", own.next_frame()).await.expect("it goes on").expect("a frame");
        for _ in 0..30 {
            soon("video", third.next_frame()).await.expect("it goes on").expect("a frame");
        }
        for meeting in [viewer, ada, bob] {
            meeting.leave().await.expect("left");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_before_the_application_has_taken_it_waits_no_more() {
    let server = TestServer::start().await;
    let meeting_id = server.meeting().await;
    let ada = server.join(meeting_id, "Ada", Mode::native()).await;
    let viewer = server.join(meeting_id, "Viewer", Mode::native()).await;
    let mut events = viewer.events();
    let mut auto = viewer.subscribe_auto(AutoOptions::default()).await.expect("taken");
    let mut audio = Vec::new();
    for _ in 0..3 {
        let publisher = ada.publish(PublishOptions::audio("Opus", 48_000, 1)).await.expect("published");
        let chosen =
            async { while !matches!(events.next().await, Some(Event::AutoSubscriptionsChanged { .. })) {} };
        soon("the choice", chosen).await;
        audio.push(publisher);
    }
    let stays = audio.remove(1);
    for publisher in audio {
        publisher.finish().await.expect("finished");
        let over = async { while !matches!(events.next().await, Some(Event::StreamUnpublished { .. })) {} };
        soon("the end", over).await;
    }
    let (_, subscriber) = soon("a choice", auto.next()).await.expect("it goes on");
    assert_eq!(subscriber.stream_id(), stays.stream_id());
    let other = tokio::time::timeout(Duration::from_millis(100), auto.next()).await;
    assert!(other.is_err(), "nothing else waits");
}
