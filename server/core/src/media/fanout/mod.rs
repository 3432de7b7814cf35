//! The fan-out of one shard: who gets which streams, and in which order it is written.
//!
//! Streams, subscribers and subscriptions lie in dense tables and know each other by their places. A unit marks the
//! subscriptions of its stream as due; a [`pass`](Fanout::pass) visits due subscribers, audio first, then deltas, then
//! key frames, and returns after a bounded amount of work so that the shell can drive the connections that were written
//! to and take in what has come meanwhile. Nothing is looked up in a map and nothing is allocated per unit and
//! subscriber.

mod connection;
#[cfg(test)]
mod overload_tests;
mod subscriber;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use darktower_protocol::{Features, FrameType, StreamId};

use super::delivery::{DeliveryCounters, DeliveryPolicy, MediaKind};
use super::layers::LayerPolicy;
use super::ring::{RingUnit, StreamRing};
pub use connection::{Connection, Opened, Written};
use subscriber::{Change, Output, Subscriber, Visit};

/// Place of a stream in the tables of one shard. Whoever adds the stream chooses it, as low as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamSlot(pub u32);

/// Place of a subscriber in the tables of one shard. Whoever adds it chooses it, as low as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberSlot(pub u32);

impl StreamSlot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

impl SubscriberSlot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The numbers of the fan-out.
#[derive(Debug, Clone, Copy)]
pub struct FanoutSettings {
    /// When media is left out for a subscriber that is behind.
    pub delivery: DeliveryPolicy,
    /// When a subscriber gets another layer.
    pub layers: LayerPolicy,
    /// A subscriber that takes nothing for this long, although there is something for it, is reported.
    pub slow_subscriber: Duration,
    /// How long media may wait to leave together with something else for the same subscriber: audio of all but its
    /// first audio stream, and delta frames where so many streams are subscribed that company is likely. A packet that leaves
    /// alone costs as much as five that leave together.
    pub company: Duration,
    /// The same when the shard's core is busy ([`Fanout::set_load`]): what would be late anyway waits and costs less.
    pub company_when_busy: Duration,
    /// Work of one pass, in packets. A pass that is too long delays audio that comes meanwhile; one that is too short
    /// costs more turns of the runtime.
    pub pass_budget: usize,
    /// Audio takes video of the same pass along while no more subscribers than this wait for audio: their audio would
    /// wait for the video of the others.
    pub merge_below: usize,
}

impl Default for FanoutSettings {
    fn default() -> Self {
        Self {
            delivery: DeliveryPolicy::default(),
            layers: LayerPolicy::default(),
            slow_subscriber: Duration::from_secs(30),
            company: Duration::from_millis(4),
            company_when_busy: Duration::from_millis(20),
            pass_budget: 400,
            merge_below: 128,
        }
    }
}

/// Load from which on media waits longer for company, and that at which it waits longest.
const BUSY: std::ops::Range<f64> = 0.5..0.85;

impl FanoutSettings {
    /// How long media waits for company when this share of the core, 0 to 1, is in use. Who does not want it to wait
    /// (`company` of zero) is not made to.
    fn company_at(&self, load: f64) -> Duration {
        if self.company.is_zero() {
            return Duration::ZERO;
        }
        let busy = ((load - BUSY.start) / (BUSY.end - BUSY.start)).clamp(0.0, 1.0);
        self.company + self.company_when_busy.saturating_sub(self.company).mul_f64(busy)
    }
}

/// What is sent first: a smaller class is never behind a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Audio of any kind.
    Audio,
    /// A unit of a video frame that is not a key frame.
    Delta,
    /// A unit of a key frame.
    Key,
}

impl From<MediaKind> for Class {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Audio,
            MediaKind::Video => Self::Delta,
        }
    }
}

impl From<FrameType> for Class {
    fn from(frame_type: FrameType) -> Self {
        match frame_type {
            FrameType::VideoKey => Self::Key,
            FrameType::VideoDelta => Self::Delta,
            _ => Self::Audio,
        }
    }
}

/// What the shell is to know or to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A subscriber needs a key frame of the stream; many may say so at once.
    KeyFrameWanted(StreamSlot),
    /// A subscription is over. One for each of its layers.
    SubscriptionOver {
        /// Whose.
        subscriber: SubscriberSlot,
        /// To which stream or layer of it.
        stream: StreamSlot,
        /// The stream has ended and been sent to its end; otherwise the subscription was cancelled.
        finished: bool,
    },
    /// The subscriber has taken nothing for too long.
    TooSlow(SubscriberSlot),
}

