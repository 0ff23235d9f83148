//! How a supervised step ended, and who wanted it to.
//!
//! The exit record alone does not say: what runs in a step may signal its supervisor, and write to its socket. A stop is believed
//! where a server has noted that it ordered it, or where none looked; an interruption where somebody has asked for it.

use std::time::Duration;

use crate::agent::{AgentEvent, AgentOutcome, AgentVerdict, Fault};
use crate::domain::hold::LimitWindow;
use crate::domain::step_limit::StepLimit;
use crate::domain::time::Timestamp;
use crate::process::{ExitCause, ExitRecord, Survivor};
use crate::wire::time::UtcTime;

/// The words with which a server ends a step, besides those of limits. In the exit record, or noted beside it.
pub(super) const STOP: &str = "stop";
pub(super) const CANCEL: &str = "cancel";

/// An agent that waits for what does not come, by the word with which it is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the answer of a person, about this tool.
    Person { tool: String },
    /// Until it asks the model's API again, with the limit of its login that it had told before.
    Api { status: Option<u16>, until: Timestamp, limit: Option<ToldLimit> },
}

impl Wait {
    const PERSON: &str = "needs_input";
    const API: &str = "long_wait";

    /// What the agent waits for from now on, if that is in vain. `at`: when it said so.
    pub(super) fn begun_by(event: &AgentEvent, at: Timestamp, limit: Option<ToldLimit>) -> Option<Self> {
        match event {
            AgentEvent::NeedsInput { tool } => Some(Self::Person { tool: tool.clone() }),
            AgentEvent::Retrying { delay_ms, status, .. } if event.is_nap() => {
                let until = at + Duration::from_millis(*delay_ms);
                Some(Self::Api { status: *status, until, limit })
            }
            _ => None,
        }
    }

    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Person { .. } => Self::PERSON,
            Self::Api { .. } => Self::API,
        }
    }

    /// How a run ends that was ended for it. What the agent says once it is being ended is no answer, but what it had told of its
    /// limit, alone or as its adapter has `judged` it, is more than how long it would have slept.
    pub(super) fn outcome(&self, judged: &AgentOutcome) -> AgentOutcome {
        let (status, until, limit) = match self {
            Self::Person { tool } => {
                let message = format!("the agent asked for permission to use {tool} and got no answer");
                return AgentOutcome::Failed { fault: Fault::NeedsInput, message };
            }
            Self::Api { status, until, limit } => (status, until, *limit),
        };
        // not before then, in whole seconds
        let next = Some(until.as_ms().div_euclid(1_000) + 1);
        let own = format!("the agent would ask the model's API again at {}", UtcTime(*until));
        let (fault, message) = match (judged, limit, status) {
            // a server that is full says so with 5xx; anything else is the login's own allowance
            (_, None, Some(500..=599)) => (Fault::Overloaded { again_at: next }, own),
            (AgentOutcome::Failed { fault: Fault::UsageLimit { resets_at, window }, message }, told, _) => {
                let told = told.unwrap_or_default();
                let resets_at = resets_at.or(told.resets_at).or(next);
                (Fault::UsageLimit { resets_at, window: window.or(told.window) }, message.clone())
            }
            (_, Some(told), _) => {
                let resets_at = told.resets_at.or(next);
                (Fault::UsageLimit { resets_at, window: told.window }, own)
            }
            (_, None, _) => (Fault::UsageLimit { resets_at: next, window: None }, own),
        };
        AgentOutcome::Failed { fault, message }
    }
}

/// A limit of its login that the agent has told, and that nothing which it told since has lifted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ToldLimit {
    /// Unix seconds.
    resets_at: Option<i64>,
    window: Option<LimitWindow>,
}

impl ToldLimit {
    /// What is known after `event`.
    pub(super) fn after(known: Option<Self>, event: &AgentEvent) -> Option<Self> {
        match event {
            AgentEvent::RateLimit { rejected, resets_at, window } => {
                let window = window.as_deref().map(LimitWindow::of_claim);
                rejected.then_some(Self { resets_at: *resets_at, window })
            }
            event => known.filter(|_| !event.is_progress()),
        }
    }
}

