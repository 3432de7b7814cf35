//! Who did what.

use darktower_protocol::OrganizationId;
use uuid::Uuid;

use super::examples::{ALL, at};
use crate::storage::model::{AuditEntry, AuditFilter, Page};
use crate::storage::store::Store;

/// An entry about a meeting, so many seconds in.
pub(super) fn entry(organization: Option<OrganizationId>, action: &str, seconds: i64) -> AuditEntry {
    AuditEntry {
        id: Uuid::now_v7(),
        organization_id: organization,
        at: at(seconds),
        actor_kind: "user".to_owned(),
        actor_id: Some("zoe".to_owned()),
        action: action.to_owned(),
        target_kind: Some("meeting".to_owned()),
        target_id: Some("m".to_owned()),
        details: serde_json::json!({"name": "Straße '\"\u{0}", "changed": ["a", 1, null, 1.5]}),
        request_id: Some("r".to_owned()),
    }
}

/// Everything in the log of an organization.
pub(super) fn filter(organization: OrganizationId) -> AuditFilter {
    AuditFilter {
        organization_id: organization,
        actor_id: None,
        action: None,
        target_id: None,
        from: None,
        to: None,
        page: ALL,
    }
}

pub(super) async fn run(store: &dyn Store) {
    let organization = OrganizationId::generate();
    let mut entries = Vec::new();
    for second in 0..4 {
        entries.push(entry(Some(organization), "meeting.create", second));
    }
    entries[1].actor_id = None;
    entries[1].target_kind = None;
    entries[1].target_id = None;
    entries[1].request_id = None;
    entries[2].actor_id = Some("other".to_owned());
    entries[3].action = "meeting.delete".to_owned();
    for entry in &entries {
        store.append_audit(entry).await.expect("stored");
    }
    store.append_audit(&entry(None, "login.fail", 0)).await.expect("stored");
    store.append_audit(&entry(Some(OrganizationId::generate()), "meeting.create", 0)).await.expect("stored");
    entries.reverse();

    let all = filter(organization);
    let list = async |filter: AuditFilter| {
        let listed = store.audit_log(&filter).await.expect("listed");
        (listed.items, listed.total)
    };
    assert_eq!(list(all.clone()).await, (entries.clone(), 4), "newest first");
    let page = Page { limit: 2, offset: 1 };
    assert_eq!(list(AuditFilter { page, ..all.clone() }).await, (entries[1..3].to_vec(), 4));
    let from = Some(at(1));
    assert_eq!(list(AuditFilter { from, ..all.clone() }).await, (entries[..3].to_vec(), 3), "at or after");
    let to = Some(at(1));
    assert_eq!(list(AuditFilter { to, ..all.clone() }).await, (entries[3..].to_vec(), 1), "before");
    let actor_id = Some("other".to_owned());
    assert_eq!(list(AuditFilter { actor_id, ..all.clone() }).await, (entries[1..2].to_vec(), 1));
    let action = Some("meeting.delete".to_owned());
    assert_eq!(list(AuditFilter { action, ..all.clone() }).await, (entries[..1].to_vec(), 1));
    let target_id = Some("m".to_owned());
    assert_eq!(list(AuditFilter { target_id, ..all }).await.1, 3);
}
