//! What the queries need to know about SQLite.

/// The kind of database.
pub(in super::super) type Db = sqlx::Sqlite;
/// What the stores are implemented for.
pub(in super::super) type Backend = super::SqliteStore;
/// A row of a result.
pub(in super::super) type Row = sqlx::sqlite::SqliteRow;
/// A connection, in writes inside their transaction.
pub(in super::super) type Connection = sqlx::SqliteConnection;
/// A statement with its arguments.
pub(in super::super) type Query = sqlx::query::Query<'static, Db, <Db as sqlx::Database>::Arguments>;

/// Begins a transaction that writes. A transaction that turned into a writer later would fail instead of waiting.
pub(in super::super) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// Ends a query whose rows must not change until the transaction ends. Here, nobody else writes until then.
macro_rules! for_update {
    () => {
        ""
    };
}
pub(in super::super) use for_update;

/// Whether a text contains another. Not `LIKE`, which takes some characters for wildcards and fails for long patterns.
macro_rules! contains {
    ($text:literal, $part:literal) => {
        concat!("instr(", $text, ", ", $part, ") > 0")
    };
}
pub(in super::super) use contains;
