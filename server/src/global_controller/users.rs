//! The users of an organization, for its administrators.

use std::sync::Arc;

use darktower_core::access::guests::AccessPolicy;
use darktower_core::access::{Action, OrganizationRole, Relation};
use darktower_protocol::UserId;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::accounts::{Accounts, email_taken, new_user};
use super::audit::Audit;
use super::caller::Caller;
use super::directory::Directory;
use super::error::{ApiError, ErrorCode};
use super::meetings::now;
use super::text::{self, MAX_NAME_LEN};
use crate::auth::secret::{OneTimeSecret, SecretKind};
use crate::storage::model::{Listed, SetupSecret, User, UserFilter};
use crate::storage::{Store, StoreError, Unique};

/// How long an invited user has to set its password.
const SETUP_LIFETIME: Duration = Duration::days(7);

/// A user to add.
pub(super) struct NewUser {
    pub(super) email: String,
    pub(super) name: String,
    pub(super) role: OrganizationRole,
    /// Without one, the user sets its own with a setup token.
    pub(super) password: Option<String>,
}

/// Changes of a user; what is `None` stays.
pub(super) struct UserChange {
    pub(super) name: Option<String>,
    pub(super) role: Option<OrganizationRole>,
    pub(super) is_active: Option<bool>,
}

/// With this a user sets its password, once.
pub(super) struct SetupToken {
    pub(super) secret: OneTimeSecret,
    pub(super) expires_at: OffsetDateTime,
}

/// The users of organizations.
pub(super) struct Users {
    store: Arc<dyn Store>,
    accounts: Arc<Accounts>,
    audit: Arc<Audit>,
    directory: Arc<Directory>,
}

impl Users {
    pub(super) fn new(
        store: Arc<dyn Store>,
        accounts: Arc<Accounts>,
        audit: Arc<Audit>,
        directory: Arc<Directory>,
    ) -> Self {
        Self { store, accounts, audit, directory }
    }

    pub(super) async fn list(&self, filter: &UserFilter) -> Result<Listed<User>, ApiError> {
        Ok(self.store.users(filter).await?)
    }

    pub(super) async fn get(&self, caller: &Caller, id: UserId) -> Result<User, ApiError> {
        let user = self.store.user(id).await?;
        user.filter(|user| user.organization_id == caller.organization).ok_or_else(|| not_found(id))
    }

    pub(super) async fn create(
        &self,
        caller: &Caller,
        new: NewUser,
    ) -> Result<(User, Option<SetupToken>), ApiError> {
        if new.role == OrganizationRole::Owner {
            let message = "role must not be owner: an organization has one, who can give its place away";
            return Err(ApiError::field("role", message));
        }
        let email = text::email_field(&new.email)?;
        let name = text::line("name", &new.name, MAX_NAME_LEN)?;
        let password_hash = match new.password {
            None => None,
            Some(password) => {
                self.accounts.check_password(&password, &email)?;
                Some(self.accounts.hash_password(password).await?)
            }
        };
        let invited = password_hash.is_none();
        let user = new_user(caller.organization, email, name, new.role, password_hash);
        let (token, kept) = if invited { Some(draw(&user)?).unzip() } else { (None, None) };
        match self.store.create_user(&user, kept.as_ref()).await {
            Err(StoreError::Taken(Unique::Email)) => return Err(email_taken()),
            other => other?,
        }
        let details = json!({ "email": user.email, "role": user.role, "invited": invited });
        self.audit.record(caller, "user.create", Some(target(user.id)), details).await?;
        Ok((user, token))
    }

