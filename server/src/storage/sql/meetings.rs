use async_trait::async_trait;
use darktower_core::meeting::lifecycle::MeetingStatus;
use darktower_core::named::Named as _;
use darktower_protocol::{MeetingId, OrganizationId, UserId};
use futures_util::future::BoxFuture;
use time::OffsetDateTime;

use super::dialect::{Backend, Connection, Query, Row, contains};
use super::participants::{PARTICIPANTS_OF_MEETING, insert_removal, participant_inserts, throw_out_user};
use super::row::{
    changed, get, id, json, listed, named, number, optional_named, optional_number, optional_time, time,
    to_json,
};
use super::users::lock_user;
use super::{deletions_about_sessions, page};
use crate::storage::model::{
    Invitee, IssuedParticipant, Listed, Meeting, MeetingFilter, MeetingSettings, Page, Removal,
};
use crate::storage::representation::{micros, optional_text, search_needle, search_text, text};
use crate::storage::store::{MeetingStore, StoreError, Stored};

#[async_trait]
impl MeetingStore for Backend {
    async fn create_meeting(&self, meeting: &Meeting, host: &IssuedParticipant) -> Stored<()> {
        self.queues.meetings.write((meeting.clone(), host.clone())).await
    }

    async fn meeting(&self, id: MeetingId) -> Stored<Option<Meeting>> {
        sqlx::query("SELECT * FROM meetings WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_meeting(&row))
            .transpose()
    }

    async fn meeting_by_slug(&self, slug: &str) -> Stored<Option<Meeting>> {
        sqlx::query("SELECT * FROM meetings WHERE slug = $1")
            .bind(text(slug))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_meeting(&row))
            .transpose()
    }

