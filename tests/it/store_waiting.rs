//! Jobs that wait for a time or for other jobs, and what becomes of them when one of those ends.

use std::time::Duration;

use offshoot::domain::attempt::AttemptEnd;
use offshoot::domain::client::Client;
use offshoot::domain::id::{JobId, JobNumber, JobRef};
use offshoot::domain::job::{Chain, JobView, NewJob, Outcome, Status, Waiting, WaitingFor};
use offshoot::domain::reason::ReasonCode;
use offshoot::store::{Change, StoreError};

use crate::store_fixture::{Bench, callback, done, ended_before, fault, job};

const URL: &str = "https://example.org/hook";

fn after(client: &Client, branch: &str, dependencies: &[&JobView]) -> NewJob {
    let mut new = job(&client.id, branch);
    new.request.depends_on = dependencies.iter().map(|view| view.job.id.clone()).collect();
    new
}

/// A callback for each job, whose ids are made from its number.
fn told(view: &JobView) -> Option<offshoot::domain::delivery::RenderedCallback> {
    Some(callback(&format!("job{}", view.job.number), URL))
}

fn waits_for(view: &JobView) -> Option<WaitingFor> {
    view.waiting.map(|waiting| waiting.for_)
}

async fn reason(bench: &Bench, number: JobNumber) -> (Status, String) {
    let job = bench.view(number).await.job;
    let reason = job.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::DependencyFailed);
    (job.status, reason.message)
}

#[tokio::test]
async fn a_job_is_not_started_before_its_time() {
    let bench = Bench::new(5);
    let client = bench.client("widgets").await;
    let at = |seconds: u64| Some(bench.now() + Duration::from_secs(seconds));
    let mut new = job(&client.id, "later");
    new.request.run_at = at(60);
    let later = bench.try_submit(new).await.unwrap();
    assert_eq!(later.waiting, Some(Waiting::plain(WaitingFor::RunAt, at(60))));
    let mut new = job(&client.id, "past");
    new.request.run_at = Some(bench.now() - Duration::from_secs(60));
    let past = bench.try_submit(new).await.unwrap();
    assert_eq!((past.position, waits_for(&past)), (Some(2), Some(WaitingFor::Slot)));
    assert_eq!(bench.claimed_number().await, Some(2));
    assert_eq!(bench.claimed_number().await, None);
    assert_eq!(bench.store.next_due_in().await.unwrap(), Some(Duration::from_secs(60)));

    let until = at(60);
    bench.clock.advance_ms(59_999);
    assert_eq!(bench.claimed_number().await, None);
    let reopened = bench.reopen();
    assert_eq!(reopened.get_job(&JobRef::Number(JobNumber(1))).await.unwrap().job.request.run_at, until);
    drop(reopened);
    bench.clock.advance_ms(1);
    assert_eq!(waits_for(&bench.view(JobNumber(1)).await), Some(WaitingFor::Slot));
    assert_eq!(bench.store.next_due_in().await.unwrap(), None);
    assert_eq!(bench.claimed_number().await, Some(1));
}

#[tokio::test]
async fn a_job_waits_until_all_it_depends_on_have_succeeded() {
    let bench = Bench::new(5);
    let client = bench.client("widgets").await;
    let (a, b) = (bench.submit(&client, "a").await, bench.submit(&client, "b").await);
    let c = bench.try_submit(after(&client, "c", &[&a, &b])).await.unwrap();
    assert_eq!((c.position, waits_for(&c)), (Some(3), Some(WaitingFor::Dependency)));
    assert_eq!(c.job.request.depends_on, [a.job.id.clone(), b.job.id.clone()]);
    let (first, second) = (bench.claim().await.lease, bench.claim().await.lease);
    assert_eq!(bench.claimed_number().await, None);
    bench.end(first, done()).await;
    assert_eq!(waits_for(&bench.view(c.job.number).await), Some(WaitingFor::Dependency));
    assert_eq!(bench.claimed_number().await, None);

    // an attempt that ends is not the end of the job
    bench.end(second, fault(ReasonCode::Stopped)).await;
    let second = bench.claim().await.lease;
    assert_eq!(second.job, b.job.number);
    let mut hints = bench.store.watch();
    bench.end(second, AttemptEnd::Completed { outcome: Outcome::NoChanges }).await;
    assert_eq!(waits_for(&bench.view(c.job.number).await), Some(WaitingFor::Slot));
    let told: Vec<_> = std::iter::from_fn(|| hints.try_recv().ok()).collect();
    assert!(told.contains(&Change::JobMoved(c.job.number)), "{told:?}");
    assert_eq!(bench.claimed_number().await, Some(3));
    assert_eq!(bench.claimed_number().await, None);
}

