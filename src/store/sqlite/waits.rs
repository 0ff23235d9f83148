//! Jobs that wait for other jobs: what a new one waits for, and who waits for one that is over. Who depends on another waits for
//! its success, who follows up another for its end.
//!
//! On one branch every live job waits, directly or through others, for all live ones before it. So at most one of them
//! is not blocked, which the index `jobs_startable_branch` makes sure of.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::conflicts;
use crate::domain::branch::BranchName;
use crate::domain::id::{JobId, JobNumber};
use crate::domain::job::Status;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;

/// What a new job has to wait for.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    /// Those that have not succeeded.
    pub(super) open: Vec<i64>,
    /// Those whose end is waited for, whatever it is.
    pub(super) earlier: Vec<i64>,
    /// One of them never will.
    pub(super) failed: Option<Reason>,
}

impl Dependencies {
    /// Of a job that names these. Each stands for itself and all that retry it: the work is done when one of them has
    /// succeeded, and else the newest of them decides. `is_retry`: a job may be forgotten by the time somebody retries another
    /// that has named it, and is no reason to wait then.
    pub(super) fn find(connection: &Connection, ids: &[JobId], is_retry: bool) -> Result<Self, StoreError> {
        let mut found = Self::default();
        for id in ids {
            let Some(last) = last_of(connection, id)? else {
                if is_retry {
                    continue;
                }
                return Err(StoreError::NotFound("job"));
            };
            if last.status == Status::Completed || found.open.contains(&last.number.0) {
                continue;
            }
            found.open.push(last.number.0);
            if !last.status.is_live() && found.failed.is_none() {
                found.failed = Some(failure(last.number, &last.id, last.status, last.code.as_deref()));
            }
        }
        Ok(found)
    }

    /// Has the job wait for the end of every live one of its chain, and that its branch cannot be beside. They are few: each of them waits for
    /// those before it on its branch.
    pub(super) fn queue_behind(
        &mut self,
        connection: &Connection,
        client: i64,
        branch: &BranchName,
        root: Option<&JobId>,
    ) -> Result<(), StoreError> {
        while let Some(found) =
            conflicts::conflict(connection, client, branch, root, &self.before(connection)?)?
        {
            self.earlier.push(found.number.0);
        }
        Ok(())
    }

    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.open.len() + self.earlier.len()).unwrap_or(i64::MAX)
    }

    /// All that end before the new job can start: the open ones and what they wait for themselves.
    pub(super) fn before(&self, connection: &Connection) -> Result<Vec<i64>, StoreError> {
        let waited_for: Vec<_> = self.open.iter().chain(&self.earlier).collect();
        let waited_for = serde_json::to_string(&waited_for).unwrap_or_else(|_| "[]".to_owned());
        let mut statement = connection.prepare_cached(
            "WITH RECURSIVE before (number) AS (
                 SELECT value FROM json_each(?1)
                 UNION
                 SELECT w.dependency FROM before b CROSS JOIN waits w ON w.job = b.number)
             SELECT number FROM before",
        )?;
        let numbers = statement.query_map([waited_for], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(numbers)
    }

    pub(super) fn write(&self, connection: &Connection, job: JobNumber) -> Result<(), StoreError> {
        let open = self.open.iter().map(|number| (*number, false));
        for (dependency, any_end) in open.chain(self.earlier.iter().map(|number| (*number, true))) {
            connection
                .prepare_cached("INSERT INTO waits (job, dependency, any_end) VALUES (?1, ?2, ?3)")?
                .execute(params![job.0, dependency, any_end])?;
        }
        Ok(())
    }
}

/// How far a job is, or the one that has done or will do its work.
struct Last {
    number: JobNumber,
    id: JobId,
    status: Status,
    code: Option<String>,
}

fn last_of(connection: &Connection, id: &JobId) -> Result<Option<Last>, StoreError> {
    let unreadable = |what: &str| StoreError::Corrupt(format!("{what} is not readable"));
    let found = connection
        .prepare_cached(
            "WITH RECURSIVE again (number, id, root_id) AS (
                 SELECT number, id, root_id FROM jobs WHERE id = ?1
                 UNION
                 SELECT j.number, j.id, j.root_id FROM again a CROSS JOIN jobs j
                 WHERE j.root_id = a.root_id AND j.original_id = a.id)
             SELECT j.number, j.id, j.status, j.reason_code FROM again a CROSS JOIN jobs j ON j.number = a.number
             ORDER BY j.status = 'completed' DESC, j.number DESC LIMIT 1",
        )?
        .query_row([id.as_str()], |row| {
            let (id, status): (String, String) = (row.get(1)?, row.get(2)?);
            Ok((JobNumber(row.get(0)?), id, status, row.get(3)?))
        })
        .optional()?;
    let Some((number, id, status, code)) = found else { return Ok(None) };
    let status = Status::parse(&status).ok_or_else(|| unreadable("a status"))?;
    let id = JobId::parse(&id).map_err(|_| unreadable("a job id"))?;
    Ok(Some(Last { number, id, status, code }))
}

/// Why a job fails that depends on one which did not succeed.
pub(super) fn failure(number: JobNumber, id: &JobId, status: Status, code: Option<&str>) -> Reason {
    let end = match (status, code) {
        (Status::Cancelled, _) => "was cancelled".to_owned(),
        (_, Some(code)) => format!("failed ({code})"),
        (_, None) => "failed".to_owned(),
    };
    let message = format!("Job #{number} ({id}) {end}.");
    Reason::new(ReasonCode::DependencyFailed, &message)
}

/// The job is over: it waits for nothing any more.
pub(super) fn forget(connection: &Connection, over: JobNumber) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM waits WHERE job = ?1")?.execute([over.0])?;
    Ok(())
}

/// Who waited for a job that is over.
pub(super) struct Waiter {
    pub(super) job: JobNumber,
    /// Its end was enough.
    pub(super) any_end: bool,
}

/// Takes out who waits for a job that is over, oldest first.
pub(super) fn take_waiting_for(connection: &Connection, over: JobNumber) -> Result<Vec<Waiter>, StoreError> {
    let waiting = connection
        .prepare_cached("SELECT job, any_end FROM waits WHERE dependency = ?1 ORDER BY job")?
        .query_map([over.0], |row| Ok(Waiter { job: JobNumber(row.get(0)?), any_end: row.get(1)? }))?
        .collect::<Result<Vec<_>, _>>()?;
    if !waiting.is_empty() {
        connection.prepare_cached("DELETE FROM waits WHERE dependency = ?1")?.execute([over.0])?;
    }
    Ok(waiting)
}

/// One that the job waited for has succeeded, or is over where that is enough.
pub(super) fn release(connection: &Connection, now: Timestamp, job: JobNumber) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE jobs SET blocked_by = blocked_by - 1, updated_at = ?2 WHERE number = ?1")?
        .execute(params![job.0, now.as_ms()])?;
    Ok(())
}
