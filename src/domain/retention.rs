//! How long things are kept after the end of their job, which may depend on how it ended.

use std::time::Duration;

use super::job::Status;
use super::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The days of one kind of thing, as `[retention]` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The key without what ended: `worktree_days`.
    pub key: &'static str,
    /// Days, where none of the others says something else.
    pub days: u64,
    /// Days after a failed job.
    pub failed: Option<u64>,
    /// Days after a cancelled job.
    pub cancelled: Option<u64>,
}

impl Kept {
    /// The same after every end.
    #[must_use]
    pub const fn always(key: &'static str, days: u64) -> Self {
        Self { key, days, failed: None, cancelled: None }
    }

    /// How long after an end with this status.
    #[must_use]
    pub fn after(&self, status: Status) -> Duration {
        self.own(status).unwrap_or_else(|| whole_days(self.days))
    }

    /// The configuration key that says so.
    #[must_use]
    pub fn rule(&self, status: Status) -> String {
        match self.own(status) {
            Some(_) => format!("retention.{status}_{}", self.key),
            None => format!("retention.{}", self.key),
        }
    }

    /// How long a worktree stays whose job ended so; `None`: it goes at once. `keep` is the run option `keepWorktree`: where
    /// nobody has set it, a key of just this end decides.
    #[must_use]
    pub fn worktree_after(&self, status: Status, keep: Option<bool>) -> Option<Duration> {
        match keep {
            Some(true) => Some(self.after(status)),
            Some(false) => None,
            None => self.own(status),
        }
    }

    /// When jobs must have ended at `now` to be past their time. Those whose work may be published nowhere stay for
    /// `unpublished` at least.
    #[must_use]
    pub fn cutoffs(&self, now: Timestamp, unpublished: impl Fn(Status) -> Duration) -> Cutoffs {
        let of = |status| now - self.after(status).max(unpublished(status));
        Cutoffs {
            completed: now - self.after(Status::Completed),
            dry_run: of(Status::Completed),
            failed: of(Status::Failed),
            cancelled: of(Status::Cancelled),
        }
    }

    fn own(&self, status: Status) -> Option<Duration> {
        match status {
            Status::Failed => self.failed.map(whole_days),
            Status::Cancelled => self.cancelled.map(whole_days),
            Status::Completed | Status::Queued | Status::Running => None,
        }
    }
}

/// Jobs that ended before these are past their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    pub completed: Timestamp,
    /// Completed, and published nowhere.
    pub dry_run: Timestamp,
    pub failed: Timestamp,
    pub cancelled: Timestamp,
}

fn whole_days(days: u64) -> Duration {
    DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_days_and_names_the_key_that_says_so() {
        let kept = Kept { failed: Some(30), ..Kept::always("worktree_days", 7) };
        let days = |days: u32| DAY * days;
        // status, keepWorktree, how long a worktree stays
        let table = [
            (Status::Completed, None, None),
            (Status::Completed, Some(true), Some(days(7))),
            (Status::Failed, None, Some(days(30))),
            (Status::Failed, Some(true), Some(days(30))),
            (Status::Failed, Some(false), None),
            (Status::Cancelled, None, None),
            (Status::Cancelled, Some(true), Some(days(7))),
        ];
        for (status, keep, expected) in table {
            assert_eq!(kept.worktree_after(status, keep), expected, "{status} {keep:?}");
        }
        assert_eq!(kept.rule(Status::Failed), "retention.failed_worktree_days");
        assert_eq!(kept.rule(Status::Cancelled), "retention.worktree_days");
        let now = Timestamp::from_ms(100 * 86_400_000);
        let ago = |days: u32| now - DAY * days;
        let expected = [
            (0, Cutoffs { completed: ago(7), dry_run: ago(7), failed: ago(30), cancelled: ago(7) }),
            (20, Cutoffs { completed: ago(7), dry_run: ago(20), failed: ago(30), cancelled: ago(20) }),
        ];
        for (unpublished, expected) in expected {
            assert_eq!(kept.cutoffs(now, |_| days(unpublished)), expected);
        }
    }
}
