//! The end of what an earlier server started: nothing begins in a worktree before it.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::Tools;
use super::halt::{Halt, Step};
use super::step_end::STOP;
use super::steps::look;
use crate::domain::reason::ReasonCode;
use crate::process::{
    Control, ProcessError, StepDir, StepState, Survivor, Tail, Tailed, end_lost_tree, survivors,
};

/// What a shim that was killed may leave is gone in milliseconds; a storm of 32,000 processes took 1.5 s.
const LOST_TREE_MAX: Duration = Duration::from_secs(30);

/// A shim that was asked to end takes three graces of five seconds at most, and its log a moment to be read.
const END_MAX: Duration = Duration::from_secs(60);

impl Tools {
    /// Ends a step that is nobody's any more, and comes back when no process of it is left. `worktree` is where it worked,
    /// as far as that is known.
    pub(super) async fn end_step(&self, step: &StepDir, worktree: Option<&str>) -> Step<()> {
        match look(step)? {
            StepState::NotStarted | StepState::NotReleased => return Ok(()),
            StepState::Running(_) => {
                match Control::new(step).stop(STOP) {
                    // it has just ended by itself
                    Ok(()) | Err(ProcessError::Gone) => {}
                    Err(error) => return Err(error.into()),
                }
                let mut tail = Tail::open(step, Default::default());
                let ended = async {
                    while !matches!(tail.next().await?, Some(Tailed::Ended(_)) | None) {}
                    Ok::<(), ProcessError>(())
                };
                let Ok(ended) = timeout(END_MAX, ended).await else {
                    let detail = "The supervisor of the attempt before it does not end.";
                    return Err(Halt::fault(ReasonCode::Interrupted, detail));
                };
                ended?;
            }
            StepState::Exited(_) | StepState::Lost(_) => {}
        }
        if survivors(step).is_empty() {
            return Ok(());
        }
        self.bury(step, worktree, &[]).await
    }

    /// Ends what a dead shim left.
    pub(super) async fn bury(
        &self,
        step: &StepDir,
        worktree: Option<&str>,
        members: &[Survivor],
    ) -> Step<()> {
        self.launcher.stop_scope(step).await;
        let worktree = worktree.map_or_else(|| step.dir(), Path::new);
        let left = end_lost_tree(step, worktree, members, LOST_TREE_MAX).await?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Halt::internal("processes of a lost agent cannot be killed", format!("{left:?}")))
    }
}
