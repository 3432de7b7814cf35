use async_trait::async_trait;
use darktower_protocol::OrganizationId;
use time::OffsetDateTime;

use super::deletions_about_sessions;
use super::dialect::{Backend, Query, Row};
use super::presets::insert_preset;
use super::row::{changed, count, get, id, json, time, to_json};
use super::users::insert_user;
use crate::storage::model::{Organization, StoredPreset, User};
use crate::storage::representation::{micros, text};
use crate::storage::store::{OrganizationStore, Stored};

/// Deletions of what there may be much of in an organization.
const PARTICIPANTS: &str = "DELETE FROM participants WHERE id IN (SELECT participants.id FROM participants \
                            JOIN meetings ON meetings.id = participants.meeting_id \
                            WHERE meetings.organization_id = $1 LIMIT $2)";
const AUDIT_ENTRIES: &str = "DELETE FROM audit_entries WHERE id IN \
                             (SELECT id FROM audit_entries WHERE organization_id = $1 LIMIT $2)";

#[async_trait]
impl OrganizationStore for Backend {
    async fn create_organization(
        &self,
        organization: &Organization,
        presets: &[StoredPreset],
        owner: Option<&User>,
    ) -> Stored<()> {
        let mut queries = vec![insert_organization(organization)?];
        for preset in presets {
            queries.push(insert_preset(organization.id, preset)?);
        }
        queries.extend(owner.map(insert_user));
        self.execute_all(queries).await.map(drop)
    }

    async fn organization(&self, id: OrganizationId) -> Stored<Option<Organization>> {
        sqlx::query("SELECT * FROM organizations WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_organization(&row))
            .transpose()
    }

    async fn organization_by_slug(&self, slug: &str) -> Stored<Option<Organization>> {
        sqlx::query("SELECT * FROM organizations WHERE slug = $1")
            .bind(text(slug))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_organization(&row))
            .transpose()
    }

    async fn count_organizations(&self) -> Stored<u64> {
        count(sqlx::query_scalar("SELECT count(*) FROM organizations").fetch_one(self.reader()).await?)
    }

    async fn update_organization(
        &self,
        organization: &Organization,
        read_at: OffsetDateTime,
    ) -> Stored<bool> {
        self.execute(sqlx::query(
                    "UPDATE organizations SET name = $1, settings = $2, max_meeting_minutes = $3, updated_at = $4 \
                     WHERE id = $5 AND updated_at = $6",
                )
                .bind(text(&organization.name))
                .bind(to_json(&organization.settings)?)
                .bind(organization.settings.max_meeting_minutes.map(i64::from))
                .bind(micros(organization.updated_at))
                .bind(organization.id.as_uuid())
                .bind(micros(read_at))).await.map(changed)
    }

    async fn delete_organization(&self, id: OrganizationId) -> Stored<bool> {
        // What there may be very much of goes first, in portions: others are not kept waiting, and no statement takes
        // longer than the database allows.
        let id = *id.as_uuid();
        for deletion in deletions_about_sessions!("sessions.organization_id = $1") {
            self.delete_in_portions(id, deletion).await?;
        }
        for deletion in [PARTICIPANTS, AUDIT_ENTRIES] {
            self.delete_in_portions(id, deletion).await?;
        }
        self.execute(sqlx::query("DELETE FROM organizations WHERE id = $1").bind(id)).await.map(changed)
    }
}

fn insert_organization(organization: &Organization) -> Stored<Query> {
    Ok(sqlx::query(
        "INSERT INTO organizations (id, slug, name, settings, max_meeting_minutes, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(organization.id.as_uuid())
    .bind(text(&organization.slug))
    .bind(text(&organization.name))
    .bind(to_json(&organization.settings)?)
    .bind(organization.settings.max_meeting_minutes.map(i64::from))
    .bind(micros(organization.created_at))
    .bind(micros(organization.updated_at)))
}

fn read_organization(row: &Row) -> Stored<Organization> {
    Ok(Organization {
        id: id(row, "id", OrganizationId::from_uuid)?,
        name: get(row, "name")?,
        slug: get(row, "slug")?,
        settings: json(row, "settings")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
