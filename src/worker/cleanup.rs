//! What happens to a worktree when its job is over: snapshot where the work is nowhere else, then away with it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::attempt::Line;
use super::halt::{Halt, Step};
use super::{Tools, Worker};
use crate::domain::attempt::AttemptEnd;
use crate::domain::client::Client;
use crate::domain::id::{JobId, JobNumber, JobRef};
use crate::domain::job::{Job, Status};
use crate::domain::lifecycle::{Cause, Situation, Transition, transition};
use crate::domain::options::RunOptions;
use crate::domain::reason::ReasonCode;
use crate::git::{CommitId, GitError, Repository, SnapshotSpec, bytes_on_disk, sweep_trash};
use crate::store::StoreError;

/// Deleting even a worktree of a million files takes minutes.
const OLD_TRASH_MS: i64 = 3_600_000;

impl Line<'_> {
    /// Takes the worktree away, unless one is kept after such an end. With `keep` its files are snapshotted first; if that fails the worktree stays. The
    /// result's commit is kept in any case: its diff is shown, and a retry may publish it.
    pub(super) async fn clean_up(&self, status: Status, keep: bool) -> Step<()> {
        if let Some(head) = self.job.effects.head_sha.clone() {
            let name = format!("refs/offshoot/{}/head", self.job.id);
            self.tools.repository(&self.client)?.keep(&name, &Self::commit_id(&head)?).await?;
        }
        if self.tools.settings.worktree_kept.worktree_after(status, self.options.keep_worktree).is_some() {
            return Ok(());
        }
        let path = self.tools.worktree_path(&self.client, &self.job.chain.root);
        let repository = self.tools.repository(&self.client)?;
        // absent where an earlier server was killed in the middle of this
        let is_there = tokio::fs::symlink_metadata(&path).await.is_ok();
        if is_there && self.made_no_worktree() {
            // another job of the chain has left it, and the sweep knows for how long
            return Ok(());
        }
        // of a job that was given no worktree, the branch may be that of another chain's
        let has_branch = is_there || self.job.was_given_a_worktree();
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        let kept = async {
            if is_there && keep {
                let base = base_for(&repository, &self.client, &path, &chain).await?;
                self.snapshot(&repository, &path, &base, "end").await?;
            }
            if has_branch { self.keep_branch(&repository, &chain, None).await } else { Ok(()) }
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "not everything could be kept: the worktree stays");
            self.pause_if_tampered(error).await?;
            if is_there {
                return self.warn("The worktree was kept, because no snapshot of it could be taken.").await;
            }
        }
        if let Err(error) = repository.remove_worktree(&path).await {
            tracing::warn!(%error, "the worktree could not be removed; it is swept later");
            return self.pause_if_tampered(error).await;
        }
        self.tools.store.forget_worktree(self.lease).await?;
        if has_branch {
            self.tools.drop_branch(&repository, &path, self.job.request.branch.as_str(), &chain).await;
        }
        Ok(())
    }

    /// As [`Self::clean_up`], where its failing may be less than the end of the attempt: gives how it failed. A client whose clone
    /// was changed is paused in any case.
    pub(super) async fn tidy_up(&self, status: Status, keep: bool) -> Step<Option<AttemptEnd>> {
        match self.clean_up(status, keep).await {
            Ok(()) => Ok(None),
            Err(Halt::Ended(failed)) => {
                self.pause_tampered(&failed).await?;
                Ok(Some(failed))
            }
            Err(other) => Err(other),
        }
    }

    /// What the job came to stands, whatever became of its worktree.
    pub(super) async fn warn_of_leftovers(&self, failed: Option<AttemptEnd>) -> Step<()> {
        let Some(AttemptEnd::Faulted { reason, .. }) = failed else { return Ok(()) };
        tracing::warn!(%reason.code, reason.message, "the clean-up failed: the worktree is swept later");
        self.warn(&format!(
            "The worktree could not be taken away and is left to offshoot gc: {}",
            reason.message
        ))
        .await
    }

    /// A commit that was there was published, and no agent ran.
    fn made_no_worktree(&self) -> bool {
        self.job.only_publishes() && !self.job.was_given_a_worktree()
    }

    /// Keeps the worktree's files as `refs/offshoot/<job>/<attempt>-<when>` in the clone.
    pub(super) async fn snapshot(
        &self,
        repository: &Repository,
        path: &Path,
        base: &CommitId,
        when: &str,
    ) -> Result<(), GitError> {
        let name = format!("refs/offshoot/{}/{}-{when}", self.job.id, self.lease.attempt);
        self.snapshot_as(name, repository, path, base).await
    }

    pub(super) async fn snapshot_as(
        &self,
        name: String,
        repository: &Repository,
        path: &Path,
        base: &CommitId,
    ) -> Result<(), GitError> {
        let spec = self.tools.snapshot_spec(name, self.ran_away);
        let taken = repository.snapshot(path, base, spec).await?;
        tracing::info!(snapshot = %taken.name, commit = %taken.commit, "worktree snapshotted");
        for note in &taken.notes {
            let told = self.warn(&format!("Snapshot: {}: {}", note.path, note.text)).await;
            if let Err(halt) = told {
                // the snapshot is there all the same, and what the store has lost shows in the next step
                tracing::warn!(?halt, path = %note.path, note = note.text, "a snapshot's note could not be told");
            }
        }
        Ok(())
    }

    /// How the job is over after this end; `None`: only this attempt is, and the worktree waits for the next one.
    pub(super) async fn status_after(&self, end: &AttemptEnd) -> Step<Option<Status>> {
        let job = self.tools.store.get_job(&JobRef::Number(self.lease.job)).await?.job;
        let at = Situation {
            status: Status::Running,
            phase: job.phase,
            attempts_counted: job.attempts_counted,
            attempts_max: self.options.max_attempts,
            backoff_tries: job.backoff_tries,
            cancel_requested: job.cancel_requested_at.is_some(),
            // it only names the end, it does not decide on one
            server_died_each_time: false,
            stops: self.tools.store.stops_of(self.lease.job).await?,
        };
        let decided = transition(self.now(), &at, Cause::AttemptEnded(end.clone()));
        Ok(decided.ok().filter(Transition::ends_job).map(|decided| decided.status))
    }

    /// Somebody changed the clone: nothing of this client starts before a person has looked.
    pub(super) async fn pause_tampered(&self, end: &AttemptEnd) -> Step<()> {
        if let AttemptEnd::Faulted { reason, .. } = end
            && reason.code == ReasonCode::RepoTampered
        {
            self.tools.store.pause_client(&self.client.id, &reason.message).await?;
        }
        Ok(())
    }

    /// As [`Self::pause_tampered`], for an error that ends nothing.
    async fn pause_if_tampered(&self, error: GitError) -> Step<()> {
        if !matches!(error, GitError::Tampered { .. }) {
            return Ok(());
        }
        match Halt::from(error) {
            Halt::Ended(end) => self.pause_tampered(&end).await,
            other => Err(other),
        }
    }
}

