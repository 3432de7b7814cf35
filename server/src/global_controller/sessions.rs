//! Sessions: the times when somebody was in a meeting, and who took part.

use darktower_core::access::{Action, Actor, OrganizationRole};
use darktower_protocol::{MeetingId, MeetingSessionId, ParticipantId};
use serde_json::json;

use super::caller::Caller;
use super::meetings::{Meetings, MeetingsError, check_page};
use crate::storage::model::{
    Attendance, Listed, MeetingSession, Page, QualitySample, QualityTotal, Removal, SessionFilter,
};

impl Meetings {
    /// A part of the list of sessions: of all meetings, or of those that the caller may see sessions of.
    pub(super) async fn sessions(
        &self,
        caller: &Caller,
        meeting_id: Option<MeetingId>,
        active: Option<bool>,
        page: Page,
    ) -> Result<Listed<MeetingSession>, MeetingsError> {
        check_page(page)?;
        if let Some(meeting) = meeting_id {
            self.find(caller, Action::ReadSessions, meeting).await?;
        }
        let created_by = match &caller.actor {
            Actor::User(OrganizationRole::Host | OrganizationRole::Member) => caller.id(),
            Actor::User(_) | Actor::Client(_) => None,
        };
        let organization_id = caller.organization;
        let filter = SessionFilter { organization_id, meeting_id, created_by, active, page };
        Ok(self.store.sessions(&filter).await?)
    }

    pub(super) async fn session(
        &self,
        caller: &Caller,
        id: MeetingSessionId,
    ) -> Result<MeetingSession, MeetingsError> {
        let session = self.store.session(id).await?;
        let session = session.filter(|session| session.organization_id == caller.organization);
        let session = session.ok_or(MeetingsError::SessionNotFound)?;
        match self.find(caller, Action::ReadSessions, session.meeting_id).await {
            Ok(_) => Ok(session),
            Err(MeetingsError::NotFound(_)) => Err(MeetingsError::SessionNotFound),
            Err(error) => Err(error),
        }
    }

    /// Who took part, in the order of coming.
    pub(super) async fn attendances(
        &self,
        caller: &Caller,
        id: MeetingSessionId,
        page: Page,
    ) -> Result<Listed<Attendance>, MeetingsError> {
        check_page(page)?;
        let session = self.session(caller, id).await?;
        Ok(self.store.attendances(session.id, page).await?)
    }

    /// How everybody's media got through, by participant.
    pub(super) async fn quality_totals(
        &self,
        caller: &Caller,
        id: MeetingSessionId,
        page: Page,
    ) -> Result<Listed<QualityTotal>, MeetingsError> {
        check_page(page)?;
        let session = self.session(caller, id).await?;
        Ok(self.store.quality_totals(session.id, page).await?)
    }

    /// How a participant's media got through, the earliest sample first.
    pub(super) async fn quality_samples(
        &self,
        caller: &Caller,
        id: MeetingSessionId,
        participant: ParticipantId,
        page: Page,
    ) -> Result<Listed<QualitySample>, MeetingsError> {
        check_page(page)?;
        let session = self.session(caller, id).await?;
        Ok(self.store.quality_samples(session.id, participant, page).await?)
    }

    /// The session with somebody in it now.
    pub(super) async fn active_session(
        &self,
        caller: &Caller,
        meeting: MeetingId,
    ) -> Result<MeetingSession, MeetingsError> {
        self.find(caller, Action::ReadSessions, meeting).await?;
        let session = self.store.active_session(meeting).await?;
        session.filter(|session| session.live_count > 0).ok_or(MeetingsError::NobodyThere)
    }

    /// Throws everybody out; their tokens go on working. Answers how many there were.
    pub(super) async fn kick_all(&self, caller: &Caller, meeting: MeetingId) -> Result<usize, MeetingsError> {
        self.find(caller, Action::RemoveParticipant, meeting).await?;
        let is_live = self.live.participant_count(meeting) > 0
            || self.store.active_session(meeting).await?.is_some_and(|session| session.live_count > 0);
        if !is_live {
            return Err(MeetingsError::NobodyThere);
        }
        let removal = Removal::now(meeting, None, false);
        self.store.remove_all(&removal).await?;
        let removed = self.live.remove(&removal);
        self.record(caller, "meeting.kick_all", meeting, json!({ "removed": removed })).await?;
        Ok(removed)
    }
}
