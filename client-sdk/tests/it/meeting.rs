//! Joining, publishing and subscribing: what goes to the mirror comes back bit for bit.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use darktower_client::signaling::{SignalingClient, pb};
use darktower_client::{
    ChatQuery, Code, Direction, Error, Event, Features, Frame, FrameType, JoinOptions, Meeting,
    OutgoingFrame, PublishOptions, StreamId, StreamType, SubscribeOptions, TransportKind, Trust,
};

use crate::mirror::{MAX_VIDEO_PAYLOAD, Mirror, WAITING, WAITING_TOKEN};

async fn join(mirror: &Mirror, kind: TransportKind, features: Features) -> Meeting {
    let options = JoinOptions::default().transport(kind).features(features);
    Meeting::join(&mirror.grant, options).await.unwrap()
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Frames of one to five units, a key frame every ten.
fn video(count: u64) -> Vec<OutgoingFrame> {
    (0..count)
        .map(|i| OutgoingFrame {
            frame_type: if i % 10 == 0 { FrameType::VideoKey } else { FrameType::VideoDelta },
            timestamp_us: now_us() + i,
            discardable: i % 3 == 2,
            payload: (0..1 + i * 97 % (5 * u64::from(MAX_VIDEO_PAYLOAD))).map(|n| (n ^ i) as u8).collect(),
        })
        .collect()
}

fn audio(count: u64) -> Vec<OutgoingFrame> {
    (0..count)
        .map(|i| OutgoingFrame {
            frame_type: FrameType::Audio,
            timestamp_us: now_us() + i,
            discardable: false,
            payload: vec![i as u8; 80].into(),
        })
        .collect()
}

fn same(sent: &OutgoingFrame, got: &Frame) -> bool {
    (sent.frame_type, sent.timestamp_us, sent.discardable, &sent.payload)
        == (got.frame_type, got.timestamp_us, got.discardable, &got.payload)
}

/// Publishes the frames, subscribes to their mirror image, compares.
async fn mirrored(
    kind: TransportKind,
    features: Features,
    options: PublishOptions,
    frames: Vec<OutgoingFrame>,
) {
    let mirror = Mirror::start();
    let meeting = join(&mirror, kind, features).await;
    assert_eq!(meeting.features(), features);
    assert_eq!(meeting.participants()[0].name, "Mirror");
    let mut publisher = meeting.publish(options).await.unwrap();
    let stream_id = publisher.stream_id();
    let mut subscriber = meeting.subscribe(stream_id, SubscribeOptions::default()).await.unwrap();
    let expected = frames.clone();
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        while let Some(frame) = subscriber.next_frame().await.unwrap() {
            got.push(frame);
        }
        got
    });
    let mut next_sequence = 0;
    for frame in frames {
        let sent = publisher.send(frame).await.unwrap();
        assert_eq!(sent.first_sequence, next_sequence);
        next_sequence += sent.units;
    }
    publisher.finish().await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    assert_eq!(got.len(), expected.len());
    assert!(expected.iter().zip(&got).all(|(sent, got)| same(sent, got)));

    let statistics = meeting.statistics();
    let of = |direction| statistics.streams.iter().find(|stream| stream.direction == direction).unwrap();
    let (sent, received) = (of(Direction::Outgoing), of(Direction::Incoming));
    assert_eq!((sent.units, sent.frames), (next_sequence, expected.len() as u64));
    assert_eq!((received.units, received.frames, received.bytes), (sent.units, sent.frames, sent.bytes));
    assert_eq!((received.lost_units, received.dropped_frames, received.overflowed_units), (0, 0, 0));
    assert_eq!(received.latency.count(), received.units);
    assert!(received.ended && sent.ended);
    meeting.leave().await.unwrap();
}

const ALL: Features = Features::GROUPS;

#[tokio::test]
async fn video_in_groups_native() {
    mirrored(TransportKind::Native, ALL, PublishOptions::video("VP8", 640, 480, 30), video(60)).await;
}

#[tokio::test]
async fn video_in_groups_webtransport() {
    mirrored(TransportKind::WebTransport, ALL, PublishOptions::video("VP8", 640, 480, 30), video(60)).await;
}

#[tokio::test]
async fn video_baseline_native() {
    mirrored(TransportKind::Native, Features::NONE, PublishOptions::video("VP8", 640, 480, 30), video(60))
        .await;
}

#[tokio::test]
async fn video_baseline_webtransport() {
    let options = PublishOptions::video("VP8", 640, 480, 30);
    mirrored(TransportKind::WebTransport, Features::NONE, options, video(60)).await;
}

#[tokio::test]
async fn audio_in_datagrams() {
    for kind in [TransportKind::Native, TransportKind::WebTransport] {
        let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
        mirrored(kind, features, PublishOptions::audio("Opus", 48_000, 2), audio(50)).await;
    }
}

#[tokio::test]
async fn audio_baseline() {
    for kind in [TransportKind::Native, TransportKind::WebTransport] {
        mirrored(kind, Features::NONE, PublishOptions::audio("Opus", 48_000, 2), audio(50)).await;
    }
}

