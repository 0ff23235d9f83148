//! `offshoot restore`

use serde_json::json;

use crate::cli::Restore;
use crate::cli::args::{Global, RestoreFlags};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::config::{Config, Environment, Flags};

/// Puts a backup in the place of the database; for when no server runs.
pub(in crate::cli) fn run(
    global: &Global,
    flags: &RestoreFlags,
    env: &Environment,
    restore: Restore,
    out: &mut Output,
) -> Result<(), CliError> {
    let overrides = Flags { data_dir: flags.data_dir.clone(), ..Flags::default() };
    let config = Config::load(&overrides, env, global.config.as_deref())?;
    let done = restore(&config, &flags.backup)?;
    if out.is_json() {
        return out.json(&json!({
            "restored": flags.backup.display().to_string(),
            "lastJob": done.last_job,
            "queuePaused": true,
            "setAside": done.set_aside.as_ref().map(|dir| dir.display().to_string()),
        }));
    }
    let last = if done.last_job == 0 {
        "it has no jobs".to_owned()
    } else {
        format!("its last job is #{}", done.last_job)
    };
    out.line(&format!(
        "Restored {}; {last}. What came after it is not in the queue any more.",
        flags.backup.display()
    ))?;
    if let Some(dir) = &done.set_aside {
        out.say(&format!("the database that was there is in {}", dir.display()));
    }
    out.say(
        "the queue is paused: jobs that have ended since the backup are queued or running in it again, and would run, be paid and call back a second time",
    );
    out.say("start the server:  offshoot serve");
    out.say("look, cancel what is done already, and let the rest go on:  offshoot ls, offshoot cancel JOB, offshoot queue resume");
    Ok(())
}
