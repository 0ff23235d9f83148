//! What is asked in the write itself, because it may have changed since somebody looked: whether a retry is too late, and
//! whether a job may still be forgotten.

use offshoot::domain::attachment::AttachedFile;
use offshoot::domain::attempt::AttemptEnd;
use offshoot::domain::client::Client;
use offshoot::domain::delivery::{DeliveryState, TryRecord};
use offshoot::domain::id::{DeliveryId, JobNumber};
use offshoot::domain::job::{Chain, Effects, Job, NewJob, Outcome};
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::token::Reach;
use offshoot::store::StoreError;

use crate::store_fixture::{Bench, callback, ended_before, fault, job};

const DAY_MS: i64 = 86_400_000;

fn commit(digit: &str) -> Option<String> {
    Some(digit.repeat(40))
}

/// Another job of the chain: a retry, or one that follows up.
fn next(client: &Client, before: &Job, is_retry: bool) -> NewJob {
    let (original, parent) =
        if is_retry { (Some(before.id.clone()), None) } else { (None, Some(before.id.clone())) };
    let chain = Chain { root: before.chain.root.clone(), original, parent };
    NewJob { chain: Some(chain), ..job(&client.id, "b") }
}

#[tokio::test]
async fn a_retry_of_what_another_one_has_published_is_refused_by_the_write() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let first = bench.submit(&client, "b").await.job;
    let lease = bench.claim().await.lease;
    let made = Effects { base_sha: commit("a"), head_sha: commit("b"), ..Effects::default() };
    bench.store.record_effects(lease, made).await.unwrap();
    bench.end(lease, fault(ReasonCode::PushRejected)).await;
    // what has published nothing is in nobody's way
    let vain = bench.try_submit(next(&client, &first, true)).await.unwrap().job;
    bench.end(bench.claim().await.lease, fault(ReasonCode::PushRejected)).await;
    let again = bench.try_submit(next(&client, &vain, true)).await.unwrap().job;
    let lease = bench.claim().await.lease;
    let pushed = Effects { pushed_sha: commit("b"), ..Effects::default() };
    bench.store.record_effects(lease, pushed).await.unwrap();
    bench.end(lease, AttemptEnd::Completed { outcome: Outcome::BranchPushed }).await;
    // whoever looked a moment ago saw nothing of it
    for late in [&first, &vain] {
        let refused = bench.try_submit(next(&client, late, true)).await;
        assert!(
            matches!(refused, Err(StoreError::Published { number }) if number == again.number),
            "{refused:?}"
        );
    }
    assert!(bench.try_submit(next(&client, &again, false)).await.is_ok(), "it may be followed up");
}

/// A job with a message, two attachments and a callback that was delivered, long ago.
async fn old(bench: &Bench, client: &Client) -> (Job, Vec<AttachedFile>) {
    let file = |name: &str| AttachedFile { name: name.to_owned(), content: vec![0; 1_000] };
    let files = vec![file("a.bin"), file("b.bin")];
    let mut new = NewJob { files: files.clone(), ..job(&client.id, "b") };
    new.request.attachments = files.iter().map(AttachedFile::told).collect();
    let first = bench.try_submit(new).await.unwrap().job;
    let lease = bench.claim().await.lease;
    bench.store.add_system_message(lease, "said").await.unwrap();
    let render = |_: &_| Some(callback("aaaa", "https://example.org/hook"));
    bench.store.finish(lease, fault(ReasonCode::PushRejected), render).await.unwrap();
    let order = bench.store.get_delivery(&DeliveryId::from_random("aaaa")).await.unwrap().1.delivery.order;
    let told = TryRecord {
        order,
        at: bench.now(),
        status: Some(200),
        error: None,
        duration_ms: 1,
        state: DeliveryState::Delivered,
        next_try_at: None,
    };
    bench.store.record_try(&DeliveryId::from_random("aaaa"), told).await.unwrap();
    bench.clock.advance_ms(400 * DAY_MS);
    (first, files)
}

async fn messages(bench: &Bench, job: JobNumber) -> usize {
    bench.store.messages(job, 0, 100).await.unwrap().messages.len()
}

#[tokio::test]
async fn what_became_of_use_again_just_before_it_is_forgotten_keeps_everything() {
    for is_retried in [true, false] {
        let bench = Bench::new(1);
        let client = bench.client("widgets").await;
        let (first, files) = old(&bench, &client).await;
        let before = ended_before(bench.now());
        let told = bench.store.forgettable_jobs(before).await.unwrap();
        assert_eq!(told.iter().map(|job| job.number).collect::<Vec<_>>(), [first.number]);
        let said = messages(&bench, first.number).await;
        if is_retried {
            bench.try_submit(next(&client, &first, true)).await.unwrap();
        } else {
            bench
                .store
                .redeliver(first.number, &DeliveryId::from_random("aaaa"), &Reach::WHOLE)
                .await
                .unwrap();
        }
        assert_eq!(bench.store.begin_to_forget(vec![first.number], before).await.unwrap(), []);
        assert_eq!(bench.store.forget_jobs().await.unwrap(), 0);
        assert_eq!(messages(&bench, first.number).await, said);
        assert_eq!(bench.store.attached_files(first.number).await.unwrap(), files);
    }
}

#[tokio::test]
async fn what_is_being_forgotten_is_gone_for_whoever_would_build_on_it_also_after_a_restart() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let (first, _) = old(&bench, &client).await;
    let before = ended_before(bench.now());
    assert_eq!(bench.store.begin_to_forget(vec![first.number], before).await.unwrap(), [first.number]);
    let store = bench.reopen();
    assert_eq!(store.being_forgotten().await.unwrap(), [first.number]);
    for is_retry in [true, false] {
        let refused = store.submit_job(next(&client, &first, is_retry), None, |_| None).await;
        assert!(matches!(refused, Err(StoreError::NotFound("job"))), "{refused:?}");
    }
    let refused = store.redeliver(first.number, &DeliveryId::from_random("aaaa"), &Reach::WHOLE).await;
    assert!(matches!(refused, Err(StoreError::NotFound("job"))), "{refused:?}");
    // the branch is free for anybody else, and what comes meanwhile stays
    store.submit_job(job(&client.id, "b"), None, |_| None).await.unwrap();
    assert_eq!(store.forget_jobs().await.unwrap(), 1);
    assert_eq!(store.being_forgotten().await.unwrap(), []);
    assert_eq!(store.attached_files(first.number).await.unwrap(), []);
    assert_eq!(store.forget_jobs().await.unwrap(), 0);
}
