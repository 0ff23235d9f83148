//! `offshoot gc`

use super::Context;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;

pub(super) async fn run(dry_run: bool, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let report = context.api.gc(dry_run).await?;
    if context.out.is_json() {
        context.out.json(&report)?;
        return Ok(Ended::Done);
    }
    for one in &report.set_aside {
        let lost = match one.lost.as_deref() {
            None => "not looked at yet".to_owned(),
            Some([]) => "all of it is in the new one".to_owned(),
            Some(lost) => format!("only there: {}", lost.join(", ")),
        };
        let size = human::size(one.bytes);
        context.out.say(&format!(
            "A damaged clone, {size}: {}\n  {lost}\n  not needed any more:  rm -rf it, below paths.repos_dir",
            one.what
        ));
    }
    for one in &report.unknown_worktrees {
        let size = human::size(one.bytes);
        context.out.say(&format!(
            "A worktree of a job that the database does not know, {size}: {}\n  not needed any more:  rm -rf it, below paths.worktrees_dir",
            one.what
        ));
    }
    for one in &report.unknown_clones {
        let size = human::size(one.bytes);
        context.out.say(&format!(
            "A clone that is no client's and may hold work, or be another server's, {size}: {}\n  go on with it:  offshoot client add\n  nobody needs it any more:  rm -rf it, below paths.repos_dir",
            one.what
        ));
    }
    if report.removed.is_empty() {
        context.out.say("Nothing is past its time.");
        return Ok(Ended::Done);
    }
    let rows = report.removed.iter().map(|one| {
        let size = one.bytes.map_or_else(|| "-".to_owned(), human::size);
        vec![one.kind.clone(), one.what.clone(), one.why.clone(), size]
    });
    context.out.table(&["KIND", "WHAT", "WHY", "SIZE"], rows.collect(), &[])?;
    let count = report.more + u64::try_from(report.removed.len()).unwrap_or(u64::MAX);
    let size = human::size(report.bytes);
    match report.dry_run {
        true => context.out.say(&format!("{count} would go, {size} that are known\n  do it:  offshoot gc")),
        false => context.out.say(&format!("{count} gone, {size} that are known")),
    }
    Ok(Ended::Done)
}
