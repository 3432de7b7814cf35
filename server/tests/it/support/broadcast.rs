//! A publisher whose every byte is known beforehand, so that any number of listeners can check what they get.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use darktower_client::transport::{SendStream, TransportKind};
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Features, Flags, FrameType, HeaderFields, MeetingId, StreamId, Unit};
use pb::envelope::Message;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{RawMedia, RawSignaling, TestServer, audio_metadata, soon, video_metadata};

/// What payloads are cut from: no two pieces of it are alike.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..32 * 1024).flat_map(|_| next()).collect::<Vec<u8>>().into()
});

/// A stream in which the sequence number says everything about a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) stream_id: StreamId,
    pub(crate) interval: Duration,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Audio {
        payload: usize,
    },
    /// A key frame every `group` frames; of the others every `discardable`-th is one that no other needs (0: none).
    Video {
        group: u64,
        key: usize,
        delta: usize,
        discardable: u64,
    },
}

impl Script {
    /// 50 audio units of 160 bytes per second, as the load tester's.
    pub(crate) fn audio() -> Self {
        let kind = Kind::Audio { payload: 160 };
        Self { stream_id: StreamId::generate(), interval: Duration::from_millis(20), kind }
    }

    /// 30 frames per second and 400 kbit/s, a group per second; every third frame is discardable.
    pub(crate) fn video() -> Self {
        let kind = Kind::Video { group: 30, key: 8_000, delta: 1_450, discardable: 3 };
        Self { stream_id: StreamId::generate(), interval: Duration::from_micros(33_333), kind }
    }

    /// 25 Mbit/s, a group every half second.
    pub(crate) fn heavy_video() -> Self {
        let kind = Kind::Video { group: 25, key: 100_000, delta: 60_000, discardable: 0 };
        Self { stream_id: StreamId::generate(), interval: Duration::from_millis(20), kind }
    }

    pub(crate) fn is_audio(&self) -> bool {
        matches!(self.kind, Kind::Audio { .. })
    }

    /// Sequence number of the first unit of the group of `sequence`.
    pub(crate) fn group_of(&self, sequence: u64) -> u64 {
        match self.kind {
            Kind::Audio { .. } => sequence,
            Kind::Video { group, .. } => sequence - sequence % group,
        }
    }

    pub(crate) fn is_discardable(&self, sequence: u64) -> bool {
        match self.kind {
            Kind::Video { group, discardable, .. } if discardable > 0 => {
                !sequence.is_multiple_of(group) && (sequence % group).is_multiple_of(discardable)
            }
            _ => false,
        }
    }

    /// Header and payload, each in one piece.
    pub(crate) fn unit(&self, sequence: u64) -> Unit {
        let (frame_type, payload) = match self.kind {
            Kind::Audio { payload } => (FrameType::Audio, payload),
            Kind::Video { key, .. } if self.group_of(sequence) == sequence => (FrameType::VideoKey, key),
            Kind::Video { delta, .. } => (FrameType::VideoDelta, delta),
        };
        let fields = HeaderFields {
            frame_type,
            stream_id: self.stream_id,
            timestamp: 1_700_000_000_000_000 + sequence * self.interval.as_micros() as u64,
            sequence,
            flags: Flags::END_OF_FRAME.with(Flags::DISCARDABLE, self.is_discardable(sequence)),
        };
        let offset = (sequence as usize * 7919) % (NOISE.len() - payload);
        Unit::new(&fields, NOISE.slice(offset..offset + payload))
    }

    /// Whether these are the bytes of unit `sequence`.
    pub(crate) fn is_intact(&self, sequence: u64, received: &Unit) -> bool {
        self.unit(sequence).into_wire() == received.clone().into_wire()
    }
}

/// Somebody who publishes scripts in real time, video in group streams and audio in datagrams.
pub(crate) struct Broadcast {
    pub(crate) scripts: Vec<Script>,
    signaling: RawSignaling,
    stop: CancellationToken,
    publishing: Vec<JoinHandle<u64>>,
}

/// A script and how many units of it were sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) script: Script,
    pub(crate) units: u64,
}

impl Broadcast {
    pub(crate) async fn start(server: &TestServer, meeting: MeetingId, scripts: &[Script]) -> Self {
        let kind = TransportKind::Native;
        let signaling = RawSignaling::join(server, meeting, "Alice", kind).await;
        let features = Features::GROUPS | Features::AUDIO_DATAGRAMS;
        let media = Arc::new(RawMedia::open(server, &signaling.media, kind, features).await);
        for script in scripts {
            let metadata = if script.is_audio() { audio_metadata() } else { video_metadata() };
            signaling.publish(script.stream_id, metadata).await.expect("publish");
        }
        let stop = CancellationToken::new();
        let publishing = scripts
            .iter()
            .map(|script| tokio::spawn(publish(media.clone(), *script, stop.clone())))
            .collect();
        Self { scripts: scripts.to_vec(), signaling, stop, publishing }
    }

    /// Ends all streams, at the end of a group each, and says what was sent.
    pub(crate) async fn finish(self) -> Vec<Sent> {
        self.stop.cancel();
        let mut sent = Vec::new();
        for (script, publishing) in self.scripts.iter().zip(self.publishing) {
            let units = soon("the end of a group", publishing).await.expect("the publisher is not held up");
            sent.push(Sent { script: *script, units });
        }
        for script in &self.scripts {
            let unpublish = pb::UnpublishStream { stream_id: script.stream_id.to_string() };
            let unpublish = self.signaling.client.command(Message::UnpublishStream(unpublish));
            soon("unpublish", unpublish).await.expect("unpublished");
        }
        sent
    }
}

async fn publish(media: Arc<RawMedia>, script: Script, stop: CancellationToken) -> u64 {
    let mut ticks = tokio::time::interval(script.interval);
    let mut group: Option<SendStream> = None;
    let mut delivered = Vec::new();
    let mut sequence = 0;
    loop {
        let starts_group = script.group_of(sequence) == sequence;
        if starts_group && stop.is_cancelled() {
            break;
        }
        ticks.tick().await;
        let wire = script.unit(sequence).into_wire();
        if script.is_audio() {
            media.connection.send_datagram(wire).await.expect("the session is open");
        } else {
            if starts_group {
                delivered.extend(group.take().map(finished));
                delivered.retain(|done: &JoinHandle<_>| !done.is_finished());
                let preamble = GroupPreamble {
                    kind: GroupKind::Video,
                    continuation: false,
                    discontinuity: false,
                    stream_id: script.stream_id,
                    group: sequence,
                    first_sequence: sequence,
                };
                group = Some(media.uni(&preamble.encode()).await);
            }
            let group = group.as_mut().expect("sequence 0 starts a group");
            group.write_all(&wire).await.expect("the server takes the group");
        }
        sequence += 1;
    }
    delivered.extend(group.map(finished));
    for done in delivered {
        done.await.expect("no panic").expect("the server takes the group");
    }
    sequence
}

fn finished(mut group: SendStream) -> JoinHandle<Result<(), darktower_client::Error>> {
    group.finish();
    tokio::spawn(async move {
        // Kept until then, although finished.
        let delivered = group.delivered().await;
        drop(group);
        delivered
    })
}
