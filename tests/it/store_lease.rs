//! The lease: what a worker may write, for how long, and what a restart makes of it.

use offshoot::domain::attempt::{AttemptEnd, Lease};
use offshoot::domain::branch::BranchName;
use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::job::{Chain, Effects, Phase, Start, Status, Usage};
use offshoot::domain::options::RunOptions;
use offshoot::domain::reason::{Disposition, ReasonCode, STOPS_MAX};
use offshoot::domain::retry::{CannotRetry, RetryMode, plan};
use offshoot::store::{Ingest, Store, StoreError};

use crate::store_fixture::{Bench, done, fault, job};

/// Every call of a worker, with this lease; the names of those that were let through.
async fn let_through(store: &Store, lease: Lease) -> Vec<&'static str> {
    let branch = BranchName::parse("somewhere-else").unwrap();
    let effects = Effects { head_sha: Some("c0ffee".to_owned()), ..Effects::default() };
    let calls = [
        ("record_options", store.record_options(lease, &RunOptions::default(), "none", false).await),
        ("record_effects", store.record_effects(lease, effects).await),
        ("record_branch", store.record_branch(lease, &branch).await),
        ("add_warning", store.add_warning(lease, "late").await),
        ("may_use_login", store.may_use_login(lease).await.map(|_| ())),
        ("record_usage", store.record_usage(lease, "agent-1", None, Usage::default()).await.map(|_| ())),
        ("begin_step", store.begin_step(lease, "agent-9").await),
        ("begin_turn", store.begin_turn(lease, "agent-9", 1).await),
        ("leave_agent", store.leave_agent(lease).await.map(|_| ())),
        ("record_shim", store.record_shim(lease, "agent-9", "{}".to_owned(), 1).await),
        ("add_system_message", store.add_system_message(lease, "late").await),
        ("ingest", store.ingest(lease, "agent-9", Ingest::default()).await),
        ("reach_phase", store.reach_phase(lease, Phase::Pushing).await),
        ("finish", store.finish(lease, done(), |_| None).await.map(|_| ())),
    ];
    let mut through = Vec::new();
    for (name, answer) in calls {
        match answer {
            Ok(()) => through.push(name),
            Err(StoreError::LeaseLost(number)) => assert_eq!(number, lease.job),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    through
}

#[tokio::test]
async fn a_good_lease_lets_every_call_through() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    assert_eq!(let_through(&bench.store, lease).await.len(), 14);
}

#[tokio::test]
async fn an_older_server_has_lost_every_lease() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let old = bench.claim().await.lease;
    let later = bench.reopen();
    assert!(later.epoch() > bench.store.epoch());
    let adopted = later.adopt_running("boot").await.unwrap();
    let before = bench.view(old.job).await;
    assert!(let_through(&bench.store, old).await.is_empty());
    assert_eq!(bench.view(old.job).await, before, "nothing was touched");
    assert_eq!((adopted.len(), adopted[0].adopted), (1, true));
    assert_eq!((adopted[0].lease.attempt, adopted[0].lease.job), (1, old.job));
    assert_eq!(let_through(&later, adopted[0].lease).await.len(), 14);
}

#[tokio::test]
async fn an_older_attempt_has_lost_its_lease() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let first = bench.claim().await.lease;
    bench.end(first, fault(ReasonCode::Stopped)).await;
    assert!(let_through(&bench.store, first).await.is_empty(), "requeued");
    let second = bench.claim().await.lease;
    assert!(let_through(&bench.store, first).await.is_empty(), "claimed again");
    bench.end(second, done()).await;
    assert!(let_through(&bench.store, second).await.is_empty(), "over");
    assert_eq!(bench.store.list_steps(first.job, 1).await.unwrap(), []);
    assert!(bench.view(first.job).await.job.warnings.is_empty());
}

