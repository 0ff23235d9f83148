//! Run options: one shape, set in four places, merged once.
//!
//! Promises: a value is looked for in the job, then its profile, then its client, then `[defaults]`; the first place
//! that sets it wins. Lists and maps are replaced as a whole, never joined: what a job says is what it gets.
//!
//! Must not know: a serialised form (two exist, one in the API and one in the configuration file), nor which machine it
//! runs on. Fails: only in [`RunOptions::check`], with one [`Violation`] per broken rule. Tested: by tables beside the
//! code.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

mod ceilings;
mod rules;

pub use ceilings::Above;
pub use rules::{is_entry_name, is_settable, may_reach_agent};

/// A place where run options can be written down. Some options are refused in some places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Defaults,
    Client,
    Profile,
    Job,
}

/// One broken rule: which option, which element of it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} {rule}", .field.snake_case())]
pub struct Violation {
    pub field: OptionName,
    /// The element, counted from 0, when the option is a list and one element is at fault.
    pub index: Option<usize>,
    /// What holds for this option, to be read after its name: "must be between 1 and 10".
    pub rule: String,
}

impl Violation {
    /// The fault as a JSON pointer below the options object, for example `/allowedTools/2`.
    #[must_use]
    pub fn pointer(&self) -> String {
        let name = self.field.camel_case();
        self.index.map_or_else(|| format!("/{name}"), |index| format!("/{name}/{index}"))
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $field:ident / $variant:ident / $camel:literal : $kind:ty,)+) => {
        /// What can be said about how a job runs. `None` means: not said here.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct RunOptions { $($(#[$doc])* pub $field: Option<$kind>,)+ }

        /// The name of one option, in both spellings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum OptionName { $($variant,)+ }

        impl OptionName {
            /// Every option, in the order of documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As written in the configuration file, where money is in dollars.
            #[must_use]
            pub fn snake_case(self) -> &'static str {
                let field = match self { $(Self::$variant => stringify!($field),)+ };
                field.strip_suffix("_micros").unwrap_or(field)
            }

            /// As written in the API.
            #[must_use]
            pub const fn camel_case(self) -> &'static str {
                match self { $(Self::$variant => $camel,)+ }
            }
        }

        impl RunOptions {
            /// Joins layers, the strongest first: job, profile, client, defaults.
            #[must_use]
            pub fn merge(layers: &[&Self]) -> Self {
                Self { $($field: layers.iter().find_map(|layer| layer.$field.clone()),)+ }
            }

            /// The options that are set here.
            #[must_use]
            pub fn set_names(&self) -> Vec<OptionName> {
                let mut names = Vec::new();
                $(if self.$field.is_some() { names.push(OptionName::$variant); })+
                names
            }
        }
    };
}

options! {
    /// The name of an `[agents.<name>]` entry.
    agent / Agent / "agent": String,
    /// The model by the agent's own naming.
    model / Model / "model": String,
    effort / Effort / "effort": Effort,
    permission_mode / PermissionMode / "permissionMode": PermissionMode,
    /// Tools that need no permission, in the agent's own rule syntax.
    allowed_tools / AllowedTools / "allowedTools": Vec<String>,
    disallowed_tools / DisallowedTools / "disallowedTools": Vec<String>,
    /// Text added to the agent's system prompt, at most 32 KiB.
    append_system_prompt / AppendSystemPrompt / "appendSystemPrompt": String,
    /// Turns of the agent, 1 to 10,000.
    max_turns / MaxTurns / "maxTurns": u32,
    /// Money for one job, all its attempts together, in millionths of a US dollar, up to 10,000 dollars.
    max_budget_usd_micros / MaxBudgetUsd / "maxBudgetUsd": u64,
    /// Money for all jobs of a client in one day (UTC), in millionths of a US dollar. Clients only.
    max_budget_usd_per_day_micros / MaxBudgetUsdPerDay / "maxBudgetUsdPerDay": u64,
    /// Agent time while the machine is awake, 1 second to 7 days.
    timeout_seconds / TimeoutSeconds / "timeoutSeconds": u64,
    /// Time without any event from the agent, 1 second to 7 days.
    idle_timeout_seconds / IdleTimeoutSeconds / "idleTimeoutSeconds": u64,
    /// Counted attempts, 1 to 10.
    max_attempts / MaxAttempts / "maxAttempts": u32,
    /// Commands before the agent starts.
    setup / Setup / "setup": Vec<StepCommand>,
    /// Commands that must succeed before anything is pushed.
    verify / Verify / "verify": Vec<StepCommand>,
    /// How often a failed verification goes back to the agent, 0 to 10.
    verify_rounds / VerifyRounds / "verifyRounds": u32,
    /// Globs of ignored files that are copied from the client's files on the server.
    copy_files / CopyFiles / "copyFiles": Vec<String>,
    /// Names of the server's environment variables that the agent may see.
    env / Env / "env": Vec<String>,
    /// Variables of the agent, each with the name of the `[secrets]` entry that is its value. Clients and profiles only.
    set_env / SetEnv / "setEnv": BTreeMap<String, String>,
    on_branch_exists / OnBranchExists / "onBranchExists": OnBranchExists,
    publish / Publish / "publish": Publish,
    /// Whether the pull request is opened as a draft.
    draft / Draft / "draft": bool,
    pr_labels / PrLabels / "prLabels": Vec<String>,
    /// GitHub logins, or `org/team`.
    reviewers / Reviewers / "reviewers": Vec<String>,
    /// Globs of files that are kept after the run.
    artifacts / Artifacts / "artifacts": Vec<String>,
    /// Keep the worktree until somebody removes it (`true`), or not past the end of the job (`false`).
    keep_worktree / KeepWorktree / "keepWorktree": bool,
    isolation / Isolation / "isolation": Isolation,
    /// Fingerprints of what looks like a secret and may be pushed all the same. Jobs only.
    allow_secrets / AllowSecrets / "allowSecrets": Vec<String>,
    /// Whether the programs of a job have a network.
    network / Network / "network": Network,
}

