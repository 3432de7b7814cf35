//! Machine clients, users and their one-time secrets.

use anyhow::Context as _;
use clap::Subcommand;
use darktower_core::access::{OrganizationRole, Scope};
use darktower_core::named::Named as _;
use darktower_protocol::UserId;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::table::Table;
use super::{Admin, named};
use crate::auth::secret::{OneTimeSecret, SecretKind};
use crate::global_controller::{new_client_id, normalize_email, normalize_name};
use crate::storage::model::{Client, Page, SetupSecret, User, UserFilter};
use crate::storage::{StoreError, Unique};

/// How long a user may take to set its first password.
const SETUP_LIFETIME: Duration = Duration::days(7);
/// As many as are fetched at a time.
const PAGE: u32 = 200;

#[derive(Subcommand)]
pub(super) enum ClientCommand {
    /// Add a client and print its secret, once
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_delimiter = ',', required = true, value_parser = named::<Scope>())]
        scope: Vec<Scope>,
    },
    /// List clients
    List,
    /// Give a client another secret; the old one stops working at once
    NewSecret {
        /// Which client
        client_id: String,
    },
    /// Remove a client; its tokens stop working at once
    Delete {
        /// Which client
        client_id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Add a user and print the one-time token with which it sets its password
    Create {
        /// Its address
        #[arg(long)]
        email: String,
        /// Its name
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, default_value = "member", value_parser = named::<OrganizationRole>())]
        role: OrganizationRole,
    },
    /// List users
    List,
    /// Print a new one-time token with which a user sets another password
    Reset {
        /// Its address
        email: String,
    },
    /// Change what a user may do
    Role {
        /// Its address
        email: String,
        /// What it may do; the owner before a new one becomes an admin
        #[arg(value_parser = named::<OrganizationRole>())]
        role: OrganizationRole,
    },
    /// Keep a user from signing in; its tokens stop working at once
    Disable {
        /// Its address
        email: String,
    },
    /// Let a disabled user sign in again
    Enable {
        /// Its address
        email: String,
    },
}

impl Admin {
    pub(super) async fn client(&self, command: ClientCommand) -> anyhow::Result<()> {
        let organization = self.organization().await?.id;
        match command {
            ClientCommand::Create { name, scope: scopes } => {
                let name = checked_name(&name)?;
                let secret = OneTimeSecret::draw(SecretKind::Client)?;
                let client = Client {
                    id: new_client_id(),
                    organization_id: organization,
                    name,
                    secret_hash: secret.hash(),
                    scopes,
                    created_at: OffsetDateTime::now_utc(),
                };
                self.store.create_client(&client).await?;
                let target = Some(("client", client.id.clone()));
                self.audit(organization, "client.create", target, json!({ "name": client.name })).await?;
                self.show_once(
                    "Added. The secret is shown this once:",
                    &[("client_id", &client.id), ("client_secret", secret.expose())],
                );
            }
            ClientCommand::List => {
                let mut table = Table::new(&["client_id", "name", "scopes", "created"]);
                let mut offset = 0;
                loop {
                    let page = self.store.clients(organization, Page { limit: PAGE, offset }).await?;
                    for client in &page.items {
                        let scopes: Vec<_> = client.scopes.iter().map(|scope| scope.as_str()).collect();
                        if self.json {
                            println!(
                                "{}",
                                json!({ "client_id": client.id, "name": client.name, "scopes": scopes })
                            );
                        }
                        let created = client.created_at.date().to_string();
                        table.row([client.id.clone(), client.name.clone(), scopes.join(","), created]);
                    }
                    offset += PAGE;
                    if u64::from(offset) >= page.total {
                        break;
                    }
                }
                self.print(&table);
            }
            ClientCommand::NewSecret { client_id } => {
                self.known_client(&client_id).await?;
                let secret = OneTimeSecret::draw(SecretKind::Client)?;
                self.store.set_client_secret(&client_id, &secret.hash()).await?;
                self.audit(organization, "client.secret", Some(("client", client_id.clone())), json!({}))
                    .await?;
                self.show_once(
                    "The new secret, shown this once:",
                    &[("client_id", &client_id), ("client_secret", secret.expose())],
                );
            }
            ClientCommand::Delete { client_id } => {
                self.known_client(&client_id).await?;
                self.store.delete_client(&client_id).await?;
                self.audit(organization, "client.delete", Some(("client", client_id.clone())), json!({}))
                    .await?;
                eprintln!("Removed.");
            }
        }
        Ok(())
    }

