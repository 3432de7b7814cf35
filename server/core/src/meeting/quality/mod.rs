//! How well media gets through, and who is told what of it (docs/protocol.md 5.13).
//!
//! Media handlers tell what they see ([`Meeting::observe`]), clients what they measure ([`Meeting::tell_quality`]).
//! Publishers hear of their streams, subscribers of their downlink, everybody of grades that change. Targets follow only
//! what media handlers saw: a subscriber that claims to get nothing lowers nobody's picture.
//!
//! Of all that media handlers see, records are made for later reports ([`QualityRecord`]).

mod record;
mod sample;
pub mod score;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use darktower_protocol::signaling::pb;
use darktower_protocol::{ParticipantId, StreamId};
use pb::envelope::Message;
use pb::{ErrorCode, NetworkGrade, StreamType};

use record::Recording;
pub use record::{Ingress, QualityRecord, RECORD_INTERVAL};
pub use sample::{EgressSample, IngressSample, MediaSample, PathSample};
use score::{GradeControl, mean_opinion_score};
use target::{TargetRate, Way};

use super::participant::Sight;
use super::{Event, MediaCommand, Meeting, Output, Refusal, parse_stream_id};
use crate::media::IngressCount;

/// What was seen of somebody so long ago says nothing any more; nor does what a client told.
const FRESH: Duration = Duration::from_secs(5);
const CLAIM_COUNTS: Duration = Duration::from_secs(15);

/// A receiver that has lost something does not keep up for so long: the next loss comes later, because key frames that are
/// lost again and again are asked for more and more seldom.
const HELD_UP: Duration = Duration::from_secs(5);

/// A path that loses more than this is beyond what a publisher could mend: it does not count as a receiver.
const HOPELESS_LOSS: f64 = 0.3;

/// What a client cannot mean.
const MAX_RTT_MS: u32 = 60_000;

/// No two updates of one stream are closer. A little less than the second between samples, which are not that exact.
const UPDATE_INTERVAL: Duration = Duration::from_millis(900);

/// What counts as news: a share of the bit rate and the round-trip time, and an amount of the loss.
const NEWS_BIT_RATE: f64 = 0.25;
const NEWS_RTT: f64 = 0.25;
const NEWS_RTT_MS: f64 = 10.0;
const NEWS_LOSS: f64 = 0.01;
/// A score that has moved by so much is told to its owner although the grade stays.
const NEWS_SCORE: f64 = 0.25;

/// Grades that one event tells: with 42 bytes each they fit into a message.
const MAX_GRADES: usize = 1000;

/// What is left of earlier counts after a second.
const MEMORY: f64 = 0.75;

/// The quality of everybody's media in one meeting.
#[derive(Debug, Default)]
pub(super) struct Quality {
    observed: BTreeMap<ParticipantId, Observed>,
}

/// What is known of one participant's media.
#[derive(Debug)]
struct Observed {
    at: Instant,
    path: PathSample,
    loss_up: Share,
    loss_down: Share,
    score: f64,
    told_score: f64,
    grade: GradeControl,
    received: Vec<Received>,
    /// By wire stream id.
    published: BTreeMap<StreamId, Layer>,
    told_downlink: Option<Told>,
    /// Of its own streams, by the id that applications use.
    told_streams: BTreeMap<StreamId, Told>,
    /// What it tells itself, by the id that applications use.
    claims: BTreeMap<StreamId, Claim>,
    recording: Recording,
}

/// What somebody is sent of one stream.
#[derive(Debug, Clone, Copy)]
struct Received {
    sample: EgressSample,
    /// Over some seconds: a path that is full takes its queues' worth at first, and nothing while a key frame is awaited.
    rate_bps: f64,
    /// When something was given up last.
    dropped_at: Option<Instant>,
}

impl Received {
    fn after(before: Option<Self>, sample: EgressSample, interval: Duration, now: Instant) -> Self {
        let rate_bps = sample.bytes as f64 * 8.0 / interval.as_secs_f64().max(0.1);
        let dropped_at = (sample.dropped > 0).then_some(now);
        match before {
            // How another layer of it got through says nothing of this one.
            Some(before) if before.sample.layer == sample.layer => Self {
                sample,
                rate_bps: MEMORY * before.rate_bps + (1.0 - MEMORY) * rate_bps,
                dropped_at: dropped_at.or(before.dropped_at),
            },
            _ => Self { sample, rate_bps, dropped_at },
        }
    }