/// How a supervised step ended.
pub(super) enum StepEnd {
    /// Its shim left at the barrier: nothing ran.
    NotReleased,
    /// Its shim is dead and left no record.
    Lost {
        /// Who belonged to it when it was last looked at.
        members: Vec<Survivor>,
        /// The kernel killed for want of memory at that time.
        out_of_memory: bool,
        /// As far as it came to tell; `None` when its log cannot be read.
        verdict: Option<Box<AgentVerdict>>,
        /// It had told that it is done.
        done: bool,
        /// From its first word to its last.
        took_ms: u64,
    },
    Exited(Exited),
}

/// A step whose supervisor has told its end.
pub(super) struct Exited {
    pub(super) record: ExitRecord,
    pub(super) verdict: Box<AgentVerdict>,
    /// The limit for which it was ended, whoever held it.
    pub(super) limit: Option<StepLimit>,
    /// It was ended because somebody wanted that, as the record or this server says.
    pub(super) interrupted: bool,
    /// It was ended because somebody takes the job over, as the record or a server says.
    pub(super) attached: bool,
    /// It was ended because it waited in vain; the verdict says for what.
    pub(super) in_vain: bool,
    /// It had told that it is done, and was ended because its process was not.
    pub(super) done: bool,
    /// Its supervisor was told to stop while this server followed it, and by no server.
    pub(super) stopped_by_others: bool,
    /// Who belonged to it when it was last looked at.
    pub(super) members: Vec<Survivor>,
}

/// What this server has asked of a step.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) cancel: bool,
    /// To end, with a word that says why.
    pub(super) word: Option<&'static str>,
    pub(super) stop: bool,
    pub(super) limit: Option<StepLimit>,
}

/// The word with which a step was ended by order; `None`: by itself, for a limit of its supervisor, or by somebody else. `order`:
/// what a server has noted before it sent a signal, for a shim without a socket takes no word.
pub(super) fn word_of(record: &ExitRecord, order: Option<&str>) -> Option<String> {
    match record.cause {
        ExitCause::Ended => record.text.clone(),
        // a shim of an older program knows only this
        ExitCause::Cancelled => Some(CANCEL.to_owned()),
        ExitCause::Stopped => order.map(str::to_owned),
        _ => None,
    }
}

/// The limit that a step was ended for. Who ended by itself at that moment has its result.
pub(super) fn limit_of(record: &ExitRecord, word: Option<&str>, asked: &Asked) -> Option<StepLimit> {
    match record.cause {
        ExitCause::WallLimit => Some(StepLimit::Wall),
        ExitCause::OutputLimit => Some(StepLimit::Output),
        // a shim of an older program takes no word
        ExitCause::Cancelled if !asked.cancel => asked.limit,
        _ => word.and_then(StepLimit::parse),
    }
}

/// Whether a step that had told its result was ended for a reason that takes nothing from it. A cancel does, and so does what
/// has gone on filling the worktree, for that would be published.
pub(super) fn leaves_the_result(cause: ExitCause, limit: Option<StepLimit>) -> bool {
    let by_order = matches!(
        cause,
        ExitCause::WallLimit | ExitCause::OutputLimit | ExitCause::Ended | ExitCause::Stopped
    );
    by_order && !matches!(limit, Some(StepLimit::WorktreeBytes | StepLimit::WorktreeFiles))
}

#[cfg(test)]
mod tests {
    use super::super::inward::INTERRUPT;
    use super::*;
    use crate::process::ExitUsage;

    fn record(cause: ExitCause, text: Option<&str>) -> ExitRecord {
        ExitRecord {
            cause,
            code: None,
            signal: None,
            out_of_memory: false,
            text: text.map(str::to_owned),
            no_program: false,
            started_at_ms: 0,
            ended_at_ms: 0,
            output_bytes: 0,
            dropped_bytes: 0,
            survivors: 0,
            log_synced: true,
            usage: ExitUsage::default(),
        }
    }

    #[test]
    fn a_signal_means_what_was_noted_before_it() {
        let stopped = record(ExitCause::Stopped, None);
        assert_eq!(word_of(&stopped, None), None);
        assert_eq!(word_of(&stopped, Some(INTERRUPT)).as_deref(), Some(INTERRUPT));
        // a word that arrived stands, whatever was ordered besides
        let ended = record(ExitCause::Ended, Some("budget"));
        assert_eq!(word_of(&ended, Some(STOP)).as_deref(), Some("budget"));
        assert_eq!(word_of(&record(ExitCause::Exited, None), Some(STOP)), None);
        let none = Asked::default();
        assert_eq!(limit_of(&stopped, Some("idle"), &none), Some(StepLimit::Idle));
        assert_eq!(limit_of(&stopped, Some(STOP), &none), None);
        assert_eq!(limit_of(&record(ExitCause::WallLimit, None), None, &none), Some(StepLimit::Wall));
        let idle = Asked { limit: Some(StepLimit::Idle), ..Asked::default() };
        assert_eq!(limit_of(&record(ExitCause::Cancelled, None), Some(CANCEL), &idle), Some(StepLimit::Idle));
    }

