//! How a step of an agent ended, in the words of no particular agent.

use super::text::one_line;
use crate::domain::hold::LimitWindow;

/// A failure's message goes into the job's answer; the whole of it is in the log.
pub(super) const MESSAGE_BYTES_MAX: usize = 1_000;

/// The closing words go into the pull request.
pub(super) const SUMMARY_BYTES_MAX: usize = 16 * 1024;

/// Enough to name what was not permitted, over all turns of a process.
pub(super) const DENIALS_MAX: usize = 1_000;

/// How the process ended. Exactly one is set for an ended process; neither means that nobody saw the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepExit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

impl StepExit {
    /// Of a step that had told its result before anything ended it.
    pub const DONE: Self = Self { code: Some(0), signal: None };
}

/// The judgement over one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentVerdict {
    pub outcome: AgentOutcome,
    /// The session that was really used; `None` when the agent never got so far.
    pub session_id: Option<String>,
    /// The agent has said that the conversation began with this step, whoever bore its id before: nothing of its totals was
    /// counted earlier.
    pub began_session: bool,
    pub usage: Usage,
    /// A run in which everything was denied still counts as succeeded here; whether it achieved anything shows in the
    /// checkout.
    pub tools: ToolUses,
    pub auth_source: Option<String>,
    pub agent_version: Option<String>,
    pub model: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentOutcome {
    Succeeded {
        /// The agent's closing words, one bounded text for people.
        summary: String,
    },
    Failed {
        fault: Fault,
        /// What the agent or the operating system said about it, bounded.
        message: String,
    },
}

impl AgentVerdict {
    /// In the place of an agent's, of work that somebody has done by hand.
    #[must_use]
    pub fn by_hand() -> Self {
        Self::plain(AgentOutcome::Succeeded { summary: String::new() })
    }

    /// Of a program that tells nothing of itself.
    pub(super) fn plain(outcome: AgentOutcome) -> Self {
        Self {
            outcome,
            session_id: None,
            began_session: false,
            usage: Usage::default(),
            tools: ToolUses::default(),
            auth_source: None,
            agent_version: None,
            model: None,
        }
    }
}

/// Why a step did not succeed. Every agent's own wording is mapped to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The login's allowance is used up. Unix seconds of its renewal, and which it is, where known.
    UsageLimit {
        resets_at: Option<i64>,
        window: Option<LimitWindow>,
    },
    /// No credential, or one that the API does not accept.
    NotLoggedIn,
    /// The model's API had no capacity, and the agent's own retries were in vain. Unix seconds of the next one, where one is known.
    Overloaded {
        again_at: Option<i64>,
    },
    /// The model's API failed in another way. `None` when it was not reached.
    ApiError {
        status: Option<u16>,
    },
    /// The model declined the request.
    Refused,
    /// The agent waited for an answer that nobody gave.
    NeedsInput,
    MaxTurns,
    MaxBudget,
    /// The session to resume is not known to the agent: a new one is needed.
    SessionUnknown,
    /// Somebody else holds the session, or the id of a new one was taken before.
    SessionInUse,
    /// The conversation has grown beyond what the model can be given.
    ContextFull,
    /// The agent ended by itself without a usable result.
    Crashed,
    /// The agent was ended from outside before it was done.
    Interrupted,
    /// The agent itself could not be started, or speaks another version of the protocol.
    ProgramMissing,
    /// It was asked for a setting that this agent does not offer, which only it could say.
    Unsupported,
}

impl Fault {
    /// Whether the conversation is at fault: the same words may do in a new one.
    #[must_use]
    pub fn is_of_the_session(self) -> bool {
        matches!(self, Self::SessionUnknown | Self::SessionInUse | Self::ContextFull)
    }

    /// The word for it in answers, events and metrics. A session that cannot be had is a kind of crash there, and a
    /// conversation that is too long what the model's API calls it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::UsageLimit { .. } => "usage_limit",
            Self::NotLoggedIn => "not_logged_in",
            Self::Overloaded { .. } => "overloaded",
            Self::ApiError { .. } | Self::ContextFull => "api_error",
            Self::Refused => "refused",
            Self::NeedsInput => "needs_input",
            Self::MaxTurns => "max_turns",
            Self::MaxBudget => "max_budget",
            Self::SessionUnknown | Self::SessionInUse | Self::Crashed => "crashed",
            Self::Interrupted => "interrupted",
            Self::ProgramMissing => "agent_missing",
            Self::Unsupported => "unsupported_option",
        }
    }
}

/// What the step used up. Zero where the agent does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// The tokens are said to be those of the whole session so far. What it is known to have used before is taken off, where that
    /// can be part of it.
    pub tokens_of_session: bool,
    /// Millionths of a US dollar spent by this step alone.
    pub cost_usd_micros: Option<u64>,
    /// Millionths of a US dollar spent by the whole session so far, earlier steps included. It counts where the one
    /// above is not told: what the session is known to have cost before is taken off.
    pub session_cost_usd_micros: Option<u64>,
    pub turns: u32,
    pub duration_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub tool: String,
    pub tool_use_id: String,
    pub summary: String,
    /// It was to write a file, and would have done nothing else.
    pub writes: bool,
}

