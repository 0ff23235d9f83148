//! `docs/reasons.md` is made from the tables in `domain::reason` and `domain::step_limit`.

use std::fmt::Write as _;

use offshoot::domain::reason::{BACKOFF_TRIES_MAX, Disposition, ReasonCode, backoff_seconds};
use offshoot::domain::step_limit::StepLimit;

use crate::openapi::assert_current;

const HEAD: &str = "\
# Why a job failed or waits

Every failure and every hold carries one of these codes: as `reason.code` in answers and callbacks, in the history and in
the log. A code never changes its name. `JOB` in a hint stands for the job's number.

This page is made from `src/domain/reason.rs` (`UPDATE_DOCS=1 cargo test --test it docs_`). The table holds every code
that is promised; some belong to features that are [not built yet](../README.md#not-built-yet).

| code | what it means | what follows | what to do |
|---|---|---|---|
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
        Disposition::Requeue => "the job goes back to the queue at once; not counted".to_owned(),
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
            "| `{code}` | {} | {} | {} |",
            cell(code.sentence()),
            follows(*code),
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
