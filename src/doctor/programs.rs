//! Programs of this machine that the server relies on.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::fault::Fault;
use super::patient::Patient;
use crate::config::{GithubApp, TOKEN_PLACEHOLDER};
use crate::domain::options::Isolation;
use crate::forge::{ForgeError, GitHub, GitHubAuth, HttpLimits, gh_token, http_client};
use crate::isolation::Sandbox;
use crate::wire::doctor::Finding;
use crate::worker::{ask_program, find_program};

pub(super) fn user(patient: &Patient<'_>) -> Vec<Finding> {
    let text = |name| patient.env.get(name).map(|value| value.to_string_lossy().into_owned());
    vec![match (text("USER").or_else(|| text("LOGNAME")), text("HOME")) {
        (Some(user), Some(home)) => Finding::ok("user", format!("{user}, {home}")),
        (Some(user), None) => Finding::ok("user", user),
        (None, _) => Finding::of(Fault::UserUnknown, "USER is not set"),
    }]
}

/// `apt` is the usual one; macOS has its own.
fn installed_by(finding: Finding, on_macos: &str) -> Finding {
    if cfg!(target_os = "macos") { finding.mended_by(on_macos) } else { finding }
}

/// What a program prints when it is asked for its version; `None`: it cannot be run.
async fn version(environment: &BTreeMap<OsString, OsString>, argv: &[&str]) -> Option<String> {
    let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
    let path = environment.get(std::ffi::OsStr::new("PATH")).cloned().unwrap_or_default();
    find_program(&argv[0], &path)?;
    let output = ask_program(&argv, environment).await.filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(super) async fn git(patient: &Patient<'_>) -> Vec<Finding> {
    let install = "xcode-select --install";
    let Some(said) = version(&patient.env.for_git(), &["git", "version"]).await else {
        return vec![installed_by(Finding::of(Fault::GitMissing, "git was not found in PATH"), install)];
    };
    vec![match crate::git::new_enough(&said) {
        Ok(version) => Finding::ok("git", version),
        Err(error) => installed_by(Finding::of(Fault::GitOld, error.to_string()), install),
    }]
}

pub(super) async fn git_lfs(patient: &Patient<'_>) -> Vec<Finding> {
    vec![match version(&patient.env.for_git(), &["git-lfs", "version"]).await {
        Some(said) => Finding::ok("git_lfs", said.split(' ').next().unwrap_or_default()),
        None => {
            let detail = "not found in PATH; only repositories that use it need it";
            installed_by(Finding::of(Fault::GitLfsMissing, detail), "brew install git-lfs")
        }
    }]
}

pub(super) async fn isolation(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "isolation";
    let path = patient.env.get("PATH").unwrap_or_default().to_owned();
    let found = Sandbox::new(path).find().await;
    let wanted = patient.config().ok().and_then(|config| {
        if config.sandbox.always { Some(Isolation::Sandbox) } else { config.defaults.isolation }
    });
    // what the server says counts: it may have another PATH than whoever asks
    let said = patient.server.health();
    if let Some(health) = said.filter(|health| health.isolation == "sandbox") {
        return vec![Finding::ok(CHECK, format!("sandbox, in force: {}", health.isolation_detail))];
    }
    let health = patient.server.own_health();
    // what could be had here says nothing of a server elsewhere
    if let (Some(elsewhere), None) = (said, health) {
        return vec![Finding::ok(CHECK, format!("none, the server says: {}", elsewhere.isolation_detail))];
    }
    if !found.works() {
        return vec![match wanted {
            Some(Isolation::Sandbox) => Finding::of(Fault::SandboxDemanded, found.detail()),
            Some(Isolation::None) => Finding::ok(CHECK, "none, as defaults.isolation says"),
            _ => Finding::of(Fault::SandboxMissing, found.detail()),
        }];
    }
    vec![match (health, wanted) {
        (Some(health), _) => {
            Finding::of(Fault::SandboxNotInForce, format!("the server says: {}", health.isolation_detail))
        }
        (None, Some(Isolation::None)) => Finding::ok(CHECK, "none, as defaults.isolation says"),
        (None, _) => Finding::ok(CHECK, format!("sandbox, once the server runs: {}", found.detail())),
    }]
}

pub(super) async fn github(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "github";
    let config = match patient.config() {
        Ok(config) => config,
        Err(why) => return vec![Finding::skipped(CHECK, why)],
    };
    if config.github.has_placeholder() {
        let row = config.rows().iter().find(|row| row.key == "github.token_file");
        let named = row.map(|row| row.value.trim_matches('"').to_owned()).filter(|file| !file.is_empty());
        let usual = || patient.config_file.as_ref().map(|file| file.display().to_string());
        let file = named.or_else(usual).unwrap_or_else(|| "FILE".to_owned());
        let detail = format!("{file} still holds {TOKEN_PLACEHOLDER}: put the token in its place");
        return vec![Finding::of(Fault::TokenPlaceholder, detail).with("FILE", &file)];
    }
    let api_url = &config.github.api_url;
    if let Some(app) = &config.github.app {
        return vec![github_app(patient, api_url.as_str(), app).await];
    }
    let (token, from) = match &config.github.token {
        Some(token) => (Some(token.clone()), "configured"),
        None => (gh_token(api_url, &patient.env.for_git()).await, "of the gh program"),
    };
    let Some(token) = token else {
        let detail = format!("no token for {api_url}: jobs have to say --publish branch");
        return vec![Finding::of(Fault::TokenMissing, detail)];
    };
    if !patient.online {
        return vec![Finding::ok(CHECK, format!("a token is there, {from}; not tried (--online)"))];
    }
    vec![match try_credential(patient, api_url.as_str(), &GitHubAuth::Token(token)).await {
        Ok(()) => Finding::ok(CHECK, format!("the token, {from}, is accepted by {api_url}")),
        Err(error @ ForgeError::Auth) => Finding::of(Fault::TokenRefused, format!("{error} ({from})")),
        Err(error) => Finding::of(Fault::ForgeUnreachable, error.to_string()).with("URL", api_url.as_str()),
    }]
}

async fn github_app(patient: &Patient<'_>, api_url: &str, app: &GithubApp) -> Finding {
    const CHECK: &str = "github";
    let named = format!("App {}, installation {}", app.id, app.installation_id);
    if !patient.online {
        return Finding::ok(CHECK, format!("{named}; not tried (--online)"));
    }
    let auth = GitHubAuth::App {
        app_id: app.id,
        private_key_pem: app.key.clone(),
        installation_id: app.installation_id,
    };
    match try_credential(patient, api_url, &auth).await {
        Ok(()) => Finding::ok(CHECK, format!("{named}, is accepted by {api_url}")),
        Err(error @ (ForgeError::Auth | ForgeError::Setup { .. })) => {
            let file =
                patient.config_file.as_ref().map_or("FILE".to_owned(), |file| file.display().to_string());
            Finding::of(Fault::AppRefused, format!("{named}: {error}")).with("FILE", &file)
        }
        Err(error) => Finding::of(Fault::ForgeUnreachable, error.to_string()).with("URL", api_url),
    }
}

async fn try_credential(patient: &Patient<'_>, api_url: &str, auth: &GitHubAuth) -> Result<(), ForgeError> {
    let client = http_client(&HttpLimits::default())?;
    GitHub::new(api_url, auth, &client, patient.clock.clone())?.try_credential().await
}
