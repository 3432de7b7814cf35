use async_trait::async_trait;
use darktower_core::access::ParticipantRole;
use darktower_core::meeting::lifecycle::MeetingStatus;
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId};
use futures_util::future::BoxFuture;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::dialect::{Backend, Connection, Row, for_update};
use super::page;
use super::row::{changed, count, get, id, listed, named, number, optional_time, time};
use crate::storage::model::{Arrival, Attendance, Listed, MeetingSession, Page, SessionFilter};
use crate::storage::representation::{micros, optional_text, text};
use crate::storage::store::{SessionStore, StoreError, Stored};

/// A session with the name that its meeting has now.
macro_rules! session {
    ($condition:literal) => {
        concat!(
            "SELECT sessions.*, meetings.display_name FROM sessions JOIN meetings ON meetings.id = sessions.meeting_id \
             WHERE ",
            $condition
        )
    };
}

/// Somebody comes or goes.
#[derive(Debug)]
pub(in super::super) enum Presence {
    /// A join.
    Arrives(Arrival),
    /// A leave.
    Departs { session: MeetingSessionId, participant: ParticipantId, at: OffsetDateTime, reason: String },
}

/// What came of somebody's coming or going.
#[derive(Debug)]
pub(in super::super) struct Noted {
    /// Whether there was anything to note.
    is_noted: bool,
    /// The session that was joined.
    session: Option<MeetingSession>,
}

/// How many sessions one statement notes as running.
const TOUCHED_AT_ONCE: usize = 500;

#[async_trait]
impl SessionStore for Backend {
    async fn arrive(&self, arrival: &Arrival) -> Stored<Option<MeetingSession>> {
        self.queues.presences.write(Presence::Arrives(arrival.clone())).await.map(|noted| noted.session)
    }

    async fn depart(
        &self,
        session: MeetingSessionId,
        participant: ParticipantId,
        at: OffsetDateTime,
        reason: &str,
    ) -> Stored<bool> {
        let leaves = Presence::Departs { session, participant, at, reason: text(reason).into_owned() };
        self.queues.presences.write(leaves).await.map(|noted| noted.is_noted)
    }

    async fn end_session(&self, id: MeetingSessionId, at: OffsetDateTime) -> Stored<bool> {
        self.write(move |connection| {
            Box::pin(async move {
                lock_meeting_of_session(connection, id).await?;
                let meeting: Option<Uuid> = sqlx::query_scalar(
                    "UPDATE sessions SET ended_at = $1, live_count = 0 WHERE id = $2 AND ended_at IS NULL \
                     RETURNING meeting_id",
                )
                .bind(micros(at))
                .bind(id.as_uuid())
                .fetch_optional(&mut *connection)
                .await?;
                let Some(meeting) = meeting else {
                    return Ok(false);
                };
                sqlx::query(
                    "UPDATE attendances SET left_at = $1, leave_reason = 'meeting_ended' \
                     WHERE session_id = $2 AND left_at IS NULL",
                )
                .bind(micros(at))
                .bind(id.as_uuid())
                .execute(&mut *connection)
                .await?;
                // One whose time is still to come waits for it, as if nobody had been there.
                sqlx::query(
                    "UPDATE meetings SET \
                     status = CASE WHEN scheduled_start > $1 THEN 'scheduled' ELSE 'ended' END, \
                     started_at = CASE WHEN scheduled_start > $1 THEN NULL ELSE started_at END, \
                     ended_at = CASE WHEN scheduled_start > $1 THEN NULL ELSE $1 END, \
                     updated_at = CASE WHEN updated_at < $1 THEN $1 ELSE updated_at END, version = version + 1 \
                     WHERE id = $2 AND scheduling <> 'permanent' AND status NOT IN ('ended', 'cancelled', 'failed')",
                )
                .bind(micros(at))
                .bind(meeting)
                .execute(connection)
                .await?;
                Ok(true)
            })
        })
        .await
    }

