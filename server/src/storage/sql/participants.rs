use async_trait::async_trait;
use darktower_core::access::ParticipantRole;
use darktower_core::named::Named as _;
use darktower_protocol::{MeetingId, ParticipantId, UserId};
use futures_util::future::BoxFuture;
use time::OffsetDateTime;
use uuid::Uuid;

use super::dialect::{Backend, Connection, Query, Row};
use super::insert_rows;
use super::row::{changed, get, id, named, optional_time, time};
use crate::storage::model::{IssuedParticipant, Removal};
use crate::storage::representation::{micros, optional_text, text};
use crate::storage::store::{ParticipantStore, Stored};

/// The deletion of a portion of a meeting's participants.
pub(super) const PARTICIPANTS_OF_MEETING: &str =
    "DELETE FROM participants WHERE id IN (SELECT id FROM participants WHERE meeting_id = $1 LIMIT $2)";

#[async_trait]
impl ParticipantStore for Backend {
    async fn issue_participant(&self, participant: &IssuedParticipant) -> Stored<()> {
        self.queues.participants.write(participant.clone()).await
    }

    async fn participant(&self, id: ParticipantId) -> Stored<Option<IssuedParticipant>> {
        sqlx::query("SELECT * FROM participants WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_participant(&row))
            .transpose()
    }

    async fn renew_participant(&self, id: ParticipantId, expires_at: OffsetDateTime) -> Stored<bool> {
        // Renewals may overtake each other: the last end is the latest one.
        let renew = sqlx::query(
            "UPDATE participants SET expires_at = CASE WHEN expires_at < $1 THEN $1 ELSE expires_at END \
             WHERE id = $2 AND revoked_at IS NULL",
        )
        .bind(micros(expires_at))
        .bind(id.as_uuid());
        self.execute(renew).await.map(changed)
    }

    async fn change_participant(
        &self,
        id: ParticipantId,
        name: Option<&str>,
        preset: Option<(&str, ParticipantRole)>,
    ) -> Stored<bool> {
        let change = sqlx::query(
            "UPDATE participants SET name = COALESCE($1, name), preset = COALESCE($2, preset), \
             role = COALESCE($3, role) WHERE id = $4 AND revoked_at IS NULL",
        )
        .bind(optional_text(name))
        .bind(optional_text(preset.map(|(preset, _)| preset)))
        .bind(preset.map(|(_, role)| role.as_str()))
        .bind(id.as_uuid());
        self.execute(change).await.map(changed)
    }

    async fn revoke_participants(&self, removals: &[Removal]) -> Stored<Vec<bool>> {
        let removals = removals.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                let mut revoked = vec![false; removals.len()];
                // In the order of their ids: two who remove the same do not wait for each other.
                let mut order: Vec<usize> = (0..removals.len()).collect();
                order.sort_by_key(|index| removals.get(*index).and_then(|removal| removal.participant_id));
                for index in order {
                    let Some((removal, revoked)) = removals.get(index).zip(revoked.get_mut(index)) else {
                        continue;
                    };
                    *revoked = revoke(removal).execute(&mut *connection).await?.rows_affected() > 0;
                }
                let done = removals.into_iter().zip(&revoked).filter(|(_, revoked)| **revoked);
                let done: Vec<Removal> = done.map(|(removal, _)| removal).collect();
                for statement in insert_removals(&done) {
                    statement.execute(&mut *connection).await?;
                }
                Ok(revoked)
            })
        })
        .await
    }

    async fn remove_all(&self, removal: &Removal) -> Stored<()> {
        self.execute(insert_removal(removal)).await.map(drop)
    }

    async fn removals(&self, since: OffsetDateTime) -> Stored<Vec<Removal>> {
        sqlx::query("SELECT * FROM removals WHERE at >= $1 ORDER BY at, id")
            .bind(micros(since))
            .fetch_all(self.reader())
            .await?
            .iter()
            .map(read_removal)
            .collect()
    }
}

/// Adds participants.
pub(super) fn insert_participants<'c>(
    connection: &'c mut Connection,
    participants: &'c [IssuedParticipant],
) -> BoxFuture<'c, Stored<Vec<()>>> {
    Box::pin(async move {
        for statement in participant_inserts(participants) {
            statement.execute(&mut *connection).await?;
        }
        Ok(vec![(); participants.len()])
    })
}

