//! Whose turn it is: round robin over the clients of one priority.
//!
//! Every queued job has a turn, a number that orders the queue within a priority; within a client the turns grow with the
//! numbers of its jobs. The client with the lowest turn goes next. Whichever of its jobs starts, the first ones may be held, the client pays
//! with its lowest turn, and its other jobs move up. So neither a flood, nor jobs that were held for long, nor those that were
//! cancelled cost another client, or the same one, more than one release of a slot. It is start-time fair queueing (Goyal,
//! Vin, Cheng 1996) with all jobs of one length: they are not known before.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::Limits;
use super::super::error::StoreError;
use super::super::steady::Moment;
use crate::domain::id::JobNumber;

/// What holds a job `j` back apart from slots; `?1` is the wall clock, `?2` the steady time.
const STARTABLE: &str = "status = 'queued' AND blocked_by = 0 AND (not_before IS NULL OR not_before <= ?2)
    AND (run_at IS NULL OR run_at <= ?1)
    AND number NOT IN (SELECT job FROM visits)
    AND (start_head_sha IS NOT NULL OR head_sha IS NOT NULL OR (handed_to = 'publish' AND handed_turn IS NULL)
         OR login NOT IN
         (SELECT login FROM holds WHERE probe IS NOT NULL OR until IS NULL OR (until > ?1 AND due_at > ?2)))";

/// The queued jobs of a client and a priority.
const OF_CLIENT: &str =
    "FROM jobs INDEXED BY jobs_queued_by_client WHERE status = 'queued' AND client = ?1 AND rank = ?2";

/// A job's client, priority and turn.
struct Seat {
    client: i64,
    rank: i64,
    turn: i64,
}

fn seat(connection: &Connection, number: JobNumber) -> Result<Seat, StoreError> {
    let seat = connection
        .prepare_cached("SELECT client, rank, turn FROM jobs WHERE number = ?1")?
        .query_row([number.0], |row| {
            Ok(Seat { client: row.get(0)?, rank: row.get(1)?, turn: row.get(2)? })
        })?;
    Ok(seat)
}

/// The turn of a new job: behind its client's other ones, and for a client that comes anew the one that is being served.
/// Running jobs count too, else a client that sends the next job while one runs would go before everybody who waits.
pub(super) fn next(connection: &Connection, client: i64, rank: i64) -> Result<i64, StoreError> {
    let own: Option<i64> = connection
        .prepare_cached(
            "SELECT max(turn) FROM (
                 SELECT max(turn) AS turn FROM jobs WHERE client = ?1 AND rank = ?2 AND status = 'queued'
                 UNION ALL
                 SELECT max(turn) FROM jobs INDEXED BY jobs_running
                 WHERE client = ?1 AND rank = ?2 AND status = 'running')",
        )?
        .query_row([client, rank], |row| row.get(0))?;
    let served: Option<i64> = connection
        .prepare_cached("SELECT turn FROM turns WHERE rank = ?1")?
        .query_row([rank], |row| row.get(0))
        .optional()?;
    Ok(own.map_or(0, |turn| turn + 1).max(served.unwrap_or(0)))
}

