//! A job: what a caller asked for, and how far it is.

use super::artifact::Artifacts;
use super::attachment::{AttachedFile, Attachment};
use super::branch::BranchName;
use super::delivery::CallbackSummary;
use super::hold::LimitWindow;
use super::id::{ClientId, JobId, JobNumber};
use super::named::named_enum;
use super::options::RunOptions;
use super::profile::UsedProfile;
use super::reason::Reason;
use super::time::Timestamp;
use super::visit::{GoesOn, HandedBack};

/// Prompt size in bytes after trimming: the most that a caller may send.
pub const PROMPT_BYTES_MAX: usize = 256 * 1024;
/// Title size in characters: what GitHub takes.
pub const TITLE_CHARS_MAX: usize = 256;
/// `metadata` as JSON text, in bytes.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Priorities reach from `-PRIORITY_MAX` to `PRIORITY_MAX`, higher first.
pub const PRIORITY_MAX: i8 = 10;
/// Jobs that one may depend on: each is looked up when the job is submitted.
pub const DEPENDENCIES_MAX: usize = 20;

named_enum! {
    /// Where in its life a job is. There will never be another value.
    Status {
        Queued = "queued",
        Running = "running",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl Status {
    /// Queued or running: it may still change.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

named_enum! {
    /// How far a job is.
    Phase {
        Queued = "queued",
        Preparing = "preparing",
        Agent = "agent",
        Verifying = "verifying",
        Committing = "committing",
        Pushing = "pushing",
        OpeningPr = "opening_pr",
        Done = "done",
    }
}

named_enum! {
    /// How a finished job ended.
    Outcome {
        PullRequest = "pull_request",
        BranchPushed = "branch_pushed",
        NoChanges = "no_changes",
        DryRun = "dry_run",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

named_enum! {
    /// Why a queued job is not running yet.
    WaitingFor {
        Slot = "slot",
        Branch = "branch",
        /// As many jobs of its client run as may; with `until`: the client has spent its money for the day.
        ClientLimit = "client_limit",
        Dependency = "dependency",
        RunAt = "run_at",
        /// A login's limit, or a peer that is away: `until` says when it is tried again.
        UsageLimit = "usage_limit",
        Login = "login",
        Paused = "paused",
        Disk = "disk",
        Attached = "attached",
        Backoff = "backoff",
    }
}

/// Why a queued job waits, and until when where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub for_: WaitingFor,
    pub until: Option<Timestamp>,
    /// Of a usage limit: which, where the agent has named it.
    pub window: Option<LimitWindow>,
}

impl Waiting {
    /// For something that is no limit of a login.
    #[must_use]
    pub const fn plain(for_: WaitingFor, until: Option<Timestamp>) -> Self {
        Self { for_, until, window: None }
    }
}

/// What a caller asked for; never changed after it was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRequest<Branch = BranchName> {
    pub prompt: String,
    /// The branch asked for, or the made-up one.
    pub branch: Branch,
    pub title: Option<String>,
    pub body: Option<String>,
    pub os_feature_id: Option<String>,
    pub callback_url: Option<String>,
    /// A JSON object as text, handed back as it came.
    pub metadata: Option<String>,
    pub labels: Vec<String>,
    pub base_branch: Option<String>,
    /// −10…10, higher first.
    pub priority: i8,
    /// Not started before this; in the past: at once.
    pub run_at: Option<Timestamp>,
    /// Not started before all of these have succeeded; at most [`DEPENDENCIES_MAX`].
    pub depends_on: Vec<JobId>,
    /// The files that came with it, or with the job that it retries.
    pub attachments: Vec<Attachment>,
    /// Those that the job itself came with.
    pub options: RunOptions,
    pub profile: Option<UsedProfile>,
    /// The name of the token that submitted it.
    pub submitted_by: String,
}

impl<Branch> JobRequest<Branch> {
    /// What the job and its profile say together; client and configuration come below.
    #[must_use]
    pub fn own_options(&self) -> RunOptions {
        match &self.profile {
            Some(profile) => RunOptions::merge(&[&self.options, &profile.options]),
            None => self.options.clone(),
        }
    }
}

/// How a job belongs to others: one branch, worktree path, session and pull request per chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first job of the chain; a job of its own chain names itself.
    pub root: JobId,
    /// The job that this one retries.
    pub original: Option<JobId>,
    /// The job that this one follows up.
    pub parent: Option<JobId>,
}

impl Chain {
    /// Whether the job goes on where another has ended, with something new.
    #[must_use]
    pub fn follows_up(&self) -> bool {
        self.original.is_none() && self.parent.is_some()
    }
}

/// Where the work of a job begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the agent.
    Agent,
    /// With the agent, which continues its conversation where there is one that it knows.
    Resume { session_id: Option<String> },
    /// With a finished commit of an earlier job of the chain: it is published, on top of what the branch has by now. No
    /// agent runs, unless `or_agent` is set and the commit does not fit there.
    Publish { base_sha: String, head_sha: String, or_agent: bool },
}

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub client_id: ClientId,
    pub request: NewJobRequest,
    /// `None`: a chain of its own.
    pub chain: Option<Chain>,
    pub start: Start,
    /// It goes on with the work of a person, which the agent has no part in unless the owner's commands refuse it.
    pub done_by_hand: bool,
    /// The `[agents.<name>]` entry whose login it uses: what a hold holds.
    pub login: String,
    /// What is in its attachments; of a retry nothing: it has those of the job that it retries.
    pub files: Vec<AttachedFile>,
}

