//! How the server is, from what is known already: no process is started to answer.

use super::caller::Caller;
use super::error::AppError;
use super::{App, backups};
use crate::agent::Capabilities;
use crate::agent::registry::find_agent;
use crate::domain::agent_kind::AgentKind;
use crate::domain::options::Isolation;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::wire::health::{
    AgentAbilities, AgentHealth, CallbackHealth, ClaudeHealth, Disk, Health, QueueHealth,
};

/// What the last look at one agent found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentProbe {
    /// The `[agents.<name>]` entry.
    pub name: String,
    pub kind: AgentKind,
    pub installed: bool,
    pub version: Option<String>,
    /// The oldest version that is known to work.
    pub version_min: Option<String>,
    /// `None` when it cannot be known without spending.
    pub authenticated: Option<bool>,
    pub checked_at: Option<Timestamp>,
}

impl App {
    /// # Errors
    /// What the store said.
    pub async fn health(&self, caller: &Caller) -> Result<Health, AppError> {
        let damage = self.0.store.damage();
        let read_only = damage.is_some() || *self.0.store.failure().borrow();
        // what cannot be read is not known; that it is so has to be told all the same
        let accounts = known(self.0.store.accounts_within(&caller.reach).await, read_only)?;
        let state = known(self.0.store.queue_state().await, read_only)?;
        let probes = self.0.probes.borrow().clone();
        let free_bytes = known(self.0.store.free_bytes().await, read_only)?;
        let floor_bytes = self.0.settings.disk_free_bytes_min;
        let low = free_bytes.is_some_and(|free| free < floor_bytes);
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let status = match () {
            () if self.is_draining() => "draining",
            () if read_only || low || !accounts.holds.is_empty() => "degraded",
            () => "ok",
        };
        let (isolation, isolation_detail) = self.isolation();
        let claude = probes.iter().find(|probe| probe.name == "claude");
        Ok(Health {
            status: status.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.now().since(self.0.started_at).as_secs(),
            queue: QueueHealth {
                running: count(accounts.running),
                queued: count(accounts.queued),
                max_concurrent: self.0.settings.max_concurrent_jobs,
            },
            paused: state.paused,
            claude: ClaudeHealth {
                authenticated: claude.is_some_and(|probe| probe.authenticated == Some(true)),
                version: claude.and_then(|probe| probe.version.clone()),
            },
            agents: probes.into_iter().map(shown).collect(),
            holds: accounts.holds.into_iter().map(Into::into).collect(),
            disk: Disk { free_bytes, floor_bytes },
            callbacks: CallbackHealth {
                pending: count(accounts.deliveries_pending),
                dead: count(accounts.deliveries_dead),
            },
            isolation: isolation.to_owned(),
            isolation_detail,
            database: if read_only { "read_only" } else { "ok" }.to_owned(),
            database_guide: damage.map(|damage| damage.guide.to_string()),
            newest_backup: self.0.store.backups().into_iter().next().map(backups::entry),
        })
    }

    /// What a job is kept in that says nothing about it, and why.
    fn isolation(&self) -> (&'static str, String) {
        let is_free = !self.0.settings.always_sandboxed;
        if is_free && self.0.settings.defaults.isolation == Some(Isolation::None) {
            return ("none", "defaults.isolation is none".to_owned());
        }
        match self.0.settings.sandbox.known() {
            Some(found) => (if found.works() { "sandbox" } else { "none" }, found.detail().to_owned()),
            None => ("none", "nobody has looked for a sandbox yet".to_owned()),
        }
    }

    /// Whether requests can be served: the database answers and accepts changes.
    pub async fn is_ready(&self) -> bool {
        let accepts = self.accepts_changes().is_ok() && !*self.0.store.failure().borrow();
        accepts && !self.is_draining() && self.0.store.queue_state().await.is_ok()
    }
}

fn known<T: Default>(answer: Result<T, StoreError>, read_only: bool) -> Result<T, AppError> {
    match answer {
        Err(_) if read_only => Ok(T::default()),
        answer => Ok(answer?),
    }
}

fn shown(probe: AgentProbe) -> AgentHealth {
    AgentHealth {
        name: probe.name,
        kind: probe.kind.as_str().to_owned(),
        installed: probe.installed,
        version: probe.version,
        version_min: probe.version_min,
        authenticated: probe.authenticated,
        checked_at: probe.checked_at.map(Into::into),
        can: abilities(find_agent(probe.kind).capabilities()),
    }
}

fn abilities(can: Capabilities) -> AgentAbilities {
    AgentAbilities {
        resume: can.resume,
        cost: can.cost,
        hears: can.hears.into(),
        structured_events: can.structured_events,
        tells_denials: can.tells_denials,
        options: can.options.iter().map(|name| name.camel_case().to_owned()).collect(),
        permission_modes: can.permission_modes.iter().map(|mode| mode.as_str().to_owned()).collect(),
        efforts: can.efforts.iter().map(|effort| effort.as_str().to_owned()).collect(),
    }
}
