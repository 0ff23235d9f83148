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

/// Where each code is met on a whole server: by what that server answers, not by what a function of ours returns. In the order of
/// `ReasonCode::ALL`; of several tests one that is about the code.
#[rustfmt::skip] // one row a code
const MET_BY: &[(&str, &str)] = &[
    ("usage_limit", "life_agents::a_used_up_codex_holds_its_own_login_and_no_other"),
    ("not_logged_in", "life_acp::logins_and_programs_that_do_not_work_are_held_and_not_burned"),
    ("agent_missing", "life_holds::a_missing_agent_holds_the_queue_until_it_is_installed"),
    ("overloaded", "life_reasons::a_model_that_stays_overloaded_is_given_up_after_the_last_pause_and_no_attempt_has_counted"),
    ("forge_rate_limited", "life_reasons_of_peers::a_forge_that_asks_for_patience_gets_it_and_the_agent_is_not_paid_twice"),
    ("forge_unavailable", "life_reasons_of_peers::a_forge_that_is_away_is_asked_later_and_the_agent_is_not_paid_twice"),
    ("remote_unavailable", "life_reasons_of_peers::a_remote_that_is_away_is_asked_later_and_no_agent_runs_before"),
    ("clone_damaged", "life_damage::damage_between_the_commit_and_its_push_costs_no_second_run"),
    ("stopped", "life_sessions::who_was_stopped_or_held_goes_on_with_its_conversation_and_nothing_is_counted"),
    ("interrupted", "life_budget::what_an_attempt_told_before_it_was_cut_off_is_not_forgotten"),
    ("out_of_memory", "life_limits::too_much_memory_ends_its_step_and_the_attempt_is_counted"),
    ("crashed", "life_agents::codex_works_is_continued_and_pays_each_token_once"),
    ("poisoned", "life_poisoned::a_job_whose_every_attempt_takes_the_server_down_is_poisoned_and_the_next_job_runs"),
    ("api_error", "life_acp::each_way_in_which_a_turn_can_end_has_its_reason"),
    ("refused", "life_reasons::an_agent_that_refuses_asks_or_runs_out_of_turns_has_failed_and_can_be_gone_on_with"),
    ("permission_denied", "life_agents::what_codex_cannot_do_is_told_and_not_dropped"),
    ("needs_input", "life_reasons::a_result_that_is_told_only_when_the_agent_is_ended_is_none"),
    ("max_turns", "life_reasons::an_agent_that_refuses_asks_or_runs_out_of_turns_has_failed_and_can_be_gone_on_with"),
    ("max_budget", "life_budget::the_budget_is_of_the_job_and_not_of_each_attempt"),
    ("client_budget", "life_budget::an_attempt_that_has_no_money_left_for_its_repair_is_counted"),
    ("timeout", "life_artifacts::what_a_job_has_failed_with_is_kept_as_far_as_it_goes_and_changes_no_end"),
    ("idle_timeout", "life_acp::silence_ends_the_job_whatever_the_agent_does_not_hear"),
    ("output_limit", "life_limits::endless_output_ends_its_step"),
    ("resource_limit", "life_hostile::a_supervisor_that_is_stopped_while_it_ends_its_tree_is_woken"),
    ("secret_missing", "life_secrets::a_secret_that_is_not_there_is_refused_by_name_and_one_that_went_ends_the_job"),
    ("setup_failed", "life_attach_goes_on::a_retry_of_what_a_person_has_done_publishes_that_without_the_agent"),
    ("verify_failed", "life_attach_left::a_merge_that_an_agent_leaves_unfinished_goes_back_to_it"),
    ("artifact_missing", "life_artifacts::a_job_that_changes_nothing_keeps_its_report_and_fails_without_one"),
    ("clone_failed", "life_reasons_of_peers::a_repository_that_cannot_be_cloned_fails_the_job_and_a_retry_clones_it"),
    ("repo_not_found", "life_reasons_of_peers::a_repository_that_is_gone_at_the_push_is_called_that_and_a_retry_only_publishes"),
    ("repo_archived", "life_reasons_of_peers::an_archived_repository_fails_the_job_before_an_agent_runs"),
    ("base_not_found", "life_branches::what_is_protected_or_missing_fails_with_its_code"),
    ("protected_branch", "life_branches::what_is_protected_or_missing_fails_with_its_code"),
    ("branch_exists", "life_reasons_of_peers::where_every_name_is_taken_the_reason_says_so"),
    ("branch_moved", "life_branches::a_branch_that_moves_meanwhile_is_never_overwritten"),
    ("push_rejected", "life_branches::a_refused_push_is_published_by_retry_without_the_agent"),
    ("forge_auth", "life_reasons_of_peers::credentials_that_the_forge_refuses_fail_the_job_and_a_retry_only_publishes"),
    ("forge_forbidden", "life_reasons_of_peers::credentials_that_the_forge_refuses_fail_the_job_and_a_retry_only_publishes"),
    ("pull_request_refused", "life_clients::a_kept_worktree_is_asked_for_by_its_whole_chain"),
    ("history_rewritten", "life_reasons::a_result_that_cannot_be_taken_is_kept_and_the_agent_is_told_something_else"),
    ("repo_tampered", "life_branches::a_clone_that_the_agent_changed_stops_its_client"),
    ("policy_denied", "life_policy::the_owner_decides"),
    ("sandbox_unavailable", "life_sandbox::where_all_is_behind_the_walls_no_option_leads_out"),
    ("secret_detected", "life_secret_scan::a_key_that_one_commit_adds_and_the_next_takes_out_is_found"),
    ("unsupported_filter", "life_reasons::a_result_that_cannot_be_taken_is_kept_and_the_agent_is_told_something_else"),
    ("unsupported_option", "life_agents::what_the_owner_sets_later_and_the_agent_cannot_do_is_said_to_be_his"),
    ("dependency_failed", "life_waiting::a_failure_ends_all_that_waited_for_it_and_tells_their_callers"),
    ("disk_full", "storage_real_disk::a_job_waits_while_its_worktree_finds_no_room_and_a_registration_says_so"),
    ("internal", "life_damage::damage_under_an_agent_does_not_cost_its_files"),
    ("cancelled", "life_reasons::a_model_that_stays_overloaded_is_given_up_after_the_last_pause_and_no_attempt_has_counted"),
];