    /// What its path carries of the stream, if that is less than there is, bit/s.
    fn held_up_bps(&self, now: Instant) -> Option<u64> {
        let at = self.dropped_at?;
        (now.saturating_duration_since(at) < HELD_UP).then_some(self.rate_bps as u64)
    }
}

#[derive(Debug, Default)]
struct Layer {
    count: IngressCount,
    loss: Share,
    target: TargetRate,
}

#[derive(Debug)]
struct Claim {
    at: Instant,
    loss: f64,
}

/// A share of counts, of which older ones weigh less.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    part: f64,
    whole: f64,
}

impl Share {
    fn add(&mut self, part: u64, whole: u64) {
        self.part = self.part * MEMORY + part as f64;
        self.whole = self.whole * MEMORY + whole as f64;
    }

    fn value(self) -> f64 {
        // A handful of packets says nothing.
        if self.whole < 5.0 { 0.0 } else { (self.part / self.whole).min(1.0) }
    }
}

/// What somebody was told.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    available_bps: u64,
    loss: f64,
    rtt: Duration,
}

impl Told {
    fn is_news(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else { return true };
        if self.at.saturating_duration_since(before.at) < UPDATE_INTERVAL {
            return false;
        }
        let moved = |now: f64, before: f64, share: f64| (now - before).abs() > share * before.max(1.0);
        let millis = |rtt: Duration| rtt.as_secs_f64() * 1000.0;
        let (rtt, rtt_before) = (millis(self.rtt), millis(before.rtt));
        moved(self.available_bps as f64, before.available_bps as f64, NEWS_BIT_RATE)
            || moved(rtt, rtt_before, NEWS_RTT) && (rtt - rtt_before).abs() > NEWS_RTT_MS
            || (self.loss - before.loss).abs() > NEWS_LOSS
    }

    fn to_message(self, stream_id: String) -> Message {
        Message::StreamQualityUpdate(pb::StreamQualityUpdate {
            stream_id,
            available_bitrate: u32::try_from(self.available_bps).unwrap_or(u32::MAX),
            packet_loss: self.loss as f32,
            rtt_ms: self.rtt.as_millis() as u32,
        })
    }
}

/// The worst of the receivers of one stream that count.
#[derive(Debug, Clone, Copy)]
struct Worst {
    available_bps: u64,
    loss: f64,
    rtt: Duration,
    /// What the one that is held up was sent of the lowest layer, bit/s.
    held_up_bps: Option<u64>,
}

impl Worst {
    fn add(&mut self, other: Self) {
        self.available_bps = self.available_bps.min(other.available_bps);
        self.loss = self.loss.max(other.loss);
        self.rtt = self.rtt.max(other.rtt);
        self.held_up_bps = [self.held_up_bps, other.held_up_bps].into_iter().flatten().min();
    }
}

/// Something to keep.
pub(super) fn record(record: QualityRecord) -> Output {
    Output::Record(Box::new(record))
}

impl Quality {
    /// Somebody is gone. Answers what is left to record of it.
    pub(super) fn forget(&mut self, id: ParticipantId) -> Option<QualityRecord> {
        self.observed.remove(&id)?.recording.take(id)
    }

    /// What is left to record of everybody.
    pub(super) fn take_records(&mut self) -> impl Iterator<Item = QualityRecord> + '_ {
        self.observed.iter_mut().filter_map(|(id, observed)| observed.recording.take(*id))
    }
}

impl Observed {
    fn new(now: Instant) -> Self {
        Self {
            at: now,
            path: PathSample::default(),
            loss_up: Share::default(),
            loss_down: Share::default(),
            score: 0.0,
            told_score: 0.0,
            grade: GradeControl::default(),
            received: Vec::new(),
            published: BTreeMap::new(),
            told_downlink: None,
            told_streams: BTreeMap::new(),
            claims: BTreeMap::new(),
            recording: Recording::default(),
        }
    }

