//! Named tokens. What opens doors with them is known outside; here is only its SHA-256.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::view::KeyedAnswer;
use super::{answers, audit, reach, rows};
use crate::domain::id::{ClientId, TokenId};
use crate::domain::time::Timestamp;
use crate::domain::token::{KnownToken, NewToken, REVOKED_KEPT_MAX, Reach, Scope, TOKENS_MAX, Token};
use crate::failpoint::Edge;

impl Store {
    /// Makes a token.
    ///
    /// # Errors
    /// [`StoreError::DuplicateToken`] for the name of one that is not revoked; [`StoreError::TooManyTokens`].
    pub async fn create_token(
        &self,
        new: NewToken,
        answer: Option<KeyedAnswer<Token>>,
    ) -> Result<Token, StoreError> {
        let now = self.moment();
        self.database
            .write(Edge::CreateToken, move |connection| {
                let token = insert(connection, now.wall, &new)?;
                audit::made(format!("/tokens/{}", token.id));
                answers::keep(connection, now, answer, &token)?;
                Ok(token)
            })
            .await
    }

    /// All of them, the newest first, [`TOKENS_MAX`] and [`REVOKED_KEPT_MAX`] revoked ones at most.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached("SELECT * FROM tokens ORDER BY number DESC")?;
                let tokens = statement.query_map([], token)?.collect::<Result<_, _>>()?;
                Ok(tokens)
            })
            .await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn get_token(&self, id: &TokenId) -> Result<Token, StoreError> {
        let id = id.clone();
        self.database.read(move |connection| get(connection, &id)).await
    }

    /// Those that are not revoked, with what they are compared with.
    ///
    /// # Errors
    /// What the database said.
    pub async fn known_tokens(&self) -> Result<Vec<KnownToken>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT * FROM tokens WHERE revoked_at IS NULL")?;
                let known = statement
                    .query_map([], |row| Ok(KnownToken { token: token(row)?, hash: row.get("hash")? }))?;
                Ok(known.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// From now on the token opens nothing. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_token(&self, id: &TokenId) -> Result<Token, StoreError> {
        let (id, now) = (id.clone(), self.now());
        self.database
            .write(Edge::RevokeToken, move |connection| {
                connection
                    .prepare_cached("UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")?
                    .execute(params![id.as_str(), now.as_ms()])?;
                let token = get(connection, &id)?;
                connection
                    .prepare_cached(
                        "DELETE FROM tokens WHERE number IN (SELECT number FROM tokens WHERE revoked_at IS NOT NULL
                         ORDER BY revoked_at DESC, number DESC LIMIT -1 OFFSET ?1)",
                    )?
                    .execute([i64::try_from(REVOKED_KEPT_MAX).unwrap_or(i64::MAX)])?;
                Ok(token)
            })
            .await
    }

    /// Writes down when a token was used last. One that is gone is nobody's matter.
    ///
    /// # Errors
    /// What the database said.
    pub async fn note_token_use(&self, id: &TokenId, at: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.database
            .write(Edge::NoteTokenUse, move |connection| {
                connection
                    .prepare_cached("UPDATE tokens SET last_used_at = ?2 WHERE id = ?1")?
                    .execute(params![id.as_str(), at.as_ms()])?;
                Ok(())
            })
            .await
    }
}

fn get(connection: &Connection, id: &TokenId) -> Result<Token, StoreError> {
    connection
        .prepare_cached("SELECT * FROM tokens WHERE id = ?1")?
        .query_row([id.as_str()], token)
        .optional()?
        .ok_or(StoreError::NotFound("token"))
}

fn insert(connection: &Connection, now: Timestamp, new: &NewToken) -> Result<Token, StoreError> {
    let (same, all): (usize, usize) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE name = ?1), count(*) FROM tokens WHERE revoked_at IS NULL",
        )?
        .query_row([&new.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if same > 0 {
        return Err(StoreError::DuplicateToken(new.name.clone()));
    }
    if all >= TOKENS_MAX {
        return Err(StoreError::TooManyTokens);
    }
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, name, hash, scope, clients, created_at, created_by, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            new.id.as_str(),
            new.name,
            new.hash,
            new.scope.as_str(),
            reach::list(&new.reach),
            now.as_ms(),
            new.created_by,
            new.expires_at.map(Timestamp::as_ms),
        ])?;
    get(connection, &new.id)
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let at = |column: &str| row.get::<_, Option<i64>>(column).map(|at| at.map(Timestamp::from_ms));
    let reach = match row.get::<_, Option<String>>("clients")? {
        Some(_) => {
            let ids: Vec<String> = rows::json(row, "clients")?;
            Reach::only(ids.iter().filter_map(|id| ClientId::parse(id).ok()))
        }
        None => Reach::WHOLE,
    };
    Ok(Token {
        id: rows::parsed(row, "id", |text| TokenId::parse(text).ok())?,
        name: row.get("name")?,
        scope: rows::parsed(row, "scope", Scope::parse)?,
        reach,
        created_at: Timestamp::from_ms(row.get("created_at")?),
        created_by: row.get("created_by")?,
        expires_at: at("expires_at")?,
        last_used_at: at("last_used_at")?,
        revoked_at: at("revoked_at")?,
    })
}
