//! What everybody is told of quality, second by second.

use std::sync::Arc;

use super::super::tests::{events_to, identity, meeting, outputs, participant, publish_request, stream};
use super::super::{Identity, MeetingLimits, Resumed};
use super::*;

fn id(n: usize) -> ParticipantId {
    ParticipantId::from_bytes((1 + n as u128).to_be_bytes())
}

#[expect(clippy::disallowed_methods, reason = "any moment does to begin with")]
fn start() -> Instant {
    Instant::now()
}

const SECOND: Duration = Duration::from_secs(1);

/// A second of somebody whose path loses this share of its packets, %.
fn sample(participant: ParticipantId, lost_packets: u64) -> MediaSample {
    let path = PathSample {
        interval: SECOND,
        rtt: Duration::from_millis(20),
        sent_packets: 100,
        lost_packets,
        available_bps: 5_000_000,
    };
    MediaSample { participant, path, published: Vec::new(), received: Vec::new() }
}

#[test]
fn grades_of_a_large_meeting_are_few_events_that_fit_and_are_shared() {
    let participants = 2_500;
    let limits = MeetingLimits { max_participants: participants, ..MeetingLimits::default() };
    let mut meeting = meeting(limits);
    for n in 0..participants {
        let who = Identity { participant_id: id(n), ..identity(1) };
        meeting.join(who, &pb::ParticipantCapabilities::default(), 1).expect("joined");
        outputs(&mut meeting);
    }
    let start = start();
    let mut told: BTreeMap<ParticipantId, Vec<Arc<Event>>> = BTreeMap::new();
    let mut scores = BTreeMap::new();
    for second in 0..3 {
        let samples = (0..participants).map(|n| sample(id(n), 0)).collect();
        meeting.observe(samples, start + second * SECOND);
        for output in outputs(&mut meeting) {
            match output {
                Output::Event { to, event, .. } => told.entry(to).or_default().push(event),
                Output::Notice { to, event } => {
                    let Message::NetworkQualityChanged(changed) = &**event else { continue };
                    let [own] = changed.participants.as_slice() else { panic!("{changed:?}") };
                    assert_eq!(own.participant_id, to.to_string());
                    scores.insert(to, own.score);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((told.len(), scores.len()), (participants, participants));
    assert!(scores.values().all(|score| *score > 4.0));
    let first = told.remove(&id(0)).expect("is told");
    assert_eq!(first.len(), 3);
    let mut graded = 0;
    for event in &first {
        assert!(event.encoded().len() < darktower_protocol::limits::MAX_MESSAGE, "{}", event.encoded().len());
        let Message::NetworkQualityChanged(changed) = &***event else { panic!("{event:?}") };
        assert!(changed.participants.iter().all(|quality| quality.score == 0.0));
        graded += changed.participants.len();
    }
    assert_eq!(graded, participants);
    for events in told.values() {
        assert!(events.iter().zip(&first).all(|(event, same)| Arc::ptr_eq(event, same)));
    }
}

#[test]
fn who_comes_back_is_told_anew_what_may_have_been_missed() {
    let mut meeting = meeting(MeetingLimits::default());
    let epoch = super::super::tests::join(&mut meeting, 1).epoch;
    let start = start();
    let scores = |outputs: &[Output]| {
        let notices = outputs.iter().filter(|output| matches!(output, Output::Notice { .. }));
        notices.count()
    };
    let mut told = Vec::new();
    for second in 0..6 {
        if second == 5 {
            meeting.disconnect(participant(1), epoch, start);
            let resumed = meeting.resume(participant(1), epoch, 1).expect("is back");
            assert!(matches!(resumed, Resumed::Missed(..)), "{resumed:?}");
        }
        meeting.observe(vec![sample(participant(1), 0)], start + second * SECOND);
        told.push(scores(&outputs(&mut meeting)));
    }
    assert_eq!(told, [0, 0, 1, 0, 0, 1], "its score");
}

#[test]
fn what_a_higher_layer_lost_lowers_nothing_for_those_on_the_lowest() {
    let mut meeting = meeting(MeetingLimits::default());
    super::super::tests::join(&mut meeting, 1);
    super::super::tests::join(&mut meeting, 2);
    let layer = |layer_id: &str, max_bitrate| pb::SimulcastLayer {
        layer_id: layer_id.to_owned(),
        max_bitrate,
        ..Default::default()
    };
    let mut request = publish_request(1, StreamType::VideoCamera);
    let video = pb::VideoMetadata {
        simulcast_layers: vec![layer("low", 200_000), layer("high", 2_000_000)],
        ..Default::default()
    };
    request.metadata.as_mut().expect("set").video = Some(video);
    meeting.publish(participant(1), request).expect("published");
    let of = |meeting: &mut Meeting, preferred_layer: &str| {
        let options =
            pb::SubscriptionOptions { preferred_layer: preferred_layer.to_owned(), ..Default::default() };
        let request = pb::SubscribeStream { stream_id: stream(1).to_string(), options: Some(options) };
        meeting.subscribe(participant(2), &request).expect("subscribed")
    };
    let low = of(&mut meeting, "low");
    let high = of(&mut meeting, "high");
    outputs(&mut meeting);
    let start = start();
    let mut advice = Vec::new();
    for second in 0..12_u32 {
        let count = |bytes| IngressCount { units: 30, bytes, ..IngressCount::default() };
        let ingress =
            |wire_stream_id, bytes| IngressSample { wire_stream_id, is_audio: false, count: count(bytes) };
        let published = vec![ingress(low, 25_000), ingress(high, 250_000)];
        // A group of the high layer is given up, and the low one is sent from then on.
        let layer = if second == 0 { high } else { low };
        let dropped = u64::from(second == 0);
        let received = vec![EgressSample { wanted: high, layer, bytes: 25_000, dropped }];
        let publisher = MediaSample { published, ..sample(participant(1), 0) };
        let subscriber = MediaSample { received, ..sample(participant(2), 0) };
        meeting.observe(vec![publisher, subscriber], start + second * SECOND);
        advice.extend(outputs(&mut meeting).into_iter().filter_map(|output| match output {
            Output::Media(MediaCommand::Advise { wire_stream_id, target_bitrate_bps }) => {
                Some((wire_stream_id == low, target_bitrate_bps))
            }
            _ => None,
        }));
    }
    assert_eq!(advice, []);
}

#[test]
fn what_somebody_without_media_claims_is_forgotten() {
    let mut meeting = meeting(MeetingLimits::default());
    super::super::tests::join(&mut meeting, 1);
    let start = start();
    for second in 0..100_u32 {
        meeting.publish(participant(1), publish_request(1, StreamType::Audio)).expect("published");
        let stream_id = stream(1).to_string();
        let update = pb::StreamQualityUpdate { stream_id: stream_id.clone(), ..Default::default() };
        meeting.tell_quality(participant(1), &update, start + second * SECOND).expect("told");
        let unpublish = pb::UnpublishStream { stream_id };
        meeting.unpublish(participant(1), &unpublish).expect("unpublished");
        let mut other = publish_request(1, StreamType::Audio);
        other.stream_id = StreamId::from_bytes((1_000 + u128::from(second)).to_be_bytes()).to_string();
        meeting.publish(participant(1), other.clone()).expect("published");
        let update = pb::StreamQualityUpdate { stream_id: other.stream_id.clone(), ..Default::default() };
        meeting.tell_quality(participant(1), &update, start + second * SECOND).expect("told");
        let unpublish = pb::UnpublishStream { stream_id: other.stream_id };
        meeting.unpublish(participant(1), &unpublish).expect("unpublished");
    }
    let claims = meeting.quality.observed.values().map(|observed| observed.claims.len()).sum::<usize>();
    assert!(claims <= 1 + CLAIM_COUNTS.as_secs() as usize, "{claims}");
    assert_eq!(events_to(&outputs(&mut meeting), 2), [] as [&Message; 0]);
}
