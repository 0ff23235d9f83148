//! Many jobs at once: all end, nobody starves, never more run than may, positions are true.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

/// Runs so many jobs of four repositories through two workers and looks at everything that is left.
async fn all_end(jobs: usize) {
    let stand = Stand::new().await;
    let repos = ["acme/widgets", "acme/gadgets", "beta/one", "beta/two"];
    for repo in &repos[1..] {
        stand.make_remote(repo);
    }
    let mut ids = Vec::new();
    for number in 0..jobs {
        let (org, repo) = repos[number % repos.len()].split_once('/').unwrap();
        // every tenth crashes, every tenth changes nothing; the forge takes a write a second, so few open a request
        let prompt = match number % 10 {
            3 => "[[scenario:denied]]",
            7 => "[[scenario:no-change]]",
            _ => "Greet",
        };
        let publish = if number % 50 == 0 { "pull_request" } else { "branch" };
        let body = json!({"prompt": prompt, "branchName": format!("b/{number}"), "githubOrg": org,
            "githubRepo": repo, "options": {"publish": publish}});
        ids.push((number, stand.submit(body).await));
    }
    let over = async || {
        let health = stand.get("/health").await;
        assert!(health["queue"]["running"].as_i64().unwrap() <= 2, "{health}");
        (health["queue"]["running"] == 0 && health["queue"]["queued"] == 0).then_some(())
    };
    // bounded by the number of jobs instead of the usual patience
    let limit = std::time::Duration::from_secs(60 + jobs as u64);
    let ended = crate::stand::poll(limit, over).await;
    assert!(ended.is_some(), "not over: {}", stand.log_tail(10));
    let mut events = BTreeSet::new();
    for (number, id) in &ids {
        let job = stand.job(id).await;
        let expected = match number % 10 {
            3 => "failed",
            7 => "no_changes",
            _ if number % 50 == 0 => "pull_request",
            _ => "branch_pushed",
        };
        assert_eq!(job["outcome"], expected, "{job:#}");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
        events.insert(stand.callback(id).await.id);
    }
    assert_eq!((events.len(), stand.runs()), (jobs, jobs));
    for repo in repos {
        let refs = crate::git_fixture::run(&stand.remote_of(repo), &["for-each-ref", "refs/heads/b"]).stdout;
        let pushed = String::from_utf8(refs).unwrap().lines().count();
        let mine = |&number: &usize| repos[number % repos.len()] == repo && !matches!(number % 10, 3 | 7);
        assert_eq!(pushed, (0..jobs).filter(mine).count(), "{repo}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn sixty_jobs_end_and_leave_nothing() {
    all_end(60).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo test --test it -- --ignored long_load_500"]
async fn long_load_500() {
    all_end(500).await;
}

fn order(queue: &Value) -> Vec<(i64, String)> {
    let queued = queue["queued"].as_array().unwrap();
    queued
        .iter()
        .map(|job| (job["position"].as_i64().unwrap(), job["branchName"].as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_flood_of_one_client_does_not_hold_up_another() {
    let stand = Stand::with(Plan { workers: 2, ..Plan::default() }).await;
    stand.make_remote("beta/one");
    let mut flood = Vec::new();
    for number in 0..60 {
        let gate = stand.gate_mark(&format!("a-{number}"));
        let id = stand.submit_prompt(&format!("a-{number}"), &format!("{gate}[[scenario:no-change]]")).await;
        flood.push(id);
    }
    stand.wait_for_tool(&flood[0]).await;
    stand.wait_for_tool(&flood[1]).await;
    let other = stand
        .submit(json!({"prompt": "[[scenario:no-change]]", "branchName": "b", "githubOrg": "beta",
            "githubRepo": "one"}))
        .await;
    // positions: a permutation, the order of the queue, and the same in the job
    let queue = stand.get("/queue").await;
    let listed = order(&queue);
    assert_eq!(
        listed.iter().map(|(position, _)| *position).collect::<Vec<_>>(),
        (1..=59).collect::<Vec<_>>()
    );
    assert_eq!(listed[0].1, "b", "{:?}", &listed[..3]);
    assert_eq!(stand.job(&other).await["position"], 1);
    assert_eq!(stand.job(&flood[2]).await["position"], 2);
    assert_eq!(stand.job(&flood[0]).await["position"], Value::Null);
    // who matters more goes first, and everybody else one further back
    let urgent =
        stand.submit(json!({"prompt": "[[scenario:no-change]]", "branchName": "u", "priority": 5})).await;
    let positions = [stand.job(&urgent).await, stand.job(&other).await].map(|job| job["position"].clone());
    assert_eq!(positions, [json!(1), json!(2)]);
    assert_eq!(stand.cancel(&urgent).await.0, 200);
    assert_eq!(stand.job(&other).await["position"], 1);
    // one slot becomes free, and it is the other client's
    stand.open_gate("a-0");
    stand.completed(&other).await;
    let started = stand.job(&other).await["startedAt"].clone();
    let third = stand.wait_for(&flood[2], "started", |job| job["startedAt"].is_string()).await;
    assert!(started.as_str() <= third["startedAt"].as_str(), "{started} {}", third["startedAt"]);
    // the rest start in the order that the positions promised
    stand.wait_for_tool(&flood[2]).await;
    let promised: Vec<_> = order(&stand.get("/queue").await).into_iter().map(|(_, branch)| branch).collect();
    let expected: Vec<_> = (3..60).map(|number| format!("a-{number}")).collect();
    assert_eq!(promised, expected);
    for id in flood.iter().skip(3) {
        assert_eq!(stand.cancel(id).await.0, 200);
    }
    stand.open_gate("a-1");
    stand.open_gate("a-2");
    stand.finish().await;
}

#[tokio::test]
async fn no_more_run_than_may() {
    let workers = 3;
    let stand = Stand::with(Plan { workers, ..Plan::default() }).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        // each notes how many were alive beside it
        let script = format!(
            "touch {dir}/live-{number}; ls {dir} | grep -c live- >> {dir}/seen; \
             while [ ! -e {dir}/go-{number} ]; do sleep 0.02; done; rm {dir}/live-{number}",
            dir = stand.path("gates").display()
        );
        let branch = format!("w-{number}");
        ids.push(
            stand.submit(json!({"prompt": script, "branchName": branch, "options": {"agent": "sh"}})).await,
        );
    }
    let live = || {
        let entries = std::fs::read_dir(stand.path("gates")).unwrap().filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("live-")).count()
    };
    for (number, id) in ids.iter().enumerate() {
        let full = (ids.len() - number).min(3);
        stand.wait_until("all slots are taken", async || (live() == full).then_some(())).await;
        let health = stand.get("/health").await;
        assert_eq!(health["queue"]["running"], full, "{health}");
        assert_eq!(health["queue"]["queued"], ids.len() - number - full);
        std::fs::write(stand.path(&format!("gates/go-{number}")), "").unwrap();
        stand.completed(id).await;
    }
    let seen = std::fs::read_to_string(stand.path("gates/seen")).unwrap();
    assert!(seen.lines().all(|count| count.parse::<u32>().unwrap() <= workers), "{seen}");
    stand.finish().await;
}
