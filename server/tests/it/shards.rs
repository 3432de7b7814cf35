//! Several shards behind one port: connections stay where they are, and streams reach subscribers everywhere.

use std::net::UdpSocket;

use darktower_client::{Meeting, OutgoingFrame, PublishOptions, SubscribeOptions};
use darktower_protocol::FrameType;
use darktower_protocol::message::{self, MessageDecoder};
use darktower_protocol::signaling::pb;
use darktower_protocol::version::ALPN_MEDIA;
use pb::media_client_message::Message as ToHandler;
use pb::media_server_message::Message as FromHandler;

use crate::support::{Mode, RawSignaling, TestServer, quic, soon};
use darktower_client::transport::TransportKind;

const SHARDS: u32 = 4;

async fn server() -> TestServer {
    TestServer::start_with(|config| config.media.shards = SHARDS).await
}

/// A media session that shows that it is the same one by answering pings.
struct PingedSession {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    decoder: MessageDecoder,
}

impl PingedSession {
    async fn open(connection: &quinn::Connection, media: &pb::MediaServerInfo) -> Self {
        let (send, recv) = soon("open", connection.open_bi()).await.expect("a stream");
        let mut session = Self { send, recv, decoder: MessageDecoder::new(1 << 16) };
        let hello = pb::MediaHello {
            connection_token: media.connection_token.clone(),
            protocol_min: 1,
            protocol_max: 1,
            features: Vec::new(),
        };
        session.say(ToHandler::Hello(hello)).await;
        assert!(matches!(session.hear().await, FromHandler::Welcome(_)));
        session
    }

    async fn say(&mut self, message: ToHandler) {
        let message = pb::MediaClientMessage { message: Some(message) };
        self.send.write_all(&message::encode(&message)).await.expect("written");
    }

    async fn hear(&mut self) -> FromHandler {
        loop {
            if let Some(message) = self.decoder.next_message::<pb::MediaServerMessage>().expect("well formed")
            {
                return message.message.expect("a message");
            }
            let chunk = soon("answer", self.recv.read_chunk(usize::MAX, true)).await.expect("read");
            self.decoder.push(&chunk.expect("the session goes on").bytes);
        }
    }

    async fn ping(&mut self, id: u64) {
        self.say(ToHandler::Ping(pb::Ping { id })).await;
        match self.hear().await {
            FromHandler::Pong(pong) => assert_eq!(pong.id, id),
            other => panic!("expected a pong, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_address_changes_stays_with_its_session() {
    let server = server().await;
    let meeting = server.meeting().await;
    let signaling = RawSignaling::join(&server, meeting, "Alice", TransportKind::Native).await;
    let url = &signaling.media.media_handler_url;
    let (endpoint, connection) = quic(url, &server.trust, ALPN_MEDIA).await;
    let mut session = PingedSession::open(&connection, &signaling.media).await;
    // By the hash of addresses, three of four new ones would lead to a shard that does not know the connection.
    for id in 0..16 {
        endpoint.rebind(UdpSocket::bind("127.0.0.1:0").expect("a socket")).expect("moved");
        session.ping(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_in_every_shard_get_every_unit_and_late_ones_catch_up() {
    let server = server().await;
    let meeting = server.meeting().await;
    let modes = [Mode::native(), Mode::webtransport()];
    let publisher = server.join(meeting, "Publisher", Mode::native()).await;
    let mut video = publisher.publish(PublishOptions::video("VP8", 640, 360, 30)).await.expect("published");
    let mut audience: Vec<Meeting> = Vec::new();
    let mut receiving = Vec::new();
    let frames = 40u64;
    for number in 0..frames {
        // Newcomers all the time: the first group is young, so everybody gets it from its start.
        if number < 16 {
            let member = server.join(meeting, "Member", modes[number as usize % 2]).await;
            let subscribed = member.subscribe(video.stream_id(), SubscribeOptions::default());
            let mut subscriber = soon("subscribe", subscribed).await.expect("subscribed");
            audience.push(member);
            receiving.push(tokio::spawn(async move {
                let mut payloads = Vec::new();
                while let Some(frame) = subscriber.next_frame().await.expect("received") {
                    payloads.push(frame.payload);
                }
                payloads
            }));
        }
        let frame_type = if number == 0 { FrameType::VideoKey } else { FrameType::VideoDelta };
        let payload = number.to_be_bytes().repeat(100).into();
        let timestamp_us = 1_000_000 + number * 1000;
        video
            .send(OutgoingFrame { frame_type, timestamp_us, discardable: false, payload })
            .await
            .expect("sent");
    }
    soon("finish", video.finish()).await.expect("finished");
    for (index, payloads) in receiving.into_iter().enumerate() {
        let payloads = soon("the end of the stream", payloads).await.expect("no panic");
        let expected: Vec<Vec<u8>> = (0..frames).map(|number| number.to_be_bytes().repeat(100)).collect();
        assert!(payloads == expected, "subscriber {index}: {} of {frames} frames", payloads.len());
    }
    // With 17 clients it is certain, for all purposes, that more than one shard has some.
    drop(audience);
}
