//! Meetings: their life, who may do what with them, and how they are found.
//!
//! [`Meetings`] is the whole of the logic behind the routes about meetings; `participants`, `sessions` and `invitations`
//! hold the parts of it that are about those.

use std::sync::Arc;

use darktower_core::access::guests::{AccessPolicy, effective_policy, guest_cap};
use darktower_core::access::{Action, Actor, OrganizationRole, ParticipantRole, Relation};
use darktower_core::meeting::WaitingRoom;
use darktower_core::meeting::lifecycle::{
    LifecycleEvent, MeetingStatus, MeetingType, Scheduling, WrongStatus,
};
use darktower_protocol::{MeetingId, ParticipantId};
use serde_json::json;
use time::OffsetDateTime;

use super::LiveMeetings;
use super::audit::Audit;
use super::caller::{Caller, Identity};
use super::error::{ApiError, ErrorCode};
use super::known_meetings::KnownMeetings;
use super::known_organizations::{Known, KnownOrganizations};
use super::participants::Issued;
use crate::auth::TokenService;
use crate::config::Limits;
use crate::storage::model::{
    IssuedParticipant, Listed, Meeting, MeetingFilter, MeetingSettings, Page, Removal,
};
use crate::storage::{Store, StoreError, Unique};

/// Names of meetings, characters.
const MAX_NAME_LEN: usize = 200;
const MAX_DESCRIPTION_LEN: usize = 2000;
/// Without i, l, o, 0 and 1, which people confuse when they type a link.
const SLUG_ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 31^10 is about 8 * 10^14: nobody finds a meeting by trying.
const SLUG_LEN: usize = 10;
/// Two slugs meet once in millions of meetings; more than a few in a row means something else is wrong.
const SLUG_ATTEMPTS: usize = 5;
/// Length of a slug that its creator chose.
const CHOSEN_SLUG_LEN: std::ops::RangeInclusive<usize> = 3..=40;
/// Longest page of a list.
pub(super) const MAX_PAGE: u32 = 200;
const DEFAULT_KEEP_ALIVE_SECONDS: u32 = 60;
const MAX_KEEP_ALIVE_SECONDS: u32 = 600;
/// How often a change is made again because somebody else made one at the same time.
const UPDATE_ATTEMPTS: usize = 4;

/// Why the logic refuses or fails. Messages are for clients.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeetingsError {
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error(
        "A meeting cannot have enable_e2e_encryption and recording_enabled: the server could not read what it records"
    )]
    EncryptedRecording,
    #[error("access_policy {0} and settings.require_auth {1} contradict each other: give one of them")]
    Contradiction(AccessPolicy, bool),
    #[error("Meeting {0} does not exist")]
    NotFound(MeetingId),
    #[error("This meeting does not exist")]
    SlugNotFound,
    #[error("Something else has the slug {0}")]
    SlugTaken(String),
    #[error("You may not {} this meeting", verb(*.0))]
    Forbidden(Action),
    #[error("Lists of other users' meetings are for administrators")]
    ForeignList,
    #[error("Participant {0} does not exist in this meeting")]
    ParticipantNotFound(ParticipantId),
    #[error("This session does not exist")]
    SessionNotFound,
    #[error("Nobody is in this meeting")]
    NobodyThere,
    #[error("This user does not exist")]
    UserNotFound,
    #[error("Meeting {0} has ended")]
    Ended(MeetingId),
    #[error("This meeting has not begun")]
    NotBegun,
    #[error("This meeting does not let guests in")]
    GuestsNotAllowed,
    #[error("{0}")]
    WrongStatus(#[from] WrongStatus),
    #[error("{what} are at most {max}, and that many are there")]
    Full { limit: &'static str, what: &'static str, max: u32 },
    #[error("Others keep changing this meeting; try again")]
    ManyWriters,
    #[error("no random numbers")]
    Random,
    #[error("storage")]
    Store(#[from] StoreError),
}

impl MeetingsError {
    pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::ReadMeeting => "see",
        Action::EditMeeting => "change",
        Action::JoinMeeting => "join",
        Action::IssueToken => "issue tokens for",
        Action::ReadParticipants => "see the participants of",
        Action::RemoveParticipant => "remove participants from",
        Action::ReadSessions => "see the sessions of",
        _ => "do this with",
    }
}

