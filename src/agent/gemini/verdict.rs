//! How a run of Gemini CLI ended: its result says so, and the exit has to agree. It exits with the status of the API
//! cut to eight bits (401 becomes 145), so the exit alone is no word on signals where there is a result.

use super::shapes::{Failure, Stats};
use crate::agent::last_words::LastWords;
use crate::agent::lenient::Scalar;
use crate::agent::status::{fault_of, status_behind};
use crate::agent::text::visible;
use crate::agent::verdict::{
    AgentOutcome, AgentVerdict, Fault, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX, StepExit, Usage,
};

/// How the message begins that means a used-up allowance, behind what every message of the API begins with. The end of
/// it is not told.
const USAGE_LIMIT: &str = "You have exhausted your daily quota";
const API_ERROR: &str = "[API Error: ";

/// What the message of the API holds where a conversation does not fit any more.
const CONTEXT_FULL: &str = "exceeds the maximum number of tokens allowed";

/// What it says of a conversation that it does not have, on stderr alone. One whose first turn failed was never kept.
const SESSION_UNKNOWN: &str = "Error resuming session: ";

/// Exit codes of its own, said without a result: no login that could be used, and the limit of turns of its settings.
const EXIT_NOT_LOGGED_IN: i32 = 41;
const EXIT_TURNS: i32 = 53;

/// Everything read so far that the verdict needs.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) session_id: Option<String>,
    pub(super) model: Option<String>,
    /// The newest text of the agent: its closing words, once the run is over.
    pub(super) said: String,
    pub(super) last_words: LastWords,
    ending: Option<Result<(), (Fault, String)>>,
    usage: Usage,
}

impl Run {
    pub(super) fn begin(&mut self) {
        self.ending = None;
    }

    pub(super) fn end(&mut self, ok: bool, failure: &Failure, stats: &Stats) {
        let count = |field: &Scalar| field.as_count().unwrap_or(0);
        let cached = count(&stats.cached);
        self.usage = Usage {
            input_tokens: count(&stats.input_tokens).saturating_sub(cached),
            output_tokens: count(&stats.output_tokens),
            cache_read_tokens: cached,
            duration_ms: count(&stats.duration_ms),
            ..Usage::default()
        };
        self.ending = Some(if ok { Ok(()) } else { Err((fault_told(failure), failure.message.text())) });
    }
}

pub(super) fn judge(run: &Run, exit: StepExit) -> AgentVerdict {
    AgentVerdict {
        session_id: run.session_id.clone(),
        usage: run.usage,
        model: run.model.clone(),
        ..AgentVerdict::plain(outcome(run, exit))
    }
}

fn outcome(run: &Run, exit: StepExit) -> AgentOutcome {
    let (fault, message) = match &run.ending {
        Some(Ok(())) if exit.succeeded() => {
            return AgentOutcome::Succeeded { summary: visible(&run.said, SUMMARY_BYTES_MAX) };
        }
        Some(Err((fault, message))) => (*fault, visible(message.trim(), MESSAGE_BYTES_MAX)),
        Some(Ok(())) | None => {
            let (fault, message) = exit.fault(run.last_words.as_str());
            let fault = match exit.code {
                Some(EXIT_NOT_LOGGED_IN) => Fault::NotLoggedIn,
                Some(EXIT_TURNS) => Fault::MaxTurns,
                Some(_) if run.last_words.as_str().contains(SESSION_UNKNOWN) => Fault::SessionUnknown,
                _ => fault,
            };
            (fault, message)
        }
    };
    AgentOutcome::Failed { fault, message }
}

/// The fault that a result tells. What is not known is an error of the API and never a hold.
fn fault_told(failure: &Failure) -> Fault {
    let message = failure.message.as_str().unwrap_or_default().trim();
    if message.strip_prefix(API_ERROR).unwrap_or(message).starts_with(USAGE_LIMIT) {
        return Fault::UsageLimit { resets_at: None };
    }
    if message.contains(CONTEXT_FULL) {
        return Fault::ContextFull;
    }
    if failure.r#type.as_str() == Some("FatalTurnLimitedError") {
        return Fault::MaxTurns;
    }
    fault_of(status_behind(message, &["\"code\":", "got status: "]))
}
