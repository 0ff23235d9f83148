//! A job in answers: the short form of lists, and the full form.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::attachment::Attachment;
use super::attempt::Attempt;
use super::message::Message;
use super::options::{Options, dollars};
use super::time::UtcTime;
use super::words::{DeliveryState, LimitWindow, Outcome, Phase, ReasonCode, Status, WaitingFor};
use crate::domain;
use crate::domain::artifact::Artifacts;
use crate::domain::attempt;
use crate::domain::job::JobView;
use crate::domain::phrases;

/// Enough to tell jobs apart in a list.
const PROMPT_LINE_CHARS: usize = 120;

/// What to call a job of this prompt that has no title.
#[must_use]
pub fn prompt_line(prompt: &str) -> String {
    phrases::one_line(prompt.trim_start(), PROMPT_LINE_CHARS)
}

/// A job as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSummary {
    pub id: String,
    /// What people say.
    pub number: i64,
    pub client_id: String,
    pub client_name: String,
    pub client: JobClient,
    pub status: Status,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    pub waiting: Option<Waiting>,
    /// 1 + the queued jobs before it; `null` when it is not queued.
    pub position: Option<i64>,
    pub branch_name: String,
    pub base_branch: Option<String>,
    pub base_sha: Option<String>,
    pub head_sha: Option<String>,
    pub title: Option<String>,
    /// The first line of the prompt, at most 120 characters: what to call a job without a title.
    #[serde(default)]
    pub prompt_line: String,
    pub os_feature_id: Option<String>,
    pub os_callback_url: Option<String>,
    pub metadata: Option<Value>,
    pub labels: Vec<String>,
    /// −10…10, higher first.
    pub priority: i8,
    pub run_at: Option<UtcTime>,
    pub depends_on: Vec<String>,
    /// The files that came with it.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// The name of the profile that it was submitted with.
    #[serde(default)]
    pub profile: Option<String>,
    pub root_job_id: String,
    pub original_job_id: Option<String>,
    /// The number of the newest job that retries this one.
    #[serde(default)]
    pub retried_as: Option<i64>,
    pub parent_job_id: Option<String>,
    /// The `[agents.<name>]` entry that works on it.
    pub agent: String,
    pub session_id: Option<String>,
    /// Where the agent said that its credential comes from, in its own word: of `claude`, `none` is the login of a subscription and
    /// `ANTHROPIC_API_KEY` a key that is billed by use. `null`: it has not said.
    #[serde(default)]
    pub authentication: Option<String>,
    /// Number of the newest attempt, 0 before the first.
    pub attempt: u32,
    pub worktree_path: Option<String>,
    pub pid: Option<i64>,
    pub exit_code: Option<i64>,
    /// Why it failed, as one text; `null` for a job that did not fail.
    pub error: Option<String>,
    pub pr_url: Option<String>,
    pub pr_number: Option<i64>,
    pub files_changed: Option<i64>,
    pub insertions: Option<i64>,
    pub deletions: Option<i64>,
    pub usage: Usage,
    pub verify: Vec<Verification>,
    pub warnings: Vec<String>,
    pub callback: Callback,
    /// The files that were kept, by path, until they are past their time.
    pub artifacts: Vec<Artifact>,
    pub submitted_by: String,
    pub cancel_requested_at: Option<UtcTime>,
    pub created_at: UtcTime,
    pub started_at: Option<UtcTime>,
    pub completed_at: Option<UtcTime>,
    pub updated_at: UtcTime,
}

/// A job, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    #[serde(flatten)]
    pub summary: JobSummary,
    pub prompt: String,
    /// Extra text of the pull request.
    pub body: Option<String>,
    pub options: Options,
    pub attempts: Vec<Attempt>,
    /// Only where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Older messages than these exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_truncated: Option<bool>,
}

/// A page of jobs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPage {
    pub jobs: Vec<JobSummary>,
    /// Jobs that match, on all pages.
    pub total: i64,
    pub limit: i64,
    pub offset: i64,
    /// What to send as `after` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// The answer to a cancel: no process of the job is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancelled {
    pub id: String,
    /// `cancelled`.
    pub status: Status,
    /// Whether an agent was at work.
    pub was_running: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobClient {
    pub name: String,
    pub github_org: String,
    pub github_repo: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    pub code: ReasonCode,
    pub message: String,
    /// The command that helps.
    pub hint: String,
    /// Whether a retry without any change has a chance.
    pub retryable: bool,
}

