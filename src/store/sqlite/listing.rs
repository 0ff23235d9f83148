//! Lists of jobs, newest first.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::super::Store;
use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::{JobFilter, JobPage};
use super::disk::Bounds;
use super::jobs::{JOB_VIEW, view_of_row};
use super::queue::QueueContext;
use super::reach;
use crate::domain::id::JobNumber;
use crate::domain::job::JobView;
use crate::domain::token::Reach;

impl Store {
    /// # Errors
    /// What the database said.
    pub async fn list_jobs(&self, filter: JobFilter) -> Result<JobPage, StoreError> {
        let (now, bounds) = (self.moment(), self.bounds());
        self.database.read(move |connection| list(connection, now, &bounds, &filter)).await
    }

    /// The jobs within reach that ended last, the newest end first.
    ///
    /// # Errors
    /// What the database said.
    pub async fn ended_lately(&self, reach: &Reach, count: u32) -> Result<Vec<JobView>, StoreError> {
        let (now, bounds, clients) = (self.moment(), self.bounds(), reach::list(reach));
        self.database.read(move |connection| ended(connection, now, &bounds, clients, count)).await
    }
}

fn ended(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    clients: Option<String>,
    count: u32,
) -> Result<Vec<JobView>, StoreError> {
    let context = QueueContext::load(connection, now, bounds)?;
    // the index by end gives these in this order
    let sql = format!(
        "{JOB_VIEW} WHERE j.completed_at IS NOT NULL AND (?1 IS NULL OR j.client IN
             (SELECT number FROM clients WHERE id IN (SELECT value FROM json_each(?1))))
         ORDER BY j.completed_at DESC, j.number DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let jobs = statement
        .query_map(params![clients, count], |row| view_of_row(connection, &context, row))?
        .collect::<Result<_, _>>()?;
    Ok(jobs)
}

pub(super) fn list(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    filter: &JobFilter,
) -> Result<JobPage, StoreError> {
    let context = QueueContext::load(connection, now, bounds)?;
    let (clauses, mut values) = conditions(filter);
    let counted = format!("SELECT count(*) FROM jobs j {}", where_(&clauses));
    let total =
        connection.prepare_cached(&counted)?.query_row(params_from_iter(values.iter()), |row| row.get(0))?;
    let mut clauses = clauses;
    if let Some(JobNumber(after)) = filter.after {
        clauses.push("j.number < ?");
        values.push(Value::Integer(after));
    }
    // one more than asked for tells whether there is a next page
    values.push(Value::Integer(i64::from(filter.limit) + 1));
    values.push(Value::Integer(i64::try_from(filter.offset).unwrap_or(i64::MAX)));
    let paged = format!("{JOB_VIEW} {} ORDER BY j.number DESC LIMIT ? OFFSET ?", where_(&clauses));
    let mut statement = connection.prepare_cached(&paged)?;
    let mut jobs = statement
        .query_map(params_from_iter(values.iter()), |row| view_of_row(connection, &context, row))?
        .collect::<Result<Vec<_>, _>>()?;
    let more = jobs.len() > filter.limit as usize;
    jobs.truncate(filter.limit as usize);
    let next = jobs.last().filter(|_| more).map(|last| last.job.number);
    Ok(JobPage { jobs, total, next })
}

fn where_(clauses: &[&str]) -> String {
    if clauses.is_empty() { String::new() } else { format!("WHERE {}", clauses.join(" AND ")) }
}

fn conditions(filter: &JobFilter) -> (Vec<&'static str>, Vec<Value>) {
    let mut clauses = Vec::new();
    let mut values = Vec::new();
    let mut add = |clause: &'static str, value: Option<String>| {
        if let Some(text) = value {
            clauses.push(clause);
            values.push(Value::Text(text));
        }
    };
    match &filter.statuses[..] {
        [] => {}
        // the index by status gives these in the order of the list
        [status] => add("j.status = ?", Some(status.as_str().to_owned())),
        several => {
            let several: Vec<_> = several.iter().map(|status| status.as_str()).collect();
            add("j.status IN (SELECT value FROM json_each(?))", serde_json::to_string(&several).ok());
        }
    }
    add(
        "j.client = (SELECT number FROM clients WHERE id = ?)",
        filter.client.as_ref().map(|client| client.as_str().to_owned()),
    );
    add(
        "j.client IN (SELECT number FROM clients WHERE id IN (SELECT value FROM json_each(?)))",
        reach::list(&filter.reach),
    );
    add(
        "instr(lower(coalesce(j.title, '') || ' ' || j.branch || ' ' || j.prompt), lower(?)) > 0",
        filter.q.clone(),
    );
    add("EXISTS (SELECT 1 FROM json_each(j.labels) WHERE value = ?)", filter.label.clone());
    add("j.branch = ?", filter.branch.clone());
    add("j.submitted_by = ?", filter.submitted_by.clone());
    for (clause, bound) in [("j.created_at >= ?", filter.since), ("j.created_at < ?", filter.until)] {
        if let Some(at) = bound {
            clauses.push(clause);
            values.push(Value::Integer(at.as_ms()));
        }
    }
    (clauses, values)
}
