//! Why a job failed or waits: one code per cause, and what follows from it.
//!
//! This table is the source; documentation and answers are made from it. A code never changes its name.

use std::fmt;

/// What `offshoot` does by itself when an attempt ends with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// All work of that login waits; the attempt is not counted.
    HoldLogin,
    /// The job waits a growing while and tries again; after [`BACKOFF_TRIES_MAX`] times it fails. Not counted.
    Backoff,
    /// Goes back to the queue at once; not counted.
    Requeue,
    /// Tried again while counted attempts are left, then the job fails.
    Count,
    /// The job has failed.
    Fail,
}

/// How many attempts of one job may be stopped without being counted. A server that is stopped with its agents night after night
/// never comes so far; what is stopped by its own doing, each time together with the server, does and has to end.
pub const STOPS_MAX: u32 = 10;

/// How often one job may wait for a peer that is away, or for room, before it fails; with [`backoff_seconds`] about an hour.
pub const BACKOFF_TRIES_MAX: u32 = 8;

/// Wait before the next try after `tries` tries (from 1) met a peer that was away: 15 s doubling up to half an hour.
#[must_use]
pub const fn backoff_seconds(tries: u32) -> u64 {
    let doublings = if tries == 0 { 0 } else { tries - 1 };
    let seconds = 15_u64 << if doublings > 7 { 7 } else { doublings };
    if seconds > 1_800 { 1_800 } else { seconds }
}

/// Longest wait that a peer can ask for, seconds: the windows of GitHub's limits are an hour.
pub const ASKED_SECONDS_MAX: u64 = 7_200;

/// A usage limit whose end nobody told is looked at again after so many seconds: one refused request is the price.
pub const LIMIT_UNTOLD_SECONDS: u64 = 1_800;
/// The same for a limit that was met just now and is over by our clock: the clocks differ, and whoever looked again at once
/// would start agents in a circle.
pub const LIMIT_OVER_SECONDS: u64 = 60;
/// Longest hold for a usage limit, seconds: the longest windows are a week, the rest is for clocks that differ.
pub const LIMIT_SECONDS_MAX: u64 = 8 * 86_400;

macro_rules! reason_codes {
    ($($variant:ident, $code:literal, $disposition:ident, $sentence:literal, $hint:literal;)+) => {
        /// The codes, in the order of the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ReasonCode {
            $(#[doc = $sentence] $variant,)+
        }

        impl ReasonCode {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The frozen name, as it stands in answers, events and the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }

            /// What to do about it; `JOB` stands for the job's number.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }

            #[must_use]
            pub const fn disposition(self) -> Disposition {
                match self { $(Self::$variant => Disposition::$disposition,)+ }
            }
        }
    };
}

