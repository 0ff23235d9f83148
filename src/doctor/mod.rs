//! What is missing on this machine, and the command that mends it.
//!
//! Promises: every check is one function in one table ([`CHECKS`]), every fault one row of another ([`Fault`]), with a code
//! that never changes, a verdict and what to type; `docs/doctor.md` is made from both. It works without a server and with a
//! configuration that cannot be read: what then cannot be looked at says so, the rest goes on. Looking changes nothing: no
//! directory is made, nothing is spent, and no other host is spoken to unless [`Patient::online`] says so. Every question has a
//! deadline.
//!
//! Must not know: terminals, arguments, the store, how the server is put together. What the server knows it is asked for.
//!
//! Fails: never; what cannot be found out is a finding.
//!
//! Tested: each fault beside the code or in `tests/it/doctor.rs`, where whole commands meet a broken machine.

mod agents;
mod fault;
mod files;
mod finding;
mod patient;
mod places;
mod programs;
mod server;
mod service;
mod table;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use patient::{InstalledService, Patient, ServerLook};
pub use places::where_programs_are;
pub use table::{CHECKS, Check};

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::wire::doctor::{Finding, Report};

/// What a server is not told of itself: whoever installed it knows where its file is.
const OF_THE_SHELL: &[&str] = &["service"];

/// A check that gives up parts of itself in time is not given up as a whole.
const GRACE: Duration = Duration::from_secs(1);

/// Makes all checks, in the order of the table, and tells each finding as it comes.
pub async fn examine(patient: &Patient<'_>, mut tell: impl FnMut(&Finding)) -> Report {
    let mut findings = Vec::new();
    for check in CHECKS {
        for finding in (check.look)(patient).await {
            tell(&finding);
            findings.push(finding);
        }
    }
    Report::of(findings)
}

/// What a running server finds of its own side, within [`Patient::within`] and a moment of grace; what is not over by then says so, and keeps
/// nothing else from being looked at. `patient` is the server itself: its environment, its configuration, and what it would say of
/// its health.
pub async fn examine_server(patient: &Patient<'_>) -> Report {
    let limit = patient.within.unwrap_or(Duration::MAX);
    let checks = CHECKS.iter().filter(|check| !OF_THE_SHELL.contains(&check.name));
    let looks = checks.map(|check| async move {
        let found = timeout(limit.saturating_add(GRACE), (check.look)(patient)).await;
        found.unwrap_or_else(|_| vec![Finding::skipped(check.name, not_over(limit))])
    });
    Report::of(join_all(looks).await.into_iter().flatten().collect())
}

fn not_over(limit: Duration) -> String {
    format!("not over within {} s; from a shell:  offshoot doctor", limit.as_secs())
}
