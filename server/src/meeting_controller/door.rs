//! Who may come in: newcomers, whom the facts, the waiting room and the lock of the meeting decide about, and
//! participants that come back to their place after their connection was lost.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use darktower_core::access::ParticipantRole;
use darktower_core::meeting::lifecycle::MeetingStatus;
use darktower_core::meeting::{Entry, Identity, Joined, Refusal, Resumed, Rights, display_name};
use darktower_core::preset::{preset_name, shipped};
use darktower_protocol::signaling::pb;
use darktower_protocol::version::{self, PROTOCOL_VERSION};
use darktower_protocol::{Code, MeetingId, ParticipantId};
use pb::ErrorCode;
use pb::envelope::Message;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::outbox::{self, NumberedEvent};
use super::session::{Channel, End, end_of_right, ended_by, envelope, fitting, refusal};
use super::{Client, Former, Link, LiveMeeting, MeetingController, Newcomer, Seat, Welcome, lock};
use crate::auth::JoinClaims;
use crate::clock::unix_micros;
use crate::storage::StoreError;
use crate::storage::model::{IssuedParticipant, Meeting as StoredMeeting};
use crate::transport::Session;

/// Who is not let in for this long is turned away.
const MAX_WAIT: Duration = Duration::from_secs(15 * 60);

/// Facts that many ask for are read again after this time. Changes that another server makes count within it.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Messages that somebody who waits may send.
const MAX_MESSAGES_WAITING: u32 = 20;

/// Bytes of a [`Ticket`]: meeting, participant, secret.
const TICKET_LEN: usize = 48;

/// What becomes of somebody who waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    LetIn,
    TurnedAway,
    /// It, or the meeting, was ended with this code.
    Over(Code),
}

/// What a participant presents to come back to its place. Drawn anew for each session.
#[derive(Clone)]
pub(super) struct Ticket {
    meeting: MeetingId,
    participant: ParticipantId,
    secret: Uuid,
}

impl Ticket {
    pub(super) fn new(meeting: MeetingId, participant: ParticipantId) -> Self {
        Self { meeting, participant, secret: Uuid::new_v4() }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let parts: [&[u8]; 3] =
            [self.meeting.as_bytes(), self.participant.as_bytes(), self.secret.as_bytes()];
        parts.concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TICKET_LEN] = bytes.try_into().ok()?;
        let (meeting, rest) = bytes.split_first_chunk::<16>()?;
        let (participant, secret) = rest.split_first_chunk::<16>()?;
        Some(Self {
            meeting: MeetingId::from_bytes(*meeting),
            participant: ParticipantId::from_bytes(*participant),
            secret: Uuid::from_slice(secret).ok()?,
        })
    }

    /// Whether the secret is right; how much of it is takes the same time.
    fn is(&self, presented: &Self) -> bool {
        let [mine, theirs] = [self, presented].map(|ticket| ticket.secret.as_bytes());
        aws_lc_rs::constant_time::verify_slices_are_equal(mine, theirs).is_ok()
    }
}

impl Client {
    /// Whether this ticket is a participant's way back.
    fn knows(&self, presented: &Ticket) -> bool {
        self.ticket.is(presented) || self.former.as_ref().is_some_and(|former| former.ticket.is(presented))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("participant", &self.participant).finish_non_exhaustive()
    }
}

/// What the store says of somebody who wants to come in.
struct Facts {
    meeting: StoredMeeting,
    issued: IssuedParticipant,
    rights: Rights,
    /// When reading them began.
    checked_at: Instant,
}

