//! A remote's address and the token that opens it.

use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Where a repository is published, and how to get in.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    auth: Option<SecretString>,
}

impl Remote {
    /// `url` as git takes it, without credentials inside. `auth` is a token for http(s) addresses; it is sent as the
    /// password of the user `x-access-token`, as GitHub documents for installation and personal tokens. It is ignored
    /// for other transports, which have the user's own ssh keys.
    #[must_use]
    pub fn new(url: impl Into<String>, auth: Option<SecretString>) -> Self {
        Self { url: url.into(), auth }
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn has_auth(&self) -> bool {
        self.auth.is_some() && self.origin().is_some()
    }

    /// Settings that carry the token: one header, for this scheme, host and port only, and nothing else that could
    /// answer or redirect. They travel in the environment, never in arguments, addresses or files.
    pub(super) fn auth_config(&self) -> Vec<(String, SecretString)> {
        let (Some(token), Some(origin)) = (&self.auth, self.origin()) else { return Vec::new() };
        let pair = format!("x-access-token:{}", token.expose_secret());
        let header =
            format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        vec![
            (String::from("credential.helper"), SecretString::from("")),
            (format!("http.{origin}/.extraHeader"), SecretString::from(header)),
        ]
    }

    fn origin(&self) -> Option<String> {
        let url = Url::parse(&self.url).ok()?;
        matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
    }

    /// Replaces the token, in either of its forms, and any `user:password@` of an address.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        if let Some(token) = &self.auth
            && !token.expose_secret().is_empty()
        {
            clean = clean.replace(token.expose_secret(), "***");
        }
        for (_, value) in self.auth_config() {
            if let Some(encoded) = value.expose_secret().strip_prefix("Authorization: Basic ") {
                clean = clean.replace(encoded, "***");
            }
        }
        redact_addresses(&clean)
    }
}

/// Strips what stands between `://` and `@` inside one word.
fn redact_addresses(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let word =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"')).unwrap_or(after.len());
        let host = after[..word].rfind('@').map_or(0, |end| end + 1);
        if host > 0 {
            clean.push_str("***@");
        }
        rest = &after[host..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_scoped_to_its_origin_and_redacted_in_every_form() {
        let remote = Remote::new("https://git.example.com:8443/o/r.git", Some(SecretString::from("s3cret")));
        let config = remote.auth_config();
        assert_eq!(config[1].0, "http.https://git.example.com:8443/.extraHeader");
        assert!(!format!("{remote:?}").contains("s3cret"));
        let encoded = base64::engine::general_purpose::STANDARD.encode("x-access-token:s3cret");
        let clean = remote.redact(&format!("a s3cret b {encoded} c https://u:p@h/x d"));
        assert_eq!(clean, "a *** b *** c https://***@h/x d");
    }

    #[test]
    fn a_token_is_not_sent_over_other_transports() {
        let remote = Remote::new("git@github.com:o/r.git", Some(SecretString::from("s3cret")));
        assert!(remote.auth_config().is_empty());
        assert!(!remote.has_auth());
    }
}
