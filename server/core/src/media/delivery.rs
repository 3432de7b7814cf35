//! What one subscriber is sent of one stream.
//!
//! [`Delivery`] is asked for the next [`Step`] whenever the subscriber's connection can take
//! something, when the stream has a new unit, and when a deadline passes. The shell performs the
//! step and asks again until it is told to wait.

use std::time::{Duration, Instant};

use super::ring::{RingUnit, StreamRing};

/// The numbers of the delivery policy (docs/protocol.md 6.6).
#[derive(Debug, Clone, Copy)]
pub struct DeliveryPolicy {
    /// Discardable video frames older than this are left out.
    pub drop_discardable_after: Duration,
    /// A group that is further behind than this is given up; the next one starts at a key frame.
    pub drop_group_after: Duration,
    /// Audio older than this is left out.
    pub drop_audio_after: Duration,
    /// A newcomer gets the current group at once if it began less than this ago.
    pub young_group: Duration,
    /// A newcomer gets the current group, however old, if no key frame came for this long.
    pub wait_for_key_frame: Duration,
    /// A newcomer that is still being sent the cached group after this long is given the next one.
    pub catch_up_within: Duration,
    /// How often a subscriber that cannot decode asks again.
    pub repeat_key_frame_request: Duration,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            drop_discardable_after: Duration::from_millis(80),
            drop_group_after: Duration::from_millis(300),
            drop_audio_after: Duration::from_millis(200),
            young_group: Duration::from_secs(1),
            wait_for_key_frame: Duration::from_millis(300),
            catch_up_within: Duration::from_secs(5),
            repeat_key_frame_request: Duration::from_millis(500),
        }
    }
}

/// How units depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// Every unit stands alone.
    Audio,
    /// Units need the ones before them back to a key frame.
    Video,
}

/// Start of a group for one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupStart {
    /// Sequence number of the group's first unit.
    pub group: u64,
    /// Something between the last unit sent and this group was left out.
    pub discontinuity: bool,
}

/// What the shell is to do next.
#[derive(Debug, Clone)]
pub enum Step {
    /// Nothing, until the stream has a new unit or the time comes.
    Wait(Option<Instant>),
    /// Ask the publisher for a key frame (through the limiter), then ask for the next step.
    RequestKeyFrame,
    /// A group begins: open a QUIC stream for it where groups have their own. The previous group,
    /// if any, has been sent whole: finish its QUIC stream.
    StartGroup(GroupStart),
    /// Give up the current group: reset its QUIC stream where groups have their own.
    DropGroup,
    /// Send this unit.
    Send(RingUnit),
    /// The publisher has ended the stream and everything has been sent.
    End,
}

/// A subscriber that gives up a group less than this after the one before asks for a key frame more slowly.
const TROUBLE: Duration = Duration::from_secs(10);
/// The second time; each further time doubles it.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(8);

/// What was left out for one subscriber, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounters {
    /// Handed to the connection.
    pub sent: u64,
    /// Discardable video left out because it was late.
    pub dropped_discardable: u64,
    /// Video left out because its group was given up, or because no key frame had come yet.
    pub dropped_group: u64,
    /// Audio left out because it was late.
    pub dropped_audio: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has been sent nothing yet and may be given the cached group.
    Joining {
        since: Instant,
        requested_at: Option<Instant>,
    },
    /// Was cut off; waits for a group that begins at or after `from`.
    Waiting {
        from: u64,
        requested_at: Option<Instant>,
    },
    /// Is being sent a group.
    Streaming {
        group: u64,
    },
    Ended,
}

/// The delivery of one stream to one subscriber.
#[derive(Debug)]
pub struct Delivery {
    policy: DeliveryPolicy,
    kind: MediaKind,
    state: State,
    /// Index of the next unit to look at.
    cursor: u64,
    /// Units before this index were there when the subscriber came: they are late by nature, so
    /// their age says nothing about the subscriber's path.
    live_from: u64,
    /// Since when a cached group is sent; until it has reached what is live, its units' ages say
    /// nothing either.
    catching_up_since: Option<Instant>,
    /// The frame at the cursor is being left out: all its units are, or none.
    discarding_frame: bool,
    /// Units since the last one sent were left out.
    discontinuity: bool,
    trouble: Option<Trouble>,
    counters: DeliveryCounters,
}

