//! What the owner decided: one typed, checked [`Config`] out of flags, environment, systemd credentials and one file.
//!
//! Promises: every value has passed its rules before anybody sees it; each knows where it came from; all faults are
//! told at once, each with its key, its rule and what to type; a secret is a [`SecretString`] and appears nowhere
//! else. Precedence: flag, environment (a frozen name such as `PORT` before its `OFFSHOOT_` twin), credential, file,
//! default.
//!
//! Must not know: the network, the database, jobs. It prints nothing and creates nothing but, when asked by
//! [`Paths::ensure`], its directories.
//!
//! Fails with [`ConfigError`], whose exit code is 78, or 77 when only permissions are wrong.
//!
//! The keys are one table, `keys.rs`; reading, `config show`, the example file and the page in `docs/` follow it, so a
//! new key is one row there and one field in `sections.rs`. Deriving the file's shape with serde instead would stop at the first fault
//! and know neither the variables nor the origins.
//!
//! Tested in `tests/it/config*.rs` through [`Config::load`] with environments and files of the tests' own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::Value;

use crate::domain::options::{Layer, RunOptions, is_entry_name};
use crate::domain::policy::ChangePolicy;
use crate::domain::profile::{Profile, Source};
use crate::domain::template::Template;

mod agents;
mod env;
mod error;
mod example;
mod file;
mod github_app;
mod keys;
mod notify;
mod options;
mod page;
mod paths;
mod rows;
mod sandbox;
mod secret;
mod sections;
mod serving;
mod values;
mod web_url;

pub use agents::AgentEntry;
pub use env::Environment;
pub use error::{ConfigError, Problem, Warning};
pub use example::example;
pub use github_app::GithubApp;
pub use notify::NotifyEntry;
pub use page::page;
pub use paths::{Paths, PlatformDirs, SOCKET_NAME_BYTES_MAX, SOCKET_PATH_BYTES_MAX};
pub use rows::Row;
pub use sandbox::SandboxSettings;
pub use sections::{
    Callbacks, Git, Github, Limits, LogFileSettings, LogSettings, Retention, Server, SignatureStyle,
    local_url,
};
pub use serving::{TOKEN_PLACEHOLDER, how_to_add_a_secret};
pub use values::Origin;

