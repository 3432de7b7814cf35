//! Subscribing to the meeting: who speaks comes into view without a request.

use std::time::{Duration, Instant};

use darktower_client::transport::TransportKind;
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Features, FrameType, StreamId};
use pb::envelope::Message;
use tokio::task::JoinSet;

use crate::support::{RawMedia, RawSignaling, TestServer, audio_metadata, join, soon, unit, video_metadata};

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
