//! The JSON of one go at a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::{Reason, Usage};
use super::time::UtcTime;
use crate::domain;
use crate::domain::attempt;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub number: u32,
    /// Whether it used up one of `maxAttempts`.
    pub counted: bool,
    pub started_at: UtcTime,
    pub ended_at: Option<UtcTime>,
    pub reason: Option<Reason>,
    pub exit_code: Option<i64>,
    pub usage: Usage,
    /// As of the job.
    #[serde(default)]
    pub authentication: Option<String>,
    pub isolation: String,
}

impl Attempt {
    #[must_use]
    pub fn of(attempt: &attempt::Attempt, job: domain::id::JobNumber, status: domain::job::Status) -> Self {
        Self {
            number: attempt.number,
            counted: attempt.counted,
            started_at: attempt.started_at.into(),
            ended_at: attempt.ended_at.map(UtcTime),
            reason: attempt.reason.as_ref().map(|reason| Reason::of(reason, job, status)),
            exit_code: attempt.exit_code,
            usage: attempt.usage.into(),
            authentication: attempt.authentication.clone(),
            isolation: attempt.isolation.clone(),
        }
    }
}
