//! What participants send and want to get.

use std::collections::BTreeSet;
use std::time::Duration;

use darktower_protocol::signaling::pb;
use darktower_protocol::{ParticipantId, StreamId};
use pb::StreamType;

use crate::Checked;
use crate::attention::{Auto, Want};
use crate::model::Stream;
use crate::ops::{AutoOptions, Name, Shape, Which};
use crate::world::World;

/// Between two reports of somebody who speaks.
const REPORT: Duration = Duration::from_millis(100);

impl World {
    pub(crate) fn publish(
        &mut self,
        by: ParticipantId,
        stream: Which,
        kind: StreamType,
        shape: Shape,
    ) -> Checked<bool> {
        let layers = match stream {
            Name::One(id) => shape.layers(id),
            Name::Empty | Name::Malformed => Vec::new(),
        };
        let taken = self.model.wire_streams();
        let screens = self.model.streams().filter(|stream| stream.kind == StreamType::VideoScreen).count();
        let max_layers = self.model.limits.max_layers_per_participant;
        let expected = self.model.here.get(&by).is_some_and(|person| {
            let is_free = matches!(stream, Name::One(id) if self.model.owner_of(id).is_none())
                && layers.iter().all(|layer| !taken.contains_key(&layer.wire_id));
            let max_screens = person.standing.preset.config.max_screenshare_count as usize;
            let is_one_too_many = kind == StreamType::VideoScreen && screens >= max_screens;
            let published: usize = person.streams.values().map(|stream| stream.layers.len()).sum();
            let fits = published + layers.len() <= max_layers;
            shape != Shape::Malformed && is_free && person.may_send(kind) && !is_one_too_many && fits
        });
        let result = self.meeting.publish(by, shape.request(&stream, kind));
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let (Some(person), Name::One(id)) = (self.model.here.get_mut(&by), stream) {
            person.camera_off &= kind != StreamType::VideoCamera;
            person.streams.insert(id, Stream { kind, layers });
        }
        self.done()
    }

    pub(crate) fn unpublish(&mut self, by: ParticipantId, stream: Which) -> Checked<bool> {
        let expected = matches!(stream, Name::One(id) if self.model.owner_of(id) == Some(by));
        let result = self.meeting.unpublish(by, &pb::UnpublishStream { stream_id: stream.text() });
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let (Some(person), Name::One(id)) = (self.model.here.get_mut(&by), stream) {
            person.streams.remove(&id);
        }
        self.model.tidy();
        self.done()
    }

    pub(crate) fn subscribe(
        &mut self,
        by: ParticipantId,
        stream: Which,
        preferred: &str,
        max_bitrate: u32,
    ) -> Checked<bool> {
        let expected = self.wire_stream_for(by, stream, preferred, max_bitrate);
        let options = pb::SubscriptionOptions { preferred_layer: preferred.to_owned(), max_bitrate };
        let request = pb::SubscribeStream { stream_id: stream.text(), options: Some(options) };
        let result = self.meeting.subscribe(by, &request);
        let Some(wire_id) = self.agreed(expected.is_some(), result)? else { return Ok(false) };
        ensure!(Some(wire_id) == expected, "{by} is to get {wire_id} instead of {expected:?}");
        if let (Some(person), Name::One(id)) = (self.model.here.get_mut(&by), stream) {
            person.wants.insert(id, Want { wire_id, is_auto: false });
            if !person.asked.contains(&id) {
                person.asked.push(id);
            }
            if let Some(auto) = &mut person.auto {
                auto.unwanted.remove(&id);
            }
        }
        self.done()
    }

    fn wire_stream_for(
        &self,
        by: ParticipantId,
        stream: Which,
        preferred: &str,
        max_bitrate: u32,
    ) -> Option<StreamId> {
        let Name::One(id) = stream else { return None };
        let owner = self.model.owner_of(id)?;
        let found = self.model.stream(id)?;
        if owner == by || !self.model.sees(by, owner) {
            return None;
        }
        let person = self.model.here.get(&by)?;
        let has_room = self.model.asked_video(person).len() < self.model.max_video(person);
        let is_one_more = found.kind != StreamType::Audio && !person.asked.contains(&id);
        (!is_one_more || has_room).then(|| found.layer(preferred, max_bitrate))
    }

    pub(crate) fn unsubscribe(&mut self, by: ParticipantId, stream: Which) -> Checked<bool> {
        let wants = self.model.here.get(&by).map(|person| &person.wants);
        let expected = matches!(stream, Name::One(id) if wants.is_some_and(|wants| wants.contains_key(&id)));
        let result = self.meeting.unsubscribe(by, &pb::UnsubscribeStream { stream_id: stream.text() });
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let (Some(person), Name::One(id)) = (self.model.here.get_mut(&by), stream) {
            person.wants.remove(&id);
            person.asked.retain(|asked| *asked != id);
            if let Some(auto) = &mut person.auto {
                auto.unwanted.insert(id);
            }
        }
        self.done()
    }

    pub(crate) fn subscribe_auto(
        &mut self,
        by: ParticipantId,
        options: Option<&AutoOptions>,
    ) -> Checked<bool> {
        let pinned = options.into_iter().flat_map(|options| &options.pinned).map(|whom| match whom {
            Name::One(id) => Some(*id),
            Name::Empty | Name::Malformed => None,
        });
        let pinned: Option<Vec<ParticipantId>> = pinned.collect();
        let kinds = options.map_or(Some(Vec::new()), |options| options.kinds.iter().copied().collect());
        let request = options.map(AutoOptions::request).unwrap_or_default();
        let result = self.meeting.subscribe_auto(by, &request, self.now_us());
        let expected = self.model.here.contains_key(&by) && pinned.is_some() && kinds.is_some();
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let (Some(person), Some(pinned), Some(kinds)) = (self.model.here.get_mut(&by), pinned, kinds) {
            person.auto = options.map(|options| Auto {
                kinds,
                max_video: options.max_video,
                preferred: options.preferred,
                max_bitrate_bps: options.max_bitrate,
                pinned,
                unwanted: BTreeSet::new(),
            });
        }
        self.done()
    }

    /// Several tell how loud they are, over and over; says whether somebody might.
    pub(crate) fn talk(&mut self, voices: &[(ParticipantId, Which, u32)], reports: u32) -> Checked<bool> {
        let mut accepted = false;
        for _ in 0..reports {
            self.elapsed += REPORT;
            for (by, stream, level) in voices {
                let is_own_audio = |id: &StreamId| {
                    let person = self.model.here.get(by);
                    let stream = person.and_then(|person| person.streams.get(id));
                    stream.is_some_and(|stream| stream.kind == StreamType::Audio)
                };
                let expected = matches!(stream, Name::One(id) if is_own_audio(id));
                let level = *level;
                let request =
                    pb::AudioLevels { levels: vec![pb::AudioLevel { stream_id: stream.text(), level }] };
                let result = self.meeting.tell_levels(*by, &request, self.now_us());
                if self.agreed(expected, result)?.is_some() {
                    self.model.tell(*by, level, self.now_us());
                    self.done()?;
                    accepted = true;
                }
            }
        }
        Ok(accepted)
    }
}
