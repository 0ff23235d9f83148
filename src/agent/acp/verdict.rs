//! How a turn ended: the agent gives the reason why it stopped, or an error instead; else its exit is all there is.

use super::shapes::{Line, PromptAnswer, Update};
use crate::agent::last_words::LastWords;
use crate::agent::lenient::Scalar;
use crate::agent::status::{fault_of, limit_passed_on, status_behind};
use crate::agent::text::visible;
use crate::agent::verdict::{
    AgentOutcome, AgentVerdict, Fault, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX, StepExit, ToolUses, Usage,
};
use crate::agent::{claude::verdict as claude, codex::verdict as codex, gemini::verdict as gemini};

/// Errors that the protocol gives a number.
const AUTH_REQUIRED: f64 = -32_000.0;
const CANCELLED: f64 = -32_800.0;
/// One of the two has not understood the other: what comes of that is no word on the model's API.
const NOT_UNDERSTOOD: [f64; 4] = [-32_700.0, -32_600.0, -32_601.0, -32_602.0];

/// Who does not get over its first words is no agent of this protocol, or none of this version.
const FIRST: &str = "initialize";
/// The step at which the model is asked. What fails at another one without a status is no word on its API.
const TURN: &str = "session/prompt";

/// How agents that others speak for say that the conversation is too long.
const CONTEXT_FULL: [&str; 3] = [claude::CONTEXT_FULL, codex::CONTEXT_FULL, gemini::CONTEXT_FULL];

/// What claude says to `bypassPermissions` as root outside of a sandbox.
const BYPASS_REFUSED: &str = "bypass_root";

/// A full server (RFC 6585 section 4) and a line that is down (errno(3)), as programs put them into words.
const PASSING: [&str; 6] =
    ["Too Many Requests", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN"];

/// The steps at which an earlier conversation is asked for.
const OF_THE_SESSION: [&str; 2] = ["session/load", "session/resume"];

/// Everything read so far that the verdict needs.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) session_id: Option<String>,
    /// The conversation began with this turn.
    is_new: bool,
    version: Option<String>,
    /// The newest text of the agent: its closing words, once the turn is over.
    pub(super) said: String,
    /// The tool that was asked for when nobody was there to be asked.
    pub(super) asked_for: Option<String>,
    pub(super) last_words: LastWords,
    pub(super) tools: ToolUses,
    ending: Option<Ending>,
    usage: Usage,
}

#[derive(Debug)]
enum Ending {
    Stopped(String),
    Failed(Fault, String),
}

impl Run {
    /// The turn: its prompt is sent next, and that is what counts as one.
    pub(super) fn begin(&mut self, session_id: Option<String>, version: Option<String>, is_new: bool) {
        self.session_id = session_id;
        self.version = version;
        self.is_new = is_new;
        self.usage.turns = 1;
    }

    /// Tokens of the context, and what the session has cost so far where that is told in dollars.
    pub(super) fn use_up(&mut self, update: &Update) {
        let cost = &update.cost.0;
        if cost.currency.as_str() == Some("USD")
            && let Some(micros) = micros(&cost.amount)
        {
            self.usage.session_cost_usd_micros = Some(micros);
        }
    }

    pub(super) fn turns(&self) -> u32 {
        self.usage.turns
    }

    pub(super) fn end(&mut self, answer: &PromptAnswer) {
        let count = |field: &Scalar| field.as_count().unwrap_or(0);
        let (told, quota) = (&answer.usage.0, &answer.meta.0.quota.0.token_count.0);
        let input = told.input_tokens.as_count().or(quota.input_tokens.as_count());
        let output = told.output_tokens.as_count().or(quota.output_tokens.as_count());
        self.usage.input_tokens = input.unwrap_or(0);
        self.usage.output_tokens = output.unwrap_or(0).saturating_add(count(&told.thought_tokens));
        // the protocol has it so; gemini's own field is of the turn
        self.usage.tokens_of_session = told.input_tokens.as_count().is_some();
        self.usage.cache_read_tokens = count(&told.cached_read_tokens);
        self.usage.cache_write_tokens = count(&told.cached_write_tokens);
        self.ending = Some(Ending::Stopped(answer.stop_reason.text()));
    }

    /// Whether it was told how the turn ended.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the turn came to its own end.
    pub(super) fn is_done(&self) -> bool {
        matches!(&self.ending, Some(Ending::Stopped(reason)) if reason == "end_turn")
            && self.asked_for.is_none()
    }

    pub(super) fn fail(&mut self, line: &Line) {
        let told = line.message.text();
        let data = &line.data.0;
        let details = data.details.as_str().or(data.error.as_str()).unwrap_or_default();
        let text = if details.is_empty() { told.clone() } else { format!("{told}: {details}") };
        let limit = [details, told.as_str(), text.as_str()].into_iter().find_map(limit_passed_on);
        self.ending = Some(Ending::Failed(fault_told(line, &text, limit), text));
    }
}

