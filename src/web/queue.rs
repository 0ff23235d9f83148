//! The page that people keep open: what runs, what waits and why, what ended lately.

use maud::{Markup, html};

use super::Viewer;
use super::ansi::plain;
use super::new_job::first_words;
use super::parts::{
    self, act, ago, changes, empty, icon, link, outward, status_icon, ticking, title_of, took, until, waiting,
};
use super::shell::{Place, Sheet, page};
use crate::domain::job::Status;
use crate::domain::phrases;
use crate::domain::token::Scope;
use crate::wire::health::{Disk, Hold};
use crate::wire::job::JobSummary;
use crate::wire::queue::{Queue, QueuedJob, RunningJob};

/// Longest line of what an agent says in its row; one line of a wide screen.
const WORDS_CHARS_MAX: usize = 160;
/// Jobs that wait and are shown at once: more are a list of their own.
pub const QUEUED_SHOWN: usize = 50;

/// All that the page is made of.
#[derive(Clone, Debug)]
pub struct QueueSheet {
    pub queue: Queue,
    /// How many wait altogether, where that is known.
    pub waiting: Option<i64>,
    /// The jobs that run, whole, with what was said last of each.
    pub running: Vec<(JobSummary, Option<String>)>,
    /// Those that ended last, the newest first.
    pub ended: Vec<JobSummary>,
    pub holds: Vec<Hold>,
    pub disk: Disk,
    /// What is wrong with the database, if anything is.
    pub database_guide: Option<String>,
    /// The address under which it is looked at, for the commands on the empty page.
    pub url: String,
}

/// The page.
#[must_use]
pub fn queue(viewer: &Viewer, sheet: &QueueSheet) -> String {
    let is_new = sheet.running.is_empty() && sheet.queue.queued.is_empty() && sheet.ended.is_empty();
    let body = html! {
        (banners(viewer, &sheet.queue, &sheet.holds, &sheet.disk, sheet.database_guide.as_deref()))
        div .head {
            h1 { "Queue" }
            @if viewer.may_for_all(Scope::Operate) && !sheet.queue.paused {
                form method="post" action="/ui/queue/pause" .inline {
                    button .quiet { (icon("pause")) "Pause" }
                }
            }
        }
        @if is_new { (welcome(viewer, sheet)) } @else {
            (running(viewer, sheet))
            (queued(viewer, sheet))
            (ended(viewer, sheet))
        }
    };
    page(viewer, Sheet { title: &title(sheet), place: Place::Queue, live: "all".to_owned(), body })
}

/// With the counts first: that is what a narrow tab shows.
fn title(sheet: &QueueSheet) -> String {
    match (sheet.running.len(), sheet.queue.queued.len()) {
        (0, 0) => "Queue".to_owned(),
        (running, 0) => format!("{running} running"),
        (running, queued) => format!("{running} running, {} waiting", waiting_count(sheet, queued)),
    }
}

/// What is wrong, and what one may do about it.
pub(super) fn banners(
    viewer: &Viewer,
    queue: &Queue,
    holds: &[Hold],
    disk: &Disk,
    guide: Option<&str>,
) -> Markup {
    let may = viewer.may_for_all(Scope::Operate);
    let is_low = disk.free_bytes.is_some_and(|free| free < disk.floor_bytes);
    html! {
        @if let Some(guide) = guide {
            section .banner .bad id="banner-database" role="alert" {
                (icon("failed")) div { strong { "The database accepts no changes" } p { (guide) } }
            }
        }
        @if is_low {
            section .banner .bad id="banner-disk" role="alert" {
                (icon("failed"))
                div {
                    strong { "The disk is almost full: nothing new starts" }
                    p {
                        (phrases::size(disk.free_bytes.unwrap_or(0))) " free, "
                        (phrases::size(disk.floor_bytes)) " are kept free. To see what may go: "
                        code { "offshoot gc --dry-run" }
                    }
                }
            }
        }
        @for hold in holds { (held(hold, may)) }
        @if queue.paused {
            section .banner id="banner-paused" {
                (icon("pause"))
                div {
                    strong { "The queue is paused" }
                    p {
                        @if let Some(reason) = &queue.paused_reason { "“" (reason) "” " }
                        "What runs goes on; nothing new starts."
                    }
                }
                @if may {
                    form method="post" action="/ui/queue/resume" { button .primary { (icon("play")) "Resume" } }
                }
            }
        }
    }
}

