//! What the doctor says of the server's own side: asked for by a button, for it starts programs.

use maud::{Markup, html};

use super::Viewer;
use super::parts::{command, count, icon};
use super::system::{Tab, shown};
use crate::domain::phrases;
use crate::wire::doctor::{Finding, Report, Verdict};

/// The page; `None`: nobody has looked yet.
#[must_use]
pub fn doctor(viewer: &Viewer, report: Option<&Report>) -> String {
    let body = html! {
        section .block aria-labelledby="doctor" {
            h2 #doctor { "Doctor" @if let Some(report) = report { " " span .count { (sum(report)) } } }
            p {
                "Looks at this machine as the server sees it: configuration, programs, agents and their logins, sandbox, token, directories, disk. "
                "It takes some seconds, changes nothing and asks no other host."
            }
            form method="post" action="/ui/system/doctor" .look {
                button .primary { (icon("search")) @if report.is_some() { "Look again" } @else { "Look now" } }
            }
            @if let Some(report) = report {
                ul .rows { @for finding in &report.checks { (row(finding)) } }
            }
        }
        section .block aria-labelledby="shell" {
            h2 #shell { "From a terminal" }
            p { "What your shell finds, and the installed service: " (command("offshoot doctor")) }
        }
    };
    // what was found stays until somebody asks again
    shown(viewer, Tab::Doctor, "", body)
}

fn sum(report: &Report) -> String {
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    match (report.problems, report.warnings) {
        (0, 0) => "all is well".to_owned(),
        (problems, warnings) => {
            format!("{}, {}", count(number(problems), "problem"), count(number(warnings), "warning"))
        }
    }
}

fn row(finding: &Finding) -> Markup {
    let (picture, word) = match finding.verdict {
        Verdict::Ok => ("check", "good"),
        Verdict::Skipped => ("queued", "faint"),
        Verdict::Warn => ("wait", "warn-word"),
        Verdict::Fail => ("failed", "bad-word"),
    };
    html! {
        li .row .plain-row {
            div .main {
                p { b { (finding.check) } @if let Some(subject) = &finding.subject { " " (phrases::one_line(subject, 80)) } }
                p .where { (phrases::printable(&finding.detail)) }
                @if let Some(mend) = &finding.mend { p .mend { "To mend it: " (command(&phrases::printable(mend))) } }
            }
            div .facts {
                @if let Some(code) = finding.code { code .faint { (code) } }
                span .verdict .(word) { (icon(picture)) (finding.verdict.as_str()) }
            }
        }
    }
}
