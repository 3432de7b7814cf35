//! Signing in: registration, login, the tokens of a login, passwords.
//!
//! Whoever may not sign in learns nothing about why: an unknown address, a wrong password and a deactivated account get the
//! same answer, after the same work.

use std::sync::Arc;

use darktower_core::access::OrganizationRole;
use darktower_protocol::{OrganizationId, UserId};
use serde_json::json;
use time::Duration;
use uuid::Uuid;

use super::audit::{Audit, Who};
use super::caller::{Caller, Identity, Visitor};
use super::directory::Directory;
use super::error::{ApiError, ErrorCode};
use super::meetings::now;
use super::organizations::{new_organization, shipped_presets};
use super::text::{self, MAX_NAME_LEN};
use crate::auth::password::{HashError, MAX_PASSWORD_LEN, Passwords, check_password};
use crate::auth::secret::{OneTimeSecret, SecretKind, hash_secret};
use crate::auth::{AccessClaims, Subject, TokenService};
use crate::config;
use crate::storage::model::{Organization, RefreshToken, Rotation, SecretHash, User};
use crate::storage::{Store, StoreError, Unique};

/// When to try again if too many passwords are being checked; the queue is a second long.
const RETRY_AFTER_SECONDS: u32 = 2;
const WRONG_LOGIN: &str = "email or password is wrong";

/// Somebody who wants an account.
pub(super) struct NewPerson {
    pub(super) email: String,
    pub(super) password: String,
    pub(super) name: String,
}

/// Somebody whose account can be made: address and name are in the form in which they are kept.
pub(super) struct CheckedPerson(NewPerson);

/// An organization that can be made, unless its slug is taken.
pub(super) struct CheckedOrganization(Organization);

/// What came of a login.
pub(super) struct SignedIn {
    pub(super) access_token: String,
    pub(super) refresh_token: OneTimeSecret,
    /// How long the access token works.
    pub(super) expires_in: Duration,
    pub(super) user: User,
    pub(super) organization: Organization,
}

/// Changes of one's own profile; what is `None` stays.
#[derive(Default)]
pub(super) struct ProfileChange {
    pub(super) name: Option<String>,
    pub(super) avatar_url: Option<Option<String>>,
}

/// Accounts of users and their logins.
pub(super) struct Accounts {
    store: Arc<dyn Store>,
    tokens: Arc<TokenService>,
    audit: Arc<Audit>,
    directory: Arc<Directory>,
    passwords: Passwords,
    settings: config::Accounts,
    default_organization: OrganizationId,
}

impl Accounts {
    pub(super) fn new(
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        audit: Arc<Audit>,
        directory: Arc<Directory>,
        settings: config::Accounts,
        default_organization: OrganizationId,
    ) -> Self {
        let passwords = Passwords::new();
        Self { store, tokens, audit, directory, passwords, settings, default_organization }
    }

    /// Makes the owner of the default organization, for whoever has the secret that the server printed. It works once.
    pub(super) async fn register_owner(
        &self,
        visitor: Visitor,
        setup_secret: &str,
        CheckedPerson(person): CheckedPerson,
    ) -> Result<SignedIn, ApiError> {
        let refused = || ApiError::new(ErrorCode::Unauthorized, "setup_secret is wrong, or was used");
        let hash = hash_secret(setup_secret);
        let secret = self.store.setup_secret(&hash, now()).await?;
        let Some(secret) = secret.filter(|secret| secret.user_id.is_none()) else { return Err(refused()) };
        let NewPerson { email, password, name } = person;
        let password_hash = self.hash_password(password).await?;
        let owner =
            new_user(secret.organization_id, email, name, OrganizationRole::Owner, Some(password_hash));
        match self.store.create_owner(&hash, &owner).await {
            Ok(true) => {}
            // Somebody was faster.
            Ok(false) | Err(StoreError::Taken(Unique::Owner)) => return Err(refused()),
            Err(StoreError::Taken(Unique::Email)) => return Err(email_taken()),
            Err(error) => return Err(error.into()),
        }
        let organization = self.organization(owner.organization_id).await?;
        self.registered(visitor, owner, organization).await
    }