/// The statements that add participants.
pub(super) fn participant_inserts(participants: &[IssuedParticipant]) -> Vec<Query> {
    let insert = "INSERT INTO participants (id, meeting_id, name, role, preset, user_id, is_guest, issued_by, \
                  created_at, expires_at, revoked_at) VALUES";
    insert_rows(insert, 11, participants, |query, participant| {
        query
            .bind(participant.id.as_uuid())
            .bind(participant.meeting_id.as_uuid())
            .bind(text(&participant.name))
            .bind(participant.role.as_str())
            .bind(text(&participant.preset))
            .bind(optional_text(participant.user_id.as_deref()))
            .bind(participant.is_guest)
            .bind(optional_text(participant.issued_by.as_deref()))
            .bind(micros(participant.created_at))
            .bind(micros(participant.expires_at))
            .bind(participant.revoked_at.map(micros))
    })
}

fn revoke(removal: &Removal) -> Query {
    sqlx::query(
        "UPDATE participants SET revoked_at = $1 WHERE id = $2 AND meeting_id = $3 AND revoked_at IS NULL",
    )
    .bind(micros(removal.at))
    .bind(removal.participant_id.map(|id| *id.as_uuid()))
    .bind(removal.meeting_id.as_uuid())
}

/// The statements that add removals.
fn insert_removals(removals: &[Removal]) -> Vec<Query> {
    let insert = "INSERT INTO removals (id, meeting_id, participant_id, meeting_over, at) VALUES";
    insert_rows(insert, 5, removals, bind_removal)
}

pub(super) fn insert_removal(removal: &Removal) -> Query {
    bind_removal(
        sqlx::query(
            "INSERT INTO removals (id, meeting_id, participant_id, meeting_over, at) VALUES ($1, $2, $3, $4, $5)",
        ),
        removal,
    )
}

fn bind_removal(query: Query, removal: &Removal) -> Query {
    query
        .bind(removal.id)
        .bind(removal.meeting_id.as_uuid())
        .bind(removal.participant_id.map(|id| *id.as_uuid()))
        .bind(removal.meeting_over)
        .bind(micros(removal.at))
}

/// Takes back what a user may join the meetings of its organization with (only `meeting`, if given) and has it thrown out of
/// them. Whoever calls this has locked the user.
pub(super) async fn throw_out_user(
    connection: &mut Connection,
    user: UserId,
    meeting: Option<MeetingId>,
    at: OffsetDateTime,
) -> Stored<()> {
    // Who came in with a token that has ended since may still be there, where a session runs.
    let removals = sqlx::query(
        "UPDATE participants SET revoked_at = $1 \
         WHERE user_id = $2 AND revoked_at IS NULL AND ($3 IS NULL OR meeting_id = $3) \
         AND (expires_at > $1 OR EXISTS (SELECT 1 FROM sessions \
             WHERE sessions.meeting_id = participants.meeting_id AND sessions.ended_at IS NULL)) \
         AND EXISTS (SELECT 1 FROM meetings JOIN users ON users.organization_id = meetings.organization_id \
             WHERE meetings.id = participants.meeting_id AND users.id = $4) \
         RETURNING id, meeting_id",
    )
    .bind(micros(at))
    .bind(user.to_string())
    .bind(meeting.map(|id| *id.as_uuid()))
    .bind(user.as_uuid())
    .fetch_all(&mut *connection)
    .await?
    .iter()
    .map(|row| {
        Ok(Removal {
            id: Uuid::now_v7(),
            meeting_id: id(row, "meeting_id", MeetingId::from_uuid)?,
            participant_id: Some(id(row, "id", ParticipantId::from_uuid)?),
            meeting_over: false,
            at,
        })
    })
    .collect::<Stored<Vec<_>>>()?;
    for statement in insert_removals(&removals) {
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

fn read_participant(row: &Row) -> Stored<IssuedParticipant> {
    Ok(IssuedParticipant {
        id: id(row, "id", ParticipantId::from_uuid)?,
        meeting_id: id(row, "meeting_id", MeetingId::from_uuid)?,
        name: get(row, "name")?,
        role: named(row, "role")?,
        preset: get(row, "preset")?,
        user_id: get(row, "user_id")?,
        is_guest: get(row, "is_guest")?,
        issued_by: get(row, "issued_by")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    })
}

fn read_removal(row: &Row) -> Stored<Removal> {
    let participant_id: Option<Uuid> = get(row, "participant_id")?;
    Ok(Removal {
        id: get(row, "id")?,
        meeting_id: id(row, "meeting_id", MeetingId::from_uuid)?,
        participant_id: participant_id.map(ParticipantId::from_uuid),
        meeting_over: get(row, "meeting_over")?,
        at: time(row, "at")?,
    })
}
