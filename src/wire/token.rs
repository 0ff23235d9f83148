//! Tokens: what callers send and read. A token itself is in one answer, once.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Fields, Reading};
use super::time::UtcTime;
use crate::domain::id::ClientId;
use crate::domain::token::{self, Scope};

/// What a repeat is told in place of the token.
pub const ONCE_ONLY: &str = "the token was shown with the first answer and is kept nowhere; revoke this one and make another if it is lost";

/// A named token, without what opens doors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    pub id: String,
    /// What `submittedBy` says of its jobs.
    pub name: String,
    /// `read`, `submit`, `operate` or `admin`.
    pub scope: String,
    /// The ids of the clients that it is limited to; `null`: all.
    pub clients: Option<Vec<String>>,
    pub created_at: UtcTime,
    /// The name of the token that made it.
    pub created_by: String,
    /// From then on it opens nothing; `null`: never.
    pub expires_at: Option<UtcTime>,
    /// To the minute.
    pub last_used_at: Option<UtcTime>,
    pub revoked_at: Option<UtcTime>,
}

impl From<&token::Token> for Token {
    fn from(token: &token::Token) -> Self {
        let ids = |ids: Vec<&ClientId>| ids.into_iter().map(ToString::to_string).collect();
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            scope: token.scope.to_string(),
            clients: token.reach.clients().map(ids),
            created_at: token.created_at.into(),
            created_by: token.created_by.clone(),
            expires_at: token.expires_at.map(Into::into),
            last_used_at: token.last_used_at.map(Into::into),
            revoked_at: token.revoked_at.map(Into::into),
        }
    }
}

/// All tokens, the newest first; of the revoked ones the last 200.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    pub tokens: Vec<Token>,
}

/// A token that is shown to the one who made it, and to nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Shown(String);

impl Shown {
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Shown {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

/// The answer to a new token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    #[serde(flatten)]
    pub details: Token,
    /// What goes behind `Bearer`. It is kept nowhere: `null` in the answer to a repeat.
    #[schema(value_type = Option<String>)]
    pub token: Option<Shown>,
    pub warnings: Vec<String>,
}

/// `POST /tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "ci", "scope": "submit", "expiresAt": "2031-01-01T00:00:00Z"}))]
pub struct TokenRequest {
    /// 1 to 64 characters of a-z, 0-9, - and _, a letter or digit first; not `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `read` (when absent), `submit`, `operate` or `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// 1 to 100 ids of clients; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<String>>,
    /// RFC 3339; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A new token as it was read: types are right, rules are not checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenDraft {
    pub name: Option<String>,
    pub scope: Option<Scope>,
    pub clients: Option<Vec<String>>,
    pub expires_at: Option<String>,
}

impl TokenDraft {
    /// Reads the body of `POST /tokens`.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let draft = Self {
            name: f.text("name"),
            scope: f.word("scope", Scope::WORDS, Scope::parse),
            clients: f.texts("clients"),
            expires_at: f.text("expiresAt"),
        };
        f.finish();
        draft
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_writes_the_server_reads() {
        let request = TokenRequest {
            name: Some("ci".to_owned()),
            scope: Some("submit".to_owned()),
            clients: Some(vec!["cli-a".to_owned()]),
            expires_at: Some("2027-01-01T00:00:00Z".to_owned()),
        };
        let mut reading = Reading::default();
        let read = TokenDraft::read(&serde_json::to_value(&request).unwrap(), &mut reading);
        assert_eq!(reading, Reading::default());
        assert_eq!(
            (read.name, read.scope, read.clients),
            (request.name, Some(Scope::Submit), request.clients)
        );
        assert_eq!(read.expires_at, request.expires_at);
    }

    #[test]
    fn a_token_is_in_no_log() {
        assert!(!format!("{:?}", Shown::from("ofs_a_b".to_owned())).contains("ofs_"));
    }
}
