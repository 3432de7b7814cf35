//! The audit log: who did what.
//!
//! Issued join tokens are not entered a second time: the participant's record says who issued it and when.

use std::sync::Arc;

use darktower_protocol::OrganizationId;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::caller::{Caller, Identity};
use crate::storage::model::AuditEntry;
use crate::storage::{Store, StoreError};

/// Writes the audit log.
pub(super) struct Audit {
    store: Arc<dyn Store>,
}

/// Who did it, for the log.
pub(super) struct Who {
    pub(super) organization: Option<OrganizationId>,
    pub(super) kind: &'static str,
    pub(super) id: Option<String>,
    pub(super) request_id: Option<String>,
}

impl From<&Caller> for Who {
    fn from(caller: &Caller) -> Self {
        let kind = match caller.identity {
            Identity::User(_) => "user",
            Identity::Client(_) => "client",
            Identity::Developer => "developer",
        };
        Self {
            organization: Some(caller.organization),
            kind,
            id: caller.id(),
            request_id: caller.request_id.clone(),
        }
    }
}

impl Audit {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Enters that `who` has done `action` (`meeting.create`) to `target` (its kind and id). `details` is an object
    /// without secrets.
    pub(super) async fn record(
        &self,
        who: impl Into<Who>,
        action: &'static str,
        target: Option<(&'static str, String)>,
        details: Value,
    ) -> Result<(), StoreError> {
        let who = who.into();
        let (target_kind, target_id) = target.unzip();
        let entry = AuditEntry {
            id: Uuid::now_v7(),
            organization_id: who.organization,
            at: OffsetDateTime::now_utc(),
            actor_kind: who.kind.to_owned(),
            actor_id: who.id,
            action: action.to_owned(),
            target_kind: target_kind.map(str::to_owned),
            target_id,
            details,
            request_id: who.request_id,
        };
        self.store.append_audit(&entry).await
    }
}
