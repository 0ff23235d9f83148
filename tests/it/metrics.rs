//! `/metrics`: the table, the page and what a server that has worked shows are one and the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use offshoot::domain::limit::Limit;
use offshoot::metrics::{ALL, Kind, Values};
use serde_json::json;

use crate::openapi::assert_current;
use crate::stand::{Answer, Plan, Stand};

const HEAD: &str = "\
# Metrics

`GET /metrics` answers in the text format of Prometheus, to any token that may read:

```yaml
scrape_configs:
  - job_name: offshoot
    authorization: { credentials_file: /etc/prometheus/offshoot-token }
    static_configs: [{ targets: [\"127.0.0.1:3456\"] }]
```

Counters and histograms begin at 0 with each start of the server; gauges about jobs, holds and callbacks are read from the
database at that moment. Label values come from the program or its configuration, so the number of series is bounded, and no
text of a caller is among them. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`.

This page is made from `src/metrics/table.rs` (`UPDATE_DOCS=1 cargo test --test it docs_`).

| metric | kind | labels | what it says |
|---|---|---|---|
";

const LIMITS: &str = "
## Limits

The values of `limit`. That one is met now and then is no fault; one that is met all the time is too small, or shows what else
is too slow.

| limit | what happened |
|---|---|
";

#[test]
fn docs_metrics_are_current() {
    let mut page = HEAD.to_owned();
    for row in ALL {
        let labels = row.labels.iter().map(|label| match label.values {
            Values::Listed(values) => format!("`{}`: {}", label.name, values.join(", ")),
            Values::From(origin) => format!("`{}`: {origin}", label.name),
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        // writing to a string cannot fail
        let _ = writeln!(page, "| `{}` | {} | {labels} | {} |", row.name, row.kind.as_str(), row.help);
    }
    page.push_str(LIMITS);
    for limit in Limit::ALL {
        let _ = writeln!(page, "| `{limit}` | {} |", limit.sentence());
    }
    assert_current("docs/metrics.md", &page);
}

/// A scrape, taken apart.
struct Scrape {
    /// Kind by metric.
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    /// Name, labels, value of each line.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Scrape {
    fn read(text: &str) -> Self {
        let mut read = Self { kinds: BTreeMap::new(), helps: BTreeMap::new(), samples: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let described = line.strip_prefix("# TYPE ").map(|rest| (rest, &mut read.kinds));
            if let Some((rest, map)) =
                described.or_else(|| line.strip_prefix("# HELP ").map(|rest| (rest, &mut read.helps)))
            {
                let (name, what) = rest.split_once(' ').unwrap();
                let twin = map.insert(name.to_owned(), what.to_owned());
                assert_eq!(twin, None, "{name} is described twice");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels =
                labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
                    let (label, value) = pair.split_once("=\"").unwrap();
                    (label.to_owned(), value.trim_end_matches('"').to_owned())
                });
            read.samples.push((name.to_owned(), labels.collect(), value.parse().unwrap()));
        }
        read
    }

    /// The value of the series that has at least these labels; several are added up.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|found| found == value))
        };
        self.samples.iter().filter(|(of, found, _)| of == name && has(found)).map(|(_, _, value)| value).sum()
    }
}

/// The metric that a series belongs to.
fn metric_of(series: &str) -> &str {
    let is_row = |name: &str| ALL.iter().any(|row| row.name == name);
    let ends = ["_bucket", "_sum", "_count"];
    if is_row(series) {
        return series;
    }
    ends.iter().find_map(|end| series.strip_suffix(end).filter(|name| is_row(name))).unwrap_or(series)
}

#[tokio::test]
async fn a_scrape_shows_the_table_and_nothing_else() {
    let stand = Stand::with(Plan { workers: 1, server: "queue_max = 1".into(), ..Plan::default() }).await;
    stand.receiver.order([Answer::Status(500)]);
    let done = stand.submit_prompt("done", "Greet").await;
    stand.completed(&done).await;
    stand.wait_for(&done, "delivered", |job| job["callback"]["state"] == "delivered").await;
    let failed = stand.submit_prompt("failed", "[[scenario:api-error]]").await;
    stand.wait_for_status(&failed, "failed").await;
    // one runs, one waits, a third is too many
    let running = stand.submit_prompt("running", &stand.gate_mark("g")).await;
    stand.wait_for(&running, "in its agent", |job| job["phase"] == "agent" && job["pid"].is_u64()).await;
    let waiting = stand.submit_prompt("waiting", "[[scenario:no-change]]").await;
    let (status, _) = stand.try_submit(json!({"prompt": "x", "branchName": "refused"})).await;
    assert_eq!(status, 429);
    let (status, _) = stand.call("BREW", "/nowhere/secret-path", None).await;
    assert_eq!(status, 404);

    stand.get_text(&format!("/jobs/{done}/events")).await;
    let text = stand.get_text("/metrics").await;
    let scrape = Scrape::read(&text);
    let mut shown = BTreeSet::new();
    for (series, labels, _) in &scrape.samples {
        let name = metric_of(series);
        let row = ALL.iter().find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{series} has no row in the table"));
        shown.insert(row.name);
        let own: Vec<_> = labels.keys().filter(|label| *label != "le").map(String::as_str).collect();
        let mut listed: Vec<_> = row.labels.iter().map(|label| label.name).collect();
        listed.sort_unstable();
        assert_eq!(own, listed, "{series}");
        for label in row.labels {
            if let Values::Listed(values) = label.values {
                assert!(values.contains(&labels[label.name].as_str()), "{series} {labels:?}");
            }
        }
        assert_eq!(scrape.kinds[row.name], row.kind.as_str());
        assert_eq!(scrape.helps[row.name], row.help);
    }
    let all: BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
    let missing: Vec<_> = all.difference(&shown).collect();
    assert_eq!(missing, [&"offshoot_holds"], "a metric that nothing counts");

    let value = |name, labels: &[(&str, &str)]| scrape.value(name, labels);
    assert_eq!(value("offshoot_jobs", &[("status", "completed")]), 1.0);
    assert_eq!(value("offshoot_jobs", &[("status", "failed")]), 1.0);
    assert_eq!(value("offshoot_jobs", &[("status", "running")]), 1.0);
    assert_eq!(value("offshoot_jobs", &[("status", "queued")]), 1.0);
    assert_eq!(value("offshoot_attempts_total", &[("reason", "none")]), 1.0);
    assert_eq!(value("offshoot_attempts_total", &[("reason", "api_error")]), 1.0);
    assert_eq!(value("offshoot_queue_wait_seconds_count", &[]), 3.0);
    assert_eq!(value("offshoot_phase_seconds_count", &[("phase", "agent")]), 2.0);
    assert_eq!(value("offshoot_phase_seconds_count", &[("phase", "pushing")]), 1.0);
    assert_eq!(value("offshoot_shims_running", &[]), 1.0);
    assert_eq!(value("offshoot_delivery_tries_total", &[("result", "refused")]), 1.0);
    assert!(value("offshoot_delivery_tries_total", &[("result", "accepted")]) >= 1.0);
    assert_eq!(value("offshoot_limits_hit_total", &[("limit", "queue_max")]), 1.0);
    assert_eq!(value("offshoot_slots", &[]), 1.0);
    let submitted = [("method", "POST"), ("route", "/jobs"), ("status", "201")];
    assert_eq!(value("offshoot_http_requests_total", &submitted), 4.0);
    let stray = [("method", "other"), ("route", "other"), ("status", "404")];
    assert_eq!(value("offshoot_http_requests_total", &stray), 1.0);
    assert!(!text.contains("secret-path") && !text.contains("BREW"), "a caller's text is in a label");
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_threads", "offshoot_db_bytes"]
    {
        assert!(value(name, &[]) >= 1.0, "{name}");
    }
    assert!(value("offshoot_db_commit_seconds_count", &[]) >= 10.0);
    assert!(value("offshoot_db_commit_writes_sum", &[]) >= value("offshoot_db_commit_writes_count", &[]));

    stand.open_gate("g");
    stand.wait_for_status(&running, "completed").await;
    stand.wait_for_status(&waiting, "completed").await;
    stand.finish().await;
}

#[tokio::test]
async fn a_hold_is_shown_while_it_holds_and_by_its_login_alone() {
    let stand = Stand::new().await;
    let id = stand.submit_prompt("held", "[[scenario:usage-limit resets_in=3600]]").await;
    stand.wait_for(&id, "held", |job| job["waiting"]["for"] == "usage_limit").await;
    let scrape = Scrape::read(&stand.get_text("/metrics").await);
    assert_eq!(scrape.value("offshoot_holds", &[("login", "claude"), ("reason", "usage_limit")]), 1.0);
    stand.cancel(&id).await;
    stand.finish().await;
}

#[test]
fn every_metric_can_be_told_apart_by_its_series() {
    for row in ALL.iter().filter(|row| row.kind == Kind::Histogram) {
        for end in ["_bucket", "_sum", "_count"] {
            assert_eq!(metric_of(&format!("{}{end}", row.name)), row.name);
        }
    }
}
