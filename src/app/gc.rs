//! Clearing up on demand.

use serde_json::Value;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::token::Scope;
use crate::upkeep::Order;
use crate::wire::fields::Reading;
use crate::wire::gc::{GcRemoved, GcReport, GcSetAside, GcUnknownClone, GcUnknownWorktree};
use crate::wire::request::Gc;

impl App {
    /// Takes away what is past its time, as it happens by itself once an hour; a dry run only tells.
    ///
    /// # Errors
    /// [`AppError::Invalid`]; [`AppError::Draining`].
    pub async fn gc(&self, caller: &Caller, body: &Value) -> Result<GcReport, AppError> {
        caller.needs(Scope::Admin)?;
        self.refuse_while_draining()?;
        let mut reading = Reading::default();
        let asked = Gc::read(body, &mut reading);
        AppError::of_reading(&reading)?;
        let order = Order { dry_run: asked.dry_run, room: false };
        let upkeep = self.0.upkeep.get().cloned();
        let upkeep = upkeep.ok_or_else(|| AppError::Internal("nobody clears up here".to_owned()))?;
        let report = self
            .0
            .operations
            .detached(async move { upkeep.pass(order).await.map_err(AppError::from) })
            .await?;
        let bytes = report.bytes();
        let removed = report.removed.into_iter().map(|one| GcRemoved {
            kind: one.kind.as_str().to_owned(),
            what: one.what,
            why: one.why,
            bytes: one.bytes,
        });
        let asides = report.set_aside.into_iter();
        let set_aside =
            asides.map(|one| GcSetAside { what: one.what, lost: one.lost, bytes: one.bytes }).collect();
        let unknown = report.unknown.into_iter();
        let unknown_worktrees = unknown
            .map(|one| GcUnknownWorktree { what: one.name.display().to_string(), bytes: one.bytes })
            .collect();
        let clones = report.unknown_clones.into_iter();
        let unknown_clones = clones
            .map(|one| GcUnknownClone { what: one.name.display().to_string(), bytes: one.bytes })
            .collect();
        Ok(GcReport {
            dry_run: report.dry_run,
            removed: removed.collect(),
            more: report.more,
            bytes,
            set_aside,
            unknown_worktrees,
            unknown_clones,
        })
    }
}
