//! Meetings and who is invited.

use darktower_core::access::OrganizationRole::{Host, Member};
use darktower_core::access::guests::AccessPolicy;
use darktower_core::meeting::WaitingRoom;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_protocol::{MeetingId, OrganizationId, ParticipantId, UserId};
use futures_util::future::join_all;
use time::Duration;

use super::examples::{
    ALL, arrival, at, meeting, removal, stored_meeting, stored_organization, stored_participant, stored_user,
};
use crate::storage::model::{Invitee, MeetingFilter, MeetingSettings, Page, Removal};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    reads_back_what_was_written(store).await;
    refuses_what_exists(store).await;
    updates_by_version(store).await;
    deletes_all_but_the_removal(store).await;
    deletes_what_has_grown(store).await;
    lists_newest_first(store).await;
    lists_by_text(store).await;
    lists_what_a_user_has_to_do_with(store).await;
    activates_what_is_due(store).await;
    ends_what_nobody_joined(store).await;
    invites(store).await;
}

/// Everything in an organization.
fn filter(organization: OrganizationId) -> MeetingFilter {
    MeetingFilter {
        organization_id: organization,
        active: None,
        status: None,
        user_id: None,
        visible_to: None,
        search: None,
        from: None,
        to: None,
        page: ALL,
    }
}

async fn list(store: &dyn Store, filter: MeetingFilter) -> (Vec<MeetingId>, u64) {
    let listed = store.meetings(&filter).await.expect("listed");
    (listed.items.iter().map(|meeting| meeting.id).collect(), listed.total)
}

async fn reads_back_what_was_written(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (least, host) = meeting(organization);
    assert_eq!(store.meeting(least.id).await.expect("read"), None);
    store.create_meeting(&least, &host).await.expect("stored");
    assert_eq!(store.meeting(least.id).await.expect("read").as_ref(), Some(&least));
    assert_eq!(store.participant(host.id).await.expect("read").as_ref(), Some(&host));
    let (mut most, mut host) = meeting(organization);
    most.description = Some("Über alles\n'; --".to_owned());
    most.meeting_type = MeetingType::Livestream;
    most.scheduling = Scheduling::Scheduled;
    most.status = MeetingStatus::Cancelled;
    most.access_policy = Some(AccessPolicy::Invited);
    most.max_participants = u32::MAX;
    most.max_guests = Some(0);
    most.keep_alive_seconds = 0;
    most.settings = MeetingSettings {
        enable_e2e_encryption: false,
        recording_enabled: true,
        waiting_room: WaitingRoom::Admission,
    };
    most.created_by = Some("back-end".to_owned());
    most.scheduled_start = Some(at(1));
    most.scheduled_end = Some(at(2));
    most.started_at = Some(at(3));
    most.ended_at = Some(at(4));
    most.updated_at = at(5);
    most.version = 3;
    host.user_id = Some("zoe".to_owned());
    host.is_guest = true;
    host.issued_by = None;
    host.revoked_at = Some(at(6));
    store.create_meeting(&most, &host).await.expect("stored");
    assert_eq!(store.meeting_by_slug(&most.slug).await.expect("read").as_ref(), Some(&most));
    assert_eq!(store.participant(host.id).await.expect("read").as_ref(), Some(&host));
    for other in [least.slug.to_uppercase().as_str(), &least.slug[1..], "m-%", "%", ""] {
        assert_eq!(store.meeting_by_slug(other).await.expect("read"), None, "{other}");
    }
    assert_eq!(store.participant(ParticipantId::generate()).await.expect("read"), None);
}

async fn refuses_what_exists(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (first, host) = stored_meeting(store, organization, |_| ()).await;
    let (mut same_slug, its_host) = meeting(organization);
    same_slug.slug.clone_from(&first.slug);
    let refused = store.create_meeting(&same_slug, &its_host).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::MeetingSlug))), "{refused:?}");
    let (mut same_id, its_host) = meeting(organization);
    same_id.id = first.id;
    let refused = store.create_meeting(&same_id, &its_host).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    let (nowhere, its_host) = meeting(OrganizationId::generate());
    let refused = store.create_meeting(&nowhere, &its_host).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    // Both or nothing: a meeting whose host cannot be stored is not stored.
    let (meeting, mut its_host) = meeting(organization);
    its_host.id = host.id;
    let refused = store.create_meeting(&meeting, &its_host).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    assert_eq!(store.meeting(meeting.id).await.expect("read"), None);
}