impl From<MeetingsError> for ApiError {
    fn from(error: MeetingsError) -> Self {
        use MeetingsError as E;
        let message = error.to_string();
        match error {
            E::Invalid { field, .. } => Self::field(field, message),
            E::EncryptedRecording | E::Contradiction(..) | E::ManyWriters => {
                Self::new(ErrorCode::Conflict, message)
            }
            E::NotFound(_) | E::SlugNotFound => Self::new(ErrorCode::MeetingNotFound, message),
            E::SlugTaken(_) => Self::taken("slug", message),
            E::Forbidden(_) | E::ForeignList => Self::new(ErrorCode::Forbidden, message),
            E::ParticipantNotFound(_) => Self::new(ErrorCode::ParticipantNotFound, message),
            E::SessionNotFound | E::NobodyThere => Self::new(ErrorCode::SessionNotFound, message),
            E::UserNotFound => Self::new(ErrorCode::UserNotFound, message),
            E::Ended(_) => Self::new(ErrorCode::MeetingEnded, message),
            E::NotBegun => Self::new(ErrorCode::Conflict, message)
                .with_detail("status", MeetingStatus::Scheduled.to_string()),
            E::GuestsNotAllowed => Self::new(ErrorCode::GuestsNotAllowed, message),
            E::WrongStatus(wrong) => Self::new(ErrorCode::Conflict, capitalized(&message))
                .with_detail("status", wrong.from.to_string()),
            E::Full { limit, max, .. } => Self::new(ErrorCode::CapacityExceeded, capitalized(&message))
                .with_detail("limit", limit)
                .with_detail("max", max.to_string()),
            E::Random | E::Store(_) => Self::internal(error),
        }
    }
}

/// The first letter made large: `text` is a sentence.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// A meeting to create.
#[derive(Debug, Default)]
pub(super) struct NewMeeting {
    pub(super) display_name: String,
    pub(super) description: Option<String>,
    pub(super) meeting_type: Option<MeetingType>,
    pub(super) scheduling: Option<Scheduling>,
    pub(super) slug: Option<String>,
    pub(super) scheduled_start: Option<OffsetDateTime>,
    pub(super) scheduled_end: Option<OffsetDateTime>,
    pub(super) access_policy: Option<AccessPolicy>,
    pub(super) require_auth: Option<bool>,
    pub(super) max_participants: Option<u32>,
    pub(super) max_guests: Option<u32>,
    pub(super) keep_alive_seconds: Option<u32>,
    pub(super) settings: MeetingSettings,
}

/// What to change of a meeting: `None` keeps, `Some(None)` goes back to what applies by itself.
#[derive(Debug, Default)]
pub(super) struct MeetingChange {
    pub(super) display_name: Option<String>,
    pub(super) description: Option<Option<String>>,
    pub(super) meeting_type: Option<MeetingType>,
    pub(super) scheduled_start: Option<OffsetDateTime>,
    pub(super) scheduled_end: Option<Option<OffsetDateTime>>,
    pub(super) access_policy: Option<Option<AccessPolicy>>,
    pub(super) require_auth: Option<Option<bool>>,
    pub(super) max_participants: Option<u32>,
    pub(super) max_guests: Option<Option<u32>>,
    pub(super) keep_alive_seconds: Option<u32>,
    pub(super) enable_e2e_encryption: Option<bool>,
    pub(super) recording_enabled: Option<bool>,
    pub(super) waiting_room: Option<WaitingRoom>,
}

/// A meeting with what applies to it and what is live of it.
pub(super) struct MeetingView {
    pub(super) meeting: Meeting,
    /// Whom it is open to.
    pub(super) policy: AccessPolicy,
    /// How many guests it takes.
    pub(super) max_guests: u32,
    pub(super) participant_count: usize,
}

/// How somebody with a meeting's link gets a join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WayIn {
    /// For itself, as the user it is.
    Account,
    /// As a guest.
    Guest,
    /// Not without an account that may join.
    SignIn,
    /// Not at all: it is over.
    None,
}

/// A meeting that its caller may do something with.
pub(super) struct Found {
    pub(super) meeting: Meeting,
    pub(super) relation: Relation,
    pub(super) organization: Arc<Known>,
}

