//! Letting people into meetings: join tokens for whom the API is told, for its users themselves, and for guests; and
//! taking the right back.

use darktower_core::access::guests::{guest_cap, guest_name};
use darktower_core::access::{Action, Actor, ParticipantRole, Relation};
use darktower_core::meeting::lifecycle::MeetingType;
use darktower_core::meeting::{MAX_NAME_CHARS, display_name};
use darktower_core::named::Named as _;
use darktower_core::preset::{PlatformRole, canonical_name, preset_name, resolve};
use darktower_protocol::{MeetingId, OrganizationId, ParticipantId, UserId};
use serde_json::json;
use time::Duration;

use super::LiveParticipant;
use super::audit::Who;
use super::caller::{Caller, Identity};
use super::known_organizations::Known;
use super::meetings::{Found, Meetings, MeetingsError, now, text};
use crate::auth::{JOIN_TOKEN_LIFETIME, JoinClaims};
use crate::storage::model::{IssuedParticipant, Meeting, Removal};

/// Ids of the application's users, characters.
const MAX_USER_ID_LEN: usize = 200;
/// Longest email address, characters.
const MAX_EMAIL_LEN: usize = 254;
/// What the others see of somebody whose account has no name that can be seen.
const UNNAMED: &str = "Participant";
/// How long a guest may (re)join with one token.
const GUEST_TOKEN_LIFETIME: Duration = Duration::hours(4);
/// What a caller may ask for, seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<u32> = 60..=86_400;

impl Caller {
    /// Its id, if it is a user: what participants have of who is behind them.
    pub(super) fn user_id(&self) -> Option<String> {
        match &self.identity {
            Identity::User(id) => Some(id.to_string()),
            Identity::Client(_) | Identity::Developer => None,
        }
    }
}

/// A participant to issue a token for.
#[derive(Debug, Default)]
pub(super) struct NewParticipant {
    pub(super) name: String,
    pub(super) role: Option<ParticipantRole>,
    pub(super) preset: Option<String>,
    pub(super) user_id: Option<String>,
    /// Seconds.
    pub(super) expires_in: Option<u32>,
}

/// What changes of a participant.
#[derive(Debug, Default)]
pub(super) struct ParticipantChange {
    pub(super) name: Option<String>,
    pub(super) preset: Option<String>,
}

/// Somebody without an account who wants to come in, with a name that will do.
#[derive(Debug)]
pub(super) struct NewGuest {
    name: String,
    email: Option<String>,
    request_id: Option<String>,
}

impl NewGuest {
    pub(super) fn new(
        name: &str,
        address: Option<&str>,
        request_id: Option<String>,
    ) -> Result<Self, MeetingsError> {
        let name =
            guest_name(name).map_err(|bad| MeetingsError::invalid("name", format!("is refused: {bad}")))?;
        let email = address.map(email).transpose()?;
        Ok(Self { name, email, request_id })
    }
}

/// A join token and what it is for.
pub(super) struct Issued {
    pub(super) claims: JoinClaims,
    pub(super) join_token: String,
}

/// A participant's record, and whether it is in the meeting now.
pub(super) struct ParticipantView {
    pub(super) participant: IssuedParticipant,
    pub(super) is_present: bool,
}

impl Meetings {
    /// Issues a join token for a further participant: one look at the meeting, one write.
    pub(super) async fn issue(
        &self,
        caller: &Caller,
        id: MeetingId,
        new: NewParticipant,
    ) -> Result<Issued, MeetingsError> {
        let name = shown_name(&new.name)?;
        let user_id = new.user_id.map(|user_id| text("user_id", &user_id, MAX_USER_ID_LEN)).transpose()?;
        let life = lifetime(new.expires_in)?;
        let found = self.find_known(caller, Action::IssueToken, id).await?;
        check_joinable(&found.meeting)?;
        let user_id = self.holder(caller, user_id).await?;
        let participant = match (new.role, new.preset) {
            (Some(_), Some(_)) => {
                return Err(MeetingsError::invalid(
                    "preset",
                    "and role exclude each other: give one of them",
                ));
            }
            (role, None) => newcomer(&found.meeting, name, role.unwrap_or(ParticipantRole::Participant))?,
            (None, Some(preset)) => {
                let preset = self.preset(&found.organization, &preset).await?;
                let role = role_of(&preset);
                IssuedParticipant { preset, ..with_role(&found.meeting, name, role) }
            }
        };
        self.check_room(&found.meeting, &found.organization, &participant).await?;
        let participant = IssuedParticipant {
            user_id,
            issued_by: caller.id(),
            expires_at: life.map_or(participant.expires_at, |life| participant.created_at + life),
            ..participant
        };
        self.store.issue_participant(&participant).await?;
        tracing::info!(meeting = %id, participant = %participant.id, role = %participant.role, "join token issued");
        Ok(self.token_for(&participant, found.meeting.organization_id))
    }

