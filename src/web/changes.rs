//! What a job changed: its files, and their lines as far as one page holds them.

use maud::{Markup, html};

use super::Viewer;
use super::parts::{changes, count, encoded, icon, outward, pages, status_icon, title};
use super::shell::{Place, Sheet, page};
use crate::domain::phrases;
use crate::wire::changes::{ChangedLine, ChangedLineKind, Changes, FileChanges};
use crate::wire::diff::ChangedFile;
use crate::wire::job::{Job, JobSummary};

/// All that the page is made of.
#[derive(Clone, Debug)]
pub struct ChangesSheet {
    pub job: Job,
    /// `None`: there is no result, or it is not here any more.
    pub changes: Option<Changes>,
}

/// The page.
#[must_use]
pub fn job_changes(viewer: &Viewer, sheet: &ChangesSheet) -> String {
    let job = &sheet.job.summary;
    let body = html! {
        div .head .job-head {
            (status_icon(job.status.0))
            h1 { (title(job)) " " span .number { "#" (job.number) } }
        }
        (tabs(job, true))
        @match &sheet.changes {
            None => { p .none { (nothing(job)) } }
            Some(changes) if changes.files_changed == 0 => { p .none { "Nothing was changed." } }
            Some(changes) => { (piece(job, changes)) }
        }
    };
    let live = if job.status.0.is_live() { job.number.to_string() } else { String::new() };
    let tab = format!("Changes of #{} {}", job.number, title(job));
    page(viewer, Sheet { title: &tab, place: Place::Job, live, body })
}

/// Between the pages of one job.
pub(super) fn tabs(job: &JobSummary, is_changes: bool) -> Markup {
    let here = format!("/ui/jobs/{}", job.number);
    let current = |is_here: bool| is_here.then_some("page");
    html! {
        nav .chips .tabs aria-label="This job" {
            a href=(here) aria-current=[current(!is_changes)] { "Overview" }
            a href={ (here) "/changes" } aria-current=[current(is_changes)] {
                "Changes" @if let Some(files) = job.files_changed { span .count { " " (files) } }
            }
        }
    }
}

fn nothing(job: &JobSummary) -> &'static str {
    if job.head_sha.is_some() {
        return "The commits of this job are not here any more: the clone of its repository is gone, or was made anew.";
    }
    match job.status.0.is_live() {
        true => "Nothing is committed yet. What the agent writes is shown when it is done.",
        false => {
            "This job ended before anything was committed. What it left behind is kept for a while: offshoot rescue."
        }
    }
}

fn piece(job: &JobSummary, changes: &Changes) -> Markup {
    let here = format!("/ui/jobs/{}/changes", job.number);
    let upto = changes.first + changes.files.len();
    html! {
        ul .figures .sums {
            li { (count(i64::try_from(changes.files_changed).unwrap_or(i64::MAX), "file")) " " (self::changes(job.insertions, job.deletions)) }
            li .faint { "from " code { (short(&changes.base_sha)) } " to " code { (short(&changes.head_sha)) } }
            @if let Some(url) = &job.pr_url { li { (outward(url, "Pull request")) } }
        }
        @if changes.is_one {
            p .more { a href=(here) { "All files" } }
        } @else {
            (contents(changes))
        }
        @for file in &changes.files { (one(&here, changes, file)) }
        @if !changes.is_one {
            @let next = (format!("{here}?file={upto}"), format!("Next files, from {} of {}", upto + 1, changes.files_changed));
            (pages((changes.first > 0).then_some((&here, "First files")),
                (upto < changes.files_changed).then_some((&next.0, &next.1))))
        }
    }
}

fn short(sha: &str) -> &str {
    sha.get(..7).unwrap_or(sha)
}

fn contents(changes: &Changes) -> Markup {
    html! {
        nav .contents aria-label="Files" {
            ul {
                @for file in &changes.files {
                    li {
                        (letter(&file.file))
                        a href={ "#f" (file.at) } { (phrases::printable(&file.file.path)) }
                        (counts(&file.file))
                    }
                }
            }
        }
    }
}

