//! Callbacks through receivers that do everything wrong, with a server that is killed on the way.

#![allow(clippy::print_stdout, reason = "seeds and figures, for whoever runs it alone")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use offshoot::webhook::{verify_agent, verify_standard};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::fire_receiver::{Dice, FireReceiver, Got};
use crate::stand::{Plan, Stand, WEBHOOK_SECRET, poll};

/// Waits of a second in place of hours, and a receiver has a second for its answer: a schedule of ten tries all the same.
const FAST: &str = "1,1,1,1,1,1,1,1,1";

async fn stand(server: &str) -> Stand {
    let mut stand = Stand::built(Plan { server: server.to_owned(), ..Plan::default() }).await;
    stand.set_env("OFFSHOOT_CALLBACKS_RETRY_SECONDS", FAST);
    stand.set_env("OFFSHOOT_CALLBACKS_TIMEOUT_SECONDS", 1);
    stand.start().await;
    stand.post("/queue/pause", &json!({})).await;
    stand
}

/// An event for each URL: a job that is cancelled before it starts. Gives the jobs' ids.
async fn events(stand: &Stand, urls: Vec<String>, metadata: &Value) -> Vec<String> {
    let made = stream::iter(urls.into_iter().enumerate()).map(|(number, url)| async move {
        let body = json!({"prompt": "x", "branchName": format!("e/{number}"), "osCallbackUrl": url, "metadata": metadata});
        let id = stand.submit(body).await;
        assert_eq!(stand.cancel(&id).await.0, 200);
        id
    });
    made.buffer_unordered(16).collect().await
}

/// Every request is signed by these secrets, and the bytes of an event are the same each time.
fn check(got: &[Got]) {
    let secret = SecretString::from(WEBHOOK_SECRET);
    let mut bytes: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for one in got {
        let sent_at = one.timestamp.parse().unwrap();
        assert!(verify_standard(&secret, &one.id, &one.timestamp, &one.signature, &one.body, sent_at));
        assert!(verify_agent(&secret, &one.agent_signature, &one.body));
        let first = bytes.entry(&one.id).or_insert(&one.body);
        assert_eq!(*first, one.body, "{} has other bytes than before", one.id);
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!(body["eventId"], one.id);
    }
}

/// The jobs of which an event was accepted.
fn accepted(got: &[Got]) -> BTreeMap<String, BTreeSet<String>> {
    let mut jobs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in got.iter().filter(|one| one.accepted) {
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        jobs.entry(body["jobId"].as_str().unwrap().to_owned()).or_default().insert(one.id.clone());
    }
    jobs
}

async fn settled(stand: &Stand) {
    let none_pending = async || (stand.get("/health").await["callbacks"]["pending"] == 0).then_some(());
    let limit = Duration::from_secs(300);
    assert!(poll(limit, none_pending).await.is_some(), "callbacks are pending: {}", stand.log_tail(20));
}

async fn delivery(stand: &Stand, job: &str) -> Value {
    stand.get(&format!("/jobs/{job}/deliveries")).await["deliveries"][0].clone()
}

/// So many events, a few of them for receivers that never accept and that are gone; so many kills of the server.
async fn through_fire(seed: u64, count: usize, kills: usize) {
    println!("seed {seed}");
    let receiver = FireReceiver::start(seed, 4).await;
    let mut stand = stand("").await;
    let url = |number: usize| match number % 100 {
        7 => receiver.url(number, "/never"),
        9 => receiver.url(0, "/gone"),
        _ => receiver.url(number, "/fire"),
    };
    let jobs = events(&stand, (0..count).map(url).collect(), &json!({"n": 1})).await;
    let dice = Dice::new(!seed);
    for _ in 0..kills {
        let more = receiver.count() + usize::try_from(dice.below(count as u64 / 8)).unwrap();
        // in the end there may be nothing more to come
        poll(Duration::from_secs(2), async || (receiver.count() > more).then_some(())).await;
        stand.kill9().await;
        stand.start_again().await;
    }
    settled(&stand).await;

    let got = receiver.got();
    check(&got);
    let (mut delivered, mut dead, mut suspended) = (0, Vec::new(), Vec::new());
    for job in &jobs {
        let found = delivery(&stand, job).await;
        let job = job.clone();
        match found["state"].as_str().unwrap() {
            "delivered" => {
                delivered += 1;
                assert!(accepted(&got).contains_key(&job), "{job} was accepted by nobody: {found:#}");
            }
            "dead" => {
                assert_eq!(found["tries"], 10, "{found:#}");
                assert_eq!(found["history"].as_array().unwrap().len(), 10);
                assert!(found["lastError"].is_string() && found["nextTryAt"].is_null(), "{found:#}");
                dead.push((job, found));
            }
            "suspended" => suspended.push((job, found)),
            other => panic!("{other}: {found:#}"),
        }
    }
    let longest = receiver.shared.longest_answer.load(Ordering::SeqCst);
    let gone = got.iter().filter(|one| one.path == "/gone").count();
    println!(
        "{delivered} delivered, {} dead, {} suspended after {gone} tries, {} requests, {kills} kills, at most {longest} bytes of an answer",
        dead.len(),
        suspended.len(),
        got.len()
    );
    assert!(dead.len() >= count / 100 && suspended.len() == count / 100);
    // a kill forgets a 410 that was not recorded yet; those under way together are four
    assert!(gone <= 4 * (kills + 1), "a URL that is gone was tried {gone} times");

    // everything that was not accepted can be sent again, with its bytes
    receiver.behave();
    for (job, found) in dead.iter().chain(&suspended) {
        let path = format!("/jobs/{job}/deliveries/{}/redeliver", found["id"].as_str().unwrap());
        stand.post(&path, &json!({})).await;
    }
    settled(&stand).await;
    let got = receiver.got();
    check(&got);
    let accepted = accepted(&got);
    for job in &jobs {
        assert_eq!(accepted[job].len(), 1, "{job} has one event");
        assert_eq!(delivery(&stand, job).await["state"], "delivered");
    }
    assert_eq!(receiver.shared.strays.load(Ordering::SeqCst), 0, "a redirect was followed");
    // 64 KiB are read; the rest lies in buffers of the system
    assert!((1..8 << 20).contains(&longest), "{longest} bytes of an endless answer were taken");
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}

