//! Who may start, in which order, and what the others are told.

use std::time::Duration;

use offshoot::domain::attempt::AttemptEnd;
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{Status, Waiting, WaitingFor};
use offshoot::domain::reason::ReasonCode;
use offshoot::store::{Limits, StoreError};

use crate::store_fixture::{Bench, done, fault, job, waiting};

async fn positions(bench: &Bench, numbers: &[i64]) -> Vec<Option<i64>> {
    let mut found = Vec::new();
    for number in numbers {
        found.push(bench.view(JobNumber(*number)).await.position);
    }
    found
}

#[tokio::test]
async fn a_job_goes_from_the_queue_to_its_end() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let submitted = bench.submit(&client, "fix").await;
    assert_eq!((submitted.job.status, submitted.position), (Status::Queued, Some(1)));
    let assignment = bench.claim().await;
    assert_eq!((assignment.lease.attempt, assignment.adopted), (1, false));
    assert_eq!(assignment.job.started_at, Some(bench.now()));
    let running = bench.view(assignment.lease.job).await;
    assert_eq!((running.job.status, running.position, running.waiting), (Status::Running, None, None));
    bench.clock.advance_ms(5_000);
    let ended = bench.end(assignment.lease, done()).await;
    assert_eq!((ended.job.status, ended.job.completed_at), (Status::Completed, Some(bench.now())));
    assert_eq!(ended.job.reason, None);
}

#[tokio::test]
async fn priority_comes_first_then_turns_then_numbers() {
    let bench = Bench::new(100);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    for branch in ["1", "2", "3"] {
        bench.submit(&a, branch).await;
    }
    for branch in ["1", "2"] {
        bench.submit(&b, branch).await;
    }
    let mut urgent = job(&a.id, "urgent");
    urgent.request.priority = 5;
    assert_eq!(bench.try_submit(urgent).await.unwrap().position, Some(1));
    let mut idle = job(&b.id, "idle");
    idle.request.priority = -1;
    bench.try_submit(idle).await.unwrap();
    let expected = [6, 1, 4, 2, 5, 3, 7];
    let all: Vec<_> = (1..=7).map(Some).collect();
    assert_eq!(positions(&bench, &expected).await, all);
    let page = bench.store.queue_page(None).await.unwrap();
    let listed: Vec<_> = page.queued.iter().map(|queued| (queued.number.0, queued.position)).collect();
    assert_eq!(listed, expected.into_iter().zip(1..).collect::<Vec<_>>());
    for number in expected {
        assert_eq!(bench.claimed_number().await, Some(number));
    }
    assert_eq!(bench.claimed_number().await, None);
}

#[tokio::test]
async fn a_flood_costs_another_client_one_slot_release_at_most() {
    let bench = Bench::new(2);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    for n in 0..500 {
        bench.submit(&a, &format!("flood/{n}")).await;
    }
    let mut running = vec![bench.claim().await.lease, bench.claim().await.lease];
    for round in 0..3 {
        let late = bench.submit(&b, &format!("late-{round}")).await;
        assert_eq!(late.position, Some(1));
        bench.end(running.remove(0), done()).await;
        let next = bench.claim().await.lease;
        assert_eq!(next.job, late.job.number);
        running.push(next);
        // the flood has its turn too before the same client comes again
        bench.end(running.remove(0), done()).await;
        running.push(bench.claim().await.lease);
    }
}

/// A client that always has a job running and sends the next one at once must not take every release.
#[tokio::test]
async fn one_job_after_another_does_not_starve_a_queue() {
    let bench = Bench::new(1);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    bench.submit(&a, "a-0").await;
    for n in 0..4 {
        bench.submit(&b, &format!("b-{n}")).await;
    }
    let mut order = Vec::new();
    let mut sent = 0;
    for _ in 0..8 {
        let lease = bench.claim().await.lease;
        let job = bench.view(lease.job).await;
        order.push(job.client_name.clone());
        if job.client_name == "a" {
            sent += 1;
            bench.submit(&a, &format!("a-{sent}")).await;
        }
        bench.end(lease, done()).await;
    }
    assert_eq!(order, ["a", "b", "b", "a", "b", "a", "b", "a"]);
}

