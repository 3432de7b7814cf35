//! What every [`Store`] must do, run by each backend's tests against an empty store.

use darktower_protocol::{MeetingId, ParticipantId};
use time::{Duration, OffsetDateTime};

use super::store::{IssuedParticipant, Meeting, MeetingFilter, MeetingSettings, Role, Store, StoreError};

/// A meeting and its host, with times a backend can keep exactly.
pub(super) fn example(slug: &str, created_by: Option<&str>) -> (Meeting, IssuedParticipant) {
    let created_at = OffsetDateTime::from_unix_timestamp_nanos(1_763_000_000_123_456_000).expect("in range");
    let meeting = Meeting {
        id: MeetingId::generate(),
        slug: slug.to_owned(),
        display_name: "Straße 会議 🎥 '; DROP TABLE meetings".to_owned(),
        max_participants: 7,
        settings: MeetingSettings {
            enable_e2e_encryption: true,
            require_auth: false,
            recording_enabled: true,
        },
        created_by: created_by.map(str::to_owned),
        created_at,
        ended_at: None,
    };
    let host = participant(meeting.id, Role::Host, None);
    (meeting, host)
}

fn participant(meeting_id: MeetingId, role: Role, user_id: Option<&str>) -> IssuedParticipant {
    IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id,
        name: "Zoë".to_owned(),
        role,
        user_id: user_id.map(str::to_owned),
        created_at: OffsetDateTime::UNIX_EPOCH,
    }
}

/// Runs the suite. `store` must be empty.
pub(super) async fn run(store: &dyn Store) {
    store.check().await.expect("answers");
    reads_back_what_was_written(store).await;
    refuses_what_exists(store).await;
    issues_participants_of_known_meetings_only(store).await;
    lists_by_page_state_and_user(store).await;
    accepts_writers_at_once(store).await;
}

async fn reads_back_what_was_written(store: &dyn Store) {
    let (meeting, host) = example("aaaaaaaaaa", Some("backend"));
    assert_eq!(store.meeting(meeting.id).await.expect("read"), None);
    store.create_meeting(&meeting, &host).await.expect("stored");
    assert_eq!(store.meeting(meeting.id).await.expect("read").as_ref(), Some(&meeting));
    assert_eq!(store.meeting_by_slug("aaaaaaaaaa").await.expect("read"), Some(meeting));
    assert_eq!(store.participant(host.id).await.expect("read"), Some(host));
    for other in ["AAAAAAAAAA", "aaaaaaaaa", "aaaaaaaaa_", "%", ""] {
        assert_eq!(store.meeting_by_slug(other).await.expect("read"), None, "{other}");
    }
    assert_eq!(store.participant(ParticipantId::generate()).await.expect("read"), None);
}

async fn refuses_what_exists(store: &dyn Store) {
    let (first, host) = example("bbbbbbbbbb", None);
    store.create_meeting(&first, &host).await.expect("stored");

    let (same_slug, its_host) = example("bbbbbbbbbb", None);
    assert!(matches!(store.create_meeting(&same_slug, &its_host).await, Err(StoreError::SlugTaken)));

    let (mut same_id, its_host) = example("cccccccccc", None);
    same_id.id = first.id;
    assert!(matches!(store.create_meeting(&same_id, &its_host).await, Err(StoreError::IdTaken)));

    // Both or nothing: a meeting whose host cannot be stored is not stored.
    let (meeting, mut its_host) = example("dddddddddd", None);
    its_host.id = host.id;
    assert!(matches!(store.create_meeting(&meeting, &its_host).await, Err(StoreError::IdTaken)));
    assert_eq!(store.meeting(meeting.id).await.expect("read"), None);
}

async fn issues_participants_of_known_meetings_only(store: &dyn Store) {
    let stranger = participant(MeetingId::generate(), Role::Participant, None);
    assert!(matches!(store.issue_participant(&stranger).await, Err(StoreError::NoSuchMeeting)));

    let (meeting, host) = example("eeeeeeeeee", None);
    store.create_meeting(&meeting, &host).await.expect("stored");
    let guest = participant(meeting.id, Role::Participant, Some("zoe"));
    store.issue_participant(&guest).await.expect("stored");
    assert!(matches!(store.issue_participant(&guest).await, Err(StoreError::IdTaken)));
    assert_eq!(store.participant(guest.id).await.expect("read"), Some(guest));
}

async fn lists_by_page_state_and_user(store: &dyn Store) {
    let mut ids = Vec::new();
    for index in 0..5_i64 {
        let (mut meeting, host) = example(&format!("list{index:06}"), Some("lister"));
        meeting.created_at += Duration::seconds(index);
        store.create_meeting(&meeting, &host).await.expect("stored");
        ids.push(meeting.id);
    }
    ids.reverse();
    let list = async |active, user: &str, limit, offset| {
        let filter = MeetingFilter { active, user_id: Some(user.to_owned()), limit, offset };
        let page = store.meetings(&filter).await.expect("listed");
        (page.meetings.iter().map(|meeting| meeting.id).collect::<Vec<_>>(), page.total)
    };

    assert_eq!(list(None, "lister", 50, 0).await, (ids.clone(), 5), "newest first");
    assert_eq!(list(None, "lister", 2, 1).await, (ids[1..3].to_vec(), 5));
    assert_eq!(list(None, "lister", 2, 9).await, (vec![], 5), "past the end");
    assert_eq!(list(None, "nobody", 50, 0).await, (vec![], 0));

    // Issued participants count as the user's meetings too, once each.
    for _ in 0..2 {
        store
            .issue_participant(&participant(ids[4], Role::Participant, Some("guest")))
            .await
            .expect("stored");
    }
    assert_eq!(list(None, "guest", 50, 0).await, (vec![ids[4]], 1));

    let end = OffsetDateTime::from_unix_timestamp(1_763_000_100).expect("in range");
    assert!(store.end_meeting(ids[0], end).await.expect("ended"));
    assert!(!store.end_meeting(ids[0], end + Duration::SECOND).await.expect("no second end"));
    assert!(!store.end_meeting(MeetingId::generate(), end).await.expect("unknown"));
    let ended = store.meeting(ids[0]).await.expect("read").expect("kept");
    assert_eq!((ended.ended_at, ended.is_active()), (Some(end), false));
    assert_eq!(list(Some(true), "lister", 50, 0).await, (ids[1..].to_vec(), 4));
    assert_eq!(list(Some(false), "lister", 50, 0).await, (vec![ids[0]], 1));

    let everyone =
        store.meetings(&MeetingFilter { limit: 1, ..MeetingFilter::default() }).await.expect("listed");
    assert_eq!(everyone.meetings.len(), 1);
    assert!(everyone.total >= 5);
}

async fn accepts_writers_at_once(store: &dyn Store) {
    let writes = (0..32).map(async |index| {
        let (meeting, host) = example(&format!("many{index:06}"), None);
        store.create_meeting(&meeting, &host).await.expect("waits for its turn");
        store.meeting(meeting.id).await.expect("read").expect("there at once");
    });
    futures_util::future::join_all(writes).await;
}