    /// The calling user joins: what it becomes follows from its role, the meeting's type and whether it created it.
    pub(super) async fn join(
        &self,
        caller: &Caller,
        id: MeetingId,
        name: Option<String>,
    ) -> Result<Issued, MeetingsError> {
        let name = name.as_deref().map(shown_name).transpose()?;
        let found = self.find_known(caller, Action::JoinMeeting, id).await?;
        check_joinable(&found.meeting)?;
        // Clients may not come here: they issue tokens.
        let Actor::User(organization_role) = caller.actor else {
            return Err(MeetingsError::Forbidden(Action::JoinMeeting));
        };
        let name = match (name, &caller.identity) {
            (Some(name), _) => name,
            (None, Identity::User(user)) => {
                name_of_account(&self.store.user(*user).await?.ok_or(MeetingsError::UserNotFound)?.name)
            }
            (None, _) => "Developer".to_owned(),
        };
        let Found { meeting, organization, relation, .. } = &found;
        let everywhere = organization.settings.hosts_host_everywhere;
        let is_creator = *relation == Relation::Own;
        let role =
            resolve(PlatformRole::from(organization_role), meeting.meeting_type, is_creator, everywhere);
        check_admits(meeting, role)?;
        let participant = newcomer(meeting, name, role)?;
        self.check_room(meeting, organization, &participant).await?;
        let participant =
            IssuedParticipant { user_id: caller.user_id(), issued_by: caller.id(), ..participant };
        self.store.issue_participant(&participant).await?;
        tracing::info!(meeting = %id, participant = %participant.id, role = %participant.role, "join token issued");
        Ok(self.token_for(&participant, meeting.organization_id))
    }

    /// Somebody without an account joins. Whether guests may come is looked at before anything else about the meeting is
    /// told: to those it keeps out it does not even say that it is over.
    pub(super) async fn join_as_guest(&self, id: MeetingId, new: NewGuest) -> Result<Issued, MeetingsError> {
        let NewGuest { name, email, request_id } = new;
        let not_found = || MeetingsError::NotFound(id);
        let meeting = self.known.read(id).await?.ok_or_else(not_found)?;
        let organization = self.organizations.read(meeting.organization_id).await?.ok_or_else(not_found)?;
        let view = self.view(meeting, &organization);
        if !view.policy.admits_guests() {
            return Err(MeetingsError::GuestsNotAllowed);
        }
        let meeting = view.meeting;
        let role = resolve(PlatformRole::Guest, meeting.meeting_type, false, false);
        check_admits(&meeting, role)?;
        let participant = newcomer(&meeting, name, role)?;
        let expires_at = participant.created_at + GUEST_TOKEN_LIFETIME;
        let participant = IssuedParticipant { is_guest: true, expires_at, ..participant };
        self.check_room(&meeting, &organization, &participant).await?;
        self.store.issue_participant(&participant).await?;
        let who = Who {
            organization: Some(meeting.organization_id),
            kind: "guest",
            id: Some(participant.id.to_string()),
            request_id,
        };
        let details =
            json!({ "participant_id": participant.id.to_string(), "name": participant.name, "email": email });
        self.audit.record(who, "guest.join", Some(("meeting", id.to_string())), details).await?;
        tracing::info!(meeting = %id, participant = %participant.id, "guest token issued");
        Ok(self.token_for(&participant, meeting.organization_id))
    }