#[tokio::test]
async fn limits_hold_for_all_and_for_each_client() {
    let bench = Bench::with(Limits {
        running_max: 3,
        running_per_client_max: Some(2),
        queued_max: 1_000,
        disk_free_bytes_min: 0,
    });
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    for n in 0..4 {
        bench.submit(&a, &format!("{n}")).await;
    }
    let first = bench.claim().await.lease;
    bench.claim().await;
    assert_eq!(bench.claimed_number().await, None);
    assert_eq!(waiting(&bench, 3).await.for_, WaitingFor::ClientLimit);
    let late = bench.submit(&b, "x").await;
    assert_eq!((late.position, late.waiting.map(|w| w.for_)), (Some(1), Some(WaitingFor::Slot)));
    assert_eq!(bench.claimed_number().await, Some(5));
    bench.submit(&b, "y").await;
    assert_eq!(bench.claimed_number().await, None, "three are running");
    bench.end(first, done()).await;
    assert_eq!(bench.claimed_number().await, Some(3), "each has one running, and a's job is the older one");
    assert_eq!(waiting(&bench, 4).await.for_, WaitingFor::ClientLimit);
    assert_eq!(waiting(&bench, 6).await.for_, WaitingFor::Slot);
}

#[tokio::test]
async fn branches_that_cannot_exist_beside_each_other_are_refused() {
    let bench = Bench::new(1);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    bench.submit(&a, "feat/y").await;
    for twin in ["feat", "FEAT", "feat/y", "Feat/Y", "feat/y/z"] {
        let error = bench.try_submit(job(&a.id, twin)).await.unwrap_err();
        let StoreError::BranchBusy(conflict) = error else { panic!("{twin}: {error}") };
        assert_eq!((conflict.number.0, conflict.branch.as_str()), (1, "feat/y"), "{twin}");
    }
    for neighbour in ["feature", "feat/x", "feat-y", "feat0", "feat.y"] {
        bench.submit(&a, neighbour).await;
    }
    bench.submit(&b, "feat").await;
    let running = bench.claim().await.lease;
    assert!(bench.try_submit(job(&a.id, "feat/y")).await.is_err(), "running is live too");
    bench.end(running, done()).await;
    bench.submit(&a, "FEAT/Y").await;
}

#[tokio::test]
async fn a_branch_is_made_up_from_the_number() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "fix").await;
    let mut new = job(&client.id, "x");
    new.request.branch = None;
    let view = bench.try_submit(new).await.unwrap();
    assert_eq!(view.job.request.branch.as_str(), "offshoot/2-add-a-file");
    // a refused job uses no number up
    assert!(bench.try_submit(job(&client.id, "fix")).await.is_err());
    assert_eq!(bench.submit(&client, "other").await.job.number, JobNumber(3));
}

#[tokio::test]
async fn the_branch_that_an_attempt_found_instead_is_fenced_like_any_other() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "fix").await;
    bench.submit(&client, "fix-2").await;
    let lease = bench.claim().await.lease;
    let taken = offshoot::domain::branch::BranchName::parse("Fix-2").unwrap();
    assert!(matches!(bench.store.record_branch(lease, &taken).await, Err(StoreError::BranchBusy(_))));
    let free = offshoot::domain::branch::BranchName::parse("fix-3").unwrap();
    bench.store.record_branch(lease, &free).await.unwrap();
    assert_eq!(bench.view(lease.job).await.job.request.branch, free);
    assert!(bench.try_submit(job(&client.id, "FIX-3")).await.is_err());
    bench.submit(&client, "fix").await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_when_one_has_started() {
    let bench = Bench::with(Limits {
        running_max: 1,
        running_per_client_max: None,
        queued_max: 2,
        disk_free_bytes_min: 0,
    });
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let refused = bench.try_submit(job(&client.id, "3")).await;
    assert!(matches!(refused, Err(StoreError::QueueFull { max: 2 })));
    bench.claim().await;
    bench.submit(&client, "3").await;
}

#[tokio::test]
async fn nothing_starts_on_a_full_disk() {
    let full =
        Limits { running_max: 1, running_per_client_max: None, queued_max: 9, disk_free_bytes_min: u64::MAX };
    let bench = Bench::with(full);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    assert_eq!(bench.claimed_number().await, None);
    assert_eq!(waiting(&bench, 1).await.for_, WaitingFor::Disk);
}

#[tokio::test]
async fn a_pause_survives_a_restart() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.store.pause_queue(Some("moving house")).await.unwrap();
    let later = bench.reopen();
    let state = later.queue_state().await.unwrap();
    assert_eq!((state.paused, state.reason.as_deref()), (true, Some("moving house")));
    assert_eq!(state.since, Some(bench.now()));
    assert!(later.claim().await.unwrap().is_none());
    assert_eq!(waiting(&bench, 1).await.for_, WaitingFor::Paused);
    later.resume_queue().await.unwrap();
    assert!(later.claim().await.unwrap().is_some());
}