fn held(hold: &Hold, may: bool) -> Markup {
    let what = match hold.window {
        Some(window) => format!("its {} limit is reached", window.0.adjective()),
        None => hold.code.to_string().replace('_', " "),
    };
    html! {
        section .banner .warn id={ "banner-" (hold.login) } {
            (icon("wait"))
            div {
                strong { "The agent " (hold.login) " is held: " (what) }
                p {
                    (sentence(&hold.message)) " "
                    @match (hold.probe, hold.until) {
                        (Some(job), _) => { "It is being tried by " (link(job)) "." }
                        (None, Some(at)) => { "Its jobs start again at " (until(at)) "." }
                        (None, None) => { "Its jobs wait until that is mended." }
                    }
                }
            }
            @if may && hold.probe.is_none() {
                form method="post" action="/ui/queue/try-now" {
                    input type="hidden" name="login" value=(hold.login);
                    button { "Try one now" }
                }
            }
        }
    }
}

/// With an end, where whoever said it gave it none.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    let ends = text.is_empty() || text.ends_with(['.', '!', '?', '…']);
    if ends { text.to_owned() } else { format!("{text}.") }
}

fn running(viewer: &Viewer, sheet: &QueueSheet) -> Markup {
    let places = &sheet.queue.running;
    html! {
        section .block aria-labelledby="running" {
            h2 #running { "Running " span .count { (sheet.running.len()) " of " (sheet.queue.max_concurrent) } }
            @if sheet.running.is_empty() { p .none { "Nothing runs." } }
            ul .rows {
                @for (job, words) in &sheet.running {
                    @let place = places.iter().find(|place| place.number == job.number);
                    (running_row(viewer, job, words.as_deref(), place))
                }
            }
        }
    }
}

fn running_row(viewer: &Viewer, job: &JobSummary, words: Option<&str>, place: Option<&RunningJob>) -> Markup {
    let last = words.and_then(|words| words.lines().rev().find(|line| !line.trim().is_empty()));
    let heard = place.and_then(|place| place.last_output_at);
    let phase = if job.cancel_requested_at.is_some() { "stopping".to_owned() } else { phase(job) };
    html! {
        li .row .live id={ "job-" (job.number) } data-job=(job.number) {
            (status_icon(Status::Running))
            div .main {
                (name(job.number, &parts::title(job)))
                p .where { (repo(job)) }
            }
            div .facts {
                span .chip { (phase) }
                @if let Some(seconds) = took(job, viewer.now) { (ticking(job.started_at, seconds)) }
                @if let Some(cost) = job.usage.cost_usd { span .num .faint { (phrases::money(cost)) } }
            }
            div .acts {
                @if viewer.may(Scope::Operate) && job.cancel_requested_at.is_none() {
                    (act(&format!("/ui/jobs/{}/cancel", job.number), "/ui/", html! {
                        button .quiet data-ask={ "Stop #" (job.number) "? Its work so far is kept." } { (icon("stop")) "Stop" }
                    }))
                }
            }
            p .says {
                @if let Some(last) = last { span .words { (phrases::one_line(plain(last).trim(), WORDS_CHARS_MAX)) } }
                @match heard {
                    Some(at) => { span .heard { "last output " (ago(at, viewer.now)) } }
                    None => { span .heard { "no output yet" } }
                }
            }
        }
    }
}

/// As a number, or at least so many.
fn waiting_count(sheet: &QueueSheet, listed: usize) -> String {
    match sheet.waiting {
        Some(waiting) => waiting.to_string(),
        None if sheet.queue.next_cursor.is_some() => format!("{listed}+"),
        None => listed.to_string(),
    }
}

fn queued(viewer: &Viewer, sheet: &QueueSheet) -> Markup {
    let queued = &sheet.queue.queued;
    let more = sheet.queue.next_cursor.is_some() || queued.len() > QUEUED_SHOWN;
    html! {
        section .block aria-labelledby="waiting" {
            h2 #waiting {
                "Waiting " span .count { (waiting_count(sheet, queued.len())) }
            }
            @if queued.is_empty() { p .none { "Nothing waits." } }
            ol .rows {
                @for job in queued.iter().take(QUEUED_SHOWN) { (queued_row(viewer, job)) }
            }
            @if more { p .more { a href="/ui/jobs?q=status:queued" { "All that wait" } } }
        }
    }
}

