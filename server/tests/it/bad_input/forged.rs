//! Ids and tickets that are somebody else's, used up, or made up.

use bytes::Bytes;
use darktower_client::Error;
use darktower_client::signaling::SignalingClient;
use darktower_client::transport::TransportKind;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, ParticipantId, StreamId};
use pb::envelope::Message;
use pb::stage_request::Action;
use pb::{ErrorCode, StreamType};

use super::{BOTH, Stage};
use crate::support::{RawSignaling, TestServer, audio_metadata, join, token, video_metadata};

const NATIVE: TransportKind = TransportKind::Native;

/// Texts that are the id of nobody and of nothing.
fn garbage() -> Vec<String> {
    let id = ParticipantId::generate().to_string();
    vec![
        "Bob".to_owned(),
        id.replace('-', ""),
        format!("{{{id}}}"),
        format!("urn:uuid:{id}"),
        format!(" {id}"),
        format!("{id}\0"),
        id.replace('-', "\u{2010}"),
        "../../etc/passwd".to_owned(),
        "'; DROP TABLE participants; --".to_owned(),
        "9".repeat(60_000),
    ]
}

/// Everything that somebody does to somebody else, with this id in it.
fn done_to(participant_id: &str) -> Vec<Message> {
    let id = || participant_id.to_owned();
    let mute = |kind: StreamType| {
        Message::MuteParticipant(pb::MuteParticipant { participant_id: id(), stream_type: kind.into() })
    };
    let stage = |action: Action| {
        Message::StageRequest(pb::StageRequest { action: action.into(), participant_id: id() })
    };
    let preset = "video_host".to_owned();
    vec![
        Message::KickParticipant(pb::KickParticipant { participant_id: id() }),
        mute(StreamType::Audio),
        mute(StreamType::VideoCamera),
        mute(StreamType::VideoScreen),
        Message::AdmitParticipant(pb::AdmitParticipant { participant_id: id(), admit: true }),
        Message::SetPreset(pb::SetPreset { participant_id: id(), preset }),
        stage(Action::Approve),
        stage(Action::Deny),
        stage(Action::Invite),
        stage(Action::Remove),
        Message::SpotlightParticipant(pb::SpotlightParticipant { participant_id: id(), on: true }),
        Message::LowerHands(pb::LowerHands { participant_id: id() }),
    ]
}

/// What everybody may do, with this id in it.
fn said_to(participant_id: &str) -> Vec<Message> {
    let id = || participant_id.to_owned();
    let rename =
        pb::UpdateParticipant { name: "Fool".to_owned(), participant_id: id(), ..Default::default() };
    let broadcast = pb::BroadcastMessage {
        r#type: "poll.vote".to_owned(),
        to_participant_ids: vec![id()],
        ..Default::default()
    };
    vec![
        Message::UpdateParticipant(rename),
        Message::SendChatMessage(pb::SendChatMessage { text: "psst".to_owned(), to_participant_id: id() }),
        Message::BroadcastMessage(broadcast),
    ]
}

/// A meeting of its own with somebody in it who must hear of nothing.
async fn elsewhere(server: &TestServer) -> (MeetingId, RawSignaling) {
    let meeting = server.meeting().await;
    (meeting, join(server, meeting, "Bystander", "video_host").await)
}

/// Nothing has happened to somebody: the first thing that it hears is what it does itself.
async fn has_heard_nothing(mut bystander: RawSignaling) {
    bystander.done(Message::LockMeeting(pb::LockMeeting { locked: true })).await;
    let first = bystander.event("its own lock", |message| Some(message.clone())).await;
    assert!(matches!(&first, Message::MeetingUpdated(updated) if updated.locked), "{first:?}");
}

pub(super) async fn forged_participant_ids_reach_nobody(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let (other_meeting, bystander) = elsewhere(server).await;
    let host = join(server, meeting, "Mallory", "video_host").await;
    let guest = join(server, meeting, "Eve", "video_participant").await;
    let nobody = ParticipantId::generate().to_string();
    let foreign =
        [bystander.id(), other_meeting.to_string(), nobody, ParticipantId::from_bytes([0; 16]).to_string()];
    for id in &foreign {
        for message in done_to(id).into_iter().chain(said_to(id)) {
            assert_eq!(host.refused(message.clone()).await, ErrorCode::NotFound, "{message:?}");
        }
        for message in done_to(id) {
            assert_eq!(guest.refused(message.clone()).await, ErrorCode::Forbidden, "{message:?}");
        }
        for message in said_to(id) {
            assert_eq!(guest.refused(message.clone()).await, ErrorCode::NotFound, "{message:?}");
        }
    }
    for id in garbage() {
        for message in done_to(&id).into_iter().chain(said_to(&id)) {
            assert_eq!(host.refused(message.clone()).await, ErrorCode::InvalidRequest, "{message:?}");
        }
    }
    // What may be done by somebody may not be done to hosts by it.
    for message in done_to(&host.id()) {
        assert_eq!(guest.refused(message.clone()).await, ErrorCode::Forbidden, "{message:?}");
    }
    has_heard_nothing(bystander).await;
}

