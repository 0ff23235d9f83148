//! Which kinds of agent there are, and which of them this version can run. The one place to add a kind.

use super::{Agent, Claude, Command};

/// The values of `kind` in an agent entry of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentKind {
    Claude,
    Codex,
    Opencode,
    Gemini,
    Command,
}

impl AgentKind {
    pub const ALL: [Self; 5] = [Self::Claude, Self::Codex, Self::Opencode, Self::Gemini, Self::Command];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Opencode => "opencode",
            Self::Gemini => "gemini",
            Self::Command => "command",
        }
    }

    /// The kind of this name, exactly as the configuration spells it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The adapter of a kind, or `None` where this version knows the name but cannot run it.
#[must_use]
pub fn find_agent(kind: AgentKind) -> Option<&'static dyn Agent> {
    match kind {
        AgentKind::Claude => Some(&Claude),
        AgentKind::Command => Some(&Command),
        AgentKind::Codex | AgentKind::Opencode | AgentKind::Gemini => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_every_adapter_knows_its_kind() {
        for kind in AgentKind::ALL {
            assert_eq!(AgentKind::from_name(kind.as_str()), Some(kind));
            if let Some(agent) = find_agent(kind) {
                assert_eq!(agent.kind(), kind);
            }
        }
        assert_eq!(AgentKind::from_name("Claude"), None);
        assert!(find_agent(AgentKind::Codex).is_none());
    }
}
