//! `offshoot ls`

use jiff::ToSpan as _;

use super::{Context, client, queue};
use crate::api_client::JobQuery;
use crate::cli::args::LsFlags;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;
use crate::cli::views::{JOB_COLUMNS, tone};

pub(super) async fn run(flags: LsFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let mut query = JobQuery { limit: Some(flags.limit), offset: Some(flags.offset), ..JobQuery::default() };
    let now_ms = context.clock.now_ms();
    for term in &flags.terms {
        if let Some(repo) = read_term(term, now_ms, &mut query)? {
            query.client_id = Some(client::find(&context.api, &repo).await?.id);
        }
    }
    let page = context.api.list_jobs(&query).await?;
    if context.out.is_json() {
        context.out.json(&page)?;
        return Ok(Ended::Done);
    }
    if page.jobs.is_empty() {
        let what = if flags.terms.is_empty() { "No jobs yet." } else { "No job fits." };
        context.out.say(&format!("{what}\n  queue one:  offshoot submit -r ORG/REPO \"what to do\""));
        return Ok(Ended::Done);
    }
    let view = context.viewpoint();
    let rows = page.jobs.iter().map(|job| view.job_row(job)).collect();
    let tones: Vec<_> = page.jobs.iter().map(tone).collect();
    context.out.table(&JOB_COLUMNS, rows, &tones)?;
    // The list is the answer; what stands below it is only said, and not worth failing for.
    if let Ok(queue) = context.api.queue().await {
        context.out.say(&queue::headline(&queue));
    }
    let shown = i64::from(flags.offset) + i64::try_from(page.jobs.len()).unwrap_or(i64::MAX);
    if page.total > shown {
        let older = page.total - shown;
        context.out.say(&format!("{older} older:  offshoot ls --offset {shown} --limit {}", flags.limit));
    }
    Ok(Ended::Done)
}

/// Takes one term into the query. A repository is handed back, since its client has to be looked up.
fn read_term(term: &str, now_ms: i64, query: &mut JobQuery) -> Result<Option<String>, CliError> {
    let Some((name, value)) = term.split_once('=') else {
        let words = query.q.take().map_or_else(|| term.to_owned(), |words| format!("{words} {term}"));
        query.q = Some(words);
        return Ok(None);
    };
    let value = value.to_owned();
    let place = match name {
        "status" => &mut query.status,
        "client" if value.starts_with("cli-") => &mut query.client_id,
        "repo" | "client" => return Ok(Some(value)),
        "branch" => &mut query.branch,
        "label" => &mut query.label,
        "by" => &mut query.submitted_by,
        "since" => return set_instant(&mut query.since, &value, now_ms),
        "until" => return set_instant(&mut query.until, &value, now_ms),
        _ => {
            return Err(CliError::usage(format!("{name:?} is nothing that jobs are listed by"))
                .hint("see what is", "offshoot ls --help"));
        }
    };
    *place = Some(value);
    Ok(None)
}

/// A time as RFC 3339, or so long ago as a duration says.
fn set_instant(place: &mut Option<String>, text: &str, now_ms: i64) -> Result<Option<String>, CliError> {
    let instant = match human::parse_duration(text) {
        Ok(ago) => {
            let ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            jiff::Timestamp::from_millisecond(now_ms)
                .ok()
                .and_then(|now| now.checked_sub(ms.milliseconds()).ok())
        }
        Err(_) => text.parse().ok(),
    };
    let Some(instant) = instant else {
        return Err(CliError::usage(format!("{text:?} is neither a duration nor a time"))
            .hint("for example", "offshoot ls since=2d until=2026-01-31T12:00:00Z"));
    };
    *place = Some(instant.to_string());
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_become_a_query() {
        let mut query = JobQuery::default();
        for term in ["status=failed,queued", "flaky", "login", "since=1h", "client=cli-abc"] {
            assert_eq!(read_term(term, 1_795_254_420_001, &mut query).unwrap(), None, "{term}");
        }
        assert_eq!(query.status.as_deref(), Some("failed,queued"));
        assert_eq!(query.q.as_deref(), Some("flaky login"));
        assert_eq!(query.since.as_deref(), Some("2026-11-21T08:47:00.001Z"));
        assert_eq!(query.client_id.as_deref(), Some("cli-abc"));
        assert_eq!(read_term("repo=acme/app", 0, &mut query).unwrap().as_deref(), Some("acme/app"));
        for wrong in ["colour=red", "since=yesterday"] {
            assert_eq!(read_term(wrong, 0, &mut query).expect_err(wrong).kind.exit_code(), 2);
        }
    }
}
