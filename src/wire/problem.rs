//! The one shape of every error answer: RFC 9457, with `error` for callers of the first version.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of [`Problem`].
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// One broken rule of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Where: an RFC 6901 pointer into the body, or the name of a query parameter behind `?`.
    pub pointer: String,
    /// What holds there, to be read after the pointer.
    pub detail: String,
}

impl Fault {
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A job by its two names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobName {
    pub id: String,
    pub number: i64,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:offshoot:problem:` and the code.
    #[serde(rename = "type")]
    pub type_: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// A stable word for programs.
    pub code: String,
    pub request_id: Option<String>,
    /// The text of `detail`.
    pub error: String,
    /// Validation: every broken rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Conflict: the id of what is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_id: Option<String>,
    /// Conflict: the jobs that are in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobName>,
}

impl Problem {
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str, detail: &str) -> Self {
        Self {
            type_: format!("urn:offshoot:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: detail.to_owned(),
            code: code.to_owned(),
            request_id: None,
            error: detail.to_owned(),
            errors: Vec::new(),
            existing_id: None,
            jobs: Vec::new(),
        }
    }
}
