//! A shard: one thread with its own sockets, and the pump that sends everything its connections get.
//!
//! Everybody else reaches a shard through [`Shard`], a queue of commands: publishers bring units, the router begins and
//! ends subscriptions, sessions come and go, connections say that they take bytes again. The [`Pump`] alone touches the
//! tables behind it, so nothing on the way of a unit is locked by two threads.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::time::Instant;

use darktower_core::media::fanout::{
    Event, Fanout, FanoutSettings, HandedOver, Pass, StreamSlot, SubscriberSlot,
};
use darktower_core::media::{RingUnit, StreamRing};
use darktower_protocol::{Code, Features, StreamId};
use tokio::sync::{mpsc, oneshot};

use super::link::Link;
use super::metrics::PumpMetrics;
use super::router::Participant;
use super::session::Fault;
use super::stream::MediaStream;
use super::telemetry::{LastLook, Rounds, TelemetrySink};
use crate::transport::{SendStream, Session};

/// Bytes of units waiting for the pump beyond which publishers are held back.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// Commands carried out between two passes; what is left waits behind what is due.
const MAX_COMMANDS: usize = 4096;

/// What a waiting unit takes: its bytes, its place in the queue, and what the allocator adds.
fn waiting_cost(unit: &RingUnit) -> usize {
    unit.wire.len() + size_of::<Command>() + 64
}

/// Handle to a shard.
#[derive(Debug)]
pub struct Shard {
    index: usize,
    commands: mpsc::UnboundedSender<Command>,
    /// Taken by whoever begins or ends a session or subscription, never for a unit.
    slots: Mutex<Slots>,
    waiting_bytes: AtomicUsize,
    /// Share of its core that the shard's thread uses, in thousandths.
    load: AtomicU32,
}

#[derive(Debug, Default)]
struct Slots {
    streams: FreeList,
    subscribers: FreeList,
}

/// Numbers in use, kept low so that tables stay dense.
#[derive(Debug, Default)]
struct FreeList {
    free: Vec<u32>,
    next: u32,
}

impl FreeList {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

#[derive(Debug)]
enum Command {
    /// With whether it is sent before other video.
    AddStream(StreamSlot, Arc<MediaStream>, StreamRing, bool),
    SetProminent(StreamSlot, bool),
    RemoveStream(StreamSlot),
    Unit(StreamSlot, RingUnit),
    ClearStream(StreamSlot),
    EndStream(StreamSlot),
    AddSubscriber(SubscriberSlot, Box<NewSubscriber>),
    RemoveSubscriber(SubscriberSlot),
    /// To a stream, or to lower layers of it.
    Subscribe(SubscriberSlot, Vec<StreamSlot>),
    Unsubscribe(SubscriberSlot, StreamSlot),
    Attach(SubscriberSlot, StreamId, SendStream),
    Wake(SubscriberSlot),
}

#[derive(Debug)]
struct NewSubscriber {
    participant: Arc<Participant>,
    link: Link,
    features: Features,
    waker: Arc<SubscriberWaker>,
    faults: oneshot::Sender<Fault>,
}

/// A session as the pump's subscriber; the pump forgets it when this is dropped.
#[derive(Debug)]
pub(super) struct Subscriber {
    shard: Arc<Shard>,
    slot: SubscriberSlot,
}

/// Another handle to a [`Subscriber`], for as long as that lives.
#[derive(Debug, Clone)]
pub(super) struct SubscriberHandle {
    shard: Arc<Shard>,
    slot: SubscriberSlot,
}

impl Shard {
    /// A shard and its pump, which is to run on the shard's thread.
    pub(crate) fn new(
        index: usize,
        settings: FanoutSettings,
        telemetry: Arc<dyn TelemetrySink>,
    ) -> (Arc<Self>, Pump) {
        let (commands, commands_rx) = mpsc::unbounded_channel();
        let shard = Arc::new(Self {
            index,
            commands,
            slots: Mutex::default(),
            waiting_bytes: AtomicUsize::new(0),
            load: AtomicU32::new(0),
        });
        let pump = Pump {
            shard: Arc::clone(&shard),
            fanout: Fanout::new(settings),
            commands: commands_rx,
            slow_subscriber: settings.slow_subscriber,
            streams: Vec::new(),
            sessions: Vec::new(),
            events: Vec::new(),
            handed_over: Vec::new(),
            metrics: PumpMetrics::new(index),
            telemetry,
            rounds: Rounds::new(Instant::now()),
            open_sessions: 0,
        };
        (shard, pump)
    }