impl MeetingController {
    /// Somebody comes with a join token. Answers it when it is in.
    pub(super) async fn come(
        self: &Arc<Self>,
        session: &Session,
        channel: &mut Channel,
        request: pb::JoinRequest,
    ) -> Result<(Seat, OffsetDateTime), End> {
        let Some(protocol_version) = version::negotiate(request.protocol_min, request.protocol_max) else {
            let (min, max) = (request.protocol_min, request.protocol_max);
            let message = format!("protocol {min} to {max} is not supported; this server speaks 1");
            return Err(End::fault(Code::UNSUPPORTED_VERSION, ErrorCode::InvalidRequest, message));
        };
        let claims =
            self.tokens.verify_join(&request.join_token).map_err(|error| unauthorized(error.to_string()))?;
        if request.meeting_id != claims.meeting_id.to_string() {
            return Err(unauthorized("the token is for another meeting".to_owned()));
        }
        let mut facts = self.facts(&claims).await?;
        let mut identity = identity_of(&request, &facts)?;
        if self.wait_at_door(session, channel, &facts, &identity).await? {
            // They may have changed meanwhile, and the token may have ended.
            self.tokens.verify_join(&request.join_token).map_err(|error| unauthorized(error.to_string()))?;
            facts = self.facts(&claims).await?;
            identity = identity_of(&request, &facts)?;
        }
        let Facts { meeting, issued, checked_at, .. } = facts;
        let participant = identity.participant_id;
        let capabilities = request.capabilities.unwrap_or_default();
        let newcomer = Newcomer { meeting: &meeting, identity, capabilities, checked_at };
        let (mut seat, Welcome { joined, media_server, ticket }) = self.join(&newcomer).await?;
        tracing::info!(%participant, meeting = %meeting.id, "joined");

        let (response, rest) = snapshot(joined);
        let response = pb::JoinResponse {
            participant_id: participant.to_string(),
            media_server: Some(media_server),
            protocol_version,
            meeting_display_name: meeting.display_name,
            server_time: unix_micros(),
            resume_ticket: ticket.to_bytes().into(),
            ..response
        };
        channel.obey(&mut seat);
        channel.answer(Message::JoinResponse(response)).await?;
        channel.queue_all(continued(rest)).await?;
        Ok((seat, issued.expires_at))
    }

    /// A participant whose connection was lost comes back to its place.
    pub(super) async fn come_back(
        self: &Arc<Self>,
        channel: &mut Channel,
        request: &pb::ResumeRequest,
    ) -> Result<(Seat, OffsetDateTime), End> {
        let presented = Ticket::parse(&request.resume_ticket)
            .ok_or_else(|| unauthorized("this is no resume ticket".to_owned()))?;
        let participant = presented.participant;
        if let Some(meeting) = self.live(presented.meeting) {
            // Before the database is asked: who guesses the ticket of somebody who is here learns nothing.
            let live = lock(&meeting);
            if live.clients.get(&participant).is_some_and(|client| !client.knows(&presented)) {
                return Err(gone());
            }
        }
        let facts =
            tokio::try_join!(self.store.meeting(presented.meeting), self.store.participant(participant));
        let (stored, issued) = facts.map_err(|error| End::unavailable("a meeting", &error))?;
        let stored = stored.filter(|meeting| meeting.status.is_joinable()).ok_or_else(End::over)?;
        if issued.as_ref().is_some_and(|issued| issued.revoked_at.is_some()) {
            return Err(End::removed());
        }
        let expires_at = end_of_right(issued.as_ref(), OffsetDateTime::now_utc());
        let expires_at = expires_at.ok_or_else(|| unauthorized("your join token has ended".to_owned()))?;
        let meeting = self.live(presented.meeting).ok_or_else(gone)?;
        let (mut seat, mut response, missed, rest) = self.take_seat_again(&meeting, &presented, request)?;
        if let Some(snapshot) = &mut response.snapshot {
            snapshot.meeting_display_name = stored.display_name;
            snapshot.protocol_version = PROTOCOL_VERSION;
        }
        tracing::info!(%participant, meeting = %presented.meeting, "is back");
        channel.obey(&mut seat);
        channel.answer(Message::ResumeResponse(response)).await?;
        channel.queue_all(continued(rest).chain(outbox::writes(missed))).await?;
        Ok((seat, expires_at))
    }

