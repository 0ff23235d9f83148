//! The calls about jobs. `job` is always a number, an id, or the beginning of an id, as a person typed it.

use std::time::Duration;

use reqwest::{Method, Response};

use super::{ApiClient, ApiError};
use crate::wire::diff::Diff;
use crate::wire::job::{Cancelled, Job, JobPage};
use crate::wire::message::MessagePage;
use crate::wire::request::{FollowUpRequest, RetryRequest, SubmitRequest};
use crate::wire::snapshot::SnapshotList;
use crate::wire::visit::{AttachRequest, Attached, DetachRequest, Detached, Prolonged};
use crate::wire::words::GoesOn;

/// Longest time that a raw log, a snapshot or a kept file may take to arrive; it can be hundreds of megabytes.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// An answer with the tag that tells its version from others.
#[derive(Clone, Debug)]
pub struct Tagged<T> {
    pub value: T,
    /// `None` when the server sent none: then every look is a new one.
    pub etag: Option<String>,
}

/// What a job changed, in git's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub bytes: Vec<u8>,
    /// Whether it was longer than the server tells.
    pub is_cut: bool,
}

/// Which jobs to list. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Separated by commas.
    pub status: Option<String>,
    pub client_id: Option<String>,
    /// 1 to 200.
    pub limit: Option<u32>,
    pub offset: Option<u32>,
    /// Free text.
    pub q: Option<String>,
    pub label: Option<String>,
    pub branch: Option<String>,
    pub submitted_by: Option<String>,
    /// RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
}

impl JobQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        [
            ("status", self.status.clone()),
            ("clientId", self.client_id.clone()),
            ("limit", number(self.limit)),
            ("offset", number(self.offset)),
            ("q", self.q.clone()),
            ("label", self.label.clone()),
            ("branch", self.branch.clone()),
            ("submittedBy", self.submitted_by.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }
}

/// A log or an archive while it comes in.
#[derive(Debug)]
pub struct Download {
    response: Response,
    url: String,
}

impl Download {
    /// The next piece, of any size; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        let piece = self.response.chunk().await.map_err(|error| ApiError::Unreachable {
            url: self.url.clone(),
            why: format!("the answer broke off: {error}"),
            maybe_done: false,
        })?;
        Ok(piece.map(|bytes| bytes.to_vec()))
    }
}

impl ApiClient {
    /// Queues a job. The same `key` within a day gives the first answer again.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] names the live job on that branch, [`ApiError::Invalid`] every broken rule.
    pub async fn submit_job(&self, request: &SubmitRequest, key: &str) -> Result<Job, ApiError> {
        self.call(Method::POST, &["jobs"], &[]).json(request).idempotency_key(key).answer().await
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// When the query breaks a rule.
    pub async fn list_jobs(&self, query: &JobQuery) -> Result<JobPage, ApiError> {
        self.call(Method::GET, &["jobs"], &query.pairs()).answer().await
    }

    /// A job as it is now.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn get_job(&self, job: &str) -> Result<Tagged<Job>, ApiError> {
        let answer = self.call(Method::GET, &["jobs", job], &[]).tagged_answer().await?;
        answer.map(|(value, etag)| Tagged { value, etag }).ok_or_else(|| self.unasked())
    }

    /// A job as soon as it is no longer what `etag` names, or `None` when it still is after `wait` (whole seconds).
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn wait_job(
        &self,
        job: &str,
        etag: &str,
        wait: Duration,
    ) -> Result<Option<Tagged<Job>>, ApiError> {
        let query = [("wait", wait.as_secs().to_string())];
        let call = self.call(Method::GET, &["jobs", job], &query).if_none_match(etag).patience(wait);
        Ok(call.tagged_answer().await?.map(|(value, etag)| Tagged { value, etag }))
    }

    /// What was said after message `after`, oldest first.
    ///
    /// # Errors
    /// When there is no such job.
    pub async fn list_messages(&self, job: &str, after: i64, limit: u32) -> Result<MessagePage, ApiError> {
        let query = [("after", after.to_string()), ("limit", limit.to_string())];
        self.call(Method::GET, &["jobs", job, "messages"], &query).answer().await
    }

    /// The agent's own output; of all attempts when `attempt` is `None`.
    ///
    /// # Errors
    /// When there is no such job or attempt.
    pub async fn read_log(&self, job: &str, attempt: Option<u32>, raw: bool) -> Result<Download, ApiError> {
        let mut query: Vec<_> = attempt.map(|number| ("attempt", number.to_string())).into_iter().collect();
        if raw {
            query.push(("raw", "true".to_owned()));
        }
        let response =
            self.call(Method::GET, &["jobs", job, "log"], &query).patience(DOWNLOAD_LIMIT).send().await?;
        Ok(Download { response, url: self.base_url().to_owned() })
    }

