//! The server itself: how it is, who is held, what was delivered, who has a key, what was changed, what is kept safe.

use maud::{Markup, html};

use super::Viewer;
use super::fields::{Entries, Field};
use super::parts::{act, ago, command, icon, pages, until};
use super::queue::banners;
use super::shell::{Place, Sheet, page};
use crate::domain::phrases;
use crate::domain::token::Scope;
use crate::wire::audit::AuditPage;
use crate::wire::backup::Backups;
use crate::wire::client::Client;
use crate::wire::delivery::{DeliveryPage, ListedDelivery, SuspendedUrls};
use crate::wire::health::{AgentHealth, Health};
use crate::wire::notice::NotifyTargets;
use crate::wire::queue::Queue;
use crate::wire::token::{Token, TokenCreated};

/// Backups that are listed: weeks of them.
const BACKUPS_SHOWN: usize = 12;
/// Suspended addresses that are listed.
const URLS_SHOWN: usize = 50;
/// Tokens on one page.
const TOKENS_SHOWN: usize = 50;
const TOKENS: &str = "/ui/system/tokens";

/// The pages of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Doctor,
    Deliveries,
    Tokens,
    Audit,
}

/// All that the overview is made of.
#[derive(Clone, Debug)]
pub struct SystemSheet {
    pub health: Health,
    pub queue: Queue,
    /// `None` for those who may not see them.
    pub backups: Option<Backups>,
    /// `None` for those who may not see them.
    pub targets: Option<NotifyTargets>,
}

/// The overview.
#[must_use]
pub fn system(viewer: &Viewer, sheet: &SystemSheet) -> String {
    let health = &sheet.health;
    let body = html! {
        (banners(viewer, &sheet.queue, &health.holds, &health.disk, health.database_guide.as_deref()))
        section .block aria-labelledby="server" {
            h2 #server { "Server" span .aside { "offshoot " (health.version) } }
            dl .about .facts-card {
                (fact("State", html! { (health.status) }))
                (fact("Up for", html! { (phrases::took(health.uptime_seconds)) }))
                (fact("Jobs", html! { (health.queue.running) " of " (health.queue.max_concurrent) " run, " (health.queue.queued) " wait" }))
                (fact("Free on disk", html! {
                    @match health.disk.free_bytes { Some(bytes) => { (phrases::size(bytes)) }, None => { "unknown" } }
                    ", " (phrases::size(health.disk.floor_bytes)) " are kept free"
                }))
                (fact("Agents are kept in", html! { (health.isolation) span .faint { " " (health.isolation_detail) } }))
                (fact("Database", html! { (health.database) }))
            }
        }
        (agents(viewer, &health.agents))
        @if let Some(targets) = &sheet.targets { (self::targets(targets)) }
        @if let Some(backups) = &sheet.backups { (self::backups(viewer, backups)) }
        section .block aria-labelledby="more" {
            h2 #more { "From a terminal" }
            p { "What could be taken away: " (command("offshoot gc --dry-run")) }
        }
    };
    shown(viewer, Tab::Overview, "all", body)
}