reason_codes! {
    UsageLimit, "usage_limit", HoldLogin,
        "The agent's login has reached its usage limit.",
        "nothing to do: work goes on when the limit resets; to try it now: offshoot queue try-now";
    NotLoggedIn, "not_logged_in", HoldLogin,
        "The agent is not logged in.",
        "log the agent in as the user who runs offshoot (claude: `claude auth login`; codex: `codex login`; opencode: `opencode auth login`; gemini: start `gemini` once) or give it its key; to try it now: offshoot queue try-now";
    AgentMissing, "agent_missing", HoldLogin,
        "The agent's program was not found, cannot be run or is too old.",
        "see what is missing, and for the service too: offshoot doctor; install or update it, or name it in [agents.<name>] command; to try it now: offshoot queue try-now";
    Overloaded, "overloaded", Backoff,
        "The model's service was overloaded.",
        "offshoot retry JOB";
    ForgeRateLimited, "forge_rate_limited", Backoff,
        "The forge asked us to slow down.",
        "offshoot retry JOB";
    ForgeUnavailable, "forge_unavailable", Backoff,
        "The forge could not be reached.",
        "check the network and the forge's status page, then: offshoot retry JOB";
    RemoteUnavailable, "remote_unavailable", Backoff,
        "The git remote could not be reached.",
        "check the network and the clone URL, then: offshoot retry JOB";
    CloneDamaged, "clone_damaged", Backoff,
        "The local clone is damaged; it is set aside and made anew.",
        "nothing to do; what could not be brought over is named in the server's log and by: offshoot gc";
    Stopped, "stopped", Requeue,
        "The agent was stopped together with the server; the job goes on in a new attempt.",
        "nothing to do";
    Interrupted, "interrupted", Count,
        "The agent was cut off before it had finished.",
        "offshoot retry JOB";
    OutOfMemory, "out_of_memory", Count,
        "The agent was killed because memory ran out.",
        "run fewer jobs at once (server.max_concurrent_jobs) or let a step have more (limits.step_memory_bytes_max), then: offshoot retry JOB";
    Crashed, "crashed", Count,
        "The agent ended with an error of its own.",
        "look at its last output: offshoot logs JOB; then: offshoot retry JOB";
    Poisoned, "poisoned", Fail,
        "Every attempt took the server down with it.",
        "look at the server's log before you try it again: offshoot retry JOB";
    ApiError, "api_error", Fail,
        "The model's service answered with an error.",
        "offshoot retry JOB";
    Refused, "refused", Fail,
        "The model refused the request.",
        "change the prompt: offshoot retry JOB --prompt TEXT";
    PermissionDenied, "permission_denied", Fail,
        "The agent was denied the tools it asked for and changed nothing.",
        "allow them with permissionMode, or for claude allowedTools, of the client (PATCH /clients/:id) or in [defaults], then: offshoot retry JOB";
    NeedsInput, "needs_input", Fail,
        "The agent asked a question that nobody answers here.",
        "answer it: offshoot retry JOB --resume --prompt TEXT";
    MaxTurns, "max_turns", Fail,
        "The agent used up the turns it was given.",
        "go on with as many again: offshoot retry JOB --resume; with more: offshoot follow-up JOB TEXT --max-turns N; what it has done: offshoot rescue JOB";
    MaxBudget, "max_budget", Fail,
        "The job used up the money it was given.",
        "go on with as much again: offshoot retry JOB --resume; what it has done: offshoot rescue JOB";
    ClientBudget, "client_budget", Count,
        "The job's client has spent its money for the day.",
        "offshoot retry JOB; to have it go on today: PATCH /clients/:id {\"options\": {\"maxBudgetUsdPerDay\": USD}}";
    Timeout, "timeout", Fail,
        "The agent ran longer than it was allowed to.",
        "go on for as long again: offshoot retry JOB --resume; for longer: offshoot follow-up JOB TEXT --timeout DURATION; what it has done: offshoot rescue JOB";
    IdleTimeout, "idle_timeout", Fail,
        "The agent was silent for longer than it was allowed to.",
        "go on: offshoot retry JOB --resume; to wait longer: idleTimeoutSeconds of the client (PATCH /clients/:id) or in [defaults]; what it has done: offshoot rescue JOB";
    OutputLimit, "output_limit", Fail,
        "The agent wrote more output than it was allowed to.",
        "look at it with: offshoot logs JOB; the number is limits.step_output_bytes_end";
    ResourceLimit, "resource_limit", Fail,
        "The agent used more of the machine than it was allowed to.",
        "see [limits] in the configuration, then: offshoot retry JOB";
    SecretMissing, "secret_missing", Fail,
        "A secret that the job's client or profile names is not configured.",
        "name it in [secrets] of the configuration and restart the server, or take it out of setEnv, then: offshoot retry JOB";
    SetupFailed, "setup_failed", Fail,
        "A setup command failed.",
        "look at its output: offshoot logs JOB";
    VerifyFailed, "verify_failed", Fail,
        "A verification command failed; nothing was pushed.",
        "look at its output: offshoot logs JOB; the work is kept: offshoot rescue JOB";
    ArtifactMissing, "artifact_missing", Fail,
        "A file that was to be kept does not exist.",
        "see the job's warnings and its output, or artifacts of the job, its client or [defaults], then: offshoot retry JOB; to publish the commit without it: offshoot retry JOB --publish";
    CloneFailed, "clone_failed", Fail,
        "The repository could not be cloned.",
        "try by hand as the user who runs offshoot: git ls-remote URL; then: offshoot retry JOB";
    RepoNotFound, "repo_not_found", Fail,
        "The repository does not exist, or this login may not see it.",
        "check the name and the access of the token or key, then: offshoot retry JOB; a name that was mistyped is in the list of clients now, and goes by: offshoot client rm ORG/REPO";
    RepoArchived, "repo_archived", Fail,
        "The repository is archived and takes no changes.",
        "unarchive it on the forge, then: offshoot retry JOB";
    BaseNotFound, "base_not_found", Fail,
        "The base branch does not exist on the remote.",
        "name one that exists: offshoot submit --repo ORG/REPO --base BRANCH TEXT; or for all its jobs: offshoot client set ORG/REPO --default-branch BRANCH";
    ProtectedBranch, "protected_branch", Fail,
        "Work is never pushed to the default branch or to a protected one.",
        "submit it under another name: offshoot submit --repo ORG/REPO --branch NAME TEXT";
    BranchExists, "branch_exists", Fail,
        "The branch exists on the remote and options.onBranchExists is \"fail\".",
        "submit it under another name: offshoot submit --repo ORG/REPO --branch NAME TEXT; or let onBranchExists of the client (PATCH /clients/:id) be continue, suffix or reset";
    BranchMoved, "branch_moved", Fail,
        "Somebody else moved the branch while the job ran; nothing was overwritten.",
        "offshoot retry JOB (the commits are brought onto the branch; the agent runs again only where they conflict)";
    PushRejected, "push_rejected", Fail,
        "The remote refused the push.",
        "mend what is said above, then: offshoot retry JOB (a commit that is made is published, and the agent does not run again)";
    ForgeAuth, "forge_auth", Fail,
        "The forge or the git remote did not accept our credentials.",
        "renew the token or key, then: offshoot retry JOB (the agent does not run again)";
    ForgeForbidden, "forge_forbidden", Fail,
        "The credentials may not do this on the forge.",
        "give the token write access to contents and pull requests, then: offshoot retry JOB";
    PullRequestRefused, "pull_request_refused", Fail,
        "The forge refused the pull request; the branch is pushed.",
        "see the forge's text above; when it is mended: offshoot retry JOB (the agent does not run again)";
    HistoryRewritten, "history_rewritten", Fail,
        "The agent's result does not build on the commit it started from.",
        "tell the agent not to rebase, amend or reset: offshoot retry JOB --prompt TEXT; what it has done: offshoot rescue JOB";
    RepoTampered, "repo_tampered", Fail,
        "Files of the local clone that only offshoot writes were changed; its client is paused.",
        "look at the clone's config and hooks, then unpause the client, which writes them anew: offshoot client set ORG/REPO --unpause";
    PolicyDenied, "policy_denied", Fail,
        "The change touches files that the policy keeps closed.",
        "let the agent leave those files alone: offshoot retry JOB --prompt TEXT; or allow them in [policy], then: offshoot retry JOB --publish";
    SandboxUnavailable, "sandbox_unavailable", Fail,
        "The sandbox that the job has to run in does not work on this machine.",
        "install bubblewrap (apt install bubblewrap) and let users have namespaces, or let the job run without (isolation: auto or none), then: offshoot retry JOB";
    SecretDetected, "secret_detected", Fail,
        "The change holds something that looks like a secret; nothing was pushed.",
        "renew a key that is real, and put the file into .gitignore: offshoot retry JOB --prompt TEXT; if it is none: offshoot retry JOB --allow-secret FINGERPRINT";
    UnsupportedFilter, "unsupported_filter", Fail,
        "A changed file needs a git filter that offshoot does not run.",
        "install what is named above, if anything is, then: offshoot retry JOB; or let the agent leave that file alone: offshoot retry JOB --prompt TEXT";
    UnsupportedOption, "unsupported_option", Fail,
        "An option asks for what the agent cannot do; that was set, or known, only after the job was accepted.",
        "take it out of the job, the client (PATCH /clients/:id) or [defaults], or name another agent there, then: offshoot retry JOB";
    DependencyFailed, "dependency_failed", Fail,
        "A job that this one depends on failed or was cancelled.",
        "retry that job first, then: offshoot retry JOB";
    DiskFull, "disk_full", Backoff,
        "The disk is full.",
        "free space, then: offshoot retry JOB";
    Internal, "internal", Fail,
        "Something inside offshoot went wrong; the server's log has the details.",
        "offshoot retry JOB; if it happens again, please report it";
    Cancelled, "cancelled", Fail,
        "The job was cancelled.",
        "offshoot retry JOB";
}

