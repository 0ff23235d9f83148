//! The outbox as people look at it: across all jobs, and by the URLs that are left alone.

use rusqlite::{OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::view::{DeliveryDetail, DeliveryFilter, OwnedDelivery};
use super::super::{Change, Store};
use super::{deliveries, reach, rows};
use crate::domain::delivery::{DeliveryState, SuspendedUrl};
use crate::domain::id::{DeliveryId, JobId};
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

impl Store {
    /// Deliveries of all jobs, newest first, with the number to go on behind.
    ///
    /// # Errors
    /// What the database said.
    pub async fn delivery_page(
        &self,
        filter: DeliveryFilter,
    ) -> Result<(Vec<OwnedDelivery>, Option<i64>), StoreError> {
        let now = self.moment();
        let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
        let states = serde_json::to_string(&states).unwrap_or_else(|_| "[]".to_owned());
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT d.*, j.id AS job_id FROM deliveries d JOIN jobs j ON j.number = d.job
                     WHERE d.number < ?1 AND (?2 = '[]' OR d.state IN (SELECT value FROM json_each(?2)))
                       AND (?3 IS NULL OR d.url = ?3)
                       AND (?5 IS NULL OR j.client IN (SELECT number FROM clients
                           WHERE id IN (SELECT value FROM json_each(?5))))
                     ORDER BY d.number DESC LIMIT ?4",
                )?;
                let after = filter.after.unwrap_or(i64::MAX);
                let wanted = params![after, states, filter.url, filter.limit + 1, reach::list(&filter.reach)];
                let mut found = statement
                    .query_map(wanted, |row| {
                        let delivery = rows::delivery(row, now)?;
                        Ok((row.get::<_, i64>("number")?, row.get::<_, String>("job_id")?, delivery))
                    })?
                    .collect::<Result<Vec<_>, _>>()?;
                let more = found.len() > usize::try_from(filter.limit).unwrap_or(usize::MAX);
                found.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
                let next = found.last().filter(|_| more).map(|(number, ..)| *number);
                let owned = found.into_iter().filter_map(|(_, job_id, delivery)| {
                    Some(OwnedDelivery { job_id: JobId::parse(&job_id).ok()?, delivery })
                });
                Ok((owned.collect(), next))
            })
            .await
    }

    /// One delivery with its tries and its job.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn get_delivery(&self, id: &DeliveryId) -> Result<(JobId, DeliveryDetail), StoreError> {
        let (id, now) = (id.clone(), self.moment());
        self.database
            .read(move |connection| {
                let detail = deliveries::detail(connection, now, &id)?;
                let job: Option<String> = connection
                    .prepare_cached("SELECT id FROM jobs WHERE number = ?1")?
                    .query_row([detail.delivery.job.0], |row| row.get(0))
                    .optional()?;
                let job = job.and_then(|job| JobId::parse(&job).ok()).ok_or(StoreError::NotFound("job"))?;
                Ok((job, detail))
            })
            .await
    }

    /// URLs that answered 410, the newest first, with the number of callbacks that wait for each; at most `limit`.
    ///
    /// # Errors
    /// What the database said.
    pub async fn suspended_urls(&self, limit: u32) -> Result<Vec<SuspendedUrl>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT url, since, (SELECT count(*) FROM deliveries d INDEXED BY deliveries_by_state
                                         WHERE d.state = ?2 AND d.url = s.url) AS waiting
                     FROM suspended_urls s ORDER BY since DESC, url LIMIT ?1",
                )?;
                let found =
                    statement.query_map(params![limit, DeliveryState::Suspended.as_str()], |row| {
                        Ok(SuspendedUrl {
                            url: row.get("url")?,
                            since: Timestamp::from_ms(row.get("since")?),
                            waiting: row.get("waiting")?,
                        })
                    })?;
                Ok(found.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Lifts the suspension of a URL; gives how many callbacks became due by that.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the URL is not suspended.
    pub async fn resume_callbacks(&self, url: &str) -> Result<u64, StoreError> {
        let (url, now) = (url.to_owned(), self.moment());
        let resumed = self
            .database
            .write(Edge::ResumeUrl, move |connection| deliveries::resume_url(connection, now, &url))
            .await?;
        self.tell(Change::Deliveries);
        resumed.ok_or(StoreError::NotFound("suspended URL"))
    }
}
