//! Money on a whole server: what is told of it, and what it stops.

use serde_json::{Value, json};

use crate::cli::{command, finish};
use crate::stand::{Plan, SECRET, Stand};

/// An entry of the kind opencode: two steps of 0.40 dollars each, then it works on for as long as it is let.
const DEAR: &str = r#"[agents.dear]
kind = "opencode"
command = "/bin/sh"
args = ["-c", '''
case "$0" in run) ;; *) exit 1;; esac
step() { printf '%s\n' '{"type":"step_start","sessionID":"ses_dear1","part":{}}'
printf '%s\n' '{"type":"step_finish","sessionID":"ses_dear1","part":{"reason":"tool-calls","cost":0.4,"tokens":{"input":100,"output":7}}}'; }
cat > /dev/null; step; step; exec sleep 1000
''']
"#;

fn cost(job: &Value) -> f64 {
    job["usage"]["costUsd"].as_f64().unwrap()
}

fn attempts(job: &Value) -> &Vec<Value> {
    job["attempts"].as_array().unwrap()
}

#[tokio::test]
async fn the_budget_is_of_the_job_and_not_of_each_attempt() {
    let stand = Stand::new().await;
    let once = stand.path("once");
    let prompt = format!(
        "[[scenario:spend micro_usd=700000]] [[scenario:broken once={}]] [[scenario:edit]]",
        once.display()
    );
    let options = json!({"maxBudgetUsd": 1});
    let id = stand.submit(json!({"prompt": prompt, "branchName": "dear", "options": options})).await;
    let job = stand.failed(&id, "max_budget").await;
    assert_eq!(attempts(&job).len(), 2, "{job:#}");
    assert_eq!(attempts(&job)[0]["reason"]["code"], "crashed");
    for attempt in attempts(&job) {
        assert!((0.70..0.75).contains(&attempt["usage"]["costUsd"].as_f64().unwrap()), "{attempt}");
    }
    assert!((1.40..1.50).contains(&cost(&job)), "the job's is the sum: {job:#}");
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.contains(" of $1.00 (maxBudgetUsd)"), "{message}");
    let told = stand.callback(&id).await.body;
    assert_eq!(told["usage"], job["usage"]);
    // a retry is a job of its own
    let again = stand.retry(&id, json!({"mode": "fresh"})).await;
    assert_eq!(attempts(&stand.completed(&again).await).len(), 1);
    // what is spent altogether pays for no further start
    let runs = stand.runs();
    let prompt = format!("[[scenario:broken micro_usd=1200000 once={}]]", stand.path("other").display());
    let id = stand.submit(json!({"prompt": prompt, "branchName": "gone", "options": options})).await;
    let job = stand.failed(&id, "max_budget").await;
    assert_eq!((attempts(&job).len(), stand.runs() - runs), (2, 1), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn who_tells_the_cost_as_it_goes_is_ended_at_the_budget() {
    let stand = Stand::with(Plan { config: DEAR.to_owned(), ..Plan::default() }).await;
    let submit = async |branch: &str, usd: f64| {
        let options = json!({"agent": "dear", "maxBudgetUsd": usd});
        stand.submit(json!({"prompt": "work", "branchName": branch, "options": options})).await
    };
    let free = submit("free", 0.81).await;
    let id = submit("dear", 0.5).await;
    let job = stand.failed(&id, "max_budget").await;
    assert_eq!(
        (&job["usage"]["costUsd"], &job["usage"]["inputTokens"]),
        (&json!(0.8), &json!(200)),
        "{job:#}"
    );
    assert!(job["usage"]["durationMs"].as_u64().unwrap() > 0, "measured where the agent does not say");
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.contains("$0.80 of $0.50 (maxBudgetUsd)"), "{message}");
    assert!(stand.get_text("/metrics").await.contains("offshoot_limits_hit_total{limit=\"max_budget\"} 1"));
    // who has some left works on, and what it has told counts when it is cancelled
    assert_eq!(stand.job(&free).await["status"], "running");
    stand.cancel(&free).await;
    assert!((cost(&stand.job(&free).await) - 0.8).abs() < 1e-9);
    stand.finish().await;
}

