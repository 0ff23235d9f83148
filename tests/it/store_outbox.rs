//! What leaves the store: events, callbacks, answers to repeated requests, pages of jobs.

use std::time::Duration;

use offshoot::domain::attempt::AttemptEnd;
use offshoot::domain::client::Client;
use offshoot::domain::delivery::{Delivery, DeliveryState, TryRecord};
use offshoot::domain::event::EventKind;
use offshoot::domain::id::{DeliveryId, JobNumber, JobRef};
use offshoot::domain::job::{JobView, Phase, Status};
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::token::Reach;
use offshoot::store::{AnswerKey, DeliveryDetail, JobFilter, KeyedAnswer, Occupied, QueuePlace, StoreError};

use crate::store_fixture::{Bench, callback, done, ended_before, fault, job};

const URL: &str = "https://example.org/hook";

/// A finished job with one pending callback of that name.
async fn finished(bench: &Bench, client: &Client, name: &'static str, url: &'static str) -> JobView {
    bench.submit(client, name).await;
    let lease = bench.claim().await.lease;
    bench.store.finish(lease, done(), move |_| Some(callback(name, url))).await.unwrap()
}

fn tried(bench: &Bench, state: DeliveryState, status: u16, next_in_s: Option<u64>) -> TryRecord {
    let now = bench.now();
    TryRecord {
        order: 0,
        at: now,
        status: Some(status),
        error: (status >= 300).then(|| format!("the receiver answered {status}")),
        duration_ms: 12,
        state,
        next_try_at: next_in_s.map(|seconds| now + Duration::from_secs(seconds)),
    }
}

/// What a try came to that began with the delivery as it is now.
async fn record(bench: &Bench, name: &str, record: TryRecord) {
    let order = bench.store.get_delivery(&id(name)).await.unwrap().1.delivery.order;
    bench.store.record_try(&id(name), TryRecord { order, ..record }).await.unwrap();
}

async fn due(bench: &Bench) -> Vec<String> {
    let (due, _) = bench.store.due_deliveries(64, Occupied::default()).await.unwrap();
    due.iter().map(|delivery| delivery.id.as_str()["dlv-".len()..].to_owned()).collect()
}

async fn only_delivery(bench: &Bench, number: JobNumber) -> DeliveryDetail {
    let mut all = bench.store.list_deliveries(number).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn id(name: &str) -> DeliveryId {
    DeliveryId::from_random(name)
}

#[tokio::test]
async fn the_transaction_that_ends_a_job_has_its_callback_and_no_other_has() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    let back = bench.store.finish(lease, fault(ReasonCode::Stopped), |_| Some(callback("aaaa", URL))).await;
    assert_eq!(back.unwrap().job.status, Status::Queued);
    assert!(bench.store.list_deliveries(lease.job).await.unwrap().is_empty(), "it has not ended");
    let lease = bench.claim().await.lease;
    let render = |view: &JobView| {
        assert_eq!((view.job.status, view.job.phase), (Status::Completed, Phase::Done));
        assert!(view.job.completed_at.is_some());
        Some(callback("bbbb", URL))
    };
    let ended = bench.store.finish(lease, done(), render).await.unwrap();
    assert_eq!((ended.callback.state, ended.callback.tries), (Some(DeliveryState::Pending), 0));
    let again = bench.store.finish(lease, done(), |_| Some(callback("cccc", URL))).await;
    assert!(matches!(again, Err(StoreError::LeaseLost(_))));
    let Delivery { body, url, created_at, next_try_at, .. } = only_delivery(&bench, lease.job).await.delivery;
    assert_eq!((body, url.as_str()), (callback("bbbb", URL).body, URL));
    assert_eq!((created_at, next_try_at), (bench.now(), Some(bench.now())));
}

#[tokio::test]
async fn cancelled_and_failed_jobs_call_back_too() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3"] {
        bench.submit(&client, branch).await;
    }
    let lease = bench.claim().await.lease;
    bench.store.finish(lease, fault(ReasonCode::Refused), |_| Some(callback("failed", URL))).await.unwrap();
    let queued = JobRef::Number(JobNumber(2));
    bench.store.request_cancel(&queued, |_| Some(callback("queued", URL))).await.unwrap();
    bench.store.request_cancel(&queued, |_| Some(callback("twice", URL))).await.unwrap();
    let lease = bench.claim().await.lease;
    let running = JobRef::Number(lease.job);
    bench.store.request_cancel(&running, |_| Some(callback("early", URL))).await.unwrap();
    bench.store.finish(lease, AttemptEnd::Cancelled, |_| Some(callback("running", URL))).await.unwrap();
    assert_eq!(due(&bench).await, ["failed", "queued", "running"]);
}

