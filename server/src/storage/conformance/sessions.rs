//! Sessions and attendances.

use darktower_core::access::ParticipantRole;
use darktower_core::meeting::lifecycle::{MeetingStatus, Scheduling};
use darktower_protocol::{MeetingId, MeetingSessionId};

use super::examples::{
    ALL, arrival, at, organization, participant, removal, stored_meeting, stored_organization,
    stored_participant,
};
use crate::storage::model::{Attendance, MeetingSession, Page, SessionFilter};
use crate::storage::store::{Store, StoreError};

pub(super) async fn run(store: &dyn Store) {
    counts_who_comes_and_goes(store).await;
    the_same_participant_again(store).await;
    arriving_changes_the_meeting(store).await;
    before_its_time_a_meeting_is_begun_by_hosts_and_waits_again(store).await;
    refuses_who_has_nothing_to_join(store).await;
    ending_ends_stays_and_meeting(store).await;
    permanent_meetings_go_on(store).await;
    finds_sessions_that_are_to_end(store).await;
    lists_newest_first(store).await;
}

fn counts(session: &MeetingSession) -> (u32, u32, u32) {
    (session.participant_count, session.live_count, session.peak_count)
}

async fn counts_who_comes_and_goes(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let guest = stored_participant(store, meeting.id, |guest| {
        guest.is_guest = true;
        guest.role = ParticipantRole::Guest;
        guest.user_id = Some("u".to_owned());
    })
    .await;
    assert_eq!(store.active_session(meeting.id).await.expect("read"), None);
    let first = arrival(&host, 1);
    let session = store.arrive(&first).await.expect("stored").expect("joined");
    let expected = MeetingSession {
        id: first.new_session_id,
        meeting_id: meeting.id,
        organization_id: organization,
        display_name: meeting.display_name.clone(),
        started_at: at(1),
        ended_at: None,
        participant_count: 1,
        live_count: 1,
        peak_count: 1,
        last_seen_at: at(1),
    };
    assert_eq!(session, expected);
    assert_eq!(store.session(session.id).await.expect("read").as_ref(), Some(&expected));
    assert_eq!(store.active_session(meeting.id).await.expect("read").as_ref(), Some(&expected));
    assert_eq!(store.count_live_guests(meeting.id).await.expect("counted"), 0);

    let mut second = arrival(&guest, 2);
    second.name = "As it says itself".to_owned();
    let session = store.arrive(&second).await.expect("stored").expect("joined");
    assert_eq!((session.id, counts(&session)), (first.new_session_id, (2, 2, 2)));
    assert_eq!(session.last_seen_at, at(2));
    assert_eq!(store.count_live_guests(meeting.id).await.expect("counted"), 1);
    assert_eq!(store.count_active_sessions(organization).await.expect("counted"), 1);

    assert!(store.depart(session.id, host.id, at(3), "voluntary").await.expect("left"));
    assert!(!store.depart(session.id, host.id, at(4), "kicked").await.expect("no second time"));
    let read = store.session(session.id).await.expect("read").expect("is there");
    assert_eq!(counts(&read), (2, 1, 2));
    let back = store.arrive(&arrival(&host, 5)).await.expect("stored").expect("joined");
    assert_eq!(counts(&back), (2, 2, 2), "joined before");
    assert!(store.depart(session.id, guest.id, at(6), "kicked").await.expect("left"));
    assert_eq!(store.count_live_guests(meeting.id).await.expect("counted"), 0);

    let stay =
        |who: &crate::storage::model::IssuedParticipant, joined, left: Option<i64>, reason: Option<&str>| {
            Attendance {
                session_id: session.id,
                participant_id: who.id,
                name: who.name.clone(),
                role: who.role,
                user_id: who.user_id.clone(),
                is_guest: who.is_guest,
                joined_at: at(joined),
                left_at: left.map(at),
                leave_reason: reason.map(str::to_owned),
            }
        };
    let mut guests = stay(&guest, 2, Some(6), Some("kicked"));
    guests.name = second.name;
    let expected = [stay(&host, 1, Some(3), Some("voluntary")), guests, stay(&host, 5, None, None)];
    let listed = store.attendances(session.id, ALL).await.expect("listed");
    assert_eq!((listed.items.as_slice(), listed.total), (expected.as_slice(), 3));
    let listed = store.attendances(session.id, Page { limit: 1, offset: 1 }).await.expect("listed");
    assert_eq!((listed.items.as_slice(), listed.total), (&expected[1..2], 3));
}