/// Groups given up one after the other. A key frame costs every subscriber of the stream, so one that cannot keep up must
/// not have them made for it without end.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    last: Instant,
    /// From then to the first request for a key frame.
    patience: Duration,
}

impl Delivery {
    /// A subscriber that joins now.
    pub fn new(kind: MediaKind, policy: DeliveryPolicy, ring: &StreamRing, now: Instant) -> Self {
        let end = ring.end_index();
        Self {
            policy,
            kind,
            state: State::Joining { since: now, requested_at: None },
            cursor: end,
            live_from: end,
            catching_up_since: None,
            discarding_frame: false,
            // It may have had earlier groups in another session, and has not had those between.
            discontinuity: true,
            trouble: None,
            counters: DeliveryCounters::default(),
        }
    }

    /// A subscriber that goes on with the group that begins at index `start`: another layer of what it has got.
    pub fn at_group(kind: MediaKind, policy: DeliveryPolicy, start: u64) -> Self {
        Self {
            policy,
            kind,
            state: State::Waiting { from: start, requested_at: None },
            cursor: start,
            live_from: start,
            catching_up_since: None,
            discarding_frame: false,
            // It may have had earlier groups of this layer, and has not had those between.
            discontinuity: true,
            trouble: None,
            counters: DeliveryCounters::default(),
        }
    }

    /// What was sent and left out so far.
    pub fn counters(&self) -> DeliveryCounters {
        self.counters
    }

    /// What was sent and left out since this was last called.
    pub fn take_counters(&mut self) -> DeliveryCounters {
        std::mem::take(&mut self.counters)
    }

    /// Whether units go out as they come; `false` while a key frame is waited for.
    pub fn is_streaming(&self) -> bool {
        self.kind == MediaKind::Audio || matches!(self.state, State::Streaming { .. })
    }

    /// Whether the unit sent last was older than the subscription, or its group was: its age says nothing about how
    /// fast media is forwarded.
    pub fn is_catching_up(&self) -> bool {
        self.catching_up_since.is_some() || self.cursor <= self.live_from
    }

    /// The next step, given that the connection can take a unit now.
    pub fn step(&mut self, ring: &StreamRing, now: Instant) -> Step {
        match self.kind {
            MediaKind::Audio => self.audio_step(ring, now),
            MediaKind::Video => self.video_step(ring, now),
        }
    }

    /// To be asked while the connection cannot take the rest of a video unit that was received at
    /// `received_at`: `Some(deadline)` says how long to go on waiting, `None` to give up the
    /// group now (the next [`step`](Self::step) then starts behind it).
    pub fn blocked(&mut self, ring: &StreamRing, received_at: Instant, now: Instant) -> Option<Instant> {
        let State::Streaming { group } = self.state else { return None };
        let deadline = match self.catching_up_since {
            Some(since) => since + self.policy.catch_up_within,
            None => received_at + self.policy.drop_group_after,
        };
        if now < deadline {
            return Some(deadline);
        }
        self.give_up_group(ring, group, now);
        None
    }

    /// The subscriber has refused the rest of the current group: goes on at the next one.
    pub fn skip_group(&mut self, ring: &StreamRing, now: Instant) {
        if let State::Streaming { group } = self.state {
            self.give_up_group(ring, group, now);
        }
    }

    fn audio_step(&mut self, ring: &StreamRing, now: Instant) -> Step {
        let skipped = ring.first_index().saturating_sub(self.cursor);
        self.cursor += skipped;
        self.counters.dropped_audio += skipped;
        while let Some(unit) = ring.get(self.cursor) {
            self.cursor += 1;
            if now.saturating_duration_since(unit.received_at) <= self.policy.drop_audio_after {
                self.counters.sent += 1;
                return Step::Send(unit.clone());
            }
            self.counters.dropped_audio += 1;
        }
        self.end_or_wait(ring, None)
    }

    fn video_step(&mut self, ring: &StreamRing, now: Instant) -> Step {
        match self.state {
            State::Joining { since, requested_at } => self.join(ring, now, since, requested_at),
            State::Waiting { from, requested_at } => self.wait_for_group(ring, now, from, requested_at),
            State::Streaming { group } => self.stream(ring, now, group),
            State::Ended => Step::Wait(None),
        }
    }

