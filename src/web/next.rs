//! What came of a job, and what one may do next: the card that somebody reads at night.

use maud::{Markup, html};

use super::Viewer;
use super::ansi::ansi;
use super::job::JobSheet;
use super::parts::{changes, command, count, icon, is_web, link, outward, waiting};
use super::queue::phase;
use super::steps::Steps;
use crate::domain::event::MessageKind;
use crate::domain::job::{Outcome, Status};
use crate::domain::phrases;
use crate::domain::token::Scope;
use crate::wire::event::Event;
use crate::wire::job::{JobSummary, Verification};
use crate::wire::message::Message;

/// Of what failed: more is in the log.
const LAST_LINES: usize = 20;
/// Events from the end that may hold them.
const LOOKED_AT: usize = 200;

pub(super) fn card(viewer: &Viewer, sheet: &JobSheet, steps: &Steps) -> Markup {
    let job = &sheet.job.summary;
    let status = job.status.0;
    html! {
        section #outcome .card .{ "is-" (status) } aria-label="Outcome" {
            h2 { (icon(status.as_str())) (headline(job, steps)) }
            @if let Some(reason) = job.reason.as_ref().filter(|_| status == Status::Failed) {
                p .lead { (phrases::printable(&reason.message)) }
                @if !sheet.is_earlier { (last_lines(sheet)) }
                p .hint { b { "What helps: " } (reason.hint) " " code .faint { (reason.code) } }
            }
            @if let Some(number) = job.retried_as { p .lead { (icon("retry")) "Retried as " (link(number)) } }
            (facts(job))
            @for check in &job.verify { (verified(check)) }
            @for warning in &job.warnings { p .warning { (icon("wait")) (phrases::printable(warning)) } }
            (actions(viewer, job))
        }
    }
}

fn headline(job: &JobSummary, steps: &Steps) -> Markup {
    let pull_request = || {
        job.pr_number.map_or_else(|| "Pull request".to_owned(), |number| format!("Pull request #{number}"))
    };
    html! {
        @match (job.status.0, job.outcome.map(|outcome| outcome.0)) {
            (Status::Queued, _) => { "Queued: " (waiting(job.waiting)) @if let Some(position) = job.position { ", № " (position) } }
            (Status::Running, _) if job.cancel_requested_at.is_some() => { "Stopping" }
            (Status::Running, _) => { "Running: " (phase(job)) }
            (Status::Failed, _) => { "Failed" @if let Some(name) = steps.ended_in() { " in " (name) } }
            (Status::Cancelled, _) => { "Cancelled" @if let Some(name) = steps.ended_in() { " in " (name) } }
            (_, Some(Outcome::PullRequest)) => {
                @match &job.pr_url { Some(url) => { (outward(url, &pull_request())) }, None => { (pull_request()) } }
            }
            (_, Some(Outcome::BranchPushed)) => { "Pushed: " code { (job.branch_name) } }
            (_, Some(Outcome::NoChanges)) => { "Nothing had to be changed" }
            (_, Some(Outcome::DryRun)) => { "Done and kept here: nothing was published" }
            _ => { "Completed" }
        }
    }
}

fn facts(job: &JobSummary) -> Markup {
    html! {
        ul .figures {
            @if let Some(files) = job.files_changed.filter(|files| *files > 0) {
                li { a href={ "/ui/jobs/" (job.number) "/changes" } { (count(files, "file")) } " " (changes(job.insertions, job.deletions)) }
            }
            @if let Some(cost) = job.usage.cost_usd { li { (phrases::money(cost)) } }
            @if job.usage.output_tokens > 0 {
                li { (thousands(job.usage.input_tokens + job.usage.cache_read_tokens + job.usage.cache_write_tokens)) " in, "
                    (thousands(job.usage.output_tokens)) " out" span .faint { " tokens" } }
            }
            @if job.attempt > 1 { li { "attempt " (job.attempt) } }
        }
    }
}

fn thousands(tokens: u64) -> String {
    if tokens < 1_000 { tokens.to_string() } else { format!("{}k", tokens / 1_000) }
}

