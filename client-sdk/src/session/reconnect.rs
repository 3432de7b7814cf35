//! When to try to connect again, and when not to.

use std::time::{Duration, Instant};

use darktower_protocol::Code;
use darktower_protocol::signaling::pb::ErrorCode;

use crate::error::Error;

/// Between two attempts while the path has not been dark for long: when it comes back, it is noticed so soon. A single
/// attempt would notice it late, because QUIC repeats its packets less and less often.
const STEADY_INTERVAL: Duration = Duration::from_millis(250);

/// For how long attempts are made so often: as long as a server keeps a place, by default.
const STEADY_FOR: Duration = Duration::from_secs(15);

/// Each interval after that is this much longer than the one before, up to the maximum.
const GROWTH: f64 = 1.5;
const MAX_INTERVAL: Duration = Duration::from_secs(3);

/// Attempts under way at one time; the oldest makes room for the next.
const IN_FLIGHT: u32 = 4;

/// Whether a session that has ended so may be begun again: its connection is lost, or the server has a fault of its own.
/// All else was meant.
pub(crate) fn may_come_back(error: &Error) -> bool {
    match error {
        Error::Timeout(_) | Error::Transport { .. } => true,
        Error::Closed { code, .. } => [Code::TOO_SLOW, Code::INTERNAL].contains(code),
        _ => false,
    }
}

/// What the answer of a server means to somebody who wants to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It, or the path, may be better soon.
    TryAgain,
    /// The place is gone.
    JoinAnew,
    /// There is nothing to be done.
    Final,
}

impl Answer {
    /// Of a server that did not take somebody back.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Refused { code: ErrorCode::InternalError | ErrorCode::RateLimited, .. } => Self::TryAgain,
            Error::Refused { code: ErrorCode::NotFound, .. }
                if closes_with(error) != Some(Code::MEETING_ENDED) =>
            {
                Self::JoinAnew
            }
            error if may_come_back(error) => Self::TryAgain,
            _ => Self::Final,
        }
    }
}

/// The code with which a server closes a session after this refusal, if it says so.
pub(crate) fn closes_with(error: &Error) -> Option<Code> {
    let Error::Refused { details, .. } = error else { return None };
    let name = details.get("close_code")?;
    Code::TABLE.iter().find(|(_, known, _)| known == name).map(|(code, ..)| *code)
}

/// When the next attempt is due, and how long each may take.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    next: Instant,
    interval: Duration,
    /// Of a generator of the kind xorshift; never 0.
    random: u64,
}

impl Pace {
    /// Begins at once. On a path with this round-trip time a handshake must have the time that it needs. `seed` spreads the
    /// attempts of many clients.
    pub(crate) fn new(now: Instant, rtt: Duration, seed: u64) -> Self {
        let interval = STEADY_INTERVAL.max(rtt).min(MAX_INTERVAL);
        Self { began: now, next: now, interval, random: seed | 1 }
    }

    /// When the next attempt is due.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// An attempt begins; says how long it may take.
    pub(crate) fn begin(&mut self, now: Instant) -> Duration {
        let mut pause = self.interval;
        if now.saturating_duration_since(self.began) >= STEADY_FOR {
            pause = self.longer_pause();
        }
        self.next = now + pause;
        self.interval * IN_FLIGHT
    }