    fn join(
        &mut self,
        ring: &StreamRing,
        now: Instant,
        since: Instant,
        requested_at: Option<Instant>,
    ) -> Step {
        // What has come since the subscriber did is given from its first group on, unless late.
        let first_live =
            ring.group_start_from(self.live_from).and_then(|start| Some((start, ring.get(start)?)));
        if let Some((start, first)) = first_live
            && now.saturating_duration_since(first.received_at) <= self.policy.drop_group_after
        {
            return self.start_group(start, first);
        }
        let group = ring.group_start().and_then(|start| Some((start, ring.get(start)?)));
        let catch_up_at = since + self.policy.wait_for_key_frame;
        if let Some((start, first)) = group {
            let young = now.saturating_duration_since(first.received_at) < self.policy.young_group;
            if young || start >= self.live_from || now >= catch_up_at || ring.is_ended() {
                self.catching_up_since = (start < self.live_from).then_some(now);
                return self.start_group(start, first);
            }
        }
        if let Some(step) = self.request_key_frame(requested_at, now) {
            self.state = State::Joining { since, requested_at: Some(now) };
            return step;
        }
        let repeat_at = requested_at.map(|at| at + self.policy.repeat_key_frame_request);
        self.end_or_wait(ring, group.map_or(repeat_at, |_| Some(catch_up_at)))
    }

    fn wait_for_group(
        &mut self,
        ring: &StreamRing,
        now: Instant,
        from: u64,
        requested_at: Option<Instant>,
    ) -> Step {
        if let Some(start) = ring.group_start().filter(|start| *start >= from)
            && let Some(first) = ring.get(start)
        {
            self.counters.dropped_group += start.saturating_sub(self.cursor);
            return self.start_group(start, first);
        }
        let ask_at = self.trouble.map_or(now, |trouble| trouble.last + trouble.patience);
        if requested_at.is_none() && now < ask_at {
            return self.end_or_wait(ring, Some(ask_at));
        }
        if let Some(step) = self.request_key_frame(requested_at, now) {
            self.state = State::Waiting { from, requested_at: Some(now) };
            return step;
        }
        self.end_or_wait(ring, requested_at.map(|at| at + self.policy.repeat_key_frame_request))
    }

    fn stream(&mut self, ring: &StreamRing, now: Instant, group: u64) -> Step {
        loop {
            let Some(unit) = ring.get(self.cursor) else {
                if self.cursor < ring.first_index() {
                    // The ring has moved past this subscriber.
                    self.give_up_group(ring, group, now);
                    return Step::DropGroup;
                }
                self.catching_up_since = None;
                return self.end_or_wait(ring, None);
            };
            let age = match self.catching_up_since.is_some() || self.cursor < self.live_from {
                true => Duration::ZERO,
                false => now.saturating_duration_since(unit.received_at),
            };
            if age > self.policy.drop_group_after {
                self.give_up_group(ring, group, now);
                return Step::DropGroup;
            }
            if unit.starts_group() && unit.group != group {
                return self.start_group(self.cursor, unit);
            }
            if unit.starts_frame {
                let late = age > self.policy.drop_discardable_after;
                self.discarding_frame = late && unit.header.is_discardable();
            }
            self.cursor += 1;
            if self.discarding_frame {
                self.counters.dropped_discardable += 1;
                continue;
            }
            self.counters.sent += 1;
            return Step::Send(unit.clone());
        }
    }

    fn start_group(&mut self, start: u64, first: &RingUnit) -> Step {
        // A receiver need not wait for what nobody gets, either. Nothing lies before the first unit of all.
        let lacks_some = std::mem::take(&mut self.discontinuity) || first.follows_gap;
        let discontinuity = lacks_some && first.header.sequence() != 0;
        self.state = State::Streaming { group: first.group };
        self.cursor = start;
        self.discarding_frame = false;
        Step::StartGroup(GroupStart { group: first.group, discontinuity })
    }

    /// Goes on at the newest group if it is newer than `group`, else waits for the next one.
    fn give_up_group(&mut self, ring: &StreamRing, group: u64, now: Instant) {
        let again = self.trouble.filter(|trouble| now.saturating_duration_since(trouble.last) < TROUBLE);
        let patience = again
            .map_or(Duration::ZERO, |trouble| (trouble.patience * 2).clamp(FIRST_PATIENCE, MAX_PATIENCE));
        self.trouble = Some(Trouble { last: now, patience });
        let newer = ring.group_start().filter(|start| {
            ring.get(*start).is_some_and(|first| first.group != group && *start >= self.cursor)
        });
        let from = newer.unwrap_or(ring.end_index());
        self.counters.dropped_group += from.saturating_sub(self.cursor);
        self.cursor = from;
        // What is in the ring now is late; only what comes from here on is judged by its age.
        self.live_from = ring.end_index();
        self.catching_up_since = None;
        self.discontinuity = true;
        self.discarding_frame = false;
        self.state = State::Waiting { from, requested_at: None };
    }