impl Event {
    fn cancelled(subscriber: SubscriberSlot, stream: StreamSlot) -> Self {
        Self::SubscriptionOver { subscriber, stream, finished: false }
    }
}

/// Units received at one time that were handed to connections in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOver {
    /// What they are.
    pub class: Class,
    /// When the unit was received.
    pub received_at: Instant,
    /// To how many subscribers.
    pub count: u32,
}

/// Units and bytes of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Units handed to connections whole.
    pub units: u64,
    /// Bytes handed to connections, with headers and preambles.
    pub bytes: u64,
}

/// What one subscription was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentToOne {
    /// Bytes that the connection has taken.
    pub bytes: u64,
    /// Groups that were given up, and audio units that were too old.
    pub dropped: u64,
}

/// What a fan-out has done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Audio.
    pub audio: Sent,
    /// Video but key frames.
    pub delta: Sent,
    /// Key frames.
    pub key: Sent,
    /// Units of cached groups for newcomers; not in the classes above.
    pub caught_up_units: u64,
    /// Units left out, by reason.
    pub left_out: DeliveryCounters,
    /// Groups given up for a subscriber.
    pub dropped_groups: u64,
    /// Subscribers given a lower layer because the path did not carry theirs.
    pub lowered: u64,
    /// Subscribers given a higher layer again.
    pub raised: u64,
    /// Audio units that no datagram held.
    pub oversized: u64,
    /// Passes.
    pub passes: u64,
    /// Visits of subscribers in them.
    pub visits: u64,
}

impl Totals {
    fn of_mut(&mut self, class: Class) -> &mut Sent {
        match class {
            Class::Audio => &mut self.audio,
            Class::Delta => &mut self.delta,
            Class::Key => &mut self.key,
        }
    }

    fn count(&mut self, counters: DeliveryCounters) {
        self.left_out.sent += counters.sent;
        self.left_out.dropped_discardable += counters.dropped_discardable;
        self.left_out.dropped_group += counters.dropped_group;
        self.left_out.dropped_audio += counters.dropped_audio;
    }
}

/// How a pass has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// There is more to do: drive the connections, take in what has come, and pass again.
    More,
    /// Nothing to do until something comes or the time does.
    Idle(Option<Instant>),
}

/// A stream with subscribers in this shard.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    kind: MediaKind,
    ring: StreamRing,
    /// Goes before other video of the same subscriber.
    is_prominent: bool,
    subscribers: Vec<(SubscriberSlot, u32)>,
    /// Class of the units that have come since the last pass.
    dirty: Option<Class>,
}

/// The fan-out of one shard.
#[derive(Debug)]
pub struct Fanout<C: Connection> {
    settings: FanoutSettings,
    /// How long media waits for company now.
    company: Duration,
    /// How many streams go before others.
    prominent: usize,
    streams: Vec<Option<Stream>>,
    subscribers: Vec<Option<Subscriber<C>>>,
    dirty: Vec<StreamSlot>,
    audio: VecDeque<SubscriberSlot>,
    deltas: VecDeque<SubscriberSlot>,
    keys: VecDeque<SubscriberSlot>,
    /// When to look at whom; entries that no longer hold are passed over.
    deadlines: BinaryHeap<Reverse<(Instant, SubscriberSlot)>>,
    events: Vec<Event>,
    handed_over: Vec<HandedOver>,
    changes: Vec<Change>,
    totals: Totals,
}

