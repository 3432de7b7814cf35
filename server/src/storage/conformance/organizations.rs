//! Organizations, and what goes with one.

use darktower_core::access::OrganizationRole;
use darktower_core::access::guests::GuestAccess;
use darktower_protocol::OrganizationId;

use super::examples::{
    ALL, arrival, at, client, organization, preset, refresh_token, setup_secret, stored_meeting,
    stored_organization, stored_user, user,
};
use crate::storage::conformance::audit::{entry, filter};
use crate::storage::model::{OrganizationSettings, User};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    reads_back_what_was_written(store).await;
    refuses_what_exists(store).await;
    takes_everything_with_it(store).await;
}

async fn reads_back_what_was_written(store: &dyn Store) {
    let before = store.count_organizations().await.expect("counted");
    let mut organization = organization();
    assert_eq!(store.organization(organization.id).await.expect("read"), None);
    store.create_organization(&organization, &[preset("b"), preset("a")], None).await.expect("stored");
    assert_eq!(store.count_organizations().await.expect("counted"), before + 1);
    assert_eq!(store.organization(organization.id).await.expect("read").as_ref(), Some(&organization));
    let by_slug = store.organization_by_slug(&organization.slug).await.expect("read");
    assert_eq!(by_slug.as_ref(), Some(&organization));
    for other in [organization.slug.to_uppercase().as_str(), "%", "", "o-"] {
        assert_eq!(store.organization_by_slug(other).await.expect("read"), None, "{other}");
    }
    assert_eq!(store.presets(organization.id).await.expect("read"), [preset("a"), preset("b")]);

    let kept = organization.clone();
    organization.name = "Other".to_owned();
    organization.slug = "is not written".to_owned();
    organization.settings = OrganizationSettings {
        guest_access: GuestAccess::Disabled,
        max_concurrent_meetings: Some(0),
        max_participants: Some(u32::MAX),
        max_meeting_minutes: Some(u32::MAX),
        hosts_host_everywhere: true,
    };
    organization.created_at = at(50);
    organization.updated_at = at(60);
    assert!(!store.update_organization(&organization, at(59)).await.expect("somebody else was first"));
    assert_eq!(store.organization(organization.id).await.expect("read").as_ref(), Some(&kept));
    assert!(store.update_organization(&organization, kept.updated_at).await.expect("written"));
    assert!(!store.update_organization(&organization, kept.updated_at).await.expect("no second time"));
    organization.slug = kept.slug;
    organization.created_at = kept.created_at;
    assert_eq!(store.organization(organization.id).await.expect("read").as_ref(), Some(&organization));
    organization.id = OrganizationId::generate();
    assert!(!store.update_organization(&organization, at(60)).await.expect("nothing there"));
}

async fn refuses_what_exists(store: &dyn Store) {
    let first = stored_organization(store).await;
    let mut same_slug = organization();
    same_slug.slug.clone_from(&first.slug);
    let refused = store.create_organization(&same_slug, &[], None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::OrganizationSlug))), "{refused:?}");
    let mut same_id = organization();
    same_id.id = first.id;
    let refused = store.create_organization(&same_id, &[], None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    // All or nothing.
    let third = organization();
    let refused = store.create_organization(&third, &[preset("a"), preset("a")], None).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::PresetName))), "{refused:?}");
    assert_eq!(store.organization(third.id).await.expect("read"), None);
    let owner = user(third.id, "Owner", OrganizationRole::Owner);
    store.create_organization(&third, &[], Some(&owner)).await.expect("stored");
    assert_eq!(store.user(owner.id).await.expect("read"), Some(owner.clone()));
    let fourth = organization();
    let same_id = User { organization_id: fourth.id, ..owner };
    let refused = store.create_organization(&fourth, &[], Some(&same_id)).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    assert_eq!(store.organization(fourth.id).await.expect("read"), None);
}

async fn takes_everything_with_it(store: &dyn Store) {
    let organization = organization();
    let id = organization.id;
    store.create_organization(&organization, &[preset("a")], None).await.expect("stored");
    let owner = user(id, "Owner", OrganizationRole::Owner);
    let setup = setup_secret(id, Some(owner.id));
    store.create_user(&owner, Some(&setup)).await.expect("stored");
    let token = refresh_token(owner.id);
    assert!(store.begin_login(&token, None).await.expect("begun"));
    let machine = client(id, &format!("c-{id}"));
    store.create_client(&machine).await.expect("stored");
    let (meeting, host) = stored_meeting(store, id, |_| ()).await;
    store.invite(meeting.id, owner.id, at(0)).await.expect("stored");
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    store.append_audit(&entry(Some(id), "meeting.create", 0)).await.expect("stored");
    let other = stored_organization(store).await;
    let stranger = stored_user(store, other.id, "Stranger", OrganizationRole::Owner).await;

    assert!(store.delete_organization(id).await.expect("deleted"));
    assert!(!store.delete_organization(id).await.expect("no second time"));
    assert_eq!(store.organization(id).await.expect("read"), None);
    assert_eq!(store.presets(id).await.expect("read"), []);
    assert_eq!(store.user(owner.id).await.expect("read"), None);
    assert_eq!(store.refresh_token(&token.hash, at(1)).await.expect("read"), None);
    assert_eq!(store.setup_secret(&setup.hash, at(1)).await.expect("read"), None);
    assert_eq!(store.client(&machine.id).await.expect("read"), None);
    assert_eq!(store.meeting(meeting.id).await.expect("read"), None);
    assert_eq!(store.participant(host.id).await.expect("read"), None);
    assert_eq!(store.session(session.id).await.expect("read"), None);
    assert_eq!(store.attendances(session.id, ALL).await.expect("read").total, 0);
    assert_eq!(store.audit_log(&filter(id)).await.expect("read").total, 0);
    assert_eq!(store.user(stranger.id).await.expect("read"), Some(stranger));
    // What is noted about the deletion stays.
    store.append_audit(&entry(Some(id), "organization.delete", 9)).await.expect("stored");
    assert_eq!(store.audit_log(&filter(id)).await.expect("read").total, 1);
}