#[tokio::test]
async fn audio_too_large_for_datagrams_travels_on_streams() {
    let mut frames = audio(3);
    frames[1].payload = Bytes::from(vec![9; 20_000]);
    // Sent first, so that the mirror starts to copy streams.
    frames.swap(0, 1);
    let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, features).await;
    let mut publisher = meeting.publish(PublishOptions::audio("Opus", 48_000, 2)).await.unwrap();
    let mut subscriber = meeting.subscribe(publisher.stream_id(), SubscribeOptions::default()).await.unwrap();
    publisher.send(frames[0].clone()).await.unwrap();
    assert!(same(&frames[0], &subscriber.next_frame().await.unwrap().unwrap()));
}

#[tokio::test]
async fn audio_too_large_for_datagrams_without_streams_is_an_error() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, Features::AUDIO_DATAGRAMS).await;
    let mut publisher = meeting.publish(PublishOptions::audio("Opus", 48_000, 2)).await.unwrap();
    let mut frame = audio(1).remove(0);
    frame.payload = Bytes::from(vec![9; 20_000]);
    let error = publisher.send(frame).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("20046")), "{error}");
    publisher.send(audio(1).remove(0)).await.unwrap();
}

#[tokio::test]
async fn wrong_frames_are_refused_before_they_are_sent() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    let mut publisher = meeting.publish(PublishOptions::video("VP8", 640, 480, 30)).await.unwrap();
    for frame in [audio(1).remove(0), video(2).remove(1)] {
        assert!(matches!(publisher.send(frame).await, Err(Error::Invalid(_))));
    }
    let first = publisher.send(video(1).remove(0)).await.unwrap();
    assert_eq!(first.first_sequence, 0);
    let layers = vec![
        pb::SimulcastLayer::default(),
        pb::SimulcastLayer { layer_id: "hi".into(), ..Default::default() },
    ];
    let mut options = PublishOptions::video("VP8", 640, 480, 30);
    options.metadata.video.as_mut().unwrap().simulcast_layers = layers;
    assert!(matches!(meeting.publish(options.clone()).await, Err(Error::Invalid(_))));
    let publishers = meeting.publish_layers(options).await.unwrap();
    let ids: Vec<_> = publishers.iter().map(|publisher| publisher.layer_id().to_owned()).collect();
    assert_eq!(ids, ["", "hi"]);
    assert_ne!(publishers[0].wire_stream_id(), publishers[1].wire_stream_id());
}

#[tokio::test]
async fn key_frame_wishes_reach_the_publisher() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    let publisher = meeting.publish(PublishOptions::video("VP8", 640, 480, 30)).await.unwrap();
    let mut feedback = publisher.feedback();
    let subscriber = meeting.subscribe(publisher.stream_id(), SubscribeOptions::default()).await.unwrap();
    subscriber.request_key_frame();
    let got = feedback.next().await.unwrap();
    assert!(got.key_frame_requested && !got.paused);
    assert_eq!(got.target_bitrate_bps, 500_000);
    drop(publisher);
    assert_eq!(feedback.next().await, None);
}

#[tokio::test]
async fn baseline_feedback_comes_on_the_return_half() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::WebTransport, Features::NONE).await;
    let mut publisher = meeting.publish(PublishOptions::video("VP8", 640, 480, 30)).await.unwrap();
    let mut feedback = publisher.feedback();
    publisher.send(video(1).remove(0)).await.unwrap();
    assert!(feedback.next().await.unwrap().key_frame_requested);
}

#[tokio::test]
async fn a_subscription_is_one_until_it_ends() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    let publisher = meeting.publish(PublishOptions::video("VP8", 640, 480, 30)).await.unwrap();
    let id = publisher.stream_id();
    let options = SubscribeOptions::default();
    let mut subscriber = meeting.subscribe(id, options.clone()).await.unwrap();
    assert!(matches!(meeting.subscribe(id, options.clone()).await, Err(Error::Invalid(_))));
    meeting.update_subscription(id, options.clone()).await.unwrap();
    meeting.unsubscribe(id).await.unwrap();
    assert!(subscriber.next_unit().await.unwrap().is_none());
    assert!(matches!(meeting.unsubscribe(id).await, Err(Error::Invalid(_))));
    let again = meeting.subscribe(id, options.clone()).await.unwrap();
    drop(subscriber);
    assert!(
        matches!(meeting.subscribe(id, options.clone()).await, Err(Error::Invalid(_))),
        "still the second"
    );
    drop(again);
    meeting.subscribe(id, options).await.unwrap();
}

#[tokio::test]
async fn a_refused_join_says_why() {
    let mirror = Mirror::start();
    let mut grant = mirror.grant.clone();
    grant.join_token = "forged".to_owned();
    let error = Meeting::join(&grant, JoinOptions::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: pb::ErrorCode::Unauthorized, .. }), "{error:?}");
}

#[tokio::test]
async fn joining_has_a_bound() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut grant = Mirror::start().grant.clone();
    grant.meeting_controller_url = format!("https://{}/v1/signal", silent.local_addr().unwrap());
    let options = JoinOptions::default().timeout(Duration::from_millis(300));
    assert!(matches!(Meeting::join(&grant, options).await, Err(Error::Timeout(_))));
}

