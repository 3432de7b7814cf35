//! From streams to one subscriber's session.
//!
//! One task per session, woken by new units, by the transport when it takes bytes again, and by
//! the clock. A pass asks the pure core for every subscription what to send now and writes until
//! the transport takes no more; nothing is queued here but the unit that is half written. Audio
//! goes first. (A pump per shard is to replace the task; [`Subscription`] is what it will keep.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_core::media::{Delivery, DeliveryPolicy, GroupStart, MediaKind, RingUnit, Step};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::unit::pack;
use darktower_protocol::{Code, Features};
use futures_util::task::AtomicWaker;
use metrics::Counter;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Sleep;

use super::MediaHandler;
use super::ingress::Attached;
use super::router::Participant;
use super::session::Fault;
use super::stream::MediaStream;
use crate::transport::{SendStream, Session, WriteError};

/// An attach header may come this long before the subscription.
const ATTACH_DEADLINE: Duration = Duration::from_secs(1);

/// How soon it is tried again to open a QUIC stream or to queue a datagram.
const RETRY: Duration = Duration::from_millis(10);

/// How often the send buffer is fitted to the path.
const WINDOW_FIT_INTERVAL: Duration = Duration::from_millis(100);

/// Audio units on streams of their own at one time; what comes on top is left out.
const MAX_OVERSIZED: usize = 8;
/// Until such a unit has been written, or is given up.
const OVERSIZED_DEADLINE: Duration = Duration::from_millis(500);

/// Datagram bytes that must be free before another unit is taken from a stream: more than any
/// datagram.
const DATAGRAM_HEADROOM: usize = 2048;

/// Steps per subscription and pass; what is left over is done in the next pass, after others.
const MAX_STEPS: usize = 256;

const PRIORITY_AUDIO: i32 = 900;
const PRIORITY_NEWEST_GROUP: i32 = 500;
const PRIORITY_OLDER_GROUP: i32 = 400;

/// The sending side of one media session.
pub(super) struct Egress {
    session: Session,
    participant: Arc<Participant>,
    features: Features,
    policy: DeliveryPolicy,
    slow_subscriber: Duration,
    waker: Arc<AtomicWaker>,
    attached: mpsc::Receiver<Attached>,
    unmatched: Vec<(Instant, Attached)>,
    version: u64,
    subscriptions: Vec<Subscription>,
    /// Audio units that no datagram holds and that are on their way on streams of their own.
    oversized: Arc<Semaphore>,
    next_window_fit: Instant,
    counters: Counters,
}

struct Counters {
    units: Counter,
    bytes: Counter,
    dropped_groups: Counter,
    oversized: Counter,
}

struct Subscription {
    stream: Arc<MediaStream>,
    delivery: Delivery,
    carrier: Carrier,
    behind: Option<Behind>,
}

/// A subscription that does not keep up.
#[derive(Clone, Copy)]
struct Behind {
    /// The first time it was held up without having caught up since.
    since: Instant,
    /// The latest time.
    last: Instant,
}

/// How the units of a subscription travel.
enum Carrier {
    /// A QUIC stream per group.
    Groups(GroupStreams),
    /// Datagrams.
    Datagrams,
    /// One stream that the client opens; `None` until it has.
    Attached(Option<Writer>),
}

#[derive(Default)]
struct GroupStreams {
    current: Option<Writer>,
    /// A group has begun, but the client allows no more streams at the moment.
    opening: Option<(GroupStart, Instant)>,
}

/// A QUIC stream and what is yet to be written to it.
struct Writer {
    send: SendStream,
    /// Stream prefix and preamble, then the unit.
    pending: [Bytes; 3],
    /// When the unit in `pending` was received.
    received_at: Instant,
}

/// What came of trying to send.
enum Progress {
    /// Nothing to do until the stream has more, or the time comes.
    Idle(Option<Instant>),
    /// The transport takes no more; try again when it wakes us or the time comes.
    Blocked(Option<Instant>),
    /// The stream has ended, or the client does not want it.
    Finished,
}