async fn updates_by_version(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (mut meeting, _) = stored_meeting(store, organization, |_| ()).await;
    let kept = meeting.clone();
    meeting.organization_id = OrganizationId::generate();
    meeting.slug = "is not written".to_owned();
    meeting.created_by = Some("is not written".to_owned());
    meeting.created_at = at(99);
    meeting.display_name = "Größer".to_owned();
    meeting.description = Some("d".to_owned());
    meeting.meeting_type = MeetingType::Audio;
    meeting.scheduling = Scheduling::Permanent;
    meeting.status = MeetingStatus::Scheduled;
    meeting.access_policy = Some(AccessPolicy::Open);
    meeting.max_participants = 8;
    meeting.max_guests = Some(3);
    meeting.keep_alive_seconds = 1;
    meeting.settings = MeetingSettings::default();
    meeting.scheduled_start = Some(at(10_000_000));
    meeting.scheduled_end = Some(at(10_000_001));
    meeting.started_at = Some(at(12));
    meeting.ended_at = Some(at(13));
    meeting.updated_at = at(14);
    assert!(store.update_meeting(&meeting, None).await.expect("written"));
    meeting.organization_id = kept.organization_id;
    meeting.slug = kept.slug;
    meeting.created_by = kept.created_by;
    meeting.created_at = kept.created_at;
    meeting.version = 1;
    assert_eq!(store.meeting(meeting.id).await.expect("read").as_ref(), Some(&meeting));
    let search = Some("GRÖßER".to_owned());
    assert_eq!(
        list(store, MeetingFilter { search, ..filter(organization) }).await.1,
        1,
        "found by the new name"
    );

    // Who started from an older version writes nothing, not even a removal.
    let mut stale = meeting.clone();
    stale.version = 0;
    stale.display_name = "Stale".to_owned();
    let removal = removal(meeting.id, None, 20_000);
    assert!(!store.update_meeting(&stale, Some(&removal)).await.expect("too late"));
    assert_eq!(store.meeting(meeting.id).await.expect("read").as_ref(), Some(&meeting));
    assert!(!store.removals(at(20_000)).await.expect("read").contains(&removal));
    meeting.status = MeetingStatus::Ended;
    assert!(store.update_meeting(&meeting, Some(&removal)).await.expect("written"));
    assert!(store.removals(at(20_000)).await.expect("read").contains(&removal));
    // Both or nothing.
    meeting.version = 2;
    meeting.status = MeetingStatus::Failed;
    let refused = store.update_meeting(&meeting, Some(&removal)).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    let read = store.meeting(meeting.id).await.expect("read").expect("is there");
    assert_eq!((read.status, read.version), (MeetingStatus::Ended, 2));
}

async fn deletes_all_but_the_removal(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let (other, other_host) = stored_meeting(store, organization, |_| ()).await;
    store.invite(meeting.id, user.id, at(1)).await.expect("stored");
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    let removal = Removal { meeting_over: true, ..removal(meeting.id, None, 30_000) };
    assert!(store.delete_meeting(meeting.id, &removal).await.expect("deleted"));
    assert_eq!(store.meeting(meeting.id).await.expect("read"), None);
    assert_eq!(store.participant(host.id).await.expect("read"), None);
    assert_eq!(store.session(session.id).await.expect("read"), None);
    assert_eq!(store.active_session(meeting.id).await.expect("read"), None);
    assert_eq!(store.attendances(session.id, ALL).await.expect("read").total, 0);
    assert_eq!(store.invitees(meeting.id, ALL).await.expect("read").total, 0);
    assert!(!store.depart(session.id, host.id, at(2), "voluntary").await.expect("nothing there"));
    assert!(!store.end_session(session.id, at(2)).await.expect("nothing there"));
    assert_eq!(store.arrive(&arrival(&host, 3)).await.expect("tried"), None);
    assert!(store.removals(at(30_000)).await.expect("read").contains(&removal));
    let again = Removal { id: uuid::Uuid::now_v7(), ..removal };
    assert!(!store.delete_meeting(meeting.id, &again).await.expect("no second time"));
    assert!(!store.removals(at(30_000)).await.expect("read").contains(&again));
    assert_eq!(store.meeting(other.id).await.expect("read"), Some(other));
    assert!(store.participant(other_host.id).await.expect("read").is_some());
}