#[tokio::test]
async fn a_paused_client_waits_alone() {
    let bench = Bench::new(2);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    bench.submit(&a, "1").await;
    bench.submit(&b, "1").await;
    bench.store.pause_client(&a.id, "tampered").await.unwrap();
    assert_eq!(bench.claimed_number().await, Some(2));
    assert_eq!(bench.claimed_number().await, None);
    assert_eq!(waiting(&bench, 1).await.for_, WaitingFor::Paused);
}

#[tokio::test]
async fn requeued_jobs_keep_their_place() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3"] {
        bench.submit(&client, branch).await;
    }
    let lease = bench.claim().await.lease;
    let back = bench.end(lease, fault(ReasonCode::Stopped)).await;
    assert_eq!((back.job.status, back.position), (Status::Queued, Some(1)));
    assert_eq!((back.job.attempts_counted, back.job.reason.unwrap().code), (0, ReasonCode::Stopped));
    let again = bench.claim().await;
    assert_eq!((again.lease.job, again.lease.attempt), (lease.job, 2));
    assert_eq!(again.job.started_at, back.job.started_at, "the first start stays");
}

#[tokio::test]
async fn a_backoff_lets_others_pass_and_comes_due() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    let back = bench.end(lease, fault(ReasonCode::RemoteUnavailable)).await;
    let until = bench.now() + Duration::from_secs(15);
    assert_eq!(back.waiting, Some(Waiting::plain(WaitingFor::Backoff, Some(until))));
    assert_eq!(back.position, Some(1), "held ones keep their place");
    assert_eq!(bench.store.next_due_in().await.unwrap(), Some(Duration::from_secs(15)));
    let other = bench.claim().await.lease;
    assert_eq!(other.job, JobNumber(2));
    bench.end(other, done()).await;
    bench.clock.advance_ms(14_999);
    assert_eq!(bench.claimed_number().await, None);
    assert_eq!(bench.store.next_due_in().await.unwrap(), Some(Duration::from_millis(1)));
    bench.clock.advance_ms(1);
    assert_eq!(bench.store.next_due_in().await.unwrap(), None);
    assert_eq!(bench.claimed_number().await, Some(lease.job.0));
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_a_running_one_by_its_worker() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    let queued = bench.cancel(JobNumber(2)).await.unwrap();
    assert_eq!((queued.was_running, queued.was_cancelled), (false, false));
    let view = bench.view(JobNumber(2)).await;
    assert_eq!((view.job.status, view.job.reason.unwrap().code), (Status::Cancelled, ReasonCode::Cancelled));
    assert!(bench.cancel(JobNumber(2)).await.unwrap().was_cancelled);

    let running = bench.cancel(lease.job).await.unwrap();
    assert!(running.was_running);
    assert!(bench.store.is_cancel_requested(lease.job).await.unwrap());
    let asked_at = bench.view(lease.job).await.job.cancel_requested_at;
    bench.clock.advance_ms(1_000);
    bench.cancel(lease.job).await.unwrap();
    let view = bench.view(lease.job).await;
    assert_eq!((view.job.status, view.job.cancel_requested_at), (Status::Running, asked_at));
    // the request is durable, and wins over what would have been another attempt
    let ended = bench.end(lease, fault(ReasonCode::Interrupted)).await;
    assert_eq!(ended.job.status, Status::Cancelled);
    assert_eq!(bench.claimed_number().await, None);
}

#[tokio::test]
async fn a_finished_job_cannot_be_cancelled() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let (one, two) = (bench.claim().await.lease, bench.claim().await.lease);
    bench.end(one, done()).await;
    bench.end(two, fault(ReasonCode::PushRejected)).await;
    assert_eq!(bench.cancel(one.job).await.unwrap_err().to_string(), "Job already completed");
    assert_eq!(bench.cancel(two.job).await.unwrap_err().to_string(), "Job already failed");
    assert!(matches!(bench.cancel(JobNumber(99)).await, Err(StoreError::NotFound("job"))));
    let view = bench.view(one.job).await;
    assert_eq!((view.job.cancel_requested_at, view.job.status), (None, Status::Completed));
}

#[tokio::test]
async fn success_wins_over_a_late_request_to_cancel() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    bench.cancel(lease.job).await.unwrap();
    assert_eq!(bench.end(lease, done()).await.job.status, Status::Completed);
}

#[tokio::test]
async fn a_cancelled_attempt_ends_the_job() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    bench.cancel(lease.job).await.unwrap();
    let view = bench.end(lease, AttemptEnd::Cancelled).await;
    assert_eq!((view.job.status, view.job.completed_at), (Status::Cancelled, Some(bench.now())));
}
