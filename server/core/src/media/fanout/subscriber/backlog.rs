//! How old what waits for slow subscribers is.

use std::time::{Duration, Instant};

use super::super::{Class, Connection, Fanout};
use super::{Carrier, Subscription};

impl<C: Connection> Fanout<C> {
    /// Calls `each` for every subscription whose connection takes no more, with the class and the age of the oldest
    /// unit that waits: from its arrival, or, where its QUIC stream could not be opened yet, from the attempt. What is
    /// caught up on is old by nature: its age is the time for which the connection has taken nothing.
    ///
    /// Units behind the oldest are left out, and so is what the connection has taken already but not sent. Looks at
    /// all subscriptions: to be called once a second, not for each unit.
    pub fn backlog_ages(&self, now: Instant, mut each: impl FnMut(Class, Duration)) {
        let subscribers = self.subscribers.iter().flatten();
        for subscription in subscribers.flat_map(|subscriber| subscriber.subscriptions.iter().flatten()) {
            let waiting = subscription.oldest_waiting().or_else(|| subscription.held_up_catching_up());
            if let Some((class, since)) = waiting {
                each(class, now.saturating_duration_since(since));
            }
        }
    }
}

impl<S> Subscription<S> {
    /// What was tried to be written and not taken whole, and since when it is there.
    pub(super) fn oldest_waiting(&self) -> Option<(Class, Instant)> {
        let writer = match &self.carrier {
            Carrier::Groups { opening: Some((_, since)), .. } => return Some((Class::Key, *since)),
            Carrier::Groups { current, .. } | Carrier::Attached(current) => current.as_ref()?,
            Carrier::Datagrams => return None,
        };
        let [.., unit] = &writer.pending;
        writer.class.filter(|_| !unit.is_empty()).map(|class| (class, writer.received_at))
    }

    /// Since when a unit that is caught up on waits, which counts as what it mostly is.
    fn held_up_catching_up(&self) -> Option<(Class, Instant)> {
        let (Carrier::Groups { current: Some(writer), .. } | Carrier::Attached(Some(writer))) = &self.carrier
        else {
            return None;
        };
        let [.., unit] = &writer.pending;
        let waits = writer.class.is_none() && !unit.is_empty();
        waits.then_some((Class::Delta, self.behind?.since))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use darktower_protocol::{Code, Features, Flags, FrameType, StreamId};

    use super::super::super::{FanoutSettings, Opened, Pass, StreamSlot, SubscriberSlot, Written};
    use super::*;
    use crate::media::ring::tests::unit;
    use crate::media::{MediaKind, RingLimits, RingUnit, StreamRing};

    /// Takes everything, or no QUIC streams, or nothing in them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Path {
        Open,
        NoStreams,
        Full,
    }

    impl Connection for Path {
        type Stream = ();

        fn max_datagram_unit(&self) -> usize {
            1200
        }

        fn datagram_space(&self) -> usize {
            if *self == Self::Open { 32 << 10 } else { 0 }
        }

        fn send_datagram(&mut self, _unit: &RingUnit) {}

        fn send_oversized(&mut self, _stream: StreamId, _unit: &RingUnit) {}

        fn open(&mut self) -> Opened<()> {
            match self {
                Self::NoStreams => Opened::NotNow,
                _ => Opened::Stream((), Bytes::new()),
            }
        }

        fn write(&mut self, _stream: &mut (), chunks: &mut [Bytes]) -> Written {
            if *self == Self::Full {
                return Written::Blocked;
            }
            chunks.iter_mut().for_each(Bytes::clear);
            Written::All
        }

        fn set_priority(&mut self, _stream: &mut (), _priority: i32) {}

        fn finish(&mut self, _stream: ()) {}

        fn reset(&mut self, _stream: (), _code: Code) {}

        fn estimated_bit_rate(&self) -> Option<u64> {
            None
        }

        fn tune(&mut self) {}
    }

