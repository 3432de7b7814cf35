//! What every [`Store`] must do, run by the tests of each backend. Each function wants a store in which others may have
//! worked before, and makes organizations of its own.

mod audit;
mod clients;
pub(super) mod cost;
mod examples;
mod hostile_text;
mod maintenance;
mod meetings;
mod organizations;
mod participants;
mod presets;
mod quality;
mod races;
mod sessions;
mod users;

pub(super) use examples::{at, meeting, organization, participant};

use super::store::Store;

/// Runs the whole suite.
pub(super) async fn run(store: &dyn Store) {
    store.check().await.expect("answers");
    organizations::run(store).await;
    users::run(store).await;
    clients::run(store).await;
    presets::run(store).await;
    meetings::run(store).await;
    participants::run(store).await;
    sessions::run(store).await;
    quality::run(store).await;
    audit::run(store).await;
    hostile_text::run(store).await;
    races::run(store).await;
    maintenance::run(store).await;
}
