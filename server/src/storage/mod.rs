//! Durable facts: what is kept ([`model`]), what a backend must do ([`store`]), and the backends.
//!
//! Both backends run the same queries: the folder `sql` is a module of each of them, and takes what differs from the
//! `dialect` beside it. A query that only one database understands belongs into the dialects.

#[cfg(test)]
mod conformance;
mod migrations;
pub mod model;
mod open;
mod postgres;
mod representation;
mod sqlite;
pub mod store;
mod violation;

pub use open::{DatabaseLocation, open};
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError, Stored, Unique};