pub(super) fn shown(viewer: &Viewer, tab: Tab, live: &str, body: Markup) -> String {
    let current = |one: Tab| (one == tab).then_some("page");
    let title = match tab {
        Tab::Overview => "System",
        Tab::Doctor => "Doctor",
        Tab::Deliveries => "Webhooks",
        Tab::Tokens => "Tokens",
        Tab::Audit => "Audit",
    };
    let body = html! {
        div .head { h1 { "System" } }
        nav .chips .tabs aria-label="System" {
            a href="/ui/system" aria-current=[current(Tab::Overview)] { "Overview" }
            @if viewer.may(Scope::Admin) { a href="/ui/system/doctor" aria-current=[current(Tab::Doctor)] { "Doctor" } }
            a href="/ui/system/deliveries" aria-current=[current(Tab::Deliveries)] { "Webhooks" }
            @if viewer.may(Scope::Admin) {
                a href="/ui/system/tokens" aria-current=[current(Tab::Tokens)] { "Tokens" }
                a href="/ui/system/audit" aria-current=[current(Tab::Audit)] { "Audit" }
            }
        }
        (body)
    };
    page(viewer, Sheet { title, place: Place::System, live: live.to_owned(), body })
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn agents(viewer: &Viewer, agents: &[AgentHealth]) -> Markup {
    html! {
        section .block aria-labelledby="agents" {
            h2 #agents { "Agents" }
            ul .rows {
                @for agent in agents {
                    @let good = agent.installed && agent.authenticated != Some(false);
                    li .row .plain-row {
                        div .main {
                            p { b { (agent.name) } @if agent.kind != agent.name { span .faint { " " (agent.kind) } } }
                            p .where {
                                @match &agent.version { Some(version) => { (phrases::one_line(version, 60)) }, None => { "version unknown" } }
                                @if let Some(min) = &agent.version_min { ", at least " (min) " is needed" }
                                @if let Some(at) = agent.checked_at { span .dot { "·" } "looked at " (ago(at, viewer.now)) }
                            }
                        }
                        div .facts {
                            @if !agent.installed { span .faint { "not installed" } }
                            @else if good { span .good { (icon("check")) @if agent.authenticated == Some(true) { "signed in" } @else { "installed" } } }
                            @else { span .bad-word { "not signed in" } }
                        }
                    }
                }
            }
        }
    }
}

fn targets(targets: &NotifyTargets) -> Markup {
    html! {
        section .block aria-labelledby="told" {
            h2 #told { "Who is told" }
            @if targets.targets.is_empty() {
                p { "Nobody yet. A section " code { "[notify.NAME]" } " of the configuration has your phone, a chat or a program told of jobs." }
            } @else {
                ul .rows {
                    @for target in &targets.targets {
                        li .row .plain-row {
                            div .main { p { b { (target.name) } span .faint { " " (target.kind) } } }
                            div .facts { span .faint { (target.on.join(", ").replace('_', " ")) } }
                        }
                    }
                }
                p { "Try one out: " (command("offshoot notify test NAME")) }
            }
        }
    }
}

fn backups(viewer: &Viewer, backups: &Backups) -> Markup {
    let all = &backups.backups;
    html! {
        section .block aria-labelledby="backups" {
            h2 #backups {
                "Backups " span .count { (all.len()) }
                span .aside { (act("/ui/system/backups", "/ui/system", html! { button .quiet { (icon("copy")) "Back up now" } })) }
            }
            @if all.is_empty() { p .none { "None yet. One is made every day, and before the database changes its form." } }
            ul .rows {
                @for one in all.iter().take(BACKUPS_SHOWN) {
                    li .row .plain-row {
                        div .main { code { (one.name) } }
                        div .facts { span .faint { (one.kind.replace('-', " ")) } span .num { (phrases::size(one.bytes)) } (ago(one.created_at, viewer.now)) }
                    }
                }
            }
            @if all.len() > BACKUPS_SHOWN { p .more .faint { (all.len() - BACKUPS_SHOWN) " older ones lie beside them." } }
        }
    }
}

/// All that the page of webhooks is made of.
#[derive(Clone, Debug)]
pub struct DeliveriesSheet {
    pub page: DeliveryPage,
    /// The state that is looked for.
    pub state: Option<String>,
    /// Where this page begins; `None`: the first.
    pub after: Option<String>,
    /// `None` for those who may not see them.
    pub suspended: Option<SuspendedUrls>,
}

/// Webhooks of all jobs.
#[must_use]
pub fn deliveries(viewer: &Viewer, sheet: &DeliveriesSheet) -> String {
    let current = |state: Option<&str>| (sheet.state.as_deref() == state).then_some("page");
    let address = |after: Option<&str>| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(sheet.state.iter().map(|state| ("state", state.as_str())));
        query.extend_pairs(after.iter().map(|after| ("after", *after)));
        format!("/ui/system/deliveries?{}", query.finish())
    };
    let here = address(sheet.after.as_deref());
    let body = html! {
        @if let Some(suspended) = sheet.suspended.as_ref().filter(|suspended| !suspended.urls.is_empty()) { (self::suspended(viewer, suspended)) }
        nav .chips aria-label="By state" {
            a href="/ui/system/deliveries" aria-current=[current(None)] { "All" }
            @for state in ["pending", "delivered", "suspended", "dead"] {
                a href={ "/ui/system/deliveries?state=" (state) } aria-current=[current(Some(state))] { (state) }
            }
        }
        @if sheet.page.deliveries.is_empty() {
            p .none { "No webhook is here. A job that is given " code { "osCallbackUrl" } " tells that address how it ended." }
        }
        ul .rows { @for delivery in &sheet.page.deliveries { (delivery_row(viewer, delivery, &here)) } }
        @let first = address(None);
        @let next = sheet.page.next_cursor.as_ref().map(|next| address(Some(next)));
        (pages(sheet.after.is_some().then_some((&first, "Newest")), next.as_deref().map(|next| (next, "Older"))))
    };
    shown(viewer, Tab::Deliveries, "all", body)
}

