//! Every check, in the order in which they are made and documented.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::patient::Patient;
use super::{agents, files, programs, server, service};
use crate::wire::doctor::Finding;

type Look = for<'a> fn(&'a Patient<'a>) -> BoxFuture<'a, Vec<Finding>>;

/// One check.
#[derive(Debug)]
pub struct Check {
    /// The name in answers.
    pub name: &'static str,
    /// What is looked at, in a sentence.
    pub about: &'static str,
    pub(super) look: Look,
}

/// All checks.
#[rustfmt::skip] // one row a check
pub const CHECKS: &[Check] = &[
    Check { name: "config", about: "The configuration file, the environment and their rules; a file that holds a secret and that others can read is a fault too.", look: |patient| ready(files::config(patient)) },
    Check { name: "secret", about: "Whether there is a secret for the API, and whether it is long enough.", look: |patient| ready(files::secret(patient)) },
    Check { name: "user", about: "The variables by which agents find who they work for.", look: |patient| ready(programs::user(patient)) },
    Check { name: "git", about: "The git program and its version.", look: |patient| programs::git(patient).boxed() },
    Check { name: "git_lfs", about: "The git-lfs program.", look: |patient| programs::git_lfs(patient).boxed() },
    Check { name: "agents", about: "The agent that jobs use, and those that the configuration names: program, version, login; as this shell finds them and as the running server does.", look: |patient| agents::agents(patient).boxed() },
    Check { name: "service", about: "The installed service, which sees nothing of this shell: whether the PATH that its file gives it leads to git, git-lfs, gh and the agents, as far as this shell finds them, and whether it goes on without anybody logged in.", look: |patient| ready(service::service(patient)) },
    Check { name: "isolation", about: "The sandbox: whether it works here, and whether the running server uses it.", look: |patient| programs::isolation(patient).boxed() },
    Check { name: "github", about: "The GitHub token; with --online also whether GitHub accepts it.", look: |patient| programs::github(patient).boxed() },
    Check { name: "data_dir", about: "Whether the data directory, and those of the clones, the worktrees and the files, can be written, by whom they can be read, and on which file system the first lies.", look: |patient| ready(files::data_dir(patient)) },
    Check { name: "disk", about: "The space that is free for the data directory, the clones and the worktrees.", look: |patient| ready(files::disk(patient)) },
    Check { name: "server", about: "Whether the server answers, and if not, whether it could listen.", look: |patient| server::server(patient).boxed() },
    Check { name: "queue", about: "What keeps the running server from working: a paused queue, held logins, paused clients; callbacks that were given up.", look: |patient| ready(server::queue(patient)) },
];

fn ready(findings: Vec<Finding>) -> BoxFuture<'static, Vec<Finding>> {
    std::future::ready(findings).boxed()
}