/// What happened to it, in a letter whose meaning stands beside it for whoever cannot see colours.
fn letter(file: &ChangedFile) -> Markup {
    let letter = file.status.chars().next().map(|letter| letter.to_ascii_uppercase().to_string());
    let word = file.status.replace('_', " ");
    html! { span .letter .{ "is-" (file.status) } role="img" title=(word) aria-label=(word) { (letter.unwrap_or_default()) } }
}

fn counts(file: &ChangedFile) -> Markup {
    let number = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    html! {
        @if file.binary { span .faint { "binary" } }
        @else { (changes(number(file.insertions), number(file.deletions))) }
    }
}

fn one(here: &str, changes: &Changes, file: &FileChanges) -> Markup {
    let path = phrases::printable(&file.file.path);
    let alone = format!("{here}?path={}", encoded(&file.file.path));
    let shown = file.lines.iter().filter(|line| line.kind != ChangedLineKind::Hunk).count();
    let upto = file.first + shown;
    html! {
        section .file id={ "f" (file.at) } aria-labelledby={ "n" (file.at) } {
            h2 id={ "n" (file.at) } {
                (letter(&file.file))
                @if let Some(old) = &file.file.old_path { span .old { (phrases::printable(old)) } " → " }
                a href=(alone) { (path) }
                (counts(&file.file))
                @if let Some((old, new)) = &file.modes { span .faint { "mode " (old) " → " (new) } }
            }
            @if changes.is_one && file.first > 0 { p .more { a href=(alone) { "From the beginning" } } }
            @if file.lines.is_empty() { (folded(file, &alone)) } @else {
                table .lines {
                    caption .unseen { (path) }
                    colgroup { col .of-number; col .of-number; col .of-sign; col; }
                    thead .unseen { tr { th scope="col" { "Before" } th scope="col" { "After" } th scope="col" { "Change" } th scope="col" { "Line" } } }
                    tbody { @for line in &file.lines { (row(file.at, line)) } }
                }
                @if changes.is_one && upto < file.total && shown > 0 {
                    p .more { a .button href={ (alone) "&line=" (upto) } { "Lines from " (upto + 1) " of " (file.total) } }
                }
            }
        }
    }
}

/// Why no lines are there, and where they are.
fn folded(file: &FileChanges, alone: &str) -> Markup {
    html! {
        p .folded {
            @if file.file.binary { "No text that could be compared." }
            @else if file.total == 0 && file.file.status == "renamed" { "Moved, and not a line is different." }
            @else if file.total == 0 { "No line is different." }
            @else if file.first >= file.total { "It has no such line." }
            @else {
                @if file.generated { "Written by a program: " } @else { "Long: " }
                (count(i64::try_from(file.total).unwrap_or(i64::MAX), "line")) " " a .button href=(alone) { (icon("play")) "Show" span .unseen { " " (phrases::printable(&file.file.path)) } }
            }
        }
    }
}

fn row(file: usize, line: &ChangedLine) -> Markup {
    let (class, sign) = match line.kind {
        ChangedLineKind::Hunk => {
            return html! { tr .hunk { td colspan="4" { (phrases::printable(&line.text)) } } };
        }
        ChangedLineKind::NoEnd => {
            return html! { tr .hunk { td colspan="4" { "the file does not end with a new line" } } };
        }
        ChangedLineKind::Same => ("same", ""),
        ChangedLineKind::Added => ("added", "+"),
        ChangedLineKind::Removed => ("removed", "−"),
    };
    html! {
        tr .(class) {
            (number(file, 'L', line.old)) (number(file, 'R', line.new))
            td .sign { (sign) }
            td { (phrases::printable(&line.text)) @if line.bytes_left_out > 0 { span .faint { " … " (line.bytes_left_out) " bytes more" } } }
        }
    }
}

/// The number is the address of the line.
fn number(file: usize, side: char, number: Option<u32>) -> Markup {
    html! {
        @if let Some(number) = number {
            @let id = format!("f{file}{side}{number}");
            td .n id=(id) { a href={ "#" (id) } { (number) } }
        } @else { td .n {} }
    }
}
