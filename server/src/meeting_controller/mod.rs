//! The meeting controller: signaling sessions, and the live meetings behind them.
//!
//! ```text
//! mod.rs      MeetingController: live meetings; carries out what the pure core asks for
//! session.rs  one client's signaling session: join, then requests and events
//! ```
//! Every meeting is a [`darktower_core::meeting::Meeting`] behind a lock that is held for single
//! calls only; its outputs are carried out in order while it is held.

mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use darktower_core::meeting::{Epoch, Identity, Meeting, MeetingLimits, Output, Refusal};
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, MeetingId, ParticipantId};
use dashmap::DashMap;
use pb::envelope::Message;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::auth::TokenService;
use crate::clock::unix_micros;
use crate::global_controller::{LiveMeetings, LiveParticipant, LiveStream, LiveStreamType};
use crate::media_handler::MediaControl;
use crate::storage::Store;

/// Events waiting for one client. A client that is this far behind is disconnected: its roster
/// could no longer be right.
const EVENT_QUEUE: usize = 512;

/// The meeting controller of this process.
pub struct MeetingController {
    store: Arc<dyn Store>,
    tokens: Arc<TokenService>,
    media: Arc<dyn MediaControl>,
    limits: MeetingLimits,
    messages_per_minute: std::num::NonZeroU32,
    meetings: DashMap<MeetingId, Arc<Mutex<LiveMeeting>>>,
    stopping: CancellationToken,
}

struct LiveMeeting {
    core: Meeting,
    sessions: HashMap<ParticipantId, Client>,
    /// Nobody was left and it has been taken out of the table: joining needs a new one.
    retired: bool,
}

/// The way to a participant's signaling session.
struct Client {
    epoch: Epoch,
    events: mpsc::Sender<Message>,
    close: mpsc::Sender<Code>,
}

/// A participant's place in a meeting, held by its session; given up when dropped.
struct Seat {
    controller: Arc<MeetingController>,
    participant: ParticipantId,
    meeting: Arc<Mutex<LiveMeeting>>,
    epoch: Epoch,
    events: mpsc::Receiver<Message>,
    close: mpsc::Receiver<Code>,
    /// What others are told when it is given up.
    reason: pb::LeaveReason,
}

/// What a newcomer is told.
struct Welcome {
    existing: Vec<pb::Participant>,
    media_server: pb::MediaServerInfo,
}

impl MeetingController {
    /// A controller without live meetings.
    pub fn new(
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        media: Arc<dyn MediaControl>,
        limits: MeetingLimits,
        messages_per_minute: std::num::NonZeroU32,
    ) -> Arc<Self> {
        let meetings = DashMap::new();
        let stopping = CancellationToken::new();
        Arc::new(Self { store, tokens, media, limits, messages_per_minute, meetings, stopping })
    }

    /// Tells every client that the server goes away; they leave by themselves or are cut off
    /// when the endpoint closes.
    pub fn start_draining(&self) {
        self.stopping.cancel();
    }