/// A bug in the rendering must not end a job without its callback: nothing of the transaction stays.
#[tokio::test]
async fn a_callback_that_cannot_be_made_leaves_the_job_running() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    finished(&bench, &client, "aaaa", URL).await;
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    let events = bench.store.list_events(None, 0, 100).await.unwrap().len();
    // the same delivery id again breaks a unique column
    let broken = bench.store.finish(lease, done(), |_| Some(callback("aaaa", URL))).await;
    assert!(matches!(broken, Err(StoreError::Database(_))));
    let panicked = bench.store.finish(lease, done(), |_| panic!("on purpose")).await;
    assert!(matches!(panicked, Err(StoreError::Database(_))));
    assert_eq!(bench.view(lease.job).await.job.status, Status::Running);
    assert_eq!(bench.store.list_events(None, 0, 100).await.unwrap().len(), events);
    bench.store.finish(lease, done(), |_| Some(callback("bbbb", URL))).await.unwrap();
    assert_eq!(due(&bench).await, ["aaaa", "bbbb"]);
}

#[tokio::test]
async fn deliveries_come_due_in_order_and_end() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for name in ["aaaa", "bbbb", "cccc"] {
        finished(&bench, &client, name, URL).await;
        bench.clock.advance_ms(1_000);
    }
    assert_eq!(due(&bench).await, ["aaaa", "bbbb", "cccc"]);
    let pending = tried(&bench, DeliveryState::Pending, 500, Some(5));
    record(&bench, "aaaa", pending).await;
    record(&bench, "bbbb", tried(&bench, DeliveryState::Delivered, 204, None)).await;
    record(&bench, "cccc", tried(&bench, DeliveryState::Dead, 500, None)).await;
    let (now_due, next) = bench.store.due_deliveries(64, Occupied::default()).await.unwrap();
    assert_eq!((now_due.len(), next), (0, Some(Duration::from_secs(5))));
    let accounts = bench.store.accounts().await.unwrap();
    assert_eq!((accounts.deliveries_pending, accounts.deliveries_dead), (1, 1));
    bench.clock.advance_ms(5_000);
    assert_eq!(due(&bench).await, ["aaaa"]);
    let delivered = only_delivery(&bench, JobNumber(2)).await;
    assert!(delivered.delivery.delivered_at.is_some() && delivered.delivery.next_try_at.is_none());
    let kinds: Vec<_> = bench.store.list_events(None, 0, 100).await.unwrap();
    let kinds: Vec<_> = kinds.iter().rev().take(2).map(|event| (event.kind, event.job.0)).collect();
    assert_eq!(kinds, [(EventKind::DeliveryDead, 3), (EventKind::DeliveryDelivered, 2)]);
    let view = bench.view(JobNumber(1)).await.callback;
    assert_eq!((view.state, view.tries, view.last_status), (Some(DeliveryState::Pending), 1, Some(500)));
}

