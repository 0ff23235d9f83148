//! Jobs that grow old: between two lives their rows are made as old as those that the retention forgets.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use crate::caller::Caller;
use crate::evidence::{Accepted, Age};
use crate::jobs::Kind;

const DAY_MS: i64 = 86_400_000;
/// Events are forgotten from the beginning of the history on, up to the first young one.
const EVENTS_DAYS: i64 = 400;

impl Age {
    /// The defaults of `[retention]` are 7 days for worktrees, 90 for output and 365 for jobs.
    const fn days(self) -> i64 {
        match self {
            Self::Unkept => 8,
            Self::Silent => 100,
            Self::Forgotten => 400,
        }
    }
}

impl Caller {
    /// Makes one job old enough to be forgotten, and one whose output alone is; for times without a server. False: no job
    /// has ended that may grow old.
    pub(crate) fn let_jobs_grow_old(&self) -> bool {
        let mut young = self.young();
        young.retain(|job| job.kind == Kind::Old);
        let Some(first) = young.pop() else { return false };
        let ages = [(first, Age::Forgotten)].into_iter();
        for (job, age) in ages.chain(young.pop().map(|second| (second, Age::Silent))) {
            make_older(&self.stand.path("data/offshoot.db"), &job, age).unwrap();
            self.note(&job.id, |job| job.age = Some(age));
        }
        true
    }

    /// The same for a worktree that was kept: the jobs of its chain become so old.
    pub(crate) fn let_a_worktree_grow_old(&self) {
        let mut young = self.young();
        young.retain(|job| job.keeps && self.removals().iter().all(|client| client.repo != job.repo));
        let Some(root) = young.first().map(|job| job.root.clone()) else { return };
        let all = self.accepted().into_iter().filter(|job| job.root == root);
        if all.clone().any(|job| job.over.is_none()) {
            return;
        }
        for job in all {
            make_older(&self.stand.path("data/offshoot.db"), &job, Age::Unkept).unwrap();
            self.note(&job.id, |job| job.age = Some(Age::Unkept));
        }
    }

    fn young(&self) -> Vec<Accepted> {
        self.accepted().into_iter().filter(|job| job.over.is_some() && job.age.is_none()).collect()
    }
}

fn make_older(file: &Path, job: &Accepted, age: Age) -> rusqlite::Result<()> {
    let mut database = Connection::open(file)?;
    // what the killed server left of its log is for the next one to find
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let less = age.days() * DAY_MS;
    let changes = database.transaction()?;
    changes.execute(
        "UPDATE jobs SET created_at = created_at - ?2, started_at = started_at - ?2, completed_at = completed_at - ?2,
             updated_at = updated_at - ?2 WHERE number = ?1",
        params![job.number, less],
    )?;
    changes.execute(
        "UPDATE attempts SET started_at = started_at - ?2, ended_at = ended_at - ?2 WHERE job = ?1",
        params![job.number, less],
    )?;
    if age == Age::Unkept {
        return changes.commit();
    }
    changes.execute(
        "UPDATE events SET at = at - ?2 WHERE seq <= (SELECT max(seq) FROM events WHERE job = ?1)",
        params![job.number, EVENTS_DAYS * DAY_MS],
    )?;
    changes.commit()
}

/// Events that were made old and are still there.
pub(crate) fn old_events(file: &Path, now_ms: i64) -> u64 {
    let before = now_ms - EVENTS_DAYS * DAY_MS / 2;
    let count = Connection::open(file).and_then(|database| {
        database.query_row("SELECT count(*) FROM events WHERE at < ?1", [before], |row| row.get(0))
    });
    count.unwrap_or(u64::MAX)
}
