//! Retrying a job: a new job of the same chain that repeats only what failed.

use serde_json::Value;

use super::caller::Caller;
use super::error::AppError;
use super::rules;
use super::{App, Created};
use crate::domain::job::{Chain, Job, NewJob, NewJobRequest, Start};
use crate::domain::options::{Isolation, Publish, RunOptions};
use crate::domain::retry::{self, CannotRetry, RetryMode};
use crate::domain::token::Scope;
use crate::store::AnswerKey;
use crate::wire;
use crate::wire::fields::Reading;
use crate::wire::request::Retry;

impl App {
    /// # Errors
    /// [`AppError::Conflict`] for a job that is live or completed, a deleted client or a branch in use;
    /// [`AppError::Invalid`].
    pub async fn retry_job(
        &self,
        caller: &Caller,
        job: &str,
        body: &Value,
        key: Option<AnswerKey>,
    ) -> Result<Created<wire::job::Job>, AppError> {
        let job = self.job_to_repeat(caller, job).await?;
        let mut reading = Reading::default();
        let asked = Retry::read(body, &mut reading);
        if asked.prompt.is_some() {
            rules::prompt(asked.prompt.as_deref(), &mut reading);
        }
        AppError::of_reading(&reading)?;
        // who allows what a commit holds wants this commit
        let allows = !asked.allow_secrets.is_empty() && asked.prompt.is_none();
        let mode = asked.mode.unwrap_or(if allows { RetryMode::Publish } else { RetryMode::Auto });
        let prompt = asked.prompt.as_deref().map(|prompt| prompt.trim().to_owned());
        let chain = self.0.store.chain_of(&job.chain.root).await?;
        let start = retry::plan(&job, &chain, mode, prompt.is_some()).map_err(refused)?;
        let client = self.0.store.get_client(&job.client_id).await?;
        if client.deleted_at.is_some() {
            return Err(AppError::client_deleted());
        }
        let mut options = options_of_retry(&job, asked.allow_secrets);
        if self.0.settings.always_sandboxed && options.isolation == Some(Isolation::None) {
            // nobody asks for it now: it is the old job's, which would run inside as well
            options.isolation = None;
        }
        let profile = job.request.profile.as_ref();
        if let Start::Publish { .. } = start {
            // what no agent can do does not matter where none runs
            self.check_allowed(caller, &options, &mut reading)?;
            let profile = profile.map(|used| used.options.clone()).unwrap_or_default();
            let layers = [&options, &profile, &client.options, &self.0.settings.defaults];
            self.check_publish(retry::how_far(&start, &layers, self.farthest()), &mut reading);
        } else {
            self.check_options(caller, &options, profile, Some(&client.options), &mut reading)?;
        }
        AppError::of_reading(&reading)?;
        // by itself a retry goes on in a conversation for nothing else
        let done_by_hand = mode == RetryMode::Auto && matches!(start, Start::Resume { .. });
        let mut new = again(job, start, prompt, options, caller);
        new.done_by_hand = done_by_hand;
        new.login = self.login(&new.request.own_options(), &client.options);
        self.store_job(new, reading.warnings, key).await
    }

    /// A job that this caller may have another one made of: one of its own, or any for `operate`.
    pub(super) async fn job_to_repeat(&self, caller: &Caller, job: &str) -> Result<Job, AppError> {
        caller.needs(Scope::Submit)?;
        self.refuse_while_draining()?;
        let job = self.view(caller, job).await?.job;
        if job.request.submitted_by != caller.name {
            caller.needs(Scope::Operate)?;
        }
        Ok(job)
    }

    fn farthest(&self) -> Publish {
        if self.0.settings.opens_pull_requests { Publish::PullRequest } else { Publish::Branch }
    }
}

/// Those of the job, a `none` too: a commit that was chosen to be published goes as far as others say ([`retry::how_far`]), and whoever
/// has the agent work again, or follows it up, keeps back what nobody has seen.
fn options_of_retry(job: &Job, allow_secrets: Vec<String>) -> RunOptions {
    let mut options = job.request.options.clone();
    if !allow_secrets.is_empty() {
        // what somebody has allowed before is still there
        let allowed = options.allow_secrets.get_or_insert_default();
        allowed.extend(allow_secrets);
        allowed.sort_unstable();
        allowed.dedup();
    }
    options
}

fn again(job: Job, start: Start, prompt: Option<String>, options: RunOptions, caller: &Caller) -> NewJob {
    let request = job.request;
    NewJob {
        client_id: job.client_id,
        request: NewJobRequest {
            prompt: prompt.unwrap_or(request.prompt),
            branch: Some(request.branch),
            title: request.title,
            body: request.body,
            os_feature_id: request.os_feature_id,
            callback_url: request.callback_url,
            metadata: request.metadata,
            labels: request.labels,
            base_branch: request.base_branch,
            priority: request.priority,
            // asked for now, by somebody who has seen how the others ended
            run_at: None,
            depends_on: request.depends_on,
            attachments: request.attachments,
            options,
            profile: request.profile,
            submitted_by: caller.name.clone(),
        },
        chain: Some(Chain { root: job.chain.root, original: Some(job.id), parent: job.chain.parent }),
        start,
        done_by_hand: false,
        login: job.login,
        files: Vec::new(),
    }
}

fn refused(why: CannotRetry) -> AppError {
    let code = match why {
        CannotRetry::Live(_) => "job_live",
        CannotRetry::Completed => "job_completed",
        CannotRetry::NothingToPublish => "nothing_to_publish",
        CannotRetry::PromptWithoutAgent => {
            return AppError::invalid("/prompt", "needs the agent: use mode \"fresh\"");
        }
    };
    AppError::conflict(code, why.to_string())
}
