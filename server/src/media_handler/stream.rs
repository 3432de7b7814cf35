//! One published stream or layer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use darktower_core::media::fanout::StreamSlot;
use darktower_core::media::{IngressMeter, KeyFrameLimiter, LayerDemand, MediaKind, RingLimits, StreamRing};
use darktower_core::meeting::quality::IngressSample;
use darktower_protocol::group::GroupPreamble;
use darktower_protocol::sequencer::{Sequencer, SequencerLimits};
use darktower_protocol::signaling::pb::{self, PublisherFeedback};
use darktower_protocol::{FrameType, ParticipantId, StreamId, Unit};
use metrics::Counter;
use tokio::sync::mpsc;

use super::shard::{Shard, SubscriberHandle};

/// After a stream is no longer registered, what is on its way may still come for this long.
const DRAIN_QUIET: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What a gap between group streams may hold back: two large key frames at most.
const MAX_HELD_BYTES: usize = 1 << 20;

/// Names a QUIC stream of any session: session number and stream id.
pub(super) type SourceKey = (u64, u64);

/// A stream as the handler knows it. On the way of a unit only the publisher's side locks it; subscribers read rings
/// of their shards.
#[derive(Debug)]
pub(super) struct MediaStream {
    pub(super) id: StreamId,
    pub(super) kind: MediaKind,
    /// A screen that is shared: always sent before other video.
    is_screen: bool,
    /// Lower layers of the same stream, from high to low.
    pub(super) lower: Vec<Arc<MediaStream>>,
    state: Mutex<State>,
    hold_timer_runs: AtomicBool,
    key_frame_timer_runs: AtomicBool,
    demand_timer_runs: AtomicBool,
    /// How often a key frame was asked for.
    key_frames_wanted: Counter,
    /// How often the publisher was asked for one.
    key_frame_requests: Counter,
}

/// What became of a unit that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingested {
    /// It goes to the subscribers.
    Taken,
    /// A shard cannot keep up. What came on a QUIC stream is taken all the same, and the publisher is to be read more
    /// slowly; what came in a datagram is left out.
    Overrun,
    /// The stream has ended and takes no more.
    Ended,
}

#[derive(Debug)]
struct State {
    ring: StreamRing,
    meter: IngressMeter,
    sequencer: Sequencer<SourceKey>,
    open_sources: usize,
    last_ingest: Instant,
    /// Shards with subscribers.
    targets: Vec<Target>,
    destinations: BTreeSet<ParticipantId>,
    key_frames: KeyFrameLimiter,
    /// It goes to somebody.
    is_wanted: bool,
    demand: LayerDemand,
    publisher: Option<FeedbackPath>,
    /// Sent before other video where a path does not carry both.
    is_prominent: bool,
}

#[derive(Debug)]
struct Target {
    shard: Arc<Shard>,
    slot: StreamSlot,
    subscriptions: usize,
}

/// An open group stream of a publisher; ends when dropped, however its task ends.
pub(super) struct Source {
    stream: Arc<MediaStream>,
    key: SourceKey,
}

impl Source {
    /// A unit has come; it goes on when its turn has come.
    pub(super) fn ingest(&self, unit: Unit) -> Ingested {
        let mut state = self.stream.lock();
        if state.ring.is_ended() {
            return Ingested::Ended;
        }
        state.sequencer.push(&self.key, unit, Instant::now());
        match self.stream.pass_on(state) {
            true => Ingested::Overrun,
            false => Ingested::Taken,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.open_sources -= 1;
        state.sequencer.close(&self.key);
        self.stream.pass_on(state);
    }
}

/// How a publisher hears what the server wants of it. Both queues are bounded; what does not fit is left
/// out, because whoever needs a key frame asks again.
#[derive(Debug)]
pub(super) enum FeedbackPath {
    /// In the session's control stream.
    Control(mpsc::Sender<pb::MediaServerMessage>),
    /// In the return half of the baseline stream.
    ReturnHalf(mpsc::Sender<PublisherFeedback>),
}

impl FeedbackPath {
    /// Whether both lead to the same end.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Control(one), Self::Control(other)) => one.same_channel(other),
            (Self::ReturnHalf(one), Self::ReturnHalf(other)) => one.same_channel(other),
            _ => false,
        }
    }

    fn send(&self, feedback: PublisherFeedback) {
        match self {
            Self::Control(control) => {
                let message = pb::media_server_message::Message::PublisherFeedback(feedback);
                let _full_or_gone = control.try_send(pb::MediaServerMessage { message: Some(message) });
            }
            Self::ReturnHalf(feedbacks) => {
                let _full_or_gone = feedbacks.try_send(feedback);
            }
        }
    }
}