    fn take_seat_again(
        self: &Arc<Self>,
        meeting: &Arc<Mutex<LiveMeeting>>,
        presented: &Ticket,
        request: &pb::ResumeRequest,
    ) -> Result<(Seat, pb::ResumeResponse, Vec<NumberedEvent>, Vec<pb::Participant>), End> {
        let participant = presented.participant;
        let mut live = lock(meeting);
        let client = live.clients.get(&participant).filter(|client| client.knows(presented));
        let client = client.ok_or_else(gone)?;
        let epoch = client.epoch;
        let again =
            client.former.as_ref().is_some_and(|former| former.began_anew && former.ticket.is(presented));
        live.core.count_entry(participant, unix_micros()).map_err(refused)?;
        // What it has seen was numbered before: a number that never was makes it a snapshot again.
        let seen = if again { u64::MAX } else { request.last_event_sequence };
        let resumed = live.core.resume(participant, epoch, seen);
        let resumed = resumed.map_err(|refusal| End::refused(Code::UNAUTHORIZED, refusal))?;
        let ticket = Ticket::new(presented.meeting, participant);
        let (epoch, missed, snapshot) = match resumed {
            Resumed::Missed(epoch, missed) => (epoch, missed, None),
            Resumed::Snapshot(joined) => (joined.epoch, Vec::new(), Some(snapshot(joined))),
        };
        let (link, events, close) = Link::new(self.limits.max_participants);
        let client = live.clients.get_mut(&participant).ok_or_else(gone)?;
        client.epoch = epoch;
        client.ticket = ticket.clone();
        client.former = Some(Former { ticket: presented.clone(), began_anew: snapshot.is_some() });
        if let Some(older) = client.link.replace(link) {
            let _closing_already = older.close.try_send(Code::DUPLICATE);
        }
        self.carry_out(&mut live);
        let media_server = Some(self.media.admit(participant));
        drop(live);
        metrics::gauge!("meeting_participants").increment(1.0);
        let (snapshot, rest) = snapshot.unzip();
        let snapshot = snapshot.map(|snapshot| pb::JoinResponse {
            participant_id: participant.to_string(),
            server_time: unix_micros(),
            ..snapshot
        });
        let resume_ticket = ticket.to_bytes().into();
        let response = pb::ResumeResponse { media_server, resume_ticket, snapshot };
        let seat = Seat {
            controller: Arc::clone(self),
            participant,
            meeting: Arc::clone(meeting),
            epoch,
            events,
            close: Some(close),
            is_heard: AtomicBool::new(false),
            reason: None,
        };
        Ok((seat, response, missed, rest.unwrap_or_default()))
    }

