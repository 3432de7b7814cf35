//! How often a participant may do what others are told of, or what costs the meeting more than it costs the participant.
//!
//! Allowances belong to the participant and not to its session, as long as the meeting lives: who joins again has used up
//! what it used up before.

use std::collections::BTreeMap;

use darktower_protocol::ParticipantId;
use pb::ErrorCode;
use pb::envelope::Message;

use super::{Meeting, Refusal, pb};

/// Messages of the chat that one participant may send in a minute.
const CHAT_PER_MINUTE: u32 = 30;

/// Messages between applications, reactions among them, that one participant may send in a minute.
const BROADCASTS_PER_MINUTE: u32 = 120;

/// Everything else that others are told of, see [`is_change`]: five a second in the long run, which is more than anybody
/// clicks. A host that does something to many at once does it with one message.
const CHANGES_PER_MINUTE: u32 = 300;

/// How often one participant may knock, come in, or come back.
const ENTRIES_PER_MINUTE: u32 = 30;

/// Participants whose allowances are known, beside twice as many as are here, before those are forgotten that are full.
const KNOWN: usize = 1000;

/// Whether others are told of what a client asks for with this message, and [`Meeting::count_change`] bounds how often.
/// Chat and broadcasts have allowances of their own.
#[must_use]
pub fn is_change(message: &Message) -> bool {
    matches!(
        message,
        Message::PublishStream(_)
            | Message::UnpublishStream(_)
            | Message::UpdateParticipant(_)
            | Message::KickParticipant(_)
            | Message::MuteParticipant(_)
            | Message::LockMeeting(_)
            | Message::AdmitParticipant(_)
            | Message::SetPreset(_)
            | Message::StageRequest(_)
            | Message::SpotlightParticipant(_)
            | Message::LowerHands(_)
    )
}

impl Meeting {
    /// A participant that is here asks for something that [others are told of](is_change), at `now_us` (µs since the Unix
    /// epoch). Also what is refused then counts.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`] if it was one too many; it is not counted then.
    pub fn count_change(&mut self, by: ParticipantId, now_us: u64) -> Result<(), Refusal> {
        // Who is not here is refused whatever it wants.
        if !self.contains(by) {
            return Ok(());
        }
        self.allowances(by, now_us).changes.take(now_us)
    }

    /// A participant wants to come in, or back to its place.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`] if it was one too many; it is not counted then.
    pub fn count_entry(&mut self, id: ParticipantId, now_us: u64) -> Result<(), Refusal> {
        self.allowances(id, now_us).entries.take(now_us)
    }

    /// What a participant may still do.
    pub(super) fn allowances(&mut self, id: ParticipantId, now_us: u64) -> &mut Allowances {
        if self.allowances.len() > KNOWN + 2 * self.participants.len() && !self.allowances.contains_key(&id) {
            self.allowances.retain(|_, allowances| !allowances.are_full(now_us));
        }
        self.allowances.entry(id).or_default()
    }
}

/// Of one participant.
#[derive(Debug, Clone)]
pub(super) struct Allowances {
    pub(super) chat: Allowance,
    pub(super) broadcasts: Allowance,
    changes: Allowance,
    entries: Allowance,
}

/// Of everybody who has been heard of.
pub(super) type AllAllowances = BTreeMap<ParticipantId, Allowances>;

impl Default for Allowances {
    fn default() -> Self {
        Self {
            chat: Allowance::new(CHAT_PER_MINUTE),
            broadcasts: Allowance::new(BROADCASTS_PER_MINUTE),
            changes: Allowance::new(CHANGES_PER_MINUTE),
            entries: Allowance::new(ENTRIES_PER_MINUTE),
        }
    }
}

impl Allowances {
    /// Whether they are as those of somebody who was never heard of.
    fn are_full(&mut self, now_us: u64) -> bool {
        let Self { chat, broadcasts, changes, entries } = self;
        [chat, broadcasts, changes, entries].into_iter().all(|allowance| allowance.is_full(now_us))
    }
}

/// How often a participant may send: so many times at once and so many per minute in the long run.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    per_minute: u64,
    /// What it has saved: `per_minute` for each µs, [`Allowance::COST`] for each message, so that no
    /// rate is rounded.
    credit: u64,
    /// The latest time that credit was given for, µs since the Unix epoch.
    counted_until_us: u64,
}

impl Allowance {
    /// A message costs what one minute gives to a rate of one per minute.
    const COST: u64 = 60_000_000;

