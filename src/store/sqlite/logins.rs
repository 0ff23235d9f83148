//! Which login a queued job waits for: that of the agent which would work on it now. An owner who gives a client another agent
//! means its waiting jobs too, and a limit holds the login that met it, not the one that was named before.

use rusqlite::{Connection, params};

use super::super::error::StoreError;
use super::super::{Change, Store};
use super::{attempts, set_meta};
use crate::domain::id::{JobId, JobNumber};
use crate::failpoint::Edge;

/// The agent that works where neither a job nor its profile nor its client names one.
const USUAL: &str = "usual_agent";

/// What a job says, else its profile, else its client, else the configuration.
const SETTLE: &str = "UPDATE jobs SET login = coalesce(json_extract(options, '$.agent'),
         json_extract(profile_options, '$.agent'),
         (SELECT json_extract(c.options, '$.agent') FROM clients c WHERE c.number = jobs.client),
         (SELECT value FROM meta WHERE key = 'usual_agent'), login)
     WHERE status = 'queued'";

impl Store {
    /// From now on this agent works where neither a job nor its profile nor its client names one, on the jobs that wait too.
    ///
    /// # Errors
    /// What the database said.
    pub async fn settle_logins(&self, usual: &str) -> Result<(), StoreError> {
        let usual = usual.to_owned();
        self.database
            .write(Edge::SettleLogins, move |connection| {
                set_meta(connection, USUAL, &usual)?;
                connection.prepare_cached(SETTLE)?.execute([])?;
                Ok(())
            })
            .await?;
        self.tell(Change::Queue);
        Ok(())
    }

    /// Whether the login has held a conversation of this id in a chain; `None`: no attempt is known that did.
    ///
    /// # Errors
    /// What the database said.
    pub async fn has_held_session(
        &self,
        root: &JobId,
        session: &str,
        login: &str,
    ) -> Result<Option<bool>, StoreError> {
        let (root, session, login) = (root.clone(), session.to_owned(), login.to_owned());
        self.database
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT max({} = ?3) FROM jobs j CROSS JOIN attempts a ON a.job = j.number
                         WHERE j.root_id = ?1 AND a.session_id = ?2",
                        attempts::login_of("a", "j")
                    ))?
                    .query_row(params![root.as_str(), session, login], |row| row.get(0))?)
            })
            .await
    }
}

/// The client was given another agent. Of its jobs only those that wait are looked at, however many it has had.
pub(super) fn settle_of_client(connection: &Connection, client: i64) -> Result<(), StoreError> {
    let of_client = SETTLE.replacen("jobs SET", "jobs INDEXED BY jobs_queued_by_client SET", 1);
    connection.prepare_cached(&format!("{of_client} AND client = ?1"))?.execute([client])?;
    Ok(())
}

/// The job waits again; what it was told to run with may have changed meanwhile.
pub(super) fn settle(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    connection.prepare_cached(&format!("{SETTLE} AND number = ?1"))?.execute([number.0])?;
    Ok(())
}

/// The attempt runs with this login: it is no probe of another.
pub(super) fn runs_with(connection: &Connection, number: JobNumber, login: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE jobs SET login = ?2 WHERE number = ?1 AND login <> ?2")?
        .execute(params![number.0, login])?;
    connection
        .prepare_cached("UPDATE holds SET probe = NULL WHERE probe = ?1 AND login <> ?2")?
        .execute(params![number.0, login])?;
    Ok(())
}
