//! Bringing tables up to date.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::open::unavailable;
use super::store::StoreError;

/// Version, name and text of one step.
pub(super) type MigrationFile = (i64, &'static str, &'static str);

/// Applies `files` in the order of their versions, each once. Refuses a database in which one of them has another text.
pub(super) fn migrator(files: &[MigrationFile]) -> Migrator {
    Migrator::with_migrations(
        files
            .iter()
            .map(|&(version, name, text)| {
                let text = text.into_sql_str();
                Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text, false)
            })
            .collect(),
    )
}

/// Why `migrations` could not be applied to `database`.
pub(super) fn migration_error(database: &str, migrations: &Migrator, error: MigrateError) -> StoreError {
    let known = migrations.iter().map(|migration| migration.version).max().unwrap_or_default();
    match error {
        MigrateError::VersionMissing(found) if found > known => {
            StoreError::Newer { database: database.to_owned(), found, known }
        }
        error => unavailable(database, error),
    }
}