pub(super) struct Meetings {
    pub(super) store: Arc<dyn Store>,
    pub(super) tokens: Arc<TokenService>,
    pub(super) live: Arc<dyn LiveMeetings>,
    pub(super) organizations: KnownOrganizations,
    /// For tokens, which come in crowds.
    pub(super) known: KnownMeetings,
    pub(super) audit: Audit,
    pub(super) limits: Limits,
}

impl Meetings {
    pub(super) fn new(
        store: Arc<dyn Store>,
        tokens: Arc<TokenService>,
        live: Arc<dyn LiveMeetings>,
        limits: Limits,
    ) -> Self {
        let organizations = KnownOrganizations::new(Arc::clone(&store));
        let known = KnownMeetings::new(Arc::clone(&store));
        let audit = Audit::new(Arc::clone(&store));
        Self { store, tokens, live, organizations, known, audit, limits }
    }

    /// Creates a meeting and a host token for its creator.
    pub(super) async fn create(
        &self,
        caller: &Caller,
        new: NewMeeting,
    ) -> Result<(MeetingView, Issued), MeetingsError> {
        // Gone within the second: there is nothing to create it in.
        let organization = self.organizations.read(caller.organization).await?;
        let organization = organization.ok_or(MeetingsError::Store(StoreError::NoSuchReference))?;
        let created_at = now();
        let mut meeting = self.meeting_of(&new, caller, &organization, created_at)?;
        let chosen_slug = new.slug;
        let host = IssuedParticipant {
            user_id: caller.user_id(),
            issued_by: caller.id(),
            ..super::participants::newcomer(&meeting, "Host".to_owned(), ParticipantRole::Host)?
        };
        for attempt in 1.. {
            meeting.slug = chosen_slug.clone().map_or_else(random_slug, Ok)?;
            match self.store.create_meeting(&meeting, &host).await {
                Err(StoreError::Taken(Unique::MeetingSlug)) => match chosen_slug {
                    Some(slug) => return Err(MeetingsError::SlugTaken(slug)),
                    None if attempt < SLUG_ATTEMPTS => {}
                    None => return Err(StoreError::Taken(Unique::MeetingSlug).into()),
                },
                Err(error) => return Err(error.into()),
                Ok(()) => break,
            }
        }
        tracing::info!(meeting = %meeting.id, meeting.max_participants, "meeting created");
        let details = json!({ "display_name": meeting.display_name, "scheduling": meeting.scheduling });
        self.record(caller, "meeting.create", meeting.id, details).await?;
        let issued = self.token_for(&host, meeting.organization_id);
        Ok((self.view(meeting, &organization), issued))
    }

    fn meeting_of(
        &self,
        new: &NewMeeting,
        caller: &Caller,
        organization: &Known,
        created_at: OffsetDateTime,
    ) -> Result<Meeting, MeetingsError> {
        let scheduling = new.scheduling.unwrap_or(Scheduling::Instant);
        let is_scheduled = scheduling == Scheduling::Scheduled;
        if let Some(slug) = &new.slug {
            check_slug(slug, scheduling)?;
        }
        if is_scheduled && new.scheduled_start.is_none() {
            return Err(MeetingsError::invalid("scheduled_start", "is needed for a scheduled meeting"));
        }
        let times = [("scheduled_start", new.scheduled_start), ("scheduled_end", new.scheduled_end)];
        if let Some((field, _)) = times.iter().find(|(_, time)| !is_scheduled && time.is_some()) {
            return Err(MeetingsError::invalid(field, "is for scheduled meetings"));
        }
        check_times(new.scheduled_start, new.scheduled_end, created_at)?;
        let largest = self.max_participants(organization);
        let meeting = Meeting {
            id: MeetingId::generate(),
            organization_id: caller.organization,
            slug: String::new(),
            display_name: text("display_name", &new.display_name, MAX_NAME_LEN)?,
            description: new.description.as_deref().map(description).transpose()?.flatten(),
            meeting_type: new.meeting_type.unwrap_or(MeetingType::Video),
            scheduling,
            status: if is_scheduled { MeetingStatus::Scheduled } else { MeetingStatus::Active },
            access_policy: chosen_policy(None, new.access_policy.map(Some), new.require_auth.map(Some))?,
            max_participants: new.max_participants.unwrap_or(largest),
            max_guests: new.max_guests,
            keep_alive_seconds: new.keep_alive_seconds.unwrap_or(DEFAULT_KEEP_ALIVE_SECONDS),
            settings: new.settings,
            created_by: caller.id(),
            scheduled_start: new.scheduled_start,
            scheduled_end: new.scheduled_end,
            started_at: None,
            ended_at: None,
            created_at,
            updated_at: created_at,
            version: 0,
        };
        check_numbers(&meeting, largest)?;
        Ok(meeting)
    }