async fn the_same_participant_again(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (_, host) = stored_meeting(store, organization, |_| ()).await;
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    let again = store.arrive(&arrival(&host, 4)).await.expect("stored").expect("joined");
    assert_eq!((again.id, counts(&again)), (session.id, (1, 1, 1)));
    let stays = store.attendances(session.id, ALL).await.expect("listed").items;
    let stays: Vec<_> = stays.iter().map(|stay| (stay.joined_at, stay.left_at)).collect();
    assert_eq!(stays, [(at(1), Some(at(4))), (at(4), None)]);
    assert!(store.depart(session.id, host.id, at(5), "voluntary").await.expect("left"));
    let read = store.session(session.id).await.expect("read").expect("is there");
    assert_eq!(counts(&read), (1, 0, 1));
}

async fn arriving_changes_the_meeting(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (mut meeting, host) = stored_meeting(store, organization, |meeting| {
        meeting.scheduling = Scheduling::Scheduled;
        meeting.status = MeetingStatus::Scheduled;
        meeting.scheduled_start = Some(at(10_000_000));
    })
    .await;
    store.arrive(&arrival(&host, 7)).await.expect("stored").expect("joined early");
    meeting.status = MeetingStatus::Active;
    meeting.started_at = Some(at(7));
    meeting.updated_at = at(7);
    meeting.version = 1;
    assert_eq!(store.meeting(meeting.id).await.expect("read").as_ref(), Some(&meeting));
    let guest = stored_participant(store, meeting.id, |_| ()).await;
    store.arrive(&arrival(&guest, 8)).await.expect("stored").expect("joined");
    assert_eq!(store.meeting(meeting.id).await.expect("read"), Some(meeting), "only the first join");
}

async fn before_its_time_a_meeting_is_begun_by_hosts_and_waits_again(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |meeting| {
        meeting.scheduling = Scheduling::Scheduled;
        meeting.status = MeetingStatus::Scheduled;
        meeting.scheduled_start = Some(at(100_000));
    })
    .await;
    let member = stored_participant(store, meeting.id, |_| ()).await;
    assert_eq!(store.arrive(&arrival(&member, 99_990)).await.expect("tried"), None, "nobody has begun it");
    assert_eq!(store.active_session(meeting.id).await.expect("read"), None);
    assert_eq!(store.meeting(meeting.id).await.expect("read").as_ref(), Some(&meeting), "nothing is changed");

    let early = store.arrive(&arrival(&host, 99_991)).await.expect("stored").expect("a host");
    let joined = store.arrive(&arrival(&member, 99_992)).await.expect("stored").expect("begun by its host");
    assert_eq!(joined.id, early.id);
    assert!(store.end_session(early.id, at(99_999)).await.expect("ended"));
    let read = store.meeting(meeting.id).await.expect("read").expect("is there");
    assert_eq!((read.status, read.started_at, read.ended_at), (MeetingStatus::Scheduled, None, None));
    assert_eq!(store.arrive(&arrival(&member, 99_999)).await.expect("tried"), None, "waits again");

    // At its time, also before anybody has noticed that it has come.
    let due = store.arrive(&arrival(&member, 100_000)).await.expect("stored").expect("anybody");
    assert_ne!(due.id, early.id);
    assert!(store.end_session(due.id, at(100_001)).await.expect("ended"));
    let read = store.meeting(meeting.id).await.expect("read").expect("is there");
    assert_eq!((read.status, read.started_at), (MeetingStatus::Ended, Some(at(100_000))));
}

async fn refuses_who_has_nothing_to_join(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let unknown = participant(MeetingId::generate());
    assert_eq!(store.arrive(&arrival(&unknown, 1)).await.expect("tried"), None);
    for status in
        [MeetingStatus::Draft, MeetingStatus::Ended, MeetingStatus::Cancelled, MeetingStatus::Failed]
    {
        let (meeting, host) = stored_meeting(store, organization, |meeting| meeting.status = status).await;
        assert_eq!(store.arrive(&arrival(&host, 1)).await.expect("tried"), None, "{status}");
        assert_eq!(store.meeting(meeting.id).await.expect("read"), Some(meeting));
    }
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let (_, stranger) = stored_meeting(store, organization, |_| ()).await;
    for mut arrival in [arrival(&participant(meeting.id), 1), arrival(&stranger, 1)] {
        arrival.meeting_id = meeting.id;
        let refused = store.arrive(&arrival).await;
        assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    }
    assert!(store.revoke_participant(&removal(meeting.id, Some(host.id), 2)).await.expect("revoked"));
    assert_eq!(store.arrive(&arrival(&host, 3)).await.expect("tried"), None, "thrown out");
    assert_eq!(store.active_session(meeting.id).await.expect("read"), None, "nothing began");
    assert_eq!(store.meeting(meeting.id).await.expect("read"), Some(meeting));
}

