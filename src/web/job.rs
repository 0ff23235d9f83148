//! Everything about one job on one page: what came of it, how far it came, what it was asked, what it told.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::Viewer;
use super::changes::tabs;
use super::log::lines;
use super::next::card;
use super::parts::{act, ago, encoded, icon, link, status_icon, ticking, title, took, until};
use super::shell::{Place, Sheet, page};
use super::steps::Steps;
use crate::domain::delivery::DeliveryState;
use crate::domain::phrases;
use crate::domain::token::Scope;
use crate::wire::delivery::Delivery;
use crate::wire::event::Event;
use crate::wire::job::{Job, JobSummary};

/// A prompt that is longer is folded.
const PROMPT_LINES: usize = 14;

/// All that the page is made of.
#[derive(Clone, Debug)]
pub struct JobSheet {
    pub job: Job,
    /// The events that moved it, the oldest first.
    pub life: Vec<Event>,
    /// A piece of all of its events.
    pub told: Vec<Event>,
    /// The number of an event before which there is more.
    pub older: Option<i64>,
    /// The number behind which the log goes on.
    pub upto: i64,
    /// The piece is not the newest one.
    pub is_earlier: bool,
    pub deliveries: Vec<Delivery>,
    /// By their ids, the numbers of the jobs that it has to do with.
    pub numbers: BTreeMap<String, i64>,
}

/// The page.
#[must_use]
pub fn job(viewer: &Viewer, sheet: &JobSheet) -> String {
    let it = &sheet.job.summary;
    let steps = Steps::of(&sheet.life);
    let body = html! {
        div .head .job-head {
            (status_icon(it.status.0))
            h1 { (title(it)) " " span .number { "#" (it.number) } }
            @if let Some(seconds) = took(it, viewer.now) {
                @if it.completed_at.is_some() { span .num .faint { (phrases::took(seconds)) } }
                @else { (ticking(it.started_at, seconds)) }
            }
        }
        (tabs(it, false))
        (steps.show(it.status.0, viewer.now))
        div .columns {
            div .wide-column {
                (card(viewer, sheet, &steps))
                (prompt(&sheet.job))
            }
            aside aria-label="About this job" { (about(viewer, sheet)) }
        }
        (log(viewer, sheet))
    };
    let live = if it.status.0.is_live() { it.number.to_string() } else { String::new() };
    let tab = format!("#{} {}", it.number, title(it));
    page(viewer, Sheet { title: &tab, place: Place::Job, live, body })
}

fn prompt(job: &Job) -> Markup {
    let text = phrases::printable(job.prompt.trim_end());
    let lines = text.lines().count();
    html! {
        section #prompt .block {
            h2 { "Prompt" }
            @if lines > PROMPT_LINES {
                details { summary { (phrases::one_line(&text, 120)) span .faint { " (" (lines) " lines)" } } pre .prose { (text) } }
            } @else { pre .prose { (text) } }
        }
    }
}

fn about(viewer: &Viewer, sheet: &JobSheet) -> Markup {
    let job = &sheet.job.summary;
    html! {
        dl .about {
            (fact("Repository", html! { (job.client.github_org) "/" (job.client.github_repo) }))
            (fact("Branch", html! { code { (job.branch_name) } (base(job)) }))
            (fact("Agent", html! { (job.agent) @if let Some(profile) = &job.profile { " with the profile " (profile) } }))
            (fact("Submitted", html! { (ago(job.created_at, viewer.now)) " by " (job.submitted_by) }))
            @if let Some(at) = job.run_at { (fact("Not before", until(at))) }
            @if !job.labels.is_empty() {
                (fact("Labels", html! { @for label in &job.labels { span .label { (label) } " " } }))
            }
            @if job.priority != 0 { (fact("Priority", html! { (job.priority) })) }
            @if let Some(feature) = &job.os_feature_id { (fact("Feature", html! { (feature) })) }
            @for (name, id) in [("Retry of", &job.original_job_id), ("Follows", &job.parent_job_id)] {
                @if let Some(id) = id { (fact(name, named(sheet, id))) }
            }
            @if let Some(number) = job.retried_as { (fact("Retried as", link(number))) }
            @for id in &job.depends_on { (fact("Waits for", named(sheet, id))) }
            (fact("Id", html! { code { (job.id) } }))
            @if let Some(path) = &job.worktree_path { (fact("Worktree", html! { code .path { (path) } })) }
        }
        @if sheet.job.attempts.len() > 1 || sheet.job.attempts.iter().any(|attempt| attempt.reason.is_some()) {
            (attempts(viewer, &sheet.job))
        }
        @if !sheet.deliveries.is_empty() { (deliveries(viewer, sheet)) }
        @if !job.artifacts.is_empty() { (artifacts(job)) }
    }
}