#[tokio::test]
async fn a_restart_adopts_what_ran_and_only_that() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3", "4"] {
        bench.submit(&client, branch).await;
    }
    let first = bench.claim().await.lease;
    bench.end(first, done()).await;
    let running = [bench.claim().await.lease, bench.claim().await.lease];
    bench.store.begin_step(running[0], "agent-1").await.unwrap();
    bench.store.record_shim(running[0], "agent-1", "who".to_owned(), 4711).await.unwrap();
    bench.store.reach_phase(running[0], Phase::Agent).await.unwrap();
    let later = bench.reopen();
    let adopted = later.adopt_running("boot").await.unwrap();
    let numbers: Vec<_> = adopted.iter().map(|assignment| assignment.lease.job.0).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!((adopted[0].job.phase, adopted[0].job.effects.pid), (Phase::Agent, Some(4711)));
    let steps = later.list_steps(JobNumber(2), 1).await.unwrap();
    assert_eq!((steps[0].shim.as_deref(), steps[0].released), (Some("who"), true));
    assert!(later.claim().await.unwrap().is_none(), "the adopted ones hold their slots");
    later.finish(adopted[0].lease, done(), |_| None).await.unwrap();
    assert_eq!(later.claim().await.unwrap().unwrap().lease.job, JobNumber(4));
}

#[tokio::test]
async fn a_worker_can_be_followed_by_another_while_the_lease_is_good() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    let again = bench.store.find_assignment(lease).await.unwrap().unwrap();
    assert_eq!((again.lease, again.adopted), (lease, true));
    let older = Lease { epoch: lease.epoch - 1, ..lease };
    assert!(bench.store.find_assignment(older).await.unwrap().is_none());
    bench.end(lease, done()).await;
    assert!(bench.store.find_assignment(lease).await.unwrap().is_none());
}

#[tokio::test]
async fn effects_are_never_taken_back() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    let all = Effects {
        worktree_path: Some("/w".to_owned()),
        base_sha: Some("b".to_owned()),
        branch_tip: Some(String::new()),
        head_sha: Some("h".to_owned()),
        pushed_sha: Some("h".to_owned()),
        pr_url: Some("https://x/1".to_owned()),
        pr_number: Some(1),
        files_changed: Some(2),
        insertions: Some(3),
        deletions: Some(4),
        session_id: Some("s".to_owned()),
        pid: Some(7),
        exit_code: Some(0),
        authentication: Some("none".to_owned()),
    };
    bench.store.record_effects(lease, all.clone()).await.unwrap();
    bench.store.record_effects(lease, Effects::default()).await.unwrap();
    assert_eq!(bench.view(lease.job).await.job.effects, all);
    let more = Effects { pr_number: Some(9), ..Effects::default() };
    bench.store.record_effects(lease, more).await.unwrap();
    let expected = Effects { pr_number: Some(9), ..all };
    assert_eq!(bench.view(lease.job).await.job.effects, expected);
    let ended = bench.end(lease, done()).await;
    assert_eq!(ended.job.effects, Effects { pid: None, ..expected }, "only the process is gone");
}

#[tokio::test]
async fn usage_adds_up_over_attempts_and_each_keeps_its_own_exit() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let first = bench.claim().await.lease;
    let usage = |turns, cost| Usage { turns, cost_micro_usd: cost, input_tokens: 10, ..Usage::default() };
    bench.store.record_usage(first, "agent-1", None, usage(1, None)).await.unwrap();
    bench.store.record_usage(first, "agent-1", None, usage(3, Some(100))).await.unwrap();
    let crashed = Effects { exit_code: Some(134), ..Effects::default() };
    bench.store.record_effects(first, crashed).await.unwrap();
    bench.end(first, fault(ReasonCode::Crashed)).await;
    let second = bench.claim().await.lease;
    bench.store.record_usage(second, "agent-1", None, usage(4, Some(50))).await.unwrap();
    let back = bench.end(second, fault(ReasonCode::Stopped)).await;
    let sum = Usage { turns: 7, cost_micro_usd: Some(150), input_tokens: 20, ..Usage::default() };
    assert_eq!(back.job.usage, sum);
    let attempts = bench.store.list_attempts(first.job).await.unwrap();
    let facts: Vec<_> = attempts.iter().map(|a| (a.number, a.counted, a.exit_code, a.usage.turns)).collect();
    assert_eq!(facts, [(1, true, Some(134), 3), (2, false, None, 4)], "the second ran no agent to its end");
    assert_eq!(attempts[0].reason.as_ref().unwrap().code, ReasonCode::Crashed);
    assert!(attempts.iter().all(|attempt| attempt.ended_at.is_some()));
    assert_eq!(back.job.effects.exit_code, Some(134), "the newest that is known");
}