async fn ending_ends_stays_and_meeting(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let guest = stored_participant(store, meeting.id, |guest| guest.is_guest = true).await;
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    store.arrive(&arrival(&guest, 2)).await.expect("stored").expect("joined");
    assert!(store.depart(session.id, host.id, at(3), "voluntary").await.expect("left"));

    assert!(store.end_session(session.id, at(9)).await.expect("ended"));
    assert!(!store.end_session(session.id, at(10)).await.expect("no second time"));
    assert!(!store.end_session(MeetingSessionId::generate(), at(10)).await.expect("unknown"));
    let read = store.session(session.id).await.expect("read").expect("is kept");
    assert_eq!((read.ended_at, counts(&read)), (Some(at(9)), (2, 0, 2)));
    assert_eq!(store.active_session(meeting.id).await.expect("read"), None);
    assert_eq!(store.count_active_sessions(organization).await.expect("counted"), 0);
    assert_eq!(store.count_live_guests(meeting.id).await.expect("counted"), 0);
    let stays = store.attendances(session.id, ALL).await.expect("listed").items;
    let stays: Vec<_> = stays.iter().map(|stay| (stay.left_at, stay.leave_reason.as_deref())).collect();
    assert_eq!(stays, [(Some(at(3)), Some("voluntary")), (Some(at(9)), Some("meeting_ended"))]);
    assert!(!store.depart(session.id, guest.id, at(11), "voluntary").await.expect("is gone"));
    let read = store.meeting(meeting.id).await.expect("read").expect("is kept");
    assert_eq!((read.status, read.ended_at, read.updated_at), (MeetingStatus::Ended, Some(at(9)), at(9)));
    assert_eq!(read.version, 2, "first start and end");
    assert_eq!(store.arrive(&arrival(&host, 12)).await.expect("tried"), None, "is over");

    // A meeting that was over before keeps its status and its time.
    let (mut meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    meeting.version = 1;
    meeting.status = MeetingStatus::Cancelled;
    meeting.ended_at = Some(at(5));
    assert!(store.update_meeting(&meeting, None).await.expect("written"));
    assert!(store.end_session(session.id, at(6)).await.expect("ended"));
    let read = store.meeting(meeting.id).await.expect("read").expect("is kept");
    assert_eq!((read.status, read.ended_at), (MeetingStatus::Cancelled, Some(at(5))));
}

async fn permanent_meetings_go_on(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) =
        stored_meeting(store, organization, |meeting| meeting.scheduling = Scheduling::Permanent).await;
    let first = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    assert!(store.end_session(first.id, at(2)).await.expect("ended"));
    let second = store.arrive(&arrival(&host, 3)).await.expect("stored").expect("joined");
    assert_ne!(second.id, first.id);
    assert_eq!(counts(&second), (1, 1, 1), "counted anew");
    let read = store.meeting(meeting.id).await.expect("read").expect("is there");
    assert_eq!((read.status, read.started_at, read.ended_at), (MeetingStatus::Active, Some(at(1)), None));
}

