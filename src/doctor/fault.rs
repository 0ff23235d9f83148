//! Every fault that the doctor knows, as one table.

use crate::wire::doctor::Verdict;

macro_rules! faults {
    ($($variant:ident, $check:literal, $code:literal, $verdict:ident, $means:literal, $mend:literal;)+) => {
        /// A fault: in the order of the documentation. A code never changes its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $means] $variant,)+
        }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The check that finds it.
            #[must_use]
            pub const fn check(self) -> &'static str {
                match self { $(Self::$variant => $check,)+ }
            }

            /// The name in answers and in the documentation.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn means(self) -> &'static str {
                match self { $(Self::$variant => $means,)+ }
            }

            /// What to type; a word in capitals stands for what was found.
            #[must_use]
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend,)+ }
            }
        }
    };
}

faults! {
    ConfigBroken, "config", "config_broken", Fail,
        "The configuration cannot be used; each of its faults is told.",
        "${EDITOR:-vi} FILE";
    ConfigWarning, "config", "config_warning", Warn,
        "Something in the configuration works and should be known all the same.",
        "offshoot config show --origin";
    SecretMissing, "secret", "secret_missing", Fail,
        "There is no secret for the API; the server does not start without one.",
        "offshoot init";
    SecretWeak, "secret", "secret_weak", Warn,
        "The secret is shorter than 32 characters, which can be guessed.",
        "openssl rand -hex 32";
    SecretRefused, "secret", "secret_refused", Fail,
        "The secret is shorter than 32 characters, and others can reach the server's address: it does not start so.",
        "openssl rand -hex 32";
    UserUnknown, "user", "user_unknown", Warn,
        "USER is not set: agents find no login in a keychain without it.",
        "export USER=$(id -un)";
    GitMissing, "git", "git_missing", Fail,
        "There is no git.",
        "sudo apt install git";
    GitOld, "git", "git_old", Fail,
        "git is too old.",
        "sudo apt install --only-upgrade git";
    GitLfsMissing, "git_lfs", "git_lfs_missing", Warn,
        "There is no git-lfs; only repositories that use it need it.",
        "sudo apt install git-lfs";
    AgentMissing, "agents", "agent_missing", Fail,
        "The agent that jobs use was not found in PATH, or does not say its version.",
        "npm install -g PACKAGE";
    AgentOld, "agents", "agent_old", Fail,
        "The agent is older than the oldest version that is known to work.",
        "PROGRAM update";
    AgentNotLoggedIn, "agents", "agent_not_logged_in", Fail,
        "The agent is there, but not logged in.",
        "PROGRAM auth login";
    OtherAgentUnusable, "agents", "other_agent_unusable", Warn,
        "An agent that the configuration names, and no job uses by itself, cannot be used.",
        "npm install -g PACKAGE";
    ServiceMissesAgent, "agents", "server_misses_agent", Fail,
        "The running server does not find an agent that this shell finds: its PATH is another one.",
        "offshoot service install";
    ServerNotLoggedIn, "agents", "server_not_logged_in", Fail,
        "The running server finds an agent not logged in that is logged in for this shell: its environment is another one.",
        "${EDITOR:-vi} ~/.config/offshoot/env && offshoot service stop && offshoot service start";
    ServiceLacksProgram, "service", "service_lacks_program", Fail,
        "The PATH of the installed service does not lead to git, or to the agent that jobs use.",
        "offshoot service install";
    ServiceLacksOther, "service", "service_lacks_other", Warn,
        "The PATH of the installed service does not lead to an agent that the configuration names, to git-lfs, or to gh, of which the token is asked.",
        "offshoot service install";
    LingeringOff, "service", "lingering_off", Warn,
        "The service ends when its user logs out, and does not start with the machine.",
        "loginctl enable-linger";
    SandboxMissing, "isolation", "sandbox_missing", Warn,
        "There is no sandbox here: agents can read what the user can read who runs offshoot.",
        "sudo apt install bubblewrap";
    SandboxDemanded, "isolation", "sandbox_demanded", Fail,
        "Jobs are to run in a sandbox (defaults.isolation, policy.isolation), and there is none here: each would fail.",
        "sudo apt install bubblewrap";
    SandboxNotInForce, "isolation", "sandbox_not_in_force", Warn,
        "The sandbox works here, but the running server does not use it.",
        "offshoot config show --origin";
    TokenMissing, "github", "token_missing", Warn,
        "There is no GitHub token: jobs have to say --publish branch.",
        "gh auth login";
    TokenPlaceholder, "github", "token_placeholder", Fail,
        "The file of the token still holds the word that `offshoot init` put there: the server does not start.",
        "${EDITOR:-vi} FILE";
    TokenRefused, "github", "token_refused", Fail,
        "GitHub does not accept the token (looked at with --online only).",
        "gh auth login";
    AppRefused, "github", "app_refused", Fail,
        "GitHub does not accept the App, its key or its installation (looked at with --online only).",
        "${EDITOR:-vi} FILE";
    ForgeUnreachable, "github", "forge_unreachable", Warn,
        "GitHub could not be asked (looked at with --online only).",
        "curl -sSI URL";
    DataDirUnusable, "data_dir", "data_dir_unusable", Fail,
        "The data directory, or that of the clones, the worktrees or the files, cannot be made or written, or belongs to somebody else.",
        "ls -ld DIR";
    DataDirOpen, "data_dir", "data_dir_open", Warn,
        "Other users can look into the data directory, or into that of the clones, the worktrees or the files. The server closes it to them when it starts.",
        "chmod 700 DIR";
    DataDirPublic, "data_dir", "data_dir_public", Fail,
        "Every user can write into such a directory, so what lies in it may be anybody's: look whose it is (`ls -la`). The server does not start with it.",
        "chmod 700 DIR";
    DataDirRemote, "data_dir", "data_dir_remote", Fail,
        "The data directory lies on a network file system, where SQLite loses what it promised.",
        "export OFFSHOOT_PATHS_DATA_DIR=/a/directory/on/a/local/disk";
    DiskLow, "disk", "disk_low", Fail,
        "Less is free than limits.disk_free_bytes_min: no job starts.",
        "offshoot gc";
    DiskTight, "disk", "disk_tight", Warn,
        "Less than twice limits.disk_free_bytes_min is free.",
        "offshoot gc --dry-run";
    ServerAway, "server", "server_away", Warn,
        "No server answers.",
        "offshoot serve";
    NamedServerAway, "server", "named_server_away", Fail,
        "The server that --url or OFFSHOOT_URL names does not answer, or is none of offshoot.",
        "curl -sS URL";
    ServerRefuses, "server", "server_refuses", Fail,
        "The server does not accept the token of this shell.",
        "unset OFFSHOOT_TOKEN AGENT_API_SECRET";
    PortTaken, "server", "port_taken", Fail,
        "Another program listens at the server's address.",
        "offshoot serve --port PORT";
    AddressUnusable, "server", "address_unusable", Fail,
        "The server could not listen at its address.",
        "offshoot serve --bind 127.0.0.1";
    ServerSilent, "server", "server_silent", Fail,
        "The server does not answer in time, or with an error.",
        "offshoot queue status";
    OtherVersion, "server", "other_version", Warn,
        "The running server is another version than this program.",
        "offshoot service stop && offshoot service start";
    DatabaseReadOnly, "server", "database_read_only", Fail,
        "The server found its database damaged, or its disk full, and only reads.",
        "offshoot restore BACKUP";
    QueuePaused, "queue", "queue_paused", Warn,
        "The queue is paused: no job starts.",
        "offshoot queue resume";
    LoginHeld, "queue", "login_held", Warn,
        "All work of a login waits.",
        "offshoot queue try-now LOGIN";
    ClientPaused, "queue", "client_paused", Warn,
        "No job of this client starts.",
        "offshoot client set CLIENT --unpause";
    CallbacksDead, "queue", "callbacks_dead", Warn,
        "Callbacks were given up after all their tries.",
        "offshoot webhook ls --state dead";
}
