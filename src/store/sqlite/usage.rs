//! What agents have used: told by each step, added up for its attempt, its job and its day, all in one transaction. The
//! sums of days outlive the jobs.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::view::{UsageGroup, UsagePage, UsagePlace, UsageQuery};
use super::{attempts, reach, rows};
use crate::domain::attempt::Lease;
use crate::domain::id::ClientId;
use crate::domain::job::Usage;
use crate::domain::time::{Day, Timestamp};
use crate::domain::usage::{Grouping, UsageSums};
use crate::failpoint::Edge;

impl Store {
    /// Stores what a step of the attempt has used, in place of what it was said to have used before, and gives what the
    /// whole job has used. `session` is the agent's conversation.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn record_usage(
        &self,
        lease: Lease,
        step: &str,
        session: Option<&str>,
        usage: Usage,
    ) -> Result<Usage, StoreError> {
        let (now, step, session) = (self.now(), step.to_owned(), session.map(str::to_owned));
        self.database
            .write(Edge::RecordUsage, move |connection| {
                attempts::check(connection, lease)?;
                let before = of_step(connection, lease, &step)?;
                connection
                    .prepare_cached(
                        "INSERT INTO steps (job, attempt, name, usage, session) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (job, attempt, name) DO UPDATE SET usage = ?4, session = coalesce(?5, session)",
                    )?
                    .execute(params![lease.job.0, lease.attempt, step, rows::usage_text(&usage), session])?;
                if before != Some(usage) {
                    add_to_day(connection, Day::of(now), lease, before.as_ref(), &usage)?;
                }
                sum_up(connection, lease)
            })
            .await
    }

    /// What is known of this conversation of the attempt's chain and agent, apart from this step: what its total has to be reduced
    /// by. One of the same id elsewhere is another one.
    ///
    /// # Errors
    /// What the database said.
    pub async fn used_in_session(
        &self,
        lease: Lease,
        step: &str,
        session: &str,
    ) -> Result<Usage, StoreError> {
        let (step, session) = (step.to_owned(), session.to_owned());
        self.database
            .read(move |connection| {
                let (theirs, ours) = (attempts::login_of("a", "j"), attempts::login_of("mine", "of"));
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT s.usage FROM attempts mine
                     JOIN jobs of ON of.number = mine.job
                     CROSS JOIN jobs j INDEXED BY jobs_by_root ON j.root_id = of.root_id
                     CROSS JOIN steps s ON s.job = j.number
                     JOIN attempts a ON a.job = s.job AND a.number = s.attempt
                     WHERE mine.job = ?2 AND mine.number = ?3 AND s.session = ?1 AND s.usage IS NOT NULL
                         AND NOT (s.job = ?2 AND s.attempt = ?3 AND s.name = ?4)
                         AND {theirs} = {ours}"
                ))?;
                let known = statement
                    .query_map(params![session, lease.job.0, lease.attempt, step], rows::usage)?
                    .try_fold(Usage::default(), |sum, next| next.map(|next| sum.plus(next)))?;
                Ok(known)
            })
            .await
    }

    /// What the jobs of a client have cost today (UTC), in millionths of a US dollar, as far as it was told.
    ///
    /// # Errors
    /// What the database said.
    pub async fn cost_today(&self, client: &ClientId) -> Result<u64, StoreError> {
        let (today, client) = (Day::of(self.now()), client.clone());
        self.database
            .read(move |connection| {
                let cost: Option<i64> = connection
                    .prepare_cached(
                        "SELECT cost_micro_usd FROM usage_days
                         WHERE day = ?1 AND client = (SELECT number FROM clients WHERE id = ?2)",
                    )?
                    .query_row(params![today.number(), client.as_str()], |row| row.get(0))
                    .optional()?;
                Ok(cost.map_or(0, count))
            })
            .await
    }

    /// One page of sums.
    ///
    /// # Errors
    /// What the database said.
    pub async fn usage_page(&self, query: UsageQuery) -> Result<UsagePage, StoreError> {
        self.database.read(move |connection| page(connection, &query)).await
    }
}

/// The clients that have spent their money for the day: no agent of theirs starts before the next one.
pub(super) fn spent_clients(connection: &Connection, now: Timestamp) -> Result<HashSet<i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.client, u.cost_micro_usd, c.options FROM usage_days u CROSS JOIN clients c ON c.number = u.client
         WHERE u.day = ?1 AND u.cost_micro_usd > 0 AND instr(c.options, 'maxBudgetUsdPerDay') > 0",
    )?;
    let mut spent = HashSet::new();
    let mut found = statement.query([Day::of(now).number()])?;
    while let Some(row) = found.next()? {
        let budget = rows::options(row)?.max_budget_usd_per_day_micros;
        if budget.is_some_and(|budget| row.get("cost_micro_usd").map_or(0, count) >= budget) {
            spent.insert(row.get("client")?);
        }
    }
    Ok(spent)
}

