//! What an agent says and does while it runs, in the words of no particular agent.

use super::Stream;
use super::text::{one_line, visible};
use crate::domain::event::EventKind;

/// The longest text that [`AgentEvent::text`] gives, apart from a short mark. A screen of 100 long lines; the whole
/// of it stays in the step's log.
pub const EVENT_TEXT_BYTES_MAX: usize = 8 * 1024;

/// An agent that means to sleep so long before it tries again waits for its login, not for a peer that is short of breath: the
/// queue does that better. The longest waits of agents' own retries are minutes.
pub(super) const NAP_MS_MAX: u64 = 600_000;

/// The longest name of a tool, and the longest id of its use, before what acts on a terminal is written out. Those
/// of real agents have 30 bytes.
const NAME_BYTES_MAX: usize = 100;

/// One thing that happened inside an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// The agent is up. May come more than once in one process.
    Started {
        session_id: Option<String>,
        model: Option<String>,
        version: Option<String>,
        /// Where its credential comes from, as the agent names it; `none` is a subscription login or no login.
        auth: Option<String>,
    },
    Message {
        text: String,
    },
    Thinking {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        /// The one argument that tells most, on one line: a command, a path inside the checkout.
        summary: String,
    },
    ToolResult {
        id: String,
        ok: bool,
        summary: String,
    },
    /// Another turn of the model began.
    Progress {
        turns: u32,
        /// Tokens that the model was given in this turn, cached ones included.
        context_tokens: u64,
        /// Files that its editing tools were to write so far, each counted once; `None` when the agent does not tell.
        files: Option<u32>,
        /// Millionths of a US dollar that this run has cost so far; `None` when the agent does not tell as it goes.
        cost_usd_micros: Option<u64>,
    },
    RateLimit {
        rejected: bool,
        /// Unix seconds.
        resets_at: Option<i64>,
        /// The agent's name for the limit, such as `five_hour`.
        window: Option<String>,
    },
    /// The model's API failed and the agent tries again by itself.
    Retrying {
        /// 0 where it is not told.
        attempt: u32,
        /// 0 where it is not told.
        attempts_max: u32,
        delay_ms: u64,
        status: Option<u16>,
    },
    /// The agent was not allowed to use a tool and went on without.
    Denied {
        tool: String,
        message: String,
    },
    /// The agent waits for a person's answer.
    NeedsInput {
        tool: String,
    },
    /// Something worth a line that fits nowhere else.
    Notice {
        text: String,
    },
    /// The agent's own closing words.
    Ended {
        ok: bool,
        text: String,
    },
    /// A line that is no event: plain output, an unknown or broken event.
    Output {
        stream: Stream,
        text: String,
    },
}

/// A tool's name as it is shown and stored: on one line of about a hundred bytes.
#[must_use]
pub fn tool_name(name: &str) -> String {
    one_line(name, NAME_BYTES_MAX)
}

/// Under which heading an event's text is listed for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
    System,
}

impl AgentEvent {
    /// Whether the agent is about to sleep longer than anybody waits for it.
    #[must_use]
    pub fn is_nap(&self) -> bool {
        matches!(self, Self::Retrying { delay_ms, .. } if *delay_ms >= NAP_MS_MAX)
    }

    /// The agent is at work: whatever it waited for is over.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Started { .. }
                | Self::Message { .. }
                | Self::Thinking { .. }
                | Self::ToolUse { .. }
                | Self::ToolResult { .. }
                | Self::Progress { .. }
        )
    }

    /// What it is in the history.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Message { .. } => EventKind::AgentMessage,
            Self::Thinking { .. } => EventKind::AgentThinking,
            Self::ToolUse { .. } => EventKind::AgentToolUse,
            Self::ToolResult { .. } => EventKind::AgentToolResult,
            Self::Output { .. } => EventKind::AgentOutput,
            Self::Started { .. }
            | Self::Progress { .. }
            | Self::RateLimit { .. }
            | Self::Retrying { .. }
            | Self::Denied { .. }
            | Self::NeedsInput { .. }
            | Self::Notice { .. }
            | Self::Ended { .. } => EventKind::AgentProgress,
        }
    }

    #[must_use]
    pub fn channel(&self) -> Channel {
        match self {
            Self::Output { stream: Stream::Stderr, .. } => Channel::Stderr,
            Self::Message { .. }
            | Self::Thinking { .. }
            | Self::ToolUse { .. }
            | Self::ToolResult { .. }
            | Self::Output { stream: Stream::Stdout, .. } => Channel::Stdout,
            _ => Channel::System,
        }
    }

    /// The event as text for people: one or more lines, at most [`EVENT_TEXT_BYTES_MAX`] bytes and a short mark,
    /// control characters written out.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::ToolUse { name, summary, .. } if summary.is_empty() => tool_name(name),
            Self::ToolUse { name, .. } => format!("{}: {}", tool_name(name), self.words()),
            Self::ToolResult { ok: false, .. } => format!("failed: {}", self.words()),
            _ => self.words(),
        }
    }

    fn words(&self) -> String {
        let limit = EVENT_TEXT_BYTES_MAX;
        match self {
            Self::Started { model, version, auth, .. } => {
                let model = model
                    .as_deref()
                    .map_or(String::new(), |model| format!(", model {}", one_line(model, 100)));
                let version =
                    version.as_deref().map_or(String::new(), |text| format!(" {}", one_line(text, 40)));
                let auth = auth
                    .as_deref()
                    .map_or(String::new(), |auth| format!(", authentication {}", one_line(auth, 60)));
                format!("agent{version} started{model}{auth}")
            }
            Self::Message { text } | Self::Thinking { text } | Self::Output { text, .. } => {
                visible(text, limit)
            }
            Self::ToolUse { summary, .. } => visible(summary, limit - 500),
            Self::ToolResult { summary, .. } => visible(summary, limit - 10),
            Self::Progress { turns, context_tokens, .. } => {
                format!("turn {turns}, {context_tokens} tokens of context")
            }
            Self::RateLimit { rejected, resets_at, window } => {
                let verb = if *rejected { "reached" } else { "near or within" };
                let window =
                    window.as_deref().map_or(String::new(), |name| format!(" {}", one_line(name, 60)));
                let resets_at = resets_at.and_then(|at| jiff::Timestamp::from_second(at).ok());
                let reset = resets_at.map_or(String::new(), |at| format!(", resets at {at}"));
                format!("usage limit{window} {verb}{reset}")
            }
            Self::Retrying { attempt, attempts_max, delay_ms, status } => {
                let status = status.map_or(String::new(), |status| format!(" with status {status}"));
                // 0: the agent does not say
                let delay = if *delay_ms == 0 { String::new() } else { format!(" in {delay_ms} ms") };
                let number = match (attempt, attempts_max) {
                    (0, _) => String::new(),
                    (_, 0) => format!(" (try {attempt} failed)"),
                    _ => format!(" ({attempt} of {attempts_max})"),
                };
                format!("the model's API failed{status}, trying again{delay}{number}")
            }
            Self::Denied { tool, message } => {
                format!("not allowed to use {}: {}", one_line(tool, 100), visible(message, limit - 500))
            }
            Self::NeedsInput { tool } => format!("waits for permission to use {}", one_line(tool, 100)),
            Self::Notice { text } => visible(text, limit),
            Self::Ended { ok: true, text } => format!("agent finished: {}", visible(text, limit - 20)),
            Self::Ended { ok: false, text } => format!("agent gave up: {}", visible(text, limit - 20)),
        }
    }
}
