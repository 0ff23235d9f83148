//! What the steps of an attempt run inside of: decided once at its beginning, put together anew for each step.
//!
//! Promises: the words of the walls before each command, or none where there are to be none; what the agent needs of its own is there
//! (`own.rs`), and what the server or the owner runs outside of the walls cannot be changed from inside. Must not know: how walls are
//! put up. Fails: closed, as `sandbox_unavailable` with the reason. Tested: `tests/it/life_sandbox.rs`.

mod given;
mod own;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::given::Given;
use super::attempt::Line;
use super::halt::{Halt, Step};
use super::{Tools, find_program};
use crate::agent::registry::find_agent;
use crate::agent::{Agent, OwnPlaces};
use crate::domain::agent_kind::AgentKind;
use crate::domain::options::{Isolation, Network, RunOptions};
use crate::domain::reason::ReasonCode;
use crate::git::{GitError, Shadow};
use crate::isolation::{Bind, Found, Inside, Sandbox, closed, hidden, sockets, wrapper};

/// Where programs look for their own places.
const VARIABLES: &[&str] = &[
    "HOME",
    "PATH",
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
];

/// What the server runs itself, outside of all walls, on every machine.
const RUN_OUTSIDE: &[&str] = &["git", "git-lfs", "gh", "bwrap", "systemd-run", "systemctl"];

/// Why an attempt that an earlier server began does not go on where no job may have a network.
const BEGAN_WITHOUT: &str = "The attempt began without the sandbox, and policy.network is \"deny\" by now: none of its programs \
    is started any more, and a new job runs inside";

/// The same where none may run outside of the sandbox.
const BEGAN_OUTSIDE: &str = "The attempt began without the sandbox, and policy.isolation is \"sandbox\" by now: none of its \
    programs is started any more, and a new job runs inside";

/// What the owner decided about sandboxes.
#[derive(Clone, Debug, Default)]
pub struct IsolationSettings {
    pub sandbox: Arc<Sandbox>,
    /// The server's own places, and what the owner hides besides.
    pub hidden: Vec<PathBuf>,
    /// What the owner lends.
    pub lent: Vec<Bind>,
    /// No job may have a network.
    pub denies_network: bool,
    /// No program of a job runs outside of the sandbox.
    pub always: bool,
    /// Programs and scripts, besides those of agents and of git, that are run outside of all walls.
    pub run_outside: Vec<String>,
}

/// In what an attempt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walls {
    pub(super) sandboxed: bool,
    network: bool,
}

impl Walls {
    /// As it is stored with the attempt.
    pub(super) fn as_str(self) -> &'static str {
        if self.sandboxed { "sandbox" } else { "none" }
    }
}

impl Tools {
    /// By the options of an attempt that begins. Where no network is wanted there has to be a sandbox, whatever they say: nothing
    /// else could hold it. The owner may want it for all.
    pub(super) async fn walls_for(&self, options: &RunOptions) -> Walls {
        let network = self.has_network(options);
        let sandboxed = match options.isolation.unwrap_or(Isolation::Auto) {
            _ if !network || self.settings.isolation.always => true,
            Isolation::Sandbox => true,
            Isolation::None => false,
            Isolation::Auto => self.settings.isolation.sandbox.find().await.works(),
        };
        Walls { sandboxed, network }
    }

    /// Of an attempt that an earlier server began: as it began, but for a network that the owner has taken away since.
    pub(super) fn walls_of(&self, isolation: &str, options: &RunOptions) -> Walls {
        Walls { sandboxed: isolation == "sandbox", network: self.has_network(options) }
    }

    fn has_network(&self, options: &RunOptions) -> bool {
        !self.settings.isolation.denies_network && options.network != Some(Network::Deny)
    }

