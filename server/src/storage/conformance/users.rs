//! Users, refresh tokens, one-time secrets.

use darktower_core::access::OrganizationRole::{self, Admin, Host, Member, Owner};
use darktower_protocol::{OrganizationId, UserId};
use uuid::Uuid;

use super::examples::{
    ALL, arrival, at, next_token, refresh_token, removal, secret, setup_secret, stored_meeting,
    stored_organization, stored_participant, stored_user, user,
};
use crate::storage::model::{IssuedParticipant, Page, RefreshToken, Rotation, SecretHash, User, UserFilter};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    reads_back_what_was_written(store).await;
    refuses_what_exists(store).await;
    who_may_not_sign_in_has_no_login(store).await;
    a_login_is_of_the_password_that_was_verified(store).await;
    who_has_no_access_is_thrown_out(store).await;
    lists_by_email_role_and_text(store).await;
    has_one_owner(store).await;
    passwords_end_other_logins(store).await;
    rotates_refresh_tokens(store).await;
    a_spent_token_revokes_all(store).await;
    setup_secrets_work_once(store).await;
    deleted_users_leave_their_meetings(store).await;
}

async fn reads_back_what_was_written(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let mut written = user(organization, "Zoë", Host);
    written.password_hash = Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned());
    written.avatar_url = Some("https://example.org/ü.png".to_owned());
    written.last_login_at = Some(at(3));
    assert_eq!(store.user(written.id).await.expect("read"), None);
    store.create_user(&written, None).await.expect("stored");
    assert_eq!(store.user(written.id).await.expect("read").as_ref(), Some(&written));
    let by_email = store.user_by_email(organization, &written.email).await.expect("read");
    assert_eq!(by_email.as_ref(), Some(&written));
    let elsewhere = OrganizationId::generate();
    assert_eq!(store.user_by_email(elsewhere, &written.email).await.expect("read"), None);
    assert_eq!(store.user_by_email(organization, "%").await.expect("read"), None);

    written.email = "other@example.org".to_owned();
    written.name = "Other".to_owned();
    written.avatar_url = None;
    written.updated_at = at(9);
    // None of these is a user's to tell.
    let told = User {
        is_active: false,
        last_login_at: None,
        role: Admin,
        password_hash: None,
        organization_id: elsewhere,
        ..written.clone()
    };
    assert!(store.update_profile(&told).await.expect("written"));
    assert_eq!(store.user(written.id).await.expect("read").as_ref(), Some(&written));
    written.id = UserId::generate();
    assert!(!store.update_profile(&written).await.expect("nothing there"));
    assert!(!store.set_active(written.id, false, at(9)).await.expect("nothing there"));
}

async fn who_may_not_sign_in_has_no_login(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Member", Member).await;
    let token = refresh_token(user.id);
    assert!(store.begin_login(&token, None).await.expect("begun"));
    assert!(store.set_active(user.id, true, at(2)).await.expect("nothing new"));
    assert!(store.refresh_token(&token.hash, at(2)).await.expect("read").is_some());
    assert!(store.set_active(user.id, false, at(3)).await.expect("deactivated"));
    assert!(store.refresh_token(&token.hash, at(3)).await.expect("read").is_none());
    let read = store.user(user.id).await.expect("read").expect("there");
    assert!(!read.is_active);
    assert_eq!(read.updated_at, at(3));

    let owner = stored_user(store, organization, "Owner", Owner).await;
    assert!(!store.set_active(owner.id, false, at(3)).await.expect("refused"));
    assert!(store.user(owner.id).await.expect("read").expect("there").is_active);
}

async fn a_login_is_of_the_password_that_was_verified(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let mut user = user(organization, "Zoë", Member);
    user.password_hash = Some("old".to_owned());
    store.create_user(&user, None).await.expect("stored");
    let begins = async |verified| {
        let token = refresh_token(user.id);
        let begun = store.begin_login(&token, verified).await.expect("tried");
        assert_eq!(store.refresh_token(&token.hash, at(1)).await.expect("read").is_some(), begun);
        begun
    };
    assert!(begins(Some("old")).await);
    assert!(!begins(None).await, "it has one");
    assert!(store.set_password(user.id, "new", None, at(2)).await.expect("set"));
    assert!(!begins(Some("old")).await, "changed while the login was on its way");
    assert!(begins(Some("new")).await);
    let before = store.user(user.id).await.expect("read");
    assert!(store.set_active(user.id, false, at(3)).await.expect("deactivated"));
    assert!(!begins(Some("new")).await, "deactivated meanwhile");
    let after = store.user(user.id).await.expect("read").expect("there");
    assert_eq!(after.last_login_at, before.expect("there").last_login_at);
    assert!(store.set_active(user.id, true, at(4)).await.expect("activated"));
    assert!(begins(Some("new")).await);
}