async fn deletes_what_has_grown(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) =
        stored_meeting(store, organization, |meeting| meeting.scheduling = Scheduling::Permanent).await;
    // More than one portion.
    let participants = join_all((0..1100).map(|_| stored_participant(store, meeting.id, |_| ()))).await;
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    for participant in &participants[..3] {
        store.arrive(&arrival(participant, 2)).await.expect("stored").expect("joined");
    }
    let removal = Removal { meeting_over: true, ..removal(meeting.id, None, 31_000) };
    assert!(store.delete_meeting(meeting.id, &removal).await.expect("deleted"));
    assert_eq!(store.meeting(meeting.id).await.expect("read"), None);
    for participant in [&participants[0], &participants[1099], &host] {
        assert_eq!(store.participant(participant.id).await.expect("read"), None);
    }
    assert_eq!(store.session(session.id).await.expect("read"), None);
    assert!(store.removals(at(31_000)).await.expect("read").contains(&removal));
}

async fn lists_newest_first(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let mut ids = Vec::new();
    for index in 0..6 {
        let (meeting, _) = stored_meeting(store, organization, |meeting| {
            // The last two at the same time: the id decides.
            meeting.created_at = at(index.min(4));
            meeting.status = match index {
                0 => MeetingStatus::Ended,
                1 => MeetingStatus::Draft,
                _ => MeetingStatus::Active,
            };
        })
        .await;
        ids.push(meeting.id);
    }
    stored_meeting(store, stored_organization(store).await.id, |_| ()).await;
    ids.reverse();
    let all = || filter(organization);
    assert_eq!(list(store, all()).await, (ids.clone(), 6));
    let page = Page { limit: 2, offset: 1 };
    assert_eq!(list(store, MeetingFilter { page, ..all() }).await, (ids[1..3].to_vec(), 6));
    let page = Page { limit: 2, offset: u32::MAX };
    assert_eq!(list(store, MeetingFilter { page, ..all() }).await, (vec![], 6), "past the end");
    let active = Some(true);
    assert_eq!(list(store, MeetingFilter { active, ..all() }).await, (ids[..4].to_vec(), 4));
    let active = Some(false);
    assert_eq!(list(store, MeetingFilter { active, ..all() }).await, (ids[4..].to_vec(), 2));
    let status = Some(MeetingStatus::Draft);
    assert_eq!(list(store, MeetingFilter { status, ..all() }).await, (ids[4..5].to_vec(), 1));
    let both = MeetingFilter { status, active: Some(true), ..all() };
    assert_eq!(list(store, both).await, (vec![], 0), "every part narrows");
    let from = Some(at(3));
    assert_eq!(list(store, MeetingFilter { from, ..all() }).await, (ids[..3].to_vec(), 3), "at or after");
    let to = Some(at(3));
    assert_eq!(list(store, MeetingFilter { to, ..all() }).await, (ids[3..].to_vec(), 3), "before");
    let (from, to) = (Some(at(2)), Some(at(2) + Duration::MICROSECOND));
    assert_eq!(list(store, MeetingFilter { from, to, ..all() }).await.1, 1);
}

async fn lists_by_text(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let texts = [("ÜBERSICHT Çedilla", None), ("50 % _off_", Some("ΣΊΣΥΦΟΣ")), ("a\\b", Some("it's \"so\""))];
    for (name, description) in texts {
        stored_meeting(store, organization, |meeting| {
            name.clone_into(&mut meeting.display_name);
            meeting.description = description.map(str::to_owned);
        })
        .await;
    }
    let found = async |search: &str| {
        let search = Some(search.to_owned());
        let listed = store.meetings(&MeetingFilter { search, ..filter(organization) }).await.expect("listed");
        listed.items.into_iter().map(|meeting| meeting.display_name).collect::<Vec<_>>()
    };
    assert_eq!(found("übersicht ç").await, ["ÜBERSICHT Çedilla"]);
    assert_eq!(found("UBERSICHT").await, [""; 0]);
    assert_eq!(found("%").await, ["50 % _off_"]);
    assert_eq!(found("_").await, ["50 % _off_"]);
    assert_eq!(found("σίσυφος").await.len() + found("ΣΊΣΥΦΟΣ").await.len(), 1, "folded letter by letter");
    assert_eq!(found("\\").await, ["a\\b"]);
    assert_eq!(found("'S \"S").await, ["a\\b"]);
    assert_eq!(found("' OR 1=1 --").await, [""; 0]);
    assert_eq!(found("").await.len(), 3);
}