    /// Answers whether the grade changes.
    fn take_in(&mut self, sample: MediaSample, claimed_loss: Option<f64>, now: Instant) -> bool {
        let MediaSample { path, .. } = sample;
        self.at = now;
        self.path = path;
        self.loss_down.add(path.lost_packets, path.sent_packets);
        let (mut units, mut missing, mut jitter) = (0, 0, Duration::ZERO);
        for IngressSample { is_audio, count, .. } in &sample.published {
            units += count.units;
            missing += count.missing;
            jitter = jitter.max(count.jitter);
            self.recording.add_published(*is_audio, count);
        }
        sample.received.iter().for_each(|received| self.recording.add_received(received));
        self.loss_up.add(missing, units + missing);
        let up = mean_opinion_score(self.loss_up.value(), path.rtt, jitter);
        let down = self.loss_down.value().max(claimed_loss.unwrap_or(0.0));
        let down = mean_opinion_score(down, path.rtt, Duration::ZERO);
        self.score = up.min(down);
        self.recording.add(&path, self.score, claimed_loss);
        let is_published =
            |wire_id| sample.published.iter().any(|published| published.wire_stream_id == wire_id);
        self.published.retain(|wire_id, _| is_published(*wire_id));
        for IngressSample { wire_stream_id, count, .. } in sample.published {
            let layer = self.published.entry(wire_stream_id).or_default();
            layer.count = count;
            layer.loss.add(count.missing, count.units + count.missing);
        }
        let before = std::mem::take(&mut self.received);
        // Mostly the same streams in the same order: nobody looks through a thousand for each of a thousand.
        let mut next = 0;
        self.received.extend(sample.received.into_iter().map(|sample| {
            let is_it = |known: &Received| known.sample.wanted == sample.wanted;
            let place = Some(next).filter(|place| before.get(*place).is_some_and(is_it));
            let place = place.or_else(|| before.iter().position(is_it));
            next = place.map_or(next, |place| place + 1);
            let known = place.and_then(|place| before.get(place).copied());
            Received::after(known, sample, path.interval, now)
        }));
        self.grade.observe(self.score)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < FRESH
    }
}

impl Meeting {
    /// What media handlers have seen in the last second or so. To be called about once a second.
    pub fn observe(&mut self, samples: Vec<MediaSample>, now: Instant) {
        let mut graded = BTreeSet::new();
        for sample in samples {
            let id = sample.participant;
            let Some(participant) = self.participants.get_mut(&id) else { continue };
            let observed = self.quality.observed.entry(id).or_insert_with(|| Observed::new(now));
            observed.claims.retain(|_, claim| now.saturating_duration_since(claim.at) < CLAIM_COUNTS);
            // Of what is not video: there the server leaves out on purpose what a client counts as lost.
            let claims = observed.claims.iter().filter(|(stream, _)| {
                let subscribed =
                    participant.subscriptions.get(**stream).map(|subscription| subscription.is_video);
                let published = participant.streams.get(*stream).map(|stream| !stream.is_audio());
                subscribed.or(published).is_some_and(|is_video| !is_video)
            });
            let claimed = claims.map(|(_, claim)| claim.loss).reduce(f64::max);
            let has_changed = observed.take_in(sample, claimed, now);
            if observed.recording.is_full() {
                self.outputs.extend(observed.recording.take(id).map(record));
            }
            if has_changed {
                participant.network_grade = observed.grade.grade();
                graded.insert(id);
            }
        }
        self.tell_grades(&graded);
        self.tell_scores(&graded);
        self.tell_downlinks(now);
        self.tell_publishers(now);
    }

    /// Records what there is to record of everybody although it is not much yet: the server stops.
    pub fn finish_records(&mut self) {
        self.outputs.extend(self.quality.take_records().map(record));
    }

