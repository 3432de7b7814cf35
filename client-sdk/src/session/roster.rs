//! Who is in the meeting and publishes what.

use std::collections::BTreeSet;
use std::time::Duration;

use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{ParticipantId, StreamId};
use pb::envelope::Message;

use super::event::{AutoSubscription, Event, NetworkQuality};
use super::standing::{Standing, participant_ids};

/// A participant as the server describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Participant {
    /// One connection of one person or program.
    pub participant_id: ParticipantId,
    /// For people.
    pub name: String,
    /// Microseconds since the Unix epoch.
    pub joined_at_us: u64,
    /// What the participant publishes, in the order of publishing.
    pub streams: Vec<StreamDescription>,
    /// Host or participant.
    pub role: pb::Role,
    /// What the participant says of itself, and what hosts changed of it.
    pub state: pb::ParticipantState,
    /// The application's user, empty for guests; several participants may share one.
    pub user_id: String,
    /// Whether it was let on the stage.
    pub on_stage: bool,
    /// Nothing is heard of it, or its connection is lost, and it may come back.
    pub reconnecting: bool,
    /// How well its network carries calls.
    pub network_grade: pb::NetworkGrade,
}

impl Participant {
    /// `None` if the id is not one. Streams that this version does not understand are left out.
    fn from_message(message: pb::Participant) -> Option<Self> {
        Some(Self {
            participant_id: message.participant_id.parse().ok()?,
            role: message.role(),
            network_grade: message.network_grade(),
            name: message.name,
            joined_at_us: message.joined_at,
            streams: message.streams.into_iter().filter_map(describe).collect(),
            state: message.state.unwrap_or_default(),
            user_id: message.user_id,
            on_stage: message.on_stage,
            reconnecting: message.reconnecting,
        })
    }
}

fn describe(stream: pb::MediaStream) -> Option<StreamDescription> {
    let pb::MediaStream { stream_id, stream_type, metadata } = stream;
    StreamDescription::try_from(pb::PublishStream { stream_id, stream_type, metadata }).ok()
}

/// What a message of the server changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// To be told to the application.
    pub(crate) event: Option<Event>,
    /// Streams that nothing will come of any more.
    pub(crate) ended_streams: Vec<StreamId>,
    /// A stream of this session that the server has ended.
    pub(crate) ended_publication: Option<StreamId>,
}

impl From<Event> for Change {
    fn from(event: Event) -> Self {
        Self { event: Some(event), ..Self::default() }
    }
}

/// The participants other than this session's own, in the order they joined, and its own
/// [`Standing`].
///
/// The server's word is final: a message about somebody unknown, or one that says what is known
/// already, changes nothing and is no error.
#[derive(Debug)]
pub(crate) struct Roster {
    own: ParticipantId,
    participants: Vec<Participant>,
    /// Of this session's own participant, and of the meeting.
    pub(crate) standing: Standing,
}

impl Roster {
    /// The roster of a [`pb::JoinResponse`].
    pub(crate) fn new(own: ParticipantId, existing: Vec<pb::Participant>, standing: Standing) -> Self {
        let mut roster = Self { own, participants: Vec::with_capacity(existing.len()), standing };
        for participant in existing.into_iter().filter_map(Participant::from_message) {
            roster.put(participant);
        }
        roster
    }

    /// Takes everything as the server says that it is now in place of what was known, and says what is different, as if
    /// events had told of it. What this session has said of itself stays.
    pub(crate) fn replace(&mut self, existing: Vec<pb::Participant>, standing: Standing) -> Vec<Change> {
        let here: BTreeSet<ParticipantId> =
            existing.iter().filter_map(|participant| participant.participant_id.parse().ok()).collect();
        let known = self.participants.iter().map(|participant| participant.participant_id);
        let gone: Vec<ParticipantId> = known.filter(|id| !here.contains(id)).collect();
        // Why is not known.
        let reason = pb::LeaveReason::Moved.into();
        let left = |id: ParticipantId| pb::ParticipantLeft { participant_id: id.to_string(), reason };
        let mut changes: Vec<Change> = gone.into_iter().map(|id| self.left(&left(id))).collect();
        for message in existing {
            let participant = Participant::from_message(message.clone());
            if participant.is_some_and(|participant| !self.participants.contains(&participant)) {
                changes.push(self.updated(message));
            }
        }
        if standing.rights != self.standing.rights {
            changes.push(Event::RightsChanged(standing.rights.clone()).into());
        }
        let of_meeting = |of: &Standing| (of.display_name.clone(), of.locked, of.spotlight.clone());
        if of_meeting(&standing) != of_meeting(&self.standing) {
            let (display_name, locked, spotlight) = of_meeting(&standing);
            changes.push(Event::MeetingUpdated { display_name, locked, spotlight }.into());
        }
        if standing.waiting != self.standing.waiting {
            changes.push(Event::WaitingRoomChanged(standing.waiting.clone()).into());
        }
        if self.standing.audience.viewers > 0 {
            // The server tells it again if anybody watches.
            let participants = self.participants.len() as u32 + 1;
            changes.push(Event::Audience { participants, viewers: 0 }.into());
        }
        self.standing = Standing { state: self.standing.state, ..standing };
        changes
    }

