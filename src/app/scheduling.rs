//! When a job may start: not before a time, not before other jobs have succeeded.

use std::time::Duration;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::{JobId, JobRef};
use crate::domain::job::DEPENDENCIES_MAX;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::wire::fields::Reading;
use crate::wire::time::UtcTime;

/// A leap year: what is farther away is a mistake in the number, and a place in the queue that nobody gets back.
const RUN_AT_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) fn run_at(text: Option<&str>, now: Timestamp, reading: &mut Reading) -> Option<Timestamp> {
    let Some(UtcTime(at)) = UtcTime::parse(text?) else {
        reading.fault("/runAt", "must be an RFC 3339 time, for example 2026-11-21T22:00:00Z");
        return None;
    };
    if at > now + RUN_AT_AHEAD_MAX {
        reading.fault("/runAt", "must be at most a year ahead");
    }
    Some(at)
}

impl App {
    /// The jobs that are named by id or number. One that is cleared up before the submission is stored is `job not found`
    /// then.
    pub(super) async fn dependencies(
        &self,
        caller: &Caller,
        names: &[String],
        reading: &mut Reading,
    ) -> Result<Vec<JobId>, AppError> {
        if names.len() > DEPENDENCIES_MAX {
            reading.fault("/dependsOn", format!("must have at most {DEPENDENCIES_MAX} entries"));
            return Ok(Vec::new());
        }
        let mut ids = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let pointer = format!("/dependsOn/{index}");
            let Some(name) = JobRef::parse(name) else {
                reading.fault(pointer, "must be the id or number of a job");
                continue;
            };
            match self.0.store.get_job_within(&name, &caller.reach).await {
                Ok(view) if ids.contains(&view.job.id) => {
                    reading.fault(pointer, format!("names job #{} again", view.job.number));
                }
                Ok(view) => ids.push(view.job.id),
                Err(StoreError::NotFound(_)) => reading.fault(pointer, "is not a job"),
                Err(StoreError::Ambiguous) => reading.fault(pointer, "begins more than one id of a job"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_start_is_rfc_3339_and_not_a_year_away() {
        let now = UtcTime::parse("2026-11-21T10:00:00Z").unwrap().0;
        let read = |text: &str| {
            let mut reading = Reading::default();
            let at = run_at(Some(text), now, &mut reading);
            (at, reading.faults.into_iter().map(|fault| fault.detail).collect::<Vec<_>>())
        };
        let good = ["2026-11-21T22:00:00+01:00", "2001-01-01T00:00:00Z", "2027-11-21T10:00:00.5Z"];
        for text in good {
            assert_eq!(read(text), (Some(UtcTime::parse(text).unwrap().0), vec![]), "{text}");
        }
        for wrong in ["", "tomorrow", "2026-11-21", "2026-11-21T22:00:00", "22:00", "1795254420"] {
            assert!(matches!(&read(wrong), (None, faults) if faults[0].contains("RFC 3339")), "{wrong}");
        }
        for far in ["2027-11-22T10:00:00.001Z", "9998-12-31T00:00:00Z"] {
            assert_eq!(read(far).1, ["must be at most a year ahead"], "{far}");
        }
    }
}
