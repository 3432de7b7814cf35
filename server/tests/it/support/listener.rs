//! A subscriber that accounts for every unit of a [`Broadcast`](super::Broadcast).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard};

use darktower_client::transport::{Connection, RecvStream, TransportKind};
use darktower_protocol::group::{GroupDecoder, GroupKind};
use darktower_protocol::limits::UnitLimits;
use darktower_protocol::unit::DatagramUnits;
use darktower_protocol::{Code, Features, FrameType, MeetingId, StreamId, Unit, UnitDecoder};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::broadcast::{Script, Sent};
use super::{Mode, PATIENCE, RawMedia, RawSignaling, TestServer, soon, unit};

/// Subscribes to scripts and keeps account of them.
pub(crate) struct Listener {
    pub(crate) connection: Connection,
    mode: Mode,
    seen: Arc<Seen>,
    pause: Arc<Pause>,
    _signaling: darktower_client::signaling::SignalingClient,
    /// Signaling events, group streams, datagrams, baseline streams.
    _tasks: Vec<AbortOnDropHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    streams: Mutex<BTreeMap<StreamId, Arrivals>>,
    /// What should not have come.
    faults: Mutex<Vec<String>>,
    changed: Notify,
}

/// Reading can be stopped and taken up again.
#[derive(Debug, Default)]
struct Pause {
    until: Mutex<Option<CancellationToken>>,
}

/// What has come of one stream.
#[derive(Debug, Default)]
struct Arrivals {
    units: BTreeSet<u64>,
    groups: BTreeMap<u64, Group>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Group {
    discontinuity: bool,
    last: Option<u64>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Reset(Option<Code>),
}

/// Where the units of a stream have gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Sent since the first that was received.
    pub(crate) expected: u64,
    pub(crate) received: u64,
    /// Discardable frames that are not there: nobody needs them, so nobody is told.
    pub(crate) discarded: u64,
    /// Left out, and the listener was told by a reset with `DROPPED_GROUP` or by the discontinuity flag (baseline: by
    /// going on at a key frame).
    pub(crate) told: u64,
    /// Video that is missing without a word.
    pub(crate) untold: u64,
    /// Audio that is missing: too old when its turn came, or lost on the path.
    pub(crate) audio: u64,
}

impl AddAssign for Balance {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.discarded += other.discarded;
        self.told += other.told;
        self.untold += other.untold;
        self.audio += other.audio;
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, received, discarded, told, untold, audio } = self;
        write!(
            f,
            "{received} of {expected} units, {discarded} discardable ones left out, {told} in dropped groups, \
             {untold} of video untold, {audio} of audio missing"
        )
    }
}

impl Listener {
    pub(crate) async fn join(
        server: &TestServer,
        meeting: MeetingId,
        name: &str,
        mode: Mode,
        scripts: &[Script],
    ) -> Self {
        let signaling = RawSignaling::join(server, meeting, name, mode.transport).await;
        let media = RawMedia::open(server, &signaling.media, mode.transport, mode.features).await;
        Self::subscribe(signaling, media, mode, scripts).await
    }

