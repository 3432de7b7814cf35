//! One subscriber: its subscriptions, and what a visit writes to its connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::group::GroupKind;
use darktower_protocol::{Code, Features, StreamId};

use super::super::delivery::{Delivery, GroupStart, MediaKind, Step};
use super::super::ring::RingUnit;
use super::connection::{Connection, Opened, Written, preamble};
use super::{Class, Event, FanoutSettings, HandedOver, Stream, StreamSlot, SubscriberSlot, Totals};

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
const PRIORITY_NEWEST_GROUP: i32 = 500;
const PRIORITY_OLDER_GROUP: i32 = 400;

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
    slot: StreamSlot,
    id: StreamId,
    kind: MediaKind,
    delivery: Delivery,
    carrier: Carrier<S>,
    /// What there may be to send; `None` until the stream, the connection or the clock says so.
    due: Option<Class>,
    deadline: Option<Instant>,
    behind: Option<Behind>,
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
}

/// What a visit adds to.
pub(super) struct Output<'a> {
    pub(super) settings: &'a FanoutSettings,
    pub(super) totals: &'a mut Totals,
    pub(super) events: &'a mut Vec<Event>,
    pub(super) handed_over: &'a mut Vec<HandedOver>,
    /// Subscriptions that are over, by place.
    pub(super) finished: &'a mut Vec<(u32, StreamSlot)>,
    bytes: usize,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        settings: &'a FanoutSettings,
        totals: &'a mut Totals,
        events: &'a mut Vec<Event>,
        handed_over: &'a mut Vec<HandedOver>,
        finished: &'a mut Vec<(u32, StreamSlot)>,
    ) -> Self {
        Self { settings, totals, events, handed_over, finished, bytes: 0 }
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

    /// A new subscription; returns its place.
    pub(super) fn subscribe(
        &mut self,
        slot: StreamSlot,
        stream: &Stream,
        settings: &FanoutSettings,
        now: Instant,
    ) -> u32 {
        let carrier = match stream.kind {
            MediaKind::Audio if self.features.contains(Features::AUDIO_DATAGRAMS) => Carrier::Datagrams,
            MediaKind::Video if self.features.contains(Features::GROUPS) => {
                Carrier::Groups { current: None, opening: None }
            }
            _ => Carrier::Attached(None),
        };
        let delivery = Delivery::new(stream.kind, settings.delivery, &stream.ring, now);
        let subscription = Subscription {
            slot,
            id: stream.id,
            kind: stream.kind,
            delivery,
            carrier,
            due: Some(stream.kind.into()),
            deadline: None,
            behind: None,
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
        place as u32
    }

    /// The place of the subscription to a stream.
    pub(super) fn place_of(&self, slot: StreamSlot) -> Option<u32> {
        let wanted = |entry: &Option<Subscription<_>>| entry.as_ref().is_some_and(|found| found.slot == slot);
        self.subscriptions.iter().position(wanted).map(|place| place as u32)
    }

    /// The client has unsubscribed: what is under way is given up.
    pub(super) fn cancel(&mut self, place: u32) {
        let Some(subscription) = self.subscriptions.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        match subscription.carrier {
            Carrier::Groups { current: Some(writer), .. } | Carrier::Attached(Some(writer)) => {
                self.connection.reset(writer.stream, Code::CANCELLED);
            }
            _ => {}
        }
        self.choose_leader();
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

    /// Slots of all streams it gets.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u32, StreamSlot)> + '_ {
        let entries = self.subscriptions.iter().enumerate();
        entries.filter_map(|(place, entry)| Some((place as u32, entry.as_ref()?.slot)))
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
                    MediaKind::Video => PRIORITY_NEWEST_GROUP,
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
        let over = out.finished.len();
        for class in [Class::Audio, Class::Delta, Class::Key] {
            let wanted = match class {
                Class::Audio => true,
                Class::Delta => visit.deltas,
                Class::Key => visit.keys,
            };
            if !wanted {
                continue;
            }
            for (place, entry) in self.subscriptions.iter_mut().enumerate() {
                let Some(subscription) = entry.as_mut().filter(|entry| entry.due == Some(class)) else {
                    continue;
                };
                let Some(stream) = streams.get(subscription.slot.index()).and_then(Option::as_ref) else {
                    continue;
                };
                subscription.due = None;
                let connection = &mut self.connection;
                let progress = match &subscription.carrier {
                    Carrier::Datagrams => {
                        let space = space.get_or_insert_with(|| connection.datagram_space());
                        subscription.send_datagrams(
                            connection,
                            stream,
                            self.max_datagram_unit,
                            space,
                            now,
                            out,
                        )
                    }
                    // The client has yet to open its stream; for one that has ended it need not.
                    Carrier::Attached(None) if stream.ring.is_ended() => Progress::Finished,
                    Carrier::Attached(None) => Progress::Idle(None),
                    _ => subscription.send_streams(connection, stream, now, out),
                };
                out.totals.count(subscription.delivery.take_counters());
                match progress {
                    Progress::Idle(deadline) => {
                        subscription.deadline = deadline;
                        if subscription.delivery.is_streaming() {
                            subscription.behind = None;
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
                        out.finished.push((place as u32, subscription.slot));
                        *entry = None;
                    }
                }
            }
        }
        if out.finished.len() > over {
            self.choose_leader();
        }
    }
}

impl<S> Subscription<S> {
    fn send_datagrams<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        stream: &Stream,
        max_unit: usize,
        space: &mut usize,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Progress {
        loop {
            if *space < DATAGRAM_HEADROOM {
                return Progress::Idle(Some(now + RETRY));
            }
            match self.delivery.step(&stream.ring, now) {
                Step::Send(unit) if unit.wire.len() <= max_unit => {
                    *space = space.saturating_sub(unit.wire.len() + DATAGRAM_OVERHEAD);
                    connection.send_datagram(&unit);
                    out.wrote(Class::Audio, unit.wire.len());
                    out.handed_over(Class::Audio, unit.received_at);
                }
                Step::Send(unit) => {
                    out.totals.oversized += 1;
                    connection.send_oversized(self.id, &unit);
                }
                Step::End => return Progress::Finished,
                Step::Wait(deadline) => return Progress::Idle(deadline),
                Step::StartGroup(_) | Step::DropGroup | Step::RequestKeyFrame => {}
            }
        }
    }

    fn send_streams<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        stream: &Stream,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Progress {
        for _ in 0..MAX_STEPS {
            match self.flush(connection, now, out) {
                Written::All => {}
                Written::Gone => return Progress::Idle(None),
                Written::Stopped => {
                    self.stopped(stream);
                    if matches!(self.carrier, Carrier::Attached(None)) {
                        return Progress::Idle(None);
                    }
                    continue;
                }
                Written::Blocked => match self.waited_too_long(connection, stream, now, out) {
                    Some(deadline) => return Progress::Blocked(deadline),
                    None => continue,
                },
            }
            match self.delivery.step(&stream.ring, now) {
                Step::Wait(deadline) => return Progress::Idle(deadline),
                Step::StartGroup(start) => self.start_group(connection, start, now),
                Step::DropGroup => self.drop_group(connection, out),
                Step::Send(unit) => self.queue(&unit),
                Step::End => {
                    self.finish(connection);
                    return Progress::Finished;
                }
                Step::RequestKeyFrame => out.events.push(Event::KeyFrameWanted(self.slot)),
            }
        }
        Progress::More
    }

    /// The client does not want the rest of what is being written: of the group, or of its own stream, for which it
    /// may open another.
    fn stopped(&mut self, stream: &Stream) {
        match &mut self.carrier {
            Carrier::Groups { current, .. } => {
                *current = None;
                self.delivery.skip_group(&stream.ring);
            }
            Carrier::Attached(writer) => *writer = None,
            Carrier::Datagrams => {}
        }
    }

    /// Notes that the transport takes nothing, and returns since when that has been so. Being held up now and then,
    /// with long quiet times between, does not add up.
    fn held_up(&mut self, now: Instant, limit: Duration) -> Instant {
        let recent = |behind: &Behind| now.saturating_duration_since(behind.last) < limit / 2;
        let since = self.behind.filter(recent).map_or(now, |behind| behind.since);
        self.behind = Some(Behind { since, last: now });
        since
    }

    /// Opens what is to be opened and writes what is pending.
    fn flush<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Written {
        if let Carrier::Groups { current, opening } = &mut self.carrier
            && let Some((start, _)) = *opening
        {
            let (mut stream, prefix) = match connection.open() {
                Opened::Stream(stream, prefix) => (stream, prefix),
                Opened::NotNow => return Written::Blocked,
                Opened::Gone => return Written::Gone,
            };
            connection.set_priority(&mut stream, PRIORITY_NEWEST_GROUP);
            let mut writer = Writer::new(stream, now);
            let preamble = preamble(GroupKind::Video, self.id, start.group, start.discontinuity);
            writer.pending = [prefix, preamble, Bytes::new()];
            *current = Some(writer);
            *opening = None;
        }
        match self.writer() {
            // A stream is opened with its first unit in hand.
            Some(writer) if writer.pending[2].is_empty() => Written::All,
            Some(writer) => writer.flush(connection, out),
            None => Written::All,
        }
    }

    /// The transport takes nothing: how long to wait, or `None` if the group was given up.
    fn waited_too_long<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        stream: &Stream,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Option<Option<Instant>> {
        let (received_at, retry) = match &self.carrier {
            Carrier::Groups { opening: Some((_, since)), .. } => (*since, Some(now + RETRY)),
            Carrier::Groups { current: Some(writer), .. } => (writer.received_at, None),
            // Nothing half written can be taken back on the only stream: it is waited for.
            _ => return Some(None),
        };
        let deadline = self.delivery.blocked(&stream.ring, received_at, now);
        if deadline.is_none() {
            self.drop_group(connection, out);
            return None;
        }
        Some([deadline, retry].into_iter().flatten().min())
    }

    fn start_group<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        start: GroupStart,
        now: Instant,
    ) {
        if let Carrier::Groups { current, opening } = &mut self.carrier {
            if let Some(mut previous) = current.take() {
                connection.set_priority(&mut previous.stream, PRIORITY_OLDER_GROUP);
                connection.finish(previous.stream);
            }
            *opening = Some((start, now));
        }
    }

    fn drop_group<C: Connection<Stream = S>>(&mut self, connection: &mut C, out: &mut Output<'_>) {
        out.totals.dropped_groups += 1;
        if let Carrier::Groups { current, opening } = &mut self.carrier {
            *opening = None;
            if let Some(writer) = current.take() {
                connection.reset(writer.stream, Code::DROPPED_GROUP);
            }
        }
    }

    fn queue(&mut self, unit: &RingUnit) {
        let live = !self.delivery.is_catching_up();
        if let Some(writer) = self.writer() {
            writer.pending[2] = unit.wire.clone();
            writer.received_at = unit.received_at;
            writer.class = live.then_some(unit.header.frame_type().into());
        }
    }

    fn finish<C: Connection<Stream = S>>(&mut self, connection: &mut C) {
        match std::mem::replace(&mut self.carrier, Carrier::Attached(None)) {
            Carrier::Groups { current: Some(writer), .. } | Carrier::Attached(Some(writer)) => {
                connection.finish(writer.stream);
            }
            _ => {}
        }
    }

    fn writer(&mut self) -> Option<&mut Writer<S>> {
        match &mut self.carrier {
            Carrier::Groups { current, .. } => current.as_mut(),
            Carrier::Attached(writer) => writer.as_mut(),
            Carrier::Datagrams => None,
        }
    }
}

impl<S> Writer<S> {
    fn new(stream: S, now: Instant) -> Self {
        Self { stream, pending: Default::default(), received_at: now, class: None }
    }

    fn flush<C: Connection<Stream = S>>(&mut self, connection: &mut C, out: &mut Output<'_>) -> Written {
        let before: usize = self.pending.iter().map(Bytes::len).sum();
        if before == 0 {
            return Written::All;
        }
        let written = connection.write(&mut self.stream, &mut self.pending);
        let after: usize = self.pending.iter().map(Bytes::len).sum();
        // What a newcomer catches up on counts as what it mostly is.
        out.wrote(self.class.unwrap_or(Class::Delta), before - after);
        if written == Written::All {
            match self.class {
                Some(class) => out.handed_over(class, self.received_at),
                None => out.totals.caught_up_units += 1,
            }
        }
        written
    }
}
