//! Attempts, their steps, and the effects that a worker reports while it holds the lease.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::view::StepRecord;
use super::super::{Change, Store};
use super::{conflicts, deaths, inward, jobs, logins, rows, visits};
use crate::domain::attempt::{Attempt, Lease};
use crate::domain::branch::BranchName;
use crate::domain::id::JobNumber;
use crate::domain::job::{Effects, Verification};
use crate::domain::lifecycle::Transition;
use crate::domain::options::{EffectiveOptions, RunOptions};
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

/// The login that worked on an attempt, in SQL; `attempt` and `job` are what the two rows are called. The job's own is the one that it
/// waits for now.
pub(super) fn login_of(attempt: &str, job: &str) -> String {
    format!("coalesce(json_extract({attempt}.options, '$.agent'), {job}.login)")
}

impl Store {
    /// All attempts of a job, oldest first.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_attempts(&self, job: JobNumber) -> Result<Vec<Attempt>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT * FROM attempts WHERE job = ?1 ORDER BY number")?;
                let attempts = statement.query_map([job.0], attempt)?.collect::<Result<_, _>>()?;
                Ok(attempts)
            })
            .await
    }

    /// How many attempts of a job were stopped and not counted.
    ///
    /// # Errors
    /// What the database said.
    pub async fn stops_of(&self, job: JobNumber) -> Result<u32, StoreError> {
        self.database.read(move |connection| stops(connection, job)).await
    }

    /// Stores the options and the isolation that the attempt runs with. With `step_ended` the walk that begins with this
    /// goes on from a step that is over: from here on servers that die over it are counted.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn record_options(
        &self,
        lease: Lease,
        options: &RunOptions,
        isolation: &'static str,
        step_ended: bool,
    ) -> Result<(), StoreError> {
        let text = crate::wire::options::to_text(options);
        let login = EffectiveOptions::resolve(options.clone(), false).agent;
        self.database
            .write(Edge::RecordOptions, move |connection| {
                check(connection, lease)?;
                logins::runs_with(connection, lease.job, &login)?;
                connection
                    .prepare_cached(
                        "UPDATE attempts SET options = ?3, isolation = ?4 WHERE job = ?1 AND number = ?2",
                    )?
                    .execute(params![lease.job.0, lease.attempt, text, isolation])?;
                if step_ended {
                    deaths::note_judging(connection, lease, true)?;
                }
                Ok(())
            })
            .await
    }

    /// Stores effects that are true now. Fields that are `None` stay as they are: an effect is never taken back.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn record_effects(&self, lease: Lease, effects: Effects) -> Result<(), StoreError> {
        let now = self.now();
        self.database
            .write(Edge::RecordEffects, move |connection| {
                check(connection, lease)?;
                // the job keeps the newest code; an attempt that ran no agent has none of its own
                if let Some(code) = effects.exit_code {
                    connection
                        .prepare_cached("UPDATE attempts SET exit_code = ?3 WHERE job = ?1 AND number = ?2")?
                        .execute(params![lease.job.0, lease.attempt, code])?;
                }
                if let Some(session) = &effects.session_id {
                    connection
                        .prepare_cached("UPDATE attempts SET session_id = ?3 WHERE job = ?1 AND number = ?2")?
                        .execute(params![lease.job.0, lease.attempt, session])?;
                }
                if let Some(authentication) = &effects.authentication {
                    connection
                        .prepare_cached(
                            "UPDATE attempts SET authentication = ?3 WHERE job = ?1 AND number = ?2",
                        )?
                        .execute(params![lease.job.0, lease.attempt, authentication])?;
                }
                write_effects(connection, now, lease.job, &effects)
            })
            .await?;
        self.tell(Change::JobMoved(lease.job));
        Ok(())
    }

    /// Gives the job another branch than it asked for, because that one was taken on the remote.
    ///
    /// # Errors
    /// [`StoreError::BranchBusy`] when a live job has it; [`StoreError::LeaseLost`].
    pub async fn record_branch(&self, lease: Lease, branch: &BranchName) -> Result<(), StoreError> {
        let (now, branch) = (self.now(), branch.clone());
        self.database
            .write(Edge::RecordBranch, move |connection| {
                check(connection, lease)?;
                // who follows it up goes where it goes
                let moved = with_followers(connection, lease.job)?;
                let client = connection
                    .prepare_cached("SELECT client FROM jobs WHERE number = ?1")?
                    .query_row([lease.job.0], |row| row.get(0))?;
                if let Some(conflict) = conflicts::branch_conflict(connection, client, &branch, &moved)? {
                    return Err(StoreError::BranchBusy(conflict));
                }
                for job in moved {
                    connection
                        .prepare_cached(
                            "UPDATE jobs SET branch = ?2, branch_key = ?3, updated_at = ?4 WHERE number = ?1",
                        )?
                        .execute(params![
                            job,
                            branch.as_str(),
                            branch.as_str().to_ascii_lowercase(),
                            now.as_ms()
                        ])?;
                }
                Ok(())
            })
            .await
    }

    /// The job was to publish a commit, and that does not fit: the agent works on it after all.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn start_over(&self, lease: Lease) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE jobs SET start_base_sha = NULL, start_head_sha = NULL WHERE number = ?1";
        let forget = move |connection: &Connection| change(connection, lease, SQL);
        self.database.write(Edge::StartOver, forget).await
    }

    /// The conversation that this attempt was to continue, or began, is no good: no attempt goes on with it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn forget_session(&self, lease: Lease) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE jobs SET start_session_id = '', session_id = NULL WHERE number = ?1";
        let forget = move |connection: &Connection| {
            change(connection, lease, SQL)?;
            connection
                .prepare_cached("UPDATE attempts SET session_id = NULL WHERE job = ?1 AND number = ?2")?
                .execute(params![lease.job.0, lease.attempt])?;
            Ok(())
        };
        self.database.write(Edge::ForgetSession, forget).await
    }

    /// Adds a warning that people see with the job; the same text only once.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn add_warning(&self, lease: Lease, warning: &str) -> Result<(), StoreError> {
        let warning = warning.to_owned();
        self.database
            .write(Edge::AddWarning, move |connection| {
                check(connection, lease)?;
                jobs::add_warning(connection, lease.job, &warning)
            })
            .await
    }

    /// Stores how the newest round of verification went so far; in the place of what is there.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn record_verification(
        &self,
        lease: Lease,
        results: Vec<Verification>,
    ) -> Result<(), StoreError> {
        let (now, text) = (self.now(), rows::verify_text(results));
        self.database
            .write(Edge::RecordVerification, move |connection| {
                check(connection, lease)?;
                connection
                    .prepare_cached("UPDATE jobs SET verify = ?2, updated_at = ?3 WHERE number = ?1")?
                    .execute(params![lease.job.0, text, now.as_ms()])?;
                deaths::came_forward(connection, lease)
            })
            .await?;
        self.tell(Change::JobMoved(lease.job));
        Ok(())
    }

    /// The intent to start a step, written before its shim is spawned. Repeatable.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn begin_step(&self, lease: Lease, name: &str) -> Result<(), StoreError> {
        self.begin(lease, name, None).await
    }

    /// The same for a turn of the agent. With it go all words up to the number `upto` that no turn of this attempt had.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn begin_turn(&self, lease: Lease, name: &str, upto: i64) -> Result<(), StoreError> {
        self.begin(lease, name, Some(upto)).await?;
        if upto > 0 {
            self.tell(Change::Messages(lease.job));
        }
        Ok(())
    }

    async fn begin(&self, lease: Lease, name: &str, turn_upto: Option<i64>) -> Result<(), StoreError> {
        let (now, name) = (self.now(), name.to_owned());
        self.database
            .write(Edge::BeginStep, move |connection| {
                check(connection, lease)?;
                connection
                    .prepare_cached("INSERT OR IGNORE INTO steps (job, attempt, name) VALUES (?1, ?2, ?3)")?
                    .execute(params![lease.job.0, lease.attempt, name])?;
                let Some(upto) = turn_upto else { return Ok(()) };
                visits::note_turn(connection, lease)?;
                inward::give(connection, now, lease, &name, upto)
            })
            .await
    }

    /// Who the step's shim is, written before it is told to go.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn record_shim(
        &self,
        lease: Lease,
        name: &str,
        shim: String,
        pid: i64,
    ) -> Result<(), StoreError> {
        let (now, name) = (self.now(), name.to_owned());
        self.database
            .write(Edge::RecordShim, move |connection| {
                check(connection, lease)?;
                connection
                    .prepare_cached(
                        "UPDATE steps SET shim = ?4, released = 1 WHERE job = ?1 AND attempt = ?2 AND name = ?3",
                    )?
                    .execute(params![lease.job.0, lease.attempt, name, shim])?;
                let effects = Effects { pid: Some(pid), ..Effects::default() };
                write_effects(connection, now, lease.job, &effects)
            })
            .await
    }

    /// Every step of an attempt that was ever intended.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_steps(&self, job: JobNumber, attempt: u32) -> Result<Vec<StepRecord>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT name, shim, released, log_records FROM steps WHERE job = ?1 AND attempt = ?2",
                )?;
                let steps = statement
                    .query_map(params![job.0, attempt], |row| {
                        Ok(StepRecord {
                            name: row.get(0)?,
                            shim: row.get(1)?,
                            released: row.get(2)?,
                            log_records: row.get(3)?,
                        })
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(steps)
            })
            .await
    }
}

