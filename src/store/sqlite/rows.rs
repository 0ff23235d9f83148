//! Rows and domain values, both ways: the only mapping between columns and types.

use rusqlite::types::Type;
use rusqlite::{Row, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::ClientFacts;
use super::{artifacts, attachments, profiles};
use crate::domain::artifact::Artifacts;
use crate::domain::branch::BranchName;
use crate::domain::client::{Client, RepositoryName};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::hold::{Hold, LimitWindow};
use crate::domain::id::{ClientId, DeliveryId, EventId, JobId, JobNumber};
use crate::domain::job::{
    Chain, Effects, Job, JobRequest, Outcome, Phase, Start, Status, Usage, Verification,
};
use crate::domain::options::RunOptions;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;
use crate::domain::visit::{GoesOn, HandedBack};
use crate::wire::options as stored_options;

/// A stored text that this version cannot read: a damaged row, never an input.
fn unreadable(column: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        Type::Text,
        format!("column {column} is not readable").into(),
    )
}

pub(super) fn parsed<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    parse(row.get_ref(column)?.as_str()?).ok_or_else(|| unreadable(column))
}

fn instant(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_ms))
}

fn some_instant(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_ms(row.get(column)?))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &'static str,
) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|_| unreadable(column))
}

pub(super) fn options(row: &Row<'_>) -> rusqlite::Result<RunOptions> {
    parsed(row, "options", |text| stored_options::from_text(text).ok())
}

/// How usage is stored: short names, because every job has one.
#[derive(serde::Serialize, serde::Deserialize, Default)]
#[serde(default)]
struct UsageColumn {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_micro_usd: Option<u64>,
    turns: u64,
    duration_ms: u64,
}

pub(super) fn usage(row: &Row<'_>) -> rusqlite::Result<Usage> {
    let column: UsageColumn = json(row, "usage")?;
    Ok(Usage {
        input_tokens: column.input,
        output_tokens: column.output,
        cache_read_tokens: column.cache_read,
        cache_write_tokens: column.cache_write,
        cost_micro_usd: column.cost_micro_usd,
        turns: column.turns,
        duration_ms: column.duration_ms,
    })
}

pub(super) fn usage_text(usage: &Usage) -> String {
    let column = UsageColumn {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cache_read: usage.cache_read_tokens,
        cache_write: usage.cache_write_tokens,
        cost_micro_usd: usage.cost_micro_usd,
        turns: usage.turns,
        duration_ms: usage.duration_ms,
    };
    serde_json::to_string(&column).unwrap_or_else(|_| "{}".to_owned())
}

