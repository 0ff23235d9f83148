//! Named tokens: making, reading and revoking them.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::error::AppError;
use super::{App, Created, rules};
use crate::domain::id::{ClientId, TokenId};
use crate::domain::time::Timestamp;
use crate::domain::token::{BUILT_IN, CLIENTS_MAX, KnownToken, NewToken, Reach, Scope, Token, whole};
use crate::store::{AnswerKey, KeyedAnswer, StoreError};
use crate::wire;
use crate::wire::fields::Reading;
use crate::wire::time::UtcTime;
use crate::wire::token::{ONCE_ONLY, TokenCreated, TokenDraft, TokenList};

/// Of 32 letters: 60 bits, so that two never meet, and nobody mistakes it for the secret.
const ID_LENGTH: usize = 12;
/// Of 32 letters: 260 bits.
const SECRET_LENGTH: usize = 52;

impl App {
    /// Makes a token and shows it, which happens once: a repeat under the same key is told that there was one.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; [`AppError::Invalid`]; [`AppError::Conflict`] for a name that is taken, and when there are
    /// as many as there may be.
    pub async fn create_token(
        &self,
        caller: &Caller,
        body: &Value,
        key: Option<AnswerKey>,
    ) -> Result<Created<TokenCreated>, AppError> {
        caller.needs(Scope::Admin)?;
        let mut reading = Reading::default();
        let draft = TokenDraft::read(body, &mut reading);
        let (name, scope) = (name(draft.name.as_deref(), &mut reading), draft.scope.unwrap_or(Scope::Read));
        let reach = self.reach(&draft, scope, &mut reading).await?;
        let expires_at = expiry(draft.expires_at.as_deref(), self.now(), &mut reading);
        AppError::of_reading(&reading)?;
        let id = TokenId::from_random(&self.0.clock.random_text(ID_LENGTH));
        let shown = whole(&id, &self.0.clock.random_text(SECRET_LENGTH));
        let hash: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        let new = NewToken { id, name, scope, reach, created_by: caller.name.clone(), expires_at, hash };
        let again = reading.warnings.clone();
        let answer = key.map(|key| KeyedAnswer {
            key,
            render: Box::new(move |token: &Token| {
                let made = created(token, None, [&again[..], &[ONCE_ONLY.to_owned()]].concat());
                (201, Some(made.location), serde_json::to_vec(&made.body).unwrap_or_default())
            }),
        });
        let _alone = self.0.keyring.change().await;
        let token = self.0.store.create_token(new, answer).await?;
        tracing::info!(token.id = %token.id, token = token.name, scope = %token.scope, by = caller.name, "token made");
        let answer = created(&token, Some(shown), reading.warnings);
        self.0.keyring.add(KnownToken { token, hash }, self.0.clock.clone());
        Ok(answer)
    }

    /// All of them, the newest first.
    ///
    /// # Errors
    /// [`AppError::Forbidden`].
    pub async fn list_tokens(&self, caller: &Caller) -> Result<TokenList, AppError> {
        caller.needs(Scope::Admin)?;
        let tokens = self.0.store.list_tokens().await?;
        Ok(TokenList { tokens: tokens.iter().map(Into::into).collect() })
    }

    /// # Errors
    /// [`AppError::Forbidden`]; [`AppError::NotFound`].
    pub async fn get_token(&self, caller: &Caller, id: &str) -> Result<wire::token::Token, AppError> {
        caller.needs(Scope::Admin)?;
        Ok((&self.0.store.get_token(&token_id(id)?).await?).into())
    }

    /// From now on the token opens nothing, and what goes on with it ends. Repeatable.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; [`AppError::NotFound`].
    pub async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<wire::token::Token, AppError> {
        caller.needs(Scope::Admin)?;
        let id = token_id(id)?;
        let _alone = self.0.keyring.change().await;
        let token = self.0.store.revoke_token(&id).await?;
        self.0.keyring.take_away(&id);
        tracing::info!(token.id = %id, token = token.name, by = caller.name, "token revoked");
        Ok((&token).into())
    }

    async fn reach(
        &self,
        draft: &TokenDraft,
        scope: Scope,
        reading: &mut Reading,
    ) -> Result<Reach, AppError> {
        let Some(names) = &draft.clients else { return Ok(Reach::WHOLE) };
        if scope == Scope::Admin {
            reading.fault("/clients", "cannot be given with the scope admin, which is about all of them");
        } else if names.is_empty() || names.len() > CLIENTS_MAX {
            reading.fault(
                "/clients",
                format!("must name 1 to {CLIENTS_MAX} clients; leave it out for all of them"),
            );
        }
        let mut clients = Vec::new();
        for (index, name) in names.iter().take(CLIENTS_MAX).enumerate() {
            let found = match ClientId::parse(name) {
                Ok(id) => match self.0.store.get_client(&id).await {
                    Err(StoreError::NotFound(_)) => None,
                    client => Some(client?).filter(|client| client.deleted_at.is_none()),
                },
                Err(_) => None,
            };
            match found {
                Some(client) => clients.push(client.id),
                None => reading.fault(format!("/clients/{index}"), "is not the id of a client"),
            }
        }
        Ok(Reach::only(clients))
    }
}

fn token_id(text: &str) -> Result<TokenId, AppError> {
    TokenId::parse(text).map_err(|_| AppError::NotFound("token"))
}

fn created(token: &Token, shown: Option<String>, warnings: Vec<String>) -> Created<TokenCreated> {
    let location = format!("/tokens/{}", token.id);
    Created { location, body: TokenCreated { details: token.into(), token: shown.map(Into::into), warnings } }
}

fn name(name: Option<&str>, reading: &mut Reading) -> String {
    if name == Some(BUILT_IN) {
        reading.fault("/name", "is the name of the built-in token: take another");
    }
    rules::entry_name(name, reading)
}

fn expiry(text: Option<&str>, now: Timestamp, reading: &mut Reading) -> Option<Timestamp> {
    let Some(UtcTime(at)) = UtcTime::parse(text?) else {
        reading.fault("/expiresAt", "must be an RFC 3339 time, for example 2026-11-21T22:00:00Z");
        return None;
    };
    if at <= now {
        reading.fault("/expiresAt", "must be in the future");
    }
    Some(at)
}
