//! Jobs that somebody takes over, as rows: who has them, until when, and what goes on with them.

use offshoot::domain::attempt::{AttemptEnd, Lease};
use offshoot::domain::id::JobRef;
use offshoot::domain::inward::Word;
use offshoot::domain::job::{Effects, Outcome, Phase, Status, WaitingFor};
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::visit::{GoesOn, HandedBack, Unvisitable, VISIT_LASTS, Visitor};
use offshoot::store::{Ingest, Left, StoreError};

use crate::store_fixture::{Bench, fault, waiting};

const LASTS_MS: i64 = VISIT_LASTS.as_millis() as i64;

fn visitor(key: &str) -> Visitor {
    Visitor { key: key.to_owned(), by: format!("token of {key}") }
}

fn why<T: std::fmt::Debug>(refused: Result<T, StoreError>) -> Unvisitable {
    match refused.unwrap_err() {
        StoreError::Unvisitable(why) => why,
        other => panic!("{other:?}"),
    }
}

/// A job whose agent works.
async fn at_work(bench: &Bench) -> Lease {
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    let effects = Effects {
        worktree_path: Some("/w".to_owned()),
        base_sha: Some("b".to_owned()),
        branch_tip: Some(String::new()),
        ..Effects::default()
    };
    bench.store.record_effects(lease, effects).await.unwrap();
    bench.store.reach_phase(lease, Phase::Agent).await.unwrap();
    lease
}

/// A job that somebody has, under the key `a`.
async fn visited(bench: &Bench) -> JobRef {
    let lease = at_work(bench).await;
    let job = JobRef::Number(lease.job);
    bench.store.attach(&job, visitor("a")).await.unwrap();
    bench.end(lease, AttemptEnd::Attached).await;
    job
}

#[tokio::test]
async fn a_job_waits_for_its_visitor_and_for_nobody_else() {
    let bench = Bench::new(1);
    let job = visited(&bench).await;
    let wait = waiting(&bench, 1).await;
    assert_eq!((wait.for_, wait.until), (WaitingFor::Attached, Some(bench.now() + VISIT_LASTS)));
    let view = bench.store.get_job(&job).await.unwrap().job;
    assert_eq!((view.status, view.attempts_counted, view.reason), (Status::Queued, 0, None));
    assert_eq!(
        why(bench.store.attach(&job, visitor("b")).await),
        Unvisitable::Taken { by: "token of a".to_owned() }
    );
    assert_eq!(bench.claimed_number().await, None);
    // the slot is free for others
    let other = bench.client("b").await;
    bench.submit(&other, "2").await;
    assert_eq!(bench.claimed_number().await, Some(2));
    for refused in [
        why(bench.store.prolong_visit(&job, "b").await),
        why(bench.store.hand_back(&job, "b", GoesOn::Publish).await),
    ] {
        assert_eq!(refused, Unvisitable::NoVisit);
    }
}

#[tokio::test]
async fn a_visit_lasts_while_it_is_prolonged_and_its_end_is_found_in_the_row() {
    let bench = Bench::new(1);
    let job = visited(&bench).await;
    for _ in 0..5 {
        bench.clock.advance_ms(LASTS_MS - 1_000);
        assert!(bench.store.visits_to_end().await.unwrap().is_empty());
        bench.store.prolong_visit(&job, "a").await.unwrap();
    }
    assert_eq!(bench.store.next_due_in().await.unwrap(), Some(VISIT_LASTS));
    bench.clock.advance_ms(LASTS_MS);
    let store = bench.reopen();
    assert_eq!(store.visits_to_end().await.unwrap().len(), 1);
    // what he has left running is being ended: he comes too late, and nothing starts yet
    assert_eq!(why(store.prolong_visit(&job, "a").await), Unvisitable::NoVisit);
    assert_eq!(why(store.hand_back(&job, "a", GoesOn::Publish).await), Unvisitable::NoVisit);
    assert!(store.claim().await.unwrap().is_none());
    let number = store.get_job(&job).await.unwrap().job.number;
    store.end_visit(number, None, |_| None).await.unwrap();
    // nobody has called the work done
    let claimed = store.claim().await.unwrap().expect("it goes on").job;
    assert_eq!(claimed.handed_back, Some(HandedBack { after: 1, to: GoesOn::Agent, turn: None }));
}