/// How the results of a verification are stored.
#[derive(serde::Serialize, serde::Deserialize)]
struct VerificationColumn {
    command: String,
    round: u32,
    exit_code: Option<i64>,
    duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

fn verify(row: &Row<'_>) -> rusqlite::Result<Vec<Verification>> {
    let column: Vec<VerificationColumn> = json(row, "verify")?;
    let result = |stored: VerificationColumn| Verification {
        command: stored.command,
        round: stored.round,
        exit_code: stored.exit_code,
        duration_ms: stored.duration_ms,
        output: stored.output,
    };
    Ok(column.into_iter().map(result).collect())
}

pub(super) fn verify_text(results: Vec<Verification>) -> String {
    let column = |result: Verification| VerificationColumn {
        command: result.command,
        round: result.round,
        exit_code: result.exit_code,
        duration_ms: result.duration_ms,
        output: result.output,
    };
    let column: Vec<_> = results.into_iter().map(column).collect();
    serde_json::to_string(&column).unwrap_or_else(|_| "[]".to_owned())
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Option<Artifacts>> {
    let Some(text) = row.get_ref("artifacts")?.as_str_or_null()? else { return Ok(None) };
    artifacts::from_text(text).map(Some).ok_or_else(|| unreadable("artifacts"))
}

pub(super) fn reason(row: &Row<'_>) -> rusqlite::Result<Option<Reason>> {
    let Some(code) = row.get::<_, Option<String>>("reason_code")? else { return Ok(None) };
    let code = ReasonCode::parse(&code).ok_or_else(|| unreadable("reason_code"))?;
    Ok(Some(Reason { code, message: row.get::<_, Option<String>>("reason_message")?.unwrap_or_default() }))
}

/// Of a query over `jobs j JOIN clients c` that selects `j.*, c.id AS client_id`.
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let start = match (row.get("start_base_sha")?, row.get("start_head_sha")?) {
        (Some(base_sha), Some(head_sha)) => {
            Start::Publish { base_sha, head_sha, or_agent: row.get("start_or_agent")? }
        }
        _ => match row.get::<_, Option<String>>("start_session_id")? {
            Some(id) => Start::Resume { session_id: (!id.is_empty()).then_some(id) },
            None => Start::Agent,
        },
    };
    Ok(Job {
        id: parsed(row, "id", |text| JobId::parse(text).ok())?,
        number: JobNumber(row.get("number")?),
        client_id: parsed(row, "client_id", |text| ClientId::parse(text).ok())?,
        request: request(row)?,
        chain: Chain {
            root: parsed(row, "root_id", |text| JobId::parse(text).ok())?,
            original: id_option(row, "original_id")?,
            parent: id_option(row, "parent_id")?,
        },
        start,
        login: row.get("login")?,
        status: parsed(row, "status", Status::parse)?,
        phase: parsed(row, "phase", Phase::parse)?,
        outcome: row.get::<_, Option<String>>("outcome")?.and_then(|text| Outcome::parse(&text)),
        reason: reason(row)?,
        attempt: row.get("attempt")?,
        attempts_counted: row.get("attempts_counted")?,
        backoff_tries: row.get("backoff_tries")?,
        effects: effects(row)?,
        handed_back: handed_back(row)?,
        usage: usage(row)?,
        verify: verify(row)?,
        artifacts: kept(row)?,
        warnings: json(row, "warnings")?,
        cancel_requested_at: instant(row, "cancel_requested_at")?,
        created_at: some_instant(row, "created_at")?,
        started_at: instant(row, "started_at")?,
        completed_at: instant(row, "completed_at")?,
        updated_at: some_instant(row, "updated_at")?,
    })
}

fn id_option(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<JobId>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| JobId::parse(&text).map_err(|_| unreadable(column))).transpose()
}

fn request(row: &Row<'_>) -> rusqlite::Result<JobRequest> {
    Ok(JobRequest {
        prompt: row.get("prompt")?,
        branch: parsed(row, "branch", |text| BranchName::parse(text).ok())?,
        title: row.get("title")?,
        body: row.get("body")?,
        os_feature_id: row.get("os_feature_id")?,
        callback_url: row.get("callback_url")?,
        metadata: row.get("metadata")?,
        labels: json(row, "labels")?,
        base_branch: row.get("base_branch")?,
        priority: row.get("priority")?,
        run_at: instant(row, "run_at")?,
        depends_on: json::<Vec<String>>(row, "depends_on")?
            .iter()
            .map(|id| JobId::parse(id).map_err(|_| unreadable("depends_on")))
            .collect::<Result<_, _>>()?,
        attachments: parsed(row, "attachments", attachments::from_text)?,
        options: options(row)?,
        profile: profiles::used(row)?,
        submitted_by: row.get("submitted_by")?,
    })
}

fn handed_back(row: &Row<'_>) -> rusqlite::Result<Option<HandedBack>> {
    let Some(after) = row.get("handed_after")? else { return Ok(None) };
    Ok(Some(HandedBack {
        after,
        to: parsed(row, "handed_to", GoesOn::parse)?,
        turn: row.get("handed_turn")?,
    }))
}

