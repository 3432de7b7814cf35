//! Which layer of its stream a subscription gets.

use std::time::Instant;

use darktower_protocol::Code;

use super::super::super::delivery::Delivery;
use super::super::super::layers::{LayerControl, LayerPolicy, LayerWish};
use super::super::connection::Connection;
use super::super::{Event, Stream, StreamSlot};
use super::{Carrier, Change, Output, Progress, Subscription};

/// The layers of a stream that a subscription may get, and the one it gets.
#[derive(Debug)]
pub(super) struct Ladder {
    wanted: StreamSlot,
    /// The wanted layer, then lower ones from high to low.
    layers: Vec<StreamSlot>,
    at: usize,
    next: Option<Next>,
    /// When a lower layer that did not come may be asked for again.
    lower_again_at: Option<Instant>,
    control: LayerControl,
}

/// A change that waits for a key frame of the other layer.
#[derive(Debug, Clone, Copy)]
struct Next {
    to: usize,
    /// The group begins at this index of the other layer, or later.
    from: u64,
    since: Instant,
    asked_at: Instant,
}

impl Ladder {
    /// `layers` begin with the wanted one.
    pub(super) fn new(wanted: StreamSlot, layers: Vec<StreamSlot>, policy: LayerPolicy) -> Self {
        Self { wanted, layers, at: 0, next: None, lower_again_at: None, control: LayerControl::new(policy) }
    }

    /// The layer the subscriber has asked for.
    pub(super) fn wanted(&self) -> StreamSlot {
        self.wanted
    }

    /// All of them.
    pub(super) fn layers(&self) -> &[StreamSlot] {
        &self.layers
    }

    pub(super) fn into_layers(self) -> Vec<StreamSlot> {
        self.layers
    }

    /// The layer above, if there is one.
    pub(super) fn higher(&self) -> Option<StreamSlot> {
        self.layers.get(self.at.checked_sub(1)?).copied()
    }

    /// The layer it gets, or the one it gets next if that is higher.
    pub(super) fn heading_for(&self) -> StreamSlot {
        let at = self.next.map_or(self.at, |next| next.to.min(self.at));
        self.layers.get(at).copied().unwrap_or(self.wanted)
    }

    /// A higher layer is to be tried although the path seems too narrow: where little is sent, little is known of it.
    /// Counts the times it is asked.
    pub(super) fn insists(&mut self) -> bool {
        self.control.insists()
    }

    fn is_raising(&self) -> bool {
        self.next.is_some_and(|next| next.to < self.at)
    }

    fn has_lower(&self) -> bool {
        self.at + 1 < self.layers.len()
    }
}

impl<S> Subscription<S> {
    /// Goes over to the other layer if its key frame has come, and asks for it again if it has not.
    pub(super) fn change_layer<C: Connection<Stream = S>>(
        &mut self,
        place: u32,
        connection: &mut C,
        streams: &[Option<Stream>],
        now: Instant,
        out: &mut Output<'_>,
    ) {
        let Some(next) = &mut self.ladder.next else { return };
        let Some(slot) = self.ladder.layers.get(next.to).copied() else { return };
        let stream = streams.get(slot.index()).and_then(Option::as_ref);
        let start = stream.and_then(|stream| stream.ring.group_start_from(next.from));
        let (Some(stream), Some(start)) = (stream, start) else {
            if now >= next.since + self.ladder.control.policy().give_up_after {
                if next.to > self.ladder.at {
                    self.ladder.lower_again_at = Some(now + self.ladder.control.policy().probation);
                } else {
                    self.ladder.control.failed();
                }
                self.ladder.next = None;
                out.changes.push(Change::Unfollow(place, slot));
            } else if now >= next.asked_at + out.settings.delivery.repeat_key_frame_request {
                next.asked_at = now;
                out.events.push(Event::KeyFrameWanted(slot));
            }
            return;
        };
        let to = next.to;
        self.ladder.next = None;
        out.changes.push(Change::Unfollow(place, self.slot));
        if to > self.ladder.at {
            self.ladder.control.lowered();
            out.totals.lowered += 1;
        } else {
            self.ladder.control.raised(now);
            out.totals.raised += 1;
        }
        self.leave_group(connection);
        self.ladder.at = to;
        self.slot = slot;
        self.id = stream.id;
        self.delivery = Delivery::at_group(self.kind, out.settings.delivery, start);
        self.behind = None;
    }

