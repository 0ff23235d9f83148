//! `offshoot usage` as a process: what it asks, and that a report of many pages is one.

use serde_json::{Value, json};

use crate::cli::run;
use crate::cli_fake::{Answer, Fake};

fn sums(runs: u64, cost: Value) -> Value {
    let usage = json!({"inputTokens": 1_200, "outputTokens": 40, "cacheReadTokens": 0, "cacheWriteTokens": 0,
        "costUsd": cost, "turns": 7, "durationMs": 83_000});
    json!({"runs": runs, "runsWithoutCost": 1, "usage": usage})
}

fn page(name: &str, next: Value) -> Answer {
    let mut group = sums(2, json!(0.21));
    let keys = json!({"clientId": "cli-a", "clientName": name, "day": null, "label": null});
    group.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    Answer::json(
        200,
        &json!({"by": ["client"], "since": "2026-11-01", "until": null, "groups": [group],
            "total": sums(4, json!(0.42)), "nextCursor": next}),
    )
}

#[tokio::test]
async fn all_pages_are_one_report() {
    let fake = Fake::start(|seen, _| {
        if seen.line.contains("after=") { page("gears", Value::Null) } else { page("widg", json!("0.3.x y")) }
    })
    .await;
    let ran = run(&fake, &["usage", "--by", "client", "--since", "2026-11-01"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 4, "{ran:?}");
    assert!(
        lines[1].starts_with("widg ") && lines[2].starts_with("gears ") && lines[3].starts_with("total ")
    );
    assert!(lines[3].ends_with("$0.42"), "{ran:?}");
    assert!(ran.err.contains("1 of 4 runs did not"), "what is missing in the sum is said: {ran:?}");
    assert_eq!(
        fake.lines(),
        [
            "GET /usage?by=client&since=2026-11-01&limit=1000",
            "GET /usage?by=client&since=2026-11-01&limit=1000&after=0.3.x+y"
        ]
    );
    let ran = run(&fake, &["usage", "--by", "client", "--json"]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let names: Vec<_> =
        report["groups"].as_array().unwrap().iter().map(|group| &group["clientName"]).collect();
    assert_eq!((names, &report["nextCursor"]), (vec![&json!("widg"), &json!("gears")], &Value::Null));
}

#[tokio::test]
async fn what_is_no_day_and_what_the_server_refuses_is_told_with_what_to_type() {
    let fake = Fake::start(|_, _| {
        let detail = "must be one or more of client, day, label, separated by commas";
        Answer::problem(422, "invalid", detail, json!({"errors": [{"pointer": "?by", "detail": detail}]}))
    })
    .await;
    let ran = run(&fake, &["usage", "--since", "yesterday"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("offshoot usage --since 7d"), "{ran:?}");
    assert_eq!(fake.lines(), Vec::<String>::new());
    let ran = run(&fake, &["usage", "--by", "month"]).await;
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("client, day, label") && ran.err.contains("offshoot usage --help"), "{ran:?}");
}