    /// A further token for a participant that has one.
    pub(super) async fn renew(
        &self,
        caller: &Caller,
        id: MeetingId,
        participant: ParticipantId,
        expires_in: Option<u32>,
    ) -> Result<Issued, MeetingsError> {
        let life = lifetime(expires_in)?;
        let found = self.find_known(caller, Action::IssueToken, id).await?;
        let mut participant = self.issued(id, participant).await?;
        if participant.revoked_at.is_some() {
            return Err(MeetingsError::ParticipantNotFound(participant.id));
        }
        check_joinable(&found.meeting)?;
        self.check_room(&found.meeting, &found.organization, &participant).await?;
        let default = if participant.is_guest { GUEST_TOKEN_LIFETIME } else { JOIN_TOKEN_LIFETIME };
        participant.expires_at = now() + life.unwrap_or(default);
        if !self.store.renew_participant(participant.id, participant.expires_at).await? {
            return Err(MeetingsError::ParticipantNotFound(participant.id));
        }
        Ok(self.token_for(&participant, found.meeting.organization_id))
    }

    /// Gives a participant another name, another preset, or both: in its record, and at once where it is.
    pub(super) async fn change_participant(
        &self,
        caller: &Caller,
        id: MeetingId,
        participant: ParticipantId,
        change: ParticipantChange,
    ) -> Result<ParticipantView, MeetingsError> {
        let name = change.name.as_deref().map(shown_name).transpose()?;
        let found = self.find_known(caller, Action::IssueToken, id).await?;
        let mut issued = self.issued(id, participant).await?;
        let gone = || MeetingsError::ParticipantNotFound(participant);
        if issued.revoked_at.is_some() {
            return Err(gone());
        }
        let preset = match &change.preset {
            Some(preset) => {
                let name = self.preset(&found.organization, preset).await?;
                let stored = self.store.preset(found.meeting.organization_id, &name).await?;
                // Deleted in this moment.
                Some(stored.ok_or_else(no_preset)?.preset)
            }
            None => None,
        };
        let role = preset.as_ref().map(|preset| role_of(&preset.name));
        let preset_and_role = preset.as_ref().map(|preset| preset.name.as_str()).zip(role);
        if !self.store.change_participant(participant, name.as_deref(), preset_and_role).await? {
            return Err(gone());
        }
        if let Some(name) = &name {
            issued.name.clone_from(name);
        }
        if let Some((preset, role)) = preset_and_role {
            preset.clone_into(&mut issued.preset);
            issued.role = role;
        }
        if name.is_some() || preset.is_some() {
            self.live.participant_changed(&issued, name.as_deref(), preset.as_ref());
            let details = json!({
                "participant_id": participant.to_string(),
                "name": name,
                "preset": preset.as_ref().map(|preset| &preset.name),
            });
            self.record(caller, "participant.change", id, details).await?;
        }
        Ok(ParticipantView { is_present: self.live.is_present(id, participant), participant: issued })
    }

    /// Takes a participant's right back, and throws it out. Again changes nothing.
    pub(super) async fn revoke(
        &self,
        caller: &Caller,
        id: MeetingId,
        participant: ParticipantId,
    ) -> Result<(), MeetingsError> {
        self.find(caller, Action::RemoveParticipant, id).await?;
        let participant = self.issued(id, participant).await?;
        let removal = Removal::now(id, Some(participant.id), false);
        if self.store.revoke_participant(&removal).await? {
            self.live.remove(&removal);
            let details = json!({ "participant_id": participant.id.to_string(), "name": participant.name });
            self.record(caller, "participant.revoke", id, details).await?;
        }
        Ok(())
    }

    pub(super) async fn participant(
        &self,
        caller: &Caller,
        id: MeetingId,
        participant: ParticipantId,
    ) -> Result<ParticipantView, MeetingsError> {
        self.find(caller, Action::ReadParticipants, id).await?;
        let participant = self.issued(id, participant).await?;
        Ok(ParticipantView { is_present: self.live.is_present(id, participant.id), participant })
    }

    /// Who is in the meeting now.
    pub(super) async fn roster(
        &self,
        caller: &Caller,
        id: MeetingId,
    ) -> Result<Vec<LiveParticipant>, MeetingsError> {
        self.find(caller, Action::ReadParticipants, id).await?;
        Ok(self.live.roster(id))
    }

    pub(super) fn token_for(&self, participant: &IssuedParticipant, organization: OrganizationId) -> Issued {
        let claims = JoinClaims::of(participant, organization);
        Issued { join_token: self.tokens.issue_join(&claims), claims }
    }