    async fn known_client(&self, id: &str) -> anyhow::Result<Client> {
        let organization = self.organization().await?.id;
        let client = self.store.client(id).await?.filter(|client| client.organization_id == organization);
        client.with_context(|| format!("there is no client {id:?}; `darktower admin client list` shows them"))
    }

    pub(super) async fn user(&self, command: UserCommand) -> anyhow::Result<()> {
        match command {
            UserCommand::Create { email, name, role } => self.create_user(&email, &name, role).await,
            UserCommand::List => self.list_users().await,
            UserCommand::Reset { email } => {
                let user = self.known_user(&email).await?;
                let (token, setup) = setup_secret(&user)?;
                self.store.put_setup_secret(&setup, true).await?;
                self.user_changed(&user, "user.reset", json!({})).await?;
                self.show_once(
                    "For POST /api/v1/auth/activate, once, within seven days:",
                    &[("setup_token", token.expose())],
                );
                Ok(())
            }
            UserCommand::Role { email, role } => {
                let user = self.known_user(&email).await?;
                if user.role == OrganizationRole::Owner && role != OrganizationRole::Owner {
                    anyhow::bail!("an organization keeps its owner: make somebody else the owner instead");
                }
                if role == OrganizationRole::Owner && (!user.is_active || user.password_hash.is_none()) {
                    anyhow::bail!("only a user who may sign in and has set a password can become the owner");
                }
                if !self.store.change_role(user.id, role, OffsetDateTime::now_utc()).await? {
                    anyhow::bail!(
                        "{} was removed or became the owner meanwhile: nothing is changed",
                        user.email
                    );
                }
                self.user_changed(&user, "user.role", json!({ "from": user.role, "to": role })).await?;
                eprintln!("{} is {role} now.", user.email);
                Ok(())
            }
            UserCommand::Disable { email } => self.set_active(&email, false).await,
            UserCommand::Enable { email } => self.set_active(&email, true).await,
        }
    }

    async fn create_user(&self, email: &str, name: &str, role: OrganizationRole) -> anyhow::Result<()> {
        if role == OrganizationRole::Owner {
            anyhow::bail!("the owner registers with the secret of `darktower admin owner-secret`");
        }
        let organization = self.organization().await?.id;
        let email = normalize_email(email)
            .with_context(|| format!("{email:?} is not an address such as zoe@example.org"))?;
        let name = checked_name(name)?;
        let now = OffsetDateTime::now_utc();
        let user = User {
            id: UserId::generate(),
            organization_id: organization,
            email,
            name,
            role,
            password_hash: None,
            avatar_url: None,
            is_active: true,
            last_login_at: None,
            created_at: now,
            updated_at: now,
        };
        let (token, setup) = setup_secret(&user)?;
        match self.store.create_user(&user, Some(&setup)).await {
            Err(StoreError::Taken(Unique::Email)) => {
                anyhow::bail!(
                    "{} is a user already; `darktower admin user reset` gives a new token",
                    user.email
                )
            }
            other => other?,
        }
        self.user_changed(&user, "user.create", json!({ "role": role })).await?;
        let id = user.id.to_string();
        self.show_once(
            "Added. The token is for POST /api/v1/auth/activate, once, within seven days:",
            &[("user_id", &id), ("setup_token", token.expose())],
        );
        Ok(())
    }

