//! Who is invited to a meeting: of members, only they see one whose policy is `invited`.

use darktower_core::access::Action;
use darktower_protocol::{MeetingId, UserId};
use serde_json::json;

use super::caller::Caller;
use super::meetings::{Meetings, MeetingsError, check_page, now};
use crate::storage::StoreError;
use crate::storage::model::{Invitee, Listed, Page};

impl Meetings {
    pub(super) async fn invitees(
        &self,
        caller: &Caller,
        meeting: MeetingId,
        page: Page,
    ) -> Result<Listed<Invitee>, MeetingsError> {
        check_page(page)?;
        self.find(caller, Action::EditMeeting, meeting).await?;
        Ok(self.store.invitees(meeting, page).await?)
    }

    /// Invites a user of the organization; again changes nothing.
    pub(super) async fn invite(
        &self,
        caller: &Caller,
        meeting: MeetingId,
        user: UserId,
    ) -> Result<(), MeetingsError> {
        self.find(caller, Action::EditMeeting, meeting).await?;
        let invited = self.store.user(user).await?;
        if invited.is_none_or(|invited| invited.organization_id != caller.organization) {
            return Err(MeetingsError::UserNotFound);
        }
        match self.store.invite(meeting, user, now()).await {
            Ok(()) => {}
            // One of the two was deleted meanwhile.
            Err(StoreError::NoSuchReference) => return Err(MeetingsError::UserNotFound),
            Err(error) => return Err(error.into()),
        }
        self.record(caller, "meeting.invite", meeting, json!({ "user_id": user.to_string() })).await
    }

    pub(super) async fn uninvite(
        &self,
        caller: &Caller,
        meeting: MeetingId,
        user: UserId,
    ) -> Result<(), MeetingsError> {
        self.find(caller, Action::EditMeeting, meeting).await?;
        // Who is in the meeting is thrown out as soon as the removal is seen in the store.
        if !self.store.uninvite(meeting, user, now()).await? {
            return Err(MeetingsError::UserNotFound);
        }
        self.record(caller, "meeting.uninvite", meeting, json!({ "user_id": user.to_string() })).await
    }
}