#[tokio::test]
async fn counted_attempts_run_out_by_the_options_that_were_in_force() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let two = RunOptions { max_attempts: Some(2), ..RunOptions::default() };
    for (attempt, status) in [(1, Status::Queued), (2, Status::Failed)] {
        let lease = bench.claim().await.lease;
        assert_eq!(lease.attempt, attempt);
        bench.store.record_options(lease, &two, "none", false).await.unwrap();
        let view = bench.end(lease, fault(ReasonCode::Crashed)).await;
        assert_eq!((view.job.status, view.job.attempts_counted), (status, attempt));
    }
}

#[tokio::test]
async fn a_peer_that_stays_away_is_given_up_and_success_clears_the_reason() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let mut tries = 0;
    let failed = loop {
        let lease = bench.claim().await.lease;
        let view = bench.end(lease, fault(ReasonCode::ForgeUnavailable)).await;
        if view.job.status != Status::Queued {
            break view;
        }
        tries += 1;
        assert_eq!((view.job.backoff_tries, view.job.attempts_counted), (tries, 0));
        bench.clock.advance_ms(1_800_000);
    };
    assert_eq!((tries, failed.job.status), (8, Status::Failed));
    assert_eq!(failed.job.reason.unwrap().code, ReasonCode::ForgeUnavailable);
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::Overloaded)).await;
    bench.clock.advance_ms(15_000);
    let lease = bench.claim().await.lease;
    assert_eq!(bench.view(lease.job).await.job.reason, None);
    assert_eq!(bench.end(lease, done()).await.job.reason, None);
}