fn verified(check: &Verification) -> Markup {
    let good = check.exit_code == Some(0);
    html! {
        p .verified {
            (icon(if good { "completed" } else { "failed" }))
            code { (phrases::one_line(&check.command, 120)) }
            @match check.exit_code {
                Some(0) => { " passed" }
                Some(code) => { span .bad-word { " exit " (code) } }
                None => { span .bad-word { " did not end by itself" } }
            }
            span .faint .num { " " (phrases::took(check.duration_ms / 1_000)) }
            @if check.round > 1 { span .faint { " after repair " (check.round - 1) } }
        }
    }
}

/// Of the verification that refused, else of what was said last.
fn last_lines(sheet: &JobSheet) -> Markup {
    let refused = sheet.job.summary.verify.iter().rev().find_map(|check| check.output.as_deref());
    let messages: Vec<_> = sheet.told.iter().rev().filter_map(Event::message).take(LOOKED_AT).collect();
    // of the programs rather than of us, where they said anything
    let of_programs = |message: &&Message| message.type_.0 != MessageKind::System;
    let wanted: Vec<_> = match messages.iter().any(|message| of_programs(&message)) {
        true => messages.iter().filter(of_programs).collect(),
        false => messages.iter().collect(),
    };
    let said = || {
        let last = wanted.iter().take(LAST_LINES).rev();
        last.map(|message| message.content.trim_end()).collect::<Vec<_>>().join("\n")
    };
    let text = refused.map_or_else(said, str::to_owned);
    let lines: Vec<_> = text.trim_end().lines().collect();
    let shown = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    html! { @if !shown.trim().is_empty() { pre .last tabindex="0" aria-label="Last lines" { (ansi(&shown)) } } }
}

fn actions(viewer: &Viewer, job: &JobSummary) -> Markup {
    let number = job.number;
    let status = job.status.0;
    let is_published =
        job.pr_url.is_some() || job.outcome.is_some_and(|outcome| outcome.0 == Outcome::BranchPushed);
    let may_retry = matches!(status, Status::Failed | Status::Cancelled)
        || job.outcome.is_some_and(|outcome| outcome.0 == Outcome::DryRun);
    html! {
        div .next {
            @if status.is_live() {
                @if viewer.may(Scope::Operate) && job.cancel_requested_at.is_none() {
                    form method="post" action={ "/ui/jobs/" (number) "/cancel" } .inline {
                        button data-key="s" data-ask={ "Stop #" (number) "? Its work so far is kept." } {
                            (icon("stop")) @if status == Status::Running { "Stop" } @else { "Cancel" }
                        }
                    }
                }
                (command(&format!("offshoot logs {number} -f")))
            } @else {
                @if let Some(url) = job.pr_url.as_deref().filter(|url| is_web(url)) {
                    a .button .primary href=(url) rel="noreferrer noopener" { (icon("pr")) "Open the pull request" }
                }
                @if viewer.may(Scope::Submit) {
                    @if may_retry {
                        form method="post" action={ "/ui/jobs/" (number) "/retry" } .inline {
                            @if job.outcome.is_some_and(|outcome| outcome.0 == Outcome::DryRun) {
                                input type="hidden" name="mode" value="publish";
                                button .primary data-key="r" data-ask={ "Publish #" (number) "?" } { (icon("retry")) "Publish it" }
                            } @else {
                                button .primary[job.retried_as.is_none()] data-key="r" data-ask={ "Retry #" (number) "? Only what failed is repeated." } { (icon("retry")) "Retry" }
                            }
                        }
                    }
                    details .follow-up {
                        summary .button { (icon("reply")) "Follow up" }
                        form method="post" action={ "/ui/jobs/" (number) "/follow-up" } .stack {
                            label { "What shall be done next, on the same branch and in the same conversation?"
                                textarea name="prompt" rows="4" required {} }
                            button .primary { "Queue it" }
                        }
                    }
                }
                @if is_published {
                    (command(&format!("git fetch origin {0} && git switch {0}", job.branch_name)))
                } @else if job.base_sha.is_some() && job.exit_code.is_some() {
                    (command(&format!("offshoot rescue {number}")))
                }
            }
        }
    }
}
