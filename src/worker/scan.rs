//! Secrets are looked for in everything that is about to be pushed, whoever committed it: every version of every file, not only
//! the last, since a push takes the whole history.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::domain::policy::{Guard, Guarded, Touched};
use crate::domain::reason::ReasonCode;
use crate::git::{CommitId, GitError, Looked, Remote, Repository, Written, WrittenBounds};
use crate::secrets::{Content, Scanner, What};

/// A result is some commits; so many are a history that somebody has joined in.
const COMMITS_MAX: usize = 10_000;

/// Versions of files, all together: at the speed of one core that takes some ten seconds.
const BYTES_MAX: u64 = 4 << 30;

/// Of one commit: no message that somebody wrote has a tenth of it.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// Findings that are named in the reason, and in the job's messages.
const NAMED_MAX: usize = 5;
const SAID_MAX: usize = 100;

/// Bytes of a path that are shown: the message of a reason has room for a handful.
const PATH_BYTES_MAX: usize = 200;

/// Something found in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Found {
    /// For people: path and line, and the commit when it is not the last.
    place: String,
    what: What,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.place, self.what)
    }
}

impl Line<'_> {
    /// Ends the job when it would push a value of the configuration, or what `policy.secrets` denies; gives what is to be seen
    /// on the pull request. Of what `is_pushed` already, only that is asked.
    pub(super) async fn refuse_secrets(
        &self,
        repository: &Repository,
        remote: &Remote,
        base: &str,
        head: &CommitId,
        is_pushed: bool,
    ) -> Step<Vec<Touched>> {
        let guard = self.tools.settings.policy.secrets;
        if is_pushed && guard != Guard::Flag {
            return Ok(Vec::new());
        }
        let looked = self.look_for_secrets(repository, remote, base, head).await?;
        if !is_pushed {
            self.tell_of_gaps(&looked).await?;
        }
        let mut known = Vec::new();
        let mut shapes = Vec::new();
        for found in looked.found {
            let What::Shape { fingerprint, .. } = &found.what else {
                known.push(found);
                continue;
            };
            match (guard, self.options.allow_secrets.contains(fingerprint)) {
                (Guard::Allow, _) => {}
                (Guard::Deny | Guard::Flag, true) if is_pushed => {}
                (Guard::Deny | Guard::Flag, true) => self.record_allowed(&found).await?,
                (Guard::Deny | Guard::Flag, false) => shapes.push(found),
            }
        }
        if !known.is_empty() {
            return Err(self.refused(&known, "A value of the server's own configuration is in").await?);
        }
        if guard == Guard::Deny && !shapes.is_empty() {
            return Err(self.refused(&shapes, "policy.secrets is \"deny\", and there is").await?);
        }
        if shapes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Touched { kind: Guarded::Secrets, paths: shapes.iter().map(Found::to_string).collect() }])
    }

    async fn look_for_secrets(
        &self,
        repository: &Repository,
        remote: &Remote,
        base: &str,
        head: &CommitId,
    ) -> Step<Looked<Found>> {
        let base = Self::commit_id(base)?;
        let mut published = Vec::new();
        if repository.has_merges(&base, head).await? {
            // others' work that was joined in is not this job's. The clone's own refs would do, but an agent can write them
            for branch in [self.job.request.base_branch.as_ref(), self.client.default_branch.as_ref()] {
                let Some(branch) = branch else { continue };
                published.extend(self.tools.git.remote_tip(remote, branch).await?);
            }
        }
        let bounds = WrittenBounds {
            commits_max: COMMITS_MAX,
            bytes_max: BYTES_MAX,
            file_bytes_max: self.tools.settings.file_bytes_max,
            words_bytes_max: WORDS_BYTES_MAX,
        };
        let (scanner, last) = (Arc::clone(&self.tools.settings.scanner), head.clone());
        let mut told = HashSet::new();
        // gigabytes are not worth waiting for when the job is cancelled or the server leaves
        let ends = [self.signals.cancel.clone(), self.signals.shutdown.clone()];
        let look = move |written: &Written<'_>| {
            if ends.iter().any(CancellationToken::is_cancelled) {
                return ControlFlow::Break(());
            }
            let mut found = findings(&scanner, written, &last);
            found.retain(|found| told.insert(found.clone()));
            ControlFlow::Continue(found)
        };
        match repository.look_at_written(&base, head, &published, bounds, look).await {
            Err(GitError::GivenUp) => Err(self.given_up()),
            looked => Ok(looked?),
        }
    }

    async fn tell_of_gaps(&self, looked: &Looked<Found>) -> Step<()> {
        let is_denied = self.tools.settings.policy.secrets == Guard::Deny;
        for one in &looked.too_large {
            let text = format!("{one} is too large to be searched for secrets");
            if is_denied {
                let message = format!("{text}, and policy.secrets is \"deny\". Nothing was pushed.");
                return Err(Halt::told(ReasonCode::SecretDetected, &message));
            }
            self.warn(&format!("{text}.")).await?;
        }
        for path in &looked.passed_over {
            self.warn(&format!("{path} is too large to be searched for secrets.")).await?;
        }
        if looked.is_whole {
            return Ok(());
        }
        let text = format!(
            "The change has more than {COMMITS_MAX} commits or {} GiB of files: too much to be searched for secrets.",
            BYTES_MAX >> 30
        );
        if is_denied {
            return Err(Halt::told(ReasonCode::SecretDetected, &format!("{text} Nothing was pushed.")));
        }
        self.warn(&text).await
    }

    /// Whoever asked for it may let it pass; that he did stays with the job.
    async fn record_allowed(&self, found: &Found) -> Step<()> {
        let by = &self.job.request.submitted_by;
        self.warn(&format!("Allowed by {by}, though it looks like a secret: {found}.")).await
    }

    async fn refused(&self, found: &[Found], begin: &str) -> Step<Halt> {
        for found in found.iter().take(SAID_MAX) {
            self.say(&format!("looks like a secret: {found}")).await?;
        }
        let named: Vec<_> = found.iter().take(NAMED_MAX).map(Found::to_string).collect();
        let more = match found.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more, which the job's messages name"),
        };
        Ok(Halt::fault(ReasonCode::SecretDetected, &format!("{begin} {}{more}.", named.join("; "))))
    }
}

/// What is in a file, in its name, or in what was said about the commit.
fn findings(scanner: &Scanner, written: &Written<'_>, last: &CommitId) -> Vec<Found> {
    let in_name = scanner.scan(&Content { path: b"", now: written.path, before: &[] });
    let mut shown = if written.path.is_empty() {
        "the message or the author".to_owned()
    } else if in_name.is_empty() {
        let text = String::from_utf8_lossy(written.path);
        let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        text[..text.floor_char_boundary(PATH_BYTES_MAX)].to_owned()
    } else {
        "a file by its name".to_owned()
    };
    let commit = if written.commit == last { "" } else { &written.commit.as_str()[..12] };
    let behind = if commit.is_empty() { String::new() } else { format!(" of commit {commit}") };
    if written.path.is_empty() && commit.is_empty() {
        shown.push_str(" of the last commit");
    }
    let content = Content { path: written.path, now: written.now, before: written.before };
    let in_file = scanner.scan(&content).into_iter().map(|finding| {
        let place = match written.path {
            [] => format!("{shown}{behind}"),
            _ => format!("{shown}:{}{behind}", finding.line),
        };
        (place, finding.what)
    });
    let named = in_name.into_iter().map(|finding| (format!("{shown}{behind}"), finding.what));
    named.chain(in_file).map(|(place, what)| Found { place, what }).collect()
}