/// The job that may start: of the first client, by priority and turn, that has one, the first. Clients in `spent` start no
/// agents.
pub(super) fn first(
    connection: &Connection,
    now: Moment,
    limits: Limits,
    spent: &HashSet<i64>,
) -> Result<Option<JobNumber>, StoreError> {
    let mut order = connection.prepare_cached(
        "SELECT rank, client FROM jobs INDEXED BY jobs_queued WHERE status = 'queued' ORDER BY rank, turn, number",
    )?;
    let mut seen = HashSet::new();
    let mut rows = order.query([])?;
    while let Some(row) = rows.next()? {
        let (rank, client): (i64, i64) = (row.get(0)?, row.get(1)?);
        if seen.insert((rank, client))
            && let Some(number) = first_of(connection, now, limits, (client, rank), spent.contains(&client))?
        {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn first_of(
    connection: &Connection,
    now: Moment,
    limits: Limits,
    (client, rank): (i64, i64),
    is_spent: bool,
) -> Result<Option<JobNumber>, StoreError> {
    let number = connection
        .prepare_cached(&format!(
            "SELECT number FROM jobs j INDEXED BY jobs_queued_by_client
             WHERE client = ?4 AND rank = ?5 AND {STARTABLE}
               AND client NOT IN (SELECT number FROM clients WHERE paused = 1)
               AND (?6 = 0 OR start_head_sha IS NOT NULL OR head_sha IS NOT NULL
                    OR (handed_to = 'publish' AND handed_turn IS NULL))
               AND (?3 IS NULL
                    OR (SELECT count(*) FROM jobs r INDEXED BY jobs_running
                        WHERE r.client = j.client AND r.status = 'running') < ?3)
             ORDER BY turn, number LIMIT 1"
        ))?
        .query_row(
            params![now.wall.as_ms(), now.steady_ms(), limits.running_per_client_max, client, rank, is_spent],
            |row| row.get(0),
        )
        .optional()?;
    Ok(number.map(JobNumber))
}

/// A queued job starts: it takes its client's first turn, those before it move back by one, and none of the client's other
/// jobs keeps a turn that is served already.
pub(super) fn take(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    let Seat { client, rank, turn } = seat(connection, number)?;
    let lowest: i64 = connection
        .prepare_cached(&format!("SELECT min(turn) {OF_CLIENT}"))?
        .query_row([client, rank], |row| row.get(0))?;
    if lowest < turn {
        connection
            .prepare_cached(&format!(
                "UPDATE jobs SET turn = moved.turn FROM
                     (SELECT number, lead(turn, 1, ?4) OVER (ORDER BY turn) AS turn {OF_CLIENT} AND turn <= ?3) moved
                 WHERE jobs.number = moved.number"
            ))?
            .execute([client, rank, turn, lowest])?;
    }
    let served: i64 = connection
        .prepare_cached(
            "INSERT INTO turns (rank, turn) VALUES (?1, ?2)
             ON CONFLICT (rank) DO UPDATE SET turn = max(turn, excluded.turn) RETURNING turn",
        )?
        .query_row([rank, lowest], |row| row.get(0))?;
    let late: bool = connection
        .prepare_cached(&format!("SELECT EXISTS (SELECT 1 {OF_CLIENT} AND turn <= ?3 AND number <> ?4)"))?
        .query_row([client, rank, served, number.0], |row| row.get(0))?;
    if late {
        connection
            .prepare_cached(&format!(
                "UPDATE jobs SET turn = dealt.turn FROM
                     (SELECT number, ?3 + row_number() OVER (ORDER BY turn) AS turn {OF_CLIENT} AND number <> ?4) dealt
                 WHERE jobs.number = dealt.number AND jobs.turn < dealt.turn"
            ))?
            .execute([client, rank, served, number.0])?;
    }
    Ok(())
}

/// A running job is queued again, with the turn that it had. Where one of its client's had started out of its order, because
/// an older one was held, their turns are put in the order of their numbers again.
pub(super) fn give_back(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    let Seat { client, rank, turn } = seat(connection, number)?;
    let crossed: (Option<i64>, Option<i64>) = connection
        .prepare_cached(&format!(
            "SELECT min(turn), max(turn) {OF_CLIENT} AND ((number < ?4 AND turn > ?3) OR (number > ?4 AND turn < ?3))"
        ))?
        .query_row([client, rank, turn, number.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(lowest), Some(highest)) = crossed else { return Ok(()) };
    let mut statement =
        connection.prepare_cached(&format!("SELECT number, turn {OF_CLIENT} AND turn BETWEEN ?3 AND ?4"))?;
    let found = statement
        .query_map([client, rank, lowest.min(turn), highest.max(turn)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let (mut numbers, mut turns): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    numbers.sort_unstable();
    turns.sort_unstable();
    for (number, turn) in numbers.into_iter().zip(turns) {
        connection.prepare_cached("UPDATE jobs SET turn = ?2 WHERE number = ?1")?.execute([number, turn])?;
    }
    Ok(())
}

/// A job has left the queue without having started: the client's later ones move up.
pub(super) fn leave(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    let Seat { client, rank, turn } = seat(connection, number)?;
    connection
        .prepare_cached(&format!(
            "UPDATE jobs SET turn = moved.turn FROM
                 (SELECT number, lag(turn, 1, ?3) OVER (ORDER BY turn) AS turn {OF_CLIENT} AND turn > ?3) moved
             WHERE jobs.number = moved.number"
        ))?
        .execute([client, rank, turn])?;
    Ok(())
}
