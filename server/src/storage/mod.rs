//! Durable facts: which meetings exist and for whom join tokens were issued.
//!
//! [`Store`] is the seam; `sqlite` is the embedded backend. Live facts (who is in a meeting now) are not stored.
//! Every backend passes the same `conformance` suite.

#[cfg(test)]
mod conformance;
mod sqlite;
mod store;

pub use sqlite::SqliteStore;
pub use store::{
    IssuedParticipant, Meeting, MeetingFilter, MeetingPage, MeetingSettings, Role, Store, StoreError,
};
