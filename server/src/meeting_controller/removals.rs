//! Throwing people out: because of this process's API at once, because of others' (a command line, another server)
//! as soon as it is seen in the store.
//!
//! Whoever removes writes to the store first and acts then. Who joins reads the store first and looks here then, under
//! the meeting's lock: one of the two sees the other, whatever the order.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use darktower_protocol::{MeetingId, ParticipantId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::MeetingController;
use crate::storage::model::Removal;

/// How often the store is asked. A removal that was written elsewhere takes effect within this time and that of the
/// query; each question costs one look at a small index.
const POLL: Duration = Duration::from_millis(300);

/// How far back each question goes: other servers' clocks may be behind, and their writes may take a while.
const OVERLAP: time::Duration = time::Duration::seconds(10);

/// For how long it is known who was removed: longer than a join takes, and than any removal is asked for again.
const MEMORY: Duration = Duration::from_secs(60);

/// Removals that were carried out lately.
#[derive(Debug, Default)]
pub(super) struct Removals(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    carried_out: HashMap<Uuid, Instant>,
    participants: HashMap<ParticipantId, Instant>,
    meetings: HashMap<MeetingId, Instant>,
}

/// Why somebody who was let in by the store's facts must stay out: they have changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// It was removed.
    Removed,
    /// The meeting is over.
    Over,
}

impl Removals {
    /// Notes a removal; `false` if it was carried out before.
    pub(super) fn note(&self, removal: &Removal) -> bool {
        let now = Instant::now();
        let mut recent = self.lock();
        if recent.carried_out.insert(removal.id, now).is_some() {
            return false;
        }
        if let Some(participant) = removal.participant_id {
            recent.participants.insert(participant, now);
        }
        if removal.meeting_over {
            recent.meetings.insert(removal.meeting_id, now);
        }
        true
    }

    /// Whether a participant whose facts were read after `checked_at` may not come in any more.
    pub(super) fn bar(
        &self,
        meeting: MeetingId,
        participant: ParticipantId,
        checked_at: Instant,
    ) -> Option<Barred> {
        let recent = self.lock();
        let since = |at: Option<&Instant>| at.is_some_and(|at| *at >= checked_at);
        if since(recent.meetings.get(&meeting)) {
            return Some(Barred::Over);
        }
        since(recent.participants.get(&participant)).then_some(Barred::Removed)
    }

    fn forget_old(&self) {
        let mut recent = self.lock();
        let Recent { carried_out, participants, meetings } = &mut *recent;
        carried_out.retain(|_, at| at.elapsed() < MEMORY);
        participants.retain(|_, at| at.elapsed() < MEMORY);
        meetings.retain(|_, at| at.elapsed() < MEMORY);
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

/// Carries out what others write to the store. Runs until it is dropped.
pub(super) async fn watch(controller: Arc<MeetingController>) {
    let started_at = OffsetDateTime::now_utc();
    let mut asked_at = started_at;
    let mut is_failing = false;
    let mut waits = tokio::time::interval(POLL);
    waits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What was written before this server began is nothing to those who come to it.
    let mut before: HashSet<Uuid> = HashSet::new();
    loop {
        waits.tick().await;
        let now = OffsetDateTime::now_utc();
        match controller.store.removals(asked_at - OVERLAP).await {
            Ok(removals) => {
                let is_first = asked_at == started_at;
                for removal in removals {
                    if is_first && removal.at < started_at {
                        before.insert(removal.id);
                    } else if !before.contains(&removal.id) {
                        controller.carry_out_removal(&removal);
                    }
                }
                if now - started_at > OVERLAP * 2 {
                    before.clear();
                }
                asked_at = now;
                is_failing = false;
                // Not while it fails: what was carried out before would be seen again after.
                controller.removals.forget_old();
            }
            Err(error) => {
                if !is_failing {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot read who was removed");
                }
                is_failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(meeting_id: MeetingId, participant_id: Option<ParticipantId>, meeting_over: bool) -> Removal {
        let at = OffsetDateTime::now_utc();
        Removal { id: Uuid::now_v7(), meeting_id, participant_id, meeting_over, at }
    }

    #[test]
    fn who_was_checked_before_a_removal_stays_out_and_who_was_checked_after_it_is_for_the_store() {
        let removals = Removals::default();
        let (meeting, participant) = (MeetingId::generate(), ParticipantId::generate());
        let bar = |at| removals.bar(meeting, participant, at);
        let before = Instant::now();
        assert_eq!(bar(before), None);

        let revoked = removal(meeting, Some(participant), false);
        assert!(removals.note(&revoked));
        assert!(!removals.note(&revoked), "seen again");
        assert_eq!(bar(before), Some(Barred::Removed));
        assert_eq!(removals.bar(meeting, ParticipantId::generate(), before), None);
        assert_eq!(bar(Instant::now() + Duration::from_millis(1)), None);

        assert!(removals.note(&removal(meeting, None, false)), "everybody may come back");
        assert_eq!(removals.bar(meeting, ParticipantId::generate(), before), None);
        assert!(removals.note(&removal(meeting, None, true)));
        assert_eq!(bar(before), Some(Barred::Over));
        assert_eq!(removals.bar(MeetingId::generate(), participant, before), Some(Barred::Removed));
    }
}
