//! Who may do what in a meeting: every message of clients × every shipped preset (and one that nobody sees)
//! × whom it names. What is expected is written from the presets' own fields, not from the meeting's notion
//! of rights.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use darktower_core::meeting::{Entry, Identity, Meeting, MeetingLimits, Refusal, Rights, WaitingRoom};
use darktower_core::preset::{Preset, Produce, RecorderType, shipped};
use darktower_protocol::signaling::pb;
use darktower_protocol::{MeetingId, ParticipantId, StreamId};
use pb::envelope::Message;
use pb::stage_request::Action;
use pb::{ErrorCode, StreamType};

/// Lists every message once: a new one does not compile before somebody has said who decides about it.
macro_rules! messages {
    (
        meeting: $($meeting:ident)+;
        elsewhere: $($elsewhere:ident)+;
        server: $($server:ident)+;
    ) => {
        /// Messages of clients that the meeting decides about.
        const DECIDED_HERE: &[&str] = &[$(stringify!($meeting)),+];
        /// Messages of clients that the shell decides about, by tokens, tickets and sessions.
        const DECIDED_ELSEWHERE: &[&str] = &[$(stringify!($elsewhere)),+];

        /// The name of a message that clients send.
        fn client_message(message: &Message) -> Option<&'static str> {
            match message {
                $(Message::$meeting(_) => Some(stringify!($meeting)),)+
                $(Message::$elsewhere(_) => Some(stringify!($elsewhere)),)+
                $(Message::$server(_) => None,)+
            }
        }
    };
}

messages! {
    meeting:
        PublishStream UnpublishStream SubscribeStream UnsubscribeStream SubscribeAuto UpdateParticipant
        SendChatMessage EditChatMessage DeleteChatMessage PinChatMessage FetchChatHistory BroadcastMessage AudioLevels
        StreamQualityUpdate
        KickParticipant MuteParticipant LockMeeting EndMeeting AdmitParticipant SetPreset StageRequest
        SpotlightParticipant LowerHands;
    elsewhere:
        JoinRequest LeaveRequest ResumeRequest KeyFrameRequest RefreshConnectionToken;
    server:
        Ack Error JoinResponse ConnectionTokenRefreshed ChatHistory ResumeResponse JoinWaiting
        ParticipantJoined ParticipantLeft StreamPublished StreamUnpublished ParticipantUpdated GoAway
        WaitingRoomChanged StageChanged MeetingUpdated MeetingEnded ChatMessageSent ChatMessageUpdated
        MessageBroadcast RightsChanged ActiveSpeakerChanged AutoSubscriptionsChanged NetworkQualityChanged
        AudienceChanged;
}

/// Rows for one preset and one target.
const ROWS: usize = 53;
const NOW_US: u64 = 1_700_000_000_000_000;

/// Whom a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Oneself,
    /// A participant without rights over others.
    Participant,
    /// Somebody who asks for the stage.
    Asking,
    Host,
    /// Somebody who may never send anything: not everybody knows of it.
    Viewer,
    /// In the waiting room.
    Waiting,
    /// Nobody.
    Absent,
}

impl Target {
    const ALL: [Self; 7] = [
        Self::Oneself,
        Self::Participant,
        Self::Asking,
        Self::Host,
        Self::Viewer,
        Self::Waiting,
        Self::Absent,
    ];

    fn number(self) -> u8 {
        self as u8 + 1
    }

    fn id(self) -> ParticipantId {
        ParticipantId::from_bytes([self.number(); 16])
    }

    fn stream(self) -> StreamId {
        StreamId::from_bytes([0x80 | self.number(); 16])
    }