    /// Who this session is.
    pub(crate) fn own(&self) -> ParticipantId {
        self.own
    }

    /// The others.
    pub(crate) fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// A stream that somebody publishes.
    pub(crate) fn stream(&self, stream_id: StreamId) -> Option<&StreamDescription> {
        self.participants
            .iter()
            .flat_map(|participant| &participant.streams)
            .find(|stream| stream.stream_id == stream_id)
    }

    /// Takes an event of the server, in order.
    pub(crate) fn apply(&mut self, message: Message) -> Change {
        match message {
            Message::ParticipantUpdated(pb::ParticipantUpdated { participant: Some(participant) })
                if self.is_own(&participant.participant_id) =>
            {
                self.own_updated(participant)
            }
            Message::ParticipantJoined(pb::ParticipantJoined { participant: Some(participant) })
            | Message::ParticipantUpdated(pb::ParticipantUpdated { participant: Some(participant) }) => {
                self.updated(participant)
            }
            Message::ParticipantLeft(left) => self.left(&left),
            Message::StreamPublished(published) => self.published(published).unwrap_or_default(),
            Message::StreamUnpublished(unpublished) => self.unpublished(&unpublished).unwrap_or_default(),
            Message::GoAway(go_away) => Event::GoAway {
                new_url: go_away.new_url,
                deadline: Duration::from_millis(go_away.deadline_ms.into()),
            }
            .into(),
            Message::RightsChanged(pb::RightsChanged { rights: Some(rights) }) => {
                if !rights.admit {
                    // It is not told any more.
                    self.standing.waiting.clear();
                }
                self.standing.rights = rights.clone();
                Event::RightsChanged(rights).into()
            }
            Message::ActiveSpeakerChanged(changed) => match changed.participant_id.parse() {
                Ok(participant_id) => Event::ActiveSpeaker(participant_id).into(),
                Err(_) => Change::default(),
            },
            Message::StreamQualityUpdate(update) => {
                let stream_id = update.stream_id.parse().ok();
                if stream_id.is_none() && !update.stream_id.is_empty() {
                    return Change::default();
                }
                Event::StreamQuality {
                    stream_id,
                    available_bitrate_bps: update.available_bitrate,
                    packet_loss: update.packet_loss,
                    rtt: Duration::from_millis(update.rtt_ms.into()),
                }
                .into()
            }
            Message::NetworkQualityChanged(changed) => {
                let qualities: Vec<NetworkQuality> =
                    changed.participants.iter().filter_map(|quality| self.graded(quality)).collect();
                let event = (!qualities.is_empty()).then_some(Event::NetworkQuality(qualities));
                Change { event, ..Change::default() }
            }
            Message::AutoSubscriptionsChanged(changed) => {
                let ids = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
                let subscribed = changed.subscribed.iter().filter_map(|chosen| {
                    Some(AutoSubscription {
                        participant_id: chosen.participant_id.parse().ok()?,
                        stream_id: chosen.stream_id.parse().ok()?,
                        wire_stream_id: chosen.wire_stream_id.parse().ok()?,
                    })
                });
                Event::AutoSubscriptionsChanged {
                    subscribed: subscribed.collect(),
                    unsubscribed: ids(&changed.unsubscribed_stream_ids),
                    ended: ids(&changed.ended_stream_ids),
                }
                .into()
            }
            Message::MeetingUpdated(updated) => {
                let spotlight = participant_ids(&updated.spotlight_participant_ids);
                let pb::MeetingUpdated { display_name, locked, .. } = updated;
                self.standing.display_name.clone_from(&display_name);
                self.standing.locked = locked;
                self.standing.spotlight.clone_from(&spotlight);
                Event::MeetingUpdated { display_name, locked, spotlight }.into()
            }
            Message::WaitingRoomChanged(changed) => {
                self.standing.waiting.clone_from(&changed.waiting);
                Event::WaitingRoomChanged(changed.waiting).into()
            }
            Message::StageChanged(changed) => {
                let on_stage = participant_ids(&changed.participant_ids);
                for participant in &mut self.participants {
                    participant.on_stage = on_stage.contains(&participant.participant_id);
                }
                let asking = participant_ids(&changed.asking_participant_ids);
                Event::StageChanged { on_stage, asking, invited: changed.invited }.into()
            }
            Message::ChatMessageSent(pb::ChatMessageSent { message: Some(message) }) => {
                Event::ChatMessage(message).into()
            }
            Message::ChatMessageUpdated(pb::ChatMessageUpdated { message: Some(message) }) => {
                Event::ChatMessageUpdated(message).into()
            }
            Message::MessageBroadcast(broadcast) => match broadcast.participant_id.parse() {
                Ok(participant_id) => {
                    let pb::MessageBroadcast { r#type: message_type, payload, .. } = broadcast;
                    Event::Broadcast { participant_id, message_type, payload }.into()
                }
                Err(_) => Change::default(),
            },
            Message::AudienceChanged(audience) => {
                self.standing.audience = audience;
                let pb::AudienceChanged { participants, viewers } = audience;
                Event::Audience { participants, viewers }.into()
            }
            Message::MeetingEnded(ended) => Event::MeetingEnded { reason: ended.reason }.into(),
            // Of features that this version of the SDK does not offer.
            _ => Change::default(),
        }
    }

    /// Puts a participant in or in the place of what was known; whether it was unknown. The own
    /// one is left out.
    fn put(&mut self, participant: Participant) -> bool {
        if participant.participant_id == self.own {
            return false;
        }
        match self.find(participant.participant_id) {
            Some(known) => {
                *known = participant;
                false
            }
            None => {
                self.participants.push(participant);
                true
            }
        }
    }

    fn graded(&mut self, quality: &pb::NetworkQuality) -> Option<NetworkQuality> {
        let participant_id = quality.participant_id.parse().ok()?;
        let grade = quality.grade();
        let is_own = participant_id == self.own;
        match self.find(participant_id) {
            Some(known) => known.network_grade = grade,
            // What everybody is told of it. It is told its score, too, beside this.
            None if is_own && quality.score == 0.0 => return None,
            None if is_own => {}
            None => return None,
        }
        let score = is_own.then_some(quality.score);
        Some(NetworkQuality { participant_id, grade, score })
    }

    fn is_own(&self, participant_id: &str) -> bool {
        participant_id.parse() == Ok(self.own)
    }

    fn find(&mut self, id: ParticipantId) -> Option<&mut Participant> {
        self.participants.iter_mut().find(|participant| participant.participant_id == id)
    }

    /// The server changed something of this session's own participant.
    fn own_updated(&mut self, message: pb::Participant) -> Change {
        let Some(participant) = Participant::from_message(message) else { return Change::default() };
        self.standing.role = participant.role;
        self.standing.state = participant.state;
        Event::SelfUpdated(participant).into()
    }

    /// Somebody joined or changed. What is told follows from what was known, so that an
    /// application never sees anybody join twice.
    fn updated(&mut self, message: pb::Participant) -> Change {
        let Some(participant) = Participant::from_message(message) else { return Change::default() };
        if participant.participant_id == self.own {
            return Change::default();
        }
        let gone = |known: &StreamDescription| {
            participant.streams.iter().all(|stream| stream.stream_id != known.stream_id)
        };
        let known = self.find(participant.participant_id).map_or(&[][..], |known| &known.streams);
        let ended_streams = known.iter().filter(|known| gone(known)).map(|known| known.stream_id).collect();
        let event = match self.put(participant.clone()) {
            true => Event::ParticipantJoined(participant),
            false => Event::ParticipantUpdated(participant),
        };
        Change { ended_streams, ..event.into() }
    }

    fn left(&mut self, message: &pb::ParticipantLeft) -> Change {
        let Ok(participant_id) = message.participant_id.parse() else { return Change::default() };
        let is_them = |participant: &Participant| participant.participant_id == participant_id;
        let Some(position) = self.participants.iter().position(is_them) else {
            return Change::default();
        };
        let participant = self.participants.remove(position);
        Change {
            ended_streams: participant.streams.iter().map(|stream| stream.stream_id).collect(),
            ..Event::ParticipantLeft { participant_id, reason: message.reason() }.into()
        }
    }

    fn published(&mut self, message: pb::StreamPublished) -> Option<Change> {
        let participant_id = message.participant_id.parse().ok()?;
        let stream = describe(message.stream?)?;
        let streams = &mut self.find(participant_id)?.streams;
        match streams.iter_mut().find(|known| known.stream_id == stream.stream_id) {
            Some(known) if *known == stream => return None,
            Some(known) => *known = stream.clone(),
            None => streams.push(stream.clone()),
        }
        Some(Event::StreamPublished { participant_id, stream }.into())
    }

    fn unpublished(&mut self, message: &pb::StreamUnpublished) -> Option<Change> {
        let participant_id = message.participant_id.parse().ok()?;
        let stream_id = message.stream_id.parse().ok()?;
        let event = Event::StreamUnpublished { participant_id, stream_id };
        if participant_id == self.own {
            return Some(Change { ended_publication: Some(stream_id), ..event.into() });
        }
        let streams = &mut self.find(participant_id)?.streams;
        let position = streams.iter().position(|stream| stream.stream_id == stream_id)?;
        streams.remove(position);
        Some(Change { ended_streams: vec![stream_id], ..event.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const OWN: u8 = 0;

    fn participant_id(n: u8) -> ParticipantId {
        ParticipantId::from_bytes([n; 16])
    }

    fn stream_id(n: u8) -> StreamId {
        StreamId::from_bytes([n; 16])
    }

    fn media_stream(n: u8) -> pb::MediaStream {
        pb::MediaStream {
            stream_id: stream_id(n).to_string(),
            stream_type: pb::StreamType::Audio.into(),
            metadata: Some(pb::StreamMetadata { codec: "Opus".to_owned(), ..Default::default() }),
        }
    }

    fn participant(n: u8, streams: &[u8]) -> pb::Participant {
        pb::Participant {
            participant_id: participant_id(n).to_string(),
            name: format!("participant {n}"),
            streams: streams.iter().map(|n| media_stream(*n)).collect(),
            ..Default::default()
        }
    }

    fn roster(existing: Vec<pb::Participant>) -> Roster {
        Roster::new(participant_id(OWN), existing, Standing::default())
    }

    fn joined(n: u8, streams: &[u8]) -> Message {
        Message::ParticipantJoined(pb::ParticipantJoined { participant: Some(participant(n, streams)) })
    }

    fn left(n: u8) -> Message {
        Message::ParticipantLeft(pb::ParticipantLeft {
            participant_id: participant_id(n).to_string(),
            reason: pb::LeaveReason::Kicked.into(),
        })
    }

    fn published(n: u8, stream: u8) -> Message {
        Message::StreamPublished(pb::StreamPublished {
            participant_id: participant_id(n).to_string(),
            stream: Some(media_stream(stream)),
        })
    }

    fn unpublished(n: u8, stream: u8) -> Message {
        Message::StreamUnpublished(pb::StreamUnpublished {
            participant_id: participant_id(n).to_string(),
            stream_id: stream_id(stream).to_string(),
        })
    }

    #[test]
    fn a_meeting_from_join_to_leave() {
        let mut roster = roster(vec![participant(OWN, &[9]), participant(1, &[10])]);
        assert_eq!(roster.participants().len(), 1, "the own participant is left out");
        assert!(roster.stream(stream_id(10)).is_some());

        assert!(matches!(roster.apply(joined(2, &[])).event, Some(Event::ParticipantJoined(_))));
        assert!(matches!(roster.apply(published(2, 20)).event, Some(Event::StreamPublished { .. })));
        assert_eq!(roster.apply(published(2, 20)), Change::default(), "said twice");
        assert_eq!(roster.apply(unpublished(1, 10)).ended_streams, [stream_id(10)]);
        let change = roster.apply(left(2));
        assert_eq!(change.ended_streams, [stream_id(20)]);
        assert_eq!(
            change.event,
            Some(Event::ParticipantLeft {
                participant_id: participant_id(2),
                reason: pb::LeaveReason::Kicked
            })
        );
        assert_eq!(roster.participants().len(), 1);
    }

    #[test]
    fn nobody_joins_twice() {
        let mut roster = roster(vec![]);
        assert!(matches!(roster.apply(joined(1, &[10, 11])).event, Some(Event::ParticipantJoined(_))));
        let change = roster.apply(joined(1, &[11]));
        assert!(matches!(change.event, Some(Event::ParticipantUpdated(_))));
        assert_eq!(change.ended_streams, [stream_id(10)]);
        assert_eq!(roster.apply(joined(OWN, &[])), Change::default());
    }

    #[test]
    fn nonsense_changes_nothing() {
        let mut roster = roster(vec![participant(1, &[])]);
        let mut bad_id = participant(2, &[]);
        bad_id.participant_id = "nobody".to_owned();
        let no_codec = pb::MediaStream { metadata: None, ..media_stream(7) };
        for message in [
            Message::ParticipantJoined(pb::ParticipantJoined { participant: Some(bad_id) }),
            Message::ParticipantJoined(pb::ParticipantJoined { participant: None }),
            Message::StreamPublished(pb::StreamPublished {
                participant_id: participant_id(1).to_string(),
                stream: Some(no_codec),
            }),
            published(5, 50),
            unpublished(1, 50),
            left(5),
            Message::RightsChanged(pb::RightsChanged { rights: None }),
            Message::ChatMessageSent(pb::ChatMessageSent { message: None }),
            Message::ChatMessageUpdated(pb::ChatMessageUpdated { message: None }),
            Message::MessageBroadcast(pb::MessageBroadcast::default()),
            Message::Ack(pb::Ack::default()),
        ] {
            assert_eq!(roster.apply(message.clone()), Change::default(), "{message:?}");
        }
    }

    #[test]
    fn a_session_knows_its_own_standing() {
        let joined = pb::JoinResponse {
            role: pb::Role::Host.into(),
            rights: Some(pb::Rights { preset: "host".to_owned(), ..Default::default() }),
            locked: true,
            spotlight_participant_ids: vec![participant_id(1).to_string(), "nobody".to_owned()],
            ..Default::default()
        };
        let mut roster = Roster::new(participant_id(OWN), vec![], Standing::new(&joined));
        assert_eq!((roster.standing.role, roster.standing.locked), (pb::Role::Host, true));
        assert_eq!(roster.standing.spotlight, [participant_id(1)]);
        assert_eq!(roster.standing.rights.preset, "host");

        let rights = pb::Rights { preset: "guest".to_owned(), ..Default::default() };
        let changed = Message::RightsChanged(pb::RightsChanged { rights: Some(rights.clone()) });
        assert_eq!(roster.apply(changed).event, Some(Event::RightsChanged(rights.clone())));
        assert_eq!(roster.standing.rights, rights);

        let updated = pb::MeetingUpdated {
            display_name: "Stand-up".to_owned(),
            locked: false,
            spotlight_participant_ids: vec![participant_id(2).to_string()],
        };
        let event = roster.apply(Message::MeetingUpdated(updated)).event;
        let spotlight = vec![participant_id(2)];
        assert_eq!((roster.standing.locked, &roster.standing.spotlight), (false, &spotlight));
        let display_name = "Stand-up".to_owned();
        assert_eq!(event, Some(Event::MeetingUpdated { display_name, locked: false, spotlight }));

        let muted = pb::ParticipantState { audio_muted: true, ..Default::default() };
        let own = pb::Participant { state: Some(muted), ..participant(OWN, &[]) };
        let updated = Message::ParticipantUpdated(pb::ParticipantUpdated { participant: Some(own) });
        assert!(matches!(roster.apply(updated).event, Some(Event::SelfUpdated(_))));
        assert_eq!(roster.standing.state, muted);
        assert!(roster.participants().is_empty(), "the own participant is left out");

        let waiting = vec![participant(7, &[])];
        let changed = pb::WaitingRoomChanged { waiting: waiting.clone() };
        let event = roster.apply(Message::WaitingRoomChanged(changed)).event;
        assert_eq!(event, Some(Event::WaitingRoomChanged(waiting.clone())));
        assert_eq!(roster.standing.waiting, waiting);
    }

    #[test]
    fn the_server_ends_an_own_stream() {
        let mut roster = roster(vec![participant(1, &[10])]);
        let change = roster.apply(unpublished(OWN, 9));
        assert_eq!(change.ended_publication, Some(stream_id(9)));
        assert!(change.ended_streams.is_empty());
        let (participant_id, stream_id) = (participant_id(OWN), stream_id(9));
        assert_eq!(change.event, Some(Event::StreamUnpublished { participant_id, stream_id }));
        assert_eq!(roster.apply(unpublished(1, 10)).ended_publication, None);
    }

    #[test]
    fn messages_become_events() {
        let mut roster = roster(vec![]);
        let message = pb::ChatMessage { message_id: 3, text: "hi".to_owned(), ..Default::default() };
        let sent = pb::ChatMessageSent { message: Some(message.clone()) };
        let event = roster.apply(Message::ChatMessageSent(sent)).event;
        assert_eq!(event, Some(Event::ChatMessage(message.clone())));
        let updated = pb::ChatMessageUpdated { message: Some(message.clone()) };
        let event = roster.apply(Message::ChatMessageUpdated(updated)).event;
        assert_eq!(event, Some(Event::ChatMessageUpdated(message)));

        let broadcast = pb::MessageBroadcast {
            participant_id: participant_id(1).to_string(),
            r#type: "reaction".to_owned(),
            payload: "+1".into(),
        };
        assert_eq!(
            roster.apply(Message::MessageBroadcast(broadcast)).event,
            Some(Event::Broadcast {
                participant_id: participant_id(1),
                message_type: "reaction".to_owned(),
                payload: "+1".into()
            })
        );

        let stage = pb::StageChanged {
            participant_ids: vec![participant_id(1).to_string()],
            asking_participant_ids: vec![participant_id(2).to_string()],
            invited: true,
        };
        let (on_stage, asking) = (vec![participant_id(1)], vec![participant_id(2)]);
        let event = roster.apply(Message::StageChanged(stage)).event;
        assert_eq!(event, Some(Event::StageChanged { on_stage, asking, invited: true }));

        let ended = pb::MeetingEnded { reason: "over".to_owned() };
        let event = roster.apply(Message::MeetingEnded(ended)).event;
        assert_eq!(event, Some(Event::MeetingEnded { reason: "over".to_owned() }));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Joined(u8, BTreeSet<u8>),
        Left(u8),
        Published(u8, u8),
        Unpublished(u8, u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let who = 0u8..5;
        prop_oneof![
            (who.clone(), proptest::collection::btree_set(20u8..26, 0..3))
                .prop_map(|(n, s)| Op::Joined(n, s)),
            who.clone().prop_map(Op::Left),
            (who.clone(), 20u8..26).prop_map(|(n, s)| Op::Published(n, s)),
            (who, 20u8..26).prop_map(|(n, s)| Op::Unpublished(n, s)),
        ]
    }

    #[test]
    fn a_snapshot_is_told_as_what_has_changed() {
        let mut roster = roster(vec![participant(1, &[1]), participant(2, &[2]), participant(3, &[])]);
        roster.standing.state.hand_raised = true;
        let rights = pb::Rights { admit: true, ..Default::default() };
        let standing = Standing { rights: rights.clone(), locked: true, ..Standing::default() };
        let now = vec![participant(2, &[3]), participant(3, &[]), participant(4, &[4])];
        let changes = roster.replace(now.clone(), standing);
        let ended: Vec<StreamId> = changes.iter().flat_map(|change| change.ended_streams.clone()).collect();
        assert_eq!(ended, [stream_id(1), stream_id(2)]);
        let event = |n: usize| changes[n].event.clone().expect("told");
        assert!(
            matches!(event(0), Event::ParticipantLeft { participant_id: id, .. } if id == participant_id(1))
        );
        assert!(
            matches!(event(1), Event::ParticipantUpdated(two) if two.streams[0].stream_id == stream_id(3))
        );
        assert!(
            matches!(event(2), Event::ParticipantJoined(four) if four.participant_id == participant_id(4))
        );
        assert_eq!(event(3), Event::RightsChanged(rights));
        assert!(matches!(event(4), Event::MeetingUpdated { locked: true, .. }));
        assert_eq!(changes.len(), 5);
        assert!(roster.standing.state.hand_raised, "what it says of itself");
        let standing =
            Standing { rights: roster.standing.rights.clone(), locked: true, ..Standing::default() };
        assert!(roster.replace(now, standing).is_empty(), "nothing has");
    }

    #[test]
    fn a_snapshot_names_the_meeting_and_says_that_nobody_waits_any_more() {
        let mut roster = roster(vec![]);
        let named = |display_name: &str| {
            Message::MeetingUpdated(pb::MeetingUpdated {
                display_name: display_name.to_owned(),
                ..Default::default()
            })
        };
        roster.apply(named("Stand-up"));
        roster.apply(Message::WaitingRoomChanged(pb::WaitingRoomChanged {
            waiting: vec![participant(7, &[])],
        }));
        let now = |display_name: &str, locked| Standing {
            display_name: display_name.to_owned(),
            locked,
            ..Standing::default()
        };
        let told = |changes: Vec<Change>| changes.into_iter().map(|change| change.event).collect::<Vec<_>>();
        let updated = |display_name: &str, locked| {
            let (display_name, spotlight) = (display_name.to_owned(), vec![]);
            Some(Event::MeetingUpdated { display_name, locked, spotlight })
        };
        assert_eq!(
            told(roster.replace(vec![], now("Stand-up", true))),
            [updated("Stand-up", true), Some(Event::WaitingRoomChanged(vec![]))]
        );
        assert_eq!(told(roster.replace(vec![], now("Retro", true))), [updated("Retro", true)]);
    }

    proptest! {
        /// Any order of messages gives what a plain map of sets gives, and an application that
        /// only follows the events ends with the same roster.
        #[test]
        fn agrees_with_a_model(ops in proptest::collection::vec(op(), 0..60)) {
            let mut roster = roster(vec![]);
            let mut model: BTreeMap<ParticipantId, BTreeSet<StreamId>> = BTreeMap::new();
            let mut followed: BTreeMap<ParticipantId, BTreeSet<StreamId>> = BTreeMap::new();
            for op in ops {
                let message = match op {
                    Op::Joined(n, streams) => {
                        let ids = streams.iter().map(|n| stream_id(*n)).collect();
                        if n != OWN {
                            model.insert(participant_id(n), ids);
                        }
                        joined(n, &streams.into_iter().collect::<Vec<_>>())
                    }
                    Op::Left(n) => {
                        model.remove(&participant_id(n));
                        left(n)
                    }
                    Op::Published(n, stream) => {
                        if let Some(streams) = model.get_mut(&participant_id(n)) {
                            streams.insert(stream_id(stream));
                        }
                        published(n, stream)
                    }
                    Op::Unpublished(n, stream) => {
                        if let Some(streams) = model.get_mut(&participant_id(n)) {
                            streams.remove(&stream_id(stream));
                        }
                        unpublished(n, stream)
                    }
                };
                match roster.apply(message).event {
                    Some(Event::ParticipantJoined(p)) => {
                        let streams = p.streams.iter().map(|stream| stream.stream_id).collect();
                        prop_assert!(followed.insert(p.participant_id, streams).is_none());
                    }
                    Some(Event::ParticipantUpdated(p)) => {
                        let streams = p.streams.iter().map(|stream| stream.stream_id).collect();
                        prop_assert!(followed.insert(p.participant_id, streams).is_some());
                    }
                    Some(Event::ParticipantLeft { participant_id, .. }) => {
                        prop_assert!(followed.remove(&participant_id).is_some());
                    }
                    Some(Event::StreamPublished { participant_id, stream }) => {
                        let streams = followed.get_mut(&participant_id);
                        prop_assert!(streams.is_some_and(|streams| streams.insert(stream.stream_id)));
                    }
                    Some(Event::StreamUnpublished { participant_id, .. })
                        if participant_id == self::participant_id(OWN) => {}
                    Some(Event::StreamUnpublished { participant_id, stream_id }) => {
                        let streams = followed.get_mut(&participant_id);
                        prop_assert!(streams.is_some_and(|streams| streams.remove(&stream_id)));
                    }
                    _ => {}
                }
                let known: BTreeMap<_, BTreeSet<_>> = roster
                    .participants()
                    .iter()
                    .map(|p| (p.participant_id, p.streams.iter().map(|stream| stream.stream_id).collect()))
                    .collect();
                prop_assert_eq!(&known, &model);
                prop_assert_eq!(&followed, &model);
            }
        }
    }
}
