//! Who asks, and what he may.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::AppError;
use crate::clock::Clock;
use crate::domain::id::{ClientId, TokenId};
use crate::domain::time::Timestamp;
use crate::domain::token::{BUILT_IN, Reach, Scope};

/// A stream of a token that expires ends so soon after that, whatever was done to the clock meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// The bearer of a token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's name; `admin` for the built-in one.
    pub name: String,
    pub scope: Scope,
    /// The clients that he sees.
    pub reach: Reach,
    /// `None`: the built-in token, which is good for as long as the server runs.
    life: Option<Arc<Life>>,
}

/// How long a named token is good.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) id: TokenId,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) revoked: CancellationToken,
    pub(super) clock: Clock,
}

impl Life {
    pub(super) fn is_over(&self) -> bool {
        let now = Timestamp::from_ms(self.clock.now_ms());
        self.revoked.is_cancelled() || self.expires_at.is_some_and(|end| end <= now)
    }
}

impl Caller {
    /// The bearer of the secret that the server was started with.
    #[must_use]
    pub fn built_in() -> Self {
        Self { name: BUILT_IN.to_owned(), scope: Scope::Admin, reach: Reach::WHOLE, life: None }
    }

    pub(super) fn named(name: &str, scope: Scope, reach: Reach, life: Arc<Life>) -> Self {
        Self { name: name.to_owned(), scope, reach, life: Some(life) }
    }

    /// Tells this token from every other there was, also from one of the same name: its id, or `admin`.
    #[must_use]
    pub fn key(&self) -> &str {
        self.life.as_ref().map_or(BUILT_IN, |life| life.id.as_str())
    }

    /// Whether it is the secret that the server was started with.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.life.is_none()
    }

    /// Whether the token was revoked, or has expired, since the caller came in.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.is_over())
    }

    /// Resolves when the token is revoked or has expired.
    pub async fn over(&self) {
        let Some(life) = &self.life else { return std::future::pending().await };
        while !life.is_over() {
            match life.expires_at {
                // the wall clock may be set, and a timer knows nothing of a night that the machine slept
                Some(_) => {
                    let _ = tokio::time::timeout(LOOK, life.revoked.cancelled()).await;
                }
                None => life.revoked.cancelled().await,
            }
        }
    }

    /// # Errors
    /// [`AppError::Forbidden`] when the token's scope is narrower than `needed`.
    pub fn needs(&self, needed: Scope) -> Result<(), AppError> {
        if self.scope.includes(needed) {
            return Ok(());
        }
        Err(AppError::Forbidden(format!("this needs the scope {needed}, the token has {}", self.scope)))
    }

    /// # Errors
    /// [`AppError::Forbidden`] when the token is limited to some clients.
    pub fn needs_all_clients(&self) -> Result<(), AppError> {
        if self.reach.is_whole() {
            return Ok(());
        }
        Err(AppError::Forbidden("this concerns all clients, the token is limited to some".to_owned()))
    }

    /// # Errors
    /// [`AppError::NotFound`], as for what is not there at all.
    pub(super) fn sees(&self, client: &ClientId, what: &'static str) -> Result<(), AppError> {
        if self.reach.has(client) { Ok(()) } else { Err(AppError::NotFound(what)) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bearer of a token with this key that is good for ever.
    pub(in super::super) fn named(key: &str) -> Caller {
        let mut caller = bearer(Scope::Read, None, &Clock::manual(0, 1)).0;
        if let Some(life) = caller.life.as_mut().and_then(Arc::get_mut) {
            life.id = TokenId::from_random(key);
        }
        caller
    }

    fn bearer(scope: Scope, expires_at: Option<i64>, clock: &Clock) -> (Caller, CancellationToken) {
        let revoked = CancellationToken::new();
        let life = Life {
            id: TokenId::from_random("a"),
            expires_at: expires_at.map(Timestamp::from_ms),
            revoked: revoked.clone(),
            clock: clock.clone(),
        };
        (Caller::named("ci", scope, Reach::WHOLE, Arc::new(life)), revoked)
    }

    #[test]
    fn a_scope_includes_the_narrower_ones() {
        let clock = Clock::manual(0, 1);
        let caller = |scope| bearer(scope, None, &clock).0;
        assert!(caller(Scope::Operate).needs(Scope::Submit).is_ok());
        assert!(caller(Scope::Read).needs(Scope::Submit).is_err());
        assert!(caller(Scope::Operate).needs(Scope::Admin).is_err());
        assert_eq!((Caller::built_in().key(), caller(Scope::Read).key()), ("admin", "tok-a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_over_when_it_is_revoked_and_when_its_time_has_come() {
        let clock = Clock::manual(1_000, 1);
        let (caller, revoked) = bearer(Scope::Read, None, &clock);
        assert!(!caller.is_over());
        revoked.cancel();
        caller.over().await;
        let (caller, _) = bearer(Scope::Read, Some(2_000), &clock);
        assert!(!caller.is_over());
        clock.advance_ms(1_000);
        caller.over().await;
        assert!(caller.is_over());
    }
}