async fn lists_what_a_user_has_to_do_with(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Host).await;
    let name = user.id.to_string();
    let (created, _) = stored_meeting(store, organization, |meeting| {
        meeting.created_by = Some(name.clone());
        meeting.access_policy = Some(AccessPolicy::Invited);
    })
    .await;
    let mut closed = Vec::new();
    for index in 1..4 {
        let (meeting, _) = stored_meeting(store, organization, |meeting| {
            meeting.access_policy = Some(AccessPolicy::Invited);
            meeting.created_at = at(index);
        })
        .await;
        closed.push(meeting.id);
    }
    store.invite(closed[0], user.id, at(1)).await.expect("stored");
    for _ in 0..2 {
        stored_participant(store, closed[1], |issued| issued.user_id = Some(name.clone())).await;
        stored_participant(store, closed[1], |issued| issued.user_id = Some("of the application".to_owned()))
            .await;
    }
    let (open, _) = stored_meeting(store, organization, |meeting| meeting.created_at = at(5)).await;
    let (members, _) = stored_meeting(store, organization, |meeting| {
        meeting.created_at = at(6);
        meeting.access_policy = Some(AccessPolicy::Members);
    })
    .await;

    let of = async |user_id: &str| {
        list(store, MeetingFilter { user_id: Some(user_id.to_owned()), ..filter(organization) }).await
    };
    assert_eq!(of(&name).await, (vec![closed[1], closed[0], created.id], 3), "each once");
    assert_eq!(of("of the application").await, (vec![closed[1]], 1));
    assert_eq!(of("nobody").await, (vec![], 0));
    assert_eq!(of(&UserId::generate().to_string()).await, (vec![], 0));
    let visible =
        async |user| list(store, MeetingFilter { visible_to: Some(user), ..filter(organization) }).await;
    // A token does not make a meeting visible: who asks for it by its id does not see it either.
    assert_eq!(visible(user.id).await, (vec![members.id, open.id, closed[0], created.id], 4));
    assert_eq!(visible(UserId::generate()).await, (vec![members.id, open.id], 2));
}

async fn activates_what_is_due(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let scheduled = async |start: Option<i64>, status| {
        let (meeting, _) = stored_meeting(store, organization, |meeting| {
            meeting.scheduling = Scheduling::Scheduled;
            meeting.status = status;
            meeting.scheduled_start = start.map(at);
        })
        .await;
        meeting
    };
    let mut due = scheduled(Some(100), MeetingStatus::Scheduled).await;
    let others = [
        scheduled(Some(101), MeetingStatus::Scheduled).await,
        scheduled(Some(50), MeetingStatus::Draft).await,
        scheduled(Some(50), MeetingStatus::Cancelled).await,
        scheduled(None, MeetingStatus::Scheduled).await,
    ];
    assert_eq!(store.activate_due(at(99)).await.expect("done"), []);
    assert_eq!(store.activate_due(at(100)).await.expect("done"), [due.id]);
    assert_eq!(store.activate_due(at(100)).await.expect("done"), []);
    (due.status, due.updated_at, due.version) = (MeetingStatus::Active, at(100), 1);
    assert_eq!(store.meeting(due.id).await.expect("read"), Some(due));
    for other in others {
        assert_eq!(store.meeting(other.id).await.expect("read"), Some(other));
    }
}