#[tokio::test]
async fn a_failure_takes_all_that_follows_with_it() {
    let bench = Bench::new(5);
    let client = bench.client("widgets").await;
    let a = bench.submit(&client, "a").await;
    let other = bench.submit(&client, "other").await;
    let b = bench.try_submit(after(&client, "b", &[&a])).await.unwrap();
    let c = bench.try_submit(after(&client, "c", &[&a])).await.unwrap();
    // both ways lead to it, and it waits for another one too
    let d = bench.try_submit(after(&client, "d", &[&b, &c, &other])).await.unwrap();
    let free = bench.try_submit(after(&client, "free", &[&other])).await.unwrap();
    let (first, second) = (bench.claim().await.lease, bench.claim().await.lease);
    let mut hints = bench.store.watch();
    let view = bench.store.finish(first, fault(ReasonCode::VerifyFailed), told).await.unwrap();
    assert_eq!((view.job.number, view.job.status), (a.job.number, Status::Failed));
    for (job, by, how) in
        [(&b, &a, "verify_failed"), (&c, &a, "verify_failed"), (&d, &b, "dependency_failed")]
    {
        let (status, message) = reason(&bench, job.job.number).await;
        assert_eq!(status, Status::Failed);
        let named = format!("Job #{} ({}) failed ({how}).", by.job.number, by.job.id);
        assert!(message.ends_with(&named), "{message}");
        let deliveries = bench.store.list_deliveries(job.job.number).await.unwrap();
        assert_eq!(deliveries.len(), 1, "one callback each");
        let events = bench.store.list_events(Some(job.job.number), 0, 10).await.unwrap();
        assert_eq!(events.len(), 2, "{events:?}");
    }
    let moved: Vec<_> = std::iter::from_fn(|| hints.try_recv().ok()).collect();
    for job in [&a, &b, &c, &d] {
        assert!(moved.contains(&Change::JobMoved(job.job.number)), "{moved:?}");
    }
    assert_eq!(waits_for(&bench.view(free.job.number).await), Some(WaitingFor::Dependency));
    bench.end(second, done()).await;
    assert_eq!(bench.claimed_number().await, Some(free.job.number.0));
    assert_eq!(bench.view(d.job.number).await.job.status, Status::Failed);
}

#[tokio::test]
async fn a_cancelled_job_fails_its_dependents_queued_or_running() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let a = bench.submit(&client, "a").await;
    let b = bench.try_submit(after(&client, "b", &[&a])).await.unwrap();
    let c = bench.try_submit(after(&client, "c", &[&b])).await.unwrap();
    let lease = bench.claim().await.lease;
    // one that waits itself
    bench.store.request_cancel(&JobRef::Number(b.job.number), told).await.unwrap();
    assert_eq!(bench.view(b.job.number).await.job.status, Status::Cancelled);
    let (status, message) = reason(&bench, c.job.number).await;
    assert!(status == Status::Failed && message.ends_with("was cancelled."), "{message}");
    assert_eq!(bench.store.list_deliveries(c.job.number).await.unwrap().len(), 1);
    // one that runs: only when it is over
    let d = bench.try_submit(after(&client, "d", &[&a])).await.unwrap();
    assert!(bench.cancel(a.job.number).await.unwrap().was_running);
    assert_eq!(bench.view(d.job.number).await.job.status, Status::Queued);
    bench.end(lease, AttemptEnd::Cancelled).await;
    assert_eq!(reason(&bench, d.job.number).await.0, Status::Failed);
    assert_eq!(bench.view(b.job.number).await.job.status, Status::Cancelled, "it stays as it ended");
}

#[tokio::test]
async fn what_is_over_at_submit_is_ignored_or_decides_at_once() {
    let bench = Bench::new(5);
    let client = bench.client("widgets").await;
    let good = bench.submit(&client, "good").await;
    bench.end(bench.claim().await.lease, done()).await;
    let bad = bench.submit(&client, "bad").await;
    bench.end(bench.claim().await.lease, fault(ReasonCode::VerifyFailed)).await;
    let free = bench.try_submit(after(&client, "free", &[&good])).await.unwrap();
    assert_eq!((free.job.status, waits_for(&free)), (Status::Queued, Some(WaitingFor::Slot)));

    let both = after(&client, "both", &[&good, &bad, &free]);
    let answered = bench.store.submit_job(both.clone(), None, told).await.unwrap();
    assert_eq!(
        (answered.job.status, answered.position.is_some()),
        (Status::Queued, true),
        "as it was inserted"
    );
    let failed = bench.view(answered.job.number).await;
    assert_eq!((failed.job.status, failed.position), (Status::Failed, None));
    assert_eq!(bench.store.list_deliveries(failed.job.number).await.unwrap().len(), 1);
    let follower = bench.try_submit(after(&client, "follower", &[&failed])).await.unwrap();
    assert!(reason(&bench, follower.job.number).await.1.contains("failed (dependency_failed)"));
    // its branch is free again, and what it also named no longer touches it
    assert!(bench.try_submit(job(&client.id, "both")).await.is_ok());
    bench.end(bench.claim().await.lease, done()).await;
    assert_eq!(bench.view(failed.job.number).await.job.status, Status::Failed);

    let mut unknown = job(&client.id, "unknown");
    unknown.request.depends_on = vec![JobId::from_random("zzzz")];
    let count = bench.store.list_events(None, 0, 1_000).await.unwrap().len();
    assert!(matches!(bench.try_submit(unknown).await, Err(StoreError::NotFound("job"))));
    assert_eq!(bench.store.list_events(None, 0, 1_000).await.unwrap().len(), count);
}