/// A request whose branch may still be open: it is made from the number that the store gives.
pub type NewJobRequest = JobRequest<Option<BranchName>>;

/// Tokens, money and time of a step, an attempt or a whole job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// Millionths of a US dollar; `None` when the agent does not say.
    pub cost_micro_usd: Option<u64>,
    pub turns: u64,
    pub duration_ms: u64,
}

impl Usage {
    /// The sum of two attempts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let cost = match (self.cost_micro_usd, other.cost_micro_usd) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            cost_micro_usd: cost,
            turns: self.turns.saturating_add(other.turns),
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
        }
    }

    /// The tokens that `self`, the total of a conversation, has more than `before`; the rest is left as it is.
    #[must_use]
    pub fn without_tokens_of(self, before: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_sub(before.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_sub(before.cache_write_tokens),
            ..self
        }
    }

    /// Whether these tokens can be a total that holds the earlier ones.
    #[must_use]
    pub fn may_hold_tokens_of(self, before: Self) -> bool {
        self.input_tokens >= before.input_tokens
            && self.output_tokens >= before.output_tokens
            && self.cache_read_tokens >= before.cache_read_tokens
            && self.cache_write_tokens >= before.cache_write_tokens
    }
}

/// One command of `verify`, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// On one line, for people.
    pub command: String,
    /// 1 for the first look at the agent's work, one more after each repair.
    pub round: u32,
    /// `None`: it was killed, or never ran.
    pub exit_code: Option<i64>,
    /// Wall time.
    pub duration_ms: u64,
    /// The end of what it wrote, a few kilobytes; of one that did not accept the work.
    pub output: Option<String>,
}

/// What the job has brought about so far. Each field is stored when it is true and never taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub worktree_path: Option<String>,
    /// The commit that the work began at.
    pub base_sha: Option<String>,
    /// What the remote branch had when the work began, empty for nothing: the push is pinned to it.
    pub branch_tip: Option<String>,
    pub head_sha: Option<String>,
    /// The commit that the remote branch was proven to have.
    pub pushed_sha: Option<String>,
    pub pr_url: Option<String>,
    pub pr_number: Option<i64>,
    pub files_changed: Option<i64>,
    pub insertions: Option<i64>,
    pub deletions: Option<i64>,
    pub session_id: Option<String>,
    /// Process id of the agent while it runs.
    pub pid: Option<i64>,
    pub exit_code: Option<i64>,
    /// Where the agent said that its credential comes from, in its own word.
    pub authentication: Option<String>,
}

