//! What goes into an agent's start, and what comes out: plain values, no behaviour.

use std::path::{Path, PathBuf};

/// The directory of the attachments, in the agent's environment; not set where there are none.
const ATTACHMENTS_VARIABLE: &str = "OFFSHOOT_ATTACHMENTS";

const ATTACHED: &str = "Files that came with this task, outside of the checkout:";

/// One start of an agent, as the worker asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The configured command and its own arguments; the first element is the program.
    pub program: Vec<String>,
    pub prompt: String,
    /// Absolute path of the checkout to work in.
    pub working_dir: PathBuf,
    /// Absolute paths of files that came with the task, all in one directory outside of the checkout.
    pub attachments: Vec<PathBuf>,
    pub model: Option<String>,
    pub effort: Option<String>,
    /// `None` is the agent's safe default: everything inside a sandbox, edits only without one.
    pub permission_mode: Option<String>,
    /// `None` is the agent's documented default list, `Some` replaces it.
    pub allowed_tools: Option<Vec<String>>,
    pub disallowed_tools: Vec<String>,
    pub max_turns: Option<u32>,
    /// Millionths of a US dollar.
    pub max_budget_usd_micros: Option<u64>,
    pub append_system_prompt: Option<String>,
    pub session: Session,
    /// The process will be confined by a sandbox of ours.
    pub sandboxed: bool,
    /// The process will run with user id 0.
    pub as_root: bool,
}

/// The id of a conversation is stored with the job and is an argument of the program that goes on with it. Real ones have 36 bytes.
pub(crate) const SESSION_ID_BYTES_MAX: usize = 200;

/// Whether an id that an agent has made up can be stored, shown and given back to it: a word of letters, digits and signs of ASCII that is no
/// option of anything.
pub(crate) fn is_session_id(id: &str) -> bool {
    (1..=SESSION_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic())
        && !id.starts_with('-')
}

/// Which conversation the agent is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// A new one under this id, a UUID in text form that was never used before.
    New { id: String },
    /// The continuation of an earlier one.
    Resume { id: String },
}

impl Session {
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::New { id } | Self::Resume { id } => id,
        }
    }

    /// For agents that take nothing but a UUID in its text form.
    pub(super) fn check_uuid(&self) -> Result<(), AgentError> {
        let id = self.id();
        let is_uuid = id.len() == 36
            && id.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if is_uuid { Ok(()) } else { Err(AgentError::SessionId(id.to_owned())) }
    }
}

/// What to start. The working directory is the invocation's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCommand {
    /// Program and arguments; no shell ever sees them.
    pub argv: Vec<String>,
    /// Variables to set in addition to the passed-on names; these win.
    pub env: Vec<(String, String)>,
    /// The content of standard input. It goes through a file: an argument is visible to every user of the
    /// machine, is limited to 128 KiB by Linux, and becomes an option when it begins with `-`.
    pub stdin: String,
}

/// Why no command could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    #[error("the agent entry has an empty command")]
    EmptyProgram,
    #[error("the prompt holds nothing but blanks")]
    EmptyPrompt,
    #[error("the session id {0:?} is none that this agent takes")]
    SessionId(String),
    #[error("the agent refuses the permission mode bypassPermissions as root outside a sandbox")]
    BypassAsRoot,
    #[error("the {0} holds a NUL character, which no argument may hold")]
    Nul(&'static str),
}

impl Invocation {
    /// What every agent demands of an invocation.
    pub(super) fn check(&self) -> Result<(), AgentError> {
        if self.program.first().is_none_or(String::is_empty) {
            return Err(AgentError::EmptyProgram);
        }
        if self.prompt.trim().is_empty() {
            return Err(AgentError::EmptyPrompt);
        }
        if self.program.iter().any(|argument| argument.contains('\0')) {
            return Err(AgentError::Nul("command"));
        }
        Ok(())
    }

    /// The prompt behind what would be added to the system prompt, for agents that have no place for that.
    pub(super) fn prompt_behind_instructions(&self) -> String {
        match self.append_system_prompt.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some(instructions) => format!("{instructions}\n\n{}", self.full_prompt()),
            None => self.full_prompt(),
        }
    }

    /// The prompt, and where the attachments are.
    pub(super) fn full_prompt(&self) -> String {
        if self.attachments.is_empty() {
            return self.prompt.clone();
        }
        let list = self.attachments.iter().map(|path| format!("\n- {}", path.display()));
        format!("{}\n\n{ATTACHED}\n{}\n", self.prompt, list.collect::<String>())
    }

    /// The directory of the attachments, where there are any.
    pub(super) fn attachments_dir(&self) -> Option<&Path> {
        self.attachments.first().and_then(|path| path.parent())
    }

    /// `PWD`, because some agents take their directory from it and not from the real one; and where the attachments are, for
    /// programs to which the prompt is no text.
    pub(super) fn base_env(&self) -> Vec<(String, String)> {
        let dirs =
            [("PWD", Some(self.working_dir.as_path())), (ATTACHMENTS_VARIABLE, self.attachments_dir())];
        let named = |(name, dir): (&str, Option<&Path>)| Some((name.to_owned(), dir?.to_str()?.to_owned()));
        dirs.into_iter().filter_map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_word_that_is_no_option() {
        let long = "s".repeat(SESSION_ID_BYTES_MAX + 1);
        let good = ["0b7e3c1a-0000-4000-8000-000000000000", "ses_1", "a=b/c", &long[1..]];
        assert!(good.into_iter().all(is_session_id));
        for bad in ["", "chat 1", "-x", "a\0b", "\u{e9}", &long] {
            assert!(!is_session_id(bad), "{bad:?}");
        }
    }
}