async fn finds_sessions_that_are_to_end(store: &dyn Store) {
    let mut limited = organization();
    limited.settings.max_meeting_minutes = Some(10);
    store.create_organization(&limited, &[], None).await.expect("stored");
    let unlimited = stored_organization(store).await;
    let mut sessions = Vec::new();
    for (organization, start) in [(&limited, 1000), (&limited, 1001), (&unlimited, 1000), (&limited, 1000)] {
        let (_, host) = stored_meeting(store, organization.id, |_| ()).await;
        sessions.push(store.arrive(&arrival(&host, start)).await.expect("stored").expect("joined").id);
    }
    assert!(store.end_session(sessions[3], at(1001)).await.expect("ended"));
    let of_ours = |found: Vec<MeetingSession>| -> Vec<MeetingSessionId> {
        found.into_iter().map(|session| session.id).filter(|id| sessions.contains(id)).collect()
    };
    let overlong =
        async |now, minutes| of_ours(store.overlong_sessions(at(now), minutes).await.expect("read"));
    assert_eq!(overlong(1600, 20).await, []);
    assert_eq!(overlong(1601, 20).await, [sessions[0]]);
    assert_eq!(overlong(1602, 20).await, [sessions[0], sessions[1]]);
    let mut all = overlong(2201, 20).await;
    all.sort();
    assert_eq!(all, sessions[..3]);
    assert_eq!(overlong(1602, u32::MAX).await, [sessions[0], sessions[1]]);

    let stale = async |before| of_ours(store.stale_sessions(at(before)).await.expect("read"));
    assert_eq!(stale(1000).await, []);
    assert_eq!(stale(1001).await.len(), 2);
    store.touch_sessions(&[sessions[0], MeetingSessionId::generate()], at(1002)).await.expect("noted");
    store.touch_sessions(&[], at(9000)).await.expect("nothing to note");
    assert_eq!(stale(1002).await, [sessions[2], sessions[1]], "by the time of the last sign");
    let read = store.session(sessions[0]).await.expect("read").expect("is there");
    assert_eq!(read.last_seen_at, at(1002));
    // More than one statement takes.
    let mut many: Vec<_> = (0..1200).map(|_| MeetingSessionId::generate()).collect();
    many.extend(&sessions);
    store.touch_sessions(&many, at(5000)).await.expect("noted");
    assert_eq!(stale(5000).await, []);
    assert_eq!(stale(5001).await.len(), 3, "not the ended one");
}

async fn lists_newest_first(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |meeting| {
        meeting.scheduling = Scheduling::Permanent;
        meeting.created_by = Some("creator".to_owned());
    })
    .await;
    let (other, other_host) = stored_meeting(store, organization, |_| ()).await;
    let mut ids = Vec::new();
    for second in [1, 3, 5] {
        let session = store.arrive(&arrival(&host, second)).await.expect("stored").expect("joined");
        ids.push(session.id);
        if second < 5 {
            assert!(store.end_session(session.id, at(second + 1)).await.expect("ended"));
        }
    }
    ids.push(store.arrive(&arrival(&other_host, 7)).await.expect("stored").expect("joined").id);
    ids.reverse();
    let all = SessionFilter {
        organization_id: organization,
        meeting_id: None,
        created_by: None,
        active: None,
        page: ALL,
    };
    let list = async |filter: SessionFilter| {
        let listed = store.sessions(&filter).await.expect("listed");
        (listed.items.into_iter().map(|session| session.id).collect::<Vec<_>>(), listed.total)
    };
    assert_eq!(list(all.clone()).await, (ids.clone(), 4));
    let page = Page { limit: 1, offset: 2 };
    assert_eq!(list(SessionFilter { page, ..all.clone() }).await, (ids[2..3].to_vec(), 4));
    let page = Page { limit: 1, offset: 4 };
    assert_eq!(list(SessionFilter { page, ..all.clone() }).await, (vec![], 4));
    let meeting_id = Some(other.id);
    assert_eq!(list(SessionFilter { meeting_id, ..all.clone() }).await, (ids[..1].to_vec(), 1));
    let active = Some(true);
    assert_eq!(list(SessionFilter { active, ..all.clone() }).await, (ids[..2].to_vec(), 2));
    let active = Some(false);
    assert_eq!(list(SessionFilter { active, ..all.clone() }).await, (ids[2..].to_vec(), 2));
    let created_by = Some("creator".to_owned());
    assert_eq!(list(SessionFilter { created_by, ..all.clone() }).await, (ids[1..].to_vec(), 3));
    let elsewhere = SessionFilter { organization_id: stored_organization(store).await.id, ..all };
    assert_eq!(list(elsewhere).await, (vec![], 0));
    assert_eq!(store.count_active_sessions(organization).await.expect("counted"), 2);

    // The list shows the name that the meeting has now.
    let mut renamed = store.meeting(meeting.id).await.expect("read").expect("is there");
    renamed.display_name = "Renamed".to_owned();
    assert!(store.update_meeting(&renamed, None).await.expect("written"));
    let session = store.active_session(meeting.id).await.expect("read").expect("runs");
    assert_eq!(session.display_name, "Renamed");
}
