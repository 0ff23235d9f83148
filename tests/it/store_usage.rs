//! What agents have used: sums that count everything once, and what a client that has spent its day may still do.

use std::collections::BTreeMap;
use std::time::Duration;

use offshoot::domain::client::{Client, ClientPatch};
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{Effects, Start, Usage, WaitingFor};
use offshoot::domain::options::RunOptions;
use offshoot::domain::time::{Day, Timestamp};
use offshoot::domain::usage::Grouping;
use offshoot::store::{UsageGroup, UsagePage, UsagePlace, UsageQuery};

use crate::store_fixture::{Bench, done, ended_before, job};
use crate::store_sessions::{submit, works};

const DAY_MS: i64 = 86_400_000;
const STEP: &str = "agent-1";

fn usage(turns: u64, cost: Option<u64>) -> Usage {
    Usage { turns, cost_micro_usd: cost, input_tokens: 10 * turns, ..Usage::default() }
}

/// Runs a job with these labels to its end.
async fn ran(bench: &Bench, client: &Client, branch: &str, labels: &[&str], used: Usage) -> JobNumber {
    let mut new = job(&client.id, branch);
    new.request.labels = labels.iter().map(|label| (*label).to_owned()).collect();
    bench.try_submit(new).await.unwrap();
    let lease = bench.claim().await.lease;
    bench.store.record_usage(lease, STEP, None, used).await.unwrap();
    // the end of the step was read twice: a server was killed before it had stored the end of the attempt
    bench.store.record_usage(lease, STEP, None, used).await.unwrap();
    bench.end(lease, done()).await;
    lease.job
}

async fn page(bench: &Bench, query: UsageQuery) -> UsagePage {
    bench.store.usage_page(query).await.unwrap()
}

fn by(groupings: &[Grouping]) -> UsageQuery {
    UsageQuery { by: groupings.to_vec(), limit: 1_000, ..UsageQuery::default() }
}

type Key = (Option<String>, Option<i64>, Option<String>);

fn key(group: &UsageGroup) -> Key {
    let client = group.client.as_ref().map(|(_, name)| name.clone());
    (client, group.day.map(Day::number), group.label.clone())
}

