//! Accepting a job.

use serde_json::Value;

use super::caller::Caller;
use super::error::{AppError, CLIENT_DELETED};
use super::prompts::{self, Wanted};
use super::{App, Created};
use super::{rules, scheduling};
use crate::domain::attachment::AttachedFile;
use crate::domain::branch::BranchName;
use crate::domain::client::{Client, NewClient, RepositoryName};
use crate::domain::id::{ClientId, JobId};
use crate::domain::job::{JobView, NewJob, NewJobRequest, Start};
use crate::domain::options::{Above, EffectiveOptions, Isolation, Layer, Publish, RunOptions};
use crate::domain::profile::{Profile, UsedProfile};
use crate::domain::token::Scope;
use crate::store::{AnswerKey, KeyedAnswer, StoreError};
use crate::wire::fields::Reading;
use crate::wire::job::Job;
use crate::wire::request::Submission;

/// Readings of one submission: another follows when its client was deleted between the look at it and the job, and that needs
/// a new client each time.
const READINGS_MAX: u32 = 3;

impl App {
    /// Accepts a job. When this resolves, it is on disk.
    ///
    /// # Errors
    /// [`AppError::Invalid`] and [`AppError::NotSupported`] with every fault; [`AppError::Conflict`] for a branch that
    /// is in use, and for a client that was deleted at each reading; [`AppError::QueueFull`]; [`AppError::Draining`].
    pub async fn submit_job(
        &self,
        caller: &Caller,
        body: &Value,
        key: Option<AnswerKey>,
    ) -> Result<Created<Job>, AppError> {
        let mut readings = 1;
        loop {
            match self.submit_once(caller, body, key.clone()).await {
                Err(AppError::Conflict { code: CLIENT_DELETED, .. }) if readings < READINGS_MAX => {
                    readings += 1;
                }
                done => return done,
            }
        }
    }

    async fn submit_once(
        &self,
        caller: &Caller,
        body: &Value,
        key: Option<AnswerKey>,
    ) -> Result<Created<Job>, AppError> {
        caller.needs(Scope::Submit)?;
        self.refuse_while_draining()?;
        let mut reading = Reading::default();
        let mut asked = Submission::read(body, &mut reading);
        let files = rules::attachments(std::mem::take(&mut asked.attachments), &mut reading);
        let named = self.named_client(caller, &asked, &mut reading).await?;
        let depends_on = self.dependencies(caller, &asked.depends_on, &mut reading).await?;
        let profile = self.named_profile(caller, asked.profile.as_deref(), &mut reading).await?;
        let client = named.as_ref().and_then(Named::known);
        let mut request =
            self.check_submission(caller, asked, depends_on, client, profile.as_ref(), &mut reading)?;
        request.attachments = files.iter().map(AttachedFile::told).collect();
        AppError::of_reading(&reading)?;
        let named = named.ok_or_else(|| AppError::invalid("/clientId", "is required"))?;
        let client = self.ensure_client(named).await?;
        let login = self.login(&request.own_options(), &client.options);
        let (start, done_by_hand) = (Start::Agent, false);
        let job = NewJob { client_id: client.id, request, chain: None, start, done_by_hand, login, files };
        self.store_job(job, reading.warnings, key).await
    }

    /// Stores the job together with the answer to its request.
    pub(super) async fn store_job(
        &self,
        job: NewJob,
        warnings: Vec<String>,
        key: Option<AnswerKey>,
    ) -> Result<Created<Job>, AppError> {
        let shown = warnings.clone();
        let answer = key.map(|key| KeyedAnswer {
            key,
            render: Box::new(move |view: &JobView| {
                let created = created(view, &shown);
                (201, Some(created.location), serde_json::to_vec(&created.body).unwrap_or_default())
            }),
        });
        let stored = self.0.store.submit_job(job, answer, self.render_callbacks()).await;
        let view = match stored {
            // it was there a moment ago
            Err(StoreError::NotFound("client")) => return Err(AppError::client_deleted()),
            stored => stored?,
        };
        tracing::info!(
            job.id = %view.job.id,
            job.number = view.job.number.0,
            client.id = %view.job.client_id,
            "job queued"
        );
        Ok(created(&view, &warnings))
    }

    pub(super) fn refuse_while_draining(&self) -> Result<(), AppError> {
        if self.is_draining() { Err(AppError::Draining) } else { Ok(()) }
    }

    /// The agent entry that will work: what the job or its profile says, else its client, else the configuration.
    pub(super) fn login(&self, job: &RunOptions, client: &RunOptions) -> String {
        let merged = RunOptions::merge(&[job, client, &self.0.settings.defaults]);
        merged.agent.unwrap_or_else(|| EffectiveOptions::resolve(RunOptions::default(), false).agent)
    }

