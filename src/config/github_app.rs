//! `github.app_*`: an App of GitHub in place of somebody's token.

use secrecy::{ExposeSecret as _, SecretString};

use super::error::Problem;
use super::paths::PlatformDirs;
use super::secret;
use super::values::Values;

/// One without the others says nothing.
const KEYS: [&str; 3] = ["github.app_id", "github.app_key_file", "github.app_installation_id"];

/// An App and its installation in one organisation or account.
#[derive(Clone, Debug)]
pub struct GithubApp {
    pub id: u64,
    /// RSA, in PEM form.
    pub key: SecretString,
    pub installation_id: u64,
}

/// `None` where no key of an App is set, or one of them is faulty.
pub(super) fn github_app(values: &mut Values, dirs: Option<&PlatformDirs>) -> Option<GithubApp> {
    let (set, missing): (Vec<_>, Vec<_>) = KEYS.into_iter().partition(|key| values.entry(key).is_some());
    let first = set.first()?;
    for key in &missing {
        let rule = format!("must be set too: {first} is, and an App needs its id, key and installation");
        values.problems.push(Problem::new(*key, rule));
    }
    // acting as somebody else than the one who was meant would be noticed by others only
    if let Some(token) =
        ["github.token", "github.token_file"].into_iter().find(|key| values.entry(key).is_some())
    {
        let of_app = values.entry(first).map(|entry| format!(" ({})", entry.origin)).unwrap_or_default();
        values.problem(token, format!("and {first}{of_app} are both set: keep one, a token or an App"));
        return None;
    }
    let key = secret::take(values, "github.app_key", dirs)?;
    let text = key.expose_secret();
    if !(text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----")) {
        let rule = "must name a file with a private key in PEM form, as GitHub lets you download it";
        values.problem("github.app_key_file", rule);
        return None;
    }
    let (id, installation_id) = (values.integer(KEYS[0])?, values.integer(KEYS[2])?);
    Some(GithubApp { id, key, installation_id })
}
