//! What of a change the owner wants to know or to forbid: files by which other programs run than before, on a reviewer's
//! machine, in the forge's pipelines or in the next agent.

use super::named::named_enum;

named_enum! {
    /// What becomes of a change to files of a kind.
    Guard {
        /// The job fails as `policy_denied`, and nothing is pushed.
        Deny = "deny",
        /// The job has a warning and the pull request a label.
        Flag = "flag",
        /// Nothing.
        Allow = "allow",
    }
}

named_enum! {
    /// A kind of files that the policy speaks of, by its key in the configuration.
    Guarded {
        /// `.gitmodules`: who clones with submodules fetches from where it says.
        Gitmodules = "gitmodules",
        /// `.github/workflows/`: they run with the repository's secrets.
        Workflows = "workflows",
        /// Settings of agents, at any depth: hooks, permissions and servers that the next agent starts with.
        AgentConfig = "agent_config",
        /// What looks like a key, in any file that one of the commits writes.
        Secrets = "secrets",
    }
}

/// Directories of agents' settings, and single files of them.
const AGENT_CONFIG: [&[u8]; 9] = [
    b".claude",
    b".codex",
    b".gemini",
    b".opencode",
    b".cursor",
    b".mcp.json",
    b"opencode.json",
    b"opencode.jsonc",
    b".aider.conf.yml",
];

impl Guarded {
    /// What a path in a repository is of, by its name. Case does not count: to a file system that ignores it the files are the same.
    #[must_use]
    pub fn of(path: &[u8]) -> Option<Self> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let is = |at: usize, name: &str| {
            names.get(at).is_some_and(|one| one.eq_ignore_ascii_case(name.as_bytes()))
        };
        if names.len() == 1 && is(0, ".gitmodules") {
            return Some(Self::Gitmodules);
        }
        if is(0, ".github") && is(1, "workflows") {
            return Some(Self::Workflows);
        }
        let is_config = |name: &&[u8]| AGENT_CONFIG.iter().any(|one| one.eq_ignore_ascii_case(name));
        names.iter().any(is_config).then_some(Self::AgentConfig)
    }

    /// Whoever looks at the pull request sees it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Gitmodules => "changes: gitmodules",
            Self::Workflows => "changes: workflows",
            Self::AgentConfig => "changes: agent config",
            Self::Secrets => "possible secret",
        }
    }
}

/// What the owner decided of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangePolicy {
    pub gitmodules: Guard,
    pub workflows: Guard,
    pub agent_config: Guard,
    pub secrets: Guard,
}

/// Nothing comes from elsewhere unasked, and what is pushed cannot be called back; the rest is for a reviewer to see.
impl Default for ChangePolicy {
    fn default() -> Self {
        Self {
            gitmodules: Guard::Deny,
            workflows: Guard::Flag,
            agent_config: Guard::Flag,
            secrets: Guard::Deny,
        }
    }
}

/// Files of one kind that were changed, as they are shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub kind: Guarded,
    pub paths: Vec<String>,
}

impl Touched {
    /// Names the first few.
    const SHOWN_MAX: usize = 5;
}

impl std::fmt::Display for Touched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.paths[..self.paths.len().min(Self::SHOWN_MAX)];
        write!(f, "{}", shown.join(", "))?;
        match self.paths.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl ChangePolicy {
    #[must_use]
    pub const fn of(&self, kind: Guarded) -> Guard {
        match kind {
            Guarded::Gitmodules => self.gitmodules,
            Guarded::Workflows => self.workflows,
            Guarded::AgentConfig => self.agent_config,
            Guarded::Secrets => self.secrets,
        }
    }

    /// The changed files of which the policy says `guard`, kind by kind.
    #[must_use]
    pub fn touched(&self, guard: Guard, changed: &[(Guarded, String)]) -> Vec<Touched> {
        let of_kind = |kind: &Guarded| {
            let paths = changed.iter().filter(|(one, _)| one == kind).map(|(_, path)| path.clone());
            Touched { kind: *kind, paths: paths.collect() }
        };
        let kinds = Guarded::ALL.iter().filter(|kind| self.of(**kind) == guard).map(of_kind);
        kinds.filter(|touched| !touched.paths.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_are_of() {
        let rows = [
            (".gitmodules", Some(Guarded::Gitmodules)),
            (".GitModules", Some(Guarded::Gitmodules)),
            ("vendor/.gitmodules", None),
            (".gitmodules.bak", None),
            (".github/workflows/ci.yml", Some(Guarded::Workflows)),
            (".GITHUB/Workflows/ci.yml", Some(Guarded::Workflows)),
            (".github/dependabot.yml", None),
            ("docs/.github/workflows/ci.yml", None),
            (".claude/settings.json", Some(Guarded::AgentConfig)),
            (".claude", Some(Guarded::AgentConfig)),
            ("web/.Claude/hooks/x", Some(Guarded::AgentConfig)),
            (".codex/config.toml", Some(Guarded::AgentConfig)),
            ("packages/a/.mcp.json", Some(Guarded::AgentConfig)),
            ("opencode.json", Some(Guarded::AgentConfig)),
            ("src/claude.rs", None),
            ("", None),
        ];
        for (path, expected) in rows {
            assert_eq!(Guarded::of(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn each_kind_is_judged_by_its_own_rule() {
        let policy = ChangePolicy::default();
        let changed = [
            (Guarded::Workflows, ".github/workflows/a.yml".to_owned()),
            (Guarded::Gitmodules, ".gitmodules".to_owned()),
        ];
        let denied = policy.touched(Guard::Deny, &changed);
        assert_eq!(denied, [Touched { kind: Guarded::Gitmodules, paths: vec![".gitmodules".to_owned()] }]);
        let flagged = policy.touched(Guard::Flag, &changed);
        assert_eq!((flagged.len(), flagged[0].kind), (1, Guarded::Workflows));
        assert_eq!(policy.touched(Guard::Allow, &changed), []);
        let many = Touched { kind: Guarded::Workflows, paths: (0..7).map(|n| format!("w{n}")).collect() };
        assert_eq!(many.to_string(), "w0, w1, w2, w3, w4 and 2 more");
    }
}
