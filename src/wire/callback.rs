//! The webhook that tells about the end of a job: rendered once, in the transaction that ends it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::job::{Reason, Usage, Verification, metadata};
use super::time::UtcTime;
use super::words::{Outcome, Status};
use crate::domain::delivery::RenderedCallback;
use crate::domain::event::EventKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::job::{self, JobView};
use crate::domain::time::Timestamp;

/// The body of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackBody {
    /// `job.completed`, `job.failed` or `job.cancelled`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The same in every try; also the `webhook-id`.
    pub event_id: String,
    /// When the event happened.
    pub timestamp: UtcTime,
    pub job_id: String,
    pub number: i64,
    pub os_feature_id: Option<String>,
    pub status: Status,
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    pub error: Option<String>,
    pub branch_name: String,
    pub head_sha: Option<String>,
    pub pr_url: Option<String>,
    pub pr_number: Option<i64>,
    pub files_changed: Option<i64>,
    pub completed_at: Option<UtcTime>,
    pub metadata: Option<Value>,
    pub labels: Vec<String>,
    pub usage: Usage,
    pub verify: Vec<Verification>,
}

/// The bytes for a job that has just ended; `None` when nobody wants to hear of it or it is still live. Pure: the ids
/// and the time are given.
#[must_use]
pub fn render_callback(
    view: &JobView,
    event_id: EventId,
    delivery_id: DeliveryId,
    now: Timestamp,
) -> Option<RenderedCallback> {
    let url = view.job.request.callback_url.clone()?;
    let kind = match view.job.status {
        job::Status::Queued | job::Status::Running => return None,
        job::Status::Completed => EventKind::JobCompleted,
        job::Status::Failed => EventKind::JobFailed,
        job::Status::Cancelled => EventKind::JobCancelled,
    };
    let (job, effects) = (&view.job, &view.job.effects);
    let failed = job.status == job::Status::Failed;
    let body = CallbackBody {
        type_: kind.to_string(),
        event_id: event_id.to_string(),
        timestamp: now.into(),
        job_id: job.id.to_string(),
        number: job.number.0,
        os_feature_id: job.request.os_feature_id.clone(),
        status: job.status.into(),
        outcome: job.outcome.map(Outcome),
        reason: job.reason.as_ref().map(|reason| Reason::of(reason, job.number, job.status)),
        error: job.reason.as_ref().filter(|_| failed).map(|reason| reason.message.clone()),
        branch_name: job.request.branch.to_string(),
        head_sha: effects.head_sha.clone(),
        pr_url: effects.pr_url.clone(),
        pr_number: effects.pr_number,
        files_changed: effects.files_changed,
        completed_at: job.completed_at.map(UtcTime),
        metadata: metadata(job.request.metadata.as_deref()),
        labels: job.request.labels.clone(),
        usage: job.usage.into(),
        verify: job.verify.iter().map(Verification::from).collect(),
    };
    let body = serde_json::to_vec(&body).expect("plain members with text keys always serialise");
    Some(RenderedCallback { event_id, delivery_id, kind: kind.to_string(), url, body })
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::failed_job;
    use super::*;

    fn render(view: &JobView) -> Option<RenderedCallback> {
        let ids = (EventId::from_random("aaaa2222bbbb3333"), DeliveryId::from_random("cccc4444dddd5555"));
        render_callback(view, ids.0, ids.1, Timestamp::from_ms(1_795_254_480_000))
    }

    #[test]
    fn the_body() {
        let rendered = render(&failed_job()).unwrap();
        assert_eq!(
            (rendered.kind.as_str(), rendered.url.as_str()),
            ("job.failed", "https://example.org/hook")
        );
        insta::assert_snapshot!(String::from_utf8(rendered.body).unwrap());
    }

    #[test]
    fn only_an_ended_job_with_a_url_is_told_of() {
        let mut view = failed_job();
        view.job.status = job::Status::Running;
        assert_eq!(render(&view), None);
        let mut view = failed_job();
        view.job.request.callback_url = None;
        assert_eq!(render(&view), None);
    }
}