async fn ends_what_nobody_joined(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let created = async |created: i64, scheduling, status, started: Option<i64>| {
        let (meeting, _) = stored_meeting(store, organization, |meeting| {
            meeting.created_at = at(created);
            meeting.scheduling = scheduling;
            meeting.status = status;
            meeting.started_at = started.map(at);
        })
        .await;
        meeting
    };
    let mut unjoined = created(99, Scheduling::Instant, MeetingStatus::Active, None).await;
    let others = [
        created(100, Scheduling::Instant, MeetingStatus::Active, None).await,
        created(50, Scheduling::Instant, MeetingStatus::Active, Some(60)).await,
        created(50, Scheduling::Instant, MeetingStatus::Cancelled, None).await,
        created(50, Scheduling::Scheduled, MeetingStatus::Active, None).await,
        created(50, Scheduling::Permanent, MeetingStatus::Active, None).await,
    ];
    // Other parts of the suite leave meetings behind that nobody has joined.
    let ended_with_others = store.end_unjoined(at(200), at(99)).await.expect("done");
    assert!(!ended_with_others.contains(&unjoined.id));
    assert_eq!(store.end_unjoined(at(200), at(100)).await.expect("done"), [unjoined.id]);
    assert_eq!(store.end_unjoined(at(200), at(100)).await.expect("done"), []);
    (unjoined.status, unjoined.updated_at, unjoined.version) = (MeetingStatus::Ended, at(200), 1);
    unjoined.ended_at = Some(at(200));
    assert_eq!(store.meeting(unjoined.id).await.expect("read"), Some(unjoined));
    for other in others {
        assert_eq!(store.meeting(other.id).await.expect("read"), Some(other));
    }

    let scheduled = async |start: i64, end: Option<i64>, started: Option<i64>| {
        let (meeting, _) = stored_meeting(store, organization, |meeting| {
            meeting.scheduling = Scheduling::Scheduled;
            meeting.scheduled_start = Some(at(start));
            meeting.scheduled_end = end.map(at);
            meeting.started_at = started.map(at);
        })
        .await;
        meeting.id
    };
    let mut over = [scheduled(99, None, None).await, scheduled(150, Some(199), None).await];
    scheduled(100, None, None).await;
    scheduled(50, Some(200), None).await;
    scheduled(50, Some(60), Some(55)).await;
    let mut ended = store.end_unjoined(at(200), at(100)).await.expect("done");
    ended.sort();
    over.sort();
    assert_eq!(ended, over);
    let read = store.meeting(over[0]).await.expect("read").expect("is there");
    assert_eq!((read.status, read.ended_at), (MeetingStatus::Ended, Some(at(200))));
}

async fn invites(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, _) = stored_meeting(store, organization, |_| ()).await;
    let mut expected = Vec::new();
    for (index, name) in ["b", "c", "a"].into_iter().enumerate() {
        let user = stored_user(store, organization, name, Member).await;
        assert!(!store.is_invited(meeting.id, user.id).await.expect("read"));
        let invited_at = at(i64::try_from(index).expect("small"));
        store.invite(meeting.id, user.id, invited_at).await.expect("stored");
        store.invite(meeting.id, user.id, at(77)).await.expect("again changes nothing");
        assert!(store.is_invited(meeting.id, user.id).await.expect("read"));
        expected.push(Invitee { user_id: user.id, email: user.email, name: user.name, invited_at });
    }
    expected.rotate_right(1);
    let listed = store.invitees(meeting.id, ALL).await.expect("listed");
    assert_eq!((listed.items.as_slice(), listed.total), (expected.as_slice(), 3), "by email");
    let listed = store.invitees(meeting.id, Page { limit: 1, offset: 2 }).await.expect("listed");
    assert_eq!((listed.items.as_slice(), listed.total), (&expected[2..], 3));
    for (meeting, user) in [(meeting.id, UserId::generate()), (MeetingId::generate(), expected[0].user_id)] {
        let refused = store.invite(meeting, user, at(0)).await;
        assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    }
    // Whoever is invited no more is thrown out of this meeting, and of no other.
    let (other, _) = stored_meeting(store, organization, |_| ()).await;
    let mut participants = Vec::new();
    for (meeting, index) in [(meeting.id, 0), (meeting.id, 1), (other.id, 0)] {
        let user_id = Some(expected[index].user_id.to_string());
        participants
            .push(stored_participant(store, meeting, |participant| participant.user_id = user_id).await);
    }
    assert!(store.uninvite(meeting.id, expected[0].user_id, at(70_000)).await.expect("taken back"));
    assert!(!store.uninvite(meeting.id, expected[0].user_id, at(70_001)).await.expect("no second time"));
    assert!(!store.is_invited(meeting.id, expected[0].user_id).await.expect("read"));
    assert_eq!(store.invitees(meeting.id, ALL).await.expect("listed").total, 2);
    let mut revoked = Vec::new();
    for participant in &participants {
        revoked.push(store.participant(participant.id).await.expect("read").expect("there").revoked_at);
    }
    assert_eq!(revoked, [Some(at(70_000)), None, None]);
    let removals = store.removals(at(70_000)).await.expect("read");
    let removed = removals.iter().filter(|removal| removal.meeting_id == meeting.id);
    let removed: Vec<_> = removed.map(|removal| (removal.participant_id, removal.at)).collect();
    assert_eq!(removed, [(Some(participants[0].id), at(70_000))]);
}
