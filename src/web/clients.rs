//! Repositories: whether they are here, how fresh, whether anything holds them, and what one may do about it.

use maud::{Markup, html};

use super::Viewer;
use super::fields::{Entries, Field};
use super::parts::{act, ago, command, count, empty, encoded, icon, pages};
use super::queue::ended_row;
use super::shell::{Place, Sheet, page};
use crate::domain::phrases;
use crate::domain::token::Scope;
use crate::wire::client::{Client, ClientDetail};
use crate::wire::job::JobSummary;

/// All that the list is made of.
#[derive(Clone, Debug)]
pub struct ClientsSheet {
    pub clients: Vec<ClientDetail>,
    /// The number of the first one, counted from 0.
    pub first: usize,
    /// Altogether.
    pub total: usize,
    /// What was written to register another one.
    pub entries: Entries,
}

/// All that the page of one is made of.
#[derive(Clone, Debug)]
pub struct ClientSheet {
    pub client: ClientDetail,
    /// Options that are set, by their names, as JSON.
    pub options: Vec<(String, String)>,
    /// Its jobs, the newest first: some of them.
    pub jobs: Vec<JobSummary>,
}

const LIST: &str = "/ui/clients";

const REPO: Field =
    Field { name: "repo", label: "Repository", pointers: &["/githubOrg", "/githubRepo"], help: "owner/name" };
const NAME: Field = Field {
    name: "name",
    label: "Name",
    pointers: &["/name"],
    help: "what it is called here; the repository's when empty",
};
const BRANCH: Field = Field {
    name: "defaultBranch",
    label: "Branch",
    pointers: &["/defaultBranch"],
    help: "that jobs start from; the remote's own when empty",
};
const URL: Field = Field {
    name: "cloneUrl",
    label: "Cloned from",
    pointers: &["/cloneUrl"],
    help: "where it is somewhere else than the others",
};
const FIELDS: [Field; 4] = [REPO, NAME, BRANCH, URL];

/// The list.
#[must_use]
pub fn clients(viewer: &Viewer, sheet: &ClientsSheet) -> String {
    let upto = sheet.first + sheet.clients.len();
    let body = html! {
        div .head {
            h1 { "Repositories" }
            span .count { (sheet.total) }
            @if viewer.may(Scope::Operate) && sheet.total > 0 {
                form method="post" action="/ui/sync" { input type="hidden" name="back" value=(here(sheet.first)); button .quiet { (icon("retry")) "Sync all" } }
            }
        }
        (sheet.entries.refused("Nothing was registered", &FIELDS))
        // what comes and goes above the form has names, so that a look at the page never takes the form for something else
        @if sheet.total == 0 { div #none-yet { (none_yet()) } }
        ul #clients .rows { @for client in &sheet.clients { (row(viewer, client, &here(sheet.first))) } }
        @let next = here(upto);
        (pages((sheet.first > 0).then_some((LIST, "First")), (upto < sheet.total).then_some((&next, "More"))))
        @if viewer.may(Scope::Admin) { (register(sheet)) }
    };
    // what was refused would be gone with the next look
    let live = if sheet.entries.problem.is_some() { "" } else { "all" };
    page(viewer, Sheet { title: "Repositories", place: Place::Clients, live: live.to_owned(), body })
}

fn none_yet() -> Markup {
    empty(
        "No repository is known yet",
        html! {
            p { "The first job for one registers it, and so does this:" }
            p { (command("offshoot client add acme/widgets")) }
        },
    )
}

/// The list from there on.
fn here(first: usize) -> String {
    if first == 0 { LIST.to_owned() } else { format!("{LIST}?first={first}") }
}

fn address(client: &Client) -> String {
    format!("/ui/clients/{}", client.id)
}

fn row(viewer: &Viewer, detail: &ClientDetail, here: &str) -> Markup {
    let client = &detail.client;
    let name = client.full_name();
    html! {
        li .row .plain-row id={ "client-" (client.id) } data-job=(client.id) {
            div .main {
                a .name href=(address(client)) { (phrases::one_line(&name, 120)) }
                p .where {
                    @if client.name != client.github_repo && client.name != name { (phrases::one_line(&client.name, 80)) span .dot { "·" } }
                    (branch(client)) span .dot { "·" } (freshness(viewer, detail))
                }
            }
            div .facts {
                @if client.paused { span .why .held { "paused" @if let Some(why) = &client.paused_reason { ": " (phrases::one_line(why, 80)) } } }
                (jobs_link(detail))
            }
            div .acts {
                @if viewer.may(Scope::Operate) { (sync(client, here, "quiet")) }
            }
        }
    }
}

fn branch(client: &Client) -> Markup {
    html! {
        @match &client.default_branch { Some(branch) => { code { (branch) } }, None => { "its own default branch" } }
    }
}

fn freshness(viewer: &Viewer, detail: &ClientDetail) -> Markup {
    html! {
        @match (detail.client.repo_exists, detail.last_fetched_at) {
            (true, Some(at)) => { "synced " (ago(at, viewer.now)) }
            (true, None) => { "cloned" }
            (false, _) => { span .bad-word { "not cloned yet" } }
        }
    }
}

fn jobs_link(detail: &ClientDetail) -> Markup {
    let query = encoded(&format!("repo:{}", detail.client.full_name()));
    html! {
        a .faint href={ "/ui/jobs?q=" (query) } {
            @if detail.active_jobs > 0 { (detail.active_jobs) " live of " }
            (count(detail.total_jobs, "job"))
        }
    }
}

fn sync(client: &Client, back: &str, class: &str) -> Markup {
    act(
        &format!("{}/sync", address(client)),
        back,
        html! { button .(class) { (icon("retry")) "Sync" span .unseen { " " (client.full_name()) } } },
    )
}

fn register(sheet: &ClientsSheet) -> Markup {
    let entries = &sheet.entries;
    html! {
        details #register .apart open[entries.problem.is_some()] {
            summary .button { (icon("plus")) "Register a repository" }
            form .stack method="post" action="/ui/clients" {
                div .pair { @for field in &FIELDS { (entries.line(field)) } }
                p .faint { "It is cloned before the answer comes, which takes as long as that takes." }
                button .primary { "Register and clone" }
            }
        }
    }
}