    /// Waits until every client has left, at most for `grace`.
    pub async fn wait_until_empty(&self, grace: Duration) {
        let empty = async {
            while !self.meetings.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _some_stay = tokio::time::timeout(grace, empty).await;
    }

    fn join(
        self: &Arc<Self>,
        meeting_id: MeetingId,
        max_participants: u32,
        identity: &Identity,
        capabilities: &pb::ParticipantCapabilities,
    ) -> Result<(Seat, Welcome), Refusal> {
        let participant = identity.participant_id;
        let max_participants = self.limits.max_participants.min(max_participants as usize);
        let limits = MeetingLimits { max_participants, ..self.limits };
        loop {
            let new = || {
                let core = Meeting::new(meeting_id, limits);
                Arc::new(Mutex::new(LiveMeeting { core, sessions: HashMap::new(), retired: false }))
            };
            // The table is not locked any more when the meeting is: leaving locks them the other
            // way round.
            let meeting = Arc::clone(self.meetings.entry(meeting_id).or_insert_with(new).value());
            let mut live = lock(&meeting);
            if live.retired {
                continue;
            }
            let result = live.core.join(identity.clone(), capabilities, unix_micros());
            self.carry_out(&mut live);
            let joined = match result {
                Ok(joined) => joined,
                Err(refusal) => {
                    self.retire_if_empty(&mut live);
                    return Err(refusal);
                }
            };
            let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
            let (close_sender, close) = mpsc::channel(1);
            let client = Client { epoch: joined.epoch, events: event_sender, close: close_sender };
            live.sessions.insert(participant, client);
            let media_server = self.media.admit(participant);
            drop(live);
            metrics::gauge!("meeting_participants").increment(1.0);
            let seat = Seat {
                controller: Arc::clone(self),
                participant,
                meeting,
                epoch: joined.epoch,
                events,
                close,
                reason: pb::LeaveReason::ConnectionLost,
            };
            return Ok((seat, Welcome { existing: joined.existing, media_server }));
        }
    }

    fn carry_out(&self, live: &mut LiveMeeting) {
        let meeting_id = live.core.id();
        while let Some(output) = live.core.poll_output() {
            match output {
                Output::Event { to, event } => {
                    let Some(client) = live.sessions.get(&to) else { continue };
                    if client.events.try_send(event).is_err() {
                        let _closing_already = client.close.try_send(Code::TOO_SLOW);
                    }
                }
                Output::Media(command) => self.media.execute(meeting_id, command),
                Output::Replaced { participant, epoch } => {
                    let is_it = |client: &&Client| client.epoch == epoch;
                    if let Some(client) = live.sessions.get(&participant).filter(is_it) {
                        let _closing_already = client.close.try_send(Code::DUPLICATE);
                    }
                }
            }
        }
    }

    fn retire_if_empty(&self, live: &mut LiveMeeting) {
        if live.core.participant_count() == 0 && !live.retired {
            live.retired = true;
            // The entry is this meeting: a new one is only inserted after this one is removed.
            self.meetings.remove(&live.core.id());
        }
    }
}

impl Seat {
    /// A fresh way to the media handler, unless another session has taken the seat.
    fn refresh_media(&self) -> Option<pb::MediaServerInfo> {
        let live = lock(&self.meeting);
        let is_current = live.core.is_current(self.participant, self.epoch);
        is_current.then(|| self.controller.media.admit(self.participant))
    }

    /// Changes the meeting and carries out what follows.
    fn with_meeting<T>(&self, change: impl FnOnce(&mut Meeting) -> T) -> T {
        let mut live = lock(&self.meeting);
        let result = change(&mut live.core);
        self.controller.carry_out(&mut live);
        result
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("meeting_participants").decrement(1.0);
        let mut live = lock(&self.meeting);
        live.core.leave(self.participant, self.epoch, self.reason);
        if live.sessions.get(&self.participant).is_some_and(|client| client.epoch == self.epoch) {
            live.sessions.remove(&self.participant);
        }
        self.controller.carry_out(&mut live);
        self.controller.retire_if_empty(&mut live);
    }
}

impl LiveMeetings for MeetingController {
    fn participant_count(&self, meeting: MeetingId) -> usize {
        self.live(meeting).map_or(0, |meeting| lock(&meeting).core.participant_count())
    }

    fn roster(&self, meeting: MeetingId) -> Vec<LiveParticipant> {
        let Some(meeting) = self.live(meeting) else { return Vec::new() };
        let mut roster = lock(&meeting).core.roster();
        roster.sort_by_key(|participant| participant.joined_at);
        roster.iter().filter_map(live_participant).collect()
    }
}

impl MeetingController {
    fn live(&self, meeting: MeetingId) -> Option<Arc<Mutex<LiveMeeting>>> {
        self.meetings.get(&meeting).map(|meeting| Arc::clone(&meeting))
    }
}

fn lock(meeting: &Mutex<LiveMeeting>) -> MutexGuard<'_, LiveMeeting> {
    meeting.lock().expect("no code panics while it holds this lock")
}

fn live_participant(participant: &pb::Participant) -> Option<LiveParticipant> {
    let live_stream = |stream: &pb::MediaStream| {
        Some(LiveStream {
            stream_id: stream.stream_id.parse().ok()?,
            stream_type: match stream.stream_type() {
                pb::StreamType::Audio => LiveStreamType::Audio,
                pb::StreamType::VideoCamera => LiveStreamType::VideoCamera,
                pb::StreamType::VideoScreen => LiveStreamType::VideoScreen,
            },
            codec: stream.metadata.as_ref()?.codec.clone(),
        })
    };
    Some(LiveParticipant {
        participant_id: participant.participant_id.parse().ok()?,
        name: participant.name.clone(),
        joined_at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(participant.joined_at) * 1000)
            .ok()?,
        streams: participant.streams.iter().filter_map(live_stream).collect(),
    })
}
