use super::test_server::TestServer;
use super::*;
use crate::storage::conformance;
use crate::storage::store::Maintenance as _;

#[tokio::test]
async fn conforms() {
    let server = TestServer::start();
    let store = PostgresStore::open(&server.database("conformance")).await.expect("opens");
    conformance::run(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what writes cost"]
async fn cost_of_writes() {
    let server = TestServer::start_with(&[]);
    let store = PostgresStore::open(&server.database("cost")).await.expect("opens");
    conformance::cost::print(std::sync::Arc::new(store)).await;
}