/// Who has no access any more is out of the meetings too: at once of those it is in, for good of those it has tokens for.
async fn who_has_no_access_is_thrown_out(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (gone, other) = (
        stored_user(store, organization, "Gone", Member).await,
        stored_user(store, organization, "Other", Member).await,
    );
    let of = |user: &User| Some(user.id.to_string());
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let (running, running_host) = stored_meeting(store, organization, |_| ()).await;
    let session = store.arrive(&arrival(&running_host, 1)).await.expect("stored").expect("joined");
    let elsewhere = stored_organization(store).await.id;
    let (foreign, _) = stored_meeting(store, elsewhere, |_| ()).await;
    for (moment, delete) in [(60_000, false), (60_100, true)] {
        let tokens = async |id, user_id: Option<String>, expires_at| {
            let change = |participant: &mut IssuedParticipant| {
                participant.user_id = user_id;
                participant.expires_at = at(expires_at);
            };
            stored_participant(store, id, change).await
        };
        let thrown_out = [
            tokens(meeting.id, of(&gone), moment + 1).await,
            tokens(meeting.id, of(&gone), moment + 9).await,
            // It may be in there since before its token ended.
            tokens(running.id, of(&gone), moment - 9).await,
        ];
        let stays = [
            host.clone(),
            running_host.clone(),
            tokens(meeting.id, of(&gone), moment).await,
            tokens(meeting.id, of(&other), moment + 9).await,
            tokens(meeting.id, None, moment + 9).await,
            // An application of another organization that gives its users such ids.
            tokens(foreign.id, of(&gone), moment + 9).await,
        ];
        let mut earlier = tokens(meeting.id, of(&gone), moment + 9).await;
        let revoked = removal(meeting.id, Some(earlier.id), moment - 1);
        assert!(store.revoke_participant(&revoked).await.expect("revoked"));
        earlier.revoked_at = Some(revoked.at);

        let done = match delete {
            false => store.set_active(gone.id, false, at(moment)).await,
            true => store.delete_user(gone.id, at(moment)).await,
        };
        assert!(done.expect("done"));
        let read = async |id| store.participant(id).await.expect("read").expect("there");
        for participant in &thrown_out {
            assert_eq!(read(participant.id).await.revoked_at, Some(at(moment)));
        }
        for participant in &stays {
            assert_eq!(read(participant.id).await.revoked_at, None);
        }
        assert_eq!(read(earlier.id).await, earlier);
        let removals = store.removals(at(moment)).await.expect("read");
        let mut removed: Vec<_> = removals
            .into_iter()
            .filter(|removal| removal.at == at(moment))
            .map(|removal| (removal.meeting_id, removal.participant_id, removal.meeting_over))
            .collect();
        let mut expected: Vec<_> = thrown_out
            .iter()
            .map(|participant| (participant.meeting_id, Some(participant.id), false))
            .collect();
        removed.sort();
        expected.sort();
        assert_eq!(removed, expected);
    }
    assert!(store.end_session(session.id, at(60_200)).await.expect("ended"));
}

async fn refuses_what_exists(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let first = stored_user(store, organization, "First", Member).await;
    let second = stored_user(store, organization, "Second", Member).await;
    let refused = store.create_user(&user(organization, "First", Member), None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Email))), "{refused:?}");
    let mut same_id = user(organization, "Third", Member);
    same_id.id = first.id;
    let refused = store.create_user(&same_id, None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    let refused = store.create_user(&user(OrganizationId::generate(), "Fourth", Member), None).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    let mut taken = second.clone();
    taken.email.clone_from(&first.email);
    let refused = store.update_profile(&taken).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Email))), "{refused:?}");

    // Both or nothing.
    let invited = user(organization, "Invited", Member);
    let setup = setup_secret(organization, Some(invited.id));
    store.create_user(&invited, Some(&setup)).await.expect("stored");
    let mut another = user(organization, "Another", Member);
    let refused = store.create_user(&another, Some(&setup)).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    assert_eq!(store.user(another.id).await.expect("read"), None);
    // The same address in another organization is another user.
    another.organization_id = stored_organization(store).await.id;
    another.email.clone_from(&first.email);
    store.create_user(&another, None).await.expect("stored");
}