    async fn issued(
        &self,
        meeting: MeetingId,
        participant: ParticipantId,
    ) -> Result<IssuedParticipant, MeetingsError> {
        let issued = self.store.participant(participant).await?;
        let issued = issued.filter(|issued| issued.meeting_id == meeting);
        issued.ok_or(MeetingsError::ParticipantNotFound(participant))
    }

    /// Whom a token is for. A user can say so of users only, as lists and rights go by their ids; machine clients have users
    /// of their own, and ids that only they understand.
    async fn holder(
        &self,
        caller: &Caller,
        user_id: Option<String>,
    ) -> Result<Option<String>, MeetingsError> {
        if !matches!(caller.identity, Identity::User(_)) {
            return Ok(user_id);
        }
        let Some(given) = user_id else { return Ok(None) };
        let user = match given.parse::<UserId>() {
            Ok(id) => self.store.user(id).await?,
            Err(_) => None,
        };
        match user.filter(|user| user.organization_id == caller.organization && user.is_active) {
            Some(user) => Ok(Some(user.id.to_string())),
            None => {
                let reason = "must be the id of an active user of the organization, or be left out: \
                     only machine clients may use ids of their own";
                Err(MeetingsError::invalid("user_id", reason))
            }
        }
    }

    /// The name of a preset of the organization that a caller named.
    async fn preset(&self, organization: &Known, name: &str) -> Result<String, MeetingsError> {
        for name in [name, canonical_name(name)] {
            if organization.has_preset(&*self.store, name).await? {
                return Ok(name.to_owned());
            }
        }
        Err(no_preset())
    }

    /// Refuses whom the meeting would refuse now. Who is in it keeps its place, whatever the numbers. The last word is the
    /// meeting controller's, when the participant comes.
    async fn check_room(
        &self,
        meeting: &Meeting,
        organization: &Known,
        participant: &IssuedParticipant,
    ) -> Result<(), MeetingsError> {
        let live = self.live.participant_count(meeting.id);
        if live == 0 {
            return self.check_sessions(meeting, organization).await;
        }
        if self.live.is_present(meeting.id, participant.id) {
            return Ok(());
        }
        let max = meeting.max_participants.min(self.limits.max_participants);
        if live >= max as usize {
            return Err(MeetingsError::Full { limit: "max_participants", what: "participants", max });
        }
        let max = guest_cap(meeting.max_participants, meeting.max_guests);
        if participant.is_guest && self.live.guest_count(meeting.id) >= max as usize {
            return Err(MeetingsError::Full { limit: "max_guests", what: "guests", max });
        }
        Ok(())
    }

    /// Refuses whoever would begin one session too many of the organization.
    async fn check_sessions(&self, meeting: &Meeting, organization: &Known) -> Result<(), MeetingsError> {
        let max =
            organization.settings.max_concurrent_meetings.unwrap_or(self.limits.max_concurrent_meetings);
        let is_full = max > 0 && organization.running_sessions(&*self.store).await? >= max.into();
        // Its own may be one of them: a session lasts a little longer than its participants.
        if is_full && self.store.active_session(meeting.id).await?.is_none() {
            let (limit, what) = ("max_concurrent_meetings", "meetings of the organization at one time");
            return Err(MeetingsError::Full { limit, what, max });
        }
        Ok(())
    }
}

fn no_preset() -> MeetingsError {
    MeetingsError::invalid("preset", "must be the name of one of the organization's presets")
}

/// A participant with the preset that goes with its role in this meeting.
pub(super) fn newcomer(
    meeting: &Meeting,
    name: String,
    role: ParticipantRole,
) -> Result<IssuedParticipant, MeetingsError> {
    let preset = preset_name(meeting.meeting_type, role).ok_or_else(|| {
        let reason = format!(
            "{role} is for meetings with a stage: name a preset for a {} meeting",
            meeting.meeting_type
        );
        MeetingsError::invalid("role", reason)
    })?;
    Ok(IssuedParticipant { preset: preset.to_owned(), ..with_role(meeting, name, role) })
}

