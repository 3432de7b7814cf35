//! Sessions end with a code and a reason, and before their connection.

use std::time::{Duration, Instant};

use darktower_webtransport::{CLOSE_TIME, MAX_REASON, Session};
use quinn::ConnectionError;

use crate::support::{Quic, soon};

/// More than these tests send.
const WIDE: u32 = 1 << 20;

/// What the session's end learns from the other.
async fn told(session: &Session) -> (u64, String) {
    told_by(soon("close", session.closed()).await)
}

fn told_by(end: ConnectionError) -> (u64, String) {
    match end {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8(close.reason.into()).expect("text"))
        }
        other => panic!("closed by the peer: {other}"),
    }
}

/// The capsule in its DATA frame, for lengths that take one byte.
fn capsule(code: u32, reason: &str) -> Vec<u8> {
    let len = 4 + u8::try_from(reason.len()).expect("short");
    [&[0, 3 + len, 0x68, 0x43, len], &code.to_be_bytes()[..], reason.as_bytes()].concat()
}

#[tokio::test]
async fn both_ends_see_code_and_reason_of_the_other() {
    for closer in [0, 1] {
        let quic = Quic::new(WIDE).await;
        let sessions = quic.sessions().await;
        let (closing, other) = (&sessions[closer], &sessions[1 - closer]);
        assert_eq!(other.close_reason(), None);
        closing.close(0x1234, "enough for today");
        closing.close(1, "the first counts");
        assert_eq!(closing.close_reason(), Some(ConnectionError::LocallyClosed));
        let expected = (0x1234, "enough for today".to_owned());
        assert_eq!(told(other).await, expected);
        assert_eq!(told_by(other.close_reason().expect("closed")), expected);
        assert_eq!(soon("close", closing.closed()).await, ConnectionError::LocallyClosed);
        // Then the connection, for whoever looks at its streams only.
        let connection = [&quic.client, &quic.server][1 - closer];
        assert_eq!(told_by(soon("close", connection.closed()).await), expected);
    }
}

#[tokio::test]
async fn whoever_waits_hears_of_the_end() {
    for closer in [0, 1] {
        let quic = Quic::new(WIDE).await;
        let sessions = quic.sessions().await;
        let waiting = async |session: &Session| {
            tokio::join!(
                async { session.accept_bi().await.expect_err("no stream") },
                async { session.accept_uni().await.expect_err("no stream") },
                async { session.read_datagram().await.expect_err("no datagram") },
            )
        };
        let close = async { sessions[closer].close(3, "") };
        let (here, there, ()) = soon("ends", async {
            tokio::join!(waiting(&sessions[closer]), waiting(&sessions[1 - closer]), close)
        })
        .await;
        assert_eq!(
            here,
            (ConnectionError::LocallyClosed, ConnectionError::LocallyClosed, ConnectionError::LocallyClosed)
        );
        for end in [there.0, there.1, there.2] {
            assert_eq!(told_by(end).0, 3);
        }
        assert_eq!(sessions[closer].open_uni().await.expect_err("over"), ConnectionError::LocallyClosed);
    }
}

#[tokio::test]
async fn the_capsule_is_in_a_data_frame_and_the_connection_waits_for_the_answer() {
    let quic = Quic::new(WIDE).await;
    let (session, mut client) = quic.server_session().await;
    session.close(9, "over");
    let expected = capsule(9, "over");
    let mut sent = vec![0; expected.len()];
    soon("capsule", client.recv.read_exact(&mut sent)).await.expect("it is whole");
    assert_eq!(sent, expected);
    // The end of the stream would crash tabs of Chromium 156: it comes after the answer.
    let more = tokio::time::timeout(Duration::from_millis(300), client.recv.read_chunk(1, true)).await;
    assert!(more.is_err(), "{more:?}");
    client.send.finish().expect("open");
    assert_eq!(told_by(soon("close", quic.client.closed()).await), (9, "over".to_owned()));
}

#[tokio::test]
async fn capsules_may_come_in_pieces_and_after_others() {
    let quic = Quic::new(WIDE).await;
    let (session, mut client) = quic.server_session().await;
    // A capsule of unknown type, then ours, whose frames end anywhere.
    let close = capsule(0xffff_ffff, "bye");
    let (head, tail) = close[2..].split_at(5);
    let bytes = [&[0, 4, 0x3f, 2, 0, 0, 0, 5], head, &[0x40, 0x21, 1, 0, 0, 5], tail].concat();
    for byte in bytes {
        client.send.write_all(&[byte]).await.expect("open");
        tokio::task::yield_now().await;
    }
    assert_eq!(told(&session).await, (0xffff_ffff, "bye".to_owned()));
    let answer = soon("answer", client.recv.read_to_end(100)).await.expect("the server ends its half");
    assert_eq!(answer, []);
}

#[tokio::test]
async fn reasons_are_cut_at_a_character() {
    let quic = Quic::new(WIDE).await;
    let [client, server] = quic.sessions().await;
    let reason = "a".repeat(MAX_REASON - 1);
    server.close(1, &format!("{reason}äää"));
    assert_eq!(told(&client).await, (1, reason.clone()));

    let quic = Quic::new(WIDE).await;
    let (session, mut client) = quic.server_session().await;
    let long = format!("{reason}äää");
    let len = u16::try_from(4 + long.len()).expect("short");
    let [frame_len, capsule_len] = [len + 4, len].map(|len| (0x4000 | len).to_be_bytes());
    let bytes = [&[0], &frame_len[..], &[0x68, 0x43], &capsule_len, &[0; 4], long.as_bytes()].concat();
    client.send.write_all(&bytes).await.expect("open");
    assert_eq!(told(&session).await, (0, reason));
}

#[tokio::test]
async fn ending_the_stream_or_the_last_handle_is_closing_with_code_0() {
    let quic = Quic::new(WIDE).await;
    let (session, mut client) = quic.server_session().await;
    client.send.finish().expect("open");
    assert_eq!(told(&session).await, (0, String::new()));

    let quic = Quic::new(WIDE).await;
    let [client, server] = quic.sessions().await;
    drop(client);
    assert_eq!(told(&server).await, (0, String::new()));
    soon("close", quic.client.closed()).await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_waited_for_a_second() {
    // Room for the answer to the request, not for the capsule.
    let quic = Quic::new(64).await;
    let (session, _client) = quic.server_session().await;
    let start = Instant::now();
    session.close(5, &"x".repeat(MAX_REASON));
    assert_eq!(session.close_reason(), Some(ConnectionError::LocallyClosed), "this side does not wait");
    assert_eq!(quic.server.close_reason(), None);
    let (code, _) = told_by(soon("close", quic.client.closed()).await);
    assert_eq!(code, 5);
    // Less than the connection's idle timeout, with room for a busy machine.
    assert!(start.elapsed() < CLOSE_TIME + Duration::from_secs(10));
}

#[tokio::test]
async fn a_lost_connection_is_no_answer() {
    let quic = Quic::new(WIDE).await;
    let [client, server] = quic.sessions().await;
    quic.client.close(0x10c_u32.into(), b"gone");
    assert_eq!(told(&server).await, (0x10c, "gone".to_owned()));
    assert_eq!(soon("close", client.closed()).await, ConnectionError::LocallyClosed);
    server.close(1, "too late");
    assert_eq!(told(&server).await.0, 0x10c);
}
