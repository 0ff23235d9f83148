//! The fault harness: real servers are killed at named places and at random moments, and what is left is audited from
//! outside.
//!
//! `cargo test --features failpoints --test chaos` strikes every failpoint once; `just long-chaos` does it twenty times, with
//! a thousand kills at random moments. A run prints its seed; `CHAOS_SEED=…` plays it again, `CHAOS_WORLD=…` one of its
//! worlds alone, `CHAOS_NAMED=git.push` the failpoints that begin so. What happens is decided by the seed; when exactly it
//! happens, by the machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod audit;
mod audit_work;
mod caller;
mod clients;
mod evidence;
#[path = "../it/fake_github/mod.rs"]
mod fake_github;
mod gather;
#[path = "../it/git_fixture.rs"]
mod git_fixture;
mod jobs;
mod old;
mod plan;
mod retries;
mod run;
mod sieges;
#[path = "../it/stand/mod.rs"]
mod stand;
mod visits;
mod watch;
mod words;
mod world;

use plan::Plan;

#[test]
fn every_failpoint_once() {
    run::run(Plan { each: 1, random: 24, ..run::from_environment() });
}

#[test]
#[ignore = "takes half an hour: just long-chaos"]
fn long_chaos() {
    run::run(Plan { each: 20, random: 1_000, ..run::from_environment() });
}