    /// Its number among the shards of the process.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Share of its core that the shard's thread uses, 0 to 1, over the last second.
    pub(crate) fn load(&self) -> f64 {
        f64::from(self.load.load(Ordering::Relaxed)) / 1000.0
    }

    pub(crate) fn set_load(&self, load: f64) {
        self.load.store((load.clamp(0.0, 1.0) * 1000.0) as u32, Ordering::Relaxed);
    }

    /// A session of this shard begins to receive. What it may still say when it is cut off comes through the receiver.
    pub(super) fn add_subscriber(
        self: &Arc<Self>,
        participant: Arc<Participant>,
        session: &Session,
        features: Features,
    ) -> (Subscriber, oneshot::Receiver<Fault>) {
        let slot = SubscriberSlot(self.slots().subscribers.take());
        let (faults, faults_rx) = oneshot::channel();
        let waker = Arc::new(SubscriberWaker {
            commands: self.commands.clone(),
            slot,
            pending: AtomicBool::new(false),
        });
        let link = Link::new(session.clone(), features, Waker::from(Arc::clone(&waker)));
        let subscriber = NewSubscriber { participant, link, features, waker, faults };
        self.send(Command::AddSubscriber(slot, Box::new(subscriber)));
        (Subscriber { shard: Arc::clone(self), slot }, faults_rx)
    }

    /// A stream gets its first subscriber here.
    pub(super) fn add_stream(
        &self,
        stream: Arc<MediaStream>,
        ring: StreamRing,
        is_prominent: bool,
    ) -> StreamSlot {
        let slot = StreamSlot(self.slots().streams.take());
        self.send(Command::AddStream(slot, stream, ring, is_prominent));
        slot
    }

    /// Whether a stream is sent before other video has changed.
    pub(super) fn set_prominent(&self, slot: StreamSlot, is_prominent: bool) {
        self.send(Command::SetProminent(slot, is_prominent));
    }

    /// A stream has lost its last subscriber here.
    pub(super) fn remove_stream(&self, slot: StreamSlot) {
        // In this order: whoever gets the number next adds its stream after this one is gone.
        let mut slots = self.slots();
        self.send(Command::RemoveStream(slot));
        slots.streams.free.push(slot.0);
    }

    /// A stream has a new unit.
    pub(super) fn push(&self, slot: StreamSlot, unit: RingUnit) {
        self.waiting_bytes.fetch_add(waiting_cost(&unit), Ordering::Relaxed);
        self.send(Command::Unit(slot, unit));
    }

    /// Whether units come faster than the pump takes them: publishers are to be read more slowly.
    pub(super) fn is_overrun(&self) -> bool {
        self.waiting_bytes.load(Ordering::Relaxed) > MAX_WAITING_BYTES
    }

    /// What has not left of the stream is not to be sent any more.
    pub(super) fn clear_stream(&self, slot: StreamSlot) {
        self.send(Command::ClearStream(slot));
    }

    pub(super) fn end_stream(&self, slot: StreamSlot) {
        self.send(Command::EndStream(slot));
    }

    fn send(&self, command: Command) {
        // The pump is gone only when the server stops.
        let _stopped = self.commands.send(command);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no code panics while it holds this lock")
    }
}

impl Subscriber {
    pub(super) fn handle(&self) -> SubscriberHandle {
        SubscriberHandle { shard: Arc::clone(&self.shard), slot: self.slot }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut slots = self.shard.slots();
        self.shard.send(Command::RemoveSubscriber(self.slot));
        slots.subscribers.free.push(self.slot.0);
    }
}

impl SubscriberHandle {
    pub(super) fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    pub(super) fn subscribe(&self, layers: Vec<StreamSlot>) {
        self.shard.send(Command::Subscribe(self.slot, layers));
    }

