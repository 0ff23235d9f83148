//! Publishing one commit on one branch, never over what the remote was not known to have.

use std::ffi::OsString;

use super::commit_id::CommitId;
use super::error::{GitError, RemoteFailure, last_lines};
use super::program::{Call, Output};
use super::remote::Remote;
use super::repository::Repository;
use crate::failpoint::{self, Edge};

/// Whether commits of the remote branch may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    /// The pushed commit must descend from what the remote branch has.
    FastForward,
    /// The branch is to be replaced, if it still is where it was seen.
    Reset,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// The remote took the commit.
    Pushed,
    /// The remote had it already.
    AlreadyThere,
    /// The branch is no longer where it was seen; nothing was changed.
    Moved {
        /// What the remote has now, if it could be asked.
        found: Option<CommitId>,
    },
    /// The remote refused: a hook, a protected branch, a size limit.
    Rejected {
        /// The remote's words, bounded, without credentials.
        text: String,
    },
    /// The credentials were refused or may not write.
    AuthFailed,
    /// There is no such repository any more, or these credentials may not know of it.
    NoRepository,
    /// Not reachable; whether the commit arrived could not be found out. The same push may be repeated.
    Unavailable {
        /// What git said.
        text: String,
    },
}

impl Repository {
    /// Pushes `commit` to `branch`, and first the large files that it points at, if the remote branch is at `expected` (`None`: absent). Repeating it is safe.
    ///
    /// # Errors
    /// [`GitError::NotFastForward`] unless `mode` is [`PushMode::Reset`], [`GitError::CommitMissing`],
    /// [`GitError::LfsUnusable`], [`GitError::Tampered`], [`GitError::InvalidArgument`], [`GitError::Io`]. A remote's refusal is an outcome.
    pub async fn push(
        &self,
        remote: &Remote,
        commit: &CommitId,
        branch: &str,
        expected: Option<&CommitId>,
        mode: PushMode,
    ) -> Result<PushOutcome, GitError> {
        let target = format!("refs/heads/{branch}");
        if !super::refs::is_safe_name(&target) {
            return Err(GitError::InvalidArgument("not a valid branch name"));
        }
        if !self.descends_from(commit, commit).await? {
            return Err(GitError::CommitMissing(commit.clone()));
        }
        if let Some(expected) = expected
            && mode == PushMode::FastForward
            && !self.descends_from(commit, expected).await?
        {
            return Err(GitError::NotFastForward { commit: commit.clone(), expected: expected.clone() });
        }
        if let Some(outcome) = self.push_large_files(remote, commit).await? {
            return Ok(outcome);
        }
        let lease = expected.map_or("", CommitId::as_str);
        let args = [
            "push",
            "--porcelain",
            "--no-verify",
            "--no-follow-tags",
            "--recurse-submodules=no",
            "--no-signed",
            &format!("--force-with-lease={target}:{lease}"),
            "--",
            remote.url(),
            &format!("{commit}:{target}"),
        ]
        .map(OsString::from)
        .to_vec();
        let mut config = self.git.network_config(remote.has_auth());
        config.extend(remote.auth_config());
        let deadline = self.git.settings().push_deadline;
        let call = Call { step: "push", git_dir: Some(&self.path), work_tree: None, args, config, deadline };
        let answer = match failpoint::around(Edge::Push, self.git.run(call)).await {
            Ok(output) => read_answer(&output, &remote.redact(&output.stderr)),
            Err(GitError::Deadline { seconds, .. }) => {
                Answer::Unclear(format!("no answer within {seconds} s"))
            }
            Err(error) => return Err(error),
        };
        Ok(self.settle_push(remote, commit, branch, expected, answer).await)
    }