    /// The session of a participant that is here has ended: its place is free, or kept for a while.
    pub(super) fn give_up(
        self: &Arc<Self>,
        meeting: &Arc<Mutex<LiveMeeting>>,
        live: &mut LiveMeeting,
        participant: ParticipantId,
        reason: Option<pb::LeaveReason>,
    ) {
        let Some(client) = live.clients.get_mut(&participant) else { return };
        client.link = None;
        let epoch = client.epoch;
        match reason {
            Some(reason) => live.core.leave(participant, epoch, reason),
            None => live.core.disconnect(participant, epoch, Instant::now()),
        }
        if !live.core.contains(participant) {
            if let Some(client) = live.clients.remove(&participant) {
                client.departure.go(participant, reason.unwrap_or(pb::LeaveReason::ConnectionLost));
            }
            return;
        }
        let (controller, meeting) = (Arc::downgrade(self), Arc::downgrade(meeting));
        let grace = self.limits.reconnect_grace;
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            end_grace(&controller, &meeting);
        });
    }

    /// Reads what the store says of somebody with a token.
    async fn facts(&self, claims: &JoinClaims) -> Result<Facts, End> {
        let facts =
            tokio::try_join!(self.meeting(claims.meeting_id), self.store.participant(claims.participant_id));
        let ((meeting, checked_at), issued) = facts.map_err(|error| End::unavailable("a meeting", &error))?;
        let meeting = meeting.filter(|meeting| meeting.status.is_joinable()).ok_or_else(End::over)?;
        let issued = issued.filter(|issued| issued.meeting_id == meeting.id);
        let issued = issued.ok_or_else(|| unauthorized("this server did not issue the token".to_owned()))?;
        if issued.revoked_at.is_some() {
            return Err(End::removed());
        }
        if !meeting.admits(issued.role, OffsetDateTime::now_utc()) {
            return Err(End::not_begun());
        }
        let rights = self.rights(&meeting, &issued).await?;
        Ok(Facts { meeting, issued, rights, checked_at })
    }

    /// A meeting, and when reading it began. Of one that is going on here, what was read within a second: changes that
    /// are made here are known, and who is not to be there any more is found out when its coming is recorded.
    async fn meeting(&self, id: MeetingId) -> Result<(Option<StoredMeeting>, Instant), StoreError> {
        if let Some(live) = self.live(id) {
            let (known, read_at) = lock(&live).facts.clone();
            // One that waits for its time may begin at any moment.
            if known.status == MeetingStatus::Active && read_at.elapsed() < MAX_AGE {
                return Ok((Some(known), read_at));
            }
        }
        let read_at = Instant::now();
        Ok((self.store.meeting(id).await?, read_at))
    }

    /// What a participant may do: according to its preset as it was within the last second, or where that is gone, to the
    /// shipped one of its role.
    async fn rights(&self, meeting: &StoredMeeting, issued: &IssuedParticipant) -> Result<Rights, End> {
        let runs_meeting = issued.role == ParticipantRole::Host;
        let key = (meeting.organization_id, issued.preset.clone());
        if let Some((read_at, preset)) = self.presets.get(&key)
            && read_at.elapsed() < MAX_AGE
        {
            return Ok(Rights::new(&preset, runs_meeting));
        }
        let read_at = Instant::now();
        let stored = self.store.preset(meeting.organization_id, &issued.preset).await;
        let stored = stored.map_err(|error| End::unavailable("a preset", &error))?;
        if let Some(stored) = stored {
            let rights = Rights::new(&stored.preset, runs_meeting);
            self.presets.insert(key, (read_at, Arc::new(stored.preset)));
            return Ok(rights);
        }
        let name = preset_name(meeting.meeting_type, issued.role).unwrap_or("webinar_viewer");
        let preset = shipped().into_iter().find(|preset| preset.name == name);
        let preset = preset.ok_or_else(|| unauthorized("there is no preset for this token".to_owned()))?;
        Ok(Rights::new(&preset, runs_meeting))
    }

    /// Waits until somebody is let in, if it has to; says whether it had.
    async fn wait_at_door(
        self: &Arc<Self>,
        session: &Session,
        channel: &mut Channel,
        facts: &Facts,
        identity: &Identity,
    ) -> Result<bool, End> {
        let meeting = &facts.meeting;
        let participant = identity.participant_id;
        let (sender, receiver) = oneshot::channel();
        let entered = self.enter(meeting, facts.checked_at, |live_meeting, live| {
            let entry = live.core.knock(identity, unix_micros())?;
            let waiting = (entry == Entry::Waits).then(|| Arc::clone(live_meeting));
            if waiting.is_some() {
                // Who waits with an older connection of the same participant is told by the loss of its sender.
                live.waiting.insert(participant, sender);
            }
            Ok(waiting)
        });
        let entered = entered.map_err(refused)?;
        let Some(live_meeting) = entered else { return Ok(false) };
        let mut place =
            Waiting { controller: Arc::clone(self), meeting: live_meeting, participant, receiver };
        tracing::info!(%participant, meeting = %meeting.id, "waits");
        let waiting = pb::JoinWaiting { meeting_display_name: meeting.display_name.clone() };
        channel.provisional(Message::JoinWaiting(waiting)).await?;
        let mut too_long = std::pin::pin!(tokio::time::sleep(MAX_WAIT));
        let mut messages = 0;
        loop {
            tokio::select! {
                verdict = &mut place.receiver => return match verdict {
                    Ok(Verdict::LetIn) => Ok(true),
                    Ok(Verdict::TurnedAway) => Err(End::turned_away("a host did not let you in")),
                    Ok(Verdict::Over(code)) => Err(ended_by(code)),
                    Err(_replaced) => Err(ended_by(Code::DUPLICATE)),
                },
                _ended = session.closed() => return Err(End::lost()),
                () = &mut too_long => {
                    return Err(End::turned_away("nobody has let you in for 15 minutes; try again later"));
                }
                () = self.stopping.cancelled() => return Err(End::going_away()),
                envelope = channel.requests.next::<pb::Envelope>() => {
                    let envelope = envelope?.ok_or_else(End::lost)?;
                    messages += 1;
                    match envelope.message {
                        Some(Message::LeaveRequest(_)) => {
                            channel.acknowledge(&envelope).await?;
                            return Err(End::left());
                        }
                        _ if messages > MAX_MESSAGES_WAITING => {
                            let message = "too many messages of somebody who waits";
                            return Err(End::fault(Code::RATE_LIMITED, ErrorCode::RateLimited, message));
                        }
                        _ => {
                            let waits = refusal(ErrorCode::Conflict, "you wait to be let in; only LeaveRequest is of use");
                            channel.refuse(&envelope, waits).await?;
                        }
                    }
                }
            }
        }
    }
}

/// The place of somebody who waits; given up when dropped.
struct Waiting {
    controller: Arc<MeetingController>,
    meeting: Arc<Mutex<LiveMeeting>>,
    participant: ParticipantId,
    receiver: oneshot::Receiver<Verdict>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.receiver.close();
        // As for those who are in.
        let Ok(mut live) = self.meeting.lock() else { return };
        // Unless it was decided about, or waits with a newer connection.
        if live.waiting.get(&self.participant).is_some_and(oneshot::Sender::is_closed) {
            live.waiting.remove(&self.participant);
            live.core.stop_waiting(self.participant);
            self.controller.carry_out(&mut live);
        }
        self.controller.retire_if_empty(&mut live);
    }
}

