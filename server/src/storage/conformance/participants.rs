//! Participants and removals.

use darktower_core::access::ParticipantRole;
use darktower_protocol::{MeetingId, ParticipantId};
use futures_util::future::join_all;

use super::examples::{at, participant, removal, stored_meeting, stored_organization, stored_participant};
use crate::storage::model::{IssuedParticipant, Removal};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    issues_for_known_meetings_only(store).await;
    renews_until_revoked(store).await;
    changes_until_revoked(store).await;
    revokes_once(store).await;
    revokes_many_at_once_or_none(store).await;
    removals_are_read_in_order(store).await;
    many_at_once_each_get_their_own_answer(store).await;
}

async fn issues_for_known_meetings_only(store: &dyn Store) {
    let refused = store.issue_participant(&participant(MeetingId::generate())).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let guest = stored_participant(store, meeting.id, |guest| guest.is_guest = true).await;
    assert_eq!(store.participant(guest.id).await.expect("read"), Some(guest));
    let refused = store.issue_participant(&host).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
}

async fn renews_until_revoked(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let expires_at = async || store.participant(host.id).await.expect("read").expect("is there").expires_at;
    assert!(store.renew_participant(host.id, at(90_000)).await.expect("renewed"));
    assert_eq!(expires_at().await, at(90_000));
    assert!(store.renew_participant(host.id, at(80_000)).await.expect("renewed"));
    assert_eq!(expires_at().await, at(90_000), "the last token still ends then");
    assert!(!store.renew_participant(ParticipantId::generate(), at(1)).await.expect("nobody"));
    assert!(store.revoke_participant(&removal(meeting.id, Some(host.id), 1)).await.expect("revoked"));
    assert!(!store.renew_participant(host.id, at(100_000)).await.expect("revoked"));
    assert_eq!(expires_at().await, at(90_000));
}

async fn changes_until_revoked(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let guest = stored_participant(store, meeting.id, |guest| guest.is_guest = true).await;
    let read = async || store.participant(guest.id).await.expect("read").expect("is there");
    assert!(store.change_participant(guest.id, None, None).await.expect("nothing to change"));
    assert_eq!(read().await, guest);
    assert!(store.change_participant(guest.id, Some("Zoë"), None).await.expect("changed"));
    assert_eq!(read().await, IssuedParticipant { name: "Zoë".to_owned(), ..guest.clone() });
    let preset = Some(("webinar_host", ParticipantRole::Host));
    assert!(store.change_participant(guest.id, None, preset).await.expect("changed"));
    let expected = IssuedParticipant {
        name: "Zoë".to_owned(),
        preset: "webinar_host".to_owned(),
        role: ParticipantRole::Host,
        ..guest.clone()
    };
    assert_eq!(read().await, expected);
    assert_eq!(store.participant(host.id).await.expect("read"), Some(host), "others are others");
    assert!(!store.change_participant(ParticipantId::generate(), Some("x"), None).await.expect("nobody"));
    assert!(store.revoke_participant(&removal(meeting.id, Some(guest.id), 1)).await.expect("revoked"));
    assert!(!store.change_participant(guest.id, Some("x"), None).await.expect("revoked"));
    assert_eq!(read().await.name, "Zoë");
}

async fn revokes_once(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let (other, _) = stored_meeting(store, organization, |_| ()).await;
    let has = async |removal: &Removal| store.removals(at(40_000)).await.expect("read").contains(removal);
    let elsewhere = removal(other.id, Some(host.id), 40_000);
    assert!(!store.revoke_participant(&elsewhere).await.expect("of another meeting"));
    let nobody = removal(meeting.id, Some(ParticipantId::generate()), 40_000);
    assert!(!store.revoke_participant(&nobody).await.expect("unknown"));
    let everybody = removal(meeting.id, None, 40_000);
    assert!(!store.revoke_participant(&everybody).await.expect("nobody is named"));
    let first = removal(meeting.id, Some(host.id), 40_000);
    assert!(store.revoke_participant(&first).await.expect("revoked"));
    let second = removal(meeting.id, Some(host.id), 40_001);
    assert!(!store.revoke_participant(&second).await.expect("no second time"));
    let read = store.participant(host.id).await.expect("read").expect("is there");
    assert_eq!(read.revoked_at, Some(at(40_000)));
    assert!(has(&first).await);
    for removal in [elsewhere, nobody, everybody, second] {
        assert!(!has(&removal).await);
    }
    // Both or nothing.
    let guest = stored_participant(store, meeting.id, |_| ()).await;
    let same_id = Removal { participant_id: Some(guest.id), ..first };
    let refused = store.revoke_participant(&same_id).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    assert_eq!(store.participant(guest.id).await.expect("read"), Some(guest));
}