    /// Asks the remote what it has where the answer does not say it.
    async fn settle_push(
        &self,
        remote: &Remote,
        commit: &CommitId,
        branch: &str,
        expected: Option<&CommitId>,
        answer: Answer,
    ) -> PushOutcome {
        let tip = async || self.git.remote_tip(remote, branch).await;
        match answer {
            Answer::Done(outcome) => outcome,
            Answer::Stale(text) => match tip().await {
                Ok(Some(found)) if found == *commit => PushOutcome::AlreadyThere,
                // Somebody else's update was under way and has failed, or was undone.
                Ok(found) if found.as_ref() == expected => PushOutcome::Unavailable { text },
                Ok(found) => PushOutcome::Moved { found },
                Err(_) => PushOutcome::Moved { found: None },
            },
            Answer::Unclear(text) => match tip().await {
                Ok(Some(found)) if found == *commit => PushOutcome::Pushed,
                Ok(found) if found.as_ref() == expected => match RemoteFailure::classify(&text) {
                    RemoteFailure::AuthFailed => PushOutcome::AuthFailed,
                    _ => PushOutcome::Unavailable { text },
                },
                Ok(found) => PushOutcome::Moved { found },
                Err(GitError::Remote(RemoteFailure::AuthFailed)) => PushOutcome::AuthFailed,
                Err(GitError::Remote(RemoteFailure::NotFound)) => PushOutcome::NoRepository,
                Err(_) => PushOutcome::Unavailable { text },
            },
        }
    }
}

/// What git's own report says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done(PushOutcome),
    /// The lease did not hold.
    Stale(String),
    /// No line about the ref: the connection, the credentials or the transfer failed.
    Unclear(String),
}

/// Reads the report of `push --porcelain`: `<flag>\t<from>:<to>\t<summary> (<reason>)` for each ref (git-push(1)).
fn read_answer(output: &Output, stderr: &str) -> Answer {
    let report = String::from_utf8_lossy(&output.stdout);
    let line = report.lines().find_map(|line| {
        let mut parts = line.splitn(3, '\t');
        let flag = parts.next()?;
        let (_, summary) = (parts.next()?, parts.next()?);
        (flag.len() == 1).then_some((flag, summary))
    });
    match line {
        Some((" " | "*" | "+", _)) if output.success => Answer::Done(PushOutcome::Pushed),
        Some(("=", _)) if output.success => Answer::Done(PushOutcome::AlreadyThere),
        Some(("!", summary)) if is_stale(summary) => Answer::Stale(summary.to_owned()),
        Some(("!", summary)) if summary.contains("remote rejected") => {
            Answer::Done(PushOutcome::Rejected { text: last_lines(&format!("{summary}\n{stderr}")) })
        }
        _ => Answer::Unclear(last_lines(stderr)),
    }
}

/// The lease was broken before the transfer, or another push won between the remote's listing and its update.
fn is_stale(summary: &str) -> bool {
    let raced = ["cannot lock ref", "failed to update ref", "fetch first", "reference already exists"];
    summary.starts_with("[rejected]") || raced.iter().any(|phrase| summary.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_decides_and_silence_is_unclear() {
        let answer = |success, line: &str| {
            let stdout = format!("To x\n{line}\nDone\n").into_bytes();
            read_answer(&Output { success, stdout, stderr: String::new() }, "remote: words")
        };
        assert_eq!(answer(true, "*\tab:refs/heads/x\t[new branch]"), Answer::Done(PushOutcome::Pushed));
        assert_eq!(answer(true, "=\tab:refs/heads/x\t[up to date]"), Answer::Done(PushOutcome::AlreadyThere));
        assert_eq!(
            answer(false, "!\tab:refs/heads/x\t[rejected] (stale info)"),
            Answer::Stale(String::from("[rejected] (stale info)"))
        );
        let refused = answer(false, "!\tab:refs/heads/x\t[remote rejected] (pre-receive hook declined)");
        assert!(
            matches!(refused, Answer::Done(PushOutcome::Rejected { text }) if text.contains("declined") && text.contains("words"))
        );
        let raced = answer(false, "!\tab:refs/heads/x\t[remote rejected] (cannot lock ref 'refs/heads/x')");
        assert!(matches!(raced, Answer::Stale(_)));
        assert!(matches!(answer(false, ""), Answer::Unclear(_)));
    }
}