impl ReasonCode {
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == code)
    }

    /// What to do while the job goes on by itself, or has done so: a job that has not failed cannot be retried.
    #[must_use]
    pub const fn hint_while_it_goes_on(self) -> &'static str {
        match self {
            Self::Overloaded | Self::ForgeRateLimited | Self::Interrupted | Self::Crashed => {
                "nothing to do: it is tried again by itself"
            }
            Self::ForgeUnavailable => {
                "check the network and the forge's status page; it is tried again by itself"
            }
            Self::RemoteUnavailable => "check the network and the clone URL; it is tried again by itself",
            Self::DiskFull => "free space; it is tried again by itself",
            Self::OutOfMemory => {
                "it is tried again by itself; to give it room: fewer jobs at once (server.max_concurrent_jobs) or more for a step (limits.step_memory_bytes_max)"
            }
            Self::ClientBudget => {
                "nothing to do: it goes on at midnight UTC; to go on today: PATCH /clients/:id {\"options\": {\"maxBudgetUsdPerDay\": USD}}"
            }
            _ => self.hint(),
        }
    }

    /// Whether a conversation may be gone on with after this: `retry --resume` does, else it starts again.
    #[must_use]
    pub const fn resumable(self) -> bool {
        // whatever took the server down each time may be what was said
        !matches!(self, Self::Poisoned)
    }

    /// Whether a `retry` without changing anything has a chance.
    #[must_use]
    pub const fn retryable(self) -> bool {
        !matches!(
            self,
            Self::BaseNotFound
                | Self::ProtectedBranch
                | Self::BranchExists
                | Self::RepoNotFound
                | Self::RepoArchived
                | Self::PolicyDenied
                | Self::SecretDetected
        )
    }

    /// The commit itself is at fault: published as it is, it would be refused again.
    #[must_use]
    pub const fn refuses_the_work(self) -> bool {
        matches!(
            self,
            Self::VerifyFailed
                | Self::ArtifactMissing
                | Self::HistoryRewritten
                | Self::PolicyDenied
                | Self::SecretDetected
                | Self::UnsupportedFilter
        )
    }

    /// The commit is made and only its publication failed: a retry publishes it and does not run the agent again.
    #[must_use]
    pub const fn is_publication(self) -> bool {
        matches!(
            self,
            Self::PushRejected
                | Self::BranchMoved
                | Self::ForgeAuth
                | Self::ForgeForbidden
                | Self::PullRequestRefused
                | Self::ForgeRateLimited
                | Self::ForgeUnavailable
                | Self::RemoteUnavailable
        )
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code with what happened in this very case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: ReasonCode,
    /// One or two sentences for people, without paths or secrets.
    pub message: String,
}

