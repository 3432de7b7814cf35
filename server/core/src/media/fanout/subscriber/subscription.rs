//! Writing the units of one subscription.

use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_protocol::Code;
use darktower_protocol::group::GroupKind;

use super::super::super::delivery::{GroupStart, Step};
use super::super::super::ring::RingUnit;
use super::super::connection::{Connection, Opened, Written, preamble};
use super::super::{Class, Event, Stream};
use super::{
    Behind, Carrier, DATAGRAM_HEADROOM, DATAGRAM_OVERHEAD, MAX_STEPS, Output, PRIORITY_OLDER_GROUP, Progress,
    RETRY, Subscription, Writer, video_priority,
};

/// What a blocked stream takes later than this is owed to the path or to the client's reading, not to credit that came
/// back with the reset of an earlier group: that takes a round trip.
const REFUND_WITHIN: Duration = Duration::from_millis(100);

impl<S> Subscription<S> {
    pub(super) fn send_datagrams<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        stream: &Stream,
        max_unit: usize,
        space: &mut usize,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Progress {
        loop {
            if *space < DATAGRAM_HEADROOM {
                return Progress::Idle(Some(now + RETRY));
            }
            match self.delivery.step(&stream.ring, now) {
                Step::Send(unit) if unit.wire.len() <= max_unit => {
                    *space = space.saturating_sub(unit.wire.len() + DATAGRAM_OVERHEAD);
                    connection.send_datagram(&unit);
                    self.sent.bytes += unit.wire.len() as u64;
                    out.wrote(Class::Audio, unit.wire.len());
                    out.handed_over(Class::Audio, unit.received_at);
                }
                Step::Send(unit) => {
                    out.totals.oversized += 1;
                    connection.send_oversized(self.id, &unit);
                }
                Step::End => return Progress::Finished,
                Step::Wait(deadline) => return Progress::Idle(deadline),
                Step::StartGroup(_) | Step::DropGroup | Step::RequestKeyFrame => {}
            }
        }
    }

    pub(super) fn send_streams<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        stream: &Stream,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Progress {
        for _ in 0..MAX_STEPS {
            match self.flush(connection, stream, now, out) {
                Written::All => {}
                Written::Gone => return Progress::Idle(None),
                Written::Stopped => {
                    self.stopped(stream, now);
                    if matches!(self.carrier, Carrier::Attached(None)) {
                        return Progress::Idle(None);
                    }
                    continue;
                }
                Written::Blocked => match self.waited_too_long(connection, stream, now, out) {
                    Some(deadline) => return Progress::Blocked(deadline),
                    None => continue,
                },
            }
            match self.delivery.step(&stream.ring, now) {
                Step::Wait(deadline) => return Progress::Idle(deadline),
                Step::StartGroup(start) => self.start_group(connection, start, now),
                Step::DropGroup => self.drop_group(connection, out),
                Step::Send(unit) => self.queue(&unit),
                Step::End => {
                    self.finish(connection);
                    return Progress::Finished;
                }
                Step::RequestKeyFrame => out.events.push(Event::KeyFrameWanted(self.slot)),
            }
        }
        Progress::More
    }

    /// The client does not want the rest of what is being written: of the group, or of its own stream, for which it
    /// may open another.
    fn stopped(&mut self, stream: &Stream, now: Instant) {
        match &mut self.carrier {
            Carrier::Groups { current, .. } => {
                *current = None;
                self.delivery.skip_group(&stream.ring, now);
            }
            Carrier::Attached(writer) => *writer = None,
            Carrier::Datagrams => {}
        }
    }

    /// Notes that the transport takes nothing, and returns since when that has been so. Being held up now and then,
    /// with long quiet times between, does not add up.
    pub(super) fn held_up(&mut self, now: Instant, limit: Duration) -> Instant {
        let recent = |behind: &Behind| now.saturating_duration_since(behind.last) < limit / 2;
        let since = self.behind.filter(recent).map_or(now, |behind| behind.since);
        self.behind = Some(Behind { since, last: now });
        since
    }

    /// The connection has taken all that there is. Of what comes next it may take some, be held up for a moment, and take
    /// more, although nobody reads: only what it takes after it has been behind for a while shows that it moves.
    pub(super) fn caught_up(&mut self) {
        if let Some(writer) = self.writer() {
            writer.blocked_at = None;
        }
        if self.refunded == 0 {
            self.behind = None;
        }
    }

