//! Which kinds of agent this version can run: an adapter of a further kind is entered here.

use super::{Agent, Claude, Codex, Command};
use crate::domain::agent_kind::AgentKind;

/// The adapter of a kind, or `None` where this version knows the name but cannot run it.
#[must_use]
pub fn find_agent(kind: AgentKind) -> Option<&'static dyn Agent> {
    match kind {
        AgentKind::Claude => Some(&Claude),
        AgentKind::Codex => Some(&Codex),
        AgentKind::Command => Some(&Command),
        AgentKind::Opencode | AgentKind::Gemini => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_every_adapter_knows_its_kind() {
        for kind in AgentKind::ALL {
            assert_eq!(AgentKind::parse(kind.as_str()), Some(*kind));
            if let Some(agent) = find_agent(*kind) {
                assert_eq!(agent.kind(), *kind);
            }
        }
        assert_eq!(AgentKind::parse("Claude"), None);
        assert!(find_agent(AgentKind::Opencode).is_none());
    }
}
