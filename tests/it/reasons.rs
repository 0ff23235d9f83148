//! `docs/reasons.md` is made from the tables in `domain::reason` and `domain::step_limit`; every code that can come about
//! is met by a test of the whole server.

use std::fmt::Write as _;

use offshoot::domain::reason::{BACKOFF_TRIES_MAX, Disposition, ReasonCode, STOPS_MAX, backoff_seconds};
use offshoot::domain::step_limit::StepLimit;

use crate::openapi::assert_current;

const HEAD: &str = "\
# Why a job failed or waits

Every failure and every hold carries one of these codes: as `reason.code` in answers and callbacks, in the history and in
the log. A code never changes its name. `JOB` in a hint stands for the job's number.

This page is made from `src/domain/reason.rs` (`UPDATE_DOCS=1 cargo test --test it docs_`). The table holds every code. *Session*: whether the
agent's conversation can be gone on with, where the agent can do that at all: an attempt that follows by itself does, and so
does `offshoot retry JOB --resume`. What to do is said of a job that has failed; one that is tried again by itself is told
that instead of a retry.

| code | what it means | what follows | session | what to do |
|---|---|---|---|---|
";

const LIMITS: &str = "
## Limits of a step

What an agent may take, made from `src/domain/step_limit.rs`. Each hit counts up `offshoot_limits_hit_total` with the value of
`limit` that stands in the last column. What the server watches is not watched while none runs; the next one looks at once.

| limit | number | what is counted | held by | `reason.code` | metric |
|---|---|---|---|---|---|
";

fn follows(code: ReasonCode) -> String {
    let after = match (code.retryable(), code.is_publication()) {
        (_, true) => "; a retry publishes the commit that is there",
        (true, false) => "",
        (false, false) => "; an unchanged retry cannot help",
    };
    match code.disposition() {
        _ if code == ReasonCode::Cancelled => "the job is cancelled".to_owned(),
        Disposition::HoldLogin => {
            "the job goes back to the queue, all work of that login waits; the attempt is not counted"
                .to_owned()
        }
        Disposition::Backoff => format!(
            "waits {} s, then twice as long each time up to {} min, {BACKOFF_TRIES_MAX} times in all, then fails; \
             not counted{after}",
            backoff_seconds(1),
            backoff_seconds(u32::MAX) / 60
        ),
        Disposition::Requeue => format!(
            "the job goes back to the queue at once; not counted, {STOPS_MAX} times for one job, then another attempt while \
             `maxAttempts` allows"
        ),
        Disposition::Count => "another attempt while `maxAttempts` allows, then fails".to_owned(),
        Disposition::Fail => format!("fails{after}"),
    }
}

#[test]
fn docs_reasons_are_current() {
    let mut page = HEAD.to_owned();
    for code in ReasonCode::ALL {
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        // writing to a string cannot fail
        let _ = writeln!(
            page,
            "| `{code}` | {} | {} | {} | {} |",
            cell(code.sentence()),
            follows(*code),
            if code.resumable() { "goes on" } else { "begins anew" },
            cell(code.hint())
        );
    }
    page.push_str(LIMITS);
    for limit in StepLimit::ALL {
        let (name, key, reason) = (limit.as_str(), limit.set_by(), limit.reason());
        let metric = limit.metric();
        let _ = writeln!(
            page,
            "| `{name}` | `{key}` | {} | {} | `{reason}` | `{metric}` |",
            limit.about(),
            limit.watched_by()
        );
    }
    assert_current("docs/reasons.md", &page);
}

/// A code that no whole server was seen to give is a promise that nobody has looked at.
#[test]
fn every_code_is_met_by_a_test_of_the_whole_server() {
    let dir = format!("{}/tests/it", env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let is_whole = |name: &str| name.starts_with("life_") || name == "storage_full.rs";
    let sources: String = names
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_whole))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for code in ReasonCode::ALL {
        let asserted = [format!("\"{code}\")"), format!("\"{code}\","), format!("== \"{code}\"")];
        let is_met = asserted.iter().any(|text| sources.contains(text));
        assert!(is_met, "{code}");
    }
}
