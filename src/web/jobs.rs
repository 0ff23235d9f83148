//! All jobs: searched, narrowed, changed together.

use maud::{Markup, html};

use super::Viewer;
use super::parts::{count, empty, icon, pages, status_icon, title};
use super::queue::{name, repo, result};
use super::search::{Search, TERMS};
use super::shell::{Place, Sheet, page};
use crate::domain::job::Status;
use crate::domain::token::Scope;
use crate::wire::job::{JobPage, JobSummary};

/// All that the page is made of.
#[derive(Clone, Debug)]
pub struct JobsSheet {
    pub search: Search,
    pub page: JobPage,
    /// What is wrong with the search, in a sentence.
    pub wrong: Option<String>,
    /// Where this page begins; `None`: the first.
    pub after: Option<String>,
}

/// The page.
#[must_use]
pub fn jobs(viewer: &Viewer, sheet: &JobsSheet) -> String {
    let search = &sheet.search;
    let body = html! {
        div .head { h1 { "Jobs" } span .count { (count(sheet.page.total, "job")) } }
        (filters(search))
        form .filter action="/ui/jobs" role="search" aria-label="Narrow the list" {
            (icon("search"))
            input #q type="search" name="q" value=(search.typed) maxlength="400" autocomplete="off" spellcheck="false"
                placeholder="Words, or terms such as status:failed since:2d" aria-label="Search jobs";
            button { "Search" }
        }
        @if let Some(wrong) = &sheet.wrong { p .wrong role="alert" { (icon("failed")) (wrong) } }
        @for unknown in &search.unknown {
            p .wrong role="alert" { (icon("failed")) code { (unknown) } " is neither a duration nor a time: left out." }
        }
        @if sheet.page.jobs.is_empty() { (nothing(sheet)) } @else { (list(viewer, sheet)) }
    };
    page(viewer, Sheet { title: "Jobs", place: Place::Jobs, live: "all".to_owned(), body })
}

fn filters(search: &Search) -> Markup {
    let status = search.status.as_deref();
    let current = |wanted: Option<&str>| (status == wanted).then_some("page");
    html! {
        nav .chips aria-label="By status" {
            a href=(address(&search.with_status(None))) aria-current=[current(None)] { "All" }
            @for one in Status::ALL {
                @let word = one.as_str();
                a href=(address(&search.with_status(Some(word)))) aria-current=[current(Some(word))] { (icon(word)) (word) }
            }
        }
    }
}

fn address(typed: &str) -> String {
    if typed.is_empty() {
        return "/ui/jobs".to_owned();
    }
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", typed).finish();
    format!("/ui/jobs?{query}")
}

fn list(viewer: &Viewer, sheet: &JobsSheet) -> Markup {
    let (may_cancel, may_retry) = (viewer.may(Scope::Operate), viewer.may(Scope::Submit));
    let first = address(&sheet.search.typed);
    let from = |after: &String| {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("after", after).finish();
        format!("{first}{}{query}", if first.contains('?') { '&' } else { '?' })
    };
    let next = sheet.page.next_cursor.as_ref().map(from);
    let here = sheet.after.as_ref().map_or_else(|| first.clone(), from);
    let rows = html! { ul .rows { @for job in &sheet.page.jobs { (row(viewer, job, may_retry)) } } };
    html! {
        @if may_retry {
            form method="post" action="/ui/bulk/retry" #bulk {
                input type="hidden" name="back" value=(here);
                div .bulk role="group" aria-label="With the ticked jobs" {
                    label .tick-all hidden { input type="checkbox" data-tick-all; " all on this page" }
                    span .chosen aria-live="polite" {}
                    button { (icon("retry")) "Retry" }
                    @if may_cancel {
                        button formaction="/ui/bulk/cancel" data-ask="Cancel the ticked jobs?" { (icon("cancelled")) "Cancel" }
                    }
                }
                (rows)
            }
        } @else { (rows) }
        (pages(sheet.after.is_some().then_some((&first, "Newest")), next.as_deref().map(|next| (next, "Older"))))
    }
}

fn row(viewer: &Viewer, job: &JobSummary, tick: bool) -> Markup {
    html! {
        li .row id={ "job-" (job.number) } data-job=(job.number) {
            @if tick {
                label .tick { input type="checkbox" name="job" value=(job.number) aria-label={ "Tick #" (job.number) }; }
            }
            (status_icon(job.status.0))
            div .main {
                (name(job.number, &title(job)))
                p .where {
                    (repo(job))
                    @for label in &job.labels { " " a .label href=(address(&format!("label:{label}"))) { (label) } }
                }
            }
            (result(viewer, job))
        }
    }
}

fn nothing(sheet: &JobsSheet) -> Markup {
    if sheet.search.typed.is_empty() {
        return empty(
            "No jobs yet",
            html! { p { "Send one: " code { "offshoot submit --repo acme/widgets \"what to do\"" } } },
        );
    }
    empty(
        "No job fits",
        html! {
            dl .read {
                @for (name, value) in read(&sheet.search) { div { dt { (name) } dd { code { (value) } } } }
            }
            p { a .button href="/ui/jobs" { "Clear the search" } }
            h3 { "Terms" }
            dl .read { @for (term, what) in TERMS { div { dt { code { (term) } } dd { (what) } } } }
        },
    )
}

fn read(search: &Search) -> impl Iterator<Item = (&'static str, &str)> {
    let terms = [
        ("words", &search.words),
        ("status", &search.status),
        ("repository", &search.repo),
        ("branch", &search.branch),
        ("label", &search.label),
        ("submitted by", &search.by),
        ("since", &search.since),
        ("until", &search.until),
    ];
    terms.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
}