fn queued_row(viewer: &Viewer, job: &QueuedJob) -> Markup {
    html! {
        li .row id={ "job-" (job.number) } data-job=(job.number) {
            (status_icon(Status::Queued))
            div .main {
                (name(job.number, &title_of(job.title.as_deref(), &job.prompt_line, &job.branch_name)))
                p .where { (job.client_name) span .dot { "·" } code { (job.branch_name) } }
            }
            div .facts {
                (waiting(job.waiting))
                @if let Some(position) = job.position { span .num .faint title="Place in the queue" { "№ " (position) } }
                span .faint .wide { (ago(job.created_at, viewer.now)) }
            }
            div .acts {
                @if viewer.may(Scope::Operate) {
                    (act(&format!("/ui/jobs/{}/cancel", job.number), "/ui/", html! {
                        button .quiet data-ask={ "Cancel #" (job.number) "?" } { (icon("cancelled")) "Cancel" }
                    }))
                }
            }
        }
    }
}

fn ended(viewer: &Viewer, sheet: &QueueSheet) -> Markup {
    html! {
        section .block aria-labelledby="ended" {
            h2 #ended { "Ended lately" a .aside href="/ui/jobs?q=status:completed,failed,cancelled" { "See all" } }
            @if sheet.ended.is_empty() { p .none { "No job has ended yet." } }
            ul .rows { @for job in &sheet.ended { (ended_row(viewer, job)) } }
        }
    }
}

/// Also of lists.
pub(super) fn ended_row(viewer: &Viewer, job: &JobSummary) -> Markup {
    html! {
        li .row id={ "job-" (job.number) } data-job=(job.number) {
            (status_icon(job.status.0))
            div .main {
                (name(job.number, &parts::title(job)))
                p .where { (repo(job)) }
            }
            (result(viewer, job))
        }
    }
}

/// How it ended, or how far it is.
pub(super) fn result(viewer: &Viewer, job: &JobSummary) -> Markup {
    let code = job.reason.as_ref().filter(|_| job.status.0 == Status::Failed);
    html! {
        div .facts {
            @if let Some(url) = &job.pr_url {
                (outward(url, &job.pr_number.map_or_else(|| "PR".to_owned(), |number| format!("PR #{number}"))))
            } @else if let Some(reason) = code {
                span .bad-word title=(reason.message) { (reason.code.to_string().replace('_', " ")) }
            } @else if job.status.0 == Status::Queued {
                (waiting(job.waiting))
            } @else if job.status.0 == Status::Running {
                span .chip { (phase(job)) }
            } @else if let Some(outcome) = job.outcome {
                span .faint { (phrases::outcome(outcome.0)) }
            }
            @if let Some(number) = job.retried_as { span .faint { "retried as " (link(number)) } }
            (changes(job.insertions, job.deletions))
            @if let Some(seconds) = took(job, viewer.now) { span .num .faint .wide { (phrases::took(seconds)) } }
            @if let Some(cost) = job.usage.cost_usd { span .num .faint .wide { (phrases::money(cost)) } }
            span .faint { (ago(job.completed_at.unwrap_or(job.created_at), viewer.now)) }
        }
    }
}

pub(super) fn name(number: i64, title: &str) -> Markup {
    html! { a .name href={ "/ui/jobs/" (number) } { (title) " " span .number { "#" (number) } } }
}

pub(super) fn repo(job: &JobSummary) -> Markup {
    html! { (job.client.github_org) "/" (job.client.github_repo) span .dot { "·" } code { (job.branch_name) } }
}

pub(super) fn phase(job: &JobSummary) -> String {
    job.phase.to_string().replace('_', " ").replace("opening pr", "opening PR")
}

/// The three ways in, with the real address.
fn welcome(viewer: &Viewer, sheet: &QueueSheet) -> Markup {
    let curl = format!(
        "curl {}/jobs -H \"Authorization: Bearer $AGENT_API_SECRET\" -H 'Content-Type: application/json' \\\n  \
         -d '{{\"githubOrg\": \"acme\", \"githubRepo\": \"widgets\", \"prompt\": \"Fix the flaky login test\"}}'",
        sheet.url
    );
    empty(
        "The queue is empty: send the first job",
        html! {
            p { "A job is a prompt, a repository, and a branch; what comes back is a pull request." }
            (first_words(viewer))
            h3 { "From a terminal" }
            pre { "offshoot submit --repo acme/widgets --follow \"Fix the flaky login test\"" }
            h3 { "From any program" }
            pre { (curl) }
        },
    )
}