    async fn meetings(&self, filter: &MeetingFilter) -> Stored<Listed<Meeting>> {
        let rows = sqlx::query(page!(
            concat!(
                "SELECT * FROM meetings WHERE organization_id = $1 AND ($2 IS NULL OR (status = 'active') = $2) \
                 AND ($3 IS NULL OR status = $3) \
                 AND ($4 IS NULL OR created_by = $4 \
                     OR EXISTS (SELECT 1 FROM participants p WHERE p.meeting_id = meetings.id AND p.user_id = $4) \
                     OR EXISTS (SELECT 1 FROM invitations i WHERE i.meeting_id = meetings.id AND i.user_id = $5)) \
                 AND ($6 IS NULL OR access_policy IS NULL OR access_policy <> 'invited' OR created_by = $6 \
                     OR EXISTS (SELECT 1 FROM invitations i WHERE i.meeting_id = meetings.id AND i.user_id = $7)) \
                 AND ($8 IS NULL OR ",
                contains!("search_text", "$8"),
                ") AND ($9 IS NULL OR created_at >= $9) AND ($10 IS NULL OR created_at < $10)"
            ),
            order by "created_at DESC, id DESC", limit "$11", offset "$12"
        ))
        .bind(filter.organization_id.as_uuid())
        .bind(filter.active)
        .bind(filter.status.map(MeetingStatus::as_str))
        .bind(optional_text(filter.user_id.as_deref()))
        .bind(filter.user_id.as_deref().and_then(|user| user.parse::<UserId>().ok()).map(|user| *user.as_uuid()))
        .bind(filter.visible_to.map(|user| user.to_string()))
        .bind(filter.visible_to.map(|user| *user.as_uuid()))
        .bind(filter.search.as_deref().map(search_needle))
        .bind(filter.from.map(micros))
        .bind(filter.to.map(micros))
        .bind(i64::from(filter.page.limit))
        .bind(i64::from(filter.page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "id", read_meeting)
    }

    async fn update_meeting(&self, meeting: &Meeting, removal: Option<&Removal>) -> Stored<bool> {
        let update = update_meeting(meeting)?;
        let Some(removal) = removal.map(insert_removal) else {
            return self.execute(update).await.map(changed);
        };
        self.write(move |connection| {
            Box::pin(async move {
                let done = update.execute(&mut *connection).await?.rows_affected() > 0;
                if done {
                    removal.execute(connection).await?;
                }
                Ok(done)
            })
        })
        .await
    }

    async fn delete_meeting(&self, id: MeetingId, removal: &Removal) -> Stored<bool> {
        // First it is over, so that nobody comes any more and who is there is thrown out. Then what there may be very much
        // of goes, in portions: others are not kept waiting, and no statement takes longer than the database allows.
        let at = micros(removal.at);
        let removal = insert_removal(removal);
        let is_there = self
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE meetings SET status = CASE WHEN status IN ('ended', 'cancelled', 'failed') \
                         THEN status ELSE 'cancelled' END, \
                         ended_at = coalesce(ended_at, $1), updated_at = $1, version = version + 1 WHERE id = $2",
                    )
                    .bind(at)
                    .bind(id.as_uuid())
                    .execute(&mut *connection)
                    .await?;
                    let done = changed(done.rows_affected());
                    if done {
                        removal.execute(connection).await?;
                    }
                    Ok(done)
                })
            })
            .await?;
        if !is_there {
            return Ok(false);
        }
        let id = *id.as_uuid();
        for deletion in deletions_about_sessions!("sessions.meeting_id = $1") {
            self.delete_in_portions(id, deletion).await?;
        }
        self.delete_in_portions(id, PARTICIPANTS_OF_MEETING).await?;
        self.execute(sqlx::query("DELETE FROM meetings WHERE id = $1").bind(id)).await.map(changed)
    }

    async fn activate_due(&self, now: OffsetDateTime) -> Stored<Vec<MeetingId>> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query_scalar(
                    "UPDATE meetings SET status = 'active', updated_at = $1, version = version + 1 \
                     WHERE status = 'scheduled' AND scheduled_start <= $1 RETURNING id",
                )
                .bind(micros(now))
                .fetch_all(connection)
                .await
                .map(|ids| ids.into_iter().map(MeetingId::from_uuid).collect())
                .map_err(StoreError::from)
            })
        })
        .await
    }

    async fn end_unjoined(&self, now: OffsetDateTime, before: OffsetDateTime) -> Stored<Vec<MeetingId>> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query_scalar(
                    "UPDATE meetings SET status = 'ended', ended_at = $1, updated_at = $1, version = version + 1 \
                     WHERE status = 'active' AND started_at IS NULL AND CASE scheduling \
                         WHEN 'instant' THEN created_at < $2 \
                         WHEN 'scheduled' THEN scheduled_end < $1 OR (scheduled_end IS NULL AND scheduled_start < $2) \
                         ELSE FALSE END \
                     RETURNING id",
                )
                .bind(micros(now))
                .bind(micros(before))
                .fetch_all(connection)
                .await
                .map(|ids| ids.into_iter().map(MeetingId::from_uuid).collect())
                .map_err(StoreError::from)
            })
        })
        .await
    }

    async fn invite(&self, meeting: MeetingId, user: UserId, at: OffsetDateTime) -> Stored<()> {
        let invite = sqlx::query(
            "INSERT INTO invitations (meeting_id, user_id, invited_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(meeting.as_uuid())
        .bind(user.as_uuid())
        .bind(micros(at));
        self.execute(invite).await.map(drop)
    }

    async fn uninvite(&self, meeting: MeetingId, user: UserId, at: OffsetDateTime) -> Stored<bool> {
        self.write(move |connection| {
            Box::pin(async move {
                lock_user(connection, user).await?;
                let done = sqlx::query("DELETE FROM invitations WHERE meeting_id = $1 AND user_id = $2")
                    .bind(meeting.as_uuid())
                    .bind(user.as_uuid())
                    .execute(&mut *connection)
                    .await?;
                let done = changed(done.rows_affected());
                if done {
                    throw_out_user(connection, user, Some(meeting), at).await?;
                }
                Ok(done)
            })
        })
        .await
    }

    async fn is_invited(&self, meeting: MeetingId, user: UserId) -> Stored<bool> {
        let invitation = sqlx::query("SELECT 1 FROM invitations WHERE meeting_id = $1 AND user_id = $2")
            .bind(meeting.as_uuid())
            .bind(user.as_uuid())
            .fetch_optional(self.reader())
            .await?;
        Ok(invitation.is_some())
    }

    async fn invitees(&self, meeting: MeetingId, page: Page) -> Stored<Listed<Invitee>> {
        let rows = sqlx::query(page!(
            "SELECT users.id AS user_id, email, name, invited_at FROM invitations \
             JOIN users ON users.id = invitations.user_id WHERE invitations.meeting_id = $1",
            order by "email, user_id", limit "$2", offset "$3"
        ))
        .bind(meeting.as_uuid())
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "user_id", read_invitee)
    }
}

