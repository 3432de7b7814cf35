//! Presets.

use darktower_protocol::OrganizationId;

use super::examples::{at, preset, stored_organization};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (mut own, mut shipped) = (preset("own ü"), preset("a_shipped"));
    shipped.is_shipped = true;
    for written in [&own, &shipped] {
        let name = &written.preset.name;
        assert_eq!(store.preset(organization, name).await.expect("read"), None);
        assert!(store.create_preset(organization, written, 2).await.expect("stored"));
        assert_eq!(store.preset(organization, name).await.expect("read").as_ref(), Some(written));
        assert_eq!(store.preset(OrganizationId::generate(), name).await.expect("read"), None);
    }
    assert_eq!(store.presets(organization).await.expect("read"), [shipped.clone(), own.clone()]);
    assert!(!store.create_preset(organization, &preset("third"), 2).await.expect("full"));
    assert_eq!(store.preset(organization, "third").await.expect("read"), None);
    let refused = store.create_preset(organization, &own, 3).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::PresetName))), "{refused:?}");
    let refused = store.create_preset(OrganizationId::generate(), &own, 2).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    let elsewhere = stored_organization(store).await.id;
    assert!(store.create_preset(elsewhere, &own, 2).await.expect("another organization's"));

    for changed in [&mut own, &mut shipped] {
        changed.preset.permissions.can_record ^= true;
        changed.updated_at = at(7);
        assert!(store.update_preset(organization, changed).await.expect("written"));
        let read = store.preset(organization, &changed.preset.name).await.expect("read");
        assert_eq!(read.as_ref(), Some(&*changed));
    }
    assert!(!store.update_preset(organization, &preset("unknown")).await.expect("nothing there"));
    assert!(!store.delete_preset(organization, "a_shipped").await.expect("stays"));
    assert!(store.delete_preset(organization, "own ü").await.expect("deleted"));
    assert!(!store.delete_preset(organization, "own ü").await.expect("no second time"));
    assert_eq!(store.presets(organization).await.expect("read"), [shipped]);
    assert_eq!(store.presets(elsewhere).await.expect("read").len(), 1);
}
