//! `darktower admin`: what operators do on the machine of the server, on its data folder or database.
//!
//! Nothing here needs a running server, and nothing disturbs one: the database takes several processes, and a running
//! server notices revoked participants, ended meetings and new keys by itself within a second or so. Lists go to
//! standard output, as a table for people or with `--json` one object per line; what was done goes to standard error.

mod accounts;
mod database;
mod meetings;
mod table;

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use darktower_core::named::Named;
use darktower_protocol::OrganizationId;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::config::{Config, DatabaseFlags};
use crate::global_controller::DEFAULT_SLUG;
use crate::storage::model::{AuditEntry, Organization};
use crate::storage::{self, DatabaseLocation, Store};

const EXAMPLES: &str = "\
A machine client for your application, with the rights it needs:
  darktower admin client create --name backend --scope meetings,tokens

The first owner, when the secret of the first start is lost:
  darktower admin owner-secret

A backup while the server runs (SQLite):
  darktower admin backup darktower-2026-11-21.db

Which data: the data_dir and database_url of `darktower serve`, from the same file and environment, or --data-dir.";

/// What operators do on the machine of the server: clients, users, tokens, meetings, keys, the database
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub struct AdminArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Print one JSON object per line instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Short name of the organization it is about
    #[arg(long, global = true, value_name = "SLUG", default_value = DEFAULT_SLUG)]
    organization: String,
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Machine clients of the API
    #[command(subcommand)]
    Client(accounts::ClientCommand),
    /// Users
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// Make a new one-time secret with which the first owner registers
    OwnerSecret,
    /// Issue a join token for a meeting
    Token(meetings::TokenArgs),
    /// List meetings, the newest first
    Meetings(meetings::MeetingsArgs),
    /// End a meeting: everybody is thrown out within a second
    End(meetings::EndArgs),
    /// Revoke a participant's tokens: it is thrown out within a second
    Revoke(meetings::RevokeArgs),
    /// Sign new tokens with a new key; tokens of the old one go on working until they end
    RotateKeys,
    /// Bring the tables of the database up to date, which `serve` does too
    Migrate,
    /// Check that the database is sound
    Check,
    /// Copy the SQLite database to a new file as it is, also while the server runs
    Backup {
        /// The file to make; it must not exist
        file: PathBuf,
    },
}

/// Reads a value by its name; the help and the refusal of another list the names.
fn named<T>() -> impl TypedValueParser<Value = T>
where
    T: Named + FromStr<Err: Display> + Send + Sync,
{
    let names = T::ALL.iter().map(|value| value.as_str());
    PossibleValuesParser::new(names)
        .map(|name| name.parse().unwrap_or_else(|_| unreachable!("it is one of the names")))
}

/// The data that commands work on.
struct Admin {
    data_dir: PathBuf,
    location: DatabaseLocation,
    store: Arc<dyn Store>,
    json: bool,
    organization_slug: String,
}

/// Runs one command.
///
/// # Errors
/// What kept it from being done.
pub async fn run(args: AdminArgs) -> anyhow::Result<()> {
    let (data_dir, location) = Config::load_database(&args.database)?;
    if let DatabaseLocation::Sqlite(file) = &location
        && !file.exists()
    {
        anyhow::bail!(
            "there is no database at {}: name the server's folder with --data-dir, or start the server once",
            file.display()
        );
    }
    // Before anything brings the tables up to date: the copy is for going back to the version before.
    if let AdminCommand::Backup { file } = &args.command {
        return database::backup(&data_dir, &location, file).await;
    }
    let store = storage::open(&location).await?;
    let admin =
        Admin { data_dir, location, store, json: args.json, organization_slug: args.organization.clone() };
    let done = admin.run(args.command).await;
    admin.store.close().await;
    done
}

impl Admin {
    async fn run(&self, command: AdminCommand) -> anyhow::Result<()> {
        match command {
            AdminCommand::Client(command) => self.client(command).await,
            AdminCommand::User(command) => self.user(command).await,
            AdminCommand::OwnerSecret => self.owner_secret().await,
            AdminCommand::Token(args) => self.token(args).await,
            AdminCommand::Meetings(args) => self.meetings(args).await,
            AdminCommand::End(args) => self.end(args).await,
            AdminCommand::Revoke(args) => self.revoke(args).await,
            AdminCommand::RotateKeys => self.rotate_keys().await,
            AdminCommand::Migrate => self.migrate(),
            AdminCommand::Check => self.check().await,
            AdminCommand::Backup { .. } => Ok(()),
        }
    }

    async fn organization(&self) -> anyhow::Result<Organization> {
        let slug = &self.organization_slug;
        let found = self.store.organization_by_slug(slug).await?;
        found.with_context(|| format!("there is no organization {slug:?}: name one with --organization"))
    }

    /// Enters into the audit log what an operator did.
    async fn audit(
        &self,
        organization: OrganizationId,
        action: &str,
        target: Option<(&str, String)>,
        details: serde_json::Value,
    ) -> anyhow::Result<()> {
        let (target_kind, target_id) = target.unzip();
        let entry = AuditEntry {
            id: Uuid::now_v7(),
            organization_id: Some(organization),
            at: OffsetDateTime::now_utc(),
            actor_kind: "operator".to_owned(),
            actor_id: None,
            action: action.to_owned(),
            target_kind: target_kind.map(str::to_owned),
            target_id,
            details,
            request_id: None,
        };
        self.store.append_audit(&entry).await.context("it is done, but the audit log could not be written")
    }

    /// Something that is shown once, such as a secret: by itself on standard output, so that a script can take it.
    fn show_once(&self, what: &str, fields: &[(&str, &str)]) {
        if self.json {
            let object: serde_json::Map<_, _> =
                fields.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            println!("{}", serde_json::Value::Object(object));
            return;
        }
        eprintln!("{what}");
        let width = fields.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in fields {
            println!("{key:width$}  {value}");
        }
    }
}
