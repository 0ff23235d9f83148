//! The cookie of the dashboard: who signed in, until when, and a proof that we said so. Nothing of it is stored, so it
//! outlives a restart; it is good for as long as the token that it was given for, and worthless when the server's own
//! secret changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::app::{App, Caller};
use crate::clock::Clock;

/// A week: on a phone signing in means typing a token.
const GOOD_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Of 32 letters; tells badges of the same second apart.
const ID_LENGTH: usize = 16;
/// Badges that were given back and would still be good: each was somebody's click. Beyond it the one that ends first is
/// forgotten.
const GIVEN_BACK_MAX: usize = 10_000;

pub(super) struct Badges {
    key: Vec<u8>,
    /// With the port, which cookies do not look at: two servers on one machine are two.
    name: String,
    clock: Clock,
    /// Id and end (Unix seconds) of each that was given back.
    given_back: Mutex<HashMap<String, i64>>,
}

struct Badge<'c> {
    token: &'c str,
    /// Unix seconds.
    ends_at: i64,
    id: &'c str,
}

impl Badges {
    pub(super) fn new(secret: &SecretString, port: u16, clock: Clock) -> Self {
        let key = mac(secret.expose_secret().as_bytes(), "offshoot dashboard badge 1");
        let name = format!("offshoot-badge-{port}");
        Self { key, name, clock, given_back: Mutex::default() }
    }

    /// What to set as `Set-Cookie` for whoever has signed in.
    pub(super) fn give(&self, caller: &Caller, is_secure: bool) -> String {
        let ends_at = self.now() + i64::try_from(GOOD_FOR.as_secs()).unwrap_or(0);
        let said = format!("{}.{ends_at}.{}", caller.key(), self.clock.random_text(ID_LENGTH));
        let proof = hex::encode(mac(&self.key, &said));
        self.cookie(&format!("{said}.{proof}"), GOOD_FOR.as_secs(), is_secure)
    }

    /// Who comes with a badge that is good.
    pub(super) fn bearer(&self, headers: &HeaderMap, app: &App) -> Option<Caller> {
        let text = cookie(headers, &self.name)?;
        let badge = self.read(text)?;
        let given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        if badge.ends_at <= self.now() || given_back.contains_key(badge.id) {
            return None;
        }
        app.holder(badge.token)
    }

    /// Ends the badge; gives what to set as `Set-Cookie`.
    pub(super) fn take_back(&self, headers: &HeaderMap) -> String {
        if let Some(badge) = cookie(headers, &self.name).and_then(|text| self.read(text)) {
            let now = self.now();
            let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
            given_back.retain(|_, ends_at| *ends_at > now);
            if given_back.len() >= GIVEN_BACK_MAX {
                let first = given_back.iter().min_by_key(|(_, ends_at)| **ends_at).map(|(id, _)| id.clone());
                first.and_then(|id| given_back.remove(&id));
            }
            given_back.insert(badge.id.to_owned(), badge.ends_at);
        }
        self.cookie("", 0, false)
    }

    fn read<'c>(&self, text: &'c str) -> Option<Badge<'c>> {
        let (said, proof) = text.rsplit_once('.')?;
        let mut expected = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        expected.update(said.as_bytes());
        // in constant time
        expected.verify_slice(&hex::decode(proof).ok()?).ok()?;
        let mut parts = said.split('.');
        let badge = Badge { token: parts.next()?, ends_at: parts.next()?.parse().ok()?, id: parts.next()? };
        parts.next().is_none().then_some(badge)
    }

    fn cookie(&self, value: &str, seconds: u64, is_secure: bool) -> String {
        let secure = if is_secure { "; Secure" } else { "" };
        format!("{}={value}; Path=/ui; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", self.name)
    }

    fn now(&self) -> i64 {
        self.clock.now_ms() / 1_000
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is one");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The value of a cookie; of several of the name none, since which one is ours cannot be told.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// Whether the browser came over TLS, as far as it or the proxy before us says so. A lie makes the cookie stricter.
pub(super) fn is_secure(headers: &HeaderMap) -> bool {
    let says = |name: &str, is: fn(&str) -> bool| {
        headers.get(name).map(HeaderValue::to_str).and_then(Result::ok).is_some_and(is)
    };
    says("x-forwarded-proto", |scheme| scheme.eq_ignore_ascii_case("https"))
        || says("origin", |origin| origin.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn badges(secret: &str) -> Badges {
        Badges::new(&SecretString::from(secret), 3456, Clock::manual(1_000_000, 1))
    }

    #[test]
    fn only_what_we_said_is_read() {
        let badges = badges("a");
        let set = badges.give(&Caller::built_in(), true);
        let value = set.split_once('=').unwrap().1.split(';').next().unwrap().to_owned();
        assert!(set.contains("HttpOnly; SameSite=Strict; Secure") && set.contains("Path=/ui;"), "{set}");
        let badge = badges.read(&value).unwrap();
        assert_eq!((badge.token, badge.ends_at), ("admin", 1_000 + 7 * 86_400));
        assert!(self::badges("b").read(&value).is_none(), "the secret has changed");
        for at in 0..value.len() {
            let mut bent = value.clone().into_bytes();
            bent[at] ^= 1;
            let bent = String::from_utf8_lossy(&bent).into_owned();
            // the case of a digit of the proof says the same
            assert!(badges.read(&bent).is_none() || bent.eq_ignore_ascii_case(&value), "{bent}");
        }
        for wrong in ["", ".", "admin.9999999999.x", "admin.9999999999.x."] {
            assert!(badges.read(wrong).is_none(), "{wrong}");
        }
    }

    /// Whoever clicks for ever costs no memory for ever, and the newest ones stay given back.
    #[test]
    fn what_was_given_back_has_a_bound() {
        let badges = badges("a");
        let later = |number| (format!("x{number}"), 1_000 + i64::try_from(number).unwrap());
        badges.given_back.lock().unwrap().extend((1..=GIVEN_BACK_MAX).map(later));
        let set = badges.give(&Caller::built_in(), false);
        let pair = HeaderValue::from_str(set.split(';').next().unwrap()).unwrap();
        let last = HeaderMap::from_iter([(header::COOKIE, pair)]);
        badges.take_back(&last);
        let given_back = badges.given_back.lock().unwrap();
        assert_eq!(given_back.len(), GIVEN_BACK_MAX);
        let value = cookie(&last, &badges.name).unwrap();
        assert!(given_back.contains_key(badges.read(value).unwrap().id));
        assert!(!given_back.contains_key("x1"), "the one that ends first is forgotten");
    }

    #[test]
    fn cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; b = 2;c=3"));
        headers.append(header::COOKIE, HeaderValue::from_static("d=4; a=5"));
        assert_eq!((cookie(&headers, "c"), cookie(&headers, "d")), (Some("3"), Some("4")));
        assert_eq!((cookie(&headers, "a"), cookie(&headers, "x")), (None, None));
    }
}
