//! One subscriber: its subscriptions, and what a visit writes to its connection.

mod backlog;
mod layers;
mod subscription;

use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::{Code, Features, StreamId};

use super::super::delivery::{Delivery, GroupStart, MediaKind};
use super::connection::Connection;
use super::{
    Class, Event, FanoutSettings, HandedOver, SentToOne, Stream, StreamSlot, SubscriberSlot, Totals,
};
use layers::Ladder;

/// How soon it is tried again to open a QUIC stream or to queue a datagram.
const RETRY: Duration = Duration::from_millis(10);

/// How often the connection is tuned while media flows.
const TUNE_INTERVAL: Duration = Duration::from_millis(100);

/// Datagram bytes that must be free before another unit is taken from a stream: more than any datagram.
const DATAGRAM_HEADROOM: usize = 2048;

/// What keeping a datagram costs the connection besides its bytes.
const DATAGRAM_OVERHEAD: usize = 64;

/// An attach header may come this long before the subscription.
const ATTACH_DEADLINE: Duration = Duration::from_secs(1);

/// Time from unit to unit of a typical stream: 50 audio units or 30 frames per second, and many below.
const UNIT_INTERVAL: Duration = Duration::from_millis(25);

/// Steps per subscription and visit; what is left over is done in the next visit, after others.
const MAX_STEPS: usize = 256;

/// Cost of a visit besides its packets, in packets: driving a connection once.
const VISIT_COST: usize = 4;
const PACKET_BYTES: usize = 1400;

const PRIORITY_AUDIO: i32 = 900;
/// The end of a group that has been followed by the next: short, and behind the newer ones it would wait for as long as
/// the path stays full.
const PRIORITY_OLDER_GROUP: i32 = 650;
const PRIORITY_PROMINENT: i32 = 600;
const PRIORITY_NEWEST_GROUP: i32 = 500;

/// A subscriber and everything it gets.
#[derive(Debug)]
pub(super) struct Subscriber<C: Connection> {
    pub(super) connection: C,
    features: Features,
    /// Dense, with holes that are used again; streams know subscriptions by their place here.
    subscriptions: Vec<Option<Subscription<C::Stream>>>,
    /// The audio subscription whose units never wait. Until the speaker is known it is the first.
    leader: Option<u32>,
    /// Streams that the client has opened for subscriptions that are not there yet (baseline).
    unmatched: Vec<Unmatched<C::Stream>>,
    max_datagram_unit: usize,
    tuned_at: Option<Instant>,
    /// In which of the fan-out's queues it waits to be visited.
    pub(super) queued: Queued,
    /// Until when what is due may wait for company.
    pub(super) hold_until: Option<Instant>,
    /// The time under which it was last put on the list of deadlines.
    pub(super) listed_at: Option<Instant>,
    too_slow: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Queued {
    pub(super) audio: bool,
    pub(super) deltas: bool,
    pub(super) keys: bool,
}

impl Queued {
    pub(super) fn of_mut(&mut self, class: Class) -> &mut bool {
        match class {
            Class::Audio => &mut self.audio,
            Class::Delta => &mut self.deltas,
            Class::Key => &mut self.keys,
        }
    }
}

#[derive(Debug)]
struct Unmatched<S> {
    wire_id: StreamId,
    stream: S,
    deadline: Instant,
}

#[derive(Debug)]
struct Subscription<S> {
    /// The layer it gets.
    slot: StreamSlot,
    id: StreamId,
    ladder: Ladder,
    kind: MediaKind,
    delivery: Delivery,
    carrier: Carrier<S>,
    /// What there may be to send; `None` until the stream, the connection or the clock says so.
    due: Option<Class>,
    deadline: Option<Instant>,
    behind: Option<Behind>,
    /// Bytes of groups that were given up, less those that were taken since. A reset gives flow-control credit back
    /// also to a client that reads nothing (RFC 9000, 4.5): that as much goes out again does not show that it reads.
    refunded: u64,
    /// What was sent since that was last asked.
    sent: SentToOne,
}

/// A subscription that does not keep up.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// The first time it was held up without having caught up since.
    since: Instant,
    /// The latest time.
    last: Instant,
}

/// How the units of a subscription travel.
#[derive(Debug)]
enum Carrier<S> {
    /// A QUIC stream per group.
    Groups {
        current: Option<Writer<S>>,
        /// A group has begun, but its stream could not be opened yet.
        opening: Option<(GroupStart, Instant)>,
    },
    /// Datagrams.
    Datagrams,
    /// One stream that the client opens; `None` until it has.
    Attached(Option<Writer<S>>),
}