impl MediaStream {
    /// `is_prominent` at first, and always if it is a screen.
    pub(super) fn new(
        id: StreamId,
        kind: MediaKind,
        is_screen: bool,
        is_prominent: bool,
        lower: Vec<Arc<MediaStream>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            kind,
            is_screen,
            lower,
            state: Mutex::new(State {
                ring: StreamRing::new(ring_limits(kind)),
                meter: IngressMeter::default(),
                sequencer: Sequencer::new(SequencerLimits {
                    max_held_bytes: MAX_HELD_BYTES,
                    ..SequencerLimits::default()
                }),
                open_sources: 0,
                last_ingest: Instant::now(),
                targets: Vec::new(),
                destinations: BTreeSet::new(),
                key_frames: KeyFrameLimiter::default(),
                is_wanted: false,
                demand: LayerDemand::new(Instant::now()),
                publisher: None,
                is_prominent: is_screen || is_prominent,
            }),
            hold_timer_runs: AtomicBool::new(false),
            key_frame_timer_runs: AtomicBool::new(false),
            demand_timer_runs: AtomicBool::new(false),
            key_frames_wanted: metrics::counter!("media_key_frames_wanted_total"),
            key_frame_requests: metrics::counter!("media_key_frame_requests_total"),
        })
    }

    /// Whether units of this type belong on this stream.
    pub(super) fn takes(&self, frame_type: FrameType) -> bool {
        match self.kind {
            MediaKind::Audio => frame_type == FrameType::Audio,
            MediaKind::Video => frame_type.is_video(),
        }
    }

    /// Where the publisher hears what the server wants from now on.
    pub(super) fn set_publisher(&self, path: FeedbackPath) {
        let mut state = self.lock();
        let is_new = state.publisher.as_ref().is_none_or(|before| !before.is_same(&path));
        state.publisher = Some(path);
        if is_new && state.demand.is_paused() {
            self.tell(&state, PublisherFeedback { paused: Some(true), ..PublisherFeedback::default() });
        }
    }

    /// A group stream has begun.
    pub(super) fn open_source(self: &Arc<Self>, key: SourceKey, preamble: &GroupPreamble) -> Source {
        let mut state = self.lock();
        state.open_sources += 1;
        state.sequencer.open(key, preamble);
        Source { stream: Arc::clone(self), key }
    }

    /// A unit has come on a QUIC stream and needs no sorting: on a baseline stream, or audio on a stream of its own.
    pub(super) fn ingest(&self, unit: &Unit) -> Ingested {
        let mut state = self.lock();
        if state.ring.is_ended() {
            return Ingested::Ended;
        }
        state.push(unit, Instant::now());
        match state.is_overrun() {
            true => Ingested::Overrun,
            false => Ingested::Taken,
        }
    }

    /// A unit has come in a datagram. Datagrams cannot be held back, and would be too old when their turn came.
    pub(super) fn ingest_datagram(&self, unit: &Unit) -> Ingested {
        let mut state = self.lock();
        if state.ring.is_ended() {
            return Ingested::Ended;
        }
        if state.is_overrun() {
            return Ingested::Overrun;
        }
        state.push(unit, Instant::now());
        Ingested::Taken
    }

    /// Whether the publisher's video is sent before that of others from now on.
    pub(super) fn set_prominent(&self, is_prominent: bool) {
        if self.kind != MediaKind::Video || self.is_screen {
            return;
        }
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_prominent, is_prominent) != is_prominent {
            for target in &state.targets {
                target.shard.set_prominent(target.slot, is_prominent);
            }
        }
    }

    /// Somebody gets the stream from now on, or does not any more.
    pub(super) fn set_destination(self: &Arc<Self>, id: ParticipantId, is_routed: bool) {
        let mut state = self.lock();
        if is_routed {
            state.destinations.insert(id);
        } else {
            state.destinations.remove(&id);
        }
        self.note_demand(state);
    }

    /// Who gets the stream has changed, or whether anybody does.
    fn note_demand(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let is_wanted = !state.destinations.is_empty() && !state.ring.is_shut();
        let was_wanted = std::mem::replace(&mut state.is_wanted, is_wanted);
        drop(state);
        if is_wanted != was_wanted {
            // Who gets this layer may have to fall back to a lower one.
            [self].into_iter().chain(&self.lower).for_each(|layer| layer.change_demand(is_wanted));
        }
    }

    /// Somebody wants the layer, or one above it, or nobody does any more.
    fn change_demand(self: &Arc<Self>, is_wanted: bool) {
        if self.kind != MediaKind::Video {
            return;
        }
        let mut state = self.lock();
        let resumes = state.demand.change(is_wanted, Instant::now());
        if resumes {
            self.request_key_frame_locked(&mut state);
        }
        self.watch_demand_locked(&state);
    }

    /// Tells the publisher, when it is time, that nobody wants the layer. Audio is always sent.
    pub(super) fn watch_demand(self: &Arc<Self>) {
        if self.kind == MediaKind::Video {
            self.watch_demand_locked(&self.lock());
        }
    }

    fn watch_demand_locked(self: &Arc<Self>, state: &State) {
        let Some(mut deadline) = state.demand.next_deadline() else { return };
        if self.demand_timer_runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let stream = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep_until(deadline.into()).await;
                let Some(stream) = stream.upgrade() else { return };
                let mut state = stream.lock();
                if state.demand.poll(Instant::now()) {
                    stream.tell(
                        &state,
                        PublisherFeedback { paused: Some(true), ..PublisherFeedback::default() },
                    );
                }
                match state.demand.next_deadline() {
                    Some(later) => deadline = later,
                    None => {
                        // Under the lock: whoever sets a deadline after this starts another task.
                        stream.demand_timer_runs.store(false, Ordering::Release);
                        return;
                    }
                }
            }
        });
    }

    /// Who gets the stream.
    pub(super) fn destinations(&self) -> BTreeSet<ParticipantId> {
        self.lock().destinations.clone()
    }

    /// A subscriber begins to get the stream, or a lower layer of it while its path does not carry this one.
    pub(super) fn subscribe(self: &Arc<Self>, subscriber: &SubscriberHandle) {
        let layers = [self].into_iter().chain(&self.lower).map(|layer| layer.hold(subscriber.shard()));
        subscriber.subscribe(layers.collect());
    }

    /// The place of the stream in a shard that has one more subscription of it.
    fn hold(self: &Arc<Self>, shard: &Arc<Shard>) -> StreamSlot {
        let mut state = self.lock();
        let found = state.targets.iter_mut().find(|target| Arc::ptr_eq(&target.shard, shard));
        if let Some(target) = found {
            target.subscriptions += 1;
            return target.slot;
        }
        // Under the lock: what comes next goes to the shard after this.
        let slot = shard.add_stream(Arc::clone(self), state.ring.clone(), state.is_prominent);
        state.targets.push(Target { shard: Arc::clone(shard), slot, subscriptions: 1 });
        slot
    }

    /// A subscriber does not want the stream any more.
    pub(super) fn unsubscribe(&self, subscriber: &SubscriberHandle) {
        let state = self.lock();
        let target = state.targets.iter().find(|target| Arc::ptr_eq(&target.shard, subscriber.shard()));
        if let Some(target) = target {
            subscriber.unsubscribe(target.slot);
        }
    }

    /// A subscription in the shard is over.
    pub(super) fn release(&self, shard: &Arc<Shard>) {
        let mut state = self.lock();
        let Some(position) = state.targets.iter().position(|target| Arc::ptr_eq(&target.shard, shard)) else {
            return;
        };
        let Some(target) = state.targets.get_mut(position) else { return };
        target.subscriptions -= 1;
        if target.subscriptions == 0 {
            let target = state.targets.swap_remove(position);
            target.shard.remove_stream(target.slot);
        }
    }

    /// Whether a shard cannot keep up with what comes: the publisher is to be read more slowly.
    pub(super) fn is_overrun(&self) -> bool {
        self.lock().is_overrun()
    }

    /// Whether units go to the subscribers. While they do not, subscriptions stay as they are, on whatever QUIC streams they
    /// have; nobody is sent what came before, and video goes on at a key frame, which is asked for.
    pub(super) fn set_forwarded(self: &Arc<Self>, is_forwarded: bool) {
        let mut state = self.lock();
        if state.ring.is_shut() != is_forwarded {
            return;
        }
        if is_forwarded {
            state.ring.open();
            self.note_demand(state);
            self.request_key_frame();
        } else {
            state.ring.shut();
            for target in &state.targets {
                target.shard.clear_stream(target.slot);
            }
            self.note_demand(state);
        }
    }

    /// Asks the publisher for a key frame, now or as soon as the limiter allows. Not of a stream that is not forwarded.
    pub(super) fn request_key_frame(self: &Arc<Self>) {
        if self.kind != MediaKind::Video {
            return;
        }
        let mut state = self.lock();
        if !state.ring.is_shut() {
            self.key_frames_wanted.increment(1);
            self.request_key_frame_locked(&mut state);
        }
    }

    fn request_key_frame_locked(self: &Arc<Self>, state: &mut State) {
        state.key_frames.request();
        if self.send_due_key_frame_request(state) {
            return;
        }
        if let Some(deadline) = state.key_frames.next_deadline()
            && !self.key_frame_timer_runs.swap(true, Ordering::AcqRel)
        {
            let stream = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(deadline.into()).await;
                if let Some(stream) = stream.upgrade() {
                    stream.key_frame_timer_runs.store(false, Ordering::Release);
                    stream.send_due_key_frame_request(&mut stream.lock());
                }
            });
        }
    }

    /// The publisher has ended the stream; subscribers see its end after the last unit.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ring.end();
        for target in &state.targets {
            target.shard.end_stream(target.slot);
        }
    }

    /// What has come since this was last asked.
    pub(super) fn take_count(&self) -> IngressSample {
        IngressSample {
            wire_stream_id: self.id,
            is_audio: self.kind == MediaKind::Audio,
            count: self.lock().meter.take(),
        }
    }

    /// Tells the publisher how much to send; nothing if it is not there.
    pub(super) fn advise(&self, target_bitrate_bps: u32) {
        let target_bitrate = target_bitrate_bps;
        self.tell(&self.lock(), PublisherFeedback { target_bitrate, ..PublisherFeedback::default() });
    }

    fn tell(&self, state: &State, mut feedback: PublisherFeedback) {
        if let Some(publisher) = &state.publisher {
            feedback.stream_id = self.id.to_string();
            publisher.send(feedback);
        }
    }

    /// Whether the publisher has ended the stream.
    pub(super) fn is_ended(&self) -> bool {
        self.lock().ring.is_ended()
    }

    /// Waits until nothing of the stream seems to be on its way, then ends it.
    pub(super) async fn drain(&self) {
        let started = Instant::now();
        loop {
            {
                let state = self.lock();
                let quiet = state.open_sources == 0 && state.last_ingest.elapsed() >= DRAIN_QUIET;
                if quiet && started.elapsed() >= DRAIN_QUIET || started.elapsed() >= DRAIN_MAX {
                    break;
                }
            }
            tokio::time::sleep(DRAIN_QUIET / 4).await;
        }
        self.end();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Passes on what is in order, and sees to it that a gap is not waited for longer than allowed. Returns whether a
    /// shard cannot keep up.
    fn pass_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> bool {
        let now = Instant::now();
        while let Some(unit) = state.sequencer.pop(now) {
            state.push(&unit, now);
        }
        let deadline = state.sequencer.next_deadline();
        let overrun = state.is_overrun();
        drop(state);
        if let Some(deadline) = deadline
            && !self.hold_timer_runs.swap(true, Ordering::AcqRel)
        {
            let stream = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(deadline.into()).await;
                stream.hold_timer_runs.store(false, Ordering::Release);
                stream.pass_on(stream.lock());
            });
        }
        overrun
    }

    fn send_due_key_frame_request(&self, state: &mut State) -> bool {
        let due = state.key_frames.poll(Instant::now());
        if due && state.publisher.is_some() {
            self.key_frame_requests.increment(1);
            // Whoever needs a key frame needs what follows it: this also makes up for a word that was left out.
            let paused = (!state.demand.is_paused()).then_some(false);
            let feedback =
                PublisherFeedback { key_frame_requested: true, paused, ..PublisherFeedback::default() };
            self.tell(state, feedback);
        }
        due
    }
}

