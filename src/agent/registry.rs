//! The adapter of each kind: one of a further kind is entered here.

use super::{Acp, Agent, Claude, Codex, Command, Gemini, Opencode};
use crate::domain::agent_kind::AgentKind;

/// The adapter of a kind.
#[must_use]
pub fn find_agent(kind: AgentKind) -> &'static dyn Agent {
    match kind {
        AgentKind::Claude => &Claude,
        AgentKind::Codex => &Codex,
        AgentKind::Opencode => &Opencode,
        AgentKind::Gemini => &Gemini,
        AgentKind::Acp => &Acp,
        AgentKind::Command => &Command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_every_adapter_knows_its_kind() {
        for kind in AgentKind::ALL {
            assert_eq!(AgentKind::parse(kind.as_str()), Some(*kind));
            assert_eq!(find_agent(*kind).kind(), *kind);
        }
        assert_eq!(AgentKind::parse("Claude"), None);
    }
}
