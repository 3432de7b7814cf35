//! Who calls the API, and whether it may.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use darktower_core::access::guests::AccessPolicy;
use darktower_core::access::{Action, Actor, OrganizationRole, Relation, Scope, permits};
use darktower_protocol::{OrganizationId, UserId};
use uuid::Uuid;

use super::ApiState;
use super::error::{ApiError, ErrorCode};
use super::layers::RequestId;
use super::rate_limit::ClientAddress;
use super::rules::Access;
use crate::auth::Subject;

/// Who calls the API: authenticated, and allowed to use the route in some case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// What decides what it may do.
    pub(super) actor: Actor,
    /// The organization it belongs to: it sees nothing of others.
    pub(super) organization: OrganizationId,
    /// Which one it is.
    pub(super) identity: Identity,
    /// The login its token comes from; only of users.
    pub(super) login: Option<Uuid>,
    /// The request it makes, for the audit log.
    pub(super) request_id: Option<String>,
}

/// Somebody who calls a public route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    /// The request it makes, for the audit log.
    pub(super) request_id: Option<String>,
}

/// Who calls a public route, if a token that holds says so, or development mode does. One that does not hold counts as
/// none, and as a guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnyCaller(pub(super) Option<Caller>);

/// Which user or client a caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A signed-in user.
    User(UserId),
    /// A machine client.
    Client(String),
    /// Somebody on this machine, in development mode: as the owner of the default organization.
    Developer,
}

impl Caller {
    /// The id that meetings keep of their creators; `None` for the developer.
    pub(super) fn id(&self) -> Option<String> {
        match &self.identity {
            Identity::User(id) => Some(id.to_string()),
            Identity::Client(id) => Some(id.clone()),
            Identity::Developer => None,
        }
    }

    /// What a machine client may do; nothing for users, whose role decides.
    pub(super) fn scopes(&self) -> Vec<Scope> {
        match &self.actor {
            Actor::Client(scopes) => scopes.clone(),
            Actor::User(_) => Vec::new(),
        }
    }

    /// Whether it may do `action` with a meeting it relates to like this.
    pub(super) fn permits(&self, action: Action, relation: Relation, policy: AccessPolicy) -> bool {
        permits(&self.actor, action, relation, policy)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("the handler of a public route asks who calls"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self { request_id: request_id(&parts.extensions) })
    }
}

impl FromRequestParts<ApiState> for AnyCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let refused = match authenticate(state, &parts.headers).await {
            Ok(caller) => return Ok(Self(Some(caller))),
            Err(error) if error.is(ErrorCode::Unauthorized) => error,
            Err(error) => return Err(error),
        };
        if parts.headers.contains_key(AUTHORIZATION) {
            tracing::debug!(?refused, "a token counts as none");
            let address = ClientAddress::of(parts);
            state.0.limits.may_guess(address)?;
            state.0.limits.guessed_wrong(address);
        }
        Ok(Self(None))
    }
}

/// Lets a request reach its route if the route's row says so. Handlers of other than public routes find the
/// [`Caller`] in the request.
/// The general limit is counted here: of the caller, or on public routes and of strangers of the address.
pub(super) async fn authorize(
    State(state): State<ApiState>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    // Only known routes come here; what is not matched is answered by the fallback.
    let Some(route) = route else { return next.run(request).await };
    let Some(rule) = state.0.rules.of(request.method(), route.as_str()) else {
        let allowed = request.method() == axum::http::Method::OPTIONS;
        return match allowed {
            true => next.run(request).await,
            false => ApiError::internal(format!("no rule for {} {}", request.method(), route.as_str()))
                .into_response(),
        };
    };
    let (parts, body) = request.into_parts();
    let address = ClientAddress::of(&parts);
    let caller = match rule.access {
        Access::Public => Ok(None),
        Access::Needs(action) => admit(&state, &parts, action).await.map(Some),
    };
    let id = caller.as_ref().ok().and_then(Option::as_ref).and_then(Caller::id);
    if let Err(refused) = state.0.limits.general(id.as_deref(), address) {
        return refused.into_response();
    }
    let mut request = Request::from_parts(parts, body);
    match caller {
        Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
        Ok(None) => {}
        Err(refused) => return refused.into_response(),
    }
    next.run(request).await
}

/// Who calls, if it may ever do `action`.
async fn admit(state: &ApiState, parts: &Parts, action: Action) -> Result<Caller, ApiError> {
    let caller = authenticate(state, &parts.headers).await?;
    if !caller.permits(action, Relation::Own, AccessPolicy::Open) {
        let message = format!("This needs the right to {}", action.to_string().replace('_', " "));
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    Ok(Caller { request_id: request_id(&parts.extensions), ..caller })
}

fn request_id(extensions: &Extensions) -> Option<String> {
    extensions.get::<RequestId>().map(|id| id.as_str().to_owned())
}

pub(super) async fn authenticate(state: &ApiState, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let refuse = |message: &str| Err(ApiError::new(ErrorCode::Unauthorized, message));
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) if state.0.config.dev => Ok(Caller {
            actor: Actor::User(OrganizationRole::Owner),
            organization: state.0.default_organization,
            identity: Identity::Developer,
            login: None,
            request_id: None,
        }),
        (None, _) => refuse("This needs an access token: Authorization: Bearer TOKEN"),
        (Some(value), None) => {
            let token = value
                .to_str()
                .ok()
                .and_then(|text| text.split_once(' '))
                .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()));
            let Some(token) = token else {
                return refuse("The Authorization header must be: Bearer TOKEN");
            };
            let claims = match state.0.tokens.verify_access(token) {
                Ok(claims) => claims,
                Err(error) => return refuse(&format!("The access token is refused: {error}")),
            };
            let Some(actor) = state.0.directory.actor(&claims).await? else {
                return refuse("The access token is refused: its user or client may not sign in");
            };
            let (identity, login) = match claims.subject {
                Subject::User { id, login } => (Identity::User(id), Some(login)),
                Subject::Client(id) => (Identity::Client(id), None),
            };
            let organization = claims.organization_id;
            Ok(Caller { actor, organization, identity, login, request_id: None })
        }
        (Some(_), Some(_)) => refuse("There must be one Authorization header"),
    }
}
