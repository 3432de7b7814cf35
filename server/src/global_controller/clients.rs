//! Machine clients: programs that call the API with a secret of their own.

use std::sync::Arc;

use darktower_core::access::Scope;
use darktower_protocol::OrganizationId;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::audit::{Audit, Who};
use super::caller::{Caller, Visitor};
use super::directory::Directory;
use super::error::{ApiError, ErrorCode};
use super::meetings::now;
use super::text::{self, MAX_NAME_LEN};
use crate::auth::secret::{OneTimeSecret, SecretKind, hash_secret, same_hash};
use crate::auth::{AccessClaims, Subject, TokenService};
use crate::config::ApiClient;
use crate::storage::Store;
use crate::storage::model::{Client, Listed, Page, SecretHash};

/// How long a machine client may work with one access token.
pub(super) const ACCESS_TOKEN_LIFETIME: Duration = Duration::seconds(3600);
/// Longest id that is looked up, bytes.
const MAX_ID_LEN: usize = 800;
/// Compared with when there is no such client, so that it costs the same.
const NOBODY: SecretHash = [0; 32];

/// A client that was authenticated.
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) scopes: Vec<Scope>,
}

/// Machine clients of organizations, and the one of the configuration.
pub(super) struct Clients {
    store: Arc<dyn Store>,
    tokens: Arc<TokenService>,
    audit: Arc<Audit>,
    directory: Arc<Directory>,
    configured: Option<(ApiClient, OrganizationId)>,
}

/// The id of a new client. It is public; the secret beside it is not.
pub(crate) fn new_client_id() -> String {
    format!("dtc_{}", uuid::Uuid::new_v4().simple())
}

impl Clients {
    pub(super) fn new(
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        audit: Arc<Audit>,
        directory: Arc<Directory>,
        configured: Option<(ApiClient, OrganizationId)>,
    ) -> Self {
        Self { store, tokens, audit, directory, configured }
    }

    /// An access token for a client that knows its secret. Whether id or secret is wrong is not told.
    pub(super) async fn grant(&self, visitor: Visitor, id: &str, secret: &str) -> Result<Granted, ApiError> {
        let client = self.find(id).await?;
        let kept = client.as_ref().map_or(&NOBODY, |client| &client.secret_hash);
        // Hashes of equal length, compared in constant time, whether there is such a client or not.
        let right = same_hash(&hash_secret(secret), kept);
        let organization = client.as_ref().map(|client| client.organization_id);
        let Some(client) = client.filter(|_| right) else {
            // Also for unknown ids: without, they would be told by the time that the entry takes.
            let who = Who::nobody(organization, visitor);
            let target = ("client", id.chars().take(MAX_NAME_LEN).collect());
            self.audit.record(who, "client.login_failed", Some(target), json!({})).await?;
            return Err(ApiError::new(ErrorCode::Unauthorized, "client_id or client_secret is wrong"));
        };
        let subject = Subject::Client(client.id.clone());
        let claims = AccessClaims::new(subject, client.organization_id, ACCESS_TOKEN_LIFETIME);
        tracing::info!(client = client.id, "access token issued");
        Ok(Granted { access_token: self.tokens.issue_access(&claims), scopes: client.scopes })
    }

    async fn find(&self, id: &str) -> Result<Option<Client>, ApiError> {
        let stored = if id.len() > MAX_ID_LEN { None } else { self.store.client(id).await? };
        if let Some((configured, organization)) = &self.configured
            && configured.client_id == id
        {
            return Ok(Some(Client {
                id: configured.client_id.clone(),
                organization_id: *organization,
                name: "the client of the configuration".to_owned(),
                secret_hash: hash_secret(configured.client_secret.expose()),
                scopes: darktower_core::named::Named::ALL.to_vec(),
                created_at: OffsetDateTime::UNIX_EPOCH,
            }));
        }
        Ok(stored)
    }

    pub(super) async fn list(&self, caller: &Caller, page: Page) -> Result<Listed<Client>, ApiError> {
        Ok(self.store.clients(caller.organization, page).await?)
    }

    pub(super) async fn get(&self, caller: &Caller, id: &str) -> Result<Client, ApiError> {
        let client = if id.len() > MAX_ID_LEN { None } else { self.store.client(id).await? };
        let client = client.filter(|client| client.organization_id == caller.organization);
        client.ok_or_else(|| ApiError::new(ErrorCode::ClientNotFound, "This client does not exist"))
    }

    /// The client, and its secret, which is not shown again.
    pub(super) async fn create(
        &self,
        caller: &Caller,
        name: &str,
        mut scopes: Vec<Scope>,
    ) -> Result<(Client, OneTimeSecret), ApiError> {
        let name = text::line("name", name, MAX_NAME_LEN)?;
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(ApiError::field("scopes", "scopes must name at least one scope"));
        }
        let secret = OneTimeSecret::draw(SecretKind::Client).map_err(ApiError::internal)?;
        let client = Client {
            id: new_client_id(),
            organization_id: caller.organization,
            name,
            secret_hash: secret.hash(),
            scopes,
            created_at: now(),
        };
        self.store.create_client(&client).await?;
        let details = json!({ "name": client.name, "scopes": client.scopes });
        self.audit.record(caller, "client.create", Some(("client", client.id.clone())), details).await?;
        Ok((client, secret))
    }

    /// Another secret; the one before stops working. Access tokens go on until they end.
    pub(super) async fn renew_secret(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(Client, OneTimeSecret), ApiError> {
        let client = self.get(caller, id).await?;
        let secret = OneTimeSecret::draw(SecretKind::Client).map_err(ApiError::internal)?;
        if !self.store.set_client_secret(id, &secret.hash()).await? {
            return Err(ApiError::new(ErrorCode::ClientNotFound, "This client does not exist"));
        }
        self.audit.record(caller, "client.secret", Some(("client", id.to_owned())), json!({})).await?;
        Ok((client, secret))
    }

    /// Removes a client; its access tokens stop working within a second.
    pub(super) async fn delete(&self, caller: &Caller, id: &str) -> Result<(), ApiError> {
        let client = self.get(caller, id).await?;
        if !self.store.delete_client(id).await? {
            return Err(ApiError::new(ErrorCode::ClientNotFound, "This client does not exist"));
        }
        self.directory.forget_client(id);
        let details = json!({ "name": client.name });
        self.audit.record(caller, "client.delete", Some(("client", id.to_owned())), details).await?;
        Ok(())
    }
}