    #[test]
    fn a_flooded_worktree_is_not_published_for_a_result_before_it() {
        assert!(leaves_the_result(ExitCause::Ended, Some(StepLimit::Idle)));
        assert!(leaves_the_result(ExitCause::Stopped, None));
        for (cause, limit) in [
            (ExitCause::Ended, Some(StepLimit::WorktreeFiles)),
            (ExitCause::Ended, Some(StepLimit::WorktreeBytes)),
            (ExitCause::Cancelled, None),
            (ExitCause::Exited, None),
        ] {
            assert!(!leaves_the_result(cause, limit), "{cause:?} {limit:?}");
        }
    }

    #[test]
    fn who_waits_in_vain_ends_by_what_it_waits_for() {
        let at = Timestamp::from_ms(1_000);
        let retrying =
            |delay_ms, status| AgentEvent::Retrying { attempt: 1, attempts_max: 3, delay_ms, status };
        let said = failed(Fault::Interrupted);
        let fault = |event: &AgentEvent| fault_of(Wait::begun_by(event, at, None)?.outcome(&said));
        assert_eq!(fault(&retrying(599_999, Some(429))), None);
        let until = Some(Fault::UsageLimit { resets_at: Some(602), window: None });
        assert_eq!(fault(&retrying(600_000, Some(429))), until);
        assert_eq!(fault(&retrying(600_000, None)), until);
        assert_eq!(fault(&retrying(600_000, Some(529))), Some(Fault::Overloaded { again_at: Some(602) }));
        assert_eq!(fault(&AgentEvent::NeedsInput { tool: "Write".to_owned() }), Some(Fault::NeedsInput));
    }

    fn failed(fault: Fault) -> AgentOutcome {
        AgentOutcome::Failed { fault, message: "its own words".to_owned() }
    }

    fn fault_of(outcome: AgentOutcome) -> Option<Fault> {
        match outcome {
            AgentOutcome::Failed { fault, .. } => Some(fault),
            AgentOutcome::Succeeded { .. } => None,
        }
    }

    #[test]
    fn a_limit_that_was_told_is_more_than_the_sleep_over_it() {
        let limit = |resets_at, window| Fault::UsageLimit { resets_at, window };
        let event = |rejected, resets_at| AgentEvent::RateLimit {
            rejected,
            resets_at,
            window: Some("five_hour".to_owned()),
        };
        let (five, cut) = (Some(LimitWindow::FiveHour), failed(Fault::Interrupted));
        let told = ToldLimit::after(None, &event(true, Some(18_000)));
        let nap = |status, limit| Wait::Api { status, until: Timestamp::from_ms(901_000), limit };
        for (judged, told, status, expected) in [
            (&failed(limit(Some(31_447), None)), None, Some(429), limit(Some(31_447), None)),
            (&failed(limit(Some(31_447), None)), told, Some(503), limit(Some(31_447), five)),
            (&failed(limit(None, None)), None, None, limit(Some(902), None)),
            (&failed(limit(Some(902), None)), None, Some(503), Fault::Overloaded { again_at: Some(902) }),
            (&cut, told, Some(429), limit(Some(18_000), five)),
            (&cut, told, Some(529), limit(Some(18_000), five)),
            (&cut, ToldLimit::after(None, &event(true, None)), None, limit(Some(902), five)),
        ] {
            assert_eq!(fault_of(nap(status, told).outcome(judged)), Some(expected), "{judged:?} {told:?}");
        }
        let AgentOutcome::Failed { message, .. } = nap(None, None).outcome(&cut) else { panic!("it failed") };
        assert!(message.ends_with("again at 1970-01-01T00:15:01.000Z"), "{message}");
        // what lifts it
        let over = [event(false, None), AgentEvent::Message { text: String::new() }];
        assert!(over.iter().all(|event| ToldLimit::after(told, event).is_none()));
        let retrying = AgentEvent::Retrying { attempt: 1, attempts_max: 2, delay_ms: 1, status: None };
        assert_eq!(ToldLimit::after(told, &retrying), told);
    }
}
