//! Thousands of submits at once, with the server killed among them: as many are taken as there is room, each of them is
//! there once, and the others are told when to come again.

#![allow(clippy::print_stdout, reason = "figures, for whoever runs it alone")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::stand::{PATIENCE, Plan, SECRET, Stand, poll};

const REPOS: [&str; 4] = ["acme/widgets", "acme/gadgets", "beta/one", "beta/two"];
/// Requests at the same time.
const AT_ONCE: usize = 64;

/// Whoever sends the burst: each job under a key of its own, again and again until the answer is definite.
struct Caller {
    http: reqwest::Client,
    /// Where the server is; another one after each start.
    url: watch::Receiver<String>,
    taken: AtomicUsize,
    /// Requests whose answer never came, because of the kill.
    cut_off: AtomicUsize,
    /// Answers that came though the first one was lost.
    replayed: AtomicUsize,
}

impl Caller {
    fn new(url: watch::Receiver<String>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let count = AtomicUsize::default;
        Self { http, url, taken: count(), cut_off: count(), replayed: count() }
    }

    /// Id and number of the job, or `None` when there is no room.
    async fn submit(&self, number: usize) -> Option<(String, i64)> {
        let (org, repo) = REPOS[number % REPOS.len()].split_once('/').unwrap();
        // no branch of its own: nothing but the key stands against a second job
        let body = json!({"githubOrg": org, "githubRepo": repo, "prompt": "true",
            "options": {"agent": "sh", "publish": "none"}});
        let mut url = self.url.clone();
        // of some the first answer is lost on the way, wherever the kill strikes
        let mut lost = number.is_multiple_of(8);
        loop {
            let address = format!("{}/jobs", *url.borrow_and_update());
            let request = self.http.post(address).bearer_auth(SECRET).json(&body);
            let sent = request.header("idempotency-key", format!("burst-{number}")).send().await;
            let answer = match sent {
                Ok(response) => {
                    let (status, headers) = (response.status().as_u16(), response.headers().clone());
                    response.json::<Value>().await.map(|body| (status, headers, body))
                }
                Err(error) => Err(error),
            };
            let Ok((status, headers, body)) = answer else {
                self.cut_off.fetch_add(1, Ordering::Relaxed);
                url.changed().await.expect("the server comes back");
                continue;
            };
            if status == 429 {
                assert_eq!(body["code"], "queue_full", "{body}");
                let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                assert!(seconds.is_some_and(|seconds: u64| (1..=3_600).contains(&seconds)), "{headers:?}");
                return None;
            }
            assert_eq!(status, 201, "{body}");
            if std::mem::take(&mut lost) {
                continue;
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            self.replayed
                .fetch_add(usize::from(headers.contains_key("idempotency-replayed")), Ordering::Relaxed);
            return Some((body["id"].as_str().unwrap().to_owned(), body["number"].as_i64().unwrap()));
        }
    }
}

/// What all pages of a listing name, in their order.
async fn pages(stand: &Stand, path: &str, list: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = stand.get(&format!("{path}{after}")).await;
        all.extend(page[list].as_array().unwrap().iter().cloned());
        let Some(next) = page["nextCursor"].as_str() else { return all };
        let sign = if path.contains('?') { '&' } else { '?' };
        after = format!("{sign}after={next}");
    }
}

/// So many submits against so much room, and a kill when half of it is taken. Gives the stand with the queue paused.
async fn burst(posts: usize, room: usize) -> (Stand, BTreeMap<String, i64>) {
    let server = format!("queue_max = {room}");
    let mut stand = Stand::with(Plan { server, workers: 4, ..Plan::default() }).await;
    for repo in &REPOS[1..] {
        stand.make_remote(repo);
    }
    // nobody leaves the queue meanwhile, so that the room can be counted
    stand.post("/queue/pause", &json!({"reason": "burst"})).await;
    let (at, url) = watch::channel(stand.base_url());
    let caller = Caller::new(url);
    let began = Instant::now();
    let sent = stream::iter(0..posts).map(|number| caller.submit(number)).buffer_unordered(AT_ONCE);
    let killed = async {
        let half = async || (caller.taken.load(Ordering::Relaxed) >= room / 2).then_some(());
        poll(Duration::from_secs(600), half).await.expect("half of the room is taken");
        stand.kill9().await;
        stand.start_again().await;
        at.send_replace(stand.base_url());
    };
    let (answers, ()) = tokio::join!(sent.collect::<Vec<_>>(), killed);
    let took = began.elapsed();
    let accepted: BTreeMap<_, _> = answers.iter().flatten().cloned().collect();
    println!(
        "{posts} submits in {took:.1?}: {} taken, {} refused; {} requests were cut off by the kill; {} answers were given again",
        accepted.len(),
        answers.iter().filter(|answer| answer.is_none()).count(),
        caller.cut_off.load(Ordering::Relaxed),
        caller.replayed.load(Ordering::Relaxed),
    );
    assert_eq!(accepted.len(), room, "as many as there is room, each with an id of its own");
    let mut numbers: Vec<_> = accepted.values().copied().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=room as i64).collect::<Vec<_>>(), "a refusal uses no number up");

    let listed = pages(&stand, "/jobs?limit=200", "jobs").await;
    let known: Vec<_> = listed.iter().map(|job| job["number"].as_i64().unwrap()).collect();
    assert_eq!(known, numbers.iter().rev().copied().collect::<Vec<_>>(), "every 201 once, and nothing else");
    for job in &listed {
        assert_eq!(accepted.get(job["id"].as_str().unwrap()).copied(), job["number"].as_i64());
    }
    let queued = pages(&stand, "/queue", "queued").await;
    let positions: Vec<_> = queued.iter().map(|job| job["position"].as_i64().unwrap()).collect();
    assert_eq!(positions, (1..=room as i64).collect::<Vec<_>>());
    assert!(queued.iter().all(|job| job["waiting"]["for"] == "paused"), "the pause outlived the kill");
    (stand, accepted)
}

/// All that were taken run and complete.
async fn all_complete(stand: Stand, accepted: &BTreeMap<String, i64>) {
    let began = Instant::now();
    stand.post("/queue/resume", &json!({})).await;
    let over = async || {
        let queue = stand.get("/health").await["queue"].clone();
        (queue["running"] == 0 && queue["queued"] == 0).then_some(())
    };
    let limit = PATIENCE + Duration::from_secs(accepted.len() as u64);
    assert!(poll(limit, over).await.is_some(), "not over: {}", stand.log_tail(10));
    let ended = pages(&stand, "/jobs?limit=200&status=completed", "jobs").await;
    assert_eq!(ended.len(), accepted.len());
    assert!(ended.iter().all(|job| job["outcome"] == "no_changes" && job["attempt"] == 1));
    println!("{} jobs completed in {:.1?}", ended.len(), began.elapsed());
    stand.finish().await;
}

#[tokio::test]
async fn every_answered_submit_of_a_burst_is_there_once() {
    let (stand, accepted) = burst(400, 60).await;
    all_complete(stand, &accepted).await;
}

/// Against the usual size of the queue: what was taken is done as well.
#[tokio::test]
#[ignore = "takes minutes: just long-burst"]
async fn long_burst_of_ten_thousand_against_a_usual_queue() {
    let (stand, accepted) = burst(10_000, 1_000).await;
    all_complete(stand, &accepted).await;
}

/// Nearly all find room; to run them would take hours.
#[tokio::test]
#[ignore = "takes minutes: just long-burst"]
async fn long_burst_of_ten_thousand_against_a_large_queue() {
    let (mut stand, _) = burst(10_000, 9_500).await;
    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
}
