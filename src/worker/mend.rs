//! A clone whose objects or administration are damaged is set aside and made anew; what is whole in it is brought over.

use super::attempt::Line;
use super::halt::Step;
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::{Phase, Status};
use crate::domain::reason::{Reason, ReasonCode};
use crate::git::{GitError, Remote, Repository};
use crate::store::JobFilter;

impl Line<'_> {
    /// Where an attempt has ended in a way that a damaged clone explains, looks whether it is damaged. Then the clone makes
    /// way, and the job waits a moment for the next one, uncounted. While others use it, it waits for them. Where an agent
    /// has just run, its end stands, and the next job mends.
    pub(super) async fn mend_clone(&mut self, end: AttemptEnd) -> Step<AttemptEnd> {
        let AttemptEnd::Faulted { reason, .. } = &end else { return Ok(end) };
        let is_explained =
            matches!(reason.code, ReasonCode::Internal | ReasonCode::CloneFailed | ReasonCode::CloneDamaged);
        if !is_explained || matches!(self.job.phase, Phase::Agent | Phase::Verifying | Phase::Committing) {
            return Ok(end);
        }
        let Ok(repository) = self.tools.repository(&self.client) else { return Ok(end) };
        if !repository.exists() {
            return Ok(end);
        }
        match self.make_way(&repository).await {
            Ok(Some(what)) => {
                let reason = Reason::new(ReasonCode::CloneDamaged, &format!("Damaged is {what}."));
                Ok(AttemptEnd::Faulted { reason, until: None, window: None, spent: false })
            }
            Ok(None) => Ok(end),
            Err(error) => {
                tracing::warn!(%error, "whether the clone is damaged could not be found out");
                Ok(end)
            }
        }
    }

    /// What is damaged, if anything is and a new clone may help.
    async fn make_way(&mut self, repository: &Repository) -> Result<Option<String>, GitError> {
        let Some(what) = repository.find_damage().await? else { return Ok(None) };
        if repository.was_set_aside_lately().await? {
            tracing::error!(
                what,
                "the clone is damaged again: is it the remote, or the disk? it stays as it is"
            );
            return Ok(None);
        }
        self.clone_used = None;
        match repository.set_aside(self.is_only_attempt()).await? {
            // it mends itself; what is lost is told as an error when it is known
            Some(aside) => tracing::warn!(
                what,
                "the clone is damaged: set aside as {}; when nothing in it is needed any more: rm -rf {0}",
                aside.path.display()
            ),
            None => {
                tracing::warn!(what, "the clone is damaged, and other jobs use it: this one waits for them");
            }
        }
        Ok(Some(what))
    }

    /// A running attempt may have an agent that nobody here follows at the moment.
    async fn is_only_attempt(&self) -> bool {
        let running = JobFilter {
            statuses: vec![Status::Running],
            client: Some(self.client.id.clone()),
            limit: 2,
            ..JobFilter::default()
        };
        let found = self.tools.store.list_jobs(running).await;
        found.is_ok_and(|page| page.jobs.iter().all(|view| view.job.id == self.job.id))
    }

    /// For steps after the agent, that work with what is in the clone: makes it anew where it was set aside since.
    pub(super) async fn restore_clone(&self, repository: &Repository, remote: &Remote) -> Step<()> {
        let asides = repository.set_aside_clones().await?;
        if asides.iter().all(|aside| aside.lost.is_some()) {
            return Ok(());
        }
        self.ensure_clone(repository, remote).await?;
        self.carry_over(repository).await
    }

    /// After a clone was made: what the one before it can still give.
    pub(super) async fn carry_over(&self, repository: &Repository) -> Step<()> {
        for aside in repository.set_aside_clones().await?.into_iter().filter(|aside| aside.lost.is_none()) {
            let name = aside.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let lost = repository.carry_over(&aside).await?.lost.unwrap_or_default();
            match lost.as_slice() {
                [] => {
                    self.warn(&format!(
                        "The clone was damaged and is made anew; nothing is lost. The old one: {name}"
                    ))
                    .await?;
                }
                lost => {
                    tracing::error!(
                        aside = name,
                        ?lost,
                        "not everything could be brought over from the damaged clone"
                    );
                    let text = format!(
                        "The clone was damaged and is made anew. Lost is {}; what is left of it: {name}",
                        lost.join(", ")
                    );
                    self.warn(&text).await?;
                }
            }
        }
        Ok(())
    }
}