/// Another job, by its number where that is known.
fn named(sheet: &JobSheet, id: &str) -> Markup {
    match sheet.numbers.get(id) {
        Some(number) => link(*number),
        None => html! { a href={ "/ui/jobs/" (id) } { (id) } },
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn base(job: &JobSummary) -> Markup {
    let sha = job.base_sha.as_deref().map(|sha| &sha[..sha.len().min(7)]);
    html! {
        @if job.base_branch.is_some() || sha.is_some() {
            span .faint { " from " (job.base_branch.as_deref().unwrap_or("the default branch")) @if let Some(sha) = sha { "@" (sha) } }
        }
    }
}

fn attempts(viewer: &Viewer, job: &Job) -> Markup {
    html! {
        section #attempts {
            h2 { "Attempts" }
            ol .small-rows {
                @for attempt in &job.attempts {
                    li {
                        b { (attempt.number) } " "
                        @match &attempt.reason {
                            Some(reason) => { span title=(reason.message) { (reason.code.to_string().replace('_', " ")) } }
                            None if attempt.ended_at.is_none() => { "running" }
                            None => { "done" }
                        }
                        span .faint {
                            " " (ago(attempt.started_at, viewer.now))
                            @if !attempt.counted && attempt.reason.is_some() { ", not counted" }
                            @if attempt.isolation == "none" { ", no sandbox" }
                        }
                    }
                }
            }
        }
    }
}

fn deliveries(viewer: &Viewer, sheet: &JobSheet) -> Markup {
    let number = sheet.job.summary.number;
    html! {
        section #webhooks {
            h2 { "Webhooks" }
            ul .small-rows {
                @for delivery in &sheet.deliveries {
                    li {
                        span .{ "delivery-" (delivery.state) } { (delivery.state) } " "
                        code .path { (delivery.url) }
                        p .faint {
                            (tries(delivery))
                            @if let Some(at) = delivery.next_try_at { ", next " (until(at)) }
                            @if let Some(error) = &delivery.last_error { ": " (phrases::one_line(error, 120)) }
                        }
                        @if viewer.may(Scope::Operate) && delivery.state.0 != DeliveryState::Pending {
                            (act(&format!("/ui/jobs/{number}/deliveries/{}/redeliver", delivery.id), &format!("/ui/jobs/{number}"),
                                html! { button .quiet { (icon("retry")) "Send again" } }))
                        }
                    }
                }
            }
        }
    }
}

fn tries(delivery: &Delivery) -> String {
    let tries = if delivery.tries == 1 { "1 try".to_owned() } else { format!("{} tries", delivery.tries) };
    delivery.last_status.map_or(tries.clone(), |status| format!("{tries}, last answer {status}"))
}

fn artifacts(job: &JobSummary) -> Markup {
    html! {
        section #artifacts {
            h2 { "Artifacts" }
            ul .small-rows {
                @for file in &job.artifacts {
                    @let path: String = file.path.split('/').map(encoded).collect::<Vec<_>>().join("/");
                    li { a href={ "/ui/jobs/" (job.number) "/artifacts/" (path) } { (phrases::printable(&file.path)) }
                        span .faint { " " (phrases::size(file.bytes)) } }
                }
            }
        }
    }
}

fn log(viewer: &Viewer, sheet: &JobSheet) -> Markup {
    let job = &sheet.job.summary;
    let here = format!("/ui/jobs/{}", job.number);
    let is_live = job.status.0.is_live() && !sheet.is_earlier;
    html! {
        section #log-section .block aria-labelledby="log-title" data-still {
            div .log-bar {
                h2 #log-title { "Log" }
                form .log-find role="search" aria-label="In the log" data-log-find hidden {
                    input type="search" aria-label="Find in the log" placeholder="Find in the log";
                    span .found aria-live="polite" {}
                }
                span .grow {}
                button .quiet type="button" data-fold-all hidden { "Open all" }
                a .quiet .button href={ (here) "/log" } { "As text" }
                a .quiet .button href={ (here) "/log?raw=true" } download={ "job-" (job.number) ".jsonl" } { "Raw" }
            }
            @if let Some(older) = sheet.older {
                p .more { a href={ (here) "?before=" (older) "#log-section" } { "Older lines" } }
            }
            div .log-frame role="log" aria-label="Log" aria-live="off" tabindex="0" {
                ol #log .log data-job=(job.number) data-upto=(sheet.upto) data-live=[is_live.then_some("yes")] {
                    @if !viewer.part_only { (lines(&sheet.told)) }
                }
            }
            @if sheet.told.is_empty() { p .none { "Nothing was told yet." } }
            @if sheet.is_earlier { p .more { a href={ (here) "#log-section" } { "Newest lines" } } }
            @if is_live { p .follow { button .pill type="button" data-follow hidden { "Follow" } } }
        }
    }
}