    /// The largest meeting that the organization may have, and the size of one that asks for none.
    fn max_participants(&self, organization: &Known) -> u32 {
        let own = organization.settings.max_participants.unwrap_or(self.limits.max_participants);
        own.min(self.limits.max_participants)
    }

    /// A meeting that the caller may do `action` with. What it may not even see looks as if it did not exist.
    pub(super) async fn find(
        &self,
        caller: &Caller,
        action: Action,
        id: MeetingId,
    ) -> Result<Found, MeetingsError> {
        let meeting = self.store.meeting(id).await?;
        self.allow(caller, action, id, meeting).await
    }

    /// As [`find`](Self::find), with the meeting as it was within the last second.
    pub(super) async fn find_known(
        &self,
        caller: &Caller,
        action: Action,
        id: MeetingId,
    ) -> Result<Found, MeetingsError> {
        let meeting = self.known.read(id).await?;
        self.allow(caller, action, id, meeting).await
    }

    async fn allow(
        &self,
        caller: &Caller,
        action: Action,
        id: MeetingId,
        meeting: Option<Meeting>,
    ) -> Result<Found, MeetingsError> {
        let not_found = || MeetingsError::NotFound(id);
        let meeting = meeting.ok_or_else(not_found)?;
        if meeting.organization_id != caller.organization {
            return Err(not_found());
        }
        let organization = self.organizations.read(meeting.organization_id).await?.ok_or_else(not_found)?;
        let policy = effective_policy(meeting.access_policy, organization.settings.guest_access);
        let relation = self.relation(caller, &meeting, policy).await?;
        if !caller.permits(Action::ReadMeeting, relation, policy) {
            return Err(not_found());
        }
        if !caller.permits(action, relation, policy) {
            return Err(MeetingsError::Forbidden(action));
        }
        Ok(Found { meeting, relation, organization })
    }

    /// What the caller has to do with a meeting. Whether it was invited is only looked up where that matters.
    async fn relation(
        &self,
        caller: &Caller,
        meeting: &Meeting,
        policy: AccessPolicy,
    ) -> Result<Relation, MeetingsError> {
        let id = caller.id();
        if id.is_some() && id == meeting.created_by {
            return Ok(Relation::Own);
        }
        match caller.identity {
            Identity::User(user)
                if !caller.permits(Action::ReadMeeting, Relation::Other, policy)
                    && self.store.is_invited(meeting.id, user).await? =>
            {
                Ok(Relation::Invited)
            }
            _ => Ok(Relation::Other),
        }
    }

    pub(super) async fn by_id(&self, caller: &Caller, id: MeetingId) -> Result<MeetingView, MeetingsError> {
        let found = self.find(caller, Action::ReadMeeting, id).await?;
        Ok(self.view(found.meeting, &found.organization))
    }

    /// For whoever has the link: it is for the caller to show no more than a visitor may know.
    pub(super) async fn by_slug(&self, slug: &str) -> Result<MeetingView, MeetingsError> {
        let meeting = self.store.meeting_by_slug(slug).await?.ok_or(MeetingsError::SlugNotFound)?;
        let organization = self.organizations.read(meeting.organization_id).await?;
        let organization = organization.ok_or(MeetingsError::SlugNotFound)?;
        Ok(self.view(meeting, &organization))
    }

