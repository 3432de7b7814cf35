//! Tokens for the API, accounts and logins.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use darktower_core::access::{Action, Scope};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::nullable;
use super::organization::OrganizationBody;
use super::users::UserBody;
use crate::global_controller::ApiState;
use crate::global_controller::accounts::{NewPerson, ProfileChange, SignedIn};
use crate::global_controller::caller::{Caller, Identity, Visitor};
use crate::global_controller::clients::ACCESS_TOKEN_LIFETIME;
use crate::global_controller::error::{ApiError, ErrorCode};
use crate::global_controller::extract::JsonBody;
use crate::global_controller::rate_limit::{Class, ClientAddress};
use crate::global_controller::rules::{Access, Rule};
use crate::global_controller::text;

pub(in crate::global_controller) const RULES: &[Rule] = &[
    Rule {
        method: "POST",
        path: "/api/v1/auth/token",
        access: Access::Public,
        errors: &[ErrorCode::Unauthorized],
    },
    Rule {
        method: "POST",
        path: "/api/v1/auth/register",
        access: Access::Public,
        errors: &[ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::AlreadyExists],
    },
    Rule {
        method: "POST",
        path: "/api/v1/auth/login",
        access: Access::Public,
        errors: &[ErrorCode::Unauthorized],
    },
    Rule {
        method: "POST",
        path: "/api/v1/auth/refresh",
        access: Access::Public,
        errors: &[ErrorCode::Unauthorized, ErrorCode::TokenReused],
    },
    Rule { method: "POST", path: "/api/v1/auth/logout", access: Access::Public, errors: &[] },
    Rule {
        method: "POST",
        path: "/api/v1/auth/activate",
        access: Access::Public,
        errors: &[ErrorCode::Unauthorized],
    },
    Rule {
        method: "GET",
        path: "/api/v1/auth/me",
        access: Access::Needs(Action::UseAccount),
        errors: &[ErrorCode::NotFound],
    },
    Rule { method: "PATCH", path: "/api/v1/auth/me", access: Access::Needs(Action::UseAccount), errors: &[] },
    Rule {
        method: "POST",
        path: "/api/v1/auth/password",
        access: Access::Needs(Action::UseAccount),
        errors: &[],
    },
];

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(issue_access_token))
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(activate))
        .routes(routes!(get_me, update_me))
        .routes(routes!(change_password))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct TokenRequest {
    /// Always `client_credentials`.
    #[schema(pattern = "^client_credentials$", example = "client_credentials")]
    grant_type: String,
    /// Id of the client.
    #[schema(example = "dtc_0b9c1d2e3f405162738495a6b7c8d9e0")]
    client_id: String,
    /// Its secret.
    #[schema(example = "dts_9fVn0mJx1sPq7tLw2yRb5cKd8eZg3hUa4iMo6kNvXwY")]
    client_secret: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TokenBody {
    /// For the header `Authorization: Bearer`.
    #[schema(example = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9.eyJhdWQiOiJhcGkifQ.c2ln")]
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the token ends.
    #[schema(example = 3600)]
    expires_in: i64,
    /// What the client may do: its scopes, separated by spaces.
    #[schema(example = "meetings tokens")]
    scope: String,
}

/// Get an access token for a machine client
#[utoipa::path(post, path = "/api/v1/auth/token", tag = "auth", request_body = TokenRequest,
    responses((status = OK, description = "The client is known", body = TokenBody)))]
