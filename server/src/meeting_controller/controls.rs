//! What hosts do that changes facts: they are written to the store first, as when the API does it.

use darktower_core::meeting::lifecycle::{LifecycleEvent, Scheduling};
use darktower_core::meeting::{Refusal, Rights};
use darktower_core::preset::canonical_name;
use darktower_protocol::signaling::pb;
use futures_util::future::join_all;
use pb::ErrorCode;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::session::refusal;
use super::{MeetingController, Seat};
use crate::storage::StoreError;
use crate::storage::model::{AuditEntry, Meeting as StoredMeeting, Removal};

/// How often the end of a meeting is tried while others change it.
const ATTEMPTS: u32 = 5;

impl MeetingController {
    /// Removes participants for good: their tokens are void.
    pub(super) async fn kick(&self, seat: &Seat, request: &pb::KickParticipant) -> Result<(), Refusal> {
        seat.with_meeting(|meeting| meeting.check_kick(seat.participant, request))?;
        let meeting = self.stored(seat).await?;
        // Meanwhile some may have left or come, or their remover been removed.
        let targets = seat.with_meeting(|meeting| meeting.check_kick(seat.participant, request))?;
        let removal = |target| Removal::now(meeting.id, Some(target), false);
        let removals: Vec<Removal> = targets.into_iter().map(removal).collect();
        self.store.revoke_participants(&removals).await.map_err(|error| failed("remove", &error))?;
        for removal in &removals {
            self.carry_out_removal(removal);
        }
        // Together: they share a transaction.
        join_all(removals.iter().map(|removal| {
            let participant = removal.participant_id.map(|id| id.to_string());
            let details = json!({ "participant_id": participant });
            self.enter_in_log(seat, &meeting, "participant.kick", details)
        }))
        .await;
        Ok(())
    }

    /// Ends the meeting for all; of a permanent one, its session.
    pub(super) async fn end_for_all(&self, seat: &Seat) -> Result<(), Refusal> {
        seat.with_meeting(|meeting| meeting.check_end(seat.participant))?;
        for _ in 0..ATTEMPTS {
            let mut meeting = self.stored(seat).await?;
            let removal = Removal::now(meeting.id, None, true);
            let status = meeting.status.after(LifecycleEvent::End).ok();
            let written = match status.filter(|_| meeting.scheduling != Scheduling::Permanent) {
                Some(status) => {
                    let now = OffsetDateTime::now_utc();
                    meeting.status = status;
                    meeting.ended_at = Some(now);
                    meeting.updated_at = now;
                    self.store.update_meeting(&meeting, Some(&removal)).await
                }
                None => self.store.remove_all(&removal).await.map(|()| true),
            };
            if written.map_err(|error| failed("end the meeting", &error))? {
                self.carry_out_removal(&removal);
                self.enter_in_log(seat, &meeting, "meeting.end", json!({})).await;
                return Ok(());
            }
        }
        Err(refusal(ErrorCode::Conflict, "others are changing the meeting; try again"))
    }

    /// Gives a participant another preset.
    pub(super) async fn set_preset(&self, seat: &Seat, request: &pb::SetPreset) -> Result<(), Refusal> {
        let check =
            |meeting: &mut darktower_core::meeting::Meeting| meeting.check_preset(seat.participant, request);
        seat.with_meeting(check)?;
        let meeting = self.stored(seat).await?;
        let name = canonical_name(&request.preset);
        let preset = self.store.preset(meeting.organization_id, name).await;
        let preset =
            preset.map_err(|error| failed("look up the preset", &error))?.ok_or_else(|| Refusal {
                code: ErrorCode::NotFound,
                message: format!("there is no preset {name:?}"),
                field: Some("preset"),
            })?;
        // Much may have happened meanwhile.
        let target = seat.with_meeting(|meeting| {
            let target = meeting.check_preset(seat.participant, request)?;
            let rights = Rights::given(&preset.preset);
            if rights.run_meeting {
                meeting
                    .check_end(seat.participant)
                    .map_err(|_no_host| refusal(ErrorCode::Forbidden, "only hosts make others hosts"))?;
            }
            meeting.set_rights(target, rights);
            Ok(target)
        })?;
        let details = json!({ "participant_id": target.to_string(), "preset": name });
        self.enter_in_log(seat, &meeting, "participant.preset", details).await;
        Ok(())
    }

    async fn stored(&self, seat: &Seat) -> Result<StoredMeeting, Refusal> {
        let id = seat.with_meeting(|meeting| Ok(meeting.id()))?;
        let meeting = self.store.meeting(id).await.map_err(|error| failed("look up the meeting", &error))?;
        meeting.ok_or_else(|| refusal(ErrorCode::NotFound, "the meeting is gone"))
    }

    async fn enter_in_log(
        &self,
        seat: &Seat,
        meeting: &StoredMeeting,
        action: &str,
        details: serde_json::Value,
    ) {
        let entry = AuditEntry {
            id: Uuid::now_v7(),
            organization_id: Some(meeting.organization_id),
            at: OffsetDateTime::now_utc(),
            actor_kind: "participant".to_owned(),
            actor_id: Some(seat.participant.to_string()),
            action: action.to_owned(),
            target_kind: Some("meeting".to_owned()),
            target_id: Some(meeting.id.to_string()),
            details,
            request_id: None,
        };
        // What was done is done: the log of the server has to do.
        if let Err(error) = self.store.append_audit(&entry).await {
            tracing::error!(?entry, error = &error as &dyn std::error::Error, "cannot write the audit log");
        }
    }
}

fn failed(what: &str, error: &StoreError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "cannot {what}");
    refusal(ErrorCode::InternalError, "the database does not answer; try again")
}
