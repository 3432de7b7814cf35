//! Connections, native and WebTransport, against a listener that answers by hand.

use bytes::Bytes;
use darktower_client::transport::{Connection, Role, TransportKind, Trust, connect};
use darktower_client::{Code, Error};

use crate::mirror::{Listener, Session};

const KINDS: [TransportKind; 2] = [TransportKind::Native, TransportKind::WebTransport];

async fn connected(kind: TransportKind) -> (Connection, Session, Listener) {
    let listener = Listener::bind();
    let url = listener.url("/v1/media");
    let (client, server) = tokio::join!(connect(&url, kind, &listener.trust, Role::Media), listener.accept());
    let (server, is_signaling) = server.unwrap();
    assert!(!is_signaling);
    (client.unwrap(), server, listener)
}

#[tokio::test]
async fn a_further_connection_of_a_client_comes_from_its_socket() {
    for kind in KINDS {
        let (first, server, listener) = connected(kind).await;
        let (url, origin) = (listener.url("/v1/signal"), first.origin());
        let (second, accepted) = tokio::join!(origin.connect(&url, kind, Role::Signal), listener.accept());
        let (beside, is_signaling) = accepted.unwrap();
        assert!(is_signaling);
        assert_eq!(beside.remote_address(), server.remote_address());
        first.close(Code::NO_ERROR, "");
        let (mut send, _recv) = second.unwrap().open_bi().await.unwrap();
        send.write_all(b"still there").await.unwrap();
        let (_send, mut recv) = beside.accept_bi().await.unwrap();
        assert_eq!(recv.read_chunk().await.unwrap().unwrap(), "still there");
    }
}

#[tokio::test]
async fn bytes_go_both_ways() {
    for kind in KINDS {
        let (client, server, _listener) = connected(kind).await;
        assert_eq!(client.kind(), kind);
        let (mut send, mut recv) = client.open_bi().await.unwrap();
        send.write_chunks(&mut [Bytes::from_static(b"to "), Bytes::from_static(b"server")]).await.unwrap();
        send.finish();
        let (mut server_send, mut server_recv) = server.accept_bi().await.unwrap();
        let mut got = Vec::new();
        while let Some(chunk) = server_recv.read_chunk().await.unwrap() {
            got.extend(chunk);
        }
        assert_eq!(got, b"to server");
        send.delivered().await.unwrap();
        server_send.write_all(b"to client").await.unwrap();
        server_send.finish();
        assert_eq!(recv.read_chunk().await.unwrap().unwrap(), "to client");
        assert_eq!(recv.read_chunk().await.unwrap(), None);

        let (mut server_send, _server_recv) = server.open_bi().await.unwrap();
        server_send.write_all(b"unasked").await.unwrap();
        let (_send, mut recv) = client.accept_bi().await.unwrap();
        assert_eq!(recv.read_chunk().await.unwrap().unwrap(), "unasked");

        let mut uni = client.open_uni().await.unwrap();
        uni.write_all(b"one way").await.unwrap();
        assert_eq!(server.accept_uni().await.unwrap().read_chunk().await.unwrap().unwrap(), "one way");
        let mut uni = server.open_uni().await.unwrap();
        uni.write_all(b"back").await.unwrap();
        assert_eq!(client.accept_uni().await.unwrap().read_chunk().await.unwrap().unwrap(), "back");
    }
}

#[tokio::test]
async fn reset_and_stop_codes_arrive() {
    for kind in KINDS {
        let (client, server, _listener) = connected(kind).await;
        let (mut send, mut recv) = client.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        let (mut server_send, mut server_recv) = server.accept_bi().await.unwrap();
        server_recv.read_chunk().await.unwrap();

        server_send.reset(Code::DROPPED_GROUP);
        assert!(matches!(recv.read_chunk().await, Err(Error::StreamEnded(Code::DROPPED_GROUP))), "{kind:?}");
        send.reset(Code::CANCELLED);
        assert!(matches!(server_recv.read_chunk().await, Err(Error::StreamEnded(Code::CANCELLED))));

        let mut send = client.open_uni().await.unwrap();
        send.write_all(b"x").await.unwrap();
        let mut recv = server.accept_uni().await.unwrap();
        recv.stop(Code::PAYLOAD_TOO_LARGE);
        let delivered = send.delivered().await;
        assert!(matches!(delivered, Err(Error::StreamEnded(Code::PAYLOAD_TOO_LARGE))), "{delivered:?}");
        assert!(matches!(send.write_all(b"y").await, Err(Error::StreamEnded(Code::PAYLOAD_TOO_LARGE))));
    }
}