pub(super) fn judge(run: &Run, exit: StepExit) -> AgentVerdict {
    AgentVerdict {
        session_id: run.session_id.clone(),
        began_session: run.is_new,
        usage: run.usage,
        tools: run.tools.clone(),
        agent_version: run.version.clone(),
        ..AgentVerdict::plain(outcome(run, exit))
    }
}

fn outcome(run: &Run, exit: StepExit) -> AgentOutcome {
    let failed = |fault, message: &str| AgentOutcome::Failed { fault, message: message.to_owned() };
    // an agent that is told to stop may well exit instead
    if let Some(tool) = &run.asked_for {
        let message = format!("the agent asked for permission to use {tool}, and nobody was there to answer");
        return AgentOutcome::Failed { fault: Fault::NeedsInput, message };
    }
    match &run.ending {
        Some(Ending::Failed(fault, message)) => failed(*fault, &visible(message.trim(), MESSAGE_BYTES_MAX)),
        Some(Ending::Stopped(reason)) if exit.succeeded() => match reason.as_str() {
            "end_turn" => AgentOutcome::Succeeded { summary: visible(&run.said, SUMMARY_BYTES_MAX) },
            "max_tokens" => {
                failed(Fault::ApiError { status: None }, "the model's answer was cut off for its length")
            }
            "max_turn_requests" => {
                failed(Fault::MaxTurns, "the agent had asked its model as often as it may")
            }
            "refusal" => {
                let said = visible(run.said.trim(), MESSAGE_BYTES_MAX);
                failed(Fault::Refused, if said.is_empty() { "the agent refused to go on" } else { &said })
            }
            "cancelled" => failed(Fault::Interrupted, "the turn was cancelled before it was done"),
            other => {
                let other = visible(other, MESSAGE_BYTES_MAX);
                failed(
                    Fault::Crashed,
                    &format!("the agent stopped for a reason that is not known: {other:?}"),
                )
            }
        },
        Some(Ending::Stopped(_)) | None => {
            let (fault, message) = exit.fault(run.last_words.as_str());
            AgentOutcome::Failed { fault, message }
        }
    }
}

/// What an error means. One that says nothing of itself is an error of the API and never a hold.
#[expect(clippy::option_option, reason = "a limit, and whether its end is known")]
fn fault_told(line: &Line, text: &str, limit: Option<Option<i64>>) -> Fault {
    let step = line.step.as_str().unwrap_or_default();
    match line.why.as_str() {
        Some("missing" | "version") => return Fault::ProgramMissing,
        // it neither says who it is nor why it does not
        Some("deadline" | "closed" | "other") if step == FIRST => return Fault::ProgramMissing,
        Some("not_offered") if step == "settings" => return Fault::Unsupported,
        Some("not_offered") => return Fault::SessionUnknown,
        Some(_) => return Fault::Crashed,
        None => {}
    }
    let code = match line.code {
        Scalar::Number(code) => code,
        _ => 0.0,
    };
    if code == AUTH_REQUIRED {
        return Fault::NotLoggedIn;
    }
    if step == FIRST {
        return Fault::ProgramMissing;
    }
    if text.contains(BYPASS_REFUSED) {
        return Fault::Unsupported;
    }
    if let Some(resets_at) = limit {
        return Fault::UsageLimit { resets_at, window: None };
    }
    let told = status_told(line, text).map(|status| fault_of(Some(status)));
    if let Some(passing @ (Fault::Overloaded { .. } | Fault::NotLoggedIn)) = told {
        return passing;
    }
    if OF_THE_SESSION.contains(&step) {
        // a conversation that is there, behind a line that is not, is asked for again instead of paid anew
        let passes = PASSING.iter().any(|words| text.contains(words));
        return if passes { Fault::Overloaded { again_at: None } } else { Fault::SessionUnknown };
    }
    if NOT_UNDERSTOOD.contains(&code) {
        return Fault::Crashed;
    }
    if code == CANCELLED {
        return Fault::Interrupted;
    }
    if CONTEXT_FULL.iter().any(|words| text.contains(words)) {
        return Fault::ContextFull;
    }
    match told {
        Some(fault) => fault,
        None if step == TURN => Fault::ApiError { status: None },
        None => Fault::Crashed,
    }
}

/// The status of the model's API; gemini puts it in the place of the number.
fn status_told(line: &Line, text: &str) -> Option<u16> {
    let code = line.code.as_count().and_then(|code| u16::try_from(code).ok());
    code.filter(|code| (400..600).contains(code))
        .or_else(|| status_behind(text, &["\"code\":", "status code ", "status: ", "API Error: "]))
}

/// Dollars to millionths; absent, negative and absurd amounts are absent.
fn micros(dollars: &Scalar) -> Option<u64> {
    /// More than any budget, less than where a double loses millionths.
    const DOLLARS_MAX: f64 = 1e9;
    let amount = dollars.as_amount().filter(|amount| *amount <= DOLLARS_MAX)?;
    Scalar::Number(amount * 1e6).as_count()
}
