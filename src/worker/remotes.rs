//! Where a client's repository is published, and with which credentials.

use std::sync::Arc;

use url::Url;

use crate::domain::client::{Client, RepositoryName};
use crate::forge::{self, Forge, ForgeError};
use crate::git::Remote;

/// Knows the remote of every client. Cheap to clone.
#[derive(Clone)]
pub struct Remotes {
    pattern: String,
    forge_host: Option<String>,
    forge: Option<Arc<dyn Forge>>,
}

impl Remotes {
    /// `pattern` has `{org}` and `{repo}` to fill in. `forge_host` is the host whose http(s) clones take the forge's
    /// credential, with its port where that is not the scheme's own.
    #[must_use]
    pub fn new(pattern: String, forge_host: Option<String>, forge: Option<Arc<dyn Forge>>) -> Self {
        Self { pattern, forge_host, forge }
    }

    /// The client's own `cloneUrl`, else the configured pattern; with the forge's credential where it is the forge's.
    ///
    /// # Errors
    /// When the forge has to be asked for a credential and does not give one.
    pub async fn of(&self, client: &Client) -> Result<Remote, ForgeError> {
        self.of_repository(&client.repository, client.clone_url.as_deref()).await
    }

    /// As [`Self::of`], for a repository that is not registered yet.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub async fn of_repository(
        &self,
        name: &RepositoryName,
        clone_url: Option<&str>,
    ) -> Result<Remote, ForgeError> {
        let url = self.url(name, clone_url);
        match &self.forge {
            Some(forge) if self.is_forge(&url) => {
                let credential = forge.git_credential(&forge_name(name)).await?;
                Ok(Remote::new(url, credential))
            }
            _ => Ok(Remote::new(url, None)),
        }
    }

    #[must_use]
    pub fn url(&self, name: &RepositoryName, clone_url: Option<&str>) -> String {
        clone_url.map_or_else(
            || self.pattern.replace("{org}", name.org()).replace("{repo}", name.repo()),
            str::to_owned,
        )
    }

    /// The credential is for the forge's own host only, whatever a client's `cloneUrl` says.
    fn is_forge(&self, url: &str) -> bool {
        let (Ok(url), Some(forge_host)) = (Url::parse(url), &self.forge_host) else { return false };
        let Some(host) = url.host_str() else { return false };
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        matches!(url.scheme(), "http" | "https") && host.eq_ignore_ascii_case(forge_host)
    }
}

/// The forge's name of a repository.
#[must_use]
pub fn forge_name(name: &RepositoryName) -> forge::RepositoryName {
    forge::RepositoryName { org: name.org().to_owned(), repo: name.repo().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_goes_to_the_forge_alone() {
        let pattern = "https://github.com/{org}/{repo}.git".to_owned();
        let remotes = Remotes::new(pattern, Some("github.com".to_owned()), None);
        let name = RepositoryName::parse("acme", "w").unwrap();
        assert_eq!(remotes.url(&name, None), "https://github.com/acme/w.git");
        assert!(remotes.is_forge("https://github.com/acme/w.git"));
        for other in
            ["https://github.com.evil/x", "https://github.com:8443/x", "git@github.com:a/b", "/srv/a.git"]
        {
            assert!(!remotes.is_forge(other), "{other}");
        }
    }
}
