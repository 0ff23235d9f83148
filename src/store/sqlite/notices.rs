//! Notices for people, put into the outbox in the transaction of what they tell.

use std::sync::Arc;

use rusqlite::Connection;

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::deliveries;
use crate::clock::Clock;
use crate::domain::id::{DeliveryId, EventId, JobNumber, RANDOM_LENGTH};
use crate::domain::job::JobView;
use crate::domain::notice::{HoldMoved, Subscription};
use crate::wire::notice::Notice;

/// Who is told of what. Cheap to clone.
#[derive(Clone, Debug)]
pub(in super::super) struct Notices {
    pub(in super::super) subscriptions: Arc<[Subscription]>,
    pub(in super::super) clock: Clock,
}

impl Notices {
    /// A job is over.
    pub(super) fn of_end(
        &self,
        connection: &Connection,
        now: Moment,
        view: &JobView,
    ) -> Result<(), StoreError> {
        self.tell(connection, now, view.job.number, |event| Notice::of_end(view, event, now.wall))
    }

    /// The hold of a login began or ended with an attempt of `job`.
    pub(super) fn of_hold(
        &self,
        connection: &Connection,
        now: Moment,
        job: JobNumber,
        moved: &HoldMoved,
    ) -> Result<(), StoreError> {
        self.tell(connection, now, job, |event| Some(Notice::of_hold(moved, event, now.wall)))
    }

    /// Each delivery has an id of its own, as that of a callback has.
    fn tell(
        &self,
        connection: &Connection,
        now: Moment,
        job: JobNumber,
        notice: impl Fn(&EventId) -> Option<Notice>,
    ) -> Result<(), StoreError> {
        for subscription in self.subscriptions.iter() {
            let event = EventId::from_random(&self.clock.random_text(RANDOM_LENGTH));
            let delivery = DeliveryId::from_random(&self.clock.random_text(RANDOM_LENGTH));
            let rendered =
                notice(&event).and_then(|notice| notice.addressed_to(subscription, event, delivery));
            if let Some(rendered) = rendered {
                deliveries::insert(connection, now, job, &rendered)?;
            }
        }
        Ok(())
    }
}