    /// A client tells what it measures of a stream that it publishes or gets.
    ///
    /// # Errors
    /// If it does neither, or says what cannot be.
    pub fn tell_quality(
        &mut self,
        by: ParticipantId,
        update: &pb::StreamQualityUpdate,
        now: Instant,
    ) -> Result<(), Refusal> {
        let participant = self.participant(by)?;
        let stream_id = parse_stream_id(&update.stream_id)?;
        if !participant.streams.contains_key(&stream_id) && participant.subscriptions.get(stream_id).is_none()
        {
            let message = format!("you neither publish stream {stream_id} nor subscribe to it");
            return Err(Refusal::field(ErrorCode::NotFound, "stream_id", message));
        }
        let loss = f64::from(update.packet_loss);
        if !(0.0..=1.0).contains(&loss) {
            let message = "packet_loss is a share of 0 to 1";
            return Err(Refusal::field(ErrorCode::InvalidRequest, "packet_loss", message));
        }
        if update.rtt_ms > MAX_RTT_MS {
            let message = format!("rtt_ms is at most {MAX_RTT_MS}");
            return Err(Refusal::field(ErrorCode::InvalidRequest, "rtt_ms", message));
        }
        let observed = self.quality.observed.entry(by).or_insert_with(|| Observed::new(now));
        // Also of somebody of whom there is never a sample.
        observed.claims.retain(|_, claim| now.saturating_duration_since(claim.at) < CLAIM_COUNTS);
        observed.claims.insert(stream_id, Claim { at: now, loss });
        Ok(())
    }

