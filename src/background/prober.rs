//! Looks at the agents' programs and logins, so that `/health` and the doctor need not start a process, and lets a
//! job try a held login that may work again (`mended`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::mended::{Look, Watched};
use crate::app::AgentProbe;
use crate::clock::Clock;
use crate::domain::agent_kind::AgentKind;
use crate::domain::hold::Hold;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::worker::look_at_program;

/// A login seldom changes while nothing waits for it; each look starts two processes of 100 MB.
const PERIOD: Duration = Duration::from_secs(600);
/// While a login is held somebody is probably mending it.
const PERIOD_HELD: Duration = Duration::from_secs(60);

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
        let mut watched = Watched::default();
        loop {
            // before the look, so that no hold falls between
            let mut changes = self.store.watch();
            let held = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                held = self.tick(&mut watched) => held,
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
    async fn tick(&self, watched: &mut Watched) -> bool {
        let mut found = Vec::with_capacity(self.programs.len());
        for program in &self.programs {
            found.push(self.probe(program).await);
            // some take seconds to start, and what is known of the others need not wait for them
            self.found.send_if_modified(|known| {
                let is_first_look = known.len() < found.len();
                if is_first_look {
                    known.clone_from(&found);
                }
                is_first_look
            });
        }
        let Ok(accounts) = self.store.accounts().await else {
            self.found.send_replace(found);
            return false;
        };
        watched.keep(&accounts.holds);
        for hold in accounts.holds.iter().filter(|hold| hold.until.is_none()) {
            let probe = found.iter().find(|probe| probe.name == hold.login);
            if let Some(probe) = probe
                && watched.is_due(hold, &look(hold, probe))
                && self.try_again(&hold.login).await
            {
                watched.tried(&hold.login);
            }
        }
        self.found.send_replace(found);
        !accounts.holds.is_empty()
    }

    /// Has one job try the login; whether it does.
    async fn try_again(&self, login: &str) -> bool {
        match self.store.try_what_looks_mended(login).await {
            Ok(true) => {
                tracing::info!(%login, "the login looks well: one job tries it");
                true
            }
            // somebody was faster, or a probe is out
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(%error, "a hold could not be made due");
                false
            }
        }
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
            kind: program.kind,
            installed: false,
            version: None,
            version_min: None,
            authenticated: None,
            checked_at: Some(Timestamp::from_ms(self.clock.now_ms())),
        };
        let look = look_at_program(program.kind, &program.command, &program.environment).await;
        probe.version_min = look.version_min;
        probe.version = look.version;
        probe.installed = look.installed;
        probe.authenticated = look.authenticated;
        probe
    }
}

/// What the look says about that for which the login is held.
fn look(hold: &Hold, probe: &AgentProbe) -> Look {
    let is_well = match hold.reason.code {
        ReasonCode::NotLoggedIn => probe.authenticated == Some(true),
        // who has no login to ask for, like any command, is there or not
        ReasonCode::AgentMissing => probe.installed && probe.authenticated != Some(false),
        _ => false,
    };
    Look { is_well, version: probe.version.clone() }
}
