//! A named token: what it is good for, whose jobs it sees, and how long.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::id::{ClientId, TokenId};
use super::named::named_enum;
use super::time::Timestamp;

/// Tokens that are not revoked: all of them are known by heart and listed at once.
pub const TOKENS_MAX: usize = 200;
/// Revoked tokens that stay in the list, the newest ones.
pub const REVOKED_KEPT_MAX: usize = 200;
/// Clients that one token can be limited to; whoever needs more needs a token without a limit.
pub const CLIENTS_MAX: usize = 100;
/// What every token begins with, so that scanners of secrets find one that has got out.
pub const TOKEN_PREFIX: &str = "ofs_";
/// The name of the built-in token, which no other can have.
pub const BUILT_IN: &str = "admin";

named_enum! {
    /// What a token is good for; each includes the ones before it.
    Scope {
        /// Every question.
        Read = "read",
        /// Submit with safe options, follow up and retry what it submitted.
        Submit = "submit",
        /// Any option, cancel, retry, pause, sync, redeliver, try-now.
        Operate = "operate",
        /// Clients, tokens, profiles.
        Admin = "admin",
    }
}

impl Scope {
    /// Whether whoever has this one may do what needs `other`.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self.rank() >= other.rank()
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Submit => 1,
            Self::Operate => 2,
            Self::Admin => 3,
        }
    }
}

/// The clients that somebody sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach(Option<Arc<BTreeSet<ClientId>>>);

impl Reach {
    /// All there are and all that come.
    pub const WHOLE: Self = Self(None);

    /// These alone.
    #[must_use]
    pub fn only(clients: impl IntoIterator<Item = ClientId>) -> Self {
        Self(Some(Arc::new(clients.into_iter().collect())))
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_none()
    }

    #[must_use]
    pub fn has(&self, client: &ClientId) -> bool {
        self.0.as_ref().is_none_or(|clients| clients.contains(client))
    }

    /// `None`: all.
    #[must_use]
    pub fn clients(&self) -> Option<Vec<&ClientId>> {
        self.0.as_ref().map(|clients| clients.iter().collect())
    }
}

/// A named token, without what opens doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    /// As `options::is_entry_name` has it; what `submittedBy` says.
    pub name: String,
    pub scope: Scope,
    pub reach: Reach,
    pub created_at: Timestamp,
    /// The name of the token that made it.
    pub created_by: String,
    /// From then on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// What is needed to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    pub id: TokenId,
    pub name: String,
    pub scope: Scope,
    pub reach: Reach,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the whole token, which is kept nowhere.
    pub hash: [u8; 32],
}

/// A token that may still open doors, with what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    pub token: Token,
    pub hash: [u8; 32],
}

/// The part of a token that names it and is no secret, if the text has the form of one: `ofs_<name>_<secret>`.
#[must_use]
pub fn id_within(token: &str) -> Option<TokenId> {
    let (id, secret) = token.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    if secret.is_empty() { None } else { TokenId::parse(&format!("{}{id}", TokenId::PREFIX)).ok() }
}

/// The whole token of that id and secret.
#[must_use]
pub fn whole(id: &TokenId, secret: &str) -> String {
    let id = id.as_str().trim_start_matches(TokenId::PREFIX);
    format!("{TOKEN_PREFIX}{id}_{secret}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_includes_the_narrower_ones() {
        for (wide, scope) in Scope::ALL.iter().enumerate() {
            for (narrow, other) in Scope::ALL.iter().enumerate() {
                assert_eq!(scope.includes(*other), wide >= narrow, "{scope} {other}");
            }
        }
    }

    #[test]
    fn a_token_says_which_one_it_is() {
        let id = TokenId::from_random("abc234");
        let token = whole(&id, "s3cret");
        assert_eq!((token.as_str(), id_within(&token)), ("ofs_abc234_s3cret", Some(id)));
        for other in ["", "ofs_", "ofs_abc234", "ofs_abc234_", "ofs__x", "ofs_AB_x", "abc234_x", "ofs_../x_y"]
        {
            assert_eq!(id_within(other), None, "{other}");
        }
    }

    #[test]
    fn a_reach_has_all_or_those_it_names() {
        let [a, b] = ["a", "b"].map(ClientId::from_random);
        assert!(Reach::WHOLE.has(&a) && Reach::WHOLE.is_whole());
        let only = Reach::only([a.clone()]);
        assert!(only.has(&a) && !only.has(&b) && !only.is_whole());
        assert!(!Reach::only([]).has(&a), "none is not all");
    }
}