#[tokio::test]
async fn waiting_to_be_let_in_does_not_count_as_joining() {
    let mirror = Mirror::start();
    let mut grant = mirror.grant.clone();
    grant.join_token = WAITING_TOKEN.to_owned();
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let options = JoinOptions::default()
        .timeout(WAITING)
        .on_waiting(move |meeting| telling.lock().unwrap().push(meeting.to_owned()));
    let meeting = Meeting::join(&grant, options).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["Stand-up"]);
    assert!(meeting.statistics().join_duration < WAITING);
    meeting.leave().await.unwrap();
}

#[tokio::test]
async fn waiting_to_be_let_in_has_a_bound() {
    let mirror = Mirror::start();
    let mut grant = mirror.grant.clone();
    grant.join_token = WAITING_TOKEN.to_owned();
    let options = JoinOptions::default().waiting_timeout(Duration::from_millis(100));
    let error = Meeting::join(&grant, options).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_the_server_ends_takes_no_more_frames() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    let mut events = meeting.events();
    let mut publisher = meeting.publish(PublishOptions::video("VP8", 640, 480, 30)).await.unwrap();
    publisher.send(video(1).remove(0)).await.unwrap();
    meeting.mute(meeting.participant_id(), StreamType::VideoScreen).await.unwrap();
    let own = meeting.participant_id();
    loop {
        match events.next().await.unwrap() {
            Event::StreamUnpublished { participant_id, stream_id } if participant_id == own => {
                assert_eq!(stream_id, publisher.stream_id());
                break;
            }
            _ => {}
        }
    }
    let error = publisher.send(video(1).remove(0)).await.unwrap_err();
    assert!(matches!(error, Error::Unpublished), "{error:?}");
    publisher.finish().await.unwrap();
}

#[tokio::test]
async fn chat_and_broadcasts_arrive() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    let mut events = meeting.events();
    let somebody = meeting.participants()[0].participant_id;
    assert_eq!(meeting.send_private_chat(somebody, "hello").await.unwrap(), 7);
    let Some(Event::ChatMessage(message)) = events.next().await else { panic!("no message") };
    assert_eq!((message.message_id, message.text.as_str()), (7, "hello"));
    assert_eq!(message.to_participant_id, somebody.to_string());

    let query = ChatQuery { before: Some(7), ..Default::default() };
    let history = meeting.chat_history(query).await.unwrap();
    assert!(history.has_more);
    assert_eq!(history.messages[0].message_id, 6);

    meeting.broadcast("reaction", "+1", &[]).await.unwrap();
    let expected = Event::Broadcast {
        participant_id: somebody,
        message_type: "reaction".to_owned(),
        payload: Bytes::from_static(b"+1"),
    };
    assert_eq!(events.next().await, Some(expected));
}

#[tokio::test]
async fn hands_are_raised_and_the_rest_stays() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    meeting.set_state(pb::ParticipantState { audio_muted: true, ..Default::default() }).await.unwrap();
    meeting.raise_hand(true).await.unwrap();
    let expected = pb::ParticipantState { audio_muted: true, hand_raised: true, ..Default::default() };
    assert_eq!(meeting.state(), expected);
}

#[tokio::test]
async fn the_end_is_told_with_the_servers_reason() {
    let mirror = Mirror::start();
    let (signaling, mut events) = SignalingClient::connect(
        &mirror.grant.meeting_controller_url,
        TransportKind::Native,
        &Trust::PinnedSha256(mirror.grant.certificate_hashes.clone()),
    )
    .await
    .unwrap();
    let ended = signaling.request(pb::envelope::Message::EndMeeting(pb::EndMeeting {})).await;
    let Err(Error::Closed { code, reason }) = ended else { panic!("{ended:?}") };
    assert_eq!((code, reason.as_str()), (Code::MEETING_ENDED, "over"));
    assert_eq!(events.next().await, None);
    assert!(signaling.request(pb::envelope::Message::EndMeeting(pb::EndMeeting {})).await.is_err());
}

#[tokio::test]
async fn events_tell_of_streams_and_of_the_end() {
    let mirror = Mirror::start();
    let meeting = join(&mirror, TransportKind::Native, ALL).await;
    let mut events = meeting.events();
    let id = StreamId::generate();
    let options = PublishOptions::audio("Opus", 48_000, 2).stream_id(id);
    let publisher = meeting.publish(options).await.unwrap();
    let event = events.next().await.unwrap();
    assert!(matches!(&event, Event::StreamPublished { stream, .. } if stream.stream_id == id), "{event:?}");
    assert_eq!(meeting.participants()[0].streams[0].stream_id, id);
    drop(publisher);
    let event = events.next().await.unwrap();
    assert!(matches!(event, Event::StreamUnpublished { stream_id, .. } if stream_id == id), "{event:?}");
    meeting.leave().await.unwrap();
    let event = events.next().await.unwrap();
    assert!(matches!(event, Event::Closed { code: Code::NO_ERROR, .. }), "{event:?}");
    assert_eq!(events.next().await, None);
}