    pub(super) fn unsubscribe(&self, stream: StreamSlot) {
        self.shard.send(Command::Unsubscribe(self.slot, stream));
    }

    /// The client has opened a stream for a subscription (baseline).
    pub(super) fn attach(&self, wire_id: StreamId, send: SendStream) {
        self.shard.send(Command::Attach(self.slot, wire_id, send));
    }
}

/// Called by a connection that takes bytes again.
#[derive(Debug)]
struct SubscriberWaker {
    commands: mpsc::UnboundedSender<Command>,
    slot: SubscriberSlot,
    /// A command is on its way already.
    pending: AtomicBool,
}

impl Wake for SubscriberWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            let _stopped = self.commands.send(Command::Wake(self.slot));
        }
    }
}

/// A session as the pump knows it.
#[derive(Debug)]
struct Receiving {
    participant: Arc<Participant>,
    waker: Arc<SubscriberWaker>,
    last_look: LastLook,
    faults: Option<oneshot::Sender<Fault>>,
}

/// Sends everything that the connections of one shard get.
#[derive(Debug)]
pub(crate) struct Pump {
    shard: Arc<Shard>,
    fanout: Fanout<Link>,
    commands: mpsc::UnboundedReceiver<Command>,
    slow_subscriber: std::time::Duration,
    streams: Vec<Option<Arc<MediaStream>>>,
    sessions: Vec<Option<Receiving>>,
    events: Vec<Event>,
    handed_over: Vec<HandedOver>,
    metrics: PumpMetrics,
    telemetry: Arc<dyn TelemetrySink>,
    rounds: Rounds,
    open_sessions: usize,
}