    async fn touch_sessions(&self, ids: &[MeetingSessionId], at: OffsetDateTime) -> Stored<()> {
        for ids in ids.chunks(TOUCHED_AT_ONCE) {
            let places: Vec<String> = (2..ids.len() + 2).map(|place| format!("${place}")).collect();
            let touch = format!(
                "UPDATE sessions SET last_seen_at = $1 WHERE ended_at IS NULL AND id IN ({})",
                places.join(", ")
            );
            let touch = ids.iter().fold(sqlx::query(AssertSqlSafe(touch)).bind(micros(at)), |query, id| {
                query.bind(id.as_uuid())
            });
            // Lists differ in length: not worth a place among the prepared statements.
            self.execute(touch.persistent(false)).await?;
        }
        Ok(())
    }

    async fn stale_sessions(&self, before: OffsetDateTime) -> Stored<Vec<MeetingSession>> {
        sqlx::query(session!(
            "sessions.ended_at IS NULL AND last_seen_at < $1 ORDER BY last_seen_at, sessions.id"
        ))
        .bind(micros(before))
        .fetch_all(self.reader())
        .await?
        .iter()
        .map(read_session)
        .collect()
    }

    async fn overlong_sessions(
        &self,
        now: OffsetDateTime,
        default_minutes: u32,
    ) -> Stored<Vec<MeetingSession>> {
        sqlx::query(
            "SELECT sessions.*, meetings.display_name FROM sessions \
             JOIN meetings ON meetings.id = sessions.meeting_id \
             JOIN organizations ON organizations.id = sessions.organization_id \
             WHERE sessions.ended_at IS NULL \
             AND sessions.started_at < $1 - coalesce(organizations.max_meeting_minutes, $2) * 60000000 \
             ORDER BY sessions.started_at, sessions.id",
        )
        .bind(micros(now))
        .bind(i64::from(default_minutes))
        .fetch_all(self.reader())
        .await?
        .iter()
        .map(read_session)
        .collect()
    }

    async fn session(&self, id: MeetingSessionId) -> Stored<Option<MeetingSession>> {
        sqlx::query(session!("sessions.id = $1"))
            .bind(id.as_uuid())
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_session(&row))
            .transpose()
    }

    async fn active_session(&self, meeting: MeetingId) -> Stored<Option<MeetingSession>> {
        sqlx::query(session!("sessions.meeting_id = $1 AND sessions.ended_at IS NULL"))
            .bind(meeting.as_uuid())
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_session(&row))
            .transpose()
    }

    async fn sessions(&self, filter: &SessionFilter) -> Stored<Listed<MeetingSession>> {
        let rows = sqlx::query(page!(
            session!(
                "sessions.organization_id = $1 AND ($2 IS NULL OR sessions.meeting_id = $2) \
                 AND ($3 IS NULL OR meetings.created_by = $3) \
                 AND ($4 IS NULL OR (sessions.ended_at IS NULL) = $4)"
            ),
            order by "started_at DESC, id DESC", limit "$5", offset "$6"
        ))
        .bind(filter.organization_id.as_uuid())
        .bind(filter.meeting_id.map(|id| *id.as_uuid()))
        .bind(optional_text(filter.created_by.as_deref()))
        .bind(filter.active)
        .bind(i64::from(filter.page.limit))
        .bind(i64::from(filter.page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "id", read_session)
    }

    async fn count_active_sessions(&self, organization: OrganizationId) -> Stored<u64> {
        count(
            sqlx::query_scalar(
                "SELECT count(*) FROM sessions WHERE organization_id = $1 AND ended_at IS NULL",
            )
            .bind(organization.as_uuid())
            .fetch_one(self.reader())
            .await?,
        )
    }

    async fn attendances(&self, session: MeetingSessionId, page: Page) -> Stored<Listed<Attendance>> {
        let rows = sqlx::query(page!(
            "SELECT * FROM attendances WHERE session_id = $1",
            order by "joined_at, number", limit "$2", offset "$3"
        ))
        .bind(session.as_uuid())
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "number", read_attendance)
    }

    async fn count_live_guests(&self, meeting: MeetingId) -> Stored<u32> {
        let guests: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM attendances JOIN sessions ON sessions.id = attendances.session_id \
             WHERE sessions.meeting_id = $1 AND sessions.ended_at IS NULL AND is_guest AND left_at IS NULL",
        )
        .bind(meeting.as_uuid())
        .fetch_one(self.reader())
        .await?;
        guests.try_into().map_err(|_| StoreError::Damaged("a count of guests"))
    }
}

