//! What the database does not know: after a restored backup agents go on for nobody, and worktrees are left of jobs that are
//! in no list.

use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;

use super::cleanup::{base_for, worktrees_below};
use super::{Tools, Worker};
use crate::domain::client::Client;
use crate::domain::id::JobId;
use crate::git::{GitError, bytes_on_disk};
use crate::process::{StepDir, StepState, inspect};
use crate::store::{StoreError, Stray};

/// Agents that are ended side by side, each of which may take three graces: more than most machines let run.
const ENDED_AT_ONCE: usize = 16;

/// Worktrees that are told of: a person looks at them one by one.
const TOLD_MAX: usize = 1_000;

/// Ends every step of an attempt that the database does not have under way, and comes back when none of them lives: who waits
/// in the queue has no process, and whoever cancels him there is told the truth. What they worked in and what they said
/// stays on disk. For start, before anything is adopted, swept or served.
///
/// # Errors
/// What the store said; a step that cannot be ended is logged.
pub async fn stop_strangers(worker: &Worker) -> Result<(), StoreError> {
    let tools = &*worker.0;
    let strays = tools.store.strays().await?;
    let steps = strays.iter().flat_map(|stray| {
        let all = tools.store.logs().steps_of(stray.job).into_iter();
        all.filter(|(attempt, _)| *attempt > stray.known).map(move |(attempt, name)| (stray, attempt, name))
    });
    let living = steps.filter_map(|(stray, attempt, name)| {
        let step = tools.any_step(stray.job, attempt, &name).ok()?;
        // what ended in order has left nothing
        matches!(inspect(&step), Ok(StepState::Running(_) | StepState::Lost(_))).then_some((stray, step))
    });
    let living: Vec<_> = living.collect();
    let each = |(stray, step)| end(tools, stray, step);
    futures_util::stream::iter(living).for_each_concurrent(ENDED_AT_ONCE, each).await;
    Ok(())
}

async fn end(tools: &Tools, stray: &Stray, step: StepDir) {
    let lives = matches!(inspect(&step), Ok(StepState::Running(_)));
    match tools.end_step(&step, stray.worktree.as_deref()).await {
        Ok(()) if lives => {
            tracing::warn!(job.number = stray.job.0, step = %step.name(), "the database does not have it under way: an agent was stopped");
        }
        Ok(()) => {}
        Err(halt) => {
            tracing::error!(?halt, job.number = stray.job.0, step = %step.name(), "an agent that is nobody's could not be stopped");
        }
    }
}

/// A worktree of a chain that is in no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWorktree {
    /// Below the directory of all worktrees.
    pub name: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Worktrees of jobs that the database does not know, a thousand at most. They stay until their clone goes.
///
/// # Errors
/// What the store said.
pub async fn unknown_worktrees(worker: &Worker) -> Result<Vec<UnknownWorktree>, StoreError> {
    let tools = &*worker.0;
    let mut unknown = Vec::new();
    for (path, root) in worktrees_below(&tools.settings.worktrees_dir) {
        if unknown.len() == TOLD_MAX {
            break;
        }
        if tools.store.chain_of(&root).await?.is_empty() {
            let name = path.strip_prefix(&tools.settings.worktrees_dir).unwrap_or(&path).to_owned();
            let bytes = tokio::task::spawn_blocking(move || bytes_on_disk(&path)).await.unwrap_or_default();
            unknown.push(UnknownWorktree { name, bytes });
        }
    }
    Ok(unknown)
}

/// Takes the worktree of an unknown chain away whose clone is about to go, and keeps what is in it, with all that was
/// committed there, as `refs/offshoot/<root>/0-found`.
pub(super) async fn release_unknown(
    tools: &Tools,
    client: &Client,
    path: &Path,
    root: &JobId,
) -> Result<(), GitError> {
    let repository = tools.repository(client)?;
    let base = base_for(&repository, client, path, &[]).await?;
    let spec = tools.snapshot_spec(format!("refs/offshoot/{root}/0-found"), false);
    match repository.snapshot(path, &base, spec).await {
        Ok(_) | Err(GitError::WorktreeBroken(_)) => {}
        Err(error) => return Err(error),
    }
    repository.remove_worktree(path).await?;
    tracing::info!(root = %root, "the worktree of an unknown job was kept as a snapshot");
    Ok(())
}
