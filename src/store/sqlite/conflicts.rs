//! Jobs that cannot run beside each other: for their branches, or for the worktree of their chain.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::{BranchConflict, StoreError};
use crate::domain::branch::BranchName;
use crate::domain::id::{JobId, JobNumber};

/// The live job that one on this branch, of this chain, cannot run beside; but for those of `except`.
pub(super) fn conflict(
    connection: &Connection,
    client: i64,
    branch: &BranchName,
    root: Option<&JobId>,
    except: &[i64],
) -> Result<Option<BranchConflict>, StoreError> {
    let of_branch = branch_conflict(connection, client, branch, except)?;
    match (of_branch, root) {
        (None, Some(root)) => chain_conflict(connection, root, except),
        (found, _) => Ok(found),
    }
}

/// A chain has one worktree, whatever branches its jobs are on.
fn chain_conflict(
    connection: &Connection,
    root: &JobId,
    except: &[i64],
) -> Result<Option<BranchConflict>, StoreError> {
    let except = serde_json::to_string(except).unwrap_or_else(|_| "[]".to_owned());
    let found = connection
        .prepare_cached(
            "SELECT id, number, branch FROM jobs WHERE root_id = ?1 AND status IN ('queued', 'running')
                 AND number NOT IN (SELECT value FROM json_each(?2))
             ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![root.as_str(), except], named_branch)
        .optional()?;
    found.map(busy).transpose()
}

/// The newest live job of the client, but for those of `except`, whose branch is `branch`, a directory above or below it, or its
/// twin in another case.
pub(super) fn branch_conflict(
    connection: &Connection,
    client: i64,
    branch: &BranchName,
    except: &[i64],
) -> Result<Option<BranchConflict>, StoreError> {
    let key = branch.as_str().to_ascii_lowercase();
    let mut parents: Vec<&str> = key.match_indices('/').map(|(at, _)| &key[..at]).collect();
    parents.push(&key);
    let except = serde_json::to_string(except).unwrap_or_else(|_| "[]".to_owned());
    let above = serde_json::to_string(&parents).unwrap_or_else(|_| "[]".to_owned());
    let mut statement = connection.prepare_cached(
        // '0' is the character behind '/': the range holds exactly the names below the branch
        // two looks into the index: with OR it would be one at every live job of the client
        "SELECT id, number, branch FROM (
             SELECT id, number, branch FROM jobs INDEXED BY jobs_live_branch
             WHERE client = ?1 AND status IN ('queued', 'running')
                 AND branch_key IN (SELECT value FROM json_each(?2))
             UNION ALL
             SELECT id, number, branch FROM jobs INDEXED BY jobs_live_branch
             WHERE client = ?1 AND status IN ('queued', 'running') AND branch_key > ?3 AND branch_key < ?4)
         WHERE number NOT IN (SELECT value FROM json_each(?5)) ORDER BY number DESC LIMIT 1",
    )?;
    let found = statement
        .query_row(params![client, above, format!("{key}/"), format!("{key}0"), except], named_branch);
    found.optional()?.map(busy).transpose()
}

fn named_branch(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, i64, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn busy((id, number, branch): (String, i64, String)) -> Result<BranchConflict, StoreError> {
    let job = JobId::parse(&id).map_err(|_| StoreError::Corrupt("a job id is not readable".to_owned()))?;
    Ok(BranchConflict { job, number: JobNumber(number), branch })
}
