//! What somebody reads who sees some clients only: the rest is not there for him, and not counted.

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::Accounts;
use super::jobs;
use super::queue;
use crate::domain::hold::Hold;
use crate::domain::id::{ClientId, JobNumber, JobRef};
use crate::domain::job::JobView;
use crate::domain::token::Reach;

impl Store {
    /// As [`Self::get_job`]. A job of others is not there, neither by its number nor as the second one of an id's beginning.
    ///
    /// # Errors
    /// As there.
    pub async fn get_job_within(&self, job: &JobRef, reach: &Reach) -> Result<JobView, StoreError> {
        if reach.is_whole() {
            return self.get_job(job).await;
        }
        let (job, reach, now, bounds) = (job.clone(), reach.clone(), self.moment(), self.bounds());
        self.database
            .read(move |connection| {
                let number = resolve(connection, &job, &reach)?;
                jobs::view(connection, now, &bounds, number)
            })
            .await
    }

    /// As [`Self::accounts`], without the holds that are over and the probes that are out of reach.
    ///
    /// # Errors
    /// What the database said.
    pub async fn accounts_within(&self, reach: &Reach) -> Result<Accounts, StoreError> {
        if reach.is_whole() {
            let mut accounts = self.accounts().await?;
            accounts.holds.retain(|hold| !hold.is_over(self.now()));
            return Ok(accounts);
        }
        let (clients, now) = (list(reach), self.moment());
        self.database
            .read(move |connection| {
                let count = |what: &str| -> Result<u64, StoreError> {
                    let sql = format!("SELECT count(*) FROM {what} AND j.client IN {CLIENTS}");
                    Ok(connection.prepare_cached(&sql)?.query_row([&clients], |row| row.get(0))?)
                };
                let deliveries = "deliveries d JOIN jobs j ON j.number = d.job WHERE d.state";
                Ok(Accounts {
                    running: count("jobs j WHERE j.status = 'running'")?,
                    queued: count("jobs j WHERE j.status = 'queued'")?,
                    deliveries_pending: count(&format!("{deliveries} = 'pending'"))?,
                    deliveries_dead: count(&format!("{deliveries} = 'dead'"))?,
                    holds: holds(connection, now, clients.as_deref())?,
                })
            })
            .await
    }
}

/// A login is of everybody; the job that is out as its probe is somebody's.
fn holds(connection: &Connection, now: Moment, clients: Option<&str>) -> Result<Vec<Hold>, StoreError> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM jobs WHERE number = ?2 AND client IN {CLIENTS})");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut holds = queue::holds(connection, now)?;
    // before probes are hidden: what is being tried is not over
    holds.retain(|hold| !hold.is_over(now.wall));
    for hold in &mut holds {
        let Some(probe) = hold.probe else { continue };
        if !statement.query_row(params![clients, probe.0], |row| row.get(0))? {
            hold.probe = None;
        }
    }
    Ok(holds)
}

/// The numbers of the clients in the list that is the first parameter.
const CLIENTS: &str = "(SELECT number FROM clients WHERE id IN (SELECT value FROM json_each(?1)))";

fn resolve(connection: &Connection, job: &JobRef, reach: &Reach) -> Result<JobNumber, StoreError> {
    let (number, prefix) = match job {
        JobRef::Number(number) => (Some(number.0), None),
        JobRef::IdPrefix(prefix) => (None, Some(prefix.as_str())),
    };
    let wanted = match number {
        Some(_) => "number = ?2",
        // '~' comes after every character of an id
        None => "id >= ?3 AND id < ?3 || '~'",
    };
    let sql = format!(
        "SELECT number FROM jobs WHERE {wanted} AND (?2 IS NOT NULL OR ?3 IS NOT NULL) AND client IN {CLIENTS} LIMIT 2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found: Vec<i64> = statement
        .query_map(params![list(reach), number, prefix], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    match found[..] {
        [] => Err(StoreError::NotFound("job")),
        [number] => Ok(JobNumber(number)),
        _ => Err(StoreError::Ambiguous),
    }
}

/// As statements take it: a JSON list of ids, or NULL for all.
pub(super) fn list(reach: &Reach) -> Option<String> {
    let ids: Vec<_> = reach.clients()?.into_iter().map(ClientId::as_str).collect();
    // never wider than it was: no client has this id
    Some(serde_json::to_string(&ids).unwrap_or_else(|_| "[]".to_owned()))
}