/// What a run was told to have used, of which client, on which day, with which labels.
type Told = (&'static str, i64, &'static [&'static str], Usage);

/// Runs, those without a cost, and what they used.
type Sums = (u64, u64, Usage);

use Grouping::{Client as C, Day as D, Label as L};

const ORDERS: [&[Grouping]; 15] = [
    &[C],
    &[D],
    &[L],
    &[C, D],
    &[D, C],
    &[C, L],
    &[L, C],
    &[D, L],
    &[L, D],
    &[C, D, L],
    &[C, L, D],
    &[D, C, L],
    &[D, L, C],
    &[L, C, D],
    &[L, D, C],
];

/// The sums, made the plain way.
fn expected(told: &[Told], order: &[Grouping]) -> BTreeMap<Key, Sums> {
    let mut expected: BTreeMap<Key, Sums> = BTreeMap::new();
    for (client, day, labels, used) in told {
        let mut own: Vec<Option<String>> = labels.iter().map(|one| Some((*one).to_owned())).collect();
        own.dedup();
        if own.is_empty() || !order.contains(&L) {
            own = vec![None];
        }
        for label in own {
            let client = order.contains(&C).then(|| (*client).to_owned());
            let entry = expected.entry((client, order.contains(&D).then_some(*day), label)).or_default();
            let untold = u64::from(used.cost_micro_usd.is_none());
            *entry = (entry.0 + 1, entry.1 + untold, entry.2.plus(*used));
        }
    }
    expected
}

async fn agrees(bench: &Bench, told: &[Told]) {
    let total = told.iter().fold(Usage::default(), |sum, (.., used)| sum.plus(*used));
    for order in ORDERS {
        let whole = page(bench, by(order)).await;
        assert_eq!((whole.total.usage, whole.next), (total, None));
        let found: BTreeMap<Key, Sums> = whole
            .groups
            .iter()
            .map(|group| (key(group), (group.sums.runs, group.sums.runs_without_cost, group.sums.usage)))
            .collect();
        assert_eq!(found, expected(told, order), "{order:?}");
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let part = page(bench, UsageQuery { after, limit: 2, ..by(order) }).await;
            assert!(part.groups.len() <= 2);
            paged.extend(part.groups);
            let Some(next) = part.next else { break };
            after = UsagePlace::parse(&next.to_string());
        }
        assert_eq!(paged, whole.groups, "{order:?}");
    }
}

#[tokio::test]
async fn every_grouping_agrees_with_the_jobs_page_by_page_and_after_they_are_forgotten() {
    let bench = Bench::new(1);
    let (a, b) = (bench.client("a").await, bench.client("b").await);
    let mut told: Vec<Told> = Vec::new();
    let labels: [&[&str]; 4] = [&[], &["night"], &["night", "x.y"], &["night", "night"]];
    for round in 0..24_usize {
        let (name, client) = if round % 3 == 0 { ("a", &a) } else { ("b", &b) };
        let used = usage(round as u64 + 1, (round % 5 != 0).then_some(1_000 * round as u64));
        let labels = labels[round % 4];
        ran(&bench, client, &format!("b{round}"), labels, used).await;
        told.push((name, Day::of(bench.now()).number(), labels, used));
        if round % 7 == 6 {
            bench.clock.advance_ms(DAY_MS);
        }
    }
    agrees(&bench, &told).await;
    bench.clock.advance_ms(400 * DAY_MS);
    let before = ended_before(bench.now());
    let forgettable = bench.store.forgettable_jobs(before).await.unwrap();
    let numbers = forgettable.iter().map(|job| job.number).collect();
    assert_eq!(bench.forget(numbers, before).await, 24);
    agrees(&bench, &told).await;
}

#[tokio::test]
async fn days_at_both_ends_are_included_and_no_others() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3"] {
        ran(&bench, &client, branch, &[], usage(1, Some(5))).await;
        bench.clock.advance_ms(DAY_MS);
    }
    let day = |ago: i64| Some(Day::of(Timestamp::from_ms(bench.clock.now_ms() - ago * DAY_MS)));
    for (since, until, runs) in
        [(None, None, 3), (day(2), None, 2), (None, day(3), 1), (day(2), day(2), 1), (day(0), None, 0)]
    {
        let found = page(&bench, UsageQuery { since, until, ..by(&[Grouping::Day]) }).await;
        assert_eq!((found.total.runs, found.groups.len() as u64), (runs, runs), "{since:?} {until:?}");
        assert_eq!(found.total.usage.cost_micro_usd, (runs > 0).then_some(5 * runs));
    }
}

#[tokio::test]
async fn steps_add_up_and_a_conversation_is_known_by_all_its_steps() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    let store = &bench.store;
    store.record_usage(lease, STEP, Some("s"), usage(1, Some(5))).await.unwrap();
    let sum = store.record_usage(lease, "agent-2", Some("s"), usage(2, None)).await.unwrap();
    assert_eq!(sum, usage(3, Some(5)));
    // another word on the same step takes the place of the first
    let sum = store.record_usage(lease, "agent-2", None, usage(4, Some(1))).await.unwrap();
    assert_eq!(sum, usage(5, Some(6)));
    assert_eq!(store.used_in_session(lease, "agent-2", "s").await.unwrap(), usage(1, Some(5)));
    assert_eq!(store.used_in_session(lease, "agent-3", "s").await.unwrap(), usage(5, Some(6)));
    assert_eq!(store.used_in_session(lease, "agent-3", "other").await.unwrap(), Usage::default());
    assert_eq!(store.list_attempts(lease.job).await.unwrap()[0].usage, usage(5, Some(6)));
    // another chain may well call its own the same
    let stranger = {
        let other = Bench::new(1);
        let client = other.client("a").await;
        other.submit(&client, "1").await;
        let first = other.claim().await.lease;
        other.store.record_usage(first, STEP, Some("s"), usage(1, Some(5))).await.unwrap();
        other.end(first, done()).await;
        other.submit(&client, "2").await;
        let lease = other.claim().await.lease;
        other.store.used_in_session(lease, STEP, "s").await.unwrap()
    };
    assert_eq!(stranger, Usage::default());
    let total = page(&bench, by(&[])).await.total;
    assert_eq!((total.usage, total.runs, total.runs_without_cost), (usage(5, Some(6)), 2, 0));
}