#[tokio::test]
async fn a_dead_delivery_is_made_due_by_hand_with_its_bytes_and_its_history() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let job = finished(&bench, &client, "aaaa", URL).await.job.number;
    let before = only_delivery(&bench, job).await.delivery;
    for _ in 0..2 {
        let failed = tried(&bench, DeliveryState::Pending, 500, Some(5));
        record(&bench, "aaaa", failed).await;
    }
    record(&bench, "aaaa", tried(&bench, DeliveryState::Dead, 503, None)).await;
    assert!(due(&bench).await.is_empty());
    let wrong = bench.store.redeliver(JobNumber(99), &id("aaaa"), &Reach::WHOLE).await;
    assert!(matches!(wrong, Err(StoreError::NotFound("delivery"))));
    let again = bench.store.redeliver(job, &id("aaaa"), &Reach::WHOLE).await.unwrap();
    assert_eq!((again.delivery.tries, again.tries.len()), (0, 3), "the schedule begins anew");
    assert_eq!((&again.delivery.body, &again.delivery.event_id), (&before.body, &before.event_id));
    assert_eq!(due(&bench).await, ["aaaa"]);
    record(&bench, "aaaa", tried(&bench, DeliveryState::Delivered, 200, None)).await;
    let numbers: Vec<_> = only_delivery(&bench, job).await.tries.iter().map(|t| t.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[tokio::test]
async fn who_orders_another_try_while_one_is_under_way_gets_it() {
    let ends = [
        (DeliveryState::Delivered, 204, None),
        (DeliveryState::Pending, 500, Some(300)),
        (DeliveryState::Dead, 500, None),
        (DeliveryState::Suspended, 410, None),
    ];
    for (state, status, next) in ends {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        let job = finished(&bench, &client, "aaaa", URL).await.job.number;
        let order = only_delivery(&bench, job).await.delivery.order;
        // in the very millisecond in which it came due
        bench.store.redeliver(job, &id("aaaa"), &Reach::WHOLE).await.unwrap();
        let late = TryRecord { order, ..tried(&bench, state, status, next) };
        bench.store.record_try(&id("aaaa"), late).await.unwrap();
        assert_eq!(due(&bench).await, ["aaaa"], "{state:?}");
        let found = only_delivery(&bench, job).await;
        assert_eq!((found.delivery.state, found.delivery.tries), (DeliveryState::Pending, 0), "{state:?}");
        assert_eq!(
            (found.tries.len(), found.delivery.last_status),
            (1, Some(status)),
            "the try is on record"
        );
        record(&bench, "aaaa", tried(&bench, DeliveryState::Delivered, 204, None)).await;
        assert!(due(&bench).await.is_empty());
        assert_eq!(only_delivery(&bench, job).await.tries.len(), 2);
    }
}

#[tokio::test]
async fn a_410_suspends_the_whole_url_until_somebody_redelivers() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for name in ["aaaa", "bbbb"] {
        finished(&bench, &client, name, URL).await;
    }
    finished(&bench, &client, "other", "https://example.org/other").await;
    record(&bench, "aaaa", tried(&bench, DeliveryState::Suspended, 410, None)).await;
    assert_eq!(due(&bench).await, ["other"]);
    // a try of the same URL that was under way meanwhile fails in its own way
    let late = tried(&bench, DeliveryState::Pending, 500, Some(0));
    record(&bench, "bbbb", late).await;
    finished(&bench, &client, "cccc", URL).await;
    assert_eq!(due(&bench).await, ["other"]);
    for number in [1, 2, 4] {
        let found = only_delivery(&bench, JobNumber(number)).await.delivery;
        assert_eq!((found.state, found.next_try_at), (DeliveryState::Suspended, None), "{number}");
    }
    bench.clock.advance_ms(1_000);
    bench.store.redeliver(JobNumber(2), &id("bbbb"), &Reach::WHOLE).await.unwrap();
    assert_eq!(due(&bench).await, ["other", "aaaa", "bbbb", "cccc"]);
    finished(&bench, &client, "dddd", URL).await;
    assert_eq!(due(&bench).await.len(), 5, "the suspension is lifted for later ones too");
}

#[tokio::test]
async fn a_suspension_is_forgotten_with_the_last_callback_to_its_url() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for (name, url) in [("aaaa", URL), ("bbbb", URL), ("other", "https://example.org/other")] {
        finished(&bench, &client, name, url).await;
    }
    for name in ["aaaa", "other"] {
        record(&bench, name, tried(&bench, DeliveryState::Suspended, 410, None)).await;
    }
    bench.clock.advance_ms(1_000);
    for (job, left) in [(1, 2), (2, 1), (3, 0)] {
        assert_eq!(bench.forget(vec![JobNumber(job)], ended_before(bench.now())).await, 1);
        assert_eq!(bench.store.suspended_urls(10).await.unwrap().len(), left, "{job}");
    }
}