    fn request_key_frame(&self, requested_at: Option<Instant>, now: Instant) -> Option<Step> {
        let due = requested_at.is_none_or(|at| now >= at + self.policy.repeat_key_frame_request);
        due.then_some(Step::RequestKeyFrame)
    }

    fn end_or_wait(&mut self, ring: &StreamRing, deadline: Option<Instant>) -> Step {
        if ring.is_ended() && self.state != State::Ended {
            self.state = State::Ended;
            return Step::End;
        }
        Step::Wait(deadline.filter(|_| !ring.is_ended()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{RingLimits, tests::unit};
    use super::*;
    use darktower_protocol::{Flags, FrameType};

    const KEY: FrameType = FrameType::VideoKey;
    const DELTA: FrameType = FrameType::VideoDelta;
    const END: Flags = Flags::END_OF_FRAME;

    struct Bench {
        start: Instant,
        ms: u64,
        sequence: u64,
        ring: StreamRing,
    }

    impl Bench {
        fn new() -> Self {
            let ring = StreamRing::new(RingLimits::default());
            Self { start: Instant::now(), ms: 0, sequence: 0, ring }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_millis(self.ms)
        }

        fn push(&mut self, frame_type: FrameType, flags: Flags) {
            self.ring.push(&unit(frame_type, self.sequence, flags, 100), self.now());
            self.sequence += 1;
        }

        fn subscribe(&self, kind: MediaKind) -> Delivery {
            Delivery::new(kind, DeliveryPolicy::default(), &self.ring, self.now())
        }

        /// Runs steps until the delivery waits, and returns them in short form.
        fn drain(&self, delivery: &mut Delivery) -> Vec<String> {
            let mut steps = Vec::new();
            for _ in 0..10_000 {
                steps.push(match delivery.step(&self.ring, self.now()) {
                    Step::Wait(_) => return steps,
                    Step::RequestKeyFrame => "request".to_owned(),
                    Step::StartGroup(start) if start.discontinuity => {
                        format!("group {} after gap", start.group)
                    }
                    Step::StartGroup(start) => format!("group {}", start.group),
                    Step::DropGroup => "drop".to_owned(),
                    Step::Send(unit) => format!("{}", unit.header.sequence()),
                    Step::End => "end".to_owned(),
                });
            }
            panic!("the delivery never waits: {steps:?}");
        }
    }

    #[test]
    fn live_subscriber_gets_every_unit_in_order() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut delivery), ["request"]);
        for frame_type in [KEY, DELTA, DELTA, KEY, DELTA] {
            bench.ms += 33;
            bench.push(frame_type, END);
        }
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0", "1", "2", "group 3", "3", "4"]);
        bench.ring.end();
        assert_eq!(bench.drain(&mut delivery), ["end"]);
        assert!(bench.drain(&mut delivery).is_empty());
    }

