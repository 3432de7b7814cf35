//! Clients that do not read.

use std::time::{Duration, Instant};

use darktower_client::transport::{Role, TransportKind, connect};
use darktower_protocol::message;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, FrameType};
use pb::envelope::Message;
use reqwest::Method;

use super::{BOTH, Publisher, Stage};
use crate::support::{RawMedia, RawSignaling, soon, unit};

pub(super) async fn a_subscriber_that_never_reads_costs_a_bounded_amount_and_is_closed(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let publisher = Publisher::start(server, meeting, TransportKind::Native, Features::NONE).await;
    let id = publisher.stream_id;

    let mut sleepers = Vec::new();
    for (kind, features) in [
        (TransportKind::Native, Features::NONE),
        (TransportKind::Native, Features::GROUPS),
        (TransportKind::WebTransport, Features::GROUPS),
    ] {
        let signaling = RawSignaling::join(server, meeting, "Sleeper", kind).await;
        let media = RawMedia::open(server, &signaling.media, kind, features).await;
        signaling.subscribe(id).await.expect("subscribe");
        let attached = match features {
            Features::NONE => Some(media.bi(&unit(id, FrameType::Attach, 0, 0)).await),
            _ => None,
        };
        sleepers.push((signaling, media, attached));
    }

    // 25 Mbit/s with a key frame every half second, until all are closed.
    let (mut send, _feedback) = publisher.media.bi(&unit(id, FrameType::VideoKey, 0, 100_000)).await;
    let flood = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for sequence in 1.. {
            ticks.tick().await;
            let frame_type = if sequence % 25 == 0 { FrameType::VideoKey } else { FrameType::VideoDelta };
            send.write_all(&unit(id, frame_type, sequence, 60_000))
                .await
                .expect("the publisher is not held up");
        }
    };
    let closed = async {
        for (_, media, _) in &sleepers {
            assert_eq!(soon("close", media.connection.closed()).await.code(), Some(Code::TOO_SLOW));
        }
    };
    tokio::select! {
        () = flood => {}
        () = closed => {}
    }
}

/// Clients that do not read what signaling tells them.
const DEAF: usize = 4;

/// Found in review: a signaling client that does not read was never closed; and one that was removed stayed until its
/// write had taken too long.
pub(super) async fn signaling_clients_that_never_read_are_closed(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let mut deaf = Vec::new();
    for kind in BOTH.into_iter().cycle().take(DEAF) {
        let grant = server.grant(meeting, "Deaf").await;
        let participant = grant.participant_id.expect("named");
        let connecting = connect(&server.signaling_url, kind, &server.trust, Role::Signal);
        let connection = soon("connect", connecting).await.expect("connected");
        let (mut send, never_read) = connection.open_bi().await.expect("a control stream");
        let meeting_id = meeting.to_string();
        let join = pb::JoinRequest { meeting_id, join_token: grant.join_token, ..Default::default() };
        let join = Message::JoinRequest(join);
        let envelope = pb::Envelope { version: 1, request_id: 1, message: Some(join), ..Default::default() };
        send.write_all(&message::encode(&envelope)).await.expect("written");
        deaf.push((connection, participant, send, never_read));
    }
    let (removed, participant, _send, _never_read) = deaf.remove(0);

    // Everybody is told a lot, more than all buffers on the way hold, at the pace of somebody who reads.
    let mut busy = Vec::new();
    for _ in 0..4 {
        busy.push(RawSignaling::join(server, meeting, "Busy", TransportKind::Native).await);
    }
    let mut attentive = RawSignaling::join(server, meeting, "Attentive", TransportKind::Native).await;
    let chatter = async {
        let (r#type, payload) = ("noise".to_owned(), vec![7; 8 * 1024].into());
        let noise = pb::BroadcastMessage { r#type, payload, ..Default::default() };
        // 3 MB: more than the windows of the transport (2.5 MiB), less than would fill the queue of
        // events behind them, so that it is the writing that takes too long.
        // News that follows other news is gathered for a moment: several at a time.
        for _ in 0..94 {
            for one in &mut busy {
                one.done(Message::BroadcastMessage(noise.clone())).await;
            }
            for _ in &busy {
                let is_noise =
                    |message: &Message| matches!(message, Message::MessageBroadcast(_)).then_some(());
                attentive.event("news", is_noise).await;
            }
        }
        let removal = format!("/meetings/{meeting}/participants/{participant}");
        let since = Instant::now();
        server.rest().act(Method::DELETE, &removal).await;
        assert_eq!(soon("close", removed.closed()).await.code(), Some(Code::KICKED));
        println!("a client that does not read is out after {:?}", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        std::future::pending::<()>().await;
    };
    let closed = async {
        for (connection, ..) in &deaf {
            assert_eq!(soon("close", connection.closed()).await.code(), Some(Code::TOO_SLOW));
        }
    };
    tokio::select! {
        () = chatter => {}
        () = closed => {}
    }
}