#[tokio::test]
async fn every_transition_has_one_event_in_order() {
    use EventKind::{AttemptStarted, JobCompleted, JobHeld, JobPhase, JobQueued};
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let job = bench.submit(&client, "1").await.job.number;
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    bench.store.reach_phase(lease, Phase::Agent).await.unwrap();
    bench.end(lease, fault(ReasonCode::Stopped)).await;
    let lease = bench.claim().await.lease;
    bench.store.reach_phase(lease, Phase::Committing).await.unwrap();
    // what is refused leaves no trace
    assert!(bench.try_submit(self::job(&client.id, "2")).await.is_err());
    bench.cancel(job).await.unwrap();
    bench.end(lease, done()).await;
    assert!(bench.cancel(job).await.is_err());
    let all = bench.store.list_events(None, 0, 100).await.unwrap();
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let own = bench.store.list_events(Some(job), 0, 100).await.unwrap();
    let kinds: Vec<_> = own.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [JobQueued, AttemptStarted, JobPhase, JobHeld, AttemptStarted, JobPhase, JobCompleted]);
    let attempts: Vec<_> = own.iter().map(|event| event.attempt).collect();
    assert_eq!(attempts, [None, Some(1), Some(1), Some(1), Some(2), Some(2), Some(2)]);
    let held: serde_json::Value = serde_json::from_str(&own[3].payload).unwrap();
    assert_eq!((&held["status"], &held["reason"]), (&"queued".into(), &"stopped".into()));
    for event in &own {
        let told = serde_json::from_str::<offshoot::wire::event::JobMoved>(&event.payload);
        assert!(told.is_ok(), "the shape that the API documents: {event:?}");
    }
    let rest = bench.store.list_events(Some(job), own[4].seq, 1).await.unwrap();
    assert_eq!(rest, own[5..6]);
}

fn key(body_hash: &str) -> AnswerKey {
    AnswerKey {
        token: "admin".to_owned(),
        method: "POST".to_owned(),
        path: "/jobs".to_owned(),
        key: "k-1".to_owned(),
        body_hash: body_hash.to_owned(),
    }
}

fn keyed(body_hash: &str) -> KeyedAnswer<JobView> {
    let render = |view: &JobView| (201, Some(format!("/jobs/{}", view.job.id)), view.job.id.as_str().into());
    KeyedAnswer { key: key(body_hash), render: Box::new(render) }
}

#[tokio::test]
async fn an_answer_is_kept_with_its_result_for_a_day() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let view = bench.store.submit_job(job(&client.id, "1"), Some(keyed("h1")), |_| None).await.unwrap();
    let later = bench.reopen();
    let found = later.find_answer(&key("another body")).await.unwrap().unwrap();
    assert_eq!((found.status, found.body_hash.as_str()), (201, "h1"), "the caller compares the hashes");
    assert_eq!(found.body, view.job.id.as_str().as_bytes());
    assert_eq!(found.location, Some(format!("/jobs/{}", view.job.id)));
    for other in [
        AnswerKey { token: "x".to_owned(), ..key("h1") },
        AnswerKey { method: "PATCH".to_owned(), ..key("h1") },
        AnswerKey { path: "/clients".to_owned(), ..key("h1") },
        AnswerKey { key: "k-2".to_owned(), ..key("h1") },
    ] {
        assert_eq!(bench.store.find_answer(&other).await.unwrap(), None);
    }
    bench.clock.advance_ms(86_400_000 - 1);
    assert!(bench.store.find_answer(&key("h1")).await.unwrap().is_some());
    assert_eq!(bench.store.forget_old_answers().await.unwrap(), 0);
    bench.clock.advance_ms(1);
    assert_eq!(bench.store.find_answer(&key("h1")).await.unwrap(), None);
    assert_eq!(bench.store.forget_old_answers().await.unwrap(), 1);
}

#[tokio::test]
async fn a_refused_request_keeps_no_answer() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let refused = bench.store.submit_job(job(&client.id, "1"), Some(keyed("h1")), |_| None).await;
    assert!(matches!(refused, Err(StoreError::BranchBusy(_))));
    assert_eq!(bench.store.find_answer(&key("h1")).await.unwrap(), None);
}

/// Whoever was submitted first may end last.
#[tokio::test]
async fn those_that_ended_last_are_told_by_their_end() {
    let bench = Bench::new(2);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    for (client, branch) in [(&a, "1"), (&b, "2"), (&a, "3"), (&a, "4")] {
        bench.try_submit(job(&client.id, branch)).await.unwrap();
    }
    for number in [3, 2, 1] {
        bench.clock.advance_ms(1_000);
        bench.store.request_cancel(&JobRef::Number(JobNumber(number)), |_| None).await.unwrap();
    }
    let ended = async |reach: &Reach, count| {
        let jobs = bench.store.ended_lately(reach, count).await.unwrap();
        jobs.iter().map(|view| view.job.number.0).collect::<Vec<_>>()
    };
    assert_eq!(ended(&Reach::WHOLE, 9).await, [1, 2, 3]);
    assert_eq!(ended(&Reach::WHOLE, 2).await, [1, 2]);
    assert_eq!(ended(&Reach::only([a.id.clone()]), 9).await, [1, 3]);
}

