//! Jobs that grow old: between two lives their rows are made as old as those that the retention forgets.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use crate::caller::Caller;
use crate::evidence::{Accepted, Age};

const DAY_MS: i64 = 86_400_000;
/// Events are forgotten from the beginning of the history on, up to the first young one.
const EVENTS_DAYS: i64 = 400;

impl Age {
    /// The defaults of `[retention]` are 90 days for output and 365 for jobs.
    const fn days(self) -> i64 {
        match self {
            Self::PastOutput => 100,
            Self::PastListing => 400,
        }
    }
}

impl Caller {
    /// Makes one job old enough to be forgotten, and one whose output alone is; for times without a server. False: no job
    /// has ended that may grow old.
    pub(crate) fn let_jobs_grow_old(&self) -> bool {
        let mut young: Vec<_> =
            self.accepted().into_iter().filter(|job| job.over.is_some() && job.age.is_none()).collect();
        let Some(first) = young.pop() else { return false };
        let ages = [(first, Age::PastListing)].into_iter();
        for (job, age) in ages.chain(young.pop().map(|second| (second, Age::PastOutput))) {
            make_older(&self.stand.path("data/offshoot.db"), &job, age).unwrap();
            self.note(&job.id, |job| job.age = Some(age));
        }
        true
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
