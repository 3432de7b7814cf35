//! Users of the caller's organization.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use darktower_core::access::{Action, OrganizationRole};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{page, rfc3339, search};
use crate::global_controller::ApiState;
use crate::global_controller::caller::Caller;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::{JsonBody, QueryOf};
use crate::global_controller::path::UserPath;
use crate::global_controller::rules::{Access, Rule};
use crate::global_controller::users::{NewUser, SetupToken, UserChange};
use crate::storage::model::{User, UserFilter};

const MANAGE: Access = Access::Needs(Action::ManageUsers);

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule { method: "GET", path: "/api/v1/users", access: MANAGE, errors: &[] },
    Rule { method: "POST", path: "/api/v1/users", access: MANAGE, errors: &[ErrorCode::AlreadyExists] },
    Rule {
        method: "GET",
        path: "/api/v1/users/{user_id}",
        access: MANAGE,
        errors: &[ErrorCode::UserNotFound],
    },
    Rule {
        method: "PATCH",
        path: "/api/v1/users/{user_id}",
        access: MANAGE,
        errors: &[ErrorCode::UserNotFound, ErrorCode::Conflict],
    },
    Rule {
        method: "DELETE",
        path: "/api/v1/users/{user_id}",
        access: MANAGE,
        errors: &[ErrorCode::UserNotFound, ErrorCode::Conflict],
    },
    Rule {
        method: "POST",
        path: "/api/v1/users/{user_id}/setup-token",
        access: MANAGE,
        errors: &[ErrorCode::UserNotFound, ErrorCode::Conflict],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(get_user, update_user, delete_user))
        .routes(routes!(renew_setup_token))
}

/// A user of the organization.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserBody {
    #[schema(format = Uuid, example = "0192f0c1-2a3b-7c4d-8e5f-001122334455")]
    user_id: String,
    #[schema(format = Uuid, example = "0192f0c0-11aa-7c4d-9f00-665544332211")]
    organization_id: String,
    /// Address to sign in with, in lower case.
    #[schema(example = "zoe@example.org")]
    email: String,
    /// Name shown to people.
    #[schema(example = "Zoë Miller")]
    name: String,
    role: OrganizationRole,
    /// URL of a picture.
    #[schema(example = "https://example.org/zoe.png")]
    avatar_url: Option<String>,
    /// Whether the user may sign in.
    #[schema(example = true)]
    is_active: bool,
    /// Whether the user has set a password.
    #[schema(example = true)]
    has_password: bool,
    /// When the user last signed in.
    #[schema(format = DateTime, example = "2026-01-16T12:00:00Z")]
    last_login_at: Option<String>,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    created_at: String,
    #[schema(format = DateTime, example = "2026-01-15T08:30:00Z")]
    updated_at: String,
}

impl UserBody {
    pub(super) fn new(user: User) -> Result<Self, ApiError> {
        Ok(Self {
            user_id: user.id.to_string(),
            organization_id: user.organization_id.to_string(),
            email: user.email,
            name: user.name,
            role: user.role,
            avatar_url: user.avatar_url,
            is_active: user.is_active,
            has_password: user.password_hash.is_some(),
            last_login_at: user.last_login_at.map(rfc3339).transpose()?,
            created_at: rfc3339(user.created_at)?,
            updated_at: rfc3339(user.updated_at)?,
        })
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListUsers {
    /// Only with this text in name or email, whatever its case.
    #[param(max_length = 200, example = "miller")]
    search: Option<String>,
    /// Only with this role.
    #[param(inline)]
    role: Option<OrganizationRole>,
    /// How many to return at most. Default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// How many of the first to leave out. Default 0.
    offset: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct UserList {
    users: Vec<UserBody>,
    /// How many match in all.
    #[schema(example = 1)]
    total: u64,
}

/// List users
///
/// By email.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(ListUsers),
    responses((status = OK, description = "A part of the list", body = UserList)))]
pub(super) async fn list_users(
    State(state): State<ApiState>,
    caller: Caller,
    QueryOf(query): QueryOf<ListUsers>,
) -> Result<Json<UserList>, ApiError> {
    let filter = UserFilter {
        organization_id: caller.organization,
        role: query.role,
        search: search(query.search)?,
        page: page(query.limit, query.offset)?,
    };
    let listed = state.0.users.list(&filter).await?;
    let users = listed.items.into_iter().map(UserBody::new).collect::<Result<_, _>>()?;
    Ok(Json(UserList { users, total: listed.total }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct CreateUser {
    /// Address to sign in with, unique in the organization.
    #[schema(max_length = 254, example = "zoe@example.org")]
    email: String,
    /// Name shown to people.
    #[schema(min_length = 1, max_length = 200, example = "Zoë Miller")]
    name: String,
    /// Default `member`; not `owner`.
    role: Option<OrganizationRole>,
    /// Without one, the answer has a setup token with which the user sets its own.
    #[schema(min_length = 10, max_length = 128)]
    password: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct CreatedUser {
    #[serde(flatten)]
    user: UserBody,
    /// For `POST /api/v1/auth/activate`, once; of users without a password. It is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "dto_4mQx8LrT2vYb6NcW1zKd9fGh3jPs5aUe7iRo0kXwEyA")]
    setup_token: Option<String>,
    /// When the setup token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-01-23T12:00:00Z")]
    setup_token_expires_at: Option<String>,
}

/// Add a user
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = CreateUser,
    responses((status = CREATED, description = "Added", body = CreatedUser,
        headers(("Location" = String, description = "Path of the user")))))]
pub(super) async fn create_user(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateUser>,
) -> Result<impl IntoResponse, ApiError> {
    let new = NewUser {
        email: body.email,
        name: body.name,
        role: body.role.unwrap_or(OrganizationRole::Member),
        password: body.password,
    };
    let (user, token) = state.0.users.create(&caller, new).await?;
    let location = format!("/api/v1/users/{}", user.id);
    let body = CreatedUser {
        user: UserBody::new(user)?,
        setup_token_expires_at: token.as_ref().map(|token| rfc3339(token.expires_at)).transpose()?,
        setup_token: token.map(|token| token.secret.expose().to_owned()),
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(body)))
}

/// See a user
#[utoipa::path(get, path = "/api/v1/users/{user_id}", tag = "users",
    params(("user_id" = String, Path, format = Uuid, description = "Id of the user")),
    responses((status = OK, description = "The user", body = UserBody)))]