#[tokio::test]
async fn a_client_that_has_spent_its_day_waits_for_the_next_and_others_do_not() {
    let stand = Stand::new().await;
    stand.make_remote("acme/other");
    for repo in ["widgets", "other"] {
        stand.post("/clients", &json!({"name": repo, "githubOrg": "acme", "githubRepo": repo})).await;
    }
    let clients = stand.get("/clients").await;
    let id_of = |name: &str| {
        let list = clients["clients"].as_array().unwrap();
        list.iter().find(|client| client["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let widgets = format!("/clients/{}", id_of("widgets"));
    let budget = async |usd: f64| {
        let body = json!({"options": {"maxBudgetUsdPerDay": usd}});
        assert_eq!(stand.call("PATCH", &widgets, Some(&body)).await.0, 200);
    };
    budget(1.0).await;
    let submit = async |repo: &str, branch: &str, labels: &[&str]| {
        let prompt = "[[scenario:spend micro_usd=600000]] [[scenario:edit]]";
        stand
            .submit(json!({
                "clientId": id_of(repo), "prompt": prompt, "branchName": branch, "labels": labels,
                "options": {"publish": "branch"},
            }))
            .await
    };
    let first = submit("widgets", "first", &["night"]).await;
    stand.completed(&first).await;
    // 0.40 dollars are left, and it ends there
    let second = submit("widgets", "second", &["night", "big"]).await;
    let job = stand.wait_for(&second, "held", |job| job["waiting"]["for"] == "client_limit").await;
    let until = job["waiting"]["until"].as_str().unwrap();
    assert!(until.ends_with("T00:00:00.000Z"), "the next day of UTC: {until}");
    assert_eq!(attempts(&job)[0]["reason"]["code"], "client_budget");
    assert_eq!(attempts(&job)[0]["counted"], true, "or it would eat the money of every day to come");
    // one that has not begun waits too, and costs nothing
    let third = submit("widgets", "third", &[]).await;
    let other = submit("other", "other", &[]).await;
    stand.completed(&other).await;
    let job = stand.job(&third).await;
    assert_eq!((&job["waiting"]["for"], &job["attempt"]), (&json!("client_limit"), &json!(0)), "{job:#}");
    // what has only to be published costs no money
    let published = stand.get("/queue").await;
    assert_eq!(published["queued"].as_array().unwrap().len(), 2, "{published:#}");
    budget(100.0).await;
    stand.completed(&second).await;
    stand.completed(&third).await;
    assert_report(&stand, &id_of("widgets")).await;
    stand.finish().await;
}

/// Two at once may spend more than the day has. The attempt that finds nothing left for its repair has cost something.
#[tokio::test]
async fn an_attempt_that_has_no_money_left_for_its_repair_is_counted() {
    let stand = Stand::with(Plan { workers: 2, ..Plan::default() }).await;
    let widgets = json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets", "options": {"maxBudgetUsdPerDay": 1.0}});
    stand.post("/clients", &widgets).await;
    let submit = async |branch: &str, spent: u32, verify: Value| {
        let prompt = format!("[[scenario:spend micro_usd={spent}]] [[scenario:edit]]");
        let options = json!({"publish": "branch", "verify": verify, "verifyRounds": 1, "maxAttempts": 1});
        stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
    };
    let check = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 3", stand.gate("v").display());
    let first = submit("first", 300_000, json!([check])).await;
    stand.wait_for(&first, "checked", |job| job["phase"] == "verifying").await;
    let second = submit("second", 800_000, json!([])).await;
    stand.failed(&second, "client_budget").await;
    stand.open_gate("v");
    let job = stand.wait_for_status(&first, "failed").await;
    assert_eq!(job["reason"]["code"], "client_budget", "{job:#}");
    assert_eq!((attempts(&job).len(), &attempts(&job)[0]["counted"]), (1, &json!(true)), "{job:#}");
    stand.finish().await;
}

/// Of the five runs above, four of them of `widgets`.
async fn assert_report(stand: &Stand, widgets: &str) {
    let report = stand.get("/usage?by=client,label").await;
    let groups = report["groups"].as_array().unwrap();
    let facts: Vec<_> = groups
        .iter()
        .map(|group| {
            let name = group["clientName"].as_str().unwrap();
            (name, group["label"].as_str(), group["runs"].as_u64().unwrap(), group["day"].is_null())
        })
        .collect();
    let expected = [
        ("widgets", None, 1, true),
        ("widgets", Some("big"), 2, true),
        ("widgets", Some("night"), 3, true),
        ("other", None, 1, true),
    ];
    assert_eq!(facts, expected, "{report:#}");
    assert_eq!(groups[0]["clientId"], widgets);
    assert_eq!((&report["total"]["runs"], &report["total"]["runsWithoutCost"]), (&json!(5), &json!(0)));
    let total = report["total"]["usage"]["costUsd"].as_f64().unwrap();
    assert!((3.0..3.3).contains(&total), "each run once: {total}");
    assert_eq!(stand.get("/usage").await["groups"], json!([]));
    let none = stand.get("/usage?by=day&until=2020-01-01").await;
    assert_eq!((&none["groups"], &none["total"]["usage"]["costUsd"]), (&json!([]), &Value::Null));
    let mut command = command(&stand.base_url(), &["usage", "--by", "client,label", "--since", "7d"]);
    command.env("OFFSHOOT_TOKEN", SECRET);
    let ran = finish(command, "").await;
    assert_eq!((ran.code, ran.out.lines().count()), (0, 6), "{ran:?}");
    assert!(ran.out.lines().nth(3).unwrap().starts_with("widgets  night  3 "), "{ran:?}");
    let (status, answer) = stand.call("GET", "/usage?by=month", None).await;
    assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("?by")), "{answer}");
}

#[tokio::test]
async fn what_an_attempt_told_before_it_was_cut_off_is_not_forgotten() {
    let stand = Stand::new().await;
    let options = json!({"maxAttempts": 1, "timeoutSeconds": 600});
    let submit = async |branch: &str| {
        let prompt = format!("[[scenario:spend]] {}", stand.gate_mark(branch));
        stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
    };
    let (cancelled, killed) = (submit("cancelled").await, submit("killed").await);
    for id in [&cancelled, &killed] {
        stand.wait_for_tool(id).await;
    }
    stand.cancel(&cancelled).await;
    let shim = stand.job(&killed).await["pid"].as_i64().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(shim).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    stand.failed(&killed, "interrupted").await;
    for id in [cancelled, killed] {
        let job = stand.job(&id).await;
        let usage = &job["usage"];
        assert_eq!((&usage["inputTokens"], &usage["turns"]), (&json!(2_400), &json!(2)), "{job:#}");
        assert_eq!(usage["costUsd"], Value::Null, "nobody told, and nobody guesses");
        assert_eq!(&attempts(&job)[0]["usage"], usage);
    }
    let total = stand.get("/usage").await["total"].clone();
    assert_eq!((&total["runs"], &total["runsWithoutCost"]), (&json!(2), &json!(2)), "{total}");
    stand.finish().await;
}

/// An older claude tells the cost of the whole conversation alone: 0.30 dollars more with each run.
#[tokio::test]
async fn a_cost_of_the_whole_conversation_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let total = dir.path().join("total");
    let config = format!(
        "[agents.old]\nkind = \"claude\"\ncommand = \"/bin/sh\"\nargs = [\"-c\", \'\'\'\n\
         case \"$0\" in --print) ;; *) exit 1;; esac\n\
         for word; do case \"$word\" in --session-id=*|--resume=*) id=${{word#*=}};; esac; done\n\
         cat > /dev/null; cents=$(( $(cat {file} 2>/dev/null || echo 0) + 30 )); echo $cents > {file}\n\
         case $cents in 30) bad=true;; *) bad=false; echo new > new.txt;; esac\n\
         printf '%s\\n' \"{{\\\"type\\\":\\\"result\\\",\\\"subtype\\\":\\\"success\\\",\\\"is_error\\\":$bad,\
         \\\"terminal_reason\\\":\\\"api_error\\\",\\\"api_error_status\\\":400,\\\"session_id\\\":\\\"$id\\\",\
         \\\"result\\\":\\\"x\\\",\\\"num_turns\\\":1,\\\"total_cost_usd\\\":0.$cents}}\"\n\
         $bad && exit 1; exit 0\n\'\'\']\n",
        file = total.display(),
    );
    let stand = Stand::with(Plan { config, ..Plan::default() }).await;
    let first = stand
        .submit(json!({"prompt": "work", "branchName": "old", "options": {"agent": "old", "maxAttempts": 1}}))
        .await;
    let job = stand.failed(&first, "api_error").await;
    assert!((cost(&job) - 0.3).abs() < 1e-9, "{job:#}");
    let again = stand.retry(&first, json!({"mode": "resume", "prompt": "Go on"})).await;
    let job = stand.completed(&again).await;
    assert_eq!(std::fs::read_to_string(&total).unwrap(), "60\n");
    assert!((cost(&job) - 0.3).abs() < 1e-9, "{job:#}");
    stand.finish().await;
}
