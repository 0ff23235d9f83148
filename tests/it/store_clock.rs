//! What the store does when somebody sets the wall clock, or the machine sleeps or is off.

use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::domain::delivery::{DeliveryState, TryRecord};
use offshoot::domain::id::JobNumber;
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::time::Timestamp;
use offshoot::store::{AnswerKey, JobFilter, KeyedAnswer, Occupied, Store};

use crate::store_fixture::{Bench, callback, done, fault, fault_until, job};

const DAY_MS: i64 = 86_400_000;
const JUMPS: [i64; 4] = [-DAY_MS, DAY_MS, -365 * DAY_MS, 10 * 365 * DAY_MS];

fn key() -> AnswerKey {
    AnswerKey {
        token: "admin".to_owned(),
        method: "POST".to_owned(),
        path: "/jobs".to_owned(),
        key: "once".to_owned(),
        body_hash: String::new(),
    }
}

async fn keep(store: &Store) {
    let render = Box::new(|_: &()| (201, None, Vec::new()));
    store.keep_answer(KeyedAnswer { key: key(), render }).await.unwrap();
}

fn refused(order: i64, at: Timestamp, next_try_at: Option<Timestamp>) -> TryRecord {
    let state = DeliveryState::Pending;
    TryRecord { order, at, status: Some(500), error: None, duration_ms: 1, state, next_try_at }
}

async fn due_in(bench: &Bench) -> Option<Duration> {
    bench.store.next_due_in().await.unwrap()
}

#[tokio::test]
async fn a_backoff_takes_as_long_as_it_takes() {
    for jump in JUMPS {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "1").await;
        // once before as well: else both clocks show the same when the wait is stored
        bench.clock.set_by_ms(jump);
        let lease = bench.claim().await.lease;
        bench.end(lease, fault(ReasonCode::RemoteUnavailable)).await;
        bench.clock.advance_ms(5_000);
        bench.clock.set_by_ms(jump);
        let waiting = bench.view(lease.job).await.waiting.unwrap();
        assert_eq!(waiting.until, Some(bench.now() + Duration::from_secs(10)), "{jump}");
        assert_eq!(due_in(&bench).await, Some(Duration::from_secs(10)));
        bench.clock.advance_ms(9_999);
        assert_eq!(bench.claimed_number().await, None, "{jump}");
        bench.clock.advance_ms(1);
        assert_eq!(bench.claimed_number().await, Some(1), "{jump}");
    }
}

/// A wall clock that is slewed moves by less than what two readings may differ, here and there and back again.
#[tokio::test]
async fn a_clock_that_is_slewed_costs_a_wait_two_milliseconds_at_most() {
    for slewed in [-2, 2] {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "1").await;
        let lease = bench.claim().await.lease;
        bench.clock.set_by_ms(slewed);
        bench.end(lease, fault(ReasonCode::RemoteUnavailable)).await;
        bench.clock.set_by_ms(-2 * slewed);
        bench.clock.advance_ms(14_997);
        assert_eq!(bench.claimed_number().await, None, "{slewed}");
        bench.clock.advance_ms(5);
        assert_eq!(bench.claimed_number().await, Some(1), "{slewed}");
    }
}

/// Else the loop that waits for it would go round and round until it is due.
#[tokio::test]
async fn a_callback_that_is_not_due_is_never_due_in_no_time() {
    for slewed in [-2, 2] {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "1").await;
        let lease = bench.claim().await.lease;
        bench.store.finish(lease, done(), |_| Some(callback("x", "https://example.org/"))).await.unwrap();
        let (due, _) = bench.store.due_deliveries(10, Occupied::default()).await.unwrap();
        bench.clock.set_by_ms(slewed);
        let next_try_at = Some(bench.now() + Duration::from_secs(300));
        bench.store.record_try(&due[0].id, refused(due[0].order, bench.now(), next_try_at)).await.unwrap();
        // as long as it is not due, whatever that is by either clock
        bench.clock.advance_ms(299_990);
        let mut waited = Duration::ZERO;
        loop {
            let (due, next) = bench.store.due_deliveries(10, Occupied::default()).await.unwrap();
            if !due.is_empty() {
                break;
            }
            assert!(next.is_some_and(|next| !next.is_zero()), "{slewed} after {waited:?}");
            bench.clock.advance_ms(1);
            waited += Duration::from_millis(1);
        }
        let expected = 10 + slewed;
        assert_eq!(waited, Duration::from_millis(expected as u64), "{slewed}");
    }
}