#[tokio::test]
async fn datagrams_up_to_their_limit() {
    for kind in KINDS {
        let (client, server, _listener) = connected(kind).await;
        let max = client.max_datagram_size().unwrap();
        let largest = Bytes::from(vec![7; max]);
        client.send_datagram(largest.clone()).await.unwrap();
        assert_eq!(server.read_datagram().await.unwrap(), largest);
        server.send_datagram(b"back");
        assert_eq!(client.read_datagram().await.unwrap(), "back");
        // The path's limit can have grown meanwhile; a datagram never fits 64 KiB.
        let too_large = client.send_datagram(Bytes::from(vec![7; 65_536])).await;
        assert!(matches!(too_large, Err(Error::Invalid(_))), "{too_large:?}");
    }
}

#[tokio::test]
async fn webtransport_streams_without_a_header_delay_no_others() {
    let (client, server, _listener) = connected(TransportKind::WebTransport).await;
    // Whole, the header is [0x40, 0x54, 0] or [0x40, 0x41, 0].
    let mut silent = Vec::new();
    for part in [&[0x40][..], &[0x40, 0x54]] {
        let mut send = server.quic().open_uni().await.unwrap();
        send.write_all(part).await.unwrap();
        silent.push(send);
    }
    let (mut silent_bi, _recv) = server.quic().open_bi().await.unwrap();
    silent_bi.write_all(&[0x40]).await.unwrap();
    // What is not of the session is left out.
    let mut foreign = server.quic().open_uni().await.unwrap();
    foreign.write_all(&[0x40, 0x54, 4]).await.unwrap();
    server.quic().send_datagram(Bytes::from_static(b"\x01foreign")).unwrap();
    server.send_datagram(b"ours");
    for _ in 0..10 {
        let mut uni = server.open_uni().await.unwrap();
        uni.write_all(b"uni").await.unwrap();
        assert_eq!(client.accept_uni().await.unwrap().read_chunk().await.unwrap().unwrap(), "uni");
        let (mut bi, _recv) = server.open_bi().await.unwrap();
        bi.write_all(b"bi").await.unwrap();
        assert_eq!(client.accept_bi().await.unwrap().1.read_chunk().await.unwrap().unwrap(), "bi");
    }
    assert_eq!(client.read_datagram().await.unwrap(), "ours");
    // Late is not lost, even if somebody stopped waiting in between.
    let accept = tokio::time::timeout(std::time::Duration::from_millis(20), client.accept_uni()).await;
    assert!(accept.is_err());
    silent[0].write_all(&[0x54, 0]).await.unwrap();
    silent[0].write_all(b"late").await.unwrap();
    assert_eq!(client.accept_uni().await.unwrap().read_chunk().await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn connections_end_with_their_last_handle() {
    for kind in KINDS {
        let (client, server, _listener) = connected(kind).await;
        drop(client);
        let closed = tokio::time::timeout(std::time::Duration::from_secs(5), server.quic().closed()).await;
        assert!(closed.is_ok(), "{kind:?}");
    }
}

#[tokio::test]
async fn closes_say_why() {
    for kind in KINDS {
        let (client, server, _listener) = connected(kind).await;
        assert!(client.close_reason().is_none());
        server.close(Code::KICKED, "bye");
        let Error::Closed { code, reason } = client.closed().await else { panic!("not closed") };
        assert_eq!((code, reason.as_str()), (Code::KICKED, "bye"));
        let error = client.open_bi().await.unwrap_err();
        assert_eq!(error.code(), Some(Code::KICKED), "{kind:?}: {error:?}");
        assert_eq!(client.accept_uni().await.unwrap_err().code(), Some(Code::KICKED), "{kind:?}");
        assert_eq!(client.read_datagram().await.unwrap_err().code(), Some(Code::KICKED), "{kind:?}");
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_is_trusted() {
    for kind in KINDS {
        let listener = Listener::bind();
        let url = listener.url("/v1/media");
        let accept = tokio::spawn(async move { listener.accept().await.is_some() });
        let other = Trust::PinnedSha256(vec![[0; 32]]);
        let error = connect(&url, kind, &other, Role::Media).await.unwrap_err();
        assert!(matches!(error, Error::Transport { .. }), "{error:?}");
        assert!(!accept.await.unwrap());
    }
}

#[tokio::test]
async fn urls_must_be_https_with_a_host() {
    for bad in ["", "http://localhost:1/", "localhost:1", "https://"] {
        let error = connect(bad, TransportKind::Native, &Trust::System, Role::Signal).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{bad}: {error:?}");
    }
}