/// A job as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: JobId,
    pub number: JobNumber,
    pub client_id: ClientId,
    pub request: JobRequest,
    pub chain: Chain,
    pub start: Start,
    pub login: String,
    pub status: Status,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    /// Why it failed or was cancelled; of a queued job: what its last attempt met.
    pub reason: Option<Reason>,
    /// Number of the newest attempt, 0 before the first.
    pub attempt: u32,
    /// Attempts that used up one of `maxAttempts`.
    pub attempts_counted: u32,
    /// Tries since the last success that met a peer that was away.
    pub backoff_tries: u32,
    pub effects: Effects,
    /// Somebody has taken it over, and what has gone on with it since.
    pub handed_back: Option<HandedBack>,
    pub usage: Usage,
    /// Of the newest round of verification; the first that did not accept the work is the last.
    pub verify: Vec<Verification>,
    /// `None`: nothing was kept, or it is past its time.
    pub artifacts: Option<Artifacts>,
    pub warnings: Vec<String>,
    pub cancel_requested_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

impl Job {
    /// Whether an agent has still to run: a job with a commit has only to be published, and no hold of a login concerns it.
    #[must_use]
    pub fn needs_agent(&self) -> bool {
        !self.only_publishes() && self.effects.head_sha.is_none()
    }

    /// Whether somebody has done the work by hand: unless the owner's commands refuse it, no agent runs, and no hold of a login
    /// concerns it.
    #[must_use]
    pub fn is_done_by_hand(&self) -> bool {
        self.handed_back.is_some_and(|handed| handed.to == GoesOn::Publish && handed.turn.is_none())
    }

    /// Whether a worktree was made for its agent; a retry that publishes a commit needs none. The tip of the branch is looked
    /// up just before.
    #[must_use]
    pub fn was_given_a_worktree(&self) -> bool {
        self.effects.branch_tip.is_some()
    }

    /// Whether it publishes a commit that another job made.
    #[must_use]
    pub fn only_publishes(&self) -> bool {
        matches!(self.start, Start::Publish { .. })
    }

    /// Whether its work is proven on the remote. A push alone proves nothing of a job that failed after it: what the agent
    /// did beside the result may be in a snapshot only.
    #[must_use]
    pub fn is_published(&self) -> bool {
        matches!(self.outcome, Some(Outcome::PullRequest | Outcome::BranchPushed))
            && self.effects.pushed_sha.is_some()
    }
}

/// The commits that jobs have pushed.
pub fn pushed_by(jobs: &[Job]) -> impl Iterator<Item = &str> {
    jobs.iter().filter_map(|job| job.effects.pushed_sha.as_deref())
}

/// A job with what only the rest of the store can tell about it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    pub job: Job,
    pub client_name: String,
    pub repository: super::client::RepositoryName,
    /// `None` when the job is not queued.
    pub waiting: Option<Waiting>,
    /// 1 + the queued jobs before it; `None` when the job is not queued.
    pub position: Option<i64>,
    /// The newest job that retries it.
    pub retried_as: Option<JobNumber>,
    pub callback: CallbackSummary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(*status));
        }
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(*phase));
        }
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(*outcome));
        }
    }

    #[test]
    fn the_cost_of_a_silent_agent_stays_unknown() {
        let known = Usage { cost_micro_usd: Some(5), turns: 1, ..Usage::default() };
        assert_eq!(Usage::default().plus(Usage::default()).cost_micro_usd, None);
        assert_eq!(known.plus(Usage::default()).cost_micro_usd, Some(5));
        assert_eq!(known.plus(known).turns, 2);
    }
}
