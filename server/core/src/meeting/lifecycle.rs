//! The life of a meeting as a durable thing, from draft to end. Who is in it now is [`Meeting`](super::Meeting)'s.
//!
//! ```text
//! draft ──schedule──► scheduled ──activate──► active ──end──► ended
//!   └───────────activate───────────────────────┘ │
//! draft, scheduled, active ──cancel──► cancelled  └──fail──► failed
//! ```
//!
//! A meeting that is begun before its time waits for it again when its session is over before that, too. This is the
//! store's to do, with the end of the session.

use crate::named::named;

named! {
    /// Where a meeting is in its life.
    pub enum MeetingStatus ("status") {
        /// Made, without a time, not joinable.
        Draft = "draft",
        /// Waits for its time; a host that joins it early activates it.
        Scheduled = "scheduled",
        /// Can be joined.
        Active = "active",
        /// Over.
        Ended = "ended",
        /// Called off.
        Cancelled = "cancelled",
        /// Could not go on.
        Failed = "failed",
    }
}

named! {
    /// How a meeting comes about.
    pub enum Scheduling ("scheduling") {
        /// Active from its creation; over when the last has left, or by its host.
        Instant = "instant",
        /// Active from its time on; over as an instant one.
        Scheduled = "scheduled",
        /// Active always: it outlives its sessions, until it is cancelled or deleted.
        Permanent = "permanent",
    }
}

named! {
    /// What the meeting is for: decides which presets its participants get.
    pub enum MeetingType ("meeting_type") {
        /// Everybody is seen and heard.
        Video = "video",
        /// Everybody is heard.
        Audio = "audio",
        /// Some on a stage, the others watch.
        Webinar = "webinar",
        /// A webinar that is also sent elsewhere.
        Livestream = "livestream",
    }
}

/// What happens to a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// It got a time.
    Schedule,
    /// Its time has come, or a host starts it or joins it early.
    Activate,
    /// Its host ends it, or the last has left.
    End,
    /// It is called off.
    Cancel,
    /// The server cannot go on with it.
    Fail,
}

/// An event that does not apply to a meeting in this status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a meeting that is {from} cannot {what}")]
pub struct WrongStatus {
    /// The status it has.
    pub from: MeetingStatus,
    /// What was asked for: "be started".
    pub what: &'static str,
}

impl MeetingStatus {
    /// The status after `event`.
    ///
    /// # Errors
    /// [`WrongStatus`] if the event does not apply.
    pub fn after(self, event: LifecycleEvent) -> Result<Self, WrongStatus> {
        use LifecycleEvent::{Activate, Cancel, End, Fail, Schedule};
        match (self, event) {
            (Self::Draft | Self::Scheduled, Schedule) => Ok(Self::Scheduled),
            (Self::Draft | Self::Scheduled, Activate) => Ok(Self::Active),
            (Self::Active, End) => Ok(Self::Ended),
            (Self::Draft | Self::Scheduled | Self::Active, Cancel) => Ok(Self::Cancelled),
            (Self::Scheduled | Self::Active, Fail) => Ok(Self::Failed),
            (from, event) => {
                let what = match event {
                    Schedule => "be scheduled",
                    Activate => "be started",
                    End => "be ended",
                    Cancel => "be cancelled",
                    Fail => "fail",
                };
                Err(WrongStatus { from, what })
            }
        }
    }

    /// Whether join tokens may be issued: now, or early.
    #[must_use]
    pub fn is_joinable(self) -> bool {
        matches!(self, Self::Scheduled | Self::Active)
    }

    /// Whether somebody may come in: before the time of a scheduled meeting has come (`is_due`) only a host, who begins
    /// it by that.
    #[must_use]
    pub fn admits(self, is_host: bool, is_due: bool) -> bool {
        match self {
            Self::Active => true,
            Self::Scheduled => is_host || is_due,
            Self::Draft | Self::Ended | Self::Cancelled | Self::Failed => false,
        }
    }

    /// Whether nothing can happen to it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Ended | Self::Cancelled | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::Named as _;
    use LifecycleEvent::{Activate, Cancel, End, Fail, Schedule};
    use MeetingStatus::{Active, Cancelled, Draft, Ended, Failed, Scheduled};

    /// The whole machine: every status and event, and where it leads.
    #[test]
    fn every_transition_is_as_drawn() {
        let drawn = [
            (Draft, Schedule, Scheduled),
            (Scheduled, Schedule, Scheduled),
            (Draft, Activate, Active),
            (Scheduled, Activate, Active),
            (Active, End, Ended),
            (Draft, Cancel, Cancelled),
            (Scheduled, Cancel, Cancelled),
            (Active, Cancel, Cancelled),
            (Scheduled, Fail, Failed),
            (Active, Fail, Failed),
        ];
        for &from in MeetingStatus::ALL {
            for event in [Schedule, Activate, End, Cancel, Fail] {
                let expected =
                    drawn.iter().find(|(status, on, _)| (*status, *on) == (from, event)).map(|row| row.2);
                assert_eq!(from.after(event).ok(), expected, "{from} {event:?}");
            }
            assert!(!(from.is_final() && from.is_joinable()));
        }
    }

    #[test]
    fn before_its_time_a_meeting_takes_hosts_only() {
        for &status in MeetingStatus::ALL {
            let cases = [(true, false), (false, true), (false, false)];
            let admits = cases.map(|(is_host, is_due)| status.admits(is_host, is_due));
            let expected = match status {
                Active => [true; 3],
                Scheduled => [true, true, false],
                _ => [false; 3],
            };
            assert_eq!(admits, expected, "{status}");
            assert_eq!(status.admits(true, false), status.is_joinable(), "{status}");
        }
    }
}
