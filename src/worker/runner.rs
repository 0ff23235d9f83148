//! What the loops need of whoever carries out attempts.

use std::future::Future;

use super::{Signals, Worker, end_visit, sweep_worktree_of, sweep_worktrees};
use crate::domain::attempt::{Assignment, Lease};
use crate::domain::id::JobNumber;
use crate::store::StoreError;

/// Carries out attempts: the [`Worker`], or what a simulation of the loops puts in its place.
pub trait Runner: Clone + Send + Sync + 'static {
    /// Carries the attempt to its end, or as far as `signals` let it. Every outcome is in the store when this returns;
    /// an attempt that is left without one is taken up again.
    fn run(&self, assignment: Assignment, signals: Signals) -> impl Future<Output = ()> + Send;

    /// Ends an attempt whose `run` panicked.
    fn give_up(&self, lease: Lease) -> impl Future<Output = ()> + Send;

    /// Ends what a visit that is over has left running, and lets the job go on.
    fn end_visit(&self, job: JobNumber) -> impl Future<Output = ()> + Send;

    /// Takes away what ended jobs have left behind.
    ///
    /// # Errors
    /// What the store said.
    fn sweep(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// As [`Self::sweep`], for one job that ended without anybody running it.
    ///
    /// # Errors
    /// What the store said.
    fn sweep_of(&self, job: JobNumber) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Runner for Worker {
    fn run(&self, assignment: Assignment, signals: Signals) -> impl Future<Output = ()> + Send {
        Self::run(self, assignment, signals)
    }

    fn give_up(&self, lease: Lease) -> impl Future<Output = ()> + Send {
        Self::give_up(self, lease)
    }

    async fn end_visit(&self, job: JobNumber) {
        end_visit(self, job).await;
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        sweep_worktrees(self, false).await.map(|_| ())
    }

    fn sweep_of(&self, job: JobNumber) -> impl Future<Output = Result<(), StoreError>> + Send {
        sweep_worktree_of(self, job)
    }
}