    /// Changes a user. Whoever is made the owner takes the place of the owner before, who becomes an admin.
    pub(super) async fn update(
        &self,
        caller: &Caller,
        id: UserId,
        change: UserChange,
    ) -> Result<User, ApiError> {
        let mut user = self.get(caller, id).await?;
        let UserChange { name, role, is_active } = change;
        let role = role.filter(|role| *role != user.role);
        let is_active = is_active.filter(|is_active| *is_active != user.is_active);
        if user.role == OrganizationRole::Owner && (role.is_some() || is_active == Some(false)) {
            return Err(owner_stays());
        }
        if role == Some(OrganizationRole::Owner) {
            if !may_dispose(caller) {
                let message = "Only the owner can give its place away";
                return Err(ApiError::new(ErrorCode::Forbidden, message));
            }
            if !is_active.unwrap_or(user.is_active) || user.password_hash.is_none() {
                let message = "Only an active user who has set a password can become the owner";
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
        }
        let now = now();
        if let Some(name) = name {
            user.name = text::line("name", &name, MAX_NAME_LEN)?;
        }
        user.updated_at = now;
        if !self.store.update_profile(&user).await? {
            return Err(not_found(id));
        }
        if let Some(is_active) = is_active {
            if !self.store.set_active(id, is_active, now).await? {
                // As below.
                self.get(caller, id).await?;
                return Err(owner_stays());
            }
            user.is_active = is_active;
        }
        if let Some(role) = role {
            if !self.store.change_role(id, role, now).await? {
                // It was removed meanwhile, or became the owner.
                self.get(caller, id).await?;
                return Err(owner_stays());
            }
            user.role = role;
        }
        self.directory.forget_user(id);
        if role == Some(OrganizationRole::Owner)
            && let super::caller::Identity::User(former) = caller.identity
        {
            self.directory.forget_user(former);
        }
        let details = json!({ "name": user.name, "role": user.role, "is_active": user.is_active });
        self.audit.record(caller, "user.update", Some(target(id)), details).await?;
        Ok(user)
    }

    /// Removes a user; its meetings stay, its tokens stop working within a second, and those to join meetings with it.
    pub(super) async fn delete(&self, caller: &Caller, id: UserId) -> Result<(), ApiError> {
        let user = self.get(caller, id).await?;
        if user.role == OrganizationRole::Owner {
            let message = "The owner cannot be removed; it can make another user the owner before";
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        if !self.store.delete_user(id, now()).await? {
            return Err(not_found(id));
        }
        self.directory.forget_user(id);
        let details = json!({ "email": user.email });
        self.audit.record(caller, "user.delete", Some(target(id)), details).await?;
        Ok(())
    }

    /// A new setup token, in place of the one before. The user's password works until it sets another.
    pub(super) async fn renew_setup(&self, caller: &Caller, id: UserId) -> Result<SetupToken, ApiError> {
        let user = self.get(caller, id).await?;
        // Whoever sets the owner's password is the owner.
        if user.role == OrganizationRole::Owner && !may_dispose(caller) {
            return Err(owners_password());
        }
        if !user.is_active {
            let message = "The user is deactivated; activate it first";
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        let (token, kept) = draw(&user)?;
        if !self.store.put_setup_secret(&kept, may_dispose(caller)).await? {
            // It has become the owner meanwhile.
            return Err(owners_password());
        }
        self.audit.record(caller, "user.setup_token", Some(target(id)), json!({})).await?;
        Ok(token)
    }
}

fn may_dispose(caller: &Caller) -> bool {
    caller.permits(Action::DisposeOfOrganization, Relation::Own, AccessPolicy::Open)
}

fn draw(user: &User) -> Result<(SetupToken, SetupSecret), ApiError> {
    let secret = OneTimeSecret::draw(SecretKind::Setup).map_err(ApiError::internal)?;
    let created_at = now();
    let expires_at = created_at + SETUP_LIFETIME;
    let kept = SetupSecret {
        hash: secret.hash(),
        organization_id: user.organization_id,
        user_id: Some(user.id),
        created_at,
        expires_at: Some(expires_at),
    };
    Ok((SetupToken { secret, expires_at }, kept))
}

fn owners_password() -> ApiError {
    ApiError::new(ErrorCode::Forbidden, "Only the owner can reset its password")
}

fn owner_stays() -> ApiError {
    let message = "The owner keeps role and access until it makes another user the owner";
    ApiError::new(ErrorCode::Conflict, message)
}

fn target(id: UserId) -> (&'static str, String) {
    ("user", id.to_string())
}

fn not_found(id: UserId) -> ApiError {
    ApiError::new(ErrorCode::UserNotFound, format!("User {id} does not exist"))
}
