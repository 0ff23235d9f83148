//! Phase 4: what the agent left becomes one commit, or nothing.

use super::attempt::{AgentWork, Line};
use super::halt::{Halt, Step};
use super::steps::check_worktree;
use super::text;
use crate::domain::job::{Effects, Phase};
use crate::domain::reason::ReasonCode;
use crate::git::{Collected, CommitSpec, GitError};

impl Line<'_> {
    /// Commits what is there, and gives the commit it began at; `None` when nothing changed.
    pub(super) async fn commit(&mut self, work: AgentWork) -> Step<Option<String>> {
        self.check_signals()?;
        self.phase(Phase::Committing).await?;
        let Some(base) = self.job.effects.base_sha.clone() else {
            return Err(Halt::internal("an agent ran without a base", "base_sha is missing"));
        };
        if self.job.effects.files_changed == Some(0) {
            // found before an earlier server was killed: the worktree may be gone by now
            return Ok(None);
        }
        // a database that was put back does not know that this attempt went on to its end either
        check_worktree(&work.worktree)?;
        let collected = self.collect(&work, &base).await?;
        for note in &collected.notes {
            self.warn(&format!("{}: {}", note.path, note.text)).await?;
        }
        if !collected.changed {
            let tools = &work.verdict.tools;
            let count = tools.denied.len();
            if let Some(denial) = tools.decisive() {
                let detail = match count {
                    1 => format!("Denied was one use, of {}.", denial.tool),
                    _ => format!("Denied were {count} uses, one of them of {}.", denial.tool),
                };
                return Err(Halt::fault(ReasonCode::PermissionDenied, &detail));
            }
            if let Some(denial) = tools.denied.first() {
                self.warn(&format!(
                    "The agent changed nothing. Of its uses of tools {count} were denied, the first of {}.",
                    denial.tool
                ))
                .await?;
            }
            self.effects(Effects { files_changed: Some(0), ..Effects::default() }).await?;
            return Ok(None);
        }
        let count = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
        self.effects(Effects {
            head_sha: Some(collected.head.as_str().to_owned()),
            files_changed: count(collected.files_changed),
            insertions: count(collected.insertions),
            deletions: count(collected.deletions),
            ..Effects::default()
        })
        .await?;
        self.say(&format!("committed {}", &collected.head.as_str()[..12])).await?;
        Ok(Some(base))
    }

    async fn collect(&self, work: &AgentWork, base: &str) -> Step<Collected> {
        let spec = CommitSpec {
            message: text::commit_message(&self.job),
            author: self.tools.settings.author.clone(),
            // of the attempt, not of now: repeated after a crash the commit is the same
            committed_at: self.job.started_at.unwrap_or(self.job.created_at).as_ms() / 1_000,
            file_bytes_max: self.tools.settings.file_bytes_max,
            give_up: self.give_up(),
        };
        let repository = self.tools.repository(&self.client)?;
        match repository.collect(&work.worktree, &Self::commit_id(base)?, spec).await {
            Err(GitError::GivenUp) => Err(self.given_up()),
            collected => Ok(collected?),
        }
    }
}