/// A QUIC stream and what is yet to be written to it.
#[derive(Debug)]
struct Writer<S> {
    stream: S,
    /// Stream prefix and preamble, then the unit.
    pending: [Bytes; 3],
    /// When the unit in `pending` was received, and what it is; `None` while a cached group is sent.
    received_at: Instant,
    class: Option<Class>,
    /// Bytes that the connection has taken.
    taken: u64,
    /// Since when it has taken less than there was.
    blocked_at: Option<Instant>,
    /// It took more some time after that: it is held up by a path or a reader that moves.
    moves: bool,
}

/// What came of trying to send.
enum Progress {
    /// Nothing to do until the stream has more, or the time comes.
    Idle(Option<Instant>),
    /// There is more to do in the next visit.
    More,
    /// The transport takes no more; try again when it says so or the time comes.
    Blocked(Option<Instant>),
    /// The stream has ended.
    Finished,
}

/// Which subscriptions a visit looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) deltas: bool,
    pub(super) keys: bool,
    /// How often it goes through the subscriptions of a class: twice where prominent streams go first.
    pub(super) sweeps: usize,
}

/// Of the newest group.
fn video_priority(is_prominent: bool) -> i32 {
    if is_prominent { PRIORITY_PROMINENT } else { PRIORITY_NEWEST_GROUP }
}

/// What a visit changes in the lists of streams: whose subscriptions they are, by place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// The subscription is to hear of the stream's units.
    Follow(u32, StreamSlot),
    /// It is not any more.
    Unfollow(u32, StreamSlot),
    /// The subscription is over, and this was one of its layers.
    Over(u32, StreamSlot),
}

/// What a visit adds to.
pub(super) struct Output<'a> {
    pub(super) settings: &'a FanoutSettings,
    pub(super) totals: &'a mut Totals,
    pub(super) events: &'a mut Vec<Event>,
    pub(super) handed_over: &'a mut Vec<HandedOver>,
    pub(super) changes: &'a mut Vec<Change>,
    bytes: usize,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        settings: &'a FanoutSettings,
        totals: &'a mut Totals,
        events: &'a mut Vec<Event>,
        handed_over: &'a mut Vec<HandedOver>,
        changes: &'a mut Vec<Change>,
    ) -> Self {
        Self { settings, totals, events, handed_over, changes, bytes: 0 }
    }

    /// What the visit costs, in packets.
    pub(super) fn cost(&self) -> usize {
        match self.bytes {
            0 => 1,
            bytes => VISIT_COST + bytes.div_ceil(PACKET_BYTES),
        }
    }

    fn wrote(&mut self, class: Class, bytes: usize) {
        self.bytes += bytes;
        self.totals.of_mut(class).bytes += bytes as u64;
    }

    /// A unit has been handed to the connection whole. Many subscribers get the same unit in one pass.
    fn handed_over(&mut self, class: Class, received_at: Instant) {
        self.totals.of_mut(class).units += 1;
        match self.handed_over.last_mut() {
            Some(last) if last.class == class && last.received_at == received_at => last.count += 1,
            _ => self.handed_over.push(HandedOver { class, received_at, count: 1 }),
        }
    }
}

impl<C: Connection> Subscriber<C> {
    pub(super) fn new(connection: C, features: Features) -> Self {
        let max_datagram_unit = connection.max_datagram_unit();
        Self {
            connection,
            features,
            subscriptions: Vec::new(),
            leader: None,
            unmatched: Vec::new(),
            max_datagram_unit,
            tuned_at: None,
            queued: Queued::default(),
            hold_until: None,
            listed_at: None,
            too_slow: false,
        }
    }

