//! How a run of Claude ended. Decided from its last result event and the exit together, because each alone lies: an
//! API error has `subtype: "success"` and exit 1, an interrupt exits 0, a run in which every tool was denied exits 0
//! with a success, and a killed one has no result at all.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::shapes::{Line, TurnUsage};
use super::tool;
use crate::agent::last_words::LastWords;
use crate::agent::lenient::{Content, Scalar};
use crate::agent::text::{one_line, visible};
use crate::agent::verdict::{
    AgentOutcome, AgentVerdict, Denial, Fault, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX, StepExit, ToolUses,
    Usage,
};
use crate::domain::hold::LimitWindow;

/// How the answer to `--resume` with an unknown id begins. It comes as a result event and again on stderr; with
/// other output formats on stderr alone.
const SESSION_UNKNOWN: &str = "No conversation found with session ID";

/// What it says on stderr alone where it should begin a conversation under an id that there is already.
const SESSION_IN_USE: &str = "is already in use.";

/// The whole result where a conversation did not fit any more, and still did not after it was summed up.
pub(in crate::agent) const CONTEXT_FULL: &str = "Prompt is too long";

/// Everything read so far that the verdict needs.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) session_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) version: Option<String>,
    pub(super) auth: Option<String>,
    /// The tag on the newest message, where that only reports an API error.
    pub(super) api_error_tag: Option<String>,
    /// Set by a rejecting rate limit event, with its renewal in Unix seconds and its name; cleared by an allowing one.
    pub(super) limit_reached: Option<(Option<i64>, Option<LimitWindow>)>,
    /// The tool that the agent asked permission for and got no answer.
    pub(super) waits_for: Option<String>,
    pub(super) last_words: LastWords,
    ending: Option<Ending>,
    usage: Usage,
    /// Uses of tools that were told so far, denied ones included.
    pub(super) uses: u32,
    /// Tokens of the answers since the last result, by a hash of their ids: all that is known of a turn that is cut off.
    open: BTreeMap<u64, Usage>,
    tools: ToolUses,
}

/// Answers of one turn that are told apart; `maxTurns` ends at the same number. Those beyond are in the result only.
const ANSWERS_MAX: usize = 10_000;

/// One result event.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) ok: bool,
    /// The agent's closing words, or its errors.
    pub(super) text: String,
    subtype: Option<String>,
    terminal_reason: Option<String>,
    stop_reason: Option<String>,
    api_status: Option<u16>,
    session_id: Option<String>,
    usage: Usage,
    denials: Vec<Denial>,
}

impl Run {
    /// A new turn in the same process: what the one before it said about its end no longer holds.
    pub(super) fn begin_turn(&mut self) {
        self.ending = None;
        self.api_error_tag = None;
        self.waits_for = None;
    }

    /// An answer of the model; it comes in several pieces, each with the tokens of all of it so far.
    pub(super) fn note_answer(&mut self, id: &str, tokens: &TurnUsage) {
        let used = tokens_of(tokens);
        // made up by the agent itself, to report an error
        if used == Usage::default() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let id = hasher.finish();
        if self.open.len() < ANSWERS_MAX || self.open.contains_key(&id) {
            self.open.insert(id, Usage { turns: 1, ..used });
        }
    }

    pub(super) fn end_turn(&mut self, ending: Ending) {
        self.open.clear();
        add(&mut self.usage, &ending.usage);
        for denial in &ending.denials {
            self.tools.deny(denial.clone());
        }
        self.session_id = ending.session_id.clone().or(self.session_id.take());
        self.waits_for = None;
        self.ending = Some(ending);
    }
}

impl Ending {
    pub(super) fn new(line: Line, cwd: Option<&str>) -> Self {
        let denials = line.permission_denials.0.iter().map(|denial| Denial {
            tool: one_line(&denial.0.tool_name.text(), 100),
            tool_use_id: one_line(&denial.0.tool_use_id.text(), 100),
            summary: tool::summary(&denial.0.tool_input.0, cwd),
            writes: tool::EDITORS.contains(&denial.0.tool_name.as_str().unwrap_or_default()),
        });
        Self {
            // Only a plain "no" counts: an ending without the field is no success.
            ok: line.is_error.as_bool() == Some(false) && line.subtype.as_str() == Some("success"),
            denials: denials.collect(),
            usage: usage(&line),
            text: line.result.into_text().unwrap_or_else(|| joined(&line.errors)),
            subtype: line.subtype.into_text(),
            terminal_reason: line.terminal_reason.into_text(),
            stop_reason: line.stop_reason.into_text(),
            api_status: line.api_error_status.as_count().and_then(|status| u16::try_from(status).ok()),
            session_id: line.session_id.into_text(),
        }
    }
}

