//! Forgetting jobs with all that is theirs. It is begun in one write, from which on nothing is built on them any more, and done in
//! many: a retry that came between two of them would find half of what it goes on with.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::Store;
use super::super::error::StoreError;
use super::retention::{FORGETTABLE, JOBS_MAX, ROWS_MAX, as_ms, numbers};
use super::{clear_meta, meta, set_meta};
use crate::domain::id::{JobId, JobNumber};
use crate::domain::retention::Cutoffs;
use crate::failpoint::Edge;

/// Which jobs are being forgotten, as a JSON array of numbers: one batch.
const FORGETTING: &str = "forgetting";

impl Store {
    /// Begins to forget jobs that [`Self::forgettable_jobs`] named and that still may be forgotten; gives these. From here on they are
    /// gone for whoever would retry one, follow it up or send its callback again.
    ///
    /// # Errors
    /// What the database said.
    pub async fn begin_to_forget(
        &self,
        jobs: Vec<JobNumber>,
        before: Cutoffs,
    ) -> Result<Vec<JobNumber>, StoreError> {
        let asked = numbers(&jobs);
        self.database.write(Edge::BeginForgetting, move |connection| begin(connection, &asked, before)).await
    }

    /// The jobs that are being forgotten: more than none where a server died over it.
    ///
    /// # Errors
    /// What the database said.
    pub async fn being_forgotten(&self) -> Result<Vec<JobNumber>, StoreError> {
        self.database
            .read(|connection| Ok(being_forgotten(connection)?.into_iter().map(JobNumber).collect()))
            .await
    }

    /// Forgets the jobs that are being forgotten; gives their number.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_jobs(&self) -> Result<usize, StoreError> {
        for job in self.being_forgotten().await? {
            self.forget_rows_below(job).await?;
        }
        self.database.write(Edge::ForgetJobs, forget_jobs).await
    }

    /// The messages of a job may be many, and its attachments large: they go first, in writes of their own.
    async fn forget_rows_below(&self, job: JobNumber) -> Result<(), StoreError> {
        let mut left = true;
        while left {
            left = self
                .database
                .write(Edge::ForgetMessages, move |connection| {
                    let gone = connection
                        .prepare_cached(
                            "DELETE FROM messages WHERE job = ?1 AND seq IN
                                 (SELECT seq FROM messages WHERE job = ?1 LIMIT ?2)",
                        )?
                        .execute(params![job.0, ROWS_MAX])?;
                    if gone > 0 {
                        return Ok(true);
                    }
                    // one at a time: each may have megabytes
                    let gone = connection
                        .prepare_cached(
                            "DELETE FROM attachments WHERE rowid IN
                                 (SELECT rowid FROM attachments WHERE job = ?1 LIMIT 1)",
                        )?
                        .execute([job.0])?;
                    Ok(gone > 0)
                })
                .await?;
        }
        Ok(())
    }
}

/// Refuses what would be built on a chain that is being forgotten, as if that were done.
pub(super) fn refuse_forgotten(connection: &Connection, root: &JobId) -> Result<(), StoreError> {
    let is_going = connection
        .prepare_cached(
            "SELECT 1 FROM jobs WHERE root_id = ?1 AND number IN
                 (SELECT value FROM json_each((SELECT value FROM meta WHERE key = ?2))) LIMIT 1",
        )?
        .query_row(params![root.as_str(), FORGETTING], |_| Ok(()))
        .optional()?;
    is_going.map_or(Ok(()), |()| Err(StoreError::NotFound("job")))
}

fn being_forgotten(connection: &Connection) -> Result<Vec<i64>, StoreError> {
    let Some(text) = meta(connection, FORGETTING)? else { return Ok(Vec::new()) };
    serde_json::from_str(&text)
        .map_err(|_| StoreError::Corrupt("what is being forgotten is not readable".to_owned()))
}

fn begin(connection: &Connection, asked: &str, before: Cutoffs) -> Result<Vec<JobNumber>, StoreError> {
    if asked == "[]" {
        return Ok(Vec::new());
    }
    // looked at again inside the write: a retry or a callback that is sent again may have made the chain live
    let [completed, dry_run, failed, cancelled] = as_ms(before);
    let jobs: Vec<i64> = connection
        .prepare_cached(FORGETTABLE)?
        .query_map(params![completed, dry_run, failed, cancelled, JOBS_MAX, asked], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut all = being_forgotten(connection)?;
    all.extend(jobs.iter().filter(|job| !all.contains(job)).copied().collect::<Vec<_>>());
    let all: Vec<_> = all.into_iter().map(JobNumber).collect();
    set_meta(connection, FORGETTING, &numbers(&all))?;
    Ok(jobs.into_iter().map(JobNumber).collect())
}

fn forget_jobs(connection: &Connection) -> Result<usize, StoreError> {
    let jobs = being_forgotten(connection)?;
    if jobs.is_empty() {
        return Ok(0);
    }
    let text = numbers(&jobs.iter().copied().map(JobNumber).collect::<Vec<_>>());
    const BELOW: [&str; 9] = [
        // with its last callback a suspension has nobody whom it stands for
        "DELETE FROM suspended_urls
         WHERE url IN (SELECT url FROM deliveries WHERE job IN (SELECT value FROM json_each(?1)))
           AND url NOT IN (SELECT url FROM deliveries WHERE job NOT IN (SELECT value FROM json_each(?1)))",
        "DELETE FROM delivery_tries WHERE delivery IN
             (SELECT number FROM deliveries WHERE job IN (SELECT value FROM json_each(?1)))",
        "DELETE FROM deliveries WHERE job IN (SELECT value FROM json_each(?1))",
        "DELETE FROM messages WHERE job IN (SELECT value FROM json_each(?1))",
        "DELETE FROM inward WHERE job IN (SELECT value FROM json_each(?1))",
        "DELETE FROM attachments WHERE job IN (SELECT value FROM json_each(?1))",
        "DELETE FROM steps WHERE job IN (SELECT value FROM json_each(?1))",
        "DELETE FROM attempts WHERE job IN (SELECT value FROM json_each(?1))",
        "DELETE FROM jobs WHERE number IN (SELECT value FROM json_each(?1))",
    ];
    for statement in BELOW {
        connection.prepare_cached(statement)?.execute([&text])?;
    }
    clear_meta(connection, FORGETTING)?;
    Ok(jobs.len())
}