impl Pump {
    /// Runs until the process ends; to be dropped with the shard's runtime.
    pub(crate) async fn run(mut self) {
        let mut timer = std::pin::pin!(tokio::time::sleep(std::time::Duration::ZERO));
        loop {
            for _ in 0..MAX_COMMANDS {
                let Ok(command) = self.commands.try_recv() else { break };
                self.carry_out(command);
            }
            self.fanout.set_load(self.shard.load());
            let pass = self.fanout.pass(Instant::now());
            self.carry_out_events();
            self.fanout.take_handed_over(&mut self.handed_over);
            if !self.handed_over.is_empty() || pass == Pass::More {
                // The drivers of the connections that were written to run now, and the sockets are looked at; the pump
                // goes on behind them. What was handed over has left for the kernel then.
                tokio::task::yield_now().await;
                self.metrics.record(&mut self.handed_over, Instant::now());
            }
            self.metrics.publish(&self.fanout);
            let look_at = self.look();
            let Pass::Idle(deadline) = pass else { continue };
            let deadlines = [deadline, self.metrics.publish_at(&self.fanout), look_at];
            let deadline = deadlines.into_iter().flatten().min();
            if let Some(deadline) = deadline {
                timer.as_mut().reset(deadline.into());
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out(command),
                    None => return,
                },
                () = &mut timer, if deadline.is_some() => {}
            }
        }
    }

    /// Tells how some of the sessions are, if it is their turn. Answers when to go on.
    fn look(&mut self) -> Option<Instant> {
        if self.open_sessions == 0 {
            return None;
        }
        let now = Instant::now();
        if let Some(places) = self.rounds.portion(self.sessions.len(), now) {
            let Self { sessions, fanout, .. } = self;
            let open = places.filter_map(|place| {
                let slot = SubscriberSlot(u32::try_from(place).ok()?);
                let Receiving { participant, last_look, .. } = entry(sessions, slot.0)?;
                last_look.sample(participant, fanout, slot, now)
            });
            let portion: Vec<_> = open.collect();
            if !portion.is_empty() {
                self.telemetry.take(portion);
            }
        }
        Some(self.rounds.deadline(now))
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Unit(slot, unit) => {
                self.shard.waiting_bytes.fetch_sub(waiting_cost(&unit), Ordering::Relaxed);
                let received_at = unit.received_at;
                self.fanout.push(slot, unit, received_at);
            }
            Command::Wake(slot) => {
                if let Some(session) = entry(&mut self.sessions, slot.0) {
                    session.waker.pending.store(false, Ordering::Release);
                }
                self.fanout.wake(slot);
            }
            Command::AddStream(slot, stream, ring, is_prominent) => {
                self.fanout.add_stream(slot, stream.id, stream.kind, ring);
                self.fanout.set_prominent(slot, is_prominent);
                put(&mut self.streams, slot.0, stream);
            }
            Command::SetProminent(slot, is_prominent) => self.fanout.set_prominent(slot, is_prominent),
            Command::RemoveStream(slot) => {
                self.fanout.remove_stream(slot);
                take(&mut self.streams, slot.0);
            }
            Command::ClearStream(slot) => self.fanout.clear_stream(slot),
            Command::EndStream(slot) => self.fanout.end_stream(slot),
            Command::AddSubscriber(slot, new) => {
                let NewSubscriber { participant, link, features, waker, faults } = *new;
                self.fanout.add_subscriber(slot, link, features);
                let last_look = LastLook::new(Instant::now());
                let receiving = Receiving { participant, waker, last_look, faults: Some(faults) };
                put(&mut self.sessions, slot.0, receiving);
                self.open_sessions += 1;
            }
            Command::RemoveSubscriber(slot) => {
                self.fanout.remove_subscriber(slot);
                // Before the number is given to another.
                self.carry_out_events();
                if take(&mut self.sessions, slot.0).is_some() {
                    self.open_sessions -= 1;
                }
            }
            Command::Subscribe(subscriber, layers) => {
                self.fanout.subscribe(subscriber, &layers, Instant::now());
            }
            Command::Unsubscribe(subscriber, stream) => self.fanout.unsubscribe(subscriber, stream),
            Command::Attach(slot, wire_id, send) => self.fanout.attach(slot, wire_id, send, Instant::now()),
        }
    }

    fn carry_out_events(&mut self) {
        self.fanout.take_events(&mut self.events);
        for event in self.events.drain(..) {
            match event {
                Event::KeyFrameWanted(slot) => {
                    if let Some(stream) = entry(&mut self.streams, slot.0) {
                        stream.request_key_frame();
                    }
                }
                Event::SubscriptionOver { subscriber, stream, finished } => {
                    let Some(stream) = entry(&mut self.streams, stream.0) else { continue };
                    // A lower layer may end before the one that was asked for.
                    if (finished || stream.is_ended())
                        && let Some(session) = entry(&mut self.sessions, subscriber.0)
                    {
                        session.participant.forget(stream);
                    }
                    stream.release(&self.shard);
                }
                Event::TooSlow(subscriber) => {
                    let session = entry(&mut self.sessions, subscriber.0);
                    let Some(faults) = session.and_then(|session| session.faults.take()) else { continue };
                    let seconds = self.slow_subscriber.as_secs();
                    let message = format!(
                        "media could not be delivered for {seconds} s; read faster or subscribe to less"
                    );
                    let _session_over = faults.send(Fault::new(Code::TOO_SLOW, message));
                }
            }
        }
    }
}

fn entry<T>(table: &mut [Option<T>], index: u32) -> Option<&mut T> {
    table.get_mut(index as usize).and_then(Option::as_mut)
}

fn take<T>(table: &mut [Option<T>], index: u32) -> Option<T> {
    table.get_mut(index as usize).and_then(Option::take)
}

fn put<T>(table: &mut Vec<Option<T>>, index: u32, value: T) {
    if table.len() <= index as usize {
        table.resize_with(index as usize + 1, || None);
    }
    if let Some(entry) = table.get_mut(index as usize) {
        *entry = Some(value);
    }
}
