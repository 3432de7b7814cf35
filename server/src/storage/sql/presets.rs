use async_trait::async_trait;
use darktower_protocol::OrganizationId;

use super::dialect::{Backend, Query, Row, for_update};
use super::row::{changed, get, json, time, to_json};
use crate::storage::model::StoredPreset;
use crate::storage::representation::{micros, text};
use crate::storage::store::{PresetStore, Stored};

#[async_trait]
impl PresetStore for Backend {
    async fn create_preset(
        &self,
        organization: OrganizationId,
        preset: &StoredPreset,
        at_most: u32,
    ) -> Stored<bool> {
        let insert = insert_preset(organization, preset)?;
        self.write(move |connection| {
            Box::pin(async move {
                // Of two who add the last one, the second waits here.
                sqlx::query(concat!("SELECT id FROM organizations WHERE id = $1", for_update!()))
                    .bind(organization.as_uuid())
                    .fetch_optional(&mut *connection)
                    .await?;
                let present: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM presets WHERE organization_id = $1")
                        .bind(organization.as_uuid())
                        .fetch_one(&mut *connection)
                        .await?;
                if present >= i64::from(at_most) {
                    return Ok(false);
                }
                insert.execute(connection).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn preset(&self, organization: OrganizationId, name: &str) -> Stored<Option<StoredPreset>> {
        sqlx::query("SELECT * FROM presets WHERE organization_id = $1 AND name = $2")
            .bind(organization.as_uuid())
            .bind(text(name))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_preset(&row))
            .transpose()
    }

    async fn presets(&self, organization: OrganizationId) -> Stored<Vec<StoredPreset>> {
        sqlx::query("SELECT * FROM presets WHERE organization_id = $1 ORDER BY name")
            .bind(organization.as_uuid())
            .fetch_all(self.reader())
            .await?
            .iter()
            .map(read_preset)
            .collect()
    }

    async fn update_preset(&self, organization: OrganizationId, preset: &StoredPreset) -> Stored<bool> {
        self.execute(
            sqlx::query(
                "UPDATE presets SET document = $1, updated_at = $2 WHERE organization_id = $3 AND name = $4",
            )
            .bind(to_json(&preset.preset)?)
            .bind(micros(preset.updated_at))
            .bind(organization.as_uuid())
            .bind(text(&preset.preset.name)),
        )
        .await
        .map(changed)
    }

    async fn delete_preset(&self, organization: OrganizationId, name: &str) -> Stored<bool> {
        self.execute(
            sqlx::query("DELETE FROM presets WHERE organization_id = $1 AND name = $2 AND NOT is_shipped")
                .bind(organization.as_uuid())
                .bind(text(name)),
        )
        .await
        .map(changed)
    }
}

pub(super) fn insert_preset(organization: OrganizationId, preset: &StoredPreset) -> Stored<Query> {
    Ok(sqlx::query(
        "INSERT INTO presets (organization_id, name, document, is_shipped, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(organization.as_uuid())
    .bind(text(&preset.preset.name))
    .bind(to_json(&preset.preset)?)
    .bind(preset.is_shipped)
    .bind(micros(preset.created_at))
    .bind(micros(preset.updated_at)))
}

fn read_preset(row: &Row) -> Stored<StoredPreset> {
    Ok(StoredPreset {
        preset: json(row, "document")?,
        is_shipped: get(row, "is_shipped")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