#[tokio::test]
async fn three_hundred_events_come_through() {
    through_fire(20_261_126, 300, 4).await;
}

/// `just long-callbacks`
#[tokio::test]
#[ignore = "takes minutes"]
async fn long_callbacks() {
    for seed in 1..=3 {
        through_fire(seed, 1_000, 20).await;
    }
}

/// A thousand callbacks are due at a receiver that hangs, all of them before those of another one.
#[tokio::test]
async fn a_receiver_that_hangs_stops_no_other_and_costs_no_memory() {
    let receiver = FireReceiver::start(1, 2).await;
    let stand = stand("").await;
    let resident = async |stand: &Stand| {
        let text = stand.get_text("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        line.unwrap().parse::<f64>().unwrap()
    };
    let mut urls = vec![receiver.url(0, "/hang"); 1_000];
    urls.extend(vec![receiver.url(1, "/good"); 20]);
    // 15 MiB of bodies
    let large = json!({"text": "x".repeat(15_000)});
    let (hanging, good) = urls.split_at(1_000);
    events(&stand, hanging.to_vec(), &large).await;
    let before = resident(&stand).await;
    events(&stand, good.to_vec(), &large).await;
    let all_good = async || {
        let got = receiver.got();
        (got.iter().filter(|one| one.path == "/good").count() == 20).then(|| got.len() - 20)
    };
    let hung = poll(Duration::from_secs(120), all_good).await.expect("the good receiver was never reached");
    assert!(hung < 500, "{hung} tries of the one that hangs came before");
    let more = receiver.count() + 40;
    poll(Duration::from_secs(60), async || (receiver.count() >= more).then_some(())).await.unwrap();
    let grown = (resident(&stand).await - before) / 1_048_576.0;
    println!("{hung} hanging tries before the good ones, {grown:.1} MiB more memory");
    assert!(grown < 12.0, "{grown} MiB for callbacks that wait");
    receiver.behave();
    settled(&stand).await;
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}

/// As if the two keys had been seen together so many days before they were.
fn make_rotation_older(stand: &Stand, days: i64) {
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    // the name of the rotation is 64 digits
    let sql = "UPDATE meta SET value = substr(value, 1, 65) || (substr(value, 66) - ?1) WHERE key = 'callback_rotation'";
    assert_eq!(database.execute(sql, [days * 86_400_000]).unwrap(), 1);
}

/// The key is changed while an event is pending: for a day both sign, if the previous one is configured.
#[tokio::test]
async fn a_pending_event_is_signed_by_both_keys_during_a_rotation() {
    let receiver = FireReceiver::start(1, 1).await;
    let mut stand = stand("").await;
    let ids = events(&stand, vec![receiver.url(0, "/never")], &json!({})).await;
    stand.wait_until("a try", async || (receiver.count() > 0).then_some(())).await;
    let new = "another-webhook-secret-0123456789abcdef";
    let signed_by = |one: &Got, secret: &str| {
        let (secret, at) = (SecretString::from(secret), one.timestamp.parse().unwrap());
        verify_standard(&secret, &one.id, &one.timestamp, &one.signature, &one.body, at)
    };
    let steps = [
        (WEBHOOK_SECRET, "", 0, [true, false]),
        (new, WEBHOOK_SECRET, 0, [true, true]),
        (new, WEBHOOK_SECRET, 1, [false, true]),
        (new, "", 0, [false, true]),
    ];
    for (current, previous, days, expected) in steps {
        stand.terminate(Duration::from_secs(20)).await;
        if days > 0 {
            make_rotation_older(&stand, days);
        }
        stand.set_env("WEBHOOK_SECRET", current);
        stand.set_env("OFFSHOOT_CALLBACKS_PREVIOUS_SECRET", previous);
        stand.start().await;
        let found = delivery(&stand, &ids[0]).await;
        let path = format!("/jobs/{}/deliveries/{}/redeliver", ids[0], found["id"].as_str().unwrap());
        let before = receiver.count();
        stand.post(&path, &json!({})).await;
        stand.wait_until("the next try", async || (receiver.count() > before).then_some(())).await;
        let one = receiver.got().pop().unwrap();
        assert_eq!([signed_by(&one, WEBHOOK_SECRET), signed_by(&one, new)], expected);
        assert!(verify_agent(&SecretString::from(current), &one.agent_signature, &one.body));
    }
    receiver.behave();
    settled(&stand).await;
    let got = receiver.got();
    assert!(got.iter().all(|one| (&one.id, &one.body) == (&got[0].id, &got[0].body)));
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}