pub(super) async fn foreign_stream_ids_are_not_found(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let (_, bystander) = elsewhere(server).await;
    let (elsewhere, stream_of_eve) = (StreamId::generate(), StreamId::generate());
    bystander.publish(elsewhere, audio_metadata()).await.expect("published");
    let eve = join(server, meeting, "Eve", "video_participant").await;
    eve.publish(stream_of_eve, audio_metadata()).await.expect("published");
    let mallory = join(server, meeting, "Mallory", "video_participant").await;

    let unpublish = |stream_id: String| Message::UnpublishStream(pb::UnpublishStream { stream_id });
    let subscribe =
        |stream_id: String| Message::SubscribeStream(pb::SubscribeStream { stream_id, options: None });
    let unsubscribe = |stream_id: String| Message::UnsubscribeStream(pb::UnsubscribeStream { stream_id });
    let key_frame = |stream_id: String| Message::KeyFrameRequest(pb::KeyFrameRequest { stream_id });
    let levels = |stream_id: String| {
        Message::AudioLevels(pb::AudioLevels { levels: vec![pb::AudioLevel { stream_id, level: 0 }] })
    };
    let of_nobody = StreamId::generate();
    for id in [elsewhere, of_nobody, stream_of_eve] {
        let id = || id.to_string();
        for message in [unpublish(id()), unsubscribe(id()), key_frame(id()), levels(id())] {
            assert_eq!(mallory.refused(message.clone()).await, ErrorCode::NotFound, "{message:?}");
        }
    }
    for id in [elsewhere, of_nobody] {
        assert_eq!(mallory.refused(subscribe(id.to_string())).await, ErrorCode::NotFound);
    }
    for id in garbage() {
        for message in
            [unpublish(id.clone()), subscribe(id.clone()), unsubscribe(id.clone()), levels(id.clone())]
        {
            assert_eq!(mallory.refused(message).await, ErrorCode::InvalidRequest, "{:.40}", id);
        }
        assert_eq!(mallory.refused(key_frame(id)).await, ErrorCode::NotFound);
    }
    // Neither the id of a stream nor that of a layer is taken over.
    assert_eq!(mallory.refused(publish(stream_of_eve, None)).await, ErrorCode::Conflict);
    assert_eq!(
        mallory.refused(publish(StreamId::generate(), Some(stream_of_eve))).await,
        ErrorCode::Conflict
    );
    let twice = StreamId::generate();
    let Message::PublishStream(mut request) = publish(twice, Some(twice)) else { panic!("a stream") };
    let layers = &mut request
        .metadata
        .as_mut()
        .and_then(|metadata| metadata.video.as_mut())
        .expect("video")
        .simulcast_layers;
    layers.push(pb::SimulcastLayer { layer_id: "again".to_owned(), ..layers[0].clone() });
    assert_eq!(mallory.refused(Message::PublishStream(request)).await, ErrorCode::InvalidRequest);

    // Eve's stream is still hers, and there.
    mallory.subscribe(stream_of_eve).await.expect("it is there");
    assert_eq!(eve.refused(subscribe(stream_of_eve.to_string())).await, ErrorCode::InvalidRequest);
    eve.done(unpublish(stream_of_eve.to_string())).await;
    has_heard_nothing(bystander).await;
}

fn publish(stream_id: StreamId, layer: Option<StreamId>) -> Message {
    let mut metadata = video_metadata();
    let layer = layer.map(|stream_id| pb::SimulcastLayer {
        layer_id: "low".to_owned(),
        stream_id: stream_id.to_string(),
        ..Default::default()
    });
    metadata.video.get_or_insert_default().simulcast_layers.extend(layer);
    Message::PublishStream(pb::PublishStream {
        stream_id: stream_id.to_string(),
        stream_type: StreamType::VideoCamera.into(),
        metadata: Some(metadata),
    })
}