/// How many attempts of a job were stopped and not counted.
pub(super) fn stops(connection: &Connection, job: JobNumber) -> Result<u32, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT count(*) FROM attempts WHERE job = ?1 AND reason_code = 'stopped' AND counted = 0",
        )?
        .query_row([job.0], |row| row.get(0))?)
}

/// Changes the row of the leased job.
fn change(connection: &Connection, lease: Lease, sql: &str) -> Result<(), StoreError> {
    check(connection, lease)?;
    connection.prepare_cached(sql)?.execute([lease.job.0])?;
    Ok(())
}

/// That the lease is still good: the fence before every write of a worker.
pub(super) fn check(connection: &Connection, lease: Lease) -> Result<(), StoreError> {
    let valid: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE number = ?1 AND status = 'running' AND attempt = ?2
                 AND lease_epoch = ?3)",
        )?
        .query_row(params![lease.job.0, lease.attempt, lease.epoch], |row| row.get(0))?;
    if valid { Ok(()) } else { Err(StoreError::LeaseLost(lease.job)) }
}

pub(super) fn options(
    connection: &Connection,
    job: JobNumber,
    attempt: u32,
) -> Result<Option<RunOptions>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT options FROM attempts WHERE job = ?1 AND number = ?2 AND options <> '{}'")?
        .query_row(params![job.0, attempt], rows::options)
        .optional()?)
}

