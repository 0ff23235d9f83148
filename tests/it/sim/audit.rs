//! What must hold at the end of a history, read from the store and compared with what was seen outside.

use std::collections::BTreeMap;

use offshoot::domain::delivery::DeliveryState;
use offshoot::domain::event::EventKind;
use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::job::Status;
use offshoot::store::Store;

use super::settled::finish;
use super::world::State;

impl State {
    pub(super) fn audit(&mut self, store: &Store) {
        self.audit_jobs(store);
        self.audit_events(store);
        let refused: u64 = self.logins.iter().map(|login| login.refused).sum();
        let minutes = u64::try_from(self.clocks.true_ms / 60_000).unwrap();
        // one look a minute at a limit at the most, and those that ran when it was met or were told to look
        if refused > minutes + 100 {
            self.fault(format!("{refused} starts met a limit in {minutes} minutes"));
        }
        if let Some((key, _)) = self.processes.iter().find(|(_, process)| process.lives()) {
            let text = format!("the agent of {key:?} still lives");
            self.fault(text);
        }
    }

    fn audit_jobs(&mut self, store: &Store) {
        let jobs: Vec<_> = self.jobs.iter().map(|(number, job)| (*number, job.clone())).collect();
        for (number, believed) in jobs {
            let job = finish(store.get_job(&JobRef::Number(JobNumber(number)))).unwrap().job;
            if (job.status, job.attempt) != (believed.status, believed.attempt) {
                self.fault(format!(
                    "job {number} is {} {}, and was to be {believed:?}",
                    job.status, job.attempt
                ));
            }
            let attempts = finish(store.list_attempts(job.number)).unwrap();
            let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
            if numbers != (1..=job.attempt).collect::<Vec<_>>()
                || attempts.iter().any(|attempt| attempt.ended_at.is_none())
            {
                self.fault(format!("job {number} has the attempts {attempts:?}"));
            }
            let deliveries = finish(store.list_deliveries(job.number)).unwrap();
            if deliveries.len() != usize::from(believed.has_callback) {
                self.fault(format!("job {number} has {} callbacks", deliveries.len()));
            }
            for detail in deliveries {
                let delivery = detail.delivery;
                let heard = self.accepted(delivery.event_id.as_str());
                let right = match delivery.state {
                    DeliveryState::Delivered => heard > 0,
                    DeliveryState::Dead | DeliveryState::Suspended => true,
                    DeliveryState::Pending => false,
                };
                if !right {
                    self.fault(format!("job {number}: callback {:?} heard {heard} times", delivery.state));
                }
            }
        }
    }

    /// The history is in the order of its numbers, and each job's tells a life.
    fn audit_events(&mut self, store: &Store) {
        let events = finish(store.list_events(None, 0, 1_000_000)).unwrap();
        if !events.windows(2).all(|pair| pair[0].seq < pair[1].seq) {
            self.fault("events are out of order".to_owned());
        }
        let mut lives: BTreeMap<i64, (Status, u32)> = BTreeMap::new();
        for event in events {
            let life = lives.get(&event.job.0).copied();
            let next = match (event.kind, life) {
                (EventKind::JobQueued, None) => Some((Status::Queued, 0)),
                (EventKind::AttemptStarted, Some((Status::Queued, attempt)))
                    if event.attempt == Some(attempt + 1) =>
                {
                    Some((Status::Running, attempt + 1))
                }
                (EventKind::JobPhase, Some((Status::Running, attempt))) => Some((Status::Running, attempt)),
                (EventKind::JobHeld, Some((Status::Running, attempt))) => Some((Status::Queued, attempt)),
                (EventKind::JobCompleted, Some((Status::Running, attempt))) => {
                    Some((Status::Completed, attempt))
                }
                (EventKind::JobFailed, Some((status, attempt))) if status.is_live() => {
                    Some((Status::Failed, attempt))
                }
                (EventKind::JobCancelled, Some((status, attempt))) if status.is_live() => {
                    Some((Status::Cancelled, attempt))
                }
                (EventKind::DeliveryDelivered | EventKind::DeliveryDead, Some(life)) if !life.0.is_live() => {
                    Some(life)
                }
                (kind, Some(life)) if kind.is_told() && life.0 == Status::Running => Some(life),
                _ => None,
            };
            match next {
                Some(next) => {
                    lives.insert(event.job.0, next);
                }
                None => self.fault(format!("{event:?} after {life:?}")),
            }
        }
    }
}
