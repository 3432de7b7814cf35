//! QUIC without anything of the project above it.

use darktower_client::transport::{Trust, quic_client_config};
use reqwest::Url;

use super::soon;

/// A connection to the server behind `url`, and the client's socket.
pub(crate) async fn quic(url: &str, trust: &Trust, alpn: &[u8]) -> (quinn::Endpoint, quinn::Connection) {
    let config = quic_client_config(trust, alpn).expect("a configuration");
    let url: Url = url.parse().expect("a URL");
    let address = url.socket_addrs(|| None).expect("an address")[0];
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let connecting = endpoint.connect_with(config, address, "localhost").expect("connecting");
    let connection = soon("connect", connecting).await.expect("connected");
    (endpoint, connection)
}