/// The page of one.
#[must_use]
pub fn client(viewer: &Viewer, sheet: &ClientSheet) -> String {
    let client = &sheet.client.client;
    let name = client.full_name();
    let body = html! {
        div .head {
            h1 { (phrases::one_line(&name, 120)) }
            @if client.deleted_at.is_some() { span .chip { "removed" } }
            @else if client.paused { span .chip .amber { "paused" } }
        }
        @if client.paused && client.deleted_at.is_none() { (paused(client)) }
        div .columns {
            div .wide-column {
                section .block aria-labelledby="its-jobs" {
                    h2 #its-jobs { "Jobs" span .aside { (jobs_link(&sheet.client)) } }
                    @if sheet.jobs.is_empty() { p .none { "No job was sent to it yet." } }
                    ul .rows { @for job in &sheet.jobs { (ended_row(viewer, job)) } }
                }
            }
            aside aria-label="About this repository" { (about(viewer, sheet)) }
        }
        @if client.deleted_at.is_none() { (actions(viewer, client)) }
    };
    page(viewer, Sheet { title: &name, place: Place::Client, live: String::new(), body })
}

fn paused(client: &Client) -> Markup {
    html! {
        section .banner .warn id="banner-paused" {
            (icon("pause"))
            div {
                strong { "Nothing of it starts" }
                p {
                    @match &client.paused_reason {
                        Some(why) => { (phrases::printable(why)) }
                        None => { "Somebody paused it." }
                    }
                    " What runs goes on."
                }
            }
        }
    }
}

fn about(viewer: &Viewer, sheet: &ClientSheet) -> Markup {
    let detail = &sheet.client;
    let client = &detail.client;
    html! {
        dl .about {
            div { dt { "Name" } dd { (client.name) } }
            div { dt { "Branch" } dd { (branch(client)) } }
            div { dt { "Clone" } dd { (freshness(viewer, detail)) @if let Some(bytes) = detail.disk_bytes { ", " (phrases::size(bytes)) } } }
            @if let Some(url) = &client.clone_url { div { dt { "Cloned from" } dd { code .path { (url) } } } }
            div { dt { "Registered" } dd { (ago(client.created_at, viewer.now)) } }
            @if let Some(id) = &client.os_client_id { div { dt { "Known elsewhere as" } dd { (id) } } }
            div { dt { "Id" } dd { code { (client.id) } } }
        }
        @if !sheet.options.is_empty() {
            section {
                h2 { "Options of its jobs" }
                dl .about { @for (name, value) in &sheet.options { div { dt { (name) } dd { code { (phrases::one_line(value, 200)) } } } } }
            }
        }
    }
}

fn actions(viewer: &Viewer, client: &Client) -> Markup {
    let here = address(client);
    // what paused it may be there still
    let why = client
        .paused_reason
        .as_ref()
        .map(|why| format!("Resume, although it was paused for this: {}?", phrases::one_line(why, 200)));
    html! {
        div .next {
            @if viewer.may(Scope::Submit) {
                a .button .primary href={ "/ui/new?repo=" (encoded(&client.full_name())) } { (icon("plus")) "New job for it" }
            }
            @if viewer.may(Scope::Operate) { (sync(client, &here, "button")) }
            @if viewer.may(Scope::Admin) {
                @if client.paused {
                    (act(&format!("{here}/resume"), &here, html! { button data-ask=[why.as_deref()] { (icon("play")) "Resume" } }))
                } @else {
                    (act(&format!("{here}/pause"), &here, html! { button { (icon("pause")) "Pause" } }))
                }
                details .follow-up {
                    summary .button { (icon("cancelled")) "Remove…" }
                    form .stack method="post" action={ (here) "/remove" } {
                        p { "The repository is forgotten, and takes no more jobs. The history of its jobs stays." }
                        label .check { input type="checkbox" name="removeRepo" value="true"; " Delete the clone, too" }
                        label .check { input type="checkbox" name="force" value="true"; " Also when jobs of it are live, which are cancelled, or work is published nowhere, which is written to a bundle first" }
                        button data-ask={ "Remove " (client.full_name()) "?" } { (icon("cancelled")) "Remove " (client.full_name()) }
                    }
                }
            }
        }
    }
}
