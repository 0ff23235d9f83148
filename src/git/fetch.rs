//! Questions to a remote, and taking over its branches.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::commit_id::CommitId;
use super::disk;
use super::error::{GitError, RemoteFailure};
use super::program::{Call, Git, Output};
use super::remote::Remote;
use super::repository::Repository;
use super::stale;
use crate::failpoint::{self, Edge};

/// Every branch of the remote, and nothing of ours: local branches belong to worktrees.
const REFSPEC: &str = "+refs/heads/*:refs/remotes/origin/*";

/// Where they are kept: nobody else writes there.
pub(super) const REMOTE_REFS: &str = "refs/remotes";

/// How a fetch was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Another fetch, recent or running at the time of the call, answered this one.
    pub shared: bool,
}

impl Git {
    /// The branch that the remote's HEAD names; `None` for an empty repository or a detached HEAD.
    ///
    /// # Errors
    /// [`GitError::Remote`], [`GitError::Deadline`].
    pub async fn default_branch(&self, remote: &Remote) -> Result<Option<String>, GitError> {
        let answer = self.ls_remote(remote, &["--symref"], "HEAD").await?;
        let symref = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.split_once('\t'));
        Ok(symref.and_then(|(target, _)| target.strip_prefix("refs/heads/")).map(str::to_owned))
    }

    /// The commit that a branch of the remote has now.
    ///
    /// # Errors
    /// [`GitError::Remote`], [`GitError::Deadline`].
    pub async fn remote_tip(&self, remote: &Remote, branch: &str) -> Result<Option<CommitId>, GitError> {
        let name = format!("refs/heads/{branch}");
        let answer = self.ls_remote(remote, &[], &name).await?;
        // The operand is a pattern that matches any tail of a name, so the name is compared again.
        let found = answer.lines().filter_map(|line| line.split_once('\t')).find(|(_, found)| *found == name);
        found.map(|(id, _)| id.parse()).transpose()
    }

    async fn ls_remote(&self, remote: &Remote, options: &[&str], pattern: &str) -> Result<String, GitError> {
        let mut args: Vec<OsString> = vec!["ls-remote".into()];
        args.extend(options.iter().map(Into::into));
        args.extend(["--".into(), remote.url().into(), pattern.into()]);
        let output = self.ask(remote, args, "ask the remote", None, self.settings().query_deadline).await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a network command whose failure is the remote's.
    async fn ask(
        &self,
        remote: &Remote,
        args: Vec<OsString>,
        step: &'static str,
        git_dir: Option<&Path>,
        deadline: Duration,
    ) -> Result<Output, GitError> {
        let mut config = self.network_config(remote.has_auth());
        config.extend(remote.auth_config());
        let no_repository = Path::new("/dev/null");
        let git_dir = Some(git_dir.unwrap_or(no_repository));
        let output = self.run(Call { step, git_dir, work_tree: None, args, config, deadline }).await?;
        if output.success {
            Ok(output)
        } else {
            Err(RemoteFailure::classify(&remote.redact(&output.stderr)).into())
        }
    }
}

impl Repository {
    /// Takes over the remote's branches and forgets those it no longer has. Calls that wait for a running fetch
    /// share its answer if it began after they did; `fresh_for` also accepts an older one of at most that age.
    ///
    /// # Errors
    /// [`GitError::Remote`], [`GitError::Tampered`], [`GitError::Deadline`].
    pub async fn fetch(&self, remote: &Remote, fresh_for: Duration) -> Result<Fetched, GitError> {
        let asked_at = Instant::now();
        let _used = self.lock.enter().await;
        let mut last_began_at = self.lock.fetch.lock().await;
        let recent =
            |began_at: Instant| began_at >= asked_at || asked_at.duration_since(began_at) < fresh_for;
        if last_began_at.is_some_and(recent) {
            return Ok(Fetched { shared: true });
        }
        let began_at = Instant::now();
        let fetched = self.fetch_unshared(remote).await?;
        *last_began_at = Some(began_at);
        Ok(fetched)
    }

    pub(super) async fn fetch_unshared(&self, remote: &Remote) -> Result<Fetched, GitError> {
        match self.fetch_once(remote).await {
            // left by a program that was killed, and every later fetch would fail on it
            Err(GitError::Remote(RemoteFailure::Other { text })) if is_lock_in_the_way(&text) => {
                tracing::warn!(%text, "stale locks are removed");
                self.blocking(|clone| {
                    sweep_locks(&clone.join(REMOTE_REFS)).map_err(GitError::io("remove stale locks"))
                })
                .await?;
                stale::outlast(&self.path, self.git.settings().stale_lock_after).await?;
                self.fetch_once(remote).await
            }
            other => other,
        }
    }

    async fn fetch_once(&self, remote: &Remote) -> Result<Fetched, GitError> {
        self.verify_untampered().await?;
        let args = [
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-auto-maintenance",
            "--no-write-fetch-head",
            "--recurse-submodules=no",
            "--",
            remote.url(),
            REFSPEC,
        ];
        let args = args.into_iter().map(OsString::from).collect();
        let deadline = self.git.settings().fetch_deadline;
        let asked = self.git.ask(remote, args, "fetch", Some(&self.path), deadline);
        failpoint::around(Edge::Fetch, asked).await?;
        Ok(Fetched { shared: false })
    }

    /// Proves that the remote's branch contains a commit: it has it as its tip, or its tip descends from it.
    ///
    /// # Errors
    /// [`GitError::Remote`], [`GitError::Tampered`], [`GitError::Deadline`].
    pub async fn is_on_remote(
        &self,
        remote: &Remote,
        branch: &str,
        commit: &CommitId,
    ) -> Result<bool, GitError> {
        let Some(tip) = self.git.remote_tip(remote, branch).await? else { return Ok(false) };
        if tip == *commit {
            return Ok(true);
        }
        self.fetch(remote, Duration::ZERO).await?;
        match self.resolve_base(branch).await? {
            Some(tip) => self.descends_from(&tip, commit).await,
            None => Ok(false),
        }
    }
}

/// What git says of the lock of one ref, and of one of its files.
fn is_lock_in_the_way(text: &str) -> bool {
    text.contains("cannot lock ref") || text.contains("': File exists")
}

/// Removes the locks below a directory of refs that only the server writes. For fetches one at a time does, so each is of a
/// dead one; a child that outlives a killed server for a moment fails, or leaves what the remote has, as this one does.
pub(super) fn sweep_locks(refs: &Path) -> std::io::Result<usize> {
    let mut swept = 0;
    let mut open = vec![refs.to_owned()];
    while let Some(dir) = open.pop() {
        if !disk::is_real_dir(&dir) {
            continue;
        }
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if disk::is_real_dir(&path) {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "lock") {
                disk::remove_any(&path)?;
                swept += 1;
            }
        }
    }
    Ok(swept)
}
