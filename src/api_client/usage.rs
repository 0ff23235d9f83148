//! The call about what jobs have used.

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::usage::UsageReport;

/// Pages of one report; with the largest page that is a hundred thousand groups, and an answer of some 30 MB.
const PAGES_MAX: usize = 100;
const PAGE: usize = 1_000;

/// What to report. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Separated by commas.
    pub by: Option<String>,
    /// A date, or RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
}

impl ApiClient {
    /// The whole report, page by page; `next_cursor` is set only when there are more groups than anybody reads.
    ///
    /// # Errors
    /// When the query breaks a rule.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsageReport, ApiError> {
        let mut report: Option<UsageReport> = None;
        for _ in 0..PAGES_MAX {
            let after = report.as_ref().and_then(|known| known.next_cursor.clone());
            let pairs: Vec<_> = [
                ("by", query.by.clone()),
                ("since", query.since.clone()),
                ("until", query.until.clone()),
                ("limit", Some(PAGE.to_string())),
                ("after", after),
            ]
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect();
            let mut page: UsageReport = self.call(Method::GET, &["usage"], &pairs).answer().await?;
            if let Some(known) = report.take() {
                page.groups.splice(0..0, known.groups);
            }
            let is_last = page.next_cursor.is_none();
            report = Some(page);
            if is_last {
                break;
            }
        }
        report.ok_or_else(|| self.unasked())
    }
}