#[tokio::test]
async fn who_leaves_before_the_job_has_made_way_is_known_by_his_row_until_then() {
    let bench = Bench::new(1);
    let lease = at_work(&bench).await;
    let job = JobRef::Number(lease.job);
    bench.store.attach(&job, visitor("a")).await.unwrap();
    assert_eq!(why(bench.store.hand_back(&job, "a", GoesOn::Publish).await), Unvisitable::MakingWay);
    bench.store.hand_back(&job, "a", GoesOn::Agent).await.unwrap();
    assert!(!bench.store.is_awaited(lease.job).await.unwrap());
    assert!(bench.store.visits_to_end().await.unwrap().is_empty());
    assert!(bench.store.find_visit(lease.job).await.unwrap().is_some());
    // the next one need not wait
    bench.store.attach(&job, visitor("b")).await.unwrap();
    bench.clock.advance_ms(LASTS_MS);
    assert!(bench.store.visits_to_end().await.unwrap().is_empty());
    bench.end(lease, AttemptEnd::Attached).await;
    assert_eq!(bench.store.visits_to_end().await.unwrap(), [lease.job]);
    bench.store.end_visit(lease.job, None, |_| None).await.unwrap();
    let claimed = bench.claim().await.job;
    assert_eq!(claimed.handed_back, Some(HandedBack { after: 1, to: GoesOn::Agent, turn: None }));
    assert_eq!(claimed.attempts_counted, 0);
}

#[tokio::test]
async fn words_of_a_turn_that_said_nothing_are_told_again_and_others_are_not() {
    let bench = Bench::new(1);
    let lease = at_work(&bench).await;
    let job = JobRef::Number(lease.job);
    let said = |text: &str| Word::Message { name: None, text: text.to_owned() };
    for (turn, text, speaks) in [("agent-1-2", "heard", true), ("agent-1-3", "lost", false)] {
        bench.store.say_to_agent(&job, said(text), "admin").await.unwrap();
        bench.store.begin_turn(lease, turn, 9).await.unwrap();
        if speaks {
            let spoken = Ingest { messages: Vec::new(), log_records: 1 };
            bench.store.ingest(lease, turn, spoken).await.unwrap();
        }
    }
    bench.store.attach(&job, visitor("a")).await.unwrap();
    bench.end(lease, AttemptEnd::Attached).await;
    let given = bench.store.said_to_agent(lease.job).await.unwrap();
    let untold: Vec<_> =
        given.iter().filter(|said| said.given_to.is_none()).map(|said| said.text.as_deref()).collect();
    assert_eq!(untold, [Some("lost")]);
}

#[tokio::test]
async fn a_start_gives_the_visitor_time_to_come_back() {
    let bench = Bench::new(1);
    let job = visited(&bench).await;
    bench.clock.advance_ms(LASTS_MS * 10);
    let store = bench.reopen();
    store.adopt_running("boot").await.unwrap();
    assert!(store.visits_to_end().await.unwrap().is_empty());
    store.prolong_visit(&job, "a").await.unwrap();
}

#[tokio::test]
async fn work_that_is_done_by_hand_needs_no_login_and_gets_none_of_its_holds() {
    let bench = Bench::new(2);
    let job = visited(&bench).await;
    let other = bench.client("b").await;
    bench.submit(&other, "2").await;
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::UsageLimit)).await;
    bench.store.hand_back(&job, "a", GoesOn::Publish).await.unwrap();
    // an answer that was lost is asked for again
    bench.store.hand_back(&job, "a", GoesOn::Publish).await.unwrap();
    assert_eq!(bench.store.visits_to_end().await.unwrap().len(), 1);
    let number = bench.store.get_job(&job).await.unwrap().job.number;
    bench.store.end_visit(number, None, |_| None).await.unwrap();
    assert_eq!(waiting(&bench, 1).await.for_, WaitingFor::Slot);
    let lease = bench.claim().await.lease;
    assert_eq!(lease.job, number);
    // it was no probe: the hold stays
    bench.end(lease, AttemptEnd::Completed { outcome: Outcome::BranchPushed }).await;
    assert_eq!(bench.store.accounts().await.unwrap().holds.len(), 1);
}

