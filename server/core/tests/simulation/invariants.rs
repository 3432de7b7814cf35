//! The invariants.

use std::collections::{BTreeMap, BTreeSet};

use darktower_core::meeting::WaitingRoom;
use darktower_protocol::{ParticipantId, StreamId};

use crate::Checked;
use crate::followers::Seen;
use crate::model::Stream;
use crate::world::World;

/// Invariants that are looked at, counted.
#[derive(Debug, Default)]
struct Checks(u64);

impl Checks {
    fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) -> Checked {
        self.0 += 1;
        if holds { Ok(()) } else { Err(what()) }
    }
}

impl World {
    /// What must be true after every step.
    pub(crate) fn check(&mut self) -> Checked {
        let mut checks = Checks::default();
        let roster = self.check_people(&mut checks)?;
        self.check_media(&mut checks)?;
        self.check_clients(&mut checks, &roster)?;
        let recorded = self.records.check(|id| self.model.here.contains_key(&id));
        checks.hold(recorded.is_ok(), || recorded.err().unwrap_or_default())?;
        self.tally.checks += checks.0;
        Ok(())
    }

    fn check_people(&self, checks: &mut Checks) -> Checked<Vec<(ParticipantId, Seen)>> {
        let Self { meeting, model, .. } = self;
        let mut expected = model.roster();
        let roster = meeting.roster().iter().map(Seen::of).collect::<Checked<Vec<_>>>()?;
        // What is made of samples the model does not know; that everybody is told of it, the clients show.
        for ((_, expected), (_, seen)) in expected.iter_mut().zip(&roster) {
            expected.network = seen.network;
        }
        checks.hold(roster == expected, || format!("the roster is {roster:#?}\ninstead of {expected:#?}"))?;
        let count = meeting.participant_count();
        checks.hold(count == model.here.len(), || format!("{count} are counted"))?;
        let is_empty = model.here.is_empty() && model.waiting.is_empty();
        checks.hold(meeting.is_empty() == is_empty, || format!("empty: {is_empty}"))?;
        let waiting = meeting.waiting_count();
        checks.hold(waiting == model.waiting.len(), || {
            format!("{waiting} wait instead of {:?}", model.waiting)
        })?;
        let both = model.waiting.iter().find(|id| meeting.contains(**id));
        checks.hold(both.is_none(), || format!("{both:?} waits and is here"))?;
        let must_wait = match model.waiting_room {
            WaitingRoom::Off => false,
            WaitingRoom::UntilHost => !model.somebody_admits(),
            WaitingRoom::Admission => true,
        };
        checks.hold(must_wait || model.locked || model.waiting.is_empty(), || {
            format!("nobody has to wait, and these do: {:?}", model.waiting)
        })?;
        for (id, person) in &model.here {
            checks.hold(meeting.is_current(*id, person.epoch), || format!("{id} is not current"))?;
            for stream in model.here.values().flat_map(|person| person.streams.keys()) {
                let subscribed = meeting.subscribed_wire_stream(*id, *stream);
                let expected = person.wants.get(stream).map(|want| want.wire_id);
                checks.hold(subscribed == expected, || {
                    format!("{id} is subscribed to {subscribed:?} of {stream} instead of {expected:?}")
                })?;
            }
            let videos = person.wants.keys().filter(|stream| model.is_video(**stream)).count();
            let max_video = model.max_video(person);
            checks.hold(videos <= max_video, || format!("{id} gets {videos} videos of {max_video}"))?;
            for stream in person.streams.values() {
                checks.hold(person.may_send(stream.kind), || format!("{id} may not send {stream:?}"))?;
            }
        }
        if let Some((id, epoch)) = self.old_epochs.last() {
            checks.hold(!meeting.is_current(*id, *epoch), || format!("{id} has an old session"))?;
        }
        Ok(roster)
    }