    /// Makes an organization with its owner.
    pub(super) async fn register_organization(
        &self,
        visitor: Visitor,
        CheckedOrganization(organization): CheckedOrganization,
        CheckedPerson(person): CheckedPerson,
    ) -> Result<SignedIn, ApiError> {
        let NewPerson { email, password, name } = person;
        let password_hash = self.hash_password(password).await?;
        let owner = new_user(organization.id, email, name, OrganizationRole::Owner, Some(password_hash));
        let presets = shipped_presets(organization.created_at);
        match self.store.create_organization(&organization, &presets, Some(&owner)).await {
            Err(StoreError::Taken(Unique::OrganizationSlug)) => {
                let message = "There is an organization with this organization_slug";
                return Err(ApiError::taken("organization_slug", message));
            }
            other => other?,
        }
        self.registered(visitor, owner, organization).await
    }

    async fn registered(
        &self,
        visitor: Visitor,
        owner: User,
        organization: Organization,
    ) -> Result<SignedIn, ApiError> {
        let target = ("organization", organization.id.to_string());
        let details = json!({ "email": owner.email, "slug": organization.slug });
        self.audit.record(Who::user(&owner, visitor.clone()), "user.register", Some(target), details).await?;
        tracing::info!(organization = %organization.id, user = %owner.id, "owner registered");
        self.sign_in(visitor, owner, organization).await
    }

    /// A login by password. Without a slug it is for the only organization.
    pub(super) async fn login(
        &self,
        visitor: Visitor,
        email: &str,
        password: String,
        slug: Option<&str>,
    ) -> Result<SignedIn, ApiError> {
        let organization = match slug {
            Some(slug) => self.store.organization_by_slug(slug).await?,
            None if self.store.count_organizations().await? > 1 => {
                let message = "organization_slug is needed: this server has several organizations";
                return Err(ApiError::field("organization_slug", message));
            }
            None => self.store.organization(self.default_organization).await?,
        };
        let email = text::email(email);
        let user = match (&organization, &email) {
            (Some(organization), Some(email)) => self.store.user_by_email(organization.id, email).await?,
            _ => None,
        };
        let (hash, failure) = match &user {
            None => (None, "unknown"),
            Some(user) if !user.is_active => (None, "deactivated"),
            Some(user) => match &user.password_hash {
                None => (None, "no_password"),
                Some(hash) => (Some(hash.clone()), "wrong_password"),
            },
        };
        // Too long is as good as wrong, and costs the same.
        let (password, hash) = match password.chars().count() <= MAX_PASSWORD_LEN {
            true => (password, hash),
            false => (String::new(), None),
        };
        let right = self.passwords.verify(password, hash).await.map_err(hash_error)?;
        match (user, organization) {
            (Some(user), Some(organization)) if right => self.sign_in(visitor, user, organization).await,
            (user, organization) => {
                let who = Who::nobody(organization.map(|organization| organization.id), visitor);
                let target = user.map(|user| ("user", user.id.to_string()));
                // What is no address may be a password in the wrong field.
                let details = json!({ "email": email, "reason": failure });
                self.audit.record(who, "user.login_failed", target, details).await?;
                Err(ApiError::new(ErrorCode::Unauthorized, WRONG_LOGIN))
            }
        }
    }

    /// The next pair of tokens for a refresh token, which is spent by that. Who brings one that was spent before has it from
    /// somebody else, or somebody else has it: every login of the user is ended.
    pub(super) async fn refresh(&self, visitor: Visitor, token: &str) -> Result<SignedIn, ApiError> {
        let refused =
            || ApiError::new(ErrorCode::Unauthorized, "refresh_token is wrong, was revoked, or has ended");
        let now = now();
        let old = hash_secret(token);
        let known = self.store.refresh_token(&old, now).await?;
        let user = match &known {
            Some(known) => self.store.user(known.user_id).await?.filter(|user| user.is_active),
            None => None,
        };
        if known.is_some() && user.is_none() {
            return Err(refused());
        }
        // Also for one that is not known: it may have been spent.
        let (user_id, family) = known
            .map_or((UserId::from_uuid(Uuid::nil()), Uuid::nil()), |known| (known.user_id, known.family));
        let (next, kept) = self.draw_refresh_token(user_id, family)?;
        match (self.store.rotate_refresh_token(&old, &kept, now).await?, user) {
            (Rotation::Rotated, Some(user)) => {
                let organization = self.organization(user.organization_id).await?;
                Ok(self.pair(user, organization, next, family))
            }
            (Rotation::Reused(id), _) => {
                let organization = self.store.user(id).await?.map(|user| user.organization_id);
                let who = Who::nobody(organization, visitor);
                let target = ("user", id.to_string());
                self.audit.record(who, "user.refresh_token_reused", Some(target), json!({})).await?;
                tracing::warn!(user = %id, "a refresh token was used twice; every login of the user is ended");
                let message =
                    "refresh_token was used before: every login of this user is ended, sign in again";
                Err(ApiError::new(ErrorCode::TokenReused, message))
            }
            (Rotation::Unknown | Rotation::Rotated, _) => Err(refused()),
        }
    }

