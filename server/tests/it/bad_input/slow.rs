//! Clients that do not read.

use std::time::Duration;

use darktower_client::transport::{Role, TransportKind, connect};
use darktower_protocol::message;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, FrameType, StreamId};
use pb::envelope::Message;

use super::{Publisher, Stage};
use crate::support::{RawMedia, RawSignaling, soon, unit, video_metadata};

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

/// Found in review: a signaling client that does not read was never closed.
pub(super) async fn a_signaling_client_that_never_reads_is_closed(stage: &Stage) {
    let (server, meeting) = stage.parts();
    let grant = server.grant(meeting, "Deaf").await;
    let connecting = connect(&server.signaling_url, TransportKind::Native, &server.trust, Role::Signal);
    let connection = soon("connect", connecting).await.expect("connected");
    let (mut send, _never_read) = connection.open_bi().await.expect("a control stream");
    let join = pb::JoinRequest {
        meeting_id: meeting.to_string(),
        join_token: grant.join_token,
        ..Default::default()
    };
    let join = Message::JoinRequest(join);
    let envelope = pb::Envelope { version: 1, request_id: 1, message: Some(join), ..Default::default() };
    send.write_all(&message::encode(&envelope)).await.expect("written");

    // Everybody is told a lot, more than all buffers on the way hold, at the pace of somebody who reads.
    let busy = RawSignaling::join(server, meeting, "Busy", TransportKind::Native).await;
    let mut attentive = RawSignaling::join(server, meeting, "Attentive", TransportKind::Native).await;
    let chatter = async {
        let mut metadata = video_metadata();
        metadata.codec_config = vec![7; 4000].into();
        // 3 MB: more than the windows of the transport (2.5 MiB), less than would fill the queue of
        // events behind them, so that it is the writing that takes too long.
        // News that follows other news is gathered for a moment: three at a time.
        for _ in 0..250 {
            let stream_ids = [(); 3].map(|()| StreamId::generate());
            for stream_id in stream_ids {
                busy.publish(stream_id, metadata.clone()).await.expect("within the limits");
            }
            for stream_id in stream_ids {
                let unpublish = pb::UnpublishStream { stream_id: stream_id.to_string() };
                let unpublish = Message::UnpublishStream(unpublish);
                busy.client.command(unpublish).await.expect("within the limits");
            }
            for _ in 0..6 {
                soon("news", attentive.events.next()).await.expect("the session is open");
            }
        }
        std::future::pending::<()>().await;
    };
    let code = tokio::select! {
        () = chatter => None,
        closed = soon("close", connection.closed()) => closed.code(),
    };
    assert_eq!(code, Some(Code::TOO_SLOW));
}