impl State {
    fn push(&mut self, unit: &Unit, now: Instant) {
        self.last_ingest = now;
        let Some(unit) = self.ring.push(unit, now) else { return };
        self.meter.push(&unit);
        if unit.starts_group() {
            self.key_frames.on_key_frame();
        }
        for target in &self.targets {
            target.shard.push(target.slot, unit.clone());
        }
    }

    fn is_overrun(&self) -> bool {
        self.targets.iter().any(|target| target.shard.is_overrun())
    }
}

fn ring_limits(kind: MediaKind) -> RingLimits {
    match kind {
        MediaKind::Video => RingLimits::default(),
        // A second of anything one would call audio.
        MediaKind::Audio => RingLimits { max_bytes: 512 << 10, ..RingLimits::default() },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use darktower_core::media::fanout::FanoutSettings;
    use darktower_protocol::{Flags, HeaderFields};

    use super::super::telemetry::{Telemetry, TelemetrySink};
    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl TelemetrySink for Nobody {
        fn take(&self, _portion: Vec<Telemetry>) {}
    }

    #[test]
    fn an_overrun_shard_gets_what_came_on_quic_streams_and_no_datagrams() {
        // Its pump does not run.
        let (shard, _pump) = Shard::new(0, FanoutSettings::default(), Arc::new(Nobody));
        let stream =
            MediaStream::new(StreamId::from_bytes([9; 16]), MediaKind::Audio, false, false, Vec::new());
        stream.lock().targets.push(Target { shard, slot: StreamSlot(0), subscriptions: 1 });
        let unit = |sequence| {
            let flags = Flags::END_OF_FRAME;
            let stream_id = stream.id;
            let fields = HeaderFields {
                frame_type: FrameType::Audio,
                stream_id,
                timestamp: sequence,
                sequence,
                flags,
            };
            Unit::new(&fields, Bytes::from(vec![0; 60_000]))
        };
        let taken = || stream.lock().ring.end_index();
        let mut sequence = 0;
        while stream.ingest_datagram(&unit(sequence)) == Ingested::Taken {
            sequence += 1;
        }
        assert_eq!(stream.ingest_datagram(&unit(sequence)), Ingested::Overrun);
        assert_eq!(taken(), sequence, "what was left out is gone");
        assert_eq!(stream.ingest(&unit(sequence)), Ingested::Overrun);
        assert_eq!(taken(), sequence + 1);
        stream.end();
        assert_eq!(stream.ingest_datagram(&unit(sequence)), Ingested::Ended);
        assert_eq!(stream.ingest(&unit(sequence)), Ingested::Ended);
    }
}
