//! The demonstration: the real pipeline, with nothing of anybody's.
//!
//! Promises: `offshoot demo` needs no account, no network and no configuration. It runs the same server as `serve`, in a
//! temporary directory of its own, with a scripted agent in place of a paid one, a local bare repository as remote and
//! pull requests as records beside it; it reads nothing of the user's configuration and leaves nothing behind.
//!
//! Must not know: how the parts work; it is a user of `daemon`, `api_client`, `forge::LocalForge` and `webhook`.
//!
//! Fails: with the first step that does not work, in words. Tested: `tests/it/demo.rs` runs it as a process.

pub mod agent;
mod fill;
mod receiver;
pub mod sample;
mod stage;
mod story;

use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{DemoFlags, Output};
use crate::config::Environment;
use stage::Stage;

/// The whole story after the build; a machine on which it takes longer has a problem worth seeing.
const STORY_MAX: Duration = Duration::from_secs(120);

/// Runs the demonstration and prints what happens.
///
/// # Errors
/// The first step that does not work.
pub fn run(flags: &DemoFlags, env: &Environment, out: &mut Output) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stage = Stage::set(env, flags.port).await.context("setting the stage")?;
        let told = tokio::time::timeout(STORY_MAX, story::tell(&stage, flags.keep, out)).await;
        let told = told.context("the demonstration took too long").and_then(|told| told);
        let told = match told {
            Ok(()) if flags.keep => {
                out.say("\nSending more jobs, one for each state that a job can be in ...");
                let filled = tokio::time::timeout(STORY_MAX, fill::fill(&stage)).await;
                filled.context("filling the dashboard took too long").and_then(|filled| filled)
            }
            other => other,
        };
        if flags.keep && told.is_ok() {
            stage.invite(out).await;
            stage.serve_until_signalled().await;
            return Ok(());
        }
        stage.strike().await;
        told
    })
}