    /// Listens in sessions that are there.
    pub(crate) async fn subscribe(
        signaling: RawSignaling,
        media: RawMedia,
        mode: Mode,
        scripts: &[Script],
    ) -> Self {
        let RawSignaling { client, mut events, .. } = signaling;
        let mut tasks =
            vec![AbortOnDropHandle::new(tokio::spawn(async move { while events.next().await.is_some() {} }))];
        let RawMedia { connection, send, control } = media;
        let seen = Arc::new(Seen::default());
        let pause = Arc::new(Pause::default());
        let reader = Reader {
            scripts: scripts.iter().map(|script| (script.stream_id, *script)).collect(),
            seen: Arc::clone(&seen),
            pause: Arc::clone(&pause),
        };
        tasks.push(AbortOnDropHandle::new(tokio::spawn(reader.clone().groups(connection.clone()))));
        tasks.push(AbortOnDropHandle::new(tokio::spawn(reader.clone().datagrams(connection.clone()))));
        for script in scripts {
            let id = script.stream_id;
            let subscribe = darktower_protocol::signaling::pb::SubscribeStream {
                stream_id: id.to_string(),
                ..Default::default()
            };
            let subscribe = darktower_protocol::signaling::pb::envelope::Message::SubscribeStream(subscribe);
            soon("subscribe", client.command(subscribe)).await.expect("subscribed");
            let feature = if script.is_audio() { Features::AUDIO_DATAGRAMS } else { Features::GROUPS };
            if !mode.features.contains(feature) {
                let (mut attach, recv) = soon("open", connection.open_bi()).await.expect("a stream");
                attach.write_all(&unit(id, FrameType::Attach, 0, 0)).await.expect("written");
                let reading = reader.clone().baseline(*script, recv);
                tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                    // The other half stays open meanwhile.
                    let _attach = attach;
                    reading.await;
                })));
            }
        }
        // Both halves of the control stream must stay open.
        tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
            let _control = (send, control);
            std::future::pending::<()>().await;
        })));
        Self { connection, mode, seen, pause, _signaling: client, _tasks: tasks }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Reads nothing more until [`read_on`](Self::read_on). QUIC's acknowledgements go on: it is the program that hangs.
    pub(crate) fn stop_reading(&self) {
        *lock(&self.pause.until) = Some(CancellationToken::new());
    }

    pub(crate) fn read_on(&self) {
        if let Some(until) = lock(&self.pause.until).take() {
            until.cancel();
        }
    }

    /// Waits until so many units of a stream have come on top of those that are there.
    pub(crate) async fn received_more(&self, script: &Script, more: usize) {
        let there = || lock(&self.seen.streams).get(&script.stream_id).map_or(0, |stream| stream.units.len());
        let enough = there() + more;
        soon("units", self.seen.wait(|| there() >= enough)).await;
    }

    /// Groups that were broken off, and those that begin behind something that was left out.
    pub(crate) fn told(&self, script: &Script) -> usize {
        let streams = lock(&self.seen.streams);
        let groups = streams.get(&script.stream_id).into_iter().flat_map(|stream| stream.groups.values());
        groups.filter(|group| group.discontinuity || matches!(group.end, Some(End::Reset(_)))).count()
    }

    /// Waits for what is still under way, and draws the balance. Panics if something came that was not sent.
    pub(crate) async fn balance(&self, sent: &[Sent]) -> Balance {
        let all_there = || {
            let streams = lock(&self.seen.streams);
            sent.iter()
                .all(|sent| streams.get(&sent.script.stream_id).is_some_and(|stream| stream.is_whole(sent)))
        };
        // What has not come by then is missing.
        let _missing = tokio::time::timeout(PATIENCE / 8, self.seen.wait(all_there)).await;
        let faults = lock(&self.seen.faults);
        assert!(faults.is_empty(), "{:?}: {faults:#?}", self.mode);
        let streams = lock(&self.seen.streams);
        let mut balance = Balance::default();
        for sent in sent {
            let nothing = Arrivals::default();
            let arrivals = streams.get(&sent.script.stream_id).unwrap_or(&nothing);
            let uses_groups = !sent.script.is_audio() && self.mode.features.contains(Features::GROUPS);
            balance += arrivals.balance(sent, uses_groups);
        }
        balance
    }
}

impl Seen {
    fn fault(&self, what: impl Into<String>) {
        lock(&self.faults).push(what.into());
    }

    fn update(&self, stream_id: StreamId, change: impl FnOnce(&mut Arrivals)) {
        change(lock(&self.streams).entry(stream_id).or_default());
        self.changed.notify_waiters();
    }

    async fn wait(&self, done: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if done() {
                return;
            }
            changed.await;
        }
    }
}

impl Pause {
    async fn over(&self) {
        let until = lock(&self.until).clone();
        if let Some(until) = until {
            until.cancelled().await;
        }
    }
}

impl Arrivals {
    /// Whether nothing more will come.
    fn is_whole(&self, sent: &Sent) -> bool {
        let Some(last) = sent.units.checked_sub(1) else { return true };
        let last_group = self.groups.get(&sent.script.group_of(last));
        self.units.contains(&last) && sent.script.is_audio()
            || self.ended
            || last_group.is_some_and(|group| group.end.is_some())
    }

    fn balance(&self, sent: &Sent, uses_groups: bool) -> Balance {
        let script = &sent.script;
        // Who got nothing at all was there from the beginning all the same.
        let first = self.units.first().copied().unwrap_or(0);
        let mut balance = Balance { expected: sent.units - first, ..Balance::default() };
        for sequence in first..sent.units {
            if self.units.contains(&sequence) {
                balance.received += 1;
            } else if script.is_audio() {
                balance.audio += 1;
            } else if self.is_told(sequence, script, uses_groups) {
                balance.told += 1;
            } else if script.is_discardable(sequence) {
                balance.discarded += 1;
            } else {
                balance.untold += 1;
            }
        }
        balance
    }

    /// Whether the listener could know that the unit would not come.
    fn is_told(&self, sequence: u64, script: &Script, uses_groups: bool) -> bool {
        if !uses_groups {
            // It goes on at a key frame, or has been ended.
            let next = self.units.range(sequence..).next();
            let next = next.copied().filter(|next| script.group_of(*next) > script.group_of(sequence));
            return next.is_some_and(|next| script.group_of(next) == next);
        }
        if let Some(group) = self.groups.get(&script.group_of(sequence)) {
            let after_the_last = group.last.is_none_or(|last| sequence > last);
            return after_the_last && group.end == Some(End::Reset(Some(Code::DROPPED_GROUP)));
        }
        let next = self.groups.range(sequence..).next();
        next.is_some_and(|(_, next)| next.discontinuity)
    }
}

/// What the reading tasks of a listener share.
#[derive(Debug, Clone)]
struct Reader {
    scripts: BTreeMap<StreamId, Script>,
    seen: Arc<Seen>,
    pause: Arc<Pause>,
}