    async fn list_users(&self) -> anyhow::Result<()> {
        let organization_id = self.organization().await?.id;
        let mut table = Table::new(&["email", "name", "role", "state", "last login"]);
        let mut offset = 0;
        loop {
            let page = Page { limit: PAGE, offset };
            let filter = UserFilter { organization_id, role: None, search: None, page };
            let listed = self.store.users(&filter).await?;
            for user in &listed.items {
                let state = match (user.is_active, &user.password_hash) {
                    (false, _) => "disabled",
                    (true, None) => "invited",
                    (true, Some(_)) => "active",
                };
                if self.json {
                    println!(
                        "{}",
                        json!({ "user_id": user.id.to_string(), "email": user.email, "name": user.name,
                                "role": user.role, "state": state })
                    );
                }
                let login = user.last_login_at.map_or_else(|| "never".to_owned(), |at| at.date().to_string());
                table.row([
                    user.email.clone(),
                    user.name.clone(),
                    user.role.to_string(),
                    state.to_owned(),
                    login,
                ]);
            }
            offset += PAGE;
            if u64::from(offset) >= listed.total {
                break;
            }
        }
        self.print(&table);
        Ok(())
    }

    async fn set_active(&self, email: &str, is_active: bool) -> anyhow::Result<()> {
        let user = self.known_user(email).await?;
        if !self.store.set_active(user.id, is_active, OffsetDateTime::now_utc()).await? {
            anyhow::bail!("the owner cannot be disabled: make somebody else the owner first");
        }
        let action = if is_active { "user.enable" } else { "user.disable" };
        self.user_changed(&user, action, json!({})).await?;
        eprintln!(
            "{} {}.",
            user.email,
            if is_active { "may sign in again" } else { "cannot sign in any more" }
        );
        Ok(())
    }

    async fn known_user(&self, email: &str) -> anyhow::Result<User> {
        let organization = self.organization().await?.id;
        let user = self.store.user_by_email(organization, &email.trim().to_lowercase()).await?;
        user.with_context(|| format!("there is no user {email:?}; `darktower admin user list` shows them"))
    }

    async fn user_changed(
        &self,
        user: &User,
        action: &'static str,
        details: serde_json::Value,
    ) -> anyhow::Result<()> {
        self.audit(user.organization_id, action, Some(("user", user.id.to_string())), details).await
    }

    pub(super) async fn owner_secret(&self) -> anyhow::Result<()> {
        let organization = self.organization().await?;
        if self.store.has_owner(organization.id).await? {
            anyhow::bail!(
                "{} has an owner; `darktower admin user reset EMAIL` lets it set another password",
                organization.name
            );
        }
        let secret = OneTimeSecret::draw(SecretKind::Setup)?;
        let setup = SetupSecret {
            hash: secret.hash(),
            organization_id: organization.id,
            user_id: None,
            created_at: OffsetDateTime::now_utc(),
            expires_at: None,
        };
        self.store.put_setup_secret(&setup, true).await?;
        self.audit(organization.id, "organization.owner_secret", None, json!({})).await?;
        self.show_once(
            "For POST /api/v1/auth/register, once; the secret before stops working:",
            &[("setup_secret", secret.expose())],
        );
        Ok(())
    }

    pub(super) fn print(&self, table: &Table) {
        if !self.json {
            print!("{}", table.render());
        }
    }
}

/// A name that the API would take too.
fn checked_name(name: &str) -> anyhow::Result<String> {
    normalize_name(name).map_err(|reason| anyhow::anyhow!("--name {reason}"))
}

fn setup_secret(user: &User) -> anyhow::Result<(OneTimeSecret, SetupSecret)> {
    let token = OneTimeSecret::draw(SecretKind::Setup)?;
    let created_at = OffsetDateTime::now_utc();
    let expires_at = Some(created_at + SETUP_LIFETIME);
    let setup = SetupSecret {
        hash: token.hash(),
        organization_id: user.organization_id,
        user_id: Some(user.id),
        created_at,
        expires_at,
    };
    Ok((token, setup))
}
