//! Keys, and the database as a whole.

use std::path::Path;

use serde_json::json;

use super::Admin;
use crate::auth::keys::KeyRing;
use crate::storage::{DatabaseLocation, SqliteStore};

impl Admin {
    pub(super) async fn rotate_keys(&self) -> anyhow::Result<()> {
        let key_id = KeyRing::open(&self.data_dir)?.rotate()?;
        self.audit(self.organization().await?.id, "key.rotate", Some(("key", key_id.clone())), json!({}))
            .await?;
        self.show_once("New tokens are signed with a new key in two minutes.", &[("key_id", &key_id)]);
        Ok(())
    }

    /// Opening the database has brought it up to date.
    pub(super) fn migrate(&self) -> anyhow::Result<()> {
        eprintln!("The tables of {} are up to date.", self.shown());
        Ok(())
    }

    pub(super) async fn check(&self) -> anyhow::Result<()> {
        self.store.check().await?;
        if let DatabaseLocation::Sqlite(file) = &self.location {
            let problems = SqliteStore::open(file).await?.integrity_check().await?;
            if !problems.is_empty() {
                anyhow::bail!(
                    "{} is damaged; restore it from a backup:\n{}",
                    file.display(),
                    problems.join("\n")
                );
            }
        }
        eprintln!("{} is sound.", self.shown());
        Ok(())
    }

    /// The database as an operator would call it, without the password that its URL may hold.
    fn shown(&self) -> String {
        match &self.location {
            DatabaseLocation::Sqlite(file) => file.display().to_string(),
            DatabaseLocation::Postgres(_) => "the PostgreSQL database".to_owned(),
        }
    }
}

/// Copies the database as it is.
pub(super) async fn backup(data_dir: &Path, location: &DatabaseLocation, to: &Path) -> anyhow::Result<()> {
    let DatabaseLocation::Sqlite(file) = location else {
        anyhow::bail!("this copies SQLite databases; for PostgreSQL use pg_dump");
    };
    SqliteStore::backup(file, to).await?;
    eprintln!(
        "{} holds a copy of the database. Tokens need the keys in {} too.",
        to.display(),
        data_dir.display()
    );
    Ok(())
}