    /// Scores of those of whom there was a sample at `now`, for statistics.
    pub fn scores(&self, now: Instant) -> impl Iterator<Item = f64> + '_ {
        let observed = self.quality.observed.values();
        observed.filter(move |observed| observed.at == now).map(|observed| observed.score)
    }

    /// Everybody hears of grades that have changed: all of one second in one event, which is shared by those who see the same
    /// participants.
    fn tell_grades(&mut self, graded: &BTreeSet<ParticipantId>) {
        for sight in [Sight::Everybody, Sight::List] {
            let news = graded.iter().filter_map(|id| {
                let participant =
                    self.participants.get(id).filter(|participant| participant.sight() == sight)?;
                let grade = participant.network_grade.into();
                Some(pb::NetworkQuality { participant_id: id.to_string(), grade, score: 0.0 })
            });
            let news: Vec<pb::NetworkQuality> = news.collect();
            for part in news.chunks(MAX_GRADES) {
                let who_sees = self.participants.iter().filter(|(_, viewer)| viewer.has_sight(sight));
                let who_sees: Vec<ParticipantId> = who_sees.map(|(id, _)| *id).collect();
                let changed = pb::NetworkQualityChanged { participants: part.to_vec() };
                self.tell_each(who_sees, Message::NetworkQualityChanged(changed));
            }
        }
    }

    /// Whose grade has changed, or whose score has moved, hears its score.
    fn tell_scores(&mut self, graded: &BTreeSet<ParticipantId>) {
        for (id, observed) in &mut self.quality.observed {
            let is_graded = observed.grade.grade() != NetworkGrade::NotMeasured;
            let has_moved = (observed.score - observed.told_score).abs() >= NEWS_SCORE;
            if !is_graded || !has_moved && !graded.contains(id) {
                continue;
            }
            observed.told_score = observed.score;
            let quality = pb::NetworkQuality {
                participant_id: id.to_string(),
                grade: observed.grade.grade().into(),
                score: observed.score as f32,
            };
            let event = pb::NetworkQualityChanged { participants: vec![quality] };
            let event = Arc::new(Event::new(Message::NetworkQualityChanged(event)));
            self.outputs.push_back(Output::Notice { to: *id, event });
        }
    }

    /// Somebody comes back who may have missed what is not sent again: it is told all of it anew.
    pub(super) fn tell_quality_anew(&mut self, id: ParticipantId) {
        if let Some(observed) = self.quality.observed.get_mut(&id) {
            observed.told_score = 0.0;
            observed.told_downlink = None;
            observed.told_streams.clear();
        }
    }

    /// Whoever gets something hears how its downlink is.
    fn tell_downlinks(&mut self, now: Instant) {
        for (id, observed) in &mut self.quality.observed {
            if observed.at != now || observed.received.is_empty() {
                continue;
            }
            let PathSample { rtt, available_bps, .. } = observed.path;
            let told = Told { at: now, available_bps, loss: observed.loss_down.value(), rtt };
            if told.is_news(observed.told_downlink.as_ref()) {
                observed.told_downlink = Some(told);
                let event = Arc::new(Event::new(told.to_message(String::new())));
                self.outputs.push_back(Output::Notice { to: *id, event });
            }
        }
    }

    /// Publishers hear how their streams get through, and how much they should send.
    fn tell_publishers(&mut self, now: Instant) {
        let worst = self.worst_receivers(now);
        let Self { participants, quality, outputs, .. } = self;
        for (id, observed) in &mut quality.observed {
            let Some(publisher) = participants.get(id) else { continue };
            observed.told_streams.retain(|stream_id, _| publisher.streams.contains_key(stream_id));
            if observed.at != now {
                continue;
            }
            for (stream_id, stream) in &publisher.streams {
                let worst = worst.get(stream_id);
                let loss_up =
                    stream.layers.iter().filter_map(|layer| observed.published.get(&layer.wire_stream_id));
                let loss_up = loss_up.map(|layer| layer.loss.value()).fold(0.0, f64::max);
                let told = Told {
                    at: now,
                    available_bps: worst.map_or(0, |worst| worst.available_bps),
                    // It gets through if it gets through both.
                    loss: 1.0 - (1.0 - loss_up) * (1.0 - worst.map_or(0.0, |worst| worst.loss)),
                    rtt: observed.path.rtt + worst.map_or(Duration::ZERO, |worst| worst.rtt),
                };
                if told.is_news(observed.told_streams.get(stream_id)) {
                    observed.told_streams.insert(*stream_id, told);
                    let event = Arc::new(Event::new(told.to_message(stream_id.to_string())));
                    outputs.push_back(Output::Notice { to: *id, event });
                }
                if stream.stream_type == StreamType::Audio {
                    continue;
                }
                let interval = observed.path.interval.as_secs_f64().max(0.1);
                for (place, description) in stream.layers.iter().enumerate() {
                    let wire_stream_id = description.wire_stream_id;
                    let Some(layer) = observed.published.get_mut(&wire_stream_id) else { continue };
                    let way = Way {
                        sent_bps: (layer.count.bytes as f64 * 8.0 / interval) as u64,
                        loss: layer.loss.value(),
                        // From higher layers one falls back to a lower one.
                        held_up_bps: worst.and_then(|worst| worst.held_up_bps).filter(|_| place == 0),
                    };
                    if let Some(target_bitrate_bps) =
                        layer.target.observe(way, description.max_bitrate_bps, now)
                    {
                        let advice = MediaCommand::Advise { wire_stream_id, target_bitrate_bps };
                        outputs.push_back(Output::Media(advice));
                    }
                }
            }
        }
    }

    /// The worst of the receivers of each stream, by the id that applications use.
    fn worst_receivers(&self, now: Instant) -> BTreeMap<StreamId, Worst> {
        let mut worst: BTreeMap<StreamId, Worst> = BTreeMap::new();
        for observed in self.quality.observed.values().filter(|observed| observed.is_fresh(now)) {
            let loss = observed.loss_down.value();
            if loss > HOPELESS_LOSS {
                continue;
            }
            for received in observed.received.iter().filter(|received| received.rate_bps >= 1.0) {
                let Some(stream_id) = self.wire_streams.get(&received.sample.wanted) else { continue };
                let owner = self.stream_owners.get(stream_id).and_then(|owner| self.participants.get(owner));
                let stream = owner.and_then(|owner| owner.streams.get(stream_id));
                let lowest =
                    stream.and_then(|stream| stream.layers.first()).map(|layer| layer.wire_stream_id);
                let is_lowest = lowest == Some(received.sample.layer);
                let claim = observed.claims.get(stream_id).map_or(0.0, |claim| claim.loss);
                let this = Worst {
                    available_bps: observed.path.available_bps,
                    loss: loss.max(claim),
                    rtt: observed.path.rtt,
                    held_up_bps: received.held_up_bps(now).filter(|_| is_lowest),
                };
                worst.entry(*stream_id).and_modify(|worst| worst.add(this)).or_insert(this);
            }
        }
        worst
    }
}
