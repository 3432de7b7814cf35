//! The backend for several servers: a PostgreSQL database that they share.

mod dialect;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
pub(super) mod test_server;
#[cfg(test)]
mod tests;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use super::migrations::{MigrationFile, migration_error, migrator};
use super::open::unavailable;
use super::store::Stored;
use sql::{Queues, STATEMENTS};

/// Connections of one server to the database; PostgreSQL allows 100 in all by default.
const CONNECTIONS: u32 = 16;
/// How long connecting may take, and an operation may wait for a free connection, before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// What PostgreSQL ends by itself, milliseconds: a statement that takes too long, and a transaction whose server is gone.
const TIMEOUTS: [(&str, &str); 2] =
    [("statement_timeout", "10000"), ("idle_in_transaction_session_timeout", "10000")];

/// Version, name and text of the steps that tables are brought up to date by. What was released never changes.
const MIGRATIONS: [MigrationFile; 2] = [
    (1, "tables", include_str!("../migrations/postgres/0001_tables.sql")),
    (2, "quality", include_str!("../migrations/postgres/0002_quality.sql")),
];

/// A [`Store`](super::Store) in a PostgreSQL database (15 or later), shared by any number of servers.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
    queues: Queues,
}

impl PostgresStore {
    /// Connects to the database of a `postgres://` URL and brings its tables up to date; of several servers that do so
    /// at one time, one does and the others wait.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](super::StoreError::Unavailable) if the URL is none or the database cannot be reached or refuses,
    /// [`StoreError::Newer`](super::StoreError::Newer) if it is newer than this program. Neither repeats a password.
    pub async fn open(url: &str) -> Stored<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| unavailable("the database: its URL is not valid", error))?
            .application_name("darktower");
        let database = format!(
            "the database {} of PostgreSQL at {}:{}",
            options.get_database().unwrap_or_else(|| options.get_username()),
            options.get_host(),
            options.get_port()
        );
        migrate(&options, &database).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.options(TIMEOUTS).statement_cache_capacity(STATEMENTS))
            .await
            .map_err(|error| unavailable(&database, error))?;
        Ok(Self { queues: Queues::new(&pool), pool })
    }

    fn reader(&self) -> &PgPool {
        &self.pool
    }

    fn writer(&self) -> &PgPool {
        &self.pool
    }

    async fn close_pools(&self) {
        self.queues.close().await;
        self.pool.close().await;
    }
}

/// Brings the tables up to date over a connection of its own: waiting for another server that does may take longer than
/// a statement otherwise may.
async fn migrate(options: &PgConnectOptions, database: &str) -> Stored<()> {
    let connect = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect());
    let mut connection = match connect.await {
        Ok(connected) => connected.map_err(|error| unavailable(database, error))?,
        Err(elapsed) => return Err(unavailable(database, elapsed)),
    };
    let migrations = migrator(&MIGRATIONS);
    migrations
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| migration_error(database, &migrations, error))?;
    connection.close().await.map_err(|error| unavailable(database, error))
}
