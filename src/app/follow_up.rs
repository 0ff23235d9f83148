//! Following up a job: a new job of the same chain that goes on, with something new, where the one before has ended.

use serde_json::Value;

use super::caller::Caller;
use super::error::AppError;
use super::prompts::{self, Wanted};
use super::{App, Created, rules, scheduling};
use crate::domain::attachment::AttachedFile;
use crate::domain::job::{Chain, Job, NewJob, NewJobRequest, Start};
use crate::domain::options::RunOptions;
use crate::domain::profile::{Profile, UsedProfile};
use crate::store::AnswerKey;
use crate::wire;
use crate::wire::fields::Reading;
use crate::wire::request::FollowUp;

impl App {
    /// Accepts a job on the branch, in the worktree, the conversation and the pull request of another, whatever has become
    /// of that one; while a live one is on the branch, the new one waits.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Conflict`] for a deleted client; [`AppError::Invalid`];
    /// [`AppError::QueueFull`]; [`AppError::Draining`].
    pub async fn follow_up_job(
        &self,
        caller: &Caller,
        job: &str,
        body: &Value,
        key: Option<AnswerKey>,
    ) -> Result<Created<wire::job::Job>, AppError> {
        let job = self.job_to_repeat(caller, job).await?;
        let client = self.0.store.get_client(&job.client_id).await?;
        if client.deleted_at.is_some() {
            return Err(AppError::client_deleted());
        }
        let mut reading = Reading::default();
        let mut asked = FollowUp::read(body, &mut reading);
        let files = rules::attachments(std::mem::take(&mut asked.attachments), &mut reading);
        let named = self.named_profile(caller, asked.profile.as_deref(), &mut reading).await?;
        let options = RunOptions::merge(&[&asked.options, &job.request.options]);
        // one that is not named is that of the job before, as it was then
        let used = named.as_ref().map(UsedProfile::of).or_else(|| job.request.profile.clone());
        self.check_options(caller, &options, used.as_ref(), Some(&client.options), &mut reading)?;
        let (client_id, chain) = (job.client_id.clone(), job.chain.clone());
        let parent = job.id.clone();
        let mut request = self.following(caller, job, asked, named.as_ref(), &mut reading);
        (request.options, request.profile) = (options, used);
        let login = self.login(&request.own_options(), &client.options);
        request.attachments = files.iter().map(AttachedFile::told).collect();
        AppError::of_reading(&reading)?;
        let new = NewJob {
            client_id,
            request,
            chain: Some(Chain { root: chain.root, original: None, parent: Some(parent) }),
            // which conversation that is shows when those before it have ended
            start: Start::Resume { session_id: None },
            done_by_hand: false,
            login,
            files,
        };
        self.store_job(new, reading.warnings, key).await
    }

    /// What was asked for, options apart, and for the rest what the job before had.
    fn following(
        &self,
        caller: &Caller,
        job: Job,
        asked: FollowUp,
        profile: Option<&Profile>,
        reading: &mut Reading,
    ) -> NewJobRequest {
        let wanted = Wanted {
            prompt: asked.prompt.as_deref(),
            variables: &asked.variables,
            names_profile: asked.profile.is_some(),
        };
        let prompt = prompts::prompt(&wanted, profile, reading);
        rules::title(asked.title.as_deref(), reading);
        rules::body(asked.body.as_deref(), reading);
        rules::foreign_id("/osFeatureId", asked.os_feature_id.as_deref(), reading);
        rules::labels(asked.labels.as_deref().unwrap_or_default(), reading);
        let callback_url = rules::callback_url(asked.callback_url.as_deref(), &self.0.settings, reading);
        let metadata = rules::metadata(asked.metadata.as_ref(), reading);
        let priority = match asked.priority {
            Some(priority) => rules::priority(Some(priority), reading),
            None => job.request.priority,
        };
        let run_at = scheduling::run_at(asked.run_at.as_deref(), self.now(), reading);
        NewJobRequest {
            prompt,
            branch: Some(job.request.branch),
            title: asked.title.or(job.request.title),
            body: asked.body.or(job.request.body),
            os_feature_id: asked.os_feature_id.or(job.request.os_feature_id),
            callback_url: callback_url.or(job.request.callback_url),
            metadata: metadata.or(job.request.metadata),
            labels: asked.labels.unwrap_or(job.request.labels),
            base_branch: job.request.base_branch,
            priority,
            run_at,
            depends_on: Vec::new(),
            attachments: Vec::new(),
            options: job.request.options,
            profile: job.request.profile,
            submitted_by: caller.name.clone(),
        }
    }
}