    /// Ends the login that a refresh token comes from, if there is one.
    pub(super) async fn logout(&self, token: &str) -> Result<(), ApiError> {
        self.store.end_login(&hash_secret(token)).await?;
        Ok(())
    }

    /// Sets the first or a new password of a user who was given a setup token, and signs it in.
    pub(super) async fn activate(
        &self,
        visitor: Visitor,
        setup_token: &str,
        password: String,
        name: Option<String>,
    ) -> Result<SignedIn, ApiError> {
        let refused =
            || ApiError::new(ErrorCode::Unauthorized, "setup_token is wrong, was used, or has ended");
        let name = name.map(|name| text::line("name", &name, MAX_NAME_LEN)).transpose()?;
        let hash = hash_secret(setup_token);
        let now = now();
        let secret = self.store.setup_secret(&hash, now).await?;
        let Some(id) = secret.and_then(|secret| secret.user_id) else { return Err(refused()) };
        let user = self.store.user(id).await?.filter(|user| user.is_active);
        let Some(user) = user else { return Err(refused()) };
        self.check_password(&password, &user.email)?;
        let password_hash = self.hash_password(password).await?;
        if !self.store.activate_user(&hash, &password_hash, name.as_deref(), now).await? {
            return Err(refused());
        }
        let user = User { name: name.unwrap_or(user.name), password_hash: Some(password_hash), ..user };
        let organization = self.organization(user.organization_id).await?;
        let target = Some(("user", id.to_string()));
        self.audit.record(Who::user(&user, visitor.clone()), "user.activate", target, json!({})).await?;
        self.sign_in(visitor, user, organization).await
    }

    /// Gives the caller another password and ends its other logins.
    pub(super) async fn change_password(
        &self,
        caller: &Caller,
        current: String,
        new: String,
    ) -> Result<(), ApiError> {
        let user = self.me(caller).await?;
        self.check_password(&new, &user.email)?;
        let hash = user.password_hash.filter(|_| current.chars().count() <= MAX_PASSWORD_LEN);
        let target = Some(("user", user.id.to_string()));
        if !self.passwords.verify(current, hash).await.map_err(hash_error)? {
            self.audit.record(caller, "user.password_failed", target, json!({})).await?;
            return Err(ApiError::new(ErrorCode::Unauthorized, "current_password is wrong"));
        }
        let hash = self.hash_password(new).await?;
        self.store.set_password(user.id, &hash, caller.login, now()).await?;
        self.audit.record(caller, "user.password", target, json!({})).await?;
        Ok(())
    }