impl Reason {
    /// `job` stands in for the placeholder of the hint; its status decides whether a retry can be advised.
    #[must_use]
    pub fn of(
        reason: &domain::reason::Reason,
        job: domain::id::JobNumber,
        status: domain::job::Status,
    ) -> Self {
        use domain::job::Status::{Cancelled, Completed, Failed, Queued, Running};
        let hint = match status {
            Failed | Cancelled => reason.code.hint(),
            Queued | Running | Completed => reason.code.hint_while_it_goes_on(),
        };
        Self {
            code: reason.code.into(),
            message: reason.message.clone(),
            hint: hint.replace("JOB", &job.to_string()),
            retryable: reason.code.retryable(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    #[serde(rename = "for")]
    pub for_: WaitingFor,
    pub until: Option<UtcTime>,
    /// Of `usage_limit`: which, where the agent has named it.
    #[serde(default)]
    pub window: Option<LimitWindow>,
}

impl From<domain::job::Waiting> for Waiting {
    fn from(waiting: domain::job::Waiting) -> Self {
        Self {
            for_: waiting.for_.into(),
            until: waiting.until.map(UtcTime),
            window: waiting.window.map(LimitWindow),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// US dollars; `null` when the agent does not say.
    pub cost_usd: Option<f64>,
    pub turns: u64,
    pub duration_ms: u64,
}

impl From<domain::job::Usage> for Usage {
    fn from(usage: domain::job::Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            cost_usd: usage.cost_micro_usd.map(dollars),
            turns: usage.turns,
            duration_ms: usage.duration_ms,
        }
    }
}

/// One verification command and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    pub command: String,
    /// 1 for the first look at the agent's work, one more after each repair.
    pub round: u32,
    /// `null` when it was killed or could not be run.
    pub exit_code: Option<i64>,
    pub duration_ms: u64,
    /// The end of what it wrote; `null` unless it failed.
    pub output: Option<String>,
}

impl From<&domain::job::Verification> for Verification {
    fn from(result: &domain::job::Verification) -> Self {
        Self {
            command: result.command.clone(),
            round: result.round,
            exit_code: result.exit_code,
            duration_ms: result.duration_ms,
            output: result.output.clone(),
        }
    }
}

/// A file that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// As it was in the worktree; what `GET /jobs/{id}/artifacts/{path}` is asked for.
    pub path: String,
    pub bytes: u64,
}

/// The callback in one glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Callback {
    /// `none, pending, delivered, suspended` or `dead`.
    pub state: String,
    pub tries: u32,
    pub last_status: Option<u16>,
}

impl From<domain::delivery::CallbackSummary> for Callback {
    fn from(callback: domain::delivery::CallbackSummary) -> Self {
        Self {
            state: callback.state.map_or_else(|| "none".to_owned(), |state| DeliveryState(state).to_string()),
            tries: callback.tries,
            last_status: callback.last_status,
        }
    }
}

impl From<&JobView> for JobSummary {
    fn from(view: &JobView) -> Self {
        let (job, request, effects) = (&view.job, &view.job.request, &view.job.effects);
        let failed = job.status == domain::job::Status::Failed;
        Self {
            id: job.id.to_string(),
            number: job.number.0,
            client_id: job.client_id.to_string(),
            client_name: view.client_name.clone(),
            client: JobClient {
                name: view.client_name.clone(),
                github_org: view.repository.org().to_owned(),
                github_repo: view.repository.repo().to_owned(),
            },
            status: job.status.into(),
            phase: job.phase.into(),
            outcome: job.outcome.map(Outcome),
            reason: job.reason.as_ref().map(|reason| Reason::of(reason, job.number, job.status)),
            waiting: view.waiting.map(Waiting::from),
            position: view.position,
            branch_name: request.branch.to_string(),
            base_branch: request.base_branch.clone(),
            base_sha: effects.base_sha.clone(),
            head_sha: effects.head_sha.clone(),
            title: request.title.clone(),
            prompt_line: prompt_line(&request.prompt),
            os_feature_id: request.os_feature_id.clone(),
            os_callback_url: request.callback_url.clone(),
            metadata: metadata(request.metadata.as_deref()),
            labels: request.labels.clone(),
            priority: request.priority,
            run_at: request.run_at.map(UtcTime),
            depends_on: request.depends_on.iter().map(ToString::to_string).collect(),
            attachments: request.attachments.iter().map(Attachment::from).collect(),
            profile: request.profile.as_ref().map(|profile| profile.name.clone()),
            root_job_id: job.chain.root.to_string(),
            original_job_id: job.chain.original.as_ref().map(ToString::to_string),
            retried_as: view.retried_as.map(|number| number.0),
            parent_job_id: job.chain.parent.as_ref().map(ToString::to_string),
            agent: job.login.clone(),
            session_id: effects.session_id.clone(),
            authentication: effects.authentication.clone(),
            attempt: job.attempt,
            worktree_path: effects.worktree_path.clone(),
            pid: effects.pid,
            exit_code: effects.exit_code,
            error: job.reason.as_ref().filter(|_| failed).map(|reason| reason.message.clone()),
            pr_url: effects.pr_url.clone(),
            pr_number: effects.pr_number,
            files_changed: effects.files_changed,
            insertions: effects.insertions,
            deletions: effects.deletions,
            usage: job.usage.into(),
            verify: job.verify.iter().map(Verification::from).collect(),
            warnings: job.warnings.clone(),
            callback: view.callback.into(),
            artifacts: artifacts(job.artifacts.as_ref()),
            submitted_by: request.submitted_by.clone(),
            cancel_requested_at: job.cancel_requested_at.map(UtcTime),
            created_at: job.created_at.into(),
            started_at: job.started_at.map(UtcTime),
            completed_at: job.completed_at.map(UtcTime),
            updated_at: job.updated_at.into(),
        }
    }
}

impl Job {
    /// The full form. `warnings` of the request come after those of the job.
    #[must_use]
    pub fn of(view: &JobView, attempts: &[attempt::Attempt], warnings: &[String]) -> Self {
        let mut summary = JobSummary::from(view);
        summary.warnings.extend_from_slice(warnings);
        Self {
            prompt: view.job.request.prompt.clone(),
            body: view.job.request.body.clone(),
            options: Options::from(&view.job.request.options),
            attempts: attempts
                .iter()
                .map(|attempt| Attempt::of(attempt, view.job.number, view.job.status))
                .collect(),
            messages: None,
            messages_truncated: None,
            summary,
        }
    }
}

/// By path.
fn artifacts(kept: Option<&Artifacts>) -> Vec<Artifact> {
    let files = kept.into_iter().flat_map(|kept| &kept.files);
    let mut all: Vec<_> = files.map(|file| Artifact { path: file.path.clone(), bytes: file.bytes }).collect();
    all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    all
}

/// Stored text back into JSON; it was checked when it came in.
pub(super) fn metadata(text: Option<&str>) -> Option<Value> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::branch::BranchName;
    use crate::domain::client::RepositoryName;
    use crate::domain::delivery::CallbackSummary;
    use crate::domain::id::{ClientId, JobId, JobNumber};
    use crate::domain::job::{self, Chain, Effects, JobRequest, Start};
    use crate::domain::options::RunOptions;
    use crate::domain::profile::UsedProfile;
    use crate::domain::reason;
    use crate::domain::time::Timestamp;

