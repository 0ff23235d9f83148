//! Jobs, queues and clients as people read them. Pure text from wire types, the present time and a time zone.

use jiff::tz::TimeZone;

use super::human;
use super::output::Tone;
use crate::domain::job::{Outcome, Status};
use crate::domain::phrases;
use crate::wire::job::{Job, JobSummary, Waiting};
use crate::wire::message::Message;
use crate::wire::time::UtcTime;

/// Longest title in a table, so that a row fits a usual terminal.
const TITLE_CHARS_MAX: usize = 32;
/// Kept files that are named with their job; there are up to thousands.
const ARTIFACTS_SHOWN: usize = 10;

/// When and where somebody looks.
#[derive(Clone, Debug)]
pub(super) struct Viewpoint {
    pub(super) now_ms: i64,
    pub(super) zone: TimeZone,
}

impl Viewpoint {
    /// The time of day, with the date in front when that is another one than today's.
    pub(super) fn clock(&self, at: UtcTime) -> String {
        let zoned = |ms| {
            jiff::Timestamp::from_millisecond(ms).ok().map(|instant| instant.to_zoned(self.zone.clone()))
        };
        match (zoned(at.0.as_ms()), zoned(self.now_ms)) {
            (Some(at), Some(now)) if at.date() == now.date() => at.strftime("%H:%M").to_string(),
            (Some(at), _) => at.strftime("%Y-%m-%d %H:%M").to_string(),
            (None, _) => at.to_string(),
        }
    }

