//! Logins that are held: what holds one, who goes out as its probe, and which end of that lifts the hold.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::steady::Moment;
use super::attempts;
use crate::domain::attempt::Lease;
use crate::domain::hold::LimitWindow;
use crate::domain::id::JobNumber;
use crate::domain::job::{Job, Status};
use crate::domain::lifecycle::Transition;
use crate::domain::notice::HoldMoved;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

/// What only an agent tells that its model has answered.
const SIGNS: &str = "'agent.thinking', 'agent.tool_use', 'agent.tool_result'";

impl Store {
    /// Whether the first turn of an attempt may begin: its login is not held, or it goes as the probe of a hold that is due. A job
    /// may be claimed while its login is held if nobody thought that it needs one, and a login may be held after the claim. One
    /// that may not waits like the others from its next claim on, whoever did its work before.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn may_use_login(&self, lease: Lease) -> Result<bool, StoreError> {
        let now = self.moment();
        self.database.write(Edge::UseLogin, move |connection| may_use_login(connection, now, lease)).await
    }
}

fn may_use_login(connection: &Connection, now: Moment, lease: Lease) -> Result<bool, StoreError> {
    attempts::check(connection, lease)?;
    let hold: Option<(Option<i64>, bool)> = connection
        .prepare_cached(
            "SELECT probe, until IS NULL OR (until > ?2 AND due_at > ?3) FROM holds
             WHERE login = (SELECT login FROM jobs WHERE number = ?1)",
        )?
        .query_row(params![lease.job.0, now.wall.as_ms(), now.steady_ms()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match hold {
        None => return Ok(true),
        Some((Some(probe), _)) if probe == lease.job.0 => return Ok(true),
        Some((None, false)) => {
            connection
                .prepare_cached(
                    "UPDATE holds SET probe = ?1 WHERE login = (SELECT login FROM jobs WHERE number = ?1)",
                )?
                .execute([lease.job.0])?;
            return Ok(true);
        }
        // who has begun goes on until the login itself refuses
        Some(_) if has_begun(connection, lease.job, lease.attempt)? => return Ok(true),
        Some(_) => {}
    }
    connection
        .prepare_cached(
            "UPDATE jobs SET handed_to = 'agent'
             WHERE number = ?1 AND handed_to = 'publish' AND handed_turn IS NULL",
        )?
        .execute([lease.job.0])?;
    Ok(false)
}

/// A job is claimed that needs an agent.
pub(super) fn send_probe(connection: &Connection, job: &Job) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE holds SET probe = ?2 WHERE login = ?1")?
        .execute(params![job.login, job.number.0])?;
    Ok(())
}

/// A fault of the login holds it. An end of its probe that shows that it works again lifts the hold; after any other the next
/// job goes out as the probe. Gives what people are to be told of: that a hold began, or for another reason or by another limit, or is over.
pub(super) fn update(
    connection: &Connection,
    now: Moment,
    before: &Job,
    decided: &Transition,
) -> Result<Option<HoldMoved>, StoreError> {
    if let (Some(until), Some(reason)) = (decided.hold, &decided.reason) {
        return hold(connection, now, before, (reason, until, decided.window));
    }
    let (number, login) = (before.number.0, &before.login);
    let code: Option<String> = connection
        .prepare_cached("SELECT reason_code FROM holds WHERE login = ?1 AND probe = ?2")?
        .query_row(params![login, number], |row| row.get(0))
        .optional()?;
    let Some(code) = code else { return Ok(None) };
    let works = works(connection, before, decided, &code)?;
    let sql = if works {
        "DELETE FROM holds WHERE login = ?1 AND probe = ?2"
    } else {
        "UPDATE holds SET probe = NULL WHERE login = ?1 AND probe = ?2"
    };
    connection.prepare_cached(sql)?.execute(params![login, number])?;
    Ok(works.then(|| HoldMoved::Resumed { login: login.clone() }))
}

/// Of two limits the one that ends later counts, and only who was sent to look knows of an earlier end.
fn hold(
    connection: &Connection,
    now: Moment,
    before: &Job,
    (reason, until, window): (&Reason, Option<Timestamp>, Option<LimitWindow>),
) -> Result<Option<HoldMoved>, StoreError> {
    let held_for: Option<(String, Option<String>)> = connection
        .prepare_cached("SELECT reason_code, limit_window FROM holds WHERE login = ?1")?
        .query_row([&before.login], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let changed = connection
        .prepare_cached(
            "INSERT INTO holds (login, reason_code, reason_message, since, until, due_at, limit_window, probe)
             VALUES (?1, ?2, ?3, ?4, ?5, ?7, ?8, NULL)
             ON CONFLICT (login) DO UPDATE SET reason_code = ?2, reason_message = ?3, until = ?5, due_at = ?7,
                 -- who does not name the limit says nothing of another one
                 limit_window = CASE WHEN reason_code = ?2 THEN coalesce(?8, limit_window) ELSE ?8 END,
                 -- a job from before the hold may end while the probe is still out
                 probe = nullif(probe, ?6)
             WHERE probe IS ?6 OR NOT (reason_code = ?9 AND ?2 = ?9 AND until > ?5 AND due_at > ?7)",
        )?
        .execute(params![
            before.login,
            reason.code.as_str(),
            reason.message,
            now.wall.as_ms(),
            until.map(Timestamp::as_ms),
            before.number.0,
            until.map(|at| now.to_steady(at)),
            window.map(LimitWindow::as_str),
            ReasonCode::UsageLimit.as_str(),
        ])?;
    let is_known = held_for.is_some_and(|(code, limit)| {
        code == reason.code.as_str()
            && (window.is_none() || window.map(LimitWindow::as_str) == limit.as_deref())
    });
    let login = before.login.clone();
    Ok((changed > 0 && !is_known).then(|| HoldMoved::Held { login, reason: reason.clone(), until, window }))
}

/// Whether the attempt shows that the login works which is held for `code`: its agent came to its end, or the model has
/// answered it; for one that was missing, it is enough that it ran.
fn works(
    connection: &Connection,
    before: &Job,
    decided: &Transition,
    code: &str,
) -> Result<bool, StoreError> {
    if decided.status == Status::Completed || before.effects.head_sha.is_some() {
        return Ok(true);
    }
    if code == ReasonCode::AgentMissing.as_str() {
        return has_begun(connection, before.number, before.attempt);
    }
    // what an agent says of an error of the API looks like a message of the model
    let is_api = matches!(
        decided.reason.as_ref().map(|reason| reason.code),
        Some(ReasonCode::ApiError | ReasonCode::Overloaded)
    );
    let message = if is_api { "" } else { ", 'agent.message'" };
    Ok(connection
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM attempts WHERE job = ?1 AND number = ?2
                 AND coalesce(json_extract(usage, '$.output'), 0) > 0)
             OR EXISTS (SELECT 1 FROM events INDEXED BY events_by_job
                 WHERE job = ?1 AND attempt = ?2 AND kind IN ({SIGNS}{message}))"
        ))?
        .query_row(params![before.number.0, before.attempt], |row| row.get(0))?)
}

/// Whether a turn of the agent ran in the attempt.
fn has_begun(connection: &Connection, job: JobNumber, attempt: u32) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM steps
                 WHERE job = ?1 AND attempt = ?2 AND name GLOB 'agent-*' AND released = 1)",
        )?
        .query_row(params![job.0, attempt], |row| row.get(0))?)
}