/// Whoever has not come back in time has left.
fn end_grace(controller: &Weak<MeetingController>, meeting: &Weak<Mutex<LiveMeeting>>) {
    let (Some(controller), Some(meeting)) = (controller.upgrade(), meeting.upgrade()) else { return };
    let mut live = lock(&meeting);
    for participant in live.core.handle_timeout(Instant::now()) {
        tracing::info!(%participant, "has not come back");
        if let Some(client) = live.clients.remove(&participant) {
            client.departure.go(participant, pb::LeaveReason::ConnectionLost);
        }
    }
    controller.carry_out(&mut live);
    controller.retire_if_empty(&mut live);
}

/// Who somebody is: what its record says now, whatever its token said when it was issued.
fn identity_of(request: &pb::JoinRequest, facts: &Facts) -> Result<Identity, End> {
    let Facts { issued, rights, .. } = facts;
    let may_choose = (rights.rename_self || rights.run_meeting) && !issued.is_guest;
    let may_choose = may_choose && !request.participant_name.is_empty();
    let name = if may_choose { &request.participant_name } else { &issued.name };
    let bad_name = || {
        let message = "participant_name must have 1 to 64 printable characters";
        End::fault(Code::PROTOCOL_VIOLATION, ErrorCode::InvalidRequest, message)
    };
    Ok(Identity {
        participant_id: issued.id,
        name: display_name(name).ok_or_else(bad_name)?,
        role: match issued.role {
            ParticipantRole::Host => pb::Role::Host,
            ParticipantRole::Participant | ParticipantRole::Guest | ParticipantRole::Viewer => {
                pb::Role::Participant
            }
        },
        rights: rights.clone(),
        is_guest: issued.is_guest,
        user_id: issued.user_id.clone().unwrap_or_default(),
    })
}

/// What the meeting looks like, and those of its participants who do not fit into the message.
fn snapshot(joined: Joined) -> (pb::JoinResponse, Vec<pb::Participant>) {
    let Joined { mut existing, role, rights, locked, spotlight, .. } = joined;
    let rest = existing.split_off(fitting(&existing));
    let response = pb::JoinResponse {
        existing_participants: existing,
        role: role.into(),
        rights: Some(rights),
        locked,
        spotlight_participant_ids: spotlight.iter().map(ToString::to_string).collect(),
        ..pb::JoinResponse::default()
    };
    (response, rest)
}

/// Tells of those who did not fit into the answer.
fn continued(rest: Vec<pb::Participant>) -> impl Iterator<Item = Bytes> {
    outbox::together(rest.into_iter().map(|participant| {
        let joined = pb::ParticipantJoined { participant: Some(participant) };
        envelope(0, Message::ParticipantJoined(joined))
    }))
}

/// The meeting does not let somebody in.
pub(super) fn refused(refusal: Refusal) -> End {
    match refusal.code {
        ErrorCode::CapacityExceeded => End::refused(Code::CAPACITY_EXCEEDED, refusal),
        ErrorCode::RateLimited => End::refused(Code::RATE_LIMITED, refusal),
        _ => End::refused(Code::UNAUTHORIZED, refusal),
    }
}

fn unauthorized(message: String) -> End {
    End::fault(Code::UNAUTHORIZED, ErrorCode::Unauthorized, message)
}

fn gone() -> End {
    let message = "your place in the meeting is gone; join again";
    End::fault(Code::UNAUTHORIZED, ErrorCode::NotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_read_back_and_others_are_not_right() {
        let ticket = Ticket::new(MeetingId::generate(), ParticipantId::generate());
        let bytes = ticket.to_bytes();
        let read = Ticket::parse(&bytes).expect("a ticket");
        assert!(read.is(&ticket) && (read.meeting, read.participant) == (ticket.meeting, ticket.participant));
        assert!(!Ticket::new(ticket.meeting, ticket.participant).is(&ticket));
        for len in [0, 1, 47, 49] {
            assert!(Ticket::parse(&vec![0; len]).is_none());
        }
        assert!(!format!("{ticket:?}").contains(&ticket.secret.to_string()));
    }
}