/// What a step was said to have used; `None` before its end.
fn of_step(connection: &Connection, lease: Lease, step: &str) -> Result<Option<Usage>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT usage FROM steps WHERE job = ?1 AND attempt = ?2 AND name = ?3 AND usage IS NOT NULL",
        )?
        .query_row(params![lease.job.0, lease.attempt, step], rows::usage)
        .optional()?)
}

/// Brings the attempt and the job up to what their steps have used; gives the job's sum.
fn sum_up(connection: &Connection, lease: Lease) -> Result<Usage, StoreError> {
    let sum = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> Result<Usage, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let all = statement
            .query_map(parameters, rows::usage)?
            .try_fold(Usage::default(), |sum, next| next.map(|next| sum.plus(next)))?;
        Ok(all)
    };
    let (job, attempt) = (lease.job.0, lease.attempt);
    let of_attempt = sum(
        "SELECT usage FROM steps WHERE job = ?1 AND attempt = ?2 AND usage IS NOT NULL",
        &[&job, &attempt],
    )?;
    connection
        .prepare_cached("UPDATE attempts SET usage = ?3 WHERE job = ?1 AND number = ?2")?
        .execute(params![job, attempt, rows::usage_text(&of_attempt)])?;
    let of_job = sum("SELECT usage FROM attempts WHERE job = ?1", &[&job])?;
    connection
        .prepare_cached("UPDATE jobs SET usage = ?2 WHERE number = ?1")?
        .execute(params![job, rows::usage_text(&of_job)])?;
    Ok(of_job)
}

/// The columns of a day behind its key, of one run.
fn columns(run: Option<&Usage>) -> [i64; 9] {
    let Some(run) = run else { return [0; 9] };
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    [
        1,
        i64::from(run.cost_micro_usd.is_none()),
        number(run.input_tokens),
        number(run.output_tokens),
        number(run.cache_read_tokens),
        number(run.cache_write_tokens),
        number(run.cost_micro_usd.unwrap_or(0)),
        number(run.turns),
        number(run.duration_ms),
    ]
}

/// Adds what is new since `before`, so that a step whose end is read twice counts once.
fn add_to_day(
    connection: &Connection,
    day: Day,
    lease: Lease,
    before: Option<&Usage>,
    usage: &Usage,
) -> Result<(), StoreError> {
    const COLUMNS: &str = "runs, runs_without_cost, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, cost_micro_usd, turns, duration_ms";
    const ADDED: &str = "runs = runs + excluded.runs, runs_without_cost = runs_without_cost + excluded.runs_without_cost,
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
        cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
        cost_micro_usd = cost_micro_usd + excluded.cost_micro_usd, turns = turns + excluded.turns,
        duration_ms = duration_ms + excluded.duration_ms";
    let (client, mut labels) = connection
        .prepare_cached("SELECT client, labels FROM jobs WHERE number = ?1")?
        .query_row([lease.job.0], |row| {
            Ok((row.get::<_, i64>("client")?, rows::json::<Vec<String>>(row, "labels")?))
        })?;
    let (now, then) = (columns(Some(usage)), columns(before));
    let [a, b, c, d, e, f, g, h, i] = std::array::from_fn(|at| now[at] - then[at]);
    connection
        .prepare_cached(&format!(
            "INSERT INTO usage_days (day, client, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (day, client) DO UPDATE SET {ADDED}"
        ))?
        .execute(params![day.number(), client, a, b, c, d, e, f, g, h, i])?;
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        labels.push(String::new());
    }
    for label in labels {
        connection
            .prepare_cached(&format!(
                "INSERT INTO usage_labels (day, client, label, {COLUMNS})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (day, client, label) DO UPDATE SET {ADDED}"
            ))?
            .execute(params![day.number(), client, label, a, b, c, d, e, f, g, h, i])?;
    }
    Ok(())
}

const SUMS: &str =
    "coalesce(sum(u.runs), 0) AS runs, coalesce(sum(u.runs_without_cost), 0) AS runs_without_cost,
    coalesce(sum(u.input_tokens), 0) AS input_tokens, coalesce(sum(u.output_tokens), 0) AS output_tokens,
    coalesce(sum(u.cache_read_tokens), 0) AS cache_read_tokens,
    coalesce(sum(u.cache_write_tokens), 0) AS cache_write_tokens,
    coalesce(sum(u.cost_micro_usd), 0) AS cost_micro_usd, coalesce(sum(u.turns), 0) AS turns,
    coalesce(sum(u.duration_ms), 0) AS duration_ms";