fn add(sum: &mut Usage, turn: &Usage) {
    sum.input_tokens = sum.input_tokens.saturating_add(turn.input_tokens);
    sum.output_tokens = sum.output_tokens.saturating_add(turn.output_tokens);
    sum.cache_read_tokens = sum.cache_read_tokens.saturating_add(turn.cache_read_tokens);
    sum.cache_write_tokens = sum.cache_write_tokens.saturating_add(turn.cache_write_tokens);
    sum.cost_usd_micros = match (sum.cost_usd_micros, turn.cost_usd_micros) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    sum.session_cost_usd_micros = turn.session_cost_usd_micros.or(sum.session_cost_usd_micros);
    sum.turns = sum.turns.saturating_add(turn.turns);
    sum.duration_ms = sum.duration_ms.saturating_add(turn.duration_ms);
}

pub(super) fn judge(run: &Run, exit: StepExit) -> AgentVerdict {
    let outcome = outcome(run, exit);
    // The result of a vain resume repeats the id that was asked for.
    let denied = u32::try_from(run.tools.denied.len()).unwrap_or(u32::MAX);
    let no_session = matches!(outcome, AgentOutcome::Failed { fault: Fault::SessionUnknown, .. });
    AgentVerdict {
        outcome,
        began_session: false,
        session_id: run.session_id.clone().filter(|_| !no_session),
        usage: run.open.values().fold(run.usage, |mut sum, answer| {
            add(&mut sum, answer);
            sum
        }),
        tools: ToolUses { permitted: run.uses.saturating_sub(denied), ..run.tools.clone() },
        auth_source: run.auth.clone(),
        agent_version: run.version.clone(),
        model: run.model.clone(),
    }
}

fn outcome(run: &Run, exit: StepExit) -> AgentOutcome {
    let Some(ending) = &run.ending else {
        let (fault, message) = cut_off(run, exit);
        return AgentOutcome::Failed { fault, message };
    };
    if ending.ok && ending.stop_reason.as_deref() != Some("refusal") {
        if exit.succeeded() {
            return AgentOutcome::Succeeded { summary: visible(&ending.text, SUMMARY_BYTES_MAX) };
        }
        let (fault, message) = exit.fault(run.last_words.as_str());
        return AgentOutcome::Failed { fault, message };
    }
    let fault = fault(run, ending);
    let message = if fault == Fault::Interrupted {
        "the agent was interrupted before it was done".to_owned()
    } else if ending.text.trim().is_empty() {
        let subtype = ending.subtype.as_deref().unwrap_or("no reason");
        format!("the agent gave up: {}", one_line(subtype, 100))
    } else {
        visible(ending.text.trim(), MESSAGE_BYTES_MAX)
    };
    AgentOutcome::Failed { fault, message }
}

/// The fault of a run that left no result.
fn cut_off(run: &Run, exit: StepExit) -> (Fault, String) {
    if let Some(tool) = &run.waits_for {
        let tool = one_line(tool, 100);
        return (
            Fault::NeedsInput,
            format!("the agent asked for permission to use {tool} and got no answer"),
        );
    }
    let (fault, message) = exit.fault(run.last_words.as_str());
    let last_words = run.last_words.as_str();
    let fault = match fault {
        Fault::Crashed if last_words.contains(SESSION_UNKNOWN) => Fault::SessionUnknown,
        Fault::Crashed if last_words.contains("Session ID ") && last_words.contains(SESSION_IN_USE) => {
            Fault::SessionInUse
        }
        other => other,
    };
    (fault, message)
}

/// The fault that a result event tells. The reason is looked at before the subtype, which says `success` over API
/// errors.
fn fault(run: &Run, ending: &Ending) -> Fault {
    let reason = ending.terminal_reason.as_deref().unwrap_or_default();
    let subtype = ending.subtype.as_deref().unwrap_or_default();
    if ending.stop_reason.as_deref() == Some("refusal") {
        return Fault::Refused;
    }
    match (reason, subtype) {
        ("max_turns", _) | (_, "error_max_turns") => Fault::MaxTurns,
        ("budget_exhausted", _) | (_, "error_max_budget_usd") => Fault::MaxBudget,
        ("aborted_streaming" | "aborted_tools", _) => Fault::Interrupted,
        ("prompt_too_long", _) => Fault::ContextFull,
        ("api_error", _) | (_, "success") => api_fault(run, ending),
        _ if ending.text.contains(SESSION_UNKNOWN) => Fault::SessionUnknown,
        _ => Fault::Crashed,
    }
}

