//! Conversations of agents, as far as jobs know of them: a conversation is there as long as a job names it.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::view::{Forgotten, SESSION_JOBS_MAX, SessionFilter, SessionJob, SessionView};
use super::jobs::JOB_VIEW;
use super::{reach, rows};
use crate::domain::id::{ClientId, JobId, JobNumber};
use crate::domain::job::Status;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

impl Store {
    /// Conversations, the one with the newest job first, with the number to go on behind.
    ///
    /// # Errors
    /// What the database said.
    pub async fn session_page(
        &self,
        filter: SessionFilter,
    ) -> Result<(Vec<SessionView>, Option<i64>), StoreError> {
        self.database
            .read(move |connection| {
                let newest = JOB_VIEW.replacen("jobs j", "jobs j INDEXED BY jobs_with_session", 1);
                let mut statement = connection.prepare_cached(&format!(
                    "{newest} WHERE j.session_id IS NOT NULL AND j.number < ?1 AND (?2 IS NULL OR c.id = ?2)
                       AND (?4 IS NULL OR c.id IN (SELECT value FROM json_each(?4)))
                       AND NOT EXISTS (SELECT 1 FROM jobs later INDEXED BY jobs_by_session
                           WHERE later.session_id = j.session_id AND later.number > j.number)
                     ORDER BY j.number DESC LIMIT ?3"
                ))?;
                let client = filter.client.as_ref().map(ClientId::as_str);
                let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
                // one more than a page tells whether there is a next one
                let wanted = params![
                    filter.after.unwrap_or(i64::MAX),
                    client,
                    filter.limit + 1,
                    reach::list(&filter.reach)
                ];
                let mut found = statement
                    .query_map(wanted, |row| view(connection, row))?
                    .collect::<Result<Vec<_>, _>>()?;
                let more = found.len() > limit;
                found.truncate(limit);
                let next = found.last().filter(|_| more).and_then(|last| last.jobs.first());
                let next = next.map(|job| job.number.0);
                Ok((found, next))
            })
            .await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn get_session(&self, id: &str) -> Result<SessionView, StoreError> {
        let id = id.to_owned();
        self.database
            .read(move |connection| find(connection, &id)?.ok_or(StoreError::NotFound("session")))
            .await
    }

    /// Has every job of the conversation forget it, unless one of them is live.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_session(&self, id: &str) -> Result<Forgotten, StoreError> {
        let id = id.to_owned();
        self.database
            .write(Edge::DeleteSession, move |connection| {
                let found = find(connection, &id)?.ok_or(StoreError::NotFound("session"))?;
                let live = live_jobs(connection, &id)?;
                if !live.is_empty() {
                    return Ok(Forgotten::Not { live });
                }
                let of_chains = "SELECT root_id FROM jobs WHERE session_id = ?1";
                for change in [
                    format!(
                        "UPDATE attempts SET session_id = NULL WHERE session_id = ?1
                             AND job IN (SELECT number FROM jobs WHERE root_id IN ({of_chains}))"
                    ),
                    // what a step has told in it is counted; nothing of it will ever be told again
                    format!(
                        "UPDATE steps SET session = NULL WHERE session = ?1
                             AND job IN (SELECT number FROM jobs WHERE root_id IN ({of_chains}))"
                    ),
                    format!(
                        "UPDATE jobs SET start_session_id = '' WHERE start_session_id = ?1
                             AND root_id IN ({of_chains})"
                    ),
                    "UPDATE jobs SET session_id = NULL WHERE session_id = ?1".to_owned(),
                ] {
                    connection.prepare_cached(&change)?.execute([&id])?;
                }
                Ok(Forgotten::All { jobs: found.jobs_total })
            })
            .await
    }
}

fn find(connection: &Connection, id: &str) -> Result<Option<SessionView>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("{JOB_VIEW} WHERE j.session_id = ?1 ORDER BY j.number DESC LIMIT 1"))?
        .query_row([id], |row| view(connection, row))
        .optional()?)
}

/// Of the row of its newest job.
fn view(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<SessionView> {
    let id: String = row.get("session_id")?;
    let (newest, facts) = (rows::job(row)?, rows::client_facts(row)?);
    let mut statement = connection.prepare_cached(
        "SELECT id, number, status FROM jobs INDEXED BY jobs_by_session WHERE session_id = ?1
         ORDER BY number DESC LIMIT ?2",
    )?;
    let jobs = statement
        .query_map(params![id, SESSION_JOBS_MAX], |row| {
            Ok(SessionJob {
                id: rows::parsed(row, "id", |text| JobId::parse(text).ok())?,
                number: JobNumber(row.get("number")?),
                status: rows::parsed(row, "status", Status::parse)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let (jobs_total, began_at): (u64, i64) = connection
        .prepare_cached(
            "SELECT count(*), min(coalesce(started_at, created_at)) FROM jobs INDEXED BY jobs_by_session
             WHERE session_id = ?1",
        )?
        .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(SessionView {
        agent: newest.login,
        client_id: newest.client_id,
        client_name: facts.name,
        repository: facts.repository,
        branch: newest.request.branch,
        root: newest.chain.root,
        jobs,
        jobs_total,
        began_at: Timestamp::from_ms(began_at),
        used_at: newest.completed_at.unwrap_or(newest.updated_at),
        id,
    })
}

/// Jobs that hold the conversation, or are going to.
fn live_jobs(connection: &Connection, id: &str) -> Result<Vec<JobNumber>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number FROM jobs INDEXED BY jobs_live_branch
         WHERE status IN ('queued', 'running') AND (session_id = ?1 OR start_session_id = ?1) ORDER BY number",
    )?;
    let numbers = statement.query_map([id], |row| row.get(0).map(JobNumber))?.collect::<Result<_, _>>()?;
    Ok(numbers)
}