fn retry(of: &JobView) -> NewJob {
    let mut new = job(&of.job.client_id, of.job.request.branch.as_str());
    new.request.depends_on.clone_from(&of.job.request.depends_on);
    let root = of.job.chain.root.clone();
    new.chain = Some(Chain { root, original: Some(of.job.id.clone()), parent: None });
    new
}

#[tokio::test]
async fn a_dependency_is_met_by_a_retry_and_a_retry_has_the_dependencies_of_its_job() {
    let bench = Bench::new(9);
    let client = bench.client("widgets").await;
    let first = bench.submit(&client, "a").await;
    let waiter = bench.try_submit(after(&client, "b", &[&first])).await.unwrap();
    bench.end(bench.claim().await.lease, fault(ReasonCode::VerifyFailed)).await;
    assert!(reason(&bench, waiter.job.number).await.1.contains("Job #1"));

    // nothing has changed for it
    let again = bench.try_submit(retry(&waiter)).await.unwrap();
    assert!(reason(&bench, again.job.number).await.1.contains("Job #1"));

    // while the first is tried again it waits for that, whichever of them is named
    let second = bench.try_submit(retry(&first)).await.unwrap();
    let again = bench.try_submit(retry(&again)).await.unwrap();
    assert_eq!(waits_for(&again), Some(WaitingFor::Dependency));
    assert_eq!(again.job.request.depends_on, std::slice::from_ref(&first.job.id));
    let both = bench.try_submit(after(&client, "c", &[&first, &second])).await.unwrap();
    assert_eq!(bench.claimed_number().await, Some(second.job.number.0));
    assert_eq!(bench.claimed_number().await, None);
    let lease = bench.store.adopt_running("boot").await.unwrap()[0].lease;
    bench.end(lease, fault(ReasonCode::VerifyFailed)).await;
    let (_, message) = reason(&bench, again.job.number).await;
    assert!(message.contains(&format!("#{}", second.job.number)), "{message}");
    assert_eq!(reason(&bench, both.job.number).await.0, Status::Failed);

    // done by the third of them
    let third = bench.try_submit(retry(&second)).await.unwrap();
    bench.end(bench.claim().await.lease, done()).await;
    for (branch, named) in [("d", &first), ("e", &second), ("f", &third)] {
        let free = bench.try_submit(after(&client, branch, &[named])).await.unwrap();
        assert_eq!(waits_for(&free), Some(WaitingFor::Slot), "{branch}");
    }
    let again = bench.try_submit(retry(&again)).await.unwrap();
    assert_eq!(waits_for(&again), Some(WaitingFor::Slot));
}

/// What was named may be forgotten by the time somebody tries again.
#[tokio::test]
async fn a_retry_does_not_wait_for_a_job_that_is_forgotten() {
    let bench = Bench::new(9);
    let client = bench.client("widgets").await;
    let first = bench.submit(&client, "a").await;
    bench.end(bench.claim().await.lease, done()).await;
    bench.clock.advance_ms(1_000);
    let before = ended_before(bench.now());
    let waiter = bench.try_submit(after(&client, "b", &[&first])).await.unwrap();
    bench.end(bench.claim().await.lease, fault(ReasonCode::VerifyFailed)).await;
    assert_eq!(bench.forget(vec![first.job.number], before).await, 1);
    let again = bench.try_submit(retry(&waiter)).await.unwrap();
    assert_eq!(waits_for(&again), Some(WaitingFor::Slot));
    assert!(matches!(
        bench.try_submit(after(&client, "c", &[&first])).await,
        Err(StoreError::NotFound("job"))
    ));
}