/// The text of a test by its module and name; `None`: there is no such test.
fn test_text<'t>(file: &'t str, name: &str) -> Option<&'t str> {
    let at = file.find(&format!("fn {name}("))?;
    let (before, text) = file.split_at(at);
    let mark = before.trim_end().trim_end_matches("async").trim_end().lines().last()?;
    let is_test = mark.starts_with("#[test]") || mark.starts_with("#[tokio::test");
    is_test.then(|| text.split_once("\n}\n").map_or(text, |(body, _)| body))
}

/// What a statement says that would fail without the code: it asserts, or waits for a job that has it.
const CHECKS: [&str; 3] = ["assert", "failed(", "wait"];

/// Whether a statement with the code checks it, or lists it for one that checks what the list has.
fn is_checked(text: &str, code: &str) -> bool {
    let statement = |at: usize| {
        let begin =
            [";\n", "{\n", "}\n"].iter().filter_map(|end| text[..at].rfind(end)).max().map_or(0, |at| at + 2);
        let end = text[at..].find(";\n").map_or(text.len(), |end| at + end);
        &text[begin..end]
    };
    let checks = |statement: &str| CHECKS.iter().any(|word| statement.contains(word));
    let of_lists = text.contains("failed(&id, code)") || text.contains("[\"code\"], code");
    text.match_indices(&format!("\"{code}\"")).any(|(at, _)| {
        let statement = statement(at);
        let is_list = statement.contains('[')
            && ["let ", "for "].iter().any(|word| statement.trim_start().starts_with(word));
        checks(statement) || is_list && of_lists
    })
}

/// What is wrong with a row. A code in a comment is no code that was met.
fn unmet(code: &str, met_by: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let Some((module, name)) = met_by.split_once("::") else {
        return Some(format!("{code}: {met_by} is no test"));
    };
    if !module.starts_with("life_") && module != "storage_real_disk" {
        return Some(format!("{code}: {module} does not try a whole server"));
    }
    let file = read(module).unwrap_or_default();
    let Some(text) = test_text(&file, name) else {
        return Some(format!("{code}: there is no test {met_by}"));
    };
    let code_lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let is_named = is_checked(&code_lines.join("\n"), code);
    (!is_named).then(|| format!("{code}: {met_by} does not check it"))
}

/// A code that no whole server was seen to give is a promise that nobody has looked at.
#[test]
fn every_code_is_met_by_a_test_of_the_whole_server() {
    let codes: Vec<&str> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(
        MET_BY.iter().map(|(code, _)| *code).collect::<Vec<_>>(),
        codes,
        "a row for each, in their order"
    );
    let read = |module: &str| {
        std::fs::read_to_string(format!("{}/tests/it/{module}.rs", env!("CARGO_MANIFEST_DIR"))).ok()
    };
    let wrong: Vec<String> = MET_BY.iter().filter_map(|(code, met_by)| unmet(code, met_by, read)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_row_that_names_nothing_is_found() {
    let file = "fn helper() {\n    give(\"gone\");\n}\n\n#[tokio::test]\nasync fn it_ends() {\n    // \"quiet\"\n    give(\"given\");\n    let rows = [\"listed\"];\n    failed(\"met\");\n}\n";
    let read = |module: &str| (module == "life_a").then(|| file.to_owned());
    assert_eq!(unmet("met", "life_a::it_ends", read), None);
    for (code, met_by) in [
        ("other", "life_a::it_ends"),
        ("quiet", "life_a::it_ends"),
        ("given", "life_a::it_ends"),
        ("listed", "life_a::it_ends"),
        ("met", "life_a::it_began"),
        ("met", "life_b::it_ends"),
        ("gone", "life_a::helper"),
        ("met", "agent::it_ends"),
        ("met", "it_ends"),
    ] {
        assert!(unmet(code, met_by, read).is_some(), "{code} {met_by}");
    }
}
