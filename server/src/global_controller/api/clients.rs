//! Machine clients of the caller's organization.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use darktower_core::access::{Action, Scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{page, rfc3339};
use crate::auth::secret::OneTimeSecret;
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, QueryOf};
use crate::global_controller::path::NamePath;
use crate::global_controller::rules::{Access, Rule};
use crate::storage::model::Client;

const MANAGE: Access = Access::Needs(Action::ManageClients);

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule { method: "GET", path: "/api/v1/clients", access: MANAGE, errors: &[] },
    Rule { method: "POST", path: "/api/v1/clients", access: MANAGE, errors: &[] },
    Rule {
        method: "GET",
        path: "/api/v1/clients/{client_id}",
        access: MANAGE,
        errors: &[ErrorCode::ClientNotFound],
    },
    Rule {
        method: "DELETE",
        path: "/api/v1/clients/{client_id}",
        access: MANAGE,
        errors: &[ErrorCode::ClientNotFound],
    },
    Rule {
        method: "POST",
        path: "/api/v1/clients/{client_id}/secret",
        access: MANAGE,
        errors: &[ErrorCode::ClientNotFound],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_clients, create_client))
        .routes(routes!(get_client, delete_client))
        .routes(routes!(renew_client_secret))
}

/// A program that calls the API.
#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub(super) struct ClientBody {
    #[schema(example = "dtc_0b9c1d2e3f405162738495a6b7c8d9e0")]
    client_id: String,
    /// What it is for.
    #[schema(example = "Calendar")]
    name: String,
    /// What it may do.
    scopes: Vec<Scope>,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    created_at: String,
}

impl ClientBody {
    fn new(client: Client) -> Result<Self, ApiError> {
        Ok(Self {
            client_id: client.id,
            name: client.name,
            scopes: client.scopes,
            created_at: rfc3339(client.created_at)?,
        })
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListClients {
    /// How many to return at most. Default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// How many of the first to leave out. Default 0.
    offset: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ClientList {
    clients: Vec<ClientBody>,
    /// How many there are in all.
    #[schema(example = 1)]
    total: u64,
}

/// List machine clients
///
/// By id. The client of the server's configuration is not among them.
#[utoipa::path(get, path = "/api/v1/clients", tag = "clients", params(ListClients),
    responses((status = OK, description = "A part of the list", body = ClientList)))]
pub(super) async fn list_clients(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListClients>,
) -> Result<Json<ClientList>, ApiError> {
    let listed = state.0.clients.list(&caller, page(query.limit, query.offset)?).await?;
    let clients = listed.items.into_iter().map(ClientBody::new).collect::<Result<_, _>>()?;
    Ok(Json(ClientList { clients, total: listed.total }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct CreateClient {
    /// What it is for.
    #[schema(min_length = 1, max_length = 200, example = "Calendar")]
    name: String,
    /// What it may do, at least one.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
}

/// A client with its secret, which is not shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientWithSecret {
    #[serde(flatten)]
    client: ClientBody,
    /// For `POST /api/v1/auth/token`.
    #[schema(example = "dts_9fVn0mJx1sPq7tLw2yRb5cKd8eZg3hUa4iMo6kNvXwY")]
    client_secret: String,
}

impl ClientWithSecret {
    fn new((client, secret): (Client, OneTimeSecret)) -> Result<Json<Self>, ApiError> {
        let client_secret = secret.expose().to_owned();
        Ok(Json(Self { client: ClientBody::new(client)?, client_secret }))
    }
}

/// Add a machine client
#[utoipa::path(post, path = "/api/v1/clients", tag = "clients", request_body = CreateClient,
    responses((status = CREATED, description = "Added", body = ClientWithSecret,
        headers(("Location" = String, description = "Path of the client")))))]
pub(super) async fn create_client(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateClient>,
) -> Result<impl IntoResponse, ApiError> {
    let created = state.0.clients.create(&caller, &body.name, body.scopes).await?;
    let location = format!("/api/v1/clients/{}", created.0.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], ClientWithSecret::new(created)?))
}

/// See a machine client
#[utoipa::path(get, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "Id of the client")),
    responses((status = OK, description = "The client", body = ClientBody)))]
pub(super) async fn get_client(
    State(state): State<ApiState>,
    caller: Caller,
    NamePath(id): NamePath,
) -> Result<Json<ClientBody>, ApiError> {
    Ok(Json(ClientBody::new(state.0.clients.get(&caller, &id).await?)?))
}

/// Remove a machine client
///
/// Its tokens stop working within a second.
#[utoipa::path(delete, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "Id of the client")),
    responses((status = NO_CONTENT, description = "Removed")))]
pub(super) async fn delete_client(
    State(state): State<ApiState>,
    caller: Caller,
    NamePath(id): NamePath,
) -> Result<StatusCode, ApiError> {
    state.0.clients.delete(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a machine client another secret
///
/// The secret before stops working at once. Access tokens that it got work until they end.
#[utoipa::path(post, path = "/api/v1/clients/{client_id}/secret", tag = "clients",
    params(("client_id" = String, Path, description = "Id of the client")),
    responses((status = OK, description = "The client with its new secret", body = ClientWithSecret)))]
pub(super) async fn renew_client_secret(
    State(state): State<ApiState>,
    caller: Caller,
    NamePath(id): NamePath,
) -> Result<Json<ClientWithSecret>, ApiError> {
    ClientWithSecret::new(state.0.clients.renew_secret(&caller, &id).await?)
}