impl<C: Connection> Fanout<C> {
    /// A fan-out without streams and subscribers.
    pub fn new(settings: FanoutSettings) -> Self {
        Self {
            settings,
            company: settings.company,
            prominent: 0,
            streams: Vec::new(),
            subscribers: Vec::new(),
            dirty: Vec::new(),
            audio: VecDeque::new(),
            deltas: VecDeque::new(),
            keys: VecDeque::new(),
            deadlines: BinaryHeap::new(),
            events: Vec::new(),
            handed_over: Vec::new(),
            changes: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// A stream that subscribers of this shard will get, with what it has sent so far.
    pub fn add_stream(&mut self, slot: StreamSlot, id: StreamId, kind: MediaKind, ring: StreamRing) {
        let stream = Stream { id, kind, ring, is_prominent: false, subscribers: Vec::new(), dirty: None };
        put(&mut self.streams, slot.index(), stream);
    }

    /// Whether the stream goes before other video where a path does not carry both.
    pub fn set_prominent(&mut self, slot: StreamSlot, is_prominent: bool) {
        let Some(stream) = stream_mut(&mut self.streams, slot) else { return };
        if std::mem::replace(&mut stream.is_prominent, is_prominent) == is_prominent {
            return;
        }
        self.prominent = if is_prominent { self.prominent + 1 } else { self.prominent - 1 };
        // What is on its way, too: its next group may be seconds away.
        for (number, place) in &stream.subscribers {
            if let Some(subscriber) = self.subscribers.get_mut(number.index()).and_then(Option::as_mut) {
                subscriber.set_prominent(*place, slot, is_prominent);
            }
        }
    }

    /// Nobody here gets the stream any more.
    pub fn remove_stream(&mut self, slot: StreamSlot) {
        let removed = self.streams.get_mut(slot.index()).and_then(Option::take);
        self.prominent -= usize::from(removed.is_some_and(|stream| stream.is_prominent));
    }

    /// The stream has a new unit.
    pub fn push(&mut self, slot: StreamSlot, unit: RingUnit, now: Instant) {
        let Some(stream) = stream_mut(&mut self.streams, slot) else { return };
        let class = Class::from(unit.header.frame_type());
        stream.ring.append(unit, now);
        if stream.dirty.is_none() {
            self.dirty.push(slot);
        }
        stream.dirty = stream.dirty.max(Some(class));
    }

    /// The stream is not forwarded for now: nobody gets what has not left yet.
    pub fn clear_stream(&mut self, slot: StreamSlot) {
        if let Some(stream) = stream_mut(&mut self.streams, slot) {
            stream.ring.clear();
        }
    }

    /// The publisher has ended the stream.
    pub fn end_stream(&mut self, slot: StreamSlot) {
        let Some(stream) = stream_mut(&mut self.streams, slot) else { return };
        stream.ring.end();
        if stream.dirty.is_none() {
            stream.dirty = Some(stream.kind.into());
            self.dirty.push(slot);
        }
    }

    /// A subscriber has connected.
    pub fn add_subscriber(&mut self, slot: SubscriberSlot, connection: C, features: Features) {
        put(&mut self.subscribers, slot.index(), Subscriber::new(connection, features));
    }

    /// The subscriber's connection is gone.
    pub fn remove_subscriber(&mut self, slot: SubscriberSlot) {
        let Some(mut subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::take) else {
            return;
        };
        for (place, stream) in subscriber.streams() {
            forget(&mut self.streams, stream, slot, place);
            self.events.push(Event::cancelled(slot, stream));
        }
        // The connection may live on for its last words: nothing half written may look whole.
        subscriber.cancel_all();
    }

    /// The subscriber gets a stream from now on: the first of `layers`, or, while its path does not carry that, one of
    /// the others, which are lower layers of the same stream from high to low.
    pub fn subscribe(&mut self, slot: SubscriberSlot, layers: &[StreamSlot], now: Instant) {
        let subscriber = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut);
        let wanted =
            layers.first().and_then(|wanted| Some((*wanted, stream_mut(&mut self.streams, *wanted)?)));
        let (Some(subscriber), Some((wanted, stream))) = (subscriber, wanted) else {
            self.events.extend(layers.iter().map(|layer| Event::cancelled(slot, *layer)));
            return;
        };
        let (place, usable) = subscriber.subscribe(wanted, layers, stream, &self.settings, now);
        stream.subscribers.push((slot, place));
        let unused = layers.iter().skip(usable);
        self.events.extend(unused.map(|layer| Event::cancelled(slot, *layer)));
        subscriber.match_attached(&self.streams, &self.settings, now);
        self.enqueue(slot);
    }

    /// The subscriber does not want the stream any more. One that has ended is sent to its end all the same.
    pub fn unsubscribe(&mut self, slot: SubscriberSlot, stream_slot: StreamSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        let Some(place) = subscriber.place_of(stream_slot) else { return };
        if stream_mut(&mut self.streams, stream_slot).is_some_and(|stream| stream.ring.is_ended()) {
            return;
        }
        for layer in subscriber.cancel(place) {
            forget(&mut self.streams, layer, slot, place);
            self.events.push(Event::cancelled(slot, layer));
        }
    }

    /// The subscriber has opened a stream for a subscription (baseline).
    pub fn attach(&mut self, slot: SubscriberSlot, wire_id: StreamId, stream: C::Stream, now: Instant) {
        let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        subscriber.attach(wire_id, stream, now);
        subscriber.match_attached(&self.streams, &self.settings, now);
        self.enqueue(slot);
    }

    /// The subscriber's connection takes bytes again.
    pub fn wake(&mut self, slot: SubscriberSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        subscriber.mark_all_due();
        self.enqueue(slot);
    }

    /// The share of the shard's core that is in use, 0 to 1. The busier it is, the longer media waits for company: a
    /// core that is full would make all of it late.
    pub fn set_load(&mut self, load: f64) {
        self.company = self.settings.company_at(load);
    }

    /// Writes what is due, within the budget of one pass.
    pub fn pass(&mut self, now: Instant) -> Pass {
        self.totals.passes += 1;
        self.expire(now);
        self.mark_dirty(now);
        // Nobody pays for a second look where no stream goes before others.
        let sweeps = if self.prominent > 0 { 2 } else { 1 };
        let mut budget = self.settings.pass_budget;
        while budget > 0 {
            // Audio of everybody comes before anybody's video.
            let (slot, visit, queue) = if let Some(slot) = self.audio.pop_front() {
                let merge = self.audio.len() < self.settings.merge_below;
                (slot, Visit { deltas: merge, keys: false, sweeps }, Class::Audio)
            } else if let Some(slot) = self.deltas.pop_front() {
                (slot, Visit { deltas: true, keys: false, sweeps }, Class::Delta)
            } else if let Some(slot) = self.keys.pop_front() {
                (slot, Visit { deltas: true, keys: true, sweeps }, Class::Key)
            } else {
                break;
            };
            budget = budget.saturating_sub(self.visit(slot, visit, queue, now));
        }
        if !(self.audio.is_empty() && self.deltas.is_empty() && self.keys.is_empty()) {
            return Pass::More;
        }
        Pass::Idle(self.deadlines.peek().map(|Reverse((deadline, _))| *deadline))
    }

    /// What has happened since this was last asked.
    pub fn take_events(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.events);
    }

