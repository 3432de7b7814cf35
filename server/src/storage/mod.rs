//! Durable facts: what is kept ([`model`]), what a backend must do ([`store`]), and the backends.

pub mod model;
mod sqlite;
pub mod store;

pub use sqlite::SqliteStore;
pub use store::{Store, StoreError, Stored, Unique};
