//! Which kinds of coding agent there are.

use super::named::named_enum;

named_enum! {
    /// The protocol that an agent program speaks: the values of `kind` in an agent entry of the configuration, and the
    /// names of the entries that exist from the start.
    AgentKind {
        Claude = "claude",
        Codex = "codex",
        Opencode = "opencode",
        Gemini = "gemini",
        /// Any program that speaks the Agent Client Protocol on its standard streams.
        Acp = "acp",
        /// Any program: the prompt on standard input, the exit code decides.
        Command = "command",
    }
}
