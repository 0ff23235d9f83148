//! Looks at the agents' programs and logins, so that `/health` and the doctor need not start a process, and lifts the
//! hold of a login that works again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::agent::{AuthState, registry};
use crate::app::AgentProbe;
use crate::clock::Clock;
use crate::domain::agent_kind::AgentKind;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::store::Store;

/// A login seldom changes while nothing waits for it; each look starts two processes of 100 MB.
const PERIOD: Duration = Duration::from_secs(600);
/// While a login is held somebody is probably mending it.
const PERIOD_HELD: Duration = Duration::from_secs(60);
/// `claude auth status` takes 0.4 s at most; ten times that and more is a hang.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// How to ask one `[agents.<name>]` entry.
#[derive(Clone, Debug)]
pub struct AgentProgram {
    pub name: String,
    pub kind: AgentKind,
    pub command: Vec<String>,
    /// What the agent itself would be given.
    pub environment: BTreeMap<OsString, OsString>,
}

/// Looks at the agents from time to time.
pub struct Prober {
    store: Store,
    clock: Clock,
    programs: Vec<AgentProgram>,
    found: watch::Sender<Vec<AgentProbe>>,
    shutdown: CancellationToken,
}

impl Prober {
    /// The second value always holds the newest findings.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        programs: Vec<AgentProgram>,
        shutdown: CancellationToken,
    ) -> (Self, watch::Receiver<Vec<AgentProbe>>) {
        let (found, findings) = watch::channel(Vec::new());
        (Self { store, clock, programs, found, shutdown }, findings)
    }

    /// Runs until told to shut down.
    pub async fn run(self) {
        loop {
            // before the look, so that no hold falls between
            let mut changes = self.store.watch();
            let held = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                held = self.tick() => held,
            };
            let period = if held { PERIOD_HELD } else { PERIOD };
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(period) => {}
                () = self.until_a_hold(&mut changes), if !held => {}
            }
        }
    }

    /// Looks at every agent; whether a login is held afterwards.
    async fn tick(&self) -> bool {
        let mut found = Vec::with_capacity(self.programs.len());
        for program in &self.programs {
            found.push(self.probe(program).await);
        }
        let Ok(accounts) = self.store.accounts().await else {
            self.found.send_replace(found);
            return false;
        };
        for hold in accounts.holds.iter().filter(|hold| hold.until.is_none()) {
            let is_mended = |probe: &AgentProbe| match hold.reason.code {
                ReasonCode::NotLoggedIn => probe.authenticated == Some(true),
                // who has no login to ask for, like any command, is there or not
                ReasonCode::AgentMissing => probe.installed && probe.authenticated != Some(false),
                _ => false,
            };
            if found.iter().any(|probe| probe.name == hold.login && is_mended(probe)) {
                tracing::info!(login = %hold.login, "the login works again");
                if let Err(error) = self.store.try_now(Some(&hold.login)).await {
                    tracing::warn!(%error, "a hold could not be lifted");
                }
            }
        }
        self.found.send_replace(found);
        !accounts.holds.is_empty()
    }

    /// Resolves when a login has become held.
    async fn until_a_hold(&self, changes: &mut tokio::sync::broadcast::Receiver<crate::store::Change>) {
        loop {
            super::next_change(changes, None, |change| change == crate::store::Change::Queue).await;
            if self.store.accounts().await.is_ok_and(|accounts| !accounts.holds.is_empty()) {
                return;
            }
        }
    }

    async fn probe(&self, program: &AgentProgram) -> AgentProbe {
        let mut probe = AgentProbe {
            name: program.name.clone(),
            kind: program.kind.as_str().to_owned(),
            installed: false,
            version: None,
            authenticated: None,
            checked_at: Some(Timestamp::from_ms(self.clock.now_ms())),
        };
        let Some(agent) = registry::find_agent(program.kind) else { return probe };
        let Some(spec) = agent.probe(&program.command) else {
            probe.installed = is_there(program);
            return probe;
        };
        let Some(version) = run(&spec.version_argv, &program.environment).await else { return probe };
        let found = (spec.parse_version)(&String::from_utf8_lossy(&version.stdout));
        probe.version = found.map(|found| found.to_string());
        probe.installed = found.is_some_and(|found| found >= spec.version_min);
        if probe.installed
            && let Some(auth) = run(&spec.auth_argv, &program.environment).await
        {
            let state = (spec.parse_auth)(auth.status.code(), &String::from_utf8_lossy(&auth.stdout));
            probe.authenticated = match state {
                AuthState::LoggedIn { .. } => Some(true),
                AuthState::NotLoggedIn => Some(false),
                AuthState::Unknown => None,
            };
        }
        probe
    }
}

/// Whether the program could be run, as the system looks for it; for what has no version to ask for.
fn is_there(program: &AgentProgram) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(name) = program.command.first() else { return false };
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return is_program(Path::new(name));
    }
    let path = program.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_program(&dir.join(name)))
}

async fn run(argv: &[String], environment: &BTreeMap<OsString, OsString>) -> Option<Output> {
    let (program, arguments) = argv.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment).current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    timeout(PROBE_MAX, command.output()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_there_when_the_system_would_find_it() {
        let program = |name: &str| AgentProgram {
            name: "x".to_owned(),
            kind: AgentKind::Command,
            command: vec![name.to_owned()],
            environment: BTreeMap::from([("PATH".into(), "/nowhere:/bin".into())]),
        };
        for (name, there) in
            [("/bin/sh", true), ("sh", true), ("/bin/none", false), ("none", false), ("/bin", false)]
        {
            assert_eq!(is_there(&program(name)), there, "{name}");
        }
    }
}
