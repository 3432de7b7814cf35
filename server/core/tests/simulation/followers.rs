//! Those who know a meeting only by what it tells them: clients and the media handler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use darktower_core::meeting::{Event, Joined, MediaCommand};
use darktower_protocol::signaling::{StreamDescription, pb};
use darktower_protocol::{ParticipantId, StreamId};
use pb::envelope::Message;

use crate::Checked;

/// A participant as others see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) is_host: bool,
    pub(crate) state: pb::ParticipantState,
    pub(crate) streams: BTreeSet<StreamId>,
    pub(crate) on_stage: bool,
    pub(crate) reconnecting: bool,
    pub(crate) network: pb::NetworkGrade,
}

impl Seen {
    pub(crate) fn of(message: &pb::Participant) -> Checked<(ParticipantId, Self)> {
        let streams = message.streams.iter().map(|stream| stream_id(&stream.stream_id));
        let seen = Self {
            name: message.name.clone(),
            is_host: message.role() == pb::Role::Host,
            state: message.state.unwrap_or_default(),
            streams: streams.collect::<Checked<_>>()?,
            on_stage: message.on_stage,
            reconnecting: message.reconnecting,
            network: message.network_grade(),
        };
        Ok((participant_id(&message.participant_id)?, seen))
    }
}

/// A client: what it was told when it came, and every event since, in order.
#[derive(Debug)]
pub(crate) struct Client {
    own: ParticipantId,
    /// Otherwise events do not arrive.
    pub(crate) connected: bool,
    /// Number of the last event that the meeting has had for it.
    pub(crate) sent: u64,
    /// Number of the last event that has arrived.
    pub(crate) seen: u64,
    pub(crate) roster: BTreeMap<ParticipantId, Seen>,
    pub(crate) rights: pb::Rights,
    pub(crate) locked: bool,
    pub(crate) spotlight: Vec<ParticipantId>,
    pub(crate) waiting: BTreeSet<ParticipantId>,
    pub(crate) stage: BTreeSet<ParticipantId>,
    pub(crate) asking: Vec<ParticipantId>,
    pub(crate) invited: bool,
    /// What was chosen for it, with the wire stream ids.
    pub(crate) auto: BTreeMap<StreamId, StreamId>,
    pub(crate) speaker: Option<ParticipantId>,
    /// How many there are, as it was last told.
    pub(crate) audience: pb::AudienceChanged,
}

impl Client {
    pub(crate) fn new(own: ParticipantId, joined: &Joined) -> Checked<Self> {
        let roster = joined.existing.iter().map(Seen::of).collect::<Checked<BTreeMap<_, _>>>()?;
        ensure!(roster.len() == joined.existing.len(), "somebody is in the snapshot twice");
        ensure!(!roster.contains_key(&own), "{own} is in its own snapshot");
        Ok(Self {
            own,
            connected: true,
            sent: 0,
            seen: 0,
            roster,
            rights: joined.rights.clone(),
            locked: joined.locked,
            spotlight: joined.spotlight.clone(),
            waiting: BTreeSet::new(),
            stage: BTreeSet::new(),
            asking: Vec::new(),
            invited: false,
            auto: BTreeMap::new(),
            speaker: None,
            audience: pb::AudienceChanged::default(),
        })
    }

    /// The meeting has an event for it; says whether it arrives.
    pub(crate) fn take(&mut self, sequence: u64, event: &Message) -> Checked<bool> {
        ensure!(sequence == self.sent + 1, "event {sequence} for {} comes after {}", self.own, self.sent);
        self.sent = sequence;
        self.check_private(event)?;
        if self.connected {
            self.seen = sequence;
            self.apply(event).map_err(|what| format!("{} gets {event:?}: {what}", self.own))?;
        }
        Ok(self.connected)
    }