impl Tools {
    /// How a worktree is snapshotted now; less is kept of one that `ran_away`.
    pub(super) fn snapshot_spec(&self, name: String, ran_away: bool) -> SnapshotSpec {
        let limits = &self.settings.step_limits;
        SnapshotSpec {
            name,
            taken_at: self.clock.now_ms() / 1_000,
            file_bytes_max: self.settings.file_bytes_max,
            new: if ran_away { limits.runaway_kept() } else { limits.worktree },
        }
    }
}

/// Finishes the removals that an earlier server was interrupted in. For start, before anything is adopted: what is
/// in the trash later belongs to a removal under way.
pub async fn empty_trash(worker: &Worker) {
    sweep_trashes(&worker.0.settings.worktrees_dir).await;
    let swept = match clones_at_work(worker).await {
        Ok(at_work) => worker.0.git.sweep_clones(&worker.0.settings.repos_dir, at_work).await,
        Err(error) => return tracing::warn!(%error, "the clones could not be swept"),
    };
    if let Err(error) = swept {
        tracing::warn!(%error, "the clones could not be swept");
    }
}

/// The clones in whose worktrees an agent of an earlier server may still be at work.
async fn clones_at_work(worker: &Worker) -> Result<HashSet<PathBuf>, StoreError> {
    let tools = &*worker.0;
    let mut at_work = HashSet::new();
    for running in tools.store.queue_page(None).await?.running {
        let job = tools.store.get_job(&JobRef::Number(running.number)).await?.job;
        let client = tools.store.get_client(&job.client_id).await?;
        if tools.may_live(running.number)
            && let Ok(repository) = tools.repository(&client)
        {
            at_work.insert(repository.path().to_owned());
        }
    }
    Ok(at_work)
}

/// A worktree of an ended job that was taken away, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The chain.
    pub root: JobId,
    /// Bytes on disk.
    pub bytes: u64,
    pub why: String,
}

