//! Active meetings that tokens are issued for, at most a second old: a crowd that joins one meeting costs one query a second for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use darktower_core::meeting::lifecycle::MeetingStatus;
use darktower_protocol::MeetingId;

use crate::auth::recent::Recent;
use crate::storage::model::Meeting;
use crate::storage::{Store, StoreError};

/// A change that another server made takes effect within this time. The door looks again at who comes with a token.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Meetings that are remembered: twice as many at most, some 500 bytes each.
const REMEMBERED: usize = 4096;

/// The meetings that tokens were issued for lately.
pub(super) struct KnownMeetings {
    store: Arc<dyn Store>,
    meetings: Recent<MeetingId, (Instant, Arc<Meeting>)>,
    /// Counts what was forgotten, so that nothing is remembered that was read before.
    changes: AtomicU64,
}

impl KnownMeetings {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, meetings: Recent::new(REMEMBERED), changes: AtomicU64::new(0) }
    }

    /// A meeting; `None` if there is none.
    pub(super) async fn read(&self, id: MeetingId) -> Result<Option<Meeting>, StoreError> {
        if let Some((read_at, meeting)) = self.meetings.get(&id)
            && read_at.elapsed() < MAX_AGE
        {
            return Ok(Some(Meeting::clone(&meeting)));
        }
        // Taken before the question, which the age of the answer counts from.
        let (read_at, changes) = (Instant::now(), self.changes.load(Ordering::Acquire));
        let Some(meeting) = self.store.meeting(id).await? else { return Ok(None) };
        // One that waits for its time may begin at any moment, at the door.
        if meeting.status == MeetingStatus::Active && self.changes.load(Ordering::Acquire) == changes {
            self.meetings.insert(id, (read_at, Arc::new(meeting.clone())));
        }
        Ok(Some(meeting))
    }

    /// Has a meeting read again: it was changed here.
    pub(super) fn forget(&self, id: MeetingId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.meetings.remove(&id);
    }
}