async fn lists_by_email_role_and_text(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let mut users = Vec::new();
    // Bytes decide, not a language: a hyphen counts, ä is after z.
    for (name, role) in [("ab", Host), ("a-c", Member), ("Zoë", Member), ("äb", Owner), ("a_b", Member)] {
        users.push(stored_user(store, organization, name, role).await);
    }
    users.sort_by(|one, other| one.email.as_bytes().cmp(other.email.as_bytes()));
    stored_user(store, stored_organization(store).await.id, "ab", Host).await;
    let list = async |role, search: Option<&str>, page| {
        let search = search.map(str::to_owned);
        let listed = store.users(&UserFilter { organization_id: organization, role, search, page }).await;
        let listed = listed.expect("listed");
        (listed.items, listed.total)
    };
    assert_eq!(list(None, None, ALL).await, (users.clone(), 5));
    assert_eq!(list(None, None, Page { limit: 2, offset: 1 }).await, (users[1..3].to_vec(), 5));
    assert_eq!(list(None, None, Page { limit: 2, offset: 9 }).await, (vec![], 5), "past the end");
    assert_eq!(list(None, None, Page { limit: 0, offset: 0 }).await, (vec![], 5), "only the total");
    assert_eq!(list(Some(Admin), None, ALL).await, (vec![], 0));
    let names = async |role: Option<OrganizationRole>, search| -> Vec<String> {
        list(role, Some(search), ALL).await.0.into_iter().map(|user| user.name).collect()
    };
    assert_eq!(names(None, "ZOË").await, ["Zoë"]);
    assert_eq!(names(None, "Ä").await, ["äb"]);
    assert_eq!(names(None, "_").await, ["a_b"]);
    assert_eq!(names(None, "%").await, [""; 0]);
    assert_eq!(names(None, "B@EXAMPLE").await, ["a_b", "ab", "äb"]);
    assert_eq!(names(Some(Host), "b@example").await, ["ab"]);
}

async fn has_one_owner(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    assert!(!store.has_owner(organization).await.expect("read"));
    let first = stored_user(store, organization, "First", Owner).await;
    assert!(store.has_owner(organization).await.expect("read"));
    let refused = store.create_user(&user(organization, "Second", Owner), None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Owner))), "{refused:?}");
    let second = stored_user(store, organization, "Second", Member).await;
    let role = async |id| store.user(id).await.expect("read").expect("is there").role;

    assert!(store.change_role(second.id, Owner, at(5)).await.expect("changed"));
    assert_eq!((role(first.id).await, role(second.id).await), (Admin, Owner));
    let changed = store.user(first.id).await.expect("read").expect("is there");
    assert_eq!(changed.updated_at, at(5));
    assert!(store.change_role(second.id, Owner, at(6)).await.expect("again"));
    assert_eq!((role(first.id).await, role(second.id).await), (Admin, Owner));
    assert!(store.change_role(first.id, Host, at(7)).await.expect("changed"));
    assert_eq!((role(first.id).await, role(second.id).await), (Host, Owner));
    // What could set its password does not, once it is the owner.
    let (firsts, seconds) =
        (setup_secret(organization, Some(first.id)), setup_secret(organization, Some(second.id)));
    for secret in [&firsts, &seconds] {
        store.put_setup_secret(secret, true).await.expect("stored");
    }
    assert!(store.change_role(first.id, Admin, at(7)).await.expect("changed"));
    assert!(store.setup_secret(&firsts.hash, at(7)).await.expect("read").is_some());
    assert!(store.change_role(first.id, Owner, at(7)).await.expect("changed"));
    assert_eq!(store.setup_secret(&firsts.hash, at(7)).await.expect("read"), None);
    assert!(!store.activate_user(&firsts.hash, "phc", None, at(7)).await.expect("ended"));
    assert!(store.setup_secret(&seconds.hash, at(7)).await.expect("read").is_some(), "another user's");
    let late = setup_secret(organization, Some(first.id));
    assert!(!store.put_setup_secret(&late, false).await.expect("is the owner by now"));
    assert_eq!(store.setup_secret(&late.hash, at(7)).await.expect("read"), None);
    assert!(store.change_role(second.id, Owner, at(7)).await.expect("changed"));
    // Somebody unknown takes nothing from the owner.
    assert!(!store.change_role(UserId::generate(), Owner, at(8)).await.expect("nobody"));
    assert_eq!(role(second.id).await, Owner);
}