fn api_fault(run: &Run, ending: &Ending) -> Fault {
    let tag = run.api_error_tag.as_deref().unwrap_or_default();
    // No key in use: this is a subscription, or nobody is logged in.
    let without_key = run.auth.as_deref() == Some("none");
    // A login that is refused has the tag with 401 and with 403, a token that was revoked as well as a key.
    if tag == "authentication_failed" {
        return Fault::NotLoggedIn;
    }
    match ending.api_status {
        Some(401) => Fault::NotLoggedIn,
        None if without_key && ending.text.starts_with("Not logged in") => Fault::NotLoggedIn,
        // A subscription says that its window is used up, and when that ends; any other 429 is a limit per minute, or a
        // server that is full, and passes by itself.
        Some(429) if run.limit_reached.is_some() || without_key && says_used_up(&ending.text) => {
            usage_limit(run, &ending.text)
        }
        None if tag == "rate_limit" && run.limit_reached.is_some() => usage_limit(run, &ending.text),
        Some(400 | 413) if ending.text.trim() == CONTEXT_FULL => Fault::ContextFull,
        // 503 and 529 are said by servers that are full: RFC 9110 section 15.6.4, and Anthropic's own number.
        Some(429 | 503 | 529) => Fault::Overloaded { again_at: None },
        status => Fault::ApiError { status },
    }
}

fn usage_limit(run: &Run, text: &str) -> Fault {
    let (resets_at, window) = run.limit_reached.unwrap_or_default();
    Fault::UsageLimit { resets_at, window: window.or_else(|| LimitWindow::of_words(text)) }
}

/// The words in which a subscription is used up, of this year's versions and of those that say when in Unix time.
fn says_used_up(text: &str) -> bool {
    text.contains("usage limit reached") || text.starts_with("You've hit your ") && text.contains("limit")
}

/// Tokens and money of this turn alone. `total_cost_usd` and `modelUsage` grow over a whole resumed session, and
/// `usage` is zero after an interrupt; the difference since the last result is right in all cases. Where it is missing
/// only the session's cost is known.
fn usage(line: &Line) -> Usage {
    let session_cost_usd_micros = micros(&line.total_cost_usd);
    let mut usage = Usage {
        session_cost_usd_micros,
        turns: u32::try_from(line.num_turns.as_count().unwrap_or(0)).unwrap_or(u32::MAX),
        duration_ms: line.duration_ms.as_count().unwrap_or(0),
        ..Usage::default()
    };
    let models = &line.model_usage_since_last_result.0;
    if models.is_empty() {
        let Usage { session_cost_usd_micros, turns, duration_ms, .. } = usage;
        return Usage { session_cost_usd_micros, turns, duration_ms, ..tokens_of(&line.usage.0) };
    }
    let sum = |field: fn(&super::shapes::ModelUsage) -> Option<u64>| {
        models.iter().filter_map(|model| field(&model.0)).fold(0, u64::saturating_add)
    };
    usage.input_tokens = sum(|model| model.input_tokens.as_count());
    usage.output_tokens = sum(|model| model.output_tokens.as_count());
    usage.cache_read_tokens = sum(|model| model.cache_read_input_tokens.as_count());
    usage.cache_write_tokens = sum(|model| model.cache_creation_input_tokens.as_count());
    usage.cost_usd_micros = Some(sum(|model| micros(&model.cost_usd)));
    usage
}

fn tokens_of(told: &TurnUsage) -> Usage {
    let count = |field: &Scalar| field.as_count().unwrap_or(0);
    Usage {
        input_tokens: count(&told.input_tokens),
        output_tokens: count(&told.output_tokens),
        cache_read_tokens: count(&told.cache_read_input_tokens),
        cache_write_tokens: count(&told.cache_creation_input_tokens),
        ..Usage::default()
    }
}

/// Dollars to millionths; absent, negative and absurd amounts are absent.
fn micros(dollars: &Scalar) -> Option<u64> {
    /// More than any budget, less than where a double loses millionths.
    const DOLLARS_MAX: f64 = 1e9;
    dollars
        .as_amount()
        .filter(|amount| *amount <= DOLLARS_MAX)
        .and_then(|amount| Scalar::Number(amount * 1e6).as_count())
}

fn joined(errors: &Content<Scalar>) -> String {
    match errors {
        Content::Text(text) => text.clone(),
        Content::Blocks(errors) => {
            let texts: Vec<&str> = errors.iter().filter_map(Scalar::as_str).collect();
            texts.join("; ")
        }
    }
}