    /// `per_minute` may be sent at once to begin with; 0 counts as 1.
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = u64::from(per_minute.max(1));
        Self { per_minute, credit: per_minute * Self::COST, counted_until_us: 0 }
    }

    /// One message is sent at `now_us` (µs since the Unix epoch). Time that goes back gives nothing,
    /// neither does it when it comes again.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`] if it was one too many; it is not counted then.
    pub(super) fn take(&mut self, now_us: u64) -> Result<(), Refusal> {
        self.earn(now_us);
        if let Some(left) = self.credit.checked_sub(Self::COST) {
            self.credit = left;
            return Ok(());
        }
        let missing_us = (Self::COST - self.credit).div_ceil(self.per_minute);
        let wait_us = missing_us.saturating_add(self.counted_until_us - now_us);
        let (per_minute, seconds) = (self.per_minute, wait_us.div_ceil(1_000_000));
        let message = format!("you may send {per_minute} messages per minute; try again in {seconds} s");
        Err(Refusal::new(ErrorCode::RateLimited, message))
    }

    fn earn(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.counted_until_us);
        let earned = elapsed_us.saturating_mul(self.per_minute);
        self.credit = self.credit.saturating_add(earned).min(self.per_minute * Self::COST);
        self.counted_until_us = self.counted_until_us.max(now_us);
    }

    fn is_full(&mut self, now_us: u64) -> bool {
        self.earn(now_us);
        self.credit == self.per_minute * Self::COST
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, join, meeting, outputs, participant};
    use super::super::{MeetingLimits, WaitingRoom};
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const NOW_US: u64 = 1_700_000_000 * SECOND_US;

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
        result.unwrap_err().code
    }

    /// How often something may be done until it is refused.
    fn how_often(mut act: impl FnMut() -> Result<(), Refusal>) -> usize {
        (0..).take_while(|_| act().is_ok()).count()
    }

    #[test]
    fn an_allowance_is_a_burst_and_then_a_rate() {
        let mut allowance = Allowance::new(30);
        let mut now_us = 1_700_000_000 * SECOND_US;
        for _ in 0..30 {
            allowance.take(now_us).unwrap();
        }
        let refusal = allowance.take(now_us).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert_eq!(refusal.message, "you may send 30 messages per minute; try again in 2 s");
        for _ in 0..100 {
            now_us += 2 * SECOND_US;
            allowance.take(now_us).unwrap();
            assert_eq!(code(allowance.take(now_us + 1)), ErrorCode::RateLimited);
        }
        // Nothing is saved beyond the burst.
        now_us += 3_600 * SECOND_US;
        assert_eq!((0..100).filter(|_| allowance.take(now_us).is_ok()).count(), 30);
    }

    #[test]
    fn time_that_goes_back_gives_no_allowance() {
        let mut allowance = Allowance::new(1);
        let now_us = 1_000 * SECOND_US;
        allowance.take(now_us).unwrap();
        for _ in 0..10 {
            let refusal = allowance.take(now_us - 100 * SECOND_US).unwrap_err();
            assert!(refusal.message.ends_with("try again in 160 s"), "{refusal}");
            assert_eq!(code(allowance.take(now_us)), ErrorCode::RateLimited);
        }
        assert_eq!(code(allowance.take(0)), ErrorCode::RateLimited);
        allowance.take(now_us + 60 * SECOND_US).unwrap();
        let mut most = Allowance::new(u32::MAX);
        most.take(u64::MAX).unwrap();
        most.take(0).unwrap();
        Allowance::new(0).take(0).unwrap();
    }

    #[test]
    fn who_joins_again_has_used_up_what_it_used_up_before() {
        let mut meeting = meeting(MeetingLimits::default());
        join(&mut meeting, 1);
        join(&mut meeting, 2);
        assert_eq!(how_often(|| meeting.count_change(participant(2), NOW_US)), 300);
        let say = pb::SendChatMessage { text: "hello".to_owned(), ..Default::default() };
        assert_eq!(how_often(|| meeting.send_chat(participant(2), &say, NOW_US).map(drop)), 30);
        let wave = pb::BroadcastMessage { r#type: "reaction".to_owned(), ..Default::default() };
        assert_eq!(how_often(|| meeting.broadcast(participant(2), &wave, NOW_US)), 120);
        // Again, and after it has left.
        let joined = join(&mut meeting, 2);
        assert_eq!(code(meeting.count_change(participant(2), NOW_US)), ErrorCode::RateLimited);
        meeting.leave(participant(2), joined.epoch, pb::LeaveReason::Voluntary);
        meeting.count_change(participant(2), NOW_US).expect("it is not here: others refuse it");
        join(&mut meeting, 2);
        assert_eq!(code(meeting.count_change(participant(2), NOW_US)), ErrorCode::RateLimited);
        assert_eq!(code(meeting.send_chat(participant(2), &say, NOW_US)), ErrorCode::RateLimited);
        assert_eq!(code(meeting.broadcast(participant(2), &wave, NOW_US)), ErrorCode::RateLimited);
        meeting.count_change(participant(1), NOW_US).expect("others are others");
        meeting.count_change(participant(2), NOW_US + SECOND_US).expect("five a second");
        outputs(&mut meeting);
    }

    #[test]
    fn who_knocks_again_and_again_is_held_back_before_anybody_hears_of_it() {
        let mut meeting = meeting(MeetingLimits::default());
        join(&mut meeting, 1);
        meeting.set_waiting_room(WaitingRoom::Admission);
        outputs(&mut meeting);
        let knocks = how_often(|| {
            let knocked = meeting.knock(&identity(2), NOW_US).map(drop);
            meeting.stop_waiting(participant(2));
            knocked
        });
        assert_eq!(knocks, 30);
        outputs(&mut meeting);
        assert_eq!(code(meeting.knock(&identity(2), NOW_US)), ErrorCode::RateLimited);
        assert_eq!(code(meeting.count_entry(participant(2), NOW_US)), ErrorCode::RateLimited);
        assert_eq!(outputs(&mut meeting), [], "nobody is told");
        meeting.knock(&identity(3), NOW_US).expect("others are others");
        meeting.knock(&identity(2), NOW_US + 2 * SECOND_US).expect("one every two seconds");
    }

    #[test]
    fn who_has_done_nothing_lately_is_forgotten() {
        let mut meeting = meeting(MeetingLimits::default());
        let id = |n: u16| {
            let [high, low] = n.to_be_bytes();
            let mut bytes = [7; 16];
            (bytes[0], bytes[1]) = (high, low);
            ParticipantId::from_bytes(bytes)
        };
        for n in 0..5000 {
            meeting.count_entry(id(n), NOW_US + u64::from(n) * SECOND_US / 10).unwrap();
        }
        assert!(meeting.allowances.len() <= KNOWN + 2, "{}", meeting.allowances.len());
    }
}