    fn run_outside(&self) -> Outside {
        let path = self.settings.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let commands = self.settings.agents.values().flat_map(|entry| &entry.command);
        // a script is a word behind the program that reads it
        let others = self.settings.isolation.run_outside.iter();
        let words = commands.chain(others).map(String::as_str).chain(RUN_OUTSIDE.iter().copied());
        let found = words.filter_map(|word| {
            let file =
                find_program(word, &path).or_else(|| word.contains('/').then(|| PathBuf::from(word)))?;
            // and a directory behind it is what it works in, which its owner may have lent
            (file.is_absolute() && !file.is_dir()).then_some(file)
        });
        Outside {
            programs: found.collect(),
            dirs: std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect(),
        }
    }

    /// The variables that lead programs to their places, as a step has them, or as the server has.
    fn variables(&self, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let of_server =
            |name: &str| self.settings.environment.get(OsStr::new(name))?.to_str().map(str::to_owned);
        let find = |name: &str| env.get(name).cloned().or_else(|| of_server(name));
        VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), find(name)?))).collect()
    }
}

impl Line<'_> {
    /// Says in the job's own words what it runs in, and why; nothing where the owner has switched it off.
    pub(super) async fn tell_walls(&self) -> Step<()> {
        let network = if self.walls.network { "" } else { ", without a network" };
        match self.tools.settings.isolation.sandbox.known() {
            Some(Found::Works { version, .. }) if self.walls.sandboxed => {
                self.say(&format!("its programs run in a sandbox ({version}){network}")).await
            }
            Some(Found::Fails { why })
                if self.options.isolation == Isolation::Auto && !self.walls.sandboxed =>
            {
                self.say(&format!("its programs run without a sandbox: {why}")).await
            }
            _ => Ok(()),
        }
    }

    /// What stands before the command of a step that begins in the worktree; empty without a sandbox.
    pub(super) async fn wrapper(
        &self,
        worktree: &Path,
        env: &BTreeMap<String, String>,
        program: &str,
    ) -> Step<Vec<String>> {
        let unavailable = |why: &str| Halt::fault(ReasonCode::SandboxUnavailable, &format!("{why}."));
        match (self.walls.sandboxed, self.walls.network) {
            (true, _) => {}
            // it began before the owner put all behind the walls
            (false, _) if self.tools.settings.isolation.always => return Err(unavailable(BEGAN_OUTSIDE)),
            (false, true) => return Ok(Vec::new()),
            // it began before the owner took the network away, and nothing else could hold that
            (false, false) => return Err(unavailable(BEGAN_WITHOUT)),
        }
        // of one before it whose end nobody has seen
        self.take_back().await?;
        let settings = &self.tools.settings.isolation;
        let (bwrap, line, filter) = match settings.sandbox.find().await {
            Found::Works { program, line, filter, .. } => (program, line, filter),
            Found::Fails { why } => return Err(unavailable(&why)),
        };
        let shadow = match self.tools.repository(&self.client)?.lend_unless(worktree, &self.give_up()).await {
            Err(GitError::GivenUp) => return Err(self.given_up()),
            lent => lent?,
        };
        let variables = self.tools.variables(env);
        let path = variables.get("PATH").map_or("", String::as_str);
        let (entry, agent) = self.agent()?;
        // one that is spoken for is started in there by the program of the step
        let programs = [Some(program), entry.command.first().map(String::as_str)];
        let room = Room {
            bwrap,
            line,
            filter,
            worktree: worktree.to_owned(),
            shadow,
            attachments: self.tools.store.logs().attachments_dir(self.lease.job),
            programs: programs
                .into_iter()
                .flatten()
                .filter_map(|name| find_program(name, OsStr::new(path)))
                .collect(),
            command: entry.command.clone(),
            outside: self.tools.run_outside(),
            agent,
            variables,
            settings: settings.clone(),
            network: self.walls.network,
            as_root: self.tools.settings.as_root,
        };
        let file = self.given_file();
        let prepare = move || -> Result<Vec<String>, String> {
            let (words, given) = room.wrapper()?;
            given.write(&file)?;
            Ok(words)
        };
        match tokio::task::spawn_blocking(prepare).await {
            Ok(Ok(words)) => Ok(words),
            Ok(Err(why)) => Err(unavailable(&why)),
            Err(error) => Err(Halt::internal("the sandbox cannot be put together", error)),
        }
    }
}

