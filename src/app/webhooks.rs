//! Callbacks across all jobs: what became of them, URLs that are left alone, and a call to try a receiver out.

use serde_json::Value;

use super::App;
use super::caller::Caller;
use super::deliveries::delivery_id;
use super::error::AppError;
use super::rules;
use crate::domain::delivery::DeliveryState;
use crate::domain::id::RANDOM_LENGTH;
use crate::domain::id::{EventId, JobId};
use crate::domain::token::{Reach, Scope};
use crate::store::DeliveryFilter;
use crate::webhook::{SendLimits, SendRequest, Sender};
use crate::wire::delivery::{
    Delivery, DeliveryPage, DeliveryView, ListedDelivery, Resumed, SuspendedUrls, TestEvent, Tested,
};
use crate::wire::fields::{Fields, Reading};

/// Deliveries on one page.
const PAGE_MAX: i64 = 200;
/// Suspended URLs that are listed; whoever has more has another problem.
const SUSPENDED_MAX: u32 = 1_000;

/// What `GET /deliveries` may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Comma-separated.
    pub state: Option<String>,
    pub url: Option<String>,
    pub limit: Option<i64>,
    pub after: Option<String>,
}

impl App {
    /// # Errors
    /// [`AppError::Invalid`] for values out of range.
    pub async fn list_all_deliveries(
        &self,
        caller: &Caller,
        query: &DeliveryQuery,
    ) -> Result<DeliveryPage, AppError> {
        let wanted = DeliveryFilter { reach: caller.reach.clone(), ..filter(query)? };
        let (deliveries, next) = self.0.store.delivery_page(wanted).await?;
        Ok(DeliveryPage {
            deliveries: deliveries
                .into_iter()
                .map(|owned| ListedDelivery::of(&owned.job_id, owned.delivery))
                .collect(),
            next_cursor: next.map(|number| number.to_string()),
        })
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn get_delivery(&self, caller: &Caller, delivery: &str) -> Result<DeliveryView, AppError> {
        let (job, detail) = self.0.store.get_delivery(&delivery_id(delivery)?).await?;
        self.sees_delivery(caller, &job).await?;
        let body = serde_json::from_slice(&detail.delivery.body).unwrap_or(Value::Null);
        Ok(DeliveryView {
            job_id: job.to_string(),
            job_number: detail.delivery.job.0,
            body,
            delivery: Delivery::of(detail.delivery, detail.tries),
        })
    }

    /// As [`App::redeliver`], by the delivery alone.
    ///
    /// # Errors
    /// As there.
    pub async fn redeliver_by_id(&self, caller: &Caller, delivery: &str) -> Result<Delivery, AppError> {
        caller.needs(Scope::Operate)?;
        let delivery = delivery_id(delivery)?;
        let (job, detail) = self.0.store.get_delivery(&delivery).await?;
        self.sees_delivery(caller, &job).await?;
        self.send_again(caller, detail.delivery.job, &delivery).await
    }

    async fn sees_delivery(&self, caller: &Caller, job: &JobId) -> Result<(), AppError> {
        if caller.reach.is_whole() {
            return Ok(());
        }
        match self.view(caller, job.as_str()).await {
            Ok(_) => Ok(()),
            Err(AppError::NotFound(_)) => Err(AppError::NotFound("delivery")),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// [`AppError::Forbidden`] for a token that is limited to some clients: a URL may be of all.
    pub async fn suspended_urls(&self, caller: &Caller) -> Result<SuspendedUrls, AppError> {
        caller.needs_all_clients()?;
        let urls = self.0.store.suspended_urls(SUSPENDED_MAX).await?;
        Ok(SuspendedUrls { urls: urls.into_iter().map(Into::into).collect() })
    }

    /// Lifts the suspension of the URL that the body names: what waits for it becomes due.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when it is not suspended.
    pub async fn resume_callbacks(&self, caller: &Caller, body: &Value) -> Result<Resumed, AppError> {
        caller.needs(Scope::Operate)?;
        caller.needs_all_clients()?;
        let mut reading = Reading::default();
        let url = Fields::of(body, "", &mut reading).and_then(|mut fields| {
            let url = fields.text("url");
            fields.finish();
            url
        });
        if url.is_none() {
            reading.fault("/url", "must be given");
        }
        AppError::of_reading(&reading)?;
        let url = url.unwrap_or_default();
        let resumed = self.0.store.resume_callbacks(&url).await?;
        tracing::info!(by = caller.name, resumed, "callbacks resumed");
        Ok(Resumed { url, resumed, warnings: reading.warnings })
    }

    /// Makes one signed call to a URL, or to that of a job, and tells what came of it. Nothing is stored or repeated.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for a URL that may not be called; [`AppError::NotFound`] for the job.
    pub async fn test_webhook(&self, caller: &Caller, body: &Value) -> Result<Tested, AppError> {
        caller.needs(Scope::Operate)?;
        let mut reading = Reading::default();
        let (url, job) = Fields::of(body, "", &mut reading).map_or((None, None), |mut fields| {
            let named = (fields.text("url"), fields.text("jobId"));
            fields.finish();
            named
        });
        let url = match (url, job) {
            (Some(url), None) => {
                caller.needs_all_clients()?;
                Some(url)
            }
            (None, Some(job)) => {
                let url = self.view(caller, &job).await?.job.request.callback_url;
                if url.is_none() {
                    reading.fault("/jobId", "must be a job with an osCallbackUrl");
                }
                url
            }
            _ => {
                reading.fault("/url", "must be given, or jobId, but not both");
                None
            }
        };
        let faults = reading.faults.len();
        let url = rules::callback_url(url.as_deref(), &self.0.settings, &mut reading);
        // what is wrong with the URL was said of the field that jobs have
        reading.faults.iter_mut().skip(faults).for_each(|fault| fault.pointer = "/url".to_owned());
        AppError::of_reading(&reading)?;
        let tested = self.try_out(url.unwrap_or_default(), reading.warnings).await;
        tracing::info!(by = caller.name, status = tested.status, "receiver tried out");
        Ok(tested)
    }

    async fn try_out(&self, url: String, warnings: Vec<String>) -> Tested {
        let settings = &self.0.settings;
        let event_id = EventId::from_random(&self.0.clock.random_text(RANDOM_LENGTH)).to_string();
        let event = TestEvent::new(event_id.clone(), self.now());
        let secrets = settings.signing.as_ref().map(|secrets| secrets.at(self.0.store.steady_ms()));
        let request = SendRequest {
            url: &url,
            event_id: &event_id,
            body: &serde_json::to_vec(&event).unwrap_or_default(),
            secrets: secrets.as_ref(),
            timestamp_s: self.0.clock.now_ms() / 1_000,
        };
        let began_at = tokio::time::Instant::now();
        let result = Sender::new(settings.callbacks.clone(), SendLimits::default()).send(&request).await;
        let duration_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (status, error) = result.told();
        let (accepted, signed) = (error.is_none(), settings.signing.is_some());
        Tested { url, event_id, accepted, status, error, duration_ms, signed, warnings }
    }
}

fn filter(query: &DeliveryQuery) -> Result<DeliveryFilter, AppError> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(AppError::invalid("?limit", format!("must be between 1 and {PAGE_MAX}")));
    }
    let words = query.state.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty());
    let states: Option<Vec<_>> = words.map(DeliveryState::parse).collect();
    let states = states.ok_or_else(|| {
        let known: Vec<_> = DeliveryState::ALL.iter().map(|state| state.as_str()).collect();
        AppError::invalid("?state", format!("must be of {}, separated by commas", known.join(", ")))
    })?;
    let after = match &query.after {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|_| AppError::invalid("?after", "must be the nextCursor of a page"))?)
        }
    };
    Ok(DeliveryFilter {
        states,
        url: query.url.clone(),
        reach: Reach::WHOLE,
        after,
        limit: u32::try_from(limit).unwrap_or(50),
    })
}