/// Their turns were dealt long ago: all together they would go before everybody who came since.
#[tokio::test]
async fn a_flood_that_was_held_takes_turns_with_everybody_else() {
    let bench = Bench::new(1);
    let (flood, other) = (bench.client("flood").await, bench.client("other").await);
    for n in 0..20 {
        let mut new = job(&flood.id, &format!("f/{n}"));
        new.request.run_at = Some(bench.now() + Duration::from_secs(3_600));
        bench.try_submit(new).await.unwrap();
    }
    // together, so that they take thirty turns
    for n in 0..30 {
        bench.submit(&other, &format!("{n}")).await;
    }
    for _ in 0..30 {
        bench.end(bench.claim().await.lease, done()).await;
    }
    bench.clock.advance_ms(3_600_000);
    let single = bench.submit(&other, "single").await.job.number.0;
    let mut order = Vec::new();
    while let Some(assignment) = bench.store.claim().await.unwrap() {
        order.push(assignment.lease.job.0);
        bench.end(assignment.lease, done()).await;
    }
    assert_eq!(order[..3], [1, single, 2], "one slot's release, and then it is served");
    order.retain(|number| *number != single);
    assert_eq!(order, (1..=20).collect::<Vec<_>>(), "among themselves they keep their order");
}

/// What a client has besides, held or taken back, costs its one job that can go no round of another's flood.
#[tokio::test]
async fn neither_held_nor_cancelled_jobs_put_off_the_one_that_can_go() {
    for held in [true, false] {
        let bench = Bench::new(1);
        let (flood, other) = (bench.client("flood").await, bench.client("other").await);
        for n in 0..30 {
            bench.submit(&flood, &format!("{n}")).await;
        }
        let mut besides = Vec::new();
        for n in 0..20 {
            let mut new = job(&other.id, &format!("later/{n}"));
            new.request.run_at = held.then(|| bench.now() + Duration::from_secs(3_600));
            besides.push(bench.try_submit(new).await.unwrap().job.number);
        }
        let single = bench.submit(&other, "single").await.job.number;
        for number in besides.iter().filter(|_| !held) {
            bench.cancel(*number).await.unwrap();
        }
        let mut order = Vec::new();
        while order.len() < 4 {
            let lease = bench.claim().await.lease;
            order.push(lease.job.0);
            bench.end(lease, done()).await;
        }
        assert_eq!(order, [1, single.0, 2, 3], "held {held}");
        bench.clock.advance_ms(3_600_000);
        let next = bench.claim().await.lease.job;
        let expected = if held { besides[0] } else { JobNumber(4) };
        assert_eq!(next, expected, "and its others have lost nothing by it");
    }
}

#[tokio::test]
async fn a_job_that_comes_back_goes_behind_the_older_ones_of_its_client() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    let mut older = job(&client.id, "older");
    older.request.run_at = Some(bench.now() + Duration::from_secs(60));
    let older = bench.try_submit(older).await.unwrap().job.number;
    let younger = bench.submit(&client, "younger").await.job.number;
    let lease = bench.claim().await.lease;
    assert_eq!(lease.job, younger);
    bench.clock.advance_ms(60_000);
    let back = bench.end(lease, fault(ReasonCode::Stopped)).await;
    assert_eq!(back.position, Some(2));
    let lease = bench.claim().await.lease;
    assert_eq!(lease.job, older);
    // both have run by now, the younger one first
    let other = bench.claim().await.lease;
    assert_eq!(other.job, younger);
    bench.end(other, fault(ReasonCode::Stopped)).await;
    let back = bench.end(lease, fault(ReasonCode::Stopped)).await;
    assert_eq!(back.position, Some(1));
}

#[tokio::test]
async fn on_one_branch_jobs_line_up_only_behind_each_other() {
    let bench = Bench::new(5);
    let client = bench.client("widgets").await;
    let a = bench.submit(&client, "feat").await;
    let b = bench.try_submit(after(&client, "feat", &[&a])).await.unwrap();
    // beside the second, though behind the first
    let beside = bench.try_submit(after(&client, "feat", &[&a])).await;
    assert!(
        matches!(&beside, Err(StoreError::BranchBusy(with)) if with.number == b.job.number),
        "{beside:?}"
    );
    assert!(matches!(bench.try_submit(job(&client.id, "feat")).await, Err(StoreError::BranchBusy(_))));
    // behind the second, and so behind the first; a directory of the branch is in its way too
    let c = bench.try_submit(after(&client, "Feat/x", &[&b])).await.unwrap();
    for job in [&a, &b, &c] {
        let lease = bench.claim().await.lease;
        assert_eq!((lease.job, bench.claimed_number().await), (job.job.number, None));
        bench.end(lease, done()).await;
    }
}

#[tokio::test]
async fn a_chain_as_long_as_the_queue_ends_in_one_step() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let mut last = bench.submit(&client, "0").await;
    for n in 1..1_000 {
        let next = after(&client, &n.to_string(), &[&last]);
        last = bench.store.submit_job(next, None, |_| None).await.unwrap();
    }
    bench.cancel(JobNumber(1)).await.unwrap();
    assert_eq!(bench.view(last.job.number).await.job.status, Status::Failed);
    assert_eq!(bench.store.accounts().await.unwrap().queued, 0);
}
