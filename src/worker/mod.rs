//! One attempt at a job, from a claimed row to its end: prepare, run the agent, commit, push, open the pull request.
//!
//! Promises: the line can be entered again at any point. Each phase is written before its side effect and its result
//! after it; what is found done is not done again, and above all the agent is neither run twice nor paid twice. No step
//! starts in a worktree while a process of an earlier one may live. Nothing is removed that is not proven elsewhere.
//!
//! Must not know: SQL, HTTP, how a process is supervised or a forge is spoken to; it uses the facades of `store`, `git`,
//! `agent`, `process` and `forge`.
//!
//! Fails: every way out of the line is a `halt::Halt`, which becomes a `reason.code` of the domain's table. Losing the
//! lease stops the worker without a trace. Tested: addresses, texts and sweeping beside the code, the line in `tests/it` with real git, real
//! processes and scripted agents.

mod agent_step;
mod artifacts;
mod attachments;
mod attempt;
mod branches;
mod burial;
mod chains;
mod cleanup;
mod clone_removals;
mod command_step;
mod commit;
mod copy_files;
mod file_globs;
mod halt;
mod inside;
mod inward;
mod limits;
mod mend;
mod output;
mod prepare;
mod program;
mod publish;
mod remotes;
mod replay;
mod resume;
mod runner;
mod scan;
mod secrets;
mod step_end;
mod steps;
mod strangers;
mod supervise;
mod text;
mod told;
mod turns;
mod unowned;
mod usage;
mod verify;
mod version;
mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::agent_kind::AgentKind;
use crate::domain::client::Client;
use crate::domain::id::JobId;
use crate::domain::options::{EffectiveOptions, RunOptions};
use crate::domain::policy::ChangePolicy;
use crate::domain::retention::Kept;
use crate::forge::Forge;
use crate::git::{Author, Git, GitError, KeepCaps, Repository, RepositoryLocks};
use crate::process::Launcher;
use crate::secrets::Scanner;
use crate::store::Store;
use chains::Chains;
use version::Versions;

pub use cleanup::{Swept, empty_trash, old_trash, sweep_worktree_of, sweep_worktrees};
pub use clone_removals::{
    RemovalError, bundle_unpublished, chains_with_worktree, finish_clone_removals, release_worktrees,
    unpublished_work,
};
pub use inside::IsolationSettings;
pub use limits::StepLimits;
pub use output::{AgentStep, agent_output, agent_tail};
pub use program::{ProgramLook, ask_program, find_program, look_at_program, native_command, spoken_command};
pub use remotes::{Remotes, forge_name};
pub use runner::Runner;
pub use strangers::{UnknownWorktree, stop_strangers, unknown_worktrees};
pub use unowned::{UnknownClone, remove_unowned_clones, unknown_clones};
pub use visit::{PutOut, end_visit, is_tampered_with, put_out, unpublishable};

/// One `[agents.<name>]` entry.
#[derive(Clone, Debug)]
pub struct AgentEntry {
    pub kind: AgentKind,
    /// Program and arguments of its own.
    pub command: Vec<String>,
    /// Names passed through from the server's environment.
    pub env: Vec<String>,
    pub set_env: BTreeMap<String, SecretString>,
}

/// What the owner decided about attempts.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    pub repos_dir: PathBuf,
    pub worktrees_dir: PathBuf,
    /// What `copyFiles` copies, `<org>/<repo>` below it.
    pub files_dir: PathBuf,
    /// For the bundles of unpublished work, when a clone goes.
    pub data_dir: PathBuf,
    /// For the control sockets of the steps.
    pub run_dir: PathBuf,
    pub author: Author,
    /// Globs of branches that are never pushed to, beside the default branch.
    pub protected_branches: Vec<String>,
    pub policy: ChangePolicy,
    /// Looks for secrets in what is to be pushed.
    pub scanner: Arc<Scanner>,
    pub agents: BTreeMap<String, AgentEntry>,
    /// What `setEnv` can name.
    pub secrets: BTreeMap<String, SecretString>,
    /// The weakest layer of run options.
    pub defaults: RunOptions,
    /// The variables that any agent may be given: the part of the server's environment that entries can name.
    pub environment: BTreeMap<OsString, OsString>,
    pub step_limits: StepLimits,
    /// Between interrupt, terminate and kill of a step.
    pub stop_grace: Duration,
    /// How long a worktree stays after the end of its job.
    pub worktree_kept: Kept,
    /// Of the files that a job keeps.
    pub artifact_caps: KeepCaps,
    /// GitHub refuses larger files; a result with one fails before the push.
    pub file_bytes_max: u64,
    /// The agents will run as user 0.
    pub as_root: bool,
    pub isolation: IsolationSettings,
}

/// What workers share. Cheap to clone.
#[derive(Clone)]
pub struct Worker(Arc<Tools>);

struct Tools {
    store: Store,
    git: Git,
    locks: RepositoryLocks,
    forge: Option<Arc<dyn Forge>>,
    remotes: Remotes,
    launcher: Launcher,
    clock: Clock,
    settings: WorkerSettings,
    chains: Chains,
    versions: Versions,
}

/// How the outside reaches into a running attempt.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Somebody wants the job to end.
    pub cancel: CancellationToken,
    /// The server is leaving: finish the git or forge step under way, leave agents to their shims.
    pub shutdown: CancellationToken,
    /// The server is leaving and takes its agents along.
    pub stop_agents: CancellationToken,
}

impl Worker {
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "the composition root hands in each part once")]
    pub fn new(
        store: Store,
        git: Git,
        locks: RepositoryLocks,
        forge: Option<Arc<dyn Forge>>,
        remotes: Remotes,
        launcher: Launcher,
        clock: Clock,
        settings: WorkerSettings,
    ) -> Self {
        let (chains, versions) = (Chains::default(), Versions::default());
        Self(Arc::new(Tools {
            store,
            git,
            locks,
            forge,
            remotes,
            launcher,
            clock,
            settings,
            chains,
            versions,
        }))
    }

    /// The agent that works where neither a job nor its client names one.
    #[must_use]
    pub fn usual_agent(&self) -> String {
        EffectiveOptions::resolve(self.0.settings.defaults.clone(), false).agent
    }
}

impl Tools {
    fn repository(&self, client: &Client) -> Result<Repository, GitError> {
        let (org, repo) = client.repository.key();
        Repository::new(
            self.git.clone(),
            self.settings.repos_dir.join(org).join(format!("{repo}.git")),
            &self.locks,
        )
    }

    /// One path per chain, so that retries and follow-ups meet what was left there.
    fn worktree_path(&self, client: &Client, root: &JobId) -> PathBuf {
        let (org, repo) = client.repository.key();
        self.settings.worktrees_dir.join(org).join(repo).join(root.as_str())
    }

    /// The variables of the server that an agent may see: those its kind needs and those the owner names.
    fn passed_on(&self, names: &BTreeSet<String>) -> BTreeMap<String, String> {
        let text = |value: &OsString| value.to_str().map(str::to_owned);
        self.settings
            .environment
            .iter()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .filter(|(name, _)| names.contains(name))
            .collect()
    }
}