#[tokio::test]
async fn a_job_has_been_running_as_long_as_it_has() {
    for jump in JUMPS {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "1").await;
        bench.clock.set_by_ms(jump);
        let lease = bench.claim().await.lease;
        bench.store.note_time().await.unwrap();
        bench.clock.advance_ms(5_000);
        bench.clock.set_by_ms(jump);
        let running = async |store: &Store| store.queue_page(None).await.unwrap().running[0].running_for;
        assert_eq!(running(&bench.store).await, Duration::from_secs(5), "{jump}");
        bench.clock.advance_ms(2_500);
        assert_eq!(running(&bench.reopen()).await, Duration::from_millis(7_500), "{jump}");
        // from its first start on, as `startedAt`
        let later = bench.reopen();
        let adopted = later.adopt_running("boot").await.unwrap().remove(0).lease;
        assert_eq!(adopted.job, lease.job);
        later.finish(adopted, fault(ReasonCode::Stopped), |_| None).await.unwrap();
        bench.clock.advance_ms(1_000);
        later.claim().await.unwrap().unwrap();
        assert_eq!(running(&later).await, Duration::from_millis(8_500), "{jump}");
    }
}

#[tokio::test]
async fn a_time_that_the_caller_names_is_the_wall_clocks() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let mut new = job(&client.id, "1");
    new.request.run_at = Some(bench.now() + Duration::from_secs(3_600));
    bench.try_submit(new).await.unwrap();
    bench.clock.set_by_ms(-DAY_MS);
    assert_eq!(due_in(&bench).await, Some(Duration::from_secs(86_400 + 3_600)));
    bench.clock.set_by_ms(DAY_MS + 3_600_000 - 1);
    assert_eq!(bench.claimed_number().await, None);
    bench.clock.set_by_ms(1);
    assert_eq!(bench.claimed_number().await, Some(1));
}

#[tokio::test]
async fn a_usage_limit_ends_at_its_time_or_after_its_length() {
    for (jump, then) in [(-DAY_MS, 3_590_000), (1_800_000, 1_790_000), (DAY_MS, 0), (3_589_999, 1)] {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "1").await;
        bench.clock.set_by_ms(-DAY_MS);
        let lease = bench.claim().await.lease;
        let until = bench.now() + Duration::from_secs(3_600);
        bench.end(lease, fault_until(ReasonCode::UsageLimit, Some(until))).await;
        bench.clock.advance_ms(10_000);
        bench.clock.set_by_ms(jump);
        if then > 0 {
            assert_eq!(due_in(&bench).await, Some(Duration::from_millis(then as u64)), "{jump}");
            assert_eq!(
                bench.store.accounts().await.unwrap().holds[0].until,
                Some(bench.now() + Duration::from_millis(then as u64)),
                "what people are told is what happens"
            );
            bench.clock.advance_ms(then - 1);
            assert_eq!(bench.claimed_number().await, None, "{jump}");
            bench.clock.advance_ms(1);
        }
        assert_eq!(bench.claimed_number().await, Some(1), "{jump}");
    }
}

