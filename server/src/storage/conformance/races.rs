//! Several at once.

use darktower_core::access::OrganizationRole::{Admin, Member, Owner};
use futures_util::future::{join, join_all};

use super::examples::{
    ALL, arrival, at, meeting, next_token, preset, refresh_token, removal, setup_secret, stored_meeting,
    stored_organization, stored_participant, stored_user, user,
};
use crate::storage::model::{MeetingFilter, Rotation, UserFilter};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    accepts_writers_at_once(store).await;
    for _ in 0..10 {
        one_of_two_rotations_wins(store).await;
        a_revoked_user_keeps_no_token(store).await;
        one_owner_is_created(store).await;
        one_activation_wins(store).await;
        one_owner_remains(store).await;
    }
    one_update_wins(store).await;
    one_change_of_an_organization_wins(store).await;
    one_last_preset_fits(store).await;
    arrivals_share_a_session(store).await;
    stays_and_counts_agree(store).await;
    lists_and_totals_agree(store).await;
    one_revocation_wins(store).await;
}

async fn accepts_writers_at_once(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let writes = (0..64).map(async |_| {
        let (meeting, host) = meeting(organization);
        store.create_meeting(&meeting, &host).await.expect("waits for its turn");
        store.meeting(meeting.id).await.expect("read").expect("there at once");
    });
    join_all(writes).await;
}

async fn one_of_two_rotations_wins(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let (token, elsewhere) = (refresh_token(user.id), refresh_token(user.id));
    assert!(store.begin_login(&token, None).await.expect("begun"));
    assert!(store.begin_login(&elsewhere, None).await.expect("begun"));
    let replacements = [next_token(&token), next_token(&token)];
    let rotate = |new| store.rotate_refresh_token(&token.hash, new, at(1));
    let (one, other) = join(rotate(&replacements[0]), rotate(&replacements[1])).await;
    let answers = [one.expect("tried"), other.expect("tried")];
    assert!(answers.contains(&Rotation::Rotated), "{answers:?}");
    assert!(answers.contains(&Rotation::Reused(user.id)), "{answers:?}");
    for token in [&replacements[0], &replacements[1], &elsewhere] {
        assert_eq!(store.refresh_token(&token.hash, at(2)).await.expect("read"), None, "all are revoked");
    }
}

async fn a_revoked_user_keeps_no_token(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let token = refresh_token(user.id);
        assert!(store.begin_login(&token, None).await.expect("begun"));
        tokens.push((next_token(&token), token));
    }
    let rotations =
        join_all(tokens.iter().map(|(new, old)| store.rotate_refresh_token(&old.hash, new, at(1))));
    let (answers, revoked) = join(rotations, store.end_logins(user.id)).await;
    revoked.expect("done");
    for (answer, (new, _)) in answers.into_iter().zip(&tokens) {
        assert!(matches!(answer.expect("tried"), Rotation::Rotated | Rotation::Unknown));
        assert_eq!(store.refresh_token(&new.hash, at(2)).await.expect("read"), None);
    }
}

async fn one_owner_is_created(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let secret = setup_secret(organization, None);
    store.put_setup_secret(&secret, true).await.expect("stored");
    let owners: Vec<_> = (0..4).map(|index| user(organization, &format!("o{index}"), Owner)).collect();
    let answers = join_all(owners.iter().map(|owner| store.create_owner(&secret.hash, owner))).await;
    let created = answers.into_iter().filter(|answer| *answer.as_ref().expect("tried")).count();
    assert_eq!(created, 1);
    let filter = UserFilter { organization_id: organization, role: None, search: None, page: ALL };
    assert_eq!(store.users(&filter).await.expect("listed").total, 1);
}

async fn one_activation_wins(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let invited = user(organization, "Zoë", Member);
    let secret = setup_secret(organization, Some(invited.id));
    store.create_user(&invited, Some(&secret)).await.expect("stored");
    let passwords = ["a", "b", "c", "d"];
    let answers =
        join_all(passwords.map(|password| store.activate_user(&secret.hash, password, None, at(1)))).await;
    let winners: Vec<_> =
        passwords.iter().zip(answers).filter(|(_, answer)| *answer.as_ref().expect("tried")).collect();
    assert_eq!(winners.len(), 1);
    let read = store.user(invited.id).await.expect("read").expect("is there");
    assert_eq!(read.password_hash.as_deref(), Some(*winners[0].0));
}

async fn one_owner_remains(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let mut users = vec![stored_user(store, organization, "o", Owner).await];
    for index in 0..3 {
        users.push(stored_user(store, organization, &format!("u{index}"), Member).await);
    }
    let changes = join_all(users[1..].iter().map(|user| store.change_role(user.id, Owner, at(1)))).await;
    for change in changes {
        assert!(change.expect("done, one after another"));
    }
    let mut roles = Vec::new();
    for user in &users {
        roles.push(store.user(user.id).await.expect("read").expect("is there").role);
    }
    assert_eq!(roles[0], Admin);
    assert_eq!(roles.iter().filter(|role| **role == Owner).count(), 1);
    assert_eq!(roles.iter().filter(|role| **role == Admin).count(), 3);
}