    /// A new subscription: to `wanted`, which is `stream`, or to lower layers of it. `layers` are all of these from
    /// high to low. Returns its place, and how many of
    /// the layers it may ever get.
    pub(super) fn subscribe(
        &mut self,
        wanted: StreamSlot,
        layers: &[StreamSlot],
        stream: &Stream,
        settings: &FanoutSettings,
        now: Instant,
    ) -> (u32, usize) {
        let carrier = match stream.kind {
            MediaKind::Audio if self.features.contains(Features::AUDIO_DATAGRAMS) => Carrier::Datagrams,
            MediaKind::Video if self.features.contains(Features::GROUPS) => {
                Carrier::Groups { current: None, opening: None }
            }
            _ => Carrier::Attached(None),
        };
        // On streams that the client opens for one layer there is no other.
        let usable = if matches!(carrier, Carrier::Groups { .. }) { layers.len() } else { 1 };
        let ladder = Ladder::new(wanted, layers.iter().take(usable).copied().collect(), settings.layers);
        let delivery = Delivery::new(stream.kind, settings.delivery, &stream.ring, now);
        let subscription = Subscription {
            slot: wanted,
            id: stream.id,
            ladder,
            kind: stream.kind,
            delivery,
            carrier,
            due: Some(stream.kind.into()),
            deadline: None,
            behind: None,
            refunded: 0,
            sent: SentToOne::default(),
        };
        let place = match self.subscriptions.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.subscriptions.push(None);
                self.subscriptions.len() - 1
            }
        };
        if let Some(entry) = self.subscriptions.get_mut(place) {
            *entry = Some(subscription);
        }
        self.choose_leader();
        (place as u32, usable)
    }

    /// The place of the subscription to a stream, whichever layer of it is sent.
    pub(super) fn place_of(&self, slot: StreamSlot) -> Option<u32> {
        let wanted = |entry: &Option<Subscription<_>>| {
            entry.as_ref().is_some_and(|found| found.ladder.wanted() == slot)
        };
        self.subscriptions.iter().position(wanted).map(|place| place as u32)
    }

    /// The client has unsubscribed: what is under way is given up. Returns the layers it might have got.
    pub(super) fn cancel(&mut self, place: u32) -> Vec<StreamSlot> {
        let Some(subscription) = self.subscriptions.get_mut(place as usize).and_then(Option::take) else {
            return Vec::new();
        };
        match subscription.carrier {
            Carrier::Groups { current: Some(writer), .. } | Carrier::Attached(Some(writer)) => {
                self.connection.reset(writer.stream, Code::CANCELLED);
            }
            _ => {}
        }
        self.choose_leader();
        subscription.ladder.into_layers()
    }

    /// Gives up everything that is under way.
    pub(super) fn cancel_all(&mut self) {
        for place in 0..self.subscriptions.len() {
            self.cancel(place as u32);
        }
        for unmatched in std::mem::take(&mut self.unmatched) {
            self.connection.reset(unmatched.stream, Code::CANCELLED);
        }
    }

    /// All streams it gets, or may get as another layer.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u32, StreamSlot)> + '_ {
        let entries = self.subscriptions.iter().enumerate();
        entries.flat_map(|(place, entry)| {
            let layers = entry.as_ref().map_or(&[][..], |subscription| subscription.ladder.layers());
            layers.iter().map(move |slot| (place as u32, *slot))
        })
    }

    /// What each subscription was sent since this was last asked: the stream that it asks for, the one that it gets.
    pub(super) fn take_sent(&mut self) -> impl Iterator<Item = (StreamSlot, StreamSlot, SentToOne)> + '_ {
        self.subscriptions
            .iter_mut()
            .flatten()
            .map(|entry| (entry.ladder.wanted(), entry.slot, std::mem::take(&mut entry.sent)))
    }

    #[cfg(test)]
    pub(super) fn states(&self) -> impl Iterator<Item = (StreamSlot, bool)> + '_ {
        self.subscriptions.iter().flatten().map(|entry| {
            let live = entry.delivery.is_streaming() && entry.oldest_waiting().is_none();
            (entry.slot, live)
        })
    }

    /// The client has opened a stream for a subscription (baseline).
    pub(super) fn attach(&mut self, wire_id: StreamId, stream: C::Stream, now: Instant) {
        self.unmatched.push(Unmatched { wire_id, stream, deadline: now + ATTACH_DEADLINE });
    }

    /// Gives the streams that the client has opened to the subscriptions they ask for.
    pub(super) fn match_attached(
        &mut self,
        streams: &[Option<Stream>],
        settings: &FanoutSettings,
        now: Instant,
    ) {
        if self.unmatched.is_empty() {
            return;
        }
        for mut attached in std::mem::take(&mut self.unmatched) {
            let found = self.subscriptions.iter_mut().flatten().find_map(|subscription| {
                let stream = streams.get(subscription.slot.index())?.as_ref()?;
                // The same id may have been published again while its older stream is still being sent.
                let matches = subscription.id == attached.wire_id && !stream.ring.is_ended();
                matches.then_some((subscription, stream))
            });
            let Some((subscription, stream)) = found else {
                if now < attached.deadline {
                    self.unmatched.push(attached);
                } else {
                    self.connection.reset(attached.stream, Code::NOT_SUBSCRIBED);
                }
                continue;
            };
            if let Carrier::Attached(writer @ None) = &mut subscription.carrier {
                let priority = match subscription.kind {
                    MediaKind::Audio => PRIORITY_AUDIO,
                    MediaKind::Video => video_priority(stream.is_prominent),
                };
                self.connection.set_priority(&mut attached.stream, priority);
                *writer = Some(Writer::new(attached.stream, now));
                // What has come before is not missed: delivery begins here.
                subscription.delivery =
                    Delivery::new(subscription.kind, settings.delivery, &stream.ring, now);
                subscription.due = Some(subscription.kind.into());
            } else {
                self.connection.reset(attached.stream, Code::PROTOCOL_VIOLATION);
            }
        }
    }

    /// Whether a stream goes before other video has changed.
    pub(super) fn set_prominent(&mut self, place: u32, stream: StreamSlot, is_prominent: bool) {
        let subscription = self.subscriptions.get_mut(place as usize).and_then(Option::as_mut);
        let Some(subscription) = subscription.filter(|subscription| subscription.slot == stream) else {
            return;
        };
        if let Carrier::Groups { current: Some(writer), .. } | Carrier::Attached(Some(writer)) =
            &mut subscription.carrier
        {
            self.connection.set_priority(&mut writer.stream, video_priority(is_prominent));
        }
    }

    /// A stream has new units. Returns whether they may wait for company: audio that is not the first stream's, and
    /// delta frames if something else will probably come within that time.
    pub(super) fn mark_due(&mut self, place: u32, class: Class, company: Duration) -> bool {
        if let Some(subscription) = self.subscriptions.get_mut(place as usize).and_then(Option::as_mut) {
            // A key frame that is still being written is not overtaken by its own deltas.
            subscription.due = Some(subscription.due.map_or(class, |due| due.max(class)));
        }
        let likely = || company * self.subscriptions.iter().flatten().count() as u32 >= UNIT_INTERVAL;
        match class {
            Class::Audio => !company.is_zero() && self.leader != Some(place),
            Class::Delta => likely(),
            Class::Key => false,
        }
    }

    /// Everything may have something to send: the connection takes bytes again, or something has changed.
    pub(super) fn mark_all_due(&mut self) {
        for subscription in self.subscriptions.iter_mut().flatten() {
            subscription.due = subscription.due.or(Some(subscription.kind.into()));
        }
    }

    /// What has a deadline that has passed is due.
    pub(super) fn mark_expired_due(&mut self, now: Instant) {
        for subscription in self.subscriptions.iter_mut().flatten() {
            if subscription.deadline.is_some_and(|deadline| deadline <= now) {
                subscription.deadline = None;
                subscription.due = subscription.due.or(Some(subscription.kind.into()));
            }
        }
    }

    /// Classes of what is due.
    pub(super) fn due(&self) -> Queued {
        let mut due = Queued::default();
        for subscription in self.subscriptions.iter().flatten() {
            match subscription.due {
                Some(Class::Audio) => due.audio = true,
                Some(Class::Delta) => due.deltas = true,
                Some(Class::Key) => due.keys = true,
                None => {}
            }
        }
        due
    }

    /// When something of it may be due although nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let subscriptions =
            self.subscriptions.iter().flatten().filter_map(|subscription| subscription.deadline);
        let unmatched = self.unmatched.iter().map(|attached| attached.deadline);
        subscriptions.chain(unmatched).chain(self.hold_until).min()
    }

    fn choose_leader(&mut self) {
        let audio = |entry: &Option<Subscription<_>>| {
            entry.as_ref().is_some_and(|subscription| subscription.kind == MediaKind::Audio)
        };
        self.leader = self.subscriptions.iter().position(audio).map(|place| place as u32);
    }

    /// Writes what is due: audio always, and what `visit` says. Everything is written before the connection is driven.
    pub(super) fn visit(
        &mut self,
        number: SubscriberSlot,
        streams: &[Option<Stream>],
        visit: Visit,
        now: Instant,
        out: &mut Output<'_>,
    ) {
        if self.tuned_at.is_none_or(|at| now >= at + TUNE_INTERVAL) {
            self.tuned_at = Some(now);
            self.connection.tune();
            self.max_datagram_unit = self.connection.max_datagram_unit();
        }
        self.hold_until = None;
        // One question per visit, not one per unit.
        let mut space = None;
        let mut over = false;
        let mut wants_more = None;
        for class in [Class::Audio, Class::Delta, Class::Key] {
            let wanted = match class {
                Class::Audio => true,
                Class::Delta => visit.deltas,
                Class::Key => visit.keys,
            };
            if !wanted {
                continue;
            }
            // Prominent streams first.
            let places = self.subscriptions.len();
            let sweeps = (0..visit.sweeps).flat_map(|sweep| (0..places).map(move |place| (sweep, place)));
            for (sweep, place) in sweeps {
                let Some(entry) = self.subscriptions.get_mut(place) else { continue };
                let Some(subscription) = entry.as_mut().filter(|entry| entry.due == Some(class)) else {
                    continue;
                };
                let place = place as u32;
                let connection = &mut self.connection;
                subscription.change_layer(place, connection, streams, now, out);
                let Some(stream) = streams.get(subscription.slot.index()).and_then(Option::as_ref) else {
                    continue;
                };
                let comes_later = sweep + 1 < visit.sweeps && !stream.is_prominent;
                if comes_later {
                    continue;
                }
                subscription.due = None;
                let progress = match &subscription.carrier {
                    Carrier::Datagrams => {
                        let space = space.get_or_insert_with(|| connection.datagram_space());
                        let max_unit = self.max_datagram_unit;
                        subscription.send_datagrams(connection, stream, max_unit, space, now, out)
                    }
                    // The client has yet to open its stream; for one that has ended it need not.
                    Carrier::Attached(None) if stream.ring.is_ended() => Progress::Finished,
                    Carrier::Attached(None) => Progress::Idle(None),
                    _ if subscription.waits_for_lower_layer() => Progress::Idle(None),
                    _ => subscription.send_streams(connection, stream, now, out),
                };
                let counters = subscription.delivery.take_counters();
                subscription.sent.dropped += counters.dropped_audio;
                out.totals.count(counters);
                if subscription.judge_layer(place, &progress, streams, now, out) {
                    wants_more = wants_more.or(Some(place));
                }
                match progress {
                    Progress::Idle(deadline) => {
                        subscription.deadline = deadline;
                        if subscription.delivery.is_streaming() {
                            subscription.caught_up();
                        }
                    }
                    Progress::More => {
                        subscription.deadline = None;
                        subscription.due = Some(class);
                    }
                    Progress::Blocked(deadline) => {
                        let limit = out.settings.slow_subscriber;
                        let give_up_at = subscription.held_up(now, limit) + limit;
                        if now < give_up_at {
                            subscription.deadline = [deadline, Some(give_up_at)].into_iter().flatten().min();
                        } else {
                            subscription.deadline = None;
                            if !std::mem::replace(&mut self.too_slow, true) {
                                out.events.push(Event::TooSlow(number));
                            }
                        }
                    }
                    Progress::Finished => {
                        for slot in subscription.ladder.layers() {
                            out.changes.push(Change::Over(place, *slot));
                        }
                        *entry = None;
                        over = true;
                        continue;
                    }
                }
                let layer_deadline = subscription.layer_deadline(now, out);
                subscription.deadline = [subscription.deadline, layer_deadline].into_iter().flatten().min();
            }
        }
        if over {
            self.choose_leader();
        }
        if let Some(place) = wants_more {
            self.try_higher_layer(place, streams, now, out);
        }
    }

    /// A layer above the one of this subscription, if the path seems to carry it beside everything else.
    fn try_higher_layer(
        &mut self,
        place: u32,
        streams: &[Option<Stream>],
        now: Instant,
        out: &mut Output<'_>,
    ) {
        let rate = |slot: StreamSlot| streams.get(slot.index())?.as_ref()?.ring.bit_rate(now);
        // With what others are about to be raised to.
        let sent = |subscription: &Subscription<_>| rate(subscription.ladder.heading_for());
        let now_sent: u64 = self.subscriptions.iter().flatten().filter_map(sent).sum();
        let Some(subscription) = self.subscriptions.get_mut(place as usize).and_then(Option::as_mut) else {
            return;
        };
        // A layer that does not come has no rate.
        let Some(after) = subscription.ladder.higher().and_then(rate) else { return };
        let needed = now_sent.saturating_sub(rate(subscription.slot).unwrap_or(0)) + after;
        let room = self.connection.estimated_bit_rate();
        if room.is_none_or(|room| room / 5 * 4 >= needed) || subscription.ladder.insists() {
            subscription.begin_higher_layer(place, streams, now, out);
        }
    }
}
