//! `offshoot wait`

use super::Context;
use super::watch;
use crate::cli::args::WaitFlags;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::wire::job::Job;

pub(super) async fn run(flags: &WaitFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let [first, ..] = flags.jobs.as_slice() else { return Ok(Ended::Done) };
    let (first, limit) = (first.clone(), flags.timeout);
    let waiting = watch::leavable(&first, all_over(flags, context));
    let jobs = match limit {
        None => waiting.await?,
        Some(limit) => tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
            Err(CliError::new(ErrorKind::TimedOut, format!("not over within {} s", limit.as_secs()))
                .hint("look at it", format!("offshoot show {first}"))
                .hint("wait on", format!("offshoot wait {}", flags.jobs.join(" "))))
        })?,
    };
    if context.out.is_json() {
        match jobs.as_slice() {
            [job] => context.out.json(job)?,
            jobs => context.out.json(&jobs)?,
        }
    } else {
        for job in &jobs {
            let text = context.viewpoint().job(job, false);
            context.out.line(&human::printable(&text))?;
        }
    }
    let ends: Vec<_> = jobs.iter().map(|job| watch::ended(job.summary.status.0)).collect();
    let worst = [Ended::JobFailed, Ended::JobCancelled].into_iter().find(|end| ends.contains(end));
    Ok(worst.unwrap_or(Ended::Done))
}

/// One after the other: the last one decides when it is over.
async fn all_over(flags: &WaitFlags, context: &mut Context<'_>) -> Result<Vec<Job>, CliError> {
    let mut over = Vec::with_capacity(flags.jobs.len());
    for job in &flags.jobs {
        over.push(watch::until_over(context, job).await?);
    }
    Ok(over)
}
