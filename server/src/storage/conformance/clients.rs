//! Machine clients.

use darktower_protocol::OrganizationId;

use super::examples::{ALL, client, secret, stored_organization};
use crate::storage::model::Page;
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let mut clients = Vec::new();
    for name in ["b", "a-b", "ab"] {
        let client = client(organization, &format!("{name}-{organization}"));
        assert_eq!(store.client(&client.id).await.expect("read"), None);
        store.create_client(&client).await.expect("stored");
        assert_eq!(store.client(&client.id).await.expect("read").as_ref(), Some(&client));
        clients.push(client);
    }
    clients.sort_by(|one, other| one.id.cmp(&other.id));
    let listed = store.clients(organization, ALL).await.expect("listed");
    assert_eq!((listed.items.as_slice(), listed.total), (clients.as_slice(), 3));
    let listed = store.clients(organization, Page { limit: 1, offset: 1 }).await.expect("listed");
    assert_eq!((listed.items.as_slice(), listed.total), (&clients[1..2], 3));

    let refused = store.create_client(&clients[0]).await;
    assert!(matches!(refused, Err(StoreError::Taken(Unique::Id))), "{refused:?}");
    let refused = store.create_client(&client(OrganizationId::generate(), "nowhere")).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");

    let hash = secret();
    assert!(store.set_client_secret(&clients[0].id, &hash).await.expect("set"));
    assert!(!store.set_client_secret("nobody", &hash).await.expect("tried"));
    clients[0].secret_hash = hash;
    assert_eq!(store.client(&clients[0].id).await.expect("read").as_ref(), Some(&clients[0]));
    let mut without_scope = client(organization, &format!("z-{organization}"));
    without_scope.scopes.clear();
    store.create_client(&without_scope).await.expect("stored");
    assert_eq!(store.client(&without_scope.id).await.expect("read").as_ref(), Some(&without_scope));

    assert!(store.delete_client(&clients[0].id).await.expect("deleted"));
    assert!(!store.delete_client(&clients[0].id).await.expect("no second time"));
    assert_eq!(store.client(&clients[0].id).await.expect("read"), None);
    assert_eq!(store.clients(organization, ALL).await.expect("listed").total, 3);
}