    /// Opens what is to be opened and writes what is pending.
    fn flush<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        source: &Stream,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Written {
        if let Carrier::Groups { current, opening } = &mut self.carrier
            && let Some((start, _)) = *opening
        {
            let (mut stream, prefix) = match connection.open() {
                Opened::Stream(stream, prefix) => (stream, prefix),
                Opened::NotNow => return Written::Blocked,
                Opened::Gone => return Written::Gone,
            };
            connection.set_priority(&mut stream, video_priority(source.is_prominent));
            let mut writer = Writer::new(stream, now);
            let preamble = preamble(GroupKind::Video, self.id, start.group, start.discontinuity);
            writer.pending = [prefix, preamble, Bytes::new()];
            *current = Some(writer);
            *opening = None;
        }
        match self.writer() {
            // A stream is opened with its first unit in hand.
            Some(writer) if !writer.pending[2].is_empty() => {
                let before = writer.taken;
                let written = writer.flush(connection, now, out);
                let taken = writer.taken - before;
                writer.moves |= taken > 0 && writer.blocked_at.is_some_and(|at| now >= at + REFUND_WITHIN);
                self.refunded = if writer.moves { 0 } else { self.refunded.saturating_sub(taken) };
                self.sent.bytes += taken;
                written
            }
            _ => Written::All,
        }
    }

    /// The transport takes nothing: how long to wait, or `None` if the group was given up.
    fn waited_too_long<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        stream: &Stream,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Option<Option<Instant>> {
        let (received_at, retry) = match &self.carrier {
            Carrier::Groups { opening: Some((_, since)), .. } => (*since, Some(now + RETRY)),
            Carrier::Groups { current: Some(writer), .. } => (writer.received_at, None),
            // Nothing half written can be taken back on the only stream: it is waited for.
            _ => return Some(None),
        };
        let deadline = self.delivery.blocked(&stream.ring, received_at, now);
        if deadline.is_none() {
            self.drop_group(connection, out);
            return None;
        }
        Some([deadline, retry].into_iter().flatten().min())
    }

    fn start_group<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        start: GroupStart,
        now: Instant,
    ) {
        if let Carrier::Groups { current, opening } = &mut self.carrier {
            if let Some(mut previous) = current.take() {
                connection.set_priority(&mut previous.stream, PRIORITY_OLDER_GROUP);
                connection.finish(previous.stream);
            }
            *opening = Some((start, now));
        }
    }

    fn drop_group<C: Connection<Stream = S>>(&mut self, connection: &mut C, out: &mut Output<'_>) {
        out.totals.dropped_groups += 1;
        self.sent.dropped += 1;
        if let Carrier::Groups { current, opening } = &mut self.carrier {
            *opening = None;
            if let Some(writer) = current.take() {
                if !writer.moves {
                    // More than that must be taken before it shows anything.
                    self.refunded += writer.taken + 1;
                }
                connection.reset(writer.stream, Code::DROPPED_GROUP);
            }
        }
    }

    fn queue(&mut self, unit: &RingUnit) {
        let live = !self.delivery.is_catching_up();
        if let Some(writer) = self.writer() {
            writer.pending[2] = unit.wire.clone();
            writer.received_at = unit.received_at;
            writer.class = live.then_some(unit.header.frame_type().into());
        }
    }

    fn finish<C: Connection<Stream = S>>(&mut self, connection: &mut C) {
        match std::mem::replace(&mut self.carrier, Carrier::Attached(None)) {
            Carrier::Groups { current: Some(writer), .. } | Carrier::Attached(Some(writer)) => {
                connection.finish(writer.stream);
            }
            _ => {}
        }
    }

    fn writer(&mut self) -> Option<&mut Writer<S>> {
        match &mut self.carrier {
            Carrier::Groups { current, .. } => current.as_mut(),
            Carrier::Attached(writer) => writer.as_mut(),
            Carrier::Datagrams => None,
        }
    }
}

impl<S> Writer<S> {
    pub(super) fn new(stream: S, now: Instant) -> Self {
        Self {
            stream,
            pending: Default::default(),
            received_at: now,
            class: None,
            taken: 0,
            blocked_at: None,
            moves: false,
        }
    }

    fn flush<C: Connection<Stream = S>>(
        &mut self,
        connection: &mut C,
        now: Instant,
        out: &mut Output<'_>,
    ) -> Written {
        let before: usize = self.pending.iter().map(Bytes::len).sum();
        if before == 0 {
            return Written::All;
        }
        let written = connection.write(&mut self.stream, &mut self.pending);
        let after: usize = self.pending.iter().map(Bytes::len).sum();
        // What a newcomer catches up on counts as what it mostly is.
        out.wrote(self.class.unwrap_or(Class::Delta), before - after);
        self.taken += (before - after) as u64;
        if written == Written::Blocked {
            self.blocked_at.get_or_insert(now);
        }
        if written == Written::All {
            match self.class {
                Some(class) => out.handed_over(class, self.received_at),
                None => out.totals.caught_up_units += 1,
            }
        }
        written
    }
}