    fn clock_seconds(&self, at: UtcTime) -> String {
        let instant = jiff::Timestamp::from_millisecond(at.0.as_ms()).unwrap_or_default();
        instant.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    pub(super) fn age(&self, at: UtcTime) -> String {
        human::age(self.now_ms, at.0.as_ms())
    }

    /// How long a job has run, or ran.
    fn took(&self, job: &JobSummary) -> Option<String> {
        let started = job.started_at?.0.as_ms();
        let ended = job.completed_at.map_or(self.now_ms, |at| at.0.as_ms());
        Some(human::took(u64::try_from(ended.saturating_sub(started) / 1_000).unwrap_or(0)))
    }

    /// Why a queued job waits, in words.
    pub(super) fn waiting(&self, waiting: Waiting) -> String {
        let window = waiting.window.map(|window| window.0);
        let why = phrases::waits_for(waiting.for_.0, window, waiting.until.is_some());
        match waiting.until {
            Some(until) => format!("waits for {why}, until {}", self.clock(until)),
            None => format!("waits for {why}"),
        }
    }

    /// How far a job is, or how it ended, in a few words.
    pub(super) fn state(&self, job: &JobSummary) -> String {
        match job.status.0 {
            Status::Queued => {
                job.waiting.map_or_else(|| "starts now".to_owned(), |waiting| self.waiting(waiting))
            }
            Status::Running if job.cancel_requested_at.is_some() => "stopping".to_owned(),
            Status::Running => job.phase.to_string().replace('_', " "),
            Status::Completed => job.outcome.map_or("-", |outcome| phrases::outcome(outcome.0)).to_owned(),
            Status::Failed => {
                job.reason.as_ref().map_or_else(|| "-".to_owned(), |reason| reason.code.to_string())
            }
            Status::Cancelled => "-".to_owned(),
        }
    }

    /// The row of a job in a list, for the columns of [`JOB_COLUMNS`].
    pub(super) fn job_row(&self, job: &JobSummary) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            job.number.to_string(),
            job.status.to_string(),
            retried(self.state(job), job),
            or_dash(Some(title(job)).filter(|title| !title.is_empty())),
            job.client_name.clone(),
            job.branch_name.clone(),
            self.age(job.created_at),
            or_dash(self.took(job)),
            or_dash(job.usage.cost_usd.map(human::money)),
            or_dash(job.pr_number.map(|number| format!("#{number}"))),
        ]
    }

    /// Everything about one job that helps to decide what to do, and what to type for it.
    pub(super) fn job(&self, job: &Job, full: bool) -> String {
        let mut sheet = Sheet::default();
        let it = &job.summary;
        let title = it.title.clone().unwrap_or_else(|| human::one_line(&job.prompt, 60));
        sheet.text = format!("#{}  {title}  {}", it.number, headline(it, &self.state(it)));
        let base = match &it.parent_job_id {
            // it began where the job before it had ended
            Some(_) if it.original_job_id.is_none() => it.branch_name.as_str(),
            _ => it.base_branch.as_deref().unwrap_or("default branch"),
        };
        let base_sha = it.base_sha.as_deref().map(|sha| format!("@{}", &sha[..sha.len().min(7)]));
        sheet.line("repo", format!("{}/{}", it.client.github_org, it.client.github_repo));
        sheet.line("branch", format!("{}  <- {base}{}", it.branch_name, base_sha.unwrap_or_default()));
        sheet.line("took", self.took_line(it));
        sheet.maybe("profile", it.profile.clone());
        if let Some(reason) = &it.reason {
            sheet.line("why", reason.message.clone());
        }
        if let (Some(files), Some(plus), Some(minus)) = (it.files_changed, it.insertions, it.deletions) {
            sheet.line("changed", format!("{files} {}, +{plus} -{minus}", plural(files, "file")));
        }
        sheet.maybe("pr", it.pr_url.clone());
        for check in &it.verify {
            let code =
                check.exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit {code}"));
            sheet.line(
                "verify",
                format!("{}  {code}  {}", check.command, human::took(check.duration_ms / 1_000)),
            );
        }
        if it.callback.state != "none" {
            let answer = it.callback.last_status.map(|status| format!(", last answer {status}"));
            let tries = i64::from(it.callback.tries);
            let tries = format!("{tries} {}", if tries == 1 { "try" } else { "tries" });
            sheet.line("callback", format!("{} ({tries}{})", it.callback.state, answer.unwrap_or_default()));
        }
        for artifact in it.artifacts.iter().take(ARTIFACTS_SHOWN) {
            sheet.line("artifact", format!("{}  {}", artifact.path, human::size(artifact.bytes)));
        }
        if let Some(more) = it.artifacts.len().checked_sub(ARTIFACTS_SHOWN).filter(|more| *more > 0) {
            sheet.line("artifact", format!("and {more} more"));
        }
        for warning in &it.warnings {
            sheet.line("warning", warning.clone());
        }
        if !it.status.0.is_live() {
            sheet.maybe("worktree", it.worktree_path.clone());
        }
        sheet.line("id", format!("{}  by {}", it.id, it.submitted_by));
        if full {
            self.attempts(job, &mut sheet);
            sheet.line("prompt", job.prompt.clone());
        }
        for next in next_commands(it) {
            sheet.line("next", next);
        }
        sheet.text
    }

    /// One message of a job's story.
    pub(super) fn message(&self, message: &Message) -> String {
        let head = format!("{}  {:<6}  ", self.clock_seconds(message.created_at), message.type_.to_string());
        let indent = format!("\n{}", " ".repeat(head.len()));
        head + &human::printable(message.content.trim_end()).replace('\n', &indent)
    }

    fn took_line(&self, job: &JobSummary) -> String {
        let mut parts = vec![match self.took(job) {
            Some(took) => took,
            None => format!("not started, queued {} ago", self.age(job.created_at)),
        }];
        parts.extend(job.usage.cost_usd.map(|cost| format!("cost {}", human::money(cost))));
        if job.attempt > 1 {
            parts.push(format!("attempt {}", job.attempt));
        }
        parts.push(format!("agent {}", job.agent));
        parts.extend(job.authentication.as_ref().map(|source| format!("authentication {source}")));
        parts.join("   ")
    }

    fn attempts(&self, job: &Job, sheet: &mut Sheet) {
        for attempt in &job.attempts {
            let how =
                attempt.reason.as_ref().map_or_else(|| "-".to_owned(), |reason| reason.code.to_string());
            let ended = attempt.ended_at.map_or_else(|| "now".to_owned(), |at| self.clock(at));
            let uncounted = if attempt.counted || attempt.reason.is_none() { "" } else { "  not counted" };
            let walls = if attempt.isolation == "none" { "no sandbox" } else { attempt.isolation.as_str() };
            let (number, began) = (attempt.number, self.clock(attempt.started_at));
            let line = format!("{number}  {began} - {ended}  {how}{uncounted}  {walls}");
            sheet.line("attempt", line);
        }
    }
}

/// What to call a job in one line.
pub(super) fn title(job: &JobSummary) -> String {
    human::one_line(job.title.as_deref().unwrap_or(&job.prompt_line), TITLE_CHARS_MAX)
}

/// What was tried again is no longer what somebody has to look at.
fn retried(state: String, job: &JobSummary) -> String {
    match job.retried_as {
        Some(number) if state == "-" => format!("retried as #{number}"),
        Some(number) => format!("{state}, retried as #{number}"),
        None => state,
    }
}

/// Above the rows that [`Viewpoint::job_row`] makes.
pub(super) const JOB_COLUMNS: [&str; 10] =
    ["#", "STATUS", "STATE", "TITLE", "REPO", "BRANCH", "AGE", "TIME", "COST", "PR"];