    /// Refuses options that the caller may not set or not set so high, that are out of range, or that cannot work on this server together with
    /// those of the profile and the client.
    pub(super) fn check_options(
        &self,
        caller: &Caller,
        options: &RunOptions,
        profile: Option<&UsedProfile>,
        client: Option<&RunOptions>,
        reading: &mut Reading,
    ) -> Result<(), AppError> {
        let settings = &self.0.settings;
        self.check_allowed(caller, options, reading)?;
        let none = RunOptions::default();
        let (profile, client) = (profile.map_or(&none, |used| &used.options), client.unwrap_or(&none));
        let owner = RunOptions::merge(&[profile, client, &settings.defaults]);
        refuse_above(caller, options, &owner)?;
        refuse_thinner_walls(caller, options, &owner)?;
        if settings.always_sandboxed && options.isolation == Some(Isolation::None) {
            reading.fault(
                "/options/isolation",
                "must not be none: policy.isolation is \"sandbox\" on this server",
            );
        }
        let merged = RunOptions::merge(&[options, profile, client, &settings.defaults]);
        let login = self.login(&merged, &none);
        rules::carried_out(&login, options, &merged, settings, reading);
        self.check_publish(merged.publish, reading);
        Ok(())
    }

    /// The same for options that no agent works with.
    pub(super) fn check_allowed(
        &self,
        caller: &Caller,
        options: &RunOptions,
        reading: &mut Reading,
    ) -> Result<(), AppError> {
        rules::options(options, Layer::Job, &self.0.settings, reading);
        if !caller.scope.includes(Scope::Operate)
            && let Some(name) = options.set_names().into_iter().find(|name| !name.is_safe())
        {
            let detail = format!("options.{} needs the scope operate", name.camel_case());
            return Err(AppError::Forbidden(detail));
        }
        Ok(())
    }

    /// Whether it can go as far as that; `None`: as far as can be.
    pub(super) fn check_publish(&self, publish: Option<Publish>, reading: &mut Reading) {
        let publish = publish.unwrap_or(Publish::PullRequest);
        if publish == Publish::PullRequest && !self.0.settings.opens_pull_requests {
            reading.fault(
                "/options/publish",
                "cannot be pull_request without a forge token: set GITHUB_TOKEN (or github.token, or github.app_id), or publish \"branch\" or \"none\"",
            );
        }
    }

    /// The client that the request names; one that is to be made has no id yet.
    async fn named_client(
        &self,
        caller: &Caller,
        asked: &Submission,
        reading: &mut Reading,
    ) -> Result<Option<Named>, AppError> {
        let (org, repo) = (asked.github_org.as_deref(), asked.github_repo.as_deref());
        let repository = rules::repository(org, repo, &self.0.settings, reading);
        let Some(id) = asked.client_id.as_deref() else {
            if org.is_none()
                && repo.is_none()
                && !reading.faults.iter().any(|fault| is_client(&fault.pointer))
            {
                reading.fault("/clientId", "is required, or githubOrg and githubRepo");
            }
            let Some(repository) = repository else { return Ok(None) };
            let known = self.0.store.find_client_by_repository(&repository).await?;
            return Ok(match known {
                Some(client) if caller.reach.has(&client.id) => Some(Named::Known(Box::new(client))),
                None if caller.reach.is_whole() => Some(Named::New(repository)),
                // whether there is one is no matter of this token
                _ => {
                    reading.fault("/githubRepo", "is not one of the clients that the token is limited to");
                    None
                }
            });
        };
        let found = match ClientId::parse(id) {
            Ok(id) => match self.0.store.get_client(&id).await {
                Ok(client) if client.deleted_at.is_none() && caller.reach.has(&client.id) => Some(client),
                Ok(_) | Err(StoreError::NotFound(_)) => None,
                Err(error) => return Err(error.into()),
            },
            Err(_) => None,
        };
        let Some(client) = found else {
            reading.fault("/clientId", "is not the id of a client");
            return Ok(None);
        };
        if repository.is_some_and(|repository| repository != client.repository) {
            reading.fault("/githubOrg", format!("disagrees with clientId, which is {}", client.repository));
        }
        Ok(Some(Named::Known(Box::new(client))))
    }

    fn check_submission(
        &self,
        caller: &Caller,
        asked: Submission,
        depends_on: Vec<JobId>,
        client: Option<&Client>,
        profile: Option<&Profile>,
        reading: &mut Reading,
    ) -> Result<NewJobRequest, AppError> {
        let settings = &self.0.settings;
        let wanted = Wanted {
            prompt: asked.prompt.as_deref(),
            variables: &asked.variables,
            names_profile: asked.profile.is_some(),
        };
        let prompt = prompts::prompt(&wanted, profile, reading);
        let branch = rules::work_branch(asked.branch_name.as_deref(), settings, reading);
        let base = rules::branch("/baseBranch", asked.base_branch.as_deref(), reading);
        refuse_base_as_work(branch.as_ref(), base.as_ref(), client, reading);
        rules::title(asked.title.as_deref(), reading);
        rules::body(asked.body.as_deref(), reading);
        rules::foreign_id("/osFeatureId", asked.os_feature_id.as_deref(), reading);
        let callback_url = rules::callback_url(asked.callback_url.as_deref(), settings, reading);
        let metadata = rules::metadata(asked.metadata.as_ref(), reading);
        rules::labels(&asked.labels, reading);
        let priority = rules::priority(asked.priority, reading);
        let run_at = scheduling::run_at(asked.run_at.as_deref(), self.now(), reading);
        let profile = profile.map(UsedProfile::of);
        let of_client = client.map(|client| &client.options);
        self.check_options(caller, &asked.options, profile.as_ref(), of_client, reading)?;
        Ok(NewJobRequest {
            prompt,
            branch,
            title: asked.title,
            body: asked.body,
            os_feature_id: asked.os_feature_id,
            callback_url,
            metadata,
            labels: asked.labels,
            base_branch: base.map(|base| base.as_str().to_owned()),
            priority,
            run_at,
            depends_on,
            attachments: Vec::new(),
            options: asked.options,
            profile,
            submitted_by: caller.name.clone(),
        })
    }

