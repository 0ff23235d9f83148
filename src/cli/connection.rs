//! Which server to speak to, and with which token.
//!
//! The address: `--url`, else `OFFSHOOT_URL`, else where the local configuration would serve. The token:
//! `OFFSHOOT_TOKEN`, else the local secret; that one is given to this machine only, since whoever holds it may run
//! commands here.

use secrecy::SecretString;
use url::Url;

use super::args::Global;
use super::error::{CliError, ErrorKind};
use crate::api_client::{ApiClient, is_loopback};
use crate::config::{Config, ConfigError, Environment, Flags};
use crate::domain::phrases::edit;

/// A client of the server that the command line, the environment or the configuration names.
pub(super) fn connect(global: &Global, env: &Environment) -> Result<ApiClient, CliError> {
    let named = global.url.clone().or_else(|| env.server_url());
    let token = env.client_token();
    let (url, token) = match (named, token) {
        (Some(url), Some(token)) => (url, Some(token)),
        (Some(url), None) => {
            // what is no address is said first
            ApiClient::new(&url, None)?;
            let token = local_secret(&url, global, env)?;
            (url, Some(token))
        }
        (None, token) => {
            let config = load(global, env)?;
            let url = config.server.local_url();
            (url, token.or(config.server.secret))
        }
    };
    Ok(ApiClient::new(&url, token)?)
}

/// The local secret, for an address on this machine.
fn local_secret(url: &str, global: &Global, env: &Environment) -> Result<SecretString, CliError> {
    let here = Url::parse(url).is_ok_and(|url| is_loopback(&url));
    let no_token = || {
        CliError::new(ErrorKind::Unauthorised, format!("no token for {url}"))
            .hint("give its token", "export OFFSHOOT_TOKEN=...")
            .hint("or, for a server on this machine, its secret", "export AGENT_API_SECRET=...")
    };
    if !here {
        return Err(no_token());
    }
    load(global, env)?.server.secret.ok_or_else(no_token)
}

/// The configuration as this user's server would read it.
pub(super) fn load(global: &Global, env: &Environment) -> Result<Config, CliError> {
    Ok(Config::load(&Flags::default(), env, global.config.as_deref())?)
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let kind = ErrorKind::Configuration { exit_code: error.exit_code() };
        let told = Self::new(kind, error.to_string());
        // not `config show`, which would say the same again
        match &error.file {
            Some(file) => told.hint("mend it", edit(file)),
            None => told.hint("see what else is missing", "offshoot doctor"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Colour;

    fn connected(url: Option<&str>, variables: &[(&str, &str)]) -> Result<ApiClient, CliError> {
        let global = Global { json: false, url: url.map(str::to_owned), config: None, color: Colour::Auto };
        let home = [("HOME", "/nonexistent")];
        connect(&global, &Environment::from_pairs(home.into_iter().chain(variables.iter().copied())))
    }

    #[test]
    fn the_address_comes_from_flag_environment_configuration_in_this_order() {
        let secret = ("AGENT_API_SECRET", "0123456789abcdef0123456789abcdef");
        let url = |url, variables: &[(&str, &str)]| connected(url, variables).unwrap().base_url().to_owned();
        assert_eq!(url(None, &[secret]), "http://127.0.0.1:3456");
        assert_eq!(url(None, &[secret, ("PORT", "4000")]), "http://127.0.0.1:4000");
        let environment = [secret, ("OFFSHOOT_URL", "http://127.0.0.1:5000")];
        assert_eq!(url(None, &environment), "http://127.0.0.1:5000");
        assert_eq!(url(Some("http://localhost:6000"), &environment), "http://localhost:6000");
    }

    #[test]
    fn the_local_secret_stays_here() {
        let secret = ("AGENT_API_SECRET", "0123456789abcdef0123456789abcdef");
        let error = connected(Some("http://example.com"), &[secret]).expect_err("no token for there");
        assert_eq!(error.kind, ErrorKind::Unauthorised);
        assert!(connected(Some("http://example.com"), &[secret, ("OFFSHOOT_TOKEN", "t")]).is_ok());
        let error = connected(Some("127.0.0.1:3456"), &[secret]).expect_err("no scheme");
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}