    const STREAM: StreamSlot = StreamSlot(0);

    struct Bench {
        fanout: Fanout<Path>,
        ring: StreamRing,
        start: Instant,
    }

    impl Bench {
        fn new(kind: MediaKind, subscribers: &[(Path, Features)]) -> Self {
            let start = Instant::now();
            let settings = FanoutSettings { company: Duration::ZERO, ..FanoutSettings::default() };
            let mut fanout = Fanout::new(settings);
            let ring = StreamRing::new(RingLimits::default());
            fanout.add_stream(STREAM, StreamId::from_bytes([9; 16]), kind, ring.clone());
            let mut bench = Self { fanout, ring, start };
            subscribers.iter().for_each(|(path, features)| bench.subscribe(*path, *features, 0));
            bench
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn subscribe(&mut self, path: Path, features: Features, ms: u64) {
            let slot = SubscriberSlot(self.fanout.subscribers.len() as u32);
            let now = self.at(ms);
            self.fanout.add_subscriber(slot, path, features);
            self.fanout.subscribe(slot, &[STREAM], now);
            if features == Features::NONE {
                self.fanout.attach(slot, StreamId::from_bytes([9; 16]), (), now);
            }
        }

        fn push(&mut self, frame_type: FrameType, ms: u64) {
            let now = self.at(ms);
            let unit = unit(frame_type, self.ring.end_index(), Flags::END_OF_FRAME, 100);
            let unit = self.ring.push(&unit, now).expect("in order");
            self.fanout.push(STREAM, unit, now);
            self.pass(ms);
        }

        fn pass(&mut self, ms: u64) {
            while self.fanout.pass(self.at(ms)) == Pass::More {}
        }

        fn ages(&self, ms: u64) -> Vec<(Class, u128)> {
            let mut ages = Vec::new();
            self.fanout.backlog_ages(self.at(ms), |class, age| ages.push((class, age.as_millis())));
            ages
        }

        fn set_path(&mut self, subscriber: usize, path: Path) {
            self.fanout.subscribers[subscriber].as_mut().expect("added").connection = path;
        }
    }

    #[test]
    fn what_waits_is_as_old_as_its_oldest_unit_and_nobody_else_counts() {
        let (groups, none) = (Features::GROUPS, Features::NONE);
        let mut bench =
            Bench::new(MediaKind::Video, &[(Path::Open, groups), (Path::Open, groups), (Path::Open, none)]);
        bench.push(FrameType::VideoKey, 0);
        assert_eq!(bench.ages(0), []);
        bench.set_path(1, Path::Full);
        bench.set_path(2, Path::Full);
        bench.push(FrameType::VideoDelta, 10);
        bench.push(FrameType::VideoDelta, 40);
        assert_eq!(bench.ages(60), [(Class::Delta, 50), (Class::Delta, 50)]);
        bench.set_path(1, Path::Open);
        bench.fanout.wake(SubscriberSlot(1));
        bench.pass(70);
        assert_eq!(bench.ages(80), [(Class::Delta, 70)], "the other one still waits");
    }

    #[test]
    fn a_group_without_a_stream_waits_since_its_first_attempt() {
        let mut bench = Bench::new(MediaKind::Video, &[(Path::NoStreams, Features::GROUPS)]);
        bench.push(FrameType::VideoKey, 5);
        bench.pass(105);
        assert_eq!(bench.ages(205), [(Class::Key, 200)]);
    }

    #[test]
    fn what_is_caught_up_on_waits_since_it_was_held_up() {
        let mut bench = Bench::new(MediaKind::Video, &[]);
        bench.push(FrameType::VideoKey, 0);
        bench.subscribe(Path::Full, Features::GROUPS, 900);
        bench.pass(900);
        bench.push(FrameType::VideoDelta, 910);
        assert_eq!(bench.ages(920), [(Class::Delta, 20)]);
    }
}