    /// The user that calls; other callers have no profile.
    pub(super) async fn me(&self, caller: &Caller) -> Result<User, ApiError> {
        let Identity::User(id) = caller.identity else {
            return Err(ApiError::new(ErrorCode::Forbidden, "This is for users, not for machine clients"));
        };
        let user = self.store.user(id).await?.filter(|user| user.is_active);
        // Only within the second after it was removed.
        user.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "This user may not sign in"))
    }

    pub(super) async fn update_me(&self, caller: &Caller, change: ProfileChange) -> Result<User, ApiError> {
        let mut user = self.me(caller).await?;
        if let Some(name) = change.name {
            user.name = text::line("name", &name, MAX_NAME_LEN)?;
        }
        if let Some(url) = change.avatar_url {
            user.avatar_url = url.map(|url| text::https_url("avatar_url", &url)).transpose()?;
        }
        user.updated_at = now();
        self.store.update_profile(&user).await?;
        let target = Some(("user", user.id.to_string()));
        self.audit.record(caller, "user.update", target, json!({ "name": user.name })).await?;
        Ok(user)
    }

    /// Refuses somebody whose name, address or password will not do.
    pub(super) fn check_person(&self, person: NewPerson) -> Result<CheckedPerson, ApiError> {
        let email = text::email_field(&person.email)?;
        let name = text::line("name", &person.name, MAX_NAME_LEN)?;
        self.check_password(&person.password, &email)?;
        Ok(CheckedPerson(NewPerson { email, name, ..person }))
    }

    /// Refuses an organization whose name or slug will not do, or any unless the operator lets everybody make one.
    pub(super) fn check_organization(&self, name: &str, slug: &str) -> Result<CheckedOrganization, ApiError> {
        if !self.settings.open_registration {
            let message = "Registration is closed: ask an administrator of your organization for an account";
            return Err(ApiError::new(ErrorCode::Forbidden, message));
        }
        let name = text::line("organization_name", name, MAX_NAME_LEN)?;
        Ok(CheckedOrganization(new_organization(name, text::slug("organization_slug", slug)?)))
    }

    /// Refuses what cannot be a password of the account with this address.
    pub(super) fn check_password(&self, password: &str, email: &str) -> Result<(), ApiError> {
        let min = self.settings.min_password_length as usize;
        check_password(password, email, min)
            .map_err(|error| ApiError::field("password", format!("The password {error}")))
    }

    pub(super) async fn hash_password(&self, password: String) -> Result<String, ApiError> {
        self.passwords.hash(password).await.map_err(hash_error)
    }

    async fn organization(&self, id: OrganizationId) -> Result<Organization, ApiError> {
        let organization = self.store.organization(id).await?;
        organization.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, WRONG_LOGIN))
    }

    /// Begins a login of a user as it was when its password was verified or set. If that has changed since, the login is
    /// refused: whoever changed it believes that every other one is ended.
    async fn sign_in(
        &self,
        visitor: Visitor,
        user: User,
        organization: Organization,
    ) -> Result<SignedIn, ApiError> {
        let login = Uuid::now_v7();
        let (refresh_token, kept) = self.draw_refresh_token(user.id, login)?;
        let target = Some(("user", user.id.to_string()));
        if !self.store.begin_login(&kept, user.password_hash.as_deref()).await? {
            let who = Who::nobody(Some(organization.id), visitor);
            let details = json!({ "email": user.email, "reason": "changed_meanwhile" });
            self.audit.record(who, "user.login_failed", target, details).await?;
            return Err(ApiError::new(ErrorCode::Unauthorized, WRONG_LOGIN));
        }
        self.audit.record(Who::user(&user, visitor), "user.login", target, json!({})).await?;
        // What was known of it may be from before it was activated or changed.
        self.directory.forget_user(user.id);
        Ok(self.pair(user, organization, refresh_token, login))
    }

    fn pair(
        &self,
        user: User,
        organization: Organization,
        refresh_token: OneTimeSecret,
        login: Uuid,
    ) -> SignedIn {
        let expires_in = Duration::minutes(self.settings.access_token_minutes.into());
        let subject = Subject::User { id: user.id, login };
        let access_token = self.tokens.issue_access(&AccessClaims::new(subject, organization.id, expires_in));
        SignedIn { access_token, refresh_token, expires_in, user, organization }
    }

    fn draw_refresh_token(
        &self,
        user_id: UserId,
        family: Uuid,
    ) -> Result<(OneTimeSecret, RefreshToken), ApiError> {
        let token = OneTimeSecret::draw(SecretKind::Refresh).map_err(ApiError::internal)?;
        let hash: SecretHash = token.hash();
        let created_at = now();
        let expires_at = created_at + Duration::days(self.settings.refresh_token_days.into());
        Ok((token, RefreshToken { hash, user_id, family, created_at, expires_at }))
    }
}

pub(super) fn new_user(
    organization_id: OrganizationId,
    email: String,
    name: String,
    role: OrganizationRole,
    password_hash: Option<String>,
) -> User {
    let now = now();
    User {
        id: UserId::generate(),
        organization_id,
        email,
        name,
        role,
        password_hash,
        avatar_url: None,
        is_active: true,
        last_login_at: None,
        created_at: now,
        updated_at: now,
    }
}

pub(super) fn email_taken() -> ApiError {
    ApiError::taken("email", "There is a user with this email in the organization")
}

fn hash_error(error: HashError) -> ApiError {
    match error {
        HashError::Busy => ApiError::busy("Too many are signing in at this moment", RETRY_AFTER_SECONDS),
        other => ApiError::internal(other),
    }
}