async fn passwords_end_other_logins(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let (here, there) = (refresh_token(user.id), refresh_token(user.id));
    for login in [&here, &there] {
        assert!(store.begin_login(login, None).await.expect("begun"));
    }
    let is_valid = async |hash| store.refresh_token(hash, at(1)).await.expect("read").is_some();
    assert!(store.set_password(user.id, "one", Some(here.family), at(2)).await.expect("set"));
    assert!(is_valid(&here.hash).await);
    assert!(!is_valid(&there.hash).await);
    assert!(store.set_password(user.id, "two", None, at(3)).await.expect("set"));
    assert!(!is_valid(&here.hash).await);
    let read = store.user(user.id).await.expect("read").expect("is there");
    assert_eq!((read.password_hash.as_deref(), read.updated_at), (Some("two"), at(3)));
    assert!(!store.set_password(UserId::generate(), "x", None, at(4)).await.expect("nobody"));
}

async fn rotates_refresh_tokens(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let mut first = refresh_token(user.id);
    first.created_at = at(4);
    assert!(store.begin_login(&first, None).await.expect("begun"));
    let read = store.user(user.id).await.expect("read").expect("is there");
    assert_eq!(read.last_login_at, Some(at(4)));
    let refused = store.begin_login(&first, None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    assert!(!store.begin_login(&refresh_token(UserId::generate()), None).await.expect("nobody"));

    assert_eq!(store.refresh_token(&first.hash, at(3599)).await.expect("read").as_ref(), Some(&first));
    assert_eq!(store.refresh_token(&first.hash, at(3600)).await.expect("read"), None, "ended");
    let second = next_token(&first);
    let rotate = async |old: &SecretHash, new: &RefreshToken, now| {
        store.rotate_refresh_token(old, new, at(now)).await.expect("tried")
    };
    assert_eq!(rotate(&first.hash, &second, 3600).await, Rotation::Unknown, "ended");
    assert_eq!(rotate(&secret(), &second, 5).await, Rotation::Unknown);
    assert_eq!(rotate(&first.hash, &second, 5).await, Rotation::Rotated);
    assert_eq!(store.refresh_token(&first.hash, at(6)).await.expect("read"), None, "spent");
    assert_eq!(store.refresh_token(&second.hash, at(6)).await.expect("read").as_ref(), Some(&second));

    // The end of a login ends its family, whichever of its tokens is shown, and no other.
    let elsewhere = refresh_token(user.id);
    assert!(store.begin_login(&elsewhere, None).await.expect("begun"));
    assert!(!store.end_login(&secret()).await.expect("unknown"));
    assert!(store.end_login(&first.hash).await.expect("ended"));
    assert_eq!(rotate(&second.hash, &next_token(&second), 7).await, Rotation::Unknown);
    assert_eq!(store.refresh_token(&elsewhere.hash, at(8)).await.expect("read").as_ref(), Some(&elsewhere));
    assert_eq!(store.end_logins(user.id).await.expect("ended"), 1);
    assert_eq!(store.end_logins(user.id).await.expect("none left"), 0);
    assert_eq!(store.refresh_token(&elsewhere.hash, at(8)).await.expect("read"), None);
}

async fn a_spent_token_revokes_all(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let bystander = stored_user(store, organization, "Yan", Member).await;
    let (first, elsewhere, other) =
        (refresh_token(user.id), refresh_token(user.id), refresh_token(bystander.id));
    for login in [&first, &elsewhere, &other] {
        assert!(store.begin_login(login, None).await.expect("begun"));
    }
    let second = next_token(&first);
    let rotate = async |old: &SecretHash, new: &RefreshToken, now| {
        store.rotate_refresh_token(old, new, at(now)).await.expect("tried")
    };
    assert_eq!(rotate(&first.hash, &second, 1).await, Rotation::Rotated);
    assert_eq!(rotate(&first.hash, &next_token(&first), 2).await, Rotation::Reused(user.id));
    for token in [&second, &elsewhere] {
        assert_eq!(store.refresh_token(&token.hash, at(3)).await.expect("read"), None);
        assert_eq!(rotate(&token.hash, &next_token(token), 3).await, Rotation::Unknown);
    }
    assert!(store.refresh_token(&other.hash, at(3)).await.expect("read").is_some(), "another user's");
}

async fn setup_secrets_work_once(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    // The owner's: a new one replaces the one before.
    let (old, owners) = (setup_secret(organization, None), setup_secret(organization, None));
    store.put_setup_secret(&old, true).await.expect("stored");
    store.put_setup_secret(&owners, true).await.expect("stored");
    assert_eq!(store.setup_secret(&old.hash, at(1)).await.expect("read"), None);
    assert_eq!(store.setup_secret(&owners.hash, at(3599)).await.expect("read").as_ref(), Some(&owners));
    assert_eq!(store.setup_secret(&owners.hash, at(3600)).await.expect("read"), None, "ended");
    let member = user(organization, "Member", Member);
    let members = setup_secret(organization, Some(member.id));
    store.create_user(&member, Some(&members)).await.expect("stored");
    assert_eq!(store.setup_secret(&members.hash, at(1)).await.expect("read").as_ref(), Some(&members));

    let owner = user(organization, "Owner", Owner);
    assert!(!store.create_owner(&old.hash, &owner).await.expect("replaced"));
    assert!(!store.create_owner(&members.hash, &owner).await.expect("not an owner's"));
    let mut late = owner.clone();
    late.created_at = at(3600);
    assert!(!store.create_owner(&owners.hash, &late).await.expect("ended"));
    let mut same_email = owner.clone();
    same_email.email.clone_from(&member.email);
    let refused = store.create_owner(&owners.hash, &same_email).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Email))), "{refused:?}");
    assert!(store.create_owner(&owners.hash, &owner).await.expect("not used up by what failed"));
    assert_eq!(store.user(owner.id).await.expect("read").as_ref(), Some(&owner));
    assert!(!store.create_owner(&owners.hash, &user(organization, "Next", Owner)).await.expect("used"));
    let without_end = {
        let mut secret = setup_secret(organization, None);
        secret.expires_at = None;
        secret
    };
    store.put_setup_secret(&without_end, true).await.expect("stored");
    let refused = store.create_owner(&without_end.hash, &user(organization, "Next", Owner)).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Owner))), "{refused:?}");

    let activate =
        async |hash, name, seconds| store.activate_user(hash, "phc", name, at(seconds)).await.expect("tried");
    let login = refresh_token(member.id);
    assert!(store.begin_login(&login, None).await.expect("begun"));
    assert!(!activate(&without_end.hash, None, 1).await, "an owner's");
    assert!(!activate(&members.hash, None, 3600).await, "ended");
    assert!(activate(&members.hash, Some("Renamed Ä"), 10).await);
    assert!(!activate(&members.hash, None, 11).await, "used");
    let read = store.user(member.id).await.expect("read").expect("is there");
    assert_eq!((read.name.as_str(), read.password_hash.as_deref()), ("Renamed Ä", Some("phc")));
    assert_eq!(store.refresh_token(&login.hash, at(11)).await.expect("read"), None, "ended with it");
    let search = Some("renamed ä".to_owned());
    let filter = UserFilter { organization_id: organization, role: None, search, page: ALL };
    assert_eq!(store.users(&filter).await.expect("listed").total, 1, "found by the new name");

    let again = setup_secret(organization, Some(member.id));
    store.put_setup_secret(&again, true).await.expect("stored");
    assert!(activate(&again.hash, None, 12).await);
    let read = store.user(member.id).await.expect("read").expect("is there");
    assert_eq!((read.name.as_str(), read.updated_at), ("Renamed Ä", at(12)));
    let refused = store.put_setup_secret(&setup_secret(organization, Some(UserId::generate())), true).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    assert!(store.setup_secret(&without_end.hash, at(1_000_000)).await.expect("read").is_some());
}

async fn deleted_users_leave_their_meetings(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Host).await;
    let login = refresh_token(user.id);
    assert!(store.begin_login(&login, None).await.expect("begun"));
    let setup = setup_secret(organization, Some(user.id));
    store.put_setup_secret(&setup, true).await.expect("stored");
    let (meeting, _) =
        stored_meeting(store, organization, |meeting| meeting.created_by = Some(user.id.to_string())).await;
    store.invite(meeting.id, user.id, at(1)).await.expect("stored");
    assert!(store.delete_user(user.id, at(1)).await.expect("deleted"));
    assert!(!store.delete_user(user.id, at(1)).await.expect("no second time"));
    assert_eq!(store.refresh_token(&login.hash, at(1)).await.expect("read"), None);
    assert_eq!(store.setup_secret(&setup.hash, at(1)).await.expect("read"), None);
    assert!(!store.is_invited(meeting.id, user.id).await.expect("read"));
    assert_eq!(store.meeting(meeting.id).await.expect("read"), Some(meeting));
    assert!(!store.begin_login(&next_token(&login), None).await.expect("nobody"));
    assert!(store.set_password(user.id, "x", Some(Uuid::nil()), at(1)).await.is_ok_and(|set| !set));
}
