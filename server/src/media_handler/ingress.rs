//! From a publisher's session into its streams.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use darktower_core::media::fanout::Class;
use darktower_protocol::group::{GroupDecoder, GroupError, GroupKind};
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::signaling::pb;
use darktower_protocol::unit::DatagramUnits;
use darktower_protocol::{Code, Features, FrameType, StreamId, Unit, UnitDecoder, UnitError, message};
use metrics::Counter;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::MediaHandler;
use super::router::Participant;
use super::session::Fault;
use super::shard::SubscriberHandle;
use super::stream::{FeedbackPath, Ingested, MediaStream};
use crate::transport::{ReadError, RecvStream, SendStream, Session};

/// From the opening of a QUIC stream to the end of its preamble or first header.
const HEADER_DEADLINE: Duration = Duration::from_secs(2);

/// How long units may come before their stream is registered: signaling and media race.
const REGISTRATION_DEADLINE: Duration = Duration::from_secs(1);

/// How long a publisher is not read when a shard cannot keep up.
const OVERRUN_PAUSE: Duration = Duration::from_millis(5);

/// Feedback waiting on the return half of a baseline stream.
const FEEDBACK_QUEUE: usize = 8;

/// Streams whose datagrams a session finds without asking: microphone and screen sound, and as many again.
const RECENT_STREAMS: usize = 4;

/// What has come, of all sessions.
struct Counters {
    audio: ClassCounters,
    delta: ClassCounters,
    key: ClassCounters,
    skipped: Counter,
}

struct ClassCounters {
    units: Counter,
    bytes: Counter,
}

impl Counters {
    fn new() -> Self {
        let class = |class: &'static str| ClassCounters {
            units: metrics::counter!("media_units_received_total", "class" => class),
            bytes: metrics::counter!("media_bytes_received_total", "class" => class),
        };
        Self {
            audio: class("audio"),
            delta: class("delta"),
            key: class("key"),
            skipped: metrics::counter!("media_units_skipped_total"),
        }
    }

    fn received(&self, unit: &Unit) {
        let class = match Class::from(unit.header().frame_type()) {
            Class::Audio => &self.audio,
            Class::Delta => &self.delta,
            Class::Key => &self.key,
        };
        class.units.increment(1);
        class.bytes.increment(unit.header().wire_len() as u64);
    }
}

/// The streams that datagrams of a session have come for lately: their next ones need nothing that is shared with other
/// sessions but the stream itself.
#[derive(Default)]
struct RecentStreams(Vec<(StreamId, Weak<MediaStream>)>);

impl RecentStreams {
    fn find(&self, id: StreamId) -> Option<Arc<MediaStream>> {
        self.0.iter().find(|(recent, _)| *recent == id)?.1.upgrade()
    }

    /// Instead of an earlier one of the same id, or else of the one that has been here for longest.
    fn remember(&mut self, stream: &Arc<MediaStream>) {
        self.0.retain(|(recent, _)| *recent != stream.id);
        if self.0.len() == RECENT_STREAMS {
            self.0.remove(0);
        }
        self.0.push((stream.id, Arc::downgrade(stream)));
    }
}

