//! Reading jobs: one, many, their messages, their diff, their log.

use std::time::Duration;

use tokio::time::Instant;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::{ClientId, JobNumber, JobRef};
use crate::domain::job::{JobView, Outcome, Status};
use crate::domain::token::Reach;
use crate::git::{ChangeKind, ChangedFile, CommitId, Diff, DiffRequest};
use crate::store::{JobFilter, JobPage};
use crate::wire;
use crate::wire::message::{Message, MessagePage};
use crate::wire::problem::Fault;
use crate::wire::time::UtcTime;

/// What one page of jobs may hold.
const JOBS_PAGE_MAX: i64 = 200;
const JOBS_PAGE: i64 = 50;
/// What one page of messages may hold; more are read page by page.
const MESSAGES_PAGE_MAX: i64 = 1_000;
/// Longest text in a search: it is compared with every job.
const SEARCH_BYTES_MAX: usize = 200;
/// A patch of this size is no longer read by people; it is cut and says so.
const PATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Files listed; the counts are of all.
const DIFF_FILES_MAX: usize = 3_000;
/// GitHub's own range ends far below.
const CONTEXT_LINES_MAX: i64 = 1_000;
/// Longest wait for a change; proxies cut idle connections soon after.
const WAIT_SECONDS_MAX: i64 = 60;

/// The query of a listing, as text; numbers are read already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Comma-separated.
    pub status: Option<String>,
    pub client_id: Option<String>,
    pub limit: Option<i64>,
    pub offset: Option<i64>,
    pub q: Option<String>,
    pub label: Option<String>,
    pub branch: Option<String>,
    pub submitted_by: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub after: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffFormat {
    /// git's patch text.
    Patch,
    /// The counts as text.
    Stat,
    /// The counts as JSON.
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffQuery {
    pub format: DiffFormat,
    /// Only this path and what is below it.
    pub path: Option<String>,
    /// Unchanged lines around a change.
    pub context: i64,
}

/// What a job changed, in git's format; in whatever encoding its files have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub bytes: Vec<u8>,
    /// Whether its end is missing.
    pub is_cut: bool,
}

impl App {
    /// # Errors
    /// [`AppError::Invalid`] for values out of range.
    pub async fn list_jobs(&self, caller: &Caller, query: &JobQuery) -> Result<wire::job::JobPage, AppError> {
        let filter = JobFilter { reach: caller.reach.clone(), ..filter(query)? };
        let (limit, offset) = (filter.limit, filter.offset);
        let JobPage { jobs, total, next } = self.0.store.list_jobs(filter).await?;
        Ok(wire::job::JobPage {
            jobs: jobs.iter().map(Into::into).collect(),
            total: i64::try_from(total).unwrap_or(i64::MAX),
            limit: i64::from(limit),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            next_cursor: next.map(|number| number.to_string()),
        })
    }