    /// What has been handed to connections since this was last asked.
    pub fn take_handed_over(&mut self, handed_over: &mut Vec<HandedOver>) {
        handed_over.append(&mut self.handed_over);
    }

    /// What was done since the beginning.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The connection of a subscriber, and what was sent on it since this was last asked: for each subscription the stream
    /// that it asks for, the layer that it gets, and how much.
    pub fn take_sent(
        &mut self,
        slot: SubscriberSlot,
        mut each: impl FnMut(StreamId, StreamId, SentToOne),
    ) -> Option<&C> {
        let Self { streams, subscribers, .. } = self;
        let id = |slot: StreamSlot| Some(streams.get(slot.index())?.as_ref()?.id);
        let subscriber = subscribers.get_mut(slot.index()).and_then(Option::as_mut)?;
        for (wanted, layer, sent) in subscriber.take_sent() {
            if let (Some(wanted), Some(layer)) = (id(wanted), id(layer)) {
                each(wanted, layer, sent);
            }
        }
        Some(&subscriber.connection)
    }

    /// Subscribers waiting to be visited: the backlog of the shard.
    pub fn backlog(&self) -> usize {
        self.audio.len() + self.deltas.len() + self.keys.len()
    }

    /// Visits one subscriber, taken from one of the queues, and returns what that costs, in packets.
    fn visit(&mut self, slot: SubscriberSlot, visit: Visit, queue: Class, now: Instant) -> usize {
        let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return 1;
        };
        *subscriber.queued.of_mut(queue) = false;
        self.totals.visits += 1;
        let mut out = Output::new(
            &self.settings,
            &mut self.totals,
            &mut self.events,
            &mut self.handed_over,
            &mut self.changes,
        );
        subscriber.visit(slot, &self.streams, visit, now, &mut out);
        let cost = out.cost();
        for change in self.changes.drain(..) {
            match change {
                Change::Follow(place, stream) => {
                    if let Some(stream) = stream_mut(&mut self.streams, stream) {
                        stream.subscribers.push((slot, place));
                    }
                }
                Change::Unfollow(place, stream) => forget(&mut self.streams, stream, slot, place),
                Change::Over(place, stream) => {
                    forget(&mut self.streams, stream, slot, place);
                    let over = Event::SubscriptionOver { subscriber: slot, stream, finished: true };
                    self.events.push(over);
                }
            }
        }
        self.enqueue(slot);
        cost
    }

    /// Puts a subscriber into the queues of what is due, and on the list of deadlines.
    fn enqueue(&mut self, slot: SubscriberSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        let due = subscriber.due();
        let held = subscriber.hold_until.is_some();
        if due.audio && !subscriber.queued.audio && !held {
            subscriber.queued.audio = true;
            self.audio.push_back(slot);
        }
        if due.deltas && !subscriber.queued.deltas && !held {
            subscriber.queued.deltas = true;
            self.deltas.push_back(slot);
        }
        if due.keys && !subscriber.queued.keys {
            subscriber.queued.keys = true;
            self.keys.push_back(slot);
        }
        if let Some(deadline) = subscriber.next_deadline()
            && subscriber.listed_at.is_none_or(|listed| deadline < listed)
        {
            subscriber.listed_at = Some(deadline);
            self.deadlines.push(Reverse((deadline, slot)));
            if self.deadlines.len() > 64 + 4 * self.subscribers.len() {
                self.strike_old_deadlines();
            }
        }
    }

    /// Leaves one entry for each subscriber that has a deadline: one whose deadlines come and go leaves many behind.
    fn strike_old_deadlines(&mut self) {
        self.deadlines.clear();
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            if let Some(deadline) = subscriber.as_ref().and_then(|subscriber| subscriber.listed_at) {
                self.deadlines.push(Reverse((deadline, SubscriberSlot(index as u32))));
            }
        }
    }

    /// Looks at whose time has come.
    fn expire(&mut self, now: Instant) {
        while let Some(Reverse((deadline, slot))) = self.deadlines.peek().copied() {
            if deadline > now {
                return;
            }
            self.deadlines.pop();
            let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
                continue;
            };
            if subscriber.listed_at != Some(deadline) {
                continue;
            }
            subscriber.listed_at = None;
            subscriber.mark_expired_due(now);
            subscriber.match_attached(&self.streams, &self.settings, now);
            if subscriber.hold_until.is_some_and(|until| until <= now) {
                subscriber.hold_until = None;
            }
            self.enqueue(slot);
        }
    }

    /// Marks the subscriptions of streams with new units as due.
    fn mark_dirty(&mut self, now: Instant) {
        let company = self.company;
        let mut dirty = std::mem::take(&mut self.dirty);
        for stream_slot in dirty.drain(..) {
            let Some(stream) = stream_mut(&mut self.streams, stream_slot) else { continue };
            let Some(class) = stream.dirty.take() else { continue };
            // The list is not touched by what follows; taking it spares a look-up per subscriber.
            let subscribers = std::mem::take(&mut stream.subscribers);
            for (slot, place) in &subscribers {
                let Some(subscriber) = self.subscribers.get_mut(slot.index()).and_then(Option::as_mut) else {
                    continue;
                };
                let may_wait = subscriber.mark_due(*place, class, company);
                if !may_wait {
                    // Takes along what has been waiting.
                    subscriber.hold_until = None;
                } else if !subscriber.queued.audio && !subscriber.queued.deltas {
                    // Waits, if not for something already, from the oldest unit on.
                    subscriber.hold_until.get_or_insert(now + company);
                }
                self.enqueue(*slot);
            }
            if let Some(stream) = stream_mut(&mut self.streams, stream_slot) {
                stream.subscribers = subscribers;
            }
        }
        self.dirty = dirty;
    }
}

fn stream_mut(streams: &mut [Option<Stream>], slot: StreamSlot) -> Option<&mut Stream> {
    streams.get_mut(slot.index()).and_then(Option::as_mut)
}

fn put<T>(table: &mut Vec<Option<T>>, index: usize, value: T) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    if let Some(entry) = table.get_mut(index) {
        *entry = Some(value);
    }
}

/// Strikes a subscription off the list of its stream.
fn forget(streams: &mut [Option<Stream>], slot: StreamSlot, subscriber: SubscriberSlot, place: u32) {
    let Some(stream) = stream_mut(streams, slot) else { return };
    if let Some(position) = stream.subscribers.iter().position(|entry| *entry == (subscriber, place)) {
        stream.subscribers.swap_remove(position);
    }
}