fn suspended(viewer: &Viewer, suspended: &SuspendedUrls) -> Markup {
    html! {
        section .block aria-labelledby="suspended" {
            h2 #suspended { "Left alone, because they said 410 Gone" }
            ul .rows {
                @for one in suspended.urls.iter().take(URLS_SHOWN) {
                    li .row .plain-row {
                        div .main { code .path { (one.url) } p .where { (one.waiting) " wait, since " (ago(one.since, viewer.now)) } }
                        div .acts {
                            @if viewer.may_for_all(Scope::Operate) {
                                form method="post" action="/ui/system/webhooks/resume" .inline {
                                    input type="hidden" name="url" value=(one.url);
                                    button .quiet data-ask={ "Call " (one.url) " again?" } { (icon("play")) "Call again" span .unseen { " " (one.url) } }
                                }
                            }
                        }
                    }
                }
            }
            @if suspended.urls.len() > URLS_SHOWN { p .more .faint { "And " (suspended.urls.len() - URLS_SHOWN) " more: offshoot webhook ls." } }
        }
    }
}

fn delivery_row(viewer: &Viewer, delivery: &ListedDelivery, here: &str) -> Markup {
    use crate::domain::delivery::DeliveryState;
    let tries = if delivery.tries == 1 { "1 try".to_owned() } else { format!("{} tries", delivery.tries) };
    html! {
        li .row .plain-row id=(delivery.id) {
            div .main {
                p { span .{ "delivery-" (delivery.state) } { (delivery.state) } " " (delivery.type_) " of "
                    a href={ "/ui/jobs/" (delivery.job_number) } { "#" (delivery.job_number) } }
                p .where {
                    code .path { (phrases::one_line(&delivery.url, 160)) } span .dot { "·" } (tries)
                    @if let Some(status) = delivery.last_status { ", last answer " (status) }
                    @if let Some(at) = delivery.next_try_at { ", next " (until(at)) }
                    @if let Some(error) = &delivery.last_error { ": " (phrases::one_line(error, 120)) }
                }
            }
            div .facts { span .faint { (ago(delivery.created_at, viewer.now)) } }
            div .acts {
                @if viewer.may(Scope::Operate) && delivery.state.0 != DeliveryState::Pending {
                    (act(&format!("/ui/system/deliveries/{}/redeliver", delivery.id), here,
                        html! { button .quiet { (icon("retry")) "Send again" span .unseen { " to the receiver of #" (delivery.job_number) } } }))
                }
            }
        }
    }
}

/// All that the page of tokens is made of.
#[derive(Clone, Debug, Default)]
pub struct TokensSheet {
    /// All, the newest first.
    pub tokens: Vec<Token>,
    /// Where the page of fifty begins, counted from 0.
    pub first: usize,
    /// What was written to make one.
    pub entries: Entries,
    /// One that was just made: this page alone has it.
    pub made: Option<TokenCreated>,
    /// Repositories that one may be limited to.
    pub clients: Vec<Client>,
}

const NAME: Field =
    Field { name: "name", label: "Name", pointers: &["/name"], help: "what its jobs are submitted by" };
const SCOPE: Field = Field { name: "scope", label: "May", pointers: &["/scope"], help: "" };
const EXPIRES: Field = Field {
    name: "expiresAt",
    label: "Good until",
    pointers: &["/expiresAt"],
    help: "like 2031-01-01T00:00:00Z; for ever when empty",
};
const CLIENT: Field = Field { name: "client", label: "For", pointers: &["/clients"], help: "" };
const FIELDS: [Field; 4] = [NAME, SCOPE, EXPIRES, CLIENT];