impl Line<'_> {
    /// Where it is written down what the step under way was given.
    fn given_file(&self) -> PathBuf {
        self.tools.store.logs().attempt_dir(self.lease.job, self.lease.attempt).join("given")
    }

    /// After a step has ended and nobody of it is left.
    pub(super) async fn take_back(&self) -> Step<()> {
        let (file, (_, agent)) = (self.given_file(), self.agent()?);
        let said = tokio::task::spawn_blocking(move || Given::take_back(&file, agent)).await;
        for text in
            said.map_err(|error| Halt::internal("what a step was given cannot be taken back", error))?
        {
            self.warn(&text).await?;
        }
        Ok(())
    }
}

/// What the server runs outside of the walls, by itself or for an agent that it asks about its version and login.
struct Outside {
    programs: Vec<PathBuf>,
    /// Where it looks for programs.
    dirs: Vec<PathBuf>,
}

/// All that the walls of one step are made from.
struct Room {
    bwrap: PathBuf,
    /// Landlock is there.
    line: bool,
    /// System calls can be filtered.
    filter: bool,
    worktree: PathBuf,
    shadow: Shadow,
    attachments: PathBuf,
    programs: Vec<PathBuf>,
    /// Of the agent.
    command: Vec<String>,
    outside: Outside,
    agent: &'static dyn Agent,
    variables: BTreeMap<String, String>,
    settings: IsolationSettings,
    network: bool,
    as_root: bool,
}

impl Room {
    fn wrapper(&self) -> Result<(Vec<String>, Given), String> {
        let home = self.variables.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let places = self.agent.own_places_of(&self.command, &self.variables);
        let mut hidden = hidden::usual(home.as_deref(), |name| self.variables.get(name).map(PathBuf::from));
        if self.as_root {
            let home = home.as_ref().and_then(|home| home.canonicalize().ok());
            hidden.extend(closed::to_others(home.as_deref()).map_err(|error| error.to_string())?);
        }
        hidden.extend(self.settings.hidden.iter().cloned());
        hidden.extend(logins_of_others(&places, &self.variables));
        let mut gone = hidden.clone();
        gone.extend([self.worktree.clone(), self.shadow.clone.clone(), self.shadow.shadow.clone()]);
        let mut shown: Vec<PathBuf> = self.settings.lent.iter().map(|bind| bind.to.clone()).collect();
        shown.extend(places.dirs.iter().cloned().chain(home.clone()));
        let sockets = sockets::of_others(&shown, &gone).map_err(|error| error.to_string())?;
        let is_own = |path: &PathBuf| {
            places.dirs.iter().filter_map(|dir| dir.canonicalize().ok()).any(|dir| path.starts_with(dir))
        };
        let (shut, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_own);
        hidden.extend(others);
        let ((own, given), held) = (self.own(&places)?, self.held(&places)?);
        let is_there = |bind: &&Bind| bind.from.exists();
        let lent: Vec<Bind> = self.settings.lent.iter().filter(is_there).cloned().collect();
        let words = wrapper(&Inside {
            program: &self.bwrap,
            working_dir: &self.worktree,
            home: home.as_deref(),
            hidden: &hidden,
            lent: &lent,
            own: &own,
            held: &held,
            fresh: &places.fresh,
            shut: &shut,
            network: self.network,
            line: self.line,
            filter: self.filter,
        })
        .map_err(|error| error.to_string())?;
        Ok((words, given))
    }
}

/// What agents of other kinds keep: their logins are none of this one's business.
fn logins_of_others(own: &OwnPlaces, variables: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let kinds = AgentKind::ALL.iter().map(|kind| find_agent(*kind).own_places(variables));
    let of_own = |path: &PathBuf| {
        own.dirs.contains(path) || own.files.contains(path) || own.kept.iter().any(|kept| kept.path == *path)
    };
    let all = kinds.flat_map(|places| {
        let kept = places.kept.into_iter().map(|kept| kept.path);
        places.dirs.into_iter().chain(places.files).chain(kept)
    });
    all.filter(|path| !of_own(path)).collect()
}