    /// Notes how the layer gets through, and begins to look for a lower one if it does not. Returns whether a higher
    /// one is wished for: whether there is room depends on what else the subscriber gets.
    pub(super) fn judge_layer(
        &mut self,
        place: u32,
        progress: &Progress,
        streams: &[Option<Stream>],
        now: Instant,
        out: &mut Output<'_>,
    ) -> bool {
        let judged = self.ladder.layers.len() > 1
            && self.ladder.next.is_none_or(|_| self.ladder.is_raising())
            && self.delivery.is_streaming()
            && !self.delivery.is_catching_up();
        if !judged {
            return false;
        }
        let waiting = self.oldest_waiting().filter(|_| matches!(progress, Progress::Blocked(_)));
        let backlog = waiting.map(|(_, since)| now.saturating_duration_since(since)).unwrap_or_default();
        match self.ladder.control.observe(backlog, now) {
            Some(LayerWish::Lower) => {
                if let Some(raising) = self.ladder.next.take() {
                    // The path has become narrow meanwhile.
                    self.ladder.control.failed();
                    let slot = self.ladder.layers.get(raising.to).copied();
                    out.changes.extend(slot.map(|slot| Change::Unfollow(place, slot)));
                }
                if self.ladder.has_lower() && self.ladder.lower_again_at.is_none_or(|at| now >= at) {
                    self.begin_change(self.ladder.at + 1, place, streams, now, out);
                }
                false
            }
            Some(LayerWish::Higher) => self.ladder.next.is_none() && self.ladder.at > 0,
            None => false,
        }
    }

    /// Looks for the next key frame of the layer above.
    pub(super) fn begin_higher_layer(
        &mut self,
        place: u32,
        streams: &[Option<Stream>],
        now: Instant,
        out: &mut Output<'_>,
    ) {
        if let Some(to) = self.ladder.at.checked_sub(1) {
            self.begin_change(to, place, streams, now, out);
        }
    }

    /// Whether nothing more of this layer is sent: it was given up, and a key frame of a lower one is on its way.
    pub(super) fn waits_for_lower_layer(&self) -> bool {
        let lowers = self.ladder.next.is_some_and(|next| next.to > self.ladder.at);
        lowers && !self.delivery.is_streaming()
    }

    /// When the layer is to be looked at again although nothing happens.
    pub(super) fn layer_deadline(&self, now: Instant, out: &Output<'_>) -> Option<Instant> {
        let policy = self.ladder.control.policy();
        if let Some(next) = self.ladder.next {
            let ask_again = next.asked_at + out.settings.delivery.repeat_key_frame_request;
            return Some(ask_again.min(next.since + policy.give_up_after));
        }
        let lower_at = self.oldest_waiting().map(|(_, since)| since + policy.lower_after);
        lower_at.filter(|at| *at > now && self.ladder.has_lower())
    }

    fn begin_change(
        &mut self,
        to: usize,
        place: u32,
        streams: &[Option<Stream>],
        now: Instant,
        out: &mut Output<'_>,
    ) {
        let Some(slot) = self.ladder.layers.get(to).copied() else { return };
        let Some(stream) = streams.get(slot.index()).and_then(Option::as_ref) else { return };
        let from = stream.ring.end_index();
        self.ladder.next = Some(Next { to, from, since: now, asked_at: now });
        out.changes.push(Change::Follow(place, slot));
        out.events.push(Event::KeyFrameWanted(slot));
    }

    /// Ends the QUIC stream of the current group; if the rest of a unit still waits for it, gives it up.
    fn leave_group<C: Connection<Stream = S>>(&mut self, connection: &mut C) {
        let Carrier::Groups { current, opening } = &mut self.carrier else { return };
        *opening = None;
        match current.take() {
            Some(writer) if writer.pending.iter().all(|bytes| bytes.is_empty()) => {
                connection.finish(writer.stream);
            }
            Some(writer) => connection.reset(writer.stream, Code::LAYER_SWITCHED),
            None => {}
        }
    }
}