/// What a ticket is refused with, and how the session is closed.
async fn resume(server: &TestServer, ticket: &Bytes, kind: TransportKind) -> (ErrorCode, String) {
    let connecting = SignalingClient::connect(&server.signaling_url, kind, &server.trust);
    let (client, _events) = connecting.await.expect("connected");
    let request = pb::ResumeRequest { resume_ticket: ticket.clone(), last_event_sequence: 0 };
    match client.request(Message::ResumeRequest(request)).await {
        Err(Error::Refused { code, details, .. }) => {
            (code, details.get("close_code").cloned().unwrap_or_default())
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// A ticket with some of its bytes from another.
fn mixed(ticket: &Bytes, other: &Bytes, from_other: std::ops::Range<usize>) -> Bytes {
    let mut mixed = ticket.to_vec();
    mixed[from_other.clone()].copy_from_slice(&other[from_other]);
    mixed.into()
}

pub(super) async fn forged_and_replayed_resume_tickets_open_nothing(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let host = join(server, meeting, "Host", "video_host").await;
    let mallory = join(server, meeting, "Mallory", "video_participant").await;
    let victim = join(server, meeting, "Victim", "video_participant").await;
    let (own, victims) = (mallory.resume_ticket.clone(), victim.resume_ticket.clone());
    assert_eq!(own.len(), 48);
    let unauthorized = (ErrorCode::Unauthorized, "UNAUTHORIZED".to_owned());
    let gone = (ErrorCode::NotFound, "UNAUTHORIZED".to_owned());
    let kicked = (ErrorCode::Forbidden, "KICKED".to_owned());
    for kind in BOTH {
        for no_ticket in [0, 1, 47, 49, 96, 60_000] {
            assert_eq!(
                resume(server, &vec![7; no_ticket].into(), kind).await,
                unauthorized,
                "{no_ticket} bytes"
            );
        }
    }
    // Own secret with the id of another, and with that of another meeting.
    let (_, bystander) = elsewhere(server).await;
    assert_eq!(resume(server, &mixed(&own, &victims, 16..32), NATIVE).await, gone);
    assert_eq!(resume(server, &mixed(&own, &bystander.resume_ticket, 0..32), NATIVE).await, gone);
    let there = resume(server, &mixed(&own, &bystander.resume_ticket, 0..16), NATIVE).await;
    assert!(there == unauthorized || there == gone, "{there:?}");
    // Guesses, all bytes of the secret but one included.
    for byte in 32..48 {
        let mut guess = victims.to_vec();
        guess[byte] ^= 1;
        assert_eq!(resume(server, &guess.into(), NATIVE).await, gone);
    }
    // None of this has touched the session of the victim.
    victim.done(Message::UpdateParticipant(pb::UpdateParticipant::default())).await;
    has_heard_nothing(bystander).await;

    // Used: as soon as the client has sent something in its new session.
    let (back, response) = RawSignaling::resume(server, &victims, 0, NATIVE).await.expect("its own ticket");
    assert_ne!(response.resume_ticket, victims);
    back.done(Message::UpdateParticipant(pb::UpdateParticipant::default())).await;
    for kind in BOTH {
        assert_eq!(resume(server, &victims, kind).await, gone);
    }
    back.done(Message::UpdateParticipant(pb::UpdateParticipant::default())).await;

    // Of somebody who left, and of somebody who was removed.
    let left = back.resume_ticket.clone();
    back.client.leave().await.expect("left");
    assert_eq!(resume(server, &left, NATIVE).await, gone);
    let again = token(server, meeting, "Removed", "video_participant").await;
    let mut removed =
        RawSignaling::join_with_token(server, meeting, again.clone(), NATIVE).await.expect("joined");
    let kick = pb::KickParticipant { participant_id: removed.id() };
    host.done(Message::KickParticipant(kick)).await;
    assert_eq!(removed.end().await.code(), Some(Code::KICKED));
    for kind in BOTH {
        assert_eq!(resume(server, &removed.resume_ticket, kind).await, kicked);
        let joined = RawSignaling::join_with_token(server, meeting, again.clone(), kind).await;
        let Err(Error::Refused { code, details, .. }) = joined else { panic!("let in again") };
        assert_eq!((code, details["close_code"].as_str()), (ErrorCode::Forbidden, "KICKED"));
    }
}