fn with_role(meeting: &Meeting, name: String, role: ParticipantRole) -> IssuedParticipant {
    let created_at = now();
    let is_guest = role == ParticipantRole::Guest;
    IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id: meeting.id,
        name,
        role,
        preset: String::new(),
        user_id: None,
        is_guest,
        issued_by: None,
        created_at,
        expires_at: created_at + if is_guest { GUEST_TOKEN_LIFETIME } else { JOIN_TOKEN_LIFETIME },
        revoked_at: None,
    }
}

/// What somebody with a preset is: what the shipped ones say in their names, else a participant.
fn role_of(preset: &str) -> ParticipantRole {
    use ParticipantRole::{Guest, Host, Participant, Viewer};
    let is_for = |role: &ParticipantRole| {
        MeetingType::ALL.iter().any(|meeting_type| preset_name(*meeting_type, *role) == Some(preset))
    };
    // Viewers before guests: in meetings with a stage both have the same preset.
    [Host, Participant, Viewer, Guest].into_iter().find(is_for).unwrap_or(Participant)
}

fn check_joinable(meeting: &Meeting) -> Result<(), MeetingsError> {
    match meeting.status {
        status if status.is_joinable() => Ok(()),
        status if status.is_final() => Err(MeetingsError::Ended(meeting.id)),
        _ => Err(MeetingsError::NotBegun),
    }
}

/// Refuses whoever may not come in now. Tokens for others may be issued before that.
fn check_admits(meeting: &Meeting, role: ParticipantRole) -> Result<(), MeetingsError> {
    check_joinable(meeting)?;
    match meeting.admits(role, now()) {
        true => Ok(()),
        false => Err(MeetingsError::NotBegun),
    }
}

/// A name that its bearer can join with: the rule at the door.
fn shown_name(name: &str) -> Result<String, MeetingsError> {
    // What is not shown counts too: the bound is that of the field.
    let fits = name.chars().count() <= MAX_NAME_CHARS;
    display_name(name).filter(|_| fits).ok_or_else(|| {
        let reason = format!("must have 1 to {MAX_NAME_CHARS} characters, some of which can be seen");
        MeetingsError::invalid("name", reason)
    })
}

/// The name of an account as the others see it: as much of it as fits.
fn name_of_account(name: &str) -> String {
    let fitting: String = name.chars().take(MAX_NAME_CHARS).collect();
    display_name(&fitting).unwrap_or_else(|| UNNAMED.to_owned())
}

fn lifetime(expires_in: Option<u32>) -> Result<Option<Duration>, MeetingsError> {
    match expires_in {
        Some(seconds) if !TOKEN_SECONDS.contains(&seconds) => {
            Err(MeetingsError::invalid("expires_in", "must be 60 to 86400 seconds"))
        }
        seconds => Ok(seconds.map(|seconds| Duration::seconds(seconds.into()))),
    }
}

/// An address as far as one can tell without writing to it.
fn email(value: &str) -> Result<String, MeetingsError> {
    let value = text("email", value, MAX_EMAIL_LEN)?;
    let is_address = value
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    match is_address && !value.contains(char::is_whitespace) {
        true => Ok(value),
        false => Err(MeetingsError::invalid("email", "must be an email address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_presets_say_what_their_holders_are() {
        use ParticipantRole::{Guest, Host, Participant, Viewer};
        for (preset, role) in [
            ("video_host", Host),
            ("audio_participant", Participant),
            ("video_guest", Guest),
            ("webinar_viewer", Viewer),
            ("webinar_panelist", Participant),
            ("own_host", Participant),
        ] {
            assert_eq!(role_of(preset), role, "{preset}");
        }
    }

    #[test]
    fn every_account_has_a_name_to_join_with() {
        assert_eq!(name_of_account("  Zoë "), "Zoë");
        assert_eq!(name_of_account(&"é".repeat(200)), "é".repeat(MAX_NAME_CHARS));
        assert_eq!(name_of_account("\u{200b}"), UNNAMED);
        assert_eq!(name_of_account(&format!("{}Zoë", "\u{200b}".repeat(64))), UNNAMED);
    }

    #[test]
    fn email_addresses_have_two_sides() {
        assert_eq!(email(" zoe@example.org ").expect("fine"), "zoe@example.org");
        for bad in ["", "zoe", "@example.org", "zoe@", "a@b@c", "a b@c"] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}
