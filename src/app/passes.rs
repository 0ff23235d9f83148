//! Passes: links that let a browser in once, for whoever has a token. In memory alone, because they are over in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::TokenId;
use crate::domain::time::Timestamp;
use crate::domain::token::BUILT_IN;
use crate::wire::pass::Pass;

/// From the terminal to the browser takes seconds, also by copying; what lies about is worthless soon.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Passes at once: nobody opens so many browsers in a minute. A further one takes the place of the oldest.
const PASSES_MAX: usize = 100;
/// Of 32 letters: 200 bits.
const SECRET_LENGTH: usize = 40;

/// What has been given out and not been used: by its SHA-256.
#[derive(Default)]
pub(super) struct Passes(Mutex<HashMap<[u8; 32], Issued>>);

struct Issued {
    /// Whose it is: [`Caller::key`].
    token: String,
    expires_at: Timestamp,
}

impl Passes {
    fn give(&self, secret: &str, issued: Issued, now: Timestamp) {
        let mut passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passes.retain(|_, pass| pass.expires_at > now);
        if passes.len() >= PASSES_MAX {
            let oldest = passes.iter().min_by_key(|(_, pass)| pass.expires_at).map(|(digest, _)| *digest);
            oldest.and_then(|digest| passes.remove(&digest));
        }
        passes.insert(Sha256::digest(secret.as_bytes()).into(), issued);
    }

    /// Whose it is; it stays as it is.
    fn whose(&self, secret: &str) -> Option<String> {
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passes.get(&digest).map(|pass| pass.token.clone())
    }

    /// Whose it was; it is used up now.
    fn take(&self, secret: &str, now: Timestamp) -> Option<String> {
        // found by its digest, so the time that takes tells nothing of the text
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let pass = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest)?;
        (pass.expires_at > now).then_some(pass.token)
    }
}

impl App {
    /// A link that lets a browser in as the caller, once and within a minute. It is worth nothing any more when the token is
    /// revoked before.
    #[must_use]
    pub fn make_pass(&self, caller: &Caller) -> Pass {
        let secret = self.0.clock.random_text(SECRET_LENGTH);
        let expires_at = self.now() + GOOD_FOR;
        self.0.passes.give(&secret, Issued { token: caller.key().to_owned(), expires_at }, self.now());
        tracing::info!(by = caller.name, "a pass for the dashboard was made");
        Pass { path: format!("/ui/enter/{secret}"), expires_at: expires_at.into() }
    }

    /// The key of the token that the pass was made with ([`Caller::key`]), if there is such a pass; it stays as it is.
    #[must_use]
    pub fn key_of_pass(&self, secret: &str) -> Option<String> {
        self.0.passes.whose(secret)
    }

    /// Who comes with this pass; it opens nothing a second time.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for one that is unknown, used, or too old, and when its token is good no more.
    pub fn use_pass(&self, secret: &str) -> Result<Caller, AppError> {
        let token = self.0.passes.take(secret, self.now());
        token.and_then(|token| self.holder(&token)).ok_or(AppError::NotFound("pass"))
    }

    /// Whoever holds the token with this key, as long as it is good: [`Caller::key`] read backwards.
    #[must_use]
    pub fn holder(&self, key: &str) -> Option<Caller> {
        match key {
            BUILT_IN => Some(Caller::built_in()),
            id => self.holder_of(&TokenId::parse(id).ok()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(at_ms: i64) -> Issued {
        Issued { token: "admin".to_owned(), expires_at: Timestamp::from_ms(at_ms) }
    }

    #[test]
    fn a_pass_is_good_once_and_not_for_ever() {
        let passes = Passes::default();
        let at = Timestamp::from_ms;
        passes.give("a", issued(100), at(0));
        assert_eq!(passes.take("b", at(1)), None);
        assert_eq!(passes.take("a", at(99)).as_deref(), Some("admin"));
        assert_eq!(passes.take("a", at(99)), None);
        passes.give("a", issued(100), at(0));
        assert_eq!(passes.take("a", at(100)), None);
    }

    #[test]
    fn the_newest_passes_are_kept() {
        let passes = Passes::default();
        for number in 0..=PASSES_MAX {
            let at = i64::try_from(number).unwrap() + 10;
            passes.give(&number.to_string(), issued(at), Timestamp::from_ms(0));
        }
        assert_eq!(passes.take("0", Timestamp::from_ms(1)), None);
        assert!(passes.take("1", Timestamp::from_ms(1)).is_some());
        assert_eq!(passes.0.lock().unwrap().len(), PASSES_MAX - 1);
    }
}
