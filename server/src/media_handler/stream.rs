//! One published stream or layer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use darktower_core::media::{
    Delivery, DeliveryPolicy, KeyFrameLimiter, MediaKind, RingLimits, Step, StreamRing,
};
use darktower_protocol::group::GroupPreamble;
use darktower_protocol::sequencer::{Sequencer, SequencerLimits};
use darktower_protocol::signaling::pb::{self, PublisherFeedback};
use darktower_protocol::{FrameType, ParticipantId, StreamId, Unit};
use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

/// After a stream is no longer registered, what is on its way may still come for this long.
const DRAIN_QUIET: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What a gap between group streams may hold back: two large key frames at most.
const MAX_HELD_BYTES: usize = 1 << 20;

/// Names a QUIC stream of any session: session number and stream id.
pub(super) type SourceKey = (u64, u64);

/// A stream as the handler knows it, shared by its publisher and its subscribers.
#[derive(Debug)]
pub(super) struct MediaStream {
    pub(super) id: StreamId,
    pub(super) kind: MediaKind,
    state: Mutex<State>,
    hold_timer_runs: AtomicBool,
    key_frame_timer_runs: AtomicBool,
}

#[derive(Debug)]
struct State {
    ring: StreamRing,
    sequencer: Sequencer<SourceKey>,
    open_sources: usize,
    last_ingest: Instant,
    subscribers: Vec<Arc<AtomicWaker>>,
    destinations: BTreeSet<ParticipantId>,
    key_frames: KeyFrameLimiter,
    publisher: Option<FeedbackPath>,
}

/// An open group stream of a publisher; ends when dropped, however its task ends.
pub(super) struct Source {
    stream: Arc<MediaStream>,
    key: SourceKey,
}

impl Source {
    /// A unit has come; it goes on when its turn has come. Returns `false` if the stream has ended.
    pub(super) fn ingest(&self, unit: Unit) -> bool {
        let mut state = self.stream.lock();
        if state.ring.is_ended() {
            return false;
        }
        state.sequencer.push(&self.key, unit, Instant::now());
        self.stream.release(state);
        true
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.open_sources -= 1;
        state.sequencer.close(&self.key);
        self.stream.release(state);
    }
}

/// How a publisher hears of key-frame requests. Both queues are bounded; what does not fit is left
/// out, because whoever needs a key frame asks again.
#[derive(Debug)]
pub(super) enum FeedbackPath {
    /// In the session's control stream.
    Control(mpsc::Sender<pb::MediaServerMessage>),
    /// In the return half of the baseline stream.
    ReturnHalf(mpsc::Sender<PublisherFeedback>),
}

impl FeedbackPath {
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
    pub(super) fn new(id: StreamId, kind: MediaKind) -> Arc<Self> {
        Arc::new(Self {
            id,
            kind,
            state: Mutex::new(State {
                ring: StreamRing::new(ring_limits(kind)),
                sequencer: Sequencer::new(SequencerLimits {
                    max_held_bytes: MAX_HELD_BYTES,
                    ..SequencerLimits::default()
                }),
                open_sources: 0,
                last_ingest: Instant::now(),
                subscribers: Vec::new(),
                destinations: BTreeSet::new(),
                key_frames: KeyFrameLimiter::default(),
                publisher: None,
            }),
            hold_timer_runs: AtomicBool::new(false),
            key_frame_timer_runs: AtomicBool::new(false),
        })
    }

    /// Whether units of this type belong on this stream.
    pub(super) fn takes(&self, frame_type: FrameType) -> bool {
        match self.kind {
            MediaKind::Audio => frame_type == FrameType::Audio,
            MediaKind::Video => frame_type.is_video(),
        }
    }

    /// Where the publisher hears of key-frame requests from now on.
    pub(super) fn set_publisher(&self, path: FeedbackPath) {
        self.lock().publisher = Some(path);
    }

    /// A group stream has begun.
    pub(super) fn open_source(self: &Arc<Self>, key: SourceKey, preamble: &GroupPreamble) -> Source {
        let mut state = self.lock();
        state.open_sources += 1;
        state.sequencer.open(key, preamble);
        Source { stream: Arc::clone(self), key }
    }

    /// A unit has come that needs no sorting: in a datagram, on a baseline stream, or audio on a
    /// stream of its own. Returns `false` if the stream has ended.
    pub(super) fn ingest(&self, unit: &Unit) -> bool {
        let mut state = self.lock();
        if state.ring.is_ended() {
            return false;
        }
        state.push(unit, Instant::now());
        state.wake_subscribers();
        true
    }

