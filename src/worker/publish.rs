//! Phases 5 and 6: exactly one branch by commit id, and one pull request.

use super::attempt::Line;
use super::halt::{Halt, Step, forge_halt};
use super::remotes::forge_name;
use super::text;
use crate::domain::job::{Effects, Outcome, Phase, Start};
use crate::domain::options::{OnBranchExists, Publish};
use crate::domain::policy::{Guard, Guarded, Touched};
use crate::domain::reason::ReasonCode;
use crate::failpoint::{self, Edge};
use crate::forge::{EnsureWaits, Forge, NewPullRequest, PullRequest, ensure_pull_request};
use crate::git::{CommitId, GitError, PushMode, PushOutcome, Remote, Repository};

/// What a push is pinned to, and whether it may drop commits.
struct Pin {
    expected: Option<CommitId>,
    mode: PushMode,
}

impl Line<'_> {
    /// From the stored commit to the pull request; each step is skipped when its result is stored already.
    pub(super) async fn publish(&mut self, base_sha: &str) -> Step<Outcome> {
        let remote = self.remote().await?;
        let repository = self.tools.repository(&self.client)?;
        self.restore_clone(&repository, &remote).await?;
        let head = Self::commit_id(self.job.effects.head_sha.as_deref().unwrap_or_default())?;
        let mut flagged = self.allowed_change(&repository, base_sha, &head).await?;
        let is_pushed = self.job.effects.pushed_sha.as_deref() == Some(head.as_str());
        flagged.extend(self.refuse_secrets(&repository, &remote, base_sha, &head, is_pushed).await?);
        for touched in flagged.iter().filter(|_| !is_pushed) {
            self.warn(&format!("The change touches what policy.{} flags: {touched}", touched.kind)).await?;
        }
        if self.is_dry_run() {
            return Ok(Outcome::DryRun);
        }
        let base = self.base_branch(&remote).await?;
        if !is_pushed {
            self.phase(Phase::Pushing).await?;
            self.push(&repository, &remote, &head, base_sha).await?;
        }
        if self.options.publish == Publish::Branch {
            return Ok(Outcome::BranchPushed);
        }
        if self.job.effects.pr_number.is_none() {
            self.phase(Phase::OpeningPr).await?;
            self.open_pull_request(&base, &flagged).await?;
        }
        Ok(Outcome::PullRequest)
    }

    /// What the policy wants to be seen of the change.
    async fn allowed_change(
        &self,
        repository: &Repository,
        base_sha: &str,
        head: &CommitId,
    ) -> Step<Vec<Touched>> {
        let base = Self::commit_id(base_sha)?;
        let changed = repository.changed_paths(&base, head, Guarded::of).await?;
        let policy = &self.tools.settings.policy;
        if let Some(denied) = policy.touched(Guard::Deny, &changed).first() {
            let detail = format!("policy.{} is \"deny\", and changed is {denied}.", denied.kind);
            return Err(Halt::fault(ReasonCode::PolicyDenied, &detail));
        }
        Ok(policy.touched(Guard::Flag, &changed))
    }

    async fn push(
        &mut self,
        repository: &Repository,
        remote: &Remote,
        head: &CommitId,
        base_sha: &str,
    ) -> Step<()> {
        let branch = self.job.request.branch.as_str().to_owned();
        let pin = self.pin(repository, remote, head, base_sha).await?;
        let outcome = match repository.push(remote, head, &branch, pin.expected.as_ref(), pin.mode).await {
            // the commit is made: a retry pushes it, and the agent does not run again
            Err(error @ GitError::LfsUnusable { .. }) => {
                return Err(Halt::told(ReasonCode::PushRejected, &error.to_string()));
            }
            outcome => outcome?,
        };
        match outcome {
            PushOutcome::Pushed | PushOutcome::AlreadyThere => {
                self.effects(Effects { pushed_sha: Some(head.as_str().to_owned()), ..Effects::default() })
                    .await?;
                self.say(&format!("pushed {branch}")).await
            }
            PushOutcome::Moved { found } => {
                let now_at = found.map_or_else(|| "gone".to_owned(), |found| format!("at {found}"));
                Err(Halt::fault(ReasonCode::BranchMoved, &format!("It is {now_at} now.")))
            }
            PushOutcome::Rejected { text } if text.to_lowercase().contains("archived") => {
                Err(Halt::fault(ReasonCode::RepoArchived, &text))
            }
            PushOutcome::Rejected { text } => Err(Halt::fault(ReasonCode::PushRejected, &text)),
            PushOutcome::AuthFailed => Err(Halt::fault(ReasonCode::ForgeAuth, "The push was not allowed.")),
            PushOutcome::NoRepository => {
                Err(Halt::fault(ReasonCode::RepoNotFound, "It was there when the work began."))
            }
            PushOutcome::Unavailable { text } => Err(Halt::fault(ReasonCode::RemoteUnavailable, &text)),
        }
    }

    /// The state that was seen when the work began. A job that only publishes saw none: it asks now, and may only add.
    async fn pin(
        &self,
        repository: &Repository,
        remote: &Remote,
        head: &CommitId,
        base_sha: &str,
    ) -> Step<Pin> {
        let is_reset = self.options.on_branch_exists == OnBranchExists::Reset;
        // what this chain has pushed before, somebody may have gone on with
        let mode = if is_reset && !self.job.only_publishes() && !self.chain_pushed_before().await? {
            PushMode::Reset
        } else {
            PushMode::FastForward
        };
        if let (Start::Agent | Start::Resume { .. }, Some(tip)) =
            (&self.job.start, &self.job.effects.branch_tip)
        {
            let expected = if tip.is_empty() { None } else { Some(Self::commit_id(tip)?) };
            return Ok(Pin { expected, mode });
        }
        let seen = self.tools.git.remote_tip(remote, self.job.request.branch.as_str()).await?;
        match seen {
            Some(tip)
                if tip != *head
                    && tip.as_str() != base_sha
                    && !repository.descends_from(head, &tip).await? =>
            {
                Err(Halt::fault(ReasonCode::BranchMoved, &format!("It is at {tip} now.")))
            }
            expected => Ok(Pin { expected, mode }),
        }
    }

    async fn open_pull_request(&mut self, base: &str, flagged: &[Touched]) -> Step<()> {
        let Some(forge) = self.tools.forge.clone() else {
            let detail = "No forge is configured; options.publish = \"branch\" does without.";
            return Err(Halt::fault(ReasonCode::PullRequestRefused, detail));
        };
        let is_verified = !self.options.verify.is_empty();
        let new = NewPullRequest {
            repo: forge_name(&self.client.repository),
            head: self.job.request.branch.as_str().to_owned(),
            base: base.to_owned(),
            title: text::pull_request_title(&self.job),
            body: text::pull_request_body(&self.job, &self.client.repository, base, is_verified, flagged),
            draft: self.options.draft,
        };
        let opened = ensure_pull_request(&*forge, &new, &EnsureWaits::default())
            .await
            .map_err(|error| forge_halt(&error, self.now()))?;
        // before it is stored: a later server that finds it opened but not stored does the rest as well
        self.decorate(&*forge, &opened, flagged).await?;
        self.effects(Effects {
            pr_url: Some(opened.url.clone()),
            pr_number: i64::try_from(opened.number).ok(),
            ..Effects::default()
        })
        .await?;
        self.say(&format!("{} pull request {}", if opened.created { "opened" } else { "found" }, opened.url))
            .await
    }

    /// Labels and reviewers: what the forge refuses of them is a warning, the work is done.
    async fn decorate(&self, forge: &dyn Forge, opened: &PullRequest, flagged: &[Touched]) -> Step<()> {
        let name = forge_name(&self.client.repository);
        let mut refusals = Vec::new();
        let mut labels = self.options.pr_labels.clone();
        labels.extend(flagged.iter().map(|touched| touched.kind.label().to_owned()));
        if !labels.is_empty() {
            let asked = forge.add_labels(&name, opened.number, &labels);
            refusals.extend(failpoint::around(Edge::AddLabels, asked).await);
        }
        if !self.options.reviewers.is_empty() {
            let asked = forge.request_reviewers(&name, opened.number, &self.options.reviewers);
            refusals.extend(failpoint::around(Edge::RequestReviewers, asked).await);
        }
        for refusal in refusals {
            self.warn(&refusal).await?;
        }
        Ok(())
    }
}
