//! The tokens that open doors right now, known by heart: no request reads the database to find out who asks, and a revoked
//! token is worthless at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use subtle::ConstantTimeEq as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::App;
use super::caller::{Caller, Life};
use super::error::AppError;
use crate::clock::Clock;
use crate::domain::id::TokenId;
use crate::domain::time::Timestamp;
use crate::domain::token::{KnownToken, id_within};

/// When a token was used last is written down this often at most: it is for a person who tidies up.
const NOTED_EVERY_MS: i64 = 60_000;
/// What an unknown token is compared with, so that it takes as long as a known one. No text has this digest that anybody knows.
const NOBODY: [u8; 32] = [0; 32];

#[derive(Default)]
pub(super) struct Keyring {
    keys: RwLock<HashMap<TokenId, Arc<Key>>>,
    changing: Mutex<()>,
}

struct Key {
    known: KnownToken,
    life: Arc<Life>,
    /// Unix milliseconds of the last use that was written down.
    noted_at: AtomicI64,
}

impl Key {
    fn new(known: KnownToken, clock: Clock) -> Self {
        let token = &known.token;
        let noted_at = AtomicI64::new(token.last_used_at.map_or(i64::MIN, Timestamp::as_ms));
        let revoked = CancellationToken::new();
        let life = Life { id: token.id.clone(), expires_at: token.expires_at, revoked, clock };
        Self { life: Arc::new(life), known, noted_at }
    }

    /// True when this use is to be written down; a clock that was set back starts anew.
    fn takes_note(&self, now: i64) -> bool {
        let noted = self.noted_at.load(Ordering::Relaxed);
        let is_due = noted > now || now.saturating_sub(noted) >= NOTED_EVERY_MS;
        is_due && self.noted_at.compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Keyring {
    /// To be held over a change of the stored tokens and what follows here: a revocation that came between the two would find
    /// nothing to take away, and the token be added after it.
    pub(super) async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub(super) fn add(&self, known: KnownToken, clock: Clock) {
        let key = Arc::new(Key::new(known, clock));
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.known.token.id.clone(), key);
    }

    /// Ends everything that goes on with the token.
    pub(super) fn take_away(&self, id: &TokenId) {
        let taken = self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(key) = taken {
            key.life.revoked.cancel();
        }
    }

    fn find(&self, id: &TokenId) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl App {
    /// Learns the tokens that there are. Without it only the built-in one opens anything.
    ///
    /// # Errors
    /// What the store said.
    pub async fn learn_tokens(&self) -> Result<(), AppError> {
        for known in self.0.store.known_tokens().await? {
            self.0.keyring.add(known, self.0.clock.clone());
        }
        Ok(())
    }

    /// Who comes with this token, if it is a named one that is good now; `digest` is its SHA-256.
    #[must_use]
    pub fn bearer(&self, token: &str, digest: &[u8; 32]) -> Option<Caller> {
        let key = id_within(token).and_then(|id| self.0.keyring.find(&id));
        let expected = key.as_ref().map_or(&NOBODY, |key| &key.known.hash);
        let is_same = bool::from(digest.ct_eq(expected));
        key.filter(|key| is_same && !key.life.is_over()).map(|key| self.used(&key))
    }

    /// Whoever holds the token with this id, as long as it is good.
    pub(super) fn holder_of(&self, id: &TokenId) -> Option<Caller> {
        self.0.keyring.find(id).filter(|key| !key.life.is_over()).map(|key| self.used(&key))
    }

    fn used(&self, key: &Key) -> Caller {
        let now = self.now();
        if key.takes_note(now.as_ms()) {
            self.note_use(key.known.token.id.clone(), now);
        }
        let token = &key.known.token;
        Caller::named(&token.name, token.scope, token.reach.clone(), Arc::clone(&key.life))
    }

    /// Beside the request: nobody waits for the disk because of it.
    fn note_use(&self, id: TokenId, at: Timestamp) {
        let store = self.0.store.clone();
        self.0.operations.begin(async move {
            if let Err(error) = store.note_token_use(&id, at).await {
                tracing::debug!(%error, token.id = %id, "the use of a token was not written down");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::{Reach, Scope, Token};

    #[test]
    fn a_use_is_worth_a_note_once_a_minute() {
        let token = Token {
            id: TokenId::from_random("a"),
            name: "ci".to_owned(),
            scope: Scope::Read,
            reach: Reach::WHOLE,
            created_at: Timestamp::from_ms(0),
            created_by: "admin".to_owned(),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        let key = Key::new(KnownToken { token, hash: NOBODY }, Clock::manual(0, 1));
        let uses = [(7, true), (7, false), (60_006, false), (60_007, true), (60_008, false)];
        for (at, expected) in uses {
            assert_eq!(key.takes_note(at), expected, "{at}");
        }
        assert!(key.takes_note(3), "somebody has set the clock back");
    }
}
