//! How a run of opencode ended: by an error, or by the reason of its last step, and the exit has to agree.

use super::shapes::{Failure, Part};
use crate::agent::last_words::LastWords;
use crate::agent::lenient::Scalar;
use crate::agent::status::{fault_of, limit_passed_on};
use crate::agent::text::visible;
use crate::agent::verdict::{
    AgentOutcome, AgentVerdict, Fault, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX, StepExit, ToolUses, Usage,
};
use crate::domain::hold::LimitWindow;

/// What it says of a session that it does not have, on stderr alone.
const SESSION_UNKNOWN: &str = "Session not found";

/// Everything read so far that the verdict needs.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) session_id: Option<String>,
    /// The newest text of the agent: its closing words, once the last step is over.
    pub(super) said: String,
    /// The tool that was asked for and refused, because nobody was there to be asked: the run ends with it.
    pub(super) asked_for: Option<String>,
    pub(super) last_words: LastWords,
    /// Why the newest step was over.
    last_reason: Option<String>,
    failure: Option<(Fault, String)>,
    usage: Usage,
    pub(super) tools: ToolUses,
}

impl Run {
    pub(super) fn begin_step(&mut self) {
        self.last_reason = None;
        self.asked_for = None;
    }

    pub(super) fn end_step(&mut self, part: &Part) {
        let count = |field: &Scalar| field.as_count().unwrap_or(0);
        let (sum, tokens) = (&mut self.usage, &part.tokens.0);
        sum.input_tokens = sum.input_tokens.saturating_add(count(&tokens.input));
        let output = count(&tokens.output).saturating_add(count(&tokens.reasoning));
        sum.output_tokens = sum.output_tokens.saturating_add(output);
        sum.cache_read_tokens = sum.cache_read_tokens.saturating_add(count(&tokens.cache.0.read));
        sum.cache_write_tokens = sum.cache_write_tokens.saturating_add(count(&tokens.cache.0.write));
        if let Some(micros) = micros(&part.cost) {
            sum.cost_usd_micros = Some(sum.cost_usd_micros.unwrap_or(0).saturating_add(micros));
        }
        sum.turns = sum.turns.saturating_add(1);
        self.last_reason = part.reason.clone().into_text();
    }

    pub(super) fn turns(&self) -> u32 {
        self.usage.turns
    }

    pub(super) fn cost_usd_micros(&self) -> Option<u64> {
        self.usage.cost_usd_micros
    }

    /// Takes the first error; those after it are its consequences.
    pub(super) fn fail(&mut self, failure: &Failure) {
        let message = failure.data.0.message.text();
        self.failure.get_or_insert_with(|| (fault_told(failure), message));
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
    let failed = |fault, message: &str| AgentOutcome::Failed { fault, message: message.to_owned() };
    if let Some((fault, message)) = &run.failure {
        return failed(*fault, &visible(message.trim(), MESSAGE_BYTES_MAX));
    }
    if exit.succeeded() {
        match (run.last_reason.as_deref(), &run.asked_for) {
            (Some("stop"), _) => {
                return AgentOutcome::Succeeded { summary: visible(&run.said, SUMMARY_BYTES_MAX) };
            }
            (_, Some(tool)) => {
                let message = format!("the agent asked for permission to use {tool} and got no answer");
                return AgentOutcome::Failed { fault: Fault::NeedsInput, message };
            }
            (Some("length"), _) => {
                return failed(
                    Fault::ApiError { status: None },
                    "the model's answer was cut off for its length",
                );
            }
            (Some("content-filter"), _) => return failed(Fault::Refused, "the model's answer was blocked"),
            _ => {}
        }
    }
    let (fault, message) = exit.fault(run.last_words.as_str());
    if fault == Fault::Crashed
        && run.session_id.is_none()
        && run.last_words.as_str().contains(SESSION_UNKNOWN)
    {
        return AgentOutcome::Failed { fault: Fault::SessionUnknown, message };
    }
    AgentOutcome::Failed { fault, message }
}

/// The fault that an error tells. What is not known is an error of the API and never a hold.
fn fault_told(failure: &Failure) -> Fault {
    let data = &failure.data.0;
    let headers = &data.response_headers.0;
    if headers.limit_status.as_str() == Some("rejected") {
        let resets_at = headers.limit_reset.as_str().and_then(|text| text.parse().ok());
        let window = headers.limit_claim.as_str().map(LimitWindow::of_claim);
        return Fault::UsageLimit { resets_at: resets_at.filter(|at| *at > 0), window };
    }
    if let Some(resets_at) = limit_passed_on(data.response_body.as_str().unwrap_or_default()) {
        return Fault::UsageLimit { resets_at, window: None };
    }
    match failure.name.as_str().unwrap_or_default() {
        "ProviderAuthError" => Fault::NotLoggedIn,
        "ContentFilterError" => Fault::Refused,
        "ContextOverflowError" => Fault::ContextFull,
        "MessageAbortedError" => Fault::Interrupted,
        _ => fault_of(data.status_code.as_count().and_then(|status| u16::try_from(status).ok())),
    }
}

/// Dollars to millionths; absent, negative and absurd amounts are absent.
fn micros(dollars: &Scalar) -> Option<u64> {
    /// More than any budget, less than where a double loses millionths.
    const DOLLARS_MAX: f64 = 1e9;
    let amount = dollars.as_amount().filter(|amount| *amount <= DOLLARS_MAX)?;
    Scalar::Number(amount * 1e6).as_count()
}
