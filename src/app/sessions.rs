//! Conversations of agents: which there are, and forgetting one.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::{ClientId, JobId};
use crate::domain::token::{Reach, Scope};
use crate::store::{Forgotten, SessionFilter, SessionName, SessionView};
use crate::wire::job::JobClient;
use crate::wire::session::{Session, SessionDeleted, SessionJob, SessionPage};

/// Conversations on one page.
const PAGE_MAX: i64 = 200;
/// When nobody says how many.
const PAGE_DEFAULT: i64 = 50;

/// Which conversation is meant, as a caller says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionChoice {
    /// As the agent calls it.
    pub id: String,
    /// The root of the chain that holds it, where several bear the id.
    pub root_job_id: Option<String>,
    /// The `[agents.<name>]` entry that holds it, where several of one chain do.
    pub agent: Option<String>,
}

/// What `GET /sessions` may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionQuery {
    pub client_id: Option<String>,
    pub limit: Option<i64>,
    pub after: Option<String>,
}

impl App {
    /// # Errors
    /// [`AppError::Invalid`] for values out of range.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        query: &SessionQuery,
    ) -> Result<SessionPage, AppError> {
        let (sessions, next) = self.0.store.session_page(filter(query, &caller.reach)?).await?;
        let sessions = sessions.into_iter().map(shown).collect();
        Ok(SessionPage { sessions, next_cursor: next.map(|number| number.to_string()) })
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn get_session(&self, caller: &Caller, choice: &SessionChoice) -> Result<Session, AppError> {
        Ok(shown(self.0.store.get_session(named(caller, choice)?).await?))
    }

    /// Has every job forget the conversation: none can go on with it any more. The agent's own files stay.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Conflict`] while a job holds it or is going to, and where several bear the id.
    pub async fn delete_session(
        &self,
        caller: &Caller,
        choice: &SessionChoice,
    ) -> Result<SessionDeleted, AppError> {
        caller.needs(Scope::Operate)?;
        match self.0.store.delete_session(named(caller, choice)?).await? {
            Forgotten::All { jobs } => {
                tracing::info!(session = choice.id, jobs, "conversation forgotten");
                Ok(SessionDeleted { deleted: choice.id.clone(), jobs })
            }
            Forgotten::Not { live } => {
                let names: Vec<_> = live.iter().map(|number| format!("#{number}")).collect();
                let detail = format!(
                    "jobs go on in it: {}; cancel them first, or wait for their end",
                    names.join(", ")
                );
                Err(AppError::conflict("session_live", detail))
            }
            Forgotten::NotOne { holders } => {
                let holders: Vec<_> =
                    holders.iter().map(|(root, agent)| format!("?rootJobId={root}&agent={agent}")).collect();
                let detail = format!(
                    "several conversations bear this id; say which, for example {}",
                    holders.join(", ")
                );
                Err(AppError::conflict("session_ambiguous", detail))
            }
        }
    }
}

/// A conversation of others is not there, and makes none of one's own ambiguous.
fn named(caller: &Caller, choice: &SessionChoice) -> Result<SessionName, AppError> {
    let wrong_root = |_| AppError::invalid("?rootJobId", "is not the id of a job");
    let root = choice.root_job_id.as_deref().map(JobId::parse).transpose().map_err(wrong_root)?;
    let (id, agent) = (choice.id.clone(), choice.agent.clone());
    Ok(SessionName { id, root, agent, reach: caller.reach.clone() })
}

fn filter(query: &SessionQuery, reach: &Reach) -> Result<SessionFilter, AppError> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(AppError::invalid("?limit", format!("must be between 1 and {PAGE_MAX}")));
    }
    let wrong_after = |_| AppError::invalid("?after", "must be the nextCursor of a page");
    let after = query.after.as_deref().map(str::parse).transpose().map_err(wrong_after)?;
    let wrong_client = |_| AppError::invalid("?clientId", "is not the id of a client");
    let client = query.client_id.as_deref().map(ClientId::parse).transpose().map_err(wrong_client)?;
    Ok(SessionFilter { client, reach: reach.clone(), after, limit })
}

fn shown(found: SessionView) -> Session {
    let jobs = found.jobs.into_iter().map(|job| SessionJob {
        id: job.id.to_string(),
        number: job.number.0,
        status: job.status.into(),
    });
    Session {
        id: found.id,
        agent: found.agent,
        client_id: found.client_id.to_string(),
        client: JobClient {
            name: found.client_name.clone(),
            github_org: found.repository.org().to_owned(),
            github_repo: found.repository.repo().to_owned(),
        },
        client_name: found.client_name,
        branch_name: found.branch.to_string(),
        root_job_id: found.root.to_string(),
        jobs: jobs.collect(),
        jobs_total: found.jobs_total,
        created_at: found.began_at.into(),
        last_used_at: found.used_at.into(),
    }
}
