//! Meetings that were changed lately: whoever has read the facts of one before must not begin it with them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use darktower_protocol::MeetingId;

use crate::storage::model::Meeting as StoredMeeting;

/// For how long it is known: longer than a join takes from reading the facts on.
const MEMORY: Duration = Duration::from_secs(60);

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<HashMap<MeetingId, (Instant, StoredMeeting)>>);

impl Changes {
    /// Notes what a meeting is now.
    pub(super) fn note(&self, meeting: &StoredMeeting) {
        let mut recent = self.lock();
        recent.retain(|_, (at, _)| at.elapsed() < MEMORY);
        let noted = recent.entry(meeting.id).or_insert_with(|| (Instant::now(), meeting.clone()));
        if noted.1.version < meeting.version {
            *noted = (Instant::now(), meeting.clone());
        }
    }

    /// What a meeting is since these facts of it were read, if it is something else.
    pub(super) fn since(&self, read: &StoredMeeting) -> Option<StoredMeeting> {
        let recent = self.lock();
        let (_, meeting) = recent.get(&read.id)?;
        (meeting.version > read.version).then(|| meeting.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MeetingId, (Instant, StoredMeeting)>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use darktower_core::access::guests::AccessPolicy;
    use darktower_core::meeting::WaitingRoom;
    use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
    use darktower_protocol::OrganizationId;
    use time::OffsetDateTime;

    use super::*;
    use crate::storage::model::MeetingSettings;

    fn meeting(id: MeetingId, version: i64, waiting_room: WaitingRoom) -> StoredMeeting {
        StoredMeeting {
            id,
            organization_id: OrganizationId::generate(),
            slug: id.to_string(),
            display_name: "Meeting".to_owned(),
            description: None,
            meeting_type: MeetingType::Video,
            scheduling: Scheduling::Instant,
            status: MeetingStatus::Active,
            access_policy: Some(AccessPolicy::Members),
            max_participants: 10,
            max_guests: None,
            keep_alive_seconds: 60,
            settings: MeetingSettings { waiting_room, ..MeetingSettings::default() },
            created_by: None,
            scheduled_start: None,
            scheduled_end: None,
            started_at: None,
            ended_at: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            version,
        }
    }

    #[test]
    fn who_has_read_older_facts_is_told_the_newer() {
        let changes = Changes::default();
        let id = MeetingId::generate();
        let before = meeting(id, 3, WaitingRoom::Off);
        assert!(changes.since(&before).is_none());
        changes.note(&meeting(id, 4, WaitingRoom::Admission));
        // Written before, and told of after.
        changes.note(&before);
        let newer = changes.since(&before).expect("it was changed");
        assert_eq!(newer.settings.waiting_room, WaitingRoom::Admission);
        assert!(changes.since(&meeting(id, 4, WaitingRoom::Admission)).is_none(), "known");
        assert!(changes.since(&meeting(id, 5, WaitingRoom::Off)).is_none(), "newer still");
        assert!(changes.since(&meeting(MeetingId::generate(), 1, WaitingRoom::Off)).is_none(), "another");
    }
}