async fn one_update_wins(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, _) = stored_meeting(store, organization, |_| ()).await;
    let updates = join_all((0..8).map(async |index| {
        let mut meeting = meeting.clone();
        meeting.max_participants = index;
        store.update_meeting(&meeting, None).await.expect("tried")
    }));
    assert_eq!(updates.await.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(store.meeting(meeting.id).await.expect("read").expect("is there").version, 1);
}

async fn one_change_of_an_organization_wins(store: &dyn Store) {
    let organization = stored_organization(store).await;
    let changes = join_all((0..8).map(async |index| {
        let mut changed = organization.clone();
        changed.settings.max_participants = Some(index);
        changed.updated_at = at(100 + i64::from(index));
        store.update_organization(&changed, organization.updated_at).await.expect("tried")
    }));
    assert_eq!(changes.await.into_iter().filter(|won| *won).count(), 1);
}

async fn one_last_preset_fits(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    assert!(store.create_preset(organization, &preset("first"), 2).await.expect("stored"));
    let additions = join_all((0..8).map(async |index| {
        store.create_preset(organization, &preset(&format!("p{index}")), 2).await.expect("tried")
    }));
    assert_eq!(additions.await.into_iter().filter(|added| *added).count(), 1);
    assert_eq!(store.presets(organization).await.expect("read").len(), 2);
}

async fn arrivals_share_a_session(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, _) = stored_meeting(store, organization, |_| ()).await;
    let mut participants = Vec::new();
    for _ in 0..32 {
        participants.push(stored_participant(store, meeting.id, |guest| guest.is_guest = true).await);
    }
    let sessions = join_all(participants.iter().map(async |participant| {
        store.arrive(&arrival(participant, 1)).await.expect("stored").expect("joined").id
    }))
    .await;
    assert!(sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
    let read = store.active_session(meeting.id).await.expect("read").expect("runs");
    assert_eq!((read.participant_count, read.live_count, read.peak_count), (32, 32, 32));
    assert_eq!(store.count_live_guests(meeting.id).await.expect("counted"), 32);
    assert_eq!(
        store.meeting(meeting.id).await.expect("read").expect("is there").version,
        1,
        "one first start"
    );
}

/// Joins, leaves and the end in any order: nobody is live in what has ended.
async fn stays_and_counts_agree(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    for _ in 0..5 {
        let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
        let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined").id;
        let mut participants = Vec::new();
        for _ in 0..8 {
            participants.push(stored_participant(store, meeting.id, |_| ()).await);
        }
        let comings = join_all(participants.iter().enumerate().map(async |(index, participant)| {
            store.arrive(&arrival(participant, 2)).await.expect("tried");
            if index % 2 == 0 {
                store.depart(session, participant.id, at(3), "voluntary").await.expect("tried");
            }
        }));
        let end = async {
            store.depart(session, host.id, at(3), "voluntary").await.expect("tried");
            store.end_session(session, at(4)).await.expect("tried")
        };
        let (_, ended) = join(comings, end).await;
        assert!(ended);
        let read = store.session(session).await.expect("read").expect("is kept");
        let stays = store.attendances(session, ALL).await.expect("listed");
        assert_eq!((read.live_count, u64::from(read.participant_count)), (0, stays.total));
        assert!(stays.items.iter().all(|stay| stay.left_at.is_some()));
        assert_eq!(
            store.active_session(meeting.id).await.expect("read"),
            None,
            "none begins in what is over"
        );
    }
}

/// A list and its total are of the same moment, although meetings come meanwhile.
async fn lists_and_totals_agree(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let filter = MeetingFilter {
        organization_id: organization,
        active: None,
        status: None,
        user_id: None,
        visible_to: None,
        search: None,
        from: None,
        to: None,
        page: ALL,
    };
    let writes = join_all((0..32).map(async |_| {
        stored_meeting(store, organization, |_| ()).await;
    }));
    let reads = join_all((0..32).map(async |_| {
        let listed = store.meetings(&filter).await.expect("listed");
        assert_eq!(u64::try_from(listed.items.len()).expect("small"), listed.total);
    }));
    join(writes, reads).await;
}

async fn one_revocation_wins(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let revocations = (0..8).map(async |second| {
        store.revoke_participant(&removal(meeting.id, Some(host.id), second)).await.expect("tried")
    });
    assert_eq!(join_all(revocations).await.into_iter().filter(|won| *won).count(), 1);
    // Two of one id at the same time.
    let (meeting, _) = stored_meeting(store, organization, |_| ()).await;
    let issued = super::participant(meeting.id);
    let (one, other) = join(store.issue_participant(&issued), store.issue_participant(&issued)).await;
    assert!(one.is_ok() != other.is_ok());
    let refused = one.and(other);
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
}
