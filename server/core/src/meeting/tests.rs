//! A meeting under orderly use, refusals, and random operations against a reference.

use std::collections::BTreeSet;

use super::*;

pub(super) fn participant(n: u8) -> ParticipantId {
    ParticipantId::from_bytes([n; 16])
}

pub(super) fn stream(n: u8) -> StreamId {
    StreamId::from_bytes([0x80 | n; 16])
}

pub(super) fn identity(n: u8) -> Identity {
    Identity {
        participant_id: participant(n),
        name: format!("P{n}"),
        role: pb::Role::Participant,
        is_guest: false,
        user_id: String::new(),
        rights: rights("video_participant"),
    }
}

/// Those of a shipped preset; hosts run the meeting.
fn rights(preset: &str) -> Rights {
    let shipped = crate::preset::shipped();
    let found = shipped.iter().find(|shipped| shipped.name == preset).expect("a shipped preset");
    Rights::new(found, preset.ends_with("_host"))
}

pub(super) fn publish_request(n: u8, stream_type: StreamType) -> pb::PublishStream {
    pb::PublishStream {
        stream_id: stream(n).to_string(),
        stream_type: stream_type.into(),
        metadata: Some(pb::StreamMetadata { codec: "VP8".to_owned(), ..Default::default() }),
    }
}

fn subscribe_request(n: u8) -> pb::SubscribeStream {
    pb::SubscribeStream { stream_id: stream(n).to_string(), options: None }
}

pub(super) fn meeting(limits: MeetingLimits) -> Meeting {
    Meeting::new(MeetingId::from_bytes([1; 16]), limits)
}

pub(super) fn join(meeting: &mut Meeting, n: u8) -> Joined {
    meeting.join(identity(n), &pb::ParticipantCapabilities::default(), 1).expect("join")
}

pub(super) fn outputs(meeting: &mut Meeting) -> Vec<Output> {
    std::iter::from_fn(|| meeting.poll_output()).collect()
}