    /// It is back, and gets everything after `from`, maybe some of it again.
    pub(crate) fn catch_up(&mut self, from: u64, missed: &[(u64, Arc<Event>)]) -> Checked {
        self.connected = true;
        let numbers: Vec<u64> = missed.iter().map(|(sequence, _)| *sequence).collect();
        let expected: Vec<u64> = (from + 1..=self.sent).collect();
        ensure!(numbers == expected, "{} missed {expected:?} and gets {numbers:?}", self.own);
        for (sequence, event) in missed {
            if *sequence > self.seen {
                self.seen = *sequence;
                self.apply(event).map_err(|what| format!("{} catches up {event:?}: {what}", self.own))?;
            }
        }
        Ok(())
    }

    /// What two write to each other reaches nobody else.
    fn check_private(&self, event: &Message) -> Checked {
        let (Message::ChatMessageSent(pb::ChatMessageSent { message: Some(message) })
        | Message::ChatMessageUpdated(pb::ChatMessageUpdated { message: Some(message) })) = event
        else {
            return Ok(());
        };
        let own = self.own.to_string();
        let concerns = message.to_participant_id.is_empty()
            || message.to_participant_id == own
            || message.participant_id == own;
        ensure!(concerns, "{own} gets a message that is not for it: {message:?}");
        Ok(())
    }

    fn apply(&mut self, event: &Message) -> Checked {
        match event {
            Message::ParticipantJoined(pb::ParticipantJoined { participant: Some(participant) }) => {
                let (id, seen) = Seen::of(participant)?;
                ensure!(id != self.own, "it is told that it came");
                ensure!(self.roster.insert(id, seen).is_none(), "it knew already");
            }
            Message::ParticipantLeft(left) => {
                let id = participant_id(&left.participant_id)?;
                let gone = self.roster.remove(&id).ok_or("it did not know of this participant")?;
                self.auto.retain(|stream, _| !gone.streams.contains(stream));
                self.speaker = self.speaker.filter(|speaker| *speaker != id);
            }
            Message::ParticipantUpdated(pb::ParticipantUpdated { participant: Some(participant) }) => {
                let (id, seen) = Seen::of(participant)?;
                if id != self.own {
                    ensure!(self.roster.insert(id, seen).is_some(), "it did not know of this participant");
                }
            }
            Message::StreamPublished(pb::StreamPublished { participant_id: id, stream: Some(stream) }) => {
                let stream = stream_id(&stream.stream_id)?;
                ensure!(self.of(id)?.streams.insert(stream), "it knew already");
            }
            Message::StreamUnpublished(gone) => {
                let stream = stream_id(&gone.stream_id)?;
                if participant_id(&gone.participant_id)? != self.own {
                    let was_known = self.of(&gone.participant_id)?.streams.remove(&stream);
                    ensure!(was_known, "it did not know of this stream");
                    self.auto.remove(&stream);
                }
            }
            Message::RightsChanged(pb::RightsChanged { rights: Some(rights) }) => {
                self.rights = rights.clone();
                if !self.rights.admit {
                    self.waiting.clear();
                }
                if !self.rights.manage_stage {
                    self.asking.clear();
                }
                let media = [self.rights.audio(), self.rights.camera(), self.rights.screen()];
                self.invited &= media.contains(&pb::Produce::CanRequest);
            }
            Message::MeetingUpdated(updated) => {
                self.locked = updated.locked;
                self.spotlight = participant_ids(&updated.spotlight_participant_ids)?;
            }
            Message::WaitingRoomChanged(changed) => {
                ensure!(self.rights.admit, "it may not let anybody in");
                let ids = changed.waiting.iter().map(|waiting| participant_id(&waiting.participant_id));
                self.waiting = ids.collect::<Checked<_>>()?;
            }
            Message::StageChanged(changed) => {
                self.stage = participant_ids(&changed.participant_ids)?.into_iter().collect();
                self.asking = participant_ids(&changed.asking_participant_ids)?;
                self.invited = changed.invited;
                ensure!(self.asking.is_empty() || self.rights.manage_stage, "it may not decide");
                for (id, seen) in &mut self.roster {
                    seen.on_stage = self.stage.contains(id);
                }
            }
            Message::AutoSubscriptionsChanged(changed) => {
                for text in &changed.unsubscribed_stream_ids {
                    ensure!(self.auto.remove(&stream_id(text)?).is_some(), "{text} was not on its list");
                }
                for subscribed in &changed.subscribed {
                    let stream = stream_id(&subscribed.stream_id)?;
                    let is_known = self.of(&subscribed.participant_id)?.streams.contains(&stream);
                    ensure!(is_known, "it did not know of stream {stream}");
                    let wire_id = stream_id(&subscribed.wire_stream_id)?;
                    let before = self.auto.insert(stream, wire_id);
                    ensure!(before != Some(wire_id), "it knew already");
                }
                for text in &changed.ended_stream_ids {
                    let is_listed = self.auto.contains_key(&stream_id(text)?);
                    ensure!(!is_listed, "{text} was chosen for it, and not its own");
                }
            }
            Message::ActiveSpeakerChanged(changed) => {
                let speaker = participant_id(&changed.participant_id)?;
                let is_known = speaker == self.own || self.roster.contains_key(&speaker);
                ensure!(is_known, "it does not know who speaks");
                ensure!(self.speaker.replace(speaker) != Some(speaker), "it knew already");
            }
            Message::NetworkQualityChanged(changed) => {
                for quality in &changed.participants {
                    ensure!(quality.score == 0.0, "a score is its owner's alone");
                    if participant_id(&quality.participant_id)? != self.own {
                        self.of(&quality.participant_id)?.network = quality.grade();
                    }
                }
            }
            Message::ChatMessageSent(_) | Message::ChatMessageUpdated(_) | Message::MessageBroadcast(_) => {}
            _ => return Err("this is no complete event".to_owned()),
        }
        Ok(())
    }