/// The colour of how a job is.
pub(super) fn tone(job: &JobSummary) -> Option<Tone> {
    match job.status.0 {
        _ if job.retried_as.is_some() => Some(Tone::Quiet),
        Status::Running => Some(Tone::Busy),
        Status::Completed => Some(Tone::Good),
        Status::Failed => Some(Tone::Bad),
        Status::Cancelled => Some(Tone::Quiet),
        Status::Queued => None,
    }
}

/// `1 file`, `2 files`.
pub(super) fn plural(count: i64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// What one may want to type next about a job, the most probable first.
pub(super) fn next_commands(job: &JobSummary) -> Vec<String> {
    let mut next = next_for_work(job);
    if !job.artifacts.is_empty() {
        next.push(format!("offshoot artifacts {}", job.number));
    }
    match (job.callback.state.as_str(), &job.os_callback_url) {
        ("suspended", Some(url)) => next.push(format!("offshoot webhook resume {url}")),
        ("dead", _) => next.push("offshoot webhook ls --state dead".to_owned()),
        _ => {}
    }
    next
}

fn next_for_work(job: &JobSummary) -> Vec<String> {
    let number = job.number;
    let (logs, retry) = (format!("offshoot logs {number}"), format!("offshoot retry {number}"));
    match job.status.0 {
        Status::Queued | Status::Running => vec![format!("{logs} -f"), format!("offshoot cancel {number}")],
        Status::Completed if job.outcome.is_some_and(|outcome| outcome.0 == Outcome::DryRun) => {
            vec![format!("{retry} --publish"), logs]
        }
        Status::Completed => vec![logs],
        Status::Cancelled if may_be_rescued(job) => vec![retry, logs, format!("offshoot rescue {number}")],
        Status::Cancelled => vec![retry, logs],
        Status::Failed => {
            let hint = job.reason.as_ref().map(|reason| reason.hint.clone());
            let said = hint.clone().unwrap_or_default();
            let rescue = may_be_rescued(job).then(|| format!("offshoot rescue {number}"));
            let further = [logs, retry].into_iter().chain(rescue);
            let further = further.filter(|command| !said.contains(command.as_str()));
            hint.into_iter().chain(further).collect()
        }
    }
}

/// Whether an agent has worked and its work is on no remote: then a snapshot of it is kept.
fn may_be_rescued(job: &JobSummary) -> bool {
    job.base_sha.is_some() && job.exit_code.is_some() && job.pr_url.is_none()
}

fn headline(job: &JobSummary, state: &str) -> String {
    let status = job.status.to_string().to_uppercase();
    if state == "-" { status } else { format!("{status}: {state}") }
}

/// Labelled lines below a headline. A label stands once for all lines that share it.
#[derive(Default)]
struct Sheet {
    text: String,
    last_label: &'static str,
}

impl Sheet {
    fn line(&mut self, label: &'static str, value: impl AsRef<str>) {
        let shown = if self.last_label == label { "" } else { label };
        let value = value.as_ref().trim_end().replace('\n', "\n            ");
        self.text.push_str(&format!("\n  {shown:<9} {value}"));
        self.last_label = label;
    }

    fn maybe(&mut self, label: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::output::tests::Captured;
    use crate::cli::output::{Output, Style};

    fn viewpoint() -> Viewpoint {
        Viewpoint { now_ms: 1_795_254_420_000, zone: TimeZone::UTC }
    }

    /// The fixture with some members changed.
    fn job(changes: Value) -> Job {
        let mut job: Value = serde_json::from_str(include_str!("../../tests/fixtures/cli/job.json")).unwrap();
        let Value::Object(changes) = changes else { panic!("changes are an object") };
        job.as_object_mut().unwrap().extend(changes);
        serde_json::from_value(job).unwrap()
    }

    fn failed() -> Job {
        job(json!({
            "number": 139, "status": "failed", "outcome": "failed", "title": null, "prUrl": null, "prNumber": null,
            "reason": {
                "code": "verify_failed", "message": "A verification command failed; nothing was pushed. exit 1",
                "hint": "look at its output: offshoot logs 139; the work is kept", "retryable": true
            },
            "verify": [{ "command": "cargo test", "round": 2, "exitCode": 1, "durationMs": 130_000, "output": "1 failed" }],
            "worktreePath": "/w/acme/widg/job-9x1m4c", "warnings": ["one\u{1b}[2J", "two"],
            "callback": { "state": "none", "tries": 0, "lastStatus": null },
        }))
    }

    #[test]
    fn the_list_says_why_each_job_is_where_it_is() {
        let live = json!({ "completedAt": null, "outcome": null, "prNumber": null });
        let with = |more: Value| {
            let mut changes = live.clone();
            changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            job(changes)
        };
        let jobs = [
            with(
                json!({ "number": 144, "status": "queued", "startedAt": null, "title": null, "promptLine": "Fix the flaky login test",
                         "waiting": { "for": "usage_limit", "until": "2026-11-21T14:00:00.000Z" } }),
            ),
            with(json!({ "number": 143, "status": "running", "phase": "opening_pr",
                         "usage": { "inputTokens": 0, "outputTokens": 0, "cacheReadTokens": 0, "cacheWriteTokens": 0,
                                    "costUsd": null, "turns": 0, "durationMs": 0 } })),
            job(json!({})),
            failed(),
            job(json!({ "number": 138, "status": "cancelled", "outcome": "cancelled", "retriedAs": 139 })),
        ];
        let captured = Captured::default();
        let mut out = captured.output(Style::default());
        let rows = jobs.iter().map(|job| viewpoint().job_row(&job.summary)).collect();
        out.table(&JOB_COLUMNS, rows, &[]).unwrap();
        assert_snapshot!(captured.out(), @r"
        #    STATUS     STATE                                   TITLE                     REPO  BRANCH              AGE  TIME  COST   PR
        144  queued     waits for the usage limit, until 14:00  Fix the flaky login test  widg  feature/quotes-tab  7m   -     $0.41  -
        143  running    opening pr                              Add Quotes tab            widg  feature/quotes-tab  7m   6:50  -      -
        142  completed  pull request                            Add Quotes tab            widg  feature/quotes-tab  7m   5:23  $0.41  #42
        139  failed     verify_failed                           -                         widg  feature/quotes-tab  7m   5:23  $0.41  -
        138  cancelled  retried as #139                         Add Quotes tab            widg  feature/quotes-tab  7m   5:23  $0.41  #42
        ");
    }

    #[test]
    fn a_job_is_shown_with_what_to_type_next() {
        assert_snapshot!(viewpoint().job(&job(json!({})), true), @r"
        #142  Add Quotes tab  COMPLETED: pull request
          repo      acme/widg
          branch    feature/quotes-tab  <- main@9c1f2ab
          took      5:23   cost $0.41   agent claude
          changed   6 files, +180 -12
          pr        https://github.com/acme/widg/pull/42
          callback  delivered (1 try, last answer 200)
          id        job-7fk2qdabcd234567  by admin
          attempt   1  09:40 - 09:45  -  no sandbox
          prompt    Implement the Quotes tab on the Site view
          next      offshoot logs 142
        ");
        assert_snapshot!(human::printable(&viewpoint().job(&failed(), false)), @r"
        #139  Implement the Quotes tab on the Site view  FAILED: verify_failed
          repo      acme/widg
          branch    feature/quotes-tab  <- main@9c1f2ab
          took      5:23   cost $0.41   agent claude
          why       A verification command failed; nothing was pushed. exit 1
          changed   6 files, +180 -12
          verify    cargo test  exit 1  2:10
          warning   one [2J
                    two
          worktree  /w/acme/widg/job-9x1m4c
          id        job-7fk2qdabcd234567  by admin
          next      look at its output: offshoot logs 139; the work is kept
                    offshoot retry 139
                    offshoot rescue 139
        ");
        let dry = job(json!({ "outcome": "dry_run", "prUrl": null }));
        assert_eq!(next_commands(&dry.summary)[0], "offshoot retry 142 --publish");
    }

    #[test]
    fn a_message_of_several_lines_stays_in_its_column() {
        let message = json!({ "seq": 1, "type": "stdout", "createdAt": "2026-11-21T12:00:02.000Z",
                              "content": "I will look\n  at it\u{1b}[31m\n" });
        let message = serde_json::from_value(message).unwrap();
        assert_snapshot!(viewpoint().message(&message), @r"
        12:00:02  stdout  I will look
                            at it [31m
        ");
    }

    #[test]
    fn another_day_is_named() {
        let at = |text| UtcTime::parse(text).unwrap();
        assert_eq!(viewpoint().clock(at("2026-11-21T23:59:00Z")), "23:59");
        assert_eq!(viewpoint().clock(at("2026-11-22T00:01:00Z")), "2026-11-22 00:01");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        for (colour_out, expected) in [(false, false), (true, true)] {
            let captured = Captured::default();
            let mut out: Output = captured.output(Style { colour_out, ..Style::default() });
            let rows = vec![vec!["1".to_owned(), "failed\u{1b}[2J".to_owned()]];
            out.table(&["#", "STATUS"], rows, &[tone(&failed().summary)]).unwrap();
            assert_eq!(captured.out().contains("\u{1b}["), expected, "{:?}", captured.out());
            assert!(!captured.out().contains("\u{1b}[2J"));
        }
    }
}
