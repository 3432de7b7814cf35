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