    /// The work of a job that is kept, newest first.
    ///
    /// # Errors
    /// When there is no such job.
    pub async fn list_snapshots(&self, job: &str) -> Result<SnapshotList, ApiError> {
        self.call(Method::GET, &["jobs", job, "snapshots"], &[]).answer().await
    }

    /// The files of a snapshot, as tar(5).
    ///
    /// # Errors
    /// When there is no such job or snapshot.
    pub async fn read_snapshot(&self, job: &str, name: &str) -> Result<Download, ApiError> {
        let call = self.call(Method::GET, &["jobs", job, "snapshots", name], &[]);
        let response = call.patience(DOWNLOAD_LIMIT).send().await?;
        Ok(Download { response, url: self.base_url().to_owned() })
    }

    /// A file that the job has kept, by its path as the job tells it.
    ///
    /// # Errors
    /// When there is no such job or file.
    pub async fn read_artifact(&self, job: &str, path: &str) -> Result<Download, ApiError> {
        let segments: Vec<_> = ["jobs", job, "artifacts"].into_iter().chain(path.split('/')).collect();
        let call = self.call(Method::GET, &segments, &[]);
        let response = call.patience(DOWNLOAD_LIMIT).send().await?;
        Ok(Download { response, url: self.base_url().to_owned() })
    }

    /// What the job changed, as a patch: bytes, for its files have an encoding of their own.
    ///
    /// # Errors
    /// When there is no such job, or no commit of it.
    pub async fn get_patch(&self, job: &str) -> Result<Patch, ApiError> {
        let call = self.call(Method::GET, &["jobs", job, "diff"], &[("format", "patch".to_owned())]);
        call.bytes().await.map(|(bytes, is_cut)| Patch { bytes, is_cut })
    }

    /// What the job changed, as files and numbers.
    ///
    /// # Errors
    /// As [`Self::get_patch`].
    pub async fn get_diff(&self, job: &str) -> Result<Diff, ApiError> {
        self.call(Method::GET, &["jobs", job, "diff"], &[("format", "json".to_owned())]).answer().await
    }

    /// Cancels a job, and returns when nothing of it runs any more.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] when it is over already, [`ApiError::Busy`] when its end takes longer than 20 s (the
    /// request stands).
    pub async fn cancel_job(&self, job: &str) -> Result<Cancelled, ApiError> {
        self.call(Method::POST, &["jobs", job, "cancel"], &[]).answer().await
    }

    /// Takes a job over, and returns when nothing of it runs any more. With the same key it may be asked again.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when there is nothing to take over, or somebody else has it; [`ApiError::Busy`] when its processes
    /// take longer than 20 s (the wish stands).
    pub async fn attach_job(&self, job: &str, key: &str) -> Result<Attached, ApiError> {
        let request = AttachRequest { key: key.to_owned() };
        self.call(Method::POST, &["jobs", job, "attach"], &[]).json(&request).answer().await
    }

    /// Says that the visitor is still there.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the visit is over.
    pub async fn prolong_visit(&self, job: &str, key: &str) -> Result<Prolonged, ApiError> {
        let request = AttachRequest { key: key.to_owned() };
        self.call(Method::POST, &["jobs", job, "attach", "prolong"], &[]).json(&request).answer().await
    }

    /// Hands a job back.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the visit is over.
    pub async fn detach_job(&self, job: &str, key: &str, goes_on: GoesOn) -> Result<Detached, ApiError> {
        let request = DetachRequest { key: key.to_owned(), goes_on };
        self.call(Method::POST, &["jobs", job, "detach"], &[]).json(&request).answer().await
    }

    /// Queues a new job of the same chain.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] while the job, or another on its branch, is live.
    pub async fn retry_job(&self, job: &str, request: &RetryRequest, key: &str) -> Result<Job, ApiError> {
        let call = self.call(Method::POST, &["jobs", job, "retry"], &[]);
        call.json(request).idempotency_key(key).answer().await
    }

    /// Queues a job that goes on where another has ended.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when its client was deleted.
    pub async fn follow_up_job(
        &self,
        job: &str,
        request: &FollowUpRequest,
        key: &str,
    ) -> Result<Job, ApiError> {
        let call = self.call(Method::POST, &["jobs", job, "follow-up"], &[]);
        call.json(request).idempotency_key(key).answer().await
    }

    pub(super) fn unasked(&self) -> ApiError {
        ApiError::Unintelligible {
            url: self.base_url().to_owned(),
            why: "status 304 to an unconditional request".to_owned(),
        }
    }
}
