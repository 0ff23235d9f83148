//! Every key there is: its kind, its default, and one line about it.
//!
//! The one table that the file reader, the environment, `config show` and `config.example.toml` are made from.

use crate::domain::notice::Way;
use crate::domain::options::{Effort, Isolation, Network, OnBranchExists, PermissionMode, Publish};
use crate::domain::policy::Guard;

/// What a key's value looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// Never shown.
    Secret,
    /// An absolute path, or one below the home directory (`~/`).
    Path,
    Bool,
    Integer(u64, u64),
    /// US dollars, kept in millionths.
    Dollars,
    Words(&'static [&'static str]),
    Texts,
    /// A list of whole numbers, each within these bounds, at most 20.
    Integers(u64, u64),
    /// A list whose entries are argument lists, or lines for `sh -c`.
    Commands,
    /// Names to texts.
    Map,
    /// Variable names to values or `{ secret = "name" }`. Never shown.
    Variables,
    /// A value or `{ file = "/path" }`. Never shown.
    SecretOrFile,
}

/// One key. In `section` a `*` stands for a name of the owner's choice.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As written in TOML; empty when the key has no default.
    pub(super) default: &'static str,
    /// For a key without default: a value for the example file, as written in TOML.
    pub(super) example: &'static str,
    pub(super) about: &'static str,
}

const fn set(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { section, name, kind, default, example: "", about }
}

const fn unset(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key { section, name, kind, default: "", example, about }
}

const GUARD: Kind = Kind::Words(Guard::WORDS);
const DAYS: Kind = Kind::Integer(1, 36_500);
/// TOML integers are signed 64-bit numbers.
const BYTES_MAX: u64 = i64::MAX.unsigned_abs();
const WEEK_SECONDS: u64 = 604_800;
const AGENT_KINDS: &[&str] = &["claude", "codex", "opencode", "gemini", "acp", "command"];