pub(super) fn events_to(outputs: &[Output], n: u8) -> Vec<&Message> {
    let of = |output| match output {
        &Output::Event { to, ref event, .. } if to == participant(n) => Some(&***event),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

#[test]
fn newcomers_see_the_roster_and_others_see_them() {
    let mut meeting = meeting(MeetingLimits::default());
    assert!(join(&mut meeting, 1).existing.is_empty());
    outputs(&mut meeting);
    let joined = join(&mut meeting, 2);
    assert_eq!(joined.existing.len(), 1);
    let outputs = outputs(&mut meeting);
    assert!(matches!(events_to(&outputs, 1)[..], [Message::ParticipantJoined(_)]));
    assert!(events_to(&outputs, 2).is_empty());
}

#[test]
fn a_stream_goes_from_publish_to_route_to_removal() {
    let mut meeting = meeting(MeetingLimits::default());
    let publisher = join(&mut meeting, 1);
    join(&mut meeting, 2);
    outputs(&mut meeting);

    meeting.publish(participant(1), publish_request(1, StreamType::VideoCamera)).expect("publish");
    let published = outputs(&mut meeting);
    assert!(matches!(events_to(&published, 2)[..], [Message::StreamPublished(_)]));
    assert!(
        matches!(&published[0], Output::Media(MediaCommand::Register { streams, .. }) if streams.len() == 1)
    );

    assert_eq!(meeting.subscribe(participant(2), &subscribe_request(1)), Ok(stream(1)));
    let route = |is_routed| {
        let (wire_stream_id, destination) = (stream(1), participant(2));
        Output::Media(MediaCommand::Route { wire_stream_id, destination, is_routed })
    };
    assert_eq!(outputs(&mut meeting), [route(true)]);

    let unsubscribe = pb::UnsubscribeStream { stream_id: stream(1).to_string() };
    meeting.unsubscribe(participant(2), &unsubscribe).expect("unsubscribe");
    assert_eq!(outputs(&mut meeting), [route(false)]);

    meeting.leave(participant(1), publisher.epoch, pb::LeaveReason::Voluntary);
    let left = outputs(&mut meeting);
    assert!(matches!(events_to(&left, 2)[..], [Message::ParticipantLeft(_)]));
    assert_eq!(
        meeting.subscribe(participant(2), &subscribe_request(1)).map_err(|refusal| refusal.code),
        Err(ErrorCode::NotFound)
    );
}

#[test]
fn simulcast_subscribers_get_the_layer_they_ask_for() {
    let mut meeting = meeting(MeetingLimits::default());
    join(&mut meeting, 1);
    join(&mut meeting, 2);
    let layer = |id: &str, max_bitrate| pb::SimulcastLayer {
        layer_id: id.to_owned(),
        max_bitrate,
        ..Default::default()
    };
    let mut request = publish_request(1, StreamType::VideoCamera);
    let video = pb::VideoMetadata {
        simulcast_layers: vec![layer("high", 2_000_000), layer("low", 200_000)],
        ..Default::default()
    };
    request.metadata.as_mut().expect("metadata").video = Some(video);
    meeting.publish(participant(1), request).expect("publish");
    let mut ask = |preferred: &str, max_bitrate| {
        let options = pb::SubscriptionOptions { preferred_layer: preferred.to_owned(), max_bitrate };
        let request = pb::SubscribeStream { stream_id: stream(1).to_string(), options: Some(options) };
        meeting.subscribe(participant(2), &request).expect("subscribe")
    };
    assert_eq!(ask("", 0), stream(1).of_layer("high"));
    assert_eq!(ask("low", 0), stream(1).of_layer("low"));
    assert_eq!(ask("", 1_000_000), stream(1).of_layer("low"));
    assert_eq!(ask("", 1), stream(1).of_layer("low"), "the lowest, if none fits");
}

#[test]
fn ids_in_use_are_refused_with_conflict() {
    let mut meeting = meeting(MeetingLimits::default());
    join(&mut meeting, 1);
    join(&mut meeting, 2);
    meeting.publish(participant(1), publish_request(1, StreamType::Audio)).expect("publish");
    for who in [1, 2] {
        let refusal =
            meeting.publish(participant(who), publish_request(1, StreamType::Audio)).expect_err("taken");
        assert_eq!((refusal.code, refusal.field), (ErrorCode::Conflict, Some("stream_id")));
    }
}

#[test]
fn limits_are_kept() {
    let limits = MeetingLimits {
        max_participants: 2,
        max_layers_per_participant: 2,
        max_video_subscriptions: 1,
        ..MeetingLimits::default()
    };
    let mut meeting = meeting(limits);
    join(&mut meeting, 1);
    join(&mut meeting, 2);
    let full = meeting.join(identity(3), &pb::ParticipantCapabilities::default(), 1).expect_err("full");
    assert_eq!(full.code, ErrorCode::CapacityExceeded);
    join(&mut meeting, 2);

    for n in 1..=2 {
        meeting.publish(participant(1), publish_request(n, StreamType::VideoCamera)).expect("publish");
    }
    let third = meeting.publish(participant(1), publish_request(3, StreamType::Audio)).expect_err("too many");
    assert_eq!(third.code, ErrorCode::CapacityExceeded);

    meeting.subscribe(participant(2), &subscribe_request(1)).expect("first video");
    meeting.subscribe(participant(2), &subscribe_request(1)).expect("the same again is an update");
    let second = meeting.subscribe(participant(2), &subscribe_request(2)).expect_err("too many");
    assert_eq!(second.code, ErrorCode::CapacityExceeded);
}

#[test]
fn one_participant_cannot_make_the_roster_too_large_for_a_message() {
    let mut meeting = meeting(MeetingLimits::default());
    join(&mut meeting, 1);
    let published = (1..=16).filter(|n| {
        let mut request = publish_request(*n, StreamType::VideoCamera);
        request.metadata.as_mut().expect("metadata").codec_config = vec![0; 4096].into();
        meeting.publish(participant(1), request).is_ok()
    });
    assert_eq!(published.count(), 3);
    assert!(meeting.roster()[0].encoded_len() <= 16 * 1024);
}

#[test]
fn a_second_connection_replaces_the_first() {
    let mut meeting = meeting(MeetingLimits::default());
    let first = join(&mut meeting, 1);
    join(&mut meeting, 2);
    meeting.publish(participant(1), publish_request(1, StreamType::Audio)).expect("publish");
    outputs(&mut meeting);
    let second = join(&mut meeting, 1);
    let replaced = outputs(&mut meeting);
    assert!(!meeting.is_current(participant(1), first.epoch));
    assert!(matches!(
        events_to(&replaced, 2)[..],
        [Message::ParticipantLeft(pb::ParticipantLeft { reason, .. }), Message::ParticipantJoined(_)]
            if *reason == i32::from(pb::LeaveReason::Duplicate)
    ));
    // The end of the old session must not remove the new one.
    meeting.leave(participant(1), first.epoch, pb::LeaveReason::ConnectionLost);
    assert_eq!(meeting.participant_count(), 2);
    meeting.leave(participant(1), second.epoch, pb::LeaveReason::ConnectionLost);
    assert_eq!(meeting.participant_count(), 1);
}

#[test]
fn who_is_there_keeps_its_place_when_fewer_may_be() {
    let mut meeting = meeting(MeetingLimits::default());
    for n in 1..=3 {
        join(&mut meeting, n);
    }
    meeting.set_max_participants(1);
    join(&mut meeting, 2);
    assert_eq!(meeting.participant_count(), 3);
    let full = meeting.join(identity(4), &pb::ParticipantCapabilities::default(), 1).expect_err("full");
    assert_eq!(full.code, ErrorCode::CapacityExceeded);
}

#[test]
fn names_change_where_the_preset_allows_it_and_hosts_rename_everybody() {
    let mut meeting = meeting(MeetingLimits::default());
    let host = Identity { rights: rights("video_host"), ..identity(1) };
    meeting.join(host, &pb::ParticipantCapabilities::default(), 1).expect("join");
    let guest = Identity { is_guest: true, rights: rights("video_guest"), ..identity(2) };
    meeting.join(guest, &pb::ParticipantCapabilities::default(), 1).expect("join");
    outputs(&mut meeting);
    let named = |name: &str| pb::UpdateParticipant { name: name.to_owned(), ..Default::default() };
    let refused = meeting.update(participant(2), &named("Administrator")).expect_err("a guest");
    assert_eq!((refused.code, refused.field), (ErrorCode::Forbidden, Some("name")));
    assert!(outputs(&mut meeting).is_empty(), "nobody is told");
    meeting.update(participant(2), &named(" P2 ")).expect("its own name");
    meeting.update(participant(1), &named("Ada")).expect("a host");
    let names: Vec<_> = meeting.roster().into_iter().map(|participant| participant.name).collect();
    assert_eq!(names, ["Ada", "P2"]);
    let other = |by: u8, of: u8| pb::UpdateParticipant {
        participant_id: participant(of).to_string(),
        ..named(&format!("by {by}"))
    };
    let refused = meeting.update(participant(2), &other(2, 1)).expect_err("a guest");
    assert_eq!(refused.code, ErrorCode::Forbidden);
    outputs(&mut meeting);
    meeting.update(participant(1), &other(1, 2)).expect("a host");
    assert_eq!(meeting.roster()[1].name, "by 1");
    let told = outputs(&mut meeting);
    assert!(
        matches!(events_to(&told, 2)[..], [Message::ParticipantUpdated(_)]),
        "it is told of its new name"
    );
}

/// A name that a host gave was lost when the participant joined again.
#[test]
fn a_name_that_a_host_gave_stays_until_the_participant_takes_another() {
    let mut meeting = meeting(MeetingLimits::default());
    let host = Identity { rights: rights("video_host"), ..identity(1) };
    meeting.join(host, &pb::ParticipantCapabilities::default(), 1).expect("join");
    let second = Identity { rights: rights("video_host"), ..identity(2) };
    let join_again = |meeting: &mut Meeting| {
        meeting.join(second.clone(), &pb::ParticipantCapabilities::default(), 1).expect("join")
    };
    let joined = join_again(&mut meeting);
    let named = |of: Option<u8>, name: &str| pb::UpdateParticipant {
        participant_id: of.map(|n| participant(n).to_string()).unwrap_or_default(),
        name: name.to_owned(),
        ..Default::default()
    };
    let name = |meeting: &Meeting| meeting.roster()[1].name.clone();
    meeting.update(participant(1), &named(Some(2), "Grace")).expect("a host");
    // A second session, and after it has left.
    let second_session = join_again(&mut meeting);
    assert_eq!(name(&meeting), "Grace");
    meeting.leave(participant(2), joined.epoch, pb::LeaveReason::Voluntary);
    meeting.leave(participant(2), second_session.epoch, pb::LeaveReason::Voluntary);
    join_again(&mut meeting);
    assert_eq!(name(&meeting), "Grace");
    meeting.update(participant(2), &named(None, "Ada")).expect("a host, too");
    join_again(&mut meeting);
    assert_eq!(name(&meeting), "P2", "its own name is that of its token again");
}

#[test]
fn what_the_application_changes_counts_at_once_and_for_who_is_not_here() {
    let mut meeting = meeting(MeetingLimits::default());
    join(&mut meeting, 1);
    join(&mut meeting, 2);
    meeting.publish(participant(2), publish_request(2, StreamType::Audio)).expect("published");
    outputs(&mut meeting);
    meeting.change(participant(2), Some("Grace".to_owned()), Some(rights("webinar_viewer")));
    let told = outputs(&mut meeting);
    let to_it = events_to(&told, 2);
    assert!(matches!(to_it.first(), Some(Message::RightsChanged(changed))
        if changed.rights.as_ref().is_some_and(|rights| rights.preset == "webinar_viewer")));
    assert!(matches!(to_it.last(), Some(Message::ParticipantUpdated(updated))
        if updated.participant.as_ref().is_some_and(|one| one.name == "Grace" && one.streams.is_empty())));
    meeting.change(participant(3), Some("Hopper".to_owned()), Some(rights("video_host")));
    assert_eq!(outputs(&mut meeting), [], "nobody is told of who is not here");
    let joined = join(&mut meeting, 3);
    assert!(joined.rights.run_meeting || joined.rights.preset == "video_host");
    assert_eq!(meeting.roster()[2].name, "Hopper");

    outputs(&mut meeting);
    meeting.set_display_name("Stand-up");
    let told = outputs(&mut meeting);
    assert!(matches!(events_to(&told, 1)[..], [Message::MeetingUpdated(updated)]
        if updated.display_name == "Stand-up"));
    meeting.set_display_name("Stand-up");
    assert_eq!(outputs(&mut meeting), []);
}

/// A hand that was raised at the moment of a host's mute undid it: the state was said as a whole.
#[test]
fn a_hand_raised_at_the_moment_of_a_mute_does_not_undo_it() {
    let mut meeting = meeting(MeetingLimits::default());
    let host = Identity { rights: rights("video_host"), ..identity(1) };
    meeting.join(host, &pb::ParticipantCapabilities::default(), 1).expect("join");
    join(&mut meeting, 2);
    meeting.publish(participant(2), publish_request(2, StreamType::Audio)).expect("published");
    let subscribe = pb::SubscribeStream { stream_id: stream(2).to_string(), options: None };
    meeting.subscribe(participant(1), &subscribe).expect("subscribed");
    outputs(&mut meeting);

    let mute = pb::MuteParticipant { participant_id: participant(2).to_string(), ..Default::default() };
    meeting.mute(participant(1), &mute).expect("a host");
    outputs(&mut meeting);
    // It has not heard of it yet. What a client says beside it is for servers that do not know changes.
    let change = pb::StateChange { hand_raised: Some(true), ..Default::default() };
    let state = pb::ParticipantState { hand_raised: true, ..Default::default() };
    let raise = pb::UpdateParticipant { state: Some(state), change: Some(change), ..Default::default() };
    meeting.update(participant(2), &raise).expect("its own hand");
    let expected = pb::ParticipantState { audio_muted: true, hand_raised: true, ..Default::default() };
    let told = outputs(&mut meeting);
    for n in [1, 2] {
        let [Message::ParticipantUpdated(updated)] = &events_to(&told, n)[..] else { panic!("{told:?}") };
        assert_eq!(updated.participant.as_ref().and_then(|one| one.state), Some(expected));
    }
    assert!(!told.iter().any(|output| matches!(output, Output::Media(_))), "it is still not forwarded");

    let unmute = pb::StateChange { audio_muted: Some(false), ..Default::default() };
    let unmute = pb::UpdateParticipant { change: Some(unmute), ..Default::default() };
    meeting.update(participant(2), &unmute).expect("its own microphone");
    let forward = MediaCommand::Forward { wire_stream_id: stream(2), is_forwarded: true };
    assert!(outputs(&mut meeting).contains(&Output::Media(forward)));
    meeting.update(participant(2), &unmute).expect("said twice");
    assert_eq!(outputs(&mut meeting), [], "nobody is told what is known");
    let others = pb::UpdateParticipant { participant_id: participant(2).to_string(), ..unmute };
    let refused = meeting.update(participant(1), &others).expect_err("another's state");
    assert_eq!((refused.code, refused.field), (ErrorCode::InvalidRequest, Some("change")));
}

#[test]
fn names_are_made_fit_to_show() {
    assert_eq!(display_name("  Ada\u{202e} \u{7}Lovelace\n"), Some("Ada Lovelace".to_owned()));
    assert_eq!(display_name("\u{200b}\t"), None);
    assert_eq!(display_name(&"x".repeat(65)), None);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Join(u8),
        Leave(u8),
        Publish(u8, u8),
        Unpublish(u8, u8),
        Subscribe(u8, u8),
        Unsubscribe(u8, u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let pair = (1u8..6, 1u8..6);
        prop_oneof![
            (1u8..6).prop_map(Op::Join),
            (1u8..6).prop_map(Op::Leave),
            pair.clone().prop_map(|(p, s)| Op::Publish(p, s)),
            pair.clone().prop_map(|(p, s)| Op::Unpublish(p, s)),
            pair.clone().prop_map(|(p, s)| Op::Subscribe(p, s)),
            pair.prop_map(|(p, s)| Op::Unsubscribe(p, s)),
        ]
    }

    proptest! {
        /// A media handler that carries out the commands, and clients that follow the events,
        /// agree with the meeting after every operation.
        #[test]
        fn followers_agree_with_the_meeting(ops in proptest::collection::vec(op(), 1..120)) {
            let mut meeting = meeting(MeetingLimits::default());
            let mut epochs = BTreeMap::new();
            let mut registered: BTreeMap<ParticipantId, BTreeSet<StreamId>> = BTreeMap::new();
            let mut routes: BTreeMap<StreamId, BTreeSet<ParticipantId>> = BTreeMap::new();
            let mut views: BTreeMap<ParticipantId, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
            let mut wanted: BTreeSet<(ParticipantId, StreamId)> = BTreeSet::new();
            let streams_of = |p: &pb::Participant| p.streams.iter().map(|s| s.stream_id.clone()).collect();

            for op in ops {
                let mut newcomer = None;
                match op {
                    Op::Join(p) => {
                        views.remove(&participant(p));
                        wanted.retain(|(who, _)| *who != participant(p));
                        let joined = join(&mut meeting, p);
                        epochs.insert(p, joined.epoch);
                        let view = joined.existing.iter().map(|p| (p.participant_id.clone(), streams_of(p))).collect();
                        newcomer = Some((participant(p), view));
                    }
                    Op::Leave(p) => if let Some(epoch) = epochs.remove(&p) {
                        meeting.leave(participant(p), epoch, pb::LeaveReason::Voluntary);
                        views.remove(&participant(p));
                        wanted.retain(|(who, _)| *who != participant(p));
                    },
                    Op::Publish(p, s) => { let _ = meeting.publish(participant(p), publish_request(s, StreamType::VideoCamera)); }
                    Op::Unpublish(p, s) => { let _ = meeting.unpublish(participant(p), &pb::UnpublishStream { stream_id: stream(s).to_string() }); }
                    Op::Subscribe(p, s) => if meeting.subscribe(participant(p), &subscribe_request(s)).is_ok() {
                        wanted.insert((participant(p), stream(s)));
                    },
                    Op::Unsubscribe(p, s) => if meeting.unsubscribe(participant(p), &pb::UnsubscribeStream { stream_id: stream(s).to_string() }).is_ok() {
                        wanted.remove(&(participant(p), stream(s)));
                    },
                }
                for output in outputs(&mut meeting) {
                    match output {
                        Output::Media(MediaCommand::Register { participant, streams }) => {
                            let ids: BTreeSet<StreamId> = streams.iter().map(|s| s.stream_id).collect();
                            let before = registered.insert(participant, ids.clone()).unwrap_or_default();
                            for gone in before.difference(&ids) { routes.remove(gone); }
                        }
                        Output::Media(MediaCommand::Unregister { participant }) => {
                            for gone in registered.remove(&participant).unwrap_or_default() { routes.remove(&gone); }
                        }
                        Output::Media(MediaCommand::Route { wire_stream_id, destination, is_routed }) => {
                            prop_assert!(registered.values().any(|s| s.contains(&wire_stream_id)), "route of an unregistered stream");
                            let to: &mut BTreeSet<ParticipantId> = routes.entry(wire_stream_id).or_default();
                            prop_assert!(if is_routed { to.insert(destination) } else { to.remove(&destination) }, "no news");
                        }
                        Output::Media(MediaCommand::Forward { .. }) => prop_assert!(false, "nobody is muted"),
                        Output::Event { to, event, .. } => {
                            let Some(view) = views.get_mut(&to) else {
                                prop_assert!(newcomer.is_none_or(|(who, _)| who != to), "a newcomer is told of its own join");
                                return Err(TestCaseError::fail("event to somebody who is not here"));
                            };
                            match Message::clone(&**event) {
                                Message::ParticipantJoined(joined) => { let p = joined.participant.expect("set"); view.insert(p.participant_id.clone(), streams_of(&p)); }
                                Message::ParticipantLeft(left) => { view.remove(&left.participant_id); }
                                Message::StreamPublished(published) => { view.get_mut(&published.participant_id).expect("known").insert(published.stream.expect("set").stream_id); }
                                Message::StreamUnpublished(gone) => { view.get_mut(&gone.participant_id).expect("known").remove(&gone.stream_id); }
                                other => prop_assert!(false, "{other:?}"),
                            }
                        }
                        Output::Media(MediaCommand::Prominent { .. }) => prop_assert!(false, "nobody speaks"),
                        Output::Notice { .. } | Output::Record(_) | Output::Media(MediaCommand::Advise { .. }) => {}
                        Output::LetIn { .. } | Output::TurnedAway { .. } => prop_assert!(false, "nobody waits"),
                    }
                }
                if let Some((who, view)) = newcomer { views.insert(who, view); }

                let roster = meeting.roster();
                for (who, view) in &views {
                    let expected: BTreeMap<_, BTreeSet<_>> = roster.iter().filter(|p| p.participant_id != who.to_string()).map(|p| (p.participant_id.clone(), streams_of(p))).collect();
                    prop_assert_eq!(view, &expected);
                }
                let published: BTreeSet<StreamId> = registered.values().flatten().copied().collect();
                wanted.retain(|(_, stream)| published.contains(stream));
                let routed: BTreeSet<(ParticipantId, StreamId)> = routes.iter().flat_map(|(s, to)| to.iter().map(|p| (*p, *s))).collect();
                prop_assert_eq!(&routed, &wanted);
            }
        }
    }
}
