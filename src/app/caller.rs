//! Who asks, and what he may.

use super::error::AppError;

/// What a token is good for; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every question.
    Read,
    /// Submit with safe options, and retry what it submitted.
    Submit,
    /// Any option, cancel, retry, pause, sync, redeliver, try-now.
    Operate,
    /// Clients, tokens, profiles.
    Admin,
}

impl Scope {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// The bearer of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name; `admin` for the built-in one.
    pub name: String,
    pub scope: Scope,
}

impl Caller {
    /// The bearer of the secret that the server was started with.
    #[must_use]
    pub fn built_in() -> Self {
        Self { name: "admin".to_owned(), scope: Scope::Admin }
    }

    /// # Errors
    /// [`AppError::Forbidden`] when the token's scope is narrower than `needed`.
    pub fn needs(&self, needed: Scope) -> Result<(), AppError> {
        if self.scope >= needed {
            return Ok(());
        }
        Err(AppError::Forbidden(format!(
            "this needs the scope {}, the token has {}",
            needed.as_str(),
            self.scope.as_str()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_includes_the_narrower_ones() {
        let caller = |scope| Caller { name: "ci".to_owned(), scope };
        assert!(caller(Scope::Operate).needs(Scope::Submit).is_ok());
        assert!(caller(Scope::Read).needs(Scope::Submit).is_err());
        assert!(caller(Scope::Operate).needs(Scope::Admin).is_err());
    }
}