/// What an agent wanted to use its tools for, over a step or several; empty for one that does not tell what it is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolUses {
    /// Those that were not permitted, in their order; at most about a thousand of each step.
    pub denied: Vec<Denial>,
    /// How many were.
    pub permitted: u32,
}

impl ToolUses {
    /// The denial to blame when nothing has changed: nothing at all was permitted, or not the change itself. An agent that could
    /// look around, and was denied a command, may be right when it says that there is nothing to do.
    #[must_use]
    pub fn decisive(&self) -> Option<&Denial> {
        let first = self.denied.first().filter(|_| self.permitted == 0);
        first.or_else(|| self.denied.iter().find(|denial| denial.writes))
    }

    /// Adds those of the step after these.
    pub fn append(&mut self, mut later: Self) {
        self.denied.append(&mut later.denied);
        self.permitted = self.permitted.saturating_add(later.permitted);
    }

    /// Notes a use that was not permitted.
    pub(super) fn deny(&mut self, denial: Denial) {
        if self.denied.len() < DENIALS_MAX {
            self.denied.push(denial);
        }
    }

    pub(super) fn permit(&mut self) {
        self.permitted = self.permitted.saturating_add(1);
    }
}

/// Signals by which people, shells, service managers and the out-of-memory killer end a program.
/// Numbers are the same on Linux and macOS: signal(7), signal(3).
const ENDED_FROM_OUTSIDE: [(i32, &str); 4] = [(1, "SIGHUP"), (2, "SIGINT"), (9, "SIGKILL"), (15, "SIGTERM")];

impl StepExit {
    pub(super) fn succeeded(self) -> bool {
        self.code == Some(0) && self.signal.is_none()
    }

    /// The signal that ended the program, also where it caught it and left with 128 + n as shells do.
    fn ending_signal(self) -> Option<i32> {
        self.signal.or_else(|| self.code.filter(|code| (129..=192).contains(code)).map(|code| code - 128))
    }

    /// The fault that the exit alone tells, for a program that left no result behind. `last_words` is the end of
    /// what it printed.
    pub(super) fn fault(self, last_words: &str) -> (Fault, String) {
        let (fault, mut message) = match (self.ending_signal(), self.code) {
            (Some(signal), _) => match ENDED_FROM_OUTSIDE.iter().find(|(number, _)| *number == signal) {
                Some((_, name)) => {
                    (Fault::Interrupted, format!("the agent was ended by {name} before it was done"))
                }
                None => (Fault::Crashed, format!("the agent was killed by signal {signal}")),
            },
            (None, Some(0)) => (Fault::Crashed, "the agent ended without a result".to_owned()),
            (None, Some(code)) => (Fault::Crashed, format!("the agent exited with code {code}")),
            (None, None) => (Fault::Interrupted, "the end of the agent was not seen".to_owned()),
        };
        let last_words = one_line(last_words, LAST_WORDS_BYTES_MAX);
        if !last_words.is_empty() {
            message.push_str(": ");
            message.push_str(&last_words);
        }
        (fault, message)
    }
}

/// A few lines are enough to see why a program gave up, and fit into an error message.
const LAST_WORDS_BYTES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_decisive_where_nothing_was_permitted_or_it_was_the_change() {
        let denial = |tool: &str, writes| Denial {
            tool: tool.to_owned(),
            tool_use_id: String::new(),
            summary: String::new(),
            writes,
        };
        let (shell, write) = (denial("Bash", false), denial("Write", true));
        let rows = [
            (vec![], 0, None),
            (vec![], 5, None),
            (vec![shell.clone()], 0, Some("Bash")),
            (vec![shell.clone()], 1, None),
            (vec![shell.clone(), write.clone()], 0, Some("Bash")),
            (vec![shell, write], 1, Some("Write")),
        ];
        for (denied, permitted, expected) in rows {
            let uses = ToolUses { denied, permitted };
            assert_eq!(uses.decisive().map(|denial| denial.tool.as_str()), expected, "{uses:?}");
        }
    }

    #[test]
    fn the_exit_alone_tells_who_ended_it() {
        let code = |code| StepExit { code: Some(code), signal: None };
        let signal = |signal| StepExit { code: None, signal: Some(signal) };
        let rows = [
            (code(1), Fault::Crashed),
            (code(0), Fault::Crashed),
            (code(127), Fault::Crashed),
            (code(129), Fault::Interrupted),
            (code(137), Fault::Interrupted),
            (code(143), Fault::Interrupted),
            (code(139), Fault::Crashed),
            (signal(9), Fault::Interrupted),
            (signal(15), Fault::Interrupted),
            (signal(11), Fault::Crashed),
            (StepExit::default(), Fault::Interrupted),
        ];
        for (exit, fault) in rows {
            assert_eq!(exit.fault("").0, fault, "{exit:?}");
        }
        assert_eq!(code(3).fault("boom\n again\n").1, "the agent exited with code 3: boom again");
    }
}