impl Reader {
    fn take(&self, unit: &Unit, only: Option<StreamId>) {
        let header = unit.header();
        let (id, sequence) = (header.stream_id(), header.sequence());
        let Some(script) = self.scripts.get(&id).filter(|_| only.is_none_or(|only| only == id)) else {
            return self.seen.fault(format!("unit {sequence} of stream {id}, which is not the one"));
        };
        if !script.is_intact(sequence, unit) {
            self.seen.fault(format!("unit {sequence} of {:?} differs", script.kind));
        }
        self.seen.update(id, |arrivals| {
            if !arrivals.units.insert(sequence) {
                self.seen.fault(format!("unit {sequence} of {:?} came again", script.kind));
            }
        });
    }

    async fn datagrams(self, connection: Connection) {
        loop {
            self.pause.over().await;
            let Ok(datagram) = connection.read_datagram().await else { return };
            for unit in DatagramUnits::new(datagram, UnitLimits::default()) {
                match unit {
                    Ok(unit) => self.take(&unit, None),
                    Err(error) => self.seen.fault(format!("datagram: {error}")),
                }
            }
        }
    }

    async fn groups(self, connection: Connection) {
        let mut streams = JoinSet::new();
        loop {
            self.pause.over().await;
            tokio::select! {
                accepted = connection.accept_uni() => match accepted {
                    Ok(recv) => drop(streams.spawn(self.clone().group(recv))),
                    Err(_ended) => return,
                },
                Some(_done) = streams.join_next() => {}
            }
        }
    }

    async fn group(self, mut recv: RecvStream) {
        let mut decoder = GroupDecoder::new(UnitLimits::default());
        let mut group = None;
        let end = loop {
            self.pause.over().await;
            match recv.read_chunk().await {
                Ok(Some(chunk)) => {
                    if let Err(error) = decoder.push(chunk) {
                        return self.seen.fault(format!("group stream: {error}"));
                    }
                }
                Ok(None) => match decoder.finish() {
                    Ok(()) => break End::Finished,
                    Err(error) => return self.seen.fault(format!("end of a group stream: {error}")),
                },
                Err(error) => break End::Reset(error.code()),
            }
            let Some(preamble) = decoder.preamble().copied() else { continue };
            if preamble.kind != GroupKind::Video {
                return self.seen.fault("a group stream of audio, which fits into datagrams");
            }
            let id = preamble.stream_id;
            if group.replace((id, preamble.group)).is_none() {
                self.seen.update(id, |arrivals| {
                    let discontinuity = preamble.discontinuity;
                    let entry = Group { discontinuity, ..Group::default() };
                    if arrivals.groups.insert(preamble.group, entry).is_some() {
                        self.seen.fault(format!("group {} came again", preamble.group));
                    }
                });
            }
            loop {
                match decoder.next_unit() {
                    Ok(Some(unit)) => {
                        self.take(&unit, Some(id));
                        self.in_group(id, preamble.group, unit.header().sequence());
                    }
                    Ok(None) => break,
                    Err(error) => return self.seen.fault(format!("group stream: {error}")),
                }
            }
        };
        // A stream that is reset before its preamble came says nothing; the next group has the flag.
        let Some((id, number)) = group else { return };
        self.seen.update(id, |arrivals| {
            if let Some(group) = arrivals.groups.get_mut(&number) {
                group.end = Some(end);
            }
        });
    }

    /// Within a group stream units come in order, from the key frame on, and only discardable ones are skipped.
    fn in_group(&self, id: StreamId, number: u64, sequence: u64) {
        let Some(script) = self.scripts.get(&id) else { return };
        self.seen.update(id, |arrivals| {
            let Some(group) = arrivals.groups.get_mut(&number) else { return };
            let from = group.last.map_or(number, |last| last + 1);
            let belongs = script.group_of(sequence) == number && sequence >= from;
            if !belongs || !(from..sequence).all(|skipped| script.is_discardable(skipped)) {
                self.seen.fault(format!("unit {sequence} of group {number} came where {from} was next"));
            }
            group.last = Some(sequence);
        });
    }

    async fn baseline(self, script: Script, mut recv: RecvStream) {
        let mut decoder = UnitDecoder::new(UnitLimits::default());
        let mut last = None;
        loop {
            self.pause.over().await;
            match recv.read_chunk().await {
                Ok(Some(chunk)) => decoder.push(chunk),
                Ok(None) => break,
                Err(error) => return self.seen.fault(format!("baseline stream: {error}")),
            }
            loop {
                match decoder.next_unit() {
                    Ok(Some(unit)) => {
                        let sequence = unit.header().sequence();
                        if last.replace(sequence).is_some_and(|last| last >= sequence) {
                            self.seen
                                .fault(format!("unit {sequence} on a baseline stream came after {last:?}"));
                        }
                        self.take(&unit, Some(script.stream_id));
                    }
                    Ok(None) => break,
                    Err(error) => return self.seen.fault(format!("baseline stream: {error}")),
                }
            }
        }
        self.seen.update(script.stream_id, |arrivals| arrivals.ended = true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}

/// All ways to listen.
pub(crate) fn every_mode() -> [Mode; 4] {
    let audio_on_streams = Mode { transport: TransportKind::Native, features: Features::GROUPS };
    [Mode::native(), Mode::webtransport(), audio_on_streams, Mode::webtransport().baseline()]
}