pub(super) async fn get_user(
    State(state): State<ApiState>,
    caller: Caller,
    UserPath(id): UserPath,
) -> Result<Json<UserBody>, ApiError> {
    Ok(Json(UserBody::new(state.0.users.get(&caller, id).await?)?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct UpdateUser {
    /// Name shown to people.
    #[schema(min_length = 1, max_length = 200, example = "Zoë Miller")]
    name: Option<String>,
    /// `owner`, by the owner only, gives the place away: who had it becomes an admin.
    role: Option<OrganizationRole>,
    /// Whether the user may sign in. `false` ends all its logins within a second, revokes its join tokens and throws it out of
    /// the meetings it is in.
    #[schema(example = true)]
    is_active: Option<bool>,
}

/// Change a user
///
/// A role counts within a second. Join tokens keep what they were issued for, also when the role becomes a lesser one: those are
/// revoked one by one, at their meetings.
#[utoipa::path(patch, path = "/api/v1/users/{user_id}", tag = "users", request_body = UpdateUser,
    params(("user_id" = String, Path, format = Uuid, description = "Id of the user")),
    responses((status = OK, description = "As it is now", body = UserBody)))]
pub(super) async fn update_user(
    State(state): State<ApiState>,
    caller: Caller,
    UserPath(id): UserPath,
    JsonBody(body): JsonBody<UpdateUser>,
) -> Result<Json<UserBody>, ApiError> {
    let change = UserChange { name: body.name, role: body.role, is_active: body.is_active };
    Ok(Json(UserBody::new(state.0.users.update(&caller, id, change).await?)?))
}

/// Remove a user
///
/// Its meetings stay. Its tokens stop working within a second, and so do its join tokens: it is thrown out of the meetings it is
/// in.
#[utoipa::path(delete, path = "/api/v1/users/{user_id}", tag = "users",
    params(("user_id" = String, Path, format = Uuid, description = "Id of the user")),
    responses((status = NO_CONTENT, description = "Removed")))]
pub(super) async fn delete_user(
    State(state): State<ApiState>,
    caller: Caller,
    UserPath(id): UserPath,
) -> Result<StatusCode, ApiError> {
    state.0.users.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub(super) struct SetupTokenBody {
    /// For `POST /api/v1/auth/activate`, once. It is not shown again.
    #[schema(example = "dto_4mQx8LrT2vYb6NcW1zKd9fGh3jPs5aUe7iRo0kXwEyA")]
    setup_token: String,
    /// When it ends.
    #[schema(format = DateTime, example = "2026-01-23T12:00:00Z")]
    expires_at: String,
}

/// Let a user set a new password
///
/// The token is for the user; one that was made before ends. The password that is set works until then.
#[utoipa::path(post, path = "/api/v1/users/{user_id}/setup-token", tag = "users",
    params(("user_id" = String, Path, format = Uuid, description = "Id of the user")),
    responses((status = CREATED, description = "The token", body = SetupTokenBody)))]
pub(super) async fn renew_setup_token(
    State(state): State<ApiState>,
    caller: Caller,
    UserPath(id): UserPath,
) -> Result<impl IntoResponse, ApiError> {
    let SetupToken { secret, expires_at } = state.0.users.renew_setup(&caller, id).await?;
    let body = SetupTokenBody { setup_token: secret.expose().to_owned(), expires_at: rfc3339(expires_at)? };
    Ok((StatusCode::CREATED, Json(body)))
}
