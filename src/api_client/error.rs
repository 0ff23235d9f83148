//! How a call can fail, as the caller has to tell it apart.

use std::time::Duration;

use thiserror::Error;

use crate::wire::problem::Problem;

/// A call that gave no result. Problem documents are the server's own words, unchanged.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Nothing was sent, or the connection broke before the answer was complete.
    #[error("cannot reach offshoot at {url} ({why})")]
    Unreachable {
        url: String,
        why: String,
        /// Whether the request may have been carried out nevertheless: repeat it only with the same idempotency key.
        maybe_done: bool,
    },
    #[error("offshoot at {url} did not answer within {} s", limit.as_secs())]
    TimedOut { url: String, limit: Duration },
    /// The address is not one that can be called.
    #[error("{url:?} is no address of an offshoot server: {why}")]
    BadAddress { url: String, why: String },
    /// Something answered, but not as offshoot does.
    #[error("what answers at {url} does not seem to be offshoot ({why})")]
    Unintelligible { url: String, why: String },
    /// 401 or 403.
    #[error("{}", .0.detail)]
    Unauthorised(Box<Problem>),
    /// 404 or 410.
    #[error("{}", .0.detail)]
    NotFound(Box<Problem>),
    /// 409.
    #[error("{}", .0.detail)]
    Conflict(Box<Problem>),
    /// Any other 4xx: the request itself is at fault.
    #[error("{}", .problem.detail)]
    Invalid { problem: Box<Problem> },
    /// 429 or 503: later it may succeed.
    #[error("{}", .problem.detail)]
    Busy { problem: Box<Problem>, retry_after: Option<Duration> },
    /// Any other 5xx.
    #[error("{}", .0.detail)]
    Server(Box<Problem>),
}

impl ApiError {
    /// The server's problem document, when it sent one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Unauthorised(problem)
            | Self::NotFound(problem)
            | Self::Conflict(problem)
            | Self::Server(problem)
            | Self::Invalid { problem }
            | Self::Busy { problem, .. } => Some(problem),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::BadAddress { .. }
            | Self::Unintelligible { .. } => None,
        }
    }

    /// Sorts an error answer by its status.
    #[must_use]
    pub fn from_problem(problem: Problem, retry_after: Option<Duration>) -> Self {
        let problem = Box::new(problem);
        match problem.status {
            401 | 403 => Self::Unauthorised(problem),
            404 | 410 => Self::NotFound(problem),
            409 => Self::Conflict(problem),
            429 | 503 => Self::Busy { problem, retry_after },
            status if status < 500 => Self::Invalid { problem },
            _ => Self::Server(problem),
        }
    }
}
