//! How a run of codex ended: its last turn says so, and the exit has to agree. Without the end of a turn it was cut off.

use super::shapes::TokenUsage;
use crate::agent::last_words::LastWords;
use crate::agent::status::{fault_of, limit_passed_on, status_behind};
use crate::agent::text::visible;
use crate::agent::verdict::{
    AgentOutcome, AgentVerdict, Fault, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX, StepExit, ToolUses, Usage,
};

/// How the answers begin that mean a used-up allowance. They tell the reset in words of the machine's own time zone
/// ("try again at 3:05 PM"), which is no time that could be counted on: the login is looked at again and again instead.
const USAGE_LIMIT: &[&str] = &[
    "You've hit your usage limit",
    "Quota exceeded. Check your plan and billing details",
    "Your workspace is out of credits",
    "You hit your spend cap",
];

/// What the answers contain that ask for a login: a key of an own provider is missing, or a token was refused.
const NOT_LOGGED_IN: &[&str] = &[
    "Missing environment variable: ",
    "Your access token could not be refreshed",
    "Please log out and sign in again",
    "codex login",
];

const OVERLOADED: &[&str] = &["We're currently experiencing high demand", "Selected model is at capacity"];

const REFUSED: &[&str] = &["Invalid prompt: ", "This request has been flagged"];

/// How it begins where the conversation does not fit any more.
pub(in crate::agent) const CONTEXT_FULL: &str = "Codex ran out of room in the model's context window.";

/// Where the status of the API stands in a message.
const STATUS_MARKS: &[&str] = &["unexpected status ", "last status: "];

/// What it says of a thread that it does not have, on stderr alone.
const SESSION_UNKNOWN: &[&str] =
    &["no rollout found for thread id", "no rollout found for conversation id", "no thread with id"];

/// Everything read so far that the verdict needs.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) session_id: Option<String>,
    /// The newest message of the agent: its closing words, once the turn is over.
    pub(super) said: String,
    /// The newest error that no turn has answered for yet.
    pub(super) trouble: Option<String>,
    pub(super) last_words: LastWords,
    ending: Option<Ending>,
    usage: Usage,
    pub(super) tools: ToolUses,
}

#[derive(Debug)]
enum Ending {
    Completed,
    Failed(String),
}

impl Run {
    /// A new turn in the same process: what the one before it said about its end no longer holds.
    pub(super) fn begin_turn(&mut self) {
        self.ending = None;
        self.trouble = None;
    }

    pub(super) fn completed(&mut self, total: &TokenUsage) {
        let count = |field: &crate::agent::lenient::Scalar| field.as_count().unwrap_or(0);
        let cached = count(&total.cached_input_tokens);
        self.usage = Usage {
            input_tokens: count(&total.input_tokens).saturating_sub(cached),
            output_tokens: count(&total.output_tokens),
            cache_read_tokens: cached,
            cache_write_tokens: count(&total.cache_write_input_tokens),
            ..Usage::default()
        };
        self.ending = Some(Ending::Completed);
    }

    pub(super) fn failed(&mut self, message: String) {
        self.ending = Some(Ending::Failed(message));
    }
}

pub(super) fn judge(run: &Run, exit: StepExit) -> AgentVerdict {
    AgentVerdict {
        session_id: run.session_id.clone(),
        usage: run.usage,
        tools: run.tools.clone(),
        ..AgentVerdict::plain(outcome(run, exit))
    }
}

fn outcome(run: &Run, exit: StepExit) -> AgentOutcome {
    let (fault, message) = match &run.ending {
        Some(Ending::Completed) if exit.succeeded() => {
            return AgentOutcome::Succeeded { summary: visible(&run.said, SUMMARY_BYTES_MAX) };
        }
        Some(Ending::Completed) => exit.fault(run.last_words.as_str()),
        Some(Ending::Failed(message)) => (fault_told(message), visible(message.trim(), MESSAGE_BYTES_MAX)),
        None => cut_off(run, exit),
    };
    AgentOutcome::Failed { fault, message }
}

/// The fault of a run whose turn has no end.
fn cut_off(run: &Run, exit: StepExit) -> (Fault, String) {
    let (fault, message) = exit.fault(run.trouble.as_deref().unwrap_or(run.last_words.as_str()));
    let unknown = SESSION_UNKNOWN.iter().any(|words| run.last_words.as_str().contains(words));
    if fault == Fault::Crashed && unknown && run.session_id.is_none() {
        return (Fault::SessionUnknown, message);
    }
    (fault, message)
}

/// The fault that the message of a failed turn tells. What is not known is an error of the API and never a hold.
fn fault_told(message: &str) -> Fault {
    let message = message.trim().replace('\u{2019}', "'");
    let begins = |words: &[&str]| words.iter().any(|words| message.starts_with(words));
    if let Some(resets_at) = limit_passed_on(&message) {
        return Fault::UsageLimit { resets_at, window: None };
    }
    if begins(USAGE_LIMIT) {
        return Fault::UsageLimit { resets_at: None, window: None };
    }
    if begins(OVERLOADED) {
        return Fault::Overloaded { again_at: None };
    }
    if begins(REFUSED) {
        return Fault::Refused;
    }
    if begins(&[CONTEXT_FULL]) {
        return Fault::ContextFull;
    }
    if message.starts_with("internal error") {
        return Fault::Crashed;
    }
    let status = status_behind(&message, STATUS_MARKS);
    if status.is_none() && NOT_LOGGED_IN.iter().any(|words| message.contains(words)) {
        return Fault::NotLoggedIn;
    }
    fault_of(status)
}