impl OptionName {
    /// Whether a caller who may only submit can set it: nothing here widens what the agent may touch.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(
            self,
            Self::Model
                | Self::MaxTurns
                | Self::AppendSystemPrompt
                | Self::TimeoutSeconds
                | Self::MaxBudgetUsd
                | Self::Draft
                | Self::PrLabels
                | Self::Reviewers
                | Self::Publish
        )
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$word_doc])* $variant,)+ }

        impl $name {
            /// Every accepted word, for messages and documentation.
            pub const WORDS: &'static [&'static str] = &[$($word,)+];

            /// Reads the word; `None` when it is not one of [`Self::WORDS`].
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The word, in the API and in the configuration alike.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How much the agent thinks before it acts.
    Effort { Low = "low", Medium = "medium", High = "high", Xhigh = "xhigh", Max = "max", }
}
words! {
    /// What the agent may do without asking. The words are Claude Code's.
    PermissionMode {
        Default = "default",
        Plan = "plan",
        AcceptEdits = "acceptEdits",
        BypassPermissions = "bypassPermissions",
    }
}
words! {
    /// What happens when the remote has the branch already and it is not of the job's own chain.
    OnBranchExists {
        /// Start from its tip, add to it, reuse its pull request.
        Continue = "continue",
        /// End before the agent starts.
        Fail = "fail",
        /// Take `-2`, `-3` … behind the name.
        Suffix = "suffix",
        /// Start from the base and replace what is there.
        Reset = "reset",
    }
}
words! {
    /// How far the result travels.
    Publish { PullRequest = "pull_request", Branch = "branch",
        /// A dry run: the commit stays here, a retry can publish it.
        None = "none",
    }
}
words! {
    /// Whether the agent runs inside a sandbox of ours.
    Isolation {
        /// A sandbox where this machine has one.
        Auto = "auto",
        Sandbox = "sandbox",
        None = "none",
    }
}

impl Isolation {
    /// Whether it keeps an agent less than the other does.
    #[must_use]
    pub fn is_thinner_than(self, other: Self) -> bool {
        let thickness = |one| match one {
            Self::None => 0,
            Self::Auto => 1,
            Self::Sandbox => 2,
        };
        thickness(self) < thickness(other)
    }
}

words! {
    /// Whether the programs of a job have a network.
    Network {
        Allow = "allow",
        /// None at all, not even this machine's own: an agent cannot reach its model then. Holds in the sandbox only, so a job
        /// without a network needs one.
        Deny = "deny",
    }
}

/// A command of `setup` or `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepCommand {
    /// The program and its arguments; nothing is expanded.
    Argv(Vec<String>),
    /// A line for `sh -c`, by the owner's choice.
    Shell(String),
}

