//! Conversations of agents, as far as jobs know of them: a conversation is there as long as a job names it.
//!
//! Agents make their ids up, some of them the same one for each conversation. So a conversation is told by its id together with the
//! chain whose jobs hold it and the `[agents.<name>]` entry that does; of two that bear one id neither knows of the other.

use rusqlite::{Connection, Row, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::session_view::{
    Forgotten, SESSION_JOBS_MAX, SessionFilter, SessionJob, SessionName, SessionView,
};
use super::jobs::JOB_VIEW;
use super::{attempts, reach, rows};
use crate::domain::id::{ClientId, JobId, JobNumber};
use crate::domain::job::Status;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

/// Of the jobs that hold a conversation the newest, which stands for it.
const IS_NEWEST: &str = "NOT EXISTS (SELECT 1 FROM jobs later INDEXED BY jobs_by_root
    WHERE later.root_id = j.root_id AND later.session_id = j.session_id AND later.login = j.login
        AND later.number > j.number)";

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
                       AND {IS_NEWEST}
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

    /// Of the conversations of that name the one with the newest job.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn get_session(&self, name: SessionName) -> Result<SessionView, StoreError> {
        self.database
            .read(move |connection| {
                find(connection, &name)?.into_iter().next().ok_or(StoreError::NotFound("session"))
            })
            .await
    }

    /// Has every job of the conversation forget it, unless one of them is live, or there are several of that name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_session(&self, name: SessionName) -> Result<Forgotten, StoreError> {
        self.database
            .write(Edge::DeleteSession, move |connection| {
                let mut found = find(connection, &name)?.into_iter();
                let one = found.next().ok_or(StoreError::NotFound("session"))?;
                let others: Vec<_> = found.map(|other| (other.root, other.agent)).collect();
                if !others.is_empty() {
                    let holders = std::iter::once((one.root, one.agent)).chain(others).collect();
                    return Ok(Forgotten::NotOne { holders });
                }
                let live = live_jobs(connection, &one)?;
                if !live.is_empty() {
                    return Ok(Forgotten::Not { live });
                }
                forget(connection, &one)?;
                Ok(Forgotten::All { jobs: one.jobs_total })
            })
            .await
    }
}

/// Takes the id out of everything that the login has left of the conversation in its chain. A job may wait for another login by now than
/// the one that worked on its attempts, so of a job the id stays where an attempt still shows that its login held one of that name.
fn forget(connection: &Connection, one: &SessionView) -> Result<(), StoreError> {
    let login = attempts::login_of("a", "j");
    let in_chain = "FROM jobs j INDEXED BY jobs_by_root CROSS JOIN attempts a ON a.job = j.number
        WHERE j.root_id = ?2";
    let of_login = format!("SELECT a.job, a.number {in_chain} AND {login} = ?3");
    let is_of_another = format!(
        "login <> ?3 AND EXISTS (SELECT 1 {in_chain} AND a.session_id = ?1 AND {login} = jobs.login)"
    );
    for change in [
        // what a step has told in it is counted; nothing of it will ever be told again
        format!("UPDATE steps SET session = NULL WHERE session = ?1 AND (job, attempt) IN ({of_login})"),
        format!(
            "UPDATE attempts SET session_id = NULL WHERE session_id = ?1 AND (job, number) IN ({of_login})"
        ),
        format!(
            "UPDATE jobs SET session_id = NULL
             WHERE root_id = ?2 AND session_id = ?1 AND NOT ({is_of_another})"
        ),
        format!(
            "UPDATE jobs SET start_session_id = ''
             WHERE root_id = ?2 AND start_session_id = ?1 AND NOT ({is_of_another})"
        ),
    ] {
        connection.prepare_cached(&change)?.execute([one.id.as_str(), one.root.as_str(), &one.agent])?;
    }
    Ok(())
}

/// Those that bear the name, the one with the newest job first; no more than are worth naming.
fn find(connection: &Connection, name: &SessionName) -> Result<Vec<SessionView>, StoreError> {
    const NAMED_MAX: i64 = 5;
    let found = connection
        .prepare_cached(&format!(
            "{JOB_VIEW} WHERE j.session_id = ?1 AND (?2 IS NULL OR j.root_id = ?2)
                 AND (?3 IS NULL OR c.id IN (SELECT value FROM json_each(?3)))
                 AND (?5 IS NULL OR j.login = ?5) AND {IS_NEWEST}
             ORDER BY j.number DESC LIMIT ?4"
        ))?
        .query_map(
            params![
                name.id,
                name.root.as_ref().map(JobId::as_str),
                reach::list(&name.reach),
                NAMED_MAX,
                name.agent
            ],
            |row| view(connection, row),
        )?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

/// Of the row of its newest job.
fn view(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<SessionView> {
    let id: String = row.get("session_id")?;
    let (newest, facts) = (rows::job(row)?, rows::client_facts(row)?);
    let mut statement = connection.prepare_cached(
        "SELECT id, number, status FROM jobs INDEXED BY jobs_by_root
         WHERE root_id = ?1 AND session_id = ?2 AND login = ?3 ORDER BY number DESC LIMIT ?4",
    )?;
    let root = newest.chain.root.as_str();
    let jobs = statement
        .query_map(params![root, id, newest.login, SESSION_JOBS_MAX], |row| {
            Ok(SessionJob {
                id: rows::parsed(row, "id", |text| JobId::parse(text).ok())?,
                number: JobNumber(row.get("number")?),
                status: rows::parsed(row, "status", Status::parse)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let (jobs_total, began_at): (u64, i64) = connection
        .prepare_cached(
            "SELECT count(*), min(coalesce(started_at, created_at)) FROM jobs INDEXED BY jobs_by_root
             WHERE root_id = ?1 AND session_id = ?2 AND login = ?3",
        )?
        .query_row([root, &id, &newest.login], |row| Ok((row.get(0)?, row.get(1)?)))?;
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
fn live_jobs(connection: &Connection, session: &SessionView) -> Result<Vec<JobNumber>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number FROM jobs INDEXED BY jobs_by_root
         WHERE root_id = ?2 AND login = ?3 AND status IN ('queued', 'running')
             AND (session_id = ?1 OR start_session_id = ?1) ORDER BY number",
    )?;
    let numbers = statement
        .query_map([session.id.as_str(), session.root.as_str(), &session.agent], |row| {
            row.get(0).map(JobNumber)
        })?
        .collect::<Result<_, _>>()?;
    Ok(numbers)
}