/// The receiving side of one media session.
#[derive(Clone)]
pub(super) struct Ingress {
    limits: UnitLimits,
    session: Session,
    participant: Arc<Participant>,
    number: u64,
    features: Features,
    control: mpsc::Sender<pb::MediaServerMessage>,
    subscriber: SubscriberHandle,
    /// Bytes of units that are not whole yet, on all QUIC streams of the session.
    partial_bytes: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

/// Why nothing more is taken from one QUIC stream of a publisher; the session goes on.
enum Stopped {
    /// The publisher gave the stream up, or the session is over.
    ByPeer,
    /// What came on it was wrong.
    Refused(Code, String),
}

impl From<ReadError> for Stopped {
    fn from(_: ReadError) -> Self {
        Self::ByPeer
    }
}

impl From<GroupError> for Stopped {
    fn from(error: GroupError) -> Self {
        Self::Refused(error.code(), error.to_string())
    }
}

impl From<UnitError> for Stopped {
    fn from(error: UnitError) -> Self {
        Self::Refused(error.code(), error.to_string())
    }
}

/// What one QUIC stream adds to the bytes that a session holds in units that are not whole yet.
struct Partial {
    total: Arc<AtomicUsize>,
    max: usize,
    mine: usize,
}

impl Partial {
    fn set(&mut self, bytes: usize) -> Result<(), Stopped> {
        let before = std::mem::replace(&mut self.mine, bytes);
        let others = self.total.fetch_sub(before, Ordering::Relaxed) - before;
        self.total.fetch_add(bytes, Ordering::Relaxed);
        if others + bytes <= self.max {
            return Ok(());
        }
        let reason = format!("more than {} bytes of unfinished units on all streams together", self.max);
        Err(Stopped::Refused(Code::CAPACITY_EXCEEDED, reason))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.total.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

impl Ingress {
    pub(super) fn new(
        handler: &MediaHandler,
        session: &Session,
        participant: &Arc<Participant>,
        number: u64,
        features: Features,
        control: mpsc::Sender<pb::MediaServerMessage>,
        subscriber: SubscriberHandle,
    ) -> Self {
        Self {
            limits: handler.settings.limits,
            session: session.clone(),
            participant: Arc::clone(participant),
            number,
            features,
            control,
            subscriber,
            partial_bytes: Arc::default(),
            counters: Arc::new(Counters::new()),
        }
    }

    /// Takes units in until the session ends.
    pub(super) async fn run(self) -> Result<(), Fault> {
        let mut streams = JoinSet::new();
        let mut recent = RecentStreams::default();
        loop {
            tokio::select! {
                Some(_done) = streams.join_next() => {}
                uni = self.session.accept_uni() => match uni {
                    Ok(recv) => drop(streams.spawn(self.clone().serve_uni(recv))),
                    Err(_ended) => return Ok(()),
                },
                bi = self.session.accept_bi() => match bi {
                    Ok((send, recv)) => drop(streams.spawn(self.clone().serve_bi(send, recv))),
                    Err(_ended) => return Ok(()),
                },
                datagram = self.session.read_datagram() => match datagram {
                    Ok(datagram) => self.take_datagram(&mut recent, datagram),
                    Err(_ended) => return Ok(()),
                },
            }
        }
    }

    async fn serve_uni(self, mut recv: RecvStream) {
        let mut decoder = GroupDecoder::new(self.limits);
        if let Err(Stopped::Refused(code, reason)) = self.take_group(&mut recv, &mut decoder).await {
            recv.stop(code);
            self.count_refusal(code, &reason);
            // The publisher does not see the code if it has finished the stream already.
            let stream_id = decoder.preamble().map(|preamble| preamble.stream_id.to_string());
            let details = [("close_code", Some(code.name().to_owned())), ("stream_id", stream_id)];
            let details =
                details.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
            let error =
                pb::ErrorMessage { code: pb::ErrorCode::StreamError.into(), message: reason, details };
            let message = Some(pb::media_server_message::Message::Error(error));
            let _full = self.control.try_send(pb::MediaServerMessage { message });
        }
    }

    async fn serve_bi(self, mut send: SendStream, mut recv: RecvStream) {
        let mut units = Units { decoder: UnitDecoder::new(self.limits), partial: self.partial() };
        let first = match tokio::time::timeout(HEADER_DEADLINE, units.first_header(&mut recv)).await {
            Ok(first) => first,
            Err(_) => Err(Stopped::Refused(Code::TIMED_OUT, "no unit header within 2 s".to_owned())),
        };
        let result = match first {
            Ok((FrameType::Attach, wire_id)) => {
                // A subscriber's stream that asks for a wire stream (baseline).
                self.subscriber.attach(wire_id, send);
                return;
            }
            Ok((_, stream_id)) => self.take_baseline(stream_id, &mut send, &mut recv, units).await,
            Err(stopped) => Err(stopped),
        };
        if let Err(Stopped::Refused(code, reason)) = result {
            recv.stop(code);
            send.reset(code);
            self.count_refusal(code, &reason);
        }
    }

    async fn take_group(&self, recv: &mut RecvStream, decoder: &mut GroupDecoder) -> Result<(), Stopped> {
        if !self.features.contains(Features::GROUPS) {
            let reason = "group streams were not negotiated".to_owned();
            return Err(Stopped::Refused(Code::PROTOCOL_VIOLATION, reason));
        }
        let preamble = async {
            loop {
                if let Some(preamble) = decoder.preamble() {
                    return Ok::<_, Stopped>(*preamble);
                }
                match recv.read_chunk().await? {
                    Some(chunk) => decoder.push(chunk)?,
                    None => decoder.finish()?,
                }
            }
        };
        let late = || Stopped::Refused(Code::TIMED_OUT, "no group preamble within 2 s".to_owned());
        let preamble = tokio::time::timeout(HEADER_DEADLINE, preamble).await.map_err(|_| late())??;
        let stream = self.published(preamble.stream_id).await?;
        let source = match preamble.kind {
            GroupKind::Video => {
                // There is no return half: feedback goes to the control stream.
                stream.set_publisher(FeedbackPath::Control(self.control.clone()));
                Some(stream.open_source((self.number, recv.id()), &preamble))
            }
            // Each unit stands alone, whatever came in datagrams meanwhile.
            GroupKind::Audio => None,
        };
        let mut partial = self.partial();
        loop {
            let mut overrun = false;
            while let Some(unit) = decoder.next_unit()? {
                check(&stream, &unit)?;
                self.counters.received(&unit);
                let ingested = match &source {
                    Some(source) => source.ingest(unit),
                    None => stream.ingest(&unit),
                };
                overrun |= is_overrun(ingested, stream.id)?;
            }
            partial.set(decoder.buffered())?;
            if overrun {
                hold_back(&stream).await;
            }
            match recv.read_chunk().await? {
                Some(chunk) => decoder.push(chunk)?,
                None => {
                    self.counters.skipped.increment(decoder.skipped_units());
                    return Ok(decoder.finish()?);
                }
            }
        }
    }

    async fn take_baseline(
        &self,
        stream_id: StreamId,
        send: &mut SendStream,
        recv: &mut RecvStream,
        mut units: Units,
    ) -> Result<(), Stopped> {
        let stream = self.published(stream_id).await?;
        let (feedback, mut feedback_rx) = mpsc::channel(FEEDBACK_QUEUE);
        stream.set_publisher(FeedbackPath::ReturnHalf(feedback));
        loop {
            let unit = tokio::select! {
                unit = units.next(recv) => unit?,
                Some(feedback) = feedback_rx.recv() => {
                    // A publisher that stops its feedback goes on without.
                    let _stopped = send.write_all(message::encode(&feedback)).await;
                    continue;
                }
            };
            let Some(unit) = unit else { break };
            let found = unit.header().stream_id();
            if found != stream_id {
                let reason = format!("unit of stream {found} on a QUIC stream of {stream_id}");
                return Err(Stopped::Refused(Code::WRONG_STREAM, reason));
            }
            check(&stream, &unit)?;
            self.counters.received(&unit);
            if is_overrun(stream.ingest(&unit), stream_id)? {
                hold_back(&stream).await;
            }
        }
        self.counters.skipped.increment(units.decoder.skipped_units());
        send.finish();
        Ok(())
    }

    /// A datagram that is not well formed, or of a stream that is not registered, is left out:
    /// there is no QUIC stream to refuse.
    fn take_datagram(&self, recent: &mut RecentStreams, datagram: Bytes) {
        let mut units = DatagramUnits::new(datagram, self.limits);
        for unit in &mut units {
            let taken =
                unit.map_err(Stopped::from).and_then(|unit| self.take_unit_of_datagram(recent, &unit));
            if let Err(Stopped::Refused(code, reason)) = taken {
                self.count_refusal(code, &reason);
            }
        }
        self.counters.skipped.increment(units.skipped_units());
    }

    fn take_unit_of_datagram(&self, recent: &mut RecentStreams, unit: &Unit) -> Result<(), Stopped> {
        let stream_id = unit.header().stream_id();
        let offer = |stream: &MediaStream| {
            check(stream, unit)?;
            Ok::<_, Stopped>(stream.ingest_datagram(unit))
        };
        let ingested = match recent.find(stream_id).as_deref().map(offer).transpose()? {
            Some(ingested @ (Ingested::Taken | Ingested::Overrun)) => ingested,
            // The first one lately, or its stream has ended and may have been published again.
            None | Some(Ingested::Ended) => {
                let stream = self.participant.published_now(stream_id);
                let stream = stream.ok_or_else(|| not_registered(stream_id))?;
                recent.remember(&stream);
                offer(&stream)?
            }
        };
        self.counters.received(unit);
        match is_overrun(ingested, stream_id)? {
            false => Ok(()),
            true => Err(Stopped::Refused(Code::CAPACITY_EXCEEDED, "a shard is overrun".to_owned())),
        }
    }

    async fn published(&self, wire_id: StreamId) -> Result<Arc<MediaStream>, Stopped> {
        let registered = self.participant.published_stream(wire_id);
        tokio::time::timeout(REGISTRATION_DEADLINE, registered).await.map_err(|_| not_registered(wire_id))
    }

    fn partial(&self) -> Partial {
        // Two of the largest units: one that arrives, one that is still being held up by loss.
        let max = 2 * self.limits.max_video_payload as usize;
        Partial { total: Arc::clone(&self.partial_bytes), max, mine: 0 }
    }

    fn count_refusal(&self, code: Code, reason: &str) {
        metrics::counter!("media_streams_refused_total", "code" => code.name()).increment(1);
        tracing::debug!(participant = %self.participant.id, %code, reason, "publisher's stream refused");
    }
}

/// While a shard is overrun its publishers are not read: QUIC's flow control makes them wait.
async fn hold_back(stream: &MediaStream) {
    while stream.is_overrun() {
        tokio::time::sleep(OVERRUN_PAUSE).await;
    }
}

/// Units on a baseline stream.
struct Units {
    decoder: UnitDecoder,
    partial: Partial,
}

impl Units {
    /// Type and stream id of the first unit, as soon as its header is there.
    async fn first_header(&mut self, recv: &mut RecvStream) -> Result<(FrameType, StreamId), Stopped> {
        loop {
            if let Some(header) = self.decoder.peek_header()? {
                return Ok((header.frame_type(), header.stream_id()));
            }
            match recv.read_chunk().await? {
                Some(chunk) => self.decoder.push(chunk),
                None => {
                    self.decoder.finish()?;
                    return Err(Stopped::ByPeer);
                }
            }
        }
    }

    /// The next unit; `None` when the stream has ended. Cancel-safe.
    async fn next(&mut self, recv: &mut RecvStream) -> Result<Option<Unit>, Stopped> {
        loop {
            if let Some(unit) = self.decoder.next_unit()? {
                return Ok(Some(unit));
            }
            self.partial.set(self.decoder.buffered())?;
            match recv.read_chunk().await? {
                Some(chunk) => self.decoder.push(chunk),
                None => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
            }
        }
    }
}

fn not_registered(wire_id: StreamId) -> Stopped {
    let reason = format!("stream {wire_id} is not registered by this participant");
    Stopped::Refused(Code::STREAM_NOT_REGISTERED, reason)
}

/// Refuses a unit that does not belong on the stream.
fn check(stream: &MediaStream, unit: &Unit) -> Result<(), Stopped> {
    let frame_type = unit.header().frame_type();
    if stream.takes(frame_type) {
        return Ok(());
    }
    let reason = format!("{frame_type:?} unit on a stream of {:?}", stream.kind);
    Err(Stopped::Refused(Code::PROTOCOL_VIOLATION, reason))
}

/// Whether a shard cannot keep up. A stream that has been unpublished takes no more units.
fn is_overrun(ingested: Ingested, wire_id: StreamId) -> Result<bool, Stopped> {
    match ingested {
        Ingested::Taken => Ok(false),
        Ingested::Overrun => Ok(true),
        Ingested::Ended => Err(not_registered(wire_id)),
    }
}

#[cfg(test)]
mod tests {
    use darktower_core::media::MediaKind;

    use super::*;

    #[test]
    fn recent_streams_are_the_latest_ones_and_do_not_keep_them() {
        let stream =
            |n| MediaStream::new(StreamId::from_bytes([n; 16]), MediaKind::Audio, false, false, Vec::new());
        let mut streams: Vec<_> = (0..5).map(stream).collect();
        let mut recent = RecentStreams::default();
        streams.iter().for_each(|stream| recent.remember(stream));
        let found = |recent: &RecentStreams| -> Vec<bool> {
            (0..5).map(|n| recent.find(StreamId::from_bytes([n; 16])).is_some()).collect()
        };
        assert_eq!(found(&recent), [false, true, true, true, true]);

        let again = stream(2);
        recent.remember(&again);
        assert_eq!(found(&recent), [false, true, true, true, true], "its earlier one went");
        assert!(Arc::ptr_eq(&recent.find(again.id).expect("remembered"), &again));

        streams.truncate(4);
        assert_eq!(found(&recent), [false, true, true, true, false]);
    }
}