    #[test]
    fn nobody_waits_for_what_the_publisher_lost_or_an_earlier_session_had() {
        let mut bench = Bench::new();
        bench.push(KEY, END);
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0"]);
        // The connection of the publisher was lost meanwhile.
        bench.sequence += 5;
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 6 after gap", "6"]);
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 7", "7"]);
        let mut again = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut again), ["group 7 after gap", "7"]);
    }

    #[test]
    fn who_has_all_goes_on_at_the_next_key_frame_of_a_stream_that_was_shut() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Video);
        let mut slow = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0"]);
        assert!(matches!(slow.step(&bench.ring, bench.now()), Step::StartGroup(_)));
        bench.ring.shut();
        bench.push(KEY, END);
        assert!(bench.drain(&mut delivery).is_empty());
        assert_eq!(bench.drain(&mut slow), ["drop", "request"]);
        let mut late = bench.subscribe(MediaKind::Video);
        bench.ms += 400;
        assert_eq!(bench.drain(&mut late), ["request"], "no picture of before");
        bench.ring.open();
        bench.push(DELTA, END);
        bench.push(KEY, END);
        for delivery in [&mut delivery, &mut slow, &mut late] {
            assert_eq!(bench.drain(delivery), ["group 3 after gap", "3"]);
        }
    }

    #[test]
    fn late_joiner_gets_a_young_group_at_once() {
        let mut bench = Bench::new();
        bench.push(KEY, END);
        bench.ms = 900;
        bench.push(DELTA, END);
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0", "1"]);
    }

    #[test]
    fn late_joiner_of_an_old_group_waits_for_a_key_frame_then_catches_up() {
        let mut bench = Bench::new();
        bench.push(KEY, END);
        bench.ms = 5000;
        bench.push(DELTA, END);
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut delivery), ["request"]);
        bench.ms += 299;
        assert!(bench.drain(&mut delivery).is_empty());
        bench.ms += 1;
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0", "1"]);

        // With a publisher that answers, the newcomer starts at the new key frame.
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut delivery), ["request"]);
        bench.ms += 50;
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 2 after gap", "2"]);
    }

    #[test]
    fn waiting_tells_when_to_ask_again() {
        let mut bench = Bench::new();
        bench.push(KEY, END);
        bench.ms = 5000;
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert_eq!(bench.drain(&mut delivery), ["request"]);
        let expected = bench.now() + Duration::from_millis(300);
        match delivery.step(&bench.ring, bench.now()) {
            Step::Wait(deadline) => assert_eq!(deadline, Some(expected)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn late_discardable_frames_are_left_out_whole() {
        let mut bench = Bench::new();
        let discardable = END.with(Flags::DISCARDABLE, true);
        let mut delivery = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        bench.push(DELTA, END);
        bench.push(DELTA, Flags::DISCARDABLE);
        bench.ms += 60;
        bench.push(DELTA, discardable);
        bench.push(DELTA, END);
        bench.ms += 30;
        // Unit 2 is 90 ms old, unit 3 of the same frame only 30 ms: both go.
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0", "1", "4"]);
        assert_eq!(delivery.counters().dropped_discardable, 2);
        // On time they are sent.
        bench.push(DELTA, discardable);
        assert_eq!(bench.drain(&mut delivery), ["5"]);
    }

    #[test]
    fn a_group_over_the_limit_is_given_up_for_the_next_key_frame() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0"]);
        bench.push(DELTA, END);
        bench.ms += 200;
        bench.push(DELTA, END);
        bench.ms += 101;
        assert_eq!(bench.drain(&mut delivery), ["drop", "request"]);
        bench.push(DELTA, END);
        assert!(bench.drain(&mut delivery).is_empty(), "no delta frame without its key frame");
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 4 after gap", "4"]);
        assert_eq!(delivery.counters().dropped_group, 3);
    }

    #[test]
    fn a_subscriber_that_loses_group_after_group_asks_for_key_frames_less_and_less() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        bench.drain(&mut delivery);
        for seconds in [0, 1, 2, 4, 8, 8] {
            bench.push(DELTA, END);
            bench.ms += 301;
            assert_eq!(bench.drain(&mut delivery)[0], "drop");
            let gave_up = bench.ms;
            while !matches!(delivery.step(&bench.ring, bench.now()), Step::RequestKeyFrame) && seconds > 0 {
                bench.ms += 100;
            }
            assert_eq!((bench.ms - gave_up) / 1000, seconds);
            bench.push(KEY, END);
            bench.drain(&mut delivery);
        }
        bench.ms += 10_000;
        bench.push(KEY, END);
        bench.drain(&mut delivery);
        bench.push(DELTA, END);
        bench.ms += 301;
        assert_eq!(bench.drain(&mut delivery), ["drop", "request"], "the trouble is long ago");
    }

    #[test]
    fn a_blocked_write_is_given_up_after_the_limit() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        let received_at = bench.now();
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0"]);
        bench.ms += 299;
        let deadline = delivery.blocked(&bench.ring, received_at, bench.now());
        assert_eq!(deadline, Some(received_at + Duration::from_millis(300)));
        bench.push(KEY, END);
        bench.ms += 1;
        assert_eq!(delivery.blocked(&bench.ring, received_at, bench.now()), None);
        assert_eq!(bench.drain(&mut delivery), ["group 1 after gap", "1"]);
    }

    #[test]
    fn a_newcomer_on_a_slow_path_has_time_to_catch_up() {
        let mut bench = Bench::new();
        bench.push(KEY, END);
        bench.push(DELTA, END);
        let mut delivery = bench.subscribe(MediaKind::Video);
        assert!(matches!(delivery.step(&bench.ring, bench.now()), Step::StartGroup(_)));
        assert!(matches!(delivery.step(&bench.ring, bench.now()), Step::Send(_)));
        let began = bench.now();
        bench.push(DELTA, END);
        bench.ms += 2000;
        let deadline = delivery.blocked(&bench.ring, began, bench.now());
        assert_eq!(deadline, Some(began + Duration::from_secs(5)));
        assert_eq!(bench.drain(&mut delivery), ["1", "2"]);
        // Once it has caught up, the limits of everybody hold.
        let deadline = delivery.blocked(&bench.ring, bench.now(), bench.now());
        assert_eq!(deadline, Some(bench.now() + Duration::from_millis(300)));
    }

    #[test]
    fn a_refused_group_is_followed_by_the_next() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0"]);
        delivery.skip_group(&bench.ring, bench.now());
        bench.push(DELTA, END);
        assert_eq!(bench.drain(&mut delivery), ["request"]);
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 2 after gap", "2"]);
    }

    #[test]
    fn a_subscriber_that_the_ring_has_left_behind_starts_again() {
        let mut bench = Bench::new();
        bench.ring = StreamRing::new(RingLimits { max_bytes: 3000, ..RingLimits::default() });
        let mut delivery = bench.subscribe(MediaKind::Video);
        bench.push(KEY, END);
        assert_eq!(bench.drain(&mut delivery), ["group 0", "0"]);
        for _ in 0..20 {
            bench.push(DELTA, END);
        }
        assert_eq!(bench.drain(&mut delivery), ["drop", "request"]);
    }

    #[test]
    fn late_audio_is_left_out_and_fresh_audio_is_not() {
        let mut bench = Bench::new();
        let mut delivery = bench.subscribe(MediaKind::Audio);
        for _ in 0..3 {
            bench.push(FrameType::Audio, END);
            bench.ms += 150;
        }
        assert_eq!(bench.drain(&mut delivery), ["2"]);
        assert_eq!(delivery.counters().dropped_audio, 2);
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            /// Whatever the publisher sends and however the path blocks: sequence numbers rise,
            /// every group starts with its key frame, and only discardable frames are missing
            /// between two units of a group.
            #[test]
            fn what_is_sent_can_be_decoded(ops in proptest::collection::vec((0u8..8, 0u64..120), 1..300)) {
                let mut bench = Bench::new();
                let mut delivery = bench.subscribe(MediaKind::Video);
                let mut discardable = std::collections::BTreeSet::new();
                let mut last: Option<u64> = None;
                let mut expect_key = true;
                for (op, ms) in ops {
                    bench.ms += ms;
                    match op {
                        0 => bench.push(KEY, END),
                        1..=3 => bench.push(DELTA, END),
                        4 => {
                            discardable.insert(bench.sequence);
                            bench.push(DELTA, END.with(Flags::DISCARDABLE, true));
                        }
                        _ => for _ in 0..10_000 {
                            match delivery.step(&bench.ring, bench.now()) {
                                Step::Wait(deadline) => {
                                    prop_assert!(deadline.is_none_or(|at| at > bench.now()), "a deadline in the past spins");
                                    break;
                                }
                                Step::StartGroup(start) => {
                                    prop_assert!(last.is_none_or(|last| start.group > last));
                                    expect_key = true;
                                }
                                Step::DropGroup => expect_key = true,
                                Step::Send(unit) => {
                                    let sequence = unit.header.sequence();
                                    if expect_key {
                                        prop_assert_eq!(unit.header.frame_type(), KEY);
                                    } else if let Some(last) = last {
                                        for missing in last + 1..sequence {
                                            prop_assert!(discardable.contains(&missing), "{} is missing", missing);
                                        }
                                    }
                                    prop_assert!(last.is_none_or(|last| sequence > last));
                                    expect_key = false;
                                    last = Some(sequence);
                                }
                                Step::RequestKeyFrame => {}
                                Step::End => prop_assert!(false, "the stream has not ended"),
                            }
                        },
                    }
                }
            }
        }
    }
}