/// The merged options with every gap filled: what an attempt really runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveOptions {
    /// `claude`.
    pub agent: String,
    /// The agent's own choice when `None`.
    pub model: Option<String>,
    /// The agent's own choice when `None`.
    pub effort: Option<Effort>,
    /// `bypassPermissions` inside our sandbox, `acceptEdits` without it.
    pub permission_mode: PermissionMode,
    /// The agent's own documented list when `None`.
    pub allowed_tools: Option<Vec<String>>,
    pub disallowed_tools: Vec<String>,
    /// [`EffectiveOptions::SYSTEM_PROMPT`].
    pub append_system_prompt: String,
    /// No limit when `None`, as for the budgets.
    pub max_turns: Option<u32>,
    pub max_budget_usd_micros: Option<u64>,
    pub max_budget_usd_per_day_micros: Option<u64>,
    /// 3600.
    pub timeout_seconds: u64,
    /// 900.
    pub idle_timeout_seconds: u64,
    /// 3.
    pub max_attempts: u32,
    pub setup: Vec<StepCommand>,
    pub verify: Vec<StepCommand>,
    /// 1.
    pub verify_rounds: u32,
    pub copy_files: Vec<String>,
    pub env: Vec<String>,
    pub set_env: BTreeMap<String, String>,
    /// `continue`.
    pub on_branch_exists: OnBranchExists,
    /// `pull_request`.
    pub publish: Publish,
    /// `false`.
    pub draft: bool,
    pub pr_labels: Vec<String>,
    pub reviewers: Vec<String>,
    pub artifacts: Vec<String>,
    /// Whether the worktree stays for a while after the end; `None` and false: it goes at once.
    pub keep_worktree: Option<bool>,
    /// `auto`.
    pub isolation: Isolation,
    pub allow_secrets: Vec<String>,
    /// `allow`.
    pub network: Network,
}

impl EffectiveOptions {
    /// What every agent is told unless the owner writes something else.
    pub const SYSTEM_PROMPT: &'static str = "You are working on a feature branch in a git worktree of your own. \
        Do not push and do not open a pull request: that is done for you when you finish. \
        Nobody is there to answer questions: decide yourself, and say at the end what you assumed.";

    /// Fills the gaps of `merged`. `sandboxed` says whether the agent will run inside a sandbox of ours.
    #[must_use]
    pub fn resolve(merged: RunOptions, sandboxed: bool) -> Self {
        let permission_mode = merged.permission_mode.unwrap_or(if sandboxed {
            PermissionMode::BypassPermissions
        } else {
            PermissionMode::AcceptEdits
        });
        Self {
            agent: merged.agent.unwrap_or_else(|| "claude".to_owned()),
            model: merged.model,
            effort: merged.effort,
            permission_mode,
            allowed_tools: merged.allowed_tools,
            disallowed_tools: merged.disallowed_tools.unwrap_or_default(),
            append_system_prompt: merged
                .append_system_prompt
                .unwrap_or_else(|| Self::SYSTEM_PROMPT.to_owned()),
            max_turns: merged.max_turns,
            max_budget_usd_micros: merged.max_budget_usd_micros,
            max_budget_usd_per_day_micros: merged.max_budget_usd_per_day_micros,
            timeout_seconds: merged.timeout_seconds.unwrap_or(3600),
            idle_timeout_seconds: merged.idle_timeout_seconds.unwrap_or(900),
            max_attempts: merged.max_attempts.unwrap_or(3),
            setup: merged.setup.unwrap_or_default(),
            verify: merged.verify.unwrap_or_default(),
            verify_rounds: merged.verify_rounds.unwrap_or(1),
            copy_files: merged.copy_files.unwrap_or_default(),
            env: merged.env.unwrap_or_default(),
            set_env: merged.set_env.unwrap_or_default(),
            on_branch_exists: merged.on_branch_exists.unwrap_or(OnBranchExists::Continue),
            publish: merged.publish.unwrap_or(Publish::PullRequest),
            draft: merged.draft.unwrap_or(false),
            pr_labels: merged.pr_labels.unwrap_or_default(),
            reviewers: merged.reviewers.unwrap_or_default(),
            artifacts: merged.artifacts.unwrap_or_default(),
            keep_worktree: merged.keep_worktree,
            isolation: merged.isolation.unwrap_or(Isolation::Auto),
            allow_secrets: merged.allow_secrets.unwrap_or_default(),
            network: merged.network.unwrap_or(Network::Allow),
        }
    }
}

