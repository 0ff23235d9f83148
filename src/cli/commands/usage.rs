//! `offshoot usage`

use clap::Args;

use super::Context;
use crate::api_client::UsageQuery;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;
use crate::domain::usage::Grouping;
use crate::wire::time::UtcTime;
use crate::wire::usage::{UsageGroup, UsageReport, UsageSums, UtcDay};

#[derive(Debug, Args)]
pub(in crate::cli) struct UsageFlags {
    /// Group by these, in this order: client, day, label, separated by commas.
    #[arg(long, default_value = "day", value_name = "LIST")]
    by: String,
    /// Begin with this day of UTC: 2026-11-21, or so long ago, for example 7d.
    #[arg(long, value_name = "DAY")]
    since: Option<String>,
    /// End with this day of UTC.
    #[arg(long, value_name = "DAY")]
    until: Option<String>,
}

pub(super) async fn run(flags: UsageFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let now_ms = context.clock.now_ms();
    let day = |text: Option<String>| text.map(|text| read_day(&text, now_ms)).transpose();
    let query = UsageQuery { by: Some(flags.by), since: day(flags.since)?, until: day(flags.until)? };
    let report = context.api.usage(&query).await?;
    if context.out.is_json() {
        context.out.json(&report)?;
        return Ok(Ended::Done);
    }
    if report.total.runs == 0 {
        context.out.say("No agent has run in that time.");
        return Ok(Ended::Done);
    }
    let (head, rows) = table(&report);
    context.out.table(&head, rows, &[])?;
    let untold = report.total.runs_without_cost;
    if untold > 0 {
        let of = report.total.runs;
        context.out.say(&format!("The cost is of those that told it: {untold} of {of} runs did not."));
    }
    if report.next_cursor.is_some() {
        context.out.say("There are more groups; see fewer days:  offshoot usage --since 30d");
    }
    Ok(Ended::Done)
}

/// A date or a time as it was typed, or the day of so long ago.
fn read_day(text: &str, now_ms: i64) -> Result<String, CliError> {
    if let Ok(ago) = human::parse_duration(text) {
        let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        let at = crate::domain::time::Timestamp::from_ms(now_ms.saturating_sub(ago_ms));
        return Ok(UtcTime(at).to_string());
    }
    if UtcDay::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    Err(CliError::usage(format!("{text:?} is neither a day nor a duration"))
        .hint("for example", "offshoot usage --since 7d --by client,day"))
}

fn table(report: &UsageReport) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let by: Vec<Grouping> = report.by.iter().map(|one| one.0).collect();
    let mut head: Vec<&str> = by
        .iter()
        .map(|one| match one {
            Grouping::Client => "CLIENT",
            Grouping::Day => "DAY",
            Grouping::Label => "LABEL",
        })
        .collect();
    head.extend(["RUNS", "INPUT", "CACHED", "OUTPUT", "TURNS", "TIME", "COST"]);
    let mut rows: Vec<Vec<String>> = report
        .groups
        .iter()
        .map(|group| by.iter().map(|one| key(group, *one)).chain(cells(&group.sums)).collect())
        .collect();
    let mut total: Vec<String> = by.iter().map(|_| String::new()).collect();
    if let Some(first) = total.first_mut() {
        "total".clone_into(first);
    }
    rows.push(total.into_iter().chain(cells(&report.total)).collect());
    (head, rows)
}

fn key(group: &UsageGroup, one: Grouping) -> String {
    let found = match one {
        Grouping::Client => group.client_name.clone(),
        Grouping::Day => group.day.map(|day| day.to_string()),
        Grouping::Label => group.label.clone(),
    };
    found.unwrap_or_else(|| "-".to_owned())
}

fn cells(sums: &UsageSums) -> Vec<String> {
    let usage = &sums.usage;
    vec![
        sums.runs.to_string(),
        usage.input_tokens.to_string(),
        usage.cache_read_tokens.saturating_add(usage.cache_write_tokens).to_string(),
        usage.output_tokens.to_string(),
        usage.turns.to_string(),
        human::took(usage.duration_ms / 1_000),
        usage.cost_usd.map_or_else(|| "-".to_owned(), human::money),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::Style;
    use crate::cli::output::tests::Captured;

    #[test]
    fn groups_come_as_they_were_asked_for_and_the_total_last() {
        let sums = |cost| {
            json!({"runs": 3, "runsWithoutCost": 1, "usage": {
                "inputTokens": 1_200, "outputTokens": 40, "cacheReadTokens": 5, "cacheWriteTokens": 6,
                "costUsd": cost, "turns": 7, "durationMs": 83_000}})
        };
        let group = |label: Option<&str>, cost: Option<f64>| {
            let mut group = sums(cost);
            let keys = json!({"clientId": null, "clientName": null, "day": "2026-11-21", "label": label});
            group.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            group
        };
        let report: UsageReport = serde_json::from_value(json!({
            "by": ["label", "day"], "since": null, "until": null, "total": sums(Some(0.42)), "nextCursor": null,
            "groups": [group(None, None), group(Some("night"), Some(0.42))],
        }))
        .unwrap();
        let (head, rows) = table(&report);
        let captured = Captured::default();
        captured.output(Style::default()).table(&head, rows, &[]).unwrap();
        insta::assert_snapshot!(captured.out(), @r"
        LABEL  DAY         RUNS  INPUT  CACHED  OUTPUT  TURNS  TIME  COST
        -      2026-11-21  3     1200   11      40      7      1:23  -
        night  2026-11-21  3     1200   11      40      7      1:23  $0.42
        total              3     1200   11      40      7      1:23  $0.42
        ");
    }

    #[test]
    fn days_are_dates_times_or_so_long_ago() {
        let read = |text: &str| read_day(text, 1_795_254_420_001);
        assert_eq!(read("1d").unwrap(), "2026-11-20T09:47:00.001Z");
        for same in ["2026-11-01", "2026-11-01T10:00:00Z"] {
            assert_eq!(read(same).unwrap(), same);
        }
        assert_eq!(read("yesterday").expect_err("no day").kind.exit_code(), 2);
    }
}