    /// A full queue is said before a client is made for nothing; the store decides for good.
    async fn refuse_when_full(&self) -> Result<(), AppError> {
        let max = self.0.store.limits().queued_max;
        if self.0.store.accounts().await?.queued >= u64::from(max) {
            return Err(AppError::QueueFull { max });
        }
        Ok(())
    }

    async fn ensure_client(&self, named: Named) -> Result<Client, AppError> {
        let repository = match named {
            Named::Known(client) => return Ok(*client),
            Named::New(repository) => repository,
        };
        self.refuse_when_full().await?;
        let new = NewClient {
            os_client_id: None,
            name: repository.repo().to_owned(),
            repository: repository.clone(),
            default_branch: None,
            clone_url: None,
            options: RunOptions::default(),
        };
        match self.0.store.create_client(new, None).await {
            Ok(client) => Ok(client),
            // another request made it meanwhile
            Err(StoreError::DuplicateClient { .. }) => {
                let known = self.0.store.find_client_by_repository(&repository).await?;
                known.ok_or_else(AppError::client_deleted)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Who may only submit can ask for less than the owner's profile, client or `[defaults]` give, and for no more.
fn refuse_above(caller: &Caller, options: &RunOptions, owner: &RunOptions) -> Result<(), AppError> {
    if caller.scope.includes(Scope::Operate) {
        return Ok(());
    }
    let Some(Above { name, most }) = options.above(&EffectiveOptions::resolve(owner.clone(), false)) else {
        return Ok(());
    };
    let name = name.camel_case();
    Err(AppError::Forbidden(format!(
        "options.{name} can be at most {most} for a token that may only submit: so much the profile, the client, [defaults] or the server allow; more needs the scope operate"
    )))
}

/// Whoever is limited to some clients stays behind the walls that the owner has put up: an agent outside of them reaches the clones
/// and worktrees of all others, and the secrets of the server.
fn refuse_thinner_walls(caller: &Caller, options: &RunOptions, owner: &RunOptions) -> Result<(), AppError> {
    let given = owner.isolation.unwrap_or(Isolation::Auto);
    let Some(asked) = options.isolation.filter(|asked| asked.is_thinner_than(given)) else { return Ok(()) };
    if caller.reach.is_whole() {
        return Ok(());
    }
    Err(AppError::Forbidden(format!(
        "options.isolation cannot be {asked} for a token that is limited to some clients: the profile, the client or [defaults] say {given}, and an agent outside of the sandbox would reach the other clients"
    )))
}

/// The client of a submission.
enum Named {
    Known(Box<Client>),
    New(RepositoryName),
}

impl Named {
    fn known(&self) -> Option<&Client> {
        match self {
            Self::Known(client) => Some(client),
            Self::New(_) => None,
        }
    }
}

/// The answer to an accepted job.
fn created(view: &JobView, warnings: &[String]) -> Created<Job> {
    Created { location: format!("/jobs/{}", view.job.id), body: Job::of(view, &[], warnings) }
}

fn is_client(pointer: &str) -> bool {
    matches!(pointer, "" | "/clientId" | "/githubOrg" | "/githubRepo")
}

/// Work never goes to the branch it starts from, nor to the client's default branch.
fn refuse_base_as_work(
    branch: Option<&BranchName>,
    base: Option<&BranchName>,
    client: Option<&Client>,
    reading: &mut Reading,
) {
    let Some(branch) = branch else { return };
    if base == Some(branch) {
        reading.fault("/branchName", "must not be the base branch");
    } else if let Some(base) = base.filter(|base| !branch.coexists_with(base)) {
        reading.fault("/branchName", format!("cannot exist beside the base branch {base}"));
    }
    let default = client.and_then(|client| client.default_branch.as_deref());
    let Some(default) = default.and_then(|default| BranchName::parse(default).ok()) else { return };
    if *branch == default {
        reading.fault("/branchName", "must not be the client's default branch");
    } else if !branch.coexists_with(&default) {
        reading.fault("/branchName", format!("cannot exist beside the client's default branch {default}"));
    }
}