#[tokio::test]
async fn lists_are_newest_first_and_pages_meet() {
    let bench = Bench::new(2);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    for n in 0..6 {
        let mut new = job(if n % 2 == 0 { &a.id } else { &b.id }, &format!("b-{n}"));
        new.request.labels = vec![format!("l{}", n % 3)];
        new.request.title = (n == 4).then(|| "Größe 100%".to_owned());
        bench.try_submit(new).await.unwrap();
        bench.clock.advance_ms(1_000);
    }
    bench.claim().await;
    let plain = || JobFilter { limit: 50, ..JobFilter::default() };
    let list = async |filter: JobFilter| {
        let page = bench.store.list_jobs(filter).await.unwrap();
        let numbers: Vec<_> = page.jobs.iter().map(|view| view.job.number.0).collect();
        (numbers, page.total, page.next.map(|number| number.0))
    };
    assert_eq!(list(plain()).await, (vec![6, 5, 4, 3, 2, 1], 6, None));
    assert_eq!(list(JobFilter { limit: 4, ..plain() }).await, (vec![6, 5, 4, 3], 6, Some(3)));
    let after = Some(JobNumber(3));
    assert_eq!(list(JobFilter { after, limit: 4, ..plain() }).await, (vec![2, 1], 6, None));
    assert_eq!(list(JobFilter { offset: 4, ..plain() }).await, (vec![2, 1], 6, None));
    let statuses = vec![Status::Running, Status::Failed];
    assert_eq!(list(JobFilter { statuses, ..plain() }).await, (vec![1], 1, None));
    let client = Some(b.id.clone());
    assert_eq!(list(JobFilter { client, ..plain() }).await, (vec![6, 4, 2], 3, None));
    let label = Some("l1".to_owned());
    assert_eq!(list(JobFilter { label, ..plain() }).await, (vec![5, 2], 2, None));
    // a text, not a pattern
    let q = Some("100%".to_owned());
    assert_eq!(list(JobFilter { q, ..plain() }).await, (vec![5], 1, None));
    let q = Some("b_4".to_owned());
    assert_eq!(list(JobFilter { q, ..plain() }).await, (vec![], 0, None));
    let since = Some(bench.now() - Duration::from_secs(2));
    assert_eq!(list(JobFilter { since, ..plain() }).await, (vec![6, 5], 2, None));
    let until = since;
    assert_eq!(list(JobFilter { until, ..plain() }).await, (vec![4, 3, 2, 1], 4, None));
    let branch = Some("b-3".to_owned());
    assert_eq!(list(JobFilter { branch, ..plain() }).await, (vec![4], 1, None));
}

#[tokio::test]
async fn long_queues_come_in_pages() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for n in 0..200 {
        bench.submit(&client, &format!("{n}")).await;
    }
    let all = bench.store.queue_page(None).await.unwrap();
    assert_eq!((all.queued.len(), all.next), (200, None), "there is no empty page behind it");
    for n in 200..205 {
        bench.submit(&client, &format!("{n}")).await;
    }
    let first = bench.store.queue_page(None).await.unwrap();
    assert_eq!((first.queued.len(), first.queued[199].number.0), (200, 200));
    let next = QueuePlace::parse(&first.next.unwrap().to_string()).unwrap();
    let rest = async || {
        let last = bench.store.queue_page(Some(next)).await.unwrap();
        assert_eq!(last.next, None);
        last.queued.iter().map(|job| (job.number.0, job.position)).collect::<Vec<_>>()
    };
    assert_eq!(rest().await, (201..=205).map(|number| (number, number)).collect::<Vec<_>>());
    // who reads on while jobs start, end and come misses nobody
    bench.end(bench.claim().await.lease, done()).await;
    bench.claim().await;
    bench.cancel(JobNumber(200)).await.unwrap();
    let mut urgent = job(&client.id, "urgent");
    urgent.request.priority = 5;
    bench.try_submit(urgent).await.unwrap();
    assert_eq!(rest().await, (201..=205).map(|number| (number, number - 2)).collect::<Vec<_>>());
}
