use async_trait::async_trait;
use darktower_protocol::OrganizationId;
use futures_util::future::BoxFuture;

use super::dialect::{Backend, Connection, Row};
use super::row::{get, json, listed, time, to_json};
use super::{insert_rows, page};
use crate::storage::model::{AuditEntry, AuditFilter, Listed};
use crate::storage::representation::{micros, optional_text, text};
use crate::storage::store::{AuditStore, Stored};

#[async_trait]
impl AuditStore for Backend {
    async fn append_audit(&self, entry: &AuditEntry) -> Stored<()> {
        self.queues.audit_entries.write(entry.clone()).await
    }

    async fn audit_log(&self, filter: &AuditFilter) -> Stored<Listed<AuditEntry>> {
        let rows = sqlx::query(page!(
            "SELECT * FROM audit_entries WHERE organization_id = $1 AND ($2 IS NULL OR actor_id = $2) \
             AND ($3 IS NULL OR action = $3) AND ($4 IS NULL OR target_id = $4) AND ($5 IS NULL OR at >= $5) \
             AND ($6 IS NULL OR at < $6)",
            order by "at DESC, id DESC", limit "$7", offset "$8"
        ))
        .bind(filter.organization_id.as_uuid())
        .bind(optional_text(filter.actor_id.as_deref()))
        .bind(optional_text(filter.action.as_deref()))
        .bind(optional_text(filter.target_id.as_deref()))
        .bind(filter.from.map(micros))
        .bind(filter.to.map(micros))
        .bind(i64::from(filter.page.limit))
        .bind(i64::from(filter.page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "id", read_entry)
    }
}

/// Adds entries to the log.
pub(super) fn insert_entries<'c>(
    connection: &'c mut Connection,
    entries: &'c [AuditEntry],
) -> BoxFuture<'c, Stored<Vec<()>>> {
    Box::pin(async move {
        let details = entries.iter().map(|entry| to_json(&entry.details)).collect::<Stored<Vec<_>>>()?;
        let rows: Vec<_> = entries.iter().zip(details).collect();
        let insert = "INSERT INTO audit_entries (id, organization_id, at, actor_kind, actor_id, action, target_kind, \
                      target_id, details, request_id) VALUES";
        let statements = insert_rows(insert, 10, &rows, |query, (entry, details)| {
            query
                .bind(entry.id)
                .bind(entry.organization_id.map(|id| *id.as_uuid()))
                .bind(micros(entry.at))
                .bind(text(&entry.actor_kind))
                .bind(optional_text(entry.actor_id.as_deref()))
                .bind(text(&entry.action))
                .bind(optional_text(entry.target_kind.as_deref()))
                .bind(optional_text(entry.target_id.as_deref()))
                .bind(details)
                .bind(optional_text(entry.request_id.as_deref()))
        });
        for statement in statements {
            statement.execute(&mut *connection).await?;
        }
        Ok(vec![(); entries.len()])
    })
}

fn read_entry(row: &Row) -> Stored<AuditEntry> {
    let organization_id: Option<uuid::Uuid> = get(row, "organization_id")?;
    Ok(AuditEntry {
        id: get(row, "id")?,
        organization_id: organization_id.map(OrganizationId::from_uuid),
        at: time(row, "at")?,
        actor_kind: get(row, "actor_kind")?,
        actor_id: get(row, "actor_id")?,
        action: get(row, "action")?,
        target_kind: get(row, "target_kind")?,
        target_id: get(row, "target_id")?,
        details: json(row, "details")?,
        request_id: get(row, "request_id")?,
    })
}