async fn revokes_many_at_once_or_none(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let (other, _) = stored_meeting(store, organization, |_| ()).await;
    let mut guests = Vec::new();
    // More than one statement inserts.
    for _ in 0..300 {
        guests.push(stored_participant(store, meeting.id, |_| ()).await.id);
    }
    assert_eq!(store.revoke_participants(&[]).await.expect("nothing to do"), Vec::<bool>::new());
    let mut removals: Vec<Removal> =
        guests.iter().map(|guest| removal(meeting.id, Some(*guest), 60_000)).collect();
    removals.reverse();
    removals.insert(7, removal(other.id, Some(host.id), 60_000));
    removals.push(removal(meeting.id, Some(ParticipantId::generate()), 60_000));
    removals.push(removal(meeting.id, None, 60_000));
    // Named twice: once is enough.
    removals.push(removal(meeting.id, Some(guests[0]), 60_000));
    let revoked = store.revoke_participants(&removals).await.expect("revoked");
    let expected: Vec<bool> = (0..removals.len()).map(|index| index != 7 && index <= 300).collect();
    assert_eq!(revoked, expected);
    let written = store.removals(at(60_000)).await.expect("read");
    for (removal, revoked) in removals.iter().zip(revoked) {
        assert_eq!(written.contains(removal), revoked);
    }
    for guest in guests {
        let read = store.participant(guest).await.expect("read").expect("is there");
        assert_eq!(read.revoked_at, Some(at(60_000)));
    }
    let read = store.participant(host.id).await.expect("read").expect("is there");
    assert_eq!(read.revoked_at, None);

    // All of it or nothing.
    let late = stored_participant(store, meeting.id, |_| ()).await;
    let same_id = Removal { participant_id: Some(host.id), ..removals[0].clone() };
    let refused = store.revoke_participants(&[removal(meeting.id, Some(late.id), 60_001), same_id]).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    assert_eq!(store.participant(late.id).await.expect("read"), Some(late));
}

async fn removals_are_read_in_order(store: &dyn Store) {
    let meeting = MeetingId::generate();
    let mut removals = Vec::new();
    for second in [50_003, 50_001, 50_002, 50_002, 50_000] {
        let removal = Removal { meeting_over: second == 50_001, ..removal(meeting, None, second) };
        store.remove_all(&removal).await.expect("stored");
        removals.push(removal);
    }
    removals.sort_by_key(|removal| (removal.at, removal.id));
    let since = async |second| -> Vec<Removal> {
        let all = store.removals(at(second)).await.expect("read");
        all.into_iter().filter(|removal| removal.meeting_id == meeting).collect()
    };
    assert_eq!(since(50_000).await, removals);
    assert_eq!(since(50_002).await, removals[2..], "at or after");
    assert_eq!(since(50_004).await, []);
}

async fn many_at_once_each_get_their_own_answer(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let attempts = (0..64).map(async |index| {
        let mut issued = participant(meeting.id);
        issued.name = format!("participant {index}");
        match index % 8 {
            3 => issued.meeting_id = MeetingId::generate(),
            5 => issued.id = host.id,
            _ => {}
        }
        let answer = store.issue_participant(&issued).await;
        match index % 8 {
            3 => assert!(matches!(answer, Err(StoreError::NoSuchReference)), "{answer:?}"),
            5 => assert!(matches!(answer, Err(StoreError::Taken(Unique::Id))), "{answer:?}"),
            _ => {
                answer.expect("stored although others were refused");
                assert_eq!(store.participant(issued.id).await.expect("read"), Some(issued), "there at once");
            }
        }
    });
    join_all(attempts).await;
    assert_eq!(store.participant(host.id).await.expect("read"), Some(host));
}