    /// Replaces who gets the stream, and returns who is new and who is gone.
    pub(super) fn set_destinations(
        &self,
        destinations: BTreeSet<ParticipantId>,
    ) -> (Vec<ParticipantId>, Vec<ParticipantId>) {
        let mut state = self.lock();
        let added = destinations.difference(&state.destinations).copied().collect();
        let removed = state.destinations.difference(&destinations).copied().collect();
        state.destinations = destinations;
        (added, removed)
    }

    /// Who gets the stream.
    pub(super) fn destinations(&self) -> BTreeSet<ParticipantId> {
        self.lock().destinations.clone()
    }

    /// A new subscriber, woken through `waker`.
    pub(super) fn subscribe(&self, policy: DeliveryPolicy, waker: &Arc<AtomicWaker>) -> Delivery {
        self.lock().subscribers.push(Arc::clone(waker));
        self.delivery(policy)
    }

    /// A delivery that begins now.
    pub(super) fn delivery(&self, policy: DeliveryPolicy) -> Delivery {
        Delivery::new(self.kind, policy, &self.lock().ring, Instant::now())
    }

    /// The subscriber with this waker is gone.
    pub(super) fn unsubscribe(&self, waker: &Arc<AtomicWaker>) {
        let mut state = self.lock();
        if let Some(position) = state.subscribers.iter().position(|other| Arc::ptr_eq(other, waker)) {
            state.subscribers.swap_remove(position);
        }
    }

    /// The next step of a subscriber; key-frame requests are carried out here.
    pub(super) fn step(self: &Arc<Self>, delivery: &mut Delivery, now: Instant) -> Step {
        let mut state = self.lock();
        loop {
            match delivery.step(&state.ring, now) {
                Step::RequestKeyFrame => self.request_key_frame_locked(&mut state),
                step => return step,
            }
        }
    }

    /// See [`Delivery::skip_group`].
    pub(super) fn skip_group(&self, delivery: &mut Delivery) {
        delivery.skip_group(&self.lock().ring);
    }

    /// See [`Delivery::blocked`].
    pub(super) fn blocked(
        &self,
        delivery: &mut Delivery,
        received_at: Instant,
        now: Instant,
    ) -> Option<Instant> {
        delivery.blocked(&self.lock().ring, received_at, now)
    }

    /// Asks the publisher for a key frame, now or as soon as the limiter allows.
    pub(super) fn request_key_frame(self: &Arc<Self>) {
        if self.kind == MediaKind::Video {
            self.request_key_frame_locked(&mut self.lock());
        }
    }

    fn request_key_frame_locked(self: &Arc<Self>, state: &mut State) {
        state.key_frames.request();
        if state.send_due_key_frame_request(self.id) {
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
                    stream.lock().send_due_key_frame_request(stream.id);
                }
            });
        }
    }

    /// The publisher has ended the stream; subscribers see its end after the last unit.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ring.end();
        state.wake_subscribers();
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

    /// Passes on what is in order, wakes subscribers, and sees to it that a gap is not waited for
    /// longer than allowed.
    fn release(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let mut released = false;
        while let Some(unit) = state.sequencer.pop(now) {
            state.push(&unit, now);
            released = true;
        }
        if released {
            state.wake_subscribers();
        }
        let deadline = state.sequencer.next_deadline();
        drop(state);
        if let Some(deadline) = deadline
            && !self.hold_timer_runs.swap(true, Ordering::AcqRel)
        {
            let stream = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(deadline.into()).await;
                stream.hold_timer_runs.store(false, Ordering::Release);
                stream.release(stream.lock());
            });
        }
    }
}

impl State {
    fn push(&mut self, unit: &Unit, now: Instant) {
        self.last_ingest = now;
        if self.ring.push(unit, now) {
            self.key_frames.on_key_frame();
        }
    }

    fn wake_subscribers(&self) {
        self.subscribers.iter().for_each(|subscriber| subscriber.wake());
    }

    fn send_due_key_frame_request(&mut self, id: StreamId) -> bool {
        let due = self.key_frames.poll(Instant::now());
        if due && let Some(publisher) = &self.publisher {
            metrics::counter!("media_key_frame_requests_total").increment(1);
            let feedback = PublisherFeedback {
                stream_id: id.to_string(),
                key_frame_requested: true,
                ..PublisherFeedback::default()
            };
            publisher.send(feedback);
        }
        due
    }
}

fn ring_limits(kind: MediaKind) -> RingLimits {
    match kind {
        MediaKind::Video => RingLimits::default(),
        // A second of anything one would call audio.
        MediaKind::Audio => RingLimits { max_bytes: 512 << 10, ..RingLimits::default() },
    }
}
