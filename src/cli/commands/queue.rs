//! `offshoot queue`

use super::Context;
use crate::cli::args::QueueVerb;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;
use crate::cli::views::Viewpoint;
use crate::wire::queue::Queue;

pub(super) async fn run(verb: QueueVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let queue = match verb {
        QueueVerb::Status => context.api.queue().await?,
        QueueVerb::Pause { reason } => context.api.pause_queue(reason).await?,
        QueueVerb::Resume => context.api.resume_queue().await?,
        QueueVerb::TryNow { login } => context.api.try_now(login).await?,
    };
    if context.out.is_json() {
        context.out.json(&queue)?;
        return Ok(Ended::Done);
    }
    let rows = rows(&queue, &context.viewpoint());
    if !rows.is_empty() {
        context.out.table(&["#", "POSITION", "STATE", "REPO", "BRANCH", "TIME", "LAST OUTPUT"], rows, &[])?;
    }
    context.out.line(&headline(&queue))?;
    for warning in &queue.warnings {
        context.out.say(&format!("warning: {warning}"));
    }
    if queue.paused {
        context.out.say("start jobs again:  offshoot queue resume");
    }
    Ok(Ended::Done)
}

/// `2 of 2 running, 3 waiting. Queue open.`
pub(super) fn headline(queue: &Queue) -> String {
    let more = if queue.next_cursor.is_some() { " or more" } else { "" };
    let state = match (queue.paused, &queue.paused_reason) {
        (false, _) => "open".to_owned(),
        (true, None) => "paused".to_owned(),
        (true, Some(reason)) => format!("paused ({reason})"),
    };
    format!(
        "{} of {} running, {}{more} waiting. Queue {state}.",
        queue.running.len(),
        queue.max_concurrent,
        queue.queued.len(),
    )
}

fn rows(queue: &Queue, view: &Viewpoint) -> Vec<Vec<String>> {
    let running = queue.running.iter().map(|job| {
        vec![
            job.number.to_string(),
            "running".to_owned(),
            job.phase.to_string().replace('_', " "),
            job.client_name.clone(),
            job.branch_name.clone(),
            human::took(job.running_for_seconds),
            job.last_output_at.map_or_else(|| "-".to_owned(), |at| format!("{} ago", view.age(at))),
        ]
    });
    let queued = queue.queued.iter().map(|job| {
        vec![
            job.number.to_string(),
            job.position.map_or_else(|| "-".to_owned(), |position| position.to_string()),
            job.waiting.map_or_else(|| "starts now".to_owned(), |waiting| view.waiting(waiting)),
            job.client_name.clone(),
            job.branch_name.clone(),
            format!("queued {} ago", view.age(job.created_at)),
            "-".to_owned(),
        ]
    });
    running.chain(queued).collect()
}