fn page(connection: &Connection, query: &UsageQuery) -> Result<UsagePage, StoreError> {
    let (since, until) =
        (query.since.map_or(i64::MIN, Day::number), query.until.map_or(i64::MAX, Day::number));
    let clients = reach::list(&query.reach);
    let total = connection
        .prepare_cached(&format!(
            "SELECT {SUMS} FROM usage_days u WHERE u.day BETWEEN ?1 AND ?2
             AND (?3 IS NULL OR u.client IN (SELECT number FROM clients
                 WHERE id IN (SELECT value FROM json_each(?3))))"
        ))?
        .query_row(params![since, until, clients], sums)?;
    if query.by.is_empty() {
        return Ok(UsagePage { groups: Vec::new(), total, next: None });
    }
    let grouped = |one: Grouping, column: &'static str, other: &'static str| {
        if query.by.contains(&one) { column } else { other }
    };
    let (day, client, label) = (
        grouped(Grouping::Day, "u.day", "0"),
        grouped(Grouping::Client, "u.client", "0"),
        grouped(Grouping::Label, "u.label", "''"),
    );
    let keys = |table: char| {
        let names: Vec<_> = query.by.iter().map(|one| format!("{table}.{one}")).collect();
        names.join(", ")
    };
    let (table, own, place) = (grouped(Grouping::Label, "usage_labels", "usage_days"), keys('u'), keys('p'));
    let sql = format!(
        "SELECT {day} AS day, {client} AS client, {label} AS label, {SUMS}
         FROM {table} u, (SELECT ?3 AS day, ?4 AS client, ?5 AS label) p
         WHERE u.day BETWEEN ?1 AND ?2 AND (?6 = 0 OR ({own}) > ({place}))
             AND (?8 IS NULL OR u.client IN (SELECT number FROM clients
                 WHERE id IN (SELECT value FROM json_each(?8))))
         GROUP BY {own} ORDER BY {own} LIMIT ?7"
    );
    let after = query.after.clone().unwrap_or_default();
    let most = query.limit as usize;
    // one more than a page tells whether there is a next one
    let mut groups = connection
        .prepare_cached(&sql)?
        .query_map(
            params![
                since,
                until,
                after.day,
                after.client,
                after.label,
                query.after.is_some(),
                i64::from(query.limit) + 1,
                clients
            ],
            |row| Ok((group(connection, query, row)?, place_of(row)?)),
        )?
        .collect::<Result<Vec<_>, _>>()?;
    let more = groups.len() > most;
    groups.truncate(most);
    let next = groups.last().filter(|_| more).map(|(_, place)| place.clone());
    Ok(UsagePage { groups: groups.into_iter().map(|(group, _)| group).collect(), total, next })
}

fn place_of(row: &Row<'_>) -> rusqlite::Result<UsagePlace> {
    Ok(UsagePlace { day: row.get("day")?, client: row.get("client")?, label: row.get("label")? })
}

fn group(connection: &Connection, query: &UsageQuery, row: &Row<'_>) -> rusqlite::Result<UsageGroup> {
    let UsagePlace { day, client, label } = place_of(row)?;
    let has = |one| query.by.contains(&one);
    let client = has(Grouping::Client)
        .then(|| {
            connection
                .prepare_cached("SELECT id, name FROM clients WHERE number = ?1")?
                .query_row([client], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .transpose()?;
    Ok(UsageGroup {
        client,
        day: has(Grouping::Day).then(|| Day::from_number(day)),
        label: Some(label).filter(|label| !label.is_empty()),
        sums: sums(row)?,
    })
}

fn sums(row: &Row<'_>) -> rusqlite::Result<UsageSums> {
    let number = |column: &str| row.get(column).map(count);
    let (runs, runs_without_cost) = (number("runs")?, number("runs_without_cost")?);
    Ok(UsageSums {
        usage: Usage {
            input_tokens: number("input_tokens")?,
            output_tokens: number("output_tokens")?,
            cache_read_tokens: number("cache_read_tokens")?,
            cache_write_tokens: number("cache_write_tokens")?,
            cost_micro_usd: Some(number("cost_micro_usd")?).filter(|_| runs > runs_without_cost),
            turns: number("turns")?,
            duration_ms: number("duration_ms")?,
        },
        runs,
        runs_without_cost,
    })
}

fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