/// Notes who comes and goes.
pub(super) fn note_presences<'c>(
    connection: &'c mut Connection,
    presences: &'c [Presence],
) -> BoxFuture<'c, Stored<Vec<Noted>>> {
    Box::pin(async move {
        let mut noted = Vec::with_capacity(presences.len());
        for presence in presences {
            noted.push(match presence {
                Presence::Arrives(arrival) => {
                    let session = arrive(connection, arrival).await?;
                    Noted { is_noted: session.is_some(), session }
                }
                Presence::Departs { session, participant, at, reason } => {
                    let is_noted = depart(connection, *session, *participant, *at, reason).await?;
                    Noted { is_noted, session: None }
                }
            });
        }
        Ok(noted)
    })
}

async fn depart(
    connection: &mut Connection,
    session: MeetingSessionId,
    participant: ParticipantId,
    at: OffsetDateTime,
    reason: &str,
) -> Stored<bool> {
    lock_meeting_of_session(connection, session).await?;
    let left = end_stay(connection, session, participant, at, reason).await?;
    if left {
        sqlx::query("UPDATE sessions SET live_count = live_count - 1 WHERE id = $1")
            .bind(session.as_uuid())
            .execute(connection)
            .await?;
    }
    Ok(left)
}

async fn arrive(connection: &mut Connection, arrival: &Arrival) -> Stored<Option<MeetingSession>> {
    // Joins and leaves of a meeting happen one after another, so that each knows what it counts. Nothing else is read
    // here: it would be what was there before the wait.
    let Some(meeting) = sqlx::query(concat!(
        "SELECT organization_id, display_name, status, scheduled_start, started_at FROM meetings WHERE id = $1",
        for_update!()
    ))
    .bind(arrival.meeting_id.as_uuid())
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let status: MeetingStatus = named(&meeting, "status")?;
    if !status.is_joinable() {
        return Ok(None);
    }
    let Some(known) = sqlx::query(
        "SELECT role, user_id, is_guest, revoked_at, sessions.id AS session_id, \
         EXISTS (SELECT 1 FROM attendances WHERE session_id = sessions.id AND participant_id = participants.id) \
         AS was_there \
         FROM participants \
         LEFT JOIN sessions ON sessions.meeting_id = participants.meeting_id AND sessions.ended_at IS NULL \
         WHERE participants.id = $1 AND participants.meeting_id = $2",
    )
    .bind(arrival.participant_id.as_uuid())
    .bind(arrival.meeting_id.as_uuid())
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Err(StoreError::NoSuchReference);
    };
    let is_host = named::<ParticipantRole>(&known, "role")? == ParticipantRole::Host;
    let is_due = optional_time(&meeting, "scheduled_start")?.is_some_and(|start| start <= arrival.at);
    if optional_time(&known, "revoked_at")?.is_some() || !status.admits(is_host, is_due) {
        return Ok(None);
    }
    let at = micros(arrival.at);
    if status != MeetingStatus::Active || optional_time(&meeting, "started_at")?.is_none() {
        sqlx::query(
            "UPDATE meetings SET status = 'active', started_at = coalesce(started_at, $1), updated_at = $1, \
             version = version + 1 WHERE id = $2",
        )
        .bind(at)
        .bind(arrival.meeting_id.as_uuid())
        .execute(&mut *connection)
        .await?;
    }

    let running: Option<Uuid> = get(&known, "session_id")?;
    let session = running.map_or(arrival.new_session_id, MeetingSessionId::from_uuid);
    if running.is_none() {
        sqlx::query(
            "INSERT INTO sessions (id, meeting_id, organization_id, started_at, participant_count, live_count, \
             peak_count, last_seen_at) VALUES ($1, $2, $3, $4, 0, 0, 0, $4)",
        )
        .bind(session.as_uuid())
        .bind(arrival.meeting_id.as_uuid())
        .bind(get::<Uuid>(&meeting, "organization_id")?)
        .bind(at)
        .execute(&mut *connection)
        .await?;
    }
    let was_there: bool = get(&known, "was_there")?;
    let is_there =
        was_there && end_stay(connection, session, arrival.participant_id, arrival.at, "reconnected").await?;
    sqlx::query(
        "INSERT INTO attendances (session_id, participant_id, name, role, user_id, is_guest, joined_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(session.as_uuid())
    .bind(arrival.participant_id.as_uuid())
    .bind(text(&arrival.name))
    .bind(get::<&str>(&known, "role")?)
    .bind(get::<Option<&str>>(&known, "user_id")?)
    .bind(get::<bool>(&known, "is_guest")?)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    let session = sqlx::query(
        "UPDATE sessions SET participant_count = participant_count + $1, live_count = live_count + $2, \
         peak_count = CASE WHEN live_count + $2 > peak_count THEN live_count + $2 ELSE peak_count END, \
         last_seen_at = CASE WHEN last_seen_at < $3 THEN $3 ELSE last_seen_at END WHERE id = $4 RETURNING *",
    )
    .bind(i64::from(!was_there))
    .bind(i64::from(!is_there))
    .bind(at)
    .bind(session.as_uuid())
    .fetch_one(connection)
    .await?;
    read_session_of(get(&meeting, "display_name")?, &session).map(Some)
}