use values::Values;

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--bind`
    pub bind: Option<String>,
    /// `--port`
    pub port: Option<u16>,
    /// `--max-concurrent-jobs`
    pub max_concurrent_jobs: Option<u32>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// Whether a server will be started, which needs a secret that is good enough for its address.
    pub serving: bool,
}

/// The whole configuration. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub paths: Paths,
    pub github: Github,
    pub git: Git,
    pub callbacks: Callbacks,
    pub policy: ChangePolicy,
    /// `[sandbox]`, and the network of `[policy]`.
    pub sandbox: SandboxSettings,
    /// Every entry that a run option may name.
    pub agents: BTreeMap<String, AgentEntry>,
    /// The weakest layer of run options.
    pub defaults: RunOptions,
    pub profiles: BTreeMap<String, Profile>,
    pub notify: BTreeMap<String, NotifyEntry>,
    /// What `set_env` of run options can name.
    pub secrets: BTreeMap<String, SecretString>,
    pub limits: Limits,
    pub retention: Retention,
    pub log: LogSettings,
    /// The configuration file, and the files that hold its secrets, as far as they are named.
    pub private_files: Vec<PathBuf>,
    rows: Vec<Row>,
    warnings: Vec<Warning>,
}

impl Config {
    /// Reads all layers. `file` is the one that the command line names; else `OFFSHOOT_CONFIG` says it, else it lies in
    /// the platform's place and may be absent.
    ///
    /// # Errors
    /// Every fault of every layer at once.
    pub fn load(flags: &Flags, env: &Environment, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut values = Values::new();
        let mut warnings = Vec::new();
        let file = Self::file(env, file);
        if let Some((path, required)) = &file {
            file::read(path, *required, &mut values);
        }
        secret::read_credentials(env, &mut values);
        env.read(&mut values, &mut warnings);
        read_flags(flags, &mut values);
        secret::look_in_usual_place(&mut values, file.as_ref().map(|(path, _)| path.as_path()));
        match build(&mut values, env.dirs(), flags.serving, warnings) {
            Some(mut config) if values.problems.is_empty() => {
                config.private_files.extend(file.map(|(path, _)| path));
                let lent = sandbox::programs_lent(&config.sandbox.write, env.get("PATH").unwrap_or_default());
                config.warnings.extend(lent.map(|text| Warning { code: "programs_lent", text }));
                Ok(config)
            }
            _ => {
                let problems = values.problems;
                let in_file = problems.iter().any(|problem| problem.source.starts_with("file, "));
                let file = file.filter(|_| in_file).map(|(path, _)| path);
                Err(ConfigError { problems, file })
            }
        }
    }

    /// The configuration file that would be read, and whether it has to exist.
    #[must_use]
    pub fn file(env: &Environment, named: Option<&Path>) -> Option<(PathBuf, bool)> {
        let said = named.map(Path::to_path_buf).or_else(|| env.get("OFFSHOOT_CONFIG").map(PathBuf::from));
        match said {
            Some(path) => Some((path, true)),
            None => env.dirs().map(|dirs| (dirs.config_file(), false)),
        }
    }

    /// The admin token for serving at the configured address.
    ///
    /// # Errors
    /// There is none, or it is too short for an address that others can reach.
    pub fn admin_secret(&self) -> Result<&SecretString, ConfigError> {
        serving::admin_secret(&self.server)
            .map_err(|problem| ConfigError { problems: vec![problem], file: None })
    }

    /// Whether the admin token is one that the server takes on loopback only.
    #[must_use]
    pub fn is_secret_weak(&self) -> bool {
        self.server.secret.as_ref().is_some_and(serving::is_short)
    }

    /// What works and should be known all the same.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Every value with its origin, secrets masked, in the order of documentation.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// The flags of `serve` that set a key, with what they were given.
fn flag_values(flags: &Flags) -> [(&'static str, &'static str, Option<Value>); 6] {
    let text = |value: &Option<String>| value.clone().map(Value::String);
    let data_dir = flags.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    [
        ("--bind", "server.bind", text(&flags.bind)),
        ("--port", "server.port", flags.port.map(|port| Value::Integer(port.into()))),
        (
            "--max-concurrent-jobs",
            "server.max_concurrent_jobs",
            flags.max_concurrent_jobs.map(|jobs| Value::Integer(jobs.into())),
        ),
        ("--data-dir", "paths.data_dir", data_dir.map(Value::String)),
        ("--log-level", "log.level", text(&flags.log_level)),
        ("--log-format", "log.format", text(&flags.log_format)),
    ]
}

fn read_flags(flags: &Flags, values: &mut Values) {
    for (name, path, value) in flag_values(flags) {
        if let (Some(value), Some(key)) = (value, keys::find(path)) {
            values.set(path, key, value, Origin::Flag(name));
        }
    }
}

/// `None` when a part without which there is no configuration at all is at fault; the problems say why.
fn build(
    values: &mut Values,
    dirs: Option<&PlatformDirs>,
    serving: bool,
    mut warnings: Vec<Warning>,
) -> Option<Config> {
    check_names(values);
    let paths = paths::build(values, dirs);
    let server = sections::server(values, dirs);
    let github = sections::github(values, dirs);
    let git = sections::git(values);
    let callbacks = sections::callbacks(values, dirs);
    let policy = sections::policy(values);
    let sandbox = sandbox::build(values, dirs);
    let secrets: BTreeMap<_, _> = values
        .names("secrets")
        .into_iter()
        .filter_map(|name| secret::take_named(values, &name, dirs).map(|secret| (name, secret)))
        .collect();
    let agents = agents::build(values, &secrets);
    let defaults = options::read(values, "defaults", Layer::Defaults);
    check_agent(values, "defaults", &defaults, &agents);
    let profiles = profiles(values, &agents);
    let notify = notify::build(values, dirs);
    serving::check((&server, github.as_ref(), &callbacks), serving, values, &mut warnings);
    serving::check_not_built(values);
    let rows = rows::build(values, &agents, paths.as_ref());
    Some(Config {
        server,
        paths: paths?,
        github: github?,
        git,
        callbacks,
        policy,
        sandbox,
        agents,
        defaults,
        profiles,
        notify,
        secrets,
        limits: sections::limits(values),
        retention: sections::retention(values),
        log: sections::log(values, dirs),
        private_files: sandbox::secret_files(values, dirs),
        rows,
        warnings,
    })
}

/// Names of the owner's choice become parts of variables, paths of keys, and answers of the API.
fn check_names(values: &mut Values) {
    for top in ["agents", "profiles", "notify", "secrets"] {
        for name in values.names(top).into_iter().filter(|name| !is_entry_name(name)) {
            let rule = "must be named with 1 to 64 characters of a-z, 0-9, - and _, a letter or digit first";
            values.problems.push(Problem::new(format!("{top}.{name}"), rule));
        }
    }
}

fn profiles(values: &mut Values, agents: &BTreeMap<String, AgentEntry>) -> BTreeMap<String, Profile> {
    let known_secrets = values.names("secrets");
    let mut profiles = BTreeMap::new();
    for name in values.names("profiles") {
        let section = format!("profiles.{name}");
        let options = options::read(values, &section, Layer::Profile);
        check_agent(values, &section, &options, agents);
        options::check_secrets(values, &section, &options, &known_secrets);
        let submit = values.bool(&format!("{section}.submit")).unwrap_or_default();
        let template = template(values, &format!("{section}.prompt"));
        let profile =
            Profile { name: name.clone(), template, options, submit, source: Source::Configuration };
        profiles.insert(name, profile);
    }
    profiles
}

fn template(values: &mut Values, key: &str) -> Option<Template> {
    let read = Template::parse(&values.text(key)?);
    read.map_err(|rule| values.problem(key, rule.to_string())).ok()
}

fn check_agent(
    values: &mut Values,
    section: &str,
    options: &RunOptions,
    agents: &BTreeMap<String, AgentEntry>,
) {
    // one that is written down and faulty has its own problem
    let is_unknown =
        |agent: &&String| !agents.contains_key(*agent) && !values.names("agents").contains(agent);
    if let Some(agent) = options.agent.as_ref().filter(is_unknown) {
        let known: Vec<&str> = agents.keys().map(String::as_str).collect();
        let rule =
            format!("names the agent {agent}, which is not configured; there are {}", known.join(", "));
        values.problem(&format!("{section}.agent"), rule);
    }
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