/// Takes away what ended jobs have left: worktrees of chains without a live job, snapshotted before. Those that are to
/// be kept stay for their time. A `dry_run` only tells.
///
/// # Errors
/// What the store said; a worktree that cannot be handled is logged and stays.
pub async fn sweep_worktrees(worker: &Worker, dry_run: bool) -> Result<Vec<Swept>, StoreError> {
    let tools = &*worker.0;
    let mut swept = Vec::new();
    for (path, root) in worktrees_below(&tools.settings.worktrees_dir) {
        swept.extend(sweep_chain(worker, &path, &root, dry_run).await?);
    }
    if !dry_run {
        for (root, path) in tools.store.ended_worktrees().await? {
            if tokio::fs::symlink_metadata(&path).await.is_err() {
                tools.store.forget_worktrees_of(&root).await?;
            }
        }
    }
    Ok(swept)
}

/// As [`sweep_worktrees`], for one job that ended without a worker.
///
/// # Errors
/// What the store said.
pub async fn sweep_worktree_of(worker: &Worker, job: JobNumber) -> Result<(), StoreError> {
    let tools = &*worker.0;
    let job = tools.store.get_job(&JobRef::Number(job)).await?.job;
    let client = tools.store.get_client(&job.client_id).await?;
    let path = tools.worktree_path(&client, &job.chain.root);
    if tokio::fs::symlink_metadata(&path).await.is_ok() {
        sweep_chain(worker, &path, &job.chain.root, false).await?;
    }
    Ok(())
}

async fn sweep_chain(
    worker: &Worker,
    path: &Path,
    root: &JobId,
    dry_run: bool,
) -> Result<Option<Swept>, StoreError> {
    let tools = &*worker.0;
    // a job of the chain that becomes live from here on waits before it makes the path its own
    let _alone = tools.chains.hold(root).await;
    let chain = tools.store.chain_of(root).await?;
    let Some(last) = chain.last() else { return Ok(None) };
    let client = tools.store.get_client(&last.client_id).await?;
    let now = tools.store.cautious_now();
    let days = &tools.settings.worktree_kept;
    let keeps = |job: &Job| {
        let own = job.request.own_options();
        let merged = RunOptions::merge(&[&own, &client.options, &tools.settings.defaults]);
        days.worktree_after(job.status, merged.keep_worktree)
    };
    let is_kept = |job: &Job| {
        let ended = job.completed_at.unwrap_or(job.updated_at);
        keeps(job).is_some_and(|kept| now.since(ended) <= kept)
    };
    if chain.iter().any(|job| job.status.is_live() || is_kept(job)) {
        return Ok(None);
    }
    let why = match chain.iter().rfind(|job| keeps(job).is_some()) {
        Some(job) => format!("older than {}", days.rule(job.status)),
        None => "its job is over".to_owned(),
    };
    let sized = path.to_owned();
    let bytes = tokio::task::spawn_blocking(move || bytes_on_disk(&sized)).await.unwrap_or_default();
    let swept = Swept { root: root.clone(), bytes, why };
    if dry_run {
        return Ok(Some(swept));
    }
    // boxed: this is part of the future of the start
    match Box::pin(sweep_one(worker, path, &chain)).await {
        Ok(()) => {
            tools.store.forget_worktrees_of(root).await?;
            Ok(Some(swept))
        }
        Err(error) => {
            tracing::warn!(%error, job.id = %last.id, "an old worktree could not be swept: it stays");
            Ok(None)
        }
    }
}

/// Finishes removals that have not come to their end within an hour; gives the bytes that are in them. Younger ones are
/// under way.
pub async fn old_trash(worker: &Worker, dry_run: bool) -> u64 {
    let tools = &*worker.0;
    let before = tools.clock.now_ms() - OLD_TRASH_MS;
    let mut bytes = 0;
    for folder in repositories_below(&tools.settings.worktrees_dir) {
        match sweep_trash(&folder, Some(before), dry_run).await {
            Ok(swept) => bytes += swept,
            Err(error) => tracing::warn!(%error, "the trash could not be swept"),
        }
    }
    bytes
}

/// Every repository's folder has a trash of its own.
async fn sweep_trashes(worktrees_dir: &Path) {
    for folder in repositories_below(worktrees_dir) {
        if let Err(error) = sweep_trash(&folder, None, false).await {
            tracing::warn!(%error, "the trash could not be swept");
        }
    }
}