fn insert_meeting(meeting: &Meeting) -> Stored<Query> {
    Ok(sqlx::query(
        "INSERT INTO meetings (id, organization_id, slug, display_name, description, meeting_type, scheduling, status, \
         access_policy, max_participants, max_guests, keep_alive_seconds, settings, created_by, scheduled_start, \
         scheduled_end, started_at, ended_at, created_at, updated_at, version, search_text) VALUES ($1, $2, $3, $4, \
         $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
    )
    .bind(meeting.id.as_uuid())
    .bind(meeting.organization_id.as_uuid())
    .bind(text(&meeting.slug))
    .bind(text(&meeting.display_name))
    .bind(optional_text(meeting.description.as_deref()))
    .bind(meeting.meeting_type.as_str())
    .bind(meeting.scheduling.as_str())
    .bind(meeting.status.as_str())
    .bind(meeting.access_policy.map(|policy| policy.as_str()))
    .bind(i64::from(meeting.max_participants))
    .bind(meeting.max_guests.map(i64::from))
    .bind(i64::from(meeting.keep_alive_seconds))
    .bind(to_json(&meeting.settings)?)
    .bind(optional_text(meeting.created_by.as_deref()))
    .bind(meeting.scheduled_start.map(micros))
    .bind(meeting.scheduled_end.map(micros))
    .bind(meeting.started_at.map(micros))
    .bind(meeting.ended_at.map(micros))
    .bind(micros(meeting.created_at))
    .bind(micros(meeting.updated_at))
    .bind(meeting.version)
    .bind(searched(meeting)))
}

fn update_meeting(meeting: &Meeting) -> Stored<Query> {
    Ok(sqlx::query(
        "UPDATE meetings SET display_name = $1, description = $2, meeting_type = $3, scheduling = $4, status = $5, \
         access_policy = $6, max_participants = $7, max_guests = $8, keep_alive_seconds = $9, settings = $10, \
         scheduled_start = $11, scheduled_end = $12, started_at = $13, ended_at = $14, updated_at = $15, \
         search_text = $16, version = version + 1 WHERE id = $17 AND version = $18",
    )
    .bind(text(&meeting.display_name))
    .bind(optional_text(meeting.description.as_deref()))
    .bind(meeting.meeting_type.as_str())
    .bind(meeting.scheduling.as_str())
    .bind(meeting.status.as_str())
    .bind(meeting.access_policy.map(|policy| policy.as_str()))
    .bind(i64::from(meeting.max_participants))
    .bind(meeting.max_guests.map(i64::from))
    .bind(i64::from(meeting.keep_alive_seconds))
    .bind(to_json(&meeting.settings)?)
    .bind(meeting.scheduled_start.map(micros))
    .bind(meeting.scheduled_end.map(micros))
    .bind(meeting.started_at.map(micros))
    .bind(meeting.ended_at.map(micros))
    .bind(micros(meeting.updated_at))
    .bind(searched(meeting))
    .bind(meeting.id.as_uuid())
    .bind(meeting.version))
}

fn searched(meeting: &Meeting) -> String {
    search_text(&[&meeting.display_name, meeting.description.as_deref().unwrap_or_default()])
}

/// Adds meetings, each with the participant of its creator.
pub(super) fn create_meetings<'c>(
    connection: &'c mut Connection,
    created: &'c [(Meeting, IssuedParticipant)],
) -> BoxFuture<'c, Stored<Vec<()>>> {
    Box::pin(async move {
        for (meeting, _) in created {
            insert_meeting(meeting)?.execute(&mut *connection).await?;
        }
        let hosts: Vec<_> = created.iter().map(|(_, host)| host.clone()).collect();
        for statement in participant_inserts(&hosts) {
            statement.execute(&mut *connection).await?;
        }
        Ok(vec![(); created.len()])
    })
}

fn read_meeting(row: &Row) -> Stored<Meeting> {
    Ok(Meeting {
        id: id(row, "id", MeetingId::from_uuid)?,
        organization_id: id(row, "organization_id", OrganizationId::from_uuid)?,
        slug: get(row, "slug")?,
        display_name: get(row, "display_name")?,
        description: get(row, "description")?,
        meeting_type: named(row, "meeting_type")?,
        scheduling: named(row, "scheduling")?,
        status: named(row, "status")?,
        access_policy: optional_named(row, "access_policy")?,
        max_participants: number(row, "max_participants")?,
        max_guests: optional_number(row, "max_guests")?,
        keep_alive_seconds: number(row, "keep_alive_seconds")?,
        settings: json::<MeetingSettings>(row, "settings")?,
        created_by: get(row, "created_by")?,
        scheduled_start: optional_time(row, "scheduled_start")?,
        scheduled_end: optional_time(row, "scheduled_end")?,
        started_at: optional_time(row, "started_at")?,
        ended_at: optional_time(row, "ended_at")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        version: get(row, "version")?,
    })
}

fn read_invitee(row: &Row) -> Stored<Invitee> {
    Ok(Invitee {
        user_id: id(row, "user_id", UserId::from_uuid)?,
        email: get(row, "email")?,
        name: get(row, "name")?,
        invited_at: time(row, "invited_at")?,
    })
}
