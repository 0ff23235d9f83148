//! How a run of Gemini CLI ended: its result says so, and the exit has to agree. It exits with the status of the API
//! cut to eight bits (401 becomes 145), so the exit alone is no word on signals where there is a result, and the only word on the
//! status where it puts the API's answer in words of its own (429, 503). Ended by a signal it often exits with 0 and no result.

use super::shapes::{Failure, Stats};
use super::waits::{CAPACITY_USED_UP, delay_seconds, renewal_seconds};
use crate::agent::event::NAP_MS_MAX;
use crate::agent::last_words::LastWords;
use crate::agent::lenient::Scalar;
use crate::agent::status::{fault_of, status_behind};
use crate::agent::text::visible;
use crate::agent::verdict::{
    AgentOutcome, AgentVerdict, Fault, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX, StepExit, Usage,
};

/// How the messages begin that mean a used-up allowance, behind what every message of the API begins with. The end of
/// the first is not told.
const USAGE_LIMIT: [&str; 2] = ["You have exhausted your daily quota", CAPACITY_USED_UP];
const API_ERROR: &str = "[API Error: ";

/// What a 400 holds for a key that is none: not a fault of what was asked.
const KEY_REFUSED: [&str; 3] = ["API key not valid", "API key expired", "API_KEY_INVALID"];

/// What the message of the API holds where a conversation does not fit any more.
pub(in crate::agent) const CONTEXT_FULL: &str = "exceeds the maximum number of tokens allowed";

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
    /// Unix seconds of the newest line that tells its time.
    now: Option<i64>,
    waits: Option<Waits>,
}

/// What it waits for before it asks again, until something else is heard of it.
#[derive(Debug)]
struct Waits {
    delay_ms: u64,
    is_used_up: bool,
    resets_at: Option<i64>,
    told: String,
}

impl Run {
    pub(super) fn begin(&mut self) {
        self.ending = None;
    }

    /// A line on standard output: it goes on.
    pub(super) fn heard(&mut self, timestamp: Option<&str>) {
        self.waits = None;
        let told = timestamp.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        self.now = told.map(jiff::Timestamp::as_second).or(self.now);
    }

    /// It waits after a try that failed for what `line` says. `Some` where that is a used-up allowance, with the time of its
    /// renewal.
    #[expect(clippy::option_option, reason = "a limit, and whether its end is known")]
    pub(super) fn wait(&mut self, line: &str, delay_ms: u64) -> Option<Option<i64>> {
        let is_used_up = line.contains(CAPACITY_USED_UP);
        let seconds = renewal_seconds(line).or_else(|| delay_seconds(delay_ms));
        let resets_at = self.now.zip(seconds).and_then(|(now, seconds)| now.checked_add(seconds));
        self.waits = Some(Waits { delay_ms, is_used_up, resets_at, told: line.to_owned() });
        is_used_up.then_some(resets_at)
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
        self.ending =
            Some(if ok { Ok(()) } else { Err((fault_told(failure, self.now), failure.message.text())) });
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
        Some(Err((fault, message))) => {
            let fault = match fault {
                Fault::ApiError { status: None } => fault_of(status_of(exit)),
                fault => *fault,
            };
            (fault, visible(message.trim(), MESSAGE_BYTES_MAX))
        }
        None if let Some(waits) = waits_in_vain(run) => {
            let resets_at = waits.resets_at;
            (Fault::UsageLimit { resets_at, window: None }, visible(waits.told.trim(), MESSAGE_BYTES_MAX))
        }
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

/// It was ended while it slept, or went without a word: what it slept for is why. How it was ended says nothing: of a signal
/// it makes an exit with 0.
fn waits_in_vain(run: &Run) -> Option<&Waits> {
    run.waits.as_ref().filter(|waits| waits.is_used_up || waits.delay_ms >= NAP_MS_MAX)
}

/// The status of the API that it exited with. Its own codes are below those: 41 to 54, and 130.
fn status_of(exit: StepExit) -> Option<u16> {
    match u16::try_from(exit.code?).ok()? {
        17 => Some(529),
        cut @ 144..=255 => Some(256 + cut),
        _ => None,
    }
}

/// The fault that a result tells. What is not known is an error of the API and never a hold.
fn fault_told(failure: &Failure, now: Option<i64>) -> Fault {
    let message = failure.message.as_str().unwrap_or_default().trim();
    let told = message.strip_prefix(API_ERROR).unwrap_or(message);
    if USAGE_LIMIT.iter().any(|words| told.starts_with(words)) {
        let resets_at = now.zip(renewal_seconds(told)).and_then(|(now, seconds)| now.checked_add(seconds));
        return Fault::UsageLimit { resets_at, window: None };
    }
    if message.contains(CONTEXT_FULL) {
        return Fault::ContextFull;
    }
    if failure.r#type.as_str() == Some("FatalTurnLimitedError") {
        return Fault::MaxTurns;
    }
    let status = status_behind(message, &["\"code\":", "got status: "]);
    if matches!(status, None | Some(400)) && KEY_REFUSED.iter().any(|words| told.contains(words)) {
        return Fault::NotLoggedIn;
    }
    fault_of(status)
}
