//! Whether the peer of a connection is silent (docs/protocol.md, section 6.1), from what was counted of its packets.
//!
//! Both ends keep a connection alive by asking the other for an acknowledgement whenever nothing has travelled for
//! [`KEEP_ALIVE`]. Who hears nothing for [`SILENT_AFTER`] although it asked, knows long before the idle timeout that the
//! path is dark. To be looked at every [`LOOK_INTERVAL`].

use std::time::{Duration, Instant};

/// How long nothing travels before the other side is asked for a sign of life.
///
/// Longer costs less: it is what an idle connection costs. But after a stall of a second, in which each side's question
/// was lost, and one more of this until the next, nobody may have been silent for [`SILENT_AFTER`].
pub const KEEP_ALIVE: Duration = Duration::from_millis(700);

/// For how long nothing is heard of a peer that is silent. With a look in between, others know within three seconds.
pub const SILENT_AFTER: Duration = Duration::from_millis(2500);

/// Between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Looks after which something had been sent, without which nothing proves that the peer does not answer: between two
/// of them the connection was served, so an answer to what went out before would have been counted.
const QUESTIONS: u32 = 2;

/// UDP datagrams of a connection, from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To the peer.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The peer does not answer any more.
    Silent,
    /// The peer is heard again.
    Heard,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Silence {
    looked: Instant,
    traffic: Traffic,
    quiet_for: Duration,
    questions: u32,
    is_silent: bool,
}

impl Silence {
    /// Of a peer that was heard just now.
    pub fn new(now: Instant, traffic: Traffic) -> Self {
        Self { looked: now, traffic, quiet_for: Duration::ZERO, questions: 0, is_silent: false }
    }

    /// Whether the peer is silent, as of the last look.
    pub fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Looks at what was counted by now. A look that comes late counts as if it came in time, more or less: who looks has
    /// slept, and maybe the packets of the peer wait to be counted.
    pub fn look(&mut self, now: Instant, traffic: Traffic) -> Option<Change> {
        let elapsed = now.saturating_duration_since(self.looked).min(2 * LOOK_INTERVAL);
        let before = std::mem::replace(&mut self.traffic, traffic);
        self.looked = now;
        if traffic.received != before.received {
            (self.quiet_for, self.questions) = (Duration::ZERO, 0);
            return std::mem::take(&mut self.is_silent).then_some(Change::Heard);
        }
        self.quiet_for += elapsed;
        self.questions += u32::from(traffic.sent != before.sent);
        let falls_silent = !self.is_silent && self.quiet_for >= SILENT_AFTER && self.questions >= QUESTIONS;
        self.is_silent |= falls_silent;
        falls_silent.then_some(Change::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
    fn begin() -> (Instant, Silence) {
        let start = Instant::now();
        (start, Silence::new(start, Traffic::default()))
    }

    fn counted(sent: u64, received: u64) -> Traffic {
        Traffic { sent, received }
    }

    #[test]
    fn who_does_not_answer_is_silent_in_time_and_heard_at_once() {
        let (start, mut silence) = begin();
        let (mut now, mut sent) = (start, 0);
        let fell = loop {
            now += LOOK_INTERVAL;
            sent += u64::from((now - start).as_millis() % 750 == 0);
            if let Some(change) = silence.look(now, counted(sent, 0)) {
                assert_eq!(change, Change::Silent);
                break now - start;
            }
        };
        assert_eq!(fell, SILENT_AFTER);
        assert!(silence.is_silent());
        now += LOOK_INTERVAL;
        assert_eq!(silence.look(now, counted(sent + 1, 0)), None, "once is enough");
        assert_eq!(silence.look(now, counted(sent + 1, 1)), Some(Change::Heard));
        assert!(!silence.is_silent());
        assert_eq!(silence.look(now, counted(sent + 1, 2)), None);
    }

    #[test]
    fn who_is_not_asked_need_not_answer() {
        let (start, mut silence) = begin();
        for look in 1..100 {
            // One question may have been asked by a thread that has slept since.
            assert_eq!(silence.look(start + look * LOOK_INTERVAL, counted(1, 0)), None);
        }
    }

    #[test]
    fn a_stall_of_the_one_who_looks_is_no_silence_of_the_peer() {
        let (start, mut silence) = begin();
        let now = start + LOOK_INTERVAL;
        assert_eq!(silence.look(now, counted(1, 0)), None);
        let now = now + Duration::from_secs(60);
        assert_eq!(silence.look(now, counted(2, 0)), None);
        assert_eq!(silence.look(now + LOOK_INTERVAL, counted(3, 1)), None, "it had answered long ago");
    }

    #[test]
    fn a_stall_of_a_second_is_short_enough() {
        // The last sign of life was just before a look, each question is lost until a second after the first.
        let quiet = KEEP_ALIVE + Duration::from_secs(1) + KEEP_ALIVE;
        assert!(quiet < SILENT_AFTER);
        assert!(SILENT_AFTER + LOOK_INTERVAL < Duration::from_secs(3));
    }
}