    /// Something of the moment, without a number.
    pub(crate) fn notice(&mut self, event: &Message) -> Checked {
        if !self.connected {
            return Ok(());
        }
        match event {
            Message::StreamQualityUpdate(update) => {
                let is_share = (0.0..=1.0).contains(&update.packet_loss);
                ensure!(is_share, "{} is told of a loss of {}", self.own, update.packet_loss);
                if !update.stream_id.is_empty() {
                    stream_id(&update.stream_id)?;
                }
            }
            Message::NetworkQualityChanged(changed) => {
                let own = changed.participants.iter().map(|quality| participant_id(&quality.participant_id));
                ensure!(own.collect::<Checked<Vec<_>>>()? == [self.own], "the score of somebody else");
                ensure!(changed.participants.iter().all(|own| own.score >= 1.0), "no score: {event:?}");
            }
            Message::AudienceChanged(audience) => self.audience = *audience,
            _ => return Err(format!("{} is told this without a number: {event:?}", self.own)),
        }
        Ok(())
    }

    fn of(&mut self, id: &str) -> Checked<&mut Seen> {
        let id = participant_id(id)?;
        self.roster.get_mut(&id).ok_or_else(|| format!("it did not know of {id}"))
    }
}

/// A media handler that does what it is told.
#[derive(Debug, Default)]
pub(crate) struct MediaHandler {
    /// Streams of every participant that may publish or receive, with their wire stream ids.
    pub(crate) registered: BTreeMap<ParticipantId, BTreeMap<StreamId, Vec<StreamId>>>,
    owners: BTreeMap<StreamId, ParticipantId>,
    /// To whom a wire stream is routed; without those that nobody gets.
    routes: BTreeMap<StreamId, Vec<ParticipantId>>,
    /// Wire streams of which no units go to them.
    shut: BTreeSet<StreamId>,
    /// Whose video goes before other video.
    pub(crate) prominent: BTreeSet<ParticipantId>,
}

