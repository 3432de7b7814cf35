use async_trait::async_trait;
use darktower_core::access::Scope;
use darktower_core::named::Named as _;
use darktower_protocol::OrganizationId;

use super::dialect::{Backend, Row};
use super::page;
use super::row::{changed, get, hash, id, listed, time};
use crate::storage::model::{Client, Listed, Page, SecretHash};
use crate::storage::representation::{micros, text};
use crate::storage::store::{ClientStore, StoreError, Stored};

#[async_trait]
impl ClientStore for Backend {
    async fn create_client(&self, client: &Client) -> Stored<()> {
        let scopes: Vec<&str> = client.scopes.iter().map(|scope| scope.as_str()).collect();
        self.execute(
            sqlx::query(
                "INSERT INTO clients (id, organization_id, name, secret_hash, scopes, created_at) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(text(&client.id))
            .bind(client.organization_id.as_uuid())
            .bind(text(&client.name))
            .bind(client.secret_hash.as_slice())
            .bind(scopes.join(" "))
            .bind(micros(client.created_at)),
        )
        .await
        .map(drop)
    }

    async fn client(&self, id: &str) -> Stored<Option<Client>> {
        sqlx::query("SELECT * FROM clients WHERE id = $1")
            .bind(text(id))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_client(&row))
            .transpose()
    }

    async fn clients(&self, organization: OrganizationId, page: Page) -> Stored<Listed<Client>> {
        let rows = sqlx::query(page!(
            "SELECT * FROM clients WHERE organization_id = $1",
            order by "id", limit "$2", offset "$3"
        ))
        .bind(organization.as_uuid())
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "id", read_client)
    }

    async fn set_client_secret(&self, id: &str, hash: &SecretHash) -> Stored<bool> {
        self.execute(
            sqlx::query("UPDATE clients SET secret_hash = $1 WHERE id = $2")
                .bind(hash.as_slice())
                .bind(text(id)),
        )
        .await
        .map(changed)
    }

    async fn delete_client(&self, id: &str) -> Stored<bool> {
        self.execute(sqlx::query("DELETE FROM clients WHERE id = $1").bind(text(id))).await.map(changed)
    }
}

fn read_client(row: &Row) -> Stored<Client> {
    let scopes: &str = get(row, "scopes")?;
    Ok(Client {
        id: get(row, "id")?,
        organization_id: id(row, "organization_id", OrganizationId::from_uuid)?,
        name: get(row, "name")?,
        secret_hash: hash(row, "secret_hash")?,
        scopes: scopes
            .split_ascii_whitespace()
            .map(|scope| scope.parse::<Scope>().map_err(|_| StoreError::Damaged("scopes")))
            .collect::<Stored<_>>()?,
        created_at: time(row, "created_at")?,
    })
}