impl From<EffectiveOptions> for RunOptions {
    /// Everything said explicitly, so that one serialised shape serves both.
    fn from(all: EffectiveOptions) -> Self {
        Self {
            agent: Some(all.agent),
            model: all.model,
            effort: all.effort,
            permission_mode: Some(all.permission_mode),
            allowed_tools: all.allowed_tools,
            disallowed_tools: Some(all.disallowed_tools),
            append_system_prompt: Some(all.append_system_prompt),
            max_turns: all.max_turns,
            max_budget_usd_micros: all.max_budget_usd_micros,
            max_budget_usd_per_day_micros: all.max_budget_usd_per_day_micros,
            timeout_seconds: Some(all.timeout_seconds),
            idle_timeout_seconds: Some(all.idle_timeout_seconds),
            max_attempts: Some(all.max_attempts),
            setup: Some(all.setup),
            verify: Some(all.verify),
            verify_rounds: Some(all.verify_rounds),
            copy_files: Some(all.copy_files),
            env: Some(all.env),
            set_env: Some(all.set_env),
            on_branch_exists: Some(all.on_branch_exists),
            publish: Some(all.publish),
            draft: Some(all.draft),
            pr_labels: Some(all.pr_labels),
            reviewers: Some(all.reviewers),
            artifacts: Some(all.artifacts),
            keep_worktree: all.keep_worktree,
            isolation: Some(all.isolation),
            // a layer that may say it is the job's own
            allow_secrets: (!all.allow_secrets.is_empty()).then_some(all.allow_secrets),
            network: Some(all.network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_model(model: &str) -> RunOptions {
        RunOptions { model: Some(model.to_owned()), ..RunOptions::default() }
    }

    #[test]
    fn the_first_layer_that_says_something_wins() {
        let [job, profile, client, defaults] = ["job", "profile", "client", "defaults"].map(with_model);
        let silent = RunOptions::default();
        let table: [(&[&RunOptions], Option<&str>); 6] = [
            (&[&job, &profile, &client, &defaults], Some("job")),
            (&[&silent, &profile, &client, &defaults], Some("profile")),
            (&[&silent, &silent, &client, &defaults], Some("client")),
            (&[&silent, &silent, &silent, &defaults], Some("defaults")),
            (&[&silent, &silent, &silent, &silent], None),
            (&[], None),
        ];
        for (layers, expected) in table {
            assert_eq!(RunOptions::merge(layers).model.as_deref(), expected);
        }
    }

    #[test]
    fn each_option_is_looked_up_by_itself_and_lists_are_replaced() {
        let tools = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let job = RunOptions { allowed_tools: tools(&[]), draft: Some(false), ..RunOptions::default() };
        let client = RunOptions {
            allowed_tools: tools(&["Read"]),
            draft: Some(true),
            max_turns: Some(9),
            ..RunOptions::default()
        };
        let merged = RunOptions::merge(&[&job, &client]);
        assert_eq!(
            (merged.allowed_tools, merged.draft, merged.max_turns),
            (Some(Vec::new()), Some(false), Some(9))
        );
    }

    #[test]
    fn a_full_set_survives_every_way_through() {
        let full = RunOptions::from(EffectiveOptions::resolve(RunOptions::default(), false));
        assert_eq!(RunOptions::merge(&[&full]), full);
        assert_eq!(RunOptions::from(EffectiveOptions::resolve(full.clone(), true)), full);
        assert!(full.check(Layer::Client).is_empty(), "the defaults keep their own rules");
        assert_eq!(full.set_names().len() + 8, OptionName::ALL.len(), "eight options have no default");
    }

    #[test]
    fn permissions_depend_on_the_sandbox_until_somebody_says_otherwise() {
        let inside = EffectiveOptions::resolve(RunOptions::default(), true);
        assert_eq!(inside.permission_mode, PermissionMode::BypassPermissions);
        let outside = EffectiveOptions::resolve(RunOptions::default(), false);
        assert_eq!(outside.permission_mode, PermissionMode::AcceptEdits);
    }

    #[test]
    fn both_spellings_of_a_name_say_the_same() {
        for &name in OptionName::ALL {
            let mut camel = String::new();
            for part in name.snake_case().split('_') {
                let (head, tail) = part.split_at(1);
                camel.push_str(&if camel.is_empty() { head.to_owned() } else { head.to_uppercase() });
                camel.push_str(tail);
            }
            assert_eq!(name.camel_case(), camel);
        }
    }
}