pub(super) async fn issue_access_token(
    State(state): State<ApiState>,
    address: ClientAddress,
    visitor: Visitor,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<TokenBody>, ApiError> {
    if body.grant_type != "client_credentials" {
        return Err(ApiError::field("grant_type", "grant_type must be client_credentials"));
    }
    state.0.limits.check(Class::Login, (address, &body.client_id))?;
    let granted = state.0.clients.grant(visitor, &body.client_id, &body.client_secret).await?;
    Ok(Json(TokenBody {
        access_token: granted.access_token,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_LIFETIME.whole_seconds(),
        scope: granted.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct Register {
    /// Address to sign in with.
    #[schema(max_length = 254, example = "zoe@example.org")]
    email: String,
    /// 10 characters or more (the operator may ask for more), not the address, none of the most common.
    #[schema(min_length = 10, max_length = 128, example = "correct horse battery staple")]
    password: String,
    /// Name shown to people.
    #[schema(min_length = 1, max_length = 200, example = "Zoë Miller")]
    name: String,
    /// The secret that the server printed at its first start: makes the owner of the default organization, once.
    #[schema(example = "dto_4mQx8LrT2vYb6NcW1zKd9fGh3jPs5aUe7iRo0kXwEyA")]
    setup_secret: Option<String>,
    /// Without `setup_secret`, where registration is open: name of the new organization.
    #[schema(min_length = 1, max_length = 200, nullable)]
    organization_name: Option<String>,
    /// With `organization_name`: its short name for links and logins.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{2,39}$", nullable)]
    organization_slug: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SignedInBody {
    /// For the header `Authorization: Bearer`.
    #[schema(example = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9.eyJhdWQiOiJhcGkifQ.c2ln")]
    access_token: String,
    /// Gets the next pair of tokens, once.
    #[schema(example = "dtr_7hNc2vXq9LwT4bYk1mRz6sJd8fGp3aUe5iOo0xKwEyA")]
    refresh_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token ends.
    #[schema(example = 900)]
    expires_in: i64,
    user: UserBody,
    organization: OrganizationBody,
}

impl SignedInBody {
    fn new(signed_in: SignedIn) -> Result<Json<Self>, ApiError> {
        Ok(Json(Self {
            access_token: signed_in.access_token,
            refresh_token: signed_in.refresh_token.expose().to_owned(),
            token_type: "Bearer",
            expires_in: signed_in.expires_in.whole_seconds(),
            user: UserBody::new(signed_in.user)?,
            organization: OrganizationBody::new(signed_in.organization)?,
        }))
    }
}

/// Register
///
/// With the setup secret of the server: as the owner of its default organization. Else, where the operator has opened
/// registration: as the owner of a new organization.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "auth", request_body = Register,
    responses((status = CREATED, description = "Registered and signed in", body = SignedInBody)))]
pub(super) async fn register(
    State(state): State<ApiState>,
    visitor: Visitor,
    address: ClientAddress,
    JsonBody(body): JsonBody<Register>,
) -> Result<impl IntoResponse, ApiError> {
    let person = NewPerson { email: body.email, password: body.password, name: body.name };
    let accounts = &state.0.accounts;
    // Not before the rest is checked: a password that is too short is no try.
    let count = || state.0.limits.check(Class::Register, address);
    let signed_in = match (body.setup_secret, body.organization_name, body.organization_slug) {
        (Some(secret), None, None) => {
            let person = accounts.check_person(person)?;
            count()?;
            accounts.register_owner(visitor, &secret, person).await?
        }
        (Some(_), _, _) => {
            let message = "organization_name and organization_slug do not go with setup_secret: \
                 that is for the organization that exists";
            return Err(ApiError::field("organization_name", message));
        }
        (None, Some(name), Some(slug)) => {
            let organization = accounts.check_organization(&name, &slug)?;
            let person = accounts.check_person(person)?;
            count()?;
            accounts.register_organization(visitor, organization, person).await?
        }
        (None, None, _) => {
            return Err(ApiError::field("organization_name", "organization_name or setup_secret is missing"));
        }
        (None, Some(_), None) => {
            return Err(ApiError::field("organization_slug", "organization_slug is missing"));
        }
    };
    Ok((StatusCode::CREATED, SignedInBody::new(signed_in)?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct Login {
    /// Address of the account.
    #[schema(example = "zoe@example.org")]
    email: String,
    /// Its password.
    #[schema(example = "correct horse battery staple")]
    password: String,
    /// Which organization; may be left out while the server has one.
    #[schema(example = "default")]
    organization_slug: Option<String>,
}

/// Sign in
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", request_body = Login,
    responses((status = OK, description = "Signed in", body = SignedInBody)))]
pub(super) async fn login(
    State(state): State<ApiState>,
    visitor: Visitor,
    address: ClientAddress,
    JsonBody(body): JsonBody<Login>,
) -> Result<Json<SignedInBody>, ApiError> {
    // In the form in which the account is looked up: other spellings are no further tries.
    state.0.limits.check(Class::Login, (address, text::email(&body.email)))?;
    let Login { email, password, organization_slug } = body;
    let slug = organization_slug.as_deref();
    SignedInBody::new(state.0.accounts.login(visitor, &email, password, slug).await?)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct Refresh {
    /// From the last login or refresh.
    #[schema(example = "dtr_7hNc2vXq9LwT4bYk1mRz6sJd8fGp3aUe5iOo0xKwEyA")]
    refresh_token: String,
}

/// Get the next tokens
///
/// A refresh token works once. One that is used a second time was stolen from somebody: all logins of the user are ended, and
/// the answer is `TOKEN_REUSED`. Access tokens that were issued before work until they end.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = OK, description = "The next pair", body = SignedInBody)))]
pub(super) async fn refresh(
    State(state): State<ApiState>,
    visitor: Visitor,
    JsonBody(body): JsonBody<Refresh>,
) -> Result<Json<SignedInBody>, ApiError> {
    SignedInBody::new(state.0.accounts.refresh(visitor, &body.refresh_token).await?)
}

/// Sign out
///
/// Ends the login that the refresh token comes from. The answer is the same for a token that nobody knows.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", request_body = Refresh,
    responses((status = NO_CONTENT, description = "The login is ended")))]
pub(super) async fn logout(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<Refresh>,
) -> Result<StatusCode, ApiError> {
    state.0.accounts.logout(&body.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct Activate {
    /// From the administrator who added the account or reset its password.
    #[schema(example = "dto_4mQx8LrT2vYb6NcW1zKd9fGh3jPs5aUe7iRo0kXwEyA")]
    setup_token: String,
    /// The password from now on; rules as at registration.
    #[schema(min_length = 10, max_length = 128, example = "correct horse battery staple")]
    password: String,
    /// Name shown to people, if it is to change.
    #[schema(min_length = 1, max_length = 200, example = "Zoë Miller")]
    name: Option<String>,
}

/// Set a password with a setup token
#[utoipa::path(post, path = "/api/v1/auth/activate", tag = "auth", request_body = Activate,
    responses((status = OK, description = "Set, and signed in", body = SignedInBody)))]
pub(super) async fn activate(
    State(state): State<ApiState>,
    visitor: Visitor,
    JsonBody(body): JsonBody<Activate>,
) -> Result<Json<SignedInBody>, ApiError> {
    let Activate { setup_token, password, name } = body;
    SignedInBody::new(state.0.accounts.activate(visitor, &setup_token, password, name).await?)
}

#[derive(Serialize, ToSchema)]
pub(super) struct MeBody {
    /// `user`, `client`, or `developer` in development mode.
    #[schema(pattern = "^(user|client|developer)$", example = "user")]
    kind: &'static str,
    /// Of users.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserBody>,
    /// Of machine clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<MeClient>,
    organization: OrganizationBody,
}

#[derive(Serialize, ToSchema)]
struct MeClient {
    /// Id of the client.
    #[schema(example = "dtc_0b9c1d2e3f405162738495a6b7c8d9e0")]
    client_id: String,
    /// What it may do.
    scopes: Vec<Scope>,
}

/// See who one is
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "auth",
    responses((status = OK, description = "The caller", body = MeBody)))]
pub(super) async fn get_me(State(state): State<ApiState>, caller: Caller) -> Result<Json<MeBody>, ApiError> {
    let organization = OrganizationBody::new(state.0.organizations.of(&caller).await?)?;
    let (kind, user, client) = match &caller.identity {
        Identity::User(_) => ("user", Some(UserBody::new(state.0.accounts.me(&caller).await?)?), None),
        Identity::Client(id) => {
            ("client", None, Some(MeClient { client_id: id.clone(), scopes: caller.scopes() }))
        }
        Identity::Developer => ("developer", None, None),
    };
    Ok(Json(MeBody { kind, user, client, organization }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct UpdateMe {
    /// Name shown to people.
    #[schema(min_length = 1, max_length = 200, example = "Zoë Miller")]
    name: Option<String>,
    /// URL of a picture; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2048, example = "https://example.org/zoe.png")]
    avatar_url: Option<Option<String>>,
}

/// Change one's profile
///
/// For users only.
#[utoipa::path(patch, path = "/api/v1/auth/me", tag = "auth", request_body = UpdateMe,
    responses((status = OK, description = "As it is now", body = UserBody)))]
pub(super) async fn update_me(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<UpdateMe>,
) -> Result<Json<UserBody>, ApiError> {
    let change = ProfileChange { name: body.name, avatar_url: body.avatar_url };
    Ok(Json(UserBody::new(state.0.accounts.update_me(&caller, change).await?)?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct ChangePassword {
    /// The password until now.
    #[schema(example = "correct horse battery staple")]
    current_password: String,
    /// The password from now on; rules as at registration.
    #[schema(min_length = 10, max_length = 128, example = "a quiet evening by the sea")]
    new_password: String,
}

/// Change one's password
///
/// For users only. Ends every other login of the user.
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "auth", request_body = ChangePassword,
    responses((status = NO_CONTENT, description = "Changed")))]
pub(super) async fn change_password(
    State(state): State<ApiState>,
    caller: Caller,
    address: ClientAddress,
    JsonBody(body): JsonBody<ChangePassword>,
) -> Result<StatusCode, ApiError> {
    state.0.limits.check(Class::Login, (address, caller.id()))?;
    state.0.accounts.change_password(&caller, body.current_password, body.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