/// Who has a key.
#[must_use]
pub fn tokens(viewer: &Viewer, sheet: &TokensSheet) -> String {
    let shown_here = sheet.tokens.iter().skip(sheet.first).take(TOKENS_SHOWN);
    let upto = sheet.first.saturating_add(TOKENS_SHOWN);
    let body = html! {
        @if let Some(made) = &sheet.made { (just_made(made)) }
        (sheet.entries.refused("No token was made", &FIELDS))
        (make(sheet))
        @if sheet.tokens.is_empty() { p .none { "There is the server's own secret, and no other." } }
        @let from = |first: usize| if first == 0 { TOKENS.to_owned() } else { format!("{TOKENS}?first={first}") };
        @let (here, next) = (from(sheet.first), from(upto));
        ul .rows { @for token in shown_here { (token_row(viewer, token, &here)) } }
        (pages((sheet.first > 0).then_some((TOKENS, "Newest")), (upto < sheet.tokens.len()).then_some((&next, "Older"))))
    };
    shown(viewer, Tab::Tokens, "", body)
}

fn just_made(made: &TokenCreated) -> Markup {
    html! {
        section .banner .made aria-label="The new token" {
            (icon("check"))
            div {
                strong { "The token " (made.details.name) ": copy it now, it is shown this once" }
                @if let Some(token) = &made.token { p { (command(token.expose())) } }
                @for warning in &made.warnings { p { (warning) } }
            }
        }
    }
}

fn make(sheet: &TokensSheet) -> Markup {
    let entries = &sheet.entries;
    let scopes =
        [("read", "look"), ("submit", "submit jobs"), ("operate", "operate"), ("admin", "everything")];
    let clients = sheet.clients.iter().map(|client| (client.id.as_str(), client.name.as_str()));
    html! {
        details .apart open[entries.problem.is_some()] {
            summary .button { (icon("plus")) "New token" }
            form .stack method="post" action="/ui/system/tokens" {
                div .pair {
                    (entries.line(&NAME)) (entries.choice(&SCOPE, scopes))
                    (entries.choice(&CLIENT, std::iter::once(("", "all repositories")).chain(clients)))
                    (entries.line(&EXPIRES))
                }
                button .primary { "Make it" }
            }
        }
    }
}

fn token_row(viewer: &Viewer, token: &Token, here: &str) -> Markup {
    html! {
        li .row .plain-row id=(token.id) {
            div .main {
                p { b { (token.name) } " " span .faint { (token.scope) @if let Some(clients) = &token.clients { ", of " (if clients.len() == 1 { "one repository".to_owned() } else { format!("{} repositories", clients.len()) }) } } }
                p .where {
                    "made " (ago(token.created_at, viewer.now)) " by " (token.created_by) span .dot { "·" }
                    @match token.last_used_at { Some(at) => { "used " (ago(at, viewer.now)) }, None => { "never used" } }
                    @if let Some(at) = token.expires_at { span .dot { "·" } "until " (until(at)) }
                }
            }
            div .acts {
                @if token.revoked_at.is_some() { span .faint { "revoked" } } @else {
                    (act(&format!("/ui/system/tokens/{}/revoke", token.id), here, html! {
                        button .quiet data-ask={ "Revoke " (token.name) "? Whatever uses it is shut out at once." } { (icon("cancelled")) "Revoke" span .unseen { " " (token.name) } }
                    }))
                }
            }
        }
    }
}

/// Who changed what. `after`: where this page begins.
#[must_use]
pub fn audit(viewer: &Viewer, entries: &AuditPage, is_first: bool) -> String {
    let body = html! {
        @if entries.entries.is_empty() { p .none { "Nothing was changed, and nothing was refused." } }
        @else {
            div .wide-table tabindex="0" role="region" aria-label="Calls" {
                table .calls {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "Call" } th scope="col" { "Of" } th scope="col" { "Answer" } } }
                    tbody {
                        @for entry in &entries.entries {
                            tr {
                                td { (ago(entry.at, viewer.now)) }
                                td { (phrases::one_line(&entry.token_name, 64)) @if let Some(peer) = &entry.peer { span .faint { " " (peer) } } }
                                td { code { (phrases::one_line(&entry.call, 80)) } }
                                td { code .path { (phrases::one_line(&entry.target, 120)) } }
                                td .bad-word[entry.status >= 400] { (entry.status) }
                            }
                        }
                    }
                }
            }
        }
        @let next = entries.next_cursor.as_ref().map(|next| format!("/ui/system/audit?after={next}"));
        (pages((!is_first).then_some(("/ui/system/audit", "Newest")), next.as_deref().map(|next| (next, "Older"))))
    };
    shown(viewer, Tab::Audit, "", body)
}
