//! What the queries need to know about PostgreSQL.

/// The kind of database.
pub(in super::super) type Db = sqlx::Postgres;
/// What the stores are implemented for.
pub(in super::super) type Backend = super::PostgresStore;
/// A row of a result.
pub(in super::super) type Row = sqlx::postgres::PgRow;
/// A connection, in writes inside their transaction.
pub(in super::super) type Connection = sqlx::PgConnection;
/// A statement with its arguments.
pub(in super::super) type Query = sqlx::query::Query<'static, Db, <Db as sqlx::Database>::Arguments>;

/// Begins a transaction that writes.
pub(in super::super) const BEGIN_WRITE: &str = "BEGIN";

/// Ends a query whose rows must not change until the transaction ends. `NO KEY`: what refers to the row may come and
/// go meanwhile.
macro_rules! for_update {
    () => {
        " FOR NO KEY UPDATE"
    };
}
pub(in super::super) use for_update;

/// Whether a text contains another. Not `LIKE`, which takes some characters for wildcards and fails for long patterns.
macro_rules! contains {
    ($text:literal, $part:literal) => {
        concat!("strpos(", $text, ", ", $part, ") > 0")
    };
}
pub(in super::super) use contains;