fn effects(row: &Row<'_>) -> rusqlite::Result<Effects> {
    Ok(Effects {
        worktree_path: row.get("worktree_path")?,
        base_sha: row.get("base_sha")?,
        branch_tip: row.get("branch_tip")?,
        head_sha: row.get("head_sha")?,
        pushed_sha: row.get("pushed_sha")?,
        pr_url: row.get("pr_url")?,
        pr_number: row.get("pr_number")?,
        files_changed: row.get("files_changed")?,
        insertions: row.get("insertions")?,
        deletions: row.get("deletions")?,
        session_id: row.get("session_id")?,
        pid: row.get("pid")?,
        exit_code: row.get("exit_code")?,
        authentication: row.get("authentication")?,
    })
}

pub(super) fn client(row: &Row<'_>) -> rusqlite::Result<Client> {
    Ok(Client {
        id: parsed(row, "id", |text| ClientId::parse(text).ok())?,
        os_client_id: row.get("os_client_id")?,
        name: row.get("name")?,
        repository: repository(row)?,
        default_branch: row.get("default_branch")?,
        clone_url: row.get("clone_url")?,
        forge_id: row.get("forge_id")?,
        paused: row.get("paused")?,
        paused_reason: row.get("paused_reason")?,
        options: options(row)?,
        cloned_at: instant(row, "cloned_at")?,
        last_fetched_at: instant(row, "last_fetched_at")?,
        created_at: some_instant(row, "created_at")?,
        updated_at: some_instant(row, "updated_at")?,
        deleted_at: instant(row, "deleted_at")?,
    })
}

pub(super) fn repository(row: &Row<'_>) -> rusqlite::Result<RepositoryName> {
    let (org, repo): (String, String) = (row.get("org")?, row.get("repo")?);
    RepositoryName::parse(&org, &repo).map_err(|_| unreadable("repo"))
}

/// Of a query that also selects `c.name AS client_name, c.org, c.repo`.
pub(super) fn client_facts(row: &Row<'_>) -> rusqlite::Result<ClientFacts> {
    Ok(ClientFacts { name: row.get("client_name")?, repository: repository(row)? })
}

pub(super) fn delivery(row: &Row<'_>, now: Moment) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: parsed(row, "id", |text| DeliveryId::parse(text).ok())?,
        job: JobNumber(row.get("job")?),
        event_id: parsed(row, "event_id", |text| EventId::parse(text).ok())?,
        kind: row.get("kind")?,
        url: row.get("url")?,
        body: row.get("body")?,
        state: parsed(row, "state", DeliveryState::parse)?,
        tries: row.get("tries")?,
        next_try_at: row.get::<_, Option<i64>>("next_try_at")?.map(|at| now.to_wall(at)),
        order: row.get::<_, Option<i64>>("next_try_at")?.unwrap_or(0),
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
        created_at: some_instant(row, "created_at")?,
        delivered_at: instant(row, "delivered_at")?,
    })
}

pub(super) fn hold(row: &Row<'_>, now: Moment) -> rusqlite::Result<Hold> {
    // the end that was told, or the same wait in steady time: whichever comes first
    let due_at = row.get::<_, Option<i64>>("due_at")?.map(|at| now.to_wall(at));
    let until = instant(row, "until")?;
    Ok(Hold {
        login: row.get("login")?,
        reason: reason(row)?.ok_or_else(|| unreadable("reason_code"))?,
        since: some_instant(row, "since")?,
        until: until.map(|until| due_at.map_or(until, |due_at| due_at.min(until))),
        window: row
            .get::<_, Option<String>>("limit_window")?
            .map(|text| LimitWindow::parse(&text).ok_or_else(|| unreadable("limit_window")))
            .transpose()?,
        probe: row.get::<_, Option<i64>>("probe")?.map(JobNumber),
    })
}

pub(super) fn client_number(connection: &rusqlite::Connection, id: &ClientId) -> Result<i64, StoreError> {
    use rusqlite::OptionalExtension as _;
    connection
        .prepare_cached("SELECT number FROM clients WHERE id = ?1")?
        .query_row(params![id.as_str()], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NotFound("client"))
}
