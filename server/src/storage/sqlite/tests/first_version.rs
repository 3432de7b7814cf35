//! Databases that the first release made.

use darktower_core::access::ParticipantRole;
use darktower_core::access::guests::AccessPolicy;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_protocol::{MeetingId, ParticipantId};
use uuid::Uuid;

use super::*;
use crate::storage::conformance::at;
use crate::storage::model::{MeetingFilter, OrganizationSettings, Page};

/// A file as the first release left it, with these rows.
async fn file(rows: &[&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.db");
    let mut connection = stranger(&path).await;
    migrator(&MIGRATIONS[..1]).run_direct(None, &mut connection, false).await.expect("applied");
    for row in rows {
        sqlx::query(*row).execute(&mut connection).await.expect("written");
    }
    connection.close().await.expect("closed");
    (folder, path)
}

/// A step that was released never changes: every database it was applied to would be refused.
#[tokio::test]
async fn its_step_is_what_was_released() {
    let (_folder, path) = file(&[]).await;
    let checksum: String = sqlx::query_scalar("SELECT hex(checksum) FROM _sqlx_migrations")
        .fetch_one(&mut stranger(&path).await)
        .await
        .expect("read");
    assert_eq!(
        checksum,
        "C46F4860857C8B943E19EEFD9CEA1CD8ECADD4B312EC8F8C02BF45E3482FBBABE9A4C82FD722507E284D68DA283947AF"
    );
}

#[tokio::test]
async fn is_carried_over() {
    let (_folder, path) = file(&[
        "INSERT INTO meetings VALUES (x'01890000000070008000000000000001', 'going', 'Über uns', 7, 1, 0, 0, NULL, \
         1763000000123456, NULL)",
        "INSERT INTO meetings VALUES (x'01890000000070008000000000000002', 'over', '50 % _ ''x', 8, 0, 1, 1, \
         'back-end', 1763000000000000, 1763000100000000)",
        "INSERT INTO participants VALUES (x'01890000000070008000000000000003', \
         x'01890000000070008000000000000001', 'Zoë', 'host', NULL, 1763000000123456)",
        "INSERT INTO participants VALUES (x'01890000000070008000000000000004', \
         x'01890000000070008000000000000002', 'Yan', 'participant', 'yan', 1763000000000000)",
    ])
    .await;
    let store = SqliteStore::open(&path).await.expect("opens");
    assert_eq!(store.integrity_check().await.expect("checked"), [""; 0]);

    let organization = store.organization_by_slug("default").await.expect("read").expect("was made");
    assert_eq!(organization.name, "Default");
    assert_eq!(organization.settings, OrganizationSettings::default());
    let id = organization.id.as_uuid();
    assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    let (seconds, _) = id.get_timestamp().expect("of version 7").to_unix();
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    assert!(now.abs_diff(i64::try_from(seconds).expect("not so late")) < 600);

    let id = |last: u128| Uuid::from_u128(0x0189_0000_0000_7000_8000_0000_0000_0000 + last);
    let going = store.meeting_by_slug("going").await.expect("read").expect("is kept");
    assert_eq!((going.id, going.organization_id), (MeetingId::from_uuid(id(1)), organization.id));
    assert_eq!((going.display_name.as_str(), going.max_participants), ("Über uns", 7));
    assert_eq!((going.meeting_type, going.access_policy), (MeetingType::Video, Some(AccessPolicy::Link)));
    assert_eq!((going.status, going.scheduling), (MeetingStatus::Active, Scheduling::Permanent));
    assert!(going.settings.enable_e2e_encryption && !going.settings.recording_enabled);
    assert_eq!((going.created_at, going.ended_at, going.version), (at(0), None, 0));
    assert_eq!(going.created_by, None);
    let over = store.meeting(MeetingId::from_uuid(id(2))).await.expect("read").expect("is kept");
    assert_eq!((over.status, over.scheduling), (MeetingStatus::Ended, Scheduling::Instant));
    assert_eq!(over.access_policy, Some(AccessPolicy::Members));
    assert_eq!(over.created_by.as_deref(), Some("back-end"));
    assert!(!over.settings.enable_e2e_encryption && over.settings.recording_enabled);
    assert_eq!(over.ended_at.map(time::OffsetDateTime::unix_timestamp), Some(1_763_000_100));

    let host = store.participant(ParticipantId::from_uuid(id(3))).await.expect("read").expect("is kept");
    assert_eq!((host.meeting_id, host.name.as_str()), (going.id, "Zoë"));
    assert_eq!((host.role, host.preset.as_str()), (ParticipantRole::Host, "video_host"));
    assert_eq!((host.created_at, host.expires_at, host.revoked_at), (at(0), at(86_400), None));
    let other = store.participant(ParticipantId::from_uuid(id(4))).await.expect("read").expect("is kept");
    assert_eq!((other.role, other.preset.as_str()), (ParticipantRole::Participant, "video_participant"));
    assert_eq!((other.user_id.as_deref(), other.is_guest), (Some("yan"), false));

    let search = async |search: &str| {
        let filter = MeetingFilter {
            organization_id: organization.id,
            active: None,
            status: None,
            user_id: None,
            visible_to: None,
            search: Some(search.to_owned()),
            from: None,
            to: None,
            page: Page { limit: 9, offset: 0 },
        };
        store.meetings(&filter).await.expect("listed").items
    };
    assert_eq!(search("über").await, std::slice::from_ref(&going));
    assert_eq!(search("_ 'X").await, [over]);
    // What refers to meetings still does.
    let refused = store.issue_participant(&participant(MeetingId::generate())).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    store.issue_participant(&participant(going.id)).await.expect("stored");
    store.close().await;
    SqliteStore::open(&path).await.expect("opens again");
}

#[tokio::test]
async fn without_meetings_it_gets_no_organization() {
    let (_folder, path) = file(&[]).await;
    let store = SqliteStore::open(&path).await.expect("opens");
    assert_eq!(store.count_organizations().await.expect("counted"), 0);
}