/// Else a clock that is ahead of the agent's would start agents in a circle.
#[tokio::test]
async fn a_limit_that_is_over_by_our_clock_is_looked_at_once_a_minute() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    for _ in 0..3 {
        let lease = bench.claim().await.lease;
        let until = bench.now() - Duration::from_secs(3_600);
        bench.end(lease, fault_until(ReasonCode::UsageLimit, Some(until))).await;
        assert_eq!(bench.claimed_number().await, None);
        assert_eq!(due_in(&bench).await, Some(Duration::from_secs(60)));
        bench.clock.advance_ms(60_000);
    }
    // and one without an end is no reason to wait for ever
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::UsageLimit)).await;
    assert_eq!(due_in(&bench).await, Some(Duration::from_secs(1_800)));
}

#[tokio::test]
async fn a_callback_is_tried_again_after_its_wait_whatever_the_clock_shows() {
    for jump in JUMPS {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "1").await;
        let lease = bench.claim().await.lease;
        let render = |_: &_| Some(callback("x", "https://example.org/"));
        bench.store.finish(lease, done(), render).await.unwrap();
        // due at once, also when the clock is set back in that very moment
        bench.clock.set_by_ms(jump);
        let (due, _) = bench.store.due_deliveries(10, Occupied::default()).await.unwrap();
        let next_try_at = Some(bench.now() + Duration::from_secs(300));
        bench.store.record_try(&due[0].id, refused(due[0].order, bench.now(), next_try_at)).await.unwrap();
        bench.clock.advance_ms(299_999);
        bench.clock.set_by_ms(jump);
        let (due, next) = bench.store.due_deliveries(10, Occupied::default()).await.unwrap();
        assert_eq!((due.len(), next), (0, Some(Duration::from_millis(1))), "{jump}");
        let shown = bench.store.list_deliveries(JobNumber(1)).await.unwrap()[0].delivery.next_try_at;
        assert_eq!(shown, Some(bench.now() + Duration::from_millis(1)));
        bench.clock.advance_ms(1);
        assert_eq!(bench.store.due_deliveries(10, Occupied::default()).await.unwrap().0.len(), 1);
    }
}

#[tokio::test]
async fn a_repeated_request_is_known_for_a_day_of_true_time() {
    for jump in JUMPS {
        let bench = Bench::new(1);
        bench.clock.set_by_ms(jump);
        keep(&bench.store).await;
        bench.store.note_time().await.unwrap();
        bench.clock.set_by_ms(jump);
        bench.clock.advance_ms(DAY_MS - 1);
        let store = bench.reopen();
        assert_eq!(store.forget_old_answers().await.unwrap(), 0);
        assert!(store.find_answer(&key()).await.unwrap().is_some(), "{jump}");
        bench.clock.advance_ms(1);
        assert!(store.find_answer(&key()).await.unwrap().is_none(), "{jump}");
        assert_eq!(store.forget_old_answers().await.unwrap(), 1);
    }
}

/// While the machine is off only the wall clock tells how long; before that and after it nobody can set the waits.
#[tokio::test]
async fn a_machine_that_was_off_counts_the_time_and_never_counts_back() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::RemoteUnavailable)).await;
    keep(&bench.store).await;
    bench.store.note_time().await.unwrap();
    bench.clock.reboot();
    bench.clock.set_by_ms(-DAY_MS);
    let store = bench.reopen();
    store.note_time().await.unwrap();
    assert_eq!(
        store.next_due_in().await.unwrap(),
        Some(Duration::from_secs(15)),
        "set back while it was off"
    );
    // set right again: that is no time that passed, and the next start knows
    bench.clock.set_by_ms(DAY_MS);
    store.note_time().await.unwrap();
    bench.clock.reboot();
    let store = bench.reopen();
    assert_eq!(store.next_due_in().await.unwrap(), Some(Duration::from_secs(15)));
    assert!(store.find_answer(&key()).await.unwrap().is_some());
    bench.clock.reboot();
    bench.clock.set_by_ms(DAY_MS);
    let store = bench.reopen();
    assert_eq!(store.next_due_in().await.unwrap(), None);
    assert!(store.claim().await.unwrap().is_some());
    assert!(store.find_answer(&key()).await.unwrap().is_none(), "off for a day");
}

