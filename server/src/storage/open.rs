//! Choosing and opening a backend.

use std::path::PathBuf;
use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::store::{Store, StoreError};

/// Where the facts are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseLocation {
    /// A file, made if it is not there.
    Sqlite(PathBuf),
    /// A `postgres://` URL. May hold a password.
    Postgres(String),
}

impl std::fmt::Debug for DatabaseLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.debug_tuple("Postgres").finish_non_exhaustive(),
        }
    }
}

/// Opens a database and brings its tables up to date.
///
/// # Errors
/// [`StoreError::Unavailable`] if it cannot be reached, is none, or refuses; [`StoreError::Newer`].
pub async fn open(location: &DatabaseLocation) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match location {
        DatabaseLocation::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
        DatabaseLocation::Postgres(url) => Arc::new(PostgresStore::open(url).await?),
    })
}

/// `database` cannot be opened because of `error`.
pub(super) fn unavailable(
    database: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Unavailable { database: database.to_owned(), source: Box::new(error) }
}
