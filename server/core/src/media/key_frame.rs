//! How often a publisher is asked for a key frame.

use std::time::{Duration, Instant};

/// Least time between two requests to one publisher for one layer: a key frame is several times
/// larger than a delta frame, so a storm of requests costs picture quality and bandwidth.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// Merges the key-frame requests of all subscribers of one layer: the first goes out at once,
/// later ones at most every 500 ms, and none once a key frame has come.
#[derive(Debug, Default)]
pub struct KeyFrameLimiter {
    last_sent: Option<Instant>,
    wanted: bool,
}

impl KeyFrameLimiter {
    /// A subscriber needs a key frame.
    pub fn request(&mut self) {
        self.wanted = true;
    }

    /// A key frame has come from the publisher: everybody is served.
    pub fn on_key_frame(&mut self) {
        self.wanted = false;
    }

    /// Whether a request is to be sent to the publisher now; if so, it counts as sent.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.wanted && self.next_deadline().is_none_or(|deadline| now >= deadline);
        if due {
            self.last_sent = Some(now);
            self.wanted = false;
        }
        due
    }

    /// The earliest time at which an open request may go out; `None` if none is open or it may
    /// go out at once.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.last_sent.filter(|_| self.wanted).map(|last| last + MIN_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_request_goes_out_at_once_and_later_ones_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limiter = KeyFrameLimiter::default();
        assert!(!limiter.poll(at(0)));
        limiter.request();
        limiter.request();
        assert!(limiter.poll(at(0)));
        assert!(!limiter.poll(at(0)));
        limiter.request();
        assert!(!limiter.poll(at(499)));
        assert_eq!(limiter.next_deadline(), Some(at(500)));
        assert!(limiter.poll(at(500)));
        limiter.request();
        limiter.on_key_frame();
        assert!(!limiter.poll(at(5000)));
    }

    proptest! {
        #[test]
        fn never_more_often_than_the_interval(steps in proptest::collection::vec((0u64..300, any::<bool>()), 1..200)) {
            let mut now = Instant::now();
            let mut limiter = KeyFrameLimiter::default();
            let mut last: Option<Instant> = None;
            for (ms, request) in steps {
                now += Duration::from_millis(ms);
                if request {
                    limiter.request();
                }
                if limiter.poll(now) {
                    prop_assert!(last.is_none_or(|last| now - last >= MIN_INTERVAL));
                    last = Some(now);
                }
            }
        }
    }
}