    /// A message of the chat that it wrote. Of those that wrote none: one that others wrote to each other, or
    /// none.
    fn chat_message(self) -> u64 {
        match self {
            Self::Participant => 1,
            Self::Host => 2,
            Self::Waiting => 3,
            Self::Oneself => 4,
            Self::Asking | Self::Viewer | Self::Absent => 99,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Refused(ErrorCode),
    DecidedElsewhere,
}

const ALLOWED: Outcome = Outcome::Allowed;
const FORBIDDEN: Outcome = Outcome::Refused(ErrorCode::Forbidden);
const NOT_FOUND: Outcome = Outcome::Refused(ErrorCode::NotFound);
const INVALID: Outcome = Outcome::Refused(ErrorCode::InvalidRequest);
const CONFLICT: Outcome = Outcome::Refused(ErrorCode::Conflict);

/// Who sends the messages.
struct Actor {
    preset: Preset,
    is_host: bool,
}

impl Actor {
    fn new(preset: Preset) -> Self {
        Self { is_host: preset.name.ends_with("_host"), preset }
    }

    /// Whether it knows of somebody in the meeting.
    fn sees(&self, target: Target) -> bool {
        let may = &self.preset.permissions;
        match target {
            // Those who may send something are known to all.
            Target::Oneself | Target::Participant | Target::Asking | Target::Host => true,
            Target::Viewer => may.show_participant_list,
            Target::Waiting | Target::Absent => false,
        }
    }

    fn may_ask_for_stage(&self) -> bool {
        let media = self.preset.permissions.media;
        [media.audio, media.video, media.screenshare]
            .iter()
            .any(|media| media.can_produce == Produce::CanRequest)
    }

    /// Whether its microphone is on: it is published beforehand where that needs no asking.
    fn publishes(&self) -> bool {
        self.preset.permissions.media.audio.can_produce == Produce::Allowed
    }

    fn writes_to_everybody(&self) -> bool {
        let public = self.preset.permissions.chat.public;
        public.can_send && public.text
    }

    /// What somebody who may do it at all may do it to: whom it sees, and hosts only as a host.
    fn reach(&self, target: Target) -> Outcome {
        match target {
            Target::Host if !self.is_host => FORBIDDEN,
            seen if self.sees(seen) => ALLOWED,
            _ => NOT_FOUND,
        }
    }

    /// What is expected of a control of which the preset says whether it may be used.
    fn control(&self, is_permitted: bool, target: Target) -> Outcome {
        if is_permitted { self.reach(target) } else { FORBIDDEN }
    }

    /// Every message of a client that names the target in every way, and what must become of it.
    fn rows(&self, target: Target) -> Vec<(Message, Outcome)> {
        let mut rows = self.media_rows(target);
        rows.extend(self.participant_rows(target));
        rows.extend(self.chat_rows(target));
        rows.extend(self.control_rows(target));
        rows.extend(self.stage_rows(target));
        rows.extend(rows_decided_elsewhere(target));
        rows
    }

    fn media_rows(&self, target: Target) -> Vec<(Message, Outcome)> {
        let media = self.preset.permissions.media;
        // Nobody is on the stage.
        let publish = |kind, produce: Produce| {
            (publish(0xff, kind), if produce == Produce::Allowed { ALLOWED } else { FORBIDDEN })
        };
        let stream_id = target.stream().to_string();
        let unpublished = match target {
            Target::Oneself if self.publishes() => ALLOWED,
            _ => NOT_FOUND,
        };
        let subscribed = match target {
            Target::Oneself if self.publishes() => INVALID,
            Target::Participant | Target::Host => ALLOWED,
            _ => NOT_FOUND,
        };
        let unsubscribed = if target == Target::Participant { ALLOWED } else { NOT_FOUND };
        let measured = match target {
            Target::Oneself if self.publishes() => ALLOWED,
            _ => unsubscribed,
        };
        let quality =
            pb::StreamQualityUpdate { stream_id: stream_id.clone(), ..pb::StreamQualityUpdate::default() };
        vec![
            (Message::StreamQualityUpdate(quality), measured),
            publish(StreamType::Audio, media.audio.can_produce),
            publish(StreamType::VideoCamera, media.video.can_produce),
            publish(StreamType::VideoScreen, media.screenshare.can_produce),
            (Message::UnpublishStream(pb::UnpublishStream { stream_id: stream_id.clone() }), unpublished),
            (
                Message::SubscribeStream(pb::SubscribeStream { stream_id: stream_id.clone(), options: None }),
                subscribed,
            ),
            (Message::UnsubscribeStream(pb::UnsubscribeStream { stream_id }), unsubscribed),
            // Who is not seen, or not there, counts when it is: nobody learns anything from an answer.
            (
                Message::SubscribeAuto(pb::SubscribeAuto {
                    on: true,
                    pinned_participant_ids: vec![target.id().to_string()],
                    ..pb::SubscribeAuto::default()
                }),
                ALLOWED,
            ),
        ]
    }

    fn participant_rows(&self, target: Target) -> Vec<(Message, Outcome)> {
        let participant_id = target.id().to_string();
        let named = |name: &str, participant_id: &str| {
            Message::UpdateParticipant(pb::UpdateParticipant {
                name: name.to_owned(),
                participant_id: participant_id.to_owned(),
                ..pb::UpdateParticipant::default()
            })
        };
        let may_rename_itself = self.is_host || self.preset.permissions.can_edit_display_name;
        let own_name = if may_rename_itself { ALLOWED } else { FORBIDDEN };
        // Who is not seen cannot be named, whoever asks; the others only hosts rename.
        let other = |if_host: Outcome| match self.reach(target) {
            ALLOWED if self.is_host => if_host,
            ALLOWED => FORBIDDEN,
            refused => refused,
        };
        let is_own = target == Target::Oneself;
        let state = pb::ParticipantState { audio_muted: true, ..pb::ParticipantState::default() };
        let with_state = pb::UpdateParticipant {
            state: Some(state),
            participant_id: participant_id.clone(),
            ..pb::UpdateParticipant::default()
        };
        let change = pb::StateChange { audio_muted: Some(true), ..pb::StateChange::default() };
        let with_change = pb::UpdateParticipant { state: None, change: Some(change), ..with_state.clone() };
        vec![
            (named("Grace", ""), own_name),
            (named("Grace", &participant_id), if is_own { own_name } else { other(ALLOWED) }),
            (Message::UpdateParticipant(with_state), if is_own { ALLOWED } else { other(INVALID) }),
            (Message::UpdateParticipant(with_change), if is_own { ALLOWED } else { other(INVALID) }),
        ]
    }

    fn chat_rows(&self, target: Target) -> Vec<(Message, Outcome)> {
        let private = self.preset.permissions.chat.private;
        let to_participant_id = target.id().to_string();
        let send = |to_participant_id: &str| {
            let text = "hello".to_owned();
            let to_participant_id = to_participant_id.to_owned();
            Message::SendChatMessage(pb::SendChatMessage { text, to_participant_id })
        };
        let to_everybody = if self.writes_to_everybody() { ALLOWED } else { FORBIDDEN };
        let to_one = match target {
            _ if !self.sees(target) => NOT_FOUND,
            // The viewer's preset takes no private messages, and nobody writes to itself.
            Target::Oneself | Target::Viewer => FORBIDDEN,
            _ if private.can_send && private.text => ALLOWED,
            _ => FORBIDDEN,
        };
        let message_id = target.chat_message();
        let is_own = target == Target::Oneself && self.writes_to_everybody();
        let is_others = matches!(target, Target::Participant | Target::Host);
        let of_author = match (is_own, is_others) {
            (true, _) => ALLOWED,
            (_, true) => FORBIDDEN,
            _ => NOT_FOUND,
        };
        let writes = self.writes_to_everybody() || private.can_send && private.text;
        let edited = if writes { of_author } else { FORBIDDEN };
        let of_author_or_host = if is_others && self.is_host { ALLOWED } else { of_author };
        let of_host = match self.is_host {
            true if is_own || is_others => ALLOWED,
            true => NOT_FOUND,
            false => FORBIDDEN,
        };
        let broadcast = |r#type: &str, to: &[&String]| {
            Message::BroadcastMessage(pb::BroadcastMessage {
                r#type: r#type.to_owned(),
                payload: vec![7_u8; 8].into(),
                to_participant_ids: to.iter().map(|to| (*to).clone()).collect(),
            })
        };
        // Whoever is hidden would show itself.
        let is_hidden = self.preset.permissions.hidden_participant;
        let may_broadcast = !is_hidden && (self.writes_to_everybody() || self.is_host);
        let anything = if may_broadcast { ALLOWED } else { FORBIDDEN };
        let reaction = if is_hidden { FORBIDDEN } else { ALLOWED };
        let if_seen = |outcome| if self.sees(target) { outcome } else { NOT_FOUND };
        let text = "hello again".to_owned();
        let history = pb::FetchChatHistory {
            with_participant_id: to_participant_id.clone(),
            ..pb::FetchChatHistory::default()
        };
        vec![
            (send(""), to_everybody),
            (send(&to_participant_id), to_one),
            (Message::EditChatMessage(pb::EditChatMessage { message_id, text }), edited),
            (Message::DeleteChatMessage(pb::DeleteChatMessage { message_id }), of_author_or_host),
            (Message::PinChatMessage(pb::PinChatMessage { message_id, pinned: true }), of_host),
            (Message::FetchChatHistory(pb::FetchChatHistory::default()), ALLOWED),
            (Message::FetchChatHistory(history), ALLOWED),
            // Streams of its own are what decides it.
            (Message::AudioLevels(pb::AudioLevels::default()), ALLOWED),
            (broadcast("poll.vote", &[]), anything),
            (broadcast("poll.vote", &[&to_participant_id]), if_seen(anything)),
            (broadcast("reaction", &[]), reaction),
            (broadcast("reaction", &[&to_participant_id]), if_seen(reaction)),
        ]
    }

    fn control_rows(&self, target: Target) -> Vec<(Message, Outcome)> {
        let may = &self.preset.permissions;
        let id = || target.id().to_string();
        let nobody_in_particular = String::new;
        let yes = |is_permitted| if is_permitted { ALLOWED } else { FORBIDDEN };
        let kick = |participant_id| Message::KickParticipant(pb::KickParticipant { participant_id });
        let mute = |participant_id, kind: StreamType| {
            let stream_type = kind.into();
            Message::MuteParticipant(pb::MuteParticipant { participant_id, stream_type })
        };
        let admit =
            |participant_id, admit| Message::AdmitParticipant(pb::AdmitParticipant { participant_id, admit });
        let lower = |participant_id| Message::LowerHands(pb::LowerHands { participant_id });
        let kicked = match target {
            Target::Oneself if may.kick_participant => INVALID,
            _ => self.control(may.kick_participant, target),
        };
        let admitted = match target {
            _ if !may.accept_waiting_requests => FORBIDDEN,
            Target::Waiting => ALLOWED,
            _ => NOT_FOUND,
        };
        let mut rows = vec![
            (kick(id()), kicked),
            (kick(nobody_in_particular()), yes(may.kick_participant)),
            (Message::LockMeeting(pb::LockMeeting { locked: true }), yes(self.is_host)),
            (Message::EndMeeting(pb::EndMeeting {}), yes(self.is_host)),
            (admit(id(), true), admitted),
            (admit(id(), false), admitted),
            (admit(nobody_in_particular(), true), yes(may.accept_waiting_requests)),
            (lower(id()), self.control(self.is_host, target)),
            (lower(nobody_in_particular()), yes(self.is_host)),
            (
                Message::SetPreset(pb::SetPreset { participant_id: id(), preset: "video_guest".to_owned() }),
                self.control(may.can_change_participant_permissions, target),
            ),
        ];
        // Hosts are shown, too.
        let spotlighted = match target {
            _ if !may.can_spotlight => FORBIDDEN,
            seen if self.sees(seen) => ALLOWED,
            _ => NOT_FOUND,
        };
        for on in [true, false] {
            let spotlight = pb::SpotlightParticipant { participant_id: id(), on };
            rows.push((Message::SpotlightParticipant(spotlight), spotlighted));
        }
        for (kind, is_permitted) in [
            (StreamType::Audio, may.disable_participant_audio),
            (StreamType::VideoCamera, may.disable_participant_video),
            (StreamType::VideoScreen, may.disable_participant_screensharing),
        ] {
            rows.push((mute(id(), kind), self.control(is_permitted, target)));
            rows.push((mute(nobody_in_particular(), kind), yes(is_permitted)));
        }
        rows
    }

    fn stage_rows(&self, target: Target) -> Vec<(Message, Outcome)> {
        let decides = self.preset.permissions.can_accept_production_requests;
        let stage = |action: Action| {
            let participant_id = match action {
                Action::Ask | Action::Leave => String::new(),
                _ => target.id().to_string(),
            };
            Message::StageRequest(pb::StageRequest { action: action.into(), participant_id })
        };
        // If it can be reached at all.
        let decided = |outcome: Outcome| match self.control(decides, target) {
            ALLOWED => outcome,
            refused => refused,
        };
        let answered = if target == Target::Asking { ALLOWED } else { NOT_FOUND };
        let can_come = match target {
            Target::Oneself => self.may_ask_for_stage(),
            _ => target == Target::Asking,
        };
        vec![
            (stage(Action::Ask), if self.may_ask_for_stage() { ALLOWED } else { FORBIDDEN }),
            (stage(Action::Leave), ALLOWED),
            (stage(Action::Approve), decided(answered)),
            (stage(Action::Deny), decided(answered)),
            (stage(Action::Invite), decided(if can_come { ALLOWED } else { CONFLICT })),
            (stage(Action::Remove), decided(ALLOWED)),
        ]
    }
}

fn rows_decided_elsewhere(target: Target) -> Vec<(Message, Outcome)> {
    let stream_id = target.stream().to_string();
    let messages = [
        Message::JoinRequest(pb::JoinRequest::default()),
        Message::LeaveRequest(pb::LeaveRequest {}),
        Message::ResumeRequest(pb::ResumeRequest::default()),
        Message::KeyFrameRequest(pb::KeyFrameRequest { stream_id }),
        Message::RefreshConnectionToken(pb::RefreshConnectionToken {}),
    ];
    messages.into_iter().map(|message| (message, Outcome::DecidedElsewhere)).collect()
}

fn publish(stream: u8, kind: StreamType) -> Message {
    Message::PublishStream(publish_request(StreamId::from_bytes([stream; 16]), kind))
}

fn publish_request(stream: StreamId, kind: StreamType) -> pb::PublishStream {
    pb::PublishStream {
        stream_id: stream.to_string(),
        stream_type: kind.into(),
        metadata: Some(pb::StreamMetadata { codec: "VP8".to_owned(), ..pb::StreamMetadata::default() }),
    }
}

/// What the meeting says; nothing about what it does not decide.
#[expect(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
fn now() -> Instant {
    Instant::now()
}

fn decide(meeting: &mut Meeting, by: ParticipantId, message: &Message) -> Option<Result<(), Refusal>> {
    Some(match message {
        Message::PublishStream(request) => meeting.publish(by, request.clone()),
        Message::UnpublishStream(request) => meeting.unpublish(by, request),
        Message::SubscribeStream(request) => meeting.subscribe(by, request).map(drop),
        Message::UnsubscribeStream(request) => meeting.unsubscribe(by, request),
        Message::SubscribeAuto(request) => meeting.subscribe_auto(by, request, NOW_US),
        Message::UpdateParticipant(request) => meeting.update(by, request),
        Message::SendChatMessage(request) => meeting.send_chat(by, request, NOW_US).map(drop),
        Message::EditChatMessage(request) => meeting.edit_chat(by, request, NOW_US),
        Message::DeleteChatMessage(request) => meeting.delete_chat(by, request, NOW_US),
        Message::PinChatMessage(request) => meeting.pin_chat(by, request, NOW_US),
        Message::FetchChatHistory(request) => meeting.chat_history(by, request, NOW_US).map(drop),
        Message::BroadcastMessage(request) => meeting.broadcast(by, request, NOW_US),
        Message::AudioLevels(request) => meeting.tell_levels(by, request, NOW_US),
        Message::StreamQualityUpdate(request) => meeting.tell_quality(by, request, now()),
        Message::KickParticipant(request) => meeting.check_kick(by, request).map(drop),
        Message::MuteParticipant(request) => meeting.mute(by, request),
        Message::LockMeeting(request) => meeting.lock(by, request),
        Message::EndMeeting(_) => meeting.check_end(by),
        Message::AdmitParticipant(request) => meeting.admit(by, request),
        Message::SetPreset(request) => meeting.check_preset(by, request).map(drop),
        Message::StageRequest(request) => meeting.stage(by, request),
        Message::SpotlightParticipant(request) => meeting.spotlight(by, request),
        Message::LowerHands(request) => meeting.lower_hands(by, request),
        _ => return None,
    })
}

fn shipped_preset(name: &str) -> Preset {
    shipped().into_iter().find(|preset| preset.name == name).expect("a shipped preset")
}

/// Watches, and nobody sees it.
fn recorder() -> Preset {
    let mut preset = Preset { name: "recorder".to_owned(), ..shipped_preset("webinar_viewer") };
    preset.permissions.hidden_participant = true;
    preset.permissions.show_participant_list = true;
    preset.permissions.is_recorder = true;
    preset.permissions.recorder_type = RecorderType::Recorder;
    preset
}

fn identity(who: Target, actor: &Actor) -> Identity {
    Identity {
        participant_id: who.id(),
        name: format!("P{}", who.number()),
        role: if actor.is_host { pb::Role::Host } else { pb::Role::Participant },
        rights: Rights::new(&actor.preset, actor.is_host),
        is_guest: false,
        user_id: String::new(),
    }
}

/// A meeting with all targets. The participant and the host publish and write, to everybody and to each
/// other; the actor does, as far as it may, and subscribes to the participant.
fn meeting_of(actor: &Actor, others: &BTreeMap<&str, Actor>) -> Meeting {
    let mut meeting = Meeting::new(MeetingId::from_bytes([1; 16]), MeetingLimits::default());
    let present = [
        (Target::Oneself, actor),
        (Target::Participant, &others["video_participant"]),
        (Target::Asking, &others["webinar_participant"]),
        (Target::Host, &others["video_host"]),
        (Target::Viewer, &others["webinar_viewer"]),
    ];
    for (who, actor) in present {
        let joined = meeting.join(identity(who, actor), &pb::ParticipantCapabilities::default(), NOW_US);
        joined.expect("there is room");
    }
    meeting.set_waiting_room(WaitingRoom::Admission);
    let waits = meeting.knock(&identity(Target::Waiting, &others["video_guest"]), NOW_US);
    assert_eq!(waits.expect("it is not locked"), Entry::Waits);

    let ask = pb::StageRequest { action: Action::Ask.into(), participant_id: String::new() };
    meeting.stage(Target::Asking.id(), &ask).expect("it may ask");
    let mut publishers =
        vec![(Target::Participant, StreamType::Audio), (Target::Host, StreamType::VideoCamera)];
    publishers.extend(actor.publishes().then_some((Target::Oneself, StreamType::Audio)));
    for (who, kind) in publishers {
        meeting.publish(who.id(), publish_request(who.stream(), kind)).expect("it may send");
    }
    let subscribe =
        pb::SubscribeStream { stream_id: Target::Participant.stream().to_string(), options: None };
    meeting.subscribe(Target::Oneself.id(), &subscribe).expect("it sees the publisher");

    let mut lines = vec![
        (Target::Participant, String::new()),
        (Target::Host, String::new()),
        (Target::Participant, Target::Host.id().to_string()),
    ];
    lines.extend(actor.writes_to_everybody().then(|| (Target::Oneself, String::new())));
    for ((who, to_participant_id), expected) in lines.into_iter().zip(1_u64..) {
        let request = pb::SendChatMessage { text: "hello".to_owned(), to_participant_id };
        assert_eq!(meeting.send_chat(who.id(), &request, NOW_US), Ok(expected));
    }
    while meeting.poll_output().is_some() {}
    meeting
}

#[test]
fn every_message_of_every_preset_is_decided_as_the_preset_says() {
    let mut presets = shipped();
    presets.push(recorder());
    let others: BTreeMap<&str, Actor> =
        ["video_participant", "webinar_participant", "video_host", "webinar_viewer", "video_guest"]
            .map(|name| (name, Actor::new(shipped_preset(name))))
            .into();
    let preset_count = presets.len();
    let (mut rows, mut wrong) = (0, Vec::new());
    let (mut decided, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
    for actor in presets.into_iter().map(Actor::new) {
        for target in Target::ALL {
            for (message, expected) in actor.rows(target) {
                let name = client_message(&message).expect("a message of clients");
                let mut meeting = meeting_of(&actor, &others);
                let outcome = match decide(&mut meeting, Target::Oneself.id(), &message) {
                    None => Outcome::DecidedElsewhere,
                    Some(Ok(())) => Outcome::Allowed,
                    Some(Err(refusal)) => Outcome::Refused(refusal.code),
                };
                let names = if expected == Outcome::DecidedElsewhere { &mut elsewhere } else { &mut decided };
                names.insert(name);
                rows += 1;
                if outcome != expected {
                    let preset = &actor.preset.name;
                    wrong.push(format!("{preset} to {target:?}, {message:?}: {outcome:?}, not {expected:?}"));
                }
                let is_told = meeting.poll_output().is_some();
                if is_told && outcome != ALLOWED {
                    wrong.push(format!("{message:?} is refused, and somebody hears of it"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(rows, preset_count * Target::ALL.len() * ROWS, "rows were left out, or ROWS has to follow");
    assert_eq!(
        decided,
        DECIDED_HERE.iter().copied().collect::<BTreeSet<_>>(),
        "every message is in the table"
    );
    assert_eq!(
        elsewhere,
        DECIDED_ELSEWHERE.iter().copied().collect::<BTreeSet<_>>(),
        "every message is in the table"
    );
}