    fn check_media(&self, checks: &mut Checks) -> Checked {
        let Self { model, media, .. } = self;
        let published: BTreeMap<ParticipantId, BTreeMap<StreamId, Vec<StreamId>>> = model
            .here
            .iter()
            .map(|(id, person)| {
                let wire_ids =
                    |stream: &Stream| stream.layers.iter().map(|layer| layer.wire_id).collect::<Vec<_>>();
                let streams = person.streams.iter().map(|(id, stream)| (*id, wire_ids(stream)));
                (*id, streams.collect::<BTreeMap<_, _>>())
            })
            .collect();
        checks.hold(media.registered == published, || {
            format!("registered are {:#?}\ninstead of {published:#?}", media.registered)
        })?;
        let publishers = model.wire_streams();
        for (wire_id, destinations) in media.forwarded() {
            let publisher =
                publishers.get(&wire_id).and_then(|(id, kind)| Some((model.here.get(id)?, *kind)));
            let Some((publisher, kind)) = publisher else {
                return Err(format!("{wire_id} is forwarded, and nobody publishes it"));
            };
            checks.hold(publisher.may_send(kind), || format!("{wire_id} is forwarded against all rights"))?;
            checks.hold(!publisher.is_silent(kind), || {
                format!("{wire_id} is forwarded to {destinations:?} although it is muted")
            })?;
            for id in destinations {
                let receiver = model.here.get(id);
                let may = receiver
                    .is_some_and(|receiver| receiver.sees(publisher) && receiver.epoch != publisher.epoch);
                checks.hold(may, || format!("{id} gets {wire_id} and must not"))?;
            }
        }
        let forwarded: Vec<(StreamId, ParticipantId)> = media
            .forwarded()
            .flat_map(|(wire_id, destinations)| destinations.iter().map(move |id| (wire_id, *id)))
            .collect();
        let expected = model.routes();
        checks.hold(forwarded == expected, || {
            format!("forwarded is {forwarded:#?}\ninstead of {expected:#?}")
        })?;
        let places = model.limits.heard_participants + model.spotlight.len();
        let heard = model.voices.heard_by_loudness();
        checks.hold(model.limits.heard_participants == 0 || heard <= places, || {
            format!("{heard} are heard of those who tell how loud they are")
        })?;
        let unheard = model.voices.unheard_without_need();
        checks.hold(model.limits.heard_participants == 0 || unheard.is_none(), || {
            format!("{unheard:?} is not heard, and there are places")
        })?;
        let prominent = model.prominent();
        checks.hold(media.prominent == prominent, || {
            format!("prominent are {:?} instead of {prominent:?}", media.prominent)
        })
    }

    fn check_clients(&self, checks: &mut Checks, roster: &[(ParticipantId, Seen)]) -> Checked {
        let Self { model, clients, .. } = self;
        checks
            .hold(clients.keys().eq(model.here.keys()), || "clients are not those who are here".to_owned())?;
        let on_stage: BTreeSet<ParticipantId> =
            roster.iter().filter(|(_, seen)| seen.on_stage).map(|(id, _)| *id).collect();
        for (id, client) in clients.iter().filter(|(_, client)| client.connected) {
            let visible = roster.iter().filter(|(other, _)| other != id && model.sees(*id, *other));
            let visible = visible.map(|entry| (&entry.0, &entry.1));
            checks.hold(client.roster.iter().eq(visible), || {
                format!("{id} knows of {:#?}\nthe roster is {roster:#?}", client.roster)
            })?;
            let Some(person) = model.here.get(id) else { continue };
            let standing = person.standing;
            let knows_rights =
                client.rights.preset == standing.preset.name && client.rights.run_meeting == standing.is_host;
            checks.hold(knows_rights, || format!("{id} knows its rights as {:?}", client.rights))?;
            let max_video = model.max_video(person);
            checks.hold(client.rights.max_video_streams as usize == max_video, || {
                format!("{id} believes that it may have {:?}; it is {max_video}", client.rights)
            })?;
            let chosen = person.wants.iter().filter(|(_, want)| want.is_auto);
            let chosen: BTreeMap<StreamId, StreamId> =
                chosen.map(|(stream, want)| (*stream, want.wire_id)).collect();
            checks.hold(client.auto == chosen, || {
                format!("{id} believes that it gets {:#?}; it is {chosen:#?}", client.auto)
            })?;
            let speaker = person.knows_speaker;
            checks.hold(client.speaker == speaker, || {
                format!("{id} believes that {:?} speaks; it was told of {speaker:?}", client.speaker)
            })?;
            let knows_meeting = client.locked == model.locked && client.spotlight == model.spotlight;
            checks.hold(knows_meeting, || {
                format!("{id} does not know the lock or the spotlight: {client:?}")
            })?;
            let waiting = Some(&model.waiting).filter(|_| standing.may().accept_waiting_requests);
            checks.hold(client.waiting == waiting.cloned().unwrap_or_default(), || {
                format!("{id} believes that {:?} wait; it is {:?}", client.waiting, model.waiting)
            })?;
            checks.hold(client.stage == on_stage, || {
                format!("{id} believes that {:?} are on the stage; it is {on_stage:?}", client.stage)
            })?;
            let asking = Some(&model.asking).filter(|_| standing.may().can_accept_production_requests);
            checks.hold(client.asking == asking.cloned().unwrap_or_default(), || {
                format!("{id} believes that {:?} ask for the stage; it is {:?}", client.asking, model.asking)
            })?;
            checks.hold(client.invited == person.invited, || {
                format!("{id} believes that it is invited: {}; it is: {}", client.invited, person.invited)
            })?;
        }
        Ok(())
    }
}