/// Ends the stay of a participant; `false` if it is not there.
async fn end_stay(
    connection: &mut Connection,
    session: MeetingSessionId,
    participant: ParticipantId,
    at: OffsetDateTime,
    reason: &str,
) -> Stored<bool> {
    let done = sqlx::query(
        "UPDATE attendances SET left_at = $1, leave_reason = $2 \
         WHERE session_id = $3 AND participant_id = $4 AND left_at IS NULL",
    )
    .bind(micros(at))
    .bind(reason)
    .bind(session.as_uuid())
    .bind(participant.as_uuid())
    .execute(connection)
    .await?;
    Ok(changed(done.rows_affected()))
}

/// Keeps others from joining, leaving and ending the meeting that the session is of.
async fn lock_meeting_of_session(connection: &mut Connection, session: MeetingSessionId) -> Stored<()> {
    sqlx::query(concat!(
        "SELECT id FROM meetings WHERE id = (SELECT meeting_id FROM sessions WHERE sessions.id = $1)",
        for_update!()
    ))
    .bind(session.as_uuid())
    .fetch_optional(connection)
    .await?;
    Ok(())
}

fn read_session(row: &Row) -> Stored<MeetingSession> {
    read_session_of(get(row, "display_name")?, row)
}

/// A session of the meeting of this name.
fn read_session_of(display_name: String, row: &Row) -> Stored<MeetingSession> {
    Ok(MeetingSession {
        id: id(row, "id", MeetingSessionId::from_uuid)?,
        meeting_id: id(row, "meeting_id", MeetingId::from_uuid)?,
        organization_id: id(row, "organization_id", OrganizationId::from_uuid)?,
        display_name,
        started_at: time(row, "started_at")?,
        ended_at: optional_time(row, "ended_at")?,
        participant_count: number(row, "participant_count")?,
        live_count: number(row, "live_count")?,
        peak_count: number(row, "peak_count")?,
        last_seen_at: time(row, "last_seen_at")?,
    })
}

fn read_attendance(row: &Row) -> Stored<Attendance> {
    Ok(Attendance {
        session_id: id(row, "session_id", MeetingSessionId::from_uuid)?,
        participant_id: id(row, "participant_id", ParticipantId::from_uuid)?,
        name: get(row, "name")?,
        role: named(row, "role")?,
        user_id: get(row, "user_id")?,
        is_guest: get(row, "is_guest")?,
        joined_at: time(row, "joined_at")?,
        left_at: optional_time(row, "left_at")?,
        leave_reason: get(row, "leave_reason")?,
    })
}
