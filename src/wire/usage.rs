//! What agents have used, summed up.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::job::Usage;
use super::time::UtcTime;
use super::words::Grouping;
use crate::domain;
use crate::domain::time::{Day, Timestamp};

/// A day of UTC, for example `2026-11-21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcDay(pub Day);

impl UtcDay {
    /// Reads a date, or an RFC 3339 time, which means the day of UTC that it is in. `None` when it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(time) = UtcTime::parse(text) {
            return Some(Self(Day::of(time.0)));
        }
        // ISO 8601 writes a date in other ways too, which nobody means here
        if text.len() != "2026-11-21".len() {
            return None;
        }
        let date: jiff::civil::Date = text.parse().ok()?;
        let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self(Day::of(Timestamp::from_ms(start.timestamp().as_millisecond()))))
    }
}

impl fmt::Display for UtcDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last_instant = UtcTime(Timestamp::from_ms(self.0.end().as_ms().saturating_sub(1))).to_string();
        f.write_str(last_instant.split('T').next().unwrap_or_default())
    }
}

impl Serialize for UtcDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("must be a date"))
    }
}

impl PartialSchema for UtcDay {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
            .into()
    }
}

impl ToSchema for UtcDay {}

/// Tokens, money and time of all jobs in a stretch of days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// What the groups are made by and ordered by.
    pub by: Vec<Grouping>,
    /// The first day that counts; `null`: from the beginning.
    pub since: Option<UtcDay>,
    /// The last day that counts; `null`: until now.
    pub until: Option<UtcDay>,
    /// Empty without `by`.
    pub groups: Vec<UsageGroup>,
    /// Of all groups on all pages, each run once: a job with two labels is in two groups.
    pub total: UsageSums,
    /// What to send as `after` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// What it is not grouped by is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageGroup {
    pub client_id: Option<String>,
    pub client_name: Option<String>,
    /// The day of UTC on which the runs ended.
    pub day: Option<UtcDay>,
    /// `null` in a report by label: jobs that have none.
    pub label: Option<String>,
    #[serde(flatten)]
    pub sums: UsageSums,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageSums {
    /// Runs of agents that ended, however they did.
    pub runs: u64,
    /// Those whose cost nobody told: they are not in `usage.costUsd`.
    pub runs_without_cost: u64,
    /// `costUsd` is `null` where no run told it.
    pub usage: Usage,
}

impl From<domain::usage::UsageSums> for UsageSums {
    fn from(sums: domain::usage::UsageSums) -> Self {
        Self { runs: sums.runs, runs_without_cost: sums.runs_without_cost, usage: sums.usage.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_or_the_one_that_a_time_is_in() {
        for (text, day) in [
            ("2026-11-21", Some("2026-11-21")),
            ("1970-01-01", Some("1970-01-01")),
            ("1969-12-31", Some("1969-12-31")),
            ("2026-11-21T23:59:59Z", Some("2026-11-21")),
            ("2026-11-22T00:30:00+01:00", Some("2026-11-21")),
            ("2026-02-30", None),
            ("20261121", None),
            ("today", None),
            ("", None),
        ] {
            assert_eq!(UtcDay::parse(text).map(|day| day.to_string()).as_deref(), day, "{text}");
        }
    }
}
