//! Where a client's repository is published, and with which credentials.

use secrecy::SecretString;
use url::Url;

use super::settings::Settings;
use crate::domain::client::{Client, RepositoryName};
use crate::git::Remote;

/// Knows the remote of every client.
#[derive(Clone, Debug)]
pub struct Remotes {
    pattern: String,
    forge_host: Option<String>,
    token: Option<SecretString>,
}

impl Remotes {
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            pattern: settings.clone_url.clone(),
            forge_host: settings.forge_host.clone(),
            token: settings.forge_token.clone(),
        }
    }

    /// The client's own `cloneUrl`, else the configured pattern.
    #[must_use]
    pub fn of_client(&self, client: &Client) -> Remote {
        self.of(&client.repository, client.clone_url.as_deref())
    }

    #[must_use]
    pub fn of(&self, name: &RepositoryName, clone_url: Option<&str>) -> Remote {
        let url = clone_url.map_or_else(
            || self.pattern.replace("{org}", name.org()).replace("{repo}", name.repo()),
            str::to_owned,
        );
        let token = self.token.clone().filter(|_| self.is_forge(&url));
        Remote::new(url, token)
    }

    /// The token is for the forge's own host only, whatever a client's `cloneUrl` says.
    fn is_forge(&self, url: &str) -> bool {
        let (Ok(url), Some(forge_host)) = (Url::parse(url), &self.forge_host) else { return false };
        let Some(host) = url.host_str() else { return false };
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        matches!(url.scheme(), "http" | "https") && host.eq_ignore_ascii_case(forge_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_the_forge_alone() {
        let remotes = Remotes {
            pattern: "https://github.com/{org}/{repo}.git".to_owned(),
            forge_host: Some("github.com".to_owned()),
            token: Some(SecretString::from("t")),
        };
        let name = RepositoryName::parse("acme", "w").unwrap();
        assert_eq!(remotes.of(&name, None).url(), "https://github.com/acme/w.git");
        assert!(remotes.is_forge("https://github.com/acme/w.git"));
        for other in
            ["https://github.com.evil/x", "https://github.com:8443/x", "git@github.com:a/b", "/srv/a.git"]
        {
            assert!(!remotes.is_forge(other), "{other}");
        }
    }
}