    /// The jobs that ended last, the newest end first.
    ///
    /// # Errors
    /// What the store said.
    pub async fn ended_lately(
        &self,
        caller: &Caller,
        count: u32,
    ) -> Result<Vec<wire::job::JobSummary>, AppError> {
        let jobs = self.0.store.ended_lately(&caller.reach, count).await?;
        Ok(jobs.iter().map(Into::into).collect())
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn get_job(
        &self,
        caller: &Caller,
        job: &str,
        with_messages: bool,
    ) -> Result<wire::job::Job, AppError> {
        let view = self.view(caller, job).await?;
        self.shown(&view, with_messages).await
    }

    /// The job as soon as it differs from what the caller has seen, at most `seconds` later. `seen` compares.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Invalid`] for a wait out of range.
    pub async fn wait_job(
        &self,
        caller: &Caller,
        job: &str,
        with_messages: bool,
        seconds: i64,
        seen: impl Fn(&wire::job::JobSummary) -> bool,
    ) -> Result<wire::job::Job, AppError> {
        if !(0..=WAIT_SECONDS_MAX).contains(&seconds) {
            return Err(AppError::invalid("?wait", format!("must be between 0 and {WAIT_SECONDS_MAX}")));
        }
        let number = self.view(caller, job).await?.job.number;
        let deadline = Instant::now() + Duration::from_secs(seconds.unsigned_abs());
        let view = self.wait_for_job(number, deadline, |view| !seen(&view.into())).await?;
        self.shown(&view, with_messages).await
    }

    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Invalid`] for values out of range.
    pub async fn list_messages(
        &self,
        caller: &Caller,
        job: &str,
        after: Option<i64>,
        limit: Option<i64>,
    ) -> Result<MessagePage, AppError> {
        let limit = in_range("?limit", limit.unwrap_or(MESSAGES_PAGE_MAX), 1, MESSAGES_PAGE_MAX)?;
        let after = in_range("?after", after.unwrap_or(0), 0, i64::MAX)?;
        let number = self.view(caller, job).await?.job.number;
        let page = self.0.store.messages(number, after, u32::try_from(limit).unwrap_or(1)).await?;
        let full = page.truncated || i64::try_from(page.messages.len()).unwrap_or(i64::MAX) >= limit;
        let next_cursor = page.messages.last().filter(|_| full).map(|message| message.seq.to_string());
        Ok(MessagePage { messages: page.messages.into_iter().map(Message::from).collect(), next_cursor })
    }

    /// What lies between the job's base and its result.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job, or for its diff while there is no result.
    pub async fn diff_job(
        &self,
        caller: &Caller,
        job: &str,
        query: &DiffQuery,
    ) -> Result<(wire::diff::Diff, Patch), AppError> {
        let context = in_range("?context", query.context, 0, CONTEXT_LINES_MAX)?;
        if query.path.as_ref().is_some_and(|path| path.contains('\0')) {
            return Err(AppError::invalid("?path", "must not contain NUL: no path does"));
        }
        let view = self.view(caller, job).await?;
        let (base_sha, head_sha) = result_of(&view).ok_or(AppError::NotFound("a result of this job"))?;
        let commit = |sha: &str| sha.parse::<CommitId>().map_err(AppError::git);
        let request = DiffRequest {
            paths: query.path.iter().cloned().collect(),
            context_lines: u32::try_from(context).unwrap_or(3),
            patch_bytes_max: if query.format == DiffFormat::Patch { PATCH_BYTES_MAX } else { 0 },
            files_max: DIFF_FILES_MAX,
        };
        let repository = self.repository(&view.repository)?;
        if !repository.exists() {
            return Err(AppError::NotFound("the clone of this job's client"));
        }
        let diff =
            repository.diff(&commit(base_sha)?, &commit(head_sha)?, request).await.map_err(AppError::git)?;
        let shown = shown_diff(base_sha, head_sha, &diff);
        Ok((shown, Patch { bytes: diff.patch, is_cut: diff.is_patch_cut }))
    }

    /// The job, if there is one that the caller sees.
    pub(super) async fn view(&self, caller: &Caller, job: &str) -> Result<JobView, AppError> {
        let job = JobRef::parse(job).ok_or(AppError::NotFound("job"))?;
        Ok(self.0.store.get_job_within(&job, &caller.reach).await?)
    }

    /// As the store is asked for the job, if the caller sees it.
    pub(super) async fn seen(&self, caller: &Caller, job: &str) -> Result<JobRef, AppError> {
        if caller.reach.is_whole() {
            return JobRef::parse(job).ok_or(AppError::NotFound("job"));
        }
        Ok(JobRef::Number(self.view(caller, job).await?.job.number))
    }

    async fn shown(&self, view: &JobView, with_messages: bool) -> Result<wire::job::Job, AppError> {
        let attempts = self.0.store.list_attempts(view.job.number).await?;
        let mut job = wire::job::Job::of(view, &attempts, &[]);
        if with_messages {
            let page = self.0.store.newest_messages(view.job.number).await?;
            job.messages_truncated = Some(page.truncated);
            job.messages = Some(page.messages.into_iter().map(Message::from).collect());
        }
        Ok(job)
    }
}

/// The commits of base and result, if there is one.
pub(super) fn result_of(view: &JobView) -> Option<(&str, &str)> {
    let effects = &view.job.effects;
    let base_sha = effects.base_sha.as_deref()?;
    // who changed nothing has a result too: an empty one
    let unchanged = (view.job.outcome == Some(Outcome::NoChanges)).then_some(base_sha);
    Some((base_sha, effects.head_sha.as_deref().or(unchanged)?))
}

fn in_range(pointer: &str, value: i64, min: i64, max: i64) -> Result<i64, AppError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let rule = match max {
        i64::MAX => format!("must be at least {min}"),
        _ => format!("must be between {min} and {max}"),
    };
    Err(AppError::invalid(pointer, rule))
}

fn filter(query: &JobQuery) -> Result<JobFilter, AppError> {
    let mut faults = Vec::new();
    let mut number = |pointer, value, min, max| {
        in_range(pointer, value, min, max).unwrap_or_else(|error| {
            if let AppError::Invalid(more) = error {
                faults.extend(more);
            }
            min
        })
    };
    let limit = number("?limit", query.limit.unwrap_or(JOBS_PAGE), 1, JOBS_PAGE_MAX);
    let offset = number("?offset", query.offset.unwrap_or(0), 0, i64::MAX);
    let mut statuses = Vec::new();
    for word in query.status.iter().flat_map(|list| list.split(',')).filter(|word| !word.is_empty()) {
        match Status::parse(word) {
            Some(status) => statuses.push(status),
            None => {
                let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
                faults.push(Fault::new("?status", format!("must be one of {}", words.join(", "))));
            }
        }
    }
    let client = query.client_id.as_deref().map(ClientId::parse).transpose().unwrap_or_else(|rule| {
        faults.push(Fault::new("?clientId", format!("is not one: {rule}")));
        None
    });
    let mut time = |pointer: &str, text: &Option<String>| {
        let time = text.as_deref().map(UtcTime::parse)?;
        if time.is_none() {
            faults.push(Fault::new(pointer, "must be an RFC 3339 time, a + in it written %2B"));
        }
        time.map(|time| time.0)
    };
    let (since, until) = (time("?since", &query.since), time("?until", &query.until));
    let after = query.after.as_deref().and_then(|text| {
        let number = text.parse::<i64>().ok().filter(|number| *number >= 0);
        if number.is_none() {
            faults.push(Fault::new("?after", "must be a nextCursor of an earlier page"));
        }
        number
    });
    for (pointer, text) in [("?q", &query.q), ("?label", &query.label), ("?branch", &query.branch)] {
        if text.as_ref().is_some_and(|text| text.len() > SEARCH_BYTES_MAX) {
            faults.push(Fault::new(pointer, format!("must be at most {SEARCH_BYTES_MAX} bytes")));
        }
    }
    if !faults.is_empty() {
        return Err(AppError::Invalid(faults));
    }
    Ok(JobFilter {
        statuses,
        client,
        q: query.q.clone(),
        label: query.label.clone(),
        branch: query.branch.clone(),
        submitted_by: query.submitted_by.clone(),
        reach: Reach::WHOLE,
        since,
        until,
        after: after.map(JobNumber),
        limit: u32::try_from(limit).unwrap_or(1),
        offset: u64::try_from(offset).unwrap_or(0),
    })
}

fn shown_diff(base_sha: &str, head_sha: &str, diff: &Diff) -> wire::diff::Diff {
    wire::diff::Diff {
        base_sha: base_sha.to_owned(),
        head_sha: head_sha.to_owned(),
        files_changed: diff.files_changed,
        insertions: diff.insertions,
        deletions: diff.deletions,
        files: diff.files.iter().map(shown_file).collect(),
        truncated: diff.is_truncated,
    }
}

pub(super) fn shown_file(file: &ChangedFile) -> wire::diff::ChangedFile {
    wire::diff::ChangedFile {
        path: file.path.clone(),
        old_path: file.old_path.clone(),
        status: match file.kind {
            ChangeKind::Added => "added",
            ChangeKind::Deleted => "deleted",
            ChangeKind::Modified => "modified",
            ChangeKind::Renamed => "renamed",
            ChangeKind::TypeChanged => "type_changed",
        }
        .to_owned(),
        insertions: (!file.is_binary).then_some(file.insertions),
        deletions: (!file.is_binary).then_some(file.deletions),
        binary: file.is_binary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(query: JobQuery) -> Vec<String> {
        match filter(&query) {
            Ok(_) => Vec::new(),
            Err(AppError::Invalid(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn pages_are_bounded() {
        for limit in [-1, 0, 201, 1_000_000_000] {
            assert_eq!(places(JobQuery { limit: Some(limit), ..JobQuery::default() }), ["?limit"]);
        }
        assert_eq!(places(JobQuery { offset: Some(-1), ..JobQuery::default() }), ["?offset"]);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(places(JobQuery { status: text("queued,foo"), ..JobQuery::default() }), ["?status"]);
        assert_eq!(places(JobQuery { client_id: text("x"), ..JobQuery::default() }), ["?clientId"]);
        assert_eq!(places(JobQuery { since: text("now"), ..JobQuery::default() }), ["?since"]);
        for after in ["x", "-1", "99999999999999999999"] {
            assert_eq!(places(JobQuery { after: text(after), ..JobQuery::default() }), ["?after"], "{after}");
        }
        assert_eq!(places(JobQuery { q: Some("x".repeat(201)), ..JobQuery::default() }), ["?q"]);
        assert_eq!(
            places(JobQuery { status: text("queued,running"), ..JobQuery::default() }),
            Vec::<String>::new()
        );
    }
}