impl MediaHandler {
    pub(crate) fn knows(&self, participant: ParticipantId) -> bool {
        self.registered.contains_key(&participant)
    }

    /// Who gets units of a wire stream; without those that nobody gets.
    pub(crate) fn forwarded(&self) -> impl Iterator<Item = (StreamId, &[ParticipantId])> {
        let routes = self.routes.iter().filter(|(wire_id, _)| !self.shut.contains(wire_id));
        routes.map(|(wire_id, destinations)| (*wire_id, destinations.as_slice()))
    }

    pub(crate) fn carry_out(&mut self, command: &MediaCommand) -> Checked {
        match command {
            MediaCommand::Register { participant, streams } => {
                let wire_ids = |stream: &StreamDescription| {
                    stream.layers.iter().map(|layer| layer.wire_stream_id).collect::<Vec<_>>()
                };
                let streams: BTreeMap<StreamId, Vec<StreamId>> =
                    streams.iter().map(|stream| (stream.stream_id, wire_ids(stream))).collect();
                self.owners.retain(|_, owner| *owner != *participant);
                for wire_id in streams.values().flatten() {
                    let before = self.owners.insert(*wire_id, *participant);
                    ensure!(before.is_none(), "wire stream {wire_id} is registered twice");
                }
                self.registered.insert(*participant, streams);
                self.end_unknown();
            }
            MediaCommand::Unregister { participant } => {
                ensure!(self.registered.remove(participant).is_some(), "{participant} was not registered");
                self.owners.retain(|_, owner| *owner != *participant);
                self.prominent.remove(participant);
                self.end_unknown();
            }
            MediaCommand::Prominent { participant, is_prominent } => {
                ensure!(self.registered.contains_key(participant), "{participant} is not registered");
                let is_news = match is_prominent {
                    true => self.prominent.insert(*participant),
                    false => self.prominent.remove(participant),
                };
                ensure!(is_news, "{participant} was prominent before, or was not: {is_prominent}");
            }
            MediaCommand::Route { wire_stream_id, destination, is_routed } => {
                ensure!(
                    self.owners.contains_key(wire_stream_id),
                    "the route of a stream that is not registered: {wire_stream_id}"
                );
                let destinations = self.routes.entry(*wire_stream_id).or_default();
                match (destinations.binary_search(destination), is_routed) {
                    (Err(place), true) => destinations.insert(place, *destination),
                    (Ok(place), false) => drop(destinations.remove(place)),
                    _ => return Err(format!("{wire_stream_id} is routed to {destination} as before")),
                }
            }
            MediaCommand::Advise { wire_stream_id, target_bitrate_bps } => {
                let is_known = self.owners.contains_key(wire_stream_id);
                ensure!(is_known, "advice for a stream that is not registered: {wire_stream_id}");
                ensure!(*target_bitrate_bps > 0, "advice to send nothing of {wire_stream_id}");
            }
            MediaCommand::Forward { wire_stream_id, is_forwarded } => {
                ensure!(
                    self.owners.contains_key(wire_stream_id),
                    "forwarding of a stream that is not registered: {wire_stream_id}"
                );
                if *is_forwarded {
                    self.shut.remove(wire_stream_id);
                } else {
                    self.shut.insert(*wire_stream_id);
                }
            }
        }
        Ok(())
    }

    fn end_unknown(&mut self) {
        let owners = &self.owners;
        self.routes.retain(|wire_id, _| owners.contains_key(wire_id));
        self.shut.retain(|wire_id| owners.contains_key(wire_id));
    }
}

fn participant_id(text: &str) -> Checked<ParticipantId> {
    text.parse().map_err(|_| format!("{text:?} is not a participant's id"))
}

fn participant_ids(texts: &[String]) -> Checked<Vec<ParticipantId>> {
    texts.iter().map(|text| participant_id(text)).collect()
}

fn stream_id(text: &str) -> Checked<StreamId> {
    text.parse().map_err(|_| format!("{text:?} is not a stream's id"))
}