pub(super) fn end(
    connection: &Connection,
    now: Timestamp,
    job: JobNumber,
    attempt: u32,
    decided: &Transition,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE attempts SET ended_at = ?3, counted = ?4, reason_code = ?5, reason_message = ?6
             WHERE job = ?1 AND number = ?2",
        )?
        .execute(params![
            job.0,
            attempt,
            now.as_ms(),
            decided.counted,
            decided.reason.as_ref().map(|reason| reason.code.as_str()),
            decided.reason.as_ref().map(|reason| &reason.message),
        ])?;
    Ok(())
}

/// The job, and those of its chain that wait to follow it up.
fn with_followers(connection: &Connection, job: JobNumber) -> Result<Vec<i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT f.number FROM jobs j JOIN jobs f ON f.root_id = j.root_id
         WHERE j.number = ?1 AND (f.number = ?1
             OR (f.status = 'queued' AND f.parent_id IS NOT NULL AND f.original_id IS NULL))",
    )?;
    let numbers = statement.query_map([job.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(numbers)
}

/// The attempt is over and another follows: its agent goes on with the conversation of this one, unless only the commit has
/// still to be published.
pub(super) fn carry_session_on(
    connection: &Connection,
    job: JobNumber,
    attempt: u32,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET start_session_id = a.session_id FROM attempts a
             WHERE jobs.number = ?1 AND a.job = ?1 AND a.number = ?2 AND a.session_id IS NOT NULL
                 AND jobs.head_sha IS NULL AND jobs.start_base_sha IS NULL",
        )?
        .execute(params![job.0, attempt])?;
    Ok(())
}

fn write_effects(
    connection: &Connection,
    now: Timestamp,
    job: JobNumber,
    effects: &Effects,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET worktree_path = coalesce(?2, worktree_path), base_sha = coalesce(?3, base_sha),
                 head_sha = coalesce(?4, head_sha), pushed_sha = coalesce(?5, pushed_sha),
                 pr_url = coalesce(?6, pr_url), pr_number = coalesce(?7, pr_number),
                 files_changed = coalesce(?8, files_changed), insertions = coalesce(?9, insertions),
                 deletions = coalesce(?10, deletions), session_id = coalesce(?11, session_id),
                 pid = coalesce(?12, pid), exit_code = coalesce(?13, exit_code),
                 branch_tip = coalesce(?14, branch_tip), updated_at = ?15,
                 authentication = coalesce(?16, authentication)
             WHERE number = ?1",
        )?
        .execute(params![
            job.0,
            effects.worktree_path,
            effects.base_sha,
            effects.head_sha,
            effects.pushed_sha,
            effects.pr_url,
            effects.pr_number,
            effects.files_changed,
            effects.insertions,
            effects.deletions,
            effects.session_id,
            effects.pid,
            effects.exit_code,
            effects.branch_tip,
            now.as_ms(),
            effects.authentication,
        ])?;
    Ok(())
}

fn attempt(row: &rusqlite::Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        number: row.get("number")?,
        counted: row.get("counted")?,
        started_at: Timestamp::from_ms(row.get("started_at")?),
        ended_at: row.get::<_, Option<i64>>("ended_at")?.map(Timestamp::from_ms),
        reason: rows::reason(row)?,
        exit_code: row.get("exit_code")?,
        session_id: row.get("session_id")?,
        usage: rows::usage(row)?,
        authentication: row.get("authentication")?,
        isolation: row.get("isolation")?,
        options: rows::options(row)?,
    })
}