/// Two agents of one chain that call their conversations the same.
#[tokio::test]
async fn what_another_agent_has_used_is_taken_off_nobody() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let first = submit(&bench, &client, None).await;
    bench.end(works(&bench, "claude", "s").await, done()).await;
    for (agent, before) in [("other", 0), ("claude", 1), ("other", 1)] {
        submit(&bench, &client, Some(&first)).await;
        let lease = works(&bench, agent, "s").await;
        let used = bench.store.used_in_session(lease, STEP, "s").await.unwrap();
        assert_eq!(used.turns, before, "{agent}");
        bench.end(lease, done()).await;
    }
}

async fn budget(bench: &Bench, client: &Client, micros: Option<u64>) {
    let options = RunOptions { max_budget_usd_per_day_micros: micros, ..RunOptions::default() };
    let patch = ClientPatch { options: Some(options), ..ClientPatch::default() };
    bench.store.update_client(&client.id, patch).await.unwrap();
}

#[tokio::test]
async fn a_client_without_money_starts_no_agent_until_midnight_and_publishes_all_the_same() {
    let bench = Bench::new(5);
    let (poor, rich) = (bench.client("poor").await, bench.client("rich").await);
    budget(&bench, &poor, Some(100)).await;
    ran(&bench, &poor, "1", &[], usage(1, Some(99))).await;
    assert_eq!(bench.store.cost_today(&poor.id).await.unwrap(), 99);
    ran(&bench, &poor, "2", &[], usage(1, Some(1))).await;
    // it is spent to the last millionth
    let waits = bench.submit(&poor, "3").await.job.number;
    let mut publish = job(&poor.id, "4");
    publish.start = Start::Publish { base_sha: "b".to_owned(), head_sha: "c".to_owned(), or_agent: false };
    let publishes = bench.try_submit(publish).await.unwrap().job.number;
    let other = bench.submit(&rich, "5").await.job.number;
    let mut started = Vec::new();
    while let Some(number) = bench.claimed_number().await {
        started.push(number);
    }
    started.sort_unstable();
    assert_eq!(started, [publishes.0, other.0]);
    let waiting = bench.view(waits).await.waiting.unwrap();
    let midnight = Day::of(bench.now()).end();
    assert_eq!((waiting.for_, waiting.until), (WaitingFor::ClientLimit, Some(midnight)));
    assert_eq!(bench.store.queue_page(None).await.unwrap().queued[0].waiting, waiting);
    assert_eq!(bench.store.next_due_in().await.unwrap(), Some(midnight.since(bench.now())));
    // a restart changes nothing about it
    assert!(bench.reopen().claim().await.unwrap().is_none());
    let later = bench.reopen();
    bench.clock.advance_ms(i64::try_from(midnight.since(bench.now()).as_millis()).unwrap() - 1);
    assert!(later.claim().await.unwrap().is_none());
    assert_eq!(later.next_due_in().await.unwrap(), Some(Duration::from_millis(1)));
    bench.clock.advance_ms(1);
    assert_eq!(later.claim().await.unwrap().unwrap().lease.job, waits);
    assert_eq!(later.next_due_in().await.unwrap(), None);
}

#[tokio::test]
async fn a_budget_that_is_raised_or_taken_away_lets_work_go_on_at_once() {
    let bench = Bench::new(5);
    let client = bench.client("a").await;
    budget(&bench, &client, Some(10)).await;
    ran(&bench, &client, "1", &[], usage(1, Some(10))).await;
    for (branch, micros) in [("2", Some(11)), ("3", None)] {
        budget(&bench, &client, Some(10)).await;
        let number = bench.submit(&client, branch).await.job.number;
        assert_eq!(bench.claimed_number().await, None);
        budget(&bench, &client, micros).await;
        let lease = bench.claim().await.lease;
        assert_eq!(lease.job, number);
        // with a commit in hand the rest is not held up either
        let effects = Effects { head_sha: Some("c0ffee".to_owned()), ..Effects::default() };
        bench.store.record_effects(lease, effects).await.unwrap();
        bench.end(lease, done()).await;
    }
}