    /// A job that failed at its push, with every member that can be set.
    pub(in crate::wire) fn failed_job() -> JobView {
        let at = |seconds: i64| Timestamp::from_ms(1_795_254_420_000 + seconds * 1_000);
        let job = job::Job {
            id: JobId::from_random("7fk2abcd2345efgh"),
            number: JobNumber(142),
            client_id: ClientId::from_random("abcd2345efgh7fk2"),
            request: JobRequest {
                prompt: "Fix the login".to_owned(),
                branch: BranchName::parse("fix/login").unwrap(),
                title: Some("Fix the login".to_owned()),
                body: None,
                os_feature_id: Some("feat-1".to_owned()),
                callback_url: Some("https://example.org/hook".to_owned()),
                metadata: Some("{\"ticket\":7}".to_owned()),
                labels: vec!["night".to_owned()],
                base_branch: None,
                priority: -2,
                run_at: None,
                depends_on: Vec::new(),
                attachments: Vec::new(),
                options: RunOptions { max_turns: Some(5), ..RunOptions::default() },
                profile: Some(UsedProfile { name: "review".to_owned(), options: RunOptions::default() }),
                submitted_by: "admin".to_owned(),
            },
            chain: Chain { root: JobId::from_random("7fk2abcd2345efgh"), original: None, parent: None },
            start: Start::Agent,
            login: "claude".to_owned(),
            status: job::Status::Failed,
            phase: job::Phase::Done,
            outcome: Some(job::Outcome::Failed),
            reason: Some(reason::Reason::new(reason::ReasonCode::PushRejected, "Hook said no.")),
            attempt: 1,
            attempts_counted: 1,
            backoff_tries: 0,
            effects: Effects { head_sha: Some("b".repeat(40)), files_changed: Some(2), ..Effects::default() },
            handed_back: None,
            usage: job::Usage { input_tokens: 10, cost_micro_usd: Some(12_500), ..job::Usage::default() },
            verify: vec![job::Verification {
                command: "cargo test".to_owned(),
                round: 2,
                exit_code: Some(0),
                duration_ms: 1_500,
                output: None,
            }],
            artifacts: Some(Artifacts {
                attempt: 2,
                files: [("out/b.html", 7), ("out/a.html", 5)]
                    .map(|(path, bytes)| domain::artifact::Artifact { path: path.to_owned(), bytes })
                    .into(),
            }),
            warnings: vec!["a label was refused".to_owned()],
            cancel_requested_at: None,
            created_at: at(0),
            started_at: Some(at(1)),
            completed_at: Some(at(60)),
            updated_at: at(60),
        };
        JobView {
            job,
            client_name: "Widgets".to_owned(),
            repository: RepositoryName::parse("acme", "widgets").unwrap(),
            waiting: None,
            position: None,
            retried_as: None,
            callback: CallbackSummary { state: None, tries: 0, last_status: None },
        }
    }

    #[test]
    fn the_full_form() {
        let job = Job::of(&failed_job(), &[], &["unknown member /x was ignored".to_owned()]);
        insta::assert_json_snapshot!(job);
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
    }

    #[test]
    fn lists_leave_the_long_members_out() {
        let value = serde_json::to_value(JobSummary::from(&failed_job())).unwrap();
        for long in ["prompt", "body", "options", "attempts"] {
            assert!(value.get(long).is_none(), "{long}");
        }
        assert!(value["reason"]["hint"].as_str().unwrap().contains("offshoot retry 142"));
    }
}