#[tokio::test]
async fn a_repair_after_a_visit_is_the_agents_again() {
    let bench = Bench::new(1);
    let job = visited(&bench).await;
    bench.store.hand_back(&job, "a", GoesOn::Publish).await.unwrap();
    let number = bench.store.get_job(&job).await.unwrap().job.number;
    bench.store.end_visit(number, None, |_| None).await.unwrap();
    let lease = bench.claim().await.lease;
    bench.store.begin_step(lease, "verify-1").await.unwrap();
    assert!(bench.store.get_job(&job).await.unwrap().job.is_done_by_hand());
    bench.store.begin_turn(lease, "agent-2", 0).await.unwrap();
    let after = bench.store.get_job(&job).await.unwrap().job;
    assert_eq!(after.handed_back, Some(HandedBack { after: 1, to: GoesOn::Publish, turn: Some(2) }));
    assert!(!after.is_done_by_hand());
}

#[tokio::test]
async fn who_comes_too_early_or_too_late_is_told_so() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let job = JobRef::parse("1").unwrap();
    let attach = async || bench.store.attach(&job, visitor("a")).await;
    assert_eq!(why(attach().await), Unvisitable::NotBegun);
    let lease = bench.claim().await.lease;
    assert_eq!(why(attach().await), Unvisitable::NotBegun);
    bench.store.reach_phase(lease, Phase::Pushing).await.unwrap();
    assert_eq!(why(attach().await), Unvisitable::Publishing);
    bench.end(lease, AttemptEnd::Completed { outcome: Outcome::NoChanges }).await;
    assert_eq!(why(attach().await), Unvisitable::Over);
}

#[tokio::test]
async fn no_commit_overtakes_a_visitor() {
    let bench = Bench::new(1);
    let lease = at_work(&bench).await;
    let job = JobRef::Number(lease.job);
    bench.store.attach(&job, visitor("a")).await.unwrap();
    assert_eq!(bench.store.leave_agent(lease).await.unwrap(), Left::Awaited);
    // he has thought better of it before the worker made way
    bench.store.hand_back(&job, "a", GoesOn::Agent).await.unwrap();
    assert!(bench.store.visits_to_end().await.unwrap().is_empty());
    assert_eq!(bench.store.leave_agent(lease).await.unwrap(), Left::Yes);
    assert_eq!(why(bench.store.attach(&job, visitor("b")).await), Unvisitable::Publishing);
}

#[tokio::test]
async fn a_cancelled_job_is_over_when_nothing_of_the_visit_lives() {
    let bench = Bench::new(1);
    let job = visited(&bench).await;
    let number = bench.store.get_job(&job).await.unwrap().job.number;
    let asked = bench.cancel(number).await.unwrap();
    assert!(!asked.was_running && !asked.was_cancelled);
    assert_eq!(bench.view(number).await.job.status, Status::Queued);
    assert_eq!(
        why(bench.store.attach(&job, visitor("a")).await),
        Unvisitable::Taken { by: "token of a".to_owned() }
    );
    assert_eq!(bench.store.visits_to_end().await.unwrap(), [number]);
    // whose program was ended by that is not told that the agent goes on
    assert_eq!(why(bench.store.hand_back(&job, "a", GoesOn::Agent).await), Unvisitable::NoVisit);
    bench.store.end_visit(number, None, |_| None).await.unwrap();
    assert_eq!(bench.view(number).await.job.status, Status::Cancelled);
    assert!(bench.store.visits_to_end().await.unwrap().is_empty());
}