    /// A server was reached, and cannot help now: it is asked less and less often.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.next = now + self.longer_pause();
    }

    /// Half to one and a half of an interval that is longer than the one before.
    fn longer_pause(&mut self) -> Duration {
        self.interval = self.interval.mul_f64(GROWTH).min(MAX_INTERVAL);
        self.interval.mul_f64(0.5 + self.fraction())
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn closed(code: Code) -> Error {
        Error::Closed { code, reason: String::new() }
    }

    fn refused(code: ErrorCode, close: Code) -> Error {
        let details = HashMap::from([("close_code".to_owned(), close.name().to_owned())]);
        Error::Refused { code, message: String::new(), details }
    }

    #[test]
    fn what_was_meant_is_final() {
        for code in [
            Code::NO_ERROR,
            Code::GOING_AWAY,
            Code::KICKED,
            Code::MEETING_ENDED,
            Code::DUPLICATE,
            Code::UNAUTHORIZED,
            Code::PROTOCOL_VIOLATION,
            Code::RATE_LIMITED,
        ] {
            assert!(!may_come_back(&closed(code)), "{code}");
            assert_eq!(Answer::of(&closed(code)), Answer::Final, "{code}");
        }
        assert!(!may_come_back(&Error::Protocol(String::new())));
        for lost in [Error::Timeout("test"), closed(Code::TOO_SLOW), closed(Code::INTERNAL)] {
            assert!(may_come_back(&lost), "{lost}");
            assert_eq!(Answer::of(&lost), Answer::TryAgain, "{lost}");
        }
    }

    #[test]
    fn a_place_that_is_gone_is_no_meeting_that_is_over() {
        let answer = |code, close| Answer::of(&refused(code, close));
        assert_eq!(answer(ErrorCode::NotFound, Code::UNAUTHORIZED), Answer::JoinAnew);
        assert_eq!(answer(ErrorCode::NotFound, Code::MEETING_ENDED), Answer::Final);
        assert_eq!(answer(ErrorCode::Unauthorized, Code::UNAUTHORIZED), Answer::Final);
        assert_eq!(answer(ErrorCode::Forbidden, Code::KICKED), Answer::Final);
        assert_eq!(answer(ErrorCode::InternalError, Code::INTERNAL), Answer::TryAgain);
        assert_eq!(answer(ErrorCode::RateLimited, Code::UNAUTHORIZED), Answer::TryAgain);
        assert_eq!(closes_with(&refused(ErrorCode::Forbidden, Code::KICKED)), Some(Code::KICKED));
        assert_eq!(closes_with(&closed(Code::KICKED)), None);
    }

    /// When attempts begin, and how long each may take, in the first minute.
    fn attempts(rtt: Duration, seed: u64) -> Vec<(Duration, Duration)> {
        let start = Instant::now();
        let mut pace = Pace::new(start, rtt, seed);
        let mut attempts = Vec::new();
        while pace.next() < start + Duration::from_secs(60) {
            let now = pace.next();
            attempts.push((now - start, pace.begin(now)));
        }
        attempts
    }

    #[test]
    fn attempts_are_steady_first_and_rare_later() {
        let attempts = attempts(Duration::from_millis(40), 7);
        assert_eq!(attempts[0], (Duration::ZERO, 4 * STEADY_INTERVAL));
        let gaps: Vec<(Duration, Duration)> =
            attempts.windows(2).map(|pair| (pair[0].0, pair[1].0 - pair[0].0)).collect();
        let (steady, later): (Vec<_>, Vec<_>) = gaps.into_iter().partition(|(at, _)| *at < STEADY_FOR);
        assert!(steady.iter().all(|(_, gap)| *gap == STEADY_INTERVAL), "{steady:?}");
        assert!(later.iter().all(|(_, gap)| *gap <= MAX_INTERVAL.mul_f64(1.5)), "{later:?}");
        let late = later.iter().filter(|(at, _)| *at > Duration::from_secs(30)).count();
        assert!((7..25).contains(&late), "{late} attempts in half a minute");
        assert_eq!(attempts.last().map(|(_, life)| *life), Some(MAX_INTERVAL * IN_FLIGHT));
    }

    #[test]
    fn clients_do_not_come_back_all_at_once() {
        let rtt = Duration::from_millis(40);
        assert_eq!(attempts(rtt, 3), attempts(rtt, 3));
        assert_ne!(attempts(rtt, 3).last(), attempts(rtt, 5).last());
    }

    #[test]
    fn a_long_path_gets_the_time_that_a_handshake_takes() {
        let rtt = Duration::from_millis(600);
        let attempts = attempts(rtt, 1);
        assert_eq!(attempts[1], (rtt, 4 * rtt));
    }

    #[test]
    fn a_server_that_cannot_help_is_asked_less_and_less_often() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, Duration::ZERO, 1);
        let pauses: Vec<Duration> = (0..20)
            .map(|_| {
                pace.begin(now);
                pace.put_off(now);
                let pause = pace.next() - now;
                now = pace.next();
                pause
            })
            .collect();
        assert!(pauses[0] < STEADY_INTERVAL.mul_f64(GROWTH * 1.5), "{pauses:?}");
        let late = pauses[10..].iter().sum::<Duration>();
        assert!(late > 10 * MAX_INTERVAL / 2 && late < 10 * MAX_INTERVAL * 3 / 2, "{pauses:?}");
    }
}
