use async_trait::async_trait;
use darktower_core::access::OrganizationRole;
use darktower_core::named::Named as _;
use darktower_protocol::{OrganizationId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::dialect::{Backend, Connection, Query, Row, contains, for_update};
use super::page;
use super::participants::throw_out_user;
use super::row::{changed, get, hash, id, listed, named, optional_time, time};
use crate::storage::model::{Listed, RefreshToken, Rotation, SecretHash, SetupSecret, User, UserFilter};
use crate::storage::representation::{micros, optional_text, search_needle, search_text, text};
use crate::storage::store::{Stored, UserStore};

#[async_trait]
impl UserStore for Backend {
    async fn create_user(&self, user: &User, setup: Option<&SetupSecret>) -> Stored<()> {
        let mut queries = vec![insert_user(user)];
        queries.extend(setup.map(insert_setup_secret));
        self.execute_all(queries).await.map(drop)
    }

    async fn user(&self, id: UserId) -> Stored<Option<User>> {
        sqlx::query("SELECT * FROM users WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_user(&row))
            .transpose()
    }

    async fn user_by_email(&self, organization: OrganizationId, email: &str) -> Stored<Option<User>> {
        sqlx::query("SELECT * FROM users WHERE organization_id = $1 AND email = $2")
            .bind(organization.as_uuid())
            .bind(text(email))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_user(&row))
            .transpose()
    }

    async fn users(&self, filter: &UserFilter) -> Stored<Listed<User>> {
        let rows = sqlx::query(page!(
            concat!(
                "SELECT * FROM users WHERE organization_id = $1 AND ($2 IS NULL OR role = $2) AND ($3 IS NULL OR ",
                contains!("search_text", "$3"),
                ")"
            ),
            order by "email", limit "$4", offset "$5"
        ))
        .bind(filter.organization_id.as_uuid())
        .bind(filter.role.map(OrganizationRole::as_str))
        .bind(filter.search.as_deref().map(search_needle))
        .bind(i64::from(filter.page.limit))
        .bind(i64::from(filter.page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "id", read_user)
    }

    async fn update_profile(&self, user: &User) -> Stored<bool> {
        let update = sqlx::query(
            "UPDATE users SET email = $1, name = $2, avatar_url = $3, updated_at = $4, search_text = $5 \
             WHERE id = $6",
        )
        .bind(text(&user.email))
        .bind(text(&user.name))
        .bind(optional_text(user.avatar_url.as_deref()))
        .bind(micros(user.updated_at))
        .bind(search_text(&[&user.name, &user.email]))
        .bind(user.id.as_uuid());
        self.execute(update).await.map(changed)
    }

    async fn set_active(&self, id: UserId, is_active: bool, at: OffsetDateTime) -> Stored<bool> {
        self.write(move |connection| {
            Box::pin(async move {
                // First, so that no token comes in from a rotation that waits for its user.
                let done = sqlx::query(
                    "UPDATE users SET is_active = $1, updated_at = $2 WHERE id = $3 AND ($1 OR role <> 'owner')",
                )
                .bind(is_active)
                .bind(micros(at))
                .bind(id.as_uuid())
                .execute(&mut *connection)
                .await?;
                let done = changed(done.rows_affected());
                if done && !is_active {
                    revoke_tokens(id).execute(&mut *connection).await?;
                    throw_out_user(connection, id, None, at).await?;
                }
                Ok(done)
            })
        })
        .await
    }

    async fn change_role(&self, id: UserId, role: OrganizationRole, at: OffsetDateTime) -> Stored<bool> {
        self.write(move |connection| {
            Box::pin(async move {
                // Of two who make somebody the owner, the second waits here.
                let organization: Option<Uuid> = sqlx::query_scalar(concat!(
                    "SELECT id FROM organizations \
                     WHERE id = (SELECT organization_id FROM users WHERE users.id = $1)",
                    for_update!()
                ))
                .bind(id.as_uuid())
                .fetch_optional(&mut *connection)
                .await?;
                if role == OrganizationRole::Owner {
                    sqlx::query(
                        "UPDATE users SET role = 'admin', updated_at = $1 \
                         WHERE organization_id = $2 AND role = 'owner' AND id <> $3",
                    )
                    .bind(micros(at))
                    .bind(organization)
                    .bind(id.as_uuid())
                    .execute(&mut *connection)
                    .await?;
                }
                // Whoever became the owner meanwhile stays it.
                let done = sqlx::query(
                    "UPDATE users SET role = $1, updated_at = $2 WHERE id = $3 AND (role <> 'owner' OR $1 = 'owner')",
                )
                    .bind(role.as_str())
                    .bind(micros(at))
                    .bind(id.as_uuid())
                    .execute(&mut *connection)
                    .await?;
                let done = changed(done.rows_affected());
                if done && role == OrganizationRole::Owner {
                    // An administrator may have it, who may set a member's password but not the owner's.
                    sqlx::query("DELETE FROM setup_secrets WHERE user_id = $1")
                        .bind(id.as_uuid())
                        .execute(connection)
                        .await?;
                }
                Ok(done)
            })
        })
        .await
    }

    async fn set_password(
        &self,
        id: UserId,
        hash: &str,
        keep: Option<Uuid>,
        at: OffsetDateTime,
    ) -> Stored<bool> {
        let hash = hash.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                // First, so that no token comes in from a rotation that waits for its user.
                let done = sqlx::query("UPDATE users SET password_hash = $1, updated_at = $2 WHERE id = $3")
                    .bind(hash)
                    .bind(micros(at))
                    .bind(id.as_uuid())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("DELETE FROM refresh_tokens WHERE user_id = $1 AND ($2 IS NULL OR family <> $2)")
                    .bind(id.as_uuid())
                    .bind(keep)
                    .execute(connection)
                    .await?;
                Ok(changed(done.rows_affected()))
            })
        })
        .await
    }

    async fn delete_user(&self, id: UserId, at: OffsetDateTime) -> Stored<bool> {
        self.write(move |connection| {
            Box::pin(async move {
                lock_user(connection, id).await?;
                throw_out_user(connection, id, None, at).await?;
                let done = sqlx::query("DELETE FROM users WHERE id = $1")
                    .bind(id.as_uuid())
                    .execute(connection)
                    .await?;
                Ok(changed(done.rows_affected()))
            })
        })
        .await
    }

    async fn begin_login(&self, token: &RefreshToken, password_hash: Option<&str>) -> Stored<bool> {
        let (token, password_hash) = (token.clone(), password_hash.map(str::to_owned));
        self.write(move |connection| {
            Box::pin(async move {
                // What a change of the password or a deactivation ends are the logins it sees: those that begin later are
                // refused here.
                let done = sqlx::query(
                    "UPDATE users SET last_login_at = $1 WHERE id = $2 AND is_active \
                     AND (password_hash = $3 OR (password_hash IS NULL AND $3 IS NULL))",
                )
                .bind(micros(token.created_at))
                .bind(token.user_id.as_uuid())
                .bind(password_hash)
                .execute(&mut *connection)
                .await?;
                let done = changed(done.rows_affected());
                if done {
                    insert_refresh_token(&token).execute(connection).await?;
                }
                Ok(done)
            })
        })
        .await
    }

    async fn refresh_token(&self, hash: &SecretHash, now: OffsetDateTime) -> Stored<Option<RefreshToken>> {
        sqlx::query("SELECT * FROM refresh_tokens WHERE hash = $1 AND spent_at IS NULL AND expires_at > $2")
            .bind(hash.as_slice())
            .bind(micros(now))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_refresh_token(&row))
            .transpose()
    }

    async fn rotate_refresh_token(
        &self,
        old: &SecretHash,
        new: &RefreshToken,
        now: OffsetDateTime,
    ) -> Stored<Rotation> {
        let (old, new) = (*old, new.clone());
        self.write(move |connection| {
            Box::pin(async move {
                lock_user_of_token(connection, &old).await?;
                let Some(row) = sqlx::query(
                    "SELECT user_id, spent_at FROM refresh_tokens WHERE hash = $1 AND expires_at > $2",
                )
                .bind(old.as_slice())
                .bind(micros(now))
                .fetch_optional(&mut *connection)
                .await?
                else {
                    return Ok(Rotation::Unknown);
                };
                let user = id(&row, "user_id", UserId::from_uuid)?;
                if optional_time(&row, "spent_at")?.is_some() {
                    revoke_tokens(user).execute(connection).await?;
                    return Ok(Rotation::Reused(user));
                }
                sqlx::query("UPDATE refresh_tokens SET spent_at = $1 WHERE hash = $2")
                    .bind(micros(now))
                    .bind(old.as_slice())
                    .execute(&mut *connection)
                    .await?;
                insert_refresh_token(&new).execute(connection).await?;
                Ok(Rotation::Rotated)
            })
        })
        .await
    }

    async fn end_login(&self, hash: &SecretHash) -> Stored<bool> {
        let hash = *hash;
        self.write(move |connection| {
            Box::pin(async move {
                lock_user_of_token(connection, &hash).await?;
                let done = sqlx::query(
                    "DELETE FROM refresh_tokens WHERE (user_id, family) IN \
                     (SELECT user_id, family FROM refresh_tokens WHERE hash = $1)",
                )
                .bind(hash.as_slice())
                .execute(connection)
                .await?;
                Ok(changed(done.rows_affected()))
            })
        })
        .await
    }

    async fn end_logins(&self, user: UserId) -> Stored<u64> {
        self.write(move |connection| {
            Box::pin(async move {
                lock_user(connection, user).await?;
                Ok(revoke_tokens(user).execute(connection).await?.rows_affected())
            })
        })
        .await
    }

    async fn put_setup_secret(&self, secret: &SetupSecret, for_owner: bool) -> Stored<bool> {
        let secret = secret.clone();
        self.write(move |connection| {
            Box::pin(async move {
                // Of two secrets for the same purpose, the later one waits here and wins.
                sqlx::query(concat!("SELECT id FROM organizations WHERE id = $1", for_update!()))
                    .bind(secret.organization_id.as_uuid())
                    .fetch_optional(&mut *connection)
                    .await?;
                let user = secret.user_id.map(|id| *id.as_uuid());
                let owner = sqlx::query("SELECT 1 FROM users WHERE id = $1 AND role = 'owner'").bind(user);
                if !for_owner && owner.fetch_optional(&mut *connection).await?.is_some() {
                    return Ok(false);
                }
                sqlx::query(
                    "DELETE FROM setup_secrets WHERE organization_id = $1 \
                     AND (user_id = $2 OR ($2 IS NULL AND user_id IS NULL))",
                )
                .bind(secret.organization_id.as_uuid())
                .bind(user)
                .execute(&mut *connection)
                .await?;
                insert_setup_secret(&secret).execute(connection).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn setup_secret(&self, hash: &SecretHash, now: OffsetDateTime) -> Stored<Option<SetupSecret>> {
        sqlx::query("SELECT * FROM setup_secrets WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)")
            .bind(hash.as_slice())
            .bind(micros(now))
            .fetch_optional(self.reader())
            .await?
            .map(|row| read_setup_secret(&row))
            .transpose()
    }

    async fn create_owner(&self, secret: &SecretHash, owner: &User) -> Stored<bool> {
        let (secret, owner) = (*secret, owner.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let used = sqlx::query(
                    "DELETE FROM setup_secrets WHERE hash = $1 AND organization_id = $2 AND user_id IS NULL \
                     AND (expires_at IS NULL OR expires_at > $3)",
                )
                .bind(secret.as_slice())
                .bind(owner.organization_id.as_uuid())
                .bind(micros(owner.created_at))
                .execute(&mut *connection)
                .await?;
                if used.rows_affected() == 0 {
                    return Ok(false);
                }
                insert_user(&owner).execute(connection).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn activate_user(
        &self,
        secret: &SecretHash,
        password_hash: &str,
        name: Option<&str>,
        at: OffsetDateTime,
    ) -> Stored<bool> {
        let (secret, password_hash) = (*secret, password_hash.to_owned());
        let name = optional_text(name).map(std::borrow::Cow::into_owned);
        self.write(move |connection| {
            Box::pin(async move {
                let Some(row) = sqlx::query(concat!(
                    "SELECT id, name, email FROM users \
                     WHERE id = (SELECT user_id FROM setup_secrets WHERE hash = $1)",
                    for_update!()
                ))
                .bind(secret.as_slice())
                .fetch_optional(&mut *connection)
                .await?
                else {
                    return Ok(false);
                };
                let user = id(&row, "id", UserId::from_uuid)?;
                let used = sqlx::query(
                    "DELETE FROM setup_secrets WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)",
                )
                .bind(secret.as_slice())
                .bind(micros(at))
                .execute(&mut *connection)
                .await?;
                if used.rows_affected() == 0 {
                    return Ok(false);
                }
                let name = name.map_or_else(|| get(&row, "name"), Ok)?;
                sqlx::query(
                    "UPDATE users SET password_hash = $1, name = $2, search_text = $3, updated_at = $4 WHERE id = $5",
                )
                .bind(password_hash)
                .bind(&name)
                .bind(search_text(&[&name, get(&row, "email")?]))
                .bind(micros(at))
                .bind(user.as_uuid())
                .execute(&mut *connection)
                .await?;
                revoke_tokens(user).execute(connection).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn has_owner(&self, organization: OrganizationId) -> Stored<bool> {
        let owner = sqlx::query("SELECT 1 FROM users WHERE organization_id = $1 AND role = 'owner'")
            .bind(organization.as_uuid())
            .fetch_optional(self.reader())
            .await?;
        Ok(owner.is_some())
    }
}

pub(super) fn insert_user(user: &User) -> Query {
    sqlx::query(
        "INSERT INTO users (id, organization_id, email, name, role, password_hash, avatar_url, is_active, \
         last_login_at, created_at, updated_at, search_text) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(user.id.as_uuid())
    .bind(user.organization_id.as_uuid())
    .bind(text(&user.email))
    .bind(text(&user.name))
    .bind(user.role.as_str())
    .bind(user.password_hash.as_deref())
    .bind(optional_text(user.avatar_url.as_deref()))
    .bind(user.is_active)
    .bind(user.last_login_at.map(micros))
    .bind(micros(user.created_at))
    .bind(micros(user.updated_at))
    .bind(search_text(&[&user.name, &user.email]))
}

fn insert_refresh_token(token: &RefreshToken) -> Query {
    sqlx::query(
        "INSERT INTO refresh_tokens (hash, user_id, family, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(token.hash.as_slice())
    .bind(token.user_id.as_uuid())
    .bind(token.family)
    .bind(micros(token.created_at))
    .bind(micros(token.expires_at))
}

fn insert_setup_secret(secret: &SetupSecret) -> Query {
    sqlx::query(
        "INSERT INTO setup_secrets (hash, organization_id, user_id, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(secret.hash.as_slice())
    .bind(secret.organization_id.as_uuid())
    .bind(secret.user_id.map(|id| *id.as_uuid()))
    .bind(micros(secret.created_at))
    .bind(secret.expires_at.map(micros))
}

fn revoke_tokens(user: UserId) -> Query {
    sqlx::query("DELETE FROM refresh_tokens WHERE user_id = $1").bind(user.as_uuid())
}

/// Whoever adds or revokes tokens of a user does it alone: otherwise one could be added that a revocation does not see.
pub(super) async fn lock_user(connection: &mut Connection, user: UserId) -> Stored<()> {
    sqlx::query(concat!("SELECT id FROM users WHERE id = $1", for_update!()))
        .bind(user.as_uuid())
        .fetch_optional(connection)
        .await?;
    Ok(())
}

/// As [`lock_user`], for the user of a refresh token, if there is such a token.
async fn lock_user_of_token(connection: &mut Connection, token: &SecretHash) -> Stored<()> {
    sqlx::query(concat!(
        "SELECT id FROM users WHERE id = (SELECT user_id FROM refresh_tokens WHERE hash = $1)",
        for_update!()
    ))
    .bind(token.as_slice())
    .fetch_optional(connection)
    .await?;
    Ok(())
}

fn read_user(row: &Row) -> Stored<User> {
    Ok(User {
        id: id(row, "id", UserId::from_uuid)?,
        organization_id: id(row, "organization_id", OrganizationId::from_uuid)?,
        email: get(row, "email")?,
        name: get(row, "name")?,
        role: named(row, "role")?,
        password_hash: get(row, "password_hash")?,
        avatar_url: get(row, "avatar_url")?,
        is_active: get(row, "is_active")?,
        last_login_at: optional_time(row, "last_login_at")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn read_refresh_token(row: &Row) -> Stored<RefreshToken> {
    Ok(RefreshToken {
        hash: hash(row, "hash")?,
        user_id: id(row, "user_id", UserId::from_uuid)?,
        family: get(row, "family")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

fn read_setup_secret(row: &Row) -> Stored<SetupSecret> {
    let user_id: Option<Uuid> = get(row, "user_id")?;
    Ok(SetupSecret {
        hash: hash(row, "hash")?,
        organization_id: id(row, "organization_id", OrganizationId::from_uuid)?,
        user_id: user_id.map(UserId::from_uuid),
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
    })
}