impl Egress {
    pub(super) fn new(
        handler: &MediaHandler,
        session: &Session,
        participant: &Arc<Participant>,
        features: Features,
        waker: Arc<AtomicWaker>,
        attached: mpsc::Receiver<Attached>,
    ) -> Self {
        Self {
            session: session.clone(),
            participant: Arc::clone(participant),
            features,
            policy: handler.settings.policy,
            slow_subscriber: handler.settings.slow_subscriber,
            waker,
            attached,
            unmatched: Vec::new(),
            version: 0,
            subscriptions: Vec::new(),
            oversized: Arc::new(Semaphore::new(MAX_OVERSIZED)),
            next_window_fit: Instant::now(),
            counters: Counters {
                units: metrics::counter!("media_units_sent_total"),
                bytes: metrics::counter!("media_bytes_sent_total"),
                dropped_groups: metrics::counter!("media_groups_dropped_total"),
                oversized: metrics::counter!("media_units_oversized_total"),
            },
        }
    }

    /// Sends until the session ends or the client turns out not to read.
    pub(super) async fn run(mut self) -> Result<(), Fault> {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        std::future::poll_fn(|cx| self.poll(cx, timer.as_mut())).await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: std::pin::Pin<&mut Sleep>,
    ) -> Poll<Result<(), Fault>> {
        self.waker.register(cx.waker());
        while let Poll::Ready(Some(attached)) = self.attached.poll_recv(cx) {
            self.unmatched.push((Instant::now() + ATTACH_DEADLINE, attached));
        }
        let now = Instant::now();
        self.follow_routes();
        self.match_attached(now);
        if now >= self.next_window_fit {
            self.session.fit_send_window();
            self.next_window_fit = now + WINDOW_FIT_INTERVAL;
        }

        let mut wake_at: Option<Instant> = self.unmatched.iter().map(|(deadline, _)| *deadline).min();
        let max_datagram = self.session.max_datagram_len().unwrap_or(0);
        let mut out = Output {
            session: &self.session,
            features: self.features,
            counters: &self.counters,
            datagrams: VecDeque::new(),
            datagram_bytes: 0,
            oversized: &self.oversized,
        };
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let mut index = 0;
            while let Some(subscription) = self.subscriptions.get_mut(index) {
                if subscription.stream.kind != kind {
                    index += 1;
                    continue;
                }
                let deadline = match subscription.send(cx, now, &mut out) {
                    Progress::Idle(deadline) => {
                        if subscription.delivery.is_streaming() {
                            subscription.behind = None;
                        }
                        deadline
                    }
                    Progress::Blocked(deadline) => {
                        let since = subscription.held_up(now, self.slow_subscriber);
                        let give_up_at = since + self.slow_subscriber;
                        if now >= give_up_at {
                            return Poll::Ready(Err(self.too_slow()));
                        }
                        [deadline, Some(give_up_at)].into_iter().flatten().min()
                    }
                    Progress::Finished => {
                        let finished = self.subscriptions.swap_remove(index);
                        finished.stream.unsubscribe(&self.waker);
                        self.participant.forget(&finished.stream);
                        continue;
                    }
                };
                wake_at = [wake_at, deadline].into_iter().flatten().min();
                index += 1;
            }
            out.flush_datagrams(max_datagram);
        }
        if let Some(wake_at) = wake_at {
            timer.as_mut().reset(wake_at.into());
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn too_slow(&self) -> Fault {
        let seconds = self.slow_subscriber.as_secs();
        let message =
            format!("media could not be delivered for {seconds} s; read faster or subscribe to less");
        Fault::new(Code::TOO_SLOW, message)
    }

    /// Begins and ends subscriptions as the meeting controller has routed.
    fn follow_routes(&mut self) {
        let Some((version, wanted)) = self.participant.wanted_since(self.version) else { return };
        self.version = version;
        let mut index = 0;
        while let Some(subscription) = self.subscriptions.get_mut(index) {
            let stays = wanted.iter().any(|stream| Arc::ptr_eq(stream, &subscription.stream));
            // An ended stream is sent to its end although it is no longer routed.
            if stays || subscription.stream.is_ended() {
                index += 1;
                continue;
            }
            subscription.cancel();
            let gone = self.subscriptions.swap_remove(index);
            gone.stream.unsubscribe(&self.waker);
        }
        for stream in wanted {
            if self.subscriptions.iter().any(|subscription| Arc::ptr_eq(&subscription.stream, &stream)) {
                continue;
            }
            let carrier = match stream.kind {
                MediaKind::Audio if self.features.contains(Features::AUDIO_DATAGRAMS) => Carrier::Datagrams,
                MediaKind::Video if self.features.contains(Features::GROUPS) => {
                    Carrier::Groups(GroupStreams::default())
                }
                _ => Carrier::Attached(None),
            };
            let delivery = stream.subscribe(self.policy, &self.waker);
            self.subscriptions.push(Subscription { stream, delivery, carrier, behind: None });
        }
    }

    /// Gives the streams that the client has opened to the subscriptions they ask for.
    fn match_attached(&mut self, now: Instant) {
        for (deadline, mut attached) in std::mem::take(&mut self.unmatched) {
            // The same id may have been published again while its older stream is still being sent.
            let wanted = |subscription: &&mut Subscription| {
                subscription.stream.id == attached.wire_id && !subscription.stream.is_ended()
            };
            let Some(subscription) = self.subscriptions.iter_mut().find(wanted) else {
                if now < deadline {
                    self.unmatched.push((deadline, attached));
                } else {
                    attached.send.reset(Code::NOT_SUBSCRIBED);
                }
                continue;
            };
            if let Carrier::Attached(writer @ None) = &mut subscription.carrier {
                attached.send.set_priority(match subscription.stream.kind {
                    MediaKind::Audio => PRIORITY_AUDIO,
                    MediaKind::Video => PRIORITY_NEWEST_GROUP,
                });
                *writer = Some(Writer::new(attached.send));
                // What has come before is not missed: delivery begins here.
                subscription.delivery = subscription.stream.delivery(self.policy);
            } else {
                attached.send.reset(Code::PROTOCOL_VIOLATION);
            }
        }
    }
}

/// Where a subscription sends to.
struct Output<'a> {
    session: &'a Session,
    features: Features,
    counters: &'a Counters,
    /// Audio units of all subscriptions of this pass: those that fit share a datagram.
    datagrams: VecDeque<Bytes>,
    /// Bytes in `datagrams`.
    datagram_bytes: usize,
    oversized: &'a Arc<Semaphore>,
}

