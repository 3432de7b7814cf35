//! The audit log: who did what.
//!
//! An entry is written after the change and before the answer. If it cannot be written, the request fails although the change
//! stays: nobody is told "done" about something that left no trace. Both are in one database, so that either both work or,
//! but for a crash in between, none. Issued join tokens are not entered a second time: the participant's record says who
//! issued it and when. Failed logins keep the address that was tried: the log is the operator's and the administrators', and
//! who attacks which account is what they look for in it.

use std::sync::Arc;

use darktower_protocol::OrganizationId;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::caller::{Caller, Identity, Visitor};
use crate::storage::model::{AuditEntry, AuditFilter, Listed, User};
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

impl Who {
    /// Somebody who is not known (yet).
    pub(super) fn nobody(organization: Option<OrganizationId>, visitor: Visitor) -> Self {
        Self { organization, kind: "nobody", id: None, request_id: visitor.request_id }
    }

    /// Somebody who has just proved to be this user.
    pub(super) fn user(user: &User, visitor: Visitor) -> Self {
        Self {
            organization: Some(user.organization_id),
            kind: "user",
            id: Some(user.id.to_string()),
            request_id: visitor.request_id,
        }
    }

    /// The server itself.
    pub(super) fn system(organization: OrganizationId) -> Self {
        Self { organization: Some(organization), kind: "system", id: None, request_id: None }
    }
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

    /// A part of the log.
    pub(super) async fn list(&self, filter: &AuditFilter) -> Result<Listed<AuditEntry>, StoreError> {
        self.store.audit_log(filter).await
    }
}