#[rustfmt::skip] // one row a key
pub(super) static KEYS: &[Key] = &[
    set("server", "bind", Kind::Text, r#""127.0.0.1""#, "Address to listen on. Anything but loopback needs a secret of 32 characters or more."),
    set("server", "port", Kind::Integer(0, 65_535), "3456", "Port to listen on; 0 lets the system choose."),
    set("server", "max_concurrent_jobs", Kind::Integer(1, 64), "2", "Jobs that run at the same time."),
    unset("server", "max_concurrent_per_client", Kind::Integer(1, 64), "1", "Jobs of one client that run at the same time; without it only the limit above holds."),
    set("server", "queue_max", Kind::Integer(1, 100_000), "1000", "Queued jobs; further ones are answered 429."),
    set("server", "token_requests_per_minute", Kind::Integer(1, 1_000_000), "6000", "Requests of one named token in a minute; further ones are answered 429. The server's own secret has no such limit."),
    set("server", "drain_seconds", Kind::Integer(0, 600), "30", "How long a stop waits for git and forge steps under way. Longer needs a longer TimeoutStopSec in the service file."),
    set("server", "allowed_hosts", Kind::Texts, "[]", "Further names under which the server may be addressed; others are answered 421."),
    set("server", "keep_awake", Kind::Bool, "true", "Keep this machine from going to sleep by itself while jobs run, by systemd-inhibit or, on macOS, caffeinate."),
    unset("server", "public_url", Kind::Text, r#""https://offshoot.example.ts.net""#, "Under which you reach the server from elsewhere, for links in notices; without it they lead to this machine."),
    unset("server", "secret", Kind::Secret, r#""at-least-32-characters-of-your-own""#, "The admin token of the API. Better kept in a file of its own:"),
    unset("server", "secret_file", Kind::Path, r#""~/.config/offshoot/secret""#, "File with the admin token, mode 0600 or 0400. Where nobody names a token, the file `secret` beside the configuration is taken if it is there."),
    unset("paths", "data_dir", Kind::Path, r#""~/.local/share/offshoot""#, "Database, logs and sockets; by default the platform's place for data. At most 58 bytes long."),
    unset("paths", "repos_dir", Kind::Path, r#""~/.local/share/offshoot/repos""#, "Bare clones; by default `repos` in data_dir."),
    unset("paths", "worktrees_dir", Kind::Path, r#""~/.local/share/offshoot/worktrees""#, "Checkouts of running jobs; by default `worktrees` in data_dir."),
    unset("paths", "files_dir", Kind::Path, r#""~/.local/share/offshoot/files""#, "Files to copy into worktrees, one folder per client; by default `files` in data_dir."),
    set("github", "api_url", Kind::Text, r#""https://api.github.com""#, "The REST API; GitHub Enterprise: https://HOST/api/v3."),
    set("github", "clone_url", Kind::Text, r#""git@github.com:{org}/{repo}.git""#, "Where clones come from; {org} and {repo} are filled in."),
    unset("github", "token", Kind::Secret, r#""github_pat_…""#, "Token for pull requests, and for clones by https."),
    unset("github", "token_file", Kind::Path, r#""~/.config/offshoot/github-token""#, "File with the token, mode 0600 or 0400."),
    unset("github", "app_id", Kind::Integer(1, BYTES_MAX), "123456", "A GitHub App in place of a token: its id,"),
    unset("github", "app_key_file", Kind::Path, r#""~/.config/offshoot/app.pem""#, "the file with its private key, mode 0600 or 0400,"),
    unset("github", "app_installation_id", Kind::Integer(1, BYTES_MAX), "654321", "and its installation."),
    set("github", "allowed_orgs", Kind::Texts, "[]", "Organisations that jobs may name without a registered client; empty: all."),
    set("git", "author_name", Kind::Text, r#""offshoot""#, "Author of commits that are not the agent's own."),
    set("git", "author_email", Kind::Text, r#""offshoot@localhost""#, "Mail address of that author."),
    set("git", "protected_branches", Kind::Texts, r#"["main", "master"]"#, "Branches (globs) that no job may push to, besides the default branch."),
    unset("git", "signing_key", Kind::Text, r#""~/.ssh/id_ed25519.pub""#, "Key that signs commits."),
    set("git", "snapshot_days", DAYS, "30", "How long snapshots of unpublished work are kept."),
    unset("callbacks", "secret", Kind::Secret, r#""whsec_…""#, "Key of the callback signatures; without one callbacks are not signed."),
    unset("callbacks", "secret_file", Kind::Path, r#""~/.config/offshoot/webhook-secret""#, "File with that key, mode 0600 or 0400."),
    unset("callbacks", "previous_secret", Kind::Secret, r#""whsec_…""#, "The key before this one: both sign until 24 h after the first start with it."),
    set("callbacks", "signature_style", Kind::Words(&["hex", "sha256="]), r#""hex""#, "X-Agent-Signature as bare hex, or with `sha256=` before it."),
    set("callbacks", "allow", Kind::Texts, "[]", "Inner hosts, addresses or networks (\"10.0.0.0/8:8080\") that callbacks may reach."),
    set("callbacks", "retry_seconds", Kind::Integers(1, WEEK_SECONDS), "[5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]", "Waits before the second and each further try of a callback, each give or take a fifth; after the last one it is dead."),
    set("callbacks", "timeout_seconds", Kind::Integer(1, 30), "30", "How long a receiver may take for its answer."),
    set("callbacks", "tailnet", Kind::Bool, "false", "Whether callbacks may reach addresses of your tailnet."),
    set("policy", "gitmodules", GUARD, r#""deny""#, "Changes to .gitmodules: deny fails the job before anything is pushed, flag warns and labels the pull request, allow does nothing."),
    set("policy", "workflows", GUARD, r#""flag""#, "Changes to .github/workflows."),
    set("policy", "agent_config", GUARD, r#""flag""#, "Changes to settings of agents at any depth: .claude, .codex, .gemini, .opencode, .cursor, .mcp.json and the like."),
    set("policy", "secrets", GUARD, r#""deny""#, "What looks like a key of a known service in anything that a commit of the change writes. Values of this configuration are refused in any case."),
    set("policy", "network", Kind::Words(&["allow", "deny"]), r#""allow""#, "Whether the programs of any job may have a network; deny outranks every option, as defaults.network = \"deny\" does not."),
    set("policy", "isolation", Kind::Words(&["any", "sandbox"]), r#""any""#, "Whether the programs of any job may run outside of the sandbox; sandbox outranks every option, as defaults.isolation = \"sandbox\" does not."),
    set("sandbox", "read", Kind::Texts, "[]", "Paths that programs in the sandbox may read besides: what is hidden (docs/security.md), or lies in /tmp or /run."),
    set("sandbox", "write", Kind::Texts, "[]", "Paths that they may write besides: caches of your tools, such as ~/.cargo/registry or ~/go."),
    set("sandbox", "hide", Kind::Texts, "[]", "Paths that are hidden from them besides."),
    unset("agents.*", "kind", Kind::Words(AGENT_KINDS), r#""claude""#, "Which protocol the program speaks: claude, codex, opencode, gemini, acp or command. An entry of each kind exists from the start."),
    unset("agents.*", "command", Kind::Text, r#""claude""#, "The program, by path or as found in PATH."),
    unset("agents.*", "args", Kind::Texts, "[]", "Arguments before ours."),
    unset("agents.*", "env", Kind::Texts, r#"["CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"]"#, "Variables of the server that the agent may see, besides the harmless ones."),
    unset("agents.*", "set_env", Kind::Variables, r#"{ DISABLE_AUTOUPDATER = "1" }"#, "Variables to set: a text, or { secret = \"name\" }."),
    unset("profiles.*", "submit", Kind::Bool, "true", "Whether a token that may only submit can use the profile."),
    unset("profiles.*", "prompt", Kind::Text, r#""Review {{path}}. {{prompt}}""#, "Prompt template: {{name}} stands for a variable, {{prompt}} for the prompt of the job, {{{{ for two braces. Besides these two keys, every one of [defaults] can stand in a profile."),
    unset("notify.*", "kind", Kind::Words(Way::WORDS), r#""ntfy""#, "How you are told: ntfy, slack, discord, desktop or command."),
    unset("notify.*", "url", Kind::Secret, r#""https://ntfy.sh/your-topic""#, "Where to, for ntfy, slack and discord; whoever knows it can write there. Better kept in a file of its own:"),
    unset("notify.*", "url_file", Kind::Path, r#""~/.config/offshoot/ntfy-url""#, "File with that URL, mode 0600 or 0400."),
    unset("notify.*", "token", Kind::Secret, r#""tk_…""#, "Access token of an ntfy server that wants one."),
    unset("notify.*", "token_file", Kind::Path, r#""~/.config/offshoot/ntfy-token""#, "File with that token, mode 0600 or 0400."),
    unset("notify.*", "allow", Kind::Texts, r#"["192.168.1.5:8080"]"#, "Inner hosts, addresses or networks that this target alone may be at, besides those of callbacks.allow."),
    unset("notify.*", "command", Kind::Texts, r#"["/home/ada/bin/tell-me"]"#, "The program of kind command and its arguments; it gets the notice as JSON on standard input."),
    unset("notify.*", "on", Kind::Texts, r#"["failed", "held", "needs_input"]"#, "What you are told of: finished, failed, held (a login waits, or works again), needs_input. Without it: all four."),
    unset("secrets", "*", Kind::SecretOrFile, r#"{ file = "~/.config/offshoot/npm-token" }"#, "Values that set_env can name: a text, or the file that holds it."),
    set("limits", "step_output_bytes_max", Kind::Integer(65_536, BYTES_MAX), "268435456", "Output of one step that is kept, in bytes; further output is cut in the middle."),
    set("limits", "step_output_bytes_end", Kind::Integer(65_536, BYTES_MAX), "4294967296", "Output at which a step is ended, in bytes, whatever of it is kept."),
    set("limits", "step_processes_max", Kind::Integer(16, 1_000_000), "4096", "Processes and threads of one step; systemd holds it too where it can."),
    unset("limits", "step_memory_bytes_max", Kind::Integer(67_108_864, BYTES_MAX), "8589934592", "Memory of one step, in bytes; systemd holds it too where it can."),
    set("limits", "step_open_files_max", Kind::Integer(256, 1_000_000), "65536", "Files that one process of a step may have open; never more than the server itself may."),
    set("limits", "worktree_bytes_max", Kind::Integer(1_048_576, BYTES_MAX), "21474836480", "Disk space of one worktree, in bytes, with what its own repository in the sandbox takes."),
    set("limits", "worktree_files_max", Kind::Integer(1_000, 100_000_000), "1000000", "Files and directories of one worktree."),
    set("limits", "artifact_bytes_max", Kind::Integer(0, BYTES_MAX), "268435456", "Size of one file that a job keeps (artifacts), in bytes; larger ones are left out with a warning."),
    set("limits", "job_artifacts_bytes_max", Kind::Integer(0, BYTES_MAX), "1073741824", "Size of all files that one job keeps, in bytes; they take room on the disk of the data directory for artifact_days."),
    set("limits", "job_artifacts_max", Kind::Integer(1, 10_000), "500", "Files that one job keeps: whatever has more is better packed into one."),
    set("limits", "disk_free_bytes_min", Kind::Integer(0, BYTES_MAX), "1073741824", "No job starts while less space is free on the disk of the data directory, of the clones or of the worktrees."),
    set("retention", "job_days", DAYS, "365", "How long finished jobs are listed. Failed, cancelled and dry-run jobs stay for their worktree days + git.snapshot_days at least, for only they lead to their work."),
    unset("retention", "failed_job_days", DAYS, "365", "The same for jobs that failed, with the same least time: worktree days + git.snapshot_days."),
    unset("retention", "cancelled_job_days", DAYS, "365", "The same for jobs that were cancelled, with the same least time."),
    set("retention", "log_days", DAYS, "90", "How long the output of agents is kept."),
    unset("retention", "failed_log_days", DAYS, "90", "The same where the job failed."),
    unset("retention", "cancelled_log_days", DAYS, "90", "The same where the job was cancelled."),
    set("retention", "artifact_days", DAYS, "30", "How long files are kept that jobs keep (artifacts); never longer than their job is listed."),
    unset("retention", "failed_artifact_days", DAYS, "30", "The same where the job failed."),
    unset("retention", "cancelled_artifact_days", DAYS, "30", "The same where the job was cancelled."),
    set("retention", "event_days", DAYS, "90", "How long events are kept."),
    set("retention", "audit_days", DAYS, "365", "How long it is kept who has changed what and who was refused: at most 100,000 changes and 10,000 refusals; of more the tokens with the most lose their oldest."),
    set("retention", "worktree_days", DAYS, "7", "How long worktrees are kept where keep_worktree says that they are."),
    unset("retention", "failed_worktree_days", DAYS, "7", "The same where the job failed; set, it keeps those worktrees also where keep_worktree says nothing."),
    unset("retention", "cancelled_worktree_days", DAYS, "7", "The same where the job was cancelled."),
    set("log", "format", Kind::Words(&["human", "json"]), r#""human""#, "human, or json with one object a line."),
    set("log", "level", Kind::Words(&["error", "warn", "info", "debug", "trace"]), r#""info""#, "error, warn, info, debug or trace."),
    unset("log", "file", Kind::Path, r#""~/.local/state/offshoot/server.log""#, "File to log to, made with mode 0600; without it the log goes to standard error, which systemd keeps and turns."),
    set("log", "file_bytes_max", Kind::Integer(65_536, BYTES_MAX), "10485760", "Size at which the log file becomes FILE.1, that FILE.2 and so on."),
    set("log", "files_max", Kind::Integer(1, 1_000), "5", "Log files that are kept, the present one among them; the oldest goes."),
];

/// The keys of `[defaults]` and of profiles. Their defaults are those of `EffectiveOptions`.
#[rustfmt::skip] // one row a key
pub(super) static OPTION_KEYS: &[Key] = &[
    set("defaults", "agent", Kind::Text, r#""claude""#, "Name of an [agents.<name>] entry."),
    unset("defaults", "model", Kind::Text, r#""opus""#, "Model, by the agent's own naming."),
    unset("defaults", "effort", Kind::Words(Effort::WORDS), r#""high""#, "low, medium, high, xhigh or max."),
    unset("defaults", "permission_mode", Kind::Words(PermissionMode::WORDS), r#""acceptEdits""#, "default, plan, acceptEdits or bypassPermissions; by default acceptEdits, in a sandbox bypassPermissions."),
    unset("defaults", "allowed_tools", Kind::Texts, r#"["Read", "Edit", "Write", "Bash(git add:*)"]"#, "Tools that need no permission; by default reading, editing and local git."),
    set("defaults", "disallowed_tools", Kind::Texts, "[]", "Tools that are denied."),
    unset("defaults", "append_system_prompt", Kind::Text, r#""Do not push.""#, "Replaces the short text that agents are told about working here."),
    unset("defaults", "max_turns", Kind::Integer(1, 10_000), "200", "Turns of the agent."),
    unset("defaults", "max_budget_usd", Kind::Dollars, "5.0", "Money for one job, all its attempts together."),
    unset("defaults", "max_budget_usd_per_day", Kind::Dollars, "50.0", "Money for one day; can be set for a client only."),
    set("defaults", "timeout_seconds", Kind::Integer(1, WEEK_SECONDS), "3600", "Agent time while the machine is awake."),
    set("defaults", "idle_timeout_seconds", Kind::Integer(1, WEEK_SECONDS), "900", "Time without any event from the agent."),
    set("defaults", "max_attempts", Kind::Integer(1, 10), "3", "Attempts after interruptions."),
    set("defaults", "setup", Kind::Commands, "[]", "Commands before the agent: [\"make\", \"deps\"] runs as it stands, \"make deps\" through sh -c."),
    set("defaults", "verify", Kind::Commands, "[]", "Commands that must succeed before anything is pushed."),
    set("defaults", "verify_rounds", Kind::Integer(0, 10), "1", "How often a failed verification goes back to the agent."),
    set("defaults", "copy_files", Kind::Texts, "[]", "Globs of ignored files copied from files_dir, such as .env."),
    set("defaults", "env", Kind::Texts, "[]", "Variables of the server that the agent may see."),
    unset("defaults", "set_env", Kind::Map, r#"{ NPM_TOKEN = "npm-token" }"#, "Variables, each with the name of its [secrets] entry; in clients and profiles only."),
    set("defaults", "on_branch_exists", Kind::Words(OnBranchExists::WORDS), r#""continue""#, "continue, fail, suffix or reset."),
    set("defaults", "publish", Kind::Words(Publish::WORDS), r#""pull_request""#, "pull_request, branch or none."),
    set("defaults", "draft", Kind::Bool, "false", "Open pull requests as drafts."),
    set("defaults", "pr_labels", Kind::Texts, "[]", "Labels of pull requests."),
    set("defaults", "reviewers", Kind::Texts, "[]", "Reviewers: logins, or org/team."),
    set("defaults", "artifacts", Kind::Texts, "[]", "Globs of files to keep after a run, ignored ones too, such as coverage/** or report.html; one for which there is none fails the job."),
    unset("defaults", "keep_worktree", Kind::Bool, "true", "Keep worktrees for retention.worktree_days after the end of their job; by default they go at once, and what is not published is kept as a snapshot."),
    set("defaults", "isolation", Kind::Words(Isolation::WORDS), r#""auto""#, "What the programs of a job are kept in: sandbox (bubblewrap; a job fails where it does not work), auto (where it works), or none."),
    set("defaults", "network", Kind::Words(Network::WORDS), r#""allow""#, "Whether the programs of a job have a network; deny leaves them none at all, needs the sandbox, and keeps agents from their models."),
];

/// What is read and checked but not built yet: a value other than the default is refused, for ignoring it would leave
/// somebody unprotected. Work that builds a feature deletes its line.
pub(super) const NOT_BUILT: &[&str] = &["git.signing_key"];

/// Every key in the order of documentation.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    let (before, after) = KEYS.split_at(KEYS.iter().position(|key| key.section == "profiles.*").unwrap_or(0));
    before.iter().chain(OPTION_KEYS).chain(after)
}

impl Key {
    /// `server.port`, or `agents.*.kind`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Whether a name of the owner's choice is part of the path.
    pub(super) fn is_named(&self) -> bool {
        self.section.ends_with(".*") || self.name == "*"
    }

    pub(super) fn is_hidden(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::Variables | Kind::SecretOrFile)
    }

    /// The default as a value.
    pub(super) fn default_value(&self) -> Option<toml::Value> {
        if self.default.is_empty() {
            return None;
        }
        let line = format!("value = {}", self.default);
        toml::from_str::<toml::Table>(&line).ok()?.remove("value")
    }
}

/// The key at `path`, names of the owner's choice included.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    let (top, rest) = path.split_once('.')?;
    match (top, rest.split_once('.')) {
        ("secrets", None) => KEYS.iter().find(|key| key.section == "secrets"),
        ("profiles", Some((_, name))) => {
            let own = KEYS.iter().find(|key| key.section == "profiles.*" && key.name == name);
            own.or_else(|| OPTION_KEYS.iter().find(|key| key.name == name))
        }
        ("agents" | "notify", Some((_, name))) => {
            KEYS.iter().find(|key| key.section.strip_suffix(".*") == Some(top) && key.name == name)
        }
        ("defaults", None) => OPTION_KEYS.iter().find(|key| key.name == rest),
        (_, None) => KEYS.iter().find(|key| key.section == top && key.name == rest),
        _ => None,
    }
}

/// Whether a table may stand at `path`.
pub(super) fn is_section(path: &str) -> bool {
    match path.split_once('.') {
        None => all().any(|key| key.section.split('.').next() == Some(path)),
        Some((top, name)) => matches!(top, "agents" | "profiles" | "notify") && !name.contains('.'),
    }
}

/// The known key or section most like `path`, when one is like it at all.
pub(super) fn nearest(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('.').collect();
    if matches!(parts.first(), Some(&("agents" | "profiles" | "notify"))) && parts.len() > 1 {
        parts[1] = "*";
    }
    let wanted = parts.join(".");
    let sections = all().filter_map(|key| key.section.split('.').next().map(str::to_owned));
    let profile_keys = OPTION_KEYS.iter().map(|key| format!("profiles.*.{}", key.name));
    let candidates = all().map(Key::path).chain(profile_keys).chain(sections);
    candidates
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