    /// How `caller` gets into a meeting that it has the link of. Nobody has no caller.
    pub(super) async fn way_in(
        &self,
        caller: Option<&Caller>,
        view: &MeetingView,
    ) -> Result<WayIn, MeetingsError> {
        let meeting = &view.meeting;
        if meeting.status.is_final() {
            return Ok(WayIn::None);
        }
        if let Some(caller) = caller {
            match self.allow(caller, Action::JoinMeeting, meeting.id, Some(meeting.clone())).await {
                Ok(_) => return Ok(WayIn::Account),
                Err(MeetingsError::NotFound(_) | MeetingsError::Forbidden(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(if view.policy.admits_guests() { WayIn::Guest } else { WayIn::SignIn })
    }

    /// One page of the list and the number of all matching meetings. `filter` is narrowed to what the caller may see.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        mut filter: MeetingFilter,
    ) -> Result<(Vec<MeetingView>, u64), MeetingsError> {
        check_page(filter.page)?;
        let sees_all_users = match &caller.actor {
            Actor::User(role) => matches!(role, OrganizationRole::Owner | OrganizationRole::Admin),
            Actor::Client(_) => true,
        };
        if filter.user_id.is_some() && filter.user_id != caller.id() && !sees_all_users {
            return Err(MeetingsError::ForeignList);
        }
        if let Identity::User(user) = caller.identity
            && !caller.permits(Action::ReadMeeting, Relation::Other, AccessPolicy::Invited)
        {
            filter.visible_to = Some(user);
        }
        let Some(organization) = self.organizations.read(caller.organization).await? else {
            return Ok((Vec::new(), 0));
        };
        let Listed { items, total } = self.store.meetings(&filter).await?;
        Ok((items.into_iter().map(|meeting| self.view(meeting, &organization)).collect(), total))
    }

    pub(super) async fn update(
        &self,
        caller: &Caller,
        id: MeetingId,
        change: &MeetingChange,
    ) -> Result<MeetingView, MeetingsError> {
        let apply = |meeting: &mut Meeting, organization: &Known| {
            if meeting.status.is_final() {
                return Err(WrongStatus { from: meeting.status, what: "be changed" }.into());
            }
            apply(change, meeting, self.max_participants(organization))?;
            Ok(None)
        };
        let view = self.change(caller, id, apply).await?;
        self.record(caller, "meeting.update", id, json!({})).await?;
        Ok(view)
    }

    /// Makes a scheduled meeting active before its time.
    pub(super) async fn start(&self, caller: &Caller, id: MeetingId) -> Result<MeetingView, MeetingsError> {
        let view = self.advance(caller, id, LifecycleEvent::Activate).await?;
        self.record(caller, "meeting.start", id, json!({})).await?;
        Ok(view)
    }

    /// Ends a meeting and throws everybody out. Of a permanent one only the session ends: its participants may come back.
    pub(super) async fn end(&self, caller: &Caller, id: MeetingId) -> Result<MeetingView, MeetingsError> {
        let found = self.find(caller, Action::EditMeeting, id).await?;
        let view = if found.meeting.scheduling == Scheduling::Permanent && !found.meeting.status.is_final() {
            let removal = Removal::now(id, None, true);
            self.store.remove_all(&removal).await?;
            self.live.remove(&removal);
            self.view(found.meeting, &found.organization)
        } else {
            self.advance(caller, id, LifecycleEvent::End).await?
        };
        self.record(caller, "meeting.end", id, json!({})).await?;
        Ok(view)
    }

    /// Calls a meeting off and throws everybody out.
    pub(super) async fn cancel(&self, caller: &Caller, id: MeetingId) -> Result<MeetingView, MeetingsError> {
        let view = self.advance(caller, id, LifecycleEvent::Cancel).await?;
        self.record(caller, "meeting.cancel", id, json!({})).await?;
        Ok(view)
    }

    async fn advance(
        &self,
        caller: &Caller,
        id: MeetingId,
        event: LifecycleEvent,
    ) -> Result<MeetingView, MeetingsError> {
        let apply = |meeting: &mut Meeting, _: &Known| {
            meeting.status = meeting.status.after(event)?;
            if !meeting.status.is_final() {
                return Ok(None);
            }
            let removal = Removal::now(meeting.id, None, true);
            meeting.ended_at = Some(removal.at);
            Ok(Some(removal))
        };
        self.change(caller, id, apply).await
    }

    /// Reads a meeting, changes it and writes it, again if somebody else has written it meanwhile.
    async fn change(
        &self,
        caller: &Caller,
        id: MeetingId,
        apply: impl Fn(&mut Meeting, &Known) -> Result<Option<Removal>, MeetingsError>,
    ) -> Result<MeetingView, MeetingsError> {
        for _ in 0..UPDATE_ATTEMPTS {
            let Found { mut meeting, organization, .. } = self.find(caller, Action::EditMeeting, id).await?;
            let removal = apply(&mut meeting, &organization)?;
            meeting.updated_at = now();
            if self.store.update_meeting(&meeting, removal.as_ref()).await? {
                self.known.forget(id);
                meeting.version += 1;
                self.live.changed(&meeting);
                if let Some(removal) = &removal {
                    self.live.remove(removal);
                }
                return Ok(self.view(meeting, &organization));
            }
        }
        Err(MeetingsError::ManyWriters)
    }

    /// Removes a meeting with everything about it, and everybody from it.
    pub(super) async fn delete(&self, caller: &Caller, id: MeetingId) -> Result<(), MeetingsError> {
        let meeting = self.find(caller, Action::EditMeeting, id).await?.meeting;
        let removal = Removal::now(id, None, true);
        if !self.store.delete_meeting(id, &removal).await? {
            return Err(MeetingsError::NotFound(id));
        }
        self.known.forget(id);
        self.live.remove(&removal);
        self.record(caller, "meeting.delete", id, json!({ "display_name": meeting.display_name })).await
    }

    pub(super) fn view(&self, meeting: Meeting, organization: &Known) -> MeetingView {
        MeetingView {
            policy: effective_policy(meeting.access_policy, organization.settings.guest_access),
            max_guests: guest_cap(meeting.max_participants, meeting.max_guests),
            participant_count: self.live.participant_count(meeting.id),
            meeting,
        }
    }

    pub(super) async fn record(
        &self,
        caller: &Caller,
        action: &'static str,
        meeting: MeetingId,
        details: serde_json::Value,
    ) -> Result<(), MeetingsError> {
        Ok(self.audit.record(caller, action, Some(("meeting", meeting.to_string())), details).await?)
    }
}

fn apply(change: &MeetingChange, meeting: &mut Meeting, largest: u32) -> Result<(), MeetingsError> {
    if let Some(name) = &change.display_name {
        meeting.display_name = text("display_name", name, MAX_NAME_LEN)?;
    }
    if let Some(text) = &change.description {
        meeting.description = text.as_deref().map(description).transpose()?.flatten();
    }
    meeting.meeting_type = change.meeting_type.unwrap_or(meeting.meeting_type);
    if change.scheduled_start.is_some() || change.scheduled_end.is_some() {
        if meeting.scheduling != Scheduling::Scheduled {
            let field = if change.scheduled_start.is_some() { "scheduled_start" } else { "scheduled_end" };
            return Err(MeetingsError::invalid(field, "is for scheduled meetings"));
        }
        meeting.status = meeting.status.after(LifecycleEvent::Schedule)?;
        meeting.scheduled_start = change.scheduled_start.or(meeting.scheduled_start);
        meeting.scheduled_end = change.scheduled_end.unwrap_or(meeting.scheduled_end);
        check_times(meeting.scheduled_start, meeting.scheduled_end, now())?;
    }
    meeting.access_policy = chosen_policy(meeting.access_policy, change.access_policy, change.require_auth)?;
    meeting.max_participants = change.max_participants.unwrap_or(meeting.max_participants);
    meeting.max_guests = change.max_guests.unwrap_or(meeting.max_guests);
    meeting.keep_alive_seconds = change.keep_alive_seconds.unwrap_or(meeting.keep_alive_seconds);
    let settings = &mut meeting.settings;
    settings.enable_e2e_encryption = change.enable_e2e_encryption.unwrap_or(settings.enable_e2e_encryption);
    settings.recording_enabled = change.recording_enabled.unwrap_or(settings.recording_enabled);
    settings.waiting_room = change.waiting_room.unwrap_or(settings.waiting_room);
    // What was allowed when it was created stays allowed.
    let largest = if change.max_participants.is_some() { largest } else { u32::MAX };
    check_numbers(meeting, largest)
}

/// Whom a meeting says it is open to, after a choice by policy, by the contract's `require_auth`, or both.
fn chosen_policy(
    current: Option<AccessPolicy>,
    policy: Option<Option<AccessPolicy>>,
    require_auth: Option<Option<bool>>,
) -> Result<Option<AccessPolicy>, MeetingsError> {
    match (policy, require_auth) {
        (Some(Some(policy)), Some(Some(required))) if policy.admits_guests() == required => {
            Err(MeetingsError::Contradiction(policy, required))
        }
        (Some(Some(policy)), _) => Ok(Some(policy)),
        (_, Some(Some(required))) => Ok(match current {
            // It says so already, more exactly.
            Some(current) if policy.is_none() && current.admits_guests() != required => Some(current),
            _ if required => Some(AccessPolicy::Members),
            _ => Some(AccessPolicy::Link),
        }),
        (Some(None), _) | (None, Some(None)) => Ok(None),
        (None, None) => Ok(current),
    }
}

fn check_numbers(meeting: &Meeting, largest: u32) -> Result<(), MeetingsError> {
    if !(1..=largest).contains(&meeting.max_participants) {
        return Err(MeetingsError::invalid("max_participants", format!("must be 1 to {largest}")));
    }
    let max = meeting.max_participants;
    if meeting.max_guests.is_some_and(|guests| guests > max) {
        let reason = format!("must be 0 to {max}, the participants that the meeting takes");
        return Err(MeetingsError::invalid("max_guests", reason));
    }
    if meeting.keep_alive_seconds > MAX_KEEP_ALIVE_SECONDS {
        let reason = format!("must be 0 to {MAX_KEEP_ALIVE_SECONDS}");
        return Err(MeetingsError::invalid("keep_alive_seconds", reason));
    }
    if meeting.settings.enable_e2e_encryption && meeting.settings.recording_enabled {
        return Err(MeetingsError::EncryptedRecording);
    }
    Ok(())
}

fn check_times(
    start: Option<OffsetDateTime>,
    end: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<(), MeetingsError> {
    if start.is_some_and(|start| start <= now) {
        return Err(MeetingsError::invalid("scheduled_start", "must be in the future"));
    }
    match (start, end) {
        (Some(start), Some(end)) if end <= start => {
            Err(MeetingsError::invalid("scheduled_end", "must be after scheduled_start"))
        }
        _ => Ok(()),
    }
}

fn check_slug(slug: &str, scheduling: Scheduling) -> Result<(), MeetingsError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let reason = if scheduling != Scheduling::Permanent {
        "can be chosen for permanent meetings only"
    } else if !CHOSEN_SLUG_LEN.contains(&slug.len()) || !slug.bytes().all(is_plain) {
        "must have 3 to 40 of a-z, 0-9 and -"
    } else if slug.parse::<MeetingId>().is_ok() {
        "must not look like an id"
    } else {
        return Ok(());
    };
    Err(MeetingsError::invalid("slug", reason))
}

pub(super) fn check_page(page: Page) -> Result<(), MeetingsError> {
    match (1..=MAX_PAGE).contains(&page.limit) {
        true => Ok(()),
        false => Err(MeetingsError::invalid("limit", format!("must be 1 to {MAX_PAGE}"))),
    }
}

/// The text without white space around it, if it is one line of 1 to `max` characters.
pub(super) fn text(field: &'static str, value: &str, max: usize) -> Result<String, MeetingsError> {
    let value = value.trim();
    let len = value.chars().count();
    let reason = if len == 0 || len > max {
        format!("must have 1 to {max} characters")
    } else if value.chars().any(char::is_control) {
        "must not contain control characters".to_owned()
    } else {
        return Ok(value.to_owned());
    };
    Err(MeetingsError::Invalid { field, reason })
}

/// A text of several lines; nothing if it is empty.
fn description(value: &str) -> Result<Option<String>, MeetingsError> {
    let value = value.trim();
    if value.chars().count() > MAX_DESCRIPTION_LEN {
        let reason = format!("must have at most {MAX_DESCRIPTION_LEN} characters");
        return Err(MeetingsError::invalid("description", reason));
    }
    let is_bad = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if value.chars().any(is_bad) {
        return Err(MeetingsError::invalid("description", "must not contain control characters"));
    }
    Ok(Some(value.to_owned()).filter(|value| !value.is_empty()))
}

/// Now, to the millisecond: what the API shows is what the store keeps.
pub(super) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_millisecond(now.millisecond()).unwrap_or(now)
}

fn random_slug() -> Result<String, MeetingsError> {
    let mut slug = String::with_capacity(SLUG_LEN);
    while slug.len() < SLUG_LEN {
        let mut bytes = [0; SLUG_LEN];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| MeetingsError::Random)?;
        // Five bits of each byte; the one value beyond the alphabet is drawn again, so that all letters are as likely.
        let letters = bytes.iter().filter_map(|byte| SLUG_ALPHABET.get(usize::from(byte & 31)));
        slug.extend(letters.map(|letter| char::from(*letter)).take(SLUG_LEN - slug.len()));
    }
    Ok(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_use_every_letter_of_the_alphabet_and_no_other() {
        let slugs: Vec<_> = (0..1000).map(|_| random_slug().expect("random numbers")).collect();
        assert!(slugs.iter().all(|slug| slug.len() == SLUG_LEN));
        let used: std::collections::BTreeSet<_> = slugs.iter().flat_map(|slug| slug.bytes()).collect();
        assert_eq!(used, SLUG_ALPHABET.iter().copied().collect());
    }

    #[test]
    fn policy_and_require_auth_say_the_same_or_contradict() {
        use AccessPolicy::{Invited, Link, Members, Open};
        let chosen = |current, policy, required| chosen_policy(current, policy, required).ok();
        #[rustfmt::skip]
        let table = [
            // current, policy, require_auth → what the meeting says
            (None, None, None, Some(None)),
            (Some(Open), None, None, Some(Some(Open))),
            (None, None, Some(Some(true)), Some(Some(Members))),
            (None, None, Some(Some(false)), Some(Some(Link))),
            (Some(Invited), None, Some(Some(true)), Some(Some(Invited))),
            (Some(Open), None, Some(Some(false)), Some(Some(Open))),
            (Some(Open), None, Some(Some(true)), Some(Some(Members))),
            (Some(Invited), None, Some(Some(false)), Some(Some(Link))),
            (Some(Open), Some(None), None, Some(None)),
            (Some(Open), None, Some(None), Some(None)),
            (Some(Open), Some(None), Some(Some(true)), Some(Some(Members))),
            (None, Some(Some(Open)), Some(Some(false)), Some(Some(Open))),
            (None, Some(Some(Invited)), Some(Some(true)), Some(Some(Invited))),
            (None, Some(Some(Invited)), Some(None), Some(Some(Invited))),
            (None, Some(Some(Open)), Some(Some(true)), None),
            (None, Some(Some(Link)), Some(Some(true)), None),
            (None, Some(Some(Members)), Some(Some(false)), None),
            (None, Some(Some(Invited)), Some(Some(false)), None),
        ];
        for (current, policy, required, expected) in table {
            assert_eq!(chosen(current, policy, required), expected, "{current:?} {policy:?} {required:?}");
        }
    }

    #[test]
    fn chosen_slugs_are_plain_and_for_permanent_meetings() {
        for good in ["abc", "stand-up-2", &"a".repeat(40), "123"] {
            assert!(check_slug(good, Scheduling::Permanent).is_ok(), "{good}");
            assert!(check_slug(good, Scheduling::Instant).is_err(), "{good}");
        }
        let id = MeetingId::generate().to_string();
        for bad in ["ab", "", &"a".repeat(41), "Stand", "a b", "a_b", "zoë", "a/b", &id] {
            assert!(check_slug(bad, Scheduling::Permanent).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(text("name", "  Zoë \n", 200).expect("fine"), "Zoë");
        assert!(text("name", &"é".repeat(200), 200).is_ok());
        for bad in ["", " \t ", "a\nb", "a\u{0}b", "a\u{7f}", "a\u{85}b", &"é".repeat(201)] {
            let message = text("name", bad, 200).expect_err("refused").to_string();
            assert!(message.starts_with("name must"), "{message}");
        }
    }
}
