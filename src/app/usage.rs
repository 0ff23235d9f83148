//! What the jobs have used: sums that outlive them.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::token::Reach;
use crate::domain::usage::Grouping;
use crate::store;
use crate::wire::problem::Fault;
use crate::wire::usage::{UsageGroup, UsageReport, UtcDay};

/// Groups of one page: a year of days, or what a screen can be scrolled through.
const GROUPS_PAGE: i64 = 400;
const GROUPS_PAGE_MAX: i64 = 1_000;

/// The query of a report, as text; numbers are read already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageParameters {
    /// Comma-separated.
    pub by: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: Option<i64>,
    pub after: Option<String>,
}

impl App {
    /// # Errors
    /// [`AppError::Invalid`] for a grouping that there is not, a day that is none, or values out of range.
    pub async fn usage(
        &self,
        caller: &Caller,
        parameters: &UsageParameters,
    ) -> Result<UsageReport, AppError> {
        let query = store::UsageQuery { reach: caller.reach.clone(), ..read(parameters)? };
        let (by, since, until) = (query.by.clone(), query.since, query.until);
        let page = self.0.store.usage_page(query).await?;
        Ok(UsageReport {
            by: by.into_iter().map(Into::into).collect(),
            since: since.map(UtcDay),
            until: until.map(UtcDay),
            groups: page.groups.into_iter().map(shown).collect(),
            total: page.total.into(),
            next_cursor: page.next.map(|next| next.to_string()),
        })
    }
}

fn shown(group: store::UsageGroup) -> UsageGroup {
    let (client_id, client_name) = group.client.unzip();
    UsageGroup {
        client_id,
        client_name,
        day: group.day.map(UtcDay),
        label: group.label,
        sums: group.sums.into(),
    }
}

/// All faults at once.
fn read(parameters: &UsageParameters) -> Result<store::UsageQuery, AppError> {
    let mut faults = Vec::new();
    let mut by = Vec::new();
    for word in parameters.by.iter().flat_map(|list| list.split(',')) {
        match Grouping::parse(word) {
            Some(one) if by.contains(&one) => faults.push(Fault::new("?by", "must name each grouping once")),
            Some(one) => by.push(one),
            None => {
                let words: Vec<_> = Grouping::ALL.iter().map(|one| one.as_str()).collect();
                let rule = format!("must be one or more of {}, separated by commas", words.join(", "));
                faults.push(Fault::new("?by", rule));
            }
        }
    }
    let mut day = |pointer: &str, text: &Option<String>| {
        let day = text.as_deref().map(UtcDay::parse)?;
        if day.is_none() {
            let rule = "must be a date such as 2026-11-21, or an RFC 3339 time, a + in it written %2B";
            faults.push(Fault::new(pointer, rule));
        }
        day.map(|day| day.0)
    };
    let (since, until) = (day("?since", &parameters.since), day("?until", &parameters.until));
    let limit = parameters.limit.unwrap_or(GROUPS_PAGE);
    if !(1..=GROUPS_PAGE_MAX).contains(&limit) {
        faults.push(Fault::new("?limit", format!("must be between 1 and {GROUPS_PAGE_MAX}")));
    }
    let after = parameters.after.as_deref().map(store::UsagePlace::parse);
    if after == Some(None) {
        faults.push(Fault::new("?after", "must be a nextCursor of an earlier page"));
    }
    if !faults.is_empty() {
        return Err(AppError::Invalid(faults));
    }
    Ok(store::UsageQuery {
        by,
        since,
        until,
        after: after.flatten(),
        limit: u32::try_from(limit).unwrap_or(1),
        reach: Reach::WHOLE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(parameters: &UsageParameters) -> Vec<String> {
        match read(parameters) {
            Ok(_) => Vec::new(),
            Err(AppError::Invalid(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_fault_is_named_with_its_place() {
        let text = |text: &str| Some(text.to_owned());
        let with = |by: &str| UsageParameters { by: text(by), ..UsageParameters::default() };
        for by in ["client", "day,label", "label,client,day"] {
            assert_eq!(places(&with(by)), Vec::<String>::new(), "{by}");
        }
        for by in ["month", "client,", "client;day", "Client", "day,day"] {
            assert_eq!(places(&with(by)), ["?by"], "{by}");
        }
        for limit in [-1, 0, 1_001] {
            assert_eq!(places(&UsageParameters { limit: Some(limit), ..with("day") }), ["?limit"]);
        }
        let all = UsageParameters {
            by: text("week"),
            since: text("yesterday"),
            until: text("2026-13-01"),
            limit: Some(0),
            after: text("x"),
        };
        assert_eq!(places(&all), ["?by", "?since", "?until", "?limit", "?after"]);
    }
}
