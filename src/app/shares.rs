//! Places of which no token may have all: what costs memory or a descriptor for as long as its caller likes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::caller::Caller;

/// How places are shared.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub places: usize,
    /// Of one named token.
    pub per_token: usize,
    /// That named tokens leave to the built-in one: its owner has to get through.
    pub kept: usize,
}

/// The places of one kind.
#[derive(Debug)]
pub struct Shares {
    rule: Rule,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Of each named token that has any, by its key.
    named: HashMap<String, usize>,
}

/// One place, for as long as it lives.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    /// `None`: the built-in token.
    key: Option<String>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// Named tokens have all but those that are kept for the built-in one.
    Named,
    /// The caller's token has as many as one may.
    OfToken,
}

impl Shares {
    #[must_use]
    pub fn new(rule: Rule) -> Arc<Self> {
        Arc::new(Self { rule, held: Mutex::default(), freed: Notify::new() })
    }

    /// # Errors
    /// [`Full`], at once.
    pub fn take(self: &Arc<Self>, caller: &Caller) -> Result<Share, Full> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Rule { places, per_token, kept } = self.rule;
        if held.all >= places {
            return Err(Full::All);
        }
        let key = (!caller.is_built_in()).then(|| caller.key().to_owned());
        if let Some(key) = &key {
            if held.named.get(key).is_some_and(|count| *count >= per_token) {
                return Err(Full::OfToken);
            }
            if held.named.values().sum::<usize>() >= places - kept {
                return Err(Full::Named);
            }
            *held.named.entry(key.clone()).or_default() += 1;
        }
        held.all += 1;
        Ok(Share { shares: Arc::clone(self), key })
    }

    /// As [`take`](Self::take), and waits so long for a place.
    ///
    /// # Errors
    /// [`Full`] after that time.
    pub async fn take_within(self: &Arc<Self>, caller: &Caller, within: Duration) -> Result<Share, Full> {
        let end = Instant::now() + within;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // before the look, so that nothing is missed in between
            freed.as_mut().enable();
            match self.take(caller) {
                Ok(share) => return Ok(share),
                Err(full) if timeout_at(end, freed).await.is_err() => return Err(full),
                Err(_) => {}
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= 1;
        if let Some(key) = &self.key
            && let Some(count) = held.named.get_mut(key)
        {
            *count -= 1;
            if *count == 0 {
                held.named.remove(key);
            }
        }
        drop(held);
        self.shares.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::super::caller::tests::named;
    use super::*;

    const RULE: Rule = Rule { places: 8, per_token: 4, kept: 2 };

    #[test]
    fn no_token_has_all_and_some_are_the_owners() {
        let shares = Shares::new(RULE);
        let take = |caller: &Caller| shares.take(caller);
        let (one, other, owner) = (named("one"), named("other"), Caller::built_in());
        let mut held: Vec<_> = (0..4).map(|_| take(&one).unwrap()).collect();
        assert_eq!(take(&one).unwrap_err(), Full::OfToken);
        held.extend((0..2).map(|_| take(&other).unwrap()));
        assert_eq!(take(&other).unwrap_err(), Full::Named, "two are kept");
        let mut own: Vec<_> = (0..2).map(|_| take(&owner).unwrap()).collect();
        assert_eq!(take(&owner).unwrap_err(), Full::All);
        assert_eq!(take(&other).unwrap_err(), Full::All, "whoever has them");
        own.pop();
        assert_eq!(take(&other).unwrap_err(), Full::Named, "still kept");
        own.push(take(&owner).unwrap());
        held.pop();
        assert_eq!(take(&one).unwrap_err(), Full::OfToken);
        held.push(take(&other).unwrap());
        drop((held, own));
        assert!(shares.held.lock().unwrap().named.is_empty());
        // the owner may have all
        let all: Vec<_> = (0..8).map(|_| take(&owner).unwrap()).collect();
        assert_eq!((all.len(), take(&owner).unwrap_err()), (8, Full::All));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for() {
        let shares = Shares::new(RULE);
        let caller = named("one");
        let mut held: Vec<_> = (0..4).map(|_| shares.take(&caller).unwrap()).collect();
        let within = Duration::from_secs(1);
        assert_eq!(shares.take_within(&caller, within).await.unwrap_err(), Full::OfToken);
        let (taken, ()) = tokio::join!(shares.take_within(&caller, within), async {
            tokio::task::yield_now().await;
            held.pop();
        });
        assert!(taken.is_ok());
    }
}