#[tokio::test]
async fn a_chain_is_found_by_its_root_in_order() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let root = bench.submit(&client, "1").await.job.id;
    let lease = bench.claim().await.lease;
    let effects = Effects {
        base_sha: Some("base".to_owned()),
        head_sha: Some("head".to_owned()),
        ..Effects::default()
    };
    bench.store.record_effects(lease, effects).await.unwrap();
    bench.end(lease, fault(ReasonCode::PushRejected)).await;
    bench.submit(&client, "unrelated").await;
    let mut retry = job(&client.id, "1");
    retry.chain = Some(Chain { root: root.clone(), original: Some(root.clone()), parent: None });
    retry.start = plan(&bench.view(lease.job).await.job, &[], RetryMode::Auto, false).unwrap();
    assert!(matches!(retry.start, Start::Publish { .. }));
    let retried = bench.try_submit(retry.clone()).await.unwrap().job;
    assert_eq!((&retried.start, &retried.chain), (&retry.start, retry.chain.as_ref().unwrap()));
    let chain = bench.store.chain_of(&root).await.unwrap();
    assert_eq!(chain.iter().map(|job| job.number.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(bench.store.chain_of(&retried.id).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_job_that_is_stopped_again_and_again_comes_to_its_end() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let number = bench.submit(&client, "1").await.job.number;
    let mut counted = Vec::new();
    for stopped in 1..=2 * STOPS_MAX {
        let lease = bench.claim().await.lease;
        let job = bench.end(lease, fault(ReasonCode::Stopped)).await.job;
        counted.push(job.attempts_counted);
        if !job.status.is_live() {
            assert_eq!((job.status, stopped), (Status::Failed, STOPS_MAX + 3));
            break;
        }
    }
    assert_eq!(counted.len(), 13);
    assert_eq!(counted[9..], [0, 1, 2, 3]);
    assert_eq!(bench.store.stops_of(number).await.unwrap(), STOPS_MAX);
}

/// Every state of a job with every mode.
#[tokio::test]
async fn what_a_retry_repeats() {
    let bench = Bench::new(9);
    let client = bench.client("a").await;
    let commit = Effects {
        base_sha: Some("base".to_owned()),
        head_sha: Some("head".to_owned()),
        ..Effects::default()
    };
    let dry = AttemptEnd::Completed { outcome: offshoot::domain::job::Outcome::DryRun };
    // how it ended, with a commit?, then what auto, fresh, resume, publish give: P(ublish, or the agent where it does
    // not fit), p(ublish), a(gent), r(esume) or the refusal
    let mut table = vec![
        (done(), true, "CCCC"),
        (dry, true, "parp"),
        (AttemptEnd::Cancelled, true, "Parp"),
        (AttemptEnd::Cancelled, false, "aarN"),
    ];
    use ReasonCode as Code;
    for code in ReasonCode::ALL.iter().filter(|code| code.disposition() == Disposition::Fail) {
        let of_the_work = [
            Code::VerifyFailed,
            Code::ArtifactMissing,
            Code::HistoryRewritten,
            Code::PolicyDenied,
            Code::SecretDetected,
            Code::UnsupportedFilter,
        ];
        let with_commit = if of_the_work.contains(code) { "aarp" } else { "Parp" };
        table.push((fault(*code), true, with_commit));
        table.push((fault(*code), false, "aarN"));
    }
    for (row, (end, has_commit, expected)) in table.into_iter().enumerate() {
        bench.submit(&client, &format!("b{row}")).await;
        let lease = bench.claim().await.lease;
        if has_commit {
            bench.store.record_effects(lease, commit.clone()).await.unwrap();
        }
        let job = bench.end(lease, end).await.job;
        let found: String = RetryMode::ALL
            .iter()
            .map(|mode| match plan(&job, &[], *mode, false) {
                Ok(Start::Agent) => 'a',
                Ok(Start::Resume { .. }) => 'r',
                Ok(Start::Publish { or_agent: true, .. }) => 'P',
                Ok(Start::Publish { or_agent: false, .. }) => 'p',
                Err(CannotRetry::Completed) => 'C',
                Err(CannotRetry::NothingToPublish) => 'N',
                Err(other) => panic!("{other}"),
            })
            .collect();
        assert_eq!(found, expected, "row {row}");
        if expected.ends_with('p') {
            assert_eq!(
                plan(&job, &[], RetryMode::Auto, true),
                Ok(Start::Agent),
                "a new prompt needs the agent"
            );
            assert_eq!(plan(&job, &[], RetryMode::Publish, true), Err(CannotRetry::PromptWithoutAgent));
        }
    }
    let live = bench.submit(&client, "live").await.job;
    for mode in RetryMode::ALL {
        assert_eq!(plan(&live, &[], *mode, false), Err(CannotRetry::Live(Status::Queued)));
    }
}

#[tokio::test]
async fn a_job_is_found_by_number_id_and_unique_prefix() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let job = bench.submit(&client, "1").await.job;
    for name in ["1", job.id.as_str(), &job.id.as_str()[..9], &job.id.as_str()[4..10]] {
        let found = bench.store.get_job(&JobRef::parse(name).unwrap()).await.unwrap();
        assert_eq!(found.job.id, job.id, "{name}");
    }
    let missing = bench.store.get_job(&JobRef::parse("job-zzzz").unwrap()).await;
    assert!(matches!(missing, Err(StoreError::NotFound("job"))));
}
