//! What went wrong, as a page.

use maud::html;

use super::parts::icon;
use super::shell::{Theme, document};
use crate::wire::problem::Problem;

/// What was refused, why, and where to go on.
#[must_use]
pub fn problem(theme: Theme, problem: &Problem, request_id: &str) -> String {
    let heading = match problem.status {
        404 => "There is nothing here",
        403 => "This token may not do that",
        409 => "Not as things are now",
        400 | 422 => "That cannot be done",
        429 => "Too often",
        503 => "Not at the moment",
        _ => "Something went wrong",
    };
    let body = html! {
        main #main .door {
            h1 { (icon("failed")) (heading) }
            p .lead { (problem.detail) "." }
            @if problem.errors.len() > 1 {
                ul { @for fault in &problem.errors { li { code { (fault.pointer.trim_start_matches('/')) } " " (fault.detail) } } }
            }
            @for job in &problem.jobs { p { a href={ "/ui/jobs/" (job.number) } { "See job #" (job.number) } } }
            p { a .button href="/ui/" { "To the queue" } }
            p .faint { "Status " (problem.status) " " code { (problem.code) } ", request " code { (request_id) } }
        }
    };
    document(theme, heading, &body)
}