/// What the files in a chain's worktree are compared with: the base of the job whose they are. `None`: no agent of the chain
/// was ever started.
fn base_of(chain: &[Job]) -> Option<CommitId> {
    last_at_work(chain)?.effects.base_sha.as_deref()?.parse().ok()
}

/// Whose files are in a chain's worktree: those of the newest of its jobs that was given one. A retry that ended before may
/// lie behind it, or one that published what was there.
pub(super) fn last_at_work(chain: &[Job]) -> Option<&Job> {
    let newest_with = |has: fn(&Job) -> bool| chain.iter().rev().find(|job| has(job));
    // jobs of a version that did not look the tip up have a base all the same
    newest_with(Job::was_given_a_worktree).or_else(|| newest_with(|job| job.effects.base_sha.is_some()))
}

/// As [`base_of`], for what lies at `path`. A database that was put back may know of no agent, and yet one has worked there:
/// then it is where that has come to, or where it was meant to begin.
///
/// # Errors
/// What git said; [`GitError::BaseUnknown`] where there is none of these.
pub(super) async fn base_for(
    repository: &Repository,
    client: &Client,
    path: &Path,
    chain: &[Job],
) -> Result<CommitId, GitError> {
    if let Some(base) = base_of(chain) {
        return Ok(base);
    }
    if let Some(head) = repository.worktree_head(path).await? {
        return Ok(head);
    }
    let asked_for = chain.iter().rev().filter_map(|job| job.request.base_branch.as_deref());
    for branch in asked_for.chain(client.default_branch.as_deref()) {
        if let Some(tip) = repository.resolve_base(branch).await? {
            return Ok(tip);
        }
    }
    Err(GitError::BaseUnknown)
}

/// Snapshots the worktree of a chain without a live job, and takes it away.
pub(super) async fn sweep_one(worker: &Worker, path: &Path, chain: &[Job]) -> Result<(), GitError> {
    let tools = &*worker.0;
    let Some(last) = chain.last() else { return Ok(()) };
    let Ok(client) = tools.store.get_client(&last.client_id).await else { return Ok(()) };
    let repository = tools.repository(&client)?;
    let whose = last_at_work(chain).unwrap_or(last);
    // of what cannot be brought out of a sandbox the files are kept all the same
    repository.absorb_or_leave(path).await?;
    let base = base_for(&repository, &client, path, chain).await?;
    let name = format!("refs/offshoot/{}/{}-swept", whose.id, whose.attempt);
    let spec = tools.snapshot_spec(name, chain.iter().any(ran_away));
    match repository.snapshot(path, &base, spec).await {
        // its job is over: only the log can still be told
        Ok(taken) => taken.notes.iter().for_each(|note| {
            tracing::warn!(job.id = %last.id, path = %note.path, note = note.text, "left out of a snapshot");
        }),
        Err(GitError::WorktreeBroken(_)) => {}
        Err(error) => return Err(error),
    }
    let branch = tools.keep_branch_of(&repository, path, chain).await?;
    repository.remove_worktree(path).await?;
    if let Some(branch) = branch {
        tools.drop_branch(&repository, path, branch, chain).await;
    }
    tracing::info!(job.id = %last.id, "an old worktree was swept");
    Ok(())
}

/// Whether the job was ended for taking too much of the machine.
fn ran_away(job: &Job) -> bool {
    job.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::ResourceLimit)
}

/// `<dir>/<org>/<repo>/<root job id>`, nothing else.
pub(super) fn worktrees_below(dir: &Path) -> Vec<(PathBuf, JobId)> {
    repositories_below(dir)
        .flat_map(|repo| children(&repo))
        .filter_map(|path| {
            let root = JobId::parse(path.file_name()?.to_str()?).ok()?;
            Some((path, root))
        })
        .collect()
}

/// `<dir>/<org>/<repo>`.
fn repositories_below(dir: &Path) -> impl Iterator<Item = PathBuf> {
    children(dir).into_iter().flat_map(|org| children(&org))
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_trash_beside_the_worktrees_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("acme/widgets");
        let (old, kept) = (repo.join(".trash/old"), repo.join("job-aaaabbbbccccdddd"));
        for made in [&old, &kept] {
            std::fs::create_dir_all(made).unwrap();
            std::fs::write(made.join("file"), "x").unwrap();
        }
        sweep_trashes(dir.path()).await;
        assert!(!old.exists());
        let found: Vec<_> = worktrees_below(dir.path()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, [kept]);
    }
}