impl Output<'_> {
    fn flush_datagrams(&mut self, max_len: usize) {
        let units = self.datagrams.len() as u64;
        while let Some(datagram) = pack(&mut self.datagrams, self.session.datagram_prefix(), max_len) {
            self.counters.bytes.increment(datagram.len() as u64);
            self.session.send_datagram(datagram);
        }
        self.counters.units.increment(units);
        self.datagram_bytes = 0;
    }
}

impl Subscription {
    fn send(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut Output<'_>) -> Progress {
        match &self.carrier {
            Carrier::Datagrams => self.send_datagrams(now, out),
            // The client has yet to open its stream; for one that has ended it need not.
            Carrier::Attached(None) if self.stream.is_ended() => Progress::Finished,
            Carrier::Attached(None) => Progress::Idle(None),
            Carrier::Groups(_) | Carrier::Attached(Some(_)) => self.send_streams(cx, now, out),
        }
    }

    fn send_streams(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut Output<'_>) -> Progress {
        for _ in 0..MAX_STEPS {
            match self.flush(cx, now, out) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(WriteError::SessionEnded(_))) => return Progress::Idle(None),
                Poll::Ready(Err(WriteError::Stopped(_))) => {
                    self.stopped();
                    if matches!(self.carrier, Carrier::Attached(None)) {
                        return Progress::Idle(None);
                    }
                    continue;
                }
                Poll::Pending => match self.waited_too_long(now, out) {
                    Some(deadline) => return Progress::Blocked(deadline),
                    None => continue,
                },
            }
            match self.stream.step(&mut self.delivery, now) {
                Step::Wait(deadline) => return Progress::Idle(deadline),
                Step::StartGroup(start) => self.start_group(start, now),
                Step::DropGroup => self.drop_group(out),
                Step::Send(unit) => self.queue(&unit, out),
                Step::End => {
                    self.finish();
                    return Progress::Finished;
                }
                Step::RequestKeyFrame => {}
            }
        }
        cx.waker().wake_by_ref();
        Progress::Idle(None)
    }

    /// The client does not want the rest of what is being written: of the group, or of its own
    /// stream, for which it may open another.
    fn stopped(&mut self) {
        match &mut self.carrier {
            Carrier::Groups(groups) => {
                groups.current = None;
                self.stream.skip_group(&mut self.delivery);
            }
            Carrier::Attached(writer) => *writer = None,
            Carrier::Datagrams => {}
        }
    }

    /// Notes that the transport takes nothing, and returns since when that has been so. Being held
    /// up now and then, with long quiet times between, does not add up.
    fn held_up(&mut self, now: Instant, limit: Duration) -> Instant {
        let recent = |behind: &Behind| now.saturating_duration_since(behind.last) < limit / 2;
        let since = self.behind.filter(recent).map_or(now, |behind| behind.since);
        self.behind = Some(Behind { since, last: now });
        since
    }

    /// Opens what is to be opened and writes what is pending.
    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Poll<Result<(), WriteError>> {
        if let Carrier::Groups(groups) = &mut self.carrier
            && let Some((start, _)) = groups.opening
        {
            let opened = {
                let open = std::pin::pin!(out.session.open_uni());
                std::task::ready!(open.poll(cx))
            };
            let Ok((mut send, prefix)) = opened else {
                return Poll::Ready(Err(WriteError::SessionEnded("while opening a stream".to_owned())));
            };
            send.set_priority(PRIORITY_NEWEST_GROUP);
            let preamble = GroupPreamble {
                kind: GroupKind::Video,
                continuation: false,
                discontinuity: start.discontinuity,
                stream_id: self.stream.id,
                group: start.group,
                first_sequence: start.group,
            };
            let mut writer = Writer::new(send);
            writer.pending = [prefix.unwrap_or_default(), preamble.encode(), Bytes::new()];
            writer.received_at = now;
            groups.current = Some(writer);
            groups.opening = None;
        }
        match self.writer() {
            Some(writer) => writer.flush(cx, out),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The transport takes nothing: how long to wait, or `None` if the group was given up.
    fn waited_too_long(&mut self, now: Instant, out: &Output<'_>) -> Option<Option<Instant>> {
        let (received_at, retry) = match &self.carrier {
            Carrier::Groups(GroupStreams { opening: Some((_, since)), .. }) => (*since, Some(now + RETRY)),
            Carrier::Groups(GroupStreams { current: Some(writer), .. }) => (writer.received_at, None),
            // Nothing half written can be taken back on the only stream: it is waited for.
            _ => return Some(None),
        };
        let deadline = self.stream.blocked(&mut self.delivery, received_at, now);
        if deadline.is_none() {
            self.drop_group(out);
            return None;
        }
        Some([deadline, retry].into_iter().flatten().min())
    }

    fn start_group(&mut self, start: GroupStart, now: Instant) {
        if let Carrier::Groups(groups) = &mut self.carrier {
            if let Some(mut previous) = groups.current.take() {
                previous.send.set_priority(PRIORITY_OLDER_GROUP);
                previous.send.finish();
            }
            groups.opening = Some((start, now));
        }
    }

    fn drop_group(&mut self, out: &Output<'_>) {
        out.counters.dropped_groups.increment(1);
        if let Carrier::Groups(groups) = &mut self.carrier {
            groups.opening = None;
            if let Some(mut current) = groups.current.take() {
                current.send.reset(Code::DROPPED_GROUP);
            }
        }
    }

    fn queue(&mut self, unit: &RingUnit, out: &Output<'_>) {
        if let Some(writer) = self.writer() {
            writer.pending[2] = unit.wire.clone();
            writer.received_at = unit.received_at;
            out.counters.units.increment(1);
        }
    }

    fn finish(&mut self) {
        if let Some(writer) = self.writer() {
            writer.send.finish();
        }
    }

    /// The client has unsubscribed.
    fn cancel(&mut self) {
        if let Some(writer) = self.writer() {
            writer.send.reset(Code::CANCELLED);
        }
    }

    fn writer(&mut self) -> Option<&mut Writer> {
        match &mut self.carrier {
            Carrier::Groups(groups) => groups.current.as_mut(),
            Carrier::Attached(writer) => writer.as_mut(),
            Carrier::Datagrams => None,
        }
    }

    fn send_datagrams(&mut self, now: Instant, out: &mut Output<'_>) -> Progress {
        let max_len = out.session.max_datagram_len().unwrap_or(0);
        let max_unit = max_len.saturating_sub(out.session.datagram_prefix().len());
        loop {
            if out.session.datagram_space() < out.datagram_bytes + DATAGRAM_HEADROOM {
                return Progress::Idle(Some(now + RETRY));
            }
            match self.stream.step(&mut self.delivery, now) {
                Step::Send(unit) if unit.wire.len() <= max_unit => {
                    out.datagram_bytes += unit.wire.len();
                    out.datagrams.push_back(unit.wire);
                }
                Step::Send(unit) => self.send_oversized(unit, out),
                Step::End => return Progress::Finished,
                Step::Wait(deadline) => return Progress::Idle(deadline),
                Step::StartGroup(_) | Step::DropGroup | Step::RequestKeyFrame => {}
            }
        }
    }

    /// Audio that no datagram holds: on a QUIC stream of its own, as far as the client allows.
    fn send_oversized(&self, unit: RingUnit, out: &Output<'_>) {
        out.counters.oversized.increment(1);
        if !out.features.contains(Features::GROUPS) {
            return;
        }
        let preamble = GroupPreamble {
            kind: GroupKind::Audio,
            continuation: false,
            discontinuity: true,
            stream_id: self.stream.id,
            group: unit.header.sequence(),
            first_sequence: unit.header.sequence(),
        };
        // Later than that it would be too old to play.
        let Ok(permit) = Arc::clone(out.oversized).try_acquire_owned() else { return };
        let session = out.session.clone();
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + OVERSIZED_DEADLINE;
            let opened = tokio::time::timeout_at(deadline, session.open_uni()).await;
            let Ok(Ok((mut send, prefix))) = opened else { return };
            send.set_priority(PRIORITY_AUDIO);
            let write = async {
                for bytes in [prefix.unwrap_or_default(), preamble.encode(), unit.wire] {
                    send.write_all(bytes).await?;
                }
                Ok::<_, WriteError>(())
            };
            match tokio::time::timeout_at(deadline, write).await {
                Ok(Ok(())) => send.finish(),
                _ => send.reset(Code::DROPPED_GROUP),
            }
            drop(permit);
        });
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        for subscription in &self.subscriptions {
            subscription.stream.unsubscribe(&self.waker);
        }
    }
}

impl Writer {
    fn new(send: SendStream) -> Self {
        Self { send, pending: Default::default(), received_at: Instant::now() }
    }

    fn flush(&mut self, cx: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Result<(), WriteError>> {
        loop {
            let before: usize = self.pending.iter().map(Bytes::len).sum();
            if before == 0 {
                return Poll::Ready(Ok(()));
            }
            std::task::ready!(self.send.poll_write(cx, &mut self.pending))?;
            let after: usize = self.pending.iter().map(Bytes::len).sum();
            out.counters.bytes.increment((before - after) as u64);
        }
    }
}