/// Longest reason message in bytes that is stored: a screen of text; longer ones come from other programs and are cut.
pub const REASON_BYTES_MAX: usize = 2_048;

impl Reason {
    /// The code's own sentence, and `detail` behind it when there is one.
    #[must_use]
    pub fn new(code: ReasonCode, detail: &str) -> Self {
        Self::told(code, &format!("{} {}", code.sentence(), detail.trim()))
    }

    /// A message in place of the code's own sentence, where that would say something wrong.
    #[must_use]
    pub fn told(code: ReasonCode, message: &str) -> Self {
        let mut message = message.trim().to_owned();
        if message.len() > REASON_BYTES_MAX {
            let mut end = REASON_BYTES_MAX;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        Self { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name_and_says_what_to_do() {
        for code in ReasonCode::ALL {
            assert_eq!(ReasonCode::parse(code.as_str()), Some(*code));
            assert!(code.sentence().ends_with('.') && !code.hint().is_empty(), "{code}");
        }
        assert_eq!(ReasonCode::parse("nonsense"), None);
    }

    #[test]
    fn nobody_is_told_to_retry_what_is_tried_again_by_itself() {
        for code in ReasonCode::ALL {
            let fails = code.disposition() == Disposition::Fail;
            assert!(fails || !code.hint_while_it_goes_on().contains("offshoot retry"), "{code}");
        }
    }

    #[test]
    fn the_table_of_what_follows() {
        use Disposition::{Backoff, Count, Fail, HoldLogin, Requeue};
        let table = [
            (HoldLogin, vec!["usage_limit", "not_logged_in", "agent_missing"]),
            (
                Backoff,
                vec![
                    "overloaded",
                    "forge_rate_limited",
                    "forge_unavailable",
                    "remote_unavailable",
                    "clone_damaged",
                    "disk_full",
                ],
            ),
            (Requeue, vec!["stopped"]),
            (Count, vec!["interrupted", "out_of_memory", "crashed", "client_budget"]),
        ];
        for (disposition, codes) in &table {
            let found: Vec<_> = ReasonCode::ALL
                .iter()
                .filter(|code| code.disposition() == *disposition)
                .map(|code| code.as_str())
                .collect();
            assert_eq!(&found, codes);
        }
        assert_eq!(ReasonCode::ALL.iter().filter(|code| code.disposition() == Fail).count(), 36);
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        let waits: Vec<_> = (1..=9).map(backoff_seconds).collect();
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 1_800, 1_800]);
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let reason = Reason::new(ReasonCode::PushRejected, &"ä".repeat(5_000));
        assert!(reason.message.len() <= REASON_BYTES_MAX + 3 && reason.message.ends_with('…'));
    }
}
