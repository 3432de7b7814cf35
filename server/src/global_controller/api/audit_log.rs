//! Who did what in the caller's organization.

use axum::Json;
use axum::extract::State;
use darktower_core::access::Action;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{page, rfc3339, time};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::ApiError;
use crate::global_controller::extract::QueryOf;
use crate::global_controller::rules::{Access, Rule};
use crate::storage::model::{AuditEntry, AuditFilter};

pub(in crate::global_controller) const RULES: &[Rule] = &[Rule {
    method: "GET",
    path: "/api/v1/audit-log",
    access: Access::Needs(Action::ReadAuditLog),
    errors: &[],
}];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_audit_log))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAuditLog {
    /// Only what this user or client did.
    actor: Option<String>,
    /// Only this action.
    #[param(example = "user.login")]
    action: Option<String>,
    /// Only what was done to the thing with this id.
    target: Option<String>,
    /// Only at or after.
    #[param(format = DateTime, example = "2026-01-16T00:00:00Z")]
    from: Option<String>,
    /// Only before.
    #[param(format = DateTime, example = "2026-01-17T00:00:00Z")]
    to: Option<String>,
    /// How many to return at most. Default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// How many of the first to leave out. Default 0.
    offset: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AuditLog {
    /// Newest first.
    entries: Vec<AuditEntryBody>,
    /// How many match in all.
    #[schema(example = 1)]
    total: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct AuditEntryBody {
    #[schema(format = Uuid, example = "0192f0c1-2a3b-7c4d-8e5f-001122334455")]
    id: String,
    #[schema(format = DateTime, example = "2026-01-16T12:00:00Z")]
    at: String,
    /// `user`, `client`, `guest`, `developer`, `operator` (command line), `system` (background job) or `nobody`.
    #[schema(example = "user")]
    actor_kind: String,
    /// Id of the user or client.
    #[schema(example = "0192f0c1-2a3b-7c4d-8e5f-001122334455")]
    actor_id: Option<String>,
    /// What was done.
    #[schema(example = "client.create")]
    action: String,
    /// To which kind of thing.
    #[schema(example = "client")]
    target_kind: Option<String>,
    /// To which one.
    #[schema(example = "dtc_0b9c1d2e3f405162738495a6b7c8d9e0")]
    target_id: Option<String>,
    /// More about it.
    #[schema(value_type = Object, example = json!({"name": "Calendar"}))]
    details: serde_json::Value,
    /// The request it was done by, as in its `X-Request-Id`.
    #[schema(example = "7f3c2a10-6f0e-4a53-9c0e-2d1f5b7e8a90")]
    request_id: Option<String>,
}

/// See who did what
#[utoipa::path(get, path = "/api/v1/audit-log", tag = "audit", params(ListAuditLog),
    responses((status = OK, description = "A part of the log", body = AuditLog)))]
pub(super) async fn list_audit_log(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListAuditLog>,
) -> Result<Json<AuditLog>, ApiError> {
    let filter = AuditFilter {
        organization_id: caller.organization,
        actor_id: query.actor,
        action: query.action,
        target_id: query.target,
        from: time("from", query.from.as_deref())?,
        to: time("to", query.to.as_deref())?,
        page: page(query.limit, query.offset)?,
    };
    let listed = state.0.audit.list(&filter).await?;
    let entries = listed.items.into_iter().map(body).collect::<Result<_, _>>()?;
    Ok(Json(AuditLog { entries, total: listed.total }))
}

fn body(entry: AuditEntry) -> Result<AuditEntryBody, ApiError> {
    Ok(AuditEntryBody {
        id: entry.id.to_string(),
        at: rfc3339(entry.at)?,
        actor_kind: entry.actor_kind,
        actor_id: entry.actor_id,
        action: entry.action,
        target_kind: entry.target_kind,
        target_id: entry.target_id,
        details: entry.details,
        request_id: entry.request_id,
    })
}
