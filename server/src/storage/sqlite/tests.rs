use super::*;
use crate::storage::conformance;
use crate::storage::store::Maintenance as _;

/// A store in a folder of its own.
async fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("a.db")).await.expect("opens");
    (folder, store)
}

#[tokio::test]
async fn conforms() {
    let (_folder, store) = store().await;
    conformance::run(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what writes cost"]
async fn cost_of_writes() {
    let (_folder, store) = store().await;
    conformance::cost::print(std::sync::Arc::new(store)).await;
}