#[tokio::test]
async fn lists_are_in_the_order_of_numbers_whatever_the_clock_showed() {
    let bench = Bench::new(5);
    let client = bench.client("a").await;
    for (branch, jump) in [("1", DAY_MS), ("2", -3 * DAY_MS), ("3", 60_000)] {
        bench.submit(&client, branch).await;
        bench.clock.set_by_ms(jump);
        bench.claim().await;
    }
    let running: Vec<_> =
        bench.store.queue_page(None).await.unwrap().running.iter().map(|job| job.number.0).collect();
    assert_eq!(running, [1, 2, 3]);
    let newest = bench.store.list_jobs(JobFilter { limit: 50, ..JobFilter::default() }).await.unwrap();
    assert_eq!(newest.jobs.iter().map(|view| view.job.number.0).collect::<Vec<_>>(), [3, 2, 1]);
    let events = bench.store.list_events(None, 0, 100).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert!(events.windows(2).any(|pair| pair[0].at > pair[1].at), "the clock did go back");
    // a time before the one it was made at is no fault
    assert_eq!(Timestamp::from_ms(5).since(Timestamp::from_ms(9)), Duration::ZERO);
}

/// Order rests on numbers, never on the clock.
#[tokio::test]
async fn a_clock_that_jumps_changes_no_order() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for (branch, jump) in [("1", 86_400_000), ("2", -2 * 86_400_000), ("3", 0)] {
        bench.submit(&client, branch).await;
        bench.clock.advance_ms(jump);
    }
    for number in 1..=3 {
        let lease = bench.claim().await.lease;
        assert_eq!(lease.job.0, number);
        assert_eq!(bench.claimed_number().await, None);
        bench.end(lease, done()).await;
    }
}

#[test]
fn the_real_clocks_agree_about_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let limits = offshoot::store::Limits {
        running_max: 1,
        running_per_client_max: None,
        queued_max: 1,
        disk_free_bytes_min: 0,
    };
    let open = || Store::open(dir.path(), Clock::system(), limits).unwrap();
    drop(open());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open();
        keep(&store).await;
        assert!(store.find_answer(&key()).await.unwrap().is_some());
        assert_eq!(store.next_due_in().await.unwrap(), None);
    });
}

/// Events that a clock which was ahead has stamped are as old as those behind them.
#[tokio::test]
async fn one_event_of_a_clock_that_was_ahead_keeps_no_others() {
    let old = async |ahead: u32| {
        let bench = Bench::new(1);
        let client = bench.client("a").await;
        bench.submit(&client, "old").await;
        let insert = "INSERT INTO events (job, kind, at)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT 1, 'job.phase', ?2 FROM n";
        let at = bench.clock.now_ms() + 3_650 * DAY_MS;
        let events = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
        assert_eq!(events.execute(insert, rusqlite::params![ahead, at]).unwrap(), ahead as usize);
        bench.submit(&client, "old-too").await;
        bench.clock.advance_ms(20 * DAY_MS);
        bench.submit(&client, "young").await;
        events.execute(insert, rusqlite::params![1, at]).unwrap();
        let before = Timestamp::from_ms(bench.clock.now_ms() - 10 * DAY_MS);
        let counted = bench.store.count_old_events(before, 1_000_000).await.unwrap();
        let mut forgotten = Vec::new();
        while forgotten.last() != Some(&0) {
            forgotten.push(bench.store.forget_events(before).await.unwrap());
        }
        // the young one, and what is behind it
        let left: i64 = events.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!((left, counted), (2, forgotten.iter().sum()));
        forgotten
    };
    assert_eq!(old(1).await, [3, 0]);
    // more of them than are forgotten in one write
    assert_eq!(old(4_500).await, [2_000, 2_000, 502, 0]);
}
