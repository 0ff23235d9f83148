//! Small things that many pages are made of.

use maud::{Markup, html};

use crate::domain::job::{Status, WaitingFor};
use crate::domain::phrases;
use crate::domain::time::Timestamp;
use crate::wire::job::JobSummary;
use crate::wire::time::UtcTime;

/// Of the sprite; always beside words that say the same.
pub(super) fn icon(name: &str) -> Markup {
    html! { svg .icon .{ "icon-" (name) } aria-hidden="true" { use href={ "#i-" (name) } {} } }
}

/// A status as picture and word; colour only repeats it.
pub(super) fn status_icon(status: Status) -> Markup {
    let word = status.as_str();
    html! { span .status .{ "is-" (word) } role="img" aria-label=(word) title=(word) { (icon(word)) } }
}

/// How long ago; the instant itself is in it for whoever hovers, and for the script that keeps it true.
pub(super) fn ago(at: UtcTime, now: Timestamp) -> Markup {
    let age = phrases::age(now.as_ms(), at.0.as_ms());
    html! { time datetime=(at) title=(at) data-ago { (age) " ago" } }
}

/// An instant to come, in UTC; the script makes it local.
pub(super) fn until(at: UtcTime) -> Markup {
    let text = at.to_string();
    let shown = format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "));
    html! { time datetime=(text) title=(text) data-clock { (shown) } }
}

/// A stretch that goes on: counted from its beginning by the script.
pub(super) fn ticking(since: Option<UtcTime>, seconds: u64) -> Markup {
    html! { time .num data-since=[since.map(|at| at.to_string())] { (phrases::took(seconds)) } }
}

/// From start to end, or to now.
pub(super) fn took(job: &JobSummary, now: Timestamp) -> Option<u64> {
    let started = job.started_at?.0;
    Some(job.completed_at.map_or(now, |at| at.0).since(started).as_secs())
}

/// Why a queued job waits: as `offshoot ls` says it.
pub(super) fn waiting(job: Option<crate::wire::job::Waiting>) -> Markup {
    let Some(waiting) = job else { return html! { "starts now" } };
    let window = waiting.window.map(|window| window.0);
    let why = phrases::waits_for(waiting.for_.0, window, waiting.until.is_some());
    let is_held = !matches!(waiting.for_.0, WaitingFor::Slot | WaitingFor::RunAt);
    html! {
        span .why .held[is_held] { "waits for " (why) @if let Some(at) = waiting.until { ", until " (until(at)) } }
    }
}

/// What people call the job: its title, else how its prompt begins, else the branch.
pub(super) fn title_of(title: Option<&str>, prompt_line: &str, branch: &str) -> String {
    let names = [title.unwrap_or_default(), prompt_line, branch];
    let name = names.into_iter().find(|name| !name.trim().is_empty());
    phrases::one_line(name.unwrap_or_default(), 160)
}

/// As [`title_of`].
pub(super) fn title(job: &JobSummary) -> String {
    title_of(job.title.as_deref(), &job.prompt_line, &job.branch_name)
}

/// Leads to the job.
pub(super) fn link(number: i64) -> Markup {
    html! { a href={ "/ui/jobs/" (number) } { "#" (number) } }
}

/// `1 file`, `2 files`, for nouns that only take an s.
pub(super) fn count(number: i64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Insertions and deletions.
pub(super) fn changes(insertions: Option<i64>, deletions: Option<i64>) -> Markup {
    html! {
        @if let (Some(plus), Some(minus)) = (insertions, deletions) {
            span .diffstat { span .plus { "+" (plus) } " " span .minus { "−" (minus) } }
        }
    }
}

/// A form of one button.
pub(super) fn act(action: &str, back: &str, button: Markup) -> Markup {
    html! { form method="post" action=(action) .inline { input type="hidden" name="back" value=(back); (button) } }
}

/// Whether a browser may be led there.
pub(super) fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A link of somebody else: only what is a web address becomes one.
pub(super) fn outward(url: &str, text: &str) -> Markup {
    html! {
        @if is_web(url) { a href=(url) rel="noreferrer noopener" { (text) } } @else { span { (text) } }
    }
}

/// A command to type, with a button that copies it where scripts run.
pub(super) fn command(text: &str) -> Markup {
    html! {
        span .command {
            code { (text) }
            button .quiet .square type="button" data-copy=(text) aria-label="Copy the command" title="Copy" hidden { (icon("copy")) }
        }
    }
}

/// The ways through a list that is longer than a page: to its beginning, and on. Nothing where there is neither.
pub(super) fn pages(first: Option<(&str, &str)>, next: Option<(&str, &str)>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav .pages aria-label="Pages" {
                @for (href, words) in [first, next].into_iter().flatten() { a .button href=(href) { (words) } }
            }
        }
    }
}

/// What stands where a list is empty.
pub(super) fn empty(heading: &str, body: Markup) -> Markup {
    html! { div .empty { h2 { (heading) } (body) } }
}

/// One part of a path or of a query, for an address.
pub(super) fn encoded(part: &str) -> String {
    url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20")
}
